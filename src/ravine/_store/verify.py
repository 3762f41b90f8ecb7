"""verify: whether a store still holds what was written into it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ravine._format import listed
from ravine._progress import tracked
from ravine._store.store import Store, sum_of


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
    files = store.damaged()
    faults = [f"{store.path / name} {fault}: {store.remedy}, and writes it again" for name, fault in files.items()]
    damaged, readable = set[int](), [name for name in store.fields if f"{name}/zarr.json" not in files]
    gathered, entered = store.gathered(), set(store.ledger.entered(store.tiling.count))
    for block in tracked(range(store.tiling.count), "blocks"):
        if block in entered:
            found = _faults_of_block(store, block, readable)
        else:
            found = [f"the record of {_named(store, block)} is gone"] if block in (gathered or {}) else []
        if found:
            damaged.add(block)
            faults += found
    torn = store.complete.exists() and gathered is None
    if torn:
        faults.append(f"{store.complete} is damaged: it is made again from the ledger")
    if forget and (damaged or torn):
        with store.writing():
            store.complete.unlink(missing_ok=True)
            for block in damaged:
                store.forget(block)
    return faults


def _named(store: Store, block: int) -> str:
    runs = store.tiling.runs_of(block)
    some = f"runs {runs.start:,} to {runs.stop - 1:,}" if runs.stop - runs.start > 1 else f"run {runs.start:,}"
    return f"block {block} ({some})"


def _faults_of_block(store: Store, block: int, readable: Sequence[str]) -> list[str]:
    """Look at one block; of an array whose own description is damaged nothing can be told."""
    try:
        facts = store.ledger.read(block)
    except ValueError as reason:
        return [f"the record of {_named(store, block)}: {reason}"]
    where, faults = _named(store, block), []
    for name in readable:
        if gone := [str(chunk) for chunk in store.chunks(block, name) if not chunk.exists()]:
            faults.append(f"{where} of {name} is gone: there is no {listed(gone, most=2)}")
            continue
        try:
            sum_now = sum_of(store.read(block, name))
        except Exception as reason:  # zarr, its codecs and the system raise each their own kind
            faults.append(f"{where} of {name} cannot be read: {reason}")
            continue
        if sum_now != facts["sums"][name]:
            faults.append(f"{where} of {name} is not what was written")
    return faults
