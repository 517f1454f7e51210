"""Label noise: as many labels as asked for are drawn anew, uniformly, and the rest stays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from whydeep.data import noisy_labels
from whydeep.errors import SettingError

CLASSES = 10


def balanced(samples=20_000, classes=CLASSES):
    return torch.arange(samples) % classes


@given(st.integers(0, 60), st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=60, derandomize=True)
def test_exactly_the_rounded_fraction_is_drawn_anew(samples, fraction, seed):
    """Shown by classes so many that no label is drawn right by chance."""
    labels = torch.zeros(samples, dtype=torch.int64)
    found = noisy_labels(labels, 2**40, fraction, seed)
    assert int((found != 0).sum()) == round(fraction * samples)


def test_which_labels_are_drawn_anew_is_uniform():
    """Each place as often as any other, over many seeds."""
    counts = sum(
        (noisy_labels(torch.zeros(20, dtype=torch.int64), 2**40, 0.25, seed) != 0).long() for seed in range(2000)
    )
    assert int(counts.sum()) == 2000 * 5
    # Five places of one draw exclude each other, which makes the statistic smaller than chi-square, by 15 / 19.
    assert stats.chi2.sf((counts - 500).square().sum().item() / 500 * 19 / 15, 19) > 1e-3


@pytest.mark.parametrize("fraction", [0, 0.0, 1e-6])
def test_no_noise_leaves_every_label(fraction):
    labels = balanced(200)
    found = noisy_labels(labels, CLASSES, fraction, 0)
    assert torch.equal(found, labels)
    assert found.data_ptr() != labels.data_ptr()


@pytest.mark.parametrize("fraction", [0.3, 1])
def test_one_in_as_many_as_there_are_classes_is_right_by_chance(fraction):
    """Drawing only wrong classes, the usual other definition, would leave none of them right."""
    labels = balanced()
    redrawn = round(fraction * len(labels))
    wrong = int((noisy_labels(labels, CLASSES, fraction, 1) != labels).sum())
    right = redrawn - wrong
    expected, deviation = redrawn / CLASSES, (redrawn * 0.1 * 0.9) ** 0.5
    assert abs(right - expected) < 4 * deviation
    assert right > 10 * deviation


@pytest.mark.parametrize("truth", [0, 3, CLASSES - 1])
def test_new_labels_are_uniform_whatever_the_old_ones_were(truth):
    found = noisy_labels(torch.full((20_000,), truth), CLASSES, 1, 2)
    assert stats.chisquare(np.bincount(found.numpy(), minlength=CLASSES)).pvalue > 1e-3


def test_new_labels_are_independent_of_the_old():
    labels = balanced()
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (labels.numpy(), noisy_labels(labels, CLASSES, 1, 3).numpy()), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_the_seed_decides():
    labels = balanced(300)
    first, again, other = (noisy_labels(labels, CLASSES, 0.5, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, noisy_labels(labels, CLASSES, 0.5, np.random.default_rng(1)))
    assert not torch.equal(first, other)


def test_a_generator_goes_on_to_new_labels():
    labels, generator = balanced(300), np.random.default_rng(1)
    first, second = (noisy_labels(labels, CLASSES, 0.5, generator) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_given_are_untouched_and_their_type_is_kept(dtype):
    labels = balanced(100).to(dtype)
    kept = labels.clone()
    found = noisy_labels(labels, CLASSES, 1, 0)
    assert torch.equal(labels, kept)
    assert found.dtype == dtype
    assert torch.equal(found.long(), noisy_labels(labels.long(), CLASSES, 1, 0))
    assert 0 <= int(found.min()) <= int(found.max()) < CLASSES


ERRORS = {
    "values": (
        lambda: noisy_labels(torch.zeros(3), CLASSES, 0.5, 0),
        r"labels must be class numbers \[sample\], not torch.float32 of shape \(3,\)",
    ),
    "one-hot": (
        lambda: noisy_labels(torch.zeros(3, 2).long(), CLASSES, 0.5, 0),
        r"labels must be class numbers \[sample\], not torch.int64 of shape \(3, 2\)",
    ),
    "a generator of torch": (
        lambda: noisy_labels(balanced(20), CLASSES, 0.5, torch.Generator()),
        "the generator must be one of numpy, or a seed of 0 or more, not <torch",
    ),
    "seed": (
        lambda: noisy_labels(balanced(20), CLASSES, 0.5, -1),
        "the generator must be one of numpy, or a seed of 0 or more, not -1",
    ),
    "more than all": (
        lambda: noisy_labels(balanced(20), CLASSES, 1.1, 0),
        "the fraction of labels to replace must lie between 0 and 1, and is 1.1",
    ),
    "less than none": (lambda: noisy_labels(balanced(20), CLASSES, -0.1, 0), "must lie between 0 and 1, and is -0.1"),
    "no number": (lambda: noisy_labels(balanced(20), CLASSES, float("nan"), 0), "must lie between 0 and 1, and is nan"),
    "too few classes": (
        lambda: noisy_labels(balanced(20), 9, 0.5, 0),
        "labels go from 0 to 9, expected 0 to 8: give the number of classes there are",
    ),
    "negative": (lambda: noisy_labels(balanced(20) - 1, CLASSES, 0.5, 0), "labels go from -1 to 8, expected 0 to 9"),
}


@pytest.mark.parametrize("given", ERRORS)
def test_what_is_no_label_is_named(given):
    make, message = ERRORS[given]
    with pytest.raises(SettingError, match=message):
        make()
