"""How many processor cores this process may use: those of the machine, less what it is not allowed."""

import math
import os
from pathlib import Path

from whydeep.runs.cgroups import control_groups


def available_cores() -> int:
    """Return the number of cores that this process is allowed, at least 1.

    A process may be held to some cores (``taskset``), and a container or a cluster's job to a share of their time, of
    which a part of a core counts as one.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([count, *map(math.ceil, _quotas())]))


def _quotas() -> list[float]:
    """Return the shares of time that Linux's control groups allow this process, in cores."""
    quotas = [_quota(group, version) for group, version in control_groups("cpu")]
    return [quota for quota in quotas if quota > 0]


def _quota(group: Path, version: int) -> float:
    """Return the quota of a group, 0 without one; version 2 has "max 100000" or "150000 100000" in one file."""
    names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    try:
        quota, period = " ".join((group / name).read_text(encoding="utf-8") for name in names).split()
        return float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0
