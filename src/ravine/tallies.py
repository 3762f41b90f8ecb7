"""Tallies: what became of a sweep, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ravine import measure, study
from ravine.words import listed

__all__ = ["lines_of", "numbers_of"]

Told = str | Mapping[str, Any]
"""What the provenance says: words, or words for each label."""


def lines_of(runs: xr.Dataset) -> list[str]:
    r"""Say how many runs there were, what became of them, which was best, and how near to torch they are.

    Examples
    --------
    >>> import ravine
    >>> print("\n".join(lines_of(ravine.sweep(ravine.gallery.quadratic(), lr=[-1, 0.1, 0.5, 5], steps=60))))
    4 runs: 1 arrived, 1 not arrived, 1 diverged, 1 invalid (Invalid learning rate: -1)
    best: step 16 with lr 0.5
    SGD's rule on a batch, gradient by autograd; of torch: every bit, 20 steps of one random run compared
    """
    values = numbers_of(runs)
    known = values.name == "arrival"
    lines = [f"{values.size:,} run{'' if values.size == 1 else 's'}: {_fates(runs, values)}"]
    lines += [f"best{of}: {words}" for of, words in _best(values, "step {:.0f}" if known else "last loss {:.4g}")]
    facts = study.describe(runs, "loss" if "loss" in runs else "final_loss")
    return lines + _engines(facts["engine"], facts["equals_torch"])


def _engines(engine: Told, told: Told, label: str = "") -> list[str]:
    """Say how runs were made and how near to torch they are; once for each label where that differs."""
    if isinstance(engine, str) and isinstance(told, str):
        words = engine if told == "is torch" else f"{engine}; of torch: {told}"
        return [f"{label}: {words}" if label else words]
    split = told if isinstance(told, Mapping) else engine
    assert isinstance(split, Mapping)
    labels = [each for each in split if each != "by"]
    return [line for each in labels for line in _engines(_of(engine, each), _of(told, each), each)]


def _of(told: Told, label: str) -> Told:
    return told if isinstance(told, str) else told[label]


def numbers_of(runs: xr.Dataset) -> xr.DataArray:
    """Return one number for each run: its arrival where minima are known and none climbs, else its last loss.

    The last loss of a run that diverged is infinite.
    """
    climbs = bool(runs.coords.get("maximize", xr.DataArray(False)).any())
    if not climbs and ("minimum_loss" in runs or "arrival" in runs):
        return measure.arrival(runs)
    last = runs["final_loss"] if "final_loss" in runs else runs["loss"].isel(step=-1, drop=True)
    return last.rename("last loss").where(~measure.diverged(runs), np.inf)


def _fates(runs: xr.Dataset, values: xr.DataArray) -> str:
    fates = values["outcome"] if "outcome" in values.coords else _fate_without_minimum(runs)
    if "steps_taken" in runs:
        fates = fates.where(runs["steps_taken"] == runs["step"].values[-1], "not finished")
    names, counts = np.unique(fates.values.astype(str), return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    order = ("arrived", "not arrived", "not diverged", "diverged", "invalid", "not finished")
    words = listed(f"{found[name]:,} {name}" for name in order if found.get(name))
    if "error" in runs:
        reasons = [str(each) for each in np.unique(runs["error"]) if each]
        words += f" ({listed(reasons, 3)})" if reasons else ""
    return words


def _fate_without_minimum(runs: xr.Dataset) -> xr.DataArray:
    broken = measure.diverged(runs)
    fates = broken.astype("<U12").copy(data=np.where(broken.values, "diverged", "not diverged"))
    return fates.where(runs["error"] == "", "invalid") if "error" in runs else fates


def _best(values: xr.DataArray, told: str) -> Iterator[tuple[str, str]]:
    """Find the lowest value, for each label of the first dimension where that holds labels."""
    dims = [str(dim) for dim in values.dims]
    if dims and values[dims[0]].dtype.kind == "U" and len(dims) > 1:
        for label in values[dims[0]].values.tolist():
            for _, words in _best(values.sel({dims[0]: label}), told):
                yield f", {label}", words
        return
    values = values.where(np.isfinite(values))
    if not values.notnull().any():
        return
    flat = values.values.ravel()
    place = np.unravel_index(int(np.nanargmin(flat)), values.shape)
    where = ", ".join(f"{d.replace('_', ' ')} {_word(values[d].values[k])}" for d, k in zip(dims, place, strict=True))
    ties = int((flat == np.nanmin(flat)).sum()) - 1
    more = f" (and {ties:,} other{'' if ties == 1 else 's'})" if ties else ""
    yield "", told.format(float(np.nanmin(flat))) + (f" with {where}" if where else "") + more


def _word(value: object) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)  # enough for ravine.at to find it
