"""The one figure of a film: the maps, what stands beside and under them, and a list of all that moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine.plot._canvas.labels import text_size
from ravine.plot._canvas.layout import Headings, Sheet, name_axes, sheet_of, wrap, wrap_parts, write_head_over
from ravine.plot._canvas.style import Figure, Style, calm
from ravine.plot._curves.curve import curves_of, draw_curves
from ravine.plot._curves.fit import lines_of
from ravine.plot._film.moving import (
    WIDTH,
    MovingArtist,
    RunStatus,
    appearing,
    board_height,
    changing_text,
    draw_board,
    growing_curves,
    growing_path,
    statuses_of,
    still,
)
from ravine.plot._film.moving import changing_text as told_
from ravine.plot._map.descent import subtitle_of
from ravine.plot._map.marks import trajectory
from ravine.plot._map.notes import draw_panel
from ravine.plot._map.panels import Panel, PanelGrid

Array = NDArray[np.floating[Any]]

BEYOND = 0.6
"""Room above and below the data, as a share of their height: lines that start far off show where they come from."""


def draw_fit(ax: Axes, run: xr.Dataset, lines: Array, theme: Style) -> list[MovingArtist]:
    """Draw the data, and the model's line, which moves."""
    x, y = run["inputs"].values.astype(float), run["targets"].values.astype(float)
    calm(ax, theme)
    ax.grid(color=theme.grid, lw=0.6)
    ax.set_axisbelow(True)
    ax.plot(x, y, ls="", marker="o", ms=3.6, mew=0.8, mec=theme.quiet, mfc="none", zorder=2, gid="data")
    ax.set_title("data and fit", loc="left", size=8.5, color=theme.quiet)
    ax.set_xlabel(run["inputs"].attrs.get("long_name", "x"))
    ax.set_ylabel(run["targets"].attrs.get("long_name", "y"))
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

    moved: Callable[[int], None] = move
    return [MovingArtist(line, moved)]


ASIDE = WIDTH
"""Inches that a curve, a fit or a scoreboard is wide; between it and the map stand the numbers of its axis."""

CURVE = 1.6
"""Inches that a curve or a fit is high, at least."""

BETWEEN, ABOVE, BELOW = 0.8, 0.3, 0.5
"""Inches between map and curve, over a curve for its title and under it for its numbers."""

FOOT = 0.42
"""Inches under everything, for the line that says which step it is."""


def staged(
    runs: xr.Dataset,
    plan: PanelGrid,
    pair: tuple[str, str],
    frames: Sequence[int],
    steps: NDArray[Any],
    title: str,
    theme: Style,
) -> tuple[Figure, list[MovingArtist]]:
    """Draw everything once, and return the figure with all that moves."""
    shown = plan.panels
    standings = [statuses_of(panel, pair) for panel in shown]
    single = len(shown) == 1
    race = single and len(shown[0].runs) > 1
    tellers = [[] if race else _tellers(each, theme) for each in standings]
    reserved = [[(max(map(words, frames), key=_room), color) for words, color in each] for each in tellers]
    sheet = sheet_of(
        Headings("", [], [panel.label for panel in shown], reserved, plan.rows),
        shown[0].x,
        shown[0].y,
        theme,
        columns=plan.columns,
    )
    told = [list(ax.texts) for ax in sheet.axes]
    lines = lines_of(runs) if single and not race else None
    rows = _aside(shown[0], standings[0], race, lines, frames) if single else {}
    parts = []
    subtitle = subtitle_of(runs, shown, False, pair)
    if any(each.shares is not None for group in standings for each in group):
        subtitle.append("% left: of the gap at the start")
    _make_room(sheet, rows, title, subtitle, theme)
    for ax, panel, each, texts in zip(sheet.axes, shown, tellers, told, strict=True):
        parts += _map(sheet, ax, panel, pair, theme)
        for text, (words, color) in zip(texts, each, strict=True):
            text.set(color=color, gid="standing")
            parts.append(told_(text, _broken(words, sheet)))
    name_axes(sheet, pair)
    for name, ax in _axes_aside(sheet, rows).items():
        if name == "board":
            parts += draw_board(ax, standings[0], frames, theme)
        elif name == "loss":
            parts += _curves(ax, shown[0], steps, theme)
        elif lines is not None:
            parts += draw_fit(ax, runs, lines, theme)
    parts += _clock(sheet, frames, steps, theme)
    for part in parts:
        part.artist.set_animated(True)
        part.move(0)
    return sheet.figure, parts


Teller = Callable[[int], str]


def _tellers(standings: Sequence[RunStatus], theme: Style) -> list[tuple[Teller, str]]:
    """Return what writes the words under a panel after any number of steps, and their colour, for each run."""
    if len(standings) == 1:
        (one,) = standings
        return [(lambda k: f"{one.value(k, both=True)}\n{one.status(k)}", theme.ink)]
    return [(_teller(each), color) for each, color in zip(standings, theme.accents, strict=False)]


def _teller(one: RunStatus) -> Teller:
    return lambda k: f"{one.name}: {one.value(k)}\n{one.status(k)}"


def _room(text: str) -> tuple[float, float]:
    """Return what tells which text needs most room: its lines, then its width."""
    width, height = text_size(text, 8.2)
    return height, width


def _broken(words: Teller, sheet: Sheet) -> Teller:
    """Break lines that are wider than a panel."""
    inches = sheet.side + 0.25 * (sheet.columns > 1)
    return lambda k: "\n".join(wrap(line, inches, sheet.size(8.2)) for line in words(k).split("\n"))


# -- room ----------------------------------------------------------------------------------------------------------


def _aside(
    panel: Panel, standings: Sequence[RunStatus], race: bool, lines: Array | None, frames: Sequence[int]
) -> dict[str, float]:
    """Return what stands beside a single map, from top to bottom, and how many inches each needs."""
    rows = {}
    if race:
        rows["board"] = board_height(standings, frames)
    if all("loss" in run and np.isfinite(run["loss"]).any() for run in panel.runs):
        rows["loss"] = ABOVE + CURVE + BELOW
    if lines is not None:
        rows["fit"] = ABOVE + CURVE + BELOW
    return rows


def _make_room(sheet: Sheet, rows: dict[str, float], title: str, subtitle: Sequence[str], theme: Style) -> None:
    """Enlarge the figure: at the right for what stands beside, above for the head, below for the step."""
    figure = sheet.figure
    width, height = figure.get_size_inches()
    map_box = sheet.axes[0].get_position()
    right = BETWEEN + ASIDE if rows else 0.0
    left = map_box.x0 * width
    head = wrap(title, width + right - left - 0.2, 13, weight="bold")
    under = wrap_parts(subtitle, width + right - left - 0.2, 8)
    above = sum(text_size(text, size)[1] * 1.12 / 72 for text, size in ((head, 13), (under, 8)))
    # what stands beside begins where the map does, and may need more room under it than the map
    below = FOOT + max(0.0, sum(rows.values()) - map_box.y1 * height)
    wide, tall = width + right, height + above + below
    for ax in figure.axes:
        box = ax.get_position()
        ax.set_position(
            (
                box.x0 * width / wide,
                (box.y0 * height + below) / tall,
                box.width * width / wide,
                box.height * height / tall,
            )
        )
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((x * width / wide, (y * height + below) / tall))
    figure.set_size_inches(wide, tall)
    write_head_over(sheet.axes[0], head, under, theme)


def _axes_aside(sheet: Sheet, rows: dict[str, float]) -> dict[str, Axes]:
    """Place what stands beside the map; curve and fit share the height that is left over."""
    figure = sheet.figure
    width, height = figure.get_size_inches()
    box = sheet.axes[0].get_position()
    top, bottom = box.y1 * height, box.y0 * height
    curves = [name for name in rows if name != "board"]
    spare = max(0.0, top - bottom + BELOW - sum(rows.values())) / max(1, len(curves))
    found = {}
    for name, needed in rows.items():
        tall = needed + spare * (name != "board")
        inner = (0.0, 0.0) if name == "board" else (ABOVE if top < box.y1 * height else 0.0, BELOW)
        x0, y0 = width - ASIDE - 0.2, top - tall + inner[1]
        place = (x0 / width, y0 / height, ASIDE / width, (tall - sum(inner)) / height)
        found[name] = figure.add_axes(place, label=name)
        top -= tall
    return found


# -- what is drawn -------------------------------------------------------------------------------------------------


def _map(sheet: Sheet, ax: Axes, panel: Panel, pair: tuple[str, str], theme: Style) -> list[MovingArtist]:
    """Draw a panel as `ravine.plot.descent` does, and let its paths grow and its notes appear."""
    drawn = draw_panel(ax, panel, pair, theme, scale=sheet.scale, field=False, enlarge=False)
    parts = [appearing(artist, since) for since, artist in drawn.notes]
    for turn, (run, artists) in enumerate(zip(panel.runs, drawn.paths, strict=True)):
        x, y, _ = trajectory(run, pair)
        parts += growing_path(ax, artists, x, y, theme, turn)
    known = {part.artist for part in parts}
    crosses: list[Artist] = [line for line in ax.lines if line not in known and line.get_gid() in CROSSES]
    return parts + [still(cross) for cross in crosses]


CROSSES = ("minimum", "lowest", "data minimum")
"""Marks that lie over a path."""


def _curves(ax: Axes, panel: Panel, steps: NDArray[Any], theme: Style) -> list[MovingArtist]:
    """Draw the curves of a panel's runs, none of them named: the scoreboard or the title does."""
    runs = panel.runs
    curves = [curves_of(run)[0] for run in runs]
    if not all(curve.share for curve in curves):  # a share is not to be compared with a loss
        curves = [curves_of(run.drop_vars("minimum_loss", errors="ignore"))[0] for run in runs]
    draw_curves(ax, curves, theme)
    ax.set_xlim(*_span(steps))
    return growing_curves(ax, curves, steps, theme)


def _span(steps: NDArray[Any]) -> tuple[float, float]:
    edge = 0.02 * float(steps[-1] - steps[0]) or 0.5
    return float(steps[0]) - edge, float(steps[-1]) + edge


def _clock(sheet: Sheet, frames: Sequence[int], steps: NDArray[Any], theme: Style) -> list[MovingArtist]:
    """Write which step it is, at the lower left, before a line that says how far that is."""
    figure = sheet.figure
    width, height = figure.get_size_inches()
    left = sheet.axes[0].get_position().x0 * width
    wide = width - left - 0.2
    ax = figure.add_axes((left / width, 0.1 / height, wide / width, 0.26 / height), label="clock")
    ax.axis("off")
    begin = (text_size(f"step {steps[frames[-1]]:,}", 11, weight="bold")[0] + 10) / 72 / wide
    end = f"{steps[frames[-1]]:,}"
    stop = 1 - (text_size(end, 8)[0] + 6) / 72 / wide
    ax.set(xlim=(0, 1), ylim=(0, 1))
    words = ax.text(0, 0.5, "", size=11, weight="bold", color=theme.ink, va="center", gid="step")
    ax.text(1, 0.5, end, size=8, color=theme.quiet, va="center", ha="right")
    ax.plot([begin, stop], [0.5, 0.5], color=theme.grid, lw=3, solid_capstyle="round", gid="way")
    (bar,) = ax.plot([begin, begin], [0.5, 0.5], color=theme.quiet, lw=3, solid_capstyle="round", gid="gone")
    first, last = float(steps[frames[0]]), float(steps[frames[-1]])

    def gone(k: int) -> None:
        share = (float(steps[k]) - first) / (last - first) if last > first else 1.0
        bar.set_xdata([begin, begin + share * (stop - begin)])

    return [changing_text(words, lambda k: f"step {steps[k]:,}"), MovingArtist(bar, gone)]
