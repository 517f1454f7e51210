"""What results say of themselves: what a measured quantity is, and of which settings it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

Limits = tuple[float, float]
"""The least and the largest value that a quantity can have."""

UNLIMITED: Limits = (-inf, inf)
SHARE: Limits = (0.0, 1.0)
"""Limits of a share, such as an accuracy."""
CORRELATION: Limits = (-1.0, 1.0)
"""Limits of a correlation."""


@dataclass(frozen=True)
class Variable:
    """A measured quantity, as it stands in the results.

    Attributes:
        meaning: what it is, in words.
        unit: empty where it has none.
        log: whether it varies by factors (losses, norms): its intervals and axes are then logarithmic.
        limits: the least and the largest value that it can have: intervals are cut there.

    >>> accuracy = Variable("share of test images classified right", limits=SHARE)
    >>> accuracy.attributes
    {'long_name': 'share of test images classified right', 'valid_min': 0.0, 'valid_max': 1.0}
    """

    meaning: str
    unit: str = ""
    log: bool = False
    limits: Limits = UNLIMITED

    def __str__(self) -> str:
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning

    @property
    def attributes(self) -> dict[str, str | float]:
        """Its attributes in a netCDF file, named by the CF conventions; `scale` is "log" where it is logarithmic."""
        attributes: dict[str, str | float] = {"long_name": self.meaning}
        if self.unit:
            attributes["units"] = self.unit
        if self.log:
            attributes["scale"] = "log"
        ends = zip(("valid_min", "valid_max"), self.limits, strict=True)
        return attributes | {name: end for name, end in ends if isfinite(end)}

    @classmethod
    def of(cls, values: xr.DataArray) -> Variable:
        """Read a variable from the attributes of its values; what they don't say has its default.

        Its meaning is then its name, with spaces for underscores.
        """
        attributes = values.attrs
        return cls(
            meaning=str(attributes.get("long_name", words(str(values.name or "")))),
            unit=str(attributes.get("units", "")),
            log=attributes.get("scale") == "log",
            limits=(float(attributes.get("valid_min", -inf)), float(attributes.get("valid_max", inf))),
        )


def words(name: str) -> str:
    """Write the name of a field, a variable or a dimension in words."""
    return name.replace("_", " ")


def read_settings(results: xr.Dataset) -> list[dict[str, Any]]:
    """Return the fields of the settings that results are of; none where the results do not say."""
    return json.loads(results.attrs.get("settings", "[]"))
