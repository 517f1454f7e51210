"""What is written down while a population trains."""

from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.population.population import Population
from whydeep.population.training import Training

Measure = Callable[[Training], Tensor]


class Recorder:
    """Measures at chosen steps, before the update of the step.

    Args:
        measure: from the training to a tensor [member, ...]; it is copied.
        steps: the steps at which to measure (a range, a set); without it every step.

    >>> from whydeep.population import loss
    >>> every_tenth_loss = Recorder(loss, range(0, 1000, 10))
    """

    def __init__(self, measure: Measure, steps: Container[int] | None = None):
        self.measure, self.wanted = measure, steps
        self.steps: list[int] = []
        self._values: list[Tensor] = []

    def see(self, training: Training) -> None:
        """Measure if this step is wanted."""
        if self.wanted is None or training.step in self.wanted:
            self.steps.append(training.step)
            self._values.append(self.measure(training).clone())

    def looks_at(self, step: int) -> bool:
        """Say whether it measures more than the loss at a step; one that sees in its own way is shown every step."""
        if getattr(self.see, "__func__", None) is not Recorder.see:
            return True
        return self.measure is not loss and (self.wanted is None or step in self.wanted)

    def take_losses(self, first: int, losses: Tensor) -> None:
        """Take the losses of steps from the first on [step, member], if it measures nothing else."""
        if self.measure is not loss:
            return
        for step, values in enumerate(losses, start=first):
            if self.wanted is None or step in self.wanted:
                self.steps.append(step)
                self._values.append(values.clone())

    def checkpoint(self) -> dict[str, Any]:
        """Copy what was measured so far."""
        return {"steps": list(self.steps), "values": torch.stack(self._values) if self._values else None}

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go back to what was measured then."""
        self.steps[:] = checkpoint["steps"]
        values = checkpoint["values"]
        self._values[:] = [] if values is None else values.unbind(0)

    def clear(self) -> None:
        """Forget what was measured."""
        self.steps.clear()
        self._values.clear()

    @property
    def values(self) -> Tensor:
        """All that was measured: [member, time, ...].

        Raises:
            SettingError: nothing was, because no step that is wanted has been taken.
        """
        if not self._values:
            raise SettingError("nothing was recorded: hand the recorder to a run whose steps are among those it wants")
        return torch.stack(self._values, dim=1)


def loss(training: Training) -> Tensor:
    """Loss of the step's batch: [member]."""
    return training.losses


def gradient_norm(training: Training) -> Tensor:
    """Euclidean norm of the whole gradient of the step's batch: [member]."""
    return torch.linalg.vector_norm(training.gradients, dim=1)


def gradient_norm_by_parameter(training: Training) -> Tensor:
    """Euclidean norm of the gradient of each parameter, in the layout's order: [member, parameter]."""
    views = training.population.layout.views(training.gradients).values()
    return torch.stack([torch.linalg.vector_norm(view.reshape(len(view), -1), dim=1) for view in views], dim=1)


def layers(population: Population) -> tuple[str, ...]:
    """Names of the modules that have parameters of their own, in order: what "per layer" means."""
    return tuple(dict.fromkeys(slot.name.rpartition(".")[0] for slot in population.layout.slots))


def gradient_norm_by_layer(training: Training) -> Tensor:
    """Euclidean norm of the gradient of each layer, weights and biases together: [member, layer], ordered as
    `layers`."""
    squares = gradient_norm_by_parameter(training).square_()
    order = layers(training.population)
    places = [order.index(slot.name.rpartition(".")[0]) for slot in training.population.layout.slots]
    totals = squares.new_zeros(len(squares), len(order))
    return totals.index_add_(1, torch.tensor(places, device=squares.device), squares).sqrt_()


def weights(training: Training) -> Tensor:
    """All parameters as vectors: [member, size]."""
    return training.population.vectors()
