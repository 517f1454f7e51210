"""Slow, obvious training of one network with plain PyTorch, to compare populations with."""

import torch
from torch import nn

from whydeep.population import Stream


def streams(purpose, members, first=0):
    return [Stream(0, "test", "", seed, purpose) for seed in range(first, first + members)]


def initial_module(build, stream, dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream.torch_seed())
        return build().to(dtype)


def train_plain(
    module, inputs, targets, loss, optimizer, steps, batch_size=None, order=None, scheduler=None, clip=None
):
    """Train with an ordinary loop; returns the loss before each step."""
    history = []
    samples = len(inputs)
    per_epoch = -(-samples // batch_size) if batch_size else 1
    for step in range(steps):
        epoch, place = divmod(step, per_epoch)
        chosen = torch.arange(samples)
        if batch_size:
            permutation = torch.from_numpy(order.numpy(epoch).permutation(samples))
            chosen = permutation[place * batch_size : (place + 1) * batch_size]
        optimizer.zero_grad()
        value = loss(module(inputs[chosen]), targets[chosen])
        value.backward()
        if clip:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        if scheduler:
            scheduler.step()
        history.append(value.detach())
    return torch.stack(history)


def vector(module: nn.Module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
