"""Critical points: those known in closed form are found, and what is reported is what autograd sees there."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.instruments import (
    find_critical_points,
    frye_index,
    minimise_gradient_norm,
    minimise_loss,
    split_eigenvalues,
)
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import MeanSquaredError, Population, Samples

SOLVERS = {
    "gradient norm": minimise_gradient_norm,
    "loss": lambda *args, **kwargs: minimise_loss(*args, bent=False, **kwargs)[0],
    "loss, bent": lambda *args, **kwargs: minimise_loss(*args, bent=True, **kwargs)[0],
    "both": lambda *args, steps=50, **kwargs: find_critical_points(*args, cycles=steps // 50, **kwargs),
}


class Formula(nn.Module):
    """A module that is its parameters and nothing else: the loss is a formula of them."""

    def __init__(self, formula, *start):
        super().__init__()
        self.formula = formula
        self.at = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, inputs):
        return self.formula(self.at)


def landscape_of(formula, *starts):
    """A landscape of one network for each start, whose loss is the formula."""
    networks = Population([Formula(formula, *start) for start in starts])
    return Landscape(networks, (torch.zeros(1, 1), torch.zeros(1, 1)), lambda outputs, _: outputs)


def hyperbola(at):
    """(1 - x y)^2 / 2: a saddle at the origin, minima on x y = 1."""
    return (1 - at[0] * at[1]).square() / 2


def rosenbrock(at):
    """A valley along y = x^2, with its minimum at (1, 1)."""
    return 100 * (at[1] - at[0].square()).square() + (1 - at[0]).square()


# -- deep linear networks (Baldi and Hornik 1989) -------------------------------------------------------------

HIDDEN = 2


class LinearNetworks:
    """A deep linear network that fits targets y to inputs x, and its critical points.

    Let l_1 > l_2 > ... and u_1, u_2, ... be the eigenvalues and eigenvectors of E[y x'] E[x x']^-1 E[x y'] (of E[x x']
    for an autoencoder). At a critical point the network is the least-squares solution, projected on some
    directions u_i, i in I; it is stuck with the variance along the others, E |y|^2 - sum of l_i, i in I. A pair (i in
    I, j not in I) with l_j > l_i makes one negative eigenvalue: u_i can be turned towards u_j. Where the hidden units
    that no direction takes (hidden - |I|) are off, each can grow along every direction not in I, and makes one more
    negative eigenvalue for each.
    """

    def __init__(self, targets, depth):
        generator = np.random.default_rng(0)
        x = generator.normal(size=(30, 4)) * [2.0, 1.5, 1.0, 0.7] @ np.linalg.qr(generator.normal(size=(4, 4)))[0]
        y = x if targets == "inputs" else x @ generator.normal(size=(4, 3)) + 0.3 * generator.normal(size=(30, 3))
        self.inputs, self.targets, self.depth, self.generator = x, y, depth, generator
        self.solution = np.linalg.lstsq(x, y, rcond=None)[0].T
        values, vectors = np.linalg.eigh(self.solution @ x.T @ y / len(x))
        self.variances, self.directions = values[::-1], vectors[:, ::-1]
        sizes, outputs = range(HIDDEN + 1), range(y.shape[1])
        self.subsets = [subset for size in sizes for subset in combinations(outputs, size)]

    def landscape(self):
        widths = [self.inputs.shape[1], *[HIDDEN] * (self.depth - 1), self.targets.shape[1]]
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
        for layer in layers:
            nn.init.zeros_(layer.bias)
        network = nn.Sequential(*[part for layer in layers for part in (layer, nn.Identity())][:-1])
        data = torch.from_numpy(self.inputs.copy()), torch.from_numpy(self.targets.copy())
        return Landscape(network, data, functional.mse_loss, parameters="*.weight")

    def losses(self):
        """Of every subset: the variance that is left, as a mean over outputs."""
        whole = np.square(self.targets).sum(1).mean()
        left = [whole - self.variances[list(subset)].sum() for subset in self.subsets]
        return torch.tensor(left) / self.targets.shape[1]

    def negative(self):
        """Negative eigenvalues at every subset."""
        outputs = self.targets.shape[1]
        return torch.tensor(
            [
                sum(self.variances[j] > self.variances[i] for i in subset for j in range(outputs) if j not in subset)
                + (HIDDEN - len(subset)) * (outputs - len(subset))
                for subset in self.subsets
            ]
        )

    def points(self):
        """One critical point for every subset; random maps of the hidden layers leave the function as it is."""
        return torch.stack([self._point(list(subset)) for subset in self.subsets])

    def _point(self, subset):
        first, last = np.zeros((HIDDEN, self.inputs.shape[1])), np.zeros((self.targets.shape[1], HIDDEN))
        first[: len(subset)] = self.directions[:, subset].T @ self.solution
        last[:, : len(subset)] = self.directions[:, subset]
        weights = [first, *[np.eye(HIDDEN)] * (self.depth - 2), last]
        for layer in range(self.depth - 1):
            change = np.eye(HIDDEN) + self.generator.uniform(-0.4, 0.4, (HIDDEN, HIDDEN))
            weights[layer], weights[layer + 1] = change @ weights[layer], weights[layer + 1] @ np.linalg.inv(change)
        return torch.from_numpy(np.concatenate([weight.flatten() for weight in weights]))


every_linear_network = pytest.mark.parametrize(
    ("targets", "depth"), [("inputs", 2), ("inputs", 3), ("other values", 2), ("other values", 3)]
)


def negative_eigenvalues(hessians):
    split = split_eigenvalues(torch.linalg.eigvalsh(hessians))
    return (split.negative * hessians.shape[1]).round().long()


@every_linear_network
def test_critical_points_of_linear_networks_are_recovered_from_nearby(targets, depth):
    networks = LinearNetworks(targets, depth)
    landscape, exact = networks.landscape(), networks.points()
    assert landscape.gradients(exact).norm(dim=1).max() < 1e-13
    near = exact + 0.01 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert (landscape.gradients(near).norm(dim=1) > 1e-3).all()
    found = minimise_gradient_norm(landscape, near, tolerance=1e-9)
    assert found.gradient_norms.max() < 1e-9
    assert (found.points - exact).norm(dim=1).max() < 0.2
    torch.testing.assert_close(found.losses, networks.losses(), rtol=0, atol=1e-12)
    assert negative_eigenvalues(found.hessians).tolist() == networks.negative().tolist()
    assert frye_index(found.gradients, found.hessians).max() < 0.01
    saddles = networks.negative() > 0
    assert saddles.sum() == len(networks.subsets) - 1  # all but one: no minimum is worse than the best


@every_linear_network
def test_random_starts_end_at_the_losses_of_critical_points_of_linear_networks(targets, depth):
    networks = LinearNetworks(targets, depth)
    landscape = networks.landscape()
    starts = torch.randn(60, landscape.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = minimise_gradient_norm(landscape, starts, tolerance=1e-9, steps=100)
    critical = (found.gradient_norms < 1e-8) & (frye_index(found.gradients, found.hessians) < 0.1)
    away = (found.losses[critical].unsqueeze(1) - networks.losses()).abs()
    assert away.amin(1).max() < 1e-9
    assert critical.sum() > 20
    assert len(away.argmin(1).unique()) > 2


# -- solvers ----------------------------------------------------------------------------------------------------


def test_one_solver_goes_to_the_saddle_and_the_other_away_from_it():
    start = (0.01, 0.02)
    saddle = minimise_gradient_norm(landscape_of(hyperbola, start))
    torch.testing.assert_close(saddle.points, torch.zeros(1, 2, dtype=torch.float64), rtol=0, atol=1e-6)
    assert negative_eigenvalues(saddle.hessians).tolist() == [1]
    minimum, _ = minimise_loss(landscape_of(hyperbola, start))
    assert minimum.gradient_norms.item() < 1e-6
    assert minimum.losses.item() < 1e-12
    assert negative_eigenvalues(minimum.hessians).tolist() == [0]
    assert minimum.points.prod().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("start", [(0.01, 0.02), (0.5, -0.2), (1.5, 1.2)])
def test_a_step_is_the_best_of_the_damped_ones(start):
    """From the formulas, near the saddle, further off and near a minimum, with dampings of 1e-5 to 1e-2."""
    landscape = landscape_of(hyperbola, start)
    gradient, hessian = landscape.gradients()[0].numpy(), landscape.hessians()[0].numpy()
    eigenvalues, vectors = np.linalg.eigh(hessian)
    absolute, one, loss = vectors * np.abs(eigenvalues) @ vectors.T, np.eye(2), lambda at: landscape.losses(at)
    norm = lambda at: landscape.gradients(at).norm(dim=1)
    for solver, merit, step in (
        ("loss", loss, lambda mu: -np.linalg.solve(absolute + mu * one, gradient)),
        ("gradient norm", norm, lambda mu: -np.linalg.solve(hessian @ hessian + mu**2 * one, hessian @ gradient)),
    ):
        candidates = torch.tensor(np.array([np.array(start) + step(mu) for mu in (1e-5, 1e-4, 1e-3, 1e-2)]))
        best = candidates[merit(candidates).argmin()]
        assert merit(best.unsqueeze(0)) < merit(landscape.points())
        torch.testing.assert_close(SOLVERS[solver](landscape, steps=1).points[0], best, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize(("formula", "start"), [(hyperbola, (0.01, 0.02)), (rosenbrock, (-1.2, 1.0))])
def test_no_step_increases_the_loss(formula, start, bent):
    landscape = landscape_of(formula, start)
    found, damping = minimise_loss(landscape, steps=0, bent=bent)
    losses = [found.losses.item()]
    for _ in range(40):
        found, damping = minimise_loss(landscape, found.points, steps=1, bent=bent, damping=damping)
        losses.append(found.losses.item())
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < 1e-12 < losses[0]


@pytest.mark.parametrize("formula", [hyperbola, rosenbrock])
def test_no_step_increases_the_gradient_norm(formula):
    landscape = landscape_of(formula, (-1.2, 1.0))
    norms = [minimise_gradient_norm(landscape, steps=steps).gradient_norms.item() for steps in (0, 1, 2, 3, 5, 9, 20)]
    assert (np.diff(norms) <= 0).all()
    assert norms[-1] < 0.1 * norms[0]


def test_bent_steps_follow_a_bent_valley_faster():
    starts = [(-1.2, 1.0), (-2.0, 4.0), (-1.5, 2.0)]
    steps = {}
    for bent in (False, True):
        found, _ = minimise_loss(landscape_of(rosenbrock, *starts), bent=bent, tolerance=1e-8, steps=200)
        torch.testing.assert_close(found.points, torch.ones(3, 2, dtype=torch.float64))
        steps[bent] = found.steps
    assert (steps[True] < steps[False]).all()


def test_the_damping_of_an_earlier_call_goes_on_where_it_was():
    landscape = landscape_of(rosenbrock, (-1.2, 1.0))
    whole, last = minimise_loss(landscape, steps=12)
    half, damping = minimise_loss(landscape, steps=5)
    rest, again = minimise_loss(landscape, half.points, steps=7, damping=damping)
    assert torch.equal(rest.points, whole.points)
    assert torch.equal(again, last)
    afresh, _ = minimise_loss(landscape, half.points, steps=7)
    assert not torch.equal(afresh.points, whole.points)


def design(singular):
    inputs = torch.randn(20, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    if singular:
        inputs[:, 2] = inputs[:, 0] - 2 * inputs[:, 1]
    return inputs, inputs.sum(1, keepdim=True).square()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("singular", [False, True])
def test_a_quadratic_takes_a_few_steps_singular_or_not(solver, singular):
    """Linear regression; numpy knows the least loss, and where it is if it is one point."""
    inputs, targets = design(singular)
    found = SOLVERS[solver](Landscape(MLP((3, 1)), (inputs, targets), MeanSquaredError()), tolerance=1e-10)
    matrix, values = np.column_stack([inputs, np.ones(20)]), targets[:, 0].numpy()
    best = np.linalg.lstsq(matrix, values, rcond=None)[0]
    least = np.square(matrix @ best - values).mean()
    assert found.gradient_norms.item() <= 1e-10
    assert found.losses.item() == pytest.approx(least, rel=1e-12)
    assert 0 < found.steps.item() <= 5
    if not singular:
        np.testing.assert_allclose(found.points[0], best, atol=1e-9)


BARRIERS = {
    # the full Newton step from the first start leads to where the loss is ...
    "not a number": (lambda at: (at - at.log()).sum(), (3.0,), (0.9,), 1.0),
    "not a number, nor its gradient": (lambda at: (at + at.pow(-0.5)).sum(), (3.0,), (0.6,), 0.5 ** (2 / 3)),
    "infinite": (lambda at: (at.exp() - at).sum(), (-10.0,), (0.1,), 0.0),
}


@pytest.mark.parametrize("solver", ["loss", "loss, bent", "both"])
@pytest.mark.parametrize("barrier", BARRIERS)
def test_candidates_that_are_not_finite_are_not_taken(barrier, solver):
    formula, hard, easy, minimum = BARRIERS[barrier]
    landscape = landscape_of(formula, hard, easy)
    losses, gradients, hessians = landscape.expand()
    newton = landscape.points() - gradients / hessians.squeeze(2)
    assert landscape.losses(newton).isfinite().tolist() == [False, True]
    found = SOLVERS[solver](landscape, steps=150)
    torch.testing.assert_close(found.points, torch.full((2, 1), minimum, dtype=torch.float64), rtol=0, atol=1e-5)
    assert found.gradient_norms.max() <= 1e-6
    assert (found.losses <= losses).all()


@pytest.mark.parametrize("barrier", BARRIERS)
def test_the_best_of_the_finite_candidates_is_taken(barrier):
    """Of the dampings that are tried, 5e-4 to 0.5, the smaller ones lead too far and the largest does not."""
    landscape = landscape_of(*BARRIERS[barrier][:2])
    damping = torch.tensor([0.05], dtype=torch.float64)
    found, _ = minimise_loss(landscape, steps=1, bent=False, damping=damping)
    assert found.losses.item() < landscape.losses().item() - 0.1


@pytest.mark.parametrize("barrier", BARRIERS)
def test_the_gradient_norm_never_becomes_infinite_or_undefined(barrier):
    formula, hard, easy, minimum = BARRIERS[barrier]
    landscape = landscape_of(formula, hard, easy)
    found = minimise_gradient_norm(landscape)
    assert (found.gradient_norms <= landscape.gradients().norm(dim=1)).all()
    assert found.points[1].item() == pytest.approx(minimum, abs=1e-5)


# -- networks -----------------------------------------------------------------------------------------------------


def cosine(samples=40):
    inputs = torch.linspace(-3, 3, samples, dtype=torch.float64).unsqueeze(1)
    return inputs, torch.cos(inputs)


def tanh_networks(members, widths=(1, 3, 1)):
    """Networks with weights three times as large as usual: few of them are at a constant within a few steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        networks = [MLP(widths, "tanh").double() for _ in range(members)]
    with torch.no_grad():
        for parameter in (parameter for network in networks for parameter in network.parameters()):
            parameter.mul_(3)
    return networks


def fitting(members, widths=(1, 3, 1)):
    return Landscape(Population(tanh_networks(members, widths)), cosine(), MeanSquaredError())


def gradient_norm_of(module, vector, inputs, targets):
    """What plain PyTorch says, in float64."""
    nn.utils.vector_to_parameters(vector, module.parameters())
    module.zero_grad()
    functional.mse_loss(module(inputs), targets).backward()
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()


def assert_same_bits(found, alone, member):
    """Bit by bit, as for training: paths of many steps are chaotic, and no tolerance would hold for all of them."""
    for name in ("steps", "points", "losses", "gradients", "hessians"):
        assert torch.equal(getattr(found, name)[member], getattr(alone, name)[0])


@pytest.mark.parametrize("widths", [(1, 3, 1), (1, 3, 2, 1)])
def test_reported_gradients_are_those_of_autograd_at_the_points_found(widths):
    networks, (inputs, targets) = tanh_networks(4, widths), cosine()
    landscape = Landscape(Population(networks), (inputs, targets), MeanSquaredError())
    found = find_critical_points(landscape)
    assert (found.gradient_norms <= 1e-6).all()
    plain = torch.stack([gradient_norm_of(networks[0], point, inputs, targets) for point in found.points])
    torch.testing.assert_close(found.gradient_norms, plain, rtol=1e-6, atol=1e-15)
    torch.testing.assert_close(found.hessians, landscape.hessians(found.points), rtol=1e-12, atol=1e-14)
    assert (found.steps > 0).all()


def test_what_never_comes_below_is_where_its_gradient_norm_was_least():
    landscape = fitting(4)
    norms = [landscape.gradients().norm(dim=1)]
    for cycles in range(3):
        found = find_critical_points(landscape, tolerance=1e-30, cycles=cycles)
        assert (found.gradient_norms > 1e-30).all()
        assert (found.gradient_norms <= norms[-1]).all()
        norms.append(found.gradient_norms)
    assert (norms[-1] < 1e-3 * norms[0]).all()


def test_steps_are_those_that_were_taken():
    """With a tolerance out of reach all are: 50 at first, then 50 down the loss and 15 again in each cycle."""
    landscape = fitting(2)
    for cycles in (0, 1, 2):
        found = find_critical_points(landscape, tolerance=0, cycles=cycles)
        assert (found.gradient_norms > 0).all()
        assert found.steps.tolist() == [50 + cycles * 65] * 2
    assert minimise_gradient_norm(landscape, tolerance=0, steps=7).steps.tolist() == [7, 7]
    assert minimise_loss(landscape, tolerance=0, steps=7)[0].steps.tolist() == [7, 7]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_point_that_is_below_already_stays(solver):
    landscape = fitting(3)
    arrived = find_critical_points(landscape).points[:1]
    points = torch.cat([landscape.points()[:1], arrived])
    found = SOLVERS[solver](landscape, points)
    assert torch.equal(found.points[1], arrived[0])
    assert found.steps[1] == 0
    assert not torch.equal(found.points[0], points[0])
    assert found.steps[0] > 0
    assert torch.equal(points, torch.cat([landscape.points()[:1], arrived]))  # starts are not overwritten


@pytest.mark.parametrize("widths", [(1, 3, 1), (1, 4, 1), (1, 3, 2, 1)])
def test_a_point_does_not_depend_on_the_others(widths):
    """For 10, 13 and 17 parameters: a stack of matrices of odd size is aligned at every other one only."""
    landscape = fitting(6, widths)
    found = find_critical_points(landscape)
    assert len(found.steps.unique()) > 2
    assert found.steps.max() > 50
    for member, start in enumerate(landscape.points()):
        assert_same_bits(found, find_critical_points(landscape, start.unsqueeze(0)), member)


def test_members_with_data_of_their_own_keep_it():
    """They finish after different numbers of steps, so that members are picked out on the way."""
    networks, (inputs, targets) = tanh_networks(4), cosine()
    own = torch.stack([targets, 0.1 * targets, inputs.abs() - 1, torch.sin(inputs)])
    samples = Samples(inputs, own, own_targets=True)
    found = find_critical_points(Landscape(Population(networks), samples, MeanSquaredError()))
    assert len(found.steps.unique()) > 1
    for member, network in enumerate(networks):
        alone = find_critical_points(Landscape(network, (inputs, own[member]), MeanSquaredError()))
        assert_same_bits(found, alone, member)
        plain = gradient_norm_of(network, found.points[member], inputs, own[member])
        torch.testing.assert_close(found.gradient_norms[member], plain, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("cycles", [1, 10])
def test_progress_is_the_share_that_is_done(cycles):
    """Of these six two are done at once, five after one cycle, all after two."""
    told = []
    found = find_critical_points(fitting(6), cycles=cycles, progress=told.append)
    done = (found.gradient_norms <= 1e-6).double().mean().item()
    assert done == 1 or cycles < 10
    assert 0 < told[0] < done
    assert told == sorted(told)
    assert told[-1] == pytest.approx(done)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e200])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_network_that_diverged_harms_no_other(solver, value):
    landscape = fitting(2)
    points = torch.cat([torch.full((1, landscape.size), value, dtype=torch.float64), landscape.points()])
    found = SOLVERS[solver](landscape, points)
    for member in (1, 2):
        assert_same_bits(found, SOLVERS[solver](landscape, points[member : member + 1]), member)
    assert not found.gradient_norms[0] <= 1e-6


def test_a_network_that_diverged_is_not_counted_as_done():
    told = []
    landscape = fitting(1)
    points = torch.full((2, landscape.size), torch.nan, dtype=torch.float64)
    find_critical_points(landscape, points, progress=told.append, cycles=1)
    assert told[0] == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_points_of_another_size_are_named(solver):
    landscape = Landscape(MLP((1, 3, 1), "tanh"), cosine(), MeanSquaredError())
    with pytest.raises(SettingError, match=r"points must be \[point, 10\], not \(2, 9\)"):
        SOLVERS[solver](landscape, torch.zeros(2, 9))
