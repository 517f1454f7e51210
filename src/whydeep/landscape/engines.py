"""Which of the three ways computes a landscape."""

from typing import Literal, Protocol

from torch import Tensor, nn

from whydeep.errors import SettingError, near_names
from whydeep.landscape.autograd import OneByOne, Vmapped
from whydeep.landscape.closed_form import ClosedForm, covers
from whydeep.networks import recognise
from whydeep.networks.functional import Named
from whydeep.population.layout import Layout
from whydeep.population.objectives import Objective, WrittenOut

EngineName = Literal["auto", "closed-form", "vmap", "one-by-one"]
ENGINES = ("auto", "closed-form", "vmap", "one-by-one")


class Engine(Protocol):
    """Measures one batch: means over its samples.

    Points are whole parameter vectors [point, number]; inputs and targets have a leading dimension that is
    as long as the points or one.
    """

    def losses(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Losses [point]."""
        ...

    def outputs(self, points: Tensor, buffers: Named, inputs: Tensor) -> Tensor:
        """Outputs [point, sample, ...]."""
        ...

    def input_derivatives(
        self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Norms by the sample's inputs [point, sample]: of the gradient of its loss, of the Jacobian of its outputs."""
        ...

    def gradients(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients by the chosen parameters [point, size]."""
        ...

    def products(self, points: Tensor, directions: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Products of the Hessian with directions [point, direction, size]."""
        ...

    def expand(self, points: Tensor, buffers: Named, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, gradients and Hessians [point, size, size]."""
        ...


def make_engine(
    name: EngineName,
    template: nn.Module,
    objective: Objective,
    layout: Layout,
    varied: tuple[str, ...],
    *,
    population: bool,
) -> Engine:
    """Make the engine asked for; "auto" is "closed-form" where it fits, else "vmap" for a population.

    Args:
        template: the architecture, in evaluation mode and in the landscape's precision.
        objective: from `read`.
        layout: of all parameters.
        varied: names of those that vary.
        population: whether the networks are one.

    Raises:
        SettingError: an unknown name, or a network, loss or data that the closed form does not take.
    """
    if name not in ENGINES:
        raise SettingError(f"no engine is called {name!r}: {near_names(name, ENGINES)}")
    architecture = recognise(template)
    closed = covers(architecture) and isinstance(objective, WrittenOut)
    if name == "closed-form" and not closed:
        raise SettingError(
            "the closed form takes nn.Sequential of Linear layers with one kind of activation between them, and "
            "cross entropy of class numbers or mean squared error, not this "
            f'{type(template).__name__} with this loss and these targets: give engine="vmap"'
        )
    if closed and name in ("auto", "closed-form"):
        assert architecture is not None
        assert isinstance(objective, WrittenOut)
        columns = layout.columns(varied).to(next(template.parameters()).device)
        return ClosedForm(architecture, objective, varied, columns)
    kind = Vmapped if name == "vmap" or (name == "auto" and population) else OneByOne
    return kind(template, objective, layout, layout.select(varied))
