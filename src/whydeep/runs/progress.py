"""How far jobs are."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from whydeep.runs.estimate import format_range


@dataclass
class ProgressFile:
    """A worker's side of progress: a tiny file that holds the fraction done, replaced a few times a second.

    It travels to any kind of worker. Where the folder can't be reached, it says nothing and costs nothing.
    """

    path: Path
    interval: float = 0.25
    begun: float = 0.0  # what an interrupted run has done of the job
    done: float = 0.0
    _next: float = field(default=-math.inf, repr=False)

    def __call__(self, fraction: float) -> None:
        """Report that this fraction of the job is done."""
        self.done = fraction
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.interval
        temporary = self.path.with_suffix(".new")
        try:
            temporary.write_text(f"{fraction:.6f} {self.begun:.6f}")
            temporary.replace(self.path)
        except OSError:
            self._next = math.inf

    def __getstate__(self) -> dict:
        """Leave the clock behind: another machine has another."""
        return {**self.__dict__, "_next": -math.inf}


def read_progress(path: Path) -> tuple[float, float] | None:
    """Return what a worker last reported: the share that is done, and that which an interrupted run had done of it.

    None if it has not started.
    """
    try:
        fraction, begun = map(float, path.read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return None
    done = min(max(fraction, 0.0), 1.0) if math.isfinite(fraction) else 0.0
    return done, min(begun, done)


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run: units on disk, share of the cost that is done, the least and the most seconds that are likely
    left, and how far each job is."""

    units: int
    total: int
    fraction: float
    remaining: tuple[float, float] | None
    running: tuple[tuple[str, float], ...] = ()

    @property
    def time_left(self) -> str:
        """Say how long the rest takes."""
        return "estimating" if self.remaining is None else f"{format_range(*self.remaining)} left"


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
