"""The rows of a surface over a plane, each evaluated in place: in this process, or in another."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._landscape.grid import Grid
from ravine._parallel.workers import WorkerPool
from ravine._plane.paths import names_in
from ravine._plane.plane import Plane
from ravine._problem.first_layer import FirstLayer
from ravine._problem.in_place import InPlace
from ravine._problem.problem import Problem
from ravine._torch import fork_random_state, one_thread

CLOSE = 1e-6
"""How near losses by way of the first layer must be to plain ones, as a share of the largest."""


FEWEST = 200
"""Points of a grid that are worth looking for it: that takes as long as fourteen evaluations."""


class Shortcut(NamedTuple):
    """The first layer of a model as it goes along a plane.

    `off` is how far losses were off at most where both were looked at, as a share of the largest of them.
    """

    layer: FirstLayer
    off: float


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
        vars(other)["place"], vars(other)["shortcut"] = self.place, self.shortcut
        return other

    @cached_property
    def place(self) -> InPlace:
        """The private copy whose parameters are written over."""
        return InPlace(self.problem, self.plane.statistics, names_in(self.plane.shapes, self.problem))

    @cached_property
    def shortcut(self) -> Shortcut | None:
        """The first layer along the plane's first direction, where that gives the same losses to `CLOSE`."""
        if math.prod(self.grid.shape) < FEWEST:
            return None
        with torch.no_grad(), self._evaluation_context():
            layer = self.place.find_first_layer(torch.from_numpy(self.plane.directions[0]))
            if layer is None:
                return None
            # a model that clips its weights does so first at a corner
            across, down = self.grid.values
            last, top = len(across) - 1, len(down) - 1
            spots = [(0, 0), (last, 0), ((last + 1) // 2, (top + 1) // 2), (0, top), (last, top)]
            plain = np.array([self._plain(down[j], across[k]) for k, j in spots])
            found = np.array([self._along(down[j], across[[k]], layer)[0] for k, j in spots])
            if not np.isfinite(plain).all():
                return None
            off = float(np.abs(found - plain).max() / max(np.abs(plain).max(), np.finfo(float).tiny))
            return Shortcut(layer, off) if off <= CLOSE else None

    def __call__(self, number: int) -> NDArray[np.float64]:
        """Evaluate one row."""
        across, down = self.grid.values
        layer = self.shortcut and self.shortcut.layer
        with torch.no_grad(), self._evaluation_context():
            return self._along(down[number], across, layer)

    @contextmanager
    def _evaluation_context(self) -> Iterator[None]:
        with one_thread() if self.alone else nullcontext(), fork_random_state():
            if self.place.draws:
                torch.set_rng_state(self.random)
            yield

    def _plain(self, y: float, x: float) -> float:
        """Evaluate one place as it is; NaN where the model then writes to its parameters, through `.data` as well."""
        leaves, place = self.place.leaves, torch.from_numpy(self.plane.at(x, y))
        self.place.move_to(place)
        before = [each.clone() for each in leaves]
        found = self.place.value()
        return found if all(map(torch.equal, before, leaves)) else math.nan

    def _along(self, y: float, across: NDArray[Any], layer: FirstLayer | None) -> NDArray[np.float64]:
        """Evaluate places along the first direction, with the first layer or as they are."""
        place = self.place
        first, second = (torch.from_numpy(each) for each in self.plane.directions)
        row = torch.add(torch.from_numpy(self.plane.origin), second, alpha=float(y))
        point, values = torch.empty_like(row), np.empty(len(across))
        with ExitStack() as stack:
            if layer is not None:
                place.move_to(row)
                stack.enter_context(layer.line())
            for k, x in enumerate(across.tolist()):
                place.move_to(torch.add(row, first, alpha=x, out=point))
                if layer is not None:
                    layer.x = x
                values[k] = place.value()
        return values


def walk(rows: PlaneRows, pool: WorkerPool | None) -> Generator[tuple[int, NDArray[np.float64]]]:
    """Evaluate row after row, here or by workers; those come as they are ready."""
    if pool is not None:
        yield from pool.results(rows, range(len(rows)))
        return
    for number in range(len(rows)):
        yield number, rows(number)
