"""What is judged: a claim, and the evidence that results give."""

from dataclasses import dataclass, field, replace

import xarray as xr

from whydeep.claims.claim import Claim
from whydeep.claims.estimates import Estimate, estimate
from whydeep.claims.intervals import LEVEL
from whydeep.errors import SettingError


@dataclass(frozen=True)
class Evidence:
    """What a claim is judged by.

    Attributes:
        estimates: of every part of every test.
        problem: why nothing could be estimated; empty where it could.
        unmet: conditions of the claim that the settings that were run do not meet.
        needs: all of its conditions and labels, in words.
    """

    estimates: tuple[Estimate, ...] = ()
    problem: str = ""
    unmet: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A claim, the experiment that it is about, and its results; without results it was not run.

    Attributes:
        decided_by: the command that would decide it, for a claim whose conditions are not met.
        stored: evidence that was kept, which then counts in place of results.
    """

    experiment: str
    claim: Claim
    results: xr.Dataset | None = field(repr=False)
    decided_by: str = ""
    stored: Evidence | None = field(default=None, repr=False)

    @property
    def was_run(self) -> bool:
        """Whether its experiment has results, or had when its evidence was kept."""
        return self.results is not None or self.stored is not None

    def evidence(self, level: float = LEVEL) -> Evidence:
        """Estimate what the claim is judged by.

        Raises:
            SettingError: a statistic cannot be computed, though all conditions are met.
        """
        if self.stored is not None:
            return replace(
                self.stored, estimates=tuple(replace(estimate, level=level) for estimate in self.stored.estimates)
            )
        nothing = Evidence(needs=tuple(map(str, self.claim.needs)))
        if self.results is None:
            return replace(nothing, problem=f"{self.experiment} was not run")
        missing, unmet = self.claim.missing(self.results), self.claim.unmet(self.results)
        if missing:
            return replace(nothing, problem=f"it is about {missing}", unmet=unmet)
        try:
            estimates = tuple(estimate(self.claim, self.claim.select(self.results), level))
            return replace(nothing, estimates=estimates, unmet=unmet)
        except SettingError as error:
            if not unmet:
                raise
            problem = str(error).removeprefix(f"claim {self.claim.id}: ")
            return replace(nothing, problem=problem, unmet=unmet)
