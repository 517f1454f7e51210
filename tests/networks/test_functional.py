"""Modules as functions of named parameters and buffers."""

from types import MethodType

import pytest
import torch
from torch import nn

from whydeep.errors import SettingError
from whydeep.networks.functional import call, copied, named_views, vectorised


@pytest.mark.parametrize("leading", [(), (4,), (4, 2)])
def test_views_share_memory_with_the_vectors(leading):
    vectors = torch.arange(9.0).expand(*leading, 9).clone()
    views = named_views(vectors, {"weight": (2, 3), "scale": (), "bias": (2,)})
    assert {name: view.shape for name, view in views.items()} == {
        "weight": (*leading, 2, 3), "scale": leading, "bias": (*leading, 2)
    }  # fmt: skip
    assert torch.equal(torch.cat([view.reshape(*leading, -1) for view in views.values()], -1), vectors)
    views["bias"].fill_(-1)
    assert bool((vectors[..., 7:] == -1).all())


def test_views_start_where_they_are_told():
    views = named_views(torch.arange(8.0), {"a": (2,), "b": (1, 2)}, starts=[0, 4])
    assert views["a"].tolist() == [0, 1]
    assert views["b"].tolist() == [[4, 5]]


def test_vectors_need_not_be_contiguous():
    across = torch.arange(12.0).view(6, 2).mT
    assert named_views(across, {"weight": (2, 3)})["weight"][1].tolist() == [[1, 3, 5], [7, 9, 11]]


def test_buffers_that_are_given_stay_as_they_are():
    norm = nn.BatchNorm1d(3)
    parameters, buffers = dict(norm.named_parameters()), dict(norm.named_buffers())
    outputs, after = call(norm, parameters, buffers, torch.randn(5, 3))
    assert outputs.shape == (5, 3)
    assert not torch.equal(after["running_mean"], buffers["running_mean"])
    assert not buffers["running_mean"].any()


def test_what_cannot_be_vectorised_is_said_in_one_line():
    line = r"Linear cannot be computed for all members at once \(why\): give engine="
    with pytest.raises(SettingError, match=line), vectorised(nn.Linear(1, 1), "members"):
        raise RuntimeError("\nwhy\nand a trace")


def with_closure(net):
    before = net.forward
    net.forward = lambda inputs: 2 * before(inputs)


def with_default(net):
    net.forward = lambda inputs, layer=net[0]: layer(inputs)


def with_method(net):
    before = net.forward
    net.forward = MethodType(lambda self, inputs: before(inputs), net)


@pytest.mark.parametrize("alter", [with_closure, with_default, with_method])
def test_a_copy_that_would_compute_with_another_modules_parameters_is_refused(alter):
    net = nn.Sequential(nn.Linear(2, 2))
    alter(net)
    with pytest.raises(SettingError, match="put in place of that of Sequential refers to a module"):
        copied(net)


def test_copies_with_a_forward_of_their_own_compute_with_their_own_parameters():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net.forward = MethodType(lambda self, inputs: 3 * self[0](inputs), net)
    net[1].forward = torch.sin
    copy = copied(net)
    with torch.no_grad():
        copy[0].weight.zero_()
        copy[0].bias.fill_(1)
    assert copy(torch.ones(1, 2)).tolist() == [[3, 3]]
