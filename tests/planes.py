"""A small network's training on a plane, made with torch and numpy alone: what pictures of planes are held against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from ravine._study.provenance import provenance

STEPS, EVERY = 160, 4


@dataclass(frozen=True)
class Training:
    """Flat parameters at every step in float64, what was recorded of them, and how to evaluate the loss anywhere."""

    positions: np.ndarray
    steps: np.ndarray
    lr: np.ndarray
    batch_loss: np.ndarray
    loss: Any
    settings: dict[str, Any]
    optimizer: type

    @property
    def recorded(self) -> np.ndarray:
        return self.positions[self.steps]


def data():
    """Sixty points of three classes, on three spirals."""
    turn = torch.linspace(0.3, 2.0, 20)
    angles = torch.cat([turn * 1.6 + 2.1 * k for k in range(3)])
    inputs = torch.stack([turn.repeat(3) * angles.cos(), turn.repeat(3) * angles.sin()], dim=1)
    return inputs, torch.arange(3).repeat_interleave(20)


def train(
    optimizer=torch.optim.SGD, steps=STEPS, every=EVERY, seed=0, scheduler=None, batch=None, **settings
) -> Training:
    """Train 2-10-3 tanh units with a plain loop; every position is kept."""
    inputs, targets = data()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(2, 10), torch.nn.Tanh(), torch.nn.Linear(10, 3))
    criterion = torch.nn.CrossEntropyLoss()
    rule = optimizer(model.parameters(), **settings)
    schedule = scheduler(rule) if scheduler else None
    order = torch.Generator().manual_seed(1)
    places, rates, seen = [], [], []
    for _ in range(steps + 1):
        places.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        rates.append(rule.param_groups[0]["lr"])
        rows = torch.arange(len(inputs)) if batch is None else torch.randperm(len(inputs), generator=order)[:batch]
        rule.zero_grad()
        loss = criterion(model(inputs[rows]), targets[rows])
        loss.backward()
        seen.append(float(loss.detach()))
        rule.step()
        if schedule:
            schedule.step()
    names = [name for name, _ in model.named_parameters()]
    shapes = [each.shape for each in model.parameters()]

    def loss_at(place):
        parts = torch.as_tensor(place, dtype=torch.float64).split([shape.numel() for shape in shapes])
        own = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return criterion(torch.func.functional_call(model, own, (inputs.double(),)), targets)

    kept = np.arange(0, steps + 1, every)
    return Training(
        torch.stack(places).double().numpy(),
        kept,
        np.array(rates)[kept],
        np.array(seen)[kept],
        loss_at,
        {**rule.defaults, **settings},
        optimizer,
    )


def pca(places):
    """Return origin, two directions and their shares of the variance, from a singular value decomposition."""
    _, sizes, directions = np.linalg.svd(places - places.mean(axis=0), full_matrices=False)
    turned = directions[:2] * np.sign(directions[:2] @ (places[0] - places[-1]))[:, None]
    return places[-1], turned, (sizes[:2] ** 2 / (sizes**2).sum()).tolist()


def walk_shares(training, momentum=0.0):
    """Return the shares of an isotropic walk with the lengths of these steps and this momentum."""
    lengths = np.linalg.norm(np.diff(training.positions, axis=0), axis=1)
    apart = np.abs(np.arange(len(lengths))[:, None] - np.arange(len(lengths)))
    gram = np.zeros((len(lengths) + 1,) * 2)
    gram[1:, 1:] = (lengths[:, None] * lengths * momentum**apart).cumsum(0).cumsum(1)
    gram = gram[np.ix_(training.steps, training.steps)]
    centre = np.eye(len(gram)) - 1 / len(gram)
    values = np.linalg.eigvalsh(centre @ gram @ centre)[::-1]
    return (values / values.sum())[:2].tolist()


AXES = ("pc 1", "pc 2")


def facts_of(training, kind="pca", **changed):
    _, _, shares = pca(training.recorded)
    facts = {
        "kind": kind,
        "axes": list(AXES),
        "explained": shares,
        "null": walk_shares(training, training.settings.get("momentum", 0.0)),
        "cosine": 0.0,
        "statistics": None,
        "origin": "the end",
        "size": training.positions.shape[1],
    }
    return json.dumps({**facts, **changed})


def project(training, plane=None, **facts) -> xr.Dataset:
    """Return the recorded run on a plane, by default on that of its own principal components."""
    origin, directions, _ = plane or pca(training.recorded)
    places = training.recorded
    spots = (places - origin) @ directions.T
    on_plane = origin + spots @ directions
    where = provenance(
        f"torch.optim.{training.optimizer.__name__}, recorded",
        optimizer=f"{training.optimizer.__module__}:{training.optimizer.__qualname__}",
    )
    coords = {k: v for k, v in training.settings.items() if isinstance(v, bool | float | int)}
    coords = {k: v for k, v in coords.items() if k not in ("foreach", "fused", "differentiable", "capturable")}
    run = xr.Dataset(
        {
            "position": (("step", "parameter"), spots, {"provenance": where}),
            "loss": ("step", [float(training.loss(place)) for place in places], {"provenance": where}),
            "drawn_loss": ("step", [float(training.loss(place)) for place in on_plane]),
            "off_plane": ("step", np.linalg.norm(places - on_plane, axis=1)),
            "squares": ("step", (places**2).sum(axis=1)),
            "batch_loss": ("step", training.batch_loss, {"provenance": where}),
        },
        {"step": training.steps, "parameter": list(AXES), "optimizer": training.optimizer.__name__, **coords},
    )
    run["criterion"] = "CrossEntropyLoss"
    run = run.set_coords("criterion")
    if np.ptp(training.lr):
        run["scheduled_lr"] = ("step", training.lr)
    run["parameter"].attrs["plane"] = facts_of(training, **facts)
    return run


def surface(training, runs, plane=None, points=21, margin=0.15, **facts) -> xr.Dataset:
    """Return the loss over the plane, around the runs."""
    origin, directions, _ = plane or pca(training.recorded)
    spots = runs["position"].transpose(..., "parameter").values.reshape(-1, 2)
    low, high = np.nanmin(spots, axis=0), np.nanmax(spots, axis=0)
    sides = [np.linspace(a - margin * (b - a), b + margin * (b - a), points) for a, b in zip(low, high, strict=True)]
    across, up = np.meshgrid(*sides)
    grid = origin + across[..., None] * directions[0] + up[..., None] * directions[1]
    with torch.no_grad():
        values = np.array([[float(training.loss(place)) for place in row] for row in grid])
    attrs = {"plane": facts_of(training, **facts)}
    return xr.Dataset(
        {"surface": ((AXES[1], AXES[0]), values, attrs), "squares": ((AXES[1], AXES[0]), (grid**2).sum(axis=-1))},
        {AXES[0]: sides[0], AXES[1]: sides[1], "criterion": "CrossEntropyLoss"},
    )


def sharpness(training, steps) -> xr.DataArray:
    """Return the largest eigenvalue of the whole Hessian at some of the recorded steps."""
    found = np.full(len(training.steps), np.nan)
    for k in np.flatnonzero(np.isin(training.steps, steps)):
        place = torch.as_tensor(training.recorded[k])
        found[k] = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(training.loss, place))[-1])
    return xr.DataArray(found, {"step": training.steps}, ["step"], "sharpness")
