import io
import pickle

import numpy as np
import pytest
from rich.console import Console

from whydeep.runs import BarDisplay, LineDisplay, Piece, Snapshot, choose_display, estimate_range, format_duration
from whydeep.runs.estimate import KIND, LATER, MACHINE
from whydeep.runs.progress import ProgressFile, read_progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_nothing_is_promised_while_nothing_can_be_said():
    assert estimate_range([Piece("toy", left=float("inf"))], 2) is None
    assert "estimating" in Snapshot(0, 1, 0.0, None).time_left
    assert estimate_range([Piece("toy", done=3.0, seconds=5.0)], 2) == (0.0, 0.0)


def test_it_starts_wide_and_ends_with_what_was_seen():
    def width(pieces):
        low, high = estimate_range(pieces, 2)
        return high / low

    ahead = [Piece("a", left=50.0), Piece("b", left=50.0)]
    some = [Piece("a", done=10.0, left=40.0, seconds=40.0), Piece("b", left=50.0)]
    much = [Piece("a", done=45.0, left=5.0, seconds=180.0), Piece("b", done=45.0, left=5.0, seconds=90.0)]
    assert 4 < width(ahead) < 10
    assert width(much) < 1.8 < width(some) < width(ahead)
    low, high = estimate_range(much, 2)
    assert low < 5 * 4 < high  # the longest
    assert low > 9


def test_a_slow_beginning_says_something_of_other_work():
    unseen = Piece("b", left=100.0)
    before = estimate_range([unseen], 1)
    after = estimate_range([Piece("a", done=100.0, seconds=400.0), unseen], 1)
    assert after[0] > 1.5 * before[0]
    assert after[1] > before[1]


def test_a_last_long_job_does_not_go_at_the_speed_of_all_workers():
    watched = Piece("toy", done=80.0, seconds=80.0)
    (low, high), (least, most) = (
        estimate_range([watched, *parts], 4) for parts in ([Piece("toy", left=20.0)], [Piece("toy", left=1.0)] * 20)
    )
    assert low == pytest.approx(4 * least)
    assert high == pytest.approx(4 * most)


@pytest.mark.parametrize("passed", [0.0, 0.1, 0.5, 0.9])
def test_eight_of_ten_ends_lie_within_the_range(passed):
    """Runs on machines, and with experiments, whose predictions are off as the model has it."""
    draws, hits = np.random.default_rng(0), 0
    for _ in range(400):
        machine = draws.normal(0, MACHINE)
        ratios = np.exp(machine + draws.normal(0, KIND, size=8))
        costs = np.exp(draws.normal(3, 1, size=8))
        order = np.minimum(1, np.maximum(0, passed * 8 - np.arange(8)))  # one experiment after the other
        later = ratios * np.exp(draws.normal(0, LATER))
        parts = zip("abcdefgh", costs, order, ratios, strict=True)
        low, high = estimate_range([Piece(k, c * done, c * (1 - done), c * done * r) for k, c, done, r in parts], 1)
        hits += low <= (costs * (1 - order) * later).sum() <= high
    assert 0.72 < hits / 400 < 0.97


def test_a_progress_file_is_throttled_and_survives_pickling_and_missing_folders(tmp_path):
    path = tmp_path / "1.txt"
    assert read_progress(path) is None
    report = pickle.loads(pickle.dumps(ProgressFile(path, interval=60)))
    report(0.25)
    report(0.75)
    assert read_progress(path) == (0.25, 0.0)
    ProgressFile(path)(3.0)
    assert read_progress(path) == (1.0, 0.0)
    ProgressFile(path)(float("nan"))
    assert read_progress(path) == (0.0, 0.0)
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
        display.show(Snapshot(0, 4, 0.1, (60.0, 80.0), (("toy [deep]", 0.5),)))
        display._progress.refresh()
        display.show(Snapshot(2, 4, 0.5, (30.0, 40.0)))
        assert len(display._progress.tasks) == 1
    shown = Console().render_str(stream.getvalue()).plain
    assert "toy [deep]" in stream.getvalue()
    assert "0 of 4 units" in shown
    assert isinstance(choose_display(io.StringIO()), LineDisplay)


@pytest.mark.parametrize(("seconds", "text"), [(0, "1 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min")])
def test_durations(seconds, text):
    assert format_duration(seconds) == text
