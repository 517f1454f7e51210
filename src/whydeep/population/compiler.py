"""Whether kernels can be compiled here; they are compiled once, and kept on disk for all processes."""

import hashlib
import os
import platform
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from torch import Tensor, float32, float64

from whydeep.errors import one_line
from whydeep.population.network import Network
from whydeep.population.updates import ADAM, Rule
from whydeep.streams import tell

TYPES = (float32, float64)
"""Numbers that kernels compute with."""
COMPILED, TORCH = "compiled 1", "torch"
"""Arithmetics; the number is counted up when the kernels give other numbers, so that units are measured anew."""
WAITING = 120.0
"""Seconds to wait for another process that compiles."""


@cache
def compiler_problem() -> str:
    """Say why nothing can be compiled here; an empty text if it can. The first call on a machine compiles."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set"
    try:
        from whydeep.population import compiled, kernels

        compiled.libraries()
        _compile_once(kernels)
    except Exception as error:  # whatever the compiler does not find on an unusual system
        return one_line(error)
    return ""


def arithmetic(device: str) -> str:
    """Name what networks are computed with on a kind of device: numbers of another arithmetic differ by rounding."""
    return COMPILED if device == "cpu" and not compiler_problem() else TORCH


def can_compile(parameters: Tensor) -> bool:
    """Say whether kernels compute these parameters."""
    return parameters.device.type == "cpu" and parameters.dtype in TYPES and not compiler_problem()


def _compile_once(kernels: ModuleType) -> None:
    """Compile what training calls, unless a process has done so; if one is doing so, wait for it.

    What was compiled is called all the same: files of it that are damaged are made again.
    """
    from filelock import FileLock

    folder = Path(kernels.train.stats.cache_path)
    done = folder / f"whydeep-{_fingerprint(kernels)}.compiled"
    if done.exists():
        try:
            _call_all(kernels)
            return
        except Exception:  # whatever reading a damaged file raises
            done.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "whydeep-compiling.lock", timeout=WAITING):
        if not done.exists():
            tell("compiling for this processor, once: this takes half a minute or less")
            for file in folder.glob(f"{Path(str(kernels.__file__)).stem}.*.nb[ci]"):
                file.unlink(missing_ok=True)
            _call_all(kernels)
            done.touch()


def _fingerprint(kernels: ModuleType) -> str:
    """Digest what compiled code depends on."""
    import llvmlite.binding
    import numba

    file = Path(str(kernels.__file__))
    code = file.read_bytes(), file.stat().st_mtime_ns  # the compiler goes by the time
    facts = numba.__version__, np.__version__, platform.python_version(), llvmlite.binding.get_host_cpu_name()
    return hashlib.sha256(repr((code, *facts)).encode()).hexdigest()[:12]


def _call_all(kernels: ModuleType) -> None:
    """Call every kernel once as training in float32 calls it."""
    place = np.array([0])
    network = Network(np.array([1, 1]), place, place + 1, place, kernels.RELU)
    rows = [np.zeros((1, 2), np.float32) for _ in range(4)]
    inputs, orders = np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.int64)
    rates, losses = np.zeros((1, 1)), np.zeros((1, 1))
    data, columns = (inputs, orders[0], inputs), inputs.transpose(0, 2, 1).copy()
    rule = Rule(ADAM, 0.9, 0.999, 1e-8, 0.0, decoupled=False, nesterov=False, clip=0.0)
    kernels.train(0, 1, tuple(rows), network, 0, data, orders, 1, rates, 0, rule, losses)
    kernels.train_on_all(0, 1, tuple(rows), network, 0, data, columns, rates, 0, rule, losses)
    kernels.losses_and_gradients(*rows[:2], network, 0, data, orders[0], losses[0])
    kernels.update(*rows, rates[0], 1, rule)
    kernels.outputs(rows[0], network, inputs, 0, 1, np.zeros((1, 1, 1), np.float32))
