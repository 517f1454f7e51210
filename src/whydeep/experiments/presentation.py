"""From the results in a run folder to figures, numbers in text, and the report.

Everything here is made from results/*.nc and manifest.json alone, so that a report can be made again.
"""

import shlex

import xarray as xr

from whydeep.claims import Estimate, estimate
from whydeep.experiments import EXPERIMENTS
from whydeep.experiments.experiment import Experiment
from whydeep.report import page
from whydeep.report.style import figure_style, notice, save
from whydeep.runs import RunFolder, format_duration, read_manifest, write_atomically


def draw_figures(folder: RunFolder, experiment: Experiment) -> None:
    """Draw the figures of an experiment whose results are there."""
    if experiment.name not in folder.experiments():
        return
    results = folder.read_results(experiment.name)
    folder.figures.mkdir(exist_ok=True)
    for figure in experiment.figures(results):
        with figure_style():
            drawn = figure.draw()
            notice(drawn, results.attrs["notice"])
        save(drawn, folder.figures / figure.name)


def estimates(experiment: Experiment, results: xr.Dataset) -> list[Estimate]:
    """Estimate every claim that the results are about."""
    return [one for claim in experiment.claims if claim.applies(results) for one in estimate(claim, results)]


def estimates_text(folder: RunFolder, experiment: Experiment) -> str:
    """Write the estimates of an experiment's claims, for the console."""
    if experiment.name not in folder.experiments():
        return ""
    results = folder.read_results(experiment.name)
    lines = [f"\n{experiment.title} (n = {results.sizes['seed']} seeds, 95 % intervals)"]
    last: tuple[str, str] = ("", "")
    for one in estimates(experiment, results):
        if one.claim.id != last[0]:
            lines.append(f"  {one.claim.id}  {one.claim.statement}")
        if (one.claim.id, one.test.statistic) != last:
            lines.append(f"      {one.test.statistic}; the claim: {one.test.rule}")
        last = one.claim.id, one.test.statistic
        lines.append(f"        {one.part:<22} {one.interval}" if one.part else f"        {one.interval}")
    return "\n".join(lines)


def write_report(folder: RunFolder) -> None:
    """Write report.html from the results, figures and manifest of a folder.

    Raises:
        RunError: the folder holds no run.
    """
    manifest = read_manifest(folder)
    sections = [
        _section(folder, experiment) for name, experiment in EXPERIMENTS.items() if name in folder.experiments()
    ]
    configuration = manifest["configuration"]
    seconds = sum(job["seconds"] for job in manifest["jobs"])
    facts = [
        ("Scale", configuration["scale"]),
        ("Seeds", f"n = {configuration['seeds']} per setting"),
        ("Images", f"{configuration['dataset']}, {configuration['dataset_origin']}" if configuration["dataset"] else "none"),
        ("Device", f"{manifest['device']}, {manifest['cpu_count']} cores"),
        ("Training time", f"{format_duration(seconds)} on one core, all experiments"),
        ("Started", manifest["start"]),
        ("Versions", ", ".join(f"{name} {manifest['versions'][name]}" for name in ("python", "torch", "numpy"))),
        ("whydeep", manifest["whydeep"] + (f", commit {manifest['git']['commit'][:12]}" if manifest["git"] else "")),
    ]  # fmt: skip
    report = page.Page(
        title="How neural networks train",
        lead="Populations of networks, one member per seed: what was trained, what was measured, and how sure it is.",
        facts=tuple(facts),
        notices=(configuration["notice"],) if configuration["notice"] else (),
        sections=tuple(sections),
        command=_command(manifest),
        references=REFERENCES,
    )
    write_atomically(folder.report, page.render(report).encode())


REFERENCES = (
    "S. Khamkar (2023): CPSC 8430 Deep Learning, Homework 1. The report whose experiments are repeated.",
    "National Taiwan University (2018): Machine Learning and having it Deep and Structured, Homework 1.",
    "D. P. Kingma, J. Ba (2015): Adam: a method for stochastic optimization. ICLR.",
    "Student (1908): The probable error of a mean. Biometrika 6.",
    "M. Okabe, K. Ito (2008): Color universal design. The palette of the figures.",
)


def _section(folder: RunFolder, experiment: Experiment) -> page.Section:
    results = folder.read_results(experiment.name)
    missing = results.attrs["missing"]
    shown = [
        page.Figure(
            figure.name,
            figure.title,
            figure.caption,
            figure.alt,
            (folder.figures / f"{figure.name}.svg").read_text(encoding="utf-8"),
        )
        for figure in experiment.figures(results)
        if (folder.figures / f"{figure.name}.svg").exists()
    ]
    tables = [
        page.Table(table.caption, table.header, table.rows, numeric=tuple(range(1, len(table.header))))
        for table in experiment.tables(results)
    ]
    return page.Section(
        name=experiment.name,
        title=experiment.title,
        question=experiment.question,
        paragraphs=(),
        tables=(*tables, _claims_table(experiment, results)),
        figures=tuple(shown),
        definitions=tuple(experiment.definitions.items()),
        data_file=folder.results(experiment.name).relative_to(folder.path).as_posix(),
        missing=f"Some units are missing: {missing}. Run the same command again to go on." if missing else "",
    )


def _claims_table(experiment: Experiment, results: xr.Dataset) -> page.Table:
    rows = tuple(
        (
            one.claim.id,
            one.claim.statement,
            one.test.statistic,
            one.part or "all",
            str(one.interval),
            str(one.interval.n),
            one.test.rule,
        )
        for one in estimates(experiment, results)
    )
    header = ("claim", "statement", "statistic", "part", "estimate [95 % interval]", "n", "the claim says")
    return page.Table("What the report claims, and what was estimated here", header, rows, numeric=(4, 5))


def _command(manifest: dict) -> str:
    name, *arguments = manifest["command"]
    return shlex.join(["whydeep", *arguments])
