"""Labelled images, or feature vectors, split into training and test."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from whydeep import notebook
from whydeep.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a network learns to classify.

    Samples are in the order of the file, unless that is class by class: then they are mixed, so that the first so many
    samples are of all classes.

    Attributes:
        name: for people, such as "MNIST".
        train_inputs, test_inputs: [sample, feature] float32; images are flattened, and bytes scaled to [0, 1].
        train_labels, test_labels: [sample] int64, numbers of classes.
        input_shape: shape of one sample before it was flattened.
        class_names: what each label stands for.
        origin: where it came from, in one phrase.
        notice: a sentence to show wherever results are shown, when this is not quite what one expects.
        fingerprint: 16 hex digits of inputs, shape, labels and number of classes. Bytes, and the float32 that
            other numbers become, have the same one whatever kind of file they came from.
    """

    name: str
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    origin: str
    fingerprint: str
    notice: str = ""

    @property
    def features(self) -> int:
        """Numbers in one sample."""
        return self.train_inputs.shape[1]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def __repr__(self) -> str:
        return (
            f"Dataset {self.name}: {len(self.train_labels):,} training and {len(self.test_labels):,} test samples of "
            f"shape {self.input_shape}, {self.classes} classes ({self.origin})"
        )

    def _repr_html_(self) -> str:
        return notebook.table(
            f"Dataset {self.name}",
            [
                ("training samples", f"{len(self.train_labels):,}"),
                ("test samples", f"{len(self.test_labels):,}"),
                ("shape", self.input_shape),
                ("classes", ", ".join(self.class_names[:20])),
                ("origin", self.origin),
                *([("notice", self.notice)] if self.notice else []),
            ],
        )

    def subset(self, train: int, test: int) -> "Dataset":
        """Return the first samples of both splits, all where there are fewer."""
        return replace(
            self,
            train_inputs=self.train_inputs[:train],
            train_labels=self.train_labels[:train],
            test_inputs=self.test_inputs[:test],
            test_labels=self.test_labels[:test],
        )


def make_dataset(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    origin: str,
    class_names: Sequence[str],
    notice: str = "",
    scale: float | None = None,
) -> Dataset:
    """Check inputs and labels and make a data set of them.

    Args:
        train, test: inputs [sample, ...] and labels [sample], class numbers from 0.
        origin: the file or folder; errors name it.
        scale: what inputs are divided by; by default 255 for bytes and 1 for everything else.

    Raises:
        DataError: one line that names the origin and what is wrong with it.
    """
    for split, (inputs, labels) in (("training", train), ("test", test)):
        _check_split(origin, split, inputs, labels, len(class_names))
    train, test = _mixed(*train), _mixed(*test)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{origin}: training samples have shape {train[0].shape[1:]} and test samples {test[0].shape[1:]}; "
            "they must have the same"
        )
    if len(class_names) < 2:
        raise DataError(f"{origin}: there is only one class; at least two are needed")
    shape = tuple(train[0].shape[1:])
    digest = hashlib.sha256(repr((shape, len(class_names))).encode())

    def tensors(inputs: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        plain = inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)
        classes = labels.astype("<i8")
        for array in (plain, classes):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        values = torch.from_numpy(plain.reshape(len(plain), -1).astype(np.float32, copy=plain is inputs))
        divisor = scale or (255 if plain.dtype == np.uint8 else 1)
        return values if divisor == 1 else values.div_(divisor), torch.from_numpy(classes)

    train_inputs, train_labels = tensors(*train)
    test_inputs, test_labels = tensors(*test)
    return Dataset(
        name=name,
        train_inputs=train_inputs,
        train_labels=train_labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        input_shape=shape,
        class_names=tuple(class_names),
        origin=origin,
        fingerprint=digest.hexdigest()[:16],
        notice=notice,
    )


def _mixed(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mix samples that come class by class, always in the same way."""
    if np.count_nonzero(np.diff(labels)) >= len(np.unique(labels)):
        return inputs, labels
    order = np.random.default_rng(0).permutation(len(labels))
    return inputs[order], labels[order]


def _check_split(origin: str, split: str, inputs: np.ndarray, labels: np.ndarray, classes: int) -> None:
    if inputs.ndim < 2 or len(inputs) == 0 or prod(inputs.shape[1:]) == 0:
        raise DataError(f"{origin}: {split} inputs have shape {inputs.shape}, expected (samples, features ...), none 0")
    if labels.shape != (len(inputs),):
        raise DataError(f"{origin}: {len(inputs)} {split} inputs have labels of shape {labels.shape}")
    if inputs.dtype.kind not in "buif":
        raise DataError(f"{origin}: {split} inputs are {inputs.dtype}, not numbers")
    if inputs.dtype.kind == "f" and not (np.abs(inputs) <= np.finfo(np.float32).max).all():  # false for NaN
        raise DataError(f"{origin}: {split} inputs hold values that are not finite in float32")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{origin}: {split} labels go from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}"
        )
