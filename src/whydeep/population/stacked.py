"""The fast path: forward and backward passes of many fully connected networks at once, written out.

Activations lie *features first*, [member, unit, sample], so that every row of even the narrowest layer is
a long run of contiguous numbers, and a layer of all members is one batched matrix product. Buffers are
allocated once and used again at every step, and members go through them in blocks that fit the cache.

Which members share a block never changes a bit of the result: samples are padded to an aligned number, so
that each member's operands are aligned alike (see `layout`). This holds on one thread of a CPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.networks import recognise
from whydeep.population.batches import Batch
from whydeep.population.feed import Feed
from whydeep.population.objectives import Objective
from whydeep.population.population import Population
from whydeep.population.samples import Samples

aten = torch.ops.aten

CACHE_BYTES = 8 * 2**20
"""Activations of a block of members take about this much; measured best from 4 to 16 MiB."""


WIDE = 2**17
"""On a CPU, layers of at least so many weights are multiplied member by member, samples first and without padding.

Their products take so long that calling them one by one costs nothing, and that a quarter of padding does.
"""


@dataclass(frozen=True)
class Activation:
    """An elementwise function in place, and its backward pass from its *output*, in place too."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _softplus_backward(deltas: Tensor, outputs: Tensor) -> Tensor:
    return deltas.mul_(torch.expm1(-outputs).neg_())  # 1 - exp(-softplus(x)) = sigmoid(x)


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(torch.relu_, lambda d, y: aten.threshold_backward.grad_input(d, y, 0.0, grad_input=d)),
    nn.Tanh: Activation(torch.tanh_, lambda d, y: aten.tanh_backward.grad_input(d, y, grad_input=d)),
    nn.Sigmoid: Activation(torch.sigmoid_, lambda d, y: aten.sigmoid_backward.grad_input(d, y, grad_input=d)),
    nn.Identity: Activation(lambda x: x, lambda d, y: d),
    nn.Softplus: Activation(lambda x: aten.softplus.out(x, 1.0, 20.0, out=x), _softplus_backward),
}


def covers(module: nn.Module) -> bool:
    """Say whether the fast path can compute a module."""
    found = recognise(module)
    return found is not None and _kind(found.activation) in ACTIVATIONS


def _kind(activation: nn.Module) -> type[nn.Module] | None:
    """Type of an activation in its default form; None for a softplus of another form."""
    other = isinstance(activation, nn.Softplus) and (activation.beta, activation.threshold) != (1, 20)
    return None if other else type(activation)


@dataclass(frozen=True)
class Layer:
    """One linear layer of a block of members: views of its parameters, gradients and buffers.

    Shapes: weight [member, out, in], bias [member, out, 1], activation and delta [member, out, sample],
    product [member, out, in or more].
    """

    weight: Tensor
    bias: Tensor
    activation: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor
    delta: Tensor
    product: Tensor

    @property
    def wide(self) -> bool:
        """Whether samples come first in the memory of activation and delta."""
        return self.activation.stride(1) == 1 < self.activation.shape[1]


@dataclass(frozen=True)
class Block:
    """Members that are computed together."""

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

    def __init__(self, population: Population, objective: Objective, feed: Feed, gradients: Tensor):
        found = recognise(population.template)
        assert found is not None
        activation = ACTIVATIONS[type(found.activation)]
        self.objective, self.feed = objective, feed
        self.activate, self.activate_backward = activation.forward, activation.backward
        widths, slots, members = found.widths, feed.slots, len(population)
        if feed.features != widths[0]:
            raise SettingError(f"inputs have {feed.features} features, the network takes {widths[0]}")
        on_cpu = population.device.type == "cpu"
        size = members
        if on_cpu:
            numbers = slots * (2 * sum(widths[1:]) + feed.gathered_features)
            size = min(members, max(1, CACHE_BYTES // (numbers * population.flat.element_size())))

        def signals(fan_in: int, fan_out: int) -> Tensor:
            # Zeros: slots that hold no sample count for nothing only if they are finite.
            if on_cpu and fan_in * fan_out >= WIDE:
                return population.flat.new_zeros(size, slots, fan_out).mT
            return population.flat.new_zeros(size, fan_out, slots)

        buffers = [
            (
                signals(fan_in, fan_out),
                signals(fan_in, fan_out),
                # A product of its own, copied to the gradient's row, is faster than one written there.
                population.flat.new_empty(size, fan_out, fan_in),
            )
            for fan_in, fan_out in pairwise((feed.row_features, *widths[1:]))
        ]
        gradient_views = population.layout.views(gradients)

        def block(start: int) -> Block:
            chosen = slice(start, min(start + size, members))
            return Block(
                chosen,
                [
                    Layer(
                        population.parameters[f"{name}.weight"][chosen],
                        population.parameters[f"{name}.bias"][chosen].unsqueeze(2),
                        activation[: chosen.stop - start],
                        gradient_views[f"{name}.weight"][chosen],
                        gradient_views[f"{name}.bias"][chosen],
                        delta[: chosen.stop - start],
                        product[: chosen.stop - start],
                    )
                    for name, (activation, delta, product) in zip(found.layers, buffers, strict=True)
                ],
            )

        self.blocks = [block(start) for start in range(0, members, size)]
        self._losses = population.flat.new_empty(members)

    def relabel(self, samples: Samples) -> None:
        """Take other targets for the same inputs."""
        self.feed.relabel(samples)

    def losses_and_gradients(self, batch: Batch) -> Tensor:
        """Return every member's loss on its batch [member] and write its gradient."""
        for block in self.blocks:
            columns, rows, targets = self.feed.fetch(batch, block.members)
            outputs = self._forward(block, columns, batch.count)
            deltas = block.layers[-1].delta
            self._losses[block.members] = self.objective.losses_and_deltas(outputs, targets, batch.weights, deltas)
            self._backward(block, rows, batch.count)
        return self._losses

    def outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield, block by block, the members, their outputs and targets [member, feature, slot].

        The outputs lie in a buffer that the next block overwrites.
        """
        for block in self.blocks:
            columns, _, targets = self.feed.fetch(batch, block.members)
            yield block.members, self._forward(block, columns, batch.count), targets

    def _forward(self, block: Block, columns: Tensor, count: int) -> Tensor:
        signal = columns
        for layer in block.layers[:-1]:
            signal = self.activate(_linear(layer, signal, count))
        return _linear(block.layers[-1], signal, count)

    def _backward(self, block: Block, rows: Tensor, count: int) -> None:
        first = block.layers[0]
        for below, layer in reversed(list(pairwise(block.layers))):
            if layer.wide:
                _write_gradients(layer, below.activation.mT[:, :count])
                for weight, delta, pull in zip(layer.weight, layer.delta, below.delta, strict=True):
                    torch.mm(delta.T[:count], weight, out=pull.T[:count])
                below.delta[:, :, count:].zero_()  # may be left from a larger batch
            else:
                _outer(layer.delta, below.activation.mT, layer.product)
                layer.weight_gradient.copy_(layer.product)
                torch.sum(layer.delta, dim=2, out=layer.bias_gradient)
                torch.bmm(layer.weight.mT, layer.delta, out=below.delta)
            self.activate_backward(below.delta, below.activation)
        features = first.weight.shape[2]
        if first.wide:
            _write_gradients(first, rows[:, :count, :features])
        elif self.feed.fixed and first.weight.shape[1] > 1:  # rows end with a one: weights and biases at once
            product = first.product.view(len(rows), -1, first.weight.shape[1])
            torch.bmm(rows.transpose(1, 2), first.delta.transpose(1, 2), out=product)
            first.weight_gradient.copy_(product[:, :features].transpose(1, 2))
            first.bias_gradient.copy_(product[:, features])
        else:
            _outer(first.delta[:, :, : rows.shape[1]], rows, first.product)
            first.weight_gradient.copy_(first.product[:, :, :features])
            torch.sum(first.delta, dim=2, out=first.bias_gradient)


def _linear(layer: Layer, signal: Tensor, count: int) -> Tensor:
    """Write weight @ signal + bias to the layer's activation, and return it."""
    if not layer.wide:
        return torch.baddbmm(layer.bias, layer.weight, signal, out=layer.activation)
    for bias, weight, inputs, outputs in zip(layer.bias, layer.weight, signal, layer.activation, strict=True):
        torch.addmm(bias.T, inputs.T[:count], weight.T, out=outputs.T[:count])
    # What a member that diverged left there would reach others: not-a-number times a weight of zero is not zero.
    layer.activation[:, :, count:].zero_()
    return layer.activation


def _write_gradients(layer: Layer, rows: Tensor) -> None:
    """Write the gradients of a wide layer, from rows [member, sample, in] of the samples that there are."""
    deltas = layer.delta[:, :, : rows.shape[1]]
    for delta, inputs, gradient in zip(deltas, rows, layer.weight_gradient, strict=True):
        torch.mm(delta, inputs, out=gradient)
    torch.sum(deltas, dim=2, out=layer.bias_gradient)


def _outer(deltas: Tensor, rows: Tensor, product: Tensor) -> None:
    """Write deltas [member, out, sample] @ rows [member, sample, in] to product [member, out, in]."""
    if product.shape[2] == 1:  # MKL sums a single column of one member in another order than of several
        torch.sum(deltas * rows.transpose(1, 2), dim=2, keepdim=True, out=product)
    else:
        torch.bmm(deltas, rows, out=product)
