"""A test of a mean that does not take values for normal."""

import numpy as np
import scipy  # its parts are loaded when they are used
from numpy.typing import ArrayLike

EXACT = 2**13
"""Up to so many ways to flip signs, all are tried, that is up to 13 values; of more, as many at random."""


def sign_flip_p(values: ArrayLike, edge: float = 0.0) -> float:
    """p of the one-sided test that values lie above an edge, by flipping the signs of their distances (Fisher 1935).

    If values lie symmetrically around the edge, each sign is as likely as the other: p is the share of all ways to
    flip signs whose mean is at least the one that was seen. With n values it is never below 1 / 2^n; not-a-number for
    fewer than two.

    >>> sign_flip_p([1.0, 2.0, 3.0])
    0.125
    """
    distances = np.asarray(values, dtype=float) - edge
    if len(distances) < 2:
        return np.nan
    tried = scipy.stats.permutation_test(
        (distances,),
        lambda given, axis: given.mean(axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=EXACT,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(tried.pvalue)
