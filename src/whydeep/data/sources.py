"""Published data sets in IDX format: what their files hold, and where they can be downloaded."""

import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pooch
import requests

from whydeep.data.idx import PARTS
from whydeep.errors import DataError

DEADLINE = 9.0
"""Seconds after which a download that delivers nothing is given up, all mirrors together."""


@dataclass(frozen=True)
class Published:
    """A published data set.

    Attributes:
        name: as on the command line.
        title: as in figures.
        folder: torchvision's name for its folder.
        mirrors: addresses that have the four .gz files, tried in this order.
        archives: md5 of each .gz file, in the order of `idx.PARTS`.
        contents: md5 of each unpacked file where known.
    """

    name: str
    title: str
    folder: str
    mirrors: tuple[str, ...]
    archives: tuple[str, ...]
    contents: tuple[str, ...] = ()


PUBLISHED: dict[str, Published] = {
    source.name: source
    for source in (
        Published(
            "mnist",
            "MNIST",
            "MNIST",
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        Published(
            "fashion-mnist",
            "Fashion-MNIST",
            "FashionMNIST",
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        Published(
            "kmnist",
            "KMNIST",
            "KMNIST",
            ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
    )
}


def cache_folder(source: Published) -> Path:
    """Where downloads of a data set are kept for this user; among temporary files for one who has no home."""
    try:
        return Path(pooch.os_cache("whydeep")) / source.name
    except RuntimeError:
        return Path(tempfile.gettempdir(), "whydeep", source.name)


def is_cached(source: Published) -> bool:
    """Say whether all four files of a data set were downloaded before."""
    return not _missing(source)


def download(source: Published) -> Path:
    """Fetch what the cache lacks, each file checked against its md5; return the cache folder.

    A file appears under its name only when it is complete and right, so that a download that was cut off
    never counts as data.

    Raises:
        DataError: no mirror delivered within the deadline, or what it delivered is not the published file.
    """
    pooch.get_logger().setLevel(logging.ERROR)
    reasons: list[str] = []
    watch = _Watch()
    for tried, mirror in enumerate(source.mirrors):  # mirrors outside: one that fails is not asked four times
        try:
            for name, md5 in _missing(source).items():
                share = watch.left() / (len(source.mirrors) - tried)
                _patiently(partial(_fetch, mirror + name, md5, cache_folder(source), name, watch), watch, share)
            return cache_folder(source)
        except (requests.RequestException, OSError, ValueError) as error:
            reasons.append(f"{mirror}: {_reason(error)}")
    raise DataError(f"{source.title} could not be downloaded ({'; '.join(reasons)})")


def _missing(source: Published) -> dict[str, str]:
    """Return name and md5 of the files that the cache lacks."""
    names = [f"{part}.gz" for part in PARTS.values()]
    folder = cache_folder(source)
    return {name: md5 for name, md5 in zip(names, source.archives, strict=True) if not _is_there(folder / name, md5)}


def _is_there(path: Path, md5: str) -> bool:
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5


class _Watch:
    """Knows when something last arrived; to pooch it looks like a progress bar."""

    def __init__(self) -> None:
        self.total, self.last = 0, time.monotonic()

    def update(self, _: int) -> None:
        self.last = time.monotonic()

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass

    def left(self) -> float:
        """Seconds until nothing has arrived for `DEADLINE`."""
        return max(0.0, self.last + DEADLINE - time.monotonic())


def _patiently(work: Callable[[], None], watch: _Watch, seconds: float) -> None:
    """Run work in a thread, and leave it behind when nothing arrives for some seconds.

    Time limits of sockets are not enough: looking up a name has none, a name may stand for many addresses
    that are tried one after the other, and a byte now and then would keep a connection alive for ever.
    """
    result: Future[None] = Future()

    def run() -> None:
        try:
            work()
            result.set_result(None)
        except Exception as error:
            result.set_exception(error)

    began = time.monotonic()
    threading.Thread(target=run, name="download", daemon=True).start()  # a daemon cannot hold up the exit
    while not wait([result], timeout=0.05).done:
        if time.monotonic() - max(began, watch.last) > seconds:
            raise requests.Timeout
    result.result()


def _fetch(url: str, md5: str, folder: Path, name: str, watch: _Watch) -> None:
    with ExitStack() as answers:

        def close_later(answer: requests.Response, **_: object) -> None:  # pooch leaves those such as 404 open
            answers.callback(answer.close)

        downloader = pooch.HTTPDownloader(timeout=DEADLINE, progressbar=watch, hooks={"response": close_later})
        pooch.retrieve(url, known_hash=f"md5:{md5}", fname=name, path=folder, downloader=downloader)


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached"
    if isinstance(error, requests.HTTPError):
        return str(error).split(" for url")[0]
    if isinstance(error, ValueError):
        return "delivered another file than the published one"
    return str(error)
