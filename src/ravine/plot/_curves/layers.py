"""layers: how far each update moves each layer, against how large its weights are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ravine._format import number
from ravine._study.contract import check_single
from ravine.plot._canvas.hues import NAMED, choose_hues
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
    """Update over weight of one layer by step, NaN where a logarithmic axis has no place for it: `left` of them."""

    name: str
    steps: NDArray[np.floating[Any]]
    values: NDArray[np.floating[Any]]
    left: int

    @property
    def median(self) -> float:
        """The median over all steps that are drawn; NaN where there are none."""
        seen = self.values[np.isfinite(self.values)]
        return float(np.median(seen)) if len(seen) else np.nan


@with_own_settings
def layers(run: xr.Dataset, *, ax: Drawn | None = None, title: str | None = None, style: str = "ravine") -> Drawn:
    """Draw how far each update moves each layer: its length over that of the layer's weights, by step.

    Each layer has a curve, on a logarithmic scale. More than three layers have the colours of a ramp, from the first to
    the last; up to ten bear their names, of more a bar counts them. It shows which layers hardly change and
    which move by much of their weights at each step; whether they should, lengths alone do not say. A dotted line marks
    a thousandth, a rule of thumb.

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
    if all(np.isnan(each.median) for each in found):
        raise ValueError("no update moved anything: there is no ratio above 0 to draw")
    words = Words(title, _title(found), _subtitle(run), [(line, theme.quiet) for line in _captions(found)])
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
    if not is_users(sheet.ax):
        _write_percents(sheet.ax, theme)
    _draw_usual(sheet.ax, theme)
    return drawn_on(sheet, ax)


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
        found.append(Ratios(name, steps.astype(float), np.where(drawn, row, np.nan), left))
    return found


def _choose_named(found: list[Ratios]) -> set[str]:
    """Choose which layers bear their names: all where they are few, else the two of the title."""
    if len(found) <= NAMED:
        return {each.name for each in found}
    least, most = _extremes(found)
    return {least.name, most.name}


def _extremes(found: list[Ratios]) -> tuple[Ratios, Ratios]:
    """Return the layers that move least and most."""
    moving = sorted((each for each in found if np.isfinite(each.median)), key=lambda each: each.median)
    return moving[0], moving[-1]


def _title(found: list[Ratios]) -> str:
    least, most = _extremes(found)
    moving = [each for each in found if np.isfinite(each.median)]
    if least is not most and _percent(least) == _percent(most):
        who = "Both layers" if len(moving) == 2 else f"All {len(moving)} layers"
        return f"{who} move by {_percent(most)} of their weights at a step"
    who = _called(most).replace("layer ", "Layer ", 1)
    much = f"{who} moves{' most,' if least is not most else ''} by {_percent(most)} of its weights at a step"
    return much if least is most else f"{much}; {_called(least)} least, by {_percent(least)}"


def _called(layer: Ratios) -> str:
    return f"layer {layer.name}" if layer.name.isdigit() else layer.name


def _percent(layer: Ratios) -> str:
    return f"{number(100 * layer.median)} %"


def _subtitle(run: xr.Dataset) -> list[str]:
    return [settings_text(run), steps_text(run), "in the title: medians over the steps"]


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
