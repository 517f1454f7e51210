"""PNG and JPEG files as arrays of bytes."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from whydeep.data.files import require_file
from whydeep.errors import DataError, one_line

ENDINGS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
"""Whatever a file is called: other readers, such as that of PostScript, run programs."""

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")


class Kind(NamedTuple):
    """Whether an image has shades of grey alone, and whether it says how transparent it is."""

    grey: bool
    transparent: bool


def read_kind(file: Path) -> Kind:
    """Say what an image is like.

    Raises:
        DataError: no image, or one that cannot be read.
    """
    with _open(file) as image:
        return Kind(image.mode in GREY_MODES, image.has_transparency_data)


def read_image(file: Path, *, grey: bool, size: int = 0) -> np.ndarray:
    """Read an image upright, as its EXIF data say; 16 bits are scaled to 8, and transparency is dropped.

    Args:
        grey: whether as shades of grey [height, width], or as colours [height, width, 3].
        size: of both sides in pixels, to which the image is resized; 0 leaves it as it is.

    Raises:
        DataError: no image, a damaged one, or one of too many pixels.
    """
    with _open(file) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits; Pillow's own conversion would cut them off at 255
            upright = Image.fromarray((np.asarray(upright, dtype=np.float64) / 257).round().astype(np.uint8))
        if upright.mode == "P":  # its transparency can belong to colours, which RGB cannot express
            upright = upright.convert("RGBA")
        upright = upright.convert("L" if grey else "RGB")
        return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR) if size else upright)


@contextmanager
def _open(file: Path) -> Iterator[Image.Image]:
    """Open an image; whatever is wrong with it, then or later, is a `DataError`."""
    require_file(file)
    try:
        with warnings.catch_warnings():
            for category in (Image.DecompressionBombWarning, UserWarning):  # the latter of damaged EXIF data
                warnings.simplefilter("error", category)
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except UnidentifiedImageError:
        raise DataError(f"{file}: not an image that can be read as PNG or JPEG") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{file}: too large ({str(error).partition(',')[0]})") from None
    except PermissionError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:  # Pillow raises errors of any kind for damaged files
        raise DataError(f"{file}: damaged image ({one_line(error)})") from None
