import json
import subprocess

import pytest
import xarray

from whydeep.errors import RunError
from whydeep.runs import Failure, Manifest, Outcome, RunFolder, Timing, read_manifest
from whydeep.runs.folder import MANIFESTS
from whydeep.runs.manifest import git_state


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def record(folder, *outcomes, error=None):
    with Manifest(folder, configuration={"scale": "smoke"}, seeds=[0], device="cpu", command=["whydeep"]) as manifest:
        assert read_manifest(folder)["status"] == "running"
        for outcome in outcomes:
            manifest.add(outcome)
        if error:
            raise error
    return read_manifest(folder)


def test_it_says_what_ran_with_what(folder):
    manifest = record(folder, Outcome(finished=1))
    assert manifest["status"] == "finished"
    assert manifest["configuration"] == {"scale": "smoke"}
    assert {"python", "torch", "numpy", "xarray"} <= manifest["versions"].keys()
    assert manifest["start"].endswith("+00:00")
    assert manifest["start"] <= manifest["end"]
    assert manifest["seconds"] >= 0
    assert manifest["history"] == []


def test_status_tells_how_it_ended(folder):
    failure = Failure("toy", "a", (0,), "ValueError: no", "logs/toy-a.txt")
    assert record(folder, Outcome(failures=[failure]))["failures"][0]["message"] == "ValueError: no"
    assert read_manifest(folder)["status"] == "failed"
    assert record(folder, Outcome(interrupted=True), Outcome())["status"] == "interrupted"
    with pytest.raises(KeyboardInterrupt):
        record(folder, error=KeyboardInterrupt())
    assert read_manifest(folder)["status"] == "interrupted"
    with pytest.raises(ZeroDivisionError):
        record(folder, error=ZeroDivisionError())
    assert read_manifest(folder)["status"] == "failed"
    statuses = [run["status"] for run in record(folder)["history"]]
    assert statuses == ["failed", "interrupted", "interrupted", "failed"]


def test_seconds_of_jobs_are_kept_over_runs_and_a_killed_run_counts_as_interrupted(folder):
    record(folder, Outcome(timings=[Timing("toy", "a", (0, 1), 3.0), Timing("toy", "b", (0, 1), 4.0)]))
    folder.write(folder.manifest, folder.read(folder.manifest).replace(b'"finished"', b'"running"'))
    manifest = record(folder, Outcome(timings=[Timing("toy", "b", (0, 1), 5.0)]))
    assert [(job["setting"], job["seconds"]) for job in manifest["jobs"]] == [("a", 3.0), ("b", 5.0)]
    assert manifest["history"][0]["status"] == "interrupted"


def test_a_manifest_of_a_later_version_is_refused(folder):
    folder.manifest.write_text(json.dumps({"whydeep": "9.0", "schema": 99}))
    with pytest.raises(RunError, match=r"written by whydeep 9\.0: install"):
        read_manifest(folder)
    with pytest.raises(RunError, match=r"written by whydeep 9\.0: install"):
        record(folder)


@pytest.mark.parametrize("name", MANIFESTS)
def test_damage_to_a_manifest_loses_nothing(folder, name, caplog):
    before = record(folder, Outcome(timings=[Timing("toy", "a", (0, 1), 3.0)]))
    for content in (b"", b"{", b'{"name": "a web app"}', (folder.path / name).read_bytes().replace(b"smoke", b"smoky")):
        (folder.path / name).write_bytes(content)
        assert read_manifest(folder) == before
        with folder.claim():
            after = record(folder)
        assert after["jobs"] == before["jobs"]
        assert after["history"][:-1] == before["history"]
        assert f"{name} (it is damaged" in caplog.text
        before = after
    assert len(list((folder.path / "damaged").iterdir())) == 4


def test_a_folder_without_any_whole_manifest_is_known_by_its_results(folder):
    record(folder)
    folder.write_results("toy", xarray.Dataset({"a": 1}))
    for name in MANIFESTS:
        (folder.path / name).write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"manifest\.json and manifest\.backup\.json are damaged: run the same command"):
        read_manifest(folder)
    with folder.claim():
        assert record(folder)["status"] == "finished"
    assert folder.read_results("toy").a == 1


def test_git_state_of_tracked_code_only(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert git_state(tmp_path) is None
    code = tmp_path / "__init__.py"
    code.touch()
    git("init")
    assert git_state(tmp_path) is None
    git("add", ".")
    git("commit", "-m", "first")
    state = git_state(tmp_path)
    assert (len(state["commit"]), state["dirty"]) == (40, False)
    code.write_text("changed")
    assert git_state(tmp_path)["dirty"]
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) is None
