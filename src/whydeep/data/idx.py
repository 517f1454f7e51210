"""IDX files, the format of MNIST (LeCun, Cortes and Burges 1998) and EMNIST, compressed or not."""

import gzip
import re
import zlib
from math import prod
from pathlib import Path

import numpy as np

from whydeep.data.files import require_file
from whydeep.data.inputs import check_size
from whydeep.errors import DataError

MOST_DIMENSIONS = 32  # numpy before 2.0 had no more, and no data set does
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

PARTS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


STEM = re.compile(r"(.+)-train-images[-.]idx3-ubyte(\.gz)?")
"""EMNIST's files have the name of a data set in front of those of MNIST."""

MOST_PACKED = 1032
"""Bytes that one of a compressed file can stand for."""


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacked if it is compressed with gzip (whatever its name).

    No more is read than its header promises, and a byte that tells whether it goes on.

    Raises:
        DataError: the file cannot be read, its compressed content is damaged, or its header promises too much.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            longest = path.stat().st_size * (MOST_PACKED if packed else 1)
        with gzip.open(path) if packed else path.open("rb") as stream:
            head = stream.read(4)
            if not _begins_idx(head):
                return head
            head += stream.read(4 * head[3])
            if len(head) < 4 + 4 * head[3]:
                return head
            check_size(path, prod(_read_shape(head)))
            stream.seek(0)
            return stream.read(min(len(head) + _promised_bytes(head) + 1, longest))
    except EOFError:
        raise DataError(f"{path}: truncated: the compressed data ends early; get the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); get the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _begins_idx(content: bytes) -> bool:
    return len(content) >= 4 and content[:2] == b"\0\0" and content[2] in DTYPES and 0 < content[3] <= MOST_DIMENSIONS


def _read_shape(content: bytes) -> tuple[int, ...]:
    return tuple(int(size) for size in np.frombuffer(content[4 : 4 + 4 * content[3]], ">u4"))


def _promised_bytes(content: bytes) -> int:
    return prod(_read_shape(content)) * np.dtype(DTYPES[content[2]]).itemsize


def parse(content: bytes, path: Path, dimensions: int | None = None) -> np.ndarray:
    """Turn the content of an IDX file into an array.

    Args:
        content: unpacked bytes.
        path: named in errors.
        dimensions: how many there must be; any number if not given.

    Raises:
        DataError: not an IDX file, too short, too long, empty, or of other dimensions.
    """
    if not _begins_idx(content):
        raise DataError(f"{path}: not an IDX file (it starts with {content[:4].hex() or 'nothing'})")
    dtype, rank = np.dtype(DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{path}: truncated: the header of {start} bytes ends after {len(content)}")
    shape = _read_shape(content)
    if dimensions is not None and rank != dimensions:
        raise DataError(f"{path}: holds {rank} dimensions {shape}, expected {dimensions}")
    expected, held = _promised_bytes(content), len(content) - start
    if held != expected:
        what, held_text = ("truncated", f"{held}") if held < expected else ("too long", "more")
        size = " x ".join(map(str, shape))
        raise DataError(f"{path}: {what}: the header promises {size} = {expected} bytes, found {held_text}")
    if expected == 0:
        raise DataError(f"{path}: empty: the header says {shape}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def find_parts(folder: Path, stem: str = "") -> dict[str, Path] | None:
    """Find the four files of an MNIST-like data set in a folder; None unless at least one is there.

    Names may end in ``-idx3-ubyte`` or ``.idx3-ubyte``, with or without ``.gz``, and begin with ``test`` in place of
    ``t10k``.

    Args:
        stem: what stands in front of the names, such as "emnist-letters".

    Raises:
        DataError: some of the four are there and others are not.
    """
    parts: dict[str, Path] = {}
    for part in PARTS:
        present = [path for name in _file_names(part, stem) if (path := folder / name).is_file()]
        if present:
            parts[part] = present[0]
    missing = [_file_names(part, stem)[0] for part in PARTS if part not in parts]
    if parts and missing:
        raise DataError(f"{folder}: holds some of the four IDX files but not {', '.join(missing)} (or .gz)")
    return parts or None


def _file_names(part: str, stem: str) -> list[str]:
    """Return the names that a file may have, the usual one first."""
    names = [PARTS[part], PARTS[part].replace("t10k", "test")]
    if stem:
        names = [f"{stem}-{name}" for name in reversed(names)]
    dashed_and_dotted = (*names, *(re.sub(r"-(idx.-ubyte)$", r".\1", name) for name in names))
    return [f"{name}{ending}" for ending in ("", ".gz") for name in dict.fromkeys(dashed_and_dotted)]


def find_stems(folder: Path) -> list[str]:
    """Return the names of data sets, such as "emnist-letters", whose files lie in a folder."""
    if not folder.is_dir():
        return []
    return sorted({match[1] for path in folder.iterdir() if (match := STEM.fullmatch(path.name))})


def read_split(images: Path, labels: Path, contents: dict[Path, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Parse images and their labels from contents that were read before.

    Raises:
        DataError: a file is not what it should be, or their counts differ.
    """
    pictures, classes = parse(contents[images], images, 3), parse(contents[labels], labels, 1)
    if classes.dtype != np.uint8:  # wider ones could name billions of classes, or none
        raise DataError(f"{labels}: holds {classes.dtype} labels, expected unsigned bytes")
    if len(pictures) != len(classes):
        raise DataError(f"{images} holds {len(pictures)} images and {labels} {len(classes)} labels: they differ")
    return pictures, classes
