"""ravine.code: the script is executed, in a process of its own namespace, and gives the very bits of the run."""

from __future__ import annotations

import contextlib
import copy
import io
import re
from functools import partial

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._words.words import make_scheduler

S = torch.optim.lr_scheduler

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
    data = [torch.ones(3)]

    def refused(problem, words, **settings):
        with pytest.raises(ValueError) as caught:
            ravine.code(ravine.descend(problem, lr=0.01, steps=1, **settings))
        assert "this run cannot be written as a script: " in str(caught.value)
        assert words in str(caught.value)

    refused(ravine.Problem(lambda p: (p["x"] * data[0]).sum(), start={"x": 1.0}), "it uses data from around it")
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
    doubled, own = torch.nn.MSELoss(), copy.deepcopy(article["MSELoss"].parts.model)
    own.forward = partial(torch.nn.Linear.forward, own)
    doubled.forward = lambda output, targets: 2 * torch.nn.functional.mse_loss(output, targets)
    refused(ravine.Problem.of(own, torch.nn.MSELoss(), pair), "a forward of its own")
    halved = torch.nn.MSELoss()
    halved.register_forward_hook(lambda module, inputs, output: output / 2)
    for criterion in (doubled, halved):
        problem = ravine.Problem.of(article["MSELoss"].parts.model, criterion, pair)
        refused(problem, "MSELoss has hooks, or a forward of its own")
    refused(article["MSELoss"], "differentiable=True", differentiable=True)
    with pytest.raises(ValueError, match="one run expected; this study has one for each criterion"):
        ravine.code(ravine.descend(article, steps=1))


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": np.float64(0.1)},
        {"lr": np.float32(0.1), "momentum": np.float16(0.5), "nesterov": np.True_},
        {"lr": np.geomspace(0.1, 1, 3)[0], "scheduler": partial(S.StepLR, step_size=np.int64(3))},
        {"lr": 0.1, "scheduler": partial(S.MultiStepLR, milestones=np.array([2, 4]).tolist(), gamma=np.float64(0.5))},
        {"lr": float("inf")},
        {"lr": 0.1, "weight_decay": float("nan")},
        {"optimizer": torch.optim.Adam, "lr": torch.tensor(0.1), "betas": (torch.tensor(0.9), torch.tensor(0.99))},
        {"optimizer": torch.optim.Adam, "lr": 0.1, "betas": (np.float64(0.9), 0.99), "eps": np.float64(1e-6)},
        {"optimizer": partial(torch.optim.SGD, momentum=np.float64(0.9)), "lr": 0.1},
        {"lr": 0.1, "groups": {"bias": {"lr": np.float64(0.2), "momentum": torch.tensor(0.5).item()}}},
    ],
    ids=str,
)
def test_spelled_values_are_code(settings, article):
    assert_same(ravine.descend(article["MSELoss"], steps=5, **settings))


def warm_up(optimizer):
    """Three steps up, then down along a cosine."""
    parts = [S.LinearLR(optimizer, total_iters=3), S.CosineAnnealingLR(optimizer, T_max=6)]
    return S.SequentialLR(optimizer, parts, milestones=[3])


def made_of_functions(optimizer):
    return S.LambdaLR(optimizer, decays)


def decays(k):
    return SCALE / (SCALE + k)


SHARE = 0.8
SCHEDULES = {
    "lambda": partial(S.LambdaLR, lr_lambda=lambda k: 1 - k / 20),
    "uses a number": partial(S.LambdaLR, lr_lambda=lambda k: SHARE**k),
    "by name": partial(S.LambdaLR, lr_lambda=decays),
    "multiplicative": partial(S.MultiplicativeLR, lr_lambda=lambda k: 0.95),
    "a function": warm_up,
    "a function that uses another": made_of_functions,
    "a lambda": lambda o: S.ChainedScheduler([S.LinearLR(o), S.ExponentialLR(o, 0.9)]),
    "words": make_scheduler("SequentialLR([LinearLR(total_iters=3), CosineAnnealingLR(T_max=6)], milestones=[3])"),
    "words in a chain": make_scheduler("ChainedScheduler([LinearLR(total_iters=3), ExponentialLR(gamma=0.9)])"),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_code(name, article):
    assert_same(ravine.descend(article["MSELoss"], lr=0.1, steps=9, scheduler=SCHEDULES[name]))


def test_words_make_the_schedule_that_torch_makes(article):
    plain = ravine.descend(article["MSELoss"], lr=0.1, steps=9, scheduler=warm_up)
    assert bare.same_bits(
        plain.position, ravine.descend(article["MSELoss"], lr=0.1, steps=9, scheduler=SCHEDULES["words"]).position
    )
    for words, said in (
        ("SequentialLR(milestones=[3])", "needs a list of schedulers first"),
        ("StepLR([LinearLR()], step_size=3)", "StepLR takes no schedulers"),
        ("StepLR(30)", "settings are written with their names"),
        ("ChainedScheduler([LinearLR(total_iters=open('x'))])", "settings must be numbers"),
        ("ChainedScheduler([Liner()])", "no scheduler 'Liner'"),
    ):
        with pytest.raises(ValueError, match=said):
            make_scheduler(words)


@pytest.mark.parametrize(
    "criterion",
    [
        torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0])),
        torch.nn.BCEWithLogitsLoss(weight=torch.linspace(0.1, 1, 9).reshape(9, 1)),
        torch.nn.HuberLoss(delta=float("inf")),
        torch.nn.HuberLoss(delta=np.float64(0.3)),
    ],
    ids=str,
)
def test_criteria_that_hold_tensors_and_odd_numbers(criterion):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = torch.nn.Linear(2, 1), torch.randn(9, 2)
    y = (x[:, :1] > 0).float()
    assert_same(ravine.descend(ravine.Problem.of(model, criterion, (x, y)), lr=0.1, steps=5))


def test_class_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x, y = torch.nn.Linear(2, 3), torch.randn(9, 2), torch.randint(3, (9,))
    for criterion in (
        torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.1, 2.0]), label_smoothing=np.float64(0.1)),
        torch.nn.CrossEntropyLoss(ignore_index=1),
    ):
        assert_same(ravine.descend(ravine.Problem.of(model, criterion, (x, y)), lr=0.1, steps=5, batch_size=4))


@pytest.mark.parametrize("name", ['w"1', "w\n", "a b", "θ", "loss", "{x}", "it's", "\\"])
def test_names_of_any_kind(name):
    problem = ravine.Problem(lambda p: sum((v**2).sum() for v in p.values()), start={name: [1.0, 2.0], "o": 2.0})
    assert_same(ravine.descend(problem, lr=0.1, steps=3, groups={"o": {"lr": 0.2}}))


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_optimizers_with_closures_and_modes():
    from test_loop import Newton, Polyak, Sharp

    for kind, more in ((Sharp, {}), (Polyak, {}), (Newton, {"create_graph": True})):
        bowl = ravine.Problem(lambda p: p["x"] ** 4 + p["y"] ** 2, start={"x": 2.0, "y": 1.0})
        assert_same(ravine.descend(bowl, kind, steps=4, **more))


def falling(rate):
    return lambda k: 1 / (1 + rate * k)


class Falling:
    def __call__(self, k):
        return 0.9**k


def chain_in_a_sequence(o):
    """Schedulers of schedulers of schedulers."""
    first = S.ChainedScheduler([S.LinearLR(o, total_iters=2), S.ExponentialLR(o, 0.9)])
    return S.SequentialLR(o, [first, S.StepLR(o, 2)], milestones=[3])


CONFIGURED = {
    "a schedule with a closure": {"scheduler": partial(S.LambdaLR, lr_lambda=falling(0.3))},
    "a schedule for each group": {
        "groups": {"bias": {"lr": 0.2}},
        "scheduler": partial(S.LambdaLR, lr_lambda=[lambda k: 0.9**k, lambda k: 0.8**k]),
    },
    "a schedule of numpy": {"scheduler": partial(S.LambdaLR, lr_lambda=lambda k: np.cos(k / 10))},
    "a sequence with a chain": {"scheduler": chain_in_a_sequence},
    "a cycle with a scale": {
        "momentum": 0.9,
        "scheduler": partial(S.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=2, scale_fn=lambda x: 0.9**x),
    },
    "clipped, by numpy": {"clip_norm": np.float64(1.5)},
    "never clipped": {"clip_norm": float("inf")},
    "noise": {"noise": 0.3, "seed": np.int64(3)},
    "noise in batches": {"noise": 0.3, "batch_size": np.int64(7), "loss_every": np.int64(2)},
    "several evaluations": {"optimizer": torch.optim.LBFGS, "noise": 0.3, "clip_norm": 1.0},
    "pairs and none": {"optimizer": torch.optim.Adafactor, "eps": (None, 1e-3)},
    "tensors in a group": {"groups": {"bias": {"lr": torch.tensor(0.2), "momentum": np.float32(0.5)}}},
    "below the smallest": {"lr": 1e-320},
    "a whole number": {"lr": 1},
    "a function makes it": {"optimizer": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.5)},
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # torch's own, of schedulers in schedulers
@pytest.mark.parametrize("name", CONFIGURED)
def test_odd_configurations_are_code(name, article):
    assert_same(ravine.descend(article["MSELoss"], **{"lr": 0.1, "steps": 7, **CONFIGURED[name]}))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # torch's own, of schedulers in schedulers
def test_members_of_joined_runs_and_sweeps_are_code(article):
    problem = article["MSELoss"]
    plain = ravine.descend(problem, lr=0.1, steps=5)
    for other in (
        ravine.descend(problem, lr=0.1, steps=5, clip_norm=1.0),
        ravine.descend(problem, lr=0.1, steps=5, scheduler=chain_in_a_sequence),
        ravine.descend(article["L1Loss"], torch.optim.Adam, lr=0.1, steps=5),
    ):
        both = ravine.join({"plain": plain, "other": other})
        assert ravine.code(both.sel(run="plain")) == ravine.code(plain)
        assert ravine.code(both.sel(run="other")) == ravine.code(other)
    clipped = ravine.sweep(problem, lr=[0.1], clip_norm=[1.0, 2.0], noise=[0.1], seed=[1, 2], steps=5)
    assert_same(clipped.isel(lr=0, clip_norm=1, noise=0, seed=1))
    assert_same(
        ravine.sweep(problem, lr=[0.1, 0.2], steps=5, starts=[{"bias": 1.0}, {"bias": 2.0}]).isel(lr=1, start=1)
    )


def test_what_is_refused_says_why(article):
    with pytest.raises(ValueError, match="a Falling .* cannot be written into a script"):
        ravine.code(ravine.descend(article["MSELoss"], steps=2, scheduler=partial(S.LambdaLR, lr_lambda=Falling())))
    with torch.random.fork_rng():
        still = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Dropout(), torch.nn.Linear(2, 1)).eval()
    with pytest.raises(ValueError, match="is in eval mode"):
        ravine.code(ravine.descend(ravine.Problem.of(still, "mse", (torch.ones(3, 1), torch.ones(3, 1))), steps=1))


def test_two_dtypes_are_written_out():
    start = {"a": torch.tensor(0.25), "b": torch.tensor(0.1, dtype=torch.float64)}
    assert_same(
        ravine.descend(
            ravine.Problem(lambda p: (p["a"].double() - 1) ** 2 + p["b"] ** 2, start=start),
            lr=0.1,
            momentum=0.9,
            steps=6,
        )
    )


def test_a_thinned_run_has_the_script_of_the_whole(case):
    bowl = ravine.Problem(lambda p: (1 - p["x"]) ** 2 + p["y"] ** 2, start={"x": -1.2, "y": 1.0})
    run = ravine.descend(bowl if case.problem.parts is None else case.problem, lr=case.lr, steps=20)
    assert ravine.code(run.isel(step=slice(None, None, 10))) == ravine.code(run)
    with pytest.raises(ValueError, match="this study begins at step 5, and a script at the start"):
        ravine.code(run.isel(step=slice(5, None)))


def test_a_run_of_a_batch_says_how_near_it_came(article):
    runs = ravine.sweep(article, lr=[0.1, 0.2], momentum=0.9, steps=5)
    script = ravine.code(ravine.at(runs, lr=0.1, criterion="MSELoss"))
    first = script.partition("import torch")[0]
    assert all(line.startswith("#") for line in first.splitlines())
    assert "one of a batch (every bit, 2 whole runs of 5 steps compared)" in " ".join(first.split()).replace("# ", "")
    assert_same(ravine.at(runs, lr=0.1, criterion="MSELoss"))
    single = ravine.sweep(article["MSELoss"], torch.optim.ASGD, lr=[0.1, float("inf")], steps=3)
    assert not ravine.code(single.isel(lr=1)).startswith("#")
    assert 'lr=float("inf")' in ravine.code(single.isel(lr=1))
