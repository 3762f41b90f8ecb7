"""Fits in motion: the line that a linear model draws through its data, at each step of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.plot import paper
from ravine.plot.moving import Moving
from ravine.plot.paper import Style

__all__ = ["draw_fit", "lines_of"]

Array = NDArray[np.floating[Any]]

BEYOND = 0.6
"""Room above and below the data, as a share of their height: lines that start far off show where they come from."""


def lines_of(run: xr.Dataset) -> Array | None:
    """Return weight and bias at each step (step, 2), where the run's model is a line; else None.

    It is one where the last weight and bias give `prediction` to rounding.

    Examples
    --------
    >>> import ravine
    >>> lines_of(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, steps=2))[0].tolist()
    [6.0, -3.0]
    """
    if not all(name in run and run[name].dims == ("sample",) for name in ("inputs", "targets", "prediction")):
        return None
    if sorted(str(label) for label in run["parameter"].values) != ["bias", "weight"]:
        return None
    found: Array = run["position"].sel(parameter=["weight", "bias"]).values
    (weight, bias), x, given = found[-1], run["inputs"].values, run["prediction"].values
    if not np.isfinite(given).all():
        return None
    room = 8 * np.finfo(found.dtype).eps * (np.abs(weight * x) + np.abs(bias))
    return found.astype(float) if bool((np.abs(weight * x + bias - given) <= room).all()) else None


def draw_fit(ax: Axes, run: xr.Dataset, lines: Array, look: Style) -> list[Moving]:
    """Draw the data, and the model's line, which moves."""
    x, y = run["inputs"].values.astype(float), run["targets"].values.astype(float)
    paper.calm(ax, look)
    ax.grid(color=look.grid, lw=0.6)
    ax.set_axisbelow(True)
    ax.plot(x, y, ls="", marker="o", ms=3.6, mew=0.8, mec=look.quiet, mfc="none", zorder=2, gid="data")
    ax.set_title("data and fit", loc="left", size=8.5, color=look.quiet)
    ax.set_xlabel(run["inputs"].attrs.get("long_name", "x"))
    ax.set_ylabel(run["targets"].attrs.get("long_name", "y"))
    ax.margins(0.06)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    pad = BEYOND * (high - low)
    ax.set(xlim=(left, right), ylim=(low - pad, high + pad))
    ends = np.array([x.min(), x.max()])
    (line,) = ax.plot(ends, ends, color=look.accent, lw=1.8, zorder=3, gid="fit")

    def move(k: int) -> None:
        weight, bias = lines[min(k, len(lines) - 1)]
        with np.errstate(over="ignore", invalid="ignore"):
            line.set_ydata(weight * ends + bias)

    moved: Callable[[int], None] = move
    return [Moving(line, moved)]
