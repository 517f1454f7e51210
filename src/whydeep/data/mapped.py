"""A data set in files that all processes of a machine map into their memory: it is there once, and read once."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whydeep.data.dataset import Dataset


@dataclass(frozen=True)
class Mapped:
    """Where the parts of a data set lie; small enough to be sent to the processes that map them.

    Attributes:
        folder: with a file for each tensor; it must stay as long as the data set is used.
        description: the data set without samples.
    """

    folder: Path
    description: Dataset

    def load(self) -> Dataset:
        """Map it; a process maps a folder once."""
        tensors: dict[str, Any] = dict(_map(self.folder))
        return replace(self.description, **tensors)


def map_dataset(images: Dataset, folder: Path) -> Mapped:
    """Write the samples of a data set to a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True)
    names = _tensors(images)
    for name in names:
        np.save(folder / f"{name}.npy", getattr(images, name).numpy())
    empty: dict[str, Any] = {name: getattr(images, name)[:0].clone() for name in names}
    return Mapped(folder.absolute(), replace(images, **empty))


def _tensors(images: Dataset) -> list[str]:
    return [entry.name for entry in fields(images) if isinstance(getattr(images, entry.name), torch.Tensor)]


@lru_cache(maxsize=1)
def _map(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors by name; what a process writes to them is its own."""
    return {path.stem: torch.from_numpy(np.load(path, mmap_mode="c")) for path in folder.glob("*.npy")}
