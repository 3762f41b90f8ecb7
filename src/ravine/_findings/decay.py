"""Weight decay against the data, and slopes that stay bounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ravine._findings.finding import Finding, When
from ravine._findings.run import LARGE, Run
from ravine._format import at_most, number, percent, place, steps, times, told_apart
from ravine._study.contract import plane_of
from ravine._study.optimizer import is_coupled, is_namesake, name_of

HARDLY = 0.01
"""Share of its distance from the origin by which a goal that hardly moved has moved."""

NOTHING = 1e-12
"""Share of the start's size below which a coordinate of a minimum is the origin's."""

TELLING = 1000.0
"""Roundings of what a gradient is summed up from, within which it is none."""

STRAIGHT = 1.5
"""Largest slope over the smallest, along which it counts as one slope."""


def gradients(run: Run) -> NDArray[np.float64] | None:
    """Return the loss's gradient at each place but the last: as recorded, or read off SGD's steps backwards."""
    if "gradient" in run.data:
        return np.asarray(run.study["gradient"].transpose("step", "parameter").values[:-1], dtype=np.float64)
    if run.rule is None or run.taken < 1 or not run.lr > 0 or not run.gapless:
        return None
    if run.conditions.moved or run.positions.size > LARGE:
        return None
    mu, kept, wd = run.rule["momentum"], 1 - run.rule["dampening"], run.rule["weight_decay"]
    if mu and kept <= 0:
        return None
    ahead = bool(run.rule["nesterov"])
    lr = np.full(run.taken, run.lr) if run.scheduled is None else run.scheduled[:-1]
    if not (lr > 0).all():
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        moved = -np.diff(run.positions, axis=0) / lr[:, None]
        found, velocity = np.empty_like(moved), np.zeros(moved.shape[1])
        for k, d in enumerate(moved):
            share = kept if k else 1.0
            if ahead and mu:
                found[k] = (d - mu**2 * velocity) / (1 + mu * share)
            else:
                found[k] = (d - mu * velocity) / (share if mu else 1)
            velocity = mu * velocity + share * found[k]
        found -= wd * run.positions[:-1]
        noise = 8 * run.eps * abs(run.positions[:-1]).max() / (lr.min() * (kept if mu else 1))
    return found if noise < 0.003 * np.linalg.norm(found, axis=1).max() else None


def goal(run: Run) -> Finding | None:
    """Say where weight decay moves the goal."""
    spot = run.landmark("minimizer")
    if not run.decay or spot is None or run.minimum is None or run.lost or run.moves("weight_decay"):
        return None
    size = max(float(np.abs(run.positions[0]).max()), 1e-30)
    spot = np.where(np.abs(spot) > NOTHING * size, spot, 0.0)
    if not (run.decays * spot).any():  # it does not pull there: the goal is where the loss itself has a minimum
        return None
    loss = run.minimum - run.penalty(spot)
    values: dict[str, float | str | bool] = {"data_loss": loss}
    if np.ptp(run.decays):
        values |= {f"weight_decay {label}": float(each) for label, each in zip(run.labels, run.decays, strict=True)}
    else:
        values["weight_decay"] = run.decay
    values |= {f"goal {label}": float(each) for label, each in zip(run.labels, spot, strict=True)}
    hardly, there = "", f"it is {place(run.labels, spot)}, where the data loss is {number(loss)}"
    own, lowest = run.landmark("data_minimizer"), run.landmark("data_minimum_loss")
    if own is not None and lowest is not None:
        moved = float(np.linalg.norm(own - spot))
        if moved <= 1e-6 * max(float(np.linalg.norm(own)), NOTHING * size):
            return None
        values |= {"data_minimum_loss": float(lowest), "moved": moved}
        hardly = "hardly " * (moved < HARDLY * float(np.linalg.norm(own)))
        there += f", not the data's own minimum {place(run.labels, own)} with {number(float(lowest))}"
    sentence = f"Weight decay {hardly}moves the goal: {there}"
    biases = [k for k, label in enumerate(run.labels) if label.split(".")[-1].startswith("bias")]
    if biases and (run.decays[biases] != 0).any():
        sentence += "; the bias is decayed too"
    elif biases:
        sentence += "; the bias is not decayed"
    certain = run.exact or str(run.fact("minimizer", "scope")).startswith("exact")
    if not certain:
        sentence = f"Locally, as far as a search from nearby shows: {sentence[0].lower()}{sentence[1:]}"
    return Finding("goal", sentence + ".", values, "exact" if certain else "local", source="loss + wd/2 |parameters|²")


def apart(run: Run) -> Finding | None:
    """Say that weight decay is no part of what is minimised."""
    name, decay, paths = run.setting("optimizer"), run.setting("weight_decay", 0.0), run.conditions.optimizers
    apart = [is_coupled(path, decoupled=bool(run.setting("decoupled_weight_decay", False))) is False for path in paths]
    if run.refused or not decay or not all(apart):
        return None
    sentence = f"{name} shrinks the parameters apart from the gradient (decoupled weight decay): "
    sentence += "it is not counted with the loss" if run.minimum is None else "the gap is that of the loss alone"
    values: dict[str, float | str | bool] = {"weight_decay": decay}
    spot = run.landmark("minimizer")
    if spot is not None:
        values["pull"] = pull = float(decay * np.linalg.norm(spot))
        if pull > NOTHING * decay * float(np.abs(run.positions[0]).max()):
            sentence += ", and its minimum is no place of rest"
    sentence += "."
    return Finding("decoupled", sentence, values, "exact", source="Loshchilov and Hutter 2019")


def other_rule(run: Run) -> Finding | None:
    """Say that an optimizer that is called as one of torch's is another."""
    namesakes = [path for path in run.conditions.optimizers if is_namesake(path)]
    if run.refused or not namesakes:
        return None
    name = run.setting("optimizer")
    sentence = f"{name_of(namesakes[0])} is not torch.optim.{name}: nothing is said here from the rule of that"
    values: dict[str, float | str | bool] = {"optimizer": name_of(namesakes[0])}
    if decay := run.setting("weight_decay", 0.0):
        values["weight_decay"] = decay
        sentence += ", and whether its weight decay is minimised with the loss is not known"
    return Finding("other rule", sentence + ".", values, "measured")


def pull(run: Run) -> Finding | None:
    """Set decay's pull against the data's, at the start."""
    if plane_of(run.study) is not None:  # coordinates in a plane are no parameters
        return None
    slopes = gradients(run) if run.decay and not run.lost and not run.moves("weight_decay") else None
    if slopes is None or not len(slopes) or run.batched or run.conditions.treated:
        return None
    decay = float(np.linalg.norm(run.decays * run.positions[0]))
    data = float(np.linalg.norm(slopes[0]))
    if not (np.isfinite(data) and decay > 0):
        return None
    hessian = run.landmark("hessian")
    steep = 0.0 if hessian is None else float(np.abs(hessian).max()) * float(np.linalg.norm(run.positions[0]))
    if data <= TELLING * run.eps * (decay + steep):  # a ratio to rounding is none
        sentence = "At the start decay alone pulls: the data's own pull is zero there, within rounding."
        return Finding("pull", sentence, {"decay_pull": decay}, "measured", "at the start")
    ratio = decay / data
    values = {"decay_pull": decay, "data_pull": data, "ratio": ratio, "share": decay / (decay + data)}
    harder = f"decay pulls {times(ratio)} as hard as the data"
    if ratio < 1:
        harder = f"the data pull {times(1 / ratio)} as hard as decay"
    if 0.8 < ratio < 1.25:
        harder = "decay and the data pull about equally hard"
    sentence = f"At the start {harder} ({percent(values['share'])} of the pull is decay)"
    ended = _off_the_points(run, values) if ratio >= 0.8 else ""
    when: When = "throughout" if ended else "at the start"
    return Finding("pull", f"{sentence}{ended}.", values, "measured", when)


def _off_the_points(run: Run, values: dict[str, float]) -> str:
    if not {"targets", "prediction"} <= set(run.data.data_vars):
        return ""
    fitted, targets = run.data["prediction"].values, run.data["targets"].values
    if fitted.shape != targets.shape:
        return ""
    for side, all_off in (("below", (fitted < targets).all()), ("above", (fitted > targets).all())):
        if all_off:
            values["points"] = float(targets.size)
            return f"; what is fitted ends {side} all {targets.size} points"
    return ""


def better_before(run: Run) -> Finding | None:
    """Say that the data loss was better on the way than where decay pulled it."""
    if not run.decay or run.taken < 2 or not np.isfinite(run.losses[-1]) or run.diverged or run.batched:
        return None
    if run.minimum is not None and run.arrival[0] != "arrived":
        return None  # it may be on its way, or on a swing
    best = int(np.nanargmin(run.losses))
    now, lowest, goals = run.losses[-1], run.losses[best], run.minimised
    risen = now - lowest > 0.01 * abs(run.losses[0] - lowest) + 1e-3 * abs(lowest)
    if best == len(run.losses) - 1 or not risen or not goals[-1] < goals[best]:
        return None
    spot = run.landmark("minimizer")
    if spot is not None and run.minimum is not None:
        pulled_to = run.minimum - run.penalty(spot)
        if not lowest < pulled_to or now - pulled_to > 0.5 * (pulled_to - lowest):
            return None  # that is a swing beyond the goal
    texts = told_apart(float(lowest), float(now))
    if texts is None:
        return None
    step = int(run.steps[best])
    then = f"{texts[0]} at step {steps(step)}, now {texts[1]}"
    sentence = f"The data loss was better on the way ({then}): decay pulled it back."
    values = {"best": float(lowest), "step": float(step), "last": float(now)}
    return Finding("better before", sentence, values, "measured", "at the end")


def bounded(run: Run) -> Finding | None:
    """Say that far away the slope is one slope, so that a step has a longest length."""
    if not run.steady or run.exact or run.taken < 4 or run.minimum is None or run.decay or not run.lr > 0:
        return None
    if not run.gapless:
        return None
    slopes = gradients(run)
    if slopes is None or not np.isfinite(slopes).all() or run.diverged:
        return None
    gaps = run.gaps
    near = np.flatnonzero(gaps < gaps[0] / 4)
    far = int(near[0]) if len(near) else run.taken
    lengths = np.linalg.norm(slopes, axis=1)
    # a bowl's slope halves while its gap falls to a quarter
    told = far >= 4 and len(near) and lengths[:far].max() < STRAIGHT * lengths[:far].min()
    if not told:
        return None
    steepest = float(lengths.max())
    assert run.rule is not None
    values = {"slope": steepest, "lr": run.lr}
    sentence = f"On its way the slope never exceeds {at_most(steepest, 2)}"
    if run.rule["momentum"]:
        values["longest_step"] = longest = float(run.updates.max())
        sentence += f", and its longest step was {number(longest, 2)}"
    else:
        values["longest_step"] = longest = run.lr * steepest
        sentence += f", so it walks at most {at_most(longest, 2)} a step"
    return Finding("bounded slope", sentence + ".", values, "measured")
