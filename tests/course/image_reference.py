"""Training and evaluation of one network with plain PyTorch, and small results, to compare experiments on images with."""

import torch
from torch.nn import functional

from whydeep.data import locate
from whydeep.networks import MLP
from whydeep.population import Stream
from whydeep.study import Plan, Run
from whydeep.study.design import Images

DIGITS = Images("digits", 64, 10, 1442, 355)
MNIST = Images("MNIST", 784, 10, 60_000, 10_000)


def make_plan(experiment, scale="smoke", images=DIGITS, **changes):
    values = experiment.design.values_at(scale, experiment.design.read(changes, scale, experiment.name))
    return Plan(scale, values, frozenset(changes), images)


def settings_of(experiment, scale="smoke", images=DIGITS, **changes):
    return experiment.make_settings(make_plan(experiment, scale, images, **changes))


def measure(experiment, setting, seeds):
    return experiment.measure(setting, Run(experiment.name, setting, seeds, source=locate("digits", None)))


def stream(experiment, label, seed, purpose):
    return Stream(0, experiment.name, label, seed, purpose)


def train_plain(setting, images, *, init, order, learning_rate=1e-3, labels=None):
    """Train a network in a plain loop; labels(epoch) are what it learns, the true ones by default."""
    torch.manual_seed(init.torch_seed())
    network = MLP(setting.widths)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    inputs, truth = images.train_inputs[: setting.train_images], images.train_labels[: setting.train_images]
    for epoch in range(setting.epochs):
        targets = truth if labels is None else labels(epoch)
        for chosen in torch.from_numpy(order.numpy(epoch).permutation(len(inputs))).split(setting.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
    return network


def loss_and_accuracy(network, inputs, labels):
    with torch.no_grad():
        outputs = network(inputs)
        return functional.cross_entropy(outputs, labels).item(), (outputs.argmax(1) == labels).double().mean().item()


def statistics(experiment, claim, results):
    (claim,) = [entry for entry in experiment.claims if entry.id == claim]
    return [test.measure(results).values.squeeze().tolist() for test in claim.tests]


def unmet(experiment, claim, results):
    """What a claim misses in results, by default on MNIST."""
    results = results.assign_attrs({"dataset": "MNIST"} | results.attrs)
    (claim,) = [entry for entry in experiment.claims if entry.id == claim]
    return claim.unmet(results)
