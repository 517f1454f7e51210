"""Verdicts on a run folder as a user asks for them: claims.json, the commands, claims of one's own."""

import html
import json
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

import whydeep as whydeep_package
from whydeep.claims import Case, judge
from whydeep.cli import main
from whydeep.experiments import EXPERIMENTS, presentation
from whydeep.experiments.study import Request, run_study
from whydeep.runs import RunFolder, read_manifest

MINE = """
[[claims]]
id = "mine"
experiment = "gradient-norm"
statement = "The gradient is < 1 & falls."
reading = "“falls” means < its first value."
variable = "gradient_norm"
at = {function = "cos", iteration = "last"}
minus = {iteration = "first"}
high = 0
"""
OURS = """
from whydeep.claims import Claim, Test

CLAIMS = {"gradient-norm": [Claim("ours", "It is above -1.", (Test("norm", lambda r: 1 + r.gradient_norm.min("iteration"), low=0),))]}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run of one experiment."""
    folder = tmp_path_factory.mktemp("verdicts") / "run"
    command = ["run", "gradient-norm", "--scale", "smoke", "--seeds", "3", "--workers", "1", "--out", str(folder)]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A copy of the run, where commands may write."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def whydeep(capsys):
    """Run a command, and return its exit status and what it printed."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def own(folder, text=MINE, name="own.toml"):
    path = folder.parent / name
    path.write_text(text)
    return path


def records(folder):
    return {one["id"]: one for one in json.loads((folder / "claims.json").read_text(encoding="utf-8"))["claims"]}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- claims.json ----------------------------------------------------------------------------------------------------


def test_a_run_writes_a_verdict_on_every_claim(finished):
    found = records(finished)
    assert list(found) == [claim.id for experiment in EXPERIMENTS.values() for claim in experiment.claims]
    assert set(found) == {f"C{number}" for number in range(1, 25)}
    about = {claim.id for claim in EXPERIMENTS["gradient-norm"].claims}
    for name, one in found.items():
        assert (one["verdict"] == "not-run") == (name not in about)
        if name not in about:
            assert one["reason"] == f"{one['experiment']} was not run"
            assert (one["n"], one["estimate"], one["p"], one["parts"]) == (0, None, None, [])
            assert one["statistic"]
            assert one["rule"]
        else:
            assert one["n"] == 3
            assert one["interval"][0] < one["estimate"] < one["interval"][1]
            assert 0 < one["p"] <= one["p_adjusted"] <= 1


def test_results_that_do_not_hold_what_a_claim_is_about(folder, whydeep):
    status, *_ = whydeep(
        "run",
        "function-fitting",
        "--scale",
        "smoke",
        "--seeds",
        "2",
        "--functions",
        "cos",
        "--workers",
        "1",
        "--out",
        folder,
    )
    assert status == 0
    found = records(folder)
    assert found["C1"]["verdict"] == "not-run"
    assert found["C1"]["reason"].startswith("the results do not hold what it is about: function ")
    assert found["C4"]["verdict"] != "not-run"
    assert found["C11"]["n"] == 3  # the other experiment's results are still there


def test_claims_of_old_results_need_no_run(folder, whydeep):
    kept = (folder / "claims.json").read_bytes()
    (folder / "claims.json").unlink()
    shutil.rmtree(folder / "units")
    shutil.rmtree(folder / "figures")
    status, *_ = whydeep("claims", folder)
    assert status == 0
    assert (folder / "claims.json").read_bytes() == kept


def test_another_executor_measures_the_same(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = Request(("gradient-norm",), scale="smoke", seeds=3, out=tmp_path / "run")
    with ThreadPoolExecutor(1) as threads:
        assert run_study(request, executor=threads).finished == 3
    result = "results/gradient-norm.nc"
    assert (tmp_path / "run" / result).read_bytes() == (finished / result).read_bytes()


# -- the command ------------------------------------------------------------------------------------------------------


def test_claims_prints_a_table(folder, whydeep):
    before = files(folder)
    status, out, err = whydeep("claims", folder)
    assert (status, err) == (0, "")
    found = records(folder)
    for name, one in found.items():
        (line,) = (line for line in out.splitlines() if line.startswith(f"{name} "))
        assert one["verdict"].upper() in line
        assert line.endswith(one["statement"])
    assert found["C11"]["reason"] in out
    assert "n = 3, p " in out
    last = out.splitlines()[-1]
    assert last.startswith("24 claims: ")
    assert "23 not-run; 95 % level, p adjusted over those that could be tested (Holm)" in last
    for experiment in EXPERIMENTS.values():
        assert out.count(experiment.title) == 1
    assert files(folder) == before


def test_the_report_has_the_verdicts_that_claims_prints(folder, whydeep):
    (folder.parent / "mine.toml").write_text(MINE)
    assert 'href="#claim-mine"' not in (folder / "report.html").read_text(encoding="utf-8")
    whydeep("claims", folder, "--claims", "mine.toml")
    assert 'href="#claim-mine"' in (folder / "report.html").read_text(encoding="utf-8")
    (folder / "report.html").unlink()
    whydeep("claims", folder)
    assert not (folder / "report.html").exists()  # which was not asked for


def test_a_folder_of_unlike_runs_says_so_and_how_to_repeat_each(folder, whydeep):
    command = ["run", "weight-trajectories", "--scale", "smoke", "--seeds", "2", "--out", "run", "--workers", "1"]
    whydeep(*command)
    report = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert "The results of gradient-norm are of an earlier run, with another scale, other seeds or images" in report
    assert "n = 2, 3 per setting, root seed 0<" in report
    first, second = report.partition("<pre><code>")[2].partition("</code>")[0].splitlines()
    assert first.startswith("whydeep run gradient-norm --scale smoke --seeds 3 --out ")
    assert second == shlex.join(["whydeep", *command])
    assert " At smoke scale networks" in report


def test_what_makes_room_is_named_and_comes_back(folder, whydeep):
    run = ["run", "gradient-norm", "--scale", "smoke", "--workers", "1", "--out", "run", "--seeds"]
    _, out, _ = whydeep(*run, "2")
    assert "gradient-norm: the results of 3 seeds (root seed 0) at smoke scale make room for those of this run" in out
    _, out, _ = whydeep(*run, "3")
    assert "make room" not in out
    assert "0 units measured, 3 were there already" in out


def test_another_root_seed_draws_other_networks_and_keeps_the_first(folder, whydeep):
    first = RunFolder(folder).read_results("gradient-norm").load()
    run = ["run", "gradient-norm", "--scale", "smoke", "--workers", "1", "--out", "run", "--seeds", "3"]
    _, out, _ = whydeep(*run, "--root-seed", "1")
    assert "gradient-norm: the results of 3 seeds (root seed 0) at smoke scale make room for those of this run" in out
    assert "3 units measured, 0 were there already" in out
    second = RunFolder(folder).read_results("gradient-norm").load()
    assert not np.isclose(first.loss[..., 0], second.loss[..., 0]).all()
    report = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert "n = 3 seeds per setting (root seed 1)" in report
    assert "--root-seed 1" in report.partition("<pre><code>")[2].partition("</code>")[0]
    _, out, _ = whydeep(*run)
    assert "0 units measured, 3 were there already" in out
    status, _, err = whydeep(*run, "--root-seed", "-1")
    assert (status, err) == (2, "whydeep: --root-seed must be from 0 to 2**63 - 1, not -1\n")
    assert first.identical(RunFolder(folder).read_results("gradient-norm").load())


def test_the_report_names_the_code_that_ran_and_the_code_that_judged(folder, monkeypatch):
    manifest = read_manifest(folder := RunFolder(folder)) | {
        "whydeep": "9.9",
        "git": {"commit": "a" * 40, "dirty": True},
    }
    monkeypatch.setattr(presentation, "git_state", lambda _: {"commit": "b" * 40, "dirty": False})
    code = dict(presentation._environment(manifest))["Code"]
    assert code == (
        f"last run with whydeep 9.9, commit {'a' * 40} with changes that are not committed; "
        f"judged and written with whydeep {whydeep_package.__version__}, commit {'b' * 40}"
    )
    same = manifest | {"whydeep": whydeep_package.__version__, "git": {"commit": "b" * 40, "dirty": False}}
    assert "judged" not in dict(presentation._environment(same))["Code"]


@pytest.mark.parametrize(
    ("configuration", "earlier"),
    [
        ({}, []),
        ({"scale": "full"}, ["here", "there"]),
        ({"seeds": 5}, ["here", "there"]),
        ({"root_seed": 1}, ["here", "there"]),
        ({"dataset": "mine"}, ["there"]),
        ({"dataset_origin": "folder b"}, ["there"]),
        ({"dataset": None, "dataset_origin": None}, ["there"]),
    ],
)
def test_results_of_earlier_runs_are_named(configuration, earlier):
    attributes = {"scale": "quick", "root_seed": 0, "dataset": "", "dataset_origin": ""}
    seeds = {"seed": [0, 1]}
    there = {
        "here": xr.Dataset(coords=seeds, attrs=attributes),
        "there": xr.Dataset(coords=seeds, attrs=attributes | {"dataset": "images", "dataset_origin": "folder a"}),
    }
    last = {"scale": "quick", "seeds": 2, "root_seed": 0, "dataset": "images", "dataset_origin": "folder a"}
    assert presentation._from_earlier_runs(there, last | configuration) == earlier


def test_scales_are_told_apart():
    there = {
        name: xr.Dataset(attrs={"scale": scale}) for name, scale in (("a", "smoke"), ("b", "quick"), ("c", "full"))
    }
    note = presentation._verdicts_note([], there)
    assert " At smoke scale (a) networks have hardly been trained" in note
    assert " At quick scale (b) there are fewer epochs" in note
    assert "(c)" not in note


def test_claims_that_are_not_judged_say_why():
    results = xr.Dataset(coords={"function": ["cos"], "seed": [0, 1]}, attrs={"scale": "full"})
    cases = [Case("function-fitting", claim, results) for claim in EXPERIMENTS["function-fitting"].claims[:3]]
    judged = [*judge(cases), *judge([Case("batch-size", EXPERIMENTS["batch-size"].claims[0], None)])]
    note = presentation._verdicts_note(judged, {"function-fitting": results})
    assert " C1, C2: not judged, as the results do not hold what it is about: function arcsinh, cos." in note
    assert " C3: not judged, as " in note
    assert " Claims about experiments that were not run: 1." in note


def test_the_last_of_equal_commands_is_repeated():
    runs = [{"command": ["whydeep", "run", "--seeds", str(seeds)]} for seeds in (2, 3, 2)]
    results = {"scale": "smoke", "root_seed": 0, "dataset": "", "dataset_origin": ""}
    there = {"a": xr.Dataset(coords={"seed": [0, 1]}, attrs=results)}
    configuration = results | {"experiments": ["b"], "seeds": 2, "dataset": None, "dataset_origin": None}
    manifest = runs[2] | {"history": runs[:2], "configuration": configuration}
    assert presentation._command(there, manifest).splitlines() == ["whydeep run --seeds 3", "whydeep run --seeds 2"]
    alone = manifest | {"configuration": configuration | {"experiments": ["a"]}}
    assert presentation._command(there, alone) == "whydeep run --seeds 2"


def test_labels_of_any_number_can_be_written():
    functions = [f"x**{power}" for power in range(20)]
    results = xr.Dataset(coords={"function": functions, "epoch": range(1, 81), "alpha": [0.5, 1.0]})
    results["loss"] = ("place", [1.0])  # without labels
    assert presentation._labels(results) == f"function: {', '.join(functions)}; epoch: 1 to 80; alpha: 0.5, 1.0"


def test_settings_begin_with_what_tells_them_apart_and_numbers_are_on_the_right():
    results = xr.Dataset(coords={"network": ["a", "b"]})
    rows = [
        {"widths": [2, 3, 1], "epochs": 5, "rate": 0.1, "network": "a"},
        {"widths": [2, 1, 1], "epochs": 1000, "rate": 0.1, "network": "b"},
    ]
    sentence, table = presentation._settings("E0. Test", rows, results)
    assert sentence == "All settings: rate 0.1."
    assert table.header == ("network", "widths", "epochs", "parameters")
    assert table.rows == (("a", "2-3-1", "5", "13"), ("b", "2-1-1", "1,000", "5"))
    assert table.numeric == (2, 3)


def test_claims_prints_json(folder, whydeep):
    status, out, err = whydeep("claims", folder, "--json")
    assert (status, err) == (0, "")
    assert out == (folder / "claims.json").read_text(encoding="utf-8")
    assert len(json.loads(out)["claims"]) == 24


# -- claims of one's own ----------------------------------------------------------------------------------------------


def test_own_claims_are_judged_and_kept(folder, whydeep):
    path = own(folder)
    status, out, err = whydeep("claims", folder, "--claims", path)
    assert (status, err) == (
        0,
        f"whydeep: claims kept in {folder}/own-claims.toml; delete it to leave them out again\n",
    )
    assert "25 claims: " in out
    assert "The gradient is < 1 & falls." in out
    mine = records(folder)["mine"]
    assert mine["n"] == 3
    assert mine["statistic"] == "gradient_norm at function cos, iteration last, minus iteration first"
    assert mine["source"] == f"{path.name}, claim 1"
    assert (folder / "own-claims.toml").read_text() == MINE
    others = own(folder, MINE.replace('"mine"', '"other"'), "others.toml")
    _, _, err = whydeep("claims", folder, "--claims", others)
    assert err.startswith(f"whydeep: claims kept in {folder}/own-claims.toml in place of others; delete it")
    assert "mine" not in records(folder)
    whydeep("claims", folder, "--claims", path)
    path.unlink()
    status, out, _ = whydeep("claims", folder)  # without the option
    assert status == 0
    assert "25 claims: " in out
    assert records(folder)["mine"]["estimate"] == mine["estimate"]
    status, *_ = whydeep("report", folder)
    assert status == 0
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert '<a href="#claim-mine">mine</a>' in report
    assert 'id="claim-mine"' in report
    assert report.count("The gradient is &lt; 1 &amp; falls.") == 2
    assert report.count("“falls” means &lt; its first value.") == 1
    assert "mine" in records(folder)


def test_a_file_that_is_kept_can_be_given_again(folder, whydeep):
    whydeep("claims", folder, "--claims", own(folder))
    status, *_ = whydeep("claims", folder, "--claims", folder / "own-claims.toml")
    assert status == 0
    assert (folder / "own-claims.toml").read_text() == MINE


def test_other_own_claims_take_their_place(folder, whydeep):
    whydeep("claims", folder, "--claims", own(folder))
    status, *_ = whydeep("claims", folder, "--claims", own(folder, MINE.replace('"mine"', '"other"'), "other.toml"))
    assert status == 0
    assert "other" in records(folder)
    assert "mine" not in records(folder)
    assert '"other"' in (folder / "own-claims.toml").read_text()


def test_own_claims_count_in_the_adjustment(folder, whydeep):
    whydeep("claims", folder)
    before = records(folder)["C11"]
    whydeep("claims", folder, "--claims", own(folder))
    after = records(folder)["C11"]
    assert after["p"] == before["p"] == before["p_adjusted"]
    assert after["p_adjusted"] >= before["p_adjusted"]


def test_claims_in_python_are_judged_and_not_kept(folder, whydeep):
    path = own(folder, OURS, "own.py")
    status, out, _ = whydeep("claims", folder, "--claims", path)
    assert status == 0
    assert "ours  SUPPORTED" in out
    assert records(folder)["ours"]["verdict"] == "supported"
    assert not [one for one in folder.iterdir() if one.name.startswith("own")]
    status, *_ = whydeep("report", folder, "--claims", path)
    assert status == 0
    assert 'id="claim-ours"' in (folder / "report.html").read_text()
    whydeep("claims", folder)
    assert "ours" not in records(folder)


def test_an_own_claim_about_an_experiment_that_was_not_run(folder, whydeep):
    path = own(folder, MINE.replace("gradient-norm", "batch-size").replace("gradient_norm", "sensitivity"))
    status, *_ = whydeep("report", folder, "--claims", path)
    assert status == 0
    assert records(folder)["mine"]["verdict"] == "not-run"
    assert 'id="claim-mine"' not in (folder / "report.html").read_text()


def test_a_run_judges_own_claims_too(folder, whydeep):
    status, out, _ = whydeep(
        "run",
        "gradient-norm",
        "--scale",
        "smoke",
        "--seeds",
        "3",
        "--workers",
        "1",
        "--out",
        folder,
        "--claims",
        own(folder),
    )
    assert status == 0
    assert "0 units measured, 3 were there already" in out
    assert "25 claims: " in out
    assert "mine" in records(folder)
    assert (folder / "own-claims.toml").read_text() == MINE
    assert 'id="claim-mine"' in (folder / "report.html").read_text()


def test_a_claim_about_longer_training_is_a_preview(folder, whydeep):
    whydeep("claims", folder)
    before = records(folder)["C11"]
    path = own(folder, MINE + "[claims.needs]\niterations = {least = 100_000_000}\n")
    status, out, _ = whydeep("claims", folder, "--claims", path)
    assert status == 0
    mine = records(folder)["mine"]
    assert (mine["verdict"], mine["p"], mine["needs"]) == ("preview", None, ["iterations at least 100,000,000"])
    assert mine["reason"].startswith("at ")
    assert " of 100,000,000 iterations: " in mine["reason"]
    assert f"mine  PREVIEW: {mine['statement']}" in out
    assert ", 1 preview, 23 not-run; 95 % level" in out
    assert records(folder)["C11"] == before


# -- mistakes ---------------------------------------------------------------------------------------------------------

MEASURE = "from whydeep.claims import Claim, Test\nCLAIMS = {'gradient-norm': [Claim('ours', '', (Test('x', lambda r: %s, low=0),))]}"
MISTAKES = {
    "id of a claim of the study": (MINE.replace("mine", "C5"), "more than one claim is called C5: give each an id"),
    "id twice": (MINE + MINE, "more than one claim is called mine: give each an id of its own"),
    "unknown experiment": (
        MINE.replace("gradient-norm", "gradient-nrm"),
        "no experiment is called 'gradient-nrm': did you mean gradient-norm? (accepted: function-fitting, ",
    ),
    "unknown variable": (
        MINE.replace("gradient_norm", "gradient"),
        "own.toml, claim 1: gradient-norm has no variable 'gradient': did you mean gradient_norm",
    ),
    "unknown label": (MINE.replace('"cos"', '"sin"'), "claim mine: function has no label 'sin': accepted: cos"),
    "unknown dimension": (MINE.replace("function =", "functions ="), "gradient_norm has no dimension 'functions'"),
    "unknown key": (MINE.replace("high", "hgih"), "own.toml, claim 1: nothing is called 'hgih': did you mean high"),
    "no file": (None, "there is no file of claims at "),
    "no attribute": (MEASURE % "r.nothing", "claim ours: AttributeError: "),
    "no number": (MEASURE % "1 / 0", "claim ours: ZeroDivisionError: division by zero"),
    "no array": (MEASURE % "3.0", "claim ours: its measure must return a DataArray with a dimension seed"),
    "other seeds": (
        MEASURE % "r.gradient_norm.isel(seed=[0]).drop_vars('seed')",
        "claim ours: x is of 1 seeds that cannot be matched with those of the results: keep the coordinate seed",
    ),
    "no tests": (
        MEASURE.replace("(Test('x', lambda r: %s, low=0),)", "(lambda r: r.gradient_norm,)"),
        "tests of claim ours are a tuple of Test, not ",
    ),
    "needs of letters": (
        MEASURE.replace(",))]", ",), needs={'function': 'cos'})]") % "r.gradient_norm",
        "needs of claim ours are a tuple of Need, not {'function': 'cos'}",
    ),
    "needs of nothing": (
        MEASURE.replace(",))]", ",), needs=['function'])]") % "1",
        "needs of claim ours are a tuple of Need, not ['function']",
    ),
    "limits": (MEASURE.replace("low=0", "low=0, limits=5") % "1", "limits are the least and the largest value"),
    "statement": (MEASURE.replace("''", "5") % "1", "a claim needs an id and a statement in words, not 'ours', 5"),
    "reading": (
        MEASURE.replace(",))]", ",), reading=5)]") % "1",
        "source and reading of claim ours are texts, not '', 5",
    ),
    "measure": (
        MEASURE.replace("lambda r: %s", "5"),
        "a test needs a statistic in words and a function that measures it",
    ),
    "no seeds": (MEASURE % "r.gradient_norm.mean('seed')", "claim ours: its measure must return a DataArray with"),
}


@pytest.mark.parametrize("command", ["claims", "report"])
@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_loses_nothing(folder, whydeep, command, text, message):
    name = "own.py" if text and text.startswith("from") else "own.toml"
    path = own(folder, text, name) if text else folder.parent / name
    before = files(folder)
    status, out, err = whydeep(command, folder, "--claims", path)
    assert status == 2
    assert out == ""
    assert err.startswith("whydeep: ")
    assert message in err
    assert err.count("\n") == 1
    assert files(folder) == before


def test_a_run_with_a_claim_that_fails_keeps_its_results(folder, whydeep):
    shutil.rmtree(folder / "results")
    path = own(folder, MINE.replace('"cos"', '"sin"'))
    status, out, err = whydeep(
        "run", "gradient-norm", "--scale", "smoke", "--seeds", "3", "--workers", "1", "--out", folder, "--claims", path
    )
    assert status == 2
    assert err.splitlines()[-1].startswith("whydeep: claim mine: function has no label 'sin'")
    assert "24 claims: " in out  # those of the study are judged all the same
    assert (folder / "results" / "gradient-norm.nc").exists()
    assert set(records(folder)) == {f"C{number}" for number in range(1, 25)}


@pytest.mark.parametrize("right", ["gradient-norm", "gradient_norm"])
def test_a_run_reads_the_claims_before_it_trains(tmp_path, whydeep, monkeypatch, right):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(MINE.replace(right, f"{right[:9]}nrm"))
    status, _, err = whydeep("run", "gradient-norm", "--scale", "smoke", "--out", "run", "--claims", "own.toml")
    assert status == 2
    assert f"{right[:9]}nrm'" in err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run(tmp_path, whydeep):
    status, _, err = whydeep("claims", tmp_path / "nowhere")
    assert status == 2
    assert "nowhere holds no whydeep run" in err
    assert err.count("\n") == 1
