"""Numbers too small to matter, and too slow to keep."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take numbers below about 1e-38 for zero inside, on this thread of the CPU.

    The moments of Adam fade to such numbers wherever a gradient stays zero (dead units, dark pixels), and
    processors handle them so slowly that a step of the image networks took a tenth longer.
    """
    before = bool(torch.tensor(1e-39) + 0.0 == 0.0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
