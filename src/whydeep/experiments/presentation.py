"""From the results in a run folder to figures, numbers in text, and the report.

Everything here is made from results/*.nc and manifest.json alone, so that a report can be made again.
"""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import whydeep
from whydeep.claims import Judgement, adjusted_p, format_p
from whydeep.experiments import EXPERIMENTS
from whydeep.experiments.experiment import Experiment
from whydeep.experiments.verdicts import read_results
from whydeep.networks import parameter_count
from whydeep.report import page
from whydeep.report.style import figure_style, notice, save
from whydeep.runs import RunFolder, format_duration, git_state, read_manifest, write_atomically


def draw_figures(folder: RunFolder, experiment: Experiment, *, again: bool = True) -> None:
    """Draw the figures of an experiment whose results are there; unless `again`, only where results are newer."""
    if experiment.name not in folder.experiments():
        return
    results = read_results(folder, experiment.name)
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


def write_report(folder: RunFolder, judgements: Sequence[Judgement]) -> None:
    """Write report.html from the results, figures and manifest of a folder, and the verdicts on its claims.

    Raises:
        RunError: the folder holds no run.
    """
    manifest = read_manifest(folder)
    there = {name: read_results(folder, name) for name in EXPERIMENTS if name in folder.experiments()}
    sections = [
        _section(folder, EXPERIMENTS[name], results, [one for one in judgements if one.experiment == name])
        for name, results in there.items()
    ]
    report = page.Page(
        title="How neural networks train",
        lead="Populations of networks, one member per seed: what was trained, what was measured, and how sure it is.",
        facts=_facts(there, manifest),
        notices=_notices(there, manifest),
        verdicts=tuple(_verdict(one) for one in judgements if one.verdict != "not-run"),
        verdicts_note=_verdicts_note(judgements, there),
        sections=tuple(sections),
        methods=METHODS,
        environment=_environment(manifest),
        command=_command(there, manifest),
        references=REFERENCES,
    )
    write_atomically(folder.report, page.render(report).encode())


Results = Mapping[str, xr.Dataset]
"""Of each experiment that has any; a folder may hold those of several runs."""


class Run(NamedTuple):
    """What results are of: a folder may hold those of several runs. Without images, the data set is an empty text."""

    scale: str
    seeds: int
    root_seed: int
    dataset: str
    origin: str


def _run(results: xr.Dataset) -> Run:
    attributes = results.attrs
    root_seed = int(attributes.get("root_seed", 0))  # older results have none, and were of no other
    return Run(
        attributes["scale"], results.sizes["seed"], root_seed, attributes["dataset"], attributes["dataset_origin"]
    )


def _last_run(configuration: Mapping[str, Any]) -> Run:
    dataset, origin = (configuration[name] or "" for name in ("dataset", "dataset_origin"))
    return Run(configuration["scale"], configuration["seeds"], configuration["root_seed"], dataset, origin)


def _from_earlier_runs(there: Results, configuration: Mapping[str, Any]) -> list[str]:
    """Experiments whose results are of other settings than those of the last run."""
    last = _last_run(configuration)
    expected = last, last._replace(dataset="", origin="")
    return [name for name, results in there.items() if _run(results) not in expected]


def _notices(there: Results, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what a reader must know before anything else: other images than expected, missing or older parts."""
    configuration = manifest["configuration"]
    notices = [results.attrs["notice"] for results in there.values()] or [configuration["notice"]]
    earlier = _from_earlier_runs(there, configuration)
    if earlier:
        notices.append(
            f"The results of {', '.join(earlier)} are of an earlier run, with another scale, other seeds or images "
            "than the last; each experiment says its own."
        )
    if manifest["status"] in ("interrupted", "failed"):
        notices.append(f"The last run was {manifest['status']}: run the same command again to go on.")
    absent = [name for name in configuration["experiments"] if name not in there]
    if absent:
        notices.append(f"No results yet: {', '.join(absent)}.")
    return tuple(dict.fromkeys(notice for notice in notices if notice))


def _facts(there: Results, manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Say what was run: label and value."""
    git = manifest["git"]
    seconds = sum(job["seconds"] for job in manifest["jobs"])
    processor = "core" if manifest["device"] == "cpu" else "GPU"
    runs = [_run(results) for results in there.values()] or [_last_run(manifest["configuration"])]
    scales, seeds, root_seeds, datasets, _ = (
        dict.fromkeys(str(value) for value in values if value != "") for values in zip(*runs, strict=True)
    )
    return (
        ("Scale", ", ".join(scales)),
        ("Seeds", f"n = {', '.join(seeds)} per setting, root seed {', '.join(root_seeds)}"),
        ("Device", f"{manifest['device']}, {manifest['cpu_count']} cores"),
        ("Images", ", ".join(datasets) or "none"),
        ("Training time", f"{format_duration(seconds)} on one {processor}, all experiments"),
        ("Started", f"{datetime.fromisoformat(manifest['start']):%Y-%m-%d %H:%M} UTC"),
        ("whydeep", manifest["whydeep"] + (f", commit {git['commit'][:12]}" if git else "")),
    )


def _environment(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Say with what it was run: label and value."""
    configuration = manifest["configuration"]
    trained = _code(manifest["whydeep"], manifest["git"])
    written = _code(whydeep.__version__, git_state(Path(whydeep.__file__).parent))
    facts = [
        ("Code", f"last run with {trained}" + (f"; judged and written with {written}" if written != trained else "")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
        ("Machine", f"{manifest['device']}, {manifest['cpu_count']} cores, {manifest['platform']}"),
    ]
    if configuration["dataset_fingerprint"]:
        facts.append(("Images", f"{configuration['dataset']}, fingerprint {configuration['dataset_fingerprint']}"))
    return tuple(facts)


def _code(version: str, git: Mapping[str, Any] | None) -> str:
    """Name the code of a version, and of a commit where it is known."""
    if not git:
        return f"whydeep {version}"
    return f"whydeep {version}, commit {git['commit']}{' with changes that are not committed' if git['dirty'] else ''}"


REFERENCES = (
    "S. Khamkar (2023): CPSC 8430 Deep Learning, Homework 1. The report whose experiments are repeated.",
    "National Taiwan University (2018): Machine Learning and having it Deep and Structured, Homework 1.",
    "D. P. Kingma, J. Ba (2015): Adam: a method for stochastic optimization. ICLR.",
    "J. M. Antognini, J. Sohl-Dickstein (2018): PCA of high dimensional random walks with comparison to neural network "
    "training. NeurIPS. The random walks beside the paths of weights.",
    "C. G. Frye, J. Simon, N. S. Wadia, A. Ligeralde, M. R. DeWeese, K. E. Bouchard (2021): Critical point-finding "
    "methods reveal gradient-flat regions of deep network losses. Neural Computation 33. The index of critical points.",
    "Y. N. Dauphin, R. Pascanu, C. Gulcehre, K. Cho, S. Ganguli, Y. Bengio (2014): Identifying and attacking the "
    "saddle point problem in high-dimensional non-convex optimization. NeurIPS. Newton steps away from saddles, and "
    "the share of negative eigenvalues, which falls with the loss.",
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
    "Y. LeCun, C. Cortes, C. J. C. Burges (1998): The MNIST database of handwritten digits.",
    "Student (1908): The probable error of a mean. Biometrika 6.",
    "S. Holm (1979): A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.",
    "R. L. Berger (1982): Multiparameter hypothesis testing and acceptance sampling. Technometrics 24. Every part must "
    "hold.",
    "R. A. Fisher (1935): The design of experiments. Oliver and Boyd. The test by sign flips.",
    "M. Okabe, K. Ito (2008): Color universal design. The palette of the figures.",
)


def _section(
    folder: RunFolder, experiment: Experiment, results: xr.Dataset, judgements: Sequence[Judgement]
) -> page.Section:
    missing = results.attrs["missing"]
    sentence, settings = _settings(experiment.title, json.loads(results.attrs["settings"]), results)
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
        settings=settings,
        figures=tuple(shown),
        tables=tuple(tables),
        claims=tuple(_claim(one) for one in judgements if one.verdict != "not-run"),
        definitions=tuple(experiment.definitions.items()),
        data_file=folder.results(experiment.name).relative_to(folder.path).as_posix(),
        variables=_variables(experiment, results),
        labels=_labels(results),
        missing=f"Some units are missing: {missing}. Run the same command again to go on." if missing else "",
    )


def _variables(experiment: Experiment, results: xr.Dataset) -> page.Table:
    rows = tuple(
        (name, ", ".join(map(str, results[name].dims)), str(variable))
        for name, variable in experiment.variables.items()
        if name in results
    )
    return page.Table(f"{experiment.name}: what was measured", ("variable", "dimensions", "meaning"), rows)


def _labels(results: xr.Dataset) -> str:
    """Write the labels of every dimension that has some; of many numbers the first and the last."""

    def written(labels: list[Any]) -> str:
        if len(labels) <= 12 or isinstance(labels[0], str):
            return ", ".join(map(_text, labels))
        return f"{labels[0]:g} to {labels[-1]:g}"

    return "; ".join(
        f"{name}: {written(results[name].values.tolist())}" for name in results.dims if name in results.coords
    )


def _sample(results: xr.Dataset) -> str:
    """Say what these results were measured on."""
    run = _run(results)
    images = f", on {run.dataset} ({run.origin})" if run.dataset else ""
    return f"Scale {run.scale}, n = {run.seeds} seeds per setting (root seed {run.root_seed}){images}."


def _verdict(one: Judgement) -> page.Verdict:
    """One row of the table of verdicts."""
    p = adjusted_p(one)
    if one.deciding is None:
        return page.Verdict(one.claim.id, one.verdict, one.claim.statement, "", "", "", p)
    estimated = one.deciding.estimate
    parts = f", the part that decides of {len(one.parts)}" if len(one.parts) > 1 else ""
    what = f"{estimated.name}{parts}; the claim: {estimated.test.rule}"
    interval = estimated.interval
    return page.Verdict(one.claim.id, one.verdict, one.claim.statement, what, str(interval), str(interval.n), p)


SCALE_NOTES = {
    "smoke": "networks have hardly been trained: it shows that everything works, and no verdict means anything.",
    "quick": "there are fewer epochs than the claims are about: verdicts are about networks trained for so long, and "
    "may differ at full scale.",
}


def _verdicts_note(judgements: Sequence[Judgement], there: Results) -> str:
    counts = Counter(one.verdict for one in judgements)
    parts = [f"{counts[name]} {name}" for name in ("supported", "contradicted", "undecided", "preview") if counts[name]]
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in judgements:
        if one.verdict == "not-run" and one.experiment in there:
            reasons[one.reason].append(one.claim.id)
    absent = "".join(f" {', '.join(ids)}: not judged, as {reason}." for reason, ids in reasons.items())
    others = sum(one.verdict == "not-run" and one.experiment not in there for one in judgements)
    absent += f" Claims about experiments that were not run: {others}." if others else ""
    of_scale: dict[str, list[str]] = defaultdict(list)
    for name, results in there.items():
        of_scale[results.attrs["scale"]].append(name)
    notes = "".join(
        f" At {scale} scale{'' if len(of_scale) == 1 else ' (' + ', '.join(names) + ')'} {SCALE_NOTES[scale]}"
        for scale, names in of_scale.items()
        if scale in SCALE_NOTES
    )
    return (
        f"{', '.join(parts) or 'no claim was tested'}. The interval is for its part alone; p is adjusted over all "
        f"claims that could be tested.{absent}{notes}"
    )


def _claim(one: Judgement) -> page.Claim:
    """A claim with the numbers that its verdict rests on."""
    rows = [
        (
            part.estimate.name,
            str(part.estimate.interval),
            str(part.estimate.interval.n),
            "none" if np.isnan(part.agreeing) else f"{round(part.agreeing * part.estimate.interval.n)}",
            format_p(part.p_sign_flip),
            part.estimate.test.rule,
        )
        for part in one.parts
    ]
    header = (
        "statistic",
        f"estimate [{100 * one.level:g} % interval]",
        "n",
        "seeds that agree",
        "p by sign flips",
        "the claim says",
    )
    table = page.Table(f"{one.claim.id} in numbers", header, tuple(rows), numeric=(1, 2, 3, 4))
    p, adjusted = format_p(one.p, "p"), format_p(one.p_adjusted, "p")
    ps = "" if np.isnan(one.p) else f"{p}, adjusted over all claims {adjusted}."
    if one.by_convention:
        ps = "Without a test, as all seeds have the same value."
    return page.Claim(
        one.claim.id, one.claim.statement, one.claim.source, one.claim.reading, one.verdict, one.reason, ps, table
    )


METHODS = (
    (
        "Networks and training",
        "fully connected, with biases; ReLU between the layers, none after the last, where nothing else is said. "
        "Weights and biases start uniformly within 1 / sqrt(inputs of the layer), as PyTorch's do. All are trained "
        "with Adam (beta 0.9 and 0.999, epsilon 1e-8) in single precision: functions with the mean squared error of "
        "all points at every step, images with the cross entropy of one batch. What phase two of E5 does is in double "
        "precision. Pixels that are bytes are divided by 255, scikit-learn's digits by 16; other numbers are taken as "
        "they are. Each epoch has every image once, in a new order; its last batch may be smaller.",
    ),
    (
        "Seeds",
        "every setting is trained for each seed (in E3, E5 and E8 several networks, of which a seed's numbers are "
        "made). Initial weights, order of samples, data and labels come from random streams that depend on what they "
        "are for and on nothing else; what can be shared between settings is, so that they are compared within each "
        "seed.",
    ),
    (
        "Intervals",
        "Student's t over seeds, on the logarithm for losses and norms; cut at the limits of what a quantity can be. A "
        "bootstrap over so few seeds would be too narrow. A seed whose training diverged leaves its claim undecided.",
    ),
    (
        "Verdicts",
        "a claim has statistics and the values that agree with it; those of the study were written down before "
        "results were seen, except where a claim says so. It is supported if every part is shown to lie there, "
        "contradicted if some part is shown to lie outside, else undecided. Each part has two one-sided t tests over "
        "seeds, that it lies there and that it lies outside. The p of a claim is twice the smaller of two: the "
        "largest p that its parts lie there (Berger 1982), and the smallest that one lies outside, times their "
        "number. These are adjusted by Holm's method over all claims that can be tested, a user's own among them: "
        "with 95 % confidence no verdict of the report is wrong, as far as the seeds vary normally and their number "
        "was fixed beforehand: a verdict that came after seeds were added, because there was none before, is a hint "
        "to be confirmed with new ones (--root-seed draws them). Values that are equal in all seeds, three or more, "
        "decide without a test: a convention, outside of this guarantee. The numbers of each claim have beside them "
        "the p of the sign-flip test, two-sided and of that part alone, which takes seeds to vary symmetrically but "
        "not normally. It decides nothing: with n seeds it is never below 2/2^n.",
    ),
    (
        "What seeds cannot tell",
        "a verdict is about these networks on these data, trained for so long, over the randomness of training. It "
        "says nothing about other data sets, sizes, optimisers or epochs.",
    ),
)


def _settings(title: str, settings: Sequence[Mapping[str, Any]], results: xr.Dataset) -> tuple[str, page.Table]:
    """Return what all settings share, as a sentence, and a table of what tells them apart, coordinates first."""
    columns = sorted(settings[0], key=lambda name: name not in results.dims)
    differing = [name for name in columns if any(one[name] != settings[0][name] for one in settings)]
    if "widths" in columns and "widths" not in differing:
        differing.append("widths")  # the networks are always shown, with their parameters
    shared = [f"{_words(name)} {_text(settings[0][name])}" for name in columns if name not in differing]
    header = [_words(name) for name in differing]
    rows = [[_text(one[name]) for name in differing] for one in settings]
    if "widths" in columns:
        header.append("parameters")
        for row, one in zip(rows, settings, strict=True):
            row.append(f"{parameter_count(one['widths']):,}")
    sentence = f"All settings: {', '.join(shared) or 'nothing in common'}."
    table = page.Table(
        f"{title.split('.')[0]}: what was trained",
        tuple(header),
        tuple(tuple(row) for row in rows),
        numeric=tuple(
            column for column, cells in enumerate(zip(*rows, strict=True)) if column and all(map(_is_number, cells))
        ),
    )
    return sentence, table


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).isdecimal()


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _command(there: Results, manifest: Mapping[str, Any]) -> str:
    """What to run again: the last command, and those before it if some results are not of its run."""
    configuration = manifest["configuration"]
    complete = set(there) <= set(configuration["experiments"]) and not _from_earlier_runs(there, configuration)
    commands = [shlex.join(["whydeep", *one["command"][1:]]) for one in (manifest, *reversed(manifest["history"]))]
    return commands[0] if complete else "\n".join(reversed(list(dict.fromkeys(commands))))
