"""Figures and tables that are declared: what they draw, write and take from the variables of the results."""

import json
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from whydeep.claims import mean_interval
from whydeep.errors import SettingError
from whydeep.report.charts import Column, Curve, Guide, Lines, Panel, Rows, count_text, rows_of_everything
from whydeep.report.curves import describe, extract
from whydeep.report.style import GREEN, LINE_STYLES, MOST_POINTS, PALETTE, PURPLE, figure_style, to_files
from whydeep.report.texts import facts
from whydeep.variables import SHARE, Variable

EPOCHS = np.arange(1, 4)
LOSS = Variable("mean cross entropy", "nat", log=True)
ACCURACY = Variable("share of images classified right", limits=SHARE)


def results_of(seeds=3, epochs=EPOCHS, networks=("wide", "deep"), **settings):
    """Losses that fall, accuracies that rise, and a number of parameters, for each network, seed and epoch."""
    shape = (len(networks), seeds, len(epochs))
    noise = np.random.default_rng(0).random(shape)
    results = xr.Dataset(
        {
            "loss": (("network", "seed", "epoch"), (1 + noise) / np.asarray(epochs)),
            "accuracy": (("network", "seed", "epoch"), 0.5 + noise / 4),
            "parameters": (("network", "seed"), np.broadcast_to([[1000.0], [20000.0]][: len(networks)], shape[:2])),
        },
        {"network": list(networks), "seed": np.arange(seeds), "epoch": epochs},
        {"dataset": "digits", "settings": json.dumps([settings | {"network": name} for name in networks])},
    )
    for name, variable in (("loss", LOSS), ("accuracy", ACCURACY), ("parameters", Variable("weights and biases"))):
        results[name].attrs.update(variable.attributes)
    return results


def lines(*curves, x="epoch", panel=None, **options):
    return Lines(
        "chart", "Title", "Shown", "Look.", x, panel or Panel(curves or (Curve("loss", each="network"),)), **options
    )


def draw(chart, results):
    with figure_style():
        figure = chart(results).draw()
        figure.canvas.draw()  # what cannot be drawn is noticed here; warnings are errors
    return figure


def labels(axes):
    return axes.get_legend_handles_labels()[1]


# -- lines ------------------------------------------------------------------------------------------------------------


def test_a_line_is_the_mean_over_seeds_as_the_variable_takes_it():
    results = results_of()
    for name, mean in (("loss", lambda a: np.exp(np.log(a).mean("seed"))), ("accuracy", lambda a: a.mean("seed"))):
        (axes,) = draw(lines(Curve(name, each="network")), results).axes
        for line, network in zip(axes.lines, ("wide", "deep"), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), EPOCHS)
            np.testing.assert_allclose(line.get_ydata(), mean(results[name].sel(network=network)))
        assert len(axes.collections) == 2  # a band each


def test_axes_take_scale_unit_and_limits_from_the_variable():
    (axes,) = draw(lines(Curve("loss", each="network")), results_of()).axes
    assert (axes.get_yscale(), axes.get_ylabel(), axes.get_xlabel()) == ("log", "mean cross entropy (nat)", "epoch")
    (axes,) = draw(lines(Curve("accuracy", each="network")), results_of()).axes
    assert axes.get_yscale() == "linear"
    assert all(label.get_text().endswith(" %") for label in axes.get_yticklabels())
    plain = results_of()
    plain.loss.attrs.clear()
    (axes,) = draw(lines(Curve("loss", each="network")), plain).axes
    assert (axes.get_yscale(), axes.get_ylabel()) == ("linear", "loss")


def test_a_panel_may_say_otherwise():
    panel = Panel((Curve("loss", each="network"),), "On {dataset}", "loss, {dataset}", log_y=False, y_limits=(0, 9))
    (axes,) = draw(lines(panel=panel), results_of()).axes
    assert (axes.get_title(), axes.get_ylabel(), axes.get_yscale()) == ("On digits", "loss, digits", "linear")
    assert axes.get_ylim() == (0, 9)


@pytest.mark.parametrize(
    ("curves", "mean", "kind"),
    [
        (("loss",), "geometric mean", "t on the logarithm"),
        (("accuracy",), "mean", "t"),
        (("loss", "accuracy"), "mean (geometric on logarithmic axes)", "t; on the logarithm there"),
    ],
)
def test_the_caption_names_n_and_the_interval(curves, mean, kind):
    panels = (tuple(Panel((Curve(name, each="network"),)) for name in curves),)
    figure = lines(panel=panels)(results_of(seeds=4))
    assert figure.caption == f"Shown: {mean} over n = 4 seeds with its 95 % interval ({kind}). Look."
    assert figure.alt == "Line chart: Shown."
    dots = lines(panel=panels, seeds="dots", alt="Curves of {dataset}")(results_of(seeds=4))
    assert "interval" in dots.caption
    assert ", and every seed as a dot. Look." in dots.caption
    assert dots.alt == "Curves of digits"


def test_texts_name_facts():
    assert facts(results_of(epochs=EPOCHS, rate=0.5))["rate"] == "0.5"
    figure = Lines(
        "c", "{dataset}, {rate}", "{number_of_network} networks", "n = {n}", "epoch", Panel((Curve("loss"),))
    )(results_of(rate=0.5))
    assert figure.title == "digits, 0.5"
    assert figure.caption.startswith("2 networks: ")
    assert figure.caption.endswith(". n = 3")
    with pytest.raises(SettingError, match="no fact is called 'epochs'"):
        Lines("chart", "{epochs} epochs", "Loss", "", "epoch", Panel((Curve("loss"),)))(results_of())


def test_facts_are_what_all_settings_share():
    results = results_of(train_images=60_000, widths=[784, 30, 10])
    known = facts(results)
    assert (known["train_images"], known["widths"], known["n"], known["dataset"]) == (
        "60,000",
        "784-30-10",
        "3",
        "digits",
    )
    assert "network" not in known
    assert known["number_of_network"] == "2"
    assert facts(xr.Dataset(coords={"seed": [0]})) == {"n": "1", "dataset": "", "number_of_seed": "1"}


def test_legends_colours_and_lines():
    results = results_of()
    (axes,) = draw(lines(Curve("loss", "the {} one", each="network", parameters=True)), results).axes
    assert labels(axes) == ["the wide one (1,000 parameters)", "the deep one (20,000 parameters)"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels(axes)
    assert [to_hex(line.get_color()) for line in axes.lines] == list(PALETTE[:2])
    assert axes.lines[0].get_linestyle() == LINE_STYLES[0]
    assert axes.lines[1].get_linestyle() == "--"
    styled = Curve("loss", each="network", colour={"deep": PURPLE}, line={"deep": "-"})
    (axes,) = draw(lines(styled), results).axes
    assert [to_hex(line.get_color()) for line in axes.lines] == [PALETTE[0], PURPLE]
    assert axes.lines[1].get_linestyle() == "-"
    (axes,) = draw(lines(Curve("loss", "alone", at={"network": "wide"}, colour=GREEN)), results).axes
    assert axes.get_legend() is None
    assert to_hex(axes.lines[0].get_color()) == GREEN


def test_guides_are_drawn_and_seen():
    guides = (Guide(5.0, "limit"), Guide(lambda results: results.sizes["seed"], vertical=True), Guide(1e-3))
    panel = Panel((Curve("loss", each="network"),), guides=guides)
    (axes,) = draw(lines(panel=panel), results_of()).axes
    low, high = axes.get_ylim()
    assert low < 1e-3
    assert high > 5
    assert labels(axes) == ["wide", "deep", "limit"]
    assert [line.get_xdata()[0] for line in axes.lines[2:] if len(set(line.get_xdata())) == 1] == [3]


def test_panels_of_a_row_may_share_their_axis():
    panels = tuple(Panel((Curve("loss", at={"network": name}),), title=name) for name in ("wide", "deep"))
    figure = draw(lines(panel=(panels, panels), share_y=True), results_of())
    top = figure.axes[:2]
    assert top[0].get_ylim() == top[1].get_ylim()
    assert [axes.get_ylabel() for axes in top] == ["mean cross entropy (nat)", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch", "epoch"]
    apart = draw(lines(panel=(panels,)), results_of())
    assert apart.axes[0].get_ylim() != apart.axes[1].get_ylim()


@pytest.mark.parametrize("log", [False, True])
def test_long_curves_are_thinned_evenly_on_their_axis(log):
    results = results_of(epochs=np.arange(1, 20_001), networks=("wide",))
    (axes,) = draw(lines(log_x=log), results).axes
    x = axes.lines[0].get_xdata()
    assert 0.6 * MOST_POINTS < len(x) <= MOST_POINTS
    steps = np.diff(np.log(x[x > 200]) if log else x)
    assert steps.max() < 1.5 * np.median(steps)
    assert axes.get_xscale() == ("log" if log else "linear")


def test_few_places_on_a_logarithmic_axis_have_labels_of_their_own():
    results = results_of(epochs=np.array([5, 25, 1500]))
    (axes,) = draw(lines(log_x=True), results).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "25", "1,500"]
    assert not len(axes.get_xticks(minor=True))
    (axes,) = draw(lines(log_x=True), results_of(epochs=np.arange(1, 101))).axes
    low, high = axes.get_xlim()
    assert (low, high) == pytest.approx((1 / 1.1, 110))


def test_x_may_be_a_variable_that_all_seeds_share():
    results = results_of().isel(epoch=-1)
    (axes,) = draw(lines(Curve("loss"), x="parameters", log_x=True, seeds="dots"), results).axes
    assert axes.get_xlabel() == "parameters"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1000, 20_000])
    assert len(axes.lines) == 1 + 3  # the mean, and the dots of each seed
    np.testing.assert_allclose(axes.lines[1].get_ydata(), results.loss.sel(seed=0))
    missing = results.copy(deep=True)
    missing.parameters.loc[{"seed": 1}] = np.nan  # its unit is missing
    missing.loss.loc[{"seed": 1}] = np.nan
    (axes,) = draw(lines(Curve("loss"), x="parameters", log_x=True, seeds="dots"), missing).axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1000, 20_000])


BROKEN = {
    "one seed": lambda results: results.isel(seed=[0]),
    "no value": lambda results: results * np.nan,
    "one seed without values": lambda results: results.where(results.seed != 1),
    "a diverged seed": lambda results: results.where(results.seed != 1, np.inf),
    "zeros": lambda results: results * 0,
    "negative losses": lambda results: -results,
    "one epoch": lambda results: results.isel(epoch=[0]),
    "no epoch": lambda results: results.isel(epoch=[]),
}


@pytest.mark.parametrize("name", ["loss", "accuracy"])
@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_whatever_is_missing_can_be_drawn(name, log_x, broken):
    results = results_of()
    with xr.set_options(keep_attrs=True):
        given = broken(results)
    given.attrs = results.attrs
    for variable in given.data_vars:
        given[variable].attrs = results[variable].attrs
    chart = lines(Curve(name, each="network", parameters=True), log_x=log_x, seeds="dots")
    draw(chart, given)
    with_values = {int(count) for count in given[name].notnull().sum("seed").values.ravel()} - {0}
    assert f"n = {with_values.pop() if with_values else given.sizes['seed']} seeds with" in chart(given).caption
    assert not with_values
    table = Rows(
        "Rows",
        "network",
        (name, Column("parameters", "parameters", count=True)),
        select=lambda r: r.mean("epoch", keep_attrs=True),
    )
    assert all("nan" not in cell for row in table(given).rows for cell in row)


def test_results_without_anything_that_is_shown_have_no_figure():
    assert lines(Curve("loss", each="network"))(results_of().isel(network=[])) == ()


positive = st.floats(1e-12, 1e12)


@hypothesis_settings(max_examples=25)
@given(st.lists(st.lists(st.one_of(positive, st.just(np.nan)), min_size=3, max_size=3), min_size=1, max_size=5))
def test_all_seeds_lie_inside_the_axes(rows):
    results = xr.Dataset({"loss": (("seed", "epoch"), np.array(rows))}, {"seed": range(len(rows)), "epoch": EPOCHS})
    results.attrs = {"settings": "[]"}
    results.loss.attrs.update(LOSS.attributes)
    (axes,) = draw(lines(Curve("loss")), results).axes
    low, high = axes.get_ylim()
    values = np.array(rows)[np.isfinite(rows)]
    assert ((low <= values) & (values <= high)).all()


# -- tables -----------------------------------------------------------------------------------------------------------


def test_cells_are_estimates_as_the_variable_takes_them():
    last = results_of().isel(epoch=-1)
    table = Rows(
        "On {dataset}", "network", ("loss", Column("right", "accuracy"), Column("parameters", "parameters", count=True))
    )(last)
    assert table.header == ("network", "loss", "right", "parameters")
    assert table.caption == "On digits: mean over n = 3 seeds with 95 % interval (loss: geometric mean)"
    for row, network, count in zip(table.rows, ("wide", "deep"), ("1,000", "20,000"), strict=True):
        loss, accuracy = last.loss.sel(network=network), last.accuracy.sel(network=network)
        assert row == (network, str(mean_interval(loss, log=True)), str(mean_interval(accuracy, limits=SHARE)), count)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (("loss",), "Values: geometric mean over n = 3 seeds with 95 % interval; after training"),
        (("accuracy",), "Values: mean over n = 3 seeds with 95 % interval; after training"),
        (("loss", Column("size", "parameters", count=True)), "Values: geometric mean over n = 3 seeds with 95 % interval; after training"),
    ],
)  # fmt: skip
def test_a_caption_names_n_the_interval_and_a_note(columns, says):
    table = Rows("Values", "network", columns, select=lambda results: results.isel(epoch=-1), note="after training")
    assert table(results_of()).caption == says


def test_columns_may_be_computed_placed_or_texts():
    columns = (
        Column("gain", lambda row: row.loss.sel(epoch=1) / row.loss.sel(epoch=3), log=True),
        Column("first", "loss", at={"epoch": 1}),
        Column("plain", "loss", at={"epoch": 1}, log=False),
        Column("size", lambda row: f"{row.sizes['epoch']} epochs", count=True),
    )
    results = results_of()
    first, second = Rows("Values", "network", columns)(results).rows
    gain = results.loss.sel(network="wide", epoch=1) / results.loss.sel(network="wide", epoch=3)
    assert first[1] == str(mean_interval(gain, log=True))
    assert first[2] == str(mean_interval(results.loss.sel(network="wide", epoch=1), log=True))
    assert first[3] == str(mean_interval(results.loss.sel(network="wide", epoch=1)))
    assert first[4] == second[4] == "3 epochs"


def test_rows_of_several_dimensions_are_their_combinations():
    table = Rows("Values", ("network", "epoch"), ("loss",))(results_of())
    assert table.header == ("network, epoch", "loss")
    assert [row[0] for row in table.rows] == ["wide, 1", "wide, 2", "wide, 3", "deep, 1", "deep, 2", "deep, 3"]


def test_everything_that_has_one_number_is_shown():
    table = rows_of_everything(results_of(), ["network"])
    assert table.header == ("network", "parameters")
    assert rows_of_everything(results_of(), ["network", "epoch"]).header[1:] == ("loss", "accuracy", "parameters")


@given(st.lists(st.one_of(st.integers(0, 2**53 - 1), st.just(None)), min_size=1, max_size=5))
def test_a_count_is_that_of_the_seeds_that_have_one(counts):
    values = xr.DataArray([np.nan if count is None else float(count) for count in counts], dims="seed")
    given_counts = [count for count in counts if count is not None]
    ends = [f"{end(given_counts):,}" for end in (min, max)] if given_counts else ["-"]
    assert count_text(values) == " to ".join(dict.fromkeys(ends))


ODD_LABELS = ("costs $5 and $6, <b>&amp; %d {n}", r"$\notatex{ \x")


def test_labels_and_names_that_are_filled_in_begin_no_formula():
    results = results_of(networks=ODD_LABELS)
    results.attrs["dataset"] = r"data $\x$ <i>"
    panel = Panel((Curve("loss", each="network"),), title="On {dataset}", y_label="Loss on {dataset}")
    figure = draw(lines(panel=panel), results)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(ODD_LABELS)
    assert axes.get_title() == r"On data $\x$ <i>"
    described = describe(figure)
    assert [curve["label"] for curve in described["panels"][0]["series"]] == list(ODD_LABELS)
    assert [entry["label"] for entry in described["legend"]] == list(ODD_LABELS)
    svg = to_files(figure)[".svg"].decode()
    assert [curve["label"] for curve in extract(svg)["panels"][0]["series"]] == list(ODD_LABELS)
    ElementTree.fromstring(svg)


def test_formulas_of_an_author_are_drawn():
    panel = Panel((Curve("loss", r"$\lambda$ of {}", each="network"),), title=r"$\lambda$", y_label=r"$\lambda_1$")
    (axes,) = draw(lines(panel=panel), results_of()).axes
    texts = [axes.title, axes.yaxis.label, *axes.get_legend().get_texts()]
    assert all(text.get_parse_math() for text in texts)


@pytest.mark.parametrize(
    "settings", [{"font.size": 30, "savefig.dpi": 10, "lines.linewidth": 9}, {"text.usetex": True}]
)
def test_figures_are_the_same_whatever_a_user_has_set(settings):
    drawn = to_files(draw(lines(), results_of()))
    with mpl.rc_context(settings):
        assert to_files(draw(lines(), results_of())) == drawn
        assert all(mpl.rcParams[name] == value for name, value in settings.items())
