"""How fast populations train, against plain PyTorch loops in the same run on the same machine.

Every alternative runs in a process of its own, with its own number of threads, one after the other, and the
whole round is repeated; the fastest round of each counts, since a shared machine only ever slows things
down. What is compared is microseconds per member-step: one optimiser step of one network.
"""

import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from whydeep.networks import MLP
from whydeep.population import Adam, CrossEntropy, MeanSquaredError, Population, Samples, Stream, Training
from whydeep.population.streams import Purpose
from whydeep.runs import worker_surroundings

IMAGES = 60_000
BATCH = 50
SECONDS = 2.0
STEPS = 10  # of a population between two looks at the clock


@dataclass(frozen=True)
class Workload:
    """Networks to train: so many members of these widths, on functions or on images."""

    name: str
    widths: tuple[int, ...]
    members: int
    points: int = 0  # function fitting on all points at once; 0 for images in batches


WORKLOADS = (
    Workload("23,860 parameters, batches of 50 images, 10 members", (784, 30, 10), 10),
    Workload("32 parameters, 1,000 points, 100 members", (1, 3, 5, 1), 100, points=1000),
)


@dataclass(frozen=True)
class Alternative:
    """A way to train.

    Attributes:
        prepare: from a workload and a number of members to a function that takes steps.
        processes: run at the same time, each with its share of the members.
        threads: of each process; 0 leaves PyTorch's default.
    """

    name: str
    prepare: Callable[[Workload, int], Callable[[], object]]
    processes: int = 1
    threads: int = 1


def prepare_population(workload: Workload, members: int) -> Callable[[], object]:
    """A population, all members in one step."""
    population = Population.initialise(lambda: MLP(workload.widths), _streams(members, "init"))
    if workload.points:
        x = torch.empty(members, workload.points, 1).uniform_(-10, 10)
        samples = Samples(x, torch.cos(x), own_inputs=True, own_targets=True)
        training = Training(population, samples, objective=MeanSquaredError(), optimizer=Adam())
    else:
        training = Training(
            population,
            Samples(*_images()),
            objective=CrossEntropy(),
            optimizer=Adam(),
            batch_size=BATCH,
            orders=_streams(members, "order"),
        )
    return lambda: training.run(STEPS)


def prepare_eager(workload: Workload, members: int) -> Callable[[], object]:
    """One network in a plain loop, its data resident in memory as tensors."""
    module = MLP(workload.widths)
    optimizer = torch.optim.Adam(module.parameters())
    if workload.points:
        x = torch.empty(workload.points, 1).uniform_(-10, 10)
        y = torch.cos(x)
        return lambda: _step(module, optimizer, functional.mse_loss, x, y)
    batches = _shuffled(*_images())
    return lambda: _step(module, optimizer, functional.cross_entropy, *next(batches))


def _shuffled(inputs: torch.Tensor, labels: torch.Tensor) -> Iterator[Sequence[torch.Tensor]]:
    while True:
        for chosen in torch.randperm(len(labels)).split(BATCH):
            yield inputs[chosen], labels[chosen]


def prepare_loader(workload: Workload, members: int) -> Callable[[], object]:
    """The same loop, fed by a DataLoader that converts each image, as in most tutorials."""
    module = MLP(workload.widths)
    optimizer = torch.optim.Adam(module.parameters())
    loader = torch.utils.data.DataLoader(_ConvertedImages(), batch_size=BATCH, shuffle=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: _step(module, optimizer, functional.cross_entropy, *next(batches))


class _ConvertedImages(torch.utils.data.Dataset):
    """Images kept as bytes; each becomes a picture, then a tensor, when asked for, as torchvision's do."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
        self.labels = generator.integers(0, 10, IMAGES)

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        picture = Image.fromarray(self.images[index])
        tensor = torch.from_numpy(np.array(picture)).to(torch.float32).div(255)
        return tensor.flatten(), int(self.labels[index])


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable, inputs: torch.Tensor, targets: torch.Tensor
) -> None:
    optimizer.zero_grad()
    loss(module(inputs), targets).backward()
    optimizer.step()


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(IMAGES, 784), torch.randint(10, (IMAGES,))


def _streams(members: int, purpose: Purpose) -> list[Stream]:
    return [Stream(0, "benchmark", "", seed, purpose) for seed in range(members)]


CORES = os.cpu_count() or 1
POPULATION = Alternative("population, one process per core (as whydeep run)", prepare_population, processes=CORES)
REFERENCES = (
    Alternative("population, one process", prepare_population),
    Alternative("plain loop, tensors in memory, one thread", prepare_eager),
    Alternative("plain loop, tensors in memory, PyTorch's default threads", prepare_eager, threads=0),
)
LOADER = Alternative("plain loop, DataLoader that converts each image", prepare_loader, threads=0)


def measure(workload: Workload, alternative: Alternative, seconds: float = SECONDS) -> float:
    """Microseconds per member-step of one alternative, all its processes together."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(alternative.processes)
    pipes, processes = [], []
    shares = np.diff(np.linspace(0, workload.members, alternative.processes + 1).astype(int)).tolist()
    for members in shares:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_measure_here, args=(workload, alternative, members, seconds, barrier, sender))
        with worker_surroundings() if alternative.prepare is prepare_population else nullcontext():
            process.start()
        pipes.append(receiver)
        processes.append(process)
    rates = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return 1e6 / sum(rates)


def _measure_here(
    workload: Workload,
    alternative: Alternative,
    members: int,
    seconds: float,
    barrier: Barrier,
    out: Connection,
) -> None:
    """Take steps for so long, and send member-steps per second."""
    if alternative.threads:
        torch.set_num_threads(alternative.threads)
    step = alternative.prepare(workload, members)
    member_steps = members * STEPS if alternative.prepare is prepare_population else 1
    for _ in range(20):
        step()
    barrier.wait()
    taken, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step()
        taken += 1
    out.send(taken * member_steps / elapsed)


def run_benchmark(rounds: int = 3) -> None:
    """Measure every workload and print times and ratios."""
    print(f"{CORES} cores, torch {torch.__version__}; fastest of {rounds} rounds, median in brackets")
    for workload in WORKLOADS:
        alternatives = [POPULATION, *REFERENCES, *(() if workload.points else (LOADER,))]
        times: dict[str, list[float]] = {alternative.name: [] for alternative in alternatives}
        for _ in range(rounds):
            for alternative in alternatives:
                times[alternative.name].append(measure(workload, alternative))
        ours = min(times[POPULATION.name])
        print(f"\n{workload.name}: microseconds per member-step, and how many times slower")
        for name, measured in times.items():
            best = min(measured)
            print(f"  {name:<58} {best:9.1f}  ({statistics.median(measured):9.1f}) {best / ours:8.1f} x")
