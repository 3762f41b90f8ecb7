"""tanh by the kernel in copies that are evaluated: torch's bits, and torch itself for what the kernel does not know."""

from __future__ import annotations

import copy

import pytest
import torch

import ravine
from ravine._kernel.layers import make_tanh
from ravine._problem.compiled_tanh import FEWEST, compile_tanh
from ravine._problem.in_place import InPlace

needs_tanh = pytest.mark.skipif(make_tanh(torch.ones(1)) is None, reason="torch's own tanh is as fast here")


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.fixture
def calls(monkeypatch):
    """How often torch's own is called."""
    seen, torchs = [], torch.tanh
    monkeypatch.setattr(torch, "tanh", lambda *given, **how: seen.append(given[0].shape) or torchs(*given, **how))
    return seen


@needs_tanh
def test_known_numbers_take_the_kernel(calls):
    layer = torch.nn.Tanh()
    compile_tanh(layer)
    for shape in ((FEWEST,), (1000, 70), (3, 5, 7, 600), (200_001,)):
        numbers = 3 * drawn(*shape)
        expected = torch.nn.functional.tanh(numbers)
        calls.clear()
        found = layer(numbers)
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
        assert all(len(each) == 1 and each[0] < numbers.numel() / 4 for each in calls)  # those in doubt alone


@needs_tanh
def test_all_else_is_torchs(calls):
    layer, numbers = torch.nn.Tanh(), drawn(2, 64, 64)
    compile_tanh(layer)
    others = [numbers.double(), numbers[0, :2], numbers.mT, numbers.clone().requires_grad_()]
    for each in others:
        calls.clear()
        assert torch.equal(layer(each), each.tanh())
        assert calls == [each.shape]
    calls.clear()
    assert torch.equal(torch.vmap(layer)(numbers), numbers.tanh())
    assert len(calls) == 1
    loss = layer(others[3]).sum()
    loss.backward()
    assert others[3].grad is not None


@needs_tanh
def test_a_surface_has_the_bits_of_plain_calls_and_the_users_model_its_own_forward(calls):
    layers = [torch.nn.utils.skip_init(torch.nn.Linear, *sides) for sides in ((6, 80), (80, 1))]
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(drawn(*parameter.shape))
    data = drawn(100, 6), drawn(100, 1)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), data)
    plane = ravine.Plane.random(problem)
    calls.clear()
    land = ravine.surface(problem, plane=plane, points=7)
    assert all(len(each) == 1 for each in calls)
    place, other = InPlace(problem, "frozen"), copy.deepcopy(model)
    for x, row in zip(land[plane.axes[0]].values, land.surface.transpose(plane.axes[0], ...).values, strict=True):
        for y, value in zip(land[plane.axes[1]].values, row, strict=True):
            assert place.at(torch.from_numpy(plane.origin + x * plane.directions[0] + y * plane.directions[1])) == value
    with torch.no_grad():
        assert place.at(torch.nn.utils.parameters_to_vector(model.parameters()).double()) == (
            torch.nn.functional.mse_loss(other(data[0]), data[1]).item()
        )
    assert "forward" not in vars(model[1])


def test_a_layer_with_a_hook_or_another_class_is_left_alone():
    class Own(torch.nn.Tanh):
        def forward(self, given):
            return 2 * super().forward(given)

    hooked = torch.nn.Tanh()
    hooked.register_forward_hook(lambda *_: None)
    for each in (Own(), hooked):
        compile_tanh(each)
        assert "forward" not in vars(each)
