"""How samples reach the fast path: resident in memory, gathered batch by batch, features first."""

import torch
from torch import Tensor
from torch.nn import functional

from whydeep.population.batches import Batch
from whydeep.population.layout import aligned
from whydeep.population.objectives import Objective
from whydeep.population.samples import Samples


class Feed:
    """Columns, rows and targets of each block's batch.

    Args:
        samples: on the population's device, in its type.
        objective: says how targets are arranged.
        slots: samples of a batch, padding included.
        fixed: the batch is always the same (full batch): it is arranged once, features first.

    Attributes:
        row_features: length of a sample in `rows`: the features and some more (see `fetch`).
        gathered_features: numbers that a gathered sample takes in the buffer, 0 where the batch is fixed.
    """

    def __init__(self, samples: Samples, objective: Objective, slots: int, *, fixed: bool = False):
        self.objective, self.slots, self.fixed = objective, slots, fixed
        self._fixed: tuple[Tensor, Tensor] | None = None
        inputs = samples.inputs.flatten(1 + samples.own_inputs)
        self.features = inputs.shape[-1]
        self.row_features = self.features + 1 if fixed else aligned(self.features)
        self.gathered_features = 0 if fixed else self.row_features
        if not fixed and self.row_features > self.features:
            inputs = functional.pad(inputs, (0, self.row_features - self.features))
        self._inputs = inputs.reshape(-1, inputs.shape[-1])
        self.relabel(samples)
        self._gathered = torch.empty(0, dtype=inputs.dtype, device=inputs.device)

    def relabel(self, samples: Samples) -> None:
        """Take other targets for the same inputs."""
        self.samples = samples
        self._targets = samples.targets.reshape(-1, *samples.targets.shape[1 + samples.own_targets :])
        self._fixed = None

    def fetch(self, batch: Batch, members: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return columns [member, feature, slot], rows [member, slot, feature] and targets.

        Columns and rows are views of the same numbers. Rows have more features than there are: padding that
        aligns gathered samples, or one of ones, so that even one feature makes a product of matrices. They
        may end before the slots that weigh nothing.
        """
        if self.fixed:
            columns, targets = self._fixed_columns(batch)
            own = self.samples.own_inputs, self.samples.own_targets
            columns = columns[members] if own[0] else columns.expand(members.stop - members.start, -1, -1)
            rows = columns.transpose(1, 2)
            return columns[:, : self.features], rows, targets[members] if own[1] else targets
        rows = self._gather_inputs(batch.indices, members)
        columns = rows[:, :, : self.features].transpose(1, 2)
        return columns, rows[:, : batch.count], self._gather_targets(batch.indices, members)

    def _fixed_columns(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self._fixed is None:
            order = batch.indices[0]
            inputs = self.samples.inputs.flatten(1 + self.samples.own_inputs)
            columns = inputs.index_select(-2, order).transpose(-1, -2)
            columns = torch.cat([columns, torch.ones_like(columns[..., :1, :])], dim=-2)
            targets = self.samples.targets.index_select(int(self.samples.own_targets), order)
            targets = self.objective.target_rows(targets)
            self._fixed = (
                columns if self.samples.own_inputs else columns.unsqueeze(0),
                targets if self.samples.own_targets else targets.unsqueeze(0),
            )
        return self._fixed

    def _gather_inputs(self, indices: Tensor, members: slice) -> Tensor:
        places = self._places(indices, members, self.samples.own_inputs)
        if self._gathered.numel() < places.numel() * self.row_features:
            self._gathered = self._gathered.new_empty(places.numel() * self.row_features)
        rows = self._gathered[: places.numel() * self.row_features].view(places.numel(), self.row_features)
        torch.index_select(self._inputs, 0, places.flatten(), out=rows)
        rows = rows.view(len(places), self.slots, self.row_features)
        return rows.expand(members.stop - members.start, -1, -1)

    def _gather_targets(self, indices: Tensor, members: slice) -> Tensor:
        places = self._places(indices, members, self.samples.own_targets)
        targets = self._targets.index_select(0, places.flatten())
        return self.objective.target_rows(targets.unflatten(0, places.shape))

    def _places(self, indices: Tensor, members: slice, own: bool) -> Tensor:
        """Sample numbers of a block [member, slot] as row numbers of the flattened samples."""
        if own:
            count = len(self.samples)
            offsets = torch.arange(members.start, members.stop, device=indices.device).unsqueeze(1) * count
            return (indices[members] if len(indices) > 1 else indices) + offsets
        return indices[members] if len(indices) > 1 else indices
