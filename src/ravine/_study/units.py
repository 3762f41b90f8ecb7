"""Standardized columns, and what a run says of them in the units that they had in the file."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def scale_of(values: xr.DataArray) -> tuple[Vector, Vector] | None:
    """Return mean and deviation that columns had before they were standardized; None where they were not."""
    if not {"mean", "deviation"} <= values.attrs.keys():
        return None
    mean, deviation = (
        np.atleast_1d(np.asarray(values.attrs[name], dtype=np.float64)) for name in ("mean", "deviation")
    )
    return mean, deviation


def in_units(runs: xr.Dataset) -> xr.Dataset:
    """Return runs with inputs, targets and prediction of one column in the units of the file, as they are otherwise."""
    if "inputs" not in runs or "targets" not in runs:
        return runs
    scales = {"inputs": scale_of(runs["inputs"]), "targets": scale_of(runs["targets"])}
    found = {}
    for name, like in (("inputs", "inputs"), ("targets", "targets"), ("prediction", "targets")):
        scale = scales[like]
        if name not in runs or scale is None or len(scale[0]) > 1:
            continue
        mean, deviation = float(scale[0][0]), float(scale[1][0])
        values = runs[name].astype(np.float64) * deviation + mean
        values.attrs = {"long_name": runs[name].attrs.get("long_name", name)}
        found[name] = values
    return runs.assign(found)


def coefficients_of(run: xr.Dataset) -> tuple[dict[str, float], float] | None:
    """Return the slope per unit of each column, and the intercept, at the end of one run on standardized columns."""
    if "inputs" not in run or "targets" not in run or run["position"].dims != ("step", "parameter"):
        return None
    x, y = scale_of(run["inputs"]), scale_of(run["targets"])
    labels = [str(label) for label in run["parameter"].values]
    if x is None or y is None or labels[-1] != "bias" or len(labels) != len(x[0]) + 1:
        return None
    end = run["position"].values[-1].astype(np.float64)
    if not np.isfinite(end).all():
        return None
    slopes = end[:-1] * y[1][0] / x[1]
    intercept = float(y[0][0] + end[-1] * y[1][0] - slopes @ x[0])
    names = [str(run["inputs"].attrs.get("long_name", "x"))] if len(slopes) == 1 else labels[:-1]
    return dict(zip(names, slopes.tolist(), strict=True)), intercept
