"""Verdicts on the claims of a run folder: those of experiments, of a user, and those that were stored."""

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import xarray as xr

from whydeep.claims import Case, Claim, Evidence, Judgement, UserClaims, judge, read_claims, stored_case
from whydeep.errors import RunError, SettingError, near_names, one_line
from whydeep.runs import DamagedError, RunFolder, read_manifest, without_seal
from whydeep.study.design import SCALES
from whydeep.study.experiment import Experiment, Setting
from whydeep.study.registry import Registry
from whydeep.study.request import Request
from whydeep.study.results import plan_of_results, read_results


@dataclass(frozen=True)
class UserClaimsFile:
    """A user's claims; `toml` is the file that they are from, to be kept."""

    claims: UserClaims = field(default_factory=list)
    toml: bytes | None = None

    def keep(self, folder: RunFolder) -> None:
        """Copy a TOML file into the folder, for later reports. (A Python file would be run by whoever opens them.)"""
        if self.toml is not None:
            folder.write(folder.user_claims, self.toml)


def read_user_claims(folder: RunFolder, registry: Registry, path: Path | None, *, kept: bool = True) -> UserClaimsFile:
    """Read a user's claims from a file, and those in TOML that an earlier command left in the folder, if `kept`.

    Raises:
        SettingError: the file is wrong, or a claim is about no experiment, or called like another.
    """
    # Another TOML file takes the place of the one that was kept.
    earlier = folder.user_claims if kept and not (path is not None and path.suffix == ".toml") else None
    variables = {name: experiment.variables for name, experiment in registry.items() if experiment.variables}
    claims: UserClaims = []
    if earlier is not None and earlier.is_file():
        try:
            folder.read(earlier)
            claims += read_claims(earlier, variables)
        except (SettingError, DamagedError) as error:
            advice = f"kept from an earlier command: give another with --claims, or delete {earlier}"
            raise SettingError(f"{error} ({advice})") from None
    claims += read_claims(path, variables) if path is not None else []
    experiments = [*registry, *(name for name in folder.experiments() if name not in registry)]
    for experiment, _ in claims:
        if experiment not in experiments:
            raise SettingError(f"no experiment is called {experiment!r}: {near_names(experiment, experiments)}")
    defined = [claim.id for experiment in registry.values() for claim in experiment.claims]
    counts = Counter([*(claim.id for _, claim in claims), *defined])
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SettingError(f"more than one claim is called {twice[0]}: give each an id of its own")
    for record in _stored_records(folder, {*folder.experiments()} - {*registry}) if kept else ():
        if record["id"] in counts:
            raise SettingError(
                f"a claim of {record['experiment']}, which {folder.path} has results of, is called {record['id']} as "
                "well: give another id, or another run folder"
            )
    toml = without_seal(path.read_bytes(), path.name) if path is not None and path.suffix == ".toml" else None
    return UserClaimsFile(claims, toml)


@dataclass(frozen=True)
class Verdicts:
    """What became of all claims of a folder.

    Attributes:
        judgements: of each claim.
        user: the user's claims among them.
        units: experiment -> what stands for the units of its results.
    """

    judgements: list[Judgement]
    user: UserClaimsFile
    units: Mapping[str, str]

    def to_json(self, *, ascii: bool = False) -> str:
        """Return what claims.json holds, other characters than ASCII as escapes if need be."""
        by_user = {claim.id for _, claim in self.user.claims}
        records = [
            judgement.record()
            | {"results": self.units.get(judgement.experiment, ""), "by_user": judgement.claim.id in by_user}
            for judgement in self.judgements
        ]
        return json.dumps({"claims": records}, indent=1, ensure_ascii=ascii) + "\n"

    def keep(self, folder: RunFolder) -> None:
        """Write claims.json, and keep the user's claims.

        Raises:
            StorageError: they can't be written.
        """
        folder.write(folder.claims, self.to_json().encode(errors="backslashreplace"))  # of file names that are no text
        self.user.keep(folder)


def judge_folder(folder: RunFolder, registry: Registry, user: UserClaimsFile) -> Verdicts:
    """Judge all claims on the results of a folder together; nothing is written.

    Claims of an experiment that is not in the registry, as its file is not given, are judged from what claims.json
    keeps of them.

    Raises:
        SettingError: a user's claim cannot be computed.
        RunError: claims.json cannot be read where claims of an experiment are only there.
    """
    measured = folder.experiments()
    results = {name: read_results(folder, name, registry.get(name)) for name in measured}
    out = _folder_asked_for(folder)
    cases = [
        _case(experiment, claim, results.get(name), out)
        for name, experiment in registry.items()
        for claim in experiment.claims
    ]
    cases += [
        Case(name, claim, results.get(name), _decided_by(registry.get(name), claim, results.get(name), out))
        for name, claim in user.claims
    ]
    cases += [
        _stored_case(folder, record, results[record["experiment"]])
        for record in _stored_records(folder, {*measured} - {*registry})
    ]
    units = {name: str(dataset.attrs.get("units", "")) for name, dataset in results.items()}
    return Verdicts(judge(cases), user, units)


def _stored_records(folder: RunFolder, experiments: Set[str]) -> list[dict[str, Any]]:
    """Return what claims.json holds of some experiments' own claims; nothing if it is not there."""
    if not experiments or not folder.claims.is_file():
        return []
    try:
        records = json.loads(folder.read(folder.claims))["claims"]
        own = [record for record in records if not record.get("by_user")]
        return [record for record in own if record["experiment"] in experiments and record["id"]]
    except (RunError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder.claims} cannot be read ({one_line(error)}): {_way_out(*experiments)}") from None


def _stored_case(folder: RunFolder, record: Mapping[str, Any], results: xr.Dataset) -> Case:
    """Return the case of a stored record; it is not judged if the results are others than those it is about."""
    try:
        case = stored_case(record)
        if record.get("results", results.attrs.get("units")) == results.attrs.get("units"):
            return case
        problem = "its results are newer than what is stored: give the Python file that defines it after the folder"
        return replace(case, stored=Evidence(problem=problem))
    except RunError as error:
        what = str(error).partition(": judge it")[0]
        raise RunError(f"{folder.claims}: {what}: {_way_out(record['experiment'])}") from None


def _way_out(*experiments: str) -> str:
    names = " and ".join(sorted(experiments))
    return f"give the Python file of {names} after the folder, or delete claims.json to leave its claims out"


def _case(experiment: Experiment, claim: Claim, results: xr.Dataset | None, out: Path) -> Case:
    """Return the case of an experiment's claim; if it cannot be computed, that is its reason not to be judged."""
    if results is None:
        return Case(experiment.name, claim, results)
    case = Case(experiment.name, claim, results, _decided_by(experiment, claim, results, out))
    try:
        return replace(case, stored=case.evidence())
    except SettingError as error:
        return replace(case, stored=Evidence(problem=str(error), needs=tuple(map(str, claim.needs))))


def _decided_by(experiment: Experiment | None, claim: Claim, results: xr.Dataset | None, out: Path) -> str:
    if experiment is None or results is None or not claim.unmet(results):
        return ""
    return deciding_command(experiment, claim, results, out)


def _folder_asked_for(folder: RunFolder) -> Path:
    """Return where the last command wrote, which stays the same where the folder is moved."""
    try:
        words = read_manifest(folder)["command"]
        return Path(words[words.index("--out") + 1])
    except (RunError, ValueError):  # no manifest, or the default
        return Request.out


def deciding_command(experiment: Experiment, claim: Claim, results: xr.Dataset, out: Path = Request.out) -> str:
    """Return the command that runs an experiment as a claim needs it: at the smallest scale that does, with the seeds
    and changes of the run if these fit, else without changes, and on MNIST if the images do not fit. Empty if no scale
    does."""
    attributes = results.attrs
    given = json.loads(attributes["changes"])
    images = (False, True) if experiment.uses_images and attributes["dataset"] != "MNIST" else (False,)
    scales = SCALES[SCALES.index(attributes["scale"]) :]
    for mnist, changed, scale in product(images, (True, False) if given else (False,), scales):
        try:
            plan = plan_of_results(results, experiment, scale, changed=changed, mnist=mnist)
            settings = experiment.make_settings(plan)
        except SettingError:
            continue
        as_run = not mnist and changed == bool(given) and scale == attributes["scale"]
        dataset = "MNIST" if mnist else attributes["dataset"]
        if _is_met(claim, settings, dataset, results, as_run=as_run):
            request = Request(
                (os.path.relpath(experiment.file) if experiment.file else experiment.name,),
                scale=scale,
                seeds=max(results.sizes["seed"], Request.seeds),
                set=tuple(f"{experiment.name}.{name}={value}" for name, value in given.items()) if changed else (),
                dataset="mnist" if mnist else attributes["dataset_asked_for"] or None,
                size=0 if mnist else int(attributes["size_asked_for"]),
                root_seed=int(attributes["root_seed"]),
                out=out,
            )
            return shlex.join(request.command)
    return ""


def _is_met(claim: Claim, settings: Sequence[Setting], dataset: str, results: xr.Dataset, *, as_run: bool) -> bool:
    """Whether settings on a data set meet the conditions of a claim.

    Those about what is measured are asked of the results if these settings are what was run (`as_run`); they are left
    open for others.
    """
    fields = [asdict(setting) for setting in settings]
    places = [setting.coordinates for setting in settings]
    labels = {name: list(dict.fromkeys(place[name] for place in places)) for name in places[0]}
    planned = xr.Dataset(coords=labels, attrs={"settings": json.dumps(fields), "dataset": dataset})
    known = {*fields[0], *labels, "dataset"}
    needs = [need for need in claim.needs if as_run or need.name in known]
    return not any(need.unmet(planned if need.name in known else results) for need in needs)
