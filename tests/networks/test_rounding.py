"""Rounded ReLUs: exactly a ReLU outside their width, a parabola inside, and a copy of the network around them."""

import pytest
import torch
from torch import nn

from whydeep.errors import SettingError
from whydeep.networks import MLP, recognise
from whydeep.networks.rounding import RoundedReLU, rounded

WIDTHS = [1e-6, 0.1, 2.0]


def grid(width, reach=3.0):
    """Symmetric, and so that no number is a corner, 0 or +-width."""
    return torch.linspace(-reach, reach, 302, dtype=torch.float64) * width


def derivative(function, at):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_exactly_a_relu_outside_its_width(width):
    outside = torch.cat([grid(width), torch.tensor([-1e3, -1e300, 1e3, 1e300, width, -width], dtype=torch.float64)])
    outside = outside[outside.abs() >= width]
    assert torch.equal(RoundedReLU(width)(outside), outside.relu())
    assert torch.equal(RoundedReLU(width).slope(outside), (outside > 0).double())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_parabola_inside_that_lies_between_zero_and_a_quarter_of_the_width_above(width):
    inside = grid(width, 0.999)
    values = RoundedReLU(width)(inside)
    torch.testing.assert_close(values, (inside + width) ** 2 / (4 * width), rtol=1e-12, atol=0)
    above = values - inside.relu()
    assert (above > 0).all()
    assert (above <= width / 4).all()
    assert RoundedReLU(width)(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(width / 4)


@pytest.mark.parametrize("width", WIDTHS)
def test_its_slope_is_that_of_autograd_and_of_finite_differences(width):
    module, at, step = RoundedReLU(width), grid(width), 1e-4 * width
    torch.testing.assert_close(module.slope(at), derivative(module, at), rtol=1e-12, atol=1e-15)
    between = (module(at + step) - module(at - step)) / (2 * step)
    torch.testing.assert_close(module.slope(at), between, rtol=0, atol=1e-4)
    torch.testing.assert_close(derivative(module.slope, at), (at.abs() < width).double() / (2 * width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("corner", [-1, 1])
def test_value_and_slope_are_continuous_at_the_corners(width, corner):
    """A ReLU's slope is not: across its corner it changes by one."""
    module = RoundedReLU(width)
    beside = corner * width * torch.tensor([1 - 1e-9, 1.0, 1 + 1e-9], dtype=torch.float64)
    for function, size in ((module, width), (module.slope, 1.0), (lambda at: derivative(module, at), 1.0)):
        values = function(beside)
        assert values.max() - values.min() < 1e-8 * size
    assert derivative(torch.relu, torch.tensor([-1e-9, 1e-9])).tolist() == [0, 1]


def test_the_widths_meet_the_relu():
    at = torch.linspace(-1, 1, 101)
    away = [(RoundedReLU(width)(at) - at.relu()).abs().max().item() for width in (1.0, 0.1, 0.01)]
    assert away == pytest.approx([0.25, 0.025, 0.0025], rel=1e-5)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(SettingError, match="width"):
        RoundedReLU(width)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.ReLU(inplace=True), nn.ReLU6()))
        self.second = nn.ModuleList([nn.ReLU(), nn.Linear(3, 1), nn.Tanh()])

    def forward(self, x):
        return self.second[1](self.second[0](self.first(x) - 0.1))


def one_relu_in_two_places():
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(2, 3), relu, nn.Linear(3, 3), relu, nn.Linear(3, 1))


NETWORKS = {  # and how many times a ReLU is in them
    "nested": (Nested, 3),
    "mlp": (lambda: MLP((2, 3, 4, 1)), 2),
    "one in two places": (one_relu_in_two_places, 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_relu_of_a_copy_is_replaced_and_the_original_left_alone(name):
    make, relus = NETWORKS[name]
    network = make()
    before = repr(network), {key: value.clone() for key, value in network.state_dict().items()}
    copied = rounded(network, 0.25)
    assert repr(copied) == before[0].replace("ReLU(inplace=True)", "ReLU()").replace(
        "ReLU()", "RoundedReLU(width=0.25)"
    )
    assert repr(copied).count("RoundedReLU(width=0.25)") == relus
    assert repr(network) == before[0]
    assert type(copied) is type(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[1][key])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rounded_network_computes_nearly_the_same(name):
    make, _ = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, inputs = make().double(), torch.randn(50, 2, dtype=torch.float64)
    away = [(rounded(network, width)(inputs) - network(inputs)).abs().max().item() for width in (1.0, 1e-6)]
    assert away[0] > 1e-2
    assert away[1] < 1e-5


def test_a_single_relu_becomes_a_rounded_one():
    assert type(rounded(nn.ReLU(), 0.5)) is RoundedReLU


def test_rounded_networks_are_recognised_as_fully_connected_ones():
    architecture = recognise(rounded(MLP((2, 3, 4, 1)), 0.5))
    assert architecture.widths == (2, 3, 4, 1)
    assert (type(architecture.activation), architecture.activation.width) == (RoundedReLU, 0.5)
