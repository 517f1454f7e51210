"""Random vectors with which matrices are probed."""

import numpy as np
import torch
from torch import Tensor

from whydeep.errors import SettingError


def random_signs(probes: int, size: int, seed: int) -> Tensor:
    """Draw vectors whose elements are +1 or -1 with equal chance: [probe, size], float64.

    The first ones do not depend on how many are drawn.
    """
    if probes < 1:
        raise SettingError(f"probes must be 1 or more, not {probes}")
    signs = [np.random.default_rng((seed, probe)).integers(0, 2, size) for probe in range(probes)]
    return torch.from_numpy(np.stack(signs) * 2.0 - 1.0)
