"""Regions of a map at which the loss is not finite, named."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from ravine._format import MINUS
from ravine.plot._canvas.labels import CELL, Box, FreeSpace, text_size
from ravine.plot._canvas.style import Style

Array = NDArray[np.floating[Any]]

MOST_HOLES = 3
"""Regions without a value that are named, the largest ones."""


def has_holes(values: Array) -> bool:
    """Tell whether a surface has points at which the loss is not finite."""
    return not bool(np.isfinite(values).all())


def name_holes(
    ax: Axes, x: Array, y: Array, values: Array, theme: Style, size: float, free: FreeSpace | None = None
) -> None:
    """Write into regions without a value what the loss is there; in `free`, off all that is drawn."""
    if not has_holes(values) or min(values.shape) < 2:
        return
    bad = ~np.isfinite(values)
    cells = bad[:-1, :-1] | bad[1:, :-1] | bad[:-1, 1:] | bad[1:, 1:]  # bands end at the last value before a hole
    regions, count = ndimage.label(cells, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(cells, regions, np.arange(1, count + 1))
    for region in np.argsort(-sizes, kind="stable")[:MOST_HOLES] + 1:
        here = regions == region
        rows, columns = np.nonzero(here)
        corners = [values[rows + a, columns + b] for a in (0, 1) for b in (0, 1)]
        words = _hole_text(np.concatenate(corners))
        spot = _middle_of(here, x, y) if free is None else _roomy_place(here, x, y, words, size, free)
        if spot is not None:
            how: dict[str, Any] = {"size": size, "color": theme.ink, "ha": "center", "va": "center"}
            ax.text(*spot, words, path_effects=[withStroke(linewidth=2.5, foreground=theme.hole[0])], zorder=5, **how)


def _hole_text(values: Array) -> str:
    found = values[~np.isfinite(values)]
    if np.isnan(found).all():
        return "loss NaN"
    if not np.isinf(found).all():
        return "loss not finite"
    return "loss inf" if (found > 0).all() else f"loss {MINUS}inf" if (found < 0).all() else "loss not finite"


def _middle_of(here: NDArray[np.bool_], x: Array, y: Array) -> tuple[float, float]:
    """Return the middle of the cell of a region that is farthest from its border."""
    inside = ndimage.distance_transform_edt(np.pad(here, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(inside.argmax(), here.shape)
    return float(x[column : column + 2].mean()), float(y[row : row + 2].mean())


def _roomy_place(
    here: NDArray[np.bool_], x: Array, y: Array, words: str, size: float, free: FreeSpace
) -> tuple[float, float] | None:
    """Return the middle of a box for words that lies wholly in a region, where that has most room, if there is one."""
    tall, wide = free.taken.shape
    centres = free.data(np.c_[(np.arange(max(tall, wide)) + 0.5) * CELL, (np.arange(max(tall, wide)) + 0.5) * CELL])
    inside = [
        (each >= sides[0]) & (each <= sides[-1]) for each, sides in ((centres[:wide, 0], x), (centres[:tall, 1], y))
    ]
    column, row = (
        np.clip(np.searchsorted(sides, each, side="right") - 1, 0, len(sides) - 2)
        for each, sides in ((centres[:wide, 0], x), (centres[:tall, 1], y))
    )
    open_to = here[np.ix_(row, column)] & inside[1][:, None] & inside[0] & ~free.taken
    width, height = text_size(words, size)
    reach = [int(np.ceil(each / CELL / 2)) + 1 for each in (height, width)]
    fits = ndimage.minimum_filter(open_to, size=(2 * reach[0] + 1, 2 * reach[1] + 1), mode="constant", cval=0)
    if not fits.any():
        return None
    spare = ndimage.distance_transform_edt(np.pad(open_to, 1))[1:-1, 1:-1]
    up, across = np.unravel_index(np.where(fits, spare, -1).argmax(), fits.shape)
    free.box(Box((across + 0.5) * CELL, (up + 0.5) * CELL, width + 4, height))
    return float(centres[across, 0]), float(centres[up, 1])
