"""What `ravine descend data.csv` chooses by the data where nothing was asked for, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ravine import theory
from ravine._format import number
from ravine._problem.problem import Problem
from ravine.curvature._regression import Regression, regression_of

RULE = ("momentum", "dampening", "weight_decay", "nesterov")


def choose_lr(problem: Problem | Mapping[str, Problem], settings: Mapping[str, Any]) -> tuple[float, str] | None:
    """Choose half of the limit of SGD's learning rate on a regression, to two digits, and say so; None where unknown.

    Half of it is where the steepest direction of plain descent arrives in one step. Of several criteria the lowest
    limit counts. An absolute error has no curvature, and so no limit. Settings that torch refuses are left to torch.

    Examples
    --------
    >>> import ravine
    >>> lr, why = choose_lr(ravine.gallery.article()["MSELoss"], {})
    >>> lr
    0.48
    >>> why
    'lr 0.48, half of the 0.976 up to which the steepest direction of this data converges; --lr sets another'
    """
    problems = problem.values() if isinstance(problem, Mapping) else [problem]
    regressions = [regression_of(each) for each in problems]
    given = {name: settings[name] for name in RULE if name in settings}
    if settings.get("maximize") or any(each is None or each.turn == 0 for each in regressions):
        return None
    steepest = max(_steepest(each) for each in regressions if each is not None)
    try:
        limit = float(theory.stability_limit([steepest], **given))
    except (TypeError, ValueError):
        return None
    if not 0 < limit < math.inf:
        return None
    digits = 10.0 ** (math.floor(math.log10(limit / 2)) - 1)
    lr = float(f"{math.floor(limit / 2 / digits + 1e-9) * digits:.2g}")
    why = f"lr {number(lr)}, half of the {number(limit)} up to which the steepest direction of this data converges"
    return lr, f"{why}; --lr sets another"


def _steepest(regression: Regression) -> float:
    """Return the largest curvature that the loss has anywhere."""
    with np.errstate(over="ignore"):
        squares = regression.design.T @ regression.design
    if not np.isfinite(squares).all():
        return math.inf
    bend = 2.0 if math.isinf(regression.turn) else 1 / regression.turn
    return float(regression.steep * bend * np.linalg.eigvalsh(squares)[-1])
