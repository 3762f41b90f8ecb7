"""The range test: its steps are torch's, everything stays as it was, and what is said of it holds."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import ravine
from artists import line_of, said, words
from ravine._study.rule import Reason
from ravine.measure._ramp import find_over_limit

CE = torch.nn.CrossEntropyLoss()
BOWL = ravine.gallery.quadratic(condition=10)


@pytest.fixture(scope="module")
def digits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(90, 5, generator=generator), torch.randint(0, 3, (90,), generator=generator)


def network(*between):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), *between, torch.nn.Linear(6, 3))


def by_lr(told):
    return {each.kind: each for each in told}


def test_steps_are_those_of_a_plain_loop(case):
    curve = ravine.range_test(case.problem, lr=(1e-5, case.lr), steps=12, momentum=0.5, sharpness=False)
    leaves = {name: value.clone().requires_grad_() for name, value in case.problem.start.items()}
    rule = torch.optim.SGD(leaves.values(), lr=1e-5, momentum=0.5)
    for k in range(13):
        rate = 1e-5 * (case.lr / 1e-5) ** (min(k, 11) / 11)  # no step begins at the last place
        assert curve.scheduled_lr.values[k] == rate
        rule.param_groups[0]["lr"] = rate
        rule.zero_grad()
        loss = case.problem.loss(leaves)
        loss.backward()
        assert curve.loss.values[k] == pytest.approx(float(loss.detach()), rel=2e-6)
        rule.step()
    assert "sharpness" not in curve
    assert "batch_loss" not in curve
    assert ravine.check(curve, "loss", "scheduled_lr") is curve


def test_batches_are_dealt_as_the_loader_has_them(digits):
    model = network()
    loader = DataLoader(TensorDataset(*digits), 20, shuffle=False)
    problem = ravine.Problem.of(model, CE, loader)
    curve = ravine.range_test(problem, lr=(1e-3, 1), steps=11, seed=3, loss_every=5, sharpness=False)
    again = DataLoader(TensorDataset(*digits), 20, shuffle=True, generator=torch.Generator().manual_seed(3))
    batches = [*again, *again, *again]
    own = copy.deepcopy(model)
    rule = torch.optim.SGD(own.parameters(), lr=1e-3)
    for k in range(11):
        rule.param_groups[0]["lr"] = float(curve.scheduled_lr[k])
        if k % 5 == 0:
            with torch.no_grad():
                assert float(curve.loss[k]) == pytest.approx(float(CE(own(digits[0]), digits[1])), rel=1e-6)
        else:
            assert np.isnan(curve.loss[k])
        rule.zero_grad()
        loss = CE(own(batches[k][0]), batches[k][1])
        loss.backward()
        assert float(curve.batch_loss[k]) == pytest.approx(float(loss.detach()), rel=1e-6)
        rule.step()
    assert np.isnan(curve.batch_loss[-1])
    assert np.isfinite(curve.loss[-1])
    assert by_lr(ravine.explain(curve))["lowest"].values["start_loss"] == float(curve.loss[0])


def test_everything_stays_as_it_was(digits):
    model = network(torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.3))
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(TensorDataset(*digits), 30, shuffle=True, generator=generator)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, numbers = generator.get_state(), np.random.get_state()[1].copy()
    random = torch.get_rng_state()
    with pytest.warns(UserWarning, match="other batches each time"):
        problem = ravine.Problem.of(model, CE, loader)
    settings = {"momentum": 0.9}
    first = ravine.range_test(problem, torch.optim.SGD, lr=(1e-4, 5), steps=12, **settings)
    second = ravine.range_test(problem, torch.optim.SGD, lr=(1e-4, 5), steps=12, **settings)
    assert first.identical(second)  # neither left anything to the next
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())
    assert all(each.training for each in model.modules())
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), random)
    assert (np.random.get_state()[1] == numbers).all()
    assert settings == {"momentum": 0.9}


class Named(torch.nn.Module):
    def __init__(self, *between):
        super().__init__()
        self.inner = network(*between)

    def forward(self, inputs, labels):
        return {"loss": CE(self.inner(inputs), labels)}


def follow(curve, own, batches, whole):
    """Hold a curve against a bare loop: what each batch gave, and after each step the loss over all in eval mode."""
    rule = torch.optim.SGD(own.parameters(), lr=1e-3)
    for k in range(curve.sizes["step"] - 1):
        rule.param_groups[0]["lr"] = float(curve.scheduled_lr[k])
        own.eval()
        with torch.no_grad():
            assert float(curve.loss[k]) == pytest.approx(whole(own), rel=2e-6)
        own.train()
        rule.zero_grad()
        loss = batches[k](own)
        loss.backward()
        assert float(curve.batch_loss[k]) == pytest.approx(float(loss.detach()), rel=2e-6)
        rule.step()


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(80, 3, 32, 32, generator=generator), torch.randint(0, 4, (80,), generator=generator)


def convolutions():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(1800, 4)
        )


def test_how_many_pixels_are_evaluated_at_once_decides_nothing(pictures):
    """A loader of more images than are joined is a pair of tensors as any other is: BatchNorm follows the training."""
    model = convolutions()
    problem = ravine.Problem.of(model, CE, DataLoader(TensorDataset(*pictures), 32))
    assert len(problem.parts.batches.items) > 1
    curve = ravine.range_test(problem, lr=(1e-3, 1e-1), steps=10, seed=3, sharpness=False)
    dealt = DataLoader(TensorDataset(*pictures), 32, shuffle=True, generator=torch.Generator().manual_seed(3))
    batches = [lambda own, x=x, y=y: CE(own(x), y) for _ in range(4) for x, y in dealt]
    follow(curve, copy.deepcopy(model), batches, lambda own: float(CE(own(pictures[0]), pictures[1])))
    run = ravine.descend(problem, lr=0.01, steps=2)
    swept = ravine.sweep(problem, lr=[0.01, 0.02], steps=2)
    own = copy.deepcopy(model)
    rule = torch.optim.SGD(own.parameters(), lr=0.01)
    for _ in range(2):
        rule.zero_grad()
        CE(own(pictures[0]), pictures[1]).backward()
        rule.step()
    bare = torch.cat([each.detach().reshape(-1) for each in own.parameters()])
    assert (run.position[-1].values == bare.numpy()).all()
    assert (swept.position[0, -1].values == bare.numpy()).all()
    assert float(run.loss[-1]) == pytest.approx(float(CE(own.eval()(pictures[0]), pictures[1]).detach()), rel=2e-6)


@pytest.mark.parametrize("between", [(), (torch.nn.BatchNorm1d(6),)], ids=["plain", "BatchNorm"])
def test_batches_that_cannot_be_put_together_are_taken_as_they_came(digits, between):
    batches = [{"inputs": x, "labels": y} for x, y in zip(*(each.split(40) for each in digits), strict=True)]
    model = Named(*copy.deepcopy(between))
    before = copy.deepcopy(model.state_dict())
    problem = ravine.Problem.of(model, None, batches)
    curve = ravine.range_test(problem, lr=(1e-3, 1), steps=10)
    given = [lambda own, k=k: own(**batches[k % 3])["loss"] for k in range(10)]
    follow(curve, copy.deepcopy(model), given, lambda own: float(own(*digits)["loss"]))
    assert ravine.range_test(problem, lr=(1e-3, 1), steps=10).identical(curve)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.fixture(scope="module")
def of_500():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(500, 5, generator=generator), torch.randint(0, 3, (500,), generator=generator)


class Counting(torch.nn.Module):
    """It counts the rows that it is called with, and those of calls that are differentiated."""

    rows = 0.0

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, inputs):
        Counting.rows += len(inputs) * (1 if torch.is_grad_enabled() else 1 / 3)
        return self.inner(inputs)


@pytest.mark.parametrize("batch_size", [None, 250, 10])
def test_what_nobody_asked_for_takes_no_more_than_a_few_times_as_long_as_the_steps(of_500, batch_size):
    """Rows are counted: of steps, of losses over all data at a third, and of looks at the sharpness."""
    problem = ravine.Problem.of(Counting(), CE, of_500)
    bare = 200 * (batch_size or 500)
    Counting.rows = 0.0
    curve = ravine.range_test(problem, lr=(1e-3, 1.0), steps=200, batch_size=batch_size)
    assert Counting.rows < 1.1 * bare + max(2 * bare, 22 * 500 / 3)  # what a product costs is not counted here
    seen = np.flatnonzero(np.isfinite(curve.loss))
    assert {seen[0], seen[-1]} == {0, 200}
    assert len(seen) >= 21
    every = {None: 1, 250: 1, 10: 9}[batch_size]
    assert set(np.diff(seen[:-1])) == {every}
    told = by_lr(ravine.explain(curve))
    if batch_size != 10:
        assert "limit" in told
        assert "unseen" not in told
        return
    assert "sharpness" not in curve
    assert told["unseen"].values["times"] > 3
    assert "sharpness=True" in told["unseen"].sentence
    asked = ravine.range_test(problem, lr=(1e-3, 1.0), steps=200, batch_size=batch_size, sharpness=True)
    assert np.array_equal(asked.loss, curve.loss, equal_nan=True)
    assert "limit" in by_lr(ravine.explain(asked))
    refused = ravine.range_test(problem, lr=(1e-3, 1.0), steps=200, batch_size=batch_size, sharpness=False)
    assert "unseen" not in by_lr(ravine.explain(refused))  # it was said not to look
    assert "unseen" not in by_lr(ravine.explain(ravine.range_test(problem, "adam", batch_size=batch_size)))


def test_a_look_finds_the_largest_curvature_to_a_thousandth(digits):
    """Every look is held against the whole Hessian where a run of torch's stands at that step."""
    model = network()
    problem = ravine.Problem.of(model, CE, digits)
    curve = ravine.range_test(problem, lr=(1e-2, 100.0), steps=100)
    looked = np.flatnonzero(np.isfinite(curve.sharpness))
    assert len(looked) > 3
    rule = torch.optim.SGD(model.parameters(), lr=1.0)
    for k in range(looked[-1] + 1):
        if k in looked:
            place = torch.cat([each.detach().reshape(-1) for each in model.parameters()]).double().numpy()
            largest = np.linalg.eigvalsh(ravine.curvature.hessian(problem, place))[-1]
            assert float(curve.sharpness[k]) == pytest.approx(largest, rel=1e-3)
        rule.param_groups[0]["lr"] = float(curve.scheduled_lr[k])
        rule.zero_grad()
        CE(model(digits[0]), digits[1]).backward()
        rule.step()


class Locked(torch.nn.Module):
    """It holds what cannot be copied."""

    def __init__(self, *between):
        super().__init__()
        self.inner, self.lock = network(*between), threading.Lock()

    def forward(self, inputs):
        return self.inner(inputs)


def test_what_is_refused_is_refused_for_its_own_reason(digits):
    """Only a model that cannot be copied: nothing of it may change, and BatchNorm would have to."""
    loader = DataLoader(TensorDataset(*digits), 20)
    held = ravine.Problem.of(Locked(torch.nn.BatchNorm1d(6)), CE, loader)
    for call, reason in (
        (ravine.range_test, "Locked cannot be copied.*would not follow; raise the lr in a loop of your own"),
        (ravine.descend, "Locked cannot be copied, while Locked trains otherwise.*within ravine.record"),
        (lambda each: ravine.descend(each, batch_size=5), "Locked cannot be copied, while"),
    ):
        with pytest.raises(ValueError, match=reason):
            call(held)
    plain = ravine.range_test(ravine.Problem.of(Locked(), CE, loader), lr=(1e-3, 1), steps=10)
    batches = [lambda own, x=x, y=y: CE(own(x), y) for x, y in zip(*(each.split(20) for each in digits), strict=True)]
    follow(plain, network(), batches * 2, lambda own: float(CE(own(digits[0]), digits[1])))
    named = ravine.Problem.of(Named(), None, [{"inputs": digits[0], "labels": digits[1]}] * 2)
    with pytest.raises(ValueError, match="no batches of 5 can be dealt.*: batches that are mappings stay as they came"):
        ravine.descend(named, batch_size=5)


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.AdamW, torch.optim.LBFGS, "RMSprop"])
def test_any_optimizer_may_be_tested(optimizer):
    curve = ravine.range_test(BOWL, optimizer, lr=(1e-3, 1), steps=15)
    assert np.isfinite(curve.loss).all()
    assert float(curve.loss.min()) < float(curve.loss[0])
    assert "sharpness" not in curve  # no limit is known
    assert "limit" not in by_lr(ravine.explain(curve))
    kind = getattr(torch.optim, {"adam": "Adam"}.get(optimizer, optimizer)) if isinstance(optimizer, str) else optimizer
    leaves = [value.clone().requires_grad_() for value in BOWL.start.values()]
    rule = kind(leaves, lr=1e-3)

    def closure():
        rule.zero_grad()
        loss = BOWL.loss(dict(zip(BOWL.start, leaves, strict=True)))
        loss.backward()
        return loss

    for k in range(3):
        rule.param_groups[0]["lr"] = float(curve.scheduled_lr[k])
        assert float(curve.loss[k]) == pytest.approx(float(closure().detach()), rel=1e-6)
        rule.step(closure)


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True}, {"weight_decay": 1.0}]
)
def test_the_first_lr_over_the_limit(settings):
    curve = ravine.range_test(BOWL, lr=(1e-3, 20), steps=120, **settings)
    limit = ravine.theory.stability_limit([0.2, 2.0], **settings)
    first = int(np.flatnonzero(curve.scheduled_lr.values >= limit)[0])
    told = by_lr(ravine.explain(curve))["limit"]
    assert told.values["step"] == first
    assert told.values["lr"] == curve.scheduled_lr.values[first]
    assert told.values["limit"] == pytest.approx(float(limit))
    assert told.scope == "local"
    looked = np.isfinite(curve.sharpness.values)
    assert curve.sharpness.values[looked] == pytest.approx(2.0)
    assert looked.sum() < 15  # a look takes long
    assert np.isnan(curve.sharpness.values[first + 1 :]).all()


def test_what_is_said_holds_and_is_left_unsaid_elsewhere():
    curve = ravine.range_test(BOWL, lr=(1e-3, 1e3), steps=150)
    told = by_lr(ravine.explain(curve))
    losses, rates = curve.loss.values, curve.scheduled_lr.values
    assert not np.isfinite(losses).all()  # what torch produced stays
    way = slice(0, int(np.nanargmin(losses)) + 1)
    slopes = np.diff(losses[way]) / np.diff(np.log(rates[way]))
    assert abs(told["steepest"].values["step"] - slopes.argmin()) <= 1
    assert told["lowest"].values["lr"] == rates[np.nanargmin(losses)]
    assert told["lowest"].values["first_nonfinite"] == np.flatnonzero(~np.isfinite(losses))[0]
    tame = by_lr(ravine.explain(ravine.range_test(BOWL, lr=(1e-3, 0.1), steps=30)))
    assert "nothing broke" in tame["lowest"].sentence
    assert "below the limit" in tame["limit"].sentence
    climbing = by_lr(ravine.explain(ravine.range_test(BOWL, lr=(1e-3, 0.1), steps=30, maximize=True)))
    assert "steepest" not in climbing
    assert "limit" not in climbing
    scheduled = ravine.descend(BOWL, lr=1e-3, steps=20, scheduler="exponential(gamma=1.2)")
    assert "steepest" not in by_lr(ravine.explain(scheduled))


@pytest.mark.parametrize("style", ["ravine", "dark", "article"])
def test_the_picture_marks_what_is_said(style):
    curve = ravine.range_test(BOWL, lr=(1e-3, 1e3), steps=100)
    told = by_lr(ravine.explain(curve))
    figure = ravine.plot.losses(curve, style=style)
    (ax,) = figure.axes
    assert line_of(ax, "steepest").get_xdata()[0] == told["steepest"].values["lr"]
    assert line_of(ax, "lowest").get_xdata()[0] == told["lowest"].values["lr"]
    assert line_of(ax, "limit").get_xdata()[0] == told["limit"].values["lr"]
    assert any("first lr over its limit" in each for each in words(ax))
    if style == "ravine":
        assert "Plain SGD: lr 0.001 … 1,000" in said(figure)
        by_step = ravine.plot.losses(curve, x="step")
        assert by_step.axes[0].get_xlabel() == "step"
        assert ravine.plot.losses(curve[["loss"]].drop_vars("lr")).axes[0].get_xlabel() == "step"  # its lr are gone
        assert "Plain SGD: lr 0.001 … 1,000" in said(by_step)


def test_no_lr_is_named_that_no_step_was_taken_with():
    curve = ravine.range_test(ravine.gallery.quadratic(condition=10), lr=(0.01, 0.5), steps=12)
    assert float(curve.scheduled_lr.max()) == 0.5
    told = by_lr(ravine.explain(curve))
    assert told["lowest"].values["lr"] == 0.5
    assert "at the end of the range, lr 0.5" in told["lowest"].sentence
    (ax,) = ravine.plot.losses(curve, x="lr").axes
    assert line_of(ax, "lowest").get_xdata()[0] == 0.5
    assert "lowest at lr 0.5" in words(ax)
    # a scheduler is a step ahead at the last place: so were range tests of before
    ahead = curve.assign(scheduled_lr=("step", [*curve.scheduled_lr.values[:-1], 0.714]))
    assert ravine.explain(ahead) == ravine.explain(curve)
    (ax,) = ravine.plot.losses(ahead, x="lr").axes
    assert "lowest at lr 0.5" in words(ax)


def test_what_the_loop_does_to_gradients_is_in_the_study():
    curve = ravine.range_test(BOWL, lr=(1e-3, 1.0), steps=10, clip_norm=0.1, noise=0.01)
    assert (float(curve.clip_norm), float(curve.noise)) == (0.1, 0.01)
    assert "clip_norm" not in ravine.range_test(BOWL, lr=(1e-3, 1.0), steps=10).coords


def test_a_run_without_positions_is_a_range_test_only_where_its_lr_rises():
    run = ravine.descend(BOWL, lr=0.1, steps=20, scheduler="cosine").drop_vars("position")
    with pytest.raises(ValueError, match="no 'position'"):
        ravine.explain(run)


def test_it_is_not_said_to_be_lowest_where_it_does_not_fall_or_is_to_climb():
    resting = ravine.Problem(lambda p: (p["x"] ** 2).sum(), start={"x": [0.0]})
    told = by_lr(ravine.explain(ravine.range_test(resting, lr=(1e-3, 0.1), steps=10)))
    assert told["lowest"].sentence.startswith("The loss does not fall below 0, that of the start")
    climbing = ravine.range_test(BOWL, lr=(1e-3, 0.1), steps=10, maximize=True)
    assert "lowest" not in by_lr(ravine.explain(climbing))
    (ax,) = ravine.plot.losses(climbing, x="lr").axes
    assert "lowest" not in {each.get_gid() for each in ax.lines}


def test_that_theory_does_not_say_is_not_that_it_is_below():
    curve = ravine.range_test(BOWL, "adam", lr=(1e-3, 0.1), steps=10)
    curve = curve.assign(sharpness=("step", np.full(11, 2.0)))
    assert isinstance(find_over_limit(curve), Reason)
    assert "limit" not in by_lr(ravine.explain(curve))


def test_joined_range_tests_are_explained_and_drawn_one_by_one():
    plain = ravine.range_test(BOWL, lr=(1e-3, 10), steps=30)
    heavy = ravine.range_test(BOWL, lr=(1e-3, 10), steps=20, momentum=0.9)
    adam = ravine.range_test(BOWL, "adam", lr=(1e-3, 1.0), steps=25)
    both = ravine.join({"plain": plain, "heavy": heavy, "adam": adam})
    assert np.isnan(both.sharpness.sel(run="adam")).all()
    told = list(ravine.explain(both))
    for name, alone in (("plain", plain), ("heavy", heavy), ("adam", adam)):
        parts = [each.sentence for each in told if each.about == {"run": name}]
        assert parts == [each.sentence for each in ravine.explain(alone)]
        assert parts
    drawn = [str(each.get_gid()) for each in ravine.plot.losses(both, x="lr").axes[0].lines]
    assert all(any(gid.startswith(name) for gid in drawn) for name in ("plain", "heavy", "adam"))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"lr": 0.1}, TypeError, r"lr must be a range \(low, high\).*got 0.1"),
        ({"lr": (1.0, 0.1)}, ValueError, "0 < low < high"),
        ({"lr": (0.0, 0.1)}, ValueError, "0 < low < high"),
        ({"lr": (0.1, float("inf"))}, ValueError, "both finite"),
        ({"steps": 5}, ValueError, "steps must be a whole number of at least 10, got 5"),
        ({"momentun": 0.9}, ValueError, "SGD takes no setting 'momentun'"),
        ({"momentum": [0.1, 0.9]}, ValueError, "makes one run"),
        ({"loss_every": 0}, ValueError, "loss_every must be a whole number of at least 1, got 0"),
        ({"scheduler": "cosine"}, ValueError, "a range test takes no scheduler: its lr rises by itself"),
        ({"groups": {"x": {}}}, ValueError, "a range test takes no groups: it moves the lr of all parameters alike"),
        ({"every": 2}, ValueError, "a range test takes no every: it keeps no positions"),
        ({"batch_size": 4}, ValueError, "mini-batches need a problem that knows its data"),
    ],
)
def test_bad_input_is_refused_in_words(given, error, message):
    with pytest.raises(error, match=message):
        ravine.range_test(BOWL, **{"lr": (1e-3, 1.0), **given})


def test_its_range_and_steps_are_named_and_numpys_whole_numbers_taken(digits):
    with pytest.raises(TypeError, match="positional"):
        ravine.range_test(BOWL, torch.optim.SGD, (1e-3, 1.0), 10)
    problem = ravine.Problem.of(network(), CE, digits)
    curve = ravine.range_test(problem, lr=(1e-3, 1), steps=np.int64(10), batch_size=40, loss_every=np.int64(5))
    assert np.flatnonzero(np.isfinite(curve.loss)).tolist() == [0, 5, 10]
    assert ravine.descend(BOWL, lr=0.1, steps=4, every=np.int64(2)).step.values.tolist() == [0, 2, 4]


def test_what_has_no_path_is_set_against_nothing():
    run = ravine.descend(BOWL, lr=0.1, steps=3)
    curve = ravine.range_test(BOWL, lr=(1e-3, 1.0), steps=10)
    summaries = ravine.sweep(BOWL, lr=[0.1, 0.2], steps=3, keep="summary")
    line = xr.Dataset({"line_loss": ("share", [1.0, 2.0, 1.0])}, {"share": [0.0, 0.5, 1.0]})
    for study in (curve, summaries, line):
        with pytest.raises(ValueError, match="against is for runs with positions, and here are none: leave it out"):
            ravine.explain(study, against=run)


def test_what_is_no_single_problem_or_optimizer_is_refused():
    with pytest.raises(TypeError, match="one problem"):
        ravine.range_test(ravine.gallery.article())
    with pytest.raises(TypeError, match="already made of parameters"):
        ravine.range_test(BOWL, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    with pytest.raises(ValueError, match="no 'scheduled_lr'.*range_test"):
        ravine.plot.losses(ravine.descend(BOWL, lr=0.1, steps=3), x="lr")
