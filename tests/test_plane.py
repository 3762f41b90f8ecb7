"""Planes through all parameters: their directions, runs projected onto them, and the loss over them."""

from __future__ import annotations

import copy
import json
import threading

import numpy as np
import pytest
import torch

import ravine
from ravine._plane.directions import find_owners, random_direction
from ravine._plane.gram import centred, gram_of, principal, spread_lengths, walk_gram

CE = torch.nn.CrossEntropyLoss()


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def drawn(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = torch.nn.GRU(8, 12, batch_first=True), torch.nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.gru(x.view(-1, 8, 8))[0][:, -1])


class Attending(torch.nn.Module):
    """A small encoder with a loss of its own, as transformers' models have."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(30, 16, padding_idx=0)
        self.layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, words, labels):
        return {"loss": CE(self.head(self.layer(self.embed(words)).mean(1)), labels)}


class Tied(torch.nn.Module):
    """A language model whose last layer is its embedding."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix = torch.nn.Embedding(30, 16), torch.nn.Linear(16, 16)
        self.head = torch.nn.Linear(16, 30, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, words, labels):
        scores = self.head(torch.tanh(self.mix(self.embed(words))))
        return {"loss": CE(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}


def convolutional():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 4)
    )


def transposed():
    return torch.nn.Sequential(
        torch.nn.ConvTranspose2d(1, 6, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 289, 4)
    )


NETWORKS = {
    "MLP": (lambda: torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)), (64,)),
    "GRU": (Recurrent, (64,)),
    "transposed": (transposed, (1, 8, 8)),
    "convolutional": (convolutional, (1, 8, 8)),
    "attending": (Attending, None),
    "tied": (Tied, None),
}


def batches_for(shape):
    labels = (drawn(1200, 2)[:, 0] * 4).long()
    if shape is not None:
        inputs = drawn(1200, *shape)
        return [(inputs[k : k + 600], labels[k : k + 600]) for k in (0, 600)]
    words = (drawn(50, 9) * 29).long() + 1
    return [(words[k : k + 20], labels[:50][k : k + 20]) for k in (0, 20, 40)]


def as_mappings(name, batches):
    return [{"words": w, "labels": w if name == "tied" else y} for w, y in batches]


@pytest.mark.parametrize("name", NETWORKS)
def test_each_point_is_the_model_with_these_parameters(name):
    """And the user's model, its modes, gradients and random state are as they were."""
    make, shape = NETWORKS[name]
    model, batches = seeded(make), batches_for(shape)
    if shape is None:
        batches = as_mappings(name, batches)
    model.train()
    next(model.children()).eval()  # one flag unlike the others
    model.zero_grad()
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    before = copy.deepcopy(model.state_dict())
    modes = [each.training for each in model.modules()]
    problem = ravine.Problem.of(model, None if shape is None else CE, batches)
    plane = ravine.Plane.random(problem, seed=3)
    land = ravine.surface(problem, plane=plane, points=2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [each.training for each in model.modules()] == modes
    assert torch.equal(first.grad, torch.ones_like(first))

    plain = copy.deepcopy(model).eval()
    leaves = list(plain.parameters())
    for (row, y), (column, x) in [((i, y), (j, x)) for i, y in enumerate((-1, 1)) for j, x in enumerate((-1, 1))]:
        point, at, whole, count = torch.from_numpy(plane.at(x, y)), 0, 0.0, 0
        with torch.no_grad():
            for leaf in leaves:
                leaf.copy_(point[at : at + leaf.numel()].view_as(leaf))
                at += leaf.numel()
            for batch in batches:
                loss = plain(**batch)["loss"] if shape is None else CE(plain(batch[0]), batch[1])
                rows = len(batch["labels"]) if shape is None else len(batch[1])
                whole, count = whole + float(loss) * rows, count + rows
        assert float(land.surface[row, column]) == whole / count
    assert float((land.squares[1, 1] - (plane.at(1, 1) ** 2).sum()) / land.squares[1, 1]) == pytest.approx(0, abs=1e-12)


@pytest.fixture(scope="module")
def recording():
    """A small network's descent, and its problem."""
    model = seeded(lambda: torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)))
    problem = ravine.Problem.of(model, CE, (drawn(60, 6), (drawn(60, 2)[:, 1] * 3).long()))
    return ravine.descend(problem, lr=0.5, momentum=0.9, steps=30), problem


def test_principal_components_are_those_of_the_singular_values(recording):
    run, _ = recording
    plane = ravine.Plane.pca(run)
    positions = run.position.values.astype(np.float64)
    middle = positions - positions.mean(axis=0)
    _, values, axes = np.linalg.svd(middle, full_matrices=False)
    for k in (0, 1):
        side = np.sign((positions[0] - positions[-1]) @ axes[k])
        np.testing.assert_allclose(plane.directions[k], side * axes[k], atol=1e-6)
    np.testing.assert_allclose(plane.explained, (values**2 / (values**2).sum())[:2], rtol=1e-6)
    assert np.array_equal(plane.origin, positions[-1])


def test_ends_are_true(recording):
    run, problem = recording
    path = ravine.Plane.ends(run).project(run, problem)
    assert path.drawn_loss[0] == path.loss[0]
    assert path.drawn_loss[-1] == path.loss[-1]
    assert float(path.position[0, 0]) > 0
    assert float(abs(path.position[0, 1])) < 1e-9 > float(abs(path.position[-1]).max())
    np.testing.assert_allclose(path.loss, run.loss, rtol=1e-6)
    positions = run.position.values.astype(np.float64)
    np.testing.assert_allclose(path.squares, (positions**2).sum(axis=1), rtol=1e-12)
    away = positions - positions[-1]
    expected = (away**2).sum(axis=1) - (path.position.values**2).sum(axis=1)
    np.testing.assert_allclose(path.off_plane, np.sqrt(np.maximum(expected, 0)), atol=1e-6)
    assert float(path.off_plane.max()) > 0.01
    facts = json.loads(path.parameter.attrs["plane"])
    assert (facts["kind"], facts["size"], facts["statistics"]) == ("ends", 83, None)
    ravine.check(path)


def test_a_memory_mapped_recording_is_the_same_and_thinned_steps_are_counted(recording, tmp_path):
    run, _ = recording
    np.save(tmp_path / "positions.npy", run.position.values)
    mapped = run.assign(position=(run.position.dims, np.load(tmp_path / "positions.npy", mmap_mode="r")))
    assert np.array_equal(ravine.Plane.ends(mapped).directions, ravine.Plane.ends(run).directions)
    assert ravine.Plane.ends(run.isel(step=slice(None, None, 10))).about == "the position at step 30"


def test_one_plane_for_several_runs(recording):
    run, problem = recording
    other = ravine.descend(problem, torch.optim.AdamW, lr=0.05, steps=20)
    plane = ravine.Plane.pca({"SGD": run, "AdamW": other})
    assert np.array_equal(plane.origin, run.position.values[0].astype(float))
    paths = ravine.join({"SGD": plane.project(run, problem), "AdamW": plane.project(other, problem)})
    np.testing.assert_allclose(paths.position.isel(step=0), 0, atol=1e-12)
    assert float(paths.position.sel(run="SGD")[-1, 0]) > 0
    assert ravine.surface(problem, plane=plane, points=3).surface.dims == ("PC 2", "PC 1")
    elsewhere = ravine.descend(problem.starting_at({"0.bias": torch.ones(8)}), steps=3)
    with pytest.raises(ValueError, match="begin at different places"):
        ravine.Plane.pca({"one": run, "other": elsewhere})


def test_the_null_is_what_random_walks_have():
    """Falling lr, momentum 0.9, every 20th step kept; and the closed form of equal steps without momentum."""
    chance, size, steps = np.random.default_rng(0), 1500, 800
    lengths = np.linspace(1, 0.05, steps)
    update, here, kept = chance.standard_normal(size), np.zeros(size), [np.zeros(size)]
    for k in range(steps):
        here = here + lengths[k] * update
        update = 0.9 * update + np.sqrt(1 - 0.81) * chance.standard_normal(size)
        kept += [here] if (k + 1) % 20 == 0 else []
    walk, recorded = np.array(kept), np.arange(0, steps + 1, 20)
    values = principal(centred(gram_of([walk], walk[-1])))[0]
    distances = np.linalg.norm(np.diff(walk, axis=0), axis=1)
    for known in (lengths, spread_lengths(distances, recorded, 0.9)):
        null = principal(centred(walk_gram(known, recorded, 0.9)))[0]
        np.testing.assert_allclose((null / null.sum())[:2], (values / values.sum())[:2], atol=0.03)
    count = 50
    null = principal(centred(walk_gram(np.ones(count - 1), np.arange(count), 0.0)))[0]
    expected = [3 / (2 * (count**2 - 1) * np.sin(np.pi * k / 2 / count) ** 2) for k in (1, 2)]
    np.testing.assert_allclose((null / null.sum())[:2], expected, rtol=1e-9)


def test_filters_are_as_long_as_the_models():
    class Conv1D(torch.nn.Module):  # as in transformers: (inputs, outputs)
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(3, 5))

    def make():
        layers = {
            "linear": torch.nn.Linear(4, 3),
            "across": torch.nn.ConvTranspose2d(4, 6, 2, groups=2),
            "table": torch.nn.Embedding(6, 4, padding_idx=0),
            "norm": torch.nn.LayerNorm((3, 4)),
            "last": Conv1D(),
        }
        return torch.nn.ModuleDict(layers)

    model = seeded(make)
    start = {name: value.detach() for name, value in model.named_parameters()}
    owners = find_owners(model)
    flat = random_direction(start, torch.Generator().manual_seed(0), "filter", owners)
    pieces = torch.from_numpy(flat).split([value.numel() for value in start.values()])
    found = {name: piece.view(value.shape) for (name, value), piece in zip(start.items(), pieces, strict=True)}

    def ratios(name, over, shape=None):
        norm = torch.linalg.vector_norm
        one, other = (norm(each.double().reshape(shape or each.shape), dim=over) for each in (found[name], start[name]))
        return one, other

    for name, over, shape in (
        ("linear.weight", 1, None),
        ("across.weight", (1, 3, 4), (2, 2, 3, 2, 2)),
        ("table.weight", 1, None),
        ("last.weight", 0, None),
    ):
        one, other = ratios(name, over, shape)
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
    assert not found["table.weight"][0].any()
    assert not found["linear.bias"].any()
    assert not found["norm.weight"].any()
    layer = random_direction(start, torch.Generator().manual_seed(0), "layer", owners)[:12]
    assert np.linalg.norm(layer) == pytest.approx(float(start["linear.weight"].norm()), rel=1e-6)


def test_random_planes_state_their_cosine_and_repeat(recording):
    run, problem = recording
    plane = ravine.Plane.random(problem, seed=0)
    assert np.array_equal(plane.directions, ravine.Plane.random(problem).directions)
    assert not np.array_equal(plane.directions, ravine.Plane.random(problem, seed=1).directions)
    first, second = plane.directions
    assert abs(plane.cosine) > 1e-3
    assert plane.cosine == pytest.approx(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    path = plane.project(run, problem)
    places = run.position.values.astype(float) - plane.origin
    expected = np.linalg.lstsq(plane.directions.T, places.T, rcond=None)[0].T
    np.testing.assert_allclose(path.position, expected, atol=1e-9)
    assert plane.ranges == {"random 1": (-1.0, 1.0), "random 2": (-1.0, 1.0)}


def test_curvature_along_its_own_plane(recording):
    _, problem = recording
    values, _ = ravine.curvature.top_eigenpairs(problem, count=2)
    plane, h = ravine.Plane.hessian(problem), 0.05
    land = ravine.surface(problem.in_double(), {"curvature 1": [-h, 0, h], "curvature 2": [-h, 0, h]}, plane=plane)
    across, up = land.surface.values[1], land.surface.values[:, 1]
    for k, line in enumerate((across, up)):
        assert (line[0] - 2 * line[1] + line[2]) / h**2 == pytest.approx(values[k], rel=0.02)


def test_batch_statistics_are_those_of_the_data():
    layers = lambda: torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3))  # noqa: E731
    model, inputs, targets = seeded(layers), 5 * drawn(80, 4), (drawn(80, 2)[:, 0] * 3).long()
    problem = ravine.Problem.of(model, CE, (inputs, targets))
    found = {}
    for statistics in ("frozen", "batch"):
        plane = ravine.Plane.random(problem, statistics=statistics)
        land = ravine.surface(problem, {"random 1": [0.0], "random 2": [0.0]}, plane=plane)
        found[statistics] = float(land.surface[0, 0])
        assert json.loads(land.surface.plane)["statistics"] == statistics
    still = copy.deepcopy(model)
    assert found["batch"] == float(CE(still.train()(inputs), targets).detach())
    assert found["frozen"] == float(CE(copy.deepcopy(model).eval()(inputs), targets).detach())
    assert found["frozen"] != found["batch"]
    assert json.loads(ravine.Plane.random(problem).facts())["kind"] == "random"
    assert ravine.Plane.random(problem).statistics == "frozen"


def test_frozen_statistics_are_those_of_each_recorded_step():
    """What is drawn beneath has the statistics of the map: those that the model was handed over with."""
    layers = lambda: torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3))  # noqa: E731
    model, inputs, targets = seeded(layers), 5 * drawn(80, 4), (drawn(80, 2)[:, 0] * 3).long()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = []

    def evaluate():
        expected.append(float(CE(copy.deepcopy(model).eval()(inputs), targets).detach()))

    evaluate()
    with ravine.record(model, rule, CE, every=1) as recorder:
        for rows in (slice(0, 20), slice(20, 50), slice(50, 80)):
            rule.zero_grad()
            CE(model(inputs[rows]), targets[rows]).backward()
            rule.step()
            evaluate()
    run, problem = recorder.dataset(), ravine.Problem.of(model, CE, (inputs, targets))
    path = ravine.Plane.ends(run, statistics="frozen").project(run, problem)
    assert path.loss.values.tolist() == expected
    assert path.drawn_loss[-1] == path.loss[-1]
    assert path.drawn_loss[0] != path.loss[0]  # the same place, with the statistics of the end
    still = ravine.Plane.ends(run, statistics="frozen").project(run.drop_vars("buffers"), problem)
    assert still.loss[0] == still.drawn_loss[0] == path.drawn_loss[0]
    assert still.drawn_loss.equals(path.drawn_loss)


def test_random_numbers_in_eval_mode_are_found():
    class Careless(torch.nn.Linear):
        def forward(self, x):
            return super().forward(torch.nn.functional.dropout(x, 0.5))

    problem = ravine.Problem.of(seeded(lambda: Careless(6, 3)), CE, (drawn(60, 6), (drawn(60, 2)[:, 1] * 3).long()))
    plane = ravine.Plane.random(problem)
    axes = {"random 1": [0.0, 1.0], "random 2": [-1.0, 0.0, 1.0]}
    with pytest.warns(UserWarning, match="draws random numbers as it is evaluated"):
        land = ravine.surface(problem, axes, plane=plane)
    with pytest.warns(UserWarning, match="draws random numbers"):
        assert land.surface.equals(ravine.surface(problem, axes, plane=plane).surface)


def test_a_model_that_cannot_be_copied():
    """It is called as it is, with other parameters, and its modes are put back."""

    class Locked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop, self.lock = torch.nn.Linear(6, 3), torch.nn.Dropout(0.5), threading.Lock()

        def forward(self, x):
            with self.lock:
                return self.drop(self.layer(x))

    model, data = seeded(Locked), (drawn(60, 6), (drawn(60, 2)[:, 1] * 3).long())
    model.layer.eval()
    problem = ravine.Problem.of(model, CE, [data, data])
    land = ravine.surface(problem, plane=ravine.Plane.random(problem), points=3)
    assert float(land.surface[1, 1]) == float(CE(model.layer(data[0]), data[1]).detach())
    assert [each.training for each in model.modules()] == [True, False, True]


def test_kept_activations_old_weight_norm_and_wrappers(recording):
    class Keeping(torch.nn.Linear):
        def forward(self, x):
            self.kept = super().forward(x)
            return self.kept

    data = (drawn(60, 6), (drawn(60, 2)[:, 1] * 3).long())
    with pytest.warns(FutureWarning):
        normed = torch.nn.utils.weight_norm(seeded(lambda: torch.nn.Linear(6, 3)))
    for model in (seeded(lambda: Keeping(6, 3)), normed, torch.nn.DataParallel(seeded(lambda: torch.nn.Linear(6, 3)))):
        model(data[0])
        problem = ravine.Problem.of(model, CE, [data])
        plane = ravine.Plane.random(problem)
        land = ravine.surface(problem, plane=plane, points=3)
        assert float(land.surface[1, 1]) == pytest.approx(float(CE(model(data[0]), data[1]).detach()), rel=1e-6)
        assert not any(name.startswith("module.") for name in problem.start)


@pytest.mark.parametrize("kind", ["ends", "pca", "through"])
def test_on_four_problems(case, kind):
    """Of two parameters a plane is a turned map, true everywhere."""
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.9, steps=12)
    if kind == "through":
        plane = ravine.Plane.through(run.isel(step=[0]), run, run.isel(step=[0, 6]))
    else:
        plane = getattr(ravine.Plane, kind)(run)
    path, land = plane.project(run, case.problem), ravine.surface(case.problem, plane=plane, points=5)
    ravine.check(path, "position", "loss", "drawn_loss", "off_plane", "squares")
    ravine.check(land, "surface")
    np.testing.assert_allclose(path.loss, run.loss, rtol=1e-6)
    if run.sizes["parameter"] == 2:
        np.testing.assert_allclose(path.drawn_loss, path.loss, rtol=1e-4, atol=1e-6)
    else:
        assert float(abs(path.drawn_loss - path.loss).max()) > 0
    line = ravine.plot.descent(path, land).findobj(lambda artist: artist.get_gid() == "path")[0]
    names = ravine.plot.surface(land).get_xlabel(), list(path.parameter.values)
    assert names == (plane.axes[0], list(plane.axes))
    np.testing.assert_allclose(line.get_xdata(), path.position[:, 0])


def test_decay_on_a_plane_is_that_of_all_parameters(recording):
    """The objective, and what the contours show, are those of the true positions."""
    _, problem = recording
    decay = 0.01
    run = ravine.descend(problem, lr=0.5, momentum=0.9, steps=20, weight_decay=decay)
    plane = ravine.Plane.ends(run)
    path, land = plane.project(run, problem), ravine.surface(problem, plane=plane, points=5)
    np.testing.assert_allclose(ravine.measure.objective(path), ravine.measure.objective(run), rtol=1e-6)
    from ravine.plot._map.marks import objective

    x, y, shown = objective(land, decay)
    point = plane.at(x[1], y[3])
    assert shown[3, 1] == pytest.approx(float(land.surface[3, 1]) + decay / 2 * float(point @ point), rel=1e-12)
    assert abs(shown[3, 1] - float(land.surface[3, 1]) - decay / 2 * (x[1] ** 2 + y[3] ** 2)) > 1e-3
    assert not [each for each in ravine.explain(path) if each.kind == "pull"]


def test_straight_and_constant_paths(recording):
    run, problem = recording
    begun, ended = run.position.values[[0, -1]].astype(np.float64)
    shares = np.linspace(0, 1, 6)[:, None]
    line = run.isel(step=range(6)).assign(position=(("step", "parameter"), begun + shares * (ended - begun)))
    for kind in ("ends", "pca"):
        with pytest.warns(UserWarning, match="the path is straight, and spans no plane: its second axis is random"):
            plane = getattr(ravine.Plane, kind)(line)
        assert plane.explained == (1.0, 0.0)
        assert abs(plane.cosine) < 1e-9
        path = plane.project(line, problem)
        np.testing.assert_allclose(path.off_plane, 0, atol=1e-6)
        assert float(path.position[0, 0]) > 0
    still = line.assign(position=(("step", "parameter"), np.repeat(begun[None], 6, axis=0)))
    with pytest.warns(UserWarning, match="stays where it is.*both axes are random"):
        plane = ravine.Plane.ends(still)
    assert plane.explained is None
    assert plane.ranges["across"] == (-1.0, 1.0)


def test_bad_input(recording):
    run, problem = recording
    plane = ravine.Plane.ends(run)
    other = ravine.gallery.rosenbrock()
    with pytest.raises(ValueError, match="the run has 2 finite positions, and a plane takes 3"):
        ravine.Plane.ends(run.isel(step=[0, 1]))
    with pytest.raises(ValueError, match="the plane is of another model than the problem: '0.weight' of shape"):
        ravine.surface(other, plane=plane)
    with pytest.raises(ValueError, match="recording of another model"):
        plane.project(ravine.descend(other, lr=1e-3, steps=3), problem)
    path = plane.project(run, problem)
    for again in (ravine.Plane.ends, ravine.Plane.pca, lambda it: plane.project(it, problem)):
        with pytest.raises(ValueError, match="projected onto a plane already"):
            again(path)
    with pytest.raises(ValueError, match="has no axis 'up'"):
        ravine.surface(problem, {"up": (0, 1)}, plane=plane)
    with pytest.raises(TypeError, match=r"plane must be a ravine\.Plane"):
        ravine.surface(problem, plane=run)
    with pytest.raises(ValueError, match="every direction is 0"):
        ravine.Plane.random(other)
    with pytest.raises(ValueError, match="b is the same place as a"):
        ravine.Plane.through([0.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="statistics must be"):
        ravine.Plane.ends(run, statistics="running")


def test_what_diverged_stays_as_it_is():
    problem = ravine.Problem(lambda p: p["x"] ** 4 + p["y"] ** 2, start={"x": 3.0, "y": 1.0})
    run = ravine.descend(problem, lr=0.3, steps=8)
    lost = ~np.isfinite(run.position.values).all(axis=1)
    assert 0 < lost.sum() < 7
    path = ravine.Plane.random(problem, normalize=None).project(run, problem)
    assert np.array_equal(np.isfinite(path.loss), np.isfinite(run.loss))
    assert np.array_equal(np.isfinite(path.position).all("parameter"), ~lost)


def test_what_a_recording_cannot_show_is_told_with_what_it_can(tmp_path):
    """Of a network's recording, and of its checkpoints, the messages name calls that work as they stand."""
    model = seeded(lambda: torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)))
    inputs, criterion = drawn(30, 2), torch.nn.MSELoss()
    targets = inputs.prod(1, keepdim=True)
    problem, optimizer = (
        ravine.Problem.of(model, criterion, (inputs, targets)),
        torch.optim.SGD(model.parameters(), 0.1),
    )
    with ravine.record(model, optimizer, criterion, every=1) as recorder:
        for step in range(4):
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()
            torch.save(model.state_dict(), tmp_path / f"step-{step}.pt")
    run = recorder.dataset()
    saved = ravine.checkpoints(model, f"{tmp_path}/*.pt")
    plane = ravine.Plane.pca(run)
    for study in (run, saved):
        for view in (ravine.plot.descent, ravine.plot.panel):
            with pytest.raises(ValueError, match="a map shows two parameters, and these runs have 17: with") as told:
                view(study)
            said = str(told.value)
            call = said[said.index("ravine.plot.") : said.index(" draws a run over a plane")]
            assert eval(call, {"ravine": ravine, "plane": plane, "run": study, "problem": problem}).axes
        with pytest.raises(ValueError, match=r"no 'loss' .*recorded with plane.project\(run, problem\), of plane ="):
            ravine.plot.losses(study)
        assert ravine.plot.losses(plane.project(study, problem)).axes
    two = ravine.checkpoints(model, f"{tmp_path}/step-[01].pt")
    with pytest.raises(ValueError, match=r"2 finite positions, .* ravine.between\(problem, one, other\) goes straight"):
        ravine.Plane.pca(two)
    with pytest.raises(ValueError, match=r"has 1 finite position, and a plane takes 3 or more: give more checkpoints"):
        ravine.Plane.pca(two.isel(step=[0]))
    assert ravine.between(problem, two.isel(step=0), two.isel(step=1)).line_loss.size
