"""Evaluating a problem over the points of a surface, singly or many at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._landscape.grid import Grid
from ravine._parallel.workers import wrap_executor
from ravine._problem.check_fit import scalar
from ravine._problem.dimension import dimension
from ravine._problem.problem import Problem
from ravine._progress import work
from ravine._study.contract import CONTRACT
from ravine._study.coordinates import make_coordinates
from ravine._study.provenance import by_label, provenance
from ravine._torch import fork_random_state, numpy_of, one_thread

CHUNK_BYTES = 1_200_000
"""Numbers worked on at once: about what stays in a core's own cache (measured: 0.8 to 1.2 MB is best)."""

CHECKED = 32
"""Points at which a large grid is evaluated singly too, besides the lowest and the highest."""

EVERY = 256
"""Points of a neuron's grid up to which all of them are, and half as many of others: that takes some milliseconds."""

MOST_NUMBERS = 1_000_000
"""Numbers that all of them take together at most: beyond, a model is so large that single points take longer."""

TURNS = (0.6180339887498949, 0.7548776662466927)
"""How far from one such point to the next, as a share of the grid's sides: irrational, so that they spread over it."""

At = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What is evaluated: it takes the horizontal and the vertical coordinate."""


class GridValues(NamedTuple):
    """Values (vertical, horizontal, …) over a grid, the way they were had, and how they compare with single ones."""

    values: torch.Tensor
    way: str
    agreement: str


def loss_at(problem: Problem, names: Sequence[str]) -> At:
    """Return the loss as a function of two parameters; the others are held at the start.

    Examples
    --------
    >>> import ravine
    >>> loss = loss_at(ravine.gallery.rosenbrock(), ("y", "x"))
    >>> loss(torch.tensor(2.0), torch.tensor(1.0)).item()
    100.0
    """
    every = [(name, index) for name, value in problem.start.items() for index in np.ndindex(tuple(value.shape))]
    chosen = [every[problem.labels.index(name)] for name in names]

    def loss(*coordinates: torch.Tensor) -> torch.Tensor:
        parameters = dict(problem.start)
        for (name, index), coordinate in zip(chosen, coordinates, strict=True):
            old = parameters[name]
            coordinate = coordinate.to(old.dtype)
            if old.numel() == 1:
                parameters[name] = coordinate.reshape(old.shape)
            else:
                here = torch.zeros(old.shape, dtype=torch.bool, device=old.device)
                here[index] = True
                parameters[name] = torch.where(here, coordinate, old)
        return scalar(problem.loss(parameters)).reshape(())

    return loss


def evaluate_grid(
    problem: Problem,
    grid: Grid,
    one: At,
    many: At,
    ways: tuple[str, str],
    executor: Executor | None = None,
    every: int = EVERY // 2,
) -> GridValues:
    """Evaluate at each point of a grid; a loss that draws random numbers draws the same ones at each.

    `many` evaluates a row of points at once. It serves if it raises no error and agrees with `one`, which evaluates
    a single point, at the points that are checked; else all are evaluated singly. `ways` calls both in words. Of a grid
    of up to `every` points all are compared.
    """
    like = problem.like
    across, down = (torch.from_numpy(values).to(like) for values in grid.values)
    rows = Rows(across, down, one)
    with one_thread():
        singles = {spot: rows.single(*spot) for spot in check_points(*grid.shape)}
    values = _gathered(Chunks(across, down, many, max(1, CHUNK_BYTES // (8 * _numbers_in(problem)))), executor)
    way = ways[0]
    # a loss that vmap gets wrong (one that keeps state, say) is not told by an error
    if values is None or not all(_near(each, values[spot]) for spot, each in singles.items()):
        values, way = _gathered(rows, executor), ways[1]
        assert values is not None
    count = len(across) * len(down)
    small = count <= every and count * _numbers_in(problem) <= MOST_NUMBERS and way == ways[0]
    with one_thread():
        rest = np.ndindex(*grid.shape) if small else extremes(values)
        singles |= {spot: rows.single(*spot) for spot in rest if spot not in singles}
    found, there = (numpy_of(torch.stack(each)) for each in ([*singles.values()], [values[spot] for spot in singles]))
    return GridValues(values, way, agreement(found, there, count))


@dataclass(frozen=True, eq=False)
class Chunks:
    """The points of a grid, cut into what is evaluated at once."""

    across: torch.Tensor
    down: torch.Tensor
    many: At
    some: int

    def __len__(self) -> int:
        return -(-len(self.down) * len(self.across) // self.some)

    def __call__(self, number: int) -> torch.Tensor | None:
        """Evaluate one chunk; nothing comes of it where vmap cannot do that."""
        last = min((number + 1) * self.some, len(self.down) * len(self.across))
        points = torch.arange(number * self.some, last, device=self.down.device)
        try:
            return self.many(self.across[points % len(self.across)], self.down[points // len(self.across)]).cpu()
        except Exception:  # whatever vmap cannot do; an error of the problem itself is told by a single point
            return None


@dataclass(frozen=True, eq=False)
class Rows:
    """The points of a grid, row by row, each evaluated singly."""

    across: torch.Tensor
    down: torch.Tensor
    one: At

    def __len__(self) -> int:
        return len(self.down)

    def __call__(self, number: int) -> torch.Tensor:
        """Evaluate one row."""
        return torch.stack([self.single(number, column) for column in range(len(self.across))])

    def single(self, row: int, column: int) -> torch.Tensor:
        """Evaluate one point."""
        with fork_random_state():
            return self.one(self.across[column], self.down[row]).cpu()


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """Pieces of a grid as another process evaluates them: from the same random state, and as numpy's arrays.

    A tensor would travel through shared memory, which another machine does not share.
    """

    pieces: Chunks | Rows
    random: torch.Tensor
    grad: bool

    def __call__(self, number: int) -> tuple[NDArray[Any], torch.dtype] | None:
        """Evaluate one piece; numpy has no bfloat16, which travels as float32: that holds it exactly."""
        with one_thread(), torch.set_grad_enabled(self.grad), fork_random_state():
            torch.set_rng_state(self.random)
            values = self.pieces(number)
        return None if values is None else (numpy_of(values), values.dtype)


def _gathered(pieces: Chunks | Rows, executor: Executor | None) -> torch.Tensor | None:
    """Return the values over the grid; nothing as soon as nothing comes of one piece."""
    found: dict[int, torch.Tensor] = {}
    what = "rows" if isinstance(pieces, Rows) else "chunks"
    with work(len(pieces), what) as advance, closing(_walk(pieces, executor)) as walk:
        for number, values in walk:
            if values is None:
                return None
            found[number] = values
            advance(1)
    whole = torch.cat([found[number] for number in range(len(pieces))])
    return whole.reshape(len(pieces.down), len(pieces.across), *whole.shape[1:])


def _walk(pieces: Chunks | Rows, executor: Executor | None) -> Generator[tuple[int, torch.Tensor | None]]:
    """Evaluate piece after piece, here or by workers; those come as they are ready."""
    if executor is None:
        for number in range(len(pieces)):
            # held for each piece by itself: other threads have their turn in between
            with one_thread(), fork_random_state():
                values = pieces(number)
            yield number, values
        return
    with fork_random_state():  # where the user's generator stands, not where another thread's run has just set it
        random = torch.get_rng_state()
    call = Elsewhere(pieces, random, torch.is_grad_enabled())
    for number, found in wrap_executor(executor).results(call, range(len(pieces))):
        yield number, None if found is None else torch.from_numpy(found[0]).to(found[1])


def grid_dataset(
    name: str,
    problem: Problem | Mapping[str, Problem],
    grid: Grid,
    found: Sequence[GridValues],
    along: str | None = None,
) -> xr.Dataset:
    """Return what was found over a grid, for one problem or for each of a mapping (`along` its dimension)."""
    one = isinstance(problem, Problem)
    labelled = {"": problem} if isinstance(problem, Problem) else problem
    first = next(iter(labelled.values()))
    lead = () if one else (along or dimension(labelled),)
    coords: dict[str, Any] = dict(zip(grid.names, grid.values, strict=True))
    coords |= {dim: np.array(list(labelled)) for dim in lead}
    if one and first.criterion is not None:
        coords["criterion"] = first.criterion

    problems = {dim: list(labelled) for dim in lead}
    entry = CONTRACT[name]
    fate = provenance(
        by_label([each.way for each in found], problems),
        equals_torch=by_label([each.agreement for each in found], problems),
        threads=1,
        others="held at the problem's start" if first.size > 2 else "none",
    )
    dims = (*lead, *reversed(grid.names), *entry.dims)
    attrs = {"long_name": entry.long_name, "provenance": fate}
    values = [numpy_of(each.values) for each in found]
    whole = xr.Variable(dims, values[0] if one else np.stack(values), attrs)
    return xr.Dataset({name: whole}, make_coordinates(coords))


@functools.lru_cache(maxsize=8)
def check_points(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return row and column of the points of a large grid that are evaluated singly too."""
    places = ((int(k * TURNS[1] % 1 * height), int(k * TURNS[0] % 1 * width)) for k in range(CHECKED))
    return tuple(dict.fromkeys(places))  # of a small grid each once


def extremes(values: torch.Tensor) -> list[tuple[int, int]]:
    """Return row and column of the lowest and the highest finite value: rounding tells there first."""
    flat = numpy_of(values)
    if flat.ndim > 2:
        flat = flat.reshape(*flat.shape[:2], -1).astype(np.float64).sum(-1)
    places = int(flat.argmin()), int(flat.argmax())
    if not all(math.isfinite(flat.item(place)) for place in places):
        finite = np.isfinite(flat)
        if not finite.any():
            return []
        places = int(np.where(finite, flat, np.inf).argmin()), int(np.where(finite, flat, -np.inf).argmax())
    return [divmod(place, flat.shape[1]) for place in places]


def agreement(single: NDArray[Any], values: NDArray[Any], points_in_all: int) -> str:
    """Say how near values at some points are to those that torch gives singly, and at how many that was looked at.

    Examples
    --------
    >>> agreement(np.array([1.0, np.nan]), np.array([1.0, np.nan]), 10201)
    'every bit, at 2 of 10,201 points checked'
    >>> agreement(np.array([1e6, 2.0]), np.array([1e6 + 0.25, 2.0]), 2)
    'within 2.5e-07 of the largest value, at all 2 points'
    """
    count = len(single)
    points = f"at all {count:,} points" if count == points_in_all else f"at {count} of {points_in_all:,} points checked"
    if (single == values).all() or np.array_equal(single, values, equal_nan=True):
        return f"every bit, {points}"
    one, other = single.astype(np.float64), values.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, abs(one - other)).max()
    largest = abs(one[np.isfinite(one)]).max(initial=0.0)
    share = off / largest if largest and np.isfinite(off) else np.inf  # somewhere one of the two is no number
    return f"within {share:.1e} of the largest value, {points}"


def _numbers_in(problem: Problem) -> int:
    """Return how many numbers one point takes."""
    held = [*problem.start.values()] if problem.parts is None else [*problem.start.values(), problem.parts.inputs]
    return sum(each.numel() for each in held)


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    room = 1000 * torch.finfo(one.dtype).eps
    return torch.allclose(one, other, rtol=room, atol=room, equal_nan=True)
