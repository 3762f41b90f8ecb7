"""Curves: the loss at every step, the data, and what a model makes of it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ravine import study
from ravine.plot import bands, captions, paper
from ravine.plot.board import wrapped
from ravine.plot.gaps import curves_of, draw_curves, folded
from ravine.plot.paper import Figure, Style, style_of
from ravine.plot.sheet import one_axes, wrap_parts, write_head_over
from ravine.words import listed

__all__ = ["fit", "losses", "scatter"]


@paper.drawn
def losses(runs: xr.Dataset, *, title: str | None = None, style: str = "ravine") -> Figure:
    """Draw the loss at every step; where its minimum is known, how much of the way to it is left.

    With ``minimum_loss`` the height is the gap of what is minimised (loss plus coupled weight decay, less its
    minimum) as a share of the gap at the start, on a logarithmic scale: one line at 1 % serves all curves, and a
    dot marks where each arrives (`ravine.measure.arrival`). Without it the height is the loss itself, on a
    logarithmic scale where it is positive and spans more than a factor of 20.

    Losses that are not finite are not drawn; a cross marks where a run diverged. Steps at which the loss was
    not evaluated are passed over. The losses of mini-batches are drawn faint beneath.

    More than eight runs, or runs that differ in more than one dimension, are drawn as a band: their median at
    each step, the middle half, the middle nine tenths, and the best run by its settings: the first to arrive,
    or else the one that ends lowest. Each quantile is the height of one of the runs; a loss that is not finite
    counts as infinitely high. Where one of the dimensions has up to four labels (criteria, say), each of them
    has a band of its own.

    Parameters
    ----------
    runs
        A study with ``loss``; the entries of one dimension of choice each have a curve, up to eight.
    title
        What to see; the settings that were turned, in words, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Raises
    ------
    ValueError
        If there is no run to draw, because torch refused all of the settings.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.descend(ravine.gallery.article(), lr=0.1)
    >>> [line.get_gid() for line in ravine.plot.losses(runs).axes[0].lines[:3]]
    ['MSELoss', 'L1Loss', 'HuberLoss = SmoothL1Loss']
    >>> run = runs.sel(criterion="MSELoss").assign(minimum_loss=0.4994413)
    >>> [text.get_text() for text in ravine.plot.losses(run).axes[0].texts]
    ['arrives at step 12', 'arrived: stays below 1 %']

    Many runs:

    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> many = ravine.join({lr: ravine.descend(bowl, lr=lr, steps=9) for lr in np.linspace(0.05, 1.1, 22)}, dim="lr")
    >>> ax = ravine.plot.losses(many).axes[0]
    >>> [line.get_gid() for line in ax.lines[:2]], "best: lr 0.5" in [text.get_text() for text in ax.texts]
    (['median', 'best'], True)
    """
    look = style_of(style)
    if bands.are_many(runs):
        return _band_figure(runs, title, look)
    curves = curves_of(runs)
    width = 7.2 if curves[0].name else 5.3
    figure = paper.new_figure(width, 4.8, look)
    ax = figure.add_axes((0.66 / width, 0.6 / 4.8, 4.4 / width, 3.2 / 4.8))
    draw_curves(ax, curves, look)
    if look is not paper.ARTICLE:
        write_head_over(
            ax, title or captions.knobs(runs), f"{captions.settings(runs)}   {captions.steps(runs)}".strip(), look
        )
    elif title:
        ax.set_title(title)
    return figure


def _band_figure(runs: xr.Dataset, title: str | None, look: Style) -> Figure:
    """Draw many runs as bands, with room for the names of the best at the right or beneath."""
    drawn = bands.bands_of(runs)
    told = bands.captions_of(drawn, look)
    names = [band.name if told else band.best.name for band in drawn]
    width = max(7.2, 5.4 + max(paper.measure(name, 8.5)[0] for name in names) / 72)
    head = wrapped(title or bands.title(drawn) or captions.knobs(runs), width - 0.8, 13, "bold")
    subtitle = wrap_parts(bands.subtitle(runs, drawn), 0.95 * (width - 0.8), 8)
    above = 0.95 + 0.24 * head.count("\n") + 0.17 * subtitle.count("\n")
    below = 0.6 + 0.2 * len(told)
    height = above + 3.2 + below
    figure = paper.new_figure(width, height, look)
    ax = figure.add_axes((0.66 / width, below / height, 4.4 / width, 3.2 / height))
    bands.draw_bands(ax, drawn, look)
    for k, (line, color) in enumerate(told):
        y = (0.1 + 0.2 * (len(told) - 1 - k)) / height
        figure.text(0.66 / width, y, line, size=8.2, color=color, va="bottom", gid="caption")
    write_head_over(ax, head, subtitle, look)
    return figure


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
    for k, (name, group) in enumerate(folded(lines, lambda run: run["prediction"].values)):
        heights = group["prediction"].values[order]
        color = look.accents[k % len(look.accents)]
        ax.plot(
            x[order],
            heights,
            color=color,
            lw=1.5 if look is not paper.ARTICLE else None,
            zorder=3,
            gid=name or "fit",
        )
        named.append((name, float(heights[-1]), color))
    if look is not paper.ARTICLE and named[0][0]:
        paper.label_at_right(ax, [each for each in named if np.isfinite(each[1])], look)
    if look is not paper.ARTICLE:
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
