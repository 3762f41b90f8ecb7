"""Where a linear model is lowest, from the data alone, certified.

The mean square has a closed form. L1Loss, HuberLoss and SmoothL1Loss are convex and made of parabolas and lines, so
that a minimum found is the minimum, and a subgradient of zero proves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._problem.neuron import is_linear
from ravine._problem.problem import Problem
from ravine._study.decay import Decay
from ravine._torch import numpy_of, plain_type

Vector = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)

ROUNDING = 1e-11
"""Size of a subgradient, relative to the sum of its terms' sizes, that counts as zero."""


ITERATIONS = 200
"""Newton's steps at one turn after which a place is taken as it is."""


class Basis:
    """Coordinates in which ``scale / 2 * |design @ p|² + penalty(decay, p)`` is ``|z|² / 2``, whatever the columns.

    Directions that change nothing (equal columns, say) are left out.
    """

    def __init__(self, design: Vector, scale: float, decay: Decay) -> None:
        count, size = design.shape
        stacked = np.sqrt(scale) * design
        if np.any(decay):
            stacked = np.vstack([stacked, np.sqrt(decay) * np.eye(size)])
        norms = np.sqrt((stacked**2).sum(axis=0))
        norms[norms == 0] = 1.0
        left, values, right = np.linalg.svd(stacked / norms, full_matrices=False)
        kept = values > max(stacked.shape) * EPS * values[0]
        self.steep, self.decay = scale, decay
        self.bent = bool(np.all(decay))  # the decay alone makes the lowest place the only one
        self.rank, self.full = int(kept.sum()), bool(kept.sum() == size)
        self.design: Vector = left[:count, kept] / np.sqrt(scale)
        self._data, self._decay = left[:count, kept], left[count:, kept]
        self.drag: Vector = self._decay.T @ self._decay  # the decay in these coordinates: z @ drag @ z / 2
        self._back = (right[kept].T / values[kept]) / norms[:, None]

    def least_squares(self, target: Vector, pulled: Vector | None = None) -> Vector:
        """Return where ``scale / 2 * |design @ p - target|² + decay / 2 * |p - pulled|²`` is lowest."""
        right = np.sqrt(self.steep) * (self._data.T @ target)
        if pulled is not None and isinstance(self.decay, tuple):
            right = right + self._decay.T @ (np.sqrt(self.decay) * pulled)
        elif pulled is not None and self.decay:
            right = right + np.sqrt(self.decay) * (self._decay.T @ pulled)
        return np.asarray(right)

    def place(self, z: Vector) -> Vector:
        """Return the parameters."""
        return np.asarray(self._back @ z)


class PiecewiseSolver:
    """Newton's method on the pieces, from the least squares; residuals are measured in `unit`, about their own size.

    A kink is searched for by ever sharper turns, and then put exactly where it must be.
    """

    def __init__(self, base: Basis, target: Vector, turn: float) -> None:
        begin = base.least_squares(target)
        residual, size = base.design @ begin - target, float(np.abs(target).max())
        unit = float(np.sqrt(np.mean(residual**2)))
        if unit <= 64 * EPS * size:  # a perfect fit has no size of residuals to go by
            unit = size or 1.0
        self.design, self.target, self.steep = base.design, target / unit, base.steep
        self.drag, self.turn, self.unit, self.begin = base.drag * unit, turn / unit, unit, begin / unit
        self.bent = base.bent

    def lowest(self) -> tuple[Vector, bool, int] | None:
        """Return the place, whether it is the only one, and how many residuals are at a kink; None if not certain."""
        z = self.begin
        for turn in self._turns():
            z, certain = self._newton(turn, z)
            if not self.turn:
                found = self._at_kinks(turn, z)
                if found is not None:
                    return found
        if not self.turn or not certain:
            return None
        inside = self.design[np.abs(self.design @ z - self.target) < turn]
        curvature = self.steep / turn * inside.T @ inside + self.drag
        return z, bool(np.linalg.matrix_rank(curvature, tol=1e-9) == len(z)), 0

    def _turns(self) -> Iterator[float]:
        turn = 1.0
        while turn > max(self.turn, 1e-12):
            yield turn
            turn /= 10
        if self.turn:
            yield self.turn

    def _newton(self, turn: float, z: Vector) -> tuple[Vector, bool]:
        """Return the lowest place where the line begins at `turn`, and whether it is certain."""
        design, size = self.design, np.abs(self.design)
        for _ in range(ITERATIONS):
            residual, pull = design @ z - self.target, self.drag @ z
            near = np.abs(residual) < turn
            push = self.steep * np.clip(residual / turn, -1.0, 1.0)
            gradient = design.T @ push + pull
            # what rounding makes of a residual counts as much as the parabola is narrow
            blur = np.where(near, self.steep / turn * EPS * (np.abs(self.target) + size @ np.abs(z)), 0.0)
            terms = float((size.T @ np.abs(push)).max() + np.abs(pull).max())
            limit, steepest = ROUNDING * terms + 32 * float((size.T @ blur).max()), float(np.abs(gradient).max())
            if steepest <= limit / 100:
                return z, True
            inside = design[near]
            curvature = self.steep / turn * inside.T @ inside + self.drag
            # where the loss is straight the line search sets the length of the step, so any small number serves
            curvature += 1e-10 * max(1.0, np.trace(curvature)) * np.eye(len(z))
            step = -np.linalg.solve(curvature, gradient)
            bend = float(step @ self.drag @ step)
            length = self._length(residual, design @ step, turn, float(gradient @ step), bend)
            if not length > 0 or np.array_equal(z + length * step, z):  # no further, for rounding
                return z, steepest <= limit
            z = z + length * step
        return z, steepest <= limit

    def _length(self, residual: Vector, change: Vector, turn: float, slope: float, bend: float) -> float:
        """How far along a step the loss is lowest: its derivative rises in straight pieces, so this is exact."""
        moving = change != 0
        residual, speed = residual[moving] * np.sign(change[moving]), np.abs(change[moving])
        enter, leave, rise = (-turn - residual) / speed, (turn - residual) / speed, self.steep / turn * speed**2
        knots, jumps = np.concatenate([enter, leave]), np.concatenate([rise, -rise])
        ahead = np.flatnonzero(knots > 0)
        ahead = ahead[np.argsort(knots[ahead])]
        begins = np.concatenate([[0.0], knots[ahead]])
        rates = bend + rise[(enter <= 0) & (leave > 0)].sum() + np.concatenate([[0.0], np.cumsum(jumps[ahead])])
        slopes = slope + np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(begins))])
        k = max(int(np.searchsorted(slopes, 0.0)) - 1, 0)
        if rates[k] <= 1e-14 * rates.max():  # straight but for rounding
            return float(begins[k])
        return float(begins[k] - slopes[k] / rates[k])

    def _at_kinks(self, turn: float, z: Vector) -> tuple[Vector, bool, int] | None:
        """Put the residuals that are nearly zero at zero, and return that place if it is certainly the lowest."""
        residual = self.design @ z - self.target
        near = np.abs(residual) <= turn
        side, held = np.where(near, 0.0, np.sign(residual)), self.design[near]
        u, values, v = np.linalg.svd(held, full_matrices=bool(len(held) <= len(z)))
        rank = int((values > 1e-9 * values.max(initial=0.0)).sum())
        z = z - v[:rank].T @ (u.T[:rank] @ residual[near] / values[:rank])
        push, free = self.steep * residual[near] / turn, v[rank:].T
        if free.shape[1] and self.drag.any():
            # what the kinks leave free the decay decides, unless it is so weak that rounding does
            pull = free.T @ (self.steep * (self.design.T @ side) + self.drag @ z)
            moved = z - free @ np.linalg.lstsq(free.T @ self.drag @ free, pull, rcond=1e-12)[0]
            if self._is_certain(moved, near, side, push) is not None:
                curved = self.bent or np.linalg.matrix_rank(free.T @ self.drag @ free, tol=1e-12) == free.shape[1]
                return moved, bool(curved), int(near.sum())
        slopes = self._is_certain(z, near, side, push)
        if slopes is None:
            return None
        strict = held[np.abs(slopes) < (1 - 1e-9) * self.steep]
        alone = len(strict) > 0 and int(np.linalg.matrix_rank(strict)) == len(z)
        return z, alone or (self.bent and not free.shape[1]), int(near.sum())

    def _is_certain(self, z: Vector, near: NDArray[np.bool_], side: Vector, push: Vector) -> Vector | None:
        """Return slopes at the kinks with which the subgradient is zero, None if there are none in [-1, 1]."""
        held, residual = self.design[near], self.design @ z - self.target
        pull = self.steep * (self.design.T @ side) + self.drag @ z
        push = push - np.linalg.lstsq(held.T, pull + held.T @ push, rcond=1e-9)[0]
        terms = self.steep * np.abs(self.design).sum(axis=0) + np.abs(self.drag @ z)
        room = ROUNDING * max(1.0, float(np.abs(self.target).max()))
        certain = (
            np.abs(pull + held.T @ push).max() <= ROUNDING * terms.max()
            and np.abs(push).max(initial=0.0) <= (1 + 1e-9) * self.steep
            and (residual * side).min() >= -room
            and np.abs(residual[near]).max(initial=0.0) <= room
        )
        return push if certain else None


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where what is minimised is lowest, and how that is known; NaN where no minimum was found."""

    place: Vector
    loss: float
    hessian: Vector
    engine: str
    scope: str
    kinks: int = 0
    quadratic: bool = False


def penalty(decay: Decay, place: Vector) -> float:
    """Return what weight decay adds to the loss at a place: half of the decay times the square, of each parameter."""
    if isinstance(decay, tuple):
        return float(np.asarray(decay) @ place**2) / 2
    return decay / 2 * float(place @ place)


def none_found(size: int, reason: str) -> Minimum:
    """Return what stands for a minimum where there is none to be found."""
    return Minimum(np.full(size, np.nan), np.nan, np.full((size, size), np.nan), "none", f"none found: {reason}")


@dataclass(frozen=True, eq=False)
class Regression:
    """The loss as ``steep * sum(h(design @ parameters - target))``.

    h is a parabola, r² / (2 turn), up to ``turn`` and a line with slope 1 beyond; where ``turn`` is infinite the
    loss is ``steep * sum(r²)`` instead.
    """

    design: Vector
    target: Vector
    steep: float
    turn: float

    def minimum(self, weight_decay: Decay) -> Minimum:
        """Return where this, with its weight decay, is lowest."""
        size = self.design.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                found = self._squares(weight_decay) if np.isinf(self.turn) else self._pieces(weight_decay)
            except np.linalg.LinAlgError as reason:  # what is infinite has no decomposition
                return none_found(size, f"the data's numbers are too large for float64 ({reason})")
        if found is None:
            return none_found(size, "the search on the pieces ended without a certificate")
        return found if np.isfinite(found.loss) else none_found(size, "the data's numbers are too large for float64")

    def _squares(self, decay: Decay) -> Minimum:
        base = Basis(self.design, 2 * self.steep, decay)
        place = base.place(base.least_squares(self.target))
        place += base.place(base.least_squares(self.target - self.design @ place, -place))  # one refinement
        residual = self.design @ place - self.target
        loss = self.steep * float(residual @ residual) + penalty(decay, place)
        hessian = 2 * self.steep * self.design.T @ self.design + np.multiply(decay, np.eye(len(place)))
        return Minimum(place, loss, hessian, "closed form", _scope(alone=base.full))

    def _pieces(self, decay: Decay) -> Minimum | None:
        base = Basis(self.design, self.steep, decay)
        place, alone, kinks = np.zeros(self.design.shape[1]), False, 0
        if base.rank:
            search = PiecewiseSolver(base, self.target, self.turn)
            found = search.lowest()
            if found is None:
                return None
            place, alone, kinks = base.place(search.unit * found[0]), found[1] and base.full, found[2]
        residual = np.abs(self.design @ place - self.target)
        near = residual < self.turn
        curvature = self.steep / self.turn if self.turn else 0.0
        costs = np.where(near, curvature * residual**2 / 2, self.steep * (residual - self.turn / 2))
        loss = float(costs.sum()) + penalty(decay, place)
        inside = self.design[near]
        hessian = curvature * inside.T @ inside + np.multiply(decay, np.eye(len(place)))
        engine = "Newton's method on the pieces, certified by a subgradient of zero"
        return Minimum(place, loss, hessian, engine, _scope(alone=alone), kinks)


def regression_of(problem: Problem) -> Regression | None:
    """Return a problem as a regression, or None where it is none: not one Linear layer, or another criterion.

    Examples
    --------
    >>> import ravine
    >>> found = regression_of(ravine.gallery.article()["HuberLoss"])
    >>> found.design.shape, found.steep, found.turn
    ((50, 2), 0.02, 1.0)
    """
    parts = problem.parts
    if parts is None or not is_linear(problem):
        return None
    assert isinstance(parts.model, torch.nn.Linear)
    shape = _shape_of(parts.criterion)
    if shape is None or not problem.start.keys() <= {"weight", "bias"}:
        return None
    inputs, weight = _numbers(parts.inputs).reshape(-1, parts.model.in_features), parts.model.weight
    if parts.targets.numel() != len(inputs) * parts.model.out_features:  # one target for all rows, say
        return None
    target = _numbers(parts.targets).reshape(len(inputs), -1)
    outputs = target.shape[1]
    columns = {"weight": np.einsum("ni,op->nopi", inputs, np.eye(outputs)).reshape(target.size, -1)}
    if parts.model.bias is not None:
        columns["bias"] = np.tile(np.eye(outputs), (len(inputs), 1))
    for name, frozen in (("weight", weight), ("bias", parts.model.bias)):
        if frozen is not None and name not in problem.start:
            target = target - (columns[name] @ _numbers(frozen).reshape(-1)).reshape(target.shape)
    design = np.hstack([columns[name] for name in problem.start])
    share = 1 / target.size if parts.criterion.reduction == "mean" else 1.0  # type: ignore[attr-defined]
    return Regression(design, target.reshape(-1), share * shape[0], shape[1])


def _shape_of(criterion: Any) -> tuple[float, float] | None:
    """Slope of a criterion's straight part, and the size of the residual from which it is straight."""
    if getattr(criterion, "reduction", None) not in ("mean", "sum"):
        return None
    kind = plain_type(criterion)
    if kind is torch.nn.MSELoss:
        return 1.0, np.inf
    if kind is torch.nn.L1Loss:
        return 1.0, 0.0
    if kind is torch.nn.HuberLoss and np.isfinite(criterion.delta):
        return float(criterion.delta), float(criterion.delta)
    if kind is torch.nn.SmoothL1Loss and np.isfinite(criterion.beta):
        return 1.0, float(criterion.beta)
    return None


def _scope(*, alone: bool) -> str:
    return "exact" if alone else "exact; not shown to be the only place so low"


def _numbers(tensor: torch.Tensor) -> Vector:
    return np.asarray(numpy_of(tensor.double()))
