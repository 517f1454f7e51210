"""Learning-rate schedules: the factor by which the learning rate of every member is multiplied at a step.

A schedule is called with the number of the optimiser step, from 0. It depends on nothing else, so that training
that is restored from a checkpoint goes on with the factors that it would have had.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from whydeep.errors import SettingError
from whydeep.population.hyperparameters import check_number, check_steps


class Schedule(Protocol):
    """Any function from the number of a step to a factor; those of this file are dataclasses that can be compared."""

    def __call__(self, step: int, /) -> float:
        """Return the factor at a step, counted from 0."""
        ...


@dataclass(frozen=True)
class Constant:
    """The learning rate as it was given, at every step."""

    def __call__(self, step: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """The learning rate is multiplied by `factor` after every so many steps, as by `torch.optim.lr_scheduler.StepLR`.

    Args:
        every: steps between two changes.
        factor: above 0.

    Raises:
        SettingError: a value that is not accepted.

    >>> [Step(2, 0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_steps("every", self.every)
        check_number("factor", self.factor, "above 0", lambda factor: factor > 0)

    def __call__(self, step: int) -> float:
        """Return `factor` to the power of the changes so far."""
        return float(self.factor ** (step // self.every))


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 at step 0 to `floor` at step `steps`, and `floor` from then on.

    This is SGDR without restarts (Loshchilov and Hutter 2017, equation 5), and up to step `steps`
    `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=floor * learning_rate)`, which rises again
    afterwards.

    Args:
        steps: until the floor is reached.
        floor: the lowest factor, 0 to 1.

    Raises:
        SettingError: a value that is not accepted.

    >>> [round(Cosine(4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_steps("steps", self.steps)
        check_number("floor", self.floor, "from 0 to 1", lambda floor: 0 <= floor <= 1)

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        share = (1 + math.cos(math.pi * min(step, self.steps) / self.steps)) / 2
        return self.floor + (1 - self.floor) * share


@dataclass(frozen=True)
class WarmUp:
    """The factor rises evenly from 1/`steps` at step 0 to 1 at step `steps` - 1; then another schedule begins.

    With `then` as the scheduler that equals it, this is
    ``SequentialLR(optimizer, [LinearLR(optimizer, 1 / steps, total_iters=steps - 1), then], milestones=[steps])``
    of `torch.optim.lr_scheduler`.

    Args:
        steps: of the rise.
        then: the schedule afterwards; its step 0 is step `steps` of training.

    Raises:
        SettingError: a value that is not accepted.

    >>> [WarmUp(4, Step(2, 0.5))(step) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]
    """

    steps: int
    then: Schedule = field(default_factory=Constant)

    def __post_init__(self) -> None:
        check_steps("steps", self.steps)
        check_schedule("then", self.then)

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        return (step + 1) / self.steps if step < self.steps else self.then(step - self.steps)


def check_schedule(name: str, value: Any) -> None:
    """Raise `SettingError` unless a value can be called with the number of a step; a class is no schedule yet."""
    if callable(value) and not isinstance(value, type):
        return
    given = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    raise SettingError(f"{name} must be a schedule of whydeep.population, such as Cosine(steps), not {given}")
