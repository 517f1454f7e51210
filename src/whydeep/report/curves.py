"""What the report's script knows of a drawing: where its panels are, and the values of their curves.

It travels inside the SVG file, in an element that no program draws. A curve's parts (line, band, dots) have identifiers
in the drawing, so that the script can hide them; a panel's background has one, so that the script can find the panel on
the screen and turn the pointer's place into values.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

OPENING, CLOSING = '<desc id="curves">', "</desc>"
MOST_POINTS = 400
"""Most values that are kept of a curve."""

LABEL, INTERVAL, QUIET, PATH = "_curve_label", "_curve_interval", "_curve_quiet", "_curve_path"


class Pixels(Line2D):
    """Many dots, drawn as pixels so that an SVG file stays small, in a group that has the dots' identifier."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the dots."""
        renderer.open_group("pixels", gid=self.get_gid())
        renderer.start_rasterizing()
        super().draw(renderer)
        renderer.stop_rasterizing()
        renderer.close_group("pixels")


def belongs(artist: Artist, label: str) -> None:
    """Say that an artist, such as a band, belongs to the curve with this label."""
    setattr(artist, LABEL, label)


def with_interval(line: Line2D, low: ArrayLike, high: ArrayLike) -> None:
    """Keep a curve's interval with it, to be shown beside its values."""
    setattr(line, INTERVAL, (np.asarray(low, dtype=float), np.asarray(high, dtype=float)))


def without_values(lines: Sequence[Line2D], label: str) -> None:
    """Say that lines are one curve, such as every seed's, whose single values are not to be shown."""
    lines[0].set_label(label)
    setattr(lines[0], QUIET, True)
    for line in lines[1:]:
        belongs(line, label)


def make_path(line: Line2D, label: str, **more: ArrayLike) -> None:
    """Say that a line is a path through the plane, pointed at by its points; `more` is known of each, by name."""
    line.set_label(label)
    points = np.shape(line.get_xdata())
    setattr(
        line, PATH, {name: np.broadcast_to(np.asarray(numbers, dtype=float), points) for name, numbers in more.items()}
    )


def describe(figure: Figure) -> dict[str, Any]:
    """Describe the panels of a figure, and give identifiers to their parts.

    Returns:
        panels: each with the identifier of its background (`id`), `x` and `y` (scale, limits and label) and `series`:
        label, colour, identifiers of the parts, values x and y, low and high where there is an interval, what more is
        known of each value, and whether the values are dots, or quiet (not to be shown).
        legend: labels and the identifiers of their texts in the drawn legends.
    """
    panels: list[dict[str, Any]] = []
    for number, axes in enumerate(figure.axes):
        series = [curve for curve in _series(axes, number) if curve["x"]]
        if series:
            axes.patch.set_gid(f"panel-{number}")
            panels.append(
                {
                    "id": f"panel-{number}",
                    "x": _axis(axes.get_xscale(), axes.get_xlim(), _x_label(axes)),
                    "y": _axis(axes.get_yscale(), axes.get_ylim(), axes.get_ylabel()) | {"percent": _is_percent(axes)},
                    "series": series,
                }
            )
    labels = {curve["label"] for panel in panels for curve in panel["series"]}
    return {"panels": panels, "legend": _legend(figure, labels)}


def _legend(figure: Figure, labels: set[str]) -> list[dict[str, str]]:
    """Give identifiers to the texts of the legends that name a curve; a number in brackets may follow its label."""
    entries: list[dict[str, str]] = []
    for axes in figure.axes:
        legend = axes.get_legend()
        for text in legend.get_texts() if legend else ():
            written = text.get_text()
            label = written if written in labels else written.rpartition(" (")[0]
            if label in labels:
                text.set_gid(f"legend-{len(entries)}")
                entries.append({"id": f"legend-{len(entries)}", "label": label})
    return entries


def _axis(scale: str, limits: tuple[float, float], label: str) -> dict[str, Any]:
    return {"scale": scale, "limits": [float(limit) for limit in limits], "label": label}


def _x_label(axes: Axes) -> str:
    """Label of the x axis, which may be written below another panel that shares it."""
    sharing = axes.get_shared_x_axes().get_siblings(axes)
    return axes.get_xlabel() or next((panel.get_xlabel() for panel in sharing if panel.get_xlabel()), "")


def _is_percent(axes: Axes) -> bool:
    return str(axes.yaxis.get_major_formatter()(0.5, 0)).endswith("%")


def _series(axes: Axes, number: int) -> list[dict[str, Any]]:
    """Describe the labelled lines of a panel, and give identifiers to all that belongs to them."""
    curves: dict[str, dict[str, Any]] = {}
    for line in axes.lines:
        label = str(line.get_label())
        on_values = line.get_transform() == axes.transData  # not so a line across the panel
        if not label.startswith("_") and not hasattr(line, LABEL) and on_values:
            curves.setdefault(label, _values(line) | {"parts": []})["parts"].append(line)
    for artist in (*axes.lines, *axes.collections, *axes.texts):
        owner = getattr(artist, LABEL, None)
        if owner in curves:
            curves[owner]["parts"].append(artist)
    for index, curve in enumerate(curves.values()):
        for place, artist in enumerate(curve["parts"]):
            artist.set_gid(f"curve-{number}-{index}-{place}")
        curve["parts"] = [artist.get_gid() for artist in curve["parts"]]
    return list(curves.values())


def _values(line: Line2D) -> dict[str, Any]:
    x, y = (np.asarray(data, dtype=float) for data in line.get_data(orig=True))
    low, high = getattr(line, INTERVAL, (np.full(len(x), np.nan),) * 2)
    thin = slice(None, None, max(1, -(-len(x) // MOST_POINTS)))
    finite = np.isfinite(x[thin]) & np.isfinite(y[thin])
    colour = line.get_color()
    values: dict[str, Any] = {
        "label": str(line.get_label()),
        "colour": colour if isinstance(colour, str) else "#1a1a1a",
        "quiet": hasattr(line, QUIET),
        "dots": line.get_linestyle() in ("None", "none", "") or hasattr(line, PATH),
        "x": _rounded(x[thin][finite]),
        "y": _rounded(y[thin][finite]),
    }
    if np.isfinite(low).any():
        values |= {"low": _rounded(low[thin][finite]), "high": _rounded(high[thin][finite])}
    more = getattr(line, PATH, {})
    if more:
        values["more"] = {name: _rounded(column[thin][finite]) for name, column in more.items()}
    return values


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]


def embed(svg: str, description: dict[str, Any]) -> str:
    """Put a description into the text of an SVG file."""
    text = (
        json.dumps(description, separators=(",", ":"))
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
    )
    place = svg.rindex("</svg>")
    return f"{svg[:place]}{OPENING}{text}{CLOSING}\n{svg[place:]}" if description["panels"] else svg


def extract(svg: str) -> dict[str, Any] | None:
    """Return the description in the text of an SVG file, None if there is none."""
    start = svg.find(OPENING)
    if start < 0:
        return None
    return json.loads(svg[start + len(OPENING) : svg.index(CLOSING, start)])
