"""Verdicts: on known effects, against scipy and slow references, and by simulation: how often they are wrong."""

import json
from itertools import product
from math import inf, nan

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from whydeep.claims import Case, Claim, Judgement, Need, Test, holm, interval_band, judge, seeds_needed, sign_flip_p

EMPTY = xr.Dataset()
SPREAD = np.array([-1.0, 0.0, 1.0])
STEP = 2.0**-6  # multiples of it have exact sums and means
exact = st.integers(-640, 640).map(lambda k: k * STEP)
several = st.lists(exact, min_size=2, max_size=12).map(np.array)


def case(values, **bounds) -> Case:
    """A claim of one part about these values, [seed]."""
    measured = xr.DataArray(np.asarray(values, dtype=float), dims="seed")
    return Case("e", Claim("X", "It holds.", (Test("x", lambda _: measured, **bounds),)), EMPTY)


def compound(*parts, **bounds) -> Case:
    """A claim about several rows of values, [part, seed]."""
    measured = xr.DataArray(np.array(parts, dtype=float), dims=("network", "seed"))
    coordinates = {"network": [f"net{index}" for index in range(len(parts))]}
    measured = measured.assign_coords(coordinates)
    return Case("e", Claim("X", "All hold.", (Test("x", lambda _: measured, **bounds),)), EMPTY)


def one(values, **bounds) -> Judgement:
    return judge([case(values, **bounds)])[0]


# -- known effects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "bounds", "verdict"),
    [
        (10 + SPREAD, {"low": 0}, "supported"),
        (10 + SPREAD, {"high": 0}, "contradicted"),
        (-10 + SPREAD, {"low": 0}, "contradicted"),
        (-10 + SPREAD, {"high": 0}, "supported"),
        (0.5 + SPREAD, {"low": 0}, "undecided"),
        (0.5 + SPREAD, {"high": 0}, "undecided"),
        (SPREAD, {"low": -5, "high": 5}, "supported"),
        (SPREAD, {"low": -1.5, "high": 1.5}, "undecided"),
        (SPREAD, {"low": -5, "high": 0.5}, "undecided"),
        (20 + SPREAD, {"low": -5, "high": 5}, "contradicted"),
        (-20 + SPREAD, {"low": -5, "high": 5}, "contradicted"),
        (np.exp(SPREAD), {"high": 100, "log": True}, "supported"),
        (np.exp(SPREAD), {"high": 0.01, "log": True}, "contradicted"),
        (np.exp(SPREAD), {"low": 0.5, "log": True}, "undecided"),
        (np.exp(SPREAD), {"low": 0.01, "high": 100, "log": True}, "supported"),
        (np.exp(SPREAD), {"low": 0, "log": True}, "supported"),  # positive is all that this asks for
        (np.exp(SPREAD), {"high": 0, "log": True}, "contradicted"),
    ],
)
def test_known_effects_get_their_verdict(values, bounds, verdict):
    assert one(values, **bounds).verdict == verdict


def test_on_the_logarithm_a_factor_counts_and_not_a_difference():
    losses = [1e-6, 1e-5, 1e-4]
    assert one(losses, high=1e-2, log=True).verdict == "supported"
    assert one(losses, low=1e-8, log=True).verdict == "supported"
    assert one(losses, low=1e-8).verdict == "undecided"


def test_what_was_not_run_is_not_judged():
    claim = Claim(
        "X", "It holds.", (Test("x", lambda r: r.x, low=0),), needs=(Need("network", labels=("deep", "shallow")),)
    )
    results = xr.Dataset({"x": (("network", "seed"), np.ones((1, 3)))}, coords={"network": ["deep"]})
    absent, other = judge([Case("e", claim, None), Case("e", claim, results)])
    assert (absent.verdict, absent.reason) == ("not-run", "e was not run")
    assert other.verdict == "preview"
    assert other.reason == "no network shallow: open (it is about network deep, shallow)"
    for judged in (absent, other):
        assert np.isnan([judged.p, judged.p_adjusted]).all()
        assert judged.parts == ()
        assert judged.deciding is None


# -- claims of several parts --------------------------------------------------------------------------------------


def test_a_claim_is_supported_only_if_all_its_parts_are():
    good, better, unsure = 10 + SPREAD, 20 + SPREAD, 0.5 + SPREAD
    (both,) = judge([compound(better, good, low=0)])
    assert both.verdict == "supported"
    assert both.deciding.estimate.part == "net1"
    assert both.p == pytest.approx(one(good, low=0).p)  # the least certain part counts, without any factor
    assert "in the least certain of 2 parts" in both.reason
    (mixed,) = judge([compound(better, unsure, good, low=0)])
    assert mixed.verdict == "undecided"
    assert mixed.deciding.estimate.part == "net1"


def test_a_claim_is_contradicted_if_one_part_is():
    good, bad = 10 + SPREAD, -30 + SPREAD
    (judged,) = judge([compound(good, bad, good, low=0)])
    assert judged.verdict == "contradicted"
    assert judged.deciding.estimate.part == "net1"
    assert judged.p == pytest.approx(3 * one(bad, low=0).p)
    assert "x; net1" in judged.reason
    assert "where the claim says above 0" in judged.reason


def test_one_of_many_parts_needs_more_to_contradict():
    """The usual mistake: the smallest of many p without a factor."""
    outside = np.array([-3.0, -2.0, -2.4])
    assert one(outside, low=0).verdict == "contradicted"
    (judged,) = judge([compound(outside, *[10 + SPREAD] * 9, low=0)])
    assert judged.verdict == "undecided"


def test_every_test_of_a_claim_counts():
    measured = xr.DataArray(10 + SPREAD, dims="seed")
    tests = tuple(Test(f"x{low}", lambda _: measured, low=low) for low in (0, 100))
    (judged,) = judge([Case("e", Claim("X", "", tests), EMPTY)])
    assert judged.verdict == "contradicted"
    assert judged.deciding.estimate.test.statistic == "x100"
    assert len(judged.parts) == 2


def test_a_part_without_values_leaves_the_claim_open():
    (judged,) = judge([compound(10 + SPREAD, [nan, nan, nan], low=0)])
    assert judged.verdict == "undecided"
    assert judged.deciding.estimate.part == "net1"
    assert (
        judged.reason
        == "x; net1: no seed has a value: nothing was measured, or it cannot be computed at this scale or on these data"
    )


# -- against references -------------------------------------------------------------------------------------------


@given(several, exact)
def test_p_equals_scipy(values, edge):
    assume(np.ptp(values) > 0)
    for bounds in ({"low": edge}, {"high": edge}):
        judged = one(values, **bounds)
        assert judged.p == pytest.approx(stats.ttest_1samp(values, edge).pvalue, rel=1e-9, abs=1e-300)
        (part,) = judged.parts
        inside = "greater" if "low" in bounds else "less"
        assert part.p_holds == pytest.approx(stats.ttest_1samp(values, edge, alternative=inside).pvalue, rel=1e-9)
        assert part.p_holds + part.p_fails == pytest.approx(1)


@given(several, exact, exact)
def test_equivalence_is_two_one_sided_tests(values, edge, other):
    """Against Schuirmann's (1987) procedure, written down with scipy."""
    assume(np.ptp(values) > 0)
    assume(edge != other)
    low, high = sorted((edge, other))
    (part,) = one(values, low=low, high=high).parts
    lower = stats.ttest_1samp(values, low, alternative="greater").pvalue
    upper = stats.ttest_1samp(values, high, alternative="less").pvalue
    assert part.p_holds == pytest.approx(max(lower, upper), rel=1e-9)


@given(several, exact, st.booleans(), st.booleans(), st.sampled_from([0.9, 0.95, 0.99]))
def test_a_claim_of_one_part_is_decided_exactly_where_the_interval_excludes_the_edge(values, edge, above, log, level):
    assume(np.ptp(values) > 0)
    given_, edge_ = (np.exp(values / 10), np.exp(edge / 10)) if log else (values, edge)
    judged = judge([case(given_, log=log, **{"low" if above else "high": edge_})], level)[0]
    assume(abs(judged.p - (1 - level)) > 1e-9)  # rounding may fall on either side
    interval = judged.deciding.estimate.interval
    assert interval.level == judged.level == level
    excluded = not interval.low <= edge_ <= interval.high
    assert excluded == (judged.p <= 1 - level) == (judged.verdict != "undecided")
    if excluded:
        assert judged.verdict == ("supported" if (interval.low > edge_) == above else "contradicted")


def slow_holm(ps):
    """Step down as in the paper: the smallest of m by m, the next by m - 1, never smaller than the one before."""
    left = sorted((p, index) for index, p in enumerate(ps) if p == p)
    adjusted, floor = [nan] * len(ps), 0.0
    while left:
        p, index = left[0]
        floor = max(floor, min(1.0, p * len(left)))
        adjusted[index] = floor
        left = left[1:]
    return adjusted


@given(st.lists(st.one_of(st.floats(0, 1), st.just(nan)), max_size=12))
def test_holm_equals_the_procedure_step_by_step(ps):
    np.testing.assert_array_equal(holm(ps), slow_holm(ps))
    known = [p for p in ps if p == p]
    np.testing.assert_array_equal([p for p in holm(ps) if p == p], holm(known))  # what is unknown does not count
    for before, after in zip(ps, holm(ps), strict=True):
        assert not after < before


def test_claims_are_judged_together():
    alone = one(SPREAD + 3, low=0)
    assert 0.025 < alone.p < 0.05
    assert alone.verdict == "supported"
    together = judge([case(SPREAD + 3, low=0), case(SPREAD + 3, low=0), case([], low=0)])
    assert [judged.verdict for judged in together] == ["undecided"] * 3
    assert together[0].p_adjusted == pytest.approx(2 * alone.p)
    assert np.isnan(together[2].p_adjusted)


def test_claims_that_end_without_a_p_do_not_count():
    """One part of them cannot be tested, and nothing speaks against the others: they can no longer be decided."""
    good, bad, missing = 3 + SPREAD, -0.1 + SPREAD, [nan] * 3
    alone = one(good, low=0)
    hopeless = [compound(10 + SPREAD, missing, low=0), compound(bad, missing, [1.0, 1.0, inf], low=5, high=9)]
    beside = judge([case(good, low=0), hopeless[0]])
    assert alone.verdict == beside[0].verdict == "supported"
    assert beside[0].record() == alone.record()
    assert np.isnan([beside[1].p, beside[1].p_adjusted]).all()
    assert beside[1].verdict == "undecided"
    against = judge([case(good, low=0), hopeless[1]])  # one part speaks against it: it is tested, as a contradiction
    assert against[1].p < 1
    assert against[0].factor + against[1].factor == 3


@given(st.lists(st.lists(st.lists(st.one_of(st.floats(-3, 3), st.just(nan)), min_size=3, max_size=3), min_size=1, max_size=3), min_size=1, max_size=4))  # fmt: skip
def test_adjusted_p_are_those_of_the_claims_that_have_one(families):
    judgements = judge([compound(*rows, low=0) for rows in families])
    ps = [judgement.p for judgement in judgements]
    np.testing.assert_array_equal([judgement.p_adjusted for judgement in judgements], holm(ps))
    tested = [rows for rows, p in zip(families, ps, strict=True) if p == p]
    alone = judge([compound(*rows, low=0) for rows in tested])
    together = [judgement for judgement in judgements if judgement.p == judgement.p]
    assert [(a.verdict, a.p_adjusted, a.reason) for a in alone] == [
        (b.verdict, b.p_adjusted, b.reason) for b in together
    ]


def test_a_part_that_cannot_be_tested_is_named_beside_one_that_speaks_against():
    (judged,) = judge([compound(-0.5 + SPREAD, [nan] * 3, low=0)])
    assert (judged.verdict, judged.lean) == ("undecided", "against")
    assert judged.deciding.estimate.part == "net0"
    assert (
        "is against the claim (above 0), one of 2 parts that are tested together, but this is not certain; "
        in judged.reason
    )
    assert "; x; net1: no seed has a value" in judged.reason
    assert seeds_needed(judged) is None


# -- little to go by ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "bounds", "verdict", "p"),
    [
        ([1, 1, 1], {"low": 0.5}, "supported", 0),
        ([1, 1, 1], {"high": 0.5}, "contradicted", 0),
        ([1, 1, 1], {"low": 1}, "undecided", 1),
        ([1, 1, 1], {"high": 1}, "undecided", 1),
        ([1, 1, 1], {"low": 0, "high": 2}, "supported", 0),
        ([1, 1, 1], {"low": 0, "high": 1}, "undecided", 1),
        ([1, 1], {"low": 0}, "undecided", nan),
        ([1], {"low": 0}, "undecided", nan),
        ([], {"low": 0}, "undecided", nan),
        ([1, 1, nan], {"low": 0}, "undecided", nan),
        ([nan, nan, nan], {"low": 0}, "undecided", nan),
        ([1, 1, 1], {"low": 0.5, "log": True}, "supported", 0),
        ([1, 1, 1], {"low": 1, "log": True}, "undecided", 1),
    ],
)
def test_values_without_spread_decide_from_three_seeds_on(values, bounds, verdict, p):
    judged = one(values, **bounds)
    assert judged.verdict == verdict
    assert judged.p == pytest.approx(p, nan_ok=True)
    if p == 0:
        assert "equal in all 3 seeds" in judged.reason
        assert "without a t" in judged.record()["test"]


def slow_sign_flip(values, edge):
    """p that values lie above an edge: try every way to flip signs."""
    distances = [value - edge for value in values]
    seen = sum(distances)
    sums = [
        sum(sign * d for sign, d in zip(signs, distances, strict=True))
        for signs in product((1, -1), repeat=len(values))
    ]
    return np.mean([one >= seen - 1e-9 for one in sums])


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=7), st.integers(-20, 20))
def test_sign_flips_equal_trying_all_of_them(values, edge):
    assert sign_flip_p(values, edge) == pytest.approx(slow_sign_flip(values, edge))


def test_many_values_are_flipped_at_random():
    values = np.random.default_rng(3).normal(0.3, 1, 40)
    assert sign_flip_p(values) == sign_flip_p(values)  # the same draws every time
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue, abs=0.01)


@pytest.mark.parametrize("log", [False, True])
def test_sign_flips_of_a_part_are_two_sided_about_the_edge(log):
    values = [2.0, 3.0, 5.0, 8.0]
    below = 2 * slow_sign_flip([-np.log(value) if log else -value for value in values], -np.log(9) if log else -9)
    assert one(values, high=9, log=log).parts[0].p_sign_flip == pytest.approx(below) == 2 / 2**4
    assert one(values, low=9, log=log).parts[0].p_sign_flip == pytest.approx(below)
    assert one(values, low=1, high=9, log=log).record()["parts"][0]["p_sign_flip"] == 2 / 2**4
    assert np.isnan(one([1.0], low=0, log=log).parts[0].p_sign_flip)


def test_sign_flips_of_positive_values_above_zero_on_the_logarithm():
    """The edge has no logarithm: no flip reaches it."""
    (part,) = one([1.0, 2.0, 4.0], low=0, log=True).parts
    assert (part.p_holds, part.p_fails, part.p_sign_flip) == (0, 1, 0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1], "x: n = 1, and one seed does not tell how much seeds vary: at least 2 are needed"),
        ([1, 1], "x: n = 2, with equal values: at least 3 are needed"),
        (
            [nan, nan],
            "x: no seed has a value: nothing was measured, or it cannot be computed at this scale or on these data",
        ),
        (
            [nan, inf],
            "x: no finite value in 1 of 2 seeds, as training diverged, or what the statistic waits for did not occur: no mean can be tested",
        ),
    ],
)
def test_too_few_seeds_say_so(values, reason):
    judged = one(values, low=0)
    assert (judged.verdict, judged.reason) == ("undecided", reason)
    assert seeds_needed(judged) is None


def test_seeds_without_a_value_are_left_out_and_n_says_so():
    judged = one([9.0, nan, 10.0, 11.0, nan], low=0)
    assert judged.verdict == "supported"
    assert judged.p == one([9.0, 10.0, 11.0], low=0).p
    assert judged.deciding.estimate.interval.n == judged.record()["n"] == 3


@pytest.mark.parametrize("log", [False, True])
def test_a_seed_that_diverged_does_not_vanish(log):
    judged = one([0.9, inf, 1.0, 1.1], high=5, log=log)
    assert judged.verdict == "undecided"
    assert "no finite value in 1 of 4 seeds" in judged.reason
    assert judged.record()["parts"][0]["seeds_in_range"] == 0.75
    for constant in (inf, -inf):
        for bounds in ({"high": 5}, {"low": 5}):
            undecided = one([constant] * 3, log=log, **bounds)
            assert (undecided.verdict, undecided.record()["p"]) == ("undecided", None)
            assert "without a t" not in undecided.record()["test"]
    assert one([inf, -inf, 1.0, nan], low=0, log=log).verdict == "undecided"


def test_a_seed_without_a_value_whose_training_diverged_is_not_taken_for_a_missing_one():
    x = xr.DataArray([[9.0, nan, 10.0, 11.0]] * 2, dims=("part", "seed"), coords={"part": ["a", "b"]})
    missing = xr.Dataset({"x": x}, coords={"seed": [4, 5, 6, 7]})
    diverged = missing.assign(diverged_at=(("part", "seed"), [[nan] * 4, [nan, 30, nan, 200]]))
    claim = Claim("X", "", (Test("x", lambda r: r.x, low=0),))
    verdicts = [judge([Case("e", claim, results)])[0] for results in (missing, diverged)]
    assert [judged.verdict for judged in verdicts] == ["supported", "undecided"]
    assert "in 1 of 4 seeds" in verdicts[1].reason  # the last one has a value all the same
    some = Claim("X", "", (Test("x", lambda r: r.x.sel(seed=[4, 6, 7]), low=0),))
    assert judge([Case("e", some, diverged)])[0].verdict == "supported"


def test_the_share_of_agreeing_seeds():
    (part,) = one([1.0, 2.0, -1.0, nan], low=0).parts
    assert part.agreeing == pytest.approx(2 / 3)
    assert part.lean == "for"
    (nothing,) = one([nan], low=0).parts
    assert np.isnan(nothing.agreeing)


# -- how many seeds would decide ----------------------------------------------------------------------------------


def with_moments(n, mean, deviation):
    """n values with exactly this mean and standard deviation."""
    values = np.linspace(-1, 1, n)
    return mean + deviation * values / values.std(ddof=1)


@given(st.integers(3, 8), st.floats(0.1, 3), st.sampled_from([-1, 1]), st.booleans())
def test_that_many_seeds_decide_and_one_fewer_does_not(n, deviation, side, two_bounds):
    bounds = {"low": 0, "high": 100} if two_bounds else {"low": 0}
    judged = one(with_moments(n, side, deviation), **bounds)
    assume(judged.verdict == "undecided")
    needed = seeds_needed(judged)
    assert needed > n
    assert f"about {needed} seeds in all would decide" in judged.reason
    after, before = (one(with_moments(count, side, deviation), **bounds) for count in (needed, needed - 1))
    assume(abs(after.p - 0.05) > 1e-9)
    assume(abs(before.p - 0.05) > 1e-9)
    assert after.verdict == ("supported" if side > 0 else "contradicted")
    assert before.verdict == "undecided"


@pytest.mark.parametrize("sign", [-1, 1])
def test_more_seeds_are_needed_for_smaller_effects_and_for_more_claims(sign):
    needed = [seeds_needed(one(with_moments(5, sign * mean, 1), low=0)) for mean in (0.8, 0.6, 0.4, 0.2, 0.1)]
    assert needed == sorted(needed)
    assert len(set(needed)) == 5
    alone, beside = (judge([case(with_moments(3, sign * 2.4, 1), low=0)] * count)[0] for count in (1, 3))
    assert seeds_needed(alone) < seeds_needed(beside)


def test_no_number_of_seeds_decides_what_lies_on_the_edge():
    judged = one(SPREAD, low=0)
    assert seeds_needed(judged) is None
    assert "lies on the edge of what the claim says" in judged.reason
    near = one(1e-6 + SPREAD, low=0)
    assert seeds_needed(near) is None
    assert "not even 1,000 seeds would decide" in near.reason


def test_seeds_for_claims_of_several_parts_are_those_of_the_hardest():
    easy, hard = with_moments(3, 1.5, 1), with_moments(3, 0.5, 1)
    (judged,) = judge([compound(easy, hard, low=0)])
    assert seeds_needed(judged) == seeds_needed(one(hard, low=0))


# -- claims.json --------------------------------------------------------------------------------------------------

KEYS = [
    "id",
    "experiment",
    "statement",
    "source",
    "reading",
    "verdict",
    "reason",
    "estimate",
    "interval",
    "level",
    "n",
    "test",
    "p",
    "p_adjusted",
    "statistic",
    "rule",
    "lean",
    "needs",
    "unmet",
    "problem",
    "decided_by",
    "tests",
    "parts",
]
PART_KEYS = [
    "statistic",
    "part",
    "rule",
    "estimate",
    "interval",
    "n",
    "seeds_in_range",
    "p_holds",
    "p_fails",
    "p_sign_flip",
    "low",
    "high",
    "log",
    "limits",
    "values",
    "seeds",
]


def not_a_number(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize(
    "judged",
    [
        one(10 + SPREAD, low=0),
        one([nan] * 3, low=0),
        one([2.0], low=0),
        one([1, 1, 1], low=0),
        judge([compound(SPREAD, [nan, inf, 1.0], low=0)])[0],
        judge([Case("e", Claim("X", "It holds.", (Test("x", lambda r: r.x, low=0),)), None)])[0],
    ],
    ids=["decided", "no value", "one seed", "constant", "parts", "not run"],
)
def test_a_record_is_json_with_the_keys_that_are_promised(judged):
    record = judged.record()
    assert json.loads(json.dumps(record, allow_nan=False), parse_constant=not_a_number) == record
    assert list(record) == KEYS
    assert all(list(part) == PART_KEYS for part in record["parts"])
    assert len(record["parts"]) == len(judged.parts)
    assert len(record["interval"]) == 2


def test_a_record_says_what_was_found():
    record = one(10 + SPREAD, low=0).record()
    expected = stats.ttest_1samp(10 + SPREAD, 0)
    assert {name: record[name] for name in ("id", "experiment", "verdict", "n", "level", "rule", "statistic")} == {
        "id": "X",
        "experiment": "e",
        "verdict": "supported",
        "n": 3,
        "level": 0.95,
        "rule": "above 0",
        "statistic": "x",
    }
    assert record["statement"] == "It holds."
    assert record["estimate"] == 10
    assert record["interval"] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert record["p"] == record["p_adjusted"] == pytest.approx(expected.pvalue)
    assert "Student" in record["test"]
    assert "without a t" not in record["test"]
    assert record["parts"][0]["seeds_in_range"] == 1


def test_a_record_has_none_for_what_there_is_not():
    record = one([nan] * 3, low=0).record()
    assert [record[name] for name in ("estimate", "p", "p_adjusted", "n")] == [None, None, None, 0]
    assert record["interval"] == [None, None]
    absent = judge([Case("e", Claim("X", "", (Test("x", lambda r: r.x, low=0, high=1),)), None)])[0].record()
    assert [absent[name] for name in ("estimate", "p", "p_adjusted")] == [None] * 3
    assert (absent["n"], absent["interval"], absent["rule"]) == (0, [None, None], "from 0 to 1")


# -- how often verdicts are wrong ---------------------------------------------------------------------------------

TRIALS = 800


def draws(kind, n, trials=TRIALS):
    """Values [trial, seed] whose mean is 0 (1 in the geometric mean, for log-normal ones)."""
    generator = np.random.default_rng([n, len(kind)])
    values = generator.normal(0, 1, (trials, n))
    if kind == "rounded":
        return np.round(values * 2) / 2
    if kind == "log-normal":
        return np.exp(values)
    if kind == "missing":  # further seeds, about two of five of which have no value
        more = generator.normal(0, 1, (trials, n))
        return np.concatenate([values, np.where(generator.random((trials, n)) < 0.4, nan, more)], axis=1)
    return values


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("kind", ["normal", "rounded", "log-normal", "missing"])
def test_about_one_in_twenty_verdicts_is_wrong_where_the_mean_is_on_the_edge(kind, n):
    log = kind == "log-normal"
    verdicts = [one(values, low=1 if log else 0, log=log).verdict for values in draws(kind, n)]
    shares = {name: verdicts.count(name) / TRIALS for name in ("supported", "contradicted")}
    assert sum(shares.values()) == pytest.approx(0.05, abs=0.023)  # three standard errors
    for share in shares.values():
        assert share == pytest.approx(0.025, abs=0.017)


@pytest.mark.parametrize("n", [3, 10])
def test_a_range_of_values_is_claimed_no_more_often_than_that(n):
    verdicts = [one(values, low=0, high=1.5).verdict for values in draws("normal", n)]
    assert 1 - verdicts.count("undecided") / TRIALS <= 0.05 + 0.023


@pytest.mark.parametrize("n", [3, 10])
def test_a_claim_of_several_parts_is_wrong_no_more_often(n):
    """All five parts lie on the edge; all of them by the smallest p would be wrong four times as often."""
    values = draws("normal", n, 5 * 200).reshape(200, 5, n)
    verdicts = [judge([compound(*parts, low=0)])[0].verdict for parts in values]
    assert 1 - verdicts.count("undecided") / len(verdicts) <= 0.05 + 0.046
    smallest = stats.ttest_1samp(values, 0, axis=2).pvalue.min(axis=1)
    assert np.mean(smallest <= 0.05) > 0.15


@pytest.mark.parametrize("n", [3, 10])
def test_in_a_family_of_ten_claims_seldom_any_is_wrong(n):
    families = draws("normal", n, 2000).reshape(200, 10, n)
    wrong = [
        any(judged.verdict != "undecided" for judged in judge([case(values, low=0) for values in family]))
        for family in families
    ]
    assert np.mean(wrong) <= 0.05 + 0.046  # three standard errors
    unadjusted = stats.ttest_1samp(families, 0, axis=2).pvalue <= 0.05
    assert unadjusted.any(axis=1).mean() > 0.3  # the usual mistake


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("kind", ["normal", "rounded", "log-normal", "missing"])
def test_intervals_cover(kind, n):
    log = kind == "log-normal"
    low, _, high = interval_band(draws(kind, n, 20_000).T, log=log)
    truth = 1 if log else 0
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("n", "effect", "power"), [(3, 10, 0.95), (5, 4, 0.95), (10, 2, 0.95), (5, 1, 0.2)])
def test_large_effects_are_found(n, effect, power):
    """Against the power of the t test, from its noncentral distribution."""
    values = draws("normal", n, 300) + effect
    found = np.mean([one(row, low=0).verdict == "supported" for row in values])
    quantile = stats.t.ppf(0.975, n - 1)
    assert found == pytest.approx(stats.nct.sf(quantile, n - 1, effect * np.sqrt(n)), abs=0.09)
    assert found >= power
