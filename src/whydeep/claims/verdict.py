"""From claims and results to verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy.special import stdtr

from whydeep import notebook
from whydeep.claims.claim import Claim, Estimate, estimate
from whydeep.claims.intervals import LEVEL
from whydeep.claims.sign_flip import sign_flip_p

Verdict = Literal["supported", "contradicted", "undecided", "not-run"]

FEWEST_EQUAL = 3
"""Seeds that must agree exactly before values without any spread decide a claim."""

MOST_SEEDS = 1000
"""Larger numbers of seeds are not worth the advice."""


@dataclass(frozen=True)
class Case:
    """A claim, the experiment that it is about, and its results; without results it was not run."""

    experiment: str
    claim: Claim
    results: xr.Dataset | None


@dataclass(frozen=True)
class Part:
    """One part of a claim, tested.

    Attributes:
        estimate: with its interval over seeds.
        p_holds: of the one-sided test that the mean lies in the accepted range, against outside of it or on its edge.
        p_fails: of the one-sided test that it lies outside, against inside or on the edge.
        agreeing: share of the seeds whose own value is in the range.
    """

    estimate: Estimate
    p_holds: float
    p_fails: float
    agreeing: float

    @property
    def p_sign_flip(self) -> float:
        """Of the sign-flip test, two-sided, which does not take seeds to vary normally; it decides nothing."""
        return _p_sign_flip(self.estimate)

    @property
    def holds(self) -> bool:
        """Whether the estimate itself is in the accepted range."""
        return self.estimate.test.low < self.estimate.interval.estimate < self.estimate.test.high


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Attributes:
        experiment, claim: what was judged.
        verdict: supported, contradicted, undecided or not-run.
        reason: why, in a sentence; for an undecided claim, what would decide it.
        parts: every part of every test.
        deciding: the part that decides: the least certain one of a claim that seems to hold, else the one furthest out.
        p: two-sided, of the whole claim; not-a-number where nothing can be tested, 0 where all seeds have one value.
        p_adjusted: by Holm's method over all claims that were judged together.
        level: of the intervals; a verdict needs an adjusted p of at most 1 - level.
        factor: by which p is multiplied among the claims judged with it.
    """

    experiment: str
    claim: Claim
    verdict: Verdict
    reason: str
    parts: tuple[Part, ...]
    deciding: Part | None
    p: float
    p_adjusted: float
    level: float
    factor: int = 1

    @property
    def by_convention(self) -> bool:
        """Whether a value that is equal in all seeds decided, without a test; p is then 0."""
        return self.p == 0 and self.deciding is not None and _equal(self.deciding.estimate)

    def _repr_html_(self) -> str:
        return notebook.table(
            f"{self.claim.id}: {self.verdict}",
            [
                ("claim", self.claim.statement),
                *([("what is tested", self.claim.reading)] if self.claim.reading else []),
                ("because", self.reason),
                ("p", "none" if np.isnan(self.p) else f"{self.p:.3g}, adjusted {self.p_adjusted:.3g}"),
                *(((part.estimate.part or "estimate"), part.estimate.interval) for part in self.parts[:12]),
            ],
        )

    def record(self) -> dict[str, Any]:
        """Return what claims.json says of it; numbers that there are not become None."""
        one = self.deciding.estimate if self.deciding else None
        tests = self.claim.tests
        return {
            "id": self.claim.id,
            "experiment": self.experiment,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "reading": self.claim.reading,
            "verdict": self.verdict,
            "reason": self.reason,
            "estimate": _number(one.interval.estimate) if one else None,
            "interval": [_number(one.interval.low), _number(one.interval.high)] if one else [None, None],
            "level": self.level,
            "n": one.interval.n if one else 0,
            "test": f"{TEST}; {EQUAL_TEST}" if self.by_convention else TEST,
            "p": _number(self.p),
            "p_adjusted": _number(self.p_adjusted),
            "statistic": one.name if one else "; ".join(test.statistic for test in tests),
            "rule": one.test.rule if one else "; ".join(dict.fromkeys(test.rule for test in tests)),
            "parts": [
                {
                    "statistic": part.estimate.test.statistic,
                    "part": part.estimate.part,
                    "rule": part.estimate.test.rule,
                    "estimate": _number(part.estimate.interval.estimate),
                    "interval": [_number(part.estimate.interval.low), _number(part.estimate.interval.high)],
                    "n": part.estimate.interval.n,
                    "seeds_in_range": _number(part.agreeing),
                    "p_holds": _number(part.p_holds),
                    "p_fails": _number(part.p_fails),
                    "p_sign_flip": _number(part.p_sign_flip),
                }
                for part in self.parts
            ],
        }


TEST = (
    "Student's t over seeds, two-sided: p is twice the smaller of the largest p_holds (every part must hold) and the "
    "smallest p_fails times the number of parts (some part fails); Holm over all claims"
)
EQUAL_TEST = "here without a t: the value is the same in all seeds, and taken at its word"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def judge(cases: Sequence[Case], level: float = LEVEL) -> list[Judgement]:
    """Judge claims together, so that with the probability `level` no verdict among them is wrong.

    Each part of a claim is tested by Student's t over seeds, paired across settings because its statistic is computed
    within each seed. A claim is *supported* if every part is shown to lie in its accepted range: the largest p of the
    parts counts (intersection-union test, Berger 1982). It is *contradicted* if some part is shown to lie outside: the
    smallest p counts, times the number of parts (Bonferroni). Both are tested on either side of the same edge, so the
    smaller p is doubled: for a claim of one part, p <= 1 - level exactly where the interval lies on one side of the
    edge. The p of all claims are adjusted by Holm's method (1979). What is neither is *undecided*.

    Seeds whose value is not-a-number are left out, and n says so, unless their training diverged (see `estimate`). That
    leaves a claim undecided, as any infinite value does: it must not vanish, and no mean can be tested with it. Values
    that are equal in all seeds have no spread, and decide a claim if there are at least `FEWEST_EQUAL` of them and they
    are not on the edge.
    """
    tested = [_test(case, level) for case in cases]
    ps = [one.p for one in tested]
    return [
        _decide(replace(one, p_adjusted=adjusted, factor=factor))
        for one, adjusted, factor in zip(tested, holm(ps), _holm_factors(ps), strict=True)
    ]


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p values so that all together have the level of one (Holm 1979); not-a-number stays and does not count.

    >>> holm([0.01, 0.04, float("nan"), 0.03])
    [0.03, 0.06, nan, 0.06]
    """
    values = np.asarray(ps, dtype=float)
    order = _from_the_smallest(values)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return [float(p) for p in adjusted]


def _holm_factors(ps: Sequence[float]) -> list[int]:
    """By what Holm's method multiplies each p: how many there are from it upwards."""
    factors = np.ones(len(ps), dtype=int)
    order = _from_the_smallest(np.asarray(ps, dtype=float))
    factors[order] = np.arange(len(order), 0, -1)
    return factors.tolist()


def _from_the_smallest(values: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(values))
    return known[np.argsort(values[known], kind="stable")]


def _test(case: Case, level: float) -> Judgement:
    """Test a claim on its own; the verdict is still open."""
    empty = Judgement(case.experiment, case.claim, "not-run", "", (), None, np.nan, np.nan, level)
    if case.results is None:
        return replace(empty, reason=f"{case.experiment} was not run")
    if not case.claim.applies(case.results):
        needs = "; ".join(f"{name} {', '.join(map(str, labels))}" for name, labels in case.claim.needs.items())
        return replace(empty, reason=f"the results do not hold what it is about: {needs}")
    parts = tuple(_test_part(one) for one in estimate(case.claim, case.results, level))
    open_ = replace(empty, verdict="undecided", parts=parts)
    known = [part for part in parts if not np.isnan(part.p_holds)]
    if not known:
        fewest = min(parts, key=lambda part: part.estimate.interval.n, default=None)
        return replace(open_, deciding=fewest)
    p_holds, p_fails = _p_of_parts(parts)
    if p_holds <= p_fails:
        deciding = max(known, key=lambda part: part.p_holds)
    else:
        deciding = min(known, key=lambda part: part.p_fails)
    return replace(open_, deciding=deciding, p=min(1.0, 2 * min(p_holds, p_fails)))


def _p_of_parts(parts: Sequence[Part]) -> tuple[float, float]:
    """p that all parts hold, and that some fails; a part that cannot be tested may be either."""
    holds = [1.0 if np.isnan(part.p_holds) else part.p_holds for part in parts]
    fails = [1.0 if np.isnan(part.p_fails) else part.p_fails for part in parts]
    return max(holds), min(1.0, len(parts) * min(fails))


def _test_part(one: Estimate) -> Part:
    if _why_untested(one):
        return Part(one, np.nan, np.nan, _agreeing(one))
    values = one.values
    p_holds, p_fails = _one_sided(one, len(values))
    return Part(one, p_holds, p_fails, _agreeing(one))


def _why_untested(one: Estimate) -> str:
    """Say why a part cannot be tested, nothing if it can."""
    n = len(one.values)
    if n == 0:
        return "no seed has a value: nothing was measured, or it cannot be computed at this scale or on these data"
    infinite = int(np.isinf(one.values).sum())
    if infinite:
        return (
            f"no finite value in {infinite} of {one.seeds} seeds, as training diverged or what is waited for never "
            "came: no mean can be tested"
        )
    if one.test.log and (one.values <= 0).any():
        return "a seed has a value of zero or less, which has no logarithm"
    if n == 1:
        return "n = 1, and one seed does not tell how much seeds vary: at least 2 are needed"
    if n < FEWEST_EQUAL and _equal(one):
        return f"n = {n}, with equal values: at least {FEWEST_EQUAL} are needed"
    return ""


def _equal(one: Estimate) -> bool:
    """Whether the value is the same in all seeds."""
    return bool((one.values == one.values[:1]).all())


def _agreeing(one: Estimate) -> float:
    return float(np.mean((one.test.low < one.values) & (one.values < one.test.high))) if len(one.values) else np.nan


def _one_sided(one: Estimate, n: int) -> tuple[float, float]:
    """p that the mean is in the accepted range, and that it is not, had n seeds the mean and spread of these."""
    values = np.array([_scaled(one, value) for value in one.values])
    if (values == values[0]).all():  # their mean need not be that value to the last bit
        mean, error = values[0], 0.0
    else:
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(n)

    def p_beyond(edge: float, sign: int) -> float:
        distance = sign * (mean - edge)
        if error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(stdtr(n - 1, -distance / error))

    return _of_both_edges(one, p_beyond)


def _p_sign_flip(one: Estimate) -> float:
    if _why_untested(one):
        return np.nan
    values = np.array([_scaled(one, value) for value in one.values])
    return min(1.0, 2 * min(_of_both_edges(one, lambda edge, sign: sign_flip_p(sign * values, sign * edge))))


def _scaled(one: Estimate, value: float) -> float:
    if not one.test.log:
        return float(value)
    return float(np.log(value)) if value > 0 else -inf


def _of_both_edges(one: Estimate, p_beyond: Callable[[float, int], float]) -> tuple[float, float]:
    """p that the mean is in the accepted range, and that it is not, from p to be beyond an edge (1 up, -1 down)."""

    def p(edge: float, sign: int) -> float:
        return float(sign * edge > 0) if np.isinf(edge) else p_beyond(_scaled(one, edge), sign)

    low, high = one.test.low, one.test.high
    return max(p(low, 1), p(high, -1)), min(p(low, -1), p(high, 1))


def _decide(one: Judgement) -> Judgement:
    """Give the verdict, and say why."""
    if one.verdict == "not-run":
        return one
    if one.deciding is None:
        return replace(one, reason="its statistic selects nothing from the results")
    untested = [part for part in one.parts if np.isnan(part.p_holds)]
    holds = _leans_to_hold(one)
    if np.isnan(one.p) or (untested and (holds or one.p_adjusted > 1 - one.level)):
        part = untested[0]
        reason = f"{part.estimate.name}: {_why_untested(part.estimate)}"
        return replace(one, deciding=part, p=np.nan, p_adjusted=np.nan, reason=reason)
    verdict = one.verdict
    if one.p_adjusted <= 1 - one.level:
        verdict = "supported" if holds else "contradicted"
    decided = replace(one, verdict=verdict)
    return replace(decided, reason=_reason(decided))


def _leans_to_hold(one: Judgement) -> bool:
    p_holds, p_fails = _p_of_parts(one.parts)
    return p_holds <= p_fails


def _reason(one: Judgement) -> str:
    assert one.deciding is not None
    estimated = one.deciding.estimate
    interval, rule = estimated.interval, estimated.test.rule
    shown = f"{estimated.name}: {interval}"
    lost = estimated.seeds - interval.n
    if lost:
        shown += f" (without {lost} of {estimated.seeds} seeds that have no value)"
    if interval.n > 1 and _equal(estimated):
        shown += f" (equal in all {interval.n} seeds)"
    if one.verdict == "supported":
        every = f" in the least certain of {len(one.parts)} parts" if len(one.parts) > 1 else ""
        return f"{shown}, {rule}{every}"
    if one.verdict == "contradicted":
        return f"{shown}, where the claim says {rule}"
    side = "agrees with" if one.deciding.holds else "is against"
    if interval.estimate in (estimated.test.low, estimated.test.high):
        return f"{shown} lies on the edge of what the claim says ({rule})"
    many = f", one of {len(one.parts)} parts that are tested together" if len(one.parts) > 1 else ""
    alone = "" if one.p > 1 - one.level else " enough among so many claims (on its own it would decide)"
    return f"{shown} {side} the claim ({rule}){many}, but not surely{alone}; {_advice(one)}"


def _advice(one: Judgement) -> str:
    """Say how many seeds would decide."""
    seeds, n = seeds_needed(one), max(part.estimate.interval.n for part in one.parts)
    if seeds is None:
        return f"if mean and spread stay, not even {MOST_SEEDS:,} seeds would decide"
    if seeds <= n:
        return "a few more seeds, or clearer answers to the other claims, would decide"
    return f"if mean and spread stay, about {seeds:,} seeds in all would decide, as likely as not"


def seeds_needed(one: Judgement) -> int | None:
    """Say how many seeds would decide an undecided claim if means and spreads stayed; None for more than a thousand."""
    if np.isnan(one.p) or not one.parts:
        return None
    holds = all(part.holds for part in one.parts)
    if any(_why_untested(part.estimate) for part in one.parts):
        return None

    def enough(n: int) -> bool:
        pairs = [_one_sided(part.estimate, n) for part in one.parts]
        p = max(pair[0] for pair in pairs) if holds else len(pairs) * min(pair[1] for pair in pairs)
        return 2 * one.factor * p <= 1 - one.level

    low, high = max(part.estimate.interval.n for part in one.parts), MOST_SEEDS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
