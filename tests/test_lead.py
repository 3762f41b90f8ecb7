"""Torch's steps along a path: all steps of SGD by one call lead where they lead one after the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ravine._engine.lead import AllAtOnce, StepByStep
from ravine._engine.rules.rule import Settings
from ravine._engine.rules.sgd import SGD

RUNS, STEPS = 3, 40

TURNED = [
    {"momentum": [0.0, 0.5, 0.99]},
    {"momentum": [0.9, 0.9, 0.9], "dampening": [0.0, 0.3, 1.0]},
    {"momentum": [0.9, 0.0, 0.5], "weight_decay": [0.1, 0.0, 3.0], "maximize": [False, True, True]},
    {"momentum": [0.9, 0.8, 0.1], "nesterov": [True, False, True], "weight_decay": [0.0, 1e-3, 0.2]},
]


def settings_of(run, turned):
    return {"lr": 0.1 * (run + 1), **{name: values[run] for name, values in turned.items()}}


def make_optimizer(turned):
    def make(leaves):
        groups = [{"params": list(each), **settings_of(run, turned)} for run, each in enumerate(leaves)]
        return torch.optim.SGD(groups), []

    return make


def columns_of(turned, like):
    columns = {name: np.array([settings_of(run, turned)[name] for run in range(RUNS)]) for name in ("lr", *turned)}
    return Settings(columns, SGD.defaults, RUNS, like)


def path_of(turned, dtype):
    """A path that torch's own optimizer takes, run by run, down slopes that hang on nothing."""
    random = torch.Generator().manual_seed(len(turned))
    starts = torch.randn(RUNS, 2, generator=random, dtype=dtype)
    slopes = torch.randn(STEPS, RUNS, 2, generator=random, dtype=dtype)
    places = torch.empty(STEPS + 1, RUNS, 2, dtype=dtype)
    for run, start in enumerate(starts):
        leaf = start.clone()
        optimizer = torch.optim.SGD([leaf], **settings_of(run, turned))
        for step in range(STEPS):
            places[step, run] = leaf
            leaf.grad = slopes[step, run].clone()
            optimizer.step()
        places[STEPS, run] = leaf
    return places, slopes


def lead_of(way, turned, places):
    if way == "one by one":
        return StepByStep(make_optimizer(turned), places[0].clone())
    return AllAtOnce(make_optimizer(turned), SGD(columns_of(turned, places[0]), places[0].T))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("turned", TURNED, ids=lambda turned: "-".join(turned))
@pytest.mark.parametrize("way", ["one by one", "at once"])
@pytest.mark.parametrize("cuts", [(), (1,), (7, 8, 39)], ids=str)
def test_both_ways_lead_where_torch_goes(way, turned, dtype, cuts):
    places, slopes = path_of(turned, dtype)
    lead = lead_of(way, turned, places)
    for first, last in itertools.pairwise([0, *cuts, STEPS]):
        assert torch.equal(lead.along(places[first:last], slopes[first:last]), places[first + 1 : last + 1])


@pytest.mark.parametrize("step", [0, 1, 20, STEPS - 1])
def test_a_place_that_is_off_leads_elsewhere(step):
    places, slopes = path_of(TURNED[0], torch.float32)
    off = places.clone()
    off[step, 1, 0] += 1
    found = lead_of("at once", TURNED[0], places).along(off[:STEPS], slopes)
    assert found is not None
    assert not torch.equal(found, off[1:])


@pytest.mark.parametrize("step", [0, 1, 20, STEPS - 2])
def test_a_buffer_that_is_not_torchs_is_seen(step, monkeypatch):
    places, slopes = path_of(TURNED[1], torch.float32)
    lead, remember, calls = lead_of("at once", TURNED[1], places), SGD._remember, itertools.count()

    def remember_amiss(self, grad):
        buf = remember(self, grad)
        if next(calls) == step:
            buf[0, 1] = torch.nextafter(buf[0, 1], torch.tensor(10.0))
        return buf

    monkeypatch.setattr(SGD, "_remember", remember_amiss)
    assert lead.along(places[:STEPS], slopes) is None


def test_numbers_lie_apart_so_that_torch_takes_them_one_by_one(monkeypatch):
    """In vectors torch could round otherwise than for the few numbers of a single run."""
    seen, step = [], torch.optim.SGD.step

    def watched(self, closure=None):
        for group in self.param_groups:
            for leaf in group["params"]:
                held = self.state[leaf].get("momentum_buffer") if leaf in self.state else None
                seen.extend(each.stride() for each in (leaf, leaf.grad, held) if each is not None)
        return step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    places, slopes = path_of(TURNED[0], torch.float32)
    seen.clear()
    monkeypatch.setattr("ravine._engine.lead.step_of", lambda optimizer: optimizer.step)
    lead_of("at once", TURNED[0], places).along(places[:STEPS], slopes)
    assert len(seen) == RUNS * 5
    assert all(min(stride) >= 2 for stride in seen)
