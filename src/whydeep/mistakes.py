"""What is wrong with a command line, in one line that says what is accepted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches

from whydeep.errors import near_names

DESTRUCTIVE = ("--fresh",)
"""Options that are never suggested, as they remove what was measured."""
RESUMING = ("--resume", "--continue", "--restart", "--append")
"""Options that other programs have for what `run` does anyway."""
POSITIONAL = {"experiments", "folder"}
"""Fields of commands that are no options."""
KINDS = {
    r"invalid literal for int\(\).*?: (?P<given>.*)": "a whole number",
    r"Exceeds the limit .*?: value has (?P<given>\d+ digits)": "a whole number",
    r"could not convert string to float: (?P<given>.*)": "a number",
}
"""What Python says of texts that are no numbers, and what they must be."""


def explain_mistake(message: str, given: Sequence[str], commands: Mapping[str, type]) -> str:
    """Turn the boxed message of tyro into one line.

    Args:
        message: of the parser.
        given: the words of the command line.
        commands: name -> dataclass of its options.
    """
    command = given[0] if given else ""
    if command not in commands:
        return f"no command is called {command!r}: {near_names(command, commands)}"
    lines = [line.strip("│ ").strip() for line in message.splitlines() if not line.startswith(("╭", "╰"))]
    first = " ".join(lines).split("───")[0].split("Got errors:")[0].strip().rstrip(".")
    for pattern, kind in KINDS.items():
        found = re.match(rf"Error parsing (?P<option>\S+): {pattern}", first)
        if found:
            return f"{found['option']} must be {kind}, not {found['given']}"
    names = [field.name for field in fields(commands[command]) if field.name not in POSITIONAL]
    options = ["--" + name.replace("_", "-") for name in names]
    words = [token.partition("=")[0] for token in given if token.startswith("--") and token != "--"]
    unknown = next((word for word in words if word.replace("_", "-") not in options), None)
    if unknown is None:
        return re.sub(r"\s+", " ", first) + f"; see whydeep {command} --help"
    if command == "run" and get_close_matches(unknown, RESUMING, cutoff=0.8):
        accepted = "running the same command again goes on with what is missing"
    else:
        accepted = near_names(unknown, options, destructive=DESTRUCTIVE) if options else "it takes names alone"
    return f"no option of {command} is called {unknown}: {accepted}"
