"""Files of a run folder that are not as they were written: noticed by every command, and mended by a run."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whydeep.runs import RunFolder, netcdf, remove
from whydeep.study import verification

RUN = ("run", "--scale", "smoke", "--seeds", 3, "--out", "run")


def contents(path="run"):
    """What a folder holds, without times: files -> content."""
    folder = RunFolder(path)
    files = {folder.name(file): folder.read(file) for file in folder.files()}
    return {name: data for name, data in files.items() if "manifest" not in name and name != "report.html"}


def flip(path, bits):
    data = bytearray(path.read_bytes())
    for bit in bits:
        data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def swap(path):
    """Put a file of the same kind, which is whole, in its place."""
    others = [other for other in Path("run").rglob(f"*{path.suffix}") if other != path and "damaged" not in other.parts]
    path.write_bytes(others[0].read_bytes() if others else b"")


DAMAGES = {
    "a flipped bit": lambda path: flip(path, [4 * path.stat().st_size]),
    "nothing left": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "another's": swap,
    "gone": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.fixture
def run(workplace, toys, whydeep):
    """A finished run of the toys."""
    assert whydeep(*RUN)[0] == 0
    assert whydeep("verify", "run") == (
        0,
        f"{len(list(RunFolder('run').files()))} files are as they were written\n",
        "",
    )
    return Path("run")


def assert_nothing_is_hidden(whydeep, before, command):
    """A command ends with the same verdicts as before the damage, or with a line."""
    claims = json.loads(before["claims.json"])
    status, _, err = whydeep(command, "run")
    assert status in (0, 2)
    assert "Traceback" not in err
    if status == 0:
        assert json.loads(RunFolder("run").read(Path("run/claims.json"))) == claims
    else:
        assert err.startswith("whydeep: ")
        assert err.count("\n") == 1


def assert_mended(whydeep, before):
    assert whydeep(*RUN)[0] == 0
    assert contents() == before
    assert whydeep("verify", "run")[0] == 0


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    "kind", ["units/*/*/*.nc", "results/*.nc", "sections/*.json", "figures/*.svg", "claims.json", "manifest.json"]
)
def test_each_kind_of_file(run, whydeep, kind, how):
    before = contents()
    DAMAGES[how](next(run.glob(kind)))
    if how not in ("gone", "another's"):
        status, _, err = whydeep("verify", "run")
        assert status == 1
        assert err.startswith("whydeep: ")
    if how != "gone":  # what is gone was not run, as far as a folder can tell
        assert_nothing_is_hidden(whydeep, before, "claims")
        assert_nothing_is_hidden(whydeep, before, "report")
    assert_mended(whydeep, before)


BITS = st.sets(st.integers(0, 2**20), min_size=1, max_size=8)


NO_FILES = {
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a text": lambda path: path.write_text("x"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are files on Unix only")
@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize(
    "place",
    [
        "manifest.json",
        "results/walk.nc",
        "sections/dice.json",
        "claims.json",
        "results",
        "units",
        "units/walk",
        "wide-*",
    ],
)
def test_what_is_no_file_or_folder(run, whydeep, place, what):
    before = contents()
    path = next(run.glob(f"units/walk/{place}")) if "*" in place else run / place
    remove(path)
    NO_FILES[what](path)
    assert_nothing_is_hidden(whydeep, before, "claims")
    status, _, err = whydeep("verify", "run")
    if not place.endswith(".json"):  # of manifests there are two, and what claims writes is made again
        assert status in (1, 2)
        assert err.startswith("whydeep: ")
    assert_mended(whydeep, before)


def test_folders_of_settings_that_are_copied_or_renamed(run, whydeep, caplog):
    before = contents()
    wide = next(run.glob("units/walk/wide-*"))
    shutil.copytree(wide, wide.with_name(wide.name.replace("wide", "aaa")))
    assert_mended(whydeep, before)
    wide.rename(wide.with_name(wide.name.replace("wide", "foo")))
    assert_mended(whydeep, before)
    assert f"it belongs to {wide.name}" in caplog.text


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0, 2**20), BITS), min_size=1, max_size=5), judged=st.booleans())
def test_bits_that_flip_anywhere(run, whydeep, damage, judged):
    whole = run.with_name("whole")
    if not whole.exists():
        shutil.copytree(run, whole)
    shutil.rmtree(run)
    shutil.copytree(whole, run)
    before, files = contents(), sorted(RunFolder(run).files())
    for number, bits in damage:
        flip(files[number % len(files)], bits)
    if judged:
        assert_nothing_is_hidden(whydeep, before, "claims")
    assert_mended(whydeep, before)


def test_what_is_measured_again_is_named(run, whydeep, caplog):
    unit = sorted(run.glob("units/*/*/*.nc"))[0]
    flip(unit, [999])
    assert "1 units measured" in whydeep(*RUN)[1]
    assert f"{unit.relative_to(run).as_posix()} (it is not as it was written)" in caplog.text
    assert (run / "damaged" / unit.relative_to(run)).is_file()


def test_results_of_other_units_are_made_again(run, whydeep):
    """A unit that changed and carries a seal that fits, as one that was measured on another machine."""
    unit = sorted(run.glob("units/walk/*/*.nc"))[0]
    folder = RunFolder(run)
    with xr.load_dataset(unit, engine="h5netcdf") as measured:
        folder.write(unit, netcdf.to_bytes(measured * np.float64(2)))
    status, _, err = whydeep("verify", "run")
    assert (status, err) == (
        1,
        "whydeep: results/walk.nc: made from other units than those that are there: run walk again\n",
    )
    before = folder.read_results("walk")
    assert whydeep(*RUN)[0] == 0
    assert not RunFolder(run).read_results("walk").equals(before)
    assert whydeep("verify", "run")[0] == 0


def test_verdicts_on_other_results_are_noticed(run, whydeep):
    claims = RunFolder(run).read(run / "claims.json")
    assert whydeep("run", "walk", "--scale", "smoke", "--seeds", 4, "--out", "run")[0] == 0
    RunFolder(run).write(run / "claims.json", claims)
    _, _, err = whydeep("verify", "run")
    assert err == "whydeep: claims.json: its verdicts on walk are about other results: run whydeep claims run\n"


@pytest.mark.parametrize(
    "gone", [["manifest.json"], ["manifest.backup.json"], ["manifest.json", "manifest.backup.json"]]
)
def test_manifests_that_are_gone_are_noticed(run, whydeep, gone):
    before = contents()
    for name in gone:
        (run / name).unlink()
    status, _, err = whydeep("verify", "run")
    assert (status, err) == (1, "".join(f"whydeep: {name}: it is gone: run the same command again\n" for name in gone))
    status, _, err = whydeep("verify", "run", "--redo", 1)
    assert status == 1
    assert ("no manifest can be read that says which commands were given" in err) == (len(gone) == 2)
    assert_mended(whydeep, before)


def test_results_that_are_gone_though_verdicts_are_about_them(run, whydeep):
    before = contents()
    (run / "results" / "walk.nc").unlink()
    status, _, err = whydeep("verify", "run")
    assert (status, err) == (
        1,
        "whydeep: results/walk.nc: it is gone, and claims.json has verdicts on it: run walk again\n",
    )
    assert_mended(whydeep, before)


def test_results_without_units_are_said_to_be_unchecked(run, whydeep):
    before = contents()
    shutil.rmtree(run / "units")
    status, out, err = whydeep("verify", "run")
    assert (status, err) == (0, "")
    assert "results that no unit is there to check against: dice, walk" in out
    assert_mended(whydeep, before)


def test_units_are_measured_again_and_compared(run, whydeep):
    status, out, err = whydeep("verify", "run", "--redo", 4)
    assert status == 0
    assert out.count("the same to the byte") == 4
    status, out, err = whydeep("verify", "run", "--redo", 400)
    assert status == 1
    assert "units can be measured again, and 400 were asked for" in err


@pytest.mark.parametrize(
    ("change", "tolerance", "kind", "status"),
    [
        (1e-5, 1e-3, "other", 0),
        (1e-2, 1e-3, "other", 1),
        (1e-2, 1e-1, "other", 0),
        (1e-12, 1e-1, "same", 1),
    ],
)
def test_units_that_differ(run, whydeep, monkeypatch, change, tolerance, kind, status):
    folder = RunFolder(run)
    for unit in run.glob("units/walk/*/*.nc"):
        measured = xr.load_dataset(unit, engine="h5netcdf")
        folder.write(unit, netcdf.to_bytes(measured.assign(distance=measured.distance * (1 + change))))
    assert whydeep(*RUN)[0] == 0
    if kind == "other":
        monkeypatch.setattr(verification, "machine_kind", lambda device: "another")
    every = len(list(run.glob("units/*/*/*.nc")))
    ended, out, err = whydeep("verify", "run", "--redo", every, "--tolerance", tolerance)
    assert ended == status, err
    assert "walk narrow seed 0: distance differs by" in out
    assert ("measured again, and different" in err) == bool(status)
    assert f"on {'another' if kind == 'other' else 'this'} kind of machine" in out


@pytest.mark.parametrize(
    ("change", "says"), [(False, "the same values, which other"), (True, "its form differs by inf")]
)
def test_files_that_hold_the_same_values_in_other_places(run, whydeep, change, says):
    folder = RunFolder(run)
    (unit,) = run.glob("units/walk/narrow-*/seed-0000.nc")
    before, measured = folder.read(unit), xr.load_dataset(unit, engine="h5netcdf")
    if change:
        folder.write(unit, netcdf.to_bytes(measured.assign_attrs(odd=1)))
    else:
        packed = {name: {"zlib": True} for name, values in measured.variables.items() if values.ndim}
        measured.to_netcdf("elsewhere.nc", engine="h5netcdf", encoding=packed)
        folder.write(unit, Path("elsewhere.nc").read_bytes())
    assert folder.read(unit) != before
    assert whydeep(*RUN)[0] == 0
    status, out, _ = whydeep("verify", "run", "--redo", len(list(run.glob("units/*/*/*.nc"))))
    assert (status, out.count(says)) == (int(change), 1)


def test_files_of_experiments_are_not_run_unless_given(workplace, whydeep, tmp_path):
    source = Path(__file__).parents[2] / "examples" / "warm_up.py"
    shutil.copy(source, "warm_up.py")
    status, _, _ = whydeep("run", "warm_up.py", "--scale", "smoke", "--seeds", 1, "--dataset", "digits", "--out", "run")
    assert status == 0
    _, out, err = whydeep("verify", "run", "--redo", 1)
    assert "its experiments are in files of your own: give the files after the folder" in err
    assert "0 units can be measured again, and 1 were asked for" in err
    status, out, _ = whydeep("verify", "run", "warm_up.py", "--redo", 1)
    assert status == 0
    assert "the same to the byte" in out
