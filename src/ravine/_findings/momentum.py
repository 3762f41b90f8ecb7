"""How a run moves on its way, and what momentum, dampening and nesterov do to that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ravine import measure, theory
from ravine._findings.arrival import arrives_at, hops
from ravine._findings.finding import RULE, Finding
from ravine._findings.quadratic import ALIKE
from ravine._findings.run import EDGE, FAINT, MOVED, Run
from ravine._format import at_most, number, percent, setting, span, steps, told_apart
from ravine.measure._oscillation import turns_of

GOH = "Goh 2017"

NARROWEST = 1e6
"""Condition number beyond which no valley is looked at."""

ROUND = 10.0
"""Condition number up to which a bowl is called round."""

NO_MATTER = 1.1
"""Half-lives that differ by less than this factor make no difference."""

THROUGHOUT = 0.8
"""Share of the steps that lie between the first turn and the last, from which a run swings all the way."""

BENT = 0.995
"""Cosine of the angle by which a path must turn to be called bent: six degrees."""

SEEN = 0.05
"""Share of an error that must come out on the other side for a swing to be seen."""


def momentum(run: Run) -> Finding | None:
    """Set the rate with momentum against that without, and name the best momentum."""
    if run.modes is None or not run.steady or run.rule is None or not run.rule["momentum"] or not run.lr > 0:
        return None
    if run.rests or run.slow or (run.exact and not run.modes.awake.all()):
        return None
    if run.diverged:
        return None
    mu, tau = run.rule["momentum"], run.rule["dampening"]
    with_it, without = float(run.rates().max()), float(run.rates(momentum=0.0).max())
    if not max(with_it, without) < 1 - EDGE or tau >= 1:
        return None
    ahead = bool(run.rule["nesterov"])
    best = theory.best_momentum(run.modes.curvatures, lr=run.lr, dampening=tau, nesterov=ahead)
    condition = run.modes.condition
    values = {"rate": with_it, "rate_without": without, "condition": condition}
    values |= {"best_momentum": best.momentum, "best_rate": best.rate}
    shrinks = f"in the long run the error shrinks {percent(1 - with_it)} a step instead of {percent(1 - without)}"
    named = f"momentum {setting(mu)}" + " (nesterov)" * ahead
    alike = percent(1 - with_it) == percent(1 - without) or _much_alike(with_it, without)
    told, level = number(condition, 2), len(run.modes.curvatures) < run.count
    if alike:
        mine, other = percent(1 - with_it), percent(1 - without)
        both = "with it and without" if mine == other else f"with it and {other} without"
        sentence = f"In the long run, {named} makes little difference here: the error shrinks {mine} a step {both}."
    elif with_it > without:
        shape = (
            f"On a bowl this round (condition number {told})" if condition < ROUND else f"At condition number {told}"
        )
        if level:
            shape = "In a trough, level along its bottom," if condition < ROUND else f"{shape}, level directions aside,"
        sentence = f"{shape} and at this lr, {named} is slower than none: {shrinks}."
    else:
        aside = ", level directions aside" * level
        sentence = f"Momentum helps here: with {named}, {shrinks} (condition number {told}{aside})."
    if not alike and run.boundless:
        there, instead = arrives_at(run), arrives_at(run, momentum=0.0, dampening=0.0, nesterov=False)
        if there is not None and instead is not None and (there < instead) != (with_it < without) and there != instead:
            return None  # what counts in the long run is not what this run shows
    if np.isfinite(best.momentum) and best.rate < with_it and not _much_alike(best.rate, with_it):
        texts = told_apart(float(best.momentum), 1.0, 2)
        held = "at this lr and dampening" if run.rule["dampening"] else "at this lr"
        if best.momentum == 0:
            sentence += f" At this lr none at all is best ({percent(1 - best.rate)} a step)."
        elif texts is not None:  # momentum 1 does not converge
            sentence += f" The best momentum {held} is {texts[0]} ({percent(1 - best.rate)} a step)."
    narrow = _pays_from(run) if with_it > without and not alike else None
    if narrow is not None:
        values["pays_from_condition"] = narrow
        sentence += f" In a valley as steep, with a condition number over {at_most(narrow, 2)}, it would pay."
    if not run.everywhere:
        sentence = run.locally + sentence[0].lower() + sentence[1:]
    return Finding("momentum", sentence, values, run.scope, source=GOH)


def _much_alike(rate: float, other: float) -> bool:
    """Tell whether two rates take about the same time to halve an error."""
    slow, fast = max(rate, other), min(rate, other)
    return bool(fast > 0 and np.log(fast) / np.log(slow) < NO_MATTER)


def _pays_from(run: Run) -> float | None:
    """Return the condition number, the steep side being as it is, from which this momentum beats none."""
    assert run.rule is not None
    assert run.modes is not None
    steep, settings = float(run.modes.curvatures[-1]), {**run.rule, "weight_decay": 0.0}
    low, high = run.modes.condition, NARROWEST
    for _ in range(2):  # the second time between two neighbours of the first
        conditions = np.geomspace(low, max(low, high), 2000)
        sides = np.stack([steep / conditions, np.full_like(conditions, steep)])
        slower = np.flatnonzero(theory.rate(sides, run.lr, **settings).max(0) >= theory.rate(sides, run.lr).max(0))
        if not len(slower) or slower[-1] == len(conditions) - 1:
            return None
        low, high = conditions[slower[-1]], conditions[slower[-1] + 1]
    return float(high)


def swing(run: Run) -> Finding | None:
    """Say that the path swings, how long a swing takes, and how fast it dies; elsewhere how often it turned."""
    if run.exact and run.lr > 0:
        return _exact_swing(run)
    if run.taken < 8 or run.climbs or run.refused or run.batched or not run.finite:
        return None
    period = float(measure.period(run.study))
    if not np.isfinite(period) or run.diverged or (run.steady and hops(run)):  # what hops is told as such
        return None
    turns = turns_of(run.study)
    clear = run.updates[turns.astype(int)] > FAINT * run.eps * abs(run.positions).max()
    if clear.sum() < 3:  # what turns is rounding
        return None
    first, last, between = float(turns[0]), float(turns[-1]), run.taken - 1
    values = {
        "period": period,
        "turns": float(len(turns)),
        "of": float(between),
        "first_turn": first,
        "last_turn": last,
    }
    whole = last - first > THROUGHOUT * between
    begins = "" if whole else f" from step {steps(first)} to {steps(np.ceil(last))}"
    if period < 2.05:
        share = f"at {steps(len(turns))} of {steps(between)} steps"
        where = f"{begins}: its updates turn round {share}" if begins else f": its updates turn round {share}"
        return Finding("swing", f"It zigzags{where}.", values, "measured")
    sentence = f"It swings on its way{begins}: there and back takes about {number(period, 2)} steps"
    return Finding("swing", f"{sentence} ({steps(len(turns))} turns).", values, "measured")


def _exact_swing(run: Run) -> Finding | None:
    assert run.modes is not None
    if run.lost:
        return None
    rates, periods, halves = run.rates(), run.periods(), run.half_lives()
    passed = rates ** (periods / 2)
    # one full swing must lie within the steps that were taken
    seen = periods <= run.taken
    swinging = run.modes.carrying & np.isfinite(periods) & seen & (rates < 1 - EDGE) & (passed >= SEEN)
    if not swinging.any():
        return None
    longest, low = float(periods[swinging].max()), float(periods[swinging].min())
    zigzag = longest <= 2
    slowest = int(np.argmax(np.where(swinging, rates, 0)))
    life = halves[[slowest]] if zigzag else halves[swinging]
    goal = "its goal" if run.decay else "the minimum"
    values = {"shortest_period": low, "longest_period": longest}
    values |= {"shortest_half_life": float(life.min()), "longest_half_life": float(life.max())}
    halved = f"the swing halves every {span(life)} steps"
    if life.max() < 1:
        halved = f"each step leaves {at_most(100 * float(rates[swinging].max()), 2)} % of the swing at most"
    if zigzag:
        direction = run.modes.along(slowest)
        where = f" along {direction}" * bool(direction)
        sentence = f"It zigzags{where}: the error flips its sign at every step, and {halved}."
    elif low > 2 and longest > low * (1 + ALIKE):
        sentence = f"The path orbits {goal} every {span(periods[swinging])} steps; {halved}."
    else:
        sentence = f"The path swings about {goal} every {span(periods[swinging])} steps; {halved}."
    return Finding("swing", sentence, values, "exact", source=GOH)


def bend(run: Run) -> Finding | None:
    """Say that the path bends, because one direction settles before the other."""
    if not run.exact or run.modes is None or not run.lr > 0 or run.modes.carrying.sum() < 2:
        return None
    halves, periods = run.half_lives(), run.periods()
    there = np.flatnonzero(run.modes.carrying & np.isfinite(halves))
    if len(there) < 2 or np.isfinite(periods[there]).any():
        return None
    fast, slow = there[halves[there].argmin()], there[halves[there].argmax()]
    if halves[slow] < 1.3 * halves[fast] or not _is_bent(run, halves[fast]):
        return None
    first, last = run.modes.along(int(fast)), run.modes.along(int(slow))
    sentence = (
        f"The path bends because {first} settles first: its error {_pace(halves[fast])}, "
        f"that along {last} {_pace(halves[slow], 'every' if halves[fast] >= 1 else 'halves every')}."
    )
    values = {"fast_half_life": float(halves[fast]), "slow_half_life": float(halves[slow])}
    values |= {"fast_rate": float(run.rates()[fast]), "slow_rate": float(run.rates()[slow])}
    return Finding("bend", sentence, values, "exact", source="eigenvectors of the Hessian")


def _pace(half_life: float, words: str = "halves every") -> str:
    """Say how soon an error is gone: in steps, or as a share of itself where half of it goes in less than one."""
    if half_life < 1:
        return f"shrinks {percent(1 - 0.5 ** (1 / half_life))} a step" if half_life > 0 else "is gone in one step"
    return f"{words} {number(half_life, 2)}" + " steps" * (words != "every")


def _is_bent(run: Run, half_life: float) -> bool:
    """Tell whether the path was seen to turn while the error of its fast direction halved twice."""
    last = min(run.taken - 1, int(np.ceil(2 * half_life)) + 1)
    if last < 1:
        return False
    first, then = run.positions[1] - run.positions[0], run.positions[last + 1] - run.positions[last]
    lengths = float(np.linalg.norm(first) * np.linalg.norm(then))
    return lengths > 0 and float(first @ then) < BENT * lengths


def nesterov(run: Run) -> Finding | None:
    """Set Nesterov's swings and limit against plain momentum's."""
    if run.modes is None or not run.steady or run.rule is None or not (run.rule["nesterov"] and run.rule["momentum"]):
        return None
    limit, plain_limit = run.limit(), run.limit(nesterov=False)
    values = {"limit": limit, "limit_without": plain_limit}
    if run.lost or run.slow:
        return None
    gains = _gains(run) if 0 < run.lr < limit else None
    lower = told_apart(limit, plain_limit) if 0 < limit < plain_limit < np.inf else None
    sentence = f"Nesterov lowers the limit of the learning rate: {lower[0]} against {lower[1]}." if lower else ""
    if gains is not None:
        low, high = float(gains.min()), float(gains.max())
        values |= {"least_gain": low, "largest_gain": high}
        sentence = f"Nesterov looks ahead: the swings die {_faster(low, high)} with plain momentum."
        if lower:
            sentence += f" Its limit is lower: {lower[0]} against {lower[1]}."
    if not sentence:
        return None
    if not run.everywhere:
        sentence = run.locally + sentence[0].lower() + sentence[1:]
    return Finding("nesterov", sentence, values, run.scope, source="O'Donoghue and Candès 2015; Cohen et al. 2021")


def _faster(low: float, high: float) -> str:
    """Write how many times faster swings die than others, the slowest counted too: "2.3 to 3.2× faster than"."""
    least, most = number(low, 2), number(high, 2)
    if low > 1 and least not in ("1", most):
        return f"{least} to {most}× faster than"
    if low > 1 and least == most:
        return f"{most}× faster than"
    if low > 1:
        return f"up to {at_most(high, 2)}× faster than"
    if high > 1:
        return f"{most}× faster in one direction and at {least} of the speed in another than"
    return f"more slowly, at {least if least == most else f'{least} to {most}'} of the speed, than"


def _gains(run: Run) -> NDArray[np.float64] | None:
    """Return how many times faster swings die with nesterov, of all directions that swing without or with it."""
    assert run.modes is not None
    ours, theirs = run.half_lives(), run.half_lives(nesterov=False)
    swings = np.isfinite(run.periods(nesterov=False)) | np.isfinite(run.periods())
    swings &= np.isfinite(theirs) & np.isfinite(ours)
    swings &= run.modes.carrying if run.exact else True
    if not (swings & np.isfinite(run.periods(nesterov=False))).any() or not (ours[swings] > 0).all():
        return None
    gains = theirs[swings] / ours[swings]
    return gains if (abs(gains - 1) > ALIKE).any() else None


def dampening(run: Run) -> Finding | None:
    """Say what dampening takes away, and that the swings die no faster for it."""
    rule = run.sgd
    if rule is None or not (rule.dampening and rule.momentum) or rule.nesterov or run.moves("momentum", "dampening"):
        return None
    kept = 1 - rule.dampening
    if kept > 0 and run.lost:
        return None
    values = {"kept": kept}
    does = f"scales each new push by {number(kept)} after the first"
    if kept <= 0:
        does = "turns each new push after the first uphill" if kept < 0 else "takes away every push but the first"
    keeps = f"the velocity still keeps {setting(rule.momentum)} of itself"
    sentence = f"Dampening {setting(rule.dampening)} {does}; {keeps}."
    if run.exact and run.modes is not None:
        here = run.modes.carrying
        slow, quick = run.periods()[here], run.periods(dampening=0.0)[here]
        lives, others = run.half_lives()[here], run.half_lives(dampening=0.0)[here]
        if np.isfinite([*slow, *quick]).all() and np.allclose(lives, others, rtol=1e-9) and (slow > quick).all():
            values |= {"period": float(slow.max()), "period_without": float(quick.max())}
            values |= {"shortest_period": float(slow.min()), "shortest_period_without": float(quick.min())}
            sentence = (
                f"Dampening {setting(rule.dampening)} {does}; the swings are slower ({span(slow)} steps instead of "
                f"{span(quick)}) but die no faster."
            )
    return Finding("dampening", sentence, values, "exact", source=RULE)


def first_step(run: Run) -> Finding | None:
    """Say how large the first step is beside plain SGD's."""
    rule = run.sgd
    if rule is None or not rule.momentum or not rule.lr > 0 or not (rule.nesterov or rule.dampening):
        return None
    if run.lost or run.rests or (run.scheduled is not None and not run.scheduled[0] > 0):
        return None
    if run.moves("momentum", "dampening") and MOVED + "momentum" not in run.data:
        return None  # what it was at the first step is not known
    factor = 1 + float(run.setting_at("momentum")[0]) * bool(rule.nesterov)
    if rule.nesterov:
        sentence = f"Nesterov's first step is {number(factor)} times plain SGD's."
    else:
        sentence = "Dampening does not touch the first step: it is plain SGD's."
    return Finding("first step", sentence, {"factor": factor}, "exact", "at the start", RULE)


def effective(run: Run) -> Finding | None:
    """Say which lr without momentum takes the same steps down a constant slope."""
    rule = run.sgd
    if (
        rule is None
        or run.conditions.scheduled
        or run.moves("momentum")
        or not 0 < rule.momentum < 1
        or not rule.lr > 0
    ):
        return None
    if run.lost or run.rests or not rule.dampening < 1:
        return None
    value = theory.effective_lr(rule.lr, rule.momentum, rule.dampening)
    sentence = (
        f"Down a steady slope, momentum {setting(rule.momentum)} comes to take the steps "
        f"of a plain lr {number(value)} (effective lr; lr is {setting(rule.lr)})."
    )
    return Finding("effective lr", sentence, {"effective_lr": value, "lr": rule.lr}, "exact", source=RULE)
