"""A user's own .npz: what is wrong with it is said in one line that names the file."""

import zipfile

import numpy as np
import pytest

from whydeep.data.arrays import read_arrays
from whydeep.errors import DataError

KEYS = "x_train, y_train, x_test, y_test"


def good():
    return {
        "x_train": np.arange(24, dtype=np.float32).reshape(4, 2, 3),
        "y_train": np.array([0, 1, 2, 1]),
        "x_test": np.ones((2, 2, 3), dtype=np.float32),
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


def test_arrays_become_a_data_set(tmp_path):
    path = saved(tmp_path)
    data = read_arrays(path)
    assert (data.name, data.origin, data.notice) == ("mine", str(path), "")
    assert (data.input_shape, data.features, data.classes) == ((2, 3), 6, 3)
    assert data.train_inputs.tolist()[0] == [0, 1, 2, 3, 4, 5]
    assert data.test_labels.tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["u1", "i2", ">i4", "f2", ">f8", "?"])
def test_inputs_may_be_any_numbers_and_only_bytes_are_scaled(tmp_path, kind):
    data = read_arrays(saved(tmp_path, x_test=np.ones((2, 2, 3), dtype=kind)))
    assert data.test_inputs.flatten().tolist() == [np.float32(1 / 255) if kind == "u1" else 1] * 12


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_are_any_integers_and_become_classes_in_order(tmp_path, shape):
    data = read_arrays(saved(tmp_path, y_train=np.reshape([7, -1, 300, -1], shape), y_test=np.array([[300], [7]])))
    assert data.class_names == ("-1", "7", "300")
    assert data.train_labels.tolist() == [1, 0, 2, 0]
    assert data.test_labels.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, f"lacks y_test; it must hold {KEYS}, and holds x_test, x_train, y_train"),
        (dict.fromkeys(good()), f"lacks {KEYS}; it must hold {KEYS}, and holds nothing"),
        ({"x_train": np.array([[1], "a", None, 2], dtype=object)},
         "not an .npz file of plain numbers (it holds Python objects)"),
        ({"y_train": np.array([0.0, 1, 2, 1])}, "y_train must be integers of shape (n,), not float64 of (4,)"),
        ({"y_train": np.array([True, False, True, False])}, "y_train must be integers of shape (n,), not bool of (4,)"),
        ({"y_test": np.array(["a", "b"])}, "y_test must be integers of shape (n,), not <U1 of (2,)"),
        ({"y_test": np.array(3)}, "y_test must be integers of shape (n,), not int64 of ()"),
        ({"y_train": np.eye(4, dtype=int)}, "y_train must be integers of shape (n,), not int64 of (4, 4)"),
        ({"y_test": np.array([1, 9])}, "y_test holds the label 9, which y_train never has"),
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
    assert problem(tmp_path / "mine.npz") == f"lacks {KEYS}; it must hold {KEYS}, and holds nothing"


def test_damage_inside_a_zip(tmp_path):
    path = saved(tmp_path, x_train=np.random.default_rng(0).random((4, 50)), x_test=np.ones((2, 50)))
    content = bytearray(path.read_bytes())
    content[600] ^= 255
    path.write_bytes(content)
    assert problem(path).startswith("not a readable .npz file (Bad CRC-32")


def test_members_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as file:
        for key in good():
            file.writestr(f"{key}.npy", b"1, 2, 3")
    assert problem(tmp_path / "mine.npz").startswith("y_train must be integers of shape (n,), not |S7 of ()")


def test_a_header_that_promises_the_moon(tmp_path):
    path = saved(tmp_path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["x_train.npy"] = (
        members["x_train.npy"].replace(b"(4, 2, 3)", b"(1<<62,)").replace(b"1<<62,", b"9" * 8 + b",")
    )
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    assert "not a" in problem(path)


def test_a_missing_file(tmp_path):
    assert problem(tmp_path / "none.npz").startswith("not a readable .npz file ([Errno 2] No such file")
