"""Shares of positive, zero and negative eigenvalues, with a tolerance and without."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.autograd.functional import hessian

from whydeep.instruments import EIGENVALUE_TOLERANCE, split_eigenvalues

SHARES = ("positive", "zero", "negative", "strict")


def shares(eigenvalues, **options):
    split = split_eigenvalues(torch.tensor(eigenvalues, dtype=torch.float64), **options)
    return {name: getattr(split, name).tolist() for name in SHARES}


def hyperbola_eigenvalues(x, y):
    """Of the Hessian of (1 - x y)^2 / 2, by autograd and a dense solver."""
    at = torch.tensor([x, y], dtype=torch.float64)
    return torch.linalg.eigvalsh(hessian(lambda at: (1 - at[0] * at[1]).square() / 2, at)).tolist()


def test_the_tolerant_split_tells_a_saddle_from_a_minimum_which_the_strict_ratio_does_not():
    """Eigenvalues are -1 and 1 at the saddle, x^2 + y^2 and 0 at a minimum."""
    saddle, minimum = shares(hyperbola_eigenvalues(0.0, 0.0)), shares(hyperbola_eigenvalues(2.0, 0.5))
    assert hyperbola_eigenvalues(2.0, 0.5) == pytest.approx([0, 4.25])
    assert saddle == {"positive": 0.5, "zero": 0, "negative": 0.5, "strict": 0.5}
    assert minimum["positive"] == minimum["zero"] == 0.5
    assert minimum["negative"] == 0
    assert shares([0.0, 4.25])["strict"] == saddle["strict"]


def test_rounding_decides_the_strict_ratio_and_not_the_tolerant_one():
    up, down = shares([1e-17, 1.0]), shares([-1e-17, 1.0])
    assert (up["strict"], down["strict"]) == (1, 0.5)
    assert up["positive"] == down["positive"] == 0.5
    assert up["negative"] == down["negative"] == 0


@pytest.mark.parametrize("largest", [1.0, -1.0, 1e-20, -1e20])
@pytest.mark.parametrize(
    ("ratio", "kind"), [(1.01, "positive"), (0.99, "zero"), (0.0, "zero"), (-0.99, "zero"), (-1.01, "negative")]
)
def test_the_tolerance_is_a_share_of_the_largest_absolute_eigenvalue(largest, ratio, kind):
    edge = ratio * EIGENVALUE_TOLERANCE * abs(largest)
    expected = dict.fromkeys(("positive", "zero", "negative"), 0.0)
    expected["positive" if largest > 0 else "negative"] += 0.5
    expected[kind] += 0.5
    found = shares([edge, largest])
    assert {name: found[name] for name in expected} == expected


def test_at_exactly_the_tolerance_an_eigenvalue_is_zero():
    found = shares([0.25, -0.25, 1.0, -1.0], tolerance=0.25)
    assert (found["positive"], found["zero"], found["negative"]) == (0.25, 0.5, 0.25)


def test_no_curvature_is_all_zero():
    assert shares([0.0, -0.0, 0.0]) == {"positive": 0, "zero": 1, "negative": 0, "strict": 0}


def test_every_point_has_its_own_scale_whatever_the_dimensions():
    eigenvalues = [[[1e-9, 1.0]], [[1e-9, 1e-9]]]
    assert shares(eigenvalues)["positive"] == [[0.5], [1.0]]
    assert shares(eigenvalues[1][0])["positive"] == 1


def test_the_tolerance_is_kept_with_the_result():
    assert split_eigenvalues(torch.ones(2)).tolerance == EIGENVALUE_TOLERANCE
    assert split_eigenvalues(torch.ones(2), 0.1).tolerance == 0.1


def test_eigenvalues_that_are_not_numbers_have_no_shares():
    """A network that diverged must not look as if it had no negative curvature; the others keep theirs."""
    found = shares([[np.nan, 1.0], [-1.0, 1.0]])
    for name in SHARES:
        assert np.isnan(found[name][0])
        assert found[name][1] == 0.5 or name == "zero"


@given(
    arrays(float, st.integers(1, 12), elements=st.floats(-1e6, 1e6)),
    st.floats(0, 0.5),
    st.integers(-30, 30),
)
@settings(max_examples=200, derandomize=True)
def test_shares_sum_to_one_and_do_not_depend_on_the_scale(eigenvalues, tolerance, exponent):
    eigenvalues[np.abs(eigenvalues) < 1e-100] = 0
    found = shares(eigenvalues, tolerance=tolerance)
    assert sum(found[name] for name in ("positive", "zero", "negative")) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in found.values())
    assert found["positive"] <= found["strict"] <= found["positive"] + found["zero"] + 1e-12
    assert shares(eigenvalues * 2.0**exponent, tolerance=tolerance) == found
    mirrored = shares(-eigenvalues, tolerance=tolerance)
    assert (mirrored["positive"], mirrored["zero"]) == (found["negative"], found["zero"])
