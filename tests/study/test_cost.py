"""What a run takes, said beforehand."""

import re

import pytest

from whydeep.data import map_dataset
from whydeep.runs import RunFolder, execute
from whydeep.study import cost
from whydeep.study.resolve import Study


def test_cost_is_said_for_each_experiment_and_together(toys, whydeep, monkeypatch):
    monkeypatch.setattr(cost, "measure_slowness", lambda: 2.0)
    status, out, err = whydeep("list", "--cost", "--seeds", 50, "--workers", 3)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == [
        "experiment",
        "settings",
        "units",
        "core",
        "time",
        "memory",
        "of",
        "a",
        "worker",
        "disk",
    ]
    assert lines[1].split()[:3] == ["walk", "2", "100"]
    assert re.search(r"about 2 to 7 min .* 8\.\d MB$|about \d to \d+ min", lines[1])
    assert "with 3 workers" in out
    _, alone, _ = whydeep("list", "walk", "--cost", "--seeds", 50)
    assert "dice" not in alone


def test_the_machine_is_measured():
    assert 0.01 < cost.measure_slowness() < 1000


def test_a_run_keeps_to_the_memory_that_it_is_given(toys, workplace, whydeep, monkeypatch):
    given = []

    def watch(*arguments, memory, **options):
        given.append(memory)
        return execute(*arguments, memory=memory, **options)

    monkeypatch.setattr("whydeep.study.run.execute", watch)
    assert whydeep("run", "--scale", "smoke", "--seeds", 2, "--memory", "1G", "--workers", 1, "--out", "run")[0] == 0
    assert given == [2**30 - cost.PROCESS]
    status, _, err = whydeep("run", "--scale", "smoke", "--seeds", 2, "--memory", "100M", "--out", "other")
    assert status == 2
    assert re.fullmatch(r"whydeep: \w+ .* needs about \d+ MB of memory for one seed.*: give --memory more.*\n", err)


def test_by_default_it_is_what_is_free(toys, workplace, monkeypatch):
    monkeypatch.setattr("whydeep.study.resolve.available_memory", lambda: 10 * 2**30)
    from whydeep.study import Request
    from whydeep.study.resolve import resolve

    study = resolve(Request(("walk",)))
    assert isinstance(study, Study)
    assert study.memory == pytest.approx(9 * 2**30)


def test_images_that_processes_share_are_the_same(workplace, whydeep, in_this_process, monkeypatch):
    words = ("run", "parameter-count", "--scale", "smoke", "--seeds", 1, "--dataset", "digits", "--workers", 2)
    words += ("--set", "parameter-count.hidden=2-5,4-8")
    assert whydeep(*words, "--out", "alone")[0] == 0
    mapped = []

    def watch(*arguments):
        mapped.append(map_dataset(*arguments))
        return mapped[-1]

    monkeypatch.setattr("whydeep.study.run.WORTH_MAPPING", 1)
    monkeypatch.setattr("whydeep.study.run.map_dataset", watch)
    assert whydeep(*words, "--out", "shared")[0] == 0
    assert len(mapped) == 1
    assert not mapped[0].folder.exists()
    alone, shared = (RunFolder(name).read_results("parameter-count") for name in ("alone", "shared"))
    assert alone.identical(shared)


def test_without_room_for_them_each_process_reads_them(workplace, whydeep, in_this_process, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("whydeep.study.run.WORTH_MAPPING", 1)
    monkeypatch.setattr("whydeep.study.run.map_dataset", full)
    words = ("run", "parameter-count", "--scale", "smoke", "--seeds", 1, "--dataset", "digits", "--workers", 2)
    assert whydeep(*words, "--set", "parameter-count.hidden=2-5", "--out", "run")[0] == 0
