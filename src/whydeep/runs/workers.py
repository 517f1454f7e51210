"""The processes that train: one thread each; they ignore SIGINT and SIGTERM, and end with their parent."""

import errno
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import whydeep
from whydeep.runs import netcdf
from whydeep.runs.as_worker import WORKER, tell_of_end
from whydeep.runs.checkpoint import Checkpoint, CheckpointFile
from whydeep.runs.machine import machine_kind
from whydeep.runs.progress import ProgressFile
from whydeep.runs.unit import Context, Job, split_seeds
from whydeep.streams import tell

# OpenMP and the C library read these before anything else runs, so they must be there before the process starts.
# Threads that wait by spinning slow a busy machine down by orders of magnitude. Memory that is handed back to the
# system and taken again, page by page, made batched Hessians twice as slow.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    WORKER: "1",
    "THP_MEM_ALLOC_ENABLE": "1",  # large pages: batches are gathered from a large tensor a fifth faster
}

# Terminals and clusters send these to all processes at once. The parent decides; and a pool can't bear workers that
# die while others start.
PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Performed:
    """A job that was measured: the netCDF4 file of each seed, the seconds it took, on what kind of machine, and the
    share of the work that an interrupted run had done.

    The files come back as bytes, so a worker needs no part of the run folder's file system.
    """

    files: dict[int, bytes]
    seconds: float
    machine: str
    begun: float


def perform(
    job: Job, context: Context, progress: Path, checkpoint: tuple[Path, str] | None = None, *, interval: float = 0.25
) -> Performed:
    """Measure a job.

    Args:
        progress: file that tells how much of it is done, every `interval` seconds.
        checkpoint: file of its checkpoint, and what this file belongs to; without it, none is written.
    """
    machine = machine_kind(context.device)
    report = ProgressFile(progress, interval)
    file = CheckpointFile(*checkpoint, writer=f"whydeep {whydeep.__version__}, {machine}") if checkpoint else None
    kept = Checkpoint(file, share_done=lambda: report.done)
    report.begun = kept.begun
    report(kept.begun)
    start = time.perf_counter()
    measured = job.measure(job.setting, job.seeds, replace(context, progress=report, checkpoint=kept))
    files = {seed: netcdf.to_bytes(unit) for seed, unit in split_seeds(job, measured).items()}
    return Performed(files, time.perf_counter() - start, machine, kept.begun)


class _Worker(multiprocessing.context.SpawnProcess):
    """A process that ends when it is terminated, though it is deaf to the signal: a pool that breaks waits for it."""

    def run(self) -> None:
        """Work; what no job can take is said in a line."""
        try:
            super().run()
        except Exception as error:
            tell_of_end(error)
            os._exit(1)

    def terminate(self) -> None:
        self.kill()


class _Spawn(multiprocessing.context.SpawnContext):
    Process = _Worker


class Workers(Executor):
    """A pool of processes that is made anew when one of them dies.

    What was in flight at a death still ends in BrokenProcessPool; what is submitted afterwards runs.
    """

    def __init__(self, count: int) -> None:
        self.places = count
        self._pool = self._new_pool()

    def room(self, waiting: int) -> int:
        """Return how many jobs may be on their way: as many as there are workers, so that all of them run."""
        return self.places

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        """Run a function in a worker; processes start when they are first needed."""
        with worker_surroundings():
            try:
                return self._pool.submit(function, *arguments, **options)
            except Exception:  # BrokenProcessPool, or whatever breaks in a pool that breaks while it starts a worker
                self.kill()
                self._pool = self._new_pool()
                return self._pool.submit(function, *arguments, **options)

    def kill(self) -> None:
        """End the workers at once, whatever they do; they can't be used again."""
        # A pool that breaks while it starts a worker forgets that worker, and would wait for it for ever. So
        # processes are ended by name (kill_workers() exists only from Python 3.14 on).
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        with suppress(RuntimeError):  # its thread could not be started
            self._pool.shutdown(wait=True, cancel_futures=True)

    def check(self, running: Iterable[Future]) -> None:
        """Check that what is running can end.

        Raises:
            OSError: The thread that speaks to the workers has died, as it could start no other.
        """
        thread: Any = self._pool._executor_manager_thread
        if thread is not None and not thread.is_alive() and not all(future.done() for future in running):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.places, mp_context=_Spawn(), initializer=_start_worker)


@contextmanager
def worker_surroundings() -> Iterator[None]:
    """Set what a process that starts now inherits: its environment, and signals held back until it is ready.

    Here the signals arrive a moment later; in the worker, _start_worker drops them.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    can_mask = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS) if can_mask else set()
    try:
        yield
    finally:
        if can_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """Leave signals to the parent, and never outlive it, even when it is killed."""
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        threading.Thread(target=_follow_parent, daemon=True).start()
    except RuntimeError as error:
        tell(f"a worker ends, as it cannot start a thread ({error}): allow more processes (ulimit -u)")
        os._exit(1)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
