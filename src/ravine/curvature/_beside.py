"""What slopes beside a place say of it: whether a loss has a kink there, and how far it is level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Slopes = Callable[[Vector], Vector]

NEAR, NEARER = 1e-4, 1e-6
"""How far beside a place its slopes are looked at, in sizes of the place."""

FADES = 0.02
"""Share of a slope's turn between NEAR on both sides that is left between NEARER: a square leaves a hundredth."""

NEAREST = 1e-12
"""How near to a place, in sizes of it, its curvature may be looked for."""

SIDES = (-1.0, 1.0)

FARTHEST = 8.0
"""How far, in sizes of a place, a loss is followed along a direction without curvature."""

UNDERFLOW = 1e-100
"""Share of the first slope below which one fades out, as no power of the way does so soon."""


def count_kinks(slopes: Slopes, place: Vector, hessian: Vector, scale: float, resolution: float) -> int:
    """Count the parameters along which the slope does not fade towards a minimum as that of a square does.

    That is where it jumps, or where curvature has no bound; a curvature that holds nearer by is one all the same.

    Examples
    --------
    >>> count_kinks(np.sign, np.zeros(2), np.zeros((2, 2)), 1.0, 2.0**-52)
    2
    >>> count_kinks(lambda place: 2 * place, np.zeros(2), 2 * np.eye(2), 1.0, 2.0**-52)
    0
    """

    def turn(way: float) -> Vector:
        """Return how much the slope along each parameter differs from one side of the place to the other."""
        steps = scale * way * np.eye(len(place))
        before, after = (np.diagonal([slopes(place + side * step) for step in steps]) for side in SIDES)
        return np.asarray(after - before)

    nearer = max(NEARER, 1e3 * resolution)
    far, near = turn(nearer * NEAR / NEARER), turn(nearer)
    noise = 1e3 * resolution * abs(far).max(initial=0.0) * NEARER / NEAR
    doubtful = (near > FADES * abs(far)) & (near > noise)
    if not doubtful.any():
        return 0
    way = nearer
    while way >= max(NEAREST, 4 * resolution):
        told = 2 * scale * way * np.diagonal(hessian)
        seen = turn(way)
        doubtful &= ~((seen > told / 2) & (seen < 2 * told))
        way /= 100
    return int(doubtful.sum())


def find_bottom(slope: Callable[[float], float], scale: float) -> tuple[float, float] | None:
    """Return from where to where a loss is level along a line through 0, falling before and rising after.

    None where it does not fall on one side, or not rise on the other, as far as is looked. Slopes that are no
    numbers count as level.

    Examples
    --------
    >>> low, high = find_bottom(lambda t: (t - 0.25) ** 3, 1.0)
    >>> bool(abs(low - 0.25) < 1e-6 and abs(high - 0.25) < 1e-6)
    True
    """
    ends = []
    for side in SIDES:
        way = 1e-3
        while not slope(side * way * scale) * side > 0:
            way *= 3
            if way > FARTHEST:
                return None
        ends.append(side * way * scale)
    return _edge(lambda t: slope(t) < 0, ends[0], ends[1]), _edge(lambda t: slope(t) > 0, ends[1], ends[0])


def _edge(holds: Callable[[float], bool], here: float, there: float) -> float:
    """Return where something ends to hold on the way from here to there."""
    for _ in range(60):
        middle = (here + there) / 2
        here, there = (middle, there) if holds(middle) else (here, middle)
    return here
