"""The engine of fully connected networks on a CPU: members one after the other, many steps at a time, compiled.

What is compiled is in `kernels`; here it is given the memory of a population.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whydeep.population.batches import Batch, FullBatch, MiniBatches
from whydeep.population.network import Network
from whydeep.population.objectives import CrossEntropy, WrittenOut
from whydeep.population.population import Population
from whydeep.population.samples import Samples
from whydeep.population.updates import CompiledUpdate

CALL = 1e10
"""Multiplications of one call, some tenths of a second: signals are looked at between two calls."""
WORTH_THREADS = 1e6
"""So many multiplications take longer than other threads take to begin."""


class Compiled:
    """Losses, gradients and steps of a population of fully connected networks.

    Args:
        population: it must be one that `stacked.covers`.
        objective: what is minimised.
        samples: on the population's device, in its type.
        gradients: [member, row], written.
    """

    def __init__(self, population: Population, objective: WrittenOut, samples: Samples, gradients: Tensor):
        self.population, self.objective = population, objective
        self._network = Network.of(population)
        self._loss = int(not isinstance(objective, CrossEntropy))
        self._gradients = gradients
        self.relabel(samples)

    @property
    def _parameters(self) -> np.ndarray:
        """The memory of the population now: sharing a population with other processes moves it."""
        return self.population.flat.numpy()

    def relabel(self, samples: Samples) -> None:
        """Take other targets for the same inputs."""
        self.samples = samples
        inputs = samples.inputs.flatten(1 + samples.own_inputs)
        targets = samples.targets if samples.own_targets else samples.targets.unsqueeze(0)
        no_classes = np.empty((1, 0), np.int64)
        no_values = np.empty((1, 0, self._network.widths[-1]), self._parameters.dtype)
        inputs = inputs if samples.own_inputs else inputs.unsqueeze(0)
        classify = isinstance(self.objective, CrossEntropy)
        self._data = (
            np.ascontiguousarray(inputs.numpy(force=True)),
            np.array(targets.numpy(force=True)) if classify else no_classes,
            no_values if classify else np.ascontiguousarray(targets.numpy(force=True)),
        )
        self._features_first: np.ndarray | None = None

    def losses_and_gradients(self, batch: Batch) -> Tensor:
        """Return every member's loss on its batch [member] and write its gradient."""
        from whydeep.population import kernels

        orders = batch.indices[:, : batch.count].expand(len(self.population), -1).contiguous().numpy()
        losses = np.empty(len(self.population))
        with one_thread():
            kernels.losses_and_gradients(
                self._parameters, self._gradients.numpy(), self._network, self._loss, self._data, orders, losses
            )
        return torch.from_numpy(losses).to(self.population.dtype)

    def train(self, batches: FullBatch | MiniBatches, step: int, count: int, update: CompiledUpdate) -> Tensor:
        """Take so many steps, or as many as an epoch still has; return the losses of each [step, member]."""
        from whydeep.population import kernels

        count = min(count, max(1, int(CALL / (len(self.population) * self._multiplications(batches.size)))))
        if isinstance(batches, MiniBatches):
            orders, size = batches.orders_from(step, count)
            count = len(orders)
        rates = update.rates(step, count)
        losses = np.empty((count, len(self.population)))
        how = rates, update.taken, update.rule, losses
        problem = update.rows, self._network, self._loss, self._data

        def take_steps(first: int, last: int) -> None:
            if isinstance(batches, MiniBatches):
                kernels.train(first, last, *problem, orders, size, *how)
            else:
                kernels.train_on_all(first, last, *problem, self._columns(), *how)

        with one_thread():
            _share(take_steps, len(self.population), count * self._multiplications(batches.size))
        update.advance(count)
        return torch.from_numpy(losses).to(self.population.dtype)

    def _columns(self) -> np.ndarray:
        """Inputs, features first [1 or member, feature, sample]; arranged once."""
        if self._features_first is None:
            self._features_first = np.ascontiguousarray(self._data[0].transpose(0, 2, 1))
        return self._features_first

    def _multiplications(self, samples: int) -> int:
        """Of a member's step, roughly; those of the optimiser among them."""
        return (3 * samples + 20) * self._parameters.shape[1]

    def outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield all members, and their outputs and targets [member, feature, slot], of samples that lie side by side.

        Slots without a sample hold zeros: what is computed of outputs then has the same bits for any number of members.
        """
        from whydeep.population import kernels

        members, start = len(self.population), int(batch.indices[0, 0])
        assert int(batch.indices[0, batch.count - 1]) == start + batch.count - 1
        outputs = self.population.flat.new_zeros(members, int(self._network.widths[-1]), batch.indices.shape[1])
        with one_thread():
            kernels.outputs(self._parameters, self._network, self._data[0], start, batch.count, outputs.numpy())
        targets = self.samples.targets.index_select(int(self.samples.own_targets), batch.indices[0])
        targets = self.objective.target_rows(targets)
        yield slice(0, members), outputs, targets if self.samples.own_targets else targets.unsqueeze(0)


def _share(take_steps: Callable[[int, int], None], members: int, multiplications: int) -> None:
    """Share members out to as many threads as PyTorch may use, if they have enough to do."""
    threads = min(torch.get_num_threads(), members)
    if threads == 1 or members * multiplications < WORTH_THREADS:
        take_steps(0, members)
        return
    bounds = [members * number // threads for number in range(threads + 1)]
    for _ in _threads(threads).map(take_steps, bounds[:-1], bounds[1:]):
        pass


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=torch.set_flush_denormal, initargs=(True,))  # see `denormals`


@cache
def libraries() -> Any:
    """Libraries of linear algebra, among them that of SciPy, which compiled code calls."""
    import scipy.linalg.cython_blas  # noqa: F401 - loads it
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_alone = Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have products computed on one thread: on several, sums have another order.

    The limit is that of the whole process, and only the thread that set it can lift it: threads that train at the same
    time take turns, call by call.
    """
    with _alone:
        if all(library.num_threads == 1 for library in libraries().lib_controllers):
            yield
        else:
            with libraries().limit(limits=1):
                yield


def _forget_threads() -> None:
    """Begin anew in a forked process, in which no threads live on, and nobody opens their locks."""
    global _alone
    _alone = Lock()
    _threads.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
