"""The measurements of E3 and E5, against slow references."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

from whydeep.data import sample, target_function
from whydeep.experiments import critical_points, weight_trajectories
from whydeep.experiments.experiment import Plan
from whydeep.instruments import Stationarity
from whydeep.networks import MLP
from whydeep.population import Stream
from whydeep.runs import Context


def points_of(experiment, seed, count):
    generator = Stream(0, experiment.NAME, "", seed, "data").numpy()
    x, y = sample(target_function("cos"), (-10, 10), count, generator)
    return (torch.from_numpy(v).unsqueeze(1).float().double() for v in (x, y))


def network_at(vector, activation="relu"):
    network = MLP((1, 3, 5, 1), activation).double()
    torch.nn.utils.vector_to_parameters(torch.as_tensor(vector, dtype=torch.float64), network.parameters())
    return network


@pytest.fixture(scope="module")
def paths():
    setting = dataclasses.replace(weight_trajectories.settings(Plan("smoke"))[0], points=200, iterations=120)
    return setting, weight_trajectories.measure(setting, (0, 3), Context())


def test_a_seed_of_trajectories_does_not_depend_on_the_others(paths):
    setting, results = paths
    xr.testing.assert_identical(results.sel(seed=[3]), weight_trajectories.measure(setting, (3,), Context()))


def test_snapshots_are_evenly_spaced_and_belong_to_their_losses(paths):
    setting, results = paths
    times = results.iteration_of_snapshot.values
    assert (len(times), times[0], times[-1]) == (30, 0, setting.iterations - 1)
    assert set(np.diff(times)) <= {4, 5}
    x, y = points_of(weight_trajectories, 3, 200)
    for series, snapshot in ((0, 0), (2, 11), (7, 29)):
        one = results.sel(seed=3, series=series).isel(snapshot=snapshot)
        expected = functional.mse_loss(network_at(one.weights.values)(x), y).item()
        assert one.loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("part", "columns"), [("second layer", slice(6, 21)), ("whole network", None)])
def test_components_are_those_of_the_weights_alone(paths, part, columns):
    """15 weights in the second layer and 23 in all, biases left out; against a singular value decomposition."""
    _, results = paths
    biases = [3, 4, 5, 21, 22, 23, 24, 25, 31]
    weights = results.weights.sel(seed=3).values.astype(float).reshape(-1, 32)
    rows = weights[:, columns] if columns else np.delete(weights, biases, axis=1)
    assert rows.shape[1] == {"second layer": 15, "whole network": 23}[part]
    _, values, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    one = results.sel(seed=3, part=part, path="trained")
    np.testing.assert_allclose(one.explained, (values**2 / (values**2).sum())[:6], rtol=1e-4)
    expected = (rows - rows.mean(0)) @ directions[:2].T
    found = one.coordinates.values.reshape(-1, 2)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)


def test_the_surface_is_the_loss_on_the_plane_with_mean_biases(paths):
    _, results = paths
    one = results.sel(seed=0)
    x, y = points_of(weight_trajectories, 0, 200)
    vectors = one.weights.values.astype(float).reshape(-1, 32)
    mean = vectors.mean(0)
    biases = np.isin(np.arange(32), [3, 4, 5, 21, 22, 23, 24, 25, 31])
    _, _, directions = np.linalg.svd((vectors - mean)[:, ~biases], full_matrices=False)
    projected = (vectors - mean)[:, ~biases] @ directions[:2].T
    found = one.coordinates.sel(part="whole network", path="trained").values.reshape(-1, 2)
    signs = np.sign((projected * found).sum(0))
    for i, j in ((0, 0), (3, 12), (14, 5)):
        vector = mean.copy()
        at = np.array([one.surface_first.values[i], one.surface_second.values[j]]) * signs
        vector[~biases] += at @ directions[:2]
        expected = functional.mse_loss(network_at(vector)(x), y).item()
        assert one.surface.values[i, j] == pytest.approx(expected, rel=1e-3)


@pytest.fixture(scope="module", params=["relu", "tanh"])
def solved(request):
    setting = next(one for one in critical_points.settings(Plan("smoke")) if one.activation == request.param)
    setting = dataclasses.replace(setting, points=200, iterations=400, cycles=2)
    return setting, critical_points.measure(setting, (1, 4), Context())


def test_a_seed_of_critical_points_does_not_depend_on_the_others(solved):
    setting, results = solved
    xr.testing.assert_identical(results.sel(seed=[4]), critical_points.measure(setting, (4,), Context()))


def test_what_is_said_of_a_network_is_what_autograd_says(solved):
    """Loss, gradient norm, Hessian and kinks of the network with sharp corners, on the points that it was trained on."""
    setting, results = solved
    x, y = points_of(critical_points, 4, 200)
    for number in range(setting.networks):
        one = results.sel(seed=4, network=number)
        network = network_at(one.weights.values, setting.activation)
        vector = torch.nn.utils.parameters_to_vector(network.parameters()).detach()

        def loss(vector, network=network):
            shapes = [(name, parameter.shape) for name, parameter in network.named_parameters()]
            parts = vector.split([shape.numel() for _, shape in shapes])
            named = {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}
            return functional.mse_loss(torch.func.functional_call(network, named, (x,)), y)

        gradient = torch.func.grad(loss)(vector)
        hessian = torch.autograd.functional.hessian(loss, vector)
        assert one.loss.item() == pytest.approx(loss(vector).item(), rel=1e-9)
        assert one.gradient_norm.item() == pytest.approx(gradient.norm().item(), abs=1e-12, rel=1e-6)
        scale = float(one.eigenvalues.max())
        np.testing.assert_allclose(one.eigenvalues, torch.linalg.eigvalsh(hessian), atol=1e-10 * scale)
        if setting.activation == "relu":
            hidden = [x @ network.linear1.weight.T + network.linear1.bias]
            hidden.append(hidden[0].relu() @ network.linear2.weight.T + network.linear2.bias)
            assert one.kinks.item() == sum(int((z.abs() <= 1e-7).sum()) for z in hidden)


def test_kinds_follow_from_what_is_recorded(solved):
    setting, results = solved
    below = results.gradient_norm <= 1e-6
    critical = results.kind == Stationarity.CRITICAL
    assert (below & (results.frye_index <= 0.9)).values[critical.values].all()
    kink = (results.kind == Stationarity.KINK).values
    assert (results.subgradient_norm.values[kink] <= 1e-6).all()
    assert (results.kinks.values[kink] > 0).all()
    if setting.activation == "tanh":
        assert not kink.any()
    assert (results.gradient_jump.values[kink] > 1e-6).all()


def test_the_correlation_is_spearmans_over_critical_points_only():
    generator = np.random.default_rng(0)
    losses, eigenvalues = generator.random((1, 12)), generator.standard_normal((1, 12, 5))
    kinds = np.array([[0.0] * 8 + [1, 2, 3, 3]])
    results = xr.Dataset(
        {
            "loss": (("seed", "network"), losses),
            "kind": (("seed", "network"), kinds),
            "eigenvalues": (("seed", "network", "eigenvalue"), eigenvalues),
        }
    )
    ratios = (eigenvalues[0, :8] > 1e-6 * np.abs(eigenvalues[0, :8]).max(1, keepdims=True)).mean(1)
    ranks = [np.argsort(np.argsort(losses[0, :8])), [np.mean(np.flatnonzero(np.sort(ratios) == r)) for r in ratios]]
    expected = np.corrcoef(ranks)[0, 1]
    assert critical_points.correlation(results).item() == pytest.approx(expected)
    assert np.isnan(critical_points.correlation(results.assign(kind=results.kind * 0 + 3)).item())
