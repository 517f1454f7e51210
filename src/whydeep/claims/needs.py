"""What must have been run for a claim to be judged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from whydeep.claims.selection import label_text, same_label, select
from whydeep.errors import SettingError
from whydeep.variables import read_settings, words


@dataclass(frozen=True)
class Need:
    """Labels that the results must hold, or a condition on the settings that were run.

    Without the labels a claim cannot be computed. Where a condition is not met, it can be, but the settings that were
    run are not what it is about.

    Attributes:
        name: of a dimension, for labels; else of a field of the settings, or of an attribute (such as dataset) or a
            variable of the results.
        labels: the dimension must hold all of them; the claim is about these alone.
        least, most: bounds of the value, themselves allowed.
        equals: the value itself; lists and tuples are the same.
        where: field or dimension -> value: the condition is about these settings alone, else about all.

    Raises:
        SettingError: it asks for nothing, for labels and a condition together, or for bounds that nothing can meet.

    >>> print(Need("epochs", least=40))
    epochs at least 40
    >>> Need("epochs", least=40).unmet(xr.Dataset(attrs={"settings": '[{"epochs": 5}]'}))
    '5 of 40 epochs'
    """

    name: str
    labels: tuple[str | float, ...] | None = field(default=None, kw_only=True)
    least: float | None = field(default=None, kw_only=True)
    most: float | None = field(default=None, kw_only=True)
    equals: Any = field(default=None, kw_only=True)
    where: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.least, self.most) if bound is not None]
        kinds = (self.labels is not None, bool(bounds), self.equals is not None)
        if not isinstance(self.name, str) or sum(kinds) != 1 or not isinstance(self.where, Mapping):
            raise SettingError(
                f"a need has a name and one of labels, bounds (least, most) or equals, and where is a dictionary: "
                f"{self.name!r} has {self._given()}"
            )
        if self.labels is not None and (not isinstance(self.labels, tuple | list) or self.where):
            raise SettingError(f"labels of {self.name} are a tuple of labels, without where, not {self._given()}")
        if not all(_is_number(bound) and bound == bound for bound in bounds) or bounds != sorted(bounds):
            raise SettingError(f"bounds of {self.name} are numbers, least not above most, not {self._given()}")

    def __str__(self) -> str:
        where = f" where {label_text(self.where)}" if self.where else ""
        return f"{words(self.name)} {self._rule()}{where}"

    def _given(self) -> str:
        names = ("labels", "least", "most", "equals", "where")
        given = [f"{name} {getattr(self, name)!r}" for name in names if getattr(self, name) not in (None, {})]
        return ", ".join(given) or "none"

    def _rule(self) -> str:
        if self.labels is not None:
            return ", ".join(map(str, self.labels))
        if self.equals is not None:
            return _text(self.equals)
        if self.least is not None and self.most is not None:
            return f"from {_text(self.least)} to {_text(self.most)}"
        return f"at least {_text(self.least)}" if self.most is None else f"at most {_text(self.most)}"

    def lacking(self, results: xr.Dataset) -> tuple[str | float, ...]:
        """Return the labels that it asks for and that are not there."""
        present = self._present(results)
        return tuple(label for label in self.labels or () if not any(same_label(label, other) for other in present))

    def places(self, results: xr.Dataset) -> list[int]:
        """Return where the labels that it asks for lie in their dimension, in its order."""
        present = self._present(results)
        return [place for label in self.labels or () for place, other in enumerate(present) if same_label(label, other)]

    def _present(self, results: xr.Dataset) -> list[Any]:
        return results[self.name].values.tolist() if self.name in results.coords else []

    def unmet(self, results: xr.Dataset) -> str:
        """Say which labels the results lack, or how the settings that were run break the condition; else nothing."""
        if self.labels is not None:
            lacking = ", ".join(map(str, self.lacking(results)))
            return f"no {words(self.name)} {lacking}" if lacking else ""
        values = self._values(results)
        where = f" ({label_text(self.where)})" if self.where else ""
        if not values and self.where and not any(map(self._concerns, read_settings(results))):
            return f"no setting with {label_text(self.where)}"
        if not values:
            return f"{words(self.name)} is not known{where}"
        broken = [value for value in values if not self._met(value)]
        return f"{self._difference(broken)}{where}" if broken else ""

    def _values(self, results: xr.Dataset) -> list[Any]:
        """Return its values in the settings that it is about, or else in the results; none where it is not known."""
        settings = read_settings(results)
        if any(self.name in setting for setting in settings):
            chosen = [setting for setting in settings if self._concerns(setting)]
            return _distinct(setting[self.name] for setting in chosen) if all(self.name in s for s in chosen) else []
        if self.name in results.attrs:
            return [results.attrs[self.name]]
        if self.name not in results.variables:
            return []
        try:
            values = select(results[self.name], self.where).values
        except SettingError:  # no such labels
            return []
        return np.unique(values[np.isfinite(values)]).tolist() if values.dtype.kind in "iuf" else []

    def _concerns(self, setting: Mapping[str, Any]) -> bool:
        return all(name in setting and same_label(setting[name], value) for name, value in self.where.items())

    def _met(self, value: Any) -> bool:
        if self.equals is not None:
            return same_label(value, self.equals)
        low = -np.inf if self.least is None else self.least
        high = np.inf if self.most is None else self.most
        return _is_number(value) and bool(low <= value <= high)

    def _difference(self, broken: list[Any]) -> str:
        numbers = [value for value in broken if _is_number(value)]
        if self.equals is None and len(numbers) == len(broken):
            low = self.least is not None and min(numbers) < self.least
            value = _text(min(numbers) if low else max(numbers))
            if low and self.most is None and self.name.endswith("s"):
                return f"{value} of {_text(self.least)} {words(self.name)}"
            return f"{words(self.name)} {value} instead of {self._rule()}"
        return f"{words(self.name)} {', '.join(map(_text, broken[:3]))} instead of {self._rule()}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _distinct(values: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct


def _text(value: Any) -> str:
    """Write a value of a setting; large whole numbers with commas.

    >>> _text(100000.0), _text(0.001), _text([784, 10]), _text("adam")
    ('100,000', '0.001', '784-10', 'adam')
    """
    if isinstance(value, list | tuple):
        return "-".join(map(_text, value))
    if _is_number(value):
        return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"
    return str(value)
