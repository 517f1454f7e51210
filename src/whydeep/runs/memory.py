"""How much memory a run may use, and how much it needs."""

import re
from pathlib import Path

from whydeep.runs.cgroups import control_groups, read_number

PROCESS = 380 * 2**20
"""Bytes of a worker, or of the command, before it measures anything: libraries, above all PyTorch."""
MEMINFO = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Return the bytes that may still be used here: of the machine, and of the cgroup; None if neither is told."""
    return min([*_of_the_machine(), *_of_the_groups()], default=None)


def _of_the_machine() -> list[int]:
    try:
        text = MEMINFO.read_text(encoding="utf-8")
    except OSError:
        return []
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return [int(match[1]) * 1024] if match else []


def _of_the_groups() -> list[int]:
    """What is left of the limits of control groups; files that can be dropped from memory do not count as used."""
    left = []
    for group, version in control_groups("memory"):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        most, used = (read_number(group / name) for name in names)
        if most is None or used is None:
            continue
        try:
            statistics = (group / "memory.stat").read_text(encoding="utf-8")
        except OSError:
            statistics = ""
        name = "inactive_file" if version == 2 else "total_inactive_file"
        files = re.search(rf"^{name} (\d+)", statistics, re.MULTILINE)
        left.append(max(0, int(most - used) + (int(files[1]) if files else 0)))
    return left
