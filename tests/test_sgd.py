"""The rule on tensors is held against torch.optim.SGD itself, bit for bit."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from ravine._engine.rules import sgd
from ravine._study import rule

pytestmark = pytest.mark.quick


def random_settings(random, runs):
    """Settings that torch takes, of every kind, divergent and useless ones too."""
    momentum = np.where(random.random(runs) < 0.3, 0.0, random.uniform(0.01, 1.1, runs))
    nesterov = (random.random(runs) < 0.4) & (momentum > 0)
    return {
        "lr": np.where(random.random(runs) < 0.05, 0.0, 10.0 ** random.uniform(-4, 2, runs)),
        "momentum": momentum,
        "dampening": np.where(nesterov | (random.random(runs) < 0.5), 0.0, random.uniform(-0.5, 1.2, runs)),
        "weight_decay": np.where(random.random(runs) < 0.5, 0.0, 10.0 ** random.uniform(-4, 2, runs)),
        "nesterov": nesterov,
        "maximize": random.random(runs) < 0.3,
    }


def same(one, other):
    return torch.equal(torch.nan_to_num(one, nan=-7.0), torch.nan_to_num(other, nan=-7.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("only", [None, "momentum", "weight_decay", "nesterov", "nothing"])
def test_each_run_is_torch_s(dtype, only):
    """Random gradients, some infinite or NaN, so that an operation too many would show."""
    random, runs, steps = np.random.default_rng(11), 300, 8
    columns = random_settings(random, runs)
    if only == "nothing":
        columns = {"lr": columns["lr"]}
    elif only is not None:  # every run has it: no run is left out anywhere
        columns[only] = np.maximum(columns[only], 0.1) if only != "nesterov" else np.ones(runs, dtype=bool)
        columns["momentum"] = np.maximum(columns["momentum"], 0.1)
        columns["dampening"] = np.zeros(runs) if only == "nesterov" else columns["dampening"]
    columns["dampening"] = np.where(columns.get("nesterov", False), 0.0, columns.get("dampening", np.zeros(runs)))
    generator = torch.Generator().manual_seed(3)
    gradients = torch.randn(steps, 3, runs, generator=generator, dtype=torch.float64).to(dtype)
    gradients[2, 0, ::7], gradients[4, 1, ::11], gradients[6, 2, ::13] = torch.inf, -torch.inf, torch.nan
    position = torch.randn(3, runs, generator=generator, dtype=torch.float64).to(dtype)
    expected = []
    for run in range(runs):
        leaf = position[:, run].clone().requires_grad_()
        rule = torch.optim.SGD([leaf], **{name: column[run].item() for name, column in columns.items()})
        for step in range(steps):
            leaf.grad = gradients[step, :, run].clone()
            rule.step()
        expected.append(leaf.detach())
    settings, velocity = sgd.settings_of(columns, runs, dtype), None
    for step in range(steps):
        position, velocity = sgd.step(position, gradients[step], velocity, settings)
    assert same(position, torch.stack(expected, dim=1))


def test_the_rule_changes_nothing_that_it_is_given():
    settings = sgd.settings_of({"lr": 0.1, "momentum": 0.9, "weight_decay": 1.0, "maximize": True}, 2, torch.float32)
    position, gradient = torch.ones(1, 2), torch.full((1, 2), 3.0)
    _, velocity = sgd.step(position, gradient, None, settings)
    kept = velocity.clone()
    sgd.step(position, gradient, velocity, settings)
    assert position.eq(1).all()
    assert gradient.eq(3).all()
    assert velocity.equal(kept)


def test_defaults_are_torch_s():
    torch_s = {n: p.default for n, p in inspect.signature(torch.optim.SGD).parameters.items() if n in rule.DEFAULTS}
    assert dict(rule.DEFAULTS) == torch_s
