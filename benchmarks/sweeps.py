"""Rows: sweeps of many settings, each against torch's own loops over some of them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
import xarray as xr
from torch.optim import lr_scheduler

import ravine
from loops import MSE, recorded_loop
from ravine._engine import gradients, proven
from ravine._problem.order import Order, backward_forms, forward_forms
from turns import Goal, Row, apart, counted_equal, faster, same_bits

RATES, MOMENTA = np.geomspace(1e-3, 1, 100), np.linspace(0, 0.99, 100)
"""The settings of the sweep: all 10,000 combinations of these."""


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
        # to set a variable and to put all of them back takes a hundredth of a sweep
        with mock.patch.dict(os.environ, {"RAVINE_KERNEL": kernel}) if kernel else nullcontext():
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
        counted_equal(runs)
        for settings in some:
            losses, positions = recorded_loop(100, dtype, kind, scheduler, **settings)
            run = ravine.at(runs, **settings)
            same_bits(run.loss, losses)
            same_bits(run.position, positions)

    return Row(name, ours, theirs, goal, check, scale=RATES.size * len(values) / 5)


def sweep_in_any_order(name: str, dtype: torch.dtype) -> Row:
    """The same in the fastest order of operations, whether or not it has torch's bits: what the bits cost here."""
    exact = sweep_of(name, faster(), dtype, kernel="off")
    problem = MSE if dtype == torch.float32 else MSE.in_double()
    assert problem.parts is not None
    inputs = problem.parts.inputs
    first = Order(next(iter(forward_forms(inputs))), next(iter(backward_forms(inputs))), equal=False)

    def ours() -> xr.Dataset:
        with mock.patch.object(gradients, "choose_order", return_value=first):
            return exact.ours()

    def check() -> None:
        one, other = ours(), exact.ours()
        if apart(one.loss, other.loss) > 1e-5:
            raise AssertionError("another order of sums is off by more than rounding")

    return Row(name, ours, exact.theirs, faster(), check, scale=exact.scale, equal="closely")


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
