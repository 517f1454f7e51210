"""From a name or a path to a data set: where it is looked for, what is said when it is not there."""

import gzip
import hashlib
import os
import pickle
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whydeep.data import NAMES, Source, catalog, idx, locate, sources
from whydeep.data.locate import FALLBACK_NOTICE
from whydeep.errors import DataError

FILES = list(idx.PARTS.values())
GIVEN = os.environ.get("WHYDEEP_DATA")


def packed(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype("u1").tobytes()


def contents(count=6, classes=10, first=0):
    labels = np.arange(count) % classes + first
    images = (np.arange(count * 4) * 97 % 256).reshape(count, 2, 2)
    return [packed(array) for array in (images, labels, images[:4], labels[:4])]


def write(folder, content=None, ending="", pack=bytes):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in zip(FILES, content or contents(), strict=True):
        (folder / f"{name}{ending}").write_bytes(pack(data))
    return folder


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No network, no cache, no environment; the current folder is empty."""
    unreachable = {
        name: replace(source, mirrors=("http://127.0.0.1:9/",)) for name, source in sources.PUBLISHED.items()
    }
    for name, source in unreachable.items():
        monkeypatch.setitem(sources.PUBLISHED, name, source)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WHYDEEP_DATA", raising=False)
    monkeypatch.setattr(sources.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def problem(*arguments):
    with pytest.raises(DataError) as error:
        locate(*arguments).load()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("inside", ["", "mnist", "MNIST/raw", "raw"])
@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), ("", gzip.compress), (".gz", bytes)])
def test_layouts_under_data_dir(tmp_path, monkeypatch, inside, ending, pack):
    folder = write(tmp_path / "data" / inside, None, ending, pack)
    source = locate("mnist", tmp_path / "data")
    assert source == Source("mnist", "idx", str(folder))
    monkeypatch.setenv("WHYDEEP_DATA", str(tmp_path / "data"))
    assert locate() == locate("MNIST") == locate(" Mnist ") == source


def test_torchvisions_layout_in_the_current_folder():
    folder = write(Path("data/MNIST/raw"))
    assert locate().path == str(folder.resolve())


def test_data_dir_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WHYDEEP_DATA", str(write(tmp_path / "one")))
    assert locate("mnist", write(tmp_path / "two")).path == str(tmp_path / "two")


@pytest.mark.parametrize("name", ["fashion-mnist", "Fashion-MNIST", "FashionMNIST", "fashion"])
def test_names_of_fashion_mnist(tmp_path, name):
    write(tmp_path / "FashionMNIST" / "raw")
    assert locate(name, tmp_path).name == "fashion-mnist"


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_is_not_fashion_mnist(tmp_path, monkeypatch, ending):
    write(tmp_path, None, ending)
    known = sources.PUBLISHED["mnist"]
    labels = tmp_path / f"{FILES[1]}{ending}"
    digest = hashlib.md5(labels.read_bytes()).hexdigest()
    monkeypatch.setitem(
        sources.PUBLISHED, "mnist", replace(known, contents=(known.contents[0], digest, *known.contents[2:]))
    )
    assert locate("mnist", tmp_path).path == str(tmp_path)
    assert "Fashion-MNIST could not be downloaded" in problem("fashion-mnist", tmp_path)
    entries = {entry.name: entry.place for entry in catalog(tmp_path)}
    assert entries["mnist"] == str(tmp_path)
    assert entries["fashion-mnist"] == ""


def test_equal_content_has_one_fingerprint_in_any_file(tmp_path):
    write(tmp_path / "plain")
    write(tmp_path / "packed", None, ".gz", gzip.compress)
    arrays = [idx.parse(content, tmp_path) for content in contents()]
    np.savez(tmp_path / "mine.npz", x_train=arrays[0], y_train=arrays[1], x_test=arrays[2], y_test=arrays[3])
    names = ("plain", "packed", "mine.npz")
    assert len({locate(str(tmp_path / name)).load().fingerprint for name in names}) == 1


def test_a_published_name_with_other_content_has_a_notice(tmp_path):
    data = locate("mnist", write(tmp_path)).load()
    assert data.name == "MNIST"
    assert data.notice == f"{FILES[0]} in {tmp_path} is not the published file of MNIST."


@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
def test_a_folder_of_idx_files_by_its_path(tmp_path, inside):
    write(tmp_path / "letters" / inside, contents(60, 26))
    data = locate(str(tmp_path / "letters")).load()
    assert (data.classes, len(data.train_labels)) == (26, 60)
    assert data.name == ("MNIST" if inside == "MNIST/raw" else "letters")
    assert ("is not the published file of MNIST" in data.notice) == (data.name == "MNIST")


def test_classes_are_those_that_occur_in_training(tmp_path):
    write(tmp_path, [packed(np.zeros((2, 2, 2))), packed(np.array([0, 9]))] * 2)
    data = locate(str(tmp_path)).load()
    assert data.class_names == ("0", "9")
    assert data.preprocessing == "bytes divided by 255, labels 0, 9 as classes 0 to 1"
    write(tmp_path, [*contents()[:2], contents()[2], packed(np.array([0, 1, 2, 7]))])
    assert problem(str(tmp_path)) == f"{tmp_path}: test has the class 7, which training lacks"


def write_emnist(folder, name="emnist-letters", ending=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(FILES, contents(60, 26, 1), strict=True):
        (folder / f"{name}-{file.replace('t10k', 'test')}{ending}").write_bytes(gzip.compress(content))
    return folder


@pytest.mark.parametrize("given_", ["emnist", "emnist/emnist-letters", "emnist/raw/../emnist-letters"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_emnist(tmp_path, given_, ending):
    """Its labels begin with 1, and its images lie on their side."""
    write_emnist(tmp_path / "emnist", ending=ending)
    (tmp_path / "emnist" / "raw").mkdir()
    data = locate(str(tmp_path / given_)).load()
    assert (data.name, data.classes, data.class_names[25]) == ("emnist-letters", 26, "26")
    assert data.preprocessing == (
        "EMNIST's images turned upright, bytes divided by 255, labels 1 to 26 as classes 0 to 25"
    )
    images = idx.parse(contents(60)[0], tmp_path).transpose(0, 2, 1).reshape(60, 4)
    np.testing.assert_allclose(data.train_inputs, images / 255, rtol=1e-6)


def test_several_parts_of_emnist_in_a_folder(tmp_path):
    for name in ("emnist-digits", "emnist-letters"):
        write_emnist(tmp_path / "raw", name)
    folder = tmp_path / "raw"
    assert problem(str(tmp_path)) == (
        f"{folder}: holds emnist-digits, emnist-letters: give one of them, such as {folder / 'emnist-digits'}"
    )
    assert locate(str(folder / "emnist-letters")).load().name == "emnist-letters"
    assert "no data set or path is called" in problem(str(folder / "emnist-balanced"))
    (folder / "emnist-letters-test-labels-idx1-ubyte.gz").unlink()
    assert problem(str(folder / "emnist-letters")).endswith("not emnist-letters-test-labels-idx1-ubyte (or .gz)")


def test_files_that_do_not_fit_together(tmp_path):
    broken = contents()
    broken[3] = broken[1]
    write(tmp_path, broken)
    assert problem(str(tmp_path)) == (
        f"{tmp_path / FILES[2]} holds 4 images and {tmp_path / FILES[3]} 6 labels: they differ"
    )


@pytest.mark.parametrize("request_", [None, "mnist"])
def test_damaged_or_incomplete_mnist_never_falls_back(tmp_path, request_):
    write(tmp_path)
    (tmp_path / FILES[0]).write_bytes(contents()[0][:-1])
    assert problem(request_, tmp_path) == (
        f"{tmp_path / FILES[0]}: truncated: the header promises 6 x 2 x 2 = 24 bytes, found 23"
    )
    (tmp_path / FILES[0]).unlink()
    assert problem(request_, tmp_path) == (f"{tmp_path}: holds some of the four IDX files but not {FILES[0]} (or .gz)")


@pytest.mark.parametrize("data_dir", [False, True])
def test_the_default_falls_back_with_a_notice_when_mnist_is_nowhere(tmp_path, data_dir):
    source = locate(None, tmp_path if data_dir else None)
    assert source == Source("digits", "digits", notice=FALLBACK_NOTICE)
    assert source.load().notice == FALLBACK_NOTICE
    assert locate("Digits").load().notice == ""


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_a_name_never_falls_back(tmp_path, name):
    text, title = problem(name, tmp_path), sources.PUBLISHED[name].title
    assert text.startswith(f"{title} could not be downloaded (http://127.0.0.1:9/: cannot be reached); looked in ")
    assert f"looked in {tmp_path}, {tmp_path / name}, " in text
    assert text.endswith(f"put {', '.join(FILES)} (or .gz) in a folder and give it as --data-dir")


@pytest.mark.parametrize("request_", [None, "mnist"])
def test_a_data_folder_that_does_not_exist(tmp_path, monkeypatch, request_):
    monkeypatch.setenv("WHYDEEP_DATA", str(tmp_path / "none"))
    assert problem(request_) == f"WHYDEEP_DATA is {tmp_path / 'none'}, which is not a folder: give one that exists"
    (tmp_path / "file").touch()
    assert problem(request_, tmp_path / "file") == (
        f"--data-dir is {tmp_path / 'file'}, which is not a folder: give one that exists"
    )
    with pytest.raises(DataError, match=r"^WHYDEEP_DATA is "):
        catalog()


@pytest.mark.parametrize(
    ("request_", "near"),
    [
        ("mnsit", "mnist"),
        ("MNITS", "mnist"),
        ("fashionmnits", "fashion-mnist"),
        ("digit", "digits"),
        ("K-MNIST", "kmnist"),
    ],
)
def test_near_names(request_, near):
    text = problem(request_)
    assert text.startswith(f"no data set or path is called {request_!r}: did you mean {near}")
    assert text.endswith(f"(accepted: {', '.join(NAMES)}), or a path")


@pytest.mark.parametrize(
    "request_", ["", " ", "a" * 5000, "a\0b", "~nobody-of-this-name/x", "none.npz", "\ud800", "😀"]
)
def test_requests_that_are_nothing(request_):
    text = problem(request_)
    assert "accepted: " in text or "cannot be read" in text


def test_data_folders_that_are_nothing():
    for data_dir in ("a" * 5000, "a\0b", "~nobody-of-this-name/x"):
        text = problem("mnist", data_dir)
        assert "give one that exists" in text or "cannot be read (File name too long)" in text


def test_a_file_that_is_no_data_set(tmp_path):
    (tmp_path / "table.csv").touch()
    assert problem(str(tmp_path / "table.csv")) == (
        f"{tmp_path / 'table.csv'}: not a data set; give an .npz file, a folder, or a name ({', '.join(NAMES)})"
    )


def test_a_path_goes_where_it_says_even_if_it_looks_like_a_name():
    write(Path("mnist"))
    assert locate("./mnist").path == str(Path("mnist").resolve())


def test_permission_denied_is_one_line(tmp_path, monkeypatch):
    write(tmp_path / "data")

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    for arguments in ((None, tmp_path / "data"), ("mnist", tmp_path / "data"), (str(tmp_path / "data"),)):
        assert problem(*arguments).endswith(": cannot be read (Permission denied)")
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)$"):
        catalog(tmp_path / "data")


def test_files_that_vanish_before_they_are_loaded(tmp_path):
    source = locate("mnist", write(tmp_path / "data"))
    shutil.rmtree(source.path)
    with pytest.raises(DataError) as error:
        source.load()
    assert str(error.value) == f"{source.path}: the four IDX files are no longer there"


def test_a_source_that_was_described_travels_and_is_loaded_once(tmp_path):
    found = locate("mnist", write(tmp_path))
    source = replace(found, fingerprint=found.load().fingerprint)
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert hash(again) == hash(source)
    assert again.load() is source.load()


def change_arrays(folder):
    np.savez(folder, **{**np.load(folder), "x_train": np.random.default_rng(0).random((60, 2, 2))})


def change_idx(folder):
    (folder / FILES[0]).write_bytes(contents()[0][:-1] + b"x")


def change_folder(folder):
    Image.fromarray(np.full((2, 2), 99, np.uint8)).save(folder / "train" / "a" / "1.png")


def make_arrays(path):
    x, y = np.random.default_rng(1).random((60, 2, 2)), np.arange(60) % 2
    np.savez(path.with_suffix(".npz"), x_train=x, y_train=y, x_test=x, y_test=y)
    return path.with_suffix(".npz")


def make_folder(path):
    for place in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        (path / place).parent.mkdir(parents=True)
        Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2) * 60).save(path / place)
    return path


@pytest.mark.parametrize(
    ("make", "change"), [(make_arrays, change_arrays), (write, change_idx), (make_folder, change_folder)]
)
def test_data_that_change_after_they_were_described_are_refused(tmp_path, make, change):
    path = make(tmp_path / "data")
    found = locate(str(path))
    described = replace(found, fingerprint=found.load().fingerprint)
    change(path)
    line = f"{path}: is not the data set that the run began with: put that one here, and run again"
    for source in (described, pickle.loads(pickle.dumps(described))):
        with pytest.raises(DataError) as error:
            source.load()
        assert str(error.value) == line
    assert found.load().fingerprint != described.fingerprint  # what is described anew is read anew


def test_a_process_that_has_read_a_data_set_reads_another_that_took_its_place(tmp_path):
    path = make_arrays(tmp_path / "data")
    found = locate(str(path))
    fingerprints = [found.load().fingerprint]
    assert replace(found, fingerprint=fingerprints[0]).load()
    change_arrays(path)
    fingerprints.append(found.load().fingerprint)
    assert fingerprints[0] != fingerprints[1]
    assert replace(found, fingerprint=fingerprints[1]).load().fingerprint == fingerprints[1]


def test_a_size_is_for_folders_of_images(tmp_path):
    path = make_folder(tmp_path / "data")
    data = locate(str(path), size=5).load()
    assert (data.input_shape, data.name) == ((5, 5), "data at 5 x 5")
    assert len({locate(str(path), size=size).load().fingerprint for size in (0, 2, 5, 6)}) == 3  # 2 is its own
    for given_, name in (("digits", "digits"), (None, "digits"), (str(write(tmp_path / "mine")), "mine")):
        with pytest.raises(DataError) as error:
            locate(given_, size=28)
        assert str(error.value) == f"--size is 28, and {name} is not a folder of images: leave it out"


@pytest.mark.parametrize("name", ["MNIST", "mnist"])
def test_a_folder_called_like_a_published_data_set_is_compared_with_it(tmp_path, name):
    folder = write(tmp_path / name / "raw")
    assert locate(str(tmp_path / name)).load().notice.startswith(f"{FILES[0]} in {folder} is not the published file")


def test_what_is_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "pipe", tmp_path / "pipe.npz", Path("/dev/zero")):
        assert problem(str(path)).startswith(f"{path}: not a data set; give an .npz file, a folder, or a name (")
    assert problem(str(tmp_path / "loop")).startswith("no data set or path is called")


def test_names_that_are_not_utf8_or_break_lines(tmp_path):
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    make_folder(Path(bad))
    assert problem(bad) == f"{tmp_path}/caf\\udce9: cannot be read (its name is not UTF-8): rename it"
    assert problem("mnist", bad) == problem(bad)
    data = locate(str(make_folder(tmp_path / "a\nb"))).load()
    assert (data.name, data.origin) == ("a\\nb", f"{tmp_path}/a\\nb")
    assert problem(str(tmp_path / "a\nb" / "none")).startswith("no data set or path is called")


def test_files_of_labels_that_are_too_large_for_a_published_data_set_are_not_hashed(tmp_path):
    write(tmp_path)
    with (tmp_path / FILES[1]).open("r+b") as file:
        file.truncate(10**12)  # a file with a hole
    assert locate("mnist", tmp_path).path == str(tmp_path)
    assert problem("mnist", tmp_path).endswith("too long: the header promises 6 = 6 bytes, found more")


def test_the_catalogue_names_places_and_remedies(tmp_path):
    write(tmp_path / "mnist")
    lines = [str(entry) for entry in catalog(tmp_path)]
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert lines[0].endswith(f" {tmp_path / 'mnist'}")
    assert "not here: downloaded at first use" in lines[1]
    assert lines[3].endswith(" embedded in scikit-learn")


@pytest.mark.skipif(not GIVEN, reason="WHYDEEP_DATA does not say where MNIST lies")
def test_the_real_mnist():
    source = locate("mnist", GIVEN)
    data = source.load()
    assert (len(data.train_labels), len(data.test_labels), data.input_shape) == (60_000, 10_000, (28, 28))
    assert (data.name, data.notice, data.classes) == ("MNIST", "", 10)
    assert (data.fingerprint, data.preprocessing) == ("acd2e70d625a6caf", "bytes divided by 255")
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train_inputs.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert "Fashion-MNIST could not be downloaded" in problem("fashion-mnist", source.path)
    assert "KMNIST could not be downloaded" in problem("kmnist", Path(source.path))
