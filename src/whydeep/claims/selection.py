"""A variable of the results at some labels: the statistic that needs no code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isclose
from numbers import Integral, Real
from typing import Any

import xarray as xr

from whydeep.errors import SettingError, near_names
from whydeep.variables import Limits, Variable

PLACES = {"first": 0, "last": -1}


@dataclass(frozen=True)
class Selection:
    """A variable at labels of its dimensions, or the difference of two such selections within each seed.

    Called with results, it returns the values [..., seed]. Dimensions that are not named remain.

    Attributes:
        variable: its name in the results.
        at: dimension -> label, list of labels, or "first" or "last" for a place. Numbers count as equal to six digits.
        minus: the labels that are different in what is subtracted; `at` names their dimensions as well.

    Raises:
        SettingError: `minus` names a dimension that `at` does not; when called, the results lack what is selected.

    >>> loss = xr.DataArray([[4.0, 2.0], [5.0, 1.0]], dims=("seed", "epoch"), coords={"epoch": [0, 10]})
    >>> fall = Selection("loss", at={"epoch": "last"}, minus={"epoch": 0})
    >>> print(fall, fall(xr.Dataset({"loss": loss})).values)
    loss at epoch last, minus epoch 0 [-2. -4.]
    """

    variable: str
    at: Mapping[str, Any] = field(default_factory=dict)
    minus: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.variable, str) or not all(isinstance(x, Mapping) for x in (self.at, self.minus)):
            raise SettingError(
                "a selection needs the name of a variable and dictionaries from dimensions to labels, not "
                f"{self.variable!r}, {self.at!r}, {self.minus!r}"
            )
        for dim in self.minus:
            if dim not in self.at:
                named = ", ".join(self.at) or "no dimension"
                raise SettingError(f"minus names {dim!r}, which at must name as well, and at names {named}")

    def __str__(self) -> str:
        words = f"{self.variable} at {label_text(self.at)}" if self.at else self.variable
        return f"{words}, minus {label_text(self.minus)}" if self.minus else words

    def __call__(self, results: xr.Dataset) -> xr.DataArray:
        """Select from the results."""
        values = self._values(results)
        chosen = select(values, self.at)
        if self.minus:
            other = select(values, {**self.at, **self.minus})
            if any(not chosen[dim].equals(other[dim]) for dim in set(chosen.dims) & set(other.dims)):
                raise SettingError("minus must name one label of a dimension, not several")
            chosen = chosen - other
        if chosen.size == 0:
            raise SettingError(f"{self} holds no value")
        return chosen

    def scale(self, results: xr.Dataset) -> tuple[bool, Limits]:
        """Return whether what is selected varies by factors, and its limits, from the variable's attributes."""
        variable = Variable.of(self._values(results))
        low, high = variable.limits
        return (False, (low - high, high - low)) if self.minus else (variable.log, variable.limits)

    def _values(self, results: xr.Dataset) -> xr.DataArray:
        names = [str(name) for name in results.data_vars if "seed" in results[name].dims]
        if self.variable not in names:
            raise SettingError(f"the results have no {self.variable!r}: {near_names(self.variable, names)}")
        return results[self.variable]


def select(values: xr.DataArray, labels: Mapping[str, Any]) -> xr.DataArray:
    """Select labels of dimensions; a list of labels keeps its dimension.

    Raises:
        SettingError: there is no such dimension or label.
    """
    for dim, label in labels.items():
        if dim not in values.dims or dim == "seed":
            accepted = [str(name) for name in values.dims if name != "seed"]
            raise SettingError(f"{values.name} has no dimension {dim!r}: {near_names(dim, accepted)}")
        if isinstance(label, str) and label in PLACES:
            values = values.isel({dim: PLACES[label]}, drop=True)
        elif isinstance(label, list | tuple):
            values = values.isel({dim: [_position(values[dim], wanted) for wanted in label]})
        else:
            values = values.isel({dim: _position(values[dim], label)}, drop=True)
    return values


def _position(labels: xr.DataArray, wanted: Any) -> int:
    accepted = labels.values.tolist()
    for position, label in enumerate(accepted):
        if same_label(label, wanted):
            return position
    raise SettingError(f"{labels.name} has no label {wanted!r}: {near_names(str(wanted), map(str, accepted))}")


def same_label(first: Any, second: Any) -> bool:
    """Say whether two labels are the same; lists and tuples by their elements, fractions to six digits.

    (A label in single precision has no more.) True and False are no numbers.

    >>> same_label((784, 10), [784, 10]), same_label(0.1, 0.1000000015), same_label(1000000, 1000001)
    (True, True, False)
    """
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same_label, first, second))
    if isinstance(first, bool) != isinstance(second, bool):
        return False
    numbers = isinstance(first, Real) and isinstance(second, Real)
    if numbers and not (isinstance(first, Integral) and isinstance(second, Integral)):
        return isclose(first, second, rel_tol=1e-6)
    return bool(first == second)


def label_text(labels: Mapping[str, Any]) -> str:
    """Write labels of dimensions: ``network deep, epoch last``."""
    return ", ".join(f"{dim} {label}" for dim, label in labels.items())
