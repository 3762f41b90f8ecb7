"""Rows about sweeps on mini-batches, against a recording loop over torch's DataLoader."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import ravine
from loops import INPUTS, MSE, TARGETS, new_neuron
from turns import Goal, Row, counted_equal, faster, same_bits

BATCH_SIZE = 16
"""Samples of a batch, of 50: the last of an epoch has two."""

RATES = np.geomspace(1e-3, 0.3, 100)


def loop_on_batches(steps: int, seed: int, **settings: Any) -> tuple[list[float], list[float], list[list[float]]]:
    """Train, and read the loss over all data, that of the batch and the position off at each step."""
    model, criterion = new_neuron(), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), **settings)
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), BATCH_SIZE, shuffle=True, generator=generator)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    losses, seen, positions = [], [], [[model.weight.item(), model.bias.item()]]
    for inputs, targets in itertools.islice(batches, steps):
        with torch.no_grad():
            losses.append(criterion(model(INPUTS), TARGETS).item())
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
        positions.append([model.weight.item(), model.bias.item()])
    with torch.no_grad():
        losses.append(criterion(model(INPUTS), TARGETS).item())
    return losses, seen, positions


def sweep_on_batches(name: str, goal: Goal, momenta: Any, seeds: list[int] | None = None) -> Row:
    """Runs that share ten seeds, or that have seeds of their own."""
    swept = {} if seeds is None else {"seed": seeds}
    count = len(RATES) * len(momenta) * len(seeds or [0])
    chosen = np.random.default_rng(0).choice(count, size=50, replace=False).tolist()

    def ours() -> xr.Dataset:
        return ravine.sweep(MSE, lr=RATES, momentum=momenta, batch_size=BATCH_SIZE, **swept)

    @functools.cache
    def some() -> xr.Dataset:
        return ours().stack(run=("lr", "momentum", *swept)).isel(run=chosen)

    def of_run(run: xr.Dataset) -> tuple[list[float], list[float], list[list[float]]]:
        return loop_on_batches(100, int(run.seed), lr=float(run.lr), momentum=float(run.momentum))

    def theirs() -> list[Any]:
        return [of_run(some().isel(run=k)) for k in range(5)]

    def check() -> None:
        counted_equal(some())
        for run in (some().isel(run=k) for k in range(len(chosen))):
            losses, seen, positions = of_run(run)
            same_bits(run.loss, losses)
            same_bits(run.batch_loss[:-1], seen)
            same_bits(run.position, positions)

    return Row(name, ours, theirs, goal, check, scale=count / 5, turns=5)


BATCH_ROWS = (
    sweep_on_batches("sweep-batches", faster(1000), np.linspace(0, 0.99, 10), list(range(10))),
    sweep_on_batches("sweep-batches-seeds", faster(50), np.linspace(0, 0.99, 100)),
)
