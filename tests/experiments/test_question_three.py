"""The measurements of E6 to E9, against slow references."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

from whydeep.data import locate
from whydeep.experiments import batch_size, interpolation, parameter_count, random_labels
from whydeep.experiments.experiment import Plan
from whydeep.networks import MLP
from whydeep.population import Stream
from whydeep.runs import Context

PLAN = Plan("smoke", features=64, classes=10, train_images=1442, test_images=355)
MNIST = Plan("full", features=784, classes=10, train_images=60_000, test_images=10_000)
EXPERIMENTS = (random_labels, parameter_count, interpolation, batch_size)


@pytest.fixture(scope="module")
def context():
    return Context(source=locate("digits", None))


@pytest.fixture(scope="module")
def images(context):
    return context.source.load()


def plain_training(widths, images, *, seed, order, epochs, batch, rate=1e-3, labels=None, train=None):
    """Train a network in a plain PyTorch loop: `seed` is its initial stream; labels(epoch) are what it learns."""
    torch.manual_seed(seed.torch_seed())
    network = MLP(widths)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    inputs = images.train_inputs[:train]
    for epoch in range(epochs):
        targets = images.train_labels[:train] if labels is None else labels(epoch)
        for chosen in torch.from_numpy(order.numpy(epoch).permutation(len(inputs))).split(batch):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
    return network


def loss_and_accuracy(network, inputs, labels):
    with torch.no_grad():
        outputs = network(inputs)
        return functional.cross_entropy(outputs, labels).item(), (outputs.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.NAME)
def test_a_seed_does_not_depend_on_the_others(experiment, context):
    setting = experiment.settings(PLAN)[0]
    both = experiment.measure(setting, (0, 4), context)
    xr.testing.assert_identical(both.sel(seed=[4]), experiment.measure(setting, (4,), context))


def test_the_networks_are_those_of_the_course_report():
    def parameters(experiment):
        return [sum(map(torch.numel, MLP(setting.widths).parameters())) for setting in experiment.settings(MNIST)]

    assert parameters(random_labels) == [8175, 8175, 407_050]
    assert parameters(parameter_count)[0] == 1645
    assert parameters(parameter_count)[6] == 178_110
    assert parameters(parameter_count)[-1] == 952_410
    assert parameters(interpolation) == [23_860]
    assert parameters(batch_size) == [16_640] * 5
    assert [setting.batch_size for setting in batch_size.settings(MNIST)] == [5, 25, 125, 500, 1500]
    epochs = {experiment.NAME: experiment.settings(MNIST)[0].epochs for experiment in EXPERIMENTS}
    assert epochs == {"random-labels": 400, "parameter-count": 70, "interpolation": 10, "batch-size": 40}
    assert {setting.batch_size for setting in (*random_labels.settings(MNIST), *parameter_count.settings(MNIST))} == {
        50
    }
    assert [setting.batch_size for setting in interpolation.settings(MNIST)] == [25]


# -- random labels ----------------------------------------------------------------------------------------------


def drawn_labels(labels, seed, part):
    """As the experiment draws them, written down again: a permutation of the places, then a class for each."""
    generator = Stream(0, "random-labels", "", seed, "labels").numpy(part)
    places = generator.permutation(len(labels))
    drawn = np.empty(len(labels), dtype=np.int64)
    drawn[places] = generator.integers(10, size=len(labels))
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("number", [0, 1], ids=["once", "every epoch"])
def test_random_labels_are_those_that_were_trained_on(number, context, images):
    setting = random_labels.settings(PLAN)[number]
    results = random_labels.measure(setting, (2,), context).isel(seed=0)
    truth = images.train_labels[: setting.train_images]

    def labels(epoch):
        return drawn_labels(truth, 2, 0 if setting.labels == "once" else 2 + epoch)

    network = plain_training(
        setting.widths,
        images,
        seed=Stream(0, "random-labels", str(setting.widths), 2, "init"),
        order=Stream(0, "random-labels", "", 2, "order"),
        epochs=setting.epochs,
        batch=50,
        labels=labels,
        train=setting.train_images,
    )
    test = images.test_inputs[: setting.test_images], images.test_labels[: setting.test_images]
    expected = {
        "train": loss_and_accuracy(network, images.train_inputs[: len(truth)], labels(setting.epochs - 1)),
        "test": loss_and_accuracy(network, *test),
        "random_test": loss_and_accuracy(network, test[0], drawn_labels(test[1], 2, 1)),
    }
    for name, (loss, accuracy) in expected.items():
        assert results[f"{name}_loss"].values[-1] == pytest.approx(loss, rel=1e-4)
        assert results[f"{name}_accuracy"].values[-1] == pytest.approx(accuracy, abs=0.005)


def random_label_results(**curves):
    """Results with two trainings of different length; curves are [training][seed][epoch]."""
    names = [random_labels.SMALL, random_labels.WIDE]
    return xr.Dataset(
        {name: (("training", "seed", "epoch"), np.array(values, dtype=float)) for name, values in curves.items()}
        | {"classes": (("training", "seed"), np.full((2, 1), 10.0))},
        coords={"training": names, "seed": [0], "epoch": np.arange(1, 5)},
        attrs={
            "settings": json.dumps([{"training": name, "epochs": n} for name, n in zip(names, (4, 2), strict=True)])
        },
    )


def statistics(experiment, claim, results):
    (claim,) = [one for one in experiment.CLAIMS if one.id == claim]
    return [test.measure(results).values.squeeze().tolist() for test in claim.tests]


def test_claims_about_random_labels():
    nan = np.nan
    results = random_label_results(
        train_loss=[[[2.5, 2.4, 2.3, 2.2]], [[1.0, 0.5, nan, nan]]],
        train_accuracy=[[[0.1, 0.1, 0.3, 0.3]], [[0.5, 1.0, nan, nan]]],
        test_loss=[[[2.3, 2.2, 2.4, 2.6]], [[2.0, 3.0, nan, nan]]],
        random_test_loss=[[[2.3, 2.5, 2.5, 2.2]], [[2.0, 3.0, nan, nan]]],
    )
    below, slope = statistics(random_labels, "C14", results)
    assert below == pytest.approx(2.2 - np.log(10))
    assert slope == pytest.approx(-10)  # 0.1 an epoch
    assert statistics(random_labels, "C15", results)[0] == pytest.approx([0.3, -0.1])
    assert statistics(random_labels, "C16", results)[0] == pytest.approx([0.3, 1.0])  # the last epoch that each has
    results.train_accuracy[1, 0, 1] = 0.9  # nobody knows where that ends
    assert statistics(random_labels, "C16", results)[0] == pytest.approx([0.3, nan], nan_ok=True)


@pytest.mark.parametrize(("features", "epochs"), [(784, 100), (64, 625), (3072, 100)])
def test_of_few_features_labels_are_learnt_for_longer(features, epochs):
    plan = Plan("full", features=features, classes=10, train_images=60_000, test_images=10_000)
    assert [setting.epochs for setting in random_labels.settings(plan)] == [400, 50, epochs]


# -- parameter count --------------------------------------------------------------------------------------------


def test_final_values_are_those_of_a_plain_loop(context, images):
    setting = parameter_count.settings(PLAN)[2]
    results = parameter_count.measure(setting, (1,), context).isel(seed=0)
    network = plain_training(
        setting.widths,
        images,
        seed=Stream(0, "parameter-count", setting.name, 1, "init"),
        order=Stream(0, "parameter-count", "", 1, "order"),
        epochs=setting.epochs,
        batch=50,
        train=setting.train_images,
    )
    train = loss_and_accuracy(network, images.train_inputs[:500], images.train_labels[:500])
    test = loss_and_accuracy(network, images.test_inputs, images.test_labels)
    assert (results.train_loss, results.train_accuracy) == pytest.approx(train, rel=1e-4)
    assert (results.test_loss, results.test_accuracy) == pytest.approx(test, rel=1e-4)


def test_claims_about_parameters():
    hidden = ["-".join(map(str, widths)) for widths in parameter_count.HIDDEN]
    accuracy = np.linspace(0.5, 0.95, 10)
    loss = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 1.5])  # one pair the wrong way round
    results = xr.Dataset(
        {
            "train_accuracy": (("hidden", "seed"), accuracy[:, None] + 0.01),
            "test_accuracy": (("hidden", "seed"), accuracy[:, None]),
            "train_loss": (("hidden", "seed"), loss[:, None]),
            "test_loss": (("hidden", "seed"), loss[:, None]),
            "parameters": (("hidden", "seed"), 4e4 * np.arange(10.0)[:, None]),
        },
        coords={"hidden": hidden, "seed": [0]},
    )
    accuracies, losses = statistics(parameter_count, "C17", results)
    assert accuracies == pytest.approx([1, 1])
    assert losses == pytest.approx([-(1 - 12 / 990)] * 2)
    assert statistics(parameter_count, "C18", results)[0] == pytest.approx(0.95 - 0.8)
    for factor in (0.4, 2):  # of smaller or larger images: neither network is near the 200,000 that the claim is about
        other = results.assign(parameters=factor * results.parameters)
        assert np.isnan(statistics(parameter_count, "C18", other)[0])
    assert statistics(parameter_count, "C19", results)[0] == pytest.approx([0.01] * 10)


# -- interpolation ----------------------------------------------------------------------------------------------


def test_the_ends_of_the_line_are_the_two_trained_networks(context, images):
    setting = interpolation.settings(PLAN)[0]
    results = interpolation.measure(setting, (0, 3), context).sel(seed=3)
    assert results.sizes["alpha"] >= 61
    assert (results.alpha.min(), results.alpha.max()) == (-1, 2)

    def trained(initial, order, rate):
        return plain_training(
            setting.widths,
            images,
            seed=Stream(0, "interpolation", initial, 3, "init"),
            order=Stream(0, "interpolation", order, 3, "order"),
            epochs=setting.epochs,
            batch=setting.batch_size,
            rate=rate,
            train=setting.train_images,
        )

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
        one = results.sel(initialisation=initialisation)
        for alpha, network in ((0.0, first), (0.65, between), (1.0, second)):
            for split, samples in data.items():
                loss, accuracy = loss_and_accuracy(network, *samples)
                assert one[f"{split}_loss"].sel(alpha=alpha) == pytest.approx(loss, rel=1e-3)
                assert one[f"{split}_accuracy"].sel(alpha=alpha) == pytest.approx(accuracy, abs=0.005)


def test_claims_and_barriers_of_a_line():
    alpha = np.array([-1, 0, 0.25, 0.5, 1, 2])
    losses = np.array([9.0, 1, 2, 4, 3, 9])  # above the line by 0.5 and 2
    accuracies = np.array([0.2, 0.9, 0.5, 0.91, 0.8, 0.3])
    shape = ("seed", "initialisation", "alpha")
    results = xr.Dataset(
        {
            f"{split}_{name}": (shape, np.broadcast_to(values, (1, 2, 6)))
            for split in ("train", "test")
            for name, values in (("loss", losses), ("accuracy", accuracies))
        },
        coords={"seed": [0], "initialisation": ["different", "shared"], "alpha": alpha},
    )
    np.testing.assert_allclose(interpolation.barriers(results, "test"), 2)
    assert statistics(interpolation, "C20", results)[0] == pytest.approx([0.11, 0.11])


# -- batch size -------------------------------------------------------------------------------------------------


def test_sensitivity_and_sharpness_are_those_of_the_trained_network(context, images):
    setting = dataclasses.replace(batch_size.settings(PLAN)[2], train_images=300, test_images=40, sharpness_images=50)
    results = batch_size.measure(setting, (0, 1), context).sel(seed=1)
    network = plain_training(
        setting.widths,
        images,
        seed=Stream(0, "batch-size", "", 1, "init"),
        order=Stream(0, "batch-size", "", 1, "order"),
        epochs=setting.epochs,
        batch=setting.batch_size,
        train=300,
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
    loss = functional.cross_entropy(network(inputs), labels)
    steps = torch.autograd.grad(loss, list(network.parameters()))
    for epsilon in (1e-3, 5e-4):  # to first order, the worst corner is that of the gradient's signs
        rise = sum((g.abs() * epsilon * (p.abs() + 1)).sum() for g, p in zip(steps, network.parameters(), strict=True))
        found = results.sharpness.sel(epsilon=epsilon, space="full space").item()
        assert found == pytest.approx(100 * rise.item() / (1 + before), rel=0.3)
    assert (results.sharpness > 0).all()


def test_claims_about_batch_sizes():
    accuracy = np.array([0.90, 0.95, 0.96, 0.97, 0.80])
    loss = np.array([0.5, 0.3, 0.2, 0.1, 0.6])
    results = xr.Dataset(
        {
            "test_accuracy": (("batch_size", "seed"), accuracy[:, None]),
            "test_loss": (("batch_size", "seed"), loss[:, None]),
            "sensitivity": (("batch_size", "seed"), np.array([5.0, 4, 3, 2, 2.5])[:, None]),
        },
        coords={"batch_size": [5, 25, 125, 500, 1500], "seed": [0]},
    )
    assert statistics(batch_size, "C21", results)[0] == pytest.approx([0.965 - other for other in (0.90, 0.95, 0.80)])
    assert statistics(batch_size, "C22", results)[0] == pytest.approx([0.15 - other for other in (0.5, 0.3, 0.6)])
    assert statistics(batch_size, "C23", results)[0] == pytest.approx(-0.9)
    above = statistics(batch_size, "C24", results)[0]
    np.testing.assert_allclose(above, [[one - end for end in (0.90, 0.80)] for one in (0.95, 0.96, 0.97)])


def test_sizes_that_are_not_there_make_no_claim():
    few = Plan("smoke", features=64, classes=10, train_images=300, test_images=50)
    settings = batch_size.settings(few)
    assert [setting.batch_size for setting in settings] == [5, 25, 125, 300]
    results = xr.Dataset(coords={"batch_size": [setting.batch_size for setting in settings]})
    assert [claim.id for claim in batch_size.CLAIMS if not claim.missing(results)] == ["C23"]
