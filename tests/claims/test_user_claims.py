"""A user's claims: what a file may say, and what it is told when it is wrong."""

from math import inf

import numpy as np
import pytest
import xarray as xr

from whydeep.claims import Claim, Need, estimate, mean_interval, read_claims
from whydeep.errors import SettingError

SIZES = ("network", "epoch", "seed")
RESULTS = xr.Dataset(
    {
        "loss": (SIZES, np.random.default_rng(0).lognormal(size=(3, 4, 5))),
        "accuracy": (SIZES, np.random.default_rng(1).random((3, 4, 5))),
        "rate": (("step", "seed"), np.random.default_rng(2).random((2, 5))),
        "parameters": ("network", [10, 20, 30]),
    },
    coords={"network": ["shallow", "medium", "deep"], "epoch": [0, 1, 5, 10], "seed": range(5)},
)
GOOD = """
[[claims]]
id = "mine"
experiment = "image-classification"
statement = "Deep networks end with a loss between 0.1 and 10."
source = "my notebook"
reading = "of the training images"
variable = "loss"
at = {network = "deep", epoch = "last"}
low = 0.1
high = 10
log = true

[[claims]]
id = "yours"
experiment = "gradient-norm"
statement = "Deep beats shallow."
statistic = "difference of the accuracies"
variable = "accuracy"
at = {network = "deep", epoch = 5}
minus = {network = "shallow"}
low = 0
"""


def written(tmp_path, text, name="own.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def one(tmp_path, **keys):
    """A file of one claim; keys are written over good ones, None leaves one out."""
    good = {"id": "'X'", "experiment": "'e'", "statement": "'s'", "variable": "'loss'", "low": "0"}
    lines = [f"{key} = {value}" for key, value in (good | keys).items() if value is not None]
    return written(tmp_path, "\n".join(["[[claims]]", *lines]))


def parts(tmp_path, **keys):
    """Part -> interval of a claim of one test on the results."""
    ((_, claim),) = read_claims(one(tmp_path, **keys))
    return {found.part: found.interval for found in estimate(claim, RESULTS)}


def error(path):
    with pytest.raises(SettingError) as raised:
        read_claims(path)
    text = str(raised.value)
    assert "\n" not in text
    assert path.name in text
    return text


# -- TOML -----------------------------------------------------------------------------------------------------------


def test_a_file_of_two_claims(tmp_path):
    path = written(tmp_path, GOOD)
    (first, mine), (second, yours) = read_claims(path)
    assert (first, second) == ("image-classification", "gradient-norm")
    assert (mine.id, mine.source, mine.reading) == ("mine", "my notebook", "of the training images")
    assert mine.statement == "Deep networks end with a loss between 0.1 and 10."
    (test,) = mine.tests
    assert (test.low, test.high, test.log) == (0.1, 10, True)
    assert test.statistic == "loss at network deep, epoch last"
    assert test.rule == "from 0.1 to 10"
    (found,) = estimate(mine, RESULTS)
    assert found.interval == mean_interval(RESULTS.loss.sel(network="deep", epoch=10), log=True)
    assert found.part == ""
    (test,) = yours.tests
    assert (test.statistic, test.low, test.high, test.log) == ("difference of the accuracies", 0, inf, None)
    assert (yours.source, yours.reading) == (f"{path.name}, claim 2", "")
    (found,) = estimate(yours, RESULTS)
    at = RESULTS.accuracy.sel(epoch=5)
    assert found.interval == mean_interval(at.sel(network="deep").values - at.sel(network="shallow").values)


def test_the_statistic_is_named_by_what_it_is(tmp_path):
    ((_, claim),) = read_claims(one(tmp_path, at="{network = 'deep'}", minus="{network = 'shallow'}"))
    assert claim.tests[0].statistic == "loss at network deep, minus network shallow"
    ((_, claim),) = read_claims(one(tmp_path))
    assert claim.tests[0].statistic == "loss"


@pytest.mark.parametrize(("place", "epoch"), [("first", 0), ("last", 10)])
def test_first_and_last_are_places(tmp_path, place, epoch):
    found = parts(tmp_path, at=f"{{network = 'medium', epoch = '{place}'}}")
    assert found == {"": mean_interval(RESULTS.loss.sel(network="medium", epoch=epoch))}


def test_a_dimension_without_labels_is_counted(tmp_path):
    assert parts(tmp_path, variable="'rate'", at="{step = 1}") == {"": mean_interval(RESULTS.rate[1])}
    assert parts(tmp_path, variable="'rate'", at="{step = 'first'}") == {"": mean_interval(RESULTS.rate[0])}


def test_dimensions_that_are_not_named_are_parts(tmp_path):
    found = parts(tmp_path, at="{epoch = 5}")
    assert list(found) == ["shallow", "medium", "deep"]
    assert found["deep"] == mean_interval(RESULTS.loss.sel(network="deep", epoch=5))
    assert len(parts(tmp_path)) == 12


def test_a_list_of_labels_are_parts(tmp_path):
    found = parts(tmp_path, at="{network = ['deep', 'shallow'], epoch = 5}")
    assert list(found) == ["deep", "shallow"]
    assert found["shallow"] == mean_interval(RESULTS.loss.sel(network="shallow", epoch=5))
    assert len(parts(tmp_path, at="{network = ['deep', 'shallow'], epoch = [0, 10]}")) == 4


def test_minus_is_subtracted_within_each_seed(tmp_path):
    found = parts(tmp_path, at="{network = ['deep', 'medium'], epoch = 'last'}", minus="{network = 'shallow'}")
    last = RESULTS.loss.sel(epoch=10)
    expected = {
        name: mean_interval(last.sel(network=name).values - last.sel(network="shallow").values)
        for name in ("deep", "medium")
    }
    assert found == expected
    over_time = parts(tmp_path, at="{network = 'deep', epoch = 'last'}", minus="{epoch = 'first'}")
    deep = RESULTS.loss.sel(network="deep")
    assert over_time == {"": mean_interval(deep.sel(epoch=10).values - deep.sel(epoch=0).values)}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"varable": "'loss'"}, "claim 1: nothing is called 'varable': did you mean variable? (accepted: id, exp"),
        ({"colour": "'red'"}, "claim 1: nothing is called 'colour': accepted: id, experiment"),
        ({"id": "3"}, "claim 1: id is 3, and must be a text"),
        ({"statement": "['s']"}, "claim 1: statement is ['s'], and must be a text"),
        ({"low": "'0'"}, "claim 1: low is '0', and must be a number"),
        ({"high": "true"}, "claim 1: high is True, and must be a number"),
        ({"log": "1"}, "claim 1: log is 1, and must be true or false"),
        ({"at": "'deep'"}, "claim 1: at is 'deep', and must be a table of labels"),
        ({"minus": "3"}, "claim 1: minus is 3, and must be a table of labels"),
        ({"id": None}, "claim 1: lacks id"),
        ({"id": "''"}, "claim 1: lacks id"),
        ({"experiment": None, "variable": None}, "claim 1: lacks experiment, variable"),
        ({"statement": None}, "claim 1: lacks statement"),
        ({"low": None}, "claim 1: give low, high or both, numbers between which the value lies, low below high"),
        ({"low": "2", "high": "1"}, "claim 1: give low, high or both"),
        ({"low": "1", "high": "1"}, "claim 1: give low, high or both"),
        ({"low": "nan"}, "claim 1: give low, high or both"),
        ({"low": "-inf", "high": "inf"}, "claim 1: give low, high or both"),
        ({"low": "0 0"}, "own.toml is not TOML: "),
    ],
)
def test_a_wrong_claim_is_told_so_in_one_line(tmp_path, keys, message):
    assert message in error(one(tmp_path, **keys))


def test_the_claim_that_is_wrong_is_counted(tmp_path):
    assert "claim 2: lacks id" in error(written(tmp_path, GOOD.replace('id = "yours"', "")))


@pytest.mark.parametrize("text", ["", "claims = 3", "claims = []", "[claims]\nid = 'X'", f"title = 'mine'\n{GOOD}"])
def test_a_file_must_hold_claims_and_nothing_else(tmp_path, text):
    assert "must hold tables [[claims]] and nothing else, at least one" in error(written(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "own.toml is not TOML: " in error(path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"variable": "'los'"}, "the results have no 'los': did you mean loss? (accepted: loss, accuracy, rate)"),
        ({"variable": "'parameters'"}, "the results have no 'parameters': accepted: loss, accuracy, rate"),
        ({"at": "{netwrk = 'deep'}"}, "loss has no dimension 'netwrk': did you mean network? (accepted: network, ep"),
        ({"at": "{seed = 1}"}, "loss has no dimension 'seed': accepted: network, epoch"),
        ({"at": "{network = 'dep'}"}, "network has no label 'dep': did you mean deep? (accepted: shallow, medium"),
        ({"at": "{network = ['deep', 'x']}"}, "network has no label 'x': accepted: shallow, medium, deep"),
        ({"at": "{epoch = 7}"}, "epoch has no label 7: accepted: 0, 1, 5, 10"),
        ({"at": "{epoch = '5'}"}, "epoch has no label '5': did you mean 5? (accepted: 0, 1, 5, 10)"),
        ({"at": "{network = 'deep'}", "minus": "{network = 'dep'}"}, "network has no label 'dep': did you mean deep?"),
        ({"at": "{nets = 'deep'}", "minus": "{nets = 'deep'}"}, "loss has no dimension 'nets'"),
    ],
)
def test_what_the_results_do_not_hold_is_named(tmp_path, keys, message):
    ((_, claim),) = read_claims(one(tmp_path, **keys))
    with pytest.raises(SettingError) as raised:
        estimate(claim, RESULTS)
    assert str(raised.value).startswith(f"claim X: {message}")
    assert "\n" not in str(raised.value)


def test_what_must_have_been_run(tmp_path):
    text = (
        GOOD
        + """
[claims.needs]
epochs = {least = 40, where = {network = "deep"}}
optimizer = "adam"
batch_size = [5, 125]
widths = {equals = [784, 10]}
"""
    )
    (_, mine), (_, yours) = read_claims(written(tmp_path, text))
    assert mine.needs == ()
    assert yours.needs == (
        Need("epochs", least=40, where={"network": "deep"}),
        Need("optimizer", equals="adam"),
        Need("batch_size", labels=(5, 125)),
        Need("widths", equals=[784, 10]),
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"needs": "3"}, "claim 1: needs is 3, and must be a table of settings and what each must be"),
        ({"needs": "{epochs = {leest = 3}}"}, "claim 1: nothing that epochs needs is called 'leest': did you mean least?"),
        ({"needs": "{epochs = {}}"}, "claim 1: a need has a name and one of labels, bounds (least, most) or equals"),
        ({"needs": "{epochs = {least = 'a'}}"}, "claim 1: bounds of epochs are numbers, least not above most, not least 'a'"),
        ({"at": "{epoch = 1}", "minus": "{network = 'deep'}"}, "claim 1: minus names 'network', which at must name as well"),
    ],
)  # fmt: skip
def test_needs_and_selections_that_are_wrong(tmp_path, keys, message):
    assert message in error(one(tmp_path, **keys))


@pytest.mark.parametrize(("keys", "log"), [({}, True), ({"log": "false"}, False)])
def test_whether_it_varies_by_factors_is_known_from_the_variable(tmp_path, keys, log):
    results = RESULTS.assign(loss=RESULTS.loss.assign_attrs(scale="log"))
    ((_, claim),) = read_claims(one(tmp_path, at="{network = 'deep', epoch = 'last'}", **keys))
    (found,) = estimate(claim, results)
    assert found.interval == mean_interval(RESULTS.loss.sel(network="deep", epoch=10), log=log)


# -- Python ---------------------------------------------------------------------------------------------------------

PYTHON = """
from whydeep.claims import Claim, Test

def ratio(results):
    last = results.loss.isel(epoch=-1)
    return last.sel(network="deep", drop=True) / last.sel(network="shallow", drop=True)

CLAIMS = {
    "image-classification": [Claim("P1", "Deep is at most twice as bad.", (Test("ratio", ratio, high=2, log=True),))],
    "gradient-norm": (Claim("P2", "", ()), Claim("P3", "", ())),
}
"""


def test_a_python_file_measures_what_it_likes(tmp_path):
    own = read_claims(written(tmp_path, PYTHON, "own.py"))
    assert [(experiment, claim.id) for experiment, claim in own] == [
        ("image-classification", "P1"),
        ("gradient-norm", "P2"),
        ("gradient-norm", "P3"),
    ]
    claim = own[0][1]
    assert isinstance(claim, Claim)
    (found,) = estimate(claim, RESULTS)
    last = RESULTS.loss.sel(epoch=10)
    ratios = last.sel(network="deep").values / last.sel(network="shallow").values
    assert found.interval == mean_interval(ratios, log=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "own.py: ZeroDivisionError: division by zero"),
        ("import no_such_module", "own.py: ModuleNotFoundError: No module named 'no_such_module'"),
        ("CLAIMS = {", "own.py: SyntaxError: "),
        ("", "own.py must define CLAIMS, a dictionary from names of experiments to lists of Claim"),
        ("CLAIMS = []", "own.py must define CLAIMS"),
        ("CLAIMS = {'gradient-norm': [3]}", "own.py must define CLAIMS"),
    ],
)
def test_a_python_file_that_is_wrong(tmp_path, text, message):
    assert message in error(written(tmp_path, text, "own.py"))


# -- other files ------------------------------------------------------------------------------------------------------


def test_other_files(tmp_path):
    assert error(tmp_path / "none.toml") == f"there is no file of claims at {tmp_path / 'none.toml'}"
    assert error(tmp_path) == f"there is no file of claims at {tmp_path}"
    wrong = written(tmp_path, GOOD, "own.json")
    assert error(wrong) == "claims are read from a .toml or a .py file, not from own.json"
