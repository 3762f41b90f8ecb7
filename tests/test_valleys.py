"""The landmarks that runs carry: of what is really minimised, where they are known without a long search."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._study import provenance

KNOWN = {"minimizer", "minimum_loss", "hessian"}
OF_THE_DATA = {"data_minimizer", "data_minimum_loss"}


def names(run):
    return (KNOWN | OF_THE_DATA) & set(run.data_vars)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_on_four_problems(case, decay):
    run = ravine.descend(case.problem, lr=case.lr, steps=5, weight_decay=decay)
    regression = case.problem.parts is not None and len(case.problem.labels) == 2
    assert names(run) == ((KNOWN | OF_THE_DATA if decay else KNOWN) if regression else set())
    if not regression:
        return
    found, alone = ravine.landmarks(case.problem, decay), ravine.landmarks(case.problem)
    for name in KNOWN:
        assert bare.same_bits(run[name], found[name])
        assert run[name].dims == found[name].dims
    if decay:
        assert bare.same_bits(run.data_minimizer, alone.minimizer)
        assert bare.same_bits(run.data_minimum_loss, alone.minimum_loss)
    assert provenance.describe(run, "minimum_loss")["scope"] == "exact"
    assert run.parameter_.values.tolist() == run.parameter.values.tolist()
    assert ravine.check(run, *names(run)) is run


def test_each_criterion_and_start_has_its_own(article):
    starts = {"left": {"bias": -3.0}, "right": {"bias": 4.0}}
    runs = ravine.descend(article, lr=0.1, steps=3, starts=starts, weight_decay=2.0)
    assert runs.hessian.dims == ("criterion", "start", "parameter", "parameter_")
    for criterion in article:
        found = ravine.landmarks(article[criterion], 2.0)
        for start in starts:
            assert bare.same_bits(runs.minimizer.sel(criterion=criterion, start=start), found.minimizer)
    plain = ravine.descend(article, lr=0.1, steps=3)
    assert provenance.describe(plain, "hessian")["kinks"]["L1Loss"] == 2


def test_of_several_minima_the_one_nearest_to_the_end():
    problem = ravine.gallery.himmelblau()
    for place in problem.minimizers:
        near = {name: value + 0.2 for name, value in place.items()}
        run = ravine.descend(problem.starting_at(near), lr=0.001, steps=20)
        assert run.minimizer.values.tolist() == list(place.values())
        moved = ravine.descend(problem.starting_at(near), lr=0.001, steps=500, weight_decay=0.1)
        assert moved.data_minimizer.values.tolist() == list(place.values())
        assert moved.position.values[-1] == pytest.approx(moved.minimizer.values, abs=1e-4)
        hessian = ravine.curvature.hessian(problem, moved.minimizer.values)
        assert moved.hessian.values == pytest.approx(hessian + 0.1 * np.eye(2), rel=1e-10)


def test_decay_that_is_not_minimised(article):
    problem = article["MSELoss"]
    plain = ravine.descend(problem, lr=0.1, steps=3)
    apart = ravine.descend(problem, torch.optim.AdamW, lr=0.1, weight_decay=2.0, steps=3)
    also = ravine.descend(problem, torch.optim.Adam, lr=0.1, weight_decay=2.0, decoupled_weight_decay=True, steps=3)
    for run in (apart, also):
        assert bare.same_bits(run.minimizer, plain.minimizer)
        assert not names(run) & OF_THE_DATA
    coupled = ravine.descend(problem, torch.optim.Adam, lr=0.1, weight_decay=2.0, steps=3)
    assert bare.same_bits(coupled.minimizer, ravine.landmarks(problem, 2.0).minimizer)


def test_nothing_is_claimed_where_it_is_not_known_what_is_minimised(article):
    problem = article["MSELoss"]

    class Own(torch.optim.SGD):
        pass

    Own.__module__ = "elsewhere"
    assert not names(ravine.descend(problem, lr=0.01, steps=2, maximize=True))
    assert not names(ravine.descend(problem, lr=0.1, steps=2, groups={"bias": {"maximize": True}}))
    assert not names(ravine.descend(problem, lr=0.1, steps=2, groups={"bias": {"maximize": True}}))
    assert not names(ravine.descend(problem, Own, lr=0.1, steps=2, weight_decay=1.0))
    assert names(ravine.descend(problem, Own, lr=0.1, steps=2)) == KNOWN
    assert not names(ravine.descend(ravine.gallery.saddle(), lr=0.1, steps=2))
    assert not names(ravine.descend(problem, lr=0.1, steps=2, weight_decay=float("nan")))


def test_what_is_known_of_some_is_nan_for_the_others(article):
    problem = article["MSELoss"]
    without = ravine.Problem.of(
        problem.parts.model, torch.nn.SoftMarginLoss(), (problem.parts.inputs, problem.parts.targets)
    )
    runs = ravine.descend({"known": problem, "not": without}, lr=0.1, steps=2)
    dim = runs.minimum_loss.dims[0]
    assert np.isfinite(runs.minimum_loss.values).tolist() == [True, False]
    assert np.isnan(runs.minimizer.sel({dim: "not"})).all()
    assert ravine.explain(runs.sel({dim: "not"}))


def test_runs_with_and_without_landmarks_can_be_joined(article):
    problem = article["MSELoss"]
    plain = ravine.descend(problem, lr=0.1, steps=3)
    decayed = ravine.descend(problem, lr=0.1, steps=3, weight_decay=2.0)
    climbs = ravine.descend(problem, lr=0.1, steps=3, maximize=True)
    runs = ravine.join({"plain": plain, "decayed": decayed, "climbs": climbs})
    assert bare.same_bits(runs.data_minimizer.sel(run="plain"), plain.minimizer)
    assert bare.same_bits(runs.data_minimizer.sel(run="decayed"), plain.minimizer)
    assert bare.same_bits(runs.hessian.sel(run="decayed"), decayed.hessian)
    for name in names(runs):
        assert np.isnan(runs[name].sel(run="climbs")).all()
    alone = ravine.join({"up": climbs, "down": plain})
    assert bare.same_bits(alone.minimizer.sel(run="down"), plain.minimizer)
