"""Fully connected networks."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from whydeep.errors import SettingError, near_names
from whydeep.networks.activations import ACTIVATIONS
from whydeep.networks.functional import is_altered


class MLP(nn.Sequential):
    """A fully connected network: linear layers with an activation between them, none after the last.

    Inputs have shape [..., widths[0]], outputs [..., widths[-1]]. Weights and biases start as
    `torch.nn.Linear` starts them: uniform in +-1/sqrt(fan-in).

    Args:
        widths: units of every layer, input first: ``(784, 30, 10)`` has one hidden layer.
        activation: a name in `ACTIVATIONS`.

    Raises:
        SettingError: fewer than two widths, a width below one, or an unknown activation.

    >>> MLP((784, 30, 10)).widths
    (784, 30, 10)
    """

    def __init__(self, widths: Sequence[int], activation: str = "relu"):
        checked = check_widths(widths)
        if activation not in ACTIVATIONS:
            raise SettingError(f"no activation is called {activation!r}: {near_names(activation, ACTIVATIONS)}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        depth = len(checked) - 1
        for layer, (fan_in, fan_out) in enumerate(pairwise(checked), start=1):
            layers[f"linear{layer}"] = nn.Linear(fan_in, fan_out)
            if layer < depth:
                layers[f"{activation}{layer}"] = ACTIVATIONS[activation].module()
        super().__init__(layers)
        self.widths = checked
        self.activation = activation


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return the widths as a tuple of ints, or raise `SettingError` that says what is wrong."""
    checked = tuple(int(width) for width in widths)
    if len(checked) < 2 or min(checked) < 1:
        raise SettingError(
            f"widths {checked} make no network: give at least an input and an output width, each 1 or more"
        )
    return checked


def parameter_count(widths: Sequence[int]) -> int:
    """Weights and biases of a fully connected network.

    >>> parameter_count((784, 30, 10))
    23860
    """
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


@dataclass(frozen=True)
class Architecture:
    """A fully connected network in short: names of its linear layers, widths, what is between them, and a Flatten
    first or not."""

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    activation: nn.Module
    flattens: bool


def recognise(module: nn.Module) -> Architecture | None:
    """Recognise a stack of linear layers with one kind of activation between them; else None.

    Recognised are `nn.Sequential` (and `MLP`) of ``[Flatten] Linear act Linear act ... Linear`` with biases, with equal
    modules between them, and with nothing else: no hooks, no `forward` put in place of a class's, no subclass that is
    called in another way, no shared or further parameters. Who computes them must know what the modules between do.
    """
    if not isinstance(module, nn.Sequential) or _methods(type(module)) != _INHERITED:
        return None
    children = list(module.named_children())
    first = children[0][1] if children else None
    flattens = type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1)
    if flattens:
        children = children[1:]
    names = tuple(name for name, _ in children[0::2])
    linear = [child for _, child in children[0::2] if type(child) is nn.Linear and child.bias is not None]
    between = [child for _, child in children[1::2]] or [nn.Identity()]
    kinds = {(type(child), repr(child)) for child in between}
    if len(linear) != len(names) or len(children) % 2 == 0 or len(kinds) > 1:
        return None
    expected = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    if any(map(is_altered, module.modules())) or [name for name, _ in module.named_parameters()] != expected:
        return None
    widths = (linear[0].in_features, *(layer.out_features for layer in linear))
    return Architecture(names, widths, between[0], flattens)


def _methods(kind: type[nn.Sequential]) -> set[Any]:
    """What a stack does when it is called."""
    return {kind.forward, kind.__call__, kind.__iter__}


_INHERITED = _methods(nn.Sequential)
