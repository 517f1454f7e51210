"""manifest.json: what was run, with what, when, and how it ended."""

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import whydeep
from whydeep.errors import RunError, StorageError
from whydeep.runs.cores import available_cores
from whydeep.runs.folder import SCHEMA, RunFolder
from whydeep.runs.schedule import Outcome

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "xarray",
    "h5netcdf",
    "h5py",
    "scikit-learn",
    "numba",
    "matplotlib",
    "numba",
    "distributed",
)


class Manifest:
    """The record of one run, written when it begins and when it ends.

    In a folder that is continued, earlier runs are kept in short under ``history`` and the seconds of
    their jobs under ``jobs``; ``machines`` says how many units each kind of machine measured.

    >>> import tempfile
    >>> folder = RunFolder(tempfile.mkdtemp())
    >>> with Manifest(folder, configuration={}, seeds=[0, 1], device="cpu", command=["whydeep", "run"]) as manifest:
    ...     manifest.add(Outcome(finished=2))
    >>> read_manifest(folder)["status"]
    'finished'
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        configuration: Mapping[str, Any],
        seeds: Sequence[int],
        device: str,
        command: Sequence[str],
    ) -> None:
        earlier = _checked(folder, folder.record() or {})
        self._folder = folder
        self._interrupted = False
        self.record: dict[str, Any] = {
            "schema": SCHEMA,
            "whydeep": whydeep.__version__,
            "status": "running",
            "start": _now(),
            "end": None,
            "seconds": None,
            "command": list(command),
            "configuration": dict(configuration),
            "seeds": list(seeds),
            "device": device,
            "versions": {"python": platform.python_version()} | _installed(PACKAGES),
            "platform": platform.platform(),
            "cpu_count": available_cores(),
            "git": git_state(Path(whydeep.__file__).parent),
            "failures": [],
            "jobs": earlier.get("jobs", []),
            "machines": earlier.get("machines", {}),
            "history": _history(earlier),
        }

    def add(self, outcome: Outcome) -> None:
        """Take in how an execution ended; a run may have several."""
        new = {_key(job): job for job in map(asdict, outcome.timings)}
        self.record["jobs"] = [job for job in self.record["jobs"] if _key(job) not in new] + list(new.values())
        self.record["machines"] = _count_machines(self.record["jobs"])
        self.record["failures"] += map(asdict, outcome.failures)
        self._interrupted |= outcome.interrupted or bool(outcome.stopped)

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._interrupted or (kind and issubclass(kind, KeyboardInterrupt)):
            status = "interrupted"
        else:
            status = "failed" if kind or self.record["failures"] else "finished"
        end = _now()
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(self.record["start"])).total_seconds()
        self.record |= {"status": status, "end": end, "seconds": seconds}
        try:
            self._write()
        except StorageError:
            if kind is None:  # else what came first counts
                raise

    def _write(self) -> None:
        text = json.dumps(self.record, indent=2, default=str, ensure_ascii=False) + "\n"
        for path in (self._folder.manifest, self._folder.manifest_backup):
            self._folder.write(path, text.encode(errors="backslashreplace"))  # of file names that are no text


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """Read the manifest of a run.

    Raises:
        RunError: The folder holds no run, its manifest is damaged, or a later version wrote it.
    """
    folder.require()
    record = folder.record()
    if record is None:
        raise RunError(
            f"{folder.manifest} and {folder.manifest_backup.name} are damaged: run the same command again, which "
            "writes them anew and measures nothing that is there"
        )
    return _checked(folder, record)


def _checked(folder: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    if record.get("schema", 0) > SCHEMA:
        raise RunError(f"{folder.path} was written by whydeep {record['whydeep']}: install that version or a later one")
    return record


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the code in ``folder`` and whether it has changed; None if untracked."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
        return done.stdout.strip()

    try:
        # an installed package may lie inside a checkout of something else
        git("ls-files", "--error-unmatch", "__init__.py")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None


def _history(earlier: dict[str, Any]) -> list[dict[str, Any]]:
    if not earlier:
        return []
    last = {name: earlier.get(name) for name in ("start", "end", "status", "command")}
    if last["status"] == "running":  # its process died, or it wouldn't have let go of the folder
        last["status"] = "interrupted"
    return [*earlier.get("history", []), last]


def _installed(packages: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _count_machines(jobs: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Count the units that each kind of machine measured, where it is known."""
    kinds = {(job["experiment"], job["setting"], seed): job.get("machine") for job in jobs for seed in job["seeds"]}
    return dict(Counter(kind for kind in kinds.values() if kind).most_common())


def _key(job: dict[str, Any]) -> tuple:
    return job["experiment"], job["setting"], tuple(job["seeds"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
