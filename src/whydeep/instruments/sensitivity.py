"""How strongly the loss and the outputs react to the input."""

from dataclasses import dataclass

from torch import Tensor

from whydeep.landscape import Landscape


@dataclass(frozen=True)
class Sensitivity:
    """Frobenius norms of derivatives by one sample's inputs.

    Attributes:
        loss_gradients: of the sample's own loss [point, sample].
        jacobians: of its outputs, before any softmax [point, sample].
    """

    loss_gradients: Tensor
    jacobians: Tensor

    @property
    def loss_gradient(self) -> Tensor:
        """Mean over the samples [point]: the sensitivity."""
        return self.loss_gradients.mean(1)

    @property
    def jacobian(self) -> Tensor:
        """Mean over the samples [point]."""
        return self.jacobians.mean(1)


def input_sensitivity(landscape: Landscape, *, points: Tensor | None = None) -> Sensitivity:
    """Measure how far the loss and the outputs move for a small change of the input.

    For each sample with its own loss l(x) and outputs f(x): |dl/dx|, and |df/dx|_F, the logit-Jacobian norm (after
    Novak, Bahri, Abolafia, Pennington and Sohl-Dickstein 2018, who take the probabilities behind the softmax). Each is
    the norm of one sample's derivative; the mean over samples is taken afterwards, so that batches do not matter. (The
    gradient of a batch's mean loss by its inputs is smaller by the size of the batch.) A confident network can have a
    small loss gradient and a large Jacobian: dl/dx = (df/dx)^T (p - y) vanishes where the probabilities p match the
    target y.

    Costs a backward pass, and one for each output; fully connected networks are written out.

    Args:
        landscape: of networks whose samples do not influence each other, with inputs that are real numbers.
        points: where; at the networks themselves if not given.

    >>> import torch
    >>> linear = torch.nn.Linear(2, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = linear.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> landscape = Landscape(linear, (torch.rand(5, 2), torch.zeros(5, dtype=torch.long)), torch.nn.CrossEntropyLoss())
    >>> input_sensitivity(landscape).jacobian
    tensor([5.], dtype=torch.float64)
    """
    return Sensitivity(*landscape.input_derivatives(points))
