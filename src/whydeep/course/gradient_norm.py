"""E4. Optimization: how the norm of the gradient and the loss move together."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr

from whydeep.claims import Test, format_p
from whydeep.course import function_training as functions
from whydeep.course.optimization import size_and_divergence, training_design, training_seconds
from whydeep.course.text import course_experiment, derived, reported
from whydeep.instruments import spike_alignment
from whydeep.instruments.spikes import BASELINE
from whydeep.population import Recorder, Samples, gradient_norm, gradient_norm_by_layer, loss
from whydeep.report.charts import Column, Curve, Lines, Panel, Rows
from whydeep.report.style import BLUE, VERMILION
from whydeep.study import Field, Run, Scaled, dimension
from whydeep.variables import CORRELATION, Variable, words

DESIGN = training_design(
    function="cos",
    hidden=(5, 10, 5),
    iterations=Field(Scaled(300, 3000, 10_000), least=BASELINE),  # shorter series have no alignment
    points=Field(1000, least=2),
)


@dataclass(frozen=True, kw_only=True)
class Setting(functions.FunctionSetting):
    """One network on one function, with all points at every iteration."""

    function: str = dimension()
    iterations: int
    points: int = 1000
    kept: ClassVar[int] = 8

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return training_seconds(self.widths, self.points, self.iterations)


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed; before every update, write down the loss and the norm of its gradient."""
    samples = Samples.each(functions.training_points(setting, run))
    training = functions.start_training(setting, run, samples, run.streams("init"), setting.iterations)
    losses, norms, by_layer = recorders = list(map(Recorder, (loss, gradient_norm, gradient_norm_by_layer)))
    functions.train(training, setting.iterations, run, recorders)
    return run.dataset(
        {
            "loss": ("iteration", losses.values),
            "gradient_norm": ("iteration", norms.values),
            "layer_gradient_norm": (("layer", "iteration"), by_layer.values.transpose(1, 2)),
            **size_and_divergence(training),
        },
        iteration=np.arange(setting.iterations),
        layer=np.arange(1, len(setting.widths)),
    )


VARIABLES = functions.VARIABLES | {
    "gradient_norm": Variable("Euclidean norm of the gradient of the loss, all weights and biases", log=True),
    "layer_gradient_norm": Variable("norm of the gradient of the loss, one layer's weights and biases", log=True),
}


def _alignment(results: xr.Dataset) -> xr.Dataset:
    """Alignment of each seed, not-a-number where training diverged, reached zero, or is missing."""
    series = results[["loss", "gradient_norm"]].isel(function=0, drop=True).transpose("seed", "iteration")
    positive = (np.isfinite(series) & (series > 0)).to_dataarray().all(("variable", "iteration")).values
    columns = {name: np.full(len(positive), np.nan) for name in ("correlation", "excess", "p")}
    if positive.any():
        alignment = spike_alignment(series.loss.values[positive], series.gradient_norm.values[positive])
        for name, values in columns.items():
            values[positive] = getattr(alignment, name)
    return xr.Dataset({name: ("seed", values) for name, values in columns.items()}, {"seed": results.seed})


CLAIMS = (
    reported(
        "C11. Spikes of the gradient norm sit where the loss changes its slope.",
        Test("rank correlation of norm excess and slope change, beyond shifts", derived(_alignment, "excess"), low=0),
        needs=functions.trained_for(hidden=(5, 10, 5), iterations=3000, points=1000),
    ),
)


def _every_iteration(number: int, variable: str, y_label: str, colour: str, look: str) -> Lines:
    title = words(variable).capitalize()
    return Lines(
        f"figure-{number:02}",
        f"Figure {number}. {title} while a network learns {{function}}",
        shows=VARIABLES[variable].meaning,
        look=f"Look at {look}, and compare figures 9 and 10: whether the two change at the same times.",
        x="iteration",
        seeds="lines",
        panels=Panel((Curve(variable, "geometric mean", colour=colour),), "{function}", y_label),
    )


def _ends_and_alignment(results: xr.Dataset) -> xr.Dataset:
    learned = results.isel(function=0, drop=True)
    first, last = (learned.isel(iteration=place, drop=True) for place in (0, -1))
    norms = {"first_gradient_norm": first.gradient_norm, "last_gradient_norm": last.gradient_norm}
    return _alignment(results).assign(final_loss=last.loss, **norms)


def _p(row: xr.Dataset) -> str:
    return format_p(row.p.item()) if row.sizes["seed"] == 1 else ""


EXPERIMENT = course_experiment(
    "gradient-norm",
    "How does the norm of the gradient move while the loss changes, and is it large where the loss bends?",
    Setting.from_plan,
    measure,
    design=DESIGN,
    title="E4. Gradient norm",
    variables=VARIABLES,
    terms="MSE, Gradient norm, Gradient-norm excess, Slope change, Alignment",
    claims=CLAIMS,
    figures=(
        _every_iteration(9, "loss", "MSE on the training points", BLUE, "whether and when a line bends"),
        _every_iteration(10, "gradient_norm", "gradient norm", VERMILION, "whether there are spikes"),
    ),
    tables=(
        Rows(
            "Every seed, and all together",
            "seed",
            (
                Column("final MSE", "final_loss"),
                *("first_gradient_norm", "last_gradient_norm"),
                Column("correlation", "correlation", limits=CORRELATION),
                Column("beyond shifts", "excess"),
                Column("p", _p),
            ),
            select=_ends_and_alignment,
        ),
    ),
)
