"""The training loop of a population."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whydeep.errors import SettingError
from whydeep.networks.functional import check_surroundings
from whydeep.population.arguments import fit, read_arguments, require
from whydeep.population.batches import FullBatch, MiniBatches
from whydeep.population.compiled import Compiled
from whydeep.population.denormals import flushed_denormals
from whydeep.population.engines import EngineName, make_engine, try_engine
from whydeep.population.layout import sample_slots
from whydeep.population.modules import OneByOne
from whydeep.population.objectives import Loss, check_class_numbers
from whydeep.population.optimizers import Optimizer
from whydeep.population.population import Population
from whydeep.population.samples import Data
from whydeep.population.signals import signals_held
from whydeep.population.stacked import Stacked
from whydeep.population.streams import Stream, member_streams
from whydeep.population.updates import CompiledUpdate

if TYPE_CHECKING:
    from whydeep.population.recorders import Recorder


class Training:
    """A population in training: each call of `run` goes on from where the last one ended.

    At the moment that recorders see, before the update of a step, `losses`, `gradients` and the
    population's parameters belong together: loss and gradient of that step's batch at these parameters. The
    gradient is that of the loss alone: what the optimiser makes of it (clipping, weight decay) is not in it. It is zero
    for a parameter without a part in the loss, as after ``zero_grad(set_to_none=False)``.

    Args:
        population: is trained in place.
        samples: what it learns from, on any device: `Samples`, a pair (inputs, targets) of tensors, or an iterable of
            such pairs, as a `DataLoader` is; it is read once and kept (see `Samples.of`).
        objective: what every member minimises: `CrossEntropy()`, `MeanSquaredError()`, a loss of `torch`, or any
            function ``loss(outputs, targets)`` that is a mean over samples (see `find_objective`).
        optimizer: how: `Adam`, `AdamW` or `SGD`, with their schedule and clipping.
        batch_size: samples of a step; without it every step sees all of them.
        orders: one stream per member, for the order of the samples and for modules that draw random numbers, such as
            dropout (which without streams draw from the generator of `torch`).
        engine: "auto", "compiled" (fully connected networks on a CPU), "stacked" (fully connected networks), "vmap" or
            "one-by-one" (any module); "auto" chooses by the kind of module and the device alone (see
            `engines.choose_engine`).
        seeds: instead of `orders` one whole number per member, for ``Stream(0, "", "", seed, "order")``. Without
            either, these are the population's `seeds`, if it has any; a `batch_size` needs one of the three.

    Attributes:
        step: how many steps have been taken.
        steps_per_epoch: steps in which every sample is seen once.
        losses: [member] at the last step.
        gradients: [member, row] at the last step, laid out as the population's `flat`.
        diverged_at: [member] first step whose loss was not finite, -1 for none. A member that diverges
            changes no other.

    Raises:
        SettingError: numbers of members, samples or features that do not fit together, or an argument of another kind,
            such as an optimizer of `torch`.
    """

    @torch.inference_mode(False)  # under which tensors are made that cannot be tracked
    def __init__(
        self,
        population: Population,
        samples: Data,
        *,
        objective: Loss,
        optimizer: Optimizer,
        batch_size: int | None = None,
        orders: Sequence[Stream] | None = None,
        engine: EngineName = "auto",
        seeds: Iterable[int] | None = None,
    ):
        accepted = "such as Adam(learning_rate) or SGD(learning_rate)"
        fits = hasattr(optimizer, "start") and not isinstance(optimizer, type)
        require(fits, "optimizer", optimizer, accepted)
        self.samples, self.objective = read_arguments(population, samples, objective)
        self.population = population
        members, device, dtype = len(population), population.device, population.dtype
        streams = _order_streams(population, orders, seeds)
        self.batches: FullBatch | MiniBatches
        if batch_size is None:
            self.batches = FullBatch(len(self.samples), members, device, dtype)
        elif streams is None:
            raise SettingError(
                f"batches need an order of the samples: give seeds, such as range({members}), or orders, one stream "
                f"for each of {members} members"
            )
        else:
            self.batches = MiniBatches(len(self.samples), batch_size, streams, device, dtype)
        self.gradients = torch.zeros_like(population.flat)
        self.engine = make_engine(
            engine,
            population,
            self.objective,
            self.samples,
            self.gradients,
            slots=sample_slots(batch_size or len(self.samples)),
            fixed=batch_size is None,
            streams=streams,
        )
        self._classes = try_engine(self.engine, differentiable=True)
        self.update = optimizer.start(population.flat, self.gradients)
        self.step = 0
        self.losses = torch.full((members,), torch.nan, dtype=dtype, device=device)
        self._finite = torch.ones(members, dtype=torch.bool, device=device)
        self._finite_steps = torch.zeros(members, dtype=torch.int64, device=device)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every member sees every sample once."""
        return self.batches.steps

    @property
    def diverged_at(self) -> Tensor:
        """First step whose loss was not finite [member]; -1 where there is none."""
        return torch.where(self._finite, -1, self._finite_steps)

    def relabel(self, targets: Tensor) -> None:
        """Learn other targets from the next step on, such as labels drawn anew; tensors given before stay as they are.

        Targets are no part of a checkpoint: after `restore`, give them again.

        Args:
            targets: of the shape that the samples' targets have.

        Raises:
            SettingError: another shape, or class numbers instead of values.
        """
        before, samples = self.samples.targets, self.samples
        if targets.shape == before.shape:
            samples, _ = fit(self.population.template, replace(samples, targets=targets), self.objective)
        if targets.shape != before.shape or samples.targets.is_floating_point() != before.is_floating_point():
            raise SettingError(
                f"targets must be like those before, {before.dtype} of shape {tuple(before.shape)}, not "
                f"{targets.dtype} of shape {tuple(targets.shape)}"
            )
        if self._classes is not None:
            check_class_numbers(samples.targets, self._classes)
        self.samples = samples.to(self.population.device, self.population.dtype)
        self.engine.relabel(self.samples)

    def run(self, steps: int, recorders: "Sequence[Recorder]" = ()) -> None:
        """Take steps; every recorder is asked before each update."""
        written_out = isinstance(self.engine, Stacked | Compiled)
        check_surroundings(self.population.device, written_out=written_out, gradients=True)
        end = self.step + steps
        with flushed_denormals():
            while self.step < end:
                own_step = getattr(self.update.step, "__func__", None) is not CompiledUpdate.step
                if isinstance(self.engine, Compiled) and isinstance(self.update, CompiledUpdate) and not own_step:
                    self._run_unseen(self.engine, self.update, end, recorders)
                    if self.step == end:
                        break
                self._take_losses(self.engine.losses_and_gradients(self.batches.batch(self.step)).unsqueeze(0))
                for recorder in recorders:
                    recorder.see(self)
                self.update.step(self.step)
                self.step += 1

    def _run_unseen(self, engine: Compiled, update: CompiledUpdate, end: int, recorders: "Sequence[Recorder]") -> None:
        """Take the next steps at which no recorder has to look at more than the losses."""
        steps = range(self.step, end)
        stop = next((step for step in steps if any(recorder.looks_at(step) for recorder in recorders)), end)
        while self.step < stop:
            with signals_held():
                losses = engine.train(self.batches, self.step, stop - self.step, update)
                self._take_losses(losses)
                for recorder in recorders:
                    recorder.take_losses(self.step, losses)
                self.step += len(losses)

    def _take_losses(self, losses: Tensor) -> None:
        """Take notice of the losses of steps [step, member]."""
        finite = torch.isfinite(losses).cumprod(0, dtype=torch.int64) * self._finite
        self._finite_steps += finite.sum(0)
        self._finite.copy_(finite[-1])
        self.losses = losses[-1]

    def run_epoch(self, recorders: "Sequence[Recorder]" = ()) -> None:
        """Take the steps of one epoch."""
        self.run(self.steps_per_epoch, recorders)

    def _state(self) -> dict[str, Tensor]:
        return {
            "parameters": self.population.flat,
            "finite": self._finite,
            "finite_steps": self._finite_steps,
            **{f"optimizer.{name}": tensor for name, tensor in self.update.state.items()},
            **{f"buffers.{name}": tensor for name, tensor in self.population.buffers.items()},
        }

    def checkpoint(self) -> dict[str, Tensor]:
        """Copy all that training needs to go on exactly as if it had not been interrupted."""
        return {"step": torch.tensor(self.step), **{k: v.clone() for k, v in self._state().items()}}

    def restore(self, checkpoint: dict[str, Tensor]) -> None:
        """Go back to a checkpoint of the same population and settings.

        Raises:
            SettingError: the checkpoint belongs to other settings.
        """
        state = self._state()
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        given = {name: tuple(tensor.shape) for name, tensor in checkpoint.items() if name != "step"}
        if given != shapes:
            raise SettingError(f"the checkpoint holds {given} and this training needs {shapes}")
        self.step = int(checkpoint["step"])
        if isinstance(self.engine, OneByOne):
            self.engine.steps = self.step  # so that modules draw the same numbers again
        for name, tensor in state.items():
            tensor.copy_(checkpoint[name])


def _order_streams(
    population: Population, orders: Sequence[Stream] | None, seeds: Iterable[int] | None
) -> list[Stream] | None:
    """Streams of the arguments or else of the population's seeds; None where there are neither."""
    if orders is None and seeds is None:
        seeds = population.seeds
    streams = member_streams("orders", orders, seeds, "order")
    if streams is not None and len(streams) != len(population):
        raise SettingError(f"{len(streams)} orders or seeds for {len(population)} members: give one for each")
    return streams
