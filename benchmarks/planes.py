"""Rows about planes of networks: set-and-evaluate loops, a loader read at each point, and singular values."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import ravine
from turns import Row, apart, faster

CE = torch.nn.CrossEntropyLoss()
POINTS = 41


def digits(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make data of the size of scikit-learn's digits."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1797, *shape, generator=generator), torch.randint(0, 10, (1797,), generator=generator)


def perceptron() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))


def convolutional() -> torch.nn.Module:
    layers = [torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
    layers += [torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(64, 10))


def set_and_evaluate(
    model: torch.nn.Module, plane: ravine.Plane, batches: Iterable[Any], places: list[tuple[float, float]]
) -> list[float]:
    """Write each point into the parameters and call the model on each batch, as a plain loop does."""
    model.eval()
    leaves = list(model.parameters())
    sizes = [leaf.numel() for leaf in leaves]
    origin, first, second = (torch.from_numpy(each).float() for each in (plane.origin, *plane.directions))
    found = []
    for x, y in places:
        with torch.no_grad():
            for leaf, piece in zip(leaves, (origin + x * first + y * second).split(sizes), strict=True):
                leaf.copy_(piece.view_as(leaf))
            whole, count = 0.0, 0
            for inputs, targets in batches:
                whole, count = whole + float(CE(model(inputs), targets)) * len(targets), count + len(targets)
        found.append(whole / count)
    return found


def surface_of(name: str, make: Any, shape: tuple[int, ...], times: float, points: int, *, loader: bool = False) -> Row:
    torch.manual_seed(0)
    model, data = make(), digits(*shape)
    reader = DataLoader(TensorDataset(*data), 128)
    batches: Iterable[Any] = reader if loader else list(reader)
    problem = ravine.Problem.of(model, CE, reader)
    plane = ravine.Plane.random(problem)
    axis = np.linspace(-1, 1, points).tolist()
    few = [(x, y) for y in axis for x in axis][:: max(1, points**2 // 24)]

    def ours() -> xr.Dataset:
        return ravine.surface(problem, plane=plane, points=points)

    theirs = functools.partial(set_and_evaluate, model, plane, batches, few)

    def check() -> None:
        land = ours().surface
        found = [float(land.sel({plane.axes[0]: x, plane.axes[1]: y}, method="nearest")) for x, y in few]
        if apart(found, theirs()) > 1e-6:
            raise AssertionError(f"{apart(found, theirs()):.1e} off")

    return Row(name, ours, theirs, faster(times), check, scale=points**2 / len(few), equal="closely")


def interpolated() -> Row:
    """A plane through a path of the perceptron: the grid read off a polynomial, and each point evaluated."""
    torch.manual_seed(0)
    model, (inputs, targets) = perceptron(), digits(64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with ravine.record(model, optimizer, CE, every=2) as recorder:
        for _ in range(60):
            optimizer.zero_grad()
            CE(model(inputs), targets).backward()
            optimizer.step()
    problem = ravine.Problem.of(model, CE, DataLoader(TensorDataset(inputs, targets), 128))
    plane = ravine.Plane.pca(recorder.dataset())

    def ours() -> xr.Dataset:
        return ravine.surface(problem, plane=plane, points=POINTS, accuracy="fast")

    def theirs() -> xr.Dataset:
        return ravine.surface(problem, plane=plane, points=POINTS)

    def check() -> None:
        exact = theirs().surface
        off = float(abs(ours().surface - exact).max() / np.ptp(exact.values))
        if off > 1e-4:
            raise AssertionError(f"{off:.1e} of the range off")

    return Row("plane-fast", ours, theirs, faster(10), check, equal="closely", turns=5)


def plane_of_a_path() -> Row:
    """One run of 128 positions of 100,000 parameters."""
    chance = np.random.default_rng(0)
    positions = chance.standard_normal((128, 100_000)).cumsum(axis=0).astype(np.float32)
    run = xr.Dataset({"position": (("step", "parameter"), positions)}, {"step": np.arange(128)})

    def ours() -> ravine.Plane:
        return ravine.Plane.pca(run)

    def theirs() -> Any:
        middle = positions.astype(np.float64)
        middle -= middle.mean(axis=0)
        return np.linalg.svd(middle, full_matrices=False)[2][:2]

    def check() -> None:
        for one, other in zip(ours().directions, theirs(), strict=True):
            if abs(abs(one @ other) - 1) > 1e-6:
                raise AssertionError(f"cosine {one @ other}")

    return Row("plane-of-a-path", ours, theirs, faster(2.5), check, equal="closely")


PLANE_ROWS = (
    surface_of("plane-perceptron", perceptron, (64,), 1.8, POINTS),
    surface_of("plane-perceptron-loader", perceptron, (64,), 15, POINTS, loader=True),
    surface_of("plane-convolutional", convolutional, (1, 8, 8), 1.4, 11),
    interpolated(),
    plane_of_a_path(),
)
