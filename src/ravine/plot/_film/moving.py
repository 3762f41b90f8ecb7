"""Artists drawn once, of which each frame shows as much as has happened; what is said of each run at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray

from ravine import measure
from ravine._format import number
from ravine._study.contract import at_or_by
from ravine.measure._arrival import broken_for_good
from ravine.plot._canvas.hues import DASHES
from ravine.plot._canvas.labels import literal, text_size
from ravine.plot._canvas.layout import wrap
from ravine.plot._canvas.style import Style
from ravine.plot._canvas.words import dot_every, end_of, number_text, settings_text
from ravine.plot._curves.curve import Curve
from ravine.plot._map.marks import SHAPES, is_outside, trajectory
from ravine.plot._map.panels import Panel

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class MovingArtist:
    """An artist, and what puts it as it is after some number of steps."""

    artist: Artist
    move: Callable[[int], None]


def keep_still(artist: Artist) -> MovingArtist:
    """Draw an artist over what moves, as it is."""
    return MovingArtist(artist, lambda k: None)


def grow_line(line: Line2D, count: Callable[[int], int]) -> MovingArtist:
    """Show the first points of a line: how many, `count` says of each step."""
    x, y = (np.asarray(each) for each in line.get_data(orig=True))
    return MovingArtist(line, lambda k: line.set_data(x[: count(k)], y[: count(k)]))


def appear(artist: Artist, since: float) -> MovingArtist:
    """Show an artist from some step on."""
    return MovingArtist(artist, lambda k: artist.set_visible(k >= since))


def change_text(text: Text, words: Callable[[int], str]) -> MovingArtist:
    """Write what is so at each step."""
    return MovingArtist(text, lambda k: text.set_text(literal(words(k))))


def grow_path(ax: Axes, drawn: Sequence[Artist], x: Array, y: Array, theme: Style, turn: int) -> list[MovingArtist]:
    """Let one run's path, as `draw_path` drew it, grow step by step behind a dot at its head."""
    last, every = len(x) - 1, dot_every(len(x) - 1)
    counts = {
        "path": lambda k: min(k, last) + 1,
        "casing": lambda k: min(k, last) + 1,
        "steps": lambda k: min(k, last) // every + 1,
    }
    found: list[MovingArtist] = []
    for artist in drawn:
        gid = str(artist.get_gid())
        if gid == "end":  # the head ends there
            artist.remove()
        elif gid == "leg":
            found.append(_grow_legs(artist, ax, x, y))
        elif gid == "lr":
            found.append(_grow_segments(artist, x, y))
        elif isinstance(artist, Line2D) and gid in counts:
            found.append(grow_line(artist, counts[gid]))
        else:
            found.append(keep_still(artist))
    (head,) = ax.plot(
        x[:1],
        y[:1],
        ls="",
        marker=SHAPES[turn % len(SHAPES)],
        ms=6.8,
        mew=1.2,
        mec=theme.ground,
        mfc=theme.accents[turn],
        zorder=4.3,
        gid="head",
    )
    found.append(MovingArtist(head, lambda k: head.set_data(x[min(k, last) :][:1], y[min(k, last) :][:1])))
    return found


def _grow_legs(artist: Artist, ax: Axes, x: Array, y: Array) -> MovingArtist:
    """Show the legs within the map up to a step; each is three points: its ends, and a gap."""
    assert isinstance(artist, Line2D)
    outside = is_outside(ax, x, y)
    drawn = np.concatenate([[0], np.cumsum(~(outside[:-1] & outside[1:]))])
    return grow_line(artist, lambda k: 3 * int(drawn[min(k, len(drawn) - 1)]))


def _grow_segments(artist: Artist, x: Array, y: Array) -> MovingArtist:
    """Show the legs whose width is the learning rate up to a step."""
    assert isinstance(artist, LineCollection)
    whole = artist.get_segments()
    finite = np.isfinite(x) & np.isfinite(y)
    drawn = np.concatenate([[0], np.cumsum(finite[:-1] & finite[1:])])
    return MovingArtist(artist, lambda k: artist.set_segments(whole[: int(drawn[min(k, len(drawn) - 1)])]))


def grow_curves(ax: Axes, curves: Sequence[Curve], steps: Array, theme: Style) -> list[MovingArtist]:
    """Let curves, as `draw_curves` drew them, grow; what happens on the way appears when it does."""
    lines = [line for line in ax.lines if line.get_gid() == "loss"]
    clouds = [line for line in ax.lines if line.get_gid() == "batch_loss"]
    found = [grow_line(line, _count_up_to(np.asarray(line.get_xdata(orig=True)), steps)) for line in [*clouds, *lines]]
    since: dict[tuple[float, float], float] = {}
    broken = {str(line.get_color()): curve.broken for line, curve in zip(lines, curves, strict=True)}
    for line in ax.lines:
        if line.get_gid() in ("arrival", "diverged"):
            spot = float(line.get_xdata()[0]), float(line.get_ydata()[0])  # type: ignore[index, arg-type]
            at = spot[0] if line.get_gid() == "arrival" else broken[str(line.get_markerfacecolor())]
            since[spot] = float(np.searchsorted(steps, at))
            found.append(appear(line, since[spot]))
    for text in ax.texts:
        x, y = (float(each) for each in getattr(text, "xy", (np.nan, np.nan)))
        if getattr(text, "xycoords", "") == "data" and (x, y) in since:
            found.append(appear(text, since[x, y]))
    for line, curve in zip(lines, curves, strict=True):
        found.append(_mark_moment(ax, curve, str(line.get_color()), steps, theme))
    now = ax.axvline(steps[0], color=theme.quiet, lw=0.8, alpha=0.7, zorder=1.8, gid="now")
    found.append(MovingArtist(now, lambda k: now.set_xdata([steps[k], steps[k]])))
    return found


def _count_up_to(places: Array, steps: Array) -> Callable[[int], int]:
    return lambda k: int(np.searchsorted(places, steps[k], side="right"))


def _mark_moment(ax: Axes, curve: Curve, color: str, steps: Array, theme: Style) -> MovingArtist:
    """Mark where a curve is at a step; where the loss was not looked at, the last place that was."""
    (dot,) = ax.plot([], [], ls="", marker="o", ms=6.0, mew=1.1, mec=theme.ground, mfc=color, zorder=4.5, gid="moment")
    count = _count_up_to(curve.steps, steps)

    def move(k: int) -> None:
        here = slice(max(count(k) - 1, 0), count(k))
        dot.set_data(curve.steps[here], curve.heights[here])

    return MovingArtist(dot, move)


WIDTH = 3.7
"""Inches that a scoreboard is wide."""

LEAST = 1e-5
"""Share of the gap below which only that it is smaller is said."""


@dataclass(frozen=True, eq=False)
class RunStatus:
    """What is to be said of one run: ``steps`` are the numbers of its steps, ``shares`` what is left of its gap."""

    name: str
    settings: str
    steps: NDArray[Any]
    losses: Array
    looked: NDArray[np.bool_]
    shares: Array | None
    outside: NDArray[np.bool_]
    outcome: str
    arrival: float
    broken: float
    first: bool = False

    def value(self, k: int, *, both: bool = False) -> str:
        """Say what is left of the gap after `k` steps, or else the loss; or both.

        Where the loss was not looked at, it is that of the last step that was.
        """
        looked = np.flatnonzero(self.looked[: k + 1])
        if not looked.size:
            return ""
        here = int(looked[-1])
        loss = f"loss {number_text(float(self.losses[here]))}"
        if self.shares is None or not np.isfinite(self.shares[here]):
            return loss
        left = share_text(float(self.shares[here]))
        return f"{loss}, {left}" if both else left

    def status(self, k: int) -> str:
        """Say what has become of the run after `k` steps; nothing while it is on its way."""
        last = len(self.outside) - 1
        step, over = self.steps[min(k, last)], k >= last
        words = []
        if step >= self.broken:  # never, where it is NaN
            words.append(f"diverged at step {self.broken:.0f}")
        elif step >= self.arrival:
            when = at_or_by(self.steps[np.isfinite(self.losses)], self.arrival)
            arrived = f"arrived {'first, ' * self.first}{when} step {self.arrival:.0f}"
            words.append(arrived if self.arrival else "within rounding from the start")
        elif over and self.outcome:
            words.append("diverged" if self.outcome == "diverged" else "has not arrived")
        if k > last:
            words.append(f"ended at step {self.steps[last]:.0f}")
        if self.outside[min(k, last)]:
            words.append("off the map")
        return ", ".join(words)


def share_text(share: float) -> str:
    """Say how much of the gap at the start is left, in percent with three digits, or how much it has grown.

    Examples
    --------
    >>> [share_text(share) for share in (1, 0.1234, 0.01, 0.00004, 1e-9, 12.34)]
    ['100 % left', '12.3 % left', '1.00 % left', '0.004 % left', 'under 0.001 % left', 'gap grown 12.3-fold']
    """
    if share > 1.0005:
        return f"gap grown {number(share)}-fold"
    if share < LEAST:
        return f"under {100 * LEAST:g} % left"
    digits = int(np.clip(-np.floor(np.log10(share)), 0, 3))
    return f"{100 * share:.{digits}f} % left"


def statuses_of(panel: Panel, pair: tuple[str, str]) -> list[RunStatus]:
    """Return the status of each run of a panel; the one that arrives before all others is the first."""
    found = [_status_of(run, name, panel, pair) for run, name in zip(panel.runs, panel.names, strict=True)]
    arrivals = sorted(each.arrival for each in found if np.isfinite(each.arrival))
    alone = len(found) > 1 and bool(arrivals) and (len(arrivals) == 1 or arrivals[0] < arrivals[1])
    same = all(each.shares is not None for each in found)  # a share is not to be compared with a loss
    return [
        replace(each, first=alone and each.arrival == arrivals[0], shares=each.shares if same else None)
        for each in found
    ]


def _status_of(run: xr.Dataset, name: str, panel: Panel, pair: tuple[str, str]) -> RunStatus:
    x, y, _ = trajectory(run, pair)
    outside = ~((x >= panel.x[0]) & (x <= panel.x[-1]) & (y >= panel.y[0]) & (y <= panel.y[-1]))
    steps = run["step"].values if "step" in run.coords else np.arange(len(x))
    settings = settings_text(run)
    if "loss" not in run:
        unknown = np.full(len(x), np.nan)
        return RunStatus(name, settings, steps, unknown, np.isfinite(unknown), None, outside, "", np.nan, np.nan)
    end = end_of(run)
    shares = None
    if end is not None:
        gaps = measure.gap(run).values.astype(float)
        shares = gaps / gaps[0] if np.isfinite(gaps[0]) and gaps[0] > 0 else None
    broken = bool(measure.diverged(run))
    outcome = end.outcome if end is not None else "diverged" * broken
    losses, looked = run["loss"].values.astype(float), measure.evaluated(run).values
    arrival, broken_at = np.nan if end is None else end.step, float(broken_for_good(run).values)
    return RunStatus(name, settings, steps, losses, looked, shares, outside, outcome, arrival, broken_at)


# -- the board ---------------------------------------------------------------------------------------------------

NAME, SMALL, LINE, APART = 10.0, 7.8, 11.5, 9.0
"""Sizes of the letters, height of a small line and space between runs, in points."""


def board_height(statuses: Sequence[RunStatus], frames: Sequence[int]) -> float:
    """Return the inches that a scoreboard needs."""
    return sum(_measure_status(each, frames)[-1] for each in statuses) / 72


def _measure_status(run: RunStatus, frames: Sequence[int]) -> tuple[str, str, float]:
    """Return a run's name and settings, broken so that value and status fit beside them, and its height in points."""
    value = max(text_size(run.value(k), NAME, weight="bold")[0] for k in frames)
    status = max(text_size(run.status(k), SMALL)[0] for k in frames)
    name = wrap(run.name, WIDTH - (value + 22) / 72, NAME, weight="bold")
    settings = wrap(run.settings, WIDTH - (status + 22) / 72, SMALL)
    return name, settings, _tall(name) + LINE * (1 + settings.count("\n")) + APART


def _tall(name: str) -> float:
    return 1.35 * NAME * (1 + name.count("\n"))


def draw_board(ax: Axes, statuses: Sequence[RunStatus], frames: Sequence[int], theme: Style) -> list[MovingArtist]:
    """Write a row for each run: its name, what is left, its settings, and what has become of it."""
    ax.set(xlim=(0, 72 * WIDTH), ylim=(72 * board_height(statuses, frames), 0))
    ax.axis("off")
    y, found = 0.0, []
    for turn, run in enumerate(statuses):
        color = theme.accents[turn]
        name, settings, height = _measure_status(run, frames)
        under = y + _tall(name)
        middle = y + 0.6 * NAME
        ax.plot([0, 9], [middle, middle], color=color, lw=2, ls=DASHES[turn], gid="key")
        ax.plot([4.5], [middle], ls="", marker=SHAPES[turn], ms=6, mew=1, mec=theme.ground, mfc=color, gid="key")
        ax.text(15, y, literal(name), size=NAME, weight="bold", color=color, va="top", linespacing=1.25, gid="name")
        ax.text(15, under, literal(settings), size=SMALL, color=theme.quiet, va="top", linespacing=1.25, gid="settings")
        right = 72 * WIDTH
        value = ax.text(right, y, "", size=NAME, weight="bold", color=theme.ink, va="top", ha="right", gid="value")
        status = ax.text(right, under, "", size=SMALL, color=color, va="top", ha="right", gid="status")
        found += [change_text(value, run.value), change_text(status, run.status)]
        y += height
    return found
