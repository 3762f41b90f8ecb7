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
from ravine.plot import marks, paper
from ravine.plot.paper import Figure, Style, style_of
from ravine.words import listed

__all__ = ["descent", "fit", "losses", "scatter"]

HEADER = 0.86
"""Inches above the panels, for title and settings."""

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
    panels = _panels(runs, land)
    names = study.axes(land)
    for panel in panels:  # complain before drawing
        marks.trajectory(panel.run, names)
        marks.objective(panel.land)
    if look is paper.ARTICLE:
        return _article_descent(panels, names)
    width, height = (float(np.ptp(land[name].values)) for name in names)
    sheet = _sheet(len(panels), height / width, look)
    _head(sheet, title or knobs(runs), _subtitle(runs, panels))
    for k, (panel, ax) in enumerate(zip(panels, sheet.axes, strict=True)):
        decay = _coupled_decay(panel.run)
        marks.surface(panel.land, ax, weight_decay=decay)
        _trim(ax, sheet, k)
        marks.path(panel.run, ax, axes=names)
        _landmarks(ax, panel, names, decay, look)
        if panel.label:
            ax.set_title(panel.label, loc="left", size=10.5, weight="bold", color=look.ink, pad=6)
        _caption(sheet, ax, outcome(panel.run), k)
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
    >>> float(line.get_ydata()[0]) == float(run.prediction[run.inputs.argmin()])
    True
    """
    look = style_of(style)
    study.check(runs, "inputs", "targets", "prediction")
    dims = [str(d) for d in runs["prediction"].dims if d != "sample"]
    if len(dims) > 1:
        raise ValueError(
            f"runs differ in {listed(dims)}: select all but one, for example with ravine.at(runs, …)"
        )
    ax, x, y = _data_axes(runs, look, named=bool(dims))
    order = np.argsort(x, kind="stable")
    if look is paper.ARTICLE:
        ax.scatter(x, y, facecolors="none", edgecolors="b")
    else:
        ax.plot(x, y, ls="", marker="o", ms=4.2, mew=0.9, mec=look.quiet, mfc="none", zorder=2, gid="data")
    lines = (
        [(_label(dims[0], v), runs.isel({dims[0]: i})) for i, v in enumerate(runs[dims[0]].values)]
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
        _write_head(ax, title or f"What the model learned in {_steps(runs)}", _settings(runs), look)
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
    ax, x, y = _data_axes(study.check(runs, "inputs", "targets"), look)
    if look is paper.ARTICLE:
        ax.scatter(x, y, facecolors="none", edgecolors="b")
        ax.scatter(x, y, c="r")
    else:
        ax.plot(x, y, ls="", marker="o", ms=4.6, mew=0, color=look.accent, alpha=0.85, gid="data")
        _write_head(ax, title or f"{len(x)} points", "", look)
    return ax.get_figure()  # type: ignore[return-value]


@paper.drawn
def losses(runs: xr.Dataset, *, title: str | None = None) -> Figure:
    """Draw the loss at every step, on a logarithmic scale where it is positive throughout.

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
        raise ValueError(
            f"runs differ in {listed(dims)}: select all but one, for example with ravine.at(runs, …)"
        )
    width = 7.2 if dims else 5.3
    figure = paper.new_figure(width, 4.8, look)
    ax = figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.3 / 4.8))
    paper.calm(ax, look)
    ax.grid(color="#e8edf1", lw=0.6)
    ax.set_axisbelow(True)
    curves = (
        [(_label(dims[0], v), runs.isel({dims[0]: i})) for i, v in enumerate(runs[dims[0]].values)]
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
    if (values[np.isfinite(values)] > 0).all():
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    if named[0][0]:
        paper.label_at_right(ax, named, look)
    _write_head(ax, title or knobs(runs), f"{_settings(runs)}   {_steps(runs)}", look)
    return figure


# -- words on a picture ------------------------------------------------------------------------------------------

DEFAULTS = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
"""Settings that are not worth a word at these values."""


def knobs(runs: xr.Dataset) -> str:
    """Name what was turned, for a title.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> knobs(ravine.descend(problem, lr=0.1)), knobs(ravine.descend(problem, lr=0.1, momentum=0.9, nesterov=True))
    ('Plain SGD, lr 0.1', 'SGD, lr 0.1, momentum 0.9, nesterov')
    """
    turned = {n: v for n, v in _scalars(runs).items() if n == "lr" or (n in DEFAULTS and v != DEFAULTS[n])}
    words = [n if v is True else f"{n.replace('_', ' ')} {v:g}" for n, v in turned.items() if v is not False]
    name = str(runs.coords["optimizer"].values) if "optimizer" in runs.coords else "Descent"
    return ", ".join([name if len(turned) > 1 or name != "SGD" else f"Plain {name}", *words])


def outcome(run: xr.Dataset) -> str:
    """Say what happened to the loss in one run, from its numbers.

    Examples
    --------
    >>> import ravine
    >>> outcome(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1))
    'loss 53.08 → 0.4994 in 100 steps'
    """
    losses = run["loss"].values
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        return f"loss {_number(losses[0])} → {losses[broken[0]]} at step {broken[0]}: it diverged"
    return f"loss {_number(losses[0])} → {_number(losses[-1])} in {_steps(run)}"


def _number(value: float) -> str:
    return f"{value:.4g}".replace("e+0", "e").replace("e-0", "e-")


def _steps(runs: xr.Dataset) -> str:
    count = runs.sizes["step"] - 1
    return f"{count:,} step{'' if count == 1 else 's'}"


def _scalars(runs: xr.Dataset) -> dict[str, Any]:
    """Settings that hold for all of these runs."""
    return {
        str(n): c.values.item()
        for n, c in runs.coords.items()
        if c.ndim == 0 and str(n) not in ("criterion", "run")
    }


def _settings(runs: xr.Dataset) -> str:
    values = _scalars(runs)
    name = values.pop("optimizer", "")
    shown = [
        f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}"
        for n, v in values.items()
        if v != DEFAULTS.get(n)
    ]
    return f"{name}({', '.join(shown)})" if name else ", ".join(shown)


def _subtitle(runs: xr.Dataset, panels: Sequence[Panel]) -> str:
    parts = [_settings(runs), _steps(runs)]
    if any(_coupled_decay(panel.run) for panel in panels):
        parts.append("contours: loss + weight decay")
    every = marks.dot_every(runs.sizes["step"] - 1)
    if every > 1:
        parts.append(f"a dot every {every} steps")
    return "   ".join(parts)


COUPLED = frozenset(
    {"SGD", "Adam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD", "NAdam", "RAdam", "Rprop"}
)
"""Torch's optimizers whose weight decay is added to the gradient, so that they minimise loss + decay."""


def _coupled_decay(run: xr.Dataset) -> float:
    """Return the weight decay that belongs to what is minimised; 0 where it does not (AdamW, maximize)."""
    values = _scalars(run)
    coupled = values.get("optimizer") in COUPLED and not values.get("decoupled_weight_decay")
    return float(values.get("weight_decay", 0.0)) * (coupled and not values.get("maximize", False))


# -- panels ------------------------------------------------------------------------------------------------------


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
        found.append(Panel(_label(dim, value), runs.isel({dim: i}), below))
    return found


def _label(dim: str, value: Any) -> str:
    """Name one entry of a dimension: a label stands for itself, a number needs its setting's name."""
    return str(value) if isinstance(value, str) else f"{dim} {value:g}"


@dataclass(frozen=True, eq=False)
class Sheet:
    """A figure with one Axes for each panel, placed in inches so that texts have the room they need."""

    figure: Figure
    axes: list[Axes]
    columns: int
    side: float
    look: Style


def _sheet(count: int, ratio: float, look: Style) -> Sheet:
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3 if count <= 9 else 4)
    rows = -(-count // columns)
    ratio = ratio if 0.25 <= ratio <= 4 else 0.85
    left, right, between = 0.66, 0.22, 0.42
    side = {1: 4.4, 2: 2.95, 3: 2.6}.get(columns, 2.2)
    if ratio > 1.6:
        side /= ratio / 1.6
    map_height, above, below, foot = side * ratio, 0.34, 0.62, 0.28
    width = max(left + columns * side + (columns - 1) * between + right, 4.6)
    height = HEADER + rows * (above + map_height + below) + foot
    figure = paper.new_figure(width, height, look)
    axes = []
    for k in range(count):
        row, column = divmod(k, columns)
        x = left + column * (side + between)
        y = height - HEADER - (row + 1) * (above + map_height) - row * below
        axes.append(figure.add_axes((x / width, y / height, side / width, map_height / height)))
    return Sheet(figure, axes, columns, side, look)


def _head(sheet: Sheet, title: str, subtitle: str) -> None:
    width, height = sheet.figure.get_size_inches()
    x = sheet.axes[0].get_position().x0
    sheet.figure.text(
        x, 1 - 0.24 / height, title, size=13, weight="bold", color=sheet.look.ink, va="top", wrap=True
    )
    sheet.figure.text(
        x, 1 - 0.55 / height, subtitle, size=8, color=sheet.look.quiet, va="top", family="DejaVu Sans Mono"
    )


def _trim(ax: Axes, sheet: Sheet, k: int) -> None:
    """Axis names and numbers at the outer edges only; what lies inside shares them."""
    if k % sheet.columns:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    if k + sheet.columns < len(sheet.axes):
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)


def _caption(sheet: Sheet, ax: Axes, text: str, k: int) -> None:
    outer = k + sheet.columns >= len(sheet.axes)
    ax.annotate(
        text,
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(0, -36 if outer else -7),
        textcoords="offset points",
        va="top",
        size=8.2,
        color=sheet.look.ink,
    )


def _landmarks(ax: Axes, panel: Panel, names: tuple[str, str], decay: float, look: Style) -> None:
    """Name the start, mark the lowest point of the grid, and show where a path leaves the map."""
    x, y, _ = marks.trajectory(panel.run, names)
    across, up, values = marks.objective(panel.land, decay)
    track = np.c_[x, y].astype(float)
    taken: list[Bbox] = []
    if np.isfinite(values).any() and not _maximizes(panel.run):
        row, column = np.unravel_index(
            np.nanargmin(np.where(np.isfinite(values), values, np.nan)), values.shape
        )
        ax.plot(
            across[column],
            up[row],
            ls="",
            marker="x",
            ms=5.5,
            mew=1.4,
            color=look.ink,
            zorder=5,
            gid="lowest",
        )
    inside = (track >= [across[0], up[0]]).all(axis=1) & (track <= [across[-1], up[-1]]).all(axis=1)
    if inside[0]:
        taken.append(
            paper.label(
                ax, "start", track[0], look, color=look.accent, avoid=track, boxes=taken
            ).get_window_extent()
        )
    gone = np.flatnonzero(inside[:-1] & ~inside[1:])
    if gone.size and not inside[-1]:
        _leaving(ax, track[gone[-1]], track[gone[-1] + 1], int(gone[-1]) + 1, look, track)


def _maximizes(run: xr.Dataset) -> bool:
    return bool(_scalars(run).get("maximize", False))


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
    ax.add_patch(
        Polygon(shape, closed=True, facecolor=look.accent, edgecolor="none", zorder=4.5, gid="leaves")
    )
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


def _data_axes(runs: xr.Dataset, look: Style, *, named: bool = False) -> tuple[Axes, Any, Any]:
    for name in ("inputs", "targets"):
        if runs[name].dims != ("sample",):
            raise ValueError(
                f"one column of {name} expected to draw points, got dimensions {runs[name].dims}"
            )
    article = look is paper.ARTICLE
    width = 6.4 if article else 7.2 if named else 5.3  # names stand at the right of the curves
    figure = paper.new_figure(width, 4.8, look)
    ax = (
        figure.add_subplot()
        if article
        else figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.3 / 4.8))
    )
    if not article:
        paper.calm(ax, look)
        ax.set_xlabel(runs["inputs"].attrs.get("long_name", "x"))
        ax.set_ylabel(runs["targets"].attrs.get("long_name", "y"))
        ax.grid(color="#e8edf1", lw=0.6)
        ax.set_axisbelow(True)
    return ax, runs["inputs"].values, runs["targets"].values


def _write_head(ax: Axes, title: str, subtitle: str, look: Style) -> None:
    sheet = Sheet(ax.get_figure(), [ax], 1, 0.0, look)  # type: ignore[arg-type]
    _head(sheet, title, subtitle)


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
