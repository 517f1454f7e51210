import numpy as np
import pytest
import torch
import xarray
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from interrupted import Dying, KilledError, until_done
from whydeep.runs import checkpoint as module
from whydeep.runs.checkpoint import Checkpoint, CheckpointFile
from whydeep.runs.packing import pack, unpack
from whydeep.runs.unit import read_ranges, write_ranges

# -- packing --------------------------------------------------------------------------------------------------------

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.uint8]), hnp.array_shapes(min_dims=0, min_side=0)
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | ARRAYS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))
    else:
        assert repr(one) == repr(other)


@given(VALUES)
def test_values_come_back(value):
    assert_same(unpack(pack(value)), value)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_and_data_sets_come_back(dtype, shape):
    tensor = torch.randn(shape).to(dtype)
    dataset = xarray.Dataset({"a": (("seed", "x"), [[1.0, np.nan]])}, {"seed": [4]}, {"what": "a"})
    back, kept = unpack(pack([tensor, dataset]))
    assert back.dtype == dtype
    assert torch.equal(back, tensor)
    xarray.testing.assert_identical(kept, dataset)


@pytest.mark.parametrize("value", [object(), {1: 2}, np.array([object()], dtype=object), {"a": {3.0}}])
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match="cannot be kept: give tensors"):
        pack(value)


@pytest.mark.parametrize("data", [b"", b"PK", pack(3)[:-30], b"x" * 100])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match=r"not a packed value|pickled"):
        unpack(data)


# -- loops ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def every_time(monkeypatch):
    """State is written between any two items."""
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    monkeypatch.setattr(module, "SHORT", 0.0)


def work(checkpoint, log=None):
    """Loops of all kinds: with a break, one after the other, and within what is collected."""
    log = [] if log is None else log
    walk, path, tensor, table = np.zeros(2), [], torch.zeros(3), {"a": []}
    for number in checkpoint.loop(range(5), walk, path):
        log.append(("first", number))
        walk += number
        path.append(walk.copy())
    walk *= 2  # between loops: done again
    for number in checkpoint.loop(iter("abcdef"), tensor, table):
        log.append(("second", number))
        tensor[0] += ord(number)
        table["a"].append(number)
        if number == "d":
            break

    def collected(item):
        log.append(("collected", item))
        total = [0.0]
        for step in checkpoint.loop(range(3), total):
            log.append((item, step))
            total[0] += step * item
        return xarray.Dataset({"total": total[0]})

    results = checkpoint.collect(range(4), collected)
    last = [0]
    for number in checkpoint.loop(range(2), last):
        last[0] += number
    return [walk, np.array(path), tensor.numpy(), table, [float(result.total) for result in results], last]


@pytest.mark.parametrize("lives", [1, 2, 3, 7])
def test_whatever_was_interrupted_comes_out_the_same(every_time, tmp_path, lives):
    result, deaths = until_done(work, tmp_path / "a.checkpoint", lives)
    assert_same(result, work(Checkpoint()))
    assert deaths > 20 / lives


def test_nothing_that_was_kept_is_done_again(every_time, tmp_path):
    log = []
    until_done(lambda checkpoint: work(checkpoint, log), tmp_path / "a.checkpoint")
    items = [entry for entry in log if entry[0] != "collected"]
    assert len(set(items)) == 5 + 4 + 4 * 3
    assert {entry for entry in items if items.count(entry) > 1} == {("second", "d")}  # where that loop is left


class Counter:
    def __init__(self):
        self.count = 0

    def checkpoint(self):
        return self.count

    def restore(self, checkpoint):
        self.count = checkpoint


def left_with_else(checkpoint):
    total, outcome = [0], "left"
    for number in checkpoint.loop(range(5), total):
        total[0] += number
        if total[0] >= 3:
            break
    else:
        outcome = "at the end"
    return total, outcome


def left_by_an_error(checkpoint):
    total, last = [0], None
    try:
        for number in checkpoint.loop(range(5), total):
            total[0] += 1
            last = number
            if number == 2:
                raise ValueError
    except ValueError:
        return total, last
    return "at the end"


def tensors_in_lists(checkpoint):
    walk, best = torch.zeros(2), []
    for _ in checkpoint.loop(range(5), [walk, (walk,)], best):
        walk += 1
        best[:] = [walk.clone()] if len(best) < 3 else best
    return walk.numpy(), best[0].numpy()


def state_of_a_module(checkpoint):
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(layer.weight)
    for _ in checkpoint.loop(range(5), layer.state_dict()):
        with torch.no_grad():
            layer.weight += 1
    return layer.weight.detach().numpy()


def weights_with_gradients(checkpoint):
    weights = torch.zeros(2, requires_grad=True)
    for _ in checkpoint.loop(range(5), weights):
        with torch.no_grad():
            weights += 1
    return weights.detach().numpy()


def one_object_at_many_places(checkpoint):
    walk, path, last = np.zeros(1), [], {}
    inner = {3: path, "last": last}
    for number in checkpoint.loop(range(3), inner, walk):
        walk += 1
        path.append((number, walk))
        last[number] = [walk, walk.copy()]
    return walk, path, last, inner


def resumable_in_lists(checkpoint):
    counters = [Counter(), Counter()]
    for number in checkpoint.loop(range(4), counters):
        for counter in counters:
            counter.count += number
    return [counter.count for counter in counters]


@pytest.mark.parametrize(
    "odd_work",
    [
        left_with_else,
        left_by_an_error,
        tensors_in_lists,
        state_of_a_module,
        weights_with_gradients,
        one_object_at_many_places,
        resumable_in_lists,
    ],
)
@pytest.mark.parametrize("lives", [1, 2, 4])
def test_objects_and_ways_out_of_loops_stay_the_same(every_time, tmp_path, odd_work, lives):
    def work_and_more(checkpoint):
        result = odd_work(checkpoint)
        for _ in checkpoint.loop(range(5), []):
            pass
        return result

    result, deaths = until_done(work_and_more, tmp_path / "a.checkpoint", lives)
    assert_same(result, odd_work(Checkpoint()))
    assert deaths > 0


def test_a_checkpoint_of_another_format_is_passed_over(every_time, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", 1)
    with pytest.raises(KilledError):
        work(Checkpoint(Dying(tmp_path / "a.checkpoint", "a.checkpoint", "test")))
    monkeypatch.undo()
    log = []
    work(Checkpoint(CheckpointFile(tmp_path / "a.checkpoint", "a.checkpoint", "test")), log)
    assert log[0] == ("first", 0)


def test_short_work_writes_nothing(tmp_path):
    work(Checkpoint(CheckpointFile(tmp_path / "a.checkpoint", "a.checkpoint", "test")))
    assert not list(tmp_path.iterdir())


def test_it_is_written_every_half_minute(tmp_path):
    now = [0.0]
    file = CheckpointFile(tmp_path / "a.checkpoint", "a.checkpoint", "test")
    checkpoint, seen = Checkpoint(file, clock=lambda: now[0]), []
    for _ in checkpoint.loop(range(100), seen):
        now[0] += 7.0
        seen.append(file.path.stat().st_mtime_ns if file.path.exists() else 0)
    assert len(set(seen)) == 100 * 7 // 35


@pytest.mark.parametrize("content", [b"", b"damaged", "other writer", "other name", "folder"])
def test_a_checkpoint_that_does_not_fit_is_passed_over(every_time, tmp_path, content):
    path = tmp_path / "a.checkpoint"
    with pytest.raises(KilledError):
        work(Checkpoint(Dying(path, "a.checkpoint", "test")))
    file = CheckpointFile(path, "a.checkpoint", "another" if content == "other writer" else "test")
    if content == "other name":
        file = CheckpointFile(path, "b.checkpoint", "test")
    elif content == "folder":
        path.unlink()
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    log = []
    assert_same(work(Checkpoint(file), log), work(Checkpoint()))
    assert log[0] == ("first", 0)


def test_where_nothing_can_be_written_nothing_is_lost(every_time, tmp_path):
    (tmp_path / "file").touch()
    file = CheckpointFile(tmp_path / "file" / "a.checkpoint", "a.checkpoint", "test")
    assert_same(work(Checkpoint(file)), work(Checkpoint()))


def test_loops_in_each_other_are_refused():
    checkpoint = Checkpoint()
    for _ in checkpoint.loop(range(1), []):
        with pytest.raises(RuntimeError, match="a loop lies in another"):
            list(checkpoint.loop(range(2), []))


def test_loops_without_state_are_refused():
    with pytest.raises(TypeError, match="a loop needs its state"):
        next(Checkpoint().loop(range(2)))


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_of_seeds_come_back(seeds):
    ascending = tuple(sorted(seeds))
    assert read_ranges(write_ranges(ascending)) == ascending


@pytest.mark.parametrize("state", [5, lambda: 1, "text", None, {1, 2}])
def test_state_that_cannot_be_put_back_is_refused_at_once(state):
    with pytest.raises(TypeError, match=r"the state of a loop holds .*: give trainings, recorders, tensors"):
        next(Checkpoint().loop(range(3), state))
