"""Measure the units that are missing, longest jobs first; failures and interruptions lose nothing that is finished."""

import logging
import math
import shutil
import time
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from whydeep.errors import SettingError, printable_line
from whydeep.runs.cluster import Cluster, SchedulerLostError
from whydeep.runs.display import Display, choose_display
from whydeep.runs.estimate import Piece, estimate_range
from whydeep.runs.folder import RunFolder
from whydeep.runs.interrupt import interruption
from whydeep.runs.memory import PROCESS
from whydeep.runs.progress import Snapshot, read_progress
from whydeep.runs.unit import Context, Job
from whydeep.runs.workers import Workers, perform
from whydeep.sizes import format_size

TICK = 0.2  # seconds between two looks at signals and progress
REPORTS = 20  # files of progress that are read at a look: the run folder may be on a slow file system
ESTIMATE = 1.0  # seconds between two estimates of the time left
LONGEST_JOB = 300.0
"""Predicted seconds of a job, if it has several seeds."""
LONG_SEED = 100.0
"""Predicted seconds of one seed from which on it is a job of its own."""
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
    """The wall seconds that a finished job took in its worker, and on what kind of machine."""

    experiment: str
    setting: str
    seeds: tuple[int, ...]
    seconds: float
    machine: str = ""


@dataclass
class Outcome:
    """How an execution ended: units ``finished`` now, and units ``skipped`` because they were on disk.

    ``stopped`` says why it could not go on, if its executor was lost.
    """

    finished: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False
    stopped: str = ""
    timings: list[Timing] = field(default_factory=list)


def execute(
    jobs: Iterable[Job],
    folder: RunFolder,
    context: Context,
    *,
    workers: int = 2,
    executor: Executor | None = None,
    split: bool = True,
    memory: float = math.inf,
    display: Display | None = None,
) -> Outcome:
    """Measure the units that are not on disk yet, and keep each job's as soon as it is done.

    A job that was interrupted goes on from its checkpoint. A job that raises is noted and the others go on. If a worker
    dies, the jobs that were running are tried once more, one at a time, and the one that breaks its worker again has
    failed.
    SIGINT and SIGTERM stop the workers at once; what is finished is kept. (Another executor's running jobs
    can't be stopped, only let go.)

    Args:
        jobs: what to measure; the longest starts first.
        folder: where units are kept; hold it with ``folder.claim()``.
        context: what all jobs share.
        workers: processes of one thread each; with an executor, the places that jobs are shared out to.
        executor: any other place to run, such as a `Cluster`; it stays open.
        split: whether seeds may be measured in other groups than a job's: those that are missing, in jobs of some
            minutes. Otherwise a job that is partly there is measured again with all its seeds.
        memory: bytes that all workers together may use, as far as their needs were predicted.
        display: where progress goes; bars or lines on standard error if not given.
    """
    jobs = list(jobs)
    workers, share = fit_workers(jobs, workers, memory)
    todo, skipped = _plan(jobs, folder, split, workers, share)
    outcome = Outcome(skipped=skipped)
    if not todo:
        return outcome
    pool = Workers(workers) if executor is None else executor
    schedule = _Schedule(todo, folder, context, outcome, pool, workers)
    try:
        with interruption() as interrupted, display or choose_display() as shown:
            folder.progress.mkdir(parents=True, exist_ok=True)
            going = True
            while going and not outcome.interrupted and not outcome.stopped:
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


def fit_workers(jobs: Sequence[Job], workers: int, memory: float) -> tuple[int, float]:
    """Return how many workers fit into memory together, and the bytes that each has for what it measures.

    Raises:
        SettingError: A seed of some job does not fit even if a single worker has all.
    """
    largest = max(jobs, key=lambda job: job.memory, default=None)
    if largest is None:
        return workers, math.inf
    for count in range(workers, 0, -1):
        share = memory / count - PROCESS
        if share >= largest.memory:
            return count, share
    needed = format_size(PROCESS + largest.memory)
    raise SettingError(
        f"{largest.experiment} {largest.setting.name} needs about {needed} of memory for one seed, and "
        f"{format_size(max(memory, 0))} may be used beside images and the command: give --memory more, or change it"
    )


def _plan(jobs: Sequence[Job], folder: RunFolder, split: bool, workers: int, memory: float) -> tuple[list[Job], int]:
    """Return the jobs to do, longest first, and the number of units that need no work."""
    damaged = {path: reason for job in jobs for path, reason in folder.damaged(job).items()}
    if damaged:
        folder.set_aside(damaged)
    begun: list[Job] = []
    fresh: list[Job] = []
    skipped = 0
    for job in jobs:
        missing = folder.missing(job)
        skipped += len(job.seeds) - len(missing if split or not missing else job.seeds)
        if missing:
            some, rest = _continue(replace(job, seeds=missing if split else job.seeds), folder, split)
            begun += some
            fresh += rest
    todo = begun + (share_out(fresh, workers, memory) if split else fresh)
    return sorted(todo, key=lambda job: -job.cost), skipped


def _continue(job: Job, folder: RunFolder, split: bool) -> tuple[list[Job], list[Job]]:
    """Take a job apart into groups of seeds that go on from a checkpoint, and the others; drop what fits no more."""
    begun, left = [], set(job.seeds)
    for seeds in folder.checkpointed(job):
        group = replace(job, seeds=seeds)
        if left.issuperset(seeds) and (split or seeds == job.seeds):
            begun.append(group)
            left.difference_update(seeds)
        else:
            folder.drop_checkpoint(group)
    return begun, [replace(job, seeds=tuple(sorted(left)))] if left else []


def share_out(jobs: Sequence[Job], workers: int, memory: float = math.inf) -> list[Job]:
    """Split the seeds of jobs that are too long for all workers to be busy until the end, or to be lost, or too large.

    A job takes at most half of a worker's fair share, and five minutes where a seed alone takes no longer. A seed that
    takes long is a job of its own: large networks gain nothing from each other's company, and fit the cache better
    alone. How seeds are split never changes their numbers.
    """
    limit = min(sum(job.cost for job in jobs) / (2 * workers) if workers > 1 else LONGEST_JOB, LONGEST_JOB)
    shared = []
    for job in jobs:
        most = 1 if job.setting.cost > LONG_SEED else max(1, int(limit * len(job.seeds) / job.cost))
        if job.memory > 0:
            most = max(1, int(min(most, memory / job.memory)))
        pieces = math.ceil(len(job.seeds) / most)
        bounds = [len(job.seeds) * piece // pieces for piece in range(pieces + 1)]
        shared += [replace(job, seeds=job.seeds[start:stop]) for start, stop in pairwise(bounds)]
    return shared


@dataclass(eq=False)
class _Task:
    job: Job
    progress: Path
    suspect: bool  # was in flight when a worker died
    report: tuple[float, float] | None = None  # the last that was read: shares done now, and before
    began: float = 0.0  # when the first was read
    read: float = 0.0  # and the last


class _Schedule:
    """Jobs on their way from waiting through running to stored."""

    def __init__(
        self,
        jobs: list[Job],
        folder: RunFolder,
        context: Context,
        outcome: Outcome,
        executor: Executor,
        workers: int,
    ) -> None:
        self.waiting = deque(jobs)
        self.suspects: deque[Job] = deque()
        self.running: dict[Future, _Task] = {}
        self._folder, self._context, self._outcome = folder, context, outcome
        self._executor = executor
        self._workers = workers
        self._pool = executor if isinstance(executor, Workers | Cluster) else None
        self._started = 0
        self._turn = 0  # of those whose progress is read next
        self._ahead = sum(job.cost for job in jobs)  # of what waits
        self._remaining: tuple[float, float] | None = None
        self._next_estimate = 0.0
        self._done: list[Piece] = []
        self._units_total = outcome.skipped + sum(len(job.seeds) for job in jobs)
        self._cost = self._ahead

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
        self._read_reports()
        pieces = [self._watch(task) for task in self.running.values()]
        left = sum(piece.left for piece in pieces) + self._ahead
        if time.monotonic() >= self._next_estimate:  # what waits may be a hundred thousand jobs
            pieces += [Piece(job.experiment, left=job.cost) for job in (*self.waiting, *self.suspects)]
            watched = self._done or any(task.report for task in self.running.values())
            self._remaining = estimate_range([*self._done, *pieces], self._places) if watched else None
            self._next_estimate = time.monotonic() + ESTIMATE
        return Snapshot(
            units=self._outcome.skipped + self._outcome.finished,
            total=self._units_total,
            fraction=1 - left / self._cost,
            remaining=self._remaining,
            running=tuple((task.job.label, task.report[0]) for task in self.running.values() if task.report),
        )

    @property
    def _places(self) -> int:
        """How many jobs run at once."""
        return self._pool.places if self._pool else self._workers

    def _read_reports(self) -> None:
        """Read how far jobs are; of many, those whose turn it is."""
        now, tasks = time.monotonic(), [*self.running.values()]
        start = self._turn % max(1, len(tasks))
        for task in (tasks[start:] + tasks[:start])[:REPORTS]:
            report = read_progress(task.progress)
            if report is not None:
                task.report, task.read = report, now
                task.began = task.began or now
        self._turn += REPORTS

    def _watch(self, task: _Task) -> Piece:
        """What is done and left of a running job, and for how long it was watched."""
        kind, cost = task.job.experiment, task.job.cost
        if task.report is None:
            return Piece(kind, left=cost)
        done, begun = task.report
        return Piece(kind, done=cost * (done - begun), left=cost * (1 - done), seconds=task.read - task.began)

    def _fill(self) -> None:
        # A suspect runs alone, so that a second death is its own.
        if self.suspects and not self.running:
            self._start(self.suspects.popleft(), suspect=True)
        if self.suspects or any(task.suspect for task in self.running.values()):
            return
        room = self._pool.room(len(self.waiting)) if self._pool else math.inf
        while self.waiting and len(self.running) < room:
            self._start(self.waiting.popleft())

    def _start(self, job: Job, *, suspect: bool = False) -> None:
        self._started += 1
        self._ahead -= job.cost
        progress = self._folder.progress.absolute() / f"{self._started}.txt"
        checkpoint = self._folder.checkpoint(job).absolute(), self._folder.name(self._folder.checkpoint(job))
        future = self._executor.submit(perform, job, self._context, progress, checkpoint)
        self.running[future] = _Task(job, progress, suspect)

    def _collect(self, future: Future, task: _Task) -> None:
        job, error = task.job, future.exception()
        if error is None:
            performed = future.result()
            for seed, data in performed.files.items():
                self._folder.store(job, seed, data)
            self._outcome.finished += len(job.seeds)
            seconds = round(performed.seconds, 3)
            timing = Timing(job.experiment, job.setting.name, job.seeds, seconds, performed.machine)
            self._outcome.timings.append(timing)
            self._done.append(Piece(job.experiment, job.cost * (1 - performed.begun), 0.0, performed.seconds))
            self._folder.drop_checkpoint(job)
        elif isinstance(error, SchedulerLostError):
            self._outcome.stopped = str(error)
        elif not isinstance(error, BrokenExecutor):  # of the measurement, be it sys.exit: its job fails alone
            first_line = (str(error).strip().splitlines() or [""])[0]
            self._fail(job, f"{type(error).__name__}: {first_line}".removesuffix(": "), error)
        elif isinstance(self._pool, Workers) and not task.suspect:
            self.suspects.append(job)
            self._ahead += job.cost
        else:
            twice = "its worker process died, twice (killed, or out of memory?)"
            self._fail(job, str(error) if isinstance(self._pool, Cluster) else twice, error)

    def _fail(self, job: Job, message: str, error: BaseException) -> None:
        message, log = printable_line(message), self._folder.log(job)
        self._folder.drop_checkpoint(job)  # it may be the reason
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
