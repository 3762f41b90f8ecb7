"""Marks: a surface or a path on one Axes. Each takes an Axes, or makes a figure of its own, and returns the Axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray
from scipy import ndimage

from ravine import study
from ravine.plot import captions, paper
from ravine.plot.paper import Style, style_of
from ravine.words import listed

__all__ = ["path", "surface"]

Array = NDArray[np.floating[Any]]

BANDS = 22
"""Filled bands of a surface, evenly spaced in the logarithm of the gap."""

FARTHEST = 1e-7
"""Smallest gap drawn, as a share of the largest."""

FEW_ISLANDS = 4
"""Himmelblau's function has four minima."""


@paper.drawn
def surface(land: xr.Dataset, ax: Axes | None = None, *, weight_decay: float = 0.0, style: str = "ravine") -> Axes:
    """Draw the loss over a plane.

    The bands are evenly spaced in the logarithm of the gap, loss minus the lowest loss of the grid: what lies
    near the bottom is as legible as what lies far up. Some contours bear the loss itself.

    Parameters
    ----------
    land
        A study with one ``surface`` of two dimensions, from `ravine.surface`.
    ax
        Where to draw; a new figure if left out.
    weight_decay
        Draws what an optimizer with this (coupled) weight decay really minimises,
        loss + weight_decay / 2 · (sum of squares).
    style
        ``"ravine"``, or ``"article"``: terrain colours on a linear scale, with a colour bar.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import ravine
    >>> land = ravine.surface(ravine.gallery.article()["MSELoss"], points=21)
    >>> ax = ravine.plot.surface(land)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('bias', 'weight')
    >>> ax.figure.savefig("/dev/null", format="png")
    """
    look = style_of(style)
    x, y, values = objective(land, weight_decay)
    horizontal, vertical = study.axes(land)
    if ax is None:
        ax = own_axes(look, _ratio(x, y))
        if look is not paper.ARTICLE:
            name = str(land["criterion"].values) if "criterion" in land.coords else "loss"
            ax.set_title(name, loc="left", size=10.5, weight="bold", color=look.ink, pad=6)
    if look is paper.ARTICLE:
        _terrain(ax, x, y, values)
        ax.set_xlabel(horizontal.capitalize())
        ax.set_ylabel(vertical.capitalize())
    else:
        _bands(ax, x, y, values, look)
        paper.calm(ax, look)
        ax.set_xlabel(horizontal)
        ax.set_ylabel(vertical)
    ax.set_xlim(x.min(), x.max())
    ax.set_ylim(y.min(), y.max())
    ax.set_aspect("equal" if comparable(x, y) else "auto")
    return ax


@paper.drawn
def path(
    run: xr.Dataset,
    ax: Axes | None = None,
    *,
    axes: tuple[str, str] | None = None,
    color: str | None = None,
    style: str = "ravine",
) -> Axes:
    """Draw the positions of one run: a dot for each step, a ring at the start, a full dot at the end.

    Beyond 200 steps only every tenth (hundredth …) step has a dot. Positions that are not finite are not
    drawn; those outside the axes are cut off at its border.

    Parameters
    ----------
    run
        A study with one ``position`` of two parameters, from `ravine.descend`.
    ax
        Where to draw; a new figure if left out.
    axes
        Labels of the horizontal and the vertical parameter. If left out they are read off the Axes' own
        labels, or else taken in the run's order.
    color
        Any matplotlib colour; the style's accent if left out.
    style
        ``"ravine"``, or ``"article"``: a red line with a + at each step.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> ax = ravine.plot.surface(ravine.surface(problem, points=21))
    >>> ax = ravine.plot.path(ravine.descend(problem, lr=0.1), ax)
    >>> float(ax.lines[0].get_xdata()[0]), float(ax.lines[0].get_ydata()[0])
    (-3.0, 6.0)
    """
    look = style_of(style)
    x, y, names = trajectory(run, axes or _labels_of(ax))
    if ax is None:
        ax = own_axes(look, _ratio(x[np.isfinite(x)], y[np.isfinite(y)]))
        ax.set_xlabel(names[0])
        ax.set_ylabel(names[1])
    ink = color or look.accent
    if look is paper.ARTICLE:
        ax.scatter(x, y, c=ink, marker="+")
        ax.plot(x, y, c=ink)
        return ax
    every = captions.dot_every(len(x) - 1)
    outside = _outside(ax, x, y)
    strays = outside[:-1] & outside[1:]  # legs that only cross the map, or do not touch it
    (line,) = ax.plot(x, y, color=ink, lw=1.3, zorder=3, solid_joinstyle="round", gid="path")
    if strays.any():  # pale, so that the legs within the map can be followed
        line.set(linewidth=0.5, alpha=0.3)
        legs = [(x[k : k + 2], y[k : k + 2]) for k in np.flatnonzero(~strays)]
        for across, up in legs:
            ax.plot(across, up, color=ink, lw=1.3, zorder=3, gid="leg")
    ax.plot(x[::every], y[::every], ls="", marker="o", ms=2.4, mew=0, color=ink, zorder=3.1, gid="steps")
    ax.plot(x[:1], y[:1], ls="", marker="o", ms=7, mew=1.6, mec=ink, mfc=look.ground, zorder=4, gid="start")
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(finite) == len(x):
        ax.plot(x[-1:], y[-1:], ls="", marker="o", ms=6, mew=1.2, mec=look.ground, mfc=ink, zorder=4, gid="end")
    return ax


def objective(land: xr.Dataset, weight_decay: float = 0.0) -> tuple[Array, Array, Array]:
    """Return the axes in ascending order and what is minimised over them, in float64, vertical axis first.

    Without weight decay these are the surface's own numbers.
    """
    horizontal, vertical = study.axes(land)
    values = land["surface"]
    if values.ndim != 2:
        spare = [str(dim) for dim in values.dims[:-2]]
        raise ValueError(
            f"one surface expected; this study has one for each {listed(spare)}: "
            f"select one, for example .sel({spare[0]}={str(land[spare[0]].values[0])!r})"
        )
    values = values.sortby([horizontal, vertical])
    x, y = values[horizontal].values.astype(float), values[vertical].values.astype(float)
    numbers = values.values.astype(float)
    if weight_decay:
        numbers = numbers + weight_decay / 2 * (x[None, :] ** 2 + y[:, None] ** 2)
    return x, y, numbers


def trajectory(run: xr.Dataset, axes: tuple[str, str] | None = None) -> tuple[Array, Array, tuple[str, str]]:
    """Return a run's coordinates along two parameters, and which these are."""
    position = study.check(run, "position")["position"]
    if position.ndim != 2:
        spare = [str(dim) for dim in position.dims if dim not in ("step", "parameter")]
        raise ValueError(
            f"one run expected; this study has one for each {listed(spare)}: "
            f"select one, for example .sel({spare[0]}={str(run[spare[0]].values[0])!r})"
        )
    labels = [str(label) for label in run["parameter"].values]
    if len(labels) != 2:
        raise ValueError(
            f"a path needs a position of two parameters; this run has {len(labels)} ({listed(labels, 4)}), "
            "and a picture along two of them would leave out where the others went"
        )
    names = axes or (labels[0], labels[1])
    if sorted(names) != sorted(labels):
        raise ValueError(f"the surface lies over {listed(names)}, the run goes through {listed(labels)}")
    x, y = (position.isel(parameter=labels.index(name)).values for name in names)
    return x, y, names


def comparable(x: Array, y: Array) -> bool:
    """Tell whether both axes can be drawn to one scale: neither more than four times as long as the other."""
    return 0.25 <= _ratio(x, y) <= 4


def own_axes(look: Style, ratio: float) -> Axes:
    """Return the Axes of a new figure for one map; `ratio` is height to width of what will be drawn."""
    ratio = ratio if 0.25 <= ratio <= 4 else 0.8
    width = 4.4 if ratio <= 1.2 else 4.4 / ratio
    room = 1.1 if look is paper.ARTICLE else 0.25  # for the colour bar
    figure = paper.new_figure(0.75 + width + room, 0.6 + width * ratio + 0.4, look)
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((0.75 / total_width, 0.6 / total_height, width / total_width, width * ratio / total_height))


def _ratio(x: Array, y: Array) -> float:
    across, up = (float(np.ptp(each)) if each.size else 0.0 for each in (x, y))
    return up / across if across and up else 1.0


def _labels_of(ax: Axes | None) -> tuple[str, str] | None:
    if ax is None or not ax.get_xlabel() or not ax.get_ylabel():
        return None
    return ax.get_xlabel(), ax.get_ylabel()


def _outside(ax: Axes, x: Array, y: Array) -> NDArray[np.bool_]:
    """Tell which points lie outside an Axes whose limits are set; none do while it scales itself."""
    if ax.get_autoscale_on():
        return np.zeros(len(x), dtype=bool)
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    return ~((x >= left) & (x <= right) & (y >= low) & (y <= high))


def _terrain(ax: Axes, x: Array, y: Array, values: Array) -> None:
    """As the article did, but with each cell where it belongs: its extent was half a cell too narrow."""
    figure = ax.get_figure()
    assert figure is not None
    if is_even(x) and is_even(y):
        half_x, half_y = np.ptp(x) / (len(x) - 1) / 2, np.ptp(y) / (len(y) - 1) / 2
        extent = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
        drawn = ax.imshow(values, cmap="terrain", origin="lower", interpolation="nearest", extent=extent)
    else:
        drawn = ax.pcolormesh(x, y, values, cmap="terrain", shading="nearest", rasterized=True)  # type: ignore[assignment]
    figure.colorbar(drawn, ax=ax)


def is_even(values: Array) -> bool:
    """Tell whether grid values are evenly spaced."""
    gaps = np.diff(values)
    return bool(np.allclose(gaps, gaps[0], rtol=1e-6))


def _bands(ax: Axes, x: Array, y: Array, values: Array, look: Style) -> None:
    finite = np.isfinite(values)
    if not finite.all():  # drawn as a region of its own, never filled in
        ax.patch.set(facecolor="#f3e9e2", hatch="////", edgecolor="#d9c4b5", linewidth=0.0)
    base, levels = _levels(values)
    if levels is None:
        if finite.any():
            ax.contourf(x, y, np.where(finite, values, np.nan), levels=[base - 1, base + 1], colors=[look.far])
        ax.text(0.5, 0.96, "the same loss everywhere", transform=ax.transAxes, ha="center", va="top", size=8)
        return
    ramp = LinearSegmentedColormap.from_list("gap", [look.near, "#b4c5d4", "#dfe8ef", look.far])
    shown = np.ma.masked_invalid(values)
    colors = ramp(np.linspace(0, 1, len(levels)))
    ax.contourf(x, y, shown, levels=[base, *levels], colors=colors, zorder=0)
    ax.contour(x, y, shown, levels=levels[:-1], colors=look.ground, linewidths=0.5, alpha=0.8, zorder=1)
    told = _round_levels(base, levels)
    if len(told):
        lines = ax.contour(x, y, shown, levels=told, colors="#8ba0b3", linewidths=0.8, zorder=1.1)
        ax.clabel(lines, fmt=captions.number, fontsize=6.5, colors="#5f7488", inline=True, inline_spacing=3)


def _levels(values: Array) -> tuple[float, Array | None]:
    """Return the lowest value and the upper edges of the bands, evenly spaced in the logarithm of the gap."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, None
    base = float(finite.min())
    gaps = np.sort(finite - base)
    gaps = gaps[gaps > 0]
    if not gaps.size or gaps[-1] < 1e-12 * max(abs(base), 1e-300):
        return base, None
    lowest = _lowest_band(values - base, gaps)
    levels = base + np.geomspace(lowest, gaps[-1], BANDS)
    levels[-1] = finite.max()
    return base, np.unique(levels[levels > base])


def _lowest_band(gap: Array, gaps: Array) -> float:
    """Return the upper edge of the lowest band: what lies within one cell of the lowest point, at least.

    In a valley narrower than the grid a low band falls into islands that show the grid and not the loss; it
    is widened until few are left.
    """
    lowest = max(gaps[min(8, gaps.size - 1)], FARTHEST * gaps[-1])
    while lowest < gaps[-1] / 30 and ndimage.label(gap <= lowest, structure=np.ones((3, 3)))[1] > FEW_ISLANDS:
        lowest *= 1.5
    return float(min(lowest, gaps[-1] / 10))


def _round_levels(base: float, levels: Array, most: int = 4) -> Array:
    """Choose losses of the form 1, 2, 5 · 10ⁿ (either sign), spread over the logarithm of the gap."""
    top = float(levels[-1])
    scale = max(abs(base), abs(top))
    powers = np.arange(np.floor(np.log10(scale)) - 8, np.ceil(np.log10(scale)) + 1)
    positive = np.concatenate([np.array([1.0, 2.0, 5.0]) * 10.0**p for p in powers])
    candidates: Array = np.unique(np.concatenate([-positive, [0.0], positive]))
    low, high = base + (levels[0] - base) * 6, base + (top - base) * 0.75
    candidates = candidates[(candidates > low) & (candidates < high)]
    if not candidates.size:
        return candidates
    wanted = np.linspace(np.log(low - base), np.log(high - base), most + 1)[1:]
    nearest = [int(np.abs(np.log(candidates - base) - w).argmin()) for w in wanted]
    chosen: Array = candidates[np.unique(nearest)]
    return chosen
