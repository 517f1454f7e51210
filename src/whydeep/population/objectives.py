"""What a member minimises, with the gradient at its outputs written out.

Outputs and targets of a whole population come *features first*, [member, feature, sample]: a narrow layer
then works on long contiguous rows. Every sample has a weight; the weights of a batch sum to one, and padded
samples weigh nothing. A member's loss is the weighted mean over its samples; nothing mixes members.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from whydeep.errors import SettingError


class Objective(Protocol):
    """A loss, for a population (features first) and for one member (samples first)."""

    name: str
    unit: str

    def target_rows(self, targets: Tensor) -> Tensor:
        """Arrange targets [..., sample, (feature)] as rows [..., feature, sample]."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Loss of every member [member]; `outputs` may be overwritten."""
        ...

    def losses_and_deltas(self, outputs: Tensor, targets: Tensor, weights: Tensor, deltas: Tensor) -> Tensor:
        """Loss of every member [member]; writes its gradient at the outputs to `deltas`."""
        ...

    def output_hessians(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Second derivatives of the loss by the outputs: [member, feature, feature, sample]."""
        ...

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of one member over samples that weigh the same, samples first: a scalar."""
        ...


class CrossEntropy:
    """Mean negative log-probability of the true class, in nats; targets are class numbers [sample]."""

    name = "cross entropy"
    unit = "nat"

    def target_rows(self, targets: Tensor) -> Tensor:
        """Arrange class numbers [..., sample] as [..., 1, sample]."""
        return targets.unsqueeze(-2)

    def losses(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean cross entropy of every member; `outputs` becomes log-probabilities."""
        torch.log_softmax(outputs, 1, out=outputs)
        truth = outputs.gather(1, targets.expand(len(outputs), -1, -1)).squeeze(1)
        return truth.mul_(weights).sum(1).neg_()

    def losses_and_deltas(self, outputs: Tensor, targets: Tensor, weights: Tensor, deltas: Tensor) -> Tensor:
        """As `losses`; the gradient is (probability - 1 at the true class) times the sample's weight."""
        targets = targets.expand(len(outputs), -1, -1)
        losses = self.losses(outputs, targets, weights)
        torch.exp(outputs, out=deltas)
        minus_one = deltas.new_tensor(-1.0).expand_as(targets)
        deltas.scatter_add_(1, targets, minus_one).mul_(weights)
        return losses

    def output_hessians(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """(diagonal of p - p p^T) times the sample's weight, p the probabilities."""
        probabilities = torch.softmax(outputs, 1)
        hessians = -probabilities.unsqueeze(2) * probabilities.unsqueeze(1)
        hessians.diagonal(dim1=1, dim2=2).add_(probabilities.transpose(1, 2))
        return hessians.mul_(weights)

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy of one member, outputs [sample, class]."""
        return functional.cross_entropy(outputs, targets)


def check_class_numbers(targets: Tensor, classes: int | None) -> None:
    """Raise `SettingError` unless targets are numbers of classes, of so many if that is known."""
    least, most = int(targets.min()), int(targets.max())
    if least < 0 or (classes is not None and most >= classes):
        accepted = f"0 to {classes - 1}, one for each output" if classes else "0 and up, none of them ignored"
        raise SettingError(f"targets are classes {least} to {most}, and accepted are {accepted}")


class MeanSquaredError:
    """Mean squared difference over samples and outputs; targets [sample, output]."""

    name = "mean squared error"
    unit = "squared unit of the target"

    def target_rows(self, targets: Tensor) -> Tensor:
        """Arrange targets [..., sample, output] as [..., output, sample]."""
        return targets.transpose(-1, -2).contiguous()

    def losses(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean squared error of every member; `outputs` becomes the weighted squares."""
        outputs.sub_(targets)
        return self._mean_square(outputs, outputs * weights)

    def losses_and_deltas(self, outputs: Tensor, targets: Tensor, weights: Tensor, deltas: Tensor) -> Tensor:
        """As `losses`; the gradient is 2 (output - target) weight / outputs."""
        outputs.sub_(targets)
        torch.mul(outputs, weights, out=deltas)
        losses = self._mean_square(outputs, deltas)
        deltas.mul_(2 / outputs.shape[1])
        return losses

    @staticmethod
    def _mean_square(residuals: Tensor, weighted: Tensor) -> Tensor:
        return residuals.mul_(weighted).sum(dim=(1, 2)).div_(residuals.shape[1])

    def output_hessians(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """The identity times 2 weight / outputs."""
        features = outputs.shape[1]
        one = torch.eye(features, dtype=outputs.dtype, device=outputs.device).mul_(2 / features)
        return (one.unsqueeze(-1) * weights).expand(len(outputs), -1, -1, -1)

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of one member, outputs [sample, output].

        Raises:
            SettingError: targets of another shape, which would be stretched to that of the outputs.
        """
        if outputs.shape != targets.shape:
            raise SettingError(
                f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must have the same shape for a "
                "squared error"
            )
        return functional.mse_loss(outputs, targets)
