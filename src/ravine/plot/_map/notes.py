"""What is marked and named on the map of a descent, each beside what it speaks of and off everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from ravine._format import TIMES
from ravine._study.contract import plane_of
from ravine._study.counted import unit_of, worded
from ravine.measure._objective import step_values
from ravine.plot._canvas.hues import DASHES
from ravine.plot._canvas.labels import Box, FreeSpace, text_size
from ravine.plot._canvas.sheet import limits_of, widen
from ravine.plot._canvas.style import Style, halo
from ravine.plot._canvas.words import dot_every, maximizes, number_text
from ravine.plot._map.contours import draw_bands, draw_downhill, draw_levels, lowest_loss, number_lines
from ravine.plot._map.holes import name_holes
from ravine.plot._map.inset import SIDE, draw_inset, tail_of
from ravine.plot._map.marks import (
    Stroke,
    decay_along,
    draw_path,
    is_outside,
    objective,
    set_limits,
    trajectory,
    write_flat,
)
from ravine.plot._map.panels import Panel
from ravine.plot._map.pen import PanelArtists, Pen

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class PanelLook:
    """How a panel is drawn: style, scale of texts, arrows downhill, tails enlarged, paths named and dashed.

    `error` says how wrong the map is, where nothing else in the picture does.
    """

    theme: Style
    scale: float = 1.0
    field: bool = False
    enlarge: bool = True
    named: bool = True
    dashed: bool = True
    error: str = ""


WORDED = 8
"""Runs up to which words say where each leaves the map; of more, arrows tell."""


def draw_panel(ax: Axes, panel: Panel, pair: tuple[str, str], look: PanelLook) -> PanelArtists:
    """Draw everything inside one panel. A run's name that finds no room stands in the caption alone."""
    theme, scale = look.theme, look.scale
    held = limits_of(ax)
    set_limits(ax, panel.x, panel.y)
    widen(ax, held)
    below = draw_bands(ax, panel.x, panel.y, panel.values, theme, panel.gaps)
    lines = draw_levels(ax, panel.x, panel.y, panel.values, theme, panel.gaps)
    if look.field:
        draw_downhill(ax, panel.x, panel.y, panel.values, slope_of(panel, pair), theme)
    ways = [trajectory(run, pair)[:2] for run in panel.runs]
    tracks = [np.c_[way].astype(float) for way in ways]
    pen = Pen(ax, theme, FreeSpace(ax), scale)
    weight = 0.65 + 0.35 * min(scale, 1.0)
    ring = theme.accent if len(panel.runs) == 1 else theme.ink
    for k, (run, (x, y)) in enumerate(zip(panel.runs, ways, strict=True)):
        before = set(ax.get_children())
        turn = (k + k // len(DASHES)) if look.dashed else 0  # a ramp is told apart by its colours alone
        stroke = Stroke(theme.accents[k], turn, scheduled_rates(run), weight, ring)
        draw_path(ax, x, y, theme, stroke)
        pen.drawn.paths.append([artist for artist in ax.get_children() if artist not in before])
        track = pen.free.points(tracks[k])
        pen.free.line(_bold_legs(track, is_outside(ax, x, y)), 2.0)
        pen.free.mark(track[[0, -1]], 5.0)
    goals = _draw_minima(pen, panel, pair)
    if panel.gaps is None and np.isfinite(panel.values).any():
        write_flat(ax, theme, pen.size(8))
    if look.enlarge and len(panel.runs) == 1:
        _enlarge(pen, panel, tracks[0])
    if look.named:
        _name_runs(pen, panel, tracks)
    _mark_borders(pen, panel, tracks)
    _name_starts(pen, panel, tracks)
    for spot, text in goals:
        pen.write(text, spot, theme.ink, near=7.0)
    if len(panel.runs) == 1:
        _write_drops(pen, panel.runs[0], tracks[0])
    name_holes(ax, panel.x, panel.y, panel.values, theme, pen.size(8), pen.free)
    if look.error:
        _write_error(pen, look.error)
    if lines is not None:
        number_lines(lines, pen.free, theme, below, pen.size(6.5))
    return pen.drawn


def _bold_legs(track: Array, outside: NDArray[np.bool_]) -> Array:
    """Return a path without its legs that only cross the map: they are pale, and words may stand on them.

    Those of a run that diverges cover all of the map, and a word that kept off them would stand far from its place.
    """
    pale = np.flatnonzero(outside[:-1] & outside[1:])
    return np.insert(track, pale + 1, np.nan, axis=0)


def _write_error(pen: Pen, words: str) -> None:
    """Write in a free corner how wrong the map is, where no strip under it can show that."""
    width, height = text_size(words, pen.size(7.6))
    width *= 1.06  # small sizes are hinted wider
    box = pen.free.corner(width, height, 5.0)
    spot = np.array([0.5 * pen.free.size[0], 0.7 * height + 3]) if box is None else np.array([box.x, box.y])
    pen.free.write(Box(float(spot[0]), float(spot[1]), width, height))
    across, up = (float(each) for each in spot / pen.free.size)
    how: dict[str, Any] = {"size": pen.size(7.6), "color": pen.theme.ink, "path_effects": halo(pen.theme), "zorder": 6}
    pen.ax.text(across, up, words, transform=pen.ax.transAxes, ha="center", va="center", gid="error", **how)


def _draw_minima(pen: Pen, panel: Panel, pair: tuple[str, str]) -> list[tuple[Array, str]]:
    """Mark known minima, or the lowest point of the grid; return what is to be named where."""
    theme = pen.theme
    if maximizes(panel.runs[0]):
        return []
    known = [spot for run in panel.runs if (spot := _minimizer(run, pair)) is not None]
    lowest = _lowest_point(panel.x, panel.y, panel.values)
    moved, on_plane = bool(panel.decay), plane_of(panel.runs[0]) is not None
    named: list[tuple[Array, str]] = []
    if len({tuple(spot) for spot in known}) > 1:  # runs in one panel that strive for different goals
        for k, spot in enumerate(known):
            pen.cross(spot, "minimum", theme.accents[k])
    elif known:
        if _inside(known[0], panel):
            pen.cross(known[0], "minimum", theme.ink)
            named.append((known[0], "the goal" if moved else "minimum"))
        else:
            _point_to(pen, panel, pair, known[0], "the goal" if moved else "minimum")
    elif lowest is not None:
        pen.cross(lowest, "lowest", theme.ink)
        if moved and not on_plane:
            named.append((lowest, "the goal"))
    if moved and not on_plane:  # the lowest point of a plane is no minimum
        data = _minimizer(panel.runs[0], pair, "data_minimizer")
        data = _lowest_point(*objective(panel.land)) if data is None else data
        if data is not None and _inside(data, panel):
            pen.cross(data, "data minimum", theme.ink, marker="D", points=4.2)
            named.append((data, "minimum of\nthe data loss"))
    return named


def _point_to(pen: Pen, panel: Panel, pair: tuple[str, str], spot: Array, name: str) -> None:
    """Point from the last place of the path that is on the map to a minimum that is not, and say where that is."""
    track = np.c_[trajectory(panel.runs[0], pair)[:2]].astype(float)
    seen = track[np.isfinite(track).all(axis=1)]
    seen = seen[np.asarray(_inside(seen, panel), dtype=bool)]
    if not len(seen):
        return
    where = ", ".join(f"{label} {number_text(float(value))}" for label, value in zip(pair, spot, strict=True))
    words = f"{name} outside:\n{where}"
    _draw_arrow(pen, seen[-1], spot, pen.theme.ink, words, 0, gid="to minimum")


def _minimizer(run: xr.Dataset, pair: tuple[str, str], name: str = "minimizer") -> Array | None:
    if name not in run or run[name].dims != ("parameter",):
        return None
    labels = run["parameter"].values.tolist()
    spot = run.variables[name].values[[labels.index(each) for each in pair]].astype(float)
    return spot if np.isfinite(spot).all() else None


def _lowest_point(x: Array, y: Array, values: Array) -> Array | None:
    """Return the lowest point of a grid; None at the border, where it says nothing about a minimum."""
    finite = np.isfinite(values)
    if not finite.any() or np.ptp(values[finite]) == 0:
        return None
    row, column = np.unravel_index(np.argmin(np.where(finite, values, np.inf)), values.shape)
    inner = 0 < row < len(y) - 1 and 0 < column < len(x) - 1
    return np.array([x[column], y[row]]) if inner else None


def _inside(spots: Array, panel: Panel) -> Any:
    low, high = np.array([panel.x[0], panel.y[0]]), np.array([panel.x[-1], panel.y[-1]])
    return ((spots >= low) & (spots <= high)).all(axis=-1)


def _enlarge(pen: Pen, panel: Panel, track: Array) -> None:
    """Draw the winding end of a run in an inset, where that shows more than the map."""
    low, high = np.array([panel.x[0], panel.y[0]]), np.array([panel.x[-1], panel.y[-1]])
    if min(pen.free.size) * SIDE < 46:  # too small for a picture of its own
        return
    tail = tail_of(track, low, high, float(min(pen.free.size)))
    if tail is None:
        return
    theme, ends = pen.theme, pen.ax.lines
    columns, rows = (
        _slice_around(each, a, b) for each, a, b in zip((panel.x, panel.y), tail.low, tail.high, strict=True)
    )

    def inside(ax: Axes) -> None:
        part = panel.values[rows, columns]
        draw_bands(
            ax,
            panel.x[columns],
            panel.y[rows],
            part,
            theme,
            panel.gaps,
            base=lowest_loss(panel.values),
            outlined=False,
        )
        tail_x, tail_y = track[max(tail.first - 1, 0) :].T
        ax.plot(tail_x, tail_y, color=theme.halo, lw=2.2, alpha=0.6, zorder=2.9)
        ax.plot(tail_x, tail_y, color=theme.accent, lw=0.9, zorder=3, solid_joinstyle="round", gid="tail")
        every = dot_every(len(track) - 1)
        ax.plot(tail_x[::every], tail_y[::every], ls="", marker="o", ms=1.9, mew=0, color=theme.accent, zorder=3.1)
        for line in ends:  # the same marks as on the map
            if line.get_gid() in ("lowest", "minimum", "data minimum"):
                mark: dict[str, Any] = {"marker": line.get_marker(), "mec": theme.ink, "mfc": "none"}
                ax.plot(*line.get_data(), ls="", ms=6.5, mew=1.3, zorder=3.9, **mark)
        ax.plot(*track[-1:].T, ls="", marker="o", ms=4.5, mew=1, mec=theme.ground, mfc=theme.accent, zorder=4)
        ax.set_xlim(tail.low[0], tail.high[0])
        ax.set_ylim(tail.low[1], tail.high[1])

    run = panel.runs[0]
    words = worded(f"{tail.factor}{TIMES} from step {step_values(run)[tail.first]:,}", unit_of(run))
    draw_inset(pen.ax, tail, words, pen.free, theme, max(6.0, 6.4 * pen.scale), inside)


def _slice_around(values: Array, low: float, high: float) -> slice:
    """Return the grid values from just below `low` to just above `high`."""
    return slice(
        max(int(np.searchsorted(values, low)) - 1, 0),
        min(int(np.searchsorted(values, high, side="right")) + 1, len(values)),
    )


def _name_starts(pen: Pen, panel: Panel, tracks: list[Array]) -> None:
    """Name each start once; of a run that was not seen from its start on, the first step that was."""
    seen: list[tuple[float, ...]] = []
    box = np.array([pen.ax.get_xlim(), pen.ax.get_ylim()]).T
    for run, track in zip(panel.runs, tracks, strict=True):
        start = tuple(track[0].tolist())
        if start in seen or not ((track[0] >= box[0]) & (track[0] <= box[1])).all():
            continue
        seen.append(start)
        first = int(run["step"].values[0]) if "step" in run.coords else 0
        name = f"step {first:,}" if first else "start"
        pen.write(name, track[0], pen.theme.accent if len(tracks) == 1 else pen.theme.ink, near=7.0)


def _name_runs(pen: Pen, panel: Panel, tracks: list[Array]) -> None:
    """Write the name of each run beside its own path: at the end, or where it is farthest from the others."""
    if len(tracks) < 2:
        return
    pixels = [pen.free.points(track) for track in tracks]
    for k, name in enumerate(panel.names):
        others = [p for j, p in enumerate(pixels) if j != k]
        anchor = _find_own_place(pen, pixels[k], others)
        if anchor is not None:
            pen.write(name, tracks[k][anchor], pen.theme.accents[k], points=8, since=anchor, near=5.0, far=30.0)


FEW = 400
"""Places along a path that are looked at for its name."""


def _find_own_place(pen: Pen, track: Array, others: list[Array]) -> int | None:
    """Return the index of the step beside which a run's name is unmistakable."""
    inside = np.flatnonzero(((track >= 0) & (track <= pen.free.size)).all(axis=1))
    if not inside.size:
        return None
    last = len(track) - 1
    spots = inside[:: max(1, len(inside) // FEW)]
    foreign = np.full(len(spots), np.inf)
    ending = np.inf
    for other in others:
        known = other[np.isfinite(other).all(axis=1)]
        some = known[:: max(1, len(known) // FEW)]
        foreign = np.minimum(foreign, np.hypot(*(track[spots][:, None] - some[None]).T).min(axis=0))
        if inside[-1] == last:
            ending = min(ending, float(np.hypot(*(known - track[last]).T).min()))
    if inside[-1] == last and ending > 16:  # the end stands apart: the natural place
        return last
    rim = np.minimum(track[spots], pen.free.size - track[spots]).min(axis=1)
    return int(spots[np.argmax(np.minimum(foreign, 40) + 0.3 * np.minimum(rim, 30))])


def _mark_borders(pen: Pen, panel: Panel, tracks: list[Array]) -> None:
    """Say where a path starts outside the map, leaves it for good, or leaves it for a while."""
    unseen = 0
    for k, track in enumerate(tracks):
        color, inside = pen.theme.accents[k], _inside(track, panel)
        if not inside.any():
            unseen += 1
            continue
        first, last = (int(each) for each in np.flatnonzero(inside)[[0, -1]])
        numbers = step_values(panel.runs[k])
        if first > 0:
            words = "starts outside" if len(tracks) <= WORDED else ""
            _draw_arrow(pen, track[first], track[first - 1], color, words, first, inward=True)
        if last < len(track) - 1:
            words = f"leaves at step {numbers[last + 1]}" if len(tracks) <= WORDED else ""
            words = worded(words, unit_of(panel.runs[k]))
            _draw_arrow(pen, track[last], track[last + 1], color, words, last + 1)
        away = _longest_stretch(~inside[first : last + 1])
        if away is not None and len(tracks) == 1:
            out, back = first + away[0], first + away[1] - 1
            way = f"step {numbers[out]}" if out == back else f"steps {numbers[out]} to {numbers[back]}"
            words = worded(f"{way} outside", unit_of(panel.runs[k]))
            _draw_arrow(pen, track[out - 1], track[out], color, words, back + 1)
    if unseen:
        words = (
            "the path lies outside this map"
            if len(tracks) == 1
            else f"{unseen} of {len(tracks)} paths lie outside this map"
        )
        pen.ax.text(
            0.5,
            0.04,
            words,
            transform=pen.ax.transAxes,
            ha="center",
            va="bottom",
            size=pen.size(8),
            color=pen.theme.ink,
            path_effects=halo(pen.theme),
            zorder=6,
        )


def _longest_stretch(flags: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return start and end of the longest stretch that is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    if not edges.size:
        return None
    starts, ends = edges[::2], edges[1::2]
    best = int((ends - starts).argmax())
    return int(starts[best]), int(ends[best])


def _draw_arrow(
    pen: Pen, inner: Array, outer: Array, color: str, words: str, since: int, *, inward: bool = False, gid: str = ""
) -> None:
    """Mark where the path crosses the border between two of its positions, and say what happens there."""
    low, high = np.array([pen.ax.get_xlim(), pen.ax.get_ylim()]).T
    way = np.where(np.isfinite(outer), outer, 0) - inner
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(way > 0, (high - inner) / way, np.where(way < 0, (low - inner) / way, np.inf))
    edge = inner + min(1.0, float(np.nanmin(shares))) * way
    tip, tail = pen.free.points([edge, inner])
    heading = tip - tail
    heading = heading / (np.hypot(*heading) or 1.0)
    size = 7 * pen.scale
    if inward:
        tip, heading = tip - (size + 2) * heading, -heading
    side = np.array([-heading[1], heading[0]])
    corners = [tip, tip - size * heading + size / 2 * side, tip - size * heading - size / 2 * side]
    shape = [pen.free.data(corner) for corner in corners]
    gid = gid or ("enters" if inward else "leaves")
    arrow = Polygon(shape, closed=True, facecolor=color, edgecolor="none", zorder=4.5, gid=gid)
    pen.drawn.notes.append((since, pen.ax.add_patch(arrow)))
    pen.free.line(np.array([*corners, corners[0]]), 2.0)
    if words:
        pen.write(words, edge, color, points=8, since=since, near=5.0)


def scheduled_rates(run: xr.Dataset) -> Array | None:
    """Return the learning rate of each leg of a run where a scheduler changed it, else None."""
    if "scheduled_lr" not in run or run["scheduled_lr"].dims != ("step",):
        return None
    lr: Array = run["scheduled_lr"].values.astype(float)
    known = lr[np.isfinite(lr)]
    return lr if known.size and known.min() != known.max() else None


def _write_drops(pen: Pen, run: xr.Dataset, track: Array) -> None:
    """Write the new learning rate where a scheduler cuts it to two thirds or less, at up to three places."""
    lr = scheduled_rates(run)
    if lr is None:
        return
    with np.errstate(invalid="ignore", divide="ignore"):  # a warm-up may begin at 0
        falls = np.concatenate([[1.0], lr[1:] / lr[:-1], [1.0]])
    # a step down between two plateaus; a cosine that dies away is no drop
    places = np.flatnonzero((falls[1:-1] <= 2 / 3) & (falls[:-2] > 0.9) & (falls[2:] > 0.9)) + 1
    places = places[places < len(track)]
    inside = [int(k) for k in places if ((track[k] >= [pen.ax.get_xlim()[0], pen.ax.get_ylim()[0]]).all())]
    for k in inside[:3]:
        words = f"lr {number_text(float(lr[k]))}"
        pen.write(words, track[k], pen.theme.accent, points=6.5, since=k, near=4.0, far=40.0)


def slope_of(panel: Panel, pair: tuple[str, str]) -> Array | None:
    """Return the recorded gradient over the grid, horizontal component first, of what the contours show."""
    if "slope" not in panel.land:
        return None
    slope = panel.land["slope"].sortby(list(pair)).sel(parameter=list(pair))
    numbers: Array = slope.transpose(pair[1], pair[0], "parameter").values.astype(float)
    if panel.decay:
        decays = [decay_along(panel.decay, name) for name in pair]
        numbers = numbers + decays * np.stack(np.meshgrid(panel.x, panel.y), axis=-1)
    return numbers
