import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Equal bits are promised on one thread, as workers have it."""
    torch.set_num_threads(1)
