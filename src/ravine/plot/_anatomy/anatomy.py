"""anatomy: one update of one run, opened: its parts as arrows, where on the map it is, its formula in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._study.contract import last_step
from ravine._study.origin import surface_for
from ravine.measure._update import Update, update_of
from ravine.plot._anatomy.arrows import arrows_of, corners_of, draw_arrows, draw_same_loss, ends_of
from ravine.plot._anatomy.formula import Row, align_rows, headline, rows_of, width_of
from ravine.plot._anatomy.window import Window, axis_names, draw_ground, open_window, why_not_drawn, window_of
from ravine.plot._canvas.labels import literal
from ravine.plot._canvas.layout import MONO, wrap, wrap_parts, write_head_over
from ravine.plot._canvas.sheet import refuse_axes
from ravine.plot._canvas.style import Figure, Style, new_figure, style_of, with_own_settings
from ravine.plot._canvas.words import Decays, contours_text, coupled_decay, number_text, settings_text
from ravine.plot._map.contours import draw_bands, gaps_of
from ravine.plot._map.marks import comparable, objective

Vector = NDArray[np.float64]

WIDE, TALL = 5.4, 4.7
"""Inches of the close-up."""

INSET = 2.0
"""Inches that the map beside it is high at most."""

SIZE = 9.0
"""Points of the formula."""

FARTHEST = 1e100
"""Windows from the update beyond which a diverged run's other positions overflow on their way to the paper."""

LINE = 14.5
"""Points from one line of it to the next."""

GAP = 0.45
"""Inches between close-up and formula."""

SMALLEST = 7.0
"""Points below which a frame on the map could not be seen: a ring is drawn instead."""


@with_own_settings
def anatomy(
    run: xr.Dataset,
    land: xr.Dataset | None = None,
    step: int | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Figure:
    """Open one update: what the velocity, the gradient and the decay each contribute, from the run's own numbers.

    The arrows stand head to tail and add up to the recorded update, the broad one; beside them the formula in torch's
    order, line by line. With Nesterov momentum this is torch's own frame, in which the parameters are the look-ahead
    points: the textbook's update and the change of the look-ahead make up the recorded one. Where the parts are not
    known (see `measure/_update.py`), the picture shows the update and which way is downhill, and says why.

    Lines of equal loss are drawn where the surface's grid is fine enough for the window: at least 6 cells, or 2 where
    its second differences are small. Else one dashed line through the position, across the gradient, along which the
    loss does not change at first.

    Parameters
    ----------
    run
        One run of two parameters with ``gradient``, and where it has momentum ``velocity``:
        ``ravine.descend(…, also=("gradient", "velocity"))``.
    land
        A study with ``surface`` over these two parameters; left out, as in `ravine.plot.descent`.
    step
        The update from this step to the next.
    ax
        Refused: the picture has several panels, and the message names the one that draws the arrows alone.
    title
        What to see; how the parts lie to each other, measured, if left out.
    style
        ``"ravine"``, ``"article"`` or ``"dark"``.

    Returns
    -------
    Figure
        With the Axes ``update`` and ``map``.

    Raises
    ------
    ValueError
        If there is more than one run, other than two parameters, no such step, no gradient or velocity, or an update
        that is not finite: the message names the last one that is.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> run = ravine.descend(problem, lr=0.1, momentum=0.9, also=("gradient", "velocity"))
    >>> figure = ravine.plot.anatomy(run, ravine.surface(problem), step=6)
    >>> figure.texts[-2].get_text()
    'Step 6 to 7: the velocity carries uphill, the gradient turns it by 73°'
    """
    refuse_axes(ax, "anatomy draws arrows, a map and a formula", "plot.vectors(run, step, ax) draws the arrows alone")
    theme = style_of(style)
    land = surface_for(run, land, "ravine.plot.anatomy")
    if step is None:
        raise ValueError(f"anatomy opens one update: say which, as in step=0 of 0 to {last_step(run) - 1}")
    if "criterion" in land["surface"].dims and "criterion" in run.coords and run["criterion"].ndim == 0:
        land = land.sel(criterion=run["criterion"])
    names = axis_names(run, land)
    update = update_of(run.sel(parameter=list(names)), step)
    track = run["position"].sel(parameter=list(names)).transpose("step", "parameter").values.astype(float)
    taken = int((run["step"].values <= step).sum()) if "step" in run.coords else int(step) + 1
    decay = coupled_decay(run)
    arrows, spots = arrows_of(update, theme), ends_of(update, theme)
    rows = rows_of(update, theme)
    lines = align_rows(rows, names)
    ratio = _close_up_height(lines) / WIDE
    window = window_of(corners_of(arrows, spots), ratio, _least_height(land, names))
    with np.errstate(over="ignore"):
        far = np.asarray((np.abs(track - update.position) > FARTHEST * window.side).any(axis=1))
    track = np.where(far[:, None], np.nan, track)
    missing = why_not_drawn(land, decay, window)
    wide = WIDE + GAP + _formula_width(lines)
    head = _balance(title or literal(headline(update)), wide)
    below = wrap_parts([settings_text(run), *_notes(run, update, decay, missing)], wide, 8)
    close_ax, map_ax = _place_axes(lines, head.count("\n") * 0.23 + below.count("\n") * 0.16, theme)
    open_window(close_ax, window, names, theme)
    ground = draw_ground(close_ax, land, decay, window, theme)
    if missing:
        draw_same_loss(close_ax, update, window, theme)
    _draw_way(close_ax, track, taken, window, theme)
    free = draw_arrows(close_ax, arrows, spots, window, theme, track=track, size=9.0)
    ground.number(free, theme)
    _draw_map(map_ax, land, decay, track, taken, window, theme)
    _write_formula(close_ax, map_ax, rows, lines, theme)
    write_head_over(close_ax, head, below, theme)
    return close_ax.get_figure()  # type: ignore[return-value]


def _balance(title: str, wide: float) -> str:
    """Break a title into as few lines as it needs, and these about equally long."""
    lines = [wrap(title, wide * share, 13, weight="bold") for share in (0.55, 0.65, 0.75, 0.85, 1.0)]
    return next(each for each in lines if each.count("\n") == lines[-1].count("\n"))


def _notes(run: xr.Dataset, update: Update, decay: Decays, ground: str) -> list[str]:
    """Return what else the picture must say: under which lr, over what, and why no parts are drawn."""
    notes = [str(run["criterion"].values)] if "criterion" in run.coords and not run["criterion"].ndim else []
    if "scheduled_lr" in run and update.rule is not None:
        notes.append(f"lr at this step: {number_text(update.rule.lr)}")
    if update.why:
        notes.append(f"no parts: {update.why}")
    if ground:
        notes += [ground, "dashed: across the gradient"] if update.gradient.any() and not update.batched else [ground]
    elif decay:
        notes.append(contours_text(decay))
    return notes


def _least_height(land: xr.Dataset, names: tuple[str, str]) -> float:
    """Return how high a window on an update of 0 is: a tenth of the surface."""
    return float(np.ptp(land[names[1]].values.astype(float))) / 10


def _formula_width(lines: Sequence[str]) -> float:
    return max(width_of(lines, SIZE), 2.2)


def _close_up_height(lines: Sequence[str]) -> float:
    """Return the inches that the close-up is high: as map and formula beside it."""
    return max(TALL, INSET + 0.3 + len(lines) * LINE / 72)


def _place_axes(lines: Sequence[str], extra: float, theme: Style) -> tuple[Axes, Axes]:
    """Place the close-up at the left, and at the right the map, with room for the formula under it."""
    body = _close_up_height(lines)
    top, bottom, left = 1.0 + extra, 0.55, 0.75
    width, height = left + WIDE + GAP + _formula_width(lines) + 0.25, top + body + bottom
    figure = new_figure(width, height, theme)

    def place(name: str, x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / width, y / height, w / width, h / height), label=name)

    high = bottom + body
    side = min(_formula_width(lines), 3.2)
    close = place("update", left, bottom, WIDE, body)
    return close, place("map", left + WIDE + GAP, high - INSET, side, INSET)


def _draw_way(ax: Axes, track: Vector, taken: int, window: Window, theme: Style) -> None:
    """Draw faintly how the run came here and where it goes on."""
    shared: dict[str, Any] = {"color": theme.quiet, "scalex": False, "scaley": False}
    points = track - window.origin
    for gid, piece, dash in (("before", points[:taken], "-"), ("after", points[taken:], (0, (1, 1.6)))):
        ax.plot(*piece.T, lw=1.1, ls=dash, marker="o", ms=3, mew=0, alpha=0.6, zorder=2, gid=gid, **shared)


def _draw_map(
    ax: Axes, land: xr.Dataset, decay: Decays, track: Vector, taken: int, window: Window, theme: Style
) -> None:
    """Draw the whole surface with the run, and a frame around what the close-up shows."""
    x, y, values = objective(land, decay)
    low = np.minimum([x[0], y[0]], window.low)
    high = np.maximum([x[-1], y[-1]], window.high)
    one_scale = comparable(np.array([low[0], high[0]]), np.array([low[1], high[1]]))
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], anchor="NW")
    ax.set_aspect("equal" if one_scale else "auto")
    for spine in ax.spines.values():
        spine.set(color=theme.grid, linewidth=0.7)
    ax.set_facecolor(theme.ground)
    if theme.terrain:
        ax.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=theme.terrain, shading="nearest", rasterized=True)
    else:
        draw_bands(ax, x, y, values, theme, gaps_of(values))
    ahead: dict[str, Any] = {"scalex": False, "scaley": False, "zorder": 3}
    ax.plot(*track[taken - 1 :].T, color=theme.accent, lw=0.8, alpha=0.45, gid="after", **ahead)
    ax.plot(*track[: taken + 1].T, color=theme.accent, lw=1.3, gid="before", **ahead)
    ax.apply_aspect()
    figure = ax.get_figure()
    assert figure is not None
    corners = np.array([window.low, window.high])
    pixels = ax.transData.transform(corners) * 72 / figure.dpi
    if float((pixels[1] - pixels[0]).min()) >= SMALLEST:
        (left, bottom), (right, top) = corners
        ax.plot(
            [left, right, right, left, left],
            [bottom, bottom, top, top, bottom],
            color=theme.ink,
            lw=1.1,
            gid="window",
            **ahead,
        )
    else:
        middle = corners.mean(axis=0)
        ax.plot(*middle, ls="", marker="o", ms=11, mec=theme.ink, mfc="none", mew=1.1, gid="window", **ahead)
    ax.set_title("where on the map", loc="left", size=8.5, color=theme.quiet, pad=4)


def _write_formula(close_ax: Axes, map_ax: Axes, rows: Sequence[Row], lines: Sequence[str], theme: Style) -> None:
    """Write the formula under the map, each line in the colour of its arrow."""
    figure = close_ax.get_figure()
    assert figure is not None
    height = figure.get_figheight()  # type: ignore[union-attr]
    box = map_ax.get_position()
    y = box.y0 * height - 0.35
    for row, line in zip([Row("axes", "", None, theme.quiet), *rows], lines, strict=True):
        if line:
            text = figure.text(
                box.x0, y / height, literal(line), size=SIZE, family=MONO, color=row.color, va="top", gid=row.gid
            )
            text.set_fontweight("bold" if row.gid in ("next θ", "update") else "normal")
        y -= LINE / 72
