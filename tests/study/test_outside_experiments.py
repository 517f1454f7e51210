"""Experiments from a user's file: run, resumed, listed, judged, reported, and never passed off as another version."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import xarray as xr

from whydeep.cli import main
from whydeep.errors import SettingError
from whydeep.study import Experiment, Registry
from whydeep.study.files import load_file, source_digest

MINIMAL = """
from dataclasses import dataclass
import numpy as np
from whydeep.study import Experiment, Setting

@dataclass(frozen=True, kw_only=True)
class Walk(Setting):
    steps: int

def settings(plan):
    return [Walk(steps=10)]

def measure(setting, run):
    ends = [stream.numpy().standard_normal(setting.steps).sum() for stream in run.streams("data")]
    return run.dataset({"end": np.array(ends)})

EXPERIMENT = Experiment("walk", "How far does a random walk go?", settings, measure)
"""

WHOLE = """
from dataclasses import dataclass
import numpy as np
from matplotlib.figure import Figure as Drawing
from whydeep.claims import Claim, Need, Selection, Test
from whydeep.report.charts import Curve, Lines, Panel, Rows
from whydeep.report.elements import Figure
from whydeep.study import Design, Each, Experiment, Scaled, Setting, dimension
from whydeep.variables import Variable
from helper import SCALE

DESIGN = Design(kind=Each("narrow", "wide"), steps=Scaled(5, 20, 100), factor=2.0)

@dataclass(frozen=True, kw_only=True)
class Walk(Setting):
    kind: str = dimension()
    steps: int
    factor: float

def settings(plan):
    return (Walk(**values) for values in plan.combinations())

def measure(setting, run):
    factor = SCALE * (setting.factor if setting.kind == "wide" else 1)
    steps = np.stack([stream.numpy().standard_normal(setting.steps) for stream in run.streams("data", shared=True)])
    return run.dataset({"distance": ("time", factor * (1 + np.abs(steps.cumsum(1))))}, time=np.arange(setting.steps))

def by_hand(results):
    def draw():
        drawing = Drawing()
        drawing.subplots().plot(results.distance.mean("seed").sel(kind="wide"))
        return drawing
    return Figure("by-hand", "Drawn by hand", f"n = {results.sizes['seed']}", "A line.", draw)

EXPERIMENT = Experiment(
    "walk",
    "How far does a random walk go?",
    settings,
    measure,
    design=DESIGN,
    variables={"distance": Variable("distance from the start", "step", log=True)},
    claims=(
        Claim(
            "A1",
            "Wide walks go further.",
            (Test("ratio", lambda r: r.distance.sel(kind="wide")[..., -1] / r.distance.sel(kind="narrow")[..., -1], 1.5),),
        ),
        Claim(
            "A2", "Walks go far.", (Test("distance", Selection("distance", at={"time": "last"}), 1),),
            needs=(Need("steps", least=20),),
        ),
    ),
    figures=(
        Lines("walks", "Walks", "Distance", "Look at the end.", "time", Panel((Curve("distance", each="kind"),))),
        by_hand,
    ),
    tables=(Rows("Ends", "kind", ("distance",), select=lambda r: r.isel(time=-1)),),
)
"""


def run(*words, code=0):
    with pytest.raises(SystemExit) as exit:
        main([str(word) for word in words])
    assert exit.value.code == code


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """Modules beside a test's files are forgotten afterwards, as they would be in a process of its own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("helper", "shared_name"):
        sys.modules.pop(name, None)


@pytest.fixture
def walk(tmp_path, monkeypatch, in_this_process):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "code" / "walk.py"
    path.parent.mkdir()
    (path.parent / "helper.py").write_text("SCALE = 1.0\n")
    path.write_text(WHOLE)
    return path


def test_the_least_that_an_experiment_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("walk.py").write_text(MINIMAL)
    run("run", "walk.py", "--seeds", 3, "--out", "out", "--workers", 2)
    assert "3 units measured" in capsys.readouterr().out
    results = xr.load_dataset("out/results/walk.nc", engine="h5netcdf")
    assert results.end.shape == (3,)
    report = Path("out/report.html").read_text()
    assert "How far does a random walk go?" in report
    assert "All variables with one number per seed" in report
    assert "the course report" not in report
    run("list", "walk.py")
    assert "How far" in capsys.readouterr().out


def test_a_whole_experiment_is_run_like_those_of_the_course(walk, capsys):
    run("run", walk, "--seeds", 3, "--out", "out", "--set", "walk.factor=3")
    said = capsys.readouterr().out
    assert "A1  SUPPORTED" in said
    assert "A2  UNDECIDED" in said or "A2  SUPPORTED" in said or "A2  CONTRADICTED" in said
    assert "changed: walk.factor=3" in said
    assert {path.name for path in Path("out/figures").glob("*.svg")} == {"walks.svg", "by-hand.svg"}
    claims = {claim["id"]: claim for claim in json.loads(Path("out/claims.json").read_text())["claims"]}
    assert claims["A1"]["verdict"] == "supported"
    assert claims["A1"]["source"] == ""
    assert claims["A2"]["decided_by"] == ""
    run("run", walk, "--seeds", 3, "--out", "smoke", "--scale", "smoke", "--set", "walk.factor=3")
    claims = {claim["id"]: claim for claim in json.loads(Path("smoke/claims.json").read_text())["claims"]}
    assert claims["A2"]["decided_by"] == "whydeep run code/walk.py --set walk.factor=3 --out smoke"
    capsys.readouterr()
    run("run", walk, "--seeds", 3, "--out", "out", "--set", "walk.factor=3")
    assert "0 units measured, 6 were there already" in capsys.readouterr().out
    run("list", walk)
    listed = capsys.readouterr().out
    assert "factor" in listed
    assert "narrow,wide" in listed
    assert "needs steps at least 20" in listed


def test_without_the_file_what_is_stored_is_kept_and_shown(walk, capsys):
    run("run", walk, "--seeds", 3, "--out", "out")
    report, claims = Path("out/report.html").read_text(), Path("out/claims.json").read_text()
    shutil.move(walk.parent, "elsewhere")
    del sys.modules["helper"]  # as a new process begins
    capsys.readouterr()
    for command in ("report", "claims", "report"):
        run(command, "out")
        said = capsys.readouterr()
        assert "give the Python file after the folder" in said.err
        assert Path("out/claims.json").read_text() == claims
    assert "A1  SUPPORTED" in said.out or command == "report"
    stored = Path("out/report.html").read_text()
    assert "was not given: figures, texts and claims are those that were stored" in stored
    for text in ("Drawn by hand", "Wide walks go further.", "distance from the start", "Ends: geometric mean"):
        assert text in stored
    run("report", "out", "elsewhere/walk.py")
    assert Path("out/report.html").read_text() == report


def test_an_edited_file_is_measured_again(walk, capsys):
    run("run", walk, "--seeds", 2, "--out", "out")
    walk.write_text(WHOLE.replace("1 + np.abs", "2 + np.abs"))
    run("report", "out", walk)
    assert "were measured by another version of its file" in Path("out/report.html").read_text()
    capsys.readouterr()
    run("run", walk, "--seeds", 2, "--out", "out")
    assert "4 units measured, 0 were there already" in capsys.readouterr().out
    (walk.parent / "helper.py").write_text("SCALE = 2.0\n")
    assert source_digest(walk) != ""
    before = xr.load_dataset("out/results/walk.nc", engine="h5netcdf").distance
    sys.modules.pop("helper")  # as a new process begins
    run("run", walk, "--seeds", 2, "--out", "out")
    assert "4 units measured, 0 were there already" in capsys.readouterr().out
    after = xr.load_dataset("out/results/walk.nc", engine="h5netcdf").distance
    assert (after.values == 2 * before.values).all()


def test_user_claims_in_toml_about_an_experiment_from_outside(walk, capsys):
    Path("claims.toml").write_text(
        '[[claims]]\nid = "T1"\nexperiment = "walk"\nstatement = "Walks go far."\nvariable = "distance"\n'
        'at = { time = "last", kind = "wide" }\nlow = 1\n'
    )
    run("run", walk, "--seeds", 3, "--out", "out", "--claims", "claims.toml")
    run("claims", "out")  # without the experiment's file: the claim is computed from the results
    assert "T1" in capsys.readouterr().out


def test_names_that_clash(walk, capsys):
    walk.write_text(WHOLE.replace('"walk",', '"batch-size",'))
    run("run", walk, "--out", "out", code=2)
    assert "two experiments are called batch-size" in capsys.readouterr().err
    walk.write_text(WHOLE.replace('"A1"', '"C21"'))
    run("run", walk, "--out", "out", code=2)
    assert "both have a claim C21" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = (", "is not Python, line 1"),
        ("x = 1", "must define EXPERIMENT"),
        ("EXPERIMENT = 3", "must define EXPERIMENT"),
        ("EXPERIMENTS = []", "must define EXPERIMENT"),
        ("import sys\nsys.exit(0)", "cannot be loaded: SystemExit: 0 (line 2"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero (line 3 of wrong.py)"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def f(): f()\nf()", "RecursionError"),
        (MINIMAL.replace("[Walk(steps=10)]", "1 / 0"), "its settings failed: ZeroDivisionError"),
        (MINIMAL.replace("[Walk(steps=10)]", "[]"), "no settings at quick scale"),
        (MINIMAL.replace("[Walk(steps=10)]", "[3]"), "must be frozen dataclasses"),
        (
            MINIMAL.replace("[Walk(steps=10)]", "[Walk(steps=1), Walk(steps=2)]"),
            "declare the fields that tell them apart",
        ),
        (MINIMAL.replace('"walk"', '"My Walk"'), "lower-case letters, digits and dashes"),
        (MINIMAL.replace("settings, measure)", "settings, lambda setting, run: None)"), "at the top level of its file"),
        (MINIMAL.replace("settings, measure)", "settings, None)"), "measure must be a function"),
    ],
)
def test_wrong_files_are_one_line(tmp_path, monkeypatch, capsys, code, says):
    monkeypatch.chdir(tmp_path)
    Path("wrong.py").write_text(code)
    run("run", "wrong.py", "--out", "out", code=2)
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("None", "must return an xarray.Dataset, not NoneType"),
        ("run.dataset({'end': np.array(['a'] * len(run.seeds))})", "variables must be numbers"),
        ("run.dataset({'end': np.zeros(len(run.seeds) + 1)})", "conflicting sizes"),
    ],
)
def test_a_measurement_that_fails_fails_alone(tmp_path, monkeypatch, capsys, in_this_process, returned, says):
    monkeypatch.chdir(tmp_path)
    Path("walk.py").write_text(MINIMAL.replace('run.dataset({"end": np.array(ends)})', returned))
    run("run", "walk.py", "--seeds", 2, "--out", "out", code=1)
    said = capsys.readouterr()
    assert "FAILED: walk setting" in said.out
    assert says in said.out
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("broken", ["raise ValueError('no')", "return 3"])
def test_figures_that_fail_are_one_line_and_lose_nothing(walk, capsys, broken):
    walk.write_text(WHOLE.replace("    def draw():", f"    {broken}\n    def draw():", 1))
    run("run", walk, "--seeds", 2, "--out", "out", code=2)
    error = capsys.readouterr().err
    assert "walk: " in error
    assert "Traceback" not in error
    walk.write_text(WHOLE)
    run("report", "out", walk)
    assert Path("out/report.html").exists()


def test_a_missing_file_and_a_wrong_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("run", "none.py", code=2)
    assert "there is no file none.py" in capsys.readouterr().err
    run("list", "batch-sise", code=2)
    assert "did you mean batch-size?" in capsys.readouterr().err


def test_modules_of_the_same_name_are_not_confused(tmp_path):
    for name, value in (("first", 1), ("second", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shared_name.py").write_text(f"VALUE = {value}\n")
        (tmp_path / name / "mine.py").write_text("from shared_name import VALUE\n")
    assert load_file(tmp_path / "first" / "mine.py").VALUE == 1
    with pytest.raises(SettingError, match="imports shared_name"):
        load_file(tmp_path / "second" / "mine.py")


@pytest.mark.parametrize("changed", range(4))
def test_modules_beside_a_file_that_changed_are_imported_anew(tmp_path, changed):
    helper, tools = f"helper_{changed}", f"tools_{changed}"  # of no other test of this process
    texts = {
        f"{helper}.py": f"from {tools} import VALUE",
        f"{tools}/__init__.py": "from .inner import VALUE",
        f"{tools}/inner.py": "from .deep import VALUE",
        f"{tools}/deep.py": "VALUE = 1",
        "experiment.py": f"from {helper} import VALUE",
    }
    (tmp_path / tools).mkdir()
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    first = load_file(tmp_path / "experiment.py")
    assert load_file(tmp_path / "experiment.py") is first
    (tmp_path / [*texts][changed]).write_text("VALUE = 1 + 1")
    assert (first.VALUE, load_file(tmp_path / "experiment.py").VALUE) == (1, 2)


def test_a_registry_refuses_what_is_no_experiment():
    with pytest.raises(SettingError, match=r"must be a whydeep\.study\.Experiment"):
        Registry([3])


def test_an_experiment_says_what_is_wrong_with_it():
    with pytest.raises(SettingError, match="claims must be a tuple"):
        Experiment("name", "Why?", lambda plan: [], lambda setting, run: None, claims="C1")


def test_digests_cover_what_a_package_imports(tmp_path):
    package = tmp_path / "mine"
    (package / "inner").mkdir(parents=True)
    files = {
        "mine/__init__.py": "",
        "mine/experiment.py": "from . import near\nfrom mine.inner import deep\nimport os\n",
        "mine/near.py": "from .inner.deeper import X\n",
        "mine/unused.py": "",
        "mine/inner/__init__.py": "",
        "mine/inner/deep.py": "",
        "mine/inner/deeper.py": "X = 1",
    }
    for name, code in files.items():
        (tmp_path / name).write_text(code)
    experiment = package / "experiment.py"
    before = source_digest(experiment)
    (package / "unused.py").write_text("changed = True")
    assert source_digest(experiment) == before
    for name in ("mine/near.py", "mine/inner/deep.py", "mine/inner/deeper.py", "mine/inner/__init__.py"):
        (tmp_path / name).write_text(files[name] + "\nchanged = True")
        assert source_digest(experiment) != before, name
        before = source_digest(experiment)
