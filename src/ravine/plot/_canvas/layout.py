"""Figures with room, in inches, for panels and for what is written around them."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ravine.plot._canvas.labels import literal, printable, text_size
from ravine.plot._canvas.scales import Axis
from ravine.plot._canvas.style import Figure, Style, calm, new_figure
from ravine.plot._canvas.ticks import Ticks

Lines = Sequence[tuple[str, str]]
"""Lines of a caption, each a text and its colour."""

NARROWEST, WIDEST = 2.5, 20.0
"""Inches that a figure may be wide."""

EDGE = 0.2
"""Inches at the right of everything, and over the title."""

MONO = "DejaVu Sans Mono"


@dataclass(frozen=True, eq=False)
class Headings:
    """What is written around the panels: above all, above each, under each, and beside each row.

    The title is written as it is, so that ``$…$`` in a user's own is mathtext; all else is literal.
    """

    title: str
    subtitle: Sequence[str]
    labels: Sequence[str]
    captions: Sequence[Lines]
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class PanelShape:
    """How large panels are, and what else needs room; in inches.

    `ratio`
        Height of a panel for its width.
    `sides`
        Widths of a panel, by how many stand in a row.
    `between`, `narrowest`
        Space between panels in a row; width of a panel below which fewer stand in a row.
    `pad`
        Points from a panel to the numbers of its axes.
    `columns`
        Panels in a row; by their number if 0.
    `aside`, `reach`, `foot`
        What stands at the right of all panels: how wide it is, and how far it reaches down from the top of them; and
        what stands under everything.
    `under`
        What stands under each panel and its captions, at the scale of a figure of natural width.
    """

    ratio: float
    sides: tuple[float, float, float, float]
    between: float
    narrowest: float
    pad: float = 4.0
    columns: int = 0
    aside: float = 0.0
    reach: float = 0.0
    foot: float = 0.0
    under: float = 0.0


@dataclass(frozen=True, eq=False)
class Measures:
    """Where everything stands, in inches; the numbers of both axes, and by how many degrees names are turned."""

    shape: PanelShape
    scale: float
    columns: int
    side: float
    left: float
    between: float
    across: Ticks
    up: Ticks
    lean: float = 0.0

    @property
    def tall(self) -> float:
        """Height of a panel."""
        return self.side * self.shape.ratio

    @property
    def width(self) -> float:
        """Width of the figure."""
        panels = self.columns * self.side + (self.columns - 1) * self.between
        return self.left + panels + self.shape.aside + EDGE

    @property
    def under(self) -> float:
        """Points from a panel to the name of its horizontal axis."""
        leaning = widest(self.across.words, self.size(8)) * float(np.sin(np.deg2rad(self.lean)))
        return self.shape.pad + 4 + self.size(8) * 1.2 + leaning

    def size(self, points: float) -> float:
        """Return a font size at this scale: never under 6 points, so that print stays legible."""
        return max(6.0, points * self.scale)

    def height(self, text: str, points: float) -> float:
        """Return the inches that a text takes."""
        return text_size(text, self.size(points))[1] * 1.12 / 72 if text else 0.0


@dataclass(frozen=True, eq=False)
class Layout:
    """A figure with one Axes for each panel, placed in inches so that texts have the room they need.

    `feet` is for each panel how many inches from the bottom of the figure the room under it begins.
    """

    figure: Figure
    axes: list[Axes]
    measures: Measures
    feet: list[float]

    @property
    def scale(self) -> float:
        """Size of texts and lines for that in a figure of natural width."""
        return self.measures.scale

    def size(self, points: float) -> float:
        """Return a font size at this figure's scale."""
        return self.measures.size(points)

    def is_lowest(self, k: int) -> bool:
        """Tell whether a panel is the lowest of its column."""
        return k + self.measures.columns >= len(self.axes)

    def is_first(self, k: int) -> bool:
        """Tell whether a panel is the first of its row."""
        return k % self.measures.columns == 0

    def add_beside(self, label: str, gap: float, down: float, wide: float, tall: float) -> Axes:
        """Add Axes at the right of all panels: so far from them, and so far down from their top, in inches."""
        width, height = self.figure.get_size_inches()
        left = width - EDGE - self.measures.shape.aside + gap
        top = self.axes[0].get_position().y1 * height - down
        return self.figure.add_axes((left / width, (top - tall) / height, wide / width, tall / height), label=label)

    def add_under(self, k: int, label: str, down: float, tall: float) -> Axes:
        """Add Axes in the room under a panel, as wide as it: so far down in that room, in inches, and so high."""
        height = self.figure.get_figheight()
        box = self.axes[k].get_position()
        low = self.feet[k] + self.measures.shape.under * self.scale - down - tall
        return self.figure.add_axes((box.x0, low / height, box.width, tall / height), label=label)


def make_layout(
    words: Headings, x: Axis, y: Axis, shape: PanelShape, theme: Style, *, width: float | None = None
) -> Layout:
    """Lay out equal panels, with their numbers, and write what stands around them.

    Parameters
    ----------
    words
        Everything that needs room: a panel for each label.
    x, y
        The axes of each panel.
    shape
        How large panels are.
    width
        Of the figure, in inches; natural if left out.
    """
    count = len(words.labels)
    measures = _fit_measures(words, x, y, shape, width)
    columns, side, tall, size = measures.columns, measures.side, measures.tall, measures.size
    room = measures.width - measures.left - EDGE
    title = wrap(words.title, room, size(13), weight="bold")
    subtitle = wrap_parts(words.subtitle, room, size(8))
    beneath = [
        [(wrap(text, side + 0.6 * measures.between, size(8.2)), color) for text, color in each]
        for each in words.captions
    ]
    rows = _heights(measures, words, beneath)
    head = EDGE + measures.height(title, 13) + 0.07 + measures.height(subtitle, 8) + 0.12
    body = sum(above + tall + below for above, below in rows) + 0.1
    foot = shape.foot + max(0.0, shape.reach - (body - rows[0][0]))  # what stands aside may reach farther down
    height = head + body + foot
    figure = new_figure(measures.width, height, theme)
    axes, feet, bottom = [], [], height - head
    for row, (above, below) in enumerate(rows):
        bottom -= above + tall
        for column in range(min(columns, count - row * columns)):
            left = measures.left + column * (side + measures.between)
            place = left / measures.width, bottom / height, side / measures.width, tall / height
            axes.append(figure.add_axes(place))
            feet.append(bottom - below)
        bottom -= below
    layout = Layout(figure, axes, measures, feet)
    _write_head(figure, measures.left / measures.width, (title, size(13)), (subtitle, size(8)), theme)
    for k, label in enumerate(words.labels):
        _prepare_panel(layout, k, x, y, theme)
        if label and (not words.rows or k < columns):
            shrunk = shrink(label, side + 0.3, size(10.5))
            pad = 6 * measures.scale
            axes[k].set_title(literal(label), loc="left", size=shrunk, weight="bold", color=theme.ink, pad=pad)
        if words.rows and layout.is_first(k):
            _name_row(layout, k, words.rows[k // columns], theme)
        _write_caption(layout, k, beneath[k])
    return layout


def _fit_measures(words: Headings, x: Axis, y: Axis, shape: PanelShape, width: float | None) -> Measures:
    """Find out how large a panel is; where the figure is narrow, fewer of them stand in a row."""
    if width is not None and not NARROWEST <= width <= WIDEST:
        raise ValueError(f"width must be from {NARROWEST} to {WIDEST:g} inches, got {width:g}")
    count = len(words.labels)
    columns = shape.columns or {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3 if count <= 9 else 4)
    found = _measure_row(columns, words, x, y, shape, width)
    while columns > 1 and found.side < shape.narrowest and not shape.columns:
        columns -= 1
        found = _measure_row(columns, words, x, y, shape, width)
    if found.side < 0.7:
        raise ValueError(f"{columns} panels in a row do not fit into {width:g} inches: give a larger width=")
    return found


def _measure_row(columns: int, words: Headings, x: Axis, y: Axis, shape: PanelShape, width: float | None) -> Measures:
    """Measure panels of which so many stand in a row."""
    side = shape.sides[min(columns, 4) - 1]
    natural = 0.9 + columns * side + (columns - 1) * shape.between + shape.aside
    scale = 1.0 if width is None else float(np.clip(width / natural, 0.72, 1.3))
    small = max(6.0, 8 * scale)
    up = y.ticks(side * shape.ratio * scale, small, upright=True)
    naming = 22 + max(6.0, 9 * scale) * 1.2 + bool(words.rows) * max(6.0, 10.5 * scale) * 1.6
    left = (widest(up.words, small) + naming) / 72
    between = shape.between * scale if columns > 1 else 0.0
    if width is not None:
        side = (width - left - shape.aside - EDGE - (columns - 1) * between) / columns
    across = x.ticks(max(side, 0.1), small)
    leaning = bool(x.names) and widest(across.words, small) + 6 > side * 72 / len(x.names)
    return Measures(shape, scale, columns, side, left, between, across, up, LEAN * leaning)


LEAN = 32.0
"""Degrees by which names are turned that would run into each other."""


def _heights(measures: Measures, words: Headings, beneath: Sequence[Lines]) -> list[tuple[float, float]]:
    """Return the inches above and below each row of panels."""
    found, count = [], len(beneath)
    for first in range(0, count, measures.columns):
        members = range(first, min(first + measures.columns, count))
        titled = any(words.labels) and (not words.rows or first == 0)
        above = 0.3 * max(measures.size(10.5) / 10.5, 0.75) if titled else 0.08
        below = 0.26 + max(sum(measures.height(text, 8.2) for text, _ in beneath[k]) for k in members)
        lowest = any(k + measures.columns >= count for k in members)
        below += (measures.under + measures.size(9) * 1.4) / 72 * lowest + measures.shape.under * measures.scale
        found.append((above, below))
    return found


def _prepare_panel(layout: Layout, k: int, x: Axis, y: Axis, theme: Style) -> None:
    """Give a panel its limits, numbers and names, at fixed places; inner ones share those of the outer panels."""
    ax, measures = layout.axes[k], layout.measures
    for axis, side in ((ax.xaxis, x), (ax.yaxis, y)):
        if side.log:
            getattr(ax, f"set_{axis.axis_name}scale")("log")
    ax.set(xlim=x.edges[[0, -1]], ylim=y.edges[[0, -1]], autoscale_on=False)
    ax.minorticks_off()
    if theme.frame:
        ax.tick_params(labelsize=layout.size(8))
    calm(ax, theme, layout.size(8), pad=measures.shape.pad)
    across, up, size = measures.across, measures.up, layout.size(9)
    for axis, ticks, named in ((ax.xaxis, across, layout.is_lowest(k)), (ax.yaxis, up, layout.is_first(k))):
        if named or theme.frame:
            axis.set_ticks(ticks.places, [literal(word) if named else "" for word in ticks.words])
        else:  # nothing of it would be seen, and matplotlib makes six artists of each tick
            axis.set_major_locator(NullLocator())
    if layout.is_lowest(k):
        if measures.lean:
            for label in ax.get_xticklabels():
                label.set(rotation=measures.lean, ha="right", rotation_mode="anchor")
        elif layout.is_first(k) and across.places[0] <= ax.get_xlim()[0] and up.places[0] <= ax.get_ylim()[0]:
            ax.get_xticklabels()[0].set_horizontalalignment("left")  # two numbers would meet in the corner
        ax.set_xlabel(literal(_fit_name(x, across, measures.side * 72, size)), size=size, va="center")
        ax.xaxis.set_label_coords(0.5, -(measures.under + size * 0.5) / (measures.tall * 72))
    if layout.is_first(k):
        numbers = widest(up.words, layout.size(8))
        ax.set_ylabel(literal(_fit_name(y, up, measures.tall * 72, size)), size=size, va="center")
        ax.yaxis.set_label_coords(-(measures.shape.pad + 5 + numbers + size * 0.6) / (measures.side * 72), 0.5)


def _name_row(layout: Layout, k: int, name: str, theme: Style) -> None:
    """Write the name of a row of panels at their left, upright."""
    box, (width, height) = layout.axes[k].get_position(), layout.figure.get_size_inches()
    size = shrink(name, box.height * height, layout.size(10.5))
    how: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "top", "weight": "bold"}
    layout.figure.text((0.06 + size / 144) / width, box.y1, literal(name), size=size, color=theme.ink, **how)


def _write_caption(layout: Layout, k: int, lines: Lines) -> None:
    """Write the lines under a panel."""
    measures = layout.measures
    down = 7.0 + (measures.under + layout.size(9) * 1.4 if layout.is_lowest(k) else 0.0)
    for text, color in lines:
        note = layout.axes[k].annotate(
            literal(text), (0, 0), (0, -down), "axes fraction", "offset points", annotation_clip=False
        )
        note.set(va="top", size=layout.size(8.2), color=color, linespacing=1.25, gid="caption")
        down += measures.height(text, 8.2) * 72


def write_head_over(ax: Axes, title: str, subtitle: str, theme: Style) -> None:
    """Write title and subtitle above the only Axes of a figure; the title as it is, the subtitle literally."""
    figure: Figure = ax.get_figure()  # type: ignore[assignment]
    _write_head(figure, ax.get_position().x0, (title, 13.0), (subtitle, 8.0), theme)


def _write_head(figure: Figure, x: float, title: tuple[str, float], subtitle: tuple[str, float], theme: Style) -> None:
    """Write title and subtitle, each a text and its size."""
    height = figure.get_figheight()
    how: dict[str, Any] = {"weight": "bold", "color": theme.ink, "va": "top", "linespacing": 1.2}
    figure.text(x, 1 - EDGE / height, printable(title[0]), size=title[1], **how)
    down = EDGE + 0.07 + (text_size(*title)[1] * 1.12 / 72 if title[0] else 0.0)
    how = {"family": MONO, "color": theme.quiet, "va": "top", "linespacing": 1.35}
    figure.text(x, 1 - down / height, literal(subtitle[0]), size=subtitle[1], **how)


def write_lines_under(ax: Axes, lines: Lines) -> None:
    """Write lines at the foot of a figure with only these Axes."""
    figure: Figure = ax.get_figure()  # type: ignore[assignment]
    for k, (line, color) in enumerate(lines):
        y = (0.1 + 0.2 * (len(lines) - 1 - k)) / figure.get_figheight()
        figure.text(ax.get_position().x0, y, literal(line), size=8.2, color=color, va="bottom", gid="caption")


FIXED = "\N{NO-BREAK SPACE}"


def wrap(text: str, inches: float, size: float, weight: str = "normal", family: str = "") -> str:
    """Break a text into lines that fit, a number never apart from its unit."""
    kept = re.sub(r"(?<=\d) (?=%|steps?\b)|(?<=\bstep) (?=\d)", FIXED, text)

    def measure(words: Sequence[str]) -> float:
        return text_size(" ".join(words), size, weight=weight, family=family)[0]

    lines, rest = list[str](), kept.split(" ")
    while rest:
        count, width = len(rest), measure(rest)
        if width > inches * 72:
            # from where letters of one width would end on, word by word: to measure a text is what costs
            ends = list(accumulate(len(word) + 1 for word in rest))
            count = max(1, min(bisect(ends, ends[-1] * inches * 72 / width), count - 1))
            if measure(rest[:count]) <= inches * 72:
                while count < len(rest) - 1 and measure(rest[: count + 1]) <= inches * 72:
                    count += 1
            else:
                while count > 1 and measure(rest[:count]) > inches * 72:
                    count -= 1
        lines.append(" ".join(rest[:count]))
        rest = rest[count:]
    return "\n".join(lines).replace(FIXED, " ")


def wrap_parts(parts: Sequence[str], inches: float, size: float) -> str:
    """Set parts of a subtitle side by side; one that does not fit begins a new line, unbroken if it can."""
    inches *= 0.97  # small sizes of this font run wider
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}   {part}" if lines else part
        if lines and text_size(longer, size, family=MONO)[0] <= inches * 72:
            lines[-1] = longer
        else:
            lines.extend(wrap(part, inches, size, family=MONO).split("\n"))
    return "\n".join(lines)


def widest(words: Sequence[str], size: float) -> float:
    """Return the points that the widest of these words takes."""
    return max((text_size(word, size)[0] for word in words), default=0.0)


def shrink(text: str, inches: float, size: float) -> float:
    """Return the size at which a bold name fits, at least 6 points."""
    while size > 6 and text_size(text, size, weight="bold")[0] / 72 > inches:
        size -= 0.5
    return size


def _fit_name(axis: Axis, ticks: Ticks, room: float, size: float) -> str:
    """Return the name of an axis, or the first shorter one that has room."""
    return _cut(first_fitting([ticks.name(each) for each in axis.headings], room, size), room, size)


def first_fitting(texts: Sequence[str], room: float, size: float) -> str:
    """Return the first text that has room, in points, or else the last."""
    return next((text for text in texts if text_size(text, size)[0] <= room), texts[-1])


def _cut(name: str, room: float, size: float) -> str:
    """Shorten a name that is longer than its side; the end says most."""
    while len(name) > 6 and text_size(name, size)[0] > room:
        name = "…" + name.lstrip("…")[1:]
    return name
