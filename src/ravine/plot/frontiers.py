"""Frontiers: up to which learning rate runs are stable in theory, as a line through a diagram of settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ravine.plot import paper
from ravine.plot.inks import DEEP, LIGHT, Ground, inked
from ravine.plot.paper import Style
from ravine.plot.places import Box, Room
from ravine.plot.scales import Axis
from ravine.plot.shades import lightness, mixed

__all__ = ["Frontier", "draw_frontier", "frontier_of", "name_frontier", "sentence"]

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


def frontier_of(part: xr.DataArray, x: Axis, y: Axis) -> Frontier | None:
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
    if not ((limits > lr.edges[0]) & (limits < lr.edges[-1])).any():
        return None
    exact = bool((scope.values == "exact").all())
    if other.names:  # each cell has its own
        along, limits = np.stack([other.edges[:-1], other.edges[1:]], axis=1).ravel(), np.repeat(limits, 2)
    elif not limit.ndim:
        along, limits = other.edges[[0, -1]], limits[[0, -1]]
    else:
        along = other.places
    line = np.stack([limits, along] if x.name == "lr" else [along, limits], axis=1)
    return Frontier(line, exact)


def sentence(frontiers: Sequence[Frontier | None]) -> str:
    """Say what the lines of some panels are, and how far that holds; empty where there are none, or of both kinds.

    Examples
    --------
    >>> sentence([Frontier(np.zeros((2, 2)), exact=True), None])
    'line: stability limit in theory, exact: the loss is quadratic'
    """
    kinds = {each.exact for each in frontiers if each is not None}
    return SCOPES[kinds.pop()] if len(kinds) == 1 else ""


def draw_frontier(ax: Axes, frontier: Frontier, room: Room, look: Style) -> None:
    """Draw the limit, dashed where it is local, and take its place."""
    (line,) = ax.plot(*frontier.line.T, color=look.accent, lw=1.4, zorder=2.1, gid="limit")
    if not frontier.exact:
        line.set(ls=(0, (4, 2.2)), path_effects=[withStroke(linewidth=2.8, foreground=look.ground)], lw=1.3)
    room.line(room.points(frontier.line), 1.0)


def name_frontier(ax: Axes, frontier: Frontier, room: Room, ground: Ground, look: Style, size: float) -> None:
    """Write the name along the line, where there is most room on one colour; nothing where there is none."""
    width, height = paper.measure(frontier.words, size)
    spots = room.points(frontier.line)
    spots = spots[np.isfinite(spots).all(axis=1)]
    lengths = np.hypot(*np.diff(spots, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] < width:
        return
    clear, light = room.clearance(border=True), ground.colors.mean(axis=-1)
    places = np.arange(width / 2, along[-1] - width / 2 + 1, 2.0)
    shares = np.linspace(-0.5, 0.5, 25) * width
    best: tuple[float, Any, float] | None = None
    for place in places:
        middle, tail, head = (_at(along, spots, place + step) for step in (0.0, -width / 2, width / 2))
        way = head - tail
        if not np.hypot(*way) > 0.95 * width:
            continue
        way = way / np.hypot(*way)
        for side in (1.0, -1.0):
            center = middle + side * (NEAR + height / 2) * np.array([way[1], -way[0]])
            free = float(room.at(clear, center + shares[:, None] * way).min())
            across = height / 2 * np.array([way[1], -way[0]])
            beneath = np.stack([room.at(light, center + shift + shares[:, None] * way) for shift in (-across, across)])
            score = min(free, height) - 0.01 * abs(place - along[-1] / 2) + 2.0 * (side > 0) - 60 * beneath.std()
            if free > height / 2 and (best is None or score > best[0]):
                best = score, center, float(np.rad2deg(np.arctan2(way[1], way[0])))
    if best is None:
        return
    _, center, angle = best
    angle = (angle + 90) % 180 - 90
    below = ground.under(Box(float(center[0]), float(center[1]), height, height))
    plain = abs(lightness(below) - lightness(look.ground)) < PLAIN
    ink = look.accent if plain else inked(below)
    edge = below if plain else mixed(below, LIGHT if ink == DEEP else DEEP, 0.3)
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
        room.box(Box(float(spot[0]), float(spot[1]), height, height))


def _at(along: Array, spots: Array, place: float) -> Array:
    return np.array([np.interp(place, along, spots[:, k]) for k in (0, 1)])
