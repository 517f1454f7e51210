"""What a module is beside the values of its parameters and buffers, and what these may be."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
INTERNAL = set(vars(nn.Module()))
PLAIN = {bool, int, float, complex, str, type(None), torch.dtype}

Parts = dict[str, Any]


def describe(module: nn.Module) -> tuple[Parts, Parts]:
    """Describe a module by its structure, and by its plain attributes.

    Returns:
        structure: types of all parts, shapes of parameters (of a tied one the name that it has first), hooks, and
            forwards of their own, by name.
        attributes: numbers, strings, tuples of them, and tensors that are no buffers, by name.

    >>> describe(nn.Sequential(nn.Linear(2, 1), nn.Softplus(beta=2.0)))[0]
    {'module': 'Sequential', '0': 'Linear', '0.weight': (1, 2), '0.bias': (1,), '1': 'Softplus'}
    """
    structure: Parts = {}
    attributes: Parts = {}
    names: dict[int, str] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        structure[name or "module"] = type(part).__name__
        start, held = f"{name}." if name else "", vars(part)
        for key, value in held.items():
            if key not in INTERNAL:
                if key == "forward":
                    structure[f"{start}forward"] = getattr(value, "__func__", value)
                elif _is_plain(value):
                    attributes[start + key] = value
        for key in HOOKS:
            if held[key]:
                structure[start + key] = f"{len(held[key])} hooks"
        for key, parameter in held["_parameters"].items():
            if parameter is not None:
                first = names.setdefault(id(parameter), start + key)
                structure[start + key] = tuple(parameter.shape) if first == start + key else first
    return structure, attributes


def _is_plain(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.grad_fn is None  # others are computed anew at every call
    return type(value) in PLAIN or (type(value) is tuple and all(map(_is_plain, value)))


def take_over(copy: nn.Module, before: Parts, now: Parts) -> bool:
    """Give a copy of a module the attributes that are others than before, and say whether there were any.

    Tensors may have been written to since, and are always taken over.
    """
    changed = {name: value for name, value in now.items() if isinstance(value, Tensor) or value is not before.get(name)}
    for name, value in changed.items():
        owner, _, own_name = name.rpartition(".")
        vars(copy.get_submodule(owner))[own_name] = value.clone() if isinstance(value, Tensor) else value
    return bool(changed)


def difference(first: Parts, second: Parts) -> str | None:
    """Say in what the first parts differ from the second; None if in nothing.

    >>> difference(describe(nn.Tanh())[0], describe(nn.ReLU())[0])
    'module is Tanh instead of ReLU'
    """
    for name in {**second, **first}:
        values = [parts.get(name, "nothing") for parts in (first, second)]
        if not _same(*values):
            return f"{name} is {values[0]!s:.60} instead of {values[1]!s:.60}"
    return None


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and torch.equal(first.to(second.device), second)
    return first is second or (type(first) is type(second) and first == second)


def check_parameters(module: nn.Module) -> None:
    """Raise `SettingError` unless the parameters are real numbers, each in memory of its own, and can be replaced."""
    kind = type(module).__name__
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise SettingError(f"{kind} was compiled by torch.jit: give the module that it was made from")
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise SettingError(f"{name} of {kind} has no shape yet: call the module once on a batch")
        if parameter.is_meta or parameter.layout != torch.strided or not parameter.is_floating_point():
            given = "on the meta device" if parameter.is_meta else f"{parameter.dtype} ({parameter.layout})"
            raise SettingError(f"parameters must be real numbers that are not sparse, and {name} of {kind} is {given}")
    parameters = {name: tensor for name, tensor in module.named_parameters() if tensor.numel()}
    buffers = {name: tensor for name, tensor in module.named_buffers() if tensor.numel()}
    places = sorted((*_extent(tensor), name) for name, tensor in {**buffers, **parameters}.items())
    for (_, end, name), (start, _, other) in pairwise(places):
        if start < end and not {name, other} <= buffers.keys():
            raise SettingError(
                f"{name} and {other} of {kind} share memory, which copies would not: make them one parameter, or clone "
                "one of them"
            )
    for name, parameter in parameters.items():
        if any(stride == 0 < size - 1 for stride, size in zip(parameter.stride(), parameter.shape, strict=True)):
            raise SettingError(f"numbers of {name} of {kind} share memory, which copies would not: clone it")


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor begins and ends in memory."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (steps + 1) * tensor.element_size()
