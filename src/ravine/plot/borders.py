"""Borders: where a region of cells ends, as lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from numpy.typing import NDArray
from scipy import ndimage

from ravine.plot.paper import Style
from ravine.plot.places import Room
from ravine.plot.scales import Axis

__all__ = ["draw_border", "hatch", "lines_of", "outline", "runs_of"]

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def draw_border(
    ax: Axes, x: Axis, y: Axis, mask: Mask, beside: Mask, look: Style, known: Array | None = None
) -> list[Array]:
    """Draw where a region begins, as far as it lies beside these other cells; return the lines.

    What lies within a cell of a line that is `known`, in data coordinates, is left to that line.
    """
    if x.names or y.names or not mask.any() or mask.all():
        return []
    room = Room(ax)
    near = ndimage.binary_dilation(beside, iterations=2)
    fine = max(room.size[0] / len(x.places), room.size[1] / len(y.places)) <= SMALL
    lines = []
    for whole in outline(ax, x, y, mask, closed=False):
        good = near[y.cell(whole[:, 1]), x.cell(whole[:, 0])]
        if known is not None:
            good &= ~_beside(room, x, y, known, whole)
        parts = [room.points(whole[first:last]) for first, last in runs_of(good) if last - first > 1]
        lines += [room.data(_calmed(part) if fine else part) for part in parts if _length(part) >= SPECK or not fine]
    for line in lines:
        ax.plot(*line.T, color=look.accent, lw=1.4, zorder=2, gid="border", solid_joinstyle="round")
    return lines


def _beside(room: Room, x: Axis, y: Axis, known: Array, places: Array) -> Mask:
    """Tell which places lie beside a line: no farther than the largest cell, in either direction, and a hair."""
    along = np.linspace(0, len(known) - 1, 8 * len(known))
    line = np.stack([np.interp(along, np.arange(len(known)), column) for column in room.points(known).T], axis=1)
    cells = [np.diff(axis.share(axis.edges)).max() * side for axis, side in zip((x, y), room.size, strict=True)]
    reach = 1.5 * np.array(cells) + 2.0
    away = np.abs(room.points(places)[:, None] - line[None])
    return np.asarray((away <= reach).all(axis=-1).any(axis=1))


def _length(line: Array) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def runs_of(good: Mask) -> list[tuple[int, int]]:
    """Return first and last (exclusive) of each run of what is true."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int))).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def outline(ax: Axes, x: Axis, y: Axis, mask: Mask, *, closed: bool) -> list[Array]:
    """Return the border of some cells as lines of places, corners cut by a point or so.

    With `closed` the border of the diagram counts as one of theirs.
    """
    padded = np.pad(mask, 1, constant_values=False) if closed else np.pad(mask, 1, mode="edge")
    fine, across, up = _fine(ax, x, y, padded)
    drawn = ax.contour(across, up, fine, levels=[0.5])
    drawn.remove()
    return lines_of(drawn)


SMALL = 7.0
"""Points of a cell up to which its corners are no part of a border."""

SPECK = 40.0
"""Points of a border round small cells below which it is round a few of them, and only blots them out."""

CALM = 24.0
"""Points of its length over which a border is averaged: its steps are those of the grid, not of the runs."""


def _calmed(line: Array) -> Array:
    """Average a line, in points, along its way; both ends stay where they are, and what is short stays as it is."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    if along[-1] < 4 * CALM:
        return line
    places = np.linspace(0.0, along[-1], int(along[-1]))
    even = np.stack([np.interp(places, along, line[:, k]) for k in (0, 1)], axis=1)
    reach = int(CALM)
    for _ in range(2):
        before, after = 2 * even[0] - even[reach:0:-1], 2 * even[-1] - even[-2 : -reach - 2 : -1]
        longer = np.concatenate([before, even, after])
        even = ndimage.uniform_filter1d(longer, reach, axis=0)[reach:-reach]
    return even


def lines_of(drawn: ContourSet) -> list[Array]:
    """Return the lines of the only level of a contour, each place of them: none is left out as too near."""
    path = drawn.get_paths()[0]
    path.should_simplify = False
    return [np.asarray(each) for each in path.to_polygons(closed_only=False)]


FINE = 2.5
"""Points between two places at which the border of a region is looked for."""

MOST_FINE = 24


def _fine(ax: Axes, x: Axis, y: Axis, padded: Mask) -> tuple[Array, Array, Array]:
    """Divide cells that are large on paper, so that the corners of their border stay corners.

    Around them lies one more cell on either side.
    """
    figure = ax.get_figure()
    assert figure is not None
    sides = np.array([ax.bbox.width, ax.bbox.height]) * 72 / figure.dpi
    places, counts = [], []
    for axis, side in zip((x, y), sides, strict=True):
        cells = len(axis.places)
        parts = int(np.clip(np.ceil(side / cells / FINE), 1, MOST_FINE))
        spots = (np.arange((cells + 2) * parts) + 0.5) / parts - 1.5
        places.append(axis.between(spots))  # what lies beyond the border lies on it
        counts.append(parts)
    fine = np.repeat(np.repeat(padded, counts[1], axis=0), counts[0], axis=1)
    return fine.astype(float), places[0], places[1]


def hatch(ax: Axes, x: Axis, y: Axis, mask: Mask, pattern: str, color: str) -> None:
    """Hatch some cells."""
    fine, across, up = _fine(ax, x, y, np.pad(mask, 1, mode="edge"))
    hatched = ax.contourf(across, up, fine, levels=[0.5, 1.5], colors="none", hatches=[pattern], zorder=0.6)
    hatched.set(edgecolor=color, linewidth=0.0, gid="hatch")
