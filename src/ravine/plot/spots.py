"""Spots: which settings of a diagram are best, which were asked for, and how they are pointed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import ndimage

from ravine.plot.borders import outline
from ravine.plot.inks import Label, inked
from ravine.plot.paper import Style
from ravine.plot.places import Room
from ravine.plot.scales import Axis
from ravine.words import hint, listed

__all__ = ["Best", "Mark", "best_of", "draw_best", "draw_marks", "draw_without", "mark_of", "without"]

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

WIDE = 220.0
"""Points of a panel from which on symbols have their full size."""

AREA = 150.0
"""Square points from which a region of equally good settings is drawn round, instead of starred."""


@dataclass(frozen=True, eq=False)
class Best:
    """The lowest value, the cells that have it, and one of them to stand for all."""

    value: float
    cells: Mask
    row: int
    column: int

    @property
    def ties(self) -> int:
        """How many cells have it."""
        return int(self.cells.sum())


@dataclass(frozen=True, eq=False)
class Mark:
    """A setting to point out: where it lies, in which cell, and whether that cell is this very setting."""

    label: str
    x: float
    y: float
    row: int
    column: int
    exact: bool
    panel: Any = None


def best_of(values: Array) -> Best | None:
    """Return where the lowest value is; of several equal ones, the cell deepest inside their largest region.

    Examples
    --------
    >>> best = best_of(np.array([[4.0, 2.0, np.nan], [3.0, 2.0, 5.0]]))
    >>> best.value, best.ties, best.column
    (2.0, 2, 1)
    """
    finite = np.isfinite(values)
    if not finite.any():
        return None
    lowest = float(values[finite].min())
    cells = finite & (values == lowest)
    parts, count = ndimage.label(cells, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(cells, parts, np.arange(1, count + 1))
    largest = parts == int(np.argmax(sizes)) + 1
    deep = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    middle = np.argwhere(largest).mean(axis=0)
    spots = np.argwhere(deep == deep.max())
    row, column = spots[np.hypot(*(spots - middle).T).argmin()]
    return Best(lowest, cells, int(row), int(column))


def without(values: Array, y: Axis) -> Best | None:
    """Return the best of the row in which the vertical setting is 0 or False; None where there is no such row."""
    rows = [k for k, value in enumerate(y.values) if not isinstance(value, str) and value == 0]
    if not rows or len(y.values) == 1:
        return None
    alone = np.full_like(values, np.nan)
    alone[rows[0]] = values[rows[0]]
    return best_of(alone)


def mark_of(label: str, setting: Mapping[str, Any], x: Axis, y: Axis, panels: tuple[str, list[Any]] | None) -> Mark:
    """Find the cell of a setting to point out, or say why it cannot be."""
    named = [x.name, y.name]
    allowed = [*named, panels[0]] if panels else named
    if not isinstance(setting, Mapping) or not set(named) <= set(setting) or not set(setting) <= set(allowed):
        example = ", ".join(f"{axis.name!r}: {axis.values[0]!r}" for axis in (x, y))
        raise ValueError(f"the mark {label!r} must say where it lies, for example {{{example}}}; got {setting!r}")
    (column, across), (row, up) = (_place(label, axis, setting[axis.name]) for axis in (x, y))
    panel = setting.get(panels[0]) if panels else None
    if panels and panel is not None and panel not in panels[1]:
        raise ValueError(f"the mark {label!r} lies at {panels[0]} = {panel!r}; there are {listed(panels[1])}")
    exact = all(
        bool(axis.names) or bool(np.isclose(axis.places[k], place, rtol=1e-6, atol=1e-12))
        for axis, k, place in ((x, column, across), (y, row, up))
    )
    return Mark(label, across, up, row, column, exact, panel)


def _place(label: str, axis: Axis, value: Any) -> tuple[int, float]:
    if axis.names:
        if value not in axis.values:
            raise ValueError(
                f"the mark {label!r} lies at {axis.name} = {value!r}{hint(str(value), axis.names)}; "
                f"there are {listed(axis.names)}"
            )
        k = axis.values.index(value)
        return k, float(axis.places[k])
    place = float(value)
    low, high = axis.edges[[0, -1]]
    if not low <= place <= high:
        raise ValueError(
            f"the mark {label!r} lies at {axis.name} = {place:g}, outside the diagram, "
            f"which goes from {axis.values[0]:g} to {axis.values[-1]:g}"
        )
    return int(axis.cell(place)), place


def draw_best(
    ax: Axes, x: Axis, y: Axis, best: Best, room: Room, words: tuple[str, str, str], ground: Any, look: Style
) -> Label:
    """Point out the best setting with a star, or draw round all that are as good where they fill a region.

    `words` are the value, where it is, and what is not needed for it; `ground` is the colour of the cell.
    Returns what is to be written.
    """
    told, where, needless = words
    spot = float(x.places[best.column]), float(y.places[best.row])
    if best.ties > 2 and _area(best.cells, x, y, room) >= AREA:
        for line in outline(ax, x, y, best.cells, closed=True):
            ax.plot(*line.T, color=inked(ground), lw=1.5, zorder=4, gid="best", clip_on=False)
            room.line(room.points(line), 1.0)
        anywhere = "anywhere inside" if best.ties < best.cells.size else "everywhere"
        return Label((f"{told},\n{anywhere}" + f";\n{needless}" * bool(needless),), spot, 2.0, "best")
    _symbol(ax, spot, "*", 13, room, look, "best")
    split = told.replace(": ", ":\n")
    return Label((told + where, told + where.replace(", ", ",\n"), told, split), spot, 6.0, "best")


def _area(cells: Mask, x: Axis, y: Axis, room: Room) -> float:
    """Return how many square points the largest connected part of some cells covers."""
    parts, count = ndimage.label(cells, structure=np.ones((3, 3)))
    wide, tall = (np.diff(axis.share(axis.edges)) * side for axis, side in zip((x, y), room.size, strict=True))
    areas = ndimage.sum_labels(np.outer(tall, wide), parts, np.arange(1, count + 1))
    return float(np.max(areas))


def draw_without(ax: Axes, x: Axis, y: Axis, best: Best, room: Room, told: str, look: Style) -> Label:
    """Point out the best setting that leaves the vertical setting out; return what is to be written."""
    spot = float(x.places[best.column]), float(y.places[best.row])
    _symbol(ax, spot, "D", 6.5, room, look, "without")
    words = f"best without {y.heading}:\n{told}", f"best without\n{y.heading}:\n{told}"
    return Label(words, spot, 5.0, "without")


def _symbol(ax: Axes, spot: tuple[float, float], marker: str, size: float, room: Room, look: Style, gid: str) -> None:
    """Draw a symbol, smaller in small panels, and take its place."""
    size *= float(np.clip(room.size[0] / WIDE, 0.65, 1.0))
    room.mark(room.points([spot]), size / 2)
    ax.plot(
        *spot, ls="", marker=marker, ms=size, mew=1.1, mec=look.ink, mfc=look.ground, zorder=4.5, gid=gid, clip_on=False
    )


def draw_marks(ax: Axes, marks: Sequence[tuple[Mark, str]], room: Room, look: Style) -> list[Label]:
    """Ring settings that were asked for; return what is to be written."""
    labels = []
    for mark, told in marks:
        ring: dict[str, Any] = {"ls": "", "marker": "o", "ms": 9, "mfc": "none", "clip_on": False}
        ax.plot(mark.x, mark.y, mew=4.2, mec=look.ground, zorder=4.6, gid="mark_halo", **ring)
        ax.plot(mark.x, mark.y, mew=2.0, mec=look.accent, zorder=4.7, gid="mark", **ring)
        room.mark(room.points([(mark.x, mark.y)]), 6.0)
        labels.append(Label((f"{mark.label}: {told}", f"{mark.label}:\n{told}"), (mark.x, mark.y), 6.0, "mark"))
    return labels
