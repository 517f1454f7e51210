"""What is written out for an activation, against its module and automatic differentiation."""

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from whydeep.networks import ACTIVATIONS
from whydeep.networks.activations import IDENTITY, ROUNDED_RELU, find_activation, in_place
from whydeep.networks.rounding import RoundedReLU

MODULES = {
    **{name: record.module() for name, record in ACTIVATIONS.items()},
    "softplus with options": nn.Softplus(beta=2.5, threshold=1.5),
    "identity": nn.Identity(),
    "rounded relu": RoundedReLU(0.4),
}
POINTS = torch.linspace(-3, 3, 64, dtype=torch.float64)  # none at a kink


@pytest.mark.parametrize("name", MODULES)
def test_derivatives_equal_automatic_ones(name):
    module = MODULES[name]
    record, outputs = find_activation(module), module(POINTS)
    torch.testing.assert_close(record.first(module, POINTS, outputs), vmap(grad(module))(POINTS))
    second = vmap(grad(grad(module)))(POINTS)
    if record.second is None:
        assert not second.any()
    else:
        torch.testing.assert_close(record.second(module, POINTS, outputs), second)


@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if in_place(module)])
def test_in_place_equals_the_module_and_its_backward_pass(name):
    module, passes = MODULES[name], in_place(MODULES[name])
    outputs = POINTS.clone()
    assert passes.forward(outputs) is outputs
    assert torch.equal(outputs, module(POINTS))
    deltas = torch.linspace(-1, 2, 64, dtype=torch.float64)
    expected = deltas * vmap(grad(module))(POINTS)
    passes.backward(deltas, outputs)
    torch.testing.assert_close(deltas, expected)


def test_a_kink_has_the_slope_of_pytorch():
    zero = torch.zeros(1, requires_grad=True)
    (slope,) = torch.autograd.grad(nn.ReLU()(zero), zero)
    assert find_activation(nn.ReLU()).first(nn.ReLU(), torch.zeros(1), torch.zeros(1)) == slope


def test_only_default_options_are_computed_in_place():
    assert in_place(nn.Softplus()) is not None
    assert in_place(MODULES["softplus with options"]) is None
    assert in_place(RoundedReLU(0.1)) is None


def test_only_exact_types_have_a_record():
    class Steeper(nn.Tanh):
        def forward(self, inputs):
            return super().forward(2 * inputs)

    assert find_activation(Steeper()) is None
    assert find_activation(nn.GELU()) is None
    assert find_activation(nn.Identity()) is IDENTITY
    assert find_activation(RoundedReLU(0.1)) is ROUNDED_RELU
