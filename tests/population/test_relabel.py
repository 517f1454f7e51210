"""Training with targets that are replaced goes on as an ordinary loop with these targets would."""

import pytest
import torch
from reference import initial_module, streams, vector
from torch import nn
from torch.nn import functional

from whydeep.data import noisy_labels
from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import Adam, CrossEntropy, MeanSquaredError, Population, Recorder, Samples, Training, loss

MEMBERS, SAMPLES, FEATURES, CLASSES = 3, 37, 5, 4
SETTINGS = [
    (engine, size) for engine in ("compiled", "stacked", "vmap", "one-by-one") for size in (None, 8)
]  # 37 samples in eights: the last batch has five


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets_of(task, seed, own):
    lead = (MEMBERS, SAMPLES) if own else (SAMPLES,)
    values = random(*lead, CLASSES, seed=seed)
    return values.argmax(-1) if task == "classes" else values


def build():
    return MLP((FEATURES, 6, CLASSES), "tanh")


def started(targets, engine, batch_size, *, own=False, dtype=torch.float64, network=build):
    objective = MeanSquaredError() if targets.is_floating_point() else CrossEntropy()
    return Training(
        Population.initialise(network, streams("init", MEMBERS), dtype=dtype),
        Samples(random(SAMPLES, FEATURES, seed=1), targets, own_targets=own),
        objective=objective,
        optimizer=Adam(0.01),
        batch_size=batch_size,
        orders=streams("order", MEMBERS),
        engine=engine,
    )


def plain(member, schedule, batch_size):
    """An ordinary loop over targets [sample, ...], one set for each step: the losses, and the parameters at the end."""
    module, inputs = (
        initial_module(build, streams("init", MEMBERS)[member], torch.float64),
        random(SAMPLES, FEATURES, seed=1),
    )
    optimizer, order, history = torch.optim.Adam(module.parameters(), lr=0.01), streams("order", MEMBERS)[member], []
    size = batch_size or SAMPLES
    for step, targets in enumerate(schedule):
        epoch, place = divmod(step, -(-SAMPLES // size))
        chosen = torch.from_numpy(order.numpy(epoch).permutation(SAMPLES))[place * size : (place + 1) * size]
        measure = functional.mse_loss if targets.is_floating_point() else functional.cross_entropy
        value = measure(module(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        history.append(value.detach())
    return torch.stack(history), vector(module)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("task", ["classes", "values"])
@pytest.mark.parametrize(("engine", "batch_size"), SETTINGS)
def test_equals_an_ordinary_loop_in_float64(engine, batch_size, task, own):
    """Other targets in the middle of an epoch, and once more: losses and parameters, to 1e-10."""
    first, second, third = (targets_of(task, seed, own) for seed in (2, 3, 4))
    training, recorded = started(first, engine, batch_size, own=own), Recorder(loss)
    training.run(7, [recorded])
    training.relabel(second)
    training.run(9, [recorded])
    training.relabel(third)
    training.run(6, [recorded])
    for member in range(MEMBERS):
        schedule = [targets[member] if own else targets for targets in [first] * 7 + [second] * 9 + [third] * 6]
        history, expected = plain(member, schedule, batch_size)
        torch.testing.assert_close(recorded.values[member], history, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(training.population.vectors()[member], expected, rtol=1e-10, atol=1e-10)
    kept = started(first, engine, batch_size, own=own)
    kept.run(22)
    assert (kept.population.vectors() - training.population.vectors()).abs().max() > 1e-3


@pytest.mark.parametrize(("engine", "batch_size"), SETTINGS)
def test_equals_a_new_training_that_is_restored(engine, batch_size):
    """Bit by bit, in float32."""
    first, second = (targets_of("classes", seed, False) for seed in (2, 3))
    training = started(first, engine, batch_size, dtype=torch.float32)
    training.run(7)
    other = started(second, engine, batch_size, dtype=torch.float32)
    other.restore(training.checkpoint())
    training.relabel(second)
    for one in (training, other):
        one.run(11)
    assert torch.equal(training.population.vectors(), other.population.vectors())
    assert torch.equal(training.losses, other.losses)


@pytest.mark.parametrize(("engine", "batch_size"), SETTINGS)
def test_a_checkpoint_needs_its_targets_again(engine, batch_size):
    """After `restore` a training goes on with the targets that it has, not with those of the checkpoint."""
    first, second = (targets_of("classes", seed, False) for seed in (2, 3))
    whole = started(first, engine, batch_size)
    whole.relabel(second)
    whole.run(5)
    checkpoint = whole.checkpoint()
    whole.run(5)
    for again, same in ((True, True), (False, False)):
        training = started(first, engine, batch_size)
        training.restore(checkpoint)
        if again:
            training.relabel(second)
        training.run(5)
        assert torch.equal(training.population.vectors(), whole.population.vectors()) == same


@pytest.mark.parametrize(("engine", "batch_size"), SETTINGS)
def test_the_targets_it_had_change_nothing(engine, batch_size):
    targets = targets_of("classes", 2, False)
    whole, relabelled = (started(targets, engine, batch_size) for _ in range(2))
    whole.run(10)
    for _ in range(10):
        relabelled.relabel(targets.clone())
        relabelled.run(1)
    assert torch.equal(whole.population.vectors(), relabelled.population.vectors())


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("task", ["classes", "values"])
@pytest.mark.parametrize(("engine", "batch_size"), SETTINGS)
def test_tensors_given_are_left_as_they_were(engine, batch_size, task, own):
    given = [targets_of(task, seed, own) for seed in (2, 3)]
    kept = [targets.clone() for targets in given]
    training = started(given[0], engine, batch_size, own=own)
    samples = training.samples
    training.run(3)
    training.relabel(given[1])
    training.run(3)
    assert all(torch.equal(targets, clone) for targets, clone in zip(given, kept, strict=True))
    assert torch.equal(samples.targets, kept[0])
    assert torch.equal(training.samples.targets, kept[1])


def test_targets_are_taken_in_the_type_of_the_population():
    training = started(targets_of("values", 2, False), "stacked", 8, dtype=torch.float32)
    training.relabel(targets_of("values", 3, False))
    training.run(3)
    assert training.samples.targets.dtype == training.losses.dtype == torch.float32


@pytest.mark.parametrize(
    ("engine", "batch_size"), [("compiled", None), ("compiled", 8), ("stacked", None), ("stacked", 8), ("vmap", 8)]
)
def test_labels_learned_by_heart_and_labels_drawn_anew_for_every_epoch(engine, batch_size):
    """Random labels that stay are learned; the control, whose labels never stay, learns no more than chance."""
    wide = lambda: MLP((FEATURES, 64, CLASSES))
    labels, losses = targets_of("classes", 2, False), {}
    for redrawn in (False, True):
        training = started(noisy_labels(labels, CLASSES, 1, 0), engine, batch_size, network=wide)
        for epoch in range(400 if batch_size is None else 80):
            if redrawn:
                training.relabel(noisy_labels(labels, CLASSES, 1, epoch))
            training.run_epoch()
        training.run(1)
        losses[redrawn] = training.losses.mean().item()
    chance = torch.tensor(CLASSES).log().item()
    assert losses[False] < 0.5 * chance
    assert losses[True] > 0.75 * chance


@pytest.mark.parametrize(("engine", "batch_size"), SETTINGS)
@pytest.mark.parametrize(
    ("task", "own", "shape", "expected"),
    [
        ("classes", False, (SAMPLES - 1,), r"\(37,\)"),
        ("classes", False, (SAMPLES, 1), r"\(37,\)"),
        ("classes", False, (MEMBERS, SAMPLES), r"\(37,\)"),
        ("classes", True, (SAMPLES,), r"\(3, 37\)"),
        ("values", False, (SAMPLES, CLASSES - 1), r"\(37, 4\)"),
    ],
)
def test_another_shape_is_an_error_and_changes_nothing(engine, batch_size, task, own, shape, expected):
    training = started(targets_of(task, 2, own), engine, batch_size, own=own)
    training.run(2)
    samples = training.samples
    with pytest.raises(SettingError, match=f"targets must be like those before, .* of shape {expected}, not"):
        training.relabel(torch.zeros(shape, dtype=samples.targets.dtype))
    assert training.samples is samples
    whole = started(targets_of(task, 2, own), engine, batch_size, own=own)
    for one, steps in ((training, 3), (whole, 5)):
        one.run(steps)
    assert torch.equal(training.population.vectors(), whole.population.vectors())


def test_a_module_that_is_no_stack():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

        def forward(self, x):
            return self.outer(x + torch.tanh(self.inner(x)))

    first, second = (targets_of("values", seed, False) for seed in (2, 3))
    found = []
    for engine in ("vmap", "one-by-one"):
        training = started(first, engine, 8, network=Skip)
        training.run(4)
        training.relabel(second)
        training.run(4)
        found.append(training.population.vectors())
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
