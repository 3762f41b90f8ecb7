"""Words for a plane through the space of all parameters: what its axes hold, and how wrong a map of it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ravine._findings.plane import of_what
from ravine._format import number, percent
from ravine._study.contract import plane_of
from ravine._study.counted import unit_of, worded
from ravine.measure._drawn import Misdrawn, find_misdrawn
from ravine.plot._canvas.scales import Axis
from ravine.plot._canvas.words import number_text

AFTER = ": "
"""What stands between the name of an axis and its share."""

SQUARE = 1e-3
"""Cosine of two axes within which they count as square to each other."""


def name_before_share(name: str) -> str:
    """Return the name of an axis without the share that is written after it.

    Examples
    --------
    >>> name_before_share("pc 1: 94 % of the variance"), name_before_share("bias")
    ('pc 1', 'bias')
    """
    return name.partition(AFTER)[0]


def plane_under(run: xr.Dataset, land: xr.Dataset) -> Mapping[str, Any] | None:
    """Return what is said of the plane that runs are drawn on; None where the axes are parameters."""
    return plane_of(run) or plane_of(land)


def axes_with_shares(axes: tuple[Axis, Axis], facts: Mapping[str, Any] | None) -> tuple[Axis, Axis]:
    """Write after the name of each axis its share, and what a random walk's axis would hold."""
    if facts is None or not facts.get("explained"):
        return axes
    first, second = (_with_share(axis, facts) for axis in axes)
    return first, second


def _with_share(axis: Axis, facts: Mapping[str, Any]) -> Axis:
    if axis.heading not in facts["axes"]:
        return axis
    k = facts["axes"].index(axis.heading)
    share, null = percent(facts["explained"][k]), (facts.get("null") or (None, None))[k]
    walk = f", a random walk's {percent(null)}" if null is not None else ""
    short = f" (walk {percent(null)})" if null is not None else ""
    heading = f"{axis.heading}{AFTER}{share} {of_what(facts)}{walk}"
    return Axis(heading, axis.edges, axis.log, axis.names, (f"{axis.heading}{AFTER}{share}{short}", axis.heading))


STATISTICS = {
    "frozen": "BatchNorm: statistics of the model",
    "batch": "BatchNorm: statistics of the data at each point",
}


def plane_parts(facts: Mapping[str, Any] | None) -> list[str]:
    """Say what a plane holds of how many parameters, where its axes are not square, and whose statistics were taken."""
    if facts is None:
        return []
    size, cosine = facts.get("size"), facts.get("cosine")
    parts = [f"a plane through {size:,} parameters" if size else "a plane"]
    if facts.get("explained"):
        parts.append(f"it holds {percent(sum(facts['explained']))} {of_what(facts)}")
        parts[-1] += f", a random walk's {percent(sum(facts['null']))}" if facts.get("null") else ""
    if cosine is not None and abs(cosine) > SQUARE:
        parts.append(f"cosine of its axes {number(cosine, 2)}")
    parts.append(STATISTICS.get(facts.get("statistics") or "", ""))
    if facts.get("standard_error") is not None:
        drawn = f"loss of {facts['samples']:,} of {facts['of']:,} samples"
        parts.append(f"{drawn}, standard error {number(facts['standard_error'], 2)}")
    return [part for part in parts if part]


def off_text(found: Misdrawn) -> str:
    """Say how far the drawn loss is off.

    Examples
    --------
    >>> off_text(Misdrawn(20, 2.316, 2.19, 0.05, 2.316))
    '0.126 apart at step 20'
    >>> off_text(Misdrawn(20, np.inf, 2.19, 0.05, 2.316))
    'at step 20 the loss is inf, drawn 2.19'
    """
    if np.isfinite(found.off):
        return f"{number(found.off)} apart at step {found.step:,}"
    return f"at step {found.step:,} the loss is {number_text(found.true)}, drawn {number_text(found.drawn)}"


def worst_of(runs: Sequence[xr.Dataset], names: Sequence[str]) -> tuple[str, Misdrawn] | None:
    """Return the run whose drawn loss is farthest off, by name, and where; None where no run has one."""
    found = [(name, each) for name, run in zip(names, runs, strict=True) if (each := find_misdrawn(run)) is not None]
    return max(found, key=lambda each: each[1].off, default=None)


def map_error_text(runs: Sequence[xr.Dataset], names: Sequence[str]) -> str:
    """Say in one line how wrong the map is about these runs; nothing where that is not known.

    Examples
    --------
    >>> losses = {"loss": ("step", [2.0, 1.0, 0.5]), "drawn_loss": ("step", [1.9, 1.3, 0.5])}
    >>> map_error_text([xr.Dataset(losses, {"step": [0, 10, 20]})], [""])
    'true and drawn loss: up to 0.3 apart at step 10'
    """
    worst = worst_of(runs, names)
    if worst is None:
        return ""
    name, found = worst
    up_to = "up to " * bool(np.isfinite(found.off))
    said = worded(f"true and drawn loss: {up_to}{off_text(found)}", unit_of(runs[0]))
    return said + f" ({name})" * bool(name)


def unseen_text(values: Iterable[Any]) -> str:
    """Say how regions without a finite loss are drawn, where there are any."""
    return "hatched: the loss is not finite" if any(not np.isfinite(each).all() for each in values) else ""


def limit_text(settings: Mapping[str, Sequence[float]]) -> str:
    """Write the largest curvature that an lr bears as a formula, with the settings that are not zero.

    Examples
    --------
    >>> limit_text({"momentum": [0.0], "dampening": [0.0], "weight_decay": [0.0], "nesterov": [False]})
    '2 / lr'
    >>> limit_text({"momentum": [0.9], "dampening": [0.0], "weight_decay": [0.1], "nesterov": [False]})
    '2 (1 + momentum) / lr − decay'
    """
    on = {name: any(each) for name, each in settings.items()}
    text = "2 / lr"
    if on["momentum"]:
        below = "(1 + 2 momentum) lr" if on["nesterov"] else "(1 − dampening) lr" if on["dampening"] else "lr"
        text = f"2 (1 + momentum) / {below if below == 'lr' else f'({below})'}"
    return text + " − decay" * on["weight_decay"]
