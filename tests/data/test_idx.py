"""IDX files: every way in which they are not what they should be has its own line."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from whydeep.data import idx
from whydeep.errors import DataError

PLACE = Path("folder/file")
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def packed(array, kind="u1"):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return header + array.astype(f">{kind}").tobytes()


IMAGES = packed(np.arange(24).reshape(2, 3, 4))


@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda kind: st.tuples(st.just(kind), arrays.arrays(kind, arrays.array_shapes(max_dims=4, max_side=5)))
    )
)
def test_what_was_packed_is_parsed(case):
    kind, array = case
    parsed = idx.parse(packed(array, kind), PLACE)
    assert parsed.dtype == np.dtype(kind)
    assert parsed.dtype.isnative
    np.testing.assert_array_equal(parsed, array)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_array_or_one_clear_line(content):
    for start in (b"", b"\0\0\x08"):
        try:
            line = f"folder/file: {idx.parse(start + content, PLACE).shape}"
        except DataError as error:
            line = str(error)
        assert line.startswith("folder/file: ")
        assert "\n" not in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file (it starts with nothing)"),
        (b"\x89PNG....", "not an IDX file (it starts with 89504e47)"),
        (b"\0\0\x07\x03", "not an IDX file (it starts with 00000703)"),
        (b"\0\0\x08\x00", "not an IDX file (it starts with 00000800)"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", "not an IDX file (it starts with 000008ff)"),
        (IMAGES[:9], "truncated: the header of 16 bytes ends after 9"),
        (IMAGES[:-1], "truncated: the header promises 2 x 3 x 4 = 24 bytes, found 23"),
        (IMAGES + b"\0", "too long: the header promises 2 x 3 x 4 = 24 bytes, found more"),
        (packed(np.zeros(5)), "holds 1 dimensions (5,), expected 3"),
        (packed(np.zeros((0, 3, 4))), "empty: the header says (0, 3, 4)"),
    ],
)
def test_errors_of_content(content, message):
    with pytest.raises(DataError) as error:
        idx.parse(content, PLACE, 3)
    assert str(error.value) == f"folder/file: {message}"


def test_a_header_that_promises_the_moon_takes_no_memory():
    tracemalloc.start()
    size = 4294967295
    with pytest.raises(DataError) as error:
        idx.parse(struct.pack(">BBBB3I", 0, 0, 8, 3, size, size, size), PLACE, 3)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert str(error.value) == (
        f"folder/file: truncated: the header promises {size} x {size} x {size} = {size**3} bytes, found 0"
    )


@pytest.mark.parametrize("name", ["file", "file.gz", "file.dat"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_compression_is_told_by_content_and_not_by_name(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(IMAGES))
    assert idx.read_bytes(tmp_path / name) == IMAGES


def test_no_more_is_unpacked_than_the_header_promises(tmp_path):
    """A file of some kilobytes can expand to all memory, with a header that says less, or more than fits."""
    path, zeros = tmp_path / "file.gz", bytes(2 * 10**7)
    for size, message in (
        (7, "too long: the header promises 7 x 28 x 28 = 5488 bytes, found more"),
        (10**6, "truncated: the header promises 1000000 x 28 x 28 = 784000000 bytes, found 20000000"),
        (2**32 - 1, "has 3,367,254,359,280 numbers, and at most 1,073,741,824 are read: give fewer or smaller samples"),
    ):
        content = struct.pack(">BBBB3I", 0, 0, 8, 3, size, 28, 28) + zeros
        for pack in (gzip.compress, bytes):
            path.write_bytes(pack(content))
            tracemalloc.start()
            with pytest.raises(DataError) as error:
                idx.parse(idx.read_bytes(path), path, 3)
            assert tracemalloc.get_traced_memory()[1] < (1e8 if size == 10**6 else 2e5)
            tracemalloc.stop()
            assert str(error.value) == f"{path}: {message}"
    path.write_bytes(gzip.compress(zeros))
    with pytest.raises(DataError, match=r"not an IDX file \(it starts with 00000000\)$"):
        idx.parse(idx.read_bytes(path), path, 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_headers_that_end_early(tmp_path, pack):
    for length in range(16):
        (tmp_path / "file").write_bytes(pack(IMAGES[:length]))
        with pytest.raises(DataError, match=r"not an IDX file|truncated: the header"):
            idx.parse(idx.read_bytes(tmp_path / "file"), tmp_path / "file", 3)


def test_errors_of_compressed_files(tmp_path):
    path, whole = tmp_path / "file.gz", gzip.compress(IMAGES)
    flipped = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    for content, message in (
        (whole[:-9], "truncated: the compressed data ends early; get the file again"),
        (whole[:2], "truncated: the compressed data ends early; get the file again"),
        (flipped, r"damaged gzip file \(CRC check failed.*\); get the file again"),
        (whole + b"garbage", r"damaged gzip file \(Not a gzipped file .*\); get the file again"),
        (whole[:10] + b"\xff" * 20, r"damaged gzip file \(Error -3 .*\); get the file again"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            idx.read_bytes(path)
        assert str(error.value).startswith(f"{path}: ")


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError) as error:
        idx.read_bytes(tmp_path / "none")
    assert str(error.value) == f"{tmp_path / 'none'}: cannot be read (No such file or directory)"
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)$"):
        idx.read_bytes(tmp_path)

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"cannot be read \(it is a pipe, a socket or a device\)$"):
        idx.read_bytes(tmp_path / "pipe")
    (tmp_path / "file").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)$"):
        idx.read_bytes(tmp_path / "file")


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_the_four_files_are_found_under_their_names(tmp_path, ending, dot):
    for name in idx.PARTS.values():
        (tmp_path / (name.replace("-idx", f"{dot}idx") + ending)).touch()
    assert list(idx.find_parts(tmp_path)) == list(idx.PARTS)


def test_unpacked_files_go_first(tmp_path):
    for name in idx.PARTS.values():
        (tmp_path / name).touch()
        (tmp_path / f"{name}.gz").touch()
    assert [path.name for path in idx.find_parts(tmp_path).values()] == list(idx.PARTS.values())


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_may_be_called_test_and_begin_with_the_name_of_a_data_set(tmp_path, ending):
    names = [name.replace("t10k", "test") + ending for name in idx.PARTS.values()]
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / f"emnist-letters-{name}").touch()
        (tmp_path / f"emnist-letters-{name}-mapping.txt").touch()
    assert [path.name for path in idx.find_parts(tmp_path).values()] == names
    parts = idx.find_parts(tmp_path, "emnist-letters")
    assert [path.name for path in parts.values()] == [f"emnist-letters-{name}" for name in names]
    assert idx.find_stems(tmp_path) == ["emnist-letters"]
    assert idx.find_parts(tmp_path, "emnist") is None
    (tmp_path / f"emnist-letters-{names[3]}").unlink()
    with pytest.raises(DataError, match=r"not emnist-letters-test-labels-idx1-ubyte \(or .gz\)$"):
        idx.find_parts(tmp_path, "emnist-letters")


def test_some_of_the_four_is_an_error_and_none_is_none(tmp_path):
    assert idx.find_parts(tmp_path) is None
    assert idx.find_parts(tmp_path / "none") is None
    names = list(idx.PARTS.values())
    (tmp_path / names[0]).touch()
    (tmp_path / names[2]).touch()
    (tmp_path / names[3]).mkdir()  # a folder is not a file
    with pytest.raises(DataError) as error:
        idx.find_parts(tmp_path)
    assert str(error.value) == (f"{tmp_path}: holds some of the four IDX files but not {names[1]}, {names[3]} (or .gz)")


def test_images_and_labels_fit_together():
    images, labels = Path("images"), Path("labels")
    pictures, classes = idx.read_split(images, labels, {images: IMAGES, labels: packed(np.array([3, 1]))})
    assert pictures.shape == (2, 3, 4)
    assert classes.tolist() == [3, 1]
    for content, message in (
        (packed(np.array([1, 2, 3])), "images holds 2 images and labels 3 labels: they differ"),
        (IMAGES, "labels: holds 3 dimensions (2, 3, 4), expected 1"),
        (packed(np.array([2, 2_000_000_000]), "i4"), "labels: holds int32 labels, expected unsigned bytes"),
        (packed(np.array([0.5, np.nan]), "f4"), "labels: holds float32 labels, expected unsigned bytes"),
    ):
        with pytest.raises(DataError) as error:
            idx.read_split(images, labels, {images: IMAGES, labels: content})
        assert str(error.value) == message
