"""The state of a job's loops, written down every half a minute, so that a kill loses no more than that.

A job that was interrupted is measured again from its beginning, but for its loops: what they went through is passed
over, and the state that they had is put back. All else is computed once more, and must come out the same.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from whydeep.runs.atomic import write_atomically
from whydeep.runs.packing import pack, unpack
from whydeep.runs.seal import DamagedError, seal, unseal

INTERVAL = 30.0
"""Seconds between two checkpoints of a job; shorter jobs write none."""
FORMAT = 2
"""Of checkpoints: counted up when older versions cannot be read."""
SHORT = 5.0
"""Seconds of a job's beginning whose loops are gone through again instead of being kept."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = tuple[int, ...]


class Resumable(Protocol):
    """What has a state of its own, such as a training or a recorder."""

    def checkpoint(self) -> Any:
        """Copy the state: tensors, arrays, data sets, numbers and texts, in lists and dictionaries."""

    def restore(self, checkpoint: Any) -> None:
        """Go back to a state."""


State = Resumable | torch.Tensor | np.ndarray | list | dict
"""What a loop changes: it is put back in place."""


@dataclass(frozen=True)
class CheckpointFile:
    """Where the checkpoint of a job lies, and by what it was written: another version or machine starts anew.

    Where the folder cannot be reached, nothing is kept.
    """

    path: Path
    name: str
    writer: str

    def read(self) -> tuple[dict[Key, tuple[int, list]], float]:
        """Return the loops that were kept, with their states, and the share of the job that was done.

        Nothing if they are not as they were written.
        """
        try:
            kept = unpack(unseal(self.path.read_bytes(), self.name)[0])
        except (OSError, ValueError, RuntimeError, DamagedError):  # RuntimeError: of a device that is not there
            return {}, 0.0
        if kept["writer"] != self.writer or kept.get("format") != FORMAT:
            return {}, 0.0
        return {tuple(key): (passed, states) for key, passed, states in kept["loops"]}, kept["done"]

    def write(self, loops: dict[Key, tuple[int, list]], done: float) -> None:
        """Write loops down, and the share of the job that is done."""
        entries = [(list(key), passed, states) for key, (passed, states) in loops.items()]
        content = {"writer": self.writer, "format": FORMAT, "done": done, "loops": entries}
        try:
            write_atomically(self.path, seal(pack(content), self.name))
        except OSError:
            return


class Checkpoint:
    """The loops of a job that can go on where they were; without a file, loops like any.

    Args:
        file: where their state is kept.
        share_done: of the job, when it is asked.
        clock: seconds that only grow.

    Attributes:
        begun: the share of the job that was done before.
    """

    def __init__(
        self,
        file: CheckpointFile | None = None,
        *,
        share_done: Callable[[], float] = float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._file, self._clock, self._share_done = file, clock, share_done
        self._kept, self.begun = file.read() if file else ({}, 0.0)
        self._start = self._written = clock()
        self._within: Key = ()
        self._count = 0
        self._open = False

    def loop(self, items: Iterable[Item], *state: State) -> Iterator[Item]:
        """Go through items; those that were gone through before an interruption are passed over.

        Loops cannot lie in each other, but in what `collect` calls. A loop that its body leaves (break, return or an
        exception) is gone through again from where it was kept last, so that it is left in the same way.

        Args:
            items: what to go through, the same at every call.
            state: all that the body of the loop changes and that is needed after it. Objects stay the same ones, those
                in lists, tuples and dictionaries as well.

        >>> total = [0]
        >>> for number in Checkpoint().loop(range(4), total):
        ...     total[0] += number
        >>> total
        [6]
        """
        if self._open:
            raise RuntimeError("a loop lies in another: put it into a function that each_seed calls")
        if not state:
            raise TypeError("a loop needs its state, all that it changes: without it, it could not go on")
        for part in state:
            if not isinstance(part, torch.Tensor | np.ndarray | list | dict) and not hasattr(part, "restore"):
                raise TypeError(
                    f"the state of a loop holds {type(part).__name__}: give trainings, recorders, tensors, arrays, "
                    "lists or dictionaries, or what has checkpoint() and restore()"
                )
        key, parts = self._next_key(), _reach(state)
        passed, states = self._kept.get(key, (0, None))
        if states is not None:
            for part, saved in zip(parts, states, strict=True):
                _restore(part, saved, parts)
        if passed < 0:  # gone through
            return
        self._open = True
        try:
            for index, item in enumerate(items):
                if index >= passed:
                    yield item
                    if self._file and self._clock() - self._written >= INTERVAL:
                        self._kept[key] = index + 1, _capture(parts)
                        self._write()
            if self._file and self._clock() - self._start >= SHORT:
                self._kept[key] = -1, _capture(parts)
        finally:
            self._open = False

    def collect(self, items: Sequence[Item], function: Callable[[Item], Result]) -> list[Result]:
        """Call a function for every item, and return its results; those that are there are not computed again.

        Args:
            items: the same at every call.
            function: may go through loops; its results must be tensors, arrays, data sets, numbers or texts.
        """
        key = self._next_key()
        results: list = list(self._kept.get(key, (0, []))[1])
        outside = self._within, self._count
        for index in range(len(results), len(items)):
            self._within, self._count = (*key, index), 0
            results.append(function(items[index]))
            self._within, self._count = outside
            if self._file:
                self._kept = {name: kept for name, kept in self._kept.items() if name[: len(key)] != key}
                self._kept[key] = index + 1, list(results)
                if self._clock() - self._written >= INTERVAL:
                    self._write()
        return results

    def _next_key(self) -> Key:
        self._count += 1
        return (*self._within, self._count)

    def _write(self) -> None:
        assert self._file is not None
        self._file.write(self._kept, self._share_done())
        self._written = self._clock()


def _reach(state: Iterable[Any]) -> list[State]:
    """Return all that a state holds and that can be changed in place, each once."""
    reached: dict[int, State] = {}

    def add(part: Any) -> None:
        if id(part) in reached:
            return
        if isinstance(part, torch.Tensor | np.ndarray | list | dict) or hasattr(part, "restore"):
            reached[id(part)] = part
        if isinstance(part, list | tuple | dict):
            for item in part.values() if isinstance(part, dict) else part:
                add(item)

    for part in state:
        add(part)
    return list(reached.values())


def _capture(parts: list[State]) -> list:
    """Copy what parts hold; where they hold each other, their places among them."""
    places = {id(part): place for place, part in enumerate(parts)}

    def copy(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return part.detach().clone()
        if isinstance(part, np.ndarray):
            return part.copy()
        if isinstance(part, list | tuple):
            return [hold(item) for item in part]
        if isinstance(part, dict):
            return [(key, hold(item)) for key, item in part.items()]
        return part.checkpoint() if id(part) in places else deepcopy(part)

    def hold(item: Any) -> tuple[str, Any]:
        if id(item) in places:
            return "part", places[id(item)]
        kind = next((kind for kind in (list, tuple, dict) if isinstance(item, kind)), None)
        return kind.__name__ if kind else "value", copy(item)

    return [copy(part) for part in parts]


def _restore(part: State, saved: Any, parts: list[State]) -> None:
    """Put back in place what a part held."""

    def held(item: tuple[str, Any]) -> Any:
        kind, value = item
        match kind:
            case "part":
                return parts[value]
            case "list":
                return [held(inner) for inner in value]
            case "tuple":
                return tuple(held(inner) for inner in value)
            case "dict":
                return {key: held(inner) for key, inner in value}
        return value

    if isinstance(part, torch.Tensor):
        with torch.no_grad():
            part.copy_(saved)
    elif isinstance(part, np.ndarray):
        part[...] = saved
    elif isinstance(part, list):
        part[:] = [held(item) for item in saved]
    elif isinstance(part, dict):
        part.clear()
        part.update((key, held(item)) for key, item in saved)
    else:
        part.restore(saved)
