"""explain: true sentences about runs, the most important first.

One finding is one pure function from a run (`ravine._findings.run.Run`) to a `Finding` or None. They stand in
`FINDINGS`, the most important first:

=============  ====================================================================
`flat`         a flat direction that has hardly moved, though the gap has shrunk
`stillness`    why nothing moves, or some parameters never do
`divergence`   what became of a loss that grew without end
`stability`    what the learning rate may be, and why one beyond it cannot settle
`schedule`     the same of a learning rate that a schedule moves
`course`       what the loss did on its way, where no minimum is known
`treated`      how often gradients were clipped, and what noise was added
`arrival`      arrived, slow, hopping, at the floor of rounding
`momentum`     swings, bends, and what momentum, dampening and nesterov do
`units`        the fitted line in the columns' own units, where they were standardized
`decay`        weight decay against the data, and slopes that stay bounded
`plane`        what a plane holds, and where a map of it misleads
`edge`         sharpness on the way, against its limit; both ends of the spectrum
`barrier`      along the line between two states; `ramp`: of a range test
=============  ====================================================================

What two runs or more say beside each other is in `compare`, and what many say together in `sweep`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import xarray as xr

from ravine._findings.arrival import arrival, climb, floor, jitter, refusal
from ravine._findings.barrier import of_a_line
from ravine._findings.compare import same_runs, with_and_without
from ravine._findings.course import course, late
from ravine._findings.decay import apart, better_before, bounded, goal, other_rule, pull
from ravine._findings.divergence import came_back, diverged
from ravine._findings.edge import both_ends, edge, sharpening
from ravine._findings.finding import Finding, Findings
from ravine._findings.flat import unmoved
from ravine._findings.momentum import bend, dampening, effective, first_step, momentum, nesterov, swing
from ravine._findings.plane import held, misleads, read_off
from ravine._findings.ramp import are_range_tests, of_range_tests
from ravine._findings.run import Run, choices_of, run_of, runs_of
from ravine._findings.schedule import backwards, over_schedule
from ravine._findings.stability import beyond, here, margin, no_curvature, sharpened
from ravine._findings.stillness import rests_elsewhere, still
from ravine._findings.sweep import of_a_sweep
from ravine._findings.treated import clipped, noisy
from ravine._findings.units import fitted_line
from ravine._study.contract import check, check_kind, last_step, plane_of
from ravine._study.counted import unit_of, worded

FINDINGS: tuple[Callable[[Run], Finding | None], ...] = (
    refusal,
    late,
    unmoved,
    still,
    backwards,
    diverged,
    beyond,
    climb,
    came_back,
    arrival,
    course,
    misleads,
    clipped,
    noisy,
    fitted_line,
    jitter,
    margin,
    over_schedule,
    edge,
    sharpening,
    here,
    sharpened,
    both_ends,
    momentum,
    swing,
    goal,
    apart,
    nesterov,
    dampening,
    bounded,
    pull,
    better_before,
    bend,
    first_step,
    effective,
    floor,
    no_curvature,
    other_rule,
)
"""Every finding about one run, the most important first."""

ON_PLANE: tuple[Callable[[Run], Finding | None], ...] = (
    refusal,
    backwards,
    diverged,
    came_back,
    arrival,
    course,
    misleads,
    edge,
    sharpening,
    here,
    sharpened,
    both_ends,
    apart,
    effective,
    other_rule,
)
"""What holds of a run on a plane, where positions are no parameters: it speaks of losses, settings and curvature."""

WITHOUT_START: tuple[Callable[[Run], Finding | None], ...] = (
    refusal,
    late,
    backwards,
    beyond,
    margin,
    here,
    sharpened,
    both_ends,
    momentum,
    goal,
    apart,
    nesterov,
    dampening,
    effective,
    floor,
    noisy,
    no_curvature,
    other_rule,
)
"""What can be said of a run whose first steps are not in the study."""

OF_PLACES: tuple[Callable[[Run], Finding | None], ...] = (edge, sharpening, here, sharpened, both_ends)
"""What is said of places that were looked at: of the last too, where no batch has given a loss any more."""

OF_THE_MINIMUM: tuple[Callable[[Run], Finding | None], ...] = (
    beyond,
    margin,
    over_schedule,
    momentum,
    swing,
    nesterov,
    dampening,
)
"""What is said from the curvature at a minimum: nothing of a run that came to rest at another place."""

PATH_FINDINGS: tuple[Callable[[Run], Finding | None], ...] = (
    backwards,
    beyond,
    diverged,
    unmoved,
    climb,
    goal,
    dampening,
    nesterov,
    swing,
    jitter,
    bounded,
    bend,
    margin,
)
"""What explains the shape of one path, the most telling first."""


def shape_of(run: xr.Dataset | Run) -> Finding | None:
    """Return the one finding that best explains why a path looks as it does; None where nothing certain is known.

    Examples
    --------
    >>> import ravine
    >>> print(shape_of(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9)))
    The path orbits the minimum every 13.5 to 17.1 steps; the swing halves every 13.2 steps. (exact)
    """
    view = run_of(run)
    if not {"position", "loss"} <= set(view.data.data_vars):
        return None
    found = (finding(view) for finding in _askable(view, PATH_FINDINGS)) if view.taken > 0 else iter(())
    return next((each for each in found if each is not None), None)


def _askable(run: Run, findings: Sequence[Callable[[Run], Finding | None]]) -> list[Callable[[Run], Finding | None]]:
    """Leave out what a run on a plane, one whose first steps are not there, or one at rest elsewhere does not tell."""
    asked = [each for each in findings if run.begins or each in WITHOUT_START]
    if rests_elsewhere(run):
        asked = [each for each in asked if each not in OF_THE_MINIMUM]
    return [each for each in asked if plane_of(run.data) is None or each in ON_PLANE]


def with_batch_loss(runs: xr.Dataset) -> tuple[xr.Dataset, Finding]:
    """Let the loss that the optimizer saw stand in for one over all data, and say so; the last position has none.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, steps=9, batch_size=4)
    >>> print(with_batch_loss(run.drop_vars("loss"))[1])
    No loss over all data is there: what follows is about the loss that the optimizer saw, up to step 8. (measured)
    """
    seen = runs.assign(loss=runs["batch_loss"])
    if seen.sizes["step"] > 1 and bool(seen["loss"].isel(step=-1).isnull().all()):
        seen = seen.isel(step=slice(None, -1))
    last = last_step(seen)
    sentence = (
        f"No loss over all data is there: what follows is about the loss that the optimizer saw, up to step {last:,}."
    )
    return seen, Finding("batch loss", sentence, {"step": float(last)}, "measured")


MOST_RUNS = 24
"""Runs up to which each is explained; of more, what they say together."""


def explain(runs: xr.Dataset, against: xr.Dataset | None = None) -> Findings:
    """Say what happened in a run, and why, in true sentences.

    Parameters
    ----------
    runs
        A study with ``position`` (…, step, parameter) and ``loss`` (…, step), the summaries of a sweep, a
        `ravine.range_test`, or what `ravine.between` found on the line between two states. A recording
        has no ``loss`` over all data: its ``batch_loss`` stands in, and the first finding says so. With
        ``minimizer``, ``minimum_loss`` and ``hessian`` it is told how far a run is from its limits, and why it moves
        as it does; `ravine.descend` attaches them to regressions and to problems that state their minimizers,
        `ravine.landmarks` finds others. Of more than 24 runs it is said what they have in common: how many arrive,
        which soonest, what the fastest share, where they begin to diverge; `ravine.at` selects some of them.
    against
        Other runs that were really made: where one began at the same place of the same loss, its arrival is set
        against the run's own. Nothing is said of what would have been otherwise.

    Returns
    -------
    list of Finding
        Printed, or at the end of a notebook's cell, it shows the sentences, one a line. What several runs say
        together comes first, then each run in turn (``about`` holds its labels), the most important first, and what the
        plane holds that they are drawn on. A finding of ``scope`` "exact" follows from torch's update rule, or from
        curvature where the loss is a quadratic at all places of the run: it equals its minimum + ½ eᵀHe within 64
        roundings of its dtype, and each step is the one that torch's rule leads to. What curvature says elsewhere is
        "local", true near the minimum, and the sentence says so. The rest is "measured". Curvature is drawn on for
        torch.optim.SGD alone, over the whole batch and without settings of single groups.

    Raises
    ------
    TypeError
        If `runs` is no `xarray.Dataset`.
    ValueError
        If the study has no positions or losses; the message names the call that makes them.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic(condition=10)
    >>> told = {each.kind: each for each in ravine.explain(ravine.descend(bowl, lr=0.1, momentum=0.5))}
    >>> print(told["arrival"])
    It arrives at step 41: from there on the gap stays within 1 % of its start. (measured)
    >>> print(told["swing"])
    The path swings about the minimum every 15.5 steps; the swing halves every 2 steps. (exact)
    >>> told["margin"].values["limit"], told["margin"].scope
    (1.5, 'exact')

    Notes
    -----
    G. Goh, "Why Momentum Really Works", Distill 2017; see `ravine.theory` for the formulas and their sources.
    """
    check_kind(runs)
    if against is not None and "position" not in runs:
        raise ValueError("against is for runs with positions, and here are none: leave it out")
    if "line_loss" in runs:
        return Findings(of_a_line(check(runs, "line_loss")))
    if are_range_tests(runs):
        return Findings(of_range_tests(check(runs, "loss", "scheduled_lr")))
    if "final_loss" in runs and "loss" not in runs:
        return Findings(of_a_sweep(runs))
    remarks, whole = [], runs
    if "loss" not in runs and "batch_loss" in runs:
        whole = runs.assign(loss=runs["batch_loss"])
        runs, remark = with_batch_loss(runs)
        remarks.append(remark)
    check(runs, "position", "loss")
    count = math.prod(runs.sizes[dim] for dim in choices_of(runs))
    if count > MOST_RUNS:
        if against is not None:
            raise ValueError(f"{count:,} runs are too many to set against others: select at most {MOST_RUNS}")
        return Findings(of_a_sweep(runs))
    found = [*remarks, *same_runs(runs)]
    others = [] if against is None else list(runs_of(check(against, "position", "loss")))
    for run, all_of_it in zip(runs_of(runs), runs_of(whole), strict=True):
        asked = (refusal,) if run.refused or not run.taken else _askable(run, FINDINGS)
        told = [finding(all_of_it if finding in OF_PLACES else run) for finding in asked]
        compared = [with_and_without(run, other) for other in others if run.begins and other.begins]
        found += [replace(each, about=run.about) for each in (*told, *compared) if each is not None]
    findings, unit = [*found, *held(runs), *read_off(runs)], unit_of(runs)
    return Findings([replace(each, sentence=worded(each.sentence, unit)) for each in findings])
