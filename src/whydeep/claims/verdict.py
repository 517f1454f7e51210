"""From claims and results to verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from whydeep import notebook
from whydeep.claims import wording
from whydeep.claims.case import Case, Evidence
from whydeep.claims.claim import Claim
from whydeep.claims.intervals import LEVEL
from whydeep.claims.multiplicity import holm, holm_factors, p_of_parts
from whydeep.claims.part_tests import Lean, Part, finite_or_none, part_test

Verdict = Literal["supported", "contradicted", "undecided", "preview", "not-run"]


@dataclass(frozen=True)
class Judgement:
    """What became of a claim.

    Attributes:
        case: what was judged.
        evidence: by what.
        verdict: supported, contradicted or undecided; preview where its needs are not met, and not-run where
            nothing could be estimated.
        reason: why, in a sentence; for an undecided claim, what would decide it.
        parts: every part of every test.
        deciding: the part that decides: the least certain one of a claim that seems to hold, else the one furthest out.
        p: two-sided, of the whole claim; not-a-number where nothing can be tested, 0 where all seeds have one value.
        p_adjusted: by Holm's method over all claims that were judged together.
        level: of the intervals; a verdict needs an adjusted p of at most 1 - level.
        factor: by which p is multiplied among the claims judged with it.
    """

    case: Case
    evidence: Evidence
    verdict: Verdict
    reason: str
    parts: tuple[Part, ...]
    deciding: Part | None
    p: float
    p_adjusted: float
    level: float
    factor: int = 1

    @property
    def experiment(self) -> str:
        """The experiment that the claim is about."""
        return self.case.experiment

    @property
    def claim(self) -> Claim:
        """The claim."""
        return self.case.claim

    @property
    def unmet(self) -> tuple[str, ...]:
        """Conditions of the claim that the settings that were run do not meet."""
        return self.evidence.unmet

    @property
    def lean(self) -> Lean:
        """What the estimates say, whether or not that is certain: against the claim if any is."""
        leans = {part.lean for part in self.parts}
        return "against" if "against" in leans else "for" if leans == {"for"} else "open"

    @property
    def by_convention(self) -> bool:
        """Whether a value that is equal in all seeds decided, without a test; p is then 0."""
        return self.p == 0 and self.deciding is not None and self.deciding.estimate.equal

    def _repr_html_(self) -> str:
        p = wording.format_p(self.p), wording.format_p(self.p_adjusted)
        return notebook.table(
            f"{self.claim.id}: {self.verdict}",
            [
                ("claim", self.claim.statement),
                *([("what is tested", self.claim.reading)] if self.claim.reading else []),
                ("because", self.reason),
                ("p", p[0] if np.isnan(self.p) else f"{p[0]}, adjusted {p[1]}"),
                *(((part.estimate.part or "estimate"), part.estimate.interval) for part in self.parts[:12]),
            ],
        )

    def record(self) -> dict[str, Any]:
        """Return what claims.json says of it; numbers that there are not become None."""
        given, tests = self.deciding.estimate if self.deciding else None, self.claim.tests
        return {
            "id": self.claim.id,
            "experiment": self.experiment,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "reading": self.claim.reading,
            "verdict": self.verdict,
            "reason": self.reason,
            "estimate": finite_or_none(given.interval.estimate) if given else None,
            "interval": [finite_or_none(given.interval.low), finite_or_none(given.interval.high)]
            if given
            else [None, None],
            "level": self.level,
            "n": given.interval.n if given else 0,
            "test": f"{wording.TEST}; {wording.EQUAL_TEST}" if self.by_convention else wording.TEST,
            "p": finite_or_none(self.p),
            "p_adjusted": finite_or_none(self.p_adjusted),
            "statistic": given.name if given else "; ".join(test.statistic for test in tests),
            "rule": given.test.rule if given else "; ".join(dict.fromkeys(test.rule for test in tests)),
            "lean": self.lean,
            "needs": list(self.evidence.needs),
            "unmet": list(self.unmet),
            "problem": self.evidence.problem,
            "decided_by": self.case.decided_by,
            "tests": [
                {"statistic": test.statistic, "low": finite_or_none(test.low), "high": finite_or_none(test.high)}
                for test in tests
            ],
            "parts": [part.record() for part in self.parts],
        }


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

    A claim with a part that cannot be tested can't be supported any more. It has a p as long as its other parts speak
    against it, and counts among the others only then. A claim whose conditions are not met (`Claim.unmet`) is a
    *preview*: it is estimated, but has no p, and no influence on the others.

    Raises:
        SettingError: a statistic cannot be computed; the message names the claim.
    """
    tested = [_test(case, level) for case in cases]
    ps = [judgement.p for judgement in tested]
    return [
        _decide(replace(judgement, p_adjusted=adjusted, factor=factor))
        for judgement, adjusted, factor in zip(tested, holm(ps), holm_factors(ps), strict=True)
    ]


def _test(case: Case, level: float) -> Judgement:
    """Test a claim on its own; its verdict and the reason for it are still open."""
    evidence = case.evidence(level)
    parts = tuple(map(part_test, evidence.estimates))
    judgement = Judgement(case, evidence, "undecided", "", parts, None, np.nan, np.nan, level)
    if evidence.unmet:
        return replace(judgement, verdict="preview", deciding=_deciding_preview(judgement))
    if evidence.problem:
        return replace(judgement, verdict="not-run")
    if not parts:
        return judgement
    p_holds, p_fails = _p_of_parts(parts)
    untested = [part for part in parts if not part.tested]
    if p_holds > p_fails:
        deciding = min((part for part in parts if part.tested), key=lambda part: part.p_fails)
    elif untested:  # it can't be supported, and nothing speaks against it
        return replace(judgement, deciding=untested[0])
    else:
        deciding = max(parts, key=lambda part: part.p_holds)
    return replace(judgement, deciding=deciding, p=min(1.0, 2 * min(p_holds, p_fails)))


def _p_of_parts(parts: Sequence[Part]) -> tuple[float, float]:
    return p_of_parts([part.p_holds for part in parts], [part.p_fails for part in parts])


def _deciding_preview(judgement: Judgement) -> Part | None:
    """Return the part that the lean rests on; of those the one that is most certainly outside, or least inside."""
    parts = [part for part in judgement.parts if part.lean == judgement.lean]
    if judgement.lean == "against":
        return min(parts, key=lambda part: part.p_fails if part.tested else np.inf)
    return max(parts, key=lambda part: np.inf if not part.tested else part.p_holds, default=None)


def _decide(judgement: Judgement) -> Judgement:
    """Give the verdict, and say why."""
    if judgement.verdict == "undecided" and judgement.p_adjusted <= 1 - judgement.level:
        p_holds, p_fails = _p_of_parts(judgement.parts)
        judgement = replace(judgement, verdict="supported" if p_holds <= p_fails else "contradicted")
    return replace(judgement, reason=wording.reason(judgement))
