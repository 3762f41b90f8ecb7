"""Inks: labels on coloured cells, light or dark by what lies beneath them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ravine.plot import paper
from ravine.plot.places import CELL, Box, Room
from ravine.plot.shades import lightness, mixed

__all__ = ["Ground", "Label", "inked", "say_all"]

Array = NDArray[np.floating[Any]]

MOST_ORDERS = 24
"""Orders of labels that are tried: all of four."""

FAR = 110.0
"""Points from a spot to its label, at most."""

LED = 13.0
"""Points from which on a thin line leads to a label."""

LIGHT, DEEP = "#ffffff", "#0d1f3a"


@dataclass(frozen=True)
class Label:
    """Ways to write what belongs to a spot, the best first, how near to it they may stand, and a name for tests."""

    words: tuple[str, ...]
    spot: tuple[float, float]
    near: float
    gid: str


@dataclass(frozen=True, eq=False)
class Ground:
    """What lies under the labels of a panel, at the cells of its room.

    `colors` (row, column, 3) are those of the diagram's cells; `fence` is where large ones end: a label that fits
    stays inside one.
    """

    colors: Array
    fence: NDArray[np.bool_]

    def under(self, box: Box) -> Array:
        """Return the mean colour under a box."""
        rows, columns, _ = self.colors.shape
        low, high = (int(np.clip((box.y + side * box.height / 2) / CELL, 0, rows - 1)) for side in (-1, 1))
        left, right = (int(np.clip((box.x + side * box.width / 2) / CELL, 0, columns - 1)) for side in (-1, 1))
        return np.asarray(self.colors[low : high + 1, left : right + 1].mean(axis=(0, 1)))


def inked(color: Any) -> str:
    """Return the ink, light or deep, that stands out on a colour."""
    return LIGHT if lightness(color) < 0.57 else DEEP


def say_all(ax: Axes, labels: Sequence[Label], room: Room, ground: Ground, size: float) -> None:
    """Write labels beside their spots, in the order that keeps each nearest to its own."""
    orders = itertools.islice(itertools.permutations(labels), MOST_ORDERS)
    placed = min((_placed(order, room, ground, size) for order in orders), key=lambda found: found[0])[1]
    for label, words, box in placed:
        _say(ax, label, words, box, room, ground, size)


def _placed(
    order: Sequence[Label], room: Room, ground: Ground, size: float
) -> tuple[float, list[tuple[Label, str, Box]]]:
    """Place labels in this order; return how far off they stand, and each with its words and box."""
    taken, cost = room.taken.copy(), 0.0
    placed: list[tuple[Label, str, Box]] = []
    for label in order:
        found = _place(label, room, ground, size)
        if found is None:
            cost += 3 * FAR
            continue
        anchor = room.points(label.spot)[0]
        gap = found[1].gap(anchor)
        way = anchor + np.linspace(0, 1, 30)[:, None] * (np.array([found[1].x, found[1].y]) - anchor)
        crossed = gap > LED and any(other.gap(spot) == 0 for _, _, other in placed for spot in way)
        cost += gap + FAR * crossed
        placed.append((label, *found))
        room.box(found[1])
    room.taken[:] = taken
    return cost, placed


def _place(label: Label, room: Room, ground: Ground, size: float) -> tuple[str, Box] | None:
    """Find a place for a label: inside one large cell if it can be, else anywhere."""
    anchor, taken = room.points(label.spot)[0], room.taken
    for fence, far in ((ground.fence, LED), (False, FAR)):
        if fence is not False and not ground.fence.any():
            continue
        for words in label.words:
            width, height = paper.measure(words, size)
            room.taken = taken | fence
            box = room.beside(anchor, width + 4, height + 1, label.near, far)
            room.taken = taken
            if box is not None:
                return words, box
    return None


def _say(ax: Axes, label: Label, words: str, box: Box, room: Room, ground: Ground, size: float) -> None:
    """Write a label in an ink that stands out on what lies beneath, edged with more of the same."""
    below = ground.under(box)
    ink = inked(below)
    edge = to_hex(mixed(below, LIGHT if ink == DEEP else DEEP, 0.3))
    anchor = room.points(label.spot)[0]
    led = box.gap(anchor) > LED
    way = Box((box.x + 2 * float(anchor[0])) / 3, (box.y + 2 * float(anchor[1])) / 3, CELL, CELL)
    line = {"arrowstyle": "-", "lw": 0.6, "color": inked(ground.under(way)), "shrinkA": 1, "shrinkB": 4}
    ax.annotate(
        words,
        label.spot,
        (box.x - float(anchor[0]), box.y - float(anchor[1])),
        textcoords="offset points",
        color=ink,
        size=size,
        ha="center",
        va="center",
        linespacing=1.15,
        path_effects=[withStroke(linewidth=2.2, foreground=edge)],
        zorder=6,
        gid=label.gid,
        arrowprops=line if led else None,
    )
    room.box(box)
    if led:
        room.line(np.array([anchor, [box.x, box.y]]), 1.0)
