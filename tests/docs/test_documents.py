"""The documents: their code runs, their commands exist, their links lead somewhere, and what they list is complete."""

import json
import re
import shlex
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest

from test_imports import ALLOWED, FOUNDATION
from whydeep import cli
from whydeep.claims import read_claims
from whydeep.course.optimization import OPTIMIZATION
from whydeep.runs import execute
from whydeep.runs.folder import CONTENTS
from whydeep.study import Registry, Request, console, run_study
from whydeep.study.request import read_study
from whydeep.study.resolve import resolve

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
CONTINUES = "<!-- continues the block above -->\n"


def read(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", read(document), flags=re.DOTALL)


def scripts(document):
    """The Python of a document: a script for each block, or for several where one continues the one above."""
    matches = re.findall(rf"({re.escape(CONTINUES)})?```python\n(.*?)```", read(document), flags=re.DOTALL)
    joined = []
    for continues, code in matches:
        joined[len(joined) - bool(continues) :] = [joined[-1] + code if continues else code]
    return joined


def snippets(document):
    """The scripts that are no experiments."""
    return [code for code in scripts(document) if "\nEXPERIMENT = " not in code]


def cases(of):
    """Document and text for each text of every document."""
    return [
        pytest.param(document, text, id=f"{document}-{number}")
        for document in DOCUMENTS
        for number, text in enumerate(of(document), 1)
    ]


def run_here(*arguments, executor=None, **options):
    return execute(*arguments, executor=ThreadPoolExecutor(1), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the run that the documents speak of: experiment E9, as small as it can be."""
    place = tmp_path_factory.mktemp("documents")
    request = Request(
        ("batch-size",),
        "smoke",
        3,
        dataset="digits",
        set=("batch-size.batch_size=25,500",),
        out=place / "runs" / "study",
    )
    assert not run_study(request, executor=ThreadPoolExecutor(1)).failures
    return place


@pytest.fixture
def in_folder(folder, monkeypatch):
    """Code runs in that directory, and trains in a thread: processes take long to start."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("whydeep.study.run.execute", run_here)


@pytest.mark.parametrize(("document", "code"), cases(snippets))
def test_python_runs_and_prints_what_its_comments_say(document, code, in_folder, capsys):
    exec(compile(code, document, "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    for output in re.findall(r"print\(.*\)  # (torch\.Size\(\[[\d, ]+\]\)|True)", code):
        assert output in printed


def test_the_experiment_of_the_documents_runs_and_is_judged(in_folder, capsys):
    experiments = [code for document in DOCUMENTS for code in scripts(document) if "\nEXPERIMENT = " in code]
    assert len(experiments) == 1
    Path("learning_rates.py").write_text(experiments[0], encoding="utf-8")
    request = Request(("learning_rates.py",), "smoke", 2, out=Path("own"), set=("learning-rates.steps=1000",))
    outcome = run_study(request)
    assert outcome.finished == 6
    assert not outcome.failures
    (claim,) = [claim for claim in claims_of("own") if claim["experiment"] == "learning-rates"]
    assert claim["verdict"] in ("supported", "contradicted", "undecided")
    assert "Loss after 1,000 steps" in Path("own/report.html").read_text(encoding="utf-8")
    least = scripts("docs/experiments.md")[0].partition("from whydeep.claims")[0]
    Path("least.py").write_text(least, encoding="utf-8")
    assert run_study(Request(("least.py",), "smoke", 2, out=Path("least"))).finished == 6


def claims_of(folder):
    return json.loads((Path(folder) / "claims.json").read_text(encoding="utf-8"))["claims"]


def commands(text):
    """Command lines of whydeep and make in a text, also those in comments and docstrings."""
    lines = (line.strip("#` ") for line in text.splitlines())
    return [line for line in lines if re.match(r"(\.venv/bin/)?whydeep |make \w+($| )", line)]


def check(command):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", read("Makefile"), flags=re.MULTILINE)
    elif words[1:] == ["--version"]:
        with pytest.raises(SystemExit) as exit:
            cli.main(words[1:])
        assert exit.value.code == 0
    else:
        assert isinstance(cli._parse(words[1:]), tuple(cli.COMMANDS.values()))


@pytest.mark.parametrize(
    "command", [command for document in DOCUMENTS for block in blocks(document, "sh") for command in commands(block)]
)
def test_commands_exist(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    check(command)


@pytest.mark.parametrize(("document", "text"), cases(lambda document: blocks(document, "toml")))
def test_toml_is_read(document, text, tmp_path, in_folder):
    path = tmp_path / "block.toml"
    path.write_text(text, encoding="utf-8")
    if "[[claims]]" in text:
        experiments = Registry.installed().items()
        assert read_claims(path, {name: experiment.variables for name, experiment in experiments})
    else:
        assert resolve(read_study(path, dataset="digits")).jobs()


def test_claims_of_the_documents_are_judged_and_their_records_described(in_folder, capsys):
    (toml,) = blocks("docs/claims.md", "toml")
    (code,) = [code for code in blocks("docs/claims.md", "python") if "CLAIMS = " in code]
    for name, text in (("claims.toml", toml), ("claims.py", code)):
        Path(name).write_text(text, encoding="utf-8")
        with pytest.raises(SystemExit) as exit:
            cli.main(["claims", "runs/study", "--claims", name])
        assert exit.value.code == 0
    records = {claim["id"]: claim for claim in claims_of("runs/study")}
    for name in ("M1", "M2"):
        assert records[name]["verdict"] == "preview"  # one epoch, and at least 5 are needed
        assert records[name]["parts"]
    assert sorted(fields_in_table("docs/claims.md", "field |")) == sorted(records["M1"])
    assert sorted(fields_in_table("docs/claims.md", "field of a part |")) == sorted(records["M1"]["parts"][0])


def fields_in_table(document, heading):
    """Names in the first column of the table with this heading."""
    table = read(document).partition(f"| {heading} |\n")[2].partition("\n\n")[0]
    return re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()))


def test_what_can_be_set_is_described():
    assert fields_in_table("docs/settings.md", "field | values") == list(OPTIMIZATION)
    (listed,) = blocks("docs/settings.md", "text")
    described = console.describe(Registry.installed()["batch-size"]).split()
    words = listed.replace("...", "").split()
    assert words in [described[start : start + len(words)] for start in range(len(described))]


def test_all_options_and_files_of_a_run_are_described():
    text = read("docs/running.md")
    for option in fields(Request)[1:]:
        assert f"| `--{option.name.replace('_', '-')}" in text
    for name in CONTENTS:
        assert f"| `{name}" in text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)]+)\)", read(document)):
        target, _, anchor = link.partition("#")
        if not target.startswith("https://"):
            path = (ROOT / document).parent / target if target else ROOT / document
            assert path.exists(), link
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if anchor else [""]
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings], link


def test_the_map_names_every_room_and_what_it_imports():
    text = read("ARCHITECTURE.md")
    for room in (ROOT / "src" / "whydeep").iterdir():
        if room.is_dir() and not room.name.startswith("_"):
            assert f"{room.name}/" in text
    listed, table = {}, text.partition("| room |")[2].partition("\n\n")[0]
    for names, imports in re.findall(r"^\| ([a-z, ]+) \|(.*)\|$", table, re.MULTILINE):
        named = set(re.findall(r"\w+", imports)) & (set(ALLOWED) - {""})
        same = listed["study"] if "the same" in imports else set()
        listed |= dict.fromkeys(names.split(", "), named | same)
    assert set(listed) == set(ALLOWED) - FOUNDATION - {"__main__"}
    for name, rooms in listed.items():
        assert rooms == ALLOWED[name] - FOUNDATION - {name}, name


def test_pages_are_short():
    assert len(read("README.md").splitlines()) <= 130
    assert len(read("ARCHITECTURE.md").splitlines()) <= 90


def test_every_page_is_linked_from_the_readme():
    for document in DOCUMENTS:
        assert document == "README.md" or f"]({document})" in read("README.md")


def test_the_example_of_an_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    path = EXAMPLES / "warm_up.py"
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    for command in commands(text):
        check(command)
    out = tmp_path / "out"
    words = [
        "run",
        str(path),
        "--scale",
        "smoke",
        "--seeds",
        "2",
        "--dataset",
        "digits",
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    with pytest.raises(SystemExit) as exit:
        cli.main(words)
    assert exit.value.code == 0
    assert "4 units measured" in capsys.readouterr().out
    (claim,) = [claim for claim in claims_of(out) if claim["experiment"] == "warm-up"]
    assert claim["verdict"] == "preview"
    assert claim["n"] == 2
    assert [figure.name for figure in (out / "figures").glob("*.svg")] == ["warm-up.svg"]
    assert "Test accuracy with and without warm-up" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_the_examples_of_study_files(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = path.read_text(encoding="utf-8")
    for command in commands(text):
        check(command)
    study = resolve(read_study(path, dataset="digits"))
    values = [
        (name, key, value)
        for name, table in tomllib.loads(text).items()
        if isinstance(table, dict)
        for key, value in table.items()
    ]
    for name, key, value in values:
        planned = study.plans[name].values[key]
        assert list(getattr(planned, "values", [planned])) == (value if isinstance(value, list) else [value])
        assert key in study.changes(name)
    assert len(study.jobs()) == 3
