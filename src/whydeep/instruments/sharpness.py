"""How far the loss can rise in a small box around a network."""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.landscape import Landscape

STATIONARY = 1e-3
"""An ascent has converged where no step in the box promises, to first order, more than this share of the rise found."""


@dataclass(frozen=True)
class Sharpness:
    """Keskar's sharpness of several networks.

    Attributes:
        value: 100 * (worst loss - loss) / (1 + loss), in percent [point].
        losses: at the networks [point].
        worst: the greatest loss that was found in the box [point]; a lower bound of the greatest there is.
        drawn: the greatest loss among the random draws [point]; `worst` is never less.
        converged: whether the ascent ended where no step promises more [point].
    """

    value: Tensor
    losses: Tensor
    worst: Tensor
    drawn: Tensor
    converged: Tensor


def sharpness(
    landscape: Landscape,
    epsilon: float = 1e-3,
    *,
    subspace: int | None = None,
    draws: int = 20,
    steps: int = 60,
    seed: int = 0,
    points: Tensor | None = None,
) -> Sharpness:
    """Measure how far the loss rises in a box around each network, in percent (Keskar et al. 2017, metric 2.1).

    phi = 100 * (max f(x + A y) - f(x)) / (1 + f(x)), over the box |y_i| <= epsilon * (|(A^+ x)_i| + 1). In the full
    space A is the identity; in a random subspace its columns are as many standard normal vectors.

    The maximum is sought by projected gradient ascent whose steps adapt, from long ones that reach a corner to short
    ones. It starts at the best of some random draws, half of them corners of the box, since at a minimum the gradient
    would be zero; the best point that was seen counts. Keskar et al. take ten iterations of L-BFGS-B.

    Scaling a ReLU layer by c and the next one by 1 / c leaves the function as it is and changes phi (Dinh et al. 2017):
    compare networks of one architecture that were trained alike.

    Costs `draws` losses, and up to a loss and a gradient for each step. Small rises drown in float32: the landscape's
    default of float64 is needed here.

    Args:
        landscape: of the loss, usually over the training data. Where it is -1 or less, or not finite, there is no
            sharpness, and its value is not-a-number.
        epsilon: size of the box; Keskar et al. report 1e-3 and 5e-4.
        subspace: dimensions of a random subspace (Keskar et al. take 100); without it the full space.
        draws: random points of the box to begin with.
        steps: of the ascent, at most.
        seed: of the draws and of the subspace; they are the same for all points.
        points: where; at the networks themselves if not given.

    Raises:
        SettingError: a box, a subspace, draws, steps or a seed that there cannot be.

    >>> from torch import nn
    >>> landscape = Landscape(nn.Linear(2, 1), (torch.ones(4, 2), torch.zeros(4, 1)), nn.MSELoss())
    >>> bool(sharpness(landscape, 1e-2).value > sharpness(landscape, 1e-3).value)
    True
    """
    if not 0 < epsilon < inf:
        raise SettingError(f"epsilon must be above 0 and finite, not {epsilon}")
    if draws < 1 or steps < 0:
        raise SettingError(f"draws must be 1 or more and steps 0 or more, not {draws} and {steps}")
    if not isinstance(seed, int) or seed < 0:
        raise SettingError(f"the seed must be a whole number, 0 or more, not {seed!r}")
    if subspace is not None and not 1 <= subspace <= landscape.size:
        raise SettingError(f"a subspace has 1 to {landscape.size} dimensions, not {subspace}")
    box = _Box(landscape, landscape.at(points), epsilon, subspace, seed)
    start = landscape.losses(box.centres)
    drawn, places = _draw(box, draws, seed)
    worst, converged = _ascend(box, places, drawn, start, steps)
    worst = torch.where(worst < start, start, worst)  # the box holds the network itself
    finite = start.isfinite()
    worst, drawn = (torch.where(finite, losses, torch.nan) for losses in (worst, drawn))
    value = torch.where(start > -1, 100 * (worst - start) / (1 + start), torch.nan)
    return Sharpness(value, start, worst, drawn, converged & finite)


class _Box:
    """Points of the box in coordinates from -1 to 1 [point, dimension]: losses and gradients there."""

    def __init__(self, landscape: Landscape, centres: Tensor, epsilon: float, subspace: int | None, seed: int):
        self.landscape, self.centres = landscape, centres
        self.basis: Tensor | None = None  # A transposed: [dimension, size]
        coordinates = centres
        if subspace is not None:
            normal = np.random.default_rng((seed, 1)).standard_normal((subspace, landscape.size))
            self.basis = torch.from_numpy(normal).to(centres)
            coordinates = centres @ torch.linalg.pinv(self.basis)
        self.widths = epsilon * (coordinates.abs() + 1)

    def moved(self, places: Tensor) -> Tensor:
        """Parameter vectors at places."""
        steps = self.widths * places
        return self.centres + (steps if self.basis is None else steps @ self.basis)

    def losses(self, places: Tensor) -> Tensor:
        return self.landscape.losses(self.moved(places))

    def gradients(self, places: Tensor) -> Tensor:
        gradients = self.landscape.gradients(self.moved(places))
        return self.widths * (gradients if self.basis is None else gradients @ self.basis.mT)


def _draw(box: _Box, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the greatest losses of random places [point], and the places [point, dimension]."""
    best, places = box.widths.new_full((len(box.widths),), -torch.inf), torch.zeros_like(box.widths)
    for draw in range(draws):
        even = np.random.default_rng((seed, 0, draw)).uniform(-1, 1, box.widths.shape[1])
        drawn = torch.from_numpy(even if draw % 2 else np.sign(even)).to(box.widths).expand_as(box.widths)
        losses = box.losses(drawn)
        better = losses > best
        best, places = torch.where(better, losses, best), torch.where(better.unsqueeze(1), drawn, places)
    return best, places


def _ascend(box: _Box, places: Tensor, losses: Tensor, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Climb from places with these losses; return the greatest losses, and whether they are stationary."""
    gradients = box.gradients(places)
    # A step of this length takes every coordinate that has a gradient at all to its end.
    lengths = torch.full_like(losses, 1e12)
    done = _stationary(places, gradients, losses, start) | ~start.isfinite()
    for _ in range(steps):
        if done.all():
            break
        scale = gradients.abs().amax(1).clamp_min(torch.finfo(losses.dtype).tiny)
        tried = (places + (lengths / scale).unsqueeze(1) * gradients).clamp(-1, 1)
        reached = box.losses(tried)
        higher = (reached > losses) & ~done  # what is done stays where it is, however long others take
        places, losses = torch.where(higher.unsqueeze(1), tried, places), torch.where(higher, reached, losses)
        lengths = torch.where(higher, lengths * 4, lengths / 100)
        if higher.any():
            gradients = box.gradients(places)
        done |= _stationary(places, gradients, losses, start)
    return losses, done


def _stationary(places: Tensor, gradients: Tensor, losses: Tensor, start: Tensor) -> Tensor:
    """Whether the best step in the box promises little, to first order (the gap of Frank and Wolfe 1956) [point]."""
    promised = (gradients.abs() - gradients * places).sum(1)
    rounding = 10 * torch.finfo(losses.dtype).eps * losses.abs()
    return promised <= STATIONARY * (losses - start).clamp_min(0) + rounding
