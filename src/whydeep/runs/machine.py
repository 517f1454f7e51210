"""Kinds of machines: numbers are the same to the bit on machines of a kind, and nearly so on others."""

import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import torch


@cache
def machine_kind(device: str = "cpu") -> str:
    """Name what the bits of numbers depend on: processor and its instructions, GPU, PyTorch, the compiler and BLAS."""
    parts = [platform.machine(), _processor(), torch.backends.cpu.get_cpu_capability(), f"torch {torch.__version__}"]
    if device == "cpu":
        parts += map(_version, ("numba", "scipy"))
    if device == "cuda":
        parts.append(torch.cuda.get_device_name())
    return ", ".join(filter(None, parts))


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"


def _processor() -> str:
    """Return the model of the processor, where the operating system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
