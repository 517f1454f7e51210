"""Imports point one way, as ARCHITECTURE.md says; and nothing slow is loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import whydeep

PACKAGE = Path(whydeep.__file__).parent
FOUNDATION = {"errors", "notebook", "sizes", "streams", "toml", "variables", ""}  # "": the version
NETWORKS = FOUNDATION | {"networks"}
POPULATION = NETWORKS | {"population", "data"}
LANDSCAPE = POPULATION | {"landscape"}
REPORT = FOUNDATION | {"claims", "runs", "report"}
STUDY = REPORT | LANDSCAPE | {"instruments", "study"}
ALLOWED = {
    "errors": {""},
    "notebook": FOUNDATION,
    "variables": FOUNDATION,
    "sizes": FOUNDATION,
    "streams": FOUNDATION,
    "toml": FOUNDATION,
    "surroundings": FOUNDATION | {"surroundings"},
    "endings": FOUNDATION | {"endings"},
    "mistakes": FOUNDATION | {"mistakes"},
    "data": FOUNDATION | {"data"},
    "networks": NETWORKS,
    "population": NETWORKS | {"population"},
    "landscape": LANDSCAPE,
    "instruments": LANDSCAPE | {"instruments"},
    "claims": FOUNDATION | {"claims"},
    "runs": FOUNDATION | {"runs"},
    "report": REPORT,
    "study": STUDY,
    "course": STUDY | {"course"},
    "benchmark": STUDY,
    "cli": STUDY | {"benchmark", "cli", "endings", "mistakes", "surroundings"},
    "__main__": {"cli"},
    "": {""},
}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "whydeep":
            yield from (f"whydeep.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(module):
    name = module.removeprefix("whydeep").removeprefix(".").partition(".")[0]
    return name if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists() else ""


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=[file.relative_to(PACKAGE).as_posix() for file in FILES])
def test_imports_point_one_way(file):
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")
    for module in imports(file):
        if module.partition(".")[0] == "whydeep":
            assert room(module) in ALLOWED[own], f"{own} must not import {module}"


def test_every_room_has_its_place():
    rooms = {path.stem if path.suffix == ".py" else path.name for path in PACKAGE.iterdir()}
    rooms = {name.replace("__init__", "") for name in rooms if name not in ("__pycache__", "py.typed")}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list", "--help"]])
def test_help_is_answered_before_anything_slow_is_loaded(arguments):
    code = (
        "import sys\n"
        "from whydeep.cli import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit as exit:\n    assert exit.code in (0, None)\n"
        "slow = {'torch', 'numpy', 'xarray', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_listing_loads_nothing_that_it_does_not_need():
    code = (
        "import sys\n"
        "from whydeep.study.registry import Registry\n"
        "assert len(Registry.installed()) >= 9\n"
        "slow = {'scipy.stats', 'sklearn', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
