import os
import subprocess
import sys

import pytest

from whydeep.runs import available_cores, cgroups


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of eight cores, and control groups: lines of /proc/self/cgroup, and files with what they hold."""

    def make(lines, files):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
        monkeypatch.setattr(cgroups, "OWN_GROUPS", tmp_path / "own")
        monkeypatch.setattr(cgroups, "CGROUPS", tmp_path / "cgroup")
        (tmp_path / "own").write_text(lines)
        for name, content in files.items():
            (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cgroup" / name).write_text(content)

    return make


@pytest.mark.parametrize(
    ("lines", "files", "count"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/outside/of/the/container\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "nonsense\n"}, 8),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 8),
        (
            "3:cpu,cpuacct:/a\n2:cpuset:/b\n",
            {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 8),
        ("odd\n\n1:name=systemd:/\n", {}, 8),
    ],
)
def test_quotas_are_rounded_up(machine, lines, files, count):
    machine(lines, files)
    assert available_cores() == count


def test_without_control_groups_and_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroups, "OWN_GROUPS", tmp_path / "nothing")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not held to cores here")
def test_a_process_that_is_held_to_a_core():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "from whydeep.runs.cores import available_cores; print(available_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
