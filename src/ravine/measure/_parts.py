"""Measures of a store that is read when it is looked at: some runs at a time, so that the whole need not fit."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Measure = TypeVar("Measure", bound=Callable[..., Any])
Cut = Mapping[str, slice]

PART_BYTES = 32_000_000
"""What a part holds of losses and positions at most, beyond a single run."""


def by_parts(measure: Measure) -> Measure:
    """Let a measure of single runs read a large store part by part; all that is in memory is measured at once.

    A measure that is asked some runs at a time answers for these as it does for all, and what it keeps is small.
    """

    @functools.wraps(measure)
    def inner(runs: xr.Dataset, *args: Any, **kwargs: Any) -> Any:
        cuts = list(cuts_of(runs)) if isinstance(runs, xr.Dataset) else []
        if len(cuts) < 2:
            return measure(runs, *args, **kwargs)
        whole = None
        for cut in cuts:
            found = measure(runs.isel(cut), *args, **kwargs)
            whole = Joined(runs, found) if whole is None else whole
            if not whole.take(cut, found):  # of some runs theory speaks, say, and not of others
                return measure(runs, *args, **kwargs)
        assert whole is not None
        return whole.answer()

    return cast("Measure", inner)


def cuts_of(runs: xr.Dataset) -> Iterator[Cut]:
    """Cut runs that are not in memory into parts: whole rows of the last dimensions, and a share of one before them.

    Blocks of a store lie so, too. There is one part, or none, where all are in memory, or few.
    """
    held = [runs.variables[name] for name in ("loss", "position", "squares", "batch_loss") if name in runs.data_vars]
    lazy = [each for each in held if "step" in each.dims and not each._in_memory]
    if not lazy or "loss" not in runs:
        return
    dims = [str(dim) for dim in runs.variables["loss"].dims if dim != "step"]
    count = math.prod(runs.sizes[dim] for dim in dims)
    room = max(1, PART_BYTES * count // max(1, sum(each.nbytes for each in lazy)))
    lengths: list[int] = []
    for dim in reversed(dims):
        lengths.append(max(1, min(runs.sizes[dim], room)))
        room //= runs.sizes[dim] or 1
    sides = [
        [slice(first, first + length) for first in range(0, runs.sizes[dim], length)]
        for dim, length in zip(dims, reversed(lengths), strict=True)
    ]
    for place in itertools.product(*sides):
        yield dict(zip(dims, place, strict=True))


class Joined:
    """What a measure answers for all runs, taken in part by part."""

    def __init__(self, runs: xr.Dataset, first: xr.DataArray | xr.Dataset) -> None:
        self.runs, self.first = runs, first
        self.values: dict[str, NDArray[Any]] = {}

    def take(self, cut: Cut, found: xr.DataArray | xr.Dataset) -> bool:
        """Take in what was found of a part; tell whether it is of the same kind as the first."""
        parts, known = _variables_of(found), _variables_of(self.first)
        if parts.keys() != known.keys() or any(parts[n].dims != known[n].dims for n in parts):
            return False
        for name, part in parts.items():
            if not set(part.dims) & set(cut):
                continue
            shape = tuple(self.runs.sizes[dim] if dim in cut else part.sizes[dim] for dim in part.dims)
            values = self.values.setdefault(name, np.empty(shape, part.dtype))
            if values.dtype != part.dtype:
                values = self.values[name] = values.astype(np.result_type(values, part.dtype))
            values[tuple(cut.get(str(dim), slice(None)) for dim in part.dims)] = part.values
        return True

    def answer(self) -> Any:
        """Return it as the measure returns that of a part."""
        first = self.first
        found = {
            name: xr.Variable(each.dims, self.values.get(name, each.values), each.attrs)
            for name, each in _variables_of(first).items()
        }
        coords = {str(name): found[f"coord {name}"] for name in first.coords}
        coords |= {n: self.runs.variables[n] for n in coords if n in self.runs.variables and n in self.runs.coords}
        if isinstance(first, xr.DataArray):
            values = found["values"]
            return xr.DataArray(values.data, coords, values.dims, first.name, values.attrs)
        return xr.Dataset({name: found[str(name)] for name in first.data_vars}, coords, first.attrs)


def _variables_of(found: xr.DataArray | xr.Dataset) -> dict[str, xr.Variable]:
    coords = {f"coord {name}": each.variable for name, each in found.coords.items()}
    if isinstance(found, xr.DataArray):
        return {"values": found.variable, **coords}
    return {**{str(name): each.variable for name, each in found.data_vars.items()}, **coords}
