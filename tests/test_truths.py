"""Premises of sentences: each is looked at before it is relied on. Right values come from plain numpy and torch."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine import theory
from ravine._findings.momentum import _faster
from ravine._format import at_least, at_most, names, times, told_apart
from ravine._study.rule import conditions_of

S = torch.optim.lr_scheduler
DOUBLE = torch.float64


def by_kind(run, **more):
    return {each.kind: each for each in ravine.explain(run, **more)}


def said(run, **more):
    return " ".join(each.sentence for each in ravine.explain(run, **more))


def bowl(curvatures, start, dtype=DOUBLE, floor=0.0):
    """A quadratic along the axes, lowest at the origin."""

    def loss(p):
        return sum(c * p[name] ** 2 for c, name in zip(curvatures, p, strict=True)) / 2 + floor

    names = [f"p{k}" for k in range(len(start))]
    values = {name: torch.tensor(value, dtype=dtype) for name, value in zip(names, start, strict=True)}
    return ravine.Problem(loss, values, minimizers=[dict.fromkeys(names, 0.0)])


def followed(curvatures, start, lr, steps):
    """Gaps of plain gradient descent along each axis."""
    c, x = np.array(curvatures), np.array(start, dtype=float)
    powers = (1 - lr * c) ** np.arange(steps + 1)[:, None]
    return (c * (powers * x) ** 2).sum(1) / 2


@pytest.fixture(scope="module")
def mse():
    return ravine.gallery.article()["MSELoss"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    x = torch.randn(20, 2)
    return ravine.Problem.of(model, torch.nn.MSELoss(), (x, x[:, :1] * x[:, 1:]))


# ------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("curvatures", "start"),
    [([1e-6, 1e-4], [0.5, 1.0]), ([1e-6, 2e-4], [0.3, 1.0]), ([2e-6, 1e-4, 3e-2], [0.2, 1.0, 4.0])],
)
def test_a_far_arrival_is_that_of_all_modes(curvatures, start):
    run = ravine.descend(bowl(curvatures, start), lr=1.0, steps=50)
    gaps = followed(curvatures, start, 1.0, 2_000_000)
    arrives = int(np.flatnonzero(gaps > 0.01 * gaps[0])[-1]) + 1
    assert by_kind(run)["arrival"].values["expected"] == pytest.approx(arrives, abs=1.5)


def bent(p):
    x = p["x"]
    return torch.where(x.abs() <= 10, x**2 / 2, 10 * x.abs() - 50)


def huber(p):
    return torch.nn.functional.huber_loss(p["x"], torch.zeros((), dtype=DOUBLE), delta=10.0)


def quartic_far_away(p):
    x = p["x"]
    return x**2 / 2 + torch.relu(x.abs() - 100) ** 4


def level_far_away(p):
    return torch.clamp(p["x"] ** 2 / 2, max=5e5)


@pytest.mark.parametrize("loss", [bent, huber, quartic_far_away, level_far_away])
def test_a_margin_speaks_of_where_a_run_would_go(loss):
    problem = ravine.Problem(loss, {"x": torch.tensor(5.0, dtype=DOUBLE)}, minimizers=[{"x": 0.0}])
    told = by_kind(ravine.descend(problem, lr=0.3))
    assert told["margin"].scope == "local"
    assert told["margin"].values["limit"] == pytest.approx(2.0)
    over = by_kind(ravine.descend(problem, lr=3.0, steps=3))["beyond the limit"]
    assert over.scope == "local"
    assert "diverges" not in over.sentence
    whole = ravine.Problem(lambda p: p["x"] ** 2 / 2, problem.start, minimizers=[{"x": 0.0}])
    assert by_kind(ravine.descend(whole, lr=0.3))["margin"].scope == "exact"


@pytest.mark.parametrize(
    ("curvatures", "start", "own"),
    [([0.2, 2.0], [6.0, 0.0], 10.0), ([0.5, 1.0, 4.0], [3.0, 2.0, 0.0], 2.0), ([1.0, 3.0, 9.0], [1.0, 0.0, 0.0], 2.0)],
)
def test_a_start_without_an_error_along_the_steepest_direction_has_two_limits(curvatures, start, own):
    told = by_kind(ravine.descend(bowl(curvatures, start), lr=0.1))["margin"]
    assert told.values["limit"] == pytest.approx(2 / curvatures[-1])
    assert told.values["limit_of_start"] == pytest.approx(own)
    beyond = by_kind(ravine.descend(bowl(curvatures, start), lr=0.9 * own))["beyond the limit"]
    assert beyond.values["limit_of_start"] == pytest.approx(own)
    everywhere = [each or 1e-3 for each in start]
    assert "limit_of_start" not in by_kind(ravine.descend(bowl(curvatures, everywhere), lr=0.1))["margin"].values


def test_an_error_that_is_small_is_still_one():
    """A millionth of a millionth of the start grows as well, and rounding does not."""
    run = ravine.descend(bowl([0.2, 2.0], [6.0, 1e-11]), lr=1.1, steps=50)
    told = by_kind(run)
    assert told["beyond the limit"].values["rate"] == pytest.approx(1.2)
    assert abs(float(run.position[-1, 1])) > 100 * 1e-11


def test_the_largest_curvature_alone_decides_nothing(network):
    run = ravine.descend(network, lr=0.1, steps=30)
    hessian = ravine.curvature.hessian(network, run.position.values[-1])
    assert np.linalg.eigvalsh(hessian)[0] < 0
    told = by_kind(run.assign(sharpness=ravine.sharpness(network, run)))["sharpness"]
    assert "is stable" not in told.sentence
    assert told.values["share"] < 1
    assert told.values["limit"] == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=1e-4)
    over = by_kind(run.assign(sharpness=ravine.sharpness(network, run)).assign_coords(lr=5.0))["sharpness"]
    assert over.values["share"] > 1


@pytest.mark.parametrize("name", ["saddle", "himmelblau", "styblinski_tang"])
def test_where_a_loss_bends_down_no_lr_is_called_stable(name):
    problem = getattr(ravine.gallery, name)().starting_at([0.1, 0.2])
    bends = np.linalg.eigvalsh(ravine.curvature.hessian(problem))
    run = ravine.descend(problem, lr=1e-4, steps=1)
    told = by_kind(run.assign(sharpness=ravine.sharpness(problem, run)))
    assert bends[0] < 0
    assert "stable" not in " ".join(each.sentence for each in told.values())
    assert bends[1] <= 0 or told["sharpness"].values["limit"] == pytest.approx(2 / bends[1], rel=0.01)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.0, 2.1, "2.1× faster in one direction and at 1 of the speed in another than"),
        (1.001, 2.14, "up to 2.2× faster than"),
        (2.3, 3.2, "2.3 to 3.2× faster than"),
        (2.0, 2.0, "2× faster than"),
        (0.31, 2.15, "2.1× faster in one direction and at 0.31 of the speed in another than"),
        (0.3, 0.8, "more slowly, at 0.3 to 0.8 of the speed, than"),
        (0.5, 0.5, "more slowly, at 0.5 of the speed, than"),
    ],
)
def test_how_much_faster_swings_die_is_a_sentence(low, high, words):
    assert _faster(low, high) == words


@pytest.mark.parametrize(
    "x",
    [[[1.0, 0.1], [2.0, 0.2], [3.0, 0.3]], [[1.0, 0.7], [2.0, 1.4], [3.0, 2.1]], [[3.0, 0.3], [1.0, 0.1], [2.0, 0.2]]],
)
def test_rounding_is_no_curvature(x):
    x, t = torch.tensor(x), torch.tensor([1.0, 2.0, 2.0])
    flat = ravine.Problem(lambda p: ((x @ torch.stack([p["a"], p["b"]]) - t) ** 2).mean(), {"a": 2.0, "b": 1.0})
    found = ravine.landmarks(flat)
    curvatures = np.linalg.eigvalsh(found.hessian)
    assert 0 < abs(curvatures[0]) < 1e-6 * curvatures[1]  # made of rounding
    run = ravine.descend(flat, lr=0.05, momentum=0.5).assign(found)
    assert by_kind(run)["momentum"].values["condition"] == 1
    limit = float(ravine.measure.arrival(run).stability_limit)
    assert limit == pytest.approx(2 * 1.5 / curvatures[1], rel=1e-6)
    narrow = by_kind(ravine.descend(bowl([1e-5, 1.0], [300.0, 0.1]), lr=0.5, momentum=0.5))
    assert narrow["momentum"].values["condition"] == pytest.approx(1e5, rel=1e-6)  # in float64 that is one


# ---------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    "scheduler",
    [partial(S.OneCycleLR, max_lr=0.1, total_steps=81), partial(S.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=20)],
)
@pytest.mark.parametrize("settings", [{"nesterov": True}, {"dampening": 0.2}, {}])
def test_settings_that_a_schedule_moves_are_told_step_by_step(mse, scheduler, settings):
    run = ravine.descend(mse, lr=0.1, momentum=0.5, steps=80, scheduler=scheduler, **settings)
    parameter = torch.nn.Parameter(torch.zeros(1))
    rule = torch.optim.SGD([parameter], lr=0.1, momentum=0.5, **settings)
    schedule, rates, momenta = scheduler(rule), [], []
    for _ in range(81):
        rates.append(rule.param_groups[0]["lr"])
        momenta.append(rule.param_groups[0]["momentum"])
        parameter.grad = torch.zeros(1)
        rule.step()
        if len(rates) < 81:
            schedule.step()
    assert run.scheduled_momentum.values.tolist() == momenta
    assert run.scheduled_lr.values.tolist() == rates
    told = by_kind(run)
    top = np.linalg.eigvalsh(run.hessian)[-1]
    m, kept = np.array(momenta[:-1]), 1 - settings.get("dampening", 0.0)
    limits = 2 * (1 + m) / (((1 + 2 * m) if settings.get("nesterov") else kept) * top)
    assert told["margin"].values["limit"] == pytest.approx(limits.min(), rel=1e-6)
    assert told["margin"].values["highest_limit"] == pytest.approx(limits.max(), rel=1e-6)
    assert told["margin"].values["steps_over"] == (np.array(rates[:-1]) >= limits).sum()
    assert not {"dampening", "effective lr", "momentum", "nesterov"} & set(told)
    if settings.get("nesterov"):
        assert told["first step"].values["factor"] == pytest.approx(1 + momenta[0])


def test_the_first_beta_is_told_step_by_step(mse):
    scheduler = partial(S.OneCycleLR, max_lr=0.1, total_steps=31)
    run = ravine.descend(mse, torch.optim.Adam, lr=0.1, steps=30, scheduler=scheduler)
    assert float(run.scheduled_beta1[0]) == 0.95
    assert float(run.scheduled_beta1.min()) == pytest.approx(0.85, abs=0.01)
    plain = ravine.descend(mse, lr=0.1, momentum=0.5, scheduler=partial(S.StepLR, step_size=10))
    assert "scheduled_momentum" not in plain  # only the lr moves
    held = partial(S.OneCycleLR, max_lr=0.1, total_steps=31, cycle_momentum=False)
    assert "scheduled_momentum" not in ravine.descend(mse, lr=0.1, momentum=0.5, steps=30, scheduler=held)


def test_a_schedule_that_only_sets_another_lr_is_one(mse):
    """Half of the lr at every step: limits are held against what was used, not against what was given."""
    half = partial(S.ConstantLR, factor=0.5, total_iters=1000)
    told = by_kind(ravine.descend(mse, lr=1.2, scheduler=half))
    assert told["margin"].values["highest_lr"] == pytest.approx(0.6)
    assert told["margin"].values["steps_over"] == 0
    assert not {"beyond the limit", "effective lr"} & set(told)


FORECASTS = {"margin", "momentum", "nesterov", "beyond the limit"}


@pytest.mark.parametrize(
    "scheduler",
    [
        partial(S.StepLR, step_size=30, gamma=1e-3),
        partial(S.MultiStepLR, milestones=[50], gamma=1e-3),
        partial(S.StepLR, step_size=30, gamma=1000.0),
    ],
)
def test_a_schedule_that_has_not_acted_yet_may(scheduler):
    """The forecast holds by torch for as long as the lr stays, and not when the schedule has moved it."""
    problem = bowl([0.2, 2.0], [1.0, 1.0])
    how = {"lr": 0.01, "momentum": 0.5, "nesterov": True}
    run, plain = (ravine.descend(problem, **how, steps=20, **more) for more in ({"scheduler": scheduler}, {}))
    assert (run.position == plain.position).all()
    told, free = by_kind(run), by_kind(plain)
    expected = free["arrival"].values["expected"]
    assert told["arrival"].values["expected"] == expected
    begins = "As long as no schedule moves its settings, "
    for kind in {"arrival", *FORECASTS & set(told)}:
        assert told[kind].sentence.startswith(begins), told[kind]
        assert not free[kind].sentence.startswith(begins)
    assert not any(words in said(run) for words in ("could be", "diverges", "Beyond it"))
    arrives = {}
    for name, made in {"plain": None, "scheduled": scheduler}.items():
        leaves = [torch.tensor(1.0, dtype=DOUBLE, requires_grad=True) for _ in "xy"]
        rule = torch.optim.SGD(leaves, **how)
        schedule, losses = made(rule) if made else None, []
        for _ in range(3 * int(expected)):
            rule.zero_grad()
            loss = 0.1 * leaves[0] ** 2 + leaves[1] ** 2
            losses.append(loss.item())
            loss.backward()
            rule.step()
            if schedule is not None:
                schedule.step()
        large = np.flatnonzero(~(np.array(losses) <= 0.01 * losses[0]))
        arrives[name] = int(large[-1]) + 1
    assert arrives["plain"] == expected
    assert abs(arrives["scheduled"] - expected) > 10


def test_a_plateau_may_cut_an_lr_over_the_limit(mse):
    cut = partial(S.ReduceLROnPlateau, patience=3, factor=0.5)
    short = by_kind(ravine.descend(mse, lr=1.07, steps=3, scheduler=cut))
    assert "diverges" not in short["beyond the limit"].sentence
    assert short["beyond the limit"].sentence.startswith("As long as no schedule moves its settings, lr 1.07 is ")
    assert by_kind(ravine.descend(mse, lr=1.07, steps=300, scheduler=cut))["arrival"].values["outcome"] == "arrived"
    low = by_kind(ravine.descend(mse, lr=0.005, steps=20, scheduler=cut))["margin"]
    assert low.sentence.endswith(", the limit of the learning rate is 0.976: lr 0.005 is at 0.51 % of it.")


def test_of_a_recording_nothing_is_known_beyond_what_was_seen():
    with torch.random.fork_rng():
        line, x = torch.nn.Linear(1, 1), torch.linspace(-1, 1, 8)[:, None]
    rule = torch.optim.SGD(line.parameters(), lr=0.01)
    problem = ravine.Problem.of(line, torch.nn.MSELoss(), (x, 2 * x + 1))
    with ravine.record(line, rule, every=1) as recorder:
        for _ in range(20):
            rule.zero_grad()
            torch.nn.functional.mse_loss(line(x), 2 * x + 1).backward()
            rule.step()
    assert conditions_of(recorder.dataset()).pending
    assert not conditions_of(ravine.descend(problem, lr=0.01, steps=20)).pending


@pytest.mark.parametrize(
    ("factor", "first"), [(lambda k: 1 - k / 20, 21), (lambda k: 1.0 if k < 7 else -0.5, 7), (lambda k: -1.0, 0)]
)
def test_an_lr_below_zero_climbs(mse, factor, first):
    run = ravine.descend(mse, lr=0.1, steps=60, scheduler=partial(S.LambdaLR, lr_lambda=factor))
    found = ravine.explain(run)[0]
    assert found.kind == "negative lr"
    assert found.values["step"] == first
    assert found.values["lowest_lr"] == pytest.approx(min(0.1 * factor(k) for k in range(60)))
    assert "below it throughout" not in said(run)
    assert float(run.loss[first + 1]) > float(run.loss[first]) or first == 21  # at the minimum at first


@pytest.mark.parametrize("first", [0, 5])
def test_an_lr_that_is_no_number(mse, first):
    factor = lambda k: float("nan") if k >= first else 1.0  # noqa: E731
    run = ravine.descend(mse, lr=0.1, steps=20, scheduler=partial(S.LambdaLR, lr_lambda=factor))
    found = ravine.explain(run)[0]
    assert (found.kind, found.values["step"]) == ("negative lr", first)
    assert "margin" not in by_kind(run)
    calm = ravine.descend(mse, lr=0.1, steps=20, scheduler=partial(S.StepLR, step_size=5))
    assert "negative lr" not in by_kind(calm)


# ---------------------------------------------------------------------------------------------- momentum, nesterov


@pytest.mark.parametrize(
    ("curvatures", "lr", "momentum"), [([0.5, 1.0], 1.5, 0.3), ([0.4, 1.0], 1.4, 0.4), ([0.5, 1.0], 1.6, 0.2)]
)
def test_nesterov_is_told_of_all_directions_that_swing(curvatures, lr, momentum):
    told = by_kind(ravine.descend(bowl(curvatures, [1.0, 1.0]), lr=lr, momentum=momentum, nesterov=True))["nesterov"]

    def radius(c, ahead):
        t = (1 + momentum) * (1 - lr * c) if ahead else 1 + momentum - lr * c
        d = momentum * (1 - lr * c) if ahead else momentum
        return abs(np.roots([1, -t, d])).max()

    gains = [math.log(radius(c, True)) / math.log(radius(c, False)) for c in curvatures]
    assert [told.values["least_gain"], told.values["largest_gain"]] == pytest.approx(sorted(gains), rel=1e-9)
    assert min(gains) < 1 < max(gains)


def test_the_best_momentum_is_no_worse_than_none():
    for curvatures, lr, tau in (([1.0, 1.5], 0.7, 0.5), ([1.0, 2.0], 0.6, 0.3), ([0.1, 1.0], 0.5, 0.8)):
        best = theory.best_momentum(curvatures, lr=lr, dampening=tau)
        grid = np.linspace(0, 0.999, 4000)
        rates = theory.rate(np.array(curvatures)[:, None], lr, grid, np.where(grid > 0, tau, 0)).max(0)
        assert best.rate <= rates.min() + 1e-9
        assert theory.rate(curvatures, lr, best.momentum, tau if best.momentum else 0).max() == pytest.approx(best.rate)
    told = by_kind(ravine.descend(bowl([1.0, 1.5], [1.0, 1.0]), lr=0.7, momentum=0.9, dampening=0.5))["momentum"]
    assert told.values["best_momentum"] == 0
    assert "The best momentum" not in told.sentence


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("curvature", [1e-5, 1e-9, 1e-14])
def test_no_best_momentum_is_one(curvature, ahead):
    best = theory.best_momentum([curvature, 1.0], lr=1e-3, nesterov=ahead)
    assert not best.momentum >= 1
    run = ravine.descend(bowl([curvature, 1.0], [1.0, 1.0]), lr=1e-3, momentum=0.5, nesterov=ahead, steps=20)
    assert "momentum at this lr is 1 " not in said(run)


def test_runs_of_unlike_length_are_not_compared():
    l1 = ravine.gallery.article()["L1Loss"]
    short, long = ravine.descend(l1, lr=0.1, momentum=0.9, steps=20), ravine.descend(l1, lr=0.1, steps=200)
    assert "with and without" not in by_kind(short, against=long)
    assert "with and without" not in by_kind(long, against=short)
    whole = ravine.descend(l1, lr=0.1, momentum=0.9, steps=100)
    told = by_kind(whole, against=long)["with and without"]
    assert (told.values["step"], told.values["step_instead"]) == (50, 104)
    swinging = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9, steps=5)
    assert "with and without" not in by_kind(
        swinging, against=ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)
    )


# --------------------------------------------------------------------------------------------------------- decay


@pytest.mark.parametrize("start", [[1.0, 1.0], [1e-3, 4.0], [-2.0, 0.5]])
def test_decay_does_not_move_a_goal_that_is_the_origin(start):
    run = ravine.descend(bowl([1.0, 2.0], start), lr=0.1, weight_decay=0.5)
    assert "goal" not in by_kind(run)
    assert "goal" not in by_kind(run.drop_vars(["data_minimizer", "data_minimum_loss"]))
    nearly = run.drop_vars(["data_minimizer", "data_minimum_loss"])
    nearly["minimizer"][:] = [1.55e-171, -1e-200]
    assert "goal" not in by_kind(nearly)
    assert "no place of rest" not in said(ravine.descend(bowl([1.0, 2.0], start), torch.optim.AdamW, lr=0.1))


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
        (torch.optim.RAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ],
)
def test_of_a_gap_is_spoken_where_a_minimum_is_known(mse, network, rule, settings):
    assert (
        "the gap is that of the loss alone" in by_kind(ravine.descend(mse, rule, lr=0.1, **settings))["decoupled"].told
    )
    own = ravine.Problem(lambda p: (p["x"] ** 2 - 1) ** 2, {"x": 0.5})
    for problem in (network, own, separable("logits")):
        run = ravine.descend(problem, rule, lr=0.1, steps=20, **settings)
        assert "minimum_loss" not in run
        assert "it is not counted with the loss" in by_kind(run)["decoupled"].sentence
        assert "gap" not in said(run)


def test_decay_that_moves_a_goal_says_so(mse):
    assert "goal" in by_kind(ravine.descend(mse, lr=0.1, weight_decay=0.5))
    assert "no place of rest" in said(ravine.descend(mse, torch.optim.AdamW, lr=0.1))


def test_decay_of_groups_has_the_goal_of_its_closed_form(mse):
    run = ravine.descend(mse, lr=0.1, weight_decay=2.0, groups={"*bias": {"weight_decay": 0.0}})
    told = by_kind(run)["goal"]
    x, y = bare.article_data()
    design = np.c_[x.astype(float), np.ones(len(x))]
    hessian, pull = 2 * design.T @ design / len(x), 2 * design.T @ y.astype(float) / len(x)
    goal = np.linalg.solve(hessian + np.diag([2.0, 0.0]), pull)
    assert [told.values["goal weight"], told.values["goal bias"]] == pytest.approx(goal, rel=1e-6)
    assert float(ravine.measure.objective(run)[-1]) == pytest.approx(0.8408, abs=6e-5)


def test_there_is_no_ratio_to_rounding(mse):
    place = {"weight": 0.92582731926873609, "bias": 2.48438424529315239}
    aslant = ravine.Problem(lambda p: (p["x"] + p["y"] - 3) ** 2 + (p["x"] - 1) ** 2, {"x": 1.0, "y": 2.0})
    for problem in (mse.starting_at(place), ravine.Problem(lambda p: (p["x"] - 3) ** 2, {"x": 3.0}), aslant):
        told = by_kind(ravine.descend(problem, lr=0.1, weight_decay=2.0))["pull"]
        assert "ratio" not in told.values
    pulled = by_kind(ravine.descend(ravine.gallery.article()["L1Loss"], lr=0.1, weight_decay=2.0))["pull"]
    assert pulled.values["ratio"] == pytest.approx(14, rel=0.05)


# ---------------------------------------------------------------------------------------------- dtypes and stillness

HALF = torch.bfloat16


def test_the_dtype_that_trained_is_what_rounds():
    problem = ravine.Problem(
        lambda p: (p["x"] - 1) ** 2 + 3, {"x": torch.tensor(3.0, dtype=HALF)}, minimizers=[{"x": 1.0}]
    )
    run = ravine.descend(problem, lr=0.1, steps=200)
    assert run.position.dtype == np.float32
    told = by_kind(run)
    assert "in bfloat16" in told["floor"].sentence
    assert not ("arrival" in told and "jitter" in told)
    for dtype in (torch.float16, torch.float64):
        other = ravine.Problem(problem.loss, {"x": torch.tensor(3.0, dtype=dtype)}, minimizers=[{"x": 1.0}])
        named = str(dtype).removeprefix("torch.")
        assert f"in {named}" in by_kind(ravine.descend(other, lr=0.1, steps=400))["floor"].sentence


def test_updates_below_rounding():
    problem = ravine.Problem(lambda p: (p["x"] - 1) ** 2, {"x": torch.tensor(3.0, dtype=HALF)})
    run = ravine.descend(problem, lr=0.01, steps=400)
    x, since = torch.tensor(3.0, dtype=HALF), 0
    for k in range(400):
        moved = x - 0.01 * (2 * (x - 1))
        since = k + 1 if moved != x else since
        x = moved
    assert float(x) == float(run.position[-1, 0]) == 1.1875
    found = ravine.explain(run)[0]
    assert (found.kind, found.values["cause"], found.values["step"]) == ("still", "rounding", since)
    assert found.values["lost_below"] == pytest.approx(2.0**-7 / 2 / 0.01)
    assert float(2 * (x - 1)) < found.values["lost_below"]
    assert "bfloat16" in found.sentence


@pytest.mark.parametrize(("dtype", "eps"), [(torch.float16, 2.0**-10), (torch.float32, 2.0**-23), (HALF, 2.0**-7)])
def test_updates_below_half_of_the_next_number_of_any_dtype(dtype, eps):
    """From 1.5 on the bowl's slope is 1: an update of a third of the distance to the next number is none."""
    problem = ravine.Problem(lambda p: (p["x"] - 1) ** 2, {"x": torch.tensor(1.5, dtype=dtype)})
    run = ravine.descend(problem, lr=eps / 3, steps=20)
    assert (run.position == 1.5).all()
    found = ravine.explain(run)[0]
    assert (found.kind, found.values["cause"]) == ("still", "rounding")
    assert found.values["lost_below"] == pytest.approx(1.5)
    assert str(dtype).removeprefix("torch.") in found.sentence
    assert "still" not in by_kind(ravine.descend(problem, lr=eps, steps=20))


@pytest.mark.parametrize("lr", [1e-12, 1e-9])
def test_an_lr_that_changes_no_bit(mse, lr):
    run = ravine.descend(mse, lr=lr)
    assert (run.position == run.position[0]).all()
    found = ravine.explain(run)[0]
    assert (found.kind, found.values["cause"]) == ("still", "rounding")
    recorded = ravine.descend(mse, lr=lr, also=("gradient",))
    assert ravine.explain(recorded)[0].values["gradient"] == pytest.approx(float(abs(recorded.gradient).max()))
    assert ravine.explain(ravine.descend(mse, torch.optim.Adam, lr=lr, steps=10))[0].kind == "still"
    assert "still" not in by_kind(ravine.descend(mse, lr=1e-3))


def test_an_lr_of_zero(mse, network):
    assert ravine.explain(ravine.descend(mse, lr=0.0))[0].values["cause"] == "lr 0"
    ends = partial(S.LambdaLR, lr_lambda=lambda k: float(k < 40))
    found = ravine.explain(ravine.descend(network, lr=0.1, scheduler=ends))[0]
    assert (found.kind, found.values["cause"], found.values["step"]) == ("still", "lr 0", 40)


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.Adam])
def test_a_gradient_of_zero(rule):
    saturated = ravine.Problem(lambda p: torch.sigmoid(p["w"] + p["b"]) ** 2, {"w": 20.0, "b": 20.0})
    top = ravine.Problem(lambda p: -(p["x"] ** 2), {"x": 0.0})
    flat = ravine.Problem(lambda p: torch.relu(p["x"]).sum(), {"x": torch.tensor([-1.0, -2.0, -3.0])})
    for problem in (saturated, top, flat):
        found = ravine.explain(ravine.descend(problem, rule, lr=0.1, steps=60))[0]
        assert (found.kind, found.values["cause"]) == ("still", "zero gradient")


def test_parameters_without_a_gradient():
    with torch.random.fork_rng(), torch.no_grad():
        model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)
    x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    dead = ravine.Problem.of(model, torch.nn.MSELoss(), (x, x))
    run = ravine.descend(dead, lr=0.1)
    found = ravine.explain(run)[0]
    assert (found.values["still"], found.values["parameters"]) == (12, 13)
    assert "swing" not in by_kind(run)
    saddle = ravine.explain(ravine.descend(ravine.gallery.saddle().starting_at({"y": 0.0}), lr=0.1))[0]
    assert (saddle.values["still"], saddle.values["parameters"]) == (1, 2)
    moving = ravine.descend(ravine.gallery.saddle().starting_at({"y": 0.1}), lr=0.1)
    assert "still" not in by_kind(moving)
    assert "zero_gradient" not in moving


def test_who_has_arrived_is_not_asked_why_it_stands_still(mse):
    assert "still" not in by_kind(ravine.descend(mse, lr=0.1, steps=400))
    resting = ravine.descend(ravine.gallery.quadratic(), lr=0.5, steps=1100)
    assert (resting.position[-1] == resting.position[-100]).all()
    assert "still" not in by_kind(resting)


# ----------------------------------------------------------------------------------------------- only what was seen


def test_what_a_few_steps_do_not_show(mse):
    assert not {"bend", "swing"} & set(by_kind(ravine.descend(bowl([1.0, 3.0], [1.0, 1.0]), lr=0.1, steps=1)))
    assert "swing" not in by_kind(ravine.descend(mse, lr=0.1, momentum=0.9, steps=3))
    assert "swing" not in by_kind(ravine.descend(mse, lr=0.97, steps=1))
    assert "swing" in by_kind(ravine.descend(mse, lr=0.1, momentum=0.9, steps=20))


def turns_of(positions):
    """Steps at which the update of a path along one line changes its sign."""
    moves = np.diff(positions @ np.ones(positions.shape[1]))
    return np.flatnonzero(np.sign(moves[1:]) != np.sign(moves[:-1])) + 1


@pytest.mark.parametrize(("lr", "steps"), [(0.5, 60), (0.25, 118), (1.0, 33)])
def test_a_zigzag_is_told_of_how_many_steps(lr, steps):
    cone = ravine.Problem(lambda p: (p["x"] ** 2 + p["y"] ** 2) ** 0.5, {"x": 20.0, "y": 20.0})
    run = ravine.descend(cone, lr=lr, steps=steps)
    turns = turns_of(run.position.values.astype(float))
    assert 2 < len(turns) < 8
    told = by_kind(run)["swing"]
    assert (told.values["turns"], told.values["of"]) == (len(turns), steps - 1)


def test_at_the_limit_a_swing_does_not_die():
    for lr in (1 - 1e-16, 1 - 1e-12, 1 + 1e-12):
        told = by_kind(ravine.descend(bowl([2.0], [1.0]), lr=lr))
        assert told["beyond the limit"].values["rate"] == pytest.approx(1)
        assert "swing" not in told
        assert "expected" not in told["arrival"].values


@pytest.mark.parametrize(("limit", "off"), [(15.36, -1e-7), (57.394, 2e-6), (3.0, -1e-4), (0.7, 1e-10)])
def test_a_number_beside_its_limit_has_the_digits_to_tell_them_apart(limit, off):
    told = by_kind(ravine.descend(bowl([2 / limit], [1.0]), lr=limit * (1 + off)))
    sentence = told["margin" if off < 0 and abs(off) > 1e-9 else "beyond the limit"].sentence
    assert "100 % of its limit" not in sentence
    head = sentence.split(":")[0]
    words = [each.strip(",. ") for each in head.split()]
    numbers = [each for each in words if each.replace(".", "").isdigit()]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) > 1 or "just" in head or "at its limit" in head


@pytest.mark.parametrize("lr", [4.5, 5.0, 8.0])
def test_what_diverges_by_its_decay_alone_is_told_so(lr):
    """The loss levels off far out, and says nothing of it."""
    level = ravine.Problem(lambda p: 1 - torch.exp(-(p["x"] ** 2)), {"x": 50.0}, minimizers=[{"x": 0.0}])
    run = ravine.descend(level, lr=lr, weight_decay=0.5, steps=30)
    told = by_kind(run)["diverged"]
    whole = run.loss.values + 0.25 * run.position.values[:, 0] ** 2
    assert told.sentence.endswith("the loss alone from 1 to 1.")
    assert [told.values["start"], told.values["last"]] == pytest.approx([whole[0], whole[-1]], rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_what_swings_ever_wider_is_told_at_its_highest(mse, decay):
    """At its last step it may lie lower than at its start."""
    if decay:
        scheduler = partial(S.ExponentialLR, gamma=1.05)
        how = {"lr": 0.002685, "momentum": 0.99, "weight_decay": decay, "steps": 105, "scheduler": scheduler}
        run = ravine.descend(ravine.gallery.quadratic(condition=1), **how)
    else:
        run = ravine.descend(mse, lr=0.1, momentum=1.02)
    told = by_kind(run)["diverged"]
    whole = run.loss.values + decay / 2 * (run.position.values**2).sum(1)
    peak = int(whole.argmax())
    assert whole[-1] < whole[0] < whole[peak] / 4
    assert [told.values["largest"], told.values["step"]] == [pytest.approx(whole[peak], rel=1e-6), peak]
    assert f" at step {peak}, and to " in told.sentence
    assert ("weight decay" in told.sentence) is bool(decay)


def test_a_few_steps_that_only_grow():
    told = by_kind(ravine.descend(bowl([200.0], [0.5]), lr=0.5, steps=3))
    assert told["grew"].values["last_loss"] == pytest.approx(25 * 99.0**6)
    assert "not there" not in said(ravine.descend(bowl([200.0], [0.5]), lr=0.5, steps=3))
    assert "grew" not in by_kind(ravine.descend(bowl([2.0], [0.5]), lr=0.5, steps=3))
    assert "grew" not in by_kind(ravine.descend(bowl([200.0], [0.5]), lr=0.5, steps=40))  # it diverged
    assert "course" not in told  # it would say the same


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (lambda p: 50 * p["x"] ** 2, {"lr": 0.1}),
        (lambda p: 10 * p["x"] ** 2 + p["y"] ** 2, {"lr": 0.3, "momentum": 0.5}),
        (lambda p: 4 * p["x"] ** 2 - p["x"] + p["y"] ** 2, {"lr": 0.5}),
    ],
)
def test_three_steps_that_grow(loss, settings):
    run = ravine.descend(ravine.Problem(loss, {"x": 0.7, "y": 0.2}), steps=3, **settings)
    told = by_kind(run)["grew"]
    assert (np.diff(run.loss) > 0).all()
    assert [told.values["start_loss"], told.values["last_loss"]] == run.loss.values[[0, -1]].tolist()


def blown_up(after, until, then):
    return partial(S.LambdaLR, lr_lambda=lambda k: 1.0 if k < after else 10.0**8 if k < until else then)


@pytest.mark.parametrize(("steps", "after", "until"), [(12, 6, 8), (16, 8, 10), (24, 13, 15), (40, 22, 24)])
def test_what_grew_beyond_measure_and_still_grows_is_told(mse, steps, after, until):
    """It grows more slowly than it did, but manyfold in its last quarter: that is no rest."""
    two = ravine.Problem(lambda p: 8 * p["x"] ** 2 + p["y"] ** 2, {"x": 0.5, "y": 0.3})
    for problem, then in ((mse, 11.0), (two, 1.5)):
        run = ravine.descend(problem, lr=0.1, steps=steps, scheduler=blown_up(after, until, then))
        losses = run.loss.values.astype(float)
        assert losses[-1] > 1e20 * losses[0]
        assert by_kind(run)["diverged"].values["last_loss"] == losses[-1]
    calm = ravine.descend(two, lr=0.1, steps=steps, scheduler=blown_up(steps + 1, steps + 1, 1.0))
    assert "grows" not in said(calm)


def test_what_rises_all_the_way_is_told_once():
    only_up = by_kind(ravine.descend(bowl([2.0, 2.0], [1.0, 1.0]), lr=1.9, momentum=0.9, steps=30))["course"].sentence
    assert "it rises at each of 30 steps. It" in only_up
    up_and_down = by_kind(ravine.descend(bowl([2.0], [1.0]), lr=1.7, momentum=0.95, steps=60))["course"]
    assert up_and_down.values["rises"] < 60
    assert ("never lower than at the start" in up_and_down.sentence) == (up_and_down.values["best_step"] == 0)


def test_a_steep_rise_is_told_in_times(mse):
    run = ravine.descend(mse, lr=1e-3, steps=60, scheduler=partial(S.ExponentialLR, gamma=1.2))
    told = by_kind(run)["course"]
    assert told.values["late_mean"] > 1e20 * told.values["mean_before"]
    assert f"its mean is {times(told.values['late_mean'] / told.values['mean_before'])} that" in told.sentence


@pytest.mark.parametrize(
    ("criterion", "lr", "steps"), [("HuberLoss", 2.4, 20), ("SmoothL1Loss", 2.4, 20), ("HuberLoss", 2.3, 30)]
)
def test_over_the_local_limit_and_near(criterion, lr, steps):
    told = by_kind(ravine.descend(ravine.gallery.article()[criterion], lr=lr, steps=steps))
    assert told["arrival"].values["outcome"] == "arrived"
    assert "cannot settle" not in told["beyond the limit"].sentence


@pytest.mark.parametrize(("momentum", "decay", "steps"), [(0.99, 2.0, 30), (0.98, 2.0, 24), (0.99, 1.0, 40)])
def test_what_comes_to_rest_did_not_diverge(momentum, decay, steps):
    """Dampening 1 keeps the first push alone: it goes far, ever more slowly, and rests."""
    l1 = ravine.gallery.article()["L1Loss"]
    settings = {"lr": 0.1, "momentum": momentum, "dampening": 1.0, "weight_decay": decay}
    short, long = (ravine.descend(l1, steps=count, **settings) for count in (steps, round(22 / (1 - momentum))))
    assert (long.position[-1] == long.position[-100]).all()
    assert "diverged" not in by_kind(short)
    assert not bool(ravine.measure.diverged(long))


@pytest.mark.parametrize("lr", [1.0, 1.05, 2.5])
def test_what_grows_without_end_did_diverge(mse, lr):
    assert bool(ravine.measure.diverged(ravine.descend(mse, lr=lr)))


# -------------------------------------------------------------------------------------- where no minimum is known


@pytest.mark.parametrize("rule", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam])
def test_of_a_network_what_was_measured_is_told(network, rule):
    run = ravine.descend(network, rule, lr=1.0)
    losses = run.loss.values.astype(float)
    told = by_kind(run)["course"]
    values = told.values
    assert (values["start_loss"], values["last_loss"]) == (losses[0], losses[-1])
    assert (values["best"], values["best_step"]) == (losses.min(), losses.argmin())
    assert (values["largest"], values["largest_step"]) == (losses.max(), losses.argmax())
    ulp = np.spacing(np.maximum(losses[1:], losses[:-1]).astype(np.float32))
    assert values["rises"] == (np.diff(losses) > 2 * ulp).sum()
    late, before = losses[-10:].mean(), losses[-20:-10].mean()
    assert ("still falls" in told.sentence) == (late < 0.99 * before and losses.argmin() >= len(losses) - 10)
    assert told.scope == "measured"


def test_of_mini_batches_the_evaluations_are_counted(network):
    run = ravine.descend(network, lr=0.1, batch_size=5, loss_every=3)
    seen = run.loss.values[np.isfinite(run.loss.values)]
    told = by_kind(run)["course"]
    assert told.values["of"] == len(seen) - 1 == 34
    assert "evaluations" in told.sentence or not told.values["rises"]
    assert told.values["best"] == seen.min()


def test_beside_a_known_minimum_only_a_high_rise_is_told(mse):
    assert "course" not in by_kind(ravine.descend(mse, lr=0.1))
    high = ravine.descend(mse, torch.optim.Adam, lr=20.0)
    assert float(high.loss.max()) > 3 * float(high.loss[0])
    assert by_kind(high)["course"].values["largest"] == float(high.loss.max())


def separable(kind):
    x = torch.tensor([[-2.0, 1.0], [-1.0, 0.5], [1.0, 0.0], [2.0, -1.0]])
    targets = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if kind == "logits":
            return ravine.Problem.of(torch.nn.Linear(2, 1), torch.nn.BCEWithLogitsLoss(), (x, targets))
        if kind == "margin":
            model = torch.nn.Linear(2, 1, bias=False)
            return ravine.Problem.of(model, torch.nn.SoftMarginLoss(), (x, 2 * targets - 1))
        return ravine.Problem.of(torch.nn.Linear(2, 3), torch.nn.CrossEntropyLoss(), (x, torch.tensor([0, 0, 1, 2])))


@pytest.mark.parametrize("kind", ["logits", "margin", "classes"])
def test_where_a_plane_separates_the_classes_there_is_no_minimum(kind):
    problem = separable(kind)
    run = ravine.descend(problem, lr=0.5)
    assert "gives it" not in said(run)
    told = by_kind(run.assign(ravine.landmarks(problem)))["no curvature"]
    assert "there is no minimum: a plane separates the classes" in told.sentence


def test_classes_that_overlap_have_a_minimum():
    x, y = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    with torch.random.fork_rng():
        problem = ravine.Problem.of(torch.nn.Linear(1, 1), torch.nn.BCEWithLogitsLoss(), (x, y))
    found = ravine.landmarks(problem)
    weight, bias = (torch.tensor(found.minimizer.values[k], requires_grad=True) for k in range(2))
    torch.nn.functional.binary_cross_entropy_with_logits(x.double() * weight + bias, y.double()).backward()
    assert max(abs(float(weight.grad)), abs(float(bias.grad))) < 1e-9
    decayed = ravine.landmarks(separable("logits"), weight_decay=0.1)
    assert bool(np.isfinite(decayed.minimum_loss))


# -------------------------------------------------------------------------------------------------- numbers, words


def test_bounds_are_rounded_outwards():
    random = np.random.default_rng(3)
    for value in np.exp(random.uniform(-8, 8, 300)):
        for digits in (1, 2, 3):
            up, down = (float(f(value, digits).replace(",", "")) for f in (at_most, at_least))
            assert down <= value <= up
            assert up - down <= 10.0 ** (math.floor(math.log10(value)) - digits + 1) * (1 + 1e-9)
    assert (at_most(0.91061, 2), at_most(0.09106, 2), at_least(0.97565)) == ("0.92", "0.092", "0.975")
    assert at_most(0.1, 2) == at_least(0.1, 2) == "0.1"


@pytest.mark.parametrize(("momentum", "dampening"), [(0.9996, 0.0), (0.99951, 0.5), (0.9, 0.99964)])
def test_settings_are_written_as_they_were_given(momentum, dampening):
    """Three digits would make 1 of them, with which nothing converges."""
    run = ravine.descend(bowl([1.0, 2.0], [1.0, 1.0]), lr=0.1, momentum=momentum, dampening=dampening, steps=9)
    for told in ravine.explain(run):
        assert "momentum 1 " not in told.sentence
        assert "ampening 1 " not in told.sentence
    assert f"momentum {momentum:g}" in said(run)


def test_a_clip_norm_is_written_as_it_was_given(mse):
    assert "longer than 99.9996" in said(ravine.descend(mse, lr=0.1, steps=9, clip_norm=99.9996))


@pytest.mark.parametrize("largest", [0.01341, 1.341, 1.012])
def test_a_share_of_a_limit_is_a_bound(network, largest):
    run = ravine.descend(network, lr=0.1, steps=6)
    sharp = np.full(7, 20 * largest / 2)
    sharp[3] = 20 * largest
    told = by_kind(run.assign(sharpness=("step", sharp)))["edge"].sentence
    words = {0.01341: "at most 1.4 % of it", 1.341: "up to 1.35 times", 1.012: "up to 1.2 % over it"}
    assert words[largest] in told


def test_a_limit_of_a_schedule_is_told_from_its_lr(mse):
    limit = 2 / float(np.linalg.eigvalsh(ravine.descend(mse, steps=1).hessian.values).max())
    run = ravine.descend(mse, lr=limit * (1 + 1e-4), steps=6, scheduler=partial(S.ExponentialLR, gamma=0.5))
    sentence = by_kind(run)["margin"].sentence
    over, lower = told_apart(limit * (1 + 1e-4), limit)
    assert over > lower
    assert f"the limit is {lower} at each moment" in sentence
    assert f"and {over}: over it at 1 of 6 steps" in sentence


def test_a_bounded_slope_is_not_exceeded():
    run = ravine.descend(ravine.gallery.article()["L1Loss"], lr=0.1, also=("gradient",))
    told = by_kind(run)["bounded slope"]
    words = told.sentence.replace(",", "").replace(":", "").split()
    slope, walk = float(words[words.index("exceeds") + 1]), float(words[words.index("most") + 1])
    steepest = np.linalg.norm(run.gradient.values.astype(float)[:-1], axis=1).max()
    assert slope >= steepest
    assert walk >= 0.1 * steepest


def test_lists_are_written_as_a_sentence_does(mse):
    assert names(["a", "b", "c"]) == "a, b and c"
    run = ravine.descend(mse, lr=0.1, momentum=0.9, nesterov=True)
    assert "momentum 0.9 (nesterov) is slower" in said(run)
    told = by_kind(run, against=ravine.descend(mse, lr=0.1))["with and without"].sentence
    assert "momentum 0.9 and nesterov True" in told
    assert told_apart(1.0, 1.0 + 1e-12) is None


# ------------------------------------------------------------------------------------------------------ a picture


def test_a_range_test_is_drawn_against_the_lr(mse):
    run = ravine.descend(mse, lr=1e-4, steps=150, scheduler=partial(S.ExponentialLR, gamma=1.1))
    ax = ravine.plot.losses(run, x="lr").axes[0]
    lines = {line.get_gid(): line for line in ax.lines}
    good = np.isfinite(run.loss.values)
    assert lines["loss"].get_xdata() == pytest.approx(run.scheduled_lr.values[good])
    assert lines["loss"].get_ydata() == pytest.approx(run.loss.values[good].astype(float))
    best = int(np.nanargmin(run.loss.values))
    assert lines["lowest"].get_xdata()[0] == pytest.approx(float(run.scheduled_lr[best]))
    assert "diverged" in lines
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "lr")
    both = ravine.join(
        {"one": run, "two": ravine.descend(mse, lr=1e-3, steps=150, scheduler=partial(S.ExponentialLR, gamma=1.02))}
    )
    assert {"one", "two"} <= {line.get_gid() for line in ravine.plot.losses(both, x="lr").axes[0].lines}
    with pytest.raises(ValueError, match="no 'scheduled_lr'"):
        ravine.plot.losses(ravine.descend(mse, lr=0.1), x="lr")
    with pytest.raises(ValueError, match='x must be "step" or "lr", got \'time\''):
        ravine.plot.losses(run, x="time")
