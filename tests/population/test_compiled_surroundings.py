"""Compiled training in its surroundings: memory that others own, signals, copies, forks, recorders, files."""

import copy
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest
import torch

from whydeep.networks import MLP
from whydeep.population import (
    SGD,
    Adam,
    AdamW,
    CrossEntropy,
    MeanSquaredError,
    Population,
    Recorder,
    Training,
    compiled,
    loss,
    weights,
)

OPTIMIZERS = (SGD(0.1), SGD(0.1, momentum=0.9), Adam(0.01), AdamW(0.01))


def started(optimizer=OPTIMIZERS[2], engine="compiled", data=None, objective=None, batch_size=None, members=2):
    generator = torch.Generator().manual_seed(0)
    inputs, classes = torch.randn(23, 6, generator=generator), torch.randint(4, (23,), generator=generator)
    return Training(
        Population.initialise(lambda: MLP((6, 9, 4)), seeds=range(members)),
        data or (inputs, classes),
        objective=objective or CrossEntropy(),
        optimizer=optimizer,
        batch_size=batch_size,
        engine=engine,
    )


def pickled(training):
    return pickle.loads(pickle.dumps(training))


@pytest.mark.parametrize(
    ("duplicate", "engine"), [(copy.deepcopy, "compiled"), (pickled, "compiled"), (copy.deepcopy, "stacked")]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_copy_trains_its_own_population(duplicate, engine, optimizer):
    training = started(optimizer, engine)
    training.run(3)
    before = training.population.flat.clone()
    other = duplicate(training)
    other.run(3)
    assert torch.equal(training.population.flat, before)
    training.run(3)
    assert torch.equal(other.population.flat, training.population.flat)
    assert not torch.equal(before, training.population.flat)


@pytest.mark.parametrize("engine", ["compiled", "stacked"])
def test_memory_that_moves_when_it_is_shared_is_trained(engine):
    shared, plain = started(engine=engine), started(engine=engine)
    for training in (shared, plain):
        training.run(3)
    for tensor in (shared.population.flat, shared.gradients, *shared.update.state.values()):
        tensor.share_memory_()
    for training in (shared, plain):
        training.run(3)
    assert torch.equal(shared.population.flat, plain.population.flat)


def test_inputs_and_values_may_require_gradients_and_classes_may_change_afterwards():
    inputs, values = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    started(data=(inputs, values), objective=MeanSquaredError()).run(1)
    started(data=(inputs.detach().to(torch.complex64).conj().imag, values), objective=MeanSquaredError()).run(1)
    classes = torch.zeros(5, dtype=torch.int64)
    training, other = (started(data=(inputs, given)) for given in (classes, classes.clone()))
    classes[:] = 10**9  # kernels would read and write far outside their memory
    for each in (training, other):
        each.run(3)
    assert torch.equal(training.population.flat, other.population.flat)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_infinite_bias_switches_a_unit_off(optimizer):
    training = started(optimizer)
    training.population.parameters["linear1.bias"][:, 0] = -math.inf
    module = training.population.member(0)
    training.run(5)
    if optimizer == SGD(0.1):
        reference = torch.optim.SGD(module.parameters(), 0.1)
        for _ in range(5):
            reference.zero_grad()
            torch.nn.functional.cross_entropy(module(training.samples.inputs), training.samples.targets).backward()
            reference.step()
        expected = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
        torch.testing.assert_close(training.population.vectors()[0], expected)
    assert training.losses.isfinite().all()
    assert (training.population.parameters["linear1.bias"][:, 0] == -math.inf).all()


def test_a_mean_of_many_squares_is_exact():
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(60_000, 6, generator=generator), torch.full((60_000, 4), 3.0)
    training = started(data=data, objective=MeanSquaredError())
    module = training.population.member(0).double()
    training.run(1)
    expected = torch.nn.functional.mse_loss(module(data[0].double()), data[1].double())
    assert training.losses[0].item() == pytest.approx(expected.item(), rel=5e-7)


class HalvingAdam(Adam):
    """Adam that halves all parameters after each step."""

    def start(self, parameters, gradients):
        update = super().start(parameters, gradients)
        step = update.step

        def step_and_halve(number):
            step(number)
            parameters.mul_(0.5)

        update.step = step_and_halve
        return update


def test_an_optimizer_that_steps_in_its_own_way_does_so():
    own, plain = started(HalvingAdam(0.01)), started(Adam(0.01))
    for training in (own, plain):
        training.run(1)
    assert torch.equal(own.population.flat, plain.population.flat * 0.5)


class Counting(Recorder):
    seen = 0

    def see(self, training):
        self.seen += 1
        super().see(training)


@pytest.mark.parametrize("measure", [loss, weights])
def test_a_recorder_that_sees_in_its_own_way_sees_every_step(measure):
    counting, plain = Counting(measure, {2, 3}), Recorder(loss)
    started().run(6, [counting, plain])
    assert (counting.seen, counting.steps, plain.steps) == (6, [2, 3], list(range(6)))


def test_recorders_are_asked_a_few_times_for_each_step():
    asked = []

    class Wanted:
        def __contains__(self, step):
            asked.append(step)
            return False

    started(batch_size=23).run(200, [Recorder(weights, Wanted())])  # every step is an epoch, and a call
    assert len(asked) <= 3 * 200


def test_recorded_losses_are_copies():
    recorder = Recorder(loss)
    training = started()
    training.run(3, [recorder])
    expected = recorder.values.clone()
    training.losses.zero_()
    assert torch.equal(recorder.values, expected)


def test_training_under_inference_mode_is_restored_outside():
    training = started()
    with torch.inference_mode():
        training.run(3)
    checkpoint = training.checkpoint()
    training.restore(checkpoint)
    training.run(1)
    assert training.step == 4


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_has_counted_the_steps_that_it_took(monkeypatch, threads, number):
    monkeypatch.setattr(compiled, "WORTH_THREADS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    whole, interrupted = started(), started()
    real, recorder = interrupted.engine.train, Recorder(loss)

    def train(*arguments):
        losses = real(*arguments)
        os.kill(os.getpid(), number)
        return losses

    monkeypatch.setattr(interrupted.engine, "train", train)
    handler = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted.run(7, [recorder])
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, handler)
    assert interrupted.step == interrupted.update.taken == len(recorder.steps) == 7
    whole.run(7)
    assert torch.equal(whole.population.flat, interrupted.population.flat)


def test_training_in_another_thread_is_the_same():
    whole, other = started(), started()
    thread = threading.Thread(target=other.run, args=(7,))
    thread.start()
    thread.join()
    whole.run(7)
    assert torch.equal(whole.population.flat, other.population.flat)


def test_training_in_several_threads_at_once_is_the_same():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(3000, 300, generator=generator), torch.randint(4, (3000,), generator=generator)

    def start():
        population = Population.initialise(lambda: MLP((300, 300, 4)), seeds=[0])
        return Training(population, data, objective=CrossEntropy(), optimizer=Adam(0.01), engine="compiled")

    alone, short, long = start(), start(), start()
    alone.run(6)
    threads = [threading.Thread(target=short.run, args=(3,)), threading.Thread(target=long.run, args=(6,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(alone.population.flat, long.population.flat)


def _train_on(training, expected):
    training.run(3)
    sys.exit(0 if torch.equal(training.population.flat, expected) else 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_THREADS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    training, other = started(), started()
    training.run(3)
    other.run(6)
    process = multiprocessing.get_context("fork").Process(target=_train_on, args=(training, other.population.flat))
    process.start()
    process.join(30)
    code = process.exitcode
    process.kill()
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["nbc", "nbi"])
def test_damaged_files_of_compiled_code_are_made_again(tmp_path, ending):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = "from whydeep.population import compiler as c; print(repr(c.compiler_problem()), c.arithmetic('cpu'))"

    def start():
        return subprocess.run(
            [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert start() == "'' compiled"
    for file in tmp_path.rglob(f"kernels.train-*.{ending}"):
        os.truncate(file, 100)
    assert start() == "'' compiled"
    assert start() == "'' compiled"
