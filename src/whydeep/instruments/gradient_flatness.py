"""Whether a small gradient means a critical point nearby, or a gradient that has nowhere to go."""

import torch
from torch import Tensor

from whydeep.instruments.eigenvalue_split import EIGENVALUE_TOLERANCE

GRADIENT_FLAT = 0.9
"""Points with a larger index are gradient-flat (Frye et al. 2021)."""

ROUNDING = 100 * torch.finfo(torch.float64).eps


def frye_index(gradients: Tensor, hessians: Tensor, tolerance: float = EIGENVALUE_TOLERANCE) -> Tensor:
    """Relative residual of the Newton step: near 0 at critical points, near 1 where the gradient is in H's kernel.

    r = ||H p + g|| / (||H||_F ||p|| + ||g||), p = -H^+ g the shortest least-squares solution of H p = -g (Frye, Simon,
    Wadia, Ligeralde, DeWeese and Bouchard 2021). Methods that minimise the gradient norm also stop where g is not
    zero and H g = 0; above `GRADIENT_FLAT` a point is such a one.

    The pseudo-inverse leaves out eigenvalues up to tolerance * largest absolute eigenvalue, as `split_eigenvalues`
    counts them as zero: no Hessian of a network is singular to the last bit, and a step along the rest would be
    many times longer than the network's weights. A gradient that rounding alone could make, of about 1e-14 ||H||_F,
    counts as zero, with index 0.

    Args:
        gradients: [point, size].
        hessians: [point, size, size].

    Returns:
        [point], from 0 to 1; not-a-number where something is not finite.

    >>> hessian = torch.diag(torch.tensor([1.0, 0.0])).unsqueeze(0)
    >>> frye_index(torch.tensor([[1e-3, 0.0]]), hessian), frye_index(torch.tensor([[0.0, 1e-3]]), hessian)
    (tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    """
    gradients, hessians = gradients.double(), hessians.double()
    finite = gradients.isfinite().all(1) & hessians.isfinite().all(2).all(1)
    hessians = torch.where(finite.view(-1, 1, 1), hessians, 0.0)
    eigenvalues, vectors = torch.linalg.eigh(hessians)
    parts = (gradients.unsqueeze(1) @ vectors).squeeze(1)
    size = eigenvalues.abs()
    curved = size > tolerance * size.amax(1, keepdim=True)
    steps = torch.where(curved, -parts / torch.where(curved, eigenvalues, 1.0), 0.0)
    residuals = torch.where(curved, 0.0, parts).norm(dim=1)
    frobenius = eigenvalues.norm(dim=1)
    lengths = gradients.norm(dim=1)
    index = residuals / (frobenius * steps.norm(dim=1) + lengths).clamp_min(torch.finfo(torch.float64).tiny)
    index = torch.where(lengths <= ROUNDING * frobenius, 0.0, index)
    return torch.where(finite, index, torch.nan)
