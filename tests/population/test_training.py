"""A population trains as its members would train alone, in plain PyTorch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import initial_module, streams, train_plain, vector
from torch import nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    Adam,
    CrossEntropy,
    Evaluator,
    MeanSquaredError,
    Population,
    Recorder,
    Samples,
    Stream,
    Training,
    gradient_norm,
    loss,
    stacked,
    weights,
)
from whydeep.population.denormals import flushed_denormals

MEMBERS = 3


class Skip(nn.Module):
    """A residual network: not a stack, so only the general paths take it."""

    def __init__(self, features, outputs):
        super().__init__()
        self.inner = nn.Linear(features, features)
        self.outer = nn.Linear(features, outputs)

    def forward(self, x):
        return self.outer(x + torch.tanh(self.inner(x)))


def convolution(features, outputs):
    return nn.Sequential(
        nn.Unflatten(1, (1, features)),
        nn.Conv1d(1, 3, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(3 * features, outputs),
    )


def classification(features=13, classes=4, samples=70, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(samples, features, generator=generator, dtype=dtype)
    return Samples(inputs, torch.randint(classes, (samples,), generator=generator))


def regression(samples=61, dtype=torch.float32):
    inputs = torch.linspace(-3, 3, samples, dtype=dtype).unsqueeze(1)
    return Samples(inputs, torch.cos(inputs))


NETWORKS = {
    "shallow": ("stacked", lambda i, o: MLP((i, 7, o))),
    "deep": ("stacked", lambda i, o: MLP((i, 6, 5, 9, o))),
    "linear": ("stacked", lambda i, o: MLP((i, o))),
    "tanh": ("stacked", lambda i, o: MLP((i, 7, 3, o), "tanh")),
    "sigmoid": ("stacked", lambda i, o: MLP((i, 7, o), "sigmoid")),
    "softplus": ("stacked", lambda i, o: MLP((i, 7, o), "softplus")),
    "sequential": (
        "stacked",
        lambda i, o: nn.Sequential(nn.Flatten(), nn.Linear(i, 5), nn.ReLU(), nn.Linear(5, o)),
    ),
    "vmap": ("vmap", lambda i, o: MLP((i, 7, o))),
    "residual": ("auto", Skip),
    "one-by-one": ("one-by-one", Skip),
    "convolution": ("auto", convolution),
}
NETWORKS |= {f"compiled {name}": ("compiled", make) for name, (engine, make) in NETWORKS.items() if engine == "stacked"}


@pytest.mark.parametrize("task", ["classes", "values"])
@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("network", NETWORKS)
def test_equals_a_plain_loop_in_float64(task, batch_size, network):
    """100 steps of a population equal 100 steps of torch.nn and torch.optim to 1e-10."""
    samples = classification(dtype=torch.float64) if task == "classes" else regression(dtype=torch.float64)
    objective, plain_loss = (
        (CrossEntropy(), functional.cross_entropy) if task == "classes" else (MeanSquaredError(), functional.mse_loss)
    )
    engine, make = NETWORKS[network]
    build = lambda: make(samples.inputs.shape[1], 4 if task == "classes" else 1)
    inits, orders = streams("init", MEMBERS), streams("order", MEMBERS)
    population = Population.initialise(build, inits, dtype=torch.float64)
    training = Training(
        population,
        samples,
        objective=objective,
        optimizer=Adam(0.003),
        batch_size=batch_size,
        orders=orders,
        engine=engine,
    )
    recorded = Recorder(loss)
    training.run(100, [recorded])
    for member in range(MEMBERS):
        module = initial_module(build, inits[member], torch.float64)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.003)
        history = train_plain(
            module, samples.inputs, samples.targets, plain_loss, optimizer, 100, batch_size, orders[member]
        )
        torch.testing.assert_close(recorded.values[member], history, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(population.vectors()[member], vector(module), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("wide", [1, 40], ids=["all wide", "some wide"])
@pytest.mark.parametrize("network", ["shallow", "deep", "linear", "tanh"])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_wide_layers_equal_a_plain_loop(wide, network, batch_size, monkeypatch):
    """The last batch of an epoch is smaller, so that slots hold what an earlier batch left there."""
    monkeypatch.setattr(stacked, "WIDE", wide)
    test_equals_a_plain_loop_in_float64("classes", batch_size, network)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_diverged_member_harms_no_later_block(bad, monkeypatch):
    """Blocks share buffers, and a smaller last batch leaves slots unwritten: not-a-number times zero is no zero."""
    monkeypatch.setattr(stacked, "WIDE", 1)
    monkeypatch.setattr(stacked, "CACHE_BYTES", 1)  # every member is a block of its own

    def losses(spoiled):
        population = Population.initialise(lambda: MLP((13, 40, 30, 4)), streams("init", 3))
        if spoiled:
            population.flat[2] = bad
        training = Training(
            population,
            classification(),
            objective=CrossEntropy(),
            optimizer=Adam(),
            batch_size=16,
            orders=streams("order", 3),
        )
        recorded = Recorder(loss)
        training.run(12, [recorded])
        evaluation = Evaluator(population, classification(samples=45), CrossEntropy(), chunk=32)()
        return recorded.values[:2], evaluation.loss[:2], evaluation.accuracy

    healthy, harmed = losses(False), losses(True)
    for alone, beside in zip(healthy[:2], harmed[:2], strict=True):
        assert torch.equal(alone, beside)
    assert harmed[2][2].isnan()


@pytest.mark.parametrize("engine", ["compiled", "stacked", "vmap", "one-by-one"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_class_numbers_may_be_any_integers(engine, dtype):
    samples = classification()
    found = []
    for labels in (samples.targets, samples.targets.to(dtype)):
        population = Population.initialise(lambda: MLP((13, 5, 4)), streams("init", 2))
        training = Training(
            population, Samples(samples.inputs, labels), objective=CrossEntropy(), optimizer=Adam(), engine=engine
        )
        training.run(2)
        training.relabel(labels.flip(0))
        training.run(2)
        found.append(population.vectors())
    assert torch.equal(*found)


@pytest.mark.parametrize("wrong", [-100, -1, 4])
def test_classes_that_the_network_does_not_have_are_named(wrong):
    samples = classification()
    labels = samples.targets.clone()
    labels[3] = wrong
    population = Population.initialise(lambda: MLP((13, 5, 4)), streams("init", 1))
    with pytest.raises(SettingError, match=f"targets are classes .*{wrong}.*, and accepted are 0 to 3"):
        Training(population, Samples(samples.inputs, labels), objective=CrossEntropy(), optimizer=Adam())
    training = Training(population, samples, objective=CrossEntropy(), optimizer=Adam())
    with pytest.raises(SettingError, match="accepted are 0 to 3"):
        training.relabel(labels)


def test_float32_stays_near_a_plain_loop():
    samples = classification()
    inits, orders = streams("init", 2), streams("order", 2)
    build = lambda: MLP((13, 20, 4))
    population = Population.initialise(build, inits)
    Training(population, samples, objective=CrossEntropy(), optimizer=Adam(), batch_size=10, orders=orders).run(100)
    for member in range(2):
        module = initial_module(build, inits[member])
        optimizer = torch.optim.Adam(module.parameters(), lr=0.001)
        train_plain(
            module,
            samples.inputs,
            samples.targets,
            functional.cross_entropy,
            optimizer,
            100,
            10,
            orders[member],
        )
        torch.testing.assert_close(population.vectors()[member], vector(module), rtol=1e-3, atol=1e-4)


def trained(build, samples, objective, seeds, batch_size, steps=40, rates=None):
    members = len(seeds)
    inits = [streams("init", 1, seed)[0] for seed in seeds]
    orders = [streams("order", 1, seed)[0] for seed in seeds]
    population = Population.initialise(build, inits)
    optimizer = Adam([rates[seed] for seed in seeds]) if rates else Adam(0.01)
    training = Training(
        population, samples, objective=objective, optimizer=optimizer, batch_size=batch_size, orders=orders
    )
    recorders = [Recorder(loss), Recorder(gradient_norm)]
    training.run(steps, recorders)
    assert len(population) == members
    return population.vectors(), *(recorder.values for recorder in recorders)


@pytest.mark.parametrize(
    ("widths", "batch_size", "task"),
    [
        ((1, 3, 5, 1), None, "values"),
        ((1, 33, 1), None, "values"),
        ((1, 1, 1), None, "values"),
        ((13, 10, 15, 4), 5, "classes"),
        ((13, 30, 4), 16, "classes"),
        ((13, 1, 4), 7, "classes"),
        ((13, 4), 50, "classes"),
        ((13, 200, 100, 4), 25, "classes"),
    ],
)
def test_a_member_is_the_same_alone_and_among_others(widths, batch_size, task):
    """Bit by bit, for every split of the members; learning rates differ between members."""
    samples, objective = (classification(), CrossEntropy()) if task == "classes" else (regression(), MeanSquaredError())
    build = lambda: MLP(widths)
    rates = {seed: 0.001 * (1 + seed // 2) for seed in range(7)}
    together = trained(build, samples, objective, range(7), batch_size, rates=rates)
    for split in ([[s] for s in range(7)], [[0, 1], [2, 3, 4], [5, 6]], [[6, 2], [5, 1, 4, 3, 0]]):
        for seeds in split:
            apart = trained(build, samples, objective, seeds, batch_size, rates=rates)
            for whole, part in zip(together, apart, strict=True):
                assert torch.equal(whole[list(seeds)], part)


def test_a_member_with_a_hand_built_neighbour_differs():
    """The test above can fail: another learning rate changes the bits."""
    build = lambda: MLP((1, 3, 5, 1))
    one = trained(build, regression(), MeanSquaredError(), [0], None, rates={0: 0.001})
    other = trained(build, regression(), MeanSquaredError(), [0], None, rates={0: 0.0011})
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("engine", ["compiled", "stacked", "vmap"])
def test_a_diverging_member_is_recorded_and_harms_no_other(engine):
    samples = regression()
    build = lambda: MLP((1, 8, 1))
    inits = streams("init", 3)

    def run(rates, members):
        population = Population.initialise(build, [inits[m] for m in members])
        training = Training(population, samples, objective=MeanSquaredError(), optimizer=SGD(rates), engine=engine)
        training.run(200)
        return population, training

    population, training = run([0.01, 1e6, 0.01], [0, 1, 2])
    healthy, _ = run([0.01, 0.01], [0, 2])
    assert training.diverged_at.tolist()[0] == -1
    assert 0 < training.diverged_at.tolist()[1] < 200
    assert training.diverged_at.tolist()[2] == -1
    assert not torch.isfinite(population.vectors()[1]).all()
    assert torch.equal(population.vectors()[[0, 2]], healthy.vectors())


@pytest.mark.parametrize(("rate_times_curvature", "converges"), [(1.99, True), (2.01, False)])
def test_gradient_descent_diverges_exactly_past_two_over_the_curvature(rate_times_curvature, converges):
    """L = mean (w x + b - y)^2 is a quadratic; its largest Hessian eigenvalue decides."""
    inputs = torch.linspace(-1, 2, 30, dtype=torch.float64).unsqueeze(1)
    design = torch.cat([inputs, torch.ones_like(inputs)], dim=1)
    curvature = torch.linalg.eigvalsh(2 * design.T @ design / len(inputs)).max().item()
    population = Population.initialise(lambda: MLP((1, 1)), streams("init", 1), dtype=torch.float64)
    training = Training(
        population,
        Samples(inputs, 3 * inputs - 1),
        objective=MeanSquaredError(),
        optimizer=SGD(rate_times_curvature / curvature),
    )
    losses = Recorder(loss)
    training.run(3000, [losses])
    assert (losses.values[0, -1] < 1e-10) == converges
    assert (losses.values[0, -1] > losses.values[0, 0]) == (not converges)


@pytest.mark.parametrize("engine", ["compiled", "stacked", "vmap", "one-by-one"])
def test_a_checkpoint_goes_on_as_if_never_interrupted(engine):
    samples = classification()

    def start():
        population = Population.initialise(lambda: MLP((13, 9, 4)), streams("init", 2))
        return Training(
            population, samples, objective=CrossEntropy(), optimizer=Adam(0.01), batch_size=16,
            orders=streams("order", 2), engine=engine,
        )  # fmt: skip

    whole = start()
    whole.run(23)
    first = start()
    first.run(9)
    second = start()
    second.restore(first.checkpoint())
    second.run(14)
    assert second.step == 23
    assert torch.equal(whole.population.vectors(), second.population.vectors())
    with pytest.raises(SettingError, match="the checkpoint holds"):
        second.restore({"step": torch.tensor(1)})


def test_seeds_stand_for_streams_of_root_seed_0():
    samples = classification()
    seeds = [4, 0, 2]
    inits, orders = ([Stream(0, "", "", seed, purpose) for seed in seeds] for purpose in ("init", "order"))

    def trained(population, **order):
        training = Training(population, samples, objective=CrossEntropy(), optimizer=Adam(0.01), batch_size=20, **order)
        training.run(9)
        return population.vectors()

    build = lambda: MLP((13, 9, 4))
    expected = trained(Population.initialise(build, inits), orders=orders)
    assert torch.equal(trained(Population.initialise(build, seeds=seeds), seeds=iter(seeds)), expected)
    assert torch.equal(trained(Population.initialise(build, inits), seeds=seeds), expected)
    population = Population.initialise(build, seeds=seeds)
    assert torch.equal(trained(population.select([2, 0])), expected[[2, 0]])  # the population's own seeds
    assert torch.equal(trained(population), expected)
    assert not torch.equal(trained(Population.initialise(build, seeds=seeds), seeds=range(3)), expected)


def test_recorders_see_loss_gradient_and_weights_that_belong_together():
    samples = regression(dtype=torch.float64)
    population = Population.initialise(lambda: MLP((1, 4, 1)), streams("init", 2), dtype=torch.float64)
    training = Training(population, samples, objective=MeanSquaredError(), optimizer=Adam(0.01))
    recorders = losses, norms, vectors = (
        Recorder(loss),
        Recorder(gradient_norm),
        Recorder(weights, range(0, 30, 10)),
    )
    training.run(30, recorders)
    assert vectors.steps == [0, 10, 20]
    assert vectors.values.shape == (2, 3, population.size)
    module = population.member(1)
    nn.utils.vector_to_parameters(vectors.values[1, 2], module.parameters())
    value = functional.mse_loss(module(samples.inputs), samples.targets)
    value.backward()
    torch.testing.assert_close(losses.values[1, 20], value.detach())
    norm = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    torch.testing.assert_close(norms.values[1, 20], norm)


def test_members_can_have_their_own_targets_for_shared_inputs():
    shared = classification()
    generator = torch.Generator().manual_seed(5)
    own = torch.randint(4, (2, len(shared)), generator=generator)
    orders = streams("order", 2)

    def run(samples, members):
        population = Population.initialise(lambda: MLP((13, 9, 4)), streams("init", 2)[members])
        Training(
            population,
            samples,
            objective=CrossEntropy(),
            optimizer=Adam(0.01),
            batch_size=20,
            orders=orders[members],
        ).run(15)
        return population.vectors()

    together = run(Samples(shared.inputs, own, own_targets=True), slice(0, 2))
    for member in range(2):
        alone = run(Samples(shared.inputs, own[member]), slice(member, member + 1))
        assert torch.equal(together[member], alone[0])


def test_dropout_takes_the_one_by_one_engine_and_repeats_itself_there():
    samples = classification()
    build = lambda: nn.Sequential(nn.Linear(13, 9), nn.Dropout(0.5), nn.ReLU(), nn.Linear(9, 4))

    def run(engine, members):
        population = Population.initialise(build, streams("init", 2)[members])
        Training(
            population, samples, objective=CrossEntropy(), optimizer=Adam(0.01), batch_size=20,
            orders=streams("order", 2)[members], engine=engine,
        ).run(5)  # fmt: skip
        return population.vectors()

    with pytest.raises(SettingError, match='give engine="one-by-one"'):
        run("vmap", slice(0, 2))
    together = run("auto", slice(0, 2))
    assert torch.equal(together[1], run("one-by-one", slice(1, 2))[0])


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
def test_batch_normalisation_keeps_its_own_statistics(engine):
    samples = classification()
    build = lambda: nn.Sequential(nn.Linear(13, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4))
    inits, orders = streams("init", 2), streams("order", 2)
    population = Population.initialise(build, inits)
    Training(
        population,
        samples,
        objective=CrossEntropy(),
        optimizer=SGD(0.1),
        batch_size=20,
        orders=orders,
        engine=engine,
    ).run(20)
    module = initial_module(build, inits[1])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    train_plain(module, samples.inputs, samples.targets, functional.cross_entropy, optimizer, 20, 20, orders[1])
    torch.testing.assert_close(population.buffers["1.running_mean"][1], module[1].running_mean, rtol=1e-3, atol=1e-4)
    assert population.buffers["1.num_batches_tracked"].tolist() == [20, 20]


def test_wrong_settings_are_named():
    population = Population.initialise(lambda: MLP((13, 9, 4)), streams("init", 2))
    common = {"objective": CrossEntropy(), "optimizer": Adam()}
    samples = classification()
    for arguments, message in (
        ({"samples": samples.inputs}, r"data must be Samples, a pair of tensors \(inputs, targets\)"),
        ({"objective": "mse"}, "objective must be such as CrossEntropy.*, not 'mse'"),
        ({"objective": CrossEntropy}, "objective must be .*, not the class CrossEntropy"),
        ({"population": population.flat}, "population must be a Population of whydeep.population, not Tensor"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, r"optimizer must be such as Adam\(learning_rate\)"),
        ({"optimizer": Adam}, r"optimizer must be such as .*, not the class Adam"),
    ):
        with pytest.raises(SettingError, match=message):
            Training(**({"population": population, "samples": samples} | common | arguments))
    with pytest.raises(
        SettingError, match=r"give seeds, such as range\(2\), or orders, one stream for each of 2 members"
    ):
        Training(population, samples, batch_size=5, **common)
    with pytest.raises(SettingError, match="3 orders or seeds for 2 members: give one for each"):
        Training(population, samples, batch_size=5, seeds=range(3), **common)
    with pytest.raises(SettingError, match="give orders or seeds, not both"):
        Training(population, samples, batch_size=5, seeds=range(2), orders=streams("order", 2), **common)
    with pytest.raises(SettingError, match="batches of 71 cannot be drawn from 70 samples"):
        Training(population, samples, batch_size=71, orders=streams("order", 2), **common)
    with pytest.raises(SettingError, match="no engine is called 'stack': did you mean stacked"):
        Training(population, samples, engine="stack", **common)
    with pytest.raises(SettingError, match="inputs have 5 features, the network takes 13"):
        Training(population, classification(features=5), **common)
    with pytest.raises(SettingError, match="3 learning rates for 2 members"):
        Training(population, samples, objective=CrossEntropy(), optimizer=Adam([0.1] * 3))
    with pytest.raises(SettingError, match="a learning rate must be a number above 0"):
        Training(population, samples, objective=CrossEntropy(), optimizer=SGD(-1.0))
    with pytest.raises(SettingError, match="hold 3 samples and targets"):
        Samples(torch.zeros(3, 2), torch.zeros(4))
    with pytest.raises(SettingError, match="3 sets of targets for 2 members"):
        Training(population, Samples(samples.inputs, samples.targets.expand(3, -1), own_targets=True), **common)
    residual = Population.initialise(lambda: Skip(13, 4), streams("init", 2))
    with pytest.raises(SettingError, match="the stacked engine takes"):
        Training(residual, samples, engine="stacked", **common)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["compiled", "stacked", "vmap"])
def test_cuda_agrees_with_the_cpu(engine):
    samples = classification(dtype=torch.float64)
    vectors = {}
    for device in ("cpu", "cuda"):
        population = Population.initialise(
            lambda: MLP((13, 9, 4)), streams("init", 3), device=device, dtype=torch.float64
        )
        Training(
            population, samples, objective=CrossEntropy(), optimizer=Adam(0.01), batch_size=16,
            orders=streams("order", 3), engine=engine,
        ).run(50)  # fmt: skip
        vectors[device] = population.vectors().cpu()
    torch.testing.assert_close(vectors["cuda"], vectors["cpu"], rtol=1e-8, atol=1e-8)


def test_denormals_are_flushed_inside_and_kept_outside():
    tiny = torch.full((16,), 1e-39)
    with flushed_denormals():
        assert (tiny * 1.0 == 0).all()
        with flushed_denormals():
            pass
        assert (tiny * 1.0 == 0).all()
    assert (tiny * 1.0 != 0).all()


@given(st.data())
@settings(max_examples=40, derandomize=True)
def test_a_member_never_depends_on_its_neighbours(data):
    """As above, for any widths, activation, data type, batch size, and shared or own samples."""
    draw = data.draw
    features, outputs = draw(st.sampled_from([1, 2, 3, 13, 16, 33, 64])), draw(st.sampled_from([1, 2, 3, 10]))
    widths = (features, *draw(st.lists(st.sampled_from([1, 2, 3, 5, 8, 15, 17, 30, 40]), max_size=4)), outputs)
    activation = draw(st.sampled_from(["relu", "tanh", "sigmoid", "softplus"]))
    count, members = draw(st.sampled_from([1, 2, 5, 31, 64, 333])), draw(st.sampled_from([2, 3, 5]))
    batch_size = draw(st.one_of(st.none(), st.integers(1, min(count, 50))))
    own_inputs, own_targets = draw(st.booleans()), draw(st.booleans())
    objective = draw(st.sampled_from([CrossEntropy(), MeanSquaredError()]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    inputs = torch.randn(members, count, features, generator=generator)
    targets = torch.randn(members, count, outputs, generator=generator)
    if isinstance(objective, CrossEntropy):
        targets = targets.argmax(2)

    def run(chosen, cache):
        stacked.CACHE_BYTES = cache  # decides how many members are computed together
        samples = Samples(
            inputs[chosen] if own_inputs else inputs[0],
            targets[chosen] if own_targets else targets[0],
            own_inputs,
            own_targets,
        )
        every = [streams("init", 1, seed)[0] for seed in chosen]
        population = Population.initialise(lambda: MLP(widths, activation), every, dtype=dtype)
        orders = [streams("order", 1, seed)[0] for seed in chosen]
        training = Training(
            population, samples, objective=objective, optimizer=Adam(0.01), batch_size=batch_size, orders=orders
        )
        losses = Recorder(loss)
        training.run(8, [losses])
        return population.vectors(), losses.values, Evaluator(population, samples, objective, chunk=50)().loss

    usual, usually_wide = stacked.CACHE_BYTES, stacked.WIDE
    stacked.WIDE = draw(st.sampled_from([1, 40, usually_wide]))
    try:
        together = run(list(range(members)), usual)
        for chosen in [[0], [members - 1], [0, members - 1], list(range(1, members)), list(range(members))]:
            for whole, part in zip(together, run(chosen, draw(st.sampled_from([1, 2**15, 2**18, usual]))), strict=True):
                assert torch.equal(whole[chosen], part)
    finally:
        stacked.CACHE_BYTES, stacked.WIDE = usual, usually_wide
