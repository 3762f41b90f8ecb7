"""What became of a run whose loss grew without end, only grew, or was no number on the way."""

from __future__ import annotations

import numpy as np

from ravine import measure
from ravine._findings.finding import Finding
from ravine._findings.run import EDGE, Run
from ravine._format import names, number, so_many, steps
from ravine._study.optimizer import SGD
from ravine._study.rule import SETTINGS
from ravine.measure._arrival import broken_for_good
from ravine.measure._growth import FEWEST

GREW = 1.0
"""Growth, in sizes of the loss at the start, from which a few steps that only grew are worth a sentence."""


def diverged(run: Run) -> Finding | None:
    """Say that it diverged, or grew in a few steps, and how far it came."""
    if run.climbs or run.taken < 1:
        return None
    if not run.diverged:
        return _grew(run)
    start, broken = run.losses[0], float(broken_for_good(run.study).values)
    values: dict[str, float | str | bool] = {"start_loss": start, "first_nonfinite": broken}
    if np.isfinite(broken):
        loss = run.study["loss"].sel(step=int(broken)).item() if "step" in run.study.coords else run.losses[int(broken)]
        sentence = f"It diverged: the loss is {loss} at step {steps(broken)}, after {number(start)} at the start."
        if broken == run.steps[0]:
            sentence = f"The loss is {loss} from the start."
        odd = {n: run.data[n].item() for n in SETTINGS if n in run.data.coords and not run.data[n].ndim}
        odd = {n: value for n, value in odd.items() if not np.isfinite(value)}
        if odd and run.conditions.optimizers == (SGD,):
            values |= odd
            sentence = f"{sentence[:-1]}: {names([f'{n} is {value}' for n, value in odd.items()])}."
    else:
        last, whole = run.losses[-1], run.minimised
        values |= {"last_loss": float(last)}
        came, head, tail = f"to {number(last)}", "It diverged", f" in {so_many(run.taken)}"
        if not _grows_forever(run):  # a loss may level off further out
            head, tail = f"It diverged, as far as {so_many(run.taken)} tell", ""
        sentence = f"{head}: the loss went from {number(start)} {came}{tail}."
        if not _has_risen(start, last):  # weight decay's part of what is minimised grew, or all of it swings
            values |= {"start": float(whole[0]), "last": float(whole[-1])}
            what = "what is minimised, weight decay included," if run.decay else "the loss"
            came = f"to {number(whole[-1])}{tail}"
            if not _has_risen(whole[0], whole[-1]):
                peak = int(whole.argmax())
                values |= {"largest": float(whole[peak]), "step": float(run.steps[peak])}
                came = (
                    f"to {number(whole[peak])} at step {steps(run.steps[peak])}, and to {number(whole[-1])} at the end"
                )
            alone = f"; the loss alone from {number(start)} to {number(last)}" if run.decay else ""
            sentence = f"{head}: {what} went from {number(whole[0])} {came}{alone}."
    return Finding("diverged", sentence, values, "measured")


def _grows_forever(run: Run) -> bool:
    """Tell whether the error grows wherever the run would go: it is known of a quadratic alone."""
    if run.modes is None or not run.everywhere:
        return False
    return bool(run.rates()[run.modes.awake].max(initial=0.0) > 1 + EDGE)


def came_back(run: Run) -> Finding | None:
    """Say that the loss was not finite on the way, as a logarithm is where a step overshoots, and is again."""
    if run.refused or run.taken < 1 or not np.isnan(float(broken_for_good(run.study).values)):
        return None
    looked = measure.evaluated(run.study).values
    broken = np.flatnonzero(looked & ~np.isfinite(run.losses))
    if not len(broken):
        return None
    first, last = (float(run.steps[broken[k]]) for k in (0, -1))
    kind = str(run.losses[broken[0]])
    values: dict[str, float | str | bool] = {"first": first, "last": last, "count": float(len(broken)), "loss": kind}
    back = float(run.steps[looked & (run.steps > last)][0])
    values["back"] = back
    sentence = f"The loss is {kind} at step {steps(first)}, and finite again from step {steps(back)} on."
    if len(broken) > 1:
        sentence = (
            f"The loss is not finite at {steps(len(broken))} steps, first at step {steps(first)} ({kind}), "
            f"and finite again from step {steps(back)} on."
        )
    return Finding("not finite", sentence, values, "measured")


def _has_risen(first: float, last: float) -> bool:
    return bool(last > first) and number(last) != number(first)


def _grew(run: Run) -> Finding | None:
    """Say of a run too short to be told diverged that its loss only grew."""
    seen = run.minimised[np.isfinite(run.losses)]
    if run.taken >= FEWEST or len(seen) < 2 or len(seen) < run.taken + 1:
        return None
    rises = np.diff(seen)
    if (rises <= 0).any() or not seen[-1] - seen[0] > GREW * abs(seen[0]):
        return None
    what = "loss with its weight decay" if run.decay else "loss"
    values: dict[str, float | str | bool] = {"start_loss": float(seen[0]), "last_loss": float(seen[-1])}
    sentence = f"The {what} only grew: from {number(seen[0])} to {number(seen[-1])} in {so_many(run.taken)}."
    return Finding("grew", sentence, values, "measured")
