"""Which experiments there are: those that installed packages offer, and those in files that a user names."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from whydeep.errors import SettingError, near_names, one_line
from whydeep.streams import tell
from whydeep.study.experiment import Experiment
from whydeep.study.files import is_file_name, load_file, source_digest

GROUP = "whydeep.experiments"
"""Of entry points; each leads to an `Experiment` or several."""


class Registry(Mapping[str, Experiment]):
    """Experiments by name, in the order of a study.

    Args:
        experiments: in their order.

    Raises:
        SettingError: two experiments, or two claims, of the same name.
    """

    def __init__(self, experiments: Iterable[Experiment] = ()):
        self._experiments: dict[str, Experiment] = {}
        claims: dict[str, str] = {}
        for experiment in experiments:
            if not isinstance(experiment, Experiment):
                raise SettingError(f"an experiment must be a whydeep.study.Experiment, not {type(experiment).__name__}")
            if experiment.name in self._experiments:
                raise SettingError(f"two experiments are called {experiment.name}: give one of them another name")
            for claim in experiment.claims:
                if claim.id in claims:
                    raise SettingError(
                        f"{experiment.name} and {claims[claim.id]} both have a claim {claim.id}: give one another id"
                    )
                claims[claim.id] = experiment.name
            self._experiments[experiment.name] = experiment

    def __getitem__(self, name: str) -> Experiment:
        return self._experiments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._experiments)

    def __len__(self) -> int:
        return len(self._experiments)

    @classmethod
    def installed(cls) -> "Registry":
        """Return the experiments that installed packages offer by entry points, whydeep's own first."""
        offers = sorted(
            entry_points(group=GROUP), key=lambda offer: (not offer.value.startswith("whydeep."), offer.name)
        )
        experiments: list[Experiment] = []
        for offer in offers:
            try:
                offered = _several(offer.load())
                cls([*experiments, *offered])  # clashes of names are that package's
                experiments += offered
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # of another package: it must not keep whydeep from working
                if offer.value.startswith("whydeep."):
                    raise
                tell(f"experiments of {offer.value} are left out: {one_line(error)}")
        return cls(experiments)

    def with_files(self, words: Iterable[str | Path]) -> tuple["Registry", tuple[str, ...]]:
        """Add the experiments of the files among some words; return all, and the names of those that are meant.

        Args:
            words: names of experiments, and Python files that define EXPERIMENT, or EXPERIMENTS, a tuple.

        Raises:
            SettingError: a name of no experiment, a file that is wrong, or a clash of names.
        """
        added, names = [], []
        meant = {str(Path(word).resolve()) if is_file_name(str(word)) else str(word): str(word) for word in words}
        for word in meant.values():
            if is_file_name(word):
                read = read_file(Path(word))
                added += read
                names += [experiment.name for experiment in read]
            else:
                names.append(self.find(word).name)
        return Registry([*self._experiments.values(), *added]) if added else self, tuple(dict.fromkeys(names))

    def find(self, name: str) -> Experiment:
        """Return the experiment with this name.

        Raises:
            SettingError: there is none; the message names those that are meant.
        """
        if name not in self:
            raise SettingError(f"no experiment is called {name!r}: {near_names(name, self)}, or a file such as mine.py")
        return self[name]


def read_file(path: Path) -> list[Experiment]:
    """Read the experiments that a Python file defines.

    Raises:
        SettingError: one line that names the file and what is wrong with it.
    """
    if not path.is_file():
        raise SettingError(f"there is no file {path}: give the Python file of an experiment, or a name")
    if path.suffix != ".py":
        raise SettingError(f"{path} is no Python file: give that of an experiment (a study file goes to run --study)")
    module = load_file(path)
    if hasattr(module, "EXPERIMENT") and hasattr(module, "EXPERIMENTS"):
        raise SettingError(f"{path} defines EXPERIMENT and EXPERIMENTS: put all of them in EXPERIMENTS")
    defined = getattr(module, "EXPERIMENT", None) or getattr(module, "EXPERIMENTS", None)
    try:
        return [replace(experiment, file=path.resolve()) for experiment in _several(defined)]
    except TypeError:
        raise SettingError(
            f"{path} must define EXPERIMENT = Experiment(...), or EXPERIMENTS, a tuple of them"
        ) from None


def outside_file(experiment: Experiment) -> Path | None:
    """Return the file of an experiment from outside; None for whydeep's own, whose revision says what they are."""
    if experiment.file is not None:
        return experiment.file
    modules = [function.__module__ for function in (experiment.measure, experiment.settings)]
    outside = next((module for module in modules if module.partition(".")[0] != "whydeep"), None)
    if outside is None:
        return None
    file = getattr(sys.modules[outside], "__file__", None)
    if file is None or outside == "__main__":
        raise SettingError(
            f"{experiment.name} must be defined in a file that is imported, as workers import it as well"
        )
    return Path(file)


def outside_digest(experiment: Experiment) -> str | None:
    """Return what stands for the source of an experiment from outside in the digests of its units, else None."""
    source = outside_file(experiment)
    return source_digest(source) if source else None


def _several(defined: Any) -> list[Experiment]:
    experiments = list(defined.values()) if isinstance(defined, Mapping) else defined
    experiments = [experiments] if isinstance(experiments, Experiment) else list(experiments)
    if not experiments or not all(isinstance(experiment, Experiment) for experiment in experiments):
        raise TypeError("not experiments")
    return experiments
