"""E5. Optimization: from where training ends to where the gradient vanishes, and how the loss curves there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from whydeep.claims import Claim, Need, Test, mean_interval, rank_correlation
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table
from whydeep.experiments.function_training import draw_points, train
from whydeep.instruments import (
    EIGENVALUE_TOLERANCE,
    GRADIENT_FLAT,
    GRADIENT_TOLERANCE,
    ROUNDINGS,
    Stationarity,
    find_critical_points,
    find_kinks,
    find_stationary_points,
    frye_index,
    sort_by_stationarity,
    split_eigenvalues,
)
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import Adam, MeanSquaredError, Population, Samples, Stream, Training
from whydeep.report.style import BLUE, GREY, ORANGE, VERMILION, new_figure
from whydeep.runs import Context
from whydeep.variables import CORRELATION, SHARE, Variable

NAME = "critical-points"

# ---------------------------------------------------------------------------------------------------------
# Design

WIDTHS = (1, 3, 5, 1)
NETWORKS = {  # tanh, for comparison, takes ten times as long to solve
    "relu": {"smoke": 4, "quick": 12, "full": 100},
    "tanh": {"smoke": 4, "quick": 8, "full": 25},
}
ITERATIONS = {"smoke": 300, "quick": 3000, "full": 10_000}
POINTS = {"smoke": 100, "quick": 1000, "full": 1000}
CYCLES = {"relu": {"smoke": 0, "quick": 3, "full": 6}, "tanh": {"smoke": 1, "quick": 8, "full": 60}}

REACH = f"{ROUNDINGS[-1]:g}"
LOOSE_TOLERANCE = 1e-3
"""Of the gradient norm, shown beside the one that counts."""
TOLERANCES = (1e-4, EIGENVALUE_TOLERANCE, 1e-8)
"""For eigenvalues that count as zero; the middle one is used, the others show what depends on it."""

SECONDS_TO_SOLVE = {"relu": 0.06, "tanh": 0.08}  # a network and a cycle, where many are solved at once


@dataclass(frozen=True)
class Setting:
    """Networks with one activation on one function; all networks of a seed share their points."""

    activation: str
    networks: int
    iterations: int
    cycles: int
    points: int
    function: str = "cos"
    widths: tuple[int, ...] = WIDTHS
    learning_rate: float = 1e-3

    @property
    def name(self) -> str:
        """The activation."""
        return self.activation

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"activation": self.activation}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        step = 4e-5 if self.activation == "tanh" else 2e-5
        solving = SECONDS_TO_SOLVE[self.activation] * min(1 + self.cycles, 35)  # few networks need the last cycles
        return 1.5 + self.networks * (step * self.iterations + solving)


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's network, and one with a smooth activation."""
    return tuple(
        Setting(
            activation, NETWORKS[activation][plan.scale], ITERATIONS[plan.scale], cycles[plan.scale], POINTS[plan.scale]
        )
        for activation, cycles in CYCLES.items()
    )


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Measure one seed after the other; the networks of a seed train and are solved as one population."""
    measured = []
    for index, seed in enumerate(seeds):

        def progress(share: float, index: int = index) -> None:
            context.progress((index + share) / len(seeds))

        measured.append(_measure_seed(setting, seed, context, progress))
    return xr.concat(measured, "seed")


def _measure_seed(setting: Setting, seed: int, context: Context, progress: Callable[[float], None]) -> xr.Dataset:
    samples = draw_points(NAME, setting.function, setting.points, seed, context)
    population = _train(setting, seed, samples, context, lambda share: progress(0.3 * share))
    landscape = Landscape(population, samples, MeanSquaredError())
    trained = landscape.points()
    points = _solve(setting, landscape, lambda share: progress(0.3 + 0.7 * share))

    losses, gradients, hessians = landscape.expand(points)
    norms, indices = gradients.norm(dim=1), frye_index(gradients, hessians)
    kinks = find_kinks(landscape, points, reach=ROUNDINGS[-1]) if setting.activation == "relu" else None
    kinds = sort_by_stationarity(norms, indices, tolerance=GRADIENT_TOLERANCE, kinks=kinks)
    nothing = torch.full_like(norms, torch.nan)
    per_network = {
        "trained_loss": landscape.losses(trained),
        "trained_gradient_norm": landscape.gradients(trained).norm(dim=1),
        "loss": losses,
        "gradient_norm": norms,
        "frye_index": indices,
        "kind": kinds,
        "kinks": kinks.near if kinks else nothing,
        "gradient_jump": kinks.jump if kinks else nothing,
        "subgradient_norm": kinks.subgradient_norms if kinks else nothing,
        "moved": (points - trained).norm(dim=1),
    }
    finite = hessians.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite, hessians, 0.0)).where(finite[:, 0], torch.nan).cpu().numpy()
    return xr.Dataset(
        {name: (("seed", "network"), values.double().cpu().numpy()[None]) for name, values in per_network.items()}
        | {
            "weights": (("seed", "network", "parameter"), points.cpu().numpy()[None]),
            "eigenvalues": (("seed", "network", "eigenvalue"), eigenvalues[None]),
            "parameters": ("seed", [float(population.size)]),
        },
        coords={"seed": [seed], "network": np.arange(setting.networks)},
    )


def _train(
    setting: Setting, seed: int, samples: Samples, context: Context, progress: Callable[[float], None]
) -> Population:
    """Phase one: minimise the loss with Adam."""
    inits = [
        Stream(context.root_seed, NAME, f"{setting.name} network {network}", seed, "init")
        for network in range(setting.networks)
    ]
    build = lambda: MLP(setting.widths, setting.activation)  # noqa: E731
    population = Population.initialise(build, inits, device=context.device)
    training = Training(population, samples, objective=MeanSquaredError(), optimizer=Adam(setting.learning_rate))
    train(training, setting.iterations, progress)
    return population


def _solve(setting: Setting, landscape: Landscape, progress: Callable[[float], None]) -> Tensor:
    """Phase two: minimise the gradient norm; for ReLU networks, with corners that are rounded less and less."""
    if setting.activation == "relu":
        return find_stationary_points(landscape, cycles=setting.cycles, progress=progress)
    return find_critical_points(landscape, cycles=setting.cycles, progress=progress).points


VARIABLES = {
    "trained_loss": Variable("MSE on the training points after phase one"),
    "trained_gradient_norm": Variable("Euclidean norm of its gradient after phase one"),
    "loss": Variable("MSE on the training points after phase two"),
    "gradient_norm": Variable("Euclidean norm of its gradient after phase two"),
    "frye_index": Variable("relative residual of the Newton step, Frye's index"),
    "kind": Variable("0 critical point, 1 kink, 2 gradient-flat, 3 not converged"),
    "kinks": Variable(f"hidden units whose input is zero at a training point, within {REACH}"),
    "gradient_jump": Variable("norm of the change of the gradient across these kinks"),
    "subgradient_norm": Variable("norm of the subgradient between their sides"),
    "moved": Variable("distance between the parameters after phase one and after phase two"),
    "weights": Variable("weights and biases after phase two, layer by layer"),
    "eigenvalues": Variable("eigenvalues of the Hessian of the MSE on the training points, smallest first"),
    "parameters": Variable("weights and biases"),
}

DEFINITIONS = {
    "Phase one": "Adam on the loss, all points at once, in float32.",
    "Phase two": "the gradient norm is minimised in float64 by the Levenberg-Marquardt method on the gradient, with "
    "the exact Hessian. A network that stays above the tolerance first goes down the loss by 50 damped Newton steps "
    "(with the absolute eigenvalues; bent along valleys, for the smooth networks), then it is tried again: one cycle. "
    "That can lead far from where training ended, as the table of changes shows.",
    "ReLU in phase two": f"corners are rounded to parabolas of half-width {ROUNDINGS[0]:g} to {REACH}, and solved one "
    "after the other, so that the solver can settle on kinks. What is reported is measured on the network with sharp "
    "corners.",
    "Tolerance": f"gradient norm of {GRADIENT_TOLERANCE:g}, of the mean squared error over all points, all weights "
    "and biases.",
    "Critical point": f"gradient norm below the tolerance, and Frye's index at most {GRADIENT_FLAT}.",
    "Kink": f"the gradient norm is above the tolerance, but the input of some hidden unit is within {REACH} of zero "
    "at a training point, so that the gradient jumps there, and the subgradient in which such units are on in part "
    "has a norm below the tolerance: a stationary point at which no gradient vanishes.",
    "Frye's index": "||H p + g|| / (||H||_F ||p|| + ||g||), p = -H^+ g the least-squares Newton step, where "
    f"eigenvalues within the eigenvalue tolerance count as zero. A point above {GRADIENT_FLAT} is gradient-flat: its "
    "gradient lies in the kernel of H (Frye et al. 2021).",
    "Minimal ratio": f"share of eigenvalues above the eigenvalue tolerance, {EIGENVALUE_TOLERANCE:g} of the largest "
    "absolute one. Strict: above exactly 0; every active ReLU has an eigenvalue of exactly zero by its rescaling "
    "symmetry, of which rounding makes a sign.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def _share(results: xr.Dataset, holds: xr.DataArray) -> xr.DataArray:
    """Share of networks, not-a-number where a seed is missing."""
    return holds.where(results.kind.notnull()).mean("network", skipna=False)


WRITTEN = {"relu": "ReLU", "tanh": "tanh"}


def _of(results: xr.Dataset, activation: str) -> xr.Dataset:
    """Results of the networks that there are with one activation."""
    one = results.sel(activation=activation, drop=True)
    there = one.kind.notnull().any("seed")
    return one.sel(network=there) if there.any() else one


def _relu(results: xr.Dataset) -> xr.Dataset:
    return _of(results, "relu")


def _counts(results: xr.Dataset) -> str:
    """How many networks a seed has."""
    activations = results.activation.values.tolist()
    return " and ".join(f"{_of(results, name).sizes['network']} {WRITTEN[name]}" for name in activations)


def eigenvalue_shares(results: xr.Dataset, tolerance: float = EIGENVALUE_TOLERANCE) -> xr.Dataset:
    """Shares of positive (the minimal ratio), zero, negative and strictly positive eigenvalues of each network."""
    values = results.eigenvalues.transpose(..., "eigenvalue")
    split = split_eigenvalues(torch.from_numpy(values.values), tolerance)
    names = ("positive", "zero", "negative", "strict")
    shares = xr.Dataset({name: (values.dims[:-1], getattr(split, name).numpy()) for name in names}, results.coords)
    return shares.where(results.loss.notnull())


def correlation(results: xr.Dataset) -> xr.DataArray:
    """Spearman's correlation of loss and minimal ratio over the critical points of each seed."""
    critical = results.kind == Stationarity.CRITICAL
    return rank_correlation(results.loss.where(critical), eigenvalue_shares(results).positive, "network")


CLAIMS = (
    Claim(
        "C12",
        "At convergence the gradient norm is almost zero.",
        (
            Test(
                f"share of the networks with a gradient norm below {GRADIENT_TOLERANCE:g} after phase two, ReLU",
                lambda r: _share(_relu(r), _relu(r).gradient_norm <= GRADIENT_TOLERANCE),
                low=0.9,
                limits=SHARE,
            ),
            Test(
                f"share of the networks that also pass Frye's index (at most {GRADIENT_FLAT}), ReLU",
                lambda r: _share(_relu(r), _relu(r).kind == Stationarity.CRITICAL),
                low=0.9,
                limits=SHARE,
            ),
        ),
        reading=f"“at convergence” means after phase two, and “almost zero” below {GRADIENT_TOLERANCE:g}. A network on "
        "a kink, where no gradient vanishes, is against the claim, and in the second part one that is gradient-flat.",
        needs=(Need("activation", labels=("relu",)),),
    ),
    Claim(
        "C13",
        "The lower the loss, the larger the minimal ratio (the course report draws no conclusion; the literature "
        "expects it).",
        (
            Test(
                "Spearman's correlation of loss and minimal ratio over critical points, ReLU",
                lambda r: correlation(_relu(r)),
                high=0,
                limits=CORRELATION,
            ),
        ),
        source="expected after Y. N. Dauphin et al. (2014)",
        reading="within the ReLU networks of a seed. Dauphin et al. speak of the share of negative eigenvalues at "
        "saddles; what is not positive here may be flat instead, and the table of eigenvalues tells the two apart.",
        needs=(Need("activation", labels=("relu",)),),
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables

LABELS = {
    Stationarity.CRITICAL: ("critical point", "o", BLUE),
    Stationarity.KINK: ("kink", "D", ORANGE),
    Stationarity.GRADIENT_FLAT: ("gradient-flat", "^", VERMILION),
    Stationarity.NOT_CONVERGED: ("not converged", "x", GREY),
}


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Loss against minimal ratio, kinds of points told apart."""
    n = results.sizes["seed"]
    return (
        Figure(
            "figure-11",
            "Figure 11. Loss and minimal ratio after phase two",
            f"One mark per network after phase two, {_counts(results)} networks of each of n = {n} seeds. Minimal "
            f"ratio: share of the Hessian's eigenvalues above {EIGENVALUE_TOLERANCE:g} of the largest. The correlation "
            "is that of the critical points of each seed, averaged over seeds. Look at where the kinks lie: there the "
            "gradient jumps, and the Hessian is that of one side. Where no eigenvalue is negative (see the table), the "
            "ratio tells flat directions from curved ones, not saddles from minima.",
            "Scatter plot of loss against the share of positive eigenvalues of the Hessian, one panel per activation.",
            lambda: _draw(results),
        ),
    )


def _draw(results: xr.Dataset) -> MatplotlibFigure:
    activations = results.activation.values.tolist()
    figure = new_figure(4.6 * len(activations) + 0.4, 4.4)
    grid = figure.subplots(1, len(activations), sharey=True, squeeze=False)[0]
    for axes, activation in zip(grid, activations, strict=True):
        _draw_activation(axes, _of(results, activation), activation)
    grid[0].set_ylabel("minimal ratio")
    return figure


def _draw_activation(axes: Axes, one: xr.Dataset, activation: str) -> None:
    ratios, order = eigenvalue_shares(one).positive, ("seed", "network")
    counts = []
    for kind, (label, marker, colour) in LABELS.items():
        chosen = (one.kind == kind).transpose(*order).values
        axes.plot(
            one.loss.transpose(*order).values[chosen],
            ratios.transpose(*order).values[chosen],
            marker,
            color=colour,
            markerfacecolor="none" if kind == Stationarity.KINK else colour,
            alpha=0.65,
            markersize=5,
            label=label,
        )
        counts.append(f"{label} ({int(chosen.sum())})")
    rho = mean_interval(correlation(one), limits=CORRELATION)
    name = WRITTEN[activation]
    title = f"{name}: Spearman {rho}" if np.isfinite(rho.estimate) else name
    axes.set(xscale="log", xlabel="MSE on the training points", title=title)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(axes.lines, counts, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """How many networks are of which kind, and the numbers behind figure 11."""
    n = results.sizes["seed"]
    each = {WRITTEN[name]: _of(results, name) for name in results.activation.values.tolist()}
    kinds = Table(
        f"Shares of {_counts(results)} networks, mean over n = {n} seeds with 95 % interval",
        (
            "activation",
            f"norm below {GRADIENT_TOLERANCE:g} after phase one",
            *(f"norm below {tolerance:g}" for tolerance in (GRADIENT_TOLERANCE, LOOSE_TOLERANCE)),
            *(label for label, _, _ in LABELS.values()),
        ),
        tuple((activation, *_shares(one)) for activation, one in each.items()),
    )
    changes = Table(
        f"From phase one to phase two: medians over {_counts(results)} networks of each of n = {n} seeds",
        ("activation", "MSE", "gradient norm", "distance that the weights moved", "norm of the weights after"),
        tuple((activation, *_changes(one)) for activation, one in each.items()),
    )
    ratios = Table(
        "Eigenvalues at critical points: shares that are positive (the minimal ratio), zero and negative by the "
        f"tolerance {EIGENVALUE_TOLERANCE:g}; the minimal ratio by other tolerances, and strictly above 0; n = {n} "
        "seeds, 95 % interval",
        (
            *("activation", "positive", "zero", "negative"),
            *(f"positive by {t:g}" for t in TOLERANCES if t != EIGENVALUE_TOLERANCE),
            *("strict", "correlation with the loss", "critical points"),
        ),
        tuple((activation, *_ratios(one)) for activation, one in each.items()),
    )
    return (kinds, changes, ratios)


def _shares(one: xr.Dataset) -> tuple[str, ...]:
    below = (
        one.trained_gradient_norm <= GRADIENT_TOLERANCE,
        *(one.gradient_norm <= tolerance for tolerance in (GRADIENT_TOLERANCE, LOOSE_TOLERANCE)),
    )
    return tuple(
        str(mean_interval(_share(one, holds), limits=SHARE))
        for holds in (*below, *(one.kind == kind for kind in LABELS))
    )


def _changes(one: xr.Dataset) -> tuple[str, ...]:
    """Medians over networks and seeds before and after phase two, and how far it went."""
    pairs = (("trained_loss", "loss"), ("trained_gradient_norm", "gradient_norm"))
    return (
        *(" to ".join(f"{float(one[name].median()):.2g}" for name in pair) for pair in pairs),
        f"{float(one.moved.median()):.2g} (at most {float(one.moved.max()):.2g})",
        f"{float(np.sqrt((one.weights**2).sum('parameter')).median()):.2g}",
    )


def _ratios(one: xr.Dataset) -> tuple[str, ...]:
    critical, shares = one.kind == Stationarity.CRITICAL, eigenvalue_shares(one)
    others = [eigenvalue_shares(one, t).positive for t in TOLERANCES if t != EIGENVALUE_TOLERANCE]
    columns = (shares.positive, shares.zero, shares.negative, *others, shares.strict)
    return (
        *(str(mean_interval(column.where(critical).mean("network"), limits=SHARE)) for column in columns),
        str(mean_interval(correlation(one), limits=CORRELATION)),
        str(int(critical.sum())),
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="E5. Critical points",
    question="Where does training end: at minima, at saddles, or where the gradient never vanishes?",
    uses_images=False,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
    revision=2,
)
