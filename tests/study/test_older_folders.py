"""Folders that an older version wrote, and folders that were damaged: read, judged, reported and continued."""

import html
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from toys import DICE, TOYS

from whydeep.claims.wording import TEST
from whydeep.runs import RunFolder
from whydeep.study import Registry
from whydeep.study.results import read_results

OLDER = Path(__file__).with_name("older_run.zip")
"""What version 0.1.0 wrote by ``whydeep run parameter-count --scale smoke --seeds 2 --dataset digits``, when settings had
no optimiser and results said nothing of images, changes and sources."""
RUN = ("run", "parameter-count", "--scale", "smoke", "--seeds", 2, "--dataset", "digits", "--out", "run")


def records(folder="run"):
    return {record["id"]: record for record in json.loads((Path(folder) / "claims.json").read_text())["claims"]}


def report_of(folder="run"):
    return html.unescape((Path(folder) / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def older(workplace, in_this_process):
    with zipfile.ZipFile(OLDER) as archive:
        archive.extractall("run")
    return Path("run")


# -- of an older version --------------------------------------------------------------------------------------------


def test_the_older_folder_is_one(older):
    results = xr.load_dataset(older / "results" / "parameter-count.nc", engine="h5netcdf")
    assert not {"images", "changes", "source"} & set(results.attrs)
    assert not {"optimizer", "activation"} & set(json.loads(results.attrs["settings"])[0])
    assert not {"needs", "unmet", "tests"} & set(records()["C17"])
    assert not (older / "sections").exists()


def test_it_is_judged(older, whydeep):
    status, out, err = whydeep("claims", "run")
    assert (status, err) == (0, "")
    record = records()["C17"]
    assert record["verdict"] == "preview"
    assert record["unmet"] == [
        "dataset digits instead of MNIST",
        "1 of 70 epochs",
        "500 of 60,000 train images",
        "355 of 10,000 test images",
    ]  # as ever, by Adam and with ReLU
    assert record["decided_by"] == "whydeep run parameter-count --scale full --dataset mnist --out older"
    assert "C17  PREVIEW" in out
    assert not (older / "report.html").exists()


def test_it_is_reported(older, whydeep):
    assert whydeep("report", "run")[0] == 0
    report = report_of()
    assert "Final loss of 10 networks" in report
    assert "optimizer adam" in report  # what all settings share, with fields that were added later
    assert "whydeep run parameter-count --scale smoke --seeds 2 --dataset digits" in report
    assert "earlier run" not in report
    assert "Changed" not in report
    assert {path.name for path in (older / "figures").glob("*.svg")} == {"figure-13.svg", "figure-14.svg"}


def test_its_units_are_measured_again_as_networks_are_computed_otherwise(older, whydeep):
    before = xr.load_dataset(older / "results" / "parameter-count.nc", engine="h5netcdf")
    status, out, _ = whydeep(*RUN)
    assert status == 0
    assert "20 units measured, 0 were there already" in out
    after = RunFolder("run").read_results("parameter-count")
    for name in before.data_vars:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-3)


def test_its_units_are_measured_again_as_they_carry_no_checksum(older, whydeep, caplog, monkeypatch):
    monkeypatch.setattr("whydeep.study.resolve.arithmetic", lambda device: "torch")  # as where nothing can be compiled
    before = xr.load_dataset(older / "results" / "parameter-count.nc", engine="h5netcdf")
    status, out, _ = whydeep(*RUN)
    assert status == 0
    assert "20 units measured, 0 were there already" in out
    assert "20 not as written, set aside in run/damaged and made again" in caplog.text
    assert "an earlier version wrote it" in caplog.text
    after = RunFolder("run").read_results("parameter-count")
    for name in before.data_vars:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-3)
    assert "earlier run" not in report_of()
    assert len(list(Path("run/damaged").rglob("*.nc"))) == 20
    _, out, _ = whydeep(*RUN)
    assert "0 units measured, 20 were there already" in out


def test_results_of_other_experiments_in_it_stay(older, whydeep):
    before = xr.load_dataset(older / "results" / "parameter-count.nc", engine="h5netcdf")
    assert whydeep("run", "gradient-norm", "--scale", "smoke", "--seeds", 2, "--out", "run")[0] == 0
    assert RunFolder("run").read_results("parameter-count").equals(before)
    assert "optimizer adam" in report_of()


def test_what_is_measured_today_is_what_was_measured_then(older, whydeep):
    results = RunFolder(older).read_results("parameter-count")
    whydeep(*RUN, "--out", "new", "--set", "parameter-count.hidden=2-5,50-25")
    today = RunFolder("new").read_results("parameter-count")
    then = results.sel(hidden=["2-5", "50-25"])
    for name in then.data_vars:  # to the bit on one machine; others round in other places
        np.testing.assert_allclose(today[name], then[name], rtol=1e-3)


def test_variables_and_fields_that_were_not_written_are_filled_in(older):
    results = read_results(RunFolder(older), "parameter-count", Registry.installed()["parameter-count"])
    assert results.test_loss.attrs["scale"] == "log"
    settings = json.loads(results.attrs["settings"])
    assert {setting["optimizer"] for setting in settings} == {"adam"}
    assert [setting["hidden"] for setting in settings] == results.hidden.values.tolist()
    assert results.attrs["changes"] == "{}"


# -- of an experiment whose file is not given -----------------------------------------------------------------------


@pytest.fixture
def stored(workplace, toys, whydeep, monkeypatch):
    """A folder with walks, which are not installed any more, and dice."""
    assert whydeep("run", "--scale", "smoke", "--seeds", 3, "--out", "run")[0] == 0
    monkeypatch.setattr(Registry, "installed", classmethod(lambda _: Registry([DICE])))
    return Path("run")


def write(path, content):
    """Write what another version of whydeep may have written, with a seal where it can have any."""
    try:
        RunFolder("run").write(path, content.encode())
    except ValueError:
        path.write_text(content)


def refused(whydeep, *words):
    """The line with which a command ends, before it writes anything."""
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    status, out, err = whydeep(*words)
    assert (status, out) == (2, "")
    assert err.startswith("whydeep: ")
    assert err.count("\n") == 1
    return err, {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_nothing_is_lost_by_a_report(stored, whydeep):
    claims, report = (stored / "claims.json").read_text(), report_of()
    for command in ("claims", "report", "report"):
        status, _, err = whydeep(command, "run")
        assert status == 0
        assert "walk: figures, texts and claims are those that are stored" in err
        assert sorted(records().values(), key=str) == sorted(json.loads(claims)["claims"], key=str)
    stored_report = report_of()
    for text in (
        "W1",
        "Wide walks go 1.5 times as far.",
        '<figure id="walks">',
        "Ends: geometric mean",
        "without a sign",
    ):
        assert text in report
        assert text in stored_report
    whydeep("run", "dice", "--scale", "smoke", "--seeds", 3, "--out", "run")
    assert set(records()) == {"W1", "W2", "D1"}
    assert '<figure id="walks">' in report_of()


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"name": "walk"}'])
def test_a_section_that_cannot_be_read(stored, whydeep, content):
    path = stored / "sections" / "walk.json"
    path.unlink() if content is None else write(path, content)
    err, _ = refused(whydeep, "report", "run")
    assert "sections/walk.json" in err
    assert "give the file that defines walk to write it again, or delete results/walk.nc to leave it out" in err
    (stored / "results" / "walk.nc").unlink()
    assert whydeep("report", "run")[0] == 0
    assert "walk" not in report_of().partition("<main")[2].partition('id="reproduce"')[0]


@pytest.mark.parametrize("command", ["claims", "report"])
def test_records_of_an_older_version(stored, whydeep, command, monkeypatch):
    kept = ("id", "experiment", "statement", "source", "reading", "verdict", "reason", "n", "p", "parts")
    old = [{key: record[key] for key in kept} | {"test": TEST} for record in records().values()]
    write(stored / "claims.json", json.dumps({"claims": old}, indent=1) + "\n")
    err, untouched = refused(whydeep, command, "run")
    assert untouched
    assert "the record of claim 'W1' can't be judged again (KeyError: 'tests')" in err
    assert "give the Python file of walk after the folder, or delete claims.json to leave its claims out" in err
    (stored / "claims.json").unlink()
    assert whydeep(command, "run")[0] == 0
    assert set(records()) == {"D1"}
    monkeypatch.setattr(Registry, "installed", classmethod(lambda _: TOYS))  # the other way out
    write(stored / "claims.json", json.dumps({"claims": old}, indent=1) + "\n")
    assert whydeep(command, "run")[0] == 0
    assert set(records()) == {"W1", "W2", "D1"}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"claims": 3}', '{"claims": [3]}', '{"claims": [{}]}'])
def test_claims_that_cannot_be_read(stored, whydeep, content, monkeypatch):
    write(stored / "claims.json", content)
    err, untouched = refused(whydeep, "report", "run")
    assert untouched
    assert "claims.json cannot be read" in err
    assert "give the Python file of walk after the folder, or delete claims.json" in err
    monkeypatch.setattr(Registry, "installed", classmethod(lambda _: TOYS))
    assert whydeep("report", "run")[0] == 0  # where nothing is only there, they are written again
    assert set(records()) == {"W1", "W2", "D1"}


def test_drawings_that_are_gone_are_named(stored, whydeep):
    (stored / "figures" / "walks.svg").unlink()
    assert whydeep("report", "run")[0] == 0
    assert "Drawings that are not there any more: walks." in report_of()


def test_figures_of_the_same_name_are_refused(stored, whydeep):
    folder = RunFolder(stored)
    folder.write_results("stroll", folder.read_results("walk"))
    section = folder.read(stored / "sections" / "walk.json").decode()
    write(stored / "sections" / "stroll.json", section.replace('"name": "walk"', '"name": "stroll"'))
    err, _ = refused(whydeep, "report", "run")
    assert "stroll and walk both have a figure called walks: give one another name, or delete results/walk.nc" in err


def test_results_of_another_format(stored, whydeep):
    folder = RunFolder(stored)
    results = folder.read_results("walk")
    folder.write_results("walk", results.assign_attrs(format=99))
    err, untouched = refused(whydeep, "report", "run")
    assert untouched
    assert "walk.nc was written by another version of whydeep: run it again" in err
