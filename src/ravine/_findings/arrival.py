"""Whether a run arrived, when it would, and what keeps it from settling."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine import measure, theory
from ravine._findings.finding import Finding
from ravine._findings.flat import unmoved
from ravine._findings.run import EDGE, FAINT, Run
from ravine._format import at_most, between, number, percent, so_many, steps, times, told_apart
from ravine._study.contract import at_or_by
from ravine.measure._objective import NOISE
from ravine.measure._quadratic import ulps

HORIZON = 20_000
"""Steps up to which the recurrence is followed; beyond, its rate is drawn on."""

FEWEST = 16
"""Steps below which the end of a run is not told from its way."""

AS_MUCH = 0.97
"""Share of the updates in the quarter before that those of the last quarter must have to be as long."""

MEMORIES = 2.0
"""Spans of a velocity's memory, 1/(1 - momentum) steps, that a quarter of a run must hold to tell its end."""


def arrival(run: Run) -> Finding | None:
    """Say at which step it arrived, or how far it is from that, and when it would."""
    if run.climbs or run.refused or run.minimum is None or run.taken < 1:
        return None
    outcome, step = run.arrival
    gaps = run.gaps
    share = float(gaps[-1] / gaps[0]) if gaps[0] > 0 else np.nan
    values: dict[str, float | str | bool] = {"outcome": outcome, "step": step, "share": share}
    if outcome == "arrived" and step == 0:
        sentence = "It starts at the minimum, within rounding, and stays there."
        if not run.rests:
            sentence = (
                "The gap is within the rounding of the loss from the start: how near it comes, the loss does not tell."
            )
        return Finding("arrival", sentence, values, "measured")
    below = _below(run)
    if below is not None and outcome == "not arrived":
        values["below"] = below
        begins = "It starts" if gaps[0] == -below else "At the end it is"
        sentence = f"{begins} {number(below)} below the minimum that the study holds: that is not the lowest."
        return Finding("arrival", sentence, values, "measured")
    if outcome in ("diverged", "invalid") or not np.isfinite(share):
        return None
    later = arrives_at(run)
    going = run.modes is not None and run.everywhere and run.lost  # it came near, and does not stay
    if outcome == "arrived" and going:
        sentence = f"At step {steps(run.taken)}, the last that was taken, the gap is at {percent(share)} of its start."
        return Finding("arrival", sentence, values, "measured", "at the end")
    if outcome == "arrived" and not (later is not None and later > run.taken):
        sentence = f"It arrives at step {steps(step)}: from there on the gap stays within {_within(run, values)}."
        looked = run.steps[np.isfinite(gaps)]
        if at_or_by(looked, step) == "by":
            before = looked[looked < step][-1]
            sentence = (
                f"It arrives by step {steps(step)}, at some step after {steps(before)}: from there on the gap is "
                f"within {_within(run, values)} at each step that was looked at."
            )
        if unmoved(run) is not None:  # the first gap was so large that this says little
            sentence = (
                f"By the gap alone it is near at step {steps(step)}: from there on it is within 1 % of its start."
            )
        return Finding("arrival", sentence, values, "measured")
    if later is not None and later > run.taken:
        rounded = steps(later) if later <= HORIZON else number(later, 2)
        sentence = _expected(run, values, f"it would arrive at {'about ' * (later > HORIZON)}step {rounded}")
        return Finding("arrival", sentence, values, "exact", "at the end", "the recurrence of ravine.theory")
    left = percent(share)
    if share > measure.SHARE and left == percent(measure.SHARE):
        left = f"just over {left}"
    gap = f"the gap is at {left} of its start"
    if 1 < share < 1.05:
        gap = f"the gap is just over {left}" if left == "100 %" else f"the gap is at {left}"
        gap += " of its start"
    if share >= 1.05:
        gap = f"the gap is {times(share)} that at the start"
    sentence = f"After {so_many(run.taken)} it has not arrived: {gap}."
    return Finding("arrival", sentence, values, "measured", "at the end")


def _expected(run: Run, values: dict[str, float | str | bool], then: str) -> str:
    """Write when it would arrive, and at which rate; where the gap leaves a slower direction out, that it does."""
    found = _forecast(run)
    assert found is not None
    assert run.modes is not None
    (later, mode), rates = found, run.rates()
    slow = int(np.argmax(np.where(run.modes.awake, rates, -1.0)))
    values |= {"expected": later, "rate": float(rates[mode])}
    begins = run.locally or "Slow, not diverging: "
    shrinks, slower = percent(1 - rates[mode]), percent(1 - rates[slow])
    if shrinks == slower:
        return f"{begins}the error shrinks {shrinks} a step in the long run, and {then}."
    left = float(rates[slow] ** later)
    values |= {"slowest_rate": float(rates[slow]), "left": left}
    first, other = (run.modes.along(each) or "a direction" for each in (mode, slow))
    return (
        f"{begins}by the gap alone {then}, for along {first} the error shrinks {shrinks} a step; "
        f"along {other} it shrinks {slower} a step, and {percent(left)} of it will be left then."
    )


def _below(run: Run) -> float | None:
    """Return how far below the known minimum a run starts or ends, beyond all rounding; None where it does not."""
    assert run.minimum is not None
    gaps = run.gaps
    depth = max(measure.SHARE * gaps[0], NOISE * run.loss_eps * abs(run.minimum))
    lowest = gaps[0] if -gaps[0] > depth else gaps[-1]
    return -float(lowest) if -lowest > depth else None


def _within(run: Run, values: dict[str, float | str | bool]) -> str:
    """Write within what the gap stays: a share of its start, or, where that is less, the rounding of the loss."""
    assert run.minimum is not None
    first = run.minimised[0] - run.minimum
    rounding = 2 * float(np.finfo(run.data["loss"].dtype).eps) * abs(run.minimum)
    if rounding <= measure.SHARE * first:
        return "1 % of its start"
    values["rounding"] = rounding
    return f"the rounding of the loss, {at_most(rounding)}"


def arrives_at(run: Run, **changed: Any) -> float | None:
    """Return when a run on a quadratic arrives if it goes on; None where that is not known, or never.

    With other settings of momentum in `changed`, when it would have arrived by those.
    """
    found = _forecast(run, **changed)
    return None if found is None else found[0]


def _forecast(run: Run, **changed: Any) -> tuple[float, int] | None:
    """Return when a run on a quadratic arrives, and the mode that holds most of the gap until then."""
    if not run.boundless or run.modes is None or not run.lr > 0 or not run.modes.awake.any():
        return None
    modes, rates = run.modes, run.rates(**changed)
    slowest = float(rates[modes.awake].max())
    if not slowest < 1 - EDGE:
        return None
    steps_left = min(HORIZON, int(3 * np.log(0.05) / np.log(slowest)) + 200) if slowest > 0 else 8
    steps_left = max(steps_left, run.taken)
    assert run.rule is not None
    bare = {**run.rule, **changed, "weight_decay": 0.0}  # the modes' curvatures hold it
    begin = np.where(modes.awake, modes.start, 0.0)
    errors = theory.recurrence(modes.curvatures, run.lr, **bare, start=begin, steps=steps_left)
    each = modes.curvatures[:, None] * errors**2
    gaps = each.sum(0)
    limit = measure.SHARE * gaps[0]
    large = np.flatnonzero(gaps > limit)
    step = float(large[-1] + 1) if len(large) else 0.0
    if step > 0.8 * steps_left:  # the end is not in sight: from here on each mode by its own rate
        # what swings is as high as its last swing was, what does not as it is now
        turning = np.isfinite(run.periods(**changed)) & (run.periods(**changed) > 2)
        heights = np.where(turning, each[:, -max(steps_left // 10, 1) :].max(1), each[:, -1])
        later = _crossing(heights, rates, limit)
        step, held = steps_left + later, heights * rates ** (2 * later)
    else:
        held = each[:, max(int(step) - 1, 0)]
    # updates that are lost in the rounding of the places on the way, up to the goal, leave an error where it is
    place = run.landmark("minimizer")
    size = max(float(abs(some).max()) for some in (run.positions, place) if some is not None)
    with np.errstate(divide="ignore"):
        stuck = np.minimum(abs(begin), 8 * run.eps * size / (1 - rates))
    if float(modes.curvatures @ stuck**2) > limit:
        return None
    return float(step), int(held.argmax())


def _crossing(heights: NDArray[np.float64], rates: NDArray[np.float64], limit: float) -> float:
    """Return after how many steps the sum of modes that each shrink at their rate is at the limit, by bisection."""
    with np.errstate(divide="ignore"):
        speeds = 2 * np.log(rates)

    def left(count: float) -> float:
        return float((heights * np.exp(speeds * count)).sum())

    if left(0.0) <= limit:
        return 0.0
    below, above = 0.0, 1.0
    while left(above) > limit:
        below, above = above, 2 * above
    for _ in range(60):
        middle = (below + above) / 2
        below, above = (middle, above) if left(middle) > limit else (below, middle)
    return above


def hops(run: Run) -> bool:
    """Tell whether the end of a run goes to and fro, as much at last as before, and gets nowhere."""
    if not run.gapless:
        return False
    lengths = run.updates
    if len(lengths) < FEWEST or not np.isfinite(lengths).all():
        return False
    quarter = len(lengths) // 4
    if quarter * (1 - run.setting_at("momentum").max()) < MEMORIES and run.rule is not None:
        return False  # its swings last longer than what was seen
    last, before = lengths[-quarter:], lengths[-2 * quarter : -quarter]
    went = float(np.linalg.norm(run.positions[-1] - run.positions[-1 - quarter]))
    rounding = FAINT * run.eps * abs(run.positions[-1]).max()
    steady = AS_MUCH * before.mean() < last.mean() < 1.5 * before.mean() and not _shrinks(lengths, quarter, run.eps)
    return bool(steady and last.mean() > rounding and went < 0.25 * last.sum())


def _shrinks(values: NDArray[np.float64], quarter: int, eps: float) -> bool:
    """Tell whether the mean falls from each eighth of a run to the next of its second half, beyond rounding."""
    half = quarter // 2
    cuts = len(values) - np.array([2 * quarter, 2 * quarter - half, quarter, quarter - half, 0])
    means = [values[first:last].mean() for first, last in itertools.pairwise(cuts)]
    return all(after < before - 8 * eps * abs(before) for before, after in itertools.pairwise(means))


def jitter(run: Run) -> Finding | None:
    """Say that a run does not settle: it hops around a kink, where the slope does not fade, or goes to and fro."""
    if not run.steady or run.exact or not hops(run) or run.minimum is None or run.diverged:
        return None
    quarter = len(run.updates) // 4
    if run.arrival[0] != "arrived" and _shrinks(run.minimised, quarter, run.loss_eps):
        return None  # to and fro along one direction, nearer along another
    hop, losses = float(run.updates[-quarter:].mean()), run.losses[-quarter:]
    values: dict[str, float | str | bool] = {"hop": hop, "lr": run.lr}
    if run.kinked and run.arrival[0] == "arrived":
        sentence = (
            f"It does not settle at this learning rate: it hops around the kink, {number(hop, 2)} a step, "
            "because the slope does not fade there."
        )
        return Finding("jitter", sentence, values, "measured", "at the end")
    if run.modes is not None and run.lr >= run.limit():
        return None  # told there
    if run.arrival[0] == "arrived":  # within the share that counts as arrived it may go to and fro
        sentence = (
            f"It goes on hopping within the 1 % that count as arrived: {number(hop, 2)} a step at the end, "
            "about as much as before."
        )
        return Finding("jitter", sentence, values, "measured", "at the end")
    values |= {"low": float(np.nanmin(losses)), "high": float(np.nanmax(losses))}
    sentence = (
        f"It comes no nearer: at the end it goes to and fro, {number(hop, 2)} a step, "
        f"with a loss {between(float(values['low']), float(values['high']))}."
    )
    return Finding("jitter", sentence, values, "measured", "at the end")


def floor(run: Run) -> Finding | None:
    """Say that what is left to gain is lost in the rounding of the dtype that trained."""
    if run.minimum is None or run.taken < FEWEST or not np.isfinite(run.losses).all() or run.climbs or run.rests:
        return None
    ulp = ulps(run.losses, run.loss_eps)
    changes = abs(np.diff(run.losses))
    large = np.flatnonzero(changes > 2 * ulp[1:])
    since = int(large[-1]) + 1 if len(large) else 0
    gaps = run.gaps
    first = int(run.steps[since])
    if run.taken - first < max(3, run.taken // 20) or abs(gaps[since:]).max() > 16 * ulp[-1]:
        return None
    if _below(run) is not None:  # there is more to gain
        return None
    sentence = f"Nothing more to gain in {run.dtype}: from step {steps(first)} on the loss changes by 2 ulp at most"
    values = {"step": float(first), "ulp": float(ulp[-1])}
    return Finding("floor", f"{sentence}.", values, "measured", "at the end")


def climb(run: Run) -> Finding | None:
    """Say that a run climbs, or should and does not."""
    if not run.climbs or run.refused or run.taken < 1:
        return None
    seen = run.losses[~np.isnan(run.losses)]
    first, last = float(seen[0]), float(seen[-1])
    texts = told_apart(first, last)
    if texts is None:
        stays = "stays" if bool((seen == first).all()) else "ends as it began,"
        sentence = f"maximize=True, yet the loss {stays} at {number(first)}."
    else:
        does = "maximize=True: it climbs, and" if last > first else "maximize=True, yet"
        why = ": weight decay still shrinks the parameters" * bool(run.setting("weight_decay") and last < first)
        sentence = f"{does} the loss goes from {texts[0]} to {texts[1]}{why}."
    return Finding("climb", sentence, {"start_loss": first, "last_loss": last}, "measured")


def refusal(run: Run) -> Finding | None:
    """Say that torch refused the settings, or that the run was not made."""
    if not run.refused:
        begun = "steps_taken" not in run.data or float(run.data["steps_taken"]) != 0
        begun = begun or bool(np.isfinite(run.losses[0]) and np.isfinite(run.positions[0]).all())
        sentence = "This run was not made: nothing is known of it."
        return None if begun else Finding("not made", sentence, {"steps_taken": 0.0}, "measured")
    return Finding("refused", f"Torch refuses these settings: {run.refused}.", {"error": run.refused}, "measured")
