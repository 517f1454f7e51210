"""One process a folder: a lock that the operating system drops when its holder dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whydeep.errors import RunError

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, which names the process that holds it.

    A file left by a dead process holds nothing: the lock is the kernel's, not the file's existence.

    Raises:
        RunError: Another process holds it.
        OSError: It cannot be written.
    """
    with path.open("a+") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text().strip() or "unknown"
            raise RunError(
                f"{path.parent} is in use by process {holder}: wait for it, stop it, or choose another folder"
            ) from None
        except OSError:
            pass  # a file system without locks
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
