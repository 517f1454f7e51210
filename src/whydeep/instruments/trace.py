"""The trace of Hessians of any size."""

from dataclasses import dataclass

import torch
from torch import Tensor

from whydeep.instruments.probes import random_signs
from whydeep.landscape import Landscape


@dataclass(frozen=True)
class Trace:
    """Traces [member], each with its standard error [member]; zero where the trace is exact."""

    value: Tensor
    standard_error: Tensor


def hessian_trace(landscape: Landscape, *, points: Tensor | None = None, probes: int = 100, seed: int = 0) -> Trace:
    """Estimate the trace of each member's Hessian, as the mean of v . Hv over random vectors of signs v.

    Hutchinson (1990): the mean is unbiased, with the variance 2 (sum of squares of the off-diagonal). With at
    least as many probes as parameters, the unit vectors are used instead, and the trace is exact.

    Args:
        landscape: whose Hessians.
        points: where; at the networks themselves if not given.
        probes: random vectors, and products that it costs.
        seed: of the random vectors.

    >>> from torch.nn import Linear, functional
    >>> landscape = Landscape(Linear(1, 1), (torch.tensor([[3.0]]), torch.tensor([[1.0]])), functional.mse_loss)
    >>> hessian_trace(landscape).value
    tensor([20.], dtype=torch.float64)
    """
    points = landscape.at(points)
    exact = probes >= landscape.size
    vectors = torch.eye(landscape.size, dtype=torch.float64) if exact else random_signs(probes, landscape.size, seed)
    forms = torch.cat(
        [
            (landscape.products(directions, points).to(torch.float64) * directions).sum(2)
            for some in vectors.to(landscape.device).split(16)
            for directions in [some.expand(len(points), -1, -1)]
        ],
        dim=1,
    )
    if exact:
        return Trace(forms.sum(1), torch.zeros_like(forms[:, 0]))
    return Trace(forms.mean(1), forms.std(1) / probes**0.5 if probes > 1 else torch.full_like(forms[:, 0], torch.nan))
