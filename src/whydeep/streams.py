"""What a command says: one printable line at a time on standard error, and on standard output what was asked for.

A stream that is closed, full, or read by nobody any more stops no command: what a run keeps counts more than what it
says.
"""

import contextlib
import io
import os
import re
import sys

from whydeep.errors import printable_line

_output_error: OSError | None = None


def prepare_streams() -> None:
    """Open what is closed, and have characters that a stream cannot write be written as escapes."""
    global _output_error
    _output_error = None
    for number in range(3):  # else the next file that is opened would be taken for the stream
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # workers have the same three
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(text: str) -> None:
    """Write ``whydeep: text`` to standard error, in one printable line, if anything can be written there."""
    with contextlib.suppress(OSError, ValueError):
        print(f"whydeep: {printable_line(text)}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a text at once; without one, nothing. What cannot be printed is given up (see `output_error`).

    Characters that would move a terminal's cursor, or change its colours, are written as escapes.
    """
    text = re.sub(r"[^\n -~\xa0-\U0010ffff]", lambda found: repr(found[0])[1:-1], text)
    try:
        print(text, end="\n" if text else "", flush=True)
    except OSError as error:
        _give_output_up(error)


def output_error() -> OSError | None:
    """Return why standard output could not be written, if so; what is still to be written is tried first."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_output_up(error)
    return _output_error


def _give_output_up(error: OSError) -> None:
    global _output_error
    _output_error = _output_error or error
    with contextlib.suppress(OSError, ValueError):  # what Python still has to write at its end goes there as well
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
