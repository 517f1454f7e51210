"""How fast populations train and are measured, against plain PyTorch in the same run on the same machine.

Every alternative runs in a process of its own, with its own number of threads, one after the other, and the
whole round is repeated; the fastest round of each counts, since a shared machine only ever slows things
down. What is compared is microseconds per member-step (one optimiser step of one network), or per Hessian.
"""

import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import (
    Adam,
    CrossEntropy,
    MeanSquaredError,
    Population,
    Recorder,
    Samples,
    Stream,
    Training,
    gradient_norm,
    gradient_norm_by_layer,
)
from whydeep.population.streams import Purpose
from whydeep.runs import available_cores, machine_kind, worker_surroundings
from whydeep.streams import say

IMAGES = 60_000
SECONDS = 2.0
STEPS = 50  # of a population between two looks at the clock


@dataclass(frozen=True)
class Workload:
    """Networks of these widths: so many members, on functions or on images."""

    widths: tuple[int, ...]
    members: int
    points: int = 0  # function fitting on all points at once; 0 for images in batches
    batch_size: int = 50


IMAGE_NETWORKS = Workload((784, 30, 10), 10)
SMALL_BATCHES, LARGE_BATCHES = (Workload((784, 20, 10), 10, batch_size=size) for size in (5, 500))
WIDE_NETWORKS = Workload((784, 800, 400, 10), 4)
TINY_NETWORKS = Workload((1, 3, 5, 1), 100, points=1000)


@dataclass(frozen=True)
class Work:
    """A function to call again and again, and how many member-steps or Hessians a call is."""

    call: Callable[[], object]
    items: int = 1


@dataclass(frozen=True)
class Alternative:
    """A way to do the work.

    Attributes:
        prepare: from a workload and a number of members to the work.
        processes: run at the same time, each with its share of the members.
        threads: of each process; 0 leaves PyTorch's default.
        ours: whether the processes start as the workers of `whydeep run` do.
        package: that must be installed; without it, the alternative is left out, and the table says so.
    """

    name: str
    prepare: Callable[[Workload, int], Work]
    processes: int = 1
    threads: int = 1
    ours: bool = False
    package: str = ""


@dataclass(frozen=True)
class Comparison:
    """One workload and the ways to do it; the first is what the others are compared with."""

    name: str
    workload: Workload
    unit: str
    alternatives: tuple[Alternative, ...]


def prepare_population(workload: Workload, members: int, recorders: Sequence[Recorder] = ()) -> Work:
    """A population, all members in one step."""
    population = _population(workload, members)
    if workload.points:
        samples = _points(workload, members)
        training = Training(population, samples, objective=MeanSquaredError(), optimizer=Adam())
    else:
        training = Training(
            population,
            Samples(*_images()),
            objective=CrossEntropy(),
            optimizer=Adam(),
            batch_size=workload.batch_size,
            orders=_streams(members, "order"),
        )

    def steps() -> None:
        for recorder in recorders:
            recorder.clear()
        training.run(STEPS, recorders)

    return Work(steps, members * STEPS)


def prepare_recorded_population(workload: Workload, members: int) -> Work:
    """The same, with the gradient norm of every member written down at every step."""
    return prepare_population(workload, members, [Recorder(gradient_norm)])


def prepare_population_by_layer(workload: Workload, members: int) -> Work:
    """The same, with the gradient norm of every layer written down at every step."""
    return prepare_population(workload, members, [Recorder(gradient_norm_by_layer)])


def _population(workload: Workload, members: int) -> Population:
    return Population.initialise(lambda: MLP(workload.widths), _streams(members, "init"))


def _points(workload: Workload, members: int) -> Samples:
    x = torch.empty(members, workload.points, 1).uniform_(-10, 10)
    return Samples(x, torch.cos(x), own_inputs=True, own_targets=True)


def prepare_landscape(workload: Workload, members: int) -> Work:
    """Dense Hessians of all members, closed form, float64."""
    landscape = Landscape(_population(workload, members), _points(workload, members), MeanSquaredError())
    return Work(landscape.hessians, members)


def prepare_vmapped_hessians(workload: Workload, members: int) -> Work:
    """The same, as functorch has it: vmap over members of hessian of the functional loss."""
    population = _population(workload, members)
    parameters = {name: tensor.double() for name, tensor in population.parameters.items()}
    samples, module = _points(workload, members), population.template.double()

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(torch.func.functional_call(module, parameters, x), y)

    hessians = torch.func.vmap(torch.func.hessian(loss))
    return Work(lambda: hessians(parameters, samples.inputs.double(), samples.targets.double()), members)


def prepare_plain_hessian(workload: Workload, members: int) -> Work:
    """One network after the other, by torch.autograd.functional.hessian."""
    module = MLP(workload.widths).double()
    x = torch.empty(workload.points, 1, dtype=torch.float64).uniform_(-10, 10)
    names, shapes = zip(*((name, p.shape) for name, p in module.named_parameters()), strict=True)
    vector = torch.nn.utils.parameters_to_vector(module.parameters()).detach()

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        named = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return functional.mse_loss(torch.func.functional_call(module, named, x), x.cos())

    return Work(lambda: torch.autograd.functional.hessian(loss, vector))


def prepare_eager(workload: Workload, members: int) -> Work:
    """One network in a plain loop, its data resident in memory as tensors."""
    module = MLP(workload.widths)
    optimizer = torch.optim.Adam(module.parameters())
    if workload.points:
        x, y = _points_of(workload)
        return Work(lambda: _step(module, optimizer, functional.mse_loss, x, y))
    batches = _shuffled(*_images(), workload.batch_size)
    return Work(lambda: _step(module, optimizer, functional.cross_entropy, *next(batches)))


def _shuffled(inputs: torch.Tensor, labels: torch.Tensor, size: int) -> Iterator[Sequence[torch.Tensor]]:
    while True:
        for chosen in torch.randperm(len(labels)).split(size):
            yield inputs[chosen], labels[chosen]


def prepare_ensemble(workload: Workload, members: int) -> Work:
    """All networks at once, by torch.func: one vmap over stacked parameters, and one Adam on them."""
    networks = [MLP(workload.widths) for _ in range(members)]
    stacked, _ = torch.func.stack_module_state(networks)
    parameters = {name: tensor.detach().requires_grad_() for name, tensor in stacked.items()}
    template, optimizer = networks[0], torch.optim.Adam(list(parameters.values()))
    inputs, targets = _points_of(workload) if workload.points else _images()
    loss = functional.mse_loss if workload.points else functional.cross_entropy

    def loss_of_member(parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(torch.func.functional_call(template, parameters, x), y)

    shared = None if workload.points else 0
    losses = torch.func.vmap(loss_of_member, in_dims=(0, shared, shared))

    def step() -> None:
        x, y = inputs, targets
        if not workload.points:
            chosen = torch.randint(IMAGES, (members, workload.batch_size))
            x, y = inputs[chosen], targets[chosen]
        optimizer.zero_grad()
        losses(parameters, x, y).sum().backward()
        optimizer.step()

    return Work(step, members)


def prepare_scikit_learn(workload: Workload, members: int) -> Work:
    """One network, by MLPClassifier of scikit-learn, which takes Adam and ReLU as we do."""
    from sklearn.neural_network import MLPClassifier

    inputs, labels = (tensor.numpy() for tensor in _images())
    network = MLPClassifier(workload.widths[1:-1], alpha=0.0, batch_size=workload.batch_size)
    samples = workload.batch_size * STEPS
    network.partial_fit(inputs[:samples], labels[:samples], classes=range(workload.widths[-1]))
    return Work(lambda: network.partial_fit(inputs[:samples], labels[:samples]), STEPS)


def prepare_jax(workload: Workload, members: int) -> Work:
    """All networks at once, by JAX: many steps in one scan, vmap over members, Adam of optax."""
    import jax
    import optax
    from jax import numpy as jnp

    optimizer = optax.adam(1e-3)
    inputs, targets = (
        jnp.asarray(tensor.numpy()) for tensor in (_points_of(workload) if workload.points else _images())
    )

    def initialise(key: Any) -> list[tuple[Any, Any]]:
        keys = jax.random.split(key, len(workload.widths) - 1)
        shapes = zip(keys, itertools.pairwise(workload.widths), strict=True)
        return [(jax.random.normal(key, shape) / shape[0] ** 0.5, jnp.zeros(shape[1])) for key, shape in shapes]

    def loss(parameters: list[tuple[Any, Any]], x: Any, y: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        outputs = x @ parameters[-1][0] + parameters[-1][1]
        if workload.points:
            return jnp.mean((outputs - y) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

    def step(state: tuple[Any, Any], chosen: Any) -> tuple[tuple[Any, Any], Any]:
        parameters, moments = state
        x, y = (inputs, targets) if workload.points else (inputs[chosen], targets[chosen])
        gradients = jax.grad(loss)(parameters, x, y)
        updates, moments = optimizer.update(gradients, moments)
        return (optax.apply_updates(parameters, updates), moments), None

    @jax.jit
    def train(state: tuple[Any, Any], key: Any) -> tuple[Any, Any]:
        chosen = jax.random.randint(key, (members, STEPS, workload.batch_size), 0, len(inputs))
        return jax.vmap(lambda state, chosen: jax.lax.scan(step, state, chosen)[0])(state, chosen)

    parameters = jax.vmap(initialise)(jax.random.split(jax.random.key(0), members))
    state = [(parameters, jax.vmap(optimizer.init)(parameters))]

    def steps() -> None:
        state[0] = jax.block_until_ready(train(state[0], jax.random.key(1)))

    return Work(steps, members * STEPS)


def _points_of(workload: Workload) -> tuple[torch.Tensor, torch.Tensor]:
    """Points that all networks share, and their cosine."""
    x = torch.empty(workload.points, 1).uniform_(-10, 10)
    return x, torch.cos(x)


def prepare_loader(workload: Workload, members: int) -> Work:
    """The same loop, fed by a DataLoader that converts each image, as in most tutorials."""
    module = MLP(workload.widths)
    optimizer = torch.optim.Adam(module.parameters())
    loader = torch.utils.data.DataLoader(_ConvertedImages(), batch_size=workload.batch_size, shuffle=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return Work(lambda: _step(module, optimizer, functional.cross_entropy, *next(batches)))


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


CORES = available_cores()
PER_CORE = Alternative(
    "population, one process per core (as whydeep run)", prepare_population, processes=CORES, ours=True
)
ONE_PROCESS = Alternative("population, one process", prepare_population, ours=True)
RECORDED = Alternative("... with the gradient norm recorded", prepare_recorded_population, ours=True)
BY_LAYER = Alternative("... with the gradient norm of each layer recorded", prepare_population_by_layer, ours=True)
PLAIN = (
    Alternative("plain loop, tensors in memory, one thread", prepare_eager),
    Alternative("plain loop, tensors in memory, PyTorch's default threads", prepare_eager, threads=0),
)
ENSEMBLE = Alternative("torch.func, all networks at once, default threads", prepare_ensemble, threads=0)
JAX = Alternative("JAX, all networks and many steps at once", prepare_jax, threads=0, package="optax")
SCIKIT_LEARN = Alternative("MLPClassifier of scikit-learn, one network", prepare_scikit_learn)
PEERS = (ENSEMBLE, JAX)
LOADER = Alternative("plain loop, DataLoader that converts each image", prepare_loader, threads=0)
TRAINING = (PER_CORE, ONE_PROCESS, RECORDED, BY_LAYER, *PLAIN, *PEERS)

COMPARISONS = (
    Comparison(
        "Training 10 networks of 23,860 parameters, batches of 50 images",
        IMAGE_NETWORKS,
        "member-step",
        (*TRAINING, SCIKIT_LEARN, LOADER),
    ),
    Comparison(
        "Training 10 networks of 15,910 parameters, batches of 5 images",
        SMALL_BATCHES,
        "member-step",
        (PER_CORE, *PLAIN, *PEERS, SCIKIT_LEARN),
    ),
    Comparison(
        "Training 10 networks of 15,910 parameters, batches of 500 images",
        LARGE_BATCHES,
        "member-step",
        (PER_CORE, *PLAIN, *PEERS, SCIKIT_LEARN),
    ),
    Comparison(
        "Training 4 networks of 952,410 parameters, batches of 50 images",
        WIDE_NETWORKS,
        "member-step",
        (PER_CORE, *PLAIN, *PEERS, SCIKIT_LEARN),
    ),
    Comparison("Training 100 networks of 32 parameters, 1,000 points", TINY_NETWORKS, "member-step", TRAINING),
    Comparison(
        "Dense Hessians of 100 networks of 32 parameters, 1,000 points, float64",
        TINY_NETWORKS,
        "Hessian",
        (
            Alternative("closed form, one process", prepare_landscape, ours=True),
            Alternative("vmap of torch.func.hessian, one thread", prepare_vmapped_hessians),
            Alternative("loop of torch.autograd.functional.hessian, one thread", prepare_plain_hessian),
        ),
    ),
)


def measure(workload: Workload, alternative: Alternative, seconds: float = SECONDS) -> float:
    """Microseconds per member-step or Hessian of one alternative, all its processes together."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(alternative.processes)
    pipes, processes = [], []
    shares = np.diff(np.linspace(0, workload.members, alternative.processes + 1).astype(int)).tolist()
    for members in shares:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_measure_here, args=(workload, alternative, members, seconds, barrier, sender))
        with worker_surroundings() if alternative.ours else nullcontext():
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
    """Work for so long, and send member-steps or Hessians per second."""
    if alternative.threads:
        torch.set_num_threads(alternative.threads)
    work = alternative.prepare(workload, members)
    warm = time.perf_counter() + seconds / 4
    work.call()
    while time.perf_counter() < warm:
        work.call()
    barrier.wait()
    taken, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or taken == 0:
        work.call()
        taken += 1
    out.send(taken * work.items / elapsed)


def product_speed(size: int = 1500) -> float:
    """Measure the multiplications and additions a second, in units of 1e9, of a product of large float32 matrices."""
    first, second, out = (torch.rand(size, size) for _ in range(3))
    return 2 * size**3 / 1e9 / _fastest(lambda: torch.mm(first, second, out=out))


def memory_speed(size: int = 2**26) -> float:
    """Measure the gigabytes a second that are read and written by a copy."""
    source, target = torch.rand(size), torch.rand(size)
    return 8 * size / 1e9 / _fastest(lambda: target.copy_(source))


def _fastest(call: Callable[[], object], times: int = 7) -> float:
    """Return the seconds that a call takes, on one thread."""
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(times):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return min(taken)


def least_microseconds(workload: Workload, speed: float) -> float:
    """Return the microseconds of the matrix products of a member's step, if all cores compute at `speed`."""
    samples = workload.points or workload.batch_size
    products = [first * second for first, second in itertools.pairwise(workload.widths)]
    operations = 2 * samples * (3 * sum(products) - products[0])  # no gradient is pulled back to inputs
    return operations / (1e3 * speed * CORES)


def run_benchmark(rounds: int = 3, *, as_json: bool = False) -> None:
    """Measure every comparison and print times and ratios."""
    speed, memory = product_speed(), memory_speed()
    machine = f"{machine_kind()}, {CORES} cores"
    record: dict[str, Any] = {"machine": machine, "product_gflops": speed, "memory_gb_per_second": memory}
    record["comparisons"] = []
    if not as_json:
        say(
            f"{machine}; a core multiplies large matrices at {speed:.0f} GFLOP/s and copies {memory:.0f} GB/s\n"
            f"fastest of {rounds} rounds, median in brackets"
        )
    for comparison in COMPARISONS:
        times: dict[str, list[float]] = {alternative.name: [] for alternative in comparison.alternatives}
        for _ in range(rounds):
            for alternative in comparison.alternatives:
                if not alternative.package or find_spec(alternative.package):
                    times[alternative.name].append(measure(comparison.workload, alternative))
        least = least_microseconds(comparison.workload, speed) if comparison.unit == "member-step" else None
        entry = {"name": comparison.name, "unit": comparison.unit, "microseconds": times, "least_of_products": least}
        record["comparisons"].append(entry)
        if not as_json:
            say(_table(comparison, times, least))
    if as_json:
        say(json.dumps(record, indent=1))


def _table(comparison: Comparison, times: dict[str, list[float]], least: float | None) -> str:
    ours = min(times[comparison.alternatives[0].name])
    limit = "" if least is None else f" (its matrix products take {least:.1f} at least)"
    lines = [f"\n{comparison.name}: microseconds per {comparison.unit}{limit}, and how many times slower"]
    for name, measured in times.items():
        if not measured:
            lines.append(f"  {name:<58} not installed: pip install 'whydeep[bench]'")
            continue
        best = min(measured)
        lines.append(f"  {name:<58} {best:9.1f}  ({statistics.median(measured):9.1f}) {best / ours:8.1f} x")
    return "\n".join(lines)
