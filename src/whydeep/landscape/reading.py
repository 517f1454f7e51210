"""Data of any form as batches, and what batches must be so that the means over them can be joined."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.population import Samples
from whydeep.population.objectives import check_class_numbers

Data = Samples | tuple[Tensor, Tensor] | Iterable[Sequence[Tensor]]


@dataclass(frozen=True)
class Batch:
    """Part of the data: inputs and targets [member or 1, sample, ...], and its share of all samples."""

    inputs: Tensor
    targets: Tensor
    share: float


def cast(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Move to a device, real numbers in a precision; integers stay integers."""
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def read(data: Data, samples_at_once: int, members: int) -> list[Batch]:
    """Cut all data into batches, whichever form they come in."""
    if samples_at_once < 1:
        raise SettingError(f"samples_at_once must be 1 or more, not {samples_at_once}")
    if isinstance(data, Samples):
        data.check_members(members)
        pairs = [
            (
                data.inputs if data.own_inputs else data.inputs.unsqueeze(0),
                data.targets if data.own_targets else data.targets.unsqueeze(0),
            )
        ]
    else:
        pairs = [(inputs.unsqueeze(0), targets.unsqueeze(0)) for inputs, targets in _pairs(data)]
    total = sum(targets.shape[1] for _, targets in pairs)
    if total == 0:
        raise SettingError("the data hold no samples: a loss needs at least one")
    return [
        Batch(inputs.detach(), targets.detach(), targets.shape[1] / total)
        for pair in pairs
        for inputs, targets in zip(*(part.split(samples_at_once, dim=1) for part in pair), strict=True)
        if targets.shape[1]
    ]


def _pairs(data: Any) -> list[Sequence[Tensor]]:
    def is_pair(value: Any) -> bool:
        tensors = isinstance(value, tuple | list) and all(isinstance(part, Tensor) for part in value)
        return tensors and len(value) == 2

    pairs = [data] if is_pair(data) else list(data) if isinstance(data, Iterable) else [data]
    if not all(is_pair(pair) and pair[0].shape[:1] == pair[1].shape[:1] for pair in pairs):
        raise SettingError(
            "data must be Samples, a pair of tensors (inputs, targets) with as many samples, or an iterable of such "
            "pairs"
        )
    return pairs


def with_class_numbers(batches: Sequence[Batch], classes: int | None) -> list[Batch]:
    """Make numbers of classes, of so many if that is known, 64 bit integers; targets that are probabilities stay.

    Raises:
        SettingError: there is no such class.
    """
    checked = []
    for batch in batches:
        if not batch.targets.is_floating_point():
            batch = replace(batch, targets=batch.targets.long())
            check_class_numbers(batch.targets, classes)
        checked.append(batch)
    return checked


def check_mean(losses: Callable[[Tensor, Tensor], Tensor], batch: Batch, module: nn.Module) -> None:
    """Raise `SettingError` unless the losses of a batch can be had again, and are the means of those of its parts.

    Args:
        losses: from inputs and targets to losses [point].
        batch: what is tried.
        module: is named in the message.
    """
    samples = batch.targets.shape[1]

    def loss(start: int, stop: int) -> Tensor:
        return losses(batch.inputs[:, start:stop], batch.targets[:, start:stop]) * ((stop - start) / samples)

    whole = loss(0, samples)

    def repeats(times: int) -> bool:
        again = (loss(0, samples) for _ in range(times))
        return all(torch.allclose(whole, each, rtol=1e-4, atol=0, equal_nan=True) for each in again)

    cut = samples // 3
    adds_up = not cut or torch.allclose(whole, loss(0, cut) + loss(cut, samples), rtol=1e-4, atol=1e-12, equal_nan=True)
    # A few random masks often give the same loss twice: look harder before blaming the loss for what noise does.
    if not repeats(1 if adds_up else 20):
        raise SettingError(
            f"{type(module).__name__} gives different losses for the same inputs, in evaluation mode too: "
            "take the randomness out, or a derivative would be that of another draw"
        )
    if not adds_up:
        raise SettingError(
            "the loss of a batch is not the mean of the losses of its parts, so that batches cannot be joined: "
            "give a loss that is a mean over samples, and a network whose outputs do not depend on other samples"
        )
