"""Which samples each step sees: all of them, or each member's own order cut into batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.population.layout import sample_slots
from whydeep.population.streams import Stream


@dataclass(frozen=True, eq=False)
class Batch:
    """The samples of one step.

    Attributes:
        indices: [member, slot] sample numbers; slots past `count` repeat the first sample.
        weights: [slot] 1/count for real samples, 0 for repeats; a padded batch has an aligned length.
        count: how many samples are real.
    """

    indices: Tensor
    weights: Tensor
    count: int


class MiniBatches:
    """Each epoch every member goes through all samples in its own random order, in batches of one size.

    The order of an epoch is drawn from the member's stream and the number of the epoch alone. The last
    batch of an epoch is smaller where the size does not divide the number of samples; its loss is the mean
    over the samples that it has.

    Args:
        samples: how many samples there are.
        size: how many of them a step sees; at most all.
        orders: one stream per member.
    """

    def __init__(self, samples: int, size: int, orders: Sequence[Stream], device: torch.device, dtype: torch.dtype):
        if not 1 <= size <= samples:
            raise SettingError(f"batches of {size} cannot be drawn from {samples} samples: give 1 to {samples}")
        self.samples, self.size, self.orders, self.device = samples, size, orders, device
        self.steps = -(-samples // size)
        slots = sample_slots(size)
        counts = [min(size, samples - start) for start in range(0, samples, size)]
        self._weights = {
            count: torch.tensor([1 / count] * count + [0.0] * (slots - count), dtype=dtype, device=device)
            for count in set(counts)
        }
        self._counts = counts
        self._slots = np.zeros((self.steps, slots), dtype=np.int64)  # place in the order, for each slot
        for step, count in enumerate(counts):
            self._slots[step] = step * size
            self._slots[step, :count] += np.arange(count)
        self._epoch = -1
        self._indices = torch.empty(0)

    def orders_from(self, step: int, most: int) -> tuple[np.ndarray, int]:
        """Return the orders [step, member, slot] of steps from this one on, and how many samples each batch has.

        They are at most so many, of one epoch, and of batches with as many samples.
        """
        first = self.batch(step)
        within = step % self.steps
        stop = min(within + most, self.steps)
        while self._counts[stop - 1] != first.count:  # the last batch of an epoch may be smaller
            stop -= 1
        return self._indices[within:stop].numpy(), first.count

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from the beginning of training."""
        epoch, step = divmod(step, self.steps)
        if epoch != self._epoch:
            orders = [stream.numpy(epoch).permutation(self.samples)[self._slots] for stream in self.orders]
            self._indices = torch.from_numpy(np.stack(orders, axis=1)).to(self.device)
            self._epoch = epoch
        count = self._counts[step]
        return Batch(self._indices[step], self._weights[count], count)


class FullBatch:
    """Every step sees all samples, in the order in which they are given."""

    steps = 1

    def __init__(self, samples: int, members: int, device: torch.device, dtype: torch.dtype):
        self.samples, self.members, self.device, self.dtype = samples, members, device, dtype
        self.size = samples

    @cached_property
    def _batch(self) -> Batch:
        slots = sample_slots(self.samples)
        indices = torch.zeros(slots, dtype=torch.int64, device=self.device)
        indices[: self.samples] = torch.arange(self.samples)
        weights = torch.zeros(slots, dtype=self.dtype, device=self.device)
        weights[: self.samples] = 1 / self.samples
        return Batch(indices.expand(self.members, -1), weights, self.samples)

    def batch(self, step: int) -> Batch:
        """Return the one batch."""
        return self._batch
