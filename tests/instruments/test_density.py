"""The spectral density: exact where Gauss quadrature is, near the dense spectrum elsewhere, and never not-a-number."""

import numpy as np
import pytest
import torch

from cases import CASES, normal, quadratic, reference, symmetric, with_spectrum
from whydeep.errors import SettingError
from whydeep.instruments import spectral_density
from whydeep.instruments.probes import random_signs
from whydeep.landscape import Landscape

SIZE = 120


def bulk_and_outliers(size=SIZE):
    """Eigenvalues as networks have them: many near zero, few far out, some below."""
    return torch.cat([torch.tensor([20.0, 8.0, -3.0]), torch.linspace(-0.3, 0.5, size - 3)]).double()


def quadratic_forms(matrix, start, orders):
    """v . H^k v for a vector of length one."""
    moved, found = start.clone(), []
    for _ in range(orders):
        found.append(start @ moved)
        moved = matrix @ moved
    return torch.stack(found)


def first_probe(size, seed=0):
    return random_signs(1, size, seed)[0] / size**0.5


def share_below(eigenvalues, grid):
    return (eigenvalues.unsqueeze(0) <= grid.unsqueeze(1)).double().mean(1)


@pytest.mark.parametrize("steps", [1, 3, 80, 500])
@pytest.mark.parametrize("probes", [1, 7])
def test_weights_are_shares(probes, steps):
    found = spectral_density(quadratic(symmetric(SIZE), symmetric(SIZE, 1)), probes=probes, steps=steps)
    assert found.nodes.shape == found.weights.shape == (2, probes, min(steps, SIZE))
    assert (found.weights >= 0).all()
    torch.testing.assert_close(found.weights.sum(2), torch.ones(2, probes, dtype=torch.float64))
    torch.testing.assert_close(found.moment(0), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_gauss_quadrature_is_exact_below_twice_the_steps(steps):
    """And at twice the steps no longer."""
    matrix = symmetric(SIZE) / SIZE**0.5
    found = spectral_density(quadratic(matrix), probes=1, steps=steps)
    exact = quadratic_forms(matrix, first_probe(SIZE), 2 * steps + 1)
    moments = torch.cat([found.moment(order) for order in range(2 * steps + 1)])
    torch.testing.assert_close(moments[:-1], exact[:-1], rtol=1e-11, atol=1e-12)
    assert (moments[-1] - exact[-1]).abs() > 1e-3 * exact[-1].abs()


@pytest.mark.parametrize("name", ["mlp tanh", "convolution", "attention", "scalars"])
def test_gauss_quadrature_of_networks(name):
    case = CASES[name]()
    landscape = Landscape(case.module, case.data, case.objective)
    found = spectral_density(landscape, probes=1, steps=2)
    exact = quadratic_forms(reference(case)[2], first_probe(landscape.size), 4)
    torch.testing.assert_close(torch.cat([found.moment(order) for order in range(4)]), exact, rtol=1e-9, atol=1e-12)


def test_moments_are_near_the_dense_traces():
    """Within four standard errors over the probes, and these are small."""
    case = CASES["mlp tanh"]()
    landscape = Landscape(case.module, case.data, case.objective)
    eigenvalues = torch.linalg.eigvalsh(landscape.hessians()[0])
    found = spectral_density(landscape, probes=100, steps=10)
    for order in range(1, 4):
        each = (found.nodes**order * found.weights).sum(2)[0]
        error = each.std() / 100**0.5
        exact = (eigenvalues**order).mean()
        assert (found.moment(order)[0] - exact).abs() < 4 * error
        assert error < 0.2 * (eigenvalues.abs() ** order).mean()


def largest_error(eigenvalues, probes, seed=0, steps=SIZE):
    """Of the cumulative density, between the eigenvalues."""
    found = spectral_density(quadratic(with_spectrum(eigenvalues)), probes=probes, seed=seed, steps=steps)
    ordered = eigenvalues.sort().values
    grid = torch.cat([ordered[:1] - 1, (ordered[1:] + ordered[:-1]) / 2, ordered[-1:] + 1])
    return (found.cumulative(grid)[0] - share_below(eigenvalues, grid)).abs().max().item()


@pytest.mark.parametrize("steps", [80, SIZE])
def test_cumulative_density_is_near_the_dense_one(steps):
    assert largest_error(bulk_and_outliers(), probes=20, steps=steps) < 0.05


def test_more_probes_shrink_the_error_with_their_root():
    errors = {
        probes: np.mean([largest_error(bulk_and_outliers(40), probes, seed) for seed in range(8)]) for probes in (1, 16)
    }
    assert errors[1] / errors[16] == pytest.approx(4, rel=0.4)


def test_outer_eigenvalues_are_found_where_they_are():
    found = spectral_density(quadratic(with_spectrum(bulk_and_outliers())), probes=3, steps=60)
    for eigenvalue in (20.0, 8.0, -3.0):
        assert ((found.nodes - eigenvalue).abs().amin(2) < 1e-8).all()


# -- breakdown: the space that the start reaches is exhausted -------------------------------------------------------


def check_finite(found):
    assert found.nodes.isfinite().all()
    assert found.weights.isfinite().all()
    torch.testing.assert_close(found.weights.sum(2), torch.ones_like(found.weights.sum(2)))


@pytest.mark.parametrize(
    "eigenvalues",
    [[0.0] * 100, [3.0] * 100, [5.0] + [0.0] * 99, [2.0] * 50 + [-1.0] * 50, [1e-9] * 30 + [1.0] * 40 + [1e3] * 30],
    ids=["zero", "all equal", "rank one", "two values", "three scales"],
)
def test_few_distinct_eigenvalues(eigenvalues):
    """Fewer than the steps: each gets the weight that the probe gives it."""
    matrix = with_spectrum(eigenvalues)
    found = spectral_density(quadratic(matrix), probes=4, steps=80)
    check_finite(found)
    scale = max(map(abs, eigenvalues))
    values, vectors = torch.linalg.eigh(matrix)
    for probe, start in enumerate(random_signs(4, 100, 0) / 10):
        for eigenvalue in set(eigenvalues):
            near = (values - eigenvalue).abs() < 1e-6 * scale + 1e-8
            exact = ((vectors.mT @ start)[near] ** 2).sum()
            weight = found.weights[0, probe][(found.nodes[0, probe] - eigenvalue).abs() < 1e-6 * scale + 1e-8].sum()
            assert weight.item() == pytest.approx(exact.item(), abs=1e-8)


def test_a_start_in_an_invariant_space():
    """The first probe is an eigenvector: all of its weight is on one eigenvalue, whatever others there are."""
    start = first_probe(SIZE)
    project = torch.eye(SIZE, dtype=torch.float64) - torch.outer(start, start)
    matrix = 7 * torch.outer(start, start) + project @ symmetric(SIZE) @ project
    found = spectral_density(quadratic(matrix), probes=2, steps=80)
    check_finite(found)
    assert found.weights[0, 0][(found.nodes[0, 0] - 7).abs() < 1e-8].sum().item() == pytest.approx(1, abs=1e-8)
    assert found.weights[0, 1][(found.nodes[0, 1] - 7).abs() < 1e-8].sum().item() < 0.5


def test_one_member_that_breaks_down_does_not_touch_another():
    matrices = [with_spectrum([2.0] * 50 + [0.0] * 50), symmetric(100)]
    together = spectral_density(quadratic(*matrices), probes=2, steps=30)
    check_finite(together)
    for member, matrix in enumerate(matrices):
        alone = spectral_density(quadratic(matrix), probes=2, steps=30)
        torch.testing.assert_close(together.moment(3)[member], alone.moment(3)[0])
    torch.testing.assert_close(together.nodes[1], alone.nodes[0])


# -- orthogonality ------------------------------------------------------------------------------------------------


def plain_lanczos(matrix, start, steps):
    """Without orthogonalising again: the three-term recursion alone."""
    diagonal, off_diagonal = [], []
    before, vector, length = torch.zeros_like(start), start, 0.0
    for _ in range(steps):
        moved = matrix @ vector - length * before
        diagonal.append(moved @ vector)
        moved = moved - diagonal[-1] * vector
        length = moved.norm()
        off_diagonal.append(length)
        before, vector = vector, moved / length
    side = torch.diag(torch.stack(off_diagonal[:-1]), 1)
    return torch.linalg.eigvalsh(torch.diag(torch.stack(diagonal)) + side + side.mT)


def test_the_outer_eigenvalue_has_no_copies():
    """Rounding brings it back again and again in plain Lanczos."""
    matrix, steps = with_spectrum([100.0, *torch.linspace(-1, 1, 299).tolist()]), 80
    found = spectral_density(quadratic(matrix), probes=1, steps=steps).nodes[0, 0]
    copies = plain_lanczos(matrix, first_probe(300), steps)
    assert ((found - 100).abs() < 1e-3).sum() == 1
    assert ((copies - 100).abs() < 1e-3).sum() > 1


def test_float32_products_neither_copy_nor_break():
    case = CASES["mlp tanh"]()
    given = (case.module, case.data, case.objective)
    found = spectral_density(Landscape(*given, dtype=torch.float32), probes=3)
    exact = spectral_density(Landscape(*given), probes=3)
    assert found.nodes.dtype == torch.float64
    check_finite(found)
    for order in range(1, 4):
        torch.testing.assert_close(found.moment(order), exact.moment(order), rtol=1e-4, atol=1e-5)


# -- what is made of it -------------------------------------------------------------------------------------------


def test_blurred_density_integrates_to_one_and_has_the_same_mean():
    found = spectral_density(quadratic(symmetric(SIZE) / 10), probes=5)
    grid = torch.linspace(-10, 10, 4001)
    density = found.density(grid, width=0.1)[0]
    assert density.shape == grid.shape
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-6)
    assert torch.trapezoid(density * grid, grid).item() == pytest.approx(found.moment(1).item(), abs=1e-6)
    spread = found.moment(2) + 0.1**2
    assert torch.trapezoid(density * grid**2, grid).item() == pytest.approx(spread.item(), abs=1e-6)


def test_cumulative_density_goes_from_zero_to_one():
    found = spectral_density(quadratic(symmetric(SIZE), symmetric(SIZE, 1)), probes=5)
    values = found.cumulative(torch.linspace(-50, 50, 101))
    assert values.shape == (2, 101)
    assert (values.diff() >= 0).all()
    torch.testing.assert_close(values[:, [0, -1]], torch.tensor([[0.0, 1.0]] * 2).double())


def test_members_and_points():
    matrices = [symmetric(30, seed) for seed in range(3)]
    found = spectral_density(quadratic(*matrices), probes=2, steps=10)
    for member, matrix in enumerate(matrices):
        alone = spectral_density(quadratic(matrix), probes=2, steps=10)
        torch.testing.assert_close(found.nodes[member], alone.nodes[0])
        torch.testing.assert_close(found.weights[member], alone.weights[0])
    case = CASES["mlp tanh"]()
    landscape = Landscape(case.module, case.data, case.objective)
    points = normal(2, landscape.size)
    found = spectral_density(landscape, points=points, probes=1, steps=1)
    forms = first_probe(landscape.size) @ landscape.hessians(points) @ first_probe(landscape.size)
    torch.testing.assert_close(found.nodes.flatten(), forms)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"probes": 0}, "probes must be 1 or more, not 0"), ({"steps": 0}, "steps"), ({"steps": -1}, "steps")],
)
def test_wrong_settings_are_named(given, message):
    with pytest.raises(SettingError, match=message):
        spectral_density(quadratic(symmetric(5)), **given)
