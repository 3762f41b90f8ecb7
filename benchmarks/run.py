"""Ratios of CPU time, each measured side by side in this one run; README.md tells what and how."""

from __future__ import annotations

import argparse
import gc
import io
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import torch
import xarray as xr
from matplotlib import pyplot as plt
from rich.console import Console
from rich.progress import track
from rich.table import Table

import ravine

TURNS = 11
"""Turns of each side, one after the other: A B A B …"""

TURN = 0.05
"""CPU seconds that a turn lasts at least; a short call is repeated within it."""

LOW, HIGH = -5.0, 8.0
PROBLEMS = ravine.gallery.article()
MSE = PROBLEMS["MSELoss"]
assert MSE.parts is not None
INPUTS, TARGETS = MSE.parts.inputs, MSE.parts.targets
X, Y = INPUTS[:, 0].numpy(), TARGETS[:, 0].numpy()


@dataclass(frozen=True)
class Goal:
    """How many times faster ravine should at least be, or which share of the cost it may at most have."""

    kind: Literal["theirs / ravine", "ravine / theirs"]
    bound: float | None = None

    def ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.kind == "theirs / ravine" else ours / theirs

    def met(self, ratio: float) -> bool | None:
        if self.bound is None:
            return None
        return ratio >= self.bound if self.kind == "theirs / ravine" else ratio <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.kind == "theirs / ravine" else "<="
        return "" if self.bound is None else f"{sign} {self.bound:g}"


def faster(times: float) -> Goal:
    return Goal("theirs / ravine", times)


def cost(share: float | None = None) -> Goal:
    return Goal("ravine / theirs", share)


@dataclass(frozen=True)
class Row:
    """Two ways to the same numbers; `check` raises where they are not equal in every bit.

    `scale` is how often the work that `theirs` does goes into the work that `ours` does.
    """

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    goal: Goal
    check: Callable[[], None]
    scale: float = 1.0


# -- the ways to compare with ----------------------------------------------------------------------------------


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


def new_neuron() -> torch.nn.Linear:
    model = torch.nn.Linear(1, 1)
    model.weight.data.fill_(6.0)
    model.bias.data.fill_(-3.0)
    return model


# -- the rows --------------------------------------------------------------------------------------------------


def surface_of_four() -> Row:
    criteria = (torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss())

    def ours() -> xr.Dataset:
        return ravine.surface(PROBLEMS, bias=(LOW, HIGH), weight=(LOW, HIGH))

    def theirs() -> list[list[list[float]]]:
        return [loop_surface(criterion, 101, range(101)) for criterion in criteria]

    return Row("surface-101", ours, theirs, faster(250), lambda: same_bits(ours().surface, theirs()))


def surface_of_a_million() -> Row:
    points = 1001
    rows = np.random.default_rng(0).choice(points, size=5, replace=False).tolist()

    def ours() -> xr.Dataset:
        return ravine.surface(MSE, bias=(LOW, HIGH), weight=(LOW, HIGH), points=points)

    def theirs() -> list[list[float]]:
        return loop_surface(torch.nn.MSELoss(), points, rows)

    def check() -> None:
        same_bits(ours().surface[rows], theirs())

    return Row("surface-1001", ours, theirs, faster(600), check, scale=points / len(rows))


def descent_of(name: str, steps: int, goal: Goal, also: Sequence[str] = (), **settings: Any) -> Row:
    def ours() -> xr.Dataset:
        return ravine.descend(MSE, steps=steps, also=also, lr=0.1, **settings)

    def theirs() -> tuple[float, list[float]]:
        return bare_loop(steps, **settings)

    def check() -> None:
        run, (loss, position) = ours(), theirs()
        same_descent(run, steps, **settings)
        same_bits(run.loss[-2], loss)
        same_bits(run.position[-1], position)
        for at in range(0, steps, 10) if also else ():
            gradient, velocity = state_after(at, **settings)
            same_bits(run.gradient[at], gradient)
            same_bits(run.velocity[at], velocity)

    return Row(name, ours, theirs, goal, check)


def picture_in(style: str) -> Row:
    def ours() -> None:
        runs = ravine.descend(MSE, steps=100, lr=0.1, momentum=0.9)
        land = ravine.surface(MSE, bias=(LOW, HIGH), weight=(LOW, HIGH))
        ravine.plot.descent(runs, land, style=style).savefig(io.BytesIO(), format="png")

    def check() -> None:
        same_descent(ravine.descend(MSE, steps=100, lr=0.1, momentum=0.9), 100, momentum=0.9)
        land = ravine.surface(MSE, bias=(LOW, HIGH), weight=(LOW, HIGH))
        same_bits(land.surface, loop_surface(torch.nn.MSELoss(), 101, range(101)))

    return Row(f"png-{style}", ours, article_picture, cost(0.45 if style == "ravine" else None), check)


ROWS = (
    surface_of_four(),
    surface_of_a_million(),
    descent_of("descend-100", 100, cost(1.5)),
    descent_of("descend-1000", 1000, cost(1.5)),
    descent_of("descend-also", 100, cost(), also=("gradient", "velocity"), momentum=0.9),
    picture_in("ravine"),
    picture_in("article"),
)


def same_bits(ours: Any, theirs: Any) -> None:
    one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)  # float64 holds each float32
    if one.shape != other.shape or one.tobytes() != other.tobytes():
        raise AssertionError(f"not equal in every bit:\n{one}\n{other}")


def same_descent(run: xr.Dataset, steps: int, **settings: Any) -> None:
    losses, positions = article_descent(steps, **settings)
    same_bits(run.loss[:-1], losses)
    same_bits(run.position, positions)


def state_after(steps: int, **settings: Any) -> tuple[list[float], list[float]]:
    """Gradient and velocity at one position, as torch holds them after that many steps."""
    model, criterion = new_neuron(), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(model(INPUTS), TARGETS).backward()
        optimizer.step()
    none = torch.tensor(torch.nan)  # before the first step torch holds no velocity
    velocity = [optimizer.state[p].get("momentum_buffer", none).item() for p in model.parameters()]
    optimizer.zero_grad()
    criterion(model(INPUTS), TARGETS).backward()
    return [p.grad.item() for p in model.parameters() if p.grad is not None], velocity


# -- measuring -------------------------------------------------------------------------------------------------


def seconds(work: Callable[[], Any], calls: int) -> float:
    """CPU seconds of one call, from a turn of several."""
    gc.collect()
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls


def measured(row: Row) -> list[float]:
    """Check a row, warm up, and return the ratio of each pair of turns."""
    row.check()
    calls = [max(1, round(TURN / seconds(work, 1))) for work in (row.ours, row.theirs)]
    for work, several in zip((row.ours, row.theirs), calls, strict=True):
        seconds(work, several)
    ratios = []
    for _ in range(TURNS):
        ours, theirs = seconds(row.ours, calls[0]), seconds(row.theirs, calls[1])
        ratios.append(row.goal.ratio(ours, row.scale * theirs))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=[row.name for row in ROWS], help="%(choices)s")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    mpl.use("agg")
    table = Table(title="CPU time, one thread, every bit equal")
    for heading in ("row", "ratio of", "median", "quartiles", "goal", "met"):
        table.add_column(heading, justify="left" if heading in ("row", "ratio of") else "right")
    chosen = [row for row in ROWS if only in (None, row.name)]
    for row in track(chosen, "measuring", console=Console(stderr=True), transient=True):
        low, middle, high = statistics.quantiles(measured(row), n=4)
        met = {True: "yes", False: "no", None: ""}[row.goal.met(middle)]
        spread = f"{low:.3g} to {high:.3g}"
        table.add_row(row.name, row.goal.kind, f"{middle:.3g}", spread, str(row.goal), met)
    Console().print(table)


if __name__ == "__main__":
    main()
