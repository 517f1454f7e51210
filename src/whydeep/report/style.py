"""One look for all figures.

The palette is Okabe and Ito's (2008), which colour-blind readers can tell apart; line styles differ too, so
that print in grey stays readable. A network has the same colour in every figure.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

from whydeep.claims import interval_band
from whydeep.report import curves
from whydeep.variables import UNLIMITED, Limits

BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#aa4499"
SKY, ORANGE, BLACK, GREY = "#56b4e9", "#e69f00", "#1a1a1a", "#767676"
LOSS_COLOURS = "viridis"  # even in lightness, readable for colour-blind readers and in grey
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
LineStyle = str | tuple[float, tuple[float, ...]]
LINE_STYLES: tuple[LineStyle, ...] = ("-", (0, (5, 1.5)), (0, (4, 1.2, 1, 1.2)), (0, (1.2, 1.2)), "-", (0, (5, 1.5)))

MOST_POINTS = 700

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "whydeep",
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw with the one style inside, whatever a user has set, and leave matplotlib as it was."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
        yield


def new_figure(width: float = 7.2, height: float = 4.2) -> Figure:
    """Return an empty figure, sizes in inches; it belongs to no window and needs no screen."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def draw_band(
    axes: Axes,
    x: ArrayLike,
    values: ArrayLike,
    *,
    label: str,
    colour: str,
    line: LineStyle = "-",
    log: bool = False,
    limits: Limits = UNLIMITED,
    markers: bool = False,
    seeds: bool = False,
) -> None:
    """Draw the mean over seeds of values [seed, point], with its 95 % interval as a band.

    With `markers` the points are marked, with `seeds` every seed's own are as well.

    With `log` both are computed on the logarithm (geometric mean), as for losses; the band is cut at the `limits`, as
    those of an accuracy, 0 and 1. Long curves are thinned to at most `MOST_POINTS` (more than a screen can show only
    makes files large): evenly, or on an axis that was made logarithmic before, evenly in the logarithm of their places.
    """
    if np.shape(values)[1] == 0:
        return
    count = np.shape(values)[1]
    thin = np.arange(0, count, -(-count // MOST_POINTS))
    if count > MOST_POINTS and axes.get_xscale() == "log":
        thin = np.unique(np.geomspace(1, count, MOST_POINTS).round().astype(int)) - 1
    x = np.asarray(x)[thin]
    low, mean, high = interval_band(np.asarray(values)[:, thin], log=log, limits=limits)
    axes.plot(x, mean, color=colour, linestyle=line, label=label, marker="o" if markers else None, markersize=4)
    curves.with_interval(axes.lines[-1], low, high)
    if seeds:
        for points in np.asarray(values)[:, thin]:
            dots = axes.plot(x, points, ".", color=colour, alpha=0.45, markersize=4, markeredgewidth=0)
            curves.belongs(dots[0], label)
    if np.isfinite(low).any():
        band = axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        curves.belongs(band, label)


def draw_lines(axes: Axes, x: ArrayLike, values: ArrayLike, colour: str) -> None:
    """Draw values [seed, point] as a thin line for each seed, thinned to the extremes of neighbouring points."""
    pairs = []
    for series in np.asarray(values):
        kept = extremes(series, MOST_POINTS)
        pairs += [np.asarray(x)[kept], series[kept]]
    curves.without_values(axes.plot(*pairs, color=colour, linewidth=0.4, alpha=0.5), "each seed")
    axes.margins(x=0)


def extremes(values: ArrayLike, runs: int) -> np.ndarray:
    """Say where the smallest and the largest value lie in each of so many runs of neighbours: what an eye would see.

    >>> extremes([0, 5, 1, 1, 9, np.nan], 2).tolist()
    [0, 1, 3, 4]
    """
    numbers = np.asarray(values, dtype=float)
    low, high = np.where(np.isnan(numbers), np.inf, numbers), np.where(np.isnan(numbers), -np.inf, numbers)
    pieces = np.array_split(np.arange(numbers.size), min(runs, numbers.size))
    return np.unique([(places[low[places].argmin()], places[high[places].argmax()]) for places in pieces])


def frame(axes: Axes, values: ArrayLike, *, log: bool = False) -> None:
    """Set the limits of the y axis to the values of all seeds; the bands of few seeds may go far beyond."""
    finite = np.asarray(values)[np.isfinite(values)]
    finite = finite[finite > 0] if log else finite
    if finite.size == 0:
        axes.set_ylim(0.1, 1)  # a logarithmic axis needs limits to be drawn
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=GREY)
        return
    if finite.min() == finite.max():
        return
    low, high = float(finite.min()), float(finite.max())
    if log:
        margin = (high / low) ** 0.06
        axes.set_ylim(low / margin, high * margin)
    else:
        margin = 0.06 * (high - low)
        axes.set_ylim(low - margin, high + margin)


def log_scale(axes: Axes) -> None:
    """Make the y axis, whose limits are set, logarithmic, with as many plain numbers as fit beside each other."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if low <= 0:
        return  # nothing finite is drawn
    decades = np.log10(high / low)
    multiples: Sequence[float] = np.arange(1, 10, 0.5).tolist()
    for least, fewer in ((0.3, (1, 1.5, 2, 3, 4, 5, 6, 8)), (0.8, (1, 2, 5)), (3, (1,))):
        multiples = fewer if decades > least else multiples
    axes.yaxis.set_major_locator(LogLocator(subs=multiples))
    axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def percent_scale(axes: Axes) -> None:
    """Write the shares on the y axis as percentages."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def is_formula(*texts: str) -> bool:
    """Say whether the author of some texts means formulas, between `$`; in what is filled in, `$` is a character."""
    return any("$" in text for text in texts)


def notice(figure: Figure, text: str) -> None:
    """Write a notice above everything else, in the figure itself."""
    if text:
        lines = textwrap.fill(text, width=int(13 * figure.get_figwidth()))
        figure.text(0.5, 1.02, lines, ha="center", va="bottom", fontsize=8.5, color=VERMILION, parse_math=False)


def to_files(figure: Figure) -> dict[str, bytes]:
    """Return a figure as files, ".png" and ".svg"; the latter knows its curves' values. Equal figures, equal files."""
    description = curves.describe(figure)
    files = {}
    with figure_style(), mpl.rc_context({"figure.constrained_layout.use": False}):
        figure.set_dpi(160)
        figure.draw_without_rendering()  # arranged once, for both files
        figure.set_layout_engine(None)  # with any other, each file would first be drawn for nothing
        box = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
        for ending, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
            file = io.BytesIO()
            figure.savefig(file, format=ending[1:], dpi=160, bbox_inches=box, metadata=metadata)
            files[ending] = file.getvalue()
    files[".svg"] = curves.embed(files[".svg"].decode("utf-8"), description).encode("utf-8")
    return files
