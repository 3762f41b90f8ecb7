"""What people type works, or is answered in one line that names the call."""

from __future__ import annotations

import inspect
import json
import re
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ravine
import ravine.curvature
from ravine._format import kind_of
from ravine._words.words import find_optimizer, make_criterion, make_scheduler

SGD, Adam = torch.optim.SGD, torch.optim.Adam
schedulers = torch.optim.lr_scheduler


def line(names=1, outputs=1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(names, outputs)


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["Adam", "adam", "ADAM"])
def test_an_optimizer_by_its_name_is_that_class(case, word):
    named = ravine.descend(case.problem, word, steps=5, lr=case.lr)
    assert named.identical(ravine.descend(case.problem, Adam, steps=5, lr=case.lr))


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("mse", "MSELoss"),
        ("MSELoss", "MSELoss"),
        ("mse_loss", "MSELoss"),
        ("mae", "L1Loss"),
        ("l1", "L1Loss"),
        ("Huber", "HuberLoss"),
        ("smooth-l1", "SmoothL1Loss"),
        ("cross_entropy", "CrossEntropyLoss"),
        ("bce", "BCELoss"),
        ("BCEWithLogits", "BCEWithLogitsLoss"),
        ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
    ],
)
def test_a_criterion_by_a_word_is_that_class(word, kind):
    assert type(make_criterion(word)) is getattr(torch.nn, kind)


def test_every_criterion_and_optimizer_of_torch_is_found_in_any_case():
    for name in (n for n in dir(torch.nn) if n.endswith("Loss")):
        if name not in ("AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss"):  # they need the sizes of layers
            assert type(make_criterion(name.lower())).__name__ == name
    for name, thing in vars(torch.optim).items():
        if isinstance(thing, type) and name != "Optimizer":
            assert find_optimizer(name.upper()) is thing


def test_a_scheduler_by_a_word_goes_over_all_steps(case):
    named = ravine.descend(case.problem, lr=case.lr, steps=12, scheduler="cosine")
    made = ravine.descend(
        case.problem, lr=case.lr, steps=12, scheduler=lambda o: schedulers.CosineAnnealingLR(o, T_max=12)
    )
    assert named.scheduled_lr.values.tolist() == made.scheduled_lr.values.tolist()
    assert np.array_equal(named.position, made.position)
    assert "CosineAnnealingLR(optimizer, T_max=12)" in named.loss.attrs["provenance"]  # what was filled in is said


@pytest.mark.parametrize(
    ("words", "kind", "given"),
    [
        ("StepLR(step_size=3)", schedulers.StepLR, {"step_size": 3}),
        ("steplr(step_size=3)", schedulers.StepLR, {"step_size": 3}),
        ("exponential(gamma=0.9)", schedulers.ExponentialLR, {"gamma": 0.9}),
        ("plateau", schedulers.ReduceLROnPlateau, {}),
        ("OneCycle(max_lr=1.0)", schedulers.OneCycleLR, {"max_lr": 1.0, "total_steps": 40}),
        ("CosineAnnealingLR(T_max=7)", schedulers.CosineAnnealingLR, {"T_max": 7}),
    ],
)
def test_words_of_schedulers(words, kind, given):
    made = make_scheduler(words, 40)
    assert (made.func, made.keywords) == (kind, given)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_criterion("Hubert"), "no criterion 'Hubert' in torch.nn (did you mean HuberLoss?)"),
        (lambda: make_criterion("huber(beta=1)"), "HuberLoss takes no 'beta' (did you mean delta?)"),
        (lambda: find_optimizer("sdg"), "no optimizer 'sdg' in torch.optim (did you mean SGD?)"),
        (
            lambda: find_optimizer("Adam(lr=1)"),
            "settings stand beside the optimizer's name, as in optimizer='Adam', lr=1",
        ),
        (lambda: make_scheduler("step"), "StepLR needs step_size, as in StepLR(step_size=30)"),
        (lambda: make_scheduler("StepLR(step=3)"), "StepLR takes no 'step' (did you mean step_size?)"),
        (lambda: make_scheduler("LambdaLR"), "LambdaLR needs lr_lambda, which a word cannot say"),
        (lambda: ravine.descend("rosenbrok"), "no problem 'rosenbrok' (did you mean rosenbrock?)"),
        (lambda: ravine.descend("quadratic(kappa=3)"), "quadratic has no argument 'kappa'; it takes condition"),
        (
            lambda: ravine.descend("rosenbrock", criterion="mse"),
            "the criterion belongs to the problem, as in ravine.Pro",
        ),
    ],
)
def test_a_word_that_is_none_is_answered_with_what_comes_near(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_the_verbs_take_a_problem_by_its_name(tmp_path):
    made = ravine.gallery.rosenbrock()
    assert ravine.descend("Rosenbrock", lr=1e-3, steps=5).equals(ravine.descend(made, lr=1e-3, steps=5))
    assert ravine.sweep("rosenbrock", lr=[1e-3, 1e-4], steps=5).equals(ravine.sweep(made, lr=[1e-3, 1e-4], steps=5))
    assert ravine.surface("rosenbrock", points=5).equals(ravine.surface(made, points=5))
    assert ravine.landmarks("rosenbrock").equals(ravine.landmarks(made))
    run = ravine.descend(made, lr=1e-3, momentum=0.5, steps=5)
    assert ravine.sharpness("rosenbrock", run).equals(ravine.sharpness(made, run))
    assert ravine.counterfactuals("rosenbrock", run).equals(ravine.counterfactuals(made, run))
    assert ravine.explore("quadratic(condition=9)", to=tmp_path / "page.html").exists()
    assert ravine.descend({"a": "rosenbrock", "b": "beale"}, lr=1e-4, steps=2).problem.values.tolist() == ["a", "b"]
    assert ravine.descend("article", lr=0.1, steps=2).criterion.values.tolist()[0] == "MSELoss"


def test_the_verbs_take_a_file_of_two_columns(tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("dose,effect\n1,2\n2,4\n3,7\n")
    assert ravine.descend(str(file), lr=0.05, steps=3).equals(
        ravine.descend(ravine.Problem.from_csv(file), lr=0.05, steps=3)
    )


def test_optimizers_by_name_race():
    race = ravine.sweep("rosenbrock", {"sgd": {"lr": [1e-4, 1e-3]}, "Adam": {"lr": 0.1}}, steps=5)
    assert race.run.values.tolist() == ["SGD lr 0.0001", "SGD lr 0.001", "Adam"]


def test_criteria_by_name_where_criteria_are_taken(tmp_path):
    assert ravine.residuals(["mse", "HuberLoss(delta=2)"], [1.0]).criterion.values.tolist() == ["MSELoss", "HuberLoss"]
    data = torch.ones(4, 1), torch.zeros(4, 1)
    assert ravine.Problem.of(line(), "huber(delta=2)", data).parts.criterion.delta == 2
    file = tmp_path / "points.csv"
    file.write_text("dose,effect\n1,2\n2,4\n3,7\n")
    assert ravine.Problem.from_csv(file, criterion="mae").criterion == "L1Loss"


# -- settings, starts, joins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "many", [[0.1, 0.2], np.array([0.1, 0.2]), pd.Series([0.1, 0.2])], ids=["list", "array", "Series"]
)
def test_a_list_of_settings_names_the_sweep(case, many):
    with pytest.raises(ValueError, match=r"lr is .*, and ravine.descend makes one run: ravine.sweep\(problem, lr=…\)"):
        ravine.descend(case.problem, lr=many)


def test_a_list_that_is_one_value_stays_one():
    run = ravine.descend("quadratic", Adam, lr=0.1, betas=[0.8, 0.9], steps=3)
    assert run.identical(run)
    assert np.array_equal(run.position, ravine.descend("quadratic", Adam, lr=0.1, betas=(0.8, 0.9), steps=3).position)


def test_a_start_as_a_vector(case):
    vector = np.linspace(-0.5, 0.5, len(case.problem.labels))
    named = case.problem.starting_at(dict(zip(case.problem.labels, vector.tolist(), strict=True)))
    for given in (vector, vector.tolist(), torch.tensor(vector), pd.Series(vector)):
        moved = case.problem.starting_at(given)
        assert all(torch.equal(moved.start[name], named.start[name]) for name in named.start)
    with pytest.raises(ValueError, match=rf"a start is {len(vector)} numbers, in the order .*; got {len(vector) + 1}"):
        case.problem.starting_at([*vector, 0.0])


def test_starts_given_as_start_are_sent_to_starts():
    with pytest.raises(ValueError, match=r"start has 2 dimensions \(shape \(2, 2\)\).* go into starts="):
        ravine.sweep("rosenbrock", start=np.zeros((2, 2)), lr=1e-3, steps=1)


def test_starts_as_an_array(case):
    rows = np.linspace(-0.5, 0.5, 2 * len(case.problem.labels)).reshape(2, -1)
    named = [dict(zip(case.problem.labels, row, strict=True)) for row in rows.tolist()]
    for verb in (ravine.descend, ravine.sweep):
        expected = verb(case.problem, lr=case.lr, steps=3, starts=named)
        for given in (rows, rows.tolist(), torch.tensor(rows), pd.DataFrame(rows, columns=list(case.problem.labels))):
            assert verb(case.problem, lr=case.lr, steps=3, starts=given).equals(expected)
    labelled = ravine.descend(case.problem, lr=case.lr, steps=1, starts={"left": rows[0], "right": named[1]})
    assert labelled.start.values.tolist() == ["left", "right"]


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        (np.array([1.0, 2.0]), "starts takes a list of starts .* start 0 is "),
        ({"x": 1.0, "y": 2.0}, r"got a mapping of parameters: for one start write starts=\[{…}\]"),
        ({"x": [1.0, 2.0], "y": [1.0, 2.0]}, "got a mapping of parameters"),
        ([[1.0, 2.0, 3.0]], "a start is 2 numbers, in the order x, y; got 3"),
        ("origin", "starts takes a list of starts .*; got 'origin'"),
        ([], "starts is empty"),
    ],
    ids=str,
)
def test_starts_that_could_mean_something_else_are_refused(starts, words):
    for verb in (ravine.descend, ravine.sweep):
        with pytest.raises((TypeError, ValueError), match=words):
            verb("rosenbrock", starts=starts)


def valley(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def test_a_loss_of_a_vector_is_a_problem():
    problem = ravine.Problem(valley, [-1.2, 1.0])
    run = ravine.descend(problem, lr=1e-3, steps=20)
    assert problem.labels == ("x[0]", "x[1]")
    assert run.loss.values.tolist() == ravine.descend("rosenbrock", lr=1e-3, steps=20).loss.values.tolist()
    assert ravine.surface(problem, ravine.around(run), points=5).surface.dims == ("x[1]", "x[0]")
    assert ravine.sweep(problem, lr=[1e-3, 1e-4], steps=5).sizes["lr"] == 2
    printed = []
    exec(ravine.code(run), {"print": lambda *words: printed.append(" ".join(map(str, words)))})
    assert printed[-1].endswith(f"loss {run.loss.values[-2].item()}")


def test_a_list_of_studies_is_joined_by_what_differs(case):
    runs = [ravine.descend(case.problem, lr=case.lr, momentum=m, steps=3) for m in (0.0, 0.5)]
    assert ravine.join(runs).run.values.tolist() == ["momentum 0", "momentum 0.5"]
    assert ravine.join(runs[:1] * 2).run.values.tolist() == [0, 1]
    optimizers = [ravine.descend(case.problem, each, lr=0.01, steps=3) for each in ("SGD", "RMSprop")]
    assert [name.split()[0] for name in ravine.join(optimizers).run.values.tolist()] == ["SGD", "RMSprop"]
    assert ravine.join({"a": runs[0], "b": runs[1]}).run.values.tolist() == ["a", "b"]


def test_a_surface_without_axes_names_around():
    problem = ravine.Problem(lambda p: p["x"] ** 2 + p["y"] ** 2, start={"x": 1.0, "y": 2.0})
    with pytest.raises(ValueError, match=r"ravine.surface\(problem, ravine.around\(run\)\)"):
        ravine.surface(problem)
    with pytest.raises(TypeError, match=r"got a study .*; of a run they are ravine.around\(run\)"):
        ravine.surface(problem, ravine.descend(problem, steps=1))


def two_parameters(case):
    """The problem of a case with two parameters: a network's surface would be along two of many."""
    if len(case.problem.labels) != 2:
        pytest.skip("a map shows two parameters")
    return case.problem


def test_a_picture_without_a_surface_makes_one_around_the_run(case):
    problem = two_parameters(case)
    whole = ravine.descend(problem, lr=case.lr, steps=8, also=("gradient", "velocity"), momentum=0.5)
    for run in (ravine.sweep(problem, lr=[case.lr, case.lr / 2], steps=8).isel(lr=0), whole):
        land = ravine.surface(problem, ravine.around(run))
        bare, given = ravine.plot.descent(run), ravine.plot.descent(run, land)
        drawn = [
            [path.vertices.tolist() for c in f.axes[0].collections for path in c.get_paths()] for f in (bare, given)
        ]
        assert drawn[0] == drawn[1]
    assert ravine.plot.panel(run).axes[0].get_xlim() == ravine.plot.panel(run, land).axes[0].get_xlim()
    assert ravine.plot.anatomy(whole, step=2).axes
    with pytest.raises(ValueError, match="anatomy opens one update: say which, as in step=0 of 0 to 7"):
        ravine.plot.anatomy(whole)


def test_a_picture_without_a_surface_finds_problems_by_name_and_several():
    assert len(ravine.plot.descent(ravine.descend("rosenbrock", lr=1e-3, steps=5)).axes) >= 1
    runs = ravine.descend("article", lr=0.1, steps=5)
    maps = [ax for ax in ravine.plot.descent(runs).axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in maps] == list(ravine.gallery.article())
    assert ravine.plot.descent(runs.sel(criterion="L1Loss")).axes
    with_land = runs.assign(surface=ravine.surface("article", points=7).surface)
    assert ravine.plot.descent(with_land).axes


def test_a_picture_never_takes_the_surface_of_another_problem(tmp_path):
    call = re.escape("as in ravine.plot.descent(runs, ravine.surface(problem, ravine.around(runs)))")
    data = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.1], [0.2], [0.3]])
    one, other = (ravine.Problem.of(line(), torch.nn.HuberLoss(delta=d), data) for d in (50.0, 60.0))
    runs = [ravine.descend(each, lr=0.01, steps=5) for each in (one, other)]
    assert np.array_equal(runs[0].loss, runs[1].loss)  # these runs alone do not tell the problems apart
    for run, problem in zip(runs, (one, other), strict=True):
        land = ravine.surface(problem, ravine.around(run))
        maps = [
            [c.get_array() for c in f.axes[0].collections]
            for f in (ravine.plot.descent(run), ravine.plot.descent(run, land))
        ]
        assert len(maps[0]) == len(maps[1])
    scales = torch.tensor([3.0, 5.0])  # around the loss, and not in its source
    first = ravine.descend(
        ravine.Problem(lambda p: scales[0] * p["x"] ** 2 + p["y"] ** 2, {"x": 1.0, "y": 1.0}), lr=0.1
    )
    with pytest.raises(ValueError, match=call):
        ravine.plot.descent(first)  # the problem is gone, and with it what was around it
    moved = first.assign(loss=first.loss + 1)
    with pytest.raises(ValueError, match=call):
        ravine.plot.descent(moved)
    network = ravine.descend(ravine.Problem(lambda p: (p["w"] ** 2).sum(), {"w": torch.ones(3)}), lr=0.1, steps=2)
    with pytest.raises(ValueError, match="a map shows two parameters, and these runs have 3: ravine.plot.losses"):
        ravine.plot.descent(network)


# -- data ------------------------------------------------------------------------------------------------------------


TABLE = pd.DataFrame({"dose": [0.5, 1.0, 2.0, 3.5], "age": [1, 3, 2, 4], "effect": [1.0, 2.5, 3.0, 6.5]})
COLUMN = "inputs as one column: shape (4, 1)"
DOWN = "inputs from float64 to float32, as the model has it"


@pytest.mark.parametrize(
    ("inputs", "targets", "changes"),
    [
        (TABLE[["dose"]], TABLE[["effect"]], {DOWN}),
        (TABLE["dose"], TABLE["effect"], {DOWN, COLUMN}),
        (TABLE["dose"].to_numpy(), TABLE["effect"].to_numpy(), {DOWN, COLUMN}),
        (TABLE["dose"].astype("Float64"), TABLE[["effect"]].astype("float32"), {DOWN, COLUMN}),
        (TABLE["dose"].tolist(), TABLE["effect"].tolist(), {COLUMN}),
        (TABLE[["dose"]].to_numpy(">f8"), TABLE[["effect"]].to_numpy(), {DOWN}),
    ],
    ids=["tables", "Series", "arrays", "nullable", "lists", "big-endian"],
)
def test_data_comes_in_the_models_dtype_and_it_is_said(inputs, targets, changes):
    model = line()
    problem = ravine.Problem.of(model, "mse", (inputs, targets))
    as_tensors = [torch.tensor(TABLE[[name]].to_numpy(), dtype=torch.float32) for name in ("dose", "effect")]
    expected = ravine.descend(ravine.Problem.of(model, torch.nn.MSELoss(), as_tensors), lr=0.05, steps=5)
    run = ravine.descend(problem, lr=0.05, steps=5)
    assert np.array_equal(run.position, expected.position)
    assert run.position.dtype == np.float32
    assert changes <= set(problem.parts.changes)
    assert changes <= set(json.loads(run.loss.attrs["provenance"])["data"].split("; "))
    assert "data" not in json.loads(expected.loss.attrs["provenance"])
    double = ravine.Problem.of(line().double(), "mse", (TABLE["dose"], TABLE["effect"]))
    assert double.parts.inputs.dtype == torch.float64
    assert DOWN not in double.parts.changes


def test_columns_of_tables_name_the_data():
    assert ravine.Problem.of(line(), "mse", (TABLE["dose"], TABLE["effect"])).parts.names == ("dose", "effect")
    both = ravine.Problem.of(line(2), "mse", (TABLE[["dose", "age"]], TABLE["effect"]))
    assert both.parts.names == ("dose, age", "effect")
    assert ravine.Problem.of(line(), "mse", (TABLE["dose"], TABLE["effect"]), names=("x", "y")).parts.names == (
        "x",
        "y",
    )


def test_whole_numbers_stay_where_they_are_wanted():
    with torch.random.fork_rng():
        embedding = torch.nn.Embedding(5, 1)
    tokens = ravine.Problem.of(embedding, "mse", (np.arange(4), np.ones((4, 1))))
    assert tokens.parts.inputs.dtype == torch.int64
    classes = ravine.Problem.of(line(1, 5), "cross_entropy", (TABLE["dose"], TABLE["age"]))
    assert classes.parts.targets.dtype == torch.int64
    small = ravine.Problem.of(line(1, 5), "cross_entropy", (TABLE["dose"], TABLE[["age"]].astype("int32")))
    assert torch.equal(small.parts.targets, classes.parts.targets)
    numbers = ravine.Problem.of(line(), "mse", (TABLE["age"], TABLE["age"]))
    assert numbers.parts.inputs.dtype == numbers.parts.targets.dtype == torch.float32


def test_numbers_that_the_models_dtype_cannot_hold_are_said():
    with pytest.raises(ValueError, match="inputs hold 1e\\+300, and float32, which the model computes in"):
        ravine.Problem.of(line(), "mse", (np.array([1.0, 1e300]), np.ones(2)))
    seconds = 1.7e9 + np.arange(4.0)
    with pytest.warns(UserWarning, match="unlike numbers of inputs are one in float32"):
        ravine.Problem.of(line(), "mse", (seconds, np.ones(4)))


class Doubles(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight.double()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: (line(2), "mse", (torch.ones(4, 3), torch.ones(4, 1))),
            "does not take inputs of shape (4, 3): Linear(in_features=2, out_features=1, bias=True) takes (…, 2) and "
            "gets shape (4, 3); give such inputs, or make the layer with in_features=3",
        ),
        (
            lambda: (torch.nn.Sequential(line(1, 8), torch.nn.Tanh(), line(6)), "mse", (torch.ones(4, 1),) * 2),
            "its layer '2', Linear(in_features=6, out_features=1, bias=True), takes (…, 6) and gets shape (4, 8); make "
            "the layer with in_features=8",
        ),
        (
            lambda: (line(2), "mse", (torch.ones(4), torch.ones(4, 1))),
            "takes (…, 2) and gets shape (4,); reshape the inputs, as in inputs.reshape(-1, 2)",
        ),
        (
            lambda: (line(), "mse", (torch.ones(4, 1).double(), torch.ones(4, 1))),
            "the model computes in float32 and the inputs are float64: give inputs.to(torch.float32)",
        ),
        (
            lambda: (line(), "cross_entropy", (torch.ones(4, 1), torch.ones(4).long())),
            "CrossEntropyLoss does not take the model's output of shape (4, 1) with targets of shape (4,)",
        ),
        (lambda: (line(), "mse", (torch.ones(4, 1), torch.ones(4))), "reshape the targets"),
        (
            lambda: (line(), "mse", (TABLE.assign(name=list("abcd")), TABLE["effect"])),
            "column 'name' of the inputs",
        ),
        (
            lambda: (line(), "mse", (TABLE["dose"].where(TABLE["dose"] > 1), TABLE["effect"])),
            "of the inputs has gaps",
        ),
        (lambda: (line(), "mse", TABLE), "a pair (inputs, targets), or a loader of batches, got a pandas.DataFrame"),
        (lambda: (torch.nn.Linear, "mse", (TABLE, TABLE)), "got the class Linear: make one of it, as in Linear(…)"),
        (
            lambda: (line(), torch.nn.MSELoss, (TABLE, TABLE)),
            "criterion is the class MSELoss, expected one of it",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_plain_words(make, words):
    model, criterion, data = make()
    with pytest.raises((TypeError, ValueError)) as caught:
        ravine.Problem.of(model, criterion, data)
    assert words in str(caught.value)
    assert "mat1" not in str(caught.value)


# -- the wrong kind of thing -----------------------------------------------------------------------------------------

HOMES = {"ravine": ravine, "ravine.plot": ravine.plot, "ravine.measure": ravine.measure, "ravine.theory": ravine.theory}
HOMES |= {"ravine.gallery": ravine.gallery, "ravine.curvature": ravine.curvature}
RESULTS = {"ravine.Finding", "ravine.Plane", "ravine.theory.Best"}  # classes of what is handed out, which nobody makes
BOWL = ravine.gallery.quadratic()
WRONG = {"None": None, "3": 3, "word": "x", "list": [1, 2], "table": pd.DataFrame({"a": [1.0, 2.0]}), "problem": BOWL}
WRONG["study"] = ravine.descend(BOWL, lr=0.1, steps=5, also=("gradient", "velocity"))
LAND = ravine.surface(BOWL, points=5)
MODEL = torch.nn.Linear(1, 1)
CALL = {  # arguments that are right, by their name
    "problem": BOWL, "run": WRONG["study"], "runs": WRONG["study"], "study": WRONG["study"], "land": LAND,
    "studies": {"one": WRONG["study"]}, "criteria": ["mse"], "values": ravine.measure.arrival(WRONG["study"]),
    "curves_of_residual": ravine.residuals(["mse"]), "curvature": 1.0, "curvatures": [1.0, 2.0], "lr": 0.1, "step": 1,
    "path": "nowhere.nc", "loss": 1.0, "start": {"x": 1.0}, "along": "x", "at": {"y": 0.0}, "vector": [1.0, 0.0],
    "hessian": np.eye(2), "minimizer": np.zeros(2), "condition": 10.0, "model": MODEL,
    "optimizer": torch.optim.SGD(MODEL.parameters()), "files": "nowhere-*.pt", "one": {"x": 1.0, "y": 1.0},
    "other": [0.0, 0.0],
}  # fmt: skip
NUMBERS = {"3", "list", "table"}
RIGHT = {  # wrong for others, right here
    **dict.fromkeys(("lr", "curvature", "curvatures", "hessian", "minimizer"), NUMBERS),
    **{name: {"study"} for name in ("run", "runs", "study")},
    "problem": {"problem"},
    "loss": {"3"},
    "step": {"3"},
    "condition": {"3"},
    "start": {"list"},
    "along": {"word"},
    "at": {"None", "list", "table"},  # of curvature; plot.slice wants a mapping
    "vector": {"None", "list", "table"},
    "path": {"word"},
    "files": {"word", "list"},  # of paths: a wrong one in it is named by itself
    "one": {"list", "problem", "study"},
    "other": {"list", "problem", "study"},
}


ALSO_RIGHT = {("ravine.explore", "problem", "None"), ("ravine.checkpoints", "model", "problem")}


def required():
    for home, module in HOMES.items():
        for name in module.__all__:
            thing, full = getattr(module, name), f"{home}.{name}"
            if not callable(thing) or inspect.ismodule(thing) or full in RESULTS:
                continue
            taken = list(inspect.signature(thing).parameters.values())
            taken = [p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
            needed = [p.name for p in taken if p.default is p.empty] or [p.name for p in taken[:1]]
            for wrong in needed:
                yield pytest.param(thing, full, needed, wrong, id=f"{full}-{wrong}")


@pytest.mark.parametrize(("call", "full", "needed", "wrong"), list(required()))
def test_the_wrong_kind_of_thing_is_answered_in_words(call, full, needed, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, value in WRONG.items():
        if kind in RIGHT.get(wrong, ()) or (full, wrong, kind) in ALSO_RIGHT:
            continue
        right = {**CALL, "loss": lambda p: p["x"] ** 2} if full == "ravine.Problem" else CALL
        arguments = [value if name == wrong else right[name] for name in needed]
        with pytest.raises((TypeError, ValueError, OSError)) as caught:
            call(*arguments)
        said = str(caught.value)
        last = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert Path(ravine.__file__).parent in Path(last.filename).parents, (kind, said)  # nobody else's words
        assert "\n" not in said.strip(), (kind, said)
        assert len(said) < 550, (kind, said)
        assert type(value).__name__ in said or kind_of(value) in said or repr(value)[:20] in said or kind == "study", (
            said
        )
        assert not re.search(r"object is not|not supported between|has no attribute|argument of type", said), (
            kind,
            said,
        )
