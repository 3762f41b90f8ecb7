"""Runs as planes read them: their positions, never copied whole, and what is known of the steps between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._format import kind_of, listed
from ravine._plane.gram import Vector
from ravine._problem.from_loader import unwrap
from ravine._problem.problem import Problem
from ravine._study.contract import check_kind, check_single, plane_of, until_taken
from ravine._study.labels import plain_shape, read_shapes
from ravine._study.provenance import facts_of

LEAST = 3
"""Positions that a plane takes: two lie on a line."""


@dataclass(frozen=True, eq=False)
class Path:
    """The positions of one run (step, parameter), at which steps, and the shapes of its tensors by name."""

    positions: NDArray[np.floating[Any]]
    steps: NDArray[np.int64]
    shapes: Mapping[str, tuple[int, ...]]
    momentum: float


def read_path(run: xr.Dataset, label: str = "") -> Path:
    """Read the positions of a run, up to the last that is finite.

    Raises
    ------
    TypeError, ValueError
        If it is no single run, lies in a plane already, or has fewer than three positions.
    """
    check_kind(run)
    if plane_of(run) is not None:
        raise ValueError("this run is projected onto a plane already: give the run itself")
    check_single(run, "position")
    run = until_taken(run)
    positions = run["position"].transpose("step", "parameter").values
    steps = run["step"].values if "step" in run.coords else np.arange(len(positions))
    last = len(positions)
    while last and not np.isfinite(positions[last - 1]).all():
        last -= 1
    if last < LEAST:
        which = f"the run {label!r} has" if label else "the run has"
        straight = "ravine.between(problem, one, other) goes straight from one position to another; for a plane "
        raise ValueError(
            f"{which} {last} finite position{'' if last == 1 else 's'}, and a plane takes {LEAST} or more: "
            f"{straight * (last == 2)}give more checkpoints, record more snapshots, as in ravine.record(…, every=1), "
            "or take ravine.Plane.random(problem)"
        )
    return Path(positions[:last], steps[:last].astype(np.int64), read_shapes(run), _momentum_of(run))


def read_paths(runs: Any) -> dict[str, Path]:
    """Read one run, several by label, or a study of several along one dimension."""
    if isinstance(runs, Mapping) and not isinstance(runs, xr.Dataset):
        if not runs:
            raise ValueError("there are no runs: give at least one, as in {'SGD': run}")
        paths = {str(label): read_path(run, str(label)) for label, run in runs.items()}
    else:
        check_kind(runs)
        dims = [dim for dim in runs["position"].dims if dim not in ("step", "parameter")] if "position" in runs else []
        if len(dims) == 1:
            labels = [str(each) for each in runs[dims[0]].values] if dims[0] in runs.coords else None
            labels = labels or [str(k) for k in range(runs.sizes[dims[0]])]
            paths = {label: read_path(runs.isel({dims[0]: k}), label) for k, label in enumerate(labels)}
        else:
            paths = {"": read_path(runs)}
    first_label, first = next(iter(paths.items()))
    for label, path in paths.items():
        if path.shapes != first.shapes:
            raise ValueError(
                f"{label!r} is a run of another model than {first_label!r}: {_differ(path.shapes, first.shapes)}"
            )
    return paths


def read_place(thing: Any) -> tuple[Vector, dict[str, tuple[int, ...]] | None]:
    """Return a place among all parameters.

    That is the last of a run, one step of it, the start of a problem, a module, a mapping, or a vector.
    """
    if isinstance(thing, xr.Dataset):
        if "position" in thing and thing["position"].dims == ("parameter",):  # one step of a run
            return _finite(thing["position"].values.astype(np.float64)), read_shapes(thing)
        check_single(thing, "position")
        positions = until_taken(thing)["position"].transpose("step", "parameter").values
        return _finite(positions[-1].astype(np.float64)), read_shapes(thing)
    named: Mapping[str, Any] | None = None
    if isinstance(thing, Problem):
        named = thing.start
    elif isinstance(thing, torch.nn.Module):
        named = {name: each for name, each in unwrap(thing).named_parameters() if each.requires_grad}
    elif isinstance(thing, Mapping):
        named = thing
    if named is not None:
        if not named:
            raise ValueError(f"{kind_of(thing)} has no parameters")
        tensors = {name: torch.as_tensor(each).detach().cpu().double() for name, each in named.items()}
        vector = torch.cat([each.reshape(-1) for each in tensors.values()]).numpy()
        return _finite(vector), {name: plain_shape(each.shape) for name, each in tensors.items()}
    try:
        vector = np.asarray(thing.detach().cpu() if torch.is_tensor(thing) else thing, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.ndim != 1 or not vector.size:
        raise TypeError(
            f"expected a run, a problem, a module, a mapping of parameters, or a vector of all, got {kind_of(thing)}"
        )
    return _finite(vector), None


def shapes_of(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a problem's tensors by name."""
    return {name: plain_shape(value.shape) for name, value in problem.start.items()}


def names_in(
    shapes: Mapping[str, tuple[int, ...]],
    problem: Problem,
    what: str = "the plane is of another model than the problem",
) -> list[str]:
    """Return the problem's tensors that are meant, in the order they stand in; refuse those of another model.

    Some of the problem's are enough: the others stay where the problem starts.
    """
    known = shapes_of(problem)
    if shapes.items() <= known.items():
        return list(shapes)
    few = sum(value.numel() for value in problem.start.values()) == len(shapes)
    if few and tuple(shapes) == problem.labels and not any(shapes.values()):
        return list(known)  # labels of their own, such as the columns of a table
    raise ValueError(f"{what}: {_differ(shapes, known)}")


def _differ(mine: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]) -> str:
    for name, shape in mine.items():
        if theirs.get(name) != shape:
            there = (
                f"of shape {theirs[name]} there"
                if name in theirs
                else f"not there, where there are {listed(theirs, 4)}"
            )
            return f"{name!r} of shape {shape} is {there}"
    missing = next(name for name in theirs if name not in mine)
    return f"{missing!r} is missing"


def _finite(vector: Vector) -> Vector:
    if not np.isfinite(vector).all():
        raise ValueError("all numbers of a place must be finite, and some of this one are not")
    return vector


def _momentum_of(run: xr.Dataset) -> float:
    """Return what share of an update the next carries on: the momentum, or the first of the betas; 0 where unsaid."""
    if "momentum" in run.coords and not run["momentum"].ndim:
        value: Any = run["momentum"].values.item()
    else:
        settings = next((each for each in facts_of(run, "position", "settings") if isinstance(each, Mapping)), {})
        value = (settings.get("betas") or [0.0])[0]
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else 0.0
