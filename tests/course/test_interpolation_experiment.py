"""E8: networks on the line against plain training, claims and barriers on curves made by hand."""

import json

import numpy as np
import pytest
import xarray as xr
from image_reference import MNIST, loss_and_accuracy, measure, settings_of, statistics, stream, train_plain, unmet

from whydeep.course.interpolation import EXPERIMENT
from whydeep.data import locate
from whydeep.data.sources import PUBLISHED
from whydeep.errors import SettingError
from whydeep.networks import MLP, parameter_count


def test_networks_are_those_of_the_course_report():
    (setting,) = settings_of(EXPERIMENT, "full", MNIST)
    assert parameter_count(setting.widths) == 23_860
    assert (setting.epochs, setting.batch_size, setting.evaluated_images) == (10, 25, 60_000)
    assert (setting.learning_rate, setting.second_learning_rate) == (0.001, 0.01)
    np.testing.assert_array_equal(setting.alphas, np.round(np.linspace(-1, 2, 61), 2))


@pytest.mark.parametrize(("steps", "beyond", "alphas"), [(1, 0, [0, 1]), (2, 0.5, [-0.5, 0, 0.5, 1, 1.5])])
def test_both_networks_are_on_any_line(steps, beyond, alphas):
    (setting,) = settings_of(EXPERIMENT, alpha_steps=steps, beyond=beyond)
    assert setting.alphas.tolist() == alphas


def test_no_more_images_are_evaluated_than_were_trained_on():
    (setting,) = settings_of(EXPERIMENT, "full")
    assert setting.evaluated_images == setting.train_images == 1442
    with pytest.raises(SettingError, match="evaluated_images is 300, and at most 200 images are used"):
        settings_of(EXPERIMENT, train_images=200, evaluated_images=300)


def test_the_ends_of_the_line_are_the_two_trained_networks():
    (setting,), images = settings_of(EXPERIMENT), locate("digits", None).load()
    both = measure(EXPERIMENT, setting, (0, 3))
    xr.testing.assert_identical(both.sel(seed=[3]), measure(EXPERIMENT, setting, (3,)))
    results = both.sel(seed=3)

    def trained(initial, order, learning_rate):
        init, orders = stream(EXPERIMENT, initial, 3, "init"), stream(EXPERIMENT, order, 3, "order")
        return train_plain(setting, images, init=init, order=orders, learning_rate=learning_rate)

    first = trained("first", "first", 0.001)
    data = {
        "train": (images.train_inputs[:500], images.train_labels[:500]),
        "test": (images.test_inputs[:300], images.test_labels[:300]),
    }
    for initialisation, initial in (("different", "second"), ("shared", "first")):
        second = trained(initial, "second", 0.01)
        between = MLP(setting.widths)
        for parameter, a, b in zip(*(net.parameters() for net in (between, first, second)), strict=True):
            parameter.data = 0.35 * a.data + 0.65 * b.data
        line = results.sel(initialisation=initialisation)
        for alpha, network in ((0.0, first), (0.65, between), (1.0, second)):
            for split, samples in data.items():
                loss, accuracy = loss_and_accuracy(network, *samples)
                assert line[f"{split}_loss"].sel(alpha=alpha) == pytest.approx(loss, rel=1e-3)
                assert line[f"{split}_accuracy"].sel(alpha=alpha) == pytest.approx(accuracy, abs=0.005)


@pytest.fixture
def lines():
    """The loss is above the straight line by 0.5 and 2."""
    losses, accuracies = [9.0, 1, 2, 4, 3, 9], [0.2, 0.9, 0.5, 0.91, 0.8, 0.3]
    shape = ("seed", "initialisation", "alpha")
    return xr.Dataset(
        {
            f"{split}_{name}": (shape, np.broadcast_to(values, (2, 2, 6)))
            for split in ("train", "test")
            for name, values in (("loss", losses), ("accuracy", accuracies))
        },
        coords={
            "seed": [0, 1],
            "initialisation": ["different", "shared"],
            "alpha": np.array([-1, 0, 0.25, 0.5, 1, 2]),
        },
    )


def test_the_claim_compares_with_the_poorer_end(lines):
    assert statistics(EXPERIMENT, "C20", lines.isel(seed=[0]))[0] == pytest.approx([0.11, 0.11])


def test_the_table_has_both_ends_and_what_lies_between(lines):
    (table,) = (make(lines) for make in EXPERIMENT.tables)
    assert [row[0] for row in table.rows] == [
        f"{place}, {split} images" for place in ("different", "shared") for split in ("training", "test")
    ]
    numbers = [float(cell.split()[0]) for cell in table.rows[0][1:]]
    assert numbers == [1, 3, 2, 0.9, 0.8, 0.5]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ()),
        ({"second_learning_rate": 0.02}, ("second learning rate 0.02 instead of 0.01",)),
        ({"batch_size": 50}, ("batch size 50 instead of 25",)),
        ({"alpha_steps": 10}, ("alpha steps 10 instead of 20",)),
        ({"epochs": 3}, ("3 of 10 epochs",)),
    ],
)
def test_what_the_claim_needs(changes, problem):
    settings = [vars(setting) for setting in settings_of(EXPERIMENT, "full", MNIST, **changes)]
    assert unmet(EXPERIMENT, "C20", xr.Dataset(attrs={"settings": json.dumps(settings)})) == problem


def test_images_of_the_same_size_are_not_what_the_claim_is_about():
    settings = [vars(setting) for setting in settings_of(EXPERIMENT, "full", MNIST)]
    mnist, fashion = (PUBLISHED[name].title for name in ("mnist", "fashion-mnist"))
    results = xr.Dataset(attrs={"settings": json.dumps(settings), "dataset": mnist})
    assert unmet(EXPERIMENT, "C20", results) == ()
    results.attrs["dataset"] = fashion
    assert unmet(EXPERIMENT, "C20", results) == ("dataset Fashion-MNIST instead of MNIST",)
