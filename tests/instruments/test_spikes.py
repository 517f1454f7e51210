"""Alignment of spikes: against a slow reference, when it is there, and when it is not."""

import numpy as np
import pytest
from scipy import stats

from whydeep.errors import SettingError
from whydeep.instruments import norm_excess, slope_change, spike_alignment


def falling(generator, members=1, time=800):
    """Two curves that fall by orders of magnitude, with noise of their own."""
    trend = np.exp(-np.linspace(0, 6, time))
    noise = generator.normal(0, 0.05, (2, members, time)).cumsum(axis=2) * 0.2
    return trend * np.exp(noise[0]), trend**0.5 * np.exp(noise[1])


def with_spikes(losses, norms, at):
    losses, norms = losses.copy(), norms.copy()
    for member, times in enumerate(at):
        for time in times:
            losses[member, time : time + 4] *= 1.5
            norms[member, time : time + 4] *= 5
    return losses, norms


def test_equals_a_slow_reference():
    losses, norms = falling(np.random.default_rng(0), members=2, time=300)
    found = spike_alignment(losses, norms)
    for member in range(2):
        excess, change = norm_excess(norms)[member], slope_change(losses)[member]
        correlation = stats.spearmanr(excess, change).statistic
        shifts = [stats.spearmanr(np.roll(excess, -k), change).statistic for k in range(15, 285)]
        assert found.correlation[member] == pytest.approx(correlation, abs=1e-10)
        assert found.excess[member] == pytest.approx(correlation - np.mean(shifts), abs=1e-10)
        assert found.p[member] == pytest.approx((1 + np.sum(np.array(shifts) >= correlation)) / 271)


def test_running_median_and_smoothed_second_difference():
    norms = np.exp(np.random.default_rng(1).normal(size=(1, 300)))
    expected = np.log(norms[0, 150]) - np.median(np.log(norms[0, 100:201]))
    assert norm_excess(norms)[0, 150] == pytest.approx(expected)
    losses = np.exp(np.random.default_rng(2).normal(size=(1, 300)))
    smooth = [np.log(losses[0, t - 2 : t + 3]).mean() for t in (145, 150, 155)]
    assert slope_change(losses)[0, 150] == pytest.approx(abs(smooth[0] - 2 * smooth[1] + smooth[2]))


def test_aligned_spikes_are_found():
    generator = np.random.default_rng(3)
    losses, norms = falling(generator, members=5)
    losses, norms = with_spikes(losses, norms, [generator.choice(790, 40, replace=False) for _ in range(5)])
    found = spike_alignment(losses, norms)
    assert (found.p < 0.05).all()
    assert (found.excess > 0.1).all()


def test_unrelated_series_are_not_although_both_fall():
    generator = np.random.default_rng(4)
    losses, norms = falling(generator, members=200)
    found = spike_alignment(losses, norms)
    assert np.mean(found.p < 0.05) < 0.12
    assert abs(found.excess.mean()) < 0.02
    naive = [stats.spearmanr(loss, norm).statistic for loss, norm in zip(losses, norms, strict=True)]
    assert np.mean(naive) > 0.9  # what correlating the curves themselves would have said


def test_constant_series_have_no_alignment():
    found = spike_alignment(np.ones((1, 200)), np.ones((1, 200)))
    assert (found.correlation[0], found.p[0]) == (0, 1)


@pytest.mark.parametrize(
    ("losses", "norms", "message"),
    [
        (np.ones((1, 200)), np.ones((1, 199)), r"must both be \[member, time\]"),
        (np.ones((1, 50)), np.ones((1, 50)), "at least 101 times"),
        (np.zeros((1, 200)), np.ones((1, 200)), "above zero"),
        (np.full((1, 200), np.nan), np.ones((1, 200)), "leave out what diverged"),
    ],
)
def test_wrong_series_are_named(losses, norms, message):
    with pytest.raises(SettingError, match=message):
        spike_alignment(losses, norms)
