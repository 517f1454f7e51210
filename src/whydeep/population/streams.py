"""Streams of random numbers that depend on what they are for, and on nothing else.

A stream is named by the root seed, the experiment, the setting, the seed index and its purpose. It never
depends on how many networks train together, in which order they run, or where. What should be shared
between settings, so that they can be compared pair by pair (the data points, the order of the images),
leaves the setting out of its name.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

Purpose = Literal["data", "init", "order", "labels", "null", "probe"]


@dataclass(frozen=True)
class Stream:
    """One named stream; each call of `numpy` starts it from its beginning.

    >>> Stream(0, "demo", "", 3, "data").numpy().integers(100, size=4).tolist()
    [11, 60, 48, 90]
    """

    root_seed: int
    experiment: str
    setting: str
    seed: int
    purpose: Purpose

    def sequence(self, part: int = 0) -> np.random.SeedSequence:
        """Return the seed sequence of this stream; `part` numbers its independent parts, such as epochs."""
        name = "\0".join((self.experiment, self.setting, self.purpose))
        words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
        return np.random.SeedSequence([self.root_seed, self.seed, part, *words.tolist()])

    def numpy(self, part: int = 0) -> np.random.Generator:
        """Return a fresh numpy generator at the start of a part."""
        return np.random.Generator(np.random.PCG64(self.sequence(part)))

    def torch_seed(self, part: int = 0) -> int:
        """Return a 63-bit seed of a part, for `torch.manual_seed`."""
        return int(self.sequence(part).generate_state(1, np.uint64)[0] >> np.uint64(1))
