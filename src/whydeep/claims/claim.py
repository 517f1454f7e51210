"""What is claimed, and the statistic that tests it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import xarray as xr

from whydeep.claims.intervals import LEVEL, Interval, mean_interval
from whydeep.errors import SettingError


@dataclass(frozen=True)
class Test:
    """A statistic, and the values of it that agree with the claim.

    Attributes:
        statistic: what is computed, in words.
        measure: from an experiment's results to one number per seed, [seed], or per part and seed: further
            dimensions are parts (networks, functions), and the claim is about every part.
        low, high: the claim says that the statistic lies between them.
        log: whether seeds vary by factors (losses), so that intervals are computed on the logarithm.
        limits: values that the statistic can have, such as 0 and 1 for a share: intervals are cut there.
    """

    __test__ = False  # not a case for pytest

    statistic: str
    measure: Callable[[xr.Dataset], xr.DataArray]
    low: float = -inf
    high: float = inf
    log: bool = False
    limits: tuple[float, float] = (-inf, inf)

    def __post_init__(self) -> None:
        if not isinstance(self.statistic, str) or not callable(self.measure):
            raise SettingError(
                f"a test needs a statistic in words and a function that measures it, not {self.statistic!r}, "
                f"{self.measure!r}"
            )
        if not isinstance(self.limits, tuple | list) or len(self.limits) != 2 or not self.limits[0] < self.limits[1]:
            raise SettingError(
                f"limits are the least and the largest value that a statistic can have, not {self.limits!r}"
            )
        if not self.low < self.high or (self.low == -inf and self.high == inf):
            raise SettingError(
                f"a test accepts values between low and high, low below high and at least one of them finite, not from "
                f"{self.low} to {self.high}"
            )

    @property
    def rule(self) -> str:
        """The accepted values in words.

        >>> Test("loss", lambda results: results.loss, high=0.05).rule
        'below 0.05'
        """
        if self.low > -inf and self.high < inf:
            return f"from {self.low:g} to {self.high:g}"
        return f"above {self.low:g}" if self.high == inf else f"below {self.high:g}"


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
        needs: dimension -> labels that the results must hold; without them the claim is about something else.
    """

    id: str
    statement: str
    tests: tuple[Test, ...]
    source: str = ""
    reading: str = ""
    needs: Mapping[str, tuple[str | float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not isinstance(self.statement, str):
            raise SettingError(f"a claim needs an id and a statement in words, not {self.id!r}, {self.statement!r}")
        if not isinstance(self.source, str) or not isinstance(self.reading, str):
            raise SettingError(
                f"source and reading of claim {self.id} are texts, not {self.source!r}, {self.reading!r}"
            )
        if not isinstance(self.tests, tuple | list) or not all(isinstance(test, Test) for test in self.tests):
            raise SettingError(f"claim {self.id} needs a tuple of Test, not {self.tests!r}")
        needs = self.needs.values() if isinstance(self.needs, Mapping) else [None]
        if not all(isinstance(labels, tuple | list) for labels in needs):
            raise SettingError(
                f"needs of claim {self.id} are a dictionary from dimensions to tuples of labels, not {self.needs!r}"
            )

    def applies(self, results: xr.Dataset) -> bool:
        """Say whether the results hold what the claim is about."""
        return all(
            name in results.coords and set(labels) <= set(results[name].values.tolist())
            for name, labels in self.needs.items()
        )


@dataclass(frozen=True)
class Estimate:
    """One part of one test of a claim, estimated over seeds.

    `values` are those of the seeds that have one, of `seeds` in all; the others, not-a-number, are missing. That of a
    seed whose training diverged is infinite, so that it does not vanish.
    """

    claim: Claim
    test: Test
    part: str
    interval: Interval
    values: np.ndarray
    seeds: int

    @property
    def name(self) -> str:
        """The statistic, and the part of it."""
        return f"{self.test.statistic}; {self.part}" if self.part else self.test.statistic


def estimate(claim: Claim, results: xr.Dataset, level: float = LEVEL) -> list[Estimate]:
    """Estimate every part of every test of a claim, with its interval over seeds.

    Where the results have a variable `diverged_at` (not-a-number where training did not diverge), a seed without a
    value in which it is known counts as diverged.
    """
    found = []
    for test in claim.tests:
        measured = test.measure(results)
        _check_seeds(claim, test, measured, results)
        diverged = _diverged(results, measured)
        for part, given in _parts(measured):
            every = np.asarray(given, dtype=float)
            every = np.where(np.isnan(every) & diverged, inf, every)
            values = every[~np.isnan(every)]
            interval = mean_interval(values, log=test.log, level=level, limits=test.limits)
            found.append(Estimate(claim, test, part, interval, values, len(every)))
    return found


def _check_seeds(claim: Claim, test: Test, measured: xr.DataArray, results: xr.Dataset) -> None:
    """Raise `SettingError` unless a statistic has the seeds of the results, or some of them by their labels."""
    if "seed" in measured.coords and "seed" in results.coords:
        fits = set(measured.seed.values.tolist()) <= set(results.seed.values.tolist())
    else:
        fits = measured.sizes["seed"] == results.sizes.get("seed", measured.sizes["seed"])
    if not fits:
        raise SettingError(
            f"claim {claim.id}: {test.statistic} is of {measured.sizes['seed']} seeds that cannot be matched with "
            "those of the results: keep the coordinate seed, and give not-a-number where a seed has no value"
        )


def _diverged(results: xr.Dataset, measured: xr.DataArray) -> np.ndarray:
    """Whether any training of each seed diverged [seed]."""
    if "diverged_at" not in results:
        return np.zeros(measured.sizes["seed"], dtype=bool)
    known = results.diverged_at.notnull()
    diverged = known.any([name for name in known.dims if name != "seed"])
    return (diverged.sel(seed=measured.seed) if "seed" in measured.coords else diverged).values


def _parts(measured: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    others = [str(name) for name in measured.dims if name != "seed"]
    if not others:
        return [("", measured)]
    ordered = measured.transpose(*others, "seed")
    labels = [[_label(name, value) for value in ordered[name].values] for name in others]
    return [
        (", ".join(names[place] for names, place in zip(labels, places, strict=True)), ordered[places])
        for places in np.ndindex(*ordered.shape[:-1])
    ]


def _label(dim: str, value: Any) -> str:
    """Name a part by its label, and by the dimension as well where the label is a number."""
    written = f"{value:g}" if isinstance(value, np.floating) else str(value)
    return f"{dim.replace('_', ' ')} {written}" if isinstance(value, np.number) else written
