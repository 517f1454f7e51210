"""Intervals: against scipy, against simulation, and where there is little to go by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from whydeep.claims import interval_band, mean_interval

finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=2, max_size=12))
def test_equals_scipy(values):
    interval = mean_interval(values)
    assert interval.estimate == pytest.approx(np.mean(values), abs=1e-6)
    if np.ptp(values) > 1e-3:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert interval.low == pytest.approx(expected.low, rel=1e-6, abs=1e-6)
        assert interval.high == pytest.approx(expected.high, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("log", [False, True])
def test_covers_the_mean_at_its_level(n, log):
    draws = np.random.default_rng(0).normal(1.0, 2.0, (n, 20_000))
    low, _, high = interval_band(np.exp(draws) if log else draws, log=log)
    truth = np.e if log else 1.0
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.006)


def test_a_bootstrap_would_be_too_narrow():
    """The usual mistake that the test above can tell apart: percentiles of resampled means."""
    generator = np.random.default_rng(1)
    draws = generator.normal(0.0, 1.0, (5, 2000))
    means = np.stack([draws[generator.integers(0, 5, 5)].mean(axis=0) for _ in range(400)])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    assert np.mean((low <= 0) & (high >= 0)) < 0.9


def test_ties_one_seed_and_missing_seeds():
    tie = mean_interval([1.0, 1.0, 1.0])
    assert (tie.low, tie.estimate, tie.high) == (1.0, 1.0, 1.0)
    one = mean_interval([2.0])
    assert (one.estimate, one.n) == (2.0, 1)
    assert np.isnan([one.low, one.high]).all()
    assert mean_interval([1.0, np.nan, 3.0]) == mean_interval([1.0, 3.0])
    nothing = mean_interval([np.nan])
    assert nothing.n == 0
    assert str(nothing) == "none"


def test_a_loss_of_zero_has_no_interval_on_the_logarithm():
    interval = mean_interval([0.0, 1.0, 2.0], log=True)
    assert interval.estimate == 0
    assert np.isnan(interval.low)


def test_seeds_many_orders_of_magnitude_apart_have_an_interval_without_end():
    interval = mean_interval([1.0, 1e-320], log=True)
    assert (interval.low, interval.high) == (0, np.inf)
    assert interval.estimate == pytest.approx(1e-160)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.951, 0.953, 0.955], "0.9530 [0.9480, 0.9580]"),
        ([1000, 1100, 1200], "1,100 [852, 1,348]"),
        ([1, 1, 1], "1 [1, 1]"),
        ([2.5], "2.5"),
        ([1e-9, 2e-9, 3e-9], "2e-09 [-4.84e-10, 4.48e-09]"),
    ],
)
def test_text_shows_as_many_digits_as_the_width_supports(values, text):
    assert str(mean_interval(values)) == text
