"""Run experiments: settings to jobs, units to results, results to figures and a report."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast

import torch
import xarray as xr

from whydeep.data import Dataset, Mapped, Source, locate, map_dataset
from whydeep.errors import DataError, RunError, SettingError, WhydeepError, one_line
from whydeep.runs import (
    Context,
    DamagedError,
    Job,
    Manifest,
    Outcome,
    RunFolder,
    available_cores,
    digest,
    execute,
    remove,
)
from whydeep.runs.memory import PROCESS, available_memory
from whydeep.sizes import read_size
from whydeep.streams import say
from whydeep.study import console
from whydeep.study.design import Each, Images, Plan, Scale, write_value
from whydeep.study.drawing import draw_figures
from whydeep.study.experiment import Experiment, Run, Setting
from whydeep.study.files import PortableFunction
from whydeep.study.registry import Registry, outside_digest
from whydeep.study.reporting import write_report
from whydeep.study.request import Request, read_study
from whydeep.study.results import FORMAT, combine, units_digest
from whydeep.study.verdicts import UserClaimsFile, judge_folder, read_user_claims

MARGIN = 2**28
"""Bytes that a worker is given beside its libraries, however little memory seems free."""
WORTH_MAPPING = 32 * 2**20
"""Bytes of images from which on processes share them."""


@dataclass(frozen=True)
class Measurement:
    """What a job runs: an experiment's function, given what it needs of the run."""

    experiment: str
    measure: PortableFunction

    def __call__(self, setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
        """Measure a setting for some seeds.

        Raises:
            SettingError: the function does not return what results are made of.
        """
        run = Run(
            self.experiment,
            setting,
            seeds,
            root_seed=context.root_seed,
            device=context.device,
            progress=context.progress,
            source=context.source,
            checkpoint=context.checkpoint,
        )
        measured = self.measure(setting, run)
        if not isinstance(measured, xr.Dataset):
            raise SettingError(f"measure must return an xarray.Dataset, not {type(measured).__name__}")
        relabelled = set(measured.dims) & set(setting.coordinates)
        if relabelled:
            raise SettingError(
                f"measure returned the dimension {min(map(str, relabelled))}, which is one of the settings': give it "
                "another name"
            )
        for name, values in measured.data_vars.items():
            if "seed" not in values.dims:
                raise SettingError(f"measure returned the variable {name} without the dimension seed")
            if values.dtype.kind not in "fiub" or name in setting.coordinates:
                what = f"of type {values.dtype}" if values.dtype.kind not in "fiub" else "called like a dimension"
                raise SettingError(
                    f"measure returned the variable {name} {what}: variables must be numbers, floats at best"
                )
        return measured


@dataclass(frozen=True)
class Study:
    """A request, resolved: which experiments, on which images, from which plans.

    Attributes:
        request: what was asked for.
        registry: all experiments there are.
        experiments: those of this run.
        plans: experiment -> its plan.
        images, source: the data set, and where it is; None where no experiment uses any.
        device: cpu or cuda.
    """

    request: Request
    registry: Registry
    experiments: tuple[Experiment, ...]
    plans: Mapping[str, Plan]
    images: Dataset | None
    source: Source | Mapped | None
    device: str

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of every setting."""
        return tuple(range(self.request.seeds))

    @property
    def workers(self) -> int:
        """Processes that train."""
        return self.request.workers or (1 if self.device == "cuda" else available_cores())

    @property
    def memory(self) -> float:
        """Bytes that workers may use together: what was asked for or is free, less images and this process."""
        images = 0 if self.images is None else self.images.train_inputs.nbytes + self.images.test_inputs.nbytes
        if self.request.memory:
            return read_size("--memory", self.request.memory) - PROCESS - images
        free = available_memory()
        return math.inf if free is None else max(0.9 * free - images, PROCESS + MARGIN)

    @property
    def context(self) -> Context:
        """What all jobs share."""
        return Context(device=self.device, source=self.source, root_seed=self.request.root_seed)

    def changes(self, experiment: str) -> dict[str, str]:
        """What the user set of an experiment: field -> value, as text."""
        plan = self.plans[experiment]
        return {name: write_value(plan.values[name]) for name in plan.values if name in plan.changed}

    def jobs(self) -> list[Job]:
        """One job per setting, with all seeds."""
        return [job for experiment in self.experiments for job in self._make_jobs(experiment)]

    def _make_jobs(self, experiment: Experiment) -> list[Job]:
        settings = experiment.make_settings(self.plans[experiment.name])
        measurement = Measurement(experiment.name, PortableFunction(experiment.measure))
        facts = {
            "revision": experiment.revision,
            "device": self.device,
            "root_seed": self.request.root_seed,
            "data": self.images.fingerprint if experiment.uses_images and self.images else None,
            "source": outside_digest(experiment),  # reads its files: once for all settings
        }
        return [
            Job(
                experiment.name,
                setting,
                self.seeds,
                measurement,
                digest(experiment.name, setting, **facts),
                setting.memory,
            )
            for setting in settings
        ]

    def configuration(self) -> dict[str, object]:
        """What the manifest says of it."""
        request, images = self.request, self.images
        return {
            "experiments": [experiment.name for experiment in self.experiments],
            "scale": request.scale,
            "seeds": request.seeds,
            "changes": {name: self.changes(name) for name in self.plans if self.changes(name)},
            "dataset": images.name if images else None,
            "dataset_origin": images.origin if images else None,
            "dataset_fingerprint": images.fingerprint if images else None,
            "dataset_asked_for": request.dataset,
            "notice": images.notice if images else "",
            "root_seed": request.root_seed,
        }


def resolve(request: Request, registry: Registry | None = None) -> Study:
    """Find the experiments, the data set and the device that a request is about.

    Raises:
        DataError: a data set that was asked for is not there.
        SettingError: an unknown experiment, or a change that it cannot take.
    """
    if request.study is not None:
        given = {
            option.name: getattr(request, option.name)
            for option in fields(request)
            if getattr(request, option.name) != option.default
        }
        request = read_study(request.study, **{name: value for name, value in given.items() if name != "study"})
    changes = request.changes
    registry, names = (registry or Registry.installed()).with_files(request.experiments)
    experiments = tuple(registry[name] for name in names or registry)
    if not experiments:
        raise SettingError("no experiment is installed: install whydeep with pip, or name the Python file of one")
    for name in changes:
        if registry.find(name) not in experiments:
            raise SettingError(f"settings of {name} are given, which is not run: add it to the experiments of the run")
    if request.functions and not any(_goes_through_functions(experiment, request.scale) for experiment in experiments):
        raise SettingError("--functions is given, and no experiment of the run goes through functions: leave it out")
    device = _device(request.device)
    source = images = None
    if any(experiment.uses_images for experiment in experiments):
        source = locate(request.dataset, request.data_dir, request.size)
        if not f"{source.name}{source.path}".isprintable():  # they are kept in results, and shown in figures
            raise DataError(f"{source.path!r} holds characters that cannot be printed: rename it, or copy it elsewhere")
        images = source.load()
        source = replace(source, fingerprint=images.fingerprint)  # so that no process trains on others
    elif request.dataset:
        source = locate(request.dataset, request.data_dir, request.size)  # a wrong name is an error all the same
    plans = {
        experiment.name: make_plan(experiment, request, changes.get(experiment.name, {}), images)
        for experiment in experiments
    }
    for experiment in experiments:
        _refuse_idle_changes(experiment, plans[experiment.name])
    return Study(request, registry, experiments, plans, images, source, device)


def _refuse_idle_changes(experiment: Experiment, plan: Plan) -> None:
    """Raise `SettingError` if a user's change leaves all settings as they are without it."""
    settings = experiment.make_settings(plan) if plan.changed else ()
    for name in plan.changed:
        default = experiment.design[name].at(plan.scale)
        try:
            without = experiment.make_settings(replace(plan, values={**plan.values, name: default}))
        except SettingError:  # the change makes the others possible
            continue
        if without == settings:
            raise SettingError(
                f"{experiment.name}.{name} has no effect with the other values of this run: leave it out"
            )


def make_plan(
    experiment: Experiment, request: Request, changes: Mapping[str, Any], images: Dataset | None = None
) -> Plan:
    """Make the plan of an experiment: the values of its design at a scale, with a user's changes.

    `request.functions` takes the place of the list of functions that a design goes through.

    Raises:
        SettingError: a change that the design cannot take.
    """
    design, scale = experiment.design, request.scale
    if request.functions and _goes_through_functions(experiment, scale):
        if "function" in changes:
            raise SettingError(f"--functions and {experiment.name}.function are both given: give one of them")
        changes = {"function": request.functions, **changes}
    changed = design.read(changes, scale, experiment.name)
    counts = None
    if images is not None and experiment.uses_images:
        numbers = len(images.train_labels), len(images.test_labels)
        counts = Images(images.name, images.features, images.classes, *numbers)
    return Plan(scale, design.values_at(scale, changed), frozenset(changed), counts)


def _goes_through_functions(experiment: Experiment, scale: Scale) -> bool:
    return "function" in experiment.design and isinstance(experiment.design["function"].at(scale), Each)


def run_study(request: Request, executor: Executor | None = None, registry: Registry | None = None) -> Outcome:
    """Run what is missing in the folder, and write results, figures and the report.

    Returns how it ended; what was finished is kept whatever happens.

    Args:
        request: what to run.
        executor: another place to train than processes of this machine, such as Dask's ``client.get_executor()``; data
            sets and files of experiments must lie at the same place there, and `request.workers` says how many jobs to
            make room for.
        registry: the experiments that names are looked up in; by default those that are installed.

    Raises:
        DataError: a data set that was asked for is not there.
        SettingError: an unknown experiment, or a change that it cannot take.
        RunError: the folder holds other things, or another process uses it.
    """
    study = resolve(request, registry)
    request, registry = study.request, study.registry
    workers = study.workers
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
        start = time.perf_counter()
        study = study if executor else _share_images(study, folder)
        outcome = execute(
            jobs,
            folder,
            study.context,
            workers=workers,
            executor=executor,
            split=study.device == "cpu",
            memory=math.inf if executor or study.device == "cuda" else study.memory,
        )
        say(console.costs(outcome, time.perf_counter() - start, workers))
        manifest.add(outcome)
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


def device_name(device: str) -> str:
    """Name a device for people.

    >>> device_name("cpu")
    'cpu'
    """
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device


def _device(asked: str) -> str:
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device cuda needs a CUDA GPU that PyTorch can use, and none is available: give cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


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
