"""Results: what a sweep brings as a study: what is known before any run, and what the runs add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import spelling, study, traces
from ravine.descent import needs_closure
from ravine.jobs import Job
from ravine.keeping import Kept
from ravine.recipes import Made, Recipe
from ravine.store import Field
from ravine.words import by_label

__all__ = ["fields_of", "labels_of", "skeleton_of", "study_of"]


def study_of(recipe: Recipe, made: Made, kept: Kept) -> xr.Dataset:
    """Give what was kept of all runs its dimensions, coordinates and provenance."""
    job = recipe.job
    lead, shape = _lead(job)
    fate = _fate(recipe, made.told)

    def variable(name: str, dims: Sequence[str], array: NDArray[Any]) -> xr.Variable:
        attrs = {"long_name": study.CONTRACT[name].long_name, "provenance": fate}
        return xr.Variable((*lead, *dims), array.reshape((*shape, *array.shape[1:])), attrs)

    data = {name: variable(name, dims, array) for name, (dims, array) in kept.items()}
    if (made.errors != "").any():
        data["error"] = variable("error", (), made.errors.astype(str))
    if (made.taken < job.steps).any():
        data["steps_taken"] = variable("steps_taken", (), np.maximum(made.taken, 0))
    known = skeleton_of(recipe)
    return xr.Dataset(data | dict(known.data_vars), known.coords)


def skeleton_of(recipe: Recipe) -> xr.Dataset:
    """Return what is known before any run: the coordinates, the minima, and data small enough to draw."""
    job = recipe.job
    lead, _ = _lead(job)
    data = dict(recipe.ground.variables)
    parts = job.problems[0].parts
    if parts is not None and traces.is_drawable(parts) and "problem" not in lead:
        data |= traces.shared_data(parts)
    settings = {n: traces.plain(v) for n, v in job.defaults.items() if traces.is_coordinate(n, v)}
    overridden = {name for each in job.plan.groups.values() for name in each}
    coords: dict[str, Any] = {name: value for name, value in settings.items() if name not in overridden}
    coords |= {"step": np.arange(job.steps + 1), "parameter": traces.parameter_of(job.problems[0])}
    coords |= {"optimizer": job.optimizer_name}
    if job.problems[0].criterion is not None and not {"criterion", "problem"} & set(lead):
        coords["criterion"] = job.problems[0].criterion
    if job.plan.feed is not None and "seed" not in lead:
        inner = tuple(axis.name for axis in job.inner.axes)
        seeds = np.array([job.seed_of(setting) for setting in range(job.inner.size)])
        coords["seed"] = (inner, seeds.reshape(job.inner.shape))
    return xr.Dataset(data, coords | {axis.name: axis.labels for axis in job.axes})


def fields_of(recipe: Recipe) -> dict[str, Field]:
    """Return which arrays the runs bring, from what is kept of one that stands still."""
    one, keeper = slice(0, 1), recipe.keeper(slice(0, 1))
    record = keeper.open(one)
    record.loss.zero_()
    if record.squares is not None:
        record.squares.zero_()
    keeper.close(one, record, recipe.ground.columns(recipe.job, one))
    fate = _fate(recipe, {})
    return {
        name: Field(
            tuple(dims),
            array.shape[1:],
            array.dtype.str,
            {"long_name": study.CONTRACT[name].long_name, "provenance": fate},
        )
        for name, (dims, array) in keeper.variables().items()
    }


def labels_of(job: Job) -> list[str]:
    """Return a label for each problem."""
    columns = job.outer.columns(np.arange(len(job.problems)))
    return [", ".join(str(column[k]) for column in columns.values()) for k in range(len(job.problems))]


def _lead(job: Job) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(axis.name for axis in job.axes), tuple(len(axis.values) for axis in job.axes)


def _fate(recipe: Recipe, told: Mapping[int, str]) -> str:
    """Say how the runs came about, and how near each engine came to torch."""
    job = recipe.job
    lead, _ = _lead(job)
    spelled = spelling.of_plan(job.plan, job.base)
    spelled["code"] |= {"swept": job.spelled(), "closure": needs_closure(job.some_optimizer)}
    labels = labels_of(job)
    return study.provenance(
        by_label(labels, [engine.name for engine in recipe.crew]),
        equals_torch=by_label(labels, [told.get(which, "not compared") for which in range(len(labels))]),
        settings={name: traces.plain(value) for name, value in job.defaults.items() if name not in lead},
        threads=1,
        **spelled,
    )
