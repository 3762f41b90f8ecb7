"""A store as a study: its numbers are read when they are looked at, and what is not there is told."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ravine._format import listed
from ravine._store.store import Store, count_runs, runs_in_words
from ravine._store.trust import check_arrays, import_zarr
from ravine._study.contract import CONTRACT, check
from ravine._study.provenance import Agreement, by_label, describe_agreement


def study_of_store(store: Store, *, incomplete: str = "", level: int = 3) -> xr.Dataset:
    """Return what a store holds; runs that were not made, or whose files are gone, are NaN with ``steps_taken`` 0.

    Parameters
    ----------
    store
        Complete or not.
    incomplete
        What to say where it is not complete; nothing is said if left out.
    level
        To how manieth caller that is said.

    Raises
    ------
    ValueError
        If what was written before any block is damaged: coordinates, data, or what each array is.
    """
    if damage := store.find_damage():
        names = [f"{store.path / name} {fault}" for name, fault in damage.items()]
        raise ValueError(
            f"{store.path} is damaged: {listed(names, most=2)}. {store.remedy} and writes it again; no run is lost"
        )
    records = store.records()
    lost = store.find_lost(records)
    found = _open_lazily(store, {block for block in records if block not in lost})
    words = by_label(_agreements_of(store, records), _problems_of(store, found))
    for name, field in store.fields.items():
        found[name].attrs = _add_agreement(field.attrs, words)
    fate = found[next(iter(store.fields))].attrs["provenance"]
    records = {block: facts for block, facts in records.items() if block not in lost}
    made = _variables_of_ledger(store, records)
    for name, values in made.items():
        attrs = {"long_name": CONTRACT[name].long_name, "provenance": fate}
        found[name] = (store.manifest["lead"], values.reshape(store.tiling.shape), attrs)
    if lost:
        files = [str(each) for some in lost.values() for each in some]
        warnings.warn(
            f"{listed(files, most=2)} {'is' if len(files) == 1 else 'are'} gone: "
            f"{count_runs(store, lost):,} of {store.tiling.size:,} {store.unit} count as not made "
            f"({listed(_blocks_in_words(store, lost), most=2)}); "
            f"{store.remedy} and makes them again",
            stacklevel=level,
        )
    elif incomplete and "steps_taken" in made:
        warnings.warn(
            f"{count_runs(store, records):,} of {store.tiling.size:,} {store.unit} are in {store.path}: {incomplete}",
            stacklevel=level,
        )
    return check(found)


def _problems_of(store: Store, found: xr.Dataset) -> dict[str, list[Any]]:
    """Return the dimensions along which the problems lie, the first ones, with their labels."""
    lead, count = store.manifest["lead"], len(store.manifest["problems"])
    outer = next(k for k in range(len(lead) + 1) if math.prod(store.tiling.shape[:k]) == count)
    return {dim: found[dim].values.tolist() for dim in lead[:outer]}


def _blocks_in_words(store: Store, blocks: Iterable[int]) -> list[str]:
    return [runs_in_words(store, block) for block in blocks]


def _open_lazily(store: Store, finished: set[int]) -> xr.Dataset:
    """Open what was known before any block, and beside it the arrays of the blocks."""
    import_zarr()
    check_arrays(store.path)
    try:
        lazy = xr.open_dataset(store.path, engine=_Backend, store=store, finished=finished, chunks=None)
        fresh = {
            n: (lazy[n].dims, lazy[n].values.astype(t), lazy[n].attrs) for n, t in store.manifest["dtypes"].items()
        }
    except Exception as reason:  # zarr, numcodecs and json each raise their own kinds
        raise ValueError(f"{store.path} is damaged: {reason}. ravine verify {store.path} says where") from reason
    found = lazy.assign({n: v for n, v in fresh.items() if n in lazy.data_vars})
    found = found.assign_coords({n: v for n, v in fresh.items() if n in lazy.coords})
    found.attrs.pop("incomplete", None)
    for name in found.variables:
        found[name].encoding.clear()
    return found


class _Backend(BackendEntrypoint):
    """How xarray opens a store: everything by zarr, and the arrays of the blocks by `StoredArray`."""

    def open_dataset(  # type: ignore[override]
        self, filename_or_obj: Any, *, drop_variables: Any = None, store: Store, finished: set[int]
    ) -> xr.Dataset:
        """Open a store."""
        known: xr.Dataset = xr.open_zarr(
            filename_or_obj, chunks=None, consolidated=True, zarr_format=3, drop_variables=list(store.fields)
        )
        lead = store.manifest["lead"]
        return known.assign(
            {
                name: xr.Variable(
                    (*lead, *field.dims), indexing.LazilyIndexedArray(StoredArray(store, name, finished)), field.attrs
                )
                for name, field in store.fields.items()
            }
        )


class StoredArray(BackendArray):
    """One array of a store; what cannot be read of it is told with its file, its runs, and the remedy."""

    def __init__(self, store: Store, name: str, finished: set[int]) -> None:
        self.store, self.name, self.finished = store, name, finished
        self.shape = (*store.tiling.shape, *store.fields[name].shape)
        self.dtype = np.dtype(store.fields[name].dtype)

    def __getitem__(self, key: Any) -> Any:
        """Read a part."""
        array = self.store.array(self.name)
        if isinstance(key, indexing.BasicIndexer):
            read = array.__getitem__
        elif isinstance(key, indexing.VectorizedIndexer):
            read = array.vindex.__getitem__
        else:
            read = array.oindex.__getitem__

        def told(part: tuple[Any, ...]) -> NDArray[Any]:
            touched = self._blocks(part)
            blocks = [block for block in touched if block in self.finished]
            for block in blocks:
                for chunk in self.store.chunks(block, self.name):
                    if not chunk.exists():
                        raise ValueError(self._message(chunk, block, "is gone"))
            try:
                found = np.asarray(read(part))
            except Exception as reason:  # zarr, its codecs and the system raise each their own kind
                for block in touched:
                    self._complain(block, reason)
                raise
            return found if len(blocks) == len(touched) else self._without_unmade(found, part, key)

        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.VECTORIZED, told)

    def _blocks(self, part: tuple[Any, ...]) -> list[int]:
        """Return the blocks that a part touches, or lies between, finished or not."""
        tiling = self.store.tiling
        along = []
        for each, length, size in zip(part, tiling.shape, tiling.block, strict=False):
            places = np.arange(length)[each] if isinstance(each, slice) else np.asarray(each)
            along.append(np.unique(np.ravel(places) % length // size).tolist())
        strides = [int(np.prod(tiling.counts[k + 1 :], dtype=np.int64)) for k in range(len(tiling.counts))]
        return [
            sum(c * stride for c, stride in zip(corner, strides, strict=True)) for corner in itertools.product(*along)
        ]

    def _without_unmade(
        self, found: NDArray[Any], part: tuple[Any, ...], key: indexing.ExplicitIndexer
    ) -> NDArray[Any]:
        """Leave out what lies in blocks that have no record: who was stopped may have written some arrays of one."""
        tiling = self.store.tiling
        lead = len(tiling.shape)
        unmade = np.ones(tiling.shape, dtype=np.bool_)
        for block in self.finished:
            unmade[self.store.slices_of(block)] = False
        if isinstance(key, indexing.VectorizedIndexer):
            tail = (1,) * (len(self.shape) - lead)
            where = np.broadcast_to(unmade.reshape(*tiling.shape, *tail), self.shape)[part]
        else:
            where = unmade
            for axis in reversed(range(lead)):  # the last one first: a number takes its axis away
                where = where[(slice(None),) * axis + (part[axis],)]
        found = found.copy()  # zarr's own may not be written
        found[where] = np.nan if found.dtype.kind == "f" else 0
        return found

    def _complain(self, block: int, reason: Exception) -> None:
        """Say which chunk of a block cannot be read, if one cannot."""
        array, lead = self.store.array(self.name), self.store.slices_of(block)
        parts = array.chunks[len(lead) :]
        for chunk in self.store.chunks(block, self.name):
            tail = [int(each) for each in chunk.relative_to(self.store.path / self.name / "c").parts[len(lead) :]]
            try:
                array[(*lead, *(slice(k * part, (k + 1) * part) for k, part in zip(tail, parts, strict=True)))]
            except Exception as fault:
                raise ValueError(self._message(chunk, block, f"is damaged ({fault})")) from reason

    def _message(self, chunk: Path, block: int, fault: str) -> str:
        store = self.store
        if block not in self.finished:
            unmade = f"{self.name} of {runs_in_words(store, block)}, which is not finished"
            return f"{chunk} {fault}; it holds {unmade}: {store.remedy} and makes it"
        return (
            f"{chunk} {fault}; it holds {self.name} of {runs_in_words(store, block)}. ravine verify {store.path} "
            f"--forget takes what is damaged out; then {store.remedy}, and makes it again"
        )


def _agreements_of(store: Store, records: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Say of each problem how its runs compare with torch's, from what each block holds of that.

    Blocks of format 1 hold words, and each problem's were the same in all.
    """
    words: dict[str, str] = {}
    found: dict[str, Agreement | None] = {}
    for record in records.values():
        words |= record.get("told", {})
        for which, facts in record.get("agreement", {}).items():
            agreement = None if facts is None else _agreement_of(facts)
            known = found.setdefault(which, agreement)
            if known is not None and agreement is not None and known is not agreement:
                known.join(agreement)
    words |= {which: describe_agreement(agreement) for which, agreement in found.items()}
    return [words.get(str(k), describe_agreement(Agreement())) for k in range(len(store.manifest["problems"]))]


def _agreement_of(facts: Mapping[str, Any]) -> Agreement:
    """Make of a record what was written into it; a record that somebody has made up may hold anything."""
    usual = asdict(Agreement())
    if odd := [n for n, v in facts.items() if n not in usual or not _is_like(n, v, usual[n])]:
        raise ValueError(f"the record of a block holds no agreement with torch: {odd[0]} is {facts[odd[0]]!r}")
    return Agreement(**facts)


def _is_like(name: str, value: Any, usual: Any) -> bool:
    if name == "own" and value is None:  # torch fails in float64
        return True
    kinds = str if isinstance(usual, str) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _add_agreement(attrs: Mapping[str, Any], words: Any) -> dict[str, Any]:
    """Say in the provenance how near to torch the engines came, which is known after the runs."""
    fate = json.loads(attrs["provenance"])
    fate["equals_torch"] = words
    return {**attrs, "provenance": json.dumps(fate)}


def _variables_of_ledger(store: Store, records: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
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
