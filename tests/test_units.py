"""Standardized columns: what is told and drawn is in the units of the file."""

import numpy as np
import pytest

import ravine
from ravine._format import number


def line_of(run):
    return next((each for each in ravine.explain(run) if each.kind == "fitted line"), None)


@pytest.fixture
def houses(tmp_path):
    chance = np.random.default_rng(0)
    area, age = chance.uniform(800, 4200, 60), chance.uniform(0, 90, 60)
    price = 102_114 + 220 * area - 800 * age + chance.normal(0, 40_000, 60)
    path = tmp_path / "houses.csv"
    np.savetxt(path, np.c_[area, age, price], delimiter=",", header="area,age,price", comments="")
    return path, area, age, price


def test_the_coefficients_are_those_of_least_squares_on_raw_columns(houses):
    path, area, age, price = houses
    run = ravine.descend(ravine.Problem.from_csv(path, ["area", "age"], "price", standardize=True), lr=0.4, steps=200)
    (slope, older, intercept), *_ = np.linalg.lstsq(np.c_[area, age, np.ones(60)], price, rcond=None)
    found = line_of(run)
    assert found.values["slope of area"] == pytest.approx(slope, rel=1e-4)
    assert found.values["slope of age"] == pytest.approx(older, rel=1e-3)
    assert found.values["intercept"] == pytest.approx(intercept, rel=1e-4)
    assert "price = " in found.sentence
    assert " × area − " in found.sentence


def test_they_survive_a_file_and_the_picture_is_in_units(houses, tmp_path):
    path, area, _, price = houses
    run = ravine.descend(ravine.Problem.from_csv(path, "area", "price", standardize=True), lr=0.4, steps=60)
    ravine.save(run, tmp_path / "run.nc")
    slope, intercept = np.polyfit(area, price, 1)
    again = ravine.open(tmp_path / "run.nc")
    assert line_of(again).values["slope of area"] == pytest.approx(slope, rel=1e-4)
    assert line_of(again).values["intercept"] == pytest.approx(intercept, rel=1e-4)
    (ax,) = ravine.plot.fit(again).axes
    data, line = (next(each for each in ax.lines if each.get_gid() == gid) for gid in ("data", "fit"))
    assert np.allclose(data.get_xdata(), area, rtol=1e-5)
    assert np.allclose(data.get_ydata(), price, rtol=1e-5)
    assert np.allclose(line.get_ydata(), slope * np.sort(area) + intercept, rtol=1e-4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("area", "price")
    assert np.allclose(ravine.plot.scatter(again).axes[0].lines[0].get_xdata(), area, rtol=1e-5)


def test_the_panel_says_that_its_columns_are_standardized(houses):
    problem = ravine.Problem.from_csv(houses[0], "area", "price", standardize=True)
    run = ravine.descend(problem, lr=0.4, steps=20)
    figure = ravine.plot.panel(run, ravine.surface(problem, ravine.around(run), points=11))
    assert "area (standardized)" in [ax.get_xlabel() for ax in figure.axes]


def test_silent_on_raw_columns_and_what_diverged(houses):
    raw = ravine.descend(ravine.Problem.from_csv(houses[0], "area", "price"), lr=1e-7)
    assert line_of(raw) is None
    broken = ravine.Problem.from_csv(houses[0], "area", "price", standardize=True)
    assert line_of(ravine.descend(broken, lr=30.0)) is None
    assert line_of(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)) is None
    assert line_of(ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3)) is None


def words_under(ax):
    return " ".join(text.get_text() for text in ax.texts).replace("\n", " ")


def test_a_map_says_what_its_numbers_are_in_the_files_units(houses):
    """One more of a parameter changes the line on raw columns by as much as the axis says."""
    path, area, _, price = houses
    problem = ravine.Problem.from_csv(path, "area", "price", standardize=True)
    run = ravine.descend(problem, lr=0.4, steps=20)
    figure = ravine.plot.descent(run, ravine.surface(problem, ravine.around(run), points=11))
    ax = figure.axes[0]
    across, up = ax.get_xlabel(), ax.get_ylabel()
    assert across == f"bias: 1 is {number(price.std(), 4)} price"
    assert up == f"weight: 1 is {number(price.std() / area.std(), 4)} price per area"
    assert line_of(run).told in words_under(ax)
    raw = ravine.Problem.from_csv(path, "area", "price")
    run = ravine.descend(raw, lr=1e-8, steps=5)
    figure = ravine.plot.descent(run, ravine.surface(raw, ravine.around(run), points=11))
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("bias", "weight")
    assert "own units" not in words_under(figure.axes[0])
