"""From the p of many parts and many claims to one level for all."""

from collections.abc import Sequence

import numpy as np


def p_of_parts(p_holds: Sequence[float], p_fails: Sequence[float]) -> tuple[float, float]:
    """p that all parts hold (intersection-union, Berger 1982), and that some part fails (Bonferroni).

    A part that cannot be tested, not-a-number, may be either.

    >>> p_of_parts([0.125, 0.25], [0.875, 0.75]), p_of_parts([0.125, float("nan")], [0.875, float("nan")])
    ((0.25, 1.0), (1.0, 1.0))
    """
    holds = [1.0 if np.isnan(p) else p for p in p_holds]
    fails = [1.0 if np.isnan(p) else p for p in p_fails]
    return max(holds), min(1.0, len(fails) * min(fails))


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


def holm_factors(ps: Sequence[float]) -> list[int]:
    """By what Holm's method multiplies each p: how many there are from it upwards; 1 for not-a-number."""
    factors = np.ones(len(ps), dtype=int)
    order = _from_the_smallest(np.asarray(ps, dtype=float))
    factors[order] = np.arange(len(order), 0, -1)
    return factors.tolist()


def _from_the_smallest(values: np.ndarray) -> np.ndarray:
    numbers = np.flatnonzero(~np.isnan(values))
    return numbers[np.argsort(values[numbers], kind="stable")]
