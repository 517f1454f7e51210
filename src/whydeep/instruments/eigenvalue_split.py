"""How many eigenvalues of a Hessian are positive, zero and negative."""

from dataclasses import dataclass

import torch
from torch import Tensor

EIGENVALUE_TOLERANCE = 1e-6
"""Eigenvalues up to this share of the largest absolute one count as zero."""


@dataclass(frozen=True)
class EigenvalueSplit:
    """Shares of eigenvalues, each [...]; positive, zero and negative sum to one.

    Attributes:
        positive: the minimal ratio with a tolerance; the index of a critical point is the negative share.
        strict: the minimal ratio as often defined, the share above exactly 0. Each active ReLU has an eigenvalue of
        exactly
            zero by its rescaling symmetry, so that rounding decides this number.
    """

    positive: Tensor
    zero: Tensor
    negative: Tensor
    strict: Tensor
    tolerance: float


def split_eigenvalues(eigenvalues: Tensor, tolerance: float = EIGENVALUE_TOLERANCE) -> EigenvalueSplit:
    """Split eigenvalues [..., size] by sign; those within tolerance * largest absolute value are zero.

    >>> import torch
    >>> split = split_eigenvalues(torch.tensor([[-1.0, 1.0], [0.0, 2.0]]))  # saddle, minimum
    >>> split.positive.tolist(), split.negative.tolist(), split.strict.tolist()
    ([0.5, 0.5], [0.5, 0.0], [0.5, 0.5])
    """
    level = tolerance * eigenvalues.abs().amax(-1, keepdim=True)

    def share(chosen: Tensor) -> Tensor:
        return chosen.to(eigenvalues.dtype).where(eigenvalues.isfinite(), torch.nan).mean(-1)

    return EigenvalueSplit(
        positive=share(eigenvalues > level),
        zero=share(eigenvalues.abs() <= level),
        negative=share(eigenvalues < -level),
        strict=share(eigenvalues > 0),
        tolerance=tolerance,
    )
