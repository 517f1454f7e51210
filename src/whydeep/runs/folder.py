"""The folder of a run: what it holds, what is missing, what may be removed.

units/EXPERIMENT/SETTING-DIGEST/seed-0000.nc   one unit each
results/EXPERIMENT.nc                          the units of an experiment put together
sections/EXPERIMENT.json                       what the report says of an experiment
figures/, logs/, manifest.json, claims.json, own-claims.toml, report.html
checkpoints/                                   the state of jobs that are not done
damaged/                                       files that were not as they were written, under their paths

All but logs carry a seal (see `seal`). Folders of earlier versions, whose files have none, can be read; their units are
measured again.
"""

import errno
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import xarray

from whydeep.errors import RunError, StorageError, near_names, one_line
from whydeep.runs import netcdf
from whydeep.runs.atomic import write_atomically
from whydeep.runs.lock import exclusive
from whydeep.runs.seal import DamagedError, UnsealedError, seal, unseal
from whydeep.runs.unit import RANGES, Job, read_ranges, write_ranges

SCHEMA = 2
"""Of manifests: counted up when older versions can no longer read a folder. From 2 on all files carry seals."""
SEALED_SCHEMA = 2

MANIFESTS = ("manifest.json", "manifest.backup.json")
"""The same record twice, so that damage to a file loses nothing."""

SEALED = (
    "results/*.nc",
    "sections/*.json",
    "figures/*.svg",
    "figures/*.png",
    "claims.json",
    "own-claims.toml",
    "report.html",
)
"""Files beside units, checkpoints and manifests that carry seals, in the order in which they are made."""

CONTENTS = (
    "units",
    "results",
    "figures",
    "sections",
    "progress",
    "checkpoints",
    "damaged",
    "logs",
    *MANIFESTS,
    "claims.json",
    "own-claims.toml",
    "report.html",
)
FOLDERS = ("units", "results", "sections", "figures", "progress", "checkpoints", "damaged", "logs")
"""Those of the contents that are folders."""
MOST_NAMED = 5
logger = logging.getLogger(__name__)


class RunFolder:
    """The paths of a run, and its units. Making the object touches nothing on disk.

    >>> RunFolder("out").results("learning-curves").as_posix()
    'out/results/learning-curves.nc'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.figures = self.path / "figures"
        self.sections = self.path / "sections"
        self.progress = self.path / "progress"
        self.manifest, self.manifest_backup = (self.path / name for name in MANIFESTS)
        self.claims = self.path / "claims.json"
        self.user_claims = self.path / "own-claims.toml"
        self.report = self.path / "report.html"
        self._lock = self.path / ".lock"
        self._is_held = False
        self._looked_at: dict[Path, tuple[tuple[int, int], str | DamagedError]] = {}
        self._read: dict[Path, tuple[tuple[int, int], xarray.Dataset]] = {}  # results, for as long as files stay

    # -- the folder as a whole ------------------------------------------------------------------------------

    @contextmanager
    def claim(self, *, fresh: bool = False) -> Iterator[None]:
        """Make the folder and hold it for this process; ``fresh`` first removes what earlier runs wrote.

        A manifest that is damaged or another program's is set aside, and files of an earlier version get their seals.

        Raises:
            RunError: The folder holds other things and no run, is held by another process, or can't be made.
        """
        with ExitStack() as stack:
            try:
                self._refuse_foreign()
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(self._lock))
                for name in CONTENTS if fresh else ("progress",):
                    remove(self.path / name)
                self._try_to_write()
                self._set_aside_what_is_no_file()
                for name in MANIFESTS:
                    if (self.path / name).exists() and self._read_manifest(name) is None:
                        self.set_aside({self.path / name: "it is damaged, or another program's"})
            except OSError as error:
                reason = error.strerror or error
                raise RunError(f"{self.path} can't be written ({reason}): choose another folder") from None
            self._is_held = True
            try:
                if not self.is_sealed():
                    self._seal_all()
                yield
            finally:
                self._is_held = False

    def _set_aside_what_is_no_file(self) -> None:
        """Set aside what lies in the place of a folder or a file and is none, such as a pipe or a link to nowhere."""
        for pattern in (*FOLDERS, "units/[!.]*", "units/[!.]*/[!.]*"):
            folders = self.path.glob(pattern) if "*" in pattern else [self.path / pattern]
            self.set_aside({path: "it is no folder" for path in folders if os.path.lexists(path) and not path.is_dir()})
        for pattern in (*MANIFESTS, "units/*/*/[!.]*", *SEALED):
            files = self.path.glob(pattern) if "*" in pattern else [self.path / pattern]
            self.set_aside({path: "it is no file" for path in files if os.path.lexists(path) and not path.is_file()})

    def check(self) -> None:
        """Check that the folder is still there, and is still the one that is held, if it is.

        Raises:
            StorageError: It is gone, or another took its place; nothing may be written then.
        """
        try:
            there = self._lock.read_text() == str(os.getpid()) if self._is_held else self.path.is_dir()
        except (OSError, ValueError):
            there = False
        if not there:
            raise StorageError(
                f"{self.path} was deleted, moved or replaced while it was in use, and nothing more is written: put it "
                "back, and run the same command to go on"
            )

    def require_writable(self) -> None:
        """Check that files can be written there.

        Raises:
            RunError: They can't.
        """
        try:
            self._try_to_write()
        except OSError as error:
            raise RunError(f"{self.path} can't be written ({error.strerror or error}): copy it elsewhere") from None

    def _try_to_write(self) -> None:
        with tempfile.TemporaryFile(dir=self.path):
            pass

    def require(self) -> None:
        """Check that a run is there to be read.

        Raises:
            RunError: There is none, or it can't be read.
        """
        _require_readable(self.path)
        if not self._is_ours():
            raise RunError(f"{self.path} holds no whydeep run (no manifest.json of one): give the folder of a run")
        for name in FOLDERS:
            if os.path.lexists(self.path / name) and not (self.path / name).is_dir():
                raise RunError(
                    f"{self.path / name} is no folder: run the same command again, which sets it aside and measures "
                    "what is missing"
                )

    def record(self) -> dict[str, Any] | None:
        """Return the manifest, or its backup; None if neither is there as it was written."""
        return next((record for name in MANIFESTS if (record := self._read_manifest(name)) is not None), None)

    def is_sealed(self) -> bool:
        """Say whether a file without a seal is damaged; in folders of earlier versions it is not."""
        record = self.record()
        return record is None or record.get("schema", 0) >= SEALED_SCHEMA

    def _read_manifest(self, name: str) -> dict[str, Any] | None:
        try:
            data = read_regular(self.path / name)
            try:
                content = unseal(data, name)[0]
            except UnsealedError:
                content = data
            record = json.loads(content)
            without_its_seal = content is data and SEALED_SCHEMA <= record.get("schema", 0) <= SCHEMA
            return record if "whydeep" in record and not without_its_seal else None
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, DamagedError):
            return None

    def _is_ours(self) -> bool:
        return self.record() is not None or any(self._sealed_files())

    def _sealed_files(self) -> Iterator[Path]:
        """Yield units and results that belong to the folder, whatever became of the manifest."""
        for pattern in ("results/*.nc", "units/*/*/*.nc"):
            for path in self.path.glob(pattern):
                try:
                    unseal(read_regular(path), self.name(path))
                except (OSError, DamagedError):
                    continue
                yield path

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: choose a folder")
        # hidden files are passed over: our own lock, and what file managers leave behind
        if not self.path.exists() or self._is_ours():
            return
        if any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            raise RunError(
                f"{self.path} holds other things and no run of whydeep (no manifest.json of one): "
                "choose an empty or new folder"
            )

    # -- files and their seals --------------------------------------------------------------------------------

    def name(self, path: Path) -> str:
        """Return what a file belongs to: its path in the folder."""
        return path.relative_to(self.path).as_posix()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the folder, with its seal; it is whole or not there.

        Raises:
            StorageError: It can't be written, or the folder is gone.
        """
        self.check()
        try:
            if path.is_dir():
                self.set_aside({path: "it is a folder"})
            write_atomically(path, seal(data, self.name(path)))
        except OSError as error:
            raise StorageError(
                f"{path} can't be written ({error.strerror or error}): mend that, and give the same command again, "
                "which goes on from what is kept"
            ) from error

    def files(self) -> Iterator[Path]:
        """Yield the files that carry seals."""
        for pattern in (*MANIFESTS, "units/*/*/*.nc", *SEALED):
            yield from sorted(path for path in self.path.glob(pattern) if not path.name.startswith("."))

    def verify(self, path: Path) -> str:
        """Return the checksum of a file that is as it was written.

        Raises:
            DamagedError: It is not.
            UnsealedError: It has no seal.
        """
        try:
            return unseal(read_regular(path), self.name(path))[1]
        except OSError as error:
            raise DamagedError(f"it cannot be read ({error.strerror})") from None

    def read(self, path: Path) -> bytes:
        """Read a file of the folder as it was before it was sealed.

        Raises:
            DamagedError: It is not as it was written, belongs to something else, or can't be read.
        """
        try:
            data = read_regular(path)
            return unseal(data, self.name(path))[0]
        except OSError as error:
            raise DamagedError(f"{path} cannot be read ({error.strerror})") from None
        except UnsealedError as error:
            if self.is_sealed():
                raise DamagedError(f"{path} is damaged: {error}") from None
            return data
        except DamagedError as error:
            raise DamagedError(f"{path} is damaged: {error}") from None

    def is_whole(self, path: Path) -> bool:
        """Say whether a file is there as it was written."""
        try:
            self.read(path)
        except DamagedError:
            return False
        return True

    def set_aside(self, files: Mapping[Path, str]) -> None:
        """Move files that are not as they were written to damaged/, and name them with the reasons that are given."""
        if not files:
            return
        for path in files:
            target = self.path / "damaged" / self.name(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            count = 1
            while os.path.lexists(target):
                target = target.with_name(f"{path.name}.{count}")
                count += 1
            path.replace(target)
        named = [f"{self.name(path)} ({reason})" for path, reason in list(files.items())[:MOST_NAMED]]
        more = [f"and {len(files) - MOST_NAMED} more"] if len(files) > MOST_NAMED else []
        logger.warning(
            "%d not as written, set aside in %s and made again: %s",
            len(files),
            self.path / "damaged",
            ", ".join(named + more),
        )

    def _seal_all(self) -> None:
        """Seal the files of an earlier version. Figures must stay newer than the results that they show."""
        for pattern in SEALED:
            for path in self.path.glob(pattern):
                if not path.name.startswith("."):
                    times = path.stat()
                    self.write(path, self.read(path))
                    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    # -- units ------------------------------------------------------------------------------------------------

    def unit(self, job: Job, seed: int) -> Path:
        """Return where the unit of this seed lies, whether or not it is there."""
        return self._units(job.experiment) / f"{_file_safe(job.setting.name)}-{job.digest}" / _unit_file(seed)

    def _units(self, experiment: str) -> Path:
        return self.path / "units" / _file_safe(experiment)

    def checkpoint(self, job: Job) -> Path:
        """Return where the state of a job lies until it is measured."""
        return self._checkpoints(job) / f"seeds-{write_ranges(job.seeds)}.checkpoint"

    def checkpointed(self, job: Job) -> list[tuple[int, ...]]:
        """Return the groups of seeds for which a checkpoint of this setting is there, largest first."""
        names = [path.stem.removeprefix("seeds-") for path in self._checkpoints(job).glob("seeds-*.checkpoint")]
        groups = [read_ranges(name) for name in names if re.fullmatch(RANGES, name)]
        return sorted(groups, key=lambda group: (-len(group), group))

    def drop_checkpoint(self, job: Job) -> None:
        """Remove the checkpoint of a job, and folders that are empty then."""
        path = self.checkpoint(job)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or not empty
            for folder in list(path.parents)[:3]:
                folder.rmdir()

    def begun(self) -> int:
        """Count the jobs whose state was kept in the middle."""
        return sum(1 for _ in (self.path / "checkpoints").glob("*/*/seeds-*.checkpoint"))

    def _checkpoints(self, job: Job) -> Path:
        return self.path / "checkpoints" / _file_safe(job.experiment) / job.digest

    def log(self, job: Job) -> Path:
        """Return where the traceback of a failure of this job goes."""
        return self.path / "logs" / f"{_file_safe(job.experiment)}-{_file_safe(job.setting.name)}.txt"

    def units(self, job: Job) -> dict[int, str]:
        """Return the seeds of a job whose units are on disk as they were written, and their checksums."""
        return {seed: state for seed, state in self._states(job).items() if isinstance(state, str)}

    def missing(self, job: Job) -> tuple[int, ...]:
        """Return the seeds of a job whose units are not on disk, or not as they were written."""
        whole = self.units(job)
        return tuple(seed for seed in job.seeds if seed not in whole)

    def damaged(self, job: Job) -> dict[Path, str]:
        """Return the units of a job that are not as they were written, and folders of its digest that are misplaced."""
        states, place = self._states(job), self.unit(job, 0).parent
        wrong = {self.unit(job, seed): str(state) for seed, state in states.items() if isinstance(state, DamagedError)}
        strays = [path for path in place.parent.glob(f"*-{job.digest}") if path != place]
        return wrong | dict.fromkeys(strays, f"it belongs to {place.name}")

    def _states(self, job: Job) -> dict[int, str | DamagedError]:
        """Look at the units of a job that are on disk: the checksum of each, or what is wrong with it."""
        states = {}
        for seed in job.seeds:
            path = self.unit(job, seed)
            if not path.is_file():  # what is something else was set aside
                continue
            status = path.stat()
            now = status.st_mtime_ns, status.st_size
            before = self._looked_at.get(path)
            if before is None or before[0] != now:
                self._looked_at[path] = before = now, self._checksum(path)
            states[seed] = before[1]
        return states

    def _checksum(self, path: Path) -> str | DamagedError:
        try:
            return self.verify(path)
        except DamagedError as error:
            return error

    def checksums(self, experiment: str, digests: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[int, str]]:
        """Return the checksums of whole units: digest of a setting -> seed -> checksum."""
        sums: dict[str, dict[int, str]] = {}
        for digest in digests:
            places = list(self._units(experiment).glob(f"*-{digest}"))
            states = [(seed, self._checksum(place / _unit_file(seed))) for seed in seeds for place in places]
            sums[digest] = {seed: state for seed, state in states if isinstance(state, str)}
        return sums

    def store(self, job: Job, seed: int, data: bytes) -> None:
        """Keep the netCDF4 file of one unit."""
        self.write(self.unit(job, seed), data)

    def load(self, job: Job) -> xarray.Dataset:
        """Put the units of a job together along ``seed``, leaving out those that are missing.

        Variables without the dimension ``seed`` are kept once, and must be equal in all units.

        Raises:
            RunError: No unit of the job is there.
        """
        units = [netcdf.from_bytes(self.read(self.unit(job, seed))) for seed in self.units(job)]
        if not units:
            raise RunError(f"{self.path} holds no result of {job.label}: run {job.experiment} first")
        return xarray.concat(
            units,
            dim="seed",
            data_vars="minimal",
            coords="minimal",
            compat="equals",
            join="exact",
            combine_attrs="drop_conflicts",
        )

    # -- results ----------------------------------------------------------------------------------------------

    def results(self, experiment: str) -> Path:
        """Return where the results of an experiment lie."""
        return self.path / "results" / f"{_file_safe(experiment)}.nc"

    def experiments(self) -> list[str]:
        """List the experiments that have results.

        Raises:
            RunError: The folder of results can't be read, which a search would pass over.
        """
        results = self.path / "results"
        _require_readable(results)
        return sorted(path.stem for path in results.glob("[!.]*.nc"))

    def write_results(self, experiment: str, dataset: xarray.Dataset) -> None:
        """Keep the results of an experiment; equal data sets give equal bytes."""
        self.write(self.results(experiment), netcdf.to_bytes(dataset))

    def read_results(self, experiment: str) -> xarray.Dataset:
        """Read the results of an experiment.

        Raises:
            RunError: There are none.
            DamagedError: They are not as they were written.
        """
        path = self.results(experiment)
        if not os.path.lexists(path):
            raise RunError(
                f"{self.path} holds no results of {experiment}; {near_names(experiment, self.experiments())}"
            )
        way_out = "run the same command again, which puts units together and measures nothing that is there"
        try:
            status = path.stat()
            now = status.st_mtime_ns, status.st_size
            if path not in self._read or self._read[path][0] != now:
                self._read[path] = now, netcdf.from_bytes(self.read(path))
            return self._read[path][1].copy()  # whose attributes may be changed
        except DamagedError as error:
            raise DamagedError(f"{error}: {way_out}") from None
        except Exception as error:  # of an earlier version, without a seal: HDF5 may raise anything
            raise DamagedError(f"{path} is damaged ({one_line(error)}): {way_out}") from None


def _require_readable(path: Path) -> None:
    """Raise `RunError` if a folder is there and can't be read."""
    try:
        with os.scandir(path):
            pass
    except PermissionError as error:
        raise RunError(f"{path} can't be read ({error.strerror}): ask its owner for permission") from None
    except OSError:
        pass


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_regular(path: Path) -> bytes:
    """Read a file.

    Raises:
        OSError: It can't be read, or is something else, such as a pipe, which may have no end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return path.read_bytes()


def _unit_file(seed: int) -> str:
    return f"seed-{seed:04d}.nc"


def _file_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+=-]+", "-", name).strip("-.")[:80] or "unnamed"
