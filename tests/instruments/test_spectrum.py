"""The outermost eigenvalues: against dense decompositions, with honest residuals, or not at all."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from cases import CASES, normal, quadratic, seeded, symmetric, with_spectrum
from whydeep.errors import ConvergenceError, SettingError, WhydeepError
from whydeep.instruments import bottom_eigenvalues, top_eigenvalues
from whydeep.instruments import spectrum as spectrum_module
from whydeep.instruments.spectrum import DENSE_SIZE
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import SGD, MeanSquaredError, Population, Recorder, Samples, Stream, Training, loss

ENDS = {"top": top_eigenvalues, "bottom": bottom_eigenvalues}
SMALL, LARGE = (5, 8, 3), (10, 20, 3)  # below and above DENSE_SIZE
SIZE = DENSE_SIZE[1] + 50


@pytest.fixture(autouse=True)
def iterate_at_the_bottom_too(monkeypatch):
    monkeypatch.setitem(spectrum_module.DENSE_SIZE, -1, DENSE_SIZE[1])


def network(widths, seed=0, activation="tanh"):
    return seeded(lambda: MLP(widths, activation), seed)


def regression(widths, samples=20):
    return normal(samples, widths[0]), normal(samples, widths[-1], seed=3)


def landscape_of(widths, **settings):
    return Landscape(network(widths), regression(widths), functional.mse_loss, **settings)


def sorted_from(end, eigenvalues):
    return torch.as_tensor(eigenvalues, dtype=torch.float64).sort(dim=-1, descending=end == "top").values


def check(end, landscape, k, tolerance=1e-6, points=None, **settings):
    """Values, lengths and right angles of vectors, and residuals, all against the dense Hessian."""
    hessians = landscape.hessians(points).double()
    expected = sorted_from(end, torch.linalg.eigvalsh(hessians))
    found = ENDS[end](landscape, k, points=points, tolerance=tolerance, **settings)
    scale = expected.abs().max().item()
    torch.testing.assert_close(found.values, expected[:, :k], rtol=0, atol=tolerance * scale)
    identity = torch.eye(k, dtype=torch.float64).expand(len(hessians), -1, -1)
    torch.testing.assert_close(found.vectors @ found.vectors.mT, identity, rtol=0, atol=1e-8)
    residuals = (found.vectors @ hessians - found.values.unsqueeze(2) * found.vectors).norm(dim=2)
    torch.testing.assert_close(found.residuals, residuals, rtol=1e-5, atol=1e-6 * tolerance * scale + 1e-13 * scale)
    assert (found.residuals <= tolerance * scale).all()
    return found


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("widths", [SMALL, LARGE])
@pytest.mark.parametrize("end", ENDS)
def test_equals_the_dense_decomposition(end, widths, k):
    landscape = landscape_of(widths)
    assert (landscape.size > DENSE_SIZE[1]) == (widths == LARGE)
    check(end, landscape, k)


@pytest.mark.parametrize("end", ENDS)
def test_residuals_are_what_they_say(end, monkeypatch):
    """With little accuracy asked for they are far from zero, and still the length of H v - lambda v."""
    monkeypatch.setattr(spectrum_module, "BASIS", {1: 20, -1: 20})
    found = check(end, landscape_of(LARGE), 3, tolerance=1e-2)
    assert found.residuals.max() > 1e-9


SPECTRA = {
    "cluster": [1 + 1e-5 * i for i in range(5)] + torch.linspace(-0.5, 0.5, SIZE - 5).tolist(),
    "negative definite": (-torch.linspace(0.5, 3, SIZE)).tolist(),
    "positive definite": torch.linspace(0.5, 3, SIZE).tolist(),
    "top near zero": [*torch.linspace(-5, -1, SIZE - 3).tolist(), -1e-4, 0.0, 2e-4],
    "bottom near zero": [*torch.linspace(1, 5, SIZE - 3).tolist(), 1e-4, 0.0, -2e-4],
    "low rank": [3.0, 2.0, 1.0, -1.0, -2.0] + [0.0] * (SIZE - 5),
    "the other end is far larger": [1.0, 0.9, 0.8, -1.0, -0.9, -100.0, 100.0] + [0.0] * (SIZE - 7),
    "twice": [2.0, 2.0, 1.5, -2.0, -2.0, *torch.linspace(-1, 1, SIZE - 5).tolist()],
    "all the same": [1.0] * SIZE,
    "tiny": (1e-12 * torch.linspace(-1, 2, SIZE)).tolist(),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("end", ENDS)
def test_known_spectra(end, spectrum):
    check(end, quadratic(with_spectrum(SPECTRA[spectrum])), 3)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3])
@pytest.mark.parametrize("end", ENDS)
def test_eigenvalues_with_copies_are_found_with_their_copies(end, tolerance):
    """Each eigenvalue of a linear network under squared error comes once for every output.

    A single starting vector sees one copy of each: only rounding shows it the others.
    """
    size, outputs = 60, 4
    module = seeded(lambda: nn.Linear(size, outputs))
    landscape = Landscape(module, (normal(100, size), normal(100, outputs)), functional.mse_loss)
    expected = sorted_from(end, torch.linalg.eigvalsh(landscape.hessians()))[:, :5]
    torch.testing.assert_close(expected[:, 0], expected[:, outputs - 1])
    check(end, landscape, 5, tolerance=tolerance)


@pytest.mark.parametrize("size", [5, SIZE])
@pytest.mark.parametrize("end", ENDS)
def test_a_hessian_of_zero(end, size):
    found = check(end, quadratic(torch.zeros(size, size, dtype=torch.float64)), 3)
    assert not found.values.any()
    assert not found.residuals.any()


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("end", ENDS)
def test_all_eigenvalues_of_small_hessians(end, size):
    check(end, quadratic(symmetric(size)), size)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("widths", [SMALL, LARGE])
@pytest.mark.parametrize("end", ENDS)
def test_every_member_of_a_population(end, widths, own):
    members = [network(widths, seed) for seed in range(3)]
    inputs, targets = normal(3, 20, widths[0]), normal(20, widths[-1])
    samples = Samples(inputs if own else inputs[0], targets, own_inputs=own)
    landscape = Landscape(Population(members), samples, MeanSquaredError())
    found = check(end, landscape, 2)
    assert found.vectors.shape == (3, 2, landscape.size)
    alone = Landscape(members[2], (inputs[2 if own else 0], targets), functional.mse_loss)
    torch.testing.assert_close(found.values[2], ENDS[end](alone, 2).values[0])


@pytest.mark.parametrize("widths", [SMALL, LARGE])
@pytest.mark.parametrize("end", ENDS)
def test_at_other_points(end, widths):
    landscape = landscape_of(widths)
    check(end, landscape, 2, points=normal(2, landscape.size))


@pytest.mark.parametrize("name", ["convolution", "attention", "words"])
def test_any_module(name, monkeypatch):
    monkeypatch.setattr(spectrum_module, "DENSE_SIZE", {1: 10, -1: 10})
    case = CASES[name]()
    check("top", Landscape(case.module, case.data, case.objective), 2)


@pytest.mark.parametrize("widths", [SMALL, LARGE])
@pytest.mark.parametrize("end", ENDS)
def test_float32(end, widths):
    """To what its products allow: vectors and values of float64, against the Hessian in float64."""
    landscape = landscape_of(widths, dtype=torch.float32)
    found = ENDS[end](landscape, 2, tolerance=1e-4)
    expected = sorted_from(end, torch.linalg.eigvalsh(landscape_of(widths).hessians()))[:, :2]
    assert found.values.dtype == found.vectors.dtype == torch.float64
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


# -- what has not converged is an error ---------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
def test_too_few_iterations_are_an_error(end, monkeypatch):
    monkeypatch.setattr(spectrum_module, "BASIS", {1: 20, -1: 20})
    landscape = quadratic(symmetric(SIZE))
    with pytest.raises(
        ConvergenceError, match=r"\d of 2 eigenvalues of member 0 converged in 1 iterations: allow more, or a larger"
    ):
        ENDS[end](landscape, 2, iterations=1, tolerance=1e-13)


@pytest.mark.parametrize("widths", [SMALL, LARGE])
def test_more_accuracy_than_float32_has_is_an_error(widths):
    with pytest.raises(ConvergenceError, match=r"of member 0 (have a residual of .* above 1e-12|converged in)"):
        top_eigenvalues(landscape_of(widths, dtype=torch.float32), tolerance=1e-12)


@pytest.mark.parametrize("widths", [SMALL, LARGE])
@pytest.mark.parametrize("end", ENDS)
def test_a_network_that_diverged_has_no_eigenvalues(end, widths):
    module = network(widths)
    with torch.no_grad():
        module.linear1.weight[0, 0] = torch.nan
    with pytest.raises(WhydeepError, match="finite"):
        ENDS[end](Landscape(module, regression(widths), functional.mse_loss))


@pytest.mark.parametrize("k", [0, -1, 27])
def test_wrong_numbers_of_eigenvalues_are_named(k):
    with pytest.raises(
        SettingError, match=f"a Hessian of 26 parameters has no {k} outermost eigenvalues: give 1 to 26"
    ):
        top_eigenvalues(landscape_of((3, 4, 2)), k)


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"tolerance": -1.0}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        top_eigenvalues(landscape_of(LARGE), **settings)


@pytest.mark.parametrize("size", [7, SIZE])
@pytest.mark.parametrize("count", [1, 3])
def test_points_that_are_not_the_members_are_named(count, size):
    with pytest.raises(SettingError, match=f"{count} points for 2 members"):
        top_eigenvalues(quadratic(symmetric(size), symmetric(size, 1)), points=normal(count, size))


# -- what it is for -----------------------------------------------------------------------------------------------


def streams(members):
    return [Stream(0, "test", "", seed, "init") for seed in range(members)]


@pytest.mark.parametrize(("rate_times_curvature", "converges"), [(1.99, True), (2.01, False)])
def test_gradient_descent_on_a_quadratic_diverges_exactly_past_two_over_the_top_eigenvalue(
    rate_times_curvature, converges
):
    population = Population.initialise(lambda: MLP((2, 1)), streams(1), dtype=torch.float64)
    inputs = normal(30, 2)
    samples = Samples(inputs, inputs.sum(1, keepdim=True) + 1)
    landscape = Landscape(population, samples, MeanSquaredError())
    rate = rate_times_curvature / top_eigenvalues(landscape).values.item()
    losses = Recorder(loss)
    Training(population, samples, objective=MeanSquaredError(), optimizer=SGD(rate)).run(3000, [losses])
    assert (losses.values[0, -1] < 1e-10) == converges
    assert (losses.values[0, -1] > losses.values[0, 0]) == (not converges)


def test_edge_of_stability():
    """Cohen et al. 2021: full-batch gradient descent sharpens until lambda_max is about 2 / rate, and hovers there.

    Their toy: a tanh network that fits a Chebyshev polynomial of degree 4 at 20 points.
    """
    inputs = torch.linspace(-1, 1, 20, dtype=torch.float64).unsqueeze(1)
    samples = Samples(inputs, 8 * inputs**4 - 8 * inputs**2 + 1)
    stable, half = 2 / 0.05, 2 / 0.1
    rates = [2 / stable, 2 / stable, 2 / half, 2 / half]
    population = Population.initialise(lambda: MLP((1, 20, 20, 1), "tanh"), streams(4), dtype=torch.float64)
    training = Training(population, samples, objective=MeanSquaredError(), optimizer=SGD(rates))
    landscape = Landscape(population, samples, MeanSquaredError())
    losses = Recorder(loss, range(0, 9000, 1500))
    history = []
    for _ in range(6):
        history.append(top_eigenvalues(landscape, tolerance=1e-4).values[:, 0] * torch.tensor(rates) / 2)
        training.run(1500, [losses])
    sharpness = torch.stack(history, dim=1)  # [member, time], in units of 2 / rate
    assert (sharpness[:, 0] < 0.5).all()
    assert ((sharpness[:, 3:] > 0.9) & (sharpness[:, 3:] < 1.1)).all()
    assert (losses.values[:, -1] < 0.1 * losses.values[:, 0]).all()  # and it still learns


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    found = top_eigenvalues(Landscape(network(LARGE).cuda(), regression(LARGE), functional.mse_loss), 2)
    torch.testing.assert_close(found.values.cpu(), top_eigenvalues(landscape_of(LARGE), 2).values)


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_next_to_a_crowd_is_not_missed(seed):
    """The second 1 lies 1e-5 above the next eigenvalue; an omission has no residual that would show it."""
    crowd = np.random.default_rng(seed).uniform(0.9, 0.9999, 397)
    found = check("top", quadratic(with_spectrum([1.0, 1.0, 0.99999, *crowd.tolist()])), 3)
    torch.testing.assert_close(found.values[0], torch.tensor([1.0, 1.0, 0.99999]).double(), rtol=0, atol=2e-6)


def test_the_bottom_of_a_convex_loss_is_found(monkeypatch):
    """Softmax regression on digits: hundreds of eigenvalues crowd around zero."""
    monkeypatch.setitem(spectrum_module.DENSE_SIZE, -1, 1000)
    digits = load_digits()
    data = torch.from_numpy(digits.data / 16).float(), torch.from_numpy(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        landscape = Landscape(nn.Linear(64, 10), data, functional.cross_entropy)
    assert bottom_eigenvalues(landscape, 2).values.abs().max() < 1e-6 * top_eigenvalues(landscape).values.item()
