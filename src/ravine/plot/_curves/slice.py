"""slice: the losses along one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ravine._format import hint, kind_of, listed, number, setting
from ravine._study.contract import axes
from ravine.plot._canvas.hues import MOST, choose_hues
from ravine.plot._canvas.labels import (
    FreeSpace,
    draw_label,
    draw_labels_at_right,
    make_room_at_right,
    printable,
)
from ravine.plot._canvas.layout import widest
from ravine.plot._canvas.sheet import Drawn, Words, drawn_on, limits_of, open_sheet, widen
from ravine.plot._canvas.style import Style, calm, style_on, with_own_settings
from ravine.plot._canvas.words import number_text, short_label
from ravine.plot._curves.curve import fold, last_of


@with_own_settings
def slice(
    land: xr.Dataset,
    along: str,
    at: Mapping[str, float],
    *,
    ax: Drawn | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Drawn:
    """Draw the loss along one line of the surface, all criteria on one axis: how steep each really is.

    No value is made up between grid points: the nearest row of the grid is taken, and the picture says which.

    Parameters
    ----------
    land
        A study with ``surface``. Where it holds runs too (``position``) that start on this line, the start
        is marked, with the slope there as the difference of the neighbouring grid points tells it.
    along
        The parameter along the axis.
    at
        The value of the other parameter; the nearest grid value within half a cell is taken.
    ax
        An Axes of yours to draw on; its figure, title, frame and fonts stay as they are.
    title
        What to see.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure; or `ax`, if it was given.

    Raises
    ------
    ValueError
        If a name is not one of the surface's two parameters, the value lies outside the grid, or the study
        has more than one dimension of choice.

    Examples
    --------
    >>> import ravine
    >>> land = ravine.surface(ravine.gallery.article(), points=14)
    >>> ax = ravine.plot.slice(land, along="bias", at={"weight": 6.0}).axes[0]
    >>> [line.get_gid() for line in ax.lines]
    ['MSELoss', 'L1Loss', 'HuberLoss = SmoothL1Loss']
    >>> bool((ax.lines[0].get_ydata() == land.surface.sel(criterion="MSELoss", weight=6.0)).all())
    True
    """
    theme = style_on(style, ax)
    other, value, row = _read_row(land, along, at)
    dims = [str(d) for d in row["surface"].dims if d != along]
    if len(dims) > 1:
        raise ValueError(f"surfaces differ in {listed(dims)}: select all but one, for example with ravine.at(land, …)")
    pairs = (
        [(short_label(dims[0], v), row.isel({dims[0]: i})) for i, v in enumerate(row[dims[0]].values)]
        if dims
        else [("", row)]
    )
    entries = fold(pairs, lambda one: one["surface"].values)
    if len(entries) > MOST:
        raise ValueError(
            f"{len(entries)} curves are too many to tell apart (at most {MOST}): select some along {dims[0]!r}"
        )
    hues = choose_hues("", [name for name, _ in entries], theme)
    names = [name for name, _ in entries]
    words = Words(title, f"The loss along {along}", [_where_text(other, value, at[other])])
    held = limits_of(ax)
    sheet = open_sheet(ax, theme, words, tall=3.3, aside=max(2.1, widest(names, 8.5) / 72 + 0.4) if dims else 0.25)
    panel = sheet.ax
    calm(panel, theme, grid=True)
    x = row[along].values.astype(float)
    ends = []
    for (name, one), color, dash in zip(entries, hues.colors, hues.dashes, strict=True):
        heights = np.where(np.isfinite(one["surface"].values), one["surface"].values, np.nan)
        panel.plot(x, heights, color=color, ls=dash, lw=1.6, gid=printable(name) or "loss")
        ends.append((name, last_of(heights, 0.0), color))
    panel.set_xlim(x.min(), x.max())
    panel.autoscale_view()
    panel.autoscale(False)
    widen(panel, held)
    sheet.name_axes(along, "loss")
    edge = make_room_at_right(panel, names)
    if theme.head:
        _mark_start(panel, land, along, (other, value), entries, hues.of(theme))
    if dims:
        draw_labels_at_right(panel, ends, theme, edge=edge)
    return drawn_on(sheet, ax)


def _read_row(land: xr.Dataset, along: str, at: Mapping[str, float]) -> tuple[str, float, xr.Dataset]:
    names = axes(land)
    if not isinstance(along, str):
        raise TypeError(f"along must be the name of a parameter, {' or '.join(names)}, got {kind_of(along)}")
    if along not in names:
        raise ValueError(f"no parameter {along!r}{hint(str(along), names)}; the surface lies over {listed(names)}")
    (other,) = (name for name in names if name != along)
    if not isinstance(at, Mapping) or list(at) != [other]:
        raise ValueError(f"at must say where {other!r} is held, for example at={{{other!r}: 0.0}}; got {kind_of(at)}")
    values = np.sort(land[other].values.astype(float))
    wanted = float(at[other])
    k = int(np.abs(values - wanted).argmin()) if np.isfinite(wanted) else 0
    cells = np.diff(values[max(k - 1, 0) : k + 2])
    reach = cells.max() / 2 if cells.size else 1e-6 * abs(values[k])  # a single row has no neighbours
    if not abs(values[k] - wanted) <= reach * (1 + 1e-9):
        raise ValueError(
            f"{other} = {wanted:g} lies outside the surface, which goes from {values[0]:g} to {values[-1]:g}"
        )
    row = land[["surface"]].sel({other: values[k]}, method="nearest").sortby(along)
    return other, float(values[k]), row


def _where_text(other: str, value: float, wanted: float) -> str:
    near = (
        ""
        if np.isclose(value, wanted, rtol=1e-6, atol=0)
        else f", the row of the grid nearest to {setting(float(wanted))}"
    )
    return f"{other} = {number_text(value)}{near}"


def _mark_start(
    ax: Axes,
    land: xr.Dataset,
    along: str,
    held: tuple[str, float],
    entries: Sequence[tuple[str, xr.Dataset]],
    theme: Style,
) -> None:
    """Mark where the runs start, if they all start at one place on this line, and say how steep it is there."""
    other, value = held
    if "position" not in land or not {along, other} <= set(land["parameter"].values.tolist()):
        return
    begun = land["position"].isel(step=0)
    here, there = (np.unique(begun.sel(parameter=name).values.astype(float)) for name in (along, other))
    x = entries[0][1][along].values.astype(float)
    if len(here) > 1 or len(there) > 1 or not x[0] < here[0] < x[-1]:
        return
    rows = np.sort(land[other].values.astype(float))
    if abs(there[0] - value) > np.diff(rows).max() / 2:
        return
    free = FreeSpace(ax)
    for _, one in entries:
        free.line(free.points(np.c_[x, one["surface"].values]))
    k = int(np.clip(np.abs(x - here[0]).argmin(), 1, len(x) - 2))
    for color, (_, one) in zip(theme.accents, entries, strict=False):
        heights = one["surface"].values.astype(float)
        slope = (heights[k + 1] - heights[k - 1]) / (x[k + 1] - x[k - 1])
        if not np.isfinite(slope):
            continue
        spot = float(here[0]), float(np.interp(here[0], x, heights))
        ax.plot(*spot, ls="", marker="o", ms=7, mew=1.6, mec=color, mfc=theme.ground, zorder=4, gid="start")
        draw_label(ax, f"start: slope {number(slope)}", spot, theme, color=color, free=free)
