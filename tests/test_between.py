"""The line between two states: its losses, its accuracy, its ends, the barrier, and what is said and drawn of it."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import ravine
from artists import line_of, said, words

CE = torch.nn.CrossEntropyLoss()


@pytest.fixture(scope="module")
def digits():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(30)
    return torch.rand(4, 9, generator=generator)[labels] + 0.3 * torch.randn(120, 9, generator=generator), labels


def network(seed, norm=False):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [torch.nn.Linear(9, 6), torch.nn.BatchNorm1d(6), torch.nn.Tanh(), torch.nn.Linear(6, 4)]
        return torch.nn.Sequential(*(each for k, each in enumerate(layers) if norm or k != 1))


def trained(digits, seed, norm=False):
    model = network(seed, norm)
    rule = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(40):
        rule.zero_grad()
        CE(model(digits[0]), digits[1]).backward()
        rule.step()
    return model


@pytest.fixture(scope="module")
def pair(digits):
    return trained(digits, 0), trained(digits, 1)


@pytest.fixture(scope="module")
def problem(digits, pair):
    return ravine.Problem.of(pair[0], CE, DataLoader(TensorDataset(*digits), 50))


@pytest.fixture(scope="module")
def line(problem, pair):
    return ravine.between(problem, *pair, points=21)


def mixed(one, other, share):
    """A model whose parameters are those between two others, in float64 and rounded once."""
    made = network(0, norm=len(one) == 4)
    with torch.no_grad():
        for here, a, b in zip(made.parameters(), one.parameters(), other.parameters(), strict=True):
            here.copy_((1 - share) * a.double() + share * b.double())
    return made


# -- losses ----------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_problem_along_the_line(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=6)
    line = ravine.between(case.problem, case.problem, run, points=5)
    places = [case.problem.starting_at(run.position[k].values.astype(float)).start for k in (0, -1)]
    for share, loss in zip(line.share.values.tolist(), line.line_loss.values, strict=True):
        there = {
            name: ((1 - share) * places[0][name].double() + share * places[1][name].double()).to(value.dtype)
            for name, value in case.problem.start.items()
        }
        assert loss == pytest.approx(float(case.problem.loss(there).detach()), rel=1e-5)
    assert line.line_loss.values[[0, -1]].tolist() == pytest.approx(run.loss.values[[0, -1]].tolist(), rel=1e-6)
    length = np.linalg.norm(run.position.values[-1].astype(float) - run.position.values[0])
    assert line.distance.values[-1] == pytest.approx(length)
    assert "line_accuracy" not in line
    assert ravine.check(line, "line_loss") is line


def test_losses_and_accuracy_of_a_network_are_those_of_a_plain_loop(digits, pair, line):
    for share, loss, accuracy in zip(*(line[n].values for n in ("share", "line_loss", "line_accuracy")), strict=True):
        with torch.no_grad():
            scores = mixed(*pair, float(share))(digits[0])
        assert loss == pytest.approx(float(CE(scores, digits[1])), rel=1e-6)
        assert accuracy == pytest.approx(float((scores.argmax(1) == digits[1]).double().mean()))
    assert line.line_accuracy.values.min() < 0.9  # else it could not be told from one that is always right


@pytest.mark.parametrize("statistics", ["batch", "frozen"])
def test_batchnorm_takes_the_statistics_that_are_named(digits, statistics):
    one, other = trained(digits, 0, norm=True), trained(digits, 1, norm=True)
    problem = ravine.Problem.of(one, CE, digits)
    if statistics == "frozen":
        with pytest.warns(UserWarning, match="other came with other BatchNorm statistics"):
            line = ravine.between(problem, one, other, points=3, statistics="frozen")
    else:
        line = ravine.between(problem, one, other, points=3)
    middle = mixed(one, other, 0.5)
    middle[1].load_state_dict({**middle[1].state_dict(), **dict(one[1].named_buffers())})
    middle.train(statistics == "batch")
    with torch.no_grad():
        assert line.line_loss.values[1] == pytest.approx(float(CE(middle(digits[0]), digits[1])), rel=1e-5)
    (told,) = ravine.explain(line)[:1]
    assert told.values["statistics"] == statistics
    assert "BatchNorm's statistics" in told.sentence
    assert "BatchNorm" in said(ravine.plot.between(line))


def test_nothing_of_the_models_changes(digits):
    one, other = trained(digits, 0, norm=True), trained(digits, 1, norm=True)
    one[3].eval()
    problem = ravine.Problem.of(one, CE, digits)
    before = [{n: v.clone() for n, v in each.state_dict().items()} for each in (one, other)]
    modes = [[m.training for m in each.modules()] for each in (one, other)]
    ravine.between(problem, one, other, points=3)
    for each, then in zip((one, other), before, strict=True):
        assert all(torch.equal(value, then[name]) for name, value in each.state_dict().items())
    assert [[m.training for m in each.modules()] for each in (one, other)] == modes


class Tagged(torch.nn.Module):
    """Gives its loss itself, as transformers' models do."""

    def __init__(self):
        super().__init__()
        self.inner = network(0)

    def forward(self, inputs, labels):
        scores = self.inner(inputs)
        return {"loss": CE(scores, labels), "logits": scores}


def test_accuracy_is_seen_where_classes_are_compared_and_nowhere_else(digits):
    inputs, labels = digits
    padded = torch.where(torch.arange(len(labels)) % 3 == 0, -100, labels)
    there = padded >= 0
    with torch.no_grad():
        right = network(1)(inputs).argmax(1) == labels
        over = network(1)(inputs)[:, :1] > 0
    whole, kept = float(right.double().mean()), float(right[there].double().mean())
    binary = (labels < 2).float()[:, None]

    class First(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x)[:, :1]

    def accuracy_at_end(model, criterion, data, other):
        line = ravine.between(ravine.Problem.of(model, criterion, data), model, other, points=3)
        return float(line.line_accuracy[-1]) if "line_accuracy" in line else None

    batches = [{"inputs": x, "labels": y} for x, y in zip(inputs.split(50), labels.split(50), strict=True)]
    mapped = Tagged()
    mapped.inner.load_state_dict(network(1).state_dict())
    found = {
        "ignored": (accuracy_at_end(network(0), CE, (inputs, padded), network(1)), kept),
        "summed": (accuracy_at_end(network(0), torch.nn.CrossEntropyLoss(reduction="sum"), digits, network(1)), whole),
        "margin": (accuracy_at_end(network(0), torch.nn.MultiMarginLoss(), digits, network(1)), whole),
        "mapping": (accuracy_at_end(Tagged(), None, batches, mapped), whole),
        "binary": (
            accuracy_at_end(First(network(0)), torch.nn.BCEWithLogitsLoss(), (inputs, binary), First(network(1))),
            float((over == (binary > 0)).double().mean()),
        ),
    }
    for name, (seen, expected) in found.items():
        assert seen == pytest.approx(expected), name
    soft = torch.nn.functional.one_hot(labels, 4).float()
    assert accuracy_at_end(network(0), CE, (inputs, soft), network(1)) is None
    assert accuracy_at_end(network(0), torch.nn.MSELoss(), (inputs, soft), network(1)) is None


# -- ends ------------------------------------------------------------------------------------------------------------


def test_an_end_may_be_given_in_many_ways(problem, pair, line):
    model = pair[1]
    vector = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    run = ravine.descend(problem, lr=0.1, steps=2)
    last = run.copy(deep=True)
    last["position"][-1] = vector.numpy()
    with_step = run.copy(deep=True)
    with_step["position"][1] = vector.numpy()
    ways = [
        model.state_dict(),
        dict(model.named_parameters()),
        torch.nn.DataParallel(model),
        vector,
        vector.numpy(),
        last,
        with_step.sel(step=1),
        with_step.position.sel(step=1),
        problem.starting_at(vector.numpy()),
    ]
    for way in ways:
        found = ravine.between(problem, pair[0], way, points=3)
        assert found.line_loss.values.tolist() == line.line_loss.values[[0, 10, 20]].tolist(), type(way)
    told = json.loads(ravine.between(problem, pair[0], with_step.sel(step=1), points=3).line_loss.attrs["provenance"])
    assert told["other"] == "the position at step 1"


@pytest.mark.parametrize("norm", [False, True])
def test_a_state_is_read_as_a_checkpoint_is(digits, norm, tmp_path):
    """Wrapped, averaged, compiled, under a prefix or within a checkpoint: the same line as between the models alone."""
    one, other = network(0, norm=norm), network(1, norm=norm)
    problem = ravine.Problem.of(one, CE, digits)
    expected = ravine.between(problem, one, other, points=3).line_loss.values.tolist()
    state, averaged = other.state_dict(), torch.optim.swa_utils.AveragedModel(other)
    averaged.update_parameters(other)

    class Training(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = other

    ways = {
        "averaged": averaged,
        "its state": averaged.state_dict(),
        "parallel": {f"module.{key}": each for key, each in state.items()},
        "compiled": {f"module._orig_mod.{key}": each for key, each in state.items()},
        "prefix": Training().state_dict(),
        "a module around it": Training(),
        "a checkpoint": {"epoch": 3, "model": state, "ema": one.state_dict(), "optimizer": {"state": {}}},
    }
    torch.save(ways["a checkpoint"], tmp_path / "model-3.pt")
    for name, way in ways.items():
        found = ravine.between(problem, one, way, points=3)
        assert found.line_loss.values.tolist() == expected, name
    kept = ravine.checkpoints(problem, {3: tmp_path / "model-3.pt"})
    assert ravine.between(problem, one, kept, points=3).line_loss.values.tolist() == expected
    with pytest.raises(ValueError, match="other holds all parameters 2 times, as a, b: give one of them"):
        ravine.between(problem, one, {"a": state, "b": state})
    with pytest.raises(ValueError, match=r"other lacks .*0\.weight.*and it holds .*encoder\.weight"):
        ravine.between(problem, one, {"encoder.weight": torch.ones(1)})
    with pytest.raises(ValueError, match="other has 'extra', which the problem has not"):
        ravine.between(problem, one, {**ways["parallel"], "module.extra": torch.ones(1)})


def test_the_names_of_wrappers_are_the_same_for_recordings_and_states():
    from ravine._problem.state_names import WRAPPED
    from ravine._record.members import WRAPPERS

    assert set(WRAPPERS.values()) == WRAPPED


def test_what_a_recording_left_out_stays_at_the_start(digits):
    model = network(0)
    rule = torch.optim.SGD(model[2].parameters(), lr=0.5)
    with ravine.record(model, rule, CE, every=1) as recorder:
        for _ in range(3):
            CE(model(digits[0]), digits[1]).backward()
            rule.step()
    problem = ravine.Problem.of(network(0), CE, digits)
    line = ravine.between(problem, problem, recorder.dataset(), points=3)
    with torch.no_grad():
        assert line.line_loss.values[-1] == pytest.approx(float(CE(model(digits[0]), digits[1])), rel=1e-6)


@pytest.mark.parametrize("step", [None, 2])
def test_recorded_statistics_that_are_not_taken_are_told(digits, step):
    model = network(0, norm=True)
    rule = torch.optim.SGD(model.parameters(), lr=0.5)
    with ravine.record(model, rule, CE, every=1) as recorder:
        for _ in range(3):
            CE(model(digits[0]), digits[1]).backward()
            rule.step()
    run = recorder.dataset()
    run = run if step is None else run.sel(step=step)
    problem = ravine.Problem.of(network(0, norm=True), CE, digits)
    with pytest.warns(UserWarning, match="other came with other BatchNorm statistics"):
        ravine.between(problem, problem, run, points=3, statistics="frozen")
    ravine.between(problem, problem, run, points=3)  # made anew: nothing to tell


def test_tied_and_frozen_tensors(digits):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.out = torch.nn.Linear(9, 9), torch.nn.Linear(9, 9), torch.nn.Linear(9, 4)
            self.two.weight = self.one.weight
            self.out.bias.requires_grad_(False)

        def forward(self, x):
            return self.out(torch.tanh(self.two(torch.tanh(self.one(x)))))

    with torch.random.fork_rng():
        one, other = Tied(), Tied()
    other.out.bias.data.copy_(one.out.bias)
    problem = ravine.Problem.of(one, CE, digits)
    line = ravine.between(problem, one, other, points=3)
    with torch.no_grad():
        assert line.line_loss.values[-1] == pytest.approx(float(CE(other(digits[0]), digits[1])), rel=1e-6)
    state = other.state_dict()
    with pytest.raises(ValueError, match=r"'two.weight' of other is tied to 'one.weight' in the problem"):
        ravine.between(problem, one, {**state, "two.weight": state["two.weight"] + 1})
    with pytest.raises(ValueError, match=r"'out.bias' of other is frozen in the problem"):
        ravine.between(problem, one, {**state, "out.bias": state["out.bias"] + 1})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": 1.0}, "other lacks y: a place takes all of x, y"),
        ({"x": 1.0, "y": 2.0, "z": 1.0}, "other has 'z', which the problem has not: its parameters are x, y"),
        ({"x": 1.0, "y": [1.0, 2.0]}, r"'y' is of shape \(2,\), and of \(\) there"),
        ({"x": 1.0, "y": float("nan")}, "all numbers of other must be finite"),
        ({"x": "far", "y": 1.0}, "expected a mapping of names to numbers or tensors"),
        ([1.0, 2.0, 3.0], "other is a vector of 3 numbers, and the problem has 2"),
        ([1.0, np.inf], "all numbers of a place must be finite"),
        ({"x": -1.5, "y": 2.0}, "one and other are the same place"),
        (None, "expected a run, a problem, a module"),
    ],
)
def test_ends_that_cannot_be_are_refused(other, message):
    problem = ravine.gallery.rosenbrock().starting_at(x=-1.5, y=2.0)
    with pytest.raises((TypeError, ValueError), match=message):
        ravine.between(problem, problem, other)


def test_other_words_are_refused(problem, pair):
    for points in (2, 2.5, True, "many"):
        with pytest.raises(ValueError, match="points must be a whole number of at least 3"):
            ravine.between(problem, *pair, points=points)
    with pytest.raises(ValueError, match='statistics must be "batch" or "frozen", got \'anew\''):
        ravine.between(problem, *pair, statistics="anew")
    with pytest.raises(TypeError, match="one problem"):
        ravine.between(ravine.gallery.article(), *pair)
    with pytest.raises(ValueError, match="one is of another model than the problem"):
        ravine.between(problem, ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=2), pair[1])


# -- the barrier -----------------------------------------------------------------------------------------------------


def made(losses, dtype="float64", **facts):
    told = {"provenance": json.dumps({"engine": "by hand", "dtype": dtype, **facts})}
    return xr.Dataset({"line_loss": ("share", losses, told)}, {"share": np.linspace(0, 1, len(losses))})


@pytest.mark.parametrize(
    ("losses", "height", "share"),
    [
        ([1.0, 1.0, 5.0, 4.0, 3.0], 3.0, 0.5),
        ([3.0, 2.0, 1.0], 0.0, np.nan),
        ([3.0, 1.0, 2.0, 9.0], 20 / 3 - 20 / 3, np.nan),
        ([1.0, np.nan, 2.0, 1.0, 1.0], np.inf, 0.25),
        ([np.inf, 2.0, 1.0], np.nan, np.nan),
    ],
)
def test_a_barrier_is_the_height_over_the_line_of_its_ends(losses, height, share):
    found = ravine.measure.barrier(made(losses))
    assert float(found) == pytest.approx(height, nan_ok=True)
    assert float(found.share) == pytest.approx(share, nan_ok=True)


def test_rounding_is_no_barrier_and_lines_are_measured_side_by_side(line):
    low = [1.0, 1.0 + 1e-7, 1.0]
    assert float(ravine.measure.barrier(made(low, "float32"))) == 0
    assert float(ravine.measure.barrier(made(low))) == pytest.approx(1e-7)
    both = ravine.measure.barrier(ravine.join({"one": line, "same": line}))
    assert both.dims == ("run",)
    losses = line.line_loss.values
    chord = losses[0] + line.share.values * (losses[-1] - losses[0])
    assert both.values == pytest.approx([(losses - chord).max()] * 2)
    assert both.share.values == pytest.approx([line.share.values[(losses - chord).argmax()]] * 2)


def test_what_is_said_of_a_line(line, case):
    barrier, accuracy = ravine.explain(line)
    height = ravine.measure.barrier(line)
    assert barrier.values["barrier"] == float(height) > 0.1
    assert "Hidden units were not matched" in barrier.sentence
    assert barrier.scope == accuracy.scope == "measured"
    assert accuracy.values["lowest"] == line.line_accuracy.values.min()
    smooth = ravine.between(case.problem, case.problem, ravine.descend(case.problem, lr=case.lr, steps=3), points=5)
    (told,) = ravine.explain(
        smooth
    )  # no accuracy, and no word on hidden units where nothing is barred or there are none
    assert ("There is a barrier" in told.sentence) == (ravine.measure.barrier(smooth) > 0)
    if case.problem.size < 5:
        assert "units" not in told.values
    (broken,) = ravine.explain(made([1.0, np.nan, np.inf, 1.0]))
    assert "not finite at 2 of 4 points, the first 33 % of the way" in broken.sentence
    (nowhere,) = ravine.explain(made([1.0, 2.0, np.nan]))
    assert "not finite at other" in nowhere.sentence
    named = ravine.explain(ravine.join({"a": line, "b": line}))
    assert [each.whose for each in named] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("accuracy", "sentence"),
    [
        ([0.9, 0.7, 0.5], "Accuracy is nowhere below the lower of its ends (90 % and 50 %)."),
        ([0.9, 0.25, 0.5], "Accuracy falls to 25 %, 50 % of the way; at the ends it is 90 % and 50 %."),
        (
            [0.9, np.nan, 0.5],
            "Accuracy is nowhere below the lower of its ends (90 % and 50 %); at 1 of 3 points there is none, the "
            "first 50 % of the way.",
        ),
    ],
)
def test_what_is_said_of_accuracy_on_the_way(accuracy, sentence):
    _, told = ravine.explain(made([1.0, 1.0, 1.0]).assign(line_accuracy=("share", accuracy)))
    assert told.sentence == sentence
    assert ("missing" in told.values) == bool(np.isnan(accuracy).any())


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        ([[2.0, 1.0, np.nan]], "The loss is not finite at an end: no barrier is known"),
        ([[2.0, 1.0, 1.0], [2.0, 1.0, np.nan]], "Barriers: a none and b not known"),
        ([[2.0, 1.0, 1.0], [2.0, np.inf, 1.0]], "Barriers: a none and b not finite"),
        ([[2.0, 1.0, 1.0]] * 2, "No barrier on any of the lines"),
        (
            [[1.0, 3.0, 1.0], [1.0, 1.0, 1.0], [1.0, np.inf, 1.0], [1.0, 1.0, np.nan], [1.0, 1.0, np.nan]],
            "Barriers on 1 of 5 lines; 1 not finite; 2 not known",
        ),
    ],
)
def test_no_barrier_is_said_where_all_is_known_alone(lines, title):
    each = dict(zip("abcde", map(made, lines), strict=False))
    figure = ravine.plot.between(ravine.join(each) if len(each) > 1 else each["a"])
    assert " ".join(figure.texts[0].get_text().split()) == title
    plt.close(figure)


# -- the picture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["ravine", "dark", "article"])
def test_the_picture_shows_line_and_barrier(line, style):
    ax = ravine.plot.between(line, style=style).axes[0]
    assert line_of(ax, "loss").get_ydata().tolist() == line.line_loss.values.tolist()
    assert line_of(ax, "straight").get_ydata().tolist() == line.line_loss.values[[0, -1]].tolist()
    height = ravine.measure.barrier(line)
    low, high = line_of(ax, "barrier").get_ydata()
    assert high - low == pytest.approx(float(height))
    assert line_of(ax, "highest").get_xdata()[0] == float(height.share)


def test_the_picture_of_accuracy_of_several_and_on_axes_of_hers(line):
    ax = ravine.plot.between(line, "accuracy").axes[0]
    assert line_of(ax, "accuracy").get_ydata().tolist() == line.line_accuracy.values.tolist()
    assert ax.get_ylabel() == "accuracy"
    both = ravine.join({"one": line, "halved": line.assign(line_loss=line.line_loss / 2)})
    figure = ravine.plot.between(both)
    assert {"one", "halved"} <= {each.get_gid() for each in figure.axes[0].lines}
    assert "Barriers: one" in said(figure)
    figure, hers = plt.subplots()
    assert ravine.plot.between(line, ax=hers) is hers
    assert not words(figure)
    plt.close(figure)
    gap = ravine.plot.between(made([1.0, np.inf, 3.0, 2.0]))
    assert "The loss is not finite on the way" in said(gap)
    assert "not finite at 1 of 4 points, the first 33 % of the way" in said(gap)
    assert np.isnan(line_of(gap.axes[0], "loss").get_ydata()[1])
    low = said(ravine.plot.between(made([2.0, 1.0, 1.0], units="not matched")))
    assert "No barrier" in low
    assert "not matched" not in low  # of what is not there no other order is free
    assert "hidden units are not matched" in said(ravine.plot.between(made([1.0, 2.0, 1.0], units="not matched")))


def test_pictures_that_cannot_be_are_refused(line):
    with pytest.raises(ValueError, match='y must be "loss" or "accuracy", got \'error\''):
        ravine.plot.between(line, "error")
    with pytest.raises(ValueError, match="there is no accuracy to draw"):
        ravine.plot.between(line.drop_vars("line_accuracy"), "accuracy")
    with pytest.raises(ValueError, match=r"no 'line_loss' .*ravine.between\(problem, one, other\)"):
        ravine.plot.between(ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=1))
