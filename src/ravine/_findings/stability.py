"""How far the learning rate is from where a run diverges, and what became of one beyond it."""

from __future__ import annotations

import numpy as np

from ravine import measure, theory
from ravine._findings.arrival import hops
from ravine._findings.finding import Finding, When
from ravine._findings.run import EDGE, Run
from ravine._format import between, number, percent, so_many, steps, times

COHEN = "Cohen et al., ICLR 2021"


def here(run: Run) -> Finding | None:
    """Set the learning rate against the limit of the largest curvature that was looked at last."""
    looked = _places_seen(run)
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
    share = run.lr / limit
    if not run.exact:
        said = f"the limit of the learning rate is {number(limit)}: lr {number(run.lr)} is at {percent(share)} of it"
        sentence = f"{run.locally}{said}. Beyond it a run does not settle there."
    elif share < 0.9:
        digits = 2 if share < 0.5 else 3  # twice 0.5 is over 0.976
        raised = f"You could raise the learning rate about {number(1 / share, digits)} times before this diverges"
        sentence = f"{raised} (limit {number(limit)})."
    else:
        sentence = (
            f"lr {number(run.lr, 4)} is at {percent(share)} of its limit, {number(limit, 4)}: beyond it this diverges."
        )
    return Finding("margin", sentence, {"limit": limit, "lr": run.lr, "share": share}, run.scope, source=SOURCE)


def beyond(run: Run) -> Finding | None:
    """Say that the learning rate is at or over its limit, and which knob put it there."""
    if run.modes is None or not run.steady or not run.lr > 0:
        return None
    limit, rates = run.limit(), run.rates()
    if run.lr < limit * (1 - EDGE):
        return None
    worst = int(np.argmax(np.where(run.modes.awake, rates, 0.0) if run.exact else rates))
    values = {"limit": limit, "lr": run.lr, "rate": float(rates[worst])}
    over = _over(run, limit)
    if rates[worst] < 1 - EDGE:  # not met from this start, or a window of convergence above momentum 1
        return _spared(run, over, values) if run.exact and limit > 0 else None
    if run.rests:
        said = f"{run.locally}{over}: it stays at the minimum only as long as nothing pushes it."
        return Finding("beyond the limit", said, values, run.scope, source=SOURCE)
    if run.exact:
        over = over.replace("with", "With", 1) if over.startswith("with") else over
        sentence = f"{over}: the error {_grows(run, worst, float(rates[worst]))}."
    else:
        sentence = f"{run.locally}{over}: it cannot settle at that minimum.{_cycle(run, values)}"
    return Finding("beyond the limit", sentence + _cause(run, values), values, run.scope, source=SOURCE)


def _spared(run: Run, over: str, values: dict[str, float]) -> Finding | None:
    """Say that a run is over a limit it does not feel, because of where it started."""
    assert run.modes is not None
    worst = int(np.argmax(run.rates()))
    values["rate"] = float(run.rates()[worst])
    if run.modes.awake[worst] or values["rate"] < 1 - EDGE:
        return None
    where = run.modes.along(worst)
    fate = "grow" if values["rate"] > 1 + EDGE else "not die"
    sentence = f"{over}, yet it comes near: it starts without an error along {where}, the one that would {fate}."
    return Finding("beyond the limit", sentence, values, "exact", source=SOURCE)


def _over(run: Run, limit: float) -> str:
    assert run.rule is not None
    if not limit > 0:
        damped = f" and dampening {number(run.rule['dampening'])}" * bool(run.rule["dampening"])
        return f"with momentum {number(run.rule['momentum'])}{damped} no small learning rate converges"
    if run.lr <= limit * (1 + EDGE):
        return f"lr {number(run.lr, 5)} is at its limit"
    if run.lr < 1.1 * limit:
        return f"lr {number(run.lr, 5)} is over its limit, {number(limit, 5)}"
    return f"lr {number(run.lr)} is {times(run.lr / limit)} its limit, {number(limit)}"


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
    if run.exact and run.rule["weight_decay"] and (run.modes.curvatures - run.decay > 0).all():  # else it curves anew
        tried.append(("limit_without_decay", "Without weight decay", run.limit(weight_decay=0.0)))
    for key, words, limit in tried:
        if run.lr < limit * (1 - EDGE):
            values[key] = limit
            return f" {words} the limit would be {number(limit)}, and this lr below it."
    return ""


def diverged(run: Run) -> Finding | None:
    """Say that it diverged, and how far it came."""
    if run.climbs or run.taken < 1 or not run.diverged:
        return None
    start, broken = run.losses[0], float(measure.first_nonfinite(run.study))
    values: dict[str, float | str | bool] = {"start_loss": start, "first_nonfinite": broken}
    if np.isfinite(broken):
        loss = run.study["loss"].sel(step=int(broken)).item() if "step" in run.study.coords else run.losses[int(broken)]
        sentence = f"It diverged: the loss is {loss} at step {steps(broken)}, after {number(start)} at the start."
    else:
        last = run.losses[np.isfinite(run.losses)][-1]
        values |= {"last_loss": float(last)}
        sentence = f"It diverged: the loss went from {number(start)} to {number(last)} in {so_many(run.taken)}."
    return Finding("diverged", sentence, values, "measured")


def over_schedule(run: Run) -> Finding | None:
    """Set the learning rates of a schedule against the limit, which holds for each moment."""
    rates = run.scheduled
    if run.modes is None or rates is None or not run.gapless:
        return None
    limit = run.limit()
    low, high = float(rates[:-1].min()), float(rates[:-1].max())
    over = np.flatnonzero(rates[:-1] >= limit)
    said = f"the limit is {number(limit)} at each moment, and the schedule runs from lr {number(low)} to {number(high)}"
    if len(over):
        said += f": over it at {steps(len(over))} of {so_many(run.taken)}, the first being step {steps(over[0])}"
    else:
        said += ", below it throughout"
    values = {"limit": limit, "lowest_lr": low, "highest_lr": high, "steps_over": float(len(over))}
    return Finding("margin", f"Locally, from the curvature at the minimum, {said}.", values, "local", source=SOURCE)


def no_curvature(run: Run) -> Finding | None:
    """Say that the curvature is not known, and which call finds it."""
    if run.rule is None or run.kinked or run.landmark("hessian") is not None or "sharpness" in run.data:
        return None
    if "hessian" in run.data:
        sentence = "Nothing is said here of limits and rates: no minimum was found nearby."
        return Finding("no curvature", sentence, {"parameters": float(len(run.labels))}, "measured")
    decay = f", weight_decay={run.decay:g}" * bool(run.decay)
    call = f"run.assign(ravine.landmarks(problem{decay}, near=…))"
    if len(run.labels) > 16:
        call = "run.assign(sharpness=ravine.sharpness(problem, run))"
    sentence = f"Nothing is said here of limits and rates: the curvature is not known. {call} gives it."
    return Finding("no curvature", sentence, {"parameters": float(len(run.labels))}, "measured")
