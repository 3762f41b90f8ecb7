"""Figures with room, in inches, for panels and for what is written around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.plot._canvas.labels import text_size
from ravine.plot._canvas.scales import Axis
from ravine.plot._canvas.style import ARTICLE, Figure, Style, calm, new_figure
from ravine.plot._canvas.words import number_text

Array = NDArray[np.floating[Any]]
Lines = Sequence[tuple[str, str]]
"""Lines of a caption, each a text and its colour."""

NARROWEST, WIDEST = 2.5, 20.0
"""Inches that a figure may be wide."""

MONO = "DejaVu Sans Mono"


@dataclass(frozen=True, eq=False)
class Headings:
    """What is written around the panels: above all, above each, under each, and beside each row."""

    title: str
    subtitle: Sequence[str]
    labels: Sequence[str]
    captions: Sequence[Lines]
    rows: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Sheet:
    """A figure with one Axes for each panel, placed in inches so that texts have the room they need."""

    figure: Figure
    axes: list[Axes]
    columns: int
    side: float
    theme: Style
    scale: float = 1.0

    def size(self, points: float) -> float:
        """Return a font size at this figure's scale: never under 6 points, so that print stays legible."""
        return max(6.0, points * self.scale)

    def outer(self, k: int) -> bool:
        """Tell whether a panel is the lowest of its column."""
        return k + self.columns >= len(self.axes)


def sheet_of(
    words: Headings, x: Array, y: Array, theme: Style, *, columns: int | None = None, width: float | None = None
) -> Sheet:
    """Lay out equal panels over one grid, with their numbers, and write what stands around them.

    Parameters
    ----------
    words
        Everything that needs room.
    x, y
        The grid's values; their ratio is that of the panels.
    columns
        Panels in a row; by their number if left out.
    width
        Of the figure, in inches; natural if left out.
    """
    count = len(words.labels)
    columns = columns or {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3 if count <= 9 else 4)
    ratio = float(np.ptp(y) / np.ptp(x)) if np.ptp(x) and np.ptp(y) else 1.0
    ratio = ratio if 0.25 <= ratio <= 4 else 0.85
    side = {1: 4.4, 2: 2.95, 3: 2.6}.get(columns, 2.2) / max(1.0, ratio / 1.6)
    natural = 0.9 + columns * side + (columns - 1) * 0.42
    scale = 1.0 if width is None else float(np.clip(width / natural, 0.72, 1.3))

    def size(points: float) -> float:
        return max(6.0, points * scale)

    ticks = [_ticks(each, s, size(8)) for each, s in ((x, side * scale), (y, side * ratio * scale))]
    numbers = max((text_size(text, size(8))[0] for text in ticks[1][1]), default=0.0) / 72
    left = numbers + (22 + size(9) * 1.2 + bool(words.rows) * size(10.5) * 1.6) / 72
    right, between = 0.2, 0.42 * scale if columns > 1 else 0.0
    if width is None:
        width = max(left + columns * side + (columns - 1) * between + right, 3.6)
    else:
        if not NARROWEST <= width <= WIDEST:
            raise ValueError(f"width must be from {NARROWEST} to {WIDEST:g} inches, got {width:g}")
        side = (width - left - right - (columns - 1) * between) / columns
    if side < 0.7:
        raise ValueError(f"{columns} panels in a row do not fit into {width:g} inches: give a larger width=")
    title = wrap(words.title, width - left - right, size(13), weight="bold")
    subtitle = wrap_parts(words.subtitle, width - left - right, size(8))
    under = [[(wrap(text, side + 0.6 * between, size(8.2)), color) for text, color in each] for each in words.captions]
    heights = _heights(count, columns, bool(words.rows), any(words.labels), under, size)
    head = 0.2 + _tall(title, size(13)) + 0.07 + _tall(subtitle, size(8)) + 0.12
    tall = side * ratio
    height = head + sum(above + tall + below for above, below in heights) + 0.1
    figure = new_figure(width, height, theme)
    axes, y0 = [], height - head
    for row, (above, below) in enumerate(heights):
        y0 -= above + tall
        for column in range(min(columns, count - row * columns)):
            x0 = left + column * (side + between)
            axes.append(figure.add_axes((x0 / width, y0 / height, side / width, tall / height)))
            axes[-1].set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
        y0 -= below
    sheet = Sheet(figure, axes, columns, side, theme, scale)
    _write_head(figure, left / width, title, subtitle, theme, size(13), size(8))
    for k, (label, lines) in enumerate(zip(words.labels, under, strict=True)):
        write_panel(sheet, k, label, ticks, words.rows)
        write_caption(sheet, k, lines)
    return sheet


def _heights(
    count: int, columns: int, grid: bool, titled: bool, under: Sequence[Lines], size: Callable[[float], float]
) -> list[tuple[float, float]]:
    """Return the inches above and below each row of panels."""
    found = []
    for row in range(-(-count // columns)):
        members = range(row * columns, min((row + 1) * columns, count))
        above = 0.3 * max(size(10.5) / 10.5, 0.75) if titled and (not grid or row == 0) else 0.08
        below = 0.12 + max(sum(_tall(text, size(8.2)) for text, _ in under[k]) for k in members)
        if any(k + columns >= count for k in members):
            below += (8 + size(8) * 1.2 + size(9) * 1.4) / 72
        found.append((above, below + 0.14))
    return found


def _tall(text: str, size: float) -> float:
    return text_size(text, size)[1] * 1.12 / 72 if text else 0.0


def write_panel(
    sheet: Sheet, k: int, label: str, ticks: Sequence[tuple[list[float], list[str]]], rows: Sequence[str]
) -> None:
    """Write a panel's name and the numbers of its axes; inner axes share those at the edge."""
    ax, theme = sheet.axes[k], sheet.theme
    calm(ax, theme, sheet.size(8))
    (across, across_words), (up, up_words) = ticks
    ax.set_xticks(across, across_words if sheet.outer(k) else [""] * len(across))
    for label_, place in zip(ax.get_xticklabels(), across, strict=True):
        if k % sheet.columns == 0 and place <= ax.get_xlim()[0] and up and up[0] <= ax.get_ylim()[0]:
            label_.set_horizontalalignment("left")  # two numbers would meet in the corner
    ax.set_yticks(up, up_words if k % sheet.columns == 0 else [""] * len(up))
    if label and (not rows or k < sheet.columns):
        size = sheet.size(10.5)
        while size > 6 and text_size(label, size, weight="bold")[0] / 72 > sheet.side + 0.3:
            size -= 0.5
        ax.set_title(label, loc="left", size=size, weight="bold", color=theme.ink, pad=6 * sheet.scale)
    if rows and k % sheet.columns == 0:
        height = ax.get_position().height * sheet.figure.get_figheight()
        size = sheet.size(10.5)
        while size > 6 and text_size(rows[k // sheet.columns], size, weight="bold")[0] / 72 > height:
            size -= 0.5
        x = (0.06 + size / 144) / sheet.figure.get_figwidth()
        y = ax.get_position().y1
        sheet.figure.text(
            x,
            y,
            rows[k // sheet.columns],
            rotation=90,
            ha="center",
            va="top",
            size=size,
            weight="bold",
            color=theme.ink,
        )


def name_axes(sheet: Sheet, pair: tuple[str, str]) -> None:
    """Write the names of the axes at the outer panels; at fixed places, which matplotlib need not look for."""
    width, height = sheet.figure.get_size_inches()
    size = sheet.size(9)
    for k, ax in enumerate(sheet.axes):
        box = ax.get_position()
        wide, tall = box.width * width * 72, box.height * height * 72
        if sheet.outer(k):
            ax.set_xlabel(_cut(pair[0], wide, size), size=size)
            ax.xaxis.set_label_coords(0.5, -(6 + sheet.size(8) * 1.2 + size * 0.75) / tall)
            ax.xaxis.label.set_verticalalignment("center")
        if k % sheet.columns == 0:
            numbers = max((text_size(t.get_text(), sheet.size(8))[0] for t in ax.get_yticklabels()), default=0.0)
            ax.set_ylabel(_cut(pair[1], tall, size), size=size)
            ax.yaxis.set_label_coords(-(9 + numbers + size * 0.6) / wide, 0.5)
            ax.yaxis.label.set_verticalalignment("center")


def _cut(name: str, room: float, size: float) -> str:
    """Shorten a name that is longer than its side; the end says most."""
    while len(name) > 6 and text_size(name, size)[0] > room:
        name = "…" + name.lstrip("…")[1:]
    return name


def write_caption(sheet: Sheet, k: int, lines: Lines) -> None:
    """Write the lines under a panel."""
    size = sheet.size(8.2)
    down = 7.0 + (8 + sheet.size(8) * 1.2 + sheet.size(9) * 1.4 if sheet.outer(k) else 0)
    for text, color in lines:
        sheet.axes[k].annotate(
            text,
            xy=(0, 0),
            xycoords="axes fraction",
            xytext=(0, -down),
            textcoords="offset points",
            va="top",
            size=size,
            color=color,
            linespacing=1.25,
            annotation_clip=False,
        )
        down += _tall(text, size) * 72


def _write_head(
    figure: Figure, x: float, title: str, subtitle: str, theme: Style, title_size: float, subtitle_size: float
) -> None:
    height = figure.get_figheight()
    figure.text(x, 1 - 0.2 / height, title, size=title_size, weight="bold", color=theme.ink, va="top", linespacing=1.2)
    y = 1 - (0.2 + _tall(title, title_size) + 0.07) / height
    figure.text(x, y, subtitle, size=subtitle_size, color=theme.quiet, va="top", family=MONO, linespacing=1.35)


def wrap(text: str, inches: float, size: float, weight: str = "normal", family: str = "DejaVu Sans") -> str:
    """Break a text into lines that fit."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_size(longer, size, weight=weight, family=family)[0] <= inches * 72:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def wrap_parts(parts: Sequence[str], inches: float, size: float) -> str:
    """Set parts of a subtitle side by side; one that does not fit begins a new line, unbroken if it can."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}   {part}" if lines else part
        if lines and text_size(longer, size, family=MONO)[0] <= inches * 72:
            lines[-1] = longer
        else:
            lines.extend(wrap(part, inches, size, family=MONO).split("\n"))
    return "\n".join(lines)


def _ticks(values: Array, inches: float, size: float) -> tuple[list[float], list[str]]:
    """Return few round numbers along an axis, and how they are written."""
    low, high = float(values.min()), float(values.max())
    rough = (high - low) / float(np.clip(inches / 0.6, 2, 8))
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(each for each in (1.0, 2.0, 5.0, 10.0) if each * power >= rough * 0.75)
    places = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step
    largest = max(abs(low), abs(high))
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    if largest < 1e5 and digits <= 4:
        texts = [f"{place:.{digits}f}" for place in places]
    else:
        exact = max(1, int(np.ceil(np.log10(largest / step))) + 1)
        texts = [number_text(float(f"{place:.{exact}g}")) for place in places]
    return places.tolist(), [text.replace("-", "\N{MINUS SIGN}") if float(text) else "0" for text in texts]


def write_head_over(ax: Axes, title: str, subtitle: str, theme: Style) -> None:
    """Write title and subtitle above the only Axes of a figure."""
    figure: Figure = ax.get_figure()  # type: ignore[assignment]
    _write_head(figure, ax.get_position().x0, title, subtitle, theme, 13, 8)


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
        return text_size(text, self.size(points))[1] * 1.12 / 72 if text else 0.0


def board_of(
    words: Headings, x: Axis, y: Axis, key: Sequence[str], theme: Style, *, width: float | None = None
) -> Board:
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
    figure = new_figure(measures.width, height, theme)
    _head(figure, title, subtitle, measures, theme)
    axes, bottom = [], height - head
    for k in range(count):
        row, column = divmod(k, columns)
        if column == 0:
            bottom -= above + tall + (below[row - 1] if row else 0.0)
        place = measures.left + column * (side + measures.between), bottom, side, tall
        axes.append(_panel(figure, place, x, y, measures, theme, outer=k + columns >= count, first=column == 0))
        _name(axes[-1], words.labels[k], measures, theme)
        _tell(axes[-1], told[k], measures, outer=k + columns >= count)
    bar = min(tall, TALLEST)
    top = axes[0].get_position().y1 - bar / height
    beside = measures.width - measures.right + 0.14
    wide = measures.right - 0.3
    key_axes = figure.add_axes((beside / measures.width, top, wide / measures.width, bar / height), label="key")
    return Board(figure, axes, key_axes, measures.scale)


def _head(figure: Figure, title: str, subtitle: str, measures: Measures, theme: Style) -> None:
    """Write title and subtitle."""
    x, y, height = measures.left / measures.width, 0.2, figure.get_figheight()
    written = figure.text(x, 1 - y / height, title, size=measures.size(13), weight="bold", color=theme.ink)
    written.set(va="top", linespacing=1.2)
    y += measures.height(title, 13) + 0.07
    written = figure.text(x, 1 - y / height, subtitle, size=measures.size(8), color=theme.quiet, family=MONO)
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
    return max((text_size(word, size)[0] for word in words), default=0.0)


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
    theme: Style,
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
    if theme is ARTICLE:
        ax.tick_params(labelsize=measures.size(8))
    else:
        calm(ax, theme, measures.size(8))
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


def _name(ax: Axes, label: str, measures: Measures, theme: Style) -> None:
    size = measures.size(10.5)
    while size > 6 and text_size(label, size, weight="bold")[0] / 72 > measures.side + measures.between:
        size -= 0.5
    ax.set_title(label, loc="left", size=size, weight="bold", color=theme.ink, pad=6 * measures.scale)


def _tell(ax: Axes, lines: Lines, measures: Measures, *, outer: bool) -> None:
    """Write the lines under a panel."""
    down = 7.0 + (measures.under + measures.size(9) * 1.5 if outer else 0.0)
    for text, color in lines:
        note = ax.annotate(text, (0, 0), (0, -down), "axes fraction", "offset points", annotation_clip=False)
        note.set(va="top", size=measures.size(8.2), color=color, linespacing=1.25, gid="caption")
        down += measures.height(text, 8.2) * 72
