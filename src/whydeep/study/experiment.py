"""What an experiment is made of: a question, settings, a measurement, claims, figures and tables."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr

from whydeep.claims import Claim
from whydeep.data import Dataset
from whydeep.errors import SettingError, one_line
from whydeep.population import Stream
from whydeep.population.streams import Purpose
from whydeep.report.elements import Figure, Table
from whydeep.runs.checkpoint import Checkpoint, State
from whydeep.runs.unit import no_progress
from whydeep.study.design import Design, Plan
from whydeep.study.files import defining_file, portable
from whydeep.variables import Variable, words

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_SETTINGS = 10_000
"""Of an experiment; each is at least one file."""
FigureMaker = Callable[[xr.Dataset], Figure | Sequence[Figure]]
TableMaker = Callable[[xr.Dataset], Table | Sequence[Table]]


def dimension(**options: Any) -> Any:
    """Declare a field of a setting that becomes a dimension of the results, labelled by the field's values."""
    return field(metadata={"dimension": True}, **options)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One cell of an experiment's design: a frozen dataclass whose fields determine the numbers.

    The fields that are declared by `dimension()` say where it lies in the results, and name it.
    """

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where the setting lies in the results: dimension -> label."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.metadata.get("dimension")}

    @property
    def name(self) -> str:
        """Which setting it is; unique within its experiment, and a part of the names of its random streams."""
        return " ".join(map(str, self.coordinates.values())) or "setting"

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core: for the order of jobs and the time left, nothing else."""
        return 1.0

    @property
    def memory(self) -> float:
        """Predicted bytes that each seed needs while it is measured, beside what every process does."""
        return 2.0**23

    @property
    def disk(self) -> float:
        """Predicted bytes of the unit of one seed."""
        return 4e4

    def __reduce__(self) -> tuple:
        """Go to another process: a setting from a user's file brings along where its class is."""
        return portable(type(self), vars(self))


@dataclass(frozen=True)
class Run:
    """What a measurement is given beside its setting: seeds, streams, device, data, progress.

    Attributes:
        experiment, setting: what is measured.
        seeds: one member of the population for each.
        root_seed, device: of the run.
        progress: takes the share of the work that is done, from 0 to 1.
        source: where the images are; None for an experiment that uses none.
        checkpoint: keeps the state of its loops.
    """

    experiment: str
    setting: Setting
    seeds: tuple[int, ...]
    root_seed: int = 0
    device: str = "cpu"
    progress: Callable[[float], None] = no_progress
    source: Any = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint, compare=False, repr=False)

    def stream(self, purpose: Purpose, seed: int, *, shared: bool = False, name: str | None = None) -> Stream:
        """Return the random stream of a seed for a purpose.

        Args:
            shared: the same for all settings, so that these are paired within each seed.
            name: instead of the setting's own name, for streams that some settings share or that one has several of.
        """
        label = "" if shared else self.setting.name if name is None else name
        return Stream(self.root_seed, self.experiment, label, seed, purpose)

    def streams(self, purpose: Purpose, *, shared: bool = False, name: str | None = None) -> list[Stream]:
        """Return the streams of all seeds for a purpose; see `stream`."""
        return [self.stream(purpose, seed, shared=shared, name=name) for seed in self.seeds]

    def part(self, start: float, stop: float) -> Callable[[float], None]:
        """Return a function that reports the progress of a part of the work."""
        return lambda share: self.progress(start + (stop - start) * share)

    def loop(self, items: Iterable[Item], *state: State) -> Iterator[Item]:
        """Go through items, such as epochs; after an interruption, those that were gone through are passed over.

        Whatever counts along must be an item: ``run.loop(enumerate(items))``, not ``enumerate(run.loop(items))``.

        Args:
            items: the same at every call.
            state: all that the loop changes and that is needed after it: trainings, recorders, tensors, arrays, and
                lists and dictionaries of such. It is put back in place; a name that the loop gives to something else is
                not (``total = total + 1`` instead of ``total += 1``).

        >>> total = np.zeros(1)
        >>> for number in Run("demo", Setting(), seeds=(0,)).loop(range(4), total):
        ...     total += number
        >>> total
        array([6.])
        """
        return self.checkpoint.loop(items, *state)

    def each_seed(self, measure: Callable[[int, "Run"], Result], start: float = 0.0, stop: float = 1.0) -> list[Result]:
        """Measure seed by seed; after an interruption, what was measured is not measured again.

        Args:
            measure: given the index of a seed and a run of this seed alone, returns a data set or other values.
            start, stop: the part of the work whose progress this is.

        >>> Run("demo", Setting(), seeds=(3, 4)).each_seed(lambda index, run: (index, run.seeds))
        [(0, (3,)), (1, (4,))]
        """
        width = (stop - start) / len(self.seeds)

        def measure_seed(index: int) -> Result:
            part = self.part(start + index * width, start + (index + 1) * width)
            measured = measure(index, replace(self, seeds=(self.seeds[index],), progress=part))
            part(1.0)
            return measured

        return self.checkpoint.collect(range(len(self.seeds)), measure_seed)

    def images(self) -> Dataset:
        """Return the data set of images."""
        return self.source.load()

    def dataset(self, values: Mapping[str, Any], **coordinates: Any) -> xr.Dataset:
        """Put measured values into a data set with the dimension `seed`.

        Args:
            values: variable -> array [seed], or (dimensions, array [seed, ...]) with the dimensions after the seed's,
                a name or a tuple of names. Tensors are accepted.
            coordinates: labels of the dimensions, or (dimension, values) or more, as xarray takes them.

        Raises:
            SettingError: the dimension seed is given: it is the first of every variable, and added here.

        >>> run = Run("demo", Setting(), seeds=(0, 1))
        >>> run.dataset({"loss": ("epoch", np.ones((2, 3)))}, epoch=[1, 2, 3]).loss.dims
        ('seed', 'epoch')
        """

        def arranged(value: Any) -> tuple[tuple[str, ...], np.ndarray]:
            dims, array = value if isinstance(value, tuple) else ((), value)
            dims = (dims,) if isinstance(dims, str) else tuple(dims)
            if "seed" in dims:
                raise SettingError(f"give the dimensions after the seed's, which is the first: {dims[1:]}, not {dims}")
            return ("seed", *dims), array.cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)

        return xr.Dataset(
            {name: arranged(value) for name, value in values.items()}, {"seed": list(self.seeds), **coordinates}
        )


@dataclass(frozen=True)
class Experiment:
    """An experiment: only name, question, settings and measure are needed.

    Attributes:
        name: as on the command line: lower-case letters, digits and dashes.
        question: what it asks, in one sentence.
        settings: from a plan to the settings: what is trained and measured.
        measure: trains and measures one setting for some seeds, and returns a data set with a dimension `seed`; a
            function at the top level of its file. Values are floats, so that a missing unit can be not-a-number, and
            shapes do not depend on which seeds are measured together.
        design: the values that settings are made of; what can be set.
        title: its heading; by default made from the name.
        uses_images: whether it needs a data set of images.
        variables: variable of the results -> what it is.
        definitions: term -> how it is defined here.
        claims: what is claimed about the results.
        figures, tables: each from the results to one or several of them. Without tables, one lists all variables that
            have one number per setting and seed.
        methods: (label, text) for the report's section on methods.
        references: literature that the report lists.
        revision: counted up when a change of the code changes the numbers, so that old units are measured again.
        file: that it was read from; set by the registry.

    Raises:
        SettingError: a name that cannot be the name of a file, or parts of another kind.
    """

    name: str
    question: str
    settings: Callable[[Plan], Iterable[Setting]]
    measure: Callable[[Any, Run], xr.Dataset]
    design: Design = field(default_factory=Design)
    title: str = ""
    uses_images: bool = False
    variables: Mapping[str, Variable] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    figures: tuple[FigureMaker, ...] = ()
    tables: tuple[TableMaker, ...] | None = None
    methods: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ()
    revision: int = 1
    file: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"(?=.{1,60}$)[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise SettingError(
                f"an experiment is called {str(self.name)[:80]!r}: use at most 60 lower-case letters, digits and dashes"
            )
        for attribute in ("settings", "measure"):
            if not callable(getattr(self, attribute)):
                raise SettingError(f"{self.name}: {attribute} must be a function, not {getattr(self, attribute)!r}")
        for attribute in ("question", "title"):
            if not isinstance(getattr(self, attribute), str):
                raise SettingError(f"{self.name}: {attribute} must be a text, not {getattr(self, attribute)!r:.80}")
        if not isinstance(self.design, Design):
            raise SettingError(f"{self.name}: design must be a Design, not {type(self.design).__name__}")
        kinds = {"claims": Claim, "figures": Callable, "tables": Callable, "methods": tuple, "references": str}
        for attribute, kind in kinds.items():
            if getattr(self, attribute) is not None or attribute != "tables":
                self._check(attribute, tuple | list, "a tuple", kind)
        for attribute, kind in {"variables": Variable, "definitions": str}.items():
            self._check(attribute, Mapping, "a dictionary", kind)

    def _check(self, attribute: str, whole: Any, written: str, kind: Any) -> None:
        given = getattr(self, attribute)
        if not isinstance(given, whole):
            raise SettingError(f"{self.name}: {attribute} must be {written}, and is {type(given).__name__}")
        parts = given.values() if isinstance(given, Mapping) else given
        wrong = [part for part in parts if not isinstance(part, kind)]
        if wrong:
            raise SettingError(f"{self.name}: {attribute} must hold {kind.__name__}, not {wrong[0]!r:.80}")

    @cached_property
    def heading(self) -> str:
        """Its title, or one made from its name."""
        return self.title or self.name.replace("-", " ").capitalize()

    @property
    def label(self) -> str:
        """The number before its title, as in "E7. Number of parameters"; empty if it has none."""
        label, dot, _ = self.title.partition(". ")
        return label if dot and " " not in label else ""

    def variable(self, name: str) -> Variable:
        """Return what a variable is; of one that is not described, its name in words."""
        return self.variables.get(name) or Variable(words(name))

    def make_settings(self, plan: Plan) -> tuple[Setting, ...]:
        """Make the settings, each once.

        Raises:
            SettingError: no settings, or some that are no frozen dataclass, or that cannot be told apart.
        """
        try:
            return self._make_settings(plan)
        except SettingError as error:
            raise SettingError(f"{self.name}: {error}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the code of a user's file does
            path = self.file or defining_file(self.settings)
            if path is None:
                raise
            raise SettingError(f"{self.name}: its settings failed: {one_line(error, path)}") from None

    def _make_settings(self, plan: Plan) -> tuple[Setting, ...]:
        given = [self._checked(setting) for setting in islice(self.settings(plan), MOST_SETTINGS + 1)]
        if len(given) > MOST_SETTINGS:
            raise SettingError(f"more than {MOST_SETTINGS:,} settings at {plan.scale} scale: give fewer values")
        try:
            settings = tuple(dict.fromkeys(given))
        except TypeError as error:
            raise SettingError(f"fields of settings must be numbers, texts or tuples ({error})") from None
        if not settings:
            raise SettingError(f"it has no settings at {plan.scale} scale")
        if len({(*setting.coordinates, *(entry.name for entry in fields(setting))) for setting in settings}) > 1:
            raise SettingError("all settings must have the same fields and dimensions: use one class")
        twice = [name for name, count in Counter(setting.name for setting in settings).items() if count > 1]
        if twice:
            raise SettingError(
                f"two settings are called {twice[0]!r}: declare the fields that tell them apart by dimension()"
            )
        places = [tuple(setting.coordinates.items()) for setting in settings]
        if len(set(places)) < len(places):
            raise SettingError("two settings lie at the same place: their dimensions must tell them apart")
        return settings

    def _checked(self, setting: Any) -> Setting:
        if not isinstance(setting, Setting) or not is_dataclass(setting):
            raise SettingError(
                "settings must be frozen dataclasses that inherit from whydeep.study.Setting, not "
                f"{type(setting).__name__}"
            )
        for name, label in setting.coordinates.items():
            printable = isinstance(label, str) and label.isprintable()
            if name == "seed" or not (printable or isinstance(label, int | float)) or label != label:
                raise SettingError(
                    f"the dimension {name} has the label {label!r}: labels are texts that can be printed, or numbers, "
                    "and no dimension of settings is called seed"
                )
        numbers = setting.cost, setting.memory, setting.disk
        if not isinstance(setting.name, str) or not all(map(isfinite, numbers)):
            raise SettingError(
                f"the setting {setting.name!r} predicts {numbers}: its name must be a text, and its seconds and its "
                "bytes of memory and disk numbers"
            )
        return setting
