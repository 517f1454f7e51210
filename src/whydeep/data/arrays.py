"""A user's own arrays in an .npz file: x_train, y_train, x_test, y_test."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from whydeep.data.dataset import Dataset, make_dataset
from whydeep.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_arrays(path: Path) -> Dataset:
    """Read an .npz file; labels may be any integers, and become classes in increasing order.

    Raises:
        DataError: not an .npz file, an array missing or not numbers, or arrays that do not fit together.
    """
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):  # np.load would take it for another kind of file
                how = f"numpy.savez(path, {'=..., '.join(KEYS)}=...)"
                raise DataError(f"{path}: not an .npz file, or only a part of one; make it with {how}")
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise DataError(
                    f"{path}: lacks {', '.join(missing)}; it must hold {', '.join(KEYS)}, "
                    f"and holds {', '.join(sorted(file)) or 'nothing'}"
                )
            arrays = {key: np.asarray(file[key]) for key in KEYS}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path}: not a readable .npz file ({error})") from None
    except ValueError as error:
        reason = "it holds Python objects" if "pickle" in str(error) else str(error)
        raise DataError(f"{path}: not an .npz file of plain numbers ({reason})") from None
    labels = {key: _labels(path, key, arrays[key]) for key in ("y_train", "y_test")}
    names = np.unique(labels["y_train"])
    unknown = np.setdiff1d(labels["y_test"], names)
    if unknown.size:
        raise DataError(f"{path}: y_test holds the label {unknown[0]}, which y_train never has")
    return make_dataset(
        path.stem,
        (arrays["x_train"], np.searchsorted(names, labels["y_train"])),
        (arrays["x_test"], np.searchsorted(names, labels["y_test"])),
        origin=str(path),
        class_names=[str(name) for name in names],
    )


def _labels(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} must be integers of shape (n,), not {labels.dtype} of {labels.shape}")
    return labels.astype(np.int64)
