"""Isolines: lines of equal value at round numbers, drawn where a field of cells is smooth enough to have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from numpy.typing import NDArray
from scipy import ndimage

from ravine.plot import contours
from ravine.plot.borders import lines_of, runs_of
from ravine.plot.inks import inked
from ravine.plot.paper import Style
from ravine.plot.places import Room
from ravine.plot.scales import Axis
from ravine.plot.shades import Shades, mixed

__all__ = ["draw_isolines"]

Array = NDArray[np.floating[Any]]

FEWEST = 16
"""Cells along each axis from which lines say more than the cells themselves."""

MOST_LINES = 8

SMEAR = 1.0
"""Cells over which the field is averaged for the lines alone, so that they do not follow the cells' corners."""

CLEAR = 2.0
"""Cells from a line to the next cell without a value."""

ROUGH = 0.03
"""Share of the range by which cells may scatter about their average where a line is drawn."""

STEP = 2.0
"""Points from one place to the next along a line."""

WINDOW = 18.0
"""Points of a line's length, to either side, over which it is judged."""

STRAIGHT = 0.9
"""Share of its length that a line must get ahead within the window; one that winds about is left out."""

SHORTEST = 55.0
"""Points of a piece of line worth drawing."""


def draw_isolines(
    ax: Axes, x: Axis, y: Axis, values: Array, shades: Shades, room: Room, look: Style, size: float
) -> None:
    """Draw numbered lines of equal value; none on coarse grids, and none that has no room for its number.

    A value that is a whole number has its line where the next whole number begins: inside lies what is at most
    that many.
    """
    if min(len(x.places), len(y.places)) < FEWEST or x.names or y.names:
        return
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    whole = bool((finite == np.round(finite)).all())
    across, up, field = x.places, y.places, _smeared(np.log10(np.maximum(values, shades.low)) if shades.log else values)
    for level in shades.numbers(MOST_LINES):
        height = level + 0.5 if whole else level
        if not finite.min() < height < finite.max():
            continue
        drawn = ax.contour(across, up, field, levels=[np.log10(height) if shades.log else height])
        drawn.remove()
        for line in lines_of(drawn):
            for piece in _smooth(room.points(line)):
                _draw(ax, float(level), room.data(piece), shades, room, look, size)


def _smeared(field: Array) -> Any:
    """Average a field over neighbouring cells; masked where it is rough, or near cells without a value."""
    there = np.isfinite(field)
    filled = np.where(there, field, 0.0)
    with np.errstate(all="ignore"):
        mean = _spread(filled) / _spread(there.astype(float))
        rough = np.sqrt(_spread(np.where(there, field - mean, 0.0) ** 2))
    near = ndimage.distance_transform_edt(np.pad(there, 1, mode="edge"))[1:-1, 1:-1] if not there.all() else np.inf
    span = float(np.ptp(field[there]))
    return np.ma.masked_where(~there | (near <= CLEAR) | (rough > ROUGH * span), mean)


def _spread(field: Array) -> Array:
    return np.asarray(ndimage.gaussian_filter(field, SMEAR, mode="nearest"))


def _smooth(line: Array) -> list[Array]:
    """Return the pieces of a line, in points, that run smoothly on paper."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] < SHORTEST:
        return []
    even = np.arange(0.0, along[-1], STEP)
    spots = np.stack([np.interp(even, along, line[:, k]) for k in (0, 1)], axis=1)
    spots = ndimage.uniform_filter1d(spots, 5, axis=0, mode="nearest")
    reach = int(WINDOW / STEP)
    ahead = np.minimum(np.arange(len(spots)) + reach, len(spots) - 1)
    behind = np.maximum(np.arange(len(spots)) - reach, 0)
    chord = np.hypot(*(spots[ahead] - spots[behind]).T)
    good = chord > STRAIGHT * STEP * (ahead - behind)
    return [spots[a:b] for a, b in runs_of(good) if (b - a) * STEP >= SHORTEST]


def _draw(ax: Axes, level: float, piece: Array, shades: Shades, room: Room, look: Style, size: float) -> None:
    """Draw one line with its number, or nothing where the number has no place."""
    below = shades.color(level)
    ink = inked(below)
    quiet, strong = _hex(mixed(below, ink, 0.5)), _hex(mixed(below, ink, 0.92))
    line = ContourSet(ax, [level], [[piece]], colors=quiet, linewidths=0.75, zorder=1.1)
    line.get_paths()[0].should_simplify = False  # it would take the number off the line
    before = len(ax.texts)
    own = replace(look, contour=quiet, hairline=quiet, number=strong)
    contours.number_lines(line, room, own, lambda _: _hex(below), size)
    if len(ax.texts) == before:
        line.remove()
        return
    line.set_gid("isoline")
    room.line(room.points(piece), 2.0)


def _hex(color: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in color)
