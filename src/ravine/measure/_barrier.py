"""How far the loss between two states rises over the straight line of its ends."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ravine._study.contract import check
from ravine._study.provenance import facts_of
from ravine.measure._quadratic import EPS

ROUNDED = 16.0
"""Roundings of the largest loss on a line that count as nothing: each loss is a mean of rounded numbers."""


def barrier(line: xr.Dataset) -> xr.DataArray:
    r"""Return how far the loss rises over the straight line of its ends, and where: the barrier between two states.

    .. math:: \max_s\; L((1-s)\,\theta_1 + s\,\theta_2) - ((1-s)\,L(\theta_1) + s\,L(\theta_2))

    over the points at which the line was evaluated.

    Parameters
    ----------
    line
        A study with ``line_loss``, from `ravine.between`.

    Returns
    -------
    xarray.DataArray
        (…) the height, 0 where the loss is nowhere over that line by more than rounding, inf where it is not finite
        on the way, NaN where it is not finite at an end; with the coordinate ``share`` (…), where it is highest, NaN
        where the height is 0 or NaN.

    Examples
    --------
    >>> losses = xr.Dataset({"line_loss": ("share", [1.0, 4.0, 2.0])}, {"share": [0.0, 0.5, 1.0]})
    >>> found = barrier(losses)
    >>> float(found), float(found.share)
    (2.5, 0.5)

    Notes
    -----
    Entezari et al., "The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks", ICLR 2022;
    Frankle et al., ICML 2020, take the mean of the two ends in place of the line between them.
    """
    values = check(line, "line_loss")["line_loss"].transpose(..., "share")
    shares = line["share"].values.astype(np.float64)
    losses = values.values.astype(np.float64)
    first, last = losses[..., :1], losses[..., -1:]
    with np.errstate(invalid="ignore"):
        over = np.where(np.isfinite(losses), losses - ((1 - shares) * first + shares * last), np.inf)
    ended = np.isfinite(first) & np.isfinite(last)
    highest = over.argmax(axis=-1)
    height = np.take_along_axis(over, highest[..., None], axis=-1)
    rounding = max((EPS.get(str(each), 0.0) for each in facts_of(line, "line_loss", "dtype")), default=0.0)
    rounding = max(rounding, float(np.finfo(np.float64).eps))
    largest = np.where(np.isfinite(losses), np.abs(losses), 0.0).max(axis=-1, keepdims=True)
    height = np.where(ended, np.where(height > ROUNDED * rounding * largest, height, 0.0), np.nan)[..., 0]
    where = np.where(height > 0, shares[highest], np.nan)
    outer = values.isel(share=0, drop=True)
    coords = {name: each for name, each in outer.coords.items() if name in outer.dims}
    found = xr.DataArray(height, coords, outer.dims, "barrier", {"long_name": "barrier over the line of both ends"})
    return found.assign_coords(share=(outer.dims, where))
