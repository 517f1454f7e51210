"""What `Training`, `Evaluator` and a landscape accept as data and as a loss, and how it reaches the engines."""

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.networks import Architecture, recognise
from whydeep.population.objectives import (
    Loss,
    LossFunction,
    MeanSquaredError,
    Objective,
    check_class_numbers,
    find_objective,
)
from whydeep.population.population import Population
from whydeep.population.samples import INDICES, Data, Samples


def require(fits: bool, name: str, given: Any, accepted: str) -> None:
    """Raise `SettingError` unless an argument fits."""
    if not fits:
        kind = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise SettingError(f"{name} must be {accepted} of whydeep.population, not {kind}")


def read_arguments(population: Population, data: Data, loss: Loss) -> tuple[Samples, Objective]:
    """Return samples on the population's device and in its precision, and the objective.

    Raises:
        SettingError: arguments of another kind, or that do not fit together.
    """
    require(isinstance(population, Population), "population", population, "a Population")
    samples = Samples.of(data)
    samples.check_members(len(population))
    samples, objective = fit(population.template, samples, find_objective(loss))
    return samples.to(population.device, population.dtype), objective


def fit(module: nn.Module, samples: Samples, objective: Objective) -> tuple[Samples, Objective]:
    """Arrange inputs and targets as a module and an objective take them.

    Fully connected networks have inputs of further dimensions, such as images, flattened. Classes that are
    probabilities, and targets with more dimensions than a written-out loss has, are left to automatic differentiation.

    Args:
        module: the architecture.
        samples: on any device.
        objective: from `find_objective`.

    Returns:
        The samples, and the objective for such targets.

    Raises:
        SettingError: targets that do not fit the objective or the network.
    """
    architecture = recognise(module)
    samples = fit_inputs(samples, architecture)
    shape = samples.targets.shape[1 + samples.own_targets :]
    if isinstance(objective, MeanSquaredError) and not samples.targets.is_floating_point():
        samples = replace(samples, targets=samples.targets.to(torch.float64))
    further = samples.inputs.ndim > 2 + samples.own_inputs  # dimensions of a sample's inputs
    outputs = architecture.widths[-1] if architecture and not further else None
    further = further and architecture is not None
    if isinstance(objective, LossFunction):
        _check_ignored(objective, samples.targets)
    elif isinstance(objective, MeanSquaredError):
        if outputs is not None and shape != (outputs,):
            raise SettingError(f"targets must be [sample, {outputs}] for {objective.name}, not {_per_sample(samples)}")
        if len(shape) != 1 or further:
            return samples, LossFunction(objective.mean, objective.name)
    elif samples.targets.is_floating_point():
        return samples, LossFunction(functional.cross_entropy, objective.name)
    else:
        check_class_numbers(samples.targets, outputs)
        if outputs is not None and shape != ():
            raise SettingError(f"targets must be [sample] for {objective.name}, not {_per_sample(samples)}")
        if shape != () or further:
            return samples, LossFunction(functional.cross_entropy, objective.name)
    return samples, objective


def fit_inputs(samples: Samples, architecture: Architecture | None) -> Samples:
    """Flatten inputs that a fully connected network takes flat only, and make integers real numbers for it.

    Raises:
        SettingError: another number of features.
    """
    if architecture is None:
        return samples
    inputs, width = samples.inputs, architecture.widths[0]
    if inputs.dtype in INDICES:
        inputs = inputs.to(torch.float64)
    shape = inputs.shape[1 + samples.own_inputs :]
    if architecture.flattens or shape[-1:] != (width,):
        if prod(shape) != width:
            raise SettingError(f"inputs have {prod(shape)} features, the network takes {width}")
        inputs = inputs.reshape(*inputs.shape[: 1 + samples.own_inputs], width)
    return replace(samples, inputs=inputs)


def _per_sample(samples: Samples) -> tuple[int, ...]:
    return tuple(samples.targets.shape[samples.own_targets :])


def _check_ignored(objective: LossFunction, targets: Tensor) -> None:
    if objective.ignored is not None and not targets.is_floating_point() and bool((targets == objective.ignored).any()):
        raise SettingError(
            f"targets hold the class {objective.ignored} that {objective.name} ignores, and a mean over the others is "
            "no mean over samples: leave these samples out"
        )
