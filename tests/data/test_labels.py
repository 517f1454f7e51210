"""From labels of any kind to class numbers: said, or refused in a line."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.data.dataset import make_dataset
from whydeep.errors import DataError


def made(train, test):
    train, test = np.asarray(train), np.asarray(test)
    inputs = [np.ones((max(1, len(labels)), 1)) for labels in (train, test)]
    return make_dataset("mine", (inputs[0], train), (inputs[1], test), origin="here")


def problem(train, test):
    with pytest.raises(DataError) as error:
        made(train, test)
    text = str(error.value)
    assert text.startswith("here: ")
    assert "\n" not in text
    return text.removeprefix("here: ")


LETTERS = np.arange(52) % 26 + 1
CLASSES = np.array([0, 1, 2, 1])
ACCEPTED = {
    # labels of training: (labels, class numbers, names of classes, what is said after the scale)
    "class numbers": (CLASSES, CLASSES, "0 1 2", ""),
    "bytes": (CLASSES.astype(np.uint8), CLASSES, "0 1 2", ""),
    "floats": (CLASSES.astype(np.float32), CLASSES, "0 1 2", ", labels of float32"),
    "a column": (CLASSES.reshape(4, 1), CLASSES, "0 1 2", ", labels in a column"),
    "a column of floats": (CLASSES.reshape(4, 1) / 1.0, CLASSES, "0 1 2", ", labels in a column, labels of float64"),
    "one-hot": (np.eye(3)[CLASSES], CLASSES, "0 1 2", ", one-hot labels"),
    "one-hot bools": (np.eye(3, dtype=bool)[CLASSES], CLASSES, "0 1 2", ", one-hot labels"),
    "one-hot of two": (np.eye(2)[[0, 1, 1, 0]], [0, 1, 1, 0], "0 1", ", one-hot labels"),
    "one-hot, one never occurs": (
        np.eye(4)[CLASSES + 1], CLASSES, "1 2 3", ", one-hot labels, labels 1 to 3 as classes 0 to 2"
    ),
    "letters": (LETTERS, LETTERS - 1, " ".join(map(str, range(1, 27))), ", labels 1 to 26 as classes 0 to 25"),
    "minus one and one": ([-1, 1, 1, -1], [0, 1, 1, 0], "-1 1", ", labels -1, 1 as classes 0 to 1"),
    "one that never occurs": ([0, 9, 9, 0], [0, 1, 1, 0], "0 9", ", labels 0, 9 as classes 0 to 1"),
    "many that never occur": (
        [0, 2, 4, 6, 8, 10] * 2, [*range(6)] * 2, "0 2 4 6 8 10", ", labels 0, 2, 4, 6 ... 10 as classes 0 to 5"
    ),
    "huge": (
        [2**40, 2**53, -(2**53)] * 2, [1, 2, 0] * 2, f"{-(2**53)} {2**40} {2**53}",
        f", labels {-(2**53)}, {2**40}, {2**53} as classes 0 to 2",
    ),
    "bools": ([True, False, True], [1, 0, 1], "0 1", ", labels of bool"),
    "texts": (["dog", "cat", "eel", "cat"], [1, 0, 2, 0], "cat dog eel", ""),
    "a column of texts": ([["dog"], ["cat"]], [1, 0], "cat dog", ", labels in a column"),
}  # fmt: skip


@pytest.mark.parametrize("what", ACCEPTED)
def test_labels_of_any_kind_become_class_numbers(what):
    labels, classes, names, said = ACCEPTED[what]
    data = made(labels, labels)
    assert data.train_labels.tolist() == list(classes)
    assert data.test_labels.tolist() == list(classes)
    assert data.class_names == tuple(names.split())
    assert data.preprocessing == f"inputs as they are, from 1 to 1{said}"


@given(st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=30), st.data())
def test_equal_labels_are_equal_classes_and_names_say_which(labels, draw):
    if len(set(labels)) < 2:
        return
    dtypes = ["i8", "f8", *(["i4"] if max(map(abs, labels)) < 2**31 else []), *(["u8"] if min(labels) >= 0 else [])]
    train, test = (np.array(labels, dtype=draw.draw(st.sampled_from(dtypes))) for _ in range(2))
    data = make_dataset("mine", (np.eye(len(labels)), train), (np.eye(len(labels)), test[::-1]), origin="here")
    for classes, given_labels in ((data.train_labels, labels), (data.test_labels, labels[::-1])):
        named = sorted(zip(classes.tolist(), [int(data.class_names[label]) for label in classes], strict=True))
        assert sorted(name for _, name in named) == sorted(given_labels)
        assert len({*named}) == len({*labels}) == data.classes


@pytest.mark.parametrize("name", ["café", "Å", "가"])
def test_one_name_in_two_forms_of_unicode_is_one_class(name):
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    data = made([forms[0], "dog"], [forms[1], "dog"])
    assert data.class_names == tuple(sorted(("dog", forms[0])))
    assert data.train_labels.tolist() == data.test_labels.tolist()
    assert made([*forms, "dog"], [forms[1]]).classes == 2


ANY = "give whole numbers or texts of shape (n,), or one-hot rows"
REFUSED = {
    "not a number": ([0, 1, np.nan], [0], f"training labels are float64 of shape (3,), and hold nan: {ANY}"),
    "infinite": ([0, 1, -np.inf], [0], f"training labels are float64 of shape (3,), and hold -inf: {ANY}"),
    "fractions": ([0, 1, 0.5], [0], f"training labels are float64 of shape (3,), and hold 0.5: {ANY}"),
    "fractions in test": ([0, 1], [0, 0.25], f"test labels are float64 of shape (2,), and hold 0.25: {ANY}"),
    "beyond floats": ([0, 2**60], [0], f"training labels are int64 of shape (2,), and hold {2**60}: {ANY}"),
    "beyond int64": (
        np.array([0, 2**64 - 1], np.uint64), [0], f"training labels are uint64 of shape (2,), and hold {2**64 - 1}: {ANY}"
    ),
    "infinite floats": ([0, 1e300], [0], f"training labels are float64 of shape (2,), and hold 1e+300: {ANY}"),
    "complex": ([0, 1j], [0], f"training labels are complex128 of shape (2,): {ANY}"),
    "objects": (np.array([0, "a"], object), [0], f"training labels are object of shape (2,): {ANY}"),
    "bytes of texts": ([b"a", b"b"], [b"a"], f"training labels are |S1 of shape (2,): {ANY}"),
    "dates": (np.array([0, 1], "M8[s]"), [0], f"training labels are datetime64[s] of shape (2,): {ANY}"),
    "several labels each": ([[1, 0, 1], [0, 1, 0]], [[1, 0, 1]], f"training labels are int64 of shape (2, 3): {ANY}"),
    "probabilities": ([[0.5, 0.5], [0, 1]], [[0.5, 0.5]], f"training labels are float64 of shape (2, 2): {ANY}"),
    "three dimensions": (np.zeros((2, 1, 1)), [0], f"training labels are float64 of shape (2, 1, 1): {ANY}"),
    "no characters": (
        np.array([0x110000, 65], np.uint32).view("U1"), ["A"],
        f"training labels are <U1 of shape (2,), and are not Unicode: {ANY}",
    ),
    "one-hot and not": (
        np.eye(3), [0, 1, 2],
        "training labels have shape (3, 3) and test labels (3,): give both one-hot, with the same classes, or neither",
    ),
    "one-hot of other widths": (
        np.eye(3), np.eye(4),
        "training labels have shape (3, 3) and test labels (4, 4): give both one-hot, with the same classes, or neither",
    ),
    "texts and numbers": (["a", "b"], [0], "training labels are <U1 and test labels int64: save both as one"),
    "lacking in training": ([0, 1, 3], [0, 2], "test has the class 2, which training lacks"),
    "texts lacking in training": (["a", "b"], ["a", "c"], "test has the class c, which training lacks"),
    "one class": ([1, 1], [1], "there is only one class; at least two are needed"),
    "measured values": (
        np.arange(100_000), [0],
        "has 100,000 classes, and at most 1,000 are accepted: labels must be classes, not measured values or numbers "
        "of samples",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_labels_that_are_no_classes(what):
    train, test, message = REFUSED[what]
    assert problem(train, test) == message


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_there_is_a_label_for_each_sample(count):
    inputs, labels = np.arange(8.0).reshape(4, 2), np.arange(4)
    with pytest.raises(DataError) as error:
        make_dataset("mine", (inputs, labels), (inputs, np.arange(count)), origin="here")
    assert str(error.value) == f"here: 4 test inputs have labels of shape ({count},)"


def test_names_of_classes_are_shown_in_one_line():
    assert made(["a\nb", "c\udce9"], ["a\nb"]).class_names == ("a\\nb", "c\\udce9")
