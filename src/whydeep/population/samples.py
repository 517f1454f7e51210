"""What a population learns from: inputs and targets, shared by all members or one set each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from whydeep.errors import SettingError


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
        SettingError: inputs and targets disagree about the number of samples, or there are none.
    """

    inputs: Tensor
    targets: Tensor
    own_inputs: bool = False
    own_targets: bool = False

    def __post_init__(self) -> None:
        counts = self.inputs.shape[self.own_inputs], self.targets.shape[self.own_targets]
        if counts[0] != counts[1] or counts[0] == 0:
            raise SettingError(
                f"inputs {tuple(self.inputs.shape)} hold {counts[0]} samples and targets "
                f"{tuple(self.targets.shape)} hold {counts[1]}: both must hold the same, and at least one"
            )

    def __len__(self) -> int:
        return self.targets.shape[self.own_targets]

    @classmethod
    def each(cls, samples: "list[Samples]") -> "Samples":
        """Stack one set of samples per member; all must have the same shapes."""
        return cls(
            torch.stack([one.inputs for one in samples]),
            torch.stack([one.targets for one in samples]),
            own_inputs=True,
            own_targets=True,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> "Samples":
        """Move to a device: inputs and real-valued targets as `dtype`, class numbers as int64; copy only if needed."""
        targets = self.targets.to(device)
        targets = targets.to(dtype if targets.is_floating_point() else torch.int64)
        return Samples(self.inputs.to(device, dtype), targets, self.own_inputs, self.own_targets)

    def check_members(self, members: int) -> None:
        """Raise `SettingError` unless every own set of samples belongs to one of so many members."""
        for own, tensor, what in (
            (self.own_inputs, self.inputs, "inputs"),
            (self.own_targets, self.targets, "targets"),
        ):
            if own and len(tensor) != members:
                raise SettingError(f"{len(tensor)} sets of {what} for {members} members: give one each")
