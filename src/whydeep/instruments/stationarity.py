"""What kind of point a solver arrived at."""

from enum import IntEnum

import torch
from torch import Tensor

from whydeep.instruments.gradient_flatness import GRADIENT_FLAT
from whydeep.instruments.kinks import Kinks


class Stationarity(IntEnum):
    """Kinds of points.

    CRITICAL: the gradient norm is below the tolerance, and Frye's index does not call the point gradient-flat.
    KINK: it is not, but the gradient jumps across samples nearby, and a subgradient between its sides has a norm
        below the tolerance.
    GRADIENT_FLAT: the gradient lies in the kernel of the Hessian, by Frye's index; its norm may be below the tolerance.
    NOT_CONVERGED: none of these.
    """

    CRITICAL = 0
    KINK = 1
    GRADIENT_FLAT = 2
    NOT_CONVERGED = 3


def sort_by_stationarity(
    gradient_norms: Tensor, frye_indices: Tensor, *, tolerance: float, kinks: Kinks | None = None
) -> Tensor:
    """Sort points into the kinds of `Stationarity`: [point], integers.

    Args:
        gradient_norms, frye_indices: [point].
        tolerance: gradient norm that counts as zero.
        kinks: of ReLU networks, from `find_kinks`; smooth ones have none.

    >>> norms, indices = torch.tensor([1e-9, 1e-9, 1e-3, 1e-3]), torch.tensor([0.0, 1.0, 1.0, 0.1])
    >>> sort_by_stationarity(norms, indices, tolerance=1e-6).tolist()
    [0, 2, 2, 3]
    """
    kinds = torch.full(gradient_norms.shape, int(Stationarity.NOT_CONVERGED), device=gradient_norms.device)
    flat = frye_indices > GRADIENT_FLAT
    kinds[flat] = int(Stationarity.GRADIENT_FLAT)
    if kinks is not None:
        jumps = (gradient_norms > tolerance) & (kinks.jump > tolerance)
        kinds[jumps & (kinks.subgradient_norms <= tolerance)] = int(Stationarity.KINK)
    kinds[(gradient_norms <= tolerance) & ~flat] = int(Stationarity.CRITICAL)
    return kinds
