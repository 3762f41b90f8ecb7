"""verify: whether a store still holds what was written into it."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence

from ravine._format import listed
from ravine._progress import tracked
from ravine._store.ledger import sum_of
from ravine._store.race import is_race, stores_of
from ravine._store.remote import local_path
from ravine._store.store import Store, runs_in_words
from ravine._store.trust import files_inside


def verify(path: str | os.PathLike[str], *, forget: bool = False) -> list[str]:
    """Read a sweep's store whole, and return what is wrong with it; nothing, if every bit is as it was written.

    Parameters
    ----------
    path
        The folder that ``sweep(…, store=path)`` wrote.
    forget
        Take the damaged blocks out of the ledger: the same sweep, or ``ravine resume``, then makes them again.

    Returns
    -------
    list of str
        A sentence for each fault. A block that was not made yet is none.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    ValueError
        If the folder is no store, or its plan is damaged.

    Examples
    --------
    >>> import ravine, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-4, 1e-3], store=f"{folder}/runs.zarr")
    ...     ravine.verify(f"{folder}/runs.zarr")
    []
    """
    if is_race(place := local_path(path)):
        return [f"{s.path.name}: {fault}" for s in stores_of(place) for fault in _verify(s, forget=forget)]
    return _verify(Store(path), forget=forget)


def _verify(store: Store, *, forget: bool) -> list[str]:
    files = store.find_damage()
    faults = [f"{store.path / name} {fault}: {store.remedy}, and writes it again" for name, fault in files.items()]
    plans = store.find_damaged_plans()
    faults += [f"{each} is damaged: {store.remedy}, and writes it again from its copy" for each in plans]
    there = set(files_inside(store.path))
    damaged, readable = set[int](), [name for name in store.fields if f"{name}/zarr.json" not in files]
    # in this order: who writes meanwhile enters a block first, and gathers the records when all are there
    torn = store.find_damaged_gathering()
    gathered = store.read_gathered()
    recorded = set(store.ledger.recorded(store.tiling.count))
    for block in tracked(range(store.tiling.count), "blocks"):
        if block in recorded:
            found = _find_faults(store, block, readable, there)
        else:
            found = [f"the record of {runs_in_words(store, block)} is gone"] if block in (gathered or {}) else []
        if found:
            damaged.add(block)
            faults += found
    if torn:
        faults.append(f"{torn}: it is made again from the ledger")
    if forget and (damaged or torn):
        with store.writing():
            if torn:
                store.complete.unlink(missing_ok=True)
            for block in damaged:
                store.forget(block)
    return faults


def _find_faults(store: Store, block: int, readable: Sequence[str], there: Container[str]) -> list[str]:
    """Look at one block; of an array whose own description is damaged nothing can be told."""
    try:
        facts = store.ledger.read(block)
    except ValueError as reason:
        return [f"the record of {runs_in_words(store, block)}: {reason}"]
    except FileNotFoundError:  # another process has just taken it out
        return []
    where, faults = runs_in_words(store, block), []
    for name in readable:
        if gone := [str(store.path / each) for each in store.chunk_names(block, name) if each not in there]:
            gone = [each for each in gone if not os.path.exists(each)]  # made meanwhile
        if gone:
            faults.append(f"{where} of {name} is gone: there is no {listed(gone, most=2)}")
            continue
        try:
            sum_now = sum_of(store.read(block, name))
        except Exception as reason:  # zarr, its codecs and the system raise each their own kind
            faults.append(f"{where} of {name} cannot be read: {reason}")
            continue
        if sum_now != facts["sums"].get(name):
            faults.append(f"{where} of {name} is not what was written")
    return faults
