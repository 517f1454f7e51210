"""What a user sets, from end to end: the same from a command line, a study file and Python, and said wherever it counts."""

import html
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from whydeep.study import Registry, Request, run_study
from whydeep.study.request import merge_changes, read_study
from whydeep.study.resolve import resolve

SMALL = (
    "batch-size.train_images=100",
    "batch-size.test_images=50",
    "batch-size.sharpness_images=20",
    "batch-size.batch_size=25,50",
)
RUN = ("run", "batch-size", "--scale", "smoke", "--seeds", "2", "--dataset", "digits", "--out", "run")


def set_words(*changes):
    return [word for change in changes for word in ("--set", change)]


def results_of(folder="run", name="batch-size"):
    return xr.load_dataset(Path(folder) / "results" / f"{name}.nc", engine="h5netcdf")


def settings_of(*changes, experiment="batch-size", **options):
    """The settings of a request that is not run."""
    study = resolve(Request((experiment,), scale="smoke", seeds=2, dataset="digits", set=changes, **options))
    return [job.setting for job in study.jobs()]


def digests_of(*changes, experiment="batch-size"):
    study = resolve(Request((experiment,), scale="smoke", seeds=2, dataset="digits", set=changes))
    return [job.digest for job in study.jobs()]


def files(folder, *parts):
    paths = [path for part in parts for path in sorted((Path(folder) / part).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# -- what is set is what is measured --------------------------------------------------------------------------------


TINY = tuple(f"parameter-count.{change}" for change in ("train_images=100", "test_images=50", "hidden=6", "epochs=6"))


def measured(*changes):
    """Setting, digest and final training loss of a network of `TINY`, with changes."""
    words = tuple(f"parameter-count.{change}" for change in changes)
    study = resolve(
        Request(("parameter-count",), scale="smoke", seeds=1, dataset="digits", set=merge_changes(TINY, words))
    )
    (job,) = study.jobs()
    return job.setting, job.digest, job.measure(job.setting, job.seeds, study.context).train_loss.item()


@pytest.mark.parametrize(
    ("before", "change", "field", "value"),
    [
        ((), "epochs=2", "epochs", 2),
        ((), "train_images=90", "train_images", 90),
        ((), "batch_size=20", "batch_size", 20),
        ((), "hidden=7-5", "widths", (64, 7, 5, 10)),
        ((), "activation=tanh", "activation", "tanh"),
        ((), "optimizer=sgd", "optimizer", "sgd"),
        (("optimizer=sgd",), "momentum=0.9", "momentum", 0.9),
        (("weight_decay=0.1",), "optimizer=adamw", "optimizer", "adamw"),
        ((), "learning_rate=0.01", "learning_rate", 0.01),
        ((), "weight_decay=0.1", "weight_decay", 0.1),
        ((), "schedule=step", "schedule", "step"),
        ((), "schedule=cosine", "schedule", "cosine"),
        ((), "schedule=warm-up", "schedule", "warm-up"),
        (("optimizer=sgd",), "clip=0.01", "clip", 0.01),
    ],
)
def test_every_field_reaches_the_setting_the_digest_and_the_numbers(before, change, field, value):
    setting, digest, loss = measured(*before, change)
    assert getattr(setting, field) == value
    _, plain_digest, plain_loss = measured(*before)
    assert digest != plain_digest
    assert np.isfinite(loss)
    assert not np.isclose(loss, plain_loss, rtol=1e-6)


def test_a_list_is_what_the_design_goes_through():
    assert [setting.batch_size for setting in settings_of("batch-size.batch_size=10,100")] == [10, 100]
    (only,) = settings_of("parameter-count.hidden=20-30", experiment="parameter-count")
    assert (only.hidden, only.widths) == ("20-30", (64, 20, 30, 10))
    hidden = [s.hidden for s in settings_of("parameter-count.hidden=9,8-7-6", experiment="parameter-count")]
    assert hidden == ["9", "8-7-6"]


def test_what_is_set_on_another_experiment_changes_nothing():
    study = resolve(
        Request(("batch-size", "parameter-count"), scale="smoke", dataset="digits", set=("parameter-count.epochs=2",))
    )
    plain = resolve(Request(("batch-size",), scale="smoke", dataset="digits"))
    assert [job.digest for job in study.jobs()[:5]] == [job.digest for job in plain.jobs()]
    assert study.changes("batch-size") == {}


@pytest.mark.parametrize("name", Registry.installed())
def test_a_default_that_is_given_is_the_default(name):
    rows = Registry.installed()[name].design.table()
    given = [f"{name}.{field}={smoke}" for field, smoke, *_ in rows]
    assert len(given) > 1
    study = resolve(Request((name,), scale="smoke", dataset="digits", set=tuple(given)))
    assert study.changes(name) == {}
    assert [job.digest for job in study.jobs()] == digests_of(experiment=name)


def test_units_of_other_changes_are_shared_where_the_setting_is_the_same(workplace, whydeep, in_this_process):
    _, out, _ = whydeep(*RUN, *set_words(*SMALL))
    assert "4 units measured, 0 were there already" in out
    _, out, _ = whydeep(*RUN, *set_words(*SMALL[:3], "batch-size.batch_size=50,100"))
    assert "2 units measured, 2 were there already" in out


# -- three ways to ask for it ---------------------------------------------------------------------------------------


def test_command_line_study_file_and_python_write_the_same(workplace, whydeep, in_this_process):
    changes = (
        *SMALL,
        "batch-size.epochs=2",
        "batch-size.optimizer=sgd",
        "batch-size.momentum=0.9",
        "batch-size.hidden=7-5",
    )
    (workplace / "study.toml").write_text(
        'experiments = ["batch-size"]\nscale = "smoke"\nseeds = 2\ndataset = "digits"\nout = "run"\n'
        "[batch-size]\ntrain_images = 100\ntest_images = 50\nsharpness_images = 20\nbatch_size = [25, 50]\n"
        'epochs = 2\noptimizer = "sgd"\nmomentum = 0.9\nhidden = "7-5"\n'
    )
    parts = ("units", "results", "figures", "sections", "claims.json")
    written = []
    for way in ("words", "file", "python", "python with a file"):
        if way == "words":
            assert whydeep(*RUN, *set_words(*changes))[0] == 0
        elif way == "file":
            assert whydeep("run", "--study", "study.toml")[0] == 0
        elif way == "python":
            run_study(Request(("batch-size",), scale="smoke", seeds=2, dataset="digits", out=Path("run"), set=changes))
        else:
            run_study(read_study(Path("study.toml")))
        report = Path("run/report.html").read_text(encoding="utf-8")
        manifest = json.loads(Path("run/manifest.json").read_text())
        folder = Path(way)
        Path("run").rename(folder)
        times = ("Training time", "Started", "<!-- seal")
        lines = [line for line in report.splitlines() if not any(word in line for word in times)]
        written.append((files(folder, *parts), manifest["configuration"], lines))
    for other in written[1:]:
        assert other[0] == written[0][0]
        assert other[1] == written[0][1]
        assert other[2] == written[0][2]


def test_the_command_of_a_study_file_asks_for_the_same_without_it(workplace):
    Path("study.toml").write_text('experiments = ["batch-size"]\nseeds = 2\n[batch-size]\nhidden = [7, 5]\nclip = 1\n')
    request = resolve(Request(study=Path("study.toml"), dataset="digits")).request
    assert request.command == (
        *("whydeep", "run", "batch-size", "--seeds", "2"),
        *("--set", "batch-size.hidden=7,5", "--set", "batch-size.clip=1", "--dataset", "digits"),
    )


# -- where it is said -----------------------------------------------------------------------------------------------


def test_changes_are_said_wherever_results_are(workplace, whydeep, in_this_process):
    changes = (*SMALL, "batch-size.learning_rate=1e-2")
    _, out, _ = whydeep(*RUN, *set_words(*changes))
    assert "changed: batch-size.batch_size=25,50, " in out
    assert "batch-size.learning_rate=0.01" in out
    expected = {"batch_size": "25,50", "train_images": "100", "test_images": "50", "sharpness_images": "20"}
    expected |= {"learning_rate": "0.01"}
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["configuration"]["changes"] == {"batch-size": expected}
    assert json.loads(results_of().attrs["changes"]) == expected
    settings = json.loads(results_of().attrs["settings"])
    assert {setting["learning_rate"] for setting in settings} == {0.01}
    report = html.unescape(Path("run/report.html").read_text(encoding="utf-8"))
    assert "<dt>Changed</dt><dd>batch-size.batch_size = 25,50, " in report
    assert "batch-size.learning_rate = 0.01" in report
    assert "Changed from the design of the study: batch_size = 25,50, " in report
    command = report.partition("<pre><code>")[2].partition("</code>")[0]
    assert "--set batch-size.learning_rate=1e-2" in command
    whydeep("report", "run")
    again = html.unescape(Path("run/report.html").read_text(encoding="utf-8"))
    assert again == report


def test_captions_take_their_numbers_from_the_settings(workplace, whydeep, in_this_process):
    words = ("run", "parameter-count", *RUN[2:])
    small = ("parameter-count.train_images=100", "parameter-count.test_images=50", "parameter-count.hidden=3,4-4,5")
    assert whydeep(*words, *set_words(*small))[0] == 0
    report = html.unescape(Path("run/report.html").read_text(encoding="utf-8"))
    assert "Final loss of 3 networks" in report
    assert "n = 2 seeds" in report


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["batch-size.momentum=0.9"], "momentum 0.9 is for the optimizer sgd"),
        (
            ["batch-size.train_images=2000"],
            "train_images is 2,000, and at most 1,442 images are used: give 1442 or less",
        ),
        (["batch-size.test_images=2000"], "test_images is 2,000, and at most 355 images are used"),
        (["batch-size.batch_size=100,2000"], "batch_size is 2,000, and at most 1,442 images are used"),
        (["batch-size.epoch=2"], "nothing of batch-size is called 'epoch': did you mean epochs?"),
        (["batchsize.epochs=2"], "did you mean batch-size?"),
        (["parameter-count.epochs=2"], "parameter-count"),
        (["batch-size.epochs=0"], "batch-size.epochs is '0', and must be a whole number, 1 or more"),
        (["batch-size.activation=rellu"], "did you mean relu?"),
        (["batch-size.optimizer=lbfgs"], "accepted: adam, adamw, sgd"),
        (["batch-size.hidden=0"], "widths such as 20-30"),
        (["batch-size.learning_rate=fast"], "a number"),
        (["batch-size.epochs=2", "batch-size.epochs=3"], "twice"),
        (["epochs=2"], "EXPERIMENT.FIELD=VALUE"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line(changes, says, workplace, whydeep, in_this_process):
    status, out, err = whydeep(*RUN, *set_words(*changes))
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("whydeep: ")
    assert err.count("\n") == 1
    assert not Path("run").exists()


def test_functions_are_refused_where_nothing_goes_through_them(workplace, whydeep):
    status, out, err = whydeep(*RUN, "--functions", "cos")
    assert (status, out) == (2, "")
    assert err == "whydeep: --functions is given, and no experiment of the run goes through functions: leave it out\n"


@pytest.mark.parametrize("value", ["[7, 5]", "[[7, 5]]", '"7-5"', '"7,5"'])
def test_widths_may_be_written_in_several_ways(value, workplace):
    Path("study.toml").write_text(f"[batch-size]\nhidden = {value}\n")
    study = resolve(Request(("batch-size",), scale="smoke", study=Path("study.toml"), dataset="digits"))
    assert study.changes("batch-size") == {"hidden": "7-5"}
