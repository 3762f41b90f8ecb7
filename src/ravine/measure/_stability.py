"""The learning rate up to which the runs of a study are stable, from the curvature at their minimum."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from ravine import theory
from ravine._format import listed
from ravine._study.contract import CONTRACT

RATE_SETTINGS = ("momentum", "dampening", "nesterov")
"""What moves the limit besides the curvature; weight decay is part of that."""

FLAT = 1e-9
"""Share of the largest curvature below which a direction is flat: nothing pulls there, and nothing overshoots."""


def why_no_theory(runs: xr.Dataset) -> str | None:
    """Say why theory does not speak of these runs; None where it does.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.gallery.quadratic()
    >>> why_no_theory(ravine.sweep(bowl, lr=[0.1, 0.2], steps=2)) is None
    True
    >>> why_no_theory(ravine.sweep(bowl, torch.optim.Adam, lr=[0.1, 0.2], steps=2))
    'theory speaks of SGD, the runs are of Adam'
    """
    if "hessian" not in runs:
        return (
            f"the study has no 'hessian' ({CONTRACT['hessian'].long_name}): ravine.sweep attaches it up to "
            "16 parameters; to other runs assign that of ravine.landmarks(problem)"
        )
    names = sorted(set(np.ravel(runs["optimizer"].values).tolist())) if "optimizer" in runs.coords else []
    if names != ["SGD"]:
        return f"theory speaks of SGD, the runs are of {listed(names) or 'an optimizer that is not named'}"
    if "maximize" in runs.coords and bool(runs["maximize"].any()):
        return "a run with maximize=True climbs: there is no minimum to converge to"
    missing = [name for name in RATE_SETTINGS if name not in runs.coords]
    if missing:
        return f"the study does not say the runs' {listed(missing)}"
    code = [json.loads(each.attrs.get("provenance", "{}")).get("code") for each in runs.data_vars.values()]
    for name, words in (
        ("scheduler", "a scheduler"),
        ("groups", "groups of their own"),
        ("batch_size", "mini-batches"),
    ):
        if any(_holds(each, name) for each in code):
            return f"theory speaks of one setting throughout, the runs have {words}"
    return None


def _holds(code: Any, name: str) -> bool:
    """Tell whether the code of runs, or of any of joined runs, has this part."""
    if not isinstance(code, dict):
        return False
    parts = code.values() if "by" in code else [code]
    return any(isinstance(each, dict) and bool(each.get(name)) for each in parts)


def curvatures(runs: xr.Dataset) -> xr.DataArray:
    """Return the curvatures (…, mode) of what is minimised, decay included, ascending; NaN where there is none.

    Directions without curvature are left out (NaN): a run stays in them where it is.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.sweep(ravine.gallery.quadratic(), lr=[0.1, 0.2], weight_decay=[0, 1.0], steps=2)
    >>> curvatures(runs).values.tolist()
    [[0.2, 2.0], [1.2, 3.0]]
    """
    hessian = runs["hessian"].reset_coords(drop=True).transpose(..., "parameter", "parameter_")
    numbers = hessian.values.astype(np.float64)
    known = np.asarray(np.isfinite(numbers).all(axis=(-2, -1), keepdims=True))
    found = np.linalg.eigvalsh(np.where(known, numbers, 0.0))
    flat = abs(found) <= FLAT * abs(found).max(-1, keepdims=True)
    outer = hessian.isel(parameter=0, parameter_=0, drop=True)
    found = np.where(flat | ~known[..., 0], np.nan, found)
    return xr.DataArray(found, {n: c for n, c in outer.coords.items() if n in outer.dims}, (*outer.dims, "mode"))


def is_exact(runs: xr.Dataset) -> xr.DataArray:
    """Tell for which problems (…) the loss is a quadratic, so that the theory is exact and not local.

    ``quadratic`` of a sweep says so; a minimum in closed form is one of a mean square.
    """
    if "quadratic" in runs:
        return runs["quadratic"].reset_coords(drop=True)
    engine = json.loads(runs["hessian"].attrs.get("provenance", "{}")).get("engine")
    return xr.DataArray(engine == "closed form")


def limit(runs: xr.Dataset) -> xr.DataArray:
    """Return the learning rate (…) up to which runs are stable near the minimum; NaN where there is no such limit.

    Examples
    --------
    >>> import ravine
    >>> limit(ravine.sweep(ravine.gallery.quadratic(), lr=[0.1, 0.2], momentum=[0, 0.5], steps=2)).values.tolist()
    [1.0, 1.5]
    """
    modes = curvatures(runs)
    settings = {name: runs[name].reset_coords(drop=True) for name in RATE_SETTINGS}
    # the flat ones are nobody's limit; all of them flat is none at all
    bent = modes.fillna(modes.max("mode"))
    found: xr.DataArray = theory.stability_limit(bent, **settings)
    return found.where((found > 0) & (found < np.inf))


def stability_coords(runs: xr.Dataset) -> dict[str, xr.Variable]:
    """Return what a measure of runs keeps of this: ``stability_limit`` and ``stability_scope``, or nothing."""
    if why_no_theory(runs) is not None:
        return {}
    exact = is_exact(runs)
    scope = xr.Variable(exact.dims, np.where(exact.values, "exact", "local"))
    found = limit(runs).variable
    found.attrs = {"long_name": "lr up to which runs are stable, by the curvature at the minimum"}
    return {"stability_limit": found, "stability_scope": scope}
