"""Minima of ReLU networks where the gradient does not vanish, because it jumps."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.instruments.landscape import Landscape


@dataclass(frozen=True)
class Kinks:
    """What lies near each point; a *kink* is a hidden unit whose input is zero at a sample.

    Attributes:
        near: [point], how many kinks are within reach.
        distance: [point], the smallest absolute input of any hidden unit at any sample.
        gradient_norms: [point], of PyTorch's gradient, in which a unit at its kink is off.
        jump: [point], norm of the change of the gradient when all units within reach are switched from off to on.
        subgradient_norms: [point], norm of the subgradient in which these units are on in part. Where it is zero
        and the gradient
            is not, the loss has a stationary point (Clarke 1975) at which no gradient vanishes.
    """

    near: Tensor
    distance: Tensor
    gradient_norms: Tensor
    jump: Tensor
    subgradient_norms: Tensor


def find_kinks(landscape: Landscape, points: Tensor | None = None, *, reach: float) -> Kinks:
    """Measure the kinks within reach of each point, and the subgradient between their sides.

    A unit within reach is on in part, by (z + reach) / (2 reach) for its input z: the slope that a `RoundedReLU` of
    this width has there. So where the gradient of the rounded network vanishes, a subgradient of the ReLU network
    does, at most `reach` away.

    Args:
        landscape: of fully connected ReLU networks.
        points: where; at the networks themselves if not given.
        reach: in units of the inputs of the hidden units.

    Raises:
        SettingError: other networks.
    """
    form = landscape.closed_form
    if not 0 < reach < math.inf:
        raise SettingError(f"reach must be above 0, not {reach:g}")
    if form is None or type(form.activation) is not nn.ReLU:
        raise SettingError(
            "kinks are found by the closed-form engine, in nn.Sequential of Linear layers with nn.ReLU between them: "
            'give such a network, and leave engine at "auto"'
        )
    points = landscape.at(points)
    vectors = landscape.vectors(points)
    zeros = points.new_zeros(len(points))
    near, distance = zeros.clone(), zeros + torch.inf
    sides = {name: torch.zeros_like(points) for name in ("as it is", "off", "on", "between")}
    for batch in landscape.batches():
        columns, rows = form.rows(batch.inputs, batch.targets)
        for start in range(0, len(points), 16):
            block = slice(start, start + 16)
            x, y = (part[block] if len(part) > 1 else part for part in (columns, rows))
            hidden = form.hidden_inputs(vectors[block], x)
            within = [z.abs() <= reach for z in hidden]
            near[block] += sum(chosen.sum((1, 2)) for chosen in within)
            nearest = torch.stack([z.abs().amin((1, 2)) for z in hidden]).amin(0)
            distance[block] = torch.minimum(distance[block], nearest)
            on = [(z > 0).to(z) for z in hidden]
            partly = {
                "as it is": on,
                "off": [torch.where(chosen, 0.0, slope) for chosen, slope in zip(within, on, strict=True)],
                "on": [torch.where(chosen, 1.0, slope) for chosen, slope in zip(within, on, strict=True)],
                "between": [((z + reach) / (2 * reach)).clamp(0, 1) for z in hidden],
            }
            for name, slopes in partly.items():
                sides[name][block] += batch.share * form.gradients_with_slopes(vectors[block], x, y, slopes)
    return Kinks(
        near=near,
        distance=distance,
        gradient_norms=sides["as it is"].norm(dim=1),
        jump=(sides["on"] - sides["off"]).norm(dim=1),
        subgradient_norms=sides["between"].norm(dim=1),
    )
