"""Regression: where a linear model is lowest, from the data alone, certified.

The mean square has a closed form. L1Loss, HuberLoss and SmoothL1Loss are convex and made of pieces, so that a
minimum found is the minimum, and a subgradient of zero proves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine.parts import numpy_of
from ravine.pieces import Base, Search
from ravine.problem import Problem

__all__ = ["Minimum", "Regression", "none_found", "regression_of"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where what is minimised is lowest, and how that is known; NaN where no minimum was found."""

    place: Vector
    loss: float
    hessian: Vector
    engine: str
    scope: str
    kinks: int = 0


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

    def minimum(self, weight_decay: float) -> Minimum:
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

    def _squares(self, decay: float) -> Minimum:
        base = Base(self.design, 2 * self.steep, decay)
        place = base.place(base.least_squares(self.target))
        place += base.place(base.least_squares(self.target - self.design @ place, -place))  # one refinement
        residual = self.design @ place - self.target
        loss = self.steep * float(residual @ residual) + decay / 2 * float(place @ place)
        hessian = 2 * self.steep * self.design.T @ self.design + decay * np.eye(len(place))
        return Minimum(place, loss, hessian, "closed form", _scope(alone=base.full))

    def _pieces(self, decay: float) -> Minimum | None:
        base = Base(self.design, self.steep, decay)
        place, alone, kinks = np.zeros(self.design.shape[1]), False, 0
        if base.rank:
            search = Search(base, self.target, self.turn)
            found = search.lowest()
            if found is None:
                return None
            place, alone, kinks = base.place(search.unit * found[0]), found[1] and base.full, found[2]
        residual = np.abs(self.design @ place - self.target)
        near = residual < self.turn
        curvature = self.steep / self.turn if self.turn else 0.0
        costs = np.where(near, curvature * residual**2 / 2, self.steep * (residual - self.turn / 2))
        loss = float(costs.sum()) + decay / 2 * float(place @ place)
        inside = self.design[near]
        hessian = curvature * inside.T @ inside + decay * np.eye(len(place))
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
    if parts is None or type(parts.model) is not torch.nn.Linear:
        return None
    if parts.model._forward_hooks or parts.model._forward_pre_hooks:
        return None
    shape = _shape_of(parts.criterion)
    if shape is None or not problem.start.keys() <= {"weight", "bias"}:
        return None
    inputs, weight = _numbers(parts.inputs).reshape(-1, parts.model.in_features), parts.model.weight
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
    kind = type(criterion)
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
