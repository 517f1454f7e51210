"""Figures and tables that are declared: lines with bands, and rows of estimates.

Both write the number of seeds and the kind of interval themselves, and take units, logarithms and limits from the
variables of the results.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import MaxNLocator, NullLocator

from whydeep.claims import mean_interval
from whydeep.errors import SettingError, near_names
from whydeep.report.elements import Figure, Table
from whydeep.report.style import (
    BLACK,
    GREY,
    LINE_STYLES,
    PALETTE,
    LineStyle,
    draw_band,
    draw_lines,
    frame,
    is_formula,
    log_scale,
    new_figure,
    percent_scale,
)
from whydeep.report.texts import count_text, fill_in, setting_fields, write_number
from whydeep.variables import SHARE, Variable, words

Measure = Callable[[xr.Dataset], Any]
FEW = 12
"""Places on an axis that can each have a label of their own."""
DISTINCT_LINES = 4
"""The line styles begin anew after so many."""


# -- lines ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A variable against the x axis, or one curve for each label of a dimension.

    Attributes:
        variable: of the results, with the dimensions seed and that of the x axis, those that `at` and `each` name, and
            others that have one label.
        label: in the legend; with `each`, "{}" in it is replaced by the label of the dimension.
        at: dimension -> label, where the variable is taken.
        each: a dimension: one curve for each of its labels.
        colour, line: by default by the curve's place in its panel; with `each`, from a label to both.
        parameters: whether the legend says how many parameters the network has.
    """

    variable: str
    label: str = ""
    at: Mapping[str, Any] = field(default_factory=dict)
    each: str = ""
    colour: str | Mapping[Any, str] = ""
    line: LineStyle | Mapping[Any, LineStyle] = ""
    parameters: bool = False


@dataclass(frozen=True)
class Guide:
    """A dashed line across a panel at a value, horizontal by default; a text is written at its end, or a label in the
    legend."""

    value: float | Measure
    label: str = ""
    vertical: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves on common axes.

    Attributes:
        curves: what is drawn.
        title: above the panel.
        y_label: by default the meaning and unit of the first curve's variable.
        guides: lines across the panel.
        log_y: whether the y axis is logarithmic; by default if the variable varies by factors.
        y_limits: by default those of the values of all seeds.
    """

    curves: tuple[Curve, ...]
    title: str = ""
    y_label: str = ""
    guides: tuple[Guide, ...] = ()
    log_y: bool | None = None
    y_limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Lines:
    """A figure of means over seeds with their intervals, as lines with bands.

    Titles and texts can name `facts` in curly brackets. Variables that vary by factors are drawn as geometric means.
    Curves at labels that the results do not have are left out, and a figure without any.

    Attributes:
        name, title: as those of a `Figure`.
        shows: what is drawn; n and the kind of interval are written after it.
        look: what to look at.
        x: a dimension, or a variable that is the same for all seeds.
        panels: rows of panels; a single panel may stand for itself.
        alt: a description for those who cannot see the figure; by default `shows`.
        x_label: by default the name of x in words.
        log_x: whether the x axis is logarithmic.
        seeds: whether every seed is drawn as well: as "dots", or as thin "lines" beside black means.
        share_y: whether the panels of a row share their y axis.
        legend: row and column of the panel that has the legend.
        size: width and height in inches; by default by the number of panels.
    """

    name: str
    title: str
    shows: str
    look: str
    x: str
    panels: tuple[tuple[Panel, ...], ...] | Panel
    alt: str = ""
    x_label: str = ""
    log_x: bool = False
    seeds: Literal["", "dots", "lines"] = ""
    share_y: bool = False
    legend: tuple[int, int] = (0, 0)
    size: tuple[float, float] | None = None

    def __call__(self, results: xr.Dataset) -> Figure | tuple[()]:
        """Return the figure of some results, if they hold anything that it shows."""
        if not any(_curves(panel, results) for row in self._rows() for panel in row):
            return ()
        shows, look, title, alt = (fill_in(text, results) for text in (self.shows, self.look, self.title, self.alt))
        caption = f"{shows}: {self._band(results)}. {look}"
        return Figure(self.name, title, caption, alt or f"Line chart: {shows}.", lambda: self.draw(results))

    def draw(self, results: xr.Dataset) -> MatplotlibFigure:
        """Draw the figure."""
        rows = self._rows()
        size = {1: 7.2, 2: 9.6}.get(len(rows[0]), 11), 4.2 if len(rows) == 1 else 3.2 * len(rows)
        figure = new_figure(*self.size or size)
        share_y: Literal["row", "none"] = "row" if self.share_y else "none"
        grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharex=len(rows) > 1, sharey=share_y)
        for axes_of_row, panels in zip(grid, rows, strict=True):
            values = [self._draw_panel(axes, panel, results) for axes, panel in zip(axes_of_row, panels, strict=True)]
            if self.share_y:
                values = [np.concatenate(values)] * len(panels)
            for axes, panel, drawn in zip(axes_of_row, panels, values, strict=True):
                _arrange_y(axes, panel, drawn, results)
            for axes in axes_of_row[1:] if self.share_y else ():
                axes.set_ylabel("")
        for axes in grid[-1]:
            axes.set_xlabel(self.x_label or words(self.x))
        handles, _ = grid[self.legend].get_legend_handles_labels()
        if len(handles) > 1:
            legend, panel = grid[self.legend].legend(), rows[self.legend[0]][self.legend[1]]
            labels = [curve.label for curve in panel.curves] + [guide.label for guide in panel.guides]
            for text in legend.get_texts():
                text.set_parse_math(is_formula(*labels))
        return figure

    def _rows(self) -> tuple[tuple[Panel, ...], ...]:
        return ((self.panels,),) if isinstance(self.panels, Panel) else self.panels

    def _band(self, results: xr.Dataset) -> str:
        drawn = [curve for row in self._rows() for panel in row for curve in _curves(panel, results)]
        logs = [variable.log for variable, *_ in drawn]
        counts = np.concatenate([values.notnull().sum("seed").values.ravel() for *_, values in drawn])
        if self.x not in setting_fields(results):  # a curve may end earlier than another
            counts = counts[counts > 0]
        least, most = (counts.min(), counts.max()) if counts.size else (results.sizes["seed"],) * 2
        n = f"{most} seeds" if least == most else f"{least} to {most} seeds, those that have a value,"
        mean, kind = "mean (geometric on logarithmic axes)", "t; on the logarithm there"
        if all(logs):
            mean, kind = "geometric mean", "t on the logarithm"
        elif not any(logs):
            mean, kind = "mean", "t"
        seeds = {"": "", "dots": ", and every seed as a dot", "lines": ", and every seed as a thin line"}[self.seeds]
        return f"{mean} over n = {n} with its 95 % interval ({kind}){seeds}"

    def _draw_panel(self, axes: Axes, panel: Panel, results: xr.Dataset) -> np.ndarray:
        """Draw the curves of a panel, and return their values and those of its horizontal guides."""
        if self.log_x:
            axes.set_xscale("log")  # first, as long curves are thinned evenly on the axis
        drawn: list[np.ndarray] = []
        for variable, label, colour, line, values in _curves(panel, results):
            x, dimension = self._places(values, results)
            table = values.transpose("seed", dimension, ...).values.reshape(values.sizes["seed"], len(x))
            drawn.append(table.ravel())
            if self.seeds == "lines":
                draw_lines(axes, x, table, colour)
            draw_band(
                axes,
                x,
                table,
                label=label,
                colour=BLACK if self.seeds == "lines" else colour,
                line=line,
                log=variable.log,
                limits=variable.limits,
                markers=self.seeds == "dots" or len(x) < 5,
                seeds=self.seeds == "dots",
            )
        for guide in panel.guides:
            value = guide.value(results) if callable(guide.value) else guide.value
            across = axes.axvline if guide.vertical else axes.axhline
            across(value, color=GREY, linestyle="--", linewidth=1, label=guide.label or None)
            drawn += [] if guide.vertical else [np.array([value], dtype=float)]
        axes.set_title(fill_in(panel.title, results), parse_math=is_formula(panel.title))
        self._arrange_x(axes, results)
        return np.concatenate(drawn) if drawn else np.array([])

    def _places(self, values: xr.DataArray, results: xr.Dataset) -> tuple[np.ndarray, str]:
        """Return where values lie on the x axis, and the dimension that lies along it.

        Raises:
            SettingError: no dimension does, or several.
        """
        _variable(self.x, results)
        along = {self.x} if self.x in values.dims else {*results[self.x].dims} & {*values.dims} - {"seed"}
        further = [str(name) for name, size in values.sizes.items() if name not in {*along, "seed"} and size > 1]
        if len(along) != 1 or further:
            has = f"the dimension {' and '.join(further)} beside" if further else "no dimension along"
            raise SettingError(
                f"{values.name} has {has} x = {self.x}: give a label of each other dimension (at), or a curve for each "
                "of its labels (each)"
            )
        (dimension,) = map(str, along)
        places = values[self.x] if self.x in values.dims else results[self.x].max("seed")
        return places.values, dimension

    def _arrange_x(self, axes: Axes, results: xr.Dataset) -> None:
        places = results[self.x].max("seed").values if "seed" in results[self.x].dims else results[self.x].values
        is_dimension = self.x in results.dims
        if not self.log_x:
            if is_dimension and np.issubdtype(places.dtype, np.integer):
                axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=(1, 2, 5, 10)))
        elif is_dimension and len(places) <= FEW:
            axes.set_xticks(places, [write_number(place) for place in places.tolist()], minor=False)
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
            positive = places[np.isfinite(places) & (places > 0)]
            if positive.size:
                margin = 1.1 if is_dimension else 1.3
                axes.set_xlim(positive.min() / margin, positive.max() * margin)


def _variable(name: str, results: xr.Dataset) -> Variable:
    """Return what a variable of some results is.

    Raises:
        SettingError: the results do not have it.
    """
    if name not in results.variables:
        raise SettingError(f"the results have no variable {name!r}: {near_names(name, map(str, results.variables))}")
    return Variable.of(results[name])


def _curves(panel: Panel, results: xr.Dataset) -> list[tuple[Variable, str, str, LineStyle, xr.DataArray]]:
    """The curves of a panel: variable, label, colour, line and values."""
    curves: list[tuple[Variable, str, str, LineStyle, xr.DataArray]] = []
    given = {colour for curve in panel.curves if isinstance(curve.colour, Mapping) for colour in curve.colour.values()}
    palette = [colour for colour in PALETTE if colour not in given] or PALETTE
    for curve in panel.curves:
        variable = _variable(curve.variable, results)
        if any(label not in results[dimension].values for dimension, label in curve.at.items()):
            continue
        chosen = results.sel(dict(curve.at))
        labels = chosen[curve.each].values.tolist() if curve.each else [None]
        for label in labels:
            part = chosen.sel({curve.each: label}) if curve.each else chosen
            place = len(curves)
            colour = curve.colour.get(label) if isinstance(curve.colour, Mapping) else curve.colour
            line = curve.line.get(label) if isinstance(curve.line, Mapping) else curve.line
            text = (curve.label or "{}").format(write_number(label)) if curve.each else curve.label
            size = f" ({count_text(part.parameters)} parameters)" if curve.parameters else ""
            curves.append(
                (
                    variable,
                    f"{text}{size}",
                    colour or palette[place % len(palette)],
                    line or LINE_STYLES[(place % len(palette) + place // len(palette)) % DISTINCT_LINES],
                    part[curve.variable],
                )
            )
    return curves


def _arrange_y(axes: Axes, panel: Panel, values: np.ndarray, results: xr.Dataset) -> None:
    """Set label, scale and limits of a y axis."""
    variable = Variable.of(results[panel.curves[0].variable])
    log = variable.log if panel.log_y is None else panel.log_y
    if panel.y_limits:
        axes.set_ylim(panel.y_limits)
    else:
        frame(axes, values, log=log)
    if log:
        log_scale(axes)
    elif variable.limits == SHARE:
        percent_scale(axes)
    label = panel.y_label or str(variable)
    axes.set_ylabel(fill_in(panel.y_label, results) or label, parse_math=is_formula(label))


# -- rows -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of a table: an estimate over seeds with its interval, a number that all seeds share, or a text.

    Attributes:
        header: its heading.
        measure: the name of a variable, or a function of the results of a row that returns an array [seed], or a text.
        at: dimension -> label, where a variable is taken.
        log, limits: by default those of the variable.
        count: whether all seeds share the number, such as that of parameters: no interval is named then.
    """

    header: str
    measure: str | Measure
    at: Mapping[str, Any] = field(default_factory=dict)
    log: bool | None = None
    limits: tuple[float, float] | None = None
    count: bool = False

    def cell(self, row: xr.Dataset) -> str:
        """Write the cell of a row.

        Raises:
            SettingError: it has more than one value for each seed.
        """
        if isinstance(self.measure, str):
            _variable(self.measure, row)
            value = row[self.measure].sel(dict(self.at))
        else:
            value = self.measure(row)
        if isinstance(value, str):
            return value
        further = [str(name) for name, size in getattr(value, "sizes", {}).items() if name != "seed" and size > 1]
        if further:
            raise SettingError(
                f"the column {self.header!r} has the dimension {' and '.join(further)}: give a label of it (at), or "
                "rows for each of its labels (by)"
            )
        if self.count:
            return count_text(value)
        variable = self.variable(row)
        log = variable.log if self.log is None else self.log
        return str(mean_interval(value, log=log, limits=variable.limits if self.limits is None else self.limits))

    def variable(self, results: xr.Dataset) -> Variable:
        """Return the variable that is shown; without a meaning if it is computed."""
        return _variable(self.measure, results) if isinstance(self.measure, str) else Variable("")

    def is_geometric(self, results: xr.Dataset) -> bool:
        """Whether its estimates are geometric means."""
        return self.variable(results).log if self.log is None else self.log


PARAMETERS = Column("parameters", "parameters", count=True)


@dataclass(frozen=True)
class Rows:
    """A table with a row for each label of a dimension, or each combination of labels of several.

    By seed, it has a row for each seed and a last one for their mean.

    Attributes:
        caption: what is shown; n and the kind of interval are written after it.
        by: the dimension or dimensions.
        columns: names of variables, or `Column`.
        select: from the results to those that are shown, such as those of the last epoch.
        note: a sentence after the caption.
    """

    caption: str
    by: str | tuple[str, ...]
    columns: tuple[str | Column, ...]
    select: Callable[[xr.Dataset], xr.Dataset] | None = None
    note: str = ""

    def __call__(self, results: xr.Dataset) -> Table:
        """Return the table of some results."""
        names = (self.by,) if isinstance(self.by, str) else self.by
        chosen = self.select(results) if self.select else results
        columns = [Column(words(column), column) if isinstance(column, str) else column for column in self.columns]
        if names == ("seed",):
            parts = [(str(seed), chosen.sel(seed=[seed])) for seed in chosen.seed.values.tolist()] + [("mean", chosen)]
        else:
            every = product(*(chosen[name].values.tolist() for name in names))
            parts = [
                (", ".join(map(write_number, labels)), chosen.sel(dict(zip(names, labels, strict=True))))
                for labels in every
            ]
        rows = tuple((name, *(column.cell(part) for column in columns)) for name, part in parts)
        header = (", ".join(map(words, names)), *(column.header for column in columns))
        return Table(self._caption(chosen, columns, results), header, rows)

    def _caption(self, chosen: xr.Dataset, columns: Sequence[Column], results: xr.Dataset) -> str:
        estimates = [column for column in columns if not column.count]
        geometric = [column.header for column in estimates if column.is_geometric(chosen)]
        n = f"over n = {results.sizes['seed']} seeds with 95 % interval"
        note = f"; {self.note}" if self.note else ""
        caption = fill_in(self.caption, results)
        if geometric and len(geometric) == len(estimates):
            return f"{caption}: geometric mean {n}{note}"
        if not estimates:
            return f"{caption}, n = {results.sizes['seed']} seeds{note}"
        names = f" ({', '.join(geometric)}: geometric mean)" if geometric else ""
        return f"{caption}: mean {n}{names}{note}"


def rows_of_everything(results: xr.Dataset, dimensions: Sequence[str]) -> Table:
    """Return a table of all variables that have one number for each setting and seed: a row for each setting."""
    fitting = {*dimensions, "seed"}
    columns = tuple(str(name) for name in results.data_vars if set(results[name].dims) <= fitting)
    if not dimensions:
        results, dimensions = results.expand_dims(setting=["all"]), ("setting",)
    return Rows("All variables with one number per seed", tuple(dimensions), columns)(results)
