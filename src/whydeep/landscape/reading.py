"""Data of any form as batches, and what batches must be so that the means over them can be joined."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.population.arguments import fit
from whydeep.population.objectives import Loss, LossFunction, Objective, find_objective
from whydeep.population.samples import Data, make_batches
from whydeep.population.trial import adds_up


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
    objective, fitted, given = find_objective(loss), [], make_batches(data)
    shapes = {samples.targets.shape[1 + samples.own_targets :] for samples in given}
    if len(shapes) > 1:
        raise SettingError(
            f"targets have the shapes {sorted(map(tuple, shapes))} in different batches: a mean over samples is then "
            "none over their numbers, such as tokens; make one landscape for each shape"
        )
    for samples in given:
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


def mixed(batches: Sequence[Batch], most: int) -> Batch:
    """One batch of so many samples at most from all over the data; of the first batch alone where shapes differ."""
    alike = [batch for batch in batches if batch.inputs.shape[2:] == batches[0].inputs.shape[2:]]
    total = sum(batch.targets.shape[1] for batch in alike)
    step, start, parts = max(1, -(-total // most)), 0, []
    for batch in alike:
        parts.append((batch.inputs[:, start::step], batch.targets[:, start::step]))
        start = (start - batch.targets.shape[1]) % step
    inputs, targets = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return Batch(inputs, targets, share=1)


def with_parts(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield all batches; those of a single sample, which have no parts, joined with that before and that after."""
    yield from (batch for batch in batches if batch.targets.shape[1] > 1)
    for pair in pairwise(batches):
        if any(batch.targets.shape[1] == 1 for batch in pair) and pair[0].inputs.shape[2:] == pair[1].inputs.shape[2:]:
            inputs, targets = (
                torch.cat(parts, dim=1) for parts in zip(*((b.inputs, b.targets) for b in pair), strict=True)
            )
            yield Batch(inputs, targets, share=1)


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

    joins = _adds_up(losses, batch)
    # A few random masks often give the same loss twice: look harder before blaming the loss for what noise does.
    if not repeats(1 if joins else 20):
        raise SettingError(
            f"{type(module).__name__} gives different losses for the same inputs, in evaluation mode too: "
            "take the randomness out, or a derivative would be that of another draw"
        )
    _refuse_other_than_means(joins)


def check_parts(losses: Callable[[Tensor, Tensor], Tensor], batch: Batch) -> None:
    """Raise `SettingError` unless the losses of a batch are the means of those of its parts."""
    _refuse_other_than_means(_adds_up(losses, batch))


def _refuse_other_than_means(joins: bool) -> None:
    if not joins:
        raise SettingError(
            "the loss of a batch is not the mean of the losses of its parts, so that batches cannot be joined: "
            "give a loss that is a mean over samples, and a network whose outputs do not depend on other samples"
        )


def _adds_up(losses: Callable[[Tensor, Tensor], Tensor], batch: Batch) -> bool:
    def loss(start: int, stop: int) -> Tensor:
        return losses(batch.inputs[:, start:stop], batch.targets[:, start:stop])

    return adds_up(loss, batch.targets.shape[1])
