"""Run experiments: settings to jobs, units to results, results to figures and a report."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any, cast

import xarray as xr

from whydeep.data import map_dataset
from whydeep.errors import RunError, SettingError, WhydeepError, one_line
from whydeep.runs import DamagedError, Job, Manifest, Outcome, RunFolder, execute, open_cluster, remove
from whydeep.runs.schedule import fit_workers
from whydeep.streams import say
from whydeep.study import console
from whydeep.study.drawing import draw_figures
from whydeep.study.experiment import Experiment, Setting
from whydeep.study.registry import Registry, outside_digest
from whydeep.study.reporting import write_report
from whydeep.study.request import Request
from whydeep.study.resolve import Study, device_name, resolve
from whydeep.study.results import FORMAT, combine, units_digest
from whydeep.study.verdicts import UserClaimsFile, judge_folder, read_user_claims

WORTH_MAPPING = 32 * 2**20
"""Bytes of images from which on processes share them."""


def run_study(request: Request, executor: Executor | None = None, registry: Registry | None = None) -> Outcome:
    """Run what is missing in the folder, and write results, figures and the report.

    Returns how it ended; what was finished is kept whatever happens.

    Args:
        request: what to run.
        executor: another place to train than processes of this machine or `request.cluster`; data sets and files of
            experiments must lie at the same place there, and `request.workers` says how many jobs to make room for.
        registry: the experiments that names are looked up in; by default those that are installed.

    Raises:
        DataError: a data set that was asked for is not there.
        SettingError: an unknown experiment, or a change that it cannot take.
        RunError: the folder holds other things, or another process uses it.
    """
    study = resolve(request, registry)
    request, registry = study.request, study.registry
    jobs = study.jobs()
    say(console.headline(study))
    folder = RunFolder(request.out)
    user_claims = read_user_claims(folder, registry, request.claims, kept=not request.fresh)
    with (
        folder.claim(fresh=request.fresh),
        Manifest(
            folder,
            configuration=study.configuration(),
            seeds=study.seeds,
            device=device_name(study.device),
            command=request.command,
        ) as manifest,
    ):
        outcome = _measure(study, jobs, folder, executor)
        manifest.add(outcome)
        say(console.machines(manifest.record["machines"]))
        problems: list[WhydeepError] = []
        for experiment in study.experiments:
            with _going_on(problems):  # after what a user's measure returned, or a disk that is full
                _write_results(folder, study, experiment, [job for job in jobs if job.experiment == experiment.name])
        with _going_on(problems):
            problems += draw_figures(folder, study.experiments, again=False)
    with _going_on(problems):
        _judge_and_report(folder, registry, user_claims, problems)
    say(console.closing(outcome, folder))
    if problems:
        raise problems[0]
    return outcome


def _measure(study: Study, jobs: Sequence[Job], folder: RunFolder, executor: Executor | None) -> Outcome:
    """Measure what is missing, here or elsewhere, and say what it took."""
    place = study.request.cluster if executor is None and any(folder.missing(job) for job in jobs) else None
    is_here, split = executor is None and place in (None, "local"), study.device == "cpu"
    if is_here:
        study = _share_images(study, folder)
    memory = study.memory if is_here and split else math.inf
    workers, _ = fit_workers(jobs, study.workers, memory)
    with ExitStack() as stack:
        cluster = None
        if place:
            say(f"asking the workers of {place} what they have")
            executor = cluster = stack.enter_context(open_cluster(place, workers, study.requirements, folder.progress))
            workers = study.request.workers or max(1, cluster.most_workers)
        start = time.perf_counter()
        outcome = execute(jobs, folder, study.context, workers=workers, executor=executor, split=split, memory=memory)
        took = time.perf_counter() - start
        say(console.costs(outcome, took, max(1, cluster.most_workers) if cluster else workers))
    return outcome


def _share_images(study: Study, folder: RunFolder) -> Study:
    """Write the images to files that all processes of this machine map, instead of each reading and holding them."""
    images = study.images
    if images is None or study.workers == 1 or images.train_inputs.nbytes < WORTH_MAPPING:
        return study
    try:
        mapped = map_dataset(images, folder.progress / "images")
    except OSError:  # no room: each process reads them
        remove(folder.progress)
        return study
    return replace(study, source=mapped, images=mapped.load())


@contextmanager
def _going_on(problems: list[WhydeepError]) -> Iterator[None]:
    """Keep an error to be raised at the end: what can still be written and said is."""
    try:
        yield
    except WhydeepError as error:
        problems.append(error)


def _judge_and_report(
    folder: RunFolder, registry: Registry, user_claims: UserClaimsFile, problems: list[WhydeepError]
) -> None:
    """Judge the claims, keep and print the verdicts, and write the report."""
    try:
        verdicts = judge_folder(folder, registry, user_claims)
    except SettingError as error:  # of a user's claim: nothing else is lost
        problems.append(error)
        verdicts = judge_folder(folder, registry, UserClaimsFile())
    with _going_on(problems):
        verdicts.keep(folder)
    with _going_on(problems):
        problems += write_report(folder, registry, verdicts.judgements)
    say(console.verdicts(verdicts.judgements, registry))


def _write_results(folder: RunFolder, study: Study, experiment: Experiment, jobs: Sequence[Job]) -> None:
    """Combine what is on disk, unless results are there that were made from the same units.

    Nothing is written while no unit is there.
    """
    seeds = study.seeds
    measured = [(job, folder.units(job)) for job in jobs]
    if not any(units for _, units in measured):
        return
    attributes = _attributes(study, experiment, jobs) | {
        "missing": ", ".join(job.setting.name for job, units in measured if len(units) < len(seeds)),
        "units": units_digest(seeds, {job.digest: units for job, units in measured}),
    }
    written = _written_results(folder, experiment.name)
    if written is not None:
        if all(str(written.attrs.get(name)) == str(value) for name, value in attributes.items()):
            return
        if written.attrs.get("units") != attributes["units"]:
            say(console.replaced(experiment.name, written, study))
    coordinates = [cast(Setting, job.setting).coordinates for job in jobs]
    parts = [(place, folder.load(job)) for place, (job, units) in zip(coordinates, measured, strict=True) if units]
    try:
        results = combine(parts, seeds, coordinates)
    except ValueError as error:
        raise RunError(
            f"{experiment.name}: its units do not fit together ({one_line(error)}): measure must return the same "
            "dimensions and lengths for all settings, whichever seeds are measured together"
        ) from None
    for name in results.data_vars:
        results[name].attrs.update(experiment.variable(str(name)).attributes)
    results.attrs = attributes
    folder.write_results(experiment.name, results)


def _written_results(folder: RunFolder, experiment: str) -> xr.Dataset | None:
    """Return the results that are there; those that are damaged are set aside, and made again from the units."""
    path = folder.results(experiment)
    if not path.exists():
        return None
    try:
        return folder.read_results(experiment)
    except DamagedError:
        folder.set_aside({path: "its units are there"})
        return None


def _attributes(study: Study, experiment: Experiment, jobs: Sequence[Job]) -> dict[str, Any]:
    """What results say of themselves, so that they can be read, judged and shown on their own."""
    images = study.images if experiment.uses_images else None
    plan = study.plans[experiment.name]
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "title": experiment.heading,
        "question": experiment.question,
        "scale": study.request.scale,
        "root_seed": study.request.root_seed,
        "dataset": images.name if images else "",
        "dataset_origin": images.origin if images else "",
        "dataset_asked_for": study.request.dataset or "",
        "size_asked_for": study.request.size,
        "preprocessing": images.preprocessing if images else "",
        "images": json.dumps(asdict(plan.images) if plan.images else None),
        "notice": images.notice if images else "",
        "changes": json.dumps(study.changes(experiment.name)),
        "source": outside_digest(experiment) or "",
        "settings": json.dumps([asdict(cast(Any, job.setting)) for job in jobs]),
        "unit_digests": " ".join(job.digest for job in jobs),
        "definitions": "\n".join(f"{term}: {text}" for term, text in experiment.definitions.items()),
    }
