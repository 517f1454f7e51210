"""Which engine "auto" is."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import SGD, Adam, CrossEntropy, Evaluator, Population, Samples, Training, compiler, predictions
from whydeep.population.compiled import Compiled
from whydeep.population.engines import choose_engine, make_engine
from whydeep.population.modules import OneByOne, Vmapped
from whydeep.population.stacked import Stacked
from whydeep.population.updates import AdamUpdate, CompiledUpdate


class Recurrent(nn.Module):
    """The last state of a recurrent layer, read by a linear one."""

    def __init__(self, kind):
        super().__init__()
        self.inner = kind(4, 5, batch_first=True)
        self.outer = nn.Linear(5, 3)

    def forward(self, x):
        return self.outer(self.inner(x)[0][:, -1])


def encoder(dropout):
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=dropout, batch_first=True, norm_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3))


ON_CPU = {"by device": "one-by-one", "written out": "compiled"}
ON_GPU = {"by device": "vmap", "written out": "stacked"}
MODULES = {  # how to build it, and what "auto" is, which may differ by device; inputs are [sample, 6, 4]
    "fully connected": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)),
        "written out",
    ),
    "gelu": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.GELU(), nn.Linear(5, 3)), "vmap"),
    "normalised": (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(24), nn.Linear(24, 3)), "vmap"),
    "attention": (lambda: encoder(0.0), "by device"),
    "attention with dropout": (lambda: encoder(0.1), "one-by-one"),
    "convolution": (lambda: nn.Sequential(nn.Conv1d(6, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)), "by device"),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose1d(6, 2, 3), nn.Flatten(), nn.Linear(12, 3)), "by device"),
    "dropout": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(24, 3)), "one-by-one"),
    "dropout of nothing": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(24, 3)), "vmap"),
    "rnn": (lambda: Recurrent(nn.RNN), "one-by-one"),
    "gru": (lambda: Recurrent(nn.GRU), "one-by-one"),
    "lstm": (lambda: Recurrent(nn.LSTM), "one-by-one"),
}
CLASSES = {"compiled": Compiled, "stacked": Stacked, "vmap": Vmapped, "one-by-one": OneByOne}


@pytest.mark.parametrize("name", MODULES)
def test_auto_follows_from_the_module_and_the_device(name):
    build, expected = MODULES[name]
    module = build()
    assert choose_engine(module, torch.device("cpu")) == ON_CPU.get(expected, expected)
    assert choose_engine(module, torch.device("cuda")) == ON_GPU.get(expected, expected)


def test_without_a_compiler_another_engine_computes_the_same(monkeypatch):
    build, _ = MODULES["fully connected"]
    generator = torch.Generator().manual_seed(3)
    samples = Samples(torch.randn(20, 6, 4, generator=generator), torch.randint(3, (20,), generator=generator))
    trained = []
    for problem in ("", "no compiler here"):
        monkeypatch.setattr(compiler, "compiler_problem", lambda problem=problem: problem)
        population = Population.initialise(build, seeds=range(2))
        training = Training(population, samples, objective=CrossEntropy(), optimizer=Adam(0.01), batch_size=5)
        assert type(training.engine) is (Stacked if problem else Compiled)
        assert type(training.update) is (AdamUpdate if problem else CompiledUpdate)
        training.run(20)
        trained.append(population.vectors())
    torch.testing.assert_close(*trained)
    with pytest.raises(SettingError, match=r'not no compiler here: give engine="stacked"'):
        Training(population, samples, objective=CrossEntropy(), optimizer=Adam(0.01), engine="compiled")


@pytest.mark.parametrize("name", MODULES)
def test_auto_trains_and_evaluates_with_the_engine_that_it_chooses(name):
    build, _ = MODULES[name]
    generator = torch.Generator().manual_seed(3)
    samples = Samples(torch.randn(20, 6, 4, generator=generator), torch.randint(3, (20,), generator=generator))
    population = Population.initialise(build, seeds=range(2))
    chosen = CLASSES[choose_engine(population.template, population.device)]
    evaluator = Evaluator(population, samples, CrossEntropy())
    training = Training(population, samples, objective=CrossEntropy(), optimizer=SGD(0.1), batch_size=5)
    assert type(evaluator.engine) is type(training.engine) is chosen
    before = evaluator().loss
    training.run(20)
    assert (evaluator().loss < before).all()
    module = population.member(1).eval()
    torch.testing.assert_close(predictions(population, samples.inputs)[1], module(samples.inputs).detach())
    loss = functional.cross_entropy(module(samples.inputs), samples.targets)
    torch.testing.assert_close(evaluator().loss[1], loss.detach().double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["dropout", "attention with dropout"])
def test_dropout_is_refused_where_vmap_is_asked_for(name):
    population = Population.initialise(MODULES[name][0], seeds=range(2))
    samples = Samples(torch.zeros(20, 6, 4), torch.zeros(20).long())
    training = Training(population, samples, objective=CrossEntropy(), optimizer=SGD(0.1), engine="vmap")
    with pytest.raises(SettingError, match=r'cannot be computed for all members at once .*: give engine="one-by-one"'):
        training.run(1)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_are_not_evaluated_by_vmap(kind):
    """The reason for a part of the rule; should PyTorch learn it, "auto" can be "vmap" for these."""
    population = Population.initialise(lambda: Recurrent(kind), seeds=range(2))
    with pytest.raises(SettingError, match=r'cannot be computed for all members at once .*: give engine="one-by-one"'):
        predictions(population, torch.zeros(20, 6, 4), engine="vmap")


def test_engines_that_are_none_are_refused():
    population = Population([MLP((4, 3))])
    samples = Samples(torch.zeros(5, 4), torch.zeros(5).long())
    with pytest.raises(SettingError, match="no engine is called 'stack': did you mean stacked"):
        make_engine("stack", population, CrossEntropy(), samples, torch.zeros_like(population.flat), slots=32)
