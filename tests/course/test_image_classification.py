"""E2: networks of the course report, learning curves against a plain loop, claims against their closed forms."""

import numpy as np
import pytest
import xarray as xr
from image_reference import (
    MNIST,
    loss_and_accuracy,
    measure,
    settings_of,
    statistics,
    stream,
    train_plain,
)

from whydeep.course.image_classification import EXPERIMENT
from whydeep.data import locate
from whydeep.errors import SettingError
from whydeep.networks import parameter_count


def test_networks_have_as_many_parameters_as_those_of_the_course_report():
    settings = settings_of(EXPERIMENT, "full", MNIST)
    assert [parameter_count(setting.widths) for setting in settings] == [23_860, 23_893, 23_890]
    assert {(setting.epochs, setting.batch_size) for setting in settings} == {(80, 50)}
    for setting in settings_of(EXPERIMENT):
        assert parameter_count(setting.widths) == pytest.approx(23_860, rel=0.01)


def test_a_budget_and_widths_can_be_set():
    (given,) = settings_of(EXPERIMENT, network="20-7", budget=100_000)
    assert given.widths == (64, 20, 7, 10)
    for setting in settings_of(EXPERIMENT, images=MNIST, budget=100_000):
        assert parameter_count(setting.widths) == pytest.approx(100_000, rel=0.01)
    with pytest.raises(SettingError, match="network '20-': give shallow, medium, deep, or widths such as 100-50"):
        settings_of(EXPERIMENT, network="20-")


def test_learning_curves_are_those_of_a_plain_loop():
    setting, images = settings_of(EXPERIMENT, train_images=300)[1], locate("digits", None).load()
    results = measure(EXPERIMENT, setting, (0, 4))
    xr.testing.assert_identical(results.sel(seed=[4]), measure(EXPERIMENT, setting, (4,)))
    network = train_plain(
        setting,
        images,
        init=stream(EXPERIMENT, "medium", 4, "init"),
        order=stream(EXPERIMENT, "", 4, "order"),
    )
    end = results.sel(seed=4).isel(epoch=-1)
    for split, count in (("train", 300), ("test", 355)):
        samples = (getattr(images, f"{split}_{kind}")[:count] for kind in ("inputs", "labels"))
        assert (end[f"{split}_loss"], end[f"{split}_accuracy"]) == pytest.approx(
            loss_and_accuracy(network, *samples), rel=1e-4
        )


def curves(**values):
    """Results of the three networks over twelve epochs; values are [network][epoch], ones where none are given."""
    ones = dict.fromkeys(("train_loss", "train_accuracy", "test_accuracy"), np.ones((3, 12)))
    arrays = {name: np.array(value, dtype=float) for name, value in (ones | values).items()}
    return xr.Dataset(
        {name: (("network", "epoch", "seed"), array[:, :, None]) for name, array in arrays.items()},
        coords={"network": ["shallow", "medium", "deep"], "seed": [0]},
    ).assign_coords(epoch=np.arange(1, 13))


def test_a_loss_that_falls_by_a_factor_has_that_trend_and_no_spread():
    falling = np.exp(-0.1 * np.arange(12)) * np.ones((3, 1))
    change, spread = statistics(EXPERIMENT, "C6", curves(train_loss=falling))
    assert change == pytest.approx([np.exp(-1) - 1] * 3)  # over the last ten epochs
    assert spread == pytest.approx([0] * 3, abs=1e-12)
    wiggling = falling * np.where(np.arange(12) % 2, 1.1, 1 / 1.1)
    assert np.all(np.array(statistics(EXPERIMENT, "C6", curves(train_loss=wiggling))[1]) > 0.08)


def test_two_epochs_have_no_trend():
    two = curves(train_loss=np.ones((3, 12))).isel(epoch=slice(2))
    assert np.isnan(statistics(EXPERIMENT, "C6", two)).all()


def test_accuracies_are_means_of_the_last_ten_epochs():
    first = np.array([[0.0, 0.0] + [level] * 10 for level in (0.95, 0.96, 0.93)])
    results = curves(train_accuracy=first + 0.03, test_accuracy=first)
    assert statistics(EXPERIMENT, "C7", results)[0] == pytest.approx([0.03] * 3)
    assert statistics(EXPERIMENT, "C8", results)[0] == pytest.approx([0.01, 0.03])
    final, late = statistics(EXPERIMENT, "C9", results)
    assert (final, late) == (pytest.approx([0.98, 0.99, 0.96]), pytest.approx([0.95, 0.96, 0.93]))
