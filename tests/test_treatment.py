"""Clipping and noise: settings of the loop that treat a gradient before the optimizer sees it."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import ravine
from ravine._study.rule import conditions_of
from ravine.cli import app
from ravine.measure._update import update_of
from ravine.plot._canvas.words import knobs, settings_text

TREATED = [{"clip_norm": 1.0}, {"noise": 0.3, "seed": 5}, {"clip_norm": 0.5, "noise": 1.0, "seed": 1}]


@pytest.fixture
def mse(article):
    return article["MSELoss"]


def bare(problem, steps, clip_norm=None, noise=None, seed=0, optimizer=torch.optim.SGD, **settings):
    """Positions of a plain loop, as the documents say it."""
    live = problem.live()
    leaves = list(live.leaves.values())
    rule, generator = optimizer(leaves, **settings), torch.Generator().manual_seed(2**31 + seed)
    positions, norms = [torch.cat([leaf.detach().reshape(-1) for leaf in leaves])], []
    for _ in range(steps):
        rule.zero_grad()
        live.loss().backward()
        if noise:
            for leaf in leaves:
                leaf.grad.add_(torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype), alpha=noise)
        if clip_norm:
            norms.append(torch.nn.utils.clip_grad_norm_(leaves, clip_norm).item())
        rule.step()
        positions.append(torch.cat([leaf.detach().reshape(-1) for leaf in leaves]))
    return torch.stack(positions).numpy(), norms


def printed(run):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), torch.random.fork_rng():
        exec(compile(ravine.code(run), "script", "exec"), {})
    return [float(line.rpartition(" ")[2]) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("treated", TREATED, ids=str)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_equals_a_bare_loop_in_every_bit_and_so_does_its_script(case, treated, optimizer):
    run = ravine.descend(case.problem, optimizer, lr=case.lr / 2, steps=12, **treated)
    positions, norms = bare(case.problem, 12, optimizer=optimizer, lr=case.lr / 2, **treated)
    assert np.array_equal(run.position.values, positions)
    assert ("gradient_norm" in run) == ("clip_norm" in treated)
    if norms:
        assert run.gradient_norm.values[:-1].tolist() == norms
        assert np.isnan(run.gradient_norm.values[-1])
    for name, value in treated.items():
        assert float(run[name]) == value
    assert printed(run) == run.loss.values[:-1].tolist()


def test_the_recorded_gradient_is_what_the_optimizer_sees(mse):
    run = ravine.descend(mse, lr=0.1, momentum=0.9, steps=10, clip_norm=0.5, also=("gradient", "velocity"))
    lengths = np.linalg.norm(run.gradient.values[:-1], axis=1)
    assert np.allclose(lengths, np.minimum(run.gradient_norm.values[:-1], 0.5), rtol=1e-5)
    assert np.isnan(run.gradient.values[-1]).all()
    assert set(update_of(run, 3).parts) == {"velocity", "gradient"}  # torch's rule holds of what it saw


def test_batches_and_closures_are_treated_too(mse):
    run = ravine.descend(mse, lr=0.1, batch_size=7, steps=8, **TREATED[2])
    assert printed(run) == run.batch_loss.values[:-1].tolist()
    bounded = ravine.descend(mse, torch.optim.LBFGS, lr=0.1, steps=3, clip_norm=0.1)
    assert printed(bounded) == bounded.loss.values[:-1].tolist()


def test_at_values_that_do_nothing_it_is_a_plain_run(mse):
    plain = ravine.descend(mse, lr=0.1, steps=10)
    for off in ({"clip_norm": math.inf}, {"noise": 0.0}, {"noise": 0, "seed": 3}):
        run = ravine.descend(mse, lr=0.1, steps=10, **off)
        assert np.array_equal(run.position.values, plain.position.values)
        assert {each.sentence for each in ravine.explain(run)} == {each.sentence for each in ravine.explain(plain)}
        assert knobs(run) == knobs(plain) == "Plain SGD, lr 0.1"


@pytest.mark.parametrize("treated", TREATED, ids=str)
def test_nothing_exact_is_said_of_treated_gradients(mse, treated):
    run = ravine.descend(mse, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, steps=40, **treated)
    told = ravine.explain(run)
    assert not [each.kind for each in told if each.scope != "measured" and each.kind != "goal"]
    assert {"clipping", "noise"} & {each.kind for each in told}
    assert "stability_limit" not in ravine.measure.arrival(run).coords
    assert conditions_of(run).why_no_theory is not None


def test_how_often_it_is_clipped(mse):
    run = ravine.descend(mse, lr=0.1, steps=40, clip_norm=2.0)
    found = next(each for each in ravine.explain(run) if each.kind == "clipping")
    norms = run.gradient_norm.values[:-1]
    assert found.values["clipped"] == (norms > 2).sum() > 0
    assert found.values["largest"] == norms.max()
    never = next(
        e for e in ravine.explain(ravine.descend(mse, lr=0.1, steps=9, clip_norm=99.0)) if e.kind == "clipping"
    )
    assert never.sentence.startswith("Clipping never acts: in 9 steps no gradient is longer than 99")
    assert not [e for e in ravine.explain(run.isel(step=slice(None, None, 3))) if e.kind == "clipping"]


def test_titles_name_them(mse):
    run = ravine.descend(mse, lr=0.1, steps=3, clip_norm=2.0, noise=0.5)
    assert knobs(run) == "SGD, lr 0.1, clip norm 2, noise 0.5"
    assert settings_text(run).endswith(", clip norm 2, noise 0.5")


def test_swept_run_by_run_with_seeds_of_their_own(mse, tmp_path):
    runs = ravine.sweep(mse, lr=[0.1, 0.2], clip_norm=[math.inf, 1.0], noise=[0.0, 0.1], steps=6)
    assert runs.position.dims[:3] == ("lr", "clip_norm", "noise")
    assert len(np.unique(runs.seed)) == 8
    cell = ravine.at(runs, lr=0.2, clip_norm=1.0, noise=0.1)
    positions, _ = bare(mse, 6, 1.0, 0.1, int(cell.seed), lr=0.2)
    assert np.array_equal(cell.position.values, positions)
    assert printed(cell) == cell.loss.values[:-1].tolist()
    plain = ravine.at(runs, lr=0.1, clip_norm=math.inf, noise=0.0)
    assert np.array_equal(plain.position.values, ravine.descend(mse, lr=0.1, steps=6).position.values)
    assert "margin" in {each.kind for each in ravine.explain(plain)}
    place = tmp_path / "runs.zarr"
    ravine.sweep(mse, lr=[0.1, 0.2], clip_norm=1.0, steps=3, store=place)
    with pytest.raises(ValueError, match=r"clip_norm was 1\.0, now 2\.0"):
        ravine.sweep(mse, lr=[0.1, 0.2], clip_norm=2.0, steps=3, store=place)


def test_counterfactuals_leave_each_of_them_out(mse):
    run = ravine.descend(mse, lr=0.1, clip_norm=3.0, noise=0.1, seed=3, steps=60)
    without = ravine.counterfactuals(mse, run)
    assert without.run.values.tolist() == ["without clip_norm", "without noise"]
    unclipped = ravine.descend(mse, lr=0.1, noise=0.1, seed=3, steps=60)
    assert np.array_equal(without.sel(run="without clip_norm").position.values, unclipped.position.values)
    said = " ".join(each.sentence for each in ravine.explain(run, against=without))
    assert "with no clip norm it" in said
    assert "with no noise it" in said


def test_runs_that_differ_in_more_than_what_is_named_are_not_compared(mse):
    def compared(run, other):
        return [each for each in ravine.explain(run, against=other) if each.kind == "with and without"]

    one = ravine.descend(mse, lr=0.1, steps=50)
    assert compared(one, ravine.descend(mse, lr=0.2, steps=50))
    assert not compared(one, ravine.descend(mse, lr=0.2, steps=50, scheduler="cosine"))
    assert not compared(one, ravine.descend(mse, lr=0.2, steps=50, batch_size=10))
    assert not compared(one, ravine.descend(mse, lr=0.2, steps=50, groups={"bias": {"momentum": 0.5}}))
    adam = ravine.descend(mse, "adam", lr=0.1, steps=99)
    assert compared(adam, ravine.descend(mse, "adam", lr=0.5, steps=99))
    assert not compared(adam, ravine.descend(mse, "adam", lr=0.5, betas=(0.5, 0.9), steps=99))


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("clip_norm", each) for each in (0, -1, math.nan, "a", True)), *(("noise", e) for e in (-1, math.inf, [1, 2]))],
    ids=str,
)
def test_what_gradients_cannot_be_treated_with(mse, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number"):
        ravine.descend(mse, lr=0.1, **{name: value})
    if not isinstance(value, list):
        with pytest.raises(ValueError, match=f"{name} must be a number"):
            ravine.sweep(mse, lr=[0.1, 0.2], steps=2, **{name: value})


def test_an_optimizer_that_has_such_a_setting_gets_it(mse):
    class Own(torch.optim.SGD):
        def __init__(self, params, lr=0.1, clip_norm=7.0):
            super().__init__(params, lr=lr)
            self.defaults["clip_norm"] = clip_norm

    run = ravine.descend(mse, Own, lr=0.1, clip_norm=0.001, steps=5)
    assert "gradient_norm" not in run
    assert np.array_equal(run.position.values, ravine.descend(mse, lr=0.1, steps=5).position.values)


def test_sparse_gradients_take_no_noise():
    model = torch.nn.Sequential(torch.nn.utils.skip_init(torch.nn.Embedding, 5, 1, sparse=True), torch.nn.Flatten(0))
    torch.nn.init.zeros_(model[0].weight)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (torch.tensor([0, 1, 3]), torch.tensor([1.0, 2.0, 3.0])))
    with pytest.raises(ValueError, match="is added to every entry of a gradient, and this one is sparse"):
        ravine.descend(problem, lr=0.1, noise=0.1)


def test_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(
        app, ["descend", "rosenbrock", "--steps", "5", "--clip-norm", "1", "--noise", "0.1", "--seed", "2"]
    )
    assert run.exit_code == 0, run.output
    study = ravine.open("rosenbrock-descent.nc")
    assert (float(study.clip_norm), float(study.noise), int(study.seed)) == (1.0, 0.1, 2)
    swept = ["sweep", "rosenbrock", "--steps", "3", "--lr", "0.001,0.002", "--clip-norm", "inf,1", "-o", "runs.nc"]
    assert CliRunner().invoke(app, swept).exit_code == 0
    assert ravine.open("runs.nc").sizes["clip_norm"] == 2
