"""How a run came down: its loss, or the gap that is left, as a curve with what happened on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from ravine import measure
from ravine._format import hint, listed
from ravine._study.contract import at_or_by, check
from ravine._study.counted import unit_of, worded
from ravine.measure._arrival import broken_for_good
from ravine.plot._canvas.hues import MOST, Hues, choose_hues
from ravine.plot._canvas.labels import (
    CELL,
    Box,
    FreeSpace,
    draw_label,
    draw_labels_at_right,
    make_room_at_right,
    printable,
    text_size,
)
from ravine.plot._canvas.sheet import limits_of, name_axes, settle, widen
from ravine.plot._canvas.style import Style, calm, halo, is_users
from ravine.plot._canvas.words import label_text, number_text, race_names, short_label

Array = NDArray[np.floating[Any]]

LOWEST = 1e-6
"""Share of the gap at the start below which nothing is drawn: what is left there is soon rounding."""

HEADROOM = 1e3
"""How far above its start, or above the runs that stay finite, one that blows up is followed."""

HIGHEST = 1e300
"""Beyond this an axis overflows."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What one run's curve shows: heights at the steps that were looked at, and what happened on the way."""

    name: str
    steps: Array
    heights: Array
    batch: Array | None
    arrival: float
    broken: float
    share: bool
    value: Any = ""
    unit: str = "step"


def curves_of(runs: xr.Dataset, hue: str | None = None) -> list[Curve]:
    """Return a curve for each run, those that are equal in every bit under one name; `hue` gives each its value."""
    check(runs, "loss")
    share = has_gap(runs)
    made = [(name, value, _make_curve("", run, share)) for name, value, run in runs_apart(runs, "loss", hue)]
    folded = fold([(name, (value, curve)) for name, value, curve in made], lambda each: each[1].heights)
    return [replace(curve, name=name, value=value) for name, (value, curve) in folded]


def runs_apart(runs: xr.Dataset, variable: str, hue: str | None = None) -> list[tuple[str, Any, xr.Dataset]]:
    """Return each run with its name and its value of `hue`; complain where they are too many to be told apart."""
    dims = [str(d) for d in runs[variable].dims if d not in ("step", "sample", "share")]
    line = choose_hue(runs, dims, hue)
    count = math.prod(runs.sizes[dim] for dim in dims)
    if count > MOST:
        where = listed(f"{dim!r} ({runs.sizes[dim]})" for dim in dims)
        raise ValueError(
            f"{count:,} curves are too many to tell apart (at most {MOST}): select some along {where}, for example "
            "with runs.isel, or draw what they have in common with ravine.plot.losses(runs, band=True) (--band)"
        )
    if line is None:
        return [("", "", runs)]
    found = []
    for place in itertools.product(*(range(runs.sizes[dim]) for dim in dims)):
        run = runs.isel(dict(zip(dims, place, strict=True)))
        parts = [short_label(dim, v) for dim, v in _values_at(runs, dims, place, line)]
        found.append(
            (", ".join(parts), run[line].values.item() if line in run.coords else place[dims.index(line)], run)
        )
    names = [name for name, *_ in found]
    if len(set(names)) < len(names):
        names = [", ".join(label_text(d, run[d].values.item()) for d in dims if d in run.coords) for *_, run in found]
    names = race_names([run for *_, run in found], names)
    return [(name, value, run) for name, (_, value, run) in zip(names, found, strict=True)]


def choose_hue(runs: xr.Dataset, dims: Sequence[str], hue: str | None) -> str | None:
    """Return the setting whose values give the colours: the one that is asked for, or the first that holds numbers."""
    along = [str(name) for name, each in runs.coords.items() if each.ndim == 1 and each.dims[0] in dims]
    if hue is None:
        numbers = [dim for dim in dims if dim in runs.coords and runs[dim].dtype.kind in "iuf"]
        return next(iter([*numbers, *dims]), None)
    if hue not in (*dims, *along):
        if not dims:
            raise ValueError(f"there is one run only, and hue tells several apart: leave it out, got {hue!r}")
        there = f"they differ in {listed(dict.fromkeys([*dims, *along]))}{hint(hue, [*dims, *along])}"
        raise ValueError(f"runs do not differ in {hue!r}; {there}: choose one of these as hue, or leave it out")
    return hue


def _values_at(runs: xr.Dataset, dims: Sequence[str], place: Sequence[int], line: str) -> list[tuple[str, Any]]:
    """Return what names a run: its value of the hue, then its place along all other dimensions."""
    own = str(runs[line].dims[0]) if line in runs.coords else line
    spots = dict(zip(dims, place, strict=True))
    named = [line, *(dim for dim in dims if dim != own)]
    return [(n, runs[n].values[spots[own if n == line else n]] if n in runs.coords else spots[n]) for n in named]


def has_gap(runs: xr.Dataset) -> bool:
    """Tell whether the gap of what is minimised is known, and above zero at the start of each run."""
    if "minimum_loss" not in runs or ("maximize" in runs.coords and bool(runs["maximize"].any())):
        return False
    start = measure.gap(runs).isel(step=0)
    return bool((np.isfinite(start) & (start > 0)).all())


def _make_curve(name: str, run: xr.Dataset, share: bool) -> Curve:
    loss = run["loss"].values
    steps = run["step"].values if "step" in run.coords else np.arange(len(loss))
    finite = np.isfinite(loss)
    later = np.append(np.logical_or.accumulate(finite[::-1])[::-1][1:], False)
    # a NaN with a finite loss after it was not looked at, even where the study does not say so
    seen = measure.evaluated(run).values & ~(np.isnan(loss) & later)
    zero, unit = (run["minimum_loss"].item(), measure.gap(run).values[0]) if share else (0.0, 1.0)
    heights = (measure.objective(run).values - zero) / unit if share else loss
    heights = np.where(finite & (np.abs(loss.astype(float)) < HIGHEST), heights, np.nan)
    batch = None
    if "batch_loss" in run:
        batch = run["batch_loss"].values.astype(float)
        if share:
            batch = (measure.objective(run.assign(loss=run["batch_loss"])).values - zero) / unit
        batch = np.where((batch > 0 if share else np.isfinite(batch)) & (np.abs(batch) < HIGHEST), batch, np.nan)
    return Curve(
        name,
        steps[seen],
        heights[seen],
        None if batch is None else np.c_[steps, batch],
        measure.arrival(run).item() if share else np.nan,
        float(broken_for_good(run).values),
        share,
        unit=unit_of(run),
    )


LED = 4
"""Curves up to which a line may lead from the words on arrival to their dot: among more it would cross them."""

WORDED = 8
"""Curves up to which words say when each arrives; of more, dots tell."""


def draw_curves(ax: Axes, curves: Sequence[Curve], theme: Style, hues: Hues | None = None) -> FreeSpace:
    """Draw curves with their names at the right and what happened on the way; return what room is left."""
    held = limits_of(ax)
    calm(ax, theme, grid=True)
    hues = hues or choose_hues("", [curve.name for curve in curves], theme)
    colors = hues.colors
    for curve, color, dash in zip(curves, colors, hues.dashes, strict=True):
        if curve.batch is not None:
            ax.plot(
                *curve.batch.T, ls="", marker=".", ms=3, mew=0, color=color, alpha=0.4, zorder=1.5, gid="batch_loss"
            )
        how: dict[str, Any] = {"color": color, "ls": dash, "lw": 1.5 if len(curves) <= WORDED else 1.2, "zorder": 2.5}
        ax.plot(curve.steps, curve.heights, gid=printable(curve.name) or "loss", **how)
    _set_scale(ax, curves)
    widen(ax, held)
    over = curves[0].share and not is_users(ax)
    name_axes(ax, curves[0].unit, "" if over else "share of the gap left" if curves[0].share else "loss")
    if over:
        ax.set_title("gap to the minimum, as a share of the start's", loc="left", size=8.5, color=theme.quiet)
    named = [] if hues.bar is not None else [curve.name for curve in curves]
    if is_users(ax):
        settle(ax)
    edge = make_room_at_right(ax, named)
    if curves[0].share and theme.head:
        ax.axhline(measure.SHARE, color=theme.quiet, lw=0.7, ls=(0, (1, 3)), zorder=2, gid="share")
    free = _mark_events(ax, curves, colors, theme)
    if hues.bar is not None:
        return free
    low, high = ax.get_ylim()
    ends = [(c.name, last_of(c.heights, high), color) for c, color in zip(curves, colors, strict=True)]
    kept = [end for end in ends if end[0] and (low <= end[1] <= high or edge == 0)]
    if kept:
        draw_labels_at_right(ax, kept, theme, edge=edge)
    return free


def names_at_right(curves: Sequence[Curve]) -> list[str]:
    """Return the names that stand at the right of the curves: of those that do not leave the picture before."""
    low, high = _share_limits(curves) if curves[0].share else (-np.inf, np.inf)
    return [curve.name for curve in curves if curve.name and low <= last_of(curve.heights, high) <= high]


def last_of(heights: Array, otherwise: float) -> float:
    """Return the last finite height."""
    finite = heights[np.isfinite(heights)]
    return float(finite[-1]) if finite.size else otherwise


def _set_scale(ax: Axes, curves: Sequence[Curve]) -> None:
    """Choose the scale, and limits that a curve which blows up, or sinks into rounding, does not stretch."""
    values = np.concatenate([curve.heights for curve in curves])
    values = values[np.isfinite(values)]
    calm = np.concatenate([c.heights[np.isfinite(c.heights)] for c in curves if np.isnan(c.broken)] or [values[:0]])
    ceiling = HEADROOM * float(np.abs(calm).max()) if calm.size else np.inf
    ax.margins(x=0.02)
    if curves[0].share:
        ax.set_yscale("log")
        ax.set_ylim(*_share_limits(curves))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{number_text(100 * v)} %"))
        ax.yaxis.set_minor_locator(NullLocator())
    elif values.size and values.min() > 0 and values.max() > 20 * values.min():
        ax.set_yscale("log")
        if values.max() > ceiling:
            ax.set_ylim(top=ceiling)
    elif values.size and values.max() > ceiling:
        ax.set_ylim(float(calm.min()), ceiling)
    ax.autoscale_view()  # it would wait until the figure is drawn
    ax.set_autoscale_on(False)


def _share_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the lowest and the highest share that is drawn."""
    values = np.concatenate([curve.heights for curve in curves])
    values = values[np.isfinite(values)]
    low = min(max(float(values[values > 0].min()), LOWEST), measure.SHARE / 3)
    high = min(float(values.max()), HEADROOM)
    return low / 1.4, high * (high / low) ** 0.04


def _mark_events(ax: Axes, curves: Sequence[Curve], colors: Sequence[str], theme: Style) -> FreeSpace:
    """Mark where curves arrive, leave and diverged, and say what the quiet line is."""
    free = FreeSpace(ax)
    for curve in curves:
        free.line(free.points(np.c_[curve.steps, curve.heights]))
    low, high = ax.get_ylim()
    for curve, color in zip(curves, colors, strict=True):
        spots: list[tuple[str, int, str, str]] = []
        if np.isfinite(curve.arrival):
            k = int(np.flatnonzero(curve.steps == curve.arrival)[0])
            when = at_or_by(curve.steps[np.isfinite(curve.heights)], curve.arrival)
            words = f"arrives {when} step {curve.arrival:.0f}" if curve.arrival else "within rounding from the start"
            spots.append((worded(words, curve.unit), k, "o", "arrival"))
        drawn = np.flatnonzero((curve.heights >= low) & (curve.heights <= high))
        leaves = drawn.size > 0 and not low <= last_of(curve.heights, low) <= high
        if np.isfinite(curve.broken) and drawn.size:
            words = worded(f"diverged at step {curve.broken:.0f}", curve.unit)
            spots.append(
                (f"{curve.name}: {words}" if leaves and curve.name else words, int(drawn[-1]), "X", "diverged")
            )
        elif leaves and curve.name:
            spots.append((curve.name, int(drawn[-1]), "", "leaves"))
        for words, k, marker, gid in spots:
            if gid == "leaves" and len(curves) > WORDED:
                continue
            spot = (
                _exit(curve, k, high) if leaves and gid != "arrival" else (curve.steps[k], max(curve.heights[k], low))
            )
            size = 6.5 if len(curves) <= WORDED else 5.0
            ax.plot(*spot, ls="", marker=marker, ms=size, mew=1.2, mec=theme.ground, mfc=color, zorder=4, gid=gid)
            free.mark(free.points([spot]), 4.0)
            if len(curves) > WORDED:
                continue
            draw_label(ax, words, spot, theme, color=color, free=free, lead=len(curves) <= LED or gid != "arrival")
    if curves[0].share:
        _name_line(ax, free, theme, [curve.batch for curve in curves if curve.batch is not None])
    return free


def _exit(curve: Curve, k: int, high: float) -> tuple[float, float]:
    """Return where a curve leaves through the top after its k-th height; elsewhere its k-th point."""
    here, there = curve.heights[k], curve.heights[min(k + 1, len(curve.heights) - 1)]
    if not (there > high and here > 0):
        return float(curve.steps[k]), float(here)
    share = np.log(high / here) / np.log(there / here)
    return float(curve.steps[k] + share * (curve.steps[k + 1] - curve.steps[k])), high


def _name_line(ax: Axes, free: FreeSpace, theme: Style, dots: Sequence[Array]) -> None:
    """Say what the quiet line is, at an end of it where there is room, or where it hides the fewest dots."""
    words = f"arrived: stays below {measure.SHARE * 100:g} %"
    width, height = text_size(words, 7.5)
    up = free.points([[ax.get_xlim()[0], measure.SHARE]])[0, 1]
    first, last = width / 2 + 4, free.size[0] - width / 2 - 4
    spots = free.points(np.concatenate(dots)) if dots else np.empty((0, 2))

    def hidden(box: Box) -> int:
        return int((np.abs(spots - [box.x, box.y]) < [width / 2 + 1, height / 2 + 1]).all(axis=1).sum())

    along = [last, first, free.size[0] / 2, *(np.arange(last, first, -CELL) if dots else ())]
    boxes = (Box(float(x), y, width, height) for x, y in itertools.product(along, (up - 8, up + 8)))
    box = min((each for each in boxes if _is_free(free, each)), key=hidden, default=None)
    if box is not None:
        spot = box.x / free.size[0], box.y / free.size[1]
        note = ax.annotate(words, spot, xycoords="axes fraction", ha="center", va="center", size=7.5, zorder=3)
        note.set(color=theme.quiet, path_effects=halo(theme))
        free.box(box)


def _is_free(free: FreeSpace, box: Box) -> bool:
    spare = free.has_room(box.width, box.height)
    row, column = int((box.y - box.height / 2) / CELL), int((box.x - box.width / 2) / CELL)
    return bool(0 <= row < spare.shape[0] and 0 <= column < spare.shape[1] and spare[row, column])


Kind = TypeVar("Kind")


def fold(entries: Sequence[tuple[str, Kind]], numbers: Callable[[Kind], Array]) -> list[tuple[str, Kind]]:
    """Join what is equal in every bit under one name."""
    joined: list[tuple[str, Kind]] = []
    for name, thing in entries:
        for k, (other, first) in enumerate(joined):
            if np.array_equal(numbers(first), numbers(thing), equal_nan=True):
                joined[k] = (f"{other} = {name}", first)
                break
        else:
            joined.append((name, thing))
    return joined
