"""How far the learning rate is from where a run diverges, and why one beyond it cannot settle."""

from __future__ import annotations

import numpy as np

from ravine import theory
from ravine._findings.arrival import hops
from ravine._findings.finding import Finding, When
from ravine._findings.run import EDGE, Run
from ravine._format import at_least, between, number, percent, setting, times, told_apart

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
            f"{where}: the limit along its direction is {texts[1]}, and lr {texts[0]} is {over}. As long as the "
            "curvature stays, an error along it grows."
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
        if others or run.conditions.pending:
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
