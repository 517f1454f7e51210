"""E4: norms against autograd, its design, and what is said of seeds that diverge."""

import numpy as np
import pytest
import torch
from function_reference import (
    assert_parts_are_drawn,
    assert_seeds_are_independent,
    measure,
    points_of,
    present,
    results_of,
    settings_of,
    stream,
    unmet,
    without_seeds,
)
from torch.nn import functional

from whydeep.course.gradient_norm import EXPERIMENT
from whydeep.errors import SettingError
from whydeep.networks import MLP


def test_norms_are_those_of_the_loss_at_the_same_parameters():
    """Against autograd, at the first iterations; layers add up in squares to the whole."""
    (setting,) = settings_of(EXPERIMENT, iterations=101, points=100)
    results = measure(EXPERIMENT, setting, (0, 4))
    assert_seeds_are_independent(EXPERIMENT, setting, results)
    x, y = points_of(EXPERIMENT, "cos", 4, 100)
    torch.manual_seed(stream(EXPERIMENT, "cos", 4, "init").torch_seed())
    module = MLP((1, 5, 10, 5, 1))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    for iteration in range(4):
        optimizer.zero_grad()
        loss = functional.mse_loss(module(x), y)
        loss.backward()
        norms = [torch.cat([layer.weight.grad.flatten(), layer.bias.grad]).norm().item() for layer in list(module)[::2]]
        measured = results.sel(seed=4, iteration=iteration)
        assert measured.loss.item() == pytest.approx(loss.item(), rel=1e-5)
        assert measured.layer_gradient_norm.values == pytest.approx(norms, rel=1e-4)
        assert measured.gradient_norm.item() == pytest.approx(np.linalg.norm(norms), rel=1e-4)
        optimizer.step()


def test_the_gradient_is_that_of_the_loss_whatever_the_optimiser_makes_of_it():
    (plain,) = settings_of(EXPERIMENT, iterations=101, points=50)
    (clipped,) = settings_of(EXPERIMENT, iterations=101, points=50, clip=1e-3, weight_decay=0.1)
    first, second = (measure(EXPERIMENT, setting, (0,)).isel(iteration=0) for setting in (plain, clipped))
    assert first.gradient_norm.item() == second.gradient_norm.item() > 1e-3


def test_the_claim_is_about_the_course_reports_training():
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick")) == {"C11": ()}
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT)) == {"C11": ("300 of 3,000 iterations",)}
    others = settings_of(EXPERIMENT, "quick", function="sin", points=999, optimizer="sgd", schedule="step")
    assert len(unmet(EXPERIMENT, others)["C11"]) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 100}, r"iterations is '100', and must be a whole number, 101 or more"),
        ({"function": "log(x)"}, "log.x. is not finite"),
        ({"function": "3"}, "nothing to learn"),
        ({"momentum": 0.9}, "momentum 0.9 is for the optimizer sgd, and adam has its own"),
        ({"batch_size": 5}, "nothing of gradient-norm is called 'batch_size'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_runs(changes, message):
    with pytest.raises(SettingError, match=message):
        settings_of(EXPERIMENT, **changes)


def test_texts_name_what_was_run():
    settings = settings_of(EXPERIMENT, iterations=101, function="x**2", hidden=2)
    _, figures, tables = present(EXPERIMENT, results_of(EXPERIMENT, settings))
    assert_parts_are_drawn(figures)
    assert figures["figure-09"].title == "Figure 9. Loss while a network learns x**2"
    assert [row[0] for row in tables[0].rows] == ["0", "1", "mean"]


def test_seeds_that_diverge_leave_the_claim_open():
    results = results_of(EXPERIMENT, settings_of(EXPERIMENT, iterations=101))
    for lost in ([1], [0, 1]):
        judgements, _, (table,) = present(EXPERIMENT, without_seeds(results, lost))
        assert f"no finite value in {len(lost)} of 2 seeds, as training diverged" in judgements["C11"].reason
        assert table.rows[1][1:4] == ("none", "none", "none")


def test_a_training_that_diverges_is_reported():
    settings = settings_of(EXPERIMENT, iterations=150, optimizer="sgd", learning_rate=1e6)
    results = results_of(EXPERIMENT, settings)
    assert results.diverged_at.notnull().all()
    present(EXPERIMENT, results)
