"""Whether a run folder is as it was written, and whether its units, measured again, are the same."""

import json
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from whydeep.errors import WhydeepError
from whydeep.runs import DamagedError, Failure, Job, RunFolder, UnsealedError, execute, machine_kind, netcdf
from whydeep.study.files import is_file_name
from whydeep.study.registry import Registry
from whydeep.study.request import Request
from whydeep.study.resolve import Study, resolve
from whydeep.study.results import units_digest

TOLERANCE = 1e-3
"""Of units that are measured again on another kind of machine: the largest difference, as a share of the values."""


@dataclass(frozen=True)
class Check:
    """What became of the files of a folder.

    Attributes:
        whole: how many are as they were written.
        unsealed: how many of an earlier version carry no checksum.
        without_units: experiments whose results could not be checked, as the folder has no units at all.
        problems: a line for each that is not as it was written, is gone, or does not fit the others.
    """

    whole: int
    unsealed: int
    without_units: tuple[str, ...]
    problems: tuple[str, ...]


def check_folder(folder: RunFolder) -> Check:
    """Check all files of a folder by their checksums, results against their units, and verdicts against results."""
    whole, unsealed, problems = 0, 0, []
    older = not folder.is_sealed()
    for path in folder.files():
        try:
            folder.verify(path)
            whole += 1
        except UnsealedError as error:
            if older:
                unsealed += 1
            else:
                problems.append(f"{folder.name(path)}: {error}")
        except DamagedError as error:
            problems.append(f"{folder.name(path)}: {error}")
    manifests = (folder.manifest,) if older else (folder.manifest, folder.manifest_backup)
    problems += [
        f"{folder.name(path)}: it is gone: run the same command again"
        for path in manifests
        if not os.path.lexists(path)
    ]
    without_units = () if (folder.path / "units").is_dir() else tuple(folder.experiments())
    return Check(whole, unsealed, without_units, (*problems, *_misfits(folder)))


def _misfits(folder: RunFolder) -> Iterator[str]:
    """Name results that are made from other units than those in the folder, and verdicts on other results."""
    made_from = {}
    for name in folder.experiments():
        try:
            results = folder.read_results(name)
        except DamagedError:
            continue  # its own line
        made_from[name] = results.attrs.get("units", "")
        if results.attrs.get("unit_digests") and (folder.path / "units").is_dir():
            sums = folder.checksums(name, results.attrs["unit_digests"].split(), results.seed.values.tolist())
            if units_digest(results.seed.values.tolist(), sums) != made_from[name]:
                yield f"results/{name}.nc: made from other units than those that are there: run {name} again"
    if folder.claims.is_file() and folder.is_whole(folder.claims):
        records = json.loads(folder.read(folder.claims))["claims"]
        about = {record["experiment"]: record.get("results") for record in records if record.get("results")}
        for name, digest in about.items():
            if not os.path.lexists(folder.results(name)):
                yield f"results/{name}.nc: it is gone, and claims.json has verdicts on it: run {name} again"
            elif made_from.get(name, digest) != digest:
                yield f"claims.json: its verdicts on {name} are about other results: run whydeep claims {folder.path}"


@dataclass(frozen=True)
class Comparison:
    """A unit that was measured again.

    Attributes:
        label: names the unit.
        same_bytes: whether its file is the same.
        difference: largest of all values, as a share of the largest value of its variable.
        variable: in which it is.
        same_machine: whether on a machine of the kind that measured the unit.
        agrees: whether all values are the same or, elsewhere, within the tolerance.
    """

    label: str
    same_bytes: bool
    difference: float
    variable: str
    same_machine: bool
    agrees: bool

    def __str__(self) -> str:
        if self.same_bytes:
            return f"{self.label}: the same to the byte"
        if self.difference == 0:
            return f"{self.label}: the same values, which other versions of HDF5 or its packages arrange otherwise"
        where = (
            "on this kind of machine, where it should be equal" if self.same_machine else "on another kind of machine"
        )
        return f"{self.label}: {self.variable} differs by {self.difference:.2g} of its largest value, {where}"


def requests_of(requests: Iterable[Request], given: Iterable[str], registry: Registry) -> Iterator[Request]:
    """Leave out of earlier requests what cannot be run: files of experiments that are not given again.

    Args:
        requests: of earlier commands.
        given: Python files of experiments.
        registry: with the experiments of these files.
    """
    files = {Path(file).name: file for file in given}
    for request in requests:
        names: list[str] = []
        for word in request.experiments:
            if not is_file_name(word):
                names.append(word)
            elif Path(word).name in files:
                file = Path(files[Path(word).name]).resolve()
                names += [name for name, experiment in registry.items() if experiment.file == file]
        if names or not request.experiments:
            if request.cluster:  # units are measured again here
                request = replace(request, cluster=None, workers=0, device="cpu")
            yield replace(request, experiments=tuple(dict.fromkeys(names)), claims=None, fresh=False)


def measure_again(
    folder: RunFolder, requests: Iterable[Request], registry: Registry, count: int, *, tolerance: float = TOLERANCE
) -> tuple[list[Comparison], list[str]]:
    """Measure a random sample of a folder's units again, and compare.

    Args:
        folder: of a run.
        requests: that its units are of.
        registry: of the experiments.
        count: how many units.
        tolerance: for units of other kinds of machines.

    Returns:
        A comparison for each unit, and a line for each that could not be measured again.
    """
    studies, problems = [], []
    for request in requests:
        try:
            studies.append(resolve(request, registry))
        except WhydeepError as error:
            problems.append(f"units of an earlier command cannot be measured again: {error}")
    units = {
        (job.digest, seed): (study, job) for study in studies for job in study.jobs() for seed in folder.units(job)
    }
    chosen = random.sample(sorted(units), min(count, len(units)))
    if len(chosen) < count:
        problems.append(f"{len(chosen)} units can be measured again, and {count} were asked for")
    kinds = _machine_kinds(folder)
    comparisons = []
    for study in studies:
        sample = [(units[key][1], key[1]) for key in chosen if units[key][0] is study]
        if sample:
            compared, failures = _measure(folder, study, sample, kinds, tolerance)
            comparisons += compared
            problems += [f"{failure.experiment} {failure.setting}: {failure.message}" for failure in failures]
    return comparisons, problems


def _machine_kinds(folder: RunFolder) -> dict[tuple[str, str, int], str]:
    """Experiment, setting and seed -> the kind of machine that measured the unit, where the manifest says it."""
    jobs = (folder.record() or {}).get("jobs", [])
    return {(job["experiment"], job["setting"], seed): job.get("machine", "") for job in jobs for seed in job["seeds"]}


def _measure(
    folder: RunFolder,
    study: Study,
    sample: list[tuple[Job, int]],
    kinds: Mapping[tuple[str, str, int], str],
    tolerance: float,
) -> tuple[list[Comparison], list[Failure]]:
    here = machine_kind(study.device)
    # on a GPU, the seeds of a job are never taken apart
    jobs = [job if study.device == "cuda" else replace(job, seeds=(seed,)) for job, seed in sample]
    with tempfile.TemporaryDirectory(prefix="whydeep-") as place:
        again = RunFolder(place)
        with again.claim():
            outcome = execute(jobs, again, study.context, workers=study.workers, split=study.device == "cpu")
        compared = []
        for job, seed in sample:
            if seed not in again.units(job):
                continue
            before, after = (where.read(where.unit(job, seed)) for where in (folder, again))
            same = kinds.get((job.experiment, job.setting.name, seed)) == here
            difference, variable = (0.0, "") if before == after else _difference(before, after)
            agrees = difference <= (0 if same else tolerance)
            label = f"{job.experiment} {job.setting.name} seed {seed}"
            compared.append(Comparison(label, before == after, difference, variable, same, agrees))
    return compared, outcome.failures


def _difference(before: bytes, after: bytes) -> tuple[float, str]:
    """Return the largest difference of two units, as a share of the largest value of its variable, and the variable."""
    first, second = (netcdf.from_bytes(data) for data in (before, after))
    if first.identical(second):
        return 0.0, ""
    names = [str(name) for name in first.data_vars]
    if not first.map(np.zeros_like).identical(second.map(np.zeros_like)):
        return np.inf, "its form"
    return max((_share(first[name], second[name]), name) for name in names)


def _share(first: xr.DataArray, second: xr.DataArray) -> float:
    a, b = (values.values.astype(float) for values in (first, second))
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    largest = np.abs(a[finite]).max(initial=0.0) or 1.0
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0) / largest)
