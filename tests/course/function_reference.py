"""Settings, results and points of experiments on functions, and what a report makes of them."""

import json
from dataclasses import asdict
from xml.etree import ElementTree

import numpy as np
import torch
import xarray as xr

from whydeep.claims import Case, judge
from whydeep.data import sample, target_function
from whydeep.population import Stream
from whydeep.report import curves
from whydeep.report.style import figure_style, to_files
from whydeep.study import Request, Run
from whydeep.study.drawing import make_figures, make_tables
from whydeep.study.resolve import make_plan
from whydeep.study.results import combine


def settings_of(experiment, scale="smoke", **changes):
    return experiment.make_settings(make_plan(experiment, Request(scale=scale), changes))


def measure(experiment, setting, seeds):
    return experiment.measure(setting, Run(experiment.name, setting, seeds))


def results_of(experiment, settings, seeds=(0, 1), left_out=()):
    """Results of some settings, one of which may be missing, as a run writes them."""
    parts = [
        (setting.coordinates, measure(experiment, setting, seeds)) for setting in settings if setting not in left_out
    ]
    results = combine(parts, seeds, [setting.coordinates for setting in settings])
    for name in results.data_vars:
        results[name].attrs.update(experiment.variable(str(name)).attributes)
    results.attrs = {"settings": json.dumps([asdict(setting) for setting in settings]), "dataset": ""}
    return results


def present(experiment, results):
    """Judge, draw and tabulate, as a report does; warnings are errors. Returns verdicts, figures and tables."""
    judgements = judge([Case(experiment.name, claim, results) for claim in experiment.claims])
    figures = {figure.name: figure for figure in make_figures(experiment, results)}
    for figure in figures.values():
        assert "{" not in figure.caption
        with figure_style():
            figure.draw().canvas.draw()
    tables = make_tables(experiment, results)
    for table in tables:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert not any("nan" in cell for row in table.rows for cell in row)
    return {judgement.claim.id: judgement for judgement in judgements}, figures, tables


def assert_parts_are_drawn(figures):
    """Whatever the report's script hides or points at is in the drawing, once."""
    for figure in figures.values():
        with figure_style():
            svg = to_files(figure.draw())[".svg"].decode("utf-8")
        identifiers = [element.get("id") for element in ElementTree.fromstring(svg).iter()]
        described = curves.extract(svg)
        named = [entry["id"] for entry in described["legend"]]
        for panel in described["panels"]:
            named += [panel["id"], *(part for series in panel["series"] for part in series["parts"])]
        assert named
        assert all(identifiers.count(name) == 1 for name in named)


def without_seeds(results, lost):
    """The results, as if all that was measured of some seeds were not finite."""
    lost_seeds = results.seed.isin(lost)
    broken = results.map(lambda values: values.where(~lost_seeds) if "seed" in values.dims else values, keep_attrs=True)
    if "diverged_at" in broken:
        broken["diverged_at"] = broken.diverged_at.where(~lost_seeds, 7)
    return broken.assign_attrs(results.attrs)


def stream(experiment, label, seed, purpose):
    return Stream(0, experiment.name, label, seed, purpose)


def points_of(experiment, function, seed, count):
    """The training points of a seed: inputs and targets [point, 1] in single precision."""
    x, y = sample(target_function(function), (-10, 10), count, stream(experiment, "", seed, "data").numpy())
    return tuple(torch.from_numpy(values).unsqueeze(1).float() for values in (x, y))


def assert_seeds_are_independent(experiment, setting, together):
    """The last seed alone, to the bit."""
    last = int(together.seed[-1])
    xr.testing.assert_identical(together.sel(seed=[last]), measure(experiment, setting, (last,)))


def unmet(experiment, settings):
    """What claims miss that were run with these settings: id -> conditions."""
    labels = {name: np.unique([setting.coordinates[name] for setting in settings]) for name in settings[0].coordinates}
    planned = xr.Dataset(coords=labels, attrs={"settings": json.dumps([asdict(setting) for setting in settings])})
    return {claim.id: claim.unmet(planned) for claim in experiment.claims if not claim.missing(planned)}
