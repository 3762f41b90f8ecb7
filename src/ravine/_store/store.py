"""A sweep on disk as it grows: a Zarr group that any reader opens, and a ledger of the blocks that are finished.

Data first, then the record: a process may be killed at any instant, and what the ledger holds is whole. What is kept
beside the arrays lies in the folder ``.ravine``: the plan of the sweep (twice), the ledger, and the writer's lock.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import listed
from ravine._store.complete import mark_group, read_gathered
from ravine._store.ledger import OWN_DRAFT, Ledger, Tiling, sum_of, write_record
from ravine._store.lock import hold_lock, name_store_in_errors
from ravine._store.plan import FORMATS, PLANS, Field, find_damaged_plans, is_store, read_plan
from ravine._store.remote import local_path
from ravine._store.trust import HIDDEN, check_arrays, check_manifest, files_inside, import_zarr, refuse_links
from ravine._study.provenance import digest
from ravine._system import process_state


class Store:
    """A store that was begun: its plan, and the blocks that are finished.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotADirectoryError
        If it is a file.
    ValueError
        If the folder is no store of a sweep, both copies of its plan are damaged, another version of ravine wrote it,
        or it names what does not lie in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = local_path(path)
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
        refuse_links(self.path, [f"{HIDDEN}/{name}" for name in (*PLANS, "lock", "ledger", "complete.json")])
        self.manifest = read_plan(self.path)
        if self.manifest.get("format") not in FORMATS:
            read = " and ".join(map(str, FORMATS))
            raise ValueError(
                f"{self.path} has format {self.manifest.get('format')}, and this ravine reads format {read}: "
                f"open it with ravine {self.manifest.get('identity', {}).get('ravine')}, which wrote it"
            )
        try:
            check_manifest(self.manifest)
        except ValueError as reason:
            raise ValueError(f"{self.hidden / PLANS[0]} is no plan that ravine wrote: {reason}") from None
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
        program = "".join(each for each in self.manifest["program"] if each.isprintable())
        return f"the same call{f' in {program}' if program else ''} goes on"

    @property
    def unit(self) -> str:
        """What there are many of in it: runs of a sweep, or points of a surface."""
        return "points" if "surface" in self.fields else "runs"

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
        """Return one of the Zarr arrays, opened once.

        Raises
        ------
        ValueError
            If it is not the array of the plan, or would be read by other means than ravine's.
        """
        if name not in self._arrays:
            zarr, field = import_zarr(), self.fields[name]
            refuse_links(self.path, [f"{name}/zarr.json"])
            check_arrays(self.path, name)
            # a block of nothing but NaN is a result: without this it would leave no file, and look like one not made
            with process_state(), zarr.config.set({"array.write_empty_chunks": True}):
                array = zarr.open_array(str(self.path / name), mode="r+", zarr_format=3)
            if array.shape != (*self.tiling.shape, *field.shape) or array.dtype != np.dtype(field.dtype):
                raise ValueError(f"{self.path / name / 'zarr.json'} is damaged: it is not the array of the plan")
            if array.chunks[: len(self.tiling.block)] != self.tiling.block:
                raise ValueError(f"{self.path / name / 'zarr.json'} is damaged: its chunks are not the plan's blocks")
            self._arrays[name] = array
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
        FileNotFoundError
            If the store was moved or deleted since it was opened.
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
        place = self.slices_of(block)
        arrays = {name: self.array(name) for name in self.fields}
        self._check_still_here()
        with name_store_in_errors(self.path):
            try:
                for name, each in whole.items():
                    arrays[name][place] = each
                sums = {name: sum_of(each) for name, each in values.items()}
                self.ledger.enter(block, {"sums": sums, **facts})
            except FileNotFoundError:
                if is_store(self.path):
                    raise
                self._remove_husk(block)
                self._check_still_here()

    def _check_still_here(self) -> None:
        if not is_store(self.path):
            raise FileNotFoundError(
                f"{self.path} was moved or deleted while it was written: nothing more is written there; where it now "
                "is, the same sweep goes on"
            )

    def _remove_husk(self, block: int) -> None:
        """Take away the chunks that were written where the store no longer is, and folders that are empty then."""
        for name in self.fields:
            for chunk in self.chunks(block, name):
                chunk.unlink(missing_ok=True)
                for folder in chunk.parents:
                    if folder == self.path.parent:
                        break
                    with contextlib.suppress(OSError):
                        folder.rmdir()

    def read(self, block: int, name: str) -> NDArray[Any]:
        """Return one field of a block as it was handed in."""
        runs = self.tiling.runs_of(block)
        found = np.asarray(self.array(name)[self.slices_of(block)])
        return found.reshape((runs.stop - runs.start, *self.fields[name].shape))

    def chunks(self, block: int, name: str) -> list[Path]:
        """Return the files that hold one field of a block."""
        return [self.path / each for each in self.chunk_names(block, name)]

    def chunk_names(self, block: int, name: str) -> Iterator[str]:
        """Walk through the names, in the store, of the files that hold one field of a block."""
        corner = self.tiling.corner(block)
        for tail in itertools.product(*self._tails(name)):
            yield "/".join((name, "c", *map(str, (*corner, *tail))))

    def _tails(self, name: str) -> list[range]:
        """Return how many chunks there are along the dimensions after those of choice."""
        parts = self.manifest.get("chunks", {}).get(name)
        if parts is None:  # a store that was begun before the plan held them
            parts = self.array(name).chunks[len(self.tiling.block) :]
        return [range(-(-n // part)) for n, part in zip(self.fields[name].shape, parts, strict=True)]

    def slices_of(self, block: int) -> tuple[slice, ...]:
        """Return where a block lies in the arrays, along the dimensions of choice."""
        corner, shape = self.tiling.corner(block), self.tiling.shape_of(block)
        starts = [c * part for c, part in zip(corner, self.tiling.block, strict=True)]
        return tuple(slice(start, start + length) for start, length in zip(starts, shape, strict=True))

    def find_damage(self) -> dict[str, str]:
        """Look at the files that were there before any block (coordinates, data, minima, what each array is).

        Those that are not as they were written are returned, with what is wrong.
        """
        found = {}
        refuse_links(self.path, list(self.manifest["files"]))
        for name, known in self.manifest["files"].items():
            try:
                sum_now = digest((self.path / name).read_bytes())
            except FileNotFoundError:
                found[name] = "is gone"
                continue
            if sum_now not in (known, self.manifest.get("marked", {}).get(name)):
                found[name] = "is not what was written"
        return found

    def find_damaged_plans(self) -> list[Path]:
        """Return which copies of the plan are damaged or gone."""
        return find_damaged_plans(self.path, self.manifest)

    def find_lost(self, blocks: Iterable[int]) -> dict[int, list[Path]]:
        """Return which of these blocks lack chunk files, and which files."""
        there, found = set(files_inside(self.path)), dict[int, list[Path]]()
        for block in blocks:
            for name in self.fields:
                gone = [self.path / each for each in self.chunk_names(block, name) if each not in there]
                if gone:
                    found.setdefault(block, []).extend(gone)
        return found

    def records(self) -> dict[int, dict[str, Any]]:
        """Return the record of each finished block; of a complete store they were gathered in one file."""
        gathered = self.read_gathered()
        return dict(self.ledger.finished(self.tiling.count)) if gathered is None else gathered

    def read_gathered(self) -> dict[int, dict[str, Any]] | None:
        """Return the records that were gathered in one file; None where there is no such file.

        What is damaged there costs nothing, and is as if it were not there; `find_damaged_gathering` tells it.
        """
        try:
            return self._read_gathered()
        except ValueError:
            return None

    def find_damaged_gathering(self) -> str:
        """Say what is wrong with the file that gathers the records, looked at once; empty where nothing is."""
        try:
            self._read_gathered()
        except ValueError as reason:
            return str(reason)
        return ""

    def _read_gathered(self) -> dict[int, dict[str, Any]] | None:
        return read_gathered(self.complete, self.tiling.count)

    @property
    def complete(self) -> Path:
        """The file that gathers the ledger of a complete store, to be opened at once."""
        return self.hidden / "complete.json"

    def find_missing(self) -> list[int]:
        """Return the blocks that are not finished, by the ledger, or whose chunk files are gone."""
        count = self.tiling.count
        if self.read_gathered() is None:
            sound = set(dict(self.ledger.finished(count)))
        else:
            sound = set(self.ledger.recorded(count))
        sound -= set(self.find_lost(sorted(sound)))
        return [block for block in range(count) if block not in sound]

    def gather(self) -> None:
        """Write the records of a complete store into one file, which opens at once however many there are."""
        if self.read_gathered() is None:
            blocks = {str(block): facts for block, facts in self.ledger.finished(self.tiling.count)}
            if len(blocks) == self.tiling.count:
                with name_store_in_errors(self.path):
                    self._mark(complete=True)
                    write_record(self.complete, {"blocks": blocks})
        else:
            self._mark(complete=True)

    def forget(self, block: int) -> None:
        """Take a block out of the ledger, so that it is made again."""
        self._mark(complete=False)
        self.complete.unlink(missing_ok=True)
        self.ledger.forget(block)

    def _mark(self, *, complete: bool) -> None:
        """Say in the group's attributes whether runs are missing, for readers that know nothing of the ledger."""
        name = "zarr.json"
        wanted = self.manifest.get("marked", {}).get(name) if complete else self.manifest["files"][name]
        file = self.path / name
        with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):  # damaged: told elsewhere
            held = file.read_bytes()
            made = mark_group(held, complete=complete)
            if made != held and digest(made) == wanted:
                draft = file.with_name(f"{PLANS[0]}.{os.urandom(16).hex()}.partial")
                draft.write_bytes(made)
                draft.replace(file)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one who hands out blocks of this store, and clear away what dead writers left half-written.

        Raises
        ------
        BlockingIOError
            If another process is at it.
        """
        with hold_lock(self.path):
            with name_store_in_errors(self.path):
                self.ledger.folder.mkdir(exist_ok=True)  # tools that copy may leave out an empty folder
                for damaged in self.find_damaged_plans():
                    write_record(damaged, self.manifest)
                for name in files_inside(self.path):
                    if OWN_DRAFT.fullmatch(name.rpartition("/")[2]):
                        (self.path / name).unlink(missing_ok=True)
            yield


def count_runs(store: Store, blocks: Iterable[int]) -> int:
    """Return how many runs some blocks have."""
    return int(math.fsum(store.tiling.runs_in(block) for block in blocks))


def runs_in_words(store: Store, block: int) -> str:
    """Name a block by its number and its runs."""
    runs = store.tiling.runs_of(block)
    several = runs.stop - runs.start > 1
    some = f"{store.unit} {runs.start:,} to {runs.stop - 1:,}" if several else f"{store.unit[:-1]} {runs.start:,}"
    return f"block {block} ({some})"
