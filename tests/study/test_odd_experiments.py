"""Experiments from a file that are put together wrongly: a line that says so, and nothing else is lost or shown as it."""

import json
from pathlib import Path

import pytest

MINIMAL = """
from dataclasses import dataclass, field
import numpy as np
from whydeep.claims import Claim, Need, Selection, Test
from whydeep.report.charts import Column, Curve, Lines, Panel, Rows
from whydeep.study import Design, Each, Experiment, Scaled, Setting, dimension
from whydeep.variables import Variable

@dataclass(frozen=True, kw_only=True)
class Walk(Setting):
    kind: str = dimension()
    steps: int

def settings(plan):
    return (Walk(**values) for values in plan.combinations())

def measure(setting, run):
    paths = np.stack([stream.numpy().standard_normal(setting.steps).cumsum() for stream in run.streams("data")])
    return run.dataset({"path": ("time", paths), "end": paths[:, -1]}, time=np.arange(setting.steps))

def walk(name="walk", **options):
    design = options.pop("design", Design(kind=Each("narrow", "wide"), steps=3))
    return Experiment(name, "How far?", *options.pop("functions", (settings, measure)), design=design, **options)

"""
FIGURE = 'Lines("walks", "Walks", "Paths", "Look.", "time", Panel((Curve("path", each="kind"),)))'
NO_LABEL = FIGURE.replace(', each="kind"', "")


@pytest.fixture
def run(workplace, whydeep, in_this_process):
    """Write the file of an experiment, and run a command with it: exit status, and all that it printed."""

    def run(code, *words, file="walk.py", command="run"):
        Path(file).write_text(MINIMAL + code)
        before = [command, file] if command == "run" else [command, "out", file]
        options = ["--out", "out", "--seeds", 2, "--scale", "smoke"] if command == "run" else []
        status, out, err = whydeep(*before, *options, *words)
        assert "Traceback" not in out + err
        return status, out + err

    return run


def assert_refused(run, code, says):
    status, said = run(code)
    assert status == 2
    assert says in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("claims=('L',)", "claims must hold Claim, not 'L'"),
        ("figures=('L',)", "figures must hold Callable, not 'L'"),
        ("variables={'end': 'the end'}", "variables must hold Variable, not 'the end'"),
        ("definitions='x'", "definitions must be a dictionary, and is str"),
        ("title=None", "title must be a text, not None"),
        ("design={'kind': Each('a')}", "design must be a Design, not dict"),
    ],
)
def test_parts_of_another_kind(run, options, says):
    assert_refused(run, f"EXPERIMENT = walk({options})", says)


ODD_SETTINGS = """
@dataclass(frozen=True, kw_only=True)
class Other(Setting):
    {field}

def odd(plan):
    return [{made}]

EXPERIMENT = walk(functions=(odd, measure), design=Design())
"""


@pytest.mark.parametrize(
    ("field", "made", "says"),
    [
        ("size: int = dimension()", "Walk(kind='a', steps=1), Other(size=1)", "the same fields and dimensions"),
        ("size: dict", "Other(size={})", "fields of settings must be numbers, texts or tuples"),
        (
            "size: int = dimension()\n    other: int = 0\n    name = property(lambda self: f'{self.other}')",
            "Other(size=1), Other(size=1, other=2)",
            "two settings lie at the same place",
        ),
    ],
)
def test_settings_that_cannot_be_put_together(run, field, made, says):
    assert_refused(run, ODD_SETTINGS.format(field=field, made=made), says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "return run.dataset({'end': ('kind', np.ones((len(run.seeds), 1)))}, kind=['z'])",
            "the dimension kind, which",
        ),
        ("return run.dataset({}).assign(end=3.0)", "the variable end without the dimension seed"),
        ("return run.dataset({'end': (('seed', 'time'), np.ones((len(run.seeds), 2)))})", "after the seed's"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_measurement_of_another_kind_fails_its_jobs_alone(run, body, says):
    status, said = run(f"def other(setting, run):\n    {body}\n\nEXPERIMENT = walk(functions=(settings, other))")
    assert status == 1
    assert "FAILED: walk narrow" in said
    assert says in said
    assert Path("out/report.html").exists()


def test_units_that_do_not_fit_together(run):
    code = "def other(setting, run):\n    length = 2 if setting.kind == 'wide' else 3\n"
    code += "    return run.dataset({'end': ('time', np.ones((len(run.seeds), length)))})\n\n"
    status, said = run(f"{code}EXPERIMENT = walk(functions=(settings, other))")
    assert status == 2
    assert "walk: its units do not fit together" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("tables=(Rows('Ends', 'kind', ('path',)),)", "walk: table Ends cannot be made: the column 'path' has the"),
        ("tables=(Rows('Ends', 'kind', ('ends',)),)", "the results have no variable 'ends': did you mean end?"),
        (f"figures=({NO_LABEL},)", "the dimension kind beside x = time"),
        (f"figures=({FIGURE.replace('Paths', '{step}')},)", "figure walks cannot be made: no fact is called 'step'"),
        (f"figures=({FIGURE.replace('walks', '../walks')},)", "a figure is called '../walks'"),
        (f"figures=({FIGURE}, {FIGURE})", "a figure called walks, and it has several"),
    ],
)
def test_what_cannot_be_drawn_is_named_and_the_rest_is_written(run, options, says):
    status, said = run(f"EXPERIMENT = walk({options})")
    assert status == 2
    assert says in said
    assert "Incomplete" in Path("out/report.html").read_text()
    assert {path.name for path in Path("out").rglob("*.svg")} <= {"walks.svg"}
    status, again = run(f"EXPERIMENT = walk({options})", command="report")
    assert (status, says in again) == (2, True)


def test_an_older_drawing_is_never_shown_for_a_figure_that_fails(run):
    by_hand = "from whydeep.report.elements import Figure\ndef fails():\n    raise ValueError('no')\n\n"
    run(f"EXPERIMENT = walk(figures=({FIGURE},))")
    assert Path("out/figures/walks.svg").exists()
    status, said = run(f"{by_hand}EXPERIMENT = walk(figures=(lambda r: Figure('walks', 'W', '', '', fails),))")
    assert status == 2
    assert "walk: figure walks failed: ValueError: no (line" in said
    assert not Path("out/figures/walks.svg").exists()
    assert "Not drawn: walks" in Path("out/report.html").read_text()


def test_drawings_that_an_experiment_has_no_more_are_removed(run):
    run(f"EXPERIMENT = walk(figures=({FIGURE},))")
    run(f"EXPERIMENT = walk(figures=({FIGURE.replace('walks', 'paths')},))")
    assert {path.name for path in Path("out/figures").iterdir()} == {"paths.svg", "paths.png"}


def test_a_figure_of_another_experiment_is_never_drawn_over(run, whydeep):
    run(f"EXPERIMENT = walk(figures=({FIGURE},))")
    drawing = Path("out/figures/walks.svg").read_bytes()
    status, said = run(f"EXPERIMENT = walk('stroll', figures=({FIGURE},))", file="stroll.py")
    assert status == 2
    assert "stroll has a figure called walks, and walk has one as well: give one another name" in said
    assert Path("out/figures/walks.svg").read_bytes() == drawing
    assert whydeep("report", "out")[0] == 0
    assert whydeep("claims", "out", "walk.py", "stroll.py")[0] == 0


CLAIM = "claims=(Claim('A1', 'Far.', (Test('end', Selection('end'), {bounds}),)),)"


def records():
    return {record["id"]: record for record in json.loads(Path("out/claims.json").read_text())["claims"]}


def test_a_claim_that_is_called_like_a_stored_one_is_refused(run, whydeep):
    run(f"EXPERIMENT = walk({CLAIM.format(bounds='low=-99')})")
    before = records()["A1"]
    status, said = run(f"EXPERIMENT = walk('stroll', {CLAIM.format(bounds='high=0')})", file="stroll.py")
    assert status == 2
    assert "a claim of walk, which out has results of, is called A1 as well" in said
    assert records()["A1"] == before
    Path("mine.toml").write_text(
        '[[claims]]\nid = "A1"\nexperiment = "walk"\nstatement = "?"\nvariable = "end"\nlow = 0\n'
    )
    status, _, said = whydeep("claims", "out", "--claims", "mine.toml")
    assert status == 2
    assert "is called A1 as well" in said


def test_a_users_claim_is_not_kept_as_one_of_the_experiment(run, whydeep):
    run("EXPERIMENT = walk()")
    Path("mine.toml").write_text(
        '[[claims]]\nid = "M1"\nexperiment = "walk"\nstatement = "?"\nvariable = "end"\nlow = 0\n'
    )
    assert whydeep("claims", "out", "--claims", "mine.toml")[0] == 0
    assert records()["M1"]["by_user"]
    Path("out/own-claims.toml").unlink()
    assert whydeep("claims", "out")[0] == 0
    assert "M1" not in records()


@pytest.mark.parametrize("command", ["report", "claims"])
def test_results_of_another_version_of_the_file_are_told(run, command):
    run("EXPERIMENT = walk()")
    assert "another version" not in run("EXPERIMENT = walk()", command=command)[1]
    status, said = run("EXPERIMENT = walk()\n# edited", command=command)
    assert status == 0
    assert "the results of walk were measured by another version of its file" in said


def test_methods_and_references_are_kept_without_the_file(run, whydeep):
    run("EXPERIMENT = walk(methods=(('Walks', 'by chance'),), references=('K. Pearson (1905)',))")
    assert whydeep("report", "out")[0] == 0
    report = Path("out/report.html").read_text()
    assert "by chance" in report
    assert "K. Pearson (1905)" in report


def test_an_edited_file_is_measured_again_wherever_its_functions_are(run):
    code = "EXPERIMENT = walk(functions=(settings, other))"
    Path("steps.py").write_text(MINIMAL)
    for edit in ("", "# edited"):
        _, said = run(f"from steps import measure as other\n{code}{edit}")
        assert "4 units measured, 0 were there already" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "random-labels.training=wide network", "--set", "random-labels.epochs=3"), "epochs has no effect"),
        (("--set", "critical-points.activation=relu", "--set", "critical-points.smooth_cycles=3"), "no effect"),
        (("--set", "function-fitting.network=deep", "--set", "function-fitting.shallow=2"), "shallow has no effect"),
        (("--functions", "x**2", "--set", "function-fitting.function=cos"), "are both given: give one of them"),
    ],
)
def test_changes_without_effect_are_refused(workplace, whydeep, words, says):
    name = words[-1].partition(".")[0]
    status, _, said = whydeep("run", name, "--scale", "smoke", "--dataset", "digits", *words)
    assert status == 2
    assert says in said


COORDINATES = """
@dataclass(frozen=True, kw_only=True)
class Long(Setting):
    steps: int

    @property
    def coordinates(self):
        return {"length": str(self.steps)}

def odd(plan):
    return [Long(**plan.values)]

NEEDS = Need("steps", least=9), Need("length", labels=("9",))
CLAIMS = (Claim("A1", "Far.", (Test("end", Selection("end"), low=-99),), needs=NEEDS),)
EXPERIMENT = walk(functions=(odd, measure), design=Design(steps=Scaled(3, 9, 9)), claims=CLAIMS)
"""


def test_the_command_that_decides_where_dimensions_are_not_fields(run):
    status, _ = run(COORDINATES)
    assert status == 0
    assert records()["A1"]["verdict"] == "preview"
    assert records()["A1"]["decided_by"] == "whydeep run walk.py --out out"
