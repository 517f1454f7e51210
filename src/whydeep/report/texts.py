"""How numbers and settings are written in figures and tables."""

import json
from typing import Any

import numpy as np
import xarray as xr


def facts(results: xr.Dataset) -> dict[str, str]:
    """What titles and captions can name in curly brackets: n, the data set, and settings that all settings share.

    The number of labels of a dimension is `number_of_DIMENSION`.
    """
    settings = json.loads(results.attrs.get("settings", "[]"))
    shared = {
        name: write_number(value)
        for name, value in (settings[0].items() if settings else ())
        if all(setting.get(name) == value for setting in settings)
    }
    numbers = {f"number_of_{name}": str(size) for name, size in results.sizes.items()}
    return shared | numbers | {"n": str(results.sizes["seed"]), "dataset": results.attrs.get("dataset", "")}


def write_number(value: Any) -> str:
    """Write a label or a setting: whole numbers with commas, lists such as widths with dashes.

    >>> write_number(60000), write_number([784, 30, 10]), write_number(0.5), write_number("relu")
    ('60,000', '784-30-10', '0.5', 'relu')
    """
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    if isinstance(value, float) and not value.is_integer():
        return f"{value:g}"
    return f"{int(value):,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def count_text(counts: xr.DataArray) -> str:
    """Write a number that all seeds share, such as that of parameters; a dash where no seed has a value.

    >>> count_text(xr.DataArray([8175.0, float("nan")])), count_text(xr.DataArray([float("nan")]))
    ('8,175', '-')
    """
    values = counts.values[np.isfinite(counts.values)]
    return f"{int(values.max()):,}" if values.size else "-"
