"""Checksums that files carry: a seal says what a file belongs to, and the SHA-256 of all that stands before it.

A seal stands at the end of a file, in a form that the readers of its kind pass over: a comment in SVG, HTML and TOML, a
member "seal" in JSON, a text chunk in PNG, and bytes after the end in HDF5, which netCDF4 and checkpoints are.
"""

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from whydeep.errors import RunError

NOTE = rb'\{"belongs_to": "([ !#-~]*)", "sha256": "([0-9a-f]{64})"\}'
LONGEST = 2000
"""Bytes at the end of a file among which a seal is looked for."""


class DamagedError(RunError):
    """A file is not as it was written, or belongs to something else."""


class UnsealedError(DamagedError):
    """A file carries no checksum: an earlier version of whydeep wrote it, or its end is damaged."""


@dataclass(frozen=True)
class _Kind:
    """How files of a kind carry a seal: `close` stands at their end, and `wrap` makes what takes its place."""

    close: bytes
    wrap: Callable[[bytes], bytes]


def _chunk(note: bytes) -> bytes:
    """A text chunk of a PNG, and the chunk that ends it."""
    body = b"tEXtwhydeep\0" + note
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + _PNG_END


_PNG_END = bytes.fromhex("0000000049454e44ae426082")
_COMMENT = _Kind(b"", lambda note: b"<!-- seal " + note + b" -->\n")
_AFTER_THE_END = _Kind(b"", lambda note: b"\nseal " + note + b"\n")
_KINDS = {
    "nc": _AFTER_THE_END,
    "checkpoint": _AFTER_THE_END,
    "svg": _COMMENT,
    "html": _COMMENT,
    "toml": _Kind(b"", lambda note: b"\n# seal " + note + b"\n"),
    "json": _Kind(b"\n}\n", lambda note: b',\n"seal": ' + note + b"\n}\n"),
    "png": _Kind(_PNG_END, _chunk),
}


def seal(data: bytes, name: str) -> bytes:
    """Return the bytes of a file with a seal.

    Args:
        data: of a JSON file, an object that is not empty and whose closing bracket has a line of its own.
        name: what the file belongs to: its path in the run folder, whose ending says of what kind it is.

    >>> seal(b'{\\n "a": 1\\n}\\n', "results/a.json").decode().splitlines()[2][:47]
    '"seal": {"belongs_to": "results/a.json", "sha25'
    """
    kind = _kind(name)
    if not data.endswith(kind.close):
        raise ValueError(f"{name} must end with {kind.close!r}")
    note = json.dumps({"belongs_to": name, "sha256": hashlib.sha256(data).hexdigest()}).encode()
    return data[: len(data) - len(kind.close)] + kind.wrap(note)


def unseal(data: bytes, name: str) -> tuple[bytes, str]:
    """Return the bytes of a file as they were before it was sealed, and their checksum.

    Raises:
        DamagedError: they are others, or the seal is that of another file.
        UnsealedError: there is no seal.
    """
    content, note = _split(data, name)
    if note is None:
        raise UnsealedError("it carries no checksum: it is damaged, or an earlier version wrote it")
    belongs_to, checksum = (part.decode() for part in note.groups())
    if hashlib.sha256(content).hexdigest() != checksum:
        raise DamagedError("it is not as it was written")
    if belongs_to != name:
        raise DamagedError(f"it is {belongs_to}")
    return content, checksum


def without_seal(data: bytes, name: str) -> bytes:
    """Return the bytes of a file without its seal, if it has one, whether or not this fits."""
    return _split(data, name)[0]


def _split(data: bytes, name: str) -> tuple[bytes, re.Match[bytes] | None]:
    kind = _kind(name)
    notes = list(re.finditer(NOTE, data[-LONGEST:]))
    wrapped = kind.wrap(notes[-1].group()) if notes else b""
    if not notes or not data.endswith(wrapped):
        return data, None
    return data[: len(data) - len(wrapped)] + kind.close, notes[-1]


def _kind(name: str) -> _Kind:
    return _KINDS[name.rpartition(".")[2]]
