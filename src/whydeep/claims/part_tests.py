"""Whether one part of a claim holds: Student's t over seeds, and sign flips beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
import scipy  # its parts are loaded when they are used

from whydeep.claims.estimates import Estimate
from whydeep.claims.sign_flip import sign_flip_p

Lean = Literal["for", "against", "open"]

FEWEST_EQUAL = 3
"""Seeds that must have the same value before values without any spread decide a claim."""


@dataclass(frozen=True)
class Part:
    """One part of a claim, tested.

    Attributes:
        estimate: with its interval over seeds.
        p_holds: of the one-sided test that the mean lies in the accepted range, against outside of it or on its edge.
        p_fails: of the one-sided test that it lies outside, against inside or on the edge.
    """

    estimate: Estimate
    p_holds: float
    p_fails: float

    @property
    def tested(self) -> bool:
        """Whether there is a test of it."""
        return not np.isnan(self.p_holds)

    @property
    def p_sign_flip(self) -> float:
        """Of the sign-flip test, two-sided, which does not take seeds to vary normally; it decides nothing."""
        return sign_flip_test(self.estimate)

    @property
    def agreeing(self) -> float:
        """Share of the seeds whose own value is in the range."""
        return self.estimate.agreeing

    @property
    def lean(self) -> Lean:
        """On which side of the claim the estimate lies; open where there is none, or on the edge."""
        value, low, high = self.estimate.interval.estimate, self.estimate.test.low, self.estimate.test.high
        if low < value < high:
            return "for"
        return "against" if np.isfinite(value) and value not in (low, high) else "open"

    def record(self) -> dict[str, Any]:
        """Return what claims.json says of it, which is enough to judge it again."""
        given, interval = self.estimate, self.estimate.interval
        return {
            "statistic": given.test.statistic,
            "part": given.part,
            "rule": given.test.rule,
            "estimate": finite_or_none(interval.estimate),
            "interval": [finite_or_none(interval.low), finite_or_none(interval.high)],
            "n": interval.n,
            "seeds_in_range": finite_or_none(self.agreeing),
            "p_holds": finite_or_none(self.p_holds),
            "p_fails": finite_or_none(self.p_fails),
            "p_sign_flip": finite_or_none(self.p_sign_flip),
            "low": finite_or_none(given.test.low),
            "high": finite_or_none(given.test.high),
            "log": bool(given.log),
            "limits": [finite_or_none(end) for end in given.limits],
            "values": [float(value) if np.isfinite(value) else str(value) for value in given.values],
            "seeds": given.seeds,
        }


def finite_or_none(value: float) -> float | None:
    """Return a number as JSON can hold it: None for not-a-number and the infinite."""
    return float(value) if np.isfinite(value) else None


def why_untested(estimate: Estimate) -> str:
    """Say why a part cannot be tested, nothing if it can."""
    n = len(estimate.values)
    if n == 0:
        return "no seed has a value: nothing was measured, or it cannot be computed at this scale or on these data"
    infinite = int(np.isinf(estimate.values).sum())
    if infinite:
        return (
            f"no finite value in {infinite} of {estimate.seeds} seeds, as training diverged, or what the "
            "statistic waits for did not occur: no mean can be tested"
        )
    if estimate.log and (estimate.values <= 0).any():
        return "a seed has a value of zero or less, which has no logarithm"
    if n == 1:
        return "n = 1, and one seed does not tell how much seeds vary: at least 2 are needed"
    if n < FEWEST_EQUAL and estimate.equal:
        return f"n = {n}, with equal values: at least {FEWEST_EQUAL} are needed"
    return ""


def part_test(estimate: Estimate) -> Part:
    """Test one part of a claim."""
    return Part(estimate, *t_test(estimate, len(estimate.values)))


def t_test(estimate: Estimate, n: int) -> tuple[float, float]:
    """p of two one-sided tests, that the mean is accepted and that it is not, had n seeds its mean and spread.

    Not-a-number where a part cannot be tested.
    """
    if why_untested(estimate):
        return np.nan, np.nan
    values = np.array([_scaled(estimate, value) for value in estimate.values])
    if (values == values[0]).all():  # their mean need not be that value to the last bit
        mean, error = values[0], 0.0
    else:
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(n)

    def p_beyond(edge: float, sign: int) -> float:
        distance = sign * (mean - edge)
        if error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(scipy.special.stdtr(n - 1, -distance / error))

    return _at_both_edges(estimate, p_beyond)


def sign_flip_test(estimate: Estimate) -> float:
    """p of the sign-flip test, two-sided; not-a-number where there is no test."""
    if why_untested(estimate):
        return np.nan
    values = np.array([_scaled(estimate, value) for value in estimate.values])
    return min(1.0, 2 * min(_at_both_edges(estimate, lambda edge, sign: sign_flip_p(sign * values, sign * edge))))


def _at_both_edges(estimate: Estimate, p_beyond: Callable[[float, int], float]) -> tuple[float, float]:
    """p that the mean is accepted, and that it is not, from p to be beyond an edge (1 up, -1 down)."""

    def p(edge: float, sign: int) -> float:
        edge = _scaled(estimate, edge)  # infinite as well for zero on the logarithm
        return float(sign * edge > 0) if np.isinf(edge) else p_beyond(edge, sign)

    low, high = estimate.test.low, estimate.test.high
    return max(p(low, 1), p(high, -1)), min(p(low, -1), p(high, 1))


def _scaled(estimate: Estimate, value: float) -> float:
    """Take the logarithm where the estimate is on it; of zero and less it is minus infinity."""
    if not estimate.log:
        return float(value)
    return float(np.log(value)) if value > 0 else -inf
