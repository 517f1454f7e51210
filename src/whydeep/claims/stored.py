"""Claims judged again from their records in claims.json, without the results and without the code that measured."""

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
import xarray as xr

from whydeep.claims.case import Case, Evidence
from whydeep.claims.claim import Claim, Test
from whydeep.claims.estimates import Estimate
from whydeep.errors import RunError, SettingError, one_line
from whydeep.variables import Limits


def stored_case(record: Mapping[str, Any]) -> Case:
    """Return the case that a record of `Judgement.record` is of: `judge` treats it as the original.

    A claim that could not be estimated stays so, for the reason that was given.

    Raises:
        RunError: the record is not complete, or not of the right kinds.
    """
    try:
        claim = Claim(
            record["id"],
            record["statement"],
            tuple(_test(test) for test in record["tests"]),
            record["source"],
            record["reading"],
        )
        evidence = Evidence(
            tuple(_estimate(part) for part in record["parts"]),
            _text(record["problem"]),
            tuple(map(_text, record["unmet"])),
            tuple(map(_text, record["needs"])),
        )
        return Case(_text(record["experiment"]), claim, None, _text(record["decided_by"]), evidence)
    except (KeyError, TypeError, ValueError, AttributeError, SettingError) as error:
        name = record.get("id") if isinstance(record, Mapping) else None
        raise RunError(
            f"the record of claim {name!r} can't be judged again ({one_line(error)}): "
            "judge it on its results, or delete claims.json"
        ) from None


def _estimate(part: Mapping[str, Any]) -> Estimate:
    values, seeds = [float(value) for value in part["values"]], int(part["seeds"])
    if len(values) > seeds or np.isnan(values).any():
        raise ValueError(f"{len(values)} values of {seeds} seeds, each a number")
    if not isinstance(part["log"], bool):
        raise TypeError(f"log is {part['log']!r}")
    return Estimate(_test(part), _text(part["part"]), np.array(values), seeds, part["log"], _range(*part["limits"]))


def _test(record: Mapping[str, Any]) -> Test:
    low, high = _range(record["low"], record["high"])
    return Test(record["statistic"], _unavailable, low, high)


def _range(low: float | None, high: float | None) -> Limits:
    return -inf if low is None else float(low), inf if high is None else float(high)


def _unavailable(results: xr.Dataset) -> xr.DataArray:
    raise SettingError("a stored claim has no measure: give the file that defines it")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
