"""Requests: the same from the command line, a study file and Python."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from whydeep.cli import _parse
from whydeep.errors import DataError, SettingError
from whydeep.study import Request, console
from whydeep.study.request import read_study
from whydeep.study.resolve import resolve

WORDS = ["run", "batch-size", "--scale", "smoke", "--seeds", "3", "--set", "batch-size.epochs=2"]


def write(folder, text):
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


FILE = """
experiments = ["batch-size"]
scale = "smoke"
seeds = 3

[batch-size]
epochs = 2
"""


def test_command_line_file_and_python_ask_for_the_same(tmp_path):
    request = Request(("batch-size",), scale="smoke", seeds=3, set=("batch-size.epochs=2",))
    assert _parse(WORDS) == request
    path = write(tmp_path, FILE)
    assert read_study(path) == request
    assert _parse(["run", "--study", str(path)]) == request
    assert _parse(["run", f"--study={path}"]) == request
    assert _parse(list(request.command[1:])) == request


def test_options_take_the_place_of_the_file(tmp_path):
    path = write(tmp_path, FILE)
    request = _parse(["run", "--study", str(path), "--seeds", "5", "--scale", "quick"])
    assert (request.seeds, request.scale, request.set) == (5, "quick", ("batch-size.epochs=2",))
    assert read_study(path, set=("batch-size.epochs=4", "batch-size.clip=1")).set == (
        "batch-size.epochs=4",
        "batch-size.clip=1",
    )


def test_changes_on_the_command_line_are_added_to_those_of_the_file(tmp_path):
    path = write(tmp_path, FILE)
    request = _parse(["run", "--study", str(path), "--set", "batch-size.epochs=4", "--set", "batch-size.clip=1"])
    assert request.changes == {"batch-size": {"epochs": "4", "clip": "1"}}


def test_lists_and_widths_in_a_file(tmp_path):
    path = write(tmp_path, "[batch-size]\nbatch_size = [10, 100]\n[parameter-count]\nhidden = [[2, 5], [10, 20]]\n")
    assert read_study(path).changes == {
        "batch-size": {"batch_size": "10,100"},
        "parameter-count": {"hidden": "2-5,10-20"},
    }


def test_files_that_a_study_names_are_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    path = write(tmp_path / "studies", 'experiments = ["mine.py"]\nclaims = "claims.toml"\nout = "runs/mine"\n')
    request = read_study(path)
    assert request.experiments == ("studies/mine.py",)
    assert request.claims.as_posix() == "studies/claims.toml"
    assert request.out.as_posix() == "runs/mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 3", "did you mean seeds"),
        ("seeds = true", "seeds is True, and must be a whole number"),
        ('seeds = "3"', "must be a whole number"),
        ("seeds = 0", "--seeds must be a whole number from 1 to 10,000, not 0"),
        ("size = 28.5", "size is 28.5, and must be a whole number"),
        ('scale = "ful"', "did you mean full?"),
        ("experiments = [1]", "a list of texts"),
        ("fresh = true", "no option is called 'fresh'"),
        ("[batch-size]\nepochs = []", "a value or a list of values"),
        ("[batch-size.epochs]\nx = 1", "a value or a list of values"),
        ("[batch-size]\nepochs = 1979-05-27", "a value or a list of values"),
        ("seeds = ", "is not TOML"),
        ("a = " + "[" * 3000, "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, says):
    with pytest.raises(SettingError) as error:
        read_study(write(tmp_path, text))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_images_are_described_with_their_size_and_what_was_done_to_them(tmp_path):
    """And all processes load the very images that the study was resolved with."""
    for seed, place in enumerate(("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/a/1.txt")):
        (tmp_path / "pets" / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 7), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pets" / place, format="png")
    request = _parse(["run", "batch-size", "--dataset", str(tmp_path / "pets"), "--size", "8", "--scale", "smoke"])
    assert (
        read_study(write(tmp_path, 'experiments = ["batch-size"]\nsize = 8'), scale="smoke").size == request.size == 8
    )
    study = resolve(request)
    assert study.source.fingerprint == study.context.source.fingerprint == study.images.fingerprint
    assert study.plans["batch-size"].images.features == 64
    lines = console.headline(study).splitlines()
    assert lines[1] == (
        "images: pets at 8 x 8 (2 training and 1 test images; images resized to 8 x 8, bytes divided by 255), "
        f"{tmp_path / 'pets'}"
    )
    assert lines[2] == "NOTICE: Left out: 1 .txt (test/a/1.txt)."
    with pytest.raises(DataError, match=r"^--size is 8, and digits is not a folder of images: leave it out$"):
        resolve(replace(request, dataset="digits"))


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(SettingError, match="cannot be read"):
        read_study(tmp_path / "none.toml")
    with pytest.raises(SettingError, match="is given 2 times"):
        _parse(["run", "--study", "a.toml", "--study", "b.toml"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scale": "big"}, "no scale is called 'big'"),
        ({"device": "tpu"}, "no device is called 'tpu'"),
        ({"seeds": 0}, "--seeds"),
        ({"root_seed": -1}, "--root-seed"),
        ({"workers": -1}, "--workers"),
        ({"size": -1}, "--size must be a whole number from 0 to 1,024, not -1"),
        ({"size": 10**9}, "--size"),
        ({"set": ("epochs",)}, "EXPERIMENT.FIELD=VALUE"),
    ],
)
def test_values_that_are_not_accepted(options, says):
    with pytest.raises(SettingError, match=says):
        Request(**options)
