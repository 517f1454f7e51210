"""Files that are either whole or not there, whenever the process is killed."""

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, making its folder, so that a reader sees the old file or the new one.

    The bytes go to a hidden file beside ``path``, reach the disk, and then take its name.

    Raises:
        OSError: The file cannot be written; the old one, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # a file system that is read-only refuses that as well
            temporary.unlink(missing_ok=True)
        raise
