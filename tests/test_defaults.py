"""What `ravine descend data.csv` does where nothing was asked for."""

import numpy as np
import pytest
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
    assert run.lr.item() == choose_lr(ravine.Problem.from_csv(path), {})[0]
    assert "half of the" in said.output
    assert "--lr sets another" in said.output
    assert np.isfinite(run.loss).all()
    assert run.loss[-1] < run.loss[0] / 10
    assert "diverged" not in said.output


def test_what_is_asked_for_or_has_no_curvature_is_left(houses):
    problem = ravine.Problem.from_csv(houses[0])
    article = ravine.gallery.article()
    assert choose_lr(article["L1Loss"], {}) is None
    assert choose_lr(ravine.gallery.rosenbrock(), {}) is None
    assert choose_lr(problem, {"maximize": True}) is None
    assert choose_lr(problem, {"momentum": -1.0}) is None  # torch complains of it, in torch's words


def test_momentum_and_the_steepest_criterion_count():
    article = ravine.gallery.article()
    design = np.c_[article["MSELoss"].parts.inputs.numpy(), np.ones(50)].astype(float)
    steep = np.linalg.eigvalsh(design.T @ design / 50)[-1]
    assert choose_lr(article["HuberLoss"], {})[0] == pytest.approx(1 / steep, rel=0.06)
    both = {name: article[name] for name in ("MSELoss", "HuberLoss")}
    assert choose_lr(both, {}) == choose_lr(article["MSELoss"], {})
    assert choose_lr(article["MSELoss"], {"momentum": 0.9})[0] == pytest.approx(1.9 / (2 * steep), rel=0.06)


def test_the_gallery_keeps_torchs_own(tmp_path):
    said = CliRunner().invoke(app, ["descend", "article", "--steps", "2", "-o", str(tmp_path / "run.nc")])
    assert ravine.open(tmp_path / "run.nc").lr == 0.001
    assert "half of the" not in said.output
