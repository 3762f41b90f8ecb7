"""The product of the values that a sweep runs through, without ever being written out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of choice: what the runs are given, and how that is labelled."""

    name: str
    values: tuple[Any, ...]
    labels: NDArray[Any]

    @cached_property
    def numbers(self) -> NDArray[Any]:
        """The values in a row; of pairs a row for each part."""
        return self.labels if self.labels.dtype.kind in "bf" else np.array(self.values, dtype=np.float64).T


def is_many(given: Any) -> bool:
    """Tell whether a value fans out: lists, arrays and the like do; tuples, strings and numbers are one value.

    Examples
    --------
    >>> [is_many(each) for each in ([0.1], np.arange(3), range(3), (0.9, 0.99), "0.1", 0.1, torch.tensor(0.1))]
    [True, True, True, False, False, False, False]
    """
    if isinstance(given, tuple | str | bytes | Mapping):
        return False
    return getattr(given, "ndim", 0) > 0 or isinstance(given, Sequence)


def axis_of(name: str, given: Any) -> Axis:
    """Read the values of one dimension.

    Examples
    --------
    >>> axis_of("lr", np.array([0.1, 1.0])).values, axis_of("betas", [(0.9, 0.99), (0.8, 0.9)]).labels.tolist()
    ((0.1, 1.0), ['(0.9, 0.99)', '(0.8, 0.9)'])

    Raises
    ------
    ValueError
        If there is no value, one comes twice, or the array has more than one dimension.
    """
    if hasattr(given, "__array__") and not torch.is_tensor(given):
        given = np.asarray(given)
    if getattr(given, "ndim", 1) != 1:
        own = "give each setting its own list, all combinations of them are run"
        remedy = "several starts, one a row, go into starts=…" if name == "start" else own
        raise ValueError(
            f"{name} has {given.ndim} dimensions (shape {tuple(given.shape)}); a list of values has one: {remedy}"
        )
    if isinstance(given, np.ndarray) and given.dtype.kind in "iuf" and given.itemsize <= 8:
        values, labels = tuple(given.tolist()), given.astype(np.float64)
    else:
        values = tuple(_plain(each) for each in (given.tolist() if hasattr(given, "tolist") else given))
        labels = _labels(values) if values else np.empty(0)
    if not values:
        raise ValueError(f"{name} is empty: give at least one value, or leave it out")
    if len(np.unique(labels)) < len(labels):
        _, places, counts = np.unique(labels, return_index=True, return_counts=True)
        again = labels[places[int(counts.argmax())]].item()
        raise ValueError(f"{name} holds {again!r} {counts.max()} times: each of its values must differ")
    return Axis(name, values, labels)


def _plain(value: Any) -> Any:
    """Return a Python number for one of numpy's or torch's, everything else as it is."""
    if isinstance(value, np.generic) or (torch.is_tensor(value) and value.ndim == 0):
        return value.item()
    return value


def _labels(values: Sequence[Any]) -> NDArray[Any]:
    if all(isinstance(each, bool) for each in values):
        return np.array(values, dtype=bool)
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return np.array(values, dtype=np.float64)
    return np.array([each if isinstance(each, str) else getattr(each, "__name__", repr(each)) for each in values])


@dataclass(frozen=True, eq=False)
class Product:
    """All combinations of the axes' values, the last axis fastest; a run is a number from 0 to ``size``."""

    axes: tuple[Axis, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of runs."""
        return math.prod(self.shape)

    def places(self, runs: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Return where on each axis these runs stand."""
        if not self.axes:
            return {}
        return dict(zip((axis.name for axis in self.axes), np.unravel_index(runs, self.shape), strict=True))

    def columns(self, runs: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the labels of these runs, a column for each axis.

        Examples
        --------
        >>> lattice = Product((axis_of("lr", [0.1, 1.0]), axis_of("momentum", [0.0, 0.5, 0.9])))
        >>> lattice.size, lattice.columns(np.array([1, 3]))
        (6, {'lr': array([0.1, 1. ]), 'momentum': array([0.5, 0. ])})
        """
        places = self.places(runs)
        return {axis.name: axis.labels[places[axis.name]] for axis in self.axes}

    def values(self, run: int) -> dict[str, Any]:
        """Return what one run is given."""
        return {axis.name: axis.values[place] for axis, place in zip(self.axes, self.place(run), strict=True)}

    def place(self, run: int) -> tuple[int, ...]:
        """Return where on each axis one run stands."""
        found = []
        for length in reversed(self.shape):
            run, place = divmod(run, length)
            found.append(place)
        return tuple(reversed(found))
