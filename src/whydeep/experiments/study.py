"""Run experiments: settings to jobs, units to results, results to figures and a report."""

import hashlib
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import xarray as xr

from whydeep.data import Dataset, Source, locate, target_function
from whydeep.errors import SettingError, near_names
from whydeep.experiments import EXPERIMENTS, find_experiment
from whydeep.experiments.experiment import SCALES, Experiment, Plan, Scale, Setting
from whydeep.experiments.presentation import draw_figures, write_report
from whydeep.experiments.results import combine
from whydeep.experiments.verdicts import FORMAT, Own, find_own_claims, judge_folder, verdicts_text
from whydeep.runs import Context, Job, Manifest, Outcome, RunFolder, digest, execute, format_duration

LONG = 100.0
"""Predicted seconds of one seed from which on it is a job of its own."""


@dataclass(frozen=True)
class Request:
    """What a run is asked for; the fields are those of the command line.

    Raises:
        SettingError: an unknown experiment, scale or device, or a number below one.
    """

    experiments: tuple[str, ...] = ()
    scale: Scale = "quick"
    seeds: int = 5
    root_seed: int = 0
    dataset: str | None = None
    data_dir: Path | None = None
    functions: tuple[str, ...] = ("arcsinh", "cos")
    out: Path = Path("runs/study")
    device: str = "auto"
    workers: int = 0
    fresh: bool = False
    claims: Path | None = None

    def __post_init__(self) -> None:
        for name in self.experiments:
            find_experiment(name)
        if self.scale not in SCALES:
            raise SettingError(f"no scale is called {self.scale!r}: {near_names(self.scale, SCALES)}")
        if self.seeds < 1:
            raise SettingError(f"--seeds must be 1 or more, not {self.seeds}")
        if not 0 <= self.root_seed < 2**63:
            raise SettingError(f"--root-seed must be from 0 to 2**63 - 1, not {self.root_seed}")
        if self.workers < 0:
            raise SettingError(f"--workers must be 0 (as many as there are cores) or more, not {self.workers}")
        if not self.functions:
            raise SettingError("--functions needs at least one function of x")
        for function in self.functions:
            target_function(function)

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that asks for the same.

        >>> Request(("gradient-norm",), seeds=3, fresh=True).command
        ('whydeep', 'run', 'gradient-norm', '--seeds', '3', '--fresh')
        """
        words = ["whydeep", "run", *self.experiments]
        for option in fields(self)[1:]:
            value = getattr(self, option.name)
            if value != option.default:
                words.append("--" + option.name.replace("_", "-"))
                words += [] if value is True else map(str, value) if isinstance(value, tuple) else [str(value)]
        return tuple(words)


def run_study(request: Request, executor: Executor | None = None) -> Outcome:
    """Run what is missing in the folder, and write results, figures and the report.

    Returns how it ended; what was finished is kept whatever happens.

    Args:
        request: what to run.
        executor: another place to train than processes of this machine, such as Dask's ``client.get_executor()``; data
            sets must lie at the same place there, and `request.workers` says how many jobs to make room for.

    Raises:
        DataError: a data set that was asked for is not there.
        RunError: the folder holds other things, or another process uses it.
    """
    device = _device(request.device)
    experiments = [EXPERIMENTS[name] for name in dict.fromkeys(request.experiments or EXPERIMENTS)]
    source, images = None, None
    if any(experiment.uses_images for experiment in experiments):
        source = locate(request.dataset, request.data_dir)
        images = source.load()
    elif request.dataset:
        source = locate(request.dataset, request.data_dir)  # a wrong name is an error all the same
    workers = request.workers or (1 if device == "cuda" else os.cpu_count() or 1)
    seeds = tuple(range(request.seeds))
    context = Context(device=device, source=source, root_seed=request.root_seed)
    jobs = _jobs(experiments, _plan(request, images), seeds, images, context)
    _say(_headline(request, experiments, images, device))
    folder = RunFolder(request.out)
    own = Own() if request.fresh and request.claims is None else find_own_claims(folder, request.claims)
    with (
        folder.claim(fresh=request.fresh),
        Manifest(
            folder,
            configuration=_configuration(request, experiments, source, images),
            seeds=seeds,
            device=_device_name(device),
            command=request.command,
        ) as manifest,
    ):
        shared = _share_out(jobs, workers) if device == "cpu" else jobs
        start = time.perf_counter()
        outcome = execute(shared, folder, context, workers=workers, executor=executor, split=device == "cpu")
        _say(_costs(outcome, time.perf_counter() - start, workers))
        manifest.add(outcome)
        for experiment in experiments:
            its_jobs = [job for job in jobs if job.experiment == experiment.name]
            _write_results(folder, experiment, its_jobs, seeds, request, images)
            draw_figures(folder, experiment, again=False)
    problem = None
    try:
        judgements = judge_folder(folder, own)
    except SettingError as error:  # of a user's claim: nothing else is lost
        problem, judgements = error, judge_folder(folder, Own())
    write_report(folder, judgements)
    _say(verdicts_text(judgements, all_claims=False))
    _say(_closing(outcome, folder))
    if problem:
        raise problem
    return outcome


def _say(text: str) -> None:
    if text:
        print(text, flush=True)


def _device(asked: str) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise SettingError(f"no device is called {asked!r}: {near_names(asked, ('auto', 'cpu', 'cuda'))}")
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device cuda needs a CUDA GPU that PyTorch can use, and there is none: give cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def _device_name(device: str) -> str:
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device


def _plan(request: Request, images: Dataset | None) -> Plan:
    functions = tuple(dict.fromkeys(request.functions))
    if images is None:
        return Plan(request.scale, functions)
    return Plan(
        request.scale,
        functions,
        features=images.features,
        classes=images.classes,
        train_images=len(images.train_labels),
        test_images=len(images.test_labels),
    )


def _jobs(
    experiments: Sequence[Experiment], plan: Plan, seeds: tuple[int, ...], images: Dataset | None, context: Context
) -> list[Job]:
    """One job per setting, with all seeds."""
    return [
        Job(
            experiment.name,
            setting,
            seeds,
            experiment.measure,
            digest(
                experiment.name,
                setting,
                revision=experiment.revision,
                device=context.device,
                root_seed=context.root_seed,
                data=images.fingerprint if experiment.uses_images and images else None,
            ),
        )
        for experiment in experiments
        for setting in experiment.settings(plan)
    ]


def _share_out(jobs: Sequence[Job], workers: int) -> list[Job]:
    """Split the seeds of jobs that are too long for all workers to be busy until the end.

    A job takes at most half of a worker's fair share, and a seed that takes long on its own is a job of its own: large
    networks gain nothing from each other's company, and fit the cache better alone. How seeds are split never changes
    their numbers.
    """
    limit = sum(job.cost for job in jobs) / (2 * workers)
    shared = []
    for job in jobs:
        pieces = min(len(job.seeds), math.ceil(job.cost / limit)) if workers > 1 else 1
        if job.setting.cost > LONG:
            pieces = len(job.seeds)
        bounds = [len(job.seeds) * piece // pieces for piece in range(pieces + 1)]
        shared += [replace(job, seeds=job.seeds[start:stop]) for start, stop in pairwise(bounds)]
    return shared


def _configuration(
    request: Request, experiments: Sequence[Experiment], source: Source | None, images: Dataset | None
) -> dict[str, object]:
    return {
        "experiments": [experiment.name for experiment in experiments],
        "scale": request.scale,
        "seeds": request.seeds,
        "functions": list(request.functions),
        "dataset": images.name if images else None,
        "dataset_origin": images.origin if images else None,
        "dataset_fingerprint": images.fingerprint if images else None,
        "dataset_asked_for": request.dataset,
        "notice": images.notice if images else "",
        "root_seed": request.root_seed,
    }


def _write_results(
    folder: RunFolder,
    experiment: Experiment,
    jobs: Sequence[Job],
    seeds: tuple[int, ...],
    request: Request,
    images: Dataset | None,
) -> None:
    """Combine what is on disk; nothing is written while no unit is there."""
    there = [(job, sorted({*job.seeds} - {*folder.missing(job)})) for job in jobs]
    units = hashlib.sha256(repr([FORMAT, seeds, *((job.digest, known) for job, known in there)]).encode()).hexdigest()
    missing = [job.setting.name for job, known in there if len(known) < len(seeds)]
    if not any(known for _, known in there):
        return
    if folder.results(experiment.name).exists():
        written = folder.read_results(experiment.name)
        if written.attrs.get("units") == units:
            return
        _say(_replaced(experiment, written, request))
    parts = [(cast(Setting, job.setting).coordinates, folder.load(job)) for job, known in there if known]
    results = combine(parts, seeds, [cast(Setting, job.setting).coordinates for job in jobs])
    for name in results.data_vars:
        if name in experiment.variables:
            results[name].attrs.update(experiment.variables[str(name)].attributes)
    results.attrs = {
        "format": FORMAT,
        "experiment": experiment.name,
        "title": experiment.title,
        "scale": request.scale,
        "root_seed": request.root_seed,
        "dataset": images.name if experiment.uses_images and images else "",
        "dataset_origin": images.origin if experiment.uses_images and images else "",
        "notice": images.notice if experiment.uses_images and images else "",
        "missing": ", ".join(missing),
        "settings": json.dumps([asdict(cast(Any, job.setting)) for job in jobs]),
        "definitions": "\n".join(f"{term}: {text}" for term, text in experiment.definitions.items()),
        "units": units,
    }
    folder.write_results(experiment.name, results)


def _replaced(experiment: Experiment, written: xr.Dataset, request: Request) -> str:
    """Say that results of another scale or root seed, or of more seeds, make room for new ones."""
    scale, root_seed = written.attrs.get("scale"), int(written.attrs.get("root_seed", 0))
    number = written.sizes.get("seed", 0)
    if (scale, root_seed) == (request.scale, request.root_seed) and number <= request.seeds:
        return ""
    count = "1 seed" if number == 1 else f"{number} seeds"
    return (
        f"{experiment.name}: the results of {count} (root seed {root_seed}) at {scale} scale make room for those of "
        "this run; what was measured is kept, and comes back with the command that measured it"
    )


def _headline(request: Request, experiments: Sequence[Experiment], images: Dataset | None, device: str) -> str:
    names = ", ".join(experiment.name for experiment in experiments)
    seeds = "1 seed" if request.seeds == 1 else f"{request.seeds} seeds"
    lines = [f"whydeep: {names} at {request.scale} scale, {seeds}, on {_device_name(device)}"]
    if images:
        count = f"{len(images.train_labels):,} training and {len(images.test_labels):,} test images"
        lines.append(f"images: {images.name} ({count}), {images.origin}")
        if images.notice:
            lines.append(f"NOTICE: {images.notice}")
    return "\n".join(lines)


def _costs(outcome: Outcome, wall: float, workers: int) -> str:
    """Say where the time went: for each experiment, and its settings, the seconds in workers."""
    if not outcome.timings:
        return ""
    costs: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for timing in outcome.timings:
        costs[timing.experiment][timing.setting] += timing.seconds
    total = sum(timing.seconds for timing in outcome.timings)
    busy = total / (workers * wall)
    lines = [
        f"\ntook {format_duration(wall)} with {workers} workers, busy for {busy:.0%} of it; time in workers, all seeds "
        "together:"
    ]
    for experiment, settings in costs.items():
        parts = [f"{name} {_duration(seconds)}" for name, seconds in sorted(settings.items(), key=lambda s: -s[1])]
        own = sum(settings.values())
        lines.append(f"  {experiment:<21} {_duration(own):>12} {own / total:>5.0%}  {', '.join(parts)}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)


def _closing(outcome: Outcome, folder: RunFolder) -> str:
    lines = [
        f"FAILED: {failure.experiment} {failure.setting}, seeds {failure.seeds}: {failure.message} "
        f"(see {folder.path / failure.log})"
        for failure in outcome.failures
    ]
    if outcome.interrupted:
        lines.append(f"interrupted: {outcome.finished} units finished and kept; run the same command to go on")
    lines.append(f"{outcome.finished} units measured, {outcome.skipped} were there already")
    if folder.report.exists():
        lines.append(f"report: {folder.report}")
    return "\n".join(lines)
