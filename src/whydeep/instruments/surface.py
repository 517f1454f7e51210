"""The loss on a plane through parameter space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.instruments.trajectory import TrajectoryPCA
from whydeep.landscape import Landscape
from whydeep.networks.functional import copied
from whydeep.population.layout import Layout
from whydeep.population.objectives import Loss
from whydeep.population.samples import Data

NUMBERS_AT_ONCE = 2**24
"""Numbers of the parameter vectors that are measured together."""


@dataclass(frozen=True)
class Plane:
    """The points origin + a * first + b * second.

    Attributes:
        origin, first, second: [size]; the directions need not be orthogonal or of length one.
    """

    origin: Tensor
    first: Tensor
    second: Tensor

    def points(self, coordinates: Tensor) -> Tensor:
        """Points at coordinates [point, 2]: [point, size]."""
        a, b = coordinates.to(self.origin).unbind(-1)
        return self.origin + a.unsqueeze(-1) * self.first + b.unsqueeze(-1) * self.second

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of the nearest points of the plane [..., 2], and the distances off it [...].

        A path that is drawn on a plane is drawn at these coordinates; the losses there are its own only where it
        lies in the plane.
        """
        moved = points.to(self.origin) - self.origin
        directions = torch.stack([self.first, self.second], dim=1)
        coordinates = moved @ torch.linalg.pinv(directions).mT
        return coordinates, (moved - coordinates @ directions.mT).norm(dim=-1)


def trajectory_plane(pca: TrajectoryPCA) -> Plane:
    """Span the plane of the first two principal components, through the mean of the snapshots."""
    if len(pca.components) < 2:
        raise SettingError("a plane needs two principal components: keep two")
    origin, first, second = (torch.from_numpy(v) for v in (pca.mean, *pca.components[:2]))
    return Plane(origin, first, second)


def random_plane(landscape: Landscape, generator: np.random.Generator | int, *, member: int = 0) -> Plane:
    """Span a plane through a network by two random directions, filter-normalised (Li et al. 2018).

    Each direction is drawn from the normal distribution; then the weights into each unit (the filter of a
    convolution) are scaled to the length that the network's have there, so that networks whose layers differ in
    scale, as ReLU layers may without a change of the function, can be compared. Biases and other vectors do not
    vary, as in the authors' figures.
    """
    origin, generator = landscape.select(member).points()[0], np.random.default_rng(generator)
    shapes = landscape.shapes
    if all(len(shape) < 2 for shape in shapes):
        raise SettingError("filter normalisation needs weights, and only biases vary here: choose other parameters")

    def draw() -> Tensor:
        parts = []
        for shape, weights in zip(shapes, origin.split([int(np.prod(shape)) for shape in shapes]), strict=True):
            if len(shape) < 2:
                parts.append(torch.zeros_like(weights))
                continue
            direction = torch.from_numpy(generator.standard_normal((shape[0], weights.numel() // shape[0])))
            own = weights.view(direction.shape)
            direction = direction.to(own) / direction.to(own).norm(dim=1, keepdim=True) * own.norm(dim=1, keepdim=True)
            parts.append(direction.flatten())
        return torch.cat(parts)

    return Plane(origin, draw(), draw())


def loss_surface(landscape: Landscape, plane: Plane, first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Losses on a grid of a plane: [len(first), len(second)]; element i, j is at first[i], second[j].

    Args:
        landscape: of one network, or of members that share everything but their points.
        plane: in the coordinates of its points.
        first, second: coordinates along the two directions.
    """
    a, b = (torch.as_tensor(np.atleast_1d(np.asarray(values, dtype=float))) for values in (first, second))
    if a.ndim != 1 or b.ndim != 1 or 0 in (len(a), len(b)):
        raise SettingError(f"a grid needs lists of coordinates, not shapes {tuple(a.shape)} and {tuple(b.shape)}")
    if len(plane.origin) != landscape.size:
        raise SettingError(
            f"the plane has {len(plane.origin)} parameters and the landscape {landscape.size}: give the landscape the "
            "same parameters=..."
        )
    if not landscape.shared:
        raise SettingError(
            f"{landscape.members} members with data, buffers or other parameters of their own have no common surface: "
            "select one"
        )
    grid = torch.cartesian_prod(a, b).to(plane.origin)
    losses = [
        landscape.losses(plane.points(some)) for some in grid.split(max(1, min(256, NUMBERS_AT_ONCE // landscape.size)))
    ]
    return torch.cat(losses).view(len(a), len(b)).cpu().numpy()


@dataclass(frozen=True)
class TrajectorySurface:
    """The loss on the plane of a trajectory's first two components, and the paths projected to it.

    Attributes:
        first, second: coordinates of the grid [grid], somewhat beyond those of the paths.
        losses: on the grid [grid, grid]; element i, j is at first[i], second[j].
        path_losses: where the paths are drawn on the plane [series, snapshot].
        off_plane: distance of each snapshot from the plane / its distance from the mean [series, snapshot]: 0 in the
            plane, 1 where the plane shows nothing of it.
    """

    first: np.ndarray
    second: np.ndarray
    losses: np.ndarray
    path_losses: np.ndarray
    off_plane: np.ndarray


def trajectory_surface(
    network: nn.Module,
    data: Data,
    objective: Loss,
    paths: np.ndarray,
    pca: TrajectoryPCA,
    *,
    parameters: str | Sequence[str],
    grid: int = 51,
) -> TrajectorySurface:
    """Measure the loss on the plane of the first two principal components of some parameters.

    The other parameters, which the plane leaves out, stay at their mean over all snapshots.

    Args:
        network: of the architecture; it is not changed.
        data, objective: as for a `Landscape`.
        paths: all parameters of the network, in its order, at every snapshot [series, snapshot, parameter].
        pca: of the chosen parameters of these paths.
        parameters: patterns of their names.
        grid: points along each axis.
    """
    mean = paths.mean(axis=(0, 1))
    network = copied(network).double()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(mean), network.parameters())
    landscape = Landscape(network, data, objective, parameters=parameters)
    layout, plane = Layout.of(network.named_parameters()), trajectory_plane(pca)
    chosen = layout.columns(parameters)
    others = np.setdiff1d(np.arange(layout.size), chosen)
    places, off = plane.project(torch.from_numpy(paths[:, :, chosen]))
    distances = np.hypot(off.numpy(), np.linalg.norm((paths - mean)[:, :, others], axis=2))
    first, second = (_around(pca.coordinates[:, :, component], grid) for component in range(2))
    return TrajectorySurface(
        first,
        second,
        losses=loss_surface(landscape, plane, first, second),
        path_losses=landscape.losses(plane.points(places.flatten(0, 1))).view(places.shape[:2]).numpy(),
        off_plane=distances / np.linalg.norm(paths - mean, axis=2),
    )


def _around(coordinates: np.ndarray, count: int) -> np.ndarray:
    margin = 0.15 * np.ptp(coordinates)
    return np.linspace(coordinates.min() - margin, coordinates.max() + margin, count)
