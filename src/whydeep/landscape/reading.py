"""Data of any form as batches, and what batches must be so that the means over them can be joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.population.arguments import fit
from whydeep.population.objectives import Loss, LossFunction, Objective, find_objective
from whydeep.population.samples import Data, make_batches


@dataclass(frozen=True)
class Batch:
    """Part of the data: inputs and targets [member or 1, sample, ...], and its share of all samples."""

    inputs: Tensor
    targets: Tensor
    share: float


def read(
    data: Data, loss: Loss, module: nn.Module, members: int, samples_at_once: int
) -> tuple[list[Batch], Objective]:
    """Cut all data into batches, whichever form they come in, and return the objective for them.

    Args:
        data, loss: what a landscape is given.
        module: the architecture.
        members: how many networks.
        samples_at_once: the largest batch.

    Raises:
        SettingError: data or a loss that do not fit the module or each other.
    """
    if samples_at_once < 1:
        raise SettingError(f"samples_at_once must be 1 or more, not {samples_at_once}")
    objective, fitted = find_objective(loss), []
    for samples in make_batches(data):
        samples.check_members(members)
        samples, needed = fit(module, samples, objective)
        fitted.append(samples)
        objective = needed if isinstance(needed, LossFunction) else objective
    total = sum(map(len, fitted))
    batches = [
        Batch(inputs.detach(), targets.detach(), targets.shape[1] / total)
        for samples in fitted
        for inputs, targets in zip(
            (samples.inputs if samples.own_inputs else samples.inputs.unsqueeze(0)).split(samples_at_once, dim=1),
            (samples.targets if samples.own_targets else samples.targets.unsqueeze(0)).split(samples_at_once, dim=1),
            strict=True,
        )
    ]
    return batches, objective


def mixed(batches: Sequence[Batch]) -> Batch:
    """One batch, as large as the largest, of samples from all over the data; the first one where shapes differ."""
    if len({(batch.inputs.shape[2:], batch.targets.shape[2:]) for batch in batches}) > 1:
        return batches[0]
    parts = [(batch.inputs[:, :: len(batches)], batch.targets[:, :: len(batches)]) for batch in batches]
    inputs, targets = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    step = -(-targets.shape[1] // max(batch.targets.shape[1] for batch in batches))
    return Batch(inputs[:, ::step], targets[:, ::step], share=1)


def check_mean(losses: Callable[[Tensor, Tensor], Tensor], batch: Batch, module: nn.Module) -> None:
    """Raise `SettingError` unless the losses of a batch can be had again, and are the means of those of its parts.

    Args:
        losses: from inputs and targets to losses [point].
        batch: what is tried.
        module: is named in the message.
    """
    whole = losses(batch.inputs, batch.targets)

    def repeats(times: int) -> bool:
        again = (losses(batch.inputs, batch.targets) for _ in range(times))
        return all(torch.allclose(whole, each, rtol=1e-4, atol=0, equal_nan=True) for each in again)

    adds_up = _adds_up(losses, batch)
    # A few random masks often give the same loss twice: look harder before blaming the loss for what noise does.
    if not repeats(1 if adds_up else 20):
        raise SettingError(
            f"{type(module).__name__} gives different losses for the same inputs, in evaluation mode too: "
            "take the randomness out, or a derivative would be that of another draw"
        )
    _refuse_other_than_means(adds_up)


def check_parts(losses: Callable[[Tensor, Tensor], Tensor], batch: Batch) -> None:
    """Raise `SettingError` unless the losses of a batch are the means of those of its parts."""
    _refuse_other_than_means(_adds_up(losses, batch))


def _refuse_other_than_means(adds_up: bool) -> None:
    if not adds_up:
        raise SettingError(
            "the loss of a batch is not the mean of the losses of its parts, so that batches cannot be joined: "
            "give a loss that is a mean over samples, and a network whose outputs do not depend on other samples"
        )


def _adds_up(losses: Callable[[Tensor, Tensor], Tensor], batch: Batch) -> bool:
    """Whether the losses are the means of those of two parts, cut at two places: by chance one may fit."""
    samples = batch.targets.shape[1]

    def loss(start: int, stop: int) -> Tensor:
        return losses(batch.inputs[:, start:stop], batch.targets[:, start:stop]) * ((stop - start) / samples)

    whole = loss(0, samples)
    rtol, atol = (1e-9, 1e-12) if whole.dtype == torch.float64 else (1e-4, 1e-7)  # of sums, and of small losses
    return all(
        torch.allclose(whole, loss(0, cut) + loss(cut, samples), rtol=rtol, atol=atol, equal_nan=True)
        for cut in {samples // 3, samples // 2} - {0}
    )
