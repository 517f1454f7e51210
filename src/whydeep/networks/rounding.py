"""ReLU networks whose corners are rounded, so that their loss is smooth across kinks."""

import math

import torch
from torch import Tensor, nn

from whydeep.errors import SettingError
from whydeep.networks.functional import copied


class RoundedReLU(nn.Module):
    """A ReLU whose corner is a parabola: (x + w)^2 / (4 w) for abs(x) < w, and exactly ReLU elsewhere.

    Its slope goes from 0 to 1 within abs(x) < w: at a kink of the ReLU it takes whichever value of the
    subdifferential balances the loss. The function lies at most w / 4 above the ReLU.

    Args:
        width: w, in units of the input; above 0.

    Raises:
        SettingError: another width.

    >>> RoundedReLU(0.5)(torch.tensor([-1.0, 0.0, 1.0])).tolist()
    [0.0, 0.125, 1.0]
    """

    def __init__(self, width: float):
        super().__init__()
        if not 0 < width < math.inf:
            raise SettingError(f"the width of a rounded corner must be above 0, not {width:g}")
        self.width = width

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply it to every element."""
        near = inputs.abs() < self.width
        return torch.where(near, self.slope(inputs).square() * self.width, torch.relu(inputs))

    def slope(self, inputs: Tensor) -> Tensor:
        """First derivative at every element."""
        return ((inputs + self.width) / (2 * self.width)).clamp(0, 1)

    def extra_repr(self) -> str:
        """Show the width."""
        return f"width={self.width!r}"


def rounded(module: nn.Module, width: float) -> nn.Module:
    """Return a copy of a module in which every `nn.ReLU` is a `RoundedReLU` of this width."""
    smooth = copied(module)
    if type(smooth) is nn.ReLU:
        return RoundedReLU(width)
    for name, child in list(smooth.named_modules(remove_duplicate=False)):
        if type(child) is nn.ReLU:
            smooth.set_submodule(name, RoundedReLU(width))
    return smooth
