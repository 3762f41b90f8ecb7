"""What sentences rest on: places of rest, turns at the end, noise, level directions, places that were looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import ravine
from ravine._study.counted import worded


def by_kind(run, **more):
    return {each.kind: each for each in ravine.explain(run, **more)}


# ------------------------------------------------------------------------------------------------ rest elsewhere


@pytest.mark.parametrize(
    ("problem", "settings"),
    [
        ("styblinski_tang", {"lr": 0.01}),
        ("rastrigin", {"lr": 0.002}),
        ("rastrigin", {"lr": 0.002, "momentum": 0.5}),
    ],
)
def test_who_rests_in_another_minimum_is_told_so_and_not_of_rounding(problem, settings):
    run = ravine.descend(problem, steps=300, **settings)
    told = by_kind(run)
    held = ravine.gallery
    made = getattr(held, problem)()
    end = {name: torch.tensor(float(run.position[-1].sel(parameter=name)), dtype=torch.float64) for name in ("x", "y")}
    curvature = np.linalg.eigvalsh(ravine.curvature.hessian(made, end))
    assert (curvature > 0).all()  # a minimum of its own
    place = torch.tensor([float(end["x"]), float(end["y"])], dtype=torch.float64, requires_grad=True)
    made.in_double().loss({"x": place[0], "y": place[1]}).backward()
    assert float(place.grad.abs().max()) < told["still"].values["gradient"]
    away = np.linalg.norm(run.position.values[-1].astype(float) - run.minimizer.values)
    assert told["still"].values["away"] == pytest.approx(away)
    assert told["still"].values["cause"] == "elsewhere"
    assert "at a minimum of its own, or on a plateau" in told["still"].sentence
    assert not {"margin", "momentum", "swing", "beyond the limit"} & set(told)


def test_what_rounding_takes_from_the_way_home_is_no_other_place():
    problem = ravine.Problem(lambda p: 1e-6 * (p["x"] - 2e3) ** 2 / 2, start={"x": 1e3})
    run = ravine.descend(problem, lr=0.01, steps=100)
    told = by_kind(run.assign(ravine.landmarks(problem)))
    assert told["still"].values["cause"] == "rounding"
    assert "margin" in told


def test_on_a_plateau_it_stands():
    problem = ravine.Problem(lambda p: 1 - torch.exp(-(p["x"] ** 2)), start={"x": 4.0})
    run = ravine.descend(problem, lr=0.1, steps=100)
    told = by_kind(run.assign(ravine.landmarks(problem, near={"x": 0.1})))
    assert told["still"].sentence.startswith("Nothing moves: it stands 4 from the minimum that is known")


# ---------------------------------------------------------------------------------------------------------- at the end


def tail_of(losses):
    """Return what is said of losses as they are, of a run for which no minimum is known."""
    problem = ravine.gallery.rosenbrock()
    run = ravine.descend(problem, lr=1e-4, steps=len(losses) - 1).drop_vars(
        ["minimizer", "minimum_loss", "hessian"], errors="ignore"
    )
    return by_kind(run.assign(loss=("step", np.asarray(losses, dtype=run.loss.dtype))))["course"].sentence


def test_the_end_is_told_by_where_it_goes_there():
    steps = np.arange(101)
    falls_again = 1.5 + np.cos(2 * np.pi * (steps - 92) / 30)  # its top lies within the last tenth
    late, before = falls_again[-10:].mean(), falls_again[-20:-10].mean()
    assert late > 1.1 * before
    assert falls_again[-1] < falls_again[-6]
    told = tail_of(falls_again)
    assert "Over the last tenth its mean is" in told
    assert "at the end" not in told
    assert "It rises at the end" in tail_of(1.5 + np.cos(2 * np.pi * (steps - 104) / 40))
    assert "It still falls at the end" in tail_of(0.99**steps)
    assert "It still falls at the end" in tail_of(0.99 ** steps[:21])


def test_what_grows_at_the_end_of_a_short_run_is_told():
    told = tail_of([1.0, 0.9, 0.95, 0.9, 1.0, 0.9, 1.5, 2.2, 2.8, 3.2, 3.3])
    assert told.endswith("It grows at the end, from 0.9 at step 5 on.")


def test_noise_is_no_trend():
    """Of losses that only scatter about one number, a direction is told as seldom as chance has it."""
    random = np.random.default_rng(0)
    told = [tail_of(2 + 0.3 * random.standard_normal(101)) for _ in range(60)]
    assert sum("at the end" in each for each in told) <= 3
    assert sum("which its scatter from one to the next may make" in each for each in told) > 30
    falling = [tail_of(2 - 0.01 * np.arange(101) + 0.05 * random.standard_normal(101)) for _ in range(20)]
    assert sum("still falls at the end" in each for each in falling) >= 12
    assert not any("rises at the end" in each for each in falling)


# ------------------------------------------------------------------------------------------- places that were looked at


def test_the_last_place_of_a_recording_is_looked_at_too():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        inputs = torch.randn(20, 3)
    targets, criterion = inputs.prod(1, keepdim=True), torch.nn.MSELoss()
    problem = ravine.Problem.of(model, criterion, (inputs, targets))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with ravine.record(model, optimizer, criterion, every=1) as recorder:
        for _ in range(40):
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()
    run = recorder.dataset()
    run = run.assign(ravine.eigenvalues(problem, run, steps=range(0, 41, 4)))
    told = by_kind(run)
    assert told["edge"].values["looked"] == 11
    assert told["edge"].values["last_share"] == pytest.approx(float(run.sharpness[40]) * 0.25 / 2)
    assert told["spectrum"].values["step"] == 40


def test_along_a_direction_without_an_error_nothing_is_said_to_swing():
    problem = ravine.Problem(
        lambda p: 0.5 * (p["x"] ** 2 + 10 * p["y"] ** 2), start={"x": torch.tensor(1.0), "y": torch.tensor(0.0)}
    )
    run = ravine.descend(problem, lr=0.3, steps=30)
    assert (run.position.sel(parameter="y") == 0).all()
    told = by_kind(run.assign(sharpness=ravine.sharpness(problem, run)))
    assert told["sharpness"].sentence.endswith("As long as the curvature stays, an error along it grows.")


def test_a_trough_is_no_bowl(tmp_path):
    path = tmp_path / "same.csv"
    path.write_text("x,y\n1,2\n1,3\n1,4\n")
    problem = ravine.Problem.from_csv(path)
    run = ravine.descend(problem, lr=0.1, momentum=0.5)
    assert np.linalg.matrix_rank(run.hessian.values) == 1
    told = by_kind(run)["momentum"].sentence
    assert told.startswith("In a trough, level along its bottom, and at this lr, momentum 0.5 is slower than none")
    quick = by_kind(ravine.descend(problem, lr=0.01, momentum=0.5))["momentum"].sentence
    assert "(condition number 1, level directions aside)" in quick


def test_three_places_lie_on_any_plane():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        inputs = torch.randn(20, 3)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (inputs, inputs.prod(1, keepdim=True)))
    run = ravine.descend(problem, lr=0.2, steps=40)
    for count, words in ((3, "as any three places do"), (5, "These are 5: of the way between them it is not known.")):
        few = run.isel(step=np.linspace(0, 40, count).astype(int))
        plane = ravine.Plane.pca(few)
        told = by_kind(plane.project(few, problem))["map"].sentence
        assert words in told or "misleads" in told, (count, told)
        if count == 3:
            assert words in told


# ------------------------------------------------------------------------------------------------------------- titles


@pytest.mark.parametrize(
    ("scheduler", "title", "settings"),
    [
        ("OneCycleLR(max_lr=0.5,total_steps=100)", "SGD, lr 2 × 10⁻⁶ … 0.5", "), OneCycleLR"),
        ("StepLR(step_size=30,gamma=0.1)", "Plain SGD, lr 0.0001 … 0.1", "SGD(lr=0.0001 … 0.1), StepLR"),
        (
            lambda rule: torch.optim.lr_scheduler.LambdaLR(rule, lambda k: 0.5**k),
            "Plain SGD, lr ",
            " … 0.1)   100 steps",
        ),
    ],
)
def test_a_scheduled_run_is_not_titled_by_one_lr(scheduler, title, settings):
    run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, scheduler=scheduler)
    low, high = float(run.scheduled_lr[:-1].min()), float(run.scheduled_lr[:-1].max())
    head, beneath, *_ = (text.get_text() for text in ravine.plot.losses(run).texts)
    assert head.startswith(title)
    assert settings in beneath
    assert high == pytest.approx(0.5 if "0.5" in head else 0.1)
    assert low < high / 100


def test_epochs_are_no_steps(tmp_path):
    """Between checkpoints lie many updates: nothing is said that rests on the difference of two being one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        inputs = torch.randn(40, 3)
    targets, criterion = inputs.prod(1, keepdim=True), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(6):
        for _ in range(30):
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()
        torch.save({"epoch": epoch, "model": model.state_dict()}, tmp_path / f"ep{epoch}.pt")
    problem = ravine.Problem.of(model, criterion, (inputs, targets))
    with pytest.warns(UserWarning, match="their epochs stand for steps"):
        run = ravine.checkpoints(model, sorted(tmp_path.glob("*.pt")))
    path = ravine.Plane.pca(run).project(run, problem)
    assert ravine.plot.losses(path).texts[0].get_text() == "Checkpoints"
    told = by_kind(path)
    assert "in 5 epochs" in told["course"].sentence
    assert "at every recorded epoch" in told["map"].sentence or "at epoch" in told["map"].sentence
    assert not {"swing", "still", "hops"} & set(told)
    assert " step" not in " ".join(each.sentence for each in told.values() if each.kind != "plane")


# ------------------------------------------------------------------------------------------ what a second reading found


def test_two_optimizers_of_a_large_model_are_recorded():
    with torch.random.fork_rng():
        model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 1))
    rules = [torch.optim.SGD(each.parameters(), lr=1e-3) for each in model]
    criterion, inputs = torch.nn.MSELoss(), torch.ones(8, 300)
    with ravine.record(model, rules, criterion=criterion) as recorder:
        for _ in range(30):
            for rule in rules:
                rule.zero_grad()
            criterion(model(inputs), torch.zeros(8, 1)).backward()
            for rule in rules:
                rule.step()
    assert recorder.dataset().step.values[[0, -1]].tolist() == [0, 30]


def test_what_swings_while_it_grows_has_diverged():
    missed = 0
    for momentum in (1.05, 1.2, 1.5, 2.0):
        for lr in (0.05, 0.1, 0.3):
            for steps in (20, 40, 100):
                run = ravine.descend(ravine.gallery.quadratic(condition=10), lr=lr, momentum=momentum, steps=steps)
                losses = run.loss.values.astype(float)
                missed += bool(losses[-1] > 1e4 * losses[0] and not ravine.measure.diverged(run))
    assert missed == 0


def test_a_gap_hides_no_divergence():
    for place in range(1, 30):
        losses = np.geomspace(1, 1e9, 31)
        losses[place] = np.nan
        assert bool(ravine.measure.diverged(xr.Dataset({"loss": ("step", losses)}, {"step": range(31)}))), place


def test_the_lr_of_groups_is_not_said_to_be_0_where_it_is_not():
    problem = ravine.gallery.quadratic()
    small = {"x": {"lr": 1e-12}, "y": {"lr": 1e-13}}
    assert "lr is 0" not in by_kind(ravine.descend(problem, lr=0.5, steps=50, groups=small))["still"].sentence
    none = {"x": {"lr": 0.0}, "y": {"lr": 0.0}}
    assert "lr is 0" in by_kind(ravine.descend(problem, lr=0.5, steps=50, groups=none))["still"].sentence


def test_a_count_is_no_checkpoint():
    assert worded("it rises at 3 of 8 steps", "checkpoint") == "it rises at 3 of 8 checkpoints"
    assert worded("as far as 8 steps tell", "checkpoint") == "as far as 8 checkpoints tell"
    assert worded("the swing halves every 13.2 steps", "checkpoint") == "the swing halves every 13.2 checkpoints"
    assert worded("8 steps", "checkpoint") == "up to checkpoint 8"


def test_an_lr_that_a_schedule_lowers_from_the_start_is_the_one_named():
    def low(rule):
        return torch.optim.lr_scheduler.ConstantLR(rule, factor=0.1, total_iters=1000)

    run = ravine.descend(ravine.gallery.quadratic(), lr=0.1, steps=50, scheduler=low)
    assert (run.scheduled_lr == pytest.approx(0.01)).all()
    assert "lr 0.01" in ravine.plot.losses(run).texts[0].get_text()


def test_what_begins_as_no_number_is_told_so():
    run = xr.Dataset(
        {"loss": ("step", [np.nan] * 9), "position": (("step", "parameter"), np.zeros((9, 1)))},
        {"step": range(9), "parameter": ["x"]},
    )
    assert by_kind(run)["diverged"].sentence == "The loss is nan from the start."
