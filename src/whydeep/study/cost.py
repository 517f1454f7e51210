"""What a run takes: predicted time, memory and disk, before anything is run."""

import time

import torch

from whydeep.networks import MLP
from whydeep.population import CrossEntropy, Population, Training
from whydeep.population.optimizers import Adam
from whydeep.runs import available_cores, estimate_range
from whydeep.runs.estimate import Piece, format_range
from whydeep.runs.memory import PROCESS
from whydeep.runs.schedule import fit_workers, share_out
from whydeep.sizes import format_size
from whydeep.study.console import columns
from whydeep.study.request import Request
from whydeep.study.resolve import Study, resolve

REFERENCE_SECONDS = 1.1e-4
"""Of a step of one network of 23,860 parameters with a batch of 50, among 10, on the machine that costs are predicted
for: a core of an AMD EPYC that multiplies large matrices at 100 GFLOP/s."""
STEPS = 150
MEASURED = 0.25
"""Standard deviation of the logarithm of what is left of a machine's factor once it was measured."""


def measure_slowness() -> float:
    """Return how many times longer than predicted this machine takes now for steps of training, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draws = torch.Generator().manual_seed(0)
        samples = torch.rand(1000, 784, generator=draws), torch.randint(10, (1000,), generator=draws)
        population = Population.initialise(lambda: MLP((784, 30, 10)), seeds=range(10))
        training = Training(
            population, samples, objective=CrossEntropy(), optimizer=Adam(1e-3), batch_size=50, seeds=range(10)
        )
        training.run(20)
        start = time.perf_counter()
        training.run(STEPS)
        return (time.perf_counter() - start) / (STEPS * 10 * REFERENCE_SECONDS)
    finally:
        torch.set_num_threads(threads)


def cost_table(request: Request) -> str:
    """Write what each experiment of a request takes, and all together, as if nothing were there yet."""
    study = resolve(request)
    slowness = measure_slowness()
    rows: list[tuple[str, ...]] = [("experiment", "settings", "units", "core time", "memory of a worker", "disk")]
    rows += [_row(study, name, slowness) for name in study.plans]
    jobs = study.jobs()
    workers, share = fit_workers(jobs, study.workers, study.memory)
    left = [Piece(job.experiment, left=slowness * job.cost) for job in share_out(jobs, workers, share)]
    expected = estimate_range(left, workers, machine=MEASURED)
    largest = max(job.memory * len(job.seeds) for job in share_out(jobs, workers, share))
    images = study.images.train_inputs.nbytes + study.images.test_inputs.nbytes if study.images else 0
    total = (workers + 1) * PROCESS + workers * largest + images
    lines = columns(rows)
    if expected is not None:
        lines.append(
            f"\nTogether {format_range(*expected)} with {workers} worker{'s' if workers > 1 else ''} "
            f"({available_cores()} cores may be used), {format_size(total)} of memory at most."
        )
    lines.append(
        f"Now this machine takes {slowness:.1f} times as long as the machine that times are predicted for; a range "
        "holds eight of ten runs."
    )
    return "\n".join(lines)


def _row(study: Study, name: str, slowness: float) -> tuple[str, ...]:
    jobs = [job for job in study.jobs() if job.experiment == name]
    workers, share = fit_workers(jobs, study.workers, study.memory)
    shared = share_out(jobs, workers, share)
    seconds = estimate_range([Piece(name, left=slowness * job.cost) for job in shared], 1, machine=MEASURED)
    memory = PROCESS + max(job.memory * len(job.seeds) for job in shared)
    settings = study.experiments[list(study.plans).index(name)].make_settings(study.plans[name])
    disk = sum(setting.disk for setting in settings) * len(study.seeds)
    return (
        name,
        str(len(settings)),
        str(len(settings) * len(study.seeds)),
        format_range(*seconds) if seconds else "not known",
        format_size(memory),
        format_size(2.2 * disk),  # units and results
    )
