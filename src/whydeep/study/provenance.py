"""What the results in a run folder are of: which runs, with what, how to repeat them, and what a reader must know."""

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

import whydeep
from whydeep.runs import format_duration, git_state
from whydeep.study.experiment import Experiment
from whydeep.study.registry import Registry, outside_digest

Results = Mapping[str, xr.Dataset]
"""Of each experiment that has any; a folder may hold those of several runs."""


class RunFacts(NamedTuple):
    """What results are of: a folder may hold those of several runs. Without images, the data set is an empty text."""

    scale: str
    seeds: int
    root_seed: int
    dataset: str
    origin: str


def run_facts(results: xr.Dataset) -> RunFacts:
    """Say what results are of."""
    attributes = results.attrs
    return RunFacts(
        attributes["scale"],
        results.sizes["seed"],
        int(attributes["root_seed"]),
        attributes["dataset"],
        attributes["dataset_origin"],
    )


def _last_run(configuration: Mapping[str, Any]) -> RunFacts:
    dataset, origin = (configuration[name] or "" for name in ("dataset", "dataset_origin"))
    return RunFacts(configuration["scale"], configuration["seeds"], configuration["root_seed"], dataset, origin)


def _changes(results: xr.Dataset) -> dict[str, str]:
    return json.loads(results.attrs["changes"])


def from_earlier_runs(results: Results, configuration: Mapping[str, Any]) -> list[str]:
    """Experiments whose results are of other settings than those of the last run."""
    last = _last_run(configuration)
    expected = last, last._replace(dataset="", origin="")
    changes = configuration.get("changes", {})
    return [
        name
        for name, measured in results.items()
        if run_facts(measured) not in expected
        or (name in configuration["experiments"] and _changes(measured) != changes.get(name, {}))
    ]


def is_of_another_version(results: xr.Dataset, experiment: Experiment) -> bool:
    """Whether results were measured by another version of the experiment's file."""
    written = results.attrs["source"]
    return bool(written) and written != outside_digest(experiment)


def notices(results: Results, manifest: Mapping[str, Any], registry: Registry) -> tuple[str, ...]:
    """Say what a reader must know before anything else: other images than expected, missing or older parts."""
    configuration = manifest["configuration"]
    lines = [measured.attrs["notice"] for measured in results.values()] or [configuration["notice"]]
    earlier = from_earlier_runs(results, configuration)
    if earlier:
        lines.append(
            f"The results of {', '.join(earlier)} are of an earlier run, with another scale, other seeds, images or "
            "settings than the last; each experiment says its own."
        )
    stored = [name for name in results if name not in registry]
    if stored:
        lines.append(
            f"The file that defines {', '.join(stored)} was not given: figures, texts and claims are those that were "
            "stored with the results."
        )
    for name, measured in results.items():
        if name in registry and is_of_another_version(measured, registry[name]):
            lines.append(f"The results of {name} were measured by another version of its file than this report's.")
    if manifest["status"] in ("interrupted", "failed"):
        lines.append(f"The last run was {manifest['status']}: run the same command again to go on.")
    absent = [name for name in configuration["experiments"] if name not in results]
    if absent:
        lines.append(f"No results yet: {', '.join(absent)}.")
    return tuple(dict.fromkeys(line for line in lines if line))


def facts(results: Results, manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Say what was run: label and value."""
    git = manifest["git"]
    seconds = sum(job["seconds"] for job in manifest["jobs"])
    processor = "core" if manifest["device"] == "cpu" else "GPU"
    runs = [run_facts(measured) for measured in results.values()] or [_last_run(manifest["configuration"])]
    scales, seeds, root_seeds, datasets, _ = (
        dict.fromkeys(str(value) for value in values if value != "") for values in zip(*runs, strict=True)
    )
    changes = [f"{name}.{key} = {value}" for name in results for key, value in _changes(results[name]).items()]
    return (
        ("Scale", ", ".join(scales)),
        *([("Changed", ", ".join(changes))] if changes else []),
        ("Seeds", f"n = {', '.join(seeds)} per setting, root seed {', '.join(root_seeds)}"),
        ("Device", f"{manifest['device']}, {manifest['cpu_count']} cores"),
        ("Images", ", ".join(datasets) or "none"),
        ("Training time", f"{format_duration(seconds)} on one {processor}, all experiments"),
        ("Started", f"{datetime.fromisoformat(manifest['start']):%Y-%m-%d %H:%M} UTC"),
        ("whydeep", manifest["whydeep"] + (f", commit {git['commit'][:12]}" if git else "")),
    )


def environment(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Say with what it was run: label and value."""
    configuration = manifest["configuration"]
    trained = _code(manifest["whydeep"], manifest["git"])
    written = _code(whydeep.__version__, git_state(Path(whydeep.__file__).parent))
    rows = [
        ("Code", f"last run with {trained}" + (f"; judged and written with {written}" if written != trained else "")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
        ("Machine", f"{manifest['device']}, {manifest['cpu_count']} cores, {manifest['platform']}"),
    ]
    if configuration["dataset_fingerprint"]:
        rows.append(("Images", f"{configuration['dataset']}, fingerprint {configuration['dataset_fingerprint']}"))
    return tuple(rows)


def _code(version: str, git: Mapping[str, Any] | None) -> str:
    """Name the code of a version, and of a commit where it is known."""
    if not git:
        return f"whydeep {version}"
    return f"whydeep {version}, commit {git['commit']}{' with changes that are not committed' if git['dirty'] else ''}"


def sample(results: xr.Dataset) -> str:
    """Say what these results were measured on, and with which changes."""
    run = run_facts(results)
    prepared = f"; {results.attrs['preprocessing']}" if results.attrs["preprocessing"] else ""
    images = f", on {run.dataset} ({run.origin}{prepared})" if run.dataset else ""
    changes = ", ".join(f"{name} = {value}" for name, value in _changes(results).items())
    changed = f" Changed from the design of the study: {changes}." if changes else ""
    return f"Scale {run.scale}, n = {run.seeds} seeds per setting (root seed {run.root_seed}){images}.{changed}"


def command(results: Results, manifest: Mapping[str, Any]) -> str:
    """What to run again: the last command, and those before it if some results are not of its run."""
    configuration = manifest["configuration"]
    complete = set(results) <= set(configuration["experiments"]) and not from_earlier_runs(results, configuration)
    commands = [shlex.join(["whydeep", *run["command"][1:]]) for run in (manifest, *reversed(manifest["history"]))]
    return commands[0] if complete else "\n".join(reversed(list(dict.fromkeys(commands))))
