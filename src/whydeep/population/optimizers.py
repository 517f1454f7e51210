"""Optimisers of a whole population: one fused update of the flat buffer, a learning rate per member.

The updates are PyTorch's own fused kernels, called on rows of the flat buffer; members that lie side by
side and share a learning rate are updated by one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from whydeep.errors import SettingError

LearningRate = float | Sequence[float]


class Update(Protocol):
    """An optimiser at work on one population; `state` is what a checkpoint needs."""

    state: dict[str, Tensor]

    def step(self) -> None:
        """Change the parameters once, from the gradients that lie in the gradient buffer."""
        ...


class Optimizer(Protocol):
    """Hyperparameters of an optimiser."""

    def start(self, parameters: Tensor, gradients: Tensor) -> Update:
        """Prepare to update `parameters` [member, row] from `gradients` of the same shape."""
        ...


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), with the semantics of `torch.optim.Adam`.

    Args:
        learning_rate: one for all members, or one for each.
        betas, epsilon: decay of the two moments, and the number that keeps the quotient finite.
    """

    learning_rate: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def start(self, parameters: Tensor, gradients: Tensor) -> "AdamUpdate":
        """Begin with both moments at zero."""
        return AdamUpdate(self, parameters, gradients)


class AdamUpdate:
    """Adam at work: both moments have the shape of the parameters."""

    def __init__(self, settings: Adam, parameters: Tensor, gradients: Tensor):
        self.settings = settings
        self.state = {
            "first_moment": torch.zeros_like(parameters),
            "second_moment": torch.zeros_like(parameters),
            "step": torch.zeros((), dtype=torch.float32, device=parameters.device),
        }
        rows = (parameters, gradients, self.state["first_moment"], self.state["second_moment"])
        self.runs = [
            (rate, tuple([tensor[members]] for tensor in rows))
            for rate, members in runs_of_equal_rate(settings.learning_rate, len(parameters))
        ]

    def step(self) -> None:
        """Take one Adam step."""
        step = self.state["step"]
        step += 1
        beta1, beta2 = self.settings.betas
        for rate, (parameters, gradients, first_moments, second_moments) in self.runs:
            torch._fused_adam_(
                parameters,
                gradients,
                first_moments,
                second_moments,
                [],
                [step],
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=self.settings.epsilon,
                amsgrad=False,
                maximize=False,
            )


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum, with the semantics of `torch.optim.SGD` (no dampening).

    Args:
        learning_rate: one for all members, or one for each.
        momentum: share of the last update that is added to the next; 0 is plain gradient descent.
    """

    learning_rate: LearningRate = 1e-2
    momentum: float = 0.0

    def start(self, parameters: Tensor, gradients: Tensor) -> "SGDUpdate":
        """Begin at rest."""
        return SGDUpdate(self, parameters, gradients)


class SGDUpdate:
    """Gradient descent at work: the velocity has the shape of the parameters."""

    def __init__(self, settings: SGD, parameters: Tensor, gradients: Tensor):
        self.settings = settings
        self.parameters, self.gradients = parameters, gradients
        self.state = {"velocity": torch.zeros_like(parameters)} if settings.momentum else {}
        self.runs = runs_of_equal_rate(settings.learning_rate, len(parameters))

    def step(self) -> None:
        """Take one step along the negative gradient, or along the velocity."""
        direction = self.gradients
        if self.settings.momentum:
            direction = self.state["velocity"].mul_(self.settings.momentum).add_(self.gradients)
        for rate, members in self.runs:
            self.parameters[members].add_(direction[members], alpha=-rate)


def runs_of_equal_rate(rates: LearningRate, members: int) -> list[tuple[float, slice]]:
    """Split members into runs that lie side by side and share a learning rate.

    Raises:
        SettingError: a rate that is not a positive number, or not one rate per member.

    >>> runs_of_equal_rate([0.1, 0.1, 0.01], 3)
    [(0.1, slice(0, 2, None)), (0.01, slice(2, 3, None))]
    """
    each = [rates] * members if isinstance(rates, int | float) else list(rates)
    if len(each) != members:
        raise SettingError(f"{len(each)} learning rates for {members} members: give one, or one each")
    if not all(rate > 0 for rate in each):
        raise SettingError(f"a learning rate must be above 0, not {next(r for r in each if not r > 0)}")
    runs, start = [], 0
    for rate, group in groupby(each):
        stop = start + len(list(group))
        runs.append((float(rate), slice(start, stop)))
        start = stop
    return runs
