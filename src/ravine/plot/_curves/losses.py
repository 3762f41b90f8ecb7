"""losses: the loss at every step, run by run, or of many runs as quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine import measure
from ravine._findings.ramp import are_range_tests
from ravine._format import number, share_of
from ravine._study.contract import check
from ravine._study.provenance import facts_of
from ravine.plot._canvas.hues import Hues, choose_hues
from ravine.plot._canvas.labels import literal, printable
from ravine.plot._canvas.layout import Lines, widest, wrap
from ravine.plot._canvas.sheet import Drawn, Sheet, Words, drawn_on, open_sheet
from ravine.plot._canvas.style import Style, style_on, with_own_settings
from ravine.plot._canvas.words import knobs, settings_text, steps_text
from ravine.plot._curves.curve import (
    HIGHEST,
    Curve,
    choose_hue,
    curves_of,
    draw_curves,
    fold,
    has_gap,
    names_at_right,
)
from ravine.plot._curves.range_test import draw_against_lr

Array = NDArray[np.floating[Any]]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

MOST_GROUPS = 4
"""Entries of a dimension of labels up to which each has a band of its own."""

ABOVE = 10.0
"""How far above the start the border of a band is followed."""

NEEDED = ("loss", "minimum_loss", "position", "error", "steps_taken")


@dataclass(frozen=True, eq=False)
class Band:
    """Quantiles of runs, shape (quantile, step), inf where so many were not finite; and the best of these runs.

    `arrivals` are the steps at which they arrive, inf where they do not or it cannot be told.
    """

    name: str
    steps: Array
    quantiles: Array
    best: Curve
    arrivals: Array
    diverged: int

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.arrivals)

    @property
    def median(self) -> Array:
        """The middle run's height at each step."""
        return np.asarray(self.quantiles[2])

    @property
    def half(self) -> float:
        """The step by which half of the runs have arrived; inf if fewer do."""
        return float(np.sort(self.arrivals)[-(-self.runs // 2) - 1])


def bands_of(runs: xr.Dataset) -> list[Band]:
    """Return one band for all runs, or one for each entry of a short dimension of labels.

    Quantiles are heights of runs that were made (the smallest that so many do not exceed), never in between: a
    run whose loss is not finite counts as infinitely high, and between that and a number there is nothing.
    """
    runs = runs[[name for name in NEEDED if name in runs]]
    dims = [str(dim) for dim in runs["loss"].dims if dim != "step"]
    group = next((d for d in dims if len(dims) > 1 and _is_label(runs, d) and runs.sizes[d] <= MOST_GROUPS), None)
    settings = [dim for dim in dims if dim != group]
    runs = runs.assign_coords({dim: runs[dim] for dim in dims})  # a dimension without labels counts its entries
    parts = [("", runs)]
    if group is not None:
        parts = [(str(label), runs.isel({group: k})) for k, label in enumerate(runs[group].values)]
    flat = [(name, _stack_settings(part, settings)) for name, part in parts]
    share = all(has_gap(part) for _, part in flat)
    if not share:
        flat = [(name, part.drop_vars("minimum_loss", errors="ignore")) for name, part in flat]
    joined = fold(flat, lambda part: part["loss"].values) if group is not None else flat
    return [_make_band(name, part, settings, share) for name, part in joined]


def _is_label(runs: xr.Dataset, dim: str) -> bool:
    return runs[dim].dtype.kind in "USO"


def _stack_settings(runs: xr.Dataset, settings: Sequence[str]) -> xr.Dataset:
    """Lay all settings along one dimension, those that torch refused left out: they made no run."""
    flat = runs.stack(setting=settings, create_index=False).transpose("setting", ...)
    if "error" in flat:
        flat = flat.isel(setting=np.flatnonzero(flat["error"].values == ""))
    if not flat.sizes["setting"]:
        raise ValueError("there are no runs to draw: torch refused all of the settings")
    return flat


def _make_band(name: str, runs: xr.Dataset, settings: Sequence[str], share: bool) -> Band:
    if share:
        gap = measure.gap(runs)
        heights = (gap / gap.isel(step=0)).transpose("setting", "step").values
    else:
        heights = runs["loss"].transpose("setting", "step").values.astype(float)
    finite = np.isfinite(runs["loss"].transpose("setting", "step").values) & (np.abs(heights) < HIGHEST)
    seen = measure.evaluated(runs).transpose("setting", "step").values
    heights = np.where(seen, np.where(finite, heights, np.inf), np.nan)
    looked = seen.any(axis=0)
    steps = runs["step"].values if "step" in runs.coords else np.arange(runs.sizes["step"])
    arrivals = measure.arrival(runs).transpose("setting").values if share else np.full(len(heights), np.inf)
    arrivals = np.where(np.isnan(arrivals), np.inf, arrivals)
    best = _find_best(heights, arrivals)
    chosen = ", ".join(_value_text(dim, runs[dim].values[best]) for dim in settings)
    (curve,) = curves_of(runs.isel(setting=best))
    return Band(
        name,
        np.asarray(steps, dtype=float)[looked],
        _quantiles(heights[:, looked], seen[:, looked].sum(axis=0)),
        replace(curve, name=f"best: {chosen}"),
        arrivals,
        int(measure.diverged(runs).sum()),
    )


def _quantiles(heights: Array, counts: NDArray[np.integer[Any]]) -> Array:
    """Return for each step the smallest height that such a share of the runs do not exceed; NaN is no run."""
    ordered = np.sort(heights.T, axis=1)  # NaN comes last
    ranks = np.maximum(np.ceil(np.outer(counts, QUANTILES) - 1e-9).astype(int) - 1, 0)
    return np.asarray(np.take_along_axis(ordered, ranks, axis=1).T)


def _find_best(heights: Array, arrivals: Array) -> int:
    """Return which run arrives first; of those, or if none does, which ends lowest."""
    last = np.where(np.isnan(heights), -1, np.arange(heights.shape[1])).max(axis=1)
    return int(np.lexsort((heights[np.arange(len(heights)), last], arrivals))[0])


def _value_text(dim: str, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return f"{dim.replace('_', ' ')} {bool(value)}"
    return str(value) if isinstance(value, str) else f"{dim.replace('_', ' ')} {number(value)}"


def draw_quantile_bands(ax: Axes, bands: Sequence[Band], theme: Style) -> None:
    """Draw the median of each band, and its middle half; alone, the best run and the middle nine tenths too."""
    alone, drawn = len(bands) == 1, len(ax.lines)
    accents = (theme.accents[1],) if alone else theme.accents
    curves, colors, kinds = [], [], []
    for band, color in zip(bands, accents, strict=False):
        for curve, kind in _curves_of(band, alone=alone):
            curves.append(curve)
            colors.append(theme.accent if kind == "best" else color)
            kinds.append(kind)
    draw_curves(ax, curves, theme, Hues(tuple(colors), ("-",) * len(colors)))
    for line, kind in zip(ax.lines[drawn:], kinds, strict=False):  # the curves come before all else of ours
        line.set_gid(kind)
        if kind == "quantile":
            line.set(linewidth=0.5, alpha=0.4)
    for band, color in zip(bands, accents, strict=False):
        _fill_between(ax, band, (1, 3), color, 0.22 if alone else 0.11, "middle half")
        if alone:
            _fill_between(ax, band, (0, 4), color, 0.12, "nine tenths")


def _curves_of(band: Band, *, alone: bool) -> list[tuple[Curve, str]]:
    """Return the lines of a band, and what each is."""
    middle = _cut_heights(band.median)
    named = band.name or "median" * bool(np.isfinite(middle[-1]))  # one that leaves the picture needs no name there
    median = Curve(named, band.steps, middle, None, np.nan, np.nan, band.best.share)
    best = replace(band.best, name="") if band.diverged == band.runs else band.best
    quantiles = [replace(median, name="", heights=_cut_heights(band.quantiles[k])) for k in (1, 3)]
    return [(median, "median"), *[(best, "best")] * alone, *((each, "quantile") for each in quantiles)]


def _fill_between(ax: Axes, band: Band, between: tuple[int, int], color: str, alpha: float, gid: str) -> None:
    """Fill between two quantiles; what is infinite goes beyond the border of the picture."""
    low, high = ax.get_ylim()
    reach = (low / 10, high * 10) if ax.get_yscale() == "log" else (2 * low - high, 2 * high - low)
    under, over = (np.clip(band.quantiles[k], *reach) for k in between)
    ax.fill_between(band.steps, under, over, color=color, alpha=alpha, lw=0, zorder=1.2, gid=gid)


def _cut_heights(heights: Array) -> Array:
    """Return heights as far as they are worth following upwards; NaN beyond."""
    start = heights[np.isfinite(heights)][:1]
    top = ABOVE * float(np.abs(start[0])) if start.size and start[0] else np.inf
    return np.where(np.isfinite(heights) & (heights <= top), heights, np.nan)


def bands_title(bands: Sequence[Band]) -> str:
    """Say how the best and the middle run compare; empty where it is not known when they arrive.

    With several bands it says so of each middle run.
    """
    if not any(np.isfinite(band.arrivals).any() for band in bands):
        return ""
    if len(bands) > 1:
        parts = [f"{b.name} {f'by step {b.half:.0f}' if np.isfinite(b.half) else 'never'}" for b in bands]
        return f"Half of the runs arrive: {', '.join(parts)}"
    (band,) = bands
    head = f"The best of {band.runs:,} runs arrives at step {band.best.arrival:.0f}"
    if np.isfinite(band.half):
        return f"{head}, half by step {band.half:.0f}"
    return f"{head}; {share_of(int(np.isfinite(band.arrivals).sum()), band.runs)} arrive"


LOST = "what is not finite counts as infinite"


def bands_subtitle(runs: xr.Dataset, bands: Sequence[Band]) -> list[str]:
    """Say which settings were turned, what the bands are, and what became of runs that diverged."""
    count, diverged = sum(band.runs for band in bands), sum(band.diverged for band in bands)
    lost = bool(diverged) or any(bool(np.isinf(band.quantiles).any()) for band in bands)
    turned = [
        _range_text(runs, str(dim)) for dim in runs["loss"].dims if dim != "step" and not _is_label(runs, str(dim))
    ]
    parts = [
        settings_text(runs),
        *turned,
        steps_text(runs),
        f"quantiles of {count:,} runs",
        "; ".join(filter(None, (f"{diverged:,} diverged" * bool(diverged), LOST * lost))),
        "bands: middle half and nine tenths" if len(bands) == 1 else "lines: medians, bands: middle half",
    ]
    return [part for part in parts if part]


def _range_text(runs: xr.Dataset, dim: str) -> str:
    values = runs[dim].values
    first, last = (_value_text(dim, values[k]) for k in (0, -1))
    return f"{first} … {last.removeprefix(dim.replace('_', ' ')).strip()}"


def captions_of(bands: Sequence[Band], theme: Style) -> list[tuple[str, str]]:
    """Say under several bands which run was best in each, and how it did."""
    lines = []
    for band, color in zip(bands, theme.accents, strict=False):
        arrival = band.best.arrival
        did = f"arrives at step {arrival:.0f}" if np.isfinite(arrival) else "ends lowest"
        lines.append((f"{band.name}, {band.best.name}, {did}", color))
    return lines if len(bands) > 1 else []


@with_own_settings
def losses(
    runs: xr.Dataset,
    *,
    hue: str | None = None,
    band: bool = False,
    x: Literal["step", "lr"] | None = None,
    ax: Drawn | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Drawn:
    """Draw the loss at every step; where its minimum is known, how much of the way to it is left.

    With ``minimum_loss`` the height is the gap of what is minimised (loss plus coupled weight decay, less its
    minimum) as a share of the gap at the start, on a logarithmic scale: one line at 1 % serves all curves, and a
    dot marks where each arrives (`ravine.measure.arrival`). Without it the height is the loss itself, on a
    logarithmic scale where it is positive and spans more than a factor of 20.

    Up to 24 runs each have a curve. Where their setting is a number the colours are a ramp, on a logarithmic scale
    where the numbers are spaced so; each curve bears its number, beyond ten runs a bar says which is which. Names have
    colours and dashes, and several optimizers are named with their settings. Losses that are not finite are not drawn;
    a cross marks where a run diverged. Steps at which the loss was not evaluated are passed over. The losses of
    mini-batches are drawn faint beneath.

    As a band, any number of runs is drawn as their median at each step, the middle half, the middle nine tenths, and
    the best run by its settings: the first to arrive, or else the one that ends lowest. Each quantile is the height of
    one of the runs; a loss that is not finite counts as infinitely high. Where one of the dimensions has up to four
    labels (criteria, say), each of them has a band of its own.

    Parameters
    ----------
    runs
        A study with ``loss``; up to 24 runs, or as many as there are with `band`.
    hue
        The setting that gives the colours, of runs that differ in several; the first that holds numbers, if left out.
    band
        Whether to draw what the runs have in common, instead of each.
    x
        ``"step"``, or ``"lr"``, which it is for a `ravine.range_test` where nothing is said: the loss itself against
        the learning rate of its step, as a run with a scheduler can be read too. The lowest loss is marked, and a
        cross where the losses are no longer finite; where the lr rises throughout also where the loss falls most, and
        the first lr that is over the limit of the curvature there.
    ax
        An Axes of yours to draw on. Its figure, title, frame and fonts stay as they are, and what is drawn on it
        already stays in sight.
    title
        What to see; the settings that were turned, in words, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure, to be written with ``.savefig(path)``; or `ax`, if it was given.

    Raises
    ------
    ValueError
        If there are more than 24 runs and `band` is not asked for; if there is no run to draw, because torch refused
        all of the settings; if `hue` is nothing in which they differ; if `x` is neither of the two, or there was no
        scheduler to draw the loss against.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.descend(ravine.gallery.article(), lr=0.1)
    >>> [line.get_gid() for line in ravine.plot.losses(runs).axes[0].lines[:3]]
    ['MSELoss', 'L1Loss', 'HuberLoss = SmoothL1Loss']
    >>> run = runs.sel(criterion="MSELoss").assign(minimum_loss=0.4994413)
    >>> [text.get_text() for text in ravine.plot.losses(run).axes[0].texts]
    ['arrives at step 12', 'arrived: stays below 1 %']

    On Axes of yours:

    >>> import matplotlib.pyplot as plt
    >>> figure, (left, right) = plt.subplots(1, 2)
    >>> ravine.plot.losses(runs.sel(criterion="L1Loss"), ax=right) is right
    True
    >>> plt.close(figure)

    Many runs:

    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> many = ravine.join({lr: ravine.descend(bowl, lr=lr, steps=9) for lr in np.linspace(0.02, 0.44, 22)}, dim="lr")
    >>> len([line for line in ravine.plot.losses(many).axes[0].lines if "lr" in line.get_gid()])
    22
    >>> ax = ravine.plot.losses(many, band=True).axes[0]
    >>> [line.get_gid() for line in ax.lines[:2]], "best: lr 0.44" in [text.get_text() for text in ax.texts]
    (['median', 'best'], True)
    """
    theme = style_on(style, ax)
    if x not in (None, "step", "lr"):
        raise ValueError(f'x must be "step" or "lr", got {x!r}')
    check(runs, "loss")
    x = x or ("lr" if are_range_tests(runs) and not band else "step")
    if band and x == "step":
        return drawn_on(_draw_band(runs, ax, title, theme), ax)
    words = Words(title, knobs(runs), [settings_text(runs), steps_text(runs)])
    ramp = facts_of(runs, "loss", "range_test")
    if ramp:  # its lr is that of the first step alone
        bare, (low, high) = runs.drop_vars("lr", errors="ignore"), ramp[0]
        words = Words(
            title, f"{knobs(bare)}: lr {number(low)} … {number(high)}", [settings_text(bare), steps_text(runs)]
        )
    if x == "lr":
        sheet = open_sheet(ax, theme, words, tall=3.2, aside=2.1 if runs["loss"].ndim > 1 else 0.25)
        draw_against_lr(sheet.ax, runs, theme)
        return drawn_on(sheet, ax)
    curves = curves_of(runs, hue)
    name = choose_hue(runs, [str(dim) for dim in runs["loss"].dims if dim != "step"], hue)
    hues = choose_hues(name or "", [curve.value for curve in curves], theme)
    aside = 0.25 if len(curves) == 1 else 1.5 if hues.bar is not None else _aside_of(names_at_right(curves))

    def draw(lines: Lines) -> Sheet:
        sheet = open_sheet(ax, theme, replace(words, lines=lines), tall=3.2, aside=aside)
        if hues.bar is not None:
            sheet.draw_bar(hues.bar, hues.heading, 0.2)
        draw_curves(sheet.ax, curves, theme, hues)
        return sheet

    looks = zip(hues.colors, hues.dashes, strict=True) if hues.bar is None else ()
    return drawn_on(_draw_named(draw, curves, list(looks), aside), ax)


BENEATH = 4.4
"""Inches that names beneath the curves have, besides the room at their right."""


def _draw_named(
    draw: Callable[[Lines], Sheet], curves: Sequence[Curve], looks: Sequence[tuple[str, Any]], aside: float
) -> Sheet:
    """Draw curves; those whose names found no room, as of one that leaves the picture early, are named beneath.

    On the user's Axes there is a legend of them. `looks` are the colour and the dashes of each.
    """
    sheet = draw(())
    written = [text.get_text() for text in sheet.ax.texts]
    unnamed = []
    for curve, look in zip(curves, looks, strict=False):
        name = literal(curve.name)
        if name and not any(each == name or each.startswith(f"{name}: ") for each in written):
            unnamed.append((curve.name, *look))
    if unnamed and sheet.own:
        return draw(_lines_of(unnamed, BENEATH + aside))
    if unnamed and sheet.ax.get_legend() is None:
        handles = {str(line.get_gid()): line for line in sheet.ax.lines}
        lines = [handles[printable(name)] for name, *_ in unnamed]
        sheet.ax.legend(lines, [literal(name) for name, *_ in unnamed], fontsize="small")
    return sheet


def _lines_of(unnamed: Sequence[tuple[str, str, Any]], inches: float) -> list[tuple[str, str]]:
    """Return lines that name curves in their colours; what shares a colour is told by its dashes."""
    lines = []
    for name, color, dash in unnamed:
        words = name if dash == "-" else f"{name} (dashed)"
        lines += [(line, color) for line in wrap(words, inches, 8.2).split("\n")]
    return lines


def _aside_of(names: Sequence[str]) -> float:
    """Return the inches that names at the right of the curves need."""
    return max(2.1, widest(names, 8.5) / 72 + 0.4) if names else 0.25


def _draw_band(runs: xr.Dataset, ax: object, title: str | None, theme: Style) -> Sheet:
    """Draw many runs as bands, with room for the names of the best at the right or beneath."""
    drawn = bands_of(runs)
    captions = captions_of(drawn, theme)
    words = Words(title, bands_title(drawn) or knobs(runs), bands_subtitle(runs, drawn))
    looks = [(theme.accent, "-")] if len(drawn) == 1 else []  # of several each best is in the captions
    curves = [curve for band in drawn for curve, _ in _curves_of(band, alone=len(drawn) == 1)]
    aside = _aside_of(names_at_right(curves))

    def draw(lines: Lines) -> Sheet:
        sheet = open_sheet(ax, theme, replace(words, lines=[*captions, *lines]), tall=3.2, aside=aside)
        draw_quantile_bands(sheet.ax, drawn, theme)
        return sheet

    return _draw_named(draw, [drawn[0].best] if drawn[0].diverged < drawn[0].runs else [], looks, aside)
