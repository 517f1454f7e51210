"""What the operating system refuses to a run: one line says so, what was finished is kept, and the next run goes on."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest
from test_odd_experiments import FIGURE, MINIMAL

from whydeep.runs import folder as run_folder
from whydeep.runs.atomic import write_atomically

CLAIM = "claims=(Claim('A1', 'Far.', (Test('end', Selection('end'), low=-99),)),)"
CODE = f"{MINIMAL}EXPERIMENT = walk({CLAIM}, figures=({FIGURE},))\n"
RUN = ("run", "walk.py", "--scale", "smoke", "--seeds", "2", "--out", "out")


@pytest.fixture
def walk(workplace, whydeep, in_this_process):
    """The file of an experiment, and commands that use it: exit status, what is printed, and lines of errors."""
    Path("walk.py").write_text(CODE)

    def walk(*words):
        status, out, err = whydeep(*words)
        lines = err.splitlines()
        assert "Traceback" not in out + err
        assert all(line.startswith("whydeep: ") and len(line) < 520 for line in lines)
        return status, out, lines

    return walk


def contents(out="out"):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and not path.name.startswith((".", "manifest"))
    }


def refuse(monkeypatch, part, number):
    """Have files be refused whose path in the folder begins with a part of it."""

    def write(path, data):
        if path.as_posix().startswith(f"out/{part}"):
            raise OSError(number, os.strerror(number), str(path))
        write_atomically(path, data)

    monkeypatch.setattr(run_folder, "write_atomically", write)


PARTS = ("manifest.json", "units", "results", "figures", "sections", "claims.json", "report.html")


REFUSALS = [*zip(PARTS, cycle([errno.ENOSPC, errno.EIO, errno.EDQUOT]), strict=False)]


@pytest.mark.parametrize(("part", "number"), REFUSALS)
def test_what_cannot_be_written_is_one_line_and_the_rest_is_kept(walk, monkeypatch, part, number):
    with monkeypatch.context() as refusing:
        refuse(refusing, part, number)
        status, out, lines = walk(*RUN)
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith(f"whydeep: out/{part}")
    assert f"({os.strerror(number)}): mend that, and give the same command again" in lines[0]
    if PARTS.index(part) > PARTS.index("results"):
        assert "A1  SUPPORTED" in out  # verdicts are printed whatever can be written
        assert "4 units measured" in out
    kept = {name for name in contents() if name.startswith("units")}
    assert len(kept) == (4 if PARTS.index(part) > 1 else 0)
    status, out, lines = walk(*RUN)
    assert (status, lines) == (0, [])
    assert f"{len(kept)} were there already" in out
    assert {"results/walk.nc", "figures/walks.svg", "claims.json", "report.html"} <= contents().keys()


def test_units_before_a_full_disk_are_kept(walk, monkeypatch):
    with monkeypatch.context() as refusing:
        refuse(refusing, "units/walk/wide", errno.ENOSPC)
        status, _, lines = walk(*RUN)
    assert (status, len(lines)) == (1, 1)
    assert len(list(Path("out").rglob("seed-*.nc"))) == 2
    assert json.loads(Path("out/manifest.json").read_text())["status"] == "failed"
    assert "2 were there already" in walk(*RUN)[1]


def test_a_log_that_cannot_be_written_takes_nothing_else_along(walk):
    Path("walk.py").write_text(
        CODE.replace("def walk(", "def fails(setting, run):\n    raise ValueError('no')\n\ndef walk(").replace(
            "(settings, measure)", "(settings, fails)"
        )
    )
    original = Path.mkdir

    def mkdir(self, *arguments, **options):
        if self.name == "logs":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as refusing:
        refusing.setattr(Path, "mkdir", mkdir)
        status, out, lines = walk(*RUN)
    assert status == 1
    assert "FAILED: walk narrow, seeds (0,): ValueError: no (and its traceback can't be written: No space left" in out
    assert len(lines) == out.count("FAILED") > 0


@contextmanager
def files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [10, 6_000, 12_000])
def test_a_limit_of_the_system_on_files(walk, size):
    with files_of_at_most(size):
        status, _, lines = walk(*RUN)
    assert status in (1, 2)
    assert lines
    assert "File too large" in lines[-1] or "failed" in lines[0]
    assert walk(*RUN)[0] == 0
    assert "report.html" in contents()


def can_mount(folder, *options):
    return os.geteuid() == 0 and subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(workplace, request):
    folder = Path("disk")
    folder.mkdir()
    if not can_mount(folder, "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs"):
        pytest.skip("making a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("small_disk", [16, 40, 100], indirect=True)
def test_a_small_disk(walk, small_disk):
    run = (*RUN[:-1], "disk/out")
    status, _, lines = walk(*run)
    assert status in (1, 2)
    assert len(lines) == 1
    assert "(No space left on device)" in lines[0]
    kept = len(list(small_disk.rglob("seed-*.nc")))
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    status, out, lines = walk(*run)
    assert (status, lines) == (0, [])
    assert f"{kept} were there already" in out


@pytest.fixture
def read_only(walk, monkeypatch):
    """A folder of a run that can't be written: for root by a mount, else by its permissions."""
    assert walk(*RUN)[0] == 0
    Path("out").rename("ro")
    folders = [path for path in [Path("ro"), *Path("ro").rglob("*")] if path.is_dir()]
    mounted = can_mount("ro", "--bind", "ro")
    if mounted:
        subprocess.run(["mount", "-o", "remount,ro,bind", "ro"], check=True)
    elif os.geteuid() == 0:
        pytest.skip("root may write everywhere, and may not mount here")
    for folder in [] if mounted else folders:
        folder.chmod(0o555)
    yield
    for folder in [] if mounted else folders:
        folder.chmod(0o755)
    if mounted:
        subprocess.run(["umount", "ro"], check=True)


def test_an_archived_run_is_judged_and_not_written(walk, read_only):
    before = contents("ro")
    status, out, lines = walk("claims", "ro", "walk.py")
    assert status == 0
    assert "A1  SUPPORTED" in out
    assert len(lines) == 1
    assert lines[0].startswith("whydeep: the verdicts are printed, and not kept: ro/claims.json can't be written (")
    status, out, lines = walk("claims", "ro", "walk.py", "--json")
    assert status == 0
    assert {record["id"] for record in json.loads(out)["claims"]} >= {"A1"}
    assert len(lines) == 1
    status, out, lines = walk("report", "ro", "walk.py")
    assert (status, out, len(lines)) == (2, "", 1)
    assert "ro can't be written (" in lines[0]
    for out_folder in ("ro", "ro/new"):
        status, out, lines = walk(*RUN[:-1], out_folder)
        assert (status, len(lines)) == (2, 1)
        assert f"{out_folder} can't be written (" in lines[0]
        assert "measured" not in out
    assert contents("ro") == before


VANISHES = """
def vanishes(setting, run):
    import os, pathlib, shutil
    {action}
    return measure(setting, run)

EXPERIMENT = walk(functions=(settings, vanishes))
"""


@pytest.mark.parametrize(
    "action",
    [
        "shutil.rmtree('out')",
        "os.rename('out', 'elsewhere')",
        "os.rename('out', 'elsewhere'); os.mkdir('out')",
        "os.rename('out', 'elsewhere'); shutil.copytree('elsewhere', 'out'); pathlib.Path('out/.lock').write_text('1')",
    ],
    ids=["deleted", "moved", "replaced", "another run's"],
)
def test_a_folder_that_is_gone_ends_the_run_and_is_not_made_again(walk, action):
    Path("walk.py").write_text(MINIMAL + VANISHES.format(action=f"if os.path.exists('out'): {action}"))
    began = time.monotonic()
    status, out, lines = walk(*RUN)
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith("whydeep: out was deleted, moved or replaced while it was in use, and nothing more is")
    assert not list(Path().glob("out/units/**/*.nc"))
    assert not list(Path().glob("out/report.html"))
    if "mkdir" in action or "lock" in action:
        shutil.rmtree("out")
    assert not Path("out").exists()
    assert "report" not in out
    assert time.monotonic() - began < 20


def test_a_folder_of_results_that_cannot_be_read_is_not_taken_for_an_empty_one(walk, monkeypatch):
    assert walk(*RUN)[0] == 0
    scandir = os.scandir

    def refused(path="."):
        if Path(path).name == "results":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    status, out, lines = walk("claims", "out", "walk.py")
    assert (status, out, len(lines)) == (2, "", 1)
    assert "out/results can't be read (Permission denied)" in lines[0]


ODD_NAMES = ["läufe", "out $5 $x$ <b>&amp;", "-out", "a  b", "x\ny\x1b[31m", "new/er/folder", "'quoted\"", "ou\udcfft"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_folders(walk, name):
    Path("walk.py").write_text(f"{MINIMAL}EXPERIMENT = walk({CLAIM})\n")
    status, out, lines = walk(*RUN[:-2], f"--out={name}")
    assert (status, lines) == (0, [])
    assert {"results/walk.nc", "claims.json", "report.html"} <= contents(name).keys()
    assert "\x1b" not in out
    status, out, lines = walk("report", f"./{name}")
    assert (status, out.count("\n")) == (0, 1)
    assert walk("claims", f"./{name}", "--json")[0] == 0
    json.loads(Path(name, "claims.json").read_bytes())


@pytest.mark.parametrize(
    "words",
    [("--out", "{}"), ("--claims", "{}.toml"), ("--dataset", "{}"), ("--study", "{}.toml")],
)
def test_names_that_are_too_long(walk, words):
    words = [word.format("a" * 300) for word in words]
    status, _, lines = walk("run", "walk.py", "--scale", "smoke", *words)
    assert (status, len(lines)) == (2, 1)
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["run", "list", "report", "claims"])
def test_a_file_of_an_experiment_whose_name_is_too_long(walk, command):
    status, _, lines = walk(command, *(["out"] if command in ("report", "claims") else []), f"{'a' * 300}.py")
    assert (status, len(lines)) == (2, 1)


def test_names_that_are_not_text_reach_no_results(walk, monkeypatch):
    status, _, lines = walk(*RUN, "--dataset", "./im\udcffages")
    assert (status, len(lines)) == (2, 1)
    assert lines[0].isprintable()


@pytest.mark.slow
def test_workers_that_cannot_be_started_end_the_run(workplace):
    Path("walk.py").write_text(CODE)
    code = """
import concurrent.futures.process as process, threading, sys
class Manager(process._ExecutorManagerThread):
    def add_call_item_to_queue(self):
        raise RuntimeError("can't start new thread")
process._ExecutorManagerThread = Manager
from whydeep.cli import main
if __name__ == "__main__":
    main(sys.argv[1:])
"""
    Path("command.py").write_text(code)
    done = subprocess.run([sys.executable, "command.py", *RUN], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert all(line.startswith("whydeep: ") for line in lines)
    assert "allow more processes (ulimit -u)" in lines[-1]
