"""Cheap work for the tests of runs: settings, measurements, and a study that can be killed.

As a program, ``python work.py FOLDER SECONDS LATER [CLUSTER]`` runs two jobs that take SECONDS and four that take LATER.
"""

import os
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray

from whydeep.runs import Context, Display, Job, Manifest, RunFolder, digest, execute, open_cluster


@dataclass(frozen=True)
class Toy:
    level: int = 0
    seconds: float = 0.0
    cost: float = 1.0

    @property
    def name(self) -> str:
        return f"level {self.level}"


def make_job(measure, level=0, seeds=(0, 1), **options) -> Job:
    setting = Toy(level, **options)
    return Job("toy", setting, seeds, measure, digest("toy", setting))


def noise(setting: Toy, seeds: tuple[int, ...], context: Context) -> xarray.Dataset:
    """Draw numbers that depend on the level and the seed alone, and leave the worker's pid behind."""
    if context.source:
        Path(context.source, str(os.getpid())).touch()
    for step in range(10):
        time.sleep(setting.seconds / 10)
        context.progress(step / 10)
    rows = [np.random.default_rng([context.root_seed, setting.level, seed]).normal(size=5) for seed in seeds]
    return xarray.Dataset(
        {"loss": (("seed", "epoch"), np.array(rows, dtype=np.float32), {"units": "1"}), "scale": 2.0},
        coords={"seed": list(seeds), "epoch": np.arange(5), "split": ("epoch", list("abcde"))},
        attrs={"experiment": "toy"},
    )


def in_loops(setting: Toy, seeds: tuple[int, ...], context: Context) -> xarray.Dataset:
    """Sum draws in a loop; each iteration leaves a line in the file that `source` names."""
    total = np.zeros(len(seeds))
    for step in context.checkpoint.loop(range(6), total):
        if context.source:
            with Path(context.source).open("a") as file:
                print(*seeds, "at", step, file=file)
        total += [np.random.default_rng([seed, step]).normal() for seed in seeds]
        context.progress(step / 6)
        time.sleep(setting.seconds / 6)
    return xarray.Dataset({"total": ("seed", total)}, coords={"seed": list(seeds)})


def failing(setting, seeds, context):
    raise ValueError(f"no luck at {setting.name}\nsecond line")


def endless(setting, seeds, context):
    while True:
        context.progress(0.5)
        time.sleep(0.05)


def leaving(setting, seeds, context):
    sys.exit(3)


def dying(setting, seeds, context):
    time.sleep(setting.seconds)
    os._exit(9)


def dying_once(setting, seeds, context):
    mark = Path(context.source, "died")
    if not mark.exists():
        mark.touch()
        os._exit(9)
    return noise(setting, seeds, context)


def wrong_seeds(setting, seeds, context):
    return noise(setting, (7,), context)


def unwritable(setting, seeds, context):
    return noise(setting, seeds, context).assign_attrs(flag=True)


def surroundings(setting, seeds, context):
    import signal

    import torch

    deaf = all(signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM))
    values = [torch.get_num_threads(), int(deaf)]
    passive = os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    return xarray.Dataset({"value": (("seed", "item"), [[*values, int(passive)]])}, coords={"seed": list(seeds)})


def study_jobs(seconds: float, later: float) -> list[Job]:
    return [make_job(noise, level, cost=10.0 - level, seconds=seconds if level < 2 else later) for level in range(6)]


def nothing_needed() -> None:
    pass


def study(path: str, seconds: float, later: float, cluster: str = "") -> int:
    folder = RunFolder(path)
    pids = Path(f"{path}-pids")
    pids.mkdir(exist_ok=True)
    with folder.claim(), Manifest(folder, configuration={}, seeds=[0, 1], device="cpu", command=["work"]) as manifest:
        jobs = study_jobs(seconds, later)
        context = Context(source=str(pids))
        with open_cluster(cluster, 2, nothing_needed, folder.progress) if cluster else nullcontext() as executor:
            outcome = execute(jobs, folder, context, executor=executor, display=Display())
        manifest.add(outcome)
        if outcome.interrupted:
            return 130
        if outcome.stopped:
            print(outcome.stopped, file=sys.stderr)
            return 1
        levels = [folder.load(job) for job in jobs]
        folder.write_results("toy", xarray.concat(levels, dim="level", join="exact"))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from runs import work  # whose functions other processes can import

    sys.exit(work.study(sys.argv[1], *map(float, sys.argv[2:4]), *sys.argv[4:]))
