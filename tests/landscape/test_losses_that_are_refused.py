"""A loss is a function of outputs and targets alone: what else it reads, keeps or stretches is refused, everywhere."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from cases import normal, seeded
from whydeep.errors import SettingError
from whydeep.landscape import Landscape
from whydeep.population import SGD, Evaluator, Population, Training

SAMPLES, FEATURES, OUTPUTS = 12, 4, 2


class Network(nn.Module):
    """Linear, with a buffer, so that only the general engines take it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, OUTPUTS)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        return self.scale * torch.tanh(self.linear(x))


def train(network, data, loss, engine):
    Training(Population([network]), data, objective=loss, optimizer=SGD(0.1), engine=engine).run(1)


def evaluate(network, data, loss, engine):
    return Evaluator(Population([network]), data, loss, engine=engine)()


def measure(network, data, loss, engine):
    return Landscape(network, data, loss, engine=engine).losses()


def measure_population(network, data, loss, engine):
    return Landscape(Population([network]), data, loss, engine=engine).losses()


everywhere = pytest.mark.parametrize("use", [train, evaluate, measure, measure_population])
every_engine = pytest.mark.parametrize("engine", ["vmap", "one-by-one"])  # "auto" is one of these


def data(outputs=OUTPUTS):
    return normal(SAMPLES, FEATURES), normal(SAMPLES, outputs, seed=2)


# -- losses that read a network ------------------------------------------------------------------------------------


def squares(module):
    return sum(parameter.square().sum() for parameter in module.parameters())


def penalty(model):
    return lambda o, t: functional.mse_loss(o, t) + 1e-2 * squares(model)


def penalty_in_a_function(model):
    def inner():
        return squares(model)

    def loss(outputs, targets):
        return functional.l1_loss(outputs, targets) + inner()

    return loss


def default_argument(model):
    return lambda o, t, weight=model.linear.weight: functional.mse_loss(o, t) + weight.abs().sum()


def part_of_a_partial(model):
    return partial(lambda m, o, t: functional.mse_loss(o, t) + squares(m), model)


class ModuleWithNetwork(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, outputs, targets):
        return functional.mse_loss(outputs, targets) + squares(self.model)


class OwnParameters(nn.Module):
    """A temperature to be learned, as contrastive losses have it."""

    def __init__(self, model):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, outputs, targets):
        return functional.mse_loss(self.temperature * outputs, targets)


class WithMean:
    name = "my loss"

    def __init__(self, model):
        self.model = model

    def mean(self, outputs, targets):
        return functional.mse_loss(outputs, targets) + squares(self.model)


def made_before(model):
    term = squares(model)
    return lambda o, t: functional.mse_loss(o, t) + term


def without_gradient(model):
    def loss(outputs, targets):
        with torch.no_grad():
            term = squares(model)
        return functional.mse_loss(outputs, targets) + term

    return loss


def detached(model):
    return lambda o, t: functional.mse_loss(o, t) + model.linear.weight.detach().square().sum()


def data_of_parameters(model):
    return lambda o, t: functional.mse_loss(o, t) + model.linear.weight.data.square().sum()


def number_of_a_parameter(model):
    return lambda o, t: functional.mse_loss(o, t) * model.linear.bias[0].item()


def array_of_parameters(model):
    return lambda o, t: functional.mse_loss(o, t) * float((model.linear.bias.detach().numpy() ** 2).sum())


def called_again(model):
    return lambda o, t: functional.mse_loss(o, t) + model(torch.ones(1, FEATURES, dtype=o.dtype)).sum()


READERS = (
    *(penalty, penalty_in_a_function, default_argument, part_of_a_partial, ModuleWithNetwork, OwnParameters, WithMean),
    *(made_before, without_gradient, detached, data_of_parameters, number_of_a_parameter, array_of_parameters),
    called_again,
)


@everywhere
@every_engine
@pytest.mark.parametrize("make", READERS, ids=lambda make: make.__name__)
def test_losses_that_read_parameters(make, engine, use):
    network = seeded(Network)
    with pytest.raises(
        SettingError, match=r"must be a function of outputs and targets alone, as networks are computed"
    ):
        use(network, data(), make(network), engine)


@every_engine
@pytest.mark.parametrize("frozen", [False, True])
def test_losses_that_read_buffers_or_what_is_frozen(frozen, engine):
    network = seeded(Network)
    network.linear.bias.requires_grad_(not frozen)
    tensor = network.linear.bias if frozen else network.scale
    with pytest.raises(SettingError, match="reads parameters or buffers of a network"):
        measure(network, data(), lambda o, t: functional.mse_loss(o, t) * tensor.sum().detach(), engine)


@every_engine
@pytest.mark.parametrize("use", [train, evaluate, measure_population])
def test_losses_that_read_a_population(use, engine):
    population = Population([seeded(Network)])
    for part in (population.flat, population.parameters["linear.weight"], population.buffers["scale"]):
        loss = lambda o, t, part=part: functional.mse_loss(o, t) + part.square().sum()
        make = {
            train: lambda loss: Training(population, data(), objective=loss, optimizer=SGD(0.1), engine=engine),
            evaluate: lambda loss: Evaluator(population, data(), loss, engine=engine),
            measure_population: lambda loss: Landscape(population, data(), loss, engine=engine),
        }[use]
        with pytest.raises(SettingError, match="reads parameters or buffers of a network"):
            make(loss)


@everywhere
def test_a_frozen_network_may_be_part_of_a_loss(use):
    """Such as one that compares features: constant, and differentiated through."""
    features = seeded(lambda: nn.Linear(OUTPUTS, 3)).requires_grad_(False)
    use(seeded(Network), data(), lambda o, t: functional.mse_loss(features(o), features(t)), "auto")


def test_what_a_loss_looks_up_without_reading_numbers_does_no_harm():
    network = seeded(Network)
    loss = lambda o, t: functional.mse_loss(o, t) * len(network.linear.weight) / network.linear.weight.shape[0]
    expected = functional.mse_loss(network(data()[0]), data()[1]).detach()
    torch.testing.assert_close(measure(network, data(), loss, "auto")[0], expected)


# -- losses that change ---------------------------------------------------------------------------------------------


class Annealed:
    """Weighs less at every call."""

    def __init__(self):
        self.factor = 1.0

    def __call__(self, outputs, targets):
        self.factor *= 0.9999
        return self.factor * functional.mse_loss(outputs, targets)


class Normalised(nn.Module):
    """Keeps a running mean of its values."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, outputs, targets):
        value = functional.mse_loss(outputs, targets)
        self.mean = 0.9 * self.mean + 0.1 * value.detach()
        return value / self.mean


CHANGING = {
    "noise": lambda: lambda o, t: functional.mse_loss(o + 0.1 * torch.randn_like(o), t),
    "dropout": lambda: lambda o, t: functional.mse_loss(functional.dropout(o, 0.5), t),
    "annealed": Annealed,
    "running mean": Normalised,
}


@everywhere
@every_engine
@pytest.mark.parametrize("name", CHANGING)
def test_losses_that_change_from_call_to_call(name, engine, use):
    with pytest.raises(SettingError, match="gives different losses for the same outputs and targets"):
        use(seeded(Network), data(), CHANGING[name](), engine)


@everywhere
def test_losses_that_write_to_the_targets(use):
    with pytest.raises(SettingError, match="writes to the targets, which are needed again"):
        use(seeded(Network), data(), lambda o, t: (o - t.mul_(0.5)).square().mean(), "auto")


@everywhere
@every_engine
def test_losses_may_write_to_the_outputs(engine, use):
    use(seeded(Network), data(), lambda o, t: o.sub_(t).square().mean(), engine)


# -- shapes that would be stretched ---------------------------------------------------------------------------------

ELEMENTWISE = {
    **{
        name: getattr(functional, name)
        for name in ("l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "poisson_nll_loss")
    },
    "nn.HuberLoss": nn.HuberLoss(),
    "nn.BCEWithLogitsLoss": nn.BCEWithLogitsLoss(),
    "nn.L1Loss": nn.L1Loss(),
    "nn.KLDivLoss": nn.KLDivLoss(reduction="batchmean"),
    "partial": partial(functional.huber_loss, delta=0.5),
    "lambda": lambda o, t: 2 * functional.soft_margin_loss(o, t),
    "keywords": lambda o, t: functional.l1_loss(target=t, input=o),
    "mse_loss in a lambda": lambda o, t: functional.mse_loss(o, t),
}
SHAPES = [
    ((SAMPLES, 1), (SAMPLES,)),
    ((SAMPLES,), (SAMPLES, 1)),
    ((SAMPLES, 3), (SAMPLES, 1)),
    ((SAMPLES, 1), (SAMPLES, 3)),
]


class Shaped(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.linear, self.shape = nn.Linear(FEATURES, shape[1] if len(shape) > 1 else 1), shape[1:]

    def forward(self, x):
        return self.linear(x).reshape(len(x), *self.shape)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of what vmap takes sample by sample
@everywhere
@every_engine
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_outputs_and_targets_of_different_shapes(name, engine, use):
    for outputs, targets in SHAPES:
        given = normal(SAMPLES, FEATURES), normal(*targets, seed=4).sigmoid()
        with pytest.raises(SettingError, match=r"outputs \(12.*\) and targets \(12.*\) must have the same shape for "):
            use(seeded(lambda shape=outputs: Shaped(shape)), given, ELEMENTWISE[name], engine)
        same = normal(SAMPLES, FEATURES), normal(*outputs, seed=4).sigmoid()
        use(seeded(lambda shape=outputs: Shaped(shape)), same, ELEMENTWISE[name], engine)


@everywhere
@every_engine
@pytest.mark.parametrize(("outputs", "targets"), SHAPES[:2])
def test_a_users_own_loss_that_stretches_is_no_mean(outputs, targets, engine, use):
    with pytest.raises(SettingError, match="is not the mean of the losses of its parts"):
        use(
            seeded(lambda: Shaped(outputs)), (normal(SAMPLES, FEATURES), normal(*targets)),
            lambda o, t: (o - t).square().mean(), engine,
        )  # fmt: skip


@everywhere
@every_engine
def test_a_loss_that_mends_the_shapes_itself_is_taken(engine, use):
    loss = lambda o, t: functional.binary_cross_entropy_with_logits(o.squeeze(1), t)
    use(seeded(lambda: Shaped((SAMPLES, 1))), (normal(SAMPLES, FEATURES), normal(SAMPLES).sigmoid()), loss, engine)


# -- what else is no loss -------------------------------------------------------------------------------------------

WRONG = {
    "a float": (lambda o, t: float((o - t).square().mean()), "must return a tensor with one real number, not a float"),
    "counts": (lambda o, t: (o > t).sum(), "must return a tensor with one real number, not torch.int64"),
    "complex": (lambda o, t: torch.complex(o, t).mean(), "must return a tensor with one real number, not torch.complex128"),
    "error in the loss": (
        lambda o, t: o @ t,
        r"cannot be computed from outputs \(12, 2\) \(torch.float64\) and targets \(12, 2\) \(torch.float64\): mat1 and",
    ),
    "one argument": (lambda o: o.mean(), "cannot be computed from outputs .* takes 1 positional argument"),
}  # fmt: skip


@everywhere
@every_engine
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_loss_of_outputs_and_targets(name, engine, use):
    loss, message = WRONG[name]
    with pytest.raises(SettingError, match=message) as raised:
        use(seeded(Network), data(), loss, engine)
    assert "\n" not in str(raised.value)


@every_engine
def test_a_loss_of_steps_can_be_evaluated_but_not_trained(engine):
    errors = lambda o, t: (o.argmax(1) != t.argmax(1)).to(o.dtype).mean()
    network = seeded(Network)
    with pytest.raises(SettingError, match="has no gradient: write it with operations of PyTorch"):
        train(network, data(), errors, engine)
    expected = errors(network(data()[0]), data()[1])
    assert evaluate(network, data(), errors, engine).loss.item() == expected
    landscape = Landscape(network, data(), errors, engine=engine)
    assert landscape.losses().item() == expected
    assert not landscape.gradients().any()
    assert not landscape.hessians().any()
