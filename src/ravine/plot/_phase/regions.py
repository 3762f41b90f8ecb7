"""The parts of a diagram that have no value, each with its own colour, name, count and border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from ravine.plot._canvas.cells import draw_cells
from ravine.plot._canvas.labels import CELL, Box, FreeSpace, literal, text_size
from ravine.plot._canvas.scales import CellAxis, Shades
from ravine.plot._canvas.style import Style, halo
from ravine.plot._map.levels import places_along
from ravine.plot._phase.outcomes import ARRIVED, DIVERGED, INVALID, LATE, Outcomes

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def draw_border(
    ax: Axes, x: CellAxis, y: CellAxis, mask: Mask, beside: Mask, theme: Style, known: Array | None = None
) -> list[Array]:
    """Draw where a region begins, as far as it lies beside these other cells; return the lines.

    What lies within a cell of a line that is `known`, in data coordinates, is left to that line.
    """
    if x.names or y.names or not mask.any() or mask.all():
        return []
    free = FreeSpace(ax)
    near = ndimage.binary_dilation(beside, iterations=2)
    fine = max(free.size[0] / len(x.places), free.size[1] / len(y.places)) <= SMALL
    lines = []
    for whole in outline(ax, x, y, mask, closed=False):
        good = near[y.cell(whole[:, 1]), x.cell(whole[:, 0])]
        if known is not None:
            good &= ~_lies_beside(free, x, y, known, whole)
        parts = [free.points(whole[first:last]) for first, last in runs_of(good) if last - first > 1]
        lines += [
            free.data(_smooth_border(part) if fine else part) for part in parts if _length(part) >= SPECK or not fine
        ]
    for line in lines:
        ax.plot(*line.T, color=theme.accent, lw=1.4, zorder=2, gid="border", solid_joinstyle="round")
    return lines


def _lies_beside(free: FreeSpace, x: CellAxis, y: CellAxis, known: Array, places: Array) -> Mask:
    """Tell which places lie beside a line: no farther than the largest cell, in either direction, and a hair."""
    along = np.linspace(0, len(known) - 1, 8 * len(known))
    line = np.stack([np.interp(along, np.arange(len(known)), column) for column in free.points(known).T], axis=1)
    cells = [np.diff(axis.share(axis.edges)).max() * side for axis, side in zip((x, y), free.size, strict=True)]
    reach = 1.5 * np.array(cells) + 2.0
    line = line[np.isfinite(line).all(axis=1)]  # a limit of 0 lies nowhere on a logarithmic axis
    near, _ = KDTree(line / reach).query(free.points(places) / reach, p=np.inf)
    return np.asarray(near <= 1.0)


def _length(line: Array) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def runs_of(good: Mask) -> list[tuple[int, int]]:
    """Return first and last (exclusive) of each run of what is true."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int))).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def outline(ax: Axes, x: CellAxis, y: CellAxis, mask: Mask, *, closed: bool) -> list[Array]:
    """Return the border of some cells as lines of places, corners cut by a point or so.

    With `closed` the border of the diagram counts as one of theirs.
    """
    padded = np.pad(mask, 1, constant_values=False) if closed else np.pad(mask, 1, mode="edge")
    fine, across, up = _divide_cells(ax, x, y, padded)
    (lines,) = places_along(across, up, fine, [0.5])
    return lines


SMALL = 7.0
"""Points of a cell up to which its corners are no part of a border."""

SPECK = 40.0
"""Points of a border round small cells below which it is round a few of them, and only blots them out."""

CALM = 24.0
"""Points of its length over which a border is averaged: its steps are those of the grid, not of the runs."""


def _smooth_border(line: Array) -> Array:
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


FINE = 2.5
"""Points between two places at which the border of a region is looked for."""

MOST_FINE = 24


def _divide_cells(ax: Axes, x: CellAxis, y: CellAxis, padded: Mask) -> tuple[Array, Array, Array]:
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


def draw_hatch(ax: Axes, x: CellAxis, y: CellAxis, mask: Mask, pattern: str, color: str) -> None:
    """Hatch some cells."""
    fine, across, up = _divide_cells(ax, x, y, np.pad(mask, 1, mode="edge"))
    filled = ax.contourf(across, up, fine, levels=[0.5, 1.5], colors="none", hatches=[pattern], zorder=0.6)
    filled.set(edgecolor=color, linewidth=0.0, gid="hatch")


@dataclass(frozen=True)
class RegionStyle:
    """How a region is filled, and in which colour it is named."""

    fill: str
    hatch: str
    edge: str
    word: str


def region_style_of(outcome: str, theme: Style) -> RegionStyle:
    """Return how a region looks: told apart by hatching too, so that grey prints lose nothing."""
    known = {
        DIVERGED: RegionStyle(theme.diverging, "", theme.accent, theme.accent),
        LATE: RegionStyle(theme.late, "", theme.quiet, theme.quiet),
        INVALID: RegionStyle(theme.ground, "////", theme.contour, theme.quiet),
    }
    return known.get(outcome, RegionStyle(theme.ground, "....", theme.contour, theme.quiet))


def draw_outcomes(
    ax: Axes, x: CellAxis, y: CellAxis, outcomes: Outcomes, theme: Style, known: Array | None = None
) -> list[Array]:
    """Fill the cells without a value, each by its outcome; draw and return where those begin that diverge.

    `known` is a line that says so already: beside it no other is drawn.
    """
    names = outcomes.regions
    if not names:
        return []
    places = np.array([names.index(word) if word in names else -1 for word in outcomes.words])
    mesh = draw_cells(
        ax,
        x.edges,
        y.edges,
        np.ma.masked_less(places[outcomes.codes], 0),
        cmap=ListedColormap([region_style_of(name, theme).fill for name in names]),
        norm=Normalize(-0.5, len(names) - 0.5),
        zorder=0.5,
        gid="outcome",
    )
    mesh.set_label(", ".join(names))
    for name in names:
        own = region_style_of(name, theme)
        if own.hatch:
            draw_hatch(ax, x, y, outcomes.are(name), own.hatch, own.edge)
    # next to cells that have no value either, a border would say nothing
    beside = outcomes.are(ARRIVED) | outcomes.are(LATE)
    return draw_border(ax, x, y, outcomes.are(DIVERGED), beside, theme, known)


def cells_under(free: FreeSpace, x: CellAxis, y: CellAxis) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which row and column of cells lies under each row and column of a panel's room."""
    rows, columns = free.taken.shape
    across = (np.arange(columns) + 0.5) * CELL / free.size[0]
    up = (np.arange(rows) + 0.5) * CELL / free.size[1]
    low = free.data((0.0, 0.0))
    high = free.data(free.size)
    found = []
    for axis, shares, ends in ((y, up, (low[1], high[1])), (x, across, (low[0], high[0]))):
        first, last = axis.even(np.array(ends))
        inner = first + shares * (last - first)
        found.append(axis.cell(10.0**inner if axis.log else inner))
    return found[0], found[1]


def colors_under(
    free: FreeSpace,
    x: CellAxis,
    y: CellAxis,
    values: Array,
    outcomes: Outcomes,
    shades: Shades | None,
    theme: Style,
) -> Array:
    """Return the colour under each cell of a panel's room, shape (row, column, 3)."""
    rows, columns = cells_under(free, x, y)
    cells = np.ix_(rows, columns)
    there, ends = values[cells], outcomes.codes[cells]
    colors = np.zeros((*there.shape, 3))
    if shades is not None:
        colors[:] = shades.ramp(shades.norm(np.nan_to_num(there, nan=shades.low)))[..., :3]
    for name in outcomes.regions:
        colors[ends == outcomes.code(name)] = to_rgb(region_style_of(name, theme).fill)
    return colors


def name_outcomes(
    ax: Axes, free: FreeSpace, x: CellAxis, y: CellAxis, outcomes: Outcomes, within: str, theme: Style, size: float
) -> list[str]:
    """Write the name of each region where there is room inside it; return the names that found none."""
    rows, columns = cells_under(free, x, y)
    below = outcomes.codes[np.ix_(rows, columns)]
    missing = []
    for name in outcomes.regions:
        inside = FreeSpace(ax)
        inside.taken = free.taken | (below != outcomes.code(name))
        if not _write_name(ax, inside, free, _spellings(name, within), region_style_of(name, theme), size, theme):
            missing.append(name)
    return missing


def _spellings(name: str, within: str) -> list[str]:
    """Return ways to write a name, the best first."""
    if name != LATE or not within:
        return [name]
    first, rest = within.strip().split(" ", 1)  # within, 600 steps
    return [f"{name} {first} {rest}", f"{name}\n{first} {rest}", f"{name}\n{first}\n{rest}", name]


def _write_name(
    ax: Axes, inside: FreeSpace, free: FreeSpace, spellings: Sequence[str], own: RegionStyle, size: float, theme: Style
) -> bool:
    clear = inside.clearance(border=True)
    middle = np.argwhere(~inside.taken).mean(axis=0) if not inside.taken.all() else np.zeros(2)
    for turn in (0, 90):
        for words in spellings:
            width, height = text_size(words, size)
            if turn:
                width, height = height, width
            spare = inside.has_room(width + 8, height + 6)
            if not spare.any():
                continue
            half = int((height + 6) / 2 / CELL), int((width + 8) / 2 / CELL)
            held = np.zeros(clear.shape, dtype=bool)
            held[half[0] : half[0] + spare.shape[0], half[1] : half[1] + spare.shape[1]] = spare
            rows, columns = np.indices(clear.shape)
            off = np.hypot(rows - middle[0], columns - middle[1]) * CELL
            score = np.where(held, np.minimum(clear, max(width, height)) - 0.1 * off, -np.inf)
            row, column = np.unravel_index(int(score.argmax()), clear.shape)
            spot = (column + 0.5) * CELL, (row + 0.5) * CELL
            note = ax.annotate(
                literal(words),
                spot,
                xycoords="axes points",
                ha="center",
                va="center",
                size=size,
                color=own.word,
                rotation=turn,
            )
            note.set(
                style="italic",
                gid="outcome",
                zorder=5,
                linespacing=1.2,
                path_effects=halo(theme) * bool(own.hatch),
            )
            free.box(Box(float(spot[0]), float(spot[1]), width + 4, height + 2))
            return True
    return False
