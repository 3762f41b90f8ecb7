"""A plane through the space of all parameters: what it holds, where a map of it misleads, and sharpness on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._findings.finding import Finding
from ravine._findings.run import Run, Vector
from ravine._format import between, number, percent, steps, times, told_apart
from ravine._study.contract import plane_of
from ravine._study.rule import Reason
from ravine.measure._drawn import find_misdrawn
from ravine.measure._stability import bearable_curvature, sees_all_data

WALK = "Antognini and Sohl-Dickstein, NeurIPS 2018"
COHEN = "Cohen et al., ICLR 2021"

ALIKE = 0.02
"""Difference of two shares within which they are about the same."""

TRUE_TO = 0.01
"""Share of the loss's range within which a map is true to a run."""

FEWEST = 3
"""Places that were looked at, from which more is said than of the last one."""

NEAR, LOW, HIGH = 0.9, 0.8, 1.25
"""Share of its limit from which sharpness may stay there, and within which it then does."""


def of_what(facts: Mapping[str, Any]) -> str:
    """Name what the axes of a plane take a share of.

    Examples
    --------
    >>> of_what({"kind": "pca"}), of_what({"kind": "ends"})
    ('of the variance', 'of the squared distance from the end')
    """
    return {"pca": "of the variance", "ends": "of the squared distance from the end"}.get(facts["kind"], "of it")


def held(runs: xr.Dataset) -> Iterator[Finding]:
    """Set what a plane holds of the runs against what one would hold of a random walk with their steps."""
    facts = plane_of(runs)
    if facts is None:
        return
    shares = {name: _sum_of(facts.get(name)) for name in ("explained", "null")}
    share, walk = shares["explained"], shares["null"]
    if share is None or walk is None:
        return
    holds = f"The plane holds {percent(share)} {of_what(facts)}"
    sentence = f"{holds}; a random walk with steps of these lengths would give {percent(walk)}."
    if abs(share - walk) <= ALIKE:
        sentence = f"{holds}, about what a random walk with steps of these lengths would give ({percent(walk)})."
    elif share < walk:
        sentence = f"{holds}, less than a random walk with steps of these lengths would give ({percent(walk)})."
    yield Finding("plane", sentence, {"explained": share, "null": walk}, "measured", source=WALK)


def _sum_of(shares: Sequence[float] | None) -> float | None:
    """Return the sum of the shares of two axes; None where they are not known."""
    if shares is None or len(shares) < 2:
        return None
    each = np.asarray(shares[:2], dtype=np.float64)
    return float(each.sum()) if np.isfinite(each).all() and (each >= 0).all() else None


def misleads(run: Run) -> Finding | None:
    """Say where the loss drawn beneath a run is farthest from the true one, or that it is nowhere far."""
    found = find_misdrawn(run.study)
    if found is None or plane_of(run.data) is None:
        return None
    values = {"step": float(found.step), "loss": found.true, "drawn_loss": found.drawn, "off": found.off}
    values |= {"share": found.share} if np.isfinite(found.share) else {}
    if found.share < TRUE_TO:
        whole = "step" if run.gapless else "recorded step"
        bound = f"within {percent(found.share)} of the range of the loss" if found.off else "the true one in every bit"
        sentence = f"The map is true to this run: at every {whole} the drawn loss is {bound}"
        sentence += f", and farthest off at step {steps(found.step)}." if found.off else "."
        return Finding("map", sentence, values, "measured")
    true, drawn = told_apart(found.true, found.drawn) or (number(found.true), number(found.drawn))
    sentence = f"The map misleads most at step {steps(found.step)}: the loss is {true} there, and {drawn} is drawn"
    if np.isfinite(found.share) and np.isfinite(found.off):
        sentence += f", off by {percent(found.share)} of the range of the loss"
    return Finding("map", f"{sentence}.", values, "measured")


def edge(run: Run) -> Finding | None:
    """Set the largest curvature along the way against the one that each step's lr bears.

    It follows from the curvature of each place, and speaks of steps over the whole batch along one direction.
    """
    if run.refused or run.climbs or "sharpness" not in run.data:
        return None
    bears = bearable_curvature(run.study)
    if isinstance(bears, Reason):
        return None
    sharpness, limits = np.asarray(run.study["sharpness"].values, dtype=np.float64), bears.values
    looked = np.flatnonzero(np.isfinite(sharpness) & np.isfinite(limits) & (limits > 0))
    if len(looked) < FEWEST:
        return None
    at, shares = run.steps[looked], sharpness[looked] / limits[looked]
    over, most = np.flatnonzero(shares > 1), int(shares.argmax())
    values: dict[str, float | str | bool] = {
        "looked": float(len(looked)),
        "over": float(len(over)),
        "largest_share": float(shares[most]),
        "largest_share_step": float(at[most]),
        "last_share": float(shares[-1]),
    }
    whole = "" if sees_all_data(run.study) else " for steps over the whole batch"
    what, of = f"the limit of its lr{whole}", f"the {len(looked)} steps that were looked at"
    if not len(over):
        bound = f"at most {percent(float(shares[most]))} of it, at step {steps(at[most])}"
        sentence = f"Locally, the largest curvature is below {what} at all of {of}: {bound}"
    else:
        values["first_over"] = float(at[over[0]])
        count = "all" if len(over) == len(looked) else steps(len(over))
        first = f", first at step {steps(at[over[0]])}" if len(over) < len(looked) else ""
        bound = f"up to {_how_far(float(shares[most]))}, at step {steps(at[most])}"
        sentence = f"Locally, the largest curvature is over {what} at {count} of {of}{first}: {bound}"
        if shares[-1] <= 1:
            sentence += f"; at the last it is at {percent(float(shares[-1]))} of it"
    return Finding("edge", sentence + _hovers(at, shares, run.taken, values) + ".", values, "local", source=COHEN)


def _how_far(share: float) -> str:
    return times(share) if share >= 1.05 else f"{percent(share - 1)} over it"


def _hovers(at: NDArray[np.int64], shares: Vector, taken: int, values: dict[str, float | str | bool]) -> str:
    """Say that sharpness came to its limit and stayed there, where it did for a quarter of the run and to its end."""
    near = np.flatnonzero(shares >= NEAR)
    if not len(near):
        return ""
    outside = np.flatnonzero((shares < LOW) | (shares > HIGH))
    first = int(near[near > outside[-1]][0]) if len(outside) and (near > outside[-1]).any() else int(near[0])
    late = shares[first:]
    if (len(outside) and outside[-1] > first) or len(late) < FEWEST or at[-1] - at[first] < taken / 4:
        return ""
    low, high = float(late.min()), float(late.max())
    values |= {"near_from": float(at[first]), "near_low": low, "near_high": high}
    return f". From step {steps(at[first])} on it stays {between(100 * low, 100 * high)} % of it: the edge of stability"
