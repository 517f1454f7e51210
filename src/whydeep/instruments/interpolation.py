"""Networks on the straight line through two solutions."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.networks.functional import copied
from whydeep.networks.structure import describe, difference
from whydeep.population import Population

NEAR = 1e-6
"""Alphas this near to 0 and 1 are the ends: steps of a range rarely meet them to the last bit."""


def interpolate(
    first: nn.Module | Population, second: nn.Module | Population, alphas: ArrayLike | Tensor
) -> Population:
    """Return networks at (1 - alpha) * first + alpha * second, for every alpha (Goodfellow et al. 2015).

    The line is a population: an `Evaluator` or a `Landscape` tells its losses and accuracies, and `loss_barrier` how
    high it rises. The two solutions are copied; the networks at alpha 0 and 1 are theirs bit for bit. Running
    statistics (batch normalisation) lie on the line as parameters do, variances never below 0; counts are those of the
    nearer end.

    Args:
        first, second: two modules of one architecture, or two populations whose members are paired.
        alphas: any numbers, also outside [0, 1]; those within 1e-6 of 0 or 1 are taken for them.

    Returns:
        All alphas of the first pair, then those of the next: ``losses.view(pairs, len(alphas))``.

    Raises:
        SettingError: modules or populations that cannot be paired, or no alphas.

    >>> line = interpolate(nn.Linear(3, 1), nn.Linear(3, 1), [-1, 0, 0.5, 1, 2])
    >>> line
    Population of 5 x Linear with 4 parameters each (torch.float32, cpu)
    """
    along = torch.atleast_1d(_numbers(alphas))
    if along.ndim != 1 or len(along) == 0 or not along.isfinite().all():
        raise SettingError(f"alphas must be a list of finite numbers, at least one, not {alphas!r}")
    for end in (0.0, 1.0):
        along = torch.where((along - end).abs() <= NEAR, end, along)
    ends = [_population(end) for end in (first, second)]
    if len(ends[0]) != len(ends[1]):
        raise SettingError(f"{len(ends[0])} and {len(ends[1])} members cannot be paired: give as many of both")
    layouts = [(end.layout, {name: buffer.shape[1:] for name, buffer in end.buffers.items()}) for end in ends]
    differ = any(difference(*parts) for parts in zip(*(describe(end.template) for end in ends), strict=True))
    if layouts[0] != layouts[1] or differ or ends[0].dtype != ends[1].dtype:
        raise SettingError(f"{ends[0]!r} and {ends[1]!r} differ in architecture or type: there is no line between them")
    pairs = len(ends[0])
    line = Population([ends[0].member(0)] * (pairs * len(along)), ends[0].device)
    for place, share in enumerate(along.tolist()):
        rows = slice(place, None, len(along))
        line.flat[rows] = _mix(ends[0].flat, ends[1].flat.to(line.device), share)
        for name, buffer in line.buffers.items():
            mixed = _mix(ends[0].buffers[name], ends[1].buffers[name].to(line.device), share)
            buffer[rows] = mixed.clamp_min(0) if name.endswith("running_var") else mixed
    return line


def _numbers(values: ArrayLike | Tensor) -> Tensor:
    """Copy numbers, however they are given, to a tensor in float64."""
    if isinstance(values, Tensor):
        return values.detach().double()
    try:
        return torch.tensor(np.array(values, dtype=float))
    except (TypeError, ValueError):
        raise SettingError(f"alphas must be a list of finite numbers, not {values!r}") from None


def _population(solution: nn.Module | Population) -> Population:
    if isinstance(solution, Population):
        return solution
    parameters = list(solution.parameters())
    if not parameters:
        raise SettingError(f"{type(solution).__name__} has no parameters: there is no line between such networks")
    return Population([copied(solution).requires_grad_(True)], parameters[0].device)


def _mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Mix the values of both ends; counts cannot be mixed."""
    if share in (0, 1) or not first.is_floating_point():
        return first if share < 0.5 else second  # zero times the other end is no zero where that is infinite
    mixed = (1 - share) * first + share * second
    return torch.where(first == second, first, mixed)  # a mask of infinities is the same everywhere on the line


def loss_barrier(alphas: ArrayLike | Tensor, losses: Tensor) -> Tensor:
    """Height of the loss above the straight line between its ends: max over alpha in [0, 1], [...].

    L(alpha) - ((1 - alpha) L(0) + alpha L(1)), the greatest over the alphas given (Frankle et al. 2020 take the mean of
    the ends instead of the line). It is 0 where the loss is nowhere above that line, as where it is convex along it.

    Args:
        alphas: [alpha], 0 and 1 among them.
        losses: [..., alpha].

    Raises:
        SettingError: numbers of alphas and losses that differ, or alphas without 0 and 1.

    >>> loss_barrier([0, 0.5, 1], torch.tensor([1.0, 4.0, 3.0]))
    tensor(2.)
    """
    losses = torch.as_tensor(losses)
    losses = losses if losses.is_floating_point() else losses.double()
    along = _numbers(alphas).to(losses)
    if along.ndim != 1 or losses.shape[-1:] != along.shape:
        raise SettingError(f"losses must be [..., {along.numel()}], one for each alpha, not {tuple(losses.shape)}")
    distances = [(along - end).abs() for end in (0, 1)]
    if not along.isfinite().all() or any(len(along) == 0 or distance.min() > NEAR for distance in distances):
        raise SettingError(
            "a barrier needs finite alphas and the losses of both ends: 0 and 1 must be among those given"
        )
    start, stop = (losses[..., distance.argmin().unsqueeze(0)] for distance in distances)
    above = losses - ((1 - along) * start + along * stop)
    return above[..., (along >= -NEAR) & (along <= 1 + NEAR)].amax(-1)
