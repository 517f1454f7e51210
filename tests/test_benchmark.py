"""What the benchmark prints; the times themselves are not tested."""

import json
import re

import pytest

from whydeep import benchmark


@pytest.fixture
def measured(monkeypatch):
    """Every alternative takes ten times as long as the one before."""
    places = {id(way): place for entry in benchmark.COMPARISONS for place, way in enumerate(entry.alternatives)}
    monkeypatch.setattr(benchmark, "measure", lambda workload, alternative: 10.0 ** places[id(alternative)])
    monkeypatch.setattr(benchmark, "product_speed", lambda: 100.0)
    monkeypatch.setattr(benchmark, "memory_speed", lambda: 10.0)
    monkeypatch.setattr(benchmark, "CORES", 2)
    monkeypatch.setattr(benchmark, "find_spec", lambda package: None)


def test_the_table_says_times_ratios_and_the_limit(measured, capsys):
    benchmark.run_benchmark(2)
    out = capsys.readouterr().out
    assert "a core multiplies large matrices at 100 GFLOP/s and copies 10 GB/s" in out
    assert f"{benchmark.JAX.name:<58} not installed: pip install 'whydeep[bench]'" in out
    first = 2 * 50 * (2 * 784 * 30 + 3 * 30 * 10) / (1e3 * 100 * 2)
    assert f"(its matrix products take {first:.1f} at least)" in out
    assert len(re.findall(r" 1\.0 x$", out, re.MULTILINE)) == len(benchmark.COMPARISONS)


def test_json_has_all_rounds(measured, capsys):
    benchmark.run_benchmark(2, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["product_gflops"] == 100
    assert [entry["name"] for entry in record["comparisons"]] == [entry.name for entry in benchmark.COMPARISONS]
    times = {name: times for entry in record["comparisons"] for name, times in entry["microseconds"].items()}
    assert {len(measured) for name, measured in times.items() if name != benchmark.JAX.name} == {2}
    assert times[benchmark.JAX.name] == []


def test_speeds_are_measured():
    assert 0.1 < benchmark.product_speed(100) < 1e4
    assert 0.1 < benchmark.memory_speed(2**16) < 1e4
