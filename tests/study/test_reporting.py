"""What the report says of its runs: facts, notices, notes, commands, labels, settings."""

import json

import numpy as np
import pytest
import xarray as xr
from toys import DICE, TOYS, WALK

import whydeep
from whydeep.claims import Case, judge
from whydeep.report.elements import Figure, Table
from whydeep.study import Experiment, provenance, reporting
from whydeep.study.drawing import make_figures, make_tables
from whydeep.study.reporting import settings_table

ATTRIBUTES = {"scale": "quick", "root_seed": 0, "dataset": "", "dataset_origin": "", "changes": "{}"}


def results_of(**attributes):
    return xr.Dataset(coords={"seed": [0, 1]}, attrs=ATTRIBUTES | attributes)


def test_the_code_that_ran_and_the_code_that_judged_are_named(monkeypatch):
    manifest = {
        "versions": {},
        "device": "cpu",
        "cpu_count": 2,
        "platform": "p",
        "configuration": {"dataset_fingerprint": ""},
    }
    manifest |= {"whydeep": "9.9", "git": {"commit": "a" * 40, "dirty": True}}
    monkeypatch.setattr(provenance, "git_state", lambda _: {"commit": "b" * 40, "dirty": False})
    assert dict(provenance.environment(manifest))["Code"] == (
        f"last run with whydeep 9.9, commit {'a' * 40} with changes that are not committed; "
        f"judged and written with whydeep {whydeep.__version__}, commit {'b' * 40}"
    )
    same = manifest | {"whydeep": whydeep.__version__, "git": {"commit": "b" * 40, "dirty": False}}
    assert "judged" not in dict(provenance.environment(same))["Code"]


@pytest.mark.parametrize(
    ("configuration", "earlier"),
    [
        ({}, []),
        ({"scale": "full"}, ["first", "second"]),
        ({"seeds": 5}, ["first", "second"]),
        ({"root_seed": 1}, ["first", "second"]),
        ({"dataset": "mine"}, ["second"]),
        ({"dataset_origin": "folder b"}, ["second"]),
        ({"dataset": None, "dataset_origin": None}, ["second"]),
        ({"experiments": ["first"], "changes": {}}, []),
        ({"experiments": ["first"], "changes": {"first": {"epochs": "3"}}}, ["first"]),
        ({"changes": {"first": {"epochs": "3"}}}, []),  # the last run was not of it
    ],
)
def test_results_of_earlier_runs_are_named(configuration, earlier):
    results = {"first": results_of(), "second": results_of(dataset="images", dataset_origin="folder a")}
    last = {"scale": "quick", "seeds": 2, "root_seed": 0, "dataset": "images", "dataset_origin": "folder a"}
    assert provenance.from_earlier_runs(results, last | {"experiments": []} | configuration) == earlier


def test_claims_that_are_not_judged_say_why():
    results = xr.Dataset(coords={"kind": ["wide"], "seed": [0, 1]}, attrs={"settings": "[]"})
    judged = judge([Case("walk", WALK.claims[0], results), Case("dice", DICE.claims[0], None)])
    note = reporting._verdicts_note(judged, {"walk": results})
    assert note.startswith("No claim was tested.")
    assert " 1 claims have no verdict" in note
    assert " Claims about experiments that were not run: 1." in note


def test_the_last_of_equal_commands_is_repeated():
    runs = [{"command": ["whydeep", "run", "--seeds", str(seeds)]} for seeds in (2, 3, 2)]
    results = {"a": results_of(scale="smoke")}
    configuration = ATTRIBUTES | {"scale": "smoke", "experiments": ["b"], "seeds": 2, "changes": {}}
    manifest = runs[2] | {"history": runs[:2], "configuration": configuration}
    assert provenance.command(results, manifest).splitlines() == ["whydeep run --seeds 3", "whydeep run --seeds 2"]
    alone = manifest | {"configuration": configuration | {"experiments": ["a"]}}
    assert provenance.command(results, alone) == "whydeep run --seeds 2"


def test_labels_of_any_number_can_be_written():
    functions = [f"x**{power}" for power in range(20)]
    results = xr.Dataset(coords={"function": functions, "epoch": range(1, 81), "alpha": [0.5, 1.0]})
    results["loss"] = ("place", [1.0])  # without labels
    assert reporting._labels(results) == f"function: {', '.join(functions)}; epoch: 1 to 80; alpha: 0.5, 1"


def test_settings_begin_with_what_tells_them_apart_and_numbers_are_on_the_right():
    results = xr.Dataset(coords={"network": ["a", "b"]})
    rows = [
        {"widths": [2, 3, 1], "epochs": 5, "rate": 0.1, "network": "a"},
        {"widths": [2, 1, 1], "epochs": 1000, "rate": 0.1, "network": "b"},
    ]
    sentence, table = settings_table("E0. Test", rows, results)
    assert sentence == "All settings: rate 0.1."
    assert table.header == ("network", "widths", "epochs", "parameters")
    assert table.rows == (("a", "2-3-1", "5", "13"), ("b", "2-1-1", "1,000", "5"))
    assert table.numeric == (2, 3)


def test_a_setting_of_nothing_is_no_table():
    sentence, table = settings_table("Dice", [{"throws": 60}], xr.Dataset())
    assert (sentence, table.header, table.rows) == ("All settings: throws 60.", (), ())
    assert settings_table("Dice", [{}], xr.Dataset())[0] == "All settings: nothing in common."


@pytest.mark.parametrize("several", [False, True])
def test_figures_and_tables_are_one_or_several(several):
    figures, table = [Figure(name, "A", "", "", lambda: None) for name in "ab"], Table("t", (), ())

    def experiment(figures=(), tables=()):
        return Experiment("toy", "Why?", lambda plan: [], lambda setting, run: None, figures=figures, tables=tables)

    made = experiment(
        (lambda _: figures if several else figures[0],), (lambda _: (table, table) if several else table,)
    )
    assert make_figures(made, xr.Dataset()) == figures[: 1 + several]
    assert make_tables(made, xr.Dataset()) == [table] * (1 + several)
    assert make_tables(experiment(tables=()), xr.Dataset()) == []


def test_without_tables_everything_with_one_number_is_shown():
    results = xr.Dataset({"sixes": ("seed", np.array([0.1, 0.3])), "each": (("seed", "throw"), np.ones((2, 3)))})
    results.attrs["settings"] = json.dumps([{"throws": 3}])
    (table,) = make_tables(TOYS["dice"], results)
    assert table.header == ("setting", "sixes")
    assert table.rows[0][0] == "all"
