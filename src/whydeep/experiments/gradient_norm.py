"""E4. Optimization: how the norm of the gradient moves while the loss falls."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as MatplotlibFigure

from whydeep.claims import Claim, Test, format_p, mean_interval
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table, training_seconds
from whydeep.experiments.function_training import draw_points, train
from whydeep.experiments.results import size_and_divergence
from whydeep.instruments import spike_alignment
from whydeep.networks import MLP
from whydeep.population import (
    Adam,
    MeanSquaredError,
    Population,
    Recorder,
    Samples,
    Stream,
    Training,
    gradient_norm,
    gradient_norm_by_layer,
    loss,
)
from whydeep.report import curves
from whydeep.report.style import BLACK, BLUE, VERMILION, draw_band, extremes, frame, new_figure
from whydeep.runs import Context
from whydeep.variables import CORRELATION, Variable

NAME = "gradient-norm"

# ---------------------------------------------------------------------------------------------------------
# Design

WIDTHS = (1, 5, 10, 5, 1)
ITERATIONS = {"smoke": 300, "quick": 3000, "full": 10_000}


@dataclass(frozen=True)
class Setting:
    """One network on one function, with all points at every iteration."""

    function: str
    widths: tuple[int, ...]
    iterations: int
    points: int = 1000
    learning_rate: float = 1e-3

    @property
    def name(self) -> str:
        """The function."""
        return self.function

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"function": self.function}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return training_seconds(self.widths, self.points, self.iterations)


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's one setting."""
    return (Setting("cos", WIDTHS, ITERATIONS[plan.scale]),)


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train one network per seed; before every update, write down the loss and the norm of its gradient."""
    inits = [Stream(context.root_seed, NAME, setting.name, seed, "init") for seed in seeds]
    population = Population.initialise(lambda: MLP(setting.widths), inits, device=context.device)
    training = Training(
        population,
        Samples.each([draw_points(NAME, setting.function, setting.points, seed, context) for seed in seeds]),
        objective=MeanSquaredError(),
        optimizer=Adam(setting.learning_rate),
    )
    recorders = losses, norms, by_layer = [
        Recorder(measured) for measured in (loss, gradient_norm, gradient_norm_by_layer)
    ]
    train(training, setting.iterations, context.progress, recorders)
    measured = {
        "loss": (("seed", "iteration"), losses.values),
        "gradient_norm": (("seed", "iteration"), norms.values),
        "layer_gradient_norm": (("seed", "layer", "iteration"), by_layer.values.transpose(1, 2)),
    }
    return xr.Dataset(
        {name: (dims, values.cpu().numpy()) for name, (dims, values) in measured.items()}
        | {name: ("seed", values) for name, values in size_and_divergence(training).items()},
        coords={
            "seed": list(seeds),
            "iteration": np.arange(setting.iterations),
            "layer": np.arange(1, len(setting.widths)),
        },
    )


VARIABLES = {
    "loss": Variable("MSE on the training points before each iteration"),
    "gradient_norm": Variable("Euclidean norm of the gradient of the loss, all weights and biases"),
    "layer_gradient_norm": Variable("Euclidean norm of the gradient of the loss, one layer's weights and biases"),
    "parameters": Variable("weights and biases"),
    "diverged_at": Variable("first iteration whose loss is not finite; not-a-number if none"),
}

DEFINITIONS = {
    "Gradient norm": "Euclidean norm of the gradient of the mean squared error over all points, at the parameters "
    "before the update of the iteration; all weights and biases together, or those of one layer.",
    "Gradient-norm excess": "logarithm of the gradient norm over its running median of 101 iterations.",
    "Slope change": "absolute second difference, between neighbouring windows of 5 iterations, of the logarithm of the "
    "loss smoothed over 5 iterations.",
    "Alignment": "Spearman's rank correlation of excess and slope change over all iterations, minus its mean over all "
    "circular shifts of one against the other by at least a twentieth of the iterations; p is the share of shifts with "
    "a correlation at least as large.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def _alignment(results: xr.Dataset) -> xr.Dataset:
    """Alignment of each seed, not-a-number where training diverged or a seed is missing."""
    one = results.sel(function="cos", drop=True)
    known = (np.isfinite(one.loss) & np.isfinite(one.gradient_norm) & (one.loss > 0) & (one.gradient_norm > 0)).all(
        "iteration"
    )
    columns = {name: xr.full_like(one.seed, np.nan, dtype=float) for name in ("correlation", "excess", "p")}
    if known.any():
        there = one.sel(seed=one.seed[known])
        found = spike_alignment(
            there.loss.transpose("seed", "iteration").values, there.gradient_norm.transpose("seed", "iteration").values
        )
        for name, column in columns.items():
            column[known.values] = getattr(found, name)
    return xr.Dataset(columns)


CLAIMS = (
    Claim(
        "C11",
        "Spikes of the gradient norm sit where the loss changes its slope.",
        (
            Test(
                "rank correlation of gradient-norm excess and slope change, beyond circular shifts",
                lambda r: _alignment(r).excess,
                low=0,
            ),
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Loss and gradient norm per iteration, and the norm of each layer."""
    n = results.sizes["seed"]
    shown = (
        f"One line per seed, n = {n}; the thick line is the geometric mean with its 95 % interval (t on the "
        "logarithm). Of iterations that lie too close together, a seed's line shows the smallest and the largest value."
    )
    return (
        Figure(
            "figure-09",
            "Figure 9. Loss while a network learns cos",
            f"Mean squared error on the training points per iteration. {shown} Compare the times at which a line bends "
            "with the spikes of figure 10.",
            "Line chart of the training error per iteration, one line per seed.",
            lambda: _draw(results, "loss", "MSE on the training points", BLUE),
        ),
        Figure(
            "figure-10",
            "Figure 10. Gradient norm while a network learns cos",
            f"Euclidean norm of the gradient of the loss per iteration. {shown} Look at the spikes, and whether the "
            "loss of figure 9 changes its slope there.",
            "Line chart of the gradient norm per iteration, one line per seed.",
            lambda: _draw(results, "gradient_norm", "gradient norm", VERMILION),
        ),
    )


def _draw(results: xr.Dataset, variable: str, label: str, colour: str) -> MatplotlibFigure:
    values = results[variable].sel(function="cos").transpose("seed", "iteration").values
    iterations = results.iteration.values
    figure = new_figure()
    axes = figure.subplots()
    shown = [extremes(one, 750) for one in values]
    pairs = [pair for one, kept in zip(values, shown, strict=True) for pair in (iterations[kept], one[kept])]
    lines = axes.plot(*pairs, color=colour, linewidth=0.4, alpha=0.5)
    curves.without_values(lines, "each seed")
    draw_band(axes, iterations, values, label="geometric mean", colour=BLACK, log=True)
    axes.set(yscale="log", xlabel="iteration", ylabel=label, title="y = cos(x)")
    axes.set_xlim(0, len(iterations))
    frame(axes, values, log=True)
    axes.legend()
    return figure


def _number(value: xr.DataArray, form: str) -> str:
    return "-" if np.isnan(value) else format(float(value), form)


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Each seed's alignment, and the norms at the beginning and the end."""
    alignment, one = _alignment(results), results.sel(function="cos")
    rows = tuple(
        (
            str(seed),
            _number(one.loss.sel(seed=seed)[-1], ".3g"),
            _number(one.gradient_norm.sel(seed=seed)[0], ".3g"),
            _number(one.gradient_norm.sel(seed=seed)[-1], ".3g"),
            _number(alignment.correlation.sel(seed=seed), ".3f"),
            _number(alignment.excess.sel(seed=seed), ".3f"),
            format_p(float(alignment.p.sel(seed=seed))),
        )
        for seed in results.seed.values.tolist()
    )
    mean = (
        "mean",
        str(mean_interval(one.loss[:, -1], log=True)),
        str(mean_interval(one.gradient_norm[:, 0], log=True)),
        str(mean_interval(one.gradient_norm[:, -1], log=True)),
        str(mean_interval(alignment.correlation, limits=CORRELATION)),
        str(mean_interval(alignment.excess)),
        "",
    )
    header = ("seed", "final MSE", "first gradient norm", "last gradient norm", "correlation", "beyond shifts", "p")
    n = results.sizes["seed"]
    caption = f"Every seed, and the mean over n = {n} seeds with 95 % interval (losses and norms: geometric)"
    return (Table(caption, header, (*rows, mean)),)


EXPERIMENT = Experiment(
    name=NAME,
    title="E4. Gradient norm",
    question="What does the gradient do when the loss falls, and where it stops falling?",
    uses_images=False,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)
