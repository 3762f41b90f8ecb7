"""Measures are held against plain Python, and against minima that an independent solver finds in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch
import xarray as xr

import bare
import ravine
from ravine import measure


def plain_arrival(gaps, limit):
    """The definition, word for word."""
    for k in range(len(gaps)):
        if all(math.isfinite(g) and g <= limit for g in gaps[k:]):
            return float(k)
    return math.nan


def study_of(losses, **more):
    dims = (*"abc"[: losses.ndim - 1], "step")
    return xr.Dataset({"loss": (dims, losses), **more}, {"step": np.arange(losses.shape[-1])})


def test_arrival_on_random_curves():
    random = np.random.default_rng(7)
    losses = 3.0 + 10.0 ** random.uniform(-5, 1, (4, 60, 12)) * np.exp(-0.4 * np.arange(12))
    losses[..., 0] = 3.0 + random.uniform(1, 10, (4, 60))
    for hole, value in (((0, 3, 5), np.nan), ((1, 3, 11), np.inf), ((2, 3, 0), np.nan)):
        losses[hole] = value
    arrived = measure.arrival(study_of(losses, minimum_loss=3.0))
    assert arrived.dims == ("a", "b")
    assert arrived.attrs["long_name"]
    seen = set()
    for place in np.ndindex(4, 60):
        gaps = (losses[place] - 3.0).tolist()
        expected = plain_arrival(gaps, 0.01 * gaps[0]) if math.isfinite(gaps[0]) else math.nan
        assert bare.same_bits(arrived.values[place], expected), place
        seen.add(expected)
    assert len(seen) > 5
    assert np.isnan(arrived.values[0, 3]) or arrived.values[0, 3] > 5


def test_a_start_at_the_minimum_arrives_at_once():
    assert float(measure.arrival(study_of(np.full(4, 2.5), minimum_loss=2.5))) == 0
    assert float(measure.arrival(study_of(np.zeros(4), minimum_loss=0.0))) == 0
    in_float32 = np.full(4, np.float32(0.1))  # the loss's own rounding is no gap
    assert float(measure.arrival(study_of(in_float32, minimum_loss=0.1))) == 0
    assert np.isnan(float(measure.arrival(study_of(np.array([0.0, 1.0]), minimum_loss=0.0))))


def lowest(problem, criterion, decay):
    """The minimum of what is minimised on these data, by scipy, in float64."""
    x, y = (each.double().numpy()[:, 0] for each in (problem.parts.inputs, problem.parts.targets))

    def value(place):
        sizes = np.abs(place[0] * x + place[1] - y)
        each = {"MSELoss": sizes**2, "L1Loss": sizes}.get(criterion, np.where(sizes < 1, sizes**2 / 2, sizes - 0.5))
        return each.mean() + decay / 2 * np.dot(place, place)

    accuracy = {"xatol": 1e-11, "fatol": 1e-15, "maxiter": 5000, "maxfev": 5000}
    return scipy.optimize.minimize(value, [0.8, 2.4], method="Nelder-Mead", options=accuracy).fun


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [12, 104, 110, 110]),
        ({"momentum": 0.9}, [42, 50, 46, 46]),
        ({"momentum": 0.9, "nesterov": True}, [14, 32, 33, 33]),
        ({"momentum": 0.9, "dampening": 0.8}, [46, 54, 56, 56]),
        ({"momentum": 0.9, "nesterov": True, "weight_decay": 2.0}, [6, 13, 13, 13]),
    ],
    ids=str,
)
def test_the_article_arrives_where_theory_says(article, settings, steps):
    runs = ravine.descend(article, lr=0.1, steps=200, **settings)
    minima = [
        lowest(article[str(name)], str(name), settings.get("weight_decay", 0.0)) for name in runs.criterion.values
    ]
    assert measure.arrival(runs.assign(minimum_loss=("criterion", minima))).values.tolist() == steps


def test_objective_on_four_problems(case):
    plain = ravine.descend(case.problem, lr=case.lr, steps=5)
    assert bare.same_bits(measure.objective(plain), plain.loss)
    run = ravine.descend(case.problem, lr=case.lr, steps=5, weight_decay=0.5)
    squares = (run.position.values.astype(np.float64) ** 2).sum(-1)
    assert np.allclose(measure.objective(run), run.loss.values + 0.25 * squares, rtol=1e-12)
    assert measure.objective(run).dims == ("step",)
    apart = ravine.descend(case.problem, torch.optim.AdamW, lr=case.lr, steps=5, weight_decay=0.5)
    assert bare.same_bits(measure.objective(apart), apart.loss)
    with pytest.raises(ValueError, match=r"no 'minimum_loss' .*: runs of a problem that knows its minimizers have it"):
        measure.gap(plain)
    assert not bool(measure.diverged(plain))
    assert np.isnan(measure.first_nonfinite(plain))


def test_decay_may_differ_along_a_dimension(article):
    problem = article["MSELoss"]
    makers = {"none": torch.optim.Adam, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    decays = {"none": 0.0, "adam": 2.0, "adamw": 2.0}
    runs = ravine.join({n: ravine.descend(problem, o, 3, lr=0.1, weight_decay=decays[n]) for n, o in makers.items()})
    assert measure.decay(runs).values.tolist() == [0.0, 2.0, 0.0]
    added = (measure.objective(runs) - runs.loss).isel(step=0)
    assert added.values.tolist() == [0.0, 45.0, 0.0]
    swept = runs.isel(run=0).drop_vars("weight_decay").expand_dims(weight_decay=[0.0, 1.0, 2.0])
    assert (measure.objective(swept) - swept.loss).isel(step=0).values.tolist() == [0.0, 22.5, 45.0]


def test_a_climber_is_refused(article):
    run = ravine.descend(article["MSELoss"], lr=0.01, steps=3, maximize=True)
    for ask in (measure.objective, measure.gap, measure.arrival):
        with pytest.raises(ValueError, match="a run with maximize=True climbs"):
            ask(run)
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="share must lie between 0 and 1"):
            measure.arrival(run, share=share)


def test_divergence(article):
    runs = ravine.join({f"lr {lr}": ravine.descend(article, lr=lr, steps=60) for lr in (0.1, 30.0)})
    broken = ~np.isfinite(runs.loss)
    assert (
        measure.diverged(runs).transpose("run", "criterion").values.tolist()
        == broken.any("step").transpose("run", "criterion").values.tolist()
    )
    first = measure.first_nonfinite(runs).sel(run="lr 30.0", criterion="MSELoss")
    assert float(first) == np.flatnonzero(broken.sel(run="lr 30.0", criterion="MSELoss"))[0]
    assert np.isnan(measure.arrival(runs.assign(minimum_loss=0.0)).sel(run="lr 30.0", criterion="MSELoss"))


def test_thinned_and_ragged_losses():
    losses = np.array([8.0, np.nan, 4.0, np.nan, 0.05, np.nan, 0.01])
    whole = study_of(losses, minimum_loss=0.0)
    assert bool(measure.diverged(whole))  # a NaN that nobody explains is what torch produced
    thinned = whole.assign(loss=whole.loss.assign_attrs(loss_every=2))
    assert not bool(measure.diverged(thinned))
    assert float(measure.arrival(thinned)) == 4
    short = study_of(np.array([[8.0, 0.01, np.nan], [8.0, 4.0, 0.01]]), minimum_loss=0.0, steps_taken=("a", [1, 2]))
    assert measure.arrival(short).values.tolist() == [1, 2]
    assert not measure.diverged(short).any()
    empty = study_of(np.array([[np.nan] * 3, [8.0, 4.0, np.inf]]), error=("a", ["Invalid lr", ""]))
    assert measure.diverged(empty).values.tolist() == [False, True]


def test_mini_batches_say_how_they_are_thinned():
    x = torch.linspace(-1, 1, 40).reshape(-1, 1)
    problem = ravine.Problem.of(torch.nn.utils.skip_init(torch.nn.Linear, 1, 1), torch.nn.MSELoss(), (x, 3 * x + 1))
    problem = problem.starting_at(weight=0.0, bias=0.0)
    run = ravine.descend(problem, lr=0.2, steps=30, batch_size=8, loss_every=7)
    assert np.flatnonzero(measure.evaluated(run)).tolist() == [0, 7, 14, 21, 28, 30]
    assert not bool(measure.diverged(run))
    ravine.plot.losses(run)
