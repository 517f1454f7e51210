"""Designs: values at three scales, and what a user sets, as text or as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.errors import SettingError
from whydeep.study.design import SCALES, Design, Each, Field, Plan, Scaled, combinations, split_changes, write_value

DESIGN = Design(
    {"dropout": "its networks are plain"},
    batch_size=Each(5, 25, 125),
    hidden=Each((2, 5), (4, 8)),
    function=Each("arcsinh", "cos"),
    widths=(20, 30),
    epochs=Scaled(1, 5, 40),
    learning_rate=Field(0.001, least=1e-12),
    optimizer=Field("adam", choices=("adam", "sgd")),
    biases=True,
)


def read(**changes):
    return DESIGN.read(changes, "quick", "study")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "10", 10),
        ("epochs", "1e2", 100),
        ("epochs", "1_000", 1000),
        ("learning_rate", "0.01", 0.01),
        ("learning_rate", "1e-4", 1e-4),
        ("optimizer", "sgd", "sgd"),
        ("biases", "false", False),
        ("widths", "10-20-5", (10, 20, 5)),
        ("widths", "10,20,5", (10, 20, 5)),
        ("widths", "7", (7,)),
    ],
)
def test_texts_become_values(name, text, value):
    assert read(**{name: text}) == {name: value}
    assert type(read(**{name: text})[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("batch_size", "10,100,1000", (10, 100, 1000)),
        ("batch_size", "10", (10,)),
        ("batch_size", "10,10,100", (10, 100)),
        ("hidden", "10-20,50-25", ((10, 20), (50, 25))),
        ("function", "cos, maximum(x, 0)", ("cos", "maximum(x, 0)")),
    ],
)
def test_a_list_takes_the_place_of_the_list(name, text, values):
    assert read(**{name: text})[name].values == values


@pytest.mark.parametrize("value", [10, [10, 100], (10, 100), Each(10, 100)])
def test_values_are_read_as_texts_are(value):
    expected = read(batch_size="10" if value == 10 else "10,100")
    assert read(batch_size=value)["batch_size"].values == expected["batch_size"].values


@pytest.mark.parametrize("scale", SCALES)
def test_a_default_that_is_given_is_the_default(scale):
    texts = {name: write_value(field.at(scale)) for name, field in DESIGN.items()}
    assert DESIGN.read(texts, scale, "study") == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("epoch", "3", "did you mean epochs?"),
        ("dropout", "0.5", "study has no dropout: its networks are plain"),
        ("epochs", "0", "study.epochs is '0', and must be a whole number, 1 or more"),
        ("epochs", "2.5", "a whole number"),
        ("epochs", "ten", "a whole number"),
        ("epochs", "1,2", "goes through one value of it"),
        ("epochs", True, "a whole number"),
        ("epochs", "9" * 400, "a whole number"),
        ("learning_rate", "nan", "a number"),
        ("learning_rate", "inf", "a number"),
        ("learning_rate", "0", "a number, 1e-12 or more"),
        ("learning_rate", "-1", "a number"),
        ("optimizer", "adm", "did you mean adam?"),
        ("biases", "maybe", "true or false"),
        ("widths", "10-0", "widths such as 20-30"),
        ("widths", "", "widths such as 20-30"),
        ("batch_size", "", "a whole number"),
        ("batch_size", "5,x", "study.batch_size is 'x'"),
        ("batch_size", [], "an empty list"),
        ("batch_size", {"a": 1}, "a whole number"),
        ("function", "a\nb", "text"),
    ],
)
def test_what_is_not_accepted_is_one_line(name, value, says):
    with pytest.raises(SettingError) as error:
        read(**{name: value})
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@given(st.text(max_size=50), st.sampled_from(list(DESIGN)))
def test_any_text_is_read_or_refused(text, name):
    try:
        changes = read(**{name: text})
    except SettingError as error:
        message = str(error)
        changes = {}
    else:
        message = ""
    assert "\n" not in message
    assert set(changes) <= {name}
    assert read(**{key: write_value(value) for key, value in changes.items()}).keys() == changes.keys()


def test_combinations_go_through_each_list():
    values = DESIGN.values_at("full", read(epochs="3"))
    settings = list(combinations(values))
    assert len(settings) == 3 * 2 * 2
    assert settings[0] == {
        "batch_size": 5,
        "hidden": (2, 5),
        "function": "arcsinh",
        "widths": (20, 30),
        "epochs": 3,
        "learning_rate": 0.001,
        "optimizer": "adam",
        "biases": True,
    }
    assert list(Plan("full", values).combinations()) == settings


def test_the_table_shows_every_field_at_every_scale():
    rows = {row[0]: row for row in DESIGN.table()}
    assert rows["epochs"] == ("epochs", "1", "5", "40", "a whole number, 1 or more")
    assert rows["batch_size"][2] == "5,25,125"
    assert set(rows) == set(DESIGN)


@pytest.mark.parametrize("word", ["epochs=3", "a.b", "a.b.c=1", "=", "a. b=1", ".epochs=1", "a.=1"])
def test_changes_of_another_form_are_refused(word):
    with pytest.raises(SettingError, match=r"EXPERIMENT\.FIELD=VALUE"):
        split_changes([word])


def test_a_field_is_set_once():
    with pytest.raises(SettingError, match="twice, 1 and 2"):
        split_changes(["a.b=1", "a.b=2"])


def test_values_may_hold_equal_signs_and_dots():
    assert split_changes(["a.f=x==0.5", "b-c.g=1e-3"]) == {"a": {"f": "x==0.5"}, "b-c": {"g": "1e-3"}}
