"""Losses, gradients and curvature: against a dense reference, on every engine that takes the network."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

from cases import (
    CASES,
    CLASSES,
    FEATURES,
    PAIRS,
    SAMPLES,
    ScalarProduct,
    between,
    half_squared,
    integers,
    normal,
    quadratic,
    reference,
    seeded,
    symmetric,
)
from whydeep.errors import SettingError
from whydeep.instruments import split_eigenvalues
from whydeep.landscape import Landscape
from whydeep.landscape import closed_form as closed_form_module
from whydeep.networks import ACTIVATIONS, MLP
from whydeep.networks.rounding import rounded
from whydeep.population import SGD, MeanSquaredError, Population, Samples, Training

ENGINES = ("closed-form", "vmap", "one-by-one")


def close(found, expected, tolerance=1e-11):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def landscape_of(case, **settings):
    return Landscape(case.module, case.data, case.objective, **settings)


def measured(landscape, points=None):
    """Everything at once: losses, gradients, Hessians and products with two directions."""
    where = landscape.points() if points is None else points
    directions = normal(len(where), 2, landscape.size, seed=9)
    return (
        landscape.losses(points),
        landscape.gradients(points),
        landscape.hessians(points),
        landscape.products(directions, points),
    )


def networks(count, build=lambda: MLP((FEATURES, 4, 3, CLASSES), "tanh")):
    return [seeded(build, seed) for seed in range(count)]


# -- against the reference ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "engine"), PAIRS)
def test_equals_the_dense_reference(name, engine):
    """In batches that are not equally large."""
    case = CASES[name]()
    loss, gradient, hessian = reference(case)
    landscape = landscape_of(case, engine=engine, samples_at_once=5)
    losses, gradients, hessians, products = measured(landscape)
    close(losses, loss.expand(1))
    close(gradients, gradient.unsqueeze(0))
    close(hessians, hessian.unsqueeze(0))
    assert torch.equal(hessians, hessians.mT)
    directions = normal(1, 2, landscape.size, seed=9)
    close(products, directions @ hessian)
    close(landscape.products(directions[:, 0]), directions[:, 0] @ hessian)
    assert landscape.size == len(gradient)


@pytest.mark.parametrize("engine", ENGINES)
def test_expand_says_the_same(engine):
    landscape = landscape_of(CASES["mlp tanh"](), engine=engine)
    for found, expected in zip(landscape.expand(), measured(landscape), strict=False):
        close(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_auto_takes_the_closed_form_exactly_where_it_fits(name):
    case = CASES[name]()
    assert (landscape_of(case).closed_form is not None) == case.closed


@pytest.mark.parametrize("engine", ENGINES)
def test_a_smaller_last_batch_weighs_less(engine):
    """137 samples in fifties: the mean of the batches' means is another, wrong number."""
    case = CASES["mlp tanh"]()
    inputs, targets = normal(137, FEATURES), integers(CLASSES, 137)
    inputs[100:], targets[100:] = 3 * inputs[100:], 0  # the last batch is different
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=50)
    landscape = Landscape(case.module, loader, functional.cross_entropy, engine=engine)
    expected = reference(case, inputs=inputs, targets=targets)
    for found, whole in zip(landscape.expand(), expected, strict=True):
        close(found[0], whole)
    close(landscape.losses()[0], expected[0])
    close(landscape.gradients()[0], expected[1])
    batches = [reference(case, inputs=x, targets=y) for x, y in loader]
    wrong = [torch.stack(parts).mean(0) for parts in zip(*batches, strict=True)]
    top, wrong_top = (torch.linalg.eigvalsh(hessian)[-1] for hessian in (expected[2], wrong[2]))
    assert abs(wrong[0] - expected[0]) > 1e-3 * expected[0]
    assert abs(wrong_top - top) > 1e-3 * top


@pytest.mark.parametrize("samples_at_once", [1, 4, SAMPLES, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_how_samples_are_cut_does_not_matter(samples_at_once, engine):
    case = CASES["mlp sigmoid"]()
    for found, expected in zip(
        measured(landscape_of(case, engine=engine, samples_at_once=samples_at_once)),
        measured(landscape_of(case, engine=engine)),
        strict=True,
    ):
        close(found, expected)


def test_data_come_in_any_form_and_are_read_once():
    case = CASES["mlp tanh"]()
    inputs, targets = case.data
    forms = [
        (inputs, targets),
        Samples(inputs, targets),
        DataLoader(TensorDataset(inputs, targets), batch_size=5),
        DataLoader(TensorDataset(inputs, targets), batch_size=5, shuffle=True),
        [inputs, targets],
        [(inputs[:4], targets[:4]), [inputs[4:], targets[4:]]],
        ((inputs[i : i + 1], targets[i : i + 1]) for i in range(SAMPLES)),
        [(inputs, targets), (inputs[:0], targets[:0])],
    ]
    for data in forms:
        landscape = Landscape(case.module, data, case.objective)
        close(landscape.losses()[0], reference(case)[0])
        close(landscape.losses()[0], reference(case)[0])


def test_what_a_loader_draws_is_drawn_once():
    inputs, targets = CASES["mlp tanh"]().data

    class Augmented:
        def __iter__(self):
            yield inputs + torch.randn_like(inputs), targets

    drawn = Augmented()
    first, second = (Landscape(CASES["mlp tanh"]().module, drawn, functional.cross_entropy) for _ in range(2))
    assert torch.equal(first.losses(), first.losses())
    assert not torch.equal(first.losses(), second.losses())


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_float32_on_demand(engine):
    case = CASES["mlp tanh"]()
    landscape = landscape_of(case, engine=engine, dtype=torch.float32)
    for found, expected in zip(measured(landscape), measured(landscape_of(case)), strict=True):
        assert found.dtype == torch.float32
        close(found.double(), expected, 1e-5)
    assert not torch.equal(landscape.losses().double(), landscape_of(case).losses())


def test_float32_networks_are_measured_in_float64():
    case = CASES["mlp tanh"]()
    module = copy.deepcopy(case.module).float()
    landscape = Landscape(module, (case.inputs.float(), case.targets), case.objective)
    assert landscape.points().dtype == landscape.hessians().dtype == torch.float64
    close(landscape.hessians()[0], reference(case, module=module, inputs=case.inputs.float())[2])


# -- blocks of parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("linear2.*", ["linear2.weight", "linear2.bias"]),
        ("linear1.bias", ["linear1.bias"]),
        ("*.weight", ["linear1.weight", "linear2.weight", "linear3.weight"]),
        (["linear3.bias", "linear1.*"], ["linear1.weight", "linear1.bias", "linear3.bias"]),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_of_the_hessian(engine, patterns, names):
    case = CASES["mlp tanh"]()
    landscape = landscape_of(case, engine=engine, parameters=patterns)
    shapes = {name: tuple(parameter.shape) for name, parameter in case.module.named_parameters()}
    assert (landscape.names, landscape.shapes) == (tuple(names), tuple(shapes[name] for name in names))
    loss, gradient, hessian = reference(case, names)
    losses, gradients, hessians, products = measured(landscape)
    close(losses[0], loss)
    close(gradients[0], gradient)
    close(hessians[0], hessian)
    close(products[0], normal(1, 2, landscape.size, seed=9)[0] @ hessian)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_can_hold_what_is_frozen(engine):
    case = CASES["frozen"]()
    names = ["linear2.weight", "linear3.bias"]
    close(landscape_of(case, engine=engine, parameters=names).hessians()[0], reference(case, names)[2])
    assert landscape_of(case, engine=engine).names == ("linear1.weight", "linear1.bias", "linear3.weight")


# -- populations and points -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [None, "linear2.*"])
@pytest.mark.parametrize(("own_inputs", "own_targets"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_a_population_is_its_members(engine, own_inputs, own_targets, parameters):
    case, modules = CASES["mlp tanh"](), networks(3)
    inputs, targets = normal(3, SAMPLES, FEATURES), integers(CLASSES, 3, SAMPLES)
    samples = Samples(
        inputs if own_inputs else inputs[0], targets if own_targets else targets[0], own_inputs, own_targets
    )
    landscape = Landscape(
        Population(modules), samples, case.objective, engine=engine, parameters=parameters, samples_at_once=5
    )
    names = None if parameters is None else ["linear2.weight", "linear2.bias"]
    expected = [
        reference(case, names, modules[i], inputs[i if own_inputs else 0], targets[i if own_targets else 0])
        for i in range(3)
    ]

    def check(found, members):
        for part, whole in zip(measured(found), zip(*[expected[i] for i in members], strict=True), strict=False):
            close(part, torch.stack(whole))
        directions = normal(len(members), 2, landscape.size, seed=9)
        close(found.products(directions), directions @ torch.stack([expected[i][2] for i in members]))

    assert landscape.members == 3
    assert landscape.shared == (not own_inputs and not own_targets and parameters is None)
    check(landscape, [0, 1, 2])
    check(landscape.select([2]), [2])
    check(landscape.select([2, 0]), [2, 0])
    check(landscape.select([2, 1]).select(torch.tensor([1])), [1])
    assert landscape.select([2, 0]).members == 2


@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
def test_members_keep_their_own_buffers(engine):
    case = CASES["convolution"]()
    modules = [copy.deepcopy(case.module) for _ in range(2)]
    modules[1][1].running_var.mul_(3)
    landscape = Landscape(Population(modules), case.data, case.objective, engine=engine)
    assert not landscape.shared
    for member, module in enumerate(modules):
        expected = reference(case, module=module)
        for whole, alone in zip(landscape.expand(), landscape.select([member]).expand(), strict=True):
            close(whole[member], alone[0])
        close(landscape.losses()[member], expected[0])
        close(landscape.gradients()[member], expected[1])
    assert (landscape.losses()[0] - landscape.losses()[1]).abs() > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("networked", ["module", "population"])
def test_any_number_of_points(networked, count, engine):
    case = CASES["mlp tanh"]()
    of = case.module if networked == "module" else Population(networks(2))
    landscape = Landscape(of, case.data, case.objective, engine=engine)
    points = normal(count, landscape.size)
    found = measured(landscape, points)
    for index in {0, count - 1}:
        module = copy.deepcopy(case.module)
        nn.utils.vector_to_parameters(points[index], module.parameters())
        for part, expected in zip(found[:3], reference(case, module=module), strict=True):
            close(part[index], expected)
    assert [len(part) for part in found] == [count] * 4


@pytest.mark.parametrize("given", ["data", "buffers", "other parameters"])
def test_any_number_of_points_of_one_selected_member(given):
    """One member has nothing to be confused with, whatever of its own it has."""
    case = CASES["convolution" if given == "buffers" else "mlp tanh"]()
    population = Population([case.module, case.module])
    inputs, targets = case.data
    samples = Samples(torch.stack([2 * inputs, inputs]), targets, own_inputs=True) if given == "data" else case.data
    block = {"parameters": "*.bias"} if given == "other parameters" else {}
    alone = landscape_of(case, **block)
    points = normal(3, alone.size)
    found = Landscape(population, samples, case.objective, **block).select([1])
    close(found.losses(points), alone.losses(points))


@pytest.mark.parametrize("engine", ENGINES)
def test_points_of_a_block_leave_the_rest_of_a_module_where_it_is(engine):
    case = CASES["mlp tanh"]()
    landscape = landscape_of(case, engine=engine, parameters="linear2.*")
    points = normal(3, landscape.size)
    moved = copy.deepcopy(case.module)
    nn.utils.vector_to_parameters(points[2], moved.linear2.parameters())
    close(landscape.hessians(points)[2], reference(case, landscape.names, moved)[2])


@pytest.mark.parametrize("engine", ENGINES)
def test_it_follows_a_module_that_trains(engine):
    case = CASES["mlp tanh"]()
    landscape = landscape_of(case, engine=engine)
    before = landscape.losses()
    optimizer = torch.optim.SGD(case.module.parameters(), lr=0.5)
    functional.cross_entropy(case.module(case.inputs), case.targets).backward()
    optimizer.step()
    assert landscape.losses() < before
    for found, expected in zip(landscape.expand(), reference(case), strict=True):
        close(found[0], expected)
    case.module.linear1.weight = nn.Parameter(torch.zeros_like(case.module.linear1.weight))
    close(landscape.losses()[0], reference(case)[0])


@pytest.mark.parametrize("chosen", [[0, 1], [1]])
def test_it_follows_a_population_that_trains(chosen):
    case = CASES["mlp values"]()
    population = Population(networks(2, lambda: MLP((FEATURES, 5, 2), "sigmoid")))
    samples = Samples(*case.data)
    landscape = Landscape(population, samples, MeanSquaredError()).select(chosen)
    before = landscape.losses()
    Training(population, samples, objective=MeanSquaredError(), optimizer=SGD(0.1)).run(5)
    after = landscape.losses()
    assert (after < before).all()
    for place, member in enumerate(chosen):
        close(after[place], reference(case, module=population.member(member))[0])


# -- what it leaves alone ---------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Counts its own calls, in evaluation mode as well."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(FEATURES))

    def forward(self, x):
        self.calls += 1
        self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return self.linear(x)


def state(module):
    return {
        "mode": [part.training for part in module.modules()],
        "frozen": [parameter.requires_grad for parameter in module.parameters()],
        "parameters": [parameter.detach().clone() for parameter in module.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "buffers": [buffer.clone() for buffer in module.buffers()],
        "types": [tensor.dtype for tensor in module.state_dict().values()],
    }


def same(one, other):
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("name", "engine"), [pair for pair in PAIRS if pair[1] != "auto"])
def test_the_module_is_left_as_it_was(name, engine):
    """In training mode and in float64, in which nothing would have to be copied for the computation."""
    case = CASES[name]()
    module = case.module.train()
    for parameter in list(module.parameters())[::2]:
        parameter.grad = torch.ones_like(parameter)
    generator, before = torch.random.get_rng_state(), state(module)
    landscape = landscape_of(case, engine=engine)
    measured(landscape, normal(2, landscape.size))
    after = state(module)
    for what in before:
        assert same(before[what], after[what]), what
    assert torch.equal(generator, torch.random.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_that_writes_to_its_buffers_is_left_as_it_was(dtype):
    module = seeded(Counting, dtype=dtype)
    before = state(module)
    landscape = Landscape(module, (normal(SAMPLES, FEATURES), normal(SAMPLES, 2)), functional.mse_loss)
    measured(landscape)
    assert same(before["buffers"], state(module)["buffers"])


def test_points_and_losses_are_copies():
    case = CASES["mlp tanh"]()
    landscape = landscape_of(case)
    before = landscape.losses()
    landscape.points().zero_()
    assert torch.equal(landscape.losses(), before)
    points = normal(2, landscape.size)
    kept = points.clone()
    measured(landscape, points)
    assert torch.equal(points, kept)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tracked", ["points", "inputs"])
def test_nothing_is_tracked_for_derivatives(tracked, engine):
    """`nn.utils.parameters_to_vector` of a network, for one, requires a gradient."""
    case = CASES["mlp tanh"]()
    expected = measured(landscape_of(case, engine=engine))
    points = nn.utils.parameters_to_vector(case.module.parameters()).unsqueeze(0)
    data = (case.inputs.requires_grad_(tracked == "inputs"), case.targets)
    landscape = Landscape(case.module, data, case.objective, engine=engine)
    found = measured(landscape, points if tracked == "points" else None)
    for part, same_part in zip(found, expected, strict=True):
        assert not part.requires_grad
        close(part, same_part)


# -- stacks that the closed form must not take for what they look like ------------------------------------------


def pruned():
    net = between(nn.Tanh)
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    return net


def hooked():
    net = between(nn.Tanh)
    net[0].register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    return net


def with_a_parameter_of_its_own():
    net = between(nn.Tanh)
    net.register_parameter("temperature", nn.Parameter(torch.ones(2)))
    return net


@pytest.mark.parametrize("build", [pruned, hooked, with_a_parameter_of_its_own], ids=lambda build: build.__name__)
def test_a_stack_that_is_more_than_its_layers(build):
    case = CASES["mlp tanh"]()
    module = seeded(build)
    with torch.no_grad():
        module(case.inputs)  # or a pruned module could not be copied
    expected = reference(case, module=module)
    for found, whole in zip(Landscape(module, case.data, case.objective).expand(), expected, strict=True):
        close(found[0], whole)


def test_inputs_of_activations_that_work_in_place():
    case = CASES["relu in place"]()
    closed = landscape_of(case).closed_form
    rows, _ = closed.rows(case.inputs.unsqueeze(0), case.targets.unsqueeze(0))
    found = closed.hidden_inputs(landscape_of(case).points(), rows)
    close(found[0][0].mT, case.module[0](case.inputs).detach())


def test_inputs_with_further_dimensions():
    """A network of linear layers maps [sample, place, feature] to [sample, place, output]."""
    case = CASES["mlp values"]()
    inputs, targets = normal(5, 4, FEATURES), normal(5, 4, 2, seed=5)
    landscape = Landscape(case.module, (inputs, targets), case.objective)
    close(landscape.losses()[0], reference(case, inputs=inputs, targets=targets)[0])


# -- known answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_quadratic_returns_its_matrix(size):
    matrices = [symmetric(size, seed) for seed in range(3)]
    for landscape, expected in (
        (quadratic(matrices[0]), matrices[:1]),
        (quadratic(*matrices), matrices),
    ):
        close(landscape.hessians(), torch.stack(expected))
        close(landscape.gradients(), (torch.stack(expected) @ landscape.points().unsqueeze(2)).squeeze(2))


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
@pytest.mark.parametrize(
    ("x", "y", "eigenvalues"),
    [(0.0, 0.0, [-1, 1]), (1.0, 1.0, [0, 2]), (2.0, 0.5, [0, 4.25]), (-0.1, -10.0, [0, 100.01])],
)
def test_scalar_product_at_its_saddle_and_its_minima(x, y, eigenvalues, engine):
    """L = (1 - x y)^2 / 2."""
    landscape = Landscape(ScalarProduct(x, y), (torch.ones(1, 1), torch.ones(1, 1)), half_squared, engine=engine)
    found = torch.linalg.eigvalsh(landscape.hessians())
    close(found, torch.tensor([eigenvalues], dtype=torch.float64))
    split = split_eigenvalues(found)
    saddle = eigenvalues[0] < 0
    assert split.positive.item() == 0.5
    assert (split.zero.item(), split.negative.item()) == ((0, 0.5) if saddle else (0.5, 0))
    exact = split_eigenvalues(torch.tensor([eigenvalues], dtype=torch.float64))
    assert exact.strict.item() == 0.5  # the strict ratio does not tell a saddle from a minimum


@pytest.mark.parametrize("engine", ENGINES)
def test_softmax_regression_is_convex(engine):
    """Everywhere; the same loss with a hidden layer is not."""
    case = CASES["softmax regression"]()
    landscape = landscape_of(case, engine=engine)
    eigenvalues = torch.linalg.eigvalsh(landscape.hessians(3 * normal(20, landscape.size)))
    assert (split_eigenvalues(eigenvalues).negative == 0).all()
    assert eigenvalues.min() > -1e-14 * eigenvalues.max()
    hidden = landscape_of(CASES["mlp tanh"](), engine=engine)
    assert torch.linalg.eigvalsh(hidden.hessians(3 * normal(20, hidden.size))).min() < -1e-3


def test_a_loss_that_is_linear_in_some_parameters():
    module = nn.Linear(2, 1).double()
    data = (normal(4, 2), normal(4, 1))
    for engine in ("vmap", "one-by-one"):
        landscape = Landscape(module, data, lambda outputs, targets: outputs.mean(), engine=engine)
        assert not landscape.hessians().any()
        close(landscape.gradients()[0], torch.cat([data[0].mean(0), torch.ones(1, dtype=torch.float64)]))


# -- errors -----------------------------------------------------------------------------------------------------


def plain(**given):
    return Landscape(
        **{
            "networks": MLP((3, 4, 2)),
            "data": (torch.ones(5, 3), torch.ones(5, 2)),
            "objective": functional.mse_loss,
            **given,
        }
    )


def two(**given):
    samples = Samples(normal(2, 5, 3), normal(5, 2), own_inputs=True)
    return plain(networks=Population([MLP((3, 4, 2)), MLP((3, 4, 2))]), data=samples, **given)


class Unvectorised(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        outputs = self.linear(x)
        return outputs * (1 if outputs.sum().item() > 0 else 2)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return functional.dropout(self.linear(x), 0.5, training=True)


UNREDUCED = lambda outputs, targets: (outputs - targets).square()
ERRORS = {
    "unknown engine": (lambda: plain(engine="vmapp"), r"no engine is called 'vmapp': did you mean vmap\? \(accepted: auto"),
    "module for the closed form": (
        lambda: plain(networks=nn.Linear(3, 2), engine="closed-form"),
        "the closed form takes nn.Sequential of Linear layers with one kind of activation between them, and cross "
        "entropy of class numbers or mean squared error, not this Linear with this loss and these targets: give "
        'engine="vmap"',
    ),
    "objective for the closed form": (
        lambda: plain(objective=half_squared, engine="closed-form"),
"the closed form takes .*, not this MLP with this loss and these targets",
    ),
    "pattern": (
        lambda: plain(parameters="linear3.weight"),
        r"no parameter matches 'linear3.weight': did you mean linear\d.weight or linear\d.weight\?",
    ),
    "nothing varies": (lambda: plain(parameters=[]), "MLP has no parameters that could vary: there is no landscape"),
    "all frozen": (lambda: plain(networks=MLP((3, 2)).requires_grad_(False)), "MLP has no parameters that could vary"),
    "no parameters": (lambda: plain(networks=nn.Tanh()), "Tanh has no parameters that could vary"),
    "no data": (lambda: plain(data=[]), "the data hold no samples: a loss needs at least one"),
    "no samples": (lambda: plain(data=(torch.ones(0, 3), torch.ones(0, 2))), "the data hold no samples"),
    "unequal pair": (
        lambda: plain(data=(torch.ones(5, 3), torch.ones(4, 2))),
        r"data must be Samples, a pair of tensors \(inputs, targets\) with as many samples, or an iterable of such pairs",
    ),
    "three tensors": (lambda: plain(data=(torch.ones(5, 3),) * 3), "data must be Samples"),
    "inputs alone": (lambda: plain(data=torch.ones(5, 3)), "data must be Samples"),
    "tensors instead of pairs": (lambda: plain(data=[torch.ones(2, 3)] * 3), "data must be Samples"),
    "random": (
        lambda: plain(networks=Noisy(), data=(normal(50, 3), normal(50, 2))),  # no two masks give the same loss
        "Noisy gives different losses for the same inputs, in evaluation mode too: take the randomness out",
    ),
    "batches of names": (lambda: plain(data=[("a", "b")]), "data must be Samples"),
    "not iterable": (lambda: plain(data=5), "data must be Samples"),
    "sets of samples": (
        lambda: plain(data=Samples(normal(2, 5, 3), normal(5, 2), own_inputs=True)),
        "2 sets of inputs for 1 members: give one each",
    ),
    "samples at once": (lambda: plain(samples_at_once=0), "samples_at_once"),
    "objective by name": (lambda: plain(objective="mse"), "objective"),
    "points": (lambda: plain().losses(torch.ones(2, 7)), r"points must be \[point, 26\], not \(2, 7\)"),
    "one point": (lambda: plain().losses(torch.ones(26)), r"points must be \[point, 26\], not \(26,\)"),
    "too many points": (
        lambda: two().losses(torch.ones(3, 26)),
        "3 points for 2 members that have data, buffers or other parameters of their own: give one point for each member",
    ),
    "directions": (
        lambda: plain().products(torch.ones(1, 2, 7)),
        r"directions must be \[point, direction, size\] for points \(1, 26\), not \(1, 2, 7\)",
    ),
    "one direction": (lambda: plain().products(torch.ones(26)), r"directions must be .*, not \(26,\)"),
    "directions of other points": (lambda: two().products(torch.ones(1, 26)), r"directions must be .*, not \(1, 26\)"),
    "too large": (
        lambda: plain(
            networks=MLP((784, 100, 10)), data=(torch.ones(1, 784), torch.ones(1, 10))
        ).hessians(),
        "1 dense Hessians of 79,510 parameters take 47 GiB: choose a block with parameters=..., or use "
        "top_eigenvalues, spectral_density and hessian_trace, which need none",
    ),
    "input width": (
        lambda: plain(data=(torch.ones(5, 4), torch.ones(5, 2))).losses(),
        "inputs have 4 features, the network takes 3",
    ),
    "target shape": (
        lambda: plain(data=(torch.ones(5, 3), torch.ones(5))).losses(),
        r"targets must be \[sample, 2\] for mean squared error, not \(5,\)",
    ),
    "targets that are no classes": (
        lambda: plain(
            objective=functional.cross_entropy, data=(torch.ones(5, 3), torch.ones(5, 1).long())
        ).losses(),
        r"targets must be \[sample\] for cross entropy, not \(5, 1\)",
    ),
    "loss not reduced, one by one": (
        lambda: plain(objective=UNREDUCED).losses(),
        r"the loss must be one number, a mean over samples, and has shape \(5, 2\): reduce it",
    ),
    "loss not reduced, vectorised": (
        lambda: plain(objective=UNREDUCED, engine="vmap").gradients(),
        r"the loss must be one number, a mean over samples, and has shape \(5, 2\): reduce it",
    ),
    "not vectorisable": (
        lambda: plain(networks=Unvectorised(), engine="vmap").losses(),
        r'Unvectorised cannot be computed for all points at once \(.+\): give engine="one-by-one"',
    ),
    "not vectorisable twice": (
        lambda: plain(networks=Unvectorised(), engine="vmap").hessians(),
        "Unvectorised cannot be computed for all points at once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("given", ERRORS)
def test_wrong_settings_are_named(given):
    make, message = ERRORS[given]
    with pytest.raises(SettingError, match=message):
        make()


# -- properties -------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=40, derandomize=True)
def test_the_closed_form_equals_automatic_differentiation(data):
    """For any widths, activation, number of samples and points, and however both are cut into blocks."""
    draw = data.draw
    small = st.integers(1, 4)
    widths = (draw(small), *draw(st.lists(small, max_size=3)), draw(small))
    activation = draw(st.sampled_from([*ACTIVATIONS, "rounded"]))
    module = seeded(lambda: MLP(widths, "relu" if activation == "rounded" else activation), draw(st.integers(0, 99)))
    module = rounded(module, 0.5) if activation == "rounded" else module
    samples, points = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    if draw(st.booleans()):
        targets, objective = integers(widths[-1], samples), functional.cross_entropy
    else:
        targets, objective = normal(samples, widths[-1], seed=5), functional.mse_loss
    names = [name for name, _ in module.named_parameters()]
    given = {
        "networks": module,
        "data": (normal(samples, widths[0], seed=4), targets),
        "objective": objective,
        "parameters": draw(st.lists(st.sampled_from(names), min_size=1, unique=True)),
        "samples_at_once": draw(st.integers(1, 10)),
    }
    slow = Landscape(**given, engine="vmap")
    where = normal(points, slow.size, seed=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_form_module, "BLOCK_NUMBERS", draw(st.sampled_from([1, 30, 300, 2**19])))
        patch.setattr(closed_form_module, "SAMPLE_NUMBERS", draw(st.sampled_from([1, 30, 300, 2**25])))
        found = measured(Landscape(**given, engine="closed-form"), where)
    for part, expected in zip(found, measured(slow, where), strict=True):
        close(part, expected, 1e-10)


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "engine"), PAIRS)
def test_cuda_agrees_with_the_cpu(name, engine):
    case = CASES[name]()
    expected = measured(landscape_of(case, engine=engine))
    case.module.cuda()
    for found, part in zip(measured(landscape_of(case, engine=engine)), expected, strict=True):
        assert found.is_cuda
        close(found.cpu(), part, 1e-9)
