"""A surface that grows in a store, row by row: killed at any instant, the same call goes on."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr

from ravine._format import listed
from ravine._landscape.plane_rows import PlaneRows
from ravine._parallel.workers import WorkerPool
from ravine._progress import work
from ravine._store.create import create, repair_files
from ravine._store.ledger import Tiling, sum_of
from ravine._store.plan import Field, is_store
from ravine._store.read import study_of_store
from ravine._store.remote import local_path
from ravine._store.store import Store
from ravine._study.provenance import digest, versions


def surface_in_store(
    rows: PlaneRows,
    known: xr.Dataset,
    attrs: Mapping[str, Any],
    path: str | os.PathLike[str],
    pool: WorkerPool | None,
) -> xr.Dataset:
    """Evaluate the rows that a store lacks, each of which is a block; return the whole surface.

    Raises
    ------
    ValueError
        If the store holds another surface, or a sweep.
    """
    place, identity = local_path(path), _identity_of(rows)
    if not is_store(place) and not place.exists():
        across, down = rows.grid.names
        tiling = Tiling(rows.grid.shape, (1, rows.grid.shape[1]))
        create(path, known, [down, across], tiling, {"surface": Field((), (), "<f8", attrs)}, identity, ["surface"])
    store = Store(path)
    _check_same(store, identity, rows)
    with store.writing(), work(store.tiling.size, "points") as advance:
        repair_files(store, known)
        for block in store.find_lost(store.records()):
            store.forget(block)
        missing = store.find_missing()
        advance(store.tiling.size - len(missing) * rows.grid.shape[1])
        stored = StoredRows(rows, str(store.path.absolute()))
        for _ in map(stored, missing) if pool is None else pool.results(stored, missing):
            advance(rows.grid.shape[1])
        store.gather()
    return study_of_store(store).load()[["surface", "squares"]]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows of a surface that go into a store as they are evaluated."""

    rows: PlaneRows
    path: str

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # files stay with who opened them

    @cached_property
    def store(self) -> Store:
        """The store, as this process sees it."""
        return Store(self.path)

    def __call__(self, number: int) -> None:
        """Evaluate one row, write it, and then its record."""
        self.store.write(number, {"surface": self.rows(number)}, {"agreement": {"0": None}, "errors": {}})


def _identity_of(rows: PlaneRows) -> dict[str, str]:
    """Return what makes the numbers of a surface, aspect by aspect; the loss itself is known by its values."""
    problem, plane = rows.problem, rows.plane
    aspects = {name: versions()[name] for name in ("ravine", "torch", "numpy")}
    aspects |= {"what": "a surface over a plane", "steps": "1", "statistics": str(rows.place.statistics)}
    aspects["plane"] = f"{plane.kind} ({digest(plane.origin, np.ascontiguousarray(plane.directions))[:8]})"
    for name, values in zip(rows.grid.names, rows.grid.values, strict=True):
        aspects[f"axis {name}"] = f"{len(values)} values ({digest(np.ascontiguousarray(values))[:8]})"
    flat = [each.detach().cpu().reshape(-1).contiguous() for each in problem.start.values()]
    start = [each.view(torch.uint8).numpy() for each in flat]
    aspects["parameters"] = f"{problem.size:,} ({digest(*start)[:8]})"
    if rows.place.draws:
        aspects["random state"] = digest(rows.random.numpy())[:8]
    return aspects


def _check_same(store: Store, identity: Mapping[str, str], rows: PlaneRows) -> None:
    """Refuse a store of something else; a finished row is evaluated again, another each time, and must be the same.

    What a surface is said to be cannot tell the data from other data: its losses can.
    """
    apart = [name for name in {**store.identity, **identity} if store.identity.get(name) != identity.get(name)]
    if apart:
        raise ValueError(
            f"{store.path} holds something else than this surface: {listed(apart)} differ; take a new store"
        )
    there = store.records()
    lost = store.find_lost(there) if there else {}
    sound = sorted(set(there) - set(lost))
    if not sound:
        return
    block = random.SystemRandom().choice(sound)  # the user's generators stay where they are
    if sum_of(rows(block)) != there[block]["sums"]["surface"]:
        raise ValueError(
            f"{store.path} holds another surface: row {block} came out otherwise. Another loss or other data do that, "
            "or another processor; go on with what it was begun with, or take a new store"
        )
