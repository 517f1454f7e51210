"""What is claimed, and the statistic that tests it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import xarray as xr

from whydeep.claims.intervals import LEVEL, Interval, mean_interval


@dataclass(frozen=True)
class Test:
    """A statistic, and the values of it that agree with the claim.

    Attributes:
        statistic: what is computed, in words.
        measure: from an experiment's results to one number per seed, [seed], or per part and seed: further
            dimensions are parts (networks, functions), and the claim is about every part.
        low, high: the claim says that the statistic lies between them.
        log: whether seeds vary by factors (losses), so that intervals are computed on the logarithm.
    """

    __test__ = False  # not a case for pytest

    statistic: str
    measure: Callable[[xr.Dataset], xr.DataArray]
    low: float = -inf
    high: float = inf
    log: bool = False

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
    """

    id: str
    statement: str
    tests: tuple[Test, ...]
    needs: Mapping[str, tuple[str | float, ...]] = field(default_factory=dict)

    def applies(self, results: xr.Dataset) -> bool:
        """Say whether the results hold what the claim is about: `needs` maps a dimension to labels."""
        return all(set(labels) <= set(results[name].values.tolist()) for name, labels in self.needs.items())


@dataclass(frozen=True)
class Estimate:
    """One part of one test of a claim, estimated over seeds."""

    claim: Claim
    test: Test
    part: str
    interval: Interval


def estimate(claim: Claim, results: xr.Dataset, level: float = LEVEL) -> list[Estimate]:
    """Estimate every part of every test of a claim, with its interval over seeds."""
    return [
        Estimate(claim, test, part, mean_interval(values, log=test.log, level=level))
        for test in claim.tests
        for part, values in _parts(test.measure(results))
    ]


def _parts(measured: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    others = [str(name) for name in measured.dims if name != "seed"]
    if not others:
        return [("", measured)]
    stacked = measured.stack(part=others).transpose("part", "seed")
    names = [part if isinstance(part, tuple) else (part,) for part in stacked["part"].values.tolist()]
    return [(", ".join(map(str, name)), stacked[index]) for index, name in enumerate(names)]
