"""Which of the three ways computes a population's losses and gradients."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from whydeep.errors import SettingError, near_names
from whydeep.networks.functional import check_outputs
from whydeep.population import compiler
from whydeep.population.batches import Batch
from whydeep.population.compiled import Compiled
from whydeep.population.feed import Feed
from whydeep.population.modules import ModuleEngine, OneByOne, Vmapped
from whydeep.population.objectives import CrossEntropy, LossFunction, Objective, WrittenOut, check_outputs_of_classes
from whydeep.population.population import Population
from whydeep.population.samples import Samples
from whydeep.population.stacked import Stacked, covers
from whydeep.population.streams import Stream
from whydeep.population.trial import check_mean, first_finite, try_loss, try_network

EngineName = Literal["auto", "compiled", "stacked", "vmap", "one-by-one"]
ENGINES = ("auto", "compiled", "stacked", "vmap", "one-by-one")

SAMPLES_TRIED = 100
"""So many samples show whether a loss is a mean over them."""


class Engine(Protocol):
    """Computes what training and evaluation need of a population."""

    def losses_and_gradients(self, batch: Batch) -> Tensor:
        """Return every member's loss [member] and write its gradient."""
        ...

    def relabel(self, samples: Samples) -> None:
        """Take other targets for the same inputs."""
        ...

    def outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield members, outputs and targets [member, feature, sample], block by block."""
        ...


def choose_engine(module: nn.Module, device: torch.device, *, written_out: bool = True) -> EngineName:
    """Say which engine "auto" is: a fixed rule, by the kind of module and the device.

    - for fully connected networks that these cover, where the backward pass of the loss is written out too: "compiled"
      on a CPU, "stacked" on a GPU or where nothing can be compiled;
    - "one-by-one" for modules with recurrent layers, which `vmap` does not evaluate, or with dropout, which it refuses;
    - on a CPU "one-by-one" for modules with convolutions or `nn.MultiheadAttention`: `vmap` makes of several members'
      convolutions one with groups, which is slow there, and takes attention member by member anyway;
    - "vmap" for all else.

    Neither the number of members nor the size of the batch has a part in it, as a member is to compute the same
    alone as among others. Time of a training step of 10 members by "vmap", divided by that by "one-by-one" (one
    thread of an AMD EPYC, PyTorch 2.13):

    - convolutions in one and two dimensions, with batch normalisation, depthwise: 0.4 to 0.8 at batches of 16, 0.7 to
      1.5 at 50, 1.0 to 3.3 at 128, 1.6 to 4.8 at 512;
    - attention: 0.6 at 16, 1.8 to 2.0 at 512;
    - normalised and residual fully connected networks, embeddings: 0.4 to 1.0 at 16, 0.8 to 1.1 at 512.

    A single member takes "one-by-one" 1/3 to 1 times as long, whatever the module.
    """
    if written_out and covers(module):
        return "compiled" if device.type == "cpu" and not compiler.compiler_problem() else "stacked"
    parts = list(module.modules())
    if any(isinstance(part, nn.RNNBase) or (isinstance(part, _DropoutNd) and part.p > 0) for part in parts):
        return "one-by-one"
    slow = device.type == "cpu" and any(isinstance(part, _ConvNd | nn.MultiheadAttention) for part in parts)
    return "one-by-one" if slow else "vmap"


def make_engine(
    name: EngineName,
    population: Population,
    objective: Objective,
    samples: Samples,
    gradients: Tensor,
    *,
    slots: int,
    fixed: bool = False,
    streams: Sequence[Stream] | None = None,
) -> Engine:
    """Make the engine asked for; "auto" is what `choose_engine` says.

    Args:
        objective, samples: from `arguments.read_arguments`.
        gradients: [member, row] buffer that the engine writes to.
        slots: samples of a batch, padding included.
        fixed: whether the batch is the same at every step.
        streams: one per member, for modules that draw random numbers ("one-by-one" only).

    Raises:
        SettingError: an unknown name, or an architecture or numbers that the engine does not cover.
    """
    if name not in ENGINES:
        raise SettingError(f"no engine is called {name!r}: {near_names(name, ENGINES)}")
    if name == "auto":
        written_out = isinstance(objective, WrittenOut)
        name = choose_engine(population.template, population.device, written_out=written_out)
    if name == "compiled" and not compiler.can_compile(population.flat):
        given = compiler.compiler_problem() or f"{population.dtype} on {population.device}"
        raise SettingError(
            f'the compiled engine takes float32 and float64 on a CPU, not {given}: give engine="stacked"'
        )
    if name in ("compiled", "stacked"):
        if not isinstance(objective, WrittenOut) or not covers(population.template):
            raise _not_covered(name, population, objective)
        if name == "compiled":
            return Compiled(population, objective, samples, gradients)
        return Stacked(population, objective, Feed(samples, objective, slots, fixed=fixed), gradients)
    if name == "one-by-one":
        return OneByOne(population, objective, samples, gradients, streams)
    return Vmapped(population, objective, samples, gradients)


def _not_covered(name: EngineName, population: Population, objective: Objective) -> SettingError:
    module = population.template
    given = objective.name if covers(module) else type(module).__name__
    return SettingError(
        f"the {name} engine takes nn.Sequential of Linear layers with one kind of activation between them, and cross "
        f'entropy of class numbers or mean squared error, not this {given}: give engine="vmap"'
    )


def try_engine(engine: Engine, *, loss: bool = True, differentiable: bool = False) -> int | None:
    """Try a network on some samples from all over the data, and its loss; what is written out needs no trial.

    Args:
        engine: from `make_engine`.
        loss: whether the loss is tried.
        differentiable: whether it is to have a gradient.

    Returns:
        The number of classes of a network that was tried with cross entropy.

    Raises:
        SettingError: a network or a loss that is refused, see `trial`, or classes without an output.
    """
    if not isinstance(engine, ModuleEngine):
        return None
    population, samples, objective = engine.population, engine.samples, engine.objective
    count, device = min(len(samples), SAMPLES_TRIED), population.device
    indices = torch.arange(count, device=device) * len(samples) // count
    inputs, targets = engine.fetch(Batch(indices.unsqueeze(0), torch.ones(count, device=device), count))
    member = first_finite(population.flat)
    live = [population.flat, *population.buffers.values()]
    outputs = try_network(engine.template, *engine.prepare(member), inputs[member], live)
    check_outputs(engine.template, outputs, inputs[member])
    if loss:
        if isinstance(objective, CrossEntropy):
            check_outputs_of_classes(outputs, samples.targets)
        try_loss(objective, outputs, targets[member], live, differentiable=differentiable)
        if isinstance(objective, LossFunction):
            check_mean(objective, outputs, targets[member])
    return outputs.shape[1] if isinstance(objective, CrossEntropy) else None
