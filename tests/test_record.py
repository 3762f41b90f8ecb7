"""Recordings of loops that are the user's own: their bits, their steps, and what stays of one that was killed."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import io
import json
import os
import pickle
import pickletools
import random
import resource
import signal
import time
import warnings
import zipfile

import numpy as np
import pytest
import torch
import xarray as xr

import bare
import ravine
from ravine._format import listed
from ravine._record import budget, snapshots
from ravine._record.iterations import Iterations
from ravine._record.losses import Window
from ravine._record.members import find_optimizers
from ravine._store.recording import About, Writer, read_entries
from ravine._study.rule import rule_of
from ravine.plot._canvas.words import knobs, settings_text

pytestmark = pytest.mark.filterwarnings("ignore:the recording heard no loss", "ignore:the recording saw no step")
"""Most look at positions alone."""


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


class Own(torch.nn.Module):
    """A problem's loss as a module, whose output is the loss."""

    def __init__(self, problem):
        super().__init__()
        self.names = tuple(problem.start)
        self.held = torch.nn.ParameterList(value.clone() for value in problem.start.values())
        self.loss = problem.loss

    def forward(self):
        return self.loss(dict(zip(self.names, self.held, strict=True)))


class Answer:
    """What models of transformers return."""

    def __init__(self, loss):
        self.loss = loss


class Answering(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, y):
        return Answer(torch.nn.functional.mse_loss(self.inner(x), y))


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimization as it is commonly written: it holds the optimizer that takes the step."""

    def __init__(self, params, base, rho=0.05, **settings):
        super().__init__(params, {"rho": rho, **settings})
        self.base_optimizer = base(self.param_groups, **settings)

    @torch.no_grad()
    def step(self, closure):
        closure = torch.enable_grad()(closure)
        closure()
        leaves = [p for group in self.param_groups for p in group["params"]]
        moves = [0.05 * p.grad / p.grad.norm() for p in leaves]
        for p, move in zip(leaves, moves, strict=True):
            p.add_(move)
        closure()
        for p, move in zip(leaves, moves, strict=True):
            p.sub_(move)
        self.base_optimizer.step()


def data(count=64, width=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, width, generator=generator), torch.randn(count, 1, generator=generator)


def network(width=4, hidden=8):
    return torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))


def flat(model):
    return torch.cat([each.detach().reshape(-1) for each in model.parameters()]).numpy().copy()


def both(train):
    """Train with a recorder and without; all that is left behind must be the same."""
    left = []
    for recorded in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            told = train(ravine.record if recorded else lambda *_, **__: contextlib.nullcontext())
            left.append((*told, torch.get_rng_state()))
    (model, rule, *_, state), (its, other, recorder, *more, now) = left
    assert torch.equal(state, now)
    for one, two in zip(model.state_dict().values(), its.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert str(rule.state_dict()) == str(other.state_dict())
    for owner in (its, recorder.criterion, *its.modules()):
        assert owner is None or not {**owner._forward_hooks, **owner._forward_pre_hooks}
    assert not {**other._optimizer_step_post_hooks, **other._optimizer_step_pre_hooks}
    return its, recorder, *more


def test_a_loop_of_ones_own_is_recorded_as_descend_records_it(case):
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.5, steps=12)
    model = Own(case.problem)
    rule = torch.optim.SGD(model.parameters(), lr=case.lr, momentum=0.5)
    with ravine.record(model, rule, every=1) as recorder:
        for _ in range(12):
            rule.zero_grad()
            recorder.loss(model()).backward()
            rule.step()
    found = recorder.dataset()
    assert np.array_equal(found.position, run.position)
    assert np.array_equal(found.batch_loss[:-1], run.loss[:-1])
    assert np.isnan(found.batch_loss[-1])
    assert found.step.values.tolist() == run.step.values.tolist()
    for name in ("lr", "momentum", "weight_decay", "nesterov", "optimizer"):
        assert found[name].item() == run[name].item()
    assert ravine.check(found, "position", "batch_loss", "update_ratio") is found
    lengths = np.linalg.norm(np.diff(run.position.astype(float), axis=0), axis=1)
    if found.sizes["layer"] == 1:
        starts = np.linalg.norm(run.position.astype(float), axis=1)[:-1]
        seen = starts > 0  # over nothing it is infinite
        assert np.allclose(found.update_ratio[:-1, 0][seen], lengths[seen] / starts[seen], rtol=1e-4)
        assert np.isinf(found.update_ratio[:-1, 0][~seen]).all()
    assert np.isnan(found.update_ratio[-1]).all()


def recorded_article(**settings):
    problem = ravine.gallery.article()["MSELoss"]
    model, criterion = bare.article_neuron(), torch.nn.MSELoss()
    with torch.no_grad():
        for name, value in problem.start.items():
            model.get_parameter(name).copy_(value)
    rule = torch.optim.SGD(model.parameters(), **settings)
    with ravine.record(model, rule, criterion, every=1) as recorder:
        for _ in range(100):
            rule.zero_grad()
            criterion(model(problem.parts.inputs), problem.parts.targets).backward()
            rule.step()
    return problem, recorder.dataset()


def test_the_articles_neuron_is_descends_in_every_bit():
    problem, found = recorded_article(lr=0.1, momentum=0.9)
    run = ravine.descend(problem, lr=0.1, momentum=0.9)
    assert np.array_equal(found.position, run.position)
    assert np.array_equal(found.batch_loss[:-1], run.loss[:-1])
    assert found.parameter.equals(run.parameter)
    assert found.criterion.item() == "MSELoss"


def test_the_articles_neuron_is_the_same_picture():
    problem, found = recorded_article(lr=0.1, momentum=0.9)
    run, land = ravine.descend(problem, lr=0.1, momentum=0.9), ravine.surface(problem, points=21)

    def paths(study):
        lines = ravine.plot.descent(study, land).axes[0].lines
        return [line.get_xydata().tolist() for line in lines if len(line.get_xydata()) > 2]

    assert paths(found) == paths(run) != []


def test_what_a_recording_says_and_what_it_cannot():
    found = recorded_article(lr=0.1, momentum=0.9)[1]
    told = ravine.explain(found)
    assert told[0].kind == "batch loss"
    assert "about the loss that the optimizer saw, up to step 99" in told[0].sentence
    assert not {"margin", "swing"} & {each.kind for each in told}  # of batches theory says nothing
    assert "batch loss" not in [each.kind for each in ravine.explain(found.assign(loss=found.batch_loss.fillna(0.5)))]
    with pytest.raises(ValueError, match="this run was recorded from a loop of one.s own"):
        ravine.code(found)
    found.position.attrs["provenance"] = '{"code": {"language": "R"}}'
    with pytest.raises(ValueError, match="is not from ravine: no script can be written"):
        ravine.code(found)


def test_a_projected_run_has_no_script_and_no_rule():
    found = recorded_article(lr=0.1)[1]
    found.parameter.attrs["plane"] = '{"kind": "ends", "axes": ["weight", "bias"]}'
    with pytest.raises(ValueError, match="lies in a plane: its positions are coordinates there"):
        ravine.code(found)
    assert str(rule_of(found)) == "its positions are coordinates in a plane, no parameters"


def noisy():
    """A network with dropout and BatchNorm, which draws random numbers and has buffers."""
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
    )


def test_a_scheduler_and_buffers():
    x, y = data()
    states = []

    def train(record):
        model, criterion = noisy(), torch.nn.MSELoss()
        rule = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(rule, 2, 0.5)
        with record(model, rule, criterion, every=3) as recorder:
            for k in range(8):
                rule.zero_grad()
                criterion(model(x[8 * k : 8 * k + 8]), y[8 * k : 8 * k + 8]).backward()
                rule.step()
                scheduler.step()
                states.append((flat(model), model[1].running_mean.numpy().copy()))
        return model, rule, recorder

    recorder = both(train)[1]
    found = recorder.dataset()
    assert found.step.values.tolist() == [0, 3, 6, 8]
    assert found.scheduled_lr.values.tolist() == [0.1, 0.05, 0.0125, 0.00625]
    assert "scheduled_momentum" not in found
    assert found.lr.item() == 0.1
    for place, step in enumerate([3, 6, 8], 1):
        assert np.array_equal(found.position[place], states[8 + step - 1][0])
        means = found.buffers[place, [str(each).startswith("1.running_mean") for each in found.buffer.values]]
        assert np.array_equal(means, states[8 + step - 1][1])
    assert found.buffers.sel(buffer="1.num_batches_tracked").values.tolist() == [0, 3, 6, 8]
    assert found.layer.values.tolist() == ["0", "1", "3"]
    assert recorder.steps == 8


def scheduled(kind, params, *, steps=30, every=1, optimizer=torch.optim.SGD, **given):
    """Record under a scheduler; return the run, and the lr of each group at each step."""
    x, y = data()
    model, criterion = network(), torch.nn.MSELoss()
    rule = optimizer(params(model), **{"lr": 0.1, **given})
    schedule, rates = kind(rule), []
    with ravine.record(model, rule, criterion, every=every) as recorder:
        for _ in range(steps):
            rates.append([group["lr"] for group in rule.param_groups])
            rule.zero_grad()
            criterion(model(x), y).backward()
            rule.step()
            schedule.step()
    rates.append([group["lr"] for group in rule.param_groups])
    return recorder.dataset(), np.array(rates)


def everything(model):
    return model.parameters()


def in_groups(model):
    return [{"params": model[0].parameters(), "lr": 1e-4}, {"params": model[2].parameters()}]


def in_equal_groups(model):
    return [{"params": model[0].parameters(), "weight_decay": 0.1}, {"params": model[2].parameters()}]


@pytest.mark.parametrize(
    ("kind", "lr", "low", "high"),
    [
        (lambda rule: torch.optim.lr_scheduler.LambdaLR(rule, lambda k: min(1, k / 10)), 0.1, "0", "0.1"),
        (lambda rule: torch.optim.lr_scheduler.LinearLR(rule, 0.01, total_iters=10), 0.1, "0.001", "0.1"),
        (lambda rule: torch.optim.lr_scheduler.StepLR(rule, 10), 0.1, "0.001", "0.1"),
        (lambda rule: torch.optim.lr_scheduler.OneCycleLR(rule, 0.01, 30), 0.0004, None, "0.01"),
    ],
    ids=["warm-up", "linear", "steps", "one cycle"],
)
def test_the_lr_of_a_run_is_what_its_scheduler_was_given(kind, lr, low, high):
    run, rates = scheduled(kind, everything)
    assert run.lr == pytest.approx(lr)
    assert np.array_equal(run.scheduled_lr, rates[:, 0])
    assert json.loads(run.position.attrs["provenance"])["settings"]["lr"] == float(run.lr)
    assert low is None or rates[:-1].min() == pytest.approx(float(low))
    assert rates[:-1].max() == pytest.approx(float(high))
    said = f"{low or '4 × 10⁻⁸'} … {high}"
    assert knobs(run).removeprefix("Plain ").startswith(f"SGD, lr {said}")
    assert settings_text(run).startswith(f"SGD(lr={said}")
    assert f"SGD, lr {said}" in ravine.plot.losses(run.assign(loss=run.batch_loss)).texts[0].get_text()


def test_a_descent_and_its_recording_have_one_name():
    x, y = data()
    warm = functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda k: min(1, k / 10))
    run, _ = scheduled(warm, everything)
    descent = ravine.descend(ravine.Problem.of(network(), "mse", (x, y)), lr=0.1, scheduler=warm, steps=30)
    assert descent.lr == run.lr
    assert knobs(descent) == knobs(run) == "Plain SGD, lr 0 … 0.1"
    fixed = descent.assign(scheduled_lr=descent.scheduled_lr * 0 + 0.1)
    assert knobs(fixed) == "Plain SGD, lr 0.1"


def test_what_a_scheduler_of_another_training_left_behind_is_no_setting():
    model, criterion, (x, y) = network(), torch.nn.MSELoss(), data()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(rule, 10)
    rule.param_groups[0]["lr"] = 0.01
    with ravine.record(model, rule, criterion, every=1) as recorder:
        for _ in range(5):
            criterion(model(x), y).backward()
            rule.step()
    run = recorder.dataset()
    assert "scheduled_lr" not in run
    assert run.lr == json.loads(run.position.attrs["provenance"])["settings"]["lr"] == 0.01


def test_an_lr_that_is_that_of_some_parameters_is_not_the_runs():
    """Groups whose learning rates differ have no scheduled_lr; those that share one do."""
    cosine = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=30)
    run, rates = scheduled(cosine, in_groups, momentum=0.9)
    assert (rates[0] == [1e-4, 0.1]).all()
    assert "scheduled_lr" not in run
    assert "lr" not in run.coords
    told = json.loads(run.position.attrs["provenance"])
    assert told["moved"] == ["lr"]
    assert {name: own["lr"] for name, _, own in told["leaves"]} == {
        "0.weight": 1e-4, "0.bias": 1e-4, "2.weight": 0.1, "2.bias": 0.1
    }  # fmt: skip
    warm = functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda k: min(1, k / 10))
    run, rates = scheduled(warm, in_groups)  # both begin at 0
    assert "scheduled_lr" not in run
    assert "lr" not in run.coords
    told = json.loads(run.position.attrs["provenance"])
    assert [own["lr"] for _, _, own in told["leaves"]] == [1e-4, 1e-4, 0.1, 0.1]
    run, rates = scheduled(warm, in_equal_groups)
    assert run.lr == 0.1
    assert np.array_equal(run.scheduled_lr, rates[:, 1])


@pytest.mark.parametrize(
    ("params", "said"),
    [(in_groups, "no limit: groups of parameters have settings of their own"), (everything, "limit at")],
)
def test_maps_of_a_warm_up_name_its_range_and_why_there_is_no_limit(params, said):
    warm = functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda k: min(1, k / 10))
    run, _ = scheduled(warm, params)
    problem = ravine.Problem.of(network(), "mse", data())
    plane = ravine.Plane.ends(run)
    path = plane.project(run, problem).assign(sharpness=ravine.sharpness(problem, run, steps=range(0, 31, 10)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = ravine.plot.descent(path, ravine.surface(problem, plane=plane, points=5))
    strip = next(ax for ax in figure.axes if ax.get_label() == "sharpness")
    assert said in strip.get_title(loc="left")
    assert any("lr=0 … 0.1" in each.get_text() for each in figure.texts) == (params is everything)


def test_accumulation_with_validation_in_between():
    x, y = data()
    seen = []

    def train(record):
        model, criterion = network(), torch.nn.MSELoss()
        rule = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen.clear()
        with record(model, rule, criterion, every=1) as recorder:
            for k in range(8):
                loss = criterion(model(x[8 * k : 8 * k + 8]), y[8 * k : 8 * k + 8])
                seen.append(loss.item())
                loss /= 4  # in place: what was recorded must not change with it
                loss.backward()
                if k % 4 == 3:
                    rule.step()
                    rule.zero_grad()
                with torch.no_grad():
                    criterion(model(x), y)
        return model, rule, recorder

    found = both(train)[1].dataset()
    assert found.step.values.tolist() == [0, 1, 2]
    assert found.batch_loss.values[:2].tolist() == [np.float32(sum(seen[:4]) / 4), np.float32(sum(seen[4:]) / 4)]


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_grad_scaler_skips_are_none(fused):
    x, y = data()
    taken = []

    def train(record):
        model, criterion = network(), torch.nn.MSELoss()
        rule = torch.optim.Adam(model.parameters(), lr=1e-2, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18, growth_interval=2, growth_factor=8.0)
        places = [flat(model)]
        with record(model, rule, criterion, every=1) as recorder:
            for _ in range(16):
                rule.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16):
                    loss = criterion(model(x), y)
                scaler.scale(loss).backward()
                scaler.step(rule)
                scaler.update()
                if not np.array_equal(flat(model), places[-1]):
                    places.append(flat(model))
        taken.append(places)
        return model, rule, recorder

    found = both(train)[1].dataset()
    assert 4 < len(taken[1]) < 16  # some were skipped, and not all
    assert np.array_equal(found.position, np.stack(taken[1]))
    assert found.step.values.tolist() == list(range(len(taken[1])))


def test_lbfgs_tells_the_first_loss_of_each_step():
    x, y = data()
    told = []

    def train(record):
        model, criterion = network(), torch.nn.MSELoss()
        rule = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")

        def closure():
            rule.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            return loss

        with record(model, rule, criterion, every=1) as recorder:
            told.append([rule.step(closure).item() for _ in range(4)])
        return model, rule, recorder

    found = both(train)[1].dataset()
    assert found.batch_loss.values[:4].tolist() == told[1]
    assert found.optimizer.item() == "LBFGS"


def test_sharpness_aware_steps_count_once_and_by_the_loss_where_they_began():
    x, y = data()
    model, criterion = network(), torch.nn.MSELoss()
    rule = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
    firsts = []

    def closure():
        rule.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        return loss

    with ravine.record(model, rule, criterion, every=1) as recorder:
        for _ in range(3):
            with torch.no_grad():
                firsts.append(criterion(model(x), y).item())
            rule.step(closure)
    found = recorder.dataset()
    assert found.sizes["step"] == 4
    assert found.batch_loss.values[:3].tolist() == firsts


def test_a_gan_with_a_recorder_each():
    x, _ = data()

    def train(record):
        g, d, bce = network(2, 8), network(1, 8), torch.nn.BCEWithLogitsLoss()
        rule, other = torch.optim.Adam(g.parameters()), torch.optim.Adam(d.parameters())
        told = []
        with record(g, rule, every=1) as one, record(d, other, every=1) as two:
            for k in range(5):
                noise = x[4 * k : 4 * k + 4, :2]
                for _ in range(2):
                    other.zero_grad()
                    loss = bce(d(x[:4, :1]), torch.ones(4, 1)) + bce(d(g(noise).detach()), torch.zeros(4, 1))
                    (two.loss(loss) if two else loss).backward()
                    other.step()
                rule.zero_grad()
                loss = bce(d(g(noise)), torch.ones(4, 1))
                told.append(loss.item())
                (one.loss(loss) if one else loss).backward()
                rule.step()
        return g, rule, one, d, two, told

    g, one, d, two, told = both(train)
    assert (one.steps, two.steps) == (5, 10)
    assert one.dataset().batch_loss.values[:5].tolist() == told
    assert np.array_equal(one.dataset().position[-1], flat(g))
    assert np.array_equal(two.dataset().position[-1], flat(d))


def test_one_criterion_of_two_models_is_refused():
    """Whose loss it gives cannot be told: that of a GAN's generator depends on both."""
    g, d, criterion = network(2, 8), network(1, 8), torch.nn.BCEWithLogitsLoss()
    rule, other = torch.optim.Adam(g.parameters()), torch.optim.Adam(d.parameters())
    second = ravine.record(d, other, criterion)
    with (
        ravine.record(g, rule, criterion),
        ravine.record(g, rule, criterion),  # of one model there is no doubt
        pytest.raises(ValueError, match="this BCEWithLogitsLoss is the criterion of another model's recording"),
    ):
        second.__enter__()
    with second:
        assert len(criterion._forward_hooks) == 1
    assert not criterion._forward_hooks
    late = ravine.record(g, rule, criterion)
    with ravine.record(d, other, criterion, every=10):
        criterion(d(torch.ones(3, 1)), torch.ones(3, 1)).backward()
        other.step()  # after it the hook waits for step 10
        assert not criterion._forward_hooks
        with pytest.raises(ValueError, match="another model's recording"):
            late.__enter__()


def test_a_recording_that_cannot_begin_leaves_its_criterion_to_others(tmp_path):
    g, d, criterion = network(2, 8), network(1, 8), torch.nn.BCEWithLogitsLoss()
    failed = ravine.record(g, torch.optim.Adam(g.parameters()), criterion, path=tmp_path / "taken")
    (tmp_path / "taken").mkdir()  # in between
    with pytest.raises(FileExistsError):
        failed.__enter__()
    with ravine.record(d, torch.optim.Adam(d.parameters()), criterion):
        assert len(criterion._forward_hooks) == 1
    assert not criterion._forward_hooks


def test_adapters_on_a_frozen_base():
    class Adapted(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base.requires_grad_(False)
            self.down, self.up = torch.nn.Linear(4, 2, bias=False), torch.nn.Linear(2, 1, bias=False)
            torch.nn.init.zeros_(self.up.weight)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    x, y = data()

    def train(record):
        model, criterion = Adapted(network()), torch.nn.MSELoss()
        rule = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
        with record(model, rule, criterion, every=1) as recorder:
            for _ in range(4):
                rule.zero_grad()
                criterion(model(x), y).backward()
                rule.step()
        return model, rule, recorder

    model, recorder = both(train)
    found = recorder.dataset()
    assert found.sizes["parameter"] == 10
    assert found.layer.values.tolist() == ["down", "up"]
    assert np.array_equal(found.position[-1, -2:], model.up.weight.detach().numpy()[0])
    assert np.isinf(found.update_ratio.sel(layer="up")[0])  # it starts at zero


def test_the_loss_of_a_models_output():
    x, y = data()
    model = Answering(network())
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with ravine.record(model, rule, every=1) as recorder:
        for _ in range(3):
            rule.zero_grad()
            told.append(model(x, y).loss)
            told[-1].backward()
            rule.step()
    assert recorder.dataset().batch_loss.values[:3].tolist() == [each.item() for each in told]


def warned_of(model, criterion, loss, *, other=None, steps=5, every=1, state=False):
    """Return what is warned of in a recording, and after how many steps it was."""
    x, y = data()
    rule, seen = torch.optim.SGD(model.parameters(), lr=0.1), []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ravine.record(model, other or rule, criterion, every=every) as recorder:
            for _ in range(steps):
                rule.zero_grad()
                value = loss(model(x), y)
                (recorder.loss(value) if state else value).backward()
                rule.step()
                seen.append(len(told))
    return [str(each.message) for each in told], seen


def test_a_recording_that_hears_no_loss_says_so_once_and_soon():
    mse = torch.nn.MSELoss()
    (said,), seen = warned_of(network(), torch.nn.MSELoss(), mse)  # another instance
    assert "heard no loss up to step 3: this MSELoss was not called with gradients on: give the very object" in said
    assert seen == [0, 0, 1, 1, 1]
    (said,), seen = warned_of(network(), None, torch.nn.functional.mse_loss, every=4)
    assert "heard no loss up to step 5: the model's output has none as .loss, and there is no criterion" in said
    assert said.endswith("any other loss is stated by recorder.loss(value)")
    (said,), _ = warned_of(network(), None, mse, steps=1)
    assert "heard no loss up to step 1" in said
    for every in (1, 4, "auto"):
        assert warned_of(network(), mse, mse, every=every)[0] == []
        assert warned_of(network(), None, torch.nn.functional.mse_loss, every=every, state=True)[0] == []
    model = Answering(network())
    x, y = data()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings(), ravine.record(model, rule):
        warnings.simplefilter("error")
        model(x, y).loss.backward()
        rule.step()


def test_a_recording_that_sees_no_step_says_so():
    model, mse = network(), torch.nn.MSELoss()
    (said,), _ = warned_of(model, mse, mse, other=torch.optim.Adam(model.parameters()))
    assert "saw no step: none of the optimizers that it was given took one; give the very one whose step()" in said
    with warnings.catch_warnings():  # the training broke off: that is said already
        warnings.simplefilter("error")
        with pytest.raises(KeyError), ravine.record(model, torch.optim.Adam(model.parameters()), mse):
            raise KeyError


def test_names_of_wrapped_tied_and_odd_models():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
            self.two.weight = self.one.weight
            self.loss, self.step = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()))
            self.module = torch.nn.Linear(4, 1)

        def forward(self, x):
            return self.module(self.two(self.one(x))) * self.loss + self.step

    x, y = data()
    expected = [*(f"one.weight[{i},{j}]" for i in range(4) for j in range(4)), *(f"one.bias[{i}]" for i in range(4))]
    expected = ["loss", "step", *expected, *(f"two.bias[{i}]" for i in range(4))]
    expected += [*(f"module.weight[0,{j}]" for j in range(4)), "module.bias"]
    for wrap in (lambda m: m, torch.nn.DataParallel, lambda m: torch.compile(m, backend="eager")):
        model, criterion = Odd(), torch.nn.MSELoss()
        wrapped = wrap(model)
        rule = torch.optim.SGD(wrapped.parameters(), lr=0.01)
        with ravine.record(wrapped, rule, criterion, every=1) as recorder:
            criterion(wrapped(x), y).backward()
            rule.step()
        found = recorder.dataset()
        assert found.parameter.values.tolist() == expected
        assert found.batch_loss.notnull().values.tolist() == [True, False]


def test_wrapped_optimizers_are_unwrapped():
    class Accelerated(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

    class Lightning:
        def __init__(self, optimizer):
            self._optimizer = optimizer

    rule = torch.optim.SGD(network().parameters(), lr=0.1)
    assert find_optimizers(Accelerated(rule)) == [rule]
    assert find_optimizers(Lightning(Accelerated(rule))) == [rule]
    assert find_optimizers([rule, Lightning(rule)]) == [rule]


def test_several_optimizers_of_one_model():
    x, y = data()
    model, criterion = network(), torch.nn.MSELoss()
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    second = torch.optim.Adam(model[2].parameters(), lr=0.01)
    places, losses = [flat(model)], []
    with ravine.record(model, [first, second], criterion, every=1) as recorder:
        for _ in range(4):
            model.zero_grad()
            losses.append(criterion(model(x), y))
            losses[-1].backward()
            first.step()
            second.step()
            places.append(flat(model))
    found = recorder.dataset()
    assert np.array_equal(found.position, np.stack(places))
    assert found.batch_loss.values[:4].tolist() == [each.item() for each in losses]
    assert found.optimizer.item() == "SGD, Adam"
    assert "lr" not in found.coords
    moved = np.linalg.norm(places[1][-9:] - places[0][-9:]) / np.linalg.norm(places[0][-9:])
    assert float(found.update_ratio.sel(layer="2")[0]) == pytest.approx(moved, rel=1e-5)


@pytest.mark.parametrize(
    "kinds",
    [
        (torch.optim.Adam, torch.optim.Adam),
        (torch.optim.RMSprop, torch.optim.RMSprop),
        (torch.optim.SGD, torch.optim.AdamW),
        (SAM, torch.optim.Adam),
    ],
    ids=lambda kinds: "-".join(kind.__name__ for kind in kinds),
)
def test_nothing_is_said_from_the_rule_of_several_optimizers(kinds):
    """Nor that they are not what they are: two of torch's are no namesake of one."""
    x, y = data()
    model, criterion = network(), torch.nn.MSELoss()
    first = {"base": torch.optim.SGD} if kinds[0] is SAM else {}
    rules = [kinds[0](model[0].parameters(), lr=0.01, **first), kinds[1](model[2].parameters(), lr=0.01)]
    with ravine.record(model, rules, criterion, every=1) as recorder:
        for _ in range(10):
            for rule in rules:
                rule.zero_grad()
            criterion(model(x), y).backward()
            for rule in rules:
                rule.base_optimizer.step() if isinstance(rule, SAM) else rule.step()
    run = recorder.dataset()
    problem = ravine.Problem.of(model, criterion, (x, y))
    path = ravine.Plane.ends(run).project(run, problem)
    for study in (path, run.assign(loss=path.loss)):
        found = ravine.explain(study)
        assert {each.kind for each in found} <= {"course", "map", "plane", "path"}
        assert not any("several" in str(each) or " is not " in str(each) for each in found)
    names = listed([type(each).__name__ for each in find_optimizers(rules)])
    assert str(rule_of(run)) == f"{names} is not torch.optim.SGD"


def train_two(when, *, rare_first=True, every=1, steps=9):
    """Train two layers by an optimizer each, from one loss: the one of the first layer steps now and then."""

    def train(record):
        x, y = data()
        model, criterion = network(), torch.nn.MSELoss()
        rare, often = (torch.optim.SGD(model[k].parameters(), lr=0.1) for k in (0, 2))
        places, losses = [flat(model)], []
        with record(model, [rare, often], criterion, every=every) as recorder:
            for k in range(steps):
                model.zero_grad()
                loss = criterion(model(x), y)
                losses.append(loss.item())
                loss.backward()
                turns = [rare, often] if rare_first else [often, rare]
                for rule in turns:
                    if rule is often or when(k):
                        rule.step()
                places.append(flat(model))
        assert not any(each._backward_hooks for each in model.parameters())
        return model, often, recorder, places, losses

    _, recorder, places, losses = both(train)
    return recorder.dataset(), np.stack(places), np.array(losses, np.float32)


@pytest.mark.parametrize("rare_first", [True, False])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_rarer_of_several_optimizers_may_step_first(rare_first, every):
    """A step is one iteration of the loop, with its own loss, whichever steps first in it."""
    for when in (lambda k: k % 2 == 0, lambda k: k % 3 == 0, lambda k: k < 2, lambda _: True):
        found, places, losses = train_two(when, rare_first=rare_first, every=every)
        steps = found.step.values
        assert steps.tolist() == sorted({*range(0, 9, every), 9})
        assert np.array_equal(found.position, places[steps])
        assert np.array_equal(found.batch_loss[:-1], losses[steps[:-1]])


@pytest.mark.parametrize("when", [lambda k: k >= 3, lambda k: k % 4 == 3])
def test_one_that_joins_later_and_steps_first_is_known_from_its_second_update_on(when):
    """Nothing tells the first time: then its update stands in the step before, and the one that follows has no loss."""
    found, places, losses = train_two(when)
    assert found.step.values.tolist() == [*range(10)]
    of_the_first = slice(0, 40)  # the parameters of the layer that the rare one trains
    assert np.array_equal(found.position[3, of_the_first], places[4][of_the_first])
    assert np.array_equal(found.position[3, 40:], places[3][40:])
    others = [k for k in range(10) if k != 3]
    assert np.array_equal(found.position[others], places[others])
    assert np.isnan(found.batch_loss[3])
    assert np.array_equal(found.batch_loss[others[:-1]], losses[others[:-1]])


def test_one_that_joins_later_and_steps_last_is_known_at_once():
    for when in (lambda k: k >= 3, lambda k: k % 4 == 3):
        found, places, losses = train_two(when, rare_first=False)
        assert np.array_equal(found.position, places)
        assert np.array_equal(found.batch_loss[:-1], losses)


def test_a_gan_with_one_recorder():
    """The critic's steps count, and its losses; the generator's update, from a loss of its own, ends an iteration."""
    x, _ = data()
    g, d, bce = network(2, 8), network(1, 8), torch.nn.BCEWithLogitsLoss()
    critic, generator = torch.optim.Adam(d.parameters()), torch.optim.Adam(g.parameters())
    both_models = torch.nn.ModuleDict({"g": g, "d": d})
    places, told = [flat(both_models)], []
    with ravine.record(both_models, [generator, critic], every=1) as recorder:
        for k in range(6):
            critic.zero_grad()
            loss = bce(d(x[:4, :1]), torch.ones(4, 1)) + bce(d(g(x[:4, :2]).detach()), torch.zeros(4, 1))
            told.append(loss.item())
            recorder.loss(loss).backward()
            critic.step()
            if k % 3 == 2:
                generator.zero_grad()
                recorder.loss(bce(d(g(x[:4, :2])), torch.ones(4, 1))).backward()
                generator.step()
            places.append(flat(both_models))
    found = recorder.dataset()
    assert recorder.steps == 6
    assert np.array_equal(found.position, np.stack(places))
    assert found.batch_loss[:-1].values.tolist() == np.array(told, np.float32).tolist()


@pytest.mark.parametrize(
    ("played", "steps"),
    [
        ("ab ab ab", 3),  # a gradient comes where there is a space
        ("ab b b ab b", 5),
        ("a a ab a ab", 5),
        ("a a ba ba a", 5),
        ("a a b a a b", 4),  # gradients of its own: b ends an iteration
        ("ac abc abc ac", 4),
        ("ab ab cab ab", 4),
        ("ab cdab cdab cb", 4),
        ("a a a b b b a", 6),  # phases: each update but the first of b, which ends the last of a
        ("aaabab", 4),  # set by hand, no gradient ever comes
        ("abbab ab ab", 5),  # nor for a while
        ("aabba ab ab b", 7),
    ],
)
def test_updates_of_one_iteration_are_one_step(played, steps):
    tensor = torch.ones(1, requires_grad=True)
    rules = {name: torch.optim.SGD([torch.ones(1)]) for name in "abcd"}
    iterations = Iterations([tensor])
    begun = 0
    for each in played:
        if each == " ":
            (2 * tensor).sum().backward()
        else:
            first = iterations.begins(rules[each])
            assert iterations.enter(rules[each]) == first
            begun += first
    assert begun == steps
    iterations.detach()
    assert not tensor._backward_hooks


def test_copies_made_inside_are_no_part_of_it():
    x, y = data()
    model, criterion = network(), torch.nn.MSELoss()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, criterion, every=1) as recorder:
        rule.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        average = torch.optim.swa_utils.AveragedModel(model)
        its, their = copy.deepcopy(criterion), copy.deepcopy(rule)
        its(average(x), y).backward()
        their.step()
        ravine.descend(ravine.Problem.of(model, criterion, (x, y)), lr=0.1, steps=3)
        torch.save([model, criterion, rule.state_dict()], stored := io.BytesIO())
        rule.step()
    again, called, _ = torch.load(io.BytesIO(stored.getvalue()), weights_only=False)
    called(again(x), y).backward()
    found = recorder.dataset()
    assert found.sizes["step"] == 2
    assert found.batch_loss.values[0] == loss.item()


class Cloned(torch.nn.Module):
    """Gives its own loss, and is copied in a way of its own."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 1)

    def forward(self, x, y):
        return {"loss": torch.nn.functional.mse_loss(self.inner(x), y)}

    def __deepcopy__(self, memo):
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other


def named_in(stored):
    """Return the modules that a file of torch.save names."""
    with zipfile.ZipFile(stored) as held:
        pickled = next(held.read(name) for name in held.namelist() if name.endswith("data.pkl"))
    strings = [told for op, told, _ in pickletools.genops(pickled) if isinstance(told, str)]
    return {told.replace(" ", ".").split(".")[0] for told in strings}


@pytest.mark.parametrize("given", ["criterion", "model"])
def test_what_is_copied_or_saved_whole_inside_bears_nothing_of_it(given):
    """A hook of the user's own stays where it is, in the copy as well."""
    x, y = data()
    model, criterion = (network(), torch.nn.MSELoss()) if given == "criterion" else (Answering(network()), None)
    owner = model if criterion is None else criterion
    own = owner.register_forward_hook(print_nothing)
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, criterion, every=1), ravine.record(model, rule, criterion, every=1):
        for _ in range(3):
            rule.zero_grad()
            (model(x, y).loss if criterion is None else criterion(model(x), y)).backward()
            rule.step()
        assert len(owner._forward_hooks) == 3
        torch.save(torch.nn.ModuleDict({"net": model, "loss": criterion or torch.nn.L1Loss()}), stored := io.BytesIO())
        average, twin, shallow = torch.optim.swa_utils.AveragedModel(model), copy.deepcopy(owner), copy.copy(owner)
    assert "ravine" not in named_in(stored)
    held = torch.load(io.BytesIO(stored.getvalue()), weights_only=False)
    for each in (owner, held["net"] if criterion is None else held["loss"], twin, shallow):
        assert list(each._forward_hooks.values()) == [print_nothing]
        assert "__getstate__" not in vars(each)
    assert list(average.module._forward_hooks.values()) == [print_nothing] * (criterion is None)
    own.remove()
    assert not owner._forward_hooks


def print_nothing(*_):
    """A hook of the user's own."""


def test_a_class_that_copies_itself_keeps_what_does_nothing_and_needs_no_ravine():
    x, y = data()
    model = Cloned()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, every=1) as recorder:
        model(x, y)["loss"].backward()
        twin = copy.deepcopy(model)
        rule.step()
    twin(x, y)["loss"].backward()
    (left,) = twin._forward_hooks.values()
    assert left(twin, (x, y), {}) is None
    assert b"ravine" not in pickle.dumps(left)
    assert recorder.dataset().step.values.tolist() == [0, 1]


def test_parameters_unfrozen_later_are_told():
    x, y = data()
    model, criterion = network(), torch.nn.MSELoss()
    model[0].requires_grad_(False)
    rule = torch.optim.SGD(model[2].parameters(), lr=0.1)
    recorder = ravine.record(model, rule, criterion, every=1)

    def train():
        with recorder:
            for k in range(5):
                if k == 2:
                    model[0].requires_grad_(True)
                    rule.add_param_group({"params": list(model[0].parameters())})
                rule.zero_grad()
                criterion(model(x), y).backward()
                rule.step()

    with pytest.warns(UserWarning, match=r"0.bias, 0.weight are trained since step 3 at the latest.*not recorded"):
        train()
    assert recorder.dataset().sizes["parameter"] == 9


def train_plainly(model, rule, steps, after=lambda step: None):
    x, y = data()
    for step in range(steps):
        rule.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        rule.step()
        after(step + 1)


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_recorder_that_nobody_holds_goes_on():
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    path = ravine.record(model, rule, torch.nn.MSELoss(), every=1).__enter__().path
    gc.collect()
    train_plainly(model, rule, 3)
    assert ravine.open(path).step.values.tolist() == [0, 1, 2]
    del model, rule
    gc.collect()
    assert not path.exists()


def test_an_error_ends_the_recording_and_not_the_training(monkeypatch):
    model = network()
    alone = copy.deepcopy(model)
    train_plainly(alone, torch.optim.SGD(alone.parameters(), lr=0.1), 6)
    rule = torch.optim.SGD(model.parameters(), lr=0.1)

    def broken(step):
        if step == 3:
            monkeypatch.setattr(snapshots.Writer, "add", None)

    with (
        pytest.warns(UserWarning, match=r"stopped after step 4 \(TypeError.*the 3 snapshots before are kept") as told,
        ravine.record(model, rule, every=1) as recorder,
    ):
        train_plainly(model, rule, 6, broken)
    assert len([each for each in told if "stopped" in str(each.message)]) == 1
    assert np.array_equal(flat(model), flat(alone))
    assert recorder.dataset().step.values.tolist() == [0, 1, 2]
    assert "TypeError" in recorder.dataset().position.attrs["provenance"]


def test_a_full_disk_ends_the_recording_alone(tmp_path):
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    places = [flat(model)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = ravine.record(model, rule, every=1, path=tmp_path / "run")

    def train():
        try:
            with recorder:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # five rows and a part of the sixth
                train_plainly(model, rule, 20, lambda _: places.append(flat(model)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.warns(UserWarning, match="the recording stopped after step"):
        train()
    found = ravine.open(tmp_path / "run")
    assert found.identical(recorder.dataset())
    assert found.step.values.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(found.position, np.stack(places[:5]))
    assert len(places) == 21


@pytest.fixture
def calm(monkeypatch):
    """Time does not count: what is kept is a matter of steps alone."""
    monkeypatch.setattr(budget, "FREE", np.inf)


def test_by_default_every_second_goes_when_there_are_too_many(monkeypatch, calm):
    assert snapshots.MOST == 256
    monkeypatch.setattr(snapshots, "MOST", 16)
    for steps, every in [(10, 1), (15, 1), (16, 2), (31, 4), (200, 16), (240, 16), (255, 32)]:
        model = network()
        rule = torch.optim.SGD(model.parameters(), lr=0.1)
        places = [flat(model)]
        with ravine.record(model, rule) as recorder:
            train_plainly(model, rule, steps, lambda _, model=model, places=places: places.append(flat(model)))
        found = recorder.dataset()
        assert found.sizes["step"] <= 16
        assert found.step.values.tolist() == sorted({*range(0, steps, every), steps})
        assert np.array_equal(found.position, np.stack(places)[found.step])
        assert np.isfinite(found.update_ratio[:-1]).all()
        assert recorder.every == every
        assert f'"every": {every}' in found.position.attrs["provenance"]
        assert f"{found.sizes['step']} snapshots, every {every}," in repr(recorder)


def test_what_a_device_has_queued_is_done_before_the_clock_of_a_snapshot_starts(monkeypatch):
    calls, device = [], torch.device("cuda:0")
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, every=1) as recorder:
        shots = recorder.hooks.shots
        assert shots.devices == set()
        shots.devices = {device, torch.device("mps")}
        monkeypatch.setattr(torch.cuda, "synchronize", lambda which: calls.append(which))
        monkeypatch.setattr(torch.mps, "synchronize", lambda: calls.append("mps"))
        seen, copied = [], shots._copy
        monkeypatch.setattr(shots, "_copy", lambda: (seen.append(set(calls)), copied()))
        shots.take(0, {})
        shots.devices = set()
    assert seen[0] == {device, "mps"}


@pytest.fixture
def clock(monkeypatch):
    """A clock that steps and snapshots move on, each by so many seconds; `spent` counts those of snapshots."""
    copied = snapshots.Snapshots._copy

    class Clock:
        now, spent, step, shot = 0.0, 0.0, 1.0, 0.0

        def tick(self, _):
            self.now += self.step

    def slow(self):
        clock.now += clock.shot
        clock.spent += clock.shot
        copied(self)

    clock = Clock()
    for name in ("perf_counter", "thread_time"):
        monkeypatch.setattr(budget.time, name, lambda: clock.now)
    monkeypatch.setattr(snapshots.Snapshots, "_copy", slow)
    return clock


@pytest.fixture
def large(monkeypatch):
    """Models of more than ten numbers are no small ones."""
    monkeypatch.setattr(snapshots, "BLOCK", 10)


def record_in_steps(clock, steps, **settings):
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    clock.spent = 0.0
    with ravine.record(model, rule, **settings) as recorder:
        train_plainly(model, rule, steps, clock.tick)
    return recorder, recorder.dataset().step.values


@pytest.mark.parametrize("steps", [100, 108, 216, 720, 3000])
@pytest.mark.parametrize("shot", [0.01, 0.05, 0.12])
def test_by_default_there_are_as_many_evenly_spread_as_a_picture_needs(clock, large, steps, shot):
    """However short the training is, where a snapshot takes less than a step: they may take a fifth of it."""
    clock.step, clock.shot = 0.02, 0.02 * shot
    recorder, kept = record_in_steps(clock, steps)
    assert len(kept) > budget.LEAST
    assert set(np.diff(kept[:-1])) == {recorder.every}
    assert kept[-1] == steps
    assert clock.spent <= (budget.HASTE + 0.03) * steps * clock.step


@pytest.mark.parametrize("shot", [0.1, 0.5, 3.0])
def test_by_default_they_take_a_small_share_of_a_long_training(clock, large, shot):
    clock.step, clock.shot = 0.02, 0.02 * shot
    steps = round(8000 * max(1.0, shot))
    recorder, kept = record_in_steps(clock, steps)
    assert len(kept) > budget.LEAST
    assert set(np.diff(kept[1:-1])) == {recorder.every}
    assert clock.spent <= 0.03 * steps * clock.step
    _, kept = record_in_steps(clock, 10, every=2)
    assert kept.tolist() == [0, 2, 4, 6, 8, 10]


def test_by_default_dear_snapshots_are_rare_at_first(clock, large):
    """A training that is over within two seconds costs little, and is recorded evenly all the same."""
    clock.step, clock.shot = 1e-3, 3e-3
    recorder, kept = record_in_steps(clock, 1900)
    assert kept.tolist() == [0, *range(512, 1900, 256), 1900]
    assert clock.spent < 0.02 * 1.9
    assert recorder.share == pytest.approx(clock.spent / (1.9 + clock.spent), rel=0.01)
    _, kept = record_in_steps(clock, 6000)
    assert len(kept) > budget.LEAST


def test_recordings_by_default_are_joined_at_all_steps_of_the_coarser(clock, large):
    found = []
    for shot in (0.02, 0.12):
        clock.step, clock.shot = 0.02, 0.02 * shot
        found.append(record_in_steps(clock, 288)[1])
    one, other = found
    assert len(other) > budget.LEAST
    assert set(other) <= set(one)


def test_of_a_tiny_model_every_step_is_kept(clock):
    """What takes a fiftieth of a second in all is nothing, whatever its share."""
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    clock.step, clock.shot = 3e-4, 1e-4
    with ravine.record(model, rule) as recorder:
        train_plainly(model, rule, 150, clock.tick)
    assert recorder.every == 1
    assert recorder.share > 0.2


def test_a_first_snapshot_that_has_to_wait_is_no_measure(clock, monkeypatch):
    """Another process had the processor meanwhile: this thread worked for a moment of that."""
    monkeypatch.setattr(budget.time, "thread_time", lambda: clock.now / 5000)
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    clock.step, clock.shot = 1.0, 5.0

    def wait_once(step):
        clock.tick(step)
        clock.shot = 0.005

    with ravine.record(model, rule) as recorder:
        train_plainly(model, rule, 100, wait_once)
    assert recorder.every == 1
    assert recorder.dataset().sizes["step"] > 90


def test_a_clock_of_the_thread_that_moves_now_and_then_makes_no_snapshot_free(clock, monkeypatch):
    """On Windows it moves every 15.6 ms, and says that it is exact to 100 ns."""
    monkeypatch.setattr(budget, "TICK", 1e-7)
    monkeypatch.setattr(budget.time, "thread_time", lambda: clock.now // 0.015625 * 0.015625)
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    clock.step, clock.shot = 1e-4, 4e-2
    with ravine.record(model, rule) as recorder:
        paid = recorder.hooks.shots.budget
        clock.tick(0)
        train_plainly(model, rule, 2, clock.tick)
        assert paid._charged == paid._usual == pytest.approx(4e-2)
        train_plainly(model, rule, 8, clock.tick)
        assert clock.spent == pytest.approx(4e-2)  # one cannot be had again in a millisecond
    assert recorder.dataset().step.values.tolist() == [0, 10]


def test_what_hooks_and_thinning_take_is_counted(clock, monkeypatch):
    kept, calls = Writer.keep, []

    def slow(writer, rows):
        clock.now += 3.0
        calls.append(3.0)
        kept(writer, rows)

    monkeypatch.setattr(Writer, "keep", slow)
    mean = Window.mean

    def thoughtful(window):
        clock.now += 0.25
        calls.append(0.25)
        return mean(window)

    monkeypatch.setattr(Window, "mean", thoughtful)
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    clock.shot = 0.5
    with ravine.record(model, rule) as recorder:
        train_plainly(model, rule, 300, clock.tick)
    assert calls.count(3.0) >= 3
    assert recorder.share * clock.now == pytest.approx(clock.now - 300 * clock.step)
    assert recorder.share * clock.now == pytest.approx(clock.spent + sum(calls))


def test_hooks_hang_where_a_snapshot_is_due_and_nowhere_else():
    model, criterion = network(), torch.nn.MSELoss()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = data()
    seen, losses = [], []
    with ravine.record(model, rule, criterion, every=5) as recorder:
        for _ in range(17):
            seen.append((len(criterion._forward_hooks), len(rule._optimizer_step_pre_hooks)))
            rule.zero_grad()
            loss = criterion(model(x), y)
            losses.append(loss.item())
            loss.backward()
            rule.step()
            assert len(rule._optimizer_step_post_hooks) == 1
    assert seen == [(1, 1) if step % 5 == 0 else (0, 0) for step in range(17)]
    assert recorder.dataset().step.values.tolist() == [0, 5, 10, 15, 17]
    assert recorder.dataset().batch_loss[:-1].values.tolist() == losses[::5]
    assert not rule._optimizer_step_post_hooks


@pytest.mark.parametrize("other_every", [1, 2, 4])
def test_hooks_of_several_optimizers_come_off_as_well(other_every):
    """A snapshot is written when the next step begins: then they hang for one step more."""
    model, criterion = network(), torch.nn.MSELoss()
    rules = [torch.optim.SGD(model[k].parameters(), lr=0.1) for k in (0, 2)]
    x, y = data()
    seen, losses, places = [], [], [flat(model)]
    with ravine.record(model, rules, criterion, every=5) as recorder:
        for step in range(17):
            hooks = [len(each._optimizer_step_pre_hooks) for each in rules]
            seen.append((len(criterion._forward_hooks), *hooks))
            model.zero_grad()
            loss = criterion(model(x), y)
            losses.append(loss.item())
            loss.backward()
            rules[0].step()
            if step % other_every == other_every - 1:  # as generators are trained less often
                rules[1].step()
            places.append(flat(model))
    steps = [0, 5, 10, 15, 17]
    assert recorder.dataset().step.values.tolist() == steps
    assert np.array_equal(recorder.dataset().position, np.stack(places)[steps])
    assert recorder.dataset().batch_loss[:-1].values.tolist() == losses[::5]
    assert seen == [(1, 1, 1) if step % 5 < 2 else (0, 0, 0) for step in range(17)]
    for each in rules:
        assert not {**each._optimizer_step_pre_hooks, **each._optimizer_step_post_hooks}


def test_a_compiled_loss_is_heard_at_each_snapshot():
    """Also of batches of another size, which are compiled anew at steps that have none."""
    model, criterion = network(), torch.nn.MSELoss()
    rule = torch.optim.SGD(model.parameters(), lr=0.01)
    compiled = torch.compile(lambda x, y: criterion(model(x), y), backend="eager")
    with ravine.record(model, rule, criterion, every=4) as recorder:
        for step in range(24):
            rule.zero_grad()
            x, y = data(6 if step % 5 == 3 else 8)
            compiled(x, y).backward()
            rule.step()
    torch._dynamo.reset()
    assert recorder.dataset().step.values.tolist() == [*range(0, 25, 4)]
    assert np.isfinite(recorder.dataset().batch_loss[:-1]).all()
    assert not criterion._forward_hooks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it traces an optimizer
@pytest.mark.parametrize("every", [1, 4, "auto"])
def test_a_compiled_step_is_recorded(every):
    """What the recorder does at a step is no part of what a compiler makes of it."""
    x, y = data()

    def train(record):
        model, criterion, places = network(), torch.nn.MSELoss(), []
        rule = torch.optim.Adam(model.parameters(), lr=0.01)
        step = torch.compile(rule.step, backend="eager")
        with record(model, rule, criterion, every=every) as recorder:
            for _ in range(14):
                places.append(flat(model))
                rule.zero_grad()
                criterion(model(x), y).backward()
                step()
        torch._dynamo.reset()
        return model, rule, recorder, np.stack([*places, flat(model)])

    _, recorder, places = both(train)
    run = recorder.dataset()
    assert not recorder.stopped
    assert run.step.values.tolist() == ([*range(0, 14, every), 14] if every != "auto" else [*range(15)])
    assert np.array_equal(run.position, places[run.step])
    assert np.isfinite(run.batch_loss[:-1]).all()


def test_one_snapshot_that_takes_long_thins_nothing_out_for_ever(clock):
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    clock.step, clock.shot = 1.0, 0.005

    def stall(step):
        clock.tick(step)
        clock.shot = 20.0 if step == 50 else 0.005  # a disk that was busy

    with ravine.record(model, rule) as recorder:
        train_plainly(model, rule, 100, stall)
    assert recorder.every == 1


def test_ten_kills(tmp_path, monkeypatch, calm):
    """Whatever the instant: what `ravine.open` finds are whole snapshots, each with its very bits."""
    monkeypatch.setattr(snapshots, "MOST", 8)  # rows are moved all the time

    def train(record):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = noisy()
            rule = torch.optim.SGD(model.parameters(), lr=1e-3)
            with record(model, rule):
                x, y = data()
                for _ in range(600):
                    rule.zero_grad()
                    torch.nn.functional.mse_loss(model(x), y).backward()
                    rule.step()
                    yield flat(model), model[1].running_var.numpy().copy()

    known = list(train(lambda *_: contextlib.nullcontext()))
    draw, found_in_all = random.Random(0), 0
    for kill in range(10):
        path = tmp_path / f"{kill}.recording"
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                for _ in train(lambda *given, path=path: ravine.record(*given, path=path)):
                    pass
            os._exit(0)
        while not (path / "entries.bin").exists() or not (path / "entries.bin").stat().st_size:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = ravine.open(path)
        found_in_all += found.sizes["step"]
        steps = found.step.values[found.step.values > 0]
        assert len(set(np.diff(found.step.values))) <= 2
        assert np.array_equal(found.position[found.step > 0], np.stack([known[k - 1][0] for k in steps]))
        held = found.buffers[found.step > 0][:, [str(b).startswith("1.running_var") for b in found.buffer.values]]
        assert np.array_equal(held, np.stack([known[k - 1][1] for k in steps]))
    assert found_in_all > 30


def test_each_byte_of_what_was_entered_counts(tmp_path):
    """Cut anywhere, the entries tell of whole snapshots alone; one that moves is whole in its old place or its new."""
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, every=1, path=tmp_path / "run") as recorder:
        train_plainly(model, rule, 6)
        recorder.hooks.shots.writer.keep([0, 2, 4])
    about, whole = About.read(tmp_path / "run"), (tmp_path / "run" / "entries.bin").read_bytes()
    size = about.entry.itemsize
    assert [each["step"] for each in read_entries(tmp_path / "run", about)] == [0, 2, 4, 6]
    for length in range(0, len(whole) + 1, size // 3):
        (tmp_path / "run" / "entries.bin").write_bytes(whole[:length])
        steps = [int(each["step"]) for each in read_entries(tmp_path / "run", about)]
        assert steps == sorted(set(steps))
        assert {0, 2, 4} <= {*steps} or length < 5 * size
    damaged = bytearray(whole)
    damaged[9] ^= 1
    (tmp_path / "run" / "entries.bin").write_bytes(damaged)
    assert 0 not in [int(each["step"]) for each in read_entries(tmp_path / "run", about)]


def test_where_it_lies(tmp_path):
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule) as recorder:
        with pytest.raises(RuntimeError, match="still being made: ask for its dataset after the with statement"):
            recorder.dataset()
        train_plainly(model, rule, 3)
    path, found = recorder.path, recorder.dataset()
    assert isinstance(found.position.variable._data, np.memmap)
    assert ravine.open(path).identical(found)
    assert ravine.open(ravine.save(found, tmp_path / "run.nc")).identical(found)
    with pytest.raises(RuntimeError, match="a recorder records once"), recorder:
        pass
    del recorder
    assert not path.exists()
    assert np.array_equal(found.position[-1], flat(model))  # it is mapped still
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there exists already: choose another name, or open it"):
        ravine.record(model, rule, path=tmp_path / "there")
    begun = ravine.record(model, rule, path=tmp_path / "begun")
    with begun, pytest.raises(ValueError, match="holds no whole snapshot: it was killed, or its disk was full"):
        ravine.open(tmp_path / "begun")
    assert ravine.open(tmp_path / "begun").step.values.tolist() == [0]
    (tmp_path / "begun" / "recording.json").write_text("half")
    with pytest.raises(ValueError, match="begun is no recording that can be read"):
        ravine.open(tmp_path / "begun")


def test_recordings_of_other_paces_are_joined_where_both_were_looked_at():
    def recorded(every, steps=12, **settings):
        model = Own(ravine.gallery.rosenbrock())
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, **settings)
        with ravine.record(model, optimizer, every=every) as recorder:
            for _ in range(steps):
                optimizer.zero_grad()
                recorder.loss(model()).backward()
                optimizer.step()
        return recorder.dataset()

    runs = {"plain": recorded(2), "momentum": recorded(3, momentum=0.9)}
    with pytest.warns(UserWarning, match=r"\(7 and 5 of them\): the 3 that all have are kept; one every= for all"):
        both = ravine.join(runs)
    assert both.step.values.tolist() == [0, 6, 12]
    for label, run in runs.items():
        assert bare.same_bits(both.sel(run=label).position, run.position.sel(step=[0, 6, 12]))
    with pytest.raises(ValueError, match="other steps of their runs"):  # of which one would lose its end
        ravine.join({"long": recorded(2, 12), "short": recorded(3, 11)})


@pytest.mark.parametrize("every", [1, 4, "auto"])
def test_a_loop_that_goes_on_is_recorded_from_where_it_stopped(every, tmp_path):
    """Both recordings are one run, once the last place of the one is the first of the other."""
    x, y = data()
    torch.manual_seed(1)
    whole, criterion = network(), torch.nn.MSELoss()
    start = copy.deepcopy(whole.state_dict())

    def train(model, steps, first=0, saved=None):
        rule = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if saved is not None:
            rule.load_state_dict(saved)
        with ravine.record(model, rule, criterion, every=every, first=first) as recorder:
            for _ in range(steps):
                rule.zero_grad()
                criterion(model(x), y).backward()
                rule.step()
        assert recorder.steps == first + steps
        return recorder.dataset(), rule.state_dict()

    plain, _ = train(whole, 43)
    model = network()
    model.load_state_dict(start)
    before, saved = train(model, 23)
    after, _ = train(model, 20, first=23, saved=saved)
    assert before.step.values[-1] == after.step.values[0] == 23
    assert bare.same_bits(before.position[-1], after.position[0])
    both = xr.concat([before.isel(step=slice(-1)), after], "step")
    shared = np.intersect1d(both.step, plain.step)
    assert {*plain.step.values} <= {*shared}
    for name in ("position", "batch_loss", "update_ratio"):
        assert np.array_equal(both[name].sel(step=shared), plain[name].sel(step=shared), equal_nan=True)
    problem = ravine.Problem.of(network(), criterion, (x, y))
    path = ravine.Plane.pca(both).project(both, problem)
    assert "in 43 steps" in str(ravine.explain(path)[0])
    for first in (-1, 2.5, True, "23"):
        with pytest.raises(ValueError, match="first must be a whole number of steps"):
            ravine.record(model, torch.optim.SGD(model.parameters()), first=first)


def test_one_snapshot_is_one():
    model = network()
    with ravine.record(model, torch.optim.SGD(model.parameters())) as recorder:
        pass
    assert repr(recorder).startswith("<Recorder: 0 steps, 1 snapshot, every 1, ")


def test_mixed_dtypes_and_many_parameters():
    model = torch.nn.Sequential(torch.nn.Linear(120, 100).to(torch.bfloat16), torch.nn.Linear(100, 1))
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, every=1) as recorder:
        out = model[1](model[0](torch.ones(3, 120, dtype=torch.bfloat16)).float())
        out.sum().backward()
        rule.step()
    found = recorder.dataset()
    assert found.position.dtype == np.float32
    assert found.parameter.dtype.kind == "i"
    assert found.parameter.attrs["shapes"].startswith('{"0.weight": [100, 120], "0.bias": [100]')
    assert np.array_equal(found.position[1, :12000], model[0].weight.detach().float().numpy().reshape(-1))
    assert "batch_loss" not in found  # nobody said which number it is


def test_bad_input():
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="Sequential has no parameter that requires a gradient"):
        ravine.record(network().requires_grad_(False), rule)
    with pytest.raises(ValueError, match="none of the optimizer's parameters .* belongs to Sequential: give the model"):
        ravine.record(network(), rule)
    with pytest.raises(TypeError, match="criterion must be a module.*recorder.loss"):
        ravine.record(model, rule, torch.nn.functional.mse_loss)
    with pytest.raises(TypeError, match="optimizer must be a torch.optim.Optimizer, or a list of them, got 'sgd'"):
        ravine.record(model, "sgd")
    with pytest.raises(ValueError, match="the list of optimizers is empty"):
        ravine.record(model, [])
    for every in (0, -1, 1.5, True, "often"):
        with pytest.raises(ValueError, match='every must be "auto" or a whole number'):
            ravine.record(model, rule, every=every)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got the function record"):
        ravine.record(ravine.record, rule)
