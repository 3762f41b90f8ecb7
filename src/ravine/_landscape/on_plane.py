"""The loss of a network over a plane through the space of all its parameters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from ravine._format import listed, number
from ravine._landscape.fast import interpolate
from ravine._landscape.grid import Grid, Range, axis_values, check_count
from ravine._landscape.plane_rows import PlaneRows, walk
from ravine._landscape.refine import read_off
from ravine._landscape.stored import surface_in_store
from ravine._parallel.workers import wrap_executor
from ravine._plane.plane import Plane
from ravine._plane.project import HOW, facts_of_loss, sample_facts, squares_on, tell_random
from ravine._problem.problem import Problem
from ravine._progress import work
from ravine._study.contract import CONTRACT
from ravine._study.provenance import provenance
from ravine._torch import fork_random_state

Accuracy = Literal["exact", "fast"]
"""Whether each point of a grid is evaluated, or read off a polynomial through few."""

POINTS = 41
"""Grid points along each axis of a plane, where nothing else is said."""


def surface_on(
    problem: Problem,
    plane: Plane,
    axes: Mapping[str, Range],
    points: int | None,
    executor: Executor | None = None,
    store: str | os.PathLike[str] | None = None,
    accuracy: Accuracy = "exact",
) -> xr.Dataset:
    """Evaluate the loss over a plane; see `ravine.surface`."""
    grid = _grid_of(plane, axes, POINTS if points is None else points)
    with fork_random_state():  # where the user's generator stands
        random = torch.get_rng_state()
    # who evaluates must not make a difference, nor how many there are
    rows = PlaneRows(problem, plane, grid, random, alone=executor is not None or store is not None)
    tell_random(rows.place)
    pool = None if executor is None else wrap_executor(executor)
    if accuracy == "fast":
        found = interpolate(rows, pool)
        known, attrs = _known_of(rows, f"a polynomial, {found.words()}", equals_torch="no: it is interpolated")
        attrs["interpolant"] = found.to_json()
        return read_off(found, grid, known.assign(surface=known["squares"].assign_attrs(attrs)))
    known, attrs = _known_of(rows, HOW)
    if store is not None:
        return surface_in_store(rows, known, attrs, store, pool)
    values = np.empty(grid.shape)
    with work(values.size, "points") as advance, closing(walk(rows, pool)) as found_rows:
        for number, row in found_rows:
            values[number] = row
            advance(len(row))
    return known.assign(surface=((grid.names[1], grid.names[0]), values, attrs))[["surface", "squares"]]


def _known_of(rows: PlaneRows, how: str, **more: str) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return what is known before any loss: axes, squares and criterion; and what is said of the losses."""
    problem, plane, grid, place = rows.problem, rows.plane, rows.grid, rows.place
    error = None
    if place.is_sample:
        place.move_to(torch.from_numpy(plane.origin))
        error = place.standard_error()
    facts = plane.facts(place.statistics, **sample_facts(place, error))
    told = facts_of_loss(place) | ({"threads": 1} if rows.alone else {}) | more
    if rows.shortcut is not None:
        told["first_layer"] = f"of joined batches along each row by its slope, which {_moved_by(rows.shortcut.off)}"
    fate = provenance(how, **told, others=f"a plane through all {plane.size:,}")
    squares = squares_on(plane, *grid.values)
    about = {"long_name": CONTRACT["squares"].long_name, "provenance": fate}
    coords: dict[str, Any] = dict(zip(grid.names, grid.values, strict=True))
    if problem.criterion is not None:
        coords["criterion"] = problem.criterion
    known = xr.Dataset({"squares": ((grid.names[1], grid.names[0]), squares, about)}, coords)
    return known, {"long_name": CONTRACT["surface"].long_name, "provenance": fate, "plane": facts}


def _moved_by(off: float) -> str:
    """Say how far the first layer's slope moved the losses of `PlaneRows.shortcut`."""
    if not off:
        return "left each of 5 losses as it was, in every bit"
    return f"moved none of 5 losses by more than {number(off, 2)} of the largest"


def _grid_of(plane: Plane, axes: Mapping[str, Range], points: int) -> Grid:
    if unknown := [name for name in axes if name not in plane.axes]:
        raise ValueError(f"the plane has no axis {unknown[0]!r}; it has {listed(plane.axes)}")
    check_count(points)
    horizontal, vertical = plane.axes
    across, up = (axis_values(name, axes.get(name, plane.ranges[name]), points) for name in plane.axes)
    return Grid((horizontal, vertical), (across, up))
