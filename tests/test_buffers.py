"""Curvature with the buffers that a recording holds: against torch's own derivatives of a model that has them."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ravine


def make_network():
    kinds = torch.nn.BatchNorm1d(6), torch.nn.Tanh(), torch.nn.Dropout(0.2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 6), *kinds, torch.nn.Linear(6, 1))


@pytest.fixture(scope="module")
def recorded():
    inputs = 3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) + 1
    targets = inputs.prod(1, keepdim=True)
    model, criterion = make_network(), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    held = []
    with torch.random.fork_rng(), ravine.record(model, optimizer, criterion, every=1) as recorder:
        for _ in range(6):
            held.append(copy.deepcopy(model.state_dict()))
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()
        held.append(copy.deepcopy(model.state_dict()))
    return recorder.dataset(), held, inputs, targets


def facts_of(found):
    return json.loads(found["sharpness"].attrs["provenance"])


def largest(state, inputs, targets):
    """Return the largest eigenvalue of the whole Hessian, by torch, of the model as it was then."""
    model = make_network().double().eval()
    model.load_state_dict(state)
    names, leaves = zip(*model.named_parameters(), strict=True)
    sizes = [each.numel() for each in leaves]

    def loss(vector):
        pieces = [piece.view(leaf.shape) for piece, leaf in zip(torch.split(vector, sizes), leaves, strict=True)]
        output = torch.func.functional_call(model, dict(zip(names, pieces, strict=True)), (inputs.double(),))
        return torch.nn.functional.mse_loss(output, targets.double())

    flat = torch.cat([each.detach().reshape(-1) for each in leaves])
    return float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[-1])


@pytest.mark.parametrize("which", ["the trained model", "a fresh one", "batches"])
def test_curvature_is_that_of_each_steps_own_buffers(recorded, which):
    run, held, inputs, targets = recorded
    model = make_network()
    if which == "the trained model":
        model.load_state_dict(held[-1])
    data = (inputs, targets)
    if which == "batches":
        data = DataLoader(TensorDataset(*data), batch_size=15)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), data)
    expected = [largest(state, inputs, targets) for state in held]
    found = ravine.eigenvalues(problem, run)
    assert np.allclose(found.sharpness, expected, rtol=1e-6)
    assert facts_of(found)["buffers"] == "those of each step"
    some = ravine.sharpness(problem, run, steps=[0, 3, 6])
    assert np.allclose(some[[0, 3, 6]], np.array(expected)[[0, 3, 6]], rtol=1e-6)
    before = model.state_dict()
    assert all(torch.equal(each, before[name]) for name, each in problem.parts.model.state_dict().items())


def test_without_a_recording_they_are_the_problems_and_that_is_said(recorded):
    run, held, inputs, targets = recorded
    model = make_network()
    model.load_state_dict(held[-1])
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (inputs, targets))
    found = ravine.eigenvalues(problem, run.drop_vars(["buffers", "buffer"]), steps=[0, 6])
    assert facts_of(found)["buffers"] == "those of the problem's model"
    assert np.isclose(found.sharpness[6], largest(held[-1], inputs, targets), rtol=1e-6)
    mixed = {**held[0], **{name: each for name, each in held[-1].items() if "running" in name}}
    assert np.isclose(found.sharpness[0], largest(mixed, inputs, targets), rtol=1e-6)
    plain = ravine.gallery.rosenbrock()
    assert "buffers" not in facts_of(ravine.eigenvalues(plain, ravine.descend(plain, lr=1e-3, steps=2)))
