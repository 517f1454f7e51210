"""The largest and smallest eigenvalues of Hessians of any size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from whydeep.errors import ConvergenceError, SettingError
from whydeep.instruments.landscape import Landscape

DENSE_SIZE = 200
"""Up to this many parameters, the dense Hessian is computed instead."""


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

    By the implicitly restarted Lanczos method (Sorensen 1992; ARPACK) on products with the Hessian, which
    are exact over the whole data set; small Hessians are computed and decomposed. Costs some 20 to 100 products.

    Args:
        landscape: whose Hessians.
        k: how many, at most `landscape.size`.
        points: where; at the networks themselves if not given.
        tolerance: the residual that is accepted, relative to the largest absolute eigenvalue. Products in
            float32 do not allow much less than 1e-4.
        iterations: restarts at most.

    Raises:
        ConvergenceError: the residual of an eigenpair is above the tolerance.

    >>> from torch.nn import Linear, functional
    >>> landscape = Landscape(Linear(1, 1), (torch.tensor([[3.0]]), torch.tensor([[1.0]])), functional.mse_loss)
    >>> top_eigenvalues(landscape).values  # of 2 (3, 1) (3, 1)^T
    tensor([[20.]], dtype=torch.float64)
    """
    return _outermost(landscape, k, "LA", points, tolerance, iterations)


def bottom_eigenvalues(
    landscape: Landscape, k: int = 1, *, points: Tensor | None = None, tolerance: float = 1e-6, iterations: int = 300
) -> Eigenpairs:
    """Return the k smallest eigenvalues of each member's Hessian, smallest first; as `top_eigenvalues` else."""
    return _outermost(landscape, k, "SA", points, tolerance, iterations)


def _outermost(
    landscape: Landscape, k: int, end: Literal["LA", "SA"], points: Tensor | None, tolerance: float, iterations: int
) -> Eigenpairs:
    if not 1 <= k <= landscape.size:
        raise SettingError(
            f"a Hessian of {landscape.size} parameters has no {k} outermost eigenvalues: give 1 to {landscape.size}"
        )
    points = landscape.points() if points is None else points.to(landscape.device, landscape.dtype)
    if landscape.size <= max(DENSE_SIZE, k + 1):
        hessians = landscape.hessians(points).to(torch.float64)
        values, columns = torch.linalg.eigh(hessians)
        values, columns = (values.flip(1), columns.flip(2)) if end == "LA" else (values, columns)
        values, vectors = values[:, :k], columns[:, :, :k].mT.contiguous()
        scales = torch.linalg.matrix_norm(hessians, 2)
    else:
        found = [_lanczos(landscape, index, point, k, end, tolerance, iterations) for index, point in enumerate(points)]
        values, vectors, scales = (torch.stack(parts) for parts in zip(*found, strict=True))
    products = landscape.products(vectors, points).to(torch.float64)
    residuals = (products - values.unsqueeze(2) * vectors).norm(dim=2)
    worst = (residuals / scales.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(1)).amax(1)
    if bool((worst > tolerance).any()):
        member = int(worst.argmax())
        raise ConvergenceError(
            f"the eigenvalues of member {member} have a residual of {worst[member]:.1e} of the largest, above "
            f"{tolerance:g}: "
            "allow more iterations, a larger tolerance, or compute in float64"
        )
    return Eigenpairs(values, vectors, residuals)


def _lanczos(
    landscape: Landscape, index: int, point: Tensor, k: int, end: str, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues [k], vectors [k, size] and the largest absolute eigenvalue, about, of one member."""
    one = landscape if landscape.shared else landscape.select([index])
    where = point.unsqueeze(0)
    size, device = landscape.size, landscape.device

    def product(vector: np.ndarray) -> np.ndarray:
        direction = torch.from_numpy(np.ascontiguousarray(vector, dtype=float)).view(1, -1).to(device)
        return one.products(direction, where)[0].to("cpu", torch.float64).numpy()

    start = np.random.default_rng(0).standard_normal(size)
    scale = _scale(product, start)
    if scale == 0:
        vectors = torch.eye(k, size, dtype=torch.float64, device=device)
        return vectors.new_zeros(k), vectors, vectors.new_zeros(())

    # ARPACK's accuracy is relative to each eigenvalue; moved by the scale, none that is looked for is near zero.
    shift = scale if end == "LA" else -scale
    moved = LinearOperator((size, size), matvec=lambda v: product(v) + shift * v.ravel(), dtype=float)
    basis = min(size, max(2 * k + 1, 20))
    try:
        values, columns = eigsh(moved, k, which=end, v0=start, ncv=basis, maxiter=iterations, tol=tolerance / 4)
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"{len(error.eigenvalues)} of {k} eigenvalues of member {index} converged in {iterations} iterations: "
            "allow more, or a larger tolerance"
        ) from None
    order = np.argsort(-values if end == "LA" else values)
    vectors = torch.from_numpy(columns[:, order].T.copy()).to(device)
    return (
        torch.from_numpy(values[order] - shift).to(device),
        vectors,
        torch.tensor(scale, dtype=torch.float64, device=device),
    )


def _scale(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray, steps: int = 10) -> float:
    """About the largest absolute eigenvalue, from below, by a few steps of the power method."""
    vector, scale = start / np.linalg.norm(start), 0.0
    for _ in range(steps):
        moved = product(vector)
        scale = float(np.linalg.norm(moved))
        if scale == 0:
            return 0.0
        vector = moved / scale
    return scale
