"""Data sets: what they hold, their fingerprints, the digits, and the examples in the documentation."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import whydeep.data
from whydeep.data.dataset import make_dataset
from whydeep.data.digits import digits

BYTES = np.arange(48, dtype=np.uint8).reshape(4, 3, 4)
LABELS = np.array([0, 1, 2, 1])


def made(inputs=BYTES, labels=LABELS, **options):
    return make_dataset("mine", (inputs, labels), (inputs, labels), origin="here", **options)


def test_bytes_are_scaled_and_flattened():
    data = made()
    assert data.train_inputs.dtype == torch.float32
    assert data.train_labels.dtype == torch.int64
    assert (data.features, data.classes, data.input_shape) == (12, 3, (3, 4))
    np.testing.assert_allclose(data.test_inputs, BYTES.reshape(4, 12) / 255, rtol=1e-6)


def test_what_was_given_is_left_alone():
    inputs = np.ones((4, 2), dtype=np.float32)
    data = made(inputs, divisor=2)
    assert (inputs == 1).all()
    assert (data.train_inputs == 0.5).all()
    data.train_inputs.zero_()
    assert (inputs == 1).all()
    read_only = np.frombuffer(bytes(8), np.uint8).reshape(4, 2)
    assert (made(read_only).train_inputs == 0).all()


def test_fingerprints_depend_on_content_alone():
    known = made().fingerprint
    assert len(known) == 16
    assert int(known, 16) >= 0
    assert made(BYTES.copy(order="F")).fingerprint == known
    assert made(labels=LABELS.astype(np.uint8)).fingerprint == known
    assert made(labels=LABELS.astype(">i4")).fingerprint == known
    assert made(labels=LABELS + 1).fingerprint == known
    assert made(labels=np.array(["a", "b", "c", "b"])).fingerprint == known
    assert made(notice="something", preprocessing=["turned"]).fingerprint == known
    single = made(BYTES.astype(np.float32)).fingerprint
    assert made(BYTES.astype(">f8")).fingerprint == single
    assert made(BYTES.astype(np.int64)).fingerprint == single
    changed = BYTES.copy()
    changed[3, 2, 3] += 1
    others = [made(changed), made(BYTES.reshape(4, 12)), made(labels=np.arange(4)), made(labels=LABELS[::-1])]
    assert len({known, single, *(data.fingerprint for data in others)}) == 6


def test_fingerprints_are_those_of_earlier_versions_where_numbers_are():
    """Of bytes, of floats to 1, and of standardised floats; others are scaled since, and have another."""
    floats = np.arange(48).reshape(4, 12) / 64
    assert made().fingerprint == "8e3ba5ba3f500dce"
    assert made(floats).fingerprint == "5b19964b1742d1b0"
    assert made(floats - 0.5).fingerprint == "a9d70250a97d3703"
    assert made(BYTES.astype(np.float32)).fingerprint != "73defc6d523265aa"


def test_a_subset_is_the_first_samples():
    part = made().subset(2, 100)
    assert part.train_labels.tolist() == [0, 1]
    assert part.train_inputs.shape == (2, 12)
    assert len(part.test_labels) == len(part.test_inputs) == 4


@pytest.mark.parametrize("runs", [[0, 1, 2], [2, 0, 1]])
def test_samples_that_come_class_by_class_are_mixed(runs):
    labels = np.repeat(runs, 200)
    inputs = np.arange(600, dtype=np.float32).reshape(600, 1)
    data, again = (made(inputs, labels, divisor=1) for _ in range(2))
    for split in (data.train_labels, data.subset(60, 60).test_labels, data.test_labels[300:360]):
        shares = np.bincount(split, minlength=3) / len(split)
        assert (shares > 0.15).all()
    assert sorted(data.train_inputs[:, 0].tolist()) == inputs[:, 0].tolist()
    assert data.train_labels.tolist() == labels[data.train_inputs[:, 0].int().numpy()].tolist()
    assert torch.equal(again.train_inputs, data.train_inputs)


def test_other_samples_stay_in_order():
    labels = np.array([0, 1, 1, 2, 0, 2])
    assert made(BYTES[[0] * 6], labels).train_labels.tolist() == labels.tolist()


def test_digits_are_stratified_and_whole():
    data = digits("a notice")
    assert (len(data.train_labels), len(data.test_labels)) == (1442, 355)
    assert (data.features, data.classes, data.input_shape, data.notice) == (64, 10, (8, 8), "a notice")
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert (np.abs(test / (train + test) - 0.2) < 0.01).all()
    assert data.train_inputs.min() == 0
    assert data.train_inputs.max() == 1
    everything = torch.cat([data.train_inputs, data.test_inputs]).numpy() * 16
    original = load_digits(return_X_y=True)[0]
    np.testing.assert_array_equal(np.sort(everything.sum(1)), np.sort(original.sum(1)))
    assert data.fingerprint == digits().fingerprint == "9980130180e7e921"


def test_examples_in_the_documentation():
    for module in pkgutil.iter_modules(whydeep.data.__path__, "whydeep.data."):
        assert doctest.testmod(importlib.import_module(module.name)).failed == 0
