"""Work whose process is killed again and again, just after a checkpoint was written."""

from whydeep.runs.checkpoint import Checkpoint, CheckpointFile


class KilledError(Exception):
    """Stands for the end of a process just after a checkpoint was written."""


class Dying(CheckpointFile):
    """A file that can be written so many times."""

    lives = 1

    def write(self, loops, done):
        super().write(loops, done)
        object.__setattr__(self, "lives", self.lives - 1)
        if self.lives == 0:
            raise KilledError


def until_done(work, path, lives=1):
    """Do work with a checkpoint whose process is killed again and again; return the result and how often."""
    for deaths in range(1000):
        file = Dying(path, "a.checkpoint", "test")
        object.__setattr__(file, "lives", lives)
        try:
            return work(Checkpoint(file)), deaths
        except KilledError:
            continue
    raise AssertionError("it never gets on")
