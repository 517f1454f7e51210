"""What a job costs beside its training on a cluster, and what 1,000 workers would make of that.

A scheduler, workers and the run are processes of this machine, and jobs train nothing. From the seconds that each of
the three spends on a job follows how many jobs a second it bears, and how long jobs must be for so many workers.

    python benchmarks/cluster_overhead.py [JOBS [FOLDER]]      (FOLDER: on the file system that runs are written to)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import xarray

from whydeep.runs import Context, Display, Job, RunFolder, digest, execute, open_cluster, worker_surroundings
from whydeep.runs.workers import perform

SEEDS = 5
"""Units of a job."""
NUMBERS = 2_000
"""Of a unit, which makes 20 KB, as units of the course have."""
WORKERS = 2
REPETITIONS = 20
LONGEST = 300
"""Seconds of the longest job (runs/schedule.py)."""
BUSY = 0.9
"""Share of the time that workers should train."""


@dataclass(frozen=True)
class Nothing:
    """A setting that takes no time."""

    number: int
    cost: float = 0.01

    @property
    def name(self) -> str:
        """Name it."""
        return f"setting {self.number}"


def measure(setting: Nothing, seeds: tuple[int, ...], context: Context) -> xarray.Dataset:
    """Return numbers at once."""
    values = np.random.default_rng(setting.number).normal(size=(len(seeds), 4, NUMBERS // 4))
    variables = {f"value_{index}": (("seed", "step"), values[:, index]) for index in range(4)}
    return xarray.Dataset(variables, coords={"seed": list(seeds), "step": np.arange(NUMBERS // 4)})


def nothing_needed() -> None:
    """Need nothing."""


def make_jobs(count: int) -> list[Job]:
    """Make so many jobs."""
    settings = [Nothing(number) for number in range(count)]
    return [Job("nothing", setting, tuple(range(SEEDS)), measure, digest("nothing", setting)) for setting in settings]


@contextmanager
def start_cluster(folder: Path):
    """Yield the address of a scheduler with workers, and the processes of both."""
    import distributed

    file = folder / "scheduler.json"
    here = Path(__file__).parent
    options = {
        "env": os.environ | {"PYTHONPATH": os.pathsep.join([str(here), *sys.path])},
        "stderr": subprocess.DEVNULL,
    }
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1"]
    with worker_surroundings():
        scheduler = subprocess.Popen([*command, "--port", "0", "--scheduler-file", str(file)], **options)
        while not file.exists() or not file.read_text():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        workers = [subprocess.Popen([*command, "--no-dashboard"], **options) for _ in range(WORKERS)]
    try:
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(WORKERS)
        yield address, psutil.Process(scheduler.pid), [psutil.Process(worker.pid) for worker in workers]
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


def cpu(processes: list[psutil.Process]) -> float:
    """Return the seconds of CPU that processes took so far."""
    return sum(process.cpu_times().user + process.cpu_times().system for process in processes)


def seconds_of_writing(folder: RunFolder, job: Job) -> float:
    """Measure the seconds in which the units of a job are written: on a slow disk, more than those of the CPU."""
    performed = perform(job, Context(), folder.path / "progress")
    start = time.perf_counter()
    for _ in range(REPETITIONS):
        for seed, data in performed.files.items():
            folder.store(job, seed, data)
    return (time.perf_counter() - start) / REPETITIONS


def main(count: int, place: str | None) -> None:
    """Measure, and print what follows."""
    import cluster_overhead as importable  # by other processes

    with tempfile.TemporaryDirectory(dir=place) as name:
        temporary = Path(name)
        folder = RunFolder(temporary / "run")
        with start_cluster(temporary) as (address, scheduler, workers), folder.claim():
            processes = {"run": [psutil.Process()], "scheduler": [scheduler], "worker": workers}
            with open_cluster(address, 0, importable.nothing_needed, folder.progress) as cluster:
                starting = cpu(workers) / WORKERS
                first, *jobs = importable.make_jobs(1 + count)
                execute([first], folder, Context(), executor=cluster, display=Display())
                before = {group: cpu(members) for group, members in processes.items()}
                execute(jobs, folder, Context(), executor=cluster, split=False, display=Display())
                costs = {group: (cpu(members) - before[group]) / count for group, members in processes.items()}
        size = folder.unit(first, 0).stat().st_size
        costs["run"] = max(costs["run"], seconds_of_writing(folder, first))
    report(starting, costs, size)


def report(starting: float, costs: dict[str, float], size: int) -> None:
    """Print what was measured, and what a large cluster would do.

    Args:
        starting: seconds that a worker takes until it is ready.
        costs: seconds that a job takes of the run, the scheduler and a worker, beside training.
        size: bytes of a unit.
    """
    print(f"for a job of {SEEDS} units of {size / 1000:.0f} KB, beside training:")
    print(f"  the run        {1000 * costs['run']:6.1f} ms, writing among it")
    print(f"  the scheduler  {1000 * costs['scheduler']:6.1f} ms")
    print(f"  its worker     {1000 * costs['worker']:6.1f} ms, after {starting:.1f} s in which it starts")
    narrowest = max(("run", "scheduler"), key=lambda group: costs[group])
    rate = 1 / costs[narrowest]
    own = costs["worker"] * BUSY / (1 - BUSY)
    print(f"\nthe {narrowest} saturates first, at {rate:.0f} jobs a second ({rate * SEEDS * size / 1e6:.0f} MB):")
    print(f"{'workers':>8}  {'jobs must take':>14}  {f'load by jobs of {LONGEST} s':>22}")
    for workers in (10, 100, 1_000, 10_000):
        shortest = max(workers / rate, own)
        print(f"{workers:8,}  {shortest:12.1f} s  {workers / LONGEST / rate:22.1%}")
    print(f"(of jobs of {own:.1f} s, a worker spends {BUSY:.0%} on training: shorter ones do not pay)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1000, sys.argv[2] if sys.argv[2:] else None)
