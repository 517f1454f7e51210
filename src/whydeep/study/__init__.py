"""What runs any experiment, and writes what came out of it.

experiment  Experiment, Setting: what an experiment is made of, and what its measurement is given
design      values at three scales, and what a user sets
registry    which experiments there are: installed ones, and those in a user's file
files       how a user's file is loaded, here and in workers, and what its content is
request     what a run is asked for; the command line reads it
resolve     the request, resolved: experiments, images, plans, and the jobs that these make
measurement what a job runs, and what must be there
run         from jobs to results, figures and the report
results     units put side by side in one data set with named dimensions
verdicts    claims of a folder, judged together
drawing     figures and tables of an experiment
provenance  what the results in a folder are of: which runs, with what, how to repeat them
reporting   from a folder to its report
methods     what the report says of methods, whatever the experiment
console     what is written on the console

Nothing is imported before it is asked for: the command line answers before torch is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whydeep.study.design import Design, Each, Field, Plan, Scaled
    from whydeep.study.experiment import Experiment, Run, Setting, dimension
    from whydeep.study.registry import Registry
    from whydeep.study.request import Request
    from whydeep.study.run import run_study

_HOMES = {
    "design": ("Design", "Each", "Field", "Plan", "Scaled"),
    "experiment": ("Experiment", "Run", "Setting", "dimension"),
    "registry": ("Registry",),
    "request": ("Request",),
    "run": ("run_study",),
}
__all__ = [
    "Design",
    "Each",
    "Experiment",
    "Field",
    "Plan",
    "Registry",
    "Request",
    "Run",
    "Scaled",
    "Setting",
    "dimension",
    "run_study",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"whydeep.study.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
