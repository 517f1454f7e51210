"""Experiments from a user's file: how it is loaded, here and in worker processes, and what its content is."""

import ast
import hashlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from whydeep.errors import SettingError, one_line

PREFIX = "whydeep_file_"

_contents: dict[Path, bytes] = {}
"""What files beside those of experiments held when this process imported them."""


def is_file_name(word: str) -> bool:
    """Tell whether a word names a file of an experiment, and no experiment.

    >>> is_file_name("my_experiment.py"), is_file_name("batch-size")
    (True, False)
    """
    return word.endswith(".py") or "/" in word or "\\" in word


def source_digest(path: Path) -> str:
    """Return 16 hex digits of a Python file's content and of all files beside it, or of its package, that it imports.

    Raises:
        SettingError: the file is not there, or is not Python.
    """
    digest = hashlib.sha256()
    for file in _with_imports(path):
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module, once in a process for each content.

    Modules beside the file can be imported by it.

    Raises:
        SettingError: one line that names the file and what is wrong with it.
    """
    path = path.resolve()
    name = f"{PREFIX}{source_digest(path)}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _forget_changed(_with_imports(path)[1:])
    sys.modules[name] = module  # before it runs, as dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        _check_imports(path)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SettingError | KeyboardInterrupt):
            raise
        raise SettingError(f"{path} cannot be loaded: {one_line(error, path)}") from None
    return module


def _forget_changed(files: Iterable[Path]) -> None:
    """Have modules imported anew if one of their files was changed since: a worker of a cluster may run for days."""
    contents = {file: file.read_bytes() for file in files}
    if any(_contents.get(file, content) != content for file, content in contents.items()):
        for name, module in [*sys.modules.items()]:
            file = getattr(module, "__dict__", {}).get("__file__")
            if isinstance(file, str) and not name.startswith(PREFIX) and Path(file).resolve() in contents:
                del sys.modules[name]
        importlib.invalidate_caches()
    _contents.update(contents)


def defining_file(thing: Any) -> Path | None:
    """Return the file that a class or function was loaded from by `load_file`; None if it is of a module."""
    module = sys.modules.get(thing.__module__)
    return Path(str(module.__file__)) if module is not None and module.__name__.startswith(PREFIX) else None


def portable(kind: type, state: Mapping[str, Any]) -> tuple:
    """Return how an object is made again in another process (see `object.__reduce__`), where its file is loaded first.

    The state travels as bytes, as it may hold objects of classes of the same file.
    """
    return _restore, (*_address(kind), pickle.dumps(dict(state)))


class PortableFunction:
    """A function at the top level of a module or a user's file, which goes to other processes by its address.

    Raises:
        SettingError: the function is not at the top level.
    """

    def __init__(self, function: Any):
        self.function = function
        module = sys.modules.get(getattr(function, "__module__", ""))
        if getattr(module, getattr(function, "__qualname__", ""), None) is not function:
            name = getattr(function, "__qualname__", repr(function))
            raise SettingError(f"{name} must be a function at the top level of its file: workers import it by its name")

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.function(*arguments)

    def __reduce__(self) -> tuple:
        return _restore_function, _address(self.function)


def _address(thing: Any) -> tuple[str, str, Path | None, str]:
    path = defining_file(thing)
    digest = source_digest(path) if path else _imported_digest(thing.__module__)
    return thing.__module__, thing.__qualname__, path, digest


@cache
def _imported_digest(module: str) -> str:
    """Digest of a module of another package, read once, soon after this process imported it; of whydeep's, nothing."""
    file = getattr(sys.modules[module], "__file__", None) or ""
    is_outside = module.partition(".")[0] != "whydeep" and module != "__main__"
    return source_digest(Path(file)) if is_outside and file.endswith(".py") else ""


def _locate(module: str, name: str, path: Path | None, digest: str) -> Any:
    if path is None:
        home: Any = importlib.import_module(module)
        if _imported_digest(module) != digest:
            raise SettingError(f"{module} has other content than where the run began: install the same, and start anew")
    else:
        if source_digest(path) != digest:
            raise SettingError(f"{path} was changed while it was running: run it again")
        home = load_file(path)
    for part in name.split("."):
        home = getattr(home, part)
    return home


class Lost:
    """Stands for what cannot be loaded in this process: its job fails when it is called, and not the process."""

    def __init__(self, error: Exception):
        self.error = error

    def __call__(self, *arguments: Any) -> Any:
        """Raise the error."""
        raise self.error


def _restore(module: str, name: str, path: Path | None, digest: str, state: bytes) -> Any:
    try:
        kind = _locate(module, name, path, digest)
    except Exception as error:
        return Lost(error)
    restored = object.__new__(kind)
    restored.__dict__.update(pickle.loads(state))
    return restored


def _restore_function(module: str, name: str, path: Path | None, digest: str) -> PortableFunction | Lost:
    try:
        return PortableFunction(_locate(module, name, path, digest))
    except Exception as error:
        return Lost(error)


def _with_imports(path: Path) -> list[Path]:
    """A file, and the files beside it, or of its package, that it imports, that they import, and so on."""
    files, waiting = [], [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.append(file)
            waiting += sorted(beside for _, beside in _imports_beside(file, path.resolve()))
    return files


def _imports_beside(file: Path, experiment: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each module that a file imports anywhere, if it lies beside the experiment's file.

    If that file is a part of a package, the whole package is.
    """
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise SettingError(f"{file} cannot be read ({error.strerror}): give the file of an experiment") from None
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise SettingError(f"{file} is not Python{line}: {getattr(error, 'msg', error)}") from None
    package = _enclosing_package(experiment)
    for level, name in sorted(_imported_names(tree)):
        parts = name.split(".") if name else []
        if level:
            folder = file.parents[level - 1] if level <= len(file.parents) else None
        elif package is None:
            folder = experiment.parent
        else:  # of an installed package, nothing that lies beside it
            folder = package.parent if parts[:1] == [package.name] else None
        if folder is None:
            continue
        for depth in range(1, len(parts) + 1):
            place = folder.joinpath(*parts[:depth])
            for candidate in (place.with_suffix(".py"), place / "__init__.py"):
                if candidate.is_file():
                    yield "." * level + ".".join(parts[:depth]), candidate.resolve()


def _enclosing_package(file: Path) -> Path | None:
    """Return the folder of the outermost package that a file is part of; None if it is of none."""
    package = None
    for folder in file.parents:
        if not (folder / "__init__.py").exists():
            break
        package = folder
    return package


def _imported_names(tree: ast.AST) -> set[tuple[int, str]]:
    """Level, 0 for an absolute import, and name of every module that may be imported."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            within = f"{node.module}." if node.module else ""
            names |= {(node.level, node.module or "")}
            names |= {(node.level, f"{within}{alias.name}") for alias in node.names if alias.name != "*"}
    return names


def _check_imports(path: Path) -> None:
    """Raise `SettingError` if a module beside the file was not the one that it imported, as another has its name."""
    for file in _with_imports(path):
        for name, beside in _imports_beside(file, path):
            loaded = getattr(sys.modules.get(name), "__file__", None)
            if loaded is not None and Path(loaded).resolve() != beside:
                raise SettingError(
                    f"{path.name} imports {name}, and {loaded} was imported instead of {beside}: give it another name"
                )
