"""The one figure of a film: the maps, what stands beside and under them, and a list of all that moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.plot._canvas.labels import text_size
from ravine.plot._canvas.layout import EDGE, Headings, Layout, make_layout, wrap
from ravine.plot._canvas.style import Figure, Style, calm
from ravine.plot._curves.curve import curves_of, draw_curves
from ravine.plot._curves.fit import draw_data, lines_of, name_data
from ravine.plot._film.moving import (
    WIDTH,
    MovingArtist,
    RunStatus,
    appear,
    board_height,
    change_text,
    draw_board,
    grow_curves,
    grow_path,
    keep_still,
    statuses_of,
)
from ravine.plot._map.descent import descent_subtitle, shape_of, sides_of
from ravine.plot._map.marks import trajectory
from ravine.plot._map.notes import PanelLook, draw_panel
from ravine.plot._map.panels import Panel, PanelGrid

Array = NDArray[np.floating[Any]]

BEYOND = 0.6
"""Room above and below the data, as a share of their height: lines that start far off show where they come from."""


def draw_fit(ax: Axes, run: xr.Dataset, lines: Array, theme: Style) -> list[MovingArtist]:
    """Draw the data, and the model's line, which moves."""
    x, y = run["inputs"].values.astype(float), run["targets"].values.astype(float)
    calm(ax, theme, grid=True)
    draw_data(ax, x, y, theme)
    ax.set_title("data and fit", loc="left", size=8.5, color=theme.quiet)
    name_data(ax, run)
    ax.margins(0.06)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    pad = BEYOND * (high - low)
    ax.set(xlim=(left, right), ylim=(low - pad, high + pad))
    ends = np.array([x.min(), x.max()])
    (line,) = ax.plot(ends, ends, color=theme.accent, lw=1.8, zorder=3, gid="fit")

    def move(k: int) -> None:
        weight, bias = lines[min(k, len(lines) - 1)]
        with np.errstate(over="ignore", invalid="ignore"):
            line.set_ydata(weight * ends + bias)

    return [MovingArtist(line, move)]


ASIDE = WIDTH
"""Inches that a curve, a fit or a scoreboard is wide; between it and the map stand the numbers of its axis."""

CURVE = 1.6
"""Inches that a curve or a fit is high, at least."""

BETWEEN, ABOVE, BELOW = 0.8, 0.3, 0.5
"""Inches between map and curve, over a curve for its title and under it for its numbers."""

FOOT = 0.42
"""Inches under everything, for the line that says which step it is."""


@dataclass(frozen=True, eq=False)
class Clock:
    """Which places along ``step`` the frames show, and the numbers of all steps."""

    frames: list[int]
    steps: NDArray[Any]
    unit: str = "step"


def make_stage(
    runs: xr.Dataset, plan: PanelGrid, pair: tuple[str, str], clock: Clock, title: str, theme: Style
) -> tuple[Figure, list[MovingArtist]]:
    """Draw everything once, and return the figure with all that moves."""
    shown = plan.panels
    statuses = [statuses_of(panel, pair) for panel in shown]
    single = len(shown) == 1
    race = single and len(shown[0].runs) > 1
    tellers = [[] if race else _tellers(each, theme) for each in statuses]
    subtitle = descent_subtitle(runs, shown, False, pair)
    if any(each.shares is not None for group in statuses for each in group):
        subtitle.append("% left: of the gap at the start")
    lines = lines_of(runs) if single and not race else None
    beside = _heights_beside(shown[0], statuses[0], race, lines, clock.frames) if single else {}
    shape = replace(shape_of(plan), foot=FOOT)
    if beside:
        shape = replace(shape, aside=BETWEEN + ASIDE, reach=sum(beside.values()))
    layout = make_layout(
        Headings(title, subtitle, [panel.label for panel in shown], _longest_texts(tellers, clock), plan.rows),
        *sides_of(shown[0], pair),
        shape,
        theme,
    )
    parts = []
    for ax, panel, each in zip(layout.axes, shown, tellers, strict=True):
        captions = list(ax.texts)
        parts += _draw_moving_map(layout, ax, panel, pair, theme)
        for text, (words, color) in zip(captions, each, strict=True):
            text.set(color=color, gid="standing")
            parts.append(change_text(text, _wrap_teller(words, layout)))
    for name, ax in _axes_beside(layout, beside).items():
        if name == "board":
            parts += draw_board(ax, statuses[0], clock.frames, theme)
        elif name == "loss":
            parts += _draw_growing_curves(ax, shown[0], clock.steps, theme)
        elif lines is not None:
            parts += draw_fit(ax, runs, lines, theme)
    parts += _draw_clock(layout, clock, theme)
    for part in parts:
        part.artist.set_animated(True)
        part.move(0)
    return layout.figure, parts


def _longest_texts(tellers: Sequence[Sequence[tuple[Teller, str]]], clock: Clock) -> list[list[tuple[str, str]]]:
    """Return what needs most room of all that is ever written under each panel."""
    return [[(max(map(words, clock.frames), key=_text_room), color) for words, color in each] for each in tellers]


Teller = Callable[[int], str]


def _tellers(statuses: Sequence[RunStatus], theme: Style) -> list[tuple[Teller, str]]:
    """Return what writes the words under a panel after any number of steps, and their colour, for each run."""
    if len(statuses) == 1:
        (one,) = statuses
        return [(lambda k: f"{one.value(k, both=True)}\n{one.status(k)}", theme.ink)]
    return [(_teller(each), color) for each, color in zip(statuses, theme.accents, strict=False)]


def _teller(one: RunStatus) -> Teller:
    return lambda k: f"{one.name}: {one.value(k)}\n{one.status(k)}"


def _text_room(text: str) -> tuple[float, float]:
    """Return what tells which text needs most room: its lines, then its width."""
    width, height = text_size(text, 8.2)
    return height, width


def _wrap_teller(words: Teller, layout: Layout) -> Teller:
    """Break lines that are wider than a panel."""
    inches = layout.measures.side + 0.6 * layout.measures.between
    return lambda k: "\n".join(wrap(line, inches, layout.size(8.2)) for line in words(k).split("\n"))


# -- room ----------------------------------------------------------------------------------------------------------


def _heights_beside(
    panel: Panel, statuses: Sequence[RunStatus], race: bool, lines: Array | None, frames: Sequence[int]
) -> dict[str, float]:
    """Return what stands beside a single map, from top to bottom, and how many inches each needs."""
    rows = {}
    if race:
        rows["board"] = board_height(statuses, frames)
    if all("loss" in run and np.isfinite(run["loss"]).any() for run in panel.runs):
        rows["loss"] = ABOVE + CURVE + BELOW
    if lines is not None:
        rows["fit"] = ABOVE + CURVE + BELOW
    return rows


def _axes_beside(layout: Layout, rows: dict[str, float]) -> dict[str, Axes]:
    """Place what stands beside the map; curve and fit share the height that is left over."""
    curves = [name for name in rows if name != "board"]
    spare = max(0.0, layout.measures.tall + BELOW - sum(rows.values())) / max(1, len(curves))
    found: dict[str, Axes] = {}
    down = 0.0
    for name, needed in rows.items():
        tall = needed + spare * (name != "board")
        above, below = (0.0, 0.0) if name == "board" else (ABOVE if found else 0.0, BELOW)
        found[name] = layout.add_beside(name, BETWEEN, down + above, ASIDE, tall - above - below)
        down += tall
    return found


# -- what is drawn -------------------------------------------------------------------------------------------------


def _draw_moving_map(layout: Layout, ax: Axes, panel: Panel, pair: tuple[str, str], theme: Style) -> list[MovingArtist]:
    """Draw a panel as `ravine.plot.descent` does, and let its paths grow and its notes appear."""
    drawn = draw_panel(ax, panel, pair, PanelLook(theme, layout.scale, enlarge=False))
    parts = [appear(artist, since) for since, artist in drawn.notes]
    for turn, (run, artists) in enumerate(zip(panel.runs, drawn.paths, strict=True)):
        x, y, _ = trajectory(run, pair)
        parts += grow_path(ax, artists, x, y, theme, turn)
    known = {part.artist for part in parts}
    crosses: list[Artist] = [line for line in ax.lines if line not in known and line.get_gid() in CROSSES]
    return parts + [keep_still(cross) for cross in crosses]


CROSSES = ("minimum", "lowest", "data minimum")
"""Marks that lie over a path."""


def _draw_growing_curves(ax: Axes, panel: Panel, steps: NDArray[Any], theme: Style) -> list[MovingArtist]:
    """Draw the curves of a panel's runs, none of them named: the scoreboard or the title does."""
    runs = panel.runs
    curves = [curves_of(run)[0] for run in runs]
    if not all(curve.share for curve in curves):  # a share is not to be compared with a loss
        curves = [curves_of(run.drop_vars("minimum_loss", errors="ignore"))[0] for run in runs]
    draw_curves(ax, curves, theme)
    ax.set_xlim(*_span(steps))
    return grow_curves(ax, curves, steps, theme)


def _span(steps: NDArray[Any]) -> tuple[float, float]:
    edge = 0.02 * float(steps[-1] - steps[0]) or 0.5
    return float(steps[0]) - edge, float(steps[-1]) + edge


def _draw_clock(layout: Layout, clock: Clock, theme: Style) -> list[MovingArtist]:
    """Write which step it is, at the lower left, before a line that says how far that is."""
    figure, frames, steps = layout.figure, clock.frames, clock.steps
    width, height = figure.get_size_inches()
    left = layout.measures.left
    wide = width - left - EDGE
    ax = figure.add_axes((left / width, 0.1 / height, wide / width, 0.26 / height), label="clock")
    ax.axis("off")
    begin = (text_size(f"{clock.unit} {steps[frames[-1]]:,}", 11, weight="bold")[0] + 10) / 72 / wide
    end = f"{steps[frames[-1]]:,}"
    stop = 1 - (text_size(end, 8)[0] + 6) / 72 / wide
    ax.set(xlim=(0, 1), ylim=(0, 1))
    words = ax.text(0, 0.5, "", size=11, weight="bold", color=theme.ink, va="center", gid="step")
    ax.text(1, 0.5, end, size=8, color=theme.quiet, va="center", ha="right")
    ax.plot([begin, stop], [0.5, 0.5], color=theme.grid, lw=3, solid_capstyle="round", gid="way")
    (bar,) = ax.plot([begin, begin], [0.5, 0.5], color=theme.quiet, lw=3, solid_capstyle="round", gid="gone")
    first, last = float(steps[frames[0]]), float(steps[frames[-1]])

    def move_bar(k: int) -> None:
        share = (float(steps[k]) - first) / (last - first) if last > first else 1.0
        bar.set_xdata([begin, begin + share * (stop - begin)])

    return [change_text(words, lambda k: f"{clock.unit} {steps[k]:,}"), MovingArtist(bar, move_bar)]
