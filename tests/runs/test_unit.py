import dataclasses
import enum
from dataclasses import dataclass, field, make_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.errors import SettingError
from whydeep.runs import Context, digest
from whydeep.runs.unit import split_seeds

from .work import make_job, noise


@dataclass(frozen=True)
class Network:
    widths: tuple[int, ...] = (8, 8)
    rate: float = 0.1
    activation: str = "relu"
    seen: float | None = None


networks = st.builds(
    Network,
    st.lists(st.integers(1, 99), max_size=3).map(tuple),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.none() | st.floats(allow_nan=False),
)


@given(networks, networks)
def test_digests_are_equal_exactly_when_settings_are(one, other):
    assert (digest("toy", one) == digest("toy", other)) == (one == other)


@given(networks)
def test_a_new_field_with_a_default_keeps_old_digests(network):
    wider = make_dataclass("Network", [("added", int, field(default=3))], bases=(Network,), frozen=True)
    values = dataclasses.asdict(network)
    assert digest("toy", wider(**values)) == digest("toy", network)
    assert digest("toy", wider(**values, added=4)) != digest("toy", network)


def test_facts_and_experiment_count_but_facts_that_are_none_do_not():
    network = Network()
    assert digest("toy", network, device=None) == digest("toy", network)
    different = {digest("toy", network), digest("other", network), digest("toy", network, device="cpu")}
    assert len(different | {digest("toy", network, device="cuda")}) == 4
    assert digest("toy", network, a=1, b=2) == digest("toy", network, b=2, a=1)


def test_a_digest_never_changes_between_versions():
    assert digest("toy", Network((4,), 0.5), root_seed=7) == "c3350d6eb4ad"


def test_cost_and_fields_that_do_not_compare_are_left_out():
    Setting = make_dataclass("Setting", [("cost", float), ("note", str, field(compare=False))], frozen=True)
    assert digest("toy", Setting(1.0, "a")) == digest("toy", Setting(2.0, "b"))


def test_nested_values_count_with_their_type():
    Adam = make_dataclass("Adam", [("rate", float)], frozen=True)
    SGD = make_dataclass("SGD", [("rate", float)], frozen=True)
    Setting = make_dataclass("Setting", [("value", object)], frozen=True)
    Color = enum.Enum("Color", "RED BLUE")
    values = [
        Adam(1),
        SGD(1),
        Color.RED,
        Color.BLUE,
        {"a": 1},
        {"a": 2},
        np.float32(0.5),
        float("nan"),
        "nan",
    ]
    assert len({digest("toy", Setting(value)) for value in values}) == len(values)
    with pytest.raises(SettingError, match="of type object: use numbers"):
        digest("toy", Setting(object()))


def test_seeds_are_split_and_checked():
    job = make_job(noise, seeds=(3, 5))
    units = split_seeds(job, noise(job.setting, job.seeds, Context()))
    assert [unit.seed.item() for unit in units.values()] == [3, 5] == list(units)
    with pytest.raises(ValueError, match=r"returned the seed coordinate \(7,\), expected \(3, 5\)"):
        split_seeds(job, noise(job.setting, (7,), Context()))
