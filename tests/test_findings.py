"""Findings: each appears with numbers that an independent calculation gives, and stays silent where it must."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import pkgutil
import re
from functools import partial

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._findings.explain import FINDINGS
from ravine._findings.finding import Finding

HESSIAN = np.array([[1.3412582826, -0.1880619500], [-0.1880619500, 2.0]])
EIGENVALUES = np.linalg.eigvalsh(HESSIAN)


def by_kind(run, **more):
    found = ravine.explain(run, **more)
    assert len({(each.kind, *each.about.items(), each.sentence) for each in found}) == len(found)
    return {each.kind: each for each in found}


def kinds(run):
    return set(by_kind(run))


@pytest.fixture(scope="module")
def mse():
    return ravine.gallery.article()["MSELoss"]


@pytest.fixture(scope="module")
def ones():
    """The five settings of the figures by four criteria."""
    return {name: ravine.descend(ravine.gallery.article(), **s) for name, s in bare.SETTINGS.items()}


def bowl(hessian, minimizer, start, floor=0.5):
    """A quadratic in float64 as torch evaluates it."""
    h, at = torch.tensor(hessian), torch.tensor(minimizer)

    def loss(p):
        e = torch.stack(list(p.values())) - at
        return e @ h @ e / 2 + floor

    names = [f"p{k}" for k in range(len(minimizer))]
    values = {n: torch.tensor(v, dtype=torch.float64) for n, v in zip(names, start, strict=True)}
    return ravine.Problem(loss, values, minimizers=[dict(zip(names, minimizer, strict=True))])


def followed(hessian, minimizer, start, steps, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """torch.optim.SGD on a quadratic, in plain numpy."""
    x, buffer, path = np.array(start, dtype=float), None, [np.array(start, dtype=float)]
    for _ in range(steps):
        g = hessian @ (x - minimizer) + weight_decay * x
        d = g
        if momentum:
            buffer = g.copy() if buffer is None else momentum * buffer + (1 - dampening) * g
            d = g + momentum * buffer if nesterov else buffer
        x = x - lr * d
        path.append(x)
        if len(path) % 50 == 0 and abs(x).max() > 1e100:
            break
    return np.array(path)


def radius(curvatures, lr, momentum=0.0, dampening=0.0, nesterov=False):
    """The spectral radius of each mode's step, from the matrix on (error, buffer)."""
    return np.array([abs(np.linalg.eigvals(_matrix(c, lr, momentum, dampening, nesterov))).max() for c in curvatures])


def _matrix(curvature, lr, momentum=0.0, dampening=0.0, nesterov=False):
    if not momentum:
        return np.array([[1 - lr * curvature, 0.0], [0.0, 0.0]])
    buffer = np.array([(1 - dampening) * curvature, momentum])
    moved = momentum * buffer + [curvature, 0.0] if nesterov else buffer
    return np.array([[1.0, 0.0] - lr * moved, buffer])


# ------------------------------------------------------------------------------------------------ the article's runs


@pytest.mark.parametrize(
    ("name", "limit", "share"),
    [
        ("plain", 0.9757, 0.1 / 0.9757),
        ("momentum", 1.8537, 0.1 / 1.8537),
        ("nesterov", 0.6621, 0.1 / 0.6621),
        ("weight decay", 0.3351, 0.1 / 0.3351),
        ("dampening", 9.2687, 0.1 / 9.2687),
    ],
)
def test_margins_of_the_article(ones, name, limit, share):
    margin = by_kind(ones[name].sel(criterion="MSELoss"))["margin"]
    assert margin.scope == "exact"
    assert margin.values["limit"] == pytest.approx(limit, abs=6e-5)
    assert margin.values["share"] == pytest.approx(share, rel=2e-4)
    for criterion in ("HuberLoss", "SmoothL1Loss"):
        one = by_kind(ones[name].sel(criterion=criterion))["margin"]
        assert one.scope == "local"
    assert "margin" not in kinds(ones[name].sel(criterion="L1Loss"))


@pytest.mark.parametrize(
    ("name", "halves", "periods"),
    [
        ("momentum", (13.2, 13.2), (13.5, 17.1)),
        ("nesterov", (4.1, 5.7), (13.5, 17.3)),
        ("weight decay", (2.2, 2.7), (9.1, 10.3)),
        ("dampening", (13.2, 13.2), (31.2, 40.1)),
    ],
)
def test_swings_of_the_article(ones, name, halves, periods):
    values = by_kind(ones[name].sel(criterion="MSELoss"))["swing"].values
    assert [round(values["shortest_period"], 1), round(values["longest_period"], 1)] == list(periods)
    low, high = values["shortest_half_life"], values["longest_half_life"]
    assert [low, high] == pytest.approx(halves, abs=0.06)
    assert "swing" not in kinds(ones["plain"].sel(criterion="MSELoss"))


def test_arrivals_of_the_article(ones):
    """Of 100 steps; in the table that holds for float64 too."""
    table = {"plain": (12, None, None), "momentum": (42, 50, 46), "nesterov": (14, 32, 33)}
    table |= {"weight decay": (6, 13, 13), "dampening": (46, 54, 56)}
    for name, steps in table.items():
        for criterion, step in zip(("MSELoss", "L1Loss", "HuberLoss"), steps, strict=True):
            arrival = by_kind(ones[name].sel(criterion=criterion))["arrival"]
            assert arrival.scope == "measured"
            if step is None:
                assert arrival.values["outcome"] == "not arrived"
            else:
                assert arrival.values["step"] == step


def test_momentum_slower_than_none(ones):
    told = by_kind(ones["momentum"].sel(criterion="MSELoss"))["momentum"]
    assert told.values["rate"] == pytest.approx(math.sqrt(0.9), rel=1e-12)
    assert told.values["rate_without"] == pytest.approx(1 - 0.1 * EIGENVALUES[0], rel=1e-8)
    assert told.values["condition"] == pytest.approx(1.58741439, rel=1e-7)
    assert told.values["best_momentum"] == pytest.approx((1 - math.sqrt(0.1 * EIGENVALUES[0])) ** 2, rel=1e-8)
    # beyond this condition number 1 - lr·λ is above √.9
    assert told.values["pays_from_condition"] == pytest.approx(EIGENVALUES[1] / (10 * (1 - math.sqrt(0.9))), rel=1e-5)
    assert "momentum" not in kinds(ones["plain"].sel(criterion="MSELoss"))
    assert "momentum" not in kinds(ones["momentum"].sel(criterion="L1Loss"))
    narrow = by_kind(ravine.descend(ravine.gallery.quadratic(100), lr=0.1, momentum=0.9))["momentum"]
    assert narrow.values["rate"] < narrow.values["rate_without"] == pytest.approx(0.998)


def test_nesterov_against_plain_momentum(ones):
    told = by_kind(ones["nesterov"].sel(criterion="MSELoss"))["nesterov"]
    rates = np.sqrt(0.9 * (1 - 0.1 * EIGENVALUES))
    gains = np.log(rates) / np.log(math.sqrt(0.9))
    assert [told.values["least_gain"], told.values["largest_gain"]] == pytest.approx(gains, rel=1e-6)
    assert "nesterov" not in kinds(ones["momentum"].sel(criterion="MSELoss"))


def test_dampening(ones):
    told = by_kind(ones["dampening"].sel(criterion="MSELoss"))["dampening"]
    assert told.values["kept"] == pytest.approx(0.2)
    other = by_kind(ones["dampening"].sel(criterion="L1Loss"))["dampening"]
    assert other.scope == "exact"  # it follows from the rule alone
    assert "dampening" not in kinds(ones["momentum"].sel(criterion="MSELoss"))
    ignored = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, dampening=0.5, steps=20)
    assert not {"dampening", "first step", "momentum", "effective lr"} & kinds(ignored)


def test_first_steps(ones, mse):
    for name, factor in (("nesterov", 1.9), ("dampening", 1.0)):
        told = by_kind(ones[name].sel(criterion="MSELoss"))["first step"]
        moved, plain = (ones[n].position.sel(criterion="MSELoss").diff("step")[0] for n in (name, "plain"))
        assert (moved / plain).values == pytest.approx([factor] * 2, rel=1e-5)
        assert told.values["factor"] == factor
        assert told.when == "at the start"
    assert "first step" not in kinds(ones["momentum"].sel(criterion="MSELoss"))


def test_effective_lr(ones, mse):
    for name, value in (("momentum", 1.0), ("dampening", 0.2)):
        told = by_kind(ones[name].sel(criterion="MSELoss"))["effective lr"]
        assert told.values["effective_lr"] == pytest.approx(value)
    slope = ravine.Problem(lambda p: 3.0 * p["x"], start={"x": 0.0})
    run = ravine.descend(slope, lr=0.1, momentum=0.9, dampening=0.8, steps=300)
    assert float(run.position[-2, 0] - run.position[-1, 0]) == pytest.approx(0.2 * 3.0, rel=1e-3)
    assert by_kind(run)["effective lr"].values["effective_lr"] == pytest.approx(0.2)
    assert "effective lr" not in kinds(ones["plain"].sel(criterion="MSELoss"))
    assert "effective lr" not in kinds(ravine.descend(mse, lr=0.1, momentum=1.0))


def test_the_path_bends(ones):
    told = by_kind(ones["plain"].sel(criterion="MSELoss"))["bend"]
    halves = -math.log(2) / np.log(1 - 0.1 * EIGENVALUES)
    assert [told.values["slow_half_life"], told.values["fast_half_life"]] == pytest.approx(halves, rel=1e-6)
    assert "bend" not in kinds(ones["momentum"].sel(criterion="MSELoss"))  # it orbits
    assert "bend" not in kinds(ones["plain"].sel(criterion="L1Loss"))
    along = bowl(np.diag([1.0, 4.0]), np.zeros(2), [0.0, 3.0])
    assert "bend" not in kinds(ravine.descend(along, lr=0.05))  # straight along one axis


def test_decay_moves_the_goal(ones):
    told = by_kind(ones["weight decay"].sel(criterion="MSELoss"))
    values = told["goal"].values
    moved = np.linalg.solve(HESSIAN + 2 * np.eye(2), HESSIAN @ [0.92582731926873609, 2.48438424529315239])
    assert [values["goal weight"], values["goal bias"]] == pytest.approx(moved, rel=1e-7)
    end = ones["weight decay"].sel(criterion="MSELoss").isel(step=-1)
    assert end.position.values == pytest.approx(moved, rel=1e-4)
    assert values["data_loss"] == pytest.approx(float(end.loss), rel=1e-4)
    for criterion, goal in (("L1Loss", (-0.0470, 0.5000)), ("HuberLoss", (-0.0428, 0.4906))):
        values = by_kind(ones["weight decay"].sel(criterion=criterion))["goal"].values
        assert [values["goal weight"], values["goal bias"]] == pytest.approx(goal, abs=6e-5)
    assert "goal" not in kinds(ones["nesterov"].sel(criterion="MSELoss"))
    centred = ravine.descend(ravine.gallery.quadratic(), lr=0.1, weight_decay=0.5)
    assert "goal" not in kinds(centred)  # the minimum is the origin already
    searched = by_kind(ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, weight_decay=0.5))["goal"]
    assert searched.scope == "local"
    assert searched.values["goal x"] == pytest.approx(0.6765, abs=6e-5)


def test_decay_against_the_data(ones):
    start = np.array([6.0, -3.0])
    for criterion, share in (("MSELoss", 0.48), ("L1Loss", 0.934), ("HuberLoss", 0.936)):
        run = ones["weight decay"].sel(criterion=criterion)
        values = by_kind(run)["pull"].values
        recorded = ravine.descend(ravine.gallery.article()[criterion], lr=0.1, steps=1, also=("gradient",))
        data = float(np.linalg.norm(recorded.gradient[0]))
        assert values["data_pull"] == pytest.approx(data, rel=1e-4)
        assert values["decay_pull"] == pytest.approx(2 * np.linalg.norm(start), rel=1e-6)
        assert values["share"] == pytest.approx(share, abs=0.006)
        assert values["points"] == 50
        assert bool((run.prediction < run.targets).all())
    assert "pull" not in kinds(ones["nesterov"].sel(criterion="L1Loss"))


def test_better_on_the_way(ones):
    run = ones["weight decay"].sel(criterion="L1Loss")
    values = by_kind(run)["better before"].values
    assert values["step"] == int(run.loss.values.argmin())
    assert values["best"] == float(run.loss.min()) < values["last"] == float(run.loss[-1])
    assert "better before" not in kinds(ones["nesterov"].sel(criterion="L1Loss"))
    short = by_kind(ones["weight decay"].sel(criterion="MSELoss").isel(step=slice(0, 4)))
    assert "better before" not in short  # it is still on its way down


def test_bounded_slopes(ones):
    run = ones["plain"].sel(criterion="L1Loss")
    told = by_kind(run)["bounded slope"]
    recorded = ravine.descend(ravine.gallery.article()["L1Loss"], lr=0.1, also=("gradient",))
    steepest = float(np.linalg.norm(recorded.gradient, axis=1)[:-1].max())
    assert told.values["slope"] == pytest.approx(steepest, rel=1e-4)
    for name in ("momentum", "nesterov", "dampening"):  # read off the steps, through the velocity
        also = ravine.descend(ravine.gallery.article()["L1Loss"], also=("gradient",), **bare.SETTINGS[name])
        here = by_kind(ones[name].sel(criterion="L1Loss"))["bounded slope"]
        assert here.values["slope"] == pytest.approx(by_kind(also)["bounded slope"].values["slope"], rel=1e-3)
    assert "bounded slope" not in kinds(ones["plain"].sel(criterion="MSELoss"))
    assert "bounded slope" not in kinds(ones["weight decay"].sel(criterion="L1Loss"))


def test_runs_that_are_equal_in_every_bit(ones):
    found = [each for each in ravine.explain(ones["plain"]) if each.kind == "same run"]
    assert [each.values["labels"] for each in found] == ["HuberLoss, SmoothL1Loss"]
    assert not found[0].about
    assert ravine.explain(ones["plain"])[0] is not None
    assert ravine.explain(ones["plain"])[0].kind == "same run"
    assert not [e for e in ravine.explain(ones["plain"].sel(criterion=["MSELoss", "L1Loss"])) if e.kind == "same run"]
    nudged = ones["plain"].copy(deep=True)
    nudged["position"].loc[{"criterion": "HuberLoss", "step": 50}] *= 1 + 1e-6
    assert not [each for each in ravine.explain(nudged) if each.kind == "same run"]


def test_arrival_with_and_without(ones):
    long = ravine.descend(ravine.gallery.article(), lr=0.1, steps=200)
    for criterion, here, there, verdict in (
        ("MSELoss", 42, 12, "does not help"),
        ("L1Loss", 50, 104, "helps"),
        ("HuberLoss", 46, 110, "helps"),
    ):
        told = by_kind(ones["momentum"].sel(criterion=criterion), against=long)["with and without"]
        assert (told.values["step"], told.values["step_instead"]) == (here, there)
        assert f"momentum 0.9 {verdict}: it arrives at step {here}; with momentum 0 it arrives at step {there}" in str(
            told
        )
    assert "with and without" not in kinds(ones["momentum"].sel(criterion="MSELoss"))
    moved = ravine.descend(ravine.gallery.article()["MSELoss"].starting_at({"weight": 1.0}), lr=0.1)
    assert "with and without" not in by_kind(ones["momentum"].sel(criterion="MSELoss"), against=moved)
    assert "with and without" not in by_kind(ones["plain"], against=ones["plain"])
    assert "with and without" not in by_kind(ones["weight decay"], against=ones["nesterov"])  # another goal


def test_l1_never_settles():
    hops = []
    for lr in (0.1, 0.05):
        run = ravine.descend(ravine.gallery.article()["L1Loss"], lr=lr, steps=600)
        told = by_kind(run)["jitter"]
        quarter = np.linalg.norm(np.diff(run.position.values.astype(float), axis=0)[-150:], axis=1)
        assert told.values["hop"] == pytest.approx(quarter.mean(), rel=1e-6)
        hops.append(told.values["hop"])
    assert hops[0] / hops[1] == pytest.approx(2, rel=0.5)
    assert "jitter" not in kinds(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, steps=600))
    shrinking = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.98)
    assert "jitter" not in kinds(ravine.descend(ravine.gallery.article()["L1Loss"], lr=0.1, scheduler=shrinking))


def test_l1_with_decay_may_lock_below_the_linear_limit():
    locked = ravine.gallery.article()["L1Loss"].starting_at({"weight": 0.0, "bias": 49.5})
    told = by_kind(ravine.descend(locked, lr=0.99, weight_decay=2.0, steps=300))
    assert not {"margin", "beyond the limit", "momentum", "diverged"} & set(told)
    assert told["arrival"].values["outcome"] == "not arrived"
    assert told["jitter"].values["hop"] == pytest.approx(99, rel=0.01)
    assert "kink" not in told["jitter"].sentence


def test_the_floor_of_rounding(ones):
    told = by_kind(ones["plain"].sel(criterion="MSELoss"))["floor"]
    losses = ones["plain"].loss.sel(criterion="MSELoss").values
    late = np.abs(np.diff(losses.astype(float)))[int(told.values["step"]) :]
    assert late.max() <= 2 * np.spacing(losses[-1])
    assert "floor" not in kinds(ones["momentum"].sel(criterion="MSELoss"))
    crawls = ravine.descend(ravine.gallery.article()["MSELoss"], lr=1e-9)  # still, and far from the minimum
    assert "floor" not in kinds(crawls)


# ------------------------------------------------------------------------------------------ slow, diverging, cycling


def test_why_it_diverges(mse):
    told = by_kind(ravine.descend(mse, lr=2.5))
    assert told["diverged"].values["first_nonfinite"] == 29
    assert ravine.explain(ravine.descend(mse, lr=2.5))[0].kind == "diverged"
    over = told["beyond the limit"]
    assert over.values["limit"] == pytest.approx(2 / EIGENVALUES[1], rel=1e-8)
    assert over.values["rate"] == pytest.approx(2.5 * EIGENVALUES[1] - 1, rel=1e-8)
    assert not {"margin", "arrival", "swing"} & set(told)


def test_which_knob_makes_it_diverge(mse):
    ahead = by_kind(ravine.descend(mse, lr=0.7, momentum=0.9, nesterov=True))["beyond the limit"]
    assert ahead.values["limit_without_nesterov"] == pytest.approx(3.8 / EIGENVALUES[1], rel=1e-8)
    assert "diverged" not in kinds(ravine.descend(mse, lr=0.7, momentum=0.9))
    decayed = by_kind(ravine.descend(mse, lr=0.7, weight_decay=2.0))["beyond the limit"]
    assert decayed.values["limit_without_decay"] == pytest.approx(2 / EIGENVALUES[1], rel=1e-8)
    assert "diverged" not in kinds(ravine.descend(mse, lr=0.7))
    ahead = {"lr": 2.0, "momentum": 0.9, "nesterov": True}
    huber = ravine.gallery.article()["HuberLoss"]  # decay has moved its minimum to where it is flatter
    over = by_kind(ravine.descend(huber, **ahead, weight_decay=2.0))["beyond the limit"]
    assert not any(name.startswith("limit_without") for name in over.values)
    assert by_kind(ravine.descend(huber, **ahead))["beyond the limit"].values["limit"] < 2
    endless = by_kind(ravine.descend(mse, lr=0.1, momentum=1.0))["beyond the limit"]
    assert endless.values["limit"] == 0
    assert endless.values["limit_without_momentum"] == pytest.approx(2 / EIGENVALUES[1], rel=1e-8)
    wild = by_kind(ravine.descend(mse, lr=2.5, momentum=0.1))["beyond the limit"]  # so it is without momentum
    assert not any(name.startswith("limit_without") for name in wild.values)


def test_at_the_limit_itself():
    unit = bowl(np.eye(1) * 2.0, np.zeros(1), [3.0])
    told = by_kind(ravine.descend(unit, lr=1.0))["beyond the limit"]
    assert (told.values["limit"], told.values["rate"]) == (1, 1)
    assert "diverged" not in kinds(ravine.descend(unit, lr=1.0))


@pytest.mark.parametrize(
    "settings", [{"lr": 1e-3}, {"lr": 1e-4}, {"lr": 0.1, "momentum": 0.99}, {"lr": 1e-4, "momentum": 0.5}]
)
def test_slow_is_not_diverging(settings):
    """The step it would arrive at is that at which a longer run does."""
    start, at = [6.0, -3.0], np.array([0.92582731926873609, 2.48438424529315239])
    run = ravine.descend(bowl(HESSIAN, at, start), **settings)
    told = by_kind(run)["arrival"]
    assert told.scope == "exact"
    path = followed(HESSIAN, at, start, 20_000, **settings) - at
    gaps = np.einsum("ki,ij,kj->k", path, HESSIAN, path)
    assert told.values["expected"] == np.flatnonzero(gaps > 0.01 * gaps[0])[-1] + 1


def test_very_slow_arrives_about_there():
    run = ravine.descend(bowl(np.diag([1e-4, 1.0]), np.zeros(2), [5.0, 3.0]), lr=0.01)
    told = by_kind(run)["arrival"]
    # the steep part is 9 of 9.0025: what is left is below 1 % of the gap at once
    assert told.values["expected"] < 1000
    run = ravine.descend(bowl(np.diag([1e-4, 1.0]), np.zeros(2), [5.0, 0.01]), lr=0.01)
    told = by_kind(run)["arrival"]
    exact = math.log(math.sqrt(0.01 * (25e-4 + 1e-4) / 25e-4)) / math.log(1 - 1e-6)
    assert told.values["expected"] == pytest.approx(exact, rel=0.01)


def test_nothing_arrives_whose_steps_sink_into_rounding(mse):
    told = by_kind(ravine.descend(mse, lr=1e-8))["arrival"]
    assert told.scope == "measured"
    assert "expected" not in told.values


def test_huber_cycles_over_the_local_limit():
    run = ravine.descend(ravine.gallery.article()["HuberLoss"], lr=3.0, steps=300)
    told = by_kind(run)
    over = told["beyond the limit"]
    assert over.scope == "local"
    late = run.loss.values[-75:]
    assert (over.values["low"], over.values["high"]) == pytest.approx((late.min(), late.max()), rel=1e-6)
    assert "diverged" not in told
    assert not any("diverges" in each.sentence for each in told.values())


def test_maximize_climbs(mse):
    told = by_kind(ravine.descend(mse, lr=0.01, maximize=True, momentum=0.5, nesterov=True))
    assert set(told) == {"climb", "first step", "effective lr"}
    assert "climb" not in kinds(ravine.descend(mse, lr=0.01))


def test_a_schedule_is_held_against_the_limit(mse):
    calm = by_kind(ravine.descend(mse, lr=0.1, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=30)))
    assert calm["margin"].values["steps_over"] == 0
    assert not {"momentum", "swing", "effective lr", "bend"} & set(calm)
    wild = by_kind(
        ravine.descend(mse, lr=1.5, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=4, gamma=0.5))
    )
    assert wild["margin"].values["steps_over"] == 4
    assert wild["margin"].scope == "local"


# ------------------------------------------------------------------------------------------- other problems and rules


def test_on_four_problems(case):
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.5)
    told = by_kind(run)
    assert all(isinstance(each, Finding) and each.sentence[-1] == "." for each in told.values())
    known = "hessian" in run
    assert ("no curvature" in told) is not known
    assert ("margin" in told) is known


def test_landmarks_that_are_merged_in_are_used(all_cases):
    case = all_cases["rosenbrock"]
    run = ravine.descend(case.problem, lr=case.lr)
    assert "no curvature" in by_kind(run)
    told = by_kind(run.assign(ravine.landmarks(case.problem, near=run.position.values[-1])))
    assert "no curvature" not in told
    assert told["margin"].scope == "local"
    curvature = np.linalg.eigvalsh(np.array([[802.0, -400.0], [-400.0, 200.0]]))[-1]
    assert told["margin"].values["limit"] == pytest.approx(2 / curvature, rel=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["rosenbrock", "beale", "himmelblau", "styblinski_tang"])
def test_nothing_is_exact_that_is_no_quadratic(name, momentum):
    problem = getattr(ravine.gallery, name)()
    for lr in (1e-4, 1e-3, 1e-1):
        for each in ravine.explain(ravine.descend(problem, lr=lr, momentum=momentum)):
            assert each.scope != "exact" or each.kind in ("effective lr", "first step", "dampening")
            assert each.scope != "local" or each.sentence.startswith("Locally, ")


@pytest.mark.parametrize("rule", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.AdamW, torch.optim.Adagrad])
def test_of_other_optimizers_only_what_was_measured(mse, rule):
    run = ravine.descend(mse, rule, lr=0.1)
    told = by_kind(run.assign_coords(momentum=0.0, dampening=0.0, nesterov=False))
    assert all(each.scope == "measured" or each.kind == "decoupled" for each in told.values())
    assert "arrival" in told
    assert ("decoupled" in told) == (rule is torch.optim.AdamW)


def test_groups_and_batches_are_only_measured(mse):
    grouped = ravine.descend(mse, lr=0.1, momentum=0.9, groups={"bias": {"lr": 0.01}})
    batched = ravine.descend(mse, lr=0.1, momentum=0.9, batch_size=10)
    for run in (grouped, batched):
        exact = {each.kind for each in ravine.explain(run) if each.scope != "measured"}
        assert exact <= {"effective lr"}
    assert not {each.kind for each in ravine.explain(grouped) if each.scope != "measured"}


def test_a_run_that_was_not_torchs_is_not_exact(mse):
    run = ravine.descend(mse, lr=0.1)
    assert by_kind(run)["margin"].scope == "exact"
    assert by_kind(run.assign_coords(lr=0.05))["margin"].scope == "local"  # its steps were others
    assert by_kind(run.assign_coords(momentum=0.5))["margin"].scope == "local"
    bent = run.assign(loss=run.loss * (1 + 1e-3 * run.loss / run.loss[0]))
    assert by_kind(bent)["margin"].scope == "local"


def test_a_run_that_does_not_move_shows_no_shape():
    problem = bowl(np.eye(2), np.ones(2), [1.0, 1.0])
    told = by_kind(ravine.descend(problem, lr=0.1))
    assert told["arrival"].values["step"] == 0
    assert told["margin"].scope == "local"
    assert not ravine.explain(ravine.descend(problem, lr=0.1, steps=0))


def test_what_is_missing_is_named(mse):
    run = ravine.descend(mse, lr=0.1, steps=5)
    with pytest.raises(ValueError, match=r"no 'position' .*ravine.descend\(problem\)"):
        ravine.explain(run.drop_vars("position"))
    with pytest.raises(ValueError, match=r"no 'loss' .*ravine.descend\(problem\)"):
        ravine.explain(run.drop_vars("loss"))
    with pytest.raises(TypeError, match=r"expected a study \(an xarray.Dataset\), got a list of 1: .* ravine.join"):
        ravine.explain([run])
    with pytest.raises(ValueError, match="no 'position'"):
        ravine.explain(run, against=run.drop_vars("position"))


def test_refused_settings_and_interrupted_runs(mse):
    runs = ravine.sweep(mse, lr=[0.1, -0.1])
    told = ravine.explain(runs)
    refused = [each for each in told if each.about == {"lr": -0.1}]
    assert [each.kind for each in refused] == ["refused"]
    assert refused[0].values["error"].startswith("Invalid learning rate: -0.1")
    run = ravine.descend(mse, lr=0.1, momentum=0.9)
    cut = run.isel(step=slice(0, 41)).reindex(step=range(101)).assign(steps_taken=40)
    assert by_kind(cut)["arrival"].sentence == by_kind(run.isel(step=slice(0, 41)))["arrival"].sentence


def test_a_study_of_runs_is_told_run_by_run(mse):
    runs = ravine.join({name: ravine.descend(mse, **s) for name, s in bare.SETTINGS.items()})
    found = ravine.explain(runs)
    for name in bare.SETTINGS:
        alone = ravine.explain(ravine.descend(mse, **bare.SETTINGS[name]))
        here = [each for each in found if each.about == {"run": name}]
        assert [each.sentence for each in here] == [each.sentence for each in alone]
    saved = [str(each) for each in found]
    assert saved[0].startswith("plain: It arrives at step 12")
    swept = ravine.sweep(mse, lr=[0.1, 2.5], momentum=[0.0, 0.9])
    labels = {tuple(each.about) for each in ravine.explain(swept)}
    assert labels == {("lr", "momentum")}


def test_findings_are_kept_through_a_file(tmp_path, ones):
    run = ones["weight decay"]
    path = ravine.save(run, tmp_path / "run.nc")
    assert [str(e) for e in ravine.explain(ravine.open(path))] == [str(e) for e in ravine.explain(run)]


def test_explaining_changes_nothing(ones):
    before = ones["dampening"].copy(deep=True)
    ravine.explain(ones["dampening"], against=ones["plain"])
    assert ones["dampening"].identical(before)


def test_a_finding_is_frozen():
    told = Finding("x", "A sentence.", {"a": 1.0}, "exact")
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.kind = "y"
    with pytest.raises(TypeError):
        told.values["a"] = 2.0
    assert str(told) == "A sentence. (exact)"
    assert (
        str(dataclasses.replace(told, about={"lr": 0.1, "nesterov": True}))
        == "lr 0.1, nesterov True: A sentence. (exact)"
    )
    assert str(dataclasses.replace(told, sentence="Locally, so.", scope="local")) == "Locally, so."


def test_every_finding_is_in_the_tour():
    from ravine import _findings

    names = [each.name for each in pkgutil.iter_modules(_findings.__path__, "ravine._findings.")]
    rooms = map(importlib.import_module, names)
    functions = {each for room in rooms for each in vars(room).values() if inspect.isfunction(each)}
    of_one_run = {each for each in functions if each.__annotations__ == {"run": "Run", "return": "Finding | None"}}
    assert {each for each in of_one_run if not each.__name__.startswith("_")} == set(FINDINGS)
    assert len(set(FINDINGS)) == len(FINDINGS)


# --------------------------------------------------------------------------------------------- what was once said wrong


def sentence(run, kind):
    return by_kind(run)[kind].sentence


def test_rates_that_are_alike_are_not_told_as_a_gain(mse):
    for settings in ({"lr": 0.01, "momentum": 0.5, "dampening": 0.5}, {"lr": 0.5, "momentum": 0.3, "nesterov": True}):
        said = sentence(ravine.descend(mse, **settings), "momentum")
        assert "makes little difference here" in said
        assert not any(each in said for each in ("helps", "slower", "instead of", "would pay"))
    assert "1.3 % a step with it and without." in sentence(
        ravine.descend(mse, lr=0.01, momentum=0.5, dampening=0.5), "momentum"
    )


def test_momentum_is_not_praised_where_it_comes_later():
    """The flat direction rules the long run, and this start has next to nothing along it."""
    valley = ravine.gallery.quadratic(100).starting_at({"x": 1e-4, "y": -3.0})
    runs = [ravine.descend(valley, lr=0.1, momentum=m) for m in (0.0, 0.9)]
    assert by_kind(runs[0])["arrival"].values["step"] == 11
    assert by_kind(runs[1])["arrival"].values["step"] == 42
    assert "momentum" not in kinds(runs[1])


def test_only_a_round_bowl_is_called_round():
    said = sentence(ravine.descend(ravine.gallery.quadratic(50), lr=0.9, momentum=0.99), "momentum")
    assert "At condition number 50 and at this lr, momentum 0.99 is slower than none" in said
    assert "round" not in said


@pytest.mark.parametrize("settings", [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.9, "momentum": 0.9}])
def test_from_which_valley_on_momentum_pays(mse, settings):
    told = by_kind(ravine.descend(mse, **settings))["momentum"]
    lr, narrow = settings["lr"], told.values["pays_from_condition"]
    for factor, pays in ((0.97, False), (1.03, True), (10.0, True)):
        sides = EIGENVALUES[-1] / np.array([1.0, factor * narrow])
        assert (radius(sides, lr, settings["momentum"]).max() < radius(sides, lr).max()) == pays


@pytest.mark.parametrize("settings", [{"lr": 1.2}, {"lr": 1.2, "momentum": 0.1}, {"lr": 2.0, "momentum": 0.9}])
def test_of_a_run_that_diverges_nothing_else_is_told(mse, settings):
    for steps in (2, 100):
        told = kinds(ravine.descend(mse, steps=steps, **settings))
        assert "beyond the limit" in told
        assert not {"swing", "momentum", "bend", "effective lr", "first step", "nesterov"} & told
    ahead = kinds(ravine.descend(mse, lr=0.7, momentum=0.9, nesterov=True, weight_decay=0.5))
    assert ahead <= {"beyond the limit", "diverged"}


def test_a_zigzag_is_told_of_the_direction_it_goes_along(mse):
    """Both directions flip at each step; the steep one, which lasts, is named, with its own half-life."""
    said = sentence(ravine.descend(mse, lr=0.97), "swing")
    half = -math.log(2) / math.log(0.97 * EIGENVALUES[1] - 1)
    assert "along the steep direction (mostly bias)" in said
    assert said.endswith(f"halves every {half:.3g} steps.")
    short = sentence(ravine.descend(mse, lr=0.5, momentum=0.3, nesterov=True), "swing")
    assert "each step leaves 11 % of the swing at most" in short


@pytest.mark.parametrize("settings", [{"lr": 0.9}, {"lr": 1.1}, {"lr": 1.0}])
def test_a_round_bowl_has_no_steep_direction(settings):
    for start in ({"x": 6.0}, {"x": 0.0}, {"y": 0.0}):
        run = ravine.descend(ravine.gallery.quadratic(1).starting_at(start), **settings)
        assert not any("direction" in each.sentence for each in ravine.explain(run))


def test_a_straight_path_does_not_orbit():
    run = ravine.descend(ravine.gallery.quadratic(1), lr=0.1, momentum=0.9)
    across = run.position.values.astype(float) @ [1.0, 2.0]  # the start is at (6, -3)
    assert abs(across).max() < 1e-5
    assert "swings about the minimum every 13.7 steps" in sentence(run, "swing")


def test_directions_of_three():
    turned = {"p0": "flattest", "p1": "curvature 1.2", "p2": "steepest"}
    for lr, first in ((0.6, "p1"), (0.2, "p2")):
        run = ravine.descend(bowl(np.diag([0.1, 1.2, 3.0]), np.zeros(3), [9.0, 3.0, 0.05 if lr > 0.3 else 3.0]), lr=lr)
        said = sentence(run, "bend")
        assert turned[first] in said.split("settles first")[0]
        assert f"({first})" in said
        assert "flattest direction (p0)" in said
        assert "steep direction" not in said


def test_at_the_limit_only_one_direction_stays():
    said = sentence(ravine.descend(ravine.gallery.quadratic(2), lr=1.0), "beyond the limit")
    assert "the error along the steep direction (y) neither dies nor grows" in said


def test_a_start_that_never_meets_the_limit():
    for lr, fate in ((1.1, "grow"), (1.0, "not die")):
        run = ravine.descend(ravine.gallery.quadratic(100).starting_at({"y": 0.0}), lr=lr)
        told = by_kind(run)
        assert "Slow, not diverging" in told["arrival"].sentence
        said = told["beyond the limit"].sentence
        assert f"without an error along the steep direction (y), the one that would {fate};" in said
    deep = ravine.descend(ravine.gallery.quadratic(2).starting_at({"y": 0.0}), lr=0.9)
    assert deep.loss.values[-1] == 0  # below the smallest float32
    assert by_kind(deep)["margin"].scope == "exact"


def test_who_rests_at_the_minimum_is_not_told_to_leave_it():
    rest = ravine.gallery.quadratic(2).starting_at({"x": 0.0, "y": 0.0})
    told = by_kind(ravine.descend(rest, lr=1.1, momentum=0.0))
    assert "it stays at the minimum only as long as nothing pushes it" in told["beyond the limit"].sentence
    assert set(told) == {"arrival", "beyond the limit"}
    assert kinds(ravine.descend(rest, lr=0.1, momentum=0.9, nesterov=True)) <= {"arrival", "margin", "nesterov"}


GRADIENTS = {
    "rosenbrock": lambda x, y: (-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)),
    "himmelblau": lambda x, y: (
        4 * x * (x * x + y - 11) + 2 * (x + y * y - 7),
        2 * (x * x + y - 11) + 4 * y * (x + y * y - 7),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_long_swing_is_not_told_as_going_nowhere(name):
    """Momentum 0.99 remembers 100 steps: 100 are too few to tell, and 5,000, here in plain Python, arrive."""
    problem = getattr(ravine.gallery, name)()
    run = ravine.descend(problem, lr=1e-3, momentum=0.99)
    assert "jitter" not in kinds(run)
    place, velocity = np.array([float(problem.start[axis]) for axis in "xy"]), np.zeros(2)
    path = [place]
    for _ in range(5000):
        velocity = 0.99 * velocity + GRADIENTS[name](*place)
        place = place - 1e-3 * velocity
        path.append(place)
    assert np.allclose(path[:21], run.position.sel(parameter=["x", "y"])[:21], rtol=1e-3)
    assert float(problem.loss(dict(zip("xy", torch.from_numpy(place), strict=True)))) < 1e-6


def test_hops_are_not_in_proportion_to_the_learning_rate():
    lengths = []
    for lr in (0.4, 0.8):
        run = ravine.descend(ravine.gallery.article()["L1Loss"], lr=lr, steps=2000)
        told = by_kind(run)["jitter"]
        lengths.append(told.values["hop"])
        assert "proportion" not in told.sentence
        assert "swing" not in kinds(run)  # that is the same again
    assert lengths[1] > 3 * lengths[0]


def test_hopping_is_not_for_want_of_steps():
    run = ravine.descend(ravine.gallery.article()["L1Loss"], lr=5.0, momentum=0.9)
    assert "comes no nearer" in sentence(run, "jitter")
    assert "has not arrived" not in sentence(run, "bounded slope")
    longest = np.linalg.norm(np.diff(run.position.values.astype(float), axis=0), axis=1).max()
    assert f"its longest step was {longest:.2g}." in sentence(run, "bounded slope")


def test_noise_and_swings_are_not_blamed_on_decay(mse):
    noisy = ravine.descend(mse, lr=0.1, weight_decay=0.5, batch_size=1)
    swinging = ravine.descend(mse, steps=5, **bare.SETTINGS["weight decay"])
    for run in (noisy, swinging):
        assert float(run.loss.min()) < float(run.loss[-1])
        assert "better before" not in kinds(run)
    for criterion in ("MSELoss", "L1Loss"):
        run = ravine.descend(ravine.gallery.article()[criterion], lr=0.1, momentum=0.9, batch_size=1)
        assert "swing" not in kinds(run)


def test_a_goal_that_hardly_moves(mse):
    for decay, hardly in ((0.01, True), (0.5, False)):
        run = ravine.descend(mse, lr=0.1, weight_decay=decay)
        moved = np.linalg.norm(run.minimizer - run.data_minimizer) / np.linalg.norm(run.data_minimizer)
        assert (moved < 0.01) == hardly
        assert ("hardly moves the goal" in sentence(run, "goal")) == hardly


def test_dampening_that_turns_or_takes_the_push(mse):
    lost = by_kind(ravine.descend(mse, lr=0.01, momentum=0.9, dampening=1.5))
    assert "turns each new push after the first uphill" in lost["dampening"].sentence
    assert "Without dampening the limit would be 1.85" in lost["beyond the limit"].sentence
    none = by_kind(ravine.descend(mse, lr=0.01, momentum=0.9, dampening=1.0))
    assert "takes away every push but the first" in none["dampening"].sentence
    assert "effective lr" not in set(lost) | set(none)


def test_what_landmarks_did_not_find_is_not_asked_of_them_again():
    saddle = ravine.gallery.saddle()
    run = ravine.descend(saddle, lr=0.01)
    assert "ravine.landmarks" in sentence(run, "no curvature")
    looked = run.assign(ravine.landmarks(saddle, near={"x": 0.0, "y": 0.0}))
    assert sentence(looked, "no curvature").endswith(
        "no minimum was found nearby (at (0, 0) the loss bends down, its lowest curvature is −2 "
        "(searched from the place given))."
    )


def test_numbers_are_written_as_people_do(mse):
    assert "every 340 steps, that along the flat direction (mostly weight) every 540." in sentence(
        ravine.descend(mse, lr=1e-3, steps=1000), "bend"
    )
    assert "be 1.95 times as high before" in sentence(ravine.descend(mse, lr=0.5), "margin")  # twice is over it
    l1 = ravine.gallery.article()["L1Loss"]
    assert sentence(ravine.descend(l1, lr=0.1, steps=1), "arrival").startswith("After 1 step it")
    near = ravine.descend(l1, lr=0.1, weight_decay=0.01)
    assert "the gap is at just over 1 % of its start" in sentence(near, "arrival")
    away = ravine.descend(l1, lr=0.1, momentum=0.9, dampening=1.5)
    assert "the gap is 9 times that at the start" in sentence(away, "arrival")
    assert "it would arrive at step 127." in sentence(ravine.descend(mse, lr=0.01), "arrival")
    even = ravine.descend(l1, lr=6.0, momentum=0.5, steps=200)
    assert sentence(even, "jitter").endswith("with a loss of 2.02.")
    climbing = ravine.descend(l1, lr=0.1, maximize=True, weight_decay=0.5)
    assert "yet the loss goes from 6.03 to 4.42: weight decay" in sentence(climbing, "climb")


# ---------------------------------------------------------------------------------- what is said is what the run does

STEPS = 120


def drawn(count=240):
    random = np.random.default_rng(7)
    for k in range(count):
        size = int(random.integers(1, 4))
        turn = np.linalg.qr(random.standard_normal((size, size)))[0]
        curvatures = np.sort(np.exp(random.uniform(-2, 1.5, size)))
        nesterov = k % 4 == 1
        settings = {
            "momentum": float(random.choice([0.0, 0.3, 0.5, 0.9]))
            if not nesterov
            else float(random.choice([0.3, 0.9])),
            "weight_decay": float(random.choice([0.0, 0.0, 0.4, 2.0])),
            "nesterov": nesterov,
        }
        settings["dampening"] = float(random.choice([0.0, 0.5, 0.8])) if settings["momentum"] and not nesterov else 0.0
        top = curvatures[-1] + settings["weight_decay"]
        settings["lr"] = float(np.exp(random.uniform(np.log(0.01), np.log(2.6)))) / top
        at, start = random.standard_normal(size) * 2, random.standard_normal(size) * 4
        marks = () if k < 60 or k == 122 else pytest.mark.slow  # of the rest, only that one speaks of its course
        yield pytest.param(turn, curvatures, at, start, settings, id=str(k), marks=marks)


@pytest.mark.parametrize(("turn", "curvatures", "at", "start", "settings"), list(drawn()))
def test_what_is_said_is_what_the_run_does(turn, curvatures, at, start, settings):
    hessian = (turn * curvatures) @ turn.T
    hessian = (hessian + hessian.T) / 2
    decay = settings["weight_decay"]
    rule = {name: settings[name] for name in ("momentum", "dampening", "nesterov")}
    lr, whole = settings["lr"], curvatures + decay
    goal = np.linalg.solve(hessian + decay * np.eye(len(at)), hessian @ at)
    run = ravine.descend(bowl(hessian, at, start), steps=STEPS, **settings)
    told = by_kind(run)
    path = followed(hessian, at, start, 6000, **settings) - goal
    seen = min(len(path), STEPS + 1)
    assert path[:seen] + goal == pytest.approx(run.position.values[:seen], rel=1e-7, abs=1e-9)
    radii = radius(whole, lr, **rule)

    # it diverges or not, and how far it is from that
    grows = radii.max() > 1
    assert ("beyond the limit" in told) == grows
    assert ("margin" in told) == (not grows)
    limit = told["beyond the limit" if grows else "margin"]
    assert limit.scope == "exact"
    assert radius(whole, limit.values["limit"] * 0.999, **rule).max() < 1
    assert radius(whole, limit.values["limit"] * 1.001, **rule).max() > 1
    assert (np.linalg.norm(path[-1]) > np.linalg.norm(path[0])) == grows
    if grows:
        assert limit.values["rate"] == pytest.approx(radii.max(), rel=1e-7)
        assert "arrival" not in told or told["arrival"].values["outcome"] != "arrived"
        return
    assert "diverged" not in told

    # where it goes
    if "goal" in told:
        names = run.parameter.values
        assert [told["goal"].values[f"goal {n}"] for n in names] == pytest.approx(goal, rel=1e-6, abs=1e-7)
    assert ("goal" in told) == (decay > 0)

    # how fast
    if "momentum" in told:
        values = told["momentum"].values
        assert values["rate"] == pytest.approx(radii.max(), rel=1e-6)
        assert values["rate_without"] == pytest.approx(abs(1 - lr * whole).max(), rel=1e-9)
        halvings = np.log(values["rate_without"]) / np.log(values["rate"])
        if "little difference" in told["momentum"].sentence:
            assert 1 / 1.11 < halvings < 1.11
        else:
            assert ("slower than none" in told["momentum"].sentence) == (values["rate"] > values["rate_without"])
            assert not 1 / 1.01 < halvings < 1.01

    # when it arrives
    gaps = np.einsum("ki,ij,kj->k", path, hessian + decay * np.eye(len(at)), path)
    arrives = np.flatnonzero(gaps > 0.01 * gaps[0])[-1] + 1
    values = told["arrival"].values
    assert values.get("expected", values["step"]) == arrives
    assert ("expected" in values) == (arrives > STEPS)

    # how it swings: angles of the step's roots, and errors that come out on the other side
    errors = path @ turn
    shares = whole * errors[0] ** 2 / (whole @ errors[0] ** 2)
    angles = []
    for curvature in whole[shares > 0.01]:
        roots = np.linalg.eigvals(_matrix(curvature, lr, **rule))
        angles.append(abs(np.angle(roots[abs(roots).argmax()])))
    periods = [2 * math.pi / angle for angle in angles if angle > 1e-6]
    if "swing" in told:
        values = told["swing"].values
        for period in (values["shortest_period"], values["longest_period"]):
            assert min(abs(period / each - 1) for each in periods) < 1e-6
        across = errors[: STEPS * 5] / errors[0]
        assert across[:, shares > 0.01].min() < -0.01
    else:
        faded = [radii[shares > 0.01][k] ** (math.pi / a) for k, a in enumerate(angles) if a > 1e-6]
        assert all(each < 0.05 for each in faded)


# -- as they are shown -------------------------------------------------------------------------------------------


def test_findings_print_as_sentences_and_are_a_list_in_all_else():
    told = ravine.explain(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9))
    assert repr(told) == str(told) == "\n".join(f"• {each}" for each in told)
    assert isinstance(told, list)
    assert told == list(told)
    assert list(told) == told
    assert repr(told[1:3]) == f"• {told[1]}\n• {told[2]}"
    assert told[-1] is list(told)[-1]
    html = ravine.explain(ravine.join({"<a>": ravine.descend(ravine.gallery.quadratic(), lr=0.1)}))._repr_html_()
    assert html.startswith("<ul><li>&lt;a&gt;: It ")
    assert html.count("<li>") > 1
    empty = told[:0]
    assert repr(empty) == "[]"
    assert json.dumps(empty) == "[]"


def test_a_large_recording_is_looked_at_some_steps_at_a_time(monkeypatch):
    """What is said does not hang on how many steps are looked at at once."""
    from ravine._findings import run as of_runs

    start = {"x": torch.linspace(-1, 1, 7)}
    problem = ravine.Problem(lambda p: (p["x"][:5] ** 2).sum() / 2 + 0 * p["x"].sum(), start)
    run = ravine.descend(problem, lr=0.1, momentum=0.5, steps=60)
    whole = list(map(str, ravine.explain(run)))
    assert any("2 of 7 parameters never move" in each for each in whole)
    monkeypatch.setattr(of_runs, "LARGE", 20)  # two steps at a time
    assert list(map(str, ravine.explain(run))) == whole


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([2.3026, 2.3031, 2.3019, 2.3022], "from 2.3026 to 2.3022 .*highest at step 1 .2.3031.*best at step 2 .2.3019"),
        ([2.303, 2.304, 2.3021, 2.302], "from 2.303 to 2.302 .*highest at step 1 .2.304"),
        ([1.0, 2.0, 2.3002, 2.3], "from 1 to 2.3 .*highest at step 2 .2.3002"),
        ([5.0, 9.0, 3.0, 4.0], "from 5 to 4 .*highest at step 1 .9.*best at step 2 .3"),
    ],
)
def test_the_highest_and_the_best_loss_read_as_such(losses, said):
    problem = ravine.Problem(lambda p: p["x"].sin() + p["y"].cos(), start={"x": 1.0, "y": 0.0})
    run = ravine.descend(problem, lr=0.1, steps=3)
    found = next(each for each in ravine.explain(run.assign(loss=("step", losses))) if each.kind == "course")
    assert re.search(said, str(found)), str(found)
    numbers = [float(each) for each in re.findall(r"(?:from|to|\() ?(-?\d+\.?\d*)", str(found))]
    first, last, high, *low = numbers
    assert (first, last) == pytest.approx((losses[0], losses[-1]), rel=1e-3)
    assert high > max(first, last)
    assert all(each < min(first, last) for each in low)
