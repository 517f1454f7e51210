import numpy as np
import pytest

from whydeep.report.style import MOST_POINTS, draw_band, extremes, new_figure

COUNT = 20_000


def drawn(scale, count):
    """Places along x of the points of a curve of so many, on an axis of one scale."""
    axes = new_figure().subplots()
    axes.set_xscale(scale)
    draw_band(axes, np.arange(1, count + 1), np.ones((3, count)), label="curve", colour="black")
    return axes.lines[0].get_xdata()


def test_a_long_curve_is_thinned_evenly():
    x = drawn("linear", COUNT)
    assert 0.9 * MOST_POINTS < len(x) <= MOST_POINTS
    assert len(set(np.diff(x))) == 1


def test_on_a_logarithmic_axis_the_first_points_are_all_drawn_and_the_last_is():
    x = drawn("log", COUNT)
    assert len(x) <= MOST_POINTS
    assert x[:20].tolist() == list(range(1, 21))
    assert x[-1] == COUNT
    assert np.diff(np.log(x)).max() <= np.log(2)
    assert np.diff(np.log(x[x > 100])).max() < 0.05


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("count", [1, 2, MOST_POINTS])
def test_a_short_curve_is_drawn_whole(scale, count):
    assert drawn(scale, count).tolist() == list(range(1, count + 1))


def test_extremes_hold_every_spike_and_the_last_one_before_a_curve_ends():
    values = np.random.default_rng(0).lognormal(size=10_000)
    spikes = [17, 5000, 9400]
    values[spikes] = [1e6, 1e-6, 3e38]
    values[9401:] = np.nan
    kept = extremes(values, 750)
    assert len(kept) <= 1500
    assert set(spikes) <= set(kept)
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_extremes_of_few_values_are_all(count):
    assert extremes(np.arange(count), 750).tolist() == list(range(count))
