"""How a command ends, whatever happens: one line that says why, and an exit status.

0 done, 1 something was lost or failed, 2 bad input, which the user can mend, 130 interrupted.
"""

import errno
import os
import tempfile
import traceback
from collections.abc import Sequence

from whydeep.errors import WhydeepError, one_line
from whydeep.streams import output_error, tell

REMEDIES = {
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EAGAIN: "allow more processes (ulimit -u), or give fewer --workers",
    errno.ENOMEM: "give fewer --workers, or free some memory",
    errno.ENOSPC: "make room, and try again",
    errno.EDQUOT: "make room, and try again",
}


def explain(error: BaseException, given: Sequence[str]) -> int:
    """Say in one line why a command (the words that were `given`) ended, and return its exit status.

    With the environment variable WHYDEEP_DEBUG, the traceback goes to standard error as well.
    """
    if os.environ.get("WHYDEEP_DEBUG") and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    match error:
        case WhydeepError():
            tell(str(error))
            return error.exit_status
        case SystemExit(code=int() as code):  # of the parser, when it has printed its help
            return code
        case SystemExit(code=None):
            return 0
        case KeyboardInterrupt():
            kept = "" if given[:1] == ["bench"] else "; what was finished is kept: run the same command to go on"
            tell(f"interrupted{kept}")
            return 130
        case BrokenPipeError():  # whoever read the output has read enough
            return 1
        case OSError():
            return _explain_refusal(error)
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or "not enough memory" in str(error):
            tell(f"the memory does not suffice: {REMEDIES[errno.ENOMEM]}")
        case RuntimeError() if "can't start new thread" in str(error):
            tell(f"no thread can be started: {REMEDIES[errno.EAGAIN]}")
        case _ if _is_of_an_import(error):
            kept = _keep_traceback(error, given)
            tell(f"a package cannot be loaded ({one_line(error)}): its installation or its settings are broken. {kept}")
        case _:
            tell(f"this is a fault of whydeep: please report it ({one_line(error)}). {_keep_traceback(error, given)}")
    return 1


def final_status(status: int) -> int:
    """Return the exit status of a command that came to its end: another than 0 if its output was lost."""
    error = output_error()
    if error is not None and not isinstance(error, BrokenPipeError):
        tell(f"standard output cannot be written ({error.strerror}): something of it is lost")
    return status or (1 if error else 0)


def _explain_refusal(error: OSError) -> int:
    """Say what the operating system refused; 2 if it is about a file or folder that was named."""
    remedy = REMEDIES.get(error.errno or 0, "mend that, and try again")
    if error.errno == errno.ENOENT and error.filename is None:  # the system says no more of it
        remedy = "the current folder was deleted: go to another, and give the same command again"
    if error.filename is None:
        tell(f"the operating system refuses ({error.strerror or one_line(error)}): {remedy}")
        return 1
    tell(f"{error.filename} cannot be used ({error.strerror}): {remedy}")
    return 1 if error.errno in REMEDIES else 2


def _is_of_an_import(error: BaseException) -> bool:
    """Say whether an error came while a module was imported."""
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(error, ImportError) or any(frame.f_code.co_name == "<module>" for frame, _ in frames)


def _keep_traceback(error: BaseException, given: Sequence[str]) -> str:
    """Write the traceback to a file, and say where it is."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="whydeep-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            print("whydeep", *given, file=file)
            traceback.print_exception(error, file=file)
        return f"The traceback is in {file.name}"
    except OSError:
        return "With WHYDEEP_DEBUG=1 it prints the traceback"
