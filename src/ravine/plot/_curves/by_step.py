"""Sharpness by step, under the limit of each step's lr: what `stability` draws of runs whose curvature is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ravine._findings.edge import edge
from ravine._findings.explain import with_batch_loss
from ravine._findings.run import runs_of
from ravine._format import names, percent_at_most, steps
from ravine._study.contract import check
from ravine._study.counted import unit_of
from ravine._study.rule import Rule, off_plane, rule_of
from ravine.measure._adam import Edge, find_edge
from ravine.measure._stability import sees_all_data
from ravine.plot._canvas.hues import choose_hues
from ravine.plot._canvas.labels import FreeSpace, draw_label, draw_labels_at_right, make_room_at_right, printable
from ravine.plot._canvas.layout import widest
from ravine.plot._canvas.sheet import Sheet, Words, limits_of, name_axes, open_sheet, settle, widen
from ravine.plot._canvas.style import Style, calm, is_users
from ravine.plot._canvas.words import knobs, number_text, settings_text, steps_text
from ravine.plot._curves.curve import last_of, runs_apart
from ravine.plot._map.planes import limit_text

DOTTED = 80
"""Places up to which each has a dot."""

HEADROOM = 4.0
"""How far above the limits curvature is followed, before its curve leaves at the top."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One run: its name, its curvature against its limit, and the smallest curvature where that is known."""

    name: str
    run: xr.Dataset
    edge: Edge
    lowest: np.ndarray | None


def has_curvature(runs: xr.Dataset) -> bool:
    """Tell whether anybody looked at the curvature along these runs.

    Examples
    --------
    >>> import ravine
    >>> has_curvature(ravine.descend(ravine.gallery.quadratic(), steps=1))
    False
    """
    named = ("sharpness", "preconditioned_sharpness")
    return any(name in runs and bool(np.isfinite(runs[name]).any()) for name in named)


def draw_by_step(runs: xr.Dataset, ax: object, title: str | None, theme: Style) -> Sheet:
    """Draw the largest curvature of each run by step, its limit dotted, and the smallest curvature faint beneath."""
    variable = "sharpness" if "sharpness" in runs else "preconditioned_sharpness"
    check(runs, variable)
    entries = [_entry_of(name, run) for name, _, run in runs_apart(runs, variable)]
    several = len(entries) > 1
    words = Words(title, _title(runs, entries), _subtitle(runs, entries), _beneath(entries, theme))
    aside = max(2.1, widest([each.name for each in entries], 8.5) / 72 + 0.4) if several else 0.25
    sheet = open_sheet(ax, theme, words, tall=3.2, wide=5.2, aside=aside)
    _draw(sheet.ax, entries, theme)
    return sheet


def _entry_of(name: str, run: xr.Dataset) -> Entry:
    found = find_edge(run)
    if found is None:
        raise ValueError(
            f"nobody looked at the curvature of {name or 'this run'}: run.assign(ravine.eigenvalues(problem, run)) does"
        )
    lowest = None
    if "lowest_curvature" in run and not found.adaptive:  # the one that is known is not preconditioned
        lowest = run["lowest_curvature"].values.astype(np.float64)
    return Entry(name, run, found, lowest)


def _title(runs: xr.Dataset, entries: Sequence[Entry]) -> str:
    """Say where the run stands, as `explain` does; of several what was turned."""
    if not any("position" in each.run for each in entries):
        return "The largest curvature by step"
    if len(entries) > 1 or entries[0].edge.limits is None:
        return knobs(runs)
    run = entries[0].run
    if "loss" not in run:
        if "batch_loss" not in run:
            return knobs(runs)
        run, _ = with_batch_loss(run)
    (view,) = runs_of(run)
    found = edge(view)
    if found is None:
        return knobs(runs)
    told = found.values
    if "near_from" in told:
        return f"At the edge of stability from step {steps(float(told['near_from']))} on"
    if told["over"]:
        return f"Over its limit at {steps(float(told['over']))} of {steps(float(told['looked']))} places"
    return f"Below its limit: at most {percent_at_most(float(told['largest_share']))} of it"


def _subtitle(runs: xr.Dataset, entries: Sequence[Entry]) -> list[str]:
    """Write the settings, and what the curvature is of."""
    whole = all(sees_all_data(each.run) for each in entries)
    parts = [settings_text(runs), steps_text(runs)]
    parts.append("local: from the curvature at each step" if whole else "limit: of steps over the whole batch")
    return [part for part in parts if part]


def _beneath(entries: Sequence[Entry], theme: Style) -> list[tuple[str, str]]:
    lines = []
    bounded = _bounded(entries)
    if bounded:
        adams = [each.edge.adaptive for each in bounded]
        whose = "for Adam as its preconditioner scales it" if not all(adams) else "as Adam's preconditioner scales it"
        scaled = f", {whose}," if any(adams) else ""
        lines.append((f"dotted: the largest curvature{scaled} that the lr of each step bears", theme.quiet))
        others = [each.name for each in entries if each.edge.limits is None]
        if others:
            lines.append((f"no limit is known for {names(others)}, or for how it was run", theme.quiet))
    elif any("position" in each.run for each in entries):
        lines.append(("no limit is known for this optimizer, or for how it was run", theme.quiet))
    else:
        lines.append(("no limit without the run: run.assign(ravine.eigenvalues(problem, run)) holds both", theme.quiet))
    if any(each.lowest is not None for each in entries):
        lines.append(("faint: the smallest curvature", theme.quiet))
    return lines


def _bounded(entries: Sequence[Entry]) -> list[Entry]:
    return [each for each in entries if each.edge.limits is not None]


def _draw(ax: Axes, entries: Sequence[Entry], theme: Style) -> None:
    held = limits_of(ax)
    calm(ax, theme, grid=True)
    hues = choose_hues("", [each.name for each in entries], theme)
    _set_sides(ax, entries)
    widen(ax, held)
    top, alone = ax.get_ylim()[1], len(entries) == 1
    for each, color, dash in zip(entries, hues.colors, hues.dashes, strict=True):
        looked = np.isfinite(each.edge.values)
        at, heights = each.edge.steps[looked], each.edge.values[looked]
        ax.plot(at, heights, color=color, ls=dash, lw=1.4, zorder=2.5, gid=printable(each.name) or "sharpness")
        if looked.sum() <= DOTTED:
            dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 2.8, "mew": 0, "mfc": color}
            ax.plot(at, heights, zorder=2.6, gid="looked", **dots)
        if each.lowest is not None:
            known = np.isfinite(each.lowest)
            ax.plot(
                each.edge.steps[known], each.lowest[known], color=color, lw=0.9, alpha=0.45, zorder=2.2, gid="lowest"
            )
        if each.edge.limits is not None:
            if alone:
                over = np.minimum(each.edge.limits, top)
                ax.fill_between(
                    each.edge.steps, over, top, step="post", color=theme.diverging, lw=0, zorder=0.5, gid="over"
                )
            how: dict[str, Any] = {"color": theme.ink if alone else color, "lw": 1.1, "ls": (0, (1.2, 1.4))}
            ax.plot(each.edge.steps, each.edge.limits, drawstyle="steps-post", zorder=2.3, gid="limit", **how)
    adams = [each.edge.adaptive for each in entries]
    scaled = "preconditioned sharpness" if all(adams) else "sharpness, of Adam preconditioned"
    name_axes(ax, unit_of(entries[0].run), scaled if any(adams) else "sharpness")
    if is_users(ax):
        settle(ax)
    _name(ax, entries, hues.colors, theme)


def _set_sides(ax: Axes, entries: Sequence[Entry]) -> None:
    """Choose limits that show curvature and its limits; a limit far above all curvature may lie beyond the top."""
    first = min(float(each.edge.steps[0]) for each in entries)
    last = max(float(each.edge.steps[-1]) for each in entries)
    edge_room = 0.02 * (last - first) or 0.5
    ax.set_xlim(first - edge_room, last + edge_room)
    seen = np.concatenate([each.edge.values[np.isfinite(each.edge.values)] for each in entries])
    limits = [each.edge.limits[np.isfinite(each.edge.limits)] for each in entries if each.edge.limits is not None]
    borne = [float(each.min()) for each in limits if each.size and each.min() > 0]
    high = float(seen.max())
    if borne:
        high = min(max([high, min(borne), *(each for each in borne if each <= 2 * high)]), HEADROOM * max(borne))
    lows = [each.lowest[np.isfinite(each.lowest)] for each in entries if each.lowest is not None]
    low = min([0.0, float(seen.min()), *(float(each.min()) for each in lows if each.size)])
    room = 0.1 * (high - low) or 1.0
    ax.set_ylim(low - room * (low < 0), high + 1.5 * room)
    ax.set_autoscale_on(False)


def _name(ax: Axes, entries: Sequence[Entry], colors: Sequence[str], theme: Style) -> None:
    """Name the limit by its formula, and each of several runs at the right."""
    edge_at = make_room_at_right(ax, [each.name for each in entries])
    free = FreeSpace(ax)
    low, high = ax.get_ylim()
    for each in entries:
        looked = np.isfinite(each.edge.values)
        free.line(free.points(np.c_[each.edge.steps[looked], each.edge.values[looked]]), 1.5)
        if each.edge.limits is not None:
            free.line(free.points(np.c_[each.edge.steps, each.edge.limits]), 1.0)
    bounded = _bounded(entries)
    text = _formula(bounded)
    for each in bounded[:1] if text else []:
        limits = each.edge.limits
        assert limits is not None
        seen = np.flatnonzero(np.isfinite(limits) & (limits >= low) & (limits <= high))
        if len(set(limits.tolist())) == 1 and len(entries) == 1:
            text += f" = {number_text(float(limits[0]))}"
        for k in seen[np.linspace(0, len(seen) - 1, 6).astype(int)] if seen.size else []:
            spot = (float(each.edge.steps[k]), float(limits[k]))
            note = draw_label(ax, text, spot, theme, color=theme.ink, free=free, size=8.0, near=3.0, lead=False)
            if note is not None:
                note.set_gid("limit")
                break
    if len(entries) > 1:
        ends = [
            (each.name, float(np.clip(last_of(each.edge.values, high), low, high)), color)
            for each, color in zip(entries, colors, strict=True)
        ]
        draw_labels_at_right(ax, ends, theme, edge=edge_at)


def _formula(entries: Sequence[Entry]) -> str:
    """Write the limit as a formula of the settings; nothing where no one formula speaks of all of these runs."""
    adams = {each.edge.adaptive for each in entries}
    if len(adams) != 1:
        return ""
    if True in adams:
        return "(2 + 2β₁) / ((1 − β₁) lr)"
    rules = [rule for each in entries if isinstance(rule := rule_of(off_plane(each.run)), Rule)]
    if len({rule.nesterov for rule in rules}) > 1:
        return ""
    settings = ("momentum", "dampening", "weight_decay", "nesterov")
    return limit_text({name: [getattr(rule, name) for rule in rules] for name in settings})
