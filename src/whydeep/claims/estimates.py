"""The statistics of a claim, estimated over seeds."""

from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
import xarray as xr

from whydeep.claims.claim import Claim, Test
from whydeep.claims.intervals import LEVEL, Interval, mean_interval
from whydeep.errors import SettingError, WhydeepError, one_line
from whydeep.variables import UNLIMITED, Limits, words


@dataclass(frozen=True)
class Estimate:
    """One part of one test of a claim, estimated over seeds.

    Attributes:
        test, part: whose statistic it is, and of what (a network, a function); an empty text where there are no parts.
        values: of the seeds that have one, [seed]. That of a seed whose training diverged is infinite, so that it does
            not vanish.
        seeds: how many there are in all; the values of the others are missing.
        log, limits: whether the interval is computed on the logarithm, and where it is cut.
        level: of the interval.
    """

    test: Test
    part: str
    values: np.ndarray
    seeds: int
    log: bool = False
    limits: Limits = UNLIMITED
    level: float = LEVEL

    @property
    def name(self) -> str:
        """The statistic, and the part of it."""
        return f"{self.test.statistic}; {self.part}" if self.part else self.test.statistic

    @cached_property
    def interval(self) -> Interval:
        """The mean with its interval over seeds."""
        return mean_interval(self.values, log=self.log, level=self.level, limits=self.limits)

    @property
    def equal(self) -> bool:
        """Whether the value is the same in all seeds."""
        return bool((self.values == self.values[:1]).all())

    @property
    def agreeing(self) -> float:
        """Share of the seeds whose own value is accepted; not-a-number without any."""
        inside = (self.test.low < self.values) & (self.values < self.test.high)
        return float(np.mean(inside)) if len(self.values) else np.nan


def estimate(claim: Claim, results: xr.Dataset, level: float = LEVEL) -> list[Estimate]:
    """Estimate every part of every test of a claim, with its interval over seeds.

    Where the results have a variable `diverged_at` (not-a-number where training did not diverge), a seed without a
    value in which it is known counts as diverged.

    Raises:
        SettingError: a statistic cannot be computed; the message names the claim.
    """
    estimates = []
    for test in claim.tests:
        try:
            measured = _measure(test, results)
            log, limits = test.scale(results)
        except WhydeepError as error:
            raise SettingError(f"claim {claim.id}: {error}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the code of a measure does, be it sys.exit
            raise SettingError(f"claim {claim.id}: {one_line(error)}") from error
        diverged = _diverged(results, measured)
        for part, given in _parts(measured):
            _check_limits(test, part, given, limits)
            every = np.where(np.isnan(given) & diverged, inf, given)
            estimates.append(Estimate(test, part, every[~np.isnan(every)], len(every), log, limits, level))
    return estimates


def _check_limits(test: Test, part: str, values: np.ndarray, limits: Limits) -> None:
    """Raise `SettingError` if a statistic lies outside its limits by more than rounding."""
    finite = values[np.isfinite(values)]
    outside = finite[~np.isclose(finite, np.clip(finite, *limits), rtol=1e-5, atol=1e-9)]
    if len(outside):
        raise SettingError(
            f"{test.statistic}{f'; {part}' if part else ''} is {outside[0]:g}, and its limits are {limits[0]:g} and "
            f"{limits[1]:g}: mend the limits of the variable or of the test"
        )


def _measure(test: Test, results: xr.Dataset) -> xr.DataArray:
    """Compute a statistic, [..., seed], with the seeds of the results, or some of them by their labels."""
    measured = test.measure(results.copy())  # what it assigns is not there for the next
    if not isinstance(measured, xr.DataArray) or "seed" not in measured.dims:
        raise SettingError("its measure must return a DataArray with a dimension seed")
    if "seed" in measured.coords and "seed" in results.coords:
        seeds = measured.seed.values.tolist()
        fits = len({*seeds}) == len(seeds) and {*seeds} <= {*results.seed.values.tolist()}
    else:
        fits = measured.sizes["seed"] == results.sizes.get("seed", measured.sizes["seed"])
    if not fits:
        raise SettingError(
            f"{test.statistic} is of {measured.sizes['seed']} seeds that cannot be matched with those of the results: "
            "keep the coordinate seed, and give not-a-number where a seed has no value"
        )
    if measured.dtype.kind not in "biuf":
        raise SettingError(f"{test.statistic} is of type {measured.dtype}: its measure must return real numbers")
    return measured.astype(float)


def _diverged(results: xr.Dataset, measured: xr.DataArray) -> np.ndarray:
    """Whether any training of each seed diverged [seed]."""
    if "diverged_at" not in results:
        return np.zeros(measured.sizes["seed"], dtype=bool)
    divergences = results.diverged_at.notnull()
    diverged = divergences.any([name for name in divergences.dims if name != "seed"])
    return (diverged.sel(seed=measured.seed) if "seed" in measured.coords else diverged).values


def _parts(measured: xr.DataArray) -> list[tuple[str, np.ndarray]]:
    """Each part's name and values [seed]."""
    others = [str(name) for name in measured.dims if name != "seed"]
    if not others:
        return [("", measured.values)]
    ordered = measured.transpose(*others, "seed")
    labels = [[_label(name, value) for value in ordered[name].values] for name in others]
    return [
        (", ".join(names[place] for names, place in zip(labels, places, strict=True)), ordered.values[places])
        for places in np.ndindex(*ordered.shape[:-1])
    ]


def _label(dim: str, value: Any) -> str:
    """Name a part by its label, and by the dimension as well where the label is a number."""
    written = f"{value:g}" if isinstance(value, np.floating) else str(value)
    return f"{words(dim)} {written}" if isinstance(value, np.number) else written
