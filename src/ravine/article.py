"""The article: its runs and surfaces as one study, its ten figures, and its printed log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from ravine import gallery, plot
from ravine.descent import descend
from ravine.landscape import surface
from ravine.plot import paper
from ravine.plot.paper import Figure
from ravine.stacks import join

__all__ = ["FIGURES", "RUNS", "log", "study"]

RUNS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"lr": 0.1},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "weight decay": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 2.0},
    "dampening": {"lr": 0.1, "momentum": 0.9, "dampening": 0.8},
}
"""The five settings of figures 4 to 10, by the knob that each turns."""


def study() -> xr.Dataset:
    """Compute everything the article shows: 20 runs (5 settings by 4 criteria) and the four surfaces.

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
    runs = {name: descend(problems, steps=100, also=also, **settings) for name, settings in RUNS.items()}
    return join(runs).assign(surface=surface(problems)["surface"])


def log(study: xr.Dataset) -> list[str]:
    """Return what the article's loop prints: the MSE loss before each of the 100 steps of plain SGD.

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


def _points(study: xr.Dataset, style: str) -> Figure:
    return plot.scatter(study, style=style)


def _line(study: xr.Dataset, style: str) -> Figure:
    return plot.fit(study.sel(run="plain", criterion="MSELoss"), style=style)


def _map(study: xr.Dataset, style: str) -> Figure:
    figure: Figure = plot.surface(study.sel(criterion="MSELoss"), style=style).figure  # type: ignore[assignment]
    return figure


def _one_descent(study: xr.Dataset, style: str) -> Figure:
    chosen = study.sel(run="plain", criterion="MSELoss")
    return plot.descent(chosen, chosen, style=style)


def _four_descents(run: str) -> Callable[[xr.Dataset, str], Figure]:
    def draw(study: xr.Dataset, style: str) -> Figure:
        chosen = study.sel(run=run)
        return plot.descent(chosen, chosen, style=style)

    return draw


STEPS_SHOWN = {"momentum": 6, "nesterov": 4}
"""The update that figure 7 opens: where the velocity carries past the minimum and the gradient turns it."""


@paper.drawn
def _two_updates(study: xr.Dataset, style: str) -> Figure:
    look = paper.style_of(style)
    figure = paper.new_figure(9.6, 4.5, look)
    for k, (run, title) in enumerate({"momentum": "(a) momentum", "nesterov": "(b) Nesterov momentum"}.items()):
        ax = figure.add_axes((0.07 + 0.5 * k, 0.13, 0.41, 0.75))
        chosen = study.sel(run=run, criterion="MSELoss")
        plot.vectors(chosen, STEPS_SHOWN[run], ax, axes=("bias", "weight"), style=style)
        ax.set_title(title, loc="left", weight="bold", size=10.5, color=look.ink)
    return figure


FIGURES: Mapping[int, Entry] = {
    1: Entry("the 50 points", _points),
    2: Entry("the line learned with MSELoss", _line),
    3: Entry("the MSE loss over bias and weight", _map),
    4: Entry("plain SGD over the MSE loss", _one_descent),
    5: Entry("four criteria, lr 0.1", _four_descents("plain")),
    6: Entry("four criteria, momentum 0.9", _four_descents("momentum")),
    7: Entry("one update with momentum, and one with Nesterov momentum", _two_updates),
    8: Entry("four criteria, momentum 0.9, nesterov", _four_descents("nesterov")),
    9: Entry("four criteria, momentum 0.9, nesterov, weight decay 2", _four_descents("weight decay")),
    10: Entry("four criteria, momentum 0.9, dampening 0.8", _four_descents("dampening")),
}
"""The article's ten figures by number."""
