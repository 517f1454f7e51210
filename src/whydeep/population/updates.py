"""Optimisers at work on a whole population: one update of the flat buffer, a learning rate per member.

On a CPU the update is compiled (see `kernels`). Elsewhere fused kernels of PyTorch are called on rows of the flat
buffer; members that lie side by side and share a learning rate are updated by one call. Nothing mixes members: the
gradient of each is clipped by its own norm.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from whydeep.errors import SettingError

if TYPE_CHECKING:
    from whydeep.population.optimizers import SGD, Adam, Hyperparameters

ADAM, GRADIENT_DESCENT = range(2)

LearningRate = float | Sequence[float]


class Update(Protocol):
    """An optimiser at work on one population; `state` is what a checkpoint needs."""

    state: dict[str, Tensor]

    def step(self, number: int) -> None:
        """Change the parameters once, from the gradients in the gradient buffer; steps are numbered from 0."""
        ...


class Rule(NamedTuple):
    """What an optimiser is for the kernels; a clip of 0 clips nothing."""

    kind: int  # ADAM or GRADIENT_DESCENT
    first: float  # beta1, or the momentum
    second: float  # beta2
    epsilon: float
    decay: float
    decoupled: bool
    nesterov: bool
    clip: float


class CompiledUpdate:
    """Any of the optimisers at work on a CPU.

    Attributes:
        rule: what it does.
        state: moments [member, row], and how many steps were taken, where that matters.
    """

    def __init__(
        self, settings: "Hyperparameters", rule: Rule, names: Sequence[str], parameters: Tensor, gradients: Tensor
    ):
        self.rule = rule._replace(  # of types that never vary: for others it would be compiled anew
            first=float(rule.first),
            second=float(rule.second),
            epsilon=float(rule.epsilon),
            decay=float(rule.decay),
            clip=float(rule.clip),
        )
        self._schedule = settings.schedule
        self._parameters, self._gradients = parameters, gradients
        self._rates = np.array(rates_of_members(settings.learning_rate, len(parameters)), dtype=np.float64)
        self._names = tuple(names)
        self.state = {name: torch.zeros_like(parameters) for name in names}
        if rule.kind == ADAM:
            self.state["step"] = torch.zeros((), dtype=torch.int64)

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Parameters, gradients and two moments [member, row]; [member, 0] for moments that the optimiser has not.

        They are the memory of the tensors now: sharing these with other processes moves them, and copies of a training
        have their own.
        """
        none = self._parameters.new_empty(len(self._parameters), 0)
        first, second = [*(self.state[name] for name in self._names), none, none][:2]
        return self._parameters.numpy(), self._gradients.numpy(), first.numpy(), second.numpy()

    @property
    def taken(self) -> int:
        """Steps that were taken; 0 for gradient descent, to which they do not matter."""
        return int(self.state["step"]) if self.rule.kind == ADAM else 0

    def rates(self, start: int, count: int) -> np.ndarray:
        """Learning rates of so many steps from a number on [step, member]."""
        factors = np.array([float(self._schedule(number)) for number in range(start, start + count)], dtype=np.float64)
        return factors[:, None] * self._rates

    def advance(self, count: int) -> None:
        """Take notice of steps that were taken with its moments."""
        if self.rule.kind == ADAM:
            self.state["step"] += count

    def step(self, number: int) -> None:
        """Take one step; its number decides the learning rate."""
        from whydeep.population import kernels

        (rates,) = self.rates(number, 1)
        self.advance(1)
        kernels.update(*self.rows, rates, self.taken, self.rule)


class Gradients:
    """The gradients that an optimiser sees: the engine's, or a copy in which no member's is longer than `clip`."""

    def __init__(self, gradients: Tensor, clip: float | None):
        self.raw, self.clip = gradients, clip
        self.seen = gradients if clip is None else torch.zeros_like(gradients)

    def refresh(self) -> None:
        """Clip what the engine has written; the engine's own buffer stays as it is."""
        if self.clip is not None:
            norms = torch.linalg.vector_norm(self.raw, dim=1, keepdim=True)
            torch.mul(self.raw, (self.clip / (norms + 1e-6)).clamp_(max=1.0), out=self.seen)


class AdamUpdate:
    """Adam or AdamW at work: both moments have the shape of the parameters."""

    def __init__(self, settings: "Adam", kernel: Callable[..., None], parameters: Tensor, gradients: Tensor):
        self.settings, self.kernel = settings, kernel
        self.gradients = Gradients(gradients, settings.clip)
        self.state = {
            "first_moment": torch.zeros_like(parameters),
            "second_moment": torch.zeros_like(parameters),
            "step": torch.zeros((), dtype=torch.float32, device=parameters.device),
        }
        rows = (parameters, self.gradients.seen, self.state["first_moment"], self.state["second_moment"])
        self.runs = [
            (rate, tuple([tensor[members]] for tensor in rows))
            for rate, members in runs_of_equal_rate(settings.learning_rate, len(parameters))
        ]

    def step(self, number: int) -> None:
        """Take one step; its number decides the learning rate."""
        self.gradients.refresh()
        self.state["step"] += 1
        settings = self.settings
        factor = settings.schedule(number)
        for rate, rows in self.runs:
            self.kernel(
                *rows,
                [],
                [self.state["step"]],
                lr=rate * factor,
                beta1=settings.betas[0],
                beta2=settings.betas[1],
                weight_decay=settings.weight_decay,
                eps=settings.epsilon,
                amsgrad=False,
                maximize=False,
            )


class SGDUpdate:
    """Gradient descent at work: the velocity has the shape of the parameters."""

    def __init__(self, settings: "SGD", parameters: Tensor, gradients: Tensor):
        self.settings, self.parameters = settings, parameters
        self.gradients = Gradients(gradients, settings.clip)
        self.state = {"velocity": torch.zeros_like(parameters)} if settings.momentum else {}
        self.runs = runs_of_equal_rate(settings.learning_rate, len(parameters))

    def step(self, number: int) -> None:
        """Take one step; its number decides the learning rate."""
        self.gradients.refresh()
        factor, direction = self.settings.schedule(number), self._direction()
        for rate, members in self.runs:
            self.parameters[members].add_(direction[members], alpha=-rate * factor)

    def _direction(self) -> Tensor:
        """Against which the parameters move: the gradient, with decay, or the velocity."""
        settings, direction = self.settings, self.gradients.seen
        if settings.weight_decay:
            direction = direction.add(self.parameters, alpha=settings.weight_decay)
        if settings.momentum:
            velocity = self.state["velocity"].mul_(settings.momentum).add_(direction)
            direction = direction.add(velocity, alpha=settings.momentum) if settings.nesterov else velocity
        return direction


def runs_of_equal_rate(rates: LearningRate, members: int) -> list[tuple[float, slice]]:
    """Split members into runs that lie side by side and share a learning rate.

    Raises:
        SettingError: not one rate per member.

    >>> runs_of_equal_rate([0.1, 0.1, 0.01], 3)
    [(0.1, slice(0, 2, None)), (0.01, slice(2, 3, None))]
    """
    runs, start = [], 0
    for rate, group in groupby(rates_of_members(rates, members)):
        stop = start + len(list(group))
        runs.append((float(rate), slice(start, stop)))
        start = stop
    return runs


def rates_of_members(given: Any, members: int | None = None) -> list[Any]:
    """Return rates as a list; a single rate as often as there are members.

    Raises:
        SettingError: not one rate per member.
    """
    if isinstance(given, Tensor | np.ndarray):
        given = given.tolist()
    several = isinstance(given, Sequence) and not isinstance(given, str)
    rates = list(given) if several else [given] * (members or 1)
    if members is not None and len(rates) != members:
        raise SettingError(f"{len(rates)} learning rates for {members} members: give one, or one each")
    return rates
