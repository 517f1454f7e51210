"""The loss of networks over a whole data set, as a function of their parameters."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn

from whydeep import notebook
from whydeep.errors import SettingError
from whydeep.landscape.autograd import Differentiated
from whydeep.landscape.closed_form import ClosedForm
from whydeep.landscape.derivatives import Probe, check_gradients, check_input_gradients, check_products
from whydeep.landscape.engines import Engine, EngineName, make_engine
from whydeep.landscape.reading import Batch, check_mean, check_parts, mixed, read, with_parts
from whydeep.networks.functional import check_surroundings, copied, in_precision, precise
from whydeep.networks.rounding import rounded
from whydeep.networks.structure import check_parameters, describe, difference, take_over
from whydeep.population import Population
from whydeep.population.engines import SAMPLES_TRIED
from whydeep.population.layout import Layout
from whydeep.population.objectives import CrossEntropy, Loss, LossFunction, check_outputs_of_classes
from whydeep.population.samples import INDICES, Data, Samples
from whydeep.population.trial import first_finite, try_loss, try_network

SAMPLES_AT_ONCE = 1000
SAMPLES_COMPARED = 32
"""Samples on which derivatives are checked."""
DENSE_BYTES = 4 * 2**30
"""Dense Hessians may take so much memory together."""


class Landscape:
    """The mean loss over a whole data set as a function of the parameters: values, gradients, curvature.

    A module is a population of one, so that every result has a leading dimension: [point], [point, size] and
    so on. Networks are measured as they are at each call, in evaluation mode, on copies in double precision;
    they are never changed. Batches weigh by their samples, so that a smaller last one does no harm. Derivatives that
    PyTorch computes are compared with differences as they are first used (see `derivatives`).

    Args:
        networks: an `nn.Module` or a `Population`.
        data: `Samples`, a pair (inputs, targets) of tensors [sample, ...], or an iterable of such pairs, as a
            `DataLoader` is; it is read once and kept, so what a loader draws at random is drawn once.
        objective: a loss from `whydeep.population`, a loss of `torch`, or any function ``loss(outputs, targets)`` that
            returns a mean over samples (see `population.objectives.find_objective`).
        parameters: patterns of the names of the parameters that vary ("linear2.*"); the others stay as
            they are. Without it, all that are not frozen.
        dtype: of the computation. float64, since small curvature drowns in float32; large networks on a GPU
            may want float32.
        engine: "closed-form" (fully connected networks, twenty times faster for dense Hessians of small
            ones), "vmap" (any module that `torch.func.vmap` takes, members at once), "one-by-one" (any
            module that can be differentiated twice). "auto" is the first that fits: closed-form, vmap for a population,
            one-by-one for a module.
        samples_at_once: how many samples go through a network together.

    Attributes:
        members: how many networks.
        size: how many parameters vary.
        names, shapes: theirs, in the order of the vectors.

    Raises:
        SettingError: data, objective, parameters or engine that do not fit the networks; at a call, wrong derivatives,
            or a module that has other parts by now.

    >>> from torch.nn import functional
    >>> from whydeep.networks import MLP
    >>> landscape = Landscape(MLP((1, 3, 1)), (torch.ones(4, 1), torch.zeros(4, 1)), functional.mse_loss)
    >>> landscape.hessians().shape, landscape.gradients().shape
    (torch.Size([1, 10, 10]), torch.Size([1, 10]))
    """

    @torch.inference_mode(False)  # under which tensors are made that cannot be tracked
    def __init__(
        self,
        networks: nn.Module | Population,
        data: Data,
        objective: Loss,
        *,
        parameters: str | Sequence[str] | None = None,
        dtype: torch.dtype = torch.float64,
        engine: EngineName = "auto",
        samples_at_once: int = SAMPLES_AT_ONCE,
    ):
        self._networks = networks
        template = networks.template if isinstance(networks, Population) else networks
        check_parameters(template)
        if dtype not in (torch.float32, torch.float64):
            raise SettingError(f"a landscape is computed in float32 or float64, not in {dtype}")
        self._template = in_precision(copied(template), dtype).eval()
        self._structure, self._attributes = describe(template)
        self._layout = Layout.of(self._template.named_parameters())
        if parameters is None:
            parameters = [name for name, parameter in template.named_parameters() if parameter.requires_grad]
        if not parameters:
            raise SettingError(f"{type(template).__name__} has no parameters that could vary: there is no landscape")
        varied = self._layout.select(parameters)
        self.names = tuple(slot.name for slot in varied)
        self.shapes = tuple(slot.shape for slot in varied)
        self.size = sum(slot.size for slot in varied)
        self.members = len(networks) if isinstance(networks, Population) else 1
        self.dtype, self.device = dtype, next(iter(template.parameters())).device
        self._chosen = torch.arange(self.members, device=self.device)
        self._columns = self._layout.columns(self.names).to(self.device)
        self._batches, self.objective = read(data, objective, self._template, self.members, samples_at_once)
        self._engine_name = engine
        self._engine = self._make_engine()
        if isinstance(self._engine, Differentiated):
            self._try(self._engine, samples_at_once)

    def _try(self, engine: Differentiated, samples_at_once: int) -> None:
        """Try network and loss on some samples, and whether the loss is a mean over samples."""
        _, vectors, buffers = self._prepare(None)
        largest = max(batch.targets.shape[1] for batch in self._batches)
        some = self._cast(mixed(self._batches, max(2, largest, min(SAMPLES_TRIED, samples_at_once))))
        vector, own, inputs, targets = _of_one(vectors, buffers, some)
        if isinstance(self._networks, Population):
            live = [self._networks.flat, *self._networks.buffers.values()]
        else:
            live = [*self._networks.parameters(), *self._networks.buffers()]
        outputs = try_network(engine.template, *engine.prepare(vector, own), inputs[0], live)
        if isinstance(self.objective, CrossEntropy):
            check_outputs_of_classes(outputs, torch.cat([batch.targets.flatten() for batch in self._batches]))
        try_loss(self.objective, outputs, targets[0], live)
        losses = partial(engine.losses, vectors, buffers)
        check_mean(losses, some, self._template)
        if isinstance(self.objective, LossFunction) and len(self._batches) > 1:
            for batch in with_parts(self._batches):  # what breaks the mean, such as padding, may lie in a single one
                check_parts(losses, self._cast(batch))

    def _check(self, vectors: Tensor, buffers: dict[str, Tensor], *checks: Callable[[Probe], None]) -> None:
        """Check derivatives, each kind once, as they are first used: those that are written out need none."""
        engine = self._engine
        check_surroundings(self.device, written_out=not isinstance(engine, Differentiated), gradients=True)
        if not isinstance(engine, Differentiated) or engine.passed.issuperset(checks):
            return
        vector, own, *samples = _of_one(vectors, buffers, self._cast(mixed(self._batches, SAMPLES_COMPARED)))
        if not bool(vector.isfinite().all()):
            return
        for check in checks:
            if check not in engine.passed:
                check(Probe(engine, vector, self._columns, own, *samples))
                engine.passed.add(check)

    def _make_engine(self) -> Engine:
        return make_engine(
            self._engine_name,
            self._template,
            self.objective,
            self._layout,
            self.names,
            population=isinstance(self._networks, Population),
        )

    @property
    def closed_form(self) -> ClosedForm | None:
        """The engine, where it is the closed form."""
        return self._engine if isinstance(self._engine, ClosedForm) else None

    def __repr__(self) -> str:
        samples = sum(batch.targets.shape[1] for batch in self._batches)
        return (
            f"Landscape of {self.members} x {type(self._template).__name__}, {self.size:,} parameters that vary, "
            f"{samples:,} samples ({self.dtype}, {self.device})"
        )

    def _repr_html_(self) -> str:
        return notebook.table(
            f"Landscape of {type(self._template).__name__}",
            [
                ("networks", self.members),
                ("parameters that vary", f"{self.size:,}"),
                ("samples", f"{sum(batch.targets.shape[1] for batch in self._batches):,}"),
                ("engine", type(self._engine).__name__),
                ("numbers", f"{self.dtype} on {self.device}"),
            ],
        )

    # -- where the networks are -----------------------------------------------------------------------------

    def points(self) -> Tensor:
        """Where the networks are now: their parameters that vary, as vectors [member, size]."""
        self._follow()
        return self._vectors()[:, self._columns]

    def _vectors(self) -> Tensor:
        if isinstance(self._networks, Population):
            return self._networks.vectors().to(self.dtype)[self._chosen]
        parts = [parameter.detach().flatten() for parameter in self._networks.parameters()]
        return torch.cat([part.to(self.device, self.dtype) for part in parts]).unsqueeze(0)

    def _follow(self) -> None:
        """Take over the plain attributes that a module has now.

        Raises:
            SettingError: other parts, of which the landscape has no copy.
        """
        if isinstance(self._networks, Population):
            return
        now, given = describe(self._networks)
        if now != self._structure:
            raise SettingError(
                f"{type(self._networks).__name__} was changed since the landscape was made "
                f"({difference(now, self._structure)}): make another landscape"
            )
        before, self._attributes = self._attributes, given
        if take_over(self._template, before, self._attributes) and isinstance(self._engine, ClosedForm):
            self._engine = self._make_engine()

    def _buffers(self) -> dict[str, Tensor]:
        if isinstance(self._networks, Population):
            buffers = {name: buffer[self._chosen] for name, buffer in self._networks.buffers.items()}
        else:
            buffers = {name: buffer.unsqueeze(0) for name, buffer in self._networks.named_buffers()}
        return {name: precise(buffer.to(self.device), self.dtype) for name, buffer in buffers.items()}

    def select(self, members: int | Sequence[int] | Tensor) -> "Landscape":
        """Return the landscape of some members, by number or by a mask [member]; it shares everything else."""
        chosen = torch.atleast_1d(torch.as_tensor(members, device=self.device))
        if chosen.dtype == torch.bool and len(chosen) == self.members:  # such as losses.isfinite()
            chosen = chosen.nonzero().squeeze(1)
        chosen = chosen.to(torch.int64)
        if chosen.numel() == 0 or not bool(((chosen >= 0) & (chosen < self.members)).all()):
            raise SettingError(f"members are 0 to {self.members - 1}, and {chosen.tolist()} were selected")
        selected = copy.copy(self)
        selected._chosen = self._chosen[chosen]
        selected.members = len(chosen)
        return selected

    def rounded(self, width: float) -> "Landscape":
        """Return the landscape of the same networks with each ReLU's corner rounded, see `networks.rounding`."""
        smooth = copy.copy(self)
        smooth._template = rounded(self._template, width)
        smooth._engine = smooth._make_engine()
        return smooth

    @property
    def shared(self) -> bool:
        """Whether members differ in their points only: then any number of points can be measured at once."""
        population = isinstance(self._networks, Population)
        separate_samples = any(max(len(batch.inputs), len(batch.targets)) > 1 for batch in self._batches)
        separate_state = population and (bool(self._networks.buffers) or self.size < self._layout.size)
        return self.members == 1 or not (separate_samples or separate_state)

    def at(self, points: Tensor | None) -> Tensor:
        """Return points as they are measured, [point, size]: the networks' own if none are given.

        Raises:
            SettingError: another size, or another number than that of members who do not share everything else.
        """
        if points is None:
            return self.points()
        self._follow()
        points = points.detach().to(self.device, self.dtype)
        if points.ndim != 2 or points.shape[1] != self.size or len(points) == 0:
            raise SettingError(f"points must be [point, {self.size}], not {tuple(points.shape)}")
        if len(points) != self.members and not self.shared:
            raise SettingError(
                f"{len(points)} points for {self.members} members that have data, buffers or other parameters of "
                "their own: give one point for each member"
            )
        return points

    def vectors(self, points: Tensor) -> Tensor:
        """Whole parameter vectors at points [point, size]: [point, number], with the parameters that do not vary."""
        if self.size == self._layout.size:
            return points
        vectors = self._vectors()
        vectors = vectors.clone() if len(points) == self.members else vectors[:1].repeat(len(points), 1)
        vectors[:, self._columns] = points
        return vectors

    def _prepare(self, points: Tensor | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return points [point, size], whole vectors [point, number], and buffers for each."""
        check_surroundings(self.device, written_out=isinstance(self._engine, ClosedForm))
        points = self.at(points)
        buffers = self._buffers()
        if len(points) != self.members:
            buffers = {name: buffer[:1].expand(len(points), *buffer.shape[1:]) for name, buffer in buffers.items()}
        return points, self.vectors(points), {name: buffer.clone() for name, buffer in buffers.items()}

    def batches(self) -> Iterator[Batch]:
        """Yield the data, batch by batch, where the networks are and in the landscape's precision."""
        yield from map(self._cast, self._batches)

    def _cast(self, batch: Batch) -> Batch:
        inputs, targets = (
            part if len(part) == 1 else part[self._chosen.to(part.device)] for part in (batch.inputs, batch.targets)
        )
        samples = Samples(inputs, targets, own_inputs=True, own_targets=True).to(self.device, self.dtype)
        return Batch(samples.inputs, samples.targets, batch.share)

    def _mean(self, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Mean over all samples of what is measured, as a mean over its samples, on each batch."""
        parts = (batch.share * measure(batch.inputs, batch.targets) for batch in self.batches())
        return reduce(torch.add, parts)  # one after the other: together they might not fit into memory

    # -- what is there ----------------------------------------------------------------------------------------

    def losses(self, points: Tensor | None = None) -> Tensor:
        """Losses [point], at the networks' own points if none are given."""
        _, vectors, buffers = self._prepare(points)
        return self._mean(lambda x, y: self._engine.losses(vectors, buffers, x, y))

    def accuracies(self, points: Tensor | None = None) -> Tensor:
        """Shares of samples whose largest output is at their class [point].

        Raises:
            SettingError: the targets are no numbers of classes.
        """
        if any(batch.targets.is_floating_point() or batch.targets.ndim != 2 for batch in self._batches):
            raise SettingError("accuracy needs one class number for each sample, and these targets are something else")
        _, vectors, buffers = self._prepare(points)

        def share(inputs: Tensor, targets: Tensor) -> Tensor:
            outputs = self._engine.outputs(vectors, buffers, inputs)
            if outputs.ndim != 3 or outputs.shape[2] < 2:
                raise SettingError(
                    f"accuracy needs outputs [sample, class], two classes or more, not {tuple(outputs.shape[1:])}"
                )
            classes = outputs.argmax(2)
            return (classes == targets).to(self.dtype).mean(1)

        return self._mean(share)

    def input_derivatives(self, points: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Norms by the inputs of each sample, both [point, sample] with samples in the order of the data.

        The gradient of the sample's own loss, and the Jacobian of its outputs, all outputs and inputs together
        (Frobenius norm).

        Raises:
            SettingError: the inputs are no real numbers, such as words.
        """
        if any(batch.inputs.dtype in INDICES for batch in self._batches):
            raise SettingError("derivatives by the inputs need inputs that are real numbers, and these are integers")
        _, vectors, buffers = self._prepare(points)
        self._check(vectors, buffers, check_input_gradients)
        norms = [self._engine.input_derivatives(vectors, buffers, b.inputs, b.targets) for b in self.batches()]
        gradients, jacobians = (torch.cat(part, dim=1) for part in zip(*norms, strict=True))
        return gradients, jacobians

    def gradients(self, points: Tensor | None = None) -> Tensor:
        """Gradients [point, size]."""
        _, vectors, buffers = self._prepare(points)
        self._check(vectors, buffers, check_gradients)
        return self._mean(lambda x, y: self._engine.gradients(vectors, buffers, x, y))

    def products(self, directions: Tensor, points: Tensor | None = None) -> Tensor:
        """Products of each point's Hessian with directions [point, direction, size] or [point, size]; same shape.

        Costs about two gradients for each direction (Pearlmutter 1994).
        """
        points, vectors, buffers = self._prepare(points)
        many = directions.to(self.device, self.dtype)
        many = many.unsqueeze(1) if directions.ndim == 2 else many
        if many.ndim != 3 or (len(many), many.shape[2]) != tuple(points.shape):
            raise SettingError(
                f"directions must be [point, direction, size] for points {tuple(points.shape)}, not "
                f"{tuple(directions.shape)}"
            )
        self._check(vectors, buffers, check_gradients, check_products)
        products = self._mean(lambda x, y: self._engine.products(vectors, many, buffers, x, y))
        return products.view(directions.shape)

    def hessians(self, points: Tensor | None = None) -> Tensor:
        """Dense Hessians [point, size, size], exactly symmetric.

        Raises:
            SettingError: they would take more than `DENSE_BYTES` of memory.
        """
        return self.expand(points)[2]

    def expand(self, points: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Losses [point], gradients [point, size] and Hessians [point, size, size], the expansion to second order."""
        points, vectors, buffers = self._prepare(points)
        needed = len(points) * self.size**2 * points.element_size()
        if needed > DENSE_BYTES:
            raise SettingError(
                f"{len(points)} dense Hessians of {self.size:,} parameters take {needed / 2**30:,.0f} GiB: choose a "
                "block with parameters=..., or use top_eigenvalues, spectral_density and hessian_trace, which need "
                "none"
            )
        self._check(vectors, buffers, check_gradients, check_products)
        losses, gradients = points.new_zeros(len(points)), torch.zeros_like(points)
        hessians = points.new_zeros(len(points), self.size, self.size)
        for batch in self.batches():
            expansion = self._engine.expand(vectors, buffers, batch.inputs, batch.targets)
            for total, part in zip((losses, gradients, hessians), expansion, strict=True):
                total.add_(part, alpha=batch.share)
        return losses, gradients, hessians


def _of_one(
    vectors: Tensor, buffers: dict[str, Tensor], batch: Batch
) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
    """Vector, buffers, inputs and targets [1, sample, ...] of the first network that is finite."""
    member = first_finite(vectors)
    inputs, targets = (part[[member if len(part) > 1 else 0]] for part in (batch.inputs, batch.targets))
    return vectors[member], {name: buffer[member] for name, buffer in buffers.items()}, inputs, targets
