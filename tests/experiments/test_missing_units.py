"""Every experiment at its smallest: claims, figures and tables, with whatever is missing or has diverged."""

import json
from dataclasses import asdict
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from whydeep.claims import Case, judge
from whydeep.data import locate
from whydeep.experiments import EXPERIMENTS
from whydeep.experiments.experiment import Plan
from whydeep.experiments.results import combine
from whydeep.report import curves
from whydeep.report.style import figure_style, save
from whydeep.runs import Context

PLAN = Plan("smoke", features=64, classes=10, train_images=1442, test_images=355)
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def measured():
    """Every setting of every experiment, measured once when it is first asked for."""
    context, known = Context(source=locate("digits", None)), {}

    def of(experiment):
        if experiment.name not in known:
            settings = experiment.settings(PLAN)
            known[experiment.name] = [(one, experiment.measure(one, SEEDS, context)) for one in settings]
        return known[experiment.name]

    return of


def results_of(units, left_out=None):
    parts = [(setting.coordinates, one) for number, (setting, one) in enumerate(units) if number != left_out]
    results = combine(parts, SEEDS, [setting.coordinates for setting, _ in units])
    settings = json.dumps([asdict(setting) for setting, _ in units])
    results.attrs = {"dataset": "digits", "settings": settings, "notice": ""}
    return results


def present(experiment, results, render=False):
    """Judge, draw and tabulate; warnings are errors."""
    judged = judge([Case(experiment.name, claim, results) for claim in experiment.claims])
    for figure in experiment.figures(results):
        assert figure.caption
        with figure_style():
            drawn = figure.draw()
            if render:
                drawn.canvas.draw()
    for table in experiment.tables(results):
        assert all(len(row) == len(table.header) for row in table.rows)
        assert not any(cell == "nan" for row in table.rows for cell in row)
    return judged


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_any_setting_may_be_missing(name, measured):
    experiment, units = EXPERIMENTS[name], measured(EXPERIMENTS[name])
    assert len(present(experiment, results_of(units))) == len(experiment.claims)
    for left_out in range(len(units)) if len(units) > 1 else ():
        for one in present(experiment, results_of(units, left_out)):
            assert one.reason


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_whatever_the_report_hides_or_points_at_is_in_the_drawing(name, measured, tmp_path):
    experiment = EXPERIMENTS[name]
    figures = experiment.figures(results_of(measured(experiment)))
    assert len({figure.name for figure in figures}) == len(figures)
    for figure in figures:
        with figure_style():
            save(figure.draw(), tmp_path / figure.name)
        svg = (tmp_path / f"{figure.name}.svg").read_text(encoding="utf-8")
        there = [element.get("id") for element in ET.fromstring(svg).iter()]
        known = curves.extract(svg) or {"panels": [], "legend": []}
        named = [entry["id"] for entry in known["legend"]]
        for panel in known["panels"]:
            named += [panel["id"], *(part for one in panel["series"] for part in one["parts"])]
        assert [there.count(one) for one in named] == [1] * len(named)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_any_seed_may_have_diverged(name, measured):
    """All that was measured is not-a-number for one seed, and then for both."""
    experiment, units = EXPERIMENTS[name], measured(EXPERIMENTS[name])
    results = results_of(units)
    for lost in ([1], [0, 1]):
        broken = results.copy(deep=True)
        for variable in broken.data_vars:
            if "seed" in broken[variable].dims and variable not in ("parameters", "classes"):
                broken[variable].loc[{"seed": lost}] = np.nan
        if "diverged_at" in broken:
            broken.diverged_at.loc[{"seed": lost}] = 7
        for one in present(experiment, broken, render=True):
            assert one.verdict == "undecided"
            if "diverged_at" in broken:
                assert f"no finite value in {len(lost)} of 2 seeds, as training diverged" in one.reason


def test_a_function_that_is_missing_altogether(measured):
    """As after an interruption: one half of the figures has no values at all."""
    experiment = EXPERIMENTS["function-fitting"]
    units = measured(experiment)
    there = [unit for unit in units if unit[0].function == "cos"]
    results = combine(
        [(setting.coordinates, one) for setting, one in there], SEEDS, [setting.coordinates for setting, _ in units]
    )
    results.attrs = {"dataset": "", "notice": "", "settings": "[]"}
    present(experiment, results, render=True)
