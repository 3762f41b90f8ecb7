"""What moves: artists drawn once, of which each frame shows as much as has happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray

from ravine.plot import captions, marks
from ravine.plot.gaps import Curve
from ravine.plot.paper import Style

__all__ = ["Moving", "appearing", "growing_curves", "growing_path", "grown", "still", "told"]

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Moving:
    """An artist, and what puts it as it is after some number of steps."""

    artist: Artist
    move: Callable[[int], None]


def still(artist: Artist) -> Moving:
    """Draw an artist over what moves, as it is."""
    return Moving(artist, lambda k: None)


def grown(line: Line2D, count: Callable[[int], int]) -> Moving:
    """Show the first points of a line: how many, `count` says of each step."""
    x, y = (np.asarray(each) for each in line.get_data(orig=True))
    return Moving(line, lambda k: line.set_data(x[: count(k)], y[: count(k)]))


def appearing(artist: Artist, since: float) -> Moving:
    """Show an artist from some step on."""
    return Moving(artist, lambda k: artist.set_visible(k >= since))


def told(text: Text, words: Callable[[int], str]) -> Moving:
    """Write what is so at each step."""
    return Moving(text, lambda k: text.set_text(words(k)))


def growing_path(ax: Axes, drawn: Sequence[Artist], x: Array, y: Array, look: Style, turn: int) -> list[Moving]:
    """Let one run's path, as `ravine.plot.marks.draw_path` drew it, grow step by step behind a dot at its head."""
    last, every = len(x) - 1, captions.dot_every(len(x) - 1)
    counts = {
        "path": lambda k: min(k, last) + 1,
        "casing": lambda k: min(k, last) + 1,
        "steps": lambda k: min(k, last) // every + 1,
    }
    found: list[Moving] = []
    for artist in drawn:
        gid = str(artist.get_gid())
        if gid == "end":  # the head ends there
            artist.remove()
        elif gid == "leg":
            found.append(_legs(artist, ax, x, y))
        elif gid == "lr":
            found.append(_segments(artist, x, y))
        elif isinstance(artist, Line2D) and gid in counts:
            found.append(grown(artist, counts[gid]))
        else:
            found.append(still(artist))
    (head,) = ax.plot(
        x[:1],
        y[:1],
        ls="",
        marker=marks.SHAPES[turn % len(marks.SHAPES)],
        ms=6.8,
        mew=1.2,
        mec=look.ground,
        mfc=look.accents[turn],
        zorder=4.3,
        gid="head",
    )
    found.append(Moving(head, lambda k: head.set_data(x[min(k, last) :][:1], y[min(k, last) :][:1])))
    return found


def _legs(artist: Artist, ax: Axes, x: Array, y: Array) -> Moving:
    """Show the legs within the map up to a step; each is three points: its ends, and a gap."""
    assert isinstance(artist, Line2D)
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    outside = ~((x >= left) & (x <= right) & (y >= low) & (y <= high))
    drawn = np.concatenate([[0], np.cumsum(~(outside[:-1] & outside[1:]))])
    return grown(artist, lambda k: 3 * int(drawn[min(k, len(drawn) - 1)]))


def _segments(artist: Artist, x: Array, y: Array) -> Moving:
    """Show the legs whose width is the learning rate up to a step."""
    assert isinstance(artist, LineCollection)
    whole = artist.get_segments()
    finite = np.isfinite(x) & np.isfinite(y)
    drawn = np.concatenate([[0], np.cumsum(finite[:-1] & finite[1:])])
    return Moving(artist, lambda k: artist.set_segments(whole[: int(drawn[min(k, len(drawn) - 1)])]))


def growing_curves(ax: Axes, curves: Sequence[Curve], steps: Array, look: Style) -> list[Moving]:
    """Let curves, as `ravine.plot.gaps.draw_curves` drew them, grow; what happens on the way appears when it does."""
    lines = [line for line in ax.lines if line.get_gid() == "loss"]
    clouds = [line for line in ax.lines if line.get_gid() == "batch_loss"]
    found = [grown(line, _up_to(np.asarray(line.get_xdata(orig=True)), steps)) for line in [*clouds, *lines]]
    since: dict[tuple[float, float], float] = {}
    broken = {str(line.get_color()): curve.broken for line, curve in zip(lines, curves, strict=True)}
    for line in ax.lines:
        if line.get_gid() in ("arrival", "diverged"):
            spot = float(line.get_xdata()[0]), float(line.get_ydata()[0])  # type: ignore[index, arg-type]
            at = spot[0] if line.get_gid() == "arrival" else broken[str(line.get_markerfacecolor())]
            since[spot] = float(np.searchsorted(steps, at))
            found.append(appearing(line, since[spot]))
    for text in ax.texts:
        x, y = (float(each) for each in getattr(text, "xy", (np.nan, np.nan)))
        if getattr(text, "xycoords", "") == "data" and (x, y) in since:
            found.append(appearing(text, since[x, y]))
    for line, curve in zip(lines, curves, strict=True):
        found.append(_moment(ax, curve, str(line.get_color()), steps, look))
    now = ax.axvline(steps[0], color=look.quiet, lw=0.8, alpha=0.7, zorder=1.8, gid="now")
    found.append(Moving(now, lambda k: now.set_xdata([steps[k], steps[k]])))
    return found


def _up_to(places: Array, steps: Array) -> Callable[[int], int]:
    return lambda k: int(np.searchsorted(places, steps[k], side="right"))


def _moment(ax: Axes, curve: Curve, color: str, steps: Array, look: Style) -> Moving:
    """Mark where a curve is at a step; where the loss was not looked at, the last place that was."""
    (dot,) = ax.plot([], [], ls="", marker="o", ms=6.0, mew=1.1, mec=look.ground, mfc=color, zorder=4.5, gid="moment")
    count = _up_to(curve.steps, steps)

    def move(k: int) -> None:
        here = slice(max(count(k) - 1, 0), count(k))
        dot.set_data(curve.steps[here], curve.heights[here])

    return Moving(dot, move)
