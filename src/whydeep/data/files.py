"""Files of a user, of which anything may be wrong."""

import errno
import os
import stat
from pathlib import Path

from whydeep.errors import DataError


def require_file(path: Path) -> None:
    """Raise `DataError` unless a path leads to a file: opening a pipe would wait, and a device may never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not stat.S_ISREG(mode):
        kind = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is a pipe, a socket or a device"
        raise DataError(f"{path}: cannot be read ({kind})")


def require_utf8(path: Path | str) -> None:
    """Raise `DataError` for a name that no file of results can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: cannot be read (its name is not UTF-8): rename it") from None
