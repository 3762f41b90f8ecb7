"""Findings: true sentences about runs, each with its numbers and how far it goes.

One finding is one pure function from a run (`ravine.findings.runs.Run`) to a `Finding` or None. They stand in
`TOLD`, the most important first:

========================  ====================================================================
`limits`                  what the learning rate may be, and what became of one beyond it
`endings`                 arrived, slow, hopping, at the floor of rounding
`motion`                  swings, bends, and what momentum, dampening and nesterov do
`pulls`                   weight decay against the data, and slopes that stay bounded
`sharp`                   whether the learning rate is safe where the run is, for networks of any size
`sets`                    what several runs say together
========================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import xarray as xr

from ravine import study
from ravine.findings import endings, limits, motion, pulls, sharp
from ravine.findings.finding import Finding
from ravine.findings.runs import Run, runs_of
from ravine.findings.sets import same_runs, with_and_without

__all__ = ["SHAPES", "TOLD", "Finding", "explain", "shape_of"]

TOLD: tuple[Callable[[Run], Finding | None], ...] = (
    endings.refusal,
    limits.diverged,
    limits.beyond,
    endings.climb,
    endings.arrival,
    endings.jitter,
    limits.margin,
    limits.over_schedule,
    sharp.here,
    sharp.sharpened,
    motion.momentum,
    motion.swing,
    pulls.goal,
    pulls.apart,
    motion.nesterov,
    motion.dampening,
    pulls.bounded,
    pulls.pull,
    pulls.better_before,
    motion.bend,
    motion.first_step,
    motion.effective,
    endings.floor,
    limits.no_curvature,
)
"""Every finding about one run, the most important first."""


SHAPES: tuple[Callable[[Run], Finding | None], ...] = (
    limits.beyond,
    limits.diverged,
    endings.climb,
    pulls.goal,
    motion.dampening,
    motion.nesterov,
    motion.swing,
    endings.jitter,
    pulls.bounded,
    motion.bend,
    limits.margin,
)
"""What explains the shape of one path, the most telling first."""


def shape_of(run: xr.Dataset) -> Finding | None:
    """Return the one finding that best explains why a path looks as it does; None where nothing certain is known.

    Examples
    --------
    >>> import ravine
    >>> print(shape_of(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9)))
    The path orbits the minimum every 13.5 to 17.1 steps; the swing halves every 13.2 steps. (exact)
    """
    if not {"position", "loss"} <= set(run.data_vars):
        return None
    (view,) = runs_of(run)
    found = (finding(view) for finding in SHAPES) if view.taken > 0 else iter(())
    return next((each for each in found if each is not None), None)


def explain(runs: xr.Dataset, against: xr.Dataset | None = None) -> list[Finding]:
    """Say what happened in a run, and why, in true sentences.

    Parameters
    ----------
    runs
        A study with ``position`` (…, step, parameter) and ``loss`` (…, step). With ``minimizer``, ``minimum_loss``
        and ``hessian`` it is told how far a run is from its limits, and why it moves as it does; `ravine.descend`
        attaches them to regressions and to problems that state their minimizers, `ravine.landmarks` finds others.
    against
        Other runs that were really made: where one began at the same place of the same loss, its arrival is set
        against the run's own. Nothing is said of what would have been otherwise.

    Returns
    -------
    list of Finding
        What several runs say together comes first, then each run in turn (``about`` holds its labels), the most
        important first. A finding of ``scope`` "exact" follows from torch's update rule, or from curvature where
        the loss is a quadratic at all places of the run: it equals its minimum + ½ eᵀHe within 64 roundings of
        its dtype, and each step is the one that torch's rule leads to. What curvature says elsewhere is "local",
        true near the minimum, and the sentence says so. The rest is "measured". Curvature is drawn on for
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
    study.check(runs, "position", "loss")
    found = list(same_runs(runs))
    others = [] if against is None else list(runs_of(study.check(against, "position", "loss")))
    for run in runs_of(runs):
        asked = (endings.refusal,) if run.refused else TOLD if run.taken > 0 else ()
        told = [finding(run) for finding in asked]
        compared = [with_and_without(run, other) for other in others]
        found += [replace(each, about=run.about) for each in (*told, *compared) if each is not None]
    return found
