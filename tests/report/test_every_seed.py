"""Lines and rows: what is drawn and written of every seed."""

import numpy as np
import pytest
import xarray as xr

from whydeep.errors import SettingError
from whydeep.report import curves
from whydeep.report.charts import Column, Curve, Lines, Panel, Rows
from whydeep.report.style import figure_style
from whydeep.variables import Variable

VALUES = np.array([[[4.0, 2.0, 1.0], [1.0, 0.5, 0.25]]])  # [function, seed, step]


def results():
    loss = (("function", "seed", "step"), VALUES, Variable("the loss", log=True).attributes)
    return xr.Dataset({"loss": loss}, {"function": ["cos"], "seed": [3, 7], "step": [0, 1, 2]})


def lines(**options):
    return Lines("name", "title", "Loss.", "Look.", x="step", panels=Panel((Curve("loss", "mean"),)), **options)


def drawn_lines(figure):
    return [line for line in figure.axes[0].lines if line.get_xdata().size > 1]


@pytest.mark.parametrize(("seeds", "words"), [("", ""), ("dots", "as a dot"), ("lines", "as a thin line")])
def test_seeds_are_drawn_as_asked_for(seeds, words):
    figure = lines(seeds=seeds)(results())
    assert words in figure.caption
    assert ("every seed" in figure.caption) == bool(seeds)
    with figure_style():
        drawn = drawn_lines(figure.draw())
    means = [line for line in drawn if line.get_label() == "mean"]
    np.testing.assert_allclose(means[0].get_ydata(), [2, 1, 0.5])  # geometric
    others = [line for line in drawn if line not in means]
    np.testing.assert_array_equal([line.get_ydata() for line in others], VALUES[0] if seeds else [])
    assert {line.get_linestyle() for line in others} == {"": set(), "dots": {"None"}, "lines": {"-"}}[seeds]


def test_lines_of_seeds_are_one_curve_whose_values_are_not_shown():
    with figure_style():
        (panel,) = curves.describe(lines(seeds="lines")(results()).draw())["panels"]
    assert [(series["label"], series["quiet"], len(series["parts"])) for series in panel["series"]] == [
        ("each seed", True, 2),
        ("mean", False, 2),  # the line and its band
    ]


def test_of_long_lines_spikes_remain():
    spike = np.ones((1, 2, 5000))
    spike[0, 0, 1234] = 50
    long = xr.Dataset({"loss": (("function", "seed", "step"), spike)}, {"seed": [0, 1], "step": np.arange(5000)})
    with figure_style():
        (seed, *_) = drawn_lines(lines(seeds="lines")(long).draw())
    assert seed.get_xdata()[np.argmax(seed.get_ydata())] == 1234
    assert seed.get_xdata().size < 2000


def test_a_dimension_of_several_labels_that_no_curve_names_is_no_line():
    several = xr.concat([results(), results().assign_coords(function=["sin"])], "function")
    with pytest.raises(SettingError, match="the dimension function beside x = "), figure_style():
        lines()(several).draw()


def test_rows_of_seeds_end_with_their_mean():
    table = Rows("Seeds", "seed", (Column("last", "last"), Column("n", lambda row: str(row.sizes["seed"]))))(
        xr.Dataset({"last": ("seed", [1.0, 3.0])}, {"seed": [3, 7]})
    )
    assert table.header == ("seed", "last", "n")
    assert [row[0] for row in table.rows] == ["3", "7", "mean"]
    assert [row[2] for row in table.rows] == ["1", "1", "2"]
    assert [row[1] for row in table.rows][:2] == ["1", "3"]
    assert table.rows[2][1].startswith("2")
