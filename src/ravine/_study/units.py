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
    scales = _scales_of(run)
    if scales is None or run["position"].dims != ("step", "parameter"):
        return None
    (mean, deviation), (middle, spread) = scales
    end = run["position"].values[-1].astype(np.float64)
    if not np.isfinite(end).all():
        return None
    slopes = end[:-1] * spread[0] / deviation
    intercept = float(middle[0] + end[-1] * spread[0] - slopes @ mean)
    return dict(zip(_columns_of(run), slopes.tolist(), strict=True)), intercept


def unit_of_parameters(run: xr.Dataset) -> dict[str, tuple[float, str]]:
    """Return for each parameter of a line on standardized columns what 1 of it is; nothing for other runs.

    A weight counts in the target per unit of its column, the bias in the target, from its mean.
    """
    scales = _scales_of(run)
    if scales is None:
        return {}
    (_, deviation), (_, spread) = scales
    target = str(run["targets"].attrs.get("long_name", "y"))
    labels = [str(label) for label in run["parameter"].values]
    found = {
        label: (float(spread[0] / each), f"{target} per {column}")
        for label, column, each in zip(labels, _columns_of(run), deviation, strict=False)
    }
    return found | {labels[-1]: (float(spread[0]), target)}


def _scales_of(run: xr.Dataset) -> tuple[tuple[Vector, Vector], tuple[Vector, Vector]] | None:
    """Return mean and deviation of columns and target, where the parameters are a line's, the bias last."""
    if "inputs" not in run or "targets" not in run or "parameter" not in run.coords:
        return None
    x, y = scale_of(run["inputs"]), scale_of(run["targets"])
    labels = [str(label) for label in run["parameter"].values]
    if x is None or y is None or labels[-1] != "bias" or len(labels) != len(x[0]) + 1:
        return None
    return x, y


def _columns_of(run: xr.Dataset) -> list[str]:
    labels = [str(label) for label in run["parameter"].values[:-1]]
    return [str(run["inputs"].attrs.get("long_name", "x"))] if len(labels) == 1 else labels
