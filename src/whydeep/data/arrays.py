"""A user's own arrays in an .npz file: x_train, y_train, x_test, y_test, or train_images, train_labels, ..."""

import io
import warnings
import zipfile
from math import prod
from pathlib import Path

import numpy as np

from whydeep.data.dataset import Dataset, make_dataset
from whydeep.data.files import require_file
from whydeep.data.inputs import MOST_VALUES, check_size
from whydeep.errors import DataError, one_line

KEYS = ("x_train", "y_train", "x_test", "y_test")
"""As Keras calls them."""

OTHER_KEYS = ("train_images", "train_labels", "test_images", "test_labels")
"""As MedMNIST calls them."""

LONGEST_HEADER = 10_000
"""Bytes, as numpy has it for arrays that are not trusted."""

LONGEST_NAME = 60
"""Characters of the name of an array that a message shows."""

MOST_BYTES = 8 * MOST_VALUES
"""Of one array."""


def read_arrays(path: Path) -> Dataset:
    """Read an .npz file; labels become classes in increasing order.

    Nothing is unpacked before its header says that it is plain numbers or texts, and no more than fits.

    Raises:
        DataError: not an .npz file, an array missing or not numbers, or arrays that do not fit together.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):  # np.load would take it for another kind of file
                how = f"numpy.savez(path, {'=..., '.join(KEYS)}=...)"
                raise DataError(f"{path}: not an .npz file, or only a part of one; make it with {how}")
        with zipfile.ZipFile(path) as archive:
            held = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            keys = _choose_keys(path, held)
            _check_shapes(path, [_read_shape(archive, held[key]) for key in keys])
            x_train, y_train, x_test, y_test = (_read_array(archive, held[key]) for key in keys)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # zipfile, its four ways of packing and numpy raise errors of any kind
        raise DataError(f"{path}: not a readable .npz file ({one_line(error)})") from None
    others = [key for key in held if key not in keys]
    return make_dataset(
        path.stem,
        (x_train, y_train),
        (x_test, y_test),
        origin=str(path),
        notice=f"Left out: {_listed(others)}, of {path.name}." if others else "",
    )


def _choose_keys(path: Path, held: dict[str, zipfile.ZipInfo]) -> tuple[str, ...]:
    """Return the names of training inputs and labels, and of test inputs and labels."""
    for keys in (KEYS, OTHER_KEYS):
        if all(key in held for key in keys):
            return keys
    keys = max((KEYS, OTHER_KEYS), key=lambda keys: sum(key in held for key in keys))
    missing = [key for key in keys if key not in held]
    raise DataError(
        f"{path}: lacks {', '.join(missing)}; it must hold {', '.join(KEYS)}, or {', '.join(OTHER_KEYS)}, and holds "
        f"{_listed(sorted(held)) or 'nothing'}"
    )


def _check_shapes(path: Path, shapes: list[tuple[int, ...]]) -> None:
    """Raise `DataError` if inputs are too many, or not as many as labels."""
    check_size(path, prod(shapes[0]) + prod(shapes[2]))
    for split, inputs, labels in (("training", *shapes[:2]), ("test", *shapes[2:])):
        if inputs and inputs[:1] != labels[:1]:
            raise DataError(f"{path}: {inputs[0]} {split} inputs have labels of shape {labels}")


def _read_shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Read the shape of an array, whose header, length and type must fit together."""
    name = member.filename.removesuffix(".npy")
    place = f"{archive.filename}: {name}"
    with archive.open(member) as stream:
        start = io.BytesIO(stream.read(LONGEST_HEADER + 12))
    try:
        version = np.lib.format.read_magic(start)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            shape, _, dtype = read_header(start, LONGEST_HEADER)
    except Exception as error:
        raise DataError(f"{place} is not an array of numpy ({one_line(error)})") from None
    if dtype.hasobject:
        raise DataError(
            f"{place} holds Python objects, which are not read; save numbers, or texts by {name}.astype(str)"
        )
    if min(shape, default=0) < 0:
        raise DataError(f"{place} has the shape {shape}: damaged, save it again")
    size = prod(shape) * max(1, dtype.itemsize)
    if size > MOST_BYTES:
        raise DataError(f"{place} takes {size:,} bytes, and at most {MOST_BYTES:,} are read")
    if start.tell() + size != member.file_size:
        raise DataError(
            f"{place} promises {size:,} bytes and holds {member.file_size - start.tell():,}: damaged, save it again"
        )
    return shape


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.lib.format.read_array(stream, allow_pickle=False, max_header_size=LONGEST_HEADER)


def _listed(names: list[str], most: int = 10) -> str:
    return ", ".join(name[:LONGEST_NAME] for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )
