import numpy as np
import xarray as xr

from whydeep.claims import Claim, Test, estimate, mean_interval

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


def test_a_claim_applies_where_its_labels_are():
    claim = Claim("X3", "", (), needs={"network": ("shallow", "deep")})
    assert claim.applies(RESULTS)
    assert not claim.applies(RESULTS.sel(network=["deep"]))
