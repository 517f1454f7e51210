"""Connecting to a Dask cluster, or starting one on this machine or through Slurm."""

import asyncio
import logging
import math
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whydeep.errors import RunError, SettingError, one_line
from whydeep.runs.cluster import Cluster
from whydeep.runs.workers import ENVIRONMENT, worker_surroundings

CONNECTING = 5.0
"""Seconds to wait for a scheduler."""
RENEWAL = 20.0
"""Seconds without a worker after which a job of Slurm has ended; a worker that died is back sooner."""
QUIET = ("distributed", "distributed.client", "tornado.application", "asyncio")
"""Loggers that write about lost connections; what matters of it is said in a line by us."""

logger = logging.getLogger(__name__)


@contextmanager
def open_cluster(place: str, workers: int, requirements: Callable[[], None], progress: Path) -> Iterator[Cluster]:
    """Connect to a cluster, or start one.

    Args:
        place: the address of a scheduler, local or slurm.
        workers: processes to start.
        requirements, progress: see `Cluster`.

    Raises:
        SettingError: Dask is not installed, or Slurm not configured.
        RunError: nobody answers at the address, Slurm takes no jobs, or a worker cannot take part.
    """
    try:
        import distributed

        if place == "slurm":
            import dask_jobqueue  # noqa: F401
    except ImportError as error:
        raise SettingError(f"--cluster needs Dask ({error}): install it with pip install 'whydeep[dask]'") from None
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        scheduler: Any = place
        renew: Callable[[], None] = _nothing
        if place == "local":
            scheduler = stack.enter_context(_start_local(workers))
        elif place == "slurm":
            scheduler = stack.enter_context(_start_slurm())
            renew = _SlurmJobs(scheduler, workers).renew
        else:
            _expect_scheduler(place)
        client = stack.enter_context(distributed.Client(scheduler, timeout=CONNECTING, set_as_default=False))
        cluster = Cluster(client, requirements, progress, renew)
        cluster.start()
        yield cluster


def _nothing() -> None:
    pass


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in QUIET]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


def _expect_scheduler(address: str) -> None:
    """Raise `RunError` unless a scheduler answers."""
    try:
        if address.startswith("tcp://"):
            _expect_dask(address)
        with ThreadPoolExecutor(1) as thread:  # where there is no event loop, as in a notebook
            kind = thread.submit(asyncio.run, _identify(address)).result()
        if kind != "Scheduler":
            raise OSError(f"a {kind.lower()} answers")
    except (OSError, TimeoutError, TypeError) as error:  # TypeError: of TLS without certificates
        raise RunError(
            f"no Dask scheduler answers at {address} ({one_line(error)}): give the address that `dask scheduler` "
            "shows, or --cluster local"
        ) from None


def _expect_dask(address: str) -> None:
    """Raise `OSError` unless what answers speaks first, and a short message, as Dask does.

    Dask would speak to a server of web pages, such as that of its own dashboard, and take minutes over the answer.
    """
    url = urlsplit(address)
    with socket.create_connection((url.hostname, url.port), timeout=CONNECTING) as connection:
        length = int.from_bytes(connection.recv(8), "little")
    if not 0 < length < 2**20:
        raise OSError("something else answers")


async def _identify(address: str) -> str:
    from distributed import Security, rpc

    tls = Security().get_connection_args("client")
    async with asyncio.timeout(CONNECTING), rpc(address, timeout=CONNECTING, connection_args=tls) as server:
        return (await server.identity())["type"]


def _start_local(workers: int) -> Any:
    """Start a scheduler in this process, and workers of one thread, which leave signals to it."""
    import dask
    from distributed import LocalCluster

    environment = ENVIRONMENT | {"DASK_LOGGING__DISTRIBUTED": "critical"}
    settings = {"distributed.nanny.pre-spawn-environ": environment, "distributed.worker.profile.enabled": False}
    with worker_surroundings(), dask.config.set(settings):
        return LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0")


def _start_slurm() -> Any:
    """Start a scheduler in this process, for workers of one thread that Slurm starts."""
    import dask
    from dask_jobqueue import SLURMCluster

    if shutil.which("sbatch") is None:
        raise SettingError("--cluster slurm needs Slurm's sbatch, which is not here: run it where jobs are submitted")
    settings = dask.config.get("jobqueue.slurm")
    if not (settings["cores"] and settings["memory"]):
        raise SettingError(
            "--cluster slurm needs cores and memory of jobqueue.slurm in a file of ~/.config/dask: see docs/cluster.md"
        )
    exports = [f"export {name}={value}" for name, value in ENVIRONMENT.items()]
    return SLURMCluster(
        processes=settings["cores"],
        job_script_prologue=[*settings["job-script-prologue"], *exports],
        scheduler_options={"dashboard_address": "127.0.0.1:0", **settings["scheduler-options"]},
    )


class _SlurmJobs:
    """Has Slurm start so many workers, and anew when the time of their jobs is over.

    Raises:
        RunError: Slurm takes no job.
    """

    def __init__(self, cluster: Any, workers: int):
        self._cluster = cluster
        self._seen: dict[str, float] = {}  # job -> when one of its workers was there last
        processes = len(cluster.new_worker_spec().popitem()[1].get("group", [""]))
        self._submit(math.ceil(workers / processes))

    def _submit(self, jobs: int) -> None:
        from distributed.core import Status

        async def start() -> None:
            await self._cluster

        for _ in range(jobs):
            self._cluster.worker_spec.update(self._cluster.new_worker_spec())
        try:
            self._cluster.sync(start)
        except RuntimeError as error:
            for job in self._cluster.workers.values():
                if job.job_id is None:
                    job.status = Status.failed  # otherwise the cluster cannot be closed
            raise RunError(f"Slurm takes no job: {one_line(error)}") from None

    def renew(self) -> None:
        """Ask for new jobs in place of those whose workers are gone; for those that Slurm has yet to start, wait."""
        now = time.monotonic()
        workers = {str(state["name"]) for state in [*self._cluster.scheduler_info["workers"].values()]}
        for job, specification in [*self._cluster.worker_spec.items()]:
            if workers & {f"{job}{suffix}" for suffix in specification.get("group", [""])}:
                self._seen[job] = now
        ended = [job for job, last in self._seen.items() if now - last > RENEWAL]
        if ended:
            self._seen = {job: last for job, last in self._seen.items() if job not in ended}
            self._cluster.sync(self._cluster.scale_down, ended)
            try:
                self._submit(len(ended))
            except RunError as error:  # others may go on
                logger.warning("%s", error)
