"""A user's own claims, from a TOML or a Python file."""

import runpy
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from math import inf, isclose, isfinite
from pathlib import Path
from typing import Any

import xarray as xr

from whydeep.claims.claim import Claim, Test
from whydeep.errors import SettingError, near_names

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
}
REQUIRED = ("id", "experiment", "statement", "variable")
PLACES = {"first": 0, "last": -1}

OwnClaims = list[tuple[str, Claim]]


def read_claims(path: Path, variables: Mapping[str, Collection[str]] | None = None) -> OwnClaims:
    """Read claims, each with the name of its experiment.

    `variables` are those of each experiment, so that a wrong name is found before there are results.

    A TOML file holds tables ``[[claims]]``: `id`, `experiment`, `statement` (and `source`, `reading`); `variable` of
    the results, `at` (labels of dimensions; "first" or "last" for a place), `minus` (labels that differ in what is
    subtracted); `low` and `high`, between which the claim says the value lies; `log` for quantities that vary by
    factors. Dimensions that are not named are parts, and the claim is about each of them.

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


def _from_python(path: Path) -> OwnClaims:
    try:
        defined = runpy.run_path(str(path)).get("CLAIMS")
    except (Exception, SystemExit) as error:  # whatever the user's code does
        raise SettingError(f"{path}: {one_line(error)}") from None
    if isinstance(defined, Mapping) and all(isinstance(claims, list | tuple) for claims in defined.values()):
        pairs = [(str(experiment), claim) for experiment, claims in defined.items() for claim in claims]
        if all(isinstance(claim, Claim) for _, claim in pairs):
            return [(name, replace(claim, source=claim.source or path.name)) for name, claim in pairs]
    raise SettingError(f"{path} must define CLAIMS, a dictionary from names of experiments to lists of Claim")


def one_line(error: BaseException) -> str:
    """Write an error's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _from_toml(path: Path, variables: Mapping[str, Collection[str]]) -> OwnClaims:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not TOML: {error}") from None
    tables = content.get("claims")
    if set(content) - {"claims"} or not isinstance(tables, list) or not tables:
        raise SettingError(f"{path} must hold tables [[claims]] and nothing else, at least one")
    return [_claim(f"{path.name}, claim {number}", table, variables) for number, table in enumerate(tables, 1)]


def _claim(where: str, table: Mapping[str, Any], variables: Mapping[str, Collection[str]]) -> tuple[str, Claim]:
    if not isinstance(table, Mapping):
        raise SettingError(f"{where} is {table!r}, and must be a table [[claims]]")
    for key, value in table.items():
        if isinstance(value, str) and not value.isprintable():
            raise SettingError(f"{where}: {key} holds characters that cannot be printed, such as line breaks")
        if key not in KEYS:
            raise SettingError(f"{where}: nothing is called {key!r}: {near_names(key, KEYS)}")
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and key != "log"):  # type: ignore[arg-type]
            raise SettingError(f"{where}: {key} is {value!r}, and must be {_kind(key)}")
    missing = [key for key in REQUIRED if not table.get(key)]
    if missing:
        raise SettingError(f"{where}: lacks {', '.join(missing)}")
    low, high = float(table.get("low", -inf)), float(table.get("high", inf))
    if not low < high or not (isfinite(low) or isfinite(high)):
        raise SettingError(f"{where}: give low, high or both, numbers between which the value lies, low below high")
    variable, at, minus = table["variable"], table.get("at", {}), table.get("minus", {})
    known = variables.get(table["experiment"], (variable,))
    if variable not in known:
        raise SettingError(
            f"{where}: {table['experiment']} has no variable {variable!r}: {near_names(variable, known)}"
        )
    unnamed = [dim for dim in minus if dim not in at]
    if unnamed:
        named = ", ".join(at) or "no dimension"
        raise SettingError(f"{where}: minus names {unnamed[0]!r}, which at must name as well, and at names {named}")
    words = f"{variable} at {_labels(at)}" if at else variable
    statistic = table.get("statistic", f"{words}, minus {_labels(minus)}" if minus else words)
    test = Test(statistic, _measure(table["id"], variable, at, minus), low=low, high=high, log=table.get("log", False))
    texts = {"source": table.get("source", where), "reading": table.get("reading", "")}
    return table["experiment"], Claim(table["id"], table["statement"], (test,), **texts)


def _kind(key: str) -> str:
    return {str: "a text", dict: "a table of labels", bool: "true or false"}.get(KEYS[key], "a number")  # type: ignore[call-overload]


def _labels(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{dim} {label}" for dim, label in labels.items())


def _measure(
    claim: str, variable: str, at: Mapping[str, Any], minus: Mapping[str, Any]
) -> Callable[[xr.Dataset], xr.DataArray]:
    def measure(results: xr.Dataset) -> xr.DataArray:
        names = [str(name) for name in results.data_vars if "seed" in results[name].dims]
        if variable not in names:
            raise SettingError(f"claim {claim}: the results have no {variable!r}: {near_names(variable, names)}")
        chosen = _select(claim, results[variable], at)
        if minus:
            other = _select(claim, results[variable], {**at, **minus})
            if any(not chosen[dim].equals(other[dim]) for dim in set(chosen.dims) & set(other.dims)):
                raise SettingError(f"claim {claim}: minus must name one label of a dimension, not several")
            chosen = chosen - other
        if chosen.size == 0:
            raise SettingError(f"claim {claim}: {variable} at {_labels(at)} holds no value")
        return chosen

    return measure


def _select(claim: str, values: xr.DataArray, labels: Mapping[str, Any]) -> xr.DataArray:
    for dim, label in labels.items():
        if dim not in values.dims or dim == "seed":
            accepted = [str(name) for name in values.dims if name != "seed"]
            raise SettingError(f"claim {claim}: {values.name} has no dimension {dim!r}: {near_names(dim, accepted)}")
        if isinstance(label, str) and label in PLACES:
            values = values.isel({dim: PLACES[label]}, drop=True)
            continue
        places = [_place(claim, values[dim], one) for one in (label if isinstance(label, list) else [label])]
        values = values.isel({dim: places if isinstance(label, list) else places[0]}, drop=True)
    return values


def _place(claim: str, labels: xr.DataArray, wanted: Any) -> int:
    """Say where a label is; numbers need to be right to six digits, as those in single precision are."""
    there = labels.values.tolist()
    for place, label in enumerate(there):
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (label, wanted))
        if label == wanted or (numbers and isclose(label, wanted, rel_tol=1e-6)):
            return place
    raise SettingError(
        f"claim {claim}: {labels.name} has no label {wanted!r}: {near_names(str(wanted), map(str, there))}"
    )
