"""Expressions that people type: numpy is the reference, and no text may do worse than a one-line error."""

import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whydeep.data import FUNCTIONS, TargetFunction, sample, target_function
from whydeep.errors import SettingError

X = np.linspace(-3, 3, 25)
ACCEPTED = "numbers, x, pi, e, + - * / // % ** (power), < <= > >=, 'a if c else b' and functions are"

OPERATIONS = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "//": np.floor_divide, "%": np.mod,
    "**": np.float_power, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip

# A text, and its values on X, computed while the text is built.
atoms = st.one_of(
    st.just(("x", X)),
    st.sampled_from([("pi", np.pi), ("e", np.e)]),
    st.integers(0, 99).map(lambda value: (str(value), float(value))),
    st.floats(0, 9).map(lambda value: (repr(value), value)),
)


def floats(values):
    return np.asarray(values, dtype=float)


def larger(part):
    return st.one_of(
        st.builds(
            lambda a, op, b: (f"({a[0]} {op} {b[0]})", floats(OPERATIONS[op](a[1], b[1]))),
            part, st.sampled_from(sorted(OPERATIONS)), part,
        ),
        part.map(lambda a: (f"(-{a[0]})", -floats(a[1]))),
        st.builds(lambda name, a: (f"{name}({a[0]})", FUNCTIONS[name](a[1])), st.sampled_from(sorted(FUNCTIONS)), part),
        st.builds(
            lambda a, c, b: (f"({a[0]} if {c[0]} else {b[0]})", np.where(floats(c[1]) != 0, a[1], b[1])),
            part, part, part,
        ),
        st.builds(
            lambda a, b, c: (f"({a[0]} < {b[0]} <= {c[0]})", floats(np.less(a[1], b[1]) & np.less_equal(b[1], c[1]))),
            part, part, part,
        ),
    )  # fmt: skip


expressions = st.recursive(atoms, larger, max_leaves=8).filter(lambda pair: len(pair[0]) <= 200)


@given(st.data())
@settings(max_examples=150)
def test_expressions_are_what_numpy_says_they_are(data):
    with np.errstate(all="ignore"):
        text, expected = data.draw(expressions)
    np.testing.assert_array_equal(target_function(text)(X), np.broadcast_to(expected, X.shape))


@given(st.one_of(st.text(max_size=300), st.text("x()*/+-.,0123456789einsco[]{}:=<>'\"\\ \n", max_size=230)))
@settings(max_examples=300)
def test_any_text_is_a_function_or_one_clear_line(text):
    try:
        values = target_function(text)(X)
    except SettingError as error:
        line, values = str(error), X
    else:
        line = "fine"
    assert line.strip()
    assert "\n" not in line
    assert values.shape == X.shape
    assert values.dtype == np.float64


@pytest.mark.parametrize(
    "text",
    ['__import__("os")', "lambda: x", "x.real", "x[0]", 'f"{x}"', "(x := 1)", "1j", "True", "None", "'x'", "...",
     "[x]", "x, x", "{x: 1}", "x if x", "x and x", "not x", "~x", "x ^ 2", "x == 1", "x @ x", "sin(*x)", "sin(x)(x)",
     "np.sin(x)", "[x for x in x]", "await x", "yield", "x = 1", "import os", "2x", "sin(", "", " ", "\0", "\ud800",
     "sin()", "sin(x, x)", "sin(x=x)", "sin(x, out=x)", "open(x)", "y", "1_0__0", "x\\", "#", "f'{'a'}'"],
)  # fmt: skip
def test_what_is_not_an_expression_of_x_is_refused(text):
    with pytest.raises(SettingError) as error:
        target_function(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["(" * 100 + "x" + ")" * 100, "-" * 190 + "x", "sin(" * 48 + "x" + ")" * 48, "x" + "+x" * 99, "x**" * 60 + "x",
     "(" * 5000, "x+" * 100_000 + "x", "9" * 5000, "[" * 199, "x<(" * 60 + "x" + ")" * 20, "x if " * 30 + "x"],
)  # fmt: skip
def test_long_and_deep_texts_are_refused_quickly(text):
    began = time.perf_counter()
    with pytest.raises(SettingError) as error:
        target_function(text)
    assert len(str(error.value)) < 600
    assert time.perf_counter() - began < 20  # a busy machine is slow; what is meant would take minutes


def test_powers_of_powers_and_nested_comparisons_cost_nothing():
    began = time.perf_counter()
    assert np.isinf(target_function("9**9**9**9")(X)).all()
    assert np.isinf(target_function("1e999")(X)).all()
    target_function("x<(" * 30 + "x<x" + "<x)<x" * 8 + "<x)" * 22)(X)
    target_function("9" * 200)(X)
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 201, "a function of 201 characters is too long: give at most 200"),
        ("-" * 42 + "x", f"{'-' * 30!r}... is nested more than 40 levels deep: make it simpler"),
        ("x ^ 2", "'x ^ 2' uses ^: write ** for a power"),
        ("1 + np.sin(x)", "'1 + np.sin(x)' uses np.sin: write sin(...) alone"),
        ("1 + np.sinus(x)", f"'1 + np.sinus(x)' uses 'np.sinus(x)', which is not accepted: {ACCEPTED}"),
        ("1 + x[0]", f"'1 + x[0]' uses 'x[0]', which is not accepted: {ACCEPTED}"),
        ("sin + 1", "'sin + 1' uses 'sin': write sin(x)"),
        ("sin()", "'sin()' calls 'sin': takes one value"),
        ("sn(x)", "'sn(x)' calls 'sn': did you mean sin"),
        ("Cos(x)", "'Cos(x)' calls 'Cos': did you mean cos"),
        ("coss", "'coss' uses 'coss': did you mean cos"),
        ("sin(", "'sin(' is not an expression of x: give one such as sin(x) / 2, or a function: did you mean sin"),
    ],
)  # fmt: skip
def test_errors_name_the_piece_and_what_to_do(text, message):
    with pytest.raises(SettingError) as error:
        target_function(text)
    assert str(error.value).startswith(message)


def test_near_names_list_what_is_accepted():
    with pytest.raises(SettingError, match=r"accepted: x, pi, e, abs, arccos, "):
        target_function("zzzz")


def test_space_does_not_matter_and_names_are_functions():
    assert target_function(" x  +\t1 ") == target_function("x + 1")
    for name, function in FUNCTIONS.items():
        inside = np.linspace(0.1, 0.9, 5)
        np.testing.assert_array_equal(target_function(name)(inside), function(inside))
        np.testing.assert_array_equal(target_function(f"{name}(x)")(inside), function(inside))


def test_a_chain_of_comparisons_is_pythons():
    np.testing.assert_array_equal(target_function("0 < x <= 1")(X), ((X > 0) & (X <= 1)).astype(float))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("text", ["x", "2", "pi", "0 < 1", "sin"])
def test_values_have_the_shape_of_x_and_may_be_written_to(text, shape):
    values = target_function(text)(np.ones(shape))
    assert values.shape == shape
    assert values.dtype == np.float64
    values[...] = 0
    assert not values.any()


def test_a_function_is_picklable_and_hashable():
    function = target_function("sin(x) + 1")
    again = pickle.loads(pickle.dumps(function))
    assert again == function
    assert hash(again) == hash(function)
    np.testing.assert_array_equal(again(X), function(X))


@pytest.mark.parametrize(
    ("text", "interval", "message"),
    [
        ("log(x)", (-1.0, 1.0), "log(x) is not finite at x = -"),
        ("exp(x * 200)", (0.0, 1.0), "exp(x * 200) is not finite at x = 0."),
        ("1e999", (0.0, 1.0), "1e999 is not finite at x = 0."),
        ("3", (0.0, 1.0), "3 is 3 for every x: there is nothing to learn"),
        ("x - x", (0.0, 1.0), "x - x is 0 for every x: there is nothing to learn"),
        ("sign(x)", (1.0, 2.0), "sign(x) is 1 for every x: there is nothing to learn"),
        ("1 + x / 1e15", (0.0, 1.0), "1 + x / 1e15 is 1 for every x: there is nothing to learn"),
    ],
)
def test_what_cannot_be_learned_is_refused(text, interval, message):
    with pytest.raises(SettingError) as error:
        sample(target_function(text), interval, 200, np.random.default_rng(0))
    assert str(error.value).startswith(message)


def test_the_remedy_names_the_interval():
    with pytest.raises(SettingError, match=r"give a function that is, everywhere from -1 to 1$"):
        sample(TargetFunction("sqrt(x)"), (-1, 1), 100, np.random.default_rng(0))


def test_a_pole_that_no_point_hits_is_accepted():
    x, y = sample(target_function("1/x"), (-1, 1), 100, np.random.default_rng(0))
    np.testing.assert_allclose(y, 1 / x)


@pytest.mark.parametrize("text", sorted(set(FUNCTIONS) - {"arccos", "arcsin", "log", "sqrt"}))
def test_samples_are_the_generators_and_repeat(text):
    x, y = sample(target_function(text), (-2.5, 2.5), 500, np.random.default_rng(7))
    np.testing.assert_array_equal(x, np.random.default_rng(7).uniform(-2.5, 2.5, 500))
    np.testing.assert_allclose(y, FUNCTIONS[text](x))
