"""Selections: against xarray's own, and what a test takes from the variable that it selects."""

from math import inf

import numpy as np
import pytest
import xarray as xr

from whydeep.claims import Case, Claim, Selection, Test, estimate, judge, mean_interval
from whydeep.claims.selection import same_label
from whydeep.errors import SettingError
from whydeep.variables import SHARE, Variable

SIZES = ("network", "epoch", "seed")
LOSS = Variable("loss", "nat", log=True, limits=(0, inf))
ACCURACY = Variable("accuracy", limits=SHARE)
RESULTS = xr.Dataset(
    {
        "loss": (SIZES, np.random.default_rng(0).lognormal(size=(2, 3, 4)), LOSS.attributes),
        "accuracy": (SIZES, np.random.default_rng(1).random((2, 3, 4)), ACCURACY.attributes),
        "plain": (SIZES, np.random.default_rng(2).random((2, 3, 4))),
    },
    coords={"network": ["shallow", "deep"], "epoch": [0, 5, 10], "seed": range(4)},
)
DEEP = {"network": "deep", "epoch": "last"}
FALL = Selection("loss", at=DEEP, minus={"epoch": "first"})


def only(test):
    (estimated,) = estimate(Claim("X", "", (test,)), RESULTS)
    return estimated


def test_it_equals_xarray():
    last = RESULTS.loss.sel(network="deep", epoch=10)
    np.testing.assert_array_equal(Selection("loss", at=DEEP)(RESULTS), last)
    np.testing.assert_array_equal(FALL(RESULTS), last - RESULTS.loss.sel(network="deep", epoch=0))
    several = Selection("loss", at={"epoch": (10, 0)})(RESULTS)
    np.testing.assert_array_equal(several, RESULTS.loss.sel(epoch=[10, 0]))
    assert several.dims == SIZES
    assert Selection("loss")(RESULTS).identical(RESULTS.loss)


def test_it_is_written_as_what_it_selects():
    assert str(FALL) == "loss at network deep, epoch last, minus epoch first"
    assert str(Selection("loss")) == "loss"


@pytest.mark.parametrize(
    ("first", "second"), [([1, 2], (1, 2)), (1.0, 1), (0.1, np.float32(0.1)), ("a", "a"), (True, True)]
)
def test_labels_that_are_the_same(first, second):
    assert same_label(first, second)
    assert same_label(second, first)
    assert not same_label(first, [3, 4])
    assert not same_label([first, first], [first])


@pytest.mark.parametrize(
    ("test", "log", "limits"),
    [
        (Test("x", Selection("loss", at=DEEP), high=1), True, (0, inf)),
        (Test("x", Selection("loss", at=DEEP), high=1, log=False), False, (0, inf)),
        (Test("x", Selection("loss", at=DEEP), high=1, limits=(0, 9)), True, (0, 9)),
        (Test("x", Selection("loss", at=DEEP), high=1, log=False, limits=(0, 9)), False, (0, 9)),
        (Test("x", FALL, high=1), False, (-inf, inf)),
        (Test("x", Selection("accuracy", at=DEEP), low=0.9), False, (0, 1)),
        (Test("x", Selection("accuracy", at=DEEP, minus={"network": "shallow"}), low=0), False, (-1, 1)),
        (Test("x", Selection("accuracy", at=DEEP, minus={"epoch": 0}), low=0, limits=(-9, 9)), False, (-9, 9)),
        (Test("x", Selection("plain", at=DEEP), low=0), False, (-inf, inf)),
        (Test("x", lambda r: r.loss[0, 0], high=1), False, (-inf, inf)),
        (Test("x", lambda r: r.loss[0, 0], high=1, log=True, limits=(0, 5)), True, (0, 5)),
    ],
)
def test_scale_and_limits_are_those_of_the_variable_unless_given(test, log, limits):
    estimated = only(test)
    assert (estimated.log, estimated.limits) == (log, limits)
    assert estimated.interval == mean_interval(test.measure(RESULTS), log=log, limits=limits)


def test_a_loss_is_judged_on_its_logarithm():
    """Three losses that vary by factors of ten: their mean says nothing, their geometric mean is surely below one."""
    results = xr.Dataset({"loss": ("seed", [1e-6, 1e-3, 1e-1, 1e-4], LOSS.attributes)})
    (judgement,) = judge([Case("e", Claim("X", "", (Test("loss", Selection("loss"), low=1e-9),)), results)])
    (linear,) = judge([Case("e", Claim("X", "", (Test("loss", Selection("loss"), low=1e-9, log=False),)), results)])
    assert (judgement.verdict, linear.verdict) == ("supported", "undecided")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Selection(3), "a selection needs the name of a variable and dictionaries"),
        (lambda: Selection("loss", at="deep"), "a selection needs the name of a variable and dictionaries"),
        (
            lambda: Selection("loss", minus={"epoch": 0}),
            "minus names 'epoch', which at must name as well, and at names no dimension",
        ),
        (lambda: Selection("los")(RESULTS), "the results have no 'los': did you mean loss?"),
        (lambda: Selection("loss", {"epoch": 3})(RESULTS), "epoch has no label 3: accepted: 0, 5, 10"),
        (lambda: Selection("loss", {"epoch": []})(RESULTS), "loss at epoch [] holds no value"),
        (
            lambda: Selection("loss", {"epoch": [0, 5]}, {"epoch": [5, 10]})(RESULTS),
            "minus must name one label of a dimension, not several",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(SettingError) as raised:
        make()
    assert message in str(raised.value)
