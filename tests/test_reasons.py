"""What stands above and under the panels is what the findings say, and silence where nothing certain is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ravine
from ravine._findings.explain import FINDINGS, PATH_FINDINGS
from ravine.plot._canvas import words

pytestmark = pytest.mark.quick


def words_of(figure):
    return " ".join(t.get_text() for ax in figure.axes for t in ax.texts).replace("\n", " ")


def title_of(figure):
    return figure.texts[0].get_text().replace("\n", " ")


@pytest.mark.parametrize(
    ("settings", "title", "line"),
    [
        ({}, "Plain SGD, lr 0.1: arrives at step 12", "The path bends because the steep direction"),
        ({"momentum": 0.9}, "SGD, lr 0.1, momentum 0.9: arrives at step 42", "orbits the minimum every 13.5 to 17.1"),
        ({"momentum": 0.9, "dampening": 0.8}, "dampening 0.8: arrives at step 46", "die no faster. (exact)"),
        ({"momentum": 0.9, "nesterov": True}, "nesterov: arrives at step 14", "die 2.3 to 3.2× faster"),
        ({"weight_decay": 2.0}, "weight decay 2: arrives at step ", "Weight decay moves the goal: it is (weight 0.3, "),
        ({"lr": 1.2}, "Plain SGD, lr 1.2: diverged", "lr 1.2 is 1.2 times its limit, 0.976"),
    ],
    ids=str,
)
def test_one_panel(article, settings, title, line):
    run = ravine.descend(article["MSELoss"], **{"lr": 0.1, **settings})
    figure = ravine.plot.descent(run, ravine.surface(article["MSELoss"], points=21))
    assert title in title_of(figure)
    assert line in words_of(figure)


def test_several_panels(article):
    land = ravine.surface(article, points=21)
    figures = {m: ravine.plot.descent(ravine.descend(article, lr=0.1, momentum=m), land) for m in (0.0, 0.9)}
    assert title_of(figures[0.0]) == "Plain SGD, lr 0.1: one of 4 runs arrives in 100 steps"
    assert title_of(figures[0.9]) == "SGD, lr 0.1, momentum 0.9: all arrive, at steps 42 to 50"
    said = words_of(figures[0.0])
    assert said.count("has not arrived") == 3
    assert "so it walks at most 0.095 a step." in said
    wild = ravine.plot.descent(ravine.descend(article, lr=1.2), land)
    assert title_of(wild) == "Plain SGD, lr 1.2: one of 4 runs diverged"


def test_where_nothing_is_known_nothing_is_said():
    saddle = ravine.gallery.saddle()
    run = ravine.descend(saddle, torch.optim.Adam, lr=0.01, steps=5)
    assert words.end_of(run) is None
    figure = ravine.plot.descent(run, ravine.surface(saddle, points=21))
    assert title_of(figure) == "Adam, lr 0.01"
    positions = run[["position"]]
    assert words.because(positions) == ""


def test_the_title_counts_from_the_runs(article):
    runs = ravine.sweep(article["MSELoss"], lr=[0.01, 0.1, 0.5], steps=30)
    ends = [words.end_of(runs.isel(lr=k)) for k in range(3)]
    steps = ravine.measure.arrival(runs).values
    assert [end.step for end in ends if end.outcome == "arrived"] == steps[np.isfinite(steps)].tolist()
    assert words.title_of(runs, ends).endswith(": 2 of 3 runs arrive in 30 steps")
    climbing = ravine.descend(article["MSELoss"], lr=0.01, maximize=True, steps=5)
    assert words.end_of(climbing) is None


def test_every_shape_is_a_finding():
    assert set(PATH_FINDINGS) <= set(FINDINGS)
