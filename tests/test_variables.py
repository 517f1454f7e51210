"""What a variable says of itself, and that a netCDF file keeps it."""

import subprocess
import sys
from math import inf

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from whydeep.variables import CORRELATION, SHARE, UNLIMITED, Variable

text = st.text(st.characters(codec="ascii", categories=("L", "N", "Zs")), min_size=1, max_size=20)
ends = st.one_of(st.just(inf), st.floats(-1e6, 1e6))
limits = st.tuples(ends.map(lambda x: -abs(x)), ends.map(lambda x: abs(x) + 1))
variables = st.builds(Variable, text, text, st.booleans(), limits)


def test_it_is_written_with_its_unit():
    assert str(Variable("cross entropy", "nat")) == "cross entropy (nat)"
    assert str(Variable("number of classes")) == "number of classes"


def test_only_what_is_said_is_an_attribute():
    assert Variable("classes").attributes == {"long_name": "classes"}
    assert Variable("loss", "nat", log=True).attributes == {"long_name": "loss", "units": "nat", "scale": "log"}
    assert Variable("share", limits=SHARE).attributes == {"long_name": "share", "valid_min": 0, "valid_max": 1}
    assert Variable("norm", limits=(0, inf)).attributes == {"long_name": "norm", "valid_min": 0}


@given(variables)
def test_attributes_say_all_of_it(variable):
    values = xr.DataArray([1.0], dims="seed", attrs=variable.attributes)
    assert Variable.of(values) == variable


@pytest.mark.parametrize(
    "variable", [Variable("x"), Variable("φ", "1/s", True, (0, inf)), Variable("φ", "", False, CORRELATION)]
)
def test_a_file_keeps_it(tmp_path, variable):
    values = xr.DataArray([-2.0, np.nan, 3.0], dims="seed", attrs=variable.attributes)
    xr.Dataset({"x": values}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as stored:
        assert Variable.of(stored.x) == variable
        np.testing.assert_array_equal(stored.x, values)  # limits hide no value


def test_values_without_attributes_have_the_defaults():
    assert Variable.of(xr.DataArray([1.0], dims="seed", name="test_loss")) == Variable(
        "test loss", "", False, UNLIMITED
    )
    assert Variable.of(xr.DataArray([1.0], dims="seed")).meaning == ""


def test_it_needs_nothing_heavy():
    code = (
        "import sys, whydeep.variables; print([name for name in ('torch', 'xarray', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
