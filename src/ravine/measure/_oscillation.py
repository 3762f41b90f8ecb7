"""How a run moves on its way, measured from its steps: what rises, what turns, how fast it comes near."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._study.contract import check
from ravine.measure._objective import (
    NOISE,
    array_of,
    gap_of,
    loss_of,
    minimised_of,
    resolution,
    rounding_of,
    skipped,
    step_values,
    steps_last,
)
from ravine.measure._parts import by_parts

ROUNDS = 24
"""Rounds of power iteration towards the direction of the largest updates; which of two equal ones matters little."""

IRREGULAR = 0.5
"""Standard deviation of the times between turns, over their mean, beyond which it is noise and no swing."""

PEAKS, POINTS = 3, 5
"""Fewest peaks of a swinging gap, or steps of another, that a line is fitted to."""


@by_parts
def rises(runs: xr.Dataset) -> xr.DataArray:
    """Return at how many steps the loss rises, by more than 2 ulp: less than that is rounding.

    A loss is compared with the one evaluated before it (see `ravine.measure.evaluated`). A step to infinity
    rises, a step to or from NaN does not.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step).

    Returns
    -------
    xarray.DataArray
        (…), in int64.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> [int(rises(ravine.descend(bowl, lr=lr, steps=20))) for lr in (0.1, 1.1)]
    [0, 20]
    """
    loss = loss_of(runs)
    unseen = skipped(runs)
    later, before = loss.values[..., 1:], loss.values[..., :-1]
    if unseen is not None:
        hidden = unseen.transpose(*loss.dims).values
        looked = np.maximum.accumulate(np.where(hidden, 0, np.arange(loss.sizes["step"])), -1)
        before = np.take_along_axis(loss.values, looked[..., :-1], -1)
        later = np.where(hidden[..., 1:], np.nan, later)
    with np.errstate(over="ignore", invalid="ignore"):
        ulp = np.spacing(np.maximum(abs(later), abs(before)))
        # infinity has no ulp
        rising = (later - before > 2 * ulp) | (np.isposinf(later) & (before < later))
    count = xr.Variable(loss.dims[:-1], rising.sum(-1, dtype=np.int64))
    return array_of(runs, count, "rises", "steps at which the loss rises")


SWING = "steps in a swing of the updates"


@by_parts
def period(runs: xr.Dataset) -> xr.DataArray:
    r"""Return how many steps a swing takes, there and back; NaN where a run does not swing.

    Measured from the updates :math:`\theta_{k+1} - \theta_k` along the direction in which they are largest (in
    the mean of their squares): twice the mean time between the turns at which they change sign, each turn placed
    between its two steps by a straight line. Updates need no known minimum, and swing about zero whatever the run
    swings about. Updates within the rounding of the position count for nothing, nor does what follows the first
    that is not finite. A run whose updates turn fewer than three times, or at times as irregular as noise (standard
    deviation over half the mean), does not swing. Nor is it known of runs of which not every step is there.

    A zigzag that turns at every step has period 2. Where several modes swing, this is the period of the sum.

    Parameters
    ----------
    runs
        A study with ``position`` (…, step, parameter).

    Returns
    -------
    xarray.DataArray
        (…), in float64, in steps.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> round(float(period(ravine.descend(bowl, lr=0.05, momentum=0.9))), 1)  # 2π / arccos(0.9 / √0.9)
    19.5
    >>> float(period(ravine.descend(bowl, lr=0.05)))
    nan

    Notes
    -----
    On a quadratic of curvature λ, heavy ball swings with :math:`2\pi / \arccos\frac{1+\mu-a}{2\sqrt\mu}`, where
    :math:`a = (1-\tau)\,\text{lr}\,\lambda` (G. Goh, "Why Momentum Really Works", Distill 2017).
    """
    position = check(runs, "position").variables["position"].transpose(..., "step", "parameter")
    if (np.diff(step_values(runs)) != 1).any():  # between the steps that are there it may have turned
        return array_of(runs, xr.Variable(position.dims[:-2], np.full(position.shape[:-2], np.nan)), "period", SWING)
    moves, usable = _moves(position.values)
    turns = _turns(moves, usable, step_values(runs))
    count = np.isfinite(turns).sum(-1)
    gaps = _between(turns)
    intervals = np.maximum(count - 1, 1)
    mean = np.nansum(gaps, -1) / intervals
    spread = np.sqrt(np.nansum((gaps - mean[..., None]) ** 2, -1) / intervals)
    swings = (count >= 3) & (spread <= IRREGULAR * mean)
    found = xr.Variable(position.dims[:-2], np.where(swings, 2 * mean, np.nan))
    return array_of(runs, found, "period", SWING)


def turns_of(run: xr.Dataset) -> NDArray[np.float64]:
    """Return when the updates of one run turn round, as `period` sees it, in steps.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> len(turns_of(ravine.descend(bowl, lr=0.9, steps=12)))
    11
    """
    moves, usable = _moves(check(run, "position")["position"].transpose("step", "parameter").values)
    turns = _turns(moves, usable, step_values(run))
    return np.asarray(turns[np.isfinite(turns)])


@by_parts
def rate(runs: xr.Dataset) -> xr.DataArray:
    r"""Return the factor by which a step changes the distance: below 1 it shrinks, and above it grows.

    The distance is :math:`\sqrt g`, the root of the gap, which on a quadratic is the distance to the minimizer in
    the measure of the curvature. The factor is :math:`e^b` with the slope :math:`b` of the straight line that fits
    :math:`\log \sqrt{g_k}` best, in least squares. Fitted is the second half of what lies above rounding: of the
    steps up to the last whose gap is finite and above 100 ulp of the minimum. There the slowest mode is left alone;
    where nothing sinks into rounding, it is the second half of the run. Where the gap swings, and has three peaks
    or more in that part, the line goes through the peaks: between them the run passes the minimum at speed.

    Parameters
    ----------
    runs
        A study with ``loss`` (…, step) and ``minimum_loss`` (…).

    Returns
    -------
    xarray.DataArray
        (…), in float64; NaN where there are neither three peaks nor five steps to fit.

    Raises
    ------
    ValueError
        As `ravine.measure.gap` does.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic(condition=10)  # curvatures 2 and 0.2
    >>> round(float(rate(ravine.descend(bowl, lr=0.1))), 4)  # 1 - 0.1 · 0.2
    0.98
    """
    above, unseen = gap_of(runs, minimised_of(runs)), skipped(runs)
    clear = (above > NOISE * rounding_of(runs)) & (above < np.inf)
    clear = steps_last(clear if unseen is None else clear & ~unseen)
    usable = clear.values
    steps = step_values(runs) - step_values(runs)[0]
    last = np.where(usable, steps, 0).max(-1, keepdims=True)
    usable = usable & (2 * steps >= last)
    gaps = above.transpose(*clear.dims).values
    peaks = usable & _peaks(gaps)
    swings = peaks.sum(-1, keepdims=True) >= PEAKS
    fitted = np.where(swings, peaks, usable)
    heights = np.log(np.where(fitted, gaps, 1.0)) / 2
    slope = _slope(steps, heights, fitted, np.where(swings[..., 0], PEAKS, POINTS))
    return array_of(runs, xr.Variable(clear.dims[:-1], np.exp(slope)), "rate", "factor per step on the distance")


def _moves(places: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return updates (…, step) along the direction of the largest, and which of them are no rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        moves = np.diff(places.astype(np.result_type(places.dtype, np.float32)), axis=-2)  # sums of float16 overflow
    finite = np.logical_and.accumulate(np.isfinite(moves).all(-1), -1)
    moves = np.where(finite[..., None], moves, 0)
    largest = abs(moves).max(axis=(-2, -1), keepdims=True)
    moves = moves / np.where(largest > 0, largest, 1)  # squares of what diverged would overflow
    direction = _largest(moves)
    along = (moves * direction).sum(-1)
    scale = np.where(finite[..., None], abs(places[..., 1:, :]), 0) / np.where(largest > 0, largest, 1)
    rounding = NOISE * resolution(places.dtype) * (scale * abs(direction)).sum(-1)
    return along, finite & (abs(along) > rounding)


def _largest(moves: NDArray[Any]) -> NDArray[Any]:
    """Return the direction (…, 1, parameter) in which moves (…, step, parameter) are largest, by power iteration."""
    across = np.swapaxes(moves, -1, -2)
    few = moves.shape[-1] <= moves.shape[-2]
    square = across @ moves if few else None  # no square of a network's many parameters
    longest = (moves**2).sum(-1).argmax(-1)
    direction = np.swapaxes(np.take_along_axis(moves, longest[..., None, None], -2), -1, -2)
    for _ in range(ROUNDS):
        direction = across @ (moves @ direction) if square is None else square @ direction
        length = np.sqrt((direction**2).sum(-2, keepdims=True))
        direction = direction / np.where(length > 0, length, 1)
    return np.swapaxes(direction, -1, -2)


def _turns(moves: NDArray[Any], usable: NDArray[np.bool_], steps: NDArray[Any]) -> NDArray[Any]:
    """Return the time of each change of sign (…, step), NaN elsewhere."""
    count = moves.shape[-1]
    latest = np.maximum.accumulate(np.where(usable, np.arange(count), -1), -1)
    before = np.concatenate([np.full((*latest.shape[:-1], 1), -1), latest[..., :-1]], -1)
    known = usable & (before >= 0)
    old = np.take_along_axis(moves, np.maximum(before, 0), -1)
    turned = known & ((moves > 0) != (old > 0))
    start, end = steps[np.maximum(before, 0)], steps[:count]
    share = np.where(turned, abs(old), 1) / np.where(turned, abs(old) + abs(moves), 1)
    return np.where(turned, start + share * (end - start), np.nan)


def _between(times: NDArray[Any]) -> NDArray[Any]:
    """Return the time since the one before, where there is one; NaN elsewhere."""
    latest = np.maximum.accumulate(np.where(np.isfinite(times), times, -np.inf), -1)[..., :-1]
    since = times[..., 1:] - np.where(np.isfinite(latest), latest, np.nan)
    return np.asarray(since)


def _peaks(heights: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which heights (…, step) lie above the one before and not below the one after."""
    peaks = np.zeros(heights.shape, dtype=bool)
    inner = heights[..., 1:-1]
    peaks[..., 1:-1] = (inner > heights[..., :-2]) & (inner >= heights[..., 2:])
    return peaks


def _slope(x: NDArray[Any], y: NDArray[Any], usable: NDArray[np.bool_], least: NDArray[Any]) -> NDArray[Any]:
    """Return the slope of the best straight line through the usable points of each run; NaN with less than `least`."""
    count = usable.sum(-1)
    weight = usable / np.maximum(count, 1)[..., None]
    aside = x - (weight * x).sum(-1, keepdims=True)
    width = (weight * aside**2).sum(-1)
    slope = (weight * aside * y).sum(-1) / np.where(width > 0, width, 1)
    return np.where(count >= least, slope, np.nan)
