"""What a worker does before anything is imported that may fail: what ends it is said in a line, as all else."""

import os
import sys

from whydeep.errors import one_line
from whydeep.streams import tell

WORKER = "WHYDEEP_WORKER"
"""Variable in the environment of workers."""


def tell_of_end(error: BaseException) -> None:
    """Say what ends this process."""
    tell(f"a worker ended: {one_line(error)}")


if os.environ.get(WORKER):
    sys.excepthook = lambda kind, error, place: tell_of_end(error)
