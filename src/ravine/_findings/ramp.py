"""What a range test shows: where the loss falls most for a rise of the lr, where it is lowest, and where it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr

from ravine._findings.finding import Finding
from ravine._findings.run import runs_of
from ravine._format import number, so_many, steps
from ravine._study.provenance import fact_of
from ravine._study.rule import Reason
from ravine.measure._objective import evaluated, step_values
from ravine.measure._ramp import find_broken, find_lowest, find_over_limit, find_steepest, rates_of, rises
from ravine.measure._stability import sees_all_data

SMITH, COHEN = "Smith, WACV 2017", "Cohen et al., ICLR 2021"


def are_range_tests(runs: xr.Dataset) -> bool:
    """Tell whether a study holds losses without positions, of runs whose lr rises from step to step.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> cosine = ravine.descend(bowl, scheduler="cosine", steps=10).drop_vars("position")
    >>> are_range_tests(ravine.range_test(bowl, steps=10)), are_range_tests(cosine)
    (True, False)
    """
    if "position" in runs or not {"loss", "scheduled_lr"} <= set(runs.data_vars):
        return False
    return all(rises(run.study) for run in runs_of(runs))


def of_range_tests(curves: xr.Dataset) -> Iterator[Finding]:
    """Tell what range tests show, one after another, and why a learning rate may be read off it, or may not."""
    for run in runs_of(curves):
        for finding in (_steepest, _lowest, _limit):
            found = finding(run.study)
            if found is not None:
                yield replace(found, about=run.about)


def _steepest(curve: xr.Dataset) -> Finding | None:
    found = find_steepest(curve)
    if found is None:
        return None
    fall = -found.found * float(np.log(2))
    values: dict[str, float | str | bool] = {"step": float(found.step), "lr": found.lr, "fall": fall}
    sentence = (
        f"The loss falls most at lr {number(found.lr)}, step {steps(found.step)}: by {number(fall)} while the lr "
        f"doubles. There a step gained most in this run, whose lr rose all the way: it is no measure of a training at "
        "one lr."
    )
    return Finding("steepest", sentence, values, "measured", source=SMITH)


def _lowest(curve: xr.Dataset) -> Finding | None:
    lowest, broken = find_lowest(curve), find_broken(curve)
    if lowest is None:
        return None
    losses, numbers = curve["loss"].values.astype(np.float64), step_values(curve)
    finite = np.flatnonzero(evaluated(curve).values & np.isfinite(losses))
    start, last = float(losses[finite[0]]), float(losses[finite[-1]])
    values: dict[str, float | str | bool] = {"step": float(lowest.step), "lr": lowest.lr}
    values |= {"loss": lowest.found, "start_loss": start}
    where = f"{number(lowest.found)}, after {number(start)} at the start"
    at_end = lowest.step == numbers[finite[-1]] and broken is None
    if not lowest.found < start:
        sentence = f"The loss does not fall below {number(start)}, that of the start"
    elif at_end:
        sentence = f"It is lowest at the end of the range, lr {number(lowest.lr)}: {where}; nothing broke in this range"
    else:
        sentence = f"It is lowest before the step with lr {number(lowest.lr)}: {where}"
    if broken is not None:
        values |= {"first_nonfinite": float(broken.step), "lr_before": broken.lr}
        sentence += f"; it is not finite after {so_many(broken.step)}, the last of them with lr {number(broken.lr)}"
    elif not at_end:
        values["last_loss"] = last
        sentence += f"; at the end of the range it is {number(last)}"
    return Finding("lowest", f"{sentence}.", values, "measured", source=SMITH)


def _limit(curve: xr.Dataset) -> Finding | None:
    """Say which lr is the first over the limit of the curvature at its step, where that was looked at."""
    if "sharpness" not in curve or not np.isfinite(curve["sharpness"]).any():
        return _unseen(curve)
    sharp = curve["sharpness"].values
    looked = np.flatnonzero(np.isfinite(sharp))
    whole = "" if sees_all_data(curve) else " for steps over the whole batch"
    found = find_over_limit(curve)
    if isinstance(found, Reason):
        return None
    if found is None:
        highest = float(rates_of(curve)[looked[-1]])
        if not sharp[looked[-1]] > 0:
            return None
        values: dict[str, float | str | bool] = {"looked": float(len(looked)), "lr": highest}
        sentence = (
            f"Locally, the lr is below the limit of the largest curvature{whole} at all of the {len(looked)} steps "
            f"that were looked at, the last of them with lr {number(highest)}."
        )
        return Finding("limit", sentence, values, "local", source=COHEN)
    k = int(np.flatnonzero(step_values(curve) == found.step)[0])
    values = {"step": float(found.step), "lr": found.lr, "limit": found.found, "sharpness": float(sharp[k])}
    values["looked"] = float(len(looked))
    sentence = (
        f"Locally, lr {number(found.lr)}, step {steps(found.step)}, is the first of {len(looked)} that were looked at "
        f"over the limit{whole}: the largest curvature there is {number(sharp[k])}, and bears an lr up to "
        f"{number(found.found)}. Beyond it each step along that direction overshoots by more than the one before."
    )
    return Finding("limit", sentence, values, "local", source=COHEN)


def _unseen(curve: xr.Dataset) -> Finding | None:
    """Say that curvature was left out because it would take long, and how to ask for it."""
    times = fact_of(curve, "loss", "times_of_looks")
    if times is None:
        return None
    sentence = (
        "Which lr is the first over its limit was not looked at: looking at the largest curvature takes about "
        f"{number(float(times), digits=1)} times as long as this test; ravine.range_test(…, sharpness=True) does."
    )
    return Finding("unseen", sentence, {"times": float(times)}, "measured", source=COHEN)
