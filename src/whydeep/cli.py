"""The command line: `whydeep run`, `list`, `report`, `claims`, `data`, `bench`."""

import contextlib
import io
import os
import re
import signal
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

# Threads that wait must sleep: spinning ones can slow a busy machine by orders of magnitude. OpenMP reads
# this when torch is imported, so it is set before any module that imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tyro
from tyro.conf import Positional, arg, subcommand

import whydeep
from whydeep.errors import WhydeepError, near_names


@dataclass(frozen=True)
class Run:
    """Run experiments and write results, figures and a report; a folder that has some goes on with the rest."""

    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="[EXPERIMENT ...]")] = ()
    """Names of experiments (see `whydeep list`); none means the whole study."""
    scale: Literal["smoke", "quick", "full"] = "quick"
    """smoke: seconds, for tests. quick: minutes. full: the reference settings."""
    seeds: Annotated[int, arg(metavar="N")] = 5
    """Networks per setting, each from its own seed."""
    root_seed: Annotated[int, arg(metavar="N")] = 0
    """Another number draws other seeds: the same study once more, with new networks."""
    dataset: Annotated[str | None, arg(metavar="NAME-OR-PATH")] = None
    """Images: mnist, fashion-mnist, kmnist, digits, an .npz file or a folder. Default: mnist, else digits."""
    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where data sets lie. Default: the environment variable WHYDEEP_DATA, then the usual places."""
    functions: Annotated[tuple[str, ...], arg(metavar="F [F ...]")] = ("arcsinh", "cos")
    """Targets of function-fitting: names, or Python expressions of x such as "sin(x)/x"."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/study")
    """The run folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    workers: Annotated[int, arg(metavar="N")] = 0
    """Processes that train; 0 means one per core. Results do not depend on it."""
    claims: Annotated[Path | None, arg(metavar="FILE")] = None
    """Claims of your own, in a TOML or a Python file, judged with the others."""
    fresh: bool = False
    """Start anew: first remove what earlier runs wrote to the folder."""

    def __call__(self) -> int:
        """Run, and return the exit status."""
        from whydeep.experiments.study import Request, run_study

        request = Request(**{field.name: getattr(self, field.name) for field in fields(self)})
        outcome = run_study(request)
        return 130 if outcome.interrupted else 1 if outcome.failures else 0


@dataclass(frozen=True)
class List:
    """List the experiments; or what some of them claim and measure."""

    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="[EXPERIMENT ...]")] = ()
    """Names of experiments, to see their claims and the variables of their results."""

    def __call__(self) -> int:
        """Print one line per experiment, or all about some."""
        from whydeep.experiments import EXPERIMENTS, find_experiment

        if self.experiments:
            print("\n\n".join(find_experiment(name).describe() for name in self.experiments))
            return 0
        for experiment in EXPERIMENTS.values():
            claims = "-".join(dict.fromkeys((experiment.claims[0].id, experiment.claims[-1].id)))
            print(f"{experiment.name:<22} {experiment.title.split('.')[0]}  {experiment.question} ({claims})")
        return 0


@dataclass(frozen=True)
class Report:
    """Draw the figures and write the report of a run again, from its results alone."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    claims: Annotated[Path | None, arg(metavar="FILE")] = None
    """Claims of your own, in a TOML or a Python file, judged with the others."""

    def __call__(self) -> int:
        """Write the report."""
        from whydeep.experiments import EXPERIMENTS
        from whydeep.experiments.presentation import draw_figures, write_report
        from whydeep.experiments.verdicts import find_own_claims, judge_folder
        from whydeep.runs import RunFolder

        folder = RunFolder(self.folder)
        folder.require()
        judgements = judge_folder(folder, find_own_claims(folder, self.claims))
        for experiment in EXPERIMENTS.values():
            draw_figures(folder, experiment)
        write_report(folder, judgements)
        print(f"report: {folder.report}")
        return 0


@dataclass(frozen=True)
class Claims:
    """Judge the claims of a run, from its results alone: supported, contradicted or undecided, and why.

    A report that is there gets the verdicts as well.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    json: bool = False
    """Print what claims.json holds instead of a table."""
    claims: Annotated[Path | None, arg(metavar="FILE")] = None
    """Claims of your own, in a TOML or a Python file, judged with the others."""

    def __call__(self) -> int:
        """Print the verdicts; a report that is there gets them as well."""
        from whydeep.experiments.presentation import write_report
        from whydeep.experiments.verdicts import find_own_claims, judge_folder, verdicts_text
        from whydeep.runs import RunFolder

        folder = RunFolder(self.folder)
        folder.require()
        own = find_own_claims(folder, self.claims)
        replaced = folder.own_claims.is_file() and folder.own_claims.read_bytes() != own.toml
        judgements = judge_folder(folder, own)
        if own.toml is not None:
            place = " in place of others" if replaced else ""
            kept = f"claims kept in {folder.own_claims}{place}; delete it to leave them out again"
            print(f"whydeep: {kept}", file=sys.stderr)
        print(folder.claims.read_text(encoding="utf-8").rstrip() if self.json else verdicts_text(judgements).lstrip())
        if folder.report.exists():
            write_report(folder, judgements)
        return 0


@dataclass(frozen=True)
class Data:
    """Show which data sets are there, where they were found, and how to get the others."""

    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where data sets lie. Default: the environment variable WHYDEEP_DATA, then the usual places."""

    def __call__(self) -> int:
        """Print one line per data set."""
        from whydeep.data import catalog

        for entry in catalog(self.data_dir):
            print(entry)
        return 0


@dataclass(frozen=True)
class Bench:
    """Measure how fast populations train here, against plain PyTorch loops."""

    rounds: Annotated[int, arg(metavar="N")] = 3
    """How often everything is measured; the fastest counts."""

    def __call__(self) -> int:
        """Print the table."""
        from whydeep.benchmark import run_benchmark

        run_benchmark(self.rounds)
        return 0


COMMANDS = {"run": Run, "list": List, "report": Report, "claims": Claims, "data": Data, "bench": Bench}
Command = (
    Annotated[Run, subcommand("run")]
    | Annotated[List, subcommand("list")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Claims, subcommand("claims")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Bench, subcommand("bench")]
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a unit failed, 2 bad input, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    _interrupt_by_termination()
    if given == ["--version"]:
        print(f"whydeep {whydeep.__version__}")
        sys.exit(0)
    try:
        sys.exit(_parse(given)())
    except WhydeepError as error:
        print(f"whydeep: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("whydeep: interrupted; what was finished is kept: run the same command to go on", file=sys.stderr)
        sys.exit(130)


def _interrupt_by_termination() -> None:
    """Let SIGTERM do what Ctrl-C does, as clusters send it, from the beginning on."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _parse(given: list[str]) -> Run | List | Report | Claims | Data | Bench:
    """Parse with tyro; its boxed messages become one line."""
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(
                Command,
                prog="whydeep",
                description="Study how neural networks train.",
                args=given or ["--help"],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        print(f"whydeep: {_one_line(messages.getvalue(), given)}", file=sys.stderr)
        raise SystemExit(2) from None


def _one_line(message: str, given: list[str]) -> str:
    lines = [line.strip("│ ").strip() for line in message.splitlines() if not line.startswith(("╭", "╰"))]
    first = " ".join(lines).split("───")[0].split("Got errors:")[0].strip().rstrip(".")
    command = given[0] if given else ""
    if command not in COMMANDS:
        return f"no command is called {command!r}: {near_names(command, COMMANDS)}"
    positional = {"experiments", "folder"}
    names = [field.name for field in fields(COMMANDS[command]) if field.name not in positional]
    options = ["--" + name.replace("_", "-") for name in names]
    unknown = [token for token in given if token.startswith("--") and token.split("=")[0] not in options]
    if unknown:
        return f"no option of {command} is called {unknown[0]}: {near_names(unknown[0], options)}"
    return re.sub(r"\s+", " ", first) + f"; see whydeep {command} --help"
