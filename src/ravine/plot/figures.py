"""Figures: marks arranged to a picture that speaks for itself, with the settings written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from matplotlib.transforms import Bbox

from ravine import study
from ravine.plot import captions, marks, paper
from ravine.plot.paper import Figure, Style, style_of
from ravine.plot.sheet import one_axes, sheet_of, trim, write_caption, write_head, write_head_over
from ravine.words import listed

__all__ = ["descent", "fit", "losses", "scatter"]

MOST_PANELS = 16


@paper.drawn
def descent(runs: xr.Dataset, land: xr.Dataset, *, title: str | None = None, style: str = "ravine") -> Figure:
    """Draw runs over the loss they descend, a panel for each criterion (or whichever one dimension there is).

    The contours show what is really minimised: where the runs have a weight decay, it is added to the loss
    and the subtitle says so.

    Parameters
    ----------
    runs
        A study with ``position`` (panel, step, parameter) of two parameters, and ``loss``.
    land
        A study with ``surface`` over these two parameters, for each panel or one for all.
    title
        What to see; the settings that were turned, in words, if left out.
    style
        ``"ravine"`` or ``"article"``.

    Returns
    -------
    Figure
        Call ``.savefig(path)``; png, svg and pdf by the ending.

    Raises
    ------
    ValueError
        If the runs have other than two parameters or more than one dimension of choice, or the surface lies
        over other parameters; the message says what to select or to call.

    Examples
    --------
    >>> import ravine
    >>> problems = ravine.gallery.article()
    >>> runs, land = ravine.descend(problems, lr=0.1, momentum=0.9), ravine.surface(problems, points=21)
    >>> figure = ravine.plot.descent(runs, land)
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['MSELoss', 'L1Loss', 'HuberLoss', 'SmoothL1Loss']
    """
    look = style_of(style)
    study.check(runs, "position", "loss")
    study.check(land, "surface")
    panels = _panels(runs, land)
    names = study.axes(land)
    for panel in panels:  # complain before drawing
        marks.trajectory(panel.run, names)
        marks.objective(panel.land)
    if look is paper.ARTICLE:
        return _article_descent(panels, names)
    width, height = (float(np.ptp(land[name].values)) for name in names)
    sheet = sheet_of(len(panels), height / width, look)
    write_head(
        sheet,
        title or captions.knobs(runs),
        captions.subtitle(runs, [captions.coupled_decay(panel.run) for panel in panels]),
    )
    for k, (panel, ax) in enumerate(zip(panels, sheet.axes, strict=True)):
        decay = captions.coupled_decay(panel.run)
        marks.surface(panel.land, ax, weight_decay=decay)
        trim(ax, sheet, k)
        marks.path(panel.run, ax, axes=names)
        _landmarks(ax, panel, names, decay, look)
        if panel.label:
            ax.set_title(panel.label, loc="left", size=10.5, weight="bold", color=look.ink, pad=6)
        write_caption(sheet, ax, captions.outcome(panel.run), k)
    return sheet.figure


@paper.drawn
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
    look = style_of(style)
    study.check(runs, "inputs", "targets", "prediction")
    dims = [str(d) for d in runs["prediction"].dims if d != "sample"]
    if len(dims) > 1:
        raise ValueError(f"runs differ in {listed(dims)}: select all but one, for example with ravine.at(runs, …)")
    ax, x, y = one_axes(runs, look, named=bool(dims))
    order = np.argsort(x, kind="stable")
    if look is paper.ARTICLE:
        ax.scatter(x, y, facecolors="none", edgecolors="b")
    else:
        ax.plot(x, y, ls="", marker="o", ms=4.2, mew=0.9, mec=look.quiet, mfc="none", zorder=2, gid="data")
    lines = (
        [(captions.label(dims[0], v), runs.isel({dims[0]: i})) for i, v in enumerate(runs[dims[0]].values)]
        if dims
        else [("", runs)]
    )
    named = []
    for k, (name, group) in enumerate(_folded(lines, "prediction")):
        heights = group["prediction"].values[order]
        color = look.accents[k % len(look.accents)]
        ax.plot(
            x[order],
            heights,
            color=color,
            lw=1.5 if look is paper.RAVINE else None,
            zorder=3,
            gid=name or "fit",
        )
        named.append((name, float(heights[-1]), color))
    if look is paper.RAVINE and named[0][0]:
        paper.label_at_right(ax, [each for each in named if np.isfinite(each[1])], look)
    if look is paper.RAVINE:
        write_head_over(ax, title or f"What the model learned in {captions.steps(runs)}", captions.settings(runs), look)
    return ax.get_figure()  # type: ignore[return-value]


@paper.drawn
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
    look = style_of(style)
    ax, x, y = one_axes(study.check(runs, "inputs", "targets"), look)
    if look is paper.ARTICLE:
        ax.scatter(x, y, facecolors="none", edgecolors="b")
        ax.scatter(x, y, c="r")
    else:
        ax.plot(x, y, ls="", marker="o", ms=4.6, mew=0, color=look.accent, alpha=0.85, gid="data")
        write_head_over(ax, title or f"{len(x)} points", "", look)
    return ax.get_figure()  # type: ignore[return-value]


@paper.drawn
def losses(runs: xr.Dataset, *, title: str | None = None) -> Figure:
    """Draw the loss at every step, on a logarithmic scale where it is positive and spans more than a factor of 20.

    Losses that are not finite are not drawn; a curve ends where its run diverged.

    Parameters
    ----------
    runs
        A study with ``loss``; at most one dimension of choice, each entry a curve.
    title
        What to see.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.descend(ravine.gallery.article(), lr=0.1)
    >>> [line.get_gid() for line in ravine.plot.losses(runs).axes[0].lines]
    ['MSELoss', 'L1Loss', 'HuberLoss = SmoothL1Loss']
    """
    look = paper.RAVINE
    study.check(runs, "loss")
    dims = [str(d) for d in runs["loss"].dims if d != "step"]
    if len(dims) > 1:
        raise ValueError(f"runs differ in {listed(dims)}: select all but one, for example with ravine.at(runs, …)")
    width = 7.2 if dims else 5.3
    figure = paper.new_figure(width, 4.8, look)
    ax = figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.3 / 4.8))
    paper.calm(ax, look)
    ax.grid(color="#e8edf1", lw=0.6)
    ax.set_axisbelow(True)
    curves = (
        [(captions.label(dims[0], v), runs.isel({dims[0]: i})) for i, v in enumerate(runs[dims[0]].values)]
        if dims
        else [("", runs)]
    )
    if len(curves) > len(look.accents) + 2:
        raise ValueError(f"{len(curves)} curves are too many to tell apart: select some along {dims[0]!r}")
    named = []
    for k, (name, run) in enumerate(_folded(curves, "loss")):
        color = look.accents[k % len(look.accents)]
        heights = np.where(np.isfinite(run["loss"].values), run["loss"].values, np.nan)
        ax.plot(run["step"].values, heights, color=color, lw=1.5, gid=name or "loss")
        named.append((name, float(heights[np.isfinite(heights)][-1]), color))
    values = runs["loss"].values
    finite = values[np.isfinite(values)]
    if finite.min() > 0 and finite.max() > 20 * finite.min():
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    if named[0][0]:
        paper.label_at_right(ax, named, look)
    write_head_over(ax, title or captions.knobs(runs), f"{captions.settings(runs)}   {captions.steps(runs)}", look)
    return figure


@dataclass(frozen=True, eq=False)
class Panel:
    """One run over one surface."""

    label: str
    run: xr.Dataset
    land: xr.Dataset


def _panels(runs: xr.Dataset, land: xr.Dataset) -> list[Panel]:
    dims = [str(d) for d in runs["position"].dims if d not in ("step", "parameter")]
    if len(dims) > 1:
        raise ValueError(
            f"runs differ in {listed(dims)}; a figure has panels for one of them: select the others, "
            f"for example ravine.at(runs, {dims[0]}={runs[dims[0]].values[0]!s})"
        )
    if not dims:
        label = str(runs["criterion"].values) if "criterion" in runs.coords else ""
        if "criterion" in land.dims and label in land["criterion"].values:
            land = land.sel(criterion=label)
        return [Panel(label, runs, land)]
    (dim,) = dims
    labels = runs[dim].values
    if len(labels) > MOST_PANELS:
        raise ValueError(
            f"{len(labels)} panels are too many to read (at most {MOST_PANELS}): select some along {dim!r}"
        )
    found = []
    for i, value in enumerate(labels):
        if dim in land["surface"].dims and value not in land[dim].values:
            raise ValueError(
                f"there is a run for {dim} {value!s} but no surface: ravine.surface of the same problems makes it"
            )
        below = land.sel({dim: value}) if dim in land["surface"].dims else land
        found.append(Panel(captions.label(dim, value), runs.isel({dim: i}), below))
    return found


def _landmarks(ax: Axes, panel: Panel, names: tuple[str, str], decay: float, look: Style) -> None:
    """Name the start, mark the lowest point of the grid, and show where a path leaves the map."""
    x, y, _ = marks.trajectory(panel.run, names)
    across, up, values = marks.objective(panel.land, decay)
    track = np.c_[x, y].astype(float)
    taken: list[Bbox] = []
    if np.isfinite(values).any() and not captions.maximizes(panel.run):
        row, column = np.unravel_index(np.nanargmin(np.where(np.isfinite(values), values, np.nan)), values.shape)
        if 0 < row < len(up) - 1 and 0 < column < len(across) - 1:  # at the border it says nothing about a minimum
            ax.plot(across[column], up[row], ls="", marker="x", ms=5.5, mew=1.4, color=look.ink, zorder=5, gid="lowest")
    inside = (track >= [across[0], up[0]]).all(axis=1) & (track <= [across[-1], up[-1]]).all(axis=1)
    if inside[0]:
        taken.append(
            paper.label(ax, "start", track[0], look, color=look.accent, avoid=track, boxes=taken).get_window_extent()
        )
    gone = np.flatnonzero(inside[:-1] & ~inside[1:])
    if gone.size and not inside[-1]:
        _leaving(ax, track[gone[-1]], track[gone[-1] + 1], int(gone[-1]) + 1, look, track)


def _leaving(ax: Axes, inner: Any, outer: Any, step: int, look: Style, track: Any) -> None:
    """Mark where the path crosses the border for the last time, with the step that takes it out."""
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    way = np.where(np.isfinite(outer), outer, 0) - inner
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(way > 0, (high - inner) / way, np.where(way < 0, (low - inner) / way, np.inf))
    edge = inner + min(1.0, float(np.nanmin(shares))) * way
    pixels = ax.transData.transform([inner, edge])
    heading = pixels[1] - pixels[0]
    heading = heading / (np.hypot(*heading) or 1.0)
    size = 7 * ax.get_figure().dpi / 72  # type: ignore[union-attr]
    side = np.array([-heading[1], heading[0]])
    corners = [
        pixels[1],
        pixels[1] - size * heading + size / 2 * side,
        pixels[1] - size * heading - size / 2 * side,
    ]
    shape = ax.transData.inverted().transform(corners)
    ax.add_patch(Polygon(shape, closed=True, facecolor=look.accent, edgecolor="none", zorder=4.5, gid="leaves"))
    paper.label(ax, f"leaves at step {step}", edge, look, color=look.accent, avoid=track)


def _folded(lines: Sequence[tuple[str, xr.Dataset]], what: str) -> list[tuple[str, xr.Dataset]]:
    """Join neighbours that are equal in every bit under one name."""
    folded: list[tuple[str, xr.Dataset]] = []
    for name, group in lines:
        if folded and np.array_equal(folded[-1][1][what].values, group[what].values, equal_nan=True):
            folded[-1] = (f"{folded[-1][0]} = {name}", folded[-1][1])
        else:
            folded.append((name, group))
    return folded


def _article_descent(panels: Sequence[Panel], names: tuple[str, str]) -> Figure:
    """As the article arranged them: one map, or two by two; but titles do not overlap the numbers."""
    figure = paper.new_figure(6.4, 4.8, paper.ARTICLE)
    figure.set_layout_engine("constrained")
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    rows = -(-len(panels) // columns)
    for k, panel in enumerate(panels):
        ax = figure.add_subplot(rows, columns, k + 1)
        marks.surface(panel.land, ax, style="article")
        marks.path(panel.run, ax, axes=names, style="article")
        if len(panels) > 1:
            ax.set_title(panel.label)
            ax.set_xlabel("")
            ax.set_ylabel("")
    return figure
