"""How networks are trained: the fields that every training has, and the optimiser that they describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from whydeep.claims import Need
from whydeep.errors import SettingError
from whydeep.networks import ACTIVATIONS, parameter_count
from whydeep.population import SGD, Adam, AdamW, Constant, Cosine, Optimizer, Step, Training, WarmUp
from whydeep.population.optimizers import LearningRate
from whydeep.study import Design, Field, Setting
from whydeep.variables import Variable

SCHEDULES = ("constant", "step", "cosine", "warm-up")


@dataclass(frozen=True, kw_only=True)
class TrainingSetting(Setting):
    """Architecture, optimiser and learning rate of a training.

    Attributes:
        widths: units of every layer, input first.
        activation: between the layers.
        optimizer: adam, adamw or sgd.
        momentum: of sgd.
        weight_decay: L2 for adam and sgd, decoupled for adamw.
        schedule: of the learning rate: constant; step (a tenth after each third of the steps), cosine (down to 0), or
            warm-up (up from 0 in the first tenth of the steps, then constant).
        clip: the largest norm of a gradient; 0 for none.

    Raises:
        SettingError: momentum for an optimiser that has none.
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    clip: float = 0.0
    together: ClassVar[int] = 1
    """Networks of a seed that train together."""

    @property
    def memory(self) -> float:
        """Predicted bytes for each seed: parameters, gradients, moments and copies, and activations."""
        return 2.0**21 + self.together * (24 * parameter_count(self.widths) + 4 * 1000 * sum(self.widths[1:]))

    def __post_init__(self) -> None:
        if self.momentum and self.optimizer != "sgd":
            raise SettingError(
                f"momentum {self.momentum:g} is for the optimizer sgd, and {self.optimizer} has its own: leave it out"
            )

    def make_optimizer(self, steps: int, learning_rate: LearningRate | None = None) -> Optimizer:
        """Return the optimiser for a training of so many steps; another learning rate may take the setting's place."""
        schedule = {
            "constant": Constant(),
            "step": Step(every=-(-steps // 3)),
            "cosine": Cosine(steps),
            "warm-up": WarmUp(-(-steps // 10)),
        }[self.schedule]
        rate = self.learning_rate if learning_rate is None else learning_rate
        common: dict[str, Any] = {"schedule": schedule, "weight_decay": self.weight_decay, "clip": self.clip or None}
        if self.optimizer == "sgd":
            return SGD(rate, momentum=self.momentum, **common)
        return (Adam if self.optimizer == "adam" else AdamW)(rate, **common)


OPTIMIZATION: dict[str, Field] = {
    "activation": Field("relu", choices=tuple(ACTIVATIONS)),
    "optimizer": Field("adam", choices=("adam", "adamw", "sgd")),
    "learning_rate": Field(1e-3, least=1e-12, most=1e6),
    "momentum": Field(0.0, most=0.9999),
    "weight_decay": Field(0.0, most=1e6),
    "schedule": Field("constant", choices=SCHEDULES),
    "clip": Field(0.0, most=1e30),
}
"""Fields of a design; they have the names that a `TrainingSetting` has."""


def training_design(refused: Mapping[str, str] | None = None, /, **fields: Any) -> Design:
    """Make a design of an experiment's own fields and those of every training, which may have other defaults.

    Args:
        refused: field of a training -> why the experiment cannot have it.
        fields: as those of a `Design`.
    """
    every = {name: entry for name, entry in OPTIMIZATION.items() if name not in (refused or {})}
    given = {
        name: replace(every[name], default=default)  # what is accepted stays
        for name, default in fields.items()
        if name in every and not isinstance(default, Field)
    }
    return Design(refused, **fields | given, **{name: every[name] for name in every if name not in fields})


AS_IN_THE_REPORT = (
    Need("activation", equals="relu"),
    Need("optimizer", equals="adam"),
    Need("learning_rate", equals=1e-3),
    Need("weight_decay", equals=0),
    Need("schedule", equals="constant"),
    Need("clip", equals=0),
)
"""What all claims of the course report are about: ReLU networks that plain Adam trains."""


def training_seconds(widths: Sequence[int], samples: int, steps: float) -> float:
    """Predict the seconds of so many steps of one fully connected network on one core.

    A rough model of compiled training, for the order of jobs and the time left: overhead and update; products, copies
    of inputs, activations.
    """
    parameters = parameter_count(widths)
    of_sample = 0.7e-10 * parameters + 4e-10 * widths[0] + 7e-10 * sum(widths[1:])
    return steps * (4e-6 + 3.5e-10 * parameters + samples * of_sample)


SIZE_AND_DIVERGENCE = {
    "parameters": Variable("weights and biases"),
    "diverged_at": Variable("first step whose loss is not finite; not-a-number if none"),
}


def size_and_divergence(training: Training) -> dict[str, np.ndarray]:
    """Number of parameters, and first step whose loss is not finite (not-a-number if none), [member] each."""
    steps = training.diverged_at.cpu().numpy()
    return {
        "parameters": np.full(len(steps), float(training.population.size)),
        "diverged_at": np.where(steps < 0, np.nan, steps),
    }
