"""Sensitivity to the input: each sample's own derivatives, however the samples are cut, on every engine."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import jacobian
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from cases import CASES, CLASSES, FEATURES, PAIRS, SAMPLES, integers, normal, seeded
from whydeep.errors import SettingError
from whydeep.instruments import input_sensitivity
from whydeep.landscape import Landscape
from whydeep.landscape import closed_form as closed_form_module
from whydeep.networks import ACTIVATIONS, MLP
from whydeep.population import Population, Samples

ENGINES = ("closed-form", "vmap", "one-by-one")
REAL = [(name, engine) for name, engine in PAIRS if CASES[name]().inputs.is_floating_point()]


def close(found, expected, tolerance=1e-11):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def slow(module, data, loss):
    """Norms for each sample alone [sample]: of the Jacobians of its own loss and of its outputs by its input."""
    module = copy.deepcopy(module).double().eval()
    inputs, targets = (part.double() if part.is_floating_point() else part for part in data)
    found = [
        (jacobian(lambda x, y=y: loss(module(x), y), x).norm(), jacobian(module, x).norm())
        for x, y in zip(inputs.split(1), targets.split(1), strict=True)
    ]
    return [torch.stack(part) for part in zip(*found, strict=True)]


def check(landscape, *expected, points=None):
    """Compare every point's two norms [sample] with `expected` pairs, and the means over samples with theirs."""
    found = input_sensitivity(landscape, points=points)
    gradients, jacobians = (torch.stack(part) for part in zip(*expected, strict=True))
    close(found.loss_gradients, gradients)
    close(found.jacobians, jacobians)
    close(found.loss_gradient, gradients.mean(1))
    close(found.jacobian, jacobians.mean(1))


# -- against the reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "engine"), REAL)
def test_equals_jacobians_of_each_sample_alone(name, engine):
    """In batches that are not equally large."""
    case = CASES[name]()
    landscape = Landscape(case.module, case.data, case.objective, engine=engine, samples_at_once=5)
    check(landscape, slow(case.module, case.data, case.loss))


@given(st.data())
@settings(max_examples=30, derandomize=True)
def test_the_closed_form_for_any_network_and_any_blocks(data):
    draw, small = data.draw, st.integers(1, 5)
    widths = (draw(small), *draw(st.lists(small, max_size=3)), draw(small))
    samples, points = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    activation = draw(st.sampled_from([*ACTIVATIONS]))
    modules = [seeded(lambda: MLP(widths, activation), seed) for seed in range(points)]
    targets, loss = draw(st.sampled_from([
        (integers(widths[-1], samples), functional.cross_entropy),
        (normal(samples, widths[-1], seed=5), functional.mse_loss),
    ]))  # fmt: skip
    pair = normal(samples, widths[0], seed=4), targets
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_form_module, "BLOCK_NUMBERS", draw(st.sampled_from([1, 300, 2**19])))
        landscape = Landscape(
            Population(modules), pair, loss, engine="closed-form", samples_at_once=draw(st.integers(1, 7))
        )
        check(landscape, *(slow(module, pair, loss) for module in modules))


# -- known answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_linear_network(engine):
    """f(x) = W x + b: the Jacobian is W at every x, and the gradient of the cross entropy is W^T (p - y)."""
    module, inputs, targets = seeded(lambda: MLP((FEATURES, CLASSES))), normal(9, FEATURES), integers(CLASSES, 9)
    weight = module.linear1.weight.detach()
    found = input_sensitivity(Landscape(module, (inputs, targets), functional.cross_entropy, engine=engine))
    close(found.jacobians, weight.norm().expand(1, 9))
    errors = module(inputs).detach().softmax(1) - functional.one_hot(targets, CLASSES)
    close(found.loss_gradients[0], (errors @ weight).norm(dim=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_relu_network_is_the_product_of_what_is_active(engine):
    module, inputs, targets = seeded(lambda: MLP((FEATURES, 6, 2))), normal(9, FEATURES), normal(9, 2, seed=3)
    first, second = module.linear1.weight.detach(), module.linear2.weight.detach()
    active = (module.linear1(inputs) > 0).double()
    jacobians = second @ (active.unsqueeze(2) * first)
    found = input_sensitivity(Landscape(module, (inputs, targets), functional.mse_loss, engine=engine))
    close(found.jacobians[0], jacobians.norm(dim=(1, 2)))
    residuals = module(inputs).detach() - targets  # the mean over two outputs: (2 / 2) J^T (f - y)
    close(found.loss_gradients[0], (residuals.unsqueeze(1) @ jacobians).norm(dim=(1, 2)))
    assert found.jacobians.std() > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_a_confident_network_has_a_small_gradient_and_a_large_jacobian(engine):
    module, inputs = seeded(lambda: MLP((FEATURES, CLASSES))), normal(9, FEATURES)
    targets = module(inputs).argmax(1)
    landscape = Landscape(module, (inputs, targets), functional.cross_entropy, engine=engine)
    before = input_sensitivity(landscape)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1000)
    after = input_sensitivity(landscape)
    close(after.jacobian, 1000 * before.jacobian, 1e-9)
    assert after.loss_gradient < 1e-3 * before.loss_gradient


# -- batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 5, SAMPLES, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_how_samples_are_cut_does_not_matter(size, engine):
    """Samples keep the order of the data; a last batch that is smaller weighs by its samples."""
    case = CASES["mlp tanh"]()
    expected = slow(case.module, case.data, case.loss)
    for data in (case.data, DataLoader(TensorDataset(*case.data), batch_size=size)):
        check(Landscape(case.module, data, case.objective, engine=engine, samples_at_once=size), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_gradients_are_told_apart(engine):
    """The gradient of a batch's mean loss by its inputs is smaller by the size of the batch; weights differ too."""
    case = CASES["mlp tanh"]()
    loader = DataLoader(TensorDataset(*case.data), batch_size=5)  # 5, 5 and 3 samples
    wrong = []
    for inputs, targets in loader:
        inputs = inputs.clone().requires_grad_()
        (gradients,) = torch.autograd.grad(case.loss(case.module(inputs), targets), inputs)
        wrong.append(gradients.norm(dim=1))
    landscape = Landscape(case.module, loader, case.objective, engine=engine)
    found = input_sensitivity(landscape)
    close(found.loss_gradients[0] / torch.cat(wrong), torch.tensor([5.0] * 10 + [3.0] * 3).double())
    assert found.loss_gradient > 4 * torch.cat(wrong).mean()
    by_weights = torch.stack(
        [Landscape(case.module, (x, y), case.objective).gradients().norm() for x, y in zip(
            case.inputs.split(1), case.targets.split(1), strict=True
        )]
    )  # fmt: skip
    assert ((found.loss_gradients[0] - by_weights).abs() > 0.01 * by_weights).all()


# -- populations and points ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own_inputs", "own_targets"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_each_member_as_alone(engine, own_inputs, own_targets):
    case = CASES["mlp tanh"]()
    modules = [seeded(lambda: MLP((FEATURES, 4, 3, CLASSES), "tanh"), seed) for seed in range(3)]
    inputs, targets = normal(3, SAMPLES, FEATURES), integers(CLASSES, 3, SAMPLES)
    pairs = [(inputs[i if own_inputs else 0], targets[i if own_targets else 0]) for i in range(3)]
    samples = Samples(
        inputs if own_inputs else inputs[0], targets if own_targets else targets[0], own_inputs, own_targets
    )
    landscape = Landscape(Population(modules), samples, case.objective, engine=engine, samples_at_once=5)
    expected = [slow(module, pair, case.loss) for module, pair in zip(modules, pairs, strict=True)]
    check(landscape, *expected)
    check(landscape.select([2, 0]), expected[2], expected[0])


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
def test_members_keep_their_own_buffers(engine):
    case = CASES["convolution"]()
    modules = [case.module, copy.deepcopy(case.module)]
    modules[1][1].running_var.mul_(3)
    landscape = Landscape(Population(modules), case.data, case.objective, engine=engine)
    check(landscape, *(slow(module, case.data, case.loss) for module in modules))


@pytest.mark.parametrize("parameters", [None, "linear2.*"])
@pytest.mark.parametrize("engine", ENGINES)
def test_at_given_points(engine, parameters):
    case = CASES["mlp tanh"]()
    landscape = Landscape(case.module, case.data, case.objective, engine=engine, parameters=parameters)
    points, expected = normal(3, landscape.size), []
    for point in points:
        module = copy.deepcopy(case.module)
        nn.utils.vector_to_parameters(point, [module.get_parameter(name) for name in landscape.names])
        expected.append(slow(module, case.data, case.loss))
    check(landscape, *expected, points=points)


# -- what is left alone, and what is no input ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp tanh", "convolution", "attention", "frozen"])
def test_networks_and_data_are_left_as_they_were(name):
    case = CASES[name]()
    module = case.module.train()
    state, inputs = copy.deepcopy(module.state_dict()), case.inputs.clone()
    frozen = [parameter.requires_grad for parameter in module.parameters()]
    found = input_sensitivity(Landscape(module, case.data, case.objective))
    assert module.training
    assert all(torch.equal(state[key], tensor) for key, tensor in module.state_dict().items())
    assert [parameter.requires_grad for parameter in module.parameters()] == frozen
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(case.inputs, inputs)
    assert not case.inputs.requires_grad
    assert not found.loss_gradients.requires_grad
    assert not found.jacobians.requires_grad


@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
def test_integers_have_no_derivatives(engine):
    case = CASES["words"]()
    message = "derivatives by the inputs need inputs that are real numbers, and these are integers"
    with pytest.raises(SettingError, match=message):
        input_sensitivity(Landscape(case.module, case.data, case.objective, engine=engine))
