"""Hooks that torch calls with every module: what is written out or compiled steps aside, and nothing is remembered."""

from __future__ import annotations

import functools
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
)
from torch.optim.optimizer import register_optimizer_step_pre_hook

import ravine
from ravine._problem.cross_entropy import is_cross_entropy
from ravine._problem.neuron import is_neuron
from ravine._torch import is_plain


@pytest.fixture(autouse=True)
def forked(untouched):
    """What these tests draw themselves is nobody else's."""
    with torch.random.fork_rng():
        yield


X = torch.linspace(-1, 1, 20)[:, None]


def neuron():
    problem = ravine.Problem.of(torch.nn.Linear(1, 1), torch.nn.MSELoss(), (X, 3 * X + 1))
    return problem.starting_at({"weight": [[0.5]], "bias": [0.1]})


def curved():
    """Two parameters, and a minimum that has to be searched for."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Softplus())
    return ravine.Problem.of(model, torch.nn.MSELoss(), (X, (3 * X + 4) / 7 + 0.5))


def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    return ravine.Problem.of(model, torch.nn.MSELoss(), (X, 3 * X + 1))


def classifier():
    """Batches that are joined: cross entropy with the classes first, tanh by the kernel, a first layer followed."""
    inputs, labels = torch.randn(600, 16, generator=torch.Generator().manual_seed(0)), torch.arange(600) % 10
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=50)
    return ravine.Problem.of(model, torch.nn.CrossEntropyLoss(), loader)


def over_plane(problem):
    return ravine.surface(problem, plane=ravine.Plane.random(problem, seed=0), points=7).surface


def over_parameters(problem):
    return ravine.surface(problem, points=21, **dict.fromkeys(problem.labels, (-1, 2))).surface


def swept(problem, runs=4):
    return ravine.sweep(problem, lr=np.linspace(0.01, 0.1, runs), steps=20).loss


def landmarks(problem):
    found = ravine.landmarks(problem)
    return np.concatenate([found[name].values.reshape(-1) for name in ("minimizer", "minimum_loss", "hessian")])


def sweep_of(optimizer, **more):
    return ravine.sweep(neuron(), optimizer, lr=np.linspace(0.01, 0.1, 4), steps=20, **more)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_what_is_hung_onto_all_optimizers_is_called_at_each_step(optimizer):
    """Rules, and torch's bare step beside them, would both leave it out, and agree."""

    def push(rule, args, kwargs):
        for group in rule.param_groups:
            for each in group["params"]:
                each.grad.add_(1.0)

    plain = sweep_of(optimizer)
    handle = register_optimizer_step_pre_hook(push)
    try:
        hooked, by_torch = sweep_of(optimizer), sweep_of(optimizer, engine="torch")
        with ProcessPoolExecutor(1) as pool, pytest.raises(ValueError, match="on all modules or optimizers"):
            sweep_of(optimizer, executor=pool)
    finally:
        handle.remove()
    assert np.array_equal(hooked.loss, by_torch.loss)
    assert not np.array_equal(hooked.loss, plain.loss)
    assert np.array_equal(sweep_of(optimizer).loss, plain.loss)


def test_a_step_that_somebody_wrapped_is_not_torchs(monkeypatch):
    step = torch.optim.SGD.step

    @functools.wraps(step)
    def twice(self, closure=None):
        step(self)
        return step(self)

    plain = sweep_of(torch.optim.SGD)
    monkeypatch.setattr(torch.optim.SGD, "step", twice)
    wrapped = sweep_of(torch.optim.SGD)
    assert np.array_equal(wrapped.loss, sweep_of(torch.optim.SGD, engine="torch").loss)
    assert not np.array_equal(wrapped.loss, plain.loss)


CALLS = {
    "surface": (neuron, over_parameters),
    "landmarks of a regression": (neuron, landmarks),
    "sweep": (neuron, swept),
    "sweep of a thousand": (neuron, lambda problem: swept(problem, 1200)),
    "surface by vmap": (curved, over_parameters),
    "landmarks": (curved, landmarks),
    "sweep of a network": (network, swept),
    "plane": (network, over_plane),
    "plane of joined batches": (classifier, over_plane),
}


@pytest.mark.parametrize("kind", [torch.nn.Linear, torch.nn.modules.loss._Loss], ids=["layer", "criterion"])
@pytest.mark.parametrize("name", CALLS)
def test_outputs_that_a_hook_on_all_modules_changes_are_seen_and_never_remembered(name, kind):
    make, call = CALLS[name]

    def double(module, inputs, output):
        return 2 * output if isinstance(module, kind) else None

    problem = make()
    plain = np.array(call(problem))
    with register_module_forward_hook(double):
        hooked, fresh = np.array(call(problem)), np.array(call(make()))
    assert np.array_equal(hooked, fresh, equal_nan=True)
    assert not np.array_equal(hooked, plain, equal_nan=True)
    if kind is not torch.nn.Linear and name.startswith(("surface", "plane")):
        assert np.allclose(hooked, 2 * plain, rtol=1e-5)
    assert np.array_equal(plain, np.array(call(problem)), equal_nan=True)


def test_a_surface_under_such_a_hook_is_torchs_in_every_bit():
    problem, model, criterion = neuron(), torch.nn.Linear(1, 1), torch.nn.MSELoss()
    with register_module_forward_hook(lambda module, inputs, output: output + 0.1):
        land = ravine.surface(problem, weight=(-1, 2), bias=(-1, 2), points=9)
        for weight, bias in ((0, 0), (3, 5), (8, 8)):
            with torch.no_grad():
                model.weight.fill_(float(land.weight[weight]))
                model.bias.fill_(float(land.bias[bias]))
                loss = criterion(model(X), 3 * X + 1).item()
            assert land.surface.isel(weight=weight, bias=bias).item() == loss


@pytest.mark.parametrize(
    "register",
    [register_module_forward_hook, register_module_forward_pre_hook, register_module_full_backward_hook],
)
def test_no_module_is_plain_under_any_of_them(register):
    problem, layer, criterion = neuron(), torch.nn.Linear(1, 1), torch.nn.CrossEntropyLoss()
    with register(lambda *given: None):
        assert not is_plain(layer)
        assert not is_neuron(problem)
        assert not is_cross_entropy(criterion)
    assert is_plain(layer)
    assert is_neuron(problem)
    assert is_cross_entropy(criterion)


def test_a_script_cannot_have_them():
    with register_module_forward_hook(lambda module, inputs, output: 2 * output):
        run = ravine.descend(neuron(), lr=0.05, steps=3)
    with pytest.raises(ValueError, match="has hooks"):
        ravine.code(run)


def test_other_processes_would_not_have_them():
    problem = curved()
    spots = dict.fromkeys(problem.labels, (-1, 2))
    with ProcessPoolExecutor(1) as pool, register_module_forward_hook(lambda *given: None):  # no worker is started
        for call in (
            lambda: ravine.surface(problem, executor=pool, **spots),
            lambda: ravine.surface(problem, plane=ravine.Plane.random(problem, seed=0), executor=pool),
            lambda: ravine.sweep(problem, lr=[0.01, 0.02], executor=pool),
        ):
            with pytest.raises(ValueError, match="hooks on all modules or optimizers here.*leave executor out"):
                call()
