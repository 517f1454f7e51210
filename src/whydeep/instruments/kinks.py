"""Minima of ReLU networks where the gradient does not vanish, because it jumps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.instruments.critical_points import GRADIENT_TOLERANCE, Loop, find_critical_points, plain_loop
from whydeep.landscape import Landscape

ROUNDINGS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""Widths of rounded corners, one after the other; units within the last are at a kink."""

ACCURACY = 0.03
"""Gradient norm to which a rounded network is solved, as a share of the width.

A rounded corner breaks the rescaling symmetry of its unit a little: solved to the end, the weights drift along it for
as long as the corner is wide.
"""


def find_stationary_points(
    landscape: Landscape,
    points: Tensor | None = None,
    *,
    tolerance: float = GRADIENT_TOLERANCE,
    cycles: int = 6,
    widths: Sequence[float] = ROUNDINGS,
    progress: Callable[[float], None] = lambda share: None,
    loop: Loop = plain_loop,
) -> Tensor:
    """Bring ReLU networks to critical points, or to kinks where the gradient jumps: [point, size].

    Corners are rounded, less and less, and `find_critical_points` follows: a solver that needs a gradient can settle
    on a kink that has a width. In the end each unit that is within the last width of zero at a sample is at a kink; see
    `find_kinks` for what is there when the corners are sharp.

    Args:
        landscape, points, cycles: as for `find_critical_points`.
        tolerance: gradient norm that shall be reached with sharp corners; rounded ones are solved to a hundredth of it.
        widths: of the rounded corners, in units of the inputs of hidden units, falling.
        progress: told the share of the widths that are done.
        loop: goes through the cycles, once for each width.
    """
    points = landscape.at(points)
    for number, width in enumerate(widths):
        smooth = landscape.rounded(width)
        least = max(ACCURACY * width, tolerance / 100)
        points = find_critical_points(smooth, points, tolerance=least, cycles=cycles, bent=False, loop=loop).points
        progress((number + 1) / len(widths))
    return points


@dataclass(frozen=True)
class Kinks:
    """What lies near each point; a *kink* is a hidden unit whose input is zero at a sample.

    Attributes:
        near: [point], how many kinks are within reach.
        distance: [point], the smallest absolute input of any hidden unit at any sample.
        gradient_norms: [point], of PyTorch's gradient, in which a unit at its kink is off.
        jump: [point], norm of the change of the gradient when all units within reach are switched from off to on.
        subgradient_norms: [point], norm of the gradient in which these units are on in part. Where it is zero, the
            gradient is not, and it jumps, the loss has a stationary point at which no gradient vanishes.

    Slopes that are chosen for each unit and sample on its own give an element of a conservative field (Bolte and
    Pauwels 2020); it is one of Clarke's (1975) subgradients where the kinks within reach move independently with the
    parameters.
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
        reach: in units of the inputs of the hidden units; not the same after a layer was rescaled.

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
