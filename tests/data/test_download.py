"""Downloads from a server of our own: nothing that is not complete and right ever becomes data."""

import gzip
import hashlib
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from whydeep.data import idx, locate, sources
from whydeep.errors import DataError

CONTENT = {f"{name}.gz": gzip.compress(name.encode() * 2000, mtime=0) for name in idx.PARTS.values()}
NAMES = list(CONTENT)


class Handler(BaseHTTPRequestHandler):
    """Answers as the first folder of the address says: good, wrong, half, none, silent or slow."""

    def do_GET(self):
        how, name = self.path.strip("/").split("/")
        self.server.asked.append((how, name))
        if how == "silent":
            self.server.over.wait(20)
            return
        content = b"<html>no such file</html>" if how == "wrong" else CONTENT[name]
        self.send_response(404 if how == "none" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if how == "slow":
            for place in range(len(content)):
                self.wfile.write(content[place : place + 1])
                if self.server.over.wait(0.05):
                    return
        self.wfile.write(content[: len(content) // 2] if how == "half" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server, a cache of our own, and a published data set whose mirrors a test chooses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sources.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("WHYDEEP_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.asked, server.over = True, [], threading.Event()
    server.handle_error = lambda *_: None  # clients that give up are what is tested
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"

    def mirrors(*ways):
        return replace(
            sources.PUBLISHED["mnist"],
            mirrors=tuple(f"{address}/{way}/" for way in ways),
            archives=tuple(hashlib.md5(content).hexdigest() for content in CONTENT.values()),
            contents=(),
        )

    yield SimpleNamespace(mirrors=mirrors, asked=server.asked, address=address, cache=tmp_path / "cache/whydeep/mnist")
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def held(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def test_four_files_are_fetched_once(web):
    source = web.mirrors("good")
    assert not sources.is_cached(source)
    assert sources.download(source) == web.cache
    assert held(web.cache) == CONTENT
    assert sources.is_cached(source)
    sources.download(source)
    assert web.asked == [("good", name) for name in NAMES]


def test_what_is_missing_or_damaged_in_the_cache_is_fetched(web):
    sources.download(web.mirrors("good"))
    web.asked.clear()
    (web.cache / NAMES[1]).unlink()
    (web.cache / NAMES[3]).write_bytes(b"damaged")
    sources.download(web.mirrors("good"))
    assert held(web.cache) == CONTENT
    assert web.asked == [("good", NAMES[1]), ("good", NAMES[3])]


@pytest.mark.parametrize("first", ["wrong", "half", "none"])
def test_the_second_mirror_is_used_and_the_first_not_asked_again(web, first):
    sources.download(web.mirrors(first, "good"))
    assert held(web.cache) == CONTENT
    assert web.asked == [(first, NAMES[0]), *(("good", name) for name in NAMES)]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("wrong", "delivered another file than the published one"),
        ("half", "broke off"),
        ("none", "404 Client Error: Not Found"),
    ],
)
def test_what_is_wrong_never_becomes_data(web, way, reason):
    with pytest.raises(DataError) as error:
        sources.download(web.mirrors(way))
    assert str(error.value) == f"MNIST could not be downloaded ({web.address}/{way}/: {reason})"
    assert held(web.cache) == {}


def test_nobody_listens(web):
    source = replace(web.mirrors("good"), mirrors=("http://127.0.0.1:9/",))
    with pytest.raises(DataError, match=r"\(http://127.0.0.1:9/: cannot be reached\)$"):
        sources.download(source)


@pytest.mark.parametrize("way", ["silent", "slow"])
def test_a_server_that_never_delivers_is_given_up_in_time(web, monkeypatch, way):
    monkeypatch.setattr(sources, "DEADLINE", 0.6)
    began = time.monotonic()
    with pytest.raises(DataError, match=f"/{way}/: no answer in time; .*/{way}/: no answer in time"):
        sources.download(web.mirrors(way, way))
    assert time.monotonic() - began < 10
    assert not set(NAMES) & set(held(web.cache))


def test_a_silent_mirror_leaves_time_for_the_next(web, monkeypatch):
    monkeypatch.setattr(sources, "DEADLINE", 4.0)
    sources.download(web.mirrors("silent", "good"))
    assert set(CONTENT) <= set(held(web.cache))


def test_a_name_that_cannot_be_looked_up_in_time(web, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(sources, "DEADLINE", 0.4)
    monkeypatch.setattr(sources, "_fetch", lambda *_: over.wait(30))
    began = time.monotonic()
    with pytest.raises(DataError, match="no answer in time"):
        sources.download(web.mirrors("good"))
    assert time.monotonic() - began < 10
    over.set()


def test_the_deadline_is_within_ten_seconds():
    assert sources.DEADLINE + 0.5 < 10


def test_a_cache_that_cannot_be_written(web):
    web.cache.parent.parent.mkdir()
    web.cache.parent.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"could not be downloaded \(.*(exists|Not a directory)"):
        sources.download(web.mirrors("good"))


def test_a_name_is_downloaded_when_it_lies_nowhere(web, monkeypatch):
    monkeypatch.setitem(sources.PUBLISHED, "mnist", web.mirrors("good"))
    found = locate("MNIST")
    assert (found.name, found.kind, found.path) == ("mnist", "idx", str(web.cache))
    assert locate().path == str(web.cache)
