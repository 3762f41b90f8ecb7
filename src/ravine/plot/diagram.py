"""Diagrams of two settings: what became of the runs at each pair of values, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.plot import headings, outcomes, paper, shades, spots
from ravine.plot.board import Board, board_of
from ravine.plot.frontiers import draw_frontier, name_frontier
from ravine.plot.inks import Ground, Label, say_all
from ravine.plot.isolines import draw_isolines
from ravine.plot.paper import Figure, Style, style_of
from ravine.plot.places import Room
from ravine.plot.readings import Diagram, Field, diagram_of, told_steps, values_of
from ravine.plot.scales import Axis
from ravine.plot.shades import Shades
from ravine.plot.sheet import Words
from ravine.plot.spots import Mark

__all__ = ["phase"]


@paper.drawn
def phase(
    values: xr.DataArray | xr.Dataset,
    x: str = "lr",
    y: str = "momentum",
    *,
    marks: Mapping[str, Mapping[str, Any]] | None = None,
    title: str | None = None,
    style: str = "ravine",
    width: float | None = None,
) -> Figure:
    """Draw one number for each pair of two settings: where runs arrive fast, slowly, never, or diverge.

    Each cell is one setting; its colour is the value, on a logarithmic scale where the values are positive and
    span more than a factor of 20. The lowest value counts as the best: it has a star, or a line round it where
    many settings are equally good, and a diamond marks the best with the vertical setting at 0. Cells without
    a value are regions with a name. Lines at round values are drawn where the field is smooth enough for them.

    With lr along an axis, the arrival of SGD's runs brings along the limit of stability in theory: a line where
    the loss is quadratic and the limit exact, dashes where it is local, from the curvature at the minimum. Where
    runs begin to diverge just there, the one line stands for both.

    Parameters
    ----------
    values
        One number for each setting, from `ravine.measure` or a sum of yours: (x, y) or (x, y, third) in any
        order; a panel for each entry of the third. Where it has the coordinate ``outcome`` (``arrived``,
        ``not arrived``, ``diverged``, ``invalid``), the regions come from it; otherwise ±inf counts as diverged
        and NaN as no value. A study stands for its `ravine.measure.arrival`.
    x, y
        Dimensions along the horizontal and the vertical axis: numbers, booleans or labels.
    marks
        Settings to ring, by what they are called: ``{"figure 6": {"lr": 0.1, "momentum": 0.9}}``. The entry of
        the third dimension may be named too; without it the ring is in each panel.
    title
        What to see; the best setting, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.
    width
        Of the figure in inches, for example 3.5 or 7.2 for one or two columns of print.

    Returns
    -------
    Figure
        Call ``.savefig(path)``; png, svg and pdf by the ending.

    Raises
    ------
    ValueError
        If `x` or `y` is not a dimension of the values or has a single entry, there is more than one dimension
        besides them, or more than 12 panels, or a mark lies outside.
    TypeError
        If the values are not numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> lr, momentum = np.geomspace(0.01, 4, 40), np.linspace(0, 0.95, 30)

    The rate at which the error of a parabola of curvature 1 shrinks at each step (Polyak 1964): the larger root
    of r² - (1 + momentum - lr) r + momentum.

    >>> middle = (1 + momentum[:, None] - lr) / 2
    >>> roots = np.abs(middle) + np.sqrt(middle**2 - momentum[:, None] + 0j)
    >>> rate = xr.DataArray(abs(roots), coords={"momentum": momentum, "lr": lr}, dims=("momentum", "lr"), name="rate")
    >>> figure = phase(rate.where(rate < 1, np.inf))
    >>> figure.texts[0].get_text()
    'Lowest rate: 0.003655 at lr 1, momentum 0'
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "outcome"]
    ['diverged']
    """
    look = style_of(style)
    numbers = values_of(values)
    diagram = diagram_of(numbers, x, y, told_steps(numbers))
    rings = _marks(diagram, marks or {})
    shown = shades.shades_of(np.concatenate([field.values.ravel() for field in diagram.fields]), look)
    words = Words(
        title or headings.title(diagram),
        headings.subtitle(numbers, diagram),
        [field.label for field in diagram.fields],
        [headings.caption(diagram, field, look) for field in diagram.fields],
    )
    names = sorted({name for field in diagram.fields for name in outcomes.names_of(field.outcomes)})
    told = [word for _, word in shades.key_numbers(shown)] if shown is not None else []
    board = board_of(words, diagram.x, diagram.y, [diagram.key, *told, *names], look, width=width)
    unnamed: set[str] = set()
    for ax, field in zip(board.axes, diagram.fields, strict=True):
        unnamed |= set(_draw(ax, diagram, field, shown, rings, board, look))
    looks = [(name, outcomes.look_of(name, look)) for name in names if name in unnamed]
    swatches = [(name, each.fill, each.hatch, each.edge) for name, each in looks]
    shades.draw_key(board.key, shown, diagram.key, swatches, look, board.size(8))
    return board.figure


def _draw(
    ax: Axes,
    diagram: Diagram,
    field: Field,
    shown: Shades | None,
    rings: Sequence[Mark],
    board: Board,
    look: Style,
) -> list[str]:
    """Draw one panel; return the names of the regions that had no room for them."""
    x, y = diagram.x, diagram.y
    size = board.size(8.2)
    if shown is not None:
        ax.pcolormesh(
            x.edges,
            y.edges,
            np.ma.masked_invalid(field.values),
            cmap=shown.ramp,
            norm=shown.norm,
            rasterized=True,
            zorder=0.4,
            gid="values",
        )
    room = Room(ax)
    limit = field.frontier
    known = limit.line if limit is not None and limit.exact else None
    for line in outcomes.draw_outcomes(ax, x, y, field.outcomes, look, known):
        room.line(room.points(line), 1.0)
    if limit is not None:
        draw_frontier(ax, limit, room, look)
    labels = _spots(ax, diagram, field, shown, rings, room, look)
    colors = outcomes.colors_of(room, x, y, field.values, field.outcomes, shown, look)
    ground = Ground(colors, _fence(ax, x, y))
    say_all(ax, labels, room, ground, size)
    if limit is not None:
        name_frontier(ax, limit, room, ground, look, board.size(7.6))
    unnamed = outcomes.name_outcomes(ax, room, x, y, field.outcomes, diagram.within, look, size)
    if shown is not None:
        draw_isolines(ax, x, y, field.values, shown, room, look, board.size(6.8))
    return unnamed


LARGE = 24.0
"""Points of the smaller side of a cell from which on labels are kept inside one."""


def _fence(ax: Axes, x: Axis, y: Axis) -> NDArray[np.bool_]:
    """Return where large cells end, at the cells of a panel's room."""
    fence = Room(ax)
    cells = [np.diff(axis.share(axis.edges)) * side for axis, side in zip((x, y), fence.size, strict=True)]
    if min(float(np.median(each)) for each in cells) >= LARGE:
        for edge in x.edges[1:-1]:
            fence.line(fence.points([(edge, y.edges[0]), (edge, y.edges[-1])]), 0.0)
        for edge in y.edges[1:-1]:
            fence.line(fence.points([(x.edges[0], edge), (x.edges[-1], edge)]), 0.0)
    return fence.taken


def _spots(
    ax: Axes, diagram: Diagram, field: Field, shown: Shades | None, rings: Sequence[Mark], room: Room, look: Style
) -> list[Label]:
    """Draw the symbols of one panel; return their labels, the most important first."""
    x, y, best, labels = diagram.x, diagram.y, field.best, []
    if best is not None and shown is not None:
        alone = len(diagram.fields) == 1 and room.size[0] >= spots.WIDE  # else it is said beneath, or in the title
        where = f"\nat {diagram.where(best)}" if alone else ""
        others = f"\nand {diagram.others(best)}" if where and best.ties > 1 else ""
        needless = f"no {y.heading} needed" if field.best is field.without else ""
        words = f"{diagram.lowest}: {diagram.told(best.value)}", where + others, needless
        labels.append(spots.draw_best(ax, x, y, best, room, words, shown.color(best.value), look))
    if best is not None and field.without is not None and field.without is not best:
        labels.append(spots.draw_without(ax, x, y, field.without, room, diagram.told(field.without.value), look))
    here = [mark for mark in rings if mark.panel is None or mark.panel == field.entry]
    told = [(mark, diagram.what(field, mark.row, mark.column, mark.exact)) for mark in here]
    return labels + spots.draw_marks(ax, told, room, look)


def _marks(diagram: Diagram, given: Mapping[str, Mapping[str, Any]]) -> list[Mark]:
    panels = (diagram.panels, [field.entry for field in diagram.fields]) if diagram.panels else None
    return [spots.mark_of(str(label), setting, diagram.x, diagram.y, panels) for label, setting in given.items()]
