"""Audits: whether a store still holds what was written into it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ravine.ledger import digest, read_record
from ravine.progress import tracked
from ravine.store import Store

__all__ = ["verify"]


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
    store = Store(path)
    faults, damaged = _faults_of_files(store), set[int]()
    for block in tracked(range(store.tiling.count), "blocks"):
        found = _faults_of_block(store, block)
        if found:
            damaged.add(block)
            faults += found
    faults += _faults_of_gathered(store)
    if forget and damaged:
        with store.writing():
            for block in damaged:
                store.forget(block)
    return faults


def _faults_of_files(store: Store) -> list[str]:
    """Look at what was written before any block: coordinates, data, minima, and what each array is."""
    faults = []
    for name, known in store.plan["files"].items():
        file = store.path / name
        if not file.exists():
            faults.append(f"{file} is gone: the sweep has to be made again in a new store")
        elif digest(file.read_bytes()) != known:
            faults.append(f"{file} is not what was written: the sweep has to be made again in a new store")
    return faults


def _faults_of_block(store: Store, block: int) -> list[str]:
    record = store.ledger.path(block)
    if not record.exists():
        return []
    try:
        facts = store.ledger.read(block)
    except ValueError as reason:
        return [str(reason)]
    runs = store.tiling.runs_of(block)
    where = f"block {block} (runs {runs.start:,} to {runs.stop - 1:,})"
    faults = []
    for name, known in facts["sums"].items():
        try:
            values = np.ascontiguousarray(store.read(block, name))
        except Exception as reason:  # zarr, its codecs and the system raise each their own kind
            faults.append(f"{where} of {name} cannot be read: {reason}")
            continue
        if digest(values.dtype.str, values) != known:
            faults.append(f"{where} of {name} is not what was written")
    return faults


def _faults_of_gathered(store: Store) -> list[str]:
    """Look at the file that gathers the ledger of a complete store."""
    gathered: Path = store.hidden / "complete.json"
    if not gathered.exists():
        return []
    try:
        read_record(gathered)
    except ValueError as reason:
        return [f"{reason}; it can be deleted, it is made again from the ledger"]
    return []
