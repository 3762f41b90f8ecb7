"""stability: how much of the distance to the minimum a step leaves, in theory and in the runs that were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine import measure, theory
from ravine._format import MINUS, listed, number, share_of
from ravine._study.contract import check_kind
from ravine._study.rule import RATE_SETTINGS
from ravine.measure._stability import curvatures, is_exact, why_no_theory
from ravine.plot._canvas.labels import FreeSpace, draw_label, printable
from ravine.plot._canvas.sheet import Drawn, Words, drawn_on, limits_of, name_axes, open_sheet, settle, widen
from ravine.plot._canvas.style import Style, calm, is_users, style_on, with_own_settings
from ravine.plot._canvas.ticks import round_numbers, write_ticks
from ravine.plot._canvas.words import label_text, number_text, settings_text, steps_text
from ravine.plot._curves.by_step import draw_by_step, has_curvature

Array = NDArray[np.floating[Any]]

MOST = 6
"""Curves that can be told apart."""

POINTS = 600
"""Learning rates at which a curve is computed, evenly on the logarithmic axis."""

TOP = 1.25
"""Rate above which nothing is drawn: there a run is beyond what a few steps allow."""

HUES = (*RATE_SETTINGS, "weight_decay")
"""Settings of which each value may have a curve."""


@dataclass(frozen=True, eq=False)
class RateCurve:
    """Theory and runs of one value of the setting: rates at `lr`, NaN where a run has none; best lr and its rate.

    `refused` tells which runs torch refused to make: they have no rate.
    """

    name: str
    lr: Array
    theory: Array
    limit: float
    best: tuple[float, float] | None
    made: Array
    measured: Array
    expected: Array
    refused: NDArray[np.bool_]


@with_own_settings
def stability(
    runs: xr.Dataset,
    x: str = "lr",
    *,
    ax: Drawn | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Drawn:
    """Draw at which learning rates runs are stable, and how fast they are there: theory, and each run as a dot.

    The height is the factor by which a step shrinks the distance to the minimum, in the long run: below 1 a run
    converges, above it does not. A curve is that of the slowest mode of the quadratic that fits the loss at its
    minimum (`ravine.theory.rate`), a dot the rate of a run that was made (`ravine.measure.rate`). A ring marks where
    a curve meets 1, the limit of stability, and a diamond the best learning rate (`ravine.theory.best_lr`). Both are
    exact where the loss is a quadratic; elsewhere they hold near the minimum, and the figure says so.

    Parameters
    ----------
    runs
        A sweep of SGD over lr on one problem whose ``hessian`` at the minimum is known; each value of one more
        setting (momentum, dampening, nesterov, weight_decay), up to six, has a curve. Or one run or several with
        ``sharpness``, from `ravine.eigenvalues`: it is then drawn by step, under the largest that the lr of each step
        bears, and the smallest curvature with it; of Adam the preconditioned one.
    x
        The setting along the horizontal axis: lr.
    ax
        An Axes of yours to draw on; its figure, title, frame and fonts stay as they are.
    title
        What to see; the fastest of the curves, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure, to be written with ``.savefig(path)``; or `ax`, if it was given.

    Raises
    ------
    ValueError
        If theory does not speak of these runs (no ``hessian``, another optimizer, a scheduler), the curvature at the
        minimum is zero, x is not lr, or the runs differ in more than lr and one setting of up to six values.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.sweep(ravine.gallery.quadratic(), lr=np.geomspace(0.03, 3, 40), momentum=[0, 0.5])
    >>> figure = stability(runs)
    >>> " ".join(figure.texts[0].get_text().split())
    'Fastest: momentum 0.5 at lr 1.36, each step leaves 0.7071 of the distance'
    >>> [text.get_text() for text in figure.texts if text.get_gid() == "caption"][0]
    'momentum 0: stable below lr 1; fastest at lr 0.9091, a step leaves 0.8182'

    Notes
    -----
    G. Goh, "Why Momentum Really Works", Distill 2017; by step: Cohen et al., "Gradient Descent on Neural Networks
    Typically Occurs at the Edge of Stability", ICLR 2021.
    """
    check_kind(runs)
    theme = style_on(style, ax)
    if has_curvature(runs):
        return drawn_on(draw_by_step(runs, ax, title, theme), ax)
    made = _without_refused(runs)
    curves = _read_curves(made, x)
    exact = bool(is_exact(made).values.all())
    lines = [(_caption(curve), color) for curve, color in zip(curves, _colors(curves, theme), strict=True)]
    shown = sum(curve.made.size for curve in curves)
    lines += [(line, theme.quiet) for line in _agreement(curves, _count_runs(runs) - shown)]
    words = Words(title, _title(curves, exact), _subtitle(made, exact), lines)
    sheet = open_sheet(ax, theme, words, tall=3.5, wide=6.29)
    _draw_all(sheet.ax, curves, theme)
    return drawn_on(sheet, ax)


def _read_curves(runs: xr.Dataset, x: str) -> list[RateCurve]:
    """Read theory and runs, or say what must be selected or made first."""
    if x != "lr":
        raise ValueError(f"x must be 'lr', got {x!r}: theory has a limit for the learning rate; {x!r} may be the hue")
    objection = why_no_theory(runs)
    if objection is not None:
        by_step = "; sharpness is drawn by step, after run.assign(ravine.eigenvalues(problem, run))"
        raise ValueError(f"no stability to draw: {objection}{by_step * ('lr' not in runs.dims)}")
    single = [dim for dim in runs.dims if runs.sizes[dim] == 1 and dim not in ("lr", "step", "parameter", "parameter_")]
    runs = runs.squeeze(single)
    rates = measure.rate(runs)
    if "lr" not in rates.dims or rates.sizes["lr"] < 2:
        raise ValueError(
            "the runs do not lie along 'lr': make them with ravine.sweep(problem, lr=[…]); of one run sharpness is "
            "drawn by step, after run.assign(ravine.eigenvalues(problem, run))"
        )
    others = [str(dim) for dim in rates.dims if dim != "lr"]
    if len(others) > 1 or not set(others) <= set(HUES):
        wrong = next((dim for dim in others if dim not in HUES), others[-1])
        first = runs[wrong].values[0].item()
        raise ValueError(
            f"the runs differ in {listed(others)} besides lr; a figure shows one problem, and one of "
            f"{listed(HUES)}: select the others, for example ravine.at(runs, {wrong}={first!r})"
        )
    if others and rates.sizes[others[0]] > MOST:
        raise ValueError(
            f"{rates.sizes[others[0]]} curves are too many to tell apart: select at most {MOST} along {others[0]!r}"
        )
    runs, rates = runs.sortby("lr"), rates.sortby("lr")
    if not others:
        return [_make_rate_curve("", runs, rates)]
    (hue,) = others
    parts = range(runs.sizes[hue])
    return [_make_rate_curve(_name(hue, runs[hue].values[k]), runs.isel({hue: k}), rates.isel({hue: k})) for k in parts]


def _without_refused(runs: xr.Dataset) -> xr.Dataset:
    """Leave out the values of a setting with which torch made no run at all: there is nothing to draw a curve for."""
    for name in HUES:
        if "error" in runs and name in runs["error"].dims:
            refused = runs["error"] != ""
            some = ~refused.all([dim for dim in refused.dims if dim != name]).values
            runs = runs.isel({name: some}) if some.any() else runs
    return runs


def _count_runs(runs: xr.Dataset) -> int:
    """Return how many runs lie along lr and the setting that has curves."""
    return int(np.prod([runs.sizes[dim] for dim in ("lr", *HUES) if dim in runs.dims]))


def _name(hue: str, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return hue if value else f"no {hue}"
    return label_text(hue, float(value))


def _make_rate_curve(name: str, run: xr.Dataset, rates: xr.DataArray) -> RateCurve:
    modes = curvatures(run).values
    modes = modes[np.isfinite(modes)]
    if not modes.size:
        raise ValueError(
            "no stability to draw: the curvature at the minimum is zero or not known, or the minimum lies on a kink, "
            "as that of L1Loss does, so theory has neither a limit nor a rate"
        )
    settings = {n: float(np.squeeze(run[n].values)) for n in RATE_SETTINGS}
    made = run["lr"].values.astype(float)
    placed = made[(made > 0) & np.isfinite(made)]
    if not placed.size:
        raise ValueError("no stability to draw: no learning rate is above 0, and the axis is logarithmic")
    lr = np.geomspace(placed.min(), placed.max(), POINTS)
    refused = (made < 0) | (run["error"].values != "" if "error" in run else False)
    best: tuple[float, float] | None = None
    if not (settings["nesterov"] and settings["dampening"]):
        found = theory.best_lr(modes, **settings)
        best = (float(found.lr), float(found.rate)) if np.isfinite(found.lr) else None
    return RateCurve(
        name,
        lr,
        _slowest(modes, lr, settings),
        theory.stability_limit(modes, **settings),
        best,
        made,
        rates.values.astype(float),
        _slowest(modes, np.where(made < 0, np.nan, made), settings),
        np.asarray(refused),
    )


def heights_of(curves: Sequence[RateCurve]) -> tuple[float, float]:
    """Return the lowest and the highest rate of the picture: most of it is for what converges."""
    lowest = min(float(np.nanmin(curve.theory)) for curve in curves)
    seen = [curve.measured[np.isfinite(curve.measured) & (curve.measured <= TOP)] for curve in curves]
    lowest = min([lowest, *(float(each.min()) for each in seen if each.size)])
    bottom = max(1.0 - 1.15 * (1.0 - lowest), 0.0)
    return bottom, 1.0 + 0.22 * (1.0 - bottom)


def in_sight(curve: RateCurve, heights: tuple[float, float]) -> NDArray[np.bool_]:
    """Tell which runs have a place on the axes: a learning rate above 0, and a rate that is known and not too large."""
    return np.asarray(
        (curve.made > 0) & np.isfinite(curve.made) & (curve.measured >= heights[0]) & (curve.measured <= heights[1])
    )


def _slowest(modes: Array, lr: Array, settings: dict[str, float]) -> Array:
    """Return the rate of the slowest mode at each lr."""
    return np.asarray(theory.rate(modes[:, None], lr, **settings).max(axis=0))


def _colors(curves: list[RateCurve], theme: Style) -> list[str]:
    return [theme.accents[k % len(theme.accents)] for k in range(len(curves))]


def _title(curves: list[RateCurve], exact: bool) -> str:
    """Say which learning rate is best, and of which curve; where theory is local, that it is so near the minimum."""
    found = [(curve, curve.best) for curve in curves if curve.best is not None]
    if not found:
        return "No learning rate makes every mode converge"
    least = min(best[1] for _, best in found)
    first = [each for each in found if np.isclose(each[1][1], least, rtol=1e-9, atol=1e-12)]
    left = f"each step leaves {number_text(least)} of the distance"
    near = "" if exact else " near the minimum"
    if len(first) > 1:
        return f"Equally fast{near} at their best, {left}: {', '.join(curve.name for curve, _ in first)}"
    curve, best = first[0]
    where = f"at lr {number(best[0])}, {left}"
    return f"Fastest{near}: {curve.name} {where}" if len(curves) > 1 else f"Fastest{near} {where}"


def _caption(curve: RateCurve) -> str:
    """Say the limit and the best learning rate of one curve."""
    parts = []
    if 0 < curve.limit < np.inf:
        parts.append(f"stable below lr {number_text(curve.limit)}")
    if curve.best is not None:
        parts.append(f"fastest at lr {number_text(curve.best[0])}, a step leaves {number_text(curve.best[1])}")
    text = "; ".join(parts) or "never stable"
    return f"{curve.name}: {text}" if curve.name else text[0].upper() + text[1:]


NEAR = 0.05
"""How far a measured rate may be from theory's to count as equal, as a share of theory's distance to 1."""


def is_near(measured: Array, expected: Array) -> NDArray[np.bool_]:
    """Tell which measured rates agree with theory, by what a run loses in a step: 1 less the rate.

    Of rates 0.98 and 0.99 the second is twice as slow, though they differ by a hundredth.

    Examples
    --------
    >>> is_near(np.array([0.5, 0.98]), np.array([0.51, 0.99])).tolist()
    [True, False]
    """
    return np.asarray(abs(measured - expected) <= NEAR * abs(1.0 - expected) + ROUNDING)


ROUNDING = 1e-6
"""What rounding may leave of a difference at the limit itself, where theory's distance to 1 is nothing."""


def _agreement(curves: list[RateCurve], without: int = 0) -> list[str]:
    """Count the runs that do as theory says, and those that have no dot; those `without` a curve were refused."""
    measured, expected = (
        np.concatenate([getattr(curve, name) for curve in curves]) for name in ("measured", "expected")
    )
    known = np.isfinite(measured) & np.isfinite(expected)
    refused = np.concatenate([curve.refused for curve in curves]) & ~known
    no = without + int(refused.sum())
    torch = [f"torch refuses {no:,} run{'s' * (no > 1)}"] * bool(no)
    if not known.any():
        return ["no run moved for long enough to measure its rate", *torch]
    near = int(is_near(measured[known], expected[known]).sum())
    count, rest = int(known.sum()), int((~known & ~refused).sum())
    heights = heights_of(curves)
    beyond = int(sum((np.isfinite(curve.measured) & ~in_sight(curve, heights)).sum() for curve in curves))
    share = share_of(near, count)
    lines = [f"dots: in {share} of the {count:,} measured runs, 1 {MINUS} rate is within {100 * NEAR:g} % of theory's"]
    who, have = ("run", "has") if beyond == 1 else ("runs", "have")
    left = [f"{beyond:,} {who} with lr 0 or a rate over {number(heights[1])} {have} no dot"] * bool(beyond)
    left += [f"{rest:,} {'run was' if rest == 1 else 'runs were'} too short or too wild to measure"] * bool(rest)
    left += torch
    return lines + ["; ".join(left)] * bool(left)


def _subtitle(runs: xr.Dataset, exact: bool) -> list[str]:
    """Write the fixed settings, the curvatures, and how far theory holds."""
    modes = curvatures(runs).values
    modes = modes[np.isfinite(modes)]
    ends = list(dict.fromkeys(number_text(float(each)) for each in (modes.min(), modes.max())))
    flat = bool(np.isnan(curvatures(runs).values).any())
    parts = [
        settings_text(runs.drop_vars([n for n in ("lr",) if n in runs.coords])),
        steps_text(runs) if "step" in runs.sizes else "",
        f"curvature{'s' * (len(ends) > 1)} at the minimum: {' … '.join(ends)}" + ", flat directions left out" * flat,
        "exact: the loss is quadratic" if exact else "lines: local theory, from the curvature at the minimum",
    ]
    return [part for part in parts if part]


def _draw_all(ax: Axes, curves: list[RateCurve], theme: Style) -> None:
    """Draw curves, dots and marks, and name each curve where there is room."""
    low, high = curves[0].lr[0], curves[0].lr[-1]
    bottom, top = heights_of(curves)
    held = limits_of(ax)
    ax.set(xscale="log", xlim=(low * (low / high) ** 0.02, high * (high / low) ** 0.02), ylim=(bottom, top))
    widen(ax, held)
    ax.set_autoscale_on(False)
    calm(ax, theme)
    ax.minorticks_off()
    across = write_ticks(round_numbers(*ax.get_xlim(), 9, log=True), log=True)
    up = write_ticks(round_numbers(*ax.get_ylim(), 9))
    ax.set_xticks(across.places, across.words)
    ax.set_yticks(up.places, up.words)
    name_axes(ax, "lr", "share of the distance that a step leaves" if is_users(ax) else "")
    if not is_users(ax):
        ax.set_title("share of the distance to the minimum that a step leaves", loc="left", size=8.5, color=theme.quiet)
    if is_users(ax):
        settle(ax)
    bottom, top = ax.get_ylim()
    ax.axhspan(1.0, top, color=theme.diverging, lw=0, zorder=0.5, gid="diverging")
    ax.axhline(1.0, color=theme.quiet, lw=0.8, zorder=1.5, gid="border")
    free = FreeSpace(ax)
    free.line(free.points([(low, 1.0), (high, 1.0)]), 1.0)
    colors = _colors(curves, theme)
    for curve, color in zip(curves, colors, strict=True):
        ax.plot(curve.lr, curve.theory, color=color, lw=1.4, zorder=2.5, gid=printable(f"theory {curve.name}".strip()))
        dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 3.8, "mew": 0.9, "mec": color, "mfc": theme.ground}
        shown = in_sight(curve, (bottom, top))
        spots = np.c_[curve.made, curve.measured][shown]
        ax.plot(*spots.T, zorder=3, gid=printable(f"measured {curve.name}".strip()), **dots)
        free.line(free.points(np.c_[curve.lr, curve.theory]), 2.0)
        free.mark(free.points(spots), 3.0)
    for curve, color in zip(curves, colors, strict=True):
        _mark_ends(ax, curve, free, color, theme)
    for curve, color in zip(curves, colors, strict=True):
        _name_curve(ax, curve, free, color, theme)
    sides = (("grows", (1.0 + top) / 2, theme.accent), ("shrinks", 1.0 - 0.07 * (top - bottom), theme.quiet))
    for words, y, color in sides:
        note = draw_label(ax, words, (low, y), theme, color=color, free=free, near=0.0, lead=False)
        if note is not None:
            note.set(style="italic", gid="region", path_effects=[])


def _mark_ends(ax: Axes, curve: RateCurve, free: FreeSpace, color: str, theme: Style) -> None:
    """Mark the limit and the best learning rate of one curve."""
    low, high = ax.get_xlim()
    if low <= curve.limit <= high:
        ring: dict[str, Any] = {"ls": "", "marker": "o", "ms": 7.5, "mew": 1.8, "mec": color, "mfc": theme.ground}
        ax.plot(curve.limit, 1.0, zorder=4, gid="limit", **ring)
        free.mark(free.points([(curve.limit, 1.0)]), 5.0)
    if curve.best is not None and low <= curve.best[0] <= high:
        diamond: dict[str, Any] = {"ls": "", "marker": "D", "ms": 6.5, "mew": 1.1, "mec": theme.ink, "mfc": color}
        ax.plot(*curve.best, zorder=4.5, gid="best", **diamond)
        free.mark(free.points([curve.best]), 4.0)


def _name_curve(ax: Axes, curve: RateCurve, free: FreeSpace, color: str, theme: Style) -> None:
    """Write the limit beside its ring where there is room, and the curve's name beside its best, or along it."""
    low, high = ax.get_xlim()
    best = curve.best if curve.best is not None and low <= curve.best[0] <= high else None
    words = curve.name or (f"fastest at lr {number_text(best[0])}" if best is not None else "")
    along = (np.linspace(0.7, 0.05, 14) * (len(curve.lr) - 1)).astype(int)
    spots = [(float(curve.lr[k]), float(curve.theory[k])) for k in along if curve.theory[k] <= 1]
    if best is not None:
        spots.insert(0, best)
    tries = [(spot, False) for spot in spots] + [(spot, True) for spot in spots[:1]]
    for spot, lead in tries if words else []:
        note = draw_label(ax, words, spot, theme, color=color, free=free, size=8.2, near=4.0, lead=lead)
        if note is not None:
            note.set(gid="curve", path_effects=[])
            break
    if low <= curve.limit <= high:
        text, spot = number_text(curve.limit), (curve.limit, 1.0)
        note = draw_label(ax, text, spot, theme, color=color, free=free, size=7.6, near=5.0, lead=False)
        if note is not None:
            note.set(gid="limit", path_effects=[])
