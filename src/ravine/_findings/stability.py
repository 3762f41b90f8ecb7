"""How far the learning rate is from where a run diverges, and what became of one beyond it."""

from __future__ import annotations

import numpy as np

from ravine import measure, theory
from ravine._findings.arrival import hops
from ravine._findings.finding import Finding, When
from ravine._findings.run import EDGE, MOVED, Run
from ravine._format import (
    at_least,
    at_most,
    between,
    names,
    number,
    percent,
    setting,
    so_many,
    steps,
    times,
    told_apart,
)
from ravine._study.optimizer import SGD
from ravine._study.rule import SETTINGS
from ravine.measure._arrival import FEWEST

GREW = 1.0
"""Growth, in sizes of the loss at the start, from which a few steps that only grew are worth a sentence."""

COHEN = "Cohen et al., ICLR 2021"


def here(run: Run) -> Finding | None:
    """Set the learning rate against the limit of the largest curvature that was looked at last.

    Nothing is known of the other directions: where one of them curves down, as in networks it nearly always does, no
    learning rate settles.
    """
    looked = _places_seen(run)
    if looked is None:
        return None
    steps, values = looked
    step, curvature = int(steps[-1]), float(values[-1])
    if curvature + run.decay <= 0 or not run.lr > 0:
        return None
    assert run.rule is not None
    limit = float(theory.stability_limit([curvature], **run.rule))
    if not 0 < limit < np.inf:
        return None
    share = run.lr / limit
    where = f"Locally, the largest curvature at step {step} is {number(curvature)}"
    texts = told_apart(run.lr, limit)
    if texts is None:
        sentence = f"{where}: lr {setting(run.lr)} is at the limit of that direction."
    elif share < 1:
        sentence = (
            f"{where}: the limit along its direction alone is {texts[1]}, and lr {texts[0]} is at {percent(share)} of "
            "that. Of the other directions this says nothing."
        )
    else:
        over = f"{times(share)} that" if share >= 1.05 else "just over that"
        sentence = (
            f"{where}: the limit along its direction is {texts[1]}, and lr {texts[0]} is {over}: it swings ever wider "
            "there."
        )
    when: When = "at the end" if step == run.taken else "at the start" if step == 0 else "throughout"
    found = {"step": float(step), "curvature": curvature, "limit": limit, "lr": run.lr, "share": share}
    return Finding("sharpness", sentence, found, "local", when, COHEN)


def sharpened(run: Run) -> Finding | None:
    """Say that the curvature rose or fell by more than a tenth between the places that were looked at."""
    looked = _places_seen(run)
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


def _places_seen(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the steps that were looked at, and the curvatures there, where theory speaks of the run."""
    if not run.steady or "sharpness" not in run.data:
        return None
    values = np.asarray(run.study["sharpness"].values, dtype=np.float64)
    looked = np.flatnonzero(np.isfinite(values))
    return (run.steps[looked], values[looked]) if len(looked) else None


SOURCE = "Goh 2017 (heavy ball); Cohen et al. 2021 (Nesterov)"


def margin(run: Run) -> Finding | None:
    """Say how far the learning rate is below its limit."""
    if run.modes is None or not run.steady or not run.lr > 0:
        return None
    limit = run.limit()
    if not 0 < run.lr < limit * (1 - EDGE):
        return None
    share, texts = run.lr / limit, told_apart(run.lr, limit)
    values = {"limit": limit, "lr": run.lr, "share": share}
    others = _other_limit(run, values)
    if texts is None or share > 1 - 1e-5:
        sentence = f"lr {setting(run.lr)} is just below its limit{others or ': beyond it this diverges'}."
        if not run.everywhere:
            sentence = f"{run.locally}lr {setting(run.lr)} is just below its limit{others}."
    elif not run.everywhere:
        said = f"the limit of the learning rate is {texts[1]}: lr {texts[0]} is at {percent(share)} of it"
        sentence = (
            f"{run.locally}{said}{others}. Beyond it a run does not settle there{', rounding aside' * bool(others)}."
        )
        if others:
            sentence = f"{run.locally}{said}{others}."
    elif others:
        sentence = f"The limit of the learning rate is {texts[1]}, and lr {texts[0]} at {percent(share)} of it{others}."
    elif share < 0.9:
        higher = f"The learning rate could be {at_least(1 / share)} times as high before this diverges"
        sentence = f"{higher} (limit {number(limit)})."
    else:
        near = told_apart(run.lr, limit, 4) or texts
        sentence = f"lr {near[0]} is at {percent(share)} of its limit, {near[1]}: beyond it this diverges."
    return Finding("margin", sentence, values, run.scope, source=SOURCE)


def _other_limit(run: Run, values: dict[str, float]) -> str:
    """Say what the limit is for a start that has no error along some directions; nothing where it is the same."""
    assert run.modes is not None
    if not run.begins or run.modes.awake.all() or not run.modes.awake.any():
        return ""
    own = run.limit(awake=True)
    if not own > run.limit() * (1 + EDGE):
        return ""
    values["limit_of_start"] = own
    return (
        f"; it is that of {_asleep(run)}, along which this start has no error: "
        f"but for rounding this run would not diverge up to lr {at_least(own)}"
    )


def _asleep(run: Run) -> str:
    """Name the steepest direction along which the start has no error."""
    assert run.modes is not None
    mode = int(np.flatnonzero(~run.modes.awake)[-1])
    return run.modes.along(mode) or "a direction"


def beyond(run: Run) -> Finding | None:
    """Say that the learning rate is at or over its limit, and which knob put it there."""
    if run.modes is None or not run.steady or not run.lr > 0:
        return None
    limit, rates = run.limit(), run.rates()
    if run.lr < limit * (1 - EDGE):
        return None
    met = np.where(run.modes.awake, rates, 0.0)
    asleep = run.exact and met.max() < 1 - EDGE
    worst = int(np.argmax(met if run.exact and not asleep else rates))
    values = {"limit": limit, "lr": run.lr, "rate": float(rates[worst])}
    over = _over(run, limit)
    if rates[worst] < 1 - EDGE:  # a window of convergence above momentum 1
        return None
    if run.rests:
        said = f"{run.locally}{over}: it stays at the minimum only as long as nothing pushes it."
        return Finding("beyond the limit", said, values, run.scope, source=SOURCE)
    if asleep and not run.diverged:  # this start does not meet it
        return _spared(run, over, values, worst) if limit > 0 else None
    if run.everywhere:
        over = over.replace("with", "With", 1) if over.startswith("with") else over
        sentence = f"{over}: the error {_grows(run, worst, float(rates[worst]))}."
    elif run.minimum is not None and run.arrival[0] == "arrived":  # it came near, and has not yet left
        sentence = f"{run.locally}{over}: so far it stays near that minimum, where an error {_grows_there(run, worst)}."
    else:
        sentence = f"{run.locally}{over}: it cannot settle at that minimum.{_cycle(run, values)}"
    return Finding("beyond the limit", sentence + _cause(run, values), values, run.scope, source=SOURCE)


def _grows_there(run: Run, mode: int) -> str:
    assert run.modes is not None
    direction = run.modes.along(mode)
    return f"along {direction} grows" if direction else "grows"


def _spared(run: Run, over: str, values: dict[str, float], worst: int) -> Finding | None:
    """Say that a run is over a limit it does not feel, because of where it started."""
    assert run.modes is not None
    where = run.modes.along(worst) or "a direction"
    fate = "grow" if values["rate"] > 1 + EDGE else "not die"
    values["limit_of_start"] = own = run.limit(awake=True)
    sentence = (
        f"{run.locally}{over}, yet it comes near: it starts without an error along {where}, the one that would {fate}; "
        f"but for rounding this run would not diverge up to lr {at_least(own)}."
    )
    return Finding("beyond the limit", sentence, values, run.scope, source=SOURCE)


def _over(run: Run, limit: float) -> str:
    assert run.rule is not None
    if not limit > 0:
        damped = f" and dampening {setting(run.rule['dampening'])}" * bool(run.rule["dampening"])
        return f"with momentum {setting(run.rule['momentum'])}{damped} no learning rate converges, however small"
    if run.lr <= limit * (1 + EDGE):
        return f"lr {number(run.lr, 5)} is at its limit"
    texts = told_apart(run.lr, limit, 5 if run.lr < 1.1 * limit else 3)
    if texts is None:
        return f"lr {number(run.lr, 5)} is just over its limit"
    if run.lr < 1.1 * limit:
        return f"lr {texts[0]} is over its limit, {texts[1]}"
    return f"lr {texts[0]} is {times(run.lr / limit)} its limit, {texts[1]}"


def _grows(run: Run, mode: int, rate: float) -> str:
    assert run.modes is not None
    direction = run.modes.along(mode)
    where = f"along {direction} " * bool(direction)
    if rate <= 1 + EDGE:
        all_of_it = (run.rates()[run.modes.awake] >= 1 - EDGE).all()
        return f"{'' if all_of_it else where}neither dies nor grows in the long run"
    growth = percent(rate - 1) if rate < 1.5 else f"{number(rate)}-fold"
    return f"{where}grows {growth} a step, so it diverges"


def _cycle(run: Run, values: dict[str, float]) -> str:
    if run.diverged or not hops(run):
        return ""
    quarter = run.losses[3 * len(run.losses) // 4 :]
    values["low"], values["high"] = float(np.nanmin(quarter)), float(np.nanmax(quarter))
    told = between(values["low"], values["high"])
    return f" It does not blow up either: at the end it cycles, with a loss {told}."


def _cause(run: Run, values: dict[str, float]) -> str:
    """Name the knob without which this lr would be below its limit."""
    assert run.rule is not None
    assert run.modes is not None
    tried: list[tuple[str, str, float]] = []
    if run.rule["nesterov"] and run.rule["momentum"]:
        tried.append(("limit_without_nesterov", "Without nesterov", run.limit(nesterov=False)))
    if run.rule["momentum"] and run.rule["dampening"]:
        tried.append(("limit_without_dampening", "Without dampening", run.limit(dampening=0.0)))
    if run.rule["momentum"]:
        alone = run.limit(momentum=0.0, dampening=0.0, nesterov=False)
        tried.append(("limit_without_momentum", "Without momentum", alone))
    if (
        run.everywhere and run.rule["weight_decay"] and (run.modes.curvatures - run.decay > 0).all()
    ):  # else it curves anew
        tried.append(("limit_without_decay", "Without weight decay", run.limit(weight_decay=0.0)))
    for key, words, limit in tried:
        if run.lr < limit * (1 - EDGE):
            values[key] = limit
            return f" {words} the limit would be {number(limit)}, and this lr below it."
    return ""


def diverged(run: Run) -> Finding | None:
    """Say that it diverged, or grew in a few steps, and how far it came."""
    if run.climbs or run.taken < 1:
        return None
    if not run.diverged:
        return _grew(run)
    start, broken = run.losses[0], float(measure.first_nonfinite(run.study))
    values: dict[str, float | str | bool] = {"start_loss": start, "first_nonfinite": broken}
    if np.isfinite(broken):
        loss = run.study["loss"].sel(step=int(broken)).item() if "step" in run.study.coords else run.losses[int(broken)]
        sentence = f"It diverged: the loss is {loss} at step {steps(broken)}, after {number(start)} at the start."
        odd = {n: run.data[n].item() for n in SETTINGS if n in run.data.coords and not run.data[n].ndim}
        odd = {n: value for n, value in odd.items() if not np.isfinite(value)}
        if odd and run.conditions.optimizers == (SGD,):
            values |= odd
            sentence = f"{sentence[:-1]}: {names([f'{n} is {value}' for n, value in odd.items()])}."
    else:
        last, whole = run.losses[-1], run.minimised
        values |= {"last_loss": float(last)}
        sentence = f"It diverged: the loss went from {number(start)} to {number(last)} in {so_many(run.taken)}."
        if not _has_risen(start, last):  # weight decay's part of what is minimised grew, or all of it swings
            values |= {"start": float(whole[0]), "last": float(whole[-1])}
            what = "what is minimised, weight decay included," if run.decay else "the loss"
            came = f"to {number(whole[-1])} in {so_many(run.taken)}"
            if not _has_risen(whole[0], whole[-1]):
                peak = int(whole.argmax())
                values |= {"largest": float(whole[peak]), "step": float(run.steps[peak])}
                came = (
                    f"to {number(whole[peak])} at step {steps(run.steps[peak])}, and to {number(whole[-1])} at the end"
                )
            alone = f"; the loss alone from {number(start)} to {number(last)}" if run.decay else ""
            sentence = f"It diverged: {what} went from {number(whole[0])} {came}{alone}."
    return Finding("diverged", sentence, values, "measured")


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
    said = f"{bounds}, and the lr of the schedule lies between {number(low)} and {highest}"
    if len(over):
        values["first_over"] = float(over[0])
        said += f": over it at {steps(len(over))} of {so_many(len(rates))}, the first being step {steps(over[0])}"
    elif low >= 0:
        said += ", below it throughout"
    return Finding("margin", f"Locally, from the curvature at the minimum, {said}.", values, "local", source=SOURCE)


def no_curvature(run: Run) -> Finding | None:
    """Say that the curvature is not known, and which call looks for it; or that it was looked for in vain, and why."""
    if run.rule is None or run.kinked or run.landmark("hessian") is not None:
        return None
    if "sharpness" in run.data and bool(np.isfinite(run.data["sharpness"]).any()):
        return None
    values: dict[str, float | str | bool] = {"parameters": float(len(run.labels))}
    if "hessian" in run.data:
        scope = str(run.fact("hessian", "scope") or "")
        why = scope.removeprefix("none found: ") if scope.startswith("none found: ") else ""
        sentence = f"Nothing is said here of limits and rates: no minimum was found nearby{f' ({why})' * bool(why)}."
        if why.startswith("there is none"):
            sentence = f"Nothing is said here of limits and rates, for there is no minimum: {why.partition(': ')[2]}."
        values |= {"reason": why} if why else {}
        return Finding("no curvature", sentence, values, "measured")
    decay = f", weight_decay={run.decay:g}" * bool(run.decay)
    call = f"run.assign(ravine.landmarks(problem{decay}, near=…)) looks for a minimum"
    if len(run.labels) > 16:
        call = "run.assign(sharpness=ravine.sharpness(problem, run)) gives the largest"
    sentence = f"Nothing is said here of limits and rates: the curvature is not known. {call}."
    return Finding("no curvature", sentence, values, "measured")
