"""Streams of random numbers that depend on what they are for, and on nothing else.

A stream is named by the root seed, the experiment, the setting, the seed index and its purpose. It never
depends on how many networks train together, in which order they run, or where. What should be shared
between settings, so that they can be compared pair by pair (the data points, the order of the images),
leaves the setting out of its name.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

from whydeep.errors import SettingError

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


def member_streams(
    name: str, streams: Sequence[Stream] | None, seeds: Iterable[int] | None, purpose: Purpose
) -> list[Stream] | None:
    """Return the streams that members are given, or those of their seeds; None where neither is given.

    The stream of a seed has root seed 0 and no experiment and setting: ``Stream(0, "", "", seed, purpose)``.

    Args:
        name: what the argument for streams is called.
        streams, seeds: one per member; at most one of the two.
        purpose: of the streams of seeds.

    Raises:
        SettingError: both, something else than streams, or seeds that are no whole numbers from 0.

    >>> member_streams("orders", None, range(2), "order")[1]
    Stream(root_seed=0, experiment='', setting='', seed=1, purpose='order')
    """
    if streams is not None and seeds is not None:
        raise SettingError(f"give {name} or seeds, not both")
    if seeds is not None:
        return [Stream(0, "", "", seed, purpose) for seed in _whole_numbers(seeds)]
    if streams is None:
        return None
    if not isinstance(streams, Iterable) or not all(isinstance(stream, Stream) for stream in streams):
        raise SettingError(f"{name} must be a Stream for each member, not {streams!r:.60}: give whole numbers as seeds")
    return list(streams)


def _whole_numbers(seeds: Iterable[int]) -> list[int]:
    numbers = list(seeds) if isinstance(seeds, Iterable) else [None]
    if not all(isinstance(seed, Integral) and not isinstance(seed, bool) and seed >= 0 for seed in numbers):
        raise SettingError(f"seeds must be whole numbers from 0, one per member, such as range(5), not {seeds!r:.60}")
    return [int(seed) for seed in numbers]
