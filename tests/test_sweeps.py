"""Sweeps are held against bare torch loops and against `descend`, run by run, in the same process."""

from __future__ import annotations

import copy
import re
import signal

import numpy as np
import pytest
import torch
import xarray as xr

import bare
import ravine
from ravine import measure
from ravine._descent.run_spec import RunSpec
from ravine._engine import batched as engines
from ravine._engine import keep
from ravine._engine import make_job as making
from ravine._study import provenance
from ravine._sweep.plan import make_plan

CRITERIA = ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"]


def told(runs, name="loss"):
    facts = provenance.describe(runs, name)
    return facts["engine"], facts["equals_torch"]


def in_dtype(problem, dtype):
    data = (problem.parts.inputs.to(dtype), problem.parts.targets.to(dtype))
    return ravine.Problem.of(copy.deepcopy(problem.parts.model).to(dtype), problem.parts.criterion, data)


def neuron_on(features, samples=30, dtype=torch.float32):
    generator = torch.Generator().manual_seed(features)
    inputs = torch.randn(samples, features, generator=generator, dtype=dtype)
    targets = inputs.sum(1, keepdim=True) + torch.randn(samples, 1, generator=generator, dtype=dtype)
    model = torch.nn.utils.skip_init(torch.nn.Linear, features, 1, dtype=dtype)
    with torch.no_grad():
        model.weight.fill_(0.7)
        model.bias.fill_(-1.3)
    return ravine.Problem.of(model, torch.nn.MSELoss(), (inputs, targets))


def bare_run(problem, settings, steps):
    parts = problem.parts
    return bare.train(parts.model, parts.criterion, parts.inputs, parts.targets, steps=steps, **settings)


def test_where_bits_differ_the_data_says_by_how_much():
    """Five inputs and a small network: not further from torch than torch in float32 is from torch in float64."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(), torch.no_grad():
        network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    points = torch.randn(40, 2, generator=generator)
    for problem in (
        neuron_on(5, samples=200),
        ravine.Problem.of(network, torch.nn.MSELoss(), (points, points.prod(1, keepdim=True))),
    ):
        rates = np.geomspace(1e-3, 0.05, 30)
        runs = ravine.sweep(problem, lr=rates, momentum=0.9, steps=60)
        off, gap = [], []
        for k in range(0, 30, 3):
            position, _ = bare_run(problem, {"lr": rates[k], "momentum": 0.9}, 60)
            exact, _ = bare_run(problem.in_double(), {"lr": rates[k], "momentum": 0.9}, 60)
            off.append(np.abs(runs.position.values[k] - position).max())
            gap.append(np.abs(position - exact).max())
        words = told(runs)[1]
        assert "on a batch" in told(runs)[0]
        if words.startswith("every bit"):  # on some processors
            assert not np.any(off)
            continue
        assert 0 < np.median(off) < 3 * np.median(gap)
        assert re.fullmatch(
            r"within \S+ of torch; \d+ of 16 whole runs in every bit; torch in float32 is \S+ off torch in float64 "
            "there",
            words,
        )


def test_four_problems(case):
    rates = [case.lr / 10, case.lr]
    runs = ravine.sweep(case.problem, lr=rates, momentum=[0.0, 0.9], steps=40)
    assert runs.loss.dims == ("lr", "momentum", "step")
    assert "on a batch" in told(runs)[0]
    forced = ravine.sweep(case.problem, lr=rates, momentum=[0.0, 0.9], steps=40, engine="torch")
    assert told(forced) == ("SGD, run by run", "is torch")
    for i, j in np.ndindex(2, 2):
        with torch.random.fork_rng():
            position, loss = case.loop(lr=rates[i], momentum=[0.0, 0.9][j], steps=40)
        assert bare.same_bits(forced.position[i, j], position)
        assert bare.same_bits(forced.loss[i, j], loss)
    assert np.allclose(runs.position, forced.position, rtol=1e-4, atol=1e-5)
    assert ravine.check(runs, "position", "loss") is runs
    one = ravine.at(runs, lr=case.lr, momentum=0.9)
    direct = ravine.descend(case.problem, lr=case.lr, momentum=0.9, steps=40)
    assert np.allclose(one.loss, direct.loss, rtol=1e-3, atol=1e-6)
    assert {name: one[name].item() for name in ("lr", "momentum", "weight_decay", "optimizer")} == {
        name: direct[name].item() for name in ("lr", "momentum", "weight_decay", "optimizer")
    }


def test_through_autograd(article):
    settings = {"lr": np.geomspace(1e-3, 3, 20), "momentum": [0.0, 0.9], "steps": 50}
    runs = ravine.sweep(article["HuberLoss"], engine="autograd", **settings)
    assert told(runs)[0] == "SGD's rule on a batch, gradient by autograd"
    written = ravine.sweep(article["HuberLoss"], **settings)
    assert np.allclose(runs.loss, written.loss, rtol=1e-4)


def test_mappings_starts_and_criterion_arguments(article):
    starts = {"left": {"weight": -4.0}, "right": {"weight": 7.0, "bias": 1.0}}
    some = {name: article[name] for name in ("HuberLoss", "MSELoss")}
    runs = ravine.sweep(some, lr=[0.1, 0.3], starts=starts, steps=20)
    assert runs.loss.dims == ("criterion", "start", "lr", "step")
    for name, (label, values), lr in ((n, s, lr) for n in some for s in starts.items() for lr in (0.1, 0.3)):
        direct = ravine.descend(some[name].starting_at(values), lr=lr, steps=20)
        assert bare.same_bits(runs.position.sel(criterion=name, start=label, lr=lr), direct.position)
    turned = ravine.sweep(article["HuberLoss"], delta=[0.2, 2.0], lr=[0.1, 0.2], steps=20)
    assert turned.loss.dims == ("delta", "lr", "step")
    for delta in (0.2, 2.0):
        parts = article["HuberLoss"].parts
        problem = ravine.Problem.of(parts.model, torch.nn.HuberLoss(delta=delta), (parts.inputs, parts.targets))
        assert bare.same_bits(
            turned.position.sel(delta=delta, lr=0.2), ravine.descend(problem, lr=0.2, steps=20).position
        )
    fixed = ravine.sweep(article["SmoothL1Loss"], beta=0.5, lr=[0.1], steps=5)
    assert fixed.loss.dims == ("lr", "step")
    assert not np.array_equal(fixed.loss, ravine.sweep(article["SmoothL1Loss"], lr=[0.1], steps=5).loss)
    with pytest.raises(ValueError, match="delta is an argument of HuberLoss, but not of MSELoss"):
        ravine.sweep(some, delta=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"HuberLoss with delta=-1.0: .*delta"):
        ravine.sweep(article["HuberLoss"], delta=[1.0, -1.0])


class Clipping(torch.optim.SGD):
    """The norm of the whole gradient is looked at: two runs must not share one."""

    def step(self, closure=None):
        torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.1)
        return super().step(closure)


@pytest.mark.parametrize("optimizer", ["LBFGS", "Muon", "Adafactor", "ASGD", "clipping"])
def test_nothing_that_looks_at_several_numbers_is_stacked(all_cases, optimizer):
    problem = all_cases["network"].problem
    kind = Clipping if optimizer == "clipping" else getattr(torch.optim, optimizer)
    if optimizer == "Muon":  # it takes matrices alone
        problem = ravine.Problem(
            lambda p: ((p["w"] - torch.arange(6.0).reshape(2, 3)) ** 2).sum(), {"w": torch.ones(2, 3)}
        )
    runs = ravine.sweep(problem, kind, lr=[0.01, 0.1], weight_decay=[0.0], steps=5) if optimizer != "LBFGS" else None
    runs = ravine.sweep(problem, kind, lr=[0.01, 0.1], steps=5) if runs is None else runs
    assert told(runs) == (f"{kind.__name__}, run by run", "is torch")
    for k, lr in enumerate((0.01, 0.1)):
        more = {} if optimizer == "LBFGS" else {"weight_decay": 0.0}
        direct = ravine.descend(problem, kind, lr=lr, steps=5, **more)
        assert bare.same_bits(runs.position.values.reshape(2, 6, -1)[k], direct.position)


def test_what_else_runs_one_by_one(article):
    problem = article["MSELoss"]
    for more in (
        {"groups": {"bias": {"lr": 0.01}}},
        {"fused": True},
        {"differentiable": True},
    ):
        runs = ravine.sweep(problem, lr=[0.1, 0.2], steps=6, **more)
        assert told(runs) == ("SGD, run by run", "is torch")
        assert bare.same_bits(runs.position[1], ravine.descend(problem, lr=0.2, steps=6, **more).position)
    half = in_dtype(problem, torch.bfloat16)
    runs = ravine.sweep(half, lr=[0.1, 0.2], steps=6)
    assert told(runs)[0] == "SGD, run by run"
    assert bare.same_bits(runs.position[1], ravine.descend(half, lr=0.2, steps=6).position)


def test_a_loss_that_a_batch_gets_wrong_is_run_one_by_one():
    """`vmap` gives the mean over runs here without an error: only comparing with torch tells."""

    class Centred(torch.autograd.Function):
        generate_vmap_rule = False

        @staticmethod
        def forward(x):
            return x**2

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 2 * x * grad

        @staticmethod
        def vmap(info, in_dims, x):
            return x**2 - (x**2).mean(), 0

    problem = ravine.Problem(lambda p: Centred.apply(p["x"]), {"x": 1.0})
    runs = ravine.sweep(problem, lr=[0.1, 0.2], steps=5)
    assert told(runs)[0] == "SGD, run by run"
    assert bare.same_bits(runs.loss[1], ravine.descend(problem, lr=0.2, steps=5).loss)
    with pytest.raises(ValueError, match='engine="autograd" does not fit: on a batch the loss has other values'):
        ravine.sweep(problem, lr=[0.1, 0.2], steps=5, engine="autograd")
    unused = ravine.Problem(lambda p: p["x"] ** 2, {"x": 1.0, "idle": 1.0})
    runs = ravine.sweep(unused, lr=[0.1], weight_decay=[1.0], steps=3)  # torch leaves out what has no gradient
    assert told(runs)[0] == "SGD, run by run"
    assert runs.position.sel(parameter="idle").values.ravel().tolist() == [1.0] * 4


def test_invalid_settings_are_cells_with_torch_s_words(article):
    runs = ravine.sweep(
        article["MSELoss"],
        lr=[0.1, -0.1],
        momentum=[0.0, 0.9],
        nesterov=[False, True],
        weight_decay=[0.0, -2.0],
        steps=5,
    )
    words = runs.error
    assert words.sel(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0) == ""
    assert words.sel(lr=0.1, momentum=0.0, nesterov=True, weight_decay=0.0) == (
        "Nesterov momentum requires a momentum and zero dampening"
    )
    assert words.sel(lr=-0.1, momentum=0.9, nesterov=False, weight_decay=0.0) == "Invalid learning rate: -0.1"
    assert words.sel(lr=0.1, momentum=0.9, nesterov=False, weight_decay=-2.0) == "Invalid weight_decay value: -2.0"
    for place in np.ndindex(words.shape):
        settings = {name: runs[name].values[k].item() for name, k in zip(words.dims, place, strict=True)}
        try:
            torch.optim.SGD([torch.ones(1)], **settings)
            expected = ""
        except ValueError as reason:
            expected = str(reason)
        assert words.values[place] == expected
        assert np.isnan(runs.loss.values[place]).all() == bool(expected)
    assert not measure.diverged(runs).where(words != "", False).any()
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        ravine.sweep(article["MSELoss"], lr=[-1.0, -2.0])
    adam = ravine.sweep(article["MSELoss"], torch.optim.Adam, lr=[0.1, -1.0], betas=[(0.9, 0.99), (2.0, 0.9)], steps=3)
    assert adam.error.values.tolist()[0] == ["", "Invalid beta parameter at index 0: 2.0"]
    assert adam.betas.values.tolist() == ["(0.9, 0.99)", "(2.0, 0.9)"]
    assert np.isfinite(adam.loss[0, 0]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": []}, "lr is empty: give at least one value"),
        ({"lr": [0.1, 0.2, 0.1]}, "lr holds 0.1 2 times"),
        ({"lr": np.ones((2, 2))}, r"lr has 2 dimensions \(shape \(2, 2\)\)"),
        ({"lrr": [0.1]}, r"SGD takes no setting 'lrr' \(did you mean lr\?\)"),
        ({"starts": []}, "starts is empty"),
        ({"starts": [{"weight": float("inf")}]}, "start of 'weight' is not finite"),
        ({"keep": "loss"}, 'keep must be "path" or "summary", got \'loss\''),
        ({"engine": "jax"}, 'engine must be "torch", "autograd"'),
        ({"seed": [0, -1]}, "seed must be a whole number"),
        ({"steps": -1}, "steps must be a whole number"),
    ],
    ids=str,
)
def test_bad_input(article, settings, words):
    with pytest.raises(ValueError, match=words):
        ravine.sweep(article["MSELoss"], **settings)


def test_a_sweep_that_would_not_fit_says_so_before_it_starts(article, monkeypatch):
    from ravine._engine import keep as capacity

    monkeypatch.setattr(capacity, "bytes_free", lambda: 100_000)
    with pytest.raises(
        MemoryError,
        match=r"the paths of 1,000 runs of 100 steps with 2 parameters take 1.21 MB, 100 kB are free. Three ways out: "
        r'store="runs.zarr" \(-o runs.zarr\) keeps them on disk; '
        r'keep="summary" \(--summary\) takes 33 kB; or run at most 57 of these settings at a time',
    ):
        ravine.sweep(article["MSELoss"], lr=np.linspace(0.1, 1, 1000), steps=100)
    ravine.sweep(article["MSELoss"], lr=np.linspace(0.1, 1, 57), steps=100)
    summary = ravine.sweep(article["MSELoss"], lr=np.linspace(0.1, 1, 1000), steps=100, keep="summary")
    stored = sum(summary[name].nbytes for name in ("final_loss", "best_loss", "best_step", "arrival", "diverged"))
    assert stored + summary.first_nonfinite.nbytes == keep.bytes_of_summary(1000, torch.ones(1))


@pytest.mark.parametrize("engine", [None, "torch"])
def test_a_summary_is_what_the_paths_would_give(article, engine, monkeypatch):
    monkeypatch.setattr(engines, "MOST_RUNS", 37)  # several blocks, the last one smaller
    count = 20 if engine is None else 2
    settings = {"lr": np.geomspace(0.01, 5, count), "momentum": [0.0, 0.5], "weight_decay": [0.0, 2.0], "steps": 40}
    paths = ravine.sweep(article, **settings)
    brief = ravine.sweep(article, keep="summary", engine=engine, **settings)
    assert "step" not in brief.dims or "step" not in brief.final_loss.dims
    expected = measure.summary(paths)
    assert set(expected.data_vars) <= set(brief.data_vars)
    for name in expected.data_vars:
        assert brief[name].dims == ("criterion", "lr", "momentum", "weight_decay")
        assert bare.same_bits(brief[name], expected[name].transpose(*brief[name].dims)), name
    assert bare.same_bits(measure.arrival(brief), measure.arrival(paths).transpose(*brief.arrival.dims))


def test_blocks_change_no_bit(article, monkeypatch):
    settings = {"lr": np.geomspace(0.01, 5, 15), "momentum": [0.0, 0.9], "steps": 30}
    whole = ravine.sweep(article, **settings)
    monkeypatch.setattr(engines, "MOST_RUNS", 7)
    assert ravine.sweep(article, **settings).identical(whole)


@pytest.mark.parametrize("part", [1, 3])
def test_a_run_by_itself_has_the_bits_it_has_among_others(part):
    """torch multiplies one matrix by other code than a batch of them; how a sweep is cut must not show."""
    random = torch.Generator().manual_seed(0)
    layers = [torch.nn.utils.skip_init(torch.nn.Linear, *sides) for sides in ((2, 16), (16, 1))]
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    with torch.no_grad():
        for each in model.parameters():
            each.copy_(torch.randn(each.shape, generator=random) / 2)
    points = torch.randn(64, 2, generator=random)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (points, points[:, :1] * points[:, 1:]))
    plan = RunSpec(torch.optim.SGD, 20, {}, None, {}, None, frozenset(), throw=False)
    sweep_plan = make_plan(
        making.make_job(problem, plan, {"lr": np.geomspace(1e-3, 1, 10)}, None, 0), None, summary=False
    )
    whole = sweep_plan.make(slice(0, 10), lambda amount: None).kept["position"][1]
    for first in range(0, 10, part):
        some = slice(first, min(first + part, 10))
        assert bare.same_bits(sweep_plan.make(some, lambda amount: None).kept["position"][1], whole[some])


def test_minima_come_along(article):
    runs = ravine.sweep(article, lr=[0.1], momentum=[0.0, 0.9], weight_decay=[0.0, 2.0], steps=200)
    assert runs.minimum_loss.dims == ("criterion", "weight_decay")
    arrived = measure.arrival(runs).sel(lr=0.1, momentum=0.0, weight_decay=0.0)
    assert arrived.values.tolist() == [12, 104, 110, 110]
    assert measure.arrival(runs).sel(lr=0.1, momentum=0.9, weight_decay=0.0).values.tolist() == [42, 50, 46, 46]
    apart = ravine.sweep(article["MSELoss"], torch.optim.AdamW, lr=[0.1], weight_decay=[0.0, 2.0], steps=3)
    assert len(np.unique(apart.minimum_loss)) == 1


def test_the_measured_boundary_lies_on_the_theory_s_curve(article):
    """The stability limit 2 (1 + momentum) / largest curvature, for the article's parabola."""
    largest = 2.04990800913520
    for momentum in (0.0, 0.5, 0.9):
        limit = 2 * (1 + momentum) / largest
        rates = limit * np.linspace(0.97, 1.03, 25)
        runs = ravine.sweep(in_dtype(article["MSELoss"], torch.float64), lr=rates, momentum=[momentum], steps=600)
        first = rates[measure.diverged(runs).values[:, 0].argmax()]
        assert 0.995 * limit < first < 1.006 * limit
        assert not measure.diverged(runs).values[rates < limit].any()


def test_races(case):
    lr = case.lr / 10
    race = ravine.sweep(
        case.problem,
        {torch.optim.SGD: {"lr": [lr, case.lr], "momentum": 0.5}, torch.optim.Adam: {"lr": 0.01}},
        steps=10,
    )
    assert race.run.values.tolist() == [f"SGD lr {lr}", f"SGD lr {case.lr}", "Adam"]
    assert race.optimizer.values.tolist() == ["SGD", "SGD", "Adam"]
    assert race.lr.values.tolist() == [lr, case.lr, 0.01]
    adam = ravine.descend(case.problem, torch.optim.Adam, lr=0.01, steps=10)
    assert bare.same_bits(race.loss.sel(run="Adam"), adam.loss)
    both = ravine.sweep(
        case.problem, {torch.optim.SGD: {"momentum": 0.5}, torch.optim.Adam: {}}, lr=[lr, 0.02], steps=4
    )
    assert both.loss.dims == ("run", "lr", "step")
    mixed = ravine.sweep(
        case.problem, {torch.optim.SGD: {"lr": lr, "momentum": [-1.0, 0.5]}, torch.optim.Adam: {"lr": 0.01}}, steps=3
    )
    assert mixed.error.values.tolist() == ["Invalid momentum value: -1.0", "", ""]
    with pytest.raises(ValueError, match="lr is given for all optimizers and for SGD again"):
        ravine.sweep(case.problem, {torch.optim.SGD: {"lr": 0.1}}, lr=[lr])
    with pytest.raises(ValueError, match="the mapping of optimizers is empty"):
        ravine.sweep(case.problem, {})


def test_no_run_of_a_race_is_lost_under_the_name_of_another(article):
    def own(scale):
        def slower(parameters, lr):
            return torch.optim.SGD(parameters, lr=lr * scale)

        return slower

    with pytest.raises(ValueError, match="two runs of the race would be called 'slower'.*another __name__"):
        ravine.sweep(article["MSELoss"], {own(0.5): {"lr": 0.1}, own(0.1): {"lr": 0.1}}, steps=3)


def test_an_interrupt_before_any_summary_is_one(article, monkeypatch):
    def interrupted(self, job, runs, record, errors, advance):
        record.done = 1
        raise KeyboardInterrupt

    monkeypatch.setattr(engines.BatchEngine, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=3, keep="summary")


def test_seeds_hang_on_the_run_alone(article):
    problem = article["MSELoss"]
    wide = ravine.sweep(problem, lr=[0.05, 0.1], momentum=[0.0, 0.5], batch_size=10, steps=8, seed=3)
    assert wide.seed.dims == ("lr", "momentum")
    assert len(np.unique(wide.seed)) == 4
    alone = ravine.sweep(problem, lr=[0.1], momentum=0.5, batch_size=10, steps=8, seed=3)
    one = ravine.at(wide, lr=0.1, momentum=0.5)
    assert bare.same_bits(one.loss, alone.loss[0])
    direct = ravine.descend(problem, lr=0.1, momentum=0.5, batch_size=10, steps=8, seed=int(one.seed))
    assert bare.same_bits(one.loss, direct.loss)
    paired = ravine.sweep(problem, lr=[0.05, 0.1], batch_size=10, steps=8, seed=[1, 2])
    for seed in (1, 2):
        direct = ravine.descend(problem, lr=0.1, batch_size=10, steps=8, seed=seed)
        assert bare.same_bits(ravine.at(paired, lr=0.1, seed=seed).loss, direct.loss)


def test_a_model_that_draws_random_numbers_draws_its_own():
    x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    with torch.random.fork_rng(), torch.no_grad():
        model = torch.nn.Sequential(torch.nn.Linear(1, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 1))
        for parameter in model.parameters():
            parameter.fill_(0.3)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (x, x))
    wide = ravine.sweep(problem, lr=[0.05, 0.1], steps=5)
    assert told(wide)[0] == "SGD, run by run"
    assert bare.same_bits(wide.loss[1], ravine.sweep(problem, lr=[0.1], steps=5).loss[0])


def test_a_swept_run_as_a_script(article):
    runs = ravine.sweep(
        article["HuberLoss"], delta=[0.3, 1.0], lr=[0.1, 0.2], nesterov=[False, True], momentum=0.9, steps=12
    )
    run = runs.isel(delta=0, lr=1, nesterov=1)
    text = ravine.code(run)
    assert "criterion.delta = 0.3" in text
    assert "SGD(model.parameters(), momentum=0.9, lr=0.2, nesterov=True)" in text
    space = {"losses": []}
    with torch.random.fork_rng():
        exec(text.replace('print(f"step {step}, loss {value.item()}")', "losses.append(value.item())"), space)
    assert bare.same_bits(space["losses"], run.loss[:-1])
    batched = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], batch_size=10, steps=3)
    assert f"manual_seed({int(batched.seed[1])})" in ravine.code(batched.isel(lr=1))
    adam = ravine.sweep(article["MSELoss"], torch.optim.Adam, betas=[(0.9, 0.99), (0.5, 0.9)], steps=3)
    assert "Adam(model.parameters(), betas=(0.5, 0.9))" in ravine.code(adam.isel(betas=1))
    lbfgs = ravine.sweep(article["MSELoss"], torch.optim.LBFGS, lr=[0.1, 1.0], steps=2)
    assert "optimizer.step(closure)" in ravine.code(lbfgs.isel(lr=1))


def test_an_interrupt_keeps_what_was_done(article, monkeypatch):
    monkeypatch.setattr(engines, "MOST_RUNS", 8)
    monkeypatch.setenv("RAVINE_KERNEL", "off")  # which takes many steps at once: tests/test_kernel.py
    calls = []

    def interrupting(self, position, losses, gradients=True):
        calls.append(position.shape[1])
        if calls.count(8) == 3 * 31 + 11:
            signal.raise_signal(signal.SIGINT)
        return true_one(self, position, losses, gradients)

    from ravine._engine.gradients import WrittenOut

    true_one = WrittenOut.__call__
    settings = {"lr": np.geomspace(0.01, 1, 40), "steps": 30}
    whole = ravine.sweep(article["MSELoss"], **settings)
    monkeypatch.setattr(WrittenOut, "__call__", interrupting)
    with pytest.warns(UserWarning, match="interrupted: 24 of 40 runs were finished"):
        runs = ravine.sweep(article["MSELoss"], **settings)
    taken = int(runs.steps_taken[24])
    assert 5 < taken < 15
    assert runs.steps_taken.values.tolist() == [30] * 24 + [taken] * 8 + [0] * 8
    assert bare.same_bits(runs.loss[:24], whole.loss[:24])
    assert bare.same_bits(runs.loss[24:32, : taken + 1], whole.loss[24:32, : taken + 1])
    assert np.isnan(runs.loss[24:32, taken + 1 :]).all()
    assert np.isnan(runs.position[32:]).all()
    assert not measure.diverged(runs).any()


def test_settings_of_a_job_are_never_written_out(article):
    """A million settings take no time to plan."""
    plan = RunSpec(torch.optim.SGD, 100, {}, None, {}, None, frozenset(), False)
    axes = {"lr": np.linspace(0.1, 1, 1000), "momentum": np.linspace(0, 0.9, 1000)}
    job = making.make_job(article["MSELoss"], plan, axes, None, 0)
    assert job.size == 1_000_000
    columns = job.settings_of(np.array([0, 1001, 999_999]), ("lr", "momentum"))
    assert columns["lr"].tolist() == [0.1, axes["lr"][1], 1.0]
    assert columns["momentum"].tolist() == [0.0, axes["momentum"][1], 0.9]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nesterov": ["no"], "momentum": 0.9}, "nesterov must be True or False, got 'no'"),
        ({"nesterov": "no", "momentum": 0.9}, "nesterov must be True or False, got 'no'"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lr": ["a", 0.1]}, "lr must be a number, got 'a'"),
        ({"lr": [0.1, None]}, "lr must be a number, got None"),
        ({"lr": (0.1, 0.2)}, r"lr must be a number, got \(0.1, 0.2\)"),
        ({"lr": [[0.1, 0.2]]}, r"lr must be a number, got \[0.1, 0.2\]"),
        ({"momentum": {"a": 1}}, r"momentum must be a number, got \{'a': 1\}"),
    ],
    ids=str,
)
def test_values_of_the_wrong_kind_are_named(article, settings, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ravine.sweep(article["MSELoss"], **settings)


def test_other_ways_to_give_values(article):
    problem = article["MSELoss"]
    plain = ravine.sweep(problem, lr=[0.1, 0.2], steps=3)
    for given in (np.array([0.1, 0.2]), torch.tensor([0.1, 0.2], dtype=torch.float64), xr.DataArray([0.1, 0.2])):
        assert ravine.sweep(problem, lr=given, steps=3).identical(plain)
    wild = ravine.sweep(problem, lr=[0.1, np.nan, np.inf], steps=3)
    assert "error" not in wild  # torch takes them
    assert measure.diverged(wild).values.tolist() == [False, True, True]
    for other in (3, [problem, problem]):
        with pytest.raises(TypeError, match="ravine.sweep takes a ravine.Problem, a mapping"):
            ravine.sweep(other, lr=[0.1])


def test_sweeps_of_other_values_are_not_joined():
    bowl = ravine.gallery.quadratic(10)
    one, other = (ravine.sweep(bowl, lr=rates, steps=5) for rates in ([0.1, 0.2], [0.1, 0.3]))
    with pytest.raises(ValueError, match="'a' and 'b' hold other values of lr"):
        ravine.join({"a": one, "b": other})
    shared = ravine.join({"a": ravine.at(one, lr=0.1), "b": ravine.at(other, lr=0.1)})
    assert np.isfinite(shared.loss).all()


def test_a_tuple_finds_its_label():
    runs = ravine.sweep(ravine.gallery.quadratic(), torch.optim.Adam, betas=[(0.9, 0.99), (0.5, 0.9)], steps=3)
    assert ravine.at(runs, betas=(0.5, 0.9)).betas.item() == "(0.5, 0.9)"


def test_a_criterion_that_is_a_function_can_be_written_as_a_script(article):
    parts = article["MSELoss"].parts

    def cubed(prediction, target):
        return (prediction - target).abs().pow(3).mean()

    problem = ravine.Problem.of(parts.model, cubed, (parts.inputs, parts.targets))
    runs = ravine.sweep(problem, lr=[1e-3, 2e-3], steps=5)
    run = runs.isel(lr=1)
    space = {"losses": []}
    text = ravine.code(run).replace('print(f"step {step}, loss {value.item()}")', "losses.append(value.item())")
    with torch.random.fork_rng():
        exec(text, space)
    assert np.allclose(space["losses"], run.loss[:-1], rtol=1e-5)


class Decaying(torch.optim.Optimizer):
    """What an optimizer of somebody else's does with its weight decay is not known."""

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * (p.grad + group["weight_decay"] * p.sign())


def test_no_minimum_is_claimed_where_it_is_not_known_what_is_minimised(article):
    """A sweep knows of minima what descend knows, run by run."""
    problem = article["MSELoss"]
    runs = ravine.sweep(problem, Decaying, lr=[0.1], weight_decay=[0.0, 2.0], steps=3)
    assert np.isfinite(runs.minimum_loss).values.tolist() == [True, False]
    assert "minimum_loss" not in ravine.descend(problem, Decaying, lr=0.1, weight_decay=2.0, steps=3)
    assert "minimum_loss" not in ravine.sweep(problem, Decaying, lr=[0.1], weight_decay=2.0, steps=3)
    for rule in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        swept = ravine.sweep(problem, rule, lr=[0.1], weight_decay=[0.0, 2.0], steps=3)
        for k, decay in enumerate((0.0, 2.0)):
            direct = ravine.descend(problem, rule, lr=0.1, weight_decay=decay, steps=3)
            assert float(swept.minimum_loss[k]) == float(direct.minimum_loss)


def test_a_loss_that_holds_float32_of_its_own_can_be_swept():
    """To be held against float64 is a remark in the provenance, and must not end a sweep."""
    matrix, shift = torch.tensor([[2.0, 0.3], [0.3, 1.0]]), torch.tensor([1.0, -1.0])
    losses = {
        "matrix": lambda p: 0.5 * p["t"] @ (matrix @ p["t"]),
        "einsum": lambda p: torch.einsum("i,ij,j->", p["t"], matrix, p["t"]),
        "linear": lambda p: torch.nn.functional.linear(p["t"], matrix, shift).square().mean(),
    }
    for name, loss in losses.items():
        runs = ravine.sweep(ravine.Problem(loss, start={"t": [1.0, 1.0]}), lr=[0.1, 0.2], momentum=[0.0, 0.9], steps=8)
        for lr in (0.1, 0.2):
            leaves = {"t": torch.tensor([1.0, 1.0], requires_grad=True)}
            rule = torch.optim.SGD(leaves.values(), lr=lr, momentum=0.9)
            for _ in range(8):
                rule.zero_grad()
                loss(leaves).backward()
                rule.step()
            found = ravine.at(runs, lr=lr, momentum=0.9).position[-1]
            assert np.allclose(found, leaves["t"].detach().numpy(), rtol=1e-5), name


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": [0.1, 1e308]},
        {"lr": 0.1, "weight_decay": [0.0, 1e300]},
        {"lr": 0.1, "momentum": 0.5, "dampening": [0.0, -1e300]},
        {"lr": [0.1, 1e39], "momentum": [0.0, 0.9]},
    ],
    ids=str,
)
def test_what_the_dtype_cannot_hold_is_an_error_of_that_cell(settings, article):
    runs = ravine.sweep(article["MSELoss"], steps=4, **settings)
    many = {name: values for name, values in settings.items() if isinstance(values, list)}
    for place in np.ndindex(runs.error.shape):
        given = {**settings, **{n: many[n][k] for n, k in zip(runs.error.dims, place, strict=True)}}
        said = str(runs.error.values[place])
        if said:
            with pytest.raises(RuntimeError) as caught:
                ravine.descend(article["MSELoss"], steps=4, **given)
            assert str(caught.value) == said
            assert np.isnan(runs.loss.values[place]).all()
        else:
            alone = ravine.descend(article["MSELoss"], steps=4, **given)
            assert bare.same_bits(runs.loss.values[place], alone.loss)
    assert (runs.error != "").any()
    assert (runs.error == "").any()


def test_a_loss_that_fails_far_out_is_an_error_of_that_cell():
    def loss(p):
        if float(p["x"].detach().abs()) > 10:
            raise ValueError("only defined up to 10")
        return p["x"] ** 2

    runs = ravine.sweep(ravine.Problem(loss, start={"x": 1.0}), lr=[0.1, 2.0, 0.2], steps=10)
    assert runs.error.values.tolist() == ["", "only defined up to 10", ""]


@pytest.mark.parametrize("of", [lambda runs: runs.indexes["lr"], lambda runs: runs.loss[..., -1].to_pandas().index])
def test_who_names_an_index_anew_changes_one_study_alone(of):
    bowl = ravine.gallery.quadratic()
    of(ravine.sweep(bowl, lr=[0.1, 0.2], steps=3)).name = "another"
    runs = ravine.sweep(bowl, lr=[0.1, 0.2], steps=3)
    assert runs.indexes["lr"].name == "lr"
    assert float(runs.sel(lr=0.2).lr) == 0.2
