import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whydeep.errors import SettingError
from whydeep.networks import MLP, parameter_count, widths_for_budget


@pytest.mark.parametrize(
    ("widths", "count"),
    [
        ((784, 30, 10), 23_860), ((784, 25, 60, 38, 10), 23_893), ((784, 20, 40, 60, 50, 30, 10), 23_890),
        ((784, 10, 15, 10), 8_175), ((784, 2, 5, 10), 1_645), ((784, 800, 400, 10), 952_410),
        ((1, 5, 10, 5, 1), 131), ((1, 3, 5, 1), 32),
    ],
)  # fmt: skip
def test_parameter_counts_of_the_study(widths, count):
    assert parameter_count(widths) == count
    assert sum(parameter.numel() for parameter in MLP(widths).parameters()) == count


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_the_networks_of_function_fitting_have_one_budget(layers):
    widths = widths_for_budget(layers, 1, 1, 1000)
    assert len(widths) == layers + 2
    assert abs(parameter_count(widths) - 1000) <= 10
    assert max(widths[1:-1]) - min(widths[1:-1]) <= 2


@given(st.integers(1, 6), st.integers(1, 800), st.integers(1, 20), st.integers(1, 200_000))
def test_widths_are_within_one_percent_or_the_nearest_count_is_named(layers, inputs, outputs, budget):
    try:
        widths = widths_for_budget(layers, inputs, outputs, budget)
    except SettingError as error:
        nearest = int(re.search(r"nearest reachable count is (\d+)", str(error)).group(1))
        assert abs(nearest - budget) > 0.01 * budget
    else:
        assert (widths[0], widths[-1], len(widths)) == (inputs, outputs, layers + 2)
        assert abs(parameter_count(widths) - budget) <= 0.01 * budget


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(1, 60))
@settings(max_examples=60)
def test_no_other_network_is_nearer_when_none_fits(layers, inputs, outputs, budget):
    """Against all networks with widths up to the budget, which hold every nearest one."""
    try:
        widths_for_budget(layers, inputs, outputs, budget)
    except SettingError as error:
        named = int(re.search(r"nearest reachable count is (\d+)", str(error)).group(1))
        limit = {1: 61, 2: 40, 3: 22}[layers]
        counts = {
            parameter_count((inputs, *hidden, outputs)) for hidden in itertools.product(range(1, limit), repeat=layers)
        }
        assert abs(named - budget) == min(abs(count - budget) for count in counts)


def test_errors_say_what_to_do():
    with pytest.raises(SettingError, match=r"has 1000 parameters within 1%: the nearest reachable count is 805"):
        widths_for_budget(1, 784, 10, 1000)
    with pytest.raises(SettingError, match="budget must be 1 or more, not 0"):
        widths_for_budget(1, 1, 1, 0)
    with pytest.raises(SettingError, match="no activation is called 'rleu': did you mean relu"):
        MLP((1, 2, 1), "rleu")
    with pytest.raises(SettingError, match="make no network"):
        MLP((1, 0, 1))
