"""Figures and tables of an experiment, made from its results by functions that may be a user's."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import xarray as xr

from whydeep.errors import RunError, WhydeepError, one_line
from whydeep.report.charts import rows_of_everything
from whydeep.report.elements import Figure, Table
from whydeep.report.page import figures_of_section
from whydeep.report.style import figure_style, notice, to_files
from whydeep.runs import RunFolder, remove
from whydeep.study.experiment import Experiment
from whydeep.study.registry import outside_file
from whydeep.study.results import read_results
from whydeep.variables import read_settings

ENDINGS = (".svg", ".png")


def draw_figures(folder: RunFolder, experiments: Iterable[Experiment], *, again: bool = True) -> list[RunError]:
    """Draw the figures of the experiments that have results; unless `again`, only where results are newer.

    Returns the errors of a user's figures, to be raised at the end: the others are drawn, and the report says so.

    Raises:
        StorageError: a figure can't be written.
    """
    owners, with_results = figure_owners(folder), folder.experiments()
    chosen = [experiment for experiment in experiments if experiment.name in with_results]
    return [error for experiment in chosen for error in _draw_experiment(folder, experiment, owners, again)]


def figure_owners(folder: RunFolder) -> dict[str, str]:
    """Return the experiment of each figure that the sections of the last report have.

    Raises:
        RunError: two have a figure of the same name, of which one is drawn over the other.
    """
    owners: dict[str, str] = {}
    for name in folder.experiments():
        section = folder.sections / f"{name}.json"
        for figure in figures_of_section(folder.read(section)) if folder.is_whole(section) else ():
            other = owners.setdefault(figure, name)
            if other != name:
                raise RunError(
                    f"{other} and {name} both have a figure called {figure}: give one another name, or delete "
                    f"results/{name}.nc and sections/{name}.json to leave it out, and draw the other again"
                )
    return owners


def _draw_experiment(folder: RunFolder, experiment: Experiment, owners: dict[str, str], again: bool) -> list[RunError]:
    results = read_results(folder, experiment.name, experiment)
    written = folder.results(experiment.name).stat().st_mtime
    problems: list[RunError] = []
    try:
        figures = make_figures(experiment, results, owners)
    except RunError as error:
        return [error]
    for figure in figures:
        files = [folder.figures / f"{figure.name}{ending}" for ending in ENDINGS]
        if not again and all(folder.is_whole(file) and file.stat().st_mtime > written for file in files):
            continue
        try:
            drawn = _called(experiment, f"figure {figure.name}", _draw, figure, results.attrs["notice"])
        except RunError as error:
            problems.append(error)
            remove_figure(folder, figure.name)  # an older drawing would be shown as this one
        else:
            for ending, data in drawn.items():
                folder.write(folder.figures / f"{figure.name}{ending}", data)
    return problems


def _draw(figure: Figure, notice_text: str) -> dict[str, bytes]:
    """Draw a figure; formulas in a user's texts, for example, may be wrong."""
    with figure_style():
        drawn = figure.draw()
        notice(drawn, notice_text)
        return to_files(drawn)


def remove_figure(folder: RunFolder, name: str) -> None:
    """Remove the drawing of a figure."""
    for ending in ENDINGS:
        remove(folder.figures / f"{name}{ending}")


def make_figures(experiment: Experiment, results: xr.Dataset, owners: dict[str, str] | None = None) -> list[Figure]:
    """Make the figures of an experiment.

    Args:
        owners: figure -> experiment, of those that there are; these figures are added.

    Raises:
        RunError: a function of a user's file fails, one returns something else, or another figure has the same name.
    """
    figures = _made(experiment, experiment.figures, results, Figure)
    names, owners = [figure.name for figure in figures], {} if owners is None else owners
    for name in names:
        other = owners.get(name, experiment.name)
        if other != experiment.name or names.count(name) > 1:
            has = f"{other} has one as well" if other != experiment.name else "it has several"
            raise RunError(f"{experiment.name} has a figure called {name}, and {has}: give one another name")
    owners.update(dict.fromkeys(names, experiment.name))
    return figures


def make_tables(experiment: Experiment, results: xr.Dataset) -> list[Table]:
    """Make the tables of an experiment; by default one of all variables that have one number per setting and seed.

    Raises:
        RunError: a function of a user's file fails, or one returns something else.
    """
    if experiment.tables is None:
        settings = read_settings(results)
        return [rows_of_everything(results, [str(name) for name in results.dims if name in settings[0]])]
    return _made(experiment, experiment.tables, results, Table)


def _made(experiment: Experiment, makers: Sequence[Callable], results: xr.Dataset, kind: type) -> list:
    made = []
    for maker in makers:
        what = f"{kind.__name__.lower()} {_name(maker)}"
        returned = _called(experiment, what, maker, results)
        several = list(returned) if isinstance(returned, tuple | list) else [returned]
        if not all(isinstance(item, kind) for item in several):
            raise RunError(f"{experiment.name}: {what} must be a {kind.__name__} or several, not {several!r:.80}")
        made += several
    return made


def _name(maker: Callable) -> str:
    """Name what makes a figure or a table: by what it declares, or as a function."""
    declared = getattr(maker, "name", None) or getattr(maker, "caption", None)
    return str(declared or getattr(maker, "__name__", repr(maker)))


def _called(experiment: Experiment, what: str, function: Callable, *arguments: Any) -> Any:
    """Call a function of an experiment that makes `what`; what one from outside raises becomes one line."""
    source = outside_file(experiment)
    if source is None:
        return function(*arguments)
    try:
        return function(*arguments)
    except WhydeepError as error:
        raise RunError(f"{experiment.name}: {what} cannot be made: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the code of a user's file does
        raise RunError(f"{experiment.name}: {what} failed: {one_line(error, source)}") from None
