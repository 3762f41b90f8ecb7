"""Each rule on tensors is held against its class of torch.optim, bit for bit, by itself and in whole sweeps."""

from __future__ import annotations

import functools
import itertools
import platform

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._engine.rules.registry import RULES
from ravine._engine.rules.rule import Settings
from ravine._study import optimizer as classes
from ravine._study import provenance

KINDS = [getattr(torch.optim, path.rpartition(":")[2]) for path in RULES]
ADAPTIVE = [kind for kind in KINDS if kind is not torch.optim.SGD]
DTYPES = [torch.float32, torch.float64]
CAPABLE = platform.machine() in ("x86_64", "AMD64") and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
each_adaptive = pytest.mark.parametrize("kind", ADAPTIVE, ids=lambda kind: kind.__name__)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def random_axes(kind, random, rates=6):
    """Values of every setting that makes a path, from useless to divergent ones: a product of some hundreds of runs."""

    def power(low, high):
        return float(10.0 ** random.uniform(low, high))

    def share(low=0.0, high=1.0):
        return float(random.uniform(low, high))

    betas = [(0.9, 0.999), (share(), share()), (0.0, share(0.9)), (1 - power(-7, -1), 0.0)]
    of_all = {
        "weight_decay": [0.0, power(-3, 0.5)],
        "maximize": [False, True],
        "eps": [1e-8, 0.0, power(-10, 0)],
        "betas": betas,
        "amsgrad": [False, True],
        "decoupled_weight_decay": [False, True],
        "momentum": [0.0, share(), share(1, 1.1)],
        "dampening": [0.0, share(-0.5, 1.2)],
        "nesterov": [False, True],
        "alpha": [0.99, share(), 0.0, share(1, 1.1)],
        "centered": [False, True],
        "lr_decay": [0.0, power(-3, 1)],
        "initial_accumulator_value": [0.0, share()],
        "momentum_decay": [4e-3, 0.0, power(-3, 1)],
        "rho": [0.9, share(), 0.0, 1.0],
    }
    taken = RULES[classes.path_of(kind)].defaults.keys() - {"lr"}
    if kind is torch.optim.AdamW:
        taken -= {"decoupled_weight_decay"}  # which it is, and does not ask
    axes = {name: values for name, values in of_all.items() if name in taken}
    return {"lr": [power(-4, 1.5) for _ in range(rates)], **axes}


def chosen_from(axes, random, count):
    """Some of the combinations, as settings of single runs."""
    places = np.unravel_index(
        random.choice(np.prod([*map(len, axes.values())]), count), [len(values) for values in axes.values()]
    )
    return [{n: axes[n][k] for n, k in zip(axes, map(int, row), strict=True)} for row in np.transpose(places)]


def refused(kind, given, dtype, steps=2):
    """What torch says of settings, where they are made and where they are used."""
    leaf = torch.zeros(1, dtype=dtype, requires_grad=True)
    try:
        optimizer = kind([leaf], **given)
        for _ in range(steps):
            leaf.grad = torch.zeros_like(leaf)
            optimizer.step()
    except Exception as reason:
        return str(reason)
    return ""


def run_in(runs, given):
    """One run of a sweep."""
    for name, value in given.items():
        wanted = repr(value) if isinstance(value, tuple) else value
        runs = runs.isel({name: int(np.flatnonzero(runs[name].values == wanted)[0])})
    return runs


def facts_of(runs):
    return provenance.describe(runs, "loss")


# -- a rule by itself ------------------------------------------------------------------------------------------------


@pytest.mark.quick
@each_dtype
@each_kind
@pytest.mark.parametrize("by_run", [False, True])
def test_each_run_is_torch_s(kind, dtype, by_run, random):
    """Random gradients, some infinite, zero or NaN, so that an operation too many would show.

    A run's numbers may lie together, as a gradient's do then; where a step leads is written into a path, or not.
    """
    runs, steps, made = 120, 8, RULES[classes.path_of(kind)]
    several = chosen_from(random_axes(kind, random, 40), random, 4 * runs)
    several = list(itertools.islice((given for given in several if not refused(kind, given, dtype)), runs))
    gradients = torch.from_numpy(random.normal(size=(steps, 3, runs))).to(dtype)
    gradients[2, 0, ::7], gradients[4, 1, ::11], gradients[6, 2, ::13] = torch.inf, -torch.inf, torch.nan
    gradients[:, 1, ::5] = 0.0
    position = torch.from_numpy(random.normal(size=(3, runs))).to(dtype)
    expected = []
    for k, given in enumerate(several):
        leaf = position[:, k].clone().requires_grad_()
        optimizer = kind([leaf], **given)
        for step in range(steps):
            leaf.grad = gradients[step, :, k].clone()
            optimizer.step()
        expected.append(leaf.detach())
    columns = {name: np.array([given[name] for given in several], dtype=np.float64).T for name in several[0]}
    path = torch.full((runs, steps, 3), torch.nan, dtype=dtype).permute(1, 2, 0) if by_run else [None] * steps
    if by_run:
        position, gradients = position.T.contiguous().T, gradients.mT.contiguous().mT
    before = gradients.clone()
    with np.errstate(all="ignore"):
        batch = made(Settings(columns, made.defaults, runs, position), position)
        for step in range(steps):
            position = batch.step(position, gradients[step], path[step])
    assert bare.same_bits(position, torch.stack(expected, dim=1))
    assert bare.same_bits(gradients, before)


@pytest.mark.quick
@each_kind
@pytest.mark.parametrize("on", [False, True])
def test_where_all_runs_are_alike(kind, on, random):
    """A setting that all runs have, or none, is a number and no column; one run or many have the same bits."""
    made = RULES[classes.path_of(kind)]
    given = {name: values[-1 if on else 0] for name, values in random_axes(kind, random, 1).items()}
    given |= {"dampening": 0.0} if given.get("nesterov") else {}
    columns = {name: np.array(value, dtype=np.float64) for name, value in given.items()}
    gradients = torch.from_numpy(random.normal(size=(5, 2, 3))).float()
    position = torch.from_numpy(random.normal(size=(2, 3))).float()
    leaves = [position[:, k].clone().requires_grad_() for k in range(3)]
    optimizers = [kind([leaf], **given) for leaf in leaves]
    batch = made(Settings(columns, made.defaults, 3, position), position)
    for slopes in gradients:
        for k, (leaf, optimizer) in enumerate(zip(leaves, optimizers, strict=True)):
            leaf.grad = slopes[:, k].clone()
            optimizer.step()
        position = batch.step(position, slopes)
    assert bare.same_bits(position, torch.stack([leaf.detach() for leaf in leaves], dim=1))


@pytest.mark.quick
@each_kind
def test_a_rule_changes_nothing_that_it_is_given(kind, random):
    made = RULES[classes.path_of(kind)]
    given = {name: values[-1] for name, values in random_axes(kind, random, 1).items()} | {"lr": 0.1}
    columns = {name: np.array(value, dtype=np.float64) for name, value in given.items()}
    position, gradient = torch.ones(1, 2), torch.full((1, 2), 3.0)
    batch = made(Settings(columns, made.defaults, 2, position), position)
    once = batch.step(position, gradient)
    kept = once.clone()
    batch.step(position, gradient)
    assert position.eq(1).all()
    assert gradient.eq(3).all()
    assert bare.same_bits(once, kept)
    assert not once.eq(1).any()


@pytest.mark.quick
@each_kind
def test_settings_and_defaults_are_torch_s(kind):
    """A setting that torch should get, or another default, would show here."""
    held = kind([torch.ones(1)]).defaults
    assert RULES[classes.path_of(kind)].defaults == {n: v for n, v in held.items() if n not in IMPLEMENTATION}


# -- whole sweeps ----------------------------------------------------------------------------------------------------


def check_sweep(kind, problem, random, count, steps, loop, **how):
    """Runs at random from a product of random settings are those of a bare loop."""
    axes = random_axes(kind, random)
    runs, told = ravine.sweep(problem, kind, steps=steps, **axes, **how), {}
    facts = facts_of(runs)
    assert facts["engine"].startswith(f"{kind.__name__}'s rule on a batch, gradient ")
    if not facts["why"].split(" are ")[-1].startswith("every bit"):
        assert facts["equals_torch"].startswith(("within", "every bit"))
        return facts
    assert facts["equals_torch"].startswith("every bit, 16 whole runs of ")
    for given in chosen_from(axes, random, count):
        run = run_in(runs, given)
        said = refused(kind, given, problem.like.dtype)
        assert said == (run.error.item() if "error" in run else "")
        if said:
            assert np.isnan(run.loss).all()
            continue
        position, loss = loop(optimizer=kind, steps=steps, **given)
        assert bare.same_bits(run.position, position), given
        assert bare.same_bits(run.loss, loss), given
        told[bool(np.isfinite(loss[-1]) and loss[-1] < loss[0])] = True
    assert len(told) == 2 or count < 50  # some go down, some do not
    return facts


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
@each_dtype
@each_adaptive
def test_random_settings_on_the_article(kind, dtype, count, article, random):
    problem = article["MSELoss"] if dtype == torch.float32 else article["MSELoss"].in_double()
    parts = problem.parts
    loop = functools.partial(bare.train, parts.model, parts.criterion, parts.inputs, parts.targets)
    facts = check_sweep(kind, problem, random, count, 100 if count == 500 else 30, loop)
    if CAPABLE:  # here an order of operations with torch's bits is known
        assert facts["why"].startswith("every bit")


@pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.slow)])
@each_dtype
@each_adaptive
def test_random_settings_on_a_quadratic_through_autograd(kind, dtype, count, random):
    def loss(p):
        return 3.0 * (p["x"] - 1.0) ** 2 + 0.5 * p["y"] ** 2

    number = np.float32 if dtype == torch.float32 else np.float64
    start = {name: number(random.normal()) for name in "xy"}
    problem = ravine.Problem(loss, {name: torch.tensor(value) for name, value in start.items()})
    facts = check_sweep(kind, problem, random, count, 30, functools.partial(bare.minimise, loss, start))
    assert facts["engine"].endswith("gradient by autograd")
    assert "every bit" in facts["why"]


@each_adaptive
def test_four_problems(case, kind):
    rates = [case.lr / 10, case.lr]
    runs = ravine.sweep(case.problem, kind, lr=rates, weight_decay=[0.0, 0.1], steps=20)
    facts = facts_of(runs)
    assert facts["engine"].startswith(f"{kind.__name__}'s rule on a batch, gradient ")
    forced = ravine.sweep(case.problem, kind, lr=rates, weight_decay=[0.0, 0.1], steps=20, engine="torch")
    assert facts_of(forced)["engine"] == f"{kind.__name__}, run by run"
    if facts["equals_torch"].startswith("every bit"):
        assert bare.same_bits(runs.position, forced.position)
        assert bare.same_bits(runs.loss, forced.loss)
    else:
        assert np.allclose(runs.loss, forced.loss, rtol=1e-3, atol=1e-5)
    direct = ravine.descend(case.problem, kind, lr=case.lr, weight_decay=0.1, steps=20)
    one = ravine.at(runs, lr=case.lr, weight_decay=0.1)
    assert bare.same_bits(forced.loss[1, 1], direct.loss)
    settings = [name for name in direct.coords if direct[name].ndim == 0]
    assert {name: one[name].item() for name in settings} == {name: direct[name].item() for name in settings}
    assert classes.optimizers_of(runs).values.item() == classes.path_of(kind)
    summary = ravine.sweep(case.problem, kind, lr=rates, weight_decay=[0.0, 0.1], steps=20, keep="summary")
    expected = ravine.measure.summary(runs)
    for name in expected.data_vars:
        assert bare.same_bits(summary[name], expected[name].transpose(*summary[name].dims)), name


@each_kind
def test_what_torch_refuses_is_a_cell_with_its_words(kind, article, random):
    """Of each kind: signs, bounds, types, and numbers that the dtype does not hold."""
    out = {
        "lr": [0.1, -0.1, 1e39, 3.3e38, 1e-3],
        "betas": [(0.9, 0.99), (1.0, 0.9), (0.9, -0.5), (0, 0.9), (1 - 1e-9, 0.9)],
        "eps": [1e-8, -1.0],
        "weight_decay": [0.0, 0.1, -2.0, 1e39],
        "momentum": [0.0, 0.9, -1.0],
        "nesterov": [False, True],
        "dampening": [0.0, 0.5],
        "alpha": [0.9, -0.1],
        "lr_decay": [0.0, -0.1],
        "initial_accumulator_value": [0.0, -1.0, 1e39],
        "momentum_decay": [0.004, -0.1, 1e4],
        "rho": [0.9, 1.0, 1.1],
    }
    axes = {name: values for name, values in out.items() if name in RULES[classes.path_of(kind)].defaults}
    runs = ravine.sweep(article["MSELoss"], kind, steps=3, **axes)
    words = runs.error.transpose(*axes).values
    assert facts_of(runs)["engine"].startswith(f"{kind.__name__}'s rule")
    places = list(itertools.product(*(range(len(values)) for values in axes.values())))
    for place in random.permutation(places)[:200].tolist():
        given = {name: axes[name][k] for name, k in zip(axes, place, strict=True)}
        assert words[tuple(place)] == refused(kind, given, torch.float32), given
    empty = runs.error.values == ""
    assert np.isnan(runs.loss.values).all(-1)[~empty].all()
    assert np.isfinite(runs.loss.values[..., 0])[empty].all()
    assert {"", "Invalid learning rate: -0.1"} <= set(words.ravel().tolist())
    assert any("overflow" in each for each in words.ravel())


def test_settings_that_torch_answers_alike_are_asked_once(article, monkeypatch):
    """Ten thousand settings take no ten thousand optimizers."""
    made = []
    begin = torch.optim.Adam.__init__
    monkeypatch.setattr(torch.optim.Adam, "__init__", lambda self, *a, **k: made.append(k) or begin(self, *a, **k))
    betas = [(float(beta), 0.99) for beta in np.linspace(0.0, 0.9, 100)]
    runs = ravine.sweep(article["MSELoss"], torch.optim.Adam, lr=np.geomspace(1e-3, 1, 100), betas=betas, steps=2)
    assert facts_of(runs)["engine"].startswith("Adam's rule")
    assert len(made) < 100


class Louder(torch.optim.Adam):
    """A subclass may do anything."""


def own_adam():
    class Adam(torch.optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for each in group["params"]:
                    each -= group["lr"] * each.grad.sign()

    return Adam


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        (torch.optim.Adam, {"foreach": True}, "foreach chooses an implementation with other bits"),
        (torch.optim.Adam, {"fused": True}, "fused chooses an implementation with other bits"),
        (torch.optim.RMSprop, {"differentiable": True}, "differentiable chooses an implementation with other bits"),
        (torch.optim.SGD, {"foreach": True}, "foreach chooses an implementation with other bits"),
        (torch.optim.NAdam, {"lr": torch.tensor(0.1)}, "lr is given as something other than numbers"),
        (torch.optim.Adam, {"groups": {"bias": {"lr": 0.01}}}, "groups is for runs one by one"),
        (torch.optim.ASGD, {}, "ASGD is none of torch's optimizers whose rule is known"),
        (Louder, {}, "Louder is none of torch's optimizers whose rule is known"),
        (own_adam(), {}, r"Adam is none of torch's optimizers whose rule is known"),
        (functools.partial(torch.optim.Adam, amsgrad=True), {}, "functools.partial"),
    ],
    ids=str,
)
def test_what_no_rule_covers_goes_run_by_run_and_says_why(article, kind, more, why):
    given = {"lr": [0.1, 0.2]} | more if "lr" not in more else {"weight_decay": [0.0, 0.1]} | more
    runs = ravine.sweep(article["MSELoss"], kind, steps=4, **given)
    facts = facts_of(runs)
    assert facts["engine"].endswith("run by run")
    assert why in facts["why"]
    assert facts["equals_torch"] == "is torch"


def test_a_rule_with_other_bits_is_told(article, monkeypatch):
    """What comes out otherwise here is no secret: sixteen whole runs of torch's own are held against it."""
    taken = RULES["torch.optim.adam:Adam"]
    step = taken.step
    monkeypatch.setattr(taken, "step", lambda self, param, grad, out=None: step(self, param, grad) * (1 + 2e-7))
    runs = ravine.sweep(article["MSELoss"], torch.optim.Adam, lr=np.geomspace(1e-3, 1, 30), steps=20)
    assert facts_of(runs)["equals_torch"].startswith("within ")
    assert "; 0 of 16 whole runs in every bit" in facts_of(runs)["equals_torch"]


def test_decay_apart_from_the_gradient_is_no_part_of_what_is_minimised(article):
    """Swept, the switch tells it run by run, also in a summary."""
    axes = {"lr": [0.1, 0.3], "weight_decay": 0.5, "decoupled_weight_decay": [False, True], "steps": 60}
    runs = ravine.sweep(article["MSELoss"], torch.optim.NAdam, **axes)
    brief = ravine.sweep(article["MSELoss"], torch.optim.NAdam, keep="summary", **axes)
    expected = ravine.measure.summary(runs)
    for name in expected.data_vars:
        assert bare.same_bits(brief[name], expected[name].transpose(*brief[name].dims)), name
    for apart in (False, True):
        one = ravine.descend(
            article["MSELoss"], torch.optim.NAdam, lr=0.3, weight_decay=0.5, decoupled_weight_decay=apart, steps=60
        )
        there = ravine.at(runs, lr=0.3, decoupled_weight_decay=apart)
        assert bare.same_bits(there.position, one.position)
        assert bare.same_bits(ravine.measure.gap(there), ravine.measure.gap(one)), apart
