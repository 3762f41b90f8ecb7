"""layers: how far each update moves each layer, against how large its weights are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._format import number
from ravine._study.contract import check_single
from ravine.measure._objective import step_values
from ravine.plot._canvas.hues import NAMED, choose_hues
from ravine.plot._canvas.labels import FreeSpace, draw_label
from ravine.plot._canvas.layout import widest
from ravine.plot._canvas.sheet import Drawn, Words, drawn_on, open_sheet
from ravine.plot._canvas.style import Style, is_users, style_on, with_own_settings
from ravine.plot._canvas.ticks import round_numbers, write_numbers
from ravine.plot._canvas.words import settings_text, steps_text
from ravine.plot._curves.curve import Curve, draw_curves

USUAL = 1e-3
"""What is often aimed at (A. Karpathy, CS231n, "Ratio of weights:updates"): a rule of thumb, no limit."""


@dataclass(frozen=True, eq=False)
class Ratios:
    """Update over weight of one layer by step, NaN where a logarithmic axis has no place for it: `left` of them.

    `median` is that over all `taken` steps, those that did not move the layer among them; `moved` of them did.
    """

    name: str
    steps: NDArray[np.floating[Any]]
    values: NDArray[np.floating[Any]]
    left: int
    median: float
    taken: int
    moved: int


@with_own_settings
def layers(run: xr.Dataset, *, ax: Drawn | None = None, title: str | None = None, style: str = "ravine") -> Drawn:
    """Draw how far each update moves each layer: its length over that of the layer's weights, by step.

    Each layer has a curve, on a logarithmic scale. More than three layers have the colours of a ramp, from the first to
    the last; up to ten bear their names, of more a bar counts them, and the two of the title bear name and
    number. It shows which layers hardly change and which move by much of their weights at each step; whether they
    should, lengths alone do not say. Steps that do not move a layer count too. A dotted line marks a
    thousandth, a rule of thumb.

    Parameters
    ----------
    run
        One recording, as `ravine.record` makes it, with ``update_ratio``; without positions as well.
    ax
        An Axes of yours to draw on; its figure, title, frame and fonts stay as they are.
    title
        What to see; the layers that move most and least, if left out.
    style
        ``"ravine"``, ``"dark"`` or ``"article"``.

    Returns
    -------
    Figure or matplotlib.axes.Axes
        The figure, to be written with ``.savefig(path)``; or `ax`, if it was given.

    Raises
    ------
    ValueError
        If the study has no ``update_ratio``, several runs, or no update that moved anything.

    Examples
    --------
    >>> ratios = [[0.01, 0.002], [0.02, 0.001], [np.nan, np.nan]]
    >>> coords = {"step": [0, 10, 20], "layer": ["in", "out"]}
    >>> run = xr.Dataset({"update_ratio": (("step", "layer"), ratios)}, coords)
    >>> figure = layers(run)
    >>> " ".join(figure.texts[0].get_text().split())
    'in moves most, by 1.5 % of its weights at a step; out least, by 0.15 %'

    Notes
    -----
    A. Karpathy, CS231n, "Neural Networks Part 3: Learning and Evaluation".
    """
    ratios = check_single(run, "update_ratio")
    theme = style_on(style, ax)
    found = _read_ratios(ratios)
    if not any(np.isfinite(each.values).any() for each in found):
        raise ValueError("no update moved anything: there is no ratio above 0 to draw")
    words = Words(title, _title(found), _subtitle(run, title), [(line, theme.quiet) for line in _captions(found)])
    hues = choose_hues("layer", range(1, len(found) + 1), theme)
    named = _choose_named(found)
    aside = 1.45 if hues.bar is not None else max(0.25, widest(sorted(named), 8.5) / 72 + 0.4)
    sheet = open_sheet(ax, theme, words, tall=3.2, aside=aside)
    if hues.bar is not None:
        sheet.draw_bar(hues.bar, f"layer, of {len(found)}", 0.2)
    sheet.ax.set_yscale("log")
    sheet.name_axes("step", "update over weights")
    curves = [
        Curve(each.name if each.name in named else "", each.steps, each.values, None, np.nan, np.nan, share=False)
        for each in found
    ]
    begun = len(sheet.ax.lines)
    draw_curves(sheet.ax, curves, theme, hues)
    for line, each in zip(sheet.ax.lines[begun:], found, strict=False):  # the curves come before all else of ours
        line.set_gid(each.name)
        if hues.bar is not None and each.name in named:
            line.set(linewidth=2.2, zorder=2.8)
    if hues.bar is not None:
        _name_curves(sheet.ax, found, hues.colors, theme)
    if not is_users(sheet.ax):
        _write_percents(sheet.ax, theme)
    _draw_usual(sheet.ax, theme)
    return drawn_on(sheet, ax)


def _name_curves(ax: Axes, found: list[Ratios], colors: Sequence[str], theme: Style) -> None:
    """Write which layers those of the title are, and their numbers on the bar: over all curves, and under them."""
    low, high = ax.get_ylim()
    if not is_users(ax):  # room for the words, which nothing else stands in
        ax.set_ylim(low / (high / low) ** 0.12, high * (high / low) ** 0.12)
    free = FreeSpace(ax)
    for each in found:
        free.line(free.points(np.c_[each.steps, each.values]))
    for layer, up in zip(_extremes(found), (1, -1), strict=True):
        there = np.flatnonzero(np.isfinite(layer.values))
        there = there[np.argsort(up * layer.values[there], kind="stable")][:9]
        k = found.index(layer)
        words = f"{_called(layer)}, no. {k + 1}"
        for lead, place in itertools.product((False, True), there):  # close by, before any line leads to it
            spot = (float(layer.steps[place]), float(layer.values[place]))
            if draw_label(ax, words, spot, theme, color=colors[k], free=free, lead=lead, far=300.0) is not None:
                break


def _read_ratios(ratios: xr.DataArray) -> list[Ratios]:
    values = ratios.transpose("step", "layer").values.astype(float)
    steps = ratios["step"].values if "step" in ratios.coords else np.arange(len(values))
    names = (
        [str(each) for each in ratios["layer"].values] if "layer" in ratios.coords else map(str, range(len(values.T)))
    )
    found = []
    for name, row in zip(names, values.T, strict=True):
        drawn = np.isfinite(row) & (row > 0)
        left = int((~drawn & ~np.isnan(row)).sum())
        known, taken = row[np.isfinite(row)], int((~np.isnan(row)).sum())  # of weights that are all 0 no ratio tells
        median = float(np.median(known)) if len(known) else np.nan
        moved = int((row > 0).sum())
        found.append(Ratios(name, steps.astype(float), np.where(drawn, row, np.nan), left, median, taken, moved))
    return found


def _choose_named(found: list[Ratios]) -> set[str]:
    """Choose which layers bear their names: all where they are few, else the two of the title."""
    if len(found) <= NAMED:
        return {each.name for each in found}
    least, most = _extremes(found)
    return {least.name, most.name}


def _extremes(found: list[Ratios]) -> tuple[Ratios, Ratios]:
    """Return the layers that move least and most; one that never moves moves least."""
    told = [each for each in found if np.isfinite(each.median)] or [each for each in found if each.moved]
    told = sorted(told, key=lambda each: (each.median, each.moved))
    return told[0], told[-1]


def _title(found: list[Ratios]) -> str:
    least, most = _extremes(found)
    told = [each for each in found if np.isfinite(each.median)]
    if least is not most and _much(least) == _much(most) and len(told) == len(found):
        who = "Both layers move" if len(told) == 2 else f"All {len(told)} layers move"
        return who + _much(most).replace("its weights", "their weights")
    who = _called(most).replace("layer ", "Layer ", 1)
    much = f"{who} moves{' most' * (least is not most)}{',' * (least is not most)}{_much(most)}"
    still = [each for each in told if not each.moved]
    if still:
        return f"{much}; {_called(least) if len(still) == 1 else f'{len(still)} layers'} never"
    if least is most:
        return much
    return f"{much}; {_called(least)} least,{_much(least).replace(' of its weights at a step', '')}"


def _much(layer: Ratios) -> str:
    """Say how far a layer moves, or at how many steps, where that are not even half."""
    if layer.median > 0:
        return f" by {number(100 * layer.median)} % of its weights at a step"
    return f" at {layer.moved:,} of {layer.taken:,} steps"


def _called(layer: Ratios) -> str:
    return f"layer {layer.name}" if layer.name.isdigit() else layer.name


def _subtitle(run: xr.Dataset, own: str | None) -> list[str]:
    """Say what was run, and what a title of ours tells: of thinned recordings few steps are known."""
    apart = np.diff(step_values(run))
    steps = "all steps" if (apart == 1).all() else "the recorded steps"
    return [settings_text(run), steps_text(run), *[f"in the title: medians over {steps}"] * (own is None)]


def _captions(found: list[Ratios]) -> list[str]:
    left = sum(each.left for each in found)
    words = (
        f"{left:,} update{'s' * (left != 1)} of a layer that is 0, or that move nothing, have no place on this scale"
    )
    return [words] * bool(left)


def _write_percents(ax: Axes, theme: Style) -> None:
    """Number the height in per cent, and name it over the Axes."""
    ax.minorticks_off()
    places = round_numbers(*ax.get_ylim(), 8, log=True)
    ax.set_yticks(places, [f"{words} %" for words in write_numbers(100 * places, log=True)])
    ax.set_ylabel("")
    ax.set_title(
        "length of the update, as a share of that of the layer's weights", loc="left", size=8.5, color=theme.quiet
    )


def _draw_usual(ax: Axes, theme: Style) -> None:
    """Mark the rule of thumb where it is in sight."""
    low, high = ax.get_ylim()
    if low < USUAL < high:
        ax.axhline(USUAL, color=theme.quiet, lw=0.8, ls=(0, (1, 3)), zorder=2, gid="rule of thumb")
