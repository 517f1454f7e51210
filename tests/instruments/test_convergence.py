"""When a loss has come to rest: against definitions written down again, and cases with a known answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.errors import SettingError
from whydeep.instruments import has_converged, settling_steps


def slow_settling_step(losses, level):
    trained = [value for value in losses if not np.isnan(value)]
    return next((start for start in range(len(trained)) if all(value < level for value in trained[start:])), np.nan)


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=30), st.integers(0, 5), st.floats(0.01, 2))
def test_settling_is_the_first_step_from_which_the_loss_stays_below(losses, stopped, level):
    row = np.array([*losses, *[np.nan] * stopped])
    np.testing.assert_array_equal(settling_steps(row[None], np.array([level])), [slow_settling_step(row, level)])


def test_members_settle_at_their_own_levels():
    losses = np.array([[3.0, 2, 1, 0], [3, 2, 1, 0], [0, 0, 0, 5]])
    np.testing.assert_array_equal(settling_steps(losses, np.array([2.5, 0.5, 1])), [1, 3, np.nan])


@pytest.mark.parametrize(("rate", "converged"), [(0.0, True), (1e-3, False), (-1e-3, True), (1e-4, True)])
def test_an_exponential_decay_has_converged_where_it_is_slow(rate, converged):
    """Geometric means of neighbouring windows of w steps differ by exp(-rate w): 1 % is w = 100, rate = 1.005e-4."""
    losses = np.exp(-rate * np.arange(1000))
    assert has_converged(losses, window=100, improvement=0.01) == converged
    assert not has_converged(np.exp(-1.01e-4 * np.arange(1000)), window=100, improvement=0.01)
    assert has_converged(np.exp(-1.00e-4 * np.arange(1000)), window=100, improvement=0.01)


def test_only_the_last_two_windows_count():
    losses = np.concatenate([np.linspace(100, 2, 50), np.ones(20)])
    assert has_converged(losses, window=10, improvement=0.01)
    assert not has_converged(losses[:60], window=10, improvement=0.01)
    assert not has_converged(np.ones(19), window=10, improvement=0.01)


def test_a_loss_that_is_not_finite_or_zero_has_not_converged():
    assert not has_converged(np.full(20, np.nan), window=10, improvement=0.01)
    assert not has_converged(np.zeros(20), window=10, improvement=0.01)


@pytest.mark.parametrize(("window", "improvement"), [(0, 0.1), (5, 0), (5, 1)])
def test_windows_and_shares_that_make_no_sense_are_refused(window, improvement):
    with pytest.raises(SettingError, match=r"window .* must be 1 or more"):
        has_converged(np.ones(20), window=window, improvement=improvement)
