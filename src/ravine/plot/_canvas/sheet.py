"""The one Axes of a picture: in a figure of its own, with room for words around it, or an Axes of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from typing_extensions import TypeVar

from ravine.plot._canvas.labels import literal
from ravine.plot._canvas.layout import EDGE, Lines, wrap, wrap_parts, write_head_over, write_lines_under
from ravine.plot._canvas.scales import Shades, draw_key
from ravine.plot._canvas.style import Figure, Style, is_users, new_figure
from ravine.plot._canvas.ticks import write_numbers

Drawn = TypeVar("Drawn", Figure, Axes, default=Figure)
"""What a picture of one panel returns: its figure, or the Axes that it was given."""

LEFT = 0.66
"""Inches at the left of the Axes, for its numbers and name."""


@dataclass(frozen=True, eq=False)
class Words:
    """What stands around one Axes: a title, parts of a subtitle, and lines beneath.

    `asked` is the user's own title, as it is; `title` stands for it where she gave none, literally like all else.
    """

    asked: str | None
    title: str = ""
    subtitle: Sequence[str] = ()
    lines: Lines = ()


@dataclass(frozen=True, eq=False)
class Sheet:
    """Where a picture of one panel is drawn."""

    ax: Axes
    theme: Style
    own: bool

    def name_axes(self, x: str, y: str) -> None:
        """Name both axes, literally; names that the user gave stay."""
        name_axes(self.ax, x, y)

    def draw_bar(self, shades: Shades, name: str, left: float) -> None:
        """Draw what the colours of runs mean: so many inches from the Axes, or beside the user's as matplotlib does."""
        figure = self.ax.get_figure(root=True)
        assert figure is not None
        if not self.own:
            bar = figure.colorbar(ScalarMappable(shades.norm, shades.ramp), ax=self.ax, label=literal(name))
            bar.minorticks_off()
            numbers = shades.numbers(9)
            bar.set_ticks(numbers.tolist(), labels=write_numbers(numbers, shades.log))
            settle(self.ax)
            return
        box, width = self.ax.get_position(), figure.get_figwidth()
        place = (box.x1 + left / width, box.y0, 1.1 / width, box.height)
        draw_key(figure.add_axes(place, label="key"), shades, name, (), self.theme, 8.0)


def drawn_on(sheet: Sheet, ax: Drawn | None) -> Drawn:
    """Return what the picture returns: its figure, or the Axes `ax` that it was given."""
    return cast("Drawn", sheet.ax.get_figure() if ax is None else ax)


def name_axes(ax: Axes, x: str, y: str) -> None:
    """Name both axes, literally; where the user named one of hers, that stays."""
    if not ax.get_xlabel():
        ax.set_xlabel(literal(x))
    if not ax.get_ylabel():
        ax.set_ylabel(literal(y))


Limits = tuple[tuple[float, float], tuple[float, float]]


def limits_of(ax: object) -> Limits | None:
    """Return the limits of the user's Axes where something is drawn on it already; None on any other."""
    if not isinstance(ax, Axes) or not is_users(ax) or not ax.has_data():
        return None
    return ax.get_xlim(), ax.get_ylim()


def widen(ax: Axes, held: Limits | None) -> None:
    """Make limits hold what was in sight before, too."""
    if held is None:
        return
    (left, right), (low, high) = held
    (first, last), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    if left > 0 or ax.get_xscale() != "log":  # a logarithmic scale has no place for 0
        ax.set_xlim(min(left, first), max(right, last))
    if low > 0 or ax.get_yscale() != "log":
        ax.set_ylim(min(low, bottom), max(high, top))


def open_sheet(ax: object, theme: Style, words: Words, *, tall: float, aside: float = 0.25, wide: float = 4.4) -> Sheet:
    """Return the Axes to draw on, its words written around it; on the user's Axes nothing but a title she asked for.

    `tall`, `wide` and `aside` are inches: of the Axes, and of the room at its right.
    """
    if isinstance(ax, Axes):
        if words.asked:
            ax.set_title(words.asked)
        settle(ax)
        return Sheet(ax, theme, False)
    width = LEFT + wide + aside
    room = width - LEFT - EDGE
    head = wrap(words.asked or literal(words.title), room, 13, "bold") if theme.head else ""
    subtitle = wrap_parts([part for part in words.subtitle if part], room, 8) if theme.head else ""
    above = 0.95 + 0.24 * head.count("\n") + 0.17 * subtitle.count("\n") if theme.head else 0.4
    below = 0.6 + 0.2 * len(words.lines)
    height = above + tall + below
    figure = new_figure(width, height, theme)
    axes = figure.add_axes((LEFT / width, below / height, wide / width, tall / height))
    if theme.head:
        write_head_over(axes, head, subtitle, theme)
    elif words.asked:
        axes.set_title(words.asked)
    write_lines_under(axes, words.lines)
    return Sheet(axes, theme, True)


def settle(ax: Axes) -> None:
    """Let the user's layout place her Axes now, as when the figure is drawn: labels are placed by their size."""
    figure = ax.get_figure(root=True)
    engine = None if figure is None else figure.get_layout_engine()
    if figure is not None and engine is not None:
        engine.execute(figure)


def refuse_axes(ax: Axes | None, what: str, remedy: str) -> None:
    """Complain where one Axes is given for a picture of several panels."""
    if ax is not None:
        raise ValueError(f"{what}, and ax= is one: {remedy}")
