"""Linear layers of many networks at once, forward and backward written out.

Signals lie *features first*, [member, unit, sample], so that every row of even the narrowest layer is a long
run of contiguous numbers. The views that products take are made once, not at every step.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """What the units of one layer of a block's members hold for each sample, and the views that products take.

    Shapes: units [member, unit, slot], rows [member, slot, unit]. Rows of inputs may have more features than there
    are, and may end before the slots that hold no sample (see `Feed.fetch`); `count` slots hold one.
    """

    units: Tensor
    rows: Tensor
    count: int

    @classmethod
    def of(cls, units: Tensor, count: int) -> "Signals":
        """View a buffer."""
        return cls(units, units.mT, count)

    @cached_property
    def samples(self) -> tuple[Tensor, ...]:
        """One matrix [sample, unit] for each member."""
        return self.rows[:, : self.count, : self.units.shape[1]].unbind()

    @cached_property
    def unused(self) -> Tensor:
        """The slots that hold no sample [member, unit, slot]."""
        return self.units[:, :, self.count :]


@dataclass(frozen=True)
class Linear:
    """Weights [member, out, in] and biases [member, out] of a layer of a block's members, or their gradients."""

    weight: Tensor
    bias: Tensor


class Layer(Protocol):
    """A linear layer of a block's members; the views that its products take are made once."""

    outputs: Signals
    deltas: Signals

    def forward(self, inputs: Signals) -> Signals:
        """Write weight @ inputs + bias to the outputs, and return them."""
        ...

    def write_gradients(self, inputs: Signals) -> None:
        """Write the gradients of weights and biases, from the deltas."""
        ...

    def pull_back(self, deltas: Signals) -> None:
        """Write the gradient at the inputs, from the deltas, to those of the layer below."""
        ...


class Narrow:
    """A layer whose members share one batched product, over all slots."""

    def __init__(self, parameters: Linear, gradients: Linear, outputs: Signals, deltas: Signals, product: Tensor):
        self.outputs, self.deltas = outputs, deltas
        self.gradients = gradients
        self.product = product  # of its own, then copied to the gradient's row: faster than one written there
        self._weight, self._bias = parameters.weight, parameters.bias.unsqueeze(2)
        self._back = parameters.weight.mT

    def forward(self, inputs: Signals) -> Signals:
        """Write weight @ inputs + bias to the outputs, and return them."""
        torch.baddbmm(self._bias, self._weight, inputs.units, out=self.outputs.units)
        return self.outputs

    def write_gradients(self, inputs: Signals) -> None:
        """Write the gradients of weights and biases, from the deltas."""
        _outer(self.deltas.units, inputs.rows, self.product)
        self.gradients.weight.copy_(self.product)
        torch.sum(self.deltas.units, dim=2, out=self.gradients.bias)

    def pull_back(self, deltas: Signals) -> None:
        """Write the gradient at the inputs, from the deltas, to those of the layer below."""
        torch.bmm(self._back, self.deltas.units, out=deltas.units)


class NarrowFirst(Narrow):
    """The first layer, whose inputs may have more features and fewer slots."""

    def write_gradients(self, inputs: Signals) -> None:
        """Write the gradients of weights and biases, from the deltas."""
        _outer(self.deltas.units[:, :, : inputs.rows.shape[1]], inputs.rows, self.product)
        self.gradients.weight.copy_(self.product[:, :, : inputs.units.shape[1]])
        torch.sum(self.deltas.units, dim=2, out=self.gradients.bias)


class FixedFirst(Narrow):
    """The first layer on fixed inputs, which end with a one: the gradients of weights and biases are one product."""

    def write_gradients(self, inputs: Signals) -> None:
        """Write the gradients of weights and biases, from the deltas."""
        product = self.product.view(len(self.product), -1, self.product.shape[1])
        torch.bmm(inputs.rows.mT, self.deltas.rows, out=product)
        features = inputs.units.shape[1]
        self.gradients.weight.copy_(product[:, :features].mT)
        self.gradients.bias.copy_(product[:, features])


class Wide:
    """A layer that is multiplied member by member, without the slots that hold no sample."""

    def __init__(self, parameters: Linear, gradients: Linear, outputs: Signals, deltas: Signals):
        self.outputs, self.deltas = outputs, deltas
        self._weights, self._columns = parameters.weight.unbind(), parameters.weight.mT.unbind()
        self._biases = parameters.bias.unsqueeze(1).unbind()
        self._weight_gradients, self._bias_gradient = gradients.weight.unbind(), gradients.bias
        self._deltas = deltas.units[:, :, : deltas.count]
        self._each_delta = self._deltas.unbind()

    def forward(self, inputs: Signals) -> Signals:
        """Write weight @ inputs + bias to the outputs, and return them."""
        each = zip(self._biases, inputs.samples, self._columns, self.outputs.samples, strict=True)
        for bias, samples, columns, outputs in each:
            torch.addmm(bias, samples, columns, out=outputs)
        # What a member that diverged left there would reach others: not-a-number times a weight of zero is not zero.
        self.outputs.unused.zero_()
        return self.outputs

    def write_gradients(self, inputs: Signals) -> None:
        """Write the gradients of weights and biases, from the deltas."""
        for delta, samples, gradient in zip(self._each_delta, inputs.samples, self._weight_gradients, strict=True):
            torch.mm(delta, samples, out=gradient)
        torch.sum(self._deltas, dim=2, out=self._bias_gradient)

    def pull_back(self, deltas: Signals) -> None:
        """Write the gradient at the inputs, from the deltas, to those of the layer below."""
        for weight, delta, pull in zip(self._weights, self.deltas.samples, deltas.samples, strict=True):
            torch.mm(delta, weight, out=pull)
        deltas.unused.zero_()  # may be left from a larger batch


def _outer(deltas: Tensor, rows: Tensor, product: Tensor) -> None:
    """Write deltas [member, out, sample] @ rows [member, sample, in] to product [member, out, in]."""
    if product.shape[2] == 1:  # MKL sums a single column of one member in another order than of several
        torch.sum(deltas * rows.transpose(1, 2), dim=2, keepdim=True, out=product)
    else:
        torch.bmm(deltas, rows, out=product)
