"""The article: its runs and surfaces as one study, its ten figures, and its printed log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from ravine import gallery, plot
from ravine._descent.descend import descend
from ravine._landscape.surface import surface
from ravine._progress import tracked
from ravine._study.select import join
from ravine.measure._update import update_of
from ravine.plot._anatomy.arrows import arrows_of, corners_of, draw_update, ends_of, textbook_of
from ravine.plot._canvas.style import Figure, new_figure, style_of, with_own_settings
from ravine.plot._canvas.words import label_text, scalars

RUNS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"lr": 0.1},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "weight decay": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 2.0},
    "dampening": {"lr": 0.1, "momentum": 0.9, "dampening": 0.8},
}
"""The five settings of figures 4 to 10, by the knob that each turns."""


STEPS = 100
"""Epochs of the article's loop."""


def settings(**turned: Any) -> dict[str, dict[str, Any]]:
    """Return the five settings with other values wherever the article turns those knobs.

    Examples
    --------
    >>> from ravine import article
    >>> given = article.settings(momentum=0.5)
    >>> given["plain"], given["momentum"]
    ({'lr': 0.1}, {'lr': 0.1, 'momentum': 0.5})
    """
    return {run: {name: turned.get(name, value) for name, value in chosen.items()} for run, chosen in RUNS.items()}


def check(**turned: Any) -> None:
    """Let torch refuse what it will not run, before any work.

    What was turned is asked for in each of the article's settings, and all together with its momentum.

    Raises
    ------
    ValueError
        torch's own.

    Examples
    --------
    >>> from ravine import article
    >>> article.check(momentum=0.5)
    >>> article.check(nesterov=True, dampening=0.5)
    Traceback (most recent call last):
    ValueError: Nesterov momentum requires a momentum and zero dampening
    """
    together = {**RUNS["momentum"], **turned}
    for each in (together, *settings(**turned).values()):
        torch.optim.SGD([torch.zeros(())], **each)


def study(steps: int = STEPS, **turned: Any) -> xr.Dataset:
    """Compute everything the article shows: 20 runs (5 settings by 4 criteria) and the four surfaces.

    Parameters
    ----------
    steps
        Of each run.
    **turned
        Values that replace the article's, as in `settings`.

    Returns
    -------
    xarray.Dataset
        ``position``, ``loss``, ``gradient``, ``velocity`` (run, criterion, step, …), ``surface``
        (criterion, weight, bias), the data, and the settings along ``run``.

    Examples
    --------
    >>> from ravine import article
    >>> dict(article.study().sizes)["run"]
    5
    """
    problems = gallery.article()
    also = ("gradient", "velocity")
    runs = {name: descend(problems, steps=steps, also=also, **each) for name, each in settings(**turned).items()}
    return join(runs).assign(surface=surface(problems)["surface"])


def log(study: xr.Dataset) -> list[str]:
    """Return what the article's loop prints: the MSE loss before each step of plain SGD.

    Examples
    --------
    >>> from ravine import article
    >>> article.log(article.study())[0]
    'epoch 0, loss 53.078269958496094'
    """
    losses = study["loss"].sel(run="plain", criterion="MSELoss").values
    return [f"epoch {epoch}, loss {loss.item()}" for epoch, loss in enumerate(losses[:-1])]


@dataclass(frozen=True)
class Entry:
    """One figure of the article: what it shows, and how it is drawn from the study in a style."""

    caption: str
    draw: Callable[[xr.Dataset, str], Figure]


def _draw_points(study: xr.Dataset, style: str) -> Figure:
    return plot.scatter(study, style=style)


def _draw_line(study: xr.Dataset, style: str) -> Figure:
    return plot.fit(study.sel(run="plain", criterion="MSELoss"), style=style)


def _draw_map(study: xr.Dataset, style: str) -> Figure:
    figure: Figure = plot.surface(study.sel(criterion="MSELoss"), style=style).figure  # type: ignore[assignment]
    return figure


def _draw_descent(study: xr.Dataset, style: str) -> Figure:
    chosen = study.sel(run="plain", criterion="MSELoss")
    return plot.descent(chosen, chosen, style=style)


def _draw_four(run: str) -> Callable[[xr.Dataset, str], Figure]:
    def draw(study: xr.Dataset, style: str) -> Figure:
        chosen = study.sel(run=run)
        return plot.descent(chosen, chosen, style=style)

    return draw


STEPS_SHOWN = {"momentum": 6, "nesterov": 4}
"""The update that figure 7 opens: where the velocity carries past the minimum and the gradient turns it. A run that
ends or diverges before shows its last one."""


def step_shown(run: xr.Dataset, name: str) -> int:
    """Return the update of a run that figure 7 opens.

    Examples
    --------
    >>> from ravine import article
    >>> short = article.study(steps=3).sel(run="momentum", criterion="MSELoss")
    >>> article.step_shown(short, "momentum")
    2
    """
    finite = np.isfinite(run["position"].transpose("step", "parameter").values).all(axis=1)
    return max(0, min(STEPS_SHOWN[name], int(np.cumprod(finite).sum()) - 2))


@with_own_settings
def _draw_two_updates(study: xr.Dataset, style: str) -> Figure:
    """Draw both updates; Nesterov's in the textbook's frame and, in the same window, as torch has it."""
    theme = style_of(style)
    figure = new_figure(12.6, 4.4, theme)
    names = ("bias", "weight")
    axes = [figure.add_axes((0.055 + 0.325 * k, 0.12, 0.285, 0.725)) for k in range(3)]
    land = None if theme.terrain else study.sel(criterion="MSELoss")[["surface"]]  # the article's were bare
    chosen = {run: study.sel(run=run, criterion="MSELoss") for run in STEPS_SHOWN}
    plot.vectors(
        chosen["momentum"], step_shown(chosen["momentum"], "momentum"), axes[0], land=land, axes=names, style=style
    )
    update = update_of(chosen["nesterov"].sel(parameter=list(names)), step_shown(chosen["nesterov"], "nesterov"))
    torchs = arrows_of(update, theme), ends_of(update, theme)
    textbooks = textbook_of(update, theme) or torchs
    shown = np.concatenate([corners_of(*each) for each in (textbooks, torchs)])
    for ax, frame in zip(axes[1:], (textbooks, torchs), strict=True):
        draw_update(ax, chosen["nesterov"], land, names, *frame, theme, shown)
    titles = ("(a) momentum", "(b) Nesterov momentum", "(c) the same update in torch")
    subtitles = (
        "the gradient is taken where the run is",
        "the gradient is taken where the velocity leads",
        "its parameters are those points: one gradient, here",
    )
    for ax, title, words in zip(axes, titles, subtitles, strict=True):
        ax.set_title(f"{title}\n", loc="left", weight="bold", size=10.5, color=theme.ink)
        ax.text(0, 1.025, words, transform=ax.transAxes, size=8.5, color=theme.quiet, gid="told")
    return figure


FIGURES: Mapping[int, Entry] = {
    1: Entry("the 50 points", _draw_points),
    2: Entry("the line learned with MSELoss", _draw_line),
    3: Entry("the MSE loss over bias and weight", _draw_map),
    4: Entry("plain SGD over the MSE loss", _draw_descent),
    5: Entry("four criteria, lr 0.1", _draw_four("plain")),
    6: Entry("four criteria, momentum 0.9", _draw_four("momentum")),
    7: Entry("one update with momentum, and one with Nesterov momentum", _draw_two_updates),
    8: Entry("four criteria, momentum 0.9, nesterov", _draw_four("nesterov")),
    9: Entry("four criteria, momentum 0.9, nesterov, weight decay 2", _draw_four("weight decay")),
    10: Entry("four criteria, momentum 0.9, dampening 0.8", _draw_four("dampening")),
}
"""The article's ten figures by number."""

RUN_OF: Mapping[int, str] = {5: "plain", 6: "momentum", 8: "nesterov", 9: "weight decay", 10: "dampening"}
"""Which run each of the figures with four criteria shows."""


def caption(number: int, study: xr.Dataset) -> str:
    """Say what a figure shows, with the settings that the study really has.

    Examples
    --------
    >>> from ravine import article
    >>> article.caption(6, article.study(momentum=0.5))
    'four criteria, momentum 0.5'
    """
    if number not in RUN_OF:
        return FIGURES[number].caption
    values = scalars(study.sel(run=RUN_OF[number]))
    turned = {name: values.get(name, math.nan) for name in ("momentum", "nesterov", "weight_decay", "dampening")}
    named = {name: value for name, value in turned.items() if value}
    words = [name if value is True else label_text(name, value) for name, value in named.items()]
    return f"four criteria, {', '.join(words) or label_text('lr', values.get('lr', math.nan))}"


def draw_figures(study: xr.Dataset, style: str = "ravine") -> dict[int, Figure]:
    """Draw the ten figures; the seventh is left out where knobs were turned so that it has nothing to show.

    It sets an update with momentum beside one with Nesterov momentum: there is none where momentum is 0 or nesterov
    is off.

    Examples
    --------
    >>> from ravine import article
    >>> sorted(article.draw_figures(article.study(steps=20)))
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    """
    return {
        number: figure
        for number, entry in tracked(list(FIGURES.items()), "figures")
        if (figure := entry.draw(study, style) if number != 7 else _draw_seventh(study, style)) is not None
    }


def _draw_seventh(study: xr.Dataset, style: str) -> Figure | None:
    if not study.sel(run="nesterov")["nesterov"].item():
        return None
    try:
        return FIGURES[7].draw(study, style)
    except ValueError:
        if settings() == {run: _settings_of(study.sel(run=run)) for run in RUNS}:
            raise  # at the article's own settings there is always something to show
        return None


def _settings_of(run: xr.Dataset) -> dict[str, Any]:
    return {name: run[name].item() for name in RUNS[str(run["run"].item())]}
