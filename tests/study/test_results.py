"""Results: units side by side; and the settings that every experiment makes, from which they are."""

import numpy as np
import pytest
import xarray as xr

from whydeep.study import Plan, Registry
from whydeep.study.design import SCALES, Images
from whydeep.study.results import combine

EXPERIMENTS = Registry.installed()
MNIST = Images("mnist", 784, 10, 60_000, 10_000)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_settings_have_names_of_their_own_and_a_cost(name, scale):
    experiment = EXPERIMENTS[name]
    settings = experiment.make_settings(Plan(scale, experiment.design.values_at(scale), images=MNIST))
    assert len({setting.name for setting in settings}) == len(settings)
    assert all(0 < setting.cost < 1e6 for setting in settings)


def unit(value, seeds):
    return xr.Dataset({"loss": ("seed", np.full(len(seeds), value))}, coords={"seed": seeds})


def test_missing_parts_become_not_a_number():
    parts = [
        ({"function": "cos", "network": "deep"}, unit(1.0, [0, 1])),
        ({"function": "arcsinh", "network": "shallow"}, unit(2.0, [1])),
    ]
    combined = combine(parts, [0, 1])
    assert combined.function.values.tolist() == ["cos", "arcsinh"]
    assert combined.loss.sel(function="cos", network="deep").values.tolist() == [1.0, 1.0]
    assert np.isnan(combined.loss.sel(function="cos", network="shallow")).all()
    np.testing.assert_array_equal(combined.loss.sel(function="arcsinh", network="shallow"), [np.nan, 2.0])


def test_labels_of_settings_that_are_missing_keep_their_place():
    every = [{"function": "tanh"}, {"function": "cos"}]
    combined = combine([({"function": "cos"}, unit(1.0, [0]))], [0], every)
    assert combined.function.values.tolist() == ["tanh", "cos"]
    np.testing.assert_array_equal(combined.loss, [[np.nan], [1.0]])


def test_an_experiment_of_one_setting_has_no_dimension_for_it():
    assert combine([({}, unit(1.0, [0, 1]))], [0, 1, 2]).loss.dims == ("seed",)


def test_values_that_are_no_numbers_are_refused():
    parts = [({"kind": "a"}, unit(1.0, [0])), ({"kind": "b"}, xr.Dataset({"loss": ("seed", ["x"])}, {"seed": [0]}))]
    with pytest.raises(TypeError, match="loss is not a number in every unit"):
        combine(parts, [0])


def test_numbers_lie_in_ascending_order_whatever_the_order_of_settings():
    every = [{"size": size} for size in (125, 5, 25)]
    combined = combine([(place, unit(place["size"], [0])) for place in every], [0], every)
    assert combined["size"].values.tolist() == [5, 25, 125]
    assert combined.loss.values.ravel().tolist() == [5, 25, 125]
