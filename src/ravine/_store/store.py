"""A sweep on disk as it grows: a Zarr group that any reader opens, and a ledger of the blocks that are finished.

Data first, then the record: a process may be killed at any instant, and what the ledger holds is whole. What is kept
beside the arrays lies in the folder ``.ravine``: the plan of the sweep, the ledger, and the writer's lock. Opened as a
study, its numbers are read when they are looked at.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import listed
from ravine._store.ledger import DRAFT, Ledger, Tiling, read_record, write_record
from ravine._study.contract import CONTRACT, check
from ravine._study.provenance import by_label, digest

FORMAT = 1
HIDDEN = ".ravine"


@dataclass(frozen=True)
class Field:
    """One array of a store: what comes after the dimensions of choice, and what is said of it."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any]


def is_store(path: str | os.PathLike[str]) -> bool:
    """Tell whether a sweep was begun there."""
    return (Path(path) / HIDDEN / "plan.json").exists()


class Store:
    """A store that was begun: its plan, and the blocks that are finished.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotADirectoryError
        If it is a file.
    ValueError
        If the folder is no store of a sweep, its plan is damaged, or another version of ravine wrote it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise NotADirectoryError(
                f"{self.path} is a file, and a store is a folder: a new one needs a name that is free"
            )
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no store {self.path}")
        if not is_store(self.path):
            raise ValueError(
                f"{self.path} is a folder, but no store of a sweep (it has no {HIDDEN}/plan.json): "
                "xarray.open_zarr opens other Zarr groups; a new store needs a name that is free"
            )
        try:
            self.manifest = read_record(self.hidden / "plan.json")
        except ValueError as reason:
            raise ValueError(
                f"{reason}; without its plan a store cannot go on, or be proved: delete it and sweep again. "
                "xarray.open_zarr reads what it holds"
            ) from None
        if self.manifest["format"] != FORMAT:
            raise ValueError(
                f"{self.path} has format {self.manifest['format']}, and this ravine reads format {FORMAT}: "
                f"open it with ravine {self.manifest['identity'].get('ravine')}, which wrote it"
            )
        self.tiling = Tiling(tuple(self.manifest["shape"]), tuple(self.manifest["block"]))
        self._arrays: dict[str, Any] = {}
        self.ledger = Ledger(self.hidden / "ledger", json.dumps(self.manifest["identity"], sort_keys=True))

    @property
    def hidden(self) -> Path:
        """Where plan, ledger and lock lie."""
        return self.path / HIDDEN

    @property
    def remedy(self) -> str:
        """How to go on with it."""
        if self.manifest["typed"] is not None:
            return f"ravine resume {self.path} goes on"
        program = self.manifest["program"]
        return f"the same call{f' in {program}' if program else ''} goes on"

    @property
    def identity(self) -> dict[str, str]:
        """What the sweep is, aspect by aspect."""
        identity: dict[str, str] = self.manifest["identity"]
        return identity

    @functools.cached_property
    def fields(self) -> dict[str, Field]:
        """The arrays that are written block by block."""
        return {
            name: Field(tuple(each["dims"]), tuple(each["shape"]), each["dtype"], each["attrs"])
            for name, each in self.manifest["fields"].items()
        }

    def array(self, name: str) -> Any:
        """Return one of the Zarr arrays, opened once."""
        if name not in self._arrays:
            import zarr

            # a block of nothing but NaN is a result: without this it would leave no file, and look like one not made
            with zarr.config.set({"array.write_empty_chunks": True}):
                self._arrays[name] = zarr.open_array(str(self.path / name), mode="r+", zarr_format=3)
        return self._arrays[name]

    def write(self, block: int, values: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Write all of one block, and then its record.

        Parameters
        ----------
        block
            Number of the block.
        values
            Each field (run, …) of just the runs of this block.
        facts
            What else the record holds, as JSON.

        Raises
        ------
        ValueError
            If these are not the fields of just this block: a part of a chunk is never written.
        OSError
            If the disk is full or cannot be written.
        """
        if set(values) != set(self.fields):
            raise ValueError(f"a block holds {listed(sorted(self.fields))}, got {listed(sorted(values))}")
        shape = self.tiling.shape_of(block)
        runs = self.tiling.runs_of(block)
        whole = {}
        for name, field in self.fields.items():
            given, wanted = values[name], (runs.stop - runs.start, *field.shape)
            if given.shape != wanted or given.dtype != np.dtype(field.dtype):
                raise ValueError(
                    f"block {block} of {name!r} is {np.dtype(field.dtype)} {wanted}, got {given.dtype} {given.shape}: "
                    "blocks are written whole, because a part of a chunk would be lost beside another writer's"
                )
            whole[name] = given.reshape((*shape, *field.shape))
        place = self.place(block)
        with full(self.path):
            for name, each in whole.items():
                self.array(name)[place] = each
            sums = {name: sum_of(each) for name, each in values.items()}
            self.ledger.enter(block, {"sums": sums, **facts})

    def read(self, block: int, name: str) -> NDArray[Any]:
        """Return one field of a block as it was handed in."""
        runs = self.tiling.runs_of(block)
        found = np.asarray(self.array(name)[self.place(block)])
        return found.reshape((runs.stop - runs.start, *self.fields[name].shape))

    def chunks(self, block: int, name: str) -> list[Path]:
        """Return the files that hold one field of a block."""
        array, corner = self.array(name), self.tiling.corner(block)
        tails = [range(-(-length // part)) for length, part in zip(array.shape, array.chunks, strict=True)][
            len(corner) :
        ]
        keys = (array.metadata.encode_chunk_key((*corner, *tail)) for tail in itertools.product(*tails))
        return [self.path / name / key for key in keys]

    def place(self, block: int) -> tuple[slice, ...]:
        """Return where a block lies in the arrays, along the dimensions of choice."""
        corner, shape = self.tiling.corner(block), self.tiling.shape_of(block)
        starts = [c * part for c, part in zip(corner, self.tiling.block, strict=True)]
        return tuple(slice(start, start + length) for start, length in zip(starts, shape, strict=True))

    def damaged(self) -> dict[str, str]:
        """Look at the files that were there before any block (coordinates, data, minima, what each array is).

        Those that are not as they were written are returned, with what is wrong.
        """
        found = {}
        for name, known in self.manifest["files"].items():
            file = self.path / name
            if not file.exists():
                found[name] = "is gone"
            elif digest(file.read_bytes()) != known:
                found[name] = "is not what was written"
        return found

    def records(self) -> dict[int, dict[str, Any]]:
        """Return the record of each finished block; of a complete store they were gathered in one file."""
        gathered = self.gathered()
        return dict(self.ledger.finished(self.tiling.count)) if gathered is None else gathered

    def gathered(self) -> dict[int, dict[str, Any]] | None:
        """Return the records that were gathered in one file, if it is there and sound."""
        try:
            return {int(block): facts for block, facts in read_record(self.complete)["blocks"].items()}
        except (ValueError, FileNotFoundError):
            return None

    @property
    def complete(self) -> Path:
        """The file that gathers the ledger of a complete store, to be opened at once."""
        return self.hidden / "complete.json"

    def missing(self) -> list[int]:
        """Return the blocks that are not finished: the ledger decides."""
        count = self.tiling.count
        sound = dict(self.ledger.finished(count)) if self.gathered() is None else set(self.ledger.entered(count))
        return [block for block in range(count) if block not in sound]

    def gather(self) -> None:
        """Write the records of a complete store into one file, which opens at once however many there are."""
        if self.gathered() is None:
            blocks = {str(block): facts for block, facts in self.ledger.finished(self.tiling.count)}
            if len(blocks) == self.tiling.count:
                with full(self.path):
                    write_record(self.complete, {"blocks": blocks})

    def forget(self, block: int) -> None:
        """Take a block out of the ledger, so that it is made again."""
        self.complete.unlink(missing_ok=True)
        self.ledger.forget(block)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one who hands out blocks of this store, and clear away what dead writers left half-written.

        Raises
        ------
        BlockingIOError
            If another process is at it.
        """
        from filelock import FileLock, Timeout

        lock, who = FileLock(self.hidden / "lock"), self.hidden / "writer.json"
        with full(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                by = "another process"
                with contextlib.suppress(ValueError, OSError):
                    facts = read_record(who)
                    by = f"process {facts['process']} on {facts['host']}"
                raise BlockingIOError(
                    f"{self.path} is being written by {by}: wait for it or stop it, then go on"
                ) from None
        try:
            with full(self.path):
                write_record(who, {"process": os.getpid(), "host": socket.gethostname()})
                self.ledger.folder.mkdir(exist_ok=True)  # tools that copy may leave out an empty folder
                for draft in self.path.rglob(f"*{DRAFT}"):
                    draft.unlink(missing_ok=True)
            yield
        finally:
            who.unlink(missing_ok=True)
            lock.release()


def sum_of(values: NDArray[Any]) -> str:
    """Return the digest of one field of a block (run, …), its numbers in the order in which engines make them.

    Examples
    --------
    >>> sum_of(np.zeros((3, 2))) == sum_of(np.zeros((3, 2), order="F")) != sum_of(np.zeros((2, 3)))
    True
    """
    # runs last, as in an engine's memory and in a chunk: nothing has to be moved about
    made = np.ascontiguousarray(np.moveaxis(values, 0, -1))
    return digest(made.dtype.str, str(made.shape), made)


@contextlib.contextmanager
def full(path: Path) -> Iterator[None]:
    """Name the store and the remedy where the disk is full or may not be written."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as reason:
        told = type(reason)(
            f"cannot write into {path} ({reason.strerror or reason}): what is finished stays; make room or give the "
            "right to write there, then start again, and it goes on"
        )
        told.errno = reason.errno
        raise told from reason


def study_of_store(store: Store, *, incomplete: str = "", level: int = 3) -> xr.Dataset:
    """Return what a store holds; runs that were not made have ``steps_taken`` 0.

    Parameters
    ----------
    store
        Complete or not.
    incomplete
        What to say where it is not complete; nothing is said if left out.
    level
        To how manieth caller that is said.
    """
    try:
        lazy = xr.open_zarr(store.path, chunks=None, consolidated=True)
    except Exception as reason:  # zarr, numcodecs and json each raise their own kinds
        raise ValueError(f"{store.path} is damaged: {reason}. ravine verify {store.path} says where") from reason
    records = store.records()
    fresh = {n: (lazy[n].dims, lazy[n].values.astype(t), lazy[n].attrs) for n, t in store.manifest["dtypes"].items()}
    found = lazy.assign({n: v for n, v in fresh.items() if n in lazy.data_vars})
    found = found.assign_coords({n: v for n, v in fresh.items() if n in lazy.coords})
    for name in found.variables:
        found[name].encoding.clear()
    told = {which: word for facts in records.values() for which, word in facts["told"].items()}
    count = len(store.manifest["problems"])
    words = by_label([told.get(str(k), "not compared") for k in range(count)], _problems_of(store, found))
    for name, field in store.fields.items():
        found[name].attrs = _with_word(field.attrs, words)
    fate = found[next(iter(store.fields))].attrs["provenance"]
    made = _from_ledger(store, records)
    for name, values in made.items():
        attrs = {"long_name": CONTRACT[name].long_name, "provenance": fate}
        found[name] = (store.manifest["lead"], values.reshape(store.tiling.shape), attrs)
    if incomplete and "steps_taken" in made:
        there = math.fsum(s.stop - s.start for s in map(store.tiling.runs_of, records))
        warnings.warn(f"{there:,.0f} of {store.tiling.size:,} runs are in {store.path}: {incomplete}", stacklevel=level)
    return check(found)


def _problems_of(store: Store, found: xr.Dataset) -> dict[str, list[Any]]:
    """Return the dimensions along which the problems lie, the first ones, with their labels."""
    lead, count = store.manifest["lead"], len(store.manifest["problems"])
    outer = next(k for k in range(len(lead) + 1) if math.prod(store.tiling.shape[:k]) == count)
    return {dim: found[dim].values.tolist() for dim in lead[:outer]}


def _with_word(attrs: Mapping[str, Any], words: Any) -> dict[str, Any]:
    """Say in the provenance how near to torch the engines came, which is known after the runs."""
    fate = json.loads(attrs["provenance"])
    fate["equals_torch"] = words
    return {**attrs, "provenance": json.dumps(fate)}


def _from_ledger(store: Store, records: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is known from the ledger alone: torch's messages, and which runs were not made."""
    found: dict[str, Any] = {}
    if any(facts["errors"] for facts in records.values()):
        errors = np.full(store.tiling.size, "", dtype=object)
        for facts in records.values():
            for message, stretches in facts["errors"].items():
                for first, last in stretches:
                    errors[first:last] = message
        found["error"] = errors.astype(str)
    if len(records) < store.tiling.count:
        taken = np.zeros(store.tiling.size, dtype=np.int64)
        for block in records:
            taken[store.tiling.runs_of(block)] = int(store.identity["steps"])
        found["steps_taken"] = taken
    return found
