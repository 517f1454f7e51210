"""What the numbers of inputs mean: one scale for both splits, or none."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from whydeep.errors import DataError

MOST_VALUES = 2**30
"""Numbers in the inputs of a data set, both splits together; they take 4 GiB."""

UNLIKE = 8.0
"""Splits whose largest and mean magnitudes both differ by this factor are not scaled alike."""

BEYOND_UNIT = 100.0
"""Nor are splits of which one stays within 1 and the other reaches this, such as per cent or bytes beside shares."""

SHARE_OF_NEGATIVES = 0.01
"""Where so many inputs of a split are negative and none of the other, only one of them was standardised or shifted."""

DARK, GLARING = 0.25, 1000.0
"""Where the largest magnitude of scaled inputs is less, or more, networks train badly."""

SAMPLED_VALUES = 2**22
"""Means are taken over about so many, in samples that are spread evenly."""


@dataclass(frozen=True)
class Scaling:
    """How inputs are scaled.

    Attributes:
        divisor: of all inputs of both splits.
        depends_on_values: whether it follows from the inputs, not from their type alone.
        description: in one phrase.
        notice: a sentence where networks will hardly learn from them.
    """

    divisor: float
    depends_on_values: bool
    description: str
    notice: str = ""


@dataclass(frozen=True)
class _Values:
    low: float
    high: float
    mean: float
    negative: float

    @property
    def magnitude(self) -> float:
        return max(-self.low, self.high)

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}"


def check_size(origin: object, values: int) -> None:
    """Raise `DataError` if the inputs of a data set are more than fit into memory anywhere."""
    if values > MOST_VALUES:
        raise DataError(
            f"{origin}: has {values:,} numbers, and at most {MOST_VALUES:,} are read: give fewer or smaller samples"
        )


def check_inputs(origin: str, split: str, inputs: np.ndarray) -> None:
    """Raise `DataError` if inputs are not [sample, feature ...], numbers, and finite in float32."""
    if inputs.ndim < 2 or len(inputs) == 0 or prod(inputs.shape[1:]) == 0:
        raise DataError(f"{origin}: {split} inputs have shape {inputs.shape}, expected (samples, features ...), none 0")
    if inputs.dtype.kind not in "buif":
        raise DataError(f"{origin}: {split} inputs are {inputs.dtype}, not numbers")
    largest = np.finfo(np.float32).max
    if inputs.dtype.kind == "f" and not (-largest <= inputs.min() and inputs.max() <= largest):  # false for NaN
        raise DataError(f"{origin}: {split} inputs hold values that are not finite in float32")


def choose_scaling(origin: str, train: np.ndarray, test: np.ndarray) -> Scaling:
    """Decide from the type and the range of both splits what all inputs are divided by.

    Bytes (uint8) are divided by 255, whatever values they have. Other numbers of which none exceeds 1 in magnitude, and
    floats of which some are negative, as those that were standardised, stay as they are. All others are divided by the
    largest magnitude of both splits.

    Args:
        train, test: inputs [sample, ...] that `check_inputs` accepts.

    Raises:
        DataError: only one split is of bytes, or one is evidently scaled in another way than the other.

    >>> choose_scaling("here", np.array([[0, 4095]], np.uint16), np.array([[7, 3000]], np.uint16)).description
    'inputs divided by 4095, the largest of both splits'
    """
    splits = _values(train), _values(test)
    if (train.dtype == np.uint8) != (test.dtype == np.uint8):
        raise DataError(
            f"{origin}: training inputs are {train.dtype} {splits[0]} and test inputs {test.dtype} {splits[1]}: save "
            "both in one type, as bytes (uint8) are divided by 255 and other numbers by their largest"
        )
    if _are_unlike(*splits):
        raise DataError(
            f"{origin}: training inputs go {splits[0]} and test inputs {splits[1]}: scale both splits in the same way"
        )
    low, high = min(split.low for split in splits), max(split.high for split in splits)
    largest = max(-low, high)
    if train.dtype == np.uint8:
        scaling = Scaling(255, False, "bytes divided by 255")
    elif largest > 1 and (low >= 0 or "f" not in (train.dtype.kind, test.dtype.kind)):
        scaling = Scaling(largest, True, f"inputs divided by {largest:.10g}, the largest of both splits")
    else:
        scaling = Scaling(1, False, f"inputs as they are, from {low:g} to {high:g}")
    return replace(scaling, notice=_choose_notice(train, largest, largest / scaling.divisor))


def _choose_notice(train: np.ndarray, largest: float, scaled: float) -> str:
    """Return a sentence where networks will hardly learn from inputs of these magnitudes, before and after scaling."""
    if all(np.array_equal(sample, train[0]) for sample in train):
        return "All training samples are equal: nothing can be learned from them."
    if scaled < DARK and train.dtype == np.uint8:
        return (
            f"Bytes are divided by 255, and none exceeds {largest:g}, so that networks see them as nearly black: save "
            "them as another type of integers, which is divided by its largest."
        )
    if scaled < DARK or scaled > GLARING:
        trouble = "see them as nearly black" if scaled < DARK else "train badly"
        return f"Inputs reach {largest:g} in magnitude, so that networks {trouble}: scale them to about 1."
    return ""


def _values(inputs: np.ndarray) -> _Values:
    some = inputs[:: max(1, inputs.size // SAMPLED_VALUES)].astype(np.float32)
    return _Values(
        float(inputs.min()), float(inputs.max()), float(np.abs(some).mean(dtype=np.float64)), float((some < 0).mean())
    )


def _are_unlike(train: _Values, test: _Values) -> bool:
    """Whether two splits are evidently scaled or shifted in different ways, and not of different samples alone."""
    small, large = sorted((train.magnitude, test.magnitude))
    low_mean, high_mean = sorted((train.mean, test.mean))
    stretched = large >= UNLIKE * small and high_mean >= UNLIKE * low_mean and large > 0
    beyond_unit = small <= 1 and large >= BEYOND_UNIT
    shifted = any(a.negative >= SHARE_OF_NEGATIVES and b.low >= 0 for a, b in ((train, test), (test, train)))
    return stretched or beyond_unit or shifted
