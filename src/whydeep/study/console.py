"""What is written on the console: what runs, what it took, what became of the claims, and what can be set."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

import xarray as xr

from whydeep.claims import Judgement, Verdict, adjusted_p
from whydeep.errors import printable_line
from whydeep.population.compiler import compiler_problem
from whydeep.runs import Outcome, RunFolder, format_duration
from whydeep.study.design import SCALES
from whydeep.study.experiment import Experiment
from whydeep.study.registry import Registry

if TYPE_CHECKING:
    from whydeep.study.resolve import Study

WIDEST = 32
"""Longer values are cut where they are listed."""


def headline(study: "Study") -> str:
    """Say what is run, on what, and what was changed."""
    from whydeep.study.resolve import device_name

    names = ", ".join(experiment.name for experiment in study.experiments)
    request, images = study.request, study.images
    lines = [f"whydeep: {names} at {request.scale} scale, {seeds_text(request.seeds)}, on {device_name(study.device)}"]
    if images:
        count = f"{len(images.train_labels):,} training and {len(images.test_labels):,} test images"
        lines.append(f"images: {images.name} ({count}; {images.preprocessing}), {images.origin}")
        if images.notice:
            lines.append(f"NOTICE: {images.notice}")
    if study.device == "cpu" and compiler_problem():
        lines.append(
            f"NOTICE: nothing can be compiled here ({compiler_problem()}): training takes several times as long"
        )
    changes = [f"{name}.{key}={value}" for name in study.plans for key, value in study.changes(name).items()]
    lines += [f"changed: {', '.join(changes)}"] if changes else []
    return "\n".join(lines)


def seeds_text(count: int) -> str:
    """Write a number of seeds.

    >>> seeds_text(1), seeds_text(5)
    ('1 seed', '5 seeds')
    """
    return "1 seed" if count == 1 else f"{count} seeds"


def replaced(experiment: str, written: xr.Dataset, study: "Study") -> str:
    """Say that results of another scale, root seed, data set or changes, or of more seeds, make room for new ones."""
    attributes = {"scale": "", "root_seed": 0, "dataset": "", "changes": "{}"} | written.attrs
    changes = json.loads(attributes["changes"])
    scale, root_seed, dataset = attributes["scale"], int(attributes["root_seed"]), attributes["dataset"]
    images = study.images.name if study.images and study.registry[experiment].uses_images else ""
    current = study.request.scale, study.request.root_seed, images, study.changes(experiment)
    number = written.sizes.get("seed", 0)
    if (scale, root_seed, dataset, changes) == current and number <= study.request.seeds:
        return ""
    place = f", on {dataset}" if dataset else ""
    changed = f", with {', '.join(f'{name}={value}' for name, value in changes.items())}" if changes else ""
    return (
        f"{experiment}: the results of {seeds_text(number)} (root seed {root_seed}) at {scale} scale{place}{changed} "
        "make room for those of this run; what was measured is kept, and comes back with the command that measured it"
    )


def costs(outcome: Outcome, wall: float, workers: int) -> str:
    """Say where the time went: for each experiment, and its settings, the seconds in workers."""
    if not outcome.timings:
        return ""
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for timing in outcome.timings:
        seconds[timing.experiment][timing.setting] += timing.seconds
    total = sum(timing.seconds for timing in outcome.timings)
    busy = total / (workers * wall)
    lines = [
        f"\ntook {format_duration(wall)} with {workers} worker{'s' if workers > 1 else ''}, busy for {busy:.0%} of it; "
        "time in workers, all seeds together:"
    ]
    for experiment, settings in seconds.items():
        parts = [f"{name} {_duration(took)}" for name, took in sorted(settings.items(), key=lambda item: -item[1])]
        took = sum(settings.values())
        lines.append(f"  {experiment:<21} {_duration(took):>12} {took / total:>5.0%}  {', '.join(parts)}")
    return "\n".join(lines)


def machines(kinds: Mapping[str, int]) -> str:
    """Say that units come from several kinds of machines."""
    if len(kinds) < 2:
        return ""
    counts = "; ".join(f"{units} of {kind}" for kind, units in kinds.items())
    return f"\nunits of {len(kinds)} kinds of machines, equal to the bit only within a kind: {counts}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def closing(outcome: Outcome, folder: RunFolder) -> str:
    """Say how a run ended, and where its report is."""
    lines = [
        f"FAILED: {failure.experiment} {failure.setting}, seeds {failure.seeds}: {failure.describe(folder.path)}"
        for failure in outcome.failures
    ]
    if outcome.interrupted or outcome.stopped:
        why = outcome.stopped or "interrupted"
        begun = folder.begun()
        state = f", and the state of {begun} job{'s' if begun > 1 else ''}" if begun else ""
        lines.append(f"{why}: {outcome.finished} units finished and kept{state}; run the same command to go on")
    lines.append(f"{outcome.finished} units measured, {outcome.skipped} were there already")
    if folder.report.exists():
        lines.append(f"report: {printable_line(str(folder.report))}")
    return "\n".join(lines)


def verdicts(judgements: Sequence[Judgement], registry: Registry) -> str:
    """Write the table of verdicts: claims that were judged, then previews, then what was not run."""
    if not any(judgement.case.was_run for judgement in judgements):
        return ""
    absent = [judgement for judgement in judgements if not judgement.case.was_run]
    judged = [judgement for judgement in judgements if judgement.verdict != "preview" and judgement.case.was_run]
    previews = [judgement for judgement in judgements if judgement.verdict == "preview"]
    lines = _lines(judged, registry)
    if previews:
        lines += ["\nPreviews: the run is not what these claims are about, so that they have no verdict."]
        lines += _lines(previews, registry)
    if absent:
        names = ", ".join(judgement.claim.id for judgement in absent)
        lines.append(f"\nNot run, as the folder has no results of their experiments: {names}")
    counts = Counter(judgement.verdict for judgement in judgements)
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict))
    level = f"{100 * judgements[0].level:g} %"
    lines.append(
        f"\n{len(judgements)} claims: {total}; {level} level, p adjusted over those that could be tested (Holm)"
    )
    return "\n".join(lines)


def _lines(judgements: Sequence[Judgement], registry: Registry) -> list[str]:
    width = max((len(judgement.claim.id) for judgement in judgements), default=0)
    lines, last = [], ""
    for judgement in judgements:
        if judgement.experiment != last:
            last = judgement.experiment
            lines.append(f"\n{registry[last].heading if last in registry else last}")
        p = adjusted_p(judgement, "p")
        n = f" (n = {judgement.deciding.estimate.interval.n}, {p})" if judgement.deciding and p else ""
        lines.append(f"{judgement.claim.id:<{width}}  {judgement.verdict.upper()}{n}: {judgement.claim.statement}")
        lines.append(f"{' ' * (width + 2)}{judgement.reason}")
    return lines


def list_line(experiment: Experiment) -> str:
    """Describe an experiment in a line: its name, its question, its claims."""
    ids = [claim.id for claim in experiment.claims]
    claims = f" ({', '.join(ids)})" if ids else ""
    label = f"{experiment.label}  " if experiment.label else ""
    return f"{experiment.name:<22} {label}{experiment.question}{claims}"


def describe(experiment: Experiment) -> str:
    """Write the question, the claims, the variables and what can be set of an experiment."""
    lines = [experiment.heading, experiment.question]
    lines += ["", "Claims:"] if experiment.claims else []
    for claim in experiment.claims:
        lines.append(f"  {claim.id}  {claim.statement}")
        lines += [f"       {test.statistic}: {test.rule}" for test in claim.tests]
        lines += [f"       ({claim.reading})"] if claim.reading else []
        needs = "; ".join(map(str, claim.needs))
        lines += [f"       needs {needs}"] if needs else []
    if experiment.design:
        lines += ["", f"What can be set (--set {experiment.name}.FIELD=VALUE), and its value at each scale:"]
        lines += columns([("field", *SCALES, "accepted"), *experiment.design.table()])
    if experiment.variables:
        width = max(map(len, experiment.variables))
        lines += ["", f"Variables of results/{experiment.name}.nc:"]
        lines += [f"  {name:<{width}}  {variable}" for name, variable in experiment.variables.items()]
        lines += ["", "Their dimensions stand in the report of a run, and their labels in its results."]
    return "\n".join(lines)


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Arrange rows of cells in columns; long cells are cut."""
    cut = [
        [cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 3]}..." for cell in row[:-1]] + [row[-1]] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cut
    ]
