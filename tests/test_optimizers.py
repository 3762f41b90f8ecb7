"""Ten optimizers on four problems, schedulers, mini-batches, groups, starts: all equal to bare loops in every bit."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import bare
import ravine

OPTIMIZERS = {
    torch.optim.SGD: {"lr": 0.01, "momentum": 0.9},
    torch.optim.Adam: {"lr": 0.05, "betas": (0.8, 0.99)},
    torch.optim.AdamW: {"lr": 0.05, "weight_decay": 0.1},
    torch.optim.Adamax: {"lr": 0.05},
    torch.optim.NAdam: {"lr": 0.05},
    torch.optim.RAdam: {"lr": 0.05},
    torch.optim.RMSprop: {"lr": 0.01, "momentum": 0.5, "centered": True},
    torch.optim.Adagrad: {"lr": 0.5},
    torch.optim.Adadelta: {"lr": 1.0},
    torch.optim.Rprop: {"lr": 0.01},
    torch.optim.ASGD: {"lr": 0.001},
}


@pytest.mark.parametrize(("optimizer", "settings"), OPTIMIZERS.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_every_class_equals_a_bare_loop(case, optimizer, settings):
    run = ravine.descend(case.problem, optimizer, steps=25, **settings)
    with torch.random.fork_rng():
        positions, losses = case.loop(optimizer=optimizer, steps=25, **settings)
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.loss, losses)
    assert str(run.optimizer.values) == optimizer.__name__
    assert float(run.lr) == settings["lr"]


def test_lbfgs_gets_its_closure(case):
    settings = {"lr": 0.5, "max_iter": 4, "history_size": 5}
    run = ravine.descend(case.problem, torch.optim.LBFGS, steps=6, also=("gradient",), **settings)
    live = case.problem.live()
    leaves = list(live.leaves.values())
    rule = torch.optim.LBFGS(leaves, **settings)

    def closure():
        rule.zero_grad()
        loss = live.loss()
        loss.backward()
        return loss

    positions, losses, gradients = [bare.flat(leaves)], [], []
    for _ in range(6):
        closure()
        gradients.append(bare.flat([leaf.grad for leaf in leaves]))
        losses.append(rule.step(closure).item())
        positions.append(bare.flat(leaves))
    losses.append(live.loss().item())
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.loss, losses)
    assert bare.same_bits(run.gradient[:-1], gradients)


class SignDescent(torch.optim.Optimizer):
    """An optimizer of one's own."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign()


def test_an_optimizer_of_ones_own(case):
    run = ravine.descend(case.problem, SignDescent, lr=0.02, steps=5)
    with torch.random.fork_rng():
        positions, _ = case.loop(optimizer=SignDescent, lr=0.02, steps=5)
    assert bare.same_bits(run.position, positions)
    assert str(run.optimizer.values) == "SignDescent"


SCHEDULERS = [
    partial(lr_scheduler.StepLR, step_size=5, gamma=0.5),
    partial(lr_scheduler.CosineAnnealingLR, T_max=20),
    partial(lr_scheduler.ExponentialLR, gamma=0.9),
    partial(lr_scheduler.OneCycleLR, max_lr=0.05, total_steps=30),
    partial(lr_scheduler.ReduceLROnPlateau, patience=1),
    partial(lr_scheduler.LinearLR, total_iters=10),
]


@pytest.mark.parametrize("make", SCHEDULERS, ids=lambda v: v.func.__name__)
def test_schedulers_equal_a_bare_loop(case, make):
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.5, steps=20, scheduler=make)
    live = case.problem.live()
    leaves = list(live.leaves.values())
    rule = torch.optim.SGD(leaves, lr=case.lr, momentum=0.5)
    schedule = make(rule)
    positions, rates = [bare.flat(leaves)], []
    for _ in range(20):
        rule.zero_grad()
        loss = live.loss()
        loss.backward()
        rates.append(rule.param_groups[0]["lr"])
        rule.step()
        schedule.step(loss.detach()) if "Plateau" in make.func.__name__ else schedule.step()
        positions.append(bare.flat(leaves))
    rates.append(rule.param_groups[0]["lr"])
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.scheduled_lr, rates)
    # the initial lr is the setting; OneCycleLR sets its own when it is made
    assert float(run.lr) == case.lr


@pytest.mark.parametrize("name", ["article", "csv", "network"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_mini_batches_are_a_data_loaders(all_cases, name, batch_size):
    case = all_cases[name]
    parts = case.problem.parts
    run = ravine.descend(case.problem, lr=case.lr / 5, momentum=0.5, steps=40, batch_size=batch_size, seed=11)
    live = case.problem.live()
    leaves = list(live.leaves.values())
    rule = torch.optim.SGD(leaves, lr=case.lr / 5, momentum=0.5)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(parts.inputs, parts.targets),
        batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(11),
    )
    positions, seen, whole = [bare.flat(leaves)], [], [live.loss().item()]
    while len(seen) < 40:
        for inputs, targets in loader:
            if len(seen) == 40:
                break
            rule.zero_grad()
            loss = live.loss_of(inputs, targets)
            loss.backward()
            rule.step()
            seen.append(loss.item())
            positions.append(bare.flat(leaves))
            whole.append(live.loss().item())
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.batch_loss, [*seen, np.nan])
    assert bare.same_bits(run.loss, whole)
    assert int(run.seed) == 11
    other = ravine.descend(case.problem, lr=case.lr / 5, momentum=0.5, steps=40, batch_size=batch_size, seed=12)
    assert not np.array_equal(run.position, other.position)


def test_the_loss_over_all_data_leaves_no_trace_in_the_run():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1)
        )
        data = torch.randn(24, 2), torch.randn(24, 1)
        problem = ravine.Problem.of(model, torch.nn.MSELoss(), data)
        runs = []
        for every in (1, 7):
            torch.manual_seed(5)
            runs.append(ravine.descend(problem, lr=0.05, steps=20, batch_size=8, loss_every=every))
    assert np.array_equal(runs[0].position, runs[1].position)
    assert np.flatnonzero(np.isfinite(runs[1].loss)).tolist() == [0, 7, 14, 20]


def test_groups_are_torchs(all_cases):
    case = all_cases["network"]
    groups = {"*.bias": {"lr": 0.01, "weight_decay": 0.0}, "2.*": {"momentum": 0.1}}
    run = ravine.descend(case.problem, lr=0.1, momentum=0.9, weight_decay=0.1, steps=10, groups=groups)
    live = case.problem.live()
    leaves = live.leaves
    rule = torch.optim.SGD(
        [
            {"params": [leaves["0.weight"]]},
            {"params": [leaves["0.bias"], leaves["2.bias"]], "lr": 0.01, "weight_decay": 0.0},
            {"params": [leaves["2.weight"]], "momentum": 0.1},
        ],
        lr=0.1,
        momentum=0.9,
        weight_decay=0.1,
    )
    for _ in range(10):
        rule.zero_grad()
        live.loss().backward()
        rule.step()
    assert bare.same_bits(run.position[-1], bare.flat(leaves.values()))
    assert not {"lr", "momentum", "weight_decay"} & set(run.coords)  # they differ: one number would be false
    assert "dampening" in run.coords
    with pytest.raises(ValueError, match="no parameter fits 'wait'; the problem has 0.weight"):
        ravine.descend(case.problem, groups={"wait": {}})


def test_several_starts(article):
    bowl = ravine.gallery.quadratic(5)
    runs = ravine.descend(bowl, lr=0.1, steps=4, starts=[{"x": 1.0}, {"x": 2.0, "y": 0.5}])
    assert runs.position.dims == ("start", "step", "parameter")
    assert runs.position.values[:, 0].tolist() == [[1.0, -3.0], [2.0, 0.5]]
    named = ravine.descend(article, lr=0.1, steps=4, starts={"left": {"bias": -4}, "right": {"bias": 7}})
    assert named.position.dims == ("criterion", "start", "step", "parameter")
    alone = ravine.descend(article["L1Loss"].starting_at(bias=7), lr=0.1, steps=4)
    assert bare.same_bits(ravine.at(named, criterion="L1Loss", start="right").position, alone.position)
    with pytest.raises(ValueError, match="starts is empty"):
        ravine.descend(bowl, starts=[])
    with pytest.raises(ValueError, match="no parameter 'z'"):
        ravine.descend(bowl, starts=[{"z": 1}])


@pytest.mark.parametrize("name", [n for n in ravine.gallery.__all__ if n != "article"])
def test_known_minima_are_minima(name):
    problem = getattr(ravine.gallery, name)()
    run = ravine.descend(problem, lr=1e-4, steps=2)
    for place in problem.minimizers:
        leaves = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in place.items()}
        problem.loss(leaves).backward()
        assert max(abs(leaf.grad.item()) for leaf in leaves.values()) < 1e-5
        land = ravine.surface(problem)
        assert problem.loss(leaves).item() <= float(land.surface.min()) + 1e-6
    assert ("minimizer" in run) == bool(problem.minimizers)
    if problem.minimizers:
        assert float(run.minimum_loss) == pytest.approx(
            problem.loss(problem.starting_at(problem.minimizers[0]).start).item(), abs=1e-5
        )
        # weight decay moves the goal
        moved = ravine.descend(problem, lr=1e-4, steps=2, weight_decay=0.1)
        assert moved.data_minimizer.values.tolist() == run.minimizer.values.tolist()
        leaves = {
            str(name): torch.tensor(value, dtype=torch.float64, requires_grad=True)
            for name, value in zip(moved.parameter.values, moved.minimizer.values, strict=True)
        }
        problem.loss(leaves).backward()
        assert max(abs(leaf.grad.item() + 0.1 * leaf.item()) for leaf in leaves.values()) < 1e-9
        assert "minimizer" not in ravine.descend(problem, lr=1e-4, steps=2, maximize=True)


def test_ctrl_c_returns_what_was_done():
    calls = []

    def loss(p):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return p["x"] ** 2

    problem = ravine.Problem(loss, start={"x": 1.0})
    with pytest.warns(UserWarning, match="interrupted after step 10 of 100: this is what was done"):
        run = ravine.descend(problem, lr=0.1, steps=100, also=("gradient",))
    assert run.sizes["step"] == 11
    assert int(run.steps_taken) == 10
    whole = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.1, steps=100)
    assert bare.same_bits(run.position, whole.position[:11])


def test_ctrl_c_before_anything_was_done_is_passed_on():
    def loss(p):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ravine.descend(ravine.Problem(loss, start={"x": 1.0}), lr=0.1)


def test_gradients_of_mini_batches_are_those_the_optimizer_saw(article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=0.1, batch_size=7, steps=12, also=("gradient",))
    assert np.allclose(np.diff(run.position, axis=0), -0.1 * run.gradient[:-1], rtol=1e-4, atol=1e-6)
    assert np.isnan(run.gradient[-1]).all()


def test_ctrl_c_among_several_runs_keeps_the_finished_ones():
    calls = []

    def loss(p):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return p["x"] ** 2

    bowls = {name: ravine.Problem(loss, start={"x": 1.0}) for name in "abc"}
    with pytest.warns(UserWarning, match="interrupted"):
        runs = ravine.descend(bowls, lr=0.1, steps=5)
    assert runs.steps_taken.values.tolist() == [5, 1, 0]
    assert np.isfinite(runs.loss.values).sum(axis=1).tolist() == [6, 2, 0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"scheduler": "StepLR"}, "StepLR needs step_size, as in StepLR(step_size=30)"),
        ({"scheduler": lambda rule: 3}, "scheduler gave 3, expected one of torch.optim.lr_scheduler"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 500}, "batch_size is 500, but there are only 50 samples"),
        ({"loss_every": 5}, "loss_every=5 is for mini-batches"),
        ({"batch_size": 5, "seed": -1}, "seed must be a whole number from 0"),
        ({"optimizer": torch.optim.Adam, "momentum": 0.9}, "Adam takes no setting 'momentum'"),
        ({"optimizer": torch.optim.Adam, "beta": 0.9}, "(did you mean betas?)"),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_bad_calls_are_told(article, call, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        ravine.descend(article["MSELoss"], **call)
    assert words in str(caught.value)


def test_mini_batches_need_data():
    with pytest.raises(ValueError, match="mini-batches need a problem that knows its data"):
        ravine.descend(ravine.gallery.rosenbrock(), batch_size=3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda p: torch.tensor(3.0),
        lambda p: (p["x"] ** 2).detach() + 2,
        lambda p: torch.tensor(float(p["x"].item()) + 2),
    ],
    ids=["constant", "detached", "through a float"],
)
def test_a_loss_of_no_parameter_is_said(loss):
    problem = ravine.Problem(loss, start={"x": 1.0})
    words = "the loss, 3, depends on no parameter: compute it with torch from the parameters that it is given"
    for optimizer in (torch.optim.SGD, torch.optim.Adam, torch.optim.LBFGS):
        with pytest.raises(ValueError, match=words):
            ravine.descend(problem, optimizer, lr=0.1)
    with pytest.raises(RuntimeError, match=words):
        ravine.sweep(problem, lr=[0.1, 0.2], steps=3)
