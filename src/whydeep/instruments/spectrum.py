"""The largest and smallest eigenvalues of Hessians of any size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are used
import torch
from torch import Tensor

from whydeep.errors import ConvergenceError, SettingError
from whydeep.landscape import Landscape

DENSE_SIZE = {1: 200, -1: 1000}
"""Up to this many parameters, the dense Hessian is computed instead, at the top and at the bottom."""

BASIS, BASIS_NUMBERS = {1: 20, -1: 80}, 2**28
"""Vectors of the Lanczos basis at the top and at the bottom, where eigenvalues crowd around zero; numbers of all."""


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues with their vectors, the outermost first.

    Attributes:
        values: [member, k].
        vectors: [member, k, size], of length one.
        residuals: [member, k], the length of H v - lambda v: some eigenvalue of H is as near to lambda.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor


def top_eigenvalues(
    landscape: Landscape, k: int = 1, *, points: Tensor | None = None, tolerance: float = 1e-6, iterations: int = 300
) -> Eigenpairs:
    """Return the k largest eigenvalues of each member's Hessian, largest first.

    By the implicitly restarted Lanczos method (Sorensen 1992; ARPACK) on products with the Hessian, which are exact
    over the whole data set; small Hessians are computed and decomposed. The method sees one copy of a repeated
    eigenvalue at a time, so what was found is taken out and looked for again. Costs 30 to 60 products for one
    eigenvalue, and two or three times as many for several.

    Args:
        landscape: whose Hessians.
        k: how many, at most `landscape.size`.
        points: where; at the networks themselves if not given.
        tolerance: the residual that is accepted, relative to the largest absolute eigenvalue. Products in
            float32 do not allow much less than 1e-4.
        iterations: restarts at most.

    Raises:
        ConvergenceError: the residual of an eigenpair is above the tolerance.
        SettingError: numbers out of range, or a Hessian that is not finite.

    >>> from torch.nn import Linear, functional
    >>> landscape = Landscape(Linear(1, 1), (torch.tensor([[3.0]]), torch.tensor([[1.0]])), functional.mse_loss)
    >>> top_eigenvalues(landscape).values  # of 2 (3, 1) (3, 1)^T
    tensor([[20.]], dtype=torch.float64)
    """
    return _outermost(landscape, k, 1, points, tolerance, iterations)


def bottom_eigenvalues(
    landscape: Landscape, k: int = 1, *, points: Tensor | None = None, tolerance: float = 1e-6, iterations: int = 300
) -> Eigenpairs:
    """Return the k smallest eigenvalues of each member's Hessian, smallest first; otherwise as `top_eigenvalues`.

    At the bottom eigenvalues often crowd, around zero, and telling them apart to a millionth of the largest can take
    thousands of products: ask for less (tolerance=1e-4) where that is enough.
    """
    return _outermost(landscape, k, -1, points, tolerance, iterations)


def _outermost(
    landscape: Landscape, k: int, sign: int, points: Tensor | None, tolerance: float, iterations: int
) -> Eigenpairs:
    if not 1 <= k <= landscape.size:
        raise SettingError(
            f"a Hessian of {landscape.size} parameters has no {k} outermost eigenvalues: give 1 to {landscape.size}"
        )
    if not tolerance > 0 or iterations < 1:
        raise SettingError(f"tolerance {tolerance:g} must be above 0, and iterations {iterations} 1 or more")
    points = landscape.at(points)
    if landscape.size <= max(DENSE_SIZE[sign], 2 * k + 1):
        values, vectors, scales = _decompose(landscape.hessians(points).to(torch.float64), k, sign)
    else:
        each = enumerate(points)
        triples = [_iterate(landscape, index, point, k, sign, tolerance, iterations) for index, point in each]
        values, vectors, scales = (torch.stack(parts) for parts in zip(*triples, strict=True))
    products = landscape.products(vectors, points).to(torch.float64)
    residuals = (products - values.unsqueeze(2) * vectors).norm(dim=2)
    worst = (residuals / scales.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(1)).amax(1)
    if bool((worst > tolerance).any()):
        member = int(worst.argmax())
        raise ConvergenceError(
            f"the eigenvalues of member {member} have a residual of {worst[member]:.1e} of the largest, above "
            f"{tolerance:g}: allow more iterations, a larger tolerance, or compute in float64"
        )
    return Eigenpairs(values, vectors, residuals)


def _check_finite(finite: bool, member: int) -> None:
    if not finite:
        raise SettingError(f"the Hessian of member {member} is not finite: leave out what diverged, with select")


def _decompose(hessians: Tensor, k: int, sign: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outermost eigenvalues [member, k], vectors [member, k, size] and norms [member] of dense Hessians."""
    for member, finite in enumerate(hessians.isfinite().all(2).all(1).tolist()):
        _check_finite(finite, member)
    values, columns = torch.linalg.eigh(hessians)
    if sign > 0:
        values, columns = values.flip(1), columns.flip(2)
    scales = values.abs().amax(1)
    return values[:, :k], columns[:, :, :k].mT.contiguous(), scales


def _iterate(
    landscape: Landscape, index: int, point: Tensor, k: int, sign: int, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Outermost eigenvalues [k], vectors [k, size] and the largest absolute eigenvalue, about, of one member."""
    member = landscape if landscape.shared else landscape.select(index)
    size, device = landscape.size, landscape.device

    def product(vector: np.ndarray) -> np.ndarray:
        direction = torch.from_numpy(np.ascontiguousarray(vector, dtype=float)).view(1, -1).to(device)
        return member.products(direction, point.unsqueeze(0))[0].to("cpu", torch.float64).numpy()

    generator = np.random.default_rng(0)
    scale = _scale(product, generator.standard_normal(size))
    _check_finite(np.isfinite(scale), index)
    if scale == 0:
        vectors = torch.eye(k, size, dtype=torch.float64, device=device)
        return vectors.new_zeros(k), vectors, vectors.new_zeros(())
    try:
        values, rows = _largest(
            lambda v: sign * product(v) / scale, size, k, tolerance / 4, iterations, BASIS[sign], generator
        )
    except scipy.sparse.linalg.ArpackNoConvergence as error:
        raise ConvergenceError(
            f"only {len(error.eigenvalues)} of {k} eigenvalues of member {index} converged in {iterations} "
            "iterations: allow more, or a larger tolerance"
        ) from None
    return (
        torch.from_numpy(values * sign * scale).to(device),
        torch.from_numpy(rows).to(device),
        torch.tensor(scale, dtype=torch.float64, device=device),
    )


def _largest(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    k: int,
    tolerance: float,
    iterations: int,
    basis: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues [k] and vectors [k, size] of a matrix whose eigenvalues are about -1 to 1.

    ARPACK's accuracy is relative to each eigenvalue; moved by one, none that is looked for is near zero.
    """
    values, rows = np.empty(0), np.empty((0, size))

    def without_known(vector: np.ndarray) -> np.ndarray:
        vector = vector.ravel()
        return product(vector) + vector - rows.T @ ((values + 1) * (rows @ vector))

    def look(count: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        moved = scipy.sparse.linalg.LinearOperator((size, size), matvec=without_known, dtype=float)
        start = generator.standard_normal(size)  # another start sees other copies
        vectors = min(size - 1, max(2 * count + 1, 20, min(basis, BASIS_NUMBERS // size)))
        found, columns = scipy.sparse.linalg.eigsh(
            moved, count, which="LA", v0=start, ncv=vectors, maxiter=iterations, tol=tolerance
        )
        return found - 1, columns.T

    more = look(k, tolerance)
    while True:
        values, rows = _ritz(product, np.concatenate([rows, more[1]]))
        values, rows = values[:k], rows[:k]
        if k == 1:
            return values, rows
        more = look(1, tolerance)
        if more[0][0] <= values[-1] + 4 * tolerance:
            return values, rows


def _ritz(product: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best values and orthonormal vectors in the span of rows, largest value first (Rayleigh-Ritz)."""
    basis = np.linalg.qr(rows.T)[0]
    moved = np.stack([product(column) for column in basis.T], axis=1)
    inner = basis.T @ moved
    values, turn = np.linalg.eigh((inner + inner.T) / 2)
    return values[::-1].copy(), (basis @ turn).T[::-1].copy()


def _scale(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray, steps: int = 10) -> float:
    """About the largest absolute eigenvalue, from below, by a few steps of the power method."""
    vector, scale = start / np.linalg.norm(start), 0.0
    for _ in range(steps):
        moved = product(vector)
        scale = float(np.linalg.norm(moved))
        if scale == 0 or not np.isfinite(scale):
            break
        vector = moved / scale
    return scale
