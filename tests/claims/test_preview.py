"""Claims whose conditions are not met: estimated, never decided, and without influence on others."""

import json
from math import inf, nan

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from whydeep.claims import Case, Claim, Need, Test, judge
from whydeep.errors import SettingError

SHORT = {"settings": json.dumps([{"epochs": 5, "optimizer": "sgd"}])}
LONG = Need("epochs", least=40)
values = st.lists(st.one_of(st.floats(-3, 3), st.sampled_from([nan, inf, 1.0])), min_size=1, max_size=6)


def case(rows, *, needs=(), decided_by="", name="X", **bounds):
    """A claim about rows of values, [part, seed]."""
    measured = xr.DataArray(np.array(rows, dtype=float), dims=("network", "seed"))
    measured = measured.assign_coords(network=[f"net{index}" for index in range(len(measured))])
    claim = Claim(name, "It holds.", (Test("x", lambda _: measured, **(bounds or {"low": 0})),), needs=needs)
    return Case("e", claim, xr.Dataset(attrs=SHORT), decided_by)


def preview(*rows, **options):
    (judgement,) = judge([case(rows, needs=(LONG,), **options)])
    assert judgement.verdict == "preview"
    assert np.isnan([judgement.p, judgement.p_adjusted]).all()
    assert judgement.unmet == ("5 of 40 epochs",)
    return judgement


@pytest.mark.parametrize(
    ("rows", "lean", "reason"),
    [
        ([[9.0, 10.0, 11.0]], "for", "for (x; net0: 10.0 [7.5, 12.5], above 0)"),
        ([[-9.0, -10.0, -11.0]], "against", "against (x; net0: -10.0 [-12.5, -7.5], where the claim says above 0)"),
        ([[9.0, 10.0, 11.0], [-1.0, 0.0, 0.5]], "against", "against (x; net1: -0.2 [-2.1, 1.7], where the claim says above 0)"),
        ([[9.0, 10.0, 11.0], [0.0, 1.0, 2.0]], "for", "for (x; net1: 1.0 [-1.5, 3.5], above 0)"),
        ([[9.0, 10.0, 11.0], [nan] * 3], "open", "open (x; net1: no seed has a value: nothing was measured, or it cannot be computed at this scale or on these data)"),
        ([[-9.0, -10.0, -11.0], [nan] * 3], "against", "against (x; net0: -10.0 [-12.5, -7.5], where the claim says above 0)"),
        ([[-1.0, 0.0, 1.0]], "open", "open (x; net0: 0 [-2.5, 2.5], where the claim says above 0)"),
        ([[2.5]], "for", "for (x; net0: 2.5, above 0)"),
        ([[-2.5]], "against", "against (x; net0: -2.5, where the claim says above 0)"),
        ([[1.0, inf]], "open", "open (x; net0: no finite value in 1 of 2 seeds, as training diverged, or what the statistic waits for did not occur: no mean can be tested)"),
        ([[3.0, 3.0, nan]], "for", "for (x; net0: 3 [3, 3] (without 1 of 3 seeds that have no value) (equal in all 2 seeds), above 0)"),
        (np.empty((0, 3)), "open", "open (its statistic selects nothing from the results)"),
    ],
)  # fmt: skip
def test_a_preview_says_on_which_side_the_estimate_lies(rows, lean, reason):
    judgement = preview(*rows) if len(rows) else judge([case(rows, needs=(LONG,))])[0]
    assert judgement.lean == lean
    assert judgement.reason == f"at 5 of 40 epochs: {reason}"


def test_what_would_decide_it_is_said():
    judgement = preview([9.0, 10.0, 11.0], decided_by="whydeep run e --scale full")
    assert judgement.reason.endswith(", above 0); decided by: whydeep run e --scale full")
    record = judgement.record()
    assert record["decided_by"] == "whydeep run e --scale full"
    assert (record["verdict"], record["lean"], record["p"], record["p_adjusted"]) == ("preview", "for", None, None)
    assert (record["needs"], record["unmet"]) == (["epochs at least 40"], ["5 of 40 epochs"])
    assert record["estimate"] == 10
    (decided,) = judge([case([[9.0, 10.0, 11.0]], decided_by="whydeep run e")])
    assert "decided by" not in decided.reason


def test_several_conditions_are_all_named():
    adam = Need("optimizer", equals="adam")
    (judgement,) = judge([case([[1.0, 2.0]], needs=(LONG, adam))])
    assert judgement.reason.startswith("at 5 of 40 epochs, optimizer sgd instead of adam: for (")
    (judgement,) = judge([case([[1.0, 2.0]], needs=(adam, Need("depth", least=3)))])
    assert judgement.reason.startswith("optimizer sgd instead of adam, depth is not known: for (")
    assert judgement.unmet == ("optimizer sgd instead of adam", "depth is not known")


def test_conditions_that_are_met_change_nothing():
    met = judge([case([[9.0, 10.0, 11.0]], needs=(Need("epochs", least=5),))])[0]
    plain = judge([case([[9.0, 10.0, 11.0]])])[0]
    assert met.verdict == "supported"
    assert met.record() | {"needs": []} == plain.record()


def test_a_preview_without_what_it_is_about_is_open():
    (judgement,) = judge([case([[1.0, 2.0]], needs=(LONG, Need("network", labels=("deep",))))])
    assert (judgement.verdict, judgement.lean) == ("preview", "open")
    assert judgement.reason == "at 5 of 40 epochs, no network deep: open (it is about network deep)"
    assert judgement.parts == ()


def test_a_preview_that_cannot_be_computed_is_open():
    def late(results):
        return results.loss.sel(epoch=40)

    results = xr.Dataset({"loss": (("epoch", "seed"), np.ones((2, 3)))}, coords={"epoch": [0, 5]}, attrs=SHORT)
    tests = (Test("x", late, low=0),)
    (judgement,) = judge([Case("e", Claim("X", "", tests, needs=(LONG,)), results)])
    assert (judgement.verdict, judgement.lean, judgement.parts) == ("preview", "open", ())
    assert judgement.reason.startswith("at 5 of 40 epochs: open (KeyError: ")
    with pytest.raises(SettingError, match="claim X: KeyError: "):
        judge([Case("e", Claim("X", "", tests), results)])


@settings(max_examples=50)
@given(st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=4))
def test_judgements_of_others_are_the_same_without_previews(given_cases):
    cases = [case([row], needs=(LONG,) if unmet else (), name=f"X{i}") for i, (row, unmet) in enumerate(given_cases)]
    together = judge(cases)
    others = judge([one for one, (_, unmet) in zip(cases, given_cases, strict=True) if not unmet])
    assert [one.record() for one in together if one.verdict != "preview"] == [one.record() for one in others]
    assert sum(one.verdict == "preview" for one in together) == sum(unmet for _, unmet in given_cases)
