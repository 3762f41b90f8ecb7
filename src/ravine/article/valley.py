"""The valley: where momentum pays, and the settings that go down it soonest."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

import ravine
from ravine import gallery, measure, plot
from ravine._format import names, number
from ravine._html.page import Plate, Section, Table, Text
from ravine.article.figures import RUNS
from ravine.article.words import find_sentences, format_arrivals

CONDITION = 100.0
"""Ratio of the steepest to the flattest curvature."""

VALLEY_STEPS = 400

LRS = 0.01 * 10.0 ** (np.arange(80) / 30)
"""So spaced that the article's 0.1 is among them."""

MOMENTA = np.linspace(0, 0.98, 50)
"""So spaced that the article's 0.9 is among them."""


def descend_valley(**further: dict[str, Any]) -> xr.Dataset:
    """Descend the valley with the article's settings, and with further ones.

    Examples
    --------
    >>> ravine.measure.arrival(descend_valley()).values.tolist()
    [337.0, 49.0, 38.0]
    """
    settings = {name: RUNS[name] for name in ("plain", "momentum", "nesterov")} | further
    return ravine.join({name: _descend_once(**each) for name, each in settings.items()})


@functools.cache  # the claims ask for the same runs as the chapter
def _descend_once(**settings: Any) -> xr.Dataset:
    return ravine.descend(gallery.quadratic(condition=CONDITION), steps=VALLEY_STEPS, **settings)


def find_best(arrived: xr.DataArray) -> dict[str, float]:
    """Return the settings of the earliest arrival; of several, the one with the smallest momentum.

    Examples
    --------
    >>> arrived = xr.DataArray([[np.nan, 8], [5, 5]], {"lr": [0.1, 0.2], "momentum": [0, 0.9]}, ("lr", "momentum"))
    >>> find_best(arrived)
    {'lr': 0.2, 'momentum': 0.0}
    """
    first = arrived.where(arrived == arrived.min()).transpose("momentum", "lr")
    row, column = np.argwhere(np.isfinite(first.values))[0]
    return {"lr": float(first["lr"][column]), "momentum": float(first["momentum"][row])}


def sweep_valley() -> xr.DataArray:
    """Return the arrivals over lr and momentum on the article's bowl (MSELoss) and in the valley.

    Examples
    --------
    >>> arrived = sweep_valley()
    >>> arrived.dims, float(arrived.sel(problem="condition 100").min())
    (('problem', 'lr', 'momentum'), 12.0)
    """
    round_bowl, valley = gallery.article()["MSELoss"], gallery.quadratic(condition=CONDITION)
    found = [
        measure.arrival(ravine.sweep(each, lr=LRS, momentum=MOMENTA, steps=VALLEY_STEPS, keep="summary"))
        for each in (round_bowl, valley)
    ]
    condition = np.linalg.cond(ravine.descend(round_bowl, lr=0.1, steps=1)["hessian"].values)
    labels = [f"condition {condition:.3g} (the article)", f"condition {CONDITION:g}"]
    return xr.concat(
        [each.drop_vars("criterion", errors="ignore") for each in found],
        dim=xr.DataArray(labels, dims="problem", name="problem"),
        coords=["outcome", "stability_limit"],
        compat="override",
    )


def make_valley_section(style: str) -> Section:
    """Tell what the article's bowl cannot show."""
    arrived = sweep_valley()
    there = arrived.isel(problem=1)
    alone, both = find_best(there.sel(momentum=[0.0])), find_best(there)
    runs = descend_valley(**{"tuned, no momentum": alone, "tuned": both})
    steps = dict(zip(map(str, runs["run"].values), format_arrivals(runs).values.tolist(), strict=True))
    land = ravine.surface(gallery.quadratic(condition=CONDITION))
    pictured = runs.sel(run=["plain", "momentum", "tuned, no momentum", "tuned"])
    words = (
        "Everything so far happened in a bowl that is nearly round. There gradient descent has no trouble, and "
        "momentum little to give. Losses of larger models are seldom so round; many are ravines, steep across and "
        "almost flat along. There the steep direction forbids a large learning rate, and with a small one the flat "
        "direction takes ages. This is what momentum is for. The bowl of this chapter is "
        f"`ravine.gallery.quadratic(condition={CONDITION:g})`; the settings here are the article's, whatever is turned "
        "above."
    )
    look = (
        f"At the same lr 0.1, plain SGD arrives at step {steps['plain']}, and with momentum 0.9 at step "
        f"{steps['momentum']}. With the best of the {there.size:,} settings in the diagram below, it is step "
        f"{steps['tuned, no momentum']} without momentum (lr {number(alone['lr'])}), and step {steps['tuned']} with it "
        f"(lr {number(both['lr'])}, momentum {number(both['momentum'])})."
    )
    alt = "; ".join(f"{name} arrives at step {steps[str(name)]}" for name in pictured["run"].values)
    paths = Plate(
        "valley",
        "The valley",
        f"{VALLEY_STEPS} steps at most",
        lambda: plot.descent(pictured, land, style=style),
        f"Four maps of a long narrow valley with a path each: {alt}.",
        look,
        findings=find_sentences(pictured, set()),
    )
    rows = [[name, *_format_settings(runs.sel(run=name)), steps[name]] for name in map(str, runs["run"].values)]
    heading = f"Condition number {CONDITION:g}: step of arrival, {VALLEY_STEPS} steps"
    table = Table(heading, ["", "lr", "momentum", "nesterov", "arrives"], rows)
    return Section(
        "narrow", "The same knobs in a narrow valley", [Text(words), paths, table, _make_phases(arrived, style)]
    )


def _format_settings(run: xr.Dataset) -> list[str]:
    return [number(float(run["lr"])), number(float(run["momentum"])), "on" if bool(run["nesterov"]) else "off"]


def _make_phases(arrived: xr.DataArray, style: str) -> Plate:
    bests, smaller = [], []
    for label in map(str, arrived["problem"].values):
        one = arrived.sel(problem=label)
        bests.append(f"{label}: step {one.min():.0f} at best, {one.sel(momentum=0.0).min():.0f} without momentum")
        column = one.sel(lr=0.1, method="nearest")
        here = column.sel(momentum=0.9, method="nearest")
        below = column.where(column["momentum"] < here["momentum"] - 1e-9, drop=True)
        smaller.append(f"{int((below < here).sum())} of {below.size} with {label}")
    look = (
        f"Each cell is one run, {arrived[0].size:,} on each side; the colour says when it arrives. "
        f"{bests[0][0].upper()}{bests[0][1:]}. "
        "The ring marks the article's setting. Of the smaller momenta at its learning rate, these arrive earlier: "
        f"{names(smaller)}."
    )
    marks = {"lr 0.1, momentum 0.9": {"lr": 0.1, "momentum": 0.9}}
    return Plate(
        "phases",
        "lr and momentum",
        "when runs arrive, on both bowls",
        lambda: plot.phase(arrived, marks=marks, style=style),
        f"Two diagrams of the step of arrival over lr and momentum. {'; '.join(bests)}.",
        look,
    )
