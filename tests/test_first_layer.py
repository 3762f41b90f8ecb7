"""The first layer along a line of parameters: the same losses on joined batches, and nothing where it is not plain."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

import ravine
from ravine._landscape import plane_rows
from ravine._landscape.on_plane import _moved_by
from ravine._problem.first_layer import FirstLayer
from ravine._problem.in_place import InPlace

CE = torch.nn.CrossEntropyLoss()
POINTS = 15


def drawn(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def seeded(make, *given):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*given)


class Net(torch.nn.Module):
    """A network whose first layer is used as a test says."""

    def __init__(self, way="once", first=None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = torch.nn.Linear(16, 16) if first is None else first
            self.last = torch.nn.Linear(16, 4)
            self.norm = torch.nn.BatchNorm1d(16)
        self.way = way

    def forward(self, x):
        if self.way == "scaled":
            return self.last(torch.tanh(self.first(x * 2)))
        hidden = self.first(x.flatten(1) if self.way == "flat" else x)
        if self.way == "twice":
            hidden = self.first(torch.tanh(hidden))
        elif self.way == "skip":
            return self.last(torch.tanh(hidden)) + self.last(x)
        elif self.way == "shared":
            hidden = torch.tanh(hidden) @ self.first.weight
        elif self.way == "in place":
            return self.last(hidden.relu_())
        elif self.way == "norm":
            hidden = self.norm(hidden)
        return self.last(torch.tanh(hidden))


class Own(torch.nn.Linear):
    def forward(self, given):
        return super().forward(given).square()


def convolutional():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 6, 3, padding=1, bias=False), torch.nn.BatchNorm2d(6), torch.nn.ReLU(inplace=True),
            torch.nn.Conv2d(6, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        )  # fmt: skip


def problem_of(model, *shape, size=64, rows=300):
    inputs, targets = drawn(rows, *shape), (drawn(rows, 3)[:, 2] * 4).long()
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    return ravine.Problem.of(model, CE, batches), batches


def plainly(model, plane, batches, statistics="frozen"):
    model, found = copy.deepcopy(model).eval(), []
    for each in model.modules():
        if statistics == "batch" and isinstance(each, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            each.running_mean = each.running_var = None
    for y in np.linspace(-1, 1, POINTS):
        for x in np.linspace(-1, 1, POINTS):
            with torch.no_grad():
                leaves = [each for each in model.parameters() if each.requires_grad]
                torch.nn.utils.vector_to_parameters(torch.from_numpy(plane.at(x, y)).float(), leaves)
                found.append(sum(float(CE(model(a), b)) * len(b) for a, b in batches) / sum(len(b) for _, b in batches))
    return np.array(found).reshape(POINTS, POINTS)


def looked_at(model, problem, batches, statistics="frozen"):
    """Return what is said of the first layer, after each loss was compared."""
    before, forwards = copy.deepcopy(model.state_dict()), [vars(each).get("forward") for each in model.modules()]
    plane = ravine.Plane.random(problem, statistics=statistics)
    land = ravine.surface(problem, plane=plane, points=POINTS)
    truth = plainly(model, plane, batches, statistics)
    assert np.abs(land.surface - truth).max() <= 1e-6 * truth.max()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [vars(each).get("forward") for each in model.modules()] == forwards
    assert not any(each._forward_pre_hooks for each in model.modules() if each is not getattr(model, "hooked", None))
    return json.loads(land.surface.attrs["provenance"]).get("first_layer")


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Net, (16,)),
        (lambda: Net("flat"), (4, 4)),
        (lambda: Net("shared"), (16,)),
        (lambda: Net("in place"), (16,)),
        (lambda: Net("norm"), (16,)),
        (convolutional, (1, 8, 8)),
    ],
    ids=["once", "flat", "weights used elsewhere", "in place", "norm", "convolutional"],
)
def test_joined_batches_go_along_the_first_layer(make, shape):
    model = make()
    told = looked_at(model, *problem_of(model, *shape))
    assert told.startswith("of joined batches along each row by its slope, which ")
    assert "5 losses" in told


def test_how_far_losses_moved_is_said():
    assert _moved_by(0.0) == "left each of 5 losses as it was, in every bit"
    assert _moved_by(1.23e-8) == "moved none of 5 losses by more than 1.2 × 10⁻⁸ of the largest"


class Clipping(Net):
    """A network that clips its first weights as it is called, as it is done against large ones."""

    def __init__(self, way, most):
        super().__init__(first=seeded(torch.nn.Linear, 16, 16))
        self.clipped_by, self.most = way, most

    def forward(self, x):
        weight = self.first.weight
        if self.clipped_by == "data":
            weight.data.clamp_(-self.most, self.most)
        elif self.clipped_by == "for the call alone":  # as networks of binary weights are trained
            held = weight.data
            weight.data = held.clamp(-self.most, self.most)
            found = super().forward(x)
            weight.data = held
            return found
        else:
            with torch.no_grad():
                weight.clamp_(-self.most, self.most)
        return super().forward(x)


CORNERS = [(-1, -1), (1, -1), (-1, 1), (1, 1)]


@pytest.mark.parametrize("way", ["no grad", "data", "for the call alone"])
@pytest.mark.parametrize("corner", CORNERS)
def test_where_a_call_clips_weights_it_is_not_taken(way, corner):
    """Of one weight, and near one corner alone: everywhere else nothing is clipped."""
    model = Clipping(way, torch.full((16, 16), torch.inf))
    problem, _ = problem_of(model, 16)
    plane = ravine.Plane.random(problem)
    names = list(problem.start)
    before = sum(problem.start[name].numel() for name in names[: names.index("first.weight")])
    sizes = {each: np.abs(plane.at(*each)[before : before + 256]) for each in CORNERS}
    others = np.max([sizes[each] for each in CORNERS if each != corner], axis=0)
    chosen = int(np.argmax(sizes[corner] - others))
    model.most.view(-1)[chosen] = float(sizes[corner][chosen] + others[chosen]) / 2
    problem, batches = problem_of(model, 16)
    land = ravine.surface(problem, plane=plane, points=POINTS)
    assert "first_layer" not in json.loads(land.surface.attrs["provenance"])
    assert np.abs(land.surface - plainly(model, plane, batches)).max() <= 1e-6 * land.surface.max()


def test_tied_first_layers():
    """One module under two names is called twice; two that share their weights have one of them followed."""
    model = Net("once")
    model.again = model.first
    assert looked_at(model, *problem_of(model, 16)) is not None
    model.last = torch.nn.Sequential(torch.nn.Tanh(), model.again, seeded(torch.nn.Linear, 16, 4))
    assert looked_at(model, *problem_of(model, 16)) is None
    tied = seeded(torch.nn.Linear, 16, 16)
    tied.weight = model.first.weight
    model.last[1], model.again = tied, None
    assert looked_at(model, *problem_of(model, 16)) is not None


def hooked():
    model = Net()
    model.hooked = model.first
    model.first.register_forward_pre_hook(lambda layer, given: (given[0] + 1,))
    return model


def frozen():
    model = Net()
    model.first.requires_grad_(requires_grad=False)
    return model


def normed():
    return Net(first=torch.nn.utils.parametrizations.weight_norm(seeded(torch.nn.Linear, 16, 16)))


def with_own_forward():
    model = Net()
    model.first.forward = lambda given: torch.nn.functional.linear(given, model.first.weight) ** 2
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net("twice"),
        lambda: Net("scaled"),
        hooked,
        frozen,
        normed,
        lambda: Net(first=seeded(Own, 16, 16)),
    ],
    ids=["twice", "scaled", "hooked", "frozen", "parametrized", "a class of one's own"],
)
def test_what_is_not_plain_is_evaluated_as_it_is(make):
    model = make()
    assert looked_at(model, *problem_of(model, 16)) is None


def test_a_forward_of_ones_own_is_no_layer_of_torch():
    model = with_own_forward()
    problem, _ = problem_of(model, 16)
    place = InPlace(problem, "frozen")
    assert place.find_first_layer(torch.zeros(problem.size)) is None


def test_two_layers_of_one_batch_are_none():
    model = Net("skip")
    problem, batches = problem_of(model, 16)
    assert looked_at(model, problem, batches) is None


def test_statistics_of_joined_batches():
    model = Net("norm")
    problem, batches = problem_of(model, 16)
    whole = [tuple(torch.cat(each) for each in zip(*batches, strict=True))]
    assert looked_at(model, problem, whole, "batch")


def test_batches_as_they_were_dealt_keep_their_bits():
    model = Net()
    problem, batches = problem_of(model, 16, size=600, rows=900)
    plane = ravine.Plane.random(problem)
    land = ravine.surface(problem, plane=plane, points=POINTS)
    assert np.array_equal(land.surface, plainly(model, plane, batches))
    assert "first_layer" not in json.loads(land.surface.attrs["provenance"])


def test_where_it_is_off_or_points_are_few_it_is_not_taken(monkeypatch):
    model = Net()
    problem, batches = problem_of(model, 16)
    with monkeypatch.context() as patch:
        patch.setattr(plane_rows, "CLOSE", -1.0)
        assert looked_at(model, problem, batches) is None
    few = ravine.surface(problem, plane=ravine.Plane.random(problem), points=3)
    assert "first_layer" not in json.loads(few.surface.attrs["provenance"])


def test_an_error_leaves_no_forward_behind():
    layer, inputs = seeded(torch.nn.Linear, 16, 16), drawn(5, 16)

    def fail(first):
        with first.line():
            first.x = 1.0
            assert torch.equal(layer(inputs), layer(inputs.clone()) * 2)  # only what is known goes along the line
            raise ZeroDivisionError

    with torch.no_grad():
        first = FirstLayer(layer, [inputs])
        first.set_direction()
        with pytest.raises(ZeroDivisionError):
            fail(first)
    assert "forward" not in vars(layer)
