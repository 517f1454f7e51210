"""A module as a function of its parameters and buffers, which are given by name."""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from whydeep.errors import SettingError

Named = dict[str, Tensor]


def named_views(vectors: Tensor, shapes: Mapping[str, tuple[int, ...]], starts: Iterable[int] | None = None) -> Named:
    """View vectors [..., number] as named parts [..., *shape]; nothing is copied.

    Args:
        vectors: with any leading dimensions.
        shapes: name -> shape of each part.
        starts: where each part starts in a vector; without it, one behind the other.

    >>> import torch
    >>> views = named_views(torch.arange(6.0), {"weight": (2, 2), "bias": (2,)})
    >>> views["weight"].tolist(), views["bias"].tolist()
    ([[0.0, 1.0], [2.0, 3.0]], [4.0, 5.0])
    """
    sizes = [prod(shape) for shape in shapes.values()]
    starts = [0, *accumulate(sizes)][:-1] if starts is None else starts
    leading = vectors.shape[:-1]
    return {
        name: vectors.narrow(-1, start, size).view((*leading, *shape))
        for (name, shape), start, size in zip(shapes.items(), starts, sizes, strict=True)
    }


def call(module: nn.Module, parameters: Named, buffers: Named, inputs: Tensor) -> tuple[Tensor, Named]:
    """Outputs of a module with other parameters and buffers, and the buffers as they are afterwards.

    The buffers that are given stay as they are, whatever the module writes to its own.
    """
    buffers = {name: buffer.clone() for name, buffer in buffers.items()}
    return functional_call(module, (parameters, buffers), (inputs,)), buffers


def copied(module: nn.Module) -> nn.Module:
    """Copy a module with everything in it.

    Raises:
        SettingError: a `forward` that was put in place of a class's refers to another module, or to what the module had
            before. The copy would compute with the parameters of that one, and have no gradient by its own.
    """
    for part in module.modules():
        forward = vars(part).get("forward")
        function = getattr(forward, "__func__", forward)
        if isinstance(function, FunctionType) and any(map(_is_of_a_module, _variables(function))):
            raise SettingError(
                f"the forward that was put in place of that of {type(part).__name__} refers to a module, which a copy "
                "would share: write a subclass with this forward instead"
            )
    return copy.deepcopy(module)


def _variables(function: FunctionType) -> list[Any]:
    """What a function finds outside of itself: variables around it, global ones, and defaults."""
    outside = inspect.getclosurevars(function)
    return [*outside.nonlocals.values(), *outside.globals.values(), *(function.__defaults__ or ())]


def _is_of_a_module(value: Any) -> bool:
    return isinstance(getattr(value, "__self__", value), nn.Module)


def is_altered(module: nn.Module) -> bool:
    """Say whether a module computes something else than its class does: it has hooks, or a `forward` of its own."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)


@contextmanager
def vectorised(module: nn.Module, what: str) -> Iterator[None]:
    """Turn errors of `torch.func.vmap` into a `SettingError` of one line.

    Args:
        module: what is computed.
        what: over which it is vectorised, such as "members".
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingError(
            f'{type(module).__name__} cannot be computed for all {what} at once ({reason}): give engine="one-by-one"'
        ) from None
