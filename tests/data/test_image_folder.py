"""A user's own folder of images."""

import errno
import os
import shutil
import socket
import struct
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whydeep.data import inputs, locate
from whydeep.data.folder import read_folder
from whydeep.errors import DataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
DOG = GREY + 1


def save(path, image=GREY, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes; one image of each for training and one of the first for test."""
    for place in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        save(tmp_path / "pets" / place, DOG if "dog" in place else GREY)
    return tmp_path / "pets"


def problem(folder):
    with pytest.raises(DataError) as error:
        read_folder(folder)
    text = str(error.value)
    assert "\n" not in text
    return text.replace(f"{folder}", "pets")


def test_classes_are_the_folders_of_train(folder):
    data = locate(str(folder)).load()
    assert (data.name, data.class_names, data.input_shape) == ("pets", ("cat", "dog"), (3, 4))
    assert data.train_labels.tolist() == [0, 1]
    assert data.test_labels.tolist() == [0]
    np.testing.assert_allclose(data.train_inputs[0], GREY.flatten() / 255, rtol=1e-6)


def test_hidden_and_other_files_are_passed_over_and_said(folder):
    assert read_folder(folder).notice == ""
    places = ("train/.DS_Store", "train/cat/.hidden.png", "train/cat/notes.txt", "train/.git/x.png", "train/a.png")
    for place in (*places, "train/cat/1.BMP", "train/dog/2.bmp", "test/cat/more/3.png", "val/cat/1.png", "README"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("no image")
    data = read_folder(folder)
    assert len(data.train_labels) == 2
    assert data.notice == (
        "Left out: 2 beside train and test (such as README), 3 hidden (such as train/.DS_Store), 1 outside of classes "
        "(train/a.png), 2 .bmp (such as train/cat/1.BMP), 1 .txt (train/cat/notes.txt), 1 deeper (test/cat/more)."
    )


def test_many_kinds_of_files_that_are_left_out_stay_a_sentence(folder):
    for number in range(5000):
        (folder / f"train/cat/x.{number}").touch()
    notice = read_folder(folder).notice
    assert notice.startswith("Left out: 1 .0 (train/cat/x.0), 1 .1 (")
    assert notice.endswith(", and 4994 other kinds.")
    assert len(notice) < 300


@pytest.mark.parametrize("ending", ["PNG", "jpg", "JPeG"])
def test_endings_in_any_case(folder, ending):
    save(folder / f"train/cat/2.{ending}")
    assert sorted(read_folder(folder).train_labels.tolist()) == [0, 0, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_shades_of_grey_stay_grey(folder, mode):
    save(folder / "train/cat/1.png", GREY, mode)
    assert read_folder(folder).input_shape == (3, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_one_image_in_colour_makes_all_coloured(folder, mode):
    save(folder / "train/cat/1.png", GREY, mode)
    data = read_folder(folder)
    assert data.input_shape == (3, 4, 3)
    np.testing.assert_allclose(data.train_inputs[1], np.repeat(DOG, 3) / 255, rtol=1e-6)


@pytest.mark.parametrize("coloured", [False, True])
def test_sixteen_bits_are_scaled_and_not_cut_off(folder, coloured):
    save(folder / "train/dog/1.png", GREY.astype(np.uint16) * 257)
    save(folder / "train/cat/1.png", GREY, "RGB" if coloured else "L")
    data = read_folder(folder)
    np.testing.assert_array_equal(data.train_inputs[1], data.train_inputs[0])
    np.testing.assert_allclose(data.train_inputs[1][:: 3 if coloured else 1], GREY.flatten() / 255, rtol=1e-6)


def test_a_palette_with_transparency_is_read_in_silence(folder):
    picture = Image.fromarray(GREY).convert("P")
    picture.save(folder / "train/cat/1.png", transparency=bytes(range(0, 250, 10)))
    assert read_folder(folder).input_shape == (3, 4, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_images_stand_upright_as_exif_says(folder, orientation, ending):
    """A camera that is turned stores the image as its sensor has it, and how to turn it."""
    upright = Image.fromarray(np.kron(GREY, np.ones((8, 8), np.uint8)))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> what Pillow calls the way back
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in folder.rglob("*.png"):
        path.unlink()
    for place in ("train/cat/1", "train/dog/1", "test/cat/1"):
        save(folder / f"{place}.png", upright)
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    (folder / "train/dog/1.png").unlink()
    stored.save(folder / f"train/dog/2.{ending}", exif=exif, **({"quality": 100} if ending == "jpg" else {}))
    data = read_folder(folder)
    assert data.input_shape == (24, 32)
    np.testing.assert_allclose(data.train_inputs[0], data.train_inputs[1], atol=0.02 if ending == "jpg" else 0)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_size_is_given_to_all_images(folder, mode):
    save(folder / "train/cat/1.png", np.kron(GREY, np.ones((10, 10), np.uint8)), mode)
    save(folder / "test/cat/1.png", GREY.T.copy(), mode)
    data = read_folder(folder, 6)
    assert data.input_shape == ((6, 6) if mode == "L" else (6, 6, 3))
    assert (data.name, data.preprocessing) == ("pets at 6 x 6", "images resized to 6 x 6, bytes divided by 255")
    assert read_folder(folder, 7).fingerprint != data.fingerprint
    reference = Image.fromarray(DOG).convert(mode).resize((6, 6), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(data.train_inputs[1], np.asarray(reference).flatten() / 255, rtol=1e-6)


def test_resized_images_are_means_and_not_samples(folder):
    """Of an image that is made smaller, every pixel counts: stripes become grey, and not black or white."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for path in folder.rglob("*.png"):
        save(path, stripes)
    resized = read_folder(folder, 8).train_inputs
    assert 0.4 < resized.min() <= resized.max() < 0.6


@pytest.mark.parametrize(
    ("train", "test"), [("training", "testing"), ("Train", "Test"), ("train", "testing"), ("TRAINING", "test")]
)
def test_names_of_the_splits(folder, train, test):
    expected = read_folder(folder)
    (folder / "train").rename(folder / train)
    (folder / "test").rename(folder / test)
    data = locate(str(folder)).load()
    assert (data.fingerprint, data.notice) == (expected.fingerprint, "")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_stands_in_where_test_is_missing(folder, name):
    expected = read_folder(folder)
    shutil.copytree(folder / "test", folder / name)
    assert read_folder(folder).notice == f"Left out: 1 beside train and test ({name})."
    shutil.rmtree(folder / "test")
    data = read_folder(folder)
    assert (data.fingerprint, data.notice) == (expected.fingerprint, f"The test images are those of {name}.")


def test_two_folders_for_one_split(folder):
    shutil.copytree(folder / "train", folder / "training")
    assert problem(folder) == "pets: has the folders train and training, which may both be for train: leave one"


def test_one_class_in_two_forms_of_unicode(folder):
    for form, place in (("NFC", "train"), ("NFD", "test")):
        (folder / place / "cat").rename(folder / place / unicodedata.normalize(form, "kätzchen"))
    data = read_folder(folder)
    assert data.class_names == ("dog", unicodedata.normalize("NFC", "kätzchen"))
    assert data.test_labels.tolist() == [1]


def test_names_that_are_not_utf8_or_break_lines(folder):
    name = os.fsdecode(b"train/c\xe9")
    (folder / "train/cat").rename(folder / name)
    assert problem(folder) == "pets/train/c\\udce9: cannot be read (its name is not UTF-8): rename it"
    (folder / name).rename(folder / "train/cat")
    (folder / os.fsdecode(b"train/cat/\n\xe9.png")).write_bytes(b"")
    assert problem(folder) == "pets/train/cat/ \\udce9.png: not an image that can be read as PNG or JPEG"


def test_images_of_another_size(folder):
    save(folder / "test/cat/2.png", GREY.T.copy())
    assert problem(folder) == (
        "pets/test/cat/2.png: 3 x 4 pixels, but pets/train/cat/1.png has 4 x 3: all images must have one size; give "
        "--size to resize them"
    )


def test_images_that_are_none(folder):
    for content in (b"", b"no image"):
        (folder / "train/dog/1.png").write_bytes(content)
        assert problem(folder) == "pets/train/dog/1.png: not an image that can be read as PNG or JPEG"


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_images_that_are_cut_off_anywhere(folder, ending):
    path = folder / f"train/dog/2.{ending}"
    save(path, np.random.default_rng(0).integers(0, 256, (3, 4), dtype=np.uint8))
    whole = path.read_bytes()
    for length in range(0, len(whole) - 20, 7):
        path.write_bytes(whole[:length])
        assert problem(folder).startswith(f"pets/train/dog/2.{ending}: ")


def test_bytes_changed_anywhere_are_read_or_refused(folder):
    path = folder / "train/dog/1.png"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            line = read_folder(folder).origin
        except DataError as error:
            line = str(error)
        assert line.startswith(str(folder))
        assert "\n" not in line


def test_a_folder_where_an_image_is_expected(folder):
    (folder / "train/dog/2.png").mkdir()
    assert problem(folder) == "pets/train/dog/2.png: cannot be read (Is a directory)"


def test_what_is_no_file_is_not_opened(folder):
    """A pipe would be waited for, and a device may never end."""
    path = folder / "train/dog/2.png"
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        place = folder.parent / "s"
        server.bind(str(place))
        for target, reason in (
            (folder / "pipe", "it is a pipe, a socket or a device"),
            (place, "it is a pipe, a socket or a device"),
            (Path("/dev/zero"), "it is a pipe, a socket or a device"),
            (path, os.strerror(errno.ELOOP)),
            (folder / "none", os.strerror(errno.ENOENT)),
            (folder, os.strerror(errno.EISDIR)),
        ):
            path.symlink_to(target)
            assert problem(folder) == f"pets/train/dog/2.png: cannot be read ({reason})"
            path.unlink()
    path.symlink_to(folder / "train/dog/1.png")
    assert len(read_folder(folder).train_labels) == 3


def test_folders_that_lead_to_themselves(folder):
    (folder / "train/cat/all").symlink_to(folder)
    (folder / "train/loop").symlink_to(folder / "train/loop")
    data = read_folder(folder)
    assert data.classes == 2
    assert data.notice == "Left out: 1 deeper (train/cat/all), 1 outside of classes (train/loop)."


def test_files_without_permission(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Image, "open", refuse)
    assert problem(folder) == "pets/train/cat/1.png: cannot be read (Permission denied)"


def png(*chunks):
    """A PNG of 4 x 3 shades of grey, with chunks before and after its pixels."""
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in GREY))
    parts = [(b"IHDR", struct.pack(">2I5B", 4, 3, 8, 0, 0, 0, 0)), *chunks, (b"IDAT", pixels), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


ZEROS = zlib.compress(bytes(10**8))
BOMBS = {
    "compressed text": (b"zTXt", b"key\0\0" + ZEROS),
    "international text": (b"iTXt", b"key\0\1\0\0\0" + ZEROS),
    "colour profile": (b"iCCP", b"name\0\0" + ZEROS),
    "exif": (b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(100)),
    "exif as text": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 99\n" + b"ff" * 10**6)),
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_an_image_carries_along_is_bounded(folder, what):
    (folder / "train/dog/1.png").write_bytes(png(*[BOMBS[what]] * 3))
    tracemalloc.start()
    try:
        line = read_folder(folder).origin
    except DataError as error:
        line = str(error)
    assert tracemalloc.get_traced_memory()[1] < 5e7
    tracemalloc.stop()
    assert line == str(folder) or line.startswith(f"{folder}/train/dog/1.png: damaged image (")
    assert "\n" not in line


@pytest.mark.parametrize("side", [12_000, 20_000, 2**31 - 1])
def test_images_of_too_many_pixels(folder, side):
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    pieces = b"IHDR" + header
    image = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + pieces + struct.pack(">I", zlib.crc32(pieces))
    (folder / "train/dog/1.png").write_bytes(image + struct.pack(">I", 4) + b"IDAT1234")
    assert problem(folder).startswith(
        f"pets/train/dog/1.png: too large (Image size ({side**2} pixels) exceeds limit of"
    )


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "EPS", "WEBP"])
def test_other_formats_under_the_name_of_a_png(folder, format):
    Image.fromarray(GREY).convert("RGB").save(folder / "train/dog/1.png", format=format)
    assert problem(folder) == "pets/train/dog/1.png: not an image that can be read as PNG or JPEG"


def test_more_images_than_memory(folder, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_VALUES", 30)
    assert problem(folder) == "pets: has 36 numbers, and at most 30 are read: give fewer or smaller samples"
    assert read_folder(folder, 3).input_shape == (3, 3)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_images(folder, split):
    save(folder / split / "cow/1.bmp")
    assert problem(folder) == (f"pets/{split}/cow: holds no images (.png, .jpg, .jpeg); add some or remove the folder")


def test_a_class_that_train_lacks(folder):
    save(folder / "test/cow/1.png")
    assert problem(folder) == "pets: test has the class cow, which training lacks"


def test_one_class_is_not_enough(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "cat/1.png")
    assert problem(tmp_path) == "pets: there is only one class; at least two are needed"


def test_folders_that_lack_something(tmp_path):
    (tmp_path / "train").mkdir()
    assert problem(tmp_path) == "pets: has no folder test; images go to train/CLASS/ and test/CLASS/"
    (tmp_path / "test").mkdir()
    assert problem(tmp_path) == "pets/train: holds no images; they go to train/CLASS/*.png or *.jpg"
    save(tmp_path / "train/1.png")
    assert problem(tmp_path) == "pets/train: holds no images; they go to train/CLASS/*.png or *.jpg"
    save(tmp_path / "train/cat/1.png")
    assert problem(tmp_path) == "pets/test: holds no images; they go to test/CLASS/*.png or *.jpg"


def test_a_folder_with_nothing(tmp_path):
    with pytest.raises(DataError) as error:
        locate(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: holds neither the four IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte) nor train/CLASS/ and test/CLASS/ with images"
    )
