"""Loss and accuracy of every member on a whole data set."""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.networks import recognise
from whydeep.networks.functional import check_surroundings
from whydeep.population.arguments import fit_inputs, read_arguments
from whydeep.population.batches import Batch
from whydeep.population.compiled import Compiled
from whydeep.population.engines import EngineName, make_engine, try_engine
from whydeep.population.layout import sample_slots
from whydeep.population.objectives import CrossEntropy, Loss, LossFunction, MeanSquaredError
from whydeep.population.population import Population
from whydeep.population.samples import Data, Samples
from whydeep.population.stacked import Stacked
from whydeep.population.trial import check_mean

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
        samples: shared by all members, or one set each, in any form that `Training` takes.
        objective: any loss that `Training` takes. Accuracy is told for cross entropy of class numbers.
        chunk: samples that go through the networks together, rounded up to a multiple of 32.
        engine: see `Training`.

    Raises:
        SettingError: arguments that do not fit together, or of another kind.
    """

    @torch.inference_mode(False)  # under which tensors are made that cannot be tracked
    def __init__(
        self,
        population: Population,
        samples: Data,
        objective: Loss,
        *,
        chunk: int = CHUNK,
        engine: EngineName = "auto",
    ):
        if chunk < 1:
            raise SettingError(f"chunk must be 1 sample or more, not {chunk}")
        read, self.objective = read_arguments(population, samples, objective)
        self.population = population
        slots = sample_slots(min(chunk, len(read)))
        self.engine = make_engine(
            engine, population, self.objective, read, torch.empty_like(population.flat), slots=slots
        )
        try_engine(self.engine)
        self.batches = _chunks(len(read), slots, population.device, population.dtype)
        if isinstance(self.objective, LossFunction) and len(self.batches) > 1:
            self._check_chunks(self.objective)

    @torch.no_grad()
    def _check_chunks(self, objective: LossFunction) -> None:
        """Raise `SettingError` unless the loss of all samples is the mean of their chunks: any may hold padding."""
        firsts = [next(iter(self.engine.outputs(batch))) for batch in self.batches]
        outputs = torch.cat([outputs[0].movedim(-1, 0) for _, outputs, _ in firsts])
        targets = torch.cat([targets[0] for _, _, targets in firsts])
        check_mean(objective, outputs, targets, list(accumulate(batch.count for batch in self.batches))[:-1])

    @torch.no_grad()
    def __call__(self) -> Evaluation:
        """Evaluate now."""
        check_surroundings(self.population.device, written_out=isinstance(self.engine, Stacked | Compiled))
        members, device = len(self.population), self.population.device
        losses = torch.zeros(members, dtype=torch.float64, device=device)
        right = torch.zeros(members, dtype=torch.float64, device=device)
        classify = isinstance(self.objective, CrossEntropy)  # of class numbers, see `arguments.fit`
        for batch in self.batches:
            for block, outputs, targets in self.engine.outputs(batch):
                columns = outputs.shape[-1]
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


@torch.inference_mode(False)
def predictions(population: Population, inputs: Tensor | Data, *, engine: EngineName = "auto") -> Tensor:
    """Outputs of every member on the same inputs [sample, *feature]: [member, sample, output].

    Of data in any form that `Training` takes, the inputs alone are used.
    """
    if not isinstance(inputs, Tensor):
        samples = Samples.of(inputs)
        samples.check_members(len(population))
    else:
        samples = Samples(inputs, inputs)
    targets = samples.targets.new_zeros(len(samples), 1, dtype=population.dtype)
    samples = fit_inputs(Samples(samples.inputs, targets, samples.own_inputs), recognise(population.template))
    samples = samples.to(population.device, population.dtype)
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
    check_surroundings(population.device, written_out=isinstance(whole, Stacked | Compiled))
    try_engine(whole, loss=False)
    (batch,) = _chunks(len(samples), slots, population.device, population.dtype)
    with torch.no_grad():
        blocks = [outputs.movedim(-1, 1)[:, : len(samples)].clone() for _, outputs, _ in whole.outputs(batch)]
    return torch.cat(blocks)
