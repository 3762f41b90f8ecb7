"""fit and scatter: the data, and what a model makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._study.contract import check
from ravine._study.units import in_units, scale_of
from ravine.plot._canvas.hues import choose_hues
from ravine.plot._canvas.labels import draw_labels_at_right, make_room_at_right, printable
from ravine.plot._canvas.layout import widest
from ravine.plot._canvas.sheet import Drawn, Sheet, Words, drawn_on, limits_of, name_axes, open_sheet, widen
from ravine.plot._canvas.style import Style, calm, new_figure, style_on, with_own_settings
from ravine.plot._canvas.words import settings_text, steps_text
from ravine.plot._curves.curve import choose_hue, fold, runs_apart

Array = NDArray[np.floating[Any]]


def check_columns(runs: xr.Dataset) -> None:
    """Complain where the data is not one column of inputs and one of targets."""
    for name in ("inputs", "targets"):
        if runs[name].dims != ("sample",):
            raise ValueError(f"one column of {name} expected to draw points, got dimensions {runs[name].dims}")


def open_data_sheet(ax: object, runs: xr.Dataset, theme: Style, words: Words, aside: float = 0.25) -> Sheet:
    """Return the Axes for one column of data; in the article's style where matplotlib puts it."""
    if ax is None and theme.frame:
        return Sheet(new_figure(6.4, 4.8, theme).add_subplot(), theme, True)
    sheet = open_sheet(ax, theme, words, tall=3.3, aside=aside)
    if theme.head:
        name_data(sheet.ax, runs)
    calm(sheet.ax, theme, grid=True)
    return sheet


def name_data(ax: Axes, runs: xr.Dataset) -> None:
    """Name both axes as the columns of the data are named, and say if they are standardized."""
    names = []
    for name, usual in (("inputs", "x"), ("targets", "y")):
        scaled = " (standardized)" if scale_of(runs[name]) is not None else ""
        names.append(str(runs[name].attrs.get("long_name", usual)) + scaled)
    name_axes(ax, *names)


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
def fit(
    runs: xr.Dataset,
    *,
    hue: str | None = None,
    ax: Drawn | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Drawn:
    """Draw the data and what the model makes of it at the end of each run.

    Standardized columns of a CSV file are drawn in the units that they have in the file.

    Parameters
    ----------
    runs
        A study with ``inputs`` of one column, ``targets`` and ``prediction``; up to 24 runs.
    hue
        The setting that gives the colours, as in `ravine.plot.losses`.
    ax
        An Axes of yours to draw on; its figure, title, frame and fonts stay as they are.
    title
        What to see.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure; or `ax`, if it was given.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)
    >>> line = ravine.plot.fit(run).axes[0].lines[-1]
    >>> float(line.get_ydata()[0]) == float(run.prediction[run.inputs.values.argmin()])
    True
    """
    theme = style_on(style, ax)
    runs = in_units(check(runs, "inputs", "targets", "prediction"))
    check_columns(runs)
    made = [(name, (value, run)) for name, value, run in runs_apart(runs, "prediction", hue)]
    lines = fold(made, lambda each: each[1]["prediction"].values)
    line = choose_hue(runs, [str(dim) for dim in runs["prediction"].dims if dim != "sample"], hue)
    hues = choose_hues(line or "", [value for _, (value, _) in lines], theme)
    names = [name for name, _ in lines if name and hues.bar is None]
    aside = 1.5 if hues.bar is not None else max(2.1, widest(names, 8.5) / 72 + 0.4) if names else 0.25
    words = Words(title, f"What the model learned in {steps_text(runs)}", [settings_text(runs)])
    held = limits_of(ax)
    sheet = open_data_sheet(ax, runs, theme, words, aside)
    x, y = runs["inputs"].values, runs["targets"].values
    order = np.argsort(x, kind="stable")
    draw_data(sheet.ax, x, y, theme, 4.2)
    named = []
    for (name, (_, run)), color, dash in zip(lines, hues.colors, hues.dashes, strict=True):
        heights = run["prediction"].values[order]
        sheet.ax.plot(x[order], heights, color=color, ls=dash, lw=1.5, zorder=3, gid=printable(name) or "fit")
        named.append((name, float(heights[-1]), color))
    widen(sheet.ax, held)
    if theme.head and hues.bar is not None:
        sheet.draw_bar(hues.bar, hues.heading, 0.2)
    elif theme.head and names:
        edge = make_room_at_right(sheet.ax, names)
        draw_labels_at_right(sheet.ax, [each for each in named if np.isfinite(each[1])], theme, edge=edge)
    return drawn_on(sheet, ax)


@with_own_settings
def scatter(runs: xr.Dataset, *, ax: Drawn | None = None, title: str | None = None, style: str = "ravine") -> Drawn:
    """Draw the data alone.

    Parameters
    ----------
    runs
        A study with ``inputs`` of one column and ``targets``.
    ax
        An Axes of yours to draw on; its figure, title, frame and fonts stay as they are.
    title
        What to see.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure; or `ax`, if it was given.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], steps=1)
    >>> len(ravine.plot.scatter(run).axes[0].lines[0].get_xdata())
    50
    """
    theme = style_on(style, ax)
    runs = in_units(check(runs, "inputs", "targets"))
    check_columns(runs)
    x, y = runs["inputs"].values, runs["targets"].values
    sheet = open_data_sheet(ax, runs, theme, Words(title, f"{len(x)} points"))
    if theme.points:
        draw_data(sheet.ax, x, y, theme)
        sheet.ax.scatter(x, y, c=theme.accent)
    else:
        sheet.ax.plot(x, y, ls="", marker="o", ms=4.6, mew=0, color=theme.accent, alpha=0.85, gid="data")
    return drawn_on(sheet, ax)
