"""Control groups of Linux: what a container or a job of a cluster allows this process."""

from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def control_groups(controller: str) -> list[tuple[Path, int]]:
    """Return the folders of all groups that this process is in and that may limit something, and their version, 1 or 2.

    Args:
        controller: of version 1, such as "cpu"; in version 2, groups have all.
    """
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    groups = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if not controllers:
            root, version = CGROUPS, 2
        elif controller in controllers.split(","):
            root, version = CGROUPS / controller, 1
        else:
            continue
        group = root / path.lstrip("/")
        # inside a container the path may be that outside, and the root is its own
        groups += [(folder, version) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return groups


def read_number(file: Path) -> float | None:
    """Return the number that a file of a group holds; None if it holds another word, such as "max", or is not there."""
    try:
        return float(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
