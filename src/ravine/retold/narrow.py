"""The narrow valley: the article's knobs where the condition number is 100, so that momentum is seen at its work."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import ravine
from ravine import article, gallery, measure, plot
from ravine.retold.blocks import Plate, Section, Table, Text
from ravine.retold.tellings import arrival_cell, names, number, sentences_of

__all__ = ["CONDITION", "best", "diagram", "runs", "section"]

CONDITION = 100.0
"""Ratio of the steepest to the flattest curvature."""

STEPS = 400

LRS = 0.01 * 10.0 ** (np.arange(80) / 30)
"""So spaced that the article's 0.1 is among them."""

MOMENTA = np.linspace(0, 0.98, 50)
"""So spaced that the article's 0.9 is among them."""


def runs(**further: dict[str, Any]) -> xr.Dataset:
    """Descend the valley with the article's settings, and with further ones.

    Examples
    --------
    >>> ravine.measure.arrival(runs()).values.tolist()
    [337.0, 49.0, 38.0]
    """
    valley = gallery.quadratic(condition=CONDITION)
    settings = {name: article.RUNS[name] for name in ("plain", "momentum", "nesterov")} | further
    return ravine.join({name: ravine.descend(valley, steps=STEPS, **each) for name, each in settings.items()})


def best(arrived: xr.DataArray) -> dict[str, float]:
    """Return the settings of the earliest arrival; of several, the one with the smallest momentum.

    Examples
    --------
    >>> best(diagram().isel(problem=1)).keys()
    dict_keys(['lr', 'momentum'])
    """
    first = arrived.where(arrived == arrived.min()).transpose("momentum", "lr")
    row, column = np.argwhere(np.isfinite(first.values))[0]
    return {"lr": float(first["lr"][column]), "momentum": float(first["momentum"][row])}


def diagram() -> xr.DataArray:
    """Return the arrivals over lr and momentum on the article's bowl (MSELoss) and in the valley.

    Examples
    --------
    >>> arrived = diagram()
    >>> arrived.dims, float(arrived.sel(problem="condition 100").min())
    (('problem', 'lr', 'momentum'), 12.0)
    """
    round_bowl, valley = gallery.article()["MSELoss"], gallery.quadratic(condition=CONDITION)
    found = [
        measure.arrival(ravine.sweep(each, lr=LRS, momentum=MOMENTA, steps=STEPS, keep="summary"))
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


def section(style: str) -> Section:
    """Tell what the article's bowl cannot show."""
    arrived = diagram()
    there = arrived.isel(problem=1)
    alone, both = best(there.sel(momentum=[0.0])), best(there)
    told = runs(**{"tuned, no momentum": alone, "tuned": both})
    steps = {str(name): arrival_cell(told.sel(run=name)) for name in told["run"].values}
    land = ravine.surface(gallery.quadratic(condition=CONDITION))
    pictured = told.sel(run=["plain", "momentum", "tuned, no momentum", "tuned"])
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
        f"{STEPS} steps at most",
        lambda: plot.descent(pictured, land, style=style),
        f"Four maps of a long narrow valley with a path each: {alt}.",
        look,
        told=sentences_of(pictured),
    )
    rows = [[name, *_settings(told.sel(run=name)), steps[name]] for name in map(str, told["run"].values)]
    heading = f"Condition number {CONDITION:g}: step of arrival, {STEPS} steps"
    table = Table(heading, ["", "lr", "momentum", "nesterov", "arrives"], rows)
    return Section("narrow", "The same knobs in a narrow valley", [Text(words), paths, table, _phases(arrived, style)])


def _settings(run: xr.Dataset) -> list[str]:
    return [number(float(run["lr"])), number(float(run["momentum"])), "on" if bool(run["nesterov"]) else "off"]


def _phases(arrived: xr.DataArray, style: str) -> Plate:
    bests, smaller = [], []
    for label in map(str, arrived["problem"].values):
        one = arrived.sel(problem=label)
        bests.append(f"{label}: step {one.min():.0f} at best, {one.sel(momentum=0.0).min():.0f} without momentum")
        column = one.sel(lr=0.1, method="nearest")
        here = column.sel(momentum=0.9, method="nearest")
        below = column.where(column["momentum"] < here["momentum"] - 1e-9, drop=True)
        smaller.append(f"{int((below < here).sum())} of {below.size} with {label}")
    look = (
        f"Each cell is one run, {arrived[0].size:,} on each side; the colour says when it arrives. {'; '.join(bests)}. "
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
