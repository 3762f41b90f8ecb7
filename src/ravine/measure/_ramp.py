"""What a run shows whose learning rate rises from step to step: where the loss falls most, and where the limit is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._study.rule import Reason
from ravine.measure._objective import evaluated, step_values
from ravine.measure._stability import bearable_curvature


@dataclass(frozen=True)
class Place:
    """A step of such a run, its lr, and what was found there: a slope by the log of the lr, a loss, or a limit."""

    step: int
    lr: float
    found: float


def rates_of(run: xr.Dataset) -> NDArray[np.float64]:
    """Return the lr at each place of a run, of the step that begins there; at the last place, of the step before.

    No step begins at the last place: what a scheduler holds there, no step was taken with.

    Examples
    --------
    >>> rates_of(xr.Dataset({"scheduled_lr": ("step", [0.1, 0.2, 0.4])})).tolist()
    [0.1, 0.2, 0.2]
    """
    rates = np.array(run["scheduled_lr"].values, dtype=np.float64)
    there = np.flatnonzero(np.isfinite(rates))
    if len(there) > 1:
        rates[there[-1]] = rates[there[-2]]
    return rates


def rises(run: xr.Dataset) -> bool:
    """Tell whether the lr of one run rises at every step, from above 0.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> rises(ravine.range_test(bowl, lr=(0.01, 1), steps=10)), rises(ravine.descend(bowl, scheduler="cosine", steps=5))
    (True, False)
    """
    if "scheduled_lr" not in run:
        return False
    rates = run["scheduled_lr"].values.astype(np.float64)
    return bool(rates.ndim == 1 and len(rates) > 2 and rates[0] > 0 and (np.diff(rates[:-1]) > 0).all())


def find_steepest(run: xr.Dataset) -> Place | None:
    """Return where the loss falls most for a rise of the lr on a logarithmic axis, up to where it is lowest.

    None where it does not fall, or the lr does not rise throughout.

    Examples
    --------
    >>> losses = {"loss": ("step", [4.0, 3.9, 1.0, 0.5, 9.0]), "scheduled_lr": ("step", [0.1, 0.2, 0.4, 0.8, 1.6])}
    >>> find_steepest(xr.Dataset(losses)).lr
    0.4
    """
    if not rises(run) or "loss" not in run:
        return None
    losses, rates = run["loss"].values.astype(np.float64), rates_of(run)
    seen = np.flatnonzero(evaluated(run).values & np.isfinite(losses))
    if len(seen) > 1 and not rates[seen[-1]] > rates[seen[-2]]:
        seen = seen[:-1]  # the lr of the last step is there twice: before it, and after it
    if len(seen) < 3:
        return None
    seen = seen[: int(losses[seen].argmin()) + 2]  # one beyond the lowest, so that it has a slope of two sides
    with np.errstate(over="ignore"):
        slopes = np.gradient(losses[seen], np.log(rates[seen])) if len(seen) > 2 else np.diff(losses[seen])
    k = int(np.argmin(slopes))
    if not slopes[k] < 0 or len(seen) < 3:
        return None
    return Place(int(step_values(run)[seen[k]]), float(rates[seen[k]]), float(slopes[k]))


def find_lowest(run: xr.Dataset) -> Place | None:
    """Return where the loss is lowest, its lr, and that loss; None where none is finite, or the run is to climb.

    Examples
    --------
    >>> losses = {"loss": ("step", [4.0, 3.0, 1.0]), "scheduled_lr": ("step", [0.1, 0.2, 0.4])}
    >>> find_lowest(xr.Dataset(losses))
    Place(step=2, lr=0.2, found=1.0)
    """
    losses = run["loss"].values.astype(np.float64)
    finite = np.flatnonzero(evaluated(run).values & np.isfinite(losses))
    if not len(finite) or ("maximize" in run.coords and bool(run["maximize"])):
        return None
    k = int(finite[losses[finite].argmin()])
    return Place(int(step_values(run)[k]), float(rates_of(run)[k]), float(losses[k]))


def find_broken(run: xr.Dataset) -> Place | None:
    """Return the first place whose loss is not finite, and the lr of the step that led there; None where there is none.

    Examples
    --------
    >>> losses = {"loss": ("step", [4.0, 9.0, np.inf]), "scheduled_lr": ("step", [0.1, 0.2, 0.4])}
    >>> find_broken(xr.Dataset(losses))
    Place(step=2, lr=0.2, found=inf)
    """
    losses = run["loss"].values.astype(np.float64)
    broken = np.flatnonzero(evaluated(run).values & ~np.isfinite(losses))
    if not len(broken):
        return None
    k = int(broken[0])
    return Place(int(step_values(run)[k]), float(rates_of(run)[max(k - 1, 0)]), float(losses[k]))


def find_over_limit(run: xr.Dataset) -> Place | Reason | None:
    """Return the first step that was looked at whose lr is over the limit of the curvature there, and that limit.

    None where none is, or nobody looked; a reason where theory does not say.

    Examples
    --------
    >>> import ravine
    >>> found = find_over_limit(ravine.range_test(ravine.gallery.quadratic(), lr=(0.1, 10), steps=50))
    >>> found.found, bool(found.lr > 1)
    (1.0, True)
    """
    if not rises(run) or "sharpness" not in run:
        return None
    bears = bearable_curvature(run)
    if isinstance(bears, Reason):
        return bears
    sharp, rates = run["sharpness"].values.astype(np.float64), rates_of(run)
    with np.errstate(invalid="ignore"):
        over = np.flatnonzero((sharp > bears.values) & (sharp > 0))
    if not len(over):
        return None
    k = int(over[0])
    decay = float(run["weight_decay"]) if "weight_decay" in run.coords else 0.0
    # the limit of the lr is that of the curvature read the other way round
    return Place(
        int(step_values(run)[k]), float(rates[k]), float(rates[k] * (bears.values[k] + decay) / (sharp[k] + decay))
    )
