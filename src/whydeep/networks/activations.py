"""Activations: one record each, with everything that is written out by hand.

An activation f maps the input z of a unit to its output a = f(z), element by element. Training computes it in place and
needs its derivative from the output alone; curvature needs the first and the second derivative and keeps z and a.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whydeep.networks.rounding import RoundedReLU

aten = torch.ops.aten

Derivative = Callable[[Any, Tensor, Tensor], Tensor]
"""From the module (which may have options), z and a to the derivative at every element."""


@dataclass(frozen=True)
class InPlace:
    """An activation with its default options, in place.

    Attributes:
        forward: overwrites z with a, and returns it.
        backward: overwrites the loss's derivative by a with that by z, given a.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """What is known of one type of activation.

    Attributes:
        name: as `MLP` takes it.
        module: the type of its modules.
        first: f'. At a kink it is that of PyTorch's ReLU, 0.
        second: f''; None where it is zero everywhere.
        in_place: for training; None where nobody has written it out.
    """

    name: str
    module: type[nn.Module]
    first: Derivative
    second: Derivative | None
    in_place: InPlace | None


def _softplus_first(module: nn.Softplus, z: Tensor, a: Tensor) -> Tensor:
    return torch.where(z * module.beta > module.threshold, 1.0, torch.sigmoid(module.beta * z))


def _softplus_second(module: nn.Softplus, z: Tensor, a: Tensor) -> Tensor:
    slope = _softplus_first(module, z, a)
    return module.beta * slope * (1 - slope)


RELU = Activation(
    "relu",
    nn.ReLU,
    first=lambda _, z, a: (z > 0).to(z.dtype),
    second=None,
    in_place=InPlace(torch.relu_, lambda d, a: aten.threshold_backward.grad_input(d, a, 0.0, grad_input=d)),
)
TANH = Activation(
    "tanh",
    nn.Tanh,
    first=lambda _, z, a: 1 - a * a,
    second=lambda _, z, a: -2 * a * (1 - a * a),
    in_place=InPlace(torch.tanh_, lambda d, a: aten.tanh_backward.grad_input(d, a, grad_input=d)),
)
SIGMOID = Activation(
    "sigmoid",
    nn.Sigmoid,
    first=lambda _, z, a: a * (1 - a),
    second=lambda _, z, a: a * (1 - a) * (1 - 2 * a),
    in_place=InPlace(torch.sigmoid_, lambda d, a: aten.sigmoid_backward.grad_input(d, a, grad_input=d)),
)
SOFTPLUS = Activation(
    "softplus",
    nn.Softplus,
    first=_softplus_first,
    second=_softplus_second,
    in_place=InPlace(
        lambda z: aten.softplus.out(z, 1.0, 20.0, out=z),
        lambda d, a: d.mul_(torch.expm1(-a).neg_()),  # 1 - exp(-softplus(z)) = sigmoid(z)
    ),
)
IDENTITY = Activation(
    "identity",
    nn.Identity,
    first=lambda _, z, a: torch.ones_like(z),
    second=None,
    in_place=InPlace(lambda z: z, lambda d, a: d),
)
ROUNDED_RELU = Activation(
    "rounded relu",
    RoundedReLU,
    first=lambda module, z, a: module.slope(z),
    second=lambda module, z, a: (z.abs() < module.width).to(z.dtype) / (2 * module.width),
    in_place=None,
)

ACTIVATIONS: dict[str, Activation] = {record.name: record for record in (RELU, TANH, SIGMOID, SOFTPLUS)}
"""Those that `MLP` builds by name."""

_BY_TYPE = {record.module: record for record in (*ACTIVATIONS.values(), IDENTITY, ROUNDED_RELU)}


def find_activation(module: nn.Module) -> Activation | None:
    """Look up the record of a module; None for a type without one, subclasses included.

    >>> find_activation(nn.Tanh()).name
    'tanh'
    """
    return _BY_TYPE.get(type(module))


def in_place(module: nn.Module) -> InPlace | None:
    """Look up how a module is computed in place; None where that is not written out, as for a softplus with options."""
    record = find_activation(module)
    if record is None or (isinstance(module, nn.Softplus) and (module.beta, module.threshold) != (1, 20)):
        return None
    return record.in_place
