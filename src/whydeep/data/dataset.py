"""Labelled images, or feature vectors, split into training and test."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whydeep import notebook
from whydeep.data.inputs import check_inputs, check_size, choose_scaling
from whydeep.data.labels import number_classes
from whydeep.errors import DataError, printable


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a network learns to classify.

    Samples are in the order of the file, unless that is class by class: then they are mixed, so that the first so many
    samples are of all classes.

    Attributes:
        name: for people, such as "MNIST".
        train_inputs, test_inputs: [sample, feature] float32; images are flattened, and scaled as `preprocessing` says.
        train_labels, test_labels: [sample] int64, numbers of classes.
        input_shape: shape of one sample before it was flattened.
        class_names: what each label stands for.
        origin: where it came from, in one phrase.
        notice: a sentence to show wherever results are shown, when this is not quite what one expects.
        fingerprint: 16 hex digits of inputs, shape, scale, labels and number of classes. Bytes, and the float32 that
            other numbers become, have the same one whatever kind of file they came from.
        preprocessing: what was done to inputs and labels, in phrases.
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
    preprocessing: str = ""
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
                ("preprocessing", self.preprocessing),
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
    preprocessing: Sequence[str] = (),
    notice: str = "",
    divisor: float | None = None,
) -> Dataset:
    """Check inputs and labels and make a data set of them.

    Args:
        train, test: inputs [sample, ...] and labels of each sample, as `number_classes` takes them.
        origin: the file or folder; errors name it.
        preprocessing: what the caller did to them, in phrases.
        divisor: of all inputs; by default as `choose_scaling` says.

    Raises:
        DataError: one line that names the origin and what is wrong with it.
    """
    for split, (inputs, labels) in (("training", train), ("test", test)):
        check_inputs(origin, split, inputs)
        if labels.shape[:1] != (len(inputs),):
            raise DataError(f"{origin}: {len(inputs)} {split} inputs have labels of shape {labels.shape}")
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{origin}: training samples have shape {train[0].shape[1:]} and test samples {test[0].shape[1:]}; "
            "they must have the same"
        )
    check_size(origin, train[0].size + test[0].size)
    scaling = choose_scaling(origin, train[0], test[0])
    train_classes, test_classes, class_names, numbered = number_classes(origin, train[1], test[1])
    shape = tuple(train[0].shape[1:])
    digest = hashlib.sha256(repr((shape, len(class_names))).encode())

    def tensors(inputs: np.ndarray, classes: np.ndarray) -> tuple[Tensor, Tensor]:
        inputs, classes = _mixed(inputs, classes)
        plain = inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)
        for array in (plain, classes):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        values = torch.from_numpy(plain.reshape(len(plain), -1).astype(np.float32, copy=plain is inputs))
        by = divisor or scaling.divisor
        return values if by == 1 else values.div_(by), torch.from_numpy(classes)

    train_inputs, train_labels = tensors(train[0], train_classes.astype("<i8"))
    test_inputs, test_labels = tensors(test[0], test_classes.astype("<i8"))
    if divisor is None and scaling.depends_on_values:  # bytes always had 255, and other numbers none
        digest.update(repr(scaling.divisor).encode())
    scaled = scaling.description if divisor is None else f"inputs divided by {divisor:g}"
    return Dataset(
        name=printable(name),
        train_inputs=train_inputs,
        train_labels=train_labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        input_shape=shape,
        class_names=tuple(map(printable, class_names)),
        origin=printable(origin),
        fingerprint=digest.hexdigest()[:16],
        preprocessing=printable(", ".join((*preprocessing, scaled, *numbered))),
        notice=printable(" ".join(sentence for sentence in (notice, scaling.notice) if sentence)),
    )


def _mixed(inputs: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mix samples that come class by class, always in the same way."""
    if np.count_nonzero(np.diff(classes)) >= len(np.unique(classes)):
        return inputs, classes
    order = np.random.default_rng(0).permutation(len(classes))
    return inputs[order], classes[order]
