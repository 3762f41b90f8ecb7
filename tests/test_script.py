"""ravine.code: the script is executed, in a process of its own namespace, and gives the very bits of the run."""

from __future__ import annotations

import contextlib
import io
import re
from functools import partial

import pytest
import torch

import bare
import ravine

pytestmark = pytest.mark.quick

SCALE = 3.0


def execute(script):
    """Run a script; return the losses it printed and the parameters it ended with."""
    space: dict = {}
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(script, "script", "exec"), space)
    losses = [float(word) for word in re.findall(r"loss (\S+)", said.getvalue())]
    leaves = space["model"].parameters() if "model" in space else space["parameters"].values()
    return losses, bare.flat(leaves)


def assert_same(run):
    script = ravine.code(run)
    assert "ravine" not in script
    losses, final = execute(script)
    recorded = run.batch_loss if "batch_loss" in run else run.loss
    assert bare.same_bits(recorded[:-1], losses)
    assert bare.same_bits(run.position[-1], final)


WAYS = [
    {},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"optimizer": torch.optim.Adam, "betas": (0.8, 0.99)},
    {"optimizer": torch.optim.LBFGS, "max_iter": 3},
    {"scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=4)},
    {"scheduler": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0)},
    {"maximize": True},
    {"foreach": True, "momentum": 0.5},
]


@pytest.mark.parametrize("settings", WAYS, ids=str)
def test_the_script_gives_the_run(case, settings):
    if case.problem.parts is None:
        case.problem = ravine.Problem(
            lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2, start={"x": -1.2, "y": 1.0}
        )
    assert_same(ravine.descend(case.problem, lr=case.lr, steps=12, **settings))


@pytest.mark.parametrize("name", ["article", "csv", "network"])
def test_mini_batches_and_tensor_lr(all_cases, name):
    case = all_cases[name]
    assert_same(ravine.descend(case.problem, lr=torch.tensor(case.lr / 5), steps=15, batch_size=3, seed=4))


def test_groups(all_cases):
    groups = {"*.bias": {"lr": 0.01}, "0.*": {"momentum": 0.5}}
    assert_same(ravine.descend(all_cases["network"].problem, lr=0.1, steps=8, groups=groups))


@pytest.mark.parametrize("name", [n for n in ravine.gallery.__all__ if n != "article"])
def test_the_gallery(name):
    assert_same(ravine.descend(getattr(ravine.gallery, name)(), lr=1e-3, steps=6))


def test_each_cell_of_a_study_has_its_own_script(article, told, tmp_path):
    for name in article:
        assert_same(told.sel(run="nesterov", criterion=name))
    again = ravine.open(ravine.save(told, tmp_path / "study.nc"))
    cell = ravine.at(again, run="dampening", criterion="L1Loss")
    assert "torch.nn.L1Loss()" in ravine.code(cell)
    assert "dampening=0.8" in ravine.code(cell)
    assert_same(cell)


def test_criteria_with_arguments_and_float64():
    with torch.random.fork_rng():
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.GELU(), torch.nn.Linear(3, 1)).double()
        data = torch.randn(9, 2).double(), torch.randn(9, 1).double()
    problem = ravine.Problem.of(model, torch.nn.HuberLoss(delta=0.3, reduction="sum"), data)
    assert_same(ravine.descend(problem, lr=0.01, steps=6))


def test_losses_that_use_numbers_and_modules_from_around():
    import math

    k = 2.5
    assert_same(ravine.descend(ravine.Problem(lambda p: k * p["x"] ** 2 + SCALE, start={"x": 1.0}), lr=0.1, steps=4))
    assert_same(ravine.descend(ravine.Problem(lambda p: (p["x"] - math.pi) ** 2, start={"x": 1.0}), lr=0.1, steps=4))
    bowls = [ravine.Problem(lambda p, k=k: k * p["x"] ** 2, start={"x": 1.0}) for k in (1.0, 2.0)]
    assert "def loss(p, k=2.0)" in ravine.code(ravine.descend(bowls[1], lr=0.1, steps=4))
    one, two = (lambda p: p["x"] ** 2), (lambda p: p["x"] ** 4)  # two on one line
    assert_same(ravine.descend(ravine.Problem(one, start={"x": 1.0}), lr=0.1, steps=4))
    assert_same(ravine.descend(ravine.Problem(two, start={"x": 1.0}), lr=0.1, steps=4))


def test_what_a_script_cannot_hold_is_said(all_cases, article):
    data = torch.ones(3)

    def refused(problem, words, **settings):
        with pytest.raises(ValueError) as caught:
            ravine.code(ravine.descend(problem, lr=0.01, steps=1, **settings))
        assert "this run cannot be written as a script: " in str(caught.value)
        assert words in str(caught.value)

    refused(ravine.Problem(lambda p: (p["x"] * data).sum(), start={"x": 1.0}), "it uses data from around it")
    with torch.random.fork_rng():
        dropout = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Dropout(), torch.nn.Linear(2, 1))
        normed = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
    pair = torch.ones(4, 1), torch.ones(4, 1)
    refused(ravine.Problem.of(dropout, torch.nn.MSELoss(), pair), "dropout")
    refused(ravine.Problem.of(normed, torch.nn.MSELoss(), pair), "buffers")
    with torch.random.fork_rng():
        hooked = torch.nn.Linear(1, 1)
    hooked.register_forward_hook(lambda module, inputs, output: output * 2)
    refused(ravine.Problem.of(hooked, torch.nn.MSELoss(), pair), "hooks")
    refused(article["MSELoss"], "differentiable=True", differentiable=True)
    refused(
        article["MSELoss"],
        "functools.partial",
        scheduler=lambda rule: torch.optim.lr_scheduler.ExponentialLR(rule, 0.9),
    )
    with pytest.raises(ValueError, match="one run expected; this study has one for each criterion"):
        ravine.code(ravine.descend(article, steps=1))
