"""What a measured quantity is: its meaning, its unit, and the values that it can have."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

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
            meaning=str(attributes.get("long_name", str(values.name or "").replace("_", " "))),
            unit=str(attributes.get("units", "")),
            log=attributes.get("scale") == "log",
            limits=(float(attributes.get("valid_min", -inf)), float(attributes.get("valid_max", inf))),
        )
