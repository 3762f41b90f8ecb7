"""Whether and when runs arrive or diverge, and a summary of each: one number a run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import kind_of
from ravine._study.choose import choose
from ravine._study.contract import CONTRACT, check_kind
from ravine.measure._growth import is_growing
from ravine.measure._objective import (
    NOISE,
    array_of,
    climbs,
    gap_of,
    invalid,
    loss_of,
    minimised_of,
    refuse_climbers,
    resolution,
    rounding_of,
    skipped,
    step_values,
    steps_last,
)
from ravine.measure._parts import by_parts
from ravine.measure._stability import stability_coords

SHARE = 0.01
"""A run has arrived once its gap stays at or below this share of the gap at the start."""

OUTCOMES = np.array(["arrived", "not arrived", "diverged", "invalid", "not made"])


@by_parts
def arrival(runs: xr.Dataset, share: float = SHARE) -> xr.DataArray:
    r"""Return the first step from which the gap stays small: ravine's one measure of having arrived.

    A run has arrived at the first step :math:`k` such that at every step from :math:`k` to the last

    .. math:: g_j \le \max(\text{share}\cdot g_0,\ 2\epsilon\,|m|),\qquad j \ge k

    where :math:`g` is the gap of what is minimised and :math:`m` its minimum. The second limit is the rounding
    of the loss in its own dtype; it lets a run that starts at the minimum and stays there arrive at step 0. A
    gap that is NaN or infinite is not small, nor is one as far below zero (fifty times that rounding aside): what
    goes below a minimum has not come to it. Steps at which the loss was not evaluated (see `evaluated`) are passed
    over. A run that ends too early to stay is not told from one that stays: give it steps enough.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step) and ``minimum_loss`` (…), or a `summary`.
    share
        Of the gap at the start: 0.01 in every picture and sentence.

    Returns
    -------
    xarray.DataArray
        (…), in float64: the step, or NaN where it never arrives. Its coordinate ``outcome`` (…) says which of
        "arrived", "not arrived", "diverged" (see `diverged`), "invalid" (settings that torch refused) and "not made"
        (of a sweep that was interrupted: no step was taken) it was; its attribute ``steps`` is the last step. Where the
        study knows the ``hessian`` at the minimum, and theory speaks of the runs (SGD without a scheduler, groups or
        mini-batches), the coordinates ``stability_limit`` (…) and ``stability_scope`` ("exact" for a quadratic loss,
        else "local") hold the lr up to which they are stable (`ravine.theory.stability_limit`); NaN at a kink.

    Raises
    ------
    ValueError
        If `share` does not lie between 0 and 1, or is not 0.01 for a summary, or as `gap` does.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.25, steps=20)
    >>> arrived = arrival(run.assign(minimum_loss=0.0))  # the gap falls to a quarter each step
    >>> float(arrived), str(arrived.outcome.values)
    (4.0, 'arrived')
    """
    check_kind(runs)
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share!r}")
    arrived, minimised = _read_summary(runs, "arrival"), None
    if arrived is None:
        minimised = minimised_of(runs)
        arrived = _find_arrival(runs, share, minimised)
    elif share != SHARE:
        raise ValueError(
            f"the summary was made with share {SHARE}, got {share!r}: another share needs the losses of all steps; "
            'sweep again without keep="summary"'
        )
    else:
        refuse_climbers(runs)
    long_name = f"first step from which the gap stays within {100 * share:g} % of the start's"
    outcome = (arrived.dims, _outcome(runs, arrived, minimised))
    found = array_of(runs, arrived, "arrival", long_name).assign_coords({"outcome": outcome, **stability_coords(runs)})
    steps = int(step_values(runs)[-1]) if "step" in runs.sizes else runs["arrival"].attrs.get("steps")
    return found if steps is None else found.assign_attrs(steps=steps)


@by_parts
def diverged(runs: xr.Dataset) -> xr.DataArray:
    r"""Tell which runs diverged: the loss is not finite at the end, or it grew without an end in sight.

    It grew so if, in the last quarter of its steps, the loss was more than four times as far above its start as it
    ever was from it, up or down, in the first half:

    .. math:: \max_{k \ge 3K/4} L_k - L_0 > 4 \max_{k \le K/2} |L_k - L_0|

    and by more than the size of the loss at the start, so that it shows. Where weight decay is minimised with the
    loss, and the positions are known, :math:`L` holds it: a run may climb out of the loss's minimum on its way to the
    goal that decay has moved.

    And it must not have grown ever more slowly, as what comes to rest does, or levels off (by a constant factor grows
    what diverges): its height above the lowest of the first half has grown in the last quarter by at least 0.85 of the
    factor by which it did in the quarter before; and where the loss rose at every step of the second half, so did its
    single rises :math:`L_k - L_{k-1}`, by at least 0.99 of that. Of that factor four are asked at most: what still
    grows so far in a quarter levels off nowhere near, whatever its swings do.

    A loss that climbs along a straight line reaches twice, one that grows by a constant factor any multiple, and
    one that cycles between bounds about once. Scaling the loss changes nothing, and a run that is merely slow has not
    risen at all. Just beyond the limit of stability a run needs steps to show it: a loss that grows by
    a constant factor from the first step must have grown threefold in half the steps. Below 8 steps, and with
    ``maximize=True``, only a loss that is not finite counts. A loss that is not finite now and then, as a logarithm is
    where a step overshoots, and comes back, has not diverged; nor has a run that arrives.

    What the losses of a few steps cannot tell: a run that leaves a minimum by a constant factor, where the loss levels
    off only further out, counts as diverged until it comes there.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step), and ``position`` or ``squares`` as for `objective`; or a `summary`.

    Returns
    -------
    xarray.DataArray
        (…), in bool; False where torch refused the settings.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> runs = ravine.join({f"lr {lr}": ravine.descend(bowl, lr=lr) for lr in (0.001, 0.99, 1.01, 5.0)})
    >>> diverged(runs).values.tolist()
    [False, False, True, True]
    >>> first_nonfinite(runs).values.tolist()  # at lr 1.01 all losses are finite
    [nan, nan, nan, 21.0]
    """
    check_kind(runs)
    return array_of(runs, _diverged(runs, None), "diverged", CONTRACT["diverged"].long_name)


@by_parts
def first_nonfinite(runs: xr.Dataset) -> xr.DataArray:
    """Return the first step whose loss is not finite; NaN where all are. The run may come back (see `diverged`).

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> float(first_nonfinite(ravine.descend(bowl, lr=5.0)))
    21.0
    """
    check_kind(runs)
    found = _read_summary(runs, "first_nonfinite")
    if found is None:
        broken = _is_broken(runs)
        found = _one_each(broken, _steps_at(runs, _first(broken.values)))
    return array_of(runs, found, "first_nonfinite", CONTRACT["first_nonfinite"].long_name)


def broken_for_good(runs: xr.Dataset) -> xr.Variable:
    """Return the first step (…) from which on no loss that was evaluated is finite; NaN where the last one is."""
    broken, unseen = _is_broken(runs), skipped(runs)
    found = np.full(broken.shape[:-1], np.nan)
    some = broken.values.any(-1)
    if some.any():
        shown = broken if unseen is None else broken | unseen
        lost = np.flip(np.logical_and.accumulate(np.flip(shown.transpose(*broken.dims).values[some], -1), -1), -1)
        found[some] = _steps_at(runs, _first(lost & broken.values[some]))
    return _one_each(broken, found)


@by_parts
def steps_to(runs: xr.Dataset, loss: float) -> xr.DataArray:
    """Return the first step at which the loss is at or below a value; NaN where it never is.

    It may rise above the value again: `arrival` is the measure of having got somewhere to stay.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step).
    loss
        The value to come down to.

    Returns
    -------
    xarray.DataArray
        (…), in float64.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)
    >>> float(steps_to(run, 1.0)), float(steps_to(run, 0.4))  # the minimum is 0.4994
    (12.0, nan)
    """
    check_kind(runs)
    if isinstance(loss, bool) or not isinstance(loss, int | float | np.number):
        raise TypeError(f"loss must be a number to come down to, got {kind_of(loss)}")
    if math.isnan(loss):
        raise ValueError("loss must be a number to come down to, got nan")
    losses = loss_of(runs)
    found = _one_each(losses, _steps_at(runs, _first(losses.values <= loss)))
    return array_of(runs, found, "steps_to", f"first step with a loss of at most {loss:.4g}")


@by_parts
def summary(runs: xr.Dataset) -> xr.Dataset:
    """Return what became of each run, without the steps: what a sweep keeps of runs too many to keep whole.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step); with ``minimum_loss`` (…), and what `objective` needs, for the arrival.

    Returns
    -------
    xarray.Dataset
        All (…): ``final_loss`` as it is, ``best_loss`` and ``best_step`` among the finite ones (NaN where none
        is), ``arrival`` if the minimum is known (NaN where a run maximizes), ``first_nonfinite`` and
        ``diverged``. `arrival`, `diverged` and `first_nonfinite` read it as they read the runs themselves.

    Examples
    --------
    >>> import ravine
    >>> short = summary(ravine.descend(ravine.gallery.quadratic(), lr=0.1, momentum=0.9))
    >>> list(short.data_vars)
    ['final_loss', 'best_loss', 'best_step', 'arrival', 'first_nonfinite', 'diverged']
    >>> float(arrival(short)), str(arrival(short).outcome.values)
    (42.0, 'arrived')
    """
    check_kind(runs)
    loss = loss_of(runs)
    lowest = _lowest(loss.values)
    best = _steps_at(runs, _first(loss.values == lowest[..., None]))
    told = {"final_loss": _final(runs, loss), "best_loss": lowest, "best_step": best}
    found = {name: _one_each(loss, values) for name, values in told.items()}
    minimised = None
    if "minimum_loss" in runs:
        minimised = minimised_of(runs.drop_vars("maximize", errors="ignore"))
        found["arrival"] = choose(climbs(runs), np.nan, _find_arrival(runs, SHARE, minimised))
    found["first_nonfinite"] = first_nonfinite(runs).variable
    found["diverged"] = _diverged(runs, minimised)
    fate = {name: value for name, value in loss.attrs.items() if name == "provenance"}
    for name, each in found.items():
        each.attrs = {"long_name": CONTRACT[name].long_name, **fate}
    if "arrival" in found:
        found["arrival"].attrs["steps"] = int(step_values(runs)[-1])
    # joined once: with coordinates of their own xarray would compare those of each with those of all others
    dims = {dim for each in found.values() for dim in each.dims}
    coords = {str(name): each.variable for name, each in runs.coords.items() if set(each.dims) <= dims}
    return xr.Dataset(found, coords | stability_coords(runs))


def _find_arrival(runs: xr.Dataset, share: float, minimised: xr.Variable) -> xr.Variable:
    above = gap_of(runs, minimised)
    begin, rounding = share * above.isel(step=0), rounding_of(runs)
    limit, depth = np.maximum(begin, 2 * rounding), np.maximum(begin, NOISE * rounding)
    small, unseen = (above <= limit) & (above >= -depth), skipped(runs)
    large = steps_last(~small if unseen is None else ~(small | unseen))
    stays = large.sizes["step"] - _first(np.flip(large.values, -1))
    if unseen is not None:  # from there on, where it was looked at
        hidden = (unseen | xr.zeros_like(large)).transpose(*large.dims).values
        stays = _first(~hidden & (np.arange(large.sizes["step"]) >= stays[..., None]))
    # a start that is not finite, or below that minimum, has no share to come down to
    begins = (abs(limit) < np.inf) & (above.isel(step=0) >= -depth)
    arrived = choose(begins, _one_each(large, _steps_at(runs, stays)), np.nan)
    return arrived.transpose(*large.dims[:-1])


def _outcome(runs: xr.Dataset, arrived: xr.Variable, minimised: xr.Variable | None) -> NDArray[np.str_]:
    code = choose(arrived.notnull(), 0, _diverged(runs, minimised).astype(int) + 1)
    code = choose(invalid(runs), 3, code)
    if "steps_taken" in runs:  # what was never begun has not failed to arrive
        code = choose((runs.variables["steps_taken"] == 0) & (code == 1), 4, code)
    code = code.transpose(*arrived.dims)
    return np.asarray(OUTCOMES[code.values])


def _diverged(runs: xr.Dataset, minimised: xr.Variable | None) -> xr.Variable:
    told = _read_summary(runs, "diverged")
    if told is not None:  # those written earlier count what came back, too
        return told.astype(bool) & runs.variables["arrival"].isnull() if "arrival" in runs else told.astype(bool)
    loss, unseen = loss_of(runs), skipped(runs)
    hidden = None if unseen is None else unseen.transpose(*loss.dims).values
    whole = _with_decay(runs) if minimised is None else minimised
    values = whole.transpose(*loss.dims).values
    grew = _one_each(loss, is_growing(values, step_values(runs), hidden, resolution(loss.dtype)))
    if "minimum_loss" in runs and bool(grew.any()):
        grew = grew & _find_arrival(runs, SHARE, whole).isnull()
    lost: xr.Variable = (grew & ~climbs(runs) & ~invalid(runs)) | broken_for_good(runs).notnull()
    return lost


def _read_summary(runs: xr.Dataset, name: str) -> xr.Variable | None:
    """Return what a summary holds; None for runs that have their losses."""
    if "loss" in runs:
        return None
    if name == "arrival" and "final_loss" in runs and name not in runs:
        raise ValueError(
            "the summary has no 'arrival' (first step from which the gap stays small): "
            "the minimum of what is minimised was not known when it was made"
        )
    return runs.variables[name] if name in runs else None


def _with_decay(runs: xr.Dataset) -> xr.Variable:
    """Return what is minimised as far as it is known: without positions, the loss alone."""
    if not {"position", "squares"} & set(runs.data_vars):
        return loss_of(runs)
    return minimised_of(runs.drop_vars("maximize", errors="ignore"))  # what these do is left out of account


def _is_broken(runs: xr.Dataset) -> xr.Variable:
    """Tell which losses (…, step) are not finite, of those that were evaluated in runs that ran."""
    broken, unseen = ~(abs(loss_of(runs)) < np.inf), skipped(runs)
    if unseen is not None:
        broken = broken & ~unseen
    return steps_last(broken & ~invalid(runs) if "error" in runs else broken)


def _one_each(like: xr.Variable, values: NDArray[Any]) -> xr.Variable:
    """Return one value for each run, where `like` is (…, step)."""
    return xr.Variable(like.dims[:-1], values)


def _lowest(losses: NDArray[Any]) -> NDArray[Any]:
    """Return the lowest finite loss of each run; NaN where there is none."""
    lowest = np.asarray(np.fmin.reduce(losses, -1))
    if np.isneginf(lowest).any():
        lowest = np.asarray(np.fmin.reduce(np.where(np.isfinite(losses), losses, losses.dtype.type(np.nan)), -1))
    return np.where(np.isfinite(lowest), lowest, losses.dtype.type(np.nan))


def _final(runs: xr.Dataset, loss: xr.Variable) -> NDArray[Any]:
    """Return the last loss of each run that was evaluated."""
    unseen = skipped(runs)
    if unseen is None:
        return np.array(loss.values[..., -1])
    hidden = unseen.transpose(*loss.dims).values
    last = loss.sizes["step"] - 1 - _first(np.flip(~hidden, -1))
    return np.asarray(np.take_along_axis(loss.values, last[..., None], -1)[..., 0])


def _first(found: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the first place along the last axis that is true, and the number of places where none is."""
    return np.asarray(np.where(found.any(-1), found.argmax(-1), found.shape[-1]))


def _steps_at(runs: xr.Dataset, places: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the steps at places, and NaN for a place beyond the last."""
    return np.asarray(np.append(step_values(runs).astype(np.float64), np.nan)[places])
