"""Parameters chosen by name, and what is recorded layer by layer, against plain autograd."""

import pytest
import torch
from reference import initial_module, streams, train_plain
from torch import nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    CrossEntropy,
    Population,
    Recorder,
    Samples,
    Training,
    gradient_norm,
    gradient_norm_by_layer,
    layers,
)
from whydeep.population.layout import Layout


def mlp():
    return MLP((8, 5, 7, 3))


def convolutional():
    """Batch normalisation, a layer without a bias, and blocks inside blocks."""
    block = nn.Sequential(nn.Conv2d(1, 4, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(nn.Unflatten(1, (1, 2, 4)), block, nn.Flatten(), nn.Linear(12, 3))


class Scaled(nn.Module):
    """A parameter of its own, outside of any layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.inner = nn.Linear(8, 3)

    def forward(self, x):
        return self.scale * self.inner(x)


NETWORKS = {
    "mlp": (mlp, ("linear1", "linear2", "linear3")),
    "convolutional": (convolutional, ("1.0", "1.1", "3")),
    "scaled": (Scaled, ("", "inner")),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def population_of(build, members=3):
    return Population.initialise(build, streams("init", members), dtype=torch.float64)


# -- selection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("linear2.*", ["linear2.weight", "linear2.bias"]),
        ("linear2.bias", ["linear2.bias"]),
        ("*.weight", ["linear1.weight", "linear2.weight", "linear3.weight"]),
        ("linear[13].bias", ["linear1.bias", "linear3.bias"]),
        ("linear?.bias", ["linear1.bias", "linear2.bias", "linear3.bias"]),
        (["*.bias", "linear1.*"], ["linear1.weight", "linear1.bias", "linear2.bias", "linear3.bias"]),
        (("linear3.bias", "linear1.bias"), ["linear1.bias", "linear3.bias"]),
        ("*", [f"linear{layer}.{kind}" for layer in (1, 2, 3) for kind in ("weight", "bias")]),
    ],
)
def test_patterns_choose_parameters_once_each_in_the_order_of_the_module(patterns, names):
    layout = Layout.of(mlp().named_parameters())
    assert [slot.name for slot in layout.select(patterns)] == names
    assert [slot.name for slot in layout.select(iter([patterns] if isinstance(patterns, str) else patterns))] == names
    shapes = {name: tuple(parameter.shape) for name, parameter in mlp().named_parameters()}
    assert [slot.shape for slot in layout.select(patterns)] == [shapes[name] for name in names]


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("mlp", ["linear2.*", "*.bias", ["linear3.bias", "linear1.weight"], "*"]),
        ("convolutional", ["1.*", "1.1.*", "*.bias", "3.weight", "*"]),
        ("scaled", ["scale", "inner.*", "*"]),
    ],
)
def test_columns_are_where_the_parameters_lie_in_the_vectors(name, patterns):
    """The vectors have no padding, which the rows of the population have."""
    population = population_of(NETWORKS[name][0])
    assert population.layout.row > population.size
    for chosen in patterns:
        names = [slot.name for slot in population.layout.select(chosen)]
        expected = torch.cat([population.parameters[some].reshape(len(population), -1) for some in names], dim=1)
        columns = population.layout.columns(chosen)
        assert torch.equal(population.vectors()[:, columns], expected)
        assert columns.tolist() == sorted(set(columns.tolist()))
    assert torch.equal(population.layout.columns("*"), torch.arange(population.size))


@pytest.mark.parametrize("choose", [Layout.select, Layout.columns])
@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("linear2.wieght", r"^no parameter matches 'linear2\.wieght': did you mean linear2\.weight"),
        ("Linear2.weight", r"^no parameter matches 'Linear2\.weight': did you mean .*linear2\.weight"),
        ("linear2", r"^no parameter matches 'linear2': did you mean .*linear2\.bias"),
        ("conv*", r"^no parameter matches 'conv\*': accepted: linear1\.weight, linear1\.bias, linear2\.weight, "),
        (["linear1.*", "linear4.*"], r"^no parameter matches 'linear4\.\*': did you mean"),
        ("", r"^no parameter matches ''"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_what_is_near(choose, patterns, message):
    with pytest.raises(SettingError, match=message):
        choose(Layout.of(mlp().named_parameters()), patterns)


def test_no_patterns_choose_nothing():
    layout = Layout.of(mlp().named_parameters())
    assert layout.select([]) == ()
    assert layout.columns([]).tolist() == []


# -- layer by layer -------------------------------------------------------------------------------------------------


def samples():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 8, generator=generator, dtype=torch.float64)
    return Samples(inputs, torch.randint(3, (24,), generator=generator))


def recorded(build, steps=4, batch_size=10):
    population = population_of(build)
    training = Training(
        population,
        samples(),
        objective=CrossEntropy(),
        optimizer=SGD(0.1),
        batch_size=batch_size,
        orders=streams("order", len(population)),
    )
    whole, by_layer = Recorder(gradient_norm), Recorder(gradient_norm_by_layer)
    training.run(steps, [whole, by_layer])
    return population, whole.values, by_layer.values


@every_network
def test_layers_are_the_modules_with_parameters_of_their_own_in_order(name):
    build, expected = NETWORKS[name]
    population = population_of(build)
    assert layers(population) == expected
    own = [key for key, module in build().named_modules() if list(module.parameters(recurse=False))]
    assert list(expected) == own


class Watched(torch.optim.SGD):
    """Plain gradient descent that writes down the norm of every layer's gradient before each step."""

    def __init__(self, module, rate):
        super().__init__(module.parameters(), lr=rate)
        self.module, self.norms = module, []

    def step(self):
        self.norms.append(
            [
                torch.cat([parameter.grad.flatten() for parameter in module.parameters(recurse=False)]).norm()
                for module in self.module.modules()
                if list(module.parameters(recurse=False))
            ]
        )
        super().step()


@every_network
def test_norms_by_layer_are_those_of_plain_training(name):
    build, names = NETWORKS[name]
    _, _, by_layer = recorded(build)
    data = samples()
    for member, (init, order) in enumerate(zip(streams("init", 3), streams("order", 3), strict=True)):
        module = initial_module(build, init, torch.float64)
        watched = Watched(module, 0.1)
        train_plain(module, data.inputs, data.targets, functional.cross_entropy, watched, 4, 10, order)
        expected = torch.tensor(watched.norms, dtype=torch.float64)
        assert expected.shape == (4, len(names))
        torch.testing.assert_close(by_layer[member], expected, rtol=1e-9, atol=1e-12)


@every_network
def test_squares_of_the_layers_add_up_to_the_whole(name):
    population, whole, by_layer = recorded(NETWORKS[name][0])
    assert by_layer.shape == (3, 4, len(layers(population)))
    assert (by_layer > 0).all()
    torch.testing.assert_close(by_layer.square().sum(2).sqrt(), whole, rtol=1e-12, atol=0)
