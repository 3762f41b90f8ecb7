"""Theory is held against live torch.optim.SGD in float64, eigenvalues of torch's own step, and search."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
import xarray as xr

import processes
import ravine
from ravine import theory

ARTICLE = np.array([1.29135027348653, 2.04990800913520])
HESSIAN = np.array([[1.3412582826, -0.1880619500], [-0.1880619500, 2.0]])  # (weight, bias)
MINIMIZER = np.array([0.92582731926873609, 2.48438424529315239])
NESTEROV = {"momentum": 0.9, "nesterov": True}


def torch_run(hessian, start, lr, steps, offset=0.0, **settings):
    """Positions (steps + 1, n) of a real optimizer on ½ xᵀHx - offset·x, in float64."""
    matrix, shift = torch.as_tensor(hessian, dtype=torch.float64), torch.as_tensor(offset, dtype=torch.float64)
    x = torch.tensor(np.asarray(start), dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([x], lr=lr)
    rule.param_groups[0].update(settings)  # groups are not validated: nesterov may meet dampening, or momentum 0
    positions = [x.tolist()]
    for _ in range(steps):
        x.grad = matrix @ x.detach() - shift
        rule.step()
        positions.append(x.tolist())
    return np.array(positions)


def step_matrix(a, momentum=0.0, dampening=0.0, nesterov=False):
    """Torch's step on (error, lr · velocity), written down from its source."""
    if momentum == 0:
        return np.array([[1 - a, 0.0], [0.0, 0.0]])
    velocity = np.array([(1 - dampening) * a, momentum])
    update = np.array([a, 0.0]) + momentum * velocity if nesterov else velocity
    return np.array([np.array([1.0, 0.0]) - update, velocity])


def random_settings(random):
    """Everything torch runs: no momentum, 1 and more, dampening of either sign, nesterov with all of them."""
    momentum = random.choice([0.0, random.uniform(0, 1), random.uniform(0, 1), random.uniform(0, 1), 1.0, 1.1])
    return {
        "momentum": float(momentum),
        "dampening": float(random.choice([0.0, 0.0, random.uniform(-1, 1), random.uniform(1, 2)])),
        "weight_decay": float(random.choice([0.0, random.uniform(0, 3)])),
        "nesterov": bool(random.integers(2)),
    }


# ------------------------------------------------------------------------------------------------ the article's toy


@pytest.mark.parametrize(
    ("settings", "rates", "half_lives", "periods", "limit", "effective"),
    [
        ({}, (".8709", ".7950"), ("5.0", "3.0"), ("inf", "inf"), ".9757", "0.1"),
        ({"momentum": 0.9}, (".9487", ".9487"), ("13.2", "13.2"), ("17.1", "13.5"), "1.8537", "1.0"),
        (NESTEROV, (".8853", ".8459"), ("5.7", "4.1"), ("17.3", "13.5"), ".6621", "1.0"),
        (
            {**NESTEROV, "weight_decay": 2.0},
            (".7770", ".7318"),
            ("2.7", "2.2"),
            ("10.3", "9.1"),
            ".3351",
            "1.0",
        ),
        (
            {"momentum": 0.9, "dampening": 0.8},
            (".9487", ".9487"),
            ("13.2", "13.2"),
            ("40.1", "31.2"),
            "9.2687",
            "0.2",
        ),
    ],
)
def test_the_article(settings, rates, half_lives, periods, limit, effective):
    def printed(values, digits):
        return tuple(f"{value:.{digits}f}".removeprefix("0" * (digits > 1)) for value in values)

    assert printed(theory.rate(ARTICLE, 0.1, **settings), 4) == rates
    assert printed(theory.half_life(ARTICLE, 0.1, **settings), 1) == half_lives
    assert printed(theory.period(ARTICLE, 0.1, **settings), 1) == periods
    assert printed([theory.stability_limit(ARTICLE, **settings)], 4) == (limit,)
    known = {name: settings[name] for name in ("momentum", "dampening") if name in settings}
    assert f"{theory.effective_lr(0.1, **known):.1f}" == effective
    word = "underdamped" if settings else "overdamped"
    assert theory.regime(ARTICLE, 0.1, **settings).tolist() == [word, word]


def test_what_is_said_of_the_article():
    assert np.allclose(np.linalg.eigvalsh(HESSIAN), ARTICLE, rtol=1e-9)
    assert f"{theory.best_momentum(ARTICLE, lr=0.1).momentum:.2f}" == "0.41"
    assert np.round(theory.fixed_point(HESSIAN, MINIMIZER, 2.0), 4).tolist() == [0.3001, 1.2128]
    plain = theory.stability_limit(ARTICLE)
    assert f"{theory.stability_limit(ARTICLE, **NESTEROV) / plain:.3f}" == "0.679"
    assert f"{theory.stability_limit(ARTICLE, momentum=0.9) / plain:.1f}" == "1.9"
    assert 1 - theory.rate(ARTICLE, 0.1, 0.9).max() == pytest.approx(0.05, abs=0.005)
    assert 1 - theory.rate(ARTICLE, 0.1).max() == pytest.approx(0.13, abs=0.005)


def test_a_rate_below_one_is_no_falling_loss():
    curvature, directions = np.linalg.eigh(HESSIAN)
    start = directions.T @ (np.array([6.0, -3.0]) - MINIMIZER)
    errors = theory.recurrence(curvature, 0.1, momentum=0.9, start=start, steps=99)
    loss = (curvature[:, None] / 2 * errors**2).sum(0)
    assert theory.rate(curvature, 0.1, momentum=0.9).max() < 1
    assert (np.diff(loss) > 0).sum() == 43
    assert (np.diff((curvature[:, None] * theory.recurrence(curvature, 0.1, start=start) ** 2).sum(0)) < 0).all()


# ---------------------------------------------------------------------------------------------------- against torch


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 2.0},
        {"momentum": 0.9},
        {"momentum": 0.5, "weight_decay": 0.3},
        {"momentum": 0.9, "dampening": 0.8},
        {"momentum": 0.7, "dampening": -0.5},
        NESTEROV,
        {"momentum": 0.4, "nesterov": True, "weight_decay": 1.0},
        {"momentum": 1.0, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "dampening": 0.5},
    ],
    ids=str,
)
def test_limits_by_live_runs_on_both_sides(settings):
    random = np.random.default_rng(11)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    curvature = np.array([0.3, 1.1, 2.6])
    hessian = rotation @ np.diag(curvature) @ rotation.T

    def converges(lr):
        size = np.abs(torch_run(hessian, [1.0, -2.0, 0.5], lr, 400, **settings)).max(1)
        return size[400] < size[360]

    limit = theory.stability_limit(curvature, **settings)
    assert all(converges(share * limit) for share in (1 / 3, 0.8, 1 - 2e-4))
    assert not any(converges(share * limit) for share in (1 + 2e-4, 1.3, 3.0))


def test_recurrence_is_what_torch_does():
    random = np.random.default_rng(23)
    grew, shrank, seen = 0, 0, set()
    for _ in range(210):
        modes = int(random.integers(1, 5))
        rotation = np.linalg.qr(random.normal(size=(modes, modes)))[0]
        curvature = np.exp(random.uniform(-2, 2, modes))
        hessian = rotation @ np.diag(curvature) @ rotation.T
        minimizer, start = random.normal(size=modes), 3 * random.normal(size=modes)
        settings = random_settings(random)
        seen |= {(name, *np.sign([value, value - 1])) for name, value in settings.items()}
        scale = 2 * (1 + settings["momentum"]) / (curvature.max() + settings["weight_decay"])
        lr = float(scale * random.uniform(0.02, 1.2))

        goal = theory.fixed_point(hessian, minimizer, settings["weight_decay"])
        real = (torch_run(hessian, start, lr, 60, hessian @ minimizer, **settings) - goal) @ rotation
        told = theory.recurrence(curvature, lr, **settings, start=rotation.T @ (start - goal), steps=60).T
        # all modes share the rounding of the parameters they are mixed in
        reach = np.maximum.accumulate(np.abs(real).max(1))[:, None]
        assert (np.abs(told - real) <= 1e-9 * reach).all(), (curvature, lr, settings)
        grew, shrank = grew + (reach[-1, 0] > 10 * reach[0, 0]), shrank + (np.abs(real[-1]).max() < reach[0, 0] / 10)
    assert min(grew, shrank) > 40
    assert len(seen) == 4 + 4 + 3 + 2  # none, some, 1 and more momentum; dampening of either sign; decay; nesterov


def test_the_quadratic_nearest_to_each_problem(case):
    """Curved up or down, stiff or flat: torch on the quadratic that touches the loss at the start."""
    problem = case.problem.in_double()
    sizes = [value.numel() for value in problem.start.values()]

    def loss(flat):
        pieces = flat.split(sizes)
        return problem.loss(
            {name: piece.reshape(v.shape) for (name, v), piece in zip(problem.start.items(), pieces, strict=True)}
        )

    start = torch.cat([value.reshape(-1) for value in problem.start.values()]).requires_grad_()
    (slope,) = torch.autograd.grad(loss(start), start)
    hessian = torch.autograd.functional.hessian(loss, start.detach()).numpy()
    hessian = (hessian + hessian.T) / 2
    curvature, directions = np.linalg.eigh(hessian)
    minimizer = start.detach().numpy() - np.linalg.solve(hessian, slope.numpy())
    for settings in ({}, {"momentum": 0.9, "dampening": 0.3}, {**NESTEROV, "weight_decay": 0.02}):
        goal = theory.fixed_point(hessian, minimizer, settings.get("weight_decay", 0.0))
        real = torch_run(hessian, start.tolist(), case.lr, 50, hessian @ minimizer, **settings) - goal
        told = theory.recurrence(curvature, case.lr, **settings, start=directions.T @ real[0], steps=50)
        assert np.abs(directions @ told - real.T).max() <= 1e-8 * np.abs(real).max()
        grows = theory.regime(curvature, case.lr, **settings) == "diverging"
        assert np.array_equal(grows, theory.rate(curvature, case.lr, **settings) > 1)
        assert (theory.stability_limit(curvature, **settings) < case.lr) == grows.any()


@pytest.mark.parametrize("name", ["article", "csv"])
def test_linear_regression_is_a_quadratic(name, all_cases):
    problem = all_cases[name].problem.in_double()
    x = np.concatenate([problem.parts.inputs.numpy(), np.ones((len(problem.parts.inputs), 1))], axis=1)
    y = problem.parts.targets.numpy()[:, 0]
    hessian = 2 / len(x) * x.T @ x
    curvature, directions = np.linalg.eigh(hessian)
    settings = {**NESTEROV, "lr": 0.05, "weight_decay": 0.5}
    goal = theory.fixed_point(hessian, np.linalg.lstsq(x, y)[0], 0.5)
    run = ravine.descend(problem, **settings).position.values
    told = theory.recurrence(curvature, **settings, start=directions.T @ (run[0] - goal))
    assert np.abs(directions @ told + goal[:, None] - run.T).max() < 1e-9


def test_rosenbrock_has_its_limit_at_the_minimum():
    """Away from quadratics the limit is local: nearby, a run stays below it and leaves above it."""
    problem = ravine.gallery.rosenbrock().in_double().starting_at(x=1 + 1e-7, y=1 - 1e-7)
    curvature = np.linalg.eigvalsh([[802.0, -400.0], [-400.0, 200.0]])
    for settings in ({}, {"momentum": 0.9}, NESTEROV):
        limit = theory.stability_limit(curvature, **settings)
        for share, stays in ((0.97, True), (1.03, False)):
            run = ravine.descend(problem, lr=share * limit, steps=150, **settings).position.values
            size = np.abs(run - 1).max(1)
            assert (size[-1] < 2e-7) == stays, (settings, share)


def test_damped_is_undamped_with_a_larger_first_velocity():
    a, momentum, dampening = 0.1 * 1.7, 0.9, 0.8
    e, v, told = 1.0, None, theory.recurrence(1.7, 0.1, momentum, dampening, steps=30)
    for k in range(30):
        assert told[k] == pytest.approx(e, abs=1e-13)
        small = a * (1 - dampening) * e
        v = small / (1 - dampening) if v is None else momentum * v + small
        e -= v


def test_effective_lr_is_the_step_down_a_constant_slope():
    for momentum, dampening, nesterov in (
        (0.9, 0.0, False),
        (0.9, 0.0, True),
        (0.5, 0.8, False),
        (0.0, 0.7, False),
        (0.9, 1.3, False),
        (1.0, 1.0, False),
        (1.5, 1.5, False),
    ):
        run = torch_run([[0.0]], [0.0], 0.1, 400, -1.0, momentum=momentum, dampening=dampening, nesterov=nesterov)
        told = theory.effective_lr(0.1, momentum, dampening)
        assert told == pytest.approx(run[-2, 0] - run[-1, 0], rel=1e-9), (momentum, dampening)
    for momentum, dampening in ((1.0, 0.0), (1.2, 0.5), (1.0, 1.5), (1.2, 1.5)):
        run = torch_run([[0.0]], [0.0], 0.1, 400, -1.0, momentum=momentum, dampening=dampening)[:, 0]
        steps = run[:-1] - run[1:]
        assert abs(steps[-1]) > 1.9 * abs(steps[200]) > 1
        assert theory.effective_lr(0.1, momentum, dampening) == math.copysign(math.inf, steps[-1])
    assert theory.effective_lr(0.0, 1.0) == 0
    assert math.isnan(theory.effective_lr(0.1, math.nan))


# --------------------------------------------------------------------------------------------- against eigenvalues


def test_rate_period_and_regime_against_eigenvalues():
    random = np.random.default_rng(5)
    seen, several = set(), [random_settings(random) for _ in range(3000)]
    columns = {name: np.array([each[name] for each in several]) for name in several[0]}
    curvatures = np.where(random.random(3000) < 0.5, random.uniform(0, 3, 3000), random.uniform(-1, 3, 3000))
    lrs = random.uniform(0, 2.5, 3000)
    kinds = zip(columns["momentum"], columns["dampening"], columns["nesterov"], strict=True)
    steps = zip(lrs * (curvatures + columns["weight_decay"]), kinds, strict=True)
    eigenvalues = np.linalg.eigvals([step_matrix(a, *kind) for a, kind in steps]).astype(complex)
    several_told = [
        of(curvatures, lrs, **columns).tolist() for of in (theory.rate, theory.period, theory.regime, theory.half_life)
    ]
    of_each = zip(eigenvalues, curvatures, lrs, several, zip(*several_told, strict=True), strict=True)
    for roots, curvature, lr, settings, (told, swing, word, halves) in of_each:
        one, other = sorted(roots.tolist(), key=abs, reverse=True)
        apart, largest = abs(one - other), abs(one)
        # a double root is known to the square root of the rounding only
        noise = 1e-13 * max(1, largest**2) / max(apart, 1e-7)
        assert abs(told - largest) <= noise, (curvature, lr, settings)
        if apart < 1e-3 or abs(largest - 1) < 1e-9 or (abs(largest - abs(other)) < 1e-9 and not one.imag):
            continue
        assert abs(1 / swing - abs(cmath.phase(one)) / (2 * math.pi)) < 1e-9
        kind = "underdamped" if one.imag else "overdamped" if one.real > 0 else "alternating"
        assert word == ("diverging" if largest > 1 else kind)
        assert abs(told**halves - 0.5) < 1e-6 if told < 1 else halves == math.inf
        seen.add(word)
    assert seen == {"overdamped", "underdamped", "alternating", "diverging"}


def test_limit_is_where_the_largest_eigenvalue_reaches_one():
    random = np.random.default_rng(6)
    zero = 0
    for _ in range(600):
        settings = random_settings(random)
        # dampening beyond 1 climbs: there what curves down may converge
        curvature = random.choice([1, 1, -1]) * random.uniform(-0.2, 3, int(random.integers(1, 4)))
        limit = theory.stability_limit(curvature, **settings)
        kinds = {key: settings[key] for key in ("momentum", "dampening", "nesterov")}

        def worst(*lrs, curvature=curvature + settings["weight_decay"], kinds=kinds):
            matrices = [[step_matrix(lr * each, **kinds) for each in curvature] for lr in lrs]
            return np.abs(np.linalg.eigvals(matrices)).max((1, 2))

        if limit == 0:
            zero += 1
            assert worst(1e-4) >= 1 - 1e-9
            continue
        assert limit < math.inf
        sizes = worst(*(share * limit for share in (1e-4, 0.01, 0.3, 0.7, 0.999, 1.001)))
        assert (sizes[:-1] < 1).all()
        assert sizes[-1] > 1
        decided = theory.regime(curvature, limit, **settings)
        assert "marginal" in decided
        assert "diverging" not in decided
    assert 40 < zero < 560
    assert theory.stability_limit(-1.0, 0.9, 2.0, nesterov=True) == pytest.approx(1 / 9)


def test_borders_of_the_regimes():
    nearly = 1e-9
    for lr, momentum, nesterov, below, above in (
        (1.0, 0.0, False, "overdamped", "alternating"),
        (0.25, 0.25, False, "overdamped", "underdamped"),  # (1 - √μ)²
        (2.25, 0.25, False, "underdamped", "alternating"),  # (1 + √μ)²
        (0.25, 1 / 3, True, "overdamped", "underdamped"),  # ((1 - μ) / (1 + μ))²
        (1.0, 0.6, True, "underdamped", "alternating"),
    ):
        settings = {"momentum": momentum, "nesterov": nesterov}
        assert theory.regime(1.0, lr, **settings) == "critical"
        assert theory.regime(1.0, lr * (1 - nearly), **settings) == below
        assert theory.regime(1.0, lr * (1 + nearly), **settings) == above
    assert theory.rate(1.0, 0.25, 0.25) == 0.5
    assert theory.rate(1.0, 1.0) == theory.rate(1.0, 1.0, 0.6, nesterov=True) == 0
    assert theory.half_life(1.0, 1.0) == 0
    assert theory.recurrence(1.0, 1.0, 0.5, nesterov=True, steps=4).tolist() == [1.0, -0.5, 0.0, 0.0, 0.0]


def test_borders_are_met_whatever_the_rounding():
    random = np.random.default_rng(8)
    momentum, dampening = random.uniform(0, 0.99, 2000), random.uniform(-1, 0.99, 2000)
    curvature, decay = random.uniform(0.1, 9, 2000), random.uniform(0, 2, 2000)
    total = curvature + decay
    root = np.sqrt(momentum)
    for lr, settings in (
        ((1 - root) ** 2 / total / (1 - dampening), {"dampening": dampening}),
        ((1 + root) ** 2 / total / (1 - dampening), {"dampening": dampening}),
        (((1 - momentum) / (1 + momentum)) ** 2 / total, {"nesterov": True}),
        (1 / total, {"nesterov": True}),
    ):
        words = theory.regime(curvature, lr, momentum, weight_decay=decay, **settings)
        assert (words == "critical").all(), settings
        for side in (1 - 1e-7, 1 + 1e-7):
            words = theory.regime(curvature, lr * side, momentum, weight_decay=decay, **settings)
            assert not (words == "critical").any(), settings
    for settings in ({"dampening": dampening}, {"nesterov": True}):
        limit = theory.stability_limit(curvature[:, None], momentum, weight_decay=decay, **settings)
        words = theory.regime(curvature, limit, momentum, weight_decay=decay, **settings)
        assert (words == "marginal").all()
        assert theory.rate(curvature, limit, momentum, weight_decay=decay, **settings) == pytest.approx(1.0)


def test_heavy_ball_swings_at_one_rate_and_nesterov_damps_stiff_modes_more():
    curvature = np.array([0.5, 1.0, 5.0])
    for lr, dampening in ((0.1, 0.0), (0.3, 0.0), (0.5, 0.7)):
        assert theory.regime(curvature, lr, 0.9, dampening).tolist() == ["underdamped"] * 3
        assert theory.rate(curvature, lr, 0.9, dampening) == pytest.approx(math.sqrt(0.9))
    assert (np.diff(theory.rate(curvature, 0.1, 0.9, nesterov=True)) < 0).all()
    assert theory.period(1.0, 1.5) == theory.period(1.0, 2.5, 0.25) == 2


# ------------------------------------------------------------------------------------------------- the best settings


def radii(a, momentum, nesterov):
    """The largest eigenvalue modulus for arrays, from numpy's solver."""
    a, momentum = np.broadcast_arrays(a, momentum)
    ahead = 1 + momentum if nesterov else np.ones_like(momentum)
    rows = [[1 - ahead * a, -(momentum**2) if nesterov else -momentum], [a, momentum]]
    matrices = np.moveaxis(np.array(rows), (0, 1), (-2, -1))
    return np.abs(np.linalg.eigvals(matrices)).max(-1)


@pytest.mark.parametrize("nesterov", [False, True])
def test_best_lr_against_search(nesterov):
    random = np.random.default_rng(3)
    for momentum in (0.0, 0.05, 0.3, 0.6, 0.9, 0.99):
        modes = np.sort(np.exp(random.uniform(-3, 1, 4)))
        decay = float(random.choice([0.0, 0.2]))
        best = theory.best_lr(modes, momentum, weight_decay=decay, nesterov=nesterov)
        grid = np.linspace(0.002, 1, 4000) * theory.stability_limit(modes, momentum, 0.0, decay, nesterov)
        worst = radii(grid[:, None] * (modes + decay), momentum, nesterov and momentum > 0).max(1)
        # a double root moves with the square root of the lr
        assert best.rate == pytest.approx(worst.min(), abs=2e-2)
        assert best.rate <= worst.min() + 1e-7
        assert best.rate == pytest.approx(theory.rate(modes, best.lr, momentum, 0.0, decay, nesterov).max(), abs=1e-7)
        assert best.momentum == momentum


def test_best_lr_in_closed_form():
    low, high = ARTICLE
    assert theory.best_lr(ARTICLE).lr == pytest.approx(2 / (low + high))
    assert theory.best_lr(ARTICLE).rate == pytest.approx((high / low - 1) / (high / low + 1))
    damped = theory.best_lr([1.0, 400.0], 0.5, 0.8)
    assert damped.lr == pytest.approx(5 * theory.best_lr([1.0, 400.0], 0.5).lr)
    assert damped.rate == pytest.approx(theory.best_lr([1.0, 400.0], 0.5).rate)
    assert theory.best_lr(2.0, dampening=0.5) == (0.5, 0.0, 0.0)  # without momentum there is no dampening
    with pytest.raises(ValueError, match="nesterov with dampening has no best lr"):
        theory.best_lr(ARTICLE, 0.9, 0.5, nesterov=True)


@pytest.mark.parametrize("nesterov", [False, True])
def test_best_momentum_at_an_lr_against_search(nesterov):
    random = np.random.default_rng(4)
    grid = np.linspace(0, 0.9999, 2000)
    beyond = 0
    for _ in range(45):
        modes = np.sort(np.exp(random.uniform(-3, 1, 4)))
        lr = float(random.uniform(0.02, 4 if not nesterov else 2)) / modes[-1]
        best = theory.best_momentum(modes, lr, nesterov=nesterov)
        worst = radii(lr * modes, grid[:, None], nesterov).max(1)
        if math.isnan(best.momentum):
            assert worst.min() >= 1 - 1e-9
            beyond += 1
            continue
        found = radii(lr * modes, best.momentum, nesterov).max()
        assert best.rate == pytest.approx(found, abs=1e-7)
        assert best.rate <= worst.min() + 1e-7
        assert best.rate == pytest.approx(worst.min(), abs=2e-2)
        polyak = (2 / (math.sqrt(modes[0]) + math.sqrt(modes[-1]))) ** 2
        if not nesterov:
            slow_decides = best.momentum == pytest.approx((1 - math.sqrt(lr * modes[0])) ** 2, abs=1e-12)
            assert slow_decides == (lr <= polyak)
        else:
            root = math.sqrt(lr * modes[0])
            slow_decides = best.momentum == pytest.approx((1 - root) / (1 + root), abs=1e-12)
            assert slow_decides == (lr <= 4 / (3 * modes[-1] + modes[0]))
            assert (best.momentum == 0) == (lr >= 2 / (modes[-1] + modes[0]))
    assert beyond < 23


@pytest.mark.parametrize("nesterov", [False, True])
def test_best_pair_against_search(nesterov):
    momenta = np.linspace(0, 0.99, 100)[:, None, None]
    for modes, decay in (([1.0, 9.0], 0.0), ([0.1, 0.5, 7.0], 0.0), ([1.0, 30.0], 1.5), (ARTICLE, 0.0)):
        best = theory.best_momentum(modes, weight_decay=decay, nesterov=nesterov)
        total = np.asarray(modes) + decay
        lrs = np.linspace(0.3, 1.2, 151)[:, None] * best.lr
        worst = radii(lrs * total, momenta, nesterov).max(-1)
        assert best.rate <= worst.min() + 1e-7
        assert best.rate == pytest.approx(worst.min(), abs=0.03)
        assert radii(best.lr * total, best.momentum, nesterov).max() == pytest.approx(best.rate, abs=1e-6)
        at_it = theory.best_momentum(modes, best.lr, decay, nesterov)
        assert at_it.momentum == pytest.approx(best.momentum, abs=1e-9)
    assert theory.best_momentum([2.0, 2.0], nesterov=nesterov) == (0.5, 0.0, 0.0)


# ----------------------------------------------------------------------------------------------- shapes and answers


def test_a_grid_is_one_call():
    lr, momentum = np.geomspace(1e-3, 1, 7)[:, None], np.linspace(0, 0.99, 5)
    rates = theory.rate(ARTICLE[:, None, None], lr, momentum)
    assert rates.shape == (2, 7, 5)
    for i, j, k in np.ndindex(rates.shape):
        assert rates[i, j, k] == theory.rate(ARTICLE[i], lr[j, 0], momentum[k])
    for of_mode in (theory.regime, theory.period, theory.half_life):
        assert of_mode(ARTICLE[:, None, None], lr, momentum).shape == (2, 7, 5)
    assert theory.recurrence(ARTICLE[:, None], 0.1, momentum, steps=4, start=2).shape == (2, 5, 5)
    assert theory.recurrence(1.0, 0.1, steps=0).tolist() == [1.0]
    assert theory.stability_limit(ARTICLE, momentum, nesterov=[[True], [False]]).shape == (2, 5)
    assert theory.stability_limit(np.ones((5, 3)), momentum).shape == (5,)
    assert [each.shape for each in theory.best_lr(ARTICLE, momentum, nesterov=True)] == [(5,)] * 3
    assert [each.shape for each in theory.best_momentum(ARTICLE, lr)] == [(7, 1)] * 3
    assert theory.effective_lr(lr, momentum).shape == (7, 5)
    assert theory.fixed_point(HESSIAN, np.ones((4, 1, 2)), [0.0, 1.0, 2.0]).shape == (4, 3, 2)
    words = theory.regime(ARTICLE[:, None, None], np.geomspace(1e-3, 5, 40)[:, None], np.linspace(0, 1, 21))
    assert set(words.flat) <= set(theory.REGIMES)


def test_theory_works_without_torch():
    code = "sys.modules['torch'] = None; import ravine; assert ravine.theory.rate(1.0, 0.5) == 0.5"
    processes.run(f"{processes.FORGET}; {code}", check=True)


def test_numbers_give_numbers():
    assert type(theory.rate(1, 0.1)) is type(theory.stability_limit([1, 2])) is type(theory.best_lr([1, 2]).lr) is float
    assert type(theory.regime(1, 0.1)) is str
    with pytest.raises(AttributeError):
        theory.best_lr([1, 2]).lr = 3


def test_data_arrays_broadcast_by_name():
    modes = xr.DataArray(ARTICLE, dims="mode")
    lr = xr.DataArray([0.05, 0.1, 0.5], dims="lr", coords={"lr": [0.05, 0.1, 0.5]})
    momentum = xr.DataArray([0.0, 0.9], dims="momentum", coords={"momentum": [0.0, 0.9]})
    rates = theory.rate(modes, lr, momentum, nesterov=True)
    assert dict(rates.sizes) == {"mode": 2, "lr": 3, "momentum": 2}
    assert rates.name == "rate"
    assert rates.attrs["long_name"]
    assert float(rates.sel(lr=0.1, momentum=0.9)[0]) == theory.rate(ARTICLE[0], 0.1, 0.9, nesterov=True)
    limit = theory.stability_limit(modes, momentum)
    assert limit.dims == ("momentum",)
    assert limit.values.tolist() == theory.stability_limit(ARTICLE, [0.0, 0.9]).tolist()
    errors = theory.recurrence(modes, 0.1, momentum, steps=5)
    assert dict(errors.sizes) == {"mode": 2, "momentum": 2, "step": 6}
    assert errors["step"].values.tolist() == list(range(6))
    assert np.isnan(theory.stability_limit(modes.where(modes > 2)))
    assert theory.best_momentum(modes, lr).momentum.dims == ("lr",)
    assert theory.regime(modes, lr).sel(lr=0.1).values.tolist() == ["overdamped", "overdamped"]
    labels = ["weight", "bias"]
    hessian = xr.DataArray(HESSIAN, dims=("parameter", "parameter_"), coords={"parameter": labels})
    minimizer = xr.DataArray(MINIMIZER, dims="parameter", coords={"parameter": labels})
    decay = xr.DataArray([0.0, 2.0], dims="weight_decay")
    moved = theory.fixed_point(hessian, minimizer, decay)
    assert moved.dims == ("weight_decay", "parameter")
    assert np.array_equal(moved[0], MINIMIZER)
    assert np.allclose(moved[1], theory.fixed_point(HESSIAN, MINIMIZER, 2.0), rtol=1e-14)
    with pytest.raises(TypeError, match="no names for the axes of momentum, beside"):
        theory.rate(modes, lr, [0.0, 0.9])


def test_fixed_points_stand_still_and_minimise_loss_with_decay():
    random = np.random.default_rng(2)
    factor = random.normal(size=(5, 3, 3))
    hessian = factor @ np.swapaxes(factor, 1, 2)
    minimizer, decay = random.normal(size=(5, 3)), np.array([0.0, 0.1, 0.5, 2.0, 10.0])
    points = theory.fixed_point(hessian, minimizer, decay)
    for h, x, w, point in zip(hessian, minimizer, decay, points, strict=True):
        still = torch_run(h, point, 0.01, 3, h @ x, weight_decay=w, momentum=0.9, nesterov=True)
        assert np.abs(still - point).max() < 1e-12
    assert np.array_equal(points[0], minimizer[0])
    assert theory.fixed_point([[0.0]], [3.0]).tolist() == [3.0]  # flat, but nothing pulls
    assert theory.fixed_point([[0.0]], [3.0], 1.0).tolist() == [0.0]


def test_flat_downward_and_hopeless():
    assert theory.stability_limit(0.0) == theory.stability_limit([0.0, 0.0], 0.9) == math.inf
    assert theory.stability_limit([0.0, 2.0]) == 1.0
    assert theory.stability_limit(0.0, weight_decay=2.0) == 1.0
    assert theory.stability_limit([-0.1, 2.0]) == theory.stability_limit(-1.0, 0.9) == 0
    assert theory.stability_limit(1.0, momentum=[1.0, 1.5]).tolist() == [0.0, 0.0]
    assert theory.stability_limit(1.0, 0.9, dampening=[1.0, 1.5]).tolist() == [0.0, 0.0]
    assert theory.stability_limit(1.0, [1.0, 1.1], nesterov=True).tolist() == [4 / 3, 0.0]
    # above momentum 1 Nesterov has a window: the run shows it
    assert theory.rate(1.0, [0.05, 0.5], 1.1, nesterov=True).tolist() == pytest.approx([1.0222, 0.7416], abs=1e-4)
    for lr, grows in ((0.05, True), (0.5, False)):
        run = torch_run([[1.0]], [1.0], lr, 300, momentum=1.1, nesterov=True)
        assert (np.abs(run[-10:]).max() > 1) == grows
    assert theory.regime(0.0, 0.1, [0.0, 0.9]).tolist() == ["marginal", "marginal"]
    assert theory.rate(0.0, 0.1, 0.9) == theory.rate(3.0, 0.0, 0.9) == 1
    assert theory.half_life([0.0, -1.0], 0.1).tolist() == [math.inf, math.inf]
    assert theory.regime(-1.0, 0.1) == "diverging"
    assert theory.rate(-1.0, 0.1) == pytest.approx(1.1)
    assert theory.regime(1.0, 0.1, 1.0) == theory.regime(1.0, 0.1, 0.9, 1.0) == "marginal"
    assert theory.regime(1.0, 1e-20) == "overdamped"  # though its rate rounds to 1
    for hopeless in ([0.0, 1.0], [-1.0, 1.0], [-2.0, -1.0], [math.nan, 1.0]):
        assert np.isnan(theory.best_lr(hopeless)).tolist() == [True, False, True]
        assert np.isnan(theory.best_momentum(hopeless)).all()
        assert np.isnan(theory.best_momentum(hopeless, 0.1, nesterov=[True, False]).momentum).all()
    assert np.isnan(theory.best_momentum([1.0, 4.0], lr=[0.99, 1.0, 1.01]).momentum).tolist() == [False, True, True]
    assert np.isnan(theory.best_lr([1.0, 4.0], 1.0).lr)


def test_nan_stays_nan_and_inf_is_inf():
    nan = math.nan
    for arguments in ((nan, 0.1), (1.0, nan), (1.0, 0.1, nan), (1.0, 0.1, 0.9, nan), (1.0, 0.1, 0.0, 0.0, nan)):
        assert math.isnan(theory.rate(*arguments))
        assert theory.regime(*arguments) == "undefined"
        assert math.isnan(theory.half_life(*arguments))
        assert math.isnan(theory.period(*arguments))
    assert math.isnan(theory.rate(1.0, 0.1, 0.9, nesterov=nan))
    assert np.isnan(theory.stability_limit([[1.0, nan], [1.0, 2.0]])).tolist() == [True, False]
    assert np.isnan(theory.stability_limit(1.0, [nan, 0.9], [0.0, nan])).all()
    assert theory.rate(1.0, 0.1, 0.0, nan) == 0.9  # ignored, as by torch
    assert theory.stability_limit(1.0, 0.0, nan) == 2
    assert theory.rate(1.0, math.inf) == theory.rate(1.0, math.inf, 0.9, nesterov=True) == math.inf
    assert theory.regime(1.0, math.inf, [0.0, 0.9]).tolist() == ["diverging", "diverging"]
    real = torch_run([[1.0]], [1.0], 0.1, 4, momentum=nan)[:, 0]
    assert np.array_equal(theory.recurrence(1.0, 0.1, nan, steps=4), real, equal_nan=True)
    blown = theory.recurrence(1.0, 1e200, steps=5)
    assert not np.isfinite(blown[-1])


@pytest.mark.parametrize("verb", [theory.stability_limit, theory.best_lr, theory.best_momentum])
def test_modes_together_refuse_what_climbs(verb):
    for maximize in (True, [False, True]):
        with pytest.raises(ValueError, match="maximize=True climbs: it has no minimum to converge to; for a maximum"):
            verb(ARTICLE, maximize=maximize)
    assert verb(ARTICLE, maximize=False) == verb(ARTICLE)


@pytest.mark.parametrize("verb", [theory.rate, theory.regime, theory.period, theory.half_life, theory.recurrence])
def test_one_mode_refuses_what_climbs(verb):
    with pytest.raises(ValueError, match="maximize=True climbs"):
        verb(1.0, 0.1, maximize=True)


def test_the_remedy_for_maximize_is_the_same_run():
    settings = {"momentum": 0.9, "weight_decay": 0.3}
    real = torch_run([[-1.5]], [2.0], 0.1, 40, maximize=True, **settings)[:, 0]
    assert np.allclose(theory.recurrence(1.5, 0.1, **settings, start=2.0, steps=40), real, rtol=0, atol=1e-12)


def test_clear_errors():
    for name in ("lr", "momentum", "weight_decay"):
        with pytest.raises(ValueError, match=f"{name} must be 0 or more, as torch.optim.SGD demands, got -0.1"):
            theory.rate(1.0, **{"lr": 0.1, name: [0.2, -0.1]})
    with pytest.raises(ValueError, match=r"curvature \(2,\), momentum \(3,\); give one of them axes of its own"):
        theory.rate(ARTICLE, 0.1, [0.0, 0.5, 0.9])
    with pytest.raises(TypeError, match="curvature must be a number, or an array of numbers, got 'steep'"):
        theory.stability_limit("steep")
    with pytest.raises(TypeError, match="nesterov must be a number"):
        theory.rate(1.0, 0.1, nesterov="yes")
    with pytest.raises(ValueError, match="no eigenvalue"):
        theory.stability_limit([])
    with pytest.raises(TypeError, match="steps must be a whole number, got 2.5"):
        theory.recurrence(1.0, 0.1, steps=2.5)
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        theory.recurrence(1.0, 0.1, steps=-1)
    with pytest.raises(ValueError, match=r"got the shapes \(2, 2\) and \(3,\)"):
        theory.fixed_point(HESSIAN, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="weight_decay must be 0 or more"):
        theory.fixed_point(HESSIAN, MINIMIZER, -1.0)
    with pytest.raises(ValueError, match="no single point stands still; choose another weight_decay"):
        theory.fixed_point([[-1.0]], [1.0], 1.0)
