"""What a range test shows: where the loss falls most for a rise of the lr, where it is lowest, and where it breaks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from ravine._findings.finding import Finding
from ravine._format import number, so_many, steps
from ravine.measure._objective import evaluated, step_values
from ravine.measure._ramp import find_over_limit, find_steepest
from ravine.measure._stability import sees_all_data

SMITH, COHEN = "Smith, WACV 2017", "Cohen et al., ICLR 2021"


def of_a_range_test(curve: xr.Dataset) -> Iterator[Finding]:
    """Tell what a range test shows, and why a learning rate may be read off it, or may not."""
    for finding in (_steepest, _lowest, _limit):
        found = finding(curve)
        if found is not None:
            yield found


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
    losses, rates = (curve[name].values.astype(np.float64) for name in ("loss", "scheduled_lr"))
    numbers = step_values(curve)
    seen = np.flatnonzero(evaluated(curve).values)
    finite = seen[np.isfinite(losses[seen])]
    if not len(finite):
        return None
    best = int(finite[losses[finite].argmin()])
    broken = seen[~np.isfinite(losses[seen])]
    values: dict[str, float | str | bool] = {"step": float(numbers[best]), "lr": float(rates[best])}
    values |= {"loss": float(losses[best]), "start_loss": float(losses[finite[0]])}
    where = f"{number(losses[best])}, after {number(losses[finite[0]])} at the start"
    sentence = f"It is lowest before the step with lr {number(rates[best])}: {where}"
    if best == finite[-1] and not len(broken):
        sentence = f"It is lowest at the end of the range, lr {number(rates[-2])}: {where}; nothing broke in this range"
    elif len(broken):
        first = int(broken[0])
        before = float(rates[max(first - 1, 0)])
        values |= {"first_nonfinite": float(numbers[first]), "lr_before": before}
        sentence += (
            f"; it is not finite after {so_many(int(numbers[first]))}, the last of them with lr {number(before)}"
        )
    else:
        values["last_loss"] = float(losses[finite[-1]])
        sentence += f"; at the end of the range it is {number(losses[finite[-1]])}"
    return Finding("lowest", f"{sentence}.", values, "measured", source=SMITH)


def _limit(curve: xr.Dataset) -> Finding | None:
    """Say which lr is the first over the limit of the curvature at its step, where that was looked at."""
    if "sharpness" not in curve or not np.isfinite(curve["sharpness"]).any():
        return None
    sharp = curve["sharpness"].values
    looked = np.flatnonzero(np.isfinite(sharp))
    whole = "" if sees_all_data(curve) else " for steps over the whole batch"
    found = find_over_limit(curve)
    if found is None:
        highest = float(curve["scheduled_lr"].values[looked[-1]])
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
