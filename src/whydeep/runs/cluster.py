"""The workers of a Dask cluster as a place for jobs.

Dask carries jobs and results. Which worker gets which job is decided here, so that it is clear which job a worker died
of, and one that would compute other numbers gets none.
"""

import asyncio
import logging
import pickle
import time
import uuid
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whydeep.errors import RunError, one_line
from whydeep.runs.remote import UnexaminedError, UnwantedError, examine, installed_versions, run_job

ANSWERING = 5.0
"""Seconds to wait for the scheduler's answer."""
EXAMINING = 60.0
"""Seconds to wait at the start for a worker to say what it has."""
OTHERS = 10.0
"""Seconds to wait then for the others; those that take longer join later."""
LOOK = 1.0
"""Seconds between two looks at which workers there are."""
DEPTH = 2
"""Jobs that a worker has at most: the next one is there when one ends."""
RETRIES = 2
"""How often a job is tried again whose worker died."""

logger = logging.getLogger(__name__)


class SchedulerLostError(RunError):
    """The scheduler of a cluster cannot be reached any more."""


@dataclass(eq=False)
class _Call:
    """A job on its way: what is sent, who waits for it, and of how many workers it was the last job."""

    work: bytes
    future: Future = field(default_factory=Future)
    attempt: Future | None = None
    deaths: int = 0

    def __post_init__(self) -> None:
        self.future.add_done_callback(self.let_go)

    def let_go(self, _: Future | None = None) -> None:
        """Tell Dask that nobody waits for its result any more."""
        if self.attempt is not None:
            self.attempt.cancel()

    def settle(self, attempt: Future) -> None:
        """Hand on the result or the error of the job; what befell its worker or the scheduler is left to `Cluster`."""
        if not _is_lost(attempt):
            error = attempt.exception()
            with suppress(InvalidStateError):  # of an earlier attempt, or nobody waits any more
                self.future.set_result(attempt.result()) if error is None else self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        """Give up."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    @property
    def is_lost(self) -> bool:
        """Whether Dask gave it up, though somebody waits for it."""
        return not self.future.done() and self.attempt is not None and self.attempt.done() and _is_lost(self.attempt)


def _is_lost(attempt: Future) -> bool:
    from distributed import KilledWorker

    lost = KilledWorker, CancelledError, UnexaminedError, UnwantedError
    return attempt.cancelled() or isinstance(attempt.exception(), lost)


@dataclass(eq=False)
class _Worker:
    """A worker, its jobs in their order, and why it gets none: None until it is examined, an empty text if it does."""

    examination: Future
    reason: str | None = None
    calls: list[_Call] = field(default_factory=list)


class Cluster(Executor):
    """The workers of a Dask cluster, as a place to `perform` jobs.

    Workers may come and go. One that has other versions, another data set or several threads gets no job.

    Args:
        client: a `distributed.Client`, connected to the scheduler.
        requirements: raises an error on a machine that lacks what jobs need; it is sent to every worker.
        progress: the run's folder for progress, where a file shows to workers that they reach it.
        renew: called now and then, to start workers in place of others.
    """

    def __init__(self, client: Any, requirements: Callable[[], None], progress: Path, renew: Callable[[], None]):
        self.address = client.scheduler.address
        self.most_workers = 0  # that had jobs at the same time
        self._client, self._renew = client, renew
        self._requirements = pickle.dumps(requirements)
        self._versions = installed_versions()
        self._mark = progress.absolute() / uuid.uuid4().hex
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.touch()
        self._workers: dict[str, _Worker] = {}
        self._homeless: list[_Call] = []
        self._submitted = 0
        self._next_look = 0.0

    def start(self) -> None:
        """Examine the workers that are there.

        Raises:
            RunError: some of them cannot take part.
        """
        self._look()
        examinations = [worker.examination for worker in self._workers.values()]
        wait(examinations, timeout=EXAMINING, return_when=FIRST_COMPLETED)
        wait(examinations, timeout=OTHERS)
        refused = self._admit()
        if refused:
            address, reason = next(iter(refused.items()))
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise RunError(f"the worker {address}{more} cannot take part: {reason}")
        self.most_workers = len(self._able())
        silent = [address for address, worker in self._workers.items() if worker.reason is None]
        if silent:
            logger.warning("the worker %s does not answer (%d of %d)", silent[0], len(silent), len(self._workers))
        if not self.most_workers:
            logger.warning("no worker yet: jobs start when some come to %s", self.address)

    @property
    def places(self) -> int:
        """How many jobs run at once."""
        return max(1, len(self._able()))

    def room(self, waiting: int) -> int:
        """Look which workers there are, and return how many jobs may be on their way.

        Args:
            waiting: jobs that are not; where they are few, no worker gets a second one, so that all end together.
        """
        if time.monotonic() >= self._next_look:
            self._look()
            for address, reason in self._admit().items():
                logger.warning("the worker %s gets no jobs: %s", address, reason)
            self._next_look = time.monotonic() + LOOK
        able = self._able()
        for worker in able.values():
            worker.calls = [call for call in worker.calls if not call.future.done()]
        self.most_workers = max(self.most_workers, len(able))
        depth = DEPTH if waiting > len(able) else 1
        counts = [len(worker.calls) for worker in able.values()]
        return max(1, len(self._homeless) + sum(max(count, depth) for count in counts))

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Future:
        """Send a job, given as the arguments of `perform`, to the worker that has the fewest."""
        call = _Call(pickle.dumps(arguments))
        self._place(call)
        return call.future

    def _able(self) -> dict[str, _Worker]:
        return {address: worker for address, worker in self._workers.items() if worker.reason == ""}

    def _place(self, call: _Call) -> None:
        able = self._able()
        if not able or self._client.status != "running":
            self._homeless.append(call)
            return
        address = min(able, key=lambda address: len(able[address].calls))
        able[address].calls.append(call)
        self._submitted += 1  # a worker takes earlier ones first
        call.attempt = self._send(address, run_job, call.work, self._mark, priority=-self._submitted)
        call.attempt.add_done_callback(call.settle)

    def _send(self, address: str, function: Callable, *arguments: Any, priority: int = 0) -> Future:
        """Have a worker call a function; it takes those of high priority first."""
        key = f"{function.__name__}-{uuid.uuid4().hex}"
        sent = self._client.submit(function, *arguments, workers=[address], priority=priority, key=key, pure=False)

        async def fetch() -> Any:
            result = asyncio.ensure_future(self._client.gather(sent, asynchronous=True))
            try:
                return await asyncio.shield(result)
            except asyncio.CancelledError:
                await self._client.cancel(sent, asynchronous=True)
                await asyncio.gather(result, return_exceptions=True)
                raise

        return asyncio.run_coroutine_threadsafe(fetch(), self._client.loop.asyncio_loop)

    def _look(self) -> None:
        """See which workers came and went, and send the jobs of those that went to others."""
        if self._client.status != "running":
            self._give_up()
            return
        self._renew()
        try:
            threads = self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWERING)
        except (OSError, TimeoutError):  # busy, or gone: then the client will know
            return
        for address in self._workers.keys() - threads.keys():
            self._leave(address, died=not self._left_as_told(address))
        lost = [address for address, worker in self._workers.items() if any(call.is_lost for call in worker.calls)]
        for address in lost:  # which died, and came back at the same address
            self._leave(address, died=True)
        for address in threads.keys() - self._workers.keys():
            examination = self._send(address, examine, self._mark, self._requirements, self._versions, threads[address])
            self._workers[address] = _Worker(examination)

    def _admit(self) -> dict[str, str]:
        """Give jobs to workers that were examined; return those that cannot take part, and why."""
        examined = [
            (address, worker)
            for address, worker in self._workers.items()
            if worker.reason is None and worker.examination.done() and not worker.examination.cancelled()
        ]
        for _, worker in examined:
            error = worker.examination.exception()
            worker.reason = worker.examination.result() if error is None else one_line(error)
        homeless, self._homeless = self._homeless, []
        for call in homeless:
            if not call.future.done():
                self._place(call)
        return {address: worker.reason for address, worker in examined if worker.reason}

    def _leave(self, address: str, died: bool) -> None:
        """Send jobs of a worker that went to others; if it died, the first that was not done is the one that ran."""
        left = [call for call in self._workers.pop(address).calls if not call.future.done()]
        if died:
            logger.warning("the worker %s died%s", address, ": its jobs go to others" if left else "")
        for index, call in enumerate(left):
            call.let_go()
            call.deaths += died and index == 0
            if call.deaths > RETRIES:
                message = f"its worker died, {call.deaths} times (killed, or out of memory?)"
                call.fail(BrokenExecutor(message))
            else:
                self._place(call)

    def _give_up(self) -> None:
        calls = [*self._homeless, *(call for worker in self._workers.values() for call in worker.calls)]
        self._homeless, self._workers = [], {}
        for call in calls:
            call.fail(SchedulerLostError(f"the scheduler {self.address} is gone"))

    def _left_as_told(self, address: str) -> bool:
        """Whether a worker that went had been told to, as at the end of its lifetime: none of its jobs is to blame."""
        try:
            events = self._client.sync(self._client.scheduler.events, topic=address, callback_timeout=ANSWERING)
        except (OSError, TimeoutError):
            return False
        removals = [event for _, event in events if event.get("action") == "remove-worker"]
        return bool(removals) and removals[-1]["expected"]  # others were of earlier workers at this address
