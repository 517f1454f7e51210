"""Keskar's sharpness: the loss's rise in a box, against closed forms, all corners, and L-BFGS-B."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional

from cases import CASES, FEATURES, QuadraticForm, mean_output, normal, quadratic, seeded, symmetric
from whydeep.errors import SettingError
from whydeep.instruments import sharpness
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import Population

SIZE = 7


class LinearForm(nn.Module):
    """g . x for a vector of parameters x and inputs g: the gradient is the mean of the g."""

    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(x)

    def forward(self, inputs):
        return inputs @ self.x


def linear(gradient, x):
    return Landscape(LinearForm(x), (gradient.unsqueeze(0), torch.zeros(1)), mean_output)


def landscape_of(name):
    case = CASES[name]()
    return Landscape(case.module, case.data, case.objective)


def percent(worst, loss):
    return 100 * (worst - loss) / (1 + loss)


def columns(seed, subspace, size):
    """The matrix A of a random subspace [size, dimension]."""
    return torch.from_numpy(np.random.default_rng((seed, 1)).standard_normal((subspace, size))).mT


def draws_of(seed, draws, dimensions):
    """The random places of the box, in units of its half widths: corners and others in turn."""
    even = [np.random.default_rng((seed, 0, draw)).uniform(-1, 1, dimensions) for draw in range(draws)]
    return torch.from_numpy(np.array([one if draw % 2 else np.sign(one) for draw, one in enumerate(even)]))


# -- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [1e-3, 5e-4, 0.1])
def test_a_bowl(epsilon):
    """sum d_i x_i^2 / 2 at 0: every |x_i| goes to epsilon, phi = 50 epsilon^2 sum d."""
    d = normal(SIZE).abs() + 0.1
    found = sharpness(quadratic(torch.diag(d), start=torch.zeros(SIZE).double()), epsilon)
    torch.testing.assert_close(found.value, 50 * epsilon**2 * d.sum(0, keepdim=True), rtol=1e-12, atol=0)
    assert found.losses.tolist() == [0]
    assert found.converged.all()


@pytest.mark.parametrize("seed", range(5))
def test_only_directions_that_rise_count(seed):
    """With d_i below 0 as well, where x_i comes near 0: within 3 percent, and 1e-3 once converged, which takes longer."""
    d = normal(30, seed=seed)
    landscape, exact = quadratic(torch.diag(d), start=torch.zeros(30).double()), 50e-6 * d.clamp_min(0).sum().item()
    short, long = (sharpness(landscape, 1e-3, steps=steps) for steps in (30, 200))
    assert 0.97 * exact < short.value.item() <= long.value.item() <= exact
    assert long.value.item() > 0.999 * exact
    assert long.converged.all()
    assert long.drawn < 0.6 * long.worst  # random draws alone


def test_at_a_maximum_it_is_zero():
    found = sharpness(quadratic(-torch.eye(SIZE).double(), start=torch.zeros(SIZE).double()), 0.1)
    assert found.value.tolist() == [0]
    assert found.worst.tolist() == found.losses.tolist() == [0]
    assert found.drawn.item() < 0


@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
def test_the_box_is_wider_where_parameters_are_large(epsilon):
    """A linear loss rises by sum |g_i| epsilon (|x_i| + 1); a box of one width, or of epsilon |x_i|, gives others."""
    gradient, x = normal(SIZE), 5 * normal(SIZE, seed=2)
    loss = gradient @ x
    loss, gradient = (loss, gradient) if loss > 0 else (-loss, -gradient)
    found = sharpness(linear(gradient, x), epsilon)
    rises = [(gradient.abs() * epsilon * width).sum() for width in (x.abs() + 1, torch.ones(SIZE), x.abs())]
    expected, *others = (100 * rise / (1 + loss) for rise in rises)
    torch.testing.assert_close(found.value[0], expected, rtol=1e-10, atol=0)
    assert all(abs(other / expected - 1) > 0.05 for other in others)
    assert found.converged.all()


@pytest.mark.parametrize("subspace", [1, 3, SIZE])
def test_a_random_subspace(subspace):
    """Closed form for a linear loss: sum |(A^T g)_j| epsilon (|(A^+ x)_j| + 1)."""
    gradient, x, seed = normal(SIZE), 3 * normal(SIZE, seed=2), 4
    A = columns(seed, subspace, SIZE)
    loss = gradient @ x + 20
    module = LinearForm(x)
    landscape = Landscape(module, (gradient.unsqueeze(0), torch.zeros(1)), lambda outputs, _: outputs.mean() + 20)
    found = sharpness(landscape, 1e-2, subspace=subspace, seed=seed)
    rise = ((A.mT @ gradient).abs() * 1e-2 * ((torch.linalg.pinv(A) @ x).abs() + 1)).sum()
    torch.testing.assert_close(found.value[0], 100 * rise / (1 + loss), rtol=1e-9, atol=0)
    assert found.value.item() != sharpness(landscape, 1e-2, subspace=subspace, seed=seed + 1).value.item()


@pytest.mark.parametrize("name", ["mlp tanh", "mlp values", "convolution", "attention", "frozen", "words", "tied"])
@pytest.mark.parametrize("subspace", [None, 5])
def test_in_a_tiny_box_it_is_the_gradient(name, subspace):
    landscape = landscape_of(name)
    A = torch.eye(landscape.size).double() if subspace is None else columns(0, subspace, landscape.size)
    x, gradient, loss = landscape.points()[0], landscape.gradients()[0], landscape.losses()[0]
    rise = ((A.mT @ gradient).abs() * 1e-6 * ((torch.linalg.pinv(A) @ x).abs() + 1)).sum()
    found = sharpness(landscape, 1e-6, subspace=subspace)
    torch.testing.assert_close(found.value[0], 100 * rise / (1 + loss), rtol=1e-3, atol=0)
    assert found.converged.all()


# -- slow references ----------------------------------------------------------------------------------------------


def corners_of(matrix, x, epsilon, subspace, seed):
    """Losses of x . A x / 2 at all corners of the box of a subspace, and at which of them no step inwards rises."""
    A = columns(seed, subspace, len(x))
    widths = epsilon * ((torch.linalg.pinv(A) @ x).abs() + 1)
    corners = torch.tensor(list(product((-1, 1), repeat=subspace)), dtype=torch.float64)
    moved = x + (widths * corners) @ A.mT
    losses, gradients = ((moved @ matrix) * moved).sum(1) / 2, moved @ matrix @ A
    return losses, (gradients * corners >= 0).all(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("subspace", range(3, 9))
def test_a_large_convex_quadratic_against_all_corners_of_a_subspace(subspace, seed):
    """A convex loss is greatest at a corner. Where the slope decides, that one is found; else one that is like it."""
    root, x = normal(60, 60, seed=seed) / 60**0.5, normal(60, seed=9)
    matrix = root.mT @ root
    for epsilon, start in ((1e-3, x), (0.05, x), (0.05, 0 * x)):
        losses, stationary = corners_of(matrix, start, epsilon, subspace, seed)
        found = sharpness(quadratic(matrix, start=start), epsilon, subspace=subspace, seed=seed)
        candidates = losses.max().expand(1) if epsilon == 1e-3 else losses[stationary]
        assert (found.worst / candidates - 1).abs().min() < 1e-12
        assert found.converged.all()
        assert found.value > 0.6 * percent(losses.max(), start @ matrix @ start / 2)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-2])
@pytest.mark.parametrize("name", ["mlp tanh", "mlp relu", "mlp values", "convolution", "tied"])
def test_networks_against_l_bfgs_b(name, epsilon):
    """The solver of Keskar et al., run to its end from ten of the same draws."""
    landscape = landscape_of(name)
    x, loss = landscape.points()[0], landscape.losses()[0]
    widths = epsilon * (x.abs() + 1)

    def negative(places):
        point = (x + widths * torch.from_numpy(places)).unsqueeze(0)
        return -landscape.losses(point).item(), -(widths * landscape.gradients(point)[0]).numpy()

    ends = [
        -minimize(negative, place.numpy(), jac=True, bounds=[(-1, 1)] * len(x), method="L-BFGS-B").fun
        for place in draws_of(0, 10, len(x))
    ]
    found = sharpness(landscape, epsilon)
    assert found.value.item() == pytest.approx(percent(max(ends), loss).item(), rel=3e-3)
    assert found.converged.all()


def test_an_ascent_from_the_centre_finds_nothing_at_a_minimum():
    matrix, x, epsilon = torch.eye(SIZE).double(), torch.zeros(SIZE).double(), 0.1
    for _ in range(100):
        x = (x + matrix @ x).clamp(-epsilon, epsilon)
    assert x @ matrix @ x == 0
    assert sharpness(quadratic(matrix, start=torch.zeros(SIZE).double()), epsilon).value > 3


def check_bounds(landscape, epsilon, seed, draws, steps):
    """The worst loss is in the box, and never less than that of the network and of the best draw."""
    x = landscape.points()[0]
    places = x + epsilon * (x.abs() + 1) * draws_of(seed, draws, len(x))
    found = sharpness(landscape, epsilon, seed=seed, draws=draws, steps=steps)
    torch.testing.assert_close(found.drawn[0], landscape.losses(places).max(), rtol=1e-12, atol=1e-14)
    assert found.worst >= found.drawn
    assert found.worst >= found.losses
    assert found.value >= 0
    return found


@given(st.integers(1, 6), st.integers(0, 99), st.floats(1e-4, 0.05), st.integers(1, 6), st.integers(0, 12))
@settings(max_examples=40, derandomize=True)
def test_bounds_on_any_quadratic_form(size, seed, epsilon, draws, steps):
    landscape = quadratic(symmetric(size, seed), start=0.3 * normal(size, seed=seed + 1))
    found = check_bounds(landscape, epsilon, seed, draws, steps)
    x = landscape.points()[0]
    slope = ((symmetric(size, seed) @ x).abs() * epsilon * (x.abs() + 1)).sum()
    most = slope + symmetric(size, seed).abs().sum() * (epsilon * (x.abs().max() + 1)) ** 2 / 2
    assert found.worst - found.losses <= most + 1e-12


@given(
    st.integers(0, 99), st.sampled_from(["relu", "tanh"]), st.floats(1e-4, 0.3), st.integers(1, 5), st.integers(0, 9)
)
@settings(max_examples=30, derandomize=True)
def test_bounds_on_any_network(seed, activation, epsilon, draws, steps):
    module = seeded(lambda: MLP((FEATURES, 4, 2), activation), seed)
    landscape = Landscape(module, (normal(9, FEATURES), normal(9, 2, seed=3)), functional.mse_loss)
    check_bounds(landscape, epsilon, seed, draws, steps)


# -- several points, populations, scale ---------------------------------------------------------------------------


def same(found, expected, index):
    for part in ("value", "losses", "worst", "drawn"):
        torch.testing.assert_close(getattr(found, part)[index], getattr(expected, part)[0], rtol=1e-9, atol=1e-14)
    assert found.converged[index] == expected.converged[0]


@pytest.mark.parametrize("subspace", [None, 4])
def test_members_with_data_of_their_own_as_alone(subspace):
    matrices = [torch.diag(normal(SIZE, seed=seed).abs()) for seed in range(3)]
    found = sharpness(quadratic(*matrices), 0.1, subspace=subspace)
    for member, matrix in enumerate(matrices):
        same(found, sharpness(quadratic(matrix), 0.1, subspace=subspace), member)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
def test_members_and_points_as_alone(engine, epsilon):
    modules = [seeded(lambda: MLP((FEATURES, 4, 2), "tanh"), seed) for seed in range(4)]
    data = normal(9, FEATURES), normal(9, 2, seed=3)
    landscape = Landscape(Population(modules), data, functional.mse_loss, engine=engine)
    found = sharpness(landscape, epsilon)
    at_points = sharpness(
        Landscape(modules[0], data, functional.mse_loss, engine=engine), epsilon, points=landscape.points()
    )
    for member, module in enumerate(modules):
        alone = sharpness(Landscape(module, data, functional.mse_loss, engine=engine), epsilon)
        same(found, alone, member)
        same(at_points, alone, member)


@pytest.mark.parametrize("c", [0.01, 100.0])
def test_rescaling_relu_layers_changes_it_though_the_function_is_the_same(c):
    """Dinh et al. 2017."""
    module = seeded(lambda: MLP((FEATURES, 6, 2)))
    scaled, data = copy.deepcopy(module), (normal(20, FEATURES), normal(20, 2, seed=3))
    with torch.no_grad():
        for parameter in scaled.linear1.parameters():
            parameter.mul_(c)
        scaled.linear2.weight.div_(c)
    before, after = (sharpness(Landscape(one, data, functional.mse_loss)) for one in (module, scaled))
    torch.testing.assert_close(after.losses, before.losses, rtol=1e-12, atol=0)
    assert after.value > 2 * before.value


# -- interface ----------------------------------------------------------------------------------------------------


def test_without_steps_the_best_draw_counts_and_nothing_has_converged():
    found = sharpness(quadratic(symmetric(SIZE)), 0.1, steps=0, draws=3)
    assert torch.equal(found.worst, torch.maximum(found.drawn, found.losses))
    assert not found.converged.any()


def test_losses_of_minus_one_or_less_and_diverged_networks_have_no_sharpness():
    landscape = quadratic(-torch.eye(SIZE))  # the loss is -|x|^2 / 2
    lengths = torch.tensor([0.5, 5**0.5, torch.nan], dtype=torch.float64)
    found = sharpness(landscape, 0.1, points=torch.eye(SIZE, dtype=torch.float64)[:3] * lengths.unsqueeze(1))
    assert found.losses[1].item() == pytest.approx(-2.5)
    assert found.value[0] > 0
    assert found.value.isnan().tolist()[1:] == [True, True]
    assert found.worst[1] >= found.losses[1]
    assert found.worst[2].isnan()
    assert found.drawn[2].isnan()
    assert not found.converged[2]


def test_the_seed_decides():
    landscape = landscape_of("mlp tanh")
    first, again, other = (sharpness(landscape, subspace=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.value, again.value)
    assert not torch.equal(first.value, other.value)
    assert not torch.equal(first.drawn, other.drawn)


def test_networks_and_points_are_left_as_they_were():
    case = CASES["convolution"]()
    module = case.module.train()
    landscape = Landscape(module, case.data, case.objective)
    before, points = copy.deepcopy(module.state_dict()), landscape.points()
    kept = points.clone()
    sharpness(landscape, 0.1, points=points, steps=3)
    assert module.training
    assert torch.equal(points, kept)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epsilon": 0}, "epsilon must be above 0 and finite, not 0"),
        ({"epsilon": float("nan")}, "epsilon must be above 0 and finite, not nan"),
        ({"draws": 0}, "draws must be 1 or more and steps 0 or more, not 0 and 60"),
        ({"steps": -1}, "draws must be 1 or more and steps 0 or more, not 20 and -1"),
        ({"seed": -1}, "the seed must be a whole number, 0 or more, not -1"),
        ({"subspace": 0}, f"a subspace has 1 to {SIZE} dimensions, not 0"),
        ({"subspace": SIZE + 1}, f"a subspace has 1 to {SIZE} dimensions, not {SIZE + 1}"),
        ({"points": torch.ones(2, 3)}, r"points must be \[point, 7\], not \(2, 3\)"),
    ],
)
def test_wrong_settings_are_named(given, message):
    with pytest.raises(SettingError, match=message):
        sharpness(Landscape(QuadraticForm(normal(SIZE)), (normal(1, SIZE, SIZE), torch.zeros(1)), mean_output), **given)
