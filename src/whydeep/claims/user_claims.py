"""A user's claims, from a TOML or a Python file."""

import runpy
from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

from whydeep.claims.claim import Claim, Test
from whydeep.claims.needs import Need
from whydeep.claims.selection import Selection
from whydeep.errors import SettingError, near_names, one_line
from whydeep.toml import read_toml

KEYS = {
    "id": str,
    "experiment": str,
    "statement": str,
    "source": str,
    "reading": str,
    "statistic": str,
    "variable": str,
    "at": dict,
    "minus": dict,
    "low": (int, float),
    "high": (int, float),
    "log": bool,
    "needs": dict,
}
REQUIRED = ("id", "experiment", "statement", "variable")
NEED_KEYS = ("labels", "least", "most", "equals", "where")

UserClaims = list[tuple[str, Claim]]
"""Names of experiments, and a claim about each."""


def read_claims(path: Path, variables: Mapping[str, Collection[str]] | None = None) -> UserClaims:
    """Read claims, each with the name of its experiment.

    `variables` are those of each experiment, so that a wrong name is found before there are results.

    A TOML file holds tables ``[[claims]]``: `id`, `experiment`, `statement` (and `source`, `reading`); `variable`, `at`
    and `minus` as in `Selection`; `low` and `high`, between which the claim says the value lies; `log`, where the
    variable does not say itself whether it varies by factors. Dimensions that are not named are parts, and the claim is
    about each of them. ``[claims.needs]`` says what must have been run: ``epochs = {least = 40}``,
    ``optimizer = "adam"``, ``batch_size = [5, 125]`` (labels), or any other fields of `Need`.

    A Python file defines ``CLAIMS``, a dictionary from the name of an experiment to a list of `Claim`. It is run.

    Raises:
        SettingError: one line that says what is wrong with the file.
    """
    if not path.is_file():
        raise SettingError(f"there is no file of claims at {path}")
    if path.suffix == ".py":
        return _from_python(path)
    if path.suffix == ".toml":
        return _from_toml(path, variables or {})
    raise SettingError(f"claims are read from a .toml or a .py file, not from {path.name}")


def _from_python(path: Path) -> UserClaims:
    try:
        defined = runpy.run_path(str(path)).get("CLAIMS")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's code does, be it sys.exit
        raise SettingError(f"{path}: {one_line(error)}") from None
    if isinstance(defined, Mapping) and all(isinstance(claims, list | tuple) for claims in defined.values()):
        pairs = [(str(experiment), claim) for experiment, claims in defined.items() for claim in claims]
        if all(isinstance(claim, Claim) for _, claim in pairs):
            return [(name, replace(claim, source=claim.source or path.name)) for name, claim in pairs]
    raise SettingError(f"{path} must define CLAIMS, a dictionary from names of experiments to lists of Claim")


def _from_toml(path: Path, variables: Mapping[str, Collection[str]]) -> UserClaims:
    content = read_toml(path)
    tables = content.get("claims")
    if set(content) - {"claims"} or not isinstance(tables, list) or not tables:
        raise SettingError(f"{path} must hold tables [[claims]] and nothing else, at least one")
    claims = []
    for number, table in enumerate(tables, 1):
        source = f"{path.name}, claim {number}"
        try:
            claims.append(_claim(table, source, variables))
        except SettingError as error:
            raise SettingError(f"{source}: {error}") from None
    return claims


def _claim(table: Mapping[str, Any], source: str, variables: Mapping[str, Collection[str]]) -> tuple[str, Claim]:
    _check(table)
    low, high = float(table.get("low", -inf)), float(table.get("high", inf))
    if not low < high or not (isfinite(low) or isfinite(high)):
        raise SettingError("give low, high or both, numbers between which the value lies, low below high")
    selection = Selection(table["variable"], table.get("at", {}), table.get("minus", {}))
    accepted = variables.get(table["experiment"], (selection.variable,))
    if selection.variable not in accepted:
        raise SettingError(
            f"{table['experiment']} has no variable {selection.variable!r}: {near_names(selection.variable, accepted)}"
        )
    test = Test(table.get("statistic", str(selection)), selection, low=low, high=high, log=table.get("log"))
    needs = tuple(_need(name, value) for name, value in table.get("needs", {}).items())
    texts = {"source": table.get("source", source), "reading": table.get("reading", "")}
    return table["experiment"], Claim(table["id"], table["statement"], (test,), **texts, needs=needs)


def _check(table: Mapping[str, Any]) -> None:
    """Raise `SettingError` unless all keys are known, of their kinds, and enough."""
    if not isinstance(table, Mapping):
        raise SettingError(f"{table!r} must be a table [[claims]]")
    for key, value in table.items():
        if isinstance(value, str) and not value.isprintable():
            raise SettingError(f"{key} holds characters that cannot be printed, such as line breaks")
        if key not in KEYS:
            raise SettingError(f"nothing is called {key!r}: {near_names(key, KEYS)}")
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and key != "log"):  # type: ignore[arg-type]
            raise SettingError(f"{key} is {value!r}, and must be {_kind(key)}")
    missing = [key for key in REQUIRED if not table.get(key)]
    if missing:
        raise SettingError(f"lacks {', '.join(missing)}")


def _kind(key: str) -> str:
    if key == "needs":
        return "a table of settings and what each must be"
    return {str: "a text", dict: "a table of labels", bool: "true or false"}.get(KEYS[key], "a number")  # type: ignore[call-overload]


def _need(name: str, value: Any) -> Need:
    if isinstance(value, list):
        return Need(name, labels=tuple(value))
    if not isinstance(value, Mapping):
        return Need(name, equals=value)
    for key in value:
        if key not in NEED_KEYS:
            raise SettingError(f"nothing that {name} needs is called {key!r}: {near_names(key, NEED_KEYS)}")
    return Need(name, **value)
