"""Strips under a map: what it shows of each step beside what is true, and how sharp the place is for the step's lr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._format import percent
from ravine._study.counted import unit_of, worded
from ravine._study.rule import Reason, Rule, off_plane, rule_of
from ravine.measure._drawn import Misdrawn, find_misdrawn
from ravine.measure._objective import step_values
from ravine.measure._stability import bearable_curvature, sees_all_data
from ravine.plot._canvas.hues import DASHES
from ravine.plot._canvas.labels import FreeSpace, draw_label, literal
from ravine.plot._canvas.layout import Layout, first_fitting
from ravine.plot._canvas.style import Style, calm
from ravine.plot._canvas.ticks import round_numbers, write_ticks
from ravine.plot._canvas.words import number_text
from ravine.plot._map.panels import Panel
from ravine.plot._map.planes import limit_text, off_text, worst_of

Array = NDArray[np.floating[Any]]

TALL, FIRST, OVER, FOOT = 0.85, 0.2, 0.32, 0.42
"""Inches of a strip, over the first and the others for a title, and under the last for the numbers of its steps."""

SPAN = 20.0
"""Ratio of the largest to the smallest value from which a strip's scale is logarithmic."""

HEADROOM = 1e3
"""How far above the first loss one that blows up is followed, where half of it and more lies below."""


def kinds_of(panels: Sequence[Panel]) -> tuple[str, ...]:
    """Return which strips stand under each panel: what any of the runs has numbers for."""
    runs = [run for panel in panels for run in panel.runs]
    kinds = []
    if any(find_misdrawn(run) is not None for run in runs):
        kinds.append("gap")
    if any(map(_has_sharpness, runs)):
        kinds.append("sharpness")
    return tuple(kinds)


def room_for(kinds: Sequence[str]) -> float:
    """Return the inches that strips need under a panel."""
    return FIRST + len(kinds) * (OVER + TALL) - OVER + FOOT if kinds else 0.0


def draw_strips(layout: Layout, k: int, panel: Panel, kinds: Sequence[str], theme: Style) -> None:
    """Draw the strips under a panel, in the room that the layout kept for them."""
    for place, kind in enumerate(kinds):
        down = (FIRST + place * (OVER + TALL)) * layout.scale
        ax = layout.add_under(k, kind, down, TALL * layout.scale)
        draw_strip(ax, kind, panel, theme, layout.scale, last=place == len(kinds) - 1)


def draw_strip(ax: Axes, kind: str, panel: Panel, theme: Style, scale: float = 1.0, *, last: bool = True) -> None:
    """Draw one strip on Axes of its own."""
    calm(ax, theme, _size(8, scale), grid=True)
    (_draw_gap if kind == "gap" else _draw_sharpness)(ax, panel, theme, scale, last)


def _size(points: float, scale: float) -> float:
    return max(6.0, points * scale)


# -- the loss that is drawn ------------------------------------------------------------------------------------------


def _draw_gap(ax: Axes, panel: Panel, theme: Style, scale: float, last: bool) -> None:
    """Draw true loss and drawn loss by step, and name where they are farthest apart."""
    alone = len(panel.runs) == 1
    shown = [(k, run) for k, run in enumerate(panel.runs) if "drawn_loss" in run and "loss" in run]
    losses = {k: [run[name].values.astype(float) for name in ("loss", "drawn_loss")] for k, run in shown}
    whole = [each for pair in losses.values() for each in pair]
    cut = _set_sides(ax, [step_values(run) for _, run in shown], whole, scale)
    wide = 1.0 if len(shown) > 4 else 1.4
    for k, run in shown:
        steps, (true, drawn) = step_values(run), losses[k]
        color = theme.accents[k]
        ax.fill_between(steps, true, drawn, color=color, alpha=0.16, lw=0, zorder=1.5, gid="apart")
        ax.plot(steps, true, color=color, lw=wide, zorder=2.5, gid="true loss")
        ink = theme.ink if alone else color
        ax.plot(steps, drawn, color=ink, lw=0.75 * wide, ls=(0, (3.2, 1.6)), zorder=2.6, gid="drawn loss")
    free = FreeSpace(ax)
    for k, run in shown:
        for each in losses[k]:
            free.line(free.points(np.c_[step_values(run), each]), 1.0)
    worst = worst_of([run for _, run in shown], [panel.names[k] for k, _ in shown])
    for k, run in shown:
        found = find_misdrawn(run)
        if found is not None:
            _mark_gap(ax, found, theme.ink if alone else theme.accents[k])
    if worst is not None:
        name, found = worst
        words = off_text(found) + (f", {percent(found.share)} of the loss's range" if np.isfinite(found.share) else "")
        words = worded(f"{name}: {words}" if name else words, unit_of(shown[0][1]))
        color = theme.ink if alone else theme.accents[panel.names.index(name)]
        if cut and min(each for each in (found.true, found.drawn) if np.isfinite(each)) > ax.get_ylim()[1]:
            words += ", above the cut"
        _write_beside(ax, free, words, _places_of(found, ax), color, theme, scale)
    decay = " without weight decay" * bool(panel.decay)
    titles = (
        f"loss{decay} at each step: true, and drawn beneath it (dashed){cut}",
        f"loss{decay}: true, and drawn (dashed){cut}",
        f"loss{cut}" if cut else f"loss{decay}: true, and drawn (dashed)",
    )
    unit = unit_of(shown[0][1])
    _write_title(ax, [worded(each, unit) for each in titles], theme, scale)
    _number_steps(ax, scale, last, theme, unit)


def _places_of(found: Misdrawn, ax: Axes) -> list[tuple[float, float]]:
    """Return where the words about the largest gap may begin: between the two losses, or at the one that is finite."""
    heights = [each for each in (found.true, found.drawn) if np.isfinite(each)]
    if len(heights) == 2 and ax.get_yscale() == "log" and min(heights) > 0:
        middle = float(np.sqrt(heights[0] * heights[1]))
    else:
        middle = float(np.mean(heights))
    low, high = sorted(ax.get_ylim())
    return [(float(found.step), float(np.clip(each, low, high))) for each in (middle, *heights)]


def _mark_gap(ax: Axes, found: Misdrawn, color: str) -> None:
    """Draw the line between the two losses where they are farthest apart; a cross where only one of them is finite."""
    if np.isfinite(found.off):
        ax.plot([found.step] * 2, [found.true, found.drawn], color=color, lw=1.6, zorder=3, gid="gap")
    else:
        height = found.true if np.isfinite(found.true) else found.drawn
        ax.plot(found.step, height, ls="", marker="X", ms=5.5, mew=0, color=color, zorder=3, gid="gap")


def _write_beside(
    ax: Axes,
    free: FreeSpace,
    words: str,
    places: Sequence[tuple[float, float]],
    color: str,
    theme: Style,
    scale: float,
) -> None:
    """Write words beside the first of these places that has room, shortened where none has."""
    for text in (words, words.partition(", ")[0]):
        for place in places:
            note = draw_label(
                ax, text, place, theme, color=color, free=free, size=_size(7.6, scale), near=4.0, far=260.0
            )
            if note is not None:
                note.set_gid("largest gap")
                return


# -- sharpness ---------------------------------------------------------------------------------------------------------


def _has_sharpness(run: xr.Dataset) -> bool:
    return "sharpness" in run and bool(np.isfinite(run["sharpness"]).any())


def _draw_sharpness(ax: Axes, panel: Panel, theme: Style, scale: float, last: bool) -> None:
    """Draw the largest curvature where it was looked at, and the one that each step's lr bears."""
    alone = len(panel.runs) == 1
    shown = [(k, run) for k, run in enumerate(panel.runs) if _has_sharpness(run)]
    bears = {k: bearable_curvature(run) for k, run in shown}
    limits = {k: each.values for k, each in bears.items() if not isinstance(each, Reason)}
    sharp = {k: run["sharpness"].values.astype(float) for k, run in shown}
    cut = _set_sides(
        ax, [step_values(run) for _, run in shown], list(sharp.values()), scale, beside=list(limits.values()), zero=True
    )
    top = ax.get_ylim()[1]
    for k, run in shown:
        steps, color = step_values(run), theme.accents[k]
        if k in limits:
            limit = limits[k]
            if alone:
                ax.fill_between(
                    steps, np.minimum(limit, top), top, step="post", color=theme.diverging, lw=0, zorder=0.5, gid="over"
                )
            ink, dash = (theme.ink, (0, (1.2, 1.4))) if alone else (color, (0, (1.2, 1.4)))
            ax.plot(steps, limit, drawstyle="steps-post", color=ink, lw=1.1, ls=dash, zorder=2.2, gid="limit")
        looked = np.isfinite(sharp[k])
        ax.plot(steps[looked], sharp[k][looked], color=color, lw=1.2, ls=DASHES[0], zorder=2.5, gid="sharpness")
        if looked.sum() <= 60:
            ax.plot(
                steps[looked], sharp[k][looked], ls="", marker="o", ms=2.6, mew=0, color=color, zorder=2.6, gid="looked"
            )
    free = FreeSpace(ax)
    for k, run in shown:
        looked = np.isfinite(sharp[k])
        free.line(free.points(np.c_[step_values(run)[looked], sharp[k][looked]]), 1.5)
        if k in limits:
            free.line(free.points(np.c_[step_values(run), limits[k]]), 1.0)
    if limits:
        _name_limit(ax, free, [run for _, run in shown], shown, limits, theme, scale)
    whole = "" if all(sees_all_data(run) for _, run in shown) else "whole-batch "
    why, instead = _why_no_limit([each for each in bears.values() if isinstance(each, Reason)])
    beside = f", and its {whole}limit at the lr (dotted)" if limits else f"; no limit: {why}"
    short = f", {whole}limit dotted" if limits else f"; no limit{instead}"
    titles = [f"sharpness, the largest curvature of the loss{beside}", f"sharpness{beside}", f"sharpness{short}"]
    titles = [each + cut for each in titles] + [f"sharpness{cut}"] * bool(cut)
    _write_title(ax, titles, theme, scale)
    _number_steps(ax, scale, last, theme, unit_of(shown[0][1]))


def _why_no_limit(reasons: Sequence[Reason]) -> tuple[str, str]:
    """Say why theory has no limit for any of the runs: whole, and in few words."""
    if all(reason.kind == "other optimizer" for reason in reasons):
        return "theory speaks of torch.optim.SGD", " for this optimizer"
    return "; ".join(dict.fromkeys(map(str, reasons))), ""


def _name_limit(
    ax: Axes,
    free: FreeSpace,
    runs: Sequence[xr.Dataset],
    shown: Sequence[tuple[int, xr.Dataset]],
    limits: dict[int, Array],
    theme: Style,
    scale: float,
) -> None:
    """Write the formula of the limit beside the first of its lines, and its number where it is one."""
    rules = [rule for run in runs if isinstance(rule := rule_of(off_plane(run)), Rule)]
    names = ("momentum", "dampening", "weight_decay", "nesterov")
    text = limit_text({name: [getattr(rule, name) for rule in rules] for name in names})
    k, run = next(each for each in shown if each[0] in limits)
    limit, steps = limits[k], step_values(run)
    if len(set(limit.tolist())) == 1 and len(shown) == 1:
        text += f" = {number_text(float(limit[0]))}"
    low, high = sorted(ax.get_ylim())
    seen = np.flatnonzero(np.isfinite(limit) & (limit >= low) & (limit <= high))
    if not seen.size:
        return
    for place in seen[np.linspace(0, len(seen) - 1, 5).astype(int)]:
        spot = (float(steps[place]), float(limit[place]))
        note = draw_label(
            ax, text, spot, theme, color=theme.ink, free=free, size=_size(7.6, scale), near=2.5, far=14.0, lead=False
        )
        if note is not None:
            note.set_gid("limit")
            return


# -- the frame of a strip ----------------------------------------------------------------------------------------------


def _set_sides(
    ax: Axes,
    steps: Sequence[Array],
    values: Sequence[Array],
    scale: float,
    *,
    beside: Sequence[Array] = (),
    zero: bool = False,
) -> str:
    """Set scale, limits and numbers of a strip, and say where it is cut; `beside` are values that may leave it.

    What blows up late is followed so far that its beginning can be read, and no farther; what is far up for most of
    its steps is shown whole.
    """
    ends = [float(each[k]) for each in steps for k in (0, -1)]
    first, last = min(ends), max(ends)
    edge = 0.02 * (last - first) or 0.5
    ax.set_xlim(first - edge, last + edge)
    found = np.concatenate([each[np.isfinite(each)] for each in values]) if values else np.array([])
    ceiling = HEADROOM * max(
        (abs(float(each[np.isfinite(each)][0])) for each in values if np.isfinite(each).any()), default=1.0
    )
    inside = np.abs(found) <= ceiling
    cut = 2 * int(inside.sum()) >= len(found) > int(inside.sum())
    found = found[inside] if cut else found
    near = [float(each[np.isfinite(each)].min()) for each in beside if np.isfinite(each).any()]
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
    high = max([high, *(each for each in near if each > 0)])
    log = low > 0 and high > SPAN * low
    if log:
        ax.set_yscale("log")
        ax.set_ylim(low / (high / low) ** 0.06, high * (high / low) ** 0.08)
    else:
        low = min(low, 0.0) if zero else low
        room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(low - room * (not zero or low < 0), high + room)
    ax.set_autoscale_on(False)
    ax.minorticks_off()
    bottom, top = ax.get_ylim()
    ticks = write_ticks(round_numbers(bottom if log else max(bottom, low), top, 3, log), log)
    ax.set_yticks(ticks.places, [literal(word) for word in ticks.words])
    return f"; cut at {number_text(top)}" if cut else ""


def _write_title(ax: Axes, titles: Sequence[str], theme: Style, scale: float) -> None:
    """Write the first of these titles that has room over a strip."""
    size, figure = _size(8.2, scale), ax.get_figure()
    assert figure is not None
    words = first_fitting(titles, ax.bbox.width * 72 / figure.dpi, size)
    ax.set_title(literal(words), loc="left", size=size, color=theme.quiet, pad=4 * scale)


def _number_steps(ax: Axes, scale: float, last: bool, theme: Style, unit: str) -> None:
    """Write numbers and name of the steps under the last strip."""
    low, high = ax.get_xlim()
    found = round_numbers(low, high, 6)
    found = found[found == np.round(found)]
    words = [f"{int(each):,}" for each in found]
    ax.set_xticks(found, words if last else [""] * len(words))
    if last:
        ax.set_xlabel(unit, size=_size(8.2, scale), labelpad=2 * scale)
