"""Spearman's correlation: against scipy, and where there is none."""

from math import inf, nan

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from whydeep.claims import rank_correlation

few = st.integers(0, 4).map(float)  # few values make many ties
value = st.one_of(few, st.floats(-1e6, 1e6), st.sampled_from([nan, inf, -inf]))


def correlation(x, y):
    return float(rank_correlation(xr.DataArray(x, dims="size"), xr.DataArray(y, dims="size"), "size"))


@given(st.lists(st.tuples(value, value), max_size=12))
def test_equals_scipy_on_the_pairs_that_are_finite(pairs):
    x, y = np.array(pairs, dtype=float).reshape(-1, 2).T
    known = np.isfinite(x) & np.isfinite(y)
    found = correlation(x, y)
    if known.sum() < 3 or len(set(x[known])) == 1 or len(set(y[known])) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(x[known], y[known]).statistic)
        ranks = [stats.rankdata(one[known], method="average") for one in (x, y)]
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=9, unique=True))
def test_only_the_order_counts(values):
    x = np.array(values)
    assert correlation(x, np.arange(len(x))) == correlation(np.argsort(np.argsort(x)), np.arange(len(x)))
    assert correlation(x, x) == pytest.approx(1)
    assert correlation(x, -x) == pytest.approx(-1)


@given(st.lists(st.tuples(few, few), min_size=3, max_size=9))
def test_it_has_no_direction(pairs):
    x, y = np.array(pairs).T
    assert correlation(x, y) == pytest.approx(correlation(y, x), nan_ok=True)


def test_ties_take_their_mean_rank():
    """Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4; ties ranked by their place would give 1."""
    assert correlation([1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0, nan, 4.0], [1.0, nan, 3.0, 4.0]),
        ([1.0, 1.0, 9.0], [1.0, 2.0, nan]),
        ([], []),
    ],
    ids=["constant", "other constant", "two", "two pairs", "constant where known", "none"],
)
def test_there_is_none(x, y):
    assert np.isnan(correlation(x, y))


def test_other_dimensions_are_broadcast_and_remain():
    generator = np.random.default_rng(0)
    losses = xr.DataArray(generator.random((2, 6, 3)), dims=("network", "size", "seed"), coords={"network": ["a", "b"]})
    sizes = xr.DataArray(np.arange(6.0), dims="size")
    found = rank_correlation(losses, sizes, "size")
    assert dict(found.sizes) == {"network": 2, "seed": 3}
    assert found["network"].values.tolist() == ["a", "b"]
    for network in ("a", "b"):
        for seed in range(3):
            expected = stats.spearmanr(losses.sel(network=network)[:, seed], np.arange(6)).statistic
            assert float(found.sel(network=network)[seed]) == pytest.approx(expected)


def test_what_is_missing_can_leave_no_correlation():
    sizes = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="size")
    losses = xr.DataArray([[4.0, 3.0, np.nan, 1.0], [4.0, 3.0, 2.0, 1.0]], dims=("seed", "size"))
    np.testing.assert_array_equal(rank_correlation(losses, sizes, "size"), [-1, -1])
    np.testing.assert_array_equal(rank_correlation(losses, sizes, "size", skipna=False), [np.nan, -1])
