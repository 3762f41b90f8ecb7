"""panel: one run as a path, as a curve and as a fit, tied together by the same numbered steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._study.contract import axes, check
from ravine._study.origin import surface_for
from ravine.measure._objective import step_values
from ravine.plot._canvas.labels import FreeSpace, draw_label, draw_labels_at_right, literal
from ravine.plot._canvas.layout import write_head_over
from ravine.plot._canvas.sheet import refuse_axes
from ravine.plot._canvas.style import Figure, Style, calm, new_figure, style_of, with_own_settings
from ravine.plot._canvas.words import coupled_decay, knobs, settings_text, steps_text
from ravine.plot._curves.curve import Curve, curves_of, draw_curves
from ravine.plot._curves.fit import draw_data, lines_of, name_data
from ravine.plot._map.marks import comparable, objective, path, surface, trajectory
from ravine.plot._map.planes import map_error_text

Array = NDArray[np.floating[Any]]
Steps = NDArray[np.integer[Any]]

CANDIDATES = (0, 1, 2, 5)
"""Steps that may be marked, times every power of ten."""

APART = 15.0
"""Points that marked steps keep from each other, on the map and on the curve alike."""


@with_own_settings
def panel(
    run: xr.Dataset,
    land: xr.Dataset | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Figure:
    """Draw one run three ways, linked by numbered steps: its path, its curve, and what the model learned.

    The marked steps are those of 0, 1, 2, 5, 10, 20, 50 … that keep clear of each other, and the last. At each,
    the fit shows the model's line, where the model is one: where weight and bias at the end give `prediction`
    to rounding. Otherwise it shows the prediction at the end; without one column of data it is left out.

    Parameters
    ----------
    run
        One run with ``position`` of two parameters and ``loss``; ``inputs``, ``targets``, ``prediction`` and
        ``minimum_loss`` are drawn where they are.
    land
        A study with ``surface`` over these two parameters; left out, as in `ravine.plot.descent`.
    ax
        Refused: the picture has several panels, and the message names the function of each.
    title
        What to see; the settings that were turned, in words, if left out.
    style
        ``"ravine"`` or ``"article"``.

    Raises
    ------
    ValueError
        As `ravine.plot.path` does: if there is more than one run, or other than two parameters.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> run, land = ravine.descend(problem, lr=0.1), ravine.surface(problem, points=21)
    >>> figure = ravine.plot.panel(run, land)
    >>> [ax.get_label() for ax in figure.axes]
    ['path', 'loss', 'fit']
    """
    refuse_axes(ax, "panel draws a map, a curve and a fit", "draw them with plot.descent, plot.losses and plot.fit")
    theme = style_of(style)
    land = surface_for(run, land, "ravine.plot.panel")
    names = axes(land)
    if "criterion" in land["surface"].dims and "criterion" in run.coords and run["criterion"].ndim == 0:
        land = land.sel(criterion=run["criterion"])
    check(run, "position", "loss")
    x, y, _ = trajectory(run, names)
    track = np.c_[x, y].astype(float)
    across, up, _ = objective(land)
    ratio = float(np.ptp(up) / np.ptp(across)) if comparable(across, up) else 1.0
    map_ax, curve_ax, fit_ax = _place_axes(ratio, _has_points(run), theme)
    decay = coupled_decay(run)
    surface(land, map_ax, weight_decay=dict(decay) if isinstance(decay, tuple) else decay, style=style)
    path(run, map_ax, axes=names, style=style)
    if "criterion" in run.coords and theme.head:
        map_ax.set_title(
            literal(str(run["criterion"].values)), loc="left", size=10.5, weight="bold", color=theme.ink, pad=6
        )
    (curve,) = curves_of(run)
    free = draw_curves(curve_ax, [curve], theme)
    steps = step_values(run)
    places = _choose_places(map_ax, curve_ax, track, steps, curve)
    shown = [int(step) for step in steps[places]]
    _number_steps(map_ax, shown, track[places], track, theme)
    heights = dict(zip(curve.steps.tolist(), curve.heights.tolist(), strict=True))
    spots = np.array([[step, heights.get(step, np.nan)] for step in shown], dtype=float)
    _number_steps(curve_ax, shown, spots, np.c_[curve.steps, curve.heights], theme, free)
    if fit_ax is not None:
        _draw_fits(fit_ax, run, dict(zip(places, shown, strict=True)), theme)
    if theme.head:
        parts = [settings_text(run), steps_text(run), "the numbers are steps", map_error_text([run], [""])]
        write_head_over(map_ax, title or literal(knobs(run)), "   ".join(filter(None, parts)), theme)
    elif title:
        map_ax.set_title(title)
    return map_ax.get_figure()  # type: ignore[return-value]


def _place_axes(ratio: float, has_fit: bool, theme: Style) -> tuple[Axes, Axes, Axes | None]:
    """Place a map at the left, and at the right the curve above the fit, or the curve alone."""
    ratio = float(np.clip(ratio, 0.25, 4))
    tall = 3.8
    wide = tall / ratio if ratio >= 1 else tall
    tall = wide * ratio if ratio < 1 else tall
    right, gap, side = 2.7, 0.85, 0.62
    body = max(tall, 3.6 if has_fit else 2.2)
    width, height = side + wide + gap + right + 0.5, 0.6 + body + 1.15
    figure = new_figure(width, height, theme)

    def place(name: str, x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / width, y / height, w / width, h / height), label=name)

    map_ax = place("path", side, 0.6 + body - tall, wide, tall)
    x = side + wide + gap
    if not has_fit:
        return map_ax, place("loss", x, 0.6, right, min(body, 3.3)), None
    each = (body - 0.85) / 2
    return map_ax, place("loss", x, 0.6 + each + 0.85, right, each), place("fit", x, 0.6, right, each)


def _has_points(run: xr.Dataset) -> bool:
    return all(name in run and run[name].dims == ("sample",) for name in ("inputs", "targets", "prediction"))


def _choose_places(map_ax: Axes, curve_ax: Axes, track: Array, steps: Steps, curve: Curve) -> list[int]:
    """Choose places along the run that can be seen, and kept apart, on both pictures.

    They are those recorded nearest to steps 0, 1, 2, 5, 10 …, and the last.
    """
    last = len(track) - 1
    powers = 10 ** np.arange(int(np.log10(max(int(steps[-1]), 1))) + 1)
    wanted = sorted({0, *(int(c * p) for p in powers for c in CANDIDATES if c * p < steps[-1])})
    candidates = list(dict.fromkeys(int(np.abs(steps - each).argmin()) for each in wanted))
    heights = dict(zip(curve.steps.tolist(), curve.heights.tolist(), strict=True))
    rooms = FreeSpace(map_ax), FreeSpace(curve_ax)

    def spots(place: int) -> Array:
        """Where the place is on both pictures, in points; NaN on one that does not show it."""
        step = int(steps[place])
        pair = track[place], [step, heights.get(step, np.nan)]
        points = np.concatenate([free.points([at]) for free, at in zip(rooms, pair, strict=True)])
        inside = [(p >= -1).all() and (p <= free.size + 1).all() for p, free in zip(points, rooms, strict=True)]
        return np.where(np.array(inside)[:, None], points, np.nan)

    kept: list[int] = []
    for place in [0, last, *candidates[1:]]:
        here = spots(place)
        clear = all(not (np.hypot(*(here - spots(other)).T) < APART).any() for other in kept)
        if (np.isfinite(here[0]).all() and clear) or (place == last and np.isfinite(track[place]).all()):
            kept.append(place)
    return sorted(set(kept))


def _number_steps(
    ax: Axes, steps: Sequence[int], spots: Array, track: Array, theme: Style, free: FreeSpace | None = None
) -> None:
    """Put a dot and its step's number at these places."""
    if free is None:
        free = FreeSpace(ax)
        free.line(free.points(track))
    places = free.points(spots)
    free.mark(places, 4.0)
    seen = (places >= -1).all(axis=1) & (places <= free.size + 1).all(axis=1)
    for step, spot in ((steps[k], spots[k]) for k in np.flatnonzero(seen).tolist()):
        ax.plot(*spot, ls="", marker="o", ms=5.5, mew=1.2, mec=theme.ground, mfc=theme.accent, zorder=4.5, gid="marked")
        draw_label(ax, str(step), spot, theme, color=theme.ink, free=free, size=8, near=3.5, far=40.0)


def _draw_fits(ax: Axes, run: xr.Dataset, steps: Mapping[int, int], theme: Style) -> None:
    """Draw the data with the model's line at these places and steps, or with the prediction at the end alone."""
    x, y = run["inputs"].values.astype(float), run["targets"].values.astype(float)
    calm(ax, theme, grid=True)
    draw_data(ax, x, y, theme)
    name_data(ax, run)
    ax.margins(0.06)
    ends = np.array([x.min(), x.max()])
    low, high = ax.get_ylim()
    pad = 0.6 * (high - low)  # lines that start far off show which way they come from
    ax.set(xlim=ax.get_xlim(), ylim=(low - pad, high + pad))
    lines = lines_of(run)
    if lines is None:
        order = np.argsort(x, kind="stable")
        ax.plot(x[order], run["prediction"].values[order], color=theme.accent, lw=1.6, zorder=3, gid="fit")
        return
    free = FreeSpace(ax)
    free.mark(free.points(np.c_[x, y]), 2.5)
    for k, (place, step) in enumerate(steps.items()):
        slope, height = lines[place]
        share = (k + 1) / len(steps)
        line = slope * ends + height
        ax.plot(
            ends, line, color=theme.accent, lw=0.8 + 0.8 * share, alpha=0.3 + 0.7 * share, zorder=3, gid=f"step {step}"
        )
        free.line(free.points(np.c_[ends, line]), 1.0)
    top, ends_inside = ax.get_ylim(), []
    for place, step in steps.items():
        slope, height = lines[place]
        seen = np.linspace(float(ends[0]), float(ends[1]), 200)
        inside = (slope * seen + height > top[0]) & (slope * seen + height < top[1])
        if inside[-1]:
            ends_inside.append((str(step), float(slope * ends[1] + height), theme.ink))
        elif inside.any():  # named where it leaves the picture
            spot = float(seen[inside][-1]), float(slope * seen[inside][-1] + height)
            draw_label(ax, str(step), spot, theme, color=theme.ink, free=free, size=8, near=2.0, far=40.0)
    if ends_inside:
        draw_labels_at_right(ax, ends_inside, theme, size=8)
