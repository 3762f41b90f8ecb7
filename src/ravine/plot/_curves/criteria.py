"""criteria: what criteria make of a residual, and how hard they pull there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._format import MINUS, kind_of
from ravine.plot._canvas.labels import FreeSpace, draw_label, draw_labels_at_right, printable
from ravine.plot._canvas.layout import write_head_over
from ravine.plot._canvas.sheet import refuse_axes
from ravine.plot._canvas.style import RAVINE, Figure, Style, calm, new_figure, style_of, with_own_settings
from ravine.plot._curves.curve import fold

Array = NDArray[np.floating[Any]]

HOW = "each criterion itself, one residual at a time"

TALLEST = 1.5
"""How far above the middle one of the curves the picture goes; a steeper curve leaves at the top."""


@with_own_settings
def criteria(
    curves_of_residual: xr.Dataset, *, ax: Axes | None = None, title: str | None = None, style: str = "ravine"
) -> Figure:
    """Draw what each criterion makes of one residual, and beneath it how hard it pulls there.

    The pull is the slope. A criterion whose pull does not fade near zero never slows down as it gets there,
    which is why L1Loss hops about its minimum. A dot marks where a parabola turns into a line. Curves that are
    equal in every bit share one name; a curve that grows much faster than the others leaves at the top.

    Parameters
    ----------
    curves_of_residual
        ``loss_of_residual`` and ``pull`` (criterion, residual), from `ravine.residuals`.
    ax
        Refused: the picture has several panels, and the message says how to draw one of them.
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
    >>> from ravine import residuals
    >>> figure = ravine.plot.criteria(residuals([torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss()]))
    >>> [line.get_gid() for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    ['L1Loss', 'HuberLoss = SmoothL1Loss']
    """
    remedy = 'draw one with matplotlib: curves["loss_of_residual"].plot(hue="criterion", ax=ax), or "pull"'
    refuse_axes(ax, "criteria draws two panels, losses and slopes", remedy)
    theme = style_of(style)
    entries = _read_criteria(curves_of_residual)
    x = np.sort(curves_of_residual["residual"].values)
    width, height = 7.6, 6.1
    figure = new_figure(width, height, theme)
    left, across = 0.66 / width, 4.4 / width
    upper = figure.add_axes((left, 2.35 / height, across, 2.75 / height))
    below = figure.add_axes((left, 0.6 / height, across, 1.35 / height), sharex=upper)
    for axes, variable in ((upper, "loss_of_residual"), (below, "pull")):
        calm(axes, theme, grid=True)
        for k, (name, one) in enumerate(entries):
            color = theme.accents[k]
            axes.plot(x, one[variable].values, color=color, lw=1.6, zorder=2.5 - k / 100, gid=printable(name))
        axes.set_xlim(x.min(), x.max())
        _set_limits(axes, [one[variable].values for _, one in entries], signed=variable == "pull")
    upper.tick_params(labelbottom=False)
    upper.set_title("loss of one residual", loc="left", size=8.5, color=theme.quiet)
    below.set_title("its slope: how hard the residual pulls", loc="left", size=8.5, color=theme.quiet)
    below.set_xlabel(f"residual: prediction {MINUS} target")
    _name_losses(upper, x, entries, curves_of_residual, theme)
    _name_pulls(below, x, entries, theme)
    if theme.head:
        write_head_over(upper, title or "What one residual costs, and how hard it pulls", HOW, theme)
    elif title:
        figure.suptitle(title)
    return figure


def _read_criteria(given: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    if not isinstance(given, xr.Dataset):
        raise TypeError(f"expected an xarray.Dataset from ravine.residuals, got {kind_of(given)}")
    for name in ("loss_of_residual", "pull"):
        if name not in given or given[name].dims != ("criterion", "residual"):
            raise ValueError(f"there is no {name!r} (criterion, residual): make it with ravine.residuals(criteria)")
    entries = []
    for k, label in enumerate(given["criterion"].values):
        one = given.isel(criterion=k).sortby("residual")
        arguments = _arguments(one) if np.isnan(_turn(one)) else ""  # where it turns, the dot says them
        entries.append((f"{label} ({arguments})" if arguments and arguments not in str(label) else str(label), one))
    joined = fold(entries, lambda one: one["loss_of_residual"].values)
    if len(joined) > len(RAVINE.accents):
        raise ValueError(f"{len(joined)} criteria are too many to tell apart: select some along 'criterion'")
    return joined


def _set_limits(ax: Axes, heights: Sequence[Array], *, signed: bool) -> None:
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


def _name_losses(
    ax: Axes, x: Array, entries: Sequence[tuple[str, xr.Dataset]], given: xr.Dataset, theme: Style
) -> None:
    """Name the curves at the right, or where they leave at the top, and say where each turns into a line."""
    free, ends, (low, high) = FreeSpace(ax), [], ax.get_ylim()
    for _, one in entries:
        free.line(free.points(np.c_[x, one["loss_of_residual"].values]))
    for (name, one), color in zip(entries, theme.accents, strict=False):
        heights, turn = one["loss_of_residual"].values, _turn(one)
        if low <= heights[-1] <= high:
            ends.append((name, float(heights[-1]), color))
        else:
            k = np.flatnonzero((heights >= low) & (heights <= high))[-1]
            draw_label(ax, name, (float(x[k]), float(heights[k])), theme, color=color, free=free)
        if _mark_turns(ax, x, heights, turn, color, theme):
            labels = name.split(" = ")
            arguments = [
                _arguments(given.sel(criterion=label)) for label in labels if label in given["criterion"].values
            ]
            words = f"{', '.join(arguments)}:\na line from here"
            draw_label(ax, words, (turn, float(np.interp(turn, x, heights))), theme, color=color, free=free)
    if ends:
        draw_labels_at_right(ax, ends, theme)


def _name_pulls(ax: Axes, x: Array, entries: Sequence[tuple[str, xr.Dataset]], theme: Style) -> None:
    """Name the slopes beside themselves, and at the right those that are the same however small the residual."""
    free, ends, (low, high) = FreeSpace(ax), [], ax.get_ylim()
    for _, one in entries:
        free.line(free.points(np.c_[x, one["pull"].values]))
    for (name, one), color in zip(entries, theme.accents, strict=False):
        heights, turn = one["pull"].values, _turn(one)
        sizes = np.abs(heights[x != 0])
        if sizes.size and sizes.min() > 0 and np.ptp(sizes) == 0:
            ends.append((f"{name}: the same however near", float(heights[-1]), color))
            continue
        inside = np.flatnonzero((heights >= low) & (heights <= high))
        at = turn if _mark_turns(ax, x, heights, turn, color, theme) else float(x[inside[-1]])
        draw_label(ax, name, (at, float(np.interp(at, x, heights))), theme, color=color, free=free)
    if ends:
        draw_labels_at_right(ax, ends, theme)


def _mark_turns(ax: Axes, x: Array, heights: Array, turn: float, color: str, theme: Style) -> bool:
    """Mark where a parabola turns into a line, on both sides; tell whether it does so in sight."""
    if not (0 < turn < x.max() and x.min() < -turn):
        return False
    spots = np.array([-turn, turn])
    dots: dict[str, Any] = {
        "ls": "",
        "marker": "o",
        "ms": 6,
        "mew": 1.2,
        "mec": theme.ground,
        "mfc": color,
        "zorder": 4,
    }
    ax.plot(spots, np.interp(spots, x, heights), gid="turn", **dots)
    return True
