"""Unscaled columns: what a run is told to be that shrank a huge first gap and fitted next to nothing."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from typer.testing import CliRunner

import ravine
from ravine._format import number
from ravine.cli import app


def told(run):
    return next((each for each in ravine.explain(run) if each.kind == "unmoved"), None)


def test_the_first_sentence_names_the_flat_direction(houses):
    path, area, price = houses
    run = ravine.descend(ravine.Problem.from_csv(path), lr=1e-7)
    assert ravine.measure.arrival(run).outcome == "arrived"  # its definition stands
    first, *rest = ravine.explain(run)
    assert first.kind == "unmoved"
    assert first.scope == "measured"
    design = np.c_[area, np.ones(60)]
    (_, bias), (squares,), *_ = np.linalg.lstsq(design, price, rcond=None)
    curvatures = np.linalg.eigvalsh(2 * design.T @ design / 60)
    gone, loss = float(run.position.sel(parameter="bias")[-1]), float(run.loss[-1])
    assert first.values["condition"] == pytest.approx(curvatures[1] / curvatures[0], rel=1e-4)
    assert first.values["way"] == pytest.approx(bias, rel=1e-3)
    assert first.values["gone"] == gone < 1
    assert first.values["above"] == pytest.approx(loss / (squares / 60) - 1, rel=1e-3)
    scaled = np.c_[(area - area.mean()) / area.std(), np.ones(60)]
    assert first.values["condition_standardized"] == pytest.approx(np.linalg.cond(scaled.T @ scaled), rel=1e-6)
    assert "bias has gone" in first.sentence
    assert "standardized columns" in first.sentence
    assert not any("arrives" in each.sentence for each in rest)


@pytest.mark.parametrize(("criterion", "lr"), [
    (torch.nn.L1Loss(), 2e-3), (torch.nn.HuberLoss(), 2e-3), (torch.nn.HuberLoss(delta=3.0), 7e-4),
    (torch.nn.SmoothL1Loss(beta=50.0), 2e-3),
])  # fmt: skip
def test_criteria_with_straight_slopes_say_it_too(houses, criterion, lr):
    """No Hessian speaks of their first gap; the criterion over the columns does."""
    path, area, price = houses
    run = ravine.descend(ravine.Problem.from_csv(path, criterion=criterion), lr=lr, steps=120)
    first, *_ = ravine.explain(run)
    assert first.kind == "unmoved"
    design = np.c_[area, np.ones(60)]
    assert first.values["condition"] == pytest.approx(np.linalg.cond(design.T @ design), rel=1e-3)
    assert first.values["gone"] == float(run.position.sel(parameter="bias")[-1])
    place = run.minimizer.values
    lowest = float(criterion(torch.tensor(design @ place), torch.tensor(price)))
    assert first.values["above"] == pytest.approx(float(run.loss[-1]) / lowest - 1, rel=1e-2)
    assert "condition number of the columns" in first.sentence
    assert "standardized columns" in first.sentence


def test_years_are_as_flat_as_a_column_can_be(tmp_path):
    year = np.arange(1990, 2021)
    path = tmp_path / "years.csv"
    degrees = 13 + 0.03 * (year - 1990) + np.random.default_rng(5).normal(0, 0.1, 31)
    np.savetxt(path, np.c_[year, degrees], delimiter=",", header="year,temperature", comments="")
    for criterion, lr in ((torch.nn.MSELoss(), 1.2e-7), (torch.nn.L1Loss(), 6e-8), (torch.nn.SmoothL1Loss(), 2e-7)):
        run = ravine.descend(ravine.Problem.from_csv(path, criterion=criterion), lr=lr)
        assert told(run).values["condition"] == pytest.approx(2e11, rel=0.1)
        assert not any(each.sentence.startswith("It arrives") for each in ravine.explain(run))


@pytest.mark.parametrize("criterion", [torch.nn.L1Loss(), torch.nn.HuberLoss(delta=3.0)])
def test_silent_where_the_criterion_is_not_the_one_it_seems_or_nothing_is_flat(houses, criterion, tmp_path):
    path, *_ = houses
    assert told(ravine.descend(ravine.Problem.from_csv(path, criterion=criterion, standardize=True), lr=0.1)) is None
    run = ravine.descend(ravine.Problem.from_csv(path, criterion=criterion), lr=2e-3, steps=120)
    if isinstance(criterion, torch.nn.HuberLoss):
        run["loss"].attrs.pop("provenance")
        assert told(run) is None  # its delta is not known to the study
    assert told(run.assign(targets=run.targets + 1e5)) is None


def test_the_picture_says_it_too(houses):
    run = ravine.descend(problem := ravine.Problem.from_csv(houses[0]), lr=1e-7)
    figure = ravine.plot.descent(run, ravine.surface(problem, ravine.around(run), points=21))
    words = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
    levels = [text.get_text() for text in figure.findobj(Text) if text.get_gid() == "level"]
    assert any("×10" in each for each in levels)
    assert not any(" " in each for each in levels)  # the line would show through
    assert "a flat direction has hardly moved" in words
    assert "arrives at" not in words
    assert "bias has gone" in words


def test_another_optimizer_is_measured_alike(houses):
    run = ravine.descend(ravine.Problem.from_csv(houses[0]), torch.optim.Adam, lr=10.0)
    assert told(run).values["way"] > 50_000


def test_several_columns_and_one_that_is_doubled(tmp_path):
    chance = np.random.default_rng(1)
    x = chance.uniform(800, 4200, 50)
    path = tmp_path / "doubled.csv"
    y = 1e5 + 200 * x + chance.normal(0, 3e4, 50)
    np.savetxt(path, np.c_[x, x, y], delimiter=",", header="a,b,y", comments="")
    found = told(ravine.descend(ravine.Problem.from_csv(path, x=["a", "b"], y="y"), lr=5e-8))
    assert found.values["condition_standardized"] == pytest.approx(2.0)  # correlations of 1: curvatures 2, 0 and 1


def test_a_constant_column_gets_no_number_for_standardizing(tmp_path):
    chance = np.random.default_rng(2)
    x = chance.uniform(800, 4200, 50)
    path = tmp_path / "constant.csv"
    np.savetxt(path, np.c_[x, np.full(50, 3.0), 1e5 + 200 * x + chance.normal(0, 3e4, 50)], delimiter=",",
               header="a,b,y", comments="")  # fmt: skip
    found = told(ravine.descend(ravine.Problem.from_csv(path, x=["a", "b"], y="y"), lr=1e-7))
    assert found is not None
    assert "condition_standardized" not in found.values


def test_silent_on_scaled_data_rosenbrock_divergence_and_a_network(houses, tmp_path):
    path, *_ = houses
    assert told(ravine.descend(ravine.Problem.from_csv(path, standardize=True), lr=0.1)) is None
    assert told(ravine.descend(ravine.Problem.from_csv(path), lr=1e-3)) is None
    assert told(ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=300)) is None
    with torch.random.fork_rng():
        network = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    assert told(ravine.descend(ravine.Problem.of(network, torch.nn.MSELoss(), (x, x**2)), lr=0.1, steps=20)) is None
    for run in ravine.gallery.article().values():
        assert told(ravine.descend(run, lr=0.1)) is None


def test_silent_where_the_flat_direction_arrived_or_nothing_has_moved(houses):
    problem = ravine.Problem.from_csv(houses[0])
    (_, bias) = np.linalg.lstsq(np.c_[houses[1], np.ones(60)], houses[2], rcond=None)[0]
    assert told(ravine.descend(problem.starting_at(bias=bias), lr=1e-7)) is None
    assert told(ravine.descend(problem, lr=1e-13, steps=5)) is None  # the gap is where it was: that is told


def test_an_arrow_points_to_a_minimum_outside_of_the_map(houses):
    run = ravine.descend(problem := ravine.Problem.from_csv(houses[0]), lr=1e-7)
    (ax,) = ravine.plot.descent(run, ravine.surface(problem, ravine.around(run), points=21)).axes
    (arrow,) = (each for each in ax.patches if each.get_gid() == "to minimum")
    (tip, *_) = arrow.get_xy()
    assert tip[0] == pytest.approx(ax.get_xlim()[1], rel=1e-3)  # the bias is far to the right
    (words,) = (each.get_text() for each in ax.texts if "outside" in each.get_text())
    bias = float(run.minimizer.sel(parameter="bias"))
    assert number(bias, 4) in words
    inside = ravine.descend(bowl := ravine.gallery.article()["MSELoss"], lr=0.1)
    (ax,) = ravine.plot.descent(inside, ravine.surface(bowl, points=21)).axes
    assert not any(each.get_gid() == "to minimum" for each in ax.patches)


def test_the_command_names_the_option(houses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["descend", str(houses[0]), "-o", "raw.nc"]).output
    assert "With standardized columns the condition number is 1" in said
    assert "\nravine descend --standardize makes the columns so.\n" in said
    assert "--standardize" not in CliRunner().invoke(app, ["descend", str(houses[0]), "--standardize"]).output
