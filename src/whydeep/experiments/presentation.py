"""From the results in a run folder to figures, numbers in text, and the report.

Everything here is made from results/*.nc and manifest.json alone, so that a report can be made again.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import xarray as xr

from whydeep.claims import Estimate, estimate
from whydeep.errors import RunError
from whydeep.experiments import EXPERIMENTS
from whydeep.experiments.experiment import Experiment
from whydeep.networks import parameter_count
from whydeep.report import page
from whydeep.report.style import figure_style, notice, save
from whydeep.runs import RunFolder, format_duration, read_manifest, write_atomically

FORMAT = 1
"""Counted up when older results can no longer be presented."""


def read_results(folder: RunFolder, experiment: Experiment) -> xr.Dataset:
    """Read the results of an experiment.

    Raises:
        RunError: there are none, or another version of whydeep wrote them in another way.
    """
    results = folder.read_results(experiment.name)
    if results.attrs.get("format") != FORMAT:
        raise RunError(f"{folder.results(experiment.name)} was written by another version of whydeep: run it again")
    return results


def draw_figures(folder: RunFolder, experiment: Experiment, *, again: bool = True) -> None:
    """Draw the figures of an experiment whose results are there; unless `again`, only where results are newer."""
    if experiment.name not in folder.experiments():
        return
    results = read_results(folder, experiment)
    folder.figures.mkdir(exist_ok=True)
    written = folder.results(experiment.name).stat().st_mtime
    for figure in experiment.figures(results):
        path = folder.figures / figure.name
        files = path.with_suffix(".svg"), path.with_suffix(".png")
        if not again and all(file.exists() and file.stat().st_mtime > written for file in files):
            continue
        with figure_style():
            drawn = figure.draw()
            notice(drawn, results.attrs["notice"])
        save(drawn, path)


def estimates(experiment: Experiment, results: xr.Dataset) -> list[Estimate]:
    """Estimate every claim that the results are about."""
    return [one for claim in experiment.claims if claim.applies(results) for one in estimate(claim, results)]


def estimates_text(folder: RunFolder, experiment: Experiment) -> str:
    """Write the estimates of an experiment's claims, for the console."""
    if experiment.name not in folder.experiments():
        return ""
    results = read_results(folder, experiment)
    lines = [f"\n{experiment.title} (n = {results.sizes['seed']} seeds, 95 % intervals)"]
    last: tuple[str, str] = ("", "")
    for one in estimates(experiment, results):
        if one.claim.id != last[0]:
            lines.append(f"  {one.claim.id}  {one.claim.statement}")
        if (one.claim.id, one.test.statistic) != last:
            lines.append(f"      {one.test.statistic}; the claim: {one.test.rule}")
        last = one.claim.id, one.test.statistic
        fewer = f"  (n = {one.interval.n})" if one.interval.n < results.sizes["seed"] else ""
        lines.append(f"        {one.part:<22} {one.interval}{fewer}" if one.part else f"        {one.interval}{fewer}")
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
    report = page.Page(
        title="How neural networks train",
        lead="Populations of networks, one member per seed: what was trained, what was measured, and how sure it is.",
        facts=_facts(manifest),
        notices=_notices(folder, manifest),
        sections=tuple(sections),
        command=_command(manifest),
        references=REFERENCES,
    )
    write_atomically(folder.report, page.render(report).encode())


def _notices(folder: RunFolder, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what a reader must know before anything else: other images than expected, missing parts."""
    configuration = manifest["configuration"]
    notices = [configuration["notice"]]
    if manifest["status"] in ("interrupted", "failed"):
        notices.append(f"The last run was {manifest['status']}: run the same command again to go on.")
    absent = [name for name in configuration["experiments"] if name not in folder.experiments()]
    if absent:
        notices.append(f"No results yet: {', '.join(absent)}.")
    return tuple(notice for notice in notices if notice)


def _facts(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Say what was run: label and value."""
    configuration, versions, git = manifest["configuration"], manifest["versions"], manifest["git"]
    seconds = sum(job["seconds"] for job in manifest["jobs"])
    return (
        ("Scale", configuration["scale"]),
        ("Seeds", f"n = {configuration['seeds']} per setting"),
        ("Device", f"{manifest['device']}, {manifest['cpu_count']} cores"),
        ("Training time", f"{format_duration(seconds)} on one core, all experiments"),
        ("Started", f"{datetime.fromisoformat(manifest['start']):%Y-%m-%d %H:%M} UTC"),
        ("Versions", ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "numpy"))),
        ("whydeep", manifest["whydeep"] + (f", commit {git['commit'][:12]}" if git else "")),
    )


REFERENCES = (
    "S. Khamkar (2023): CPSC 8430 Deep Learning, Homework 1. The report whose experiments are repeated.",
    "National Taiwan University (2018): Machine Learning and having it Deep and Structured, Homework 1.",
    "D. P. Kingma, J. Ba (2015): Adam: a method for stochastic optimization. ICLR.",
    "J. M. Antognini, J. Sohl-Dickstein (2018): PCA of high dimensional random walks with comparison to neural network "
    "training. NeurIPS. The random walks beside the paths of weights.",
    "C. G. Frye, J. Simon, N. S. Wadia, A. Ligeralde, M. R. DeWeese, K. E. Bouchard (2021): Critical point-finding "
    "methods reveal gradient-flat regions of deep network losses. Neural Computation 33. The index of critical points.",
    "Y. N. Dauphin, R. Pascanu, C. Gulcehre, K. Cho, S. Ganguli, Y. Bengio (2014): Identifying and attacking the "
    "saddle point problem in high-dimensional non-convex optimization. NeurIPS. Newton steps away from saddles.",
    "M. K. Transtrum, J. P. Sethna (2012): Improvements to the Levenberg-Marquardt algorithm for nonlinear "
    "least-squares minimization. arXiv:1201.5885. Steps along bent valleys.",
    "C. Zhang, S. Bengio, M. Hardt, B. Recht, O. Vinyals (2017): Understanding deep learning requires rethinking "
    "generalization. ICLR. Random labels, learned by heart.",
    "I. J. Goodfellow, O. Vinyals, A. M. Saxe (2015): Qualitatively characterizing neural network optimization "
    "problems. ICLR. The line between two sets of parameters.",
    "J. Frankle, G. K. Dziugaite, D. M. Roy, M. Carbin (2020): Linear mode connectivity and the lottery ticket "
    "hypothesis. ICML. Barriers, with shared and with different beginnings.",
    "R. Novak, Y. Bahri, D. A. Abolafia, J. Pennington, J. Sohl-Dickstein (2018): Sensitivity and generalization in "
    "neural networks: an empirical study. ICLR. The norm of the input-output Jacobian.",
    "N. S. Keskar, D. Mudigere, J. Nocedal, M. Smelyanskiy, P. T. P. Tang (2017): On large-batch training for deep "
    "learning: generalization gap and sharp minima. ICLR. Sharpness, metric 2.1.",
    "L. Dinh, R. Pascanu, S. Bengio, Y. Bengio (2017): Sharp minima can generalize for deep nets. ICML. Why sharpness "
    "depends on the scale of the weights.",
    "Student (1908): The probable error of a mean. Biometrika 6.",
    "M. Okabe, K. Ito (2008): Color universal design. The palette of the figures.",
)


def _section(folder: RunFolder, experiment: Experiment) -> page.Section:
    results = read_results(folder, experiment)
    missing = results.attrs["missing"]
    sentence, settings = _settings(json.loads(results.attrs["settings"]))
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
        paragraphs=(_sample(results), sentence),
        tables=(settings, *tables, _claims_table(experiment, results)),
        figures=tuple(shown),
        definitions=tuple(experiment.definitions.items()),
        data_file=folder.results(experiment.name).relative_to(folder.path).as_posix(),
        missing=f"Some units are missing: {missing}. Run the same command again to go on." if missing else "",
    )


def _sample(results: xr.Dataset) -> str:
    """Say what these results were measured on; a folder may hold results of several runs."""
    images = f", on {results.attrs['dataset']} ({results.attrs['dataset_origin']})" if results.attrs["dataset"] else ""
    return f"Scale {results.attrs['scale']}, n = {results.sizes['seed']} seeds per setting{images}."


def _claims_table(experiment: Experiment, results: xr.Dataset) -> page.Table:
    rows: list[tuple[str, ...]] = []
    last = None
    for one in estimates(experiment, results):
        statement = one.claim.statement if one.claim is not last else ""  # said once, above its parts
        last = one.claim
        interval = one.interval
        cells = one.test.statistic, one.part, str(interval), str(interval.n), one.test.rule
        rows.append((one.claim.id, statement, *cells))
    header = ("claim", "statement", "statistic", "part", "estimate [95 % interval]", "n", "the claim says")
    caption = "What the course report claims, and what was estimated here"
    return page.Table(caption, header, tuple(rows), numeric=(4, 5))


def _settings(settings: Sequence[Mapping[str, Any]]) -> tuple[str, page.Table]:
    """Return what all settings share, as a sentence, and a table of what tells them apart."""
    columns = list(settings[0])
    differing = [name for name in columns if any(one[name] != settings[0][name] for one in settings)]
    shared = [f"{_words(name)} {_text(settings[0][name])}" for name in columns if name not in differing]
    header = [_words(name) for name in differing]
    rows = [[_text(one[name]) for name in differing] for one in settings]
    if "widths" in columns:
        header.append("parameters")
        for row, one in zip(rows, settings, strict=True):
            row.append(f"{parameter_count(one['widths']):,}")
    sentence = f"All settings: {', '.join(shared) or 'nothing in common'}."
    table = page.Table(
        "What was trained",
        tuple(header),
        tuple(tuple(row) for row in rows),
        numeric=tuple(range(2, len(header))),
    )
    return sentence, table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _command(manifest: dict) -> str:
    return shlex.join(["whydeep", *manifest["command"][1:]])
