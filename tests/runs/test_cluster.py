"""Jobs on a Dask cluster: scheduler and workers with real connections, in threads of this process."""

import http.server
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from whydeep.errors import DataError, RunError, SettingError
from whydeep.runs import (
    Context,
    Display,
    Manifest,
    RunFolder,
    checkpoint,
    cluster,
    connect,
    machine_kind,
    open_cluster,
    read_manifest,
    remote,
    workers,
)
from whydeep.runs.cluster import DEPTH, RETRIES

from . import work
from .test_schedule import Recorder, contents, interrupt, run, wait_until
from .work import in_loops, make_job, noise

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@dataclass(frozen=True)
class Needs:
    """A requirement that is met, or not."""

    error: Exception | None = None

    def __call__(self):
        if self.error:
            raise self.error


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Workers and schedulers that come and go are seen soon."""
    monkeypatch.setattr(cluster, "LOOK", 0.1)
    monkeypatch.setattr(connect, "CONNECTING", 0.5)
    yield
    dask.config.config.pop("scheduler", None)  # two workers in one process set it beside each other


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def start():
    """Start schedulers with so many workers."""
    started = []

    def start(workers=2, threads=1):
        opened = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            protocol="tcp://",
            dashboard_address=":0",
            memory_limit=0,
        )
        started.append(opened)
        return opened

    yield start
    for opened in started:
        opened.close()


def opened(local, folder, needs=Needs()):
    return open_cluster(local.scheduler_address, 0, needs, folder.progress)


def run_there(jobs, folder, local, source=None, needs=Needs(), **options):
    with opened(local, folder, needs) as executor:
        return run(jobs, folder, source, executor=executor, **options)


def test_bytes_are_the_same_as_without_a_cluster(start, folder, tmp_path):
    jobs = [make_job(noise, level, seeds=(0, 1, 2)) for level in range(4)]
    with folder.claim(), Manifest(folder, configuration={}, seeds=[], device="cpu", command=["x"]) as manifest:
        outcome = run_there(jobs, folder, start(1))
        manifest.add(outcome)
    assert (outcome.finished, outcome.failures, outcome.stopped) == (12, [], "")
    here = RunFolder(tmp_path / "here")
    with ThreadPoolExecutor(1) as threads:
        run(jobs, here, executor=threads)
    assert contents(folder.path) == contents(here.path)
    assert not folder.progress.exists()
    assert dask.config.get("scheduler", "") != "dask.distributed"  # where a worker has a client, xarray asks for locks
    assert read_manifest(folder)["machines"] == {machine_kind(): 12}


def test_failing_jobs_are_named_and_the_others_finish(start, folder):
    jobs = [make_job(work.failing, 0), make_job(noise, 1), make_job(work.leaving, 2), make_job(work.wrong_seeds, 3)]
    outcome = run_there(jobs, folder, start(1))
    assert outcome.finished == 2
    failures = {failure.setting: failure for failure in outcome.failures}
    assert failures["level 0"].message == "ValueError: no luck at level 0"
    assert failures["level 2"].message == "RuntimeError: SystemExit: 3"
    assert "returned the seed coordinate (7,)" in failures["level 3"].message
    assert "in failing" in (folder.path / failures["level 0"].log).read_text()


@pytest.fixture
def every_time(monkeypatch):
    """State is written between any two items of a loop."""
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)


def test_jobs_go_on_from_checkpoints_where_the_folder_is_reached(start, folder, tmp_path, every_time):
    job, lines, recorder = make_job(in_loops, seconds=0.5), tmp_path / "lines", Recorder()
    interrupt(folder, job)
    run_there([job], folder, start(1), str(lines), display=recorder)
    assert lines.read_text().splitlines() == ["0 1 at 3", "0 1 at 4", "0 1 at 5"]
    assert any(moment.running for moment in recorder.seen)


@pytest.mark.parametrize("above", ["elsewhere", "x" * 300])  # is not there, or cannot even be asked for
def test_nothing_is_written_where_the_folder_is_not_reached(start, folder, tmp_path, every_time, above):
    job, lines, recorder = make_job(in_loops, seconds=0.5), tmp_path / "lines", Recorder()
    interrupt(folder, job)
    with opened(start(1), folder) as executor:
        executor._mark = tmp_path / above / executor._mark.name
        future = executor.submit(remote.perform, job, Context(), tmp_path / "progress", (tmp_path / "point", ""))
        assert set(future.result(60).files) == {0, 1}
        assert not (tmp_path / "progress").exists()
        assert not (tmp_path / "point").exists()
        outcome = run([job], folder, str(lines), executor=executor, display=recorder)
    assert outcome.finished == 2
    assert len(lines.read_text().splitlines()) == 6
    assert not any(moment.running for moment in recorder.seen)
    assert recorder.seen[-1].units == 2


def test_a_worker_with_other_versions_is_refused(start, folder, monkeypatch):
    def versions():
        torch = "2.13.0" if threading.current_thread() is threading.main_thread() else "2.12.0"
        return {"whydeep": "0.1.0", "torch": torch}

    monkeypatch.setattr(cluster, "installed_versions", versions)
    monkeypatch.setattr(remote, "installed_versions", versions)
    with pytest.raises(
        RunError, match=r"^the worker tcp://\S+ cannot take part: it has torch 2\.12\.0, .* torch 2\.13\.0:"
    ):
        run_there([make_job(noise)], folder, start(1))


def test_versions_tell_other_sources_apart(monkeypatch, tmp_path):
    versions = remote.installed_versions()
    assert set(versions) == {"whydeep", "python", *remote.PACKAGES}
    (tmp_path / "__init__.py").write_text("__version__ = 1")
    monkeypatch.setattr("whydeep.__file__", str(tmp_path / "__init__.py"))
    assert remote.installed_versions() == versions  # those that this process imported
    other = remote.installed_versions.__wrapped__()
    assert [name for name in versions if versions[name] != other[name]] == ["whydeep"]


def test_a_worker_of_several_threads_is_refused(start, folder):
    with pytest.raises(RunError, match=r"it has 2 threads, and .* start it with --nthreads 1"):
        run_there([make_job(noise)], folder, start(1, threads=2))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DataError("mnist is another data set there"), "part: mnist is another"),
        (OSError("gone"), "part: OSError: gone"),
    ],
)
def test_a_worker_that_lacks_what_jobs_need_is_refused(start, folder, error, says):
    with pytest.raises(RunError, match=says):
        run_there([make_job(noise)], folder, start(1), needs=Needs(error))


def test_workers_that_come_late_get_jobs(start, folder, caplog):
    local = start(0)
    jobs = [make_job(noise, level, seconds=0.15, seeds=(0,)) for level in range(10)]

    class Scaling(Recorder):
        def show(self, snapshot):
            super().show(snapshot)
            if len(self.seen) in (1, 5):
                local.scale(1 + len(self.seen) // 5)

    with opened(local, folder) as executor:
        assert "no worker yet: jobs start when some come to tcp://" in caplog.text
        outcome = run(jobs, folder, executor=executor, display=Scaling())
        assert executor.most_workers == 2
    assert outcome.finished == 10


def test_a_late_worker_that_cannot_take_part_is_named_and_gets_no_jobs(start, folder, caplog, monkeypatch):
    local = start(1)

    class Scaling(Recorder):
        def show(self, snapshot):
            super().show(snapshot)
            if len(self.seen) == 1:
                monkeypatch.setattr(remote, "installed_versions", lambda: {"whydeep": "0.0.9"})
                local.scale(2)

    jobs = [make_job(noise, level, seconds=0.2, seeds=(0,)) for level in range(7)]
    with opened(local, folder) as executor:
        outcome = run(jobs, folder, executor=executor, display=Scaling())
        assert executor.most_workers == 1
    assert outcome.finished == 7
    assert "gets no jobs: it has whydeep 0.0.9" in caplog.text


class Removing(Display):
    """Takes a worker away when it has a job, so many times, and has another come."""

    def __init__(self, local, times, **options):
        self.local, self.times, self.options = local, times, options

    def show(self, snapshot):
        for address, state in [*self.local.scheduler.workers.items()]:
            if self.times and any(task.key.startswith("run_job") for task in state.processing):
                self.times -= 1
                self.local.sync(self.local.scheduler.remove_worker, address, stimulus_id="test", **self.options)
                self.local.scale(len(self.local.worker_spec) + 1)


def test_a_job_whose_workers_die_fails_alone(start, folder, caplog):
    local = start(1)
    jobs = [make_job(work.endless, 0, cost=9.0, seeds=(0,)), make_job(noise, 1)]
    outcome = run_there(jobs, folder, local, display=Removing(local, RETRIES + 1))
    assert [failure.setting for failure in outcome.failures] == ["level 0"]
    assert outcome.failures[0].message == f"its worker died, {RETRIES + 1} times (killed, or out of memory?)"
    assert caplog.text.count("died: its jobs go to others") == RETRIES + 1
    assert outcome.finished == 2


def test_a_worker_that_comes_back_at_its_address_is_examined_again(start, folder):
    class Forgetting(Recorder):
        def show(self, snapshot):
            super().show(snapshot)
            if snapshot.units == 2:
                remote._examined.clear()  # as in a new process

    outcome = run_there([make_job(noise, level) for level in range(6)], folder, start(1), display=Forgetting())
    assert outcome.finished == 12
    assert len(remote._examined) == 1


def test_workers_that_leave_as_they_were_told_are_not_deaths(start, folder):
    local = start(1)
    outcome = run_there(
        [make_job(noise, seconds=0.3)], folder, local, display=Removing(local, RETRIES + 1, expected=True)
    )
    assert outcome.finished == 2


def test_workers_that_do_not_answer_are_named(start, folder, caplog, monkeypatch):
    monkeypatch.setattr(cluster, "EXAMINING", 0.0)
    monkeypatch.setattr(cluster, "OTHERS", 0.0)
    local = start(1)
    with opened(local, folder) as executor:
        (address,) = local.scheduler.workers
        assert f"the worker {address} does not answer (1 of 1)" in caplog.text
        assert run([make_job(noise)], folder, executor=executor).finished == 2


def test_a_worker_whose_memory_is_nearly_full_goes_on(start, folder):
    local = start(1)
    (worker,) = local.workers.values()
    with opened(local, folder) as executor:
        worker.memory_manager.memory_limit = 1
        worker.memory_manager._maybe_pause_or_unpause(worker, 2)
        assert run([make_job(noise)], folder, executor=executor).finished == 2


def test_a_job_that_stopped_as_its_worker_was_ending_is_tried_again(start, folder, monkeypatch):
    failures = [remote.UnwantedError()]

    def perform(job, *arguments, **options):
        if failures:
            raise failures.pop()
        return workers.perform(job, *arguments, **options)

    monkeypatch.setattr(remote, "perform", perform)
    assert run_there([make_job(noise)], folder, start(1)).finished == 2


def test_a_job_that_dask_lets_go_of_is_tried_again(start, folder, tmp_path):
    local = start(1)

    class Restarting(Recorder):
        def show(self, snapshot):
            super().show(snapshot)
            if snapshot.running and not (tmp_path / "restarted").exists():
                (tmp_path / "restarted").touch()
                keys = list(local.scheduler.tasks)
                (client,) = {state.client_key for key in keys for state in local.scheduler.tasks[key].who_wants}
                local.loop.add_callback(
                    local.scheduler.stimulus_cancel, keys, client=client, force=True, reason="test", msg=""
                )

    outcome = run_there([make_job(noise, seconds=0.5)], folder, local, display=Restarting())
    assert (tmp_path / "restarted").exists()
    assert outcome.finished == 2


def test_few_jobs_are_on_their_way_and_the_longest_go_first(start, folder):
    local = start(2)
    jobs = [make_job(noise, level, cost=1.0 + level, seeds=(0,), seconds=0.05) for level in range(16)]
    most = []

    class Counting(Recorder):
        def show(self, snapshot):
            super().show(snapshot)
            most.append(len(local.scheduler.tasks))

    with opened(local, folder) as executor:
        outcome = run(jobs, folder, executor=executor, display=Counting())
        assert executor.room(100) == 2 * DEPTH
        assert executor.room(2) == 2
        first, second = executor._able().values()
        first.calls += [cluster._Call(b""), cluster._Call(b"")]
        assert executor.room(2) == 3  # the second has none yet
        second.calls += [cluster._Call(b"")]
        assert executor.room(2) == 3
        assert executor.room(100) == 4
    assert max(most) <= 2 * DEPTH + 2  # and two that are done and not yet forgotten
    assert [timing.setting for timing in outcome.timings][:2] in (["level 15", "level 14"], ["level 14", "level 15"])
    assert outcome.finished == 16


def test_a_run_that_ends_lets_its_jobs_end(start, folder):
    local = start(1)
    (worker,) = local.workers.values()

    class InterruptedError(Exception):
        pass

    class Interrupting(Display):
        def show(self, snapshot):
            if snapshot.running:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        run_there([make_job(work.endless)], folder, local, display=Interrupting())
    wait_until(lambda: not worker.active_threads, 10)


def test_a_scheduler_that_goes_stops_the_run_and_what_is_finished_is_kept(start, folder):
    first, second = start(1), start(1)
    jobs = [make_job(noise, level, cost=9.0 - level, seconds=0.15 * level, seeds=(0,)) for level in range(5)]

    class Closing(Recorder):
        def show(self, snapshot):
            super().show(snapshot)
            if snapshot.units == 2:
                first.close()

    with folder.claim(), Manifest(folder, configuration={}, seeds=[], device="cpu", command=["x"]) as manifest:
        manifest.add(outcome := run_there(jobs, folder, first, display=Closing()))
    assert outcome.stopped == f"the scheduler {first.scheduler_address} is gone"
    assert not outcome.failures
    assert read_manifest(folder)["status"] == "interrupted"
    kept = contents(folder.path)
    assert 2 <= len(kept) < 5
    assert run_there(jobs, folder, second).finished == 5 - len(kept)
    assert kept.items() <= contents(folder.path).items()


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_addresses_where_no_scheduler_answers_are_one_line(start, folder, silent, web, monkeypatch):
    (worker,) = start(1).scheduler.workers
    addresses = {
        f"tcp://127.0.0.1:{unused_port()}": "ConnectionRefusedError",
        f"tls://127.0.0.1:{unused_port()}": "TLS",
        f"tcp://127.0.0.1:{silent}": "TimeoutError",
        f"tcp://127.0.0.1:{web}": "TimeoutError",
        "tcp://no-such-host.invalid:8786": "gaierror",
        worker: "a worker answers",
    }
    for address, why in addresses.items():
        with pytest.raises(RunError, match=rf"^no Dask scheduler answers at {address} \([^\n]*{why}[^\n]*$"):
            open_cluster(address, 0, Needs(), folder.progress).__enter__()


def test_dask_is_imported_only_for_a_cluster_and_where_it_is_not_one_line_says_what_to_install(tmp_path):
    words = ["run", "function-fitting", "--scale", "smoke", "--out", str(tmp_path / "run"), "--cluster", "local"]
    code = (
        "import sys, whydeep.cli, whydeep.study.run\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)\n"
        f"sys.modules['distributed'] = None\nwhydeep.cli.main({words})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "pip install 'whydeep[dask]'" in line


def test_what_keeps_slurm_from_starting_workers_is_one_line(folder, monkeypatch, tmp_path):
    def start():
        open_cluster("slurm", 1, Needs(), folder.progress).__enter__()

    with pytest.raises(SettingError, match=r"needs Slurm's sbatch"):
        start()
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho sbatch: error: invalid partition specified: gpu >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(SettingError, match=r"needs cores and memory of jobqueue\.slurm"):
        start()
    settings = {"jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "1GB", "jobqueue.slurm.interface": "lo"}
    with (
        dask.config.set(settings),
        pytest.raises(RunError, match=r"^Slurm takes no job: [^\n]*invalid partition") as no,
    ):
        start()
    assert "\n" not in str(no.value)


def test_a_local_cluster_is_reached_from_this_machine_only():
    with connect._start_local(0) as local:
        sockets = local.scheduler.http_server._sockets.values()
        assert {socket.getsockname()[0] for socket in sockets} == {"127.0.0.1"}
        assert local.scheduler_address.startswith("tcp://127.0.0.1:")


def test_a_worker_that_left_as_it_was_told_excuses_no_later_one_at_its_address(start, folder):
    with opened(start(1), folder) as executor:
        (address,) = executor._workers
        for expected in (True, False, True):
            executor._client.log_event(address, {"action": "remove-worker", "expected": expected})
            assert executor._left_as_told(address) is expected


@pytest.fixture
def sampled():
    """A profiler looks at workers all the time."""
    with dask.config.set({"distributed.worker.profile.enabled": True, "distributed.worker.profile.interval": "1ms"}):
        yield


def test_bytes_do_not_depend_on_a_profiler(sampled, start, folder, tmp_path):
    jobs = [make_job(noise, level, seeds=tuple(range(40))) for level in range(2)]
    run_there(jobs, folder, start(1))
    here = RunFolder(tmp_path / "here")
    with ThreadPoolExecutor(1) as threads:
        run(jobs, here, executor=threads)
    assert contents(folder.path) == contents(here.path)
