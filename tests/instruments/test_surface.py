"""The loss on a plane: exact where it is a parabola, filter-normalised, and with the network left as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cases import CASES, FEATURES, normal, quadratic, seeded, symmetric
from whydeep.errors import SettingError
from whydeep.instruments import Plane, loss_surface, random_plane, trajectory_pca, trajectory_plane, trajectory_surface
from whydeep.instruments import surface as surface_module
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import MeanSquaredError, Population, Samples

SIZE = 6
FIRST, SECOND = np.linspace(-1, 2, 7), np.array([-3.0, -1.0, 0.0, 0.5])


def plane(seed=0, size=SIZE):
    """Directions that are neither orthogonal nor of length one."""
    first = normal(size, seed=seed + 1)
    return Plane(normal(size, seed=seed), first, 3 * normal(size, seed=seed + 2) + 2 * first)


def landscape_of(name):
    case = CASES[name]()
    return Landscape(case.module, case.data, case.objective)


def generator(seed=0):
    return np.random.default_rng(seed)


# -- grids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 5, 256])
def test_a_quadratic_gives_an_exact_parabola(at_once, monkeypatch):
    """In both directions, with element i, j at first[i], second[j]: a grid that is turned or off by a step differs."""
    monkeypatch.setattr(surface_module, "NUMBERS_AT_ONCE", at_once * SIZE)
    matrix, where = symmetric(SIZE), plane()
    found = loss_surface(quadratic(matrix), where, FIRST, SECOND)
    assert found.shape == (len(FIRST), len(SECOND))
    o, d, e, A = (tensor.numpy() for tensor in (where.origin, where.first, where.second, matrix))
    a, b = FIRST[:, None], SECOND[None, :]
    expected = (o @ A @ o + a * a * (d @ A @ d) + b * b * (e @ A @ e)) / 2
    expected = expected + a * (o @ A @ d) + b * (o @ A @ e) + a * b * (d @ A @ e)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    third_differences = np.diff(loss_surface(quadratic(matrix), where, FIRST, FIRST), n=3, axis=0)
    np.testing.assert_allclose(third_differences, 0, atol=1e-10)


@pytest.mark.parametrize("name", ["mlp relu", "convolution", "attention", "frozen"])
def test_each_element_is_the_loss_of_the_network_there(name):
    case = CASES[name]()
    landscape = Landscape(case.module, case.data, case.objective)
    where = plane(size=landscape.size)
    found = loss_surface(landscape, where, [0.1, -0.2], [0.0, 0.3, 0.05])
    moved = copy.deepcopy(case.module).eval()
    varied = [parameter for parameter in moved.parameters() if parameter.requires_grad]
    for i, a in enumerate([0.1, -0.2]):
        for j, b in enumerate([0.0, 0.3, 0.05]):
            nn.utils.vector_to_parameters(where.origin + a * where.first + b * where.second, varied)
            with torch.no_grad():
                assert found[i, j] == pytest.approx(case.loss(moved(case.inputs), case.targets).item(), rel=1e-10)


def test_the_origin_of_a_random_plane_is_the_network():
    landscape = landscape_of("mlp tanh")
    found = loss_surface(landscape, random_plane(landscape, generator()), [0.0], [0.0])
    assert found[0, 0] == pytest.approx(landscape.losses().item(), rel=1e-14)


def test_a_plane_through_the_parameters_themselves():
    """They require a gradient, and the surface does not mind."""
    case = CASES["mlp tanh"]()
    origin = nn.utils.parameters_to_vector(case.module.parameters())
    landscape = Landscape(case.module, case.data, case.objective)
    where = Plane(origin, torch.ones_like(origin), torch.zeros_like(origin))
    assert loss_surface(landscape, where, [0.0], [0.0])[0, 0] == pytest.approx(landscape.losses().item())


def test_a_population_that_shares_its_data_is_one_landscape():
    modules = [seeded(lambda: MLP((FEATURES, 4, 2), "tanh"), seed) for seed in range(2)]
    data = normal(9, FEATURES), normal(9, 2, seed=3)
    population = Landscape(Population(modules), Samples(*data), MeanSquaredError())
    alone = Landscape(modules[1], data, functional.mse_loss)
    where = random_plane(population, generator(), member=1)
    assert torch.equal(where.origin, alone.points()[0])
    np.testing.assert_allclose(
        loss_surface(population, where, FIRST, SECOND), loss_surface(alone, where, FIRST, SECOND), rtol=1e-12
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_members_with_data_of_their_own_have_no_common_surface(count):
    """Not even on a grid that has as many points as there are members."""
    landscape = quadratic(symmetric(SIZE), symmetric(SIZE, 1))
    with pytest.raises(SettingError, match="of their own"):
        loss_surface(landscape, plane(), [0.0], np.linspace(0, 1, count))


def test_one_member_with_data_of_its_own_has_a_surface():
    landscape = quadratic(symmetric(SIZE), symmetric(SIZE, 1)).select([1])
    found = loss_surface(landscape, plane(), FIRST, SECOND)
    np.testing.assert_allclose(found, loss_surface(quadratic(symmetric(SIZE, 1)), plane(), FIRST, SECOND), rtol=1e-12)


# -- planes -------------------------------------------------------------------------------------------------------


def test_points_of_a_plane():
    where = plane()
    coordinates = normal(4, 2, seed=8)
    expected = torch.stack([where.origin + a * where.first + b * where.second for a, b in coordinates])
    torch.testing.assert_close(where.points(coordinates), expected)


@pytest.mark.parametrize("shape", [(SIZE,), (5, SIZE), (2, 3, SIZE)])
def test_projection_is_least_squares(shape):
    """Also for directions that are not orthogonal: the rest is at right angles to both."""
    where, points = plane(), normal(*shape, seed=7)
    coordinates, distances = where.project(points)
    assert (coordinates.shape, distances.shape) == ((*shape[:-1], 2), shape[:-1])
    directions = torch.stack([where.first, where.second], dim=1).numpy()
    moved = (points - where.origin).reshape(-1, SIZE).numpy().T
    expected, squares, _, _ = np.linalg.lstsq(directions, moved, rcond=None)
    np.testing.assert_allclose(coordinates.reshape(-1, 2).numpy(), expected.T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(distances.flatten().numpy() ** 2, squares, rtol=1e-10)
    rest = points.reshape(-1, SIZE) - where.points(coordinates.reshape(-1, 2))
    torch.testing.assert_close(rest @ torch.from_numpy(directions), torch.zeros(len(rest), 2).double())
    naive = (points - where.origin) @ torch.from_numpy(directions / np.square(directions).sum(0))
    assert (naive - coordinates).abs().max() > 0.01  # what projecting on each direction alone would have said


def test_points_of_the_plane_are_projected_to_themselves():
    where, coordinates = plane(), normal(4, 2, seed=8)
    found, distances = where.project(where.points(coordinates))
    torch.testing.assert_close(found, coordinates)
    torch.testing.assert_close(distances, torch.zeros(4).double(), rtol=0, atol=1e-12)


def test_plane_of_a_trajectory():
    path = generator().standard_normal((1, 8, 2)).cumsum(1) @ generator(1).standard_normal((2, SIZE)) + 1.0
    pca = trajectory_pca(path)
    where = trajectory_plane(pca)
    coordinates, distances = where.project(torch.from_numpy(path))
    np.testing.assert_allclose(coordinates.numpy(), pca.coordinates, atol=1e-10)
    np.testing.assert_allclose(distances.numpy(), 0, atol=1e-10)  # the path has two dimensions
    found = loss_surface(quadratic(symmetric(SIZE)), where, pca.coordinates[0, :, 0], pca.coordinates[0, :, 1])
    losses = [0.5 * point @ symmetric(SIZE).numpy() @ point for point in path[0]]
    np.testing.assert_allclose(np.diag(found), losses, rtol=1e-9)
    with pytest.raises(SettingError, match="a plane needs two principal components: keep two"):
        trajectory_plane(trajectory_pca(path, components=1))


# -- filter normalisation -----------------------------------------------------------------------------------------


def filters(landscape, vector):
    """Parts of a vector by parameter, as filters [filter, weight]."""
    sizes = [int(np.prod(shape)) for shape in landscape.shapes]
    return [
        part.view(shape[0], -1) if len(shape) > 1 else part
        for part, shape in zip(vector.split(sizes), landscape.shapes, strict=True)
    ]


@pytest.mark.parametrize("name", ["mlp tanh", "convolution", "attention", "words", "frozen"])
def test_every_filter_is_as_long_as_the_networks_and_biases_do_not_move(name):
    landscape = landscape_of(name)
    where = random_plane(landscape, generator())
    weights = 0
    for direction in (where.first, where.second):
        for moved, own in zip(filters(landscape, direction), filters(landscape, where.origin), strict=True):
            if own.ndim == 1:
                assert not moved.any()
            else:
                torch.testing.assert_close(moved.norm(dim=1), own.norm(dim=1))
                weights += 1
    assert weights >= 4
    assert torch.equal(where.origin, landscape.points()[0])
    cosine = torch.cosine_similarity(where.first, where.second, dim=0).abs()
    assert cosine < 0.6


def test_a_filter_of_zeros_does_not_move():
    module = seeded(lambda: MLP((FEATURES, 4, 2)))
    with torch.no_grad():
        module.linear1.weight[1] = 0
    where = random_plane(Landscape(module, (normal(3, FEATURES), normal(3, 2)), functional.mse_loss), generator())
    assert where.first.isfinite().all()
    assert not where.first[FEATURES : 2 * FEATURES].any()


def rescaled(module, c):
    """The same function: a ReLU layer times c, the next divided by c."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        module.linear1.weight.mul_(c)
        module.linear1.bias.mul_(c)
        module.linear2.weight.div_(c)
    return module


def surface_of(module, where=None):
    landscape = Landscape(module, (normal(20, FEATURES), normal(20, 2, seed=3)), functional.mse_loss)
    where = random_plane(landscape, generator()) if where is None else where
    return where, loss_surface(landscape, where, FIRST, SECOND)


@pytest.mark.parametrize("c", [0.01, 3.0, 100.0])
def test_rescaling_relu_layers_does_not_change_the_surface(c):
    """Along directions that are not normalised it does (Dinh et al. 2017)."""
    module = seeded(lambda: MLP((FEATURES, 6, 2)))
    where, expected = surface_of(module)
    _, found = surface_of(rescaled(module, c))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    origin = nn.utils.parameters_to_vector(rescaled(module, c).parameters()).detach()
    _, unnormalised = surface_of(rescaled(module, c), Plane(origin, where.first, where.second))
    assert np.abs(unnormalised / expected - 1).max() > 0.1


def test_the_generator_decides_and_nothing_else():
    landscape = landscape_of("mlp tanh")
    first, again, other = (random_plane(landscape, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.first, again.first)
    assert torch.equal(first.second, again.second)
    assert not torch.equal(first.first, other.first)


def test_the_network_is_left_as_it_was():
    case = CASES["convolution"]()
    module = case.module.train()
    before = copy.deepcopy(module.state_dict())
    landscape = Landscape(module, case.data, case.objective)
    where = random_plane(landscape, generator())
    origin = where.origin.clone()
    loss_surface(landscape, where, FIRST, SECOND)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(where.origin, origin)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_only_biases_have_no_filters():
    case = CASES["mlp tanh"]()
    landscape = Landscape(case.module, case.data, case.objective, parameters="*.bias")
    with pytest.raises(
        SettingError, match="filter normalisation needs weights, and only biases vary here: choose other"
    ):
        random_plane(landscape, generator())


def test_the_surface_under_a_trajectory_is_the_loss_with_the_other_parameters_at_their_mean():
    network, data = MLP((2, 3, 1), "tanh"), (torch.randn(20, 2), torch.randn(20, 1))
    paths = np.random.default_rng(0).standard_normal((2, 5, 13))  # 9 weights and 4 biases
    weights = [0, 1, 2, 3, 4, 5, 9, 10, 11]
    pca = trajectory_pca(paths[:, :, weights])
    before = copy.deepcopy(network.state_dict())
    surface = trajectory_surface(network, data, functional.mse_loss, paths, pca, parameters="*.weight", grid=4)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert surface.losses.shape == (4, 4)

    def loss(vector):
        torch.nn.utils.vector_to_parameters(torch.from_numpy(vector), reference.parameters())
        return functional.mse_loss(reference(data[0].double()), data[1].double()).item()

    reference, mean = MLP((2, 3, 1), "tanh").double(), paths.mean(axis=(0, 1))
    for i, j in ((0, 0), (1, 3), (3, 2)):
        vector = mean.copy()
        vector[weights] += surface.first[i] * pca.components[0] + surface.second[j] * pca.components[1]
        assert surface.losses[i, j] == pytest.approx(loss(vector))
    projected = mean + np.zeros_like(paths)
    projected[:, :, weights] += pca.coordinates[:, :, :2] @ pca.components[:2]
    assert surface.path_losses[1, 2] == pytest.approx(loss(projected[1, 2]))
    distances = np.linalg.norm(paths - projected, axis=2) / np.linalg.norm(paths - mean, axis=2)
    np.testing.assert_allclose(surface.off_plane, distances)
