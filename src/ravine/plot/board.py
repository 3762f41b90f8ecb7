"""Boards: figures of equal panels over two settings, with one colour key for all at their right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from ravine.plot import paper
from ravine.plot.paper import Figure, Style
from ravine.plot.scales import Axis
from ravine.plot.sheet import MONO, NARROWEST, WIDEST, Lines, Words, wrap, wrap_parts

__all__ = ["Board", "board_of", "wrapped"]

RATIO = 0.76
"""Height of a panel for its width."""

SIDES = {1: 4.9, 2: 3.3, 3: 2.6, 4: 2.2}
"""Width of a panel in inches, by how many stand in a row."""

SMALLEST = 1.6
"""Inches of a panel below which fewer stand in a row."""

TALLEST = 2.9
"""Inches of the colour key, at most."""

LEAN = 32.0
"""Degrees by which names are turned that would run into each other."""


@dataclass(frozen=True, eq=False)
class Board:
    """A figure with its panels, the Axes of the colour key, and the scale of its texts."""

    figure: Figure
    axes: list[Axes]
    key: Axes
    scale: float

    def size(self, points: float) -> float:
        """Return a font size at this figure's scale: never under 6 points, so that print stays legible."""
        return max(6.0, points * self.scale)


@dataclass(frozen=True, eq=False)
class Measures:
    """Where everything stands, in inches; numbers of both axes; the points from a panel to its axis's name."""

    scale: float
    columns: int
    side: float
    left: float
    between: float
    right: float
    across: tuple[list[float], list[str]]
    up: tuple[list[float], list[str]]
    lean: float
    under: float

    @property
    def tall(self) -> float:
        """Height of a panel."""
        return self.side * RATIO

    @property
    def width(self) -> float:
        """Width of the figure."""
        return self.left + self.columns * self.side + (self.columns - 1) * self.between + self.right

    def size(self, points: float) -> float:
        """Return a font size at this scale."""
        return max(6.0, points * self.scale)

    def height(self, text: str, points: float) -> float:
        """Return the inches that a text takes."""
        return paper.measure(text, self.size(points))[1] * 1.12 / 72 if text else 0.0


def board_of(words: Words, x: Axis, y: Axis, key: Sequence[str], look: Style, *, width: float | None = None) -> Board:
    """Lay out a panel for each label, and write what stands around them; `key` is what the key may have to say."""
    count = len(words.labels)
    measures = _measures(count, x, y, key, width)
    columns, side, tall = measures.columns, measures.side, measures.tall
    room = measures.width - measures.left - 0.16
    title = wrapped(words.title, room, measures.size(13), "bold")
    subtitle = wrap_parts(words.subtitle, 0.95 * room, measures.size(8))  # small sizes of this font run wider
    caption_room, size = side + 0.5 * measures.between, measures.size(8.2)
    told = [[(wrapped(text, caption_room, size), color) for text, color in each] for each in words.captions]
    above = (16 + measures.size(10.5)) / 72 if any(words.labels) else 0.1
    below = _below(measures, told)
    head = 0.37 + measures.height(title, 13) + measures.height(subtitle, 8)
    height = head + sum(above + tall + each for each in below) + 0.04
    figure = paper.new_figure(measures.width, height, look)
    _head(figure, title, subtitle, measures, look)
    axes, bottom = [], height - head
    for k in range(count):
        row, column = divmod(k, columns)
        if column == 0:
            bottom -= above + tall + (below[row - 1] if row else 0.0)
        place = measures.left + column * (side + measures.between), bottom, side, tall
        axes.append(_panel(figure, place, x, y, measures, look, outer=k + columns >= count, first=column == 0))
        _name(axes[-1], words.labels[k], measures, look)
        _tell(axes[-1], told[k], measures, outer=k + columns >= count)
    bar = min(tall, TALLEST)
    top = axes[0].get_position().y1 - bar / height
    beside = measures.width - measures.right + 0.14
    wide = measures.right - 0.3
    key_axes = figure.add_axes((beside / measures.width, top, wide / measures.width, bar / height), label="key")
    return Board(figure, axes, key_axes, measures.scale)


def _head(figure: Figure, title: str, subtitle: str, measures: Measures, look: Style) -> None:
    """Write title and subtitle."""
    x, y, height = measures.left / measures.width, 0.2, figure.get_figheight()
    written = figure.text(x, 1 - y / height, title, size=measures.size(13), weight="bold", color=look.ink)
    written.set(va="top", linespacing=1.2)
    y += measures.height(title, 13) + 0.07
    written = figure.text(x, 1 - y / height, subtitle, size=measures.size(8), color=look.quiet, family=MONO)
    written.set(va="top", linespacing=1.35)


def _measures(count: int, x: Axis, y: Axis, key: Sequence[str], width: float | None) -> Measures:
    """Find out how large a panel is; where the figure is narrow, fewer of them stand in a row."""
    if width is not None and not NARROWEST <= width <= WIDEST:
        raise ValueError(f"width must be from {NARROWEST} to {WIDEST:g} inches, got {width:g}")
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3 if count <= 9 else 4)
    found = _row(columns, x, y, key, width)
    while columns > 1 and found.side < SMALLEST:
        columns -= 1
        found = _row(columns, x, y, key, width)
    return found


def _row(columns: int, x: Axis, y: Axis, key: Sequence[str], width: float | None) -> Measures:
    """Measure panels of which so many stand in a row, and what has to stand beside them."""
    side = SIDES[columns]
    scale = 1.0 if width is None else float(np.clip(width / (1.7 + columns * (side + 0.3)), 0.72, 1.3))
    small = max(6.0, 8 * scale)
    between = 0.3 * scale
    up = y.numbers(side * RATIO * scale, small, upright=True)
    left = (_widest(up[1], small) + 20 + 9 * scale * 1.3) / 72
    right = 0.3 + (18 + _widest(key, small)) / 72
    if width is not None:
        side = (width - left - right - (columns - 1) * between) / columns
    across = x.numbers(max(side, 0.1), small)
    longest = _widest(across[1], small)
    lean = LEAN if x.names and longest + 6 > side * 72 / len(x.names) else 0.0
    under = 10 + small * 1.2 + longest * float(np.sin(np.deg2rad(lean)))
    return Measures(scale, columns, side, left, between, right, across, up, lean, under)


FIXED = "\N{NO-BREAK SPACE}"


def wrapped(text: str, inches: float, size: float, weight: str = "normal") -> str:
    """Break a text into lines that fit, a number never apart from its unit."""
    kept = re.sub(r"(?<=\d) (?=%|steps?\b)|(?<=\bstep) (?=\d)", FIXED, text)
    return wrap(kept, inches, size, weight=weight).replace(FIXED, " ")


def _widest(words: Sequence[str], size: float) -> float:
    return max((paper.measure(word, size)[0] for word in words), default=0.0)


def _below(measures: Measures, told: Sequence[Lines]) -> list[float]:
    """Return the inches beneath each row of panels: for numbers and a name at the lowest, and for captions."""
    found = []
    for first in range(0, len(told), measures.columns):
        members = range(first, min(first + measures.columns, len(told)))
        lines = max(sum(measures.height(text, 8.2) for text, _ in told[k]) for k in members)
        outer = any(k + measures.columns >= len(told) for k in members)
        found.append(lines + 0.2 + (measures.under + measures.size(9) * 1.5) / 72 * outer)
    return found


def _panel(
    figure: Figure,
    place: tuple[float, float, float, float],
    x: Axis,
    y: Axis,
    measures: Measures,
    look: Style,
    *,
    outer: bool,
    first: bool,
) -> Axes:
    """Return an empty panel with its final limits; inner ones share the numbers of those at the edge."""
    wide, tall = figure.get_size_inches()
    ax = figure.add_axes((place[0] / wide, place[1] / tall, place[2] / wide, place[3] / tall))
    ax.set(xscale="log" if x.log else "linear", yscale="log" if y.log else "linear")
    ax.set(xlim=x.edges[[0, -1]], ylim=y.edges[[0, -1]], autoscale_on=False)
    ax.minorticks_off()
    if look is paper.ARTICLE:
        ax.tick_params(labelsize=measures.size(8))
    else:
        paper.calm(ax, look, measures.size(8))
        ax.tick_params(axis="x", pad=6)  # a symbol on the border reaches over it
    for side, (places, words), shown in (("x", measures.across, outer), ("y", measures.up, first)):
        getattr(ax, f"set_{side}ticks")(places, words if shown else [""] * len(places))
    size = measures.size(9)
    if outer:
        for label in ax.get_xticklabels() if measures.lean else []:
            label.set(rotation=measures.lean, ha="right", rotation_mode="anchor")
        ax.set_xlabel(x.heading, size=size, va="center")
        ax.xaxis.set_label_coords(0.5, -(measures.under + size * 0.6) / (place[3] * 72))
    if first:
        ax.set_ylabel(y.heading, size=size, va="center")
        ax.yaxis.set_label_coords(-(measures.left * 72 - 8 - size * 0.6) / (place[2] * 72), 0.5)
    return ax


def _name(ax: Axes, label: str, measures: Measures, look: Style) -> None:
    size = measures.size(10.5)
    while size > 6 and paper.measure(label, size, weight="bold")[0] / 72 > measures.side + measures.between:
        size -= 0.5
    ax.set_title(label, loc="left", size=size, weight="bold", color=look.ink, pad=6 * measures.scale)


def _tell(ax: Axes, lines: Lines, measures: Measures, *, outer: bool) -> None:
    """Write the lines under a panel."""
    down = 7.0 + (measures.under + measures.size(9) * 1.5 if outer else 0.0)
    for text, color in lines:
        note = ax.annotate(text, (0, 0), (0, -down), "axes fraction", "offset points", annotation_clip=False)
        note.set(va="top", size=measures.size(8.2), color=color, linespacing=1.25, gid="caption")
        down += measures.height(text, 8.2) * 72
