"""Sharp: whether the learning rate is safe where a run is, from the largest curvature there."""

from __future__ import annotations

import numpy as np

from ravine import theory
from ravine.findings.finding import Finding, When
from ravine.findings.phrases import number, percent, times
from ravine.findings.runs import Run

__all__ = ["here", "sharpened"]

COHEN = "Cohen et al., ICLR 2021"


def here(run: Run) -> Finding | None:
    """Set the learning rate against the limit of the largest curvature that was looked at last."""
    looked = _looked(run)
    if looked is None:
        return None
    steps, values = looked
    step, curvature = int(steps[-1]), float(values[-1])
    if curvature + run.decay <= 0 or not run.lr > 0:
        return None
    assert run.rule is not None
    limit = float(theory.stability_limit([curvature], **run.rule))
    share = run.lr / limit
    where = f"Locally, the largest curvature at step {step} is {number(curvature)}"
    if share < 1:
        mine = f"lr {number(run.lr)} is at {percent(share)} of it"
        sentence = f"{where}: an lr below {number(limit)} is stable there, and {mine}."
    else:
        sentence = (
            f"{where}, where an lr below {number(limit)} is stable: lr {number(run.lr)} is {times(share)} that limit."
        )
    when: When = "at the end" if step == run.taken else "at the start" if step == 0 else "throughout"
    found = {"step": float(step), "curvature": curvature, "limit": limit, "lr": run.lr, "share": share}
    return Finding("sharpness", sentence, found, "local", when, COHEN)


def sharpened(run: Run) -> Finding | None:
    """Say that the curvature rose or fell by more than a tenth between the places that were looked at."""
    looked = _looked(run)
    if looked is None or len(looked[0]) < 2:
        return None
    steps, values = looked
    first, last = float(values[0]), float(values[-1])
    if not (first > 0 and last > 0) or abs(last / first - 1) < 0.1:
        return None
    way = "sharper" if last > first else "flatter"
    sentence = (
        f"It went to a {way} place: the largest curvature is {number(last)} at step {steps[-1]}, and was "
        f"{number(first)} at step {steps[0]}."
    )
    return Finding("sharpened", sentence, {"first": first, "last": last}, "measured", source=COHEN)


def _looked(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the steps that were looked at, and the curvatures there, where theory speaks of the run."""
    if not run.steady or "sharpness" not in run.data:
        return None
    values = np.asarray(run.told["sharpness"].values, dtype=np.float64)
    steps = np.flatnonzero(np.isfinite(values))
    return (steps, values[steps]) if len(steps) else None
