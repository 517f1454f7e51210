"""What a run is asked for. The command line and the Python interface take the same dataclass; it loads nothing slow."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from whydeep.errors import SettingError, near_names
from whydeep.sizes import read_size
from whydeep.study.design import SCALES, Scale, split_changes, write_value
from whydeep.study.files import is_file_name
from whydeep.toml import read_toml

LARGEST_SIZE = 1024
"""Pixels of a side to which images are resized."""

DEVICES = ("auto", "cpu", "cuda")
MOST_SEEDS = 10_000
"""More would be no better estimate, and each is a file; another root seed draws others."""
MOST_WORKERS = 1_000


def check_number(option: str, value: int, least: int, most: int) -> None:
    """Check the number that an option is given.

    Raises:
        SettingError: it is no whole number, or lies outside.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= most:
        text = str(value) if not is_whole or abs(value) < 10**30 else "one of more than 30 digits"
        raise SettingError(f"{option} must be a whole number from {least:,} to {most:,}, not {text}")


ADDRESS = r"(tcp|tls)://(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})"
"""Of a Dask scheduler."""


@dataclass(frozen=True)
class Request:
    """Run experiments and write results, figures and a report; a folder that has some goes on with the rest.

    Raises:
        SettingError: an unknown scale or device, a number below its least, or a change of another form.
    """

    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="[EXPERIMENT ...]")] = ()
    """Names of experiments (see `whydeep list`), or Python files that define one; none means the whole study."""
    scale: Scale = "quick"
    """smoke: seconds, for tests. quick: minutes. full: the reference settings."""
    seeds: Annotated[int, arg(metavar="N")] = 5
    """Networks per setting, each from its own seed."""
    root_seed: Annotated[int, arg(metavar="N")] = 0
    """Another number draws other seeds: the same study once more, with new networks."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="EXPERIMENT.FIELD=VALUE")] = ()
    """Change a setting, as often as you like; `whydeep list EXPERIMENT` shows what can be set."""
    study: Annotated[Path | None, arg(metavar="FILE")] = None
    """A TOML file with options of this command, and a table of settings for each experiment."""
    dataset: Annotated[str | None, arg(metavar="NAME-OR-PATH")] = None
    """Images: mnist, fashion-mnist, kmnist, digits, an .npz file or a folder. Default: mnist, else digits."""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where data sets lie. Default: the environment variable WHYDEEP_DATA, then the usual places."""
    size: Annotated[int, arg(metavar="N")] = 0
    """Resize the images of a folder to N x N pixels; 0 leaves them, and they must have one size."""
    functions: Annotated[tuple[str, ...], arg(metavar="F [F ...]")] = ()
    """Targets of function-fitting: names, or Python expressions of x such as "sin(x)/x". Default: arcsinh cos."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/study")
    """The run folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    workers: Annotated[int, arg(metavar="N")] = 0
    """Processes that train; 0 means one per core that they may use. Results do not depend on it."""
    memory: Annotated[str, arg(metavar="SIZE")] = ""
    """How much memory to use, such as 4G: fewer processes, and fewer seeds together. Default: what is free here."""
    cluster: Annotated[str | None, arg(metavar="ADDRESS|local|slurm")] = None
    """Train on a Dask cluster: of a scheduler that runs, such as tcp://host:8786; on this machine; or from Slurm."""
    claims: Annotated[Path | None, arg(metavar="FILE")] = None
    """Claims of your own, in a TOML or a Python file, judged with the others."""
    fresh: bool = False
    """Start anew: first remove what earlier runs wrote to the folder."""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise SettingError(f"no scale is called {self.scale!r}: {near_names(str(self.scale), SCALES)}")
        if self.device not in DEVICES:
            raise SettingError(f"no device is called {self.device!r}: {near_names(str(self.device), DEVICES)}")
        check_number("--seeds", self.seeds, 1, MOST_SEEDS)
        check_number("--root-seed", self.root_seed, 0, 2**63 - 1)
        check_number("--size", self.size, 0, LARGEST_SIZE)
        check_number("--workers", self.workers, 0, MOST_WORKERS)
        if self.memory:
            read_size("--memory", self.memory)
        if self.cluster is not None:
            self._check_cluster()
        split_changes(self.set)

    def _check_cluster(self) -> None:
        """Raise `SettingError` if it is no cluster, or does not go with other options."""
        if self.device == "cuda":
            raise SettingError("--cluster trains on processors, not on GPUs: leave --device cuda or --cluster out")
        if self.cluster == "slurm" and not self.workers:
            raise SettingError("--cluster slurm needs --workers N: the processes to ask Slurm for")
        if self.memory and self.cluster != "local":
            raise SettingError("--memory is for this machine, and a cluster has its own: leave --memory out")
        if self.cluster in ("local", "slurm"):
            return
        address = re.fullmatch(ADDRESS, str(self.cluster))
        if not address or not 0 < int(address["port"]) < 2**16:
            raise SettingError(
                f"--cluster is {self.cluster!r}, and must be the address of a Dask scheduler such as tcp://host:8786, "
                "local or slurm"
            )
        if self.workers:
            raise SettingError(
                f"--workers is for processes that whydeep starts, and {self.cluster} has its own: leave --workers out"
            )

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """What is set: experiment -> field -> text."""
        return {experiment: dict(values) for experiment, values in split_changes(self.set).items()}

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that asks for the same; what a study file says is written out.

        >>> Request(("gradient-norm",), seeds=3, fresh=True).command
        ('whydeep', 'run', 'gradient-norm', '--seeds', '3', '--fresh')
        """
        words = ["whydeep", "run", *self.experiments]
        for option in fields(self)[1:]:
            value = getattr(self, option.name)
            flag = "--" + option.name.replace("_", "-")
            if value == option.default or option.name == "study":
                continue
            if option.name == "set":
                words += [word for change in value for word in (flag, change)]
            else:
                words += [
                    flag,
                    *([] if value is True else map(str, value) if isinstance(value, tuple) else [str(value)]),
                ]
        return tuple(words)


def read_study(path: Path, **options: Any) -> Request:
    """Read a request from a TOML file: options of `whydeep run` by name, and a table of settings for each experiment.

    Files that it names are beside it; `out` is relative to the working directory. Options given here take the place of
    the file's.

    Raises:
        SettingError: one line that says what is wrong with the file.
    """
    content = read_toml(path)
    tables = {name: value for name, value in content.items() if isinstance(value, Mapping)}
    words = {name: value for name, value in content.items() if name not in tables}
    read: dict[str, Any] = {}
    for name, value in words.items():
        key = name.replace("-", "_")
        if key in read:
            raise SettingError(f"{path} gives {name} twice, with a dash and without: give it once")
        read[key] = _option(path, name, value)
    empty = [name for name, table in tables.items() if not table]
    if empty:
        raise SettingError(f"{path}: the table [{empty[0]}] is empty: give settings of an experiment, or leave it out")
    changes = [
        f"{experiment}.{name}={_written(path, experiment, name, value)}"
        for experiment, table in tables.items()
        for name, value in table.items()
    ]
    return Request(**read | options | {"set": merge_changes(changes, options.get("set", ())), "study": None})


def merge_changes(words: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Put changes EXPERIMENT.FIELD=VALUE together; where both change a field, the others count.

    >>> merge_changes(["a.b=1", "a.c=2"], ["a.b=3"])
    ('a.c=2', 'a.b=3')
    """
    others = tuple(others)
    given = {word.partition("=")[0] for word in others}
    return (*(word for word in words if word.partition("=")[0] not in given), *others)


def _option(path: Path, name: str, value: Any) -> Any:
    """Check one option of a study file, and turn it into what a request takes."""
    options = {field.name: field for field in fields(Request) if field.name not in ("set", "study", "fresh")}
    key = name.replace("-", "_")
    if key not in options:
        raise SettingError(f"{path}: no option is called {name!r}: {near_names(name, options)}, or a table")
    default = options[key].default
    several = key in ("experiments", "functions")
    texts = value if several and isinstance(value, list) else [value]
    if key in ("seeds", "root_seed", "workers", "size"):
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = all(isinstance(text, str) and text.isprintable() for text in texts)
    fits = fits and texts != []
    if not fits:
        accepted = "a whole number" if isinstance(default, int) else "a list of texts" if several else "a text"
        raise SettingError(f"{path}: {name} is {value!r}, and must be {accepted}")
    if key == "experiments":
        return tuple(_beside(path, text) if is_file_name(text) else text for text in texts)
    if key in ("out", "data_dir", "claims"):
        return Path(value if key == "out" else _beside(path, value))
    if key == "dataset" and ("/" in value or os.sep in value or value.endswith(".npz")):
        return _beside(path, value)
    return tuple(texts) if several else value


def _beside(path: Path, text: str) -> str:
    return os.path.relpath(path.parent / text)


def _written(path: Path, experiment: str, name: str, value: Any) -> str:
    """Write a value of a table as the command line does."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, str | int | float | list) for item in values):
        raise SettingError(f"{path}: {experiment}.{name} is {value!r}, and must be a value or a list of values")
    return ",".join(write_value(item) for item in values)
