"""The search for minima, and how they are known; nothing is claimed where there is doubt."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._problem.problem import Problem
from ravine._study.decay import Decay
from ravine._torch import one_thread
from ravine.curvature._derivatives import Function, function_of, vector_of
from ravine.curvature._regression import Minimum, none_found, penalty, regression_of
from ravine.curvature._separable import separating_direction
from ravine.measure._quadratic import SLOWLY, Quadratic

Vector = NDArray[np.float64]

ITERATIONS = 100
"""Iterations of the search for a minimum after which it is given up."""

FAR = 1e8
"""How many times the start's size a place may be before the loss is said to fall without end."""

REFINED = 60
"""Newton steps after the search, at most."""

JUMPS = 8
"""Jumps to where Newton steps lead that shrink by one factor, at most."""

SHRINKING = 0.97
"""Largest such factor that is believed: that of a power of 34."""

_FOUND: weakref.WeakKeyDictionary[Any, dict[Any, Minimum]] = weakref.WeakKeyDictionary()
"""Minima that were found, for as long as their problem (or the data of a regression) lives."""


def minima_of(problem: Problem, decays: Sequence[Decay], near: Vector | None) -> Iterator[Minimum]:
    """Find the minimum under each decay, or remember it: that of a regression whatever the start."""
    regression = regression_of(problem)
    owner, spot = (problem, None if near is None else near.tobytes()) if regression is None else (problem.parts, None)
    kept = _FOUND.setdefault(owner, {})
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
        return _near(function, near, decay, "the place given")
    if stated:
        return _lowest([_near(function, place, decay, "the problem's own minimizers") for place in stated])
    return _near(function, vector_of(problem), decay, "the start")


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
    return Minimum(place, loss, hessian, engine, "stated by the problem")


def _near(function: Function, begin: Vector, weight_decay: Decay, whence: str) -> Minimum:
    """Search for a minimum from a place: a trust region by the exact Hessian, then Newton steps.

    It counts as found if the next Newton step is lost in rounding and the curvature is nowhere negative; where
    it is zero the loss is probed on both sides.
    """
    what = _Decayed(function, weight_decay)
    with np.errstate(all="ignore"):
        try:
            first = what.look(begin)
            found = _settle(what, _refine(what, _descend(what, first)), first)
            doubt = _doubt(what, found, first)
        except _StuckError as reason:
            doubt = str(reason)
    if doubt is not None:
        return none_found(len(begin), f"{doubt} (searched from {whence})")
    engine = f"trust region by scipy's trust-exact, then Newton steps; {function.precision}"
    hessian, slow = _without_slow(what, found, first)
    level = max(int(found.flat.sum()), slow)
    flat = f"; flat along {level} direction{'s' * (level > 1)}, to second order" if level else ""
    if slow:
        flat += f", of which the loss rises {SLOWLY} along {slow}"
    return Minimum(found.place, found.loss, hessian, engine, f"local: found from {whence}{flat}")


def _without_slow(what: _Decayed, found: _Look, first: _Look) -> tuple[Vector, int]:
    """Leave out curvature that belongs to where the search ended, not to the minimum; along how many directions.

    Where a loss rises like a fourth power, Newton steps never end, and what curvature is left says how many were taken.
    """
    hessian, count = found.hessian, 0
    curvatures, directions = found.axes
    scale, weak = 1e-3 * max(found.scale, first.scale), _weak(what, found, first)
    for curvature, direction in zip(curvatures[weak], directions[:, weak].T, strict=True):
        with np.errstate(all="ignore"):
            sides = [what.hessian(found.place + side * direction) for side in (-scale, scale)]
        beside = max(float(direction @ each @ direction) for each in sides)
        if beside > 2 * abs(float(curvature)) and beside > what.function.resolution * found.bend:
            hessian = hessian - curvature * np.outer(direction, direction)
            count += 1
    return hessian, count


def _weak(what: _Decayed, here: _Look, first: _Look) -> NDArray[np.bool_]:
    """Tell which curvatures vanish beside those of the start, as where a loss levels off without a minimum."""
    curvatures = np.abs(here.axes[0])
    return np.asarray(curvatures <= what.tolerance * max(curvatures.max(), first.bend))


class _StuckError(Exception):
    """The search cannot go on."""


@dataclass(frozen=True, eq=False)
class _Look:
    """A place, and what the loss does there; `tolerance` is half of the digits that the loss has."""

    place: Vector
    loss: float
    gradient: Vector
    hessian: Vector
    tolerance: float

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.loss) and np.isfinite(self.gradient).all() and np.isfinite(self.hessian).all())

    @property
    def scale(self) -> float:
        return float(np.abs(self.place).max()) or 1.0

    @property
    def bend(self) -> float:
        return float(np.abs(self.axes[0]).max())

    @cached_property
    def axes(self) -> tuple[Vector, Vector]:
        """Curvatures, the lowest first, and the directions they belong to."""
        curvatures, directions = np.linalg.eigh(self.hessian)
        return curvatures, directions

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """Directions in which the curvature is lost in rounding."""
        sizes = np.abs(self.axes[0])
        return np.asarray(sizes <= self.tolerance * sizes.max())

    @property
    def bends_down(self) -> bool:
        return bool((self.axes[0][~self.flat] < 0).any())

    @cached_property
    def step(self) -> Vector:
        """The Newton step along all directions in which the loss bends."""
        curvatures, directions = self.axes
        bent = directions[:, ~self.flat]
        return np.asarray(-bent @ ((bent.T @ self.gradient) / curvatures[~self.flat]))

    @property
    def gain(self) -> float:
        """How much the Newton step promises."""
        return float(-self.gradient @ self.step) / 2


class _Decayed:
    """A loss with its weight decay, wd / 2 * |p|²; scipy asks for loss, gradient and Hessian of one place in turn."""

    def __init__(self, function: Function, weight_decay: Decay) -> None:
        self.function, self.weight_decay = function, weight_decay
        self.tolerance = float(np.sqrt(function.resolution))
        self.last: _Look | None = None

    def look(self, place: Vector) -> _Look:
        """Return what the loss does at a place, if that is finite."""
        found = self._see(place)
        if not found.finite:
            raise _StuckError(f"the loss or its derivatives are not finite at {_written(place)}")
        return found

    def value(self, place: Vector) -> float:
        value = self._see(place).loss
        if value == -np.inf:
            raise _StuckError("the loss falls without end")
        return np.inf if np.isnan(value) else value

    def gradient(self, place: Vector) -> Vector:
        return self.look(place).gradient

    def hessian(self, place: Vector) -> Vector:
        found = self._see(place)  # asked for at each place that is tried, also where it will not go
        return found.hessian if found.finite else np.eye(len(place))

    def _see(self, place: Vector) -> _Look:
        if self.last is None or not np.array_equal(self.last.place, place):
            try:
                loss, gradient, hessian = self.function.hessian(place)
            except Exception as reason:  # at the start it was called without: a place of the search is at fault
                raise _StuckError(f"at {_written(place)} the loss or its derivatives raise {reason!r}") from reason
            loss += penalty(self.weight_decay, place)
            gradient = gradient + np.multiply(self.weight_decay, place)
            hessian = hessian + np.multiply(self.weight_decay, np.eye(len(place)))
            self.last = _Look(place.copy(), loss, gradient, hessian, self.tolerance)
        return self.last


def _descend(what: _Decayed, first: _Look) -> _Look:
    """Go downhill to where Newton's method takes over; a place without a slope stays where it is."""
    import scipy.optimize  # not above: it takes longer to load than most minima to find

    enough = 0.1 * what.tolerance * max(float(np.abs(first.gradient).max()), first.bend * first.scale)
    if np.linalg.norm(first.gradient) <= enough:
        return first
    options: Any = {"gtol": enough, "maxiter": ITERATIONS}
    options |= {"initial_trust_radius": first.scale, "max_trust_radius": FAR * first.scale}
    found = scipy.optimize.minimize(
        what.value,
        first.place,
        jac=what.gradient,
        hess=what.hessian,
        method="trust-exact",
        callback=_Watch(first),
        options=options,
    )
    if found.nit >= ITERATIONS:
        raise _StuckError(f"the search had not ended after {ITERATIONS} iterations, at a loss of {found.fun:.6g}")
    return what.look(np.asarray(found.x, dtype=np.float64))


class _Watch:
    """Stop a search that runs away, or that has not moved for long: all it sees is rounding."""

    def __init__(self, first: _Look) -> None:
        self.place, self.still, self.far = first.place, 0, FAR * first.scale

    def __call__(self, xk: Vector) -> None:  # scipy asks for this name
        if np.abs(xk).max() > self.far:
            raise _StuckError("the loss falls without end")
        self.still = self.still + 1 if np.array_equal(xk, self.place) else 0
        self.place = xk.copy()
        if self.still > 20:
            raise StopIteration


def _refine(what: _Decayed, here: _Look) -> _Look:
    """Take Newton steps as long as each promises clearly less than the one before."""
    for _ in range(REFINED):
        if here.bends_down or not np.abs(here.step).max() > 0:
            return here
        there = what.look(here.place + here.step)
        if there.bends_down or not there.gain < 0.9 * here.gain:
            return here
        here = there
    return here


def _settle(what: _Decayed, here: _Look, first: _Look) -> _Look:
    """Go to where Newton steps lead that shrink by one factor, as they do where a loss is flatter than a square.

    Down a power n each step leaves 1 - 1/(n - 1) of the way, so that two of them tell the whole of it.
    """
    scale, size = max(here.scale, first.scale), max(abs(here.loss), abs(first.loss))
    noise, rounding = 16 * what.function.resolution, 64 * what.function.resolution * size
    for _ in range(JUMPS):
        curvatures, directions = here.axes
        bent = directions[:, curvatures > noise * here.bend]
        step, slope = _along(here, bent)
        far = np.abs(step) > what.tolerance * scale
        if not far.any():
            return here
        try:
            then, _ = _along(_refine(what, what.look(here.place + bent @ step)), bent)
            left = np.maximum(np.divide(then, step, out=np.zeros_like(step), where=far), 0.0)
            if left.max() > SHRINKING:  # it levels off
                return here
            there = _refine(what, what.look(here.place + bent @ (step / (1 - left))))
        except _StuckError:  # what was found stays found
            return here
        if there.bends_down or there.loss > here.loss + rounding:
            return here
        if not np.abs(_along(there, bent)[1]).max() < np.abs(slope).max() / 2:
            return here
        here = there
    return here


def _along(here: _Look, directions: Vector) -> tuple[Vector, Vector]:
    """Return the Newton step along each direction by itself, none where the loss does not bend up, and the slope."""
    slope = directions.T @ here.gradient
    curvature = np.einsum("ik,ij,jk->k", directions, here.hessian, directions)
    return np.where(curvature > 0, -slope / curvature, 0.0), slope


def _doubt(what: _Decayed, here: _Look, first: _Look) -> str | None:
    """Say why a place is no minimum, or None if it is one within rounding."""
    where, scale, size = _written(here.place), max(here.scale, first.scale), max(abs(here.loss), abs(first.loss))
    curvatures, directions = here.axes
    if here.bends_down:
        return f"at {where} the loss bends down, its lowest curvature is {curvatures[0]:.3g}"
    straight = directions[:, here.flat]
    weak = directions[:, _weak(what, here, first)]
    falls = np.abs(straight.T @ here.gradient).max(initial=0.0) * scale > what.tolerance * size
    if falls or np.abs(here.step).max() > what.tolerance * scale:
        return f"the slope does not vanish: at {where} it is {np.linalg.norm(here.gradient):.3g}"
    rounding = 64 * what.function.resolution * size
    for direction in weak.T:
        for side in (-1e-3, 1e-3):
            if what.value(here.place + side * scale * direction) < here.loss - rounding:
                return f"the loss still falls from {where}, where its curvature vanishes"
    return None


def _written(place: Vector) -> str:
    return "(" + ", ".join(f"{each:.4g}" for each in place[:4]) + (", …)" if len(place) > 4 else ")")
