"""phase: what became of the runs at each pair of two settings, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ravine._format import listed, names
from ravine.plot._canvas.cells import draw_cells
from ravine.plot._canvas.labels import FreeSpace, literal
from ravine.plot._canvas.layout import Headings, Lines, PanelShape, make_layout, widest
from ravine.plot._canvas.scales import CellAxis, Shades, draw_key, key_numbers, shades_of
from ravine.plot._canvas.sheet import Drawn, Sheet, Words, drawn_on, open_sheet
from ravine.plot._canvas.style import Style, style_on, with_own_settings
from ravine.plot._canvas.words import settings_text
from ravine.plot._phase.data import Diagram, Field, diagram_of, values_of, within_text
from ravine.plot._phase.labels import (
    WIDE,
    Label,
    Mark,
    Underlay,
    draw_best,
    draw_marks,
    draw_without,
    mark_of,
    write_labels,
)
from ravine.plot._phase.lines import draw_frontier, draw_isolines, name_frontier, scope_text
from ravine.plot._phase.outcomes import ARRIVED, NOT_MADE, count_text
from ravine.plot._phase.regions import colors_under, draw_outcomes, name_outcomes, region_style_of

FACTS = frozenset({"outcome", "steps", "minimum_loss", "stability_limit", "stability_scope"})
"""Coordinates that are no settings."""

LISTED = 4
"""Panels whose best values a title lists."""


def diagram_title(diagram: Diagram) -> str:
    """Say which setting is best, and how good it is."""
    found = [(field, field.best) for field in diagram.fields if field.best is not None]
    head = "Fastest" if diagram.arrival else f"Lowest {diagram.quantity}"
    if not found:
        if any(NOT_MADE in field.outcomes.words for field in diagram.fields):
            return "Nothing to tell so far"
        return "No setting arrives" if diagram.arrival else f"No setting has a {diagram.quantity}"
    if len(diagram.fields) == 1:
        field, best = found[0]
        value, where = diagram.value_text(best.value), f"at {diagram.where(best)}"
        if best.ties == field.outcomes.counts.get(ARRIVED, 0) > 1:
            return _title_of_equals(diagram, field, value)
        return f"{head} {where}: {value}" if diagram.arrival else f"{head}: {value} {where}"
    if len(diagram.fields) <= LISTED:
        groups: dict[str, list[str]] = {}
        for each in diagram.fields:
            nowhere = "never" if diagram.arrival else "nowhere"
            value = nowhere if each.best is None else "in " * diagram.arrival + diagram.value_text(each.best.value)
            groups.setdefault(value, []).append(each.label)
        return f"{head}: {', '.join(f'{names(labels)} {value}' for value, labels in groups.items())}"
    field, best = min(found, key=lambda each: each[1].value)
    return f"{head} of {len(diagram.fields)} panels: {field.label}, {diagram.value_text(best.value)}"


def _title_of_equals(diagram: Diagram, field: Field, value: str) -> str:
    """Say that no setting is better than another."""
    count, every = field.outcomes.counts[ARRIVED], field.outcomes.codes.size
    if diagram.arrival:
        return f"All {count:,} settings{' that arrive' * (count < every)} are equally fast: {value}"
    name = f"{diagram.quantity[0].upper()}{diagram.quantity[1:]}"
    return f"{name}: {value} at all {count:,} settings{' that have a value' * (count < every)}"


def field_caption(diagram: Diagram, field: Field, theme: Style) -> Lines:
    """Say what happened in one panel: the best setting, unless the title does, and how many met which end."""
    lines: list[tuple[str, str]] = []
    if field.best is not None and len(diagram.fields) > 1:
        others = f" and {diagram.others(field.best)}" if field.best.ties > 1 else ""
        lines.append((f"{diagram.lowest} at {diagram.where(field.best)}{others}", theme.ink))
    lines.append((count_text(field.outcomes, diagram.within, diagram.arrival), theme.quiet if lines else theme.ink))
    if field.frontier is not None and not scope_text([each.frontier for each in diagram.fields]):
        lines.append((scope_text([field.frontier]), theme.quiet))
    return lines


def diagram_subtitle(values: xr.DataArray, diagram: Diagram) -> list[str]:
    """Write the fixed settings, what is measured, and how many settings there are."""
    fixed = {n: c.variable for n, c in values.coords.items() if not c.ndim and n not in FACTS}
    settings = settings_text(xr.Dataset(coords=fixed))
    meant = str(values.attrs.get("long_name", ""))
    said = f"{diagram.key}: {meant}" if meant and meant != diagram.key else diagram.key
    cells = diagram.fields[0].outcomes.codes.size
    count = f"{cells:,} settings{' each' * (len(diagram.fields) > 1)}"
    limits = scope_text([field.frontier for field in diagram.fields])
    return [part for part in (settings, said, count, diagram.left_out, limits) if part]


@with_own_settings
def phase(
    values: xr.DataArray | xr.Dataset,
    x: str = "lr",
    y: str = "momentum",
    *,
    marks: Mapping[str, Mapping[str, Any]] | None = None,
    ax: Drawn | None = None,
    title: str | None = None,
    style: str = "ravine",
    width: float | None = None,
) -> Drawn:
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
    ax
        An Axes of yours to draw one panel on, with a colour bar beside it as matplotlib puts it. Its figure, title,
        frame and fonts stay as they are.
    title
        What to see; the best setting, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.
    width
        Of the figure in inches, for example 3.5 or 7.2 for one or two columns of print.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure, to be written with ``.savefig(path)``; png, svg and pdf by the ending. Or `ax`, if it was given.

    Raises
    ------
    ValueError
        If `ax` is given for several panels; if `x` or `y` is not a dimension of the values or has a single entry,
        there is more than one dimension besides them, or more than 12 panels, or a mark lies outside.
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
    theme = style_on(style, ax)
    numbers = values_of(values)
    diagram = diagram_of(numbers, x, y, within_text(numbers))
    rings = _read_marks(diagram, marks or {})
    shown = shades_of(np.concatenate([field.values.ravel() for field in diagram.fields]), theme)
    if ax is not None:
        return drawn_on(_draw_on_axes(ax, diagram, shown, rings, title, theme), ax)
    words = Headings(
        title or literal(diagram_title(diagram)),
        diagram_subtitle(numbers, diagram),
        [field.label for field in diagram.fields],
        [field_caption(diagram, field, theme) for field in diagram.fields],
    )
    regions: list[str] = sorted({name for field in diagram.fields for name in field.outcomes.regions})
    numbered: list[str] = [word for _, word in key_numbers(shown)] if shown is not None else []
    key = widest([diagram.key, *numbered, *regions], 8) / 72
    shape = PanelShape(RATIO, SIDES, between=0.3, narrowest=1.6, pad=PAD, aside=key + 0.35)
    layout = make_layout(words, diagram.x, diagram.y, shape, theme, width=width)
    unnamed: set[str] = set()
    for each, field in zip(layout.axes, diagram.fields, strict=True):
        unnamed |= set(_draw_field(each, diagram, field, shown, rings, FieldLook(theme, layout.scale)))
    looks = [(name, region_style_of(name, theme)) for name in regions if name in unnamed]
    swatches = [(name, each.fill, each.hatch, each.edge) for name, each in looks]
    key_ax = layout.add_beside("key", 0.14, 0.0, key + 0.25, min(layout.measures.tall, TALLEST))
    draw_key(key_ax, shown, diagram.key, swatches, theme, layout.size(8))
    drawn: Any = layout.figure
    return cast("Drawn", drawn)


def _draw_on_axes(
    given: object, diagram: Diagram, shown: Shades | None, rings: Sequence[Mark], title: str | None, theme: Style
) -> Sheet:
    """Draw the only panel on the user's Axes; regions that have no room for their names go into a legend."""
    if len(diagram.fields) > 1:
        raise ValueError(
            f"phase draws {len(diagram.fields)} panels ({listed(field.label for field in diagram.fields)}), "
            "and ax= is one: select one of them first, or leave ax out"
        )
    sheet = open_sheet(given, theme, Words(title), tall=0)
    ax, x, y = sheet.ax, diagram.x, diagram.y
    ax.set(xscale="log" if x.log else "linear", yscale="log" if y.log else "linear")
    ax.set(xlim=x.edges[[0, -1]], ylim=y.edges[[0, -1]])
    ax.set_autoscale_on(False)
    ax.minorticks_off()
    if shown is not None:
        sheet.draw_bar(shown, diagram.key, 0.2)
    for axis, side, inches in zip((ax.xaxis, ax.yaxis), (x, y), _inches_of(ax), strict=True):
        ticks = side.ticks(inches, 8.0, upright=axis is ax.yaxis)
        axis.set_ticks(ticks.places, labels=[literal(word) for word in ticks.words])
    sheet.name_axes(diagram.x.heading, diagram.y.heading)
    unnamed = _draw_field(ax, diagram, diagram.fields[0], shown, rings, FieldLook(theme))
    looks = [(name, region_style_of(name, theme)) for name in unnamed]
    if looks:
        patches = [Patch(fc=look.fill, ec=look.edge, hatch=look.hatch or None, label=name) for name, look in looks]
        ax.legend(handles=patches, fontsize="small")
    return sheet


def _inches_of(ax: Axes) -> tuple[float, float]:
    figure = ax.get_figure()
    assert figure is not None
    return ax.bbox.width / figure.dpi, ax.bbox.height / figure.dpi


@dataclass(frozen=True)
class FieldLook:
    """How a panel is drawn: its style, and the scale of its texts."""

    theme: Style
    scale: float = 1.0

    def size(self, points: float) -> float:
        """Return a font size at this scale, never under 6 points."""
        return max(6.0, points * self.scale)


RATIO = 0.76
"""Height of a diagram for its width."""

PAD = 6.0
"""Points from a diagram to its numbers: a symbol on the border reaches over it."""

SIDES = (4.9, 3.3, 2.6, 2.2)
"""Inches that one is wide, by how many stand in a row."""

TALLEST = 2.9
"""Inches of the colour key, at most."""


def _draw_field(
    ax: Axes,
    diagram: Diagram,
    field: Field,
    shown: Shades | None,
    rings: Sequence[Mark],
    look: FieldLook,
) -> list[str]:
    """Draw one panel; return the names of the regions that had no room for them."""
    x, y, theme = diagram.x, diagram.y, look.theme
    size = look.size(8.2)
    if shown is not None:
        values = np.ma.masked_invalid(field.values)
        draw_cells(ax, x.edges, y.edges, values, cmap=shown.ramp, norm=shown.norm, zorder=0.4, gid="values")
    free = FreeSpace(ax)
    limit = field.frontier
    known = limit.line if limit is not None and limit.exact else None
    for line in draw_outcomes(ax, x, y, field.outcomes, theme, known):
        free.line(free.points(line), 1.0)
    if limit is not None:
        draw_frontier(ax, limit, free, theme)
    labels = _draw_symbols(ax, diagram, field, shown, rings, free, theme)
    colors = colors_under(free, x, y, field.values, field.outcomes, shown, theme)
    ground = Underlay(colors, _cell_borders(ax, x, y))
    write_labels(ax, labels, free, ground, size)
    if limit is not None:
        name_frontier(ax, limit, free, ground, theme, look.size(7.6))
    unnamed = name_outcomes(ax, free, x, y, field.outcomes, diagram.within, theme, size)
    if shown is not None:
        draw_isolines(ax, x, y, field.values, shown, free, theme, look.size(6.8))
    return unnamed


LARGE = 24.0
"""Points of the smaller side of a cell from which on labels are kept inside one."""


def _cell_borders(ax: Axes, x: CellAxis, y: CellAxis) -> NDArray[np.bool_]:
    """Return where large cells end, at the cells of a panel's room."""
    fence = FreeSpace(ax)
    cells = [np.diff(axis.share(axis.edges)) * side for axis, side in zip((x, y), fence.size, strict=True)]
    if min(float(np.median(each)) for each in cells) >= LARGE:
        for edge in x.edges[1:-1]:
            fence.line(fence.points([(edge, y.edges[0]), (edge, y.edges[-1])]), 0.0)
        for edge in y.edges[1:-1]:
            fence.line(fence.points([(x.edges[0], edge), (x.edges[-1], edge)]), 0.0)
    return fence.taken


def _draw_symbols(
    ax: Axes, diagram: Diagram, field: Field, shown: Shades | None, rings: Sequence[Mark], free: FreeSpace, theme: Style
) -> list[Label]:
    """Draw the symbols of one panel; return their labels, the most important first."""
    x, y, best, labels = diagram.x, diagram.y, field.best, []
    if best is not None and shown is not None:
        alone = len(diagram.fields) == 1 and free.size[0] >= WIDE  # else it is said beneath, or in the title
        where = f"\nat {diagram.where(best)}" if alone else ""
        others = f"\nand {diagram.others(best)}" if where and best.ties > 1 else ""
        needless = f"no {y.heading} needed" if field.best is field.without else ""
        words = f"{diagram.lowest}: {diagram.value_text(best.value)}", where + others, needless
        labels.append(draw_best(ax, x, y, best, free, words, shown.color(best.value), theme))
    if best is not None and field.without is not None and field.without is not best:
        labels.append(draw_without(ax, x, y, field.without, free, diagram.value_text(field.without.value), theme))
    here = [mark for mark in rings if mark.panel is None or mark.panel == field.entry]
    texts = [(mark, diagram.cell_text(field, mark.row, mark.column, mark.exact)) for mark in here]
    return labels + draw_marks(ax, texts, free, theme)


def _read_marks(diagram: Diagram, given: Mapping[str, Mapping[str, Any]]) -> list[Mark]:
    panels = (diagram.panels, [field.entry for field in diagram.fields]) if diagram.panels else None
    return [mark_of(str(label), setting, diagram.x, diagram.y, panels) for label, setting in given.items()]
