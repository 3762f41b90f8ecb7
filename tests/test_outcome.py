"""One run has one outcome: in sentences, titles, captions, curves, films and counts; and torch alone says the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ravine
from artists import of_gid, said
from ravine import measure
from ravine.plot._canvas import words

DOUBLE = torch.float64


def left_once(p):
    return p["x"] ** 2 - 0.1 * torch.log(p["x"] + 1) + p["y"] ** 2


START = {"x": torch.tensor(0.8), "y": torch.tensor(1.0)}


def by_torch(loss, start, rule, steps, **settings):
    """Losses and places by torch alone."""
    leaves = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    optimizer = rule(list(leaves.values()), **settings)
    losses, places = [], []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        now = loss(leaves)
        losses.append(now.item())
        places.append(torch.cat([each.detach().flatten() for each in leaves.values()]).tolist())
        now.backward()
        optimizer.step()
    return np.array(losses), np.array(places)


@pytest.mark.parametrize(
    ("rule", "lr", "x"),
    [
        (torch.optim.Adam, 2.0, 0.8),
        (torch.optim.AdamW, 2.0, 0.8),
        (torch.optim.Adagrad, 2.0, 0.8),
        (torch.optim.SGD, 0.8, 2.5),
    ],
)
def test_a_run_that_was_no_number_and_came_back(rule, lr, x):
    """A logarithm is left once or more, and torch comes back and arrives: it has not diverged, and is never said to."""
    start = START | {"x": torch.tensor(x)}
    problem = ravine.Problem(left_once, start)
    run = ravine.descend(problem, rule, lr=lr, steps=100)
    run = run.assign(ravine.landmarks(problem))
    losses, _ = by_torch(left_once, start, rule, 1000, lr=lr)
    assert run.loss.values.tolist()[:5] == pytest.approx(losses[:5].tolist(), nan_ok=True)
    broken = np.flatnonzero(~np.isfinite(losses[:101]))
    assert len(broken)
    assert np.isfinite(losses[-500:]).all()
    assert (losses[-500:] - float(run.minimum_loss) < 0.01 * (losses[0] - float(run.minimum_loss))).all()

    assert not bool(measure.diverged(run))
    assert str(measure.arrival(run).outcome.values) == "arrived"
    step = int(measure.arrival(run))
    told = {each.kind: each for each in ravine.explain(run)}
    assert "diverged" not in told
    assert told["arrival"].values["step"] == step
    assert told["not finite"].values["first"] == broken[0]
    assert told["not finite"].values["count"] == len(broken)
    assert told["not finite"].values["back"] == broken[-1] + 1
    assert "diverged" not in words.outcome(run)

    land = ravine.surface(problem, x=(-0.9, 3), y=(-2, 2), points=21)
    for figure in (ravine.plot.descent(run, land), ravine.plot.losses(run), ravine.plot.animate(run, land).frame(-1)):
        shown = said(figure)
        assert "diverged" not in shown
        assert f"step {step}" in shown
        assert not of_gid(figure.axes[0], "diverged")
    short = measure.summary(run)
    assert not bool(short.diverged)
    assert float(short.first_nonfinite) == broken[0]
    earlier = short.assign(diverged=short.diverged | True)  # as summaries were written
    assert not bool(measure.diverged(earlier))


def test_sweeps_and_their_runs_say_the_same():
    problem = ravine.Problem(left_once, START)
    marks = ravine.landmarks(problem)
    how = {"lr": np.geomspace(0.05, 4, 12), "weight_decay": [0.0, 0.01, 0.1], "steps": 100}
    runs = ravine.sweep(problem, torch.optim.AdamW, **how).assign(minimum_loss=marks.minimum_loss)
    lost, fate = measure.diverged(runs), measure.arrival(runs).outcome
    assert ((fate == "diverged") == lost).all()
    assert np.isnan(runs.loss).any("step").sum() > 3
    counted = next(each for each in ravine.explain(runs) if each.kind == "outcomes")
    assert counted.values.get("diverged", 0.0) == int(lost.sum())
    for lr in runs.lr.values[::4]:
        one = runs.sel(lr=lr, weight_decay=0.0)
        told = {each.kind for each in ravine.explain(one)}
        assert ("diverged" in told) == bool(lost.sel(lr=lr, weight_decay=0.0))


def test_what_never_comes_back_breaks_where_it_stays_broken():
    """nan at step 1, back at step 2, and lost for good later: the later step is told, in words and in pictures."""
    losses = np.array([3.0, np.nan, 2.0, 1.5, np.nan, np.nan])
    run = ravine.descend(ravine.gallery.quadratic(), lr=0.1, steps=5).assign(loss=("step", losses))
    told = {each.kind: each for each in ravine.explain(run)}
    assert told["diverged"].values["first_nonfinite"] == 4
    assert "nan at step 4" in told["diverged"].sentence
    assert words.outcome(run).endswith("→ nan at step 4: it diverged")
    assert float(measure.first_nonfinite(run)) == 1
    assert str(measure.arrival(run).outcome.values) == "diverged"
    assert "diverged at step 4" in said(ravine.plot.losses(run))


def far_away(p):
    return 1 - torch.exp(-(p["x"] ** 2))


def high_bowl(p):
    return 1e4 + p["x"] ** 2 + 0.3 * p["y"] ** 2


@pytest.mark.parametrize(("rule", "lr"), [(torch.optim.SGD, 40.0), (torch.optim.Adam, 50.0)])
def test_a_level_plateau_above_the_start_is_no_minimum(rule, lr):
    start = {"x": torch.tensor(0.5)}
    problem = ravine.Problem(far_away, start)
    run = ravine.descend(problem, rule, lr=lr, steps=20)
    run = run.assign(ravine.landmarks(problem, near={"x": float(run.position[-1, 0])}))
    losses, places = by_torch(far_away, start, rule, 20, lr=lr)
    assert losses[-1] > losses[0] + 0.7
    assert abs(places[-1] - places[0]) > 20
    told = {each.kind: each for each in ravine.explain(run)}
    below = float(run.minimum_loss) - losses[0]
    assert told["arrival"].values["below"] == pytest.approx(below, rel=1e-6)
    assert told["arrival"].sentence.startswith("It starts 0.779 below the minimum that the study holds")
    assert "floor" not in told
    assert str(measure.arrival(run).outcome.values) == "not arrived"


def test_what_ends_below_a_minimum_that_was_found_has_not_arrived_there():
    """A double well whose other side is deeper: the minimum near the start is not the one that the run goes to."""
    start = {"x": torch.tensor(1.9, dtype=DOUBLE)}

    def wells(p):
        return (p["x"] ** 2 - 1) ** 2 + 0.3 * p["x"]

    problem = ravine.Problem(wells, start)
    run = ravine.descend(problem, lr=0.02, momentum=0.95, steps=300)
    run = run.assign(ravine.landmarks(problem, near={"x": 1.0}))
    losses, _ = by_torch(wells, start, torch.optim.SGD, 300, lr=0.02, momentum=0.95)
    below = float(run.minimum_loss) - losses[-1]
    assert below > 0.5
    told = {each.kind: each for each in ravine.explain(run)}["arrival"]
    assert told.values["below"] == pytest.approx(below)
    assert told.sentence.startswith("At the end it is 0.")


@pytest.mark.parametrize("settings", [{"lr": 0.1, "momentum": 0.9, "steps": 100}, {"lr": 1.02, "steps": 18}])
def test_a_gap_within_the_rounding_of_the_loss_is_no_rest(settings):
    """The loss is flat within its rounding; the path is not, and the minimizer is known."""
    start = {"x": torch.tensor(0.02), "y": torch.tensor(-0.02)}
    problem = ravine.Problem(high_bowl, start, minimizers=[{"x": 0.0, "y": 0.0}])
    run = ravine.descend(problem, **settings)
    rule = {name: value for name, value in settings.items() if name != "steps"}
    losses, places = by_torch(high_bowl, start, torch.optim.SGD, settings["steps"], **rule)
    assert np.ptp(losses) <= 2 * np.spacing(np.float32(1e4))
    assert abs(places - places[0]).max() > 0.015
    told = {each.kind: each for each in ravine.explain(run)}
    assert told["arrival"].sentence.startswith("The gap is within the rounding of the loss from the start")
    assert "stays at the minimum" not in " ".join(each.sentence for each in told.values())
    if "momentum" in settings:
        land = ravine.surface(problem, x=(-0.03, 0.03), y=(-0.03, 0.03), points=11)
        assert "step 0" not in said(ravine.plot.descent(run, land))
    rest = ravine.descend(problem.starting_at(x=0.0, y=0.0), **settings)
    assert (rest.position == 0).all()
    told = {each.kind: each for each in ravine.explain(rest)}
    assert told["arrival"].sentence == "It starts at the minimum, within rounding, and stays there."


def huber(p):
    t = p["t"]
    return torch.where(t.abs() < 1, t**2 / 2, t.abs() - 0.5).sum()


@pytest.mark.parametrize(
    ("start", "lr", "steps"),
    [
        ([1.3], 1.99, 100),
        ([2.5], 1.99, 100),
        ([1.3], 1.98, 50),
        ([1.3], 1.995, 100),
        ([1.3], 1.9999, 200),
        ([1.3, 1.1, 2.0, 0.5, 0.9], 1.99, 100),
    ],
)
def test_what_shrinks_a_little_at_each_step_comes_nearer(start, lr, steps):
    """By torch alone it arrives; at its end it goes to and fro, a little less each time."""
    begin = {"t": torch.tensor(start)}
    problem = ravine.Problem(huber, begin)
    run = ravine.descend(problem, lr=lr, steps=steps)
    run = run.assign(ravine.landmarks(problem))
    losses, _ = by_torch(huber, begin, torch.optim.SGD, 30 * steps if lr < 1.999 else 20_000, lr=lr)
    assert losses[-1] < 0.01 * losses[0]
    updates = np.linalg.norm(np.diff(run.position.values.astype(float), axis=0), axis=1)
    assert (np.diff(updates[-steps // 2 :]) < 0).all()
    told = {each.kind: each for each in ravine.explain(run)}
    assert "jitter" not in told
    assert "cycles" not in " ".join(each.sentence for each in told.values())


def test_what_goes_to_and_fro_along_one_direction_and_nearer_along_another():
    """The steep direction has a kink and hops about it; along the flat one the loss still falls."""

    def kinked(p):
        return p["x"].abs() + 0.001 * p["y"] ** 2

    start = {"x": torch.tensor(0.025), "y": torch.tensor(3.0)}
    problem = ravine.Problem(kinked, start, minimizers=[{"x": 0.0, "y": 0.0}])
    run = ravine.descend(problem, lr=0.05, steps=400)
    losses, _ = by_torch(kinked, start, torch.optim.SGD, 8000, lr=0.05)
    assert losses[-1] < losses[400] - 0.001
    assert "comes no nearer" not in " ".join(each.sentence for each in ravine.explain(run))


# ---------------------------------------------------------------------- when it would arrive, and by which rate


def squared(p):
    return (p["x"] - 1000.0) ** 2 / 2


@pytest.mark.parametrize(
    ("lr", "at"), [(2e-7, 850.0), (2e-7, 899.0), (1e-7, 700.0)], ids=["far", "at the limit", "a smaller step"]
)
def test_where_rounding_stands_still_before_the_goal_nothing_is_forecast(lr, at):
    """Float32 counts from 0 finely, and at the size of the goal no longer: torch stands still on the way."""
    _, places = by_torch(squared, {"x": torch.tensor(at)}, torch.optim.SGD, 50, lr=lr)
    assert (places == at).all()
    assert (at - 1000.0) ** 2 > 0.01 * 1000.0**2
    problem = ravine.Problem(squared, {"x": torch.tensor(0.0)}, minimizers=[{"x": 1000.0}])
    run = ravine.descend(problem, lr=lr, steps=2000)
    told = {each.kind: each for each in ravine.explain(run)}
    assert "expected" not in told["arrival"].values
    assert told["arrival"].sentence.startswith("After 2,000 steps it has not arrived")


def test_a_forecast_that_rounding_leaves_alone_comes_true():
    problem = ravine.Problem(squared, {"x": torch.tensor(0.0)}, minimizers=[{"x": 1000.0}])
    run = ravine.descend(problem, lr=0.01, steps=20)
    expected = {each.kind: each for each in ravine.explain(run)}["arrival"].values["expected"]
    losses, _ = by_torch(squared, {"x": torch.tensor(0.0)}, torch.optim.SGD, 2 * int(expected), lr=0.01)
    assert int(np.flatnonzero(losses > 0.01 * losses[0])[-1]) + 1 == pytest.approx(expected, abs=1)


def test_a_forecast_by_the_gap_names_its_rate_and_what_it_leaves_out():
    """Years as they are: the steep direction makes the gap, and the flat one has not moved when that has gone."""
    years = torch.linspace(1950, 2020, 30, dtype=DOUBLE)[:, None]
    heights = 0.02 * years - 3 + torch.sin(years)
    model = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1, dtype=DOUBLE)
    start = {"weight": torch.tensor([[0.3]], dtype=DOUBLE), "bias": torch.tensor([-0.2], dtype=DOUBLE)}
    model.load_state_dict(start)

    def line(p):
        return ((years * p["weight"] + p["bias"] - heights) ** 2).mean()

    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (years, heights))
    run = ravine.descend(problem, lr=1e-7, momentum=0.99, steps=200)
    found = {each.kind: each for each in ravine.explain(run)}["arrival"]
    expected = int(found.values["expected"])
    how = {"lr": 1e-7, "momentum": 0.99}
    losses, places = by_torch(line, start, torch.optim.SGD, 3 * expected, **how)
    gaps = losses - float(run.minimum_loss)
    assert int(np.flatnonzero(gaps > 0.01 * gaps[0])[-1]) + 1 == pytest.approx(expected, abs=1)
    _, directions = np.linalg.eigh(run.hessian.values)
    errors = (places - run.minimizer.values) @ directions
    assert found.values["left"] == pytest.approx(abs(errors[expected, 0] / errors[0, 0]), rel=1e-3)
    assert found.values["rate"] == pytest.approx(np.sqrt(0.99), rel=1e-9)
    assert found.values["slowest_rate"] > 1 - 1e-8
    assert "by the gap alone it would arrive" in found.sentence
    assert "will be left then" in found.sentence


def test_what_does_not_climb_is_not_said_to():
    bowl = ravine.gallery.quadratic(condition=10)
    level = ravine.Problem(lambda p: p["x"] * 0 + 3.0, START | {"x": torch.tensor(1.0)})
    for run in (
        ravine.descend(bowl, lr=0.0, maximize=True, steps=5),
        ravine.descend(level, lr=0.1, maximize=True, steps=5),
    ):
        assert np.ptp(run.loss.values) == 0
        told = {each.kind: each for each in ravine.explain(run)}["climb"].sentence
        assert told == f"maximize=True, yet the loss stays at {float(run.loss[0]):.3g}."
    up = {each.kind: each for each in ravine.explain(ravine.descend(bowl, lr=1e-5, maximize=True, steps=2))}["climb"]
    assert "it climbs, and the loss goes from 12.6" in up.sentence
    first, last = up.sentence.rstrip(".").split(" from ")[1].split(" to ")
    assert float(first) < float(last)
