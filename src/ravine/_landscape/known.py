"""The surface around runs whose problem is still known in this process, proved to be theirs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._landscape.around import around
from ravine._landscape.surface import surface
from ravine._problem.dimension import dimension
from ravine._problem.problem import Problem
from ravine._study.origin import remember
from ravine._study.script import pieces_of
from ravine._torch import fork_random_state

PLACES = 4
"""Places of a run at which the loss must be the problem's."""

NEAR = 1e-4
"""How near, relatively: runs of a batch may differ from torch in the last digits."""

LIGHT = 10_000
"""Numbers of data up to which a problem is kept; a larger one is found again as long as its owner keeps it."""


@dataclass(frozen=True, eq=False)
class Origin:
    """What runs were made of: problems by label, each with how it is spelled as code."""

    problems: Mapping[str, Callable[[], Problem | None]]
    spelled: Mapping[str, Any]
    several: bool

    def __call__(self, runs: xr.Dataset) -> xr.Dataset | None:
        """Make a surface around runs, or return None where they are not of these problems."""
        held = {label: get() for label, get in self.problems.items()}
        alive = {label: each for label, each in held.items() if each is not None}
        if len(alive) < len(held):
            return None
        first = next(iter(alive.values()))
        if runs.sizes["parameter"] != first.size or first.size != 2 or "loss" not in runs:
            return None
        if tuple(str(label) for label in runs["parameter"].values) != first.labels:
            return None
        if not self.several:
            return surface(first, around(runs)) if self._is_of("", first, runs) else None
        dim = dimension(alive)
        if dim not in runs.coords:
            return None
        labels = [str(label) for label in np.atleast_1d(runs[dim].values)]
        if not set(labels) <= set(alive):
            return None
        parts = {label: runs if runs[dim].ndim == 0 else runs.isel({dim: k}) for k, label in enumerate(labels)}
        if not all(self._is_of(label, alive[label], part) for label, part in parts.items()):
            return None
        chosen = {label: alive[label] for label in parts}
        return surface(chosen if runs[dim].ndim else chosen[labels[0]], around(runs))

    def _is_of(self, label: str, problem: Problem, runs: xr.Dataset) -> bool:
        """Tell whether runs are spelled as this problem is, and have its losses at some places of each."""
        losses = runs["loss"].transpose(..., "step").values
        positions = runs["position"].transpose(..., "step", "parameter").values
        losses, positions = losses.reshape(-1, losses.shape[-1]), positions.reshape(-1, *positions.shape[-2:])
        if len(positions) != len(losses):
            return False
        first = runs.isel({dim: 0 for dim in runs["loss"].dims if dim != "step"})
        try:
            spelled = pieces_of(first)["problems"]
        except (ValueError, KeyError):
            return False
        if self.spelled.get(label) not in spelled.values():
            return False
        for run in _spread(np.arange(len(losses))):
            known = np.flatnonzero(np.isfinite(losses[run]) & np.isfinite(positions[run]).all(axis=-1))
            for step in _spread(known):
                with torch.no_grad(), fork_random_state():
                    moved = problem.starting_at(positions[run, step])
                    loss = float(moved.loss(moved.start))
                if not np.isclose(loss, float(losses[run, step]), rtol=NEAR, atol=1e-9):
                    return False
        return True


def _spread(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a few of the places, from the first to the last."""
    if not len(places):
        return places
    found: NDArray[np.int64] = places[np.unique(np.linspace(0, len(places) - 1, PLACES).astype(int))]
    return found


def remember_problem(problem: Problem | Mapping[str, Problem], spelled: Mapping[str, Any]) -> None:
    """Remember what runs were made of, for pictures that are given no surface.

    Problems of little data, and functions that hold none, are kept; of others a weak reference.
    """
    several = isinstance(problem, Mapping)
    labelled = dict(problem) if isinstance(problem, Mapping) else {"": problem}
    if any(each.size != 2 for each in labelled.values()):
        return
    held = {label: _hold(each) for label, each in labelled.items()}
    remember(tuple((label, id(each)) for label, each in labelled.items()), Origin(held, spelled, several))


def _hold(problem: Problem) -> Callable[[], Problem | None]:
    return (lambda: problem) if _is_light(problem) else weakref.ref(problem)


def _is_light(problem: Problem) -> bool:
    if problem.parts is not None:
        return max(problem.parts.inputs.numel(), problem.parts.targets.numel()) <= LIGHT
    if not isinstance(problem.loss, FunctionType):
        return False
    inside = [*(problem.loss.__closure__ or ()), *(problem.loss.__defaults__ or ())]
    values = [getattr(each, "cell_contents", each) for each in inside]
    return all(isinstance(each, int | float | str | FunctionType) for each in values)
