"""The end of a run that winds about in a spot too small to follow on the map, enlarged in a free corner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.plot._canvas.labels import CELL, Box, FreeSpace, text_size
from ravine.plot._canvas.style import Style, halo

Array = NDArray[np.floating[Any]]

WINDING = 2.5
"""How many times its own size the second half's way must be long: what comes straight in shows nothing new enlarged."""

FACTORS = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
"""Enlargements that are easy to reckon with."""

SIDE = 0.34
"""Side of an inset, as a share of the map's."""

SMALL = 0.86 * SIDE / FACTORS[0]
"""Share of the map's side within which the end of a run is hard to follow, and fits the least enlargement."""


@dataclass(frozen=True, eq=False)
class Tail:
    """The last part of a run: from which step on, the window around it as (low, high), and how many times enlarged."""

    first: int
    low: Array
    high: Array
    factor: int


def tail_of(track: Array, low: Array, high: Array, unit: float) -> Tail | None:
    """Return the part of a run that an inset would make legible, or None where it would show nothing new.

    Parameters
    ----------
    track
        Positions in data coordinates, shape (n, 2).
    low, high
        The map's corners.
    unit
        The map's smaller side in points.
    """
    if len(track) < 12 or not np.isfinite(track).all() or not ((track[-1] > low) & (track[-1] < high)).all():
        return None
    shares = (track - low) / (high - low)
    # the smallest box of all steps from k on, for every k at once
    backwards = shares[::-1]
    spread = (np.maximum.accumulate(backwards) - np.minimum.accumulate(backwards)).max(axis=1)[::-1]
    first = int((spread > SMALL).sum())
    tail, half = shares[first:], len(track) // 2
    if len(tail) < max(8, half):
        return None
    size = float(spread[first])
    way = float(np.hypot(*np.diff(shares[half:], axis=0).T).sum())
    # a speck needs no inset, and rest is not winding, however much the last bits flicker
    if size * unit < 3 or spread[half] * unit < 0.3 or way < WINDING * spread[half]:
        return None
    factor = max(factor for factor in FACTORS if size * factor <= 0.86 * SIDE)
    middle = (tail.min(axis=0) + tail.max(axis=0)) / 2
    reach = SIDE / factor / 2
    return Tail(first, low + (middle - reach) * (high - low), low + (middle + reach) * (high - low), factor)


def draw_inset(
    ax: Axes,
    tail: Tail,
    words: str,
    free: FreeSpace,
    theme: Style,
    size: float,
    inside: Callable[[Axes], None],
) -> Axes | None:
    """Draw the enlargement in the emptiest corner, with a frame around what it shows; None where no corner is free.

    `inside` draws the content on the Axes it is given, whose limits it may not change.
    """
    wide, tall = SIDE * free.size
    place = free.corner(wide, tall, 5.0)
    if place is None:
        return None
    corner = np.array([place.x - wide / 2, place.y - tall / 2]) / free.size
    inset = ax.inset_axes((float(corner[0]), float(corner[1]), SIDE, SIDE), zorder=5)
    inset.set_xlim(tail.low[0], tail.high[0])
    inset.set_ylim(tail.low[1], tail.high[1])
    inset.set(xticks=[], yticks=[], facecolor=theme.far)
    for spine in inset.spines.values():
        spine.set(color=theme.quiet, linewidth=0.7)
    inside(inset)
    right, top = _clear_corner(inset, words, size)
    inset.text(
        0.96 if right else 0.04,
        0.965 if top else 0.035,
        words,
        transform=inset.transAxes,
        size=size,
        color=theme.ink,
        ha="right" if right else "left",
        va="top" if top else "bottom",
        zorder=7,
        gid="scale",
        path_effects=halo(theme, 2.0),
    )
    _draw_frame(ax, tail, place, free, theme)
    free.box(Box(place.x, place.y, wide + 4, tall + 4))
    return inset


def _clear_corner(inset: Axes, words: str, size: float) -> tuple[bool, bool]:
    """Return the corner (right, top) in which words cover least of the path; the lower left one, if it is free."""
    free = FreeSpace(inset)
    for line in inset.lines:
        free.line(free.points(np.c_[line.get_data()]), 1.0)
    width, height = text_size(words, size)
    columns, rows = (int(np.ceil((each + 4) / CELL)) for each in (width, height))
    corners = [(False, False), (False, True), (True, False), (True, True)]
    taken = [
        int(
            free.taken[
                (slice(-rows, None) if top else slice(rows)), (slice(-columns, None) if right else slice(columns))
            ].sum()
        )
        for right, top in corners
    ]
    return corners[int(np.argmin(taken))]


def _draw_frame(ax: Axes, tail: Tail, place: Box, free: FreeSpace, theme: Style) -> None:
    """Frame on the map what the inset shows, and join the two by a thin line."""
    (left, low), (right, high) = tail.low, tail.high
    corners = np.array([[left, low], [right, low], [right, high], [left, high], [left, low]])
    ax.plot(*corners.T, color=theme.quiet, lw=0.7, zorder=3.5, gid="window")
    spots = free.points(corners)
    free.line(spots, 3.0)
    middle = spots[:4].mean(axis=0)
    way = np.array([place.x, place.y]) - middle
    half = np.abs(spots[:4] - middle).max(axis=0)
    ends = [
        middle + way * float(np.min(half / np.maximum(np.abs(way), 1e-9))),
        middle + way * (1 - float(np.min(np.array([place.width, place.height]) / 2 / np.maximum(np.abs(way), 1e-9)))),
    ]
    line = np.array([free.data(end) for end in ends])
    ax.plot(*line.T, color=theme.quiet, lw=0.6, alpha=0.8, zorder=2.8, gid="joint")
    free.line(np.array(ends), 1.0)
