"""Loss, gradient and curvature of any `torch.nn.Module` by automatic differentiation.

Both engines differentiate backward twice, which more operations support than forward differentiation. `Vmapped`
computes points and directions at once (`torch.func.vmap`); `OneByOne` takes them one after the other, and every module.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from whydeep.networks.functional import Named, call, check_outputs, computed, load, named_views, vectorised
from whydeep.population.layout import Layout, Slot
from whydeep.population.objectives import Objective

AT_ONCE, SAMPLES_AT_ONCE = 16, 16_000
"""Points, and directions of each, that `Vmapped` computes together, and the samples of all these together."""


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Compute attention in the one way that can be differentiated twice, and vectorised."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Differentiated:
    """What both engines share: one network's loss as a function of the vector of its chosen parameters.

    Args:
        template: the architecture, in evaluation mode and in the right precision.
        objective: the loss.
        layout: of all parameters, `chosen`: of those that vary.

    Attributes:
        passed: checks of derivatives that need not be made again.
    """

    def __init__(self, template: nn.Module, objective: Objective, layout: Layout, chosen: Sequence[Slot]):
        self.template, self.loss = template, objective.mean
        self.shapes = {slot.name: slot.shape for slot in layout.slots}
        self.chosen = {slot.name: slot.shape for slot in chosen}
        self.passed: set[Callable] = set()

    def parts(self, vectors: Tensor) -> tuple[Named, Named]:
        """Named parameters that vary, and those that do not."""
        named = named_views(vectors, self.shapes)
        return (
            {name: part for name, part in named.items() if name in self.chosen},
            {name: part for name, part in named.items() if name not in self.chosen},
        )

    def named_directions(self, directions: Tensor) -> Named:
        """Directions [..., size] as parts of the parameters that vary."""
        return named_views(directions, self.chosen)

    def expand(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, gradients and Hessians; a Hessian is the product with every unit vector."""
        gradients = self.gradients(points, buffers, inputs, targets)
        size = gradients.shape[1]
        units = torch.eye(size, dtype=points.dtype, device=points.device).expand(len(points), -1, -1)
        hessians = self.products(points, units, buffers, inputs, targets)
        return self.losses(points, buffers, inputs, targets), gradients, (hessians + hessians.mT) / 2

    def prepare(self, point: Tensor, buffers: Named) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
        """Return one network as a function of inputs, and the parameters that it computes with."""
        raise NotImplementedError

    def losses(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Losses [point]."""
        raise NotImplementedError

    def outputs(self, points: Tensor, buffers: Named, inputs: Tensor) -> Tensor:
        """Outputs [point, sample, ...]."""
        raise NotImplementedError

    def input_derivatives(
        self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Norms by the sample's inputs [point, sample]: of the gradient of its loss, of the Jacobian of its outputs."""
        raise NotImplementedError

    def gradients(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients [point, size]."""
        raise NotImplementedError

    def products(self, points: Tensor, directions: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Products [point, direction, size]."""
        raise NotImplementedError


def _join(parts: Named, kept: int) -> Tensor:
    """Put parts [..., *shape] behind each other: [..., size], where `kept` dimensions lead."""
    return torch.cat([part.flatten(kept) if part.ndim > kept else part.unsqueeze(-1) for part in parts.values()], -1)


class Vmapped(Differentiated):
    """All points and directions in vectorised calls."""

    def call(self, moving: Named, fixed: Named, buffers: Named, inputs: Tensor) -> Tensor:
        """Outputs of one network, which may write over its inputs: they are copied."""
        return call(self.template, {**moving, **fixed}, buffers, inputs.clone())[0]

    def value(self, moving: Named, fixed: Named, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of one network over a batch."""
        return self.loss(self.call(moving, fixed, buffers, inputs), targets)

    def prepare(self, point: Tensor, buffers: Named) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
        """Return one network as a function of inputs, and the parameters that it computes with."""
        moving, fixed = self.parts(point.clone())
        return lambda inputs: self.call(moving, fixed, buffers, inputs), [*moving.values(), *fixed.values()]

    def losses(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Losses [point]."""
        with torch.no_grad(), twice_differentiable():
            return self._over_points(self.value, points, buffers, inputs, targets)

    def outputs(self, points: Tensor, buffers: Named, inputs: Tensor) -> Tensor:
        """Outputs [point, sample, ...]."""

        def call(moving: Named, fixed: Named, buffers: Named, inputs: Tensor, _: Tensor) -> Tensor:
            return check_outputs(self.template, self.call(moving, fixed, buffers, inputs), inputs)

        with torch.no_grad(), twice_differentiable():
            return self._over_points(call, points, buffers, inputs, inputs)

    def input_derivatives(
        self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Norms by the sample's inputs [point, sample]: of the gradient of its loss, of the Jacobian of its outputs."""

        def norms(
            moving: Named, fixed: Named, buffers: Named, inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor]:
            def outputs(inputs: Tensor) -> Tensor:
                outputs = self.call(moving, fixed, buffers, inputs)
                return check_outputs(self.template, outputs, inputs).reshape(len(inputs), -1)

            gradients = grad(self.value, argnums=3)(moving, fixed, buffers, inputs, targets)
            values, pull = vjp(outputs, inputs)[:2]
            units = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
            rows = vmap(lambda unit: _norm(pull(unit.expand_as(values))[0]), chunk_size=AT_ONCE)(units)
            return _norm(gradients) * len(inputs), rows.norm(dim=0)  # rows [output, sample]

        with twice_differentiable():
            gradients, jacobians = self._over_points(norms, points, buffers, inputs, targets, directions=AT_ONCE)
        return gradients, jacobians

    def gradients(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients [point, size]."""
        with twice_differentiable():
            return _join(self._over_points(grad(self.value), points, buffers, inputs, targets), 1)

    def products(self, points: Tensor, directions: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Products [point, direction, size]."""

        def product(
            moving: Named, fixed: Named, buffers: Named, inputs: Tensor, targets: Tensor, direction: Named
        ) -> Named:
            def slope(moving: Named) -> Tensor:
                gradient = grad(self.value)(moving, fixed, buffers, inputs, targets)
                return torch.stack([(gradient[name] * part).sum() for name, part in direction.items()]).sum()

            return grad(slope)(moving)

        at_once = _at_once(targets, 1)
        each = vmap(product, in_dims=(None, None, None, None, None, 0), chunk_size=at_once)
        many = min(directions.shape[1], at_once)
        with twice_differentiable():
            products = self._over_points(
                each, points, buffers, inputs, targets, self.named_directions(directions), directions=many
            )
        return _join(products, 2)

    def _over_points(
        self,
        function: Callable,
        points: Tensor,
        buffers: Named,
        inputs: Tensor,
        targets: Tensor,
        *others: Named,
        directions: int = 1,
    ) -> Any:
        """Map over the points what has one entry for each, and hand the rest to all; each has so many directions."""
        moving, fixed = self.parts(points)
        dims = [0 if len(tensor) == len(points) else None for tensor in (inputs, targets)]
        x, y = (tensor if dim == 0 else tensor[0] for tensor, dim in zip((inputs, targets), dims, strict=True))
        mapped = vmap(
            function, in_dims=(0, 0, 0, *dims, *(0 for _ in others)), chunk_size=_at_once(targets, directions)
        )
        with vectorised(self.template, "points"):
            return mapped(moving, fixed, buffers, x, y, *others)


def _norm(derivatives: Tensor) -> Tensor:
    """Euclidean norm of each sample's derivatives [sample, ...]: [sample]."""
    return derivatives.reshape(len(derivatives), -1).norm(dim=1)


def _at_once(targets: Tensor, directions: int) -> int:
    """How many points with so many directions each are computed together."""
    return max(1, min(AT_ONCE, SAMPLES_AT_ONCE // (targets.shape[1] * directions)))


class OneByOne(Differentiated):
    """One point and one direction after the other.

    Each point is written to the same module, as a plain loop has it: what a module refers to twice, or computes again
    on the way back (checkpoints of activations), is at the point too.
    """

    def prepare(self, point: Tensor, buffers: Named) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
        """Return one network as a function of inputs, and the parameters that it computes with."""
        return self._call, list(load(self.template, named_views(point, self.shapes), buffers).values())

    def _call(self, inputs: Tensor) -> Tensor:
        """Outputs of the network that was prepared, which may write over its inputs: they are copied."""
        return check_outputs(self.template, self.template(inputs.clone()))

    def losses(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Losses [point]."""
        losses = []
        with torch.no_grad(), twice_differentiable(), computed(self.template):
            for point, own, x, y in _each(points, buffers, inputs, targets):
                call, _ = self.prepare(point, own)
                losses.append(self.loss(call(x), y))
        return torch.stack(losses)

    def outputs(self, points: Tensor, buffers: Named, inputs: Tensor) -> Tensor:
        """Outputs [point, sample, ...]."""
        outputs = []
        with torch.no_grad(), twice_differentiable(), computed(self.template):
            for point, own, x, _ in _each(points, buffers, inputs, inputs):
                call, _ = self.prepare(point, own)
                outputs.append(check_outputs(self.template, call(x), x))
        return torch.stack(outputs)

    def input_derivatives(
        self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Norms by the sample's inputs [point, sample]: of the gradient of its loss, of the Jacobian of its outputs."""
        gradients, jacobians = [], []
        with twice_differentiable(), torch.enable_grad(), computed(self.template):
            for point, own, x, y in _each(points, buffers, inputs, targets):
                call, _ = self.prepare(point, own)
                x = x.detach().clone().requires_grad_()
                outputs = check_outputs(self.template, call(x), x).reshape(len(x), -1)
                outputs = outputs + 0 * x.reshape(len(x), -1)[:, :1]  # may not depend on the inputs
                squares = x.new_zeros(len(x))
                for output in outputs.T:
                    (row,) = torch.autograd.grad(output.sum(), x, retain_graph=True, materialize_grads=True)
                    squares += row.reshape(len(x), -1).square().sum(1)
                loss = self.loss(call(x), y) + 0 * x.sum()
                (gradient,) = torch.autograd.grad(loss, x, materialize_grads=True)
                gradients.append(_norm(gradient) * len(x))
                jacobians.append(squares.sqrt())
        return torch.stack(gradients), torch.stack(jacobians)

    def gradients(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients [point, size]."""
        gradients = []
        with twice_differentiable(), computed(self.template):
            for arguments in _each(points, buffers, inputs, targets):
                moving, gradient = self._gradient(*arguments, again=False)
                gradients.append(_join(dict(zip(moving, gradient, strict=True)), 0))
        return torch.stack(gradients)

    def products(self, points: Tensor, directions: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Products [point, direction, size]."""
        products = torch.empty_like(directions)
        with twice_differentiable(), computed(self.template, "differentiated twice"):
            for index, arguments in enumerate(_each(points, buffers, inputs, targets)):
                moving, gradient = self._gradient(*arguments, again=True)
                curved = [part.requires_grad for part in gradient]  # a loss may be linear in some parameters
                for number, direction in enumerate(directions[index]):
                    along = self.named_directions(direction)
                    parts = torch.autograd.grad(
                        list(compress(gradient, curved)),
                        list(moving.values()),
                        list(compress(along.values(), curved)),
                        retain_graph=True,
                        materialize_grads=True,
                    )
                    products[index, number] = _join(dict(zip(moving, parts, strict=True)), 0)
        return products

    def _gradient(
        self, point: Tensor, buffers: Named, inputs: Tensor, targets: Tensor, *, again: bool
    ) -> tuple[Named, list[Tensor]]:
        """Parameters that vary and the gradient by them; `again`: to be differentiated again."""
        parameters = load(self.template, named_views(point, self.shapes), buffers, tracked=self.chosen)
        moving = {name: part for name, part in parameters.items() if name in self.chosen}
        with torch.enable_grad():
            value = self.loss(self._call(inputs), targets)
            if not value.requires_grad:  # a loss of steps, as a share of errors is
                return moving, [torch.zeros_like(part) for part in moving.values()]
            gradient = torch.autograd.grad(value, list(moving.values()), create_graph=again, materialize_grads=True)
        return moving, [part.to_dense() if part.is_sparse else part for part in gradient]


def _each(points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Iterator[tuple]:
    """Yield each point with its buffers, inputs and targets."""
    for index, point in enumerate(points):
        own = {name: buffer[index] for name, buffer in buffers.items()}
        yield (
            point,
            own,
            inputs[index if len(inputs) > 1 else 0],
            targets[index if len(targets) > 1 else 0],
        )
