"""What `ravine descend data.csv` does where nothing was asked for."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import ravine
from ravine.cli import app
from ravine.cli.defaults import choose_lr


def test_the_lr_is_half_of_the_limit_and_said(houses, tmp_path):
    path, area, _ = houses
    design = np.c_[area, np.ones(60)]
    half = 1 / np.linalg.eigvalsh(2 * design.T @ design / 60)[-1]
    said = CliRunner().invoke(app, ["descend", str(path), "-o", str(tmp_path / "run.nc")])
    assert said.exit_code == 0, said.output
    run = ravine.open(tmp_path / "run.nc")
    assert 0.89 * half < float(run.lr) <= half  # two digits, rounded down
    assert run.lr.item() == choose_lr(ravine.Problem.from_csv(path), {}, 100)[0]
    assert "half of the" in said.output
    assert "--lr sets another" in said.output
    assert np.isfinite(run.loss).all()
    assert run.loss[-1] < run.loss[0] / 10
    assert "diverged" not in said.output


def test_what_is_asked_for_or_has_no_curvature_is_left(houses):
    problem = ravine.Problem.from_csv(houses[0])
    assert choose_lr(ravine.gallery.rosenbrock(), {}, 100) is None
    assert choose_lr(problem, {"maximize": True}, 100) is None
    assert choose_lr(problem, {"momentum": -1.0}, 100) is None  # torch complains of it, in torch's words


@pytest.mark.parametrize("criterion", [torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss()])
def test_down_a_straight_slope_the_way_takes_half_of_the_steps(houses, criterion):
    """Prices are hundreds of thousands from the first line: there no curvature says how far a step may go."""
    problem = ravine.Problem.from_csv(houses[0], criterion=criterion)
    lr, why = choose_lr(problem, {}, 80)
    assert "half of the 80 steps" in why
    losses = ravine.descend(problem, lr=lr, steps=80).loss.values
    assert losses[20] > losses[0] / 3  # on its way
    assert losses[45:].max() < losses[0] / 5  # where it ends
    slower = choose_lr(problem, {"momentum": 0.9}, 80)[0]
    assert slower == pytest.approx(lr / 10, rel=0.1)
    far = ravine.descend(problem, lr=slower, momentum=0.9, steps=80).loss.values
    assert far.min() < losses[0] / 5


def test_momentum_and_the_steepest_criterion_count():
    article = ravine.gallery.article()
    design = np.c_[article["MSELoss"].parts.inputs.numpy(), np.ones(50)].astype(float)
    steep = np.linalg.eigvalsh(design.T @ design / 50)[-1]
    assert choose_lr(article["HuberLoss"], {}, 100)[0] == pytest.approx(1 / steep, rel=0.06)
    both = {name: article[name] for name in ("MSELoss", "HuberLoss")}
    assert choose_lr(both, {}, 100) == choose_lr(article["MSELoss"], {}, 100)
    assert choose_lr(article["MSELoss"], {"momentum": 0.9}, 100)[0] == pytest.approx(1.9 / (2 * steep), rel=0.06)


def test_the_gallery_keeps_torchs_own(tmp_path):
    said = CliRunner().invoke(app, ["descend", "article", "--steps", "2", "-o", str(tmp_path / "run.nc")])
    assert ravine.open(tmp_path / "run.nc").lr == 0.001
    assert "half of the" not in said.output
