"""What is claimed, and the statistic that tests it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan
from numbers import Real
from typing import Any

import xarray as xr

from whydeep.claims.needs import Need
from whydeep.claims.selection import Selection
from whydeep.errors import SettingError
from whydeep.variables import UNLIMITED, Limits


def _float(number: Any) -> float:
    """Return a number as a float, not-a-number for what is none or has too many digits."""
    try:
        return float(number) if isinstance(number, Real) else nan
    except OverflowError:
        return nan


@dataclass(frozen=True)
class Test:
    """A statistic, and the values of it that agree with the claim.

    Attributes:
        statistic: what is computed, in words.
        measure: from an experiment's results to one number per seed, [seed], or per part and seed: further
            dimensions are parts (networks, functions), and the claim is about every part. A `Selection` needs no code.
        low, high: the claim says that the statistic lies between them.
        log: whether seeds vary by factors (losses), so that intervals are computed on the logarithm. None: as the
            variable of a selection says; no for differences and for other measures.
        limits: values that the statistic can have, such as 0 and 1 for a share: intervals are cut there. None: those
            of the variable of a selection, what they leave to a difference, and none for other measures.

    Raises:
        SettingError: one of them is of another kind, or no value is ruled out.
    """

    __test__ = False  # not a case for pytest

    statistic: str
    measure: Callable[[xr.Dataset], xr.DataArray]
    low: float = -inf
    high: float = inf
    log: bool | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.statistic, str) or not callable(self.measure):
            raise SettingError(
                f"a test needs a statistic in words and a function that measures it, not {self.statistic!r}, "
                f"{self.measure!r}"
            )
        limits = UNLIMITED if self.limits is None else self.limits
        if not isinstance(limits, tuple | list) or len(limits) != 2 or not limits[0] < limits[1]:
            raise SettingError(
                f"limits are the least and the largest value that a statistic can have, not {self.limits!r}"
            )
        low, high = map(_float, (self.low, self.high))
        if not low < high or (low == -inf and high == inf):
            raise SettingError(
                f"a test accepts values between low and high, low below high and at least one of them finite, not from "
                f"{self.low!r:.40} to {self.high!r:.40}"
            )

    @property
    def rule(self) -> str:
        """The accepted values in words.

        >>> Test("loss", Selection("loss"), high=0.05).rule
        'below 0.05'
        """
        if self.low > -inf and self.high < inf:
            return f"from {self.low:g} to {self.high:g}"
        return f"above {self.low:g}" if self.high == inf else f"below {self.high:g}"

    def scale(self, results: xr.Dataset) -> tuple[bool, Limits]:
        """Return whether intervals are computed on the logarithm, and where they are cut."""
        if isinstance(self.measure, Selection) and None in (self.log, self.limits):
            log, limits = self.measure.scale(results)
        else:
            log, limits = False, UNLIMITED
        return log if self.log is None else self.log, limits if self.limits is None else self.limits


@dataclass(frozen=True)
class Claim:
    """A sentence about an experiment, and the tests that must all come out for it to hold.

    The statistics and their bounds are written down in the experiment's file, before results are seen.

    Attributes:
        id: short, such as C1.
        statement: the sentence.
        tests: each of their parts must hold for the claim to be supported.
        source: who says so.
        reading: what the tests take the sentence to mean, and what they leave open, where that is not plain.
        needs: labels that the results must hold, and conditions on the settings that were run.

    Raises:
        SettingError: one of them is of another kind.
    """

    id: str
    statement: str
    tests: tuple[Test, ...]
    source: str = ""
    reading: str = ""
    needs: tuple[Need, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not isinstance(self.statement, str):
            raise SettingError(f"a claim needs an id and a statement in words, not {self.id!r}, {self.statement!r}")
        if not re.fullmatch(r"[\w.-]{1,60}", self.id, re.ASCII):
            raise SettingError(
                f"a claim is called {self.id[:80]!r}: an id has up to 60 letters, digits, dots, dashes, underscores"
            )
        if not isinstance(self.source, str) or not isinstance(self.reading, str):
            raise SettingError(
                f"source and reading of claim {self.id} are texts, not {self.source!r}, {self.reading!r}"
            )
        for name, kind in (("tests", Test), ("needs", Need)):
            values = getattr(self, name)
            if not isinstance(values, tuple | list) or not all(isinstance(value, kind) for value in values):
                raise SettingError(f"{name} of claim {self.id} are a tuple of {kind.__name__}, not {values!r}")

    def missing(self, results: xr.Dataset) -> str:
        """Name the labels that the claim is about, unless the results hold all of them."""
        if not any(need.lacking(results) for need in self.needs):
            return ""
        return "; ".join(str(need) for need in self.needs if need.labels is not None)

    def select(self, results: xr.Dataset) -> xr.Dataset:
        """Return the results at the labels that the claim needs, in their order: it is not about others."""
        for need in self.needs:
            if need.labels is not None and need.name in results.dims:
                results = results.isel({need.name: need.places(results)})
        return results

    def unmet(self, results: xr.Dataset) -> tuple[str, ...]:
        """Say which labels the results lack, and which conditions their settings do not meet: "5 of 40 epochs"."""
        return tuple(filter(None, (need.unmet(results) for need in self.needs)))
