"""Many networks of one architecture, side by side in one buffer."""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from whydeep import notebook
from whydeep.errors import SettingError
from whydeep.networks.functional import copied, in_precision
from whydeep.networks.structure import Parts, check_parameters, describe, difference
from whydeep.population.layout import Layout
from whydeep.population.streams import Stream, member_streams


class Population:
    """M networks (members) of one architecture, their parameters stacked.

    Attributes:
        flat: [member, row], every member's parameters in one padded row (see `layout.Layout`).
        parameters: name -> [member, *shape], views of `flat`: writing to one writes to the other.
        buffers: name -> [member, *shape], for modules that have buffers (batch normalisation).
        template: one module of the architecture; its own parameter values mean nothing.
        seeds: of the members, where they were initialised by `seeds`; else None.

    Args:
        modules: the networks; they are copied and left as they are.
        device: where the population lives, such as "cpu" or "cuda".

    Raises:
        SettingError: no modules, modules that differ in more than the values of parameters and buffers, parameters that
            are frozen, share memory, or are of mixed types or others than float32 and float64.

    >>> from whydeep.networks import MLP
    >>> population = Population([MLP((1, 3, 1)), MLP((1, 3, 1))])
    >>> len(population), population.size, population.parameters["linear1.weight"].shape
    (2, 10, torch.Size([2, 3, 1]))
    """

    @torch.inference_mode(False)  # under which tensors are made that cannot be tracked
    def __init__(self, modules: Sequence[nn.Module], device: str | torch.device = "cpu"):
        if not modules:
            raise SettingError("a population needs at least one module, and none was given")
        kinds = {_check(module) for module in modules}
        if len(kinds) > 1:
            raise SettingError(
                f"all modules must have parameters of one type, and these have {sorted(map(str, kinds))}"
            )
        self.layout = Layout.of(modules[0].named_parameters())
        self.template = copied(modules[0]).to(device)
        self.seeds: tuple[int, ...] | None = None
        self.flat = torch.zeros(len(modules), self.layout.row, dtype=kinds.pop(), device=device)
        self.parameters = self.layout.views(self.flat)
        expected = *describe(modules[0]), _buffer_shapes(modules[0])
        for index, module in enumerate(modules):
            self._take(index, module, *expected)
        self.buffers = {
            name: torch.stack([module.get_buffer(name) for module in modules]).to(device)
            for name, _ in modules[0].named_buffers()
        }

    def _take(self, index: int, module: nn.Module, *expected: Parts) -> None:
        parameters = dict(module.named_parameters())
        shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        wanted = {slot.name: slot.shape for slot in self.layout.slots}
        if shapes != wanted:
            raise SettingError(f"module {index} does not have the parameters of module 0: {shapes} instead of {wanted}")
        given = *describe(module), _buffer_shapes(module)
        for own, wanted in zip(given, expected, strict=True):  # as with another activation between the parameters
            other = difference(own, wanted)
            if other:
                raise SettingError(
                    f"module {index} is another network than module 0: {other} (what differs between members must be a "
                    "parameter or a buffer)"
                )
        with torch.no_grad():
            for name, parameter in parameters.items():
                self.parameters[name][index].copy_(parameter)

    @classmethod
    def initialise(
        cls,
        build: Callable[[], nn.Module],
        streams: Sequence[Stream] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        seeds: Iterable[int] | None = None,
    ) -> "Population":
        """Build one member per stream or seed: each module draws its initial values from a stream of its own.

        Args:
            build: makes a module, for example ``lambda: MLP((784, 30, 10))``; it may draw from torch's
                global generator, which is set for it and put back afterwards.
            streams: one stream per member; give either these or `seeds`.
            device, dtype: where the population lives and the type of its parameters.
            seeds: one whole number per member, for ``Stream(0, "", "", seed, "init")``.

        Raises:
            SettingError: neither streams nor seeds, both, or something else.

        >>> from whydeep.networks import MLP
        >>> Population.initialise(lambda: MLP((1, 3, 1)), seeds=range(5))
        Population of 5 x MLP with 10 parameters each (torch.float32, cpu)
        """
        inits = member_streams("streams", streams, seeds, "init")
        if inits is None:
            raise SettingError("members need initial values: give seeds, such as range(5), or streams, one per member")
        modules = []
        with torch.random.fork_rng(devices=[]):
            for stream in inits:
                torch.manual_seed(stream.torch_seed())
                modules.append(in_precision(build(), dtype))
        population = cls(modules, device)
        if seeds is not None:
            population.seeds = tuple(stream.seed for stream in inits)
        return population

    def __len__(self) -> int:
        return self.flat.shape[0]

    def __repr__(self) -> str:
        return (
            f"Population of {len(self)} x {type(self.template).__name__} with {self.size:,} parameters each "
            f"({self.dtype}, {self.device})"
        )

    def _repr_html_(self) -> str:
        return notebook.table(
            f"Population of {type(self.template).__name__}",
            [
                ("members", len(self)),
                ("parameters of each", f"{self.size:,}"),
                ("numbers", f"{self.dtype} on {self.device}"),
                ("layers", "; ".join(f"{slot.name} {tuple(slot.shape)}" for slot in self.layout.slots[:12])),
            ],
        )

    @property
    def size(self) -> int:
        """Parameters of one member."""
        return self.layout.size

    @property
    def device(self) -> torch.device:
        """Where the population lives."""
        return self.flat.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its parameters."""
        return self.flat.dtype

    def member(self, index: int) -> nn.Module:
        """Return a copy of one member as an ordinary module."""
        module = copy.deepcopy(self.template)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(self.parameters[name][index])
            for name, buffer in module.named_buffers():
                buffer.copy_(self.buffers[name][index])
        return module

    def select(self, indices: Sequence[int]) -> "Population":
        """Return a new population that holds copies of some members, in the order given."""
        selected = Population([self.member(index) for index in indices], self.device)
        if self.seeds is not None:
            selected.seeds = tuple(self.seeds[index] for index in indices)
        return selected

    def vectors(self) -> Tensor:
        """Copy every member's parameters as one vector, in the module's order: [member, size]."""
        return self.layout.vectors(self.flat)


def _check(module: nn.Module) -> torch.dtype:
    """Return the type of a module's parameters, if they can be trained."""
    check_parameters(module)
    parameters = dict(module.named_parameters())
    if not parameters:
        raise SettingError(f"{type(module).__name__} has no parameters: there is nothing to train")
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if frozen:
        raise SettingError(f"a population trains every parameter, and {frozen[0]} is frozen: unfreeze it")
    types = {parameter.dtype for parameter in parameters.values()}
    if len(types) > 1:
        raise SettingError(f"all parameters of a module must have one type, and these have {sorted(map(str, types))}")
    (kind,) = types
    if kind not in (torch.float32, torch.float64):
        raise SettingError(f"a population is of float32 or float64, and the parameters are {kind}: call .float()")
    return kind


def _buffer_shapes(module: nn.Module) -> Parts:
    return {name: f"{buffer.dtype} {tuple(buffer.shape)}" for name, buffer in module.named_buffers()}
