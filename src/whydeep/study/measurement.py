"""What a job runs, wherever it runs, and what must be there."""

from dataclasses import dataclass

import xarray as xr

from whydeep.data import Mapped, Source
from whydeep.errors import SettingError
from whydeep.population.compiler import TORCH, arithmetic, compiler_problem
from whydeep.runs import Context
from whydeep.study.experiment import Run, Setting
from whydeep.study.files import Lost, PortableFunction


@dataclass(frozen=True)
class Measurement:
    """What a job runs: an experiment's function, given what it needs of the run."""

    experiment: str
    measure: PortableFunction

    def __call__(self, setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
        """Measure a setting for some seeds.

        Raises:
            SettingError: the function does not return what results are made of.
        """
        run = Run(
            self.experiment,
            setting,
            seeds,
            root_seed=context.root_seed,
            device=context.device,
            progress=context.progress,
            source=context.source,
            checkpoint=context.checkpoint,
        )
        measured = self.measure(setting, run)
        if not isinstance(measured, xr.Dataset):
            raise SettingError(f"measure must return an xarray.Dataset, not {type(measured).__name__}")
        relabelled = set(measured.dims) & set(setting.coordinates)
        if relabelled:
            raise SettingError(
                f"measure returned the dimension {min(map(str, relabelled))}, which is one of the settings': give it "
                "another name"
            )
        for name, values in measured.data_vars.items():
            if "seed" not in values.dims:
                raise SettingError(f"measure returned the variable {name} without the dimension seed")
            if values.dtype.kind not in "fiub" or name in setting.coordinates:
                what = f"of type {values.dtype}" if values.dtype.kind not in "fiub" else "called like a dimension"
                raise SettingError(
                    f"measure returned the variable {name} {what}: variables must be numbers, floats at best"
                )
        return measured


@dataclass(frozen=True)
class Requirements:
    """What jobs need on every machine: the data set, the files of experiments, which are read when this arrives, and
    what networks are computed with."""

    source: Source | Mapped | None
    measures: tuple[PortableFunction | Lost, ...]
    arithmetic: str = TORCH

    def __call__(self) -> None:
        """Check that all of it is there.

        Raises:
            DataError: the data set is not, or has other content.
            SettingError: networks would be computed in another way.
            Exception: the file of an experiment is not, cannot be loaded, or has other content.
        """
        for measure in self.measures:
            if isinstance(measure, Lost):
                raise measure.error
        if self.source is not None:
            self.source.load()
        if arithmetic("cpu") != self.arithmetic:
            problem = compiler_problem() or "the run could not compile, and it can"
            raise SettingError(f"it computes networks in another way than the run ({problem})")
