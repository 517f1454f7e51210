"""Whether gradients are the derivatives of losses, and products with Hessians those of gradients.

PyTorch computes what a module's backward pass says. Straight-through estimators and detached parts say something else
than the derivative, and some backward passes, correct themselves, are differentiated to something wrong (in PyTorch
2.13 that of `torch.nn.utils.parametrizations.weight_norm`). So both are compared with central differences along random
directions, a little beside the point, where it does not lie on a kink.

A difference of values v at x - h, x and x + h counts only where it is much larger than (v(x+h) - 2 v(x) + v(x-h)) / 2h,
which is as large as what rounding or a kink between the points add to it, and if it is there for several h.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.landscape.autograd import Differentiated, twice_differentiable
from whydeep.networks.functional import Named, computed

BESIDE = 1e-3
"""Distance from the point at which derivatives are compared, as a share of the typical size of a parameter."""

POWERS = (0.4, 0.3, 0.25)
"""Steps are the precision of the numbers to these powers, times the typical size of a parameter."""

SHOWN = 3
"""So many parameters are named."""


@dataclass
class Probe:
    """One network beside a point, and some samples.

    Attributes:
        engine: whose derivatives are tried.
        point: [number], with the parameters that do not vary.
        columns: where those that vary lie.
        buffers: of one network.
        inputs, targets: [1, sample, ...].
    """

    engine: Differentiated
    point: Tensor
    columns: Tensor
    buffers: Named
    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.rounding = torch.finfo(self.point.dtype).eps
        self.scale = typical_size(self.point[self.columns])
        self.point = self.point.clone()
        self.point[self.columns] += BESIDE * self.scale * self.draw(self.columns)
        self.others = {name: buffer.unsqueeze(0) for name, buffer in self.buffers.items()}, self.inputs, self.targets

    def draw(self, like: Tensor) -> Tensor:
        """Draw normal numbers of the shape of a tensor, without the generators of PyTorch."""
        drawn = torch.randn(like.shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.point)

    def lines(self, chosen: Tensor | None = None) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yield steps h, directions d [size] along chosen parameters, and points x - h d, x, x + h d [3, number]."""
        for power in POWERS:
            step, direction = self.rounding**power * self.scale, self.draw(self.columns)
            direction = direction if chosen is None else direction * chosen
            points = self.point.repeat(3, 1)
            points[0, self.columns] -= step * direction
            points[2, self.columns] += step * direction
            yield step, direction, points

    def losses(self, points: Tensor) -> Tensor:
        """Losses at points: [3, 1]."""
        return self.engine.losses(points, *self._expanded(len(points))).unsqueeze(1)

    def gradients(self, points: Tensor) -> Tensor:
        """Gradients at points: [point, size]."""
        return self.engine.gradients(points, *self._expanded(len(points)))

    def products(self, directions: Tensor) -> Tensor:
        """Products of the Hessian with directions [direction, size]."""
        return self.engine.products(self.point.unsqueeze(0), directions.unsqueeze(0), *self._expanded(1))[0]

    def _expanded(self, points: int) -> tuple[Named, Tensor, Tensor]:
        buffers, inputs, targets = self.others
        return (
            {name: buffer.repeat(points, *(1,) * (buffer.ndim - 1)) for name, buffer in buffers.items()},
            inputs,
            targets,
        )

    def differ(self, derivatives: Tensor, values: Tensor, step: float) -> bool:
        """Whether derivatives [number] are not those of the values [3, number].

        Not where any is not finite, nor where the derivatives would change the values by more than a tenth in a step: a
        function so steep may turn within it.
        """
        before, here, after = values
        difference, doubt = (after - before) / (2 * step), (after - 2 * here + before) / (2 * step)
        accepted = 10 * self.rounding ** POWERS[0] * (difference.norm() + derivatives.norm()) + 10 * doubt.norm()
        accepted += 100 * self.rounding * here.norm() / step
        steep = step * derivatives.norm() > 0.1 * here.norm()
        return bool((difference - derivatives).norm() > accepted) and not bool(steep)

    def names(self, wrong: Tensor) -> str:
        """Name the parameters of which numbers [size] are marked."""
        parts = self.engine.named_directions(wrong).items()
        names = [name for name, marked in parts if bool(marked.any())]
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        return f"{type(self.engine.template).__name__}{f' by {shown}' if names else ''}"


def typical_size(numbers: Tensor) -> float:
    """Root of the mean square, 1 if that is zero."""
    return float(numbers.square().mean().sqrt()) or 1.0


def check_gradients(probe: Probe) -> None:
    """Raise `SettingError` if the gradient is not that of the loss."""

    def wrong(chosen: Tensor | None = None) -> bool:
        return all(
            probe.differ(probe.gradients(points[1:2]) @ direction, probe.losses(points), step)
            for step, direction, points in probe.lines(chosen)
        )

    if wrong():
        marked = torch.zeros(len(probe.columns), dtype=torch.bool, device=probe.point.device)
        for places in probe.engine.named_directions(torch.arange(len(marked), device=marked.device)).values():
            alone = torch.zeros_like(marked)
            alone[places.flatten()] = True
            marked |= alone & wrong(alone)
        raise SettingError(
            f"the gradient of {probe.names(marked)} is not the derivative of its loss, as with straight-through "
            "estimators, detached parts and padding_idx: take them out, or leave such parameters out with "
            "parameters=..."
        )


def check_products(probe: Probe) -> None:
    """Raise `SettingError` if products with the Hessian are not symmetric, or not the derivative of the gradient."""
    first, second = (probe.draw(probe.columns) for _ in range(2))
    products = probe.products(torch.stack([first, second]))
    skew = (first @ products[1] - second @ products[0]).abs()
    accepted = max(1e-4, 10 * probe.rounding ** POWERS[0]) * products.norm(dim=1).sum() + 1e4 * probe.rounding
    uneven = bool(skew > accepted)
    marked = torch.ones(len(first), dtype=torch.bool, device=first.device)
    wrong = []
    for step, direction, points in probe.lines():
        product, gradients = probe.products(direction.unsqueeze(0))[0], probe.gradients(points)
        wrong.append(probe.differ(product, gradients, step))
        if not wrong[-1]:
            break
        for places in probe.engine.named_directions(torch.arange(len(marked), device=marked.device)).values():
            here = places.flatten()
            marked[here] &= probe.differ(product[here], gradients[:, here], step)
    if uneven or all(wrong):
        raise SettingError(
            f"the second derivatives of {probe.names(marked & all(wrong))} are wrong as PyTorch computes them, as with "
            "weight_norm: gradients can be had, Hessians cannot; take other layers, or leave such parameters out with "
            "parameters=..."
        )


def check_input_gradients(probe: Probe) -> None:
    """Raise `SettingError` if the gradient by the inputs is not that of the loss."""
    engine, targets = probe.engine, probe.targets[0]
    call, _ = engine.prepare(probe.point, probe.buffers)
    scale = typical_size(probe.inputs)
    inputs = probe.inputs[0] + BESIDE * scale * probe.draw(probe.inputs[0])

    def wrong(step: float) -> bool:
        direction = probe.draw(inputs)
        near = [(inputs + side * step * direction).requires_grad_(side == 0) for side in (-1, 0, 1)]
        losses = [engine.loss(call(some), targets) for some in near]
        gradient = torch.zeros_like(inputs)
        if losses[1].requires_grad:
            (gradient,) = torch.autograd.grad(losses[1], near[1], materialize_grads=True)
        return probe.differ((gradient * direction).sum().unsqueeze(0), torch.stack(losses).detach().unsqueeze(1), step)

    with twice_differentiable(), torch.enable_grad(), computed(engine.template):
        if all(wrong(probe.rounding**power * scale) for power in POWERS):
            raise SettingError(
                f"the gradient of {type(engine.template).__name__} by its inputs is not the derivative of its loss, as "
                "where a part is computed under no_grad or detached: take that out"
            )
