"""between: the loss, or the accuracy, along the straight line between two states of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ravine import measure
from ravine._format import names, percent
from ravine._study.contract import check
from ravine._study.provenance import facts_of
from ravine.plot._canvas.hues import choose_hues
from ravine.plot._canvas.labels import FreeSpace, draw_label, draw_labels_at_right, make_room_at_right, printable
from ravine.plot._canvas.layout import widest
from ravine.plot._canvas.sheet import Drawn, Words, drawn_on, limits_of, name_axes, open_sheet, settle, widen
from ravine.plot._canvas.style import Style, calm, is_users, style_on, with_own_settings
from ravine.plot._canvas.words import number_text
from ravine.plot._curves.curve import last_of, runs_apart

Array = NDArray[np.floating[Any]]


class Entry(NamedTuple):
    """A line: its name, its shares and heights, its barrier, and the study."""

    name: str
    shares: Array
    heights: Array
    barrier: xr.DataArray
    study: xr.Dataset


@with_own_settings
def between(
    line: xr.Dataset,
    y: Literal["loss", "accuracy"] = "loss",
    *,
    ax: Drawn | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Drawn:
    """Draw the loss along the line between two states, over the straight line of its ends, with the barrier named.

    Where the loss is not finite the curve has a gap, and the words beneath say where. Several lines that were joined
    each have a curve.

    Parameters
    ----------
    line
        A study with ``line_loss``, from `ravine.between`; up to 24 lines.
    y
        ``"loss"``, or ``"accuracy"`` of a classifier.
    ax
        An Axes of yours to draw on; its figure, title, frame and fonts stay as they are.
    title
        What to see; the height of the barrier, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure, to be written with ``.savefig(path)``; or `ax`, if it was given.

    Raises
    ------
    ValueError
        If there is no line, `y` is neither, or there is no accuracy to draw.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.himmelblau()
    >>> line = ravine.between(problem, {"x": 3.0, "y": 2.0}, {"x": -2.805118, "y": 3.131313}, points=21)
    >>> figure = ravine.plot.between(line)
    >>> figure.texts[0].get_text()
    'A barrier of 71.08, 50 % of the way'
    >>> [each.get_gid() for each in figure.axes[0].lines]
    ['loss', 'straight', 'barrier', 'highest']

    Notes
    -----
    Frankle et al., ICML 2020.
    """
    theme = style_on(style, ax)
    if y not in ("loss", "accuracy"):
        raise ValueError(f'y must be "loss" or "accuracy", got {y!r}')
    check(line, "line_loss")
    if y == "accuracy" and "line_accuracy" not in line:
        raise ValueError(
            "there is no accuracy to draw: the loss of this line compares no scores with classes, as "
            'torch.nn.CrossEntropyLoss() does; y="loss" draws the loss'
        )
    entries = _entries_of(line, f"line_{y}")
    several = len(entries) > 1
    words = Words(title, _title(entries, y), _subtitle(line), _beneath(entries, y, theme))
    aside = max(2.1, widest([name for name, *_ in entries], 8.5) / 72 + 0.4) if several else 0.25
    sheet = open_sheet(ax, theme, words, tall=3.2, aside=aside)
    _draw(sheet.ax, entries, y, theme)
    return drawn_on(sheet, ax)


def _entries_of(line: xr.Dataset, variable: str) -> list[Entry]:
    entries = []
    for name, _, one in runs_apart(line, variable):
        heights = one[variable].values.astype(float)
        shares, drawn = one["share"].values.astype(float), np.where(np.isfinite(heights), heights, np.nan)
        entries.append(Entry(name, shares, drawn, measure.barrier(one), one))
    return entries


def _title(entries: Sequence[Entry], y: str) -> str:
    """Say how high the barrier is, or how far accuracy falls."""
    if y == "accuracy":
        return "Accuracy between two states"
    heights = [(each.name, float(each.barrier)) for each in entries]
    if len(heights) == 1:
        height, share = heights[0][1], float(entries[0].barrier["share"])
        if np.isnan(height):
            return "The loss is not finite at an end: no barrier is known"
        if np.isinf(height):
            return "The loss is not finite on the way"
        return f"A barrier of {number_text(height)}, {percent(share)} of the way" if height > 0 else "No barrier"
    if all(height == 0 for _, height in heights):
        return "No barrier on any of the lines"
    if len(heights) <= 4:
        return f"Barriers: {names([f'{name} {_in_words(height)}' for name, height in heights])}"
    said = [_in_words(height) for _, height in heights if not 0 < height < np.inf]
    barred = f"Barriers on {len(heights) - len(said)} of {len(heights)} lines"
    return "; ".join([barred, *(f"{said.count(each)} {each}" for each in ("not finite", "not known") if each in said)])


def _in_words(height: float) -> str:
    """Say how high a barrier is: it is not known where the loss of an end is not finite."""
    if np.isnan(height):
        return "not known"
    return "not finite" if np.isinf(height) else number_text(height) if height > 0 else "none"


def _subtitle(line: xr.Dataset) -> list[str]:
    """Say what the ends are, how many points there are, and which statistics BatchNorm takes."""
    said = {name: facts_of(line, "line_loss", name) for name in ("one", "other", "statistics", "samples", "of")}
    parts = [f"{line.sizes['share']} points"]
    if len(said["one"]) == len(said["other"]) == 1 and said["one"] != said["other"]:
        parts.insert(0, f"from {said['one'][0]} to {said['other'][0]}")
    kinds = {"batch": "BatchNorm's statistics made anew at each point", "frozen": "BatchNorm's statistics frozen"}
    parts += [kinds[each] for each in said["statistics"] if each in kinds and len(said["statistics"]) == 1]
    if len(said["samples"]) == 1:
        parts.append(f"over {said['samples'][0]:,} of {said['of'][0]:,} samples")
    return parts


def _beneath(entries: Sequence[Entry], y: str, theme: Style) -> list[tuple[str, str]]:
    """Say what the straight line is, that units were not matched, and where nothing is finite."""
    lines = [("dotted: the straight line of both ends", theme.quiet)] if y == "loss" else []
    barred = [each.study for each in entries if float(each.barrier) > 0]
    if any(facts_of(study, "line_loss", "units") == ["not matched"] for study in barred):
        lines.append(("hidden units are not matched: in another order of them there may be no barrier", theme.quiet))
    for name, shares, heights, *_ in entries:
        broken = np.flatnonzero(np.isnan(heights))
        if len(broken):
            whose = f"{name}: " if name else ""
            where = f"{len(broken)} of {len(shares)} points, the first {percent(float(shares[broken[0]]))} of the way"
            lines.append((f"{whose}not finite at {where}", theme.accent))
    return lines


def _draw(ax: Axes, entries: Sequence[Entry], y: str, theme: Style) -> None:
    held = limits_of(ax)
    calm(ax, theme, grid=True)
    hues = choose_hues("", [name for name, *_ in entries], theme)
    for (name, shares, heights, *_), color, dash in zip(entries, hues.colors, hues.dashes, strict=True):
        ax.plot(shares, heights, color=color, ls=dash, lw=1.6, zorder=2.5, gid=printable(name) or y)
    marks = []
    for each, color in zip(entries, hues.colors, strict=True):
        if y == "loss":
            marks.append((_mark_barrier(ax, each, color, theme), color))
    ax.set_xlim(-0.02, 1.02)
    ax.margins(y=0.08)
    ax.autoscale_view()
    ax.set_autoscale_on(False)
    widen(ax, held)
    name_axes(ax, "share of the way", y)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    if y == "accuracy":
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    if is_users(ax):
        settle(ax)
    edge = make_room_at_right(ax, [name for name, *_ in entries])
    free = FreeSpace(ax)
    for _, shares, heights, *_ in entries:
        free.line(free.points(np.c_[shares, heights]))
    for mark, color in marks:
        if mark is not None:
            words, spot = mark
            free.mark(free.points([spot]), 4.0)
            draw_label(ax, words, spot, theme, color=color, free=free)
    ends = [(each.name, last_of(each.heights, 0.0), color) for each, color in zip(entries, hues.colors, strict=True)]
    if len(entries) > 1:
        draw_labels_at_right(ax, ends, theme, edge=edge)


def _mark_barrier(ax: Axes, entry: Entry, color: str, theme: Style) -> tuple[str, tuple[float, float]] | None:
    """Draw the straight line of both ends, and the barrier over it where there is one."""
    shares, heights, found = entry.shares, entry.heights, entry.barrier
    straight = (1 - shares) * heights[0] + shares * heights[-1]
    ax.plot(shares[[0, -1]], heights[[0, -1]], color=color, ls=(0, (1, 2)), lw=1.0, zorder=2, gid="straight")
    if not np.isfinite(found) or not found > 0:
        return None
    k = int(np.flatnonzero(shares == float(found["share"]))[0])
    ax.plot([shares[k]] * 2, [straight[k], heights[k]], color=color, lw=0.9, zorder=2.2, gid="barrier")
    how: dict[str, Any] = {"ls": "", "ms": 6.5, "mew": 1.2, "mec": theme.ground, "mfc": color}
    ax.plot(shares[k], heights[k], marker="o", zorder=4, gid="highest", **how)
    return f"barrier {number_text(float(found))}", (float(shares[k]), float(heights[k]))
