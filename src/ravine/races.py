"""Races: several optimizers, each with settings of its own, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ravine import stacks, study
from ravine.lattice import Lattice, axis_of, is_many
from ravine.plan import Optimizer
from ravine.words import listed

__all__ = ["race"]


def race(
    sweep: Callable[..., xr.Dataset], entries: Mapping[Optimizer, Mapping[str, Any]], shared: Mapping[str, Any]
) -> xr.Dataset:
    """Sweep each optimizer with its own settings, and stack all of them along ``run``."""
    if not entries:
        raise ValueError("the mapping of optimizers is empty: give at least one with its settings")
    runs: dict[str, xr.Dataset] = {}
    for optimizer, settings in entries.items():
        name = getattr(optimizer, "__name__", repr(optimizer))
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings of {name} must be a mapping such as {{'lr': 0.1}}, got {settings!r}")
        if both := sorted(set(settings) & set(shared)):
            raise ValueError(f"{listed(both)} is given for all optimizers and for {name} again: give it once")
        lattice = Lattice(tuple(axis_of(key, value) for key, value in settings.items() if is_many(value)))
        whole = sweep(optimizer=optimizer, **shared, **settings)
        for k in range(lattice.size):
            label = " ".join([name, *(f"{key} {value}" for key, value in lattice.values(k).items())])
            if label in runs:
                raise ValueError(f"two runs of the race would be called {label!r}: give one optimizer another __name__")
            runs[label] = whole.isel({key: int(place[0]) for key, place in lattice.places(np.array([k])).items()})
    if any("error" in run for run in runs.values()):
        runs = {label: run if "error" in run else _without_error(run) for label, run in runs.items()}
    return stacks.join(runs, "run")


def _without_error(run: xr.Dataset) -> xr.Dataset:
    loss = run["loss"].isel(step=0, drop=True) if "loss" in run else run["final_loss"]
    attrs = {"long_name": study.CONTRACT["error"].long_name}
    return run.assign(error=loss.astype(str).copy(data=np.full(loss.shape, "")).assign_attrs(attrs))
