"""A gap that looks small beside a huge first one, while a flat direction of the loss has hardly moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ravine._findings.finding import Finding
from ravine._findings.quadratic import Modes, modes_of
from ravine._findings.run import Run
from ravine._format import number, percent, steps
from ravine.measure._quadratic import FLAT, flatness

NARROW = 1000.0
"""Condition number from which a direction may be too flat to be seen in the first gap."""

STAYED = 0.5
"""Share of its first error that a direction which has hardly moved still has."""

UNSEEN = 0.05
"""Share of the first gap, at most, that lies along such directions: else the gap itself tells."""

MATTERS = 0.01
"""Share of the minimum by which the loss is still above it, at least."""

AGREES = 0.05
"""How far a gap may be from what the curvature at the minimum says, relatively."""

Vector = NDArray[np.float64]


def unmoved(run: Run) -> Finding | None:
    """Say that a flat direction has hardly moved, though the gap has shrunk, and what standardizing would do.

    Premises: the minimum and its Hessian are known and without a kink; at the start and at the end the gap is what
    that Hessian says; its condition number is large; most of what is left lies along directions that still have
    half of their error, of which the first gap held next to nothing; the loss is above its minimum by a share of it.
    """
    modes = _modes_of(run)
    if modes is None or modes.condition < NARROW or run.conditions.treated or run.diverged:  # the dearer ones last
        return None
    minimizer = run.landmark("minimizer")
    assert minimizer is not None
    assert run.minimum is not None
    ends = (run.positions[[0, -1]] - minimizer) @ modes.directions
    parts = modes.curvatures * ends**2 / 2
    first, last = parts.sum(axis=1)
    gaps = run.minimised[[0, -1]] - run.minimum
    if not np.isfinite(gaps).all() or (abs(gaps - [first, last]) > AGREES * abs(gaps)).any():
        return None
    stayed = modes.awake & (abs(ends[1]) > STAYED * abs(ends[0]))
    if not stayed.any() or parts[0, stayed].sum() > UNSEEN * first or parts[1, stayed].sum() < last / 2:
        return None
    if not last > MATTERS * abs(run.minimum):
        return None
    flat = int(np.argmax(np.where(stayed, parts[1], -1.0)))
    gone, way, what = _way(run, modes, flat, minimizer)
    values: dict[str, float | str | bool] = {
        "condition": modes.condition, "left": float(abs(ends[1, flat] / ends[0, flat])), "gone": gone, "way": way,
        "directions": float(stayed.sum()), "gap": float(gaps[1]), "minimum": run.minimum,
    }  # fmt: skip
    above = "still above its minimum"
    if run.minimum > 0:
        values["above"] = over = float(gaps[1] / run.minimum)
        above = (
            f"still {percent(over)} above its minimum" if over < 10 else f"still {number(1 + over)} times its minimum"
        )
    others = int(stayed.sum()) - 1
    too = f", and {steps(others)} other direction{'s are' if others > 1 else ' is'} no better" if others else ""
    loss = "loss with its weight decay" if run.decay else "loss"
    sentence = (
        f"The {loss} is {above}: {what} has gone {number(gone)} of {number(way, 6)}{too}, "
        f"because the loss is too flat there (condition number {number(modes.condition)})."
    )
    after = _condition_standardized(run)
    if after is not None:
        values["condition_standardized"] = after
        sentence += f" With standardized columns the condition number is {number(after)}."
    return Finding("unmoved", sentence, values, "measured", "at the end")


def _modes_of(run: Run) -> Modes | None:
    """Return the directions of the curvature at the minimum, by whatever optimizer the run went."""
    if run.refused or run.climbs or run.taken < 1 or run.minimum is None or run.kinked:
        return None
    hessian, minimizer = run.landmark("hessian"), run.landmark("minimizer")
    if hessian is None or minimizer is None or not np.isfinite(run.positions[[0, -1]]).all():
        return None
    flat = flatness(run.fact("hessian", "engine"), len(minimizer))
    return modes_of(hessian, run.positions[0], minimizer, run.labels, flat=flat, eps=run.eps)


def _way(run: Run, modes: Modes, mode: int, minimizer: Vector) -> tuple[float, float, str]:
    """Return how far it went along a direction, how far it had to, and the direction's name."""
    went, way = run.positions[-1] - run.positions[0], minimizer - run.positions[0]
    name = modes.name(mode)
    if name in run.labels:
        place = run.labels.index(name)
        return abs(float(went[place])), abs(float(way[place])), name
    along = modes.directions[:, mode]
    what = modes.along(mode) or "a flat direction"
    return abs(float(went @ along)), abs(float(way @ along)), what


def _condition_standardized(run: Run) -> float | None:
    """Return the condition number that standardized columns would give; None unless it is a mean square of a line.

    It is one where the Hessian is that of the columns and a bias, within rounding. Constant columns cannot be
    standardized; directions that change nothing (equal columns) are left out, as everywhere.
    """
    hessian = run.landmark("hessian")
    if "inputs" not in run.data or run.setting("criterion") != "MSELoss" or run.decay or hessian is None:
        return None
    inputs = np.asarray(run.data["inputs"].values, dtype=np.float64)
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    if inputs.ndim != 2 or run.labels[-1:] != ["bias"] or len(run.labels) != inputs.shape[1] + 1:
        return None
    design = np.column_stack([inputs, np.ones(len(inputs))])
    if not np.allclose(2 * design.T @ design / len(design), hessian, rtol=1e-6, atol=0.0):
        return None
    spread = inputs.std(axis=0)
    if not (spread > 0).all():
        return None
    design[:, :-1] = (inputs - inputs.mean(axis=0)) / spread
    curvatures = np.linalg.eigvalsh(design.T @ design / len(design))
    bent = curvatures[curvatures > FLAT * curvatures[-1]]
    return float(bent[-1] / bent[0])
