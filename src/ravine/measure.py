"""Measures: what became of runs, as one number each. Dataset in, DataArray out; the steps are gone in between.

``objective`` is what a run really minimises, ``gap`` how far that is from its minimum, and ``arrival`` the one
measure of having got there. None of them needs torch, and all take as many runs at once as the study holds.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from ravine import study
from ravine.words import listed

__all__ = ["COUPLED", "SHARE", "arrival", "decay", "diverged", "evaluated", "first_nonfinite", "gap", "objective"]

COUPLED = frozenset({"SGD", "Adam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD", "NAdam", "RAdam", "Rprop"})
"""Torch's optimizers whose weight decay is added to the gradient, so that they minimise loss + decay."""

SHARE = 0.01
"""A run has arrived once its gap stays at or below this share of the gap at the start."""


def objective(runs: xr.Dataset) -> xr.DataArray:
    r"""Return what is really minimised at each step: the loss, with the weight decay that belongs to it.

    .. math:: L(\theta) + \tfrac{\lambda}{2} |\theta|^2

    for optimizers that add :math:`\lambda\theta` to the gradient; the loss alone for those that shrink the
    parameters apart from it (AdamW), and where there is no decay.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step), and with ``position`` where there is decay.

    Returns
    -------
    xarray.DataArray
        (…, step), in float64.

    Raises
    ------
    ValueError
        If an optimizer maximizes, or there is decay and no ``position``.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, weight_decay=2.0)
    >>> float(objective(run)[0] - run.loss[0])  # the start is (6, -3): 2 / 2 · (36 + 9)
    45.0
    """
    study.check(runs, "loss")
    if "maximize" in runs.coords and bool(runs["maximize"].any()):
        raise ValueError(
            "a run with maximize=True climbs: it minimises nothing and has no gap to a minimum; "
            "select the others, for example with ravine.at(runs, maximize=False)"
        )
    minimised = runs["loss"].astype(np.float64)
    pull = decay(runs)
    if bool((pull != 0).any()):
        study.check(runs, "position")
        squares = (runs["position"].astype(np.float64) ** 2).sum("parameter", skipna=False)
        minimised = minimised + (pull / 2 * squares).where(pull != 0, 0.0)
    return _named(_steps_last(minimised), "objective", "what is minimised: loss + coupled weight decay")


def decay(runs: xr.Dataset) -> xr.DataArray:
    """Return the weight decay that belongs to what is minimised: 0 where the optimizer keeps it apart.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> [float(decay(ravine.descend(bowl, rule, weight_decay=0.5))) for rule in (torch.optim.Adam, torch.optim.AdamW)]
    [0.5, 0.0]
    """
    if "weight_decay" not in runs.coords or "optimizer" not in runs.coords:
        return xr.DataArray(0.0, name="decay")
    coupled = runs["optimizer"].isin(sorted(COUPLED))
    if "decoupled_weight_decay" in runs.coords:
        coupled = coupled & (runs["decoupled_weight_decay"].fillna(0) == 0)
    # an optimizer without the setting has NaN beside others that have it
    amount = runs["weight_decay"].astype(np.float64).fillna(0.0)
    return _named(amount.where(coupled, 0.0), "decay", "weight decay that is minimised with the loss")


def gap(runs: xr.Dataset) -> xr.DataArray:
    """Return how far what is minimised lies above its minimum, at each step.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step) and ``minimum_loss`` (…): the minimum of what is minimised, decay included.

    Returns
    -------
    xarray.DataArray
        (…, step), in float64; a little below zero where the loss's own rounding takes it there.

    Raises
    ------
    ValueError
        If the study has no ``minimum_loss``, or as `objective` does.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2 + 3, start={"x": 1.0}), lr=0.25, steps=3)
    >>> gap(run.assign(minimum_loss=3.0)).values.tolist()
    [1.0, 0.25, 0.0625, 0.015625]
    """
    minimised = objective(runs)
    if "minimum_loss" not in runs:
        raise ValueError(
            "the study has no 'minimum_loss' (minimum of what is minimised), so the gap to it is not known: "
            "runs of a problem that knows its minimizers have it, or assign the known number to the study"
        )
    return _named(_steps_last(minimised - runs["minimum_loss"]), "gap", "what is minimised, above its minimum")


def arrival(runs: xr.Dataset, share: float = SHARE) -> xr.DataArray:
    r"""Return the first step from which the gap stays small: ravine's one measure of having arrived.

    A run has arrived at the first step :math:`k` such that at every step from :math:`k` to the last

    .. math:: g_j \le \max(\text{share}\cdot g_0,\ 2\epsilon\,|m|),\qquad j \ge k

    where :math:`g` is the gap of what is minimised and :math:`m` its minimum. The second limit is the rounding
    of the loss in its own dtype; it lets a run that starts at the minimum and stays there arrive at step 0. A
    gap that is NaN or infinite is not small. Steps at which the loss was not evaluated (see `evaluated`) are
    passed over. A run that ends too early to stay is not told from one that stays: give it steps enough.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step) and ``minimum_loss`` (…).
    share
        Of the gap at the start: 0.01 in every picture and sentence.

    Returns
    -------
    xarray.DataArray
        (…), in float64: the step, or NaN where it never arrives.

    Raises
    ------
    ValueError
        If `share` does not lie between 0 and 1, or as `gap` does.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.25, steps=20)
    >>> float(arrival(run.assign(minimum_loss=0.0)))  # the gap falls to a quarter each step
    4.0
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share!r}")
    above = gap(runs)
    rounding = 2 * _resolution(runs) * abs(runs["minimum_loss"].astype(np.float64))
    limit = np.maximum(share * above.isel(step=0, drop=True), rounding)
    seen = evaluated(runs)
    small = ((above <= limit) | ~seen).transpose(..., "step")
    stays = np.flip(np.logical_and.accumulate(np.flip(small.values, -1), axis=-1), -1)
    # where the loss was looked at; a start that is not finite has no share to come down to
    stays = stays & seen.broadcast_like(small).transpose(*small.dims).values
    first = np.where(stays.any(-1), _step_values(runs)[stays.argmax(-1)], np.nan)
    arrived = small.isel(step=0, drop=True).copy(data=first.astype(np.float64))
    return _named(
        arrived.where(np.isfinite(limit)),
        "arrival",
        f"first step from which the gap stays within {share:.3g} of the start's",
    )


def diverged(runs: xr.Dataset) -> xr.DataArray:
    """Tell which runs have a loss that is not finite.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> bool(diverged(ravine.descend(bowl, lr=0.9))), bool(diverged(ravine.descend(bowl, lr=5.0)))
    (False, True)
    """
    return _named(_broken(runs).any("step"), "diverged", "whether a loss is not finite")


def first_nonfinite(runs: xr.Dataset) -> xr.DataArray:
    """Return the first step whose loss is not finite; NaN where all are.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> float(first_nonfinite(ravine.descend(bowl, lr=5.0)))
    21.0
    """
    broken = _broken(runs).transpose(..., "step")
    first = np.where(broken.values.any(-1), _step_values(runs)[broken.values.argmax(-1)], np.nan)
    found = broken.isel(step=0, drop=True).copy(data=first.astype(np.float64))
    return _named(found, "first_nonfinite", "first step whose loss is not finite")


def evaluated(runs: xr.Dataset) -> xr.DataArray:
    """Tell at which steps the loss was evaluated: all, unless it was thinned or the run is shorter than others.

    ``loss`` says in its attribute, or in its provenance, as ``loss_every``, that only every so many steps were
    looked at; where it says nothing, a NaN beside a finite ``batch_loss`` was not looked at. ``steps_taken`` (…)
    says where shorter runs end. Any other NaN is what torch produced.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), steps=3)
    >>> evaluated(run).values.tolist()
    [True, True, True, True]
    """
    loss = study.check(runs, "loss")["loss"]
    steps = xr.DataArray(_step_values(runs), dims="step")
    every = _loss_every(loss)
    seen = (steps % every == 0) | (every <= 1) | np.isfinite(loss)
    if "batch_loss" in runs:
        seen = seen & ~(np.isnan(loss) & np.isfinite(runs["batch_loss"]))
    if "steps_taken" in runs:
        seen = seen & (steps <= runs["steps_taken"])
    return _named(_steps_last(seen), "evaluated", "whether the loss was evaluated")


def _broken(runs: xr.Dataset) -> xr.DataArray:
    broken = evaluated(runs) & ~np.isfinite(runs["loss"])
    if "error" in runs:  # an invalid cell of a sweep never ran
        broken = broken & (runs["error"] == "")
    return broken


def _loss_every(loss: xr.DataArray) -> xr.DataArray:
    """Read how many steps lie from one evaluation to the next; joined runs say it for each label."""
    facts = json.loads(loss.attrs.get("provenance", "{}"))
    told = loss.attrs.get("loss_every") or facts.get("loss_every") or 1
    if not isinstance(told, dict):
        return xr.DataArray(int(told))
    dim = told["by"]
    return xr.DataArray([int(told.get(str(label)) or 1) for label in loss[dim].values], dims=dim)


def _resolution(runs: xr.Dataset) -> float:
    dtype = runs["loss"].dtype
    return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else float(np.finfo(np.float64).eps)


def _step_values(runs: xr.Dataset) -> Any:
    return runs["step"].values if "step" in runs.coords else np.arange(runs.sizes["step"])


def _steps_last(array: xr.DataArray) -> xr.DataArray:
    if "step" not in array.dims:
        raise ValueError(f"'loss' has dimensions {listed(array.dims)}; the contract says (…, step)")
    return array.transpose(..., "step")


def _named(array: xr.DataArray, name: str, long_name: str) -> xr.DataArray:
    array = array.rename(name)
    array.attrs = {"long_name": long_name}
    return array
