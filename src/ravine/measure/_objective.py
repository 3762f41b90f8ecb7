"""What a run really minimises, how far it is from the minimum, and where that was looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import listed
from ravine._study.choose import choose
from ravine._study.contract import check, check_kind
from ravine._study.decay import decay_of
from ravine._study.provenance import facts_along

NOISE = 100.0
"""Numbers next to each other (ulp) within which what a loss does may be its rounding."""


def objective(runs: xr.Dataset) -> xr.DataArray:
    r"""Return what is really minimised at each step: the loss, with the weight decay that belongs to it.

    .. math:: L(\theta) + \tfrac12 \sum_i \lambda_i \theta_i^2

    for optimizers of torch that add :math:`\lambda\theta` to the gradient, with the decay of each parameter where
    groups have their own; the loss alone for those that shrink the parameters apart from it (AdamW), for optimizers
    that are not torch's, and where there is no decay.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step), and where there is decay with the sum of the squares of all parameters as
        ``squares`` (…, step), which comes first, or with ``position``.

    Returns
    -------
    xarray.DataArray
        (…, step), in float64.

    Raises
    ------
    ValueError
        If an optimizer maximizes, or there is decay and neither ``position`` nor ``squares``.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, weight_decay=2.0)
    >>> float(objective(run)[0] - run.loss[0])  # the start is (6, -3): 2 / 2 · (36 + 9)
    45.0
    """
    minimised = minimised_of(runs).astype(np.float64)
    return array_of(runs, minimised, "objective", "what is minimised: loss + coupled weight decay")


def decay(runs: xr.Dataset) -> xr.DataArray:
    """Return the weight decay that belongs to what is minimised (…): 0 where the optimizer keeps it apart.

    Where groups have their own it is (…, parameter). What an optimizer that is not torch's does with its decay is not
    known, and 0 stands for it.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> [float(decay(ravine.descend(bowl, rule, weight_decay=0.5))) for rule in (torch.optim.Adam, torch.optim.AdamW)]
    [0.5, 0.0]
    """
    check_kind(runs)
    return array_of(runs, decay_of(runs), "decay", "weight decay that is minimised with the loss")


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
    return array_of(runs, gap_of(runs, minimised_of(runs)), "gap", "what is minimised, above its minimum")


def evaluated(runs: xr.Dataset) -> xr.DataArray:
    """Tell at which steps the loss was evaluated: all, unless it was thinned or the run is shorter than others.

    ``loss`` says in its attribute, or in its provenance, as ``loss_every``, that only every so many steps were
    looked at; where it says nothing, a NaN beside a finite ``batch_loss`` was not looked at. ``steps_taken`` (…)
    says where shorter runs end; one that was never begun has none. Any other NaN is what torch produced.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), steps=3)
    >>> evaluated(run).values.tolist()
    [True, True, True, True]
    """
    return array_of(runs, _is_evaluated(runs), "evaluated", "whether the loss was evaluated")


# What follows works on variables: they broadcast by name as arrays do, without joining coordinates each time.


def array_of(runs: xr.Dataset, values: xr.Variable, name: str, long_name: str) -> xr.DataArray:
    """Return values under a name, with the coordinates that the runs have along their dimensions."""
    coords = {str(n): c for n, c in runs.coords.variables.items() if set(c.dims) <= set(values.dims)}
    return xr.DataArray(values.data, coords, values.dims, name, {"long_name": long_name})


def loss_of(runs: xr.Dataset) -> xr.Variable:
    """Return the losses (…, step)."""
    return steps_last(check(runs, "loss").variables["loss"])


def minimised_of(runs: xr.Dataset) -> xr.Variable:
    """Return what is minimised (…, step): the loss as it is, or in float64 with the decay that belongs to it."""
    loss = loss_of(runs)
    refuse_climbers(runs)
    pull = decay_of(runs)
    if not (pull.values != 0).any():
        return loss
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverged is infinite, or NaN, here too
        if "parameter" in pull.dims:
            check(runs, "position")
            terms = choose(pull != 0, pull / 2 * runs.variables["position"].astype(np.float64) ** 2, 0.0)
            return steps_last(loss + terms.sum("parameter", skipna=False))
        return steps_last(loss + choose(pull != 0, pull / 2 * _squares(runs), 0.0))


def gap_of(runs: xr.Dataset, minimised: xr.Variable) -> xr.Variable:
    """Return the gap (…, step) of what is minimised."""
    if "minimum_loss" not in runs:
        raise ValueError(
            "the study has no 'minimum_loss' (minimum of what is minimised), so the gap to it is not known: "
            "runs of a regression, or of a problem that states its minimizers, have it; "
            "for others of up to 16 parameters ravine.landmarks(problem) finds it, to be assigned to the study; "
            "without it measure the loss itself, as in runs.loss.isel(step=-1)"
        )
    return steps_last(minimised - runs.variables["minimum_loss"].astype(np.float64))


def rounding_of(runs: xr.Dataset) -> xr.Variable:
    """Return the distance from the minimum to the next number that a loss can have."""
    return abs(runs.variables["minimum_loss"].astype(np.float64)) * resolution(runs.variables["loss"].dtype)


def skipped(runs: xr.Dataset) -> xr.Variable | None:
    """Return where the loss (…, step) was not evaluated; None where it was everywhere."""
    whole = "batch_loss" not in runs and "steps_taken" not in runs
    if whole and bool((_loss_every(runs) <= 1).all()):
        return None
    unseen = ~_is_evaluated(runs)
    return unseen if bool(unseen.any()) else None


def climbs(runs: xr.Dataset) -> xr.Variable:
    """Tell which runs maximize."""
    return runs.variables["maximize"].astype(bool) if "maximize" in runs.coords else xr.Variable((), False)


def refuse_climbers(runs: xr.Dataset) -> None:
    """Raise an error where a run maximizes: it has no minimum to come near to."""
    if climbs(runs).values.any():
        raise ValueError(
            "a run with maximize=True climbs: it minimises nothing and has no gap to a minimum; "
            "select the others, for example with ravine.at(runs, maximize=False)"
        )


def invalid(runs: xr.Dataset) -> xr.Variable:
    """Tell which runs never ran, because torch refused their settings."""
    return runs.variables["error"] != "" if "error" in runs else xr.Variable((), False)


def resolution(dtype: np.dtype[Any]) -> float:
    """Return the relative distance from one number to the next."""
    return float(np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64).eps)


def step_values(runs: xr.Dataset) -> NDArray[Any]:
    """Return the steps' own numbers."""
    return runs.variables["step"].values if "step" in runs.coords else np.arange(runs.sizes["step"])


def steps_last(values: xr.Variable) -> xr.Variable:
    """Return values with their steps as the last dimension."""
    if "step" not in values.dims:
        raise ValueError(f"'loss' has dimensions {listed(values.dims)}; the contract says (…, step)")
    return values.transpose(..., "step")


def _squares(runs: xr.Dataset) -> xr.Variable:
    # in a plane positions do not hold all parameters
    if "squares" in runs and "step" in runs.variables["squares"].dims:
        return runs.variables["squares"]
    check(runs, "position")
    return (runs.variables["position"].astype(np.float64) ** 2).sum("parameter", skipna=False)


def _is_evaluated(runs: xr.Dataset) -> xr.Variable:
    loss = loss_of(runs)
    steps = xr.Variable("step", step_values(runs))
    every = _loss_every(runs)
    seen = (steps % every == 0) | (every <= 1) | (abs(loss) < np.inf)
    if "batch_loss" in runs:
        seen = seen & ~(loss.isnull() & (abs(runs.variables["batch_loss"]) < np.inf))
    if "steps_taken" in runs:
        taken = runs.variables["steps_taken"]
        seen = seen & (steps <= taken) & ~((taken == 0) & loss.isnull())
    return steps_last(seen)


def _loss_every(runs: xr.Dataset) -> xr.Variable:
    """Read how many steps lie from one evaluation to the next; joined runs say it for each label."""
    held = runs.variables["loss"].attrs
    if "loss_every" in held:
        return xr.Variable((), int(held["loss_every"]))
    dims, told = facts_along(runs, "loss", "loss_every")
    return xr.Variable(
        dims, np.array([every if isinstance(every, int) else 1 for (every,) in told.flat]).reshape(told.shape)
    )
