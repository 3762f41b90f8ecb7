"""A gap that looks small beside a huge first one, while a flat direction of the loss has hardly moved."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ravine._findings.finding import Finding
from ravine._findings.quadratic import Modes, modes_of
from ravine._findings.run import Run
from ravine._format import number, percent, steps
from ravine.measure._quadratic import CLOSED, FLAT, flatness

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

TRUE = 1e-3
"""The same of a criterion over the data."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shape:
    """What is known of the loss: its directions, its gap at any place, and what the condition number is of."""

    modes: Modes
    gap: Callable[[Vector], float]
    whose: str
    within: float


def unmoved(run: Run) -> Finding | None:
    """Say that a flat direction has hardly moved, though the gap has shrunk, and what standardizing would do.

    Premises: the minimum is known, and so is the loss, as the quadratic that its Hessian there says or as a criterion
    over the columns of the data: at the start and at the end the gap is what that says. Its condition number is large;
    most of what is left lies along directions that still have half of their error, of which the first gap held next to
    nothing; the loss is above its minimum by a share of it.
    """
    shape = _shape_of(run)
    if shape is None or run.conditions.treated or run.diverged:  # the dearer ones last
        return None
    modes, minimizer, minimum = shape.modes, run.landmark("minimizer"), run.minimum
    assert minimizer is not None
    assert minimum is not None
    first, last = run.minimised[[0, -1]] - minimum
    ends = (run.positions[[0, -1]] - minimizer) @ modes.directions
    stayed = modes.awake & (abs(ends[1]) > STAYED * abs(ends[0]))
    if not stayed.any() or not last > MATTERS * abs(minimum):
        return None
    along = modes.directions[:, stayed] @ ends[:, stayed].T
    if first - shape.gap(run.positions[0] - along[:, 0]) > UNSEEN * first:
        return None
    if shape.gap(run.positions[-1] - along[:, 1]) > last / 2:
        return None
    flat = int(np.argmax(np.where(stayed, modes.curvatures * ends[1] ** 2, -1.0)))
    gone, way, what = _way(run, modes, flat, minimizer)
    values: dict[str, float | str | bool] = {
        "condition": modes.condition, "left": float(abs(ends[1, flat] / ends[0, flat])), "gone": gone, "way": way,
        "directions": float(stayed.sum()), "gap": float(last), "minimum": minimum,
    }  # fmt: skip
    above = "still above its minimum"
    if minimum > 0:
        values["above"] = over = float(last / minimum)
        above = (
            f"still {percent(over)} above its minimum" if over < 10 else f"still {number(1 + over)} times its minimum"
        )
    others = int(stayed.sum()) - 1
    too = f", and {steps(others)} other direction{'s are' if others > 1 else ' is'} no better" if others else ""
    loss = "loss with its weight decay" if run.decay else "loss"
    sentence = (
        f"The {loss} is {above}: {what} has gone {number(gone)} of {number(way, 6)}{too}, "
        f"because the loss is too flat there ({shape.whose} {number(modes.condition)})."
    )
    after = _condition_standardized(run)
    if after is not None:
        values["condition_standardized"] = after
        sentence += f" With standardized columns the condition number is {number(after)}."
    return Finding("unmoved", sentence, values, "measured", "at the end")


def _shape_of(run: Run) -> Shape | None:
    """Return what is known of a narrow loss, by whatever optimizer the run went; it must be so at both of its ends."""
    minimizer = run.landmark("minimizer")
    if run.refused or run.climbs or run.taken < 1 or run.minimum is None or minimizer is None:
        return None
    ends = run.positions[[0, -1]]
    if not np.isfinite(ends).all():
        return None
    for shape in (_quadratic(run, minimizer), _over_columns(run, minimizer)):
        if shape is None or shape.modes.condition < NARROW:
            continue
        gaps = run.minimised[[0, -1]] - run.minimum
        off = abs(gaps - [shape.gap(each) for each in ends])
        if np.isfinite(gaps).all() and (off <= shape.within * abs(gaps)).all():
            return shape
    return None


def _quadratic(run: Run, minimizer: Vector) -> Shape | None:
    """Return the loss as its Hessian at the minimum says."""
    hessian = run.landmark("hessian")
    if hessian is None or run.kinked:
        return None
    flat = flatness(run.fact("hessian", "engine"), len(minimizer))
    modes = modes_of(hessian, run.positions[0], minimizer, run.labels, flat=flat, eps=run.eps)
    if modes is None:
        return None

    def gap(place: Vector) -> float:
        return float(modes.curvatures @ ((place - minimizer) @ modes.directions) ** 2) / 2

    return Shape(modes, gap, "condition number", AGREES)


def _huber(off: Vector, delta: float) -> Vector:
    return np.where(abs(off) < delta, off**2 / 2, delta * (abs(off) - delta / 2))


CRITERIA: dict[str, Callable[[Vector, float], Vector]] = {
    "L1Loss": lambda off, _: abs(off),
    "HuberLoss": _huber,
    "SmoothL1Loss": lambda off, beta: _huber(off, beta) / beta,
}
"""Criteria that are no quadratic far off the data, by the residual, and by delta or beta where they have one."""

BENDS = {"HuberLoss": "delta", "SmoothL1Loss": "beta"}


def _bend_of(run: Run, criterion: str) -> float:
    """Return delta or beta: of a sweep a coordinate, else a part of the code that makes the criterion again."""
    name = BENDS.get(criterion, "")
    if name in run.data.coords:
        return float(run.data[name])
    code = run.fact("loss", "code")
    problems = code.get("problems", {}).values() if isinstance(code, Mapping) else ()
    made = [str(each.get("criterion")) for each in problems if isinstance(each, Mapping)]
    made = [each for each in made if f".{criterion}(" in each]
    found = {re.search(rf"\b{name}=([0-9.]+(?:e[-+]?[0-9]+)?)[,)]", each) for each in made} if name else set()
    bends = {1.0 if each is None else float(each[1]) for each in found}
    return bends.pop() if len(bends) == 1 else 1.0  # a wrong one makes gaps that the run has not, and nothing is said


def _over_columns(run: Run, minimizer: Vector) -> Shape | None:
    """Return the loss as one of these criteria of a line over the columns of the data."""
    name = str(run.setting("criterion"))
    criterion, design, bend = CRITERIA.get(name), _design_of(run), _bend_of(run, name)
    if criterion is None or design is None or not bend > 0 or run.decay:
        return None
    if "targets" not in run.data or run.minimum is None:
        return None
    targets, minimum = np.asarray(run.data["targets"].values, dtype=np.float64).ravel(), run.minimum
    if len(targets) != len(design):
        return None
    moment = design.T @ design / len(design)
    modes = modes_of(moment, run.positions[0], minimizer, run.labels, flat=CLOSED, eps=run.eps)

    def gap(place: Vector) -> float:
        return float(criterion(design @ place - targets, bend).mean()) - minimum

    return None if modes is None else Shape(modes, gap, "condition number of the columns", TRUE)


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


def _design_of(run: Run) -> Vector | None:
    """Return the columns of the data beside ones, where the parameters are a line's: weights, and the bias last."""
    if "inputs" not in run.data:
        return None
    inputs = np.asarray(run.data["inputs"].values, dtype=np.float64)
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    if inputs.ndim != 2 or run.labels[-1:] != ["bias"] or len(run.labels) != inputs.shape[1] + 1:
        return None
    return np.column_stack([inputs, np.ones(len(inputs))])


def _condition_standardized(run: Run) -> float | None:
    """Return the condition number that standardized columns would give; None unless the loss is that of a line.

    It is one where the Hessian is that of the columns and a bias, within rounding, or where `_over_columns` found it
    so. Constant columns cannot be standardized; directions that change nothing (equal columns) are left out, as
    everywhere.
    """
    hessian, design = run.landmark("hessian"), _design_of(run)
    if design is None or run.decay or run.setting("criterion") not in ("MSELoss", *CRITERIA):
        return None
    if run.setting("criterion") == "MSELoss" and (
        hessian is None or not np.allclose(2 * design.T @ design / len(design), hessian, rtol=1e-6, atol=0.0)
    ):
        return None
    spread = design[:, :-1].std(axis=0)
    if not (spread > 0).all():
        return None
    design[:, :-1] = (design[:, :-1] - design[:, :-1].mean(axis=0)) / spread
    curvatures = np.linalg.eigvalsh(design.T @ design / len(design))
    bent = curvatures[curvatures > FLAT * curvatures[-1]]
    return float(bent[-1] / bent[0])
