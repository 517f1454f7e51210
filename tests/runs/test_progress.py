import io
import pickle

import pytest
from rich.console import Console

from whydeep.runs import BarDisplay, Estimator, LineDisplay, Snapshot, choose_display, format_duration
from whydeep.runs.progress import ProgressFile, read_fraction


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_the_estimate_starts_from_the_prediction_and_ends_with_what_is_seen(clock):
    estimator = Estimator(100.0, workers=2, clock=clock)
    assert estimator.remaining(0.0) == 50.0
    clock.now += 100  # four times slower than predicted: 0.5 of cost a second
    assert estimator.remaining(50.0) == pytest.approx(100.0, rel=0.15)
    clock.now += 90
    assert estimator.remaining(95.0) == pytest.approx(10.0, rel=0.15)
    assert estimator.remaining(150.0) == 0.0


def test_a_last_long_job_does_not_go_at_the_speed_of_all_workers(clock):
    estimator = Estimator(100.0, workers=2, clock=clock)
    clock.now += 40
    assert estimator.remaining(80.0) == pytest.approx(10.0)
    assert estimator.remaining(80.0, longest=20.0) == pytest.approx(20.0)


def test_nothing_is_promised_while_nothing_is_known(clock):
    estimator = Estimator(100.0, workers=None, clock=clock)
    assert estimator.remaining(0.0) is None
    clock.now += 10
    assert estimator.remaining(0.0) is None
    assert estimator.remaining(50.0) == pytest.approx(10.0)
    assert Estimator(float("inf"), workers=2, clock=clock).remaining(1.0) is None
    assert "estimating" in Snapshot(0, 1, 0.0, None).time_left


def test_a_progress_file_is_throttled_and_survives_pickling_and_missing_folders(tmp_path):
    path = tmp_path / "1.txt"
    assert read_fraction(path) is None
    report = pickle.loads(pickle.dumps(ProgressFile(path, interval=60)))
    report(0.25)
    report(0.75)
    assert read_fraction(path) == 0.25
    ProgressFile(path)(3.0)
    assert read_fraction(path) == 1.0
    ProgressFile(path)(float("nan"))
    assert read_fraction(path) == 0.0
    lost = ProgressFile(tmp_path / "nowhere" / "1.txt", interval=0)
    lost(0.5)
    lost(0.6)


def test_lines_come_soon_and_then_seldom(clock):
    stream = io.StringIO()
    display = LineDisplay(stream, first=3, every=10, clock=clock)
    running = tuple((f"toy {index}", 0.5) for index in range(6))
    with display:
        for _ in range(24):
            display.show(Snapshot(1, 4, 0.256, None, running))
            clock.now += 1
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "1 of 4 units · 26 % · estimating · running: toy 0, toy 1, toy 2, toy 3 and 2 more"


def test_bars_appear_and_go(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    display = choose_display(stream)
    assert isinstance(display, BarDisplay)
    with display:
        display.show(Snapshot(0, 4, 0.1, 80.0, (("toy [deep]", 0.5),)))
        display._progress.refresh()
        display.show(Snapshot(2, 4, 0.5, 40.0))
        assert len(display._progress.tasks) == 1
    shown = Console().render_str(stream.getvalue()).plain
    assert "toy [deep]" in stream.getvalue()
    assert "0 of 4 units" in shown
    assert isinstance(choose_display(io.StringIO()), LineDisplay)


@pytest.mark.parametrize(("seconds", "text"), [(0, "1 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min")])
def test_durations(seconds, text):
    assert format_duration(seconds) == text
