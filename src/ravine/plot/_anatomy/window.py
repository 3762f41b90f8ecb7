"""A window on a small part of a map, and what of the surface can honestly be drawn in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ravine._format import MINUS, number
from ravine._study.contract import axes
from ravine.plot._canvas.labels import FreeSpace, literal
from ravine.plot._canvas.style import Style, calm
from ravine.plot._canvas.ticks import round_numbers
from ravine.plot._canvas.words import Decays
from ravine.plot._map.contours import gaps_of, lowest_loss, number_lines
from ravine.plot._map.levels import Levels, draw_lines, fill_between
from ravine.plot._map.marks import objective, trajectory

Vector = NDArray[np.floating[Any]]

FILLED = 0.6
"""Share of a window's side that the arrows take up at most: the rest is room for words."""

FINEST = 1e-4
"""Below this share of the coordinates, a window's axes count from the position: the digits would all be the same."""

CELLS, FEWEST = 6, 2
"""Cells of the grid that a window must span: contours of fewer would show the grid and not the loss. Down to 2 will do
where the grid's own second differences say that straight lines between its values are off by little."""

OFF = 0.25
"""That little: a share of the way from one contour to the next."""

NOISE = 64
"""Roundings of the loss below which its differences in a window are noise."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of the plane: its corners, and the place from which its axes count (0, or a position)."""

    low: Vector
    high: Vector
    origin: Vector

    @property
    def side(self) -> float:
        """The shorter side."""
        return float((self.high - self.low).min())


@dataclass(frozen=True, eq=False)
class Backdrop:
    """What of a surface was drawn in a window: the lines that are to bear their loss, and the colours under them."""

    lines: Levels | None = None
    below: Callable[[float], str] | None = None

    def number(self, free: FreeSpace, theme: Style) -> None:
        """Write the loss on the lines where there is room."""
        if self.lines is not None and self.below is not None:
            number_lines(self.lines, free, theme, self.below)


def axis_names(run: xr.Dataset, land: xr.Dataset) -> tuple[str, str]:
    """Return the surface's two parameters, horizontal first, if the run goes through just these."""
    *_, names = trajectory(run, axes(land))
    return names


def window_of(points: Vector, ratio: float, least: float = 0.0) -> Window:
    """Fit a window of this height to width around points (n, 2), the first of which is the position.

    `least` is its height where all points are one.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    across, up = (high - low).tolist()
    # long flat arrows need room above and below, upright ones beside them
    tall = max(across * ratio, up) / FILLED
    tall = tall or least or 1.0
    half = np.array([tall / ratio, tall]) / 2
    middle = low + (high - low) / 2
    fine = tall < FINEST * float(np.abs(points[0]).max())
    return Window(middle - half, middle + half, points[0].copy() if fine else np.zeros(2))


def open_window(ax: Axes, window: Window, names: tuple[str, str], theme: Style) -> None:
    """Give an Axes the window's limits, to one scale, and name its axes."""
    low, high = window.low - window.origin, window.high - window.origin
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    calm(ax, theme)
    shifted = window.origin.any()
    for axis, name, start in zip((ax.xaxis, ax.yaxis), names, window.origin, strict=True):
        sign = MINUS if start >= 0 else "+"
        axis.set_label_text(literal(f"{name} {sign} {number(abs(start), 8)}" if shifted else name))
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.get_offset_text().set(size=8, color=theme.quiet)


def why_not_drawn(land: xr.Dataset, decay: Decays, window: Window) -> str:
    """Return why no line of equal loss can be drawn in a window; empty where they can."""
    x, y, values = objective(land, decay)
    if window.high[0] < x[0] or window.low[0] > x[-1] or window.high[1] < y[0] or window.low[1] > y[-1]:
        return "no contours: the update lies outside the surface"
    sides = (x, window.low[0], window.high[0]), (y, window.low[1], window.high[1])
    gaps = [_widest_gap(*side) for side in sides]
    cells = min((high - low) / gap for (_, low, high), gap in zip(sides, gaps, strict=True))
    coarse = f"no contours: the surface has a value every {number(max(gaps), 2)} only"
    if cells < FEWEST:
        return coarse
    rows, columns = _cells_in(x, y, window)
    near = values[np.ix_(rows, columns)]
    finite = near[np.isfinite(near)]
    if not finite.size:
        return "no contours: the surface is not finite here"
    if cells < CELLS:
        apart = np.diff(_choose_losses(float(finite.min()), float(finite.max())))
        if not apart.size or _interpolation_error(x[columns], y[rows], near) > OFF * float(apart.min()):
            return coarse
    eps = float(np.finfo(land["surface"].dtype).eps)
    if np.ptp(finite) <= NOISE * eps * float(np.abs(finite).max()):
        return "no contours: the loss differs here by its rounding only"
    return ""


def draw_ground(ax: Axes, land: xr.Dataset, decay: Decays, window: Window, theme: Style) -> Backdrop:
    """Draw what the surface shows in a window: colours of the whole map, lines at even or round losses.

    Nothing is drawn where the grid is too coarse for the window, or where the loss differs in it by no more than its
    own rounding (see `why_not_drawn`).
    """
    if why_not_drawn(land, decay, window):
        ax.set_facecolor(theme.ground if theme.terrain else theme.far)
        return Backdrop()
    ax.set_facecolor(theme.ground)  # where the surface ends inside the window
    x, y, values = objective(land, decay)
    rows, columns = _cells_in(x, y, window)
    near = values[np.ix_(rows, columns)]
    x, y = x[columns] - window.origin[0], y[rows] - window.origin[1]
    if theme.terrain:
        whole = values[np.isfinite(values)]
        scale = Normalize(float(whole.min()), float(whole.max()))
        ax.pcolormesh(x, y, near, cmap=theme.terrain, norm=scale, shading="nearest", rasterized=True, zorder=0)
        return Backdrop()
    return _draw_contours(ax, x, y, near, values, theme)


def _draw_contours(ax: Axes, x: Vector, y: Vector, near: Any, values: Any, theme: Style) -> Backdrop:
    finite = near[np.isfinite(near)]
    base, gaps = lowest_loss(values), gaps_of(values)
    assert gaps is not None
    edges = _choose_losses(float(finite.min()), float(finite.max()))
    ramp = LinearSegmentedColormap.from_list("gap", theme.ramp)

    def shade(loss: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            height = np.log(np.maximum(loss - base, 0) / gaps[0]) / np.log(gaps[-1] / gaps[0])
        return ramp(np.clip(height, 0, 1))

    ends = np.concatenate([[float(finite.min())], edges, [float(finite.max())]])
    ends = np.unique(ends)
    fill_between(ax, x, y, near, ends, shade((ends[:-1] + ends[1:]) / 2))
    if not edges.size:
        return Backdrop()
    lines = draw_lines(ax, x, y, near, edges, theme.contour, 0.75, zorder=1.1)
    return Backdrop(lines, lambda loss: to_hex(shade(np.array(loss))))


def _choose_losses(low: float, high: float) -> Vector:
    """Return the losses of the lines: evenly spaced, or 1, 2, 5 · 10ⁿ where they span more than a decade and a half."""
    if 0 <= 30 * low < high:
        edges = round_numbers(max(low, high * 1e-4), high, most=16, log=True)
    else:
        edges = np.asarray(MaxNLocator(11, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    found: Vector = edges[(edges > low) & (edges < high)]
    return found


def _interpolation_error(x: Vector, y: Vector, values: Vector) -> float:
    """Return how far straight lines between the grid's values are off at most, by its second differences."""
    off = 0.0
    for side, heights in ((x, values), (y, values.T)):
        if len(side) < 3:
            return float("inf")
        gaps = np.diff(side)
        slopes = np.diff(heights, axis=1) / gaps
        bends = np.abs(np.diff(slopes, axis=1)) / ((gaps[1:] + gaps[:-1]) / 2)
        off += float((bends * np.maximum(gaps[1:], gaps[:-1]) ** 2).max()) / 8
    return off


def _widest_gap(side: Vector, low: float, high: float) -> float:
    """Return the widest step of the grid that a range touches."""
    touched = (side[1:] >= low) & (side[:-1] <= high)
    return float(np.diff(side)[touched].max())


def _cells_in(x: Vector, y: Vector, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows and columns of the grid lie in a window, and one more at each side."""
    found = []
    for side, low, high in ((y, window.low[1], window.high[1]), (x, window.low[0], window.high[0])):
        inside = (side >= low) & (side <= high)
        wider = inside.copy()
        wider[:-1] |= inside[1:]
        wider[1:] |= inside[:-1]
        found.append(wider)
    return found[0], found[1]
