"""Optimisers of a population are those of torch.optim, with its schedulers and its clipping, for every member."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import initial_module, streams, train_plain, vector
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    CrossEntropy,
    Population,
    Recorder,
    Samples,
    Step,
    Training,
    WarmUp,
    gradient_norm,
    loss,
)

RATE = 0.02
OPTIMIZERS = {  # ours, and that of torch, which starts from the same keyword arguments
    "adam": (Adam, torch.optim.Adam, {}),
    "adam, other moments": (Adam, torch.optim.Adam, {"betas": (0.8, 0.95)}),
    "adam, decay": (Adam, torch.optim.Adam, {"weight_decay": 0.03}),
    "adamw": (AdamW, torch.optim.AdamW, {}),
    "adamw, decay": (AdamW, torch.optim.AdamW, {"weight_decay": 0.5}),
    "sgd": (SGD, torch.optim.SGD, {}),
    "sgd, decay": (SGD, torch.optim.SGD, {"weight_decay": 0.03}),
    "momentum": (SGD, torch.optim.SGD, {"momentum": 0.9}),
    "momentum, decay": (SGD, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.03}),
    "nesterov": (SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "nesterov, decay": (SGD, torch.optim.SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.03}),
}
SCHEDULES = {
    "constant": (Constant(), None),
    "step": (Step(60, 0.3), lambda o, rate: lr_scheduler.StepLR(o, 60, 0.3)),
    "cosine": (Cosine(200, 0.1), lambda o, rate: lr_scheduler.CosineAnnealingLR(o, 200, eta_min=0.1 * rate)),
    "warm-up": (WarmUp(30), lambda o, rate: lr_scheduler.LinearLR(o, 1 / 30, total_iters=29)),
    "warm-up, cosine": (
        WarmUp(30, Cosine(170)),
        lambda o, rate: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 1 / 30, total_iters=29), lr_scheduler.CosineAnnealingLR(o, 170)],
            milestones=[30],
        ),
    ),
}
OPTIONS = {
    "adam": Adam(RATE, weight_decay=0.01, schedule=Step(7, 0.5), clip=0.05),
    "adamw": AdamW(RATE, weight_decay=0.1, schedule=WarmUp(5, Cosine(20)), clip=0.05),
    "momentum": SGD(RATE, momentum=0.9, weight_decay=0.01, schedule=Cosine(15, 0.1), clip=0.05),
    "nesterov": SGD(RATE, momentum=0.9, nesterov=True, schedule=WarmUp(12), clip=0.05),
}


class Residual(nn.Module):
    """Not a stack, so only the general paths take it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.outer = nn.Linear(5, 3)

    def forward(self, x):
        return self.outer(x + torch.tanh(self.inner(x)))


ENGINES = {
    "compiled": lambda: MLP((5, 7, 3), "tanh"),
    "stacked": lambda: MLP((5, 7, 3), "tanh"),
    "vmap": Residual,
    "one-by-one": Residual,
}


def classification(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(70, 5, generator=generator, dtype=dtype)
    return Samples(inputs, torch.randint(3, (70,), generator=generator))


def compare(optimizer, make_plain, *, engine="stacked", make_scheduler=None, clip=None, dtype, tolerance, steps=200):
    """Train two members and compare losses and parameters with plain loops; returns the recorded gradient norms."""
    samples, build = classification(dtype), ENGINES[engine]
    inits, orders = streams("init", 2), streams("order", 2)
    population = Population.initialise(build, inits, dtype=dtype)
    training = Training(
        population, samples, objective=CrossEntropy(), optimizer=optimizer, batch_size=16, orders=orders, engine=engine
    )
    losses, norms = Recorder(loss), Recorder(gradient_norm)
    training.run(steps, [losses, norms])
    for member in range(2):
        module = initial_module(build, inits[member], dtype)
        plain = make_plain(module.parameters())
        history = train_plain(
            module, samples.inputs, samples.targets, functional.cross_entropy, plain, steps, 16, orders[member],
            make_scheduler(plain) if make_scheduler else None, clip,
        )  # fmt: skip
        torch.testing.assert_close(losses.values[member], history, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(population.vectors()[member], vector(module), rtol=tolerance, atol=tolerance)
    return norms.values


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_equal_torch_optim(name, engine):
    """With a schedule and clipping, in float64; some steps are clipped and others are not."""
    ours, theirs, options = OPTIMIZERS[name]
    schedule, make_scheduler = SCHEDULES["warm-up, cosine"]
    norms = compare(
        ours(RATE, **options, schedule=schedule, clip=0.5),
        lambda parameters: theirs(parameters, lr=RATE, **options),
        engine=engine,
        make_scheduler=lambda optimizer: make_scheduler(optimizer, RATE),
        clip=0.5,
        dtype=torch.float64,
        tolerance=1e-10,
    )
    assert 10 < (norms > 0.5).sum() < norms.numel() - 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_alone_equal_torch_optim(name, dtype):
    ours, theirs, options = OPTIMIZERS[name]
    compare(
        ours(RATE, **options),
        lambda parameters: theirs(parameters, lr=RATE, **options),
        dtype=dtype,
        tolerance=1e-10 if dtype == torch.float64 else 2e-4,
    )


@pytest.mark.parametrize("optimizer", ["adamw", "momentum, decay"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_equal_those_of_torch(name, optimizer):
    ours, theirs, options = OPTIMIZERS[optimizer]
    schedule, make_scheduler = SCHEDULES[name]
    compare(
        ours(RATE, **options, schedule=schedule),
        lambda parameters: theirs(parameters, lr=RATE, **options),
        make_scheduler=make_scheduler and (lambda optimizer: make_scheduler(optimizer, RATE)),
        dtype=torch.float64,
        tolerance=1e-10,
    )


def test_a_schedule_multiplies_the_rate_of_every_member():
    """Halved rates at a constant schedule are a schedule of one half."""

    def trained(rates, schedule):
        population = Population.initialise(ENGINES["stacked"], seeds=range(3))
        optimizer = Adam(rates, schedule=schedule)
        Training(population, classification(), objective=CrossEntropy(), optimizer=optimizer).run(20)
        return population.vectors()

    assert torch.equal(trained([0.01, 0.02, 0.04], lambda step: 0.5), trained([0.005, 0.01, 0.02], Constant()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_checkpoint_goes_on_as_if_never_interrupted(name, engine):
    def start():
        population = Population.initialise(ENGINES[engine], seeds=range(2))
        return Training(
            population, classification(), objective=CrossEntropy(), optimizer=OPTIONS[name], batch_size=16,
            engine=engine,
        )  # fmt: skip

    whole, first, second = start(), start(), start()
    whole.run(23)
    first.run(9)
    second.run(4)  # what it did before is forgotten
    second.restore(first.checkpoint())
    second.run(14)
    assert torch.equal(whole.population.vectors(), second.population.vectors())
    checkpoint, other = whole.checkpoint(), second.checkpoint()
    assert all(torch.equal(checkpoint[key], other[key]) for key in checkpoint)


@st.composite
def optimizers(draw, members):
    """Any optimiser, with rates of its members that may differ."""
    rates = draw(st.one_of(st.just(0.02), st.lists(st.sampled_from([0.01, 0.02]), min_size=members, max_size=members)))
    shared = {
        "weight_decay": draw(st.sampled_from([0.0, 0.013])),
        "schedule": draw(st.sampled_from([Constant(), Cosine(9, 0.1), WarmUp(3, Step(2, 0.7))])),
        "clip": draw(st.sampled_from([None, 0.05, 10.0])),
    }
    kind = draw(st.sampled_from([Adam, AdamW, SGD]))
    if kind is SGD:
        shared["momentum"] = draw(st.sampled_from([0.0, 0.9]))
        shared["nesterov"] = shared["momentum"] > 0 and draw(st.booleans())
    return lambda chosen: kind(rates if isinstance(rates, float) else [rates[member] for member in chosen], **shared)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_member_is_the_same_alone_and_among_others(data):
    """Bit by bit, whatever the optimiser, the rates and the sizes; also beside a member whose gradient explodes."""
    widths = (5, *data.draw(st.lists(st.sampled_from([1, 3, 8, 16, 17, 31, 40]), max_size=3)), 3)
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    make = data.draw(optimizers(5))
    spoiled = data.draw(st.sampled_from([None, 1e20, math.inf, math.nan]))

    def run(chosen):
        population = Population.initialise(lambda: MLP(widths), seeds=chosen, dtype=dtype)
        if spoiled is not None and 3 in chosen:
            population.flat[chosen.index(3)] = spoiled
        training = Training(
            population, classification(), objective=CrossEntropy(), optimizer=make(chosen), batch_size=16
        )
        training.run(8)
        return population.vectors()

    together = run([0, 1, 2, 3, 4])
    for chosen in ([0], [4], [2, 1], [4, 2, 0]):
        assert torch.equal(together[chosen], run(chosen))


@pytest.mark.parametrize(
    "gradient",
    [[3.0, 4.0], [0.03, 0.04], [0.0, 0.0], [1e30, 1e30], [math.inf, 1.0], [math.nan, 1.0]],
    ids=["long", "short", "none", "too long for float32", "infinite", "not a number"],
)
def test_clipping_is_clip_grad_norm_of_each_member(gradient):
    parameters, gradients = torch.zeros(2, 16), torch.zeros(2, 16)
    gradients[0, :2], gradients[1, 3] = torch.tensor(gradient), 0.5
    raw = gradients.clone()
    plain = torch.zeros(16, requires_grad=True)
    plain.grad = gradients[0].clone()
    nn.utils.clip_grad_norm_([plain], 1.0)
    SGD(1.0, clip=1.0).start(parameters, gradients).step(0)
    torch.testing.assert_close(parameters[0], -plain.grad, equal_nan=True)
    assert torch.equal(parameters[1], -raw[1])
    torch.testing.assert_close(gradients, raw, rtol=0, atol=0, equal_nan=True)  # recorders and others see it as it was


def test_gradients_are_those_of_the_loss_before_and_after_the_update():
    population = Population.initialise(ENGINES["stacked"], seeds=range(2))
    optimizer = SGD(0.1, weight_decay=0.5, clip=1e-3)
    training = Training(population, classification(), objective=CrossEntropy(), optimizer=optimizer)
    norms = Recorder(gradient_norm)
    training.run(1, [norms])
    assert (norms.values[:, 0] > 1e-2).all()
    assert torch.equal(gradient_norm(training), norms.values[:, 0])


@pytest.mark.parametrize("schedule", [Constant(), Step(2, 0.5)])
def test_decoupled_decay_shrinks_parameters_without_a_gradient(schedule):
    """Each step multiplies by 1 - rate * decay; an L2 penalty, which Adam divides by its own size, doesn't."""
    start = torch.linspace(-2, 2, 32, dtype=torch.float64).view(2, 16)
    decoupled, penalised = start.clone(), start.clone()
    for optimizer, parameters in (
        (AdamW([0.1, 0.3], weight_decay=0.2, schedule=schedule), decoupled),
        (Adam([0.1, 0.3], weight_decay=0.2, schedule=schedule), penalised),
    ):
        update = optimizer.start(parameters, torch.zeros_like(parameters))
        for number in range(6):
            update.step(number)
    rates = torch.tensor([[0.1], [0.3]], dtype=torch.float64)
    expected = start * math.prod(1 - 0.2 * rates * schedule(number) for number in range(6))
    torch.testing.assert_close(decoupled, expected, rtol=1e-12, atol=0)
    assert not torch.allclose(penalised, expected, rtol=0.01)


def test_the_penalty_of_sgd_is_that_of_the_loss():
    """Weight decay of gradient descent is the gradient of decay / 2 times the squared norm of the parameters."""
    module = Residual().double()
    population, samples = Population([module]), classification(torch.float64)
    Training(population, samples, objective=CrossEntropy(), optimizer=SGD(0.1, weight_decay=0.3)).run(1)
    penalty = 0.15 * sum(parameter.square().sum() for parameter in module.parameters())
    (functional.cross_entropy(module(samples.inputs), samples.targets) + penalty).backward()
    expected = torch.cat([(p - 0.1 * p.grad).detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(population.vectors()[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rates", [[0.1, 0.2], (0.1, 0.2), torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2]).numpy()])
def test_rates_may_be_any_sequence(rates):
    parameters = torch.zeros(2, 16)
    SGD(rates).start(parameters, torch.ones(2, 16)).step(0)
    torch.testing.assert_close(parameters[:, 0], torch.tensor([-0.1, -0.2]))


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0}, "a learning rate must be a number above 0, not 0"),
        ({"learning_rate": [0.1, -1]}, "not -1"),
        ({"learning_rate": math.nan}, "not nan"),
        ({"learning_rate": math.inf}, "not inf"),
        ({"learning_rate": True}, "not True"),
        ({"learning_rate": "0.1"}, "not '0.1'"),
        ({"learning_rate": None}, "not None"),
        ({"weight_decay": -0.1}, "weight_decay must be a number from 0, not -0.1"),
        ({"weight_decay": [0.1, 0.2]}, "not a list"),
        ({"clip": 0}, "clip must be a number above 0, not 0"),
        ({"clip": math.inf}, "not inf"),
        ({"clip": "norm"}, "not 'norm'"),
        ({"schedule": Cosine}, r"schedule must be a schedule of .*, such as Cosine\(steps\), not the class Cosine"),
        ({"schedule": None}, "not a NoneType"),
        (
            {"schedule": lr_scheduler.ConstantLR(torch.optim.SGD([torch.zeros(1)]))},
            "schedule must be a schedule of whydeep.population, .* not a ConstantLR",
        ),
    ],
)
def test_values_that_are_not_accepted_are_named(kind, arguments, message):
    with pytest.raises(SettingError, match=message) as raised:
        kind(**arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(momentum=1), "momentum must be a number from 0 to below 1, not 1"),
        (lambda: SGD(momentum=-0.1), "not -0.1"),
        (lambda: SGD(nesterov=True), "nesterov needs momentum above 0"),
        (lambda: Adam(betas=0.9), r"betas must be two numbers, such as \(0.9, 0.999\), not 0.9"),
        (lambda: Adam(betas=(0.9, 1.0)), "a beta must be a number from 0 to below 1, not 1.0"),
        (lambda: AdamW(epsilon=-1e-8), "epsilon must be a number from 0, not -1e-08"),
    ],
)
def test_values_that_are_not_accepted_by_some_are_named(make, message):
    with pytest.raises(SettingError, match=message):
        make()


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPTIONS)
def test_cuda_agrees_with_the_cpu(name):
    vectors = {}
    for device in ("cpu", "cuda"):
        population = Population.initialise(ENGINES["stacked"], device=device, dtype=torch.float64, seeds=range(3))
        Training(
            population, classification(torch.float64), objective=CrossEntropy(), optimizer=OPTIONS[name], batch_size=16
        ).run(50)
        vectors[device] = population.vectors().cpu()
    torch.testing.assert_close(vectors["cuda"], vectors["cpu"], rtol=1e-8, atol=1e-8)
