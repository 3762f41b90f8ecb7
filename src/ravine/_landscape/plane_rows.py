"""The rows of a surface over a plane, each evaluated in place: in this process, or in another."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._landscape.grid import Grid
from ravine._parallel.workers import WorkerPool
from ravine._plane.paths import names_in
from ravine._plane.plane import Plane
from ravine._problem.in_place import InPlace
from ravine._problem.problem import Problem
from ravine._torch import fork_random_state, one_thread


@dataclass(frozen=True, eq=False)
class PlaneRows:
    """Rows of a grid over a plane, the lowest coordinate of the grid first.

    `random` is where a loss that draws random numbers draws them from; `alone` keeps torch to one thread, so that
    a row has the same bits whoever evaluates it.
    """

    problem: Problem
    plane: Plane
    grid: Grid
    random: torch.Tensor
    alone: bool

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # without the copy of the model

    def __len__(self) -> int:
        return self.grid.shape[0]

    def over(self, grid: Grid) -> PlaneRows:
        """Return the rows of another grid over the same plane, evaluated in the same copy."""
        other = replace(self, grid=grid)
        vars(other)["place"] = self.place
        return other

    @cached_property
    def place(self) -> InPlace:
        """The private copy whose parameters are written over."""
        return InPlace(self.problem, self.plane.statistics, names_in(self.plane.shapes, self.problem))

    def __call__(self, number: int) -> NDArray[np.float64]:
        """Evaluate one row."""
        place, (across, down) = self.place, self.grid.values
        first, second = (torch.from_numpy(each) for each in self.plane.directions)
        row = torch.add(torch.from_numpy(self.plane.origin), second, alpha=float(down[number]))
        point, values = torch.empty_like(row), np.empty(len(across))
        with torch.no_grad(), one_thread() if self.alone else nullcontext(), fork_random_state():
            if place.draws:
                torch.set_rng_state(self.random)
            for k, x in enumerate(across.tolist()):
                place.move_to(torch.add(row, first, alpha=x, out=point))
                values[k] = place.value()
        return values


def walk(rows: PlaneRows, pool: WorkerPool | None) -> Generator[tuple[int, NDArray[np.float64]]]:
    """Evaluate row after row, here or by workers; those come as they are ready."""
    if pool is not None:
        yield from pool.results(rows, range(len(rows)))
        return
    for number in range(len(rows)):
        yield number, rows(number)
