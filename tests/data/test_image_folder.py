"""A user's own folder of images."""

import numpy as np
import pytest
from PIL import Image

from whydeep.data import locate
from whydeep.data.folder import read_folder
from whydeep.errors import DataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def save(path, image=GREY, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes; one image of each for training and one of the first for test."""
    for place in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        save(tmp_path / "pets" / place)
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


def test_hidden_and_other_files_are_passed_over(folder):
    for place in ("train/.DS_Store", "train/cat/.hidden.png", "train/cat/notes.txt", "train/.git/x.png", "train/a.png"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text("no image")
    assert len(read_folder(folder).train_labels) == 2


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
    np.testing.assert_allclose(data.train_inputs[1], np.repeat(GREY, 3) / 255, rtol=1e-6)


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


def test_images_of_another_size(folder):
    save(folder / "test/cat/2.png", GREY.T.copy())
    assert problem(folder) == (
        "pets/test/cat/2.png: 3 x 4 pixels, but pets/train/cat/1.png has 4 x 3: all images must have one size"
    )


def test_images_that_are_none(folder):
    for content in (b"", b"no image"):
        (folder / "train/dog/1.png").write_bytes(content)
        assert problem(folder) == "pets/train/dog/1.png: not an image that can be read"


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


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_images(folder, split):
    save(folder / split / "cow/1.bmp")
    assert problem(folder) == (f"pets/{split}/cow: holds no images (.png, .jpg, .jpeg); add some or remove the folder")


def test_a_class_that_train_lacks(folder):
    save(folder / "test/cow/1.png")
    assert problem(folder) == "pets: test has the class cow, which train lacks"


def test_one_class_is_not_enough(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "cat/1.png")
    assert problem(tmp_path) == "pets: there is only one class; at least two are needed"


def test_folders_that_lack_something(tmp_path):
    (tmp_path / "train").mkdir()
    assert problem(tmp_path) == "pets/train: holds no images; they go to train/CLASS/*.png or *.jpg"
    save(tmp_path / "train/1.png")
    assert problem(tmp_path) == "pets/train: holds no images; they go to train/CLASS/*.png or *.jpg"
    save(tmp_path / "train/cat/1.png")
    assert problem(tmp_path) == "pets: has no folder test; images go to train/CLASS/ and test/CLASS/"


def test_a_folder_with_nothing(tmp_path):
    with pytest.raises(DataError) as error:
        locate(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: holds neither the four IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte) nor train/CLASS/ and test/CLASS/ with images"
    )
