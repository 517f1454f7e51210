"""How tests of the machinery run commands: in this process, on small experiments where the course's are not meant."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toys import TOYS

from whydeep.cli import main
from whydeep.runs import execute
from whydeep.study import Registry


@pytest.fixture
def in_this_process(monkeypatch):
    """Jobs run in a thread: processes are what other tests are about, and take long to start."""

    def execute_here(*arguments, executor=None, **options):
        return execute(*arguments, executor=executor or ThreadPoolExecutor(1), **options)

    monkeypatch.setattr("whydeep.study.run.execute", execute_here)
    monkeypatch.setattr("whydeep.study.verification.execute", execute_here)


@pytest.fixture
def toys(monkeypatch, in_this_process):
    """The experiments of toys.py are those that are installed."""
    monkeypatch.setattr(Registry, "installed", classmethod(lambda _: TOYS))
    return TOYS


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


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
