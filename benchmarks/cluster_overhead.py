"""What a job costs beside its training on a cluster, and what 1,000 workers would make of that.

A scheduler, workers and the run are processes of this machine, and jobs train nothing. From the seconds of CPU that
each of the three spends on a job follows how many jobs a second it bears, and how long jobs must be for so many workers.

    python benchmarks/cluster_overhead.py [JOBS]
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

SEEDS = 5
"""Units of a job."""
NUMBERS = 2_000
"""Of a unit, which makes 20 KB, as units of the course have."""
WORKERS = 2
LARGE = 1_000
"""Workers of the cluster that is computed."""
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


def main(count: int) -> None:
    """Measure, and print what follows."""
    import cluster_overhead  # whose functions other processes can import

    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        folder = RunFolder(temporary / "run")
        with start_cluster(temporary) as (address, scheduler, workers), folder.claim():
            groups = {"run": [psutil.Process()], "scheduler": [scheduler], "worker": workers}
            with open_cluster(address, 0, cluster_overhead.nothing_needed, folder.progress) as cluster:
                starting = cpu(workers) / WORKERS
                execute(cluster_overhead.make_jobs(20), folder, Context(), executor=cluster, display=Display())
                before, start = {group: cpu(processes) for group, processes in groups.items()}, time.perf_counter()
                jobs = cluster_overhead.make_jobs(20 + count)
                execute(jobs, folder, Context(), executor=cluster, split=False, display=Display())
                took = time.perf_counter() - start
                costs = {group: (cpu(processes) - before[group]) / count for group, processes in groups.items()}
        size = folder.unit(jobs[0], 0).stat().st_size
    print(f"{count} jobs of {SEEDS} units of {size / 1000:.0f} KB in {took:.0f} s; seconds of CPU:")
    print(f"  a worker, until it is ready  {starting:8.2f}")
    for group, seconds in costs.items():
        print(f"  {'a ' if group == 'worker' else 'the '}{group}, for a job{'':10}{seconds:8.4f}")
    report(costs, size)


def report(costs: dict[str, float], size: int) -> None:
    """Print what a large cluster would do."""
    narrowest = max(("run", "scheduler"), key=lambda group: costs[group])
    rate = 1 / costs[narrowest]
    shortest = max(LARGE / rate, costs["worker"] * BUSY / (1 - BUSY))
    print(f"\n{LARGE:,} workers, if these costs stay what they are:")
    print(f"  the {narrowest} saturates first: it bears {rate:.0f} jobs a second, {rate * SEEDS * size / 1e6:.1f} MB")
    print(f"  jobs must take {shortest:.0f} s at least, or {narrowest} keeps workers waiting")
    print(f"  jobs of {LONGEST} s are {LARGE / LONGEST:.1f} a second, {LARGE / LONGEST / rate:.0%} of what it bears: ")
    print(f"  at {LONGEST} s {LONGEST * rate:,.0f} workers can be kept busy")
    print(f"  a worker trains {BUSY:.0%} of its time if jobs take {costs['worker'] * BUSY / (1 - BUSY):.2f} s or more")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1000)
