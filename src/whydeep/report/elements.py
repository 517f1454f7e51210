"""What a report is made of: figures and tables."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.figure

from whydeep.errors import SettingError


@dataclass(frozen=True)
class Table:
    """Numbers behind figures, as texts; the first cell of a row names the row.

    `numeric` are the numbers of the columns that are aligned to the right; by default all but the first.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] | None = None

    @property
    def number_columns(self) -> tuple[int, ...]:
        """The columns that are aligned to the right."""
        return tuple(range(1, len(self.header))) if self.numeric is None else self.numeric


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: the file's name without its ending: ``figure-01``, or what it shows.
        title, caption, alt: heading; what is shown and what to look at, with n; a description for those who cannot
            see it.
        draw: draws it.

    Raises:
        SettingError: a name that cannot be that of a file.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], matplotlib.figure.Figure]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w-]{1,80}", self.name):
            raise SettingError(f"a figure is called {str(self.name)[:80]!r}: use at most 80 letters, digits and dashes")


def file_names(labels: Sequence[str]) -> dict[str, str]:
    """Write labels, such as expressions, in letters, digits and dashes; those that would look alike are numbered.

    >>> file_names(["tanh", "x**2", "x+2"])
    {'tanh': 'tanh', 'x**2': 'x-2', 'x+2': 'x-2-no-2'}
    """
    names: dict[str, str] = {}
    for label in labels:
        name = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")
        alike = sum(other == name or other.startswith(f"{name}-no-") for other in names.values())
        names[label] = f"{name}-no-{alike + 1}" if alike else name
    return names
