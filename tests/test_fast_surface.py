"""Surfaces that are read off a polynomial: as near to exact ones as they say, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import artists
import killed_surface
import ravine
from ravine._landscape.fast import FEWEST, points_between_nodes
from ravine._problem.in_place import InPlace
from ravine._study.interpolant import from_unit, interpolant_of

BOUND = 1e-4
SQUARE = ravine.Plane.through({"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 1.0})
WHOLE = {"a to b": (0.0, 1.0), "off a to b": (0.0, 1.0)}


def over_square(loss, **changed):
    """Evaluate a function of two numbers between 0 and 1."""
    problem = ravine.Problem(lambda p: loss(p["x"], p["y"]), {"x": torch.tensor(0.5), "y": torch.tensor(0.5)})
    return ravine.surface(problem, WHOLE, plane=SQUARE, **{"points": 21, **changed})


def off(land, exact):
    """How far a surface is off, as a share of the range."""
    return float(abs(land.surface.values - exact.surface.values).max() / np.ptp(exact.surface.values))


@pytest.fixture
def evaluated(monkeypatch):
    """Count evaluations of the loss at a place."""
    places, value = [], InPlace.value
    monkeypatch.setattr(InPlace, "value", lambda self: places.append(value(self)) or places[-1])
    return places


def test_a_network_is_as_near_as_it_says_by_a_tenth_of_the_evaluations(evaluated):
    exact = killed_surface.made(points=11)
    evaluated.clear()
    land = killed_surface.made(points=41, accuracy="fast")
    assert land.surface.shape == (41, 41)
    assert len(evaluated) <= 41**2 / 11
    assert off(land.isel({dim: slice(None, None, 4) for dim in exact.surface.dims}), exact) < BOUND
    told = interpolant_of(land)
    assert told.evaluated == len(evaluated)
    assert told.checked == 25
    assert told.error < 0.5 * BOUND * told.scale <= 0.5 * BOUND * np.ptp(evaluated)
    assert land.squares.values[::4, ::4] == pytest.approx(exact.squares.values)
    assert {name: land[name].dims for name in land.variables} == {name: exact[name].dims for name in exact.variables}
    facts = json.loads(land.surface.attrs["interpolant"])
    assert facts["degree"] == [each - 1 for each in facts["nodes"]]
    assert facts["nodes"][0] * facts["nodes"][1] + facts["checked"] <= facts["evaluated"]
    assert "interpolated from" in json.loads(land.surface.attrs["provenance"])["engine"]
    spots = [from_unit(points_between_nodes(5), sides) for sides in told.box]
    there = killed_surface.made(axes=dict(zip(told.axes, spots, strict=True)))
    assert told.error == pytest.approx(abs(there.surface.values - told.at(*spots)).max(), rel=1e-9)


def test_it_is_refined_without_the_model(evaluated, tmp_path):
    land = killed_surface.made(points=41, accuracy="fast")
    land = ravine.open(ravine.save(land, tmp_path / "land.nc")).load()
    evaluated.clear()
    same = ravine.refine(land, points=41)
    assert same.surface.values == pytest.approx(land.surface.values, abs=1e-12)
    assert same.squares.values == pytest.approx(land.squares.values)
    near = {"random 1": (-0.11, 0.13), "random 2": (0.4, 0.5)}
    zoomed = ravine.refine(land, near, points=7)
    assert not evaluated
    exact = killed_surface.made(axes=near, points=7)
    assert abs(zoomed.surface - exact.surface).max() < BOUND * np.ptp(land.surface.values)
    assert zoomed.squares.values == pytest.approx(exact.squares.values)
    assert ravine.refine(zoomed, points=41).identical(same)
    with pytest.raises(ValueError, match="reaches −1 to 1 along 'random 1', got 0 to 2"):
        ravine.refine(land, {"random 1": (0, 2)})
    with pytest.raises(ValueError, match="no axis 'bias'"):
        ravine.refine(land, bias=(0, 1))
    with pytest.raises(ValueError, match="between them nothing is known: ravine.surface"):
        ravine.refine(exact)
    with pytest.raises(ValueError, match="points must be a whole number of at least 2"):
        ravine.refine(land, points=1)
    broken = land.copy()
    broken.surface.attrs["interpolant"] = "[]"
    with pytest.raises(ValueError, match="'interpolant' of 'surface' cannot be read"):
        ravine.refine(broken)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda x, y: (x - 0.3).abs() + y, id="kink"),
        pytest.param(lambda x, y: (x - 0.9).relu() + 0 * y, id="plateau"),
        pytest.param(lambda x, y: torch.sigmoid(200 * (x + y - 0.7)), id="cliff"),
        pytest.param(lambda x, y: torch.sin(60 * x) * torch.cos(50 * y), id="ripples"),
        pytest.param(lambda x, y: (12 * x).exp() + torch.sin(9 * y) + 3 * (y - 0.41).abs(), id="valley under a wall"),
    ],
)
def test_what_is_not_smooth_is_refused(loss, evaluated):
    with pytest.raises(
        ValueError, match=r"not smooth enough .* at one of 25 other points.*\. Leave accuracy out"
    ) as told:
        over_square(loss, accuracy="fast")
    assert len(evaluated) <= FEWEST
    assert "losses is off by" in str(told.value)


@pytest.mark.parametrize(
    ("loss", "logarithmic"),
    [
        pytest.param(lambda x, y: (12 * x).exp() + 0.1 * (3 * y).sin() + 1, False, id="wall"),
        pytest.param(lambda x, y: (4 * (x * x + y * y)).exp(), True, id="steeper wall"),
        pytest.param(lambda x, y: 100 * (y - x * x) ** 2 + (1 - x) ** 2, False, id="valley"),
        pytest.param(lambda x, y: 3 + 0 * (x + y), False, id="constant"),
        pytest.param(lambda x, y: x + 0 * y, False, id="straight"),
        pytest.param(lambda x, y: -((x - y) ** 2) - 1, False, id="negative"),
    ],
)
def test_what_is_smooth_is_true(loss, logarithmic):
    land, exact = over_square(loss, accuracy="fast"), over_square(loss)
    scale = np.ptp(exact.surface.values)
    assert abs(land.surface - exact.surface).max() <= max(BOUND * scale, 1e-6)
    assert interpolant_of(land).logarithmic == logarithmic or not logarithmic


def test_where_it_is_not_finite_it_is_refused():
    with pytest.raises(
        ValueError, match=r'the loss is nan at \(a to b .*\), and accuracy="fast" is for losses that are'
    ):
        over_square(lambda x, y: (x - 0.2).log() + y, accuracy="fast")


def test_more_points_may_take_more_losses():
    def loss(x, y):
        return torch.sin(9 * x) * torch.cos(8 * y)

    with pytest.raises(ValueError, match="not smooth enough"):
        over_square(loss, accuracy="fast", points=41)
    fine = over_square(loss, accuracy="fast", points=81)
    assert interpolant_of(fine).evaluated <= 81**2 / 11
    assert (
        off(fine.isel({dim: slice(None, None, 16) for dim in fine.surface.dims}), over_square(loss, points=6)) < BOUND
    )


def test_on_the_four_problems(case):
    plane = ravine.Plane.pca(ravine.descend(case.problem, lr=case.lr, steps=4))
    exact = ravine.surface(case.problem, plane=plane, points=13)
    land = ravine.surface(case.problem, plane=plane, points=13, accuracy="fast")
    assert off(land, exact) < BOUND


def test_pictures_and_sentences_say_it():
    run = ravine.descend(ravine.gallery.himmelblau(), lr=0.01, steps=20)
    plane = ravine.Plane.ends(run)
    path = plane.project(run, ravine.gallery.himmelblau())
    land = ravine.surface(ravine.gallery.himmelblau(), plane=plane, points=13, accuracy="fast")
    words = interpolant_of(land).words()
    assert words in artists.said(ravine.plot.descent(path, land)).replace("\n", " ")
    (told,) = [each for each in ravine.explain(path.assign(surface=land.surface)) if each.kind == "interpolation"]
    assert words in told.sentence
    assert told.values["error"] == interpolant_of(land).error
    assert "interpolation" not in {each.kind for each in ravine.explain(path)}


def test_bad_input():
    problem = ravine.gallery.rosenbrock()
    with pytest.raises(ValueError, match='accuracy must be "exact" or "fast", got \'quick\''):
        ravine.surface(problem, accuracy="quick")
    with pytest.raises(ValueError, match="over a plane=, and takes no store="):
        ravine.surface(problem, accuracy="fast")
    with pytest.raises(ValueError, match="evaluates up to 152 points, and this grid has 12 × 12: leave it out"):
        over_square(lambda x, y: x + y, accuracy="fast", points=12)
