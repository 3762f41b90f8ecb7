"""The loss of a network over a plane through the space of all its parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from ravine._format import listed
from ravine._landscape.grid import Grid, Range, axis_values
from ravine._plane.paths import names_in
from ravine._plane.plane import Plane
from ravine._plane.project import HOW, facts_of_loss, sample_facts, squares_on, tell_random
from ravine._problem.in_place import InPlace
from ravine._problem.problem import Problem
from ravine._progress import work
from ravine._study.contract import CONTRACT
from ravine._study.provenance import provenance

POINTS = 41
"""Grid points along each axis of a plane, where nothing else is said."""


def surface_on(problem: Problem, plane: Plane, axes: Mapping[str, Range], points: int | None) -> xr.Dataset:
    """Evaluate the loss over a plane; see `ravine.surface`."""
    grid = _grid_of(plane, axes, POINTS if points is None else points)
    names = names_in(plane.shapes, problem)
    place = InPlace(problem, plane.statistics, names)
    tell_random(place)
    across, down = grid.values
    first, second = (torch.from_numpy(each) for each in plane.directions)
    origin = torch.from_numpy(plane.origin)
    row, point = torch.empty_like(origin), torch.empty_like(origin)
    values = np.empty((len(down), len(across)))
    with work(values.size, "points") as advance:
        for i, y in enumerate(down.tolist()):
            torch.add(origin, second, alpha=y, out=row)
            for j, x in enumerate(across.tolist()):
                place.move_to(torch.add(row, first, alpha=x, out=point))
                values[i, j] = place.value()
            advance(len(across))
    error = None
    if place.is_sample:
        place.move_to(origin)
        error = place.standard_error()
    dims = (grid.names[1], grid.names[0])
    facts = plane.facts(place.statistics, **sample_facts(place, error))
    fate = provenance(HOW, **facts_of_loss(place), others=f"a plane through all {plane.size:,}")
    attrs = {"long_name": CONTRACT["surface"].long_name, "provenance": fate, "plane": facts}
    squares = squares_on(plane, across, down)
    coords = dict(zip(grid.names, grid.values, strict=True))
    found = xr.Dataset(
        {
            "surface": (dims, values, attrs),
            "squares": (dims, squares, {"long_name": CONTRACT["squares"].long_name, "provenance": fate}),
        },
        coords,
    )
    return found if problem.criterion is None else found.assign_coords(criterion=problem.criterion)


def _grid_of(plane: Plane, axes: Mapping[str, Range], points: int) -> Grid:
    if unknown := [name for name in axes if name not in plane.axes]:
        raise ValueError(f"the plane has no axis {unknown[0]!r}; it has {listed(plane.axes)}")
    if isinstance(points, bool) or not isinstance(points, (int, np.integer)) or points < 2:
        raise ValueError(f"points must be a whole number of at least 2, got {points!r}")
    horizontal, vertical = plane.axes
    across, up = (axis_values(name, axes.get(name, plane.ranges[name]), points) for name in plane.axes)
    return Grid((horizontal, vertical), (across, up))
