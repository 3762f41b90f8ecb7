"""Coordinates with their indexes, made once: what xarray makes of a mapping, without making each index twice."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from xarray.indexes import PandasIndex

KINDS = "biufU"
"""Kinds of numpy's numbers and texts that pandas holds in an index as they are; float16 it does not."""

SHORT = 10_000
"""Bytes of a coordinate up to which its index, which nobody can change, is kept for the next along the same values."""


def make_coordinates(given: Mapping[str, Any]) -> xr.Coordinates:
    """Return coordinates by name: rows along the dimension of their own name, single values, variables or their parts.

    Examples
    --------
    >>> given = {"lr": np.array([0.1, 0.2]), "optimizer": "SGD"}
    >>> xr.Dataset(coords=make_coordinates(given)).identical(xr.Dataset(coords=given))
    True
    """
    variables: dict[Any, xr.Variable] = {}
    indexes: dict[Any, xr.indexes.Index] = {}
    for name, value in given.items():
        if isinstance(value, tuple):
            variable = xr.Variable(*value)
        else:
            variable = value if isinstance(value, xr.Variable) else xr.Variable(name if np.ndim(value) else (), value)
        if variable.dims == (name,):
            indexes[name] = index = _index_of(name, variable.values)
            variables.update(index.create_variables({name: variable}))
        else:
            variables[name] = variable
    return xr.Coordinates(variables, indexes)


def _index_of(name: str, values: NDArray[Any]) -> PandasIndex:
    if values.dtype.kind not in KINDS or values.dtype == np.float16:
        return PandasIndex(values, name, coord_dtype=values.dtype)
    if values.nbytes > SHORT:
        return PandasIndex(pd.Index(values, name=name), name, coord_dtype=values.dtype)
    # one without a name is copied as it gets this one: pandas lets anyone name an index anew
    return PandasIndex(_short_index(values.dtype, values.tobytes()), name, coord_dtype=values.dtype)


@functools.lru_cache(maxsize=256)
def _short_index(dtype: np.dtype[Any], held: bytes) -> pd.Index[Any]:
    index: pd.Index[Any] = pd.Index(np.frombuffer(held, dtype))
    return index
