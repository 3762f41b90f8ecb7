"""The scoreboard: what is to be said of each run at each step, from `ravine.measure` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine import measure
from ravine.plot import captions, marks, paper, reasons
from ravine.plot.moving import Moving, told
from ravine.plot.panels import Panel
from ravine.plot.paper import Style
from ravine.plot.sheet import wrap

__all__ = ["WIDTH", "Standing", "board_height", "draw_board", "standings_of"]

Array = NDArray[np.floating[Any]]

WIDTH = 3.7
"""Inches that a scoreboard is wide."""

LEAST = 1e-5
"""Share of the gap below which only that it is smaller is said."""


@dataclass(frozen=True, eq=False)
class Standing:
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
        loss = f"loss {captions.number(float(self.losses[here]))}"
        if self.shares is None or not np.isfinite(self.shares[here]):
            return loss
        left = told_share(float(self.shares[here]))
        return f"{loss}, {left}" if both else left

    def status(self, k: int) -> str:
        """Say what has become of the run after `k` steps; nothing while it is on its way."""
        last = len(self.outside) - 1
        step, over = self.steps[min(k, last)], k >= last
        words = []
        if step >= self.broken:  # never, where it is NaN
            words.append(f"diverged at step {self.broken:.0f}")
        elif step >= self.arrival:
            words.append(f"arrived {'first, ' * self.first}at step {self.arrival:.0f}")
        elif over and self.outcome:
            words.append("diverged" if self.outcome == "diverged" else "has not arrived")
        if k > last:
            words.append(f"ended at step {self.steps[last]:.0f}")
        if self.outside[min(k, last)]:
            words.append("off the map")
        return ", ".join(words)


def told_share(share: float) -> str:
    """Say how much of the gap at the start is left, in percent with three digits, or how much it has grown.

    Examples
    --------
    >>> [told_share(share) for share in (1, 0.1234, 0.01, 0.00004, 1e-9, 12.34)]
    ['100 % left', '12.3 % left', '1.00 % left', '0.004 % left', 'under 0.001 % left', 'gap grown 12.3-fold']
    """
    if share > 1.0005:
        return f"gap grown {captions.number(float(f'{share:.3g}'))}-fold"
    if share < LEAST:
        return f"under {100 * LEAST:g} % left"
    digits = int(np.clip(-np.floor(np.log10(share)), 0, 3))
    return f"{100 * share:.{digits}f} % left"


def standings_of(panel: Panel, pair: tuple[str, str]) -> list[Standing]:
    """Return the standing of each run of a panel; the one that arrives before all others is the first."""
    found = [_standing(run, name, panel, pair) for run, name in zip(panel.runs, panel.names, strict=True)]
    arrivals = sorted(each.arrival for each in found if np.isfinite(each.arrival))
    alone = len(found) > 1 and bool(arrivals) and (len(arrivals) == 1 or arrivals[0] < arrivals[1])
    same = all(each.shares is not None for each in found)  # a share is not to be compared with a loss
    return [
        replace(each, first=alone and each.arrival == arrivals[0], shares=each.shares if same else None)
        for each in found
    ]


def _standing(run: xr.Dataset, name: str, panel: Panel, pair: tuple[str, str]) -> Standing:
    x, y, _ = marks.trajectory(run, pair)
    outside = ~((x >= panel.x[0]) & (x <= panel.x[-1]) & (y >= panel.y[0]) & (y <= panel.y[-1]))
    steps = run["step"].values if "step" in run.coords else np.arange(len(x))
    settings = captions.settings(run)
    if "loss" not in run:
        unknown = np.full(len(x), np.nan)
        return Standing(name, settings, steps, unknown, np.isfinite(unknown), None, outside, "", np.nan, np.nan)
    end = reasons.end_of(run)
    shares = None
    if end is not None:
        gaps = measure.gap(run).values.astype(float)
        shares = gaps / gaps[0] if np.isfinite(gaps[0]) and gaps[0] > 0 else None
    broken = bool(measure.diverged(run))
    outcome = end.outcome if end is not None else "diverged" * broken
    losses, looked = run["loss"].values.astype(float), measure.evaluated(run).values
    arrival, broken_at = np.nan if end is None else end.step, measure.first_nonfinite(run).item()
    return Standing(name, settings, steps, losses, looked, shares, outside, outcome, arrival, broken_at)


# -- the board ---------------------------------------------------------------------------------------------------

NAME, SMALL, LINE, APART = 10.0, 7.8, 11.5, 9.0
"""Sizes of the letters, height of a small line and space between runs, in points."""


def board_height(standings: Sequence[Standing], frames: Sequence[int]) -> float:
    """Return the inches that a scoreboard needs."""
    return sum(_row(each, frames)[-1] for each in standings) / 72


def _row(standing: Standing, frames: Sequence[int]) -> tuple[str, str, float]:
    """Return a run's name and settings, broken so that value and status fit beside them, and its height in points."""
    value = max(paper.measure(standing.value(k), NAME, weight="bold")[0] for k in frames)
    status = max(paper.measure(standing.status(k), SMALL)[0] for k in frames)
    name = wrap(standing.name, WIDTH - (value + 22) / 72, NAME, weight="bold")
    settings = wrap(standing.settings, WIDTH - (status + 22) / 72, SMALL)
    return name, settings, _tall(name) + LINE * (1 + settings.count("\n")) + APART


def _tall(name: str) -> float:
    return 1.35 * NAME * (1 + name.count("\n"))


def draw_board(ax: Axes, standings: Sequence[Standing], frames: Sequence[int], look: Style) -> list[Moving]:
    """Write a row for each run: its name, what is left, its settings, and what has become of it."""
    ax.set(xlim=(0, 72 * WIDTH), ylim=(72 * board_height(standings, frames), 0))
    ax.axis("off")
    y, found = 0.0, []
    for turn, standing in enumerate(standings):
        color = look.accents[turn]
        name, settings, height = _row(standing, frames)
        under = y + _tall(name)
        middle = y + 0.6 * NAME
        ax.plot([0, 9], [middle, middle], color=color, lw=2, ls=marks.DASHES[turn], gid="key")
        ax.plot([4.5], [middle], ls="", marker=marks.SHAPES[turn], ms=6, mew=1, mec=look.ground, mfc=color, gid="key")
        ax.text(15, y, name, size=NAME, weight="bold", color=color, va="top", linespacing=1.25, gid="name")
        ax.text(15, under, settings, size=SMALL, color=look.quiet, va="top", linespacing=1.25, gid="settings")
        right = 72 * WIDTH
        value = ax.text(right, y, "", size=NAME, weight="bold", color=look.ink, va="top", ha="right", gid="value")
        status = ax.text(right, under, "", size=SMALL, color=color, va="top", ha="right", gid="status")
        found += [told(value, standing.value), told(status, standing.status)]
        y += height
    return found
