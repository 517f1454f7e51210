"""IDX files, the format of MNIST (LeCun, Cortes and Burges 1998), compressed or not."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from whydeep.errors import DataError

MOST_DIMENSIONS = 32  # numpy before 2.0 had no more, and no data set does
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

PARTS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacked if it is compressed with gzip (whatever its name).

    Raises:
        DataError: the file cannot be read, or its compressed content is damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except EOFError:
        raise DataError(f"{path}: truncated: the compressed data ends early; get the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); get the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def parse(content: bytes, path: Path, dimensions: int | None = None) -> np.ndarray:
    """Turn the content of an IDX file into an array.

    Args:
        content: unpacked bytes.
        path: named in errors.
        dimensions: how many there must be; any number if not given.

    Raises:
        DataError: not an IDX file, too short, too long, empty, or of other dimensions.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES or not 0 < content[3] <= MOST_DIMENSIONS:
        raise DataError(f"{path}: not an IDX file (it starts with {content[:4].hex() or 'nothing'})")
    dtype, rank = np.dtype(DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{path}: truncated: the header of {start} bytes ends after {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if dimensions is not None and rank != dimensions:
        raise DataError(f"{path}: holds {rank} dimensions {shape}, expected {dimensions}")
    expected, found = prod(shape) * dtype.itemsize, len(content) - start
    if found != expected:
        what = "truncated" if found < expected else "too long"
        size = " x ".join(map(str, shape))
        raise DataError(f"{path}: {what}: the header promises {size} = {expected} bytes, found {found}")
    if expected == 0:
        raise DataError(f"{path}: empty: the header says {shape}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def find_parts(folder: Path) -> dict[str, Path] | None:
    """Find the four files of an MNIST-like data set in a folder; None unless at least one is there.

    Names may end in ``-idx3-ubyte`` or ``.idx3-ubyte``, with or without ``.gz``.

    Raises:
        DataError: some of the four are there and others are not.
    """
    parts: dict[str, Path] = {}
    for part, name in PARTS.items():
        dotted = name.replace("-idx", ".idx")
        candidates = (name, dotted, f"{name}.gz", f"{dotted}.gz")
        present = [folder / candidate for candidate in candidates if (folder / candidate).is_file()]
        if present:
            parts[part] = present[0]
    missing = [PARTS[part] for part in PARTS if part not in parts]
    if parts and missing:
        raise DataError(f"{folder}: holds some of the four IDX files but not {', '.join(missing)} (or .gz)")
    return parts or None


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
