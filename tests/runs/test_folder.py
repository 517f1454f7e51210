import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

from whydeep.errors import RunError
from whydeep.runs import Context, RunFolder, netcdf
from whydeep.runs.atomic import write_atomically
from whydeep.runs.lock import exclusive

from .work import make_job, noise

WRITE = """
import sys; sys.path.insert(0, sys.argv[1])
from work import *
from whydeep.runs import netcdf
import hashlib
print(hashlib.sha256(netcdf.to_bytes(noise(Toy(), (0, 1), Context()))).hexdigest())
"""


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.manifest.write_text('{"whydeep": "0"}')
    return folder


def store(folder, job, seeds):
    for seed in seeds:
        data = noise(job.setting, (seed,), Context())
        folder.store(job, seed, netcdf.to_bytes(data))


def test_equal_data_sets_give_equal_bytes_in_two_processes_seconds_apart():
    def write(hash_seed):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", WRITE, str(Path(__file__).parent)]
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

    assert write("1") == write("2")


def test_bytes_in_memory_are_those_of_a_file(tmp_path):
    data = noise(make_job(noise).setting, (0, 1), Context())
    data.to_netcdf(tmp_path / "file.nc", engine="h5netcdf")
    assert netcdf.to_bytes(data) == (tmp_path / "file.nc").read_bytes()


def test_units_come_back_as_they_were(folder):
    job = make_job(noise, seeds=(0, 4, 2))
    store(folder, job, job.seeds)
    loaded, measured = folder.load(job), noise(job.setting, job.seeds, Context())
    xarray.testing.assert_identical(loaded, measured)
    assert loaded.loss.dtype == np.float32
    assert folder.unit(job, 4).relative_to(folder.path).as_posix() == f"units/toy/level-0-{job.digest}/seed-0004.nc"


def test_what_is_missing_or_damaged_or_of_another_unit_is_not_used(folder):
    job, other = make_job(noise, seeds=(0, 1, 2, 3, 4, 5)), make_job(noise, level=1)
    store(folder, job, (0, 1, 2, 3, 4))
    store(folder, other, (5,))
    whole = folder.unit(job, 1).read_bytes()
    folder.unit(job, 1).write_bytes(whole[: len(whole) // 2])
    folder.unit(job, 2).write_bytes(b"")
    folder.unit(job, 3).write_bytes(folder.unit(job, 0).read_bytes())
    folder.unit(job, 5).write_bytes(folder.unit(other, 5).read_bytes())
    assert folder.missing(job) == (1, 2, 3, 5)
    assert [reason.partition(" ")[2].partition(":")[0] for reason in folder.damaged(job).values()] == [
        "carries no checksum",
        "carries no checksum",
        f"is units/toy/level-0-{job.digest}/seed-0000.nc",
        f"is units/toy/level-1-{other.digest}/seed-0005.nc",
    ]
    assert folder.load(job).seed.values.tolist() == [0, 4]


def test_damaged_files_are_set_aside_and_named(folder, caplog):
    job = make_job(noise)
    for count in range(2):
        store(folder, job, (0,))
        folder.unit(job, 0).write_bytes(b"damaged")
        with caplog.at_level(logging.WARNING):
            folder.set_aside(folder.damaged(job))
        assert "level-0" in caplog.text
        assert len(list((folder.path / "damaged").rglob("*.nc*"))) == count + 1
        assert not folder.unit(job, 0).exists()


def test_nothing_there_is_an_error_that_says_what_to_do(folder, tmp_path):
    with pytest.raises(RunError, match=r"no result of toy level 0 \(seeds 0, 1\): run toy first"):
        folder.load(make_job(noise))
    folder.write_results("toy", xarray.Dataset({"a": 1}))
    with pytest.raises(RunError, match="did you mean toy"):
        folder.read_results("toys")
    folder.results("toy").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"damaged .* run the same command again"):
        folder.read_results("toy")
    with pytest.raises(RunError, match="holds no whydeep run"):
        RunFolder(tmp_path / "nowhere").require()


def test_a_foreign_folder_is_never_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for fresh in (False, True):
        with pytest.raises(RunError, match="holds other things"), RunFolder(tmp_path).claim(fresh=fresh):
            pass
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(RunError, match="holds other things"), RunFolder(tmp_path).claim():
        pass
    with pytest.raises(RunError, match="is a file"), RunFolder(tmp_path / "thesis.tex").claim():
        pass
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_fresh_removes_only_what_a_run_wrote(folder):
    store(folder, make_job(noise), (0, 1))
    folder.figures.mkdir()
    folder.report.write_text("old")
    (folder.path / "notes.txt").write_text("mine")
    with folder.claim(fresh=True):
        assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "notes.txt"]


def test_a_folder_is_held_by_one_process_at_a_time(folder):
    busy = pytest.raises(RunError, match=f"in use by process {os.getpid()}: wait")
    with folder.claim(), busy, folder.claim():
        pass
    with folder.claim():
        pass


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    path = tmp_path / ".lock"
    hold = "import sys, time; from pathlib import Path; from whydeep.runs.lock import exclusive\n"
    hold += "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"process {holder.pid}:"), exclusive(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert path.read_text() == str(holder.pid)
    with exclusive(path):
        assert path.read_text() == str(os.getpid())


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file.txt"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]
