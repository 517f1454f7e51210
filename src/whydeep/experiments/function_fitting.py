"""E1. Deep against shallow: fitting functions of one variable with the same number of parameters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure as MatplotlibFigure

from whydeep.claims import Claim, Need, Test, mean_interval
from whydeep.data import sample, target_function
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table, training_seconds
from whydeep.experiments.results import count_text, size_and_divergence
from whydeep.networks import MLP, widths_for_budget
from whydeep.population import (
    Adam,
    MeanSquaredError,
    Population,
    Recorder,
    Samples,
    Stream,
    Training,
    loss,
    predictions,
)
from whydeep.report.curves import Pixels
from whydeep.report.style import BLACK, GREY, NETWORK_COLOURS, NETWORK_LINES, draw_band, frame, new_figure
from whydeep.runs import Context
from whydeep.variables import Variable

NAME = "function-fitting"

# ---------------------------------------------------------------------------------------------------------
# Design

BUDGET = 1000
HIDDEN_LAYERS = {"shallow": 1, "medium": 3, "deep": 5}
INTERVAL = (-10.0, 10.0)
WINDOW = 500
IMPROVEMENT = 0.01

LEAST_ITERATIONS = {"smoke": 200, "quick": 1000, "full": 1000}
MOST_ITERATIONS = {"smoke": 200, "quick": 4000, "full": 20_000}


@dataclass(frozen=True)
class Setting:
    """One function fitted by one network."""

    function: str
    network: str
    widths: tuple[int, ...]
    least_iterations: int
    most_iterations: int
    points: int = 2000
    unseen_points: int = 1000
    learning_rate: float = 1e-3

    @property
    def name(self) -> str:
        """Function and network."""
        return f"{self.function} {self.network}"

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"function": self.function, "network": self.network}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return training_seconds(self.widths, self.points, self.most_iterations)


def settings(plan: Plan) -> tuple[Setting, ...]:
    """Every function with every network.

    Raises:
        SettingError: a function that is not finite on the interval, or constant.
    """
    for function in plan.functions:
        sample(target_function(function), INTERVAL, 10_000, np.random.default_rng(0))
    return tuple(
        Setting(
            function=target_function(function).name,
            network=network,
            widths=widths_for_budget(hidden_layers, 1, 1, BUDGET),
            least_iterations=LEAST_ITERATIONS[plan.scale],
            most_iterations=MOST_ITERATIONS[plan.scale],
        )
        for function in plan.functions
        for network, hidden_layers in HIDDEN_LAYERS.items()
    )


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train one network per seed until its loss has converged, then try it on unseen points."""
    points = [_draw_points(setting, seed, context) for seed in seeds]
    inits = [Stream(context.root_seed, NAME, setting.name, seed, "init") for seed in seeds]
    population = Population.initialise(lambda: MLP(setting.widths), inits, device=context.device)
    training = Training(
        population,
        Samples.each([Samples(_column(one["x"]), _column(one["y"])) for one in points]),
        objective=MeanSquaredError(),
        optimizer=Adam(setting.learning_rate),
    )
    losses, stopped_at, converged = _train_until_converged(training, setting, context)

    unseen = np.stack([one["unseen_x"] for one in points])
    truth = np.stack([one["unseen_y"] for one in points])
    predicted = np.stack(
        [
            predictions(population.select([member]), _column(x))[0, :, 0].double().cpu().numpy()
            for member, x in enumerate(unseen)
        ]
    )
    errors = (predicted - truth) ** 2
    variance = np.array([one["y"].var() for one in points])
    final = np.array([row[stop - 1] for row, stop in zip(losses, stopped_at, strict=True)], dtype=float)
    found = size_and_divergence(training)
    per_seed = found | {
        "iterations": stopped_at.astype(float),
        "converged": converged.astype(float),
        # A network that has converged is trained on with the others, which does not count.
        "diverged_at": np.where(found["diverged_at"] < stopped_at, found["diverged_at"], np.nan),
        "variance": variance,
        "final_loss": final,
        "settled_at": _first_settled(losses, 0.05 * variance),
        "unseen_loss": errors.mean(axis=1),
        "unseen_r2": 1 - errors.mean(axis=1) / truth.var(axis=1),
        "end_loss": _mean_where(errors, np.abs(unseen) > 8),
        "middle_loss": _mean_where(errors, np.abs(unseen) <= 5),
    }
    return xr.Dataset(
        {name: ("seed", values) for name, values in per_seed.items()}
        | {
            "loss": (("seed", "iteration"), losses),
            "unseen_x": (("seed", "point"), unseen.astype(np.float32)),
            "unseen_y": (("seed", "point"), truth.astype(np.float32)),
            "predicted": (("seed", "point"), predicted.astype(np.float32)),
        },
        coords={"seed": list(seeds), "iteration": np.arange(losses.shape[1])},
    )


VARIABLES = {
    "parameters": Variable("weights and biases"),
    "iterations": Variable("iterations trained"),
    "converged": Variable("1 if the loss converged before the cap, else 0"),
    "diverged_at": Variable("first iteration whose loss is not finite; not-a-number if none"),
    "variance": Variable("variance of the target on the training points"),
    "final_loss": Variable("MSE on the training points at the last iteration"),
    "settled_at": Variable("first iteration from which the MSE stays below 5 % of the variance"),
    "unseen_loss": Variable("MSE on unseen points"),
    "unseen_r2": Variable("R² on unseen points: 1 - MSE / variance of the truth"),
    "end_loss": Variable("MSE on unseen points with |x| > 8"),
    "middle_loss": Variable("MSE on unseen points with |x| <= 5"),
    "loss": Variable("MSE on the training points before each iteration"),
    "unseen_x": Variable("unseen x, in ascending order"),
    "unseen_y": Variable("true value at unseen x"),
    "predicted": Variable("predicted value at unseen x"),
}


def _draw_points(setting: Setting, seed: int, context: Context) -> dict[str, np.ndarray]:
    """Draw training and unseen points; the same x for every function and network of a seed."""
    generator = Stream(context.root_seed, NAME, "", seed, "data").numpy()
    function = target_function(setting.function)
    x, y = sample(function, INTERVAL, setting.points, generator)
    unseen_x, unseen_y = sample(function, INTERVAL, setting.unseen_points, generator)
    order = np.argsort(unseen_x)
    return {"x": x, "y": y, "unseen_x": unseen_x[order], "unseen_y": unseen_y[order]}


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(1).float()


def _train_until_converged(
    training: Training, setting: Setting, context: Context
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train until every network has converged; each keeps the parameters of its own last iteration.

    Returns losses [seed, iteration] (not-a-number after a network's last iteration), the number of
    iterations and whether the loss converged, [seed].
    """
    recorded = Recorder(loss)
    final = training.population.flat.clone()
    stopped_at = np.zeros(len(final), dtype=int)
    converged = np.zeros(len(final), dtype=bool)
    while (stopped_at == 0).any():
        step = min(WINDOW, setting.most_iterations - training.step)
        training.run(step, [recorded])
        context.progress(training.step / setting.most_iterations)
        losses = recorded.values.cpu().numpy()
        ready = training.step >= setting.least_iterations
        for member in np.flatnonzero(stopped_at == 0):
            has_converged = ready and _has_converged(losses[member])
            if has_converged or training.step == setting.most_iterations:
                stopped_at[member], converged[member] = training.step, has_converged
                final[member] = training.population.flat[member]
    training.population.flat.copy_(final)
    # Always as long as the cap: the shape must not depend on which networks train together.
    padded = np.full((len(losses), setting.most_iterations), np.nan, dtype=losses.dtype)
    padded[:, : losses.shape[1]] = losses
    padded[np.arange(setting.most_iterations) >= stopped_at[:, None]] = np.nan
    return padded, stopped_at, converged


def _has_converged(losses: np.ndarray) -> bool:
    if len(losses) < 2 * WINDOW:
        return False
    before, last = np.log(losses[-2 * WINDOW :]).reshape(2, WINDOW).mean(axis=1)
    return bool(before - last < -np.log1p(-IMPROVEMENT))


def _first_settled(losses: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """First iteration from which each row stays below its threshold; not-a-number if it never does."""
    above = losses >= thresholds[:, None]
    first = losses.shape[1] - above[:, ::-1].argmax(axis=1)
    first[~above.any(axis=1)] = 0
    trained = (~np.isnan(losses)).sum(axis=1)
    return np.where(first < trained, first, np.nan)


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, values, 0).sum(axis=1) / chosen.sum(axis=1)


DEFINITIONS = {
    "Loss": "mean squared error (MSE) over all training points, before the update of each iteration; one "
    "iteration is one step of Adam on all points.",
    "Converged": f"the geometric mean of the loss over the last {WINDOW} iterations is less than "
    f"{IMPROVEMENT:.0%} below that of the {WINDOW} before: it falls no more, or has risen, as it does in spikes. A "
    "network trains until then, or up to the cap.",
    "Settled": "first iteration from which the loss stays below 5 % of the target's variance on the training points.",
    "Final MSE": "the loss of the last iteration, before its update; what is measured on unseen points is measured "
    "after it. Single iterations lie above and below their neighbours.",
    "Points": f"x is drawn uniformly from {INTERVAL[0]:g} to {INTERVAL[1]:g}, for each seed anew.",
    "R²": "on unseen points, 1 - MSE / variance of the true values.",
    "Ends and middle": "unseen points with |x| > 8, and with |x| <= 5.",
    "Networks": f"widths are solved from a budget of {BUDGET:,} parameters; each network is within 1 % of it.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


BOTH = ["arcsinh", "cos"]
"""The functions of the course report; a run may have more."""


def _settled(results: xr.Dataset, function: str, never: float | xr.DataArray = inf) -> xr.DataArray:
    """Iterations until the loss of one function has settled, `never` for a network that never does."""
    settled = results.settled_at.fillna(never).where(results.diverged_at.isnull())
    return settled.sel(function=function, drop=True)


def _settled_later(results: xr.Dataset) -> xr.DataArray:
    """Iterations that cos takes longer than arcsinh; a network that never settles took at least all of them."""
    return _settled(results, "cos", results.iterations) - _settled(results, "arcsinh", results.iterations)


SETTLED = "iteration from which the MSE stays below 5 % of the variance"

CLAIMS = (
    Claim(
        "C1",
        "All models converge on both functions.",
        (
            Test(
                "final MSE / variance of the target",
                lambda r: (r.final_loss / r.variance).sel(function=BOTH),
                high=0.05,
                log=True,
            ),
        ),
        reading="“converge” means a final MSE below 5 % of the target's variance; when a training stops is another "
        "thing (Converged, among the definitions).",
        needs=(Need("function", labels=("arcsinh", "cos")),),
    ),
    Claim(
        "C2",
        "arcsinh converges by about 250 iterations, cos needs about 1,000.",
        (
            Test(f"{SETTLED}, arcsinh", lambda r: _settled(r, "arcsinh"), high=500),
            Test(f"{SETTLED}, cos", lambda r: _settled(r, "cos"), low=500, high=2000),
            Test(f"{SETTLED}, cos minus arcsinh", _settled_later, low=0),
        ),
        reading="“converges” means that the loss stays below 5 % of the target's variance from then on, and “about” "
        "within a factor of two. The factor was chosen after results had been seen; before, only the difference was "
        "tested.",
        needs=(Need("function", labels=("arcsinh", "cos")),),
    ),
    Claim(
        "C3",
        "All three networks predict unseen arcsinh well.",
        (Test("R² on unseen points", lambda r: r.unseen_r2.sel(function="arcsinh"), low=0.99, limits=(-inf, 1)),),
        needs=(Need("function", labels=("arcsinh",)),),
    ),
    Claim(
        "C4",
        "cos fails at the ends of the axis, not in the middle.",
        (
            Test(
                "MSE for |x| > 8 / MSE for |x| <= 5",
                lambda r: (r.end_loss / r.middle_loss).sel(function="cos"),
                low=1,
                log=True,
            ),
        ),
        reading="“fails” means a larger error there than in the middle, however small; the table has both.",
        needs=(Need("function", labels=("cos",)),),
    ),
    Claim(
        "C5",
        "The deeper the model, the smaller that failure.",
        (
            Test("end MSE, shallow / medium", lambda r: _end_ratio(r, "shallow", "medium"), low=1, log=True),
            Test("end MSE, medium / deep", lambda r: _end_ratio(r, "medium", "deep"), low=1, log=True),
        ),
        needs=(Need("function", labels=("cos",)),),
    ),
)


def _end_ratio(results: xr.Dataset, upper: str, lower: str) -> xr.DataArray:
    ends = results.end_loss.sel(function="cos")
    return ends.sel(network=upper, drop=True) / ends.sel(network=lower, drop=True)


# ---------------------------------------------------------------------------------------------------------
# Figures and tables

FIGURE_NAMES = {"arcsinh": ("figure-01", "figure-03"), "cos": ("figure-02", "figure-04")}


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Learning curves and predictions of every function, in the order of the report's figures."""
    curves, fits = [], []
    seeds = results.sizes["seed"]
    for function, slug in _slugs(results.function.values.tolist()).items():
        names = FIGURE_NAMES.get(function, (f"learning-curves-{slug}", f"predictions-{slug}"))
        titles = [
            f"Figure {int(name[-2:])}. {text}" if name.startswith("figure") else text
            for name, text in zip(
                names, (f"Learning curves, {function}", f"Predicted against true, {function}"), strict=True
            )
        ]
        one = results.sel(function=function)
        curves.append(
            Figure(
                names[0],
                titles[0],
                f"Mean squared error on the training points per iteration, geometric mean over n = {seeds} seeds with "
                "its 95 % interval (t on the logarithm); both axes are logarithmic. Look at where each curve crosses "
                "the dashed line, 5 % of the target's variance. Where a network has stopped, the level of its last "
                f"{WINDOW} iterations is carried on.",
                f"Line chart of the training error of three networks that fit {function}.",
                partial(_draw_learning_curves, one, function),
            )
        )
        fits.append(
            Figure(
                names[1],
                titles[1],
                f"Above: the function (thin line) and the predictions of all n = {seeds} seeds on unseen points. "
                "Below: their error. Look at the shaded ends, |x| > 8.",
                f"Predictions of three networks for {function}, and their errors.",
                partial(_draw_predictions, one, function),
            )
        )
    return (*curves, *fits)


def _slugs(functions: Sequence[str]) -> dict[str, str]:
    """Write expressions in letters, digits and dashes; those that would look alike are numbered.

    >>> _slugs(["tanh", "x**2", "x+2"])
    {'tanh': 'tanh', 'x**2': 'x-2', 'x+2': 'x-2-no-2'}
    """
    slugs: dict[str, str] = {}
    for function in functions:
        slug = re.sub(r"[^A-Za-z0-9]+", "-", function).strip("-")
        alike = sum(one == slug or one.startswith(f"{slug}-no-") for one in slugs.values())
        slugs[function] = f"{slug}-no-{alike + 1}" if alike else slug
    return slugs


def _draw_learning_curves(results: xr.Dataset, function: str) -> MatplotlibFigure:
    figure = new_figure()
    axes = figure.subplots()
    axes.set_xscale("log")  # what the claims are about happens in the first of the iterations
    for network in results.network.values.tolist():
        one = results.sel(network=network)
        losses = one.loss.fillna(_last_level(one.loss)).transpose("seed", "iteration")
        draw_band(
            axes,
            one.iteration[1:],
            losses[:, 1:].values,
            label=f"{network} ({count_text(one.parameters)} parameters)",
            colour=NETWORK_COLOURS[network],
            line=NETWORK_LINES[network],
            log=True,
        )
    level = 0.05 * float(results.variance.mean())
    axes.axhline(level, color=GREY, linestyle=(0, (5, 3)), linewidth=1)
    axes.annotate(
        "5 % of the variance", (1, level), (-2, 3), ("axes fraction", "data"), "offset points",
        ha="right", fontsize=8.5, color=GREY,
    )  # fmt: skip
    axes.set(yscale="log", xlabel="iteration", ylabel="MSE on the training points", title=f"y = {_label(function)}")
    axes.set_xlim(1, float(results.iterations.max().fillna(results.sizes["iteration"])))
    frame(axes, np.append(results.loss, level), log=True)
    axes.legend()
    return figure


def _last_level(losses: xr.DataArray) -> xr.DataArray:
    """Geometric mean of each network's losses over the last iterations that it was trained."""
    stop = losses.notnull().sum("iteration")
    last = losses.where(losses.iteration >= stop - WINDOW)
    return xr.apply_ufunc(np.exp, xr.apply_ufunc(np.log, last).mean("iteration"))


def _draw_predictions(results: xr.Dataset, function: str) -> MatplotlibFigure:
    networks = results.network.values.tolist()
    figure = new_figure(9.6, 4.8)
    grid = figure.subplots(2, len(networks), sharex=True, sharey="row", squeeze=False, height_ratios=(2, 1))
    x_line = np.linspace(*INTERVAL, 801)
    for column, network in enumerate(networks):
        one = results.sel(network=network)
        x, errors = one.unseen_x.values.ravel(), (one.predicted - one.unseen_y).values.ravel()
        upper, lower = grid[:, column]
        upper.plot(x_line, target_function(function)(x_line), color=BLACK, linewidth=1, label="true", zorder=3)
        dots = partial(Pixels, color=NETWORK_COLOURS[network], linestyle="", marker=".", alpha=0.35)
        upper.add_line(dots(x, one.predicted.values.ravel(), markersize=2.5, label="predicted"))
        lower.add_line(dots(x, errors, markersize=2, label="error"))
        upper.autoscale_view()
        lower.autoscale_view()
        r2 = mean_interval(one.unseen_r2).estimate
        upper.set_title(f"{network}: R² {f'= {r2:.4f}' if r2 < 0.9999 else '> 0.9999'}")
        for axes in (upper, lower):
            for ends in ((-10, -8), (8, 10)):
                axes.axvspan(*ends, color="#f0f0f0", zorder=0, linewidth=0)
        lower.set_xlabel("x")
        lower.axhline(0, color=BLACK, linewidth=0.7)
    grid[0, 0].set_ylabel(f"y = {_label(function)}")
    grid[1, 0].set_ylabel("error")
    grid[0, 0].legend(markerscale=4, loc="best")
    grid[0, 0].set_xlim(*INTERVAL)
    return figure


def _label(function: str) -> str:
    return f"{function}(x)" if function.isidentifier() and function != "x" else function


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Numbers behind the figures, one row per function and network."""
    each = {
        f"{function}, {network}": results.sel(function=function, network=network)
        for function in results.function.values.tolist()
        for network in results.network.values.tolist()
    }
    header = (
        *("function, network", "parameters", "iterations", "converged"),
        *("settled at", "final MSE", "unseen MSE", "unseen R²"),
    )
    caption = (
        f"Mean over n = {results.sizes['seed']} seeds with 95 % interval (MSE: geometric mean); iterations: "
        "fewest to most"
    )
    ends = Table(
        f"MSE on unseen points / variance of the target: geometric mean over n = {results.sizes['seed']} seeds with "
        "95 % interval",
        ("function, network", "ends, |x| > 8", "middle, |x| <= 5"),
        tuple((name, *_ends_and_middle(one)) for name, one in each.items()),
    )
    return (Table(caption, header, tuple(_table_row(one, name) for name, one in each.items())), ends)


def _table_row(one: xr.Dataset, name: str) -> tuple[str, ...]:
    trained = one.iterations.dropna("seed").astype(int)
    settled = mean_interval(one.settled_at)
    return (
        name,
        count_text(one.parameters),
        f"{trained.values.min():,} to {trained.values.max():,}" if trained.size else "-",
        f"{int(one.converged.sum())} of {len(trained)}",
        f"{settled}" + (f" (n = {settled.n})" if settled.n < len(trained) else ""),
        str(mean_interval(one.final_loss, log=True)),
        str(mean_interval(one.unseen_loss, log=True)),
        str(mean_interval(one.unseen_r2, limits=(-inf, 1))),
    )


def _ends_and_middle(one: xr.Dataset) -> tuple[str, ...]:
    return tuple(str(mean_interval(mse / one.variance, log=True)) for mse in (one.end_loss, one.middle_loss))


EXPERIMENT = Experiment(
    name=NAME,
    title="E1. Function fitting",
    question="Does a deep network fit a function better than a shallow one with as many parameters?",
    uses_images=False,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)
