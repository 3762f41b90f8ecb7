"""Rows: what is compared with what, and the goals."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from PIL import Image

import ravine
from batches import BATCH_ROWS
from loops import (
    HIGH,
    INPUTS,
    LOW,
    MSE,
    PROBLEMS,
    TARGETS,
    article_descent,
    article_picture,
    bare_loop,
    loop_surface,
    new_neuron,
)
from networks import NETWORK_ROWS
from planes import PLANE_ROWS
from recordings import RECORDING_ROWS
from states import STATE_ROWS
from stores import one_run_of_a_store, sweep_into_a_store
from sweeps import (
    OTHERS,
    SCHEDULERS,
    sweep_in_any_order,
    sweep_of,
    sweep_of_another,
    sweep_of_many,
    sweep_under,
)
from turns import Goal, Row, cost, faster, same_bits


def surface_of_four() -> Row:
    criteria = (torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss())

    def ours() -> xr.Dataset:
        return ravine.surface(PROBLEMS, bias=(LOW, HIGH), weight=(LOW, HIGH))

    def theirs() -> list[list[list[float]]]:
        return [loop_surface(criterion, 101, range(101)) for criterion in criteria]

    return Row("surface-101", ours, theirs, faster(600), lambda: same_bits(ours().surface, theirs()))


def surface_of_a_million() -> Row:
    points = 1001
    rows = np.random.default_rng(0).choice(points, size=5, replace=False).tolist()

    def ours() -> xr.Dataset:
        return ravine.surface(MSE, bias=(LOW, HIGH), weight=(LOW, HIGH), points=points)

    def theirs() -> list[list[float]]:
        return loop_surface(torch.nn.MSELoss(), points, rows)

    def check() -> None:
        same_bits(ours().surface[rows], theirs())

    return Row("surface-1001", ours, theirs, faster(2500), check, scale=points / len(rows))


def descent_of(name: str, steps: int, goal: Goal, also: Sequence[str] = (), **settings: Any) -> Row:
    def ours() -> xr.Dataset:
        return ravine.descend(MSE, steps=steps, also=also, lr=0.1, **settings)

    def theirs() -> tuple[float, list[float]]:
        return bare_loop(steps, **settings)

    def check() -> None:
        run, (loss, position) = ours(), theirs()
        same_descent(run, steps, **settings)
        same_bits(run.loss[-2], loss)
        same_bits(run.position[-1], position)
        for at in range(0, steps, 10) if also else ():
            gradient, velocity = state_after(at, **settings)
            same_bits(run.gradient[at], gradient)
            same_bits(run.velocity[at], velocity)

    return Row(name, ours, theirs, goal, check)


def picture_in(style: str) -> Row:
    def ours() -> None:
        runs = ravine.descend(MSE, steps=100, lr=0.1, momentum=0.9)
        land = ravine.surface(MSE, bias=(LOW, HIGH), weight=(LOW, HIGH))
        ravine.plot.descent(runs, land, style=style).savefig(io.BytesIO(), format="png")

    def check() -> None:
        same_descent(ravine.descend(MSE, steps=100, lr=0.1, momentum=0.9), 100, momentum=0.9)
        land = ravine.surface(MSE, bias=(LOW, HIGH), weight=(LOW, HIGH))
        same_bits(land.surface, loop_surface(torch.nn.MSELoss(), 101, range(101)))

    return Row(f"png-{style}", ours, article_picture, cost(0.45 if style == "ravine" else None), check)


def film_of_four() -> Row:
    """A film of the article's figure of four criteria against the still picture drawn anew for each of its frames."""
    steps = 100
    runs = ravine.descend(PROBLEMS, steps=steps, lr=0.1, momentum=0.9)
    land = ravine.surface(PROBLEMS, bias=(LOW, HIGH), weight=(LOW, HIGH))

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ravine.plot.animate(runs, land).save(f"{folder}/film.gif")

    def theirs() -> list[Image.Image]:
        frames = []
        for k in few:
            buffer = io.BytesIO()
            ravine.plot.descent(runs.isel(step=slice(k + 1)), land).savefig(buffer, format="png", dpi=96)
            frames.append(Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE))
        frames[0].save(io.BytesIO(), format="GIF", save_all=True, append_images=frames[1:])
        return frames

    few = (0, 25, 50, 75, steps)

    def check() -> None:
        film = ravine.plot.animate(runs, land)
        if film.steps != tuple(range(steps + 1)):
            raise AssertionError(f"not every step: {film.steps}")
        for k in few:
            for j, ax in enumerate(film.frame(k).axes[: len(PROBLEMS)]):
                (line,) = (each for each in ax.lines if each.get_gid() == "path")
                truth = runs.position.isel(criterion=j).sel(parameter=["bias", "weight"])[: k + 1]
                same_bits(np.transpose(line.get_data()), truth)

    return Row("film-100", ours, theirs, faster(), check, scale=(steps + 1) / len(few), turns=5)


ROWS = (
    surface_of_four(),
    surface_of_a_million(),
    descent_of("descend-100", 100, cost(1.5)),
    descent_of("descend-1000", 1000, cost(1.5)),
    descent_of("descend-also", 100, cost(), also=("gradient", "velocity"), momentum=0.9),
    picture_in("ravine"),
    picture_in("article"),
    sweep_of("sweep-10000", faster(6500)),
    sweep_of("sweep-10000-double", faster(3500), torch.float64),
    sweep_of("sweep-10000-first", faster(), first=True),
    sweep_of("sweep-10000-first-double", faster(), torch.float64, first=True),
    sweep_of("sweep-10000-eager", faster(1000), kernel="off"),
    sweep_of("sweep-10000-eager-double", faster(650), torch.float64, kernel="off"),
    *(sweep_of_another(kind, faster(900)) for kind in OTHERS),
    *(sweep_of_another(kind, faster(), torch.float64) for kind in (torch.optim.Adam, torch.optim.RMSprop)),
    *(sweep_under(name, faster(100 if name == "OneCycleLR" else 700)) for name in SCHEDULERS),
    *BATCH_ROWS,
    sweep_in_any_order("sweep-any-order", torch.float32),
    sweep_in_any_order("sweep-any-order-double", torch.float64),
    sweep_of("sweep-autograd", faster(300), engine="autograd"),
    *NETWORK_ROWS,
    sweep_of_many(),
    film_of_four(),
    sweep_into_a_store("path", cost()),
    sweep_into_a_store("summary", cost()),
    sweep_into_a_store("path", cost(1), written=True),
    sweep_into_a_store("summary", cost(1), written=True),
    one_run_of_a_store(),
    *PLANE_ROWS,
    *RECORDING_ROWS,
    *STATE_ROWS,
)


def same_descent(run: xr.Dataset, steps: int, **settings: Any) -> None:
    losses, positions = article_descent(steps, **settings)
    same_bits(run.loss[:-1], losses)
    same_bits(run.position, positions)


def state_after(steps: int, **settings: Any) -> tuple[list[float], list[float]]:
    """Gradient and velocity at one position, as torch holds them after that many steps."""
    model, criterion = new_neuron(), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(model(INPUTS), TARGETS).backward()
        optimizer.step()
    none = torch.tensor(torch.nan)  # before the first step torch holds no velocity
    velocity = [optimizer.state[p].get("momentum_buffer", none).item() for p in model.parameters()]
    optimizer.zero_grad()
    criterion(model(INPUTS), TARGETS).backward()
    return [p.grad.item() for p in model.parameters() if p.grad is not None], velocity
