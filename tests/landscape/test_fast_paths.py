"""Networks that look like a stack of layers and are more: computed as their modules say, or refused."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from cases import integers, normal, seeded
from whydeep.errors import SettingError
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import SGD, CrossEntropy, Evaluator, Population, Training, predictions, stacked

SAMPLES, FEATURES, CLASSES = 17, 4, 3
DATA = normal(SAMPLES, FEATURES), integers(CLASSES, SAMPLES)


def stack():
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, CLASSES))


class Doubled(MLP):
    def forward(self, x):
        return 2 * super().forward(x)


class CalledOtherwise(MLP):
    def __call__(self, x):
        return super().__call__(x) - 1


class Backwards(nn.Sequential):
    """Goes through its layers from the last to the first."""

    def __iter__(self):
        return reversed(list(super().__iter__()))


class SteeperTanh(nn.Tanh):
    def forward(self, x):
        return torch.tanh(3 * x)


def backwards():
    names = ("last", "middle", "first")
    return Backwards(OrderedDict(zip(names, (nn.Linear(5, CLASSES), nn.Tanh(), nn.Linear(FEATURES, 5)), strict=True)))


def altered(alter, build=stack):
    def make():
        net = build()
        alter(net)
        return net

    return make


def tie(net):
    net[2].weight = net[0].weight


def alias(net):
    """Layers of one weight each, and the same tensor in two of them by name."""
    net.add_module("again", net[0])


ALTERED = {
    "forward overridden": lambda: Doubled((FEATURES, 5, CLASSES), "tanh"),
    "call overridden": lambda: CalledOtherwise((FEATURES, 5, CLASSES), "tanh"),
    "order overridden": backwards,
    "activation overridden": lambda: nn.Sequential(nn.Linear(FEATURES, 5), SteeperTanh(), nn.Linear(5, CLASSES)),
    "forward hook": altered(lambda net: net[0].register_forward_hook(lambda module, inputs, outputs: outputs + 1)),
    "hook before": altered(lambda net: net[2].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))),
    "parametrisation": altered(lambda net: nn.utils.parametrize.register_parametrization(net[0], "weight", nn.Softsign())),
    "pruned": altered(lambda net: prune.l1_unstructured(net[0], "weight", amount=0.5)),
    "pruned bias": altered(lambda net: prune.random_unstructured(net[2], "bias", amount=1)),
    "tied": altered(tie, lambda: nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh(), nn.Linear(FEATURES, FEATURES))),
    "one layer twice": altered(alias, lambda: nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh())),
    "buffer beside a parameter": altered(lambda net: net[0].register_buffer("weight_scale", torch.ones(1))),
    "without a bias": lambda: nn.Sequential(nn.Linear(FEATURES, 5, bias=False), nn.Tanh(), nn.Linear(5, CLASSES)),
    "two activations": lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, CLASSES)),
    "softplus of two kinds": lambda: nn.Sequential(
        nn.Linear(FEATURES, 4), nn.Softplus(2), nn.Linear(4, 4), nn.Softplus(3), nn.Linear(4, CLASSES)
    ),
    "dropout": lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.Dropout(0.0), nn.Linear(5, CLASSES)),
}  # fmt: skip


def losses_and_gradients(nets):
    """Plain PyTorch."""
    values, gradients = [], []
    for net in nets:
        loss = functional.cross_entropy(net(DATA[0]), DATA[1])
        parts = torch.autograd.grad(loss, list(net.parameters()))
        values.append(loss.detach())
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(values), torch.stack(gradients)


def assert_all_agree(nets, engine="auto"):
    expected, gradients = losses_and_gradients(nets)
    population = Population(nets)
    landscape = Landscape(population, DATA, CrossEntropy(), engine=engine)
    close = torch.testing.assert_close
    close(landscape.losses(), expected, rtol=1e-11, atol=1e-12)
    close(landscape.gradients(), gradients, rtol=1e-10, atol=1e-12)
    close(Landscape(nets[1], DATA, CrossEntropy(), engine=engine).gradients()[0], gradients[1], rtol=1e-10, atol=1e-12)
    close(Evaluator(population, DATA, CrossEntropy(), engine=engine)().loss, expected, rtol=1e-11, atol=1e-12)
    outputs = torch.stack([net(DATA[0]) for net in nets]).detach()
    close(predictions(population, DATA[0], engine=engine), outputs, rtol=1e-11, atol=1e-12)
    training = Training(population, DATA, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine)
    training.run(1)
    close(training.losses, expected, rtol=1e-11, atol=1e-12)
    close(training.population.layout.vectors(training.gradients), gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("name", ALTERED)
def test_all_agree_with_the_modules_themselves(name, called, engine):
    nets = [seeded(ALTERED[name], seed) for seed in range(2)]
    assert stacked.covers(nets[0]) == (name == "buffer beside a parameter")
    if name.startswith("pruned"):
        nets = [nets[0], nets[0]]  # another mask is another buffer, which is the member's own; see below
    if called:  # which leaves tensors with a graph in modules whose weights are made at every call
        for net in nets:
            net(DATA[0])
    assert_all_agree(nets, engine)


def test_members_are_pruned_by_masks_of_their_own():
    nets = [seeded(ALTERED["pruned"], seed) for seed in range(2)]
    assert not torch.equal(nets[0][0].weight_mask, nets[1][0].weight_mask)
    assert_all_agree(nets)


@pytest.fixture
def hook_of_all_modules():
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, outputs: 2 * outputs if isinstance(module, nn.Linear) else None
    )
    yield handle
    handle.remove()


def test_hooks_of_all_modules_are_called(hook_of_all_modules):
    assert_all_agree([seeded(stack, seed) for seed in range(2)])


def test_hooks_of_all_modules_that_come_later_are_refused():
    nets = [seeded(stack, seed) for seed in range(2)]
    population = Population(nets)
    training = Training(population, DATA, objective=CrossEntropy(), optimizer=SGD(0.1))
    evaluator, landscape = Evaluator(population, DATA, CrossEntropy()), Landscape(nets[0], DATA, CrossEntropy())
    handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    try:
        for use in (lambda: training.run(1), evaluator, landscape.losses, landscape.hessians):
            with pytest.raises(SettingError, match="hooks of all modules are not called where networks are computed"):
                use()
    finally:
        handle.remove()
    landscape.losses(), evaluator(), training.run(1)


def test_a_forward_that_was_given_to_a_class_of_pytorch(monkeypatch):
    def forward(self, x):
        return functional.linear(x, 2 * self.weight, self.bias)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    assert_all_agree([seeded(stack, seed) for seed in range(2)])


@pytest.mark.parametrize("engine", ["auto", "compiled", "stacked", "vmap", "one-by-one"])
def test_autocast_is_refused(engine):
    nets = [seeded(stack, seed).float() for seed in range(2)]
    population, data = Population(nets), (DATA[0].float(), DATA[1])
    training = Training(population, data, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine)
    evaluator = Evaluator(population, data, CrossEntropy(), engine=engine)
    measured = "closed-form" if engine in ("compiled", "stacked") else engine
    landscape = Landscape(population, data, CrossEntropy(), engine=measured, dtype=torch.float32)
    uses = (
        lambda: training.run(1), evaluator, lambda: predictions(population, data, engine=engine), landscape.losses,
        landscape.gradients, landscape.hessians, landscape.input_derivatives,
    )  # fmt: skip
    with torch.autocast("cpu"):
        for use in uses:
            with pytest.raises(SettingError, match="networks are computed in one precision, and"):
                use()


@pytest.mark.parametrize("engine", ["auto", "compiled", "stacked", "vmap", "one-by-one"])
@pytest.mark.parametrize("gradients", [torch.no_grad, torch.enable_grad])
def test_the_mode_of_gradients_around_a_call_does_not_matter(gradients, engine):
    nets = [seeded(stack, seed) for seed in range(2)]
    expected, _ = losses_and_gradients(nets)
    measured = "closed-form" if engine in ("compiled", "stacked") else engine
    with gradients():
        landscape = Landscape(Population(nets), DATA, CrossEntropy(), engine=measured)
        torch.testing.assert_close(landscape.losses(), expected)
        hessians = landscape.hessians()
        training = Training(Population(nets), DATA, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine)
        training.run(3)
        assert not training.losses.requires_grad
    torch.testing.assert_close(hessians, Landscape(Population(nets), DATA, CrossEntropy()).hessians())
    assert (training.losses < expected).all()


@pytest.mark.parametrize("engine", ["compiled", "stacked", "vmap", "one-by-one"])
def test_under_inference_mode_there_are_losses_and_no_gradients(engine):
    """Where PyTorch differentiates: what is written out needs no graph."""
    nets = [seeded(stack, seed) for seed in range(2)]
    expected, gradients = losses_and_gradients(nets)
    measured = "closed-form" if engine in ("compiled", "stacked") else engine
    with torch.inference_mode():
        population = Population(nets)
        landscape = Landscape(population, DATA, CrossEntropy(), engine=measured)
        torch.testing.assert_close(landscape.losses(), expected)
        torch.testing.assert_close(Evaluator(population, DATA, CrossEntropy(), engine=engine)().loss, expected)
        predictions(population, DATA, engine=engine)
        training = Training(population, DATA, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine)
        uses = (landscape.gradients, landscape.hessians, landscape.input_derivatives, lambda: training.run(1))
        for use in uses:
            if engine in ("compiled", "stacked"):
                use()
            else:
                with pytest.raises(SettingError, match=r"there are no gradients under torch.inference_mode"):
                    use()
    if engine not in ("compiled", "stacked"):
        torch.testing.assert_close(landscape.gradients(), gradients)
        training.run(1)
        torch.testing.assert_close(training.losses, expected)


def compiled():
    return torch.jit.trace(stack(), torch.zeros(1, FEATURES))


class Closed(nn.Module):
    """Holds a function of its layer, which a copy would share."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.function = lambda x: self.linear(x)

    def forward(self, x):
        return self.function(x)


class ClosedHook(nn.Module):
    """A hook that uses another layer, which a copy would share."""

    def __init__(self):
        super().__init__()
        self.linear, self.other = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)
        self.linear.register_forward_hook(lambda module, inputs, outputs: outputs + self.other(inputs[0]))

    def forward(self, x):
        return self.linear(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
@pytest.mark.parametrize(("build", "message"), [
    (compiled, "was compiled by torch.jit: give the module that"),
    (Closed, "Closed computes with parameters that are not among its own, and would not follow them"),
    (ClosedHook, "ClosedHook computes with parameters that are not among its own, and would not follow them"),
])  # fmt: skip
def test_modules_that_a_copy_cannot_stand_for(build, message, engine):
    data = DATA[0].float(), DATA[1]
    for use in (
        lambda: Landscape(build(), data, CrossEntropy(), engine=engine),
        lambda: Evaluator(Population([build()]), data, CrossEntropy(), engine=engine),
        lambda: predictions(Population([build()]), data, engine=engine),
        lambda: Training(Population([build()]), data, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine),
    ):
        with pytest.raises(SettingError, match=message):
            use()


def test_the_default_type_does_not_matter():
    nets = [seeded(stack, seed).float() for seed in range(2)]
    data = DATA[0].float(), DATA[1]

    def measure(engine):
        training = Training(Population(nets), data, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine)
        training.run(3)
        landscape = Landscape(
            Population(nets), data, CrossEntropy(), engine="auto" if engine in ("compiled", "stacked") else engine
        )
        return (
            training.population.flat,
            landscape.gradients(),
            Evaluator(training.population, data, CrossEntropy())().loss,
        )

    for engine in ("compiled", "stacked", "vmap", "one-by-one"):
        expected = measure(engine)
        torch.set_default_dtype(torch.float64)
        try:
            assert all(torch.equal(*pair) for pair in zip(measure(engine), expected, strict=True))
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
@pytest.mark.parametrize("training", [False, True])
def test_dropout_is_off_where_networks_are_measured(training, engine):
    net = seeded(lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, CLASSES)))
    expected, gradients = losses_and_gradients([net.eval()])
    net.train(training)
    torch.testing.assert_close(Landscape(net, DATA, CrossEntropy(), engine=engine).gradients(), gradients)
    torch.testing.assert_close(Evaluator(Population([net]), DATA, CrossEntropy(), engine=engine)().loss, expected)
    assert net.training == training


# -- modules that change after a landscape was made -----------------------------------------------------------------


class Scaled(nn.Module):
    """A number, a word and a tensor that are neither parameters nor buffers have a part in what it computes."""

    def __init__(self):
        super().__init__()
        self.linear, self.scale, self.mode = nn.Linear(FEATURES, CLASSES), 2.0, "tanh"
        self._shift = torch.zeros(CLASSES)

    def forward(self, x):
        outputs = self.scale * self.linear(x) + self._shift
        return torch.tanh(outputs) if self.mode == "tanh" else torch.sin(outputs)


def set_number(net):
    net.scale = 3.0


def set_word(net):
    net.mode = "sine"


def set_tensor(net):
    net._shift = torch.ones(CLASSES)


def change_tensor(net):
    net._shift.add_(1)


def new_parameters(net):
    net.linear.weight = nn.Parameter(torch.ones_like(net.linear.weight))


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
@pytest.mark.parametrize("change", [set_number, set_word, set_tensor, change_tensor, new_parameters])
def test_attributes_are_followed(change, engine):
    net = seeded(Scaled)
    landscape = Landscape(net, DATA, CrossEntropy(), engine=engine)
    before = landscape.losses()
    change(net)
    expected, gradients = losses_and_gradients([net])
    assert abs(expected - before) > 1e-4
    torch.testing.assert_close(landscape.losses(), expected)
    torch.testing.assert_close(landscape.select(0).gradients(), gradients)


def test_an_activation_of_the_closed_form_is_followed():
    net = seeded(lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.Softplus(), nn.Linear(5, CLASSES)))
    landscape = Landscape(net, DATA, CrossEntropy())
    assert landscape.closed_form
    net[1].beta = 3.0
    expected, gradients = losses_and_gradients([net])
    torch.testing.assert_close(landscape.losses(), expected)
    torch.testing.assert_close(landscape.gradients(), gradients)


def replace_layer(net):
    net[1] = nn.ReLU()


def replace_linear(net):
    net[0] = nn.Linear(FEATURES, 5).double()
    net[0].forward = lambda x: x


def widen(net):
    net[0], net[2] = nn.Linear(FEATURES, 7).double(), nn.Linear(7, CLASSES).double()


def add_hook(net):
    net[0].register_forward_hook(lambda module, inputs, outputs: 2 * outputs)


def put_forward(net):
    net[1].forward = torch.sin


def parametrise(net):
    nn.utils.parametrize.register_parametrization(net[0], "weight", nn.Softsign())


def append(net):
    net.append(nn.Tanh())


CHANGES = (replace_layer, replace_linear, widen, add_hook, put_forward, parametrise, append)


@pytest.mark.parametrize("engine", ["closed-form", "vmap", "one-by-one"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_other_parts_are_refused(change, engine):
    net = seeded(stack)
    landscape = Landscape(net, DATA, CrossEntropy(), engine=engine)
    points = landscape.points()
    change(net)
    for use in (landscape.points, landscape.losses, lambda: landscape.gradients(points), landscape.select(0).hessians):
        with pytest.raises(
            SettingError, match=r"^Sequential was changed since the landscape was made \(.* instead of "
        ):
            use()


@pytest.mark.parametrize("tied_first", [False, True])
@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
def test_weights_that_are_tied_or_untied_are_refused(engine, tied_first):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))
    other = nn.Parameter(net[2].weight.detach().clone())
    if tied_first:
        tie(net)
    landscape = Landscape(net, DATA, CrossEntropy(), engine=engine)
    landscape.losses()
    if tied_first:
        net[2].weight = other
    else:
        tie(net)
    with pytest.raises(SettingError, match=r"was changed since the landscape was made \(2.weight is "):
        landscape.losses()


def test_a_landscape_of_a_rounded_network_follows_as_well():
    net = seeded(lambda: MLP((FEATURES, 5, CLASSES)))
    smooth = Landscape(net, DATA, CrossEntropy()).rounded(0.1)
    smooth.losses()
    net.relu1 = nn.Tanh()
    with pytest.raises(SettingError, match="was changed since the landscape was made"):
        smooth.losses()


# -- members that differ in more than their numbers -----------------------------------------------------------------


def scaled(**given):
    net = Scaled()
    for name, value in given.items():
        setattr(net, name, value)
    return net


def with_random_features(seed):
    """Features that someone forgot to register."""
    return scaled(_shift=normal(CLASSES, seed=seed))


DIFFERENT = {
    "number": (scaled, lambda: scaled(scale=3.0), "scale is 3.0 instead of 2.0"),
    "word": (scaled, lambda: scaled(mode="sine"), "mode is sine instead of tanh"),
    "tensor": (lambda: with_random_features(1), lambda: with_random_features(2), "_shift is tensor"),
    "activation": (stack, altered(replace_layer), "1 is ReLU instead of Tanh"),
    "forward": (stack, altered(put_forward), "1.forward is .* instead of nothing"),
    "hook": (stack, altered(add_hook), "0._forward_hooks is 1 hooks instead of nothing"),
    "no hook": (altered(add_hook), stack, "0._forward_hooks is nothing instead of 1 hooks"),
    "slope": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.LeakyReLU(0.1)),
        lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.LeakyReLU(0.2)),
        "1.negative_slope is 0.2 instead of 0.1",
    ),
    "buffers": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.BatchNorm1d(5)),
        lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.BatchNorm1d(5, track_running_stats=False)),
        "1.track_running_stats is False instead of True",
    ),
    "shape of a buffer": (
        altered(lambda net: net.register_buffer("seen", torch.zeros(2))),
        altered(lambda net: net.register_buffer("seen", torch.zeros(3))),
        r"seen is torch.float32 \(3,\) instead of torch.float32 \(2,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_members_that_are_other_networks_are_refused(name):
    first, second, difference = DIFFERENT[name]
    with pytest.raises(SettingError, match=f"^module 1 is another network than module 0: {difference}"):
        Population([first(), second()])
    Population([first(), first()])


def test_members_that_differ_in_masks_and_numbers_of_calls_are_taken():
    nets = [nn.Sequential(nn.Linear(FEATURES, 5), nn.BatchNorm1d(5)) for _ in range(2)]
    nets[1](torch.randn(9, FEATURES))
    population = Population(nets)
    assert population.buffers["1.num_batches_tracked"].tolist() == [0, 1]
