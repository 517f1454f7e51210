import math

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

from whydeep.errors import SettingError
from whydeep.runs import Job, memory
from whydeep.runs.memory import PROCESS, available_memory
from whydeep.runs.schedule import fit_workers, share_out
from whydeep.sizes import format_size, read_size

from .work import Toy

GB = 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 * GB), ("512m", 2**29), ("1.5GiB", 3 * GB // 2), ("2 TB", 2**41), ("100", 100), ("7K", 7168)],
)
def test_sizes_are_read(text, size):
    assert read_size("--memory", text) == size


@pytest.mark.parametrize("text", ["", "G", "0", "0G", "-1G", "4X", "nan", "1e9", "4G4", "٤G", "9" * 400, "4\nG"])
def test_other_texts_are_refused(text):
    with pytest.raises(SettingError, match="--memory must be a number of bytes such as 4G"):
        read_size("--memory", text)


@given(st.floats(2**10, 2**44))
def test_what_is_written_can_be_read(size):
    assert read_size("", format_size(size)) == pytest.approx(size, rel=0.06)


def make(level, each, seeds=10):
    return Job("toy", Toy(level), tuple(range(seeds)), lambda *_: xarray.Dataset({"a": np.ones(1)}), str(level), each)


@pytest.mark.parametrize(
    ("limit", "each", "workers", "most"),
    [
        (math.inf, GB, 4, 10),
        (4 * (PROCESS + 10 * GB), GB, 4, 10),
        (4 * (PROCESS + 3 * GB), GB, 4, 3),
        (4 * (PROCESS + 0.9 * GB), GB, 3, 1),
        (PROCESS + GB, GB, 1, 1),
        (4 * PROCESS, 0, 4, 10),
    ],
)
def test_workers_and_seeds_fit_into_memory(limit, each, workers, most):
    jobs = [make(0, each), make(1, each / 2)]
    count, share = fit_workers(jobs, 4, limit)
    assert count == workers
    shared = share_out(jobs, 1, share)
    assert max(len(job.seeds) for job in shared if job.memory == each) == most
    assert all(job.memory * len(job.seeds) <= share for job in shared)
    assert sum(len(job.seeds) for job in shared) == 20


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        SettingError, match=r"toy level 0 needs about 4\.4 GB of memory for one seed, and 2 GB may be used"
    ):
        fit_workers([make(0, 4 * GB)], 4, 2 * GB)
    assert fit_workers([], 4, 0) == (4, math.inf)


@pytest.mark.parametrize(
    ("version", "files", "left"),
    [
        (
            2,
            {"memory.max": "1000000", "memory.current": "400000", "memory.stat": "anon 1\ninactive_file 100000\n"},
            700_000,
        ),
        (2, {"memory.max": "max", "memory.current": "400000"}, None),
        (2, {}, None),
        (
            1,
            {
                "memory.limit_in_bytes": "1000000",
                "memory.usage_in_bytes": "900000",
                "memory.stat": "inactive_file 7\ntotal_inactive_file 50000\n",
            },
            150_000,
        ),
    ],
)
def test_limits_of_control_groups_count(tmp_path, monkeypatch, version, files, left):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "control_groups", lambda controller: [(tmp_path, version)])
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert available_memory() == left
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   600 kB\n")
    assert available_memory() == min(600 * 1024, left or math.inf)
