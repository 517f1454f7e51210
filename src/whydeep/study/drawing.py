"""Figures and tables of an experiment, made from its results by functions that may be a user's."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import xarray as xr

from whydeep.errors import RunError, WhydeepError, one_line
from whydeep.report.charts import rows_of_everything
from whydeep.report.elements import Figure, Table
from whydeep.report.style import figure_style, notice, save
from whydeep.runs import RunFolder
from whydeep.study.experiment import Experiment
from whydeep.study.registry import outside_file
from whydeep.study.results import read_results


def draw_figures(folder: RunFolder, experiments: Iterable[Experiment], *, again: bool = True) -> RunError | None:
    """Draw the figures of the experiments that have results; unless `again`, only where results are newer.

    Returns the last error of a user's figure, to be raised at the end: the others are drawn, and the report says so.
    """
    problem = None
    with_results = folder.experiments()
    for experiment in experiments:
        if experiment.name in with_results:
            problem = _draw_experiment(folder, experiment, again) or problem
    return problem


def _draw_experiment(folder: RunFolder, experiment: Experiment, again: bool) -> RunError | None:
    results = read_results(folder, experiment.name, experiment)
    folder.figures.mkdir(exist_ok=True)
    written = folder.results(experiment.name).stat().st_mtime
    problem = None
    try:
        figures = make_figures(experiment, results)
    except RunError as error:
        return error
    for figure in figures:
        path = folder.figures / figure.name
        files = path.with_suffix(".svg"), path.with_suffix(".png")
        if not again and all(file.exists() and file.stat().st_mtime > written for file in files):
            continue
        try:
            with figure_style():
                drawn = _called(experiment, figure.draw)
                notice(drawn, results.attrs["notice"])
        except RunError as error:
            problem = error
        else:
            save(drawn, path)
    return problem


def make_figures(experiment: Experiment, results: xr.Dataset) -> list[Figure]:
    """Make the figures of an experiment.

    Raises:
        RunError: a function of a user's file fails, or one returns something else.
    """
    return _made(experiment, experiment.figures, results, Figure)


def make_tables(experiment: Experiment, results: xr.Dataset) -> list[Table]:
    """Make the tables of an experiment; by default one of all variables that have one number per setting and seed.

    Raises:
        RunError: a function of a user's file fails, or one returns something else.
    """
    if experiment.tables is None:
        settings = json.loads(results.attrs["settings"])
        return [rows_of_everything(results, [str(name) for name in results.dims if name in settings[0]])]
    return _made(experiment, experiment.tables, results, Table)


def _made(experiment: Experiment, makers: Sequence[Callable], results: xr.Dataset, kind: type) -> list:
    made = []
    for maker in makers:
        returned = _called(experiment, maker, results)
        several = list(returned) if isinstance(returned, tuple | list) else [returned]
        if not all(isinstance(item, kind) for item in several):
            name = getattr(maker, "__name__", repr(maker))
            raise RunError(f"{experiment.name}: {name} must return a {kind.__name__} or several, not {several!r:.80}")
        made += several
    return made


def _called(experiment: Experiment, function: Callable, *arguments: Any) -> Any:
    """Call a function of an experiment; what one from outside raises becomes one line."""
    source = outside_file(experiment)
    if source is None:
        return function(*arguments)
    try:
        return function(*arguments)
    except WhydeepError:
        raise
    except Exception as error:
        raise RunError(f"{experiment.name}: its figures or tables failed: {one_line(error, source)}") from None
