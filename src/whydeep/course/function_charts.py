"""Figures and tables of E1: learning curves and predictions."""

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as MatplotlibFigure

from whydeep.claims import mean_interval
from whydeep.course.function_training import END, INTERVAL, MIDDLE, SETTLED, WINDOW, equation
from whydeep.course.styles import NETWORK_COLOURS, NETWORK_LINES
from whydeep.course.text import count_column
from whydeep.data import target_function
from whydeep.report.charts import PARAMETERS, Column, Curve, Guide, Lines, Panel, Rows
from whydeep.report.curves import Pixels
from whydeep.report.elements import Figure, file_names
from whydeep.report.style import BLACK, new_figure

REPORTED = ("arcsinh", "cos")
"""Functions whose figures have numbers in the course report."""


def learning_curves_and_predictions(results: xr.Dataset) -> list[Figure]:
    """Learning curves and predictions of every function, in the order of the report's figures."""
    kinds = (
        ("learning-curves", "Learning curves", _learning_curves),
        ("predictions", "Predicted against true", _predictions),
    )
    figures = []
    for place, (kind, heading, make) in enumerate(kinds):
        for function, file_name in file_names(results.function.values.tolist()).items():
            name, title = f"{kind}-{file_name}", f"{heading}, {function}"
            if function in REPORTED:
                number = 1 + len(REPORTED) * place + REPORTED.index(function)
                name, title = f"figure-{number:02}", f"Figure {number}. {title}"
            figures.append(make(results.sel(function=function), name, title))
    return [figure for figure in figures if figure]


def _learning_curves(results: xr.Dataset, name: str, title: str) -> Figure | tuple[()]:
    """Losses per iteration; where a network has stopped, its last level is carried on."""
    function = results.function.item()
    stops = results.loss.notnull().sum("iteration")
    last = np.log(results.loss.where(results.iteration >= stops - WINDOW)).mean("iteration")
    carried_on = results.loss.fillna(np.exp(last)).assign_attrs(results.loss.attrs)
    trained = results.assign(loss=carried_on).isel(iteration=slice(1, max(2, int(stops.max()))))
    return Lines(
        name,
        title,
        shows=f"Mean squared error on the training points per iteration, while networks learn {function}",
        look=f"Both axes are logarithmic. Look at whether and where each curve goes below the dashed line, "
        f"{100 * SETTLED:g} % of the target's variance. Where a network has stopped, the level of its last {WINDOW} "
        "iterations is carried on.",
        x="iteration",
        log_x=True,
        panels=Panel(
            (Curve("loss", each="network", colour=NETWORK_COLOURS, line=NETWORK_LINES, parameters=True),),
            title=equation(function),
            y_label="MSE on the training points",
            guides=(Guide(SETTLED * float(results.variance.mean()), f"{100 * SETTLED:g} % of the variance"),),
        ),
    )(trained)


def _predictions(results: xr.Dataset, name: str, title: str) -> Figure:
    return Figure(
        name,
        title,
        f"Above: the function (thin line) and the predictions of all n = {results.sizes['seed']} seeds on unseen "
        f"points. Below: their error. Look at the shaded ends, |x| > {END}.",
        f"Predictions of {results.sizes['network']} networks for {results.function.item()}, and their errors.",
        partial(_draw_predictions, results),
    )


def _draw_predictions(results: xr.Dataset) -> MatplotlibFigure:
    function, networks = results.function.item(), results.network.values.tolist()
    figure = new_figure(3.2 * max(2, len(networks)), 4.8)
    grid = figure.subplots(2, len(networks), sharex=True, sharey="row", squeeze=False, height_ratios=(2, 1))
    low, high = INTERVAL
    x_line = np.linspace(low, high, 801)
    for (upper, lower), network in zip(grid.T, networks, strict=True):
        part = results.sel(network=network)
        x, errors = part.unseen_x.values.ravel(), (part.predicted - part.unseen_y).values.ravel()
        upper.plot(x_line, target_function(function)(x_line), color=BLACK, linewidth=1, label="true", zorder=3)
        dots = partial(Pixels, color=NETWORK_COLOURS[network], linestyle="", marker=".", alpha=0.35)
        upper.add_line(dots(x, part.predicted.values.ravel(), markersize=2.5, label="predicted"))
        lower.add_line(dots(x, errors, markersize=2, label="error"))
        r2 = mean_interval(part.unseen_r2).estimate
        upper.set_title(f"{network}: R² {'> 0.9999' if r2 > 0.9999 else f'= {r2:.4f}'}")
        for axes in (upper, lower):
            axes.autoscale_view()
            for ends in ((low, -END), (END, high)):
                axes.axvspan(*ends, color="#f0f0f0", zorder=0, linewidth=0)
        lower.set_xlabel("x")
        lower.axhline(0, color=BLACK, linewidth=0.7)
    grid[0, 0].set_ylabel(equation(function))
    grid[1, 0].set_ylabel("error")
    grid[0, 0].legend(markerscale=4, loc="best")
    grid[0, 0].set_xlim(low, high)
    return figure


def _iterations(row: xr.Dataset) -> str:
    trained = row.iterations.dropna("seed").astype(int).values
    return f"{trained.min():,} to {trained.max():,}" if trained.size else "-"


def _settled_at(row: xr.Dataset) -> str:
    """Mean over the seeds that settled, with their number where these are not all."""
    settled = mean_interval(row.settled_at)
    return f"{settled}" + (f" (n = {settled.n})" if settled.n < row.iterations.count() else "")


BY = ("function", "network")
TABLES = (
    Rows(
        "Training and unseen points",
        BY,
        (
            PARAMETERS,
            Column("iterations", _iterations, count=True),
            count_column("converged", "converged"),
            Column("settled at", _settled_at),
            Column("final MSE", "final_loss"),
            Column("unseen MSE", "unseen_loss"),
            Column("unseen R²", "unseen_r2"),
        ),
        note="iterations: fewest to most",
    ),
    Rows(
        "MSE on unseen points / variance of the target",
        BY,
        (
            Column(f"ends, |x| > {END}", lambda row: row.end_loss / row.variance, log=True),
            Column(f"middle, |x| <= {MIDDLE}", lambda row: row.middle_loss / row.variance, log=True),
        ),
    ),
)
