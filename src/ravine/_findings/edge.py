"""Curvature along a run: against what each step's lr bears, how it got there, and both ends of the spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ravine._findings.finding import Finding
from ravine._findings.run import Run, Vector
from ravine._format import at_most, number, percent, percent_at_most, so_many, span, steps
from ravine.measure._adam import find_edge
from ravine.measure._stability import sees_all_data

COHEN, ADAPTIVE = "Cohen et al., ICLR 2021", "Cohen et al., 2022, arXiv 2207.14484"

FEWEST = 3
"""Places that were looked at, from which more is said than of the last one."""

NEAR, LOW, HIGH = 0.9, 0.8, 1.25
"""Share of its limit from which sharpness may stay there, and within which it then does."""

STAYS = 6
"""Places that were looked at, from which on sharpness may be said to stay somewhere."""

RISING = 0.8
"""Share of the steps between two looks over which sharpness rises, from which on it is said to rise all the way."""


def edge(run: Run) -> Finding | None:
    """Set the largest curvature along the way against the one that each step's lr bears.

    It follows from the curvature of each place, and speaks of steps over the whole batch along one direction.
    """
    looked = _looked_at(run)
    if looked is None:
        return None
    at, sharpness, limits, adaptive = looked
    shares = sharpness / limits
    over, most = np.flatnonzero(shares > 1), int(shares.argmax())
    if shares[most] <= 0:  # no lr is too large along a direction that curves down
        return None
    values: dict[str, float | str | bool] = {
        "looked": float(len(at)),
        "over": float(len(over)),
        "largest_share": float(shares[most]),
        "largest_share_step": float(at[most]),
        "last_share": float(shares[-1]),
    }
    whole = "" if sees_all_data(run.study) else " for steps over the whole batch"
    what, of = f"the limit of its lr{whole}", f"the {len(at)} steps that were looked at"
    which = "the largest curvature, as Adam's preconditioner scales it," if adaptive else "the largest curvature"
    if not len(over):
        bound = f"at most {percent_at_most(float(shares[most]))} of it, at step {steps(at[most])}"
        sentence = f"Locally, {which} is below {what} at all of {of}: {bound}"
    else:
        values["first_over"] = float(at[over[0]])
        count = "all" if len(over) == len(at) else steps(len(over))
        first = f", first at step {steps(at[over[0]])}" if len(over) < len(at) else ""
        bound = f"up to {_how_far(float(shares[most]))}, at step {steps(at[most])}"
        sentence = f"Locally, {which} is over {what} at {count} of {of}{first}: {bound}"
        if 0 < shares[-1] <= 1:
            sentence += f"; at the last it is at {percent(float(shares[-1]))} of it"
    said = sentence + _hovers(at, sharpness, limits, run.taken, values) + "."
    return Finding("edge", said, values, "local", source=ADAPTIVE if adaptive else COHEN)


def sharpening(run: Run) -> Finding | None:
    """Say that sharpness rose all the way to its limit: progressive sharpening, of steps over the whole batch."""
    looked = _looked_at(run)
    if looked is None or not sees_all_data(run.study):
        return None
    at, sharpness, limits, adaptive = looked
    reached = np.flatnonzero(sharpness >= NEAR * limits)
    if not len(reached) or reached[0] < FEWEST or not sharpness[0] < LOW * limits[0]:
        return None
    k = int(reached[0])
    rises = np.diff(sharpness[: k + 1]) > 0
    if rises.mean() < RISING or not sharpness[0] > 0:
        return None
    which = "The largest curvature, as Adam's preconditioner scales it," if adaptive else "The largest curvature"
    values = {"first": float(sharpness[0]), "reached": float(sharpness[k]), "limit": float(limits[k])}
    values |= {"step": float(at[k]), "rising": float(rises.mean())}
    sentence = (
        f"{which} rose from {number(sharpness[0])} to {number(sharpness[k])} within {so_many(int(at[k]))}, where its "
        f"limit is {number(limits[k])}: progressive sharpening."
    )
    return Finding("sharpening", sentence, values, "measured", source=ADAPTIVE if adaptive else COHEN)


def both_ends(run: Run) -> Finding | None:
    """Tell the smallest curvature beside the largest, at the last place that was looked at."""
    if not {"sharpness", "lowest_curvature"} <= set(run.data.data_vars):
        return None
    high, low = (np.asarray(run.study[name].values, dtype=np.float64) for name in ("sharpness", "lowest_curvature"))
    looked = np.flatnonzero(np.isfinite(high) & np.isfinite(low))
    if not len(looked):
        return None
    k, bent = int(looked[-1]), np.flatnonzero(low[looked] < -FLAT * np.abs(high[looked]))
    values = {"step": float(run.steps[k]), "lowest": float(low[k]), "largest": float(high[k])}
    values |= {"looked": float(len(looked)), "negative": float(len(bent))}
    sentence = f"At step {steps(run.steps[k])} curvature goes from {number(low[k])} to {number(high[k])}"
    if len(bent):
        sentence += (
            f"; at {'all' if len(bent) == len(looked) else steps(len(bent))} of the {len(looked)} steps that were "
            "looked at the loss curves down along some direction, and no lr settles along that"
        )
    return Finding("spectrum", f"{sentence}.", values, "measured")


FLAT = 1e-6
"""Share of the largest curvature below which a smallest one below 0 may be rounding."""


def _looked_at(run: Run) -> tuple[NDArray[np.int64], Vector, Vector, bool] | None:
    """Return the steps that were looked at, curvature and limit there, and whether both are those of Adam."""
    if run.refused or run.climbs:
        return None
    found = find_edge(run.study)
    if found is None or found.limits is None:
        return None
    looked = np.flatnonzero(np.isfinite(found.values) & np.isfinite(found.limits) & (found.limits > 0))
    if len(looked) < FEWEST:
        return None
    return run.steps[looked], found.values[looked], found.limits[looked], found.adaptive


def _how_far(share: float) -> str:
    return f"{at_most(share)} times" if share >= 1.05 else f"{percent_at_most(share - 1)} over it"


def _hovers(
    at: NDArray[np.int64],
    sharpness: Vector,
    limits: Vector,
    taken: int,
    values: dict[str, float | str | bool],
) -> str:
    """Say that sharpness came to its limit and stayed there, where it did for a quarter of the run and to its end."""
    shares = sharpness / limits
    outside = np.flatnonzero((shares < LOW) | (shares > HIGH))
    near = np.flatnonzero(shares >= NEAR)
    near = near[near > outside[-1]] if len(outside) else near
    if not len(near):
        return ""
    first = int(near[0])
    late = shares[first:]
    if len(late) < STAYS or at[-1] - at[first] < taken / 4:
        return ""
    low, high = float(late.min()), float(late.max())
    found = span([100 * low, 100 * high])
    # the lr of that step alone: a schedule that moves the limit to curvature that stands still is no sharpening
    unmoved = sharpness / limits[first]
    crosses = low < 1 < high and unmoved[first:].min() < 1 < unmoved[first:].max()
    if not (unmoved[0] < LOW or crosses):
        return "" if first else f"; it is at {found} % of it throughout"
    values |= {"near_from": float(at[first]), "near_looked": float(len(late)), "near_low": low, "near_high": high}
    return f". At the {len(late)} looks from step {steps(at[first])} on it is at {found} % of it: the edge of stability"
