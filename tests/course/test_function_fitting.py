"""E1: measurements against plain numpy, convergence of each network on its own, claims, and functions of a user."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from function_reference import assert_parts_are_drawn, measure, present, results_of, settings_of, unmet, without_seeds

from whydeep.claims import Case, judge
from whydeep.course import function_training
from whydeep.course.function_fitting import EXPERIMENT
from whydeep.errors import SettingError
from whydeep.networks import parameter_count
from whydeep.population import Training


@pytest.fixture(scope="module")
def fitted():
    (setting,) = settings_of(EXPERIMENT, function="cos", network="medium", points=300, unseen_points=400)
    return setting, results_of(EXPERIMENT, (setting,), (0, 3))


def test_the_networks_of_the_course_report_have_the_same_number_of_parameters():
    settings = settings_of(EXPERIMENT, "full")
    assert [setting.name for setting in settings[:3]] == ["arcsinh shallow", "arcsinh medium", "arcsinh deep"]
    assert {setting.widths for setting in settings} == {
        (1, 333, 1),
        (1, 20, 22, 21, 1),
        (1, 15, 15, 15, 15, 15, 1),
    }
    assert {(setting.least_iterations, setting.most_iterations) for setting in settings} == {(1000, 20_000)}


def test_depths_and_budget_can_be_set():
    settings = settings_of(EXPERIMENT, function="x", budget=300, deep=8)
    assert [len(setting.widths) - 2 for setting in settings] == [1, 3, 8]
    assert all(parameter_count(setting.widths) == pytest.approx(300, rel=0.01) for setting in settings)
    with pytest.raises(SettingError, match="no network with 3 hidden layers"):
        settings_of(EXPERIMENT, budget=10)


def test_what_is_measured_is_what_is_said(fitted):
    setting, results = fitted
    for seed in (0, 3):
        measured = results.sel(seed=seed, function="cos", network="medium")
        x = measured.unseen_x.values.astype(float)
        errors = measured.predicted.values.astype(float) - np.cos(x)
        assert (np.diff(x) >= 0).all()
        assert measured.unseen_loss.item() == pytest.approx((errors**2).mean(), rel=1e-3)
        assert measured.end_loss.item() == pytest.approx((errors[np.abs(x) > 8] ** 2).mean(), rel=1e-3)
        assert measured.middle_loss.item() == pytest.approx((errors[np.abs(x) <= 5] ** 2).mean(), rel=1e-3)
        assert measured.unseen_r2.item() == pytest.approx(1 - (errors**2).mean() / np.cos(x).var(), rel=1e-3)
        assert measured.final_loss.item() == measured.loss.values[-1]
        assert measured.iterations.item() == measured.loss.notnull().sum().item() == setting.most_iterations
    assert (results.parameters == parameter_count(setting.widths)).all()


def test_the_table_of_ends_and_middle_holds_shares_of_the_variance(fitted):
    _, results = fitted
    *_, (_, ends) = present(EXPERIMENT, results)
    name, *cells = ends.rows[0]
    assert name == "cos, medium"
    for cell, mse in zip(cells, (results.end_loss, results.middle_loss), strict=True):
        assert float(cell.split()[0]) == pytest.approx(np.exp(np.log(mse / results.variance).mean().item()), rel=0.01)


def test_a_seed_has_the_same_points_in_all_settings():
    settings = settings_of(EXPERIMENT, most_iterations=1, unseen_points=100)
    drawn = [measure(EXPERIMENT, setting, (1, 2)).unseen_x.values for setting in settings]
    assert all(np.array_equal(drawn[0], other) for other in drawn)
    assert not np.array_equal(*drawn[0])


def test_a_network_stops_at_its_own_convergence_whoever_trains_beside_it():
    (setting,) = settings_of(
        EXPERIMENT, function="arcsinh", network="shallow", points=64, learning_rate=0.02, budget=10
    )
    setting = dataclasses.replace(setting, least_iterations=1000, most_iterations=3000)
    together = measure(EXPERIMENT, setting, (0, 1, 2))
    assert together.converged.values.any()
    for seed in (0, 1, 2):
        xr.testing.assert_identical(together.sel(seed=[seed]), measure(EXPERIMENT, setting, (seed,)))
    losses = together.loss.sel(seed=int(together.seed[together.converged.values.argmax()])).dropna("iteration").values
    before, last = np.log(losses[-1000:-500]).mean(), np.log(losses[-500:]).mean()
    assert before - last < -np.log(0.99)


def test_what_becomes_of_a_network_after_it_stopped_does_not_count(monkeypatch):
    class Diverging(Training):
        diverged_at = property(lambda self: torch.tensor([150, 200, -1]))

    monkeypatch.setattr(function_training, "Training", Diverging)
    (setting,) = settings_of(EXPERIMENT, function="cos", network="shallow", points=10)
    results = measure(EXPERIMENT, setting, (0, 1, 2))
    assert results.iterations.values.tolist() == [200] * 3
    np.testing.assert_array_equal(results.diverged_at, [150, np.nan, np.nan])


def verdicts_on(functions=("arcsinh", "cos"), **settled):
    """Judge results in which all networks settle at the same iteration, and nearly all seeds; others never learn."""
    networks, noise = ["deep", "medium", "shallow"], np.array([-2.0, -1, 0, 1, 2])
    shape = (len(functions), len(networks), len(noise))
    at = np.stack([np.broadcast_to(settled.get(name, np.nan) + noise, shape[1:]) for name in functions])
    losses = [np.full(shape[1:], 1e-4 if name in ("arcsinh", "cos") else 10) + noise * 1e-6 for name in functions]
    values = {name: np.ones(shape) for name in ("variance", "unseen_r2", "end_loss", "middle_loss")}
    values |= {"settled_at": at, "final_loss": np.stack(losses), "iterations": np.full(shape, 1500.0)}
    values |= {"diverged_at": np.full(shape, np.nan)}
    results = xr.Dataset(
        {name: (("function", "network", "seed"), array) for name, array in values.items()},
        coords={"function": list(functions), "network": networks, "seed": range(5)},
    )
    claims = [dataclasses.replace(claim, needs=()) for claim in EXPERIMENT.claims[:2]]
    return {judged.claim.id: judged for judged in judge([Case(EXPERIMENT.name, claim, results) for claim in claims])}


@pytest.mark.parametrize(
    ("arcsinh", "cos", "verdict"),
    [
        (100, 1000, "supported"),
        (100, 600, "supported"),
        (100, 215, "contradicted"),  # later than arcsinh, but far from 1,000
        (100, 2500, "contradicted"),
        (600, 1000, "contradicted"),
        (100, np.nan, "undecided"),  # never: later than 1,500, but who knows when
    ],
)
def test_both_numbers_of_c2_are_tested(arcsinh, cos, verdict):
    assert verdicts_on(arcsinh=arcsinh, cos=cos)["C2"].verdict == verdict


def test_functions_of_a_user_have_no_part_in_c1():
    judged = verdicts_on(("arcsinh", "cos", "sin(20*x)"), arcsinh=100, cos=1000)["C1"]
    assert len(judged.parts) == 6
    assert judged.verdict == "supported"


def test_claims_are_about_the_networks_and_points_of_the_course_report():
    as_run = settings_of(EXPERIMENT, "quick")
    assert unmet(EXPERIMENT, as_run) == {f"C{number}": () for number in range(1, 6)}
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", most_iterations=1500))["C2"] == (
        "1,500 of 2,000 most iterations",
    )
    (deeper,) = unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", deep=6))["C5"]
    assert "where" not in deeper
    assert "network deep" in deeper
    assert all(unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", points=1999)).values())
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", function="cos")).keys() == {"C4", "C5"}
    assert not unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", network="deep"))


@pytest.mark.parametrize(("function", "title"), [("x**2", "y = x**2"), ("exp", "y = exp(x)"), ("x", "y = x")])
def test_the_threshold_is_in_the_figure_of_a_function_that_is_not_learned(function, title):
    settings = settings_of(EXPERIMENT, function=function, network="shallow", most_iterations=2)
    results = results_of(EXPERIMENT, settings)
    _, figures, _ = present(EXPERIMENT, results)
    (axes,) = next(iter(figures.values())).draw().axes
    low, high = axes.get_ylim()
    assert low < 0.05 * results.variance.mean().item() < high
    assert axes.get_title() == title


def test_figures_have_the_numbers_of_the_course_report_and_names_of_their_own_for_other_functions():
    settings = settings_of(EXPERIMENT, function="cos,x**2,x*2", network="deep", most_iterations=2)
    _, figures, _ = present(EXPERIMENT, results_of(EXPERIMENT, settings))
    assert_parts_are_drawn(figures)
    assert list(figures) == [
        *("figure-02", "learning-curves-x-2", "learning-curves-x-2-no-2"),
        *("figure-04", "predictions-x-2", "predictions-x-2-no-2"),
    ]


def test_any_setting_may_be_missing_and_any_seed_may_have_diverged():
    settings = settings_of(EXPERIMENT, most_iterations=20, unseen_points=100)
    for missing in (settings[:1], settings[3:]):  # one network, and one function altogether
        present(EXPERIMENT, results_of(EXPERIMENT, settings, left_out=missing))
    results = results_of(EXPERIMENT, settings)
    for lost in ([1], [0, 1]):
        judgements, _, _ = present(EXPERIMENT, without_seeds(results, lost))
        assert all(f"no finite value in {len(lost)} of 2 seeds" in judged.reason for judged in judgements.values())


@pytest.mark.parametrize("rate", [1e6, 1e30], ids=["through infinity", "straight to not-a-number"])
def test_however_a_training_diverges_its_seed_counts(rate):
    (setting,) = settings_of(EXPERIMENT, function="cos", network="shallow", points=10, optimizer="sgd")
    results = measure(EXPERIMENT, dataclasses.replace(setting, learning_rate=rate), (0, 1))
    assert results.diverged_at.notnull().all()
    assert not np.isfinite(results.final_loss).any()
