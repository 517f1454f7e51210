"""Stacking, evaluation and random streams."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import initial_module, streams, vector
from torch import nn
from torch.nn import functional

from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    CrossEntropy,
    Evaluator,
    MeanSquaredError,
    Population,
    Samples,
    Stream,
    Training,
    modules,
    predictions,
)
from whydeep.population.layout import Layout


def test_members_come_out_as_they_went_in():
    modules = [MLP((3, 5, 2)) for _ in range(4)]
    before = [vector(module).clone() for module in modules]
    population = Population(modules)
    for index, module in enumerate(modules):
        assert torch.equal(vector(population.member(index)), vector(module))
        assert torch.equal(population.vectors()[index], vector(module))
    population.flat.zero_()
    assert all(torch.equal(vector(m), b) for m, b in zip(modules, before, strict=True))
    assert torch.equal(population.select([2]).vectors(), torch.zeros(1, population.size))


def test_initialisation_is_pytorchs_own_and_leaves_its_generator_alone():
    state = torch.get_rng_state()
    population = Population.initialise(lambda: MLP((3, 5, 2)), streams("init", 3))
    assert torch.equal(torch.get_rng_state(), state)
    for index, stream in enumerate(streams("init", 3)):
        module = initial_module(lambda: MLP((3, 5, 2)), stream)
        assert torch.equal(population.vectors()[index], vector(module))


def test_seeds_give_streams_of_their_own_and_stay_with_their_members():
    build = lambda: MLP((3, 5, 2))
    population = Population.initialise(build, seeds=range(2, 5))
    streamed = Population.initialise(build, [Stream(0, "", "", seed, "init") for seed in (2, 3, 4)])
    assert torch.equal(population.vectors(), streamed.vectors())
    assert (population.seeds, streamed.seeds) == ((2, 3, 4), None)
    assert (population.select([2, 0]).seeds, streamed.select([2, 0]).seeds) == ((4, 2), None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"give seeds, such as range\(5\), or streams, one per member"),
        ({"streams": streams("init", 2), "seeds": range(2)}, "give streams or seeds, not both"),
        ({"streams": range(2)}, r"streams must be a Stream for each member, not range\(0, 2\): give .* as seeds"),
        ({"seeds": 5}, r"seeds must be whole numbers from 0, one per member, such as range\(5\), not 5"),
        ({"seeds": [0, -1]}, r"not \[0, -1\]"),
        ({"seeds": [True]}, r"not \[True\]"),
        ({"seeds": [0.5]}, r"not \[0.5\]"),
        ({"seeds": "12"}, "not '12'"),
        ({"seeds": []}, "at least one module"),
    ],
)
def test_streams_or_seeds_that_are_none_are_refused(arguments, message):
    with pytest.raises(SettingError, match=message):
        Population.initialise(lambda: MLP((3, 5, 2)), **arguments)


def test_what_cannot_be_stacked_is_named():
    with pytest.raises(SettingError, match="at least one module"):
        Population([])
    with pytest.raises(SettingError, match="ReLU has no parameters"):
        Population([nn.ReLU()])
    with pytest.raises(SettingError, match="module 1 does not have the parameters of module 0"):
        Population([MLP((3, 5, 2)), MLP((3, 4, 2))])
    with pytest.raises(SettingError, match="one type"):
        Population([nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double())])
    with pytest.raises(SettingError, match="module 1 is another network than module 0"):
        Population([MLP((1, 3, 1)), MLP((1, 3, 1), "tanh")])


@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
@pytest.mark.parametrize("samples", [1, 16, 50, 1000, 1003])
def test_evaluation_weighs_a_smaller_last_chunk_by_its_samples(engine, samples):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(samples, 6, generator=generator)
    labels = torch.randint(3, (samples,), generator=generator)
    population = Population.initialise(lambda: MLP((6, 8, 3)), streams("init", 3))
    evaluation = Evaluator(population, Samples(inputs, labels), CrossEntropy(), chunk=200, engine=engine)()
    for index in range(3):
        outputs = population.member(index)(inputs)
        expected = functional.cross_entropy(outputs, labels).item()
        assert evaluation.loss[index].item() == pytest.approx(expected, rel=1e-5)
        assert evaluation.accuracy[index].item() == pytest.approx((outputs.argmax(1) == labels).double().mean().item())


def test_evaluation_does_not_depend_on_the_neighbours():
    inputs, labels = torch.rand(70, 6), torch.randint(3, (70,))
    population = Population.initialise(lambda: MLP((6, 8, 3)), streams("init", 5))
    whole = Evaluator(population, Samples(inputs, labels), CrossEntropy())()
    for index in range(5):
        alone = Evaluator(population.select([index]), Samples(inputs, labels), CrossEntropy())()
        assert torch.equal(alone.loss, whole.loss[[index]])


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
@pytest.mark.parametrize("own", [False, True])
def test_evaluation_in_blocks_of_members_is_evaluation_at_once(engine, own, monkeypatch):
    inputs, labels = torch.randn(3, 45, 6), torch.randint(4, (3, 45))
    samples = Samples(inputs, labels, own_inputs=True, own_targets=True) if own else Samples(inputs[0], labels[0])
    population = Population.initialise(lambda: MLP((6, 8, 4)), streams("init", 3))
    whole = Evaluator(population, samples, CrossEntropy(), engine=engine, chunk=32)()
    monkeypatch.setattr(modules, "SAMPLES_AT_ONCE", 64)  # two members
    blocks = Evaluator(population, samples, CrossEntropy(), engine=engine, chunk=32)()
    torch.testing.assert_close(blocks.loss, whole.loss)
    assert torch.equal(blocks.accuracy, whole.accuracy)


@pytest.mark.parametrize("engine", ["vmap", "one-by-one"])
@pytest.mark.parametrize("mode", [True, False])
def test_training_and_evaluation_leave_the_mode_of_modules(engine, mode):
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).train(mode)
    module[1].train(not mode)
    population = Population([module])
    samples = Samples(torch.randn(40, 6), torch.randint(4, (40,)))
    Evaluator(population, samples, CrossEntropy(), engine=engine)()
    Training(population, samples, objective=CrossEntropy(), optimizer=SGD(0.1), engine=engine).run(1)
    assert [one.training for one in population.member(0).modules()] == [mode, mode, not mode, mode]


def test_a_chunk_has_a_sample():
    population = Population([MLP((6, 8, 3))])
    with pytest.raises(SettingError, match="chunk must be 1 sample or more, not 0"):
        Evaluator(population, Samples(torch.zeros(2, 6), torch.zeros(2).long()), CrossEntropy(), chunk=0)


def test_evaluation_of_own_values():
    inputs = torch.randn(2, 37, 1)
    population = Population.initialise(lambda: MLP((1, 8, 1)), streams("init", 2))
    samples = Samples(inputs, torch.sin(inputs), own_inputs=True, own_targets=True)
    evaluation = Evaluator(population, samples, MeanSquaredError())()
    assert evaluation.accuracy is None
    for index in range(2):
        expected = functional.mse_loss(population.member(index)(inputs[index]), torch.sin(inputs[index])).item()
        assert evaluation.loss[index].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("engine", ["auto", "vmap", "one-by-one"])
def test_predictions_are_the_members_outputs(engine):
    population = Population.initialise(lambda: MLP((2, 8, 3)), streams("init", 3))
    inputs = torch.randn(21, 2)
    outputs = predictions(population, inputs, engine=engine)
    assert outputs.shape == (3, 21, 3)
    for index in range(3):
        torch.testing.assert_close(outputs[index], population.member(index)(inputs).detach())


def test_streams_differ_in_every_part_of_their_name():
    names = [
        Stream(0, "e", "s", 0, "data"), Stream(1, "e", "s", 0, "data"), Stream(0, "f", "s", 0, "data"),
        Stream(0, "e", "t", 0, "data"), Stream(0, "e", "s", 1, "data"), Stream(0, "e", "s", 0, "init"),
        Stream(0, "es", "", 0, "data"),
    ]  # fmt: skip
    draws = {tuple(stream.numpy().integers(2**60, size=2).tolist()) for stream in names}
    assert len(draws) == len(names)
    stream = names[0]
    assert stream.numpy().random() == stream.numpy().random()
    assert stream.numpy(1).random() != stream.numpy(0).random()
    assert stream.torch_seed() != stream.torch_seed(1)


@given(st.lists(st.lists(st.integers(1, 7), max_size=3), min_size=1, max_size=5))
def test_layout_views_hold_every_number_once(shapes):
    layout = Layout.of((f"p{i}", torch.zeros(shape)) for i, shape in enumerate(shapes))
    flat = torch.arange(2 * layout.row, dtype=torch.float32).view(2, layout.row)
    views = layout.views(flat)
    assert [tuple(view.shape[1:]) for view in views.values()] == [tuple(shape) for shape in shapes]
    assert torch.equal(torch.cat([view.reshape(2, -1) for view in views.values()], dim=1), layout.vectors(flat))
    assert layout.vectors(flat).unique().numel() == 2 * layout.size
    assert all(slot.start % 16 == 0 for slot in layout.slots)
