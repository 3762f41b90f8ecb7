"""Views of losses as functions: what a criterion makes of a residual, and the losses along one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine import study
from ravine.plot import captions, paper
from ravine.plot.gaps import folded, last_of
from ravine.plot.paper import Figure, Style, style_of
from ravine.plot.places import Room
from ravine.plot.sheet import write_head_over
from ravine.words import hint, listed

__all__ = ["criteria", "slice"]

Array = NDArray[np.floating[Any]]

MINUS = "\N{MINUS SIGN}"

HOW = "each criterion itself, one residual at a time"

TALLEST = 1.5
"""How far above the middle one of the curves the picture goes; a steeper curve leaves at the top."""


@paper.drawn
def criteria(curves_of_residual: xr.Dataset, *, title: str | None = None, style: str = "ravine") -> Figure:
    """Draw what each criterion makes of one residual, and beneath it how hard it pulls there.

    The pull is the slope. A criterion whose pull does not fade near zero never slows down as it gets there,
    which is why L1Loss hops about its minimum. A dot marks where a parabola turns into a line. Curves that are
    equal in every bit share one name; a curve that grows much faster than the others leaves at the top.

    Parameters
    ----------
    curves_of_residual
        ``loss_of_residual`` and ``pull`` (criterion, residual), from `ravine.residuals`.
    title
        What to see.
    style
        ``"ravine"`` or ``"article"``.

    Raises
    ------
    ValueError
        If the dataset lacks these variables, or holds more criteria than can be told apart.

    Examples
    --------
    >>> import ravine, torch
    >>> from ravine.criterion import residuals
    >>> figure = ravine.plot.criteria(residuals([torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss()]))
    >>> [line.get_gid() for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    ['L1Loss', 'HuberLoss = SmoothL1Loss']
    """
    look = style_of(style)
    entries = _criteria(curves_of_residual)
    x = np.sort(curves_of_residual["residual"].values)
    width, height = 7.6, 6.1
    figure = paper.new_figure(width, height, look)
    left, across = 0.66 / width, 4.4 / width
    ax = figure.add_axes((left, 2.35 / height, across, 2.75 / height))
    below = figure.add_axes((left, 0.6 / height, across, 1.35 / height), sharex=ax)
    for axes, variable in ((ax, "loss_of_residual"), (below, "pull")):
        if look is not paper.ARTICLE:
            paper.calm(axes, look)
            axes.grid(color=look.grid, lw=0.6)
            axes.set_axisbelow(True)
        for k, (name, one) in enumerate(entries):
            color = look.accents[k]
            axes.plot(x, one[variable].values, color=color, lw=1.6, zorder=2.5 - k / 100, gid=name)
        axes.set_xlim(x.min(), x.max())
        _limit(axes, [one[variable].values for _, one in entries], signed=variable == "pull")
    ax.tick_params(labelbottom=False)
    ax.set_title("loss of one residual", loc="left", size=8.5, color=look.quiet)
    below.set_title("its slope: how hard the residual pulls", loc="left", size=8.5, color=look.quiet)
    below.set_xlabel(f"residual: prediction {MINUS} target")
    _name_losses(ax, x, entries, curves_of_residual, look)
    _name_pulls(below, x, entries, look)
    if look is not paper.ARTICLE:
        write_head_over(ax, title or "What one residual costs, and how hard it pulls", HOW, look)
    elif title:
        figure.suptitle(title)
    return figure


def _criteria(given: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    if not isinstance(given, xr.Dataset):
        raise TypeError(f"expected an xarray.Dataset from ravine.residuals, got {type(given).__name__}")
    for name in ("loss_of_residual", "pull"):
        if name not in given or given[name].dims != ("criterion", "residual"):
            raise ValueError(f"there is no {name!r} (criterion, residual): make it with ravine.residuals(criteria)")
    entries = []
    for k, label in enumerate(given["criterion"].values):
        one = given.isel(criterion=k).sortby("residual")
        said = _arguments(one) if np.isnan(_turn(one)) else ""  # where it turns, the dot says them
        entries.append((f"{label} ({said})" if said and said not in str(label) else str(label), one))
    joined = folded(entries, lambda one: one["loss_of_residual"].values)
    if len(joined) > len(paper.RAVINE.accents):
        raise ValueError(f"{len(joined)} criteria are too many to tell apart: select some along 'criterion'")
    return joined


def _limit(ax: Axes, heights: Sequence[Array], *, signed: bool) -> None:
    """Choose limits by the middle one of the curves, so that a steep one does not press the others flat."""
    peaks = [float(np.nanmax(np.abs(each[np.isfinite(each)]))) for each in heights]
    top = min(max(peaks), TALLEST * float(np.median(peaks))) or 1.0
    lowest = min(float(np.nanmin(each)) for each in heights)
    if signed:
        ax.set_ylim(-1.12 * top, 1.12 * top)
    else:
        ax.set_ylim(min(lowest, 0.0) - 0.04 * top, 1.04 * top)


def _arguments(one: xr.Dataset) -> str:
    return str(one["arguments"].values) if "arguments" in one.coords else ""


def _turn(one: xr.Dataset) -> float:
    return float(one["turn"]) if "turn" in one.coords else np.nan


def _name_losses(ax: Axes, x: Array, entries: Sequence[tuple[str, xr.Dataset]], given: xr.Dataset, look: Style) -> None:
    """Name the curves at the right, or where they leave at the top, and say where each turns into a line."""
    room, ends, (low, high) = Room(ax), [], ax.get_ylim()
    for _, one in entries:
        room.line(room.points(np.c_[x, one["loss_of_residual"].values]))
    for (name, one), color in zip(entries, look.accents, strict=False):
        heights, turn = one["loss_of_residual"].values, _turn(one)
        if low <= heights[-1] <= high:
            ends.append((name, float(heights[-1]), color))
        else:
            k = np.flatnonzero((heights >= low) & (heights <= high))[-1]
            paper.label(ax, name, (float(x[k]), float(heights[k])), look, color=color, room=room)
        if _dots(ax, x, heights, turn, color, look):
            labels = name.split(" = ")
            told = [_arguments(given.sel(criterion=label)) for label in labels if label in given["criterion"].values]
            words = f"{', '.join(told)}:\na line from here"
            paper.label(ax, words, (turn, float(np.interp(turn, x, heights))), look, color=color, room=room)
    if ends:
        paper.label_at_right(ax, ends, look)


def _name_pulls(ax: Axes, x: Array, entries: Sequence[tuple[str, xr.Dataset]], look: Style) -> None:
    """Name the slopes beside themselves, and at the right those that are the same however small the residual."""
    room, ends, (low, high) = Room(ax), [], ax.get_ylim()
    for _, one in entries:
        room.line(room.points(np.c_[x, one["pull"].values]))
    for (name, one), color in zip(entries, look.accents, strict=False):
        heights, turn = one["pull"].values, _turn(one)
        sizes = np.abs(heights[x != 0])
        if sizes.size and sizes.min() > 0 and np.ptp(sizes) == 0:
            ends.append((f"{name}: the same however near", float(heights[-1]), color))
            continue
        inside = np.flatnonzero((heights >= low) & (heights <= high))
        at = turn if _dots(ax, x, heights, turn, color, look) else float(x[inside[-1]])
        paper.label(ax, name, (at, float(np.interp(at, x, heights))), look, color=color, room=room)
    if ends:
        paper.label_at_right(ax, ends, look)


def _dots(ax: Axes, x: Array, heights: Array, turn: float, color: str, look: Style) -> bool:
    """Mark where a parabola turns into a line, on both sides; tell whether it does so in sight."""
    if not (0 < turn < x.max() and x.min() < -turn):
        return False
    spots = np.array([-turn, turn])
    dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 6, "mew": 1.2, "mec": look.ground, "mfc": color, "zorder": 4}
    ax.plot(spots, np.interp(spots, x, heights), gid="turn", **dots)
    return True


@paper.drawn
def slice(
    land: xr.Dataset,
    along: str,
    at: Mapping[str, float],
    *,
    title: str | None = None,
    style: str = "ravine",
) -> Figure:
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
    title
        What to see.
    style
        ``"ravine"`` or ``"article"``.

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
    look = style_of(style)
    other, value, row = _row(land, along, at)
    dims = [str(d) for d in row["surface"].dims if d != along]
    if len(dims) > 1:
        raise ValueError(f"surfaces differ in {listed(dims)}: select all but one, for example with ravine.at(land, …)")
    pairs = (
        [(captions.label(dims[0], v), row.isel({dims[0]: i})) for i, v in enumerate(row[dims[0]].values)]
        if dims
        else [("", row)]
    )
    entries = folded(pairs, lambda one: one["surface"].values)
    if len(entries) > len(look.accents):
        raise ValueError(f"{len(entries)} curves are too many to tell apart: select some along {dims[0]!r}")
    width = 7.2 if dims else 5.3
    figure = paper.new_figure(width, 4.8, look)
    ax = figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.3 / 4.8))
    if look is not paper.ARTICLE:
        paper.calm(ax, look)
        ax.grid(color=look.grid, lw=0.6)
        ax.set_axisbelow(True)
    x = row[along].values.astype(float)
    ends = []
    for k, (name, one) in enumerate(entries):
        heights = np.where(np.isfinite(one["surface"].values), one["surface"].values, np.nan)
        ax.plot(x, heights, color=look.accents[k], lw=1.6, gid=name or "loss")
        ends.append((name, last_of(heights, 0.0), look.accents[k]))
    ax.set_xlim(x.min(), x.max())
    ax.autoscale_view()
    ax.autoscale(False)
    ax.set_xlabel(along)
    ax.set_ylabel("loss")
    if look is not paper.ARTICLE:
        _mark_start(ax, land, along, other, value, entries, look)
        write_head_over(ax, title or f"The loss along {along}", _where(other, value, at[other]), look)
    elif title:
        ax.set_title(title)
    if dims:
        paper.label_at_right(ax, ends, look)
    return figure


def _row(land: xr.Dataset, along: str, at: Mapping[str, float]) -> tuple[str, float, xr.Dataset]:
    names = study.axes(land)
    if along not in names:
        raise ValueError(f"no parameter {along!r}{hint(str(along), names)}; the surface lies over {listed(names)}")
    (other,) = (name for name in names if name != along)
    if not isinstance(at, Mapping) or list(at) != [other]:
        raise ValueError(f"at must say where {other!r} is held, for example at={{{other!r}: 0.0}}; got {at!r}")
    values = np.sort(land[other].values.astype(float))
    wanted = float(at[other])
    k = int(np.abs(values - wanted).argmin()) if np.isfinite(wanted) else 0
    cells = np.diff(values[max(k - 1, 0) : k + 2])
    if not abs(values[k] - wanted) <= cells.max() / 2 * (1 + 1e-9):
        raise ValueError(
            f"{other} = {wanted:g} lies outside the surface, which goes from {values[0]:g} to {values[-1]:g}"
        )
    row = land[["surface"]].sel({other: values[k]}, method="nearest").sortby(along)
    return other, float(values[k]), row


def _where(other: str, value: float, wanted: float) -> str:
    near = "" if np.isclose(value, wanted, rtol=1e-6, atol=0) else f", the row of the grid nearest to {wanted:g}"
    return f"{other} = {captions.number(value)}{near}"


def _mark_start(
    ax: Axes,
    land: xr.Dataset,
    along: str,
    other: str,
    value: float,
    entries: Sequence[tuple[str, xr.Dataset]],
    look: Style,
) -> None:
    """Mark where the runs start, if they all start at one place on this line, and say how steep it is there."""
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
    room = Room(ax)
    for _, one in entries:
        room.line(room.points(np.c_[x, one["surface"].values]))
    k = int(np.clip(np.abs(x - here[0]).argmin(), 1, len(x) - 2))
    for color, (_, one) in zip(look.accents, entries, strict=False):
        heights = one["surface"].values.astype(float)
        slope = (heights[k + 1] - heights[k - 1]) / (x[k + 1] - x[k - 1])
        if not np.isfinite(slope):
            continue
        spot = float(here[0]), float(np.interp(here[0], x, heights))
        ax.plot(*spot, ls="", marker="o", ms=7, mew=1.6, mec=color, mfc=look.ground, zorder=4, gid="start")
        paper.label(ax, f"start: slope {slope:.3g}".replace("-", MINUS), spot, look, color=color, room=room)
