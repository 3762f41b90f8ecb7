"""explain: true sentences about runs, the most important first.

One finding is one pure function from a run (`ravine._findings.run.Run`) to a `Finding` or None. They stand in
`FINDINGS`, the most important first:

=============  ====================================================================
`flat`         a flat direction that has hardly moved, though the gap has shrunk
`stillness`    why nothing moves, or some parameters never do
`stability`    what the learning rate may be, and what became of one beyond it
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

What several runs say together is found here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from ravine._findings.arrival import arrival, climb, floor, jitter, refusal
from ravine._findings.barrier import of_a_line
from ravine._findings.course import course, late
from ravine._findings.decay import apart, better_before, bounded, goal, other_rule, pull
from ravine._findings.edge import both_ends, edge, sharpening
from ravine._findings.finding import Finding, Findings
from ravine._findings.flat import unmoved
from ravine._findings.momentum import bend, dampening, effective, first_step, momentum, nesterov, swing
from ravine._findings.plane import held, misleads, read_off
from ravine._findings.ramp import are_range_tests, of_range_tests
from ravine._findings.run import Run, choices_of, run_of, runs_of
from ravine._findings.stability import (
    backwards,
    beyond,
    diverged,
    here,
    margin,
    no_curvature,
    over_schedule,
    sharpened,
)
from ravine._findings.stillness import still
from ravine._findings.sweep import of_a_sweep
from ravine._findings.treated import clipped, noisy
from ravine._findings.units import fitted_line
from ravine._format import names, setting, so_many, steps
from ravine._study.contract import at_or_by, check, check_kind, last_step, plane_of
from ravine._study.rule import LOOP_SETTINGS, SETTINGS

SEVERAL = ("betas", "etas", "step_sizes")
"""Settings of torch's optimizers that are no single numbers, and so no coordinates."""

ONE_FUNCTION = {"HuberLoss", "SmoothL1Loss"}


def same_runs(runs: xr.Dataset) -> Iterator[Finding]:
    """Find labels along a dimension of choice whose runs are equal in every bit."""
    for dim in choices_of(runs):
        if dim not in runs.coords:
            continue
        groups: dict[bytes, list[str]] = {}
        for k, label in enumerate(runs[dim].values.tolist()):
            if not np.isfinite(runs["position"].isel({dim: k, "step": 0})).all():
                continue  # never ran
            bits = b"".join(np.ascontiguousarray(runs[n].isel({dim: k}).values).tobytes() for n in ("position", "loss"))
            if dim in runs["position"].dims and dim in runs["loss"].dims:
                groups.setdefault(bits, []).append(label if isinstance(label, str) else f"{dim} {setting(label)}")
        for alike in groups.values():
            if len(alike) > 1:
                yield _same(dim, alike)


def _same(dim: str, alike: list[str]) -> Finding:
    sentence = f"{names(alike)} took the same path, in every bit of position and loss"
    if dim == "criterion" and set(alike) == ONE_FUNCTION:
        sentence += ": with delta 1 and beta 1 they are the same function"
    return Finding("same run", sentence + ".", {"labels": ", ".join(alike), "count": float(len(alike))}, "measured")


def with_and_without(run: Run, other: Run) -> Finding | None:
    """Set a run's arrival against that of one that was really made with other settings."""
    told = _arrival(run), _arrival(other)
    if None in told or not _comparable(run, other):
        return None
    (ours, here), (theirs, there) = told[0] or ("", 0.0), told[1] or ("", 0.0)
    if run.taken != other.taken and not _is_settled(run, here, other, there):
        return None
    turned = [n for n in (*SETTINGS, *LOOP_SETTINGS) if _setting(run, n) != _setting(other, n)]
    if not turned or {"weight_decay", "maximize"} & set(turned) or (np.isnan(here) and np.isnan(there)):
        return None
    values: dict[str, float | str | bool] = {"step": here, "step_instead": there, "turned": ", ".join(turned)}
    if here == there:
        verdict = "makes no difference"
    else:
        better = np.nan_to_num(here, nan=np.inf) < np.nan_to_num(there, nan=np.inf)
        verdict = "helps" if better else "does not help"
    instead = _settings_text(other, turned)
    sentence = f"Here {_settings_text(run, turned)} {verdict}: it {ours}; with {instead} it {theirs}."
    return Finding("with and without", sentence, values, "measured", about=run.about)


def _is_settled(run: Run, here: float, other: Run, there: float) -> bool:
    """Tell whether runs of unlike length can be compared: the shorter one would come to the same if it went on.

    Having arrived in half of its steps it stayed as long again; not having arrived, or diverged, it counts only against
    one that had arrived by then.
    """
    short, arrived, otherwise = (run, here, there) if run.taken < other.taken else (other, there, here)
    if short.diverged:
        return True
    if np.isnan(arrived):
        return bool(otherwise <= short.taken)
    return bool(2 * arrived <= short.taken)


def _arrival(run: Run) -> tuple[str, float] | None:
    if run.climbs or run.refused or run.minimum is None:
        return None
    outcome, step = run.arrival
    if outcome == "arrived":
        return f"arrives {at_or_by(run.steps[np.isfinite(run.losses)], step)} step {steps(step)}", step
    return "diverges" if outcome == "diverged" else f"is not there after {so_many(run.taken)}", np.nan


def _comparable(run: Run, other: Run) -> bool:
    """Tell whether both went from the same start down the same loss."""
    same = run.labels == other.labels and run.setting("optimizer") == other.setting("optimizer")
    drawn = all("batch_size" in _code_of(each) or each.setting("noise", 0.0) for each in (run, other))
    same = same and _made_of(run, seed=drawn) == _made_of(other, seed=drawn)
    same = same and np.array_equal(run.positions[0], other.positions[0]) and run.losses[0] == other.losses[0]
    named = all(run.setting(n) == other.setting(n) for n in ("criterion", "problem", "start"))
    return bool(same and named and run.minimum == other.minimum)


def _code_of(run: Run) -> Mapping[str, Any]:
    told = run.fact("position", "code")
    return told if isinstance(told, Mapping) else {}


def _made_of(run: Run, *, seed: bool) -> list[Any]:
    """Return what makes a run besides the settings that are compared: other settings, schedule, groups, batches."""
    compared = {*SETTINGS, *LOOP_SETTINGS, "run", *(() if seed else ("seed",))}
    others = {str(n): run.setting(str(n)) for n, each in run.data.coords.items() if not each.ndim and n not in compared}
    settings = run.fact("position", "settings")
    told = settings if isinstance(settings, Mapping) else {}
    code = {name: _code_of(run).get(name) for name in ("scheduler", "groups", "batch_size", "create_graph")}
    return [{n: v for n, v in others.items() if v is not None}, {n: told.get(n) for n in SEVERAL}, code]


def _setting(run: Run, name: str) -> Any:
    return run.setting(name, LOOP_SETTINGS.get(name))


def _settings_text(run: Run, turned: list[str]) -> str:
    values = {name: _setting(run, name) for name in turned}
    return names([_text_of(name, each) for name, each in values.items()])


def _text_of(name: str, value: Any) -> str:
    if name in LOOP_SETTINGS and value == LOOP_SETTINGS[name]:
        return f"no {name.replace('_', ' ')}"
    return f"{name.replace('_', ' ')} {value if isinstance(value, bool) else setting(float(value))}"


FINDINGS: tuple[Callable[[Run], Finding | None], ...] = (
    refusal,
    late,
    unmoved,
    still,
    backwards,
    diverged,
    beyond,
    climb,
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
    """Leave out what a run on a plane, or one whose first steps are not there, does not tell."""
    asked = [each for each in findings if run.begins or each in WITHOUT_START]
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
    remarks = []
    if "loss" not in runs and "batch_loss" in runs:
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
    for run in runs_of(runs):
        asked = (refusal,) if run.refused or not run.taken else _askable(run, FINDINGS)
        told = [finding(run) for finding in asked]
        compared = [with_and_without(run, other) for other in others if run.begins and other.begins]
        found += [replace(each, about=run.about) for each in (*told, *compared) if each is not None]
    return Findings([*found, *held(runs), *read_off(runs)])
