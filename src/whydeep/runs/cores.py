"""How many processor cores this process may use: those of the machine, less what it is not allowed."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


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
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    quotas = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if not controllers:
            root, quota = CGROUPS, _second_version
        elif "cpu" in controllers.split(","):
            root, quota = CGROUPS / "cpu", _first_version
        else:
            continue
        group = root / path.lstrip("/")
        # all groups that it is in; inside a container the path may be that outside, and the root is its own
        quotas += [quota(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return [quota for quota in quotas if quota > 0]


def _second_version(group: Path) -> float:
    """Return the quota of a group of cgroup v2, 0 without one: cpu.max holds "max 100000" or "150000 100000"."""
    return _ratio(group / "cpu.max")


def _first_version(group: Path) -> float:
    """Return the quota of a group of cgroup v1, 0 without one."""
    return _ratio(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")


def _ratio(*files: Path) -> float:
    try:
        quota, period = " ".join(file.read_text(encoding="utf-8") for file in files).split()
        return float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0
