"""Measures are held against plain Python, and against minima that an independent solver finds in float64."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import torch
import xarray as xr

import bare
import ravine
from ravine import measure
from ravine.plot._canvas import words


def plain_arrival(gaps, limit):
    """The definition, word for word."""
    for k in range(len(gaps)):
        if all(math.isfinite(g) and -limit <= g <= limit for g in gaps[k:]):
            return float(k)
    return math.nan


def plain_divergence(losses):
    """The definition for a loss that was evaluated at every step, word for word."""
    if not math.isfinite(losses[-1]):
        return True
    last, start, seen = len(losses) - 1, losses[0], [k for k, each in enumerate(losses) if not math.isnan(each)]
    early = [abs(losses[k] - start) for k in seen if k <= -(-last // 2)]
    late = [losses[k] - start for k in seen if k >= 0.75 * last]
    grown = last >= 8 and max(late) > 4 * max(early) and max(late) > abs(start)
    if not grown:
        return False
    half = -(-last // 2)
    low, quarter = min(losses[k] for k in seen if k <= half), last // 4
    second, third, fourth = (
        max(losses[k] - low for k in seen if last - (n + 1) * quarter < k <= last - n * quarter) for n in (2, 1, 0)
    )
    if third > 0 and fourth / third < 0.85 * min(third / second, 4):
        return False
    rises = [losses[k + 1] - losses[k] for k in range(last)]
    if not all(each > 0 for each in rises[half:]):
        return True
    one, two, three = (rises[last - 1 - n * quarter] for n in (0, 1, 2))
    return one / two >= 0.99 * min(two / three, 4)


def study_of(losses, **more):
    dims = (*"abc"[: losses.ndim - 1], "step")
    return xr.Dataset({"loss": (dims, losses), **more}, {"step": np.arange(losses.shape[-1])})


def test_arrival_on_random_curves():
    random = np.random.default_rng(7)
    losses = 3.0 + 10.0 ** random.uniform(-5, 1, (4, 60, 12)) * np.exp(-0.4 * np.arange(12))
    losses[..., 0] = 3.0 + random.uniform(1, 10, (4, 60))
    for hole, value in (((0, 3, 5), np.nan), ((1, 3, 11), np.inf), ((2, 3, 0), np.nan)):
        losses[hole] = value
    arrived = measure.arrival(study_of(losses, minimum_loss=3.0))
    assert arrived.dims == ("a", "b")
    assert arrived.attrs["long_name"]
    assert arrived.outcome.dims == ("a", "b")
    seen = set()
    for place in np.ndindex(4, 60):
        gaps = (losses[place] - 3.0).tolist()
        expected = plain_arrival(gaps, 0.01 * gaps[0]) if math.isfinite(gaps[0]) else math.nan
        assert bare.same_bits(arrived.values[place], expected), place
        seen.add(expected)
        broken = plain_divergence(losses[place].tolist())
        outcome = "arrived" if math.isfinite(expected) else "diverged" if broken else "not arrived"
        assert arrived.outcome.values[place] == outcome
    assert len(seen) > 5
    assert set(np.unique(arrived.outcome)) == {"arrived", "not arrived", "diverged"}
    assert np.isnan(arrived.values[0, 3]) or arrived.values[0, 3] > 5


def test_a_start_at_the_minimum_arrives_at_once():
    assert float(measure.arrival(study_of(np.full(4, 2.5), minimum_loss=2.5))) == 0
    assert float(measure.arrival(study_of(np.zeros(4), minimum_loss=0.0))) == 0
    in_float32 = np.full(4, np.float32(0.1))  # the loss's own rounding is no gap
    assert float(measure.arrival(study_of(in_float32, minimum_loss=0.1))) == 0
    assert np.isnan(float(measure.arrival(study_of(np.array([0.0, 1.0]), minimum_loss=0.0))))
    assert np.isnan(float(measure.arrival(study_of(np.array([1.0, -np.inf]), minimum_loss=0.0))))


def lowest(problem, criterion, decay):
    """The minimum of what is minimised on these data, by scipy, in float64."""
    x, y = (each.double().numpy()[:, 0] for each in (problem.parts.inputs, problem.parts.targets))

    def value(place):
        sizes = np.abs(place[0] * x + place[1] - y)
        each = {"MSELoss": sizes**2, "L1Loss": sizes}.get(criterion, np.where(sizes < 1, sizes**2 / 2, sizes - 0.5))
        return each.mean() + decay / 2 * np.dot(place, place)

    accuracy = {"xatol": 1e-11, "fatol": 1e-15, "maxiter": 5000, "maxfev": 5000}
    return scipy.optimize.minimize(value, [0.8, 2.4], method="Nelder-Mead", options=accuracy).fun


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [12, 104, 110, 110]),
        ({"momentum": 0.9}, [42, 50, 46, 46]),
        ({"momentum": 0.9, "nesterov": True}, [14, 32, 33, 33]),
        ({"momentum": 0.9, "dampening": 0.8}, [46, 54, 56, 56]),
        ({"momentum": 0.9, "nesterov": True, "weight_decay": 2.0}, [6, 13, 13, 13]),
    ],
    ids=str,
)
def test_the_article_arrives_where_theory_says(article, settings, steps):
    runs = ravine.descend(article, lr=0.1, steps=200, **settings)
    minima = [
        lowest(article[str(name)], str(name), settings.get("weight_decay", 0.0)) for name in runs.criterion.values
    ]
    assert measure.arrival(runs.assign(minimum_loss=("criterion", minima))).values.tolist() == steps


def test_objective_on_four_problems(case):
    plain = ravine.descend(case.problem, lr=case.lr, steps=5)
    assert bare.same_bits(measure.objective(plain), plain.loss)
    run = ravine.descend(case.problem, lr=case.lr, steps=5, weight_decay=0.5)
    squares = (run.position.values.astype(np.float64) ** 2).sum(-1)
    assert np.allclose(measure.objective(run), run.loss.values + 0.25 * squares, rtol=1e-12)
    assert measure.objective(run).dims == ("step",)
    apart = ravine.descend(case.problem, torch.optim.AdamW, lr=case.lr, steps=5, weight_decay=0.5)
    assert bare.same_bits(measure.objective(apart), apart.loss)
    with pytest.raises(ValueError, match=r"no 'minimum_loss' .*: runs of a regression, or of a problem"):
        measure.gap(plain.drop_vars("minimum_loss", errors="ignore"))
    assert not bool(measure.diverged(plain))
    assert np.isnan(measure.first_nonfinite(plain))


def test_decay_may_differ_along_a_dimension(article):
    problem = article["MSELoss"]
    makers = {"none": torch.optim.Adam, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    decays = {"none": 0.0, "adam": 2.0, "adamw": 2.0}
    runs = ravine.join({n: ravine.descend(problem, o, 3, lr=0.1, weight_decay=decays[n]) for n, o in makers.items()})
    assert measure.decay(runs).values.tolist() == [0.0, 2.0, 0.0]
    added = (measure.objective(runs) - runs.loss).isel(step=0)
    assert added.values.tolist() == [0.0, 45.0, 0.0]
    swept = runs.isel(run=0).drop_vars("weight_decay").expand_dims(weight_decay=[0.0, 1.0, 2.0])
    assert (measure.objective(swept) - swept.loss).isel(step=0).values.tolist() == [0.0, 22.5, 45.0]


def test_a_climber_is_refused(article):
    run = ravine.descend(article["MSELoss"], lr=0.01, steps=3, maximize=True)
    for ask in (measure.objective, measure.gap, measure.arrival):
        with pytest.raises(ValueError, match="a run with maximize=True climbs"):
            ask(run)
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="share must lie between 0 and 1"):
            measure.arrival(run, share=share)


def test_divergence(article):
    runs = ravine.join({f"lr {lr}": ravine.descend(article, lr=lr, steps=60) for lr in (0.1, 30.0)})
    broken = ~np.isfinite(runs.loss)
    assert (
        measure.diverged(runs).transpose("run", "criterion").values.tolist()
        == broken.any("step").transpose("run", "criterion").values.tolist()
    )
    first = measure.first_nonfinite(runs).sel(run="lr 30.0", criterion="MSELoss")
    assert float(first) == np.flatnonzero(broken.sel(run="lr 30.0", criterion="MSELoss"))[0]
    assert np.isnan(measure.arrival(runs.assign(minimum_loss=0.0)).sel(run="lr 30.0", criterion="MSELoss"))


def test_thinned_and_ragged_losses():
    losses = np.array([8.0, np.nan, 4.0, np.nan, 0.05, np.nan, 0.01])
    whole = study_of(losses, minimum_loss=0.0)
    assert bool(measure.diverged(whole.isel(step=slice(6))))  # a NaN that nobody explains is what torch produced
    assert not bool(measure.diverged(whole))  # it came back
    assert np.isnan(measure.arrival(whole.isel(step=slice(6))))
    thinned = whole.assign(loss=whole.loss.assign_attrs(loss_every=2))
    assert not bool(measure.diverged(thinned))
    assert float(measure.arrival(thinned)) == 4
    short = study_of(np.array([[8.0, 0.01, np.nan], [8.0, 4.0, 0.01]]), minimum_loss=0.0, steps_taken=("a", [1, 2]))
    assert measure.arrival(short).values.tolist() == [1, 2]
    assert not measure.diverged(short).any()
    empty = study_of(np.array([[np.nan] * 3, [8.0, 4.0, np.inf]]), error=("a", ["Invalid lr", ""]))
    assert measure.diverged(empty).values.tolist() == [False, True]
    outcome = measure.arrival(empty.assign(minimum_loss=0.0)).outcome
    assert outcome.values.tolist() == ["invalid", "diverged"]
    never = study_of(np.array([[np.nan] * 3, [8.0, np.nan, np.nan]]), minimum_loss=0.0, steps_taken=("a", [0, 0]))
    assert measure.arrival(never).outcome.values.tolist() == ["not made", "not made"]
    assert np.isnan(measure.first_nonfinite(never)).all()


def test_mini_batches_say_how_they_are_thinned():
    x = torch.linspace(-1, 1, 40).reshape(-1, 1)
    line = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1)
    torch.nn.init.zeros_(line.weight)
    torch.nn.init.zeros_(line.bias)
    problem = ravine.Problem.of(line, torch.nn.MSELoss(), (x, 3 * x + 1))
    run = ravine.descend(problem, lr=0.2, steps=30, batch_size=8, loss_every=7)
    assert np.flatnonzero(measure.evaluated(run)).tolist() == [0, 7, 14, 21, 28, 30]
    assert not bool(measure.diverged(run))
    ravine.plot.losses(run)


def random_losses(dtype, runs=300, steps=24):
    """Curves of every kind: falling, growing, broken, rising a little, in step-major memory seen as (run, step)."""
    random = np.random.default_rng(11)
    k = np.arange(steps + 1)[:, None]
    with np.errstate(over="ignore"):
        losses = 0.5 + np.exp(random.uniform(-0.6, 0.4, runs) * k) * random.uniform(0.2, 1.5, (steps + 1, runs))
        losses = losses.astype(dtype)
    for value in (np.nan, np.inf, -np.inf):
        rows = random.integers(0, runs, 15)
        losses[random.integers(0, steps + 1, 15), rows] = value
    losses[:, 0], losses[:, 1] = np.nan, 3.0
    losses[10:, 2] = np.inf
    return losses.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_summary_is_what_plain_python_says(dtype):
    losses = random_losses(dtype)
    random = np.random.default_rng(5)
    count = len(losses)
    decays, climbing = random.choice([0.0, 0.5], count), random.random(count) < 0.1
    squares = random.uniform(0, 2, losses.shape) * np.linspace(2, 0, losses.shape[1])
    minimum = random.uniform(0.3, 0.5, count)
    runs = xr.Dataset(
        {
            "loss": (("run", "step"), losses, {"provenance": '{"engine": "none"}'}),
            "squares": (("run", "step"), squares),
            "minimum_loss": ("run", minimum),
        },
        {
            "step": np.arange(losses.shape[1]),
            "weight_decay": ("run", decays),
            "optimizer": "SGD",
            "maximize": ("run", climbing),
        },
    )
    short = measure.summary(runs)
    assert list(short.data_vars) == [
        "final_loss", "best_loss", "best_step", "arrival", "first_nonfinite", "diverged",
    ]  # fmt: skip
    assert all(each.attrs["long_name"] and each.attrs["provenance"] for each in short.data_vars.values())
    assert all(each.dims == ("run",) for each in short.data_vars.values())
    assert short.final_loss.dtype == short.best_loss.dtype == dtype
    assert short.diverged.dtype == bool
    assert bare.same_bits(short.weight_decay, decays)
    kinds = set()
    for place in range(count):
        curve = losses[place].tolist()
        finite = [each for each in curve if math.isfinite(each)]
        assert bare.same_bits(short.final_loss[place], curve[-1])
        assert bare.same_bits(short.best_loss[place], min(finite, default=math.nan))
        assert bare.same_bits(short.best_step[place], curve.index(min(finite)) if finite else math.nan)
        broken = [k for k, each in enumerate(curve) if not math.isfinite(each)]
        assert bare.same_bits(short.first_nonfinite[place], broken[0] if broken else math.nan)
        gaps = (losses[place].astype(float) + decays[place] / 2 * squares[place] - minimum[place]).tolist()
        arrived = plain_arrival(gaps, 0.01 * gaps[0]) if math.isfinite(gaps[0]) else math.nan
        assert bare.same_bits(short.arrival[place], math.nan if climbing[place] else arrived)
        grown = plain_divergence((losses[place].astype(float) + decays[place] / 2 * squares[place]).tolist())
        lost = not math.isfinite(curve[-1]) if climbing[place] else grown and math.isnan(arrived)
        assert bool(short.diverged[place]) == lost, place
        kinds.add((bool(broken), grown, math.isfinite(arrived)))
    assert len(kinds) >= 4
    again = measure.summary(runs.assign(loss=(("run", "step"), np.ascontiguousarray(losses), runs.loss.attrs)))
    assert again.identical(short)
    assert "arrival" not in measure.summary(runs.drop_vars(["minimum_loss", "squares"]))


def test_summary_on_four_problems(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=30, momentum=0.5)
    run = run.assign(minimum_loss=float(run.loss.min()))
    short = measure.summary(run)
    losses = run.loss.values.tolist()
    assert [float(short.final_loss), float(short.best_loss)] == [losses[-1], min(losses)]
    assert int(short.best_step) == losses.index(min(losses))
    limits = {"stability_limit", "stability_scope"}
    assert set(short.coords) - limits == set(run.coords) - {"step", "parameter", "parameter_"}
    for of_runs in (measure.arrival, measure.diverged, measure.first_nonfinite):
        told, found = (of_runs(each).drop_vars(limits, errors="ignore") for each in (short, run))
        assert told.identical(found)
    value = losses[3]
    assert float(measure.steps_to(run, value)) == next(k for k, each in enumerate(losses) if each <= value)
    assert np.isnan(measure.steps_to(run, min(losses) - 1))
    ulp = np.spacing(run.loss.values)
    rises = [b - a > 2 * max(u, v) for a, b, u, v in zip(losses, losses[1:], ulp, ulp[1:], strict=False)]
    assert int(measure.rises(run)) == sum(rises)


def test_a_summary_answers_as_the_runs_do():
    losses = random_losses(np.float32)
    errors = np.where(np.isnan(losses).all(1), "Invalid learning rate: -0.1", "")
    runs = study_of(losses, minimum_loss=0.5, error=("a", errors))
    short = measure.summary(runs).assign(error=runs.error)
    told = measure.arrival(short)
    assert told.identical(measure.arrival(runs))
    assert {"arrived", "not arrived", "diverged", "invalid"} == set(np.unique(told.outcome))
    assert "outcome" not in short.coords
    for of_runs in (measure.diverged, measure.first_nonfinite):
        assert of_runs(short).identical(of_runs(runs))
    with pytest.raises(ValueError, match=r"the summary was made with share 0.01, got 0.1: another share needs"):
        measure.arrival(short, share=0.1)
    with pytest.raises(ValueError, match=r"the summary has no 'arrival' .* was not known"):
        measure.arrival(short.drop_vars("arrival"))
    with pytest.raises(ValueError, match="a run with maximize=True climbs"):
        measure.arrival(short.assign_coords(maximize=True))
    with pytest.raises(ValueError, match="the study has no 'loss'"):
        measure.rises(short)


def test_summary_of_thinned_and_shorter_runs():
    losses = np.array([[8.0, np.nan, 4.0, np.nan, 5.0], [8.0, np.nan, 6.0, np.nan, np.nan]])
    short = measure.summary(
        study_of(losses, steps_taken=("a", [4, 2])).assign(loss=lambda d: d.loss.assign_attrs(loss_every=2))
    )
    assert short.final_loss.values.tolist() == [5.0, 6.0]
    assert short.best_loss.values.tolist() == [4.0, 6.0]
    assert short.best_step.values.tolist() == [2, 2]
    assert not short.diverged.any()


def sgd(slope, start, lr, momentum, dampening, weight_decay, nesterov, steps):
    """Positions (run, step, parameter) of torch's rule in numpy, for settings (run,)."""
    lr, momentum, dampening, weight_decay, nesterov = (
        np.asarray(each)[:, None] for each in (lr, momentum, dampening, weight_decay, nesterov)
    )
    place, velocity, path = start, None, [start]
    for _ in range(steps):
        pull = slope(place) + weight_decay * place
        velocity = pull if velocity is None else momentum * velocity + np.where(momentum, 1 - dampening, 1.0) * pull
        place = place - lr * np.where(nesterov, pull + momentum * velocity, velocity)
        path.append(place)
    return np.stack(path, 1)


def settings_at_random(count, seed):
    random = np.random.default_rng(seed)
    momentum = random.choice([0.0, 1.0], count) * random.uniform(0, 0.99, count)
    nesterov = (random.random(count) < 0.5) & (momentum > 0)
    dampening = np.where(nesterov | (momentum == 0), 0.0, random.choice([0.0, 0.8], count))
    return random, momentum, dampening, nesterov


def limit(curvature, momentum, dampening, nesterov):
    """The largest lr at which torch's rule is stable on a quadratic: theory, not ravine."""
    return np.where(nesterov, 2 * (1 + momentum) / (1 + 2 * momentum), 2 * (1 + momentum) / (1 - dampening)) / curvature


def test_divergence_lies_on_the_limit_of_stability():
    count, steps = 2000, 600
    random, momentum, dampening, nesterov = settings_at_random(count, 1)
    decay = random.choice([0.0, 1.0], count) * random.uniform(0, 2, count)
    curvatures = np.c_[np.ones(count), 10 ** random.uniform(-2, 0, (count, 2))]
    # half of the runs close to the limit, half up to a factor away
    beyond = np.exp(random.uniform(-1, 1, count) * random.choice([0.02, 2.0], count))
    lr = beyond * limit(1 + decay, momentum, dampening, nesterov)
    centre, start = random.normal(size=(2, count, 3))
    with np.errstate(over="ignore", invalid="ignore"):
        path = sgd(lambda p: curvatures * (p - centre), 3 * start, lr, momentum, dampening, decay, nesterov, steps)
        losses = (curvatures[:, None] * (path - centre[:, None]) ** 2).sum(-1) / 2
        runs = study_of(losses, position=(("a", "step", "parameter"), path))
        runs = runs.assign_coords(weight_decay=("a", decay), optimizer="SGD")
        wrong = measure.diverged(runs).values != (beyond > 1)
    assert (np.isfinite(losses).all(1) & (beyond > 1)).sum() > 250  # without their growth these would be missed
    assert abs(beyond[wrong] - 1).max(initial=0) < 0.005
    assert wrong.sum() < 0.02 * count
    slow = study_of(losses[beyond < 0.99][:, :101])
    assert not measure.diverged(slow).any()


@pytest.mark.parametrize("criterion", ["L1Loss", "HuberLoss"])
@pytest.mark.parametrize("steps", [100, 600])
def test_bounded_slopes_cycle_and_do_not_diverge(criterion, steps):
    """Above its local limit such a criterion hops about its minimum; with decay the limit of the decay holds."""
    count = 500
    random, momentum, dampening, nesterov = settings_at_random(count, 2)
    x, y = (each.astype(float) for each in bare.article_data())
    lr = 10 ** random.uniform(-2, 3, count)

    def residual(p):
        return p[..., :1] * x + p[..., 1:] - y

    def slope(p):
        pull = np.sign(residual(p)) if criterion == "L1Loss" else np.clip(residual(p), -1, 1)
        return np.stack([(pull * x).mean(-1), pull.mean(-1)], -1)

    def loss(path):
        size = abs(residual(path))
        return (size if criterion == "L1Loss" else np.where(size < 1, size**2 / 2, size - 0.5)).mean(-1)

    start = np.tile([6.0, -3.0], (count, 1))
    path = sgd(slope, start, lr, momentum, dampening, np.zeros(count), nesterov, steps)
    losses = np.stack([loss(path[:, k]) for k in range(steps + 1)], 1)
    assert (losses[:, -1] > losses[:, 0]).sum() > 33
    assert not measure.diverged(study_of(losses)).any()

    decay = random.uniform(0.5, 3, count)
    top = limit(decay, momentum, dampening, nesterov)
    factor = random.choice([0.5, 0.9, 1.1, 2.0], count)
    with np.errstate(over="ignore", invalid="ignore"):
        path = sgd(slope, start, factor * top, momentum, dampening, decay, nesterov, steps)
        losses = np.stack([loss(path[:, k]) for k in range(steps + 1)], 1)
    runs = study_of(losses, position=(("a", "step", "parameter"), path))
    found = measure.diverged(runs.assign_coords(weight_decay=("a", decay), optimizer="SGD")).values
    assert found[factor > 1].all()
    assert not found[factor < 1].any()


def test_what_growth_is_and_is_not():
    k = np.arange(101.0)
    curves = {
        "grows by a factor": (1.05**k, True),
        "grows from below": (0.1 * 1.1**k + 50 * 0.8**k, True),
        "oscillates and grows": (1 + 1.1**k * np.cos(k), True),
        "climbs a line": (1 + k, False),
        "spreads like noise": (1 + np.sqrt(k), False),
        "falls slowly": (100 - 1e-3 * k, False),
        "cycles": (3 + np.sin(k), False),
        "jumps out and comes back": (1 + 50 * np.exp(-((k - 60) ** 2) / 30), False),
        "jumps to a plateau": (np.where(k < 20, 1.0 + 0.1 * k, 50.0), False),
        "stays": (np.full(101, 7.0), False),
        "moves by rounding": (1 + np.spacing(1.0) * (k > 80) * (k % 3), False),
        "falls without end": (-(1.2**k), False),
    }
    losses = np.array([curve for curve, _ in curves.values()])
    expected = [grows for _, grows in curves.values()]
    assert measure.diverged(study_of(losses)).values.tolist() == expected
    assert measure.diverged(study_of(8 * losses)).values.tolist() == expected
    assert measure.diverged(study_of(losses + 64)).values.tolist() == expected
    assert measure.diverged(study_of(losses[:, ::5])).values.tolist() == expected
    climbing = study_of(losses).assign_coords(maximize=True)
    assert not measure.diverged(climbing).any()
    assert not measure.diverged(study_of(3.0 ** np.arange(8))).any()
    assert measure.diverged(study_of(3.0 ** np.arange(9))).all()


def test_growth_of_thinned_and_shorter_runs():
    k = np.arange(41)
    line, grows = 1.0 + k, 1.5**k
    thin = np.where((k % 7 == 0) | (k == 40), np.array([line, grows]), np.nan)
    runs = study_of(thin).assign(loss=lambda d: d.loss.assign_attrs(loss_every=7))
    assert measure.diverged(runs).values.tolist() == [False, True]
    padded = np.where(k <= 20, np.array([line, grows]), np.nan)
    assert measure.diverged(study_of(padded, steps_taken=("a", [20, 20]))).values.tolist() == [False, True]
    assert not measure.diverged(study_of(np.where(k <= 6, grows, np.nan), steps_taken=6)).any()


def test_a_goal_that_decay_moved_is_no_divergence(article):
    """From the loss's own minimum the loss can only rise; slow, with momentum, it rises ever faster at first."""
    problem = article["MSELoss"].starting_at(weight=0.9258, bias=2.4844)
    run = ravine.descend(problem, lr=1e-5, momentum=0.99, weight_decay=2.0, steps=60)
    assert float(run.loss[-1]) > float(run.loss[0])  # it climbs out of the minimum of the loss
    assert not bool(measure.diverged(run))
    squares = (run.position.astype(float) ** 2).sum("parameter")
    assert not bool(measure.diverged(run.drop_vars("position").assign(squares=squares)))


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_divergence_is_of_the_loss_with_its_decay(decay):
    """The loss grows ever faster, the loss with its decay falls: what is minimised decides."""
    k = np.arange(41)
    losses, minimised = 1e-3 * 1.3**k, 100.0 - k
    settings = {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "maximize": False}
    run = study_of(losses, squares=("step", minimised - losses))
    run = run.assign_coords(optimizer="SGD", weight_decay=decay, **settings)
    assert plain_divergence(losses.tolist())
    assert bool(measure.diverged(run)) == (decay == 0)


def test_a_caption_says_that_a_growing_run_diverged(article):
    run = ravine.descend(article["MSELoss"], lr=1.0)  # the limit is 0.976
    assert np.isfinite(run.loss).all()
    assert words.outcome(run).endswith("in 100 steps: it diverged")
    assert words.outcome(ravine.descend(article["MSELoss"], lr=0.95)).endswith("in 100 steps")


def roots(curvature, lr, momentum, dampening, nesterov):
    """Rate and period of one mode from the characteristic polynomial of torch's rule."""
    a = lr * curvature
    total = np.where(nesterov, (1 + momentum) * (1 - a), 1 + momentum - a * np.where(momentum, 1 - dampening, 1))
    product = np.where(nesterov, momentum * (1 - a), momentum)
    spread = np.sqrt((total**2 - 4 * product).astype(complex))
    pair = np.stack([total + spread, total - spread]) / 2
    root = np.where(abs(pair[0]) >= abs(pair[1]), *pair)
    with np.errstate(divide="ignore"):
        return abs(root), 2 * np.pi / abs(np.angle(root))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_period_and_rate_of_single_modes(dtype):
    count, steps = 3000, 300
    random, momentum, dampening, nesterov = settings_at_random(count, 4)
    curvature = random.uniform(0.1, 3, count)
    lr = random.uniform(0.001, 0.99, count) * limit(curvature, momentum, dampening, nesterov)
    numbers = [each.astype(dtype) for each in (curvature, lr, momentum, dampening)]
    factor, swing = roots(*(each.astype(float) for each in numbers), nesterov)
    centre = random.normal(size=(count, 1)).astype(dtype)
    start = centre + random.uniform(1, 5, (count, 1)).astype(dtype)
    still = np.zeros(count, dtype)
    path = sgd(lambda p: numbers[0][:, None] * (p - centre), start, *numbers[1:], still, nesterov, steps)
    assert path.dtype == dtype
    losses = numbers[0][:, None] * (path - centre[:, None])[..., 0] ** 2 / 2 + dtype(0.5)
    runs = study_of(losses, position=(("a", "step", "parameter"), path), minimum_loss=0.5)
    period, rate = measure.period(runs), measure.rate(runs)
    for each in (period, rate):
        assert each.dims == ("a",)
        assert each.attrs["long_name"]
    seen = (factor > 0.5) & (swing < 60)
    off = abs(period.values / swing - 1)
    assert np.isnan(period.values[np.isinf(swing)]).all()
    assert np.isinf(swing).sum() > 200
    known = seen & np.isfinite(period.values)
    assert known.sum() > (0.9 if dtype is np.float32 else 0.98) * seen.sum() > 1000
    assert np.quantile(off[known], 0.95) < (0.04 if dtype is np.float32 else 0.02)
    assert off[known & (factor > 0.9)].max() < 0.04
    seen = (factor > 0.9) & (np.isinf(swing) | (swing < 60))
    assert seen.sum() > 300
    assert np.quantile(abs(rate.values / factor - 1)[seen], 0.95) < 0.003
    assert abs(rate.values / factor - 1)[seen].max() < 0.03


def test_rate_of_growth_and_of_the_slowest_mode():
    """Of several modes the slowest is left in the second half; beyond the limit the distance grows."""
    curvature = np.array([1.0, 0.3])
    for lr in (0.1, 0.5, 1.5, 2.1, 2.5):
        path = sgd(lambda p: curvature * p, np.array([[3.0, 3.0]]), [lr], [0.0], [0.0], [0.0], [False], 300)
        losses = (curvature * path**2).sum(-1) / 2
        expected = abs(1 - lr * curvature).max()
        runs = study_of(losses, minimum_loss=0.0)
        assert float(measure.rate(runs)[0]) == pytest.approx(expected, rel=1e-3), lr
        assert bool(measure.diverged(runs)[0]) == (lr > 2)


def test_the_article_swings_as_theory_says(article):
    """Numbers of the closed form (eigenvalues 1.29135 and 2.04991, lr 0.1)."""
    for settings, rate, periods in [
        ({}, 0.8709, None),
        ({"momentum": 0.9}, 0.9487, (13.5, 17.1)),
        ({"momentum": 0.9, "nesterov": True}, 0.8853, (13.5, 17.3)),
        ({"momentum": 0.9, "dampening": 0.8}, 0.9487, (31.2, 40.1)),
    ]:
        run = ravine.descend(article["MSELoss"], lr=0.1, steps=400, **settings)
        assert float(measure.rate(run.assign(minimum_loss=0.4994412813498641))) == pytest.approx(rate, rel=0.02)
        period = float(measure.period(run))
        if periods is None:
            assert np.isnan(period)
        else:
            assert 0.98 * periods[0] < period < 1.02 * periods[1]
    run = ravine.descend(article["MSELoss"], lr=0.1, momentum=0.9, steps=99)
    assert int(measure.rises(run)) == 43
    plain = ravine.descend(article, lr=0.1)
    assert measure.rises(plain).values.tolist() == [0, 0, 0, 0]
    assert measure.rises(plain).dims == measure.period(plain).dims == ("criterion",)


def plain_period(path):
    """The definition in plain steps, with the direction from an SVD."""
    updates = np.diff(path, axis=0)
    along = updates @ np.linalg.svd(updates, full_matrices=False)[2][0]
    turns = [k + abs(a) / (abs(a) + abs(b)) for k, (a, b) in enumerate(itertools.pairwise(along)) if a * b < 0]
    between = np.diff(turns)
    return 2 * between.mean() if len(turns) >= 3 and between.std() <= between.mean() / 2 else math.nan


def test_period_and_rate_on_four_problems(case):
    for momentum in (0.0, 0.9):
        run = ravine.descend(case.problem, lr=case.lr, steps=60, momentum=momentum)
        expected = plain_period(run.position.values.astype(float))
        assert float(measure.period(run)) == pytest.approx(expected, rel=1e-3, nan_ok=True)
        low = float(run.loss.min()) - 0.1
        gaps = run.loss.values.astype(float) - low
        peaks = [k for k in range(30, 60) if gaps[k - 1] < gaps[k] >= gaps[k + 1]]
        steps = peaks if len(peaks) >= 3 else range(30, 61)
        slope = np.polyfit(list(steps), np.log(gaps[list(steps)]) / 2, 1)[0]
        assert float(measure.rate(run.assign(minimum_loss=low))) == pytest.approx(math.exp(slope), rel=1e-9)


def test_noise_and_standstill_have_no_period():
    random = np.random.default_rng(3)
    noise = random.normal(size=(200, 101, 2)).cumsum(1)
    paths = {"a": noise, "still": np.ones((1, 101, 2)), "line": np.arange(101.0)[None, :, None] * np.ones(2)}
    for name, path in paths.items():
        period = measure.period(xr.Dataset({"position": (("a", "step", "parameter"), path)}))
        assert np.isnan(period).mean() > (0.95 if name == "a" else 0.999), name
    broken = np.array([[(-1.5) ** k, 1.0] for k in range(40)])
    broken[20:] = np.nan
    assert float(measure.period(xr.Dataset({"position": (("step", "parameter"), broken)}))) == pytest.approx(
        2, abs=0.01
    )
    huge = np.array([[(-1) ** k * 10.0 ** (15 * k), 1.0] for k in range(21)] + [[np.inf, 1.0]])
    assert float(measure.period(xr.Dataset({"position": (("step", "parameter"), huge)}))) == pytest.approx(2, abs=0.01)


def test_rises_counts_neither_rounding_nor_nan():
    one = np.float32(1)
    ulp = np.spacing(one)
    assert int(measure.rises(study_of(np.array([one, one + 2 * ulp, one, one + 3 * ulp, one])))) == 1
    assert int(measure.rises(study_of(np.array([1.0, np.inf, np.inf, np.nan, 2.0, 3.0])))) == 2
    thin = study_of(np.array([[1.0, np.nan, 2.0, np.nan, 1.5, 1.7]])).assign(
        loss=lambda d: d.loss.assign_attrs(loss_every=2)
    )
    assert measure.rises(thin).values.tolist() == [2]


def test_steps_to_in_many_dimensions():
    losses = random_losses(np.float64).reshape(20, 15, 25)
    runs = xr.Dataset(
        {"loss": (("lr", "momentum", "step"), losses)}, {"lr": np.arange(20.0), "step": np.arange(25) * 10}
    )
    found = measure.steps_to(runs, 1.0)
    assert found.dims == ("lr", "momentum")
    assert bare.same_bits(found.lr, runs.lr)
    for place in np.ndindex(20, 15):
        steps = [10 * k for k, each in enumerate(losses[place].tolist()) if each <= 1.0]
        assert bare.same_bits(found.values[place], steps[0] if steps else math.nan)
    assert 0 < int(found.notnull().sum()) < found.size
    with pytest.raises(ValueError, match="got nan"):
        measure.steps_to(runs, math.nan)
    assert measure.period(runs.assign(position=runs.loss.expand_dims(parameter=["x"], axis=-1))).dims == found.dims
    assert measure.rate(runs.assign(minimum_loss=0.0)).dims == found.dims


def plain_path(slope, start, lr, momentum, dampening, steps):
    """torch's rule for one parameter, in plain torch."""
    x = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([x], lr=lr, momentum=momentum, dampening=dampening)
    losses = []
    for _ in range(steps + 1):
        rule.zero_grad()
        loss = slope(x).sum()
        losses.append(loss.item())
        loss.backward()
        rule.step()
    return losses


@pytest.mark.parametrize(
    ("loss", "start", "settings", "steps"),
    [
        (lambda x: x**2 / 2, 1.0, (1.0, 0.9, 1.0), 8),
        (lambda x: x**2 / 2, -0.7, (0.8, 0.9, 1.0), 12),
        (lambda x: (x**2 - 1) ** 2 / 4, 0.3, (0.8, 0.9, 1.0), 16),
        (lambda x: 1 - torch.exp(-(x**2)), 0.001, (2.05, 0.0, 0.0), 8),
        (lambda x: 1 - torch.exp(-(x**2)), 0.001, (1.05, 0.0, 0.0), 60),
        (lambda x: 1 - torch.cos(x), 0.3, (2.2, 0.0, 0.0), 10),
        (lambda x: torch.sqrt(1 + x**2), 0.001, (2.05, 0.0, 0.0), 50),
        (lambda x: torch.sqrt(1 + x**2), 0.001, (2.05, 0.0, 0.0), 100),
        (lambda x: torch.log1p(x**2), 0.03, (1.2, 0.0, 0.0), 10),
        (lambda x: torch.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5), 0.3, (2.2, 0.0, 0.0), 12),
    ],
)
def test_what_stays_bounded_did_not_diverge(loss, start, settings, steps):
    """Twenty times the steps, by torch alone: it rests, or goes on within bounds."""
    long = plain_path(loss, start, *settings, 20 * steps)
    assert max(long[-steps:]) < 100 * max(1.0, long[0])
    x = torch.tensor(start, dtype=torch.float64)
    lr, momentum, dampening = settings
    how = {"lr": lr, "momentum": momentum, "dampening": dampening, "steps": steps}
    run = ravine.descend(ravine.Problem(lambda p: loss(p["x"]), {"x": x}), **how)
    assert run.loss.values.tolist() == long[: steps + 1]
    assert not bool(measure.diverged(run))
    assert "diverged" not in {each.kind for each in ravine.explain(run)}


def test_growth_that_shows_and_growth_that_does_not():
    k = np.arange(101)
    assert not measure.diverged(study_of(1 + 1e-6 * 1.1**k)).any()  # from 1 to 1.01
    assert measure.diverged(study_of(1e-6 * 1.1**k)).all()
    assert measure.diverged(study_of(1 + 1e-3 * 1.1**k)).all()
    assert not measure.diverged(study_of(1e-6 * 1.1**k / (1 + 1e-2 * 1.1**k))).any()  # it levels off


def test_growth_of_many_runs_is_that_of_each(monkeypatch):
    monkeypatch.setattr("ravine.measure._growth.SOME", 7)
    losses = random_losses(np.float64)
    steps = np.where(np.arange(len(losses)) % 3 == 0, 15, losses.shape[1] - 1)
    whole = measure.diverged(study_of(losses, steps_taken=("a", steps))).values
    alone = [bool(measure.diverged(study_of(each[: n + 1]))) for each, n in zip(losses, steps, strict=True)]
    assert whole.tolist() == alone
    assert {*alone} == {True, False}
