"""What an experiment is: a question, settings, a measurement, claims and figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import matplotlib.figure
import xarray as xr

from whydeep import runs
from whydeep.claims import Claim
from whydeep.networks import parameter_count
from whydeep.variables import Variable

Scale = Literal["smoke", "quick", "full"]
SCALES: tuple[Scale, ...] = get_args(Scale)


@dataclass(frozen=True)
class Plan:
    """What a run is asked for, as far as it shapes the settings of an experiment.

    Attributes:
        scale: smoke (seconds, for tests), quick (minutes) or full (the reference settings).
        functions: targets of function-fitting, names or expressions of x.
        features, classes: of the images; 0 where no experiment of the run uses any.
        train_images, test_images: how many there are.
    """

    scale: Scale = "quick"
    functions: tuple[str, ...] = ("arcsinh", "cos")
    features: int = 0
    classes: int = 0
    train_images: int = 0
    test_images: int = 0


class Setting(runs.Setting, Protocol):
    """One cell of an experiment's design: a frozen dataclass whose fields determine the numbers."""

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where the setting lies in the results: dimension -> label."""
        ...


@dataclass(frozen=True)
class Table:
    """Numbers behind the figures; the first column names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        name: the file's name without its ending: ``figure-01``, or what it shows.
        title, caption, alt: heading; what to look at, with n; a description for those who cannot see it.
        draw: draws it.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], matplotlib.figure.Figure]


@dataclass(frozen=True)
class Experiment:
    """One experiment; its file reads from top to bottom in this order.

    Attributes:
        name: as on the command line.
        title, question: for the report.
        uses_images: whether it needs a data set of images.
        settings: the design at a scale.
        measure: trains a population, one member per seed, and returns what was measured, with a dimension
            `seed`; the numbers are real (floats), so that a missing unit can be not-a-number.
        variables: what each of them is, by its name in the results.
        definitions: term -> how it is defined here.
        claims: what is claimed about the results.
        figures, tables: made from the combined results of all settings.
        revision: counted up when a change of the code changes the numbers, so that old units are redone.
    """

    name: str
    title: str
    question: str
    uses_images: bool
    settings: Callable[[Plan], tuple[Setting, ...]]
    measure: Callable[[Any, tuple[int, ...], runs.Context], xr.Dataset]
    variables: Mapping[str, Variable]
    definitions: Mapping[str, str]
    claims: tuple[Claim, ...]
    figures: Callable[[xr.Dataset], tuple[Figure, ...]]
    tables: Callable[[xr.Dataset], tuple[Table, ...]]
    revision: int = 1

    def describe(self) -> str:
        """Write the question, the claims and the variables, for the console."""
        lines = [self.title, self.question, "", "Claims:"]
        for claim in self.claims:
            lines.append(f"  {claim.id}  {claim.statement}")
            lines += [f"       {test.statistic}: {test.rule}" for test in claim.tests]
            lines += [f"       ({claim.reading})"] if claim.reading else []
        width = max(map(len, self.variables))
        lines += ["", f"Variables of results/{self.name}.nc:"]
        lines += [f"  {name:<{width}}  {variable}" for name, variable in self.variables.items()]
        lines += ["", "Their dimensions stand in the report of a run, and their labels in its results."]
        return "\n".join(lines)


def training_seconds(widths: Sequence[int], samples: int, steps: float) -> float:
    """Predict the seconds of so many steps of one fully connected network on one core.

    A rough model, for the order of jobs and the time left: overhead, matrix products, activations.
    """
    return steps * (40e-6 + samples * (1.0e-10 * parameter_count(widths) + 3.5e-10 * sum(widths[1:])))
