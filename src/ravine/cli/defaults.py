"""What `ravine descend data.csv` chooses by the data where nothing was asked for, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine import theory
from ravine._format import number, so_many
from ravine._problem.problem import Problem
from ravine.curvature._regression import Regression, regression_of

Vector = NDArray[np.float64]

RULE = ("momentum", "dampening", "weight_decay", "nesterov")


def choose_lr(
    problem: Problem | Mapping[str, Problem], settings: Mapping[str, Any], steps: int
) -> tuple[float, str] | None:
    """Choose SGD's learning rate on a regression, to two digits, and say why; None where there is nothing to go by.

    It is half of the limit, where the steepest direction of plain descent arrives in one step. Where the loss is a
    straight slope, as an absolute error is everywhere and a Huber loss far from the data, that says nothing: there the
    lr is such that the way down the first slope takes half of the steps. Of several criteria the lowest lr counts.
    Settings that torch refuses are left to torch.

    Examples
    --------
    >>> import ravine
    >>> lr, why = choose_lr(ravine.gallery.article()["MSELoss"], {}, 100)
    >>> lr
    0.48
    >>> why
    'lr 0.48, half of the 0.976 up to which the steepest direction of this data converges; --lr sets another'
    """
    problems = list(problem.values() if isinstance(problem, Mapping) else [problem])
    regressions = [regression_of(each) for each in problems]
    given = {name: settings[name] for name in RULE if name in settings}
    if settings.get("maximize") or any(each is None for each in regressions):
        return None
    try:
        found = [
            _choose_for(each, _start_of(one), given, steps)
            for one, each in zip(problems, regressions, strict=True)
            if each is not None
        ]
    except (ArithmeticError, TypeError, ValueError):
        return None
    lr, why = min(found)
    return (lr, f"lr {number(lr)}, {why}; --lr sets another") if 0 < lr < math.inf else None


def _choose_for(regression: Regression, start: Vector, given: Mapping[str, Any], steps: int) -> tuple[float, str]:
    """Choose by the curvature; on a straight slope by the way, where that is farther."""
    curved = _half_of_limit(regression, given) if regression.turn else (0.0, "")
    off = abs(regression.design @ start - regression.target)
    straight = (off > regression.turn).mean() > 0.5
    return max(curved, _to_cross(regression, start, given, steps)) if straight else curved


def _half_of_limit(regression: Regression, given: Mapping[str, Any]) -> tuple[float, str]:
    limit = float(theory.stability_limit([_steepest(regression)], **given))
    return _round_down(
        limit / 2
    ), f"half of the {number(limit)} up to which the steepest direction of this data converges"


def _to_cross(regression: Regression, start: Vector, given: Mapping[str, Any], steps: int) -> tuple[float, str]:
    """Return the lr with which the way from the start down its slope, to the lowest place there, takes half the steps.

    Momentum makes each step longer, as does a plain lr that is so much larger.
    """
    off = regression.design @ start - regression.target
    slope = regression.steep * regression.design.T @ np.sign(off)
    steepness = float(np.linalg.norm(slope))
    falls = regression.design @ slope / steepness  # of each residual, by a way of 1
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = np.where(falls != 0, off / falls, 0.0)  # the way at which it is 0: the lowest place is their median
    order = np.argsort(crossed)
    weights = np.cumsum(abs(falls)[order])
    way = float(crossed[order][np.searchsorted(weights, weights[-1] / 2)])
    faster = (1 - given.get("dampening", 0.0)) / (1 - given.get("momentum", 0.0))
    lr = way / steepness / faster / max(steps / 2, 1)
    return _round_down(lr), f"so that half of the {so_many(steps)} lead down the first slope of this data"


def _round_down(value: float) -> float:
    """Return the next lower number of two digits."""
    if not 0 < value < math.inf:
        return value
    digits = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / digits + 1e-9) * digits:.2g}")


def _start_of(problem: Problem) -> Vector:
    return np.concatenate([value.detach().double().numpy().ravel() for value in problem.start.values()])


def _steepest(regression: Regression) -> float:
    """Return the largest curvature that the loss has anywhere."""
    with np.errstate(over="ignore"):
        squares = regression.design.T @ regression.design
    if not np.isfinite(squares).all():
        return math.inf
    bend = 2.0 if math.isinf(regression.turn) else 1 / regression.turn
    return float(regression.steep * bend * np.linalg.eigvalsh(squares)[-1])
