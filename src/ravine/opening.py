"""Opening: a store as a study whose numbers are read when they are looked at."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ravine import study
from ravine.store import Store
from ravine.words import by_label

__all__ = ["study_of"]


def study_of(store: Store, *, incomplete: str = "", level: int = 3) -> xr.Dataset:
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
    fresh = {n: (lazy[n].dims, lazy[n].values.astype(t), lazy[n].attrs) for n, t in store.plan["dtypes"].items()}
    found = lazy.assign({n: v for n, v in fresh.items() if n in lazy.data_vars})
    found = found.assign_coords({n: v for n, v in fresh.items() if n in lazy.coords})
    for name in found.variables:
        found[name].encoding.clear()
    told = {which: word for facts in records.values() for which, word in facts["told"].items()}
    words = by_label(
        store.plan["problems"], [told.get(str(k), "not compared") for k in range(len(store.plan["problems"]))]
    )
    for name, field in store.fields.items():
        found[name].attrs = _with_word(field.attrs, words)
    fate = found[next(iter(store.fields))].attrs["provenance"]
    made = _from_ledger(store, records)
    for name, values in made.items():
        attrs = {"long_name": study.CONTRACT[name].long_name, "provenance": fate}
        found[name] = (store.plan["lead"], values.reshape(store.tiling.shape), attrs)
    if incomplete and "steps_taken" in made:
        there = math.fsum(s.stop - s.start for s in map(store.tiling.runs_of, records))
        warnings.warn(f"{there:,.0f} of {store.tiling.size:,} runs are in {store.path}: {incomplete}", stacklevel=level)
    return study.check(found)


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
