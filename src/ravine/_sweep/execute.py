"""Making all runs of a sweep, in this process or in others, in memory or in a store that goes on where it stopped."""

from __future__ import annotations

import json
import os
import random
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine._descent.dataset import plain
from ravine._engine.job import labels_of
from ravine._engine.keep import Kept, check_disk
from ravine._engine.product import Axis
from ravine._format import listed
from ravine._parallel.workers import WorkerPool, wrap_executor
from ravine._progress import work
from ravine._store.create import create, remove_old, repair_files
from ravine._store.ledger import Tiling, sum_of
from ravine._store.plan import is_store
from ravine._store.read import study_of_store
from ravine._store.remote import local_path
from ravine._store.store import Store, count_runs, runs_in_words
from ravine._sweep.identity import differences, identity_of
from ravine._sweep.plan import BlockResult, SweepPlan
from ravine._sweep.study import fields_of, skeleton_of, study_of_blocks


def in_memory(plan: SweepPlan, executor: Executor | None) -> xr.Dataset:
    """Make all runs and keep them in memory; interrupted, return what was done."""
    job, whole = plan.job, slice(0, plan.job.size)
    made, output = plan.begin(whole), plan.output(whole)
    pool = None if executor is None else wrap_executor(executor)
    plan.warn_if_slow(1 if pool is None else pool.size, level=5)
    try:
        with work(job.size, plan.what) as advance:
            if pool is None:
                plan.work_on(made, output, advance)
            else:
                tiling = plan.tiling(pool.size)
                for _, part in pool.results(Blocks(plan, tiling), range(tiling.count)):
                    made.join(part)
                    output.take(part.runs, part.kept)
                    advance(part.runs.stop - part.runs.start)
    except KeyboardInterrupt:
        if (made.taken < 0).all() or not output.variables():  # runs that are not finished have no summary
            raise
        for done in np.unique(made.taken[made.taken < job.steps]).tolist():
            output.lose(made.taken == done, after=done)
        finished = int((made.taken == job.steps).sum())
        warnings.warn(f"interrupted: {finished:,} of {job.size:,} runs were finished", stacklevel=5)
    failed = made.errors != ""
    if failed.all():
        raise RuntimeError(f"every run failed; the first with: {made.errors[0]}")
    plan.remember(made)
    output.lose(failed)
    return study_of_blocks(plan, made, output.variables())


def on_disk(plan: SweepPlan, path: str | os.PathLike[str], executor: Executor | None) -> xr.Dataset:
    """Make the blocks that a store lacks; return what it then holds."""
    pool = None if executor is None else wrap_executor(executor)
    store, doubts = _open_or_create(plan, path, 1 if pool is None else pool.size)
    check_same_sweep(store, plan)
    if doubts:  # a block that comes out otherwise says more
        raise ValueError(_refusal(store, doubts))
    interrupted = False
    if not _is_whole(store):
        plan.warn_if_slow(1 if pool is None else pool.size, level=5)
        with store.writing(), work(plan.job.size, plan.what) as advance:
            repair_files(store, skeleton_of(plan))
            _forget_lost(store)
            missing = store.find_missing()
            advance(plan.job.size - count_runs(store, missing))
            try:
                _make_blocks(store, plan, missing, pool, advance)
            except KeyboardInterrupt:
                interrupted = True
            store.gather()
    found = study_of_store(store, incomplete=f"interrupted; {store.remedy}" if interrupted else "", level=5)
    if "error" in found and "steps_taken" not in found and bool((found["error"] != "").all()):
        raise RuntimeError(f"every run failed; the first with: {found['error'].values.flat[0]}")
    return found


def _is_whole(store: Store) -> bool:
    """Tell whether nothing is to be written: such a store may lie where nobody can write."""
    return (
        store.read_gathered() is not None
        and not store.find_damage()
        and not store.find_damaged_plans()
        and not store.find_missing()
    )


def _forget_lost(store: Store) -> None:
    """Take blocks whose chunk files are gone out of the ledger, and say so."""
    lost = store.find_lost(store.records())
    if lost:
        files = [str(each) for some in lost.values() for each in some]
        warnings.warn(
            f"{listed(files, most=2)} {'is' if len(files) == 1 else 'are'} gone: "
            f"{count_runs(store, lost):,} runs are made again",
            stacklevel=6,
        )
    for block in lost:
        store.forget(block)


def check_same_sweep(store: Store, plan: SweepPlan) -> None:
    """Make one of a store's finished blocks again, another each time, and compare.

    What a sweep is said to be cannot tell everything: a loss may differ only where no run begins. A block in which
    every bit is as it was can.

    Raises
    ------
    ValueError
        If it does not come out as it was; the message names the block, and the first run that differs.
    """
    there = store.read_gathered() or dict(store.ledger.finished(store.tiling.count))
    lost = store.find_lost(there) if there and not store.find_damage() else {}
    sound = sorted(set(there) - set(lost))
    if not sound:
        return
    block = random.SystemRandom().choice(sound)  # the user's generators stay where they are
    made = Blocks(plan, store.tiling)(block).kept
    sums = there[block]["sums"]
    differing = [name for name, (_, values) in made.items() if sum_of(values) != sums.get(name)]
    if differing:
        fault = _name_first_difference(store, plan.job.axes, block, made, differing)
        raise ValueError(
            f"{store.path} holds another sweep: {runs_in_words(store, block)} was made again, and {fault}. Another "
            f"loss, optimizer or scheduler does that, or another processor (it was begun on {_begun_on(store)}): go on "
            "with what it was begun with, or sweep into a new store"
        )


def _name_first_difference(store: Store, axes: Sequence[Axis], block: int, made: Kept, names: Sequence[str]) -> str:
    """Say in which run something differs first, where what is stored can still be read."""
    runs, found = store.tiling.runs_of(block), dict[str, int]()
    for name in names:
        now = made[name][1]
        try:
            held = store.read(block, name)
        except Exception:  # damaged besides: that is told by who reads it
            continue
        apart = (held != now) & ~((held != held) & (now != now))
        if apart.any():
            found[name] = runs.start + int(np.flatnonzero(apart.reshape(len(now), -1).any(1))[0])
    if not found:
        return f"its {listed(names)} came out otherwise"
    first = min(found.values())
    places = np.unravel_index(first, store.tiling.shape) if axes else ()
    labels = [f"{axis.name} {plain(axis.labels[place])}" for axis, place in zip(axes, places, strict=True)]
    where = f" ({', '.join(labels)})" if labels else ""
    return f"{listed([name for name in names if found.get(name) == first])} of run {first:,}{where} came out otherwise"


def _make_blocks(
    store: Store, plan: SweepPlan, missing: list[int], pool: WorkerPool | None, advance: Callable[[float], None]
) -> None:
    blocks = StoredBlocks(plan, store.tiling, str(store.path.absolute()))
    if pool is None:
        for block in missing:
            blocks(block, advance)
        return
    for block, _ in pool.results(blocks, missing):
        advance(store.tiling.runs_in(block))


def check_place(path: str | os.PathLike[str]) -> Path:
    """Return where a store is to lie, unless that is the name of a file."""
    place = local_path(path)
    if place.suffix.lower() in (".nc", ".csv", ".png", ".svg", ".pdf"):
        raise ValueError(f"a store is a folder, by custom .zarr, got {path}: ravine.save writes files .nc")
    return place


def _open_or_create(plan: SweepPlan, path: str | os.PathLike[str], workers: int) -> tuple[Store, list[str]]:
    """Open the store of this very sweep, or begin it; return also in what its sums differ, if in nothing else.

    Raises
    ------
    ValueError
        If the store holds another sweep.
    """
    place = check_place(path)
    identity = identity_of(plan)
    remove_old(path)
    if not is_store(place) and not place.exists():
        check_disk(plan.job, place, summary=plan.summary)
        lead = [axis.name for axis in plan.job.axes]
        known, fields, labels = skeleton_of(plan), fields_of(plan), labels_of(plan.job)
        return create(path, known, lead, plan.tiling(workers), fields, identity, labels), []
    store = Store(path)
    found = differences(store.identity, identity)
    if not all(each.startswith("rounding") for each in found):
        raise ValueError(_refusal(store, found))
    return store, found


def _refusal(store: Store, found: Sequence[str]) -> str:
    where = ""
    if all(each.startswith(("loss", "rounding")) for each in found):  # nothing but numbers of losses and gradients
        where = f"On another processor the same sums may round otherwise; it was begun on {_begun_on(store)}. "
    return (
        f"{store.path} holds another sweep: {listed(found, most=4)}. {where}"
        "Go on with what it was begun with, or sweep into a new store"
    )


def _begun_on(store: Store) -> str:
    return str(json.loads(next(iter(store.fields.values())).attrs["provenance"])["processor"])


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of a plan, to be made one by one, here or elsewhere."""

    plan: SweepPlan
    tiling: Tiling

    def __call__(self, number: int) -> BlockResult:
        """Make one block and return it."""
        return self.plan.make(self.tiling.runs_of(number), lambda amount: None)


@dataclass(frozen=True, eq=False)
class StoredBlocks:
    """Blocks of a plan that go into a store as they are made."""

    plan: SweepPlan
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
        made = self.plan.make(self.tiling.runs_of(number), advance)
        agreement = {str(which): each and each.facts() for which, each in made.agreement.items()}
        facts = {"agreement": agreement, "errors": _errors_by_message(made)}
        self.store.write(number, {name: values for name, (_, values) in made.kept.items()}, facts)


def _errors_by_message(made: BlockResult) -> dict[str, list[tuple[int, int]]]:
    """Return the runs that failed, by message, as stretches of numbers."""
    found: dict[str, list[tuple[int, int]]] = {}
    bounds = [0, *(np.flatnonzero(made.errors[1:] != made.errors[:-1]) + 1).tolist(), len(made.errors)]
    for first, last in pairwise(bounds):
        if made.errors[first]:
            found.setdefault(made.errors[first], []).append((made.runs.start + first, made.runs.start + last))
    return found
