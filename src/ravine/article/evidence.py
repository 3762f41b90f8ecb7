"""The runs that the article's claims are held against, and what is read off them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import ravine
from ravine import gallery, measure
from ravine._format import names
from ravine.article.figures import RUNS

CONFIRMED, CORRECTED, NEEDS_A_WORD = "confirmed", "corrected", "needs a word"
"""What becomes of a claim."""

CRITERIA = ("MSELoss", "L1Loss", "HuberLoss")
"""SmoothL1Loss is HuberLoss here: a claim of its own."""

LONG = 300
"""Steps after which every run of the article has arrived."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Runs at the article's own settings: its study, and when they arrive."""

    study: xr.Dataset

    @cached_property
    def arrivals(self) -> xr.DataArray:
        """Step of arrival (run, criterion); runs that have not arrived in the study go on until they have."""
        found = measure.arrival(self.study.sel(criterion=list(CRITERIA))).reset_coords(drop=True)
        for name, settings in RUNS.items():
            late = [each for each in CRITERIA if bool(found.sel(run=name, criterion=each).isnull())]
            if late:
                problems = {each: gallery.article()[each] for each in late}
                long = measure.arrival(ravine.descend(problems, steps=LONG, **settings)).reset_coords(drop=True)
                found.loc[{"run": name, "criterion": late}] = long
        return found

    def arrival(self, run: str, criterion: str) -> int:
        """Return one arrival."""
        return int(self.arrivals.sel(run=run, criterion=criterion))

    def cell(self, run: str, criterion: str = "MSELoss") -> xr.Dataset:
        """Select one run of the study."""
        return self.study.sel(run=run, criterion=criterion)


Array = NDArray[np.float64]


def values_of(run: xr.Dataset, variable: str) -> Array:
    """Return a variable of a run (step, parameter), the weight first, in float64."""
    return np.asarray(run[variable].sel(parameter=["weight", "bias"]).values, dtype=np.float64)


def find_distances(run: xr.Dataset) -> Array:
    """Return the distance of every position from the minimum."""
    return np.asarray(np.linalg.norm(values_of(run, "position") - values_of(run, "minimizer"), axis=-1))


def find_overshoot(run: xr.Dataset) -> float:
    """Return how far away it gets after it first came by, as a share of the distance at the start."""
    away = find_distances(run)
    turns = np.flatnonzero(np.diff(away) > 0)
    return float(away[turns[0] :].max() / away[0]) if len(turns) else 0.0


def format_percent(share: float) -> str:
    """Write a share as percent."""
    return f"{100 * share:.0f} %"


def list_values(values: dict[str, Any], how: Callable[[Any], str]) -> str:
    """List the values of several criteria, each with its name."""
    return names([f"{how(value)} with {name}" for name, value in values.items()])
