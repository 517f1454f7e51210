"""A user's own images: train/CLASS/*.png|jpg and test/CLASS/*.png|jpg."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from whydeep.data.dataset import Dataset, make_dataset
from whydeep.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")

Files = list[tuple[Path, str]]


def read_folder(path: Path) -> Dataset:
    """Read a folder of images; classes are the names of the folders under train, in alphabetical order.

    All images must have one size. They are read as shades of grey if all of them are, else as colours
    [height, width, 3]; 16 bits are scaled to 8, and transparency is dropped. Hidden files and files with
    other endings are passed over.

    Raises:
        DataError: a class without images or one that training lacks, sizes that differ, a damaged image.
    """
    files = {split: _list_files(path, split) for split in ("train", "test")}
    classes = sorted({label for _, label in files["train"]})
    number = {label: index for index, label in enumerate(classes)}
    unknown = sorted({label for _, label in files["test"]} - set(classes))
    if unknown:
        raise DataError(f"{path}: test has the class {unknown[0]}, which train lacks")
    everything = files["train"] + files["test"]
    grey = all(_mode(file) in GREY_MODES for file, _ in everything)
    first = _read_image(everything[0][0], grey)

    def read(split: str) -> tuple[np.ndarray, np.ndarray]:
        images = np.empty((len(files[split]), *first.shape), dtype=np.uint8)
        for index, (file, _) in enumerate(files[split]):
            image = _read_image(file, grey)
            if image.shape != first.shape:
                raise DataError(
                    f"{file}: {image.shape[1]} x {image.shape[0]} pixels, but {everything[0][0]} has "
                    f"{first.shape[1]} x {first.shape[0]}: all images must have one size"
                )
            images[index] = image
        return images, np.array([number[label] for _, label in files[split]])

    return make_dataset(path.name, read("train"), read("test"), origin=str(path), class_names=classes)


def is_image_folder(path: Path) -> bool:
    """Say whether a folder looks like one: it has a folder called train."""
    return (path / "train").is_dir()


def _list_files(path: Path, split: str) -> Files:
    if not (path / split).is_dir():
        raise DataError(f"{path}: has no folder {split}; images go to train/CLASS/ and test/CLASS/")
    files: Files = []
    for folder in sorted((path / split).iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        images = [
            file
            for file in sorted(folder.iterdir())
            if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
        ]
        if not images:  # to skip it would silently change the number of classes
            raise DataError(f"{folder}: holds no images ({', '.join(ENDINGS)}); add some or remove the folder")
        files += [(file, folder.name) for file in images]
    if not files:
        raise DataError(f"{path / split}: holds no images; they go to {split}/CLASS/*.png or *.jpg")
    return files


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise DataError(f"{file}: not an image that can be read") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _mode(file: Path) -> str:
    with _open(file) as image:
        return image.mode


def _read_image(file: Path, grey: bool) -> np.ndarray:
    with _open(file) as image:
        try:
            image.load()
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
            raise DataError(f"{file}: damaged image ({error})") from None
        if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would cut them off at 255
            image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).round().astype(np.uint8))
        if image.mode == "P":  # its transparency can belong to colours, which RGB cannot express
            image = image.convert("RGBA")
        return np.asarray(image.convert("L" if grey else "RGB"))
