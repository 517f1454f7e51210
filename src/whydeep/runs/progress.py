"""How far a job is, and how long the rest takes."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ProgressFile:
    """A worker's side of progress: a tiny file that holds the fraction done, replaced a few times a second.

    It travels to any kind of worker. Where the folder can't be reached, it says nothing and costs nothing.
    """

    path: Path
    interval: float = 0.25
    _next: float = field(default=-math.inf, repr=False)

    def __call__(self, fraction: float) -> None:
        """Report that this fraction of the job is done."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.interval
        temporary = self.path.with_suffix(".new")
        try:
            temporary.write_text(f"{fraction:.6f}")
            temporary.replace(self.path)
        except OSError:
            self._next = math.inf

    def __getstate__(self) -> dict:
        """Leave the clock behind: another machine has another."""
        return {**self.__dict__, "_next": -math.inf}


def read_fraction(path: Path) -> float | None:
    """Return the fraction, within 0 and 1, that a worker last reported; None if it hasn't started."""
    try:
        fraction = float(path.read_text())
    except (OSError, ValueError):
        return None
    return min(max(fraction, 0.0), 1.0) if math.isfinite(fraction) else 0.0


class Estimator:
    """The time that is left, from the cost that was predicted and the cost that is done.

    The speed is what has been seen, blended with the prediction (one second of cost per worker and second)
    as if that had been watched for a tenth of the predicted time. The end can't come before the longest job
    does, so the last job on its own isn't taken to go at the speed of all workers.

    Args:
        total: predicted cost, in seconds on one core.
        workers: how many jobs run at once; if None, nothing is predicted before something is done.
        clock: seconds that only grow.

    >>> estimator = Estimator(100, workers=2, clock=lambda: 0.0)
    >>> estimator.remaining(done=0.0)
    50.0
    """

    def __init__(self, total: float, *, workers: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.workers = workers
        self._clock = clock
        self._start = clock()

    def remaining(self, done: float, *, longest: float = 0.0) -> float | None:
        """Return the seconds left, or None while nothing is known.

        Args:
            done: cost that is done, with the fractions of running jobs.
            longest: the largest cost that one single job still has before it.
        """
        weight = min(max(0.1 * self.total / self.workers, 1.0), 30.0) if self.workers else 0.0
        watched = self._clock() - self._start + weight
        seen = done + weight * (self.workers or 0)
        if seen <= 0 or watched <= 0 or not math.isfinite(self.total):
            return None
        left = max(self.total - done, longest * (self.workers or 1), 0.0)
        return left * watched / seen


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run: units on disk, fraction of the cost done, seconds left, and how far each job is."""

    units: int
    total: int
    fraction: float
    remaining: float | None
    running: tuple[tuple[str, float], ...] = ()

    @property
    def time_left(self) -> str:
        """Say how long the rest takes."""
        return "estimating" if self.remaining is None else f"about {format_duration(self.remaining)} left"


def format_duration(seconds: float) -> str:
    """Write a duration with its two largest units.

    >>> format_duration(80), format_duration(0.2), format_duration(7300)
    ('1 min 20 s', '1 s', '2 h 1 min')
    """
    whole = max(1, round(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
