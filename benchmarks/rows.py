"""Rows: what is compared with what, and the goals."""

from __future__ import annotations

import io
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
import xarray as xr
from PIL import Image
from torch.optim import lr_scheduler

import ravine
from loops import (
    HEIGHTS,
    HIGH,
    INPUTS,
    LOW,
    MSE,
    POINTS,
    PROBLEMS,
    TARGETS,
    article_descent,
    article_picture,
    bare_loop,
    loop_surface,
    network_loop,
    new_network,
    new_neuron,
    recorded_loop,
)
from planes import PLANE_ROWS
from ravine._engine import gradients, proven
from ravine._problem.order import Order, backward_forms, forward_forms
from recordings import RECORDING_ROWS
from states import STATE_ROWS
from turns import Goal, Row, apart, cost, faster, same_bits

RATES, MOMENTA = np.geomspace(1e-3, 1, 100), np.linspace(0, 0.99, 100)
"""The settings of the sweep: all 10,000 combinations of these."""


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


def some_settings(count: int, rates: Any = RATES, momenta: Any = MOMENTA) -> list[dict[str, float]]:
    """Choose settings of a sweep at random, with a fixed seed."""
    chosen = np.random.default_rng(0).choice(len(rates) * len(momenta), size=count, replace=False)
    return [{"lr": float(rates[k // len(momenta)]), "momentum": float(momenta[k % len(momenta)])} for k in chosen]


SEEDS = 20
"""Seeds by which a sweep draws the whole runs that torch makes too: it must be fast whatever they are."""


def sweep_of(
    name: str, goal: Goal, dtype: torch.dtype = torch.float32, kernel: str = "", first: bool = False, **engine: Any
) -> Row:
    """Each turn has other whole runs compared with torch; as the `first` of its kind sixteen, the trial included."""
    problem = MSE if dtype == torch.float32 else MSE.in_double()
    few, seeds = some_settings(5), itertools.cycle(range(SEEDS))
    equal: Literal["every bit", "closely"] = "closely" if engine else "every bit"

    def ours() -> xr.Dataset:
        if first:
            proven.forget()
        with mock.patch.dict(os.environ, {"RAVINE_KERNEL": kernel}):
            return ravine.sweep(problem, lr=RATES, momentum=MOMENTA, seed=next(seeds), **engine)

    def theirs() -> list[Any]:
        return [recorded_loop(100, dtype, **settings) for settings in few]

    def check() -> None:
        for _ in range(SEEDS):
            runs = ours()
            facts = json.loads(runs.loss.attrs["provenance"])
            if "on a batch" not in facts["engine"]:
                raise AssertionError(f"not fast: {facts['engine']} ({facts['why']})")
        exact = facts["equals_torch"].startswith("every bit")
        if equal == "every bit" and not exact:
            raise AssertionError(f"no order with torch's bits: {facts['why']}; {facts['equals_torch']}")
        for settings in some_settings(50):
            losses, positions = recorded_loop(100, dtype, **settings)
            run = runs.sel(settings)
            if exact:
                same_bits(run.loss, losses)
                same_bits(run.position, positions)
            elif max(apart(run.loss, losses), apart(run.position, positions)) > 1e-5:
                raise AssertionError(f"not close: {run.loss.values}\n{losses}")

    scale = RATES.size * MOMENTA.size / len(few)
    return Row(name, ours, theirs, goal, check, scale=scale, equal=equal, turns=SEEDS)


OTHERS: dict[type[torch.optim.Optimizer], dict[str, list[Any]]] = {
    **{
        kind: {"betas": [(float(beta), 0.999) for beta in MOMENTA]}
        for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax)
    },
    torch.optim.RMSprop: {"alpha": MOMENTA.tolist()},
    torch.optim.Adagrad: {"lr_decay": MOMENTA.tolist()},
    torch.optim.Adadelta: {"rho": MOMENTA.tolist()},
}
"""Other optimizers, with what of each is swept beside the lr."""


def sweep_of_another(kind: type[torch.optim.Optimizer], goal: Goal, dtype: torch.dtype = torch.float32) -> Row:
    """The same for another optimizer: 100 learning rates by 100 values of a setting of its own."""
    ((name, values),) = OTHERS[kind].items()
    width = "-double" if dtype == torch.float64 else ""
    return every_bit(f"sweep-{kind.__name__}{width}", goal, kind, name, values, dtype)


def warm_up_and_cosine(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """Ten steps of rising lr, then ninety of falling."""
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10), lr_scheduler.CosineAnnealingLR(optimizer, 90)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[10])


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "StepLR": partial(lr_scheduler.StepLR, step_size=30),
    "CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=100),
    "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.97),
    "warm-up": warm_up_and_cosine,
    "OneCycleLR": partial(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=101),
}


def sweep_under(name: str, goal: Goal) -> Row:
    """SGD under a scheduler: 100 learning rates by 100 momenta; none of them 0, where OneCycleLR would turn it on."""
    momenta = [float(momentum) for momentum in MOMENTA if momentum or name != "OneCycleLR"]
    return every_bit(f"sweep-{name}", goal, torch.optim.SGD, "momentum", momenta, scheduler=SCHEDULERS[name])


def every_bit(
    name: str,
    goal: Goal,
    kind: type[torch.optim.Optimizer],
    setting: str,
    values: list[Any],
    dtype: torch.dtype = torch.float32,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
) -> Row:
    """A sweep of 100 learning rates and the values of another setting that must have torch's bits."""
    problem = MSE if dtype == torch.float32 else MSE.in_double()
    chosen = np.random.default_rng(0).choice(RATES.size * len(values), size=50, replace=False).tolist()
    some = [{"lr": float(RATES[k // len(values)]), setting: values[k % len(values)]} for k in chosen]
    seeds = itertools.cycle(range(SEEDS))

    def ours() -> xr.Dataset:
        return ravine.sweep(problem, kind, scheduler=scheduler, lr=RATES, seed=next(seeds), **{setting: values})

    def theirs() -> list[Any]:
        return [recorded_loop(100, dtype, kind, scheduler, **settings) for settings in some[:5]]

    def check() -> None:
        runs = ours()
        facts = json.loads(runs.loss.attrs["provenance"])
        if not facts["equals_torch"].startswith("every bit"):
            raise AssertionError(f"{facts['engine']}: {facts['why']}; {facts['equals_torch']}")
        for settings in some:
            losses, positions = recorded_loop(100, dtype, kind, scheduler, **settings)
            run = ravine.at(runs, **settings)
            same_bits(run.loss, losses)
            same_bits(run.position, positions)

    return Row(name, ours, theirs, goal, check, scale=RATES.size * len(values) / 5)


def sweep_in_any_order(name: str, dtype: torch.dtype) -> Row:
    """The same in the fastest order of operations, whether or not it has torch's bits: what the bits cost here."""
    exact = sweep_of(name, faster(), dtype)
    problem = MSE if dtype == torch.float32 else MSE.in_double()
    assert problem.parts is not None
    inputs = problem.parts.inputs
    first = Order(next(iter(forward_forms(inputs))), next(iter(backward_forms(inputs))), equal=False)

    def ours() -> xr.Dataset:
        off = mock.patch.dict(os.environ, {"RAVINE_KERNEL": "off"})
        with off, mock.patch.object(gradients, "choose_order", return_value=first):
            return exact.ours()

    def check() -> None:
        one, other = ours(), exact.ours()
        if apart(one.loss, other.loss) > 1e-5:
            raise AssertionError("another order of sums is off by more than rounding")

    return Row(name, ours, exact.theirs, faster(), check, scale=exact.scale, equal="closely")


def sweep_of_networks() -> Row:
    rates, momenta, steps = np.geomspace(1e-3, 1e-1, 100), np.linspace(0, 0.9, 10), 20
    problem = ravine.Problem.of(new_network(), torch.nn.MSELoss(), (POINTS, HEIGHTS))
    few = some_settings(5, rates, momenta)

    def ours() -> xr.Dataset:
        return ravine.sweep(problem, steps=steps, lr=rates, momentum=momenta)

    def theirs() -> list[Any]:
        return [network_loop(steps, **settings) for settings in few]

    def check() -> None:
        runs = ours()
        for settings in few:
            losses, positions = network_loop(steps, **settings)
            run = runs.sel(settings)
            if max(apart(run.loss, losses), apart(run.position, positions)) > 1e-5:
                raise AssertionError(f"not close: {run.loss.values}\n{losses}")

    scale = len(rates) * len(momenta) / len(few)
    return Row("sweep-network", ours, theirs, faster(), check, scale=scale, equal="closely", turns=5)


def sweep_of_many() -> Row:
    """The cost of a run among 300,000 against that of one among 10,000, of which only summaries are kept."""
    times = 30
    rates = np.geomspace(1e-3, 1, times * len(RATES))

    def many() -> xr.Dataset:
        return ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep="summary")

    def few() -> xr.Dataset:
        return ravine.sweep(MSE, lr=rates[::times], momentum=MOMENTA, keep="summary")

    def check() -> None:
        one, other = many().isel(lr=slice(None, None, times)), few()
        for name in ("final_loss", "best_loss", "best_step", "arrival", "first_nonfinite", "diverged"):
            same_bits(one[name].fillna(-1), other[name].fillna(-1))

    return Row("sweep-300000", many, few, Goal("many / few", 1.3), check, scale=times, turns=5)


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


def sweep_into_a_store(keep: Literal["path", "summary"], goal: Goal) -> Row:
    """The cost of a sweep that is written to disk against that of one in memory, at the fastest engine."""
    rates = np.geomspace(1e-3, 1, 600)

    def kept() -> xr.Dataset:
        return ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep=keep)

    def stored() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep=keep, store=Path(folder, "runs.zarr"))

    def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep=keep, store=Path(folder, "runs.zarr"))
            xr.testing.assert_identical(found.load(), kept())

    return Row(f"store-{keep}", stored, kept, goal, check, turns=5)


def one_run_of_a_store() -> Row:
    """The cost of opening a store and reading one of its runs against that of reading all of it."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "runs.zarr")

    def one() -> xr.Dataset:
        assert folder  # it goes away with this function
        return ravine.at(ravine.open(path), lr=0.1, momentum=0.5).load()

    def whole() -> xr.Dataset:
        return ravine.open(path).load()

    def check() -> None:
        ravine.sweep(MSE, lr=np.geomspace(1e-3, 1, 601), momentum=MOMENTA, store=path)
        xr.testing.assert_identical(one(), ravine.at(whole(), lr=0.1, momentum=0.5))

    return Row("store-one-run", one, whole, Goal("one / all"), check, turns=5)


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
    sweep_in_any_order("sweep-any-order", torch.float32),
    sweep_in_any_order("sweep-any-order-double", torch.float64),
    sweep_of("sweep-autograd", faster(300), engine="autograd"),
    sweep_of_networks(),
    sweep_of_many(),
    film_of_four(),
    sweep_into_a_store("path", cost(1.5)),
    sweep_into_a_store("summary", cost(1.5)),
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
