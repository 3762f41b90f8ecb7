"""Three trainings of a small convolutional network on real digits, on one plane, with what the map gets wrong."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ravine
from artists import of_gid

datasets = pytest.importorskip("sklearn.datasets")

CE = torch.nn.CrossEntropyLoss()

OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {"lr": 0.05}),
    "momentum": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.003}),
}


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    )


def train_each(epochs):
    images, labels = (torch.from_numpy(each) for each in datasets.load_digits(return_X_y=True))
    data = TensorDataset(images.float().view(-1, 1, 8, 8) / 16, labels)
    runs = {}
    for name, (kind, settings) in OPTIMIZERS.items():
        model = make_model()
        optimizer = kind(model.parameters(), **settings)
        with ravine.record(model, optimizer, CE, every=3) as recorder:
            for _ in range(epochs):
                for x, y in DataLoader(data, 64, shuffle=True):
                    optimizer.zero_grad()
                    CE(model(x), y).backward()
                    optimizer.step()
        runs[name] = recorder.dataset()
    return runs, ravine.Problem.of(model, CE, DataLoader(data, 512))


def draw(epochs, points):
    with torch.random.fork_rng():
        runs, problem = train_each(epochs)
    plane = ravine.Plane.pca(runs)
    paths = ravine.join({name: plane.project(run, problem) for name, run in runs.items()})
    land = ravine.surface(problem, plane=plane, points=points)
    return paths, ravine.plot.descent(paths, land, hue="run")


@pytest.mark.slow
def test_three_optimizers_on_one_plane_and_the_gap_between_map_and_truth():
    paths, figure = draw(3, 15)
    for name in ("momentum", "AdamW"):
        assert float(paths.loss.sel(run=name)[-1]) < 0.5 * float(paths.loss.sel(run=name)[0])
    gap = abs(paths.drawn_loss - paths.loss)
    map_, strip = figure.axes[0], figure.axes[1]
    (label,) = [text.get_text() for text in strip.texts if text.get_gid() == "largest gap"]
    worst = gap.where(gap == gap.max(), drop=True)
    step, name = int(worst.step[0]), str(worst.run.values[0])
    assert label == f"{name}: {float(gap.max()):.2g} apart at step {step}"
    assert len(of_gid(strip, "true loss")) == len(of_gid(strip, "drawn loss")) == len(of_gid(map_, "path")) == 3
    for line, name in zip(of_gid(strip, "true loss"), OPTIMIZERS, strict=True):
        assert line.get_ydata().tolist() == paths.loss.sel(run=name).values.tolist()
    assert {text.get_text() for text in map_.texts} >= set(OPTIMIZERS)
