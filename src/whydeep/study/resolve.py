"""A request, resolved: which experiments, on which images, from which plans; and the jobs that this makes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from whydeep.data import Dataset, Mapped, Source, locate
from whydeep.errors import DataError, SettingError
from whydeep.population.compiler import TORCH, arithmetic
from whydeep.runs import Context, Job, available_cores, digest
from whydeep.runs.memory import PROCESS, available_memory
from whydeep.sizes import read_size
from whydeep.study.design import Each, Images, Plan, Scale, write_value
from whydeep.study.experiment import Experiment
from whydeep.study.files import PortableFunction
from whydeep.study.measurement import Measurement, Requirements
from whydeep.study.registry import Registry, outside_digest
from whydeep.study.request import Request, read_study

MARGIN = 2**28
"""Bytes that a worker is given beside its libraries, however little memory seems free."""


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
    def requirements(self) -> Requirements:
        """What machines need that take part."""
        measures = tuple(PortableFunction(experiment.measure) for experiment in self.experiments)
        return Requirements(self.source, measures, arithmetic(self.device))

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
            "arithmetic": None if arithmetic(self.device) == TORCH else arithmetic(self.device),
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
    device = "cpu" if request.cluster else _device(request.device)
    source = images = None
    if any(experiment.uses_images for experiment in experiments):
        source = locate(request.dataset, request.data_dir, request.size)
        if not f"{source.name}{source.path}".isprintable():  # they are kept in results, and shown in figures
            raise DataError(f"{source.path!r} holds characters that cannot be printed: rename it, or copy it elsewhere")
        images = source.load()
        path = str(Path(source.path).absolute()) if source.path else ""  # workers may run in another directory
        source = replace(source, path=path, fingerprint=images.fingerprint)  # so that none trains on others
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
