"""Frye's index: near 0 at critical points, near 1 where the gradient lies in the Hessian's kernel, exact in between."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.autograd import functional

from whydeep.instruments import EIGENVALUE_TOLERANCE, GRADIENT_FLAT, frye_index


def expansion(formula, *point):
    """Gradient [1, size] and Hessian [1, size, size] of a formula, by autograd."""
    at = torch.tensor(point, dtype=torch.float64)
    gradient, hessian = (take(formula, at) for take in (functional.jacobian, functional.hessian))
    return gradient.unsqueeze(0), hessian.unsqueeze(0)


def index_by_pinv(gradient, hessian, tolerance=EIGENVALUE_TOLERANCE):
    """The definition, with numpy's pseudo-inverse."""
    step = -np.linalg.pinv(hessian, rcond=tolerance, hermitian=True) @ gradient
    residual = np.linalg.norm(hessian @ step + gradient)
    return residual / (np.linalg.norm(hessian) * np.linalg.norm(step) + np.linalg.norm(gradient))


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def batch(*values):
    return [torch.tensor(np.array(value, dtype=float)).unsqueeze(0) for value in values]


def hyperbola(at):
    """(1 - x y)^2 / 2: a saddle at the origin; every point of x y = 1 is a minimum with a singular Hessian."""
    return (1 - at[0] * at[1]).square() / 2


@pytest.mark.parametrize("offset", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 0.0])
@pytest.mark.parametrize("point", [(0.0, 0.0), (1.0, 1.0), (4.0, 0.25)])
def test_near_zero_at_critical_points_down_to_rounding(point, offset):
    index = frye_index(*expansion(hyperbola, point[0] + offset, point[1] - 0.3 * offset))
    assert index.item() < 3e-3


@pytest.mark.parametrize("size", [2, 5, 30])
def test_a_gradient_that_rounding_alone_makes_counts_as_zero(size):
    """Of any direction, in the kernel too; one that is a thousand times larger does not."""
    turn = rotation(size)
    hessian = turn @ np.diag([*np.linspace(-1, 2, size - 1), 0.0]) @ turn.T
    for direction in turn.T:
        assert frye_index(*batch(1e-15 * direction, hessian)).item() == 0
    assert frye_index(*batch(1e-12 * turn[:, -1], hessian)).item() > 0.999


@pytest.mark.parametrize(
    ("formula", "point"),
    [
        (lambda at: at[0] + at[1].square(), (3.0, 0.0)),  # a slope that goes on for ever
        (lambda at: at[0].pow(3) + at[0] - at[1].square() + at[2].square(), (0.0, 0.0, 0.0)),  # above an inflection
        (lambda at: at[0] + 0 * at[1].square(), (1.0, 1.0)),  # no curvature at all
        (lambda at: 1e-8 * at[0] + at[1].square(), (3.0, 1e-10)),  # a gradient norm that would pass for zero
    ],
)
def test_above_nine_tenths_at_gradient_flat_points(formula, point):
    gradient, hessian = expansion(formula, *point)
    assert frye_index(gradient, hessian).item() > GRADIENT_FLAT


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_mixture_is_in_between_by_a_formula(share):
    """H = diag(2, 0), g = (a, b): p = (-a/2, 0), so r = b / (2 * a/2 + sqrt(a^2 + b^2))."""
    a, b = 1 - share, share
    index = frye_index(*batch([a, b], [[2, 0], [0, 0]])).item()
    assert index == pytest.approx(b / (a + np.hypot(a, b)), abs=1e-12)


@pytest.mark.parametrize("kernel", [0, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_is_exact_against_an_independent_pseudo_inverse(kernel, seed):
    generator, size = np.random.default_rng(seed), 6
    gradients, hessians = [], []
    for number in range(4):
        turn = rotation(size, (seed, number))
        eigenvalues = generator.uniform(0.5, 2, size) * generator.choice([-1, 1], size)
        eigenvalues[:kernel] = 0
        hessian = turn @ np.diag(eigenvalues) @ turn.T
        hessians.append((hessian + hessian.T) / 2)
        gradients.append(generator.normal(size=size) * 10.0 ** generator.integers(-6, 3))
    exact = [index_by_pinv(*pair) for pair in zip(gradients, hessians, strict=True)]
    found = frye_index(torch.tensor(np.array(gradients)), torch.tensor(np.array(hessians)))
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)
    assert (found < 1e-9).all() if kernel == 0 else ((found > 1e-3) & (found < 0.95)).all()


@pytest.mark.parametrize(("eigenvalue", "flat"), [(0.9e-6, True), (1.1e-6, False), (-0.9e-6, True), (-1.1e-6, False)])
def test_eigenvalues_up_to_the_tolerance_are_the_kernel(eigenvalue, flat):
    gradient, hessian = batch([0, 1], [[1, 0], [0, eigenvalue]])
    assert frye_index(gradient, hessian).item() == pytest.approx(float(flat), abs=1e-9)
    assert frye_index(gradient, hessian, tolerance=1e-9).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 3.0, 1e12])
def test_the_scale_of_the_loss_does_not_matter(scale):
    gradient, hessian = batch([1, 0, 3], [[1, 2, 0], [2, 4, 0], [0, 0, -1]])
    index = frye_index(gradient, hessian).item()
    assert 0.01 < index < 0.95
    assert frye_index(scale * gradient, scale * hessian).item() == pytest.approx(index, rel=1e-9)


def test_points_are_independent_and_float32_is_computed_in_float64():
    gradients = torch.tensor([[1e-3, 0.0], [0.0, 1e-3], [0.0, 0.0]])
    hessians = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(3, 2, 2)
    index = frye_index(gradients, hessians)
    assert index.dtype == torch.float64
    assert index.tolist() == [0, 1, 0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_where_nothing_is_finite_there_is_no_index(bad):
    """A network that diverged must not look critical; the others are measured all the same."""
    gradients, hessians = torch.tensor([[bad, bad], [0.0, 1.0]]), torch.zeros(2, 2, 2)
    hessians[0] = bad
    hessians[1, 0, 0] = 1
    index = frye_index(gradients, hessians)
    assert index[1] == 1
    assert index[0].isnan()


numbers = st.floats(-1e3, 1e3).filter(lambda number: number == 0 or abs(number) > 1e-3)


gradients_and_matrices = st.integers(1, 5).flatmap(
    lambda size: st.tuples(*(arrays(float, shape, elements=numbers) for shape in (size, (size, size))))
)


@given(gradients_and_matrices)
@settings(max_examples=200, derandomize=True)
def test_between_zero_and_one_and_indifferent_to_signs_and_turns(pair):
    """For -L the step is the same; for a turned basis it is turned."""
    gradient, matrix = pair
    hessian = matrix + matrix.T
    turn = rotation(len(gradient), 1)
    eigenvalues = np.abs(np.linalg.eigvalsh(hessian))
    index, negated, turned = (
        frye_index(*batch(g, h)).item()
        for g, h in ((gradient, hessian), (-gradient, -hessian), (turn @ gradient, turn @ hessian @ turn.T))
    )
    assert 0 <= index <= 1
    ratios = eigenvalues / max(eigenvalues.max(), 1e-300)
    if not ((ratios > 1e-9) & (ratios < 1e-4)).any():  # whether it counts as zero must not hang on rounding
        assert negated == pytest.approx(index, abs=1e-6)
        assert turned == pytest.approx(index, abs=1e-6)
