"""Labels that are replaced by chance."""

import numpy as np
import torch
from torch import Tensor

from whydeep.errors import SettingError


def noisy_labels(labels: Tensor, classes: int, fraction: float, generator: np.random.Generator | int) -> Tensor:
    """Replace a fraction of the labels by uniformly random classes (Zhang et al. 2017, "partially corrupted labels").

    Exactly ``round(fraction * len(labels))`` labels are drawn anew, so that about one in `classes` of these is right
    by chance. Called once, before training, these labels can be learned by heart. Called again with another generator
    for every epoch, in which each sample is seen once, every batch meets new labels, and nothing can be learned but
    their distribution: the control.

    Args:
        labels: [sample] class numbers; they are left as they are.
        classes: how many classes there are.
        fraction: from 0 (none) to 1 (all).
        generator: of numpy, or its seed.

    Returns:
        New labels [sample], of the same type and on the same device.

    Raises:
        SettingError: labels that are no class numbers, a fraction outside [0, 1], or no generator.

    >>> noisy_labels(torch.zeros(8, dtype=torch.int64), 10, 0.5, 0).tolist()
    [0, 0, 1, 6, 8, 0, 9, 0]
    """
    if labels.ndim != 1 or labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise SettingError(f"labels must be class numbers [sample], not {labels.dtype} of shape {tuple(labels.shape)}")
    if not 0 <= fraction <= 1:
        raise SettingError(f"the fraction of labels to replace must lie between 0 and 1, and is {fraction}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise SettingError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, expected 0 to {classes - 1}: give the "
            "number of classes there are"
        )
    if classes - 1 > torch.iinfo(labels.dtype).max:
        raise SettingError(f"{classes} classes do not fit into {labels.dtype}: give labels as torch.int64")
    if not isinstance(generator, np.random.Generator | int) or (isinstance(generator, int) and generator < 0):
        raise SettingError(f"the generator must be one of numpy, or a seed of 0 or more, not {generator!r}")
    generator = np.random.default_rng(generator)
    places = generator.permutation(len(labels))[: round(fraction * len(labels))]
    noisy = labels.clone()
    drawn = torch.from_numpy(generator.integers(classes, size=len(places)))
    noisy[torch.from_numpy(places).to(labels.device)] = drawn.to(labels)
    return noisy
