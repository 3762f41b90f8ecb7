"""Runs of which every tenth step was kept: steps are counted by their numbers, never by how many there are."""

from __future__ import annotations

import functools
import itertools
import re

import numpy as np
import pytest
from matplotlib.text import Text

import ravine
from ravine.plot._canvas.words import end_of

EVERY = slice(None, None, 10)


@pytest.fixture(scope="module")
def descended(all_cases):
    """Runs of the four cases with and without momentum, each made once."""

    def make(name, momentum):
        case, settings = all_cases[name], {"momentum": momentum} if momentum else {}
        also = ("gradient", "velocity") if momentum else ("gradient",)
        return case, ravine.descend(case.problem, lr=case.lr / 2, steps=100, also=also, **settings)

    return functools.cache(make)


@pytest.fixture(params=itertools.product(["article", "rosenbrock", "csv", "network"], [0.0, 0.9]), ids=str)
def whole(descended, request):
    return descended(*request.param)


def sentences(run):
    return " ".join(str(each) for each in ravine.explain(run))


def test_no_sentence_counts_what_was_kept(whole):
    run = whole[1]
    thin = run.isel(step=EVERY)
    said = sentences(thin)
    assert "10 steps" not in said.replace("100 steps", "")
    for number in re.findall(r"at step (\d+)", said):
        assert int(number) in thin.step.values
    assert "orbits" not in said  # what a path does between steps that are missing is not known
    assert "zigzag" not in said
    assert "(exact)" not in said or "effective" in said


def test_measures(whole):
    run = whole[1]
    thin = run.isel(step=EVERY)
    if "minimum_loss" in run:
        there, sparse = float(ravine.measure.arrival(run)), float(ravine.measure.arrival(thin))
        assert np.isnan(there) == np.isnan(sparse)
        if there == there:
            assert sparse in thin.step.values
            assert sparse - there < 10
        assert ravine.measure.arrival(thin).attrs["steps"] == 100
    assert np.isnan(ravine.measure.period(thin))
    assert bool(ravine.measure.diverged(thin)) == bool(ravine.measure.diverged(run))
    assert set(np.atleast_1d(ravine.measure.summary(thin).best_step)) <= set(thin.step.values)


def test_pictures(whole):
    case, run = whole
    thin = run.isel(step=EVERY)
    land = ravine.surface(case.problem, case.axes, points=21) if len(run.parameter) == 2 else None
    for figure in [ravine.plot.losses(thin)] + ([] if land is None else [ravine.plot.descent(thin, land)]):
        words = " ".join(text.get_text() for text in figure.texts + [t for ax in figure.axes for t in ax.texts])
        assert "10 steps" not in words.replace("100 steps", "").replace("every 10 steps", "")
    if land is not None:
        assert "100 steps" in words
        assert "a dot every 10 steps" in words
        assert ravine.plot.animate(thin, land).steps == tuple(range(0, 101, 10))
        with pytest.raises(ValueError, match="no two steps in a row"):
            ravine.plot.anatomy(thin, land, step=0)


def test_other_verbs(whole, tmp_path):
    case, run = whole
    thin = run.isel(step=EVERY)
    assert ravine.open(ravine.save(thin, tmp_path / "thin.nc")).identical(thin)
    sharp = ravine.sharpness(case.problem, thin)
    assert np.flatnonzero(np.isfinite(sharp)).tolist() == [0, 10]
    assert float(sharp[-1]) == float(ravine.sharpness(case.problem, run, steps=[100])[-1])
    assert float(ravine.sharpness(case.problem, thin, steps=[50])[5]) == float(
        ravine.sharpness(case.problem, run, steps=[50])[50]
    )
    with pytest.raises(ValueError, match="there is no step 5 in this run; it has 0, 10, 20"):
        ravine.sharpness(case.problem, thin, steps=[5])
    twice = ravine.join({"a": thin, "b": thin})
    assert "steps_taken" not in twice
    with pytest.raises(ValueError, match="the studies hold other steps of their runs"):
        ravine.join({"a": thin, "b": run})
    short = ravine.join({"a": thin, "b": thin.isel(step=slice(4))})
    assert short.steps_taken.values.tolist() == [100, 30]
    if float(run.momentum):
        without = ravine.counterfactuals(case.problem, thin)
        assert without.step.values.tolist() == thin.step.values.tolist()
        other = ravine.descend(case.problem, lr=float(run.lr), steps=100)
        assert np.array_equal(without.position[0], other.position[EVERY])
        with pytest.raises(ValueError, match="the start is needed"):
            ravine.counterfactuals(case.problem, run.isel(step=slice(10, None)))


def test_sweeps(all_cases):
    case = all_cases["article"]
    runs = ravine.sweep(case.problem, lr=[0.05, 0.1], steps=100).isel(step=EVERY)
    assert ravine.measure.arrival(runs).attrs["steps"] == 100
    assert ravine.plot.losses(runs) is not None
    assert "for step in range(100):" in ravine.code(runs.isel(lr=0))


def test_of_steps_that_were_not_looked_at_an_arrival_is_no_more_than_a_bound():
    """By coordinate, by losses that were left out, in the sentence, the title, the curve and the scoreboard."""
    problem = ravine.gallery.quadratic(condition=10)
    whole = ravine.descend(problem, lr=0.17, steps=60)
    true = int(ravine.measure.arrival(whole))
    blind = whole.assign(loss=whole.loss.where(whole.step % 20 == 0).assign_attrs(whole.loss.attrs, loss_every=20))
    for run in (ravine.descend(problem, lr=0.17, steps=60, every=20), blind):
        (said,) = (each.sentence for each in ravine.explain(run) if each.kind == "arrival")
        assert said.startswith("It arrives by step 60, at some step after 40: ")
        assert 40 < true <= 60
        assert end_of(run).words == "arrives by step 60"
        texts = [text.get_text() for text in ravine.plot.losses(run).findobj(Text)]
        assert "arrives by step 60" in texts
    assert end_of(whole).words == f"arrives at step {true}"
