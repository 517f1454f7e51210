import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import whydeep
from interrupted import Dying, KilledError
from whydeep.runs import Context, Display, RunFolder, checkpoint, execute, machine_kind, read_manifest
from whydeep.runs.checkpoint import Checkpoint
from whydeep.runs.schedule import LONGEST_JOB, share_out
from whydeep.runs.workers import ENVIRONMENT, Workers

from . import work
from .work import failing, in_loops, make_job, noise, study_jobs

WRITER = f"whydeep {whydeep.__version__}, {machine_kind()}"


class Recorder(Display):
    def __init__(self):
        self.seen = []

    def show(self, snapshot):
        self.seen.append(snapshot)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def run(jobs, folder, source=None, **options):
    return execute(jobs, folder, Context(source=source), **{"display": Display(), **options})


def contents(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("[!.]*.nc")}


def test_only_missing_units_are_measured_and_nothing_is_started_for_none(folder, tmp_path, monkeypatch):
    first = run([make_job(noise, seeds=(1,))], folder, workers=1)
    assert (first.finished, first.skipped, first.failures, first.interrupted) == (1, 0, [], False)
    before = contents(folder.path)
    recorder = Recorder()
    job = make_job(noise, seeds=(0, 1, 2), seconds=0.0)
    second = run([job], folder, workers=1, display=recorder)
    assert (second.finished, second.skipped) == (2, 1)
    assert [timing.seeds for timing in second.timings] == [(0, 2)]
    assert before.items() <= contents(folder.path).items()
    assert recorder.seen[-1].units == recorder.seen[-1].total == 3
    assert not folder.progress.exists()
    monkeypatch.setattr("whydeep.runs.schedule.Workers", None)
    assert run([job], folder).skipped == 3


def test_a_whole_job_is_measured_again_if_it_must_not_be_split(folder):
    with ThreadPoolExecutor(1) as threads:
        run([make_job(noise, seeds=(1,))], folder, executor=threads)
        outcome = run([make_job(noise, seeds=(0, 1))], folder, executor=threads, split=False)
    assert (outcome.finished, outcome.skipped) == (2, 0)


def test_bytes_do_not_depend_on_the_executor_or_on_how_seeds_are_grouped(tmp_path):
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    run([make_job(noise, seeds=(0, 1, 2))], one, workers=1)
    with ThreadPoolExecutor(2) as threads:
        run([make_job(noise, seeds=(seed,)) for seed in range(3)], other, executor=threads)
    assert contents(one.path) == contents(other.path)
    assert len(contents(one.path)) == 3


def test_the_longest_job_starts_first_and_progress_is_seen(folder):
    recorder = Recorder()
    jobs = [make_job(noise, level, cost=cost, seconds=0.7) for level, cost in enumerate([1.0, 5.0])]
    with ThreadPoolExecutor(1) as threads:
        outcome = run(jobs, folder, executor=threads, workers=1, display=recorder)
    assert [timing.setting for timing in outcome.timings] == ["level 1", "level 0"]
    assert any(label == "toy level 1 (seeds 0, 1)" for moment in recorder.seen for label, _ in moment.running)
    assert any(0 < fraction < 1 for moment in recorder.seen for _, fraction in moment.running)


def test_failing_jobs_are_named_and_the_others_finish(folder, caplog):
    jobs = [
        make_job(work.failing, 0),
        make_job(noise, 1),
        make_job(work.wrong_seeds, 2),
        make_job(work.unwritable, 3),
        make_job(lambda *_: None, 4),
    ]
    with caplog.at_level(logging.WARNING):
        outcome = run(jobs, folder)
    assert outcome.finished == 2
    failures = {failure.setting: failure for failure in outcome.failures}
    assert failures["level 0"].message == "ValueError: no luck at level 0"
    assert "returned the seed coordinate (7,)" in failures["level 2"].message
    assert "boolean dtypes are not a supported NetCDF feature" in failures["level 3"].message
    assert "lambda" in failures["level 4"].message
    log = (folder.path / failures["level 0"].log).read_text()
    assert "in failing" in log
    assert "toy level 0 (seeds 0, 1) failed: ValueError" in caplog.text


def test_a_dying_worker_takes_only_its_own_job_with_it(folder, tmp_path):
    jobs = [make_job(work.dying, 0, cost=9.0), make_job(noise, 1, cost=8.0, seconds=0.5), make_job(noise, 2)]
    outcome = run(jobs, folder)
    assert {failure.setting for failure in outcome.failures} == {"level 0"}
    assert "died, twice" in outcome.failures[0].message
    assert outcome.finished == 4
    assert run([make_job(work.dying_once, 3)], folder, source=str(tmp_path), workers=1).finished == 2


def interrupt(folder, job, lives=3):
    """Leave the checkpoint of a job that was killed when it had been written so many times."""
    file = Dying(folder.checkpoint(job), folder.name(folder.checkpoint(job)), WRITER)
    object.__setattr__(file, "lives", lives)
    with pytest.raises(KilledError):
        job.measure(job.setting, job.seeds, Context(checkpoint=Checkpoint(file)))


@pytest.fixture
def every_time(monkeypatch):
    """State is written between any two items of a loop."""
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)


def test_jobs_go_on_from_their_checkpoints_in_the_same_groups(folder, tmp_path, every_time):
    job, lines = make_job(in_loops, seeds=tuple(range(6)), cost=100.0), tmp_path / "lines"
    interrupt(folder, replace(job, seeds=(1, 2)))
    interrupt(folder, replace(job, seeds=(4,)), lives=5)
    with ThreadPoolExecutor(1) as threads:
        outcome = run([job], folder, str(lines), executor=threads)
    assert {(1, 2), (4,)} <= {timing.seeds for timing in outcome.timings}
    done = lines.read_text().splitlines()
    assert [line for line in done if line.startswith("1 2 ")] == ["1 2 at 3", "1 2 at 4", "1 2 at 5"]
    assert [line for line in done if line.startswith("4 ")] == ["4 at 5"]
    assert not (folder.path / "checkpoints").exists()
    whole = RunFolder(tmp_path / "whole")
    with ThreadPoolExecutor(1) as threads:
        run([job], whole, executor=threads, workers=1)
    assert contents(folder.path) == contents(whole.path)


def test_checkpoints_of_groups_that_are_no_more_are_dropped(folder, tmp_path, every_time):
    job, lines = make_job(in_loops, seeds=(0, 1, 2)), tmp_path / "lines"
    interrupt(folder, job)
    with ThreadPoolExecutor(1) as threads:
        run([replace(job, seeds=(1,), measure=in_loops)], folder, str(lines), executor=threads)
        outcome = run([job], folder, str(lines), executor=threads, workers=1)
    assert [timing.seeds for timing in outcome.timings] == [(0, 2)]
    assert "0 2 at 0" in lines.read_text()
    assert not (folder.path / "checkpoints").exists()


def test_the_checkpoint_of_a_job_that_fails_is_dropped(folder, every_time):
    job = make_job(in_loops)
    interrupt(folder, job)
    with ThreadPoolExecutor(1) as threads:
        outcome = run([replace(job, measure=failing)], folder, executor=threads, workers=1)
    assert len(outcome.failures) == 1
    assert not (folder.path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("cost", "seeds", "workers", "groups"),
    [
        (1.0, 5, 1, [5]),
        (90.0, 50, 1, None),
        (150.0, 3, 1, [1, 1, 1]),
        (1.0, 8, 2, [2, 2, 2, 2]),
        (90.0, 50, 2, None),
        (1e-9, 50, 2, None),
        (float("inf"), 3, 2, [1, 1, 1]),
    ],
)
def test_jobs_are_shared_out(cost, seeds, workers, groups):
    job = make_job(noise, seeds=tuple(range(seeds)), cost=cost)
    shared = share_out([job], workers)
    assert [seed for part in shared for seed in part.seeds] == list(range(seeds))
    assert all(part.cost <= LONGEST_JOB or len(part.seeds) == 1 for part in shared)
    if groups:
        assert [len(part.seeds) for part in shared] == groups


@pytest.mark.parametrize("error", [OSError("handle is closed"), ValueError("bad value(s) in fds_to_keep")])
def test_a_pool_that_breaks_while_it_starts_a_worker_is_made_anew(folder, monkeypatch, error):
    pools = []

    class BreaksFirst(ProcessPoolExecutor):
        def submit(self, *arguments, **options):
            pools.append(self)
            if len(pools) == 1:
                raise error
            return super().submit(*arguments, **options)

    monkeypatch.setattr("whydeep.runs.workers.ProcessPoolExecutor", BreaksFirst)
    outcome = run([make_job(noise)], folder, workers=1)
    assert (outcome.finished, outcome.failures) == (2, [])
    assert pools[0] is not pools[1]


def test_a_worker_that_is_deaf_to_signals_ends_when_it_is_terminated():
    workers = Workers(1)  # a pool that breaks terminates the others, and waits for them
    assert workers.submit(os.getpid).result(60) != os.getpid()
    sleeping = workers.submit(time.sleep, 600)
    (process,) = workers._pool._processes.values()
    process.terminate()
    assert isinstance(sleeping.exception(60), BrokenExecutor)
    workers.kill()


def test_workers_have_one_thread_and_leave_signals_to_the_parent(folder):
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    job = make_job(work.surroundings, seeds=(0,))
    assert run([job], folder, workers=1).failures == []
    assert folder.load(job).value.values.tolist() == [[1, 1, 1]]
    assert {name: os.environ.get(name) for name in ENVIRONMENT} == before


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")


def start_study(path, later=2.0):
    command = [sys.executable, work.__file__, str(path), "0.6", str(later)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_workers_are_gone(path):
    pids = [file.name for file in Path(f"{path}-pids").iterdir()]
    assert pids
    wait_until(lambda: not any(map(is_alive, pids)))


@needs_proc
def test_a_killed_run_continues_to_the_same_bytes(folder, tmp_path):
    with start_study(folder.path) as process:
        wait_until(lambda: len(contents(folder.path)) >= 2)
        process.kill()
    wait_until_workers_are_gone(folder.path)
    kept = contents(folder.path)
    assert len(kept) < 12
    assert read_manifest(folder)["status"] == "running"
    with start_study(folder.path) as process:
        assert process.wait(60) == 0
    resumed = contents(folder.path)
    assert len(resumed) == 13
    assert kept.items() <= resumed.items()
    with ThreadPoolExecutor(6) as threads:
        run(study_jobs(0.6, 2.0), RunFolder(tmp_path / "whole"), executor=threads)
    assert contents(tmp_path / "whole").items() <= resumed.items()
    assert [run["status"] for run in read_manifest(folder)["history"]] == ["interrupted"]


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_soon_and_keeps_what_is_finished(folder, number):
    with start_study(folder.path, later=120) as process:
        wait_until(lambda: len(contents(folder.path)) == 4)
        process.send_signal(number)
        assert process.wait(30) == 130
    wait_until_workers_are_gone(folder.path)
    assert len(contents(folder.path)) == 4
    assert read_manifest(folder)["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_a_signal_to_all_processes_while_workers_start_is_quiet(folder, number, delay):
    with start_study(folder.path) as process:
        wait_until(folder.progress.exists)
        time.sleep(0.01 + delay)  # the second worker is being made; the workers are loading their modules
        os.killpg(process.pid, number)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
