"""E3: snapshots, components and the loss surface against plain torch and numpy, its design, paths that diverge."""

import dataclasses

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
    unmet,
    without_seeds,
)
from torch.nn import functional

from whydeep.claims import Case, judge
from whydeep.course.weight_trajectories import EXPERIMENT
from whydeep.errors import SettingError
from whydeep.networks import MLP

BIASES = [3, 4, 5, 21, 22, 23, 24, 25, 31]
SMALL = {"iterations": 40, "snapshots": 5, "points": 20, "grid": 4, "walks": 2, "series": 3}


def loss_at(vector, seed):
    network = MLP((1, 3, 5, 1)).double()
    torch.nn.utils.vector_to_parameters(torch.as_tensor(vector, dtype=torch.float64), network.parameters())
    x, y = (values.double() for values in points_of(EXPERIMENT, "cos", seed, 200))
    return functional.mse_loss(network(x), y).item()


@pytest.fixture(scope="module")
def paths():
    (setting,) = settings_of(EXPERIMENT, points=200, iterations=120)
    return setting, measure(EXPERIMENT, setting, (0, 3))


def test_a_seed_does_not_depend_on_the_others(paths):
    assert_seeds_are_independent(EXPERIMENT, *paths)


def test_snapshots_are_evenly_spaced_and_belong_to_their_losses(paths):
    setting, results = paths
    times = results.iteration_of_snapshot.values
    assert (len(times), times[0], times[-1]) == (30, 0, setting.iterations - 1)
    assert set(np.diff(times)) <= {4, 5}
    for series, snapshot in ((0, 0), (2, 11), (7, 29)):
        measured = results.sel(seed=3, series=series).isel(snapshot=snapshot)
        assert measured.loss.item() == pytest.approx(loss_at(measured.weights.values, 3), rel=1e-4)


@pytest.mark.parametrize(
    ("part", "columns"), [("second layer", np.arange(6, 21)), ("whole network", np.delete(np.arange(32), BIASES))]
)
def test_components_are_those_of_the_weights_alone(paths, part, columns):
    """15 weights in the second layer and 23 in all, biases left out; against a singular value decomposition."""
    _, results = paths
    rows = results.weights.sel(seed=3).values.astype(float).reshape(-1, 32)[:, columns]
    assert rows.shape[1] == {"second layer": 15, "whole network": 23}[part]
    _, values, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    measured = results.sel(seed=3, part=part, path="trained")
    np.testing.assert_allclose(measured.explained, (values**2 / (values**2).sum())[:6], rtol=1e-4)
    expected = (rows - rows.mean(0)) @ directions[:2].T
    np.testing.assert_allclose(np.abs(measured.coordinates.values.reshape(-1, 2)), np.abs(expected), atol=1e-4)


def test_the_surface_is_the_loss_on_the_plane_with_mean_biases(paths):
    _, results = paths
    measured = results.sel(seed=0)
    vectors = measured.weights.values.astype(float).reshape(-1, 32)
    mean, weights = vectors.mean(0), np.delete(np.arange(32), BIASES)
    _, _, directions = np.linalg.svd((vectors - mean)[:, weights], full_matrices=False)
    projected = (vectors - mean)[:, weights] @ directions[:2].T
    coordinates = measured.coordinates.sel(part="whole network", path="trained").values.reshape(-1, 2)
    signs = np.sign((projected * coordinates).sum(0))
    for i, j in ((0, 0), (3, 12), (14, 5)):
        vector = mean.copy()
        place = np.array([measured.surface_first.values[i], measured.surface_second.values[j]]) * signs
        vector[weights] += place @ directions[:2]
        assert measured.surface.values[i, j] == pytest.approx(loss_at(vector, 0), rel=1e-3)


def test_the_claim_is_about_the_course_reports_training():
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick")) == {"C10": ()}
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", points=500)) == {"C10": ("500 of 1,000 points",)}
    assert len(unmet(EXPERIMENT, settings_of(EXPERIMENT, function="sin"))["C10"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": "1"}, "a second layer of one weight has no two principal components"),
        ({"snapshots": 40, "iterations": 39}, "40 snapshots of 39 iterations: set snapshots to fewer"),
        ({"snapshots": 1}, "snapshots is 1, and must be a whole number, 2 or more|snapshots is '1', and must be"),
    ],
)
def test_what_has_no_paths_is_refused_before_anything_runs(changes, message):
    with pytest.raises(SettingError, match=message):
        settings_of(EXPERIMENT, **changes)


@pytest.mark.parametrize(
    "changes", [{"hidden": 2}, {"series": 1, "snapshots": 2}, {"activation": "tanh", "function": "x"}, {"grid": 2}]
)
def test_other_designs_are_drawn(changes):
    settings = settings_of(EXPERIMENT, **SMALL | changes)
    _, figures, (table,) = present(EXPERIMENT, results_of(EXPERIMENT, settings))
    assert list(figures) == ["figure-07", "figure-08", "loss-surface"]
    assert_parts_are_drawn(figures)
    assert f"of {settings[0].series} series of each seed: mean over n = 2 seeds" in table.caption
    assert f"{settings[0].series} trainings (seed 0 of n = 2)" in figures["figure-07"].caption


@pytest.mark.parametrize("changes", [{"optimizer": "sgd", "learning_rate": 1e6}, {"learning_rate": 1e-12, "series": 1}])
def test_paths_that_diverge_or_never_move_have_no_components(changes):
    results = results_of(EXPERIMENT, settings_of(EXPERIMENT, **SMALL | changes))
    assert results.directness.isnull().all()
    _, figures, _ = present(EXPERIMENT, results)
    assert not figures


def test_seeds_that_are_missing_are_not_drawn():
    results = results_of(EXPERIMENT, settings_of(EXPERIMENT, **SMALL))
    judgements, figures, _ = present(EXPERIMENT, without_seeds(results, [0]))
    assert "(seed 1 of n = 2)" in figures["figure-08"].caption
    assert judgements["C10"].deciding.estimate.interval.n == 1
    assert not present(EXPERIMENT, without_seeds(results, [0, 1]))[1]


def test_a_seed_that_diverged_leaves_the_claim_open():
    results = results_of(EXPERIMENT, settings_of(EXPERIMENT, **SMALL), (0, 1, 2, 3))
    for measured in ("loss", "directness", "null_directness"):
        results[measured] = results[measured].where(results.seed != 2)
    (claim,) = EXPERIMENT.claims
    (judgement,) = judge([Case(EXPERIMENT.name, dataclasses.replace(claim, needs=()), results)])
    assert judgement.verdict == "undecided"
    assert [part.estimate.interval.n for part in judgement.parts] == [4, 4]
    assert "training diverged" in judgement.reason
