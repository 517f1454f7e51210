"""Compiled training: what does not change its bits, and functions of its own against those of PyTorch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    Adam,
    AdamW,
    CrossEntropy,
    Evaluator,
    MeanSquaredError,
    Population,
    Recorder,
    Samples,
    Training,
    compiled,
    gradient_norm,
    kernels,
    loss,
    weights,
)

OPTIMIZERS = (Adam(0.01), AdamW(0.01, clip=0.1), SGD(0.1, momentum=0.9), SGD([0.1, 0.2, 0.3]))


def started(optimizer, batch_size, members=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    samples = Samples(torch.randn(23, 6, generator=generator), torch.randint(4, (23,), generator=generator))
    population = Population.initialise(lambda: MLP((6, 9, 4), "tanh"), seeds=range(members))
    return Training(
        population,
        samples,
        objective=CrossEntropy(),
        optimizer=optimizer,
        batch_size=batch_size,
        seeds=range(members),
        engine="compiled",
    )


@given(
    st.sampled_from(OPTIMIZERS),
    st.sampled_from([None, 5, 23]),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sets(st.integers(0, 30)),
    st.booleans(),
)
def test_neither_calls_nor_recorders_nor_threads_change_a_bit(optimizer, batch_size, parts, looked_at, threads):
    whole, split = started(optimizer, batch_size), started(optimizer, batch_size)
    steps = sum(parts)
    every, seen = Recorder(loss), (Recorder(loss), Recorder(weights, looked_at), Recorder(gradient_norm, looked_at))
    whole.run(steps, [every])
    with pytest.MonkeyPatch.context() as patch:
        if threads:
            patch.setattr(compiled, "WORTH_THREADS", 0)
            patch.setattr(torch, "get_num_threads", lambda: 2)
        for part in parts:
            split.run(part, seen)
    assert torch.equal(whole.population.flat, split.population.flat)
    assert torch.equal(whole.losses, split.losses)
    assert torch.equal(whole.gradients, split.gradients)
    assert torch.equal(every.values, seen[0].values)
    assert every.steps == seen[0].steps == list(range(steps))
    assert seen[1].steps == [step for step in range(steps) if step in looked_at]


def test_a_call_ends_at_an_epoch_and_where_signals_are_looked_at(monkeypatch):
    whole, short = started(Adam(0.01), 5), started(Adam(0.01), 5)
    whole.run(40)
    monkeypatch.setattr(compiled, "CALL", 1.0)
    short.run(40)
    assert torch.equal(whole.population.flat, short.population.flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (kernels.TANH, torch.tanh),
        (kernels.SIGMOID, torch.sigmoid),
        (kernels.RELU, torch.relu),
        (kernels.SOFTPLUS, torch.nn.functional.softplus),
        (kernels.IDENTITY, lambda z: z),
    ],
)
def test_activations_are_those_of_pytorch(activation, function, dtype):
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-30, -1e-30, 4e-4, 7.9, -7.91, 89.0, -104.0, 1e30]
    z = np.concatenate([np.linspace(-12, 12, 20_001), special]).astype(dtype)
    a = z.copy()
    kernels._activate(a, activation)
    expected = function(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(a, expected, rtol=1e-6 if dtype == np.float32 else 1e-14, atol=0)


def test_derivatives_of_activations_are_those_of_pytorch():
    z = np.linspace(-6, 6, 1001)
    functions = {kernels.TANH: torch.tanh, kernels.SIGMOID: torch.sigmoid, kernels.RELU: torch.relu}
    functions[kernels.SOFTPLUS] = torch.nn.functional.softplus
    for activation, function in functions.items():
        point = torch.from_numpy(z).requires_grad_()
        a = function(point)
        (expected,) = torch.autograd.grad(a.sum(), point)
        d = np.ones_like(z)
        kernels._pull_through(d, a.detach().numpy(), activation)
        np.testing.assert_allclose(d, expected.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("objective", [CrossEntropy(), MeanSquaredError()])
def test_what_is_not_finite_stays_so(value, objective):
    population = Population.initialise(lambda: MLP((2, 4, 3)), seeds=range(2))
    targets = torch.tensor([0, 2]) if isinstance(objective, CrossEntropy) else torch.zeros(2, 3)
    samples = Samples(torch.ones(2, 2), targets)
    population.parameters["linear2.bias"][0, 1] = value
    training = Training(population, samples, objective=objective, optimizer=SGD(0.1), engine="compiled")
    plain = population.member(0)
    expected = objective.mean(plain(samples.inputs), targets)
    training.run(1)
    torch.testing.assert_close(training.losses[0], expected.detach(), equal_nan=True)
    assert training.losses[1].isfinite()
    assert (training.diverged_at[0] == 0) == (not expected.isfinite())


def test_evaluation_has_the_same_bits_for_a_member_alone():
    generator = torch.Generator().manual_seed(1)
    samples = Samples(torch.randn(333, 6, generator=generator), torch.randint(4, (333,), generator=generator))
    together = Population.initialise(lambda: MLP((6, 9, 4)), seeds=range(5))
    evaluation = Evaluator(together, samples, CrossEntropy(), chunk=100, engine="compiled")()
    for seed in range(5):
        alone = Population.initialise(lambda: MLP((6, 9, 4)), seeds=[seed])
        own = Evaluator(alone, samples, CrossEntropy(), chunk=100, engine="compiled")()
        assert torch.equal(own.loss[0], evaluation.loss[seed])
        assert torch.equal(own.accuracy[0], evaluation.accuracy[seed])
