"""A run in coordinates of a plane, with the loss where it really was and where it is drawn."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from ravine._format import number
from ravine._plane.gram import Matrix, Vector, blocks
from ravine._plane.paths import names_in
from ravine._problem.buffers import read_buffers
from ravine._problem.in_place import InPlace
from ravine._problem.problem import Problem
from ravine._progress import tracked
from ravine._study.contract import CONTRACT, check_kind, check_single, plane_of
from ravine._study.interpolant import squares_of
from ravine._study.labels import read_shapes
from ravine._study.provenance import provenance

if TYPE_CHECKING:
    from ravine._plane.plane import Plane


def project(plane: Plane, run: xr.Dataset, problem: Problem) -> xr.Dataset:
    """Project a run; see `ravine.Plane.project`."""
    check_kind(run)
    if plane_of(run) is not None:
        raise ValueError("this run is projected onto a plane already: give the run itself")
    check_single(run, "position")
    names = names_in(plane.shapes, problem)
    if read_shapes(run) != dict(plane.shapes) and run.sizes["parameter"] != plane.size:
        names_in(read_shapes(run), problem, "the run is a recording of another model than the problem")
        raise ValueError(f"the run has {run.sizes['parameter']:,} parameters, and the plane is of {plane.size:,}")
    names_in(read_shapes(run), problem, "the run is a recording of another model than the problem")
    positions = run["position"].transpose("step", "parameter").values
    with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverged
        coordinates, off, squares = find_coordinates(plane, positions)
    place = InPlace(problem, plane.statistics, names)
    tell_random(place)
    losses = np.empty((2, len(positions)))
    buffers = read_buffers(run)
    for step in tracked(range(len(positions)), "positions"):
        with place.with_buffers(buffers(step)):
            losses[0, step] = place.at(torch.from_numpy(np.array(positions[step])))
        with np.errstate(over="ignore", invalid="ignore"):
            beneath = plane.at(*coordinates[step].tolist())
        losses[1, step] = place.at(torch.from_numpy(beneath))
    error = place.standard_error() if place.is_sample else None
    facts = plane.facts(place.statistics, **sample_facts(place, error))
    fate = provenance(HOW, **facts_of_loss(place))
    own = [str(name) for name, each in run.variables.items() if {"parameter", "parameter_", "buffer"} & set(each.dims)]
    found = run.drop_vars([name for name in own if name in run.variables])
    said = run["position"].attrs
    if problem.criterion is not None and "criterion" not in found.variables:
        found = found.assign_coords(criterion=problem.criterion)
    found = found.assign_coords(parameter=("parameter", np.array(plane.axes), {"plane": facts}))
    found["position"] = (("step", "parameter"), coordinates, said)
    for name, values in (("loss", losses[0]), ("drawn_loss", losses[1]), ("off_plane", off), ("squares", squares)):
        attrs = {"long_name": CONTRACT[name].long_name, "provenance": fate}
        found[name] = ("step", values, attrs)
    return found


HOW = "in place on a private copy, one evaluation after another"
"""How the loss is evaluated."""


def find_coordinates(plane: Plane, positions: Any) -> tuple[Matrix, Vector, Vector]:
    """Return coordinates by least squares, distances from the plane, and the squared lengths of positions.

    Examples
    --------
    >>> import ravine
    >>> plane = ravine.Plane.through([0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    >>> [each.tolist() for each in find_coordinates(plane, np.array([[2.0, 3.0, 5.0]]))]
    [[[2.0, 3.0]], [4.0], [38.0]]
    """
    rows = len(positions)
    products, own, lengths, squares = np.zeros((rows, 2)), np.zeros((2, 2)), np.zeros(rows), np.zeros(rows)
    for where, block in blocks([positions], plane.origin):
        axes = plane.directions[:, where]
        products += block @ axes.T
        own += axes @ axes.T
        lengths += np.einsum("ij,ij->i", block, block)
        block += plane.origin[where]
        squares += np.einsum("ij,ij->i", block, block)
    # the pseudo-inverse: two directions may be one
    coordinates: Matrix = products @ np.linalg.pinv(own, rcond=1e-13, hermitian=True)
    off: Vector = np.sqrt(np.maximum(lengths - np.einsum("ij,ij->i", coordinates @ own, coordinates), 0.0))
    return coordinates, off, squares


def products_of(plane: Plane) -> Matrix:
    """Return the scalar products of a plane's origin and directions."""
    basis = np.stack([plane.origin, *plane.directions])
    found: Matrix = basis @ basis.T
    return found


def squares_on(plane: Plane, x: Vector, y: Vector) -> Matrix:
    """Return the sum of the squares of all parameters over the points of a plane, the vertical axis first."""
    return squares_of(products_of(plane), x, y)


def tell_random(place: InPlace) -> None:
    """Warn of a loss that draws random numbers as it is evaluated."""
    if place.draws:
        warnings.warn(
            "the loss draws random numbers as it is evaluated (dropout without training=self.training, say): the same "
            "ones are drawn at every point",
            stacklevel=4,
        )


def facts_of_loss(place: InPlace) -> dict[str, Any]:
    """Return what the provenance says of a loss that was evaluated in place."""
    told: dict[str, Any] = {"equals_torch": "is torch", "threads": torch.get_num_threads()}
    if place.batches is not None:
        told["weighted_by"] = "nothing: a sum" if place.batches.summed else place.batches.over
        told["batches"] = len(place.batches.items)
        if place.batches.remarks:
            told["data"] = "; ".join(place.batches.remarks)
    if place.classes_first is not None:
        off = place.classes_first.off
        near = (
            f"off by at most {number(off, 2)} of the plain call's loss" if off else "the plain call's loss in every bit"
        )
        told["criterion"] = f"of joined batches with the classes first, {near} at the start"
    if place.draws:
        told["random"] = "the same random numbers at every point"
    return told


def sample_facts(place: InPlace, error: float | None) -> dict[str, Any]:
    """Return what is said of a plane whose loss is that of a sample."""
    if place.batches is None or error is None:
        return {}
    return {"samples": place.batches.drawn, "of": place.batches.rows, "standard_error": error}
