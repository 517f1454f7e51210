"""Loss, gradient and Hessian of fully connected networks, written out, for many parameter vectors at once.

Per sample, let z_l be the inputs of the activations of layer l (z_L are the outputs), a_l = f(z_l), and
a~_l = (a_l, 1). A layer is z_l = W~_l a~_(l-1), its weights and biases in one matrix. With

    S_lm = dz_l / dz_m                      how a shift of z_m moves z_l,
    d_l  = dL / dz_l                        what backpropagation computes,
    K_lm = dd_l / dz_m                      how a shift of z_m moves d_l,

the Hessian's block of W~_l[i, j] and W~_m[p, q], for l >= m, is the sum over samples of

    (K_lm[i, p] a~_(l-1)[j] + d_l[i] f'(z_(l-1)[j]) S_(l-1)m[j, p]) a~_(m-1)[q].

S is computed forward, K backward (K_Lm = the loss's second derivative by the outputs times S_Lm; K_lm =
f'(z_l) W_(l+1)^T K_(l+1)m + f''(z_l) (W_(l+1)^T d_(l+1)) S_lm), both for shifts of units instead of
parameters, of which there are many more (Bishop 1992, "Exact calculation of the Hessian matrix for the
multilayer perceptron"; Pearlmutter 1994 for one direction). Arrays lie features first, [point, unit, sample].
"""

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from whydeep.networks import Architecture
from whydeep.networks.activations import find_activation
from whydeep.population.objectives import WrittenOut

BLOCK_NUMBERS = 2**19
"""Points go through in blocks whose largest intermediate array has about so many numbers: 4 MiB in float64."""

SAMPLE_NUMBERS = 2**25
"""Samples do, where even one point's array would be larger than this (256 MiB in float64)."""


def _tanh(z: Tensor) -> Tensor:
    """Hyperbolic tangent to one rounding of 1, in half the time that `torch.tanh` takes in float64."""
    return (2 * z).exp_().add_(1).reciprocal_().mul_(-2).add_(1) if z.dtype == torch.float64 else torch.tanh(z)


def covers(architecture: Architecture | None) -> bool:
    """Say whether the closed form knows a network."""
    return architecture is not None and find_activation(architecture.activation) is not None


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass over a batch.

    Attributes:
        inputs: of every layer, [point, unit, sample].
        slopes, bends: f' and f'' of every hidden layer; no bends where f'' is zero.
        deltas: d_l of every layer.
        pulls: W_(l+1)^T d_(l+1) of every hidden layer, the loss's derivative by its activations.
        outputs: [point, output, sample].
        losses: [point].
    """

    inputs: list[Tensor]
    slopes: list[Tensor]
    bends: list[Tensor | None]
    deltas: list[Tensor]
    pulls: list[Tensor]
    outputs: Tensor
    losses: Tensor


class ClosedForm:
    """Measures one batch of samples; see the module's text for the formulas.

    Methods take whole parameter vectors [point, number] in the module's order (weight and bias, layer by layer),
    inputs [point or 1, sample, feature] and targets [point or 1, sample, ...], and return means over the
    samples; `run` and what comes before it take inputs features first, [point or 1, feature, sample].

    Args:
        architecture: what `covers` accepts.
        objective: how its loss and derivatives by the outputs are computed.
        names: parameters that vary.
        columns: where they lie in whole vectors.
    """

    def __init__(self, architecture: Architecture, objective: WrittenOut, names: Collection[str], columns: Tensor):
        self.widths, self.activation = architecture.widths, copy.deepcopy(architecture.activation)
        if isinstance(self.activation, nn.ReLU):
            self.activation.inplace = False  # what goes in is needed afterwards
        derivatives = find_activation(self.activation)
        assert derivatives is not None
        self.derivatives = derivatives
        self.activate = _tanh if isinstance(self.activation, nn.Tanh) else self.activation
        self.objective, self.columns = objective, columns
        sizes = [(fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.widths)]
        self.starts = [sum(sizes[:layer]) for layer in range(len(sizes))]
        self.varied: list[int] = []  # layers of which any parameter varies
        # Where each such layer's matrix (weight, bias) lies among their numbers, row by row.
        self.places: dict[int, Tensor] = {}
        kept, self.reached = [], 0
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.widths)):
            vary = [f"{architecture.layers[layer]}.{kind}" in names for kind in ("weight", "bias")]
            if any(vary):
                numbers = torch.arange(sizes[layer]) + self.reached
                weight, bias = numbers[: fan_in * fan_out], numbers[fan_in * fan_out :]
                self.places[layer] = torch.cat([weight.view(fan_out, fan_in), bias.view(fan_out, 1)], dim=1).flatten()
                kept += [part for part, varies in zip((weight, bias), vary, strict=True) if varies]
                self.varied.append(layer)
                self.reached += sizes[layer]
        self.kept = torch.cat(kept)  # numbers that vary, among those of the varied layers
        self.widest = max(
            self.widths[upper + 1] * (self.widths[upper] + 1) * self.widths[lower + 1]
            for lower in self.varied
            for upper in self.varied
            if upper >= lower
        )

    # -- passes -------------------------------------------------------------------------------------------

    def weights(self, points: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weight [point, out, in] and bias [point, out, 1] of every layer, views of the vectors."""
        layers = []
        for start, (fan_in, fan_out) in zip(self.starts, pairwise(self.widths), strict=True):
            middle, end = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            weight = points[:, start:middle].unflatten(1, (fan_out, fan_in))
            layers.append((weight, points[:, middle:end].unsqueeze(2)))
        return layers

    def rows(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Arrange inputs and targets features first: [point or 1, feature, sample]."""
        return inputs.mT, self.objective.target_rows(targets)

    def hidden_inputs(self, points: Tensor, inputs: Tensor) -> list[Tensor]:
        """Inputs of the activations of every hidden layer: [point, unit, sample] each; `inputs` features first."""
        signal, signals = inputs.expand(len(points), -1, -1), []
        for weight, bias in self.weights(points)[:-1]:
            signals.append(torch.baddbmm(bias, weight, signal))
            signal = self.activate(signals[-1])
        return signals

    def run(self, points: Tensor, inputs: Tensor, targets: Tensor, slopes: list[Tensor] | None = None) -> Pass:
        """Go forward and backward; `slopes` [point, unit, sample] of every hidden layer replace the activation's."""
        layers = self.weights(points)
        hidden = self.hidden_inputs(points, inputs)
        signals = [inputs.expand(len(points), -1, -1), *map(self.activate, hidden)]
        pairs = list(zip(hidden, signals[1:], strict=True))
        if slopes is None:
            slopes = [self.derivatives.first(self.activation, z, a) for z, a in pairs]
        second = self.derivatives.second
        bends = [second(self.activation, z, a) if second else None for z, a in pairs]
        outputs = torch.baddbmm(layers[-1][1], layers[-1][0], signals[-1])
        deltas = [torch.empty_like(outputs)]
        losses = self.objective.losses_and_deltas(outputs.clone(), targets, _equal_weights(outputs), deltas[0])
        pulls: list[Tensor] = []
        for (weight, _), slope in zip(reversed(layers[1:]), reversed(slopes), strict=True):
            pulls.insert(0, weight.transpose(1, 2) @ deltas[0])
            deltas.insert(0, slope * pulls[0])
        return Pass(signals, slopes, bends, deltas, pulls, outputs, losses)

    # -- what is measured ---------------------------------------------------------------------------------

    def losses(self, points: Tensor, buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """Losses [point]."""
        columns, rows = self.rows(inputs, targets)
        numbers = sum(self.widths[1:]) * columns.shape[2]
        losses = []
        for some, x, y in _blocks(numbers, points, columns, rows):
            outputs = self._outputs(some, x)
            losses.append(self.objective.losses(outputs, y, _equal_weights(outputs)))
        return torch.cat(losses)

    def outputs(self, points: Tensor, buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Outputs [point, sample, output]."""
        columns = inputs.mT
        numbers = sum(self.widths[1:]) * columns.shape[2]
        outputs = [self._outputs(some, x) for some, x in _blocks(numbers, points, columns)]
        return torch.cat(outputs).transpose(1, 2)

    def _outputs(self, points: Tensor, columns: Tensor) -> Tensor:
        hidden = self.hidden_inputs(points, columns)
        weight, bias = self.weights(points)[-1]
        signal = self.activate(hidden[-1]) if hidden else columns.expand(len(points), -1, -1)
        return torch.baddbmm(bias, weight, signal)

    def input_derivatives(
        self, points: Tensor, buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Norms by the sample's inputs [point, sample]: of the gradient of its loss, of the Jacobian of its outputs.

        The first layer is not multiplied out: |W^T v| = |R v| where W^T = Q R, of as many numbers as it has units.
        """
        columns, rows = self.rows(inputs, targets)
        numbers = 3 * sum(self.widths) * self.widths[-1]
        at_once = max(1, min(columns.shape[2], SAMPLE_NUMBERS // numbers))
        parts = []
        for x, y in zip(columns.split(at_once, dim=2), rows.split(at_once, dim=2), strict=True):
            derivatives = [self._input_derivatives(*some) for some in _blocks(numbers * x.shape[2], points, x, y)]
            parts.append([torch.cat(part) for part in zip(*derivatives, strict=True)])
        gradients, jacobians = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return gradients, jacobians

    def _input_derivatives(self, points: Tensor, columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        done, layers = self.run(points, columns, rows), self.weights(points)
        samples, outputs = columns.shape[2], self.widths[-1]
        units = torch.eye(outputs, dtype=points.dtype, device=points.device)
        turns = units.view(1, outputs, outputs, 1).expand(
            len(points), -1, -1, samples
        )  # d output / d z [point, unit, output, sample]
        for (weight, _), slope in zip(reversed(layers[1:]), reversed(done.slopes), strict=True):
            turns = (weight.mT @ turns.flatten(2)).unflatten(2, (outputs, samples)) * slope.unsqueeze(2)
        triangle = torch.linalg.qr(layers[0][0].mT, mode="r").R
        gradients = (triangle @ done.deltas[0]).norm(dim=1) * samples  # deltas are those of the mean
        jacobians = (triangle @ turns.flatten(2)).unflatten(2, (outputs, samples)).norm(dim=(1, 2))
        return gradients, jacobians

    def gradients(self, points: Tensor, buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients [point, size]."""
        columns, rows = self.rows(inputs, targets)
        numbers = 3 * sum(self.widths) * columns.shape[2]
        return torch.cat(
            [self._gradients(self.run(some, x, y)) for some, x, y in _blocks(numbers, points, columns, rows)]
        )

    def gradients_with_slopes(self, points: Tensor, inputs: Tensor, targets: Tensor, slopes: list[Tensor]) -> Tensor:
        """Gradients [point, size] with other slopes of the hidden units; inputs and targets from `rows`."""
        return self._gradients(self.run(points, inputs, targets, slopes))

    def products(
        self, points: Tensor, directions: Tensor, buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> Tensor:
        """Products of the Hessian with directions [point, direction, size]."""
        columns, rows = self.rows(inputs, targets)
        whole = directions.new_zeros(*directions.shape[:2], points.shape[1])
        whole[:, :, self.columns] = directions
        numbers = 4 * sum(self.widths) * columns.shape[2] * directions.shape[1]
        return torch.cat([self._products(*some) for some in _blocks(numbers, points, whole, columns, rows)])

    def _products(self, points: Tensor, directions: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Differentiate a forward and backward pass along directions [point, direction, number] (Pearlmutter 1994)."""
        done = self.run(points, inputs, targets)
        weights = [weight.unsqueeze(1) for weight, _ in self.weights(points)]  # [point, 1, out, in]
        changes = [
            (weight.unflatten(0, directions.shape[:2]), bias.unflatten(0, directions.shape[:2]))
            for weight, bias in self.weights(directions.flatten(0, 1))
        ]
        signals = [signal.unsqueeze(1) for signal in done.inputs]
        shifts, moved = [], [torch.zeros_like(signals[0])]  # of the inputs of activations, and of their outputs
        for number, (weight, (turn, lift)) in enumerate(zip(weights, changes, strict=True)):
            shifts.append(turn @ signals[number] + lift + weight @ moved[-1])
            if number < len(done.slopes):
                moved.append(done.slopes[number].unsqueeze(1) * shifts[-1])
        output_hessians = self.objective.output_hessians(done.outputs, _equal_weights(done.outputs))
        delta = (output_hessians.unsqueeze(1) * shifts[-1].unsqueeze(2)).sum(3)
        parts: list[Tensor] = []
        for number in reversed(range(len(weights))):
            below = done.deltas[number].unsqueeze(1)
            gradient = delta @ signals[number].mT + below @ moved[number].mT
            parts[:0] = [gradient.flatten(2), delta.sum(3)]
            if number:
                pull = changes[number][0].mT @ below + weights[number].mT @ delta
                delta = done.slopes[number - 1].unsqueeze(1) * pull
                bend = done.bends[number - 1]
                if bend is not None:
                    delta += (bend * done.pulls[number - 1]).unsqueeze(1) * shifts[number - 1]
        return torch.cat(parts, dim=2)[:, :, self.columns]

    def expand(
        self, points: Tensor, buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses [point], gradients [point, size] and Hessians [point, size, size]."""
        columns, rows = self.rows(inputs, targets)
        samples = columns.shape[2]
        at_once = max(1, min(samples, SAMPLE_NUMBERS // self.widest))
        totals: list[Tensor] = []
        for x, y in zip(columns.split(at_once, dim=2), rows.split(at_once, dim=2), strict=True):
            blocks = [self._expand(*some) for some in _blocks(self.widest * x.shape[2], points, x, y)]
            parts = [torch.cat(part) * (x.shape[2] / samples) for part in zip(*blocks, strict=True)]
            totals = [a + b for a, b in zip(totals, parts, strict=True)] if totals else parts
        losses, gradients, hessians = totals
        return losses, gradients, hessians

    def _expand(self, points: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        done = self.run(points, inputs, targets)
        return done.losses, self._gradients(done), self._hessians(points, done)

    def _gradients(self, done: Pass) -> Tensor:
        parts = []
        for delta, signal in zip(done.deltas, done.inputs, strict=True):
            parts += [(delta @ signal.transpose(1, 2)).flatten(1), delta.sum(2)]
        return torch.cat(parts, dim=1)[:, self.columns]

    def _hessians(self, points: Tensor, done: Pass) -> Tensor:
        layers = [weight for weight, _ in self.weights(points)]
        output_hessians = self.objective.output_hessians(done.outputs, _equal_weights(done.outputs))
        inputs = [torch.cat([signal, torch.ones_like(signal[:, :1])], dim=1) for signal in done.inputs]
        hessians = points.new_zeros(len(points), self.reached, self.reached)
        for lower in self.varied:
            shifts = self._shifts(layers, done, lower)
            for upper, turns in self._turns(layers, done, shifts, output_hessians, lower):
                if upper not in self.varied:
                    continue
                # [point, i, p, j, sample]: what multiplies the inputs of layer lower
                factors = turns.unsqueeze(3) * inputs[upper].unsqueeze(1).unsqueeze(1)
                if upper > lower:
                    moved = done.slopes[upper - 1].unsqueeze(1) * shifts[upper - 1].transpose(
                        1, 2
                    )  # [point, p, j, sample]
                    factors[:, :, :, :-1] += done.deltas[upper].unsqueeze(2).unsqueeze(2) * moved.unsqueeze(1)
                block = (factors.flatten(1, 3) @ inputs[lower].transpose(1, 2)).unflatten(1, factors.shape[1:4])
                self._place(hessians, block, upper, lower)
        return hessians if len(self.kept) == self.reached else hessians[:, self.kept.unsqueeze(1), self.kept]

    def _shifts(self, layers: list[Tensor], done: Pass, lower: int) -> dict[int, Tensor]:
        """S_lm for every l >= m: [point, unit of l, unit of m, sample]."""
        samples, units = done.outputs.shape[2], self.widths[lower + 1]
        identity = torch.eye(units, dtype=layers[0].dtype, device=layers[0].device)
        shifts = {lower: identity.unsqueeze(-1).expand(len(layers[0]), -1, -1, samples)}
        for upper in range(lower + 1, len(layers)):
            moved = done.slopes[upper - 1].unsqueeze(2) * shifts[upper - 1]
            shifts[upper] = (layers[upper] @ moved.flatten(2)).unflatten(2, (units, samples))
        return shifts

    def _turns(
        self, layers: list[Tensor], done: Pass, shifts: dict[int, Tensor], output_hessians: Tensor, lower: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield l and K_lm for every l >= m, from the last layer down: [point, unit of l, unit of m, sample]."""
        last = len(layers) - 1
        turns = (output_hessians.unsqueeze(3) * shifts[last].unsqueeze(1)).sum(2)
        yield last, turns
        for upper in range(last - 1, lower - 1, -1):
            turns = (layers[upper + 1].transpose(1, 2) @ turns.flatten(2)).unflatten(2, turns.shape[2:])
            turns = turns * done.slopes[upper].unsqueeze(2)
            bend = done.bends[upper]
            if bend is not None:
                turns += (bend * done.pulls[upper]).unsqueeze(2) * shifts[upper]
            yield upper, turns

    def _place(self, hessians: Tensor, block: Tensor, upper: int, lower: int) -> None:
        """Write a block [point, i, p, j, q] of layers l >= m to its place, and mirror it."""
        rows, columns = (self.places[layer].to(hessians.device) for layer in (upper, lower))
        values = block.transpose(2, 3).flatten(3).flatten(1, 2)  # [point, (i j), (p q)]
        if upper == lower:
            values = (values + values.mT) / 2
        hessians[:, rows.unsqueeze(1), columns] = values
        if upper > lower:
            hessians[:, columns.unsqueeze(1), rows] = values.mT


def _equal_weights(outputs: Tensor) -> Tensor:
    """Weights [sample] with which losses are means over the samples of outputs [point, output, sample]."""
    return outputs.new_full((outputs.shape[2],), 1 / outputs.shape[2])


def _blocks(numbers: int, points: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut points, and what has one entry for each, into blocks; a point takes so many numbers."""
    at_once = max(1, BLOCK_NUMBERS // numbers)
    for start in range(0, len(points), at_once):
        chosen = slice(start, start + at_once)
        yield points[chosen], *(other[chosen] if len(other) > 1 else other for other in others)
