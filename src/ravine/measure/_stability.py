"""The learning rate up to which the runs of a study are stable, from the curvature at their minimum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ravine import theory
from ravine._format import listed
from ravine._study.contract import CONTRACT, plane_of
from ravine._study.optimizer import is_namesake, name_of
from ravine._study.provenance import fact_of, facts_along, options_along
from ravine._study.rule import RATE_SETTINGS, Reason, conditions_of, off_plane, rule_of
from ravine.measure._quadratic import flatness

SAW_ALL = "saw_all_data"
"""What the provenance of curvature says of a recording whose losses were those of the problem over all data."""


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
    if plane_of(runs) is not None:
        return "the runs lie on a plane, whose coordinates are no parameters: ask of the runs themselves"
    if "hessian" not in runs:
        return (
            f"the study has no 'hessian' ({CONTRACT['hessian'].long_name}): ravine.sweep attaches it up to "
            "16 parameters; to other runs assign that of ravine.landmarks(problem)"
        )
    conditions = conditions_of(runs, RATE_SETTINGS)
    reason = conditions.why_no_theory
    return None if reason is None else _explained(reason, conditions.optimizers)


def _explained(reason: Reason, optimizers: Sequence[str]) -> str:
    """Write a reason as what it means for theory."""
    if reason.kind == "other optimizer" and any(map(is_namesake, optimizers)):
        return f"theory speaks of torch.optim.SGD, and {reason}"
    return {
        "unnamed": "theory speaks of SGD, the runs are of an optimizer that is not named",
        "other optimizer": f"theory speaks of SGD, the runs are of {listed(sorted(map(name_of, optimizers)))}",
        "maximize": "a run with maximize=True climbs: there is no minimum to converge to",
        "settings": f"the study does not say the runs' {listed(reason.names)}",
        "scheduler": "theory speaks of one setting throughout, the runs have a scheduler",
        "groups": "theory speaks of one setting throughout, the runs have groups of their own",
        "mini-batches": "theory speaks of one setting throughout, the runs have mini-batches",
        "clip_norm": "theory speaks of gradients as they are, those of the runs are clipped (clip_norm)",
        "noise": "theory speaks of gradients as they are, to those of the runs noise is added (noise)",
    }[reason.kind]


def curvatures(runs: xr.Dataset) -> xr.DataArray:
    """Return the curvatures (…, mode) of what is minimised, decay included, ascending; NaN where there is none.

    Directions without curvature are left out (NaN): a run stays in them where it is. At a kink there is none at all.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.sweep(ravine.gallery.quadratic(), lr=[0.1, 0.2], weight_decay=[0, 1.0], steps=2)
    >>> curvatures(runs).values.tolist()
    [[0.2, 2.0], [1.2, 3.0]]
    """
    hessian = runs["hessian"].reset_coords(drop=True).where(~is_kinked(runs))
    hessian = hessian.transpose(..., "parameter", "parameter_")
    numbers = hessian.values.astype(np.float64)
    known = np.asarray(np.isfinite(numbers).all(axis=(-2, -1), keepdims=True))
    found = np.linalg.eigvalsh(np.where(known, numbers, 0.0))
    dims, told = facts_along(runs, "hessian", "engine")
    shares = [flatness(engine, found.shape[-1]) for (engine,) in told.flat]
    share = xr.Variable(dims, np.reshape(shares, told.shape))
    whole = hessian.variable.isel(parameter=0, parameter_=0)
    share = (share + xr.zeros_like(whole, dtype=np.float64)).transpose(*whole.dims)
    # nothing pulls along a flat direction, and nothing overshoots
    flat = abs(found) <= share.values[..., None] * abs(found).max(-1, keepdims=True)
    outer = hessian.isel(parameter=0, parameter_=0, drop=True)
    found = np.where(flat | ~known[..., 0], np.nan, found)
    return xr.DataArray(found, {n: c for n, c in outer.coords.items() if n in outer.dims}, (*outer.dims, "mode"))


def is_kinked(runs: xr.Dataset) -> xr.DataArray:
    """Tell for which problems (…) the minimum lies, or may lie, on a kink: no curvature says there what is stable.

    However small the lr, the slope does not fade beside a kink, and steps go to and fro. Under L1Loss with weight decay
    the minimum may lie beside all kinks, yet steps from afar meet them.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.sweep(ravine.gallery.article(), lr=[0.1, 0.2], steps=2)
    >>> dict(zip(runs.criterion.values.tolist(), is_kinked(runs).values.tolist()))
    {'MSELoss': False, 'L1Loss': True, 'HuberLoss': False, 'SmoothL1Loss': False}
    """
    dims, told = options_along(runs, "hessian", "kinks")
    found = xr.Variable(dims, np.reshape([any(kinks) for (kinks,) in told.flat], told.shape))
    if "criterion" in runs.coords:
        found = found | (runs["criterion"].variable == "L1Loss")
    return xr.DataArray(found.astype(bool), {dim: runs[dim] for dim in found.dims if dim in runs.coords})


def is_exact(runs: xr.Dataset) -> xr.DataArray:
    """Tell for which problems (…) the loss is a quadratic, so that the theory is exact and not local.

    ``quadratic`` of a sweep says so, else the provenance of the Hessian. In studies written before it says that of a
    mean square alone, whose minimum has a closed form.
    """
    if "quadratic" in runs:
        return runs["quadratic"].reset_coords(drop=True)
    dims, told = facts_along(runs, "hessian", "quadratic", "engine")
    known = [quadratic if isinstance(quadratic, bool) else engine == "closed form" for quadratic, engine in told.flat]
    return xr.DataArray(np.reshape(known, told.shape), {dim: runs[dim] for dim in dims}, dims)


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
    refused = settings["momentum"] < 0  # by torch, in cells that a sweep keeps, and by theory
    settings["momentum"] = settings["momentum"].where(~refused, 0)
    # the flat ones are nobody's limit; all of them flat is none at all
    bent = modes.fillna(modes.max("mode"))
    found: xr.DataArray = theory.stability_limit(bent, **settings)
    return found.where((found > 0) & (found < np.inf) & ~refused)


def stability_coords(runs: xr.Dataset) -> dict[str, xr.Variable]:
    """Return what a measure of runs keeps of this: ``stability_limit`` and ``stability_scope``, or nothing."""
    if why_no_theory(runs) is not None:
        return {}
    exact = is_exact(runs)
    scope = xr.Variable(exact.dims, np.where(exact.values, "exact", "local"))
    found = limit(runs).variable
    found.attrs = {"long_name": "lr up to which runs are stable, by the curvature at the minimum"}
    return {"stability_limit": found, "stability_scope": scope}


def bearable_curvature(run: xr.Dataset) -> xr.DataArray | Reason:
    r"""Return the largest curvature of the loss (step,) that the lr of each step bears, or why theory does not say.

    .. math:: \frac{2}{\eta} - w,\qquad \frac{2(1+\mu)}{(1-\tau)\,\eta} - w,\qquad \frac{2(1+\mu)}{(1+2\mu)\,\eta} - w

    for gradient descent, heavy ball and Nesterov: `ravine.theory.stability_limit` read the other way round, with the
    settings of each step where a schedule moves them. It speaks of steps over the whole batch. Where no curvature is
    borne (momentum 1 or more) it is NaN, and inf where the lr is 0.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.quadratic(), lr=0.1, momentum=0.5, weight_decay=1.0, steps=1)
    >>> bearable_curvature(run).values.tolist()
    [29.0, 29.0]
    """
    run = off_plane(run)
    conditions, rule = conditions_of(run), rule_of(run)
    if isinstance(rule, Reason):
        return rule
    if conditions.maximizes:
        return Reason("maximize")
    shape = run["step"].shape if "step" in run.coords else (run.sizes["step"],)
    given = {"lr": rule.lr, **{name: getattr(rule, name) for name in ("momentum", "dampening", "weight_decay")}}
    at = {}
    for name, value in given.items():
        moved = run.get(f"scheduled_{name}")
        at[name] = np.broadcast_to(value if moved is None else moved.values, shape).astype(np.float64)
    together = np.stack(list(at.values()))
    bad = ~np.isfinite(together).all(axis=0) | (together < 0).any(axis=0)
    safe = {name: np.where(bad, 0.0, values) for name, values in at.items()}
    steepest = theory.stability_limit(1.0, safe["momentum"], safe["dampening"], nesterov=rule.nesterov)
    with np.errstate(divide="ignore"):
        found = steepest / safe["lr"] - safe["weight_decay"]
    found = np.where(bad | (np.asarray(steepest) <= 0), np.nan, found)
    attrs = {"long_name": "largest curvature of the loss that the lr of each step bears"}
    coords = {"step": run["step"]} if "step" in run.coords else {}
    return xr.DataArray(found, coords, ["step"], "bearable_curvature", attrs)


def sees_all_data(run: xr.Dataset) -> bool:
    """Tell whether the optimizer saw the loss over all data, as far as the study shows.

    Either nothing says that it saw another, or what it saw at each evaluated step is that loss within a ten-thousandth.
    Of a recording, which holds no loss over all data, `ravine.eigenvalues` compared some with the problem's.

    Examples
    --------
    >>> import ravine
    >>> sees_all_data(ravine.descend(ravine.gallery.quadratic(), steps=3))
    True
    """
    if not conditions_of(run).batched:
        return True
    if any(fact_of(run, name, SAW_ALL) is True for name in ("sharpness", "preconditioned_sharpness")):
        return True
    if "loss" not in run or "batch_loss" not in run:
        return False
    if run["loss"].variable.identical(run["batch_loss"].variable):  # type: ignore[no-untyped-call]
        return False  # down to its name it is the one that the optimizer saw, and stands in for one over all data
    return are_the_same_loss(run["loss"].values, run["batch_loss"].values)


def are_the_same_loss(true: ArrayLike, seen: ArrayLike) -> bool:
    """Tell whether what an optimizer saw is the loss over all data, at two places or more, NaN where one is unknown.

    Examples
    --------
    >>> are_the_same_loss([2.0, 1.0, np.nan], [2.00001, 1.0, 0.7]), are_the_same_loss([2.0, 1.0], [2.0, 1.1])
    (True, False)
    """
    there, here = np.asarray(true, dtype=np.float64), np.asarray(seen, dtype=np.float64)
    both = np.isfinite(there) & np.isfinite(here)
    return bool(both.sum() > 1 and (abs(here - there)[both] <= 1e-4 * abs(there[both])).all())
