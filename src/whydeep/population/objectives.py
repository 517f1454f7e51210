"""What a member minimises: a mean over samples.

Two losses have their gradient at the outputs written out, `CrossEntropy` and `MeanSquaredError`; any other function of
outputs and targets is a `LossFunction`, and differentiated automatically.

Outputs and targets of a whole population come *features first*, [member, feature, sample]: a narrow layer
then works on long contiguous rows. Every sample has a weight; the weights of a batch sum to one, and padded
samples weigh nothing. A member's loss is the weighted mean over its samples; nothing mixes members.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.networks.functional import is_altered


class CrossEntropy:
    """Mean negative log-probability of the true class, in nats; targets are class numbers [sample]."""

    name = "cross entropy"

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


def check_outputs_of_classes(outputs: Tensor, targets: Tensor) -> None:
    """Raise `SettingError` unless there are outputs [sample, class] for all classes among the targets."""
    if outputs.ndim != 2:
        raise SettingError(f"outputs must be [sample, class] for cross entropy, not {tuple(outputs.shape)}")
    check_class_numbers(targets, outputs.shape[1])


class MeanSquaredError:
    """Mean squared difference over samples and outputs; targets [sample, output]."""

    name = "mean squared error"

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
        identity = torch.eye(features, dtype=outputs.dtype, device=outputs.device).mul_(2 / features)
        return (identity.unsqueeze(-1) * weights).expand(len(outputs), -1, -1, -1)

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


class LossFunction:
    """Any function of outputs and targets that returns a mean over samples; its derivatives come from autograd.

    Args:
        function: from outputs and targets of one member, samples first, to a scalar.
        name: for messages.
        ignored: class whose samples the function leaves out; data must not have it.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], name: str, ignored: int | None = None):
        self.function, self.name, self.ignored = function, name, ignored

    def target_rows(self, targets: Tensor) -> Tensor:
        """Leave targets as they are: the function takes each member's samples first."""
        return targets

    def losses(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Loss of every member [member], of outputs [member, ..., sample] and targets [member, sample, ...].

        All samples weigh the same: the general engines know no padding.
        """
        members = zip(outputs.movedim(-1, 1), targets, strict=True)
        return torch.stack([self.mean(*member) for member in members]) * weights.sum()

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of one member, samples first.

        Raises:
            SettingError: the function returns something else than one real number in a tensor.
        """
        value = self.function(outputs, targets)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            given = value.dtype if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise SettingError(f"{self.name} must return a tensor with one real number, not {given}")
        if value.ndim:
            raise SettingError(
                f"the loss must be one number, a mean over samples, and has shape {tuple(value.shape)}: reduce it"
            )
        return value


WrittenOut = CrossEntropy | MeanSquaredError
"""Losses whose derivatives by the outputs are written out."""

Objective = WrittenOut | LossFunction

Loss = Objective | nn.Module | Callable[[Tensor, Tensor], Tensor]
"""What is accepted as a loss, see `find_objective`."""


def find_objective(loss: Loss) -> Objective:
    """Return the objective of a loss of ours, of PyTorch, or of any function ``loss(outputs, targets)``.

    `torch.nn.functional.cross_entropy` and `mse_loss`, and `nn.CrossEntropyLoss()` and `nn.MSELoss()` with default
    options, become `CrossEntropy` and `MeanSquaredError`. All else is a `LossFunction`: losses with options, functions,
    and objects with a method ``mean(outputs, targets)``, also those of a class that inherits from one of ours.

    Raises:
        SettingError: something that is no loss, or a loss of PyTorch that is no mean over samples.
    """
    if isinstance(loss, type) or not (callable(loss) or hasattr(loss, "mean")):
        given = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        raise SettingError(
            "objective must be such as CrossEntropy() or MeanSquaredError(), or a function of outputs and targets that "
            f"is a mean over samples, not {given}"
        )
    if isinstance(loss, Objective) and type(loss) in (CrossEntropy, MeanSquaredError, LossFunction):
        return loss
    if isinstance(loss, nn.Module):
        return _from_module(loss)
    if loss is functional.cross_entropy:
        return CrossEntropy()
    if loss is functional.mse_loss:
        return MeanSquaredError()
    mean: Any = loss if callable(loss) else loss.mean
    return LossFunction(mean, getattr(loss, "__name__", type(loss).__name__))


def _from_module(loss: nn.Module) -> Objective:
    if getattr(loss, "reduction", "mean") in ("sum", "none"):
        raise SettingError(f'{loss} is no mean over samples, and batches cannot be joined: give reduction="mean"')
    plain = not is_altered(loss)
    if plain and type(loss) is nn.MSELoss:
        return MeanSquaredError()
    if not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss):
        return LossFunction(loss, type(loss).__name__)
    if loss.weight is not None:
        raise SettingError("a mean weighted by class is no mean over samples, and batches cannot be joined")
    default = (getattr(loss, "label_smoothing", 0), loss.ignore_index) == (0, -100)
    if plain and default and type(loss) is nn.CrossEntropyLoss:
        return CrossEntropy()
    return LossFunction(loss, type(loss).__name__, ignored=loss.ignore_index)
