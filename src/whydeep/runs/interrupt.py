"""SIGINT and SIGTERM: the first sets a flag, the second raises KeyboardInterrupt.

An exception in the middle of writing a file would damage it; so the flag is looked at between two steps. The
second signal is for those who cannot wait.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGINT or SIGTERM has come; the old handlers return afterwards.

    A signal that is ignored stays ignored. Outside the main thread signals can't be caught, and the answer
    is always no.
    """
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
