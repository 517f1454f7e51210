"""E7: ten networks, final values against a plain loop, claims on values made by hand."""

import json

import numpy as np
import pytest
import xarray as xr
from image_reference import MNIST, loss_and_accuracy, measure, settings_of, statistics, stream, train_plain, unmet

from whydeep.course.parameter_count import EXPERIMENT, HIDDEN
from whydeep.data import locate
from whydeep.networks import parameter_count


def test_networks_are_those_of_the_course_report():
    settings = settings_of(EXPERIMENT, "full", MNIST)
    parameters = [parameter_count(setting.widths) for setting in settings]
    assert (len(parameters), parameters[0], parameters[6], parameters[-1]) == (10, 1645, 178_110, 952_410)
    assert parameters == sorted(parameters)
    assert {(setting.epochs, setting.batch_size) for setting in settings} == {(70, 50)}


def test_final_values_are_those_of_a_plain_loop():
    setting, images = settings_of(EXPERIMENT)[2], locate("digits", None).load()
    both = measure(EXPERIMENT, setting, (0, 1))
    xr.testing.assert_identical(both.sel(seed=[1]), measure(EXPERIMENT, setting, (1,)))
    results = both.sel(seed=1)
    network = train_plain(
        setting,
        images,
        init=stream(EXPERIMENT, setting.name, 1, "init"),
        order=stream(EXPERIMENT, "", 1, "order"),
    )
    train = loss_and_accuracy(network, images.train_inputs[:500], images.train_labels[:500])
    test = loss_and_accuracy(network, images.test_inputs, images.test_labels)
    assert (results.train_loss, results.train_accuracy) == pytest.approx(train, rel=1e-4)
    assert (results.test_loss, results.test_accuracy) == pytest.approx(test, rel=1e-4)


@pytest.fixture
def results():
    accuracy = np.linspace(0.5, 0.95, 10)
    loss = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 1.5])  # one pair the wrong way round
    values = {
        "train_accuracy": accuracy + 0.01,
        "test_accuracy": accuracy,
        "train_loss": loss,
        "test_loss": loss,
        "parameters": 4e4 * np.arange(10.0),
    }
    settings = [vars(setting) for setting in settings_of(EXPERIMENT, "full", MNIST)]
    return xr.Dataset(
        {name: (("hidden", "seed"), column[:, None]) for name, column in values.items()},
        coords={"hidden": ["-".join(map(str, widths)) for widths in HIDDEN], "seed": [0]},
        attrs={"settings": json.dumps(settings)},
    )


def test_claims_about_parameters(results):
    accuracies, losses = statistics(EXPERIMENT, "C17", results)
    assert accuracies == pytest.approx([1, 1])
    assert losses == pytest.approx([-(1 - 12 / 990)] * 2)
    assert statistics(EXPERIMENT, "C18", results)[0] == pytest.approx(0.95 - 0.8)
    assert statistics(EXPERIMENT, "C19", results)[0] == pytest.approx([0.01] * 10)


@pytest.mark.parametrize("factor", [0.4, 2])
def test_of_smaller_or_larger_images_no_network_is_near_the_parameters_of_the_claim(results, factor):
    assert unmet(EXPERIMENT, "C18", results) == ()
    other = results.assign(parameters=factor * results.parameters)
    assert unmet(EXPERIMENT, "C18", other)[0].endswith("(hidden 200-100)")
