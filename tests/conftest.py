import signal

import pytest
import torch
from hypothesis import settings

from whydeep.population.compiler import compiler_problem

settings.register_profile("any machine", settings.default, deadline=None)  # how long an example takes is not tested
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Equal bits are promised on one thread, as workers have it."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def compiled():
    """What is compiled is, before a test looks at what a command says."""
    assert compiler_problem() == ""


@pytest.fixture(autouse=True)
def same_draws():
    """What a test draws without a generator of its own, such as the weights of a module, is the same every time."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """A shell has its background jobs ignore interrupts; the commands that tests interrupt must not inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
