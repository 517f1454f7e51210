"""A module as a function of its parameters and buffers, which are given by name."""

import copy
import inspect
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import _has_any_global_hook

from whydeep.errors import LONGEST_MESSAGE, SettingError

Named = dict[str, Tensor]

ERRORS = (RuntimeError, ValueError, IndexError)
"""What PyTorch raises at shapes, types and operations that it does not take."""


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

    The buffers that are given stay as they are, whether the module writes to its own or puts others in their place.
    """
    given = {**parameters, **{name: buffer.clone() for name, buffer in buffers.items()}}
    outputs = functional_call(module, given, (inputs,))  # writes to `given` what the module put in place of a buffer
    return check_outputs(module, outputs), {name: given[name] for name in buffers}


def load(module: nn.Module, parameters: Named, buffers: Named, *, tracked: Container[str] = ()) -> Named:
    """Write values to a module's own parameters, and put copies in place of its buffers.

    Args:
        module: is changed.
        parameters, buffers: the values.
        tracked: names of the parameters that are to require a gradient.

    Returns:
        The module's own parameters.
    """
    own: Named = dict(module.named_parameters())
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.requires_grad_(name in tracked).copy_(parameters[name])
    for name, buffer in buffers.items():
        owner, _, own_name = name.rpartition(".")
        module.get_submodule(owner)._buffers[own_name] = buffer.clone()
    return own


def check_outputs(module: nn.Module, outputs: Any, inputs: Tensor | None = None) -> Tensor:
    """Return the outputs of a module.

    Args:
        module: is named in the message.
        outputs: what it returned.
        inputs: where every sample is to have an output.

    Raises:
        SettingError: they are no tensor [sample, ...] of real numbers, such as the pair that recurrent layers return.
    """
    if not isinstance(outputs, Tensor):
        given = f"a {type(outputs).__name__}"
    elif not outputs.is_floating_point():
        given = str(outputs.dtype)
    elif inputs is not None and outputs.shape[:1] != inputs.shape[:1]:
        given = f"shape {tuple(outputs.shape)} for {len(inputs)} samples"
    else:
        return outputs
    raise SettingError(
        f"a network must return one tensor of real numbers [sample, ...], and {type(module).__name__} returns {given}: "
        "wrap it in a module that does"
    )


def copied(module: nn.Module) -> nn.Module:
    """Copy a module with everything in it.

    Raises:
        SettingError: a `forward` that was put in place of a class's refers to another module, or to what the module had
            before. The copy would compute with the parameters of that one, and have no gradient by its own. Or the
            module holds what cannot be copied.
    """
    computed: dict[int, Any] = {}
    for part in module.modules():
        forward = vars(part).get("forward")
        function = getattr(forward, "__func__", forward)
        if isinstance(function, FunctionType) and any(map(_is_of_a_module, _variables(function))):
            raise SettingError(
                f"the forward that was put in place of that of {type(part).__name__} refers to a module, which a copy "
                "would share: write a subclass with this forward instead"
            )
        for value in vars(part).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:  # such as a pruned weight, made at every call
                computed[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, computed)
    except (RuntimeError, TypeError, NotImplementedError, AttributeError) as error:
        raise SettingError(f"{type(module).__name__} cannot be copied, and must be ({reason(error)})") from error


def _variables(function: FunctionType) -> list[Any]:
    """What a function finds outside of itself: variables around it, global ones, and defaults."""
    outside = inspect.getclosurevars(function)
    return [*outside.nonlocals.values(), *outside.globals.values(), *(function.__defaults__ or ())]


def _is_of_a_module(value: Any) -> bool:
    return isinstance(getattr(value, "__self__", value), nn.Module)


def precise(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Real numbers as `dtype`, complex ones as pairs of them, integers as they are."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def in_precision(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Make parameters and buffers of a module `precise`; `nn.Module.to` would drop imaginary parts."""
    return module._apply(lambda tensor: precise(tensor, dtype))


def is_altered(module: nn.Module) -> bool:
    """Say whether a module computes something else than its class was written to.

    It has hooks or a `forward` of its own, all modules have hooks, or PyTorch's class was given another `forward`.
    """
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
        _has_any_global_hook(),
    )
    kind = type(module)
    return any(hooks) or "forward" in vars(module) or kind.forward is not _FORWARDS.get(kind, kind.forward)


def reason(error: Exception | None) -> str:
    """First line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:LONGEST_MESSAGE]


_FORWARDS = {kind: kind.forward for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)}


def check_surroundings(device: torch.device, *, written_out: bool, gradients: bool = False) -> None:
    """Refuse what PyTorch was told to do with all modules.

    Args:
        device: where networks are computed.
        written_out: whether they are computed without their modules.
        gradients: whether they are differentiated.

    Raises:
        SettingError: `torch.autocast` is on, or `torch.inference_mode` where PyTorch is to differentiate; hooks of all
            modules, which would not be called.
    """
    if gradients and not written_out and torch.is_inference_mode_enabled():
        raise SettingError("there are no gradients under torch.inference_mode: leave its context")
    if torch.is_autocast_enabled(device.type):
        raise SettingError("networks are computed in one precision, and torch.autocast is on: leave its context")
    if written_out and _has_any_global_hook():
        raise SettingError(
            "hooks of all modules are not called where networks are computed without their modules: remove them, or "
            "begin again while they are there"
        )


@contextmanager
def vectorised(module: nn.Module, what: str) -> Iterator[None]:
    """Turn errors of `torch.func.vmap` into a `SettingError` of one line.

    Args:
        module: what is computed.
        what: over which it is vectorised, such as "members".
    """
    try:
        yield
    except ERRORS as error:
        raise SettingError(
            f"{type(module).__name__} cannot be computed for all {what} at once ({reason(error)}): give "
            'engine="one-by-one"'
        ) from error


@contextmanager
def computed(module: nn.Module, how: str = "computed on these samples") -> Iterator[None]:
    """Turn errors that PyTorch raises at a module into a `SettingError` of one line.

    Args:
        module: what is computed.
        how: what cannot be done with it.
    """
    try:
        yield
    except ERRORS as error:
        raise SettingError(f"{type(module).__name__} cannot be {how} ({reason(error)})") from error
