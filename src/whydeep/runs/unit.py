"""What is run and kept.

A *unit* is the smallest thing that is kept: one setting of one experiment for one seed. A *job* is
several units that train together in one process: one setting, several seeds.
"""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import xarray

from whydeep.errors import SettingError
from whydeep.runs.checkpoint import Checkpoint


class Setting(Protocol):
    """What an experiment varies: a frozen dataclass with a unique name and a predicted cost."""

    @property
    def name(self) -> str:
        """Say which setting it is; unique within its experiment."""

    @property
    def cost(self) -> float:
        """Predict the seconds that one seed takes on one core."""


def no_progress(fraction: float) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class Context:
    """What every job of a run shares: where it computes, on which data, from which root seed.

    ``progress(fraction)`` says how much of the job is done; a job calls it as often as it likes. ``checkpoint`` keeps
    the state of its loops.
    """

    device: str = "cpu"
    source: Any = None
    root_seed: int = 0
    progress: Callable[[float], None] = no_progress
    checkpoint: Checkpoint = field(default_factory=Checkpoint, compare=False)


@dataclass(frozen=True)
class Job:
    """One setting of one experiment, measured for several seeds in one process.

    ``measure(setting, seeds, context)`` is a top-level function, so that it can be sent to another process;
    it returns a data set with a dimension ``seed`` whose coordinate equals ``seeds``. ``digest`` stands
    for everything that determines the numbers (see :func:`digest`), and ``memory`` is what each seed needs, in bytes.
    """

    experiment: str
    setting: Setting
    seeds: tuple[int, ...]
    measure: Callable[[Any, tuple[int, ...], Context], xarray.Dataset]
    digest: str
    memory: float = 0.0

    @property
    def cost(self) -> float:
        """Predict its seconds on one core; never zero, so that shares of the whole make sense."""
        return max(1e-3, self.setting.cost * len(self.seeds))

    @property
    def label(self) -> str:
        """Name it for people: ``image-classification deep (seeds 0-2)``."""
        return f"{self.experiment} {self.setting.name} ({format_seeds(self.seeds)})"


def format_seeds(seeds: tuple[int, ...]) -> str:
    """Write seeds shortly.

    >>> format_seeds((0, 1, 2)), format_seeds((3,)), format_seeds((0, 4))
    ('seeds 0-2', 'seed 3', 'seeds 0, 4')
    """
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return "seeds " + ", ".join(map(str, seeds))


RANGES = r"\d+(-\d+)?(_\d+(-\d+)?)*"


def write_ranges(seeds: Sequence[int]) -> str:
    """Write ascending seeds for the name of a file.

    >>> write_ranges((0, 1, 2, 4)), read_ranges("0-2_4")
    ('0-2_4', (0, 1, 2, 4))
    """
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return "_".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def read_ranges(text: str) -> tuple[int, ...]:
    """Read what `write_ranges` wrote."""
    bounds = [tuple(map(int, part.split("-"))) for part in text.split("_")]
    return tuple(seed for bound in bounds for seed in range(bound[0], bound[-1] + 1))


def split_seeds(job: Job, measured: xarray.Dataset) -> dict[int, xarray.Dataset]:
    """Take what a job measured apart into its units, each with a ``seed`` dimension of length one.

    Raises:
        ValueError: The data set does not hold exactly the job's seeds.
    """
    seeds = tuple(measured["seed"].values.tolist()) if "seed" in measured.coords else None
    if seeds != job.seeds:
        raise ValueError(f"{job.label} returned the seed coordinate {seeds}, expected {job.seeds}")
    return {seed: measured.isel(seed=[index]) for index, seed in enumerate(job.seeds)}


def digest(experiment: str, setting: Any, **facts: Any) -> str:
    """Return 12 hex digits that change when anything changes that determines a unit's numbers.

    Hashed are the experiment, the fields of the frozen dataclass ``setting``, and ``facts`` such as the
    data set's fingerprint, the kind of device and the root seed. Left out are a field ``cost`` (a guess),
    fields with ``compare=False``, fields that equal their default, and facts that are None: so a field or
    fact added later keeps old results valid. Changing a *default* therefore changes what old digests mean;
    give the field a new name, or add a fact, whenever that happens.

    Raises:
        SettingError: A value has no canonical form.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Depth:
    ...     layers: int
    ...     rate: float = 0.1
    >>> digest("toy", Depth(2)) == digest("toy", Depth(2, rate=0.1)) != digest("toy", Depth(3))
    True
    """
    given = {key: value for key, value in facts.items() if value is not None}
    text = json.dumps(_canonical([experiment, setting, given]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(value: Any) -> Any:
    """Turn a value into JSON in which equal values look equal (so 1.0 is 1, and a list is a tuple)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _canonical(getattr(value, field.name)) for field in _telling_fields(value)}
        return {"type": type(value).__name__, "fields": fields}
    if isinstance(value, enum.Enum):
        return [type(value).__name__, value.name]
    if isinstance(value, np.ndarray | np.generic):
        return _canonical(value.tolist())
    if isinstance(value, float) and not value.is_integer():
        return value if math.isfinite(value) else ["float", str(value)]
    if isinstance(value, float):
        return int(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return sorted(([_canonical(key), _canonical(item)] for key, item in value.items()), key=json.dumps)
    if isinstance(value, Set):
        return sorted((_canonical(item) for item in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    raise SettingError(
        f"a setting holds {value!r} of type {type(value).__name__}: use numbers, strings, None, tuples, "
        "dictionaries, enums, paths or dataclasses, so that results can be told apart"
    )


def _telling_fields(value: Any) -> list[dataclasses.Field]:
    """List the fields of a dataclass that tell it from the one made by defaults alone."""

    def is_default(field: dataclasses.Field) -> bool:
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            return False
        return json.dumps(_canonical(default)) == json.dumps(_canonical(getattr(value, field.name)))

    kept = (field for field in dataclasses.fields(value) if field.compare and field.name != "cost")
    return [field for field in kept if not is_default(field)]
