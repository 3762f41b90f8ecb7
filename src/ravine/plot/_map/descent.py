"""descent: paths over the loss, a panel for each criterion, with the settings written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ravine._findings.run import Run
from ravine._format import listed, number
from ravine._study.contract import axes, last_step
from ravine._study.interpolant import interpolant_of
from ravine._study.origin import surface_for
from ravine._study.units import unit_of_parameters
from ravine.plot._canvas.hues import Hues, choose_hues
from ravine.plot._canvas.labels import literal
from ravine.plot._canvas.layout import Headings, Lines, PanelShape, first_fitting, make_layout, widest
from ravine.plot._canvas.scales import Axis, draw_key, key_numbers
from ravine.plot._canvas.sheet import Drawn, Sheet, Words, drawn_on, open_sheet
from ravine.plot._canvas.style import Figure, Style, new_figure, style_on, with_own_settings
from ravine.plot._canvas.words import (
    End,
    because,
    coupled_decay,
    end_of,
    fitted_text,
    outcome,
    race_names,
    settings_text,
    subtitle,
    title_of,
)
from ravine.plot._map.marks import comparable, name_sides, path, surface
from ravine.plot._map.notes import WORDED, PanelLook, draw_panel, scheduled_rates
from ravine.plot._map.panels import Panel, PanelGrid, make_panels
from ravine.plot._map.planes import AFTER, axes_with_shares, map_error_text, plane_parts, plane_under, unseen_text
from ravine.plot._map.strips import draw_strip, draw_strips, kinds_of, room_for

FEW = 6
"""Panels up to which each may have an inset; more are looked at side by side, and want to be simple."""


@with_own_settings
def descent(
    runs: xr.Dataset,
    land: xr.Dataset | None = None,
    *,
    hue: str | None = None,
    fold: bool = False,
    field: bool = False,
    ax: Drawn | None = None,
    width: float | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Drawn:
    """Draw runs over the loss they descend: a panel for each entry of one dimension, or of two as a grid.

    The contours show what is really minimised: where the runs have a weight decay, it is added to the loss
    and the subtitle says so. A run that winds about in a small spot is enlarged in an inset, where a corner
    is free. Under a scheduler the line is as wide as the learning rate is large.

    Of runs on a plane through the space of all parameters a strip under the map shows the true loss of each step
    and the loss drawn beneath it, and names where they are farthest apart: what a path off the plane meets is not what
    the map shows. The axes bear their share, and that of a random walk with the run's steps. With ``sharpness``
    another strip sets the largest curvature against the one that each step's lr bears. Strips need room of their own:
    on Axes of yours, and under more than six panels, there are none, and the largest gap is written instead.

    Parameters
    ----------
    runs
        A study with ``position`` (…, step, parameter) of two parameters; with ``loss``, ``scheduled_lr``,
        ``minimizer``, ``drawn_loss`` and ``sharpness`` the picture says more.
    land
        A study with ``surface`` over these two parameters, for each panel or one for all. Left out, that of the runs
        themselves, or one made around them, where their problem is still known in this process.
    hue
        A dimension, or a setting that varies along one: its runs share a panel, up to 24, each in its own colour. More
        than three numbers get a ramp, on a logarithmic scale where they are spaced so, and beyond ten runs a bar.
    fold
        Join neighbouring panels that are equal in every bit, under both names.
    field
        Draw arrows down the slope, from ``slope`` in `land`, or else from differences of the grid.
    ax
        An Axes of yours to draw one panel on. Its figure, title, frame and fonts stay as they are.
    width
        Of the figure in inches, for example 3.5 or 7.2 for one or two columns of print.
    title
        What to see; the settings that were turned, in words, if left out.
    style
        ``"ravine"``, ``"dark"``, or ``"article"``, which knows none of the options above.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure, to be written with ``.savefig(path)``; png, svg and pdf by the ending. Or `ax`, if it was given.

    Raises
    ------
    ValueError
        If `ax` is given for several panels; if the runs have other than two parameters, more than two dimensions of
        choice besides `hue`, or too many panels to read, or the surface lies over other parameters; the message
        says what to select or to call.

    Examples
    --------
    >>> import ravine
    >>> problems = ravine.gallery.article()
    >>> runs, land = ravine.descend(problems, lr=0.1, momentum=0.9), ravine.surface(problems, points=21)
    >>> figure = ravine.plot.descent(runs, land, fold=True)
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['MSELoss', 'L1Loss', 'HuberLoss = SmoothL1Loss']

    Several runs in each panel, told apart by colour, dashes and a name:

    >>> both = ravine.join({m: ravine.descend(problems, lr=0.1, momentum=m) for m in (0.0, 0.9)}, dim="momentum")
    >>> len(ravine.plot.descent(both, land, hue="momentum").axes)
    4
    """
    theme = style_on(style, ax)
    land = surface_for(runs, land, "ravine.plot.descent")
    plan = make_panels(runs, land, hue, fold)
    pair = axes(land)
    if ax is not None:
        return drawn_on(_draw_on_axes(ax, plan.panels, pair, hue, PanelLook(theme, field=field), title), ax)
    if not theme.head:
        if hue is not None:
            raise ValueError(f"style {style!r} draws one run in each panel: leave hue out, or choose another style")
        plain: Any = _draw_plain(plan.panels, pair, theme)
        return cast("Drawn", plain)
    shown = plan.panels
    lengths = {last_step(run) for panel in shown for run in panel.runs}
    counted = len(shown) == len(shown[0].runs) == 1 or len(lengths) > 1  # else the subtitle says it for all
    ends = [[end_of(run) for run in panel.views] for panel in shown]
    alone = hue in ("run", "optimizer") and len(shown) == 1
    hues: Hues = _choose_hues(shown[0], hue, theme)
    theme = hues.of(theme) if hue is not None else theme
    kinds = kinds_of(shown) if len(shown) <= FEW else ()
    words = Headings(
        title or literal(title_of(runs, [end for each in ends for end in each])),
        descent_subtitle(runs, shown, field, pair, told="gap" in kinds),
        [panel.label for panel in shown],
        [_outcome_lines(panel, each, theme, counted, alone) for panel, each in zip(shown, ends, strict=True)],
        plan.rows,
    )
    shape = replace(shape_of(plan), under=room_for(kinds))
    bar, key = hues.bar, _key_width(hues)
    if key:
        shape = replace(shape, aside=key + 0.35)
    layout = make_layout(words, *sides_of(shown[0], pair), shape, theme, width=width)
    look = PanelLook(theme, layout.scale, field, len(shown) <= FEW, hues.bar is None, hues.shades is None)
    for k, panel in enumerate(shown):
        draw_panel(layout.axes[k], panel, pair, look)
        draw_strips(layout, k, panel, kinds, theme)
    if bar is not None:
        beside = layout.add_beside("key", 0.14, 0.0, key + 0.25, min(layout.measures.tall, TALLEST))
        draw_key(beside, bar, hues.heading, (), theme, layout.size(8))
    drawn: Any = layout.figure
    return cast("Drawn", drawn)


PLAIN_WIDE, PLAIN_STRIP = 4.6, 1.3
"""Inches that a map is about wide in matplotlib's own arrangement, and of a strip with its title and numbers."""

TALLEST = 2.9
"""Inches of the colour bar, at most."""


def _key_width(hues: Hues) -> float:
    """Return the inches that the numbers of a colour bar need; 0 where there is none."""
    if hues.bar is None:
        return 0.0
    return widest([hues.heading, *(word for _, word in key_numbers(hues.bar))], 8) / 72


def _choose_hues(panel: Panel, hue: str | None, theme: Style) -> Hues:
    values = [run[hue].values.item() if hue in run.coords else k for k, run in enumerate(panel.runs)] if hue else [""]
    return choose_hues(hue or "", values, theme)


def _draw_on_axes(
    given: object, panels: Sequence[Panel], pair: tuple[str, str], hue: str | None, look: PanelLook, title: str | None
) -> Sheet:
    """Draw the only panel on the user's Axes; the names of several optimizers hold their settings."""
    if len(panels) > 1:
        raise ValueError(
            f"descent draws {len(panels)} panels ({listed(panel.label for panel in panels)}), and ax= is one: "
            "select one of them, for example with ravine.at(runs, criterion=…), or leave ax out"
        )
    (panel,) = panels
    hues = _choose_hues(panel, hue, look.theme)
    panel = replace(panel, names=race_names(panel.runs, panel.names))
    sheet = open_sheet(given, look.theme, Words(title), tall=0)
    ax = sheet.ax
    if not look.theme.head:
        surface(panel.land, ax, style=look.theme.name)
        path(panel.runs[0], ax, axes=pair, style=look.theme.name)
        return sheet
    look = replace(
        look,
        theme=hues.of(look.theme) if hue else look.theme,
        named=hues.bar is None,
        dashed=hues.shades is None,
        error=map_error_text(panel.runs, panel.names),
    )
    sheet.name_axes(*_fitting_names(ax, panel, pair, float(ax.xaxis.label.get_fontsize())))
    if hues.bar is not None:
        sheet.draw_bar(hues.bar, hues.heading, 0.2)
    draw_panel(ax, panel, pair, look)
    return sheet


def sides_of(panel: Panel, pair: tuple[str, str]) -> tuple[Axis, Axis]:
    """Return the axes of a panel, from end to end of the grid.

    They bear the parameters' own names, with what 1 of each is where columns were standardized, or a plane's with its
    shares.
    """
    units = unit_of_parameters(panel.runs[0])
    across, up = (
        _side_in_units(Axis(name, each[[0, -1]]), *units.get(name, (1.0, "")))
        for name, each in zip(pair, (panel.x, panel.y), strict=True)
    )
    return axes_with_shares((across, up), plane_under(panel.runs[0], panel.land))


def _side_in_units(axis: Axis, amount: float, unit: str) -> Axis:
    if not unit:
        return axis
    return replace(axis, heading=f"{axis.heading}{AFTER}1 is {number(amount, 4)} {unit}", shorter=(axis.heading,))


def _fitting_names(
    ax: Axes, panel: Panel, pair: tuple[str, str], size: float, room: tuple[float, float] | None = None
) -> tuple[str, str]:
    """Return names of both axes that have room beside a map: so many points across and up, or as it lies now."""
    across, up = sides_of(panel, pair)
    if room is None:
        figure = ax.get_figure(root=True)
        assert figure is not None
        wide, tall = (side * 72 / figure.dpi for side in (ax.bbox.width, ax.bbox.height))
        ratio = float(np.ptp(panel.y) / np.ptp(panel.x)) if comparable(panel.x, panel.y) else tall / wide
        room = min(wide, tall / ratio), min(tall, wide * ratio)
    return first_fitting(across.headings, room[0], size), first_fitting(up.headings, room[1], size)


def shape_of(plan: PanelGrid) -> PanelShape:
    """Return how large maps are: in the proportions of their grid, where neither side is much longer."""
    x, y = plan.panels[0].x, plan.panels[0].y
    ratio = float(np.ptp(y) / np.ptp(x)) if comparable(x, y) and np.ptp(x) and np.ptp(y) else 1.0
    ratio = ratio if comparable(x, y) else 0.85
    narrow = max(1.0, ratio / 1.6)
    return PanelShape(
        ratio,
        (4.4 / narrow, 2.95 / narrow, 2.6 / narrow, 2.2 / narrow),
        between=0.42,
        narrowest=0.7,
        columns=plan.columns or 0,
    )


def descent_subtitle(
    runs: xr.Dataset, shown: Sequence[Panel], field: bool, pair: tuple[str, str], *, told: bool = False
) -> list[str]:
    """Write what all panels have in common, and how they are to be read, in parts that are not to be broken.

    `told`: the picture shows elsewhere how wrong the map of a plane is.
    """
    every = [run for panel in shown for run in panel.runs]
    arrows = "arrows: downhill" if all("slope" in panel.land for panel in shown) else "arrows: downhill, from the grid"
    named = [f"{panel.label} {name}".strip() if len(shown) > 1 else name for panel in shown for name in panel.names]
    parts = subtitle(
        runs,
        [panel.decay for panel in shown],
        decay_left_out=any(coupled_decay(run) != panel.decay for panel in shown for run in panel.runs),
        scheduled=any(scheduled_rates(run) is not None for run in every),
        uneven=not all(comparable(panel.x, panel.y) for panel in shown),
        arrows=arrows * field,
    )
    parts += plane_parts(plane_under(every[0], shown[0].land))
    parts += sorted({found.words() for panel in shown if (found := interpolant_of(panel.land)) is not None})
    parts += [unseen_text(panel.values for panel in shown), "" if told else map_error_text(every, named)]
    return [part for part in parts if part]


def _outcome_lines(panel: Panel, ends: Sequence[End | None], theme: Style, counted: bool, alone: bool) -> Lines:
    """Say under a panel what happened to each run, in its colour where there are several; how it was made, if alone."""
    happened = [
        ", ".join(filter(None, (outcome(run, counted=counted), end.words if end else "")))
        for run, end in zip(panel.views, ends, strict=True)
    ]
    if len(panel.runs) == 1:
        more = (because(panel.views[0]), fitted_text(panel.views[0]))
        return [(happened[0], theme.ink), *((each, theme.quiet) for each in more if each)]
    if len(panel.runs) > WORDED:
        return [(_summary(ends, panel.views), theme.ink)]
    optimizers = {str(run.coords["optimizer"].values) for run in panel.runs if "optimizer" in run.coords}
    made = [settings_text(run) for run in panel.runs] if alone or len(optimizers) > 1 else []
    if len(set(made)) == 1 or all(one in name for name, one in zip(panel.names, made, strict=False)):
        made = []  # the subtitle, or the names themselves, say it
    lines = []
    for k, (name, what, color) in enumerate(zip(panel.names, happened, theme.accents, strict=False)):
        how = f"{made[k]}, " if made else ""
        lines.append((f"{name}: {how}{what}", color))
    return lines


def _summary(ends: Sequence[End | None], runs: Sequence[Run]) -> str:
    """Say in one line what became of many runs."""
    broken = sum(run.diverged for run in runs)
    steps = [end.step for end in ends if end is not None and end.outcome == "arrived"]
    text = f"{len(runs)} runs"
    if steps:
        first, last = min(steps), max(steps)
        where = f"steps {first:.0f} to {last:.0f}" if last > first else f"step {first:.0f}"
        text = (
            f"{len(steps)} of {text} arrive, at {where}" if len(steps) < len(runs) else f"all {text} arrive, at {where}"
        )
    elif all(end is not None for end in ends):
        text = f"none of {text} arrives"
    return text + f"; {broken} diverged" * bool(broken)


def _draw_plain(panels: Sequence[Panel], pair: tuple[str, str], theme: Style) -> Figure:
    """Draw maps in matplotlib's own arrangement, without a head: one, or two by two; strips under each."""
    kinds = kinds_of(panels) if len(panels) <= FEW else ()
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    rows = -(-len(panels) // columns)
    strips = len(kinds) * PLAIN_STRIP
    tall = 4.8
    if kinds and comparable(panels[0].x, panels[0].y):  # no emptiness between a flat map and its strips
        tall = min(tall, rows * (PLAIN_WIDE / columns * shape_of(PanelGrid(list(panels), None, [])).ratio + 0.9))
    figure = new_figure(6.4, tall + strips * rows, theme)
    figure.set_layout_engine("constrained")
    # one grid for all, so that what stands below each other is laid out alike
    each = [tall / rows, *[PLAIN_STRIP] * len(kinds)]
    grid = figure.add_gridspec(rows * len(each), columns, height_ratios=each * rows)
    for k, panel in enumerate(panels):
        row, column = divmod(k, columns)
        cells = [grid[row * len(each) + place, column] for place in range(len(each))]
        ax = figure.add_subplot(cells[0])
        surface(panel.land, ax, style=theme.name)
        path(panel.runs[0], ax, axes=pair, style=theme.name)
        if len(panels) > 1:
            ax.set_title(literal(panel.label))
            ax.set_xlabel("")
            ax.set_ylabel("")
        elif plane_under(panel.runs[0], panel.land) is not None:
            name_sides(ax, *_fitting_names(ax, panel, pair, 9.0, (PLAIN_WIDE * 72, (tall - 0.9) / rows * 72)))
        for kind, cell in zip(kinds, cells[1:], strict=True):
            strip = figure.add_subplot(cell, label=kind)
            draw_strip(strip, kind, panel, theme, last=kind == kinds[-1])
    return figure
