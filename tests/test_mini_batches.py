"""Sweeps on mini-batches: all runs at once, on the batches of torch's own DataLoader, and with the bits of its loop."""

from __future__ import annotations

import functools
import platform
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import bare
import ravine
from ravine._descent.run_spec import RunSpec
from ravine._engine import choose
from ravine._engine.make_job import make_job
from ravine._engine.rules.registry import RULES
from ravine._engine.shuffles import Shuffles
from ravine._study import provenance

KINDS = [getattr(torch.optim, path.rpartition(":")[2]) for path in RULES]
DTYPES = [torch.float32, torch.float64]
CAPABLE = platform.machine() in ("x86_64", "AMD64") and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def neuron_on(random, samples, features, criterion, dtype):
    x = torch.from_numpy(random.normal(size=(samples, features))).to(dtype)
    y = torch.from_numpy(random.normal(size=(samples, 1)) * 3).to(dtype)
    model = torch.nn.utils.skip_init(torch.nn.Linear, features, 1, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(random.normal(size=(1, features)) * 3))
        model.bias.fill_(random.normal() * 3)
    return ravine.Problem.of(model, criterion, (x, y))


def loader_of(inputs, targets, batch_size, seed):
    data = torch.utils.data.TensorDataset(inputs, targets)
    generator = torch.Generator().manual_seed(seed)
    return torch.utils.data.DataLoader(data, batch_size, shuffle=True, generator=generator)


def train(problem, kind, steps, batch_size, seed, scheduler=None, **settings):
    """Positions, losses over all data and losses of batches of a plain loop over torch's own loader."""
    live = problem.live()
    leaves = list(live.leaves.values())
    rule = kind(leaves, **settings)
    schedule = None if scheduler is None else scheduler(rule)
    loader = loader_of(problem.parts.inputs, problem.parts.targets, batch_size, seed)
    positions, whole, seen = [bare.flat(leaves)], [live.loss().item()], []
    while len(seen) < steps:
        for batch in loader:
            rule.zero_grad()
            loss = live.loss_of(*batch)
            loss.backward()
            rule.step()
            if schedule is not None:
                schedule.step()
            seen.append(loss.item())
            positions.append(bare.flat(leaves))
            whole.append(live.loss().item())
            if len(seen) == steps:
                break
    return positions, whole, [*seen, np.nan]


def check_run(run, problem, kind, batch_size, seed, scheduler=None, **settings):
    """Equal in every bit, where that is said."""
    steps = run.sizes["step"] - 1
    positions, whole, seen = train(problem, kind, steps, batch_size, seed, scheduler, **settings)
    assert bare.same_bits(run.position, positions), settings
    assert bare.same_bits(run.loss, whole), settings
    assert bare.same_bits(run.batch_loss, seen), settings


def facts_of(runs):
    facts = provenance.describe(runs, "loss" if "loss" in runs else "final_loss")
    assert facts["engine"].endswith(", on mini-batches")
    return facts


def claims_every_bit(runs):
    """Where forms with torch's bits were found for all sums, whole runs were found to have them."""
    facts = facts_of(runs)
    exact = "none of the orders" not in facts["why"] and "not every bit" not in facts["why"]
    assert facts["equals_torch"].startswith("every bit") or not exact
    return exact


SETTINGS = {"lr_decay": [0.0, 0.3], "betas": [(0.9, 0.99), (0.3, 0.8)], "momentum": [0.0, 0.9], "rho": [0.9, 0.3]}
"""What of each optimizer is swept beside the lr, whichever it has."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_random_settings_of_each_optimizer(article, kind, random):
    """Sizes that divide the samples and such that do not, a few epochs, seeds of their own or swept ones."""
    problem = article["MSELoss"] if random.random() < 0.5 else article["MSELoss"].in_double()
    seeds = [5, int(random.integers(2**31))] if random.random() < 0.5 else int(random.integers(2**31))
    batch_size, steps = int(random.choice([1, 7, 16, 25, 50])), 13
    known = RULES[f"torch.optim.{kind.__name__.lower()}:{kind.__name__}"].defaults
    axes = {name: values for name, values in SETTINGS.items() if name in known}
    axes |= {"weight_decay": [0.0, float(10.0 ** random.uniform(-2, 0))], "maximize": [False, True]}
    rates = [float(rate) for rate in 10.0 ** random.uniform(-3, 0.5, 3)]
    runs = ravine.sweep(problem, kind, steps, batch_size=batch_size, lr=rates, seed=seeds, **axes)
    exact = claims_every_bit(runs)
    assert exact or not CAPABLE
    for _ in range(3 if exact else 0):
        places = {str(d): int(random.integers(runs.sizes[d])) for d in runs.loss.dims if d != "step"}
        given = {name: axes[name][place] for name, place in places.items() if name in axes}
        run = runs.isel(places)
        check_run(run, problem, kind, batch_size, int(run.seed), lr=rates[places["lr"]], **given)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("features", [1, 2, 5])
def test_own_data_and_two_criteria(features, dtype, random):
    of_four = (torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(delta=0.7), torch.nn.SmoothL1Loss(beta=0.3))
    for place in random.permutation(4)[:2]:
        criterion = of_four[place]
        samples = int(random.integers(2, 60))
        batch_size = int(random.integers(1, samples + 1))
        problem = neuron_on(random, samples, features, criterion, dtype)
        rates = [float(rate) for rate in 10.0 ** random.uniform(-3, -0.5, 5)]
        runs = ravine.sweep(problem, steps=9, batch_size=batch_size, lr=rates, momentum=[0.0, 0.8], seed=[1, 2])
        if claims_every_bit(runs):
            k, mu, seed = int(random.integers(5)), float(random.choice([0.0, 0.8])), int(random.integers(1, 3))
            one = runs.isel(lr=k).sel(momentum=mu, seed=seed)
            check_run(one, problem, torch.optim.SGD, batch_size, seed, lr=rates[k], momentum=mu)
        else:
            assert features > 4 or not CAPABLE, (samples, batch_size)
            near = ravine.sweep(problem, steps=1, batch_size=batch_size, lr=rates, seed=[1], engine="torch")
            first = runs.sel(momentum=0.0, seed=[1]).isel(step=slice(2)).position
            np.testing.assert_allclose(first, near.position, rtol=1e-4, atol=1e-4)


@pytest.mark.quick
@pytest.mark.parametrize(("samples", "batch_size"), [(10, 3), (10, 5), (7, 7), (4, 1)])
def test_rows_are_those_of_a_data_loader(samples, batch_size):
    seeds = np.array([9, 0, 2**31 - 1, 9])
    shuffles = Shuffles(samples, batch_size, seeds)
    numbers, step = torch.arange(samples), 0
    loaders = {seed: loader_of(numbers, numbers, batch_size, seed) for seed in set(seeds.tolist())}
    for _ in range(3):
        epoch = {seed: [batch for batch, _ in loader] for seed, loader in loaders.items()}
        for k in range(len(epoch[0])):
            rows = shuffles.rows(step)[shuffles.place]
            assert [row.tolist() for row in rows] == [epoch[seed][k].tolist() for seed in seeds.tolist()]
            step += 1


def test_a_loader_that_draws_otherwise_is_not_guessed(article, monkeypatch):
    monkeypatch.setattr(choose, "deals_as_torch", lambda: False)
    runs = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=3, batch_size=10)
    facts = provenance.describe(runs, "loss")
    assert facts["engine"] == "SGD, run by run"
    assert facts["why"] == "the DataLoader of this torch draws other random numbers than those known"
    assert bare.same_bits(ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=3, batch_size=10).loss, runs.loss)


def test_seeds_of_many_are_those_of_each(article):
    """A run keeps its seed whatever else is in the sweep, and however many are made at once."""
    spec = RunSpec(torch.optim.AdamW, 3, {}, None, {}, None, frozenset(), throw=False)
    axes = {"lr": [0.1, 1, 1e-17], "betas": [(0.9, 0.99), (0.0, 0.5)], "amsgrad": [False, True], "eps": 1e-3}
    for starts in (None, {"here": {"weight": 1.0}, "there": {"weight": 2.0}}):
        job = make_job(article["MSELoss"], spec, axes, starts, 7)
        settings = np.arange(job.inner.size)
        assert job.seeds_of(settings).tolist() == [job.seed_of(setting) for setting in settings.tolist()]
    swept = make_job(article["MSELoss"], spec, axes, None, [3, 1])
    settings = np.arange(swept.inner.size)
    assert swept.seeds_of(settings).tolist() == [swept.seed_of(setting) for setting in settings.tolist()]


def test_under_a_scheduler(article):
    scheduler = functools.partial(lr_scheduler.StepLR, step_size=4)
    runs = ravine.sweep(article["L1Loss"], steps=11, batch_size=20, scheduler=scheduler, lr=[0.01, 0.1], seed=[3])
    if claims_every_bit(runs):
        one = ravine.at(runs, lr=0.1, seed=3)
        check_run(one, article["L1Loss"], torch.optim.SGD, 20, 3, scheduler, lr=0.1)
    assert runs.scheduled_lr.dims == ("lr", "step")


def test_one_run_and_several_problems(article):
    runs = ravine.sweep(article, steps=5, batch_size=6, lr=[0.05])
    for name, problem in article.items():
        one = runs.isel(lr=0).sel(criterion=name)
        check_run(one, problem, torch.optim.SGD, 6, int(one.seed), lr=0.05)


def test_four_problems(article, houses):
    """Whatever autograd takes is stacked too; what has no data has no batches."""
    with torch.random.fork_rng():
        network = torch.nn.Sequential(torch.nn.Linear(1, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    x = torch.linspace(-1, 1, 11, dtype=torch.float64).reshape(-1, 1)
    classes = torch.arange(11) % 2
    problems = {
        "article": article["HuberLoss"],
        "file": ravine.Problem.from_csv(houses[0], standardize=True),
        "network": ravine.Problem.of(network, torch.nn.CrossEntropyLoss(label_smoothing=0.1), (x, classes)),
    }
    for name, problem in problems.items():
        runs = ravine.sweep(problem, "adam", 9, batch_size=4, lr=[1e-3, 1e-2], seed=[1, 2])
        assert ("by autograd" in facts_of(runs)["engine"]) == (name == "network")
        run = ravine.descend(problem, "adam", 9, batch_size=4, lr=1e-2, seed=2)
        one = ravine.at(runs, lr=1e-2, seed=2)
        for variable in ("position", "loss", "batch_loss"):
            np.testing.assert_allclose(one[variable], run[variable], rtol=1e-5, err_msg=name)
    with pytest.raises(ValueError, match="mini-batches need a problem that knows its data"):
        ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-3], batch_size=3)


class OfAllSamples(torch.nn.Module):
    """A criterion that knows how many samples there are: on a batch it fails, as it does in a single run."""

    def forward(self, prediction, target):
        return ((prediction - target) ** 2 * torch.linspace(0, 1, 12)[:, None]).mean()


def test_what_fails_on_a_batch_fails_as_in_a_single_run():
    x = torch.linspace(-1, 1, 12).reshape(-1, 1)
    with torch.random.fork_rng():
        problem = ravine.Problem.of(torch.nn.Linear(1, 1), OfAllSamples(), (x, x))
    with pytest.raises(RuntimeError, match="every run failed; the first with: The size of tensor a"):
        ravine.sweep(problem, lr=[0.1, 0.2], steps=2, batch_size=5)


def test_summaries_stores_and_workers(article, tmp_path):
    sweep = functools.partial(
        ravine.sweep, article["MSELoss"], steps=8, batch_size=15, lr=[0.01, 0.1, -1.0], momentum=[0.0, 0.9]
    )
    whole = sweep()
    assert (whole.error.values == "").tolist() == [[True, True], [True, True], [False, False]]
    assert np.isnan(whole.batch_loss.isel(lr=2)).all()
    sweep(store=tmp_path / "runs.zarr")
    stored = ravine.open(tmp_path / "runs.zarr")
    for name in ("position", "loss", "batch_loss", "seed"):
        assert np.array_equal(stored[name], whole[name], equal_nan=True)
    assert ravine.verify(tmp_path / "runs.zarr") == []
    summary = sweep(keep="summary")
    assert np.array_equal(summary.final_loss, whole.loss[..., -1], equal_nan=True)
    assert facts_of(summary)["equals_torch"].endswith("by their losses")
    with ProcessPoolExecutor(1) as pool:
        elsewhere = sweep(executor=pool)
    assert np.array_equal(elsewhere.batch_loss, whole.batch_loss, equal_nan=True)
    assert facts_of(elsewhere)["equals_torch"] == facts_of(whole)["equals_torch"]
