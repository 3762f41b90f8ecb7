"""Sheets: figures with room, in inches, for panels and for what is written around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from ravine.plot import paper
from ravine.plot.paper import Figure, Style

__all__ = ["Sheet", "one_axes", "sheet_of", "trim", "write_caption", "write_head", "write_head_over"]

HEADER = 0.86
"""Inches above the panels, for title and settings."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A figure with one Axes for each panel, placed in inches so that texts have the room they need."""

    figure: Figure
    axes: list[Axes]
    columns: int
    side: float
    look: Style


def sheet_of(count: int, ratio: float, look: Style) -> Sheet:
    """Lay out equal panels; `ratio` is height to width of what each shows."""
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3 if count <= 9 else 4)
    rows = -(-count // columns)
    ratio = ratio if 0.25 <= ratio <= 4 else 0.85
    left, right, between = 0.66, 0.22, 0.42
    side = {1: 4.4, 2: 2.95, 3: 2.6}.get(columns, 2.2)
    if ratio > 1.6:
        side /= ratio / 1.6
    map_height, above, below, foot = side * ratio, 0.34, 0.62, 0.28
    width = max(left + columns * side + (columns - 1) * between + right, 4.6)
    height = HEADER + rows * (above + map_height + below) + foot
    figure = paper.new_figure(width, height, look)
    axes = []
    for k in range(count):
        row, column = divmod(k, columns)
        x = left + column * (side + between)
        y = height - HEADER - (row + 1) * (above + map_height) - row * below
        axes.append(figure.add_axes((x / width, y / height, side / width, map_height / height)))
    return Sheet(figure, axes, columns, side, look)


def write_head(sheet: Sheet, title: str, subtitle: str) -> None:
    """Write title and subtitle above the panels."""
    _, height = sheet.figure.get_size_inches()
    x = sheet.axes[0].get_position().x0
    sheet.figure.text(x, 1 - 0.24 / height, title, size=13, weight="bold", color=sheet.look.ink, va="top", wrap=True)
    sheet.figure.text(
        x, 1 - 0.55 / height, subtitle, size=8, color=sheet.look.quiet, va="top", family="DejaVu Sans Mono"
    )


def trim(ax: Axes, sheet: Sheet, k: int) -> None:
    """Axis names and numbers at the outer edges only; what lies inside shares them."""
    if k % sheet.columns:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    if k + sheet.columns < len(sheet.axes):
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)


def write_caption(sheet: Sheet, ax: Axes, text: str, k: int) -> None:
    """Write the line under a panel."""
    outer = k + sheet.columns >= len(sheet.axes)
    ax.annotate(
        text,
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(0, -36 if outer else -7),
        textcoords="offset points",
        va="top",
        size=8.2,
        color=sheet.look.ink,
    )


def one_axes(runs: xr.Dataset, look: Style, *, named: bool = False) -> tuple[Axes, Any, Any]:
    """Return Axes for one column of data, with the data; room for names at the right where asked."""
    for name in ("inputs", "targets"):
        if runs[name].dims != ("sample",):
            raise ValueError(f"one column of {name} expected to draw points, got dimensions {runs[name].dims}")
    article = look is paper.ARTICLE
    width = 6.4 if article else 7.2 if named else 5.3  # names stand at the right of the curves
    figure = paper.new_figure(width, 4.8, look)
    ax = figure.add_subplot() if article else figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.3 / 4.8))
    if not article:
        paper.calm(ax, look)
        ax.set_xlabel(runs["inputs"].attrs.get("long_name", "x"))
        ax.set_ylabel(runs["targets"].attrs.get("long_name", "y"))
        ax.grid(color="#e8edf1", lw=0.6)
        ax.set_axisbelow(True)
    return ax, runs["inputs"].values, runs["targets"].values


def write_head_over(ax: Axes, title: str, subtitle: str, look: Style) -> None:
    """Write title and subtitle above the only Axes of a figure."""
    sheet = Sheet(ax.get_figure(), [ax], 1, 0.0, look)  # type: ignore[arg-type]
    write_head(sheet, title, subtitle)
