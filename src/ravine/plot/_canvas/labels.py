"""Text beside what it names: where in a panel there is room for it, found on a coarse picture of what is taken.

A panel is divided into square cells of two points. Whatever is drawn marks its cells; a running sum over them
tells at once, for every place, whether a box would cover anything there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ravine.plot._canvas.style import Style, halo, is_users

Array = NDArray[np.floating[Any]]

CELL = 2.0
"""Side of a cell, in points."""

LED = 13.0
"""Points from a place beyond which a line leads to its label."""

MOST_SPOTS = 200_000
"""Points at which a path is marked, at most: it costs milliseconds, however long the run."""


@dataclass(frozen=True)
class Box:
    """A rectangle in points from the lower left corner of the panel: its middle, width and height."""

    x: float
    y: float
    width: float
    height: float

    def gap(self, point: ArrayLike) -> float:
        """Distance from a point to the nearest edge; 0 inside."""
        px, py = np.asarray(point, dtype=float)
        return float(np.hypot(max(abs(px - self.x) - self.width / 2, 0), max(abs(py - self.y) - self.height / 2, 0)))


class FreeSpace:
    """What is taken and what is free in one Axes, whose limits must be final."""

    def __init__(self, ax: Axes):
        ax.apply_aspect()
        figure = ax.get_figure()
        assert figure is not None
        self.ax = ax
        self.unit = 72 / figure.dpi  # points per pixel
        box = ax.bbox
        self.origin = np.array([box.x0, box.y0])
        self.size = np.array([box.width, box.height]) * self.unit
        columns, rows = (max(2, int(side / CELL)) for side in self.size)
        self.taken = np.zeros((rows, columns), dtype=bool)
        self.texts: list[Box] = []

    def points(self, data: ArrayLike) -> Array:
        """Turn data coordinates, shape (n, 2), into points from the lower left corner."""
        with np.errstate(all="ignore"):
            pixels = self.ax.transData.transform(np.atleast_2d(np.asarray(data, dtype=float)))
        moved: Array = (pixels - self.origin) * self.unit
        return moved

    def data(self, point: ArrayLike) -> Array:
        """Turn one place in points back into data coordinates."""
        pixels = np.asarray(point, dtype=float) / self.unit + self.origin
        back: Array = self.ax.transData.inverted().transform(pixels)
        return back

    def mark(self, spots: Array, radius: float = 0.0) -> None:
        """Take the cells within `radius` of these points."""
        rows, columns = self.taken.shape
        spots = spots[np.isfinite(spots).all(axis=1)]
        cells = np.floor(np.clip(spots, -1e6, 1e6) / CELL).astype(int)
        reach = int(np.ceil(radius / CELL))
        within = (cells >= -reach).all(axis=1) & (cells < [columns + reach, rows + reach]).all(axis=1)
        fresh = np.zeros((rows + 2 * reach, columns + 2 * reach), dtype=bool)
        fresh[cells[within, 1] + reach, cells[within, 0] + reach] = True
        if reach:
            fresh = ndimage.maximum_filter(fresh, size=2 * reach + 1)
            fresh = fresh[reach:-reach, reach:-reach]
        self.taken |= fresh

    def line(self, track: Array, radius: float = 2.0) -> None:
        """Take what a line through these points covers, given in points; what leaves the panel is cut off."""
        if len(track) < 2:
            self.mark(track, radius)
            return
        self.mark(_sample_line(track, self.size), radius)

    def box(self, box: Box) -> None:
        """Take a rectangle."""
        (first, last), (low, high) = self._cells_of(box)
        self.taken[low:high, first:last] = True

    def _cells_of(self, box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return which columns a rectangle covers, and which rows: from the first to the one after the last."""
        rows, columns = self.taken.shape
        return (
            _cells_between(box.x - box.width / 2, box.x + box.width / 2, columns),
            _cells_between(box.y - box.height / 2, box.y + box.height / 2, rows),
        )

    def has_room(self, width: float, height: float) -> NDArray[np.bool_]:
        """Tell for each cell whether a box with its lower left corner there is free and inside."""
        rows, columns = self.taken.shape
        tall, wide = (int(np.ceil(each / CELL)) for each in (height, width))
        if tall > rows or wide > columns:
            return np.zeros((0, 0), dtype=bool)
        total = np.zeros((rows + 1, columns + 1), dtype=np.int32)
        total[1:, 1:] = self.taken.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        covered = total[tall:, wide:] - total[:-tall, wide:] - total[tall:, :-wide] + total[:-tall, :-wide]
        return np.asarray(covered == 0)

    def write(self, box: Box) -> None:
        """Take the rectangle of a text, through which no leader may lead."""
        self.box(box)
        self.texts.append(box)

    def beside(self, anchor: ArrayLike, width: float, height: float, near: float, far: float) -> Box | None:
        """Return the free box nearest to `anchor`, from `near` to `far` points away from it, if there is one.

        Where it is so far off that a line leads to it, that line crosses no text.
        """
        free = self.has_room(width, height)
        if not free.any():
            return None
        px, py = np.asarray(anchor, dtype=float)
        rows, columns = np.nonzero(free)
        x = columns * CELL + np.ceil(width / CELL) * CELL / 2
        y = rows * CELL + np.ceil(height / CELL) * CELL / 2
        away = np.hypot(np.maximum(np.abs(x - px) - width / 2, 0), np.maximum(np.abs(y - py) - height / 2, 0))
        cost = np.where((away < near) | (away > far), np.inf, away + 0.12 * np.abs(y - py))
        if self.texts and (away[cost.argmin()] > LED):
            cost[(away > LED) & _crosses(np.array([px, py]), np.c_[x, y], self.texts)] = np.inf
        best = int(cost.argmin())
        return Box(float(x[best]), float(y[best]), width, height) if np.isfinite(cost[best]) else None

    def corner(self, width: float, height: float, pad: float) -> Box | None:
        """Return the corner of the panel, `pad` points inside, where a box is free and farthest from all else."""
        clear = self.clearance()
        best, most = None, -1.0
        free = self.has_room(width + 2 * pad, height + 2 * pad)
        if not free.any():
            return None
        for top in (0, 1):
            for right in (1, 0):
                if not free[-top, -right]:
                    continue
                x = self.size[0] - pad - width / 2 if right else pad + width / 2
                y = self.size[1] - pad - height / 2 if top else pad + height / 2
                row, column = int(y / CELL), int(x / CELL)
                if clear[row, column] > most:
                    best, most = Box(x, y, width, height), float(clear[row, column])
        return best

    def clearance(self, border: bool = False) -> Array:
        """Return for each cell how far, in points, it is from the nearest taken one (and from the border)."""
        taken = np.pad(self.taken, 1, constant_values=True) if border else self.taken
        if not taken.any():
            return np.full(self.taken.shape, float(self.size.max()))
        distance: Array = ndimage.distance_transform_edt(~taken) * CELL
        return distance[1:-1, 1:-1] if border else distance

    def clearance_beside(self, clearance: Array, box: Box) -> Array:
        """Return what a clearance has become since a rectangle was taken: no need to look at all cells anew."""
        (first, last), (low, high) = self._cells_of(box)
        if last <= first or high <= low:
            return clearance
        rows, columns = (np.arange(side) for side in clearance.shape)
        across = np.maximum(np.maximum(first - columns, columns - last + 1), 0)
        up = np.maximum(np.maximum(low - rows, rows - high + 1), 0)
        away: Array = np.sqrt((up**2)[:, None] + (across**2)[None, :]) * CELL
        return np.minimum(clearance, away)

    def at(self, field: Array, spots: Array) -> Array:
        """Read a field of cells at these points; 0 outside the panel."""
        rows, columns = self.taken.shape
        cells = np.floor(spots / CELL).astype(int)
        inside = (cells >= 0).all(axis=1) & (cells < [columns, rows]).all(axis=1)
        cells = np.clip(cells, 0, [columns - 1, rows - 1])
        return np.where(inside, field[cells[:, 1], cells[:, 0]], 0.0)


def _cells_between(low: float, high: float, count: int) -> tuple[int, int]:
    return max(int(np.floor(low / CELL)), 0), min(max(int(np.ceil(high / CELL)), 0), count)


def _crosses(anchor: Array, middles: Array, boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Tell for each middle whether the straight way to it from the anchor passes through one of the boxes."""
    ways = middles - anchor
    crossed = np.zeros(len(middles), dtype=bool)
    for box in boxes:
        half = np.array([box.width, box.height]) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (
                (np.array([box.x, box.y]) - half - anchor) / ways,
                (np.array([box.x, box.y]) + half - anchor) / ways,
            )
        enter = np.fmin(one, other).max(axis=1)
        leave = np.fmax(one, other).min(axis=1)
        crossed |= (enter < leave) & (leave > 0) & (enter < 1)
    return crossed


def _sample_line(track: Array, size: Array) -> Array:
    """Return points every few points of the way along a line, its parts inside the panel only."""
    tails, heads = track[:-1], track[1:]
    finite = np.isfinite(tails).all(axis=1) & np.isfinite(heads).all(axis=1)
    tails, ways = tails[finite], (heads - tails)[finite]
    with np.errstate(all="ignore"):  # where along each leg it enters and leaves the panel
        one, other = (0 - tails) / ways, (size - tails) / ways
    still = (ways == 0) & (tails >= 0) & (tails <= size)
    enter = np.where(still, 0.0, np.nan_to_num(np.minimum(one, other), nan=2.0)).max(axis=1).clip(0, None)
    leave = np.where(still, 1.0, np.nan_to_num(np.maximum(one, other), nan=-1.0)).min(axis=1).clip(None, 1)
    met = enter <= leave
    tails, ways, enter, leave = tails[met], ways[met], enter[met], leave[met]
    lengths = np.hypot(*(ways * (leave - enter)[:, None]).T)
    step = max(CELL, float(lengths.sum()) / MOST_SPOTS)
    counts = (np.ceil(lengths / step) + 1).astype(int)
    leg = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    share = enter[leg] + (leave - enter)[leg] * place / np.maximum(counts[leg] - 1, 1)
    return np.asarray(tails[leg] + share[:, None] * ways[leg])


CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no font has and no SVG may hold."""


def printable(text: str) -> str:
    r"""Return a text with its control characters as escapes; line breaks stay.

    Examples
    --------
    >>> printable("bell\x07")
    'bell\\x07'
    """
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def literal(text: str) -> str:
    r"""Return a text as matplotlib is to be given it, so that it is drawn as it is: no name is mathtext.

    Examples
    --------
    >>> literal("$w_1$")
    '\\$w_1\\$'
    """
    return printable(text).replace("$", r"\$")


def text_size(text: str, size: float, *, weight: str = "normal", family: str = "") -> tuple[float, float]:
    """Return width and height of a text in points, without drawing it; in the font that is set, if none is named."""
    lines = printable(text).split("\n")
    fonts = (family,) if family else tuple(mpl.rcParams["font.family"])
    return max(_width(line, weight, fonts) for line in lines) * size, 1.25 * size * len(lines)


@functools.cache
def _width(line: str, weight: str, family: tuple[str, ...]) -> float:
    if not line:
        return 0.0
    font = get_font(findfont(FontProperties(family=list(family), weight=weight)))
    font.set_size(100, 72)
    font.set_text(line, 0.0)
    return float(font.get_width_height()[0]) / 64 / 100 * 1.02  # small sizes are hinted a little wider


def draw_label(
    axes: Axes,
    text: str,
    point: Sequence[float] | NDArray[np.floating[Any]],
    style: Style,
    *,
    color: str,
    free: FreeSpace,
    size: float = 8.5,
    near: float = 6.0,
    far: float = 110.0,
    lead: bool = True,
) -> Text | None:
    """Write a direct label beside a point, at the nearest free place; a thin line leads to it from farther off.

    Parameters
    ----------
    axes
        Its limits must be final.
    text, point
        What to write and what it belongs to, in data coordinates.
    style, color, size
        How.
    free
        What is taken; the label takes its place there too.
    near, far
        How far from the point it may stand, in points.
    lead
        Whether it may stand so far off that it needs a line.

    Returns
    -------
    matplotlib.text.Text or None
        None where no place is free.
    """
    width, height = text_size(text, size)
    anchor = free.points(point)[0]
    place = free.beside(anchor, width + 4, height + 1, near, far if lead else 14.0)
    if place is None:
        return None
    offset = np.array([place.x, place.y]) - anchor
    led = lead and place.gap(anchor) > LED
    note = axes.annotate(
        literal(text),
        xy=(float(point[0]), float(point[1])),
        xytext=(float(offset[0]), float(offset[1])),
        textcoords="offset points",
        color=color,
        size=size,
        ha="center",
        va="center",
        linespacing=1.15,
        path_effects=halo(style),
        zorder=6,
        arrowprops={"arrowstyle": "-", "lw": 0.6, "color": color, "shrinkA": 1, "shrinkB": 4} if led else None,
    )
    free.write(place)
    if led:
        free.line(np.array([anchor, [place.x, place.y]]), 1.0)
    return note


def make_room_at_right(axes: Axes, names: Sequence[str], size: float = 8.5) -> float:
    """Return where, as a share of the Axes' width, curves end and their names begin.

    In a figure of ours that is the border: there is room beyond. What stands beyond the border of the user's Axes may
    be cut, or covered by her next one, so that the horizontal axis is made longer until the names have room within;
    0 where they would need more than half of it.
    """
    width = max((text_size(name, size)[0] for name in names if name), default=0.0)
    figure = axes.get_figure()
    assert figure is not None
    if not width or not is_users(axes):
        return 1.0
    share = 1.0 - (width + 14.0) / (axes.bbox.width * 72 / figure.dpi)
    if share < 0.5:
        return 0.0
    to_even = axes.transScale.transform
    (low, _), (high, _) = to_even([(axes.get_xlim()[0], 1.0), (axes.get_xlim()[1], 1.0)])
    longer = axes.transScale.inverted().transform((low + (high - low) / share, 1.0))[0]
    axes.set_xlim(right=float(longer))
    return share


def draw_labels_at_right(
    axes: Axes, entries: Sequence[tuple[str, float, str]], style: Style, size: float = 8.5, *, edge: float = 1.0
) -> None:
    """Write (name, height, colour) at the right border, moved apart where they would overlap, smaller where they must.

    A thin line leads from a moved name to its height. `edge` is where curves end, from `make_room_at_right`; where that
    found no room there is a legend.
    """
    if edge == 0:
        lines = {line.get_gid(): line for line in axes.lines}
        named = [(lines[printable(name)], literal(name)) for name, *_ in entries if printable(name) in lines]
        axes.legend(*zip(*named, strict=True), fontsize="small")
        return
    low, high = axes.get_ylim()
    figure = axes.get_figure()
    assert figure is not None
    tall, wide = (side * 72 / figure.dpi for side in (axes.bbox.height, axes.bbox.width))
    size = min(size, max(6.0, tall / (1.28 * max(len(entries) - 0.6, 1))))
    step = min(1.35 * size / tall, 1.0 / max(len(entries) - 1, 1))
    heights = [float(axes.transAxes.inverted().transform(axes.transData.transform((0, h)))[1]) for _, h, _ in entries]
    order = np.argsort(heights, kind="stable")
    places = np.array(heights)[order]
    for k in range(1, len(places)):  # push up what is too close, then down what left the axes
        places[k] = max(places[k], places[k - 1] + step)
    # within her axes whole: above stands her title
    places[-1] = min(places[-1], 1.0 if edge == 1.0 else 1.0 - 0.7 * size / tall)
    for k in range(len(places) - 2, -1, -1):
        places[k] = min(places[k], places[k + 1] - step)
    for place, index in zip(places, order, strict=True):
        name, _, color = entries[index]
        axes.annotate(
            literal(name),
            xy=(edge, heights[index]),
            xycoords="axes fraction",
            xytext=(edge + (0.04 if edge == 1.0 else 9.0 / wide), place),
            textcoords="axes fraction",
            va="center",
            size=size,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkA": 1, "shrinkB": 0},
            annotation_clip=False,
            gid="end",
        )
    axes.set_ylim(low, high)
