"""Contours as shapes of one colour each, without the colour scale that matplotlib's own have and that takes longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from contourpy import ContourGenerator, contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.path import Path
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Levels(PathCollection):
    """Shapes at losses, one for each: `levels` are those of lines, or all edges of areas."""

    def __init__(self, paths: Sequence[Path], levels: Array, **how: Any):
        super().__init__(paths, **how)
        self.levels = levels


def fill_between(ax: Axes, x: Array, y: Array, values: Array, levels: Array, colors: Any) -> Levels:
    """Fill what lies between each level and the next one, under everything else."""
    found = _generator(x, y, values)
    lowers = levels[:-1].copy()
    if lowers[0] == np.nanmin(values, where=np.isfinite(values), initial=np.inf):
        lowers[0] -= 1  # else the lowest point would lie outside
    paths = [_path(*found.filled(low, high)) for low, high in zip(lowers, levels[1:], strict=True)]
    how: dict[str, Any] = {"facecolors": colors, "edgecolors": "none", "antialiaseds": False, "zorder": 0}
    return _add(ax, Levels(paths, levels, **how), x, y)


def draw_lines(
    ax: Axes, x: Array, y: Array, values: Array, levels: Array, color: Any, width: float, **how: Any
) -> Levels:
    """Draw a line along each level; solid below zero too, for dashes are a habit, and numbers bear their sign."""
    found = _generator(x, y, values)
    paths = [_path(*found.lines(level)) for level in levels]
    return _add(ax, Levels(paths, levels, facecolors="none", edgecolors=color, linewidths=width, **how), x, y)


def places_along(x: Array, y: Array, values: Array, levels: Sequence[float]) -> list[list[Array]]:
    """Return the places along the lines of each level, without drawing them; a closed one ends where it begins."""
    found = _generator(x, y, values)
    lines: list[Any] = [found.lines(level)[0] for level in levels]
    return lines


def _generator(x: Array, y: Array, values: Array) -> ContourGenerator:
    # what matplotlib uses; the newer one begins lines elsewhere
    return contour_generator(x, y, np.ma.masked_invalid(values), name="mpl2014", corner_mask=True)


def _path(points: Any, codes: Any) -> Path:
    return Path(np.concatenate(points), np.concatenate(codes)) if points else Path(np.empty((0, 2)))


def _add(ax: Axes, found: Levels, x: Array, y: Array) -> Levels:
    ax.add_collection(found, autolim=False)
    ax.update_datalim([(x.min(), y.min()), (x.max(), y.max())])
    return found
