"""What a worker of a cluster does: it says whether it can take part, and measures jobs as the processes of a run do."""

import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import whydeep
from whydeep.errors import WhydeepError, one_line
from whydeep.runs.unit import Context
from whydeep.runs.workers import Performed, perform

STOP = 0.5
"""Seconds between two looks of a job at whether it is still wanted."""
INTERVAL = 2.0
"""Seconds between two reports of a job: all go to one file system."""
PACKAGES = ("torch", "numba", "numpy", "scipy", "xarray", "h5netcdf", "h5py", "scikit-learn")
"""Packages on whose versions numbers and bytes depend."""
NOWHERE = Path(os.devnull, "progress")
"""A file that cannot be written."""


class UnwantedError(Exception):
    """A job is no longer waited for, or its worker is about to end."""


class UnexaminedError(Exception):
    """A worker that was not examined got a job: it died, and came back at the same address."""


_examined: set[str] = set()
"""Names of the marks of runs that this process was examined for."""


@dataclass(frozen=True)
class Stoppable:
    """A measurement that ends soon after the run that waits for it has ended: Dask cannot stop one that is running."""

    measure: Callable[[Any, tuple[int, ...], Context], Any]

    def __call__(self, setting: Any, seeds: tuple[int, ...], context: Context) -> Any:
        """Measure."""
        from distributed import get_worker
        from distributed.core import Status

        worker = get_worker()
        key = worker.get_current_task()
        last = time.monotonic()

        def progress(fraction: float) -> None:
            nonlocal last
            if time.monotonic() - last > STOP:
                last = time.monotonic()
                task = worker.state.tasks.get(key)
                if task is None or task.state == "cancelled" or worker.status in (Status.closing, Status.closed):
                    raise UnwantedError
            context.progress(fraction)

        return self.measure(setting, seeds, replace(context, progress=progress))


def run_job(work: bytes, mark: Path) -> Performed:
    """Measure a job.

    Args:
        work: a pickled job, context, file of progress and checkpoint (see `perform`).
        mark: a file that is there if the run folder can be reached; otherwise progress and checkpoints are left out.

    Raises:
        UnexaminedError: this process was not examined for the run of the mark.
    """
    import dask

    if mark.name not in _examined:
        raise UnexaminedError
    job, context, progress, checkpoint = pickle.loads(work)
    if not os.access(mark, os.F_OK):  # Path.exists raises where a folder above may not be read
        progress, checkpoint = NOWHERE, None
    with one_thread(), dask.config.set(scheduler="synchronous"):  # xarray would ask the scheduler for locks of files
        try:
            job = replace(job, measure=Stoppable(job.measure))
            return perform(job, context, progress, checkpoint, interval=INTERVAL)
        except SystemExit as error:  # Dask would end the worker
            raise RuntimeError(f"SystemExit: {error}") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute as the processes of `workers` do, however this one was started: on one thread, denormals kept."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        torch.set_flush_denormal(False)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def examine(mark: Path, requirements: bytes, versions: Mapping[str, str], threads: int) -> str:
    """Say why this worker cannot take part in a run; nothing if it can.

    Args:
        mark: of the run.
        requirements: a pickled function that raises an error if what jobs need is not here.
        versions: of the machine that runs the study.
        threads: of this worker.
    """
    if threads != 1:
        return (
            f"it has {threads} threads, and jobs beside each other in a process may change each other's numbers: start "
            "it with --nthreads 1, and as many of it as there are cores"
        )
    prepare_worker()
    here = installed_versions()
    differing = [name for name in versions if here.get(name) != versions[name]]
    if differing:
        has = ", ".join(f"{name} {here.get(name, 'not at all')}" for name in differing)
        needs = ", ".join(f"{name} {versions[name]}" for name in differing)
        return f"it has {has}, and the run is of {needs}: install the same there, and start it anew"
    try:
        pickle.loads(requirements)()
    except Exception as error:
        return str(error) if isinstance(error, WhydeepError) else one_line(error)
    _examined.add(mark.name)
    return ""


def prepare_worker() -> None:
    """Turn off what Dask does in this worker that changes the bytes of units, or keeps it from its jobs.

    A sample of the profiler keeps objects of HDF5 open for a moment longer, and the layout of a file that is written
    then is another. A worker whose memory is nearly full is paused until its results are gone: it has none of ours, and
    would be paused for ever. (Its nanny still ends it before the memory is full.)
    """
    from distributed import get_worker

    worker = get_worker()
    worker.memory_manager.memory_pause_fraction = False
    profiler = worker.periodic_callbacks.pop("profile", None)
    if profiler is not None:
        worker.loop.add_callback(profiler.stop)


@cache
def installed_versions() -> dict[str, str]:
    """Return the versions of all that numbers depend on; of whydeep, with a checksum of its sources.

    They are read once, soon after they are imported: a worker may still run what it imported before an update.
    """
    code = sha256()
    for file in sorted(Path(whydeep.__file__).parent.rglob("*.py")):
        code.update(file.read_bytes())
    return {
        "whydeep": f"{whydeep.__version__} (sources {code.hexdigest()[:8]})",
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: metadata.version(name) for name in PACKAGES},
    }
