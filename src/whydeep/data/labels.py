"""From labels of any kind to class numbers."""

import unicodedata

import numpy as np

from whydeep.errors import DataError

MOST_CLASSES = 1000
"""Networks have an output for each; labels that have more values are rarely classes."""

LARGEST = 2**53
"""Beyond, floats no longer tell whole numbers apart."""

LONGEST_NAME = 60
"""Characters of a label that a message shows."""

FEW = 4
"""Names of classes that a sentence lists."""


def number_classes(
    origin: str, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Turn labels into class numbers: the labels that training has, in increasing order.

    Labels are whole numbers of any type, texts, or one-hot rows, [sample] or [sample, 1].

    Returns:
        Training and test labels [sample] as int64; the name of each class; what was done, in phrases.

    Raises:
        DataError: labels of another kind, of which test has some that training lacks, or too few or too many classes.

    >>> number_classes("here", np.array([1, 3, 1]), np.array([[3.0], [1.0]]))
    (array([0, 1, 0]), array([1, 0]), ['1', '3'], ['labels 1, 3 as classes 0 to 1'])
    """
    one_hot = _is_one_hot(train)
    if one_hot != _is_one_hot(test) or (one_hot and train.shape[1] != test.shape[1]):
        raise DataError(
            f"{origin}: training labels have shape {train.shape} and test labels {test.shape}: give both one-hot, with "
            "the same classes, or neither"
        )
    train_labels, test_labels = (
        labels.argmax(1) if one_hot else _plain_labels(origin, split, labels)
        for split, labels in (("training", train), ("test", test))
    )
    if train_labels.dtype.kind != test_labels.dtype.kind:
        raise DataError(f"{origin}: training labels are {train.dtype} and test labels {test.dtype}: save both as one")
    names, numbers = np.unique(train_labels, return_inverse=True)
    unknown = np.setdiff1d(test_labels, names)
    if unknown.size:
        raise DataError(f"{origin}: test has the class {str(unknown[0])[:LONGEST_NAME]}, which training lacks")
    if len(names) < 2:
        raise DataError(f"{origin}: there is only one class; at least two are needed")
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{origin}: has {len(names):,} classes, and at most {MOST_CLASSES:,} are accepted: labels must be classes, "
            "not measured values or numbers of samples"
        )
    done = ["one-hot labels"] if one_hot else ["labels in a column"] if train.ndim == 2 else []
    if train.dtype.kind in "bf" and not one_hot:
        done.append(f"labels of {train.dtype}")
    if names.dtype.kind == "i" and not np.array_equal(names, np.arange(len(names))):
        done.append(f"labels {_listed(names)} as classes 0 to {len(names) - 1}")
    return numbers, np.searchsorted(names, test_labels), [str(name) for name in names], done


def _is_one_hot(labels: np.ndarray) -> bool:
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "buif":
        return False
    return bool(((labels == 0) | (labels == 1)).all() and (np.count_nonzero(labels, axis=1) == 1).all())


def _plain_labels(origin: str, split: str, labels: np.ndarray) -> np.ndarray:
    """Return labels [sample] as int64, or as texts in one form of Unicode."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    given = f"{origin}: {split} labels are {labels.dtype} of shape {labels.shape}"
    accepted = "give whole numbers or texts of shape (n,), or one-hot rows"
    if labels.ndim != 1 or labels.dtype.kind not in "buifU":
        raise DataError(f"{given}: {accepted}")
    if labels.dtype.kind == "U":
        names, numbers = np.unique(labels, return_inverse=True)
        try:
            return np.array([unicodedata.normalize("NFC", str(name)) for name in names], dtype=str)[numbers]
        except (ValueError, SystemError):  # numpy stores numbers that stand for no character
            raise DataError(f"{given}, and are not Unicode: {accepted}") from None
    whole = (labels >= -LARGEST) & (labels <= LARGEST)  # false for NaN
    if labels.dtype.kind == "f":
        whole &= np.floor(labels) == labels
    if not whole.all():
        raise DataError(f"{given}, and hold {labels[~whole][0]}: {accepted}")
    return labels.astype(np.int64)


def _listed(names: np.ndarray) -> str:
    if names[-1] - names[0] == len(names) - 1:
        return f"{names[0]} to {names[-1]}"
    return ", ".join(map(str, names[:FEW])) + (f" ... {names[-1]}" if len(names) > FEW else "")
