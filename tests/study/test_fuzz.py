"""Any command line and any file in TOML: an exit status that is meant, lines that are ours, in a bounded time.

The corpus holds what was wrong once, or looked as if it might be; hypothesis makes more of the same words.
"""

import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from toys import TOYS

from whydeep.cli import main
from whydeep.runs import Outcome, execute
from whydeep.study import Registry
from whydeep.study import run as run_module
from whydeep.study.resolve import resolve

CORPUS = Path(__file__).parent / "corpus"
COMMANDS = [json.loads(line) for line in (CORPUS / "commands.jsonl").read_text().splitlines()]
COMMANDS += [
    ["x" * 100_000],
    ["run", "x" * 100_000],
    ["run", "--" + "x" * 100_000],
    ["run", "--seeds", "9" * 5_000],
    ["run", "walk", "--out", "x" * 100_000],
    ["run", "walk", "--set", f"walk.{'s' * 10_000}=1"],
    ["run", *["walk"] * 2_000],
    ["run", "walk", *["--set", "walk.steps=3"] * 500],
    ["run", "walk", "--set", f"walk.kind={','.join(map(str, range(20_000)))}"],
]
OURS = re.compile(r"whydeep: .*|\d+ of \d+ units · .*")
SECONDS = 10


class Stream(io.TextIOWrapper):
    """A stream of UTF-8 that holds what is written to it."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode()


def plan_only(request):
    """Resolve a request and plan its jobs, and train nothing."""
    resolve(request).jobs()
    return Outcome()


def run(words, folder, *, train=False):
    """Run a command on the toys, in this process, and check how it ends."""

    def execute_here(*arguments, executor=None, **options):
        return execute(*arguments, executor=executor or ThreadPoolExecutor(1), **options)

    out, err, began = Stream(), Stream(), time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(chdir(folder))
        stack.enter_context(patch.object(Registry, "installed", classmethod(lambda _: TOYS)))
        stack.enter_context(patch.object(run_module, "execute", execute_here))
        stack.enter_context(patch("whydeep.benchmark.run_benchmark"))
        if not train:
            stack.enter_context(patch.object(run_module, "run_study", plan_only))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        ended = stack.enter_context(pytest.raises(SystemExit))
        main(words)
    status, said = ended.value.code, err.text()
    assert time.monotonic() - began < SECONDS
    assert status in (0, 1, 2, 130), said
    assert "Traceback" not in out.text() + said
    assert "fault of whydeep" not in said
    assert "did you mean --fresh" not in said
    assert all(OURS.fullmatch(line) and line.isprintable() and len(line) <= 520 for line in said.splitlines()), said
    assert said.endswith("\n") or not said
    assert status == 0 or said.count("\n") == 1, said
    assert not re.search(r"[^\n -~\xa0-\U0010ffff]", out.text())
    return status, said


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:60].encode("unicode_escape").decode())
def test_commands_of_the_corpus(tmp_path, words):
    run(words, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of the toys, whose claims can be judged."""
    folder = tmp_path_factory.mktemp("measured")
    assert run(["run", "walk", "--scale", "smoke", "--seeds", "2", "--out", "run"], folder, train=True)[0] == 0
    return folder


@pytest.mark.parametrize("file", sorted(CORPUS.glob("study-*.toml")), ids=lambda file: file.stem)
def test_study_files_of_the_corpus(tmp_path, file):
    status, said = run(["run", "--study", str(file)], tmp_path)
    assert (status, said) == (0, "") if file.stem == "study-good" else status == 2


@pytest.mark.parametrize("file", sorted(CORPUS.glob("claims-*.toml")), ids=lambda file: file.stem)
def test_claims_of_the_corpus(measured, file):
    run(["claims", "run", "--claims", str(file)], measured)
    (measured / "run" / "own-claims.toml").unlink(missing_ok=True)


ODD = st.text(max_size=8) | st.sampled_from(
    ["", " ", "\0", "\x1b[31m", "\n", "$x$", "<b>", "../..", "~", "-", "é", "\udcff"]
)
NUMBERS = (
    st.integers().map(str) | st.floats().map(str) | st.sampled_from(["1e3", "0x10", "9" * 400, "nan", "١٢", "1_0"])
)
NAMES = st.sampled_from(["walk", "dice", "walk.steps", "walk.kind", "run", "list", "report", "claims", "data", "bench"])
FLAGS = st.sampled_from(
    [
        "--seeds",
        "--workers",
        "--root-seed",
        "--set",
        "--scale",
        "--out",
        "--dataset",
        "--data-dir",
        "--study",
        "--claims",
        "--functions",
        "--device",
        "--fresh",
        "--json",
        "--rounds",
        "--resume",
        "--seed",
        "-h",
        "--help",
        "--version",
        "--frehs",
        "--",
    ]
)
VALUES = st.sampled_from(["smoke", "quick", "cpu", "cos", "x**2", "nothing", ".", "nothing.toml", "nothing.py"])
WORDS = ODD | NUMBERS | NAMES | FLAGS | VALUES | st.builds("{}={}".format, FLAGS | NAMES, ODD | NUMBERS | VALUES)
LINES = st.builds(
    lambda first, rest: [*first, *rest],
    st.sampled_from([["run"], ["run", "walk"], ["list"], ["report"], ["claims"], ["data"], ["bench"], []]),
    st.lists(WORDS, max_size=6),
)
MUTATED = st.builds(
    lambda words, place, word: [*words[: place % (len(words) + 1)], word, *words[place % (len(words) + 1) + 1 :]],
    st.sampled_from([words for words in COMMANDS if len(words) < 20 and max(map(len, words), default=0) < 1_000]),
    st.integers(0, 20),
    WORDS,
)
KEYS = st.sampled_from(
    ["id", "experiment", "variable", "at", "minus", "low", "high", "needs", "seeds", "walk", "steps", "kind", "x"]
)
PLAIN = (
    st.booleans()
    | st.integers()
    | st.floats()
    | ODD
    | st.dates()
    | st.sampled_from(["distance", "last", "wide", "walk"])
)
TREES = st.recursive(
    PLAIN, lambda tree: st.lists(tree, max_size=3) | st.dictionaries(KEYS | ODD, tree, max_size=3), max_leaves=5
)
GOOD = {"id": "M1", "experiment": "walk", "statement": "?", "variable": "distance", "low": 0, "at": {"time": "last"}}


def written(value):
    """Write a value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)} = {written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value) + '"'
    return str(value).lower() if isinstance(value, bool | int | float) else str(value)


def fuzzed(examples):
    return hypothesis_settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def check_line(folder, words):
    run(words, folder)


def check_study(folder, changes):
    folder.joinpath("any.toml").write_text(
        "".join(f"{written(key)} = {written(value)}\n" for key, value in changes.items())
    )
    run(["run", "--study", "any.toml"], folder)


def check_claim(folder, changes):
    lines = [f"{written(key)} = {written(value)}" for key, value in (GOOD | changes).items()]
    folder.joinpath("any.toml").write_text("\n".join(["[[claims]]", *lines]))
    run(["claims", "run", "--claims", "any.toml"], folder)
    (folder / "run" / "own-claims.toml").unlink(missing_ok=True)


CHANGES = st.dictionaries(KEYS, TREES, max_size=3)


@fuzzed(60)
@given(LINES | MUTATED)
def test_any_command_line(tmp_path, words):
    check_line(tmp_path, words)


@fuzzed(40)
@given(CHANGES)
def test_any_study_file(tmp_path, changes):
    check_study(tmp_path, changes)


@fuzzed(40)
@given(CHANGES)
def test_any_claim(measured, changes):
    check_claim(measured, changes)


@pytest.mark.slow
@fuzzed(1000)
@given(LINES | MUTATED, CHANGES, CHANGES)
def test_more_of_all(measured, tmp_path, words, study, claim):
    check_line(tmp_path, words)
    check_study(tmp_path, study)
    check_claim(measured, claim)
