"""Which settings of a diagram are best, which were asked for, and labels that stay legible on coloured cells."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from ravine._format import hint, listed
from ravine.plot._canvas.labels import CELL, Box, FreeSpace, literal, text_size
from ravine.plot._canvas.scales import CellAxis, lightness, mix
from ravine.plot._canvas.style import Style
from ravine.plot._phase.regions import outline

Array = NDArray[np.floating[Any]]

MOST_ORDERS = 24
"""Orders of labels that are tried: all of four."""

FAR = 110.0
"""Points from a spot to its label, at most."""

LED = 13.0
"""Points from which on a thin line leads to a label."""

LIGHT, DEEP = "#ffffff", "#0d1f3a"


@dataclass(frozen=True)
class Label:
    """Ways to write what belongs to a spot, the best first, how near to it they may stand, and a name for tests."""

    words: tuple[str, ...]
    spot: tuple[float, float]
    near: float
    gid: str


@dataclass(frozen=True, eq=False)
class Underlay:
    """What lies under the labels of a panel, at the cells of its room.

    `colors` (row, column, 3) are those of the diagram's cells; `fence` is where large ones end: a label that fits
    stays inside one.
    """

    colors: Array
    fence: NDArray[np.bool_]

    def under(self, box: Box) -> Array:
        """Return the mean colour under a box."""
        rows, columns, _ = self.colors.shape
        low, high = (int(np.clip((box.y + side * box.height / 2) / CELL, 0, rows - 1)) for side in (-1, 1))
        left, right = (int(np.clip((box.x + side * box.width / 2) / CELL, 0, columns - 1)) for side in (-1, 1))
        return np.asarray(self.colors[low : high + 1, left : right + 1].mean(axis=(0, 1)))


def ink_on(color: Any) -> str:
    """Return the ink, light or deep, that stands out on a colour."""
    return LIGHT if lightness(color) < 0.57 else DEEP


def write_labels(ax: Axes, labels: Sequence[Label], free: FreeSpace, ground: Underlay, size: float) -> None:
    """Write labels beside their spots, in the order that keeps each nearest to its own."""
    orders = itertools.islice(itertools.permutations(labels), MOST_ORDERS)
    placed = min((_place_in_order(order, free, ground, size) for order in orders), key=lambda found: found[0])[1]
    for label, words, box in placed:
        _write_label(ax, label, words, box, free, ground, size)


def _place_in_order(
    order: Sequence[Label], free: FreeSpace, ground: Underlay, size: float
) -> tuple[float, list[tuple[Label, str, Box]]]:
    """Place labels in this order; return how far off they stand, and each with its words and box."""
    taken, cost = free.taken.copy(), 0.0
    placed: list[tuple[Label, str, Box]] = []
    for label in order:
        found = _place_label(label, free, ground, size)
        if found is None:
            cost += 3 * FAR
            continue
        anchor = free.points(label.spot)[0]
        gap = found[1].gap(anchor)
        way = anchor + np.linspace(0, 1, 30)[:, None] * (np.array([found[1].x, found[1].y]) - anchor)
        crossed = gap > LED and any(other.gap(spot) == 0 for _, _, other in placed for spot in way)
        cost += gap + FAR * crossed
        placed.append((label, *found))
        free.box(found[1])
    free.taken[:] = taken
    return cost, placed


def _place_label(label: Label, free: FreeSpace, ground: Underlay, size: float) -> tuple[str, Box] | None:
    """Find a place for a label: inside one large cell if it can be, else anywhere."""
    anchor, taken = free.points(label.spot)[0], free.taken
    for fence, far in ((ground.fence, LED), (False, FAR)):
        if fence is not False and not ground.fence.any():
            continue
        for words in label.words:
            width, height = text_size(words, size)
            free.taken = taken | fence
            box = free.beside(anchor, width + 4, height + 1, label.near, far)
            free.taken = taken
            if box is not None:
                return words, box
    return None


def _write_label(ax: Axes, label: Label, words: str, box: Box, free: FreeSpace, ground: Underlay, size: float) -> None:
    """Write a label in an ink that stands out on what lies beneath, edged with more of the same."""
    below = ground.under(box)
    ink = ink_on(below)
    edge = to_hex(mix(below, LIGHT if ink == DEEP else DEEP, 0.3))
    anchor = free.points(label.spot)[0]
    led = box.gap(anchor) > LED
    way = Box((box.x + 2 * float(anchor[0])) / 3, (box.y + 2 * float(anchor[1])) / 3, CELL, CELL)
    line = {"arrowstyle": "-", "lw": 0.6, "color": ink_on(ground.under(way)), "shrinkA": 1, "shrinkB": 4}
    ax.annotate(
        literal(words),
        label.spot,
        (box.x - float(anchor[0]), box.y - float(anchor[1])),
        textcoords="offset points",
        color=ink,
        size=size,
        ha="center",
        va="center",
        linespacing=1.15,
        path_effects=[withStroke(linewidth=2.2, foreground=edge)],
        zorder=6,
        gid=label.gid,
        arrowprops=line if led else None,
    )
    free.box(box)
    if led:
        free.line(np.array([anchor, [box.x, box.y]]), 1.0)


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
    parts, _ = ndimage.label(cells, structure=np.ones((3, 3)))
    which = int(np.argmax(np.bincount(parts.ravel())[1:]))
    box = ndimage.find_objects(parts)[which]  # of a large diagram the best cells are few
    largest, corner = parts[box] == which + 1, [side.start for side in box]
    deep = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    middle = (np.argwhere(largest) + corner).mean(axis=0)
    spots = np.argwhere(deep == deep.max()) + corner
    row, column = spots[np.hypot(*(spots - middle).T).argmin()]
    return Best(lowest, cells, int(row), int(column))


def best_without(values: Array, y: CellAxis) -> Best | None:
    """Return the best of the row in which the vertical setting is 0 or False; None where there is no such row."""
    rows = [k for k, value in enumerate(y.values) if not isinstance(value, str) and value == 0]
    if not rows or len(y.values) == 1:
        return None
    found = best_of(values[rows[:1]])
    if found is None:
        return None
    cells = np.zeros(values.shape, dtype=bool)
    cells[rows[0]] = found.cells
    return replace(found, cells=cells, row=rows[0])


def mark_of(
    label: str, setting: Mapping[str, Any], x: CellAxis, y: CellAxis, panels: tuple[str, list[Any]] | None
) -> Mark:
    """Find the cell of a setting to point out, or say why it cannot be."""
    named = [x.name, y.name]
    allowed = [*named, panels[0]] if panels else named
    if not isinstance(setting, Mapping) or not set(named) <= set(setting) or not set(setting) <= set(allowed):
        example = ", ".join(f"{axis.name!r}: {axis.values[0]!r}" for axis in (x, y))
        raise ValueError(f"the mark {label!r} must say where it lies, for example {{{example}}}; got {setting!r}")
    (column, across), (row, up) = (_find_cell(label, axis, setting[axis.name]) for axis in (x, y))
    panel = setting.get(panels[0]) if panels else None
    if panels and panel is not None and panel not in panels[1]:
        raise ValueError(f"the mark {label!r} lies at {panels[0]} = {panel!r}; there are {listed(panels[1])}")
    exact = all(
        bool(axis.names) or bool(np.isclose(axis.places[k], place, rtol=1e-6, atol=1e-12))
        for axis, k, place in ((x, column, across), (y, row, up))
    )
    return Mark(label, across, up, row, column, exact, panel)


def _find_cell(label: str, axis: CellAxis, value: Any) -> tuple[int, float]:
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
    ax: Axes,
    x: CellAxis,
    y: CellAxis,
    best: Best,
    free: FreeSpace,
    words: tuple[str, str, str],
    ground: Any,
    theme: Style,
) -> Label:
    """Point out the best setting with a star, or draw round all that are as good where they fill a region.

    `words` are the value, where it is, and what is not needed for it; `ground` is the colour of the cell.
    Returns what is to be written.
    """
    best_text, where, needless = words
    spot = float(x.places[best.column]), float(y.places[best.row])
    if best.ties > 2 and _area(best.cells, x, y, free) >= AREA:
        for line in outline(ax, x, y, best.cells, closed=True):
            ax.plot(*line.T, color=ink_on(ground), lw=1.5, zorder=4, gid="best", clip_on=False)
            free.line(free.points(line), 1.0)
        anywhere = "anywhere inside" if best.ties < best.cells.size else "everywhere"
        return Label((f"{best_text},\n{anywhere}" + f";\n{needless}" * bool(needless),), spot, 2.0, "best")
    _draw_symbol(ax, spot, "*", 13, free, theme, "best")
    split = best_text.replace(": ", ":\n")
    return Label((best_text + where, best_text + where.replace(", ", ",\n"), best_text, split), spot, 6.0, "best")


def _area(cells: Mask, x: CellAxis, y: CellAxis, free: FreeSpace) -> float:
    """Return how many square points the largest connected part of some cells covers."""
    parts, _ = ndimage.label(cells, structure=np.ones((3, 3)))
    wide, tall = (np.diff(axis.share(axis.edges)) * side for axis, side in zip((x, y), free.size, strict=True))
    rows, columns = cells.nonzero()
    return float(np.bincount(parts[rows, columns], (tall[rows] * wide[columns])).max())


def draw_without(ax: Axes, x: CellAxis, y: CellAxis, best: Best, free: FreeSpace, text: str, theme: Style) -> Label:
    """Point out the best setting that leaves the vertical setting out; return what is to be written."""
    spot = float(x.places[best.column]), float(y.places[best.row])
    _draw_symbol(ax, spot, "D", 6.5, free, theme, "without")
    words = f"best without {y.heading}:\n{text}", f"best without\n{y.heading}:\n{text}"
    return Label(words, spot, 5.0, "without")


def _draw_symbol(
    ax: Axes, spot: tuple[float, float], marker: str, size: float, free: FreeSpace, theme: Style, gid: str
) -> None:
    """Draw a symbol, smaller in small panels, and take its place."""
    size *= float(np.clip(free.size[0] / WIDE, 0.65, 1.0))
    free.mark(free.points([spot]), size / 2)
    ax.plot(
        *spot,
        ls="",
        marker=marker,
        ms=size,
        mew=1.1,
        mec=theme.ink,
        mfc=theme.ground,
        zorder=4.5,
        gid=gid,
        clip_on=False,
    )


def draw_marks(ax: Axes, marks: Sequence[tuple[Mark, str]], free: FreeSpace, theme: Style) -> list[Label]:
    """Ring settings that were asked for; return what is to be written."""
    labels = []
    for mark, text in marks:
        ring: dict[str, Any] = {"ls": "", "marker": "o", "ms": 9, "mfc": "none", "clip_on": False}
        ax.plot(mark.x, mark.y, mew=4.2, mec=theme.ground, zorder=4.6, gid="mark_halo", **ring)
        ax.plot(mark.x, mark.y, mew=2.0, mec=theme.accent, zorder=4.7, gid="mark", **ring)
        free.mark(free.points([(mark.x, mark.y)]), 6.0)
        labels.append(Label((f"{mark.label}: {text}", f"{mark.label}:\n{text}"), (mark.x, mark.y), 6.0, "mark"))
    return labels
