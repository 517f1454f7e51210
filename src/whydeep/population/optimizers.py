"""Optimisers of a whole population: one update of the flat buffer, a learning rate per member.

Adam's updates are PyTorch's own fused kernels, called on rows of the flat buffer; members that lie side
by side and share a learning rate are updated by one call. Nothing mixes members: the gradient of each is
clipped by its own norm.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.population.hyperparameters import check_number
from whydeep.population.schedules import Constant, Schedule, check_schedule

LearningRate = float | Sequence[float]


class Update(Protocol):
    """An optimiser at work on one population; `state` is what a checkpoint needs."""

    state: dict[str, Tensor]

    def step(self, number: int) -> None:
        """Change the parameters once, from the gradients in the gradient buffer; steps are numbered from 0."""
        ...


class Optimizer(Protocol):
    """Hyperparameters of an optimiser."""

    def start(self, parameters: Tensor, gradients: Tensor) -> Update:
        """Prepare to update `parameters` [member, row] from `gradients` of the same shape."""
        ...


@dataclass(frozen=True)
class Hyperparameters:
    """What all optimisers have.

    Args:
        learning_rate: one for all members, or one for each.
        weight_decay: 0 or more.
        schedule: the factor of all learning rates at each step (see `schedules`).
        clip: the largest Euclidean norm of a member's gradient over all its parameters; a longer gradient is scaled
            down to it before the optimiser sees it, as by `torch.nn.utils.clip_grad_norm_`. None clips nothing.

    Raises:
        SettingError: a value that is not accepted.
    """

    learning_rate: LearningRate = 1e-3
    _: KW_ONLY
    weight_decay: float = 0.0
    schedule: Schedule = field(default_factory=Constant)
    clip: float | None = None

    def __post_init__(self) -> None:
        for rate in _rates(self.learning_rate):
            check_number("a learning rate", rate, "above 0", lambda rate: rate > 0)
        check_number("weight_decay", self.weight_decay, "from 0", lambda decay: decay >= 0)
        check_schedule("schedule", self.schedule)
        if self.clip is not None:
            check_number("clip", self.clip, "above 0", lambda norm: norm > 0)


@dataclass(frozen=True)
class Adam(Hyperparameters):
    """Adam (Kingma and Ba 2015, algorithm 1), with the semantics of `torch.optim.Adam`.

    Args:
        learning_rate: one for all members, or one for each.
        betas: decay of the two moments, each from 0 to below 1.
        epsilon: the number that keeps the quotient of the moments finite, 0 or more.
        weight_decay: as an L2 penalty: so many times the parameters is added to the gradient.
        schedule, clip: see `Hyperparameters`.

    Raises:
        SettingError: a value that is not accepted.

    >>> optimizer = Adam([0.001, 0.01], clip=1.0)
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise SettingError(f"betas must be two numbers, such as (0.9, 0.999), not {self.betas!r}")
        for beta in self.betas:
            check_number("a beta", beta, "from 0 to below 1", lambda beta: 0 <= beta < 1)
        check_number("epsilon", self.epsilon, "from 0", lambda epsilon: epsilon >= 0)

    def start(self, parameters: Tensor, gradients: Tensor) -> "AdamUpdate":
        """Begin with both moments at zero."""
        return AdamUpdate(self, torch._fused_adam_, parameters, gradients)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), with the semantics of `torch.optim.AdamW`.

    Args:
        weight_decay: before each step the parameters shrink by so many times the learning rate of the step.
        learning_rate, betas, epsilon, schedule, clip: see `Adam`.

    Raises:
        SettingError: a value that is not accepted.
    """

    weight_decay: float = field(default=0.01, kw_only=True)

    def start(self, parameters: Tensor, gradients: Tensor) -> "AdamUpdate":
        """Begin with both moments at zero."""
        return AdamUpdate(self, torch._fused_adamw_, parameters, gradients)


@dataclass(frozen=True)
class SGD(Hyperparameters):
    """Gradient descent with momentum, with the semantics of `torch.optim.SGD` (no dampening).

    Args:
        learning_rate: one for all members, or one for each.
        momentum: share of the velocity that is kept, from 0 to below 1; 0 is plain gradient descent.
        nesterov: step along the velocity that the next step would have (Nesterov 1983, in the form of Sutskever et
            al. 2013); needs momentum.
        weight_decay: as an L2 penalty: so many times the parameters is added to the gradient.
        schedule, clip: see `Hyperparameters`.

    Raises:
        SettingError: a value that is not accepted.
    """

    learning_rate: LearningRate = 1e-2
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("momentum", self.momentum, "from 0 to below 1", lambda momentum: 0 <= momentum < 1)
        if self.nesterov and not self.momentum:
            raise SettingError("nesterov needs momentum above 0, such as SGD(nesterov=True, momentum=0.9)")

    def start(self, parameters: Tensor, gradients: Tensor) -> "SGDUpdate":
        """Begin at rest."""
        return SGDUpdate(self, parameters, gradients)


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

    def __init__(self, settings: Adam, kernel: Callable[..., None], parameters: Tensor, gradients: Tensor):
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

    def __init__(self, settings: SGD, parameters: Tensor, gradients: Tensor):
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
    each = _rates(rates, members)
    if len(each) != members:
        raise SettingError(f"{len(each)} learning rates for {members} members: give one, or one each")
    runs, start = [], 0
    for rate, group in groupby(each):
        stop = start + len(list(group))
        runs.append((float(rate), slice(start, stop)))
        start = stop
    return runs


def _rates(given: Any, members: int = 1) -> list[Any]:
    """Rates as a list; a single rate as often as there are members."""
    if isinstance(given, Tensor | np.ndarray):
        given = given.tolist()
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * members
