"""Which of the three ways computes a population's losses and gradients."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from torch import Tensor

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
    """Make the engine asked for; "auto" is "stacked" where the architecture allows it, else "vmap".

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
    covered = covers(population.template)
    if name not in ENGINES:
        raise SettingError(f"no engine is called {name!r}: {near_names(name, ENGINES)}")
    if name == "stacked" and not covered:
        raise SettingError(
            f"the stacked engine takes nn.Sequential of Linear layers with one kind of activation between "
            f'them, not this {type(population.template).__name__}: give engine="vmap"'
        )
    if covered and name in ("auto", "stacked"):
        feed = Feed(samples, objective, slots, fixed=fixed)
        return Stacked(population, objective, feed, gradients)
    if name == "one-by-one":
        return OneByOne(population, objective, samples, gradients, streams)
    return Vmapped(population, objective, samples, gradients)
