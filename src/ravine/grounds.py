"""Grounds: the minima that the runs of a sweep go down to, one for each problem and weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine.curvature import MOST, landmarks
from ravine.jobs import Job
from ravine.measure import COUPLED

__all__ = ["Ground", "ground_of"]


@dataclass(frozen=True, eq=False)
class Ground:
    """What the runs minimise, as far as it is known."""

    decay: NDArray[np.float64]
    minimum: NDArray[np.float64] | None
    variables: dict[str, xr.Variable]

    @property
    def any_decay(self) -> bool:
        """Whether weight decay is part of what any run minimises."""
        return bool((self.decay != 0).any())

    def columns(self, job: Job, runs: slice) -> dict[str, Any]:
        """Return, for a block of runs, the settings and minima that its summary needs."""
        numbers = np.arange(runs.start, runs.stop)
        settings = {"weight_decay": 0.0, "maximize": False} | job.settings_of(numbers)
        columns: dict[str, Any] = {name: settings[name] for name in ("weight_decay", "maximize")}
        columns["optimizer"] = job.optimizer_name
        if "decoupled_weight_decay" in job.defaults:
            columns["decoupled_weight_decay"] = job.defaults["decoupled_weight_decay"]
        if self.minimum is not None:
            place = job.inner.places(numbers % job.inner.size).get("weight_decay", np.zeros(len(numbers), dtype=int))
            columns["minimum_loss"] = self.minimum[runs.start // job.inner.size, place]
        return columns


def ground_of(job: Job) -> Ground:
    """Find the minima of what is minimised, where there are few enough parameters."""
    swept = next((axis.labels for axis in job.inner.axes if axis.name == "weight_decay"), None)
    given = swept if swept is not None else [job.defaults.get("weight_decay", 0.0)]
    coupled = job.optimizer_name in COUPLED and not job.defaults.get("decoupled_weight_decay")
    decay = np.asarray(given, dtype=float) * coupled
    fixed = {name for each in job.plan.groups.values() for name in each}
    if job.parameters > MOST or job.plan.settings.get("maximize") or {"weight_decay", "maximize"} & fixed:
        return Ground(decay, None, {})
    # torch takes a decay of NaN, and refuses one below 0: neither has a minimum
    usual = np.unique(decay[np.isfinite(decay) & (decay >= 0)])
    found = [landmarks(problem, weight_decay=usual).reindex(weight_decay=decay) for problem in job.problems]
    minima = np.stack([each["minimum_loss"].values for each in found])
    if np.isnan(minima).all():
        return Ground(decay, None, {})
    inner = ("weight_decay",) if swept is not None else ()
    lead = (*(axis.name for axis in job.outer.axes), *inner)
    shape = (*job.outer.shape, *(decay.shape if inner else ()))

    def variable(name: str, dims: tuple[str, ...], arrays: list[NDArray[Any]]) -> xr.Variable:
        stacked = np.stack(arrays)
        tail = stacked.shape[2:]
        return xr.Variable((*lead, *dims), stacked.reshape((*shape, *tail)), found[0][name].attrs)

    places = variable("minimizer", ("parameter",), [each["minimizer"].values for each in found])
    lowest = variable("minimum_loss", (), [each["minimum_loss"].values for each in found])
    return Ground(decay, minima, {"minimizer": places, "minimum_loss": lowest})
