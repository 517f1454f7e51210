"""A user's own images: train/CLASS/*.png|jpg and test/CLASS/*.png|jpg."""

from collections import defaultdict
from math import prod
from pathlib import Path

import numpy as np

from whydeep.data.dataset import Dataset, make_dataset
from whydeep.data.files import require_utf8
from whydeep.data.images import ENDINGS, read_image, read_kind
from whydeep.data.inputs import check_size
from whydeep.errors import DataError

TRAINING = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")

MOST_KINDS = 6
"""Of files that are left out; a sentence that lists more would be none."""

Files = list[tuple[Path, str]]


class LeftOut:
    """Files and folders that are not read: a count and an example of each kind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, list[Path]] = defaultdict(list)

    def add(self, path: Path, kind: str) -> None:
        """Note that a path is not read."""
        self._paths["hidden" if path.name.startswith(".") else kind].append(path)

    def __str__(self) -> str:
        kinds = [
            f"{len(paths)} {kind} ({'such as ' if len(paths) > 1 else ''}{paths[0].relative_to(self._folder)})"
            for kind, paths in self._paths.items()
        ]
        if len(kinds) > MOST_KINDS:
            kinds[MOST_KINDS:] = [f"and {len(kinds) - MOST_KINDS} other kinds"]
        return f"Left out: {', '.join(kinds)}." if kinds else ""


def read_folder(path: Path, size: int = 0) -> Dataset:
    """Read a folder of images; classes are the names of the folders for training, in alphabetical order.

    The folders are called train and test, or training and testing; where no test is, val is used, and said. Images are
    read as shades of grey if all of them are, else as colours [height, width, 3]. The notice says what was left out.

    Args:
        size: of both sides in pixels, to which all images are resized; 0 leaves them, and they must have one size.

    Raises:
        DataError: a class without images or one that training lacks, sizes that differ, a damaged image.
    """
    left_out = LeftOut(path)
    train, test = _find_splits(path, left_out)
    files = [_list_files(folder, left_out) for folder in (train, test)]
    everything = files[0] + files[1]
    kinds = {read_kind(file) for file, _ in everything}
    grey = all(kind.grey for kind in kinds)
    first = read_image(everything[0][0], grey=grey, size=size)
    check_size(str(path), len(everything) * prod(first.shape))

    def read(files: Files) -> tuple[np.ndarray, np.ndarray]:
        images = np.empty((len(files), *first.shape), dtype=np.uint8)
        for index, (file, _) in enumerate(files):
            image = read_image(file, grey=grey, size=size)
            if image.shape != first.shape:
                raise DataError(
                    f"{file}: {image.shape[1]} x {image.shape[0]} pixels, but {everything[0][0]} has "
                    f"{first.shape[1]} x {first.shape[0]}: all images must have one size; give --size to resize them"
                )
            images[index] = image
        return images, np.array([label for _, label in files])

    return make_dataset(
        f"{path.name} at {size} x {size}" if size else path.name,
        read(files[0]),
        read(files[1]),
        origin=str(path),
        preprocessing=[
            *(["transparency dropped"] if any(kind.transparent for kind in kinds) else []),
            *([f"images resized to {size} x {size}"] if size else []),
        ],
        notice=" ".join(filter(None, (_said_of_test(test), str(left_out)))),
    )


def is_image_folder(path: Path) -> bool:
    """Say whether a folder looks like one: it has a folder for training."""
    return bool(_folders_called(path, TRAINING))


def _find_splits(path: Path, left_out: LeftOut) -> tuple[Path, Path]:
    """Return the folders for training and for test; without the latter, that for validation."""
    train, test, validation = (_folders_called(path, names) for names in (TRAINING, TEST, VALIDATION))
    test = test or validation
    for name, folders in (("train", train), ("test", test)):
        if not folders:
            raise DataError(f"{path}: has no folder {name}; images go to train/CLASS/ and test/CLASS/")
        if len(folders) > 1:
            names = " and ".join(folder.name for folder in folders)
            raise DataError(f"{path}: has the folders {names}, which may both be for {name}: leave one")
    for other in sorted(path.iterdir()):
        if other not in (train[0], test[0]):
            left_out.add(other, f"beside {train[0].name} and {test[0].name}")
    return train[0], test[0]


def _folders_called(path: Path, names: tuple[str, ...]) -> list[Path]:
    return [folder for folder in sorted(path.iterdir()) if folder.name.lower() in names and folder.is_dir()]


def _said_of_test(test: Path) -> str:
    return f"The test images are those of {test.name}." if test.name.lower() in VALIDATION else ""


def _list_files(split: Path, left_out: LeftOut) -> Files:
    files: Files = []
    for folder in sorted(split.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            left_out.add(folder, "outside of classes")
            continue
        require_utf8(folder)
        images = []
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in ENDINGS and not file.name.startswith("."):
                images.append(file)
            else:
                left_out.add(file, "deeper" if file.is_dir() else file.suffix.lower() or "without ending")
        if not images:  # to skip it would silently change the number of classes
            raise DataError(f"{folder}: holds no images ({', '.join(ENDINGS)}); add some or remove the folder")
        files += [(file, folder.name) for file in images]
    if not files:
        raise DataError(f"{split}: holds no images; they go to {split.name}/CLASS/*.png or *.jpg")
    return files
