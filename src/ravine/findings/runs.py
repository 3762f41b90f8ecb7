"""Runs: what a finding may look at, computed once for each run and only when it is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import theory
from ravine.findings.facts import Facts
from ravine.findings.modes import Modes, modes_of
from ravine.findings.shapes import Bowl

__all__ = ["EDGE", "INNER", "Run", "choices_of", "runs_of"]

Vector = NDArray[np.float64]

INNER = ("step", "parameter", "parameter_")

EDGE = 1e-9
"""Nearer than this, relatively, an lr is at the limit itself."""

NEEDED = (
    "position",
    "loss",
    "gradient",
    "batch_loss",
    "scheduled_lr",
    "sharpness",
    "steps_taken",
    "error",
    "minimizer",
    "minimum_loss",
    "hessian",
    "data_minimizer",
    "data_minimum_loss",
    "targets",
    "prediction",
)

PIECEWISE = ("L1Loss", "HuberLoss", "SmoothL1Loss")
"""Criteria that are a quadratic at best in parts: what holds in one part is not exact elsewhere."""


def choices_of(runs: xr.Dataset) -> tuple[str, ...]:
    """Return the dimensions of choice, such as criterion, lr or run."""
    return tuple(str(dim) for dim in runs["position"].dims if dim not in INNER)


def runs_of(runs: xr.Dataset) -> Iterator[Run]:
    """Take a study apart into its runs, each with its labels."""
    few = runs[[name for name in NEEDED if name in runs]]
    dims = choices_of(runs)
    for places in itertools.product(*(range(runs.sizes[dim]) for dim in dims)):
        one = few.isel(dict(zip(dims, places, strict=True)))
        yield Run(one, {dim: one[dim].item() if dim in one.coords else k for dim, k in zip(dims, places, strict=True)})


@dataclass(frozen=True, eq=False)
class Run(Facts):
    """One run and what theory says of it.

    `modes` are the directions of the curvature at the minimum, None where it is not known or there is a kink.
    `exact` says whether the run went by them within rounding.
    """

    @cached_property
    def modes(self) -> Modes | None:
        """Directions of the curvature."""
        hessian, minimizer = self.landmark("hessian"), self.landmark("minimizer")
        if hessian is None or minimizer is None or self.kinked or self.rule is None:
            return None
        return modes_of(hessian, self.positions[0] - minimizer, self.labels)

    @cached_property
    def exact(self) -> bool:
        """Whether the loss is a quadratic at every place of this run, and the run went by torch's rule."""
        if self.modes is None or self.minimum is None or not self.steady or self.setting("criterion") in PIECEWISE:
            return False
        hessian, place = (np.asarray(self.data[name].values, dtype=np.float64) for name in ("hessian", "minimizer"))
        bowl = Bowl(hessian, place, self.minimum, self.eps)
        assert self.rule is not None
        with np.errstate(over="ignore", invalid="ignore"):
            return bowl.holds(self.positions, self.minimised) and bowl.is_walked(self.positions, self.lr, self.rule)

    @cached_property
    def lost(self) -> bool:
        """Whether it diverged, or will: then little else about it matters."""
        if self.diverged or not self.exact or self.modes is None or not self.lr > 0:
            return self.diverged
        return bool(self.rates()[self.modes.awake].max(initial=0.0) > 1 + EDGE)

    @cached_property
    def rests(self) -> bool:
        """Whether it starts at the minimum and stays there."""
        return self.minimum is not None and self.arrival == ("arrived", 0.0) and self.taken > 0

    @property
    def scope(self) -> Any:
        """How far what is said from the curvature goes."""
        return "exact" if self.exact else "local"

    @property
    def locally(self) -> str:
        """How such a sentence begins."""
        return "" if self.exact else "Locally, from the curvature at the minimum, "

    def limit(self, **changed: Any) -> float:
        """Return the limit of the learning rate, with other settings changed."""
        settings, modes = self._with(changed), self.modes
        assert modes is not None
        return float(theory.stability_limit(modes.curvatures - self.decay, **settings))

    def rates(self, **changed: Any) -> Vector:
        """Return the rate of each mode, with settings changed."""
        return self._each(theory.rate, changed)

    def periods(self, **changed: Any) -> Vector:
        """Return the period of each mode, with settings changed."""
        return self._each(theory.period, changed)

    def half_lives(self, **changed: Any) -> Vector:
        """Return the half-life of each mode, with settings changed."""
        return self._each(theory.half_life, changed)

    def _each(self, what: Any, changed: Mapping[str, Any]) -> Vector:
        assert self.modes is not None
        settings = {"lr": self.lr} | self._with(changed)
        return np.asarray(what(self.modes.curvatures - self.decay, **settings))

    def _with(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        assert self.rule is not None
        return {**self.rule, **changed}
