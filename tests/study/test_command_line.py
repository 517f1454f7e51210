"""The command as a user runs it, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import h5netcdf
import pytest
import torch
import xarray as xr

from whydeep import __version__
from whydeep.cli import main
from whydeep.study import Registry

EXPERIMENTS = Registry.installed()
WHYDEEP = [sys.executable, "-m", "whydeep"]


def whydeep(*arguments, cwd, **environment):
    surroundings = {name: value for name, value in os.environ.items() if name != "WHYDEEP_DATA"} | environment
    return subprocess.run(
        [*WHYDEEP, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=surroundings, timeout=300
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A whole study, small, on images that need no data."""
    folder = tmp_path_factory.mktemp("study")
    done = whydeep("run", "--scale", "smoke", "--seeds", 3, "--dataset", "digits", "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


SOME = ("parameter-count", "batch-size")
"""Experiments that stand for all where a study is run again: 10 + 5 units for each seed."""

OTHERS = tuple(name for name in EXPERIMENTS if name not in SOME)


def contents(folder, names=SOME):
    return {name: (folder / "results" / f"{name}.nc").read_bytes() for name in names}


def test_a_run_folder_is_complete(study):
    folder, printed = study
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["seeds"] == [0, 1, 2]
    assert manifest["configuration"]["dataset"] == "digits"
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{ending}"
        for name in (
            *(f"figure-{number:02}" for number in range(1, 18)),
            *("loss-surface", "random-labels-fitted", "sharpness"),
        )
        for ending in ("png", "svg")
    }
    report = (folder / "report.html").read_text()
    assert "Figure 6. Accuracy on training and test images, digits" in report
    assert "64-318-10" in report  # of the same budget as the networks for MNIST
    records = json.loads((folder / "claims.json").read_text(encoding="utf-8"))["claims"]
    assert [record["id"] for record in records] == [f"C{number}" for number in range(1, 25)]
    assert {record["verdict"] for record in records if record["id"] in ("C17", "C23")} == {"preview"}
    for record in records:
        shown = record["verdict"] != "not-run"  # as on digits, which have no batches of 1,500
        assert shown or record["reason"].startswith("the results do not hold what it is about")
        assert (f"{record['id']} " in printed) == (f'id="claim-{record["id"]}"' in report) == shown
    with xr.open_dataset(folder / "results" / "function-fitting.nc", engine="h5netcdf") as results:
        assert dict(results.sizes) == {"function": 2, "network": 3, "seed": 3, "iteration": 200, "point": 1000}
        assert results.loss.attrs["long_name"] == "MSE on the training points before each iteration"
        assert results.loss.notnull().all()
    for name, experiment in EXPERIMENTS.items():
        with xr.open_dataset(folder / "results" / f"{name}.nc", engine="h5netcdf") as results:
            assert set(results.data_vars) == set(experiment.variables)
            assert all(one.attrs["long_name"] for one in results.data_vars.values())
            assert all(f">{variable}</th>" in report for variable in experiment.variables)
    with h5netcdf.File(folder / "results" / "image-classification.nc") as file:
        assert set(file.dimensions) == {"network", "seed", "epoch"}


@pytest.mark.parametrize(("workers", "names"), [(1, SOME), (3, OTHERS)], ids=["one worker", "three workers"])
def test_files_do_not_depend_on_the_workers(study, tmp_path, workers, names):
    common = ("--scale", "smoke", "--seeds", 3, "--dataset", "digits", "--out", "run")
    done = whydeep("run", *names, *common, "--workers", workers, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "run", names) == contents(study[0], names)


def test_the_report_is_made_again_from_results_alone(study, tmp_path):
    folder = tmp_path / "copy"
    (folder / "results").mkdir(parents=True)
    for path in [study[0] / "manifest.json", *(study[0] / "results").iterdir()]:
        name = path.relative_to(study[0])
        (folder / name).write_bytes((study[0] / name).read_bytes())
    done = whydeep("report", "copy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").read_bytes() == (study[0] / "report.html").read_bytes()
    for path in (study[0] / "figures").iterdir():
        assert (folder / "figures" / path.name).read_bytes() == path.read_bytes()


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(study, tmp_path):
    options = "--scale smoke --seeds 3 --dataset digits --out run --workers 1"
    command = [*WHYDEEP, "run", *SOME, *options.split()]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/units/*/*/seed-*.nc")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in out
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/units/*/*/seed-*.nc")}
    assert 0 < len(kept) < 45
    report = (tmp_path / "run" / "report.html").read_text()
    assert "The last run was interrupted" in report
    assert "Some units are missing" in report or "No results yet" in report
    done = whydeep(*command[3:], cwd=tmp_path)
    assert done.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(tmp_path / "run") == contents(study[0])


def test_any_function_of_x(tmp_path):
    done = whydeep(
        "run",
        "function-fitting",
        "--scale",
        "smoke",
        "--seeds",
        2,
        "--functions",
        "cos",
        "sin(x) / 2",
        "--out",
        "run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert names == {"figure-02", "figure-04", "learning-curves-sin-x-2", "predictions-sin-x-2"}
    assert "no function arcsinh" in done.stdout  # which C1 is about as well


def test_the_default_falls_back_to_digits_and_says_so(tmp_path):
    surroundings = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    done = whydeep(
        "run", "parameter-count", "--scale", "smoke", "--seeds", 1, "--out", "run", cwd=tmp_path, **surroundings
    )
    assert done.returncode == 0, done.stderr
    assert "NOTICE: MNIST was not found and could not be downloaded" in done.stdout
    assert "MNIST was not found" in (tmp_path / "run" / "report.html").read_text()
    asked = whydeep("run", "--dataset", "mnist", "--out", "other", cwd=tmp_path, **surroundings)
    assert asked.returncode == 2
    assert "could not be downloaded" in asked.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("rnu",),
            "no command is called 'rnu': did you mean run? (accepted: run, list, report, claims, verify, data, bench)",
        ),
        (("run", "function-fiting"), "no experiment is called 'function-fiting': did you mean function-fitting?"),
        (
            ("run", "--sede", "3"),
            "no option of run is called --sede: did you mean --seeds",
        ),
        (("run", "--scale", "fast"), "invalid choice 'fast' for argument '--scale'"),
        (("run", "--seeds", "0"), "--seeds must be a whole number from 1 to 10,000, not 0"),
        (("run", "--seeds", "many"), "'many'"),
        (("run", "--functions", "sin(y)"), "'sin(y)' uses 'y'"),
        (("run", "--functions", "log(x)", "--scale", "smoke"), "log(x) is not finite"),
        (("run", "--dataset", "mnits"), "no data set or path is called 'mnits': did you mean mnist"),
        (("run", "--data-dir", "nowhere"), "--data-dir is nowhere, which is not a folder"),
        (("run", "--device", "cuda"), "--device cuda needs a CUDA GPU"),
        (("list", "batchsize"), "no experiment is called 'batchsize': did you mean batch-size?"),
        (("report", "nowhere"), "nowhere holds no whydeep run"),
        (("report",), "report --help"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(list(arguments))
    assert exit.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    done = whydeep("run", "--out", ".", "--fresh", "--dataset", "digits", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds other things and no run of whydeep" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_list_help_and_data(tmp_path):
    listed = whydeep("list", cwd=tmp_path)
    assert "batch-size             E9  Do networks trained" in listed.stdout
    one = whydeep("list", "batch-size", "parameter-count", cwd=tmp_path).stdout
    assert "  C23  Sensitivity falls as the batch size grows.\n       rank correlation of sensitivity" in one
    assert "  jacobian_norm        Frobenius norm" in one
    assert "epochs at least 40" in one
    assert (
        "  batch_size        5,25,125,500,1500  5,25,125,500,1500  5,25,125,500,1500  a list, each a whole number"
        in one
    )
    assert "Variables of results/parameter-count.nc" in one
    assert whydeep("--help", cwd=tmp_path).returncode == 0
    assert "--scale" in whydeep("run", "--help", cwd=tmp_path).stdout
    assert whydeep("--version", cwd=tmp_path).stdout == f"whydeep {__version__}\n"
    data = whydeep("data", cwd=tmp_path)
    assert "embedded in scikit-learn" in data.stdout


def test_a_termination_before_anything_runs_is_an_interruption():
    code = (
        "import os, signal, whydeep.cli as cli; cli._parse = lambda _: os.kill(os.getpid(), signal.SIGTERM); cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("whydeep: interrupted; what was finished is kept")
    assert done.stderr.count("\n") == 1
