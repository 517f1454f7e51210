"""Fully connected networks."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from whydeep.errors import SettingError, near_names

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}


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
                layers[f"{activation}{layer}"] = ACTIVATIONS[activation]()
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
