"""The documents: their code runs, their commands exist, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from whydeep import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path.name for path in ROOT.glob("*.md"))


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_in_the_readme_runs(capsys):
    for block in blocks("README.md", "python"):
        if "runs/study" not in block:
            exec(compile(block, "README.md", "exec"), {})
    assert "torch.Size([5, 30])" in capsys.readouterr().out


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_exist(document):
    for block in blocks(document, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].endswith("whydeep"):
                assert isinstance(cli._parse(words[1:]), tuple(cli.COMMANDS.values()))
            elif words and words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_map_names_every_room():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for room in (ROOT / "src" / "whydeep").iterdir():
        if room.is_dir() and not room.name.startswith("_"):
            assert f"{room.name}/" in text
