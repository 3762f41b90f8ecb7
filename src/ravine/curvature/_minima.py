"""Minima and how they are known: of regressions, stated by a problem, or found; nothing is claimed in doubt."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._problem.problem import Problem
from ravine._study.decay import Decay
from ravine._torch import has_global_hooks, one_thread
from ravine.curvature._derivatives import Function, function_of, vector_of
from ravine.curvature._look import Decayed
from ravine.curvature._regression import Minimum, none_found, penalty, regression_of
from ravine.curvature._search import kinks_at, search_near
from ravine.curvature._separable import separating_direction
from ravine.measure._quadratic import Quadratic

Vector = NDArray[np.float64]

_FOUND: weakref.WeakKeyDictionary[Any, dict[Any, Minimum]] = weakref.WeakKeyDictionary()
"""Minima that were found, for as long as their problem (or the data of a regression) lives."""


def minima_of(problem: Problem, decays: Sequence[Decay], near: Vector | None) -> Iterator[Minimum]:
    """Find the minimum under each decay, or remember it: that of a regression whatever the start."""
    regression = regression_of(problem)
    owner, spot = (problem, None if near is None else near.tobytes()) if regression is None else (problem.parts, None)
    # hooks on all modules come and go, and what they make of a loss is nobody's to remember
    kept = {} if has_global_hooks() else _FOUND.setdefault(owner, {})
    for decay in decays:
        if (decay, spot) not in kept:
            with one_thread():
                found = regression.minimum(decay) if regression else _search(problem, decay, near)
                kept[decay, spot] = replace(found, quadratic=is_quadratic(problem, found, decay))
        yield kept[decay, spot]


def _search(problem: Problem, decay: Decay, near: Vector | None) -> Minimum:
    function = function_of(problem)
    if function.draws:
        return none_found(problem.size, "the loss draws random numbers, and is another one each time")
    if not np.any(decay) and separating_direction(problem) is not None:
        return none_found(problem.size, "there is none: a plane separates the classes, so the loss falls for ever")
    stated = [vector_of(problem, place) for place in problem.minimizers]
    if stated and not np.any(decay):
        if near is not None:
            stated = [min(stated, key=lambda place: float(np.linalg.norm(place - near)))]
        return _lowest([_minimum_at(function, place) for place in stated])
    if near is not None:
        return search_near(function, near, decay, "the place given")
    if stated:
        return _lowest([search_near(function, place, decay, "the problem's own minimizers") for place in stated])
    return search_near(function, vector_of(problem), decay, "the start")


WAYS = (1.0, -1.0, 3.0, -3.0, 10.0, -10.0, 100.0, -100.0, 1e4, -1e4, 1e6, -1e6)
"""How many times as far as the start, from the minimum, the loss is compared with a quadratic."""

AGREED = 1e-9
"""How far the two may differ, relatively."""


def is_quadratic(problem: Problem, minimum: Minimum, decay: Decay) -> bool:
    """Tell whether a loss is the quadratic that its curvature at the minimum says, as far off as the start and farther.

    A run that diverges soon is a million times as far off.

    Of regressions a mean square is, and no other; elsewhere it is looked at along the way to the start, and along each
    parameter, in float64.

    Examples
    --------
    >>> import ravine
    >>> problems = [ravine.gallery.quadratic(), ravine.gallery.rosenbrock()]
    >>> [next(minima_of(each, [0.0], None)).quadratic for each in problems]
    [True, False]
    """
    if not np.isfinite(minimum.hessian).all():
        return False
    regression = regression_of(problem)
    if regression is not None:
        return bool(np.isinf(regression.turn))
    function = function_of(problem)
    away = vector_of(problem) - minimum.place
    length = float(np.linalg.norm(away)) or 1.0
    places = minimum.place + np.array([way * each for each in (away, *(length * np.eye(len(away)))) for way in WAYS])
    tolerance = max(AGREED, 1e3 * function.resolution)
    bowl = Quadratic(minimum.hessian, minimum.place, minimum.loss, function.resolution)
    with one_thread(), np.errstate(all="ignore"):
        for place in places:
            try:
                minimised = function.value(place) + penalty(decay, place)
            except Exception:  # at the start it was called without: it is not defined everywhere, as a quadratic is
                return False
            if bowl.gap(place) > function.largest / 1e6:
                continue  # there a quadratic too is infinite in this dtype
            if not bowl.is_within(tolerance, place, np.asarray(minimised)):
                return False
    return True


def _lowest(found: Sequence[Minimum]) -> Minimum:
    return min(found, key=lambda each: each.loss if np.isfinite(each.loss) else np.inf)


def _minimum_at(function: Function, place: Vector) -> Minimum:
    """Return the minimum that a problem states itself."""
    engine = f"the problem's own minimizers; {function.precision}"
    try:
        loss, _, hessian = function.hessian(place)
    except RuntimeError as reason:  # an operation whose gradient torch cannot differentiate again
        loss, hessian = function.value(place), np.full((len(place),) * 2, np.nan)
        engine += f"; no Hessian: {reason}"
    scale = max(float(np.abs(each).max()) for each in (place, vector_of(function.problem))) or 1.0
    kinks = kinks_at(Decayed(function, 0.0), place, hessian, scale)
    return Minimum(place, loss, hessian, engine, "stated by the problem", kinks)
