"""Where each parameter of a member lies in the population's flat buffer."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor

from whydeep.errors import SettingError, near_names
from whydeep.networks.functional import named_views

ALIGNMENT = 16
"""Every parameter starts at a multiple of this many numbers (64 bytes in float32).

The last bits of a vectorised product or of fused Adam depend on how its operands are aligned. With every
member's parameters aligned alike, a member computes the same bits alone as among others.
"""

SAMPLE_SLOTS = 32
"""Samples are padded to a multiple of this many.

Elementwise functions such as tanh are computed for 32 numbers at a time at most, and for what is left over with
other instructions and other last bits. With padding nothing is ever left over, however many members there are.
"""


def aligned(count: int, multiple: int = ALIGNMENT) -> int:
    """Round a count up to a multiple.

    >>> aligned(50)
    64
    """
    return -(-count // multiple) * multiple


def sample_slots(samples: int) -> int:
    """Round a number of samples up to the slots that they take.

    >>> sample_slots(5)
    32
    """
    return aligned(samples, SAMPLE_SLOTS)


@dataclass(frozen=True)
class Slot:
    """One parameter: its name, its shape and where it starts in a member's row."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """How many numbers the parameter has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The slots of a member's row, in the module's order; `row` is the length of a row with padding."""

    slots: tuple[Slot, ...]
    row: int

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, Tensor]]) -> "Layout":
        """Lay out named parameters one behind the other, each aligned."""
        slots, start = [], 0
        for name, parameter in parameters:
            slot = Slot(name, tuple(parameter.shape), start)
            slots.append(slot)
            start += aligned(slot.size)
        return cls(tuple(slots), start)

    @property
    def size(self) -> int:
        """Parameters of one member, padding not counted."""
        return sum(slot.size for slot in self.slots)

    def select(self, patterns: str | Iterable[str]) -> tuple[Slot, ...]:
        """Return the slots of the parameters that match any pattern, such as "linear2.*" or "*.weight".

        Raises:
            SettingError: a pattern matches no parameter.
        """
        patterns = [patterns] if isinstance(patterns, str) else list(patterns)

        def matches(name: str, pattern: str) -> bool:
            return name == pattern or fnmatchcase(name, pattern)

        names = [slot.name for slot in self.slots]
        for pattern in patterns:
            if not any(matches(name, pattern) for name in names):
                raise SettingError(f"no parameter matches {pattern!r}: {near_names(pattern, names)}")
        return tuple(slot for slot in self.slots if any(matches(slot.name, pattern) for pattern in patterns))

    def columns(self, patterns: str | Iterable[str]) -> Tensor:
        """Say where the parameters that match lie in the vectors that `vectors` returns: [number].

        >>> layout = Layout.of({"linear1.weight": torch.zeros(2, 1), "linear1.bias": torch.zeros(2)}.items())
        >>> layout.columns("*.bias").tolist()
        [2, 3]
        """
        chosen = self.select(patterns)
        if not chosen:
            return torch.empty(0, dtype=torch.int64)
        ends = torch.tensor([slot.size for slot in self.slots]).cumsum(0).tolist()
        return torch.cat(
            [torch.arange(end - slot.size, end) for slot, end in zip(self.slots, ends, strict=True) if slot in chosen]
        )

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """View a flat buffer [member, row] as named parameters [member, *shape]; nothing is copied."""
        return named_views(flat, {slot.name: slot.shape for slot in self.slots}, [slot.start for slot in self.slots])

    def vectors(self, flat: Tensor) -> Tensor:
        """Copy a flat buffer [member, row] without its padding: [member, size]."""
        return torch.cat([flat[:, slot.start : slot.start + slot.size] for slot in self.slots], dim=1)
