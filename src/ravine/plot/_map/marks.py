"""surface and path on one Axes. Each takes an Axes, or makes a figure of its own, and returns the Axes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from ravine._format import listed
from ravine._study.contract import axes, check_single, plane_of
from ravine.plot._canvas.hues import DASHES
from ravine.plot._canvas.labels import FreeSpace, draw_label, literal
from ravine.plot._canvas.sheet import limits_of, name_axes, widen
from ravine.plot._canvas.style import ShownAxes, Style, calm, is_users, new_figure, style_on, with_own_settings
from ravine.plot._canvas.words import Decays, dot_every
from ravine.plot._map.contours import draw_band_key, draw_bands, draw_levels, gaps_of, number_lines
from ravine.plot._map.holes import name_holes
from ravine.plot._map.planes import name_before_share

Array = NDArray[np.floating[Any]]


@with_own_settings
def surface(
    land: xr.Dataset,
    ax: Axes | None = None,
    *,
    weight_decay: float | Mapping[str, float] = 0.0,
    style: str = "ravine",
) -> Axes:
    """Draw the loss over a plane.

    The bands are evenly spaced in the logarithm of the gap, loss minus the lowest loss of the grid: what lies
    near the bottom is as legible as what lies far up. Some contours bear the loss itself. Over a plane through three
    places, `ravine.Plane.through`, these are marked as ``a``, ``b`` and ``c``.

    Parameters
    ----------
    land
        A study with one ``surface`` of two dimensions, from `ravine.surface`.
    ax
        Where to draw; a new figure if left out.
    weight_decay
        Draws what an optimizer with this (coupled) weight decay really minimises,
        loss + weight_decay / 2 · (sum of squares, over a plane those of all parameters: ``squares``); or with one for
        each of the two parameters, by its label.
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
    theme = style_on(style, ax)
    x, y, values = objective(land, weight_decay)
    horizontal, vertical = axes(land)
    alone = ax is None
    if ax is None:
        ax = own_axes(theme, _ratio(x, y), 1.1 if theme.terrain else BAR)
        if theme.head:
            name = str(land["criterion"].values) if "criterion" in land.coords else "loss"
            ax.set_title(literal(name), loc="left", size=10.5, weight="bold", color=theme.ink, pad=6)
    calm(ax, theme)
    if theme.terrain:
        _draw_terrain(ax, x, y, values, theme)
        horizontal, vertical = _capitalize(horizontal), _capitalize(vertical)
    if is_users(ax):
        name_axes(ax, horizontal, vertical)
    else:
        name_sides(ax, horizontal, vertical)
    held = limits_of(ax)
    set_limits(ax, x, y)
    widen(ax, held)
    if theme.terrain:
        _mark_places(ax, land, theme, FreeSpace(ax))
        return ax
    gaps = gaps_of(values)
    below = draw_bands(ax, x, y, values, theme, gaps)
    lines = draw_levels(ax, x, y, values, theme, gaps)
    free = FreeSpace(ax)
    name_holes(ax, x, y, values, theme, 8.0, free)
    _mark_places(ax, land, theme, free)
    if lines is not None:
        number_lines(lines, free, theme, below)
    if gaps is None:
        write_flat(ax, theme)
    elif alone:
        box, figure = ax.get_position(), ax.get_figure(root=True)
        assert figure is not None
        wide = figure.get_figwidth()
        place = box.x1 + 0.2 / wide, box.y0, 0.14 / wide, 0.93 * box.height
        draw_band_key(figure.add_axes(place, label="key"), values, gaps, theme)
    return ax


def _mark_places(ax: Axes, land: xr.Dataset, theme: Style, free: FreeSpace) -> None:
    """Mark and name the places that a plane was made through, those that are on the map."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for name, (x, y) in ((plane_of(land) or {}).get("places") or {}).items():
        if not (left <= x <= right and low <= y <= high):
            continue
        ax.plot(x, y, ls="", marker="o", ms=6.5, mew=1.2, mec=theme.ground, mfc=theme.accent, zorder=4, gid="place")
        free.mark(free.points([(x, y)]), 4.5)
        draw_label(ax, name, (x, y), theme, color=theme.accent, free=free, size=10.0, near=5.0, lead=False)


BAR = 1.0
"""Inches at the right of a map for a bar with the losses of its bands."""


def name_sides(ax: Axes, horizontal: str, vertical: str) -> None:
    """Name both axes, literally."""
    ax.set_xlabel(literal(horizontal))
    ax.set_ylabel(literal(vertical))


def _capitalize(name: str) -> str:
    return name[:1].upper() + name[1:]


def set_limits(ax: Axes, x: Array, y: Array) -> None:
    """Set the limits of a map to its grid, to one scale where that is possible."""
    ax.set_xlim(x.min(), x.max())
    ax.set_ylim(y.min(), y.max())
    ax.set_aspect("equal" if comparable(x, y) else "auto")


def write_flat(ax: Axes, theme: Style, size: float = 8.0) -> None:
    """Say on a map without contours why it has none."""
    ax.text(
        0.5,
        0.96,
        "the same loss everywhere",
        transform=ax.transAxes,
        ha="center",
        va="top",
        size=size,
        color=theme.quiet,
        zorder=6,
    )


@with_own_settings
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
    theme = style_on(style, ax)
    x, y, names = trajectory(run, axes or _axes_named(ax, run))
    if ax is None:
        ax = own_axes(theme, _ratio(x[np.isfinite(x)], y[np.isfinite(y)]), 1.1 if theme.terrain else 0.25)
        name_sides(ax, *names)
    ink = color or theme.accent
    if theme.cross:
        ax.scatter(x, y, c=ink, marker=theme.cross)
        ax.plot(x, y, c=ink)
        return ax
    draw_path(ax, x, y, theme, Stroke(ink))
    return ax


SHAPES = ("o", "s", "^", "D", "v", "P")
"""How runs in one panel are told apart besides by colour and dashes."""


@dataclass(frozen=True, eq=False)
class Stroke:
    """How a path is drawn.

    `turn` is which of several runs this is, and chooses dashes and shape of the dots; `lr` is the rate of each leg,
    which the line's width follows; `weight` is a factor on widths and sizes; `ring` the colour of the ring at the
    start, that of the path if left out.
    """

    color: str
    turn: int = 0
    lr: Array | None = None
    weight: float = 1.0
    ring: str | None = None


def draw_path(ax: Axes, x: Array, y: Array, theme: Style, stroke: Stroke) -> None:
    """Draw one path: a pale edge that lifts it off the map, the line, dots, start and end."""
    color, turn, lr, weight, ring = stroke.color, stroke.turn, stroke.lr, stroke.weight, stroke.ring
    every = dot_every(len(x) - 1)
    outside = is_outside(ax, x, y)
    strays = outside[:-1] & outside[1:]  # legs that only cross the map, or do not touch it
    wide = 1.3 * weight
    dash, shape = DASHES[turn % len(DASHES)], SHAPES[turn % len(SHAPES)]
    shared: dict[str, Any] = {"color": color, "solid_joinstyle": "round", "dash_capstyle": "butt"}
    (line,) = ax.plot(x, y, lw=wide, ls=dash, zorder=3, gid="path", **shared)
    if not strays.any():
        ax.plot(x, y, color=theme.halo, lw=wide + 1.5, alpha=0.6, zorder=2.9, gid="casing")
    else:  # pale, so that the legs within the map can be followed
        line.set(linewidth=0.5, alpha=0.3)
        kept = ~strays
        pieces = np.c_[np.arange(len(x))[:-1], np.arange(len(x))[1:], np.full(len(x) - 1, -1)][kept].ravel()
        across, up = (np.append(each.astype(float), np.nan)[pieces] for each in (x, y))
        ax.plot(across, up, lw=wide, ls=dash, zorder=3, gid="leg", **shared)
    if lr is not None and len(x) > 1:
        line.set(linewidth=0.4 * weight)
        _draw_rates(ax, x, y, lr, color, weight)
    # dots that touch would only make the line thick; those of a thinned run stand out where they have room
    apart = _dot_distance(ax, x[::every], y[::every])
    rim = 0.5 * weight if every > 1 and apart > 4 else 0.0
    largest = 3.7 if every > 1 else 2.4 if turn == 0 else 2.8
    size = float(np.clip(0.7 * apart, 1.4, largest)) * weight
    dots: dict[str, Any] = {"ls": "", "mec": theme.ground, "mfc": color}
    ax.plot(x[::every], y[::every], marker=shape, ms=size, mew=rim, zorder=3.1, gid="steps", **dots)
    rings: dict[str, Any] = {"ls": "", "mec": ring or color, "mfc": theme.ground}
    ax.plot(x[:1], y[:1], marker="o", ms=7 * weight, mew=1.6 * weight, zorder=4, gid="start", **rings)
    if len(x) > 1 and np.isfinite(x).all() and np.isfinite(y).all():
        unmoved = bool(x[-1] == x[0] and y[-1] == y[0])  # a full dot would hide the ring
        last = (4.8 if turn == 0 else 5.6) * weight
        ax.plot(
            x[-1:],
            y[-1:],
            marker=shape,
            ms=0.6 * last if unmoved else last,
            mew=0.0 if unmoved else weight,
            zorder=4.1,
            gid="end",
            **dots,
        )


def _dot_distance(ax: Axes, x: Array, y: Array) -> float:
    """Return the usual distance in points from one dot to the next, along the way: rest at the end does not count."""
    figure = ax.get_figure()
    assert figure is not None
    with np.errstate(all="ignore"):
        legs = np.hypot(*np.diff(ax.transData.transform(np.c_[x, y].astype(float)), axis=0).T)
    legs = legs[np.isfinite(legs) & (legs < 1e6)]
    return float((legs**2).sum() / legs.sum()) * 72 / figure.dpi if legs.sum() > 0 else 0.0


def _draw_rates(ax: Axes, x: Array, y: Array, lr: Array, color: str, weight: float) -> None:
    """Draw each leg as wide as its learning rate is large."""
    corners = np.c_[x, y].astype(float)
    legs = np.stack([corners[:-1], corners[1:]], axis=1)
    known = np.isfinite(legs).all(axis=(1, 2))
    share = np.clip(np.nan_to_num(lr[: len(legs)] / np.nanmax(lr)), 0, 1)
    ax.add_collection(
        LineCollection(
            legs[known].tolist(),
            colors=color,
            linewidths=(0.5 + 2.9 * share[known]) * weight,
            capstyle="round",
            zorder=3,
            gid="lr",
        ),
        autolim=False,
    )


def decay_along(weight_decay: Decays | Mapping[str, float], name: str) -> float:
    """Return the weight decay of one parameter."""
    if isinstance(weight_decay, tuple | Mapping):
        return dict(weight_decay).get(name, 0.0)
    return weight_decay


def objective(land: xr.Dataset, weight_decay: Decays | Mapping[str, float] = 0.0) -> tuple[Array, Array, Array]:
    """Return the axes in ascending order and what is minimised over them, in float64, vertical axis first.

    Without weight decay these are the surface's own numbers.
    """
    horizontal, vertical = axes(land)
    values = check_single(land, "surface")
    x, y = values[horizontal].values.astype(float), values[vertical].values.astype(float)
    right, higher = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    x, y, ascending = x[right], y[higher], np.ix_(higher, right)
    numbers = values.values.astype(float)[ascending]
    across, up = decay_along(weight_decay, horizontal), decay_along(weight_decay, vertical)
    if across == up and across and "squares" in land:  # of a plane: coordinates are no parameters
        squares = land["squares"].transpose(vertical, horizontal).values.astype(float)[ascending]
        return x, y, numbers + across / 2 * squares
    if across == up and across:
        numbers = numbers + across / 2 * (x[None, :] ** 2 + y[:, None] ** 2)
    elif across or up:
        numbers = numbers + across / 2 * x[None, :] ** 2 + up / 2 * y[:, None] ** 2
    return x, y, numbers


def trajectory(run: xr.Dataset, axes: tuple[str, str] | None = None) -> tuple[Array, Array, tuple[str, str]]:
    """Return a run's coordinates along two parameters, and which these are."""
    position = check_single(run, "position")
    labels = [str(label) for label in run["parameter"].values]
    if len(labels) != 2:
        raise ValueError(
            f"a path needs a position of two parameters; this run has {len(labels)} ({listed(labels, 4)}), "
            "and a picture along two of them would leave out where the others went"
        )
    names = axes or (labels[0], labels[1])
    if sorted(names) != sorted(labels):
        raise ValueError(f"the surface lies over {listed(names)}, the run goes through {listed(labels)}")
    x, y = (position.values[:, labels.index(name)] for name in names)
    return x, y, names


def comparable(x: Array, y: Array) -> bool:
    """Tell whether both axes can be drawn to one scale: neither more than four times as long as the other."""
    return 0.25 <= _ratio(x, y) <= 4


def own_axes(theme: Style, ratio: float, room: float = 0.25) -> Axes:
    """Return the Axes of a new figure for one map of this height to width, with so many inches at its right."""
    ratio = ratio if 0.25 <= ratio <= 4 else 0.8
    width = 4.4 if ratio <= 1.2 else 4.4 / ratio
    figure = new_figure(0.75 + width + room, 0.6 + width * ratio + 0.4, theme)
    total_width, total_height = figure.get_size_inches()
    place = 0.75 / total_width, 0.6 / total_height, width / total_width, width * ratio / total_height
    return figure.add_axes(place, axes_class=ShownAxes)


def _ratio(x: Array, y: Array) -> float:
    across, up = (float(np.ptp(each)) if each.size else 0.0 for each in (x, y))
    return up / across if across and up else 1.0


def _axes_named(ax: Axes | None, run: xr.Dataset) -> tuple[str, str] | None:
    """Return the parameters that the Axes' own labels name, horizontal first; None where they name nothing."""
    if ax is None or not ax.get_xlabel() or not ax.get_ylabel():
        return None
    shown = ax.get_xlabel(), ax.get_ylabel()
    labels = [str(label) for label in run["parameter"].values] if "parameter" in run.coords else []
    without_shares = tuple(name_before_share(each) for each in shown)
    for (one, other), said in itertools.product(itertools.permutations(labels, 2), (shown, without_shares)):
        if said in ((literal(one), literal(other)), (literal(_capitalize(one)), literal(_capitalize(other)))):
            return one, other
    return shown


def is_outside(ax: Axes, x: Array, y: Array) -> NDArray[np.bool_]:
    """Tell which points lie outside an Axes whose limits are set; none do while it scales itself."""
    if ax.get_autoscale_on():
        return np.zeros(len(x), dtype=bool)
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    return ~((x >= left) & (x <= right) & (y >= low) & (y <= high))


def _draw_terrain(ax: Axes, x: Array, y: Array, values: Array, theme: Style) -> None:
    """As the article did, but with each cell where it belongs: its extent was half a cell too narrow."""
    figure = ax.get_figure()
    assert figure is not None
    if not np.isfinite(values).all():
        ax.patch.set(facecolor=theme.hole[0], hatch="////", edgecolor=theme.hole[1], linewidth=0.0)
        values = np.ma.masked_invalid(values)
    if is_even(x) and is_even(y):
        half_x, half_y = np.ptp(x) / (len(x) - 1) / 2, np.ptp(y) / (len(y) - 1) / 2
        extent = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
        drawn = ax.imshow(values, cmap=theme.terrain, origin="lower", interpolation="nearest", extent=extent)
    else:
        drawn = ax.pcolormesh(x, y, values, cmap=theme.terrain, shading="nearest", rasterized=True)  # type: ignore[assignment]
    figure.colorbar(drawn, ax=ax)
    name_holes(ax, x, y, np.ma.getdata(values), theme, 8.0)


def is_even(values: Array) -> bool:
    """Tell whether grid values are evenly spaced."""
    gaps = np.diff(values)
    return bool(np.allclose(gaps, gaps[0], rtol=1e-6))
