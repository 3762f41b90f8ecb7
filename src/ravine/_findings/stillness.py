"""Why nothing moves: no gradient, an lr of zero, updates that are lost in rounding."""

from __future__ import annotations

import numpy as np

from ravine._findings.finding import Finding, When
from ravine._findings.run import Run
from ravine._format import at_least, at_most, listed, number, so_many, steps
from ravine._study.decay import leaves_of
from ravine.measure._quadratic import Quadratic, ulps

LONG = 10
"""Part of its steps, one in so many, for which a run must stand still at its end to be asked why."""

HOME = 1e-6
"""Share of the first gap within which nothing is left to ask: a thousandth of the way."""

APART = 10.0
"""How many times what rounding can hide a gradient would have to be, were the known minimum the one it goes to."""

JITTER = 2.0
"""Distances to the next number within which a run at rest goes to and fro."""

FEWEST = 3
"""Steps, at least, that it must stand still for, unless it took fewer."""


def still(run: Run) -> Finding | None:
    """Say that nothing moves, or some parameters never do, and what keeps them."""
    if run.refused or run.taken < 1 or not run.finite or run.diverged:
        return None
    if not run.gapless:  # what swings to and fro may stand at one place whenever it is looked at
        return None
    since = _stands_since(run)
    if since is not None:
        return None if _is_home(run) else _all_still(run, since)
    elsewhere = _say_elsewhere(run, None)
    if elsewhere is not None:
        return elsewhere
    never = np.ones(run.count, dtype=bool)
    for stretch in run.stretches():
        never &= ~(np.diff(stretch, axis=0) != 0).any(axis=0)
    return _some_still(run, never) if never.any() else None


def _stands_since(run: Run, room: np.ndarray | float = 0.0) -> int | None:
    """Return the step from which on nothing moves by more than this, to the end; None where that is not long."""
    far = [(np.abs(np.diff(each, axis=0)) > room).any(axis=1) for each in run.stretches()]
    moving = np.flatnonzero(np.concatenate(far))
    since = int(run.steps[moving[-1] + 1]) if len(moving) else 0
    long_enough = run.taken - since >= min(max(FEWEST, run.taken // LONG), run.taken)
    return since if since < run.taken and long_enough else None


def rests_elsewhere(run: Run) -> bool:
    """Tell whether it came to rest at another place than the minimum that is known, and not for want of digits."""
    if run.landmark("hessian") is None or not run.taken or not run.gapless or not run.finite or run.diverged:
        return False
    return _elsewhere(run, _stands_since(run)) is not None


def _elsewhere(run: Run, since: int | None) -> tuple[int, float] | None:
    """Return since when a run stands, or moves within rounding, at another place, and what gradient may be left there.

    None where it moves, stands at the minimum, or so that rounding could hide the gradient which the curvature at the
    minimum makes there: then it may be the way home that has become too flat.
    """
    hessian, minimizer = run.landmark("hessian"), run.landmark("minimizer")
    if hessian is None or minimizer is None or run.kinked or not run.steady or not run.lr > 0 or _is_home(run):
        return None
    place = np.asarray(run.positions[-1], dtype=np.float64)
    unit, hidden = ulps(place, run.eps), 0.5
    if since is None:
        since, hidden = _stands_since(run, JITTER * unit), JITTER + 0.5
    assert run.rule is not None
    undamped = 1 - run.rule["dampening"]
    if since is None or not undamped > 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        # two updates in a row are so small, and what momentum keeps of the first and the gradient make the second
        left = (1 + run.rule["momentum"]) / undamped * hidden * unit / run.lr
        pull = np.abs(hessian @ (place - minimizer))
    return (since, float(left.max())) if (pull > APART * left).any() else None


def _say_elsewhere(run: Run, since: int | None) -> Finding | None:
    """Say that a run came to rest at another place than the minimum that is known."""
    found = _elsewhere(run, since)
    if found is None:
        return None
    step, left = found
    begins = "Nothing moves" if since == 0 else f"From step {steps(step)} on nothing moves"
    if since is None:
        begins += " by more than rounding does"
    away = float(np.linalg.norm(run.positions[-1] - run.landmark("minimizer")))
    values: dict[str, float | str | bool] = {"step": float(step), "steps": float(run.taken), "cause": "elsewhere"}
    values |= {"away": away, "gradient": left}
    stands = "has come to rest" if step else "stands"
    sentence = (
        f"{begins}: it {stands} {number(away)} from the minimum that is known, where no gradient is left but what "
        f"rounding may hide ({at_most(left)} at most): at a minimum of its own, or on a plateau."
    )
    return Finding("still", sentence, values, "measured", "at the end" if step else "throughout")


def _is_home(run: Run) -> bool:
    """Tell whether it stands at a minimum that is known, within the rounding of the loss."""
    if run.minimum is None:
        return False
    ulp = float(ulps(run.losses[-1:], run.loss_eps)[0])
    hessian, minimizer = run.landmark("hessian"), run.landmark("minimizer")
    if hessian is None or minimizer is None or run.kinked:
        return bool(run.minimised[-1] - run.minimum <= 16 * ulp)
    # by the positions, which tell more than a loss of few digits, and where it is 0 nothing but rounding is left of it
    bowl = Quadratic(hessian, minimizer, run.minimum, run.eps)
    first, last = bowl.gap(run.positions[[0, -1]])
    return bool(last <= max(ulp, HOME * first))


def _all_still(run: Run, since: int) -> Finding:
    values: dict[str, float | str | bool] = {"step": float(since), "steps": float(run.taken)}
    when: When = "at the end" if since else "throughout"
    begins = "Nothing moves" if not since else f"From step {steps(since)} on nothing moves"
    if not since and run.taken == 1:
        begins = "It does not move"
    rates = run.setting_at("lr") if run.scheduled is None else run.scheduled
    late = rates[np.flatnonzero(run.steps >= since)]
    late = late[:-1] if len(late) > 1 else late
    zero = _zero_gradient(run)
    known = run.scheduled is not None or "lr" in run.data.coords
    if len(late) and ((late == 0).all() if known else _lr_is_zero(run, run.labels)):
        whose = "the schedule's lr" if run.scheduled is not None else "the lr"
        values |= {"cause": "lr 0"}
        return Finding("still", f"{begins}: {whose} is 0{' there' * bool(since)}.", values, "measured", when)
    if since == 0 and zero is not None and zero.all():
        values |= {"cause": "zero gradient"}
        sentence = (
            f"{begins}: the gradient is exactly 0 for {_all_of(len(zero))}. The loss is level there, or so nearly "
            f"that {run.dtype} makes 0 of its slope (saturation)."
        )
        return Finding("still", sentence, values, "measured", when)
    slope = _slope(run)
    if slope is not None and slope == 0:
        values |= {"cause": "zero gradient"}
        return Finding("still", f"{begins}: the gradient is exactly 0 there.", values, "measured", when)
    elsewhere = _say_elsewhere(run, since)
    if elsewhere is not None:
        return elsewhere
    values |= {"cause": "rounding"}
    place = np.abs(run.positions[-1])
    spacing = ulps(place[place > 0], run.eps)
    why = f"what is left of each update is less than half the distance to the next number in {run.dtype}"
    if len(spacing) and " and " not in run.dtype:
        finest = float(spacing.min())  # what is lost there is lost everywhere
        values["spacing"] = finest
        why += f", which is {number(finest)} at {number(float(place[place > 0].min()))}"
        if run.rule is not None and not run.conditions.moved and not run.rule["weight_decay"] and len(late):
            lr = float(late.max())
            if lr > 0:
                lost = finest / 2 / lr
                values |= {"lost_below": lost, "lr": lr}
                why += f": at lr {number(lr)} a gradient below {at_least(lost)} is lost"
    if since == 0 and zero is not None and zero.any():
        why += f" ({_count(int(zero.sum()))} have no gradient at all)"
    if slope is not None:
        values["gradient"] = slope
        why += f"; the largest gradient here is {at_most(slope)}"
    return Finding("still", f"{begins}: {why}.", values, "measured", when)


def _some_still(run: Run, never: np.ndarray) -> Finding | None:
    """Say which parameters never move, of how many."""
    count, whole = int(never.sum()), len(never)
    values: dict[str, float | str | bool] = {"still": float(count), "parameters": float(whole)}
    values["steps"] = float(run.taken)
    which = [run.labels[k] for k in np.flatnonzero(never)]
    named = f" ({listed(which, 4)})" if len(which) <= 4 or count < whole else ""
    verb = "moves" if count == 1 else "move"
    sentence = f"{steps(count)} of {_count(whole)} never {verb}{named}"
    zero = _zero_gradient(run)
    if _lr_is_zero(run, which):
        values |= {"cause": "lr 0"}
        sentence += f": the lr of {'its' if count == 1 else 'their'} group is 0"
    elif zero is not None and zero[never].all():
        values |= {"cause": "zero gradient"}
        owner = "its" if count == 1 else "their"
        sentence += f": {owner} gradient is exactly 0 at the first step and at the last"
    elif zero is not None and zero[never].any():
        values |= {"zero": float(zero[never].sum())}
        sentence += (
            f": {steps(int(zero[never].sum()))} of them have a gradient of exactly 0 at the first step and at the last"
        )
    else:
        sentence += f": no update reached half the distance to the next number in {run.dtype}"
    return Finding("still", f"{sentence} (in {so_many(run.taken)}).", values, "measured")


def _lr_is_zero(run: Run, labels: list[str]) -> bool:
    """Tell whether the groups that hold these parameters were given an lr of 0."""
    owners = {leaf.name: leaf.own.get("lr") for each in leaves_of(run.study) for leaf in each}
    given = [owners.get(label, owners.get(label.rpartition("[")[0])) for label in labels]
    return run.scheduled is None and all(lr == 0 for lr in given)


def _zero_gradient(run: Run) -> np.ndarray | None:
    """Return which parameters never moved for want of a gradient; None where it was not looked at."""
    if "gradient" in run.data:
        slopes = np.asarray(run.study["gradient"].transpose("step", "parameter").values)
        return np.asarray((slopes[:-1] == 0).all(axis=0))
    if "zero_gradient" in run.data:
        return np.asarray(run.data["zero_gradient"].values, dtype=bool)
    return None


def _slope(run: Run) -> float | None:
    """Return the largest entry of the last gradient that was recorded."""
    if "gradient" not in run.data:
        return None
    slopes = np.asarray(run.study["gradient"].transpose("step", "parameter").values, dtype=np.float64)
    seen = slopes[np.isfinite(slopes).all(axis=1)]
    return float(np.abs(seen[-1]).max()) if len(seen) else None


def _all_of(count: int) -> str:
    few = {1: "its one parameter", 2: "both parameters"}
    return few.get(count, f"all {_count(count)}")


def _count(number_of: int) -> str:
    return f"{steps(number_of)} parameter" + "s" * (number_of != 1)
