"""Files in TOML that a user writes: study files and claims."""

import re
import tomllib
from pathlib import Path
from typing import Any

from whydeep.errors import SettingError, one_line

LARGEST = 1_000_000
"""Of a file, in bytes."""
DEEPEST = 20
"""Levels of tables and lists in one another."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file in TOML; a byte order mark is passed over.

    Raises:
        SettingError: one line that says why it cannot be read: it is not there, too large, not UTF-8 or not TOML, or
            holds numbers or nested tables that no setting needs.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise SettingError(f"{path} is larger than {LARGEST:,} bytes: give a file in TOML that is smaller")
        content = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise SettingError(f"{path} is not TOML: byte {error.start + 1} is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else one_line(error)
        raise SettingError(f"{path} is not TOML: {re.sub('; use sys.set.*', '', reason)}") from None
    _check(path, content)
    return content


def _check(path: Path, content: dict[str, Any]) -> None:
    """Raise `SettingError` for numbers and depths that would break what is done with them later."""
    waiting: list[tuple[Any, int]] = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise SettingError(f"{path} has tables or lists more than {DEEPEST} levels deep: make it simpler")
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise SettingError(f"{path} holds a whole number of more than 64 bits: give a smaller one")
