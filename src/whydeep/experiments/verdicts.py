"""Verdicts on the claims of a run, from the results in its folder."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import xarray as xr

from whydeep.claims import Case, Claim, Judgement, UserClaims, adjusted_p, judge, read_claims
from whydeep.errors import RunError, SettingError
from whydeep.experiments import EXPERIMENTS, find_experiment
from whydeep.runs import RunFolder, write_atomically

REPORT = "S. Khamkar (2023), the course report"

FORMAT = 1
"""Of results: counted up when older ones can no longer be presented."""


def read_results(folder: RunFolder, name: str) -> xr.Dataset:
    """Read the results of an experiment.

    Raises:
        RunError: there are none, or another version of whydeep wrote them in another way.
    """
    results = folder.read_results(name)
    if results.attrs.get("format") != FORMAT:
        raise RunError(f"{folder.results(name)} was written by another version of whydeep: run it again")
    return results


@dataclass(frozen=True)
class Own:
    """A user's claims; `toml` is the file that they are from, to be kept."""

    claims: UserClaims = field(default_factory=list)
    toml: bytes | None = None

    def keep(self, folder: RunFolder) -> None:
        """Copy a TOML file into the folder, for later reports. (A Python file would be run by whoever opens them.)"""
        if self.toml is not None:
            write_atomically(folder.own_claims, self.toml)


def find_own_claims(folder: RunFolder, path: Path | None) -> Own:
    """Read a user's claims from a file, or else those in TOML that an earlier command left in the folder.

    Raises:
        SettingError: the file is wrong, or a claim is about no experiment, or called like another.
    """
    kept = [folder.own_claims] if folder.own_claims.is_file() else []
    given = [] if path is None else [path]
    if path is not None and path.suffix == ".toml":
        kept = []  # another file takes the place of the one that was kept
    variables = {name: experiment.variables for name, experiment in EXPERIMENTS.items()}
    try:
        own = [one for file in kept for one in read_claims(file, variables)]
    except SettingError as error:
        advice = f"kept from an earlier command: give another with --claims, or delete {kept[0]}"
        raise SettingError(f"{error} ({advice})") from None
    own += [one for file in given for one in read_claims(file, variables)]
    for experiment, claim in own:
        if not re.fullmatch(r"[\w.-]+", claim.id, re.ASCII):
            raise SettingError(
                f"a claim is called {claim.id!r}: an id has letters, digits, dots, dashes and underscores"
            )
        find_experiment(experiment)
    ids = Counter(claim.id for claim in (*(claim for _, claim in own), *_built_in_claims()))
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise SettingError(f"more than one claim is called {twice[0]}: give each an id of its own")
    return Own(own, path.read_bytes() if path is not None and path.suffix == ".toml" else None)


def _built_in_claims() -> list[Claim]:
    return [claim for experiment in EXPERIMENTS.values() for claim in experiment.claims]


def judge_folder(folder: RunFolder, own: Own) -> list[Judgement]:
    """Judge all claims on the results that are there, write claims.json, and keep the user's.

    Raises:
        SettingError: a user's claim cannot be computed; then nothing is written.
    """
    there = {name: read_results(folder, name) for name in EXPERIMENTS if name in folder.experiments()}
    cases = [
        Case(name, replace(claim, source=claim.source or REPORT), there.get(name))
        for name, experiment in EXPERIMENTS.items()
        for claim in experiment.claims
    ]
    cases += [Case(name, claim, there.get(name)) for name, claim in own.claims]
    judgements = judge(cases)
    text = json.dumps({"claims": [one.record() for one in judgements]}, indent=1, ensure_ascii=False)
    write_atomically(folder.claims, (text + "\n").encode())
    own.keep(folder)
    return judgements


def verdicts_text(judgements: Sequence[Judgement], *, all_claims: bool = True) -> str:
    """Write the table of verdicts, for the console; without `all_claims`, of those that were run."""
    shown = [one for one in judgements if all_claims or one.verdict != "not-run"]
    if not shown:
        return ""
    width = max(len(one.claim.id) for one in shown)
    indent = " " * (width + 2)
    lines = []
    last = ""
    for one in shown:
        if one.experiment != last:
            lines.append(f"\n{EXPERIMENTS[one.experiment].title}")
            last = one.experiment
        adjusted = adjusted_p(one, "p")
        p = f" (n = {one.deciding.estimate.interval.n}, {adjusted})" if one.deciding and adjusted else ""
        lines.append(f"{one.claim.id:<{width}}  {one.verdict.upper()}{p}: {one.claim.statement}")
        if one.verdict != "not-run":
            lines.append(f"{indent}{one.reason}")
    counts = Counter(one.verdict for one in judgements)
    total = ", ".join(
        f"{counts[name]} {name}" for name in ("supported", "contradicted", "undecided", "preview", "not-run")
    )
    level = f"{100 * judgements[0].level:g} %"
    return "\n".join(
        [
            *lines,
            f"\n{len(judgements)} claims: {total}; {level} level, p adjusted over those that could be tested (Holm)",
        ]
    )
