"""The loss against the learning rate at which it was reached, as learning-rate range tests are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine import measure
from ravine._format import number
from ravine._study.contract import check
from ravine.measure._ramp import Place, find_broken, find_lowest, find_over_limit, find_steepest, rates_of
from ravine.plot._canvas.hues import choose_hues
from ravine.plot._canvas.labels import FreeSpace, draw_label, draw_labels_at_right, make_room_at_right
from ravine.plot._canvas.sheet import limits_of, name_axes, widen
from ravine.plot._canvas.style import Style, calm
from ravine.plot._curves.curve import HEADROOM, HIGHEST, runs_apart

Array = NDArray[np.floating[Any]]

WIDE = 20.0
"""Largest over smallest from which a scale is logarithmic."""


def draw_against_lr(ax: Axes, runs: xr.Dataset, theme: Style) -> None:
    """Draw the loss of each run against its lr, with the lowest marked and a cross where it is no longer finite.

    Where the lr rises throughout it is marked too where the loss falls most, and which lr is the first over the limit
    of the curvature there; losses of mini-batches lie faint beneath.
    """
    check(runs, "loss")
    if "scheduled_lr" not in runs:
        raise ValueError(
            "the study has no 'scheduled_lr' (lr at position[step]) to draw the loss against: make it with "
            "ravine.range_test(problem, lr=(1e-5, 10)), or make the run with a scheduler"
        )
    held = limits_of(ax)
    calm(ax, theme)
    parts = runs_apart(runs, "loss")
    hues = choose_hues("", [name for name, *_ in parts], theme)
    curves = [(name, *_points_of(run)) for name, _, run in parts]
    ends = []
    for (_, _, run), color in zip(parts, hues.colors, strict=True):
        if "batch_loss" in run:
            ax.plot(
                rates_of(run),
                np.where(np.isfinite(run["batch_loss"].values), run["batch_loss"].values, np.nan),
                ls="",
                marker=".",
                ms=3,
                mew=0,
                alpha=0.4,
                color=color,
                zorder=1.5,
                gid="batch_loss",
            )
    for (name, rates, losses, _), color, dash in zip(curves, hues.colors, hues.dashes, strict=True):
        ax.plot(rates, losses, color=color, ls=dash, lw=1.5, zorder=2.5, gid=name or "loss")
        if len(losses):
            ends.append((name, float(losses[-1]), color))
    _set_scales(ax, curves)
    for (_, _, run), (_, rates, losses, broken), color in zip(parts, curves, hues.colors, strict=True):
        _mark(ax, run, rates, losses, broken, color, theme)
    limits = [found for _, _, run in parts if isinstance(found := find_over_limit(run), Place)]
    for found in limits:
        ax.axvline(found.lr, color=theme.quiet, lw=0.9, ls=(0, (1.2, 1.4)), zorder=1.8, gid="limit")
    name_axes(ax, "lr", "loss")
    widen(ax, held)
    edge = make_room_at_right(ax, [name for name, *_ in curves])
    low, high = ax.get_ylim()
    free = FreeSpace(ax)
    for _, rates, losses, _ in curves:
        free.line(free.points(np.c_[rates, losses]))
    named = [end for end in ends if end[0] and low <= end[1] <= high]
    if named:
        draw_labels_at_right(ax, named, theme, edge=edge)
    for found in limits:
        free.line(free.points([(found.lr, low), (found.lr, high)]), 1.0)
    for (_, _, run), (_, rates, losses, broken), color in zip(parts, curves, hues.colors, strict=True):
        if not len(losses):
            continue
        best, inside = int(losses.argmin()), np.flatnonzero((losses >= low) & (losses <= high))
        lowest = find_lowest(run)
        notes = [] if lowest is None else [(f"lowest at lr {number(lowest.lr)}", best)]
        if np.isfinite(broken) and len(inside):
            notes.append((f"diverged at lr {number(broken)}", int(inside[-1])))
        steepest = find_steepest(run)
        if steepest is not None:
            k = int(np.flatnonzero(rates == steepest.lr)[0])
            dot: dict[str, Any] = {"ls": "", "marker": "o", "ms": 6.0, "mew": 1.6, "mec": color, "mfc": theme.ground}
            ax.plot(rates[k], losses[k], zorder=4, gid="steepest", **dot)
            notes.append((f"falls most at lr {number(steepest.lr)}", k))
        for words, place in notes:
            spot = (float(rates[place]), float(losses[place]))
            free.mark(free.points([spot]), 4.0)
            draw_label(ax, words, spot, theme, color=color, free=free)
    for found in limits[:1]:
        spot = (found.lr, float(np.sqrt(low * high) if ax.get_yscale() == "log" else (low + high) / 2))
        words = f"first lr over its limit: {number(found.lr)}"
        note = draw_label(ax, words, spot, theme, color=theme.quiet, free=free, near=4.0)
        if note is not None:
            note.set_gid("limit")


def _points_of(run: xr.Dataset) -> tuple[Array, Array, float]:
    """Return lr and loss where the loss was evaluated and is finite, and the lr with which that ended, or NaN."""
    losses = run["loss"].transpose("step").values.astype(float)
    rates = rates_of(run)
    seen = measure.evaluated(run).values
    good = np.isfinite(losses) & (np.abs(losses) < HIGHEST) & np.isfinite(rates)
    broken = find_broken(run)
    return rates[good & seen], losses[good & seen], np.nan if broken is None else broken.lr


def _mark(ax: Axes, run: xr.Dataset, rates: Array, losses: Array, broken: float, color: str, theme: Style) -> None:
    if not len(losses):
        return
    style: dict[str, Any] = {"ls": "", "ms": 6.5, "mew": 1.2, "mec": theme.ground, "mfc": color, "zorder": 4}
    lowest = find_lowest(run)
    if lowest is not None:
        ax.plot(lowest.lr, lowest.found, marker="o", gid="lowest", **style)
    inside = np.flatnonzero(losses <= ax.get_ylim()[1])
    if np.isfinite(broken) and len(inside):
        ax.plot(rates[inside[-1]], losses[inside[-1]], marker="X", gid="diverged", **style)


def _set_scales(ax: Axes, curves: list[tuple[str, Array, Array, float]]) -> None:
    """Choose logarithmic scales where numbers span much; what blows up is followed so far and no farther."""
    rates = np.concatenate([each[1] for each in curves])
    losses = np.concatenate([each[2] for each in curves])
    if not len(losses):
        return
    if rates.min() > 0 and rates.max() > WIDE * rates.min():
        ax.set_xscale("log")
    start = max(abs(each[2][0]) for each in curves if len(each[2]))
    top = HEADROOM * start if start else np.inf
    if losses.min() > 0 and losses.max() > WIDE * losses.min():
        ax.set_yscale("log")
        if losses.max() > top:
            ax.set_ylim(losses.min() / 1.4, top)
    elif losses.max() > top:
        ax.set_ylim(losses.min(), top)
    ax.margins(x=0.02)
    ax.autoscale_view()
    ax.set_autoscale_on(False)
