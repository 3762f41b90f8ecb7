"""What the article says, each held against runs made for the purpose, at the article's own settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import ravine
from ravine import gallery, measure, theory
from ravine._format import MINUS, at_least, at_most, names, number
from ravine._html.page import Claim, Table
from ravine.article.figures import RUNS
from ravine.article.valley import CONDITION, descend_valley

CONFIRMED, CORRECTED, NEEDS_A_WORD = "confirmed", "corrected", "needs a word"

CRITERIA = ("MSELoss", "L1Loss", "HuberLoss")
"""SmoothL1Loss is HuberLoss here: a claim of its own."""

LONG = 300
"""Steps after which every run of the article has arrived."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Runs at the article's own settings: its study, and when they arrive."""

    study: xr.Dataset

    @cached_property
    def arrivals(self) -> xr.DataArray:
        """Step of arrival (run, criterion); runs that have not arrived in the study go on until they have."""
        found = measure.arrival(self.study.sel(criterion=list(CRITERIA))).reset_coords(drop=True)
        late = {name: each for name, each in RUNS.items() if not found.sel(run=name).notnull().all()}
        if not late:
            return found
        problems = {name: gallery.article()[name] for name in CRITERIA}
        long = ravine.join({name: ravine.descend(problems, steps=LONG, **each) for name, each in late.items()})
        return found.fillna(measure.arrival(long).reset_coords(drop=True).reindex(run=found["run"]))

    def arrival(self, run: str, criterion: str) -> int:
        """Return one arrival."""
        return int(self.arrivals.sel(run=run, criterion=criterion))

    def cell(self, run: str, criterion: str = "MSELoss") -> xr.Dataset:
        """Select one run of the study."""
        return self.study.sel(run=run, criterion=criterion)


def check_claims(study: xr.Dataset) -> list[Claim]:
    """Check every claim; `study` is the article's, with nothing turned.

    Examples
    --------
    >>> from ravine import article
    >>> claims = {claim.id: claim for claim in check_claims(article.study())}
    >>> claims["same-function"].verdict, claims["same-function"].holds
    ('corrected', True)
    """
    evidence = Evidence(study)
    return [claim(evidence) for claim in CLAIMS]


# -- helps -------------------------------------------------------------------------------------------------------

Array = NDArray[np.float64]


def _values_of(run: xr.Dataset, variable: str) -> Array:
    return np.asarray(run[variable].sel(parameter=["weight", "bias"]).values, dtype=np.float64)


def _find_distances(run: xr.Dataset) -> Array:
    """Return the distance of every position from the minimum."""
    return np.asarray(np.linalg.norm(_values_of(run, "position") - _values_of(run, "minimizer"), axis=-1))


def _find_overshoot(run: xr.Dataset) -> float:
    """Return how far away it gets after it first came by, as a share of the distance at the start."""
    away = _find_distances(run)
    turns = np.flatnonzero(np.diff(away) > 0)
    return float(away[turns[0] :].max() / away[0]) if len(turns) else 0.0


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _list_values(values: dict[str, Any], how: Callable[[Any], str]) -> str:
    return names([f"{how(value)} with {name}" for name, value in values.items()])


# -- the claims, in the article's order --------------------------------------------------------------------------


def _check_comes_down(evidence: Evidence) -> Claim:
    run = evidence.cell("plain")
    losses, lowest = run["loss"].values, float(run["minimum_loss"])
    values = {"first": float(losses[0]), "last_printed": float(losses[-2]), "lowest": lowest}
    return Claim(
        "comes-down",
        "The loss falls, and in the end is as low as it gets.",
        CONFIRMED,
        abs(values["last_printed"] - lowest) < 1e-6 * lowest,
        f"It falls from {number(values['first'], 4)} to {values['last_printed']:.8f}. The lowest that any line has on "
        f"these points is {lowest:.8f}; the two are {number(abs(values['last_printed'] - lowest), 1)} apart, which is "
        "the rounding of float32.",
        values,
        "figure-2",
    )


def _check_off_by_one(evidence: Evidence) -> Claim:
    losses = evidence.cell("plain")["loss"].values
    values = {"printed": len(losses) - 1, "positions": len(losses), "end": float(losses[-1])}
    return Claim(
        "off-by-one",
        "The log and the path belong together.",
        NEEDS_A_WORD,
        values["positions"] == values["printed"] + 1,
        f"Almost: {values['printed']} losses were printed, of {values['positions']} positions. The last position has "
        "none.",
        values,
        "figure-2",
    )


def _check_start(evidence: Evidence) -> Claim:
    weight, bias = _values_of(evidence.cell("plain"), "position")[0].tolist()
    return Claim(
        "start",
        "The model starts at (-3, 6).",
        NEEDS_A_WORD,
        (weight, bias) == (6.0, -3.0),
        f"In the order of the picture, bias first: weight {weight:g}, bias {bias:g}, that is y = 6x - 3.",
        {"weight": weight, "bias": bias},
        "figure-4",
    )


def _check_grid(evidence: Evidence) -> Claim:
    grid = evidence.study["weight"].values
    points, spacing = len(grid), float(grid[1] - grid[0])
    low, high = float(grid[0]), float(grid[-1])
    cell = (high - low) / points  # what imshow makes of an extent from the first to the last value
    drawn = low + (np.arange(points) + 0.5) * cell
    values = {"points": points, "spacing": spacing, "misplaced": float(np.abs(drawn - grid).max())}
    return Claim(
        "grid",
        "The loss is mapped on a 100-by-100 grid from -5 to 8.",
        CORRECTED,
        points == 101 and values["misplaced"] > spacing / 3,
        f"It is {points} by {points}, {spacing:.2f} apart. Drawn with an extent from -5 to 8, every cell is a little "
        f"too narrow, and the outermost sit {values['misplaced']:.3f} from where they belong; our maps have the right "
        "extent.",
        values,
        "figure-3",
    )


def _check_smaller_steps(evidence: Evidence) -> Claim:
    run = evidence.cell("plain")
    lengths = np.linalg.norm(np.diff(_values_of(run, "position"), axis=0), axis=-1)
    shorter = np.append(np.diff(lengths) < 0, False)
    falling = int(np.argmin(shorter))  # updates after the first that are each shorter than the one before
    values = {"first": float(lengths[0]), "updates": falling + 1, "then": float(lengths[falling])}
    return Claim(
        "smaller-steps",
        "Plain SGD takes smaller and smaller steps towards the minimum.",
        CONFIRMED,
        falling > 50,
        f"{'All' if falling + 1 == len(lengths) else 'The first'} {falling + 1} updates, each shorter than the one "
        f"before. The last of them is {number(values['then'], 2)} long.",
        values,
        "figure-4",
    )


def _check_heights(evidence: Evidence) -> Claim:
    land = evidence.study["surface"]
    values = {name: float(land.sel(criterion=name).max()) for name in CRITERIA}
    return Claim(
        "heights",
        "The MSE loss has large values, up to 100; the others stay much smaller.",
        CONFIRMED,
        95 < values["MSELoss"] < 105 and max(values["L1Loss"], values["HuberLoss"]) < values["MSELoss"] / 10,
        f"The highest value on the map is {_list_values(values, number)}. Squaring does that; it says nothing of the "
        "fit.",
        values,
        "figure-5",
    )


def _check_faster(evidence: Evidence) -> Claim:
    values: dict[str, Any] = {name: evidence.arrival("plain", name) for name in CRITERIA}
    slopes = {name: float(np.linalg.norm(_values_of(evidence.cell("plain", name), "gradient")[0])) for name in CRITERIA}
    others = [values[name] for name in CRITERIA[1:]]
    return Claim(
        "faster",
        "The steeper gradient of L2 makes for a faster approach.",
        CONFIRMED,
        values["MSELoss"] < min(others) and slopes["MSELoss"] > 2 * max(slopes["L1Loss"], slopes["HuberLoss"]),
        f"At this learning rate: the slope at the start is {_list_values(slopes, number)}, and they arrive at step "
        f"{values['MSELoss']}, {values['L1Loss']} and {values['HuberLoss']}. A larger lr would make up for it: "
        "steepness alone is no merit of a criterion.",
        {**values, "slopes": slopes},
        "figure-5",
    )


def _check_same_function(evidence: Evidence) -> Claim:
    same = all(
        np.array_equal(
            evidence.study[name].sel(criterion="HuberLoss"), evidence.study[name].sel(criterion="SmoothL1Loss")
        )
        for name in ("position", "loss", "surface")
    )
    residuals = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    zeros = torch.zeros_like(residuals)
    huber = torch.nn.HuberLoss(reduction="none", delta=0.5)(residuals, zeros)
    smooth = torch.nn.SmoothL1Loss(reduction="none", beta=0.5)(residuals, zeros)
    apart, scaled = float((huber - smooth).abs().max()), float((huber - 0.5 * smooth).abs().max())
    return Claim(
        "same-function",
        "Smooth L1 is roughly equal to Huber, with an extra parameter.",
        CORRECTED,
        same and apart > 0.1 and scaled < 1e-12,
        "At torch's defaults they are the same function: losses, maps and all 101 positions of every run agree in "
        "every bit, so two of the four panels are one picture. Both have a parameter. In general Huber with delta d "
        f"is d times Smooth L1 with beta d: at d = 0.5 and residuals up to 3 they are up to {at_most(apart)} apart, "
        f"and with that factor {f'up to {at_most(scaled, 1)}' if scaled else 'equal'}.",
        {"same": same, "apart": apart, "scaled": scaled},
        "delta-beta",
    )


def _check_accumulated(evidence: Evidence) -> Claim:
    run = evidence.cell("momentum")
    gradients, velocities = _values_of(run, "gradient"), _values_of(run, "velocity")
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
        f"length; the last two gradients alone miss it by {_format_percent(values['two'])}.",
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
    values = {name: _find_overshoot(evidence.cell("momentum", name)) for name in CRITERIA}
    return Claim(
        "overshoots",
        "With momentum 0.9 it overshoots and swerves back, most of all with L2.",
        CONFIRMED,
        values["MSELoss"] > max(values["L1Loss"], values["HuberLoss"]) > 0,
        "After first coming by the minimum, it moves away again as far as this, measured by the distance at the "
        f"start: {_list_values(values, _format_percent)}.",
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
        f"It is nowhere near: lr 0.1 is at {_format_percent(values['share'])} of the limit. A wide swing is not a "
        f"growing one; this one halves every {number(half)} steps.",
        values,
        "figure-6",
    )


def _check_look_ahead(evidence: Evidence) -> Claim:
    run = evidence.cell("nesterov")
    lr, momentum = 0.1, 0.9
    positions, gradients, velocities = (_values_of(run, each) for each in ("position", "gradient", "velocity"))
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
        name: tuple(_find_overshoot(evidence.cell(run, name)) for run in ("momentum", "nesterov")) for name in CRITERIA
    }
    limits = tuple(
        float(theory.stability_limit(np.linalg.eigvalsh(evidence.cell("plain")["hessian"].values), 0.9, nesterov=each))
        for each in (False, True)
    )
    rows = [[name, *map(_format_percent, values[name])] for name in CRITERIA]
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
            "data": tuple(_values_of(run, "data_minimizer").tolist()),
            "goal": tuple(_values_of(run, "minimizer").tolist()),
            "end": tuple(_values_of(run, "position")[-1].tolist()),
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
            float(np.linalg.norm(each))
            for each in (2.0 * _values_of(run, "position")[0], _values_of(run, "gradient")[0])
        )
        values[name] = decay / (decay + data)
        moved[name] = float(np.linalg.norm(_values_of(run, "minimizer") - _values_of(run, "data_minimizer")))
    least = all(each["MSELoss"] == min(each.values()) for each in (values, moved))
    return Claim(
        "least-on-l2",
        "The effect is weakest with L2, because its values are large enough to hold against the penalty.",
        CONFIRMED,
        least,
        f"At the start, decay's share of the pull is {_list_values(values, _format_percent)}, and with MSELoss the "
        "minimum moves least. It is the slope, not the value, that holds against it; at the minimum the two pulls "
        "balance with every criterion.",
        {**values, "moved": moved},
        "figure-9",
    )


def _check_incoming(evidence: Evidence) -> Claim:
    run = evidence.cell("dampening")
    gradients, velocities = _values_of(run, "gradient"), _values_of(run, "velocity")
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
        name: (_find_overshoot(evidence.cell("momentum", name)), _find_overshoot(evidence.cell("dampening", name)))
        for name in CRITERIA
    }
    rates = tuple(max(float(theory.rate(each, 0.1, 0.9, dampening)) for each in curvatures) for dampening in (0.0, 0.8))
    arrived = {name: (evidence.arrival("momentum", name), evidence.arrival("dampening", name)) for name in CRITERIA}
    rows = [[name, *map(_format_percent, values[name]), *map(str, arrived[name])] for name in CRITERIA]
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


CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    _check_comes_down,
    _check_off_by_one,
    _check_grid,
    _check_start,
    _check_smaller_steps,
    _check_heights,
    _check_faster,
    _check_same_function,
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
"""Every claim, in the article's order."""
