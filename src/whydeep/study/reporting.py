"""From the results in a run folder to its report.

Everything here is made from results/*.nc, sections/*.json and manifest.json alone, so that a report can be made again.
What the report says of an experiment is kept in sections/: where the experiment's file is not given, that is shown.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from whydeep.claims import Judgement, adjusted_p, format_p, preview_text
from whydeep.errors import RunError
from whydeep.networks import parameter_count
from whydeep.report import page
from whydeep.report.elements import Figure, Table
from whydeep.report.texts import write_number
from whydeep.runs import RunFolder, read_manifest
from whydeep.study import methods, provenance
from whydeep.study.design import read_widths
from whydeep.study.drawing import figure_owners, make_figures, make_tables, remove_figure
from whydeep.study.experiment import Experiment
from whydeep.study.registry import Registry
from whydeep.study.results import read_results
from whydeep.variables import read_settings, words


def write_report(folder: RunFolder, registry: Registry, judgements: Sequence[Judgement]) -> list[RunError]:
    """Write report.html from the results, figures and manifest of a folder, and the verdicts on its claims.

    Returns the errors of a user's figures and tables, to be raised at the end: the report has the others, and says so.

    Raises:
        RunError: the folder holds no run.
        StorageError: the report, or a part of it, can't be written.
    """
    manifest = read_manifest(folder)
    names = [*(name for name in registry if name in folder.experiments())]
    names += [name for name in folder.experiments() if name not in registry]
    results = {name: read_results(folder, name, registry.get(name)) for name in names}
    owners = figure_owners(folder)
    earlier = {*owners}
    sections: list[page.Section] = []
    problems: list[RunError] = []
    for name in names:
        claims = tuple(_claim(j) for j in judgements if j.experiment == name and j.verdict != "not-run")
        if name in registry:
            section, failed = _section(folder, registry[name], results[name], claims, owners)
            sections.append(section)
            problems += failed
        else:  # its file is not given: what was kept
            sections.append(_section_kept(folder, name, claims))
    if not problems:
        for name in earlier - {figure.name for section in sections for figure in section.figures}:
            remove_figure(folder, name)
    report = page.Page(
        title="How neural networks train",
        lead="Populations of networks, one member per seed: what was trained, what was measured, and how sure it is.",
        facts=provenance.facts(results, manifest),
        notices=provenance.notices(results, manifest, registry),
        verdicts=tuple(_verdict_row(j) for j in judgements if j.verdict not in ("not-run", "preview")),
        previews=tuple(_verdict_row(j) for j in judgements if j.verdict == "preview"),
        verdicts_note=_verdicts_note(judgements, results),
        sections=tuple(sections),
        methods=_united([section.methods for section in sections]) + methods.METHODS,
        environment=provenance.environment(manifest),
        command=provenance.command(results, manifest),
        references=_united([section.references for section in sections]) + methods.REFERENCES,
    )
    html = page.render(report).encode(errors="backslashreplace")  # of file names that are no text
    folder.write(folder.report, html)
    return problems


def _united(lists: Sequence[tuple]) -> tuple:
    """All entries of several lists, each once."""
    return tuple(dict.fromkeys(entry for entries in lists for entry in entries))


def _kept(folder: RunFolder, experiment: str) -> Path:
    return folder.sections / f"{experiment}.json"


def _read_svg(folder: RunFolder, figure: str) -> str | None:
    """Read a drawing; None if it is not there as it was written."""
    file = folder.figures / f"{figure}.svg"
    return folder.read(file).decode("utf-8") if folder.is_whole(file) else None


def _section_kept(folder: RunFolder, experiment: str, claims: tuple[page.ClaimText, ...]) -> page.Section:
    """Read the section of an experiment whose file is not given.

    Raises:
        RunError: it is not there as it was written.
    """
    path = _kept(folder, experiment)
    try:
        return page.section_from_json(folder.read(path), partial(_read_svg, folder), claims)
    except (RunError, ValueError, KeyError, TypeError) as error:
        what = str(error) if isinstance(error, RunError) else f"{path} cannot be read ({type(error).__name__})"
        raise RunError(
            f"{what}: give the file that defines {experiment} to write it again, or delete results/{experiment}.nc to "
            "leave it out"
        ) from None


def _section(
    folder: RunFolder,
    experiment: Experiment,
    results: xr.Dataset,
    claims: tuple[page.ClaimText, ...],
    owners: dict[str, str],
) -> tuple[page.Section, list[RunError]]:
    """Make the section of an experiment and keep it; return it, and the errors of its figures and tables."""
    sentence, settings = settings_table(experiment.label or experiment.heading, read_settings(results), results)
    figures, tables, errors = _figures_and_tables(experiment, results, owners)
    problems = [f"{error}." for error in errors]
    drawings = tuple(
        page.Drawing(figure.name, figure.title, figure.caption, figure.alt, svg)
        for figure in figures
        if (svg := _read_svg(folder, figure.name)) is not None
    )
    absent = {figure.name for figure in figures} - {drawing.name for drawing in drawings}
    problems += [f"Not drawn: {', '.join(sorted(absent))}."] if absent else []
    if results.attrs["missing"]:
        problems.append(f"Some units are missing: {results.attrs['missing']}. Run the same command again to go on.")
    section = page.Section(
        name=experiment.name,
        title=experiment.heading,
        question=experiment.question,
        paragraphs=(provenance.sample(results), sentence),
        settings=settings,
        figures=drawings,
        tables=tuple(tables),
        claims=claims,
        definitions=tuple(experiment.definitions.items()),
        data_file=folder.results(experiment.name).relative_to(folder.path).as_posix(),
        variables=_variables(experiment, results),
        labels=_labels(results),
        methods=tuple(experiment.methods),
        references=tuple(experiment.references),
        missing=" ".join(problems),
    )
    folder.write(_kept(folder, experiment.name), page.section_to_json(section))
    return section, errors


def _figures_and_tables(
    experiment: Experiment, results: xr.Dataset, owners: dict[str, str]
) -> tuple[list[Figure], list[Table], list[RunError]]:
    """Make the figures and tables of an experiment, and return the errors where a user's function fails."""
    made: list[list] = []
    errors = []
    for make in (partial(make_figures, owners=owners), make_tables):
        try:
            made.append(make(experiment, results))
        except RunError as error:
            made.append([])
            errors.append(error)
    figures, tables = made
    return figures, tables, errors


def _variables(experiment: Experiment, results: xr.Dataset) -> Table:
    names = [*(name for name in experiment.variables if name in results)]
    names += [str(name) for name in results.data_vars if name not in experiment.variables]
    rows = tuple((name, ", ".join(map(str, results[name].dims)), str(experiment.variable(name))) for name in names)
    return Table(f"{experiment.name}: what was measured", ("variable", "dimensions", "meaning"), rows, numeric=())


def _labels(results: xr.Dataset) -> str:
    """Write the labels of every dimension that has some; of many numbers the first and the last."""

    def written(labels: list[Any]) -> str:
        if len(labels) <= 12 or isinstance(labels[0], str):
            return ", ".join(map(write_number, labels))
        return f"{labels[0]:g} to {labels[-1]:g}"

    return "; ".join(
        f"{name}: {written(results[name].values.tolist())}" for name in results.dims if name in results.coords
    )


def _verdict_row(judgement: Judgement) -> page.VerdictRow:
    """One row of the table of verdicts."""
    claim = judgement.claim
    p = adjusted_p(judgement)
    if judgement.deciding is None:
        return page.VerdictRow(claim.id, judgement.verdict, claim.statement, judgement.reason, "", "", p)
    estimated = judgement.deciding.estimate
    parts = f", the part that decides of {len(judgement.parts)}" if len(judgement.parts) > 1 else ""
    what = f"{estimated.name}{parts}; the claim: {estimated.test.rule}"
    if judgement.verdict == "preview":
        what = f"{preview_text(judgement)}. {what[0].upper()}{what[1:]}"
    interval = estimated.interval
    return page.VerdictRow(claim.id, judgement.verdict, claim.statement, what, str(interval), str(interval.n), p)


def _verdicts_note(judgements: Sequence[Judgement], results: provenance.Results) -> str:
    counts = Counter(judgement.verdict for judgement in judgements)
    parts = [f"{counts[name]} {name}" for name in ("supported", "contradicted", "undecided") if counts[name]]
    reasons: dict[str, list[str]] = defaultdict(list)
    for judgement in judgements:
        if judgement.verdict == "not-run" and judgement.experiment in results:
            reasons[judgement.reason].append(judgement.claim.id)
    absent = "".join(f" {', '.join(ids)}: not judged, as {reason}." for reason, ids in reasons.items())
    others = sum(j.verdict == "not-run" and j.experiment not in results for j in judgements)
    absent += f" Claims about experiments that were not run: {others}." if others else ""
    previews = (
        f" {counts['preview']} claims have no verdict, as they are about other settings than those that were run: "
        "the table of previews says which command decides them."
        if counts["preview"]
        else ""
    )
    return (
        f"{', '.join(parts) or 'No claim was tested'}. The interval is for its part alone; p is adjusted over all "
        f"claims that could be tested.{absent}{previews}"
    )


def _claim(judgement: Judgement) -> page.ClaimText:
    """A claim with the numbers that its verdict rests on."""
    rows = tuple(
        (
            part.estimate.name,
            str(part.estimate.interval),
            str(part.estimate.interval.n),
            "none"
            if np.isnan(part.estimate.agreeing)
            else f"{round(part.estimate.agreeing * part.estimate.interval.n)}",
            format_p(part.p_sign_flip),
            part.estimate.test.rule,
        )
        for part in judgement.parts
    )
    header = (
        "statistic",
        f"estimate [{100 * judgement.level:g} % interval]",
        "n",
        "seeds that agree",
        "p by sign flips",
        "the claim says",
    )
    claim = judgement.claim
    table = Table(f"{claim.id} in numbers", header, rows, numeric=(1, 2, 3, 4))
    adjusted = f"adjusted over all claims {format_p(judgement.p_adjusted, 'p')}"
    ps = "" if np.isnan(judgement.p) else f"{format_p(judgement.p, 'p')}, {adjusted}."
    if judgement.by_convention:
        ps = "No test was made: the values are equal in all seeds."
    return page.ClaimText(
        claim.id, claim.statement, claim.source, claim.reading, judgement.verdict, judgement.reason, ps, table
    )


def settings_table(title: str, settings: Sequence[Mapping[str, Any]], results: xr.Dataset) -> tuple[str, Table]:
    """Return what all settings share, as a sentence, and a table of what tells them apart, coordinates first."""
    columns = sorted(settings[0], key=lambda name: name not in results.dims)
    networks = all(read_widths(setting.get("widths")) is not None for setting in settings)
    differing = [name for name in columns if any(setting[name] != settings[0][name] for setting in settings)]
    if networks and "widths" not in differing:
        differing.append("widths")  # the networks are always shown, with their parameters
    shared = [f"{words(name)} {write_number(settings[0][name])}" for name in columns if name not in differing]
    header = [words(name) for name in differing]
    rows = [[write_number(setting[name]) for name in differing] for setting in settings]
    if networks:
        header.append("parameters")
        for row, setting in zip(rows, settings, strict=True):
            row.append(f"{parameter_count(setting['widths']):,}")
    sentence = f"All settings: {', '.join(shared) or 'nothing in common'}."
    cells = list(zip(*rows, strict=True))
    numeric = tuple(column for column, texts in enumerate(cells) if column and all(map(_is_number, texts)))
    shown = tuple(map(tuple, rows)) if header else ()
    return sentence, Table(f"{title}: what was run", tuple(header), shown, numeric=numeric)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).isdecimal()
