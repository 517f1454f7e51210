"""The design of an experiment: the values that its settings are made of, at three scales, and what can be set."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import inf, isfinite
from typing import Any, Literal, get_args

from whydeep.errors import SettingError, near_names

Scale = Literal["smoke", "quick", "full"]
SCALES: tuple[Scale, ...] = get_args(Scale)

Value = bool | int | float | str | tuple[int, ...]
"""A value of a field. A tuple of whole numbers, such as the widths of hidden layers, is one value."""


@dataclass(frozen=True)
class Scaled:
    """A value for each scale."""

    smoke: Any
    quick: Any
    full: Any


class Each:
    """Values that the design goes through: one setting, or row of settings, for each.

    >>> Each(5, 25, 125)
    Each(5, 25, 125)
    """

    def __init__(self, *values: Value):
        self.values = values

    def __repr__(self) -> str:
        return f"Each({', '.join(map(repr, self.values))})"


@dataclass(frozen=True)
class Field:
    """A field of a design whose values are limited.

    Attributes:
        default: a value, `Scaled` values, or `Each` of several.
        choices: the values that are accepted; without it all of the default's type.
        least, most: the smallest and the largest number that are accepted. Without `least`, whole numbers are 1 or more
            and others 0 or more, or as small as the default is.

    Raises:
        SettingError: a default of another type.
    """

    default: Any
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float = inf

    def __post_init__(self) -> None:
        for value in (value for scale in SCALES for value in _each(self.at(scale))):
            whole = isinstance(value, tuple) and all(isinstance(part, int) for part in value)
            if not isinstance(value, bool | int | float | str) and not whole:
                raise SettingError(
                    f"{value!r:.80} is no value of a field: use a number, a text, a tuple of whole numbers such as "
                    "widths, or Each(...) of several"
                )

    def at(self, scale: Scale) -> Any:
        """Return the default at a scale."""
        return getattr(self.default, scale) if isinstance(self.default, Scaled) else self.default

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number that are accepted."""
        if self.least is not None:
            return self.least, self.most
        defaults = [self.at(scale) for scale in SCALES]
        values = [value for default in defaults for value in _each(default)]
        numbers = [value for value in values if isinstance(value, int | float)]
        smallest = 1 if all(isinstance(number, int) for number in numbers) else 0
        return min(smallest, *numbers), self.most


class Design(Mapping[str, Field]):
    """The fields of an experiment's design, by name.

    Args:
        refused: field -> why the experiment cannot have it; shown to a user who sets it.
        fields: field -> its default: a value, `Scaled` values, `Each` of several, or a `Field`.

    >>> design = Design(epochs=Scaled(1, 5, 40), batch_size=Each(5, 25), optimizer=Field("adam", ("adam", "sgd")))
    >>> values = design.values_at("quick", design.read({"batch_size": "10,100"}, "quick", "my-study"))
    >>> list(combinations(values))[1]
    {'epochs': 5, 'batch_size': 100, 'optimizer': 'adam'}
    """

    def __init__(self, refused: Mapping[str, str] | None = None, **fields: Any):
        self.refused = dict(refused or {})
        self._fields = {name: value if isinstance(value, Field) else Field(value) for name, value in fields.items()}

    def __getitem__(self, name: str) -> Field:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def values_at(self, scale: Scale, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the value of every field at a scale, with the changes of a user in their place."""
        return {name: field.at(scale) for name, field in self.items()} | dict(changes or {})

    def read(self, given: Mapping[str, Any], scale: Scale, experiment: str) -> dict[str, Any]:
        """Read what a user sets, as text or as values: field -> value, without what is the default at this scale.

        Raises:
            SettingError: one line that names the field, what was given, and what is accepted.
        """
        changes = {}
        for name, value in given.items():
            if name in self.refused:
                raise SettingError(f"{experiment} has no {name}: {self.refused[name]}")
            if name not in self:
                accepted = near_names(name, self) if self else "nothing can be set"
                raise SettingError(f"nothing of {experiment} is called {name!r}: {accepted}")
            default = self[name].at(scale)
            read = _read(f"{experiment}.{name}", value, default, self[name])
            if _plain(read) != _plain(default):
                changes[name] = read
        return changes

    def table(self) -> list[tuple[str, ...]]:
        """Return a row for every field: its name, its default at each scale, and what is accepted."""
        rows = []
        for name, entry in self.items():
            texts = [write_value(entry.at(scale)) for scale in SCALES]
            rows.append((name, *texts, _accepted(entry.at("quick"), entry)))
        return rows


@dataclass(frozen=True)
class Images:
    """What the settings of an experiment need to know of a data set: the size of an image, and numbers of each."""

    name: str
    features: int
    classes: int
    train_images: int
    test_images: int


@dataclass(frozen=True)
class Plan:
    """What the settings of an experiment are made from.

    Attributes:
        scale: smoke (seconds, for tests), quick (minutes) or full (the reference settings).
        values: field of the design -> its value; `Each` for those that the design goes through.
        changed: fields that were set by the user.
        images: the data set; None for an experiment that uses none.
    """

    scale: Scale
    values: Mapping[str, Any] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    images: Images | None = None

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Go through the design: every combination of the values of `Each` field, the last field fastest."""
        return combinations(self.values)


def combinations(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield field -> value for every combination of the fields that are `Each`, the last field fastest."""
    for chosen in product(*map(_each, values.values())):
        yield dict(zip(values, chosen, strict=True))


def write_value(value: Any) -> str:
    """Write a value as a user may give it.

    >>> write_value((20, 30)), write_value(Each(5, 25)), write_value(0.001), write_value(0.0)
    ('20-30', '5,25', '0.001', '0')
    """
    if isinstance(value, Each):
        return ",".join(map(write_value, value.values))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "-".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def split_changes(words: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read words EXPERIMENT.FIELD=VALUE: experiment -> field -> text.

    Raises:
        SettingError: a word of another form, or a field that is set twice.

    >>> split_changes(["batch-size.epochs=10"])
    {'batch-size': {'epochs': '10'}}
    """
    changes: dict[str, dict[str, str]] = {}
    for word in words:
        match = re.fullmatch(r"([^.=\s]+)\.(\w+)=(.*)", word, re.DOTALL)
        if not match:
            raise SettingError(
                f"--set {word!r}: give EXPERIMENT.FIELD=VALUE, such as batch-size.epochs=10; `whydeep list EXPERIMENT` "
                "shows what can be set"
            )
        experiment, name, text = match.groups()
        fields = changes.setdefault(experiment, {})
        if name in fields:
            raise SettingError(f"--set gives {experiment}.{name} twice, {fields[name]} and {text}: give it once")
        fields[name] = text
    return changes


def _each(value: Any) -> tuple[Any, ...]:
    return value.values if isinstance(value, Each) else (value,)


def _plain(value: Any) -> Any:
    """Values that compare as equal where they mean the same."""
    return (Each, *value.values) if isinstance(value, Each) else value


def _read(name: str, given: Any, default: Any, entry: Field) -> Any:
    """Read one field: text from the command line, or a value from a file or from Python."""
    if not isinstance(default, Each):
        if isinstance(given, str) and not isinstance(default, str | tuple) and "," in given:
            raise SettingError(f"{name} is {given!r}: the design goes through one value of it, so give one")
        return _read_value(name, given, default, entry)
    if isinstance(given, Each):
        given = given.values
    values = _split_list(given) if isinstance(given, str) else given if _is_list(given) else [given]
    read = dict.fromkeys(_read_value(name, value, default.values[0], entry) for value in values)
    if not read:
        raise SettingError(f"{name} is an empty list: give at least one value")
    return Each(*read)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _split_list(text: str) -> list[str]:
    """Split at commas that are in no brackets, as expressions such as maximum(x, 0) have commas of their own.

    >>> _split_list("cos, maximum(x, 0)")
    ['cos', 'maximum(x, 0)']
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _read_value(name: str, given: Any, example: Any, entry: Field) -> Any:
    """Read one value of the type that the example has."""
    value: Any = None
    if isinstance(example, bool):
        value = {"true": True, "false": False}.get(str(given).lower())
    elif isinstance(example, int):
        value = _whole_number(given)
    elif isinstance(example, float):
        value = _number(given)
    elif isinstance(example, str):
        value = given.strip() if isinstance(given, str) and given.strip().isprintable() else None
        value = value or None
    elif isinstance(example, tuple):
        value = read_widths(given)
    limited = not isinstance(value, bool) and isinstance(value, int | float)
    low, high = entry.bounds if limited else (-inf, inf)
    outside = limited and not low <= value <= high
    if value is None or (entry.choices and value not in entry.choices) or outside:
        text = given if isinstance(given, str) else json.dumps(given, default=str)
        if entry.choices:
            raise SettingError(f"{name} is {text[:80]!r}: {near_names(str(given), entry.choices)}")
        raise SettingError(f"{name} is {text[:80]!r}, and must be {_accepted(example, entry)}")
    return value


def read_widths(given: Any) -> tuple[int, ...] | None:
    """Read widths, of text such as 20-30 or of a list; None if they are none.

    >>> read_widths("20-30"), read_widths([20, 30]), read_widths("deep")
    ((20, 30), (20, 30), None)
    """
    items = re.split(r"[-,]", given) if isinstance(given, str) else given if _is_list(given) else [given]
    widths = [number for number in map(_whole_number, items) if number is not None and number >= 1]
    return tuple(widths) if widths and len(widths) == len(items) else None


def _whole_number(given: Any) -> int | None:
    number = _number(given)
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**53 else None


def _number(given: Any) -> float | None:
    if isinstance(given, bool) or not isinstance(given, str | int | float) or len(str(given)) > 40:
        return None
    try:
        number = float(given)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _accepted(example: Any, entry: Field) -> str:
    """Say which values are accepted."""
    several = isinstance(example, Each)
    example = example.values[0] if isinstance(example, Each) else example
    if entry.choices:
        kind = f"of {', '.join(entry.choices)}" if several else " or ".join(entry.choices)
    elif isinstance(example, bool):
        kind = "true or false"
    elif isinstance(example, int | float):
        low, high = entry.bounds
        bounds = f"{low:g} or more" if high == inf else f"from {low:g} to {high:g}"
        kind = f"{'a whole number' if isinstance(example, int) else 'a number'}, {bounds}"
    elif isinstance(example, tuple):
        kind = "widths such as 20-30"
    else:
        kind = "text"
    return f"a list, each {kind}" if several else kind
