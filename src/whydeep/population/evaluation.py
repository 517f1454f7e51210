"""Loss and accuracy of every member on a whole data set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.population.arguments import check_arguments
from whydeep.population.batches import Batch
from whydeep.population.engines import EngineName, make_engine
from whydeep.population.layout import sample_slots
from whydeep.population.objectives import CrossEntropy, MeanSquaredError, Objective
from whydeep.population.population import Population
from whydeep.population.samples import Samples

CHUNK = 1000
"""Samples that go through the networks together."""


@dataclass(frozen=True)
class Evaluation:
    """Loss [member], and for classification accuracy [member]: the share of samples whose class is right."""

    loss: Tensor
    accuracy: Tensor | None


class Evaluator:
    """Evaluates a population on one data set, as often as it is called.

    Each member's loss is the mean over all samples (a smaller last chunk weighs by its samples).

    Args:
        population: is evaluated as it is at each call, and is not changed.
        samples: shared by all members, or one set each.
        objective: the loss.
        chunk: samples that go through the networks together, rounded up to a multiple of 32.
        engine: see `Training`.

    Raises:
        SettingError: arguments that do not fit together, or of another kind, such as a loss of `torch`.
    """

    def __init__(
        self,
        population: Population,
        samples: Samples,
        objective: Objective,
        *,
        chunk: int = CHUNK,
        engine: EngineName = "auto",
    ):
        check_arguments(population, samples, objective)
        samples.check_members(len(population))
        if chunk < 1:
            raise SettingError(f"chunk must be 1 sample or more, not {chunk}")
        self.population, self.objective = population, objective
        samples = samples.to(population.device, population.dtype)
        slots = sample_slots(min(chunk, len(samples)))
        self.engine = make_engine(
            engine, population, objective, samples, torch.empty_like(population.flat), slots=slots
        )
        self.batches = _chunks(len(samples), slots, population.device, population.dtype)

    @torch.no_grad()
    def __call__(self) -> Evaluation:
        """Evaluate now."""
        members, device = len(self.population), self.population.device
        losses = torch.zeros(members, dtype=torch.float64, device=device)
        right = torch.zeros(members, dtype=torch.float64, device=device)
        classify = isinstance(self.objective, CrossEntropy)
        for batch in self.batches:
            for block, outputs, targets in self.engine.outputs(batch):
                columns = outputs.shape[2]
                weights = batch.weights[:columns]
                if classify:
                    right[block] += ((outputs.argmax(1) == targets[:, 0]) * (weights > 0)).sum(1)
                losses[block] += self.objective.losses(outputs, targets, weights)
        samples = sum(batch.count for batch in self.batches)
        accuracy = torch.where(losses.isnan(), torch.nan, right / samples)  # a network that diverged chooses no class
        return Evaluation(losses, accuracy if classify else None)


def _chunks(samples: int, slots: int, device: torch.device, dtype: torch.dtype) -> list[Batch]:
    """Cut all samples, in their order, into batches whose weights sum to one over all of them."""
    batches = []
    for start in range(0, samples, slots):
        count = min(slots, samples - start)
        indices = torch.full((1, slots), start, dtype=torch.int64, device=device)
        indices[0, :count] = torch.arange(start, start + count)
        weights = torch.zeros(slots, dtype=dtype, device=device)
        weights[:count] = 1 / samples
        batches.append(Batch(indices, weights, count))
    return batches


def predictions(population: Population, inputs: Tensor, *, engine: EngineName = "auto") -> Tensor:
    """Outputs of every member on the same inputs [sample, *feature]: [member, sample, output]."""
    samples = Samples(inputs, inputs.new_zeros(len(inputs), 1)).to(population.device, population.dtype)
    slots = sample_slots(len(samples))
    whole = make_engine(
        engine,
        population,
        MeanSquaredError(),
        samples,
        torch.empty_like(population.flat),
        slots=slots,
        fixed=True,
    )
    (batch,) = _chunks(len(samples), slots, population.device, population.dtype)
    with torch.no_grad():
        blocks = [outputs[:, :, : len(samples)].transpose(1, 2).clone() for _, outputs, _ in whole.outputs(batch)]
    return torch.cat(blocks)
