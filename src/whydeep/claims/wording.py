"""What verdicts say in words: reasons, advice, and p values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whydeep.claims.part_tests import Part, why_untested
from whydeep.claims.seeds_needed import MOST_SEEDS, seeds_needed

if TYPE_CHECKING:
    from whydeep.claims.verdict import Judgement

TEST = (
    "Student's t over seeds, two-sided: p is twice the smaller of the largest p_holds (every part must hold) and the "
    "smallest p_fails times the number of parts (some part fails); Holm over all claims"
)
EQUAL_TEST = "here without a t test: all seeds have the same value"


def format_p(p: float, name: str = "") -> str:
    """Write a p value, after its name if it has one; "none" where there is no p.

    >>> format_p(0.03118), format_p(0.0002), format_p(float("nan")), format_p(0.0002, "p"), format_p(0.5, "p")
    ('0.0312', '< 0.001', 'none', 'p < 0.001', 'p = 0.5')
    """
    if np.isnan(p):
        return "none"
    if p < 0.001:
        return f"{name} < 0.001".lstrip()
    return f"{name} = {p:.3g}" if name else f"{p:.3g}"


def adjusted_p(judgement: Judgement, name: str = "") -> str:
    """Write the adjusted p of a claim, "equal values" where there is no test, nothing where there is no p."""
    if judgement.by_convention:
        return "equal values"
    return "" if np.isnan(judgement.p_adjusted) else format_p(judgement.p_adjusted, name)


def reason(judgement: Judgement) -> str:
    """Say why a claim has its verdict."""
    if judgement.verdict == "not-run":
        return judgement.evidence.problem
    if judgement.verdict == "preview":
        return preview_text(judgement, _preview_estimate(judgement))
    if judgement.deciding is None:
        return "its statistic selects nothing from the results"
    if np.isnan(judgement.p):
        return _untested(judgement.deciding)
    number, rule = len(judgement.parts), judgement.deciding.estimate.test.rule
    estimated = _estimated(judgement.deciding)
    if judgement.verdict == "supported":
        return f"{estimated}, {rule}{f' in the least certain of {number} parts' if number > 1 else ''}"
    if judgement.verdict == "contradicted":
        return f"{estimated}, where the claim says {rule}"
    if judgement.deciding.lean == "open":
        return f"{estimated} lies on the edge of what the claim says ({rule})"
    side = "agrees with" if judgement.deciding.lean == "for" else "is against"
    many = f", one of {number} parts that are tested together" if number > 1 else ""
    return f"{estimated} {side} the claim ({rule}){many}, but {_uncertain(judgement)}; {_advice(judgement)}"


def preview_text(judgement: Judgement, estimate: str = "") -> str:
    """Say what a preview's run lacks, what it leans to, and which command decides; an estimate follows the lean."""
    unmet = ", ".join(judgement.unmet)
    at = "at " if unmet[:1].isdigit() else ""
    decided_by = f"; decided by: {judgement.case.decided_by}" if judgement.case.decided_by else ""
    return f"{at}{unmet}: {judgement.lean}{f' ({estimate})' if estimate else ''}{decided_by}"


def _preview_estimate(judgement: Judgement) -> str:
    if judgement.evidence.problem:
        return judgement.evidence.problem
    part = judgement.deciding
    if part is None:
        return "its statistic selects nothing from the results"
    if not np.isfinite(part.estimate.interval.estimate):
        return _untested(part)
    claimed = ", " if judgement.lean == "for" else ", where the claim says "
    return f"{_estimated(part)}{claimed}{part.estimate.test.rule}"


def _estimated(part: Part) -> str:
    """Write the estimate of a part, and of how many seeds it is where that is not plain."""
    given, n = part.estimate, part.estimate.interval.n
    text = f"{given.name}: {given.interval}"
    if n < given.seeds:
        text += f" (without {given.seeds - n} of {given.seeds} seeds that have no value)"
    if n > 1 and given.equal:
        text += f" (equal in all {n} seeds)"
    return text


def _untested(part: Part) -> str:
    return f"{part.estimate.name}: {why_untested(part.estimate)}"


def _uncertain(judgement: Judgement) -> str:
    if judgement.p > 1 - judgement.level:
        return "this is not certain"
    return "this is not certain enough among so many claims (alone it would be)"


def _advice(judgement: Judgement) -> str:
    """Say how many seeds would decide, or what can't be tested."""
    for part in judgement.parts:
        if not part.tested:
            return _untested(part)
    seeds, n = seeds_needed(judgement), max(part.estimate.interval.n for part in judgement.parts)
    if seeds is None:
        return f"with the same mean and spread, not even {MOST_SEEDS:,} seeds would decide"
    if seeds <= n:
        return "a few more seeds, or clearer answers to the other claims, would decide"
    return f"with the same mean and spread, about {seeds:,} seeds in all would decide"
