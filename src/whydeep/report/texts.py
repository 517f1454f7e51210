"""How numbers and settings are written in figures and tables."""

from typing import Any

import numpy as np
import xarray as xr

from whydeep.errors import SettingError, near_names
from whydeep.variables import read_settings


def facts(results: xr.Dataset) -> dict[str, str]:
    """What titles and captions can name in curly brackets: n, the data set, and settings that all settings share.

    The number of labels of a dimension is `number_of_DIMENSION`.
    """
    settings = read_settings(results)
    shared = {
        name: write_number(value)
        for name, value in (settings[0].items() if settings else ())
        if all(setting.get(name) == value for setting in settings)
    }
    numbers = {f"number_of_{name}": str(size) for name, size in results.sizes.items()}
    return shared | numbers | {"n": str(results.sizes["seed"]), "dataset": results.attrs.get("dataset", "")}


def setting_fields(results: xr.Dataset) -> set[str]:
    """Return the names of the fields of the settings."""
    return {name for setting in read_settings(results) for name in setting}


def fill_in(text: str, results: xr.Dataset) -> str:
    """Put `facts` in the place of their names in curly brackets.

    Raises:
        SettingError: a name of no fact.
    """
    named = facts(results)
    try:
        return text.format_map(named)
    except KeyError as error:
        name = str(error.args[0])
        raise SettingError(f"no fact is called {name!r}, in {text!r}: {near_names(name, named)}") from None


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
    """Write a number that all seeds share, such as that of parameters; its range where they differ, a dash without any.

    >>> count_text(xr.DataArray([8175.0, float("nan")])), count_text(xr.DataArray([float("nan")]))
    ('8,175', '-')
    >>> count_text(xr.DataArray([3.0, 9.7]))
    '3 to 9.7'
    """
    values = counts.values[np.isfinite(counts.values)].astype(float)
    if not values.size:
        return "-"
    least, most = write_number(float(values.min())), write_number(float(values.max()))
    return least if least == most else f"{least} to {most}"
