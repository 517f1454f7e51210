"""What a drawing tells of its curves: the values that were drawn, in the file, under names that are there."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from whydeep.claims import interval_band
from whydeep.report import curves
from whydeep.report.page import Drawing, _curves, _drawing
from whydeep.report.style import draw_band, figure_style, new_figure, to_files
from whydeep.variables import SHARE, UNLIMITED

X = np.arange(1, 21)
LOSSES = np.exp(np.random.default_rng(0).normal(size=(4, 20)))
HOSTILE = "a < b & c --> d </script> </desc> </svg> \"quoted\" 'too' \\ µ"


def drawn(*, log=True, label="deep", seeds=False, markers=False):
    """A figure of one panel, with two bands and a legend."""
    with figure_style():
        figure = new_figure(8, 5)
        axes = figure.subplots()
        draw_band(axes, X, LOSSES, label=label, colour="#0072b2", log=log, seeds=seeds, markers=markers)
        draw_band(axes, X, LOSSES[:1] * 2, label="one seed", colour="#d55e00", log=log)
        axes.axhline(1, label="guessing")
        axes.set(xscale="log", yscale="log" if log else "linear", xlabel="size", ylabel="loss")
        axes.legend()
    return figure


def to_svg(figure):
    return to_files(figure)[".svg"].decode("utf-8")


def identifiers(svg):
    return [element.get("id") for element in ET.fromstring(svg).iter() if element.get("id")]


@pytest.mark.parametrize("seeds", [False, True])
def test_what_is_saved_can_be_read_again(seeds):
    known = curves.extract(to_svg(drawn(seeds=seeds)))
    assert known == json.loads(json.dumps(curves.describe(drawn(seeds=seeds)), allow_nan=False))
    (panel,) = known["panels"]
    assert [one["label"] for one in panel["series"]] == ["deep", "one seed"]  # a straight line is no curve
    assert [one["label"] for one in known["legend"]] == ["deep", "one seed"]
    assert panel["x"]["scale"] == panel["y"]["scale"] == "log"
    assert (panel["x"]["label"], panel["y"]["label"]) == ("size", "loss")


@pytest.mark.parametrize("log", [False, True])
def test_values_and_intervals_are_those_that_were_computed(log):
    known = curves.extract(to_svg(drawn(log=log)))
    deep, alone = known["panels"][0]["series"]
    low, mean, high = interval_band(LOSSES, log=log)
    for name, values in (("x", X), ("low", low), ("y", mean), ("high", high)):
        np.testing.assert_allclose(deep[name], values, rtol=5.1e-4)
    assert deep["colour"] == "#0072b2"
    assert not deep["dots"]
    assert not {"low", "high"} & set(alone)  # one seed has no interval


def test_a_number_may_follow_the_label_in_the_legend():
    figure = drawn()
    (axes,) = figure.axes
    axes.legend(axes.lines, ["deep (20)", "one seed (1)", "deep guessing"])
    assert [one["label"] for one in curves.describe(figure)["legend"]] == ["deep", "one seed"]


def test_limits_are_those_of_the_drawing():
    figure = drawn()
    figure.axes[0].set(xlim=(0.5, 30), ylim=(100, 1e-3))
    (panel,) = curves.describe(figure)["panels"]
    assert panel["x"]["limits"] == [0.5, 30]
    assert panel["y"]["limits"] == [100, 1e-3]


@pytest.mark.parametrize("markers", [False, True])
def test_identifiers_are_in_the_file_once(markers):
    svg = to_svg(drawn(seeds=True, markers=markers))
    known = curves.extract(svg)
    (panel,) = known["panels"]
    named = [panel["id"], *(entry["id"] for entry in known["legend"])]
    named += [part for one in panel["series"] for part in one["parts"]]
    assert len(set(named)) == len(named)
    there = identifiers(svg)
    assert [there.count(name) for name in named] == [1] * len(named)
    deep, alone = panel["series"]
    assert len(deep["parts"]) == 1 + 4 + 1  # line, seeds, band
    assert len(alone["parts"]) == 1


def test_the_report_finds_them_under_the_name_of_the_figure():
    svg = to_svg(drawn())
    figure = Drawing("figure-07", "Figure 7.", "", "", svg)
    page = str(_drawing(figure))
    known = json.loads(str(_curves(figure)))
    assert known == curves.extract(svg)
    for part in known["panels"][0]["series"][0]["parts"]:
        assert page.count(f'id="figure-07.{part}"') == 1
    assert "panels" not in page  # the description is not drawn twice


def test_equal_figures_give_equal_files():
    assert to_files(drawn(seeds=True)) == to_files(drawn(seeds=True))


@pytest.mark.parametrize("label", [HOSTILE, '<desc id="curves">', "]] and >", "$x^2$ & y", "loss\nof two lines"])
def test_text_of_any_kind_survives(label):
    svg = to_svg(drawn(label=label))
    ET.fromstring(svg)
    known = curves.extract(svg)
    assert known["panels"][0]["series"][0]["label"] == label
    assert known["legend"][0]["label"] == label
    inside = str(_curves(Drawing("f", "", "", "", svg)))
    assert "<" not in inside  # it lies in an element of script
    assert json.loads(inside) == known


def test_panels_keep_their_own_curves():
    with figure_style():
        figure = new_figure()
        left, middle, right = figure.subplots(1, 3)
        for axes in (left, right):
            draw_band(axes, X, LOSSES, label="deep", colour="#0072b2")
        middle.imshow([[0, 1], [1, 0]])
    svg = to_svg(figure)
    known = curves.extract(svg)
    assert [panel["id"] for panel in known["panels"]] == ["panel-0", "panel-2"]
    parts = [part for panel in known["panels"] for one in panel["series"] for part in one["parts"]]
    assert len(parts) == len(set(parts)) == 4
    assert set(parts) <= set(identifiers(svg))
    assert known["legend"] == []


def test_figures_without_curves_say_nothing():
    with figure_style():
        figure = new_figure()
        axes = figure.subplots()
        axes.plot(X, LOSSES[0])  # without a label
        axes.imshow([[0, 1], [1, 0]])
    assert curves.describe(figure) == {"panels": [], "legend": []}
    svg = to_svg(figure)
    assert "<desc" not in svg
    assert curves.extract(svg) is None
    assert str(_curves(Drawing("f", "", "", "", svg))) == ""


def test_what_cannot_be_drawn_is_left_out():
    with figure_style():
        figure = new_figure()
        axes = figure.subplots()
        axes.plot([1, 2, 3, 4], [1, np.nan, np.inf, 4], "o", label="dots")
        axes.plot([1, 2, 3], [np.nan] * 3, label="nothing")
    ((dots,),) = (panel["series"] for panel in curves.describe(figure)["panels"])
    assert (dots["x"], dots["y"], dots["dots"]) == ([1, 4], [1, 4], True)


def test_an_end_that_is_not_a_number_is_none():
    """As where one setting has a single seed: valid JSON, and the others keep theirs."""
    values = LOSSES.copy()
    values[1:, 3] = np.nan
    with figure_style():
        figure = new_figure()
        draw_band(figure.subplots(), X, values, label="deep", colour="#0072b2")
    ((deep,),) = (panel["series"] for panel in curves.describe(figure)["panels"])
    assert deep["low"][3] is deep["high"][3] is None
    assert deep["y"][3] == pytest.approx(values[0, 3], rel=1e-3)
    assert None not in deep["low"][:3] + deep["low"][4:]


@pytest.mark.parametrize("points", [399, 400, 401, 5000])
def test_long_curves_are_thinned(points):
    with figure_style():
        figure = new_figure()
        draw_band(figure.subplots(), np.arange(points), np.ones((3, 1)) * np.arange(points), label="a", colour="k")
    ((one,),) = (panel["series"] for panel in curves.describe(figure)["panels"])
    assert 100 < len(one["x"]) <= curves.MOST_POINTS
    assert len(one["x"]) == len(one["y"]) == len(one["low"])
    np.testing.assert_allclose(one["x"], one["y"])


def test_embedding_leaves_the_drawing_as_it_was():
    svg = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><g id="a"/></svg>\n'
    known = {"panels": [{"id": "a"}], "legend": []}
    embedded = curves.embed(svg, known)
    assert curves.extract(embedded) == known
    assert re.sub(r"<desc.*</desc>\n", "", embedded) == svg
    assert curves.embed(svg, {"panels": [], "legend": []}) == svg


def test_a_path_tells_what_is_known_of_its_points_and_takes_its_marks_along():
    with figure_style():
        figure = new_figure()
        axes = figure.subplots()
        (line,) = axes.plot([0, 1, 2], [5, np.nan, 3])
        curves.make_path(line, "series 1", MSE=[0.3, 0.2, np.nan])
        curves.belongs(axes.scatter([0, 2], [5, 3]), "series 1")
        curves.belongs(axes.annotate("end", (2, 3)), "series 1")
    svg = to_svg(figure)
    ((series,),) = [panel["series"] for panel in curves.extract(svg)["panels"]]
    assert (series["x"], series["y"], series["dots"]) == ([0, 2], [5, 3], True)
    assert series["more"] == {"MSE": [0.3, None]}
    assert len(series["parts"]) == 3
    assert set(series["parts"]) <= set(identifiers(svg))


def test_short_curves_have_values_and_lines_at_a_value_have_none():
    figure = new_figure()
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="two epochs")
    axes.plot([1], [3], "o", label="one epoch")
    axes.plot([], [], label="nothing")
    axes.axvline(1, label="beginning")
    axes.axhline(3, label="guessing")
    (panel,) = curves.describe(figure)["panels"]
    assert [(one["label"], one["y"]) for one in panel["series"]] == [("two epochs", [3, 4]), ("one epoch", [3])]


def test_a_path_knows_as_much_of_every_point():
    (line,) = new_figure().subplots().plot([0, 1, 2], [5, 4, 3])
    with pytest.raises(ValueError, match="broadcast"):
        curves.make_path(line, "series 1", MSE=[0.3, 0.2])


@pytest.mark.parametrize(("limits", "high"), [(SHARE, 1), (UNLIMITED, 1.2), ((0, 1.1), 1.1)])
def test_a_band_ends_at_its_limits(limits, high):
    axes = new_figure().subplots()
    draw_band(axes, [1, 2], [[0.8, 0.5], [1.0, 0.5]], label="accuracy", colour="k", limits=limits)
    (panel,) = curves.describe(axes.figure)["panels"]
    (series,) = panel["series"]
    assert series["high"][0] == high if limits != UNLIMITED else series["high"][0] >= high
    assert series["high"][1] == 0.5
