"""The command line: `whydeep run`, `list`, `report`, `claims`, `verify`, `data`, `bench`."""

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

# Threads that wait must sleep: spinning ones can slow a busy machine by orders of magnitude. OpenMP reads
# this when torch is imported, so it is set before any module that imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tyro
from tyro.conf import Positional, arg, subcommand

import whydeep
from whydeep.endings import explain, final_status
from whydeep.errors import SettingError, StorageError, WhydeepError, printable_line
from whydeep.mistakes import explain_mistake
from whydeep.streams import say, tell
from whydeep.study.design import Scale
from whydeep.study.request import Request, check_number, merge_changes, read_study
from whydeep.surroundings import prepare_surroundings

if TYPE_CHECKING:
    from whydeep.runs import RunFolder
    from whydeep.study.registry import Registry
    from whydeep.study.verdicts import Verdicts

Experiments = Annotated[Positional[tuple[str, ...]], arg(metavar="[EXPERIMENT ...]")]
UserClaimsPath = Annotated[Path | None, arg(metavar="FILE")]


@dataclass(frozen=True)
class List:
    """List the experiments; or what some of them claim and measure, and what can be set."""

    experiments: Experiments = ()
    """Names of experiments, or Python files that define one, to see all about them."""
    cost: bool = False
    """Say instead what a run of them would take: time, memory and disk."""
    scale: Scale = "quick"
    """Of that run."""
    seeds: Annotated[int, arg(metavar="N")] = Request.seeds
    """Of that run."""
    workers: Annotated[int, arg(metavar="N")] = Request.workers
    """Of that run."""

    def __call__(self) -> int:
        """Print one line per experiment, or all about some."""
        if self.cost:
            with _importing():
                from whydeep.study.cost import cost_table

            request = Request(self.experiments, scale=self.scale, seeds=self.seeds, workers=self.workers)
            say(cost_table(request))
            return 0
        with _importing():
            from whydeep.study.console import describe, list_line
            from whydeep.study.registry import Registry

            installed = Registry.installed()
        registry, names = installed.with_files(self.experiments)
        if names:
            say("\n\n".join(describe(registry[name]) for name in names))
        else:
            say("\n".join(map(list_line, registry.values())))
        return 0


@dataclass(frozen=True)
class Report:
    """Draw the figures and write the report of a run again, from its results alone."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="[FILE ...]")] = ()
    """Python files of experiments in it; what is stored of an experiment whose file is not given is shown as it is."""
    claims: UserClaimsPath = None
    """Claims of your own, in a TOML or a Python file, judged with the others."""

    def __call__(self) -> int:
        """Write the report."""
        from whydeep.study.drawing import draw_figures
        from whydeep.study.reporting import write_report
        from whydeep.study.verdicts import judge_folder, read_user_claims

        folder, registry = _open_run(self.folder, self.experiments)
        folder.require_writable()
        verdicts = judge_folder(folder, registry, read_user_claims(folder, registry, self.claims))
        verdicts.keep(folder)
        problems = draw_figures(folder, registry.values()) + write_report(folder, registry, verdicts.judgements)
        if problems:
            raise problems[0]
        _say_what_is_stored(folder, registry)
        say(f"report: {printable_line(str(folder.report))}")
        return 0


@dataclass(frozen=True)
class Claims:
    """Judge the claims of a run, from its results alone: supported, contradicted or undecided, and why.

    A report that is there gets the verdicts as well.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="[FILE ...]")] = ()
    """Python files of experiments in it; claims of one whose file is not given are judged from what is stored."""
    json: bool = False
    """Print what claims.json holds instead of a table."""
    claims: UserClaimsPath = None
    """Claims of your own, in a TOML or a Python file, judged with the others."""

    def __call__(self) -> int:
        """Print the verdicts, and keep them where the folder can be written."""
        from whydeep.study import console
        from whydeep.study.verdicts import judge_folder, read_user_claims

        with contextlib.redirect_stdout(sys.stderr):  # what a user's code prints is no part of the answer
            folder, registry = _open_run(self.folder, self.experiments)
            verdicts = judge_folder(folder, registry, read_user_claims(folder, registry, self.claims))
            try:
                self._keep(folder, registry, verdicts)
            except StorageError as error:
                tell(f"the verdicts are printed, and not kept: {error}")
            _say_what_is_stored(folder, registry)
        if self.json:
            say(verdicts.to_json(ascii=sys.stdout.encoding.lower() != "utf-8").rstrip())
        else:
            say(console.verdicts(verdicts.judgements, registry).lstrip())
        return 0

    def _keep(self, folder: "RunFolder", registry: "Registry", verdicts: "Verdicts") -> None:
        """Write claims.json, and a report that is there."""
        from whydeep.study.reporting import write_report

        toml, before = verdicts.user.toml, folder.user_claims
        replaced = before.is_file() and not (folder.is_whole(before) and folder.read(before) == toml)
        verdicts.keep(folder)
        if toml is not None:
            place = " in place of others" if replaced else ""
            tell(f"claims kept in {before}{place}; delete it to leave them out again")
        if folder.report.exists():
            write_report(folder, registry, verdicts.judgements)


def _open_run(path: Path, files: tuple[str, ...]) -> "tuple[RunFolder, Registry]":
    """Return the folder of a run, and the installed experiments with those of some files."""
    with _importing():
        from whydeep.runs import RunFolder
        from whydeep.study.registry import Registry

        folder = RunFolder(path)
        folder.require()
        installed = Registry.installed()
    return folder, installed.with_files(files)[0]


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import without looking for garbage: what modules define stays, and the search takes a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # at the end of the process as well
        gc.enable()


def _say_what_is_stored(folder: "RunFolder", registry: "Registry") -> None:
    """Say which experiments are shown from what the folder keeps, as no command runs code that a folder names; and
    which results are of another version of a file that is given."""
    from whydeep.study.provenance import is_of_another_version
    from whydeep.study.registry import outside_file
    from whydeep.study.results import read_results

    outside = [name for name in folder.experiments() if name in registry and outside_file(registry[name])]
    for name in outside:
        if is_of_another_version(read_results(folder, name, registry[name]), registry[name]):
            tell(f"the results of {name} were measured by another version of its file: run it to measure anew")
    stored = ", ".join(name for name in folder.experiments() if name not in registry)
    if stored:
        tell(
            f"{stored}: figures, texts and claims are those that are stored; give the Python file after the folder to "
            "draw and judge anew"
        )


@dataclass(frozen=True)
class Verify:
    """Check that a run folder is as it was written: every file, results against units, verdicts against results.

    Exit status 1 if something is not.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    experiments: Annotated[Positional[tuple[str, ...]], arg(metavar="[FILE ...]")] = ()
    """Python files of experiments in it, whose units may be measured again."""
    redo: Annotated[int, arg(metavar="N")] = 0
    """Measure so many units again, chosen at random, and compare: to the byte on machines of the kind that measured
    them, elsewhere to the tolerance."""
    tolerance: float = 1e-3
    """Largest difference elsewhere, as a share of a variable's largest value."""

    def __call__(self) -> int:
        """Print what was checked, and what is not as it should be."""
        check_number("--redo", self.redo, 0, 1_000_000)
        if not 0 <= self.tolerance < inf:
            raise SettingError(f"--tolerance must be a number, 0 or more, not {self.tolerance}")
        from whydeep.study import verification

        folder, registry = _open_run(self.folder, self.experiments)
        check = verification.check_folder(folder)
        say(f"{check.whole} files are as they were written")
        if check.unsealed:
            say(f"{check.unsealed} files of an earlier version carry no checksum")
        if check.without_units:
            say(f"results that no unit is there to check against: {', '.join(check.without_units)}")
        problems = [*check.problems]
        if self.redo:
            asked = _earlier_requests(folder)
            earlier = [*verification.requests_of(asked, self.experiments, registry)]
            if asked and not earlier:
                problems.append("its experiments are in files of your own: give the files after the folder")
            compared, failed = verification.measure_again(
                folder, earlier, registry, self.redo, tolerance=self.tolerance
            )
            for comparison in compared:
                say(str(comparison))
            problems += [f"measured again, and different: {unit.label}" for unit in compared if not unit.agrees]
            problems += failed
        for problem in problems:
            tell(problem)
        return 1 if problems else 0


def _earlier_requests(folder: "RunFolder") -> list[Request]:
    """Return what the commands of a folder's manifest asked for, the last first."""
    record = folder.record()
    if record is None:
        tell("no manifest can be read that says which commands were given: no unit can be measured again")
        return []
    requests = []
    for run in (record, *reversed(record.get("history", []))):
        try:
            command = _parse(list(run["command"][1:]))
        except (KeyError, TypeError, SystemExit, WhydeepError):
            tell("a command of the manifest cannot be read, and is passed over")
            continue
        if isinstance(command, Request) and command not in requests:
            requests.append(command)
    return requests


@dataclass(frozen=True)
class Data:
    """Show which data sets are there, where they were found, and how to get the others."""

    data_dir: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where data sets lie. Default: the environment variable WHYDEEP_DATA, then the usual places."""

    def __call__(self) -> int:
        """Print one line per data set."""
        from whydeep.data import catalog

        for entry in catalog(self.data_dir):
            say(str(entry))
        say("your own       --dataset PATH: an .npz file, a folder of IDX files, or of images as train/CLASS/*.png")
        return 0


@dataclass(frozen=True)
class Bench:
    """Measure how fast populations train here, against plain PyTorch loops."""

    rounds: Annotated[int, arg(metavar="N")] = 3
    """How often everything is measured; the fastest counts."""
    json: bool = False
    """Print all times of all rounds, and the machine, as JSON."""

    def __call__(self) -> int:
        """Print the table."""
        check_number("--rounds", self.rounds, 1, 1_000)
        from whydeep.benchmark import run_benchmark

        run_benchmark(self.rounds, as_json=self.json)
        return 0


WITHOUT_DOCSTRINGS = " (PYTHONOPTIMIZE=2 leaves out what commands do: see the help without it.)"
COMMANDS = {
    "run": Request,
    "list": List,
    "report": Report,
    "claims": Claims,
    "verify": Verify,
    "data": Data,
    "bench": Bench,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 something was lost or failed, 2 bad input, 130 interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        prepare_surroundings()
        status = _run_command(given)
    except BaseException as error:
        status = explain(error, given)
    sys.exit(final_status(status))


def _run_command(given: list[str]) -> int:
    """Run a command, and return its exit status."""
    if given == ["--version"]:
        say(f"whydeep {whydeep.__version__}")
        return 0
    command = _parse(given)
    if not isinstance(command, Request):
        return command()
    with _importing():
        from whydeep.study.run import run_study
    outcome = run_study(command)
    return 130 if outcome.interrupted else 1 if outcome.failures or outcome.stopped else 0


def _parse(given: list[str]) -> Request | List | Report | Claims | Verify | Data | Bench:
    """Parse with tyro; its boxed messages become one line. A study file gives `run` other defaults."""
    if any("\0" in word for word in given):
        raise SettingError("a word of the command holds a null character, which no name has: leave it out")
    path = _study_file(given)
    study = read_study(path) if path else Request()
    run = subcommand("run", default=replace(study, set=()))
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            command = tyro.cli(
                (
                    Annotated[Request, run]
                    | Annotated[List, subcommand("list")]
                    | Annotated[Report, subcommand("report")]
                    | Annotated[Claims, subcommand("claims")]
                    | Annotated[Verify, subcommand("verify")]
                    | Annotated[Data, subcommand("data")]
                    | Annotated[Bench, subcommand("bench")]
                ),
                prog="whydeep",
                description=f"Study how neural networks train.{WITHOUT_DOCSTRINGS if sys.flags.optimize > 1 else ''}",
                args=given or ["--help"],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise SettingError(explain_mistake(messages.getvalue(), given, COMMANDS)) from None
    if isinstance(command, Request):
        if "--functions" in given and not command.functions:
            raise SettingError("--functions is given without any: give names or expressions of x, or leave it out")
        return replace(command, study=None, set=merge_changes(study.set, command.set))
    return command


def _study_file(given: list[str]) -> Path | None:
    """Return the study file among the arguments of `run`."""
    if given[:1] != ["run"]:
        return None
    files = [after for option, after in pairwise([*given, ""]) if option == "--study"]
    files += [word.removeprefix("--study=") for word in given if word.startswith("--study=")]
    if len(files) > 1:
        raise SettingError(f"--study is given {len(files)} times: give one file")
    if files and (not files[0] or files[0].startswith("--")):
        raise SettingError("--study needs a file: give the path of one in TOML")
    return Path(files[0]) if files else None
