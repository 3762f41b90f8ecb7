"""One of two values, run by run, without the coordinates that `xarray.where` joins each time."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr


def choose(condition: xr.Variable, yes: xr.Variable | float, no: xr.Variable | float) -> xr.Variable:
    """Return one value where a condition holds, and another where it does not.

    Dimensions broadcast by name; a number takes the dtype of what stands beside it.

    Examples
    --------
    >>> small = xr.Variable("lr", [True, False])
    >>> choose(small, xr.Variable("momentum", np.float32([1, 2])), 0.0).values.tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    parts = (condition, yes, no)
    sizes: dict[Hashable, int] = {}
    for part in parts:
        for dim, size in part.sizes.items() if isinstance(part, xr.Variable) else ():
            if sizes.setdefault(dim, size) != size:  # numpy would repeat a single one
                raise ValueError(f"{dim!r} has {sizes[dim]:,} values in one and {size:,} in another")
    data = [
        part.set_dims(sizes).data if isinstance(part, xr.Variable) else part  # type: ignore[no-untyped-call]
        for part in parts
    ]
    return xr.Variable(tuple(sizes), np.where(*data))
