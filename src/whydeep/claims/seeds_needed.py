"""How many seeds would decide a claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whydeep.claims.multiplicity import p_of_parts
from whydeep.claims.part_tests import t_test

if TYPE_CHECKING:
    from whydeep.claims.verdict import Judgement

MOST_SEEDS = 1000
"""Larger numbers of seeds are not worth the advice."""


def seeds_needed(judgement: Judgement) -> int | None:
    """Say how many seeds would decide an undecided claim if means and spreads stayed.

    None for more than `MOST_SEEDS`, and where a part cannot be tested.
    """
    parts = judgement.parts
    if np.isnan(judgement.p) or not all(part.tested for part in parts):
        return None

    def enough(n: int) -> bool:
        pairs = [t_test(part.estimate, n) for part in parts]
        p_holds, p_fails = p_of_parts([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        p = p_holds if judgement.lean == "for" else p_fails
        return 2 * judgement.factor * p <= 1 - judgement.level

    low, high = max(part.estimate.interval.n for part in parts), MOST_SEEDS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
