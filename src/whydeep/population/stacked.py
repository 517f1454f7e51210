"""The fast path: forward and backward passes of many fully connected networks at once, written out.

Activations lie *features first*, [member, unit, sample], so that every row of even the narrowest layer is
a long run of contiguous numbers, and a layer of all members is one batched matrix product. Buffers are
allocated once and used again at every step, and members go through them in blocks that fit the cache.

Which members share a block never changes a bit of the result: samples are padded to an aligned number, so
that each member's operands are aligned alike (see `layout`). This holds on one thread of a CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from whydeep.networks import recognise
from whydeep.networks.activations import in_place
from whydeep.population.batches import Batch
from whydeep.population.feed import Feed
from whydeep.population.layers import FixedFirst, Layer, Linear, Narrow, NarrowFirst, Signals, Wide
from whydeep.population.objectives import WrittenOut
from whydeep.population.population import Population
from whydeep.population.samples import Samples

CACHE_BYTES = 8 * 2**20
"""Activations of a block of members take about this much; measured best from 4 to 16 MiB."""


WIDE = 2**17
"""On a CPU, layers of at least so many weights are multiplied member by member, samples first and without padding.

Their products take so long that calling them one by one costs nothing, and that a quarter of padding does.
"""


def covers(module: nn.Module) -> bool:
    """Say whether the engines that are written out can compute a module, for inputs [sample, feature]."""
    architecture = recognise(module)
    return architecture is not None and in_place(architecture.activation) is not None


@dataclass(frozen=True)
class LayerBuffers:
    """What a layer of all members reads and writes; a block of members uses what it needs of the last three.

    Shapes: outputs and deltas [member, out, slot], product [member, out, in or more], None for a wide layer.
    """

    parameters: Linear
    gradients: Linear
    outputs: Tensor
    deltas: Tensor
    product: Tensor | None


@dataclass(frozen=True)
class Block:
    """Members that are computed together, on batches with one number of samples."""

    members: slice
    layers: list[Layer]


class Stacked:
    """Losses and gradients of a population of fully connected networks, over the batches of a feed.

    Args:
        population: it must be one that the fast path `covers`.
        objective: what is minimised.
        feed: where inputs and targets come from.
        gradients: [member, row], written by `losses_and_gradients`.
    """

    def __init__(self, population: Population, objective: WrittenOut, feed: Feed, gradients: Tensor):
        architecture = recognise(population.template)
        assert architecture is not None
        activation = in_place(architecture.activation)
        assert activation is not None
        self.objective, self.feed = objective, feed
        self.activate, self.activate_backward = activation.forward, activation.backward
        widths, slots, self._members = architecture.widths, feed.slots, len(population)
        on_cpu = population.device.type == "cpu"
        self._block_size = self._members
        if on_cpu:
            numbers = slots * (2 * sum(widths[1:]) + feed.gathered_features)
            fitting = max(1, CACHE_BYTES // (numbers * population.flat.element_size()))
            self._block_size = min(self._members, fitting)

        def buffers(name: str, fan_in: int, fan_out: int) -> LayerBuffers:
            parameters, gradients = (Linear(views[f"{name}.weight"], views[f"{name}.bias"]) for views in all_views)
            size, empty, zeros = self._block_size, population.flat.new_empty, population.flat.new_zeros
            # Zeros: slots that hold no sample count for nothing only if they are finite.
            if on_cpu and fan_out > 1 and fan_in * fan_out >= WIDE:
                outputs, deltas = (zeros(size, slots, fan_out).mT for _ in range(2))
                return LayerBuffers(parameters, gradients, outputs, deltas, product=None)
            outputs, deltas = (zeros(size, fan_out, slots) for _ in range(2))
            return LayerBuffers(parameters, gradients, outputs, deltas, empty(size, fan_out, fan_in))

        all_views = population.parameters, population.layout.views(gradients)
        fans = pairwise((feed.row_features, *widths[1:]))
        self._buffers = [buffers(name, *fan) for name, fan in zip(architecture.layers, fans, strict=True)]
        self._blocks: dict[int, list[Block]] = {}
        self._losses = population.flat.new_empty(self._members)

    def _split(self, count: int) -> list[Block]:
        """Return the blocks for batches of so many samples; they share buffers."""
        if count not in self._blocks:
            starts = range(0, self._members, self._block_size)
            chosen = [slice(start, min(start + self._block_size, self._members)) for start in starts]
            self._blocks[count] = [
                Block(members, [self._layer(number, members, count) for number in range(len(self._buffers))])
                for members in chosen
            ]
        return self._blocks[count]

    def _layer(self, number: int, members: slice, count: int) -> Layer:
        buffers = self._buffers[number]
        parameters, gradients = (
            Linear(linear.weight[members], linear.bias[members]) for linear in (buffers.parameters, buffers.gradients)
        )
        size = members.stop - members.start
        outputs, deltas = (Signals.of(units[:size], count) for units in (buffers.outputs, buffers.deltas))
        if buffers.product is None:
            return Wide(parameters, gradients, outputs, deltas)
        kind = Narrow
        if number == 0:
            kind = FixedFirst if self.feed.fixed and len(parameters.bias[0]) > 1 else NarrowFirst
        return kind(parameters, gradients, outputs, deltas, buffers.product[:size])

    def relabel(self, samples: Samples) -> None:
        """Take other targets for the same inputs."""
        self.feed.relabel(samples)

    def losses_and_gradients(self, batch: Batch) -> Tensor:
        """Return every member's loss on its batch [member] and write its gradient."""
        for block in self._split(batch.count):
            inputs, targets = self._fetch(batch, block.members)
            outputs = self._forward(block, inputs)
            deltas = block.layers[-1].deltas.units
            self._losses[block.members] = self.objective.losses_and_deltas(outputs, targets, batch.weights, deltas)
            self._backward(block, inputs)
        return self._losses

    def outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield, block by block, the members, their outputs and targets [member, feature, slot].

        The outputs lie in a buffer that the next block overwrites.
        """
        for block in self._split(batch.count):
            inputs, targets = self._fetch(batch, block.members)
            yield block.members, self._forward(block, inputs), targets

    def _fetch(self, batch: Batch, members: slice) -> tuple[Signals, Tensor]:
        columns, rows, targets = self.feed.fetch(batch, members)
        return Signals(columns, rows, batch.count), targets

    def _forward(self, block: Block, signals: Signals) -> Tensor:
        for layer in block.layers[:-1]:
            signals = layer.forward(signals)
            self.activate(signals.units)
        return block.layers[-1].forward(signals).units

    def _backward(self, block: Block, inputs: Signals) -> None:
        for below, layer in reversed(list(pairwise(block.layers))):
            layer.write_gradients(below.outputs)
            layer.pull_back(below.deltas)
            self.activate_backward(below.deltas.units, below.outputs.units)
        block.layers[0].write_gradients(inputs)
