"""Rank correlation along a dimension."""

import numpy as np
import scipy  # its parts are loaded when they are used
import xarray as xr


def rank_correlation(first: xr.DataArray, second: xr.DataArray, dim: str, *, skipna: bool = True) -> xr.DataArray:
    """Spearman's rank correlation of two quantities along a dimension, ties ranked by their mean (Spearman 1904).

    Pairs that are not finite are left out; with `skipna=False` they leave no correlation. Where fewer than three are
    left, or all values of one quantity are equal, there is none either: not-a-number.

    Args:
        first, second: with the dimension; the others are broadcast, and remain.

    >>> sizes = xr.DataArray([1.0, 2.0, 3.0], dims="size")
    >>> losses = xr.DataArray([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]], dims=("seed", "size"))
    >>> rank_correlation(losses, sizes, "size").values
    array([-1. , -0.5])
    """

    def correlation(x: np.ndarray, y: np.ndarray) -> float:
        finite = np.isfinite(x) & np.isfinite(y)
        if not (skipna or finite.all()):
            return np.nan
        x, y = x[finite], y[finite]
        if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return np.nan
        return float(scipy.stats.spearmanr(x, y).statistic)

    return xr.apply_ufunc(correlation, first, second, input_core_dims=[[dim], [dim]], vectorize=True)
