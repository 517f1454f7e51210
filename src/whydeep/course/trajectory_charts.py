"""Figures and table of E3: paths of weights beside random walks, and the loss surface under them."""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from whydeep.report import curves
from whydeep.report.charts import Column, Rows
from whydeep.report.elements import Figure
from whydeep.report.style import BLACK, GREY, LOSS_COLOURS, new_figure


def paths_and_surface(results: xr.Dataset) -> list[Figure]:
    """The paths of each part beside random walks, and the loss surface under them, of the first seed that has them."""
    learned = results.isel(function=0)
    usable = learned.coordinates.notnull().all(("part", "path", "series", "snapshot", "component"))
    if not usable.any():
        return []
    shown, n = learned.sel(seed=learned.seed[usable][0]), results.sizes["seed"]
    return [
        *(_paths_figure(shown, part, 7 + place, n) for place, part in enumerate(shown.part.values.tolist())),
        _surface_figure(shown, n),
    ]


def _paths_figure(results: xr.Dataset, part: str, number: int, seeds: int) -> Figure:
    """Paths of a part of the network beside random walks; results are those of one of so many seeds."""
    return Figure(
        f"figure-{number:02}",
        f"Figure {number}. Paths of the weights, {part}",
        f"Left: {results.sizes['series']} trainings (seed {results.seed.item()} of n = {seeds}), "
        f"{results.sizes['snapshot']} snapshots each, on their first two principal components; from circle to square, "
        "coloured by the loss, which is written at the end. Right: random walks with the same starts and lengths of "
        "steps. The axes say how much of the variance a component explains: where that is as much for the walks, these "
        "shares do not tell training from them. Compare how far and how straight the paths go, and how the loss "
        "changes along them.",
        f"Paths of the weights of the {part} on two principal components, beside random walks.",
        partial(_draw_paths, results, part),
    )


def _surface_figure(results: xr.Dataset, seeds: int) -> Figure:
    """The loss on the plane of all weights, and the paths projected to it."""
    residual = float(results.off_plane.median())
    ratio = float((results.plane_loss / results.loss).isel(snapshot=-1).median())
    return Figure(
        "loss-surface",
        "Loss surface under the paths",
        f"Mean squared error on the plane of figure 8 (seed {results.seed.item()} of n = {seeds}; biases at their "
        f"mean), and the {results.sizes['series']} paths projected to it, their marks in the colour of their own loss. "
        f"The median off-plane residual is {residual:.2f} (0: in the plane, 1: the plane shows nothing), and at the "
        f"ends of the paths the loss of the plane is {ratio:.3g} times their own (median). Look at the shape of the "
        "surface around the paths, and at how much of them the plane shows.",
        "Contour map of the loss on a plane through the weights, with the paths of the trainings on it.",
        partial(_draw_surface, results),
    )


def _draw_paths(results: xr.Dataset, part: str) -> MatplotlibFigure:
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2)
    shown = results.sel(part=part)
    norm = LogNorm(*_loss_range(results.loss.values.min(), results.loss.values.max()))
    for axes, path in ((left, "trained"), (right, "random walk")):
        for series in range(shown.sizes["series"]):
            x, y = shown.coordinates.sel(path=path).isel(series=series).values.T
            losses = shown.loss.isel(series=series).values
            values = {"MSE": losses} if path == "trained" else {}
            (line,) = axes.plot(x, y, color=GREY, linewidth=0.7, zorder=1)
            curves.make_path(line, f"series {series + 1}", iteration=shown.iteration_of_snapshot, **values)
            artists = _mark_ends(axes, x, y)
            if path == "trained":
                marks = axes.scatter(x, y, c=losses, norm=norm, cmap=LOSS_COLOURS, s=14, zorder=2, linewidth=0)
                artists += [marks, _write_loss(axes, losses[-1], (x[-1], y[-1]))]
            else:
                artists.append(axes.scatter(x, y, color=GREY, s=9, zorder=2, linewidth=0))
            for artist in artists:
                curves.belongs(artist, f"series {series + 1}")
        _label_components(axes, shown.explained.sel(path=path))
    limits = [np.array([axes.get_xlim(), axes.get_ylim()]) for axes in (left, right)]
    low, high = np.minimum(*limits)[:, 0], np.maximum(*limits)[:, 1]
    for axes in (left, right):  # the same scale, so that distances can be compared
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    left.set_title(f"training, {part}")
    right.set_title("random walk")
    figure.colorbar(marks, ax=left, label="MSE on the training points")
    _explain_marks(figure)
    return figure


def _draw_surface(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure(7.2, 5.2)
    axes = figure.subplots()
    surface = results.surface.values.T
    low, high = _loss_range(min(surface.min(), results.loss.values.min()), np.quantile(surface, 0.95))
    levels, norm = np.geomspace(low, high, 25), LogNorm(low, high)
    first, second = results.surface_first.values, results.surface_second.values
    shown = axes.contourf(first, second, surface, levels=levels, norm=norm, cmap=LOSS_COLOURS, extend="max")
    axes.contour(first, second, surface, levels=levels[::2], colors="white", linewidths=0.3)
    paths = results.coordinates.sel(part="whole network", path="trained").values
    for number, (path, losses) in enumerate(zip(paths, results.loss.values, strict=True), 1):
        x, y = path.T
        outline, line = (axes.plot(x, y, color=c, linewidth=w)[0] for c, w in (("white", 2.4), (BLACK, 1)))
        curves.make_path(line, f"series {number}", iteration=results.iteration_of_snapshot, MSE=losses)
        marks = axes.scatter(
            x, y, c=losses, norm=norm, cmap=LOSS_COLOURS, s=18, edgecolor=BLACK, linewidth=0.5, zorder=4
        )
        for artist in (outline, marks, *_mark_ends(axes, x, y), _write_loss(axes, losses[-1], (x[-1], y[-1]))):
            curves.belongs(artist, f"series {number}")
    _label_components(axes, results.explained.sel(part="whole network", path="trained"))
    axes.set_title("Loss on the plane of all weights")
    axes.grid(visible=False)
    decades = 10.0 ** np.arange(np.ceil(np.log10(levels[0])), np.log10(levels[-1]))
    figure.colorbar(shown, ax=axes, label="MSE on the training points", ticks=decades, format="%g")
    _explain_marks(figure)
    return figure


def _loss_range(low: float, high: float) -> tuple[float, float]:
    """Ends of a logarithmic scale of colours, which differ even where all losses are equal."""
    low = max(float(low), float(np.finfo(np.float32).tiny))
    return low, max(float(high), 1.001 * low)


def _label_components(axes: Axes, explained: xr.DataArray) -> None:
    shares = 100 * explained.values
    axes.set(xlabel=f"component 1 ({shares[0]:.0f} %)", ylabel=f"component 2 ({shares[1]:.0f} %)")


def _mark_ends(axes: Axes, x: np.ndarray, y: np.ndarray) -> list[Artist]:
    first = axes.plot(x[0], y[0], "o", color=BLACK, markerfacecolor="white", markersize=6, zorder=3)
    last = axes.plot(x[-1], y[-1], "s", color=BLACK, markersize=5, zorder=3)
    return [*first, *last]


def _write_loss(axes: Axes, value: float, place: tuple[float, float]) -> Artist:
    style: dict[str, Any] = {
        "fontsize": 8,
        "path_effects": [withStroke(linewidth=2.5, foreground="white")],
        "zorder": 5,
    }
    return axes.annotate(f"{value:.2g}", place, (6, 5), textcoords="offset points", **style)


def _explain_marks(figure: MatplotlibFigure) -> None:
    first, last = (
        Line2D([], [], color=BLACK, linestyle="", marker=marker, markerfacecolor=fill)
        for marker, fill in (("o", "white"), ("s", BLACK))
    )
    figure.legend([first, last], ["first snapshot", "last snapshot"], loc="outside lower center", ncols=2)


def _trained_and_walks(results: xr.Dataset) -> xr.Dataset:
    """Shares of the first two components, and directness, of the training and of random walks [part, path, seed]."""
    learned = results.isel(function=0, drop=True)
    direct = xr.concat([learned.directness, learned.null_directness], dim=learned.path).mean("series", skipna=False)
    first, second = (learned.explained.isel(shown_component=component) for component in range(2))
    return xr.Dataset({"first": first, "second": second, "directness": direct.assign_attrs(learned.directness.attrs)})


TABLE = Rows(
    "Shares of the variance and directness of {number_of_series} series of each seed",
    ("part", "path"),
    (Column("explained by component 1", "first"), Column("by component 2", "second"), "directness"),
    select=_trained_and_walks,
)
