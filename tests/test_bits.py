"""Which bits are torch's: what is found by trial is held against live torch, on whatever processor this is."""

from __future__ import annotations

import copy
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._engine import batched, choose, gradients, reference
from ravine._engine.keep import Buffer
from ravine._engine.make_job import make_job
from ravine._problem import order
from ravine._store.store import Store
from ravine._study.provenance import Agreement, describe
from ravine._sweep import plan

CRITERIA = ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"]
DTYPES = [torch.float32, torch.float64]
SIZES = [(1, 1), (1, 3), (5, 2), (5, 4), (50, 1), (50, 3), (50, 5), (1000, 2), (10_000, 1)]
CAPABLE = platform.machine() in ("x86_64", "AMD64") and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
ONE_CYCLE = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=21)
ENVIRONMENTS = [{"MKL_CBWR": "COMPATIBLE"}, {"MKL_CBWR": "AVX2"}, {"ATEN_CPU_CAPABILITY": "default"}]


def in_dtype(problem, dtype):
    return problem if dtype == torch.float32 else problem.in_double()


def neuron_on(random, samples, features, criterion, dtype):
    x = torch.from_numpy(random.normal(size=(samples, features)) * random.uniform(0.2, 4)).to(dtype)
    y = torch.from_numpy(random.normal(size=(samples, 1)) * 3).to(dtype)
    model = torch.nn.utils.skip_init(torch.nn.Linear, features, 1, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(random.normal(size=(1, features)) * 3))
        model.bias.fill_(random.normal() * 3)
    return ravine.Problem.of(model, criterion, (x, y))


def random_settings(random):
    """640 combinations, 440 of them valid, divergent and useless ones among them."""
    return {
        "lr": 10.0 ** random.uniform(-3, 1.5, 10),
        "momentum": [0.0, *random.uniform(0.01, 1.05, 3)],
        "dampening": [0.0, random.uniform(0, 1)],
        "weight_decay": [0.0, 10.0 ** random.uniform(-2, 1)],
        "nesterov": [False, True],
        "maximize": [False, True],
    }


def valid_runs(runs, settings):
    """The place of each run that torch takes, and its settings."""
    for place in np.ndindex(*(runs.sizes[name] for name in settings)):
        given = {name: runs[name].values[k].item() for name, k in zip(settings, place, strict=True)}
        if not (given["nesterov"] and (given["momentum"] <= 0 or given["dampening"] != 0)):
            yield place, given


def claims_every_bit(runs):
    facts = describe(runs, "loss")
    assert facts["engine"] == "SGD's rule on a batch, gradient written out"
    if facts["why"].startswith(
        "every bit"
    ):  # of the positions that were tried; what whole runs showed is said beside it
        exact = facts["equals_torch"].startswith("every bit")
        assert exact or not CAPABLE
        return exact
    assert facts["why"].startswith("none of the orders of operations")
    return False


def check_runs(problem, runs, places, steps):
    """Equal in every bit where that is said, else each loss and step within the bound of rounding."""
    exact, parts = claims_every_bit(runs), problem.parts
    for place, given in places:
        position, loss = runs.position.values[place], runs.loss.values[place]
        if exact:
            expected = bare.train(parts.model, parts.criterion, parts.inputs, parts.targets, steps=steps, **given)
            assert bare.same_bits(position, expected[0]), given
            assert bare.same_bits(loss, expected[1]), given
            continue
        there = torch.from_numpy(position.T.copy())
        room, _ = gradients.rounding_of_neuron(problem, there)
        for step, point in enumerate(there.T):
            alone = problem.loss({"weight": point[:-1].reshape(1, -1), "bias": point[-1:]}).item()
            off = abs(loss[step] - alone)
            assert off <= room[step] or not abs(alone) < torch.finfo(there.dtype).max / 1e3, (given, step)


def one_of_each_kind(random, settings, places):
    """Of runs that differ in lr alone one: of those after one another the lr is another, and all of them occur."""
    kinds = {}
    for place, given in places:
        kinds.setdefault(place[1:], []).append((place, given))
    first = int(random.integers(len(settings["lr"])))
    chosen = [alike[(first + k) % len(alike)] for k, alike in enumerate(kinds.values())]
    return [places[0], *chosen, places[-1]]  # where blocks and lanes begin and end


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_four_hundred_random_settings(article, criterion, dtype, random, whole):
    """Each combination of the other settings is held against live torch at one lr; with ``-m slow`` at each of ten."""
    problem = in_dtype(article[criterion], dtype)
    settings = random_settings(random)
    runs = ravine.sweep(problem, steps=12, **settings)
    places = list(valid_runs(runs, settings))
    assert len(places) >= 400
    chosen = places if whole else one_of_each_kind(random, settings, places)
    assert len(chosen) >= 40
    assert {given["lr"] for _, given in chosen} == set(runs.lr.values.tolist())
    check_runs(problem, runs, chosen, 12)
    if CAPABLE:  # here an order of operations with torch's bits is known
        assert claims_every_bit(runs)
        assert describe(runs, "loss")["equals_torch"] == "every bit, 16 whole runs of 12 steps compared"
    last = runs.loss.values[..., -1]
    assert np.isfinite(last).any()
    assert criterion != "MSELoss" or not np.isfinite(last).all() or last.max() > 1e10


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("samples", "features"), SIZES)
def test_own_data(samples, features, dtype, random):
    """Each size in both types, and with both criteria: the one in float32 and the other in float64, in turn."""
    straight = (SIZES.index((samples, features)) + DTYPES.index(dtype)) % 2
    criterion = torch.nn.MSELoss() if straight else torch.nn.HuberLoss(delta=0.7)
    problem = neuron_on(random, samples, features, criterion, dtype)
    settings = random_settings(random)
    runs = ravine.sweep(problem, steps=4, **settings)
    places = list(valid_runs(runs, settings))
    some = random.choice(len(places), 25, replace=False)
    check_runs(problem, runs, [places[k] for k in some], 4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [1, 2, 15, 10_001])
def test_the_number_of_runs_changes_no_bit(article, count, dtype, monkeypatch):
    """Also where the last block is smaller, or one run."""
    problem = in_dtype(article["MSELoss"], dtype)
    rates = np.geomspace(1e-3, 3, count)
    monkeypatch.setattr(batched, "MOST_RUNS", 10_000)
    runs = ravine.sweep(problem, lr=rates, momentum=0.9, weight_decay=0.01, steps=40)
    exact = claims_every_bit(runs)
    assert exact or not CAPABLE
    for k in {0, count // 3, count - 1} if exact else ():
        parts, given = problem.parts, {"lr": rates[k], "momentum": 0.9, "weight_decay": 0.01}
        position, loss = bare.train(parts.model, parts.criterion, parts.inputs, parts.targets, steps=40, **given)
        assert bare.same_bits(runs.position[k], position), k
        assert bare.same_bits(runs.loss[k], loss), k
    monkeypatch.setattr(batched, "MOST_RUNS", 7)
    some = ravine.sweep(problem, lr=rates[:50], momentum=0.9, weight_decay=0.01, steps=40)
    if exact and claims_every_bit(some):
        assert bare.same_bits(some.position, runs.position[:50])
    else:
        assert not CAPABLE
        room = 50 * np.finfo(runs.position.dtype).eps
        assert np.allclose(some.position, runs.position[:50], rtol=room, atol=room)


@pytest.mark.parametrize("fails", [False, True], ids=["all at once", "one of them fails"])
def test_whole_runs_are_walked_once_for_all_blocks(article, fails, monkeypatch):
    walks, walk = [], reference.TorchReference._walk

    def watched(self, runs, steps, **how):
        if steps == 40:
            walks.append(len(runs))
            if fails and len(runs) == 16:
                raise ArithmeticError
        return walk(self, runs, steps, **how)

    monkeypatch.setattr(reference.TorchReference, "_walk", watched)
    monkeypatch.setattr(batched, "MOST_RUNS", 25)
    runs = ravine.sweep(article["MSELoss"], lr=np.geomspace(1e-3, 1, 100), steps=40, keep="summary")
    words = describe(runs, "final_loss")["equals_torch"]
    assert words.startswith("every bit") or not CAPABLE
    if words.startswith("every bit"):
        assert words == "every bit, 16 whole runs of 40 steps compared, by their losses"
        assert walks[0] == 16
        assert len(walks) == (5 if fails else 1)


@pytest.mark.parametrize("how", [{}, {"scheduler": ONE_CYCLE}], ids=["plain", "scheduled"])
def test_torch_is_led_along_each_whole_run_once_where_paths_are_kept(article, how, monkeypatch):
    followed, follow = [], reference.TorchReference._follows

    def watched(self, runs, position, loss):
        followed.extend(runs.tolist())
        return follow(self, runs, position, loss)

    def walked(self, runs):
        raise AssertionError("what equals torch needs no walk")

    settings = {"lr": np.geomspace(1e-3, 0.3, 100), "momentum": 0.5, "steps": 20, **how}
    exact = claims_every_bit(ravine.sweep(article["MSELoss"], **settings))
    if not CAPABLE and not exact:
        pytest.skip("no order with torch's bits is known here")
    assert exact
    monkeypatch.setattr(reference.TorchReference, "_follows", watched)
    monkeypatch.setattr(reference.TorchReference, "_bundles", walked)
    monkeypatch.setattr(batched, "MOST_RUNS", 25)
    runs = ravine.sweep(article["MSELoss"], **settings)
    assert describe(runs, "loss")["equals_torch"] == "every bit, 16 whole runs of 20 steps compared"
    assert len(followed) == len(set(followed)) == 16


def test_near_a_minimum_nothing_is_refused_for_rounding_alone(article):
    """What is left of a sum that cancels is no measure of its rounding: this sweep once went run by run."""
    for problem in (article["MSELoss"], article["MSELoss"].in_double()):
        minimum = ravine.landmarks(problem)
        there = {name: float(minimum.minimizer.sel(parameter=name)) for name in ("weight", "bias")}
        for begun in (problem, problem.starting_at(there)):
            for engine in (None, "autograd"):
                runs = ravine.sweep(begun, lr=[0.3, 0.4], momentum=[0.0, 0.05], engine=engine)
                assert "on a batch" in describe(runs, "loss")["engine"]


def order_of_sums(monkeypatch, wrong):
    """Take the forms with torch's bits away: gradients are added up backwards, and made `wrong` times as large."""
    monkeypatch.setenv("RAVINE_KERNEL", "off")

    def backwards(inputs):
        def add(slopes, out):
            out.copy_(torch.mm(slopes.flip(1), inputs.flip(0)).T * wrong)

        return {"bmm": add}

    monkeypatch.setattr(gradients, "backward_forms", backwards)
    monkeypatch.setattr(order, "backward_forms", backwards)
    monkeypatch.setattr(order, "_remembered", {})


def test_another_order_of_sums_is_taken_and_said(article, monkeypatch):
    order_of_sums(monkeypatch, 1.0)
    for name, criterion in article.items():
        runs = ravine.sweep(criterion, lr=np.geomspace(1e-3, 1, 30), momentum=[0.0, 0.9], steps=60)
        facts = describe(runs, "loss")
        assert facts["engine"] == "SGD's rule on a batch, gradient written out", name
        assert facts["why"].startswith("none of the orders of operations tried has torch's bits at 112 positions")
        assert "of torch; " in facts["equals_torch"]
        assert " of 16 whole runs in every bit; torch in float32 is " in facts["equals_torch"]
        near = float(facts["equals_torch"].split()[1])
        assert 0 < near < 0.1 if name == "L1Loss" else 0 < near < 1e-4


def test_a_gradient_a_hundredth_of_a_percent_off_is_refused(article, monkeypatch):
    order_of_sums(monkeypatch, 1.0001)
    facts = describe(ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=10), "loss")
    if facts["engine"] == "SGD's rule on a batch, gradient written out":  # as a chain of one layer, with torch's bits
        assert "operations at once" in facts["why"]
        assert facts["equals_torch"].startswith("every bit")
    else:
        assert facts["engine"] == "SGD's rule on a batch, gradient by autograd"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_bound_of_rounding_holds_and_is_no_more_than_that(article, criterion, dtype, random):
    """Sums in a random order stay within it, at the minimum as anywhere, and it is a few units of what is summed."""
    problem = in_dtype(article[criterion], dtype)
    x, y = problem.parts.inputs, problem.parts.targets
    minimum = ravine.landmarks(problem).minimizer.values
    for scale in (0.0, 1e-6, 1.0, 100.0):
        place = torch.from_numpy(minimum + scale * random.normal(size=2)).to(dtype)
        room, slopes = gradients.rounding_of_neuron(problem, place[:, None])
        found = []
        for _ in range(20):
            mixed = torch.from_numpy(random.permutation(len(x)))
            leaves = [place[:1].reshape(1, 1).clone().requires_grad_(), place[1:].clone().requires_grad_()]
            loss = problem.parts.criterion(torch.nn.functional.linear(x[mixed], *leaves), y[mixed])
            grads = torch.autograd.grad(loss, leaves)
            found.append([loss.item(), *(each.item() for each in grads)])
        spread = np.ptp(np.array(found), axis=0)
        bound = np.array([room.item(), *slopes[:, 0].tolist()])
        assert (spread <= bound).all(), scale
        unit = torch.finfo(dtype).eps
        residual = np.abs(found[0][0]) + scale**2 + scale + 10
        assert (bound[1:] < 1e4 * unit * residual).all() or criterion == "L1Loss"  # a sign may turn near a kink


class Drifting(torch.nn.Module):
    """A batch sees the mean over the runs: vmap raises no error, and other numbers come out."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return Shared.apply(self.factor) * x


class Shared(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(value):
        return value * 1.0

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad

    @staticmethod
    def vmap(info, in_dims, value):
        return value * 0.5 + value.mean() * 0.5, 0


def small_network(*middle, train=True):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = torch.nn.Sequential(torch.nn.Linear(1, 6), *middle, torch.nn.Linear(6, 1))
    return network.train(train)


class Branching(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.factor * x if self.factor > 1 else 3 * self.factor * x


@pytest.mark.parametrize(
    ("model", "stacked"),
    [
        (Drifting(), False),
        (Branching(), False),
        (small_network(torch.nn.Dropout(0.5)), False),
        (small_network(torch.nn.BatchNorm1d(6)), False),
        (small_network(torch.nn.Dropout(0.5), train=False), True),
        (small_network(torch.nn.BatchNorm1d(6), train=False), True),
        (small_network(torch.nn.Tanh()), True),
    ],
    ids=["mean over runs", "branch", "dropout", "batchnorm", "dropout in eval", "batchnorm in eval", "tanh"],
)
def test_a_loss_that_is_another_on_a_batch_is_found(model, stacked):
    x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (x, x**2))
    runs = ravine.sweep(problem, lr=[0.01, 0.1, 0.2], steps=6)
    facts = describe(runs, "loss")
    assert ("on a batch" in facts["engine"]) == stacked
    if not stacked:
        assert facts["engine"] == "SGD, run by run"
        assert facts["why"]
        assert bare.same_bits(runs.loss[1], ravine.sweep(problem, lr=[0.1], steps=6, engine="torch").loss[0])


def test_rounding_is_no_reason_where_what_was_summed_is_not_known():
    """Large numbers cancel inside of the loss, at its minimum: no gradient is left to measure their rounding by."""
    x = torch.linspace(-1, 1, 64).reshape(-1, 1)
    with torch.random.fork_rng():
        network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.linspace(-1.7, 1.3, parameter.numel()).reshape(parameter.shape))
        y = network(x)
    for dtype in DTYPES:
        twin = copy.deepcopy(network).to(dtype)
        with torch.no_grad():
            twin[2].bias += 1e4
        problem = ravine.Problem.of(twin, torch.nn.MSELoss(), (x.to(dtype), y.to(dtype) + 1e4))
        runs = ravine.sweep(problem, lr=[1e-9, 1e-8, 2e-8], steps=12, engine="autograd")
        assert describe(runs, "loss")["engine"] == "SGD's rule on a batch, gradient by autograd"


def test_whole_runs_are_of_all_kinds(article):
    """From the first to the last value of each setting, valid ones alone, and others for another seed."""
    settings = random_settings(np.random.default_rng(0)) | {"lr": np.geomspace(1e-3, 3, 200)}
    runs = ravine.sweep(article["MSELoss"], steps=1, **settings)
    assert describe(runs, "loss")["equals_torch"].startswith("every bit, 16 whole runs") or not CAPABLE
    job = plan_of(article["MSELoss"], settings).job
    chosen = job.refusals.some_kinds(16, 0)
    assert len(set(chosen.tolist())) == 16
    assert (job.refusals.at(chosen) == "").all()
    columns = job.inner.columns(chosen)
    assert columns["lr"].min() < 2e-3
    assert columns["lr"].max() > 1.5
    for name in ("momentum", "dampening", "weight_decay", "nesterov", "maximize"):
        assert len(set(columns[name].tolist())) > 1, name
    assert not np.array_equal(chosen, job.refusals.some_kinds(16, 1))
    few = plan_of(article["MSELoss"], {"lr": [0.1, -1.0, 0.2]}).job
    assert few.refusals.some_kinds(16, 0).tolist() == [0, 2]


def plan_of(problem, settings, steps=20):
    from ravine._descent.run_spec import RunSpec

    spec = RunSpec(torch.optim.SGD, steps, {}, None, {}, None, frozenset(), throw=False)
    return plan.make_plan(make_job(problem, spec, settings, None, 0), None, summary=False)


def test_one_run_that_is_off_changes_the_words(article):
    made = plan_of(article["MSELoss"], {"lr": np.geomspace(1e-3, 0.5, 40)})
    engine, whole = made.engines[0], slice(0, 40)
    result = made.make(whole, lambda amount: None)
    loss, position = (torch.from_numpy(result.kept[name][1].copy()) for name in ("loss", "position"))
    steps_first = Buffer(loss.T.contiguous(), position.permute(1, 2, 0).contiguous(), None)
    before = engine.compare(whole, steps_first)
    assert before.compared == 16
    if CAPABLE:
        assert before.equal == 16
        run = int(engine.reference.runs[3])
        steps_first.position[7, 0, run] = torch.nextafter(steps_first.position[7, 0, run], torch.tensor(1e9))
        after = engine.compare(whole, steps_first)
        assert after.equal == 15
        assert str(after).startswith("within ")
        assert "; 15 of 16 whole runs in every bit; torch in float32 is " in str(after)
        assert 0 < after.off < 3e-7


@pytest.mark.skipif(not CAPABLE, reason="no order with torch's bits is known here")
@pytest.mark.parametrize("at_once", [1, 6, 21], ids=str)
@pytest.mark.parametrize("step", [0, 7, 20])
@pytest.mark.parametrize("what", ["position", "loss"])
def test_one_bit_that_is_off_is_seen_wherever_it_stands(article, what, step, at_once, monkeypatch):
    made = plan_of(article["MSELoss"], {"lr": np.geomspace(1e-3, 0.5, 40)})
    engine, whole = made.engines[0], slice(0, 40)
    result = made.make(whole, lambda amount: None)
    loss, position = (torch.from_numpy(result.kept[name][1].copy()) for name in ("loss", "position"))
    record = Buffer(loss.T.contiguous(), position.permute(1, 2, 0).contiguous(), None)
    monkeypatch.setattr(reference, "HELD_BYTES", at_once * 16 * (2 * 50 + 64) * 4)
    assert engine.compare(whole, record).equal == 16
    run = int(engine.reference.runs[9])
    numbers = record.position[step, 1] if what == "position" else record.loss[step]
    numbers[run : run + 1].view(torch.int32).bitwise_xor_(1)
    assert engine.compare(whole, record).equal == 15


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 112, 500])
def test_every_position_is_tried_however_small_the_block(runs):
    """A form that is off at one position alone is not taken: a block of two once left a third of them out."""
    count = 112
    places = torch.arange(count).double()
    values = order.TorchValues(places[None], places, torch.ones_like(places[None]))
    for off in (0, 79, 80, 81, count - 1):

        def evaluate(position, losses, gradients, off=off):
            losses.copy_(position[0])
            found = torch.ones_like(position)
            found[0, position[0] == off] = torch.nextafter(found[0, 0], torch.tensor(2.0).double())
            return found

        assert not order.has_bits(evaluate, values, runs)
        assert order.has_bits(lambda *told: evaluate(*told, off=-1), values, runs)


def test_agreement_is_counted_over_blocks():
    whole = Agreement(3, 3, steps=10)
    whole.join(Agreement(2, 1, off=1e-7, own=2e-6, steps=10))
    assert str(whole) == (
        "within 1e-7 of torch; 4 of 5 whole runs in every bit; torch in float32 is 2e-6 off torch in float64 there"
    )
    whole.join(Agreement(strays=1200))
    assert str(whole).endswith("; 1,200 runs were made on a processor with other last bits")
    unknown = Agreement(2, 1, off=1e-7, own=None)
    unknown.join(Agreement(2, 1, off=1e-8, own=3.0))
    assert str(unknown) == "within 1e-7 of torch; 2 of 4 whole runs in every bit; torch in float64 fails there"
    assert str(Agreement(1, 1, steps=1, kept="losses")) == "every bit, 1 whole run of 1 step compared, by their losses"


def test_a_loss_with_tensors_of_its_own_dtype_is_compared(tmp_path):
    held = torch.tensor(np.diag([1.0, 2.0, 3.0, 4.0]) + 0.1, dtype=torch.float32)
    begin = {"t": torch.tensor([1.0, 2.0, 0.3, 0.7])}
    settings = {"lr": [0.01, 0.1, 0.3], "weight_decay": [0.0, 0.1], "steps": 100}
    fixed = ravine.Problem(lambda p: 0.5 * p["t"] @ (held @ p["t"]), start=begin)
    moving = ravine.Problem(lambda p: 0.5 * p["t"] @ (held.to(p["t"].dtype) @ p["t"]), start=begin)
    told = describe(ravine.sweep(fixed, "adam", **settings), "loss")["equals_torch"]
    other = describe(ravine.sweep(moving, "adam", **settings), "loss")["equals_torch"]
    assert told.split(";")[:2] == other.split(";")[:2]
    assert "of 6 whole runs in every bit" in told or told.startswith("every bit, 6 whole runs")
    stored = ravine.sweep(fixed, "adam", store=tmp_path / "runs.zarr", **settings)
    assert describe(stored, "loss")["equals_torch"] == told


def test_blocks_of_a_store_and_of_workers_say_the_same(article, tmp_path):
    settings = {"lr": np.geomspace(1e-3, 1, 30), "momentum": [0.0, 0.5, 0.9], "steps": 30}
    here = ravine.sweep(article["MSELoss"], **settings)
    stored = ravine.sweep(article["MSELoss"], store=tmp_path / "runs.zarr", **settings)
    with ProcessPoolExecutor(1) as pool:
        elsewhere = ravine.sweep(article["MSELoss"], executor=pool, **settings)
    words = describe(here, "loss")["equals_torch"]
    assert "16 whole runs" in words
    for runs in (stored, elsewhere):
        assert describe(runs, "loss")["equals_torch"] == words
        assert describe(runs, "loss")["why"] == describe(here, "loss")["why"]
        assert bare.same_bits(runs.position, here.position)


def test_a_store_is_not_gone_on_with_where_sums_round_otherwise(article, tmp_path, monkeypatch):
    settings = {"lr": [0.1, 0.2], "momentum": [0.0, 0.5], "steps": 10, "store": tmp_path / "runs.zarr"}
    ravine.sweep(article["MSELoss"], **settings)
    order_of_sums(monkeypatch, 1.0)
    words = r"block 0 .* was made again, and .* of run \d .* came out otherwise.* another processor .it was begun on "
    with pytest.raises(ValueError, match=words):
        ravine.sweep(article["MSELoss"], **settings)
    Store(settings["store"]).forget(0)  # nothing that could be made again
    words = r"holds another sweep: rounding was of its sums .* On another processor the same sums may round otherwise"
    with pytest.raises(ValueError, match=words):
        ravine.sweep(article["MSELoss"], **settings)


def test_a_worker_on_another_processor_is_told(article, monkeypatch):
    """What it gives is held against what the engine gave where the sweep was planned."""
    made = plan_of(article["MSELoss"], {"lr": np.geomspace(1e-3, 0.5, 20)})
    packed = cloudpickle.dumps(made.engines[0].evaluate)
    same = copy.copy(made.engines[0])
    same.__dict__ |= {"evaluate": cloudpickle.loads(packed), "at_home": False}
    assert same.has_same_bits
    order_of_sums(monkeypatch, 1.0)
    other = copy.copy(made.engines[0])
    other.__dict__ |= {"evaluate": cloudpickle.loads(packed), "at_home": False}
    assert not other.has_same_bits


def test_a_slow_sweep_says_so_before_it_starts(article, monkeypatch):
    monkeypatch.setattr(plan, "SLOW_SECONDS", 0.0)
    problem = article["MSELoss"]
    for more, why in (
        ({"optimizer": torch.optim.ASGD}, "ASGD is none of torch's optimizers whose rule is known"),
        ({"groups": {"bias": {"lr": 0.1}}}, "groups is for runs one by one; leave it out"),
    ):
        with pytest.warns(UserWarning, match=rf"2 runs go one by one, about .* by a few timed steps: {why}"):
            runs = ravine.sweep(problem, lr=[0.1, 0.2], steps=3, **more)
        facts = describe(runs, "loss")
        assert facts["engine"].endswith("run by run")
        assert facts["why"].startswith(why.split(";")[0])
    network = ravine.Problem.of(Branching(), torch.nn.MSELoss(), (problem.parts.inputs, problem.parts.targets))
    with pytest.warns(UserWarning, match=r"RuntimeError: .*; a loss that torch.func.vmap can batch is run thousands"):
        ravine.sweep(network, lr=[0.1, 0.2], steps=3)
    asked = ravine.sweep(problem, lr=[0.1, 0.2], steps=3, engine="torch")  # who asks for it knows
    assert describe(asked, "loss")["why"] == 'engine="torch" was asked for'


def test_a_fast_sweep_says_nothing(article, monkeypatch):
    monkeypatch.setattr(plan, "SLOW_SECONDS", 0.0)
    ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=3)


def test_runs_alone_have_the_bits_of_a_backward_pass(article):
    """What stands in for torch's own model in whole runs is tried first, and left where it does not fit."""
    made = plan_of(article["HuberLoss"], {"lr": np.geomspace(1e-3, 0.5, 20), "momentum": [0.0, 0.9]})
    held = made.engines[0].reference
    assert held.alone
    live = reference.TorchReference(made.job, 0)
    for one, other in zip(held._walk(held.runs, 20), live._walk(live.runs, 20), strict=True):
        assert all(order.same_bits(a, b) for a, b in zip(one[:2], other[:2], strict=True))
    values = live.first_values()
    off = order.TorchValues(values.position, values.loss, values.gradient * 1.0000002)
    live.try_alone(off)
    assert not live.alone
    engine = made.engines[0]
    engine.reference = live
    result = made.make(slice(0, 40), lambda amount: None)
    assert result.agreement[0].compared == 16


def test_threads_are_left_as_they_are(article, monkeypatch):
    """Also where runs are off, and torch in float64 walks beside."""
    order_of_sums(monkeypatch, 1.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2, 0.3], steps=10)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert describe(runs, "loss")["equals_torch"].startswith("within")


def test_positions_repeat_where_a_sweep_has_but_one(article):
    runs = ravine.sweep(article["MSELoss"], lr=0.1, steps=0)
    assert "at 2 positions" in describe(runs, "loss")["why"]
    assert describe(runs, "loss")["equals_torch"].endswith("1 whole run of 0 steps compared")


PROBE = """
import hashlib, json, sys
import torch
from ravine._problem.order import backward_forms, forward_forms
import ravine
from ravine._study.provenance import describe
torch.set_num_threads(1)
seen, found = hashlib.sha256(), {}
for samples, features in ((50, 1), (50, 3), (1000, 2)):
    for dtype in (torch.float32, torch.float64):
        random = torch.Generator().manual_seed(samples + features)
        x, y = (torch.randn(samples, k, generator=random, dtype=torch.float64).to(dtype) for k in (features, 1))
        model = torch.nn.utils.skip_init(torch.nn.Linear, features, 1, dtype=dtype)
        with torch.no_grad():
            model.weight.fill_(0.7)
            model.bias.fill_(-1.3)
        problem = ravine.Problem.of(model, torch.nn.MSELoss(), (x, y))
        run = ravine.descend(problem, lr=0.05, momentum=0.9, weight_decay=0.01, steps=30)
        seen.update(run.position.values.tobytes())
        runs = ravine.sweep(problem, lr=[0.01 * k for k in range(1, 40)], steps=5)
        found[f"{samples} by {features} {dtype}"] = describe(runs, "loss")["why"]
if len(sys.argv) > 1:
    sys.path.insert(0, sys.argv[1])
    import numpy, test_bits
    chance = numpy.random.default_rng()
    test_bits.test_four_hundred_random_settings(ravine.gallery.article(), "MSELoss", torch.float32, chance, False)
    test_bits.test_own_data(50, 3, torch.float64, chance)
capability = torch.backends.cpu.get_cpu_capability()
print(json.dumps({"torch": seen.hexdigest()[:12], "orders": found, "capability": capability}))
"""


FORKS = """
import contextlib, importlib, json, os, sys
for name in ("torch._dynamo", "ravine._sweep.sweep", "ravine._engine.make_job", "dask.array", "bare", "pytest"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
here, probe, *environments = sys.argv[1:]
for more in map(json.loads, environments):
    child = os.fork()
    if not child:
        os.environ.update(more)
        sys.argv[1:] = [here] * bool(more)
        exec(probe)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, more
"""
"""Imports what takes long, and forks for each environment before anything is computed: it is then that torch's
libraries look at what they find there."""


@pytest.mark.skipif(not CAPABLE, reason="nothing to take away from this processor")
def test_the_bits_hold_under_other_libraries_orders():
    """Other processors, as far as the environment makes this one like them; some change nothing on some processors."""
    environments = [{}, *ENVIRONMENTS]
    words = [sys.executable, "-c", FORKS, str(Path(__file__).parent), PROBE, *map(json.dumps, environments)]
    places = os.pathsep.join(sys.path)
    asked = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    ended = subprocess.run(words, env=asked, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = dict(zip(map(str, environments), map(json.loads, ended.stdout.splitlines()), strict=True))
    for name, each in found.items():
        print(name, *(f"\n    {which}: {why}" for which, why in each["orders"].items()))
    assert found["{'ATEN_CPU_CAPABILITY': 'default'}"]["capability"] == "DEFAULT"  # else it was looked for before
    bits = {name: each["torch"] for name, each in found.items()}
    assert len(set(bits.values())) > 1, bits  # without fused operations, which all of these processors have, at least


@pytest.mark.skipif(not CAPABLE, reason="no order with torch's bits is known here")
def test_a_grid_has_the_bits_of_the_layer(article, random):
    low, high = sorted(random.uniform(-9, 9, 2))
    land = ravine.surface(article, bias=(low, high), weight=(low, high), points=31)
    said = describe(land, "surface")["equals_torch"]
    for words in [said] if isinstance(said, str) else [said[name] for name in CRITERIA]:
        assert words.startswith("every bit, at ")
    for name in CRITERIA:
        parts = article[name].parts
        for row, column in random.integers(31, size=(40, 2)):
            weight = torch.tensor(land.weight.values[row], dtype=torch.float32).reshape(1, 1)
            bias = torch.tensor(land.bias.values[column], dtype=torch.float32).reshape(1)
            loss = parts.criterion(torch.nn.functional.linear(parts.inputs, weight, bias), parts.targets)
            assert loss.item() == land.surface.sel(criterion=name).values[row, column]


def test_the_bound_is_taken_on_the_agreeing_side(article):
    """`agrees` says no where one position of a hundred is off by more than rounding."""
    made = plan_of(article["MSELoss"], {"lr": np.geomspace(1e-3, 0.5, 20), "momentum": [0.0, 0.9]})
    engine = made.engines[0]
    values, problem = engine.evaluate.values, engine.reference.problem
    assert choose.agrees(engine.evaluate, values, problem)
    wrong = values.gradient.clone()
    wrong[0, 50] *= 1.001
    assert not choose.agrees(engine.evaluate, order.TorchValues(values.position, values.loss, wrong), problem)
    wrong = values.loss.clone()
    wrong[70] += 0.001
    assert not choose.agrees(engine.evaluate, order.TorchValues(values.position, wrong, values.gradient), problem)
