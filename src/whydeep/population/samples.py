"""What a population learns from: inputs and targets, shared by all members or one set each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whydeep.errors import SettingError

INDICES = (torch.int32, torch.int64)
"""Types of inputs that are numbers of words or the like, as `nn.Embedding` takes them."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs with their targets.

    Attributes:
        inputs: [sample, *feature], or [member, sample, *feature] when every member has its own.
        targets: [sample] class numbers or [sample, output] values, likewise with a leading member
            dimension when every member has its own.
        own_inputs, own_targets: whether that leading member dimension is there. Members can have their
            own targets for shared inputs, as for random labels.

    Raises:
        SettingError: inputs and targets disagree about the number of samples, there are none, or tensors are sparse,
            complex or without values.
    """

    inputs: Tensor
    targets: Tensor
    own_inputs: bool = False
    own_targets: bool = False

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            tensor, own = getattr(self, name), getattr(self, f"own_{name}")
            if tensor.layout != torch.strided or tensor.is_meta or tensor.is_complex() or tensor.is_quantized:
                given = "on the meta device" if tensor.is_meta else f"{tensor.dtype} ({tensor.layout})"
                raise SettingError(f"{name} must be tensors of real numbers or integers, not sparse, and are {given}")
            if tensor.ndim <= own:
                raise SettingError(f"{name} must be [sample, ...], and have shape {tuple(tensor.shape)}")
        counts = self.inputs.shape[self.own_inputs], self.targets.shape[self.own_targets]
        if counts[0] != counts[1] or counts[0] == 0:
            raise SettingError(
                f"inputs {tuple(self.inputs.shape)} hold {counts[0]} samples and targets "
                f"{tuple(self.targets.shape)} hold {counts[1]}: both must hold the same, and at least one"
            )

    def __len__(self) -> int:
        return self.targets.shape[self.own_targets]

    @classmethod
    def of(cls, data: "Data") -> "Samples":
        """Read data of any form, an iterable once, and put its batches behind each other.

        Args:
            data: samples, a pair (inputs, targets) of tensors [sample, ...], or an iterable of such pairs, as a
                `DataLoader` is. Batches may differ in size.

        Raises:
            SettingError: data of another form, without samples, or of batches that do not fit behind each other.

        >>> batches = [(torch.zeros(3, 2), torch.zeros(3, 1)), (torch.zeros(2, 2), torch.zeros(2, 1))]
        >>> Samples.of(batches).inputs.shape
        torch.Size([5, 2])
        """
        batches = make_batches(data)
        if len(batches) == 1:
            return batches[0]
        shapes = {(batch.inputs.shape[1:], batch.targets.shape[1:]) for batch in batches}
        if len(shapes) > 1:
            raise SettingError(
                "batches must have samples of one shape, and there are inputs "
                f"{sorted({tuple(inputs) for inputs, _ in shapes})} with targets "
                f"{sorted({tuple(targets) for _, targets in shapes})}"
            )
        return cls(torch.cat([batch.inputs for batch in batches]), torch.cat([batch.targets for batch in batches]))

    @classmethod
    def each(cls, samples: "list[Samples]") -> "Samples":
        """Stack one set of samples per member; all must have the same shapes."""
        return cls(
            torch.stack([data.inputs for data in samples]),
            torch.stack([data.targets for data in samples]),
            own_inputs=True,
            own_targets=True,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> "Samples":
        """Move to a device: real numbers as `dtype`, class numbers as int64; copy only if needed.

        Inputs of 8 or 16 bits, as images have them, are real numbers; those in `INDICES` stay.
        """
        inputs, targets = self.inputs.to(device), self.targets.to(device)
        inputs = inputs if inputs.dtype in INDICES else inputs.to(dtype)
        targets = targets.to(dtype if targets.is_floating_point() else torch.int64)
        return Samples(inputs, targets, self.own_inputs, self.own_targets)

    def check_members(self, members: int) -> None:
        """Raise `SettingError` unless every own set of samples belongs to one of so many members."""
        for own, tensor, what in (
            (self.own_inputs, self.inputs, "inputs"),
            (self.own_targets, self.targets, "targets"),
        ):
            if own and len(tensor) != members:
                raise SettingError(f"{len(tensor)} sets of {what} for {members} members: give one each")


Data = Samples | tuple[Tensor, Tensor] | Iterable[Sequence[Tensor]]
"""What a population learns from and a landscape is made of, see `Samples.of`."""


def make_batches(data: Data) -> list[Samples]:
    """Read data of any form as its batches, without those that hold no samples; see `Samples.of`."""
    if isinstance(data, Samples):
        return [data]
    pairs: list[Any] = [data] if _is_pair(data) else list(data) if isinstance(data, Iterable) else [data]
    if not all(_is_pair(pair) and len(pair[0]) == len(pair[1]) for pair in pairs):
        raise SettingError(
            "data must be Samples, a pair of tensors (inputs, targets) with as many samples, or an iterable of such "
            "pairs"
        )
    batches = [Samples(inputs.detach(), targets.detach()) for inputs, targets in pairs if len(targets)]
    if not batches:
        raise SettingError("the data hold no samples: a loss needs at least one")
    return batches


def _is_pair(value: Any) -> bool:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(part, Tensor) and part.ndim > 0 for part in value)
