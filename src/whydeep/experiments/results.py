"""From the units of an experiment to one data set with named dimensions."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from whydeep.population import Training

Coordinates = Mapping[str, str | float]


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
    aligned = [(coordinates, one.reindex(seed=list(seeds))) for coordinates, one in parts]
    names = list(parts[0][0])
    combined = _concat(aligned, names)
    every = settings or [coordinates for coordinates, _ in parts]
    labels = {name: list(dict.fromkeys(coordinates[name] for coordinates in every)) for name in names}
    combined = combined.reindex(labels)
    for name in combined.data_vars:
        if combined[name].dtype == object:
            raise TypeError(f"{name} is not a number in every unit: measure floats")
    return combined.transpose(*names, "seed", ...)


def count_text(counts: xr.DataArray) -> str:
    """Write a number that all seeds share, such as that of parameters; a dash where no seed is there.

    >>> count_text(xr.DataArray([8175.0, float("nan")])), count_text(xr.DataArray([float("nan")]))
    ('8,175', '-')
    """
    known = counts.values[np.isfinite(counts.values)]
    return f"{int(known.max()):,}" if known.size else "-"


def size_and_divergence(training: Training) -> dict[str, np.ndarray]:
    """Number of parameters, and first step whose loss is not finite (not-a-number if none), [member] each."""
    steps = training.diverged_at.cpu().numpy()
    return {
        "parameters": np.full(len(steps), float(training.population.size)),
        "diverged_at": np.where(steps < 0, np.nan, steps),
    }


def _concat(parts: Sequence[tuple[Coordinates, xr.Dataset]], names: Sequence[str]) -> xr.Dataset:
    if not names:
        (only,) = parts
        return only[1]
    first, *others = names
    labels = list(dict.fromkeys(coordinates[first] for coordinates, _ in parts))
    pieces = [
        _concat([(coordinates, one) for coordinates, one in parts if coordinates[first] == label], others)
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
