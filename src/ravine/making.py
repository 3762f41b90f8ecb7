"""Making: all runs of a recipe, by this process or by others, kept in memory or in a store."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine import capacity, founding, opening, results
from ravine.identity import differences, identity_of
from ravine.progress import work
from ravine.recipes import Made, Recipe
from ravine.store import Store, is_store
from ravine.tiling import Tiling
from ravine.words import listed
from ravine.workers import Crew, crew_of

__all__ = ["in_memory", "on_disk"]


def in_memory(recipe: Recipe, executor: Executor | None) -> xr.Dataset:
    """Make all runs and keep them in memory; interrupted, return what was done."""
    job, whole = recipe.job, slice(0, recipe.job.size)
    made, keeper = recipe.begin(whole), recipe.keeper(whole)
    try:
        with work(job.size, "runs") as advance:
            if executor is None:
                recipe.work_on(made, keeper, advance)
            else:
                crew = crew_of(executor)
                tiling = recipe.tiling(crew.size)
                for _, part in crew.each(Blocks(recipe, tiling), range(tiling.count)):
                    made.join(part)
                    keeper.take(part.runs, part.kept)
                    advance(part.runs.stop - part.runs.start)
    except KeyboardInterrupt:
        if (made.taken < 0).all() or not keeper.variables():  # runs that are not finished have no summary
            raise
        for done in np.unique(made.taken[made.taken < job.steps]).tolist():
            keeper.lose(made.taken == done, after=done)
        finished = int((made.taken == job.steps).sum())
        warnings.warn(f"interrupted: {finished:,} of {job.size:,} runs were finished", stacklevel=4)
    if (made.errors != "").all():
        raise RuntimeError(f"every run failed; the first with: {made.errors[0]}")
    keeper.lose(made.errors != "")
    return results.study_of(recipe, made, keeper.variables())


def on_disk(recipe: Recipe, path: str | os.PathLike[str], executor: Executor | None) -> xr.Dataset:
    """Make the blocks that a store lacks; return what it then holds."""
    crew = None if executor is None else crew_of(executor)
    store = _store_for(recipe, path, 1 if crew is None else crew.size)
    interrupted = False
    with store.writing(), work(recipe.job.size, "runs") as advance:
        founding.mend(store, results.skeleton_of(recipe))
        missing = store.missing()
        advance(recipe.job.size - sum(store.tiling.runs_in(block) for block in missing))
        try:
            _fill(store, recipe, missing, crew, advance)
        except KeyboardInterrupt:
            interrupted = True
        store.gather()
    found = opening.study_of(store, incomplete=f"interrupted; {store.remedy}" if interrupted else "", level=4)
    if "error" in found and "steps_taken" not in found and bool((found["error"] != "").all()):
        raise RuntimeError(f"every run failed; the first with: {found['error'].values.flat[0]}")
    return found


def _fill(
    store: Store, recipe: Recipe, missing: list[int], crew: Crew | None, advance: Callable[[float], None]
) -> None:
    blocks = StoredBlocks(recipe, store.tiling, str(store.path.absolute()))
    if crew is None:
        for block in missing:
            blocks(block, advance)
        return
    for block, _ in crew.each(blocks, missing):
        advance(store.tiling.runs_in(block))


def _store_for(recipe: Recipe, path: str | os.PathLike[str], workers: int) -> Store:
    """Open the store of this very sweep, or begin it.

    Raises
    ------
    ValueError
        If the store holds another sweep.
    """
    if Path(path).suffix.lower() in (".nc", ".csv", ".png", ".svg", ".pdf"):
        raise ValueError(f"a store is a folder, by custom .zarr, got {path}: ravine.save writes files .nc")
    identity = identity_of(recipe)
    founding.make_room(path)
    if not is_store(path) and not Path(path).exists():
        capacity.check_disk(recipe.job, path, summary=recipe.summary)
        lead = [axis.name for axis in recipe.job.axes]
        known, fields, labels = results.skeleton_of(recipe), results.fields_of(recipe), results.labels_of(recipe.job)
        return founding.begin(path, known, lead, recipe.tiling(workers), fields, identity, labels)
    store = Store(path)
    if found := differences(store.identity, identity):
        raise ValueError(
            f"{store.path} holds another sweep: {listed(found, most=4)}. Go on with what it was begun with, or sweep "
            "into a new store"
        )
    return store


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of a recipe, to be made one by one, here or elsewhere."""

    recipe: Recipe
    tiling: Tiling

    def __call__(self, number: int) -> Made:
        """Make one block and return it."""
        return self.recipe.make(self.tiling.runs_of(number), lambda amount: None)


@dataclass(frozen=True, eq=False)
class StoredBlocks:
    """Blocks of a recipe that go into a store as they are made."""

    recipe: Recipe
    tiling: Tiling
    path: str

    def __getstate__(self) -> dict[str, Any]:
        # files stay with the process that opened them; a worker keeps what it unpacked, and knows by the tiling that
        # another store was begun under the same name
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def store(self) -> Store:
        """The store, as this process sees it."""
        try:
            return Store(self.path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"a worker does not see {self.path}: put the store where all workers can reach it, or leave store out"
            ) from None

    def __call__(self, number: int, advance: Callable[[float], None] = lambda amount: None) -> None:
        """Make one block, write it, and then its record."""
        made = self.recipe.make(self.tiling.runs_of(number), advance)
        facts = {"told": {str(which): word for which, word in made.told.items()}, "errors": _stretches(made)}
        self.store.write(number, {name: values for name, (_, values) in made.kept.items()}, facts)


def _stretches(made: Made) -> dict[str, list[tuple[int, int]]]:
    """Return the runs that failed, by message, as stretches of numbers."""
    found: dict[str, list[tuple[int, int]]] = {}
    bounds = [0, *(np.flatnonzero(made.errors[1:] != made.errors[:-1]) + 1).tolist(), len(made.errors)]
    for first, last in pairwise(bounds):
        if made.errors[first]:
            found.setdefault(made.errors[first], []).append((made.runs.start + first, made.runs.start + last))
    return found
