"""What must have been run: labels without which nothing is computed, and conditions on settings."""

import json

import numpy as np
import pytest
import xarray as xr

from whydeep.claims import Claim, Need
from whydeep.errors import SettingError

SETTINGS = [
    {
        "hidden": "200-100",
        "epochs": 5,
        "learning_rate": 0.01,
        "optimizer": "sgd",
        "widths": [784, 200, 10],
        "shared": True,
    },
    {"hidden": "10", "epochs": 70, "learning_rate": 0.01, "optimizer": "sgd", "widths": [784, 10, 10], "shared": True},
]
RESULTS = xr.Dataset(
    {
        "parameters": (("hidden", "seed"), [[150_000.0, np.nan], [9_000.0, 9_000.0]]),
        "gap": (("hidden", "seed"), np.full((2, 2), np.nan)),
        "kind": (("hidden", "seed"), [["a", "b"]] * 2),
    },
    coords={"hidden": ["200-100", "10"], "rate": [0.5, 0.25], "seed": [0, 1]},
    attrs={"settings": json.dumps(SETTINGS)},
)


@pytest.mark.parametrize(
    ("need", "text", "unmet"),
    [
        (Need("epochs", least=40), "epochs at least 40", "5 of 40 epochs"),
        (Need("epochs", least=5), "epochs at least 5", ""),
        (Need("epochs", most=70), "epochs at most 70", ""),
        (Need("epochs", most=10), "epochs at most 10", "epochs 70 instead of at most 10"),
        (Need("epochs", least=6, most=80), "epochs from 6 to 80", "epochs 5 instead of from 6 to 80"),
        (Need("epochs", least=1, most=6), "epochs from 1 to 6", "epochs 70 instead of from 1 to 6"),
        (Need("epochs", equals=5), "epochs 5", "epochs 70 instead of 5"),
        (Need("epochs", least=40, where={"hidden": "10"}), "epochs at least 40 where hidden 10", ""),
        (Need("epochs", least=40, where={"hidden": "200-100"}), "epochs at least 40 where hidden 200-100", "5 of 40 epochs (hidden 200-100)"),
        (Need("epochs", least=40, where={"hidden": "7"}), "epochs at least 40 where hidden 7", "no setting with hidden 7"),
        (Need("epochs", least=1, where={"depth": 7}), "epochs at least 1 where depth 7", "no setting with depth 7"),
        (Need("epochs", least=6, where={"widths": (784, 200, 10)}), "epochs at least 6 where widths (784, 200, 10)", "5 of 6 epochs (widths (784, 200, 10))"),
        (Need("learning_rate", equals=0.001), "learning rate 0.001", "learning rate 0.01 instead of 0.001"),
        (Need("learning_rate", least=0.1), "learning rate at least 0.1", "learning rate 0.01 instead of at least 0.1"),
        (Need("learning_rate", equals=0.01), "learning rate 0.01", ""),
        (Need("optimizer", equals="adam"), "optimizer adam", "optimizer sgd instead of adam"),
        (Need("optimizer", equals="sgd"), "optimizer sgd", ""),
        (Need("optimizer", least=3), "optimizer at least 3", "optimizer sgd instead of at least 3"),
        (Need("widths", equals=(784, 200, 10)), "widths 784-200-10", "widths 784-10-10 instead of 784-200-10"),
        (Need("widths", equals=(784.0, 200, 10), where={"hidden": "200-100"}), "widths 784-200-10 where hidden 200-100", ""),
        (Need("shared", equals=True), "shared True", ""),
        (Need("depth", least=3), "depth at least 3", "depth is not known"),
        (Need("parameters", least=100_000), "parameters at least 100,000", "9,000 of 100,000 parameters"),
        (Need("parameters", least=100_000, most=300_000, where={"hidden": "200-100"}), "parameters from 100,000 to 300,000 where hidden 200-100", ""),
        (Need("parameters", least=1, where={"hidden": "7"}), "parameters at least 1 where hidden 7", "no setting with hidden 7"),
        (Need("gap", least=1), "gap at least 1", "gap is not known"),
        (Need("kind", equals="a"), "kind a", "kind is not known"),
    ],
)  # fmt: skip
def test_conditions(need, text, unmet):
    assert str(need) == text
    assert need.unmet(RESULTS) == unmet
    assert need.lacking(RESULTS) == ()
    assert Claim("X", "", (), needs=(need,)).unmet(RESULTS) == ((unmet,) if unmet else ())


def test_settings_count_before_a_variable_of_the_same_name():
    results = RESULTS.assign(epochs=("seed", [50.0, 50.0]))
    assert Need("epochs", least=40).unmet(results) == "5 of 40 epochs"
    assert not Need("epochs", least=40).unmet(results.drop_attrs())


def test_one_setting_of_many_without_the_field_leaves_it_unknown():
    results = xr.Dataset(attrs={"settings": json.dumps([{"epochs": 50}, {"steps": 3}])})
    assert Need("epochs", least=40).unmet(results) == "epochs is not known"


@pytest.mark.parametrize(
    ("labels", "missing", "unmet"),
    [
        (("200-100", "10"), "", ""),
        (["10"], "", ""),
        (("10", "7"), "hidden 10, 7", "no hidden 7"),
        ((), "", ""),
    ],
)
def test_labels(labels, missing, unmet):
    need = Need("hidden", labels=labels)
    assert need.unmet(RESULTS) == unmet
    assert Claim("X", "", (), needs=(need,)).missing(RESULTS) == missing


def test_all_labels_are_named_if_some_are_missing():
    conditions = Need("epochs", least=1000)
    claim = Claim("X", "", (), needs=(Need("hidden", labels=("10",)), conditions, Need("batch_size", labels=(5, 50))))
    assert claim.missing(RESULTS) == "hidden 10; batch size 5, 50"
    assert claim.unmet(RESULTS) == ("5 of 1,000 epochs", "no batch size 5, 50")
    assert Need("rate", labels=(0.25, 0.5)).lacking(RESULTS) == ()
    single = RESULTS.assign_coords(rate=np.array([0.1, 0.3], dtype=np.float32))
    assert Need("rate", labels=(0.1,)).lacking(single) == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Need("epochs"), "'epochs' has none"),
        (lambda: Need("epochs", least=1, equals=3), "'epochs' has least 1, equals 3"),
        (lambda: Need("epochs", labels=(1,), most=3), "one of labels, bounds (least, most) or equals"),
        (
            lambda: Need("epochs", labels="adam"),
            "labels of epochs are a tuple of labels, without where, not labels 'adam'",
        ),
        (lambda: Need("epochs", labels=(1,), where={"a": 1}), "labels of epochs are a tuple of labels, without where"),
        (lambda: Need("epochs", least="3"), "bounds of epochs are numbers, least not above most, not least '3'"),
        (lambda: Need("epochs", least=3, most=2), "bounds of epochs are numbers, least not above most"),
        (lambda: Need("epochs", least=True), "bounds of epochs are numbers"),
        (lambda: Need("epochs", least=1, where="a"), "where is a dictionary"),
        (lambda: Claim("X", "", (), needs={"hidden": ("10",)}), "needs of claim X are a tuple of Need, not {'hidden'"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(SettingError) as raised:
        make()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
