"""Loops: the ways to compare with, the article's and plain torch's, and the problems they share with ravine."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import torch
from matplotlib import pyplot as plt

import ravine

LOW, HIGH = -5.0, 8.0
PROBLEMS = ravine.gallery.article()
MSE = PROBLEMS["MSELoss"]
assert MSE.parts is not None
INPUTS, TARGETS = MSE.parts.inputs, MSE.parts.targets
X, Y = INPUTS[:, 0].numpy(), TARGETS[:, 0].numpy()


def loop_surface(criterion: torch.nn.Module, points: int, rows: Iterable[int]) -> list[list[float]]:
    """Evaluate rows of the grid as the article does: one call of the criterion and one number at a time."""
    x, y, last = torch.from_numpy(X), torch.from_numpy(Y), float(points - 1)
    losses = []
    for row in rows:
        losses.append([0.0] * points)
        for column in range(points):
            weight = LOW + (HIGH - LOW) * row / last
            bias = LOW + (HIGH - LOW) * column / last
            losses[-1][column] = criterion(x * weight + bias, y).item()
    return losses


def bare_loop(steps: int, **settings: Any) -> tuple[float, list[float]]:
    """Train and record nothing; return the last loss that was read and the last position."""
    model, criterion = new_neuron(), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    seen = 0.0
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(INPUTS), TARGETS)
        loss.backward()
        optimizer.step()
        seen = loss.item()
    return seen, [model.weight.item(), model.bias.item()]


def article_descent(steps: int, **settings: Any) -> tuple[list[float], list[list[float]]]:
    """Train as the article does: data wrapped anew at each step, loss and position read off as numbers."""
    model, criterion = new_neuron(), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    losses, positions = [], [[model.weight.item(), model.bias.item()]]
    for _ in range(steps):
        inputs = torch.from_numpy(X).requires_grad_().reshape(-1, 1)
        targets = torch.from_numpy(Y).reshape(-1, 1)
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        positions.append([model.weight.item(), model.bias.item()])
    return losses, positions


def article_picture() -> None:
    """Surface, descent and picture as in the article, with pyplot."""
    losses = loop_surface(torch.nn.MSELoss(), 101, range(101))
    _, positions = article_descent(100, momentum=0.9)
    weights, biases = zip(*positions, strict=True)
    figure, ax = plt.subplots()
    ax.set_xlabel("Bias")
    ax.set_ylabel("Weight")
    image = ax.imshow(losses[::-1], cmap="terrain", interpolation="nearest", extent=(LOW, HIGH, LOW, HIGH))
    ax.scatter(biases, weights, c="r", marker="+")
    ax.plot(biases, weights, c="r")
    figure.colorbar(image)
    figure.savefig(io.BytesIO(), format="png")
    plt.close(figure)


def recorded_loop(
    steps: int,
    dtype: torch.dtype,
    kind: type[torch.optim.Optimizer] = torch.optim.SGD,
    make_schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    **settings: Any,
) -> tuple[list[float], list[list[float]]]:
    """Train and read loss and position off as numbers at each step; the loss at the last position too."""
    model, criterion = new_neuron().to(dtype), torch.nn.MSELoss()
    inputs, targets = INPUTS.to(dtype), TARGETS.to(dtype)
    optimizer = kind(model.parameters(), **settings)
    schedule = None if make_schedule is None else make_schedule(optimizer)
    losses, positions = [], [[model.weight.item(), model.bias.item()]]
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(loss.item())
        positions.append([model.weight.item(), model.bias.item()])
    with torch.no_grad():
        losses.append(criterion(model(inputs), targets).item())
    return losses, positions


def new_neuron() -> torch.nn.Linear:
    model = torch.nn.Linear(1, 1)
    model.weight.data.fill_(6.0)
    model.bias.data.fill_(-3.0)
    return model
