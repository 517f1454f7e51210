"""The folder of a run: what it holds, what is missing, what may be removed.

units/EXPERIMENT/SETTING-DIGEST/seed-0000.nc   one unit each
results/EXPERIMENT.nc                          the units of an experiment put together
sections/EXPERIMENT.json                       what the report says of an experiment
figures/, logs/, manifest.json, claims.json, own-claims.toml, report.html
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray

from whydeep.errors import RunError, near_names
from whydeep.runs import netcdf
from whydeep.runs.atomic import write_atomically
from whydeep.runs.lock import exclusive
from whydeep.runs.unit import Job

CONTENTS = (
    "units",
    "results",
    "figures",
    "sections",
    "progress",
    "logs",
    "manifest.json",
    "claims.json",
    "own-claims.toml",
    "report.html",
)
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
        self.manifest = self.path / "manifest.json"
        self.claims = self.path / "claims.json"
        self.user_claims = self.path / "own-claims.toml"
        self.report = self.path / "report.html"

    @contextmanager
    def claim(self, *, fresh: bool = False) -> Iterator[None]:
        """Make the folder and hold it for this process; ``fresh`` first removes what earlier runs wrote.

        Raises:
            RunError: The folder holds other things and no run, is held by another process, or can't be made.
        """
        self._refuse_foreign()
        lock = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            raise RunError(f"{self.path} can't be written ({error.strerror}): choose another folder") from None
        with exclusive(lock):
            for name in CONTENTS if fresh else ("progress",):
                _remove(self.path / name)
            yield

    def require(self) -> None:
        """Check that a run is there to be read.

        Raises:
            RunError: There is none.
        """
        if not self._is_ours():
            raise RunError(f"{self.path} holds no whydeep run (no manifest.json of one): give the folder of a run")

    def unit(self, job: Job, seed: int) -> Path:
        """Return where the unit of this seed lies, whether or not it is there."""
        name = f"{_file_safe(job.setting.name)}-{job.digest}"
        return self.path / "units" / _file_safe(job.experiment) / name / f"seed-{seed:04d}.nc"

    def log(self, job: Job) -> Path:
        """Return where the traceback of a failure of this job goes."""
        return self.path / "logs" / f"{_file_safe(job.experiment)}-{_file_safe(job.setting.name)}.txt"

    def missing(self, job: Job) -> tuple[int, ...]:
        """Return the seeds of a job whose units are not on disk, or are there but can't be read."""
        seeds = []
        for seed in job.seeds:
            path = self.unit(job, seed)
            if not path.exists():
                seeds.append(seed)
            elif not netcdf.holds_seed(path, seed):
                logger.warning("%s can't be read and is measured again", path)
                seeds.append(seed)
        return tuple(seeds)

    def store(self, job: Job, seed: int, data: bytes) -> None:
        """Keep the netCDF4 file of one unit."""
        write_atomically(self.unit(job, seed), data)

    def load(self, job: Job) -> xarray.Dataset:
        """Put the units of a job together along ``seed``, leaving out those that are missing.

        Variables without the dimension ``seed`` are kept once, and must be equal in all units.

        Raises:
            RunError: No unit of the job is there.
        """
        missing = self.missing(job)
        units = [netcdf.load(self.unit(job, seed)) for seed in job.seeds if seed not in missing]
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

    def results(self, experiment: str) -> Path:
        """Return where the results of an experiment lie."""
        return self.path / "results" / f"{_file_safe(experiment)}.nc"

    def experiments(self) -> list[str]:
        """List the experiments that have results."""
        return sorted(path.stem for path in (self.path / "results").glob("[!.]*.nc"))

    def write_results(self, experiment: str, dataset: xarray.Dataset) -> None:
        """Keep the results of an experiment; equal data sets give equal bytes."""
        write_atomically(self.results(experiment), netcdf.to_bytes(dataset))

    def read_results(self, experiment: str) -> xarray.Dataset:
        """Read the results of an experiment.

        Raises:
            RunError: There are none, or they can't be read.
        """
        path = self.results(experiment)
        if not path.exists():
            raise RunError(
                f"{self.path} holds no results of {experiment}; {near_names(experiment, self.experiments())}"
            )
        try:
            return netcdf.load(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{path} can't be read ({error}): run {experiment} again") from None

    def _is_ours(self) -> bool:
        try:
            return "whydeep" in json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: choose a folder")
        # hidden files are passed over: our own lock, and what file managers leave behind
        if self._is_ours() or not self.path.exists():
            return
        if any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            raise RunError(
                f"{self.path} holds other things and no run of whydeep (no manifest.json of one): "
                "choose an empty or new folder"
            )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _file_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+=-]+", "-", name).strip("-.")[:80] or "unnamed"
