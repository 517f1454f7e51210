"""Accuracies of a landscape: shares of all samples, on every engine."""

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from cases import CASES, CLASSES, FEATURES, integers, normal, seeded
from whydeep.errors import SettingError
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import CrossEntropy, Evaluator, Population, Samples

ENGINES = ("closed-form", "vmap", "one-by-one")


def mlp(seed=0):
    return seeded(lambda: MLP((FEATURES, 4, CLASSES), "tanh"), seed)


@pytest.mark.parametrize(
    ("name", "engine"),
    [(n, e) for n in ("mlp relu", "convolution", "words", "attention") for e in ("auto", *ENGINES)
     if e != "closed-form" or n == "mlp relu"],
)  # fmt: skip
def test_accuracies_equal_a_plain_loop(name, engine):
    """In batches of different sizes, of which the mean of the batches' accuracies is another number."""
    case = CASES[name]()
    module = case.module.eval()
    loader = DataLoader(TensorDataset(*case.data), batch_size=5)
    right = [(module(x).argmax(1) == y).double() for x, y in loader]
    found = Landscape(case.module, loader, case.objective, engine=engine).accuracies()
    assert found.tolist() == pytest.approx([torch.cat(right).mean().item()], rel=1e-14)
    assert found.item() != pytest.approx(torch.stack([part.mean() for part in right]).mean().item(), abs=1e-3)


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_accuracies_of_members_with_their_own_targets_and_of_points(engine):
    modules, inputs, targets = [mlp(seed) for seed in range(3)], normal(31, FEATURES), integers(CLASSES, 3, 31)
    samples = Samples(inputs, targets, own_targets=True)
    landscape = Landscape(Population(modules), samples, functional.cross_entropy, engine=engine, samples_at_once=7)
    expected = [(module(inputs).argmax(1) == own).double().mean() for module, own in zip(modules, targets, strict=True)]
    torch.testing.assert_close(landscape.accuracies(), torch.stack(expected))
    evaluated = Evaluator(Population(modules), samples, CrossEntropy())()
    torch.testing.assert_close(landscape.accuracies(), evaluated.accuracy)
    alone = Landscape(modules[0], (inputs, targets[2]), functional.cross_entropy, engine=engine)
    points = torch.cat([landscape.points()[2:], alone.points()])
    torch.testing.assert_close(alone.accuracies(points)[0], expected[2])


@pytest.mark.parametrize(("targets", "objective"), [
    (normal(5, CLASSES), functional.mse_loss),
    (normal(5, CLASSES).softmax(1), CrossEntropy()),
])  # fmt: skip
def test_targets_that_are_no_classes_are_named(targets, objective):
    message = "accuracy needs one class number for each sample, and these targets are something else"
    with pytest.raises(SettingError, match=message):
        Landscape(mlp(), (normal(5, FEATURES), targets), objective).accuracies()
