"""Losses evaluated in place: convolutions fused with their BatchNorm where nothing changes, and memory kept."""

from __future__ import annotations

import copy
import platform
import resource

import pytest
import torch
from torch import nn

import ravine
from ravine._problem.fuse import FusedConvolution
from ravine._problem.in_place import InPlace
from ravine._torch import keep_freed_memory

CE = nn.CrossEntropyLoss()


def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(30, 2, 9, 9, generator=generator), torch.randint(0, 3, (30,), generator=generator)


def network(**settings):
    """A network whose statistics are not those that it begins with, and neither are its norm's weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(2, 4, 3, **settings), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)]
        model = nn.Sequential(nn.Sequential(*layers), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        for norm in (layers[1], layers[4]):
            nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    with torch.no_grad():
        for _ in range(3):
            model(images()[0])
    return model


def fused_in(problem, statistics="frozen"):
    """Return how many are fused, and the largest relative difference from setting the parameters, at three places."""
    place, (inputs, targets) = InPlace(problem, statistics), images()
    model = problem.parts.model if problem.parts is not None else problem.loss.model
    fused = sum(isinstance(each, FusedConvolution) for each in _modules_of(place))
    plain, worst = copy.deepcopy(model).eval(), 0.0
    start = torch.cat([each.reshape(-1).double() for each in problem.start.values()])
    for share in (1.0, 0.5, -2.0):
        at = place.at(share * start)
        with torch.no_grad():
            for leaf, piece in zip(plain.parameters(), (share * start).split(place.sizes), strict=True):
                leaf.copy_(piece.view_as(leaf))
            worst = max(worst, abs(at / float(CE(plain(inputs), targets)) - 1))
    return fused, worst


def _modules_of(place):
    (model,) = (
        cell.cell_contents
        for name, cell in zip(place._of_batch.__code__.co_freevars, place._of_batch.__closure__, strict=True)
        if name == "model"
    )
    return model.modules()


@pytest.mark.parametrize("settings", [{}, {"bias": False, "stride": 2}, {"groups": 2, "padding": "same"}])
def test_the_loss_is_that_of_both(settings):
    model = network(**settings)
    before = copy.deepcopy(model.state_dict())
    fused, apart = fused_in(ravine.Problem.of(model, CE, images()))
    assert fused == 2
    assert apart < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(isinstance(each, FusedConvolution) for each in model.modules())


def test_recorded_statistics_are_followed():
    model = network()
    place = InPlace(ravine.Problem.of(model, CE, images()), "frozen")
    other = copy.deepcopy(model)
    other[0][1].running_mean += 0.3
    other[0][4].running_var *= 2
    at = place.at(torch.cat([each.detach().reshape(-1).double() for each in model.parameters()]))
    with place.with_buffers(dict(other.named_buffers())):
        there = place.value()
    inputs, targets = images()
    assert there == pytest.approx(float(CE(other.eval()(inputs), targets).detach()), rel=1e-6)
    assert place.value() == at != there


class Reads(nn.Module):
    """It knows its convolution by its place."""

    def __init__(self):
        super().__init__()
        self.layers = network()

    def forward(self, inputs):
        return self.layers(inputs) * (1 + self.layers[0][0].weight.mean())


def hooked():
    model = network()
    model[0][0].register_forward_hook(lambda layer, given, output: 2 * output)
    model[0][4].register_forward_pre_hook(lambda layer, given: (given[0] + 1,))
    return model


class Twice(nn.Module):
    """Its first norm stands at two places."""

    def __init__(self):
        super().__init__()
        self.layers = network()
        self.norm = self.layers[0][1]

    def forward(self, inputs):
        return self.layers(self.norm(inputs.repeat(1, 2, 1, 1))[:, :2])


@pytest.mark.parametrize(
    ("make", "fused"), [(Reads, 0), (hooked, 0), (Twice, 1), (lambda: network(padding_mode="circular", padding=1), 1)]
)
def test_what_cannot_be_fused_stays_as_it_is(make, fused):
    found, apart = fused_in(ravine.Problem.of(make(), CE, images()))
    assert found == fused
    assert apart < 1e-6


def test_statistics_of_the_data_and_train_mode_are_not_fused():
    model = network()
    assert not any(
        isinstance(each, FusedConvolution)
        for problem, statistics in (
            (ravine.Problem.of(model, CE, images()), "batch"),
            (ravine.Problem.of(model, CE, images(), mode="train"), "frozen"),
        )
        for each in _modules_of(InPlace(problem, statistics))
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has its own ways")
def test_memory_that_tensors_free_is_kept():
    keep_freed_memory()
    for _ in range(3):
        torch.ones(2 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2 << 20)
    pages = 2048  # of each; one or two of the ten may lie elsewhere
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5 * pages
