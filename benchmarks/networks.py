"""Rows about sweeps of small tanh networks, against a loop that records the parameters and the loss of each step."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import torch
import xarray as xr

import ravine
from turns import Goal, Row, counted_equal, faster, same_bits

SAMPLES = 64
MOMENTA = np.linspace(0, 0.9, 10)


def make_network(*widths: int) -> tuple[torch.nn.Sequential, torch.Tensor, torch.Tensor]:
    """Make a tanh network and data for it, from a fixed seed."""
    generator, chain = torch.Generator().manual_seed(0), list[torch.nn.Module]()
    for inputs, outputs in itertools.pairwise(widths):
        chain += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
    network = torch.nn.Sequential(*chain[:-1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    points = torch.randn(SAMPLES, widths[0], generator=generator)
    return network, points, points.prod(1, keepdim=True)


def sweep_of_networks(name: str, goal: Goal, widths: tuple[int, ...], steps: int, rates: Any) -> Row:
    network, points, heights = make_network(*widths)
    problem = ravine.Problem.of(network, torch.nn.MSELoss(), (points, heights))
    chosen = np.random.default_rng(0).choice(len(rates) * len(MOMENTA), size=20, replace=False)
    some = [{"lr": float(rates[k // 10]), "momentum": float(MOMENTA[k % 10])} for k in chosen]

    def ours() -> xr.Dataset:
        return ravine.sweep(problem, steps=steps, lr=rates, momentum=MOMENTA)

    def loop(settings: dict[str, float]) -> tuple[list[float], torch.Tensor]:
        """Positions are copied as tensors: thousands of numbers one by one would take longer."""
        model, criterion = copy.deepcopy(network), torch.nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), **settings)
        losses, positions = [], [torch.nn.utils.parameters_to_vector(model.parameters()).detach()]
        for _ in range(steps):
            optimizer.zero_grad()
            loss = criterion(model(points), heights)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            positions.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
        with torch.no_grad():
            losses.append(criterion(model(points), heights).item())
        return losses, torch.stack(positions)

    def theirs() -> list[Any]:
        return [loop(settings) for settings in some[:5]]

    def check() -> None:
        runs = ours()
        counted_equal(runs)
        for settings in some:
            losses, positions = loop(settings)
            run = runs.sel(settings)
            same_bits(run.loss, losses)
            same_bits(run.position, positions)

    return Row(name, ours, theirs, goal, check, scale=len(rates) * len(MOMENTA) / 5, turns=5)


NETWORK_ROWS = (
    sweep_of_networks("sweep-network", faster(7), (2, 64, 64, 1), 20, np.geomspace(1e-3, 1e-1, 100)),
    sweep_of_networks("sweep-network-small", faster(25), (2, 16, 1), 50, np.geomspace(1e-3, 1e-1, 200)),
)
