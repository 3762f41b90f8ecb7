"""fit and scatter: the data, and what a model makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._format import listed
from ravine._study.contract import check
from ravine.plot._canvas.labels import draw_labels_at_right, literal, printable
from ravine.plot._canvas.layout import write_head_over
from ravine.plot._canvas.style import Figure, Style, calm, new_figure, style_of, with_own_settings
from ravine.plot._canvas.words import label_text, settings_text, steps_text
from ravine.plot._curves.curve import fold

Array = NDArray[np.floating[Any]]


def one_axes(runs: xr.Dataset, theme: Style, *, named: bool = False) -> tuple[Axes, Any, Any]:
    """Return Axes for one column of data, with the data; room for names at the right where asked."""
    for name in ("inputs", "targets"):
        if runs[name].dims != ("sample",):
            raise ValueError(f"one column of {name} expected to draw points, got dimensions {runs[name].dims}")
    width = 6.4 if theme.frame else 7.2 if named else 5.3  # names stand at the right of the curves
    figure = new_figure(width, 4.8, theme)
    ax = figure.add_subplot() if theme.frame else figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.3 / 4.8))
    if theme.head:
        name_data(ax, runs)
    calm(ax, theme, grid=True)
    return ax, runs["inputs"].values, runs["targets"].values


def name_data(ax: Axes, runs: xr.Dataset) -> None:
    """Name both axes as the columns of the data are named."""
    ax.set_xlabel(literal(str(runs["inputs"].attrs.get("long_name", "x"))))
    ax.set_ylabel(literal(str(runs["targets"].attrs.get("long_name", "y"))))


def draw_data(ax: Axes, x: Array, y: Array, theme: Style, size: float = 3.6) -> None:
    """Draw the data as quiet rings."""
    if theme.points:
        ax.scatter(x, y, facecolors="none", edgecolors=theme.points)
        return
    width = 0.8 if size < 4 else 0.9
    ax.plot(x, y, ls="", marker="o", ms=size, mew=width, mec=theme.quiet, mfc="none", zorder=2, gid="data")


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
    tolerance = 8 * np.finfo(found.dtype).eps * (np.abs(weight * x) + np.abs(bias))
    return found.astype(float) if bool((np.abs(weight * x + bias - given) <= tolerance).all()) else None


@with_own_settings
def fit(runs: xr.Dataset, *, title: str | None = None, style: str = "ravine") -> Figure:
    """Draw the data and what the model makes of it at the end of each run.

    Parameters
    ----------
    runs
        A study with ``inputs`` of one column, ``targets`` and ``prediction``; at most one dimension of choice.
    title
        What to see.
    style
        ``"ravine"`` or ``"article"``.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)
    >>> line = ravine.plot.fit(run).axes[0].lines[-1]
    >>> float(line.get_ydata()[0]) == float(run.prediction[run.inputs.values.argmin()])
    True
    """
    theme = style_of(style)
    check(runs, "inputs", "targets", "prediction")
    dims = [str(d) for d in runs["prediction"].dims if d != "sample"]
    if len(dims) > 1:
        raise ValueError(f"runs differ in {listed(dims)}: select all but one, for example with ravine.at(runs, …)")
    ax, x, y = one_axes(runs, theme, named=bool(dims))
    order = np.argsort(x, kind="stable")
    draw_data(ax, x, y, theme, 4.2)
    lines = (
        [(label_text(dims[0], v), runs.isel({dims[0]: i})) for i, v in enumerate(runs[dims[0]].values)]
        if dims
        else [("", runs)]
    )
    named = []
    for k, (name, group) in enumerate(fold(lines, lambda run: run["prediction"].values)):
        heights = group["prediction"].values[order]
        color = theme.accents[k % len(theme.accents)]
        ax.plot(
            x[order],
            heights,
            color=color,
            lw=1.5,
            zorder=3,
            gid=printable(name) or "fit",
        )
        named.append((name, float(heights[-1]), color))
    if theme.head and named[0][0]:
        draw_labels_at_right(ax, [each for each in named if np.isfinite(each[1])], theme)
    if theme.head:
        write_head_over(ax, title or f"What the model learned in {steps_text(runs)}", settings_text(runs), theme)
    return ax.get_figure()  # type: ignore[return-value]


@with_own_settings
def scatter(runs: xr.Dataset, *, title: str | None = None, style: str = "ravine") -> Figure:
    """Draw the data alone.

    Parameters
    ----------
    runs
        A study with ``inputs`` of one column and ``targets``.
    title
        What to see.
    style
        ``"ravine"`` or ``"article"``.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], steps=1)
    >>> len(ravine.plot.scatter(run).axes[0].lines[0].get_xdata())
    50
    """
    theme = style_of(style)
    ax, x, y = one_axes(check(runs, "inputs", "targets"), theme)
    if theme.points:
        draw_data(ax, x, y, theme)
        ax.scatter(x, y, c=theme.accent)
    else:
        ax.plot(x, y, ls="", marker="o", ms=4.6, mew=0, color=theme.accent, alpha=0.85, gid="data")
        write_head_over(ax, title or f"{len(x)} points", "", theme)
    return ax.get_figure()  # type: ignore[return-value]
