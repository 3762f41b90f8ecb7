"""Rows about recordings: a training with the recorder and without."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

import ravine
from turns import Row, cost, same_bits

MSE = torch.nn.MSELoss()


def training_of(parameters: int, steps: int) -> Row:
    """A training of a layer of so many parameters, recorded as by default."""
    side = round(parameters**0.5)
    inputs, targets = torch.randn(2, 32, side, generator=torch.Generator().manual_seed(0))

    def train(recorded: bool) -> list[Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(side, side)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        with ravine.record(model, optimizer, MSE) if recorded else nullcontext():
            for _ in range(steps):
                optimizer.zero_grad()
                MSE(model(inputs), targets).backward()
                optimizer.step()
        return [*model.parameters()]

    def check() -> None:
        for one, other in zip(train(True), train(False), strict=True):
            same_bits(one.detach(), other.detach())

    name = f"record-1e{len(str(parameters)) - 1}"
    return Row(name, lambda: train(True), lambda: train(False), cost(1.05), check, turns=7)


RECORDING_ROWS = (training_of(10**5, 2000), training_of(10**6, 300), training_of(10**7, 40))
