"""Arguments of another kind, such as a loss of `torch`, are named where they are given."""

from typing import Any

from whydeep.errors import SettingError
from whydeep.population.population import Population
from whydeep.population.samples import Samples


def check_arguments(population: Any, samples: Any, objective: Any) -> None:
    """Raise `SettingError` where one of them is something else."""
    require(isinstance(population, Population), "population", population, "a Population")
    require(isinstance(samples, Samples), "samples", samples, "Samples(inputs, targets)")
    fits = hasattr(objective, "losses_and_deltas") and not isinstance(objective, type)
    require(fits, "objective", objective, "such as CrossEntropy() or MeanSquaredError()")


def require(fits: bool, name: str, given: Any, accepted: str) -> None:
    """Raise `SettingError` unless an argument fits."""
    if not fits:
        found = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise SettingError(f"{name} must be {accepted} of whydeep.population, not {found}")
