"""Verdicts on the claims of a run folder: those of experiments, of a user, and those that were stored."""

import json
import os
import re
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
from whydeep.runs import RunFolder, write_atomically
from whydeep.study.design import SCALES, Scale
from whydeep.study.experiment import Experiment, Setting
from whydeep.study.files import defining_file
from whydeep.study.registry import Registry
from whydeep.study.results import plan_of_results, read_results


@dataclass(frozen=True)
class UserClaimsFile:
    """A user's claims; `toml` is the file that they are from, to be kept."""

    claims: UserClaims = field(default_factory=list)
    toml: bytes | None = None

    def keep(self, folder: RunFolder) -> None:
        """Copy a TOML file into the folder, for later reports. (A Python file would be run by whoever opens them.)"""
        if self.toml is not None:
            write_atomically(folder.user_claims, self.toml)


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
            claims += read_claims(earlier, variables)
        except SettingError as error:
            advice = f"kept from an earlier command: give another with --claims, or delete {earlier}"
            raise SettingError(f"{error} ({advice})") from None
    claims += read_claims(path, variables) if path is not None else []
    experiments = [*registry, *(name for name in folder.experiments() if name not in registry)]
    for experiment, claim in claims:
        if not re.fullmatch(r"[\w.-]+", claim.id, re.ASCII):
            raise SettingError(
                f"a claim is called {claim.id!r}: an id has letters, digits, dots, dashes and underscores"
            )
        if experiment not in experiments:
            raise SettingError(f"no experiment is called {experiment!r}: {near_names(experiment, experiments)}")
    defined = [claim.id for experiment in registry.values() for claim in experiment.claims]
    counts = Counter([*(claim.id for _, claim in claims), *defined])
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SettingError(f"more than one claim is called {twice[0]}: give each an id of its own")
    return UserClaimsFile(claims, path.read_bytes() if path is not None and path.suffix == ".toml" else None)


def judge_folder(folder: RunFolder, registry: Registry, user: UserClaimsFile) -> list[Judgement]:
    """Judge all claims on the results of a folder together, write claims.json, and keep the user's.

    Claims of an experiment that is not in the registry, as its file is not given, are judged from what claims.json
    keeps of them.

    Raises:
        SettingError: a user's claim cannot be computed; then nothing is written.
        RunError: claims.json cannot be read where claims of an experiment are only there.
    """
    measured = folder.experiments()
    results = {name: read_results(folder, name, registry.get(name)) for name in measured}
    cases = [
        _case(experiment, claim, results.get(name))
        for name, experiment in registry.items()
        for claim in experiment.claims
    ]
    cases += [
        Case(name, claim, results.get(name), _decided_by(registry.get(name), claim, results.get(name)))
        for name, claim in user.claims
    ]
    judged = {case.claim.id for case in cases}
    cases += [
        _stored_case(folder, record, results[record["experiment"]])
        for record in _stored_records(folder, {*measured} - {*registry})
        if record["id"] not in judged
    ]
    judgements = judge(cases)
    units = {name: dataset.attrs.get("units", "") for name, dataset in results.items()}
    records = [judgement.record() | {"results": units.get(judgement.experiment, "")} for judgement in judgements]
    text = json.dumps({"claims": records}, indent=1, ensure_ascii=False)
    write_atomically(folder.claims, (text + "\n").encode())
    user.keep(folder)
    return judgements


def _stored_records(folder: RunFolder, experiments: Set[str]) -> list[dict[str, Any]]:
    """Return what claims.json holds of some experiments; nothing if it is not there."""
    if not experiments or not folder.claims.is_file():
        return []
    try:
        records = json.loads(folder.claims.read_text(encoding="utf-8"))["claims"]
        return [record for record in records if record["experiment"] in experiments and str(record["id"])]
    except (ValueError, KeyError, TypeError) as error:
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


def _case(experiment: Experiment, claim: Claim, results: xr.Dataset | None) -> Case:
    """Return the case of an experiment's claim; if it cannot be computed, that is its reason not to be judged."""
    if results is None:
        return Case(experiment.name, claim, results)
    case = Case(experiment.name, claim, results, _decided_by(experiment, claim, results))
    try:
        return replace(case, stored=case.evidence())
    except SettingError as error:
        return replace(case, stored=Evidence(problem=str(error)))


def _decided_by(experiment: Experiment | None, claim: Claim, results: xr.Dataset | None) -> str:
    if experiment is None or results is None or not claim.unmet(results):
        return ""
    return deciding_command(experiment, claim, results)


def deciding_command(experiment: Experiment, claim: Claim, results: xr.Dataset) -> str:
    """Return the command that runs an experiment as a claim needs it: at the smallest scale that does, with the changes
    of the run if they fit, else without them, and on MNIST if the images do not fit. Empty if no scale does."""
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
        if _is_met(claim, settings, results, measured=not mnist):
            dataset = "mnist" if mnist else attributes["dataset_asked_for"]
            return _command(experiment, scale, given if changed else {}, dataset)
    return ""


def _command(experiment: Experiment, scale: Scale, changes: Mapping[str, str], dataset: str) -> str:
    file = defining_file(experiment.measure)
    words = ["whydeep", "run", os.path.relpath(file) if file else experiment.name, "--scale", scale]
    for name, value in changes.items():
        words += ["--set", f"{experiment.name}.{name}={value}"]
    return shlex.join([*words, "--dataset", dataset] if dataset else words)


def _is_met(claim: Claim, settings: Sequence[Setting], results: xr.Dataset, *, measured: bool) -> bool:
    """Whether settings meet the conditions of a claim.

    Those about measured variables are asked of the results; on other images (not `measured`) they are left open.
    """
    fields = [asdict(setting) for setting in settings]
    labels = {name: list(dict.fromkeys(chosen[name] for chosen in fields)) for name in settings[0].coordinates}
    planned = xr.Dataset(coords=labels, attrs={"settings": json.dumps(fields)})
    needs = [need for need in claim.needs if measured or need.name in fields[0]]
    return not any(need.unmet(planned if need.name in fields[0] else results) for need in needs)
