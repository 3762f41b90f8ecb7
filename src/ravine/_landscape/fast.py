"""The loss over a plane from few evaluations: a polynomial through Chebyshev nodes, held against other points."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.polynomial import chebyshev

from ravine._format import number, place
from ravine._landscape.grid import Grid
from ravine._landscape.plane_rows import PlaneRows, walk
from ravine._parallel.workers import WorkerPool
from ravine._plane.project import products_of
from ravine._progress import work
from ravine._study.interpolant import Array, Interpolant, from_unit

BOUND = 1e-4
"""Share of the range of the loss that an interpolated surface may be off."""

PART = 11
"""One in so many points of the grid may be evaluated: with what surrounds that, a tenth of the time."""

FEWEST = 152
"""Evaluations that a grid of any size may take: those of 41 × 41 points."""

CHECKS = 0.17
"""Share of the evaluations that are for checking."""

GOLDEN = (3 - math.sqrt(5)) / 2
"""Where check points begin between two angles: irrational, so that none is ever a node."""

LOWER_HALF = 10.0
"""Times the range of its lower half that count as a surface's range: steep walls must not hide an error in a valley."""

MARGIN = 0.5
"""Share of that which it may be off at the check points: between them it may be farther off than there."""

AIM = 0.5
"""Share of what is allowed that the number of nodes aims at."""

FLATTEST = 1.2
"""Slowest fall of coefficients from one degree to the next that is reckoned with."""

LEAST = 3
"""Nodes along an axis at least."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Losses over a small grid, whose coordinates lie between -1 and 1; the vertical axis first."""

    across: Array
    up: Array
    losses: Array

    def coefficients(self, *, logarithmic: bool = False) -> Array:
        """Return those of the polynomial through all of them, in Chebyshev's basis, the vertical axis first."""
        values = np.log(self.losses) if logarithmic else self.losses
        over_x, over_y = (chebyshev.chebvander(each, len(each) - 1) for each in (self.across, self.up))
        found: Array = np.linalg.solve(over_x, np.linalg.solve(over_y, values).T).T
        return found


@dataclass(frozen=True, eq=False)
class Fit:
    """A polynomial through nodes, of the loss or of its logarithm, and how far it is off at the check points."""

    nodes: Sample
    checks: Sample
    logarithmic: bool = False

    @cached_property
    def coefficients(self) -> Array:
        """Those of the polynomial."""
        return self.nodes.coefficients(logarithmic=self.logarithmic)

    @cached_property
    def error(self) -> float:
        """How far it is off at most at the check points."""
        found = chebyshev.chebgrid2d(self.checks.up, self.checks.across, self.coefficients)
        with np.errstate(over="ignore"):
            return float(np.abs((np.exp(found) if self.logarithmic else found) - self.checks.losses).max())

    @property
    def losses(self) -> Array:
        """All that were evaluated."""
        return np.concatenate([self.nodes.losses.ravel(), self.checks.losses.ravel()])

    @cached_property
    def scale(self) -> float:
        """What errors are held against: the range of the loss, or ten times that of its lower half."""
        lowest = float(self.losses.min())
        return min(float(self.losses.max()) - lowest, LOWER_HALF * (float(np.median(self.losses)) - lowest))

    def allowed(self, dtype: torch.dtype) -> float:
        """Return how far it may be off at the check points; what the loss itself is rounded by is no error."""
        return max(MARGIN * BOUND * self.scale, torch.finfo(dtype).eps * float(np.abs(self.losses).max()))


@dataclass(eq=False)
class Evaluations:
    """The evaluations over the box of a grid that are left."""

    rows: PlaneRows
    pool: WorkerPool | None
    left: int

    @cached_property
    def box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """From where to where each axis goes, the horizontal one first."""
        across, up = ((float(each.min()), float(each.max())) for each in self.rows.grid.values)
        return across, up

    def at(self, across: Array, up: Array) -> Sample:
        """Evaluate the loss over a grid; complain where it is not finite."""
        grid = Grid(self.rows.grid.names, (from_unit(across, self.box[0]), from_unit(up, self.box[1])))
        losses = np.empty(grid.shape)
        with closing(walk(self.rows.over(grid), self.pool)) as found:
            for row, values in found:
                losses[row] = values
        self.left -= losses.size
        if not np.isfinite(losses).all():
            y, x = np.argwhere(~np.isfinite(losses))[0]
            where = place(grid.names, (grid.values[0][x], grid.values[1][y]))
            raise ValueError(
                f'the loss is {losses[y, x]} at {where}, and accuracy="fast" is for losses that are finite all over: '
                "leave it out, or show less"
            )
        return Sample(across, up, losses)


def interpolate(rows: PlaneRows, pool: WorkerPool | None) -> Interpolant:
    """Find a polynomial that is as near to the loss as it must be, over the box of a grid, by few evaluations.

    The check points are evaluated first. They tell how fast coefficients fall along each axis, and so how many nodes
    each needs; and as none of them is a node, they tell how far a polynomial through nodes is off. Where that is
    farther than it may be, what is left of the evaluations is spent on more nodes.

    Raises
    ------
    ValueError
        If a loss is not finite, no polynomial is near enough, or the grid is so small that each point may as well be
        evaluated.
    """
    size, dtype = math.prod(rows.grid.shape), rows.problem.like.dtype
    if size <= FEWEST or min(rows.grid.shape) < LEAST:
        down, along = rows.grid.shape
        raise ValueError(
            f'accuracy="fast" evaluates up to {FEWEST} points, and this grid has {along} × {down}: leave it out, or '
            "take more points"
        )
    most = max(FEWEST, size // PART)
    evaluations = Evaluations(rows, pool, most)
    with work(most, "points") as advance:
        spots = points_between_nodes(math.isqrt(int(CHECKS * most)))
        checks = evaluations.at(spots, spots)
        advance(checks.losses.size)
        fit, shape, aim = Fit(checks, checks), (0, 0), AIM
        while not math.prod(shape) or fit.error > fit.allowed(dtype):
            wanted = choose_shape(fit.coefficients, evaluations.left, aim * fit.allowed(dtype))
            if math.prod(wanted) <= math.prod(shape):
                raise ValueError(_refusal(fit))
            shape, aim = wanted, aim / 10
            nodes = evaluations.at(*map(chebyshev.chebpts1, shape))
            advance(nodes.losses.size)
            fit = _nearest(nodes, checks)
    return Interpolant(
        axes=rows.grid.names,
        box=evaluations.box,
        coefficients=fit.coefficients,
        logarithmic=fit.logarithmic,
        squares=products_of(rows.plane),
        error=fit.error,
        checked=checks.losses.size,
        scale=fit.scale,
        evaluated=most - evaluations.left,
    )


def points_between_nodes(count: int) -> Array:
    """Return points between -1 and 1, dense towards the ends as Chebyshev's nodes are, of which none is ever a node.

    Examples
    --------
    >>> points_between_nodes(3).round(3).tolist()
    [0.921, 0.123, -0.798]
    """
    found: Array = np.cos(np.pi * (np.arange(count) + GOLDEN) / count)
    return found


def choose_shape(coefficients: Array, most: int, aim: float) -> tuple[int, int]:
    """Choose how many nodes each axis takes, horizontal first: what is left out falls below an aim, or near it.

    Examples
    --------
    >>> falling = 0.25 ** np.arange(5)[:, None] * 0.5 ** np.arange(5)  # twice as fast along the vertical axis
    >>> choose_shape(falling, 1000, 1e-4), choose_shape(falling, 60, 1e-4)
    ((15, 8), (10, 6))
    """
    size = np.abs(coefficients)
    falls = [np.maximum.accumulate(size.max(axis=axis)[::-1])[::-1] for axis in (0, 1)]
    while True:
        across, up = (_nodes_for(fall, aim) for fall in falls)
        if across * up <= max(most, LEAST**2):
            return across, up
        aim *= 1.02


def _nodes_for(fall: Array, aim: float) -> int:
    """Return how many degrees are above an aim, going on beyond the known ones as they fall."""
    below = np.flatnonzero(fall <= aim)
    if len(below):
        return max(int(below[0]), LEAST)
    last = len(fall) - 1
    rate = max(float((fall[1] / fall[last]) ** (1 / (last - 1))), FLATTEST)
    return max(last + 1 + math.ceil(math.log(float(fall[last]) / aim) / math.log(rate)), LEAST)


def _nearest(nodes: Sample, checks: Sample) -> Fit:
    """Return the polynomial of the loss, or that of its logarithm where it is nearer: steep walls are smooth there."""
    fits = [Fit(nodes, checks)]
    if fits[0].losses.min() > 0:
        fits.append(Fit(nodes, checks, logarithmic=True))
    return min(fits, key=lambda each: each.error)


def _refusal(fit: Fit) -> str:
    up, across = fit.nodes.losses.shape
    allowed = f"{MARGIN * BOUND:g} is allowed there" if fit.scale else "half of the surface is flat"
    share = f", {number(fit.error / fit.scale, 2)} of its range" if fit.scale else ""
    return (
        f'this surface is not smooth enough for accuracy="fast": a polynomial through {across} × {up} losses is off by '
        f"{number(fit.error, 2)} at one of {fit.checks.losses.size} other points{share}, and {allowed}. "
        "Leave accuracy out, and each point is evaluated; a grid of more points may take more losses"
    )
