"""Published findings about generalization, found again with the public instruments."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from whydeep.data import locate, noisy_labels
from whydeep.errors import DataError
from whydeep.instruments import interpolate, sharpness
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    Adam,
    CrossEntropy,
    Evaluator,
    MeanSquaredError,
    Population,
    Samples,
    Stream,
    Training,
)

pytestmark = pytest.mark.slow
SEEDS = range(5)


@pytest.fixture(scope="module")
def mnist():
    try:
        return locate("mnist", None).load()
    except DataError as error:
        pytest.skip(str(error))


def streams(purpose, seeds=SEEDS):
    return [Stream(0, "literature", "", seed, purpose) for seed in seeds]


def start(widths, samples, batch_size, optimizer, seeds=SEEDS):
    population = Population.initialise(lambda: MLP(widths), streams("init", seeds))
    return Training(
        population,
        samples,
        objective=CrossEntropy(),
        optimizer=optimizer,
        batch_size=batch_size,
        orders=streams("order", seeds),
    )


@pytest.mark.parametrize("redrawn", [False, True], ids=["drawn once", "drawn for every batch"])
def test_random_labels_are_learned_by_heart_only_if_they_stay(redrawn, mnist):
    """Zhang et al. 2017: 99 % of the training labels or more, and chance on test images; redrawn labels are not."""
    inputs, truth = mnist.train_inputs[:1000], mnist.train_labels[:1000]

    def draw(epoch):
        return torch.stack([noisy_labels(truth, 10, 1.0, stream.numpy(epoch)) for stream in streams("labels")])

    training = start((784, 512, 10), Samples(inputs, draw(0), own_targets=True), 50, Adam())
    for epoch in range(60):
        if redrawn:
            training.relabel(draw(1 + epoch))
        training.run_epoch()
    labels = Samples(inputs, draw(1000), own_targets=True) if redrawn else training.samples
    fitted = Evaluator(training.population, labels, CrossEntropy())().accuracy
    tested = Evaluator(training.population, Samples(mnist.test_inputs, mnist.test_labels), CrossEntropy())().accuracy
    assert (fitted < 0.15).all() if redrawn else (fitted >= 0.99).all()
    assert (tested < 0.16).all()


def test_the_loss_falls_monotonically_from_initialisation_to_solution(mnist):
    """Goodfellow et al. 2015, for fully connected networks trained by gradient descent, in nearly every seed."""
    samples = Samples(mnist.train_inputs[:5000], mnist.train_labels[:5000])
    training = start((784, 100, 10), samples, 50, SGD(0.05))
    initial = copy.deepcopy(training.population)
    for _ in range(10):
        training.run_epoch()
    alphas = np.linspace(0, 1, 41)
    line = interpolate(initial, training.population, alphas)
    losses = Evaluator(line, samples, CrossEntropy())().loss.view(len(SEEDS), len(alphas))
    falls = (losses.diff(dim=1) < 1e-4).all(1)
    assert falls.sum() >= len(SEEDS) - 1


def test_large_batches_end_in_sharper_solutions_at_the_same_loss(mnist):
    """Keskar et al. 2017, on MNIST, fully connected, Adam: training is stopped at the same loss of the training set."""
    samples = Samples(mnist.train_inputs[:10_000], mnist.train_labels[:10_000])
    sharp = {}
    for batch_size in (50, 2000):
        members = []
        for seed in SEEDS:
            training = start((784, 100, 50, 10), samples, batch_size, Adam(), [seed])
            loss = Evaluator(training.population, samples, CrossEntropy())
            for _ in range(400):
                training.run_epoch()
                if loss().loss.item() < 0.02:
                    break
            assert loss().loss.item() < 0.02
            landscape = Landscape(training.population, samples, CrossEntropy())
            members.append(sharpness(landscape, 1e-3, seed=seed).value.item())
        sharp[batch_size] = np.array(members)
    assert sharp[2000].mean() > sharp[50].mean()


@pytest.mark.parametrize(("features", "expected"), [(50, 50 / 49), (200, 0.5 + 100 / 99)])
def test_the_risk_of_least_squares_falls_again_past_as_many_features_as_samples(features, expected):
    """Belkin et al. 2019, isotropic case: gradient descent from zero finds the shortest of all solutions.

    Excess risk is noise * p / (n - p - 1) for p < n, and signal * (1 - n / p) + noise * n / (p - n - 1) for p > n.
    """
    members, samples = 400, 100
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(members, samples, features, generator=generator, dtype=torch.float64)
    truth = torch.randn(members, features, 1, generator=generator, dtype=torch.float64)
    truth = truth / truth.norm(dim=1, keepdim=True)
    noise = torch.randn(members, samples, 1, generator=generator, dtype=torch.float64)
    linear = nn.Linear(features, 1, bias=False).double()
    nn.init.zeros_(linear.weight)
    population = Population([linear] * members)
    data = Samples(inputs, inputs @ truth + noise, own_inputs=True, own_targets=True)
    Training(population, data, objective=MeanSquaredError(), optimizer=SGD(0.1)).run(2000)
    risk = (population.vectors() - truth.squeeze(2)).square().sum(1)
    assert risk.mean().item() == pytest.approx(expected, abs=4 * risk.std().item() / members**0.5)
    assert risk.std().item() / members**0.5 < 0.03
