"""Kinks: a minimum of a ReLU network where no gradient vanishes, worked out by hand, and networks drawn at random."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.instruments import find_critical_points, find_kinks
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.networks.rounding import RoundedReLU, rounded
from whydeep.population import MeanSquaredError, Population, Samples

ERROR = 0.4
"""Of the network at the sample that sits on the kink."""


def kink_minimum(share, place=0.0, units=1):
    """A network f(x) = relu(w x + b) v + c and four samples, with a minimum of the loss at a kink.

    With w = v = 1, b = -place, c = 0, and x = place + (-1, 0, 1, 2), the unit is off at the first sample, on at the last
    two and at its kink at the second. Let e_i be the errors f(x_i) - y_i, and s the slope of the unit at the kink. The
    gradient of the mean of e_i^2 by (w, b, v, c) is, in that order,

        (2/4) v (s e_2 x_2 + e_3 x_3 + e_4 x_4),   (2/4) v (s e_2 + e_3 + e_4),
        (2/4) (e_3 + 2 e_4),                       (2/4) (e_1 + e_2 + e_3 + e_4).

    With e_3 = -2 e_4, e_4 = S e_2 and e_1 = -(1 - S) e_2, all four are zero for s = S, and otherwise

        (2/4) v (s - S) e_2 (x_2, 1, 0, 0):

    with e_2 > 0 the loss rises on both sides of the kink, by S and 1 - S times the length of the jump,
    (1/2) e_2 sqrt(x_2^2 + 1). Along the kink it is convex. So it is a minimum, and no gradient vanishes.

    With several units, each does an equal part v / units of the work, and the jump is 1 / sqrt(units) as long.
    """
    inputs = place + torch.tensor([[-1.0], [0.0], [1.0], [2.0]], dtype=torch.float64)
    errors = ERROR * torch.tensor([[-(1 - share)], [1.0], [-2 * share], [share]], dtype=torch.float64)
    network = MLP((1, units, 1)).double()
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), (1, -place, 1 / units, 0), strict=True):
            parameter.fill_(value)
    return network, (inputs, network(inputs).detach() - errors)


def landscape_of(network, data, **options):
    return Landscape(network, data, MeanSquaredError(), **options)


def set_bias(network, value):
    with torch.no_grad():
        network.linear1.bias.fill_(value)
    return network


def values_of(kinks):
    return {name: getattr(kinks, name).tolist() for name in kinks.__dataclass_fields__}


@pytest.mark.parametrize("place", [0.0, 1.5, -3.0])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("samples_at_once", [1000, 3])
def test_the_gradient_jumps_at_the_minimum_and_a_subgradient_vanishes(share, place, samples_at_once):
    """Three samples at a time leave a ragged last batch of one."""
    reach = 1e-6
    network, data = kink_minimum(share, place)
    set_bias(network, -place + reach * (2 * share - 1))  # where the rounded unit has the slope that balances
    found = find_kinks(landscape_of(network, data, samples_at_once=samples_at_once), reach=reach)
    jump = ERROR / 2 * (place**2 + 1) ** 0.5
    assert found.near.item() == 1
    assert found.distance.item() == pytest.approx(reach * abs(2 * share - 1), abs=1e-15)
    assert found.jump.item() == pytest.approx(jump, rel=1e-5)
    side = 1 - share if share > 0.5 else share  # PyTorch's ReLU is off at the kink itself
    assert found.gradient_norms.item() == pytest.approx(side * jump, rel=1e-4)
    assert found.subgradient_norms.item() < 10 * reach
    assert found.subgradient_norms.item() < 1e-3 * found.gradient_norms.item()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_loss_rises_on_both_sides_of_the_kink(share):
    """That the example is what it claims to be, from losses alone: no neighbour is lower, and not quadratically so."""
    network, data = kink_minimum(share)
    landscape = landscape_of(network, data)
    bias = torch.zeros(1, landscape.size, dtype=torch.float64)
    bias[0, 1] = 1e-5
    at, off, on = (landscape.losses(landscape.points() + side * bias).item() for side in (0, -1, 1))
    assert (off - at) / 1e-5 == pytest.approx(share * ERROR / 2, rel=1e-3)
    assert (on - at) / 1e-5 == pytest.approx((1 - share) * ERROR / 2, rel=1e-3)
    directions = torch.randn(500, landscape.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (1e-2, 1e-4):
        assert (landscape.losses(landscape.points() + size * directions) > at - 1e-16).all()


@pytest.mark.parametrize(
    ("reach", "near"), [(0.5, 1), (0.999, 1), (1.0, 3), (1.999, 3), (2.0, 4)]
)  # inputs of the unit: -1, 0, 1, 2
def test_near_counts_pairs_of_a_unit_and_a_sample(reach, near):
    network, data = kink_minimum(0.5)
    assert find_kinks(landscape_of(network, data), reach=reach).near.item() == near
    thrice, data = kink_minimum(0.5, units=3)
    assert find_kinks(landscape_of(thrice, data), reach=reach).near.item() == 3 * near


@pytest.mark.parametrize("units", [1, 2, 5])
def test_units_at_the_same_kink_jump_together(units):
    network, data = kink_minimum(0.5, place=1.5, units=units)
    found = find_kinks(landscape_of(network, data), reach=1e-9)
    assert found.jump.item() == pytest.approx(ERROR / 2 * (1.5**2 + 1) ** 0.5 / units**0.5, rel=1e-6)
    assert found.subgradient_norms.item() < 1e-12


def test_far_from_kinks_there_is_nothing_but_the_gradient():
    network, data = kink_minimum(0.5)
    landscape = landscape_of(set_bias(network, 0.3), data)
    found = find_kinks(landscape, reach=0.29)
    assert found.near.item() == found.jump.item() == 0
    assert found.distance.item() == pytest.approx(0.3, abs=1e-15)
    torch.testing.assert_close(found.gradient_norms, plain_gradient(network, *data).norm().unsqueeze(0))
    torch.testing.assert_close(found.subgradient_norms, found.gradient_norms)
    assert found.gradient_norms.item() > 0.1


# -- networks at random ----------------------------------------------------------------------------------------


class Partly(torch.autograd.Function):
    """A ReLU that is differentiated with a given slope."""

    @staticmethod
    def forward(context, inputs, slope):
        context.save_for_backward(slope)
        return inputs.relu()

    @staticmethod
    def backward(context, gradient):
        return gradient * context.saved_tensors[0], None


def plain_gradient(network, inputs, targets, slope=None):
    """Gradient of the mean squared error by plain autograd; `slope` says how a ReLU is differentiated at its input."""
    signal = inputs
    for layer in network:
        relu = isinstance(layer, nn.ReLU) and slope is not None
        signal = Partly.apply(signal, slope(signal)) if relu else layer(signal)
    parts = torch.autograd.grad(functional.mse_loss(signal, targets), list(network.parameters()))
    return torch.cat([part.flatten() for part in parts])


def hidden_inputs(network, inputs):
    signal, found = inputs, []
    for layer in network:
        if isinstance(layer, nn.ReLU):
            found.append(signal.detach().flatten())
        signal = layer(signal)
    return torch.cat(found)


def slowly(network, inputs, targets, reach):
    """What `find_kinks` measures, from its definitions."""
    pull = lambda value: lambda z: torch.where(z.abs() <= reach, value, (z > 0).double())
    gradient, off, on = (plain_gradient(network, inputs, targets, slope) for slope in (None, pull(0.0), pull(1.0)))
    between = plain_gradient(network, inputs, targets, lambda z: ((z + reach) / (2 * reach)).clamp(0, 1))
    z = hidden_inputs(network, inputs)
    return {
        "near": (z.abs() <= reach).sum().item(),
        "distance": z.abs().min().item(),
        "gradient_norms": gradient.norm().item(),
        "jump": (on - off).norm().item(),
        "subgradient_norms": between.norm().item(),
    }


def relu_networks(members, widths=(2, 5, 4, 1)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [MLP(widths).double() for _ in range(members)]


def samples(count=23, features=2):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, features, generator=generator, dtype=torch.float64)
    return inputs, torch.randn(count, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("reach", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("members", [1, 35])
@pytest.mark.parametrize("separate_samples", [False, True])
def test_equals_a_slow_reference(separate_samples, members, reach):
    """Two layers of kinks; more points than go through at once; a ragged last batch."""
    networks, (inputs, targets) = relu_networks(members), samples()
    shifts = torch.arange(members, dtype=torch.float64).view(-1, 1, 1) * separate_samples
    data = Samples(inputs + shifts / 10, targets + shifts, True, True) if separate_samples else Samples(inputs, targets)
    found = values_of(find_kinks(landscape_of(Population(networks), data, samples_at_once=10), reach=reach))
    for member, network in enumerate(networks):
        expected = slowly(network, inputs + shifts[member] / 10, targets + shifts[member], reach)
        assert {name: value[member] for name, value in found.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert len({*found["near"]}) > 1 or members == 1


def test_points_can_be_elsewhere_than_the_networks():
    networks = relu_networks(20)
    landscape = landscape_of(networks[0], samples())
    points = torch.stack([nn.utils.parameters_to_vector(network.parameters()).detach() for network in networks])
    found = find_kinks(landscape, points, reach=0.1)
    together = find_kinks(landscape_of(Population(networks), samples()), reach=0.1)
    assert values_of(found) == values_of(together)


@pytest.mark.parametrize("parameters", ["linear2.*", ["linear1.*", "linear3.bias"]])
def test_of_chosen_parameters_only_their_part_of_the_gradient_is_measured(parameters):
    """The kinks are where they are, whichever parameters vary."""
    network, (inputs, targets) = relu_networks(1)[0], samples()
    landscape = landscape_of(network, (inputs, targets), parameters=parameters)
    found = find_kinks(landscape, reach=0.1)
    everything = find_kinks(landscape_of(network, (inputs, targets)), reach=0.1)
    assert found.near.item() == everything.near.item() > 0
    assert found.distance.item() == everything.distance.item()
    torch.testing.assert_close(found.gradient_norms, landscape.gradients().norm(dim=1))
    assert 0 < found.jump.item() < everything.jump.item()


# -- along rounded networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_following_rounded_networks_leads_to_the_minimum_at_the_kink(share):
    """From a network some way off; w and v are known only up to a factor, which the kink at -b / w and w v are not.

    The tolerance shrinks with the width: a rounded network pays for its corner with v * width, so that its loss has
    no minimum, but falls ever more slowly as w grows and v shrinks.
    """
    network, data = kink_minimum(share)
    least = landscape_of(network, data).losses().item()
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), (1.1, 0.05, 0.9, 0.02), strict=True):
            parameter.fill_(value)
    points = landscape_of(network, data).points()
    for width in 10.0 ** -torch.arange(2.0, 9.0):
        smooth = landscape_of(rounded(network, width.item()), data)
        found = find_critical_points(smooth, points, tolerance=width.item())
        assert found.gradient_norms.item() <= width
        points = found.points
    w, b, v, c = points[0].tolist()
    assert [w * v, b / w, c] == pytest.approx([1, 0, 0], abs=1e-6)
    assert 0.5 < w < 2
    landscape = landscape_of(network, data)
    assert landscape.losses(points).item() == pytest.approx(least, abs=1e-8)
    kinks = find_kinks(landscape, points, reach=1e-8)
    assert kinks.near.item() == 1
    assert kinks.subgradient_norms.item() < 1e-6
    assert kinks.gradient_norms.item() > 0.03
    assert kinks.jump.item() == pytest.approx(abs(v) * ERROR / 2, rel=1e-5)


def test_the_subgradient_is_the_gradient_of_the_rounded_network_to_its_width():
    network, data = kink_minimum(0.3, place=1.5)
    for reach in (1e-2, 1e-4):
        set_bias(network, -1.5 + 0.4 * reach)
        smooth = landscape_of(rounded(network, reach), data).gradients().norm()
        found = find_kinks(landscape_of(network, data), reach=reach)
        assert found.subgradient_norms.item() == pytest.approx(smooth.item(), abs=2 * reach)
        assert abs(found.gradient_norms.item() - smooth.item()) > 0.1 * found.jump.item()


# -- what has no kinks ----------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, x):
        return self.outer(x + torch.relu(self.inner(x)))


OTHERS = {
    "tanh": lambda: MLP((1, 3, 1), "tanh"),
    "linear": lambda: MLP((1, 1)),
    "rounded": lambda: nn.Sequential(nn.Linear(1, 3), RoundedReLU(0.1), nn.Linear(3, 1)),
    "leaky": lambda: nn.Sequential(nn.Linear(1, 3), nn.LeakyReLU(), nn.Linear(3, 1)),
    "residual": Residual,
}


@pytest.mark.parametrize("network", OTHERS)
def test_other_networks_are_refused(network):
    landscape = landscape_of(OTHERS[network](), kink_minimum(0.5)[1])
    with pytest.raises(SettingError, match=r"nn\.Sequential of Linear layers with nn\.ReLU between them"):
        find_kinks(landscape, reach=0.1)


def test_another_engine_is_named():
    """The network is one with nn.ReLU, so to be told that it must be one would not help."""
    network, data = kink_minimum(0.5)
    with pytest.raises(SettingError, match="engine"):
        find_kinks(landscape_of(network, data, engine="vmap"), reach=0.1)


@pytest.mark.parametrize("reach", [0.0, -0.1])
def test_a_reach_that_reaches_nothing_is_refused(reach):
    """At a reach of 0, the part in which a unit at its kink is on would be 0 / 0."""
    network, data = kink_minimum(0.5)
    with pytest.raises(SettingError, match="reach"):
        find_kinks(landscape_of(network, data), reach=reach)


def test_points_of_another_size_are_named():
    network, data = kink_minimum(0.5)
    with pytest.raises(SettingError, match=r"points must be \[point, 4\], not \(2, 3\)"):
        find_kinks(landscape_of(network, data), torch.zeros(2, 3), reach=0.1)
