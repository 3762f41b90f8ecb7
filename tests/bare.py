"""The truth that ravine is held against: plain torch loops that share nothing with it."""

from __future__ import annotations

import copy

import numpy as np
import torch

SETTINGS = {
    "plain": {"lr": 0.1},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "weight decay": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 2.0},
    "dampening": {"lr": 0.1, "momentum": 0.9, "dampening": 0.8},
}
"""The five of the article, by the knob that each turns."""


def article_data():
    state = np.random.get_state()
    np.random.seed(20240215)
    x = np.array(np.random.randn(50), dtype=np.float32)
    y = np.array(0.75 * x**2 + 1.0 * x + 2.0 + 0.3 * np.random.randn(50), dtype=np.float32)
    np.random.set_state(state)
    return x, y


def article_neuron():
    model = torch.nn.Linear(1, 1)
    model.weight.data.fill_(6.0)
    model.bias.data.fill_(-3.0)
    return model


def train(model, criterion, inputs, targets, optimizer=torch.optim.SGD, steps=100, **settings):
    """Positions (steps + 1, parameters) and losses (steps + 1,) of a plain loop over a copy of the model."""
    model = copy.deepcopy(model)
    rule = optimizer(model.parameters(), **settings)
    positions, losses = [flat(model.parameters())], []
    for _ in range(steps):
        rule.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        rule.step()
        losses.append(loss.item())
        positions.append(flat(model.parameters()))
    losses.append(criterion(model(inputs), targets).item())
    return np.array(positions), np.array(losses)


def minimise(function, start, optimizer=torch.optim.SGD, steps=100, **settings):
    """The same for a function of named leaves."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    rule = optimizer(leaves.values(), **settings)
    positions, losses = [flat(leaves.values())], []
    for _ in range(steps):
        rule.zero_grad()
        loss = function(leaves)
        loss.backward()
        rule.step()
        losses.append(loss.item())
        positions.append(flat(leaves.values()))
    losses.append(function(leaves).item())
    return np.array(positions), np.array(losses)


def flat(parameters):
    return torch.cat([p.detach().reshape(-1) for p in parameters]).tolist()


def same_bits(one, other) -> bool:
    """Equal in every bit, NaN at the same places."""
    return np.array_equal(np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64), equal_nan=True)
