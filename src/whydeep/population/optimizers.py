"""Optimisers of a whole population: their hyperparameters. What they do at a step is in `updates`."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.population.compiler import can_compile
from whydeep.population.hyperparameters import check_number
from whydeep.population.schedules import Constant, Schedule, check_schedule
from whydeep.population.updates import (
    ADAM,
    GRADIENT_DESCENT,
    AdamUpdate,
    CompiledUpdate,
    LearningRate,
    Rule,
    SGDUpdate,
    Update,
    rates_of_members,
)


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
        for rate in rates_of_members(self.learning_rate):
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

    def start(self, parameters: Tensor, gradients: Tensor) -> Update:
        """Begin with both moments at zero."""
        decoupled = isinstance(self, AdamW)
        if can_compile(parameters):
            rule = Rule(
                ADAM, *self.betas, self.epsilon, self.weight_decay, decoupled, nesterov=False, clip=self.clip or 0
            )
            return CompiledUpdate(self, rule, ("first_moment", "second_moment"), parameters, gradients)
        return AdamUpdate(self, torch._fused_adamw_ if decoupled else torch._fused_adam_, parameters, gradients)


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

    def start(self, parameters: Tensor, gradients: Tensor) -> Update:
        """Begin at rest."""
        if can_compile(parameters):
            momentum, decay, clip = self.momentum, self.weight_decay, self.clip or 0
            rule = Rule(GRADIENT_DESCENT, momentum, 0, 0, decay, decoupled=False, nesterov=self.nesterov, clip=clip)
            return CompiledUpdate(self, rule, ("velocity",) if momentum else (), parameters, gradients)
        return SGDUpdate(self, parameters, gradients)
