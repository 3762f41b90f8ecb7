"""Learning rates that a schedule moves: below 0, no number, or over the limit of their moment."""

from __future__ import annotations

import numpy as np

from ravine import theory
from ravine._findings.finding import Finding
from ravine._findings.run import MOVED, Run
from ravine._findings.stability import SOURCE
from ravine._format import at_least, at_most, names, number, so_many, steps, told_apart


def backwards(run: Run) -> Finding | None:
    """Say that a schedule makes the lr negative, so that steps go uphill, or no number."""
    if run.scheduled is None:
        return None
    rates, uphill = run.scheduled[:-1], "goes against what the optimizer makes of the gradient"
    if run.sgd is not None:
        uphill = "goes down" if run.climbs else "climbs"
    below, broken = np.flatnonzero(rates < 0), np.flatnonzero(~np.isfinite(rates))
    if not len(below) and not len(broken):
        return None
    values: dict[str, float | str | bool] = {}
    if len(below) and (not len(broken) or below[0] < broken[0]):
        first, lowest = int(run.steps[below[0]]), float(rates[below].min())
        values |= {
            "step": float(first),
            "lowest_lr": lowest,
            "steps_below": float(len(below)),
            "steps": float(len(rates)),
        }
        sentence = (
            f"The schedule makes the lr negative from step {steps(first)} on, down to {number(lowest)}"
            if len(below) == len(rates) - below[0]
            else f"The schedule makes the lr negative at {steps(len(below))} of {so_many(len(rates))}, the first being "
            f"step {steps(first)}, down to {number(lowest)}"
        )
        return Finding("negative lr", f"{sentence}: a step with an lr below 0 {uphill}.", values, "exact")
    first = int(run.steps[broken[0]])
    values |= {"step": float(first), "lr": float(rates[broken[0]])}
    sentence = (
        f"The schedule makes the lr {rates[broken[0]]} at step {steps(first)}: from there on nothing is a number."
    )
    if not np.isnan(rates[broken[0]]):
        sentence = f"The schedule makes the lr {rates[broken[0]]} at step {steps(first)}."
    return Finding("negative lr", sentence, values, "measured")


def over_schedule(run: Run) -> Finding | None:
    """Set the learning rates of a schedule against the limit of each moment, with the settings of that moment."""
    if run.modes is None or run.scheduled is None or run.rule is None or not run.gapless:
        return None
    rates = run.scheduled[:-1]
    moved = [name for name in ("momentum", "dampening") if run.moves(name)]
    if not len(rates) or not np.isfinite(rates).all() or run.moves("weight_decay"):
        return None
    if any(MOVED + name not in run.data for name in moved):
        return None  # the study does not say how
    settings = {**run.rule, **{name: run.setting_at(name)[:-1, None] for name in moved}}
    if any(not (np.asarray(each) >= 0).all() for each in settings.values()):
        return None
    curvatures = np.broadcast_to(run.modes.curvatures - run.decay, (len(rates), len(run.modes.curvatures)))
    limits = np.broadcast_to(
        theory.stability_limit(curvatures, **{k: np.squeeze(v, -1) if np.ndim(v) else v for k, v in settings.items()}),
        rates.shape,
    )
    low, high = float(rates.min()), float(rates.max())
    over = np.flatnonzero(rates >= limits)
    values = {"limit": float(limits.min()), "lowest_lr": low, "highest_lr": high, "steps_over": float(len(over))}
    values["steps"] = float(len(rates))
    if np.ptp(limits):
        values["highest_limit"] = float(limits.max())
        bounds = f"the limit moves with {names(moved)} between {at_least(limits.min())} and {at_most(limits.max())}"
        highest = number(high)
    else:
        highest, limit = told_apart(high, float(limits[0])) or (number(high), number(limits[0]))
        bounds = f"the limit is {limit} at each moment"
    lowest, _ = told_apart(low, high) or ("", "")
    lies = f"lies between {lowest} and {highest}" if lowest not in ("", highest) else f"is {highest}"
    said = f"{bounds}, and the lr of the schedule {lies}"
    if len(over):
        values["first_over"] = float(over[0])
        said += f": over it at {steps(len(over))} of {so_many(len(rates))}, the first being step {steps(over[0])}"
    elif low >= 0:
        said += ", below it throughout"
    return Finding("margin", f"Locally, from the curvature at the minimum, {said}.", values, "local", source=SOURCE)
