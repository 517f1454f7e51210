"""Statistics, figure and tables of E5: kinds of networks, and the split of their eigenvalues."""

from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure

from whydeep.claims import mean_interval, rank_correlation
from whydeep.instruments import EIGENVALUE_TOLERANCE, GRADIENT_TOLERANCE, Stationarity, split_eigenvalues
from whydeep.report.charts import Column, Rows
from whydeep.report.elements import Figure
from whydeep.report.style import BLUE, GREY, ORANGE, VERMILION, new_figure, percent_scale
from whydeep.variables import CORRELATION, SHARE

LOOSE_TOLERANCE = 1e-3
"""Of the gradient norm, shown beside the one that counts."""
OTHER_TOLERANCES = (1e-4, 1e-8)
"""For eigenvalues that count as zero, which show what depends on the one that is used."""

KINDS = {
    Stationarity.CRITICAL: ("critical point", "o", BLUE),
    Stationarity.KINK: ("kink", "D", ORANGE),
    Stationarity.GRADIENT_FLAT: ("gradient-flat", "^", VERMILION),
    Stationarity.NOT_CONVERGED: ("not converged", "x", GREY),
}
CRITICAL, CORRELATION_WITH_LOSS = KINDS[Stationarity.CRITICAL][0], "correlation with the loss"
SMALL_BEFORE, SMALL_NORM = (f"norm below {GRADIENT_TOLERANCE:g}{phase}" for phase in (" after phase one", ""))


def statistics(results: xr.Dataset) -> xr.Dataset:
    """Return statistics of the networks of each seed [activation, seed], by the headers of the tables.

    Shares of the networks, not-a-number for a seed that lacks one: with a small gradient norm, and of each kind. Over
    critical points: shares of the eigenvalues, and Spearman's correlation of loss and minimal ratio.
    """
    measured, critical = results.kind.notnull(), results.kind == Stationarity.CRITICAL
    planned = measured.any("seed").sum("network")
    conditions = {
        SMALL_BEFORE: results.trained_gradient_norm <= GRADIENT_TOLERANCE,
        SMALL_NORM: results.gradient_norm <= GRADIENT_TOLERANCE,
        f"norm below {LOOSE_TOLERANCE:g}": results.gradient_norm <= LOOSE_TOLERANCE,
        **{label: results.kind == kind for kind, (label, _, _) in KINDS.items()},
    }
    shares = xr.Dataset(conditions).where(measured & (measured.sum("network") == planned))
    split = eigenvalue_shares(results)
    others = {f"positive by {t:g}": eigenvalue_shares(results, t).positive for t in OTHER_TOLERANCES}
    eigenvalues = split.assign(others).where(critical)
    numbers = {
        "networks": planned,
        CORRELATION_WITH_LOSS: rank_correlation(results.loss.where(critical), split.positive, "network"),
        "critical points": critical.sum(("network", "seed")),
    }
    return xr.merge([shares.mean("network"), eigenvalues.mean("network")]).assign(numbers).drop_attrs()


def statistics_for_claims(results: xr.Dataset) -> xr.Dataset:
    """Return the statistics; infinite for a seed with a network whose training diverged, so that it counts."""
    values = statistics(results)
    diverged = values[SMALL_NORM].isnull() & results.parameters.notnull()
    return values.where(~diverged, np.inf)


def eigenvalue_shares(results: xr.Dataset, tolerance: float = EIGENVALUE_TOLERANCE) -> xr.Dataset:
    """Return the shares of positive (the minimal ratio), zero, negative and strictly positive eigenvalues [network]."""
    values = results.eigenvalues.transpose(..., "eigenvalue")
    split = split_eigenvalues(torch.from_numpy(values.values), tolerance)
    names = ("positive", "zero", "negative", "strict")
    shares = xr.Dataset({name: (values.dims[:-1], getattr(split, name).numpy()) for name in names}, results.coords)
    return shares.where(results.loss.notnull())


# -- figure 11 ------------------------------------------------------------------------------------------------


def loss_and_minimal_ratio(results: xr.Dataset) -> Figure:
    """Loss against minimal ratio, kinds of points told apart."""
    counts = [f"{int(number)} {_in_text(number.activation.item())}" for number in statistics(results).networks]
    return Figure(
        "figure-11",
        "Figure 11. Loss and minimal ratio after phase two",
        f"One mark per network after phase two, {' and '.join(counts)} networks of each of n = {results.sizes['seed']} "
        f"seeds. Minimal ratio: share of the Hessian's eigenvalues above {EIGENVALUE_TOLERANCE:g} of the largest. The "
        "correlation is that of the critical points of each seed, averaged over seeds. Look at which kinds of points "
        "there are, and where they lie. On a kink the gradient jumps, and the Hessian is that of one side. Where no "
        "eigenvalue is negative (see the table), the ratio tells flat directions from curved ones, not saddles from "
        "minima.",
        "Scatter plot of loss against the share of positive eigenvalues of the Hessian, one panel per activation.",
        partial(_draw, results),
    )


def _in_text(activation: str) -> str:
    return "ReLU" if activation == "relu" else activation


def _draw(results: xr.Dataset) -> MatplotlibFigure:
    activations = results.activation.values.tolist()
    figure = new_figure(4.6 * len(activations) + 0.4, 4.4)
    grid = figure.subplots(1, len(activations), sharey=True, squeeze=False)[0]
    for axes, activation in zip(grid, activations, strict=True):
        _draw_activation(axes, results.sel(activation=activation, drop=True), _in_text(activation))
    grid[0].set_ylabel("minimal ratio")
    return figure


def _draw_activation(axes: Axes, networks: xr.Dataset, name: str) -> None:
    ratios, order = eigenvalue_shares(networks).positive, ("seed", "network")
    counts = []
    for kind, (label, marker, colour) in KINDS.items():
        chosen = (networks.kind == kind).transpose(*order).values
        axes.plot(
            networks.loss.transpose(*order).values[chosen],
            ratios.transpose(*order).values[chosen],
            marker,
            color=colour,
            markerfacecolor="none" if kind == Stationarity.KINK else colour,
            alpha=0.65,
            markersize=5,
            label=label,
        )
        counts.append(f"{label} ({int(chosen.sum())})")
    rho = mean_interval(statistics(networks)[CORRELATION_WITH_LOSS], limits=CORRELATION)
    title = f"{name}: Spearman {rho}" if np.isfinite(rho.estimate) else name
    axes.set(xscale="log", xlabel="MSE on the training points", title=title)
    percent_scale(axes)
    axes.legend(axes.lines, counts, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


# -- tables ---------------------------------------------------------------------------------------------------


def _share_columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, name, limits=SHARE) for name in names)


def _median(values: xr.DataArray) -> str:
    return f"{float(values.median()):.2g}" if values.notnull().any() else "-"


def _change(row: xr.Dataset, variable: str) -> str:
    return f"{_median(row[f'trained_{variable}'])} to {_median(row[variable])}"


def _moved(row: xr.Dataset) -> str:
    most = f" (at most {float(row.moved.max()):.2g})" if row.moved.notnull().any() else ""
    return f"{_median(row.moved)}{most}"


def _weight_norm(row: xr.Dataset) -> str:
    return _median(np.sqrt((row.weights**2).sum("parameter", skipna=False)))


def _with_statistics(results: xr.Dataset) -> xr.Dataset:
    return results.assign(statistics(results))


NETWORKS, CRITICAL_POINTS = (Column(name, name, count=True) for name in ("networks", "critical points"))
SMALL_NORMS = SMALL_BEFORE, SMALL_NORM, f"norm below {LOOSE_TOLERANCE:g}"
SHARES = "positive", "zero", "negative", *(f"positive by {tolerance:g}" for tolerance in OTHER_TOLERANCES), "strict"
TABLES = (
    Rows(
        "Shares of the networks of each seed",
        "activation",
        (NETWORKS, *_share_columns(*SMALL_NORMS, *(label for label, _, _ in KINDS.values()))),
        select=_with_statistics,
    ),
    Rows(
        "From phase one to phase two: medians over the networks of all seeds",
        "activation",
        (
            NETWORKS,
            Column("MSE", partial(_change, variable="loss"), count=True),
            Column("gradient norm", partial(_change, variable="gradient_norm"), count=True),
            Column("distance that the weights moved", _moved, count=True),
            Column("norm of the weights after", _weight_norm, count=True),
        ),
        select=_with_statistics,
    ),
    Rows(
        "Eigenvalues at critical points: shares that are positive (the minimal ratio), zero and negative by the "
        f"tolerance {EIGENVALUE_TOLERANCE:g}; the minimal ratio by other tolerances, and strictly above 0",
        "activation",
        (
            *_share_columns(*SHARES),
            Column(CORRELATION_WITH_LOSS, CORRELATION_WITH_LOSS, limits=CORRELATION),
            CRITICAL_POINTS,
        ),
        select=_with_statistics,
    ),
)
