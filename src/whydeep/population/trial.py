"""What is tried on some samples before a network and a loss are taken.

A network is to be a function of its parameters, buffers and inputs, and a loss one of outputs and targets, a mean over
samples. Members are computed on copies: what a network or a loss reads of other modules would not follow them, and have
no part in a gradient.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whydeep.errors import SettingError
from whydeep.networks.functional import ERRORS, computed, reason
from whydeep.population.objectives import LossFunction, Objective

ELEMENTWISE = (
    *(functional.mse_loss, functional.l1_loss, functional.smooth_l1_loss, functional.huber_loss, functional.kl_div),
    *(functional.binary_cross_entropy, functional.binary_cross_entropy_with_logits, functional.soft_margin_loss),
    *(functional.poisson_nll_loss, functional.gaussian_nll_loss, functional.hinge_embedding_loss),
    functional.multilabel_soft_margin_loss,
)
"""Losses of PyTorch that compare each output with a target of its own; most stretch other shapes to one another."""


class Reading(TorchDispatchMode):
    """Notes whether operations read what they were not given.

    Args:
        given: tensors that may be read, as may those that are computed from them.
        live: tensors that may not, nor what shares their memory.

    Attributes:
        outside: whether any operation read one of `live`, or another tensor from outside that requires a gradient.
    """

    def __init__(self, given: Iterable[Tensor], live: Iterable[Tensor]):
        super().__init__()
        self.kept = list(given)  # memory that is not free is not used again for another tensor
        self.inside = set(map(_memory, self.kept))
        self.live = {_memory(tensor) for tensor in live if tensor.numel()}
        self.outside = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the tensors that an operation takes, and keep those that it returns."""
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            memory = _memory(tensor)
            self.outside |= memory in self.live or (tensor.requires_grad and memory not in self.inside)
        returned = function(*args, **kwargs)
        for tensor in _tensors(returned):
            self.kept.append(tensor)
            self.inside.add(_memory(tensor))
        return returned


class SameShapes(TorchFunctionMode):
    """Refuses outputs and targets of different shapes in the losses of PyTorch that are `ELEMENTWISE`."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the shapes before the loss does."""
        kwargs = kwargs or {}
        if function in ELEMENTWISE:
            outputs, targets = [*args, *(kwargs[name] for name in ("input", "target") if name in kwargs)][:2]
            if outputs.shape != targets.shape:
                raise SettingError(
                    f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must have the same shape for "
                    f"{function.__name__}, which would stretch them to one another"
                )
        return function(*args, **kwargs)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


def first_finite(vectors: Tensor) -> int:
    """Number of the first of some vectors [member, number] that is finite; 0 if none is."""
    return int(vectors.isfinite().all(1).to(torch.uint8).argmax())


def try_network(
    module: nn.Module,
    call: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    inputs: Tensor,
    live: Iterable[Tensor] = (),
) -> Tensor:
    """Call a network on some samples, and return its outputs.

    Args:
        module: is named in messages.
        call: from inputs to outputs, with nothing that requires a gradient.
        parameters: that it computes with.
        inputs: are copied.
        live: parameters and buffers of the network that was copied.

    Raises:
        SettingError: the network cannot be computed, returns something else than one tensor, writes to its parameters,
            or computes with what is no parameter or buffer of its own.
    """
    inputs = inputs.detach().clone()
    versions = [parameter._version for parameter in parameters]
    reading = Reading([inputs, *parameters], live)
    with computed(module), torch.enable_grad():
        try:
            with reading:
                outputs = call(inputs)
        except ERRORS:  # as where what is read is of another type or on another device
            if not reading.outside:
                raise
    if reading.outside:
        raise SettingError(
            f"{type(module).__name__} computes with parameters that are not among its own, and would not follow them: "
            "make them its own (as with nn.ModuleList instead of a list), or freeze them with requires_grad_(False)"
        )
    if versions != [parameter._version for parameter in parameters]:
        raise SettingError(
            f"{type(module).__name__} writes to its parameters when it is called, as embeddings with max_norm do: the "
            "loss is no function of parameters that change by themselves"
        )
    return outputs.detach()


def try_loss(
    objective: Objective, outputs: Tensor, targets: Tensor, live: Iterable[Tensor] = (), *, differentiable: bool = False
) -> None:
    """Compute the loss of some samples, twice.

    Args:
        objective: the loss.
        outputs, targets: of one member, samples first; they are copied.
        live: parameters and buffers of the networks.
        differentiable: whether the loss is to have a gradient by the outputs.

    Raises:
        SettingError: the loss cannot be computed from them, reads something else, changes from call to call, writes to
            the targets, or has no gradient.
    """
    live = list(live)
    first, second = (_value(objective, outputs, targets, live, tracked=tracked) for tracked in (False, True))
    if first.requires_grad:
        raise _refused(objective, "depends on parameters")
    rounding = 32 * torch.finfo(first.dtype).eps
    if not torch.allclose(first, second.detach(), rtol=rounding, atol=0, equal_nan=True):
        raise SettingError(
            f"{objective.name} gives different losses for the same outputs and targets: take out what is drawn at "
            "random, and what it keeps from call to call"
        )
    if differentiable and not second.requires_grad:
        raise SettingError(
            f"{objective.name} has no gradient: write it with operations of PyTorch that can be differentiated"
        )


def _value(objective: Objective, outputs: Tensor, targets: Tensor, live: list[Tensor], *, tracked: bool) -> Tensor:
    targets, value, failure = targets.detach().clone(), None, None
    version = targets._version
    with torch.enable_grad():
        outputs = outputs.detach().requires_grad_(tracked).clone()  # which a loss may write to
        with Reading([outputs, targets], live) as reading, SameShapes():
            try:
                value = objective.mean(outputs, targets)
            except (*ERRORS, TypeError) as error:
                failure = error
    if reading.outside:
        raise _refused(objective, "reads parameters or buffers of a network")
    if value is None:
        raise SettingError(
            f"{objective.name} cannot be computed from outputs {tuple(outputs.shape)} ({outputs.dtype}) and targets "
            f"{tuple(targets.shape)} ({targets.dtype}): {reason(failure)}"
        ) from failure
    if targets._version != version:
        raise SettingError(f"{objective.name} writes to the targets, which are needed again: let it copy them")
    return value


def _refused(objective: Objective, what: str) -> SettingError:
    return SettingError(
        f"{objective.name} {what}, and must be a function of outputs and targets alone, as networks are computed on "
        "copies: for a penalty on weights give an optimizer weight_decay; freeze a network that is part of the loss by "
        "requires_grad_(False)"
    )


def check_mean(objective: LossFunction, outputs: Tensor, targets: Tensor, cuts: Iterable[int] | None = None) -> None:
    """Raise `SettingError` unless the loss of some samples is the mean of those of parts.

    Args:
        objective: the loss.
        outputs, targets: of one member, samples first.
        cuts: where the samples are cut, each for itself; without them, at two places.
    """

    def loss(start: int, stop: int) -> Tensor:
        return objective.mean(outputs[start:stop].clone(), targets[start:stop].clone())

    if not adds_up(loss, len(outputs), cuts):
        stretched = outputs.shape != targets.shape and outputs.numel() == targets.numel()
        shapes = f" (outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)})" if stretched else ""
        raise SettingError(
            f"{objective.name} of a batch{shapes} is not the mean of the losses of its parts, so that batches cannot "
            "be joined: give a loss that is a mean over samples"
        )


def adds_up(loss: Callable[[int, int], Tensor], samples: int, cuts: Iterable[int] | None = None) -> bool:
    """Whether a loss is the mean of those of two parts.

    Args:
        loss: of the samples from a first to before a last; one number or several.
        samples: how many.
        cuts: where they are cut, each for itself; without them, at two places, as by chance one may fit.
    """
    whole = loss(0, samples)
    rtol, atol = (1e-9, 1e-12) if whole.dtype == torch.float64 else (1e-4, 1e-7)  # of sums, and of small losses

    def parts(cut: int) -> Tensor:
        return loss(0, cut) * (cut / samples) + loss(cut, samples) * (1 - cut / samples)

    cuts = {samples // 3, samples // 2} - {0} if cuts is None else cuts
    return all(torch.allclose(whole, parts(cut), rtol=rtol, atol=atol, equal_nan=True) for cut in cuts)
