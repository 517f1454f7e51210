"""Judging again from records alone: the same as from results."""

import json
from math import inf, nan

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from whydeep.claims import Case, Claim, Need, Selection, Test, judge, stored_case
from whydeep.errors import RunError
from whydeep.variables import Variable

value = st.one_of(st.floats(-5, 5), st.sampled_from([nan, inf, -inf, 0.0, -0.0, 1.0, 1.0, 1e-320, 1e100]))
bounds = st.one_of(
    st.builds(lambda low: {"low": low}, st.floats(-2, 2)),
    st.builds(lambda high: {"high": high}, st.floats(-2, 2)),
    st.builds(lambda low, width: {"low": low, "high": low + width}, st.floats(-2, 2), st.floats(0.1, 3)),
)
needs = st.sampled_from(
    [
        (),
        (Need("epochs", least=40),),
        (Need("epochs", least=1),),
        (Need("size", labels=(3,)),),
        (Need("depth", equals=(1, 2)),),
    ]
)


@st.composite
def cases(draw):
    """A claim of one or two tests about random values, [part, seed]; it may be a preview, not run or without parts."""
    seeds = draw(st.integers(1, 4))
    tests = []
    for number in range(draw(st.integers(1, 2))):
        rows = draw(st.lists(st.lists(value, min_size=seeds, max_size=seeds), min_size=0, max_size=3))
        measured = xr.DataArray(np.array(rows, dtype=float).reshape(-1, seeds), dims=("network", "seed"))
        measured = measured.assign_coords(network=[f"net{index}" for index in range(len(rows))])
        options = draw(bounds) | {"log": draw(st.booleans())}
        if draw(st.booleans()):
            options["limits"] = draw(st.sampled_from([(-1.0, 1.0), (0.0, inf), (-inf, 2.0)]))
            measured = measured.where(~np.isfinite(measured), measured.clip(*options["limits"]))
        tests.append(Test(f"x{number}", lambda _, measured=measured: measured, **options))
    claim = Claim("X", "It holds.", tuple(tests), draw(st.sampled_from(["", "a book"])), "", draw(needs))
    results = xr.Dataset(attrs={"settings": json.dumps([{"epochs": 5}])})
    return Case(
        "e", claim, draw(st.sampled_from([results, results, results, None])), draw(st.sampled_from(["", "run"]))
    )


def stored(judgement):
    """The case of a judgement, after a round trip through JSON."""
    return stored_case(json.loads(json.dumps(judgement.record(), allow_nan=False)))


@settings(max_examples=40)
@given(st.lists(cases(), min_size=1, max_size=3), st.sampled_from([0.9, 0.95]))
def test_records_are_judged_as_results(given_cases, level):
    judgements = judge(given_cases, level)
    records = [judgement.record() for judgement in judgements]
    again = judge([stored_case(json.loads(json.dumps(record, allow_nan=False))) for record in records], level)
    assert [judgement.record() for judgement in again] == records
    for first, second in zip(judgements, again, strict=True):
        np.testing.assert_equal((second.p, second.p_adjusted, second.factor), (first.p, first.p_adjusted, first.factor))
        assert (second.lean, second.unmet, second.by_convention) == (first.lean, first.unmet, first.by_convention)
        np.testing.assert_equal(
            [(part.p_holds, part.p_fails, part.lean) for part in second.parts],
            [(part.p_holds, part.p_fails, part.lean) for part in first.parts],
        )


@settings(max_examples=20)
@given(st.lists(cases(), min_size=2, max_size=3))
def test_some_may_be_stored_and_others_not(given_cases):
    judgements = judge(given_cases)
    mixed = [stored(one) if index % 2 else given_cases[index] for index, one in enumerate(judgements)]
    assert [one.record() for one in judge(mixed)] == [one.record() for one in judgements]


def test_they_can_be_judged_at_another_level():
    measured = xr.DataArray([1.0, 2.0, 3.5], dims="seed")
    case = Case("e", Claim("X", "", (Test("x", lambda _: measured, low=0),)), xr.Dataset())
    (judgement,) = judge([case])
    assert judgement.verdict == "undecided"
    (wider,) = judge([stored(judgement)], 0.8)
    assert wider.record() == judge([case], 0.8)[0].record()
    assert wider.verdict == "supported"


def test_what_a_variable_says_is_kept():
    loss = ("seed", [1e-3, 1e-2, 1e-4], Variable("loss", log=True, limits=(0, inf)).attributes)
    case = Case("e", Claim("X", "", (Test("x", Selection("loss"), high=0.1),)), xr.Dataset({"loss": loss}))
    (judgement,) = judge([case])
    (part,) = judgement.record()["parts"]
    assert (part["log"], part["limits"], part["low"], part["high"]) == (True, [0, None], None, 0.1)
    assert (part["values"], part["seeds"]) == ([1e-3, 1e-2, 1e-4], 3)
    assert judge([stored(judgement)])[0].record() == judgement.record()


def test_values_that_are_infinite_are_words_in_json():
    measured = xr.DataArray([1.0, inf, nan, -inf], dims="seed")
    (judgement,) = judge([Case("e", Claim("X", "", (Test("x", lambda _: measured, low=0),)), xr.Dataset())])
    (part,) = judgement.record()["parts"]
    assert (part["values"], part["seeds"]) == ([1.0, "inf", "-inf"], 4)


GOOD = judge(
    [Case("e", Claim("X", "", (Test("x", lambda _: xr.DataArray([1.0, 2.0], dims="seed"), low=0),)), xr.Dataset())]
)[0].record()


def part(**changes):
    return GOOD | {"parts": [GOOD["parts"][0] | changes]}


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        None,
        {key: value for key, value in GOOD.items() if key != "tests"},
        {key: value for key, value in GOOD.items() if key != "problem"},
        GOOD | {"id": 3},
        GOOD | {"unmet": [3]},
        GOOD | {"unmet": None},
        GOOD | {"experiment": None},
        GOOD | {"parts": ["x"]},
        GOOD | {"parts": 3},
        GOOD | {"tests": [{"statistic": "x", "low": None, "high": None}]},
        part(values=[1.0, 2.0, 3.0]),
        part(values=[1.0, "nan"]),
        part(values=[1.0, "many"]),
        part(values=[1.0, None]),
        part(log="no"),
        part(limits=[0]),
        part(low=2, high=1),
        part(seeds=None),
    ],
)
def test_a_record_that_is_not_whole_is_told_so_in_one_line(record):
    assert stored_case(GOOD).stored is not None
    with pytest.raises(RunError, match=r"the record of claim .* can't be judged again") as raised:
        stored_case(record)
    assert "\n" not in str(raised.value)
