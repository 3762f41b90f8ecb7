"""One of two values, run by run, without the coordinates that `xarray.where` joins each time."""

from __future__ import annotations

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
    sizes = {dim: size for part in parts if isinstance(part, xr.Variable) for dim, size in part.sizes.items()}
    data = [
        part.set_dims(sizes).data if isinstance(part, xr.Variable) else part  # type: ignore[no-untyped-call]
        for part in parts
    ]
    return xr.Variable(tuple(sizes), np.where(*data))
