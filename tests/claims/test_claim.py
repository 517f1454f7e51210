from math import inf

import numpy as np
import pytest
import xarray as xr

from whydeep.claims import Claim, Test, estimate, mean_interval
from whydeep.errors import SettingError

RESULTS = xr.Dataset(
    {"loss": (("network", "seed"), np.array([[1.0, 2.0, 4.0], [2.0, 3.0, 7.0]]))},
    coords={"network": ["shallow", "deep"], "seed": [0, 1, 2]},
)


def test_every_part_is_estimated_over_its_seeds():
    claim = Claim("X1", "Losses are small.", (Test("loss", lambda r: r.loss, high=0.1, log=True),))
    shallow, deep = estimate(claim, RESULTS)
    assert (shallow.part, deep.part) == ("shallow", "deep")
    assert shallow.interval == mean_interval([1, 2, 4], log=True)
    assert deep.interval == mean_interval([2, 3, 7], log=True)


def test_paired_differences_have_no_parts():
    claim = Claim(
        "X2",
        "Deep is worse.",
        (
            Test(
                "deep minus shallow",
                lambda r: r.loss.sel(network="deep") - r.loss.sel(network="shallow", drop=True),
                low=0,
            ),
        ),
    )
    (difference,) = estimate(claim, RESULTS)
    assert difference.part == ""
    assert difference.interval == mean_interval([1, 1, 3])
    assert difference.test.rule == "above 0"


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (np.array([5, 1500]), ["batch size 5", "batch size 1500"]),
        (np.array([0.1, 1e-5], dtype=np.float32), ["batch size 0.1", "batch size 1e-05"]),
        (np.array(["small", "large"]), ["small", "large"]),
        (np.array([True, False]), ["True", "False"]),
        (np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]"), ["2020-01-01", "2021-01-01"]),
    ],
)
def test_parts_are_named_by_their_labels(labels, parts):
    x = xr.DataArray(np.ones((2, 3)), dims=("batch_size", "seed"), coords={"batch_size": labels})
    found = estimate(Claim("X", "", (Test("x", lambda r: r.x, low=0),)), xr.Dataset({"x": x}))
    assert [one.part.removesuffix("T00:00:00.000000000").removesuffix("T00:00:00") for one in found] == parts


@pytest.mark.parametrize(("limits", "value"), [((5, 6), 0.1), ((-inf, 1), 1.01), ((0, inf), -0.1)])
def test_a_statistic_outside_its_limits_is_refused(limits, value):
    results = xr.Dataset({"gap": ("seed", [value] * 3)}, {"seed": range(3)})
    claim = Claim("X", "It holds.", (Test("gap", lambda r: r.gap, low=-9, limits=limits),))
    with pytest.raises(SettingError, match="its limits are"):
        estimate(claim, results)


def test_rounding_at_a_limit_is_none():
    results = xr.Dataset({"share": ("seed", [1.0000001, 1.0, 0.5])}, {"seed": range(3)})
    claim = Claim("X", "It holds.", (Test("share", lambda r: r.share, low=0, limits=(0, 1)),))
    assert len(estimate(claim, results)) == 1
