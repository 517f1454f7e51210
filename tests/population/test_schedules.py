"""Schedules are those of torch.optim.lr_scheduler, in closed form."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from whydeep.errors import SettingError
from whydeep.population import Constant, Cosine, Step, WarmUp

RATE = 0.3


def rates(make_scheduler, steps):
    """Learning rates of a scheduler of torch, over so many steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = make_scheduler(optimizer)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


def ours(schedule, steps):
    return [RATE * schedule(step) for step in range(steps)]


def then_warm(steps, make_then):
    """The combination of schedulers that the docstring of WarmUp names."""

    def make(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, 1 / steps, total_iters=steps - 1)
        return lr_scheduler.SequentialLR(optimizer, [rise, make_then(optimizer)], milestones=[steps])

    return make


@given(st.integers(1, 50), st.floats(0.1, 1.1))
def test_step_is_step_lr(every, factor):
    theirs = rates(lambda optimizer: lr_scheduler.StepLR(optimizer, every, factor), 200)
    assert ours(Step(every, factor), 200) == pytest.approx(theirs, rel=1e-12)


@given(st.integers(1, 200), st.floats(0, 1))
def test_cosine_is_cosine_annealing_lr_and_stays_at_its_floor(steps, floor):
    make = lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=floor * RATE)
    assert ours(Cosine(steps, floor), steps + 1) == pytest.approx(rates(make, steps + 1), rel=1e-9, abs=1e-14)
    assert {Cosine(steps, floor)(step) for step in range(steps, steps + 300)} == {floor}


@given(st.integers(2, 60), st.integers(1, 40))
def test_warm_up_is_linear_lr_and_then_another(steps, every):
    theirs = rates(then_warm(steps, lambda optimizer: lr_scheduler.StepLR(optimizer, every, 0.5)), 200)
    assert ours(WarmUp(steps, Step(every, 0.5)), 200) == pytest.approx(theirs, rel=1e-9)


def test_warm_up_to_a_cosine():
    make = then_warm(10, lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=0.1 * RATE))
    assert ours(WarmUp(10, Cosine(100, 0.1)), 111) == pytest.approx(rates(make, 111), rel=1e-9)


def test_a_constant_is_one_and_what_follows_a_warm_up():
    assert [Constant()(step) for step in (0, 7, 10**6)] == [1, 1, 1]
    assert [WarmUp(1)(step) for step in range(3)] == [1, 1, 1]
    assert [WarmUp(4)(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_schedules_are_values():
    schedule = WarmUp(5, Cosine(9))
    assert schedule == copy.deepcopy(schedule) == WarmUp(5, Cosine(9, 0.0))
    assert len({schedule, WarmUp(5, Cosine(9)), WarmUp(5)}) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0), "every must be a whole number of steps, 1 or more, not 0"),
        (lambda: Step(2.5), "not 2.5"),
        (lambda: Step(True), "not True"),
        (lambda: Step("3"), "not '3'"),
        (lambda: Step(3, 0), "factor must be a number above 0, not 0"),
        (lambda: Step(3, float("inf")), "not inf"),
        (lambda: Step(3, [0.1, 0.2]), "not a list"),
        (lambda: Cosine(-1), "steps must be a whole number of steps, 1 or more, not -1"),
        (lambda: Cosine(10, 1.5), "floor must be a number from 0 to 1, not 1.5"),
        (lambda: Cosine(10, float("nan")), "not nan"),
        (lambda: WarmUp(None), "not None"),
        (lambda: WarmUp(5, Cosine), r"then must be a schedule .*, such as Cosine\(steps\), not the class Cosine"),
        (lambda: WarmUp(5, 0.1), "not a float"),
    ],
)
def test_values_that_are_not_accepted_are_named(make, message):
    with pytest.raises(SettingError, match=message):
        make()
