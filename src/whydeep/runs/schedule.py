"""Measure the units that are missing, longest jobs first; failures and interruptions lose nothing that is finished."""

import logging
import shutil
import traceback
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from whydeep.errors import printable_line
from whydeep.runs.display import Display, choose_display
from whydeep.runs.folder import RunFolder
from whydeep.runs.interrupt import interruption
from whydeep.runs.progress import Estimator, Snapshot, read_fraction
from whydeep.runs.unit import Context, Job
from whydeep.runs.workers import Workers, perform

TICK = 0.2  # seconds between two looks at signals and progress
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A job that failed: one line that says why, and the file that holds the traceback, if it could be written."""

    experiment: str
    setting: str
    seeds: tuple[int, ...]
    message: str
    log: str

    def describe(self, folder: Path) -> str:
        """Say why it failed, and where to read more."""
        return f"{self.message} (see {folder / self.log})" if self.log else self.message


@dataclass(frozen=True)
class Timing:
    """The wall seconds that a finished job took in its worker."""

    experiment: str
    setting: str
    seeds: tuple[int, ...]
    seconds: float


@dataclass
class Outcome:
    """How an execution ended: units ``finished`` now, and units ``skipped`` because they were on disk."""

    finished: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False
    timings: list[Timing] = field(default_factory=list)


def execute(
    jobs: Iterable[Job],
    folder: RunFolder,
    context: Context,
    *,
    workers: int = 2,
    executor: Executor | None = None,
    split: bool = True,
    display: Display | None = None,
) -> Outcome:
    """Measure the units that are not on disk yet, and keep each job's as soon as it is done.

    A job that raises is noted and the others go on. If a worker dies, the jobs that were running are tried
    once more, one at a time, and the one that breaks its worker again has failed.
    SIGINT and SIGTERM stop the workers at once; what is finished is kept. (Another executor's running jobs
    can't be stopped, only let go.)

    Args:
        jobs: what to measure; the longest starts first.
        folder: where units are kept; hold it with ``folder.claim()``.
        context: what all jobs share.
        workers: processes of one thread each; ignored if an executor is given.
        executor: any other place to run, such as Dask's ``client.get_executor()``; it stays open.
        split: measure only the missing seeds of a job that is partly there; otherwise all its seeds again.
        display: where progress goes; bars or lines on standard error if not given.
    """
    todo, skipped = _plan(jobs, folder, split)
    outcome = Outcome(skipped=skipped)
    if not todo:
        return outcome
    pool = Workers(workers) if executor is None else executor
    schedule = _Schedule(todo, folder, context, outcome, pool, workers if executor is None else None)
    try:
        with interruption() as interrupted, display or choose_display() as shown:
            folder.progress.mkdir(parents=True, exist_ok=True)
            going = True
            while going and not outcome.interrupted:
                going = schedule.advance()
                shown.show(schedule.snapshot())
                outcome.interrupted = interrupted()
            schedule.collect_finished()
    finally:
        for future in schedule.running:
            future.cancel()
        if isinstance(pool, Workers):
            pool.kill()
        shutil.rmtree(folder.progress, ignore_errors=True)
    return outcome


def _plan(jobs: Iterable[Job], folder: RunFolder, split: bool) -> tuple[list[Job], int]:
    """Return the jobs to do, longest first, and the number of units that need no work."""
    todo, skipped = [], 0
    jobs = list(jobs)
    damaged = {path: reason for job in jobs for path, reason in folder.damaged(job).items()}
    if damaged:
        folder.set_aside(damaged)
    for job in jobs:
        missing = folder.missing(job)
        if missing:
            seeds = missing if split else job.seeds
            todo.append(replace(job, seeds=seeds))
            skipped += len(job.seeds) - len(seeds)
        else:
            skipped += len(job.seeds)
    return sorted(todo, key=lambda job: -job.cost), skipped


@dataclass(frozen=True)
class _Task:
    job: Job
    progress: Path
    suspect: bool  # was in flight when a worker died


class _Schedule:
    """Jobs on their way from waiting through running to stored."""

    def __init__(
        self,
        jobs: list[Job],
        folder: RunFolder,
        context: Context,
        outcome: Outcome,
        executor: Executor,
        workers: int | None,
    ) -> None:
        self.waiting = deque(jobs)
        self.suspects: deque[Job] = deque()
        self.running: dict[Future, _Task] = {}
        self._folder, self._context, self._outcome = folder, context, outcome
        self._executor = executor
        self._workers = workers  # None: an executor that is not ours
        self._started = 0
        self._costs_done = 0.0
        self._units_total = outcome.skipped + sum(len(job.seeds) for job in jobs)
        self._estimator = Estimator(sum(job.cost for job in jobs), workers=workers)

    def advance(self) -> bool:
        """Start what can start, wait a moment, store what is done; False once nothing is left."""
        self._folder.check()
        self._fill()
        wait(self.running, timeout=TICK, return_when=FIRST_COMPLETED)
        if isinstance(self._executor, Workers):
            self._executor.check(self.running)
        self.collect_finished()
        return bool(self.running or self.waiting or self.suspects)

    def collect_finished(self) -> None:
        """Store the units of the jobs that are done."""
        for future in [future for future in self.running if future.done()]:
            self._collect(future, self.running[future])
            del self.running[future]

    def snapshot(self) -> Snapshot:
        """Describe this moment."""
        reports = [(task.job, read_fraction(task.progress)) for task in self.running.values()]
        done = self._costs_done + sum(job.cost * (fraction or 0.0) for job, fraction in reports)
        left = [job.cost * (1.0 - (fraction or 0.0)) for job, fraction in reports]
        left += [job.cost for job in (*self.waiting, *self.suspects)]
        return Snapshot(
            units=self._outcome.skipped + self._outcome.finished,
            total=self._units_total,
            fraction=done / self._estimator.total,
            remaining=self._estimator.remaining(done, longest=max(left, default=0.0)),
            running=tuple((job.label, fraction) for job, fraction in reports if fraction is not None),
        )

    def _fill(self) -> None:
        # Our own pool gets no more than it has workers, so that what is in flight is what is running. A
        # suspect runs alone, so that a second death is its own.
        if self.suspects and not self.running:
            self._start(self.suspects.popleft(), suspect=True)
        if self.suspects or any(task.suspect for task in self.running.values()):
            return
        while self.waiting and (self._workers is None or len(self.running) < self._workers):
            self._start(self.waiting.popleft())

    def _start(self, job: Job, *, suspect: bool = False) -> None:
        self._started += 1
        progress = self._folder.progress.absolute() / f"{self._started}.txt"
        future = self._executor.submit(perform, job, self._context, progress)
        self.running[future] = _Task(job, progress, suspect)

    def _collect(self, future: Future, task: _Task) -> None:
        job, error = task.job, future.exception()
        if error is None:
            files, seconds = future.result()
            for seed, data in files.items():
                self._folder.store(job, seed, data)
            self._outcome.finished += len(job.seeds)
            self._outcome.timings.append(Timing(job.experiment, job.setting.name, job.seeds, round(seconds, 3)))
        elif not isinstance(error, BrokenExecutor):  # of the measurement, be it sys.exit: its job fails alone
            first_line = (str(error).strip().splitlines() or [""])[0]
            self._fail(job, f"{type(error).__name__}: {first_line}".removesuffix(": "), error)
        elif self._workers is not None and not task.suspect:
            self.suspects.append(job)
            return
        else:
            self._fail(job, "its worker process died, twice (killed, or out of memory?)", error)
        self._costs_done += job.cost

    def _fail(self, job: Job, message: str, error: BaseException) -> None:
        message, log = printable_line(message), self._folder.log(job)
        name = log.relative_to(self._folder.path).as_posix()
        self._folder.check()
        try:
            log.parent.mkdir(exist_ok=True)
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                print(f"{job.label}: {message}", *traceback.format_exception(error), sep="\n", file=file)
        except OSError as refused:
            name, message = "", f"{message} (and its traceback can't be written: {refused.strerror})"
        failure = Failure(job.experiment, job.setting.name, job.seeds, message, name)
        self._outcome.failures.append(failure)
        logger.warning("%s failed: %s", job.label, failure.describe(self._folder.path))
