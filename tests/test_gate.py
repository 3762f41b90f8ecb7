"""The gate: whether runs are torch's own SGD, by class and not by name, and which decay is minimised with the loss."""

import functools
import inspect
import json

import numpy as np
import pytest
import torch
import xarray as xr

import bare
import ravine
from ravine._study import optimizer as classes
from ravine._study import provenance, rule
from ravine._study.select import join
from ravine.measure import _stability
from ravine.measure._update import update_of


def sign_descent(base, **given):
    """Make a class that goes by signs, whatever it is called."""

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * p.grad.sign()

    name = given.pop("name")
    return type(name, (base,), {"step": step, "__module__": "mine", "__qualname__": name})


SGD = sign_descent(torch.optim.SGD, name="SGD")
SIGNS = sign_descent(torch.optim.SGD, name="Signs")
ADAM = sign_descent(torch.optim.Adam, name="Adam")
BOWL = ravine.gallery.quadratic(condition=10)


def network():
    x = torch.linspace(-1, 1, 8)[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    return ravine.Problem.of(model, torch.nn.MSELoss(), (x, x**2))


PROBLEMS = {
    "article": lambda folder: ravine.gallery.article()["MSELoss"],
    "rosenbrock": lambda folder: ravine.gallery.rosenbrock(),
    "csv": lambda folder: from_csv(folder),
    "network": lambda folder: network(),
}


def from_csv(folder):
    (folder / "points.csv").write_text("dose,effect\n0,1\n1,3\n2,4\n3,8\n")
    return ravine.Problem.from_csv(folder / "points.csv", x="dose", y="effect")


def kinds(run):
    return {finding.kind: finding for finding in ravine.explain(run)}


def test_defaults_are_torchs():
    taken = inspect.signature(torch.optim.SGD).parameters
    assert {name: taken[name].default for name in rule.DEFAULTS} == dict(rule.DEFAULTS)


def test_the_named_classes_exist_in_torch():
    for name in classes.COUPLED | classes.DECOUPLED:
        path = classes.path_of(getattr(torch.optim, name))
        assert classes.is_torchs(path)
        assert classes.name_of(path) == name
    assert classes.path_of(torch.optim.SGD) == classes.SGD


@pytest.mark.parametrize("name", sorted(classes.DECOUPLED | classes.COUPLED - {"Rprop"}))  # Rprop has no decay
def test_which_decay_is_coupled_is_as_torch_steps(name):
    """Where the gradient is minus the decay's pull, one that adds the two up rests."""
    parameter = torch.full((2, 2), 2.0, requires_grad=True)
    optimizer = getattr(torch.optim, name)([parameter], lr=0.01, weight_decay=0.3)
    parameter.grad = -0.3 * parameter.detach()
    optimizer.step()
    rests = torch.allclose(parameter, torch.full_like(parameter, 2.0), rtol=1e-5)  # ASGD shrinks by 1e-6 of its own
    assert classes.is_coupled(classes.path_of(getattr(torch.optim, name))) is rests


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_own_class_called_sgd_has_no_theory(name, tmp_path):
    problem = PROBLEMS[name](tmp_path)
    lr = 1e-4 if name == "rosenbrock" else 0.01
    own = ravine.descend(problem, SGD, lr=lr, momentum=0.9, steps=20, also=("gradient",))
    real = ravine.descend(problem, lr=lr, momentum=0.9, steps=20)
    assert "effective lr" in kinds(real)
    assert not {"effective lr", "margin", "momentum", "first step"} & kinds(own).keys()
    assert not [each for each in kinds(own).values() if each.scope == "exact"]
    assert str(rule.rule_of(own)) == update_of(own, 3).why == "mine.SGD is not torch.optim.SGD"
    assert "mine.SGD is not torch.optim.SGD" in kinds(own)["other rule"].sentence
    assert "other rule" not in kinds(real)


def test_a_sweep_of_an_own_sgd_has_no_limit():
    for keep in ("path", "summary"):
        runs = ravine.sweep(BOWL, SGD, lr=[0.1, 0.5, 3.0], momentum=[0.0, 0.9], steps=40, keep=keep)
        assert "stability_scope" not in ravine.measure.arrival(runs).coords
        assert "mine.SGD is not torch.optim.SGD" in _stability.why_no_theory(runs)
    real = ravine.sweep(BOWL, lr=[0.1, 0.5, 3.0], momentum=[0.0, 0.9], steps=40)
    assert "stability_scope" in ravine.measure.arrival(real).coords
    with pytest.raises(ValueError, match=r"mine\.SGD is not torch\.optim\.SGD"):
        ravine.plot.stability(ravine.sweep(BOWL, SGD, lr=[0.1, 0.5], steps=10))


def test_siblings_by_class():
    said = {
        "Signs is not torch.optim.SGD": SIGNS,
        "mine.Adam is not torch.optim.SGD": ADAM,
        "Adam is not torch.optim.SGD": torch.optim.Adam,
    }
    for words, optimizer in said.items():
        assert str(rule.rule_of(ravine.descend(BOWL, optimizer, lr=0.1, steps=3))) == words
    for maker in (functools.partial(torch.optim.SGD, momentum=0.5), lambda p, lr: torch.optim.SGD(p, lr, 0.5)):
        run = ravine.descend(BOWL, maker, lr=0.1, steps=3)
        assert rule.rule_of(run).momentum == 0.5
        assert rule.rule_of(ravine.sweep(BOWL, maker, lr=[0.1, 0.2], steps=3).isel(lr=1)).lr == 0.2


def test_an_own_class_keeps_its_decay_to_itself():
    for optimizer in (SGD, ADAM):
        run = ravine.descend(BOWL, optimizer, lr=0.1, weight_decay=2.0, steps=5)
        assert float(ravine.measure.decay(run)) == 0.0
        assert "minimum_loss" not in run
        assert "whether its weight decay is minimised" in kinds(run)["other rule"].sentence
        assert "decoupled" not in kinds(run)
    swept = ravine.sweep(BOWL, SGD, lr=[0.1], weight_decay=[0.0, 2.0], steps=5, keep="summary")
    assert "arrival" in swept
    assert np.isnan(swept.minimum_loss.sel(weight_decay=2.0)).all()
    theirs = sign_descent(torch.optim.AdamW, name="AdamW")
    assert "decoupled" not in kinds(ravine.descend(BOWL, theirs, lr=0.1, weight_decay=2.0, steps=5))
    assert "decoupled" in kinds(ravine.descend(BOWL, torch.optim.AdamW, lr=0.1, weight_decay=2.0, steps=5))


def test_joined_runs_each_by_their_own_class():
    runs = ravine.join({"torch": ravine.descend(BOWL, lr=0.1, steps=30), "own": ravine.descend(BOWL, SGD, steps=30)})
    assert classes.optimizers_of(runs).values.tolist() == [classes.SGD, "mine:SGD"]
    assert "mine.SGD is not torch.optim.SGD" in _stability.why_no_theory(runs)
    assert isinstance(rule.rule_of(runs.sel(run="torch")), rule.Rule)
    assert isinstance(rule.rule_of(runs.sel(run="own")), rule.Reason)
    exact = {finding.whose for finding in ravine.explain(runs) if finding.scope == "exact"}
    assert exact == {"torch"}
    assert "Plain" not in ravine.plot.losses(runs.sel(run="own")).texts[0].get_text()


def test_without_the_label_of_a_joined_run_nothing_is_claimed():
    runs = ravine.join({"torch": ravine.descend(BOWL, steps=3), "own": ravine.descend(BOWL, SGD, steps=3)})
    lost = runs.isel(run=0, drop=True)
    assert isinstance(rule.rule_of(lost), rule.Reason)
    same = ravine.join({"a": ravine.descend(BOWL, steps=3), "b": ravine.descend(BOWL, steps=3)})
    assert isinstance(rule.rule_of(same.isel(run=0, drop=True)), rule.Rule)


def test_data_that_says_nothing_of_itself_is_believed():
    bare_run = ravine.descend(BOWL, lr=0.1, weight_decay=1.0, steps=3)
    for name in bare_run.variables:
        bare_run[name].attrs.clear()
    assert rule.rule_of(bare_run).weight_decay == float(ravine.measure.decay(bare_run)) == 1.0
    nameless = bare_run.drop_vars("optimizer")
    assert str(rule.rule_of(nameless)) == "the study does not name its optimizer"


def test_conditions_are_fields():
    steps = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=2)
    article = ravine.gallery.article()["MSELoss"]
    made = {
        "scheduled": ravine.descend(article, lr=0.1, steps=6, scheduler=steps),
        "batched": ravine.descend(article, lr=0.1, steps=6, batch_size=10),
        "grouped": ravine.descend(article, lr=0.1, steps=6, groups={"bias": {"momentum": 0.5}}),
        "maximizes": ravine.descend(article, lr=0.1, steps=6, maximize=True),
    }
    made |= {
        f"swept {name}": ravine.sweep(article, lr=[0.1, 0.2], steps=6, **given)
        for name, given in {"scheduled": {"scheduler": steps}, "batched": {"batch_size": 10}}.items()
    }
    for name, run in made.items():
        conditions = rule.conditions_of(run)
        held = [field for field in ("scheduled", "batched", "grouped", "maximizes") if getattr(conditions, field)]
        assert held == [name.removeprefix("swept ")], name
        assert conditions.why_no_theory is not None
        assert _stability.why_no_theory(run.assign(hessian=ravine.landmarks(article).hessian)) is not None
    assert not {"margin", "momentum"} & kinds(made["swept batched"].isel(lr=0)).keys()
    swept = kinds(made["swept scheduled"].isel(lr=0))  # which holds what the scheduler set, as the single run does
    assert {kind: str(each) for kind, each in swept.items()} == {
        kind: str(each) for kind, each in kinds(made["scheduled"]).items()
    }


# ------------------------------------------------------------------------------------------- a decay for each parameter


@pytest.fixture(scope="module")
def grouped():
    problem = ravine.gallery.article()["MSELoss"]
    return problem, ravine.descend(problem, lr=0.1, weight_decay=2.0, groups={"*bias": {"weight_decay": 0.0}})


def test_decay_left_off_the_bias(grouped):
    problem, run = grouped
    assert ravine.measure.decay(run).to_series().to_dict() == {"weight": 2.0, "bias": 0.0}
    weight = run.position.sel(parameter="weight").values.astype(float)
    assert ravine.measure.objective(run).values == pytest.approx(run.loss.values + weight**2, rel=1e-6)
    assert float(ravine.measure.objective(run)[-1]) == pytest.approx(0.8408, abs=5e-5)
    x, y = (each.double().numpy().ravel() for each in (problem.parts.inputs, problem.parts.targets))
    design = np.c_[x, np.ones_like(x)]
    place = np.linalg.solve(2 * design.T @ design / len(x) + np.diag([2.0, 0.0]), 2 * design.T @ y / len(x))
    assert run.minimizer.values == pytest.approx(place, rel=1e-12)
    assert run.position.values[-1] == pytest.approx(place, abs=1e-4)
    assert abs(float(ravine.measure.gap(run)[-1])) < 1e-6
    goal = kinds(run)["goal"]
    assert goal.sentence.endswith("the bias is not decayed.")
    assert goal.values["weight_decay weight"] == 2.0
    assert goal.values["data_loss"] == pytest.approx(float(run.loss[-1]), abs=1e-5)


def test_landmarks_take_the_decay_of_each_parameter(grouped):
    problem, run = grouped
    found = ravine.landmarks(problem, {"*bias": 0.0, "*": 2.0})
    for name in ("minimizer", "minimum_loss", "hessian"):
        assert bare.same_bits(found[name], run[name]), name
    whole = ravine.landmarks(problem, {"*": 2.0})
    assert bare.same_bits(whole.minimizer, ravine.landmarks(problem, 2.0).minimizer)
    for wrong, words in (({"slope": 1.0}, "no parameter fits 'slope'"), ({"bias": -1.0}, "not negative")):
        with pytest.raises(ValueError, match=words):
            ravine.landmarks(problem, wrong)


@pytest.mark.parametrize("name", ["L1Loss", "HuberLoss", "SmoothL1Loss"])
def test_piecewise_losses_with_the_decay_of_each_parameter(name):
    problem = ravine.gallery.article()[name]
    found = ravine.landmarks(problem, {"weight": 0.3})
    x, y = (each.double() for each in (problem.parts.inputs, problem.parts.targets))

    def minimised(place):
        loss = problem.parts.criterion(x * float(place[0]) + float(place[1]), y)
        return float(loss) + 0.15 * float(place[0]) ** 2

    place = found.minimizer.values
    assert minimised(place) == pytest.approx(float(found.minimum_loss), rel=1e-12)
    for step in np.r_[np.eye(2), -np.eye(2), [[1, 1], [1, -1], [-1, 1], [-1, -1]]] * 1e-3:
        assert minimised(place + step) >= minimised(place) - 1e-14


def test_a_search_with_the_decay_of_each_parameter():
    rosenbrock = ravine.gallery.rosenbrock()
    run = ravine.descend(rosenbrock, lr=1e-3, weight_decay=0.5, steps=20, groups={"y": {"weight_decay": 0.0}})
    x, y = run.minimizer.values
    assert [-2 * (1 - x) - 400 * x * (y - x**2) + 0.5 * x, 200 * (y - x**2)] == pytest.approx([0, 0], abs=1e-8)
    assert run.hessian.values[1, 1] == pytest.approx(200.0)


def test_equal_decay_in_groups_is_one_decay(grouped):
    problem, _ = grouped
    run = ravine.descend(problem, lr=0.1, weight_decay=2.0, steps=5, groups={"bias": {"weight_decay": 2.0}})
    assert ravine.measure.decay(run).dims == ()
    plain = ravine.descend(problem, lr=0.1, weight_decay=2.0, steps=5)
    assert bare.same_bits(run.minimizer, plain.minimizer)


def test_groups_made_by_a_function_are_read_off_the_optimizer(grouped):
    problem, given = grouped

    def make(parameters, lr):
        weight, bias = parameters
        groups = [{"params": [weight], "weight_decay": 2.0}, {"params": [bias]}]
        return torch.optim.SGD(groups, lr=lr)

    run = ravine.descend(problem, make, lr=0.1)
    assert bare.same_bits(run.position, given.position)
    assert ravine.measure.decay(run).values.tolist() == [2.0, 0.0]
    assert isinstance(rule.rule_of(run), rule.Reason)


def test_a_sweep_with_the_decay_of_each_parameter(grouped):
    problem, given = grouped
    runs = ravine.sweep(problem, lr=[0.05, 0.1], weight_decay=[0.0, 2.0], groups={"*bias": {"weight_decay": 0.0}})
    one = ravine.at(runs, lr=0.1, weight_decay=2.0)
    assert bare.same_bits(one.position, given.position)
    assert ravine.measure.decay(one).values.tolist() == [2.0, 0.0]
    assert bare.same_bits(one.minimum_loss, given.minimum_loss)
    assert np.array_equal(ravine.measure.arrival(runs).sel(lr=0.1, weight_decay=2.0), ravine.measure.arrival(given))


def test_joined_with_a_run_of_one_decay(grouped):
    problem, run = grouped
    plain = ravine.descend(problem, lr=0.1, weight_decay=2.0)
    runs = ravine.join({"left off": run, "whole": plain})
    for label, one in (("left off", run), ("whole", plain)):
        assert bare.same_bits(ravine.measure.objective(runs).sel(run=label), ravine.measure.objective(one)), label


def test_contours_and_words_take_the_decay_of_each_parameter(grouped):
    problem, run = grouped
    land = ravine.surface(problem, bias=(-3, 5), weight=(-3, 6), points=21)
    figure = ravine.plot.descent(run, land)
    said = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert "contours: loss + weight decay 2 (weight), 0 (bias)" in said
    assert "weight_decay=2 (weight), 0 (bias)" in said
    assert "Plain" not in said
    from ravine.plot._map.marks import objective

    _, y, values = objective(land, {"weight": 2.0, "bias": 0.0})
    surface = land.surface.transpose("weight", "bias").values.astype(float)
    assert values == pytest.approx(surface + y[:, None] ** 2)
    plain = ravine.plot.descent(ravine.descend(problem, lr=0.1, weight_decay=2.0), land)
    assert any(text.get_text().endswith("contours: loss + weight decay") for text in plain.texts)


# ------------------------------------------------------------------------------------------------- one shape, by label


def test_said_once_or_by_label():
    choices = {"run": ["a", "b"], "lr": [0.1, 0.2]}
    assert provenance.by_label([1, 1, 1, 1], choices) == 1
    assert provenance.by_label([1, 2, 1, 2], choices) == {"by": "lr", "0.1": 1, "0.2": 2}
    assert provenance.by_label([1, 1, 2, 2], choices) == {"by": "run", "a": 1, "b": 2}
    assert provenance.by_label([1, 2, 3, 3], choices) == {"by": "run", "a": {"by": "lr", "0.1": 1, "0.2": 2}, "b": 3}


def test_every_label_can_be_read_again():
    runs = join({label: ravine.descend(BOWL, lr=lr, steps=3) for label, lr in {"by": 0.1, "each": 0.2}.items()})
    for label, words in (("by", "lr=0.1"), ("each", "lr=0.2")):
        assert provenance.fact_of(runs.sel(run=label), "loss", "code")["settings"] == words
        assert words in ravine.code(runs.sel(run=label))


def test_classes_of_sweeps_written_before():
    said = {
        "torch.optim.SGD": classes.SGD,
        "mine.SGD": "mine:SGD",
        "functools.partial(<class 'torch.optim.sgd.SGD'>, momentum=0.5) cannot be imported": classes.SGD,
        "SGD cannot be imported from a module": "__main__:SGD",
        "test.<locals>.SGD cannot be imported from a module": "__main__:SGD",
        "<lambda> cannot be imported from a module": "",
    }
    for words, path in said.items():
        spelled = {"cannot": words} if "cannot" in words else words
        facts = json.dumps({"engine": "SGD, run by run", "code": {"optimizer": spelled}})
        loss = xr.Variable("step", [1.0, 0.5], {"provenance": facts})
        study = xr.Dataset({"loss": loss}, {"optimizer": "SGD"})
        assert classes.optimizers_of(study).item() == path, words


def test_shapes_of_studies_written_before():
    scopes = {
        "MSELoss, weight_decay 0.0": "exact",
        "MSELoss, weight_decay 2.0": "local",
        "L1Loss, weight_decay 0.0": "x",
    }
    for told, expected in (
        ({"MSELoss": "exact", "L1Loss": "local"}, "exact"),
        ({"by": "criterion", "MSELoss": "exact", "L1Loss": "local"}, "exact"),
        (scopes, "local"),
        ("exact", "exact"),
    ):
        hessian = xr.Variable((), 0.0, {"provenance": json.dumps({"scope": told})})
        study = xr.Dataset({"hessian": hessian}, {"criterion": "MSELoss", "weight_decay": 2.0})
        assert provenance.fact_of(study, "hessian", "scope") == expected
