"""Which of the three ways computes a population's losses and gradients."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from whydeep.errors import SettingError, near_names
from whydeep.networks import recognise
from whydeep.population.batches import Batch
from whydeep.population.feed import Feed
from whydeep.population.modules import OneByOne, Vmapped
from whydeep.population.objectives import CrossEntropy, Objective, check_class_numbers
from whydeep.population.population import Population
from whydeep.population.samples import Samples
from whydeep.population.stacked import Stacked, covers
from whydeep.population.streams import Stream

EngineName = Literal["auto", "stacked", "vmap", "one-by-one"]
ENGINES = ("auto", "stacked", "vmap", "one-by-one")


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


def check_classes(objective: Objective, samples: Samples, population: Population) -> None:
    """Raise `SettingError` unless targets of cross entropy are numbers of classes that the network has."""
    if not isinstance(objective, CrossEntropy) or samples.targets.is_floating_point():
        return
    found = recognise(population.template)
    check_class_numbers(samples.targets, found.widths[-1] if found else None)


def choose_engine(module: nn.Module, device: torch.device) -> EngineName:
    """Say which engine "auto" is: a fixed rule, by the kind of module and the device.

    - "stacked" for fully connected networks that it covers;
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
    if covers(module):
        return "stacked"
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
        samples: on the population's device.
        gradients: [member, row] buffer that the engine writes to.
        slots: samples of a batch, padding included.
        fixed: whether the batch is the same at every step.
        streams: one per member, for modules that draw random numbers ("one-by-one" only).

    Raises:
        SettingError: an unknown name, or an architecture that "stacked" does not cover.
    """
    check_classes(objective, samples, population)
    if name not in ENGINES:
        raise SettingError(f"no engine is called {name!r}: {near_names(name, ENGINES)}")
    if name == "auto":
        name = choose_engine(population.template, population.device)
    if name == "one-by-one":
        return OneByOne(population, objective, samples, gradients, streams)
    if name == "vmap":
        return Vmapped(population, objective, samples, gradients)
    if not covers(population.template):
        raise SettingError(
            f"the stacked engine takes nn.Sequential of Linear layers with one kind of activation between "
            f'them, not this {type(population.template).__name__}: give engine="vmap"'
        )
    return Stacked(population, objective, Feed(samples, objective, slots, fixed=fixed), gradients)
