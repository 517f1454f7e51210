"""What a command has around it, whoever gives it: streams, signals, and packages that a user has set up for other work.

Figures are the same bytes for everyone, and what packages remark to developers is a line as any other.
"""

import logging
import os
import signal
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from whydeep.errors import RunError, one_line
from whydeep.streams import prepare_streams, tell


def prepare_surroundings() -> None:
    """Prepare this process for a command, before anything slow is imported; workers inherit what they need.

    Raises:
        RunError: the current folder was deleted.
    """
    prepare_streams()
    _interrupt_by_termination()
    _prepare_matplotlib()
    _remark_in_lines()
    try:
        Path.cwd()
    except OSError as error:  # libraries that PyTorch loads end the process without it
        raise RunError(f"the current folder cannot be used ({error.strerror}): go to another, and try again") from None


def _interrupt_by_termination() -> None:
    """Let SIGTERM do what Ctrl-C does, as clusters send it, from the beginning on."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _prepare_matplotlib() -> None:
    """Keep matplotlib from a user's backend, which may not be installed, from settings, and from remarks on folders."""
    os.environ["MPLBACKEND"] = "agg"
    package = find_spec("matplotlib")
    if package and package.submodule_search_locations:
        os.environ["MATPLOTLIBRC"] = os.path.join(package.submodule_search_locations[0], "mpl-data")  # noqa: PTH118
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _remark_in_lines() -> None:
    """Write warnings, each once, and what this package logs, as lines."""
    said = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        text = f"{category.__name__}: {message}"
        if text not in said:
            said.add(text)
            tell(text)

    warnings.showwarning = show
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda ended: _tell_of(ended.exc_value)
    logging.raiseExceptions = False
    logger = logging.getLogger("whydeep")
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())


def _tell_of(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        tell(f"a thread ended: {one_line(error)}")


class _Lines(logging.Handler):
    """Writes what is logged as one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())
