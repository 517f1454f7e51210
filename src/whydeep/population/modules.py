"""The general paths: losses and gradients of a population of any `torch.nn.Module`.

`Vmapped` computes all members in one vectorised call (`torch.func.vmap`). `OneByOne` calls the module once
per member: slower, but it takes every module, also those that draw random numbers (dropout) or whose control
flow depends on values.
"""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from whydeep.networks.functional import Named, call, check_outputs, computed, load, vectorised
from whydeep.population.batches import Batch
from whydeep.population.objectives import Objective
from whydeep.population.population import Population
from whydeep.population.samples import Samples
from whydeep.population.streams import Stream

SAMPLES_AT_ONCE = 2**13
"""Samples times members that one vectorised evaluation takes: the activations of a convolution take much memory."""


class ModuleEngine:
    """What both general paths share: fetching a batch, and one member's forward pass."""

    def __init__(self, population: Population, objective: Objective, samples: Samples, gradients: Tensor):
        self.population, self.objective, self.samples = population, objective, samples
        self.template = copy.deepcopy(population.template)  # of its own, as it is switched to training and evaluation
        self.gradients = population.layout.views(gradients)
        self.steps = 0

    def relabel(self, samples: Samples) -> None:
        """Take other targets for the same inputs."""
        self.samples = samples

    def fetch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return inputs [member, sample, *feature] and targets [member, sample, ...] of a batch."""
        indices, members = batch.indices[:, : batch.count], len(self.population)
        return (
            _pick(self.samples.inputs, indices, self.samples.own_inputs, members),
            _pick(self.samples.targets, indices, self.samples.own_targets, members),
        )

    def member(self, index: int) -> tuple[Named, Named]:
        """Views of the parameters and buffers of one member."""
        return (
            {name: tensor[index] for name, tensor in self.population.parameters.items()},
            {name: tensor[index] for name, tensor in self.population.buffers.items()},
        )

    def prepare(self, index: int) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
        """Return one member as a function of inputs, in evaluation mode, and the parameters that it computes with."""
        raise NotImplementedError


class Vmapped(ModuleEngine):
    """All members in one vectorised call."""

    def call(self, parameters: Named, buffers: Named, inputs: Tensor) -> tuple[Tensor, Named]:
        """Outputs of one member, and its buffers as they are afterwards."""
        return call(self.template, parameters, buffers, inputs)

    def loss(self, parameters: Named, buffers: Named, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Named]:
        """Mean loss of one member, and its buffers as they are afterwards."""
        outputs, buffers = self.call(parameters, buffers, inputs)
        return self.objective.mean(outputs, targets), {k: v.detach() for k, v in buffers.items()}

    def prepare(self, index: int) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
        """Return one member as a function of inputs, in evaluation mode, and the parameters that it computes with."""
        self.template.eval()
        parameters, buffers = ({name: part.clone() for name, part in named.items()} for named in self.member(index))
        return lambda inputs: self.call(parameters, buffers, inputs)[0], list(parameters.values())

    def losses_and_gradients(self, batch: Batch) -> Tensor:
        """Return every member's loss on its batch [member] and write its gradient."""
        self.template.train()
        with vectorised(self.template, "members"):
            gradients, (losses, buffers) = vmap(grad_and_value(self.loss, has_aux=True))(
                self.population.parameters, self.population.buffers, *self.fetch(batch)
            )
        for name, gradient in gradients.items():
            self.gradients[name].copy_(gradient)
        for name, buffer in buffers.items():
            self.population.buffers[name].copy_(buffer)
        return losses

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield, block by block, the members, their outputs [member, ..., sample], and rows of targets."""
        self.template.eval()
        inputs, targets = self.fetch(batch)
        size = max(1, SAMPLES_AT_ONCE // batch.count)
        for start in range(0, len(self.population), size):
            block = slice(start, min(start + size, len(self.population)))
            named = self.population.parameters, self.population.buffers
            parameters, buffers = ({name: tensor[block] for name, tensor in tensors.items()} for tensors in named)
            with vectorised(self.template, "members"):
                outputs, _ = vmap(self.call)(parameters, buffers, inputs[block])
            yield block, outputs.movedim(1, -1), self.objective.target_rows(targets[block])


class OneByOne(ModuleEngine):
    """One member after the other; random draws of a module come from the member's own stream.

    Each is written to the same module, as a plain loop has it: what a module refers to twice, or computes again on the
    way back (checkpoints of activations), is the member's own.
    """

    def __init__(
        self,
        population: Population,
        objective: Objective,
        samples: Samples,
        gradients: Tensor,
        streams: Sequence[Stream] | None = None,
    ):
        super().__init__(population, objective, samples, gradients)
        self.streams = streams

    def prepare(self, index: int) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
        """Return one member as a function of inputs, in evaluation mode, and the parameters that it computes with."""
        self.template.eval()
        parameters = load(self.template, *self.member(index))
        return self._call, list(parameters.values())

    def _call(self, inputs: Tensor) -> Tensor:
        return check_outputs(self.template, self.template(inputs))

    def losses_and_gradients(self, batch: Batch) -> Tensor:
        """Return every member's loss on its batch [member] and write its gradient."""
        self.template.train()
        inputs, targets = self.fetch(batch)
        losses = []
        devices = [self.population.device] if self.population.device.type == "cuda" else []
        for index in range(len(self.population)):
            parameters = load(self.template, *self.member(index), tracked=self.gradients)
            # Without streams, modules draw from the global generators, as they would in a plain loop.
            with computed(self.template), torch.random.fork_rng(devices=devices, enabled=bool(self.streams)):
                if self.streams:
                    torch.manual_seed(self.streams[index].torch_seed(self.steps))
                losses.append(self._differentiate(index, parameters, inputs[index].clone(), targets[index].clone()))
            for name, buffer in self.template.named_buffers():
                self.population.buffers[name][index].copy_(buffer.detach())
        self.steps += 1
        return torch.stack(losses)

    def _differentiate(self, index: int, parameters: Named, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the member that was loaded, and write its gradient by the parameters."""
        with torch.enable_grad():
            loss = self.objective.mean(self._call(inputs), targets)
            gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            self.gradients[name][index].copy_(gradient.to_dense() if gradient.is_sparse else gradient)
        return loss.detach()

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield each member, its outputs [1, ..., sample], and rows of targets."""
        inputs, targets = self.fetch(batch)
        for index in range(len(self.population)):
            call, _ = self.prepare(index)
            with computed(self.template):
                outputs = call(inputs[index].clone())
            member = slice(index, index + 1)
            yield member, outputs.unsqueeze(0).movedim(1, -1), self.objective.target_rows(targets[member])


def _pick(tensor: Tensor, indices: Tensor, own: bool, members: int) -> Tensor:
    """Samples of every member [member, sample, ...]; what members share is there once."""
    if not own:
        picked = tensor.index_select(0, indices.flatten()).unflatten(0, indices.shape)
        return picked.expand(members, *picked.shape[1:])
    rows = torch.arange(members, device=indices.device).unsqueeze(1)
    return tensor[rows, indices.expand(members, -1)]
