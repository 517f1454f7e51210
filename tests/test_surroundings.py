"""A user's settings of other packages, and what packages remark: they change no figure and stop no command."""

import json
import os
import subprocess
import sys
import threading
import warnings

import pytest

from whydeep.surroundings import prepare_surroundings

LOOK = """
from whydeep.surroundings import prepare_surroundings
prepare_surroundings()
import json, logging
import matplotlib as mpl
from whydeep.report.style import figure_style
logging.getLogger("matplotlib").warning("a remark")
with figure_style():
    print(json.dumps([mpl.get_backend(), mpl.rcParams["font.size"], mpl.rcParams["text.usetex"], mpl.rcParams["savefig.dpi"]]))
"""
OTHER = "text.usetex: True\nfont.size: 30\nsavefig.dpi: 10\nbackend: nothing\n"


@pytest.mark.parametrize("place", ["here", "variable", "home"])
def test_settings_of_matplotlib_change_nothing(tmp_path, place):
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "HOME": str(tmp_path)}
    environment.pop("MPLCONFIGDIR", None)
    folder = {"here": ".", "variable": "rc", "home": ".config/matplotlib"}[place]
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "matplotlibrc").write_text(f"{OTHER if place != 'home' else ''}not a setting\nfont.size: x\n")
    if place == "variable":
        environment["MATPLOTLIBRC"] = str(tmp_path / "rc")
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == ["agg", 10.0, False, "figure"]


def test_nothing_is_said_where_matplotlib_has_no_folder(tmp_path):
    (tmp_path / "file").touch()
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "file" / "folder"), "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def prepared(monkeypatch):
    for name in ("MPLBACKEND", "MATPLOTLIBRC"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    with warnings.catch_warnings(action="always"):
        prepare_surroundings()
        yield


def test_warnings_and_threads_that_end_are_lines(prepared, capsys):
    for _ in range(2):
        warnings.warn("two\nlines", RuntimeWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert capsys.readouterr().err.splitlines() == [
        "whydeep: RuntimeWarning: two lines",
        "whydeep: a thread ended: ZeroDivisionError: division by zero",
    ]


def test_a_worker_that_cannot_start_says_so_in_a_line():
    code = "import whydeep.runs; raise MemoryError"
    environment = os.environ | {"WHYDEEP_WORKER": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "whydeep: a worker ended: MemoryError\n")


@pytest.mark.parametrize("command", [["data"], ["data", "--data-dir", "~/images"]])
def test_a_user_without_a_home_and_without_an_entry_among_users(command):
    code = f"""
import os, pwd
def nobody(user):
    raise KeyError(user)
pwd.getpwuid = nobody
for name in [name for name in os.environ if name in ("HOME", "USER", "LOGNAME", "USERNAME", "LNAME") or name[:3] == "XDG"]:
    del os.environ[name]
from whydeep.cli import main
main({command})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == (2 if "--data-dir" in command else 0)
    assert "Traceback" not in done.stderr
    assert all(line.startswith("whydeep: ") for line in done.stderr.splitlines())
