"""The spectral density of Hessians of any size: how many eigenvalues lie where."""

from dataclasses import dataclass

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.instruments.probes import random_signs
from whydeep.landscape import Landscape


@dataclass(frozen=True)
class SpectralDensity:
    """A density as a sum of point masses, from Gauss quadrature by the Lanczos method.

    Attributes:
        nodes: [member, probe, step], in units of the eigenvalues.
        weights: [member, probe, step], at least 0; those of a probe sum to one.
    """

    nodes: Tensor
    weights: Tensor

    def density(self, grid: Tensor, width: float) -> Tensor:
        """Density at the values of a grid [value], masses blurred to Gaussians of this standard deviation: [member,
        value]."""
        distances = (grid.to(self.nodes).unsqueeze(1) - self.nodes.flatten(1).unsqueeze(1)) / width
        bells = torch.exp(-(distances**2) / 2) / (width * (2 * torch.pi) ** 0.5)
        return (bells * self.weights.flatten(1).unsqueeze(1)).sum(2) / self.weights.shape[1]

    def cumulative(self, grid: Tensor) -> Tensor:
        """Share of eigenvalues that are at most each value of a grid [value]: [member, value]."""
        below = self.nodes.flatten(1).unsqueeze(1) <= grid.to(self.nodes).unsqueeze(1)
        return (below * self.weights.flatten(1).unsqueeze(1)).sum(2) / self.weights.shape[1]

    def moment(self, order: int) -> Tensor:
        """Mean of the eigenvalues to a power: [member]; times the size, the first is the trace."""
        return (self.nodes**order * self.weights).sum(2).mean(1)


def spectral_density(
    landscape: Landscape, *, points: Tensor | None = None, probes: int = 10, steps: int = 80, seed: int = 0
) -> SpectralDensity:
    """Estimate the spectral density of each member's Hessian by stochastic Lanczos quadrature.

    A random vector v of length one sees the eigenvalue lambda_i with the weight (v . u_i)^2, whose mean is 1/size.
    So many steps of the Lanczos method from v give a Gauss quadrature of that measure, exact for moments up to 2
    steps - 1 (Lin, Saad and Yang 2016; Ghorbani, Krishnan and Xiao 2019, algorithm 1). The basis is orthogonalised
    twice at every step, in float64 whatever the products are computed in: without it, copies of the outer
    eigenvalues appear.

    Args:
        landscape: whose Hessians.
        points: where; at the networks themselves if not given.
        probes: random vectors of signs; the same for all members. The error falls with the root of their number.
        steps: of the Lanczos method, at most the size.
        seed: of the random vectors.

    Costs probes * steps products, and memory for steps vectors of each member.

    >>> from torch.nn import Linear, functional
    >>> landscape = Landscape(Linear(1, 1), (torch.tensor([[3.0]]), torch.tensor([[1.0]])), functional.mse_loss)
    >>> spectral_density(landscape, probes=1).nodes.abs().round()
    tensor([[[ 0., 20.]]], dtype=torch.float64)
    """
    points = landscape.at(points)
    if steps < 1:
        raise SettingError(f"steps must be 1 or more, not {steps}")
    steps = min(steps, landscape.size)
    nodes, weights = [], []
    for start in random_signs(probes, landscape.size, seed).to(landscape.device) / landscape.size**0.5:
        diagonals, off_diagonals = _tridiagonal(landscape, points, start, steps)
        matrices = torch.diag_embed(diagonals)
        for side in (1, -1):
            matrices += torch.diag_embed(off_diagonals, side)
        values, vectors = torch.linalg.eigh(matrices)
        nodes.append(values)
        weights.append(vectors[:, 0] ** 2)
    return SpectralDensity(torch.stack(nodes, 1), torch.stack(weights, 1))


def _tridiagonal(landscape: Landscape, points: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Diagonal [member, step] and off-diagonal [member, step - 1] of each Hessian in its Lanczos basis."""
    members = len(points)
    basis = start.new_zeros(members, steps, landscape.size)
    basis[:, 0] = start
    diagonals, off_diagonals = start.new_zeros(members, steps), start.new_zeros(members, steps - 1)
    scale = start.new_zeros(members)
    for step in range(steps):
        vector = basis[:, step]
        moved = landscape.products(vector, points).to(torch.float64)
        scale = torch.maximum(scale, moved.norm(dim=1))
        diagonals[:, step] = (moved * vector).sum(1)
        if step + 1 == steps:
            break
        for _ in range(2):
            previous = basis[:, : step + 1]
            moved = moved - (previous.mT @ (previous @ moved.unsqueeze(2))).squeeze(2)
        length = moved.norm(dim=1)
        # Nothing is left: the start lies in a space that the Hessian maps to itself, and the quadrature is exact.
        length = torch.where(length > 1e-10 * scale, length, 0.0)
        off_diagonals[:, step] = length
        basis[:, step + 1] = torch.where(length > 0, 1 / length, 0.0).nan_to_num(posinf=0.0).unsqueeze(1) * moved
    return diagonals, off_diagonals
