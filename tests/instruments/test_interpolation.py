"""The line between two networks: its ends are theirs bit for bit; the barrier."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from cases import CASES, CLASSES, FEATURES, QuadraticForm, integers, mean_output, normal, seeded, symmetric
from whydeep.errors import SettingError
from whydeep.instruments import interpolate, loss_barrier
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import CrossEntropy, Evaluator, MeanSquaredError, Population, Samples

ALPHAS = [2.0, 0.0, 0.25, -1.5, 1.0, 0.8]  # unordered, and outside [0, 1]


def another(module, seed=7):
    """The same architecture with other parameters and buffers."""
    module, generator = copy.deepcopy(module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
            else:
                tensor.add_(41)
    return module


def mlp(seed=0, widths=(FEATURES, 4, CLASSES), dtype=torch.float64):
    return seeded(lambda: MLP(widths, "tanh"), seed, dtype)


def same(first, second):
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


# -- networks on the line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_the_ends_are_the_networks_bit_for_bit(name, dtype):
    """Parameters, running statistics and counts."""
    first = CASES[name]().module.to(dtype)
    second = another(first)
    line = interpolate(first, second, ALPHAS)
    assert len(line) == len(ALPHAS)
    assert same(line.member(1), first)
    assert same(line.member(4), second)


def test_a_step_of_the_whole_difference_does_not_end_there():
    """first + alpha (second - first) rounds."""
    a, b = 1e3 * normal(50), normal(50, seed=2)
    assert torch.equal(interpolate(QuadraticForm(a), QuadraticForm(b), 1).vectors()[0], b)
    assert not torch.equal(a + (b - a), b)


@pytest.mark.parametrize("name", ["mlp relu", "convolution", "attention", "tied", "scalars"])
def test_between_and_beyond_the_ends(name):
    first = CASES[name]().module
    second = another(first)
    line = interpolate(first, second, ALPHAS)
    for index, alpha in enumerate(ALPHAS):
        found = line.member(index).state_dict()
        for key, a in first.state_dict().items():
            b = second.state_dict()[key]
            expected = (1 - alpha) * a + alpha * b if a.is_floating_point() else (a if alpha < 0.5 else b)
            torch.testing.assert_close(found[key], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["mlp relu", "mlp values", "convolution", "attention"])
def test_losses_at_the_ends_are_exactly_theirs(name):
    case = CASES[name]()
    ends = case.module, another(case.module)
    line = interpolate(*ends, ALPHAS)
    samples = Samples(*case.data)
    objective = CrossEntropy() if not case.targets.is_floating_point() else MeanSquaredError()
    losses = Landscape(line, case.data, case.objective, engine="one-by-one").losses()
    evaluated = Evaluator(line, samples, objective, engine="auto" if case.closed else "one-by-one")().loss
    for index, end in ((1, ends[0]), (4, ends[1])):
        alone = Evaluator(Population([end]), samples, objective, engine="auto" if case.closed else "one-by-one")()
        assert torch.equal(evaluated[index], alone.loss[0])
        assert torch.equal(losses[index], Landscape(end, case.data, case.objective, engine="one-by-one").losses()[0])
        vectorised = Landscape(line, case.data, case.objective).losses()[index]
        torch.testing.assert_close(vectorised, losses[index], rtol=1e-13, atol=0)


def test_a_quadratic_is_an_exact_parabola_along_the_line():
    matrix, a, b = symmetric(5), normal(5, seed=1), normal(5, seed=2)
    alphas = np.linspace(-1, 2, 9)
    line = interpolate(QuadraticForm(a), QuadraticForm(b), alphas)
    losses = Landscape(line, (matrix.unsqueeze(0), torch.zeros(1)), mean_output).losses().numpy()
    d = b - a
    expected = [(a @ matrix @ a / 2 + t * (a @ matrix @ d) + t * t * (d @ matrix @ d) / 2).item() for t in alphas]
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.diff(losses, n=3), 0, atol=1e-12)


def test_populations_pair_member_with_member():
    """All alphas of the first pair, then those of the next."""
    firsts, seconds = [mlp(0), mlp(1)], [mlp(2), mlp(3)]
    data = normal(9, FEATURES), integers(CLASSES, 9)
    line = interpolate(Population(firsts), Population(seconds), ALPHAS)
    losses = Landscape(line, data, functional.cross_entropy).losses().view(2, len(ALPHAS))
    for pair in range(2):
        alone = interpolate(firsts[pair], seconds[pair], ALPHAS)
        for index in range(len(ALPHAS)):
            assert same(alone.member(index), line.member(pair * len(ALPHAS) + index))
        torch.testing.assert_close(losses[pair], Landscape(alone, data, functional.cross_entropy).losses())
    assert not torch.allclose(losses[0], losses[1], rtol=1e-2)
    mixed = interpolate(Population(firsts[:1]), seconds[0], 0.5)
    assert len(mixed) == 1


def test_a_diverged_network_leaves_the_other_end_alone():
    first, second = mlp(0), mlp(1)
    with torch.no_grad():
        second.linear1.weight[0, 0], second.linear1.weight[0, 1] = torch.inf, torch.nan
    for ends, alpha in (((first, second), 0), ((second, first), 1)):
        line = interpolate(*ends, [alpha, 1 - alpha])
        assert same(line.member(0), first)
        assert line.vectors()[1].isfinite().sum() == line.size - 2


@pytest.mark.parametrize("name", ["convolution", "frozen"])
def test_the_solutions_are_left_as_they_were(name):
    ends = [CASES[name]().module.train() for _ in range(2)]
    ends[1] = another(ends[0]).eval()
    before = copy.deepcopy(ends)
    frozen = [[parameter.requires_grad for parameter in end.parameters()] for end in ends]
    line = interpolate(*ends, ALPHAS)
    line.flat.zero_()
    assert all(same(end, kept) for end, kept in zip(ends, before, strict=True))
    assert [[parameter.requires_grad for parameter in end.parameters()] for end in ends] == frozen
    assert [end.training for end in ends] == [True, False]
    assert all(parameter.grad is None for end in ends for parameter in end.parameters())
    populations = [Population([copy.deepcopy(end).requires_grad_(True)]) for end in before]
    kept = [population.flat.clone() for population in populations]
    interpolate(*populations, [0, 1]).flat.zero_()
    assert all(torch.equal(population.flat, flat) for population, flat in zip(populations, kept, strict=True))


# -- the barrier --------------------------------------------------------------------------------------------------


class Wells(nn.Module):
    """(x^2 - 1)^2 + tilt x: two wells with a barrier of exactly 1 above the line between them, at -1 and 1."""

    def __init__(self, x, tilt):
        super().__init__()
        self.x, self.tilt = nn.Parameter(torch.tensor(x, dtype=torch.float64)), tilt

    def forward(self, inputs):
        return inputs * ((self.x**2 - 1) ** 2 + self.tilt * self.x)


def mean_of_ends(alphas, losses):
    """The usual other definition (Frankle et al. 2020)."""
    return losses.max() - (losses[alphas == 0] + losses[alphas == 1]).item() / 2


@pytest.mark.parametrize("tilt", [0.0, 0.5, -2.0])
def test_a_double_well(tilt):
    alphas = np.linspace(0, 1, 101)
    line = interpolate(Wells(-1.0, tilt), Wells(1.0, tilt), alphas)
    losses = Landscape(line, (torch.ones(1), torch.ones(1)), mean_output).losses()
    assert loss_barrier(alphas, losses).item() == pytest.approx(1)
    assert (mean_of_ends(alphas, losses).item() == pytest.approx(1)) == (tilt == 0)


@given(st.integers(0, 999), st.lists(st.floats(0, 1).map(lambda alpha: round(alpha, 6)), max_size=9))
@settings(max_examples=40, derandomize=True)
def test_a_convex_loss_has_no_barrier(seed, between):
    matrix, a, b = normal(3, 3, seed=seed), normal(3, seed=seed + 1), normal(3, seed=seed + 2)
    line = interpolate(QuadraticForm(a), QuadraticForm(b), [0, 1, *between])
    losses = Landscape(line, ((matrix.mT @ matrix).unsqueeze(0), torch.zeros(1)), mean_output).losses()
    assert 0 <= loss_barrier([0, 1, *between], losses).item() < 1e-12 * max(1, losses.max().item())


def test_a_slope_is_no_barrier_by_the_line_and_is_one_by_the_mean_of_the_ends():
    alphas = np.linspace(0, 1, 5)
    losses = torch.from_numpy(3 - 3 * alphas)
    assert loss_barrier(alphas, losses).item() == 0
    assert mean_of_ends(alphas, losses).item() == 1.5


@given(
    st.lists(st.tuples(st.integers(-200, 300).map(lambda n: n / 100), st.floats(-9, 9), st.floats(-9, 9)), max_size=8),
    st.data(),
)
@settings(max_examples=60, derandomize=True)
def test_the_barrier_is_the_highest_point_above_the_line_in_any_order(others, data):
    ends = [
        (0.0, *data.draw(st.tuples(*[st.floats(-9, 9)] * 2))),
        (1.0, *data.draw(st.tuples(*[st.floats(-9, 9)] * 2))),
    ]
    along, *rows = zip(*data.draw(st.permutations([*ends, *others])), strict=True)
    found = loss_barrier(along, torch.tensor(rows, dtype=torch.float64))
    for row, barrier in zip(rows, found, strict=True):
        start, stop = row[along.index(0)], row[along.index(1)]
        above = [y - ((1 - t) * start + t * stop) for t, y in zip(along, row, strict=True) if 0 <= t <= 1]
        assert barrier.item() == pytest.approx(max(above), abs=1e-12)
        assert barrier >= 0


class Masked(nn.Module):
    """With a mask of infinities, as language models have it, and numbers that are no sum of their halves."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("mask", torch.triu(torch.full((3, 3), -np.inf), 1))
        self.register_buffer("constant", torch.tensor([0.1, 1e-30, 7.7]))

    def forward(self, x):
        return self.linear(x) + torch.softmax(self.mask, 1).sum(0) + self.constant


def test_what_is_equal_at_both_ends_is_so_on_the_whole_line():
    first, second = seeded(Masked), seeded(Masked, 1)
    line = interpolate(first, second, [-1, 0.1, 1 / 3, 2])
    for name in ("mask", "constant"):
        assert all(torch.equal(one, getattr(first, name)) for one in line.buffers[name])


@pytest.mark.parametrize("nearly", [9e-16, -1e-7])
def test_alphas_that_are_nearly_the_ends_are_the_ends(nearly):
    first, second = mlp(), mlp(1)
    line = interpolate(first, second, [nearly, 1 + nearly])
    exact = interpolate(first, second, [0, 1])
    assert torch.equal(line.flat, exact.flat)
    with torch.no_grad():
        next(second.parameters()).fill_(np.nan)  # the other solution diverged: this one is whole
    assert torch.equal(interpolate(first, second, [nearly]).flat, exact.flat[:1])


def test_what_lies_beyond_the_ends_does_not_count():
    assert loss_barrier([-1, 0, 0.5, 1, 2], torch.tensor([99.0, 1, 2, 1, 99])).item() == 1


# -- errors -------------------------------------------------------------------------------------------------------


def bare(width):
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=width > 0))


ERRORS = {
    "no alphas": (lambda: interpolate(mlp(), mlp(1), []), "alphas must be a list of finite numbers, at least one, not"),
    "infinite": (lambda: interpolate(mlp(), mlp(1), [0, np.inf]), "alphas must be a list of finite numbers"),
    "table": (lambda: interpolate(mlp(), mlp(1), [[0, 1]]), "alphas must be a list of finite numbers"),
    "widths": (lambda: interpolate(mlp(), mlp(widths=(3, 5, CLASSES)), [0]), "differ in architecture or type: there is no line"),
    "types": (lambda: interpolate(mlp(), mlp(dtype=torch.float32), [0]), "differ in architecture or type"),
    "activations": (lambda: interpolate(mlp(), seeded(lambda: MLP((FEATURES, 4, CLASSES))), [0]), "differ in architecture or type"),
    "buffers": (lambda: interpolate(bare(0), bare(1), [0]), "differ in architecture or type"),
    "counts": (
        lambda: interpolate(Population([mlp(), mlp(1)]), mlp(2), [0]),
        "2 and 1 members cannot be paired: give as many of both",
    ),
    "no parameters": (lambda: interpolate(nn.Tanh(), nn.Tanh(), [0]), "Tanh has no parameters: there is no line"),
    "words": (lambda: interpolate(mlp(), mlp(1), ["a", "b"]), "alphas must be a list of finite numbers, not"),
    "no number": (lambda: loss_barrier([0, np.nan, 1], torch.zeros(3)), "a barrier needs finite alphas"),
    "no start": (lambda: loss_barrier([0.1, 1], torch.zeros(2)), "0 and 1 must be among those given"),
    "no stop": (lambda: loss_barrier([0, 0.9], torch.zeros(2)), "a barrier needs finite alphas and the losses of both ends"),
    "lengths": (
        lambda: loss_barrier([0, 1], torch.zeros(2, 3)),
        r"losses must be \[..., 2\], one for each alpha, not \(2, 3\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("given", ERRORS)
def test_what_cannot_be_measured_is_named(given):
    make, message = ERRORS[given]
    with pytest.raises(SettingError, match=message):
        make()
