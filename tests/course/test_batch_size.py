"""E9: sensitivity and sharpness against autograd in float64, claims on values made by hand."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from image_reference import MNIST, loss_and_accuracy, measure, settings_of, statistics, stream, train_plain
from torch.nn import functional

from whydeep.claims import Case
from whydeep.course.batch_size import EXPERIMENT
from whydeep.data import locate
from whydeep.errors import SettingError
from whydeep.networks import parameter_count


def test_networks_are_those_of_the_course_report():
    settings = settings_of(EXPERIMENT, "full", MNIST)
    assert [parameter_count(setting.widths) for setting in settings] == [16_640] * 5
    assert [setting.batch_size for setting in settings] == [5, 25, 125, 500, 1500]
    assert {setting.epochs for setting in settings} == {40}


def test_batches_hold_at_most_all_images():
    settings = settings_of(EXPERIMENT, train_images=200)
    assert [setting.batch_size for setting in settings] == [5, 25, 125, 200]
    with pytest.raises(SettingError, match="batch_size is 300, and at most 200 images are used"):
        settings_of(EXPERIMENT, train_images=200, batch_size=[300])
    with pytest.raises(SettingError, match="sharpness_images is 300, and at most 200 images are used"):
        settings_of(EXPERIMENT, train_images=200, sharpness_images=300)


@pytest.fixture(scope="module")
def measured():
    setting = dataclasses.replace(settings_of(EXPERIMENT)[2], train_images=300, test_images=40, sharpness_images=50)
    return setting, measure(EXPERIMENT, setting, (0, 1))


def test_a_seed_does_not_depend_on_the_others(measured):
    setting, results = measured
    xr.testing.assert_identical(results.sel(seed=[1]), measure(EXPERIMENT, setting, (1,)))


def test_sensitivity_and_sharpness_are_those_of_the_trained_network(measured):
    setting, results = measured
    results, images = results.sel(seed=1), locate("digits", None).load()
    network = train_plain(
        setting, images, init=stream(EXPERIMENT, "", 1, "init"), order=stream(EXPERIMENT, "", 1, "order")
    ).double()
    gradients, jacobians = [], []
    for image, label in zip(images.test_inputs[:40].double(), images.test_labels[:40], strict=True):
        jacobians.append(torch.autograd.functional.jacobian(network, image).norm())
        loss = torch.autograd.functional.jacobian(lambda x, y=label: functional.cross_entropy(network(x), y), image)
        gradients.append(loss.norm())
    assert results.sensitivity == pytest.approx(torch.stack(gradients).mean().item(), rel=1e-4)
    assert results.jacobian_norm == pytest.approx(torch.stack(jacobians).mean().item(), rel=1e-4)
    inputs, labels = images.train_inputs[:50].double(), images.train_labels[:50]
    before, _ = loss_and_accuracy(network, inputs, labels)
    steps = torch.autograd.grad(functional.cross_entropy(network(inputs), labels), list(network.parameters()))
    for epsilon in (1e-3, 5e-4):  # to first order, the worst corner is that of the gradient's signs
        rise = sum((g.abs() * epsilon * (p.abs() + 1)).sum() for g, p in zip(steps, network.parameters(), strict=True))
        greatest = results.sharpness.sel(epsilon=epsilon, space="full space").item()
        assert greatest == pytest.approx(100 * rise.item() / (1 + before), rel=0.3)
    assert (results.sharpness > 0).all()


def test_a_small_network_has_a_subspace_of_as_many_directions_as_parameters():
    (setting,) = settings_of(
        EXPERIMENT, hidden=1, batch_size=[50], train_images=100, sharpness_images=20, test_images=20
    )
    results = measure(EXPERIMENT, setting, (0,))
    assert results.parameters.item() == 85
    assert results.sharpness.notnull().all()


def test_claims_about_batch_sizes():
    values = {
        "test_accuracy": [0.90, 0.95, 0.96, 0.97, 0.80],
        "test_loss": [0.5, 0.3, 0.2, 0.1, 0.6],
        "sensitivity": [5.0, 4, 3, 2, 2.5],
    }
    results = xr.Dataset(
        {name: (("batch_size", "seed"), np.array(column)[:, None]) for name, column in values.items()},
        coords={"batch_size": [5, 25, 125, 500, 1500], "seed": [0]},
    )
    assert statistics(EXPERIMENT, "C21", results)[0] == pytest.approx([0.965 - other for other in (0.90, 0.95, 0.80)])
    assert statistics(EXPERIMENT, "C22", results)[0] == pytest.approx([0.15 - other for other in (0.5, 0.3, 0.6)])
    assert statistics(EXPERIMENT, "C23", results)[0] == pytest.approx(-0.9)
    above = statistics(EXPERIMENT, "C24", results)[0]
    np.testing.assert_allclose(above, [[size - end for end in (0.90, 0.80)] for size in (0.95, 0.96, 0.97)])


@pytest.mark.parametrize("claim", EXPERIMENT.claims, ids=lambda claim: claim.id)
def test_other_sizes_and_their_order_do_not_matter(claim):
    """A claim is about the five sizes of the course report, wherever these lie."""
    values = np.random.default_rng(0).uniform(0.5, 1, (7, 5))
    results = xr.Dataset(
        dict.fromkeys(("test_accuracy", "test_loss", "sensitivity"), (("batch_size", "seed"), values)),
        coords={"batch_size": [1, 5, 25, 125, 500, 1500, 9000], "seed": range(5)},
    )
    results.attrs["settings"] = "[]"
    expected = Case("e", claim, results.isel(batch_size=slice(1, -1))).evidence().estimates
    for order in (range(7), [3, 0, 2, 6, 5, 1, 4]):
        given = Case("e", claim, results.isel(batch_size=list(order))).evidence().estimates
        assert [part.part for part in given] == [part.part for part in expected]
        for part, other in zip(given, expected, strict=True):
            np.testing.assert_array_equal(part.values, other.values)
