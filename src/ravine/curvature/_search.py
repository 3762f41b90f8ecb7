"""The search for a minimum: a trust region by the exact Hessian, then Newton steps; nothing is claimed in doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import number
from ravine._study.decay import Decay
from ravine.curvature._beside import UNDERFLOW, count_kinks, find_bottom
from ravine.curvature._derivatives import Function
from ravine.curvature._look import Decayed, Look, StuckError, write_place
from ravine.curvature._regression import Minimum, none_found
from ravine.measure._quadratic import SLOWLY

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


def search_near(function: Function, begin: Vector, weight_decay: Decay, whence: str) -> Minimum:
    """Search for a minimum from a place: a trust region by the exact Hessian, then Newton steps.

    It counts as found if the next Newton step is lost in rounding and the curvature is nowhere negative; where
    it is zero the loss is probed on both sides.
    """
    what = Decayed(function, weight_decay)
    with np.errstate(all="ignore"):
        try:
            first = what.look(begin)
            found = _settle(what, _refine(what, _descend(what, first)), first)
            found = _to_bottom(what, found, first)
            doubt = _doubt(what, found, first)
        except StuckError as reason:
            doubt = str(reason)
    if doubt is not None:
        return none_found(len(begin), f"{doubt} (searched from {whence})")
    engine = f"trust region by scipy's trust-exact, then Newton steps; {function.precision}"
    hessian, slow = _without_slow(what, found, first)
    level = max(int(found.flat.sum()), slow)
    flat = f"; flat along {level} direction{'s' * (level > 1)}, to second order" if level else ""
    if slow:
        flat += f", of which the loss rises {SLOWLY} along {slow}"
    kinks = kinks_at(what, found.place, hessian, max(found.scale, first.scale))
    return Minimum(found.place, found.loss, hessian, engine, f"local: found from {whence}{flat}", kinks)


def kinks_at(what: Decayed, place: Vector, hessian: Vector, scale: float) -> int:
    """Count the parameters along which a minimum lies on a kink; none where the loss cannot be evaluated beside it."""
    try:
        with np.errstate(all="ignore"):
            return count_kinks(what.slopes, place, hessian, scale, what.function.resolution)
    except Exception:
        return 0


def _without_slow(what: Decayed, found: Look, first: Look) -> tuple[Vector, int]:
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


def _weak(what: Decayed, here: Look, first: Look) -> NDArray[np.bool_]:
    """Tell which curvatures vanish beside those of the start, as where a loss levels off without a minimum."""
    curvatures = np.abs(here.axes[0])
    return np.asarray(curvatures <= what.tolerance * max(curvatures.max(), first.bend))


def _descend(what: Decayed, first: Look) -> Look:
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
        raise StuckError(f"the search had not ended after {ITERATIONS} iterations, at a loss of {found.fun:.6g}")
    return what.look(np.asarray(found.x, dtype=np.float64))


class _Watch:
    """Stop a search that runs away, or that has not moved for long: all it sees is rounding."""

    def __init__(self, first: Look) -> None:
        self.place, self.still, self.far = first.place, 0, FAR * first.scale

    def __call__(self, xk: Vector) -> None:  # scipy asks for this name
        if np.abs(xk).max() > self.far:
            raise StuckError("the loss falls without end")
        self.still = self.still + 1 if np.array_equal(xk, self.place) else 0
        self.place = xk.copy()
        if self.still > 20:
            raise StopIteration


def _refine(what: Decayed, here: Look) -> Look:
    """Take Newton steps as long as each promises clearly less than the one before."""
    for _ in range(REFINED):
        if here.bends_down or not np.abs(here.step).max() > 0:
            return here
        there = what.look(here.place + here.step)
        if there.bends_down or not there.gain < 0.9 * here.gain:
            return here
        here = there
    return here


def _settle(what: Decayed, here: Look, first: Look) -> Look:
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
        except StuckError:  # what was found stays found
            return here
        if there.bends_down or there.loss > here.loss + rounding:
            return here
        if not np.abs(_along(there, bent)[1]).max() < np.abs(slope).max() / 2:
            return here
        here = there
    return here


def _to_bottom(what: Decayed, here: Look, first: Look) -> Look:
    """Go along directions without curvature to where the slope turns; no place is told where it fades out before."""
    scale = max(here.scale, first.scale)
    near, steep = 4 * what.tolerance * scale, float(np.abs(first.gradient).max())
    for direction in here.axes[1][:, _weak(what, here, first)].T:
        place = here.place

        def slope(way: float, place: Vector = place, direction: Vector = direction) -> float:
            return float(direction @ what.slopes(place + way * direction))

        try:
            bottom = find_bottom(slope, scale)
        except Exception:  # at the place itself it was called without
            continue
        if bottom is None:
            continue
        low, high = bottom
        if high - low > near and max(-slope(low), slope(high)) < UNDERFLOW * steep:
            middle = write_place(place + (low + high) / 2 * direction)
            raise StuckError(f"the loss is level, within rounding, for {number(high - low, 2)} around {middle}")
        if high - low <= near and abs(low + high) / 2 > near:
            here = _refine(what, what.look(place + (low + high) / 2 * direction))
    return here


def _along(here: Look, directions: Vector) -> tuple[Vector, Vector]:
    """Return the Newton step along each direction by itself, none where the loss does not bend up, and the slope."""
    slope = directions.T @ here.gradient
    curvature = np.einsum("ik,ij,jk->k", directions, here.hessian, directions)
    return np.where(curvature > 0, -slope / curvature, 0.0), slope


def _doubt(what: Decayed, here: Look, first: Look) -> str | None:
    """Say why a place is no minimum, or None if it is one within rounding."""
    where, scale, size = write_place(here.place), max(here.scale, first.scale), max(abs(here.loss), abs(first.loss))
    curvatures, directions = here.axes
    if here.bends_down:
        return f"at {where} the loss bends down, its lowest curvature is {number(curvatures[0])}"
    straight = directions[:, here.flat]
    weak = directions[:, _weak(what, here, first)]
    falls = np.abs(straight.T @ here.gradient).max(initial=0.0) * scale > what.tolerance * size
    if falls or np.abs(here.step).max() > what.tolerance * scale:
        return f"the slope does not vanish: at {where} it is {number(float(np.linalg.norm(here.gradient)))}"
    rounding = 64 * what.function.resolution * size
    for direction in weak.T:
        for side in (-1e-3, 1e-3):
            if what.value(here.place + side * scale * direction) < here.loss - rounding:
                return f"the loss still falls from {where}, where its curvature vanishes"
    return None
