"""The mistakes a user can mend. Each is one line: what was given, what is accepted, what to do.

The command line prints the line and ends with status 2; a library user gets an ordinary exception.
"""

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

LONGEST_LINE = 500
"""Of a message, in characters."""


def printable_line(text: str) -> str:
    """Write a text in one line of at most `LONGEST_LINE` characters, each of which a terminal shows as it is.

    Line breaks become spaces, other characters that cannot be printed their escapes; of a longer text the beginning and
    the end are kept.

    >>> printable_line("two\\n  lines, \\x1b[31mred")
    'two lines, \\\\x1b[31mred'
    """
    ends = LONGEST_LINE * 2 // 3 - 5, LONGEST_LINE // 3
    for _ in range(2):  # before the escapes, so that a text of megabytes takes no time, and after them
        if len(text) > LONGEST_LINE:
            text = f"{text[: ends[0]]} ... {text[-ends[1] :]}"
        text = re.sub(r"\s*[\r\n]\s*", " ", text).strip()
        text = printable(text)
    return text


def printable(text: str) -> str:
    """Escape what no line can show, such as a line break in the name of a file, or a byte that is not UTF-8.

    >>> printable("a\\nb\\udce9")
    'a\\\\nb\\\\udce9'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class WhydeepError(Exception):
    """A request that cannot be met as it was made; its text is one printable line that says what to do."""

    exit_status = 2
    """Of a command that ends with it: bad input; 1 where something is lost that was asked for."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable_line(str(message)))


class DataError(WhydeepError):
    """A data set is missing, unreadable, or not what its name or its parts promise."""


class SettingError(WhydeepError):
    """A value lies outside what an option, a network or a population accepts."""


class RunError(WhydeepError):
    """A run folder is missing, belongs to something else, or holds no results."""


class StorageError(RunError):
    """A file of a run cannot be written, or its folder is gone; what was finished before is kept."""

    exit_status = 1


class ConvergenceError(WhydeepError):
    """A computation stopped before it was as accurate as asked for; what it had is not to be trusted."""


LONGEST_MESSAGE = 300
"""Of an error that other code raised, in characters."""


def one_line(error: BaseException, path: Path | None = None) -> str:
    """Write an error's type and message in one line, with the line of a user's file where it was raised.

    >>> one_line(ValueError("two\\nlines"))
    'ValueError: two lines'
    """
    line, traceback = "", error.__traceback__
    while traceback is not None:
        if path is not None and traceback.tb_frame.f_code.co_filename == str(path):
            line = f" (line {traceback.tb_lineno} of {path.name})"
        traceback = traceback.tb_next
    try:
        text = " ".join(str(error).split())[:LONGEST_MESSAGE]
    except Exception:  # of a class of other code
        text = ""
    return printable_line(f"{type(error).__name__}{f': {text}' if text else ''}{line}")


MOST_NAMES = 20
"""A message that lists more would be no line any more."""


def near_names(given: str, names: Iterable[str], *, most: int = MOST_NAMES, destructive: Collection[str] = ()) -> str:
    """Name what is accepted, nearest first: ``did you mean cos? (accepted: arcsinh, cos)``; of many the first five.

    Names of what removes something (`destructive`) are accepted, and never what was meant.

    >>> near_names("coss", ["arcsinh", "cos"])
    'did you mean cos? (accepted: arcsinh, cos)'
    >>> near_names("zzz", ["arcsinh", "cos"])
    'accepted: arcsinh, cos'
    """
    names = list(names)
    shown = names if len(names) <= most else [*names[:5], f"and {len(names) - 5} more"]
    accepted = ", ".join(shown)
    near = difflib.get_close_matches(given, [name for name in names if name not in destructive], n=2, cutoff=0.6)
    return f"did you mean {' or '.join(near)}? (accepted: {accepted})" if near else f"accepted: {accepted}"
