"""Sweeps under a scheduler: torch's own says what it sets; all runs are one batch with the bits of `descend`."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import bare
import ravine
from ravine._engine.product import axis_of
from ravine._engine.rules.registry import RULES
from ravine._engine.schedule import tabulate
from ravine._study import provenance

STEPS = 24


def warm_up_and_cosine(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5), lr_scheduler.CosineAnnealingLR(optimizer, 15)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[5])


SCHEDULERS = {
    "steps": functools.partial(lr_scheduler.StepLR, step_size=7),
    "cosine": functools.partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS),
    "exponential": functools.partial(lr_scheduler.ExponentialLR, gamma=0.97),
    "warm-up and cosine": warm_up_and_cosine,
    "one cycle": functools.partial(lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=STEPS + 1),
    "cyclic": functools.partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=5),
    "lambda": functools.partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.9**step),
}


def scheduled(run):
    return {str(name): run[name].values for name in run.data_vars if str(name).startswith("scheduled_")}


EVERY = [(path, name) for path in RULES for name in SCHEDULERS if "SGD" in path or name in ("cosine", "one cycle")]


@pytest.mark.parametrize(("path", "name"), EVERY, ids=lambda each: each.rpartition(":")[2])
def test_each_rule_under_each_scheduler(article, path, name):
    kind = getattr(torch.optim, path.rpartition(":")[2])
    if name == "one cycle" and not {"momentum", "betas"} & RULES[path].defaults.keys():
        name = "warm-up and cosine"  # the other wants a momentum to move
    more = {"momentum": [0.5, 0.9]} if "momentum" in RULES[path].defaults else {"weight_decay": [0.0, 0.1]}
    runs = ravine.sweep(article["MSELoss"], kind, STEPS, scheduler=SCHEDULERS[name], lr=[0.01, 0.3], **more)
    told = provenance.describe(runs, "loss")
    assert told["engine"] == f"{kind.__name__}'s rule on a batch, gradient written out"
    assert told["equals_torch"].startswith("every bit, 4 whole runs")
    ((other, values),) = more.items()
    alone = {"lr": 0.3, other: values[1]}
    run = ravine.descend(article["MSELoss"], kind, STEPS, scheduler=SCHEDULERS[name], **alone)
    same = ravine.at(runs, **alone)
    assert bare.same_bits(same.position, run.position)
    assert bare.same_bits(same.loss, run.loss)
    assert {n: v.tolist() for n, v in scheduled(same).items()} == {n: v.tolist() for n, v in scheduled(run).items()}


def test_four_problems(article, houses):
    """Autograd on a batch is the same loop: Rosenbrock, a file and a small network too."""
    with torch.random.fork_rng():
        network = torch.nn.Sequential(torch.nn.Linear(1, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)).double()
    x = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(-1, 1)
    problems = {
        "rosenbrock": ravine.gallery.rosenbrock(),
        "file": ravine.Problem.from_csv(houses[0], standardize=True),
        "network": ravine.Problem.of(network, torch.nn.MSELoss(), (x, x**2)),
    }
    for problem in problems.values():
        runs = ravine.sweep(problem, steps=9, scheduler=SCHEDULERS["cosine"], lr=[1e-4, 1e-3], momentum=[0.0, 0.9])
        assert "on a batch" in provenance.describe(runs, "loss")["engine"]
        run = ravine.descend(problem, steps=9, scheduler=SCHEDULERS["cosine"], lr=1e-3, momentum=0.9)
        np.testing.assert_allclose(ravine.at(runs, lr=1e-3, momentum=0.9).position, run.position, rtol=1e-6)
        assert np.array_equal(ravine.at(runs, lr=1e-3).scheduled_lr, run.scheduled_lr)


def test_a_table_has_only_what_makes_a_difference(article):
    one_cycle = ravine.sweep(
        article["MSELoss"], steps=STEPS, scheduler=SCHEDULERS["one cycle"], lr=[0.1, 0.2], momentum=[0.5, 0.9]
    )
    assert one_cycle.scheduled_lr.dims == one_cycle.scheduled_momentum.dims == ("step",)  # it sets both by itself
    steps = ravine.sweep(article["MSELoss"], steps=9, scheduler=SCHEDULERS["steps"], lr=[0.1, 0.2], momentum=[0.5])
    assert steps.scheduled_lr.dims == ("lr", "step")
    assert "scheduled_momentum" not in steps


def test_a_scheduler_is_asked_once_for_each_setting_it_looks_at():
    asked = []

    def make(optimizer):
        asked.append(optimizer.param_groups[0]["momentum"])
        return lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    class Spec:
        steps, scheduler = 3, staticmethod(make)

        @staticmethod
        def rule_for(leaves):
            return torch.optim.SGD(leaves.values(), lr=0.1)

        @staticmethod
        def schedule_for(optimizer):
            return make(optimizer)

    axes = [axis_of("momentum", [0.1, 0.2, 0.3]), axis_of("dampening", list(range(50))), axis_of("lr", [1.0, 2.0])]
    table = tabulate(Spec, axes, {"lr", "momentum", "dampening"}, torch.ones(1))
    assert len(asked) == 2 + 3 * 2  # twice to see that it is the same each time
    assert [axis.name for axis in table.product.axes] == ["lr"]  # read, and of no consequence
    assert table.columns["lr"].tolist() == [[1.0, 1 / 2, 1 / 3, 1 / 4], [2.0, 2 / 2, 2 / 3, 2 / 4]]


class Halving(lr_scheduler.LRScheduler):
    def get_lr(self):
        return [base / (1 + self.last_epoch) for base in self.base_lrs]


@pytest.mark.parametrize(
    ("scheduler", "why"),
    [
        (lr_scheduler.ReduceLROnPlateau, "ReduceLROnPlateau looks at the loss of each run"),
        (Halving, "Halving is none of torch's schedulers"),
        (
            functools.partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: torch.rand(()).item()),
            "the scheduler is not the same each time",
        ),
    ],
    ids=["plateau", "of one's own", "random"],
)
def test_what_only_a_run_tells(article, scheduler, why):
    runs = ravine.sweep(article["MSELoss"], steps=12, scheduler=scheduler, lr=[0.1, 0.9])
    told = provenance.describe(runs, "loss")
    assert (told["engine"], told["why"]) == ("SGD, run by run", why)
    assert runs.scheduled_lr.dims == ("lr", "step")  # recorded from each run
    if "random" not in why and "same" not in why:
        run = ravine.descend(article["MSELoss"], steps=12, scheduler=scheduler, lr=0.9)
        assert np.array_equal(ravine.at(runs, lr=0.9).scheduled_lr, run.scheduled_lr)
        assert bare.same_bits(ravine.at(runs, lr=0.9).position, run.position)


def test_momentum_that_is_turned_on_on_the_way(article):
    """torch begins its buffer where momentum first is: in each run at a step of its own."""
    cycle = functools.partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, base_momentum=0.0)
    runs = ravine.sweep(article["MSELoss"], steps=9, scheduler=cycle, lr=[0.1, 0.2], momentum=0.5)
    assert provenance.describe(runs, "loss")["why"] == "the scheduler turns momentum on or off"
    run = ravine.descend(article["MSELoss"], steps=9, scheduler=cycle, lr=0.2, momentum=0.5)
    assert bare.same_bits(ravine.at(runs, lr=0.2).position, run.position)


def test_a_store_and_summaries(article, tmp_path):
    sweep = functools.partial(
        ravine.sweep, article["MSELoss"], steps=STEPS, scheduler=SCHEDULERS["cosine"], lr=[0.1, 0.3, 0.9]
    )
    whole = sweep()
    sweep(store=tmp_path / "runs.zarr")
    stored = ravine.open(tmp_path / "runs.zarr")
    for name in ("position", "loss", "scheduled_lr"):
        assert np.array_equal(stored[name], whole[name])
    assert ravine.verify(tmp_path / "runs.zarr") == []
    plateau = functools.partial(sweep, scheduler=lr_scheduler.ReduceLROnPlateau)
    assert np.array_equal(plateau(store=tmp_path / "plateau.zarr").scheduled_lr, plateau().scheduled_lr)
    summary = sweep(keep="summary")
    assert summary.scheduled_lr.dims == ("lr", "step")
    assert summary.final_loss.values.tolist() == whole.loss[:, -1].values.tolist()


def test_the_sentences_are_those_of_a_single_run(article):
    runs = ravine.sweep(article["MSELoss"], steps=STEPS, scheduler=SCHEDULERS["one cycle"], lr=[0.1], momentum=[0.9])
    run = ravine.descend(article["MSELoss"], steps=STEPS, scheduler=SCHEDULERS["one cycle"], lr=0.1, momentum=0.9)
    assert list(map(str, ravine.explain(ravine.at(runs, lr=0.1, momentum=0.9)))) == list(map(str, ravine.explain(run)))


def test_batch_losses_and_swept_seeds_are_kept(article):
    runs = ravine.sweep(article["MSELoss"], lr=[0.05, 0.1], batch_size=10, steps=8, seed=[1, 2])
    run = ravine.descend(article["MSELoss"], lr=0.1, batch_size=10, steps=8, seed=2)
    assert bare.same_bits(ravine.at(runs, lr=0.1, seed=2).batch_loss, run.batch_loss)


@pytest.mark.parametrize("gamma", [1 - 1e-9, 1 - 1e-6])
def test_a_schedule_that_hardly_moves_is_not_said_to_lie_between_a_number_and_itself(gamma):
    schedule = functools.partial(lr_scheduler.ExponentialLR, gamma=gamma)
    run = ravine.descend(ravine.gallery.rosenbrock(), lr=0.0067, scheduler=schedule)
    (sentence,) = (str(each) for each in ravine.explain(run) if "lr of the schedule" in str(each))
    found = re.search(r"lies between (\S+) and ([^:,]+)", sentence)
    assert found[1] != found[2] if found else "the lr of the schedule is 0.0067:" in sentence


def test_groups_that_differ_have_no_lr_of_the_step():
    problem, settings = ravine.gallery.article()["MSELoss"], {"lr": 0.1, "steps": 7, "scheduler": "StepLR(step_size=3)"}
    apart = ravine.descend(problem, groups={"bias": {"lr": 0.01}}, **settings)
    assert "scheduled_lr" not in apart
    assert not np.isfinite(ravine.sweep(problem, groups={"bias": {"lr": 0.01}}, **settings).scheduled_lr).any()
    alike = ravine.descend(problem, groups={"bias": {"weight_decay": 0.5}}, **settings)
    assert alike.scheduled_lr.values == pytest.approx([0.1] * 3 + [0.01] * 3 + [0.001] * 2)
    assert "scheduled_weight_decay" not in alike
