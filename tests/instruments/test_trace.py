"""The trace: exact where that costs no more, else within its own standard error."""

import pytest
import torch

from cases import CASES, normal, quadratic, reference, symmetric
from whydeep.errors import SettingError
from whydeep.instruments import hessian_trace
from whydeep.landscape import Landscape

SIZE = 40


def trace_of(matrix):
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


@pytest.mark.parametrize("probes", [SIZE, SIZE + 1, 200])
def test_exact_with_as_many_probes_as_parameters(probes):
    found = hessian_trace(quadratic(symmetric(SIZE)), probes=probes)
    torch.testing.assert_close(found.value[0], trace_of(symmetric(SIZE)), rtol=1e-12, atol=1e-12)
    assert found.standard_error.tolist() == [0]


@pytest.mark.parametrize("name", ["mlp tanh", "convolution", "attention", "frozen", "scalars"])
def test_exact_for_networks(name):
    case = CASES[name]()
    found = hessian_trace(Landscape(case.module, case.data, case.objective), probes=500)
    torch.testing.assert_close(found.value[0], trace_of(reference(case)[2]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("probes", [SIZE - 1, 17, 2])
def test_one_probe_less_is_an_estimate(probes):
    found = hessian_trace(quadratic(symmetric(SIZE)), probes=probes)
    assert found.standard_error.item() > 0
    assert found.value.item() != pytest.approx(trace_of(symmetric(SIZE)).item(), abs=1e-6)


def repeated(probes, seeds=60):
    landscape = quadratic(symmetric(SIZE))
    found = [hessian_trace(landscape, probes=probes, seed=seed) for seed in range(seeds)]
    return torch.stack([one.value[0] for one in found]), torch.stack([one.standard_error[0] for one in found])


def test_estimates_scatter_as_their_standard_errors_say():
    """Unbiased, with the variance 2 (sum of squares off the diagonal) / probes of Hutchinson (1990)."""
    probes = 20
    values, errors = repeated(probes)
    matrix = symmetric(SIZE)
    exact, off_diagonal = trace_of(matrix), matrix - torch.diag(matrix.diagonal())
    theory = (2 * off_diagonal.square().sum() / probes).sqrt()
    assert (values.mean() - exact).abs() < 4 * theory / len(values) ** 0.5
    assert values.std().item() == pytest.approx(theory.item(), rel=0.35)  # some 4 / sqrt(2 * 60)
    assert errors.square().mean().sqrt().item() == pytest.approx(theory.item(), rel=0.15)
    assert ((values - exact).abs() < 4 * errors).float().mean() > 0.97


def test_more_probes_shrink_the_error():
    few, many = repeated(2)[0], repeated(32)[0]
    assert few.std() / many.std() == pytest.approx(4, rel=0.4)


def test_a_diagonal_hessian_is_exact_with_any_probes():
    found = hessian_trace(quadratic(torch.diag(normal(SIZE))), probes=3)
    torch.testing.assert_close(found.value[0], normal(SIZE).sum())
    assert found.standard_error.item() == pytest.approx(0, abs=1e-12)


def test_one_probe_has_no_standard_error():
    assert hessian_trace(quadratic(symmetric(SIZE)), probes=1).standard_error.isnan().all()


@pytest.mark.parametrize("probes", [30, SIZE])
def test_every_member_of_a_population_with_its_own_data(probes):
    matrices = [symmetric(SIZE, seed) for seed in range(3)]
    found = hessian_trace(quadratic(*matrices), probes=probes)
    for member, matrix in enumerate(matrices):
        alone = hessian_trace(quadratic(matrix), probes=probes)
        torch.testing.assert_close(found.value[member], alone.value[0])
        torch.testing.assert_close(found.standard_error[member], alone.standard_error[0])
    assert ((found.value - trace_of(torch.stack(matrices))).abs() <= 4 * found.standard_error + 1e-10).all()


def test_at_other_points():
    case = CASES["mlp tanh"]()
    landscape = Landscape(case.module, case.data, case.objective)
    points = normal(3, landscape.size)
    found = hessian_trace(landscape, points=points, probes=landscape.size)
    torch.testing.assert_close(found.value, trace_of(landscape.hessians(points)))
    estimate = hessian_trace(landscape, points=points, probes=landscape.size - 1)
    assert ((estimate.value - found.value).abs() < 4 * estimate.standard_error).all()


def test_float32():
    case = CASES["mlp tanh"]()
    found = hessian_trace(Landscape(case.module, case.data, case.objective, dtype=torch.float32), probes=500)
    assert found.value.dtype == torch.float64
    torch.testing.assert_close(found.value[0], trace_of(reference(case)[2]), rtol=1e-4, atol=1e-5)


def test_the_seed_decides_and_nothing_else():
    landscape = quadratic(symmetric(SIZE))
    first, again, other = (hessian_trace(landscape, probes=5, seed=seed).value for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("probes", [0, -3])
def test_no_probes_are_named(probes):
    with pytest.raises(SettingError, match=f"probes must be 1 or more, not {probes}"):
        hessian_trace(quadratic(symmetric(SIZE)), probes=probes)
