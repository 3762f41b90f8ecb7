"""What many runs say together, held against counts that are made here run by run."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import ravine
from ravine import measure, theory
from ravine._findings.sweep import of_a_sweep


def told(runs):
    return {finding.kind: finding for finding in ravine.explain(runs)}


def each_run(runs):
    """Every run of a sweep with its settings, by hand."""
    dims = [dim for dim in runs.loss.dims if dim != "step"]
    for place in np.ndindex(*(runs.sizes[dim] for dim in dims)):
        one = runs.isel(dict(zip(dims, place, strict=True)))
        yield {dim: one[dim].item() for dim in dims}, one


@pytest.fixture(scope="module")
def wide():
    problem = ravine.gallery.article()["MSELoss"]
    return ravine.sweep(
        problem, steps=60, lr=np.geomspace(0.01, 3, 12), momentum=[0.0, 0.5, 0.9], nesterov=[False, True]
    )


def test_counts_are_those_of_single_runs(wide):
    found, fates, arrived, sides = told(wide), {}, {}, {}
    for settings, run in each_run(wide):
        if str(run.error.item()):
            fate = "invalid"
        else:
            step = float(measure.arrival(run))
            fate = "arrived" if np.isfinite(step) else ("diverged" if bool(measure.diverged(run)) else "not arrived")
            arrived[tuple(settings.values())] = step
            modes = np.linalg.eigvalsh(run.hessian.values)
            limit = theory.stability_limit(modes, momentum=settings["momentum"], nesterov=settings["nesterov"])
            side = sides.setdefault("beyond" if settings["lr"] > limit else "within", [])
            side.append(fate == "diverged")
        fates[fate] = fates.get(fate, 0) + 1
    assert {kind: found["outcomes"].values[kind] for kind in fates} == fates
    soonest = np.nanmin(list(arrived.values()))
    assert found["best"].values["step"] == soonest
    assert found["best"].values["runs"] == sum(step == soonest for step in arrived.values())
    steps = sorted(step for step in arrived.values() if np.isfinite(step))
    tenth = steps[-(-len(steps) // 10) - 1]
    assert found["fastest"].values["step"] == tenth
    fast = [settings for settings, step in arrived.items() if step <= tenth]
    assert found["fastest"].values["runs"] == len(fast)
    for k, name in enumerate(("lr", "momentum")):
        low, high = min(each[k] for each in fast), max(each[k] for each in fast)
        whole = {each[k] for each in fast} == set(wide[name].values.tolist())  # then it is nothing in common
        said = re.search(rf"{name} (from {low:.6g} to {high:.6g}|{low:.6g})", found["fastest"].sentence)
        assert (said is None) == whole
    for side, diverged in sides.items():
        assert found["limits"].values[side] == len(diverged)
        assert found["limits"].values[f"{side}_diverged"] == sum(diverged)
    assert found["limits"].values["exact"]


def test_the_border_is_the_widest_there_is(wide):
    border = told(wide)["border"].values
    fate = measure.arrival(wide).outcome
    for lr in wide.lr.values:
        here = fate.sel(lr=lr)
        ran = here.values[here.values != "invalid"]
        assert (lr <= border["none_up_to"]) <= (ran != "diverged").all()
        assert (lr >= border["all_from"]) <= (ran == "diverged").all()
    above = wide.lr.values[wide.lr.values > border["none_up_to"]][0]
    assert (fate.sel(lr=above) == "diverged").any()  # the next one would be untrue
    below = wide.lr.values[wide.lr.values < border["all_from"]][-1]
    assert ((fate.sel(lr=below) != "diverged") & (fate.sel(lr=below) != "invalid")).any()


def test_the_words(wide):
    lines = [str(each) for each in ravine.explain(wide)]
    assert re.fullmatch(
        r"Of 72 runs \d+ arrive, \d+ have not arrived and \d+ diverge; torch refuses 12 \(Nesterov .*\)\. \(measured\)",
        lines[0],
    )
    assert re.fullmatch(r"Soonest arrives the run with lr .*, at step \d+\. \(measured\)|Soonest, at step .*", lines[1])
    assert re.fullmatch(r"The fastest tenth, \d+ runs that arrive by step \d+, have .*\. \(measured\)", lines[2])
    assert re.fullmatch(r"Of \d+ runs beyond the limit of stability .*; of \d+ runs within it .*", lines[3])
    assert re.fullmatch(r"No run with lr up to .* diverges, every run from lr .* on does\. \(measured\)", lines[4])
    assert len(lines) == 5


def test_few_runs_are_told_one_by_one(wide):
    few = ravine.at(wide, momentum=0.9, nesterov=False)
    assert {dict(each.about).get("lr") for each in ravine.explain(few)} >= set(few.lr.values)
    assert "outcomes" not in told(few)
    with pytest.raises(ValueError, match="72 runs are too many to set against others: select at most 24"):
        ravine.explain(wide, against=few)


def test_summaries_and_stores_say_the_same(article, tmp_path):
    settings = {"lr": np.geomspace(0.01, 3, 12), "momentum": [0.0, 0.5, 0.9]}
    whole = list(map(str, ravine.explain(ravine.sweep(article["MSELoss"], **settings))))
    assert list(map(str, ravine.explain(ravine.sweep(article["MSELoss"], keep="summary", **settings)))) == whole
    ravine.sweep(article["MSELoss"], store=tmp_path / "runs.zarr", **settings)
    assert list(map(str, ravine.explain(ravine.open(tmp_path / "runs.zarr")))) == whole


def test_what_is_not_known_is_not_said(article, houses):
    lr = np.geomspace(1e-3, 3, 30)
    with torch.random.fork_rng():
        network = torch.nn.Sequential(torch.nn.Linear(1, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    with torch.no_grad():
        for value in network.parameters():
            value.fill_(0.3)
    x = torch.linspace(-1, 1, 9).reshape(-1, 1)
    silent = {"best", "fastest", "limits"}
    unknown = ravine.sweep(ravine.Problem.of(network, torch.nn.MSELoss(), (x, x**2)), steps=9, lr=lr)
    assert "minimum_loss" not in unknown  # of more than 16 parameters no minimum is searched for
    assert not silent & told(unknown).keys()
    assert "arrive" not in told(unknown)["outcomes"].sentence
    climbing = ravine.sweep(article["MSELoss"], steps=9, lr=lr, maximize=[False, True])
    assert not silent & told(climbing).keys()
    adam = ravine.sweep(ravine.gallery.rosenbrock(), torch.optim.Adam, steps=9, lr=lr)
    assert not {"best", "fastest", "limits", "border"} & told(adam).keys()  # nothing arrives, nothing diverges
    assert told(adam)["outcomes"].sentence == "Of 30 runs 30 have not arrived."
    local = ravine.sweep(article["L1Loss"], steps=60, lr=lr)
    assert "limits" not in told(local)  # a kink has no curvature
    curved = told(ravine.sweep(article["HuberLoss"], steps=60, lr=np.geomspace(0.01, 30, 30)))
    assert "beyond the limit that curvature at the minimum sets" in curved["limits"].sentence
    file = told(ravine.sweep(ravine.Problem.from_csv(houses[0], standardize=True), steps=60, lr=lr))
    assert file["border"].values["all_from"] > theory.stability_limit(2.0) * (1 - 1e-6)


def test_several_optimizers(article):
    race = ravine.sweep(article["MSELoss"], {"SGD": {"lr": np.linspace(0.3, 0.9, 30)}, "Adam": {"lr": [0.1, 0.2]}})
    assert race.sizes["run"] == 32
    best = told(race)["best"]
    arrival = measure.arrival(race)
    winners = race.run.values[(arrival == arrival.min()).values].tolist()
    assert best.values["runs"] == len(winners)
    assert len(winners) > 3 or all(winner in best.sentence for winner in winners)


def test_a_span_with_gaps_is_not_told_as_one():
    """Of weight decays 0, 0.1 and 1 the fastest have 0 and 1: "from 0 to 1" would be the whole sweep."""
    bowl = ravine.gallery.quadratic()
    runs = ravine.sweep(bowl, lr=np.geomspace(0.01, 1, 30), weight_decay=[0.0, 0.1, 1.0])
    steps = measure.arrival(runs)
    steps = steps.copy(data=np.where(steps.notnull(), 50.0, np.nan))
    few = steps.copy(data=steps.values.copy())
    few[{"lr": 20, "weight_decay": 0}] = few[{"lr": 20, "weight_decay": 2}] = 3.0
    (best,) = (each for each in of_a_sweep(runs, few) if each.kind == "best")
    assert best.values["settings"] == f"lr {runs.lr.values[20]:.6g}, weight_decay 0 or 1"
    for places, said in (([18, 19, 20, 21], ""), ([3, 7, 8, 20], " (4 of the 18 values there)")):
        many = steps.copy(data=steps.values.copy())
        many[{"lr": places, "weight_decay": 1}] = 3.0
        (best,) = (each for each in of_a_sweep(runs, many) if each.kind == "best")
        low, high = runs.lr.values[[places[0], places[-1]]]
        assert best.values["settings"] == f"lr from {low:.6g} to {high:.6g}{said}, weight_decay 0.1"
