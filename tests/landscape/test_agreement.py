"""Training, evaluation and landscapes take the same data, losses and modules, and mean the same by them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from cases import integers, normal, seeded
from whydeep.errors import SettingError
from whydeep.landscape import Landscape
from whydeep.networks import MLP, recognise
from whydeep.population import (
    SGD,
    CrossEntropy,
    Evaluator,
    MeanSquaredError,
    Population,
    Samples,
    Training,
    predictions,
)

SAMPLES, FEATURES, OUTPUTS = 23, 6, 3


# -- what is accepted ----------------------------------------------------------------------------------------------


class Doubled(CrossEntropy):
    """A subclass that means something else."""

    def mean(self, outputs, targets):
        return 2 * super().mean(outputs, targets)


class ClippedError(MeanSquaredError):
    def mean(self, outputs, targets):
        return (outputs - targets).square().clamp(max=1).mean()


class DoubledLoss(nn.CrossEntropyLoss):
    def forward(self, outputs, targets):
        return 2 * super().forward(outputs, targets)


class Steeper(nn.Linear):
    def forward(self, inputs):
        return 3 * super().forward(inputs)


def doubled(outputs, targets):
    return 2 * functional.cross_entropy(outputs, targets)


def replaced(module, forward):
    """A module with another forward, on the instance."""
    module.forward = forward
    return module


def stack(*, first=nn.Linear, activation=nn.Tanh):
    return nn.Sequential(first(FEATURES, 5), activation(), nn.Linear(5, OUTPUTS))


def replaced_stack():
    net = stack()
    net[1].forward = torch.sin
    return net


def convolution():
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, OUTPUTS))


def parametrised():
    net = stack()
    nn.utils.parametrize.register_parametrization(net[0], "weight", nn.Softsign())
    return net


MODULES = {
    "mlp": lambda: MLP((FEATURES, 5, OUTPUTS), "tanh"),
    "flattened": lambda: nn.Sequential(nn.Flatten(), *stack()),
    "gelu": lambda: stack(activation=nn.GELU),
    "convolution": convolution,
    "subclass of Linear": lambda: stack(first=Steeper),
    "forward replaced": replaced_stack,
    "parametrised": parametrised,
}
NAMES = {  # loss -> what it is in plain torch
    "CrossEntropy": (CrossEntropy(), functional.cross_entropy),
    "cross_entropy": (functional.cross_entropy, functional.cross_entropy),
    "nn.CrossEntropyLoss": (nn.CrossEntropyLoss(), functional.cross_entropy),
    "label smoothing": (nn.CrossEntropyLoss(label_smoothing=0.3), partial(functional.cross_entropy, label_smoothing=0.3)),
    "ignores a class that is not there": (nn.CrossEntropyLoss(ignore_index=7), functional.cross_entropy),
    "partial": (partial(functional.cross_entropy, label_smoothing=0.3), partial(functional.cross_entropy, label_smoothing=0.3)),
    "subclass of CrossEntropy": (Doubled(), doubled),
    "subclass of nn.CrossEntropyLoss": (DoubledLoss(), doubled),
    "forward of a loss replaced": (replaced(nn.CrossEntropyLoss(), doubled), doubled),
    "probabilities": (CrossEntropy(), functional.cross_entropy),
    "MeanSquaredError": (MeanSquaredError(), functional.mse_loss),
    "mse_loss": (functional.mse_loss, functional.mse_loss),
    "nn.MSELoss": (nn.MSELoss(), functional.mse_loss),
    "integer values": (nn.MSELoss(), functional.mse_loss),
    "l1_loss": (functional.l1_loss, functional.l1_loss),
    "nn.HuberLoss": (nn.HuberLoss(), functional.huber_loss),
    "lambda": (lambda o, t: (o - t).abs().mean(), functional.l1_loss),
    "subclass of MeanSquaredError": (ClippedError(), lambda o, t: (o - t).square().clamp(max=1).mean()),
}  # fmt: skip
VALUES = list(NAMES)[list(NAMES).index("MeanSquaredError") :]
DATA = {
    "Samples": Samples,
    "pair": lambda x, y: (x, y),
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=5),
    "unequal batches": lambda x, y: [(x[:2], y[:2]), [x[2:], y[2:]], (x[:0], y[:0])],
    "generator": lambda x, y: ((x[i : i + 1], y[i : i + 1]) for i in range(SAMPLES)),
}


def samples_for(loss):
    if loss == "probabilities":
        return normal(SAMPLES, FEATURES), normal(SAMPLES, OUTPUTS, seed=3).softmax(1)
    if loss == "integer values":
        return normal(SAMPLES, FEATURES), integers(4, SAMPLES, OUTPUTS)
    return normal(SAMPLES, FEATURES), normal(SAMPLES, OUTPUTS, seed=3) if loss in VALUES else integers(OUTPUTS, SAMPLES)


def losses_of(modules, data, loss, **engine):
    """Losses [member] of training at its first step, of evaluation in chunks, and of a landscape; `data` makes them anew."""
    training = Training(Population(modules), data(), objective=loss, optimizer=SGD(0.1), **engine)
    training.run(1)
    evaluation = Evaluator(Population(modules), data(), loss, chunk=32, **engine)()
    return training, evaluation, Landscape(Population(modules), data(), loss)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", DATA)
def test_all_three_agree_with_plain_torch(form, name, module):
    loss, plain = NAMES[name]
    inputs, targets = samples_for(name)
    modules = [seeded(MODULES[module], seed) for seed in range(2)]
    training, evaluation, landscape = losses_of(modules, lambda: DATA[form](inputs, targets), loss)
    wanted = targets.double() if name == "integer values" else targets
    expected = torch.stack([plain(module(inputs), wanted) for module in modules]).detach()
    for found in (training.losses, evaluation.loss, landscape.losses()):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    gradients = []
    for net in modules:
        parts = torch.autograd.grad(plain(net(inputs), wanted), list(net.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    expected = torch.stack(gradients)
    found = training.population.layout.vectors(training.gradients)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(landscape.gradients(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_told_for_cross_entropy_of_class_numbers_alone(name):
    _, evaluation, _ = losses_of([seeded(MODULES["mlp"])], lambda: samples_for(name), NAMES[name][0])
    assert (evaluation.accuracy is not None) == (name in ("CrossEntropy", "cross_entropy", "nn.CrossEntropyLoss"))


@pytest.mark.parametrize(
    ("module", "recognised"), [(name, name in ("mlp", "flattened", "gelu")) for name in MODULES]
)  # fmt: skip
def test_what_is_more_than_its_layers_is_not_recognised(module, recognised):
    assert (recognise(MODULES[module]()) is not None) == recognised


@pytest.mark.parametrize("name", ["mlp", "flattened", "convolution"])
def test_predictions_of_any_data(name):
    inputs, targets = samples_for("l1_loss")
    population = Population([seeded(MODULES[name], seed) for seed in range(2)])
    expected = torch.stack([population.member(index)(inputs) for index in range(2)]).detach()
    for data in (inputs, Samples(inputs, targets), (inputs, targets), DATA["loader"](inputs, targets)):
        torch.testing.assert_close(predictions(population, data), expected)
    own = Samples(torch.stack([inputs, 2 * inputs]), targets, own_inputs=True)
    torch.testing.assert_close(predictions(population, own)[1], population.member(1)(2 * inputs).detach())


# -- shapes and types ----------------------------------------------------------------------------------------------


def agree(modules, data, loss):
    training, evaluation, landscape = losses_of(modules, lambda: data, loss)
    torch.testing.assert_close(training.losses, landscape.losses(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(evaluation.loss, landscape.losses(), rtol=1e-11, atol=1e-12)
    return landscape.losses()


def test_images_are_flattened_for_a_fully_connected_network():
    inputs, targets = samples_for("l1_loss")
    nets = [seeded(MODULES["mlp"])]
    flat = agree(nets, (inputs, targets), functional.mse_loss)
    assert torch.equal(agree(nets, (inputs.view(SAMPLES, 1, 2, 3), targets), functional.mse_loss), flat)


def test_a_fully_connected_network_at_every_place():
    nets = [seeded(MODULES["mlp"])]
    data = normal(5, 4, FEATURES), normal(5, 4, OUTPUTS, seed=3)
    expected = functional.mse_loss(nets[0](data[0]), data[1]).detach()
    torch.testing.assert_close(agree(nets, data, functional.mse_loss)[0], expected)


def test_classes_at_every_place():
    build = lambda: nn.Sequential(nn.Conv1d(FEATURES, 4, 1), nn.Tanh(), nn.Conv1d(4, OUTPUTS, 1))
    nets, data = [seeded(build)], (normal(7, FEATURES, 5), integers(OUTPUTS, 7, 5))
    expected = functional.cross_entropy(nets[0](data[0]), data[1]).detach()
    torch.testing.assert_close(agree(nets, data, nn.CrossEntropyLoss())[0], expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integer_inputs_are_numbers_for_a_fully_connected_network(dtype):
    nets, targets = [seeded(MODULES["mlp"])], samples_for("l1_loss")[1]
    inputs = integers(9, SAMPLES, FEATURES)
    expected = agree(nets, (inputs.double(), targets), nn.MSELoss())
    assert torch.equal(agree(nets, (inputs.to(dtype), targets), nn.MSELoss()), expected)


def test_integer_inputs_are_words_for_an_embedding():
    build = lambda: nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, OUTPUTS))
    nets, data = (
        [seeded(build, seed) for seed in range(2)],
        (integers(7, SAMPLES, 2), integers(OUTPUTS, SAMPLES, seed=5)),
    )
    expected = torch.stack([functional.cross_entropy(net(data[0]), data[1]) for net in nets]).detach()
    torch.testing.assert_close(agree(nets, data, CrossEntropy()), expected)


def test_one_output_without_a_dimension_of_its_own():
    build = lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    nets, data = [seeded(build)], (normal(SAMPLES, FEATURES), normal(SAMPLES))
    expected = functional.mse_loss(nets[0](data[0]), data[1]).detach()
    torch.testing.assert_close(agree(nets, data, MeanSquaredError())[0], expected)


# -- what is refused -----------------------------------------------------------------------------------------------

WEIGHT = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
REFUSED = {
    "sum": (nn.MSELoss(reduction="sum"), 'MSELoss.* is no mean over samples, .*: give reduction="mean"'),
    "none": (nn.CrossEntropyLoss(reduction="none"), "is no mean over samples"),
    "weights": (nn.CrossEntropyLoss(weight=WEIGHT), "a mean weighted by class is no mean over samples"),
    "ignored class": (
        nn.CrossEntropyLoss(ignore_index=1),
        "targets hold the class 1 that CrossEntropyLoss ignores, .*: leave these samples out",
    ),
    "sum of a function": (
        lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction="sum"),
        "is not the mean of the losses of its parts.*: give a loss that is a mean over samples",
    ),
    "weights of a function": (partial(functional.cross_entropy, weight=WEIGHT), "give a loss that is a mean over samples"),
    "not reduced": (
        partial(functional.cross_entropy, reduction="none"), "the loss must be one number, a mean over samples"
    ),
    "class": (nn.CrossEntropyLoss, "objective must be such as CrossEntropy.*, not the class CrossEntropyLoss"),
    "name": ("mse", "objective must be such as CrossEntropy.*, not 'mse'"),
}  # fmt: skip
MAKERS = {
    "training": lambda nets, data, loss: Training(Population(nets), data, objective=loss, optimizer=SGD(0.1)),
    "evaluator": lambda nets, data, loss: Evaluator(Population(nets), data, loss),
    "landscape": lambda nets, data, loss: Landscape(Population(nets), data, loss),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("given", REFUSED)
def test_losses_that_are_no_mean_over_samples_are_refused(given, maker):
    loss, message = REFUSED[given]
    targets = samples_for("MeanSquaredError" if given == "sum" else "CrossEntropy")[1].sort(0).values  # class by class
    with pytest.raises(SettingError, match=message):
        MAKERS[maker]([seeded(MODULES["mlp"])], (normal(SAMPLES, FEATURES), targets), loss)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(("data", "message"), [
    ((normal(4, FEATURES), normal(5, OUTPUTS)), "data must be Samples, a pair of tensors"),
    (normal(4, FEATURES), "data must be Samples, a pair of tensors"),
    ([], "the data hold no samples"),
    ((normal(4, FEATURES + 1), normal(4, OUTPUTS)), f"inputs have {FEATURES + 1} features, the network takes {FEATURES}"),
    ((normal(4, FEATURES), normal(4, 1)), rf"targets must be \[sample, {OUTPUTS}\] for mean squared error, not \(4, 1\)"),
    ((normal(4, FEATURES), normal(4)), rf"targets must be \[sample, {OUTPUTS}\] for mean squared error, not \(4,\)"),
])  # fmt: skip
def test_data_that_do_not_fit_are_named(data, message, maker):
    with pytest.raises(SettingError, match=message):
        MAKERS[maker]([seeded(MODULES["mlp"])], data, functional.mse_loss)


def test_batches_of_different_samples_cannot_be_joined_for_training():
    batches = [(normal(2, FEATURES), integers(3, 2)), (normal(2, FEATURES, 2), integers(3, 2))]
    with pytest.raises(SettingError, match=r"batches must have samples of one shape, and there are inputs \[\(6,\)"):
        Samples.of(batches)


def test_the_stacked_engine_takes_losses_that_are_written_out():
    population = Population([MLP((FEATURES, OUTPUTS))])
    message = 'the stacked engine takes .* mean squared error, not this l1_loss: give engine="vmap"'
    with pytest.raises(SettingError, match=message):
        Training(population, samples_for("l1_loss"), objective=functional.l1_loss, optimizer=SGD(0.1), engine="stacked")


@pytest.mark.parametrize("place", range(10))
def test_padding_is_refused_whichever_batch_it_begins_in(place):
    """Tokens that the loss ignores weigh nothing: a mean over samples would give their sample too much weight."""
    torch.manual_seed(0)
    inputs = torch.randint(1, 11, (10, 16, 8))
    targets = inputs.clone()
    targets[place, 3, 2:] = 0
    model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11))

    def loss(outputs, targets):
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)

    with pytest.raises(SettingError, match="is not the mean of the losses of its parts"):
        Landscape(model, list(zip(inputs, targets, strict=True)), loss)
    assert Landscape(model, list(zip(inputs, inputs, strict=True)), loss).losses().isfinite()


def test_padding_is_refused_in_batches_of_one_sample():
    """Alone, every sample is the mean of its parts; two of them together are not."""
    inputs = integers(10, 12, 8) + 1
    targets = inputs.clone()
    targets[7, 3:] = 0
    model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11))

    def loss(outputs, targets):
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)

    def batches(targets):
        return [(inputs[i : i + 1], targets[i : i + 1]) for i in range(len(inputs))]

    for settings in ({}, {"samples_at_once": 1}):
        with pytest.raises(SettingError, match="is not the mean of the losses of its parts"):
            Landscape(model, batches(targets), loss, **settings)
        assert Landscape(model, batches(inputs), loss, **settings).losses().isfinite()
    with pytest.raises(SettingError, match="is not the mean of the losses of its parts"):
        Landscape(model, (inputs, targets), loss, samples_at_once=1)


class Mean(nn.Module):
    """Classes of sequences of any length."""

    def __init__(self, per_token):
        super().__init__()
        self.embedding, self.out, self.per_token = nn.Embedding(11, 6), nn.Linear(6, OUTPUTS), per_token

    def forward(self, x):
        features = torch.tanh(self.embedding(x))
        return self.out(features).transpose(1, 2) if self.per_token else self.out(features.mean(1))


def test_sequences_of_other_lengths_are_samples_where_each_has_one_target():
    data = [(integers(11, 4, 5), integers(OUTPUTS, 4)), (integers(11, 3, 8), integers(OUTPUTS, 3))]
    model = seeded(lambda: Mean(per_token=False))
    expected = sum(len(y) * functional.cross_entropy(model(x), y) for x, y in data) / 7
    torch.testing.assert_close(Landscape(model, data, functional.cross_entropy).losses()[0], expected.detach())


def test_tokens_of_sequences_of_other_lengths_are_refused():
    """A mean over samples is none over tokens, and which is meant cannot be told."""
    data = [(integers(11, 4, 5), integers(OUTPUTS, 4, 5)), (integers(11, 3, 8), integers(OUTPUTS, 3, 8))]
    message = r"targets have the shapes \[\(5,\), \(8,\)\] in different batches: .* make one landscape for each shape"
    with pytest.raises(SettingError, match=message):
        Landscape(Mean(per_token=True), data, functional.cross_entropy)
