"""What the runs of a sweep are as a study: dimensions, what is known before any of them, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._descent.closure import closure_use
from ravine._descent.dataset import (
    dtype_of,
    is_coordinate,
    is_drawable,
    made_by,
    overridden_by,
    parameter_of,
    plain,
    shared_data,
)
from ravine._engine.job import Job
from ravine._engine.keep import Kept
from ravine._engine.schedule import Schedule
from ravine._store.plan import Field
from ravine._study.contract import CONTRACT
from ravine._study.coordinates import make_coordinates
from ravine._study.optimizer import path_of
from ravine._study.provenance import Agreement, by_label, describe_agreement, provenance
from ravine._sweep.plan import BlockResult, SweepPlan


def study_of_blocks(plan: SweepPlan, made: BlockResult, kept: Kept) -> xr.Dataset:
    """Give what was kept of all runs its dimensions, coordinates and provenance."""
    job = plan.job
    lead, shape = _dimensions_of(job)
    fate = _provenance_of(plan, made.agreement)

    def variable(name: str, dims: Sequence[str], array: NDArray[Any]) -> xr.Variable:
        attrs = {"long_name": CONTRACT[name].long_name, "provenance": fate}
        return xr.Variable((*lead, *dims), array.reshape((*shape, *array.shape[1:])), attrs)

    data = {name: variable(name, dims, array) for name, (dims, array) in kept.items()}
    if (made.errors != "").any():
        data["error"] = variable("error", (), made.errors.astype(str))
    if (made.taken < job.steps).any():
        data["steps_taken"] = variable("steps_taken", (), np.maximum(made.taken, 0))
    known, coords = _known_before(plan)
    return xr.Dataset(data | known, make_coordinates(coords))


def skeleton_of(plan: SweepPlan) -> xr.Dataset:
    """Return what is known before any run: the coordinates, the minima, and data small enough to draw."""
    return xr.Dataset(*_known_before(plan))


def _known_before(plan: SweepPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return its variables and its coordinates."""
    job = plan.job
    lead, _ = _dimensions_of(job)
    data: dict[str, Any] = dict(plan.minima.variables) | _schedule_of(job)
    parts = job.problems[0].parts
    if parts is not None and is_drawable(parts) and "problem" not in lead:
        data |= shared_data(parts)
    settings = {n: plain(v) for n, v in {**job.defaults, **job.of_loop}.items() if is_coordinate(n, v)}
    overridden = overridden_by(job.tensors)
    coords: dict[str, Any] = {name: value for name, value in settings.items() if name not in overridden}
    coords |= {"step": np.arange(job.steps + 1), "parameter": parameter_of(job.problems[0])}
    coords |= {"optimizer": job.optimizer_name}
    if job.problems[0].criterion is not None and not {"criterion", "problem"} & set(lead):
        coords["criterion"] = job.problems[0].criterion
    if (job.spec.feed is not None or job.draws_noise) and "seed" not in lead:
        inner = tuple(axis.name for axis in job.inner.axes)
        seeds = job.seeds_of(np.arange(job.inner.size))
        coords["seed"] = (inner, seeds.reshape(job.inner.shape))
    return data, coords | {axis.name: axis.labels for axis in job.axes}


def _schedule_of(job: Job) -> dict[str, xr.Variable]:
    """Return what the scheduler sets in all runs, along the dimensions that make a difference to it."""
    if not isinstance(job.schedule, Schedule):
        return {}
    lead, shape = tuple(axis.name for axis in job.schedule.product.axes), job.schedule.product.shape
    found = {}
    for name, column in job.schedule.columns.items():
        entry = CONTRACT.get(f"scheduled_{name}")
        attrs = {"long_name": entry.long_name if entry else f"{name} at position[step]"}
        found[f"scheduled_{name}"] = xr.Variable((*lead, "step"), column.reshape(*shape, -1), attrs)
    return found


def fields_of(plan: SweepPlan) -> dict[str, Field]:
    """Return which arrays the runs bring, from what is kept of one that stands still."""
    one, output = slice(0, 1), plan.output(slice(0, 1))
    record = output.open(one)
    record.loss.zero_()
    if record.squares is not None:
        record.squares.zero_()
    output.close(one, record, plan.minima.columns(plan.job, one))
    fate = _provenance_of(plan, {})
    return {
        name: Field(
            tuple(dims),
            array.shape[1:],
            array.dtype.str,
            {"long_name": CONTRACT[name].long_name, "provenance": fate},
        )
        for name, (dims, array) in output.variables().items()
    }


def _dimensions_of(job: Job) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(axis.name for axis in job.axes), tuple(len(axis.values) for axis in job.axes)


def _provenance_of(plan: SweepPlan, agreement: Mapping[int, Agreement | None]) -> str:
    """Say how the runs came about, and how near each engine came to torch."""
    job = plan.job
    lead, _ = _dimensions_of(job)
    spelled = dict(job.source)
    use = closure_use(job.problem_of(0), job.spec_of(job.refusals.some_valid(0)))
    spelled["code"] = spelled["code"] | {"swept": job.spelled(), "closure": use}
    problems = {axis.name: axis.labels.tolist() for axis in job.outer.axes}
    words = [describe_agreement(agreement.get(which, Agreement())) for which in range(len(job.problems))]
    return provenance(
        by_label([engine.name for engine in plan.engines], problems),
        why=by_label([engine.why for engine in plan.engines], problems),
        equals_torch=by_label(words, problems),
        settings={name: plain(value) for name, value in {**job.defaults, **job.of_loop}.items() if name not in lead},
        threads=1,
        dtype=dtype_of(job.problems[0]),
        **made_by(path_of(type(job.some_optimizer)), job.tensors),
        **spelled,
    )
