"""Networks and data of all kinds: trained, evaluated and measured as a plain loop does, or refused in a line."""

import copy

import pytest
import torch
from reference import initial_module, streams, train_plain, vector
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from whydeep.errors import SettingError
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.networks.functional import in_precision
from whydeep.population import (
    SGD,
    Adam,
    CrossEntropy,
    Evaluator,
    MeanSquaredError,
    Population,
    Samples,
    Training,
    predictions,
)

SAMPLES, FEATURES, CLASSES = 12, 4, 3
ENGINES = ("auto", "vmap", "one-by-one")
every_engine = pytest.mark.parametrize("engine", ENGINES)


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(high, *shape):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(2))


INPUTS, LABELS = normal(SAMPLES, FEATURES), integers(CLASSES, SAMPLES)


# -- networks -------------------------------------------------------------------------------------------------------


def mlp(outputs=CLASSES):
    return MLP((FEATURES, 5, outputs), "tanh")


def convolution(outputs=CLASSES):
    return nn.Sequential(
        nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6, outputs)
    )


def normalised(outputs=CLASSES):
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, outputs))


def words(**options):
    return lambda: nn.Sequential(nn.Embedding(7, 3, **options), nn.Flatten(), nn.Linear(6, CLASSES))


class Unused(nn.Module):
    """One layer has no part in the loss."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.used(x)


class Replacing(nn.Module):
    """Puts another buffer in the place of its own while it trains, and uses it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("mean", torch.zeros(FEATURES))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.linear(x - self.mean)


class ComplexBuffer(nn.Module):
    """Turns features by angles, as rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        angles = torch.arange(FEATURES, dtype=torch.float64)
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x):
        return self.linear((x * self.turns).real)


def pruned():
    net = convolution()
    prune.l1_unstructured(net[1], "weight", amount=0.5)
    prune.random_unstructured(net[4], "weight", amount=0.4)
    net(INPUTS.float())
    return net


def pruned_stack():
    net = mlp()
    prune.ln_structured(net.linear1, "weight", amount=0.4, n=2, dim=0)
    return net


def tied():
    net = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh(), nn.Linear(FEATURES, FEATURES))
    net[2].weight = net[0].weight
    return net


# -- what is taken --------------------------------------------------------------------------------------------------

CROSS_ENTROPY = (CrossEntropy(), functional.cross_entropy)
SQUARES = (MeanSquaredError(), functional.mse_loss)
SOFT = normal(SAMPLES, CLASSES, seed=3).softmax(1)
TAKEN = {  # name -> network, inputs, targets, (objective, the same in plain torch)
    "unused": (Unused, INPUTS, LABELS, CROSS_ENTROPY),
    "buffers replaced": (Replacing, INPUTS, LABELS, CROSS_ENTROPY),
    "complex buffer": (ComplexBuffer, INPUTS, LABELS, CROSS_ENTROPY),
    "pruned": (pruned, INPUTS, LABELS, CROSS_ENTROPY),
    "pruned stack": (pruned_stack, INPUTS, LABELS, CROSS_ENTROPY),
    "tied": (tied, INPUTS, LABELS, CROSS_ENTROPY),
    "probabilities": (mlp, INPUTS, SOFT, CROSS_ENTROPY),
    "probabilities, convolution": (convolution, INPUTS, SOFT, CROSS_ENTROPY),
    "probabilities, smoothed": (
        normalised, INPUTS, SOFT,
        (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.1)),
    ),
    "one value": (lambda: convolution(1), INPUTS, normal(SAMPLES, 1), SQUARES),
    "one value, stack": (lambda: mlp(1), INPUTS, normal(SAMPLES, 1), SQUARES),
    "huber": (lambda: convolution(1), INPUTS, normal(SAMPLES, 1), (functional.huber_loss, functional.huber_loss)),
    "yes or no": (
        lambda: normalised(1), INPUTS, integers(2, SAMPLES, 1).double(),
        (nn.BCEWithLogitsLoss(), functional.binary_cross_entropy_with_logits),
    ),
    "normalised": (normalised, INPUTS, LABELS, CROSS_ENTROPY),
    "words": (words(), integers(7, SAMPLES, 2), LABELS, CROSS_ENTROPY),
    "words with padding": (words(padding_idx=0), integers(7, SAMPLES, 2), LABELS, CROSS_ENTROPY),
    "not a number": (convolution, INPUTS.masked_fill(torch.arange(SAMPLES).unsqueeze(1) == 3, torch.nan), LABELS, CROSS_ENTROPY),
    "not a number, stack": (mlp, INPUTS.masked_fill(torch.arange(SAMPLES).unsqueeze(1) == 3, torch.nan), LABELS, CROSS_ENTROPY),
    "infinite target": (mlp, INPUTS, normal(SAMPLES, CLASSES).masked_fill(torch.eye(SAMPLES, CLASSES) > 0, torch.inf), SQUARES),
    "one sample": (convolution, INPUTS[:1], LABELS[:1], CROSS_ENTROPY),
    "one sample, stack": (mlp, INPUTS[:1], LABELS[:1], CROSS_ENTROPY),
}  # fmt: skip


def compare(name, engine, optimizer, plain_optimizer):
    """Train two members and compare them with plain loops, then evaluate and measure them where they are."""
    build, inputs, targets, (objective, loss) = TAKEN[name]
    inits = streams("init", 2)
    population = Population.initialise(build, inits, dtype=torch.float64)
    training = Training(population, (inputs, targets), objective=objective, optimizer=optimizer, engine=engine)
    training.run(5)
    close = lambda found, expected: torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10, equal_nan=True)
    for member, init in enumerate(inits):
        module = in_precision(initial_module(build, init, None), torch.float64)
        for parameter in module.parameters():  # as after zero_grad(set_to_none=False)
            parameter.grad = torch.zeros_like(parameter)
        step = plain_optimizer(module.parameters())
        step.zero_grad = lambda step=step: torch.optim.Optimizer.zero_grad(step, set_to_none=False)
        train_plain(module, inputs, targets, loss, step, 5)
        close(population.vectors()[member], vector(module))
        for key, buffer in module.named_buffers():
            close(population.buffers[key][member], buffer)
        module.eval()
        outputs = module(inputs)
        value = loss(outputs, targets).detach()
        close(Evaluator(population, (inputs, targets), objective, engine=engine)().loss[member], value)
        close(predictions(population, inputs, engine=engine)[member], outputs.detach())
        landscape = Landscape(population, (inputs, targets), objective, engine=engine)
        close(landscape.losses()[member], value)
    return population


@every_engine
@pytest.mark.parametrize("name", TAKEN)
def test_training_evaluation_and_measurement_equal_a_plain_loop(name, engine):
    compare(name, engine, SGD(0.1, momentum=0.9), lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9))


@pytest.mark.parametrize("name", ["one value, stack", "not a number, stack", "infinite target", "one sample, stack"])
def test_the_stacked_engine_equals_a_plain_loop(name):
    build, inputs, targets, (objective, loss) = TAKEN[name]
    population = Population.initialise(build, streams("init", 2), dtype=torch.float64)
    training = Training(population, (inputs, targets), objective=objective, optimizer=SGD(0.1), engine="stacked")
    training.run(3)
    evaluation = Evaluator(population, (inputs, targets), objective, engine="stacked")().loss
    for member, init in enumerate(streams("init", 2)):
        module = initial_module(build, init, torch.float64)
        train_plain(module, inputs, targets, loss, torch.optim.SGD(module.parameters(), lr=0.1), 3)
        expected = loss(module(inputs), targets).detach()
        torch.testing.assert_close(evaluation[member], expected, rtol=1e-9, atol=1e-10, equal_nan=True)


@every_engine
def test_a_parameter_without_a_part_in_the_loss_has_gradient_zero(engine):
    """Weight decay shrinks it, as PyTorch does where its gradient is zero instead of none."""
    decay = {"lr": 0.01, "weight_decay": 0.1}
    compare("unused", engine, Adam(0.01, weight_decay=0.1), lambda parameters: torch.optim.Adam(parameters, **decay))


@pytest.mark.parametrize("engine", ["auto", "one-by-one"])
def test_sparse_gradients_of_embeddings(engine):
    population = Population.initialise(words(sparse=True), streams("init", 2))
    dense = Population.initialise(words(), streams("init", 2))
    for some in (population, dense):
        data = integers(7, SAMPLES, 2), LABELS
        Training(some, data, objective=CrossEntropy(), optimizer=Adam(), engine="one-by-one").run(3)
    assert torch.equal(population.flat, dense.flat)
    gradients = [Landscape(some, data, CrossEntropy(), engine="one-by-one").gradients() for some in (population, dense)]
    assert torch.equal(*gradients)


# -- what is refused ------------------------------------------------------------------------------------------------


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(FEATURES, CLASSES)

    def forward(self, x):
        return self.inner(x)


class Whole(nn.Module):
    """One output for all samples together."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.inner(x.mean(0))


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return (self.inner(x) > 0).long()


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(FEATURES, CLASSES, dtype=torch.complex64))

    def forward(self, x):
        return (x @ self.weight.real).abs()


class InALists(nn.Module):
    """A layer that nobody registered."""

    def __init__(self):
        super().__init__()
        self.layers, self.out = [nn.Linear(FEATURES, FEATURES)], nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.out(self.layers[0](x.float()).to(self.out.weight.dtype))


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(FEATURES).to_sparse())

    def forward(self, x):
        return x @ self.weight


def sharing_memory():
    net = tied()
    net[2].weight = nn.Parameter(net[0].weight.data.T)
    return net


def buffer_of_a_parameter():
    net = convolution()
    net.register_buffer("first", net[1].weight.data)
    return net


def expanded():
    net = convolution()
    net[4].bias = nn.Parameter(torch.zeros(1).expand(CLASSES))
    return net


def one_type(net, dtype):
    return lambda: net().to(dtype)


LINE = "cannot be computed on these samples|cannot be computed for all (members|points) at once"
PLAIN = (convolution, INPUTS, LABELS, CrossEntropy())
REFUSED = {  # name -> network, inputs, targets, objective, message
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(CLASSES)), *PLAIN[1:], "0.weight of Sequential has no shape yet: call the module once"),
    "complex parameters": (Complex, *PLAIN[1:], r"real numbers that are not sparse, and weight of Complex is torch.complex64"),
    "sparse parameters": (Sparse, *PLAIN[1:], r"weight of Sparse is torch.float32 \(torch.sparse_coo\)"),
    "meta parameters": (one_type(convolution, "meta"), *PLAIN[1:], "1.weight of Sequential is on the meta device"),
    "shared memory": (sharing_memory, *PLAIN[1:], "0.weight and 2.weight of Sequential share memory, which copies would not"),
    "buffer of a parameter": (buffer_of_a_parameter, *PLAIN[1:], "of Sequential share memory, which copies would not"),
    "expanded": (expanded, *PLAIN[1:], "numbers of 4.bias of Sequential share memory, which copies would not: clone it"),
    "unregistered": (InALists, *PLAIN[1:], r"InALists computes with parameters that are not among its own.*nn.ModuleList"),
    "max_norm": (words(max_norm=0.1), integers(7, SAMPLES, 2), *PLAIN[2:], "writes to its parameters when it is called"),
    "pair": (Pair, normal(SAMPLES, 2, FEATURES), *PLAIN[2:], "a network must return one tensor .* Pair returns a tuple"),
    "whole": (Whole, *PLAIN[1:], rf"Whole returns shape \({CLASSES},\) for {SAMPLES} samples|cross entropy cannot be|outputs must be"),
    "integers": (Counts, *PLAIN[1:], "a network must return one tensor of real numbers .* Counts returns torch.int64"),
    "sparse inputs": (convolution, INPUTS.to_sparse(), *PLAIN[2:], r"inputs must be .* not sparse, and are torch.float64 \(torch.sparse_coo\)"),
    "complex inputs": (mlp, INPUTS + 1j, *PLAIN[2:], "inputs must be .* and are torch.complex128"),
    "meta inputs": (mlp, INPUTS.to("meta"), *PLAIN[2:], "inputs must be .* and are on the meta device"),
    "complex targets": (mlp, INPUTS, normal(SAMPLES, CLASSES) + 1j, MeanSquaredError(), "targets must be .* and are torch.complex128"),
    "meta targets": (mlp, INPUTS, LABELS.to("meta"), CrossEntropy(), "targets must be .* and are on the meta device"),
    "no samples": (convolution, INPUTS[:0], LABELS[:0], CrossEntropy(), "the data hold no samples: a loss needs at least one"),
    "classes as real numbers": (
        convolution, INPUTS, LABELS.double(), CrossEntropy(),
        r"cross entropy cannot be computed from outputs \(12, 3\) .* and targets \(12,\) \(torch.float",
    ),
    "classes in a column": (convolution, INPUTS, LABELS.unsqueeze(1), CrossEntropy(), r"cross entropy cannot be computed from outputs .* \(12, 1\)"),
    "classes in a column, stack": (mlp, INPUTS, LABELS.unsqueeze(1), CrossEntropy(), r"targets must be \[sample\] for cross entropy, not \(12, 1\)"),
    "class without an output": (convolution, INPUTS, LABELS + 1, CrossEntropy(), "targets are classes 1 to 3, and accepted are 0 to 2"),
    "class without an output, stack": (mlp, INPUTS, LABELS + 1, CrossEntropy(), "targets are classes 1 to 3, and accepted are 0 to 2"),
    "class without an output, smoothed": (
        convolution, INPUTS, LABELS + 1, nn.CrossEntropyLoss(label_smoothing=0.1), "cannot be computed from .*Target 3 is out of bounds",
    ),
    "no class": (convolution, INPUTS, LABELS - 1, CrossEntropy(), "targets are classes -1 to 1, and accepted are 0 and up"),
    "value for three": (lambda: convolution(1), INPUTS, normal(SAMPLES, 3), MeanSquaredError(), r"outputs \(12, 1\) and targets \(12, 3\) must have the same shape"),
    "three for one value": (convolution, INPUTS, normal(SAMPLES, 1), MeanSquaredError(), r"outputs \(12, 3\) and targets \(12, 1\) must have the same shape"),
    "column for a row": (lambda: convolution(1), INPUTS, normal(SAMPLES), MeanSquaredError(), r"outputs \(12, 1\) and targets \(12,\) must have the same shape"),
    "width": (convolution, normal(SAMPLES, FEATURES + 3), *PLAIN[2:], LINE),
    "dimensions": (convolution, normal(SAMPLES, 2, 3, FEATURES), *PLAIN[2:], LINE),
    "integer inputs": (convolution, integers(9, SAMPLES, FEATURES), *PLAIN[2:], LINE),
    "words that are not known": (words(), integers(9, SAMPLES, 2), *PLAIN[2:], "index out of range"),
    "real numbers as words": (words(), normal(SAMPLES, 2), *PLAIN[2:], "Expected tensor for argument #1 'indices'"),
}  # fmt: skip
USES = {
    "training": lambda net, data, loss, engine: Training(
        Population([net]), data, objective=loss, optimizer=SGD(0.1), engine=engine
    ),
    "evaluation": lambda net, data, loss, engine: Evaluator(Population([net]), data, loss, engine=engine),
    "landscape": lambda net, data, loss, engine: Landscape(net, data, loss, engine=engine),
    "landscape of a population": lambda net, data, loss, engine: Landscape(
        Population([net]), data, loss, engine=engine
    ),
}


@every_engine
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_refused_in_a_line(name, use, engine):
    build, inputs, targets, loss, message = REFUSED[name]
    net = build()
    with pytest.raises(SettingError, match=message) as raised:
        USES[use](net, (inputs, targets), loss, engine)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("build", [mlp, convolution])
def test_half_precision_is_measured_in_double_and_not_trained(build, dtype):
    net = build().to(dtype)
    with pytest.raises(SettingError, match=rf"a population is of float32 or float64, and .* {dtype}: call \.float\(\)"):
        Population([net])
    with pytest.raises(SettingError, match="a population is of float32 or float64"):
        Population.initialise(build, seeds=range(2), dtype=dtype)
    expected = functional.cross_entropy(build_like(net)(INPUTS), LABELS).detach()
    torch.testing.assert_close(Landscape(net, (INPUTS, LABELS), CrossEntropy()).losses()[0], expected)
    with pytest.raises(SettingError, match=r"a landscape is computed in float32 or float64, not in torch.float16"):
        Landscape(net, (INPUTS, LABELS), CrossEntropy(), dtype=torch.float16)


def build_like(net):
    return copy.deepcopy(net).double()


@every_engine
def test_members_whose_parameters_are_frozen_or_of_other_types(engine):
    frozen = convolution()
    frozen[1].bias.requires_grad_(False)
    with pytest.raises(SettingError, match=r"a population trains every parameter, and 1.bias is frozen: unfreeze it"):
        Population([convolution(), frozen])
    with pytest.raises(SettingError, match="all modules must have parameters of one type"):
        Population([convolution(), convolution().double()])


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
def test_batches_of_one_sample_with_batch_normalisation(engine):
    """A step on a batch of one is refused by PyTorch; in evaluation it is none."""
    population = Population.initialise(normalised, seeds=range(2))
    data = INPUTS[:9].float(), LABELS[:9]
    training = Training(population, data, objective=CrossEntropy(), optimizer=SGD(0.1), batch_size=4, engine=engine)
    training.run(2)
    with pytest.raises(SettingError, match=r"cannot be .*\(Expected more than 1 value per channel when training"):
        training.run(1)
    assert (
        Evaluator(population, (INPUTS[:1].float(), LABELS[:1]), CrossEntropy(), engine=engine)().loss.isfinite().all()
    )


@every_engine
def test_other_labels_without_an_output(engine):
    population = Population.initialise(convolution, seeds=range(2))
    training = Training(
        population, (INPUTS.float(), LABELS), objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine
    )
    with pytest.raises(SettingError, match="targets are classes 1 to 3, and accepted are 0 to 2"):
        training.relabel(LABELS + 1)


def test_samples_without_a_dimension():
    with pytest.raises(SettingError, match=r"inputs must be \[sample, \.\.\.\], and have shape \(\)"):
        Samples(torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(SettingError, match=r"targets must be \[sample, \.\.\.\], and have shape \(3,\)"):
        Samples(torch.ones(3, 2), torch.ones(3), own_targets=True)


@pytest.mark.parametrize("place", [0, 31, 32, 150, 199, 200])
@every_engine
def test_padding_is_found_in_whichever_chunk_it_lies(place, engine):
    """More samples than are tried at first; the last chunk has a single one."""

    def loss(outputs, targets):
        return functional.cross_entropy(outputs.transpose(1, 2), targets, ignore_index=-1)

    net = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, CLASSES))
    inputs, targets = integers(7, 201, 5), integers(CLASSES, 201, 5)
    Evaluator(Population([net]), (inputs, targets), loss, engine=engine, chunk=32)
    targets[place, 2:] = -1
    with pytest.raises(SettingError, match="is not the mean of the losses of its parts"):
        Evaluator(Population([net]), (inputs, targets), loss, engine=engine, chunk=32)
