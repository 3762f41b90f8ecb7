"""Joined batches in the layout that is fastest: cross entropy with the classes first, images with the channels last."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

import ravine
from ravine._problem.cross_entropy import ClassesFirst, is_cross_entropy
from ravine._problem.in_place import CHANNELS, InPlace

F = torch.nn.functional
CE = torch.nn.CrossEntropyLoss


def drawn(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def perceptron(classes=5):
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, classes))


def convolutional(channels=1):
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Conv2d(6, 4, 3),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    )  # fmt: skip


def problem_of(model, criterion, inputs, classes=4, size=64):
    targets = (drawn(len(inputs), 3)[:, 2] * classes).long()
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    return ravine.Problem.of(model, criterion, batches), batches


def plainly(model, criterion, batches, point):
    """Set the parameters and call the model on each batch as it came; the loss weighted as the criterion averages."""
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(torch.from_numpy(point).float(), model.parameters())
        losses = [float(criterion(model(x), y)) for x, y in batches]
        if getattr(criterion, "reduction", "mean") == "sum":
            return sum(losses)
        weights, ignored = getattr(criterion, "weight", None), getattr(criterion, "ignore_index", -100)
        kept = [y[y != ignored] for _, y in batches]
        return np.average(losses, weights=[len(y) if weights is None else float(weights[y].sum()) for y in kept])


CRITERIA = {
    "mean": CE(),
    "a function": F.cross_entropy,
    "class weights": CE(weight=torch.tensor([1.0, 2.0, 5.0, 9.0])),
    "sum": CE(reduction="sum"),
    "smooth, one ignored": CE(label_smoothing=0.2, ignore_index=1),
}


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_joined_batches_have_the_loss_of_those_that_were_dealt(criterion):
    model = seeded(lambda: perceptron(4))
    before = copy.deepcopy(model.state_dict())
    problem, batches = problem_of(model, criterion, drawn(300, 8))
    place = InPlace(problem, "frozen")
    assert place.classes_first is not None
    assert place.classes_first.off <= 1e-6
    plane = ravine.Plane.random(problem)
    land = ravine.surface(problem, plane=plane, points=3)
    for i, y in enumerate((-1, 0, 1)):
        for j, x in enumerate((-1, 0, 1)):
            assert float(land.surface[i, j]) == pytest.approx(
                plainly(model, criterion, batches, plane.at(x, y)), rel=1e-6
            )
    told = json.loads(land.surface.attrs["provenance"])
    assert told["criterion"].startswith("of joined batches with the classes first, ")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        scores = torch.cat([model.eval()(x) for x, _ in batches])
    targets = torch.cat([y for _, y in batches])
    counted = targets != getattr(criterion, "ignore_index", -100)
    right = float((scores.argmax(1) == targets)[counted].float().mean())
    assert place.value_and_accuracy()[1] == pytest.approx(right)


class Own(CE):
    """One that is torch's by name."""


def hooked():
    criterion = CE()
    criterion.register_forward_hook(lambda *_: None)
    return criterion


def overridden():
    criterion = CE()
    criterion.forward = lambda scores, targets: F.cross_entropy(scores, targets)
    return criterion


def test_what_is_not_torchs_own_is_called_as_it_is():
    assert is_cross_entropy(CE())
    for criterion in (Own(), hooked(), overridden(), torch.nn.MSELoss(), torch.nn.NLLLoss(), lambda a, b: 0):
        assert not is_cross_entropy(criterion)
    seen = []

    class Looking(CE):
        def forward(self, scores, targets):
            seen.append(scores.shape)
            return super().forward(scores, targets)

    problem, _ = problem_of(seeded(lambda: perceptron(4)), Looking(), drawn(300, 8))
    place = InPlace(problem, "frozen")
    place.value()
    assert place.classes_first is None
    assert {*seen} <= {(64, 4), (128, 4), (300, 4)}


def test_what_is_as_it_was_dealt_keeps_its_bits():
    for make, inputs in ((lambda: perceptron(4), drawn(1300, 8)), (convolutional, drawn(1300, 1, 8, 8))):
        model = seeded(make)
        problem, batches = problem_of(model, CE(), inputs, size=1200)
        assert InPlace(problem, "frozen").classes_first is None
        plane = ravine.Plane.random(problem)
        land = ravine.surface(problem, plane=plane, points=2)
        for i, y in enumerate((-1, 1)):
            for j, x in enumerate((-1, 1)):
                assert float(land.surface[i, j]) == plainly(model, CE(), batches, plane.at(x, y))
    whole = ravine.Problem.of(seeded(perceptron), CE(), (drawn(50, 8), torch.zeros(50, dtype=torch.long)))
    assert InPlace(whole, "frozen").classes_first is None


def test_where_vectors_are_full_or_shapes_are_others_the_plain_call_stays():
    faster = ClassesFirst(CE(), 10)
    scores, targets = drawn(20, 4), torch.zeros(20, dtype=torch.long)
    assert faster.suits(scores, targets)
    wide = faster.vector // 4
    assert not faster.suits(drawn(20, wide), targets)
    assert faster.suits(drawn(20, wide - 1), targets)
    assert not faster.suits(drawn(20, wide // 2).double(), targets)
    assert not faster.suits(scores[:10], targets[:10])
    assert not faster.suits(scores, drawn(20, 4))
    assert not faster.suits(drawn(20, 4, 3), torch.zeros(20, 3, dtype=torch.long))
    assert not faster.suits(scores[0], targets[0])
    assert not faster.agrees(torch.full((20, 4), torch.nan), targets)


@pytest.mark.parametrize("channels", [1, 3, CHANNELS])
def test_images_of_joined_batches(channels):
    model = seeded(lambda: convolutional(channels))
    problem, batches = problem_of(model, CE(), drawn(300, channels, 8, 8))
    place = InPlace(problem, "frozen")
    plane = ravine.Plane.random(problem)
    for x, y in ((-1, 1), (0.5, 0.2)):
        found = place.at(torch.from_numpy(plane.at(x, y)))
        assert found == pytest.approx(plainly(model, CE(), batches, plane.at(x, y)), rel=1e-6)
    for statistics in ("frozen", "batch"):
        assert np.isfinite(InPlace(problem, statistics).value())
