"""Every experiment at its smallest: claims, figures and tables, with whatever is missing, set otherwise or has diverged."""

import json
from dataclasses import asdict
from functools import cache
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from image_reference import DIGITS, measure, settings_of

from whydeep.claims import Case, judge
from whydeep.course import EXPERIMENTS
from whydeep.report import curves
from whydeep.report.style import figure_style, to_files
from whydeep.study.drawing import make_figures, make_tables
from whydeep.study.results import combine

SEEDS = (0, 1)
each_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)


@cache
def units_of(name):
    (experiment,) = (experiment for experiment in EXPERIMENTS if experiment.name == name)
    settings = settings_of(experiment, images=DIGITS if experiment.uses_images else None)
    return [(setting, measure(experiment, setting, SEEDS)) for setting in settings]


def results_of(experiment, left_out=None):
    units = units_of(experiment.name)
    parts = [(setting.coordinates, unit) for number, (setting, unit) in enumerate(units) if number != left_out]
    results = combine(parts, SEEDS, [setting.coordinates for setting, _ in units])
    for name in results.data_vars:
        results[name].attrs.update(experiment.variable(str(name)).attributes)
    settings = json.dumps([asdict(setting) for setting, _ in units])
    results.attrs = {"dataset": "digits", "settings": settings, "notice": ""}
    return results


def present(experiment, results, render=False):
    """Judge, draw and tabulate; warnings are errors."""
    judged = judge([Case(experiment.name, claim, results) for claim in experiment.claims])
    for figure in make_figures(experiment, results):
        assert figure.caption
        with figure_style():
            drawn = figure.draw()
            if render:
                drawn.canvas.draw()
    for table in make_tables(experiment, results):
        assert all(len(row) == len(table.header) for row in table.rows)
        assert not any(cell == "nan" for row in table.rows for cell in row)
    return judged


@each_experiment
def test_every_variable_has_a_meaning(experiment):
    assert {*experiment.variables} == {*results_of(experiment).data_vars}


PRESUMING = (
    "still",
    "stops",
    "little",
    "better",
    "worse",
    "gained",
    "the spikes",
    "the kinks",
    "the valleys",
    "as the table",
)


@each_experiment
def test_texts_beside_figures_and_tables_do_not_presume_what_results_show(experiment):
    """Words that a caption had, or might have, where the results of another run say otherwise."""
    results = results_of(experiment)
    figures, tables = make_figures(experiment, results), make_tables(experiment, results)
    texts = [f"{figure.title} {figure.caption} {figure.alt}" for figure in figures]
    texts += [table.caption for table in tables] + list(experiment.definitions.values())
    found = [(word, text) for word in PRESUMING for text in texts if f" {word}" in text]
    assert not found


@each_experiment
def test_any_setting_may_be_missing(experiment):
    assert len(present(experiment, results_of(experiment))) == len(experiment.claims)
    units = units_of(experiment.name)
    for left_out in range(len(units)) if len(units) > 1 else ():
        assert all(judgement.reason for judgement in present(experiment, results_of(experiment, left_out)))


@each_experiment
def test_whatever_the_report_hides_or_points_at_is_in_the_drawing(experiment):
    figures = make_figures(experiment, results_of(experiment))
    assert len({figure.name for figure in figures}) == len(figures)
    for figure in figures:
        with figure_style():
            svg = to_files(figure.draw())[".svg"].decode("utf-8")
        identifiers = [element.get("id") for element in ET.fromstring(svg).iter()]
        described = curves.extract(svg) or {"panels": [], "legend": []}
        named = [entry["id"] for entry in described["legend"]]
        for panel in described["panels"]:
            named += [panel["id"], *(part for series in panel["series"] for part in series["parts"])]
        assert [identifiers.count(name) for name in named] == [1] * len(named)


@each_experiment
@pytest.mark.parametrize("lost", [[1], [0, 1]], ids=["one of two", "both"])
def test_any_seed_may_have_diverged(experiment, lost):
    """All that was measured is not-a-number."""
    results = results_of(experiment).copy(deep=True)
    for variable in results.data_vars:
        if "seed" in results[variable].dims and variable not in ("parameters", "classes"):
            results[variable].loc[{"seed": lost}] = np.nan
    if "diverged_at" in results:
        results.diverged_at.loc[{"seed": lost}] = 7
    for judgement in present(experiment, results, render=True):
        assert judgement.verdict in ("undecided", "preview", "not-run")
        if judgement.verdict == "undecided" and "diverged_at" in results:
            assert f"no finite value in {len(lost)} of 2 seeds, as training diverged" in judgement.reason
