"""Progress for people: bars on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

from whydeep.runs.progress import Snapshot

if TYPE_CHECKING:
    from rich.progress import TaskID


BARS = 16
"""Jobs that are shown at most."""


class Display:
    """Shows snapshots between ``with`` and its end. This one shows nothing; it is the base of the others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        """Take down what was shown."""

    def show(self, snapshot: Snapshot) -> None:
        """Take notice of a snapshot; called several times a second."""


class LineDisplay(Display):
    """Plain lines, the first after ``first`` seconds, then one every ``every`` seconds."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        first: float = 3.0,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._every = every
        self._clock = clock
        self._next = clock() + first

    def show(self, snapshot: Snapshot) -> None:
        """Print a line if it is time for one."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + self._every
        with suppress(OSError, ValueError):  # a run does not end because nobody can be told of it
            print(format_line(snapshot), file=self._stream, flush=True)


class BarDisplay(Display):
    """One bar for the whole and one for each of the first running jobs, on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        # rich takes a while to load, and workers never need it
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=stream or sys.stderr),
            transient=True,
        )
        self._whole = self._progress.add_task("all", total=1.0, note="")
        self._jobs: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._progress.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Move the bars."""
        note = f"{snapshot.units} of {snapshot.total} units · {snapshot.time_left}"
        self._progress.update(self._whole, completed=snapshot.fraction, note=note)
        running = dict(snapshot.running[:BARS])
        for label in self._jobs.keys() - running.keys():
            self._progress.remove_task(self._jobs.pop(label))
        for label, fraction in running.items():
            if label not in self._jobs:
                self._jobs[label] = self._progress.add_task(label, total=1.0, note="")
            self._progress.update(self._jobs[label], completed=fraction)


def choose_display(stream: TextIO | None = None) -> Display:
    """Return bars for a terminal, lines for anything else; by default for standard error."""
    stream = stream or sys.stderr
    return BarDisplay(stream) if stream.isatty() else LineDisplay(stream)


def format_line(snapshot: Snapshot) -> str:
    """Write a snapshot as one line.

    >>> format_line(Snapshot(12, 45, 0.38, (70.0, 90.0), (("toy deep (seeds 0-2)", 0.5),)))
    '12 of 45 units · 38 % · about 1 to 2 min left · running: toy deep (seeds 0-2)'
    """
    parts = [f"{snapshot.units} of {snapshot.total} units", f"{snapshot.fraction:.0%}".replace("%", " %")]
    parts.append(snapshot.time_left)
    if snapshot.running:
        names = [label for label, _ in snapshot.running]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        parts.append("running: " + ", ".join(names[:4]) + more)
    return " · ".join(parts)
