"""How a command ends: one line and a status, whatever is raised, and where standard output cannot be written."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from whydeep import cli
from whydeep.errors import DataError, RunError, SettingError, StorageError

WHYDEEP = [sys.executable, "-m", "whydeep"]


def refusal(number, filename="here"):
    return OSError(number, os.strerror(number), filename)


@pytest.fixture
def ends(monkeypatch, capsys, tmp_path):
    """End a command with an error: exit status, and the lines on standard error."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def ends(error, *arguments):
        def raises(given):
            raise error

        monkeypatch.setattr(cli, "_run_command", raises)
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        printed = capsys.readouterr()
        assert printed.out == ""
        return ended.value.code, printed.err.splitlines()

    return ends


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (SettingError("give another"), 2, "whydeep: give another"),
        (DataError("not there"), 2, "whydeep: not there"),
        (RunError("in use"), 2, "whydeep: in use"),
        (StorageError("x can't be written"), 1, "whydeep: x can't be written"),
        (refusal(errno.EACCES), 2, "whydeep: here cannot be used (Permission denied): mend that, and try again"),
        (refusal(errno.ENAMETOOLONG), 2, "whydeep: here cannot be used (File name too long)"),
        (refusal(errno.ENOSPC), 1, "whydeep: here cannot be used (No space left on device): make room"),
        (refusal(errno.EMFILE), 1, "(Too many open files): allow more open files (ulimit -n)"),
        (refusal(errno.EAGAIN, None), 1, "the operating system refuses (Resource temporarily unavailable): allow more"),
        (OSError("odd"), 1, "the operating system refuses (OSError: odd)"),
        (MemoryError(), 1, "the memory does not suffice: give fewer --workers"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 1, "the memory does not suffice"),
        (RuntimeError("can't start new thread"), 1, "no thread can be started: allow more processes"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept: run the same command to go on"),
    ],
)
def test_each_refusal_is_one_line(ends, tmp_path, error, status, says):
    ended, lines = ends(error)
    assert (ended, len(lines)) == (status, 1)
    assert says in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [KeyError("x"), AssertionError(), RuntimeError("two\nlines"), GeneratorExit(), SystemExit("no")]
)
def test_a_fault_of_ours_is_another_sentence_and_its_traceback_is_kept(ends, tmp_path, error):
    status, lines = ends(error, "run", "--seeds", "3")
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith("whydeep: this is a fault of whydeep: please report it (")
    (kept,) = tmp_path.iterdir()
    assert lines[0].endswith(str(kept))
    text = kept.read_text()
    assert text.startswith("whydeep run --seeds 3\nTraceback")
    assert type(error).__name__ in text


def test_where_no_traceback_can_be_kept_the_line_says_how_to_see_it(ends, monkeypatch):
    def full(*arguments, **options):
        raise refusal(errno.ENOSPC)

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    status, lines = ends(ZeroDivisionError())
    assert (status, len(lines)) == (1, 1)
    assert lines[0].endswith("With WHYDEEP_DEBUG=1 it prints the traceback")
    monkeypatch.setenv("WHYDEEP_DEBUG", "1")
    assert ends(ZeroDivisionError())[1][0] == "Traceback (most recent call last):"


def test_what_fails_while_a_package_is_imported_is_no_fault_of_ours(ends):
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compile("1 / 0", "package.py", "exec"), {})
    for error in (raised.value, ImportError("no torch")):
        status, lines = ends(error)
        assert (status, len(lines)) == (1, 1)
        assert lines[0].startswith("whydeep: a package cannot be loaded (")


def test_long_and_odd_texts_are_one_printable_line(ends):
    _, lines = ends(SettingError("\x1b[31mred\n" * 10_000 + "give\u202eanother"))
    assert len(lines) == 1
    assert len(lines[0]) < 520
    assert lines[0].isprintable()
    assert lines[0].startswith("whydeep: \\x1b[31mred \\x1b[31mred")
    assert lines[0].endswith("give\\u202eanother")


def shell(command, **environment):
    return subprocess.run(
        ["bash", "-c", command.replace("whydeep", " ".join(WHYDEEP))],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["whydeep --version", "whydeep --help"])
def test_output_that_cannot_be_written_is_told(command):
    done = shell(f"{command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("whydeep: ")
    assert "(No space left on device)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "status", "out", "err"),
    [
        ("whydeep --version 1>&-", 0, "", ""),
        ("whydeep --version <&- 2>&-", 0, r"whydeep [\d.]+\n", ""),
        ("whydeep rnu 2>&-", 2, "", ""),
        ("whydeep rnu 2>/dev/full", 2, "", ""),
        ("whydeep rnu 0<&- 1>&- 2>&-", 2, "", ""),
        ("whydeep --version | true; echo ${PIPESTATUS[0]}", 0, r"[01]\n", ""),
    ],
)
def test_streams_that_are_closed_full_or_left(command, status, out, err):
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("there is no device that is always full")
    done = shell(command)
    assert done.returncode == status
    assert re.fullmatch(out, done.stdout)
    assert done.stderr == err


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_characters_that_a_stream_does_not_have_are_escapes(environment):
    done = shell("whydeep 'r\u2212n'", **environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no command is called" in done.stderr


def test_a_current_folder_that_was_deleted(tmp_path):
    done = shell(f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir ../gone; whydeep list")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("whydeep: the current folder cannot be used (No such file or directory)")
    assert done.stderr.count("\n") == 1


def test_a_closed_stream_is_never_a_file_that_is_opened_later(tmp_path):
    code = "import os, sys; from whydeep.streams import prepare_streams; prepare_streams(); "
    code += f"print(os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY) > 2, file=open({str(tmp_path / 'said')!r}, 'w'))"
    subprocess.run(["bash", "-c", f'"{sys.executable}" -c "$0" 0<&- 1>&- 2>&-', code], check=True)
    assert (tmp_path / "said").read_text() == "True\n"
