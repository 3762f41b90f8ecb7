"""Grounds: the minima that the runs of a sweep go down to, one for each problem and weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import study, traces
from ravine.curvature import MOST, landmarks
from ravine.derivatives import function_of, vector_of
from ravine.jobs import Job
from ravine.problem import Problem
from ravine.threads import one_thread
from ravine.valleys import decay_of

__all__ = ["Ground", "ground_of"]


@dataclass(frozen=True, eq=False)
class Ground:
    """What the runs minimise, as far as it is known; the decay is NaN where it is not."""

    decay: NDArray[np.float64]
    minimum: NDArray[np.float64] | None
    variables: dict[str, xr.Variable]

    @property
    def any_decay(self) -> bool:
        """Whether weight decay is part of what any run minimises."""
        return bool((np.nan_to_num(self.decay) != 0).any())

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
    fixed = {name for each in job.plan.groups.values() for name in each}
    # maximize among the swept is told run by run; given once, it holds for all
    rest = {name: value for name, value in job.defaults.items() if name != "maximize"} | dict(job.plan.settings)
    amounts = [decay_of(type(job.some_optimizer), {**rest, "weight_decay": each}, fixed) for each in given]
    decay = np.array([np.nan if amount is None else amount for amount in amounts])
    usual = np.unique(decay[np.isfinite(decay)])
    if job.parameters > MOST or not usual.size:
        return Ground(decay, None, {})
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

    tails = {"minimizer": ("parameter",), "minimum_loss": (), "hessian": ("parameter", "parameter_")}
    data = {name: variable(name, dims, [each[name].values for each in found]) for name, dims in tails.items()}
    data["parameter_"] = xr.Variable("parameter_", traces.parameter_of(job.problems[0]).values)
    alike = [_is_quadratic(*each) for each in zip(job.problems, found, strict=True)]
    told = {"long_name": study.CONTRACT["quadratic"].long_name}
    outer = tuple(axis.name for axis in job.outer.axes)
    data["quadratic"] = xr.Variable(outer, np.reshape(alike, job.outer.shape), told)
    return Ground(decay, minima, data)


WAYS = (1.0, -1.0, 3.0, -10.0)
"""How many times as far as the start, from the minimum, the loss is compared with a quadratic."""

AGREED = 1e-9
"""How far the two may differ, relatively."""


def _is_quadratic(problem: Problem, found: xr.Dataset) -> bool:
    """Tell whether a loss is the quadratic that its curvature at the minimum says, as far off as the start and farther.

    Along the way to the start, and along each parameter, in float64.
    """
    known = found.isel(weight_decay=int(np.argmax(np.isfinite(found["minimum_loss"].values))))
    place, lowest, hessian = (known[name].values for name in ("minimizer", "minimum_loss", "hessian"))
    if not np.isfinite(hessian).all():
        return False
    function, decay = function_of(problem), float(known["weight_decay"])
    away = vector_of(problem) - place
    length = float(np.linalg.norm(away)) or 1.0
    steps = [way * each for each in (away, *(length * np.eye(len(place)))) for way in WAYS]
    tolerance = max(AGREED, 1e3 * function.resolution)
    with one_thread(), np.errstate(all="ignore"):
        for step in steps:
            there = place + step
            try:
                loss = function.value(there) + decay / 2 * float(there @ there)
            except Exception:  # at the start it was called without: it is not defined everywhere, as a quadratic is
                return False
            if not abs(loss - float(lowest) - float(step @ hessian @ step) / 2) <= tolerance * abs(loss):
                return False
    return True
