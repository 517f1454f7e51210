"""Jobs on a Dask cluster whose scheduler, workers and client are processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from whydeep.runs import RunFolder, read_manifest

from . import work
from .test_schedule import contents, is_alive, needs_proc, run, wait_until
from .work import study_jobs

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, needs_proc]
TESTS = Path(__file__).parents[1]


def start(module, *arguments, **environment):
    """Start a program of Dask in a process group of its own."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop(process):
    """Kill a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass
class Scheduler:
    process: subprocess.Popen
    address: str

    @contextmanager
    def worker(self, *options, **environment):
        process = start("dask_worker", self.address, "--nthreads", 1, *options, **environment)
        try:
            yield process
        finally:
            stop(process)


@contextmanager
def new_scheduler(folder):
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    process = start("dask_scheduler", "--host", "127.0.0.1", "--port", 0, "--scheduler-file", file)
    try:
        wait_until(lambda: file.exists() and file.read_text())
        yield Scheduler(process, json.loads(file.read_text())["address"])
    finally:
        stop(process)


@pytest.fixture
def scheduler(tmp_path):
    with new_scheduler(tmp_path) as scheduler:
        yield scheduler


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@contextmanager
def study(folder, cluster, seconds=0.6, later=2.0, **environment):
    command = [sys.executable, work.__file__, str(folder.path), str(seconds), str(later), cluster]
    process = subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        yield process
    finally:
        stop(process)
        process.stderr.close()


def workers_of(folder):
    """The processes that jobs ran in."""
    path = Path(f"{folder.path}-pids")
    return [int(file.name) for file in path.iterdir()] if path.exists() else []


def expect_whole(folder, tmp_path):
    """Compare with a run without a cluster."""
    with ThreadPoolExecutor(6) as threads:
        run(study_jobs(0.6, 2.0), RunFolder(tmp_path / "whole"), executor=threads)
    assert contents(tmp_path / "whole").items() <= contents(folder.path).items()


def test_workers_are_killed_and_others_go_on_to_the_same_bytes(scheduler, folder, tmp_path):
    with scheduler.worker(), scheduler.worker("--no-nanny") as lost, study(folder, scheduler.address) as process:
        wait_until(lambda: len(workers_of(folder)) == 2)
        for pid in workers_of(folder):
            os.kill(pid, signal.SIGKILL)  # a nanny starts one anew
        assert process.wait(60) == 0, process.stderr.read()
        assert lost.wait(10)
    assert len(workers_of(folder)) == 3
    expect_whole(folder, tmp_path)


def test_a_scheduler_is_killed_and_the_run_goes_on_with_another(folder, tmp_path):
    with new_scheduler(tmp_path) as first, first.worker(), study(folder, first.address, later=60) as process:
        wait_until(lambda: len(contents(folder.path)) >= 2)
        first.process.kill()
        assert process.wait(30) == 1
        assert process.stderr.read() == f"the scheduler {first.address} is gone\n"
    kept = contents(folder.path)
    assert read_manifest(folder)["status"] == "interrupted"
    with new_scheduler(tmp_path) as second, second.worker(), study(folder, second.address) as process:
        assert process.wait(60) == 0, process.stderr.read()
    assert kept.items() <= contents(folder.path).items()
    expect_whole(folder, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("whom", ["the client", "all"])
def test_no_process_is_left_when_a_local_cluster_ends(folder, number, whom):
    with study(folder, "local", later=60) as process:
        wait_until(lambda: len(contents(folder.path)) >= 4)
        (os.killpg if whom == "all" else os.kill)(process.pid, number)
        assert process.wait(30) == (-number if number == signal.SIGKILL else 130)
        wait_until(lambda: not any(map(is_alive, workers_of(folder))), 10)
        wait_until(lambda: not group(process.pid), 10)
        if number != signal.SIGKILL:
            assert process.stderr.read() == ""
    assert len(contents(folder.path)) >= 4


def group(leader):
    """The processes of a group that are alive."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(number) == leader and state != "Z":
            members.append(stat.parent.name)
    return members


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_jobs_end_with_the_run_that_waits_for_them(scheduler, folder, number):
    with scheduler.worker("--no-nanny") as worker, study(folder, scheduler.address, seconds=60) as process:
        wait_until(lambda: workers_of(folder))
        process.send_signal(number)
        process.wait(30)
        with study(RunFolder(folder.path.with_name("next")), scheduler.address, seconds=0.1, later=0.1) as process:
            assert process.wait(40) == 0, process.stderr.read()
        assert worker.poll() is None


def test_a_worker_with_other_sources_is_refused(scheduler, folder, tmp_path):
    copy = tmp_path / "other" / "whydeep"
    package = Path(work.execute.__code__.co_filename).parents[1]
    copy.parent.mkdir()
    subprocess.run(["cp", "-r", package, copy], check=True)
    (copy / "errors.py").write_text((copy / "errors.py").read_text() + "# changed\n")
    path = os.pathsep.join([str(copy.parent), str(TESTS), *sys.path])
    with scheduler.worker(PYTHONPATH=path), study(folder, scheduler.address) as process:
        time.sleep(3)
        assert process.wait(60)
        last = process.stderr.read().splitlines()[-1]
    assert "cannot take part: it has whydeep 0.1.0 (sources " in last


SBATCH = """#!/bin/sh
# stands for Slurm's: starts a job in a session of its own and says its number
cp "$1" "$SLURM_JOBS/script"
setsid sh "$SLURM_JOBS/script" > "$SLURM_JOBS/log" 2>&1 &
echo $! >> "$SLURM_JOBS/started"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo $1 >> "$SLURM_JOBS/cancelled"
kill -9 -$1
"""
SETTINGS = """
jobqueue:
  slurm:
    cores: 2
    memory: 2GB
    walltime: "01:00:00"
    interface: lo
    job-extra-directives: ["--constraint=epyc"]
    worker-extra-args: ["--lifetime", "50m", "--lifetime-stagger", "5m"]
"""


@pytest.fixture
def slurm(tmp_path):
    """Commands that do as Slurm's, and a configuration."""
    programs, settings, jobs = (tmp_path / name for name in ("programs", "settings", "jobs"))
    for made in (programs, settings, jobs):
        made.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (settings / "jobqueue.yaml").write_text(SETTINGS)
    path = os.pathsep.join([str(TESTS), *sys.path])
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DASK_CONFIG": str(settings),
        "SLURM_JOBS": str(jobs),
        "PYTHONPATH": path,
    }


def test_slurm_starts_workers_of_one_thread_and_anew_when_they_end(folder, tmp_path, slurm):
    jobs = Path(slurm["SLURM_JOBS"])
    with study(folder, "slurm", **slurm) as process:
        wait_until(lambda: len(contents(folder.path)) >= 2)
        (first,) = map(int, (jobs / "started").read_text().split())
        os.killpg(first, signal.SIGKILL)  # as at the end of its time
        assert process.wait(90) == 0, process.stderr.read()
    script = (jobs / "script").read_text()
    for words in (
        "--nthreads 1",
        "--nworkers 2",
        "#SBATCH --constraint=epyc",
        "export OMP_NUM_THREADS=1",
        "--lifetime 50m",
    ):
        assert words in script
    started = (jobs / "started").read_text().split()
    assert len(started) == 2
    assert started[-1] in (jobs / "cancelled").read_text().split()
    wait_until(lambda: not any(map(group, map(int, started))))
    expect_whole(folder, tmp_path)
