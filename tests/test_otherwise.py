"""Runs with one setting left out are the runs that descend makes; sharpness is the Hessian's own eigenvalue."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import bare
import ravine


def test_counterfactuals_on_four_problems(case):
    run = ravine.descend(case.problem, lr=case.lr / 10, momentum=0.9, nesterov=True, weight_decay=0.5, steps=15)
    without = ravine.counterfactuals(case.problem, run)
    assert without.run.values.tolist() == ["without momentum", "without weight_decay", "without nesterov"]
    settings = [
        {"weight_decay": 0.5},  # nesterov cannot be without momentum
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.5},
    ]
    for k, each in enumerate(settings):
        direct = ravine.descend(case.problem, lr=case.lr / 10, steps=15, **each)
        assert bare.same_bits(without.position[k], direct.position)
        assert bare.same_bits(without.loss[k], direct.loss)


def test_counterfactuals_start_where_the_run_did(article):
    starts = {"here": {"weight": 1.0}, "there": {"weight": -2.0}}
    runs = ravine.sweep(article, lr=[0.1, 0.2], momentum=[0.5, 0.9], starts=starts, steps=10)
    run = runs.isel(criterion=1, start=1, lr=1, momentum=1)
    without = ravine.counterfactuals(article, run)
    direct = ravine.descend(article["L1Loss"].starting_at(weight=-2.0), lr=0.2, steps=10)
    assert bare.same_bits(without.position[0], direct.position)
    batched = ravine.descend(article["MSELoss"], lr=0.1, momentum=0.5, batch_size=10, seed=4, steps=8)
    direct = ravine.descend(article["MSELoss"], lr=0.1, batch_size=10, seed=4, steps=8)
    assert bare.same_bits(ravine.counterfactuals(article, batched).position[0], direct.position)
    adam = ravine.descend(article["MSELoss"], torch.optim.Adam, lr=0.1, weight_decay=0.1, amsgrad=True, steps=4)
    assert ravine.counterfactuals(article["MSELoss"], adam).run.values.tolist() == [
        "without weight_decay",
        "without amsgrad",
    ]


def test_counterfactuals_refuse(article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=0.1, momentum=0.9, steps=3)
    with pytest.raises(ValueError, match="one run expected; this study has one for each criterion"):
        ravine.counterfactuals(article, ravine.descend(article, lr=0.1, momentum=0.9, steps=3))
    with pytest.raises(ValueError, match="ran with every setting but lr at its default"):
        ravine.counterfactuals(problem, ravine.descend(problem, lr=0.1, steps=3))
    with pytest.raises(ValueError, match="the run's parameters are weight, bias, the problem's x, y"):
        ravine.counterfactuals(ravine.gallery.rosenbrock(), run)
    with pytest.raises(ValueError, match="the run is of 'MSELoss', which is not among the problems: L1Loss"):
        ravine.counterfactuals({"L1Loss": article["L1Loss"]}, run)
    schedule = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=2)
    with pytest.raises(ValueError, match="the run had scheduler"):
        ravine.counterfactuals(problem, ravine.descend(problem, momentum=0.9, scheduler=schedule, steps=3))
    with pytest.raises(ValueError, match="the run had groups"):
        ravine.counterfactuals(problem, ravine.descend(problem, momentum=0.9, groups={"bias": {"lr": 0.1}}, steps=3))
    with pytest.raises(ValueError, match=r"the problem's loss is 6\.\d+ and the run's 53.0783: not one problem"):
        ravine.counterfactuals(article["L1Loss"], run)
    bare_study = run.copy(deep=True)
    bare_study.position.attrs.clear()
    with pytest.raises(ValueError, match="does not say how it was made"):
        ravine.counterfactuals(problem, bare_study)


def test_sharpness_on_four_problems(case):
    run = ravine.descend(case.problem, lr=case.lr / 10, steps=6)
    found = ravine.sharpness(case.problem, run, steps=[0, 3, 6])
    assert found.dims == ("step",)
    assert np.flatnonzero(np.isfinite(found)).tolist() == [0, 3, 6]
    exact = case.problem.in_double()
    shapes = {name: value.shape for name, value in exact.start.items()}

    def loss(flat):
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        return exact.loss({n: p.reshape(s) for (n, s), p in zip(shapes.items(), pieces, strict=True)}).reshape(())

    for step in (0, 3, 6):
        place = torch.from_numpy(run.position.values[step].astype(float))
        largest = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, place))[-1]
        assert float(found[step]) == pytest.approx(float(largest), rel=1e-6)
    assert np.flatnonzero(np.isfinite(ravine.sharpness(case.problem, run))).tolist() == [0, 6]
    assert "sharpness" in ravine.check(run.assign(sharpness=found))


def test_sharpness_of_a_network_of_many_parameters():
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(), torch.no_grad():
        network = torch.nn.Sequential(torch.nn.Linear(1, 30), torch.nn.Tanh(), torch.nn.Linear(30, 1))
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.linspace(-2, 2, 40).reshape(-1, 1)
    problem = ravine.Problem.of(network, torch.nn.MSELoss(), (x, torch.sin(2 * x)))
    run = ravine.descend(problem, lr=1e-3, steps=3)
    from ravine import curvature

    full = np.linalg.eigvalsh(curvature.hessian(problem, run.position.values[3].astype(float)))[-1]
    assert float(ravine.sharpness(problem, run)[3]) == pytest.approx(full, rel=1e-6)


def test_sharpness_refuses(article):
    runs = ravine.descend(article, lr=0.1, steps=3)
    with pytest.raises(ValueError, match="one run expected; this study has one for each criterion"):
        ravine.sharpness(article["MSELoss"], runs)
    one = runs.sel(criterion="MSELoss")
    with pytest.raises(ValueError, match="there is no step 7 in this run; it has 0, 1, 2, 3"):
        ravine.sharpness(article["MSELoss"], one, steps=[7])
    with pytest.raises(ValueError, match="the run has 2 parameters and the problem 1"):
        ravine.sharpness(ravine.Problem(lambda p: p["x"] ** 2, {"x": 1.0}), one)
    broken = ravine.descend(article["MSELoss"], lr=30.0, steps=60)
    assert np.isnan(ravine.sharpness(article["MSELoss"], broken).values[-1])


def test_is_my_lr_safe_here(case):
    """One line for a problem of any size; the limit is that of the curvature, and a step beyond it leaves."""
    run = ravine.descend(case.problem, lr=case.lr / 10, momentum=0.5, weight_decay=0.1, steps=5)
    sharp = ravine.sharpness(case.problem, run)
    told = {each.kind: each for each in ravine.explain(run.assign(sharpness=sharp))}["sharpness"]
    limit = 2 * (1 + 0.5) / (float(sharp[-1]) + 0.1)
    assert told.values["limit"] == pytest.approx(limit, rel=1e-9)
    assert told.values["share"] == pytest.approx(case.lr / 10 / limit, rel=1e-9)
    assert told.scope == "local"
    assert told.sentence.startswith("Locally, the largest curvature at step 5 is ")
    adam = ravine.descend(case.problem, torch.optim.Adam, lr=0.01, steps=5)
    kinds = {each.kind for each in ravine.explain(adam.assign(sharpness=ravine.sharpness(case.problem, adam)))}
    assert not kinds & {"sharpness", "no curvature"}


def test_a_network_beyond_its_local_limit_is_told():
    problem = ravine.gallery.quadratic(condition=10)
    run = ravine.descend(problem, lr=1.2, steps=5)
    told = {each.kind: each.sentence for each in ravine.explain(run.assign(sharpness=ravine.sharpness(problem, run)))}
    assert told["sharpness"] == (
        "Locally, the largest curvature at step 5 is 2: the limit along its direction is 1, and "
        "lr 1.2 is 1.2 times that. As long as the curvature stays, an error along it grows."
    )
    assert "sharpened" not in told  # a quadratic curves alike everywhere
