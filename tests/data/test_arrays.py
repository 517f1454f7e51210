"""A user's own .npz: what is wrong with it is said in one line that names the file."""

import errno
import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.data.arrays import read_arrays
from whydeep.errors import DataError

KEYS = "x_train, y_train, x_test, y_test"
ACCEPTED = f"{KEYS}, or train_images, train_labels, test_images, test_labels"


def good():
    return {
        "x_train": np.arange(24, dtype=np.float32).reshape(4, 2, 3),
        "y_train": np.array([0, 1, 2, 1]),
        "x_test": np.arange(12, 24, dtype=np.float32).reshape(2, 2, 3),
        "y_test": np.array([1, 2]),
    }


def saved(folder, **changes):
    path = folder / "mine.npz"
    np.savez(path, **{key: value for key, value in {**good(), **changes}.items() if value is not None})
    return path


def problem(path):
    with pytest.raises(DataError) as error:
        read_arrays(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_long_names_do_not_make_long_messages(tmp_path):
    path = saved(tmp_path, **{"a" * 60_000: np.ones(1), **{f"b{number}": np.ones(1) for number in range(20)}})
    assert read_arrays(path).notice == (
        f"Left out: {'a' * 60}, {', '.join(f'b{number}' for number in range(9))} and 11 more, of mine.npz."
    )
    path = saved(tmp_path, y_train=np.array(["a", "b", "a", "b"]), y_test=np.array(["a", "c" * 10_000]))
    assert problem(path) == f"test has the class {'c' * 60}, which training lacks"


def test_arrays_become_a_data_set(tmp_path):
    path = saved(tmp_path)
    data = read_arrays(path)
    assert (data.name, data.origin, data.notice) == ("mine", str(path), "")
    assert data.preprocessing == "inputs divided by 23, the largest of both splits"
    assert (data.input_shape, data.features, data.classes) == ((2, 3), 6, 3)
    np.testing.assert_allclose(data.train_inputs[0], np.arange(6) / 23, rtol=1e-6)
    assert data.test_labels.tolist() == [1, 2]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_the_names_of_medmnist(tmp_path, shape):
    """Whose labels have a column, and whose validation images are not used."""
    names = dict(zip(good(), ("train_images", "train_labels", "test_images", "test_labels"), strict=True))
    arrays = {names[key]: value for key, value in good().items()}
    arrays["train_labels"] = arrays["train_labels"].reshape(shape)
    np.savez(tmp_path / "blood.npz", **arrays, val_images=np.ones(3), val_labels=np.ones(3))
    data = read_arrays(tmp_path / "blood.npz")
    assert data.fingerprint == read_arrays(saved(tmp_path)).fingerprint
    assert data.notice == "Left out: val_images, val_labels, of blood.npz."


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_are_any_integers_and_become_classes_in_order(tmp_path, shape):
    data = read_arrays(saved(tmp_path, y_train=np.reshape([7, -1, 300, -1], shape), y_test=np.array([[300], [7]])))
    assert data.class_names == ("-1", "7", "300")
    assert data.train_labels.tolist() == [1, 0, 2, 0]
    assert data.test_labels.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, f"lacks y_test; it must hold {ACCEPTED}, and holds x_test, x_train, y_train"),
        (dict.fromkeys(good()), f"lacks {KEYS}; it must hold {ACCEPTED}, and holds nothing"),
        ({"x_train": np.array([[1], "a", None, 2], dtype=object)},
         "x_train holds Python objects, which are not read; save numbers, or texts by x_train.astype(str)"),
        ({"y_train": np.array(list("abca"), dtype=object)},
         "y_train holds Python objects, which are not read; save numbers, or texts by y_train.astype(str)"),
        ({"y_train": np.array([(1, 2)] * 4, dtype="i4, O")},
         "y_train holds Python objects, which are not read; save numbers, or texts by y_train.astype(str)"),
        ({"y_test": np.array(["a", "b"])}, "training labels are int64 and test labels <U1: save both as one"),
        ({"y_test": np.array(3)}, "2 test inputs have labels of shape ()"),
        ({"y_test": np.array([1, 9])}, "test has the class 9, which training lacks"),
        ({"y_train": np.array([0, 1, 2])}, "4 training inputs have labels of shape (3,)"),
        ({"y_train": np.array([], dtype=int), "y_test": np.array([], dtype=int)},
         "4 training inputs have labels of shape (0,)"),
        ({"y_train": np.ones(4, dtype=int), "y_test": np.ones(2, dtype=int)},
         "there is only one class; at least two are needed"),
        ({"x_test": np.full((2, 2, 3), np.nan)}, "test inputs hold values that are not finite in float32"),
        ({"x_test": np.full((2, 2, 3), 1e300)}, "test inputs hold values that are not finite in float32"),
        ({"x_train": np.ones((4, 2, 3), dtype=complex)}, "training inputs are complex128, not numbers"),
        ({"x_train": np.full((4, 2, 3), "1")}, "training inputs are <U1, not numbers"),
        ({"x_train": np.ones(4)}, "training inputs have shape (4,), expected (samples, features ...), none 0"),
        ({"x_train": np.ones((4, 0))}, "training inputs have shape (4, 0), expected (samples, features ...), none 0"),
        ({"x_test": np.ones((2, 6))},
         "training samples have shape (2, 3) and test samples (6,); they must have the same"),
    ],
)  # fmt: skip
def test_errors_of_arrays(tmp_path, changes, message):
    assert problem(saved(tmp_path, **changes)) == message


@pytest.mark.parametrize("content", [b"", b"x_train = 3\n", b"PK\3\4 and no more"])
def test_what_is_no_zip_is_no_npz(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    assert problem(path) == (
        "not an .npz file, or only a part of one; make it with "
        "numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
    )


def test_an_npy_file_under_the_wrong_name(tmp_path):
    with (tmp_path / "mine.npz").open("wb") as file:
        np.save(file, np.ones(3))
    assert problem(tmp_path / "mine.npz").startswith("not an .npz file, or only a part of one")


def test_an_empty_zip(tmp_path):
    zipfile.ZipFile(tmp_path / "mine.npz", "w").close()
    assert problem(tmp_path / "mine.npz") == f"lacks {KEYS}; it must hold {ACCEPTED}, and holds nothing"


def test_damage_inside_a_zip(tmp_path):
    path = saved(tmp_path, x_train=np.random.default_rng(0).random((4, 50)), x_test=np.ones((2, 50)))
    content = bytearray(path.read_bytes())
    content[600] ^= 255
    path.write_bytes(content)
    assert problem(path).startswith("not a readable .npz file (BadZipFile: Bad CRC-32")


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def packed(folder, method=zipfile.ZIP_STORED, **members):
    """Write members, bytes or arrays, in place of those of a good file."""
    with zipfile.ZipFile(folder / "mine.npz", "w", method) as file:
        for key, value in {**good(), **members}.items():
            stream = io.BytesIO()
            if not isinstance(value, bytes):
                np.save(stream, value)
            file.writestr(f"{key}.npy", value if isinstance(value, bytes) else stream.getvalue())
    return folder / "mine.npz"


@pytest.mark.parametrize("method", METHODS)
def test_however_a_file_was_packed_and_whatever_is_wrong_with_it(tmp_path, method):
    path = packed(tmp_path, METHODS[method])
    whole = path.read_bytes()
    assert read_arrays(path).classes == 3
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= rng.integers(1, 256)
        path.write_bytes(content[: rng.integers(len(whole))] if rng.random() < 0.2 else content)
        try:
            line = read_arrays(path).origin
        except DataError as error:
            line = str(error)
        assert line.startswith(str(path))
        assert "\n" not in line


def header(text, version=b"\1\0"):
    size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode()


DESCRIBED = "{'descr': '|u1', 'fortran_order': False, 'shape': SHAPE, }"
HOSTILE = {
    "no array": (b"1, 2, 3", "x_train is not an array of numpy (ValueError: EOF: reading magic string"),
    "another version": (header(DESCRIBED, b"\x09\0"), "x_train is not an array of numpy (ValueError"),
    "a shape that is none": (header(DESCRIBED), "x_train is not an array of numpy (ValueError"),
    "deep brackets": (header("(" * 5000), "x_train is not an array of numpy ("),
    "a header without end": (header("{" + " " * 10**6, b"\2\0"), "x_train is not an array of numpy ("),
    "more than there is": (
        header(DESCRIBED.replace("SHAPE", "(4, 100)")), "x_train promises 400 bytes and holds 0: damaged, save it again"
    ),
    "less than there is": (
        header(DESCRIBED.replace("SHAPE", "(4, 1)")) + bytes(10**6),
        "x_train promises 4 bytes and holds 1,000,000: damaged, save it again",
    ),
    "all memory": (
        header(DESCRIBED.replace("SHAPE", "(4294967296, 784)")),
        "x_train takes 3,367,254,360,064 bytes, and at most 8,589,934,592 are read",
    ),
    "many of nothing": (
        header(DESCRIBED.replace("SHAPE", "(1099511627776,)").replace("|u1", "<U0")),
        "x_train takes 1,099,511,627,776 bytes, and at most 8,589,934,592 are read",
    ),
    "a negative length": (header(DESCRIBED.replace("SHAPE", "(-1, -8)")) + bytes(8), "x_train has the shape (-1, -8): damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_arrays_that_are_not_what_they_promise(tmp_path, what):
    content, message = HOSTILE[what]
    assert problem(packed(tmp_path, x_train=content)).startswith(message)


def test_what_expands_without_end_is_not_unpacked(tmp_path):
    path = packed(tmp_path, zipfile.ZIP_DEFLATED, x_train=header(DESCRIBED.replace("SHAPE", "(9, 9)")) + bytes(10**8))
    assert path.stat().st_size < 2e5
    tracemalloc.start()
    assert problem(path) == "x_train promises 81 bytes and holds 100,000,000: damaged, save it again"
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


def test_a_missing_file(tmp_path):
    assert problem(tmp_path / "none.npz") == "cannot be read (No such file or directory)"


def test_files_without_permission(tmp_path, monkeypatch):
    def refuse(self, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = saved(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    assert problem(path) == "cannot be read (Permission denied)"


INPUTS = ("u1", "u2", "i1", "i8", ">i4", "f2", "f4", ">f8", "?", "c8", "U3")
LABELS = ("u1", "i8", "u8", "f4", "f8", "?", "U2", "S2", "c8")
SPECIAL = (np.nan, np.inf, 1e300, 2.0**60, -1.0, 0.5)


@st.composite
def any_arrays(draw):
    """Inputs and labels of both splits: mostly of one type, shape and range, so that many are accepted."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def pair(kinds, shapes, ranges):
        choices = [st.sampled_from(kinds), st.sampled_from(shapes), st.sampled_from(ranges)]
        chosen = [draw(choice) for choice in choices]
        for count in counts:
            kind, shape, (low, high) = [
                draw(choice) if draw(st.integers(0, 19)) == 9 else value
                for choice, value in zip(choices, chosen, strict=True)
            ]
            values = rng.integers(low, high + 1, (count, *shape)).astype(float)
            if draw(st.integers(0, 19)) == 9:
                values.flat[0] = draw(st.sampled_from(SPECIAL))
            with np.errstate(all="ignore"):
                yield values.astype(kind)

    counts = draw(st.integers(2, 30)), draw(st.integers(1, 10))
    shapes = [(2,), (2, 2), (1, 2, 3), (9,), ()]
    inputs = pair(INPUTS, shapes, [(0, 1), (0, 16), (0, 255), (0, 65535), (-1, 1), (-128, 127), (7, 7)])
    return *inputs, *pair(LABELS, [(), (), (1,), (2,)], [(0, 1), (1, 3), (-1, 1), (0, 0)])


@given(any_arrays())
def test_any_arrays_are_read_as_they_are_or_refused_in_a_line(tmp_path_factory, arrays):
    *x, y_train, y_test = arrays
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez(path, x_train=x[0], y_train=y_train, x_test=x[1], y_test=y_test)
    try:
        data = read_arrays(path)
    except DataError as error:
        line = str(error)
    else:
        line = f"{path}: {data.preprocessing}"
        raw = np.concatenate([array.reshape(len(array), -1).astype(np.float32) for array in x])
        scaled = np.concatenate([data.train_inputs, data.test_inputs])
        divisor = 1 if "as they are" in line else 255 if "bytes" in line else np.abs(raw).max()
        order = np.lexsort(raw.T), np.lexsort(scaled.T)  # samples may be mixed
        np.testing.assert_allclose(scaled[order[1]], raw[order[0]] / divisor, rtol=1e-5)
        assert np.isfinite(scaled).all()
        assert 2 <= data.classes == len(set(data.train_labels.tolist()))
        assert set(data.test_labels.tolist()) <= set(data.train_labels.tolist())
    assert line.startswith(f"{path}: ")
    assert "\n" not in line


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "mine.npz")
    assert problem(tmp_path / "mine.npz") == "cannot be read (it is a pipe, a socket or a device)"
