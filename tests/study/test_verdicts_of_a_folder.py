"""Verdicts on a run folder as a user asks for them: claims.json, the commands, claims of one's own."""

import html
import json
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toys import TOYS

from whydeep.runs import RunFolder
from whydeep.study import Request, run_study

MINE = """
[[claims]]
id = "mine"
experiment = "walk"
statement = "The distance is < 1 & falls."
reading = "“falls” means < its first value."
variable = "distance"
at = {kind = "wide", time = "last"}
minus = {time = "first"}
high = 0
"""
OURS = """
from whydeep.claims import Claim, Test

CLAIMS = {"walk": [Claim("ours", "It is above -1.", (Test("distance", lambda r: 1 + r.distance.min("time"), low=0),))]}
"""
RUN = ("run", "walk", "--scale", "smoke", "--seeds", 3, "--out", "run")


def content(folder, name):
    """A file of a run as it was before it was sealed."""
    return RunFolder(folder).read(folder / name).decode("utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run of one experiment."""
    folder = tmp_path_factory.mktemp("verdicts") / "run"
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:
        patch.chdir(folder.parent)
        request = Request(("walk",), scale="smoke", seeds=3, out="run")
        assert run_study(request, executor=threads, registry=TOYS).finished == 6
    return folder


@pytest.fixture
def folder(finished, workplace, toys):
    """A copy of the run, where commands may write."""
    shutil.copytree(finished, workplace / "run")
    return workplace / "run"


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
    written = records(finished)
    assert list(written) == ["W1", "W2", "D1"]
    assert [written[name]["verdict"] for name in ("W2", "D1")] == ["preview", "not-run"]
    assert written["D1"]["reason"] == "dice was not run"
    assert [written["D1"][key] for key in ("n", "estimate", "p", "parts")] == [0, None, None, []]
    assert written["D1"]["statistic"]
    assert written["D1"]["rule"]
    decided = written["W1"]
    assert decided["n"] == 3
    assert decided["interval"][0] <= decided["estimate"] <= decided["interval"][1]
    assert 0 <= decided["p"] <= decided["p_adjusted"] <= 1


def test_results_that_do_not_hold_what_a_claim_is_about(folder, whydeep):
    assert whydeep("run", "dice", "--scale", "smoke", "--seeds", 2, "--out", "run")[0] == 0
    assert whydeep(*RUN, "--set", "walk.kind=narrow")[0] == 0
    written = records(folder)
    assert written["W1"]["verdict"] == "preview"
    assert written["W1"]["reason"].startswith(
        "no kind wide: open (it is about kind narrow, wide); decided by: whydeep run"
    )
    assert written["D1"]["n"] == 2  # the other experiment's results are still there


def test_claims_of_old_results_need_no_run(folder, whydeep):
    kept = (folder / "claims.json").read_bytes()
    (folder / "claims.json").unlink()
    shutil.rmtree(folder / "units")
    shutil.rmtree(folder / "figures")
    status, *_ = whydeep("claims", folder)
    assert status == 0
    assert (folder / "claims.json").read_bytes() == kept


def test_a_command_and_python_write_the_same(finished, workplace, toys, whydeep):
    assert whydeep(*RUN)[0] == 0
    for name in ("results/walk.nc", "claims.json", "figures/walks.svg", "sections/walk.json"):
        assert (workplace / "run" / name).read_bytes() == (finished / name).read_bytes()


# -- the command ------------------------------------------------------------------------------------------------------


def test_claims_prints_a_table(folder, whydeep):
    before = files(folder)
    status, out, err = whydeep("claims", folder)
    assert (status, err) == (0, "")
    written = records(folder)
    absent = [name for name, record in written.items() if record["verdict"] == "not-run"]
    assert f"Not run, as the folder has no results of their experiments: {', '.join(absent)}\n" in out
    for name in written.keys() - set(absent):
        (line,) = (line for line in out.splitlines() if line.startswith(f"{name} "))
        assert written[name]["verdict"].upper() in line
        assert line.endswith(written[name]["statement"])
    assert written["W1"]["reason"] in out
    assert written["W2"]["reason"] in out
    assert "n = 3, " in out
    last = out.splitlines()[-1]
    assert last.startswith("3 claims: ")
    assert "1 preview, 1 not-run; 95 % level, p adjusted over those that could be tested (Holm)" in last
    assert [out.count(TOYS[name].heading) for name in TOYS] == [2, 0]  # decided, and previews
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
    command = ["run", "dice", "--scale", "smoke", "--seeds", "2", "--out", "run"]
    whydeep(*command)
    report = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert "The results of walk are of an earlier run, with another scale, other seeds, images or settings" in report
    assert "n = 3, 2 per setting, root seed 0<" in report
    first, second = report.partition("<pre><code>")[2].partition("</code>")[0].splitlines()
    assert first == "whydeep run walk --scale smoke --seeds 3 --out run"
    assert second == shlex.join(["whydeep", *command])


def test_more_seeds_add_to_what_is_there(finished, workplace, toys, whydeep):
    _, out, _ = whydeep(*RUN, "--seeds", 2)
    assert "4 units measured, 0 were there already" in out
    _, out, _ = whydeep(*RUN)
    assert "2 units measured, 4 were there already" in out
    assert (workplace / "run" / "results" / "walk.nc").read_bytes() == (finished / "results" / "walk.nc").read_bytes()


def test_what_makes_room_is_named_and_comes_back(folder, whydeep):
    _, out, _ = whydeep(*RUN, "--seeds", 2)
    assert "walk: the results of 3 seeds (root seed 0) at smoke scale make room for those of this run" in out
    _, out, _ = whydeep(*RUN)
    assert "make room" not in out
    assert "0 units measured, 6 were there already" in out


def test_results_with_other_changes_make_room_and_come_back(folder, whydeep):
    before = (folder / "results" / "walk.nc").read_bytes()
    _, out, _ = whydeep(*RUN, "--set", "walk.factor=3")
    assert "walk: the results of 3 seeds (root seed 0) at smoke scale make room for those of this run" in out
    assert "6 units measured, 0 were there already" in out
    _, out, _ = whydeep(*RUN)
    assert "at smoke scale, with factor=3 make room for those of this run" in out
    assert "0 units measured, 6 were there already" in out
    assert (folder / "results" / "walk.nc").read_bytes() == before


def test_another_root_seed_draws_others_and_keeps_the_first(folder, whydeep):
    first = RunFolder(folder).read_results("walk").load()
    _, out, _ = whydeep(*RUN, "--root-seed", 1)
    assert "walk: the results of 3 seeds (root seed 0) at smoke scale make room for those of this run" in out
    assert "6 units measured, 0 were there already" in out
    second = RunFolder(folder).read_results("walk").load()
    assert not np.isclose(first.distance[..., 0], second.distance[..., 0]).any()
    report = html.unescape((folder / "report.html").read_text(encoding="utf-8"))
    assert "n = 3 seeds per setting (root seed 1)" in report
    assert "--root-seed 1" in report.partition("<pre><code>")[2].partition("</code>")[0]
    _, out, _ = whydeep(*RUN)
    assert "0 units measured, 6 were there already" in out
    status, _, err = whydeep(*RUN, "--root-seed", -1)
    assert (status, err) == (
        2,
        "whydeep: --root-seed must be a whole number from 0 to 9,223,372,036,854,775,807, not -1\n",
    )
    assert first.identical(RunFolder(folder).read_results("walk").load())


def test_claims_prints_json(folder, whydeep):
    status, out, err = whydeep("claims", folder, "--json")
    assert (status, err) == (0, "")
    assert out == content(folder, "claims.json")
    assert len(json.loads(out)["claims"]) == 3


# -- claims of one's own ----------------------------------------------------------------------------------------------


def test_own_claims_are_judged_and_kept(folder, whydeep):
    path = own(folder)
    status, out, err = whydeep("claims", folder, "--claims", path)
    assert (status, err) == (
        0,
        f"whydeep: claims kept in {folder}/own-claims.toml; delete it to leave them out again\n",
    )
    assert "4 claims: " in out
    assert "The distance is < 1 & falls." in out
    mine = records(folder)["mine"]
    assert mine["n"] == 3
    assert mine["statistic"] == "distance at kind wide, time last, minus time first"
    assert mine["source"] == f"{path.name}, claim 1"
    assert content(folder, "own-claims.toml") == MINE
    others = own(folder, MINE.replace('"mine"', '"other"'), "others.toml")
    _, _, err = whydeep("claims", folder, "--claims", others)
    assert err.startswith(f"whydeep: claims kept in {folder}/own-claims.toml in place of others; delete it")
    assert "mine" not in records(folder)
    whydeep("claims", folder, "--claims", path)
    path.unlink()
    status, out, _ = whydeep("claims", folder)  # without the option
    assert status == 0
    assert "4 claims: " in out
    assert records(folder)["mine"]["estimate"] == mine["estimate"]
    status, *_ = whydeep("report", folder)
    assert status == 0
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert '<a href="#claim-mine">mine</a>' in report
    assert 'id="claim-mine"' in report
    assert report.count("The distance is &lt; 1 &amp; falls.") == 2
    assert report.count("“falls” means &lt; its first value.") == 1
    assert "mine" in records(folder)


def test_a_file_that_is_kept_can_be_given_again(folder, whydeep):
    whydeep("claims", folder, "--claims", own(folder))
    status, *_ = whydeep("claims", folder, "--claims", folder / "own-claims.toml")
    assert status == 0
    assert content(folder, "own-claims.toml") == MINE


def test_other_own_claims_take_their_place(folder, whydeep):
    whydeep("claims", folder, "--claims", own(folder))
    status, *_ = whydeep("claims", folder, "--claims", own(folder, MINE.replace('"mine"', '"other"'), "other.toml"))
    assert status == 0
    assert "other" in records(folder)
    assert "mine" not in records(folder)
    assert '"other"' in content(folder, "own-claims.toml")


def test_own_claims_count_in_the_adjustment(folder, whydeep):
    whydeep("claims", folder)
    before = records(folder)["W1"]
    whydeep("claims", folder, "--claims", own(folder))
    after = records(folder)["W1"]
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
    path = own(folder, MINE.replace('"walk"', '"dice"').replace('"distance"', '"sixes"'))
    status, *_ = whydeep("report", folder, "--claims", path)
    assert status == 0
    assert records(folder)["mine"]["verdict"] == "not-run"
    assert 'id="claim-mine"' not in (folder / "report.html").read_text()


def test_a_run_judges_own_claims_too(folder, whydeep):
    status, out, _ = whydeep(*RUN, "--claims", own(folder))
    assert status == 0
    assert "0 units measured, 6 were there already" in out
    assert "4 claims: " in out
    assert "mine" in records(folder)
    assert content(folder, "own-claims.toml") == MINE
    assert 'id="claim-mine"' in (folder / "report.html").read_text()


def test_a_claim_about_longer_training_is_a_preview(folder, whydeep):
    whydeep("claims", folder)
    before = records(folder)["W1"]
    path = own(folder, MINE + "[claims.needs]\nsteps = {least = 100_000_000}\n")
    status, out, _ = whydeep("claims", folder, "--claims", path)
    assert status == 0
    mine = records(folder)["mine"]
    assert (mine["verdict"], mine["p"], mine["needs"]) == ("preview", None, ["steps at least 100,000,000"])
    assert mine["reason"].startswith("at ")
    assert " of 100,000,000 steps: " in mine["reason"]
    assert f"mine  PREVIEW: {mine['statement']}" in out
    assert ", 2 preview, 1 not-run; 95 % level" in out
    assert records(folder)["W1"] == before


# -- mistakes ---------------------------------------------------------------------------------------------------------

MEASURE = (
    "from whydeep.claims import Claim, Test\nCLAIMS = {'walk': [Claim('ours', '', (Test('x', lambda r: %s, low=0),))]}"
)
MISTAKES = {
    "id of a claim of the study": (MINE.replace("mine", "D1"), "more than one claim is called D1: give each an id"),
    "id twice": (MINE + MINE, "more than one claim is called mine: give each an id of its own"),
    "unknown experiment": (
        MINE.replace('"walk"', '"wlak"'),
        "no experiment is called 'wlak': did you mean walk? (accepted: walk, dice)",
    ),
    "unknown variable": (
        MINE.replace('"distance"', '"distances"'),
        "own.toml, claim 1: walk has no variable 'distances': did you mean distance",
    ),
    "unknown label": (MINE.replace('"wide"', '"flat"'), "claim mine: kind has no label 'flat': accepted: narrow, wide"),
    "unknown dimension": (MINE.replace("kind =", "kinds ="), "distance has no dimension 'kinds'"),
    "unknown key": (MINE.replace("high", "hgih"), "own.toml, claim 1: nothing is called 'hgih': did you mean high"),
    "no file": (None, "there is no file of claims at "),
    "no attribute": (MEASURE % "r.nothing", "claim ours: AttributeError: "),
    "no number": (MEASURE % "1 / 0", "claim ours: ZeroDivisionError: division by zero"),
    "no array": (MEASURE % "3.0", "claim ours: its measure must return a DataArray with a dimension seed"),
    "other seeds": (
        MEASURE % "r.distance.isel(seed=[0]).drop_vars('seed')",
        "claim ours: x is of 1 seeds that cannot be matched with those of the results: keep the coordinate seed",
    ),
    "no tests": (
        MEASURE.replace("(Test('x', lambda r: %s, low=0),)", "(lambda r: r.distance,)"),
        "tests of claim ours are a tuple of Test, not ",
    ),
    "needs of letters": (
        MEASURE.replace(",))]", ",), needs={'kind': 'wide'})]") % "r.distance",
        "needs of claim ours are a tuple of Need, not {'kind': 'wide'}",
    ),
    "needs of nothing": (
        MEASURE.replace(",))]", ",), needs=['kind'])]") % "1",
        "needs of claim ours are a tuple of Need, not ['kind']",
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
    "no seeds": (MEASURE % "r.distance.mean('seed')", "claim ours: its measure must return a DataArray with"),
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
    path = own(folder, MINE.replace('"wide"', '"flat"'))
    status, out, err = whydeep(*RUN, "--claims", path)
    assert status == 2
    assert err.splitlines()[-1].startswith("whydeep: claim mine: kind has no label 'flat'")
    assert "3 claims: " in out  # those of the experiments are judged all the same
    assert (folder / "results" / "walk.nc").exists()
    assert set(records(folder)) == {"W1", "W2", "D1"}


@pytest.mark.parametrize("right", ['"walk"', '"distance"'])
def test_a_run_reads_the_claims_before_it_trains(workplace, toys, whydeep, right):
    (workplace / "own.toml").write_text(MINE.replace(right, '"wrong"'))
    status, _, err = whydeep(*RUN, "--claims", "own.toml")
    assert status == 2
    assert "'wrong'" in err
    assert not (workplace / "run").exists()


def test_a_folder_that_is_no_run(tmp_path, whydeep):
    status, _, err = whydeep("claims", tmp_path / "nowhere")
    assert status == 2
    assert "nowhere holds no whydeep run" in err
    assert err.count("\n") == 1
