"""What the article says of momentum, Nesterov momentum, weight decay and dampening."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ravine import measure, theory
from ravine._format import MINUS, at_least, at_most, names, number
from ravine._html.page import Claim, Table
from ravine.article.evidence import (
    CONFIRMED,
    CORRECTED,
    CRITERIA,
    NEEDS_A_WORD,
    Evidence,
    find_overshoot,
    format_percent,
    list_values,
    values_of,
)
from ravine.article.valley import CONDITION, descend_valley


def _check_accumulated(evidence: Evidence) -> Claim:
    run = evidence.cell("momentum")
    gradients, velocities = values_of(run, "gradient"), values_of(run, "velocity")
    step = 10
    summed = sum(0.9**back * gradients[step - 1 - back] for back in range(step))
    last_two = gradients[step - 1] + 0.9 * gradients[step - 2]
    scale = float(np.linalg.norm(velocities[step]))
    values = {
        "step": step,
        "all": float(np.linalg.norm(summed - velocities[step])) / scale,
        "two": float(np.linalg.norm(last_two - velocities[step])) / scale,
    }
    return Claim(
        "accumulated",
        "Momentum adds some of the last step's gradient to this one.",
        CORRECTED,
        values["all"] < 1e-5 < 0.05 < values["two"],
        "It adds the velocity, in which all past gradients are summed up, each step back counting 0.9 times as much. "
        f"At step {step}, that sum over all gradients gives torch's velocity within {at_most(values['all'], 1)} of its "
        f"length; the last two gradients alone miss it by {format_percent(values['two'])}.",
        values,
        "figure-6",
    )


def _check_small_momentum(evidence: Evidence) -> Claim:
    values: dict[str, Any] = {
        name: (evidence.arrival("plain", name), evidence.arrival("momentum", name)) for name in CRITERIA
    }
    valley = measure.arrival(descend_valley())
    there = (int(valley.sel(run="plain")), int(valley.sel(run="momentum")))
    values |= {"valley": there, "condition": float(np.linalg.cond(evidence.cell("plain")["hessian"].values))}
    rows = [[name, *map(str, values[name])] for name in CRITERIA]
    rows.append([f"a bowl of condition number {CONDITION:g}", *map(str, there)])
    helped = [name for name in CRITERIA if values[name][1] < values[name][0]]
    return Claim(
        "small-momentum",
        "Very small momentum is usually enough; 0.9 is a crazy value, not to be tried at home.",
        CORRECTED,
        values["MSELoss"][1] > values["MSELoss"][0] and len(helped) == 2 and there[1] < there[0] / 5,
        "0.9 is an everyday value. The MSE loss of this toy is a bowl so round (condition number "
        f"{number(values['condition'])}) that momentum has nothing to do there but to overshoot. With {names(helped)} "
        "the very same 0.9 arrives earlier, and in a narrow valley much earlier.",
        values,
        "valley-of-100",
        Table("Step of arrival at lr 0.1", ["", "momentum 0", "momentum 0.9"], rows),
    )


def _check_overshoots(evidence: Evidence) -> Claim:
    values = {name: find_overshoot(evidence.cell("momentum", name)) for name in CRITERIA}
    return Claim(
        "overshoots",
        "With momentum 0.9 it overshoots and swerves back, most of all with L2.",
        CONFIRMED,
        values["MSELoss"] > max(values["L1Loss"], values["HuberLoss"]) > 0,
        "After first coming by the minimum, it moves away again as far as this, measured by the distance at the "
        f"start: {list_values(values, format_percent)}.",
        values,
        "figure-6",
    )


def _check_near_diverging(evidence: Evidence) -> Claim:
    run = evidence.cell("momentum")
    curvatures = np.linalg.eigvalsh(run["hessian"].values)
    limit = float(theory.stability_limit(curvatures, momentum=0.9))
    periods = sorted(float(theory.period(each, 0.1, momentum=0.9)) for each in curvatures)
    half = float(theory.half_life(curvatures[0], 0.1, momentum=0.9))
    values = {"limit": limit, "share": 0.1 / limit, "short": periods[0], "long": periods[1], "half_life": half}
    return Claim(
        "near-diverging",
        "That brings the L2 run very near to diverging.",
        CORRECTED,
        values["share"] < 0.1,
        f"It is nowhere near: lr 0.1 is at {format_percent(values['share'])} of the limit. A wide swing is not a "
        f"growing one; this one halves every {number(half)} steps.",
        values,
        "figure-6",
    )


def _check_look_ahead(evidence: Evidence) -> Claim:
    run = evidence.cell("nesterov")
    lr, momentum = 0.1, 0.9
    positions, gradients, velocities = (values_of(run, each) for each in ("position", "gradient", "velocity"))
    carried = np.nan_to_num(velocities)  # torch holds no velocity before the first step
    textbook = positions + lr * momentum * carried
    following = textbook[:-1] - lr * momentum * carried[:-1] - lr * gradients[:-1]
    values = {
        "textbook": float(np.abs(following - textbook[1:]).max()),
        "between": float(np.linalg.norm(textbook - positions, axis=-1).max()),
    }
    return Claim(
        "look-ahead",
        "Nesterov momentum computes the gradient at the place where the velocity is about to carry it.",
        NEEDS_A_WORD,
        values["textbook"] < 1e-5 < values["between"],
        "True of the textbook's position; torch's parameters are [those places ahead](#nesterov) already. "
        f"Put back by lr · momentum · v, the recorded run obeys the textbook's rule within "
        f"{at_most(values['textbook'], 1)}; the two positions are up to {at_most(values['between'])} apart.",
        values,
        "figure-7",
    )


def _check_cuts_overshoot(evidence: Evidence) -> Claim:
    values: dict[str, Any] = {
        name: tuple(find_overshoot(evidence.cell(run, name)) for run in ("momentum", "nesterov")) for name in CRITERIA
    }
    limits = tuple(
        float(theory.stability_limit(np.linalg.eigvalsh(evidence.cell("plain")["hessian"].values), 0.9, nesterov=each))
        for each in (False, True)
    )
    rows = [[name, *map(format_percent, values[name])] for name in CRITERIA]
    return Claim(
        "cuts-overshoot",
        "Nesterov momentum cuts the overshooting down, above all with L2.",
        CONFIRMED,
        all(after < before for before, after in values.values())
        and max(values, key=lambda name: values[name][0] - values[name][1]) == "MSELoss"
        and limits[1] < limits[0],
        f"It does, and at a price: with MSELoss the learning rate must stay below {at_least(limits[1])} instead of "
        f"{at_least(limits[0])}. Switching Nesterov on can make a run diverge that converged without.",
        {**values, "limits": limits},
        "figure-8",
        Table("How far it moves away again, by the distance at the start", ["", "momentum", "nesterov"], rows),
    )


def _check_goal(evidence: Evidence) -> Claim:
    runs = {name: evidence.cell("weight decay", name) for name in CRITERIA}
    values: dict[str, Any] = {
        name: {
            "data": tuple(values_of(run, "data_minimizer").tolist()),
            "goal": tuple(values_of(run, "minimizer").tolist()),
            "end": tuple(values_of(run, "position")[-1].tolist()),
        }
        for name, run in runs.items()
    }
    shorter = all(np.hypot(*each["goal"]) < np.hypot(*each["data"]) for each in values.values())
    there = max(float(np.abs(np.subtract(each["goal"], each["end"])).max()) for each in values.values())
    rows = [[name, *(_format_pair(values[name][which]) for which in ("data", "goal", "end"))] for name in CRITERIA]
    return Claim(
        "goal",
        "Weight decay pulls the solutions away from their rightful minima, towards the origin.",
        NEEDS_A_WORD,
        shorter and there < 0.05,
        f"The minimum itself has moved ([Weight decay](#decay)), and each run ends at the new one, within "
        f"{at_most(there, 2)}. Nothing is missed or pulled off course.",
        {**values, "there": there},
        "figure-9",
        Table(
            "Weight and bias",
            ["", "minimum of the loss", "minimum of loss + decay", "end of the run"],
            rows,
        ),
    )


def _format_pair(place: tuple[float, float]) -> str:
    return f"{place[0]:.4f}, {place[1]:.4f}".replace("-", MINUS)


def _check_least_on_l2(evidence: Evidence) -> Claim:
    values: dict[str, Any] = {}
    moved: dict[str, float] = {}
    for name in CRITERIA:
        run = evidence.cell("weight decay", name)
        decay, data = (
            float(np.linalg.norm(each)) for each in (2.0 * values_of(run, "position")[0], values_of(run, "gradient")[0])
        )
        values[name] = decay / (decay + data)
        moved[name] = float(np.linalg.norm(values_of(run, "minimizer") - values_of(run, "data_minimizer")))
    least = all(each["MSELoss"] == min(each.values()) for each in (values, moved))
    return Claim(
        "least-on-l2",
        "The effect is weakest with L2, because its values are large enough to hold against the penalty.",
        CONFIRMED,
        least,
        f"At the start, decay's share of the pull is {list_values(values, format_percent)}, and with MSELoss the "
        "minimum moves least. It is the slope, not the value, that holds against it; at the minimum the two pulls "
        "balance with every criterion.",
        {**values, "moved": moved},
        "figure-9",
    )


def _check_incoming(evidence: Evidence) -> Claim:
    run = evidence.cell("dampening")
    gradients, velocities = values_of(run, "gradient"), values_of(run, "velocity")
    follows = 0.9 * velocities[1:-1] + 0.2 * gradients[1:-1] - velocities[2:]
    other = (0.9 * (1 - 0.8)) * velocities[1:-1] + gradients[1:-1] - velocities[2:]
    values = {
        "first": float(np.abs(velocities[1] - gradients[0]).max()),
        "incoming": float(np.abs(follows).max()),
        "momentum": float(np.abs(other).max()),
    }
    return Claim(
        "incoming",
        "Dampening discounts the momentum.",
        CORRECTED,
        values["first"] == 0 and values["incoming"] < 1e-5 < 0.1 < values["momentum"],
        "It discounts the incoming gradient. The recorded velocities obey `v ← 0.9 v + 0.2 g` within "
        f"{at_most(values['incoming'], 1)}; with the momentum discounted instead they would be off by up to "
        f"{at_most(values['momentum'])}.",
        values,
        "figure-10",
    )


def _check_moderates(evidence: Evidence) -> Claim:
    curvatures = np.linalg.eigvalsh(evidence.cell("dampening")["hessian"].values)
    values: dict[str, Any] = {
        name: (find_overshoot(evidence.cell("momentum", name)), find_overshoot(evidence.cell("dampening", name)))
        for name in CRITERIA
    }
    rates = tuple(max(float(theory.rate(each, 0.1, 0.9, dampening)) for each in curvatures) for dampening in (0.0, 0.8))
    arrived = {name: (evidence.arrival("momentum", name), evidence.arrival("dampening", name)) for name in CRITERIA}
    rows = [[name, *map(format_percent, values[name]), *map(str, arrived[name])] for name in CRITERIA]
    return Claim(
        "moderates",
        "Dampening moderates the path that momentum takes.",
        NEEDS_A_WORD,
        all(after < before for before, after in values.values())
        and abs(rates[0] - rates[1]) < 1e-9
        and all(after > before for before, after in arrived.values()),
        "The swings are smaller, and slower; they do not die any sooner. With MSELoss the error shrinks by the factor "
        f"{number(rates[1], 4)} a step with dampening as without, and all three arrive a little later.",
        {**values, "rates": rates, "arrived": arrived},
        "figure-10",
        Table(
            "How far it moves away again, and the step of arrival, without dampening and with 0.8",
            ["", "away, 0", "away, 0.8", "arrives, 0", "arrives, 0.8"],
            rows,
        ),
    )


KNOB_CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    _check_accumulated,
    _check_small_momentum,
    _check_overshoots,
    _check_near_diverging,
    _check_look_ahead,
    _check_cuts_overshoot,
    _check_goal,
    _check_least_on_l2,
    _check_incoming,
    _check_moderates,
)
"""The claims on the other knobs, in the article's order."""
