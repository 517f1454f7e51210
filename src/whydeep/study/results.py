"""From the units of an experiment to one data set with named dimensions, and back from its file."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import xarray as xr

from whydeep.errors import RunError, WhydeepError
from whydeep.runs import RunFolder
from whydeep.study.design import Images, Plan, Scale
from whydeep.study.experiment import Experiment
from whydeep.variables import read_settings

Coordinates = Mapping[str, str | float]

FORMAT = 1
"""Of results: counted up when older ones can no longer be presented."""


def units_digest(seeds: Sequence[int], units: Mapping[str, Mapping[int, str]]) -> str:
    """Return what stands for the units that results are made from.

    Args:
        seeds: all that were asked for.
        units: digest of each setting, in their order -> seed -> checksum of its unit, of those that are there.
    """
    content = [FORMAT, *seeds, *((digest, *sorted(of_setting.items())) for digest, of_setting in units.items())]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def read_results(folder: RunFolder, name: str, experiment: Experiment | None = None) -> xr.Dataset:
    """Read the results of an experiment.

    What results of an earlier version do not say is filled in: meanings of variables, and fields of settings that were
    added later, whose defaults are what was run.

    Raises:
        RunError: there are none, or another version of whydeep wrote them in another way.
    """
    results = folder.read_results(name)
    if results.attrs.get("format") != FORMAT:
        raise RunError(f"{folder.results(name)} was written by another version of whydeep: run it again")
    defaults: dict[str, Any] = {
        "root_seed": 0,
        "changes": "{}",
        "images": "null",
        "dataset_asked_for": "",
        "size_asked_for": 0,
        "preprocessing": "",
        "source": "",
        "unit_digests": "",
    }
    results.attrs = defaults | results.attrs
    if experiment is not None:
        for variable in results.data_vars:
            results[variable].attrs = experiment.variable(str(variable)).attributes | results[variable].attrs
        settings = read_settings(results)
        results.attrs["settings"] = json.dumps([_default_fields(experiment, results) | setting for setting in settings])
    return results


MNIST = Images("MNIST", 784, 10, 60_000, 10_000)


def plan_of_results(
    results: xr.Dataset, experiment: Experiment, scale: Scale, *, changed: bool = True, mnist: bool = False
) -> Plan:
    """Make the plan that an experiment has on the images of some results, with the changes of their run or without.

    Args:
        changed: whether with the changes.
        mnist: whether on MNIST instead.

    Raises:
        SettingError: changes that the experiment no longer takes.
    """
    counts = json.loads(results.attrs["images"])
    images = Images(**counts) if counts and not mnist else MNIST
    given = json.loads(results.attrs["changes"]) if changed else {}
    changes = experiment.design.read(given, scale, experiment.name)
    return Plan(scale, experiment.design.values_at(scale, changes), frozenset(changes), images)


def _default_fields(experiment: Experiment, results: xr.Dataset) -> dict[str, Any]:
    try:
        setting = experiment.make_settings(plan_of_results(results, experiment, "smoke", changed=False))[0]
    except WhydeepError:
        return {}
    return {field.name: field.default for field in fields(setting) if field.default is not MISSING}


def combine(
    parts: Sequence[tuple[Coordinates, xr.Dataset]], seeds: Sequence[int], settings: Sequence[Coordinates] = ()
) -> xr.Dataset:
    """Put settings side by side: every coordinate of a setting becomes a dimension.

    Args:
        parts: coordinates of a setting, and what was measured there [seed, ...].
        settings: coordinates of all settings, in the order in which their labels shall lie; those that have no part
            are not-a-number. Without it, those of the parts.
        seeds: all seeds that were asked for; missing ones, and combinations of coordinates that have no
            part, are not-a-number.
    """
    aligned = [(coordinates, measured.reindex(seed=list(seeds))) for coordinates, measured in parts]
    names = list(parts[0][0])
    combined = _concat(aligned, names)
    every = settings or [coordinates for coordinates, _ in parts]
    labels = {name: _in_order(coordinates[name] for coordinates in every) for name in names}
    combined = combined.reindex(labels)
    for name in combined.data_vars:
        if combined[name].dtype == object:
            raise TypeError(f"{name} is not a number in every unit: measure floats")
    return combined.transpose(*names, "seed", ...)


def _in_order(labels: Iterable[str | float]) -> list[str | float]:
    """Numbers in ascending order, other labels in that of the settings; each once."""
    distinct = list(dict.fromkeys(labels))
    return distinct if any(isinstance(label, str) for label in distinct) else sorted(distinct)


def _concat(parts: Sequence[tuple[Coordinates, xr.Dataset]], names: Sequence[str]) -> xr.Dataset:
    if not names:
        (only,) = parts
        return only[1]
    first, *others = names
    labels = list(dict.fromkeys(coordinates[first] for coordinates, _ in parts))
    pieces = [
        _concat([(coordinates, measured) for coordinates, measured in parts if coordinates[first] == label], others)
        for label in labels
    ]
    return xr.concat(
        pieces,
        dim=xr.DataArray(labels, dims=first, name=first),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="override",
        fill_value=np.nan,
    )
