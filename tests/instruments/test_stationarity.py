"""Kinds of points: the whole table, and which kind comes first where more than one would do."""

from itertools import product

import pytest
import torch

from whydeep.instruments import GRADIENT_FLAT, Kinks, Stationarity, sort_by_stationarity

CRITICAL, KINK, FLAT, OPEN = Stationarity
SMALL, LARGE = 1e-8, 1e-2

WITHOUT_KINKS = {  # (gradient norm, Frye's index): kind
    (SMALL, 0.0): CRITICAL,
    (SMALL, GRADIENT_FLAT): CRITICAL,
    (SMALL, 0.95): FLAT,
    (LARGE, 0.0): OPEN,
    (LARGE, GRADIENT_FLAT): OPEN,
    (LARGE, 0.95): FLAT,
    (torch.nan, torch.nan): OPEN,
    (torch.inf, 0.0): OPEN,
}


def kinks_of(near, subgradient_norms, jump=LARGE):
    near, norms = (torch.tensor(values, dtype=torch.float64) for values in (near, subgradient_norms))
    jumps = torch.where(near > 0, jump, 0.0)
    return Kinks(near=near, distance=norms, gradient_norms=norms, jump=jumps, subgradient_norms=norms)


def test_a_unit_at_its_kink_without_a_jump_is_no_kink():
    assert kinds_of([(LARGE, 0.0)], kinks_of([1], [0.0], jump=0.0)) == [OPEN]


def test_a_gradient_that_vanishes_is_no_kink():
    assert kinds_of([(SMALL, 1.0)], kinks_of([1], [SMALL])) == [FLAT]


def kinds_of(pairs, kinks=None):
    norms, indices = torch.tensor(list(pairs), dtype=torch.float64).T
    return sort_by_stationarity(norms, indices, tolerance=1e-6, kinks=kinks).tolist()


def test_the_table_without_kinks():
    assert kinds_of(WITHOUT_KINKS) == list(WITHOUT_KINKS.values())


@pytest.mark.parametrize("near", [1, 3])
@pytest.mark.parametrize("subgradient", [0.0, SMALL])
def test_a_kink_is_where_the_gradient_is_large_whatever_its_index(near, subgradient):
    count = len(WITHOUT_KINKS)
    found = kinds_of(WITHOUT_KINKS, kinks_of([near] * count, [subgradient] * count))
    expected = [KINK if norm > 1e-6 else kind for (norm, _), kind in WITHOUT_KINKS.items()]
    assert found == expected


@pytest.mark.parametrize(("near", "subgradient"), [(0, SMALL), (1, LARGE), (1, torch.nan)])
def test_without_a_unit_nearby_and_a_small_subgradient_there_is_no_kink(near, subgradient):
    count = len(WITHOUT_KINKS)
    found = kinds_of(WITHOUT_KINKS, kinks_of([near] * count, [subgradient] * count))
    assert found == list(WITHOUT_KINKS.values())


def test_points_are_sorted_one_by_one():
    pairs = [(norm, index) for norm, index in product((SMALL, LARGE), (0.0, 0.95)) for _ in range(2)]
    kinks = kinks_of([0, 1] * 4, [SMALL] * 8)
    assert kinds_of(pairs, kinks) == [CRITICAL, CRITICAL, FLAT, FLAT, OPEN, KINK, FLAT, KINK]


@pytest.mark.parametrize(("norm", "kind"), [(0.999e-6, CRITICAL), (1e-6, CRITICAL), (1.001e-6, OPEN)])
def test_the_tolerance_itself_counts_as_zero(norm, kind):
    assert kinds_of([(norm, 0.0)]) == [kind]
    expected = KINK if kind == CRITICAL else OPEN
    assert kinds_of([(LARGE, 0.0)], kinks_of([1], [norm])) == [expected]


def test_kinds_keep_their_numbers():
    """They are stored in results."""
    assert {kind.name: kind.value for kind in Stationarity} == {
        "CRITICAL": 0,
        "KINK": 1,
        "GRADIENT_FLAT": 2,
        "NOT_CONVERGED": 3,
    }
