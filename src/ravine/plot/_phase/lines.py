"""Lines of equal value at round numbers, and the stability limit as a line through a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from ravine.plot._canvas.labels import Box, FreeSpace, text_size
from ravine.plot._canvas.scales import CellAxis, Shades, lightness, mix
from ravine.plot._canvas.style import Style
from ravine.plot._map.contours import number_lines
from ravine.plot._map.levels import Levels, places_along
from ravine.plot._phase.labels import DEEP, LIGHT, Underlay, ink_on
from ravine.plot._phase.regions import runs_of

Array = NDArray[np.floating[Any]]

SCOPES = {
    True: "line: stability limit in theory, exact: the loss is quadratic",
    False: "dashes: local limit in theory, from the curvature at the minimum",
}

PLAIN = 0.12
"""Lightness by which a colour may differ from the paper for words in the line's own colour."""

NEAR = 4.0
"""Points between a label and its line."""


@dataclass(frozen=True, eq=False)
class Frontier:
    """The limit in data coordinates, shape (n, 2), and whether theory is exact here."""

    line: Array
    exact: bool

    @property
    def words(self) -> str:
        """What the line is called."""
        return "stability limit" if self.exact else "local limit"


def frontier_of(part: xr.DataArray, x: CellAxis, y: CellAxis) -> Frontier | None:
    """Return the limit of one panel, at the values of the axis that is not lr; None where it is not known.

    It comes from the coordinate ``stability_limit`` of the values (`ravine.measure.arrival`).
    """
    if "lr" not in (x.name, y.name) or not {"stability_limit", "stability_scope"} <= set(part.coords):
        return None
    lr, other = (x, y) if x.name == "lr" else (y, x)
    limit, scope = part["stability_limit"], part["stability_scope"]
    if not set(limit.dims) | set(scope.dims) <= {other.name}:
        return None
    limits = np.broadcast_to(limit.values.astype(float), len(other.values))
    if lr.names:  # no scale: the limit lies where the cells below it end
        limits = _between_cells(lr, limits)
    if not ((limits > lr.edges[0]) & (limits < lr.edges[-1])).any():
        return None
    exact = bool((scope.values == "exact").all())
    if other.names or lr.names:  # each cell has its own
        along, limits = np.stack([other.edges[:-1], other.edges[1:]], axis=1).ravel(), np.repeat(limits, 2)
    elif not limit.ndim:
        along, limits = other.edges[[0, -1]], limits[[0, -1]]
    else:
        along = other.places
    line = np.stack([limits, along] if x.name == "lr" else [along, limits], axis=1)
    return Frontier(line, exact)


def _between_cells(axis: CellAxis, limits: Array) -> Array:
    """Return where limits lie among cells of numbers in order: between two, or in the middle of one's own cell."""
    numbers = np.array(axis.values, dtype=float)
    found = np.where(np.isnan(limits), np.nan, axis.edges[np.searchsorted(numbers, limits)])
    for k, value in enumerate(numbers.tolist()):
        found = np.where(limits == value, axis.places[k], found)
    return np.asarray(found)


def scope_text(frontiers: Sequence[Frontier | None]) -> str:
    """Say what the lines of some panels are, and how far that holds; empty where there are none, or of both kinds.

    Examples
    --------
    >>> scope_text([Frontier(np.zeros((2, 2)), exact=True), None])
    'line: stability limit in theory, exact: the loss is quadratic'
    """
    kinds = {each.exact for each in frontiers if each is not None}
    return SCOPES[kinds.pop()] if len(kinds) == 1 else ""


def draw_frontier(ax: Axes, frontier: Frontier, free: FreeSpace, theme: Style) -> None:
    """Draw the limit, dashed where it is local, and take its place."""
    (line,) = ax.plot(*frontier.line.T, color=theme.accent, lw=1.4, zorder=2.1, gid="limit")
    if not frontier.exact:
        line.set(ls=(0, (4, 2.2)), path_effects=[withStroke(linewidth=2.8, foreground=theme.ground)], lw=1.3)
    free.line(free.points(frontier.line), 1.0)


def name_frontier(ax: Axes, frontier: Frontier, free: FreeSpace, ground: Underlay, theme: Style, size: float) -> None:
    """Write the name along the line, where there is most room on one colour; nothing where there is none."""
    width, height = text_size(frontier.words, size)
    spots = free.points(frontier.line)
    spots = spots[np.isfinite(spots).all(axis=1)]
    lengths = np.hypot(*np.diff(spots, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] < width:
        return
    clear, light = free.clearance(border=True), ground.colors.mean(axis=-1)
    places = np.arange(width / 2, along[-1] - width / 2 + 1, 2.0)
    shares = np.linspace(-0.5, 0.5, 25) * width
    best: tuple[float, Any, float] | None = None
    for place in places:
        middle, tail, head = (_point_at(along, spots, place + step) for step in (0.0, -width / 2, width / 2))
        way = head - tail
        if not np.hypot(*way) > 0.95 * width:
            continue
        way = way / np.hypot(*way)
        for side in (1.0, -1.0):
            center = middle + side * (NEAR + height / 2) * np.array([way[1], -way[0]])
            spare = float(free.at(clear, center + shares[:, None] * way).min())
            across = height / 2 * np.array([way[1], -way[0]])
            beneath = np.stack([free.at(light, center + shift + shares[:, None] * way) for shift in (-across, across)])
            score = min(spare, height) - 0.01 * abs(place - along[-1] / 2) + 2.0 * (side > 0) - 60 * beneath.std()
            if spare > height / 2 and (best is None or score > best[0]):
                best = score, center, float(np.rad2deg(np.arctan2(way[1], way[0])))
    if best is None:
        return
    _, center, angle = best
    angle = (angle + 90) % 180 - 90
    below = ground.under(Box(float(center[0]), float(center[1]), height, height))
    plain = abs(lightness(below) - lightness(theme.ground)) < PLAIN
    ink = theme.accent if plain else ink_on(below)
    edge = below if plain else mix(below, LIGHT if ink == DEEP else DEEP, 0.3)
    note = ax.annotate(
        frontier.words,
        (float(center[0]), float(center[1])),
        xycoords="axes points",
        ha="center",
        va="center",
        size=size,
        color=ink,
        zorder=6,
    )
    note.set(
        rotation=angle, rotation_mode="anchor", gid="limit", path_effects=[withStroke(linewidth=2.2, foreground=edge)]
    )
    lean = np.deg2rad(angle)
    for share in shares:
        spot = center + share * np.array([np.cos(lean), np.sin(lean)])
        free.box(Box(float(spot[0]), float(spot[1]), height, height))


def _point_at(along: Array, spots: Array, place: float) -> Array:
    return np.array([np.interp(place, along, spots[:, k]) for k in (0, 1)])


FEWEST = 16
"""Cells along each axis from which lines say more than the cells themselves."""

MOST_LINES = 8

SMEAR = 1.0
"""Cells over which the field is averaged for the lines alone, so that they do not follow the cells' corners."""

CLEAR = 2.0
"""Cells from a line to the next cell without a value."""

ROUGH = 0.03
"""Share of the range by which cells may scatter about their average where a line is drawn."""

STEP = 2.0
"""Points from one place to the next along a line."""

WINDOW = 18.0
"""Points of a line's length, to either side, over which it is judged."""

STRAIGHT = 0.9
"""Share of its length that a line must get ahead within the window; one that winds about is left out."""

SHORTEST = 55.0
"""Points of a piece of line worth drawing."""


def draw_isolines(
    ax: Axes, x: CellAxis, y: CellAxis, values: Array, shades: Shades, free: FreeSpace, theme: Style, size: float
) -> None:
    """Draw numbered lines of equal value; none on coarse grids, and none that has no room for its number.

    A value that is a whole number has its line where the next whole number begins: inside lies what is at most
    that many.
    """
    if min(len(x.places), len(y.places)) < FEWEST or x.names or y.names:
        return
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    whole = bool((finite == np.round(finite)).all())
    field = _smooth_field(np.log10(np.maximum(values, shades.low)) if shades.log else values)
    heights = {float(level): level + 0.5 if whole else level for level in shades.numbers(MOST_LINES)}
    heights = {level: height for level, height in heights.items() if finite.min() < height < finite.max()}
    if not heights:
        return
    places = [np.log10(height) if shades.log else height for height in heights.values()]
    for level, lines in zip(heights, places_along(x.places, y.places, field, places), strict=True):
        for line in lines:
            for piece in _smooth_pieces(free.points(line)):
                _draw_isoline(ax, level, free.data(piece), shades, free, theme, size)


def _smooth_field(field: Array) -> Any:
    """Average a field over neighbouring cells; masked where it is rough, or near cells without a value."""
    there = np.isfinite(field)
    filled = np.where(there, field, 0.0)
    with np.errstate(all="ignore"):
        mean = _blur(filled) / _blur(there.astype(float))
        rough = np.sqrt(_blur(np.where(there, field - mean, 0.0) ** 2))
    near = ndimage.distance_transform_edt(np.pad(there, 1, mode="edge"))[1:-1, 1:-1] if not there.all() else np.inf
    span = float(np.ptp(field[there]))
    return np.ma.masked_where(~there | (near <= CLEAR) | (rough > ROUGH * span), mean)


def _blur(field: Array) -> Array:
    return np.asarray(ndimage.gaussian_filter(field, SMEAR, mode="nearest"))


def _smooth_pieces(line: Array) -> list[Array]:
    """Return the pieces of a line, in points, that run smoothly on paper."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] < SHORTEST:
        return []
    even = np.arange(0.0, along[-1], STEP)
    spots = np.stack([np.interp(even, along, line[:, k]) for k in (0, 1)], axis=1)
    spots = ndimage.uniform_filter1d(spots, 5, axis=0, mode="nearest")
    reach = int(WINDOW / STEP)
    ahead = np.minimum(np.arange(len(spots)) + reach, len(spots) - 1)
    behind = np.maximum(np.arange(len(spots)) - reach, 0)
    chord = np.hypot(*(spots[ahead] - spots[behind]).T)
    good = chord > STRAIGHT * STEP * (ahead - behind)
    return [spots[a:b] for a, b in runs_of(good) if (b - a) * STEP >= SHORTEST]


def _draw_isoline(
    ax: Axes, level: float, piece: Array, shades: Shades, free: FreeSpace, theme: Style, size: float
) -> None:
    """Draw one line with its number, or nothing where the number has no place."""
    below = shades.color(level)
    ink = ink_on(below)
    quiet, strong = _hex(mix(below, ink, 0.5)), _hex(mix(below, ink, 0.92))
    line = Levels([Path(piece)], np.array([level]), facecolors="none", edgecolors=quiet, linewidths=0.75, zorder=1.1)
    ax.add_collection(line, autolim=False)
    line.get_paths()[0].should_simplify = False  # it would take the number off the line
    before = len(ax.texts)
    own = replace(theme, contour=quiet, hairline=quiet, number=strong)
    number_lines(line, free, own, lambda _: _hex(below), size)
    if len(ax.texts) == before:
        line.remove()
        return
    line.set_gid("isoline")
    free.line(free.points(piece), 2.0)


def _hex(color: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in color)
