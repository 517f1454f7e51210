"""From the results in a run folder to its report.

Everything here is made from results/*.nc, sections/*.json and manifest.json alone, so that a report can be made again.
What the report says of an experiment is kept in sections/: where the experiment's file is not given, that is shown.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from whydeep.claims import Judgement, adjusted_p, format_p, preview_text
from whydeep.errors import RunError
from whydeep.networks import parameter_count
from whydeep.report import page
from whydeep.report.elements import Figure, Table
from whydeep.report.texts import write_number
from whydeep.runs import RunFolder, read_manifest, write_atomically
from whydeep.study import methods, provenance
from whydeep.study.drawing import make_figures, make_tables
from whydeep.study.experiment import Experiment
from whydeep.study.registry import Registry
from whydeep.study.results import read_results


def write_report(folder: RunFolder, registry: Registry, judgements: Sequence[Judgement]) -> None:
    """Write report.html from the results, figures and manifest of a folder, and the verdicts on its claims.

    Raises:
        RunError: the folder holds no run, or figures of two experiments that have the same name.
    """
    manifest = read_manifest(folder)
    names = [*(name for name in registry if name in folder.experiments())]
    names += [name for name in folder.experiments() if name not in registry]
    results = {name: read_results(folder, name, registry.get(name)) for name in names}
    sections = [
        _section(folder, registry.get(name), name, results[name], [j for j in judgements if j.experiment == name])
        for name in names
    ]
    _refuse_equal_figures(sections)
    shown = [registry[name] for name in names if name in registry]
    report = page.Page(
        title="How neural networks train",
        lead="Populations of networks, one member per seed: what was trained, what was measured, and how sure it is.",
        facts=provenance.facts(results, manifest),
        notices=provenance.notices(results, manifest, registry),
        verdicts=tuple(_verdict_row(j) for j in judgements if j.verdict not in ("not-run", "preview")),
        previews=tuple(_verdict_row(j) for j in judgements if j.verdict == "preview"),
        verdicts_note=_verdicts_note(judgements, results),
        sections=tuple(sections),
        methods=_united([experiment.methods for experiment in shown]) + methods.METHODS,
        environment=provenance.environment(manifest),
        command=provenance.command(results, manifest),
        references=_united([experiment.references for experiment in shown]) + methods.REFERENCES,
    )
    write_atomically(folder.report, page.render(report).encode())


def _refuse_equal_figures(sections: Sequence[page.Section]) -> None:
    """Raise `RunError` if one figure's file was written over another's."""
    experiments: dict[str, str] = {}
    for section in sections:
        for figure in section.figures:
            other = experiments.setdefault(figure.name, section.name)
            if other != section.name:
                raise RunError(
                    f"{other} and {section.name} both have a figure called {figure.name}: give one another name, or "
                    f"delete results/{section.name}.nc to leave it out"
                )


def _united(lists: Sequence[tuple]) -> tuple:
    """All entries of several lists, each once."""
    return tuple(dict.fromkeys(entry for entries in lists for entry in entries))


def _section(
    folder: RunFolder,
    experiment: Experiment | None,
    name: str,
    results: xr.Dataset,
    judgements: Sequence[Judgement],
) -> page.Section:
    """Make the section of an experiment and keep it; of an experiment whose file is not given, take the one kept."""
    claims = tuple(_claim(judgement) for judgement in judgements if judgement.verdict != "not-run")
    path = folder.sections / f"{name}.json"
    if experiment is None:
        return page.read_section(path, folder.figures, claims=claims)
    sentence, settings = settings_table(experiment.heading, json.loads(results.attrs["settings"]), results)
    figures, tables, problems = _figures_and_tables(experiment, results)
    drawings = tuple(
        page.Drawing(figure.name, figure.title, figure.caption, figure.alt, file.read_text(encoding="utf-8"))
        for figure in figures
        for file in [folder.figures / f"{figure.name}.svg"]
        if file.exists()
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
        missing=" ".join(problems),
    )
    page.keep_section(section, path)
    return section


def _figures_and_tables(experiment: Experiment, results: xr.Dataset) -> tuple[list[Figure], list[Table], list[str]]:
    """Make the figures and tables of an experiment, and say why where a user's function fails."""
    made: list[list] = []
    problems = []
    for make in (make_figures, make_tables):
        try:
            made.append(make(experiment, results))
        except RunError as error:
            made.append([])
            problems.append(f"{error}.")
    figures, tables = made
    return figures, tables, problems


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
    differing = [name for name in columns if any(setting[name] != settings[0][name] for setting in settings)]
    if "widths" in columns and "widths" not in differing:
        differing.append("widths")  # the networks are always shown, with their parameters
    shared = [f"{_words(name)} {write_number(settings[0][name])}" for name in columns if name not in differing]
    header = [_words(name) for name in differing]
    rows = [[write_number(setting[name]) for name in differing] for setting in settings]
    if "widths" in columns:
        header.append("parameters")
        for row, setting in zip(rows, settings, strict=True):
            row.append(f"{parameter_count(setting['widths']):,}")
    sentence = f"All settings: {', '.join(shared) or 'nothing in common'}."
    cells = list(zip(*rows, strict=True))
    numeric = tuple(column for column, texts in enumerate(cells) if column and all(map(_is_number, texts)))
    shown = tuple(map(tuple, rows)) if header else ()
    return sentence, Table(f"{title.split('.')[0]}: what was run", tuple(header), shown, numeric=numeric)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).isdecimal()


def _words(name: str) -> str:
    return name.replace("_", " ")
