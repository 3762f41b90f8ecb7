"""Edges: the largest curvature that a run meets, which says how large an lr may be there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ravine import study
from ravine.curvature import top_eigenpairs
from ravine.problem import Problem
from ravine.progress import tracked
from ravine.words import listed

__all__ = ["sharpness"]


def sharpness(problem: Problem, run: xr.Dataset, steps: Sequence[int] | None = None) -> xr.DataArray:
    """Evaluate the largest eigenvalue of the loss's Hessian along a run, for networks of any size.

    A step with an lr beyond the stability limit of this curvature takes the run away from where it is. So
    ``ravine.explain(run.assign(sharpness=ravine.sharpness(problem, run)))`` answers whether an lr is safe here.

    Parameters
    ----------
    problem
        What the run descended.
    run
        One run with ``position`` (step, parameter).
    steps
        Where to look; the first and the last finite place if left out. A full curve of a network takes a while.

    Returns
    -------
    xarray.DataArray
        ``sharpness`` (step,), NaN where nobody looked, or where the position is not finite.

    Raises
    ------
    ValueError
        If there are several runs, the parameters are not the problem's, or a step is not in the run.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.quadratic(condition=10)
    >>> run = ravine.descend(problem, lr=0.1, steps=5)
    >>> ravine.sharpness(problem, run).values.tolist()
    [2.0, nan, nan, nan, nan, 2.0]

    Notes
    -----
    Cohen et al., "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", ICLR 2021.
    Found from Hessian-vector products (`ravine.curvature.top_eigenpairs`), in float64, over all data.
    """
    position = study.check(run, "position")["position"]
    if position.ndim != 2:
        spare = [str(dim) for dim in position.dims if dim not in ("step", "parameter")]
        raise ValueError(f"one run expected; this study has one for each {listed(spare)}: select one")
    if position.sizes["parameter"] != len(problem.labels):
        raise ValueError(
            f"the run has {position.sizes['parameter']:,} parameters and the problem {len(problem.labels):,}"
        )
    last = position.sizes["step"] - 1
    finite = np.flatnonzero(np.isfinite(position.values).all(axis=1))
    chosen = finite[[0, -1]].tolist() if steps is None else [int(step) for step in steps]
    for step in chosen:
        if not 0 <= step <= last:
            raise ValueError(f"there is no step {step} in this run; it has 0 to {last}")
    found = np.full(last + 1, np.nan)
    for step in tracked(sorted(set(chosen)), "steps"):
        here = position.values[step].astype(float)
        if np.isfinite(here).all():
            found[step] = top_eigenpairs(problem, here)[0][0]
    attrs = {"long_name": study.CONTRACT["sharpness"].long_name}
    coords = {"step": run["step"]} if "step" in run.coords else {}
    return xr.DataArray(found, coords, ["step"], "sharpness", attrs)
