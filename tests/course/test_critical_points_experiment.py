"""E5: what is said of each network against autograd, kinds, correlations, its design, and networks that diverge."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
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
from whydeep.course import critical_point_charts as charts
from whydeep.course.critical_points import EXPERIMENT
from whydeep.errors import SettingError
from whydeep.instruments import Stationarity
from whydeep.networks import MLP

SMALL = {"iterations": 10, "points": 10, "hidden": 2, "networks": 3, "smooth_networks": 2, "smooth_cycles": 0}


@pytest.fixture(scope="module", params=["relu", "tanh"])
def solved(request):
    (setting,) = settings_of(
        EXPERIMENT, activation=request.param, points=200, iterations=400, cycles=2, smooth_cycles=2
    )
    return setting, measure(EXPERIMENT, setting, (1, 4))


def test_a_seed_does_not_depend_on_the_others(solved):
    assert_seeds_are_independent(EXPERIMENT, *solved)


def test_what_is_said_of_a_network_is_what_autograd_says(solved):
    """Loss, gradient norm, Hessian and kinks of the network with sharp corners, on the points that it was trained on."""
    setting, results = solved
    x, y = (values.double() for values in points_of(EXPERIMENT, "cos", 4, 200))
    network = MLP((1, 3, 5, 1), setting.activation).double()
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}

    def loss(vector):
        parts = vector.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return functional.mse_loss(torch.func.functional_call(network, named, (x,)), y)

    for number in range(setting.networks):
        measured = results.sel(seed=4, network=number)
        vector = torch.tensor(measured.weights.values)
        assert measured.loss.item() == pytest.approx(loss(vector).item(), rel=1e-9)
        norm = torch.func.grad(loss)(vector).norm().item()
        assert measured.gradient_norm.item() == pytest.approx(norm, abs=1e-12, rel=1e-6)
        eigenvalues = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, vector))
        np.testing.assert_allclose(measured.eigenvalues, eigenvalues, atol=1e-10 * float(measured.eigenvalues.max()))
        if setting.activation == "relu":
            torch.nn.utils.vector_to_parameters(vector, network.parameters())
            first = network.linear1(x)
            inputs = (first, network.linear2(first.relu()))
            assert measured.kinks.item() == sum(int((z.abs() <= 1e-7).sum()) for z in inputs)


def test_kinds_follow_from_what_is_recorded(solved):
    setting, results = solved
    critical, kink = (results.kind == kind for kind in (Stationarity.CRITICAL, Stationarity.KINK))
    low = (results.gradient_norm <= 1e-6) & (results.frye_index <= 0.9)
    np.testing.assert_array_equal(critical, low)
    assert (results.subgradient_norm.values[kink.values] <= 1e-6).all()
    assert (results.kinks.values[kink.values] > 0).all()
    assert (results.gradient_jump.values[kink.values] > 1e-6).all()
    if setting.activation == "tanh":
        assert results.kinks.isnull().all()
        assert not kink.any()


def test_the_correlation_is_spearmans_over_critical_points_only():
    generator = np.random.default_rng(0)
    losses, eigenvalues = generator.random((1, 12)), generator.standard_normal((1, 12, 5))
    results = xr.Dataset(
        {
            "loss": (("seed", "network"), losses),
            "kind": (("seed", "network"), np.array([[0.0] * 8 + [1, 2, 3, 3]])),
            "eigenvalues": (("seed", "network", "eigenvalue"), eigenvalues),
            **dict.fromkeys(("gradient_norm", "trained_gradient_norm"), (("seed", "network"), losses)),
        }
    )

    def correlation(results):
        return charts.statistics(results)[charts.CORRELATION_WITH_LOSS].item()

    ratios = (eigenvalues[0, :8] > 1e-6 * np.abs(eigenvalues[0, :8]).max(1, keepdims=True)).mean(1)
    ranks = [np.argsort(np.argsort(losses[0, :8])), [np.mean(np.flatnonzero(np.sort(ratios) == r)) for r in ratios]]
    assert correlation(results) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert np.isnan(correlation(results.assign(kind=results.kind * 0 + 3)))


def test_networks_that_an_activation_does_not_have_are_no_part_of_its_shares():
    kinds = [[[0.0, 0, 3, 0]], [[0.0, 3, np.nan, np.nan]]]
    dims = ("activation", "seed", "network")
    of_networks = dict.fromkeys(("kind", "loss", "gradient_norm", "trained_gradient_norm"), (dims, kinds))
    eigenvalues = {"eigenvalues": ((*dims, "eigenvalue"), np.ones((2, 1, 4, 3)))}
    shares = charts.statistics(xr.Dataset(of_networks | eigenvalues, {"activation": ["relu", "tanh"]}))
    assert shares[charts.CRITICAL].values.ravel().tolist() == [0.75, 0.5]


def test_the_design_of_the_course_report():
    relu, tanh = settings_of(EXPERIMENT, "full")
    assert (relu.networks, relu.cycles, tanh.networks, tanh.cycles) == (100, 6, 25, 60)
    assert relu.widths == tanh.widths == (1, 3, 5, 1)


def test_claims_are_about_relu_networks_as_the_course_report_trains_them():
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick")) == {"C12": (), "C13": ()}
    (few,) = unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", networks=11))["C12"]
    assert few == "11 of 12 networks (activation relu)"
    assert not unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", smooth_networks=2, smooth_cycles=0))["C13"]
    assert unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", optimizer="sgd", clip=1))["C13"]
    assert not unmet(EXPERIMENT, settings_of(EXPERIMENT, "quick", activation="tanh"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": 0.1}, "critical-points has no weight_decay: phase two and the Hessian are those of the loss"),
        ({"hidden": "800-400"}, "Hessians of 4 networks with 322,401 parameters take more than 4 GiB"),
        ({"activation": "relu,gelu"}, "activation is 'gelu': did you mean relu"),
    ],
)
def test_what_has_no_landscape_is_refused_before_anything_runs(changes, message):
    with pytest.raises(SettingError, match=message):
        settings_of(EXPERIMENT, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"activation": "sigmoid,softplus"}, {"activation": "relu", "networks": 1}, {"clip": 0.1, "function": "x"}],
)
def test_other_designs_are_drawn(changes):
    settings = settings_of(EXPERIMENT, **SMALL | changes)
    _, figures, (kinds, *_) = present(EXPERIMENT, results_of(EXPERIMENT, settings))
    assert_parts_are_drawn(figures)
    assert [row[:2] for row in kinds.rows] == [(setting.activation, str(setting.networks)) for setting in settings]
    assert str(settings[0].networks) in figures["figure-11"].caption


def test_networks_that_diverge_are_not_measured():
    settings = settings_of(EXPERIMENT, **SMALL | {"optimizer": "sgd", "learning_rate": 1e6, "iterations": 100})
    results = results_of(EXPERIMENT, settings)
    relu = results.sel(activation="relu")
    assert relu.kind.isnull().any()
    assert relu.parameters.notnull().all()
    present(EXPERIMENT, results)


def test_any_activation_and_any_seed_may_be_missing():
    settings = settings_of(EXPERIMENT, **SMALL)
    for missing in settings:
        present(EXPERIMENT, results_of(EXPERIMENT, settings, left_out=(missing,)))
    results = results_of(EXPERIMENT, settings)
    for lost in ([1], [0, 1]):
        judgements, _, _ = present(EXPERIMENT, without_seeds(results, lost))
        assert {part.estimate.interval.n for part in judgements["C12"].parts} == {2 - len(lost)}


def test_a_network_that_diverged_leaves_its_seed_open():
    results = results_of(EXPERIMENT, settings_of(EXPERIMENT, **SMALL), (0, 1, 2))
    lost = (results.seed == 1) & (results.network == 0)
    for measured in set(results.data_vars) - {"parameters"}:
        results[measured] = results[measured].where(~lost) if "network" in results[measured].dims else results[measured]
    claims = [dataclasses.replace(claim, needs=()) for claim in EXPERIMENT.claims]
    for judgement in judge([Case(EXPERIMENT.name, claim, results) for claim in claims]):
        assert judgement.verdict == "undecided"
        assert all(np.isinf(part.estimate.values[1]) for part in judgement.parts if len(part.estimate.values) == 3)
