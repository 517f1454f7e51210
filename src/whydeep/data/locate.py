"""From what a user asks for to a data set: names, paths, search order, fallback."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from whydeep.data import idx
from whydeep.data.arrays import read_arrays
from whydeep.data.dataset import Dataset, make_dataset
from whydeep.data.digits import digits
from whydeep.data.files import require_utf8
from whydeep.data.folder import is_image_folder, read_folder
from whydeep.data.sources import PUBLISHED, Published, cache_folder, download, is_cached
from whydeep.errors import DataError, near_names

NAMES = (*PUBLISHED, "digits")
FALLBACK_NOTICE = (
    "MNIST was not found and could not be downloaded; these are scikit-learn's digits instead "
    "(1,797 images of 8 x 8). Give --data-dir to use MNIST."
)


LARGEST_LABELS = 2**20
"""Bytes of a file of labels; those of the published data sets have less."""


@dataclass(frozen=True)
class Source:
    """A data set that was found: small enough to be sent to the processes that load it.

    Attributes:
        name: of the data set.
        kind: of its files.
        path: where it is; for files whose names begin with that of a data set, such as EMNIST's, the folder and it.
        notice: of the data set.
        size: of both sides in pixels, to which images of a folder are resized; 0 leaves them.
        fingerprint: that the data set must have; empty before it was read for the first time.
    """

    name: str
    kind: Literal["idx", "digits", "arrays", "folder"]
    path: str = ""
    notice: str = ""
    size: int = 0
    fingerprint: str = ""

    def load(self) -> Dataset:
        """Read it; a process reads a source whose fingerprint is set only once.

        Raises:
            DataError: a file is damaged, files do not fit together, or they are not what they were.
        """
        with _readable(self.path):
            return _read_once(self) if self.fingerprint else _read(self)


@contextmanager
def _readable(place: str | Path | None) -> Iterator[None]:
    """Turn what the operating system refuses, such as permission, into an error of ours."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or place}: cannot be read ({error.strerror or error})") from None


def _read(source: Source) -> Dataset:
    path = Path(source.path)
    if source.kind == "digits":
        return digits(source.notice)
    if source.kind == "arrays":
        return read_arrays(path)
    if source.kind == "folder":
        return read_folder(path, source.size)
    return _read_idx(path, source.name)


@lru_cache(maxsize=2)
def _read_once(source: Source) -> Dataset:
    images = _read(source)
    if images.fingerprint != source.fingerprint:
        raise DataError(
            f"{images.origin}: is not the data set that the run began with: put that one here, and run again"
        )
    return images


def locate(request: str | None = None, data_dir: str | Path | None = None, size: int = 0) -> Source:
    """Find what is asked for, downloading it if need be.

    Args:
        request: a name in `NAMES`, the path of an .npz file, of a folder with the four IDX files, or of a
            folder of images. None is MNIST where that can be had, and scikit-learn's digits where not.
        data_dir: where published data sets lie; by default the environment variable WHYDEEP_DATA.
        size: of both sides in pixels, to which the images of a folder are resized; 0 leaves them.

    Raises:
        DataError: what was asked for is not there; the line says what was tried and what to do. Only the
            default falls back to another data set. Or a size is given for other data than a folder of images.
    """
    source = _locate(request, data_dir)
    if size and source.kind != "folder":
        raise DataError(f"--size is {size}, and {source.name} is not a folder of images: leave it out")
    return replace(source, size=size)


def _locate(request: str | None, data_dir: str | Path | None) -> Source:
    if request is None:
        try:
            return _locate_published(PUBLISHED["mnist"], data_dir)
        except _NotFoundError:
            return Source("digits", "digits", notice=FALLBACK_NOTICE)
    name = request.strip().lower()
    name = {"fashionmnist": "fashion-mnist", "fashion": "fashion-mnist"}.get(name, name)
    if name == "digits":
        return Source("digits", "digits")
    if name in PUBLISHED:
        return _locate_published(PUBLISHED[name], data_dir)
    with _readable(request):
        return _locate_path(request)


def _locate_path(request: str) -> Source:
    if not request:  # it would be the current folder
        raise DataError(f"the name of the data set is empty: {near_names(request, NAMES)}, or a path")
    require_utf8(request)
    path = Path(os.path.expanduser(request))  # noqa: PTH111 - Path's own raises for an unknown user
    if path.is_dir():
        return _locate_folder(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        return Source(path.stem, "arrays", str(path.resolve()))
    if path.exists():
        raise DataError(f"{path}: not a data set; give an .npz file, a folder, or a name ({', '.join(NAMES)})")
    if idx.find_parts(path.parent, path.name):
        return Source(path.name, "idx", str(path.resolve()))
    raise DataError(f"no data set or path is called {request!r}: {near_names(request.lower(), NAMES)}, or a path")


def _locate_folder(path: Path) -> Source:
    for folder in (path, path / "raw", path / "MNIST" / "raw"):
        if idx.find_parts(folder):
            named = folder.parent if folder.name == "raw" else path
            return Source(named.resolve().name, "idx", str(folder.resolve()))
        stems = idx.find_stems(folder)
        if len(stems) > 1:
            raise DataError(f"{folder}: holds {', '.join(stems)}: give one of them, such as {folder / stems[0]}")
        if stems and idx.find_parts(folder, stems[0]):
            return Source(stems[0], "idx", str(folder.resolve() / stems[0]))
    if is_image_folder(path):
        return Source(path.resolve().name, "folder", str(path.resolve()))
    raise DataError(
        f"{path}: holds neither the four IDX files ({', '.join(idx.PARTS.values())}) nor train/CLASS/ and "
        "test/CLASS/ with images"
    )


class _NotFoundError(DataError):
    """A published data set is nowhere, as opposed to there but damaged."""


def _locate_published(source: Published, data_dir: str | Path | None) -> Source:
    tried = []
    with _readable(data_dir):
        for folder in _places(source, data_dir):
            if idx.find_parts(folder) and not _is_another(folder, source):
                return Source(source.name, "idx", str(folder.resolve()))
            tried.append(str(folder))
    try:
        return Source(source.name, "idx", str(download(source)))
    except DataError as error:
        raise _NotFoundError(
            f"{error}; looked in {', '.join(tried)}: put {', '.join(idx.PARTS.values())} (or .gz) in a folder "
            "and give it as --data-dir"
        ) from None


def _places(source: Published, data_dir: str | Path | None) -> Iterator[Path]:
    given = data_dir or os.environ.get("WHYDEEP_DATA")
    if given:
        require_utf8(given)
        root = Path(os.path.expanduser(given))  # noqa: PTH111 - Path's own raises for an unknown user
        if not root.is_dir():
            origin = "--data-dir" if data_dir else "WHYDEEP_DATA"
            raise DataError(f"{origin} is {root}, which is not a folder: give one that exists")
        yield from (root, root / source.name, root / source.folder / "raw", root / "raw")
    yield Path("data") / source.folder / "raw"


def _is_another(folder: Path, source: Published) -> bool:
    """Say whether files that may lie in a folder for any data set are those of another published one."""
    if folder.name in (source.name, source.folder) or folder.parent.name == source.folder:
        return False
    parts = idx.find_parts(folder)
    assert parts is not None
    labels = parts["train_labels"]
    if labels.stat().st_size > LARGEST_LABELS:
        return False
    published = {_md5(labels.read_bytes()), _md5(idx.read_bytes(labels))}
    return any(
        published & {other.archives[1], *other.contents[1:2]} for other in PUBLISHED.values() if other is not source
    )


def _read_idx(place: Path, name: str) -> Dataset:
    folder, stem = (place, "") if place.is_dir() else (place.parent, place.name)
    parts = idx.find_parts(folder, stem)
    if parts is None:
        raise DataError(f"{place}: the four IDX files are no longer there")
    contents = {path: idx.read_bytes(path) for path in parts.values()}
    train_images, train_labels = idx.read_split(parts["train_images"], parts["train_labels"], contents)
    test_images, test_labels = idx.read_split(parts["test_images"], parts["test_labels"], contents)
    lying = stem.startswith("emnist")  # EMNIST's rows are columns
    source = PUBLISHED.get(name.lower())
    return make_dataset(
        source.title if source else name,
        (train_images.transpose(0, 2, 1) if lying else train_images, train_labels),
        (test_images.transpose(0, 2, 1) if lying else test_images, test_labels),
        origin=str(place),
        preprocessing=["EMNIST's images turned upright"] if lying else [],
        notice=_difference(source, parts, contents) if source else "",
    )


def _difference(source: Published, parts: dict[str, Path], contents: dict[Path, bytes]) -> str:
    """Return a sentence for files that are not the published ones, where the published content is known."""
    for part, known in zip(idx.PARTS, source.contents, strict=False):
        if _md5(contents[parts[part]]) != known:
            return f"{parts[part].name} in {parts[part].parent} is not the published file of {source.title}."
    return ""


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue."""

    name: str
    place: str
    how_to_get: str

    def __str__(self) -> str:
        return f"{self.name:<14} {self.place or 'not here: ' + self.how_to_get}"


def catalog(data_dir: str | Path | None = None) -> list[Entry]:
    """List the data sets that have a name, and where they lie; nothing is downloaded.

    Raises:
        DataError: the given folder does not exist.
    """
    entries = []
    for source in PUBLISHED.values():
        with _readable(cache_folder(source)):
            places = [folder for folder in _places(source, data_dir) if _holds(folder, source)]
            places += [cache_folder(source)] if is_cached(source) else []
        how = f"downloaded at first use, or put {idx.PARTS['train_images']}.gz and the other three in --data-dir"
        entries.append(Entry(source.name, str(places[0]) if places else "", how))
    entries.append(Entry("digits", "embedded in scikit-learn", ""))
    return entries


def _holds(folder: Path, source: Published) -> bool:
    try:
        return bool(idx.find_parts(folder)) and not _is_another(folder, source)
    except DataError:
        return False
