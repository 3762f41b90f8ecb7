"""counterfactuals: what a run would have been with one setting left out, by making that run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ravine._descent.dataset import parameter_of
from ravine._descent.descend import descend
from ravine._descent.parameters import parameters_of
from ravine._format import listed
from ravine._problem.problem import Problem
from ravine._problems import Given, as_problem
from ravine._study.contract import check, check_single, last_step, until_taken
from ravine._study.rule import LOOP_SETTINGS
from ravine._study.script import pieces_of
from ravine._study.select import join

LEANS_ON = {"momentum": ("dampening", "nesterov")}
"""Settings that mean nothing, or are refused, without another."""


def counterfactuals(problem: Given, run: xr.Dataset) -> xr.Dataset:
    """Make a run again without each of the settings that were turned, to see what momentum, say, did here.

    Each setting of the optimizer that is not at its default is put there, one at a time, all else (start, steps,
    lr, mini-batches) as it was. The real optimizer makes these runs.

    Parameters
    ----------
    problem
        What the run descended; of a mapping, the one that the run's ``criterion`` or ``problem`` names.
    run
        One run from `ravine.descend`, or one selected from `ravine.sweep`.

    Returns
    -------
    xarray.Dataset
        Runs along ``run``, labelled "without momentum" and so on, for `ravine.explain` and every picture.

    Raises
    ------
    ValueError
        If there are several runs, the problem is not the run's, no setting was turned, or the run had a scheduler
        or groups, which a study does not hold.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["L1Loss"]
    >>> run = ravine.descend(problem, lr=0.1, momentum=0.9, steps=200)
    >>> without = ravine.counterfactuals(problem, run)
    >>> without.run.values.tolist(), int(ravine.measure.arrival(run)), int(ravine.measure.arrival(without)[0])
    (['without momentum'], 50, 104)
    """
    problem = as_problem(problem, "ravine.counterfactuals")
    check_single(check(run, "position"), "loss")
    problem = _named(problem, run)
    pieces = _pieces(run)
    optimizer = _optimizer(pieces["optimizer"])
    turned = _turned(optimizer, run)
    if not turned:
        raise ValueError(f"{run['optimizer'].item()} ran with every setting but lr at its default: none to leave out")
    start = _start(problem, run)
    feed = {name: pieces[name] for name in ("batch_size", "seed") if name in pieces}
    if "seed" in run.coords:
        feed["seed"] = int(run["seed"])
    kept = {name: run[name].item() for name in ("lr",) if name in run.coords} | turned
    steps, held = last_step(run), until_taken(run)["step"].values if "step" in run.coords else None
    made = {}
    for name in turned:
        left = {key: value for key, value in kept.items() if key != name and key not in LEANS_ON.get(name, ())}
        other = descend(start, optimizer, steps, **feed, **left)
        _check_same_loss(run, other)
        made[f"without {name}"] = other if held is None else other.sel(step=held)
    extra = [name for name in next(iter(made.values())).data_vars if name not in run]  # a sweep keeps no prediction
    return join({label: each.drop_vars(extra, errors="ignore") for label, each in made.items()}, "run")


def _pieces(run: xr.Dataset) -> Mapping[str, Any]:
    pieces = pieces_of(run)
    for name in ("scheduler", "groups"):
        if pieces.get(name):
            raise ValueError(f"the run had {name}, and the study does not hold them: make the other run yourself")
    return pieces


def _named(problem: Problem | Mapping[str, Problem], run: xr.Dataset) -> Problem:
    if isinstance(problem, Problem):
        return problem
    label = next((str(run[name].item()) for name in ("problem", "criterion") if name in run.coords), None)
    if label is None or label not in problem:
        raise ValueError(f"the run is of {label!r}, which is not among the problems: {listed(problem)}")
    return problem[label]


def _optimizer(name: Any) -> Any:
    if not isinstance(name, str):
        raise ValueError(f"the run cannot be made again: {name['cannot']}")
    home, _, plain = name.rpartition(".")
    if not home:
        raise ValueError(
            "the run's optimizer was made by a function, which a study does not hold: make the other run yourself"
        )
    return getattr(importlib.import_module(home), plain)


def _turned(optimizer: Any, run: xr.Dataset) -> dict[str, Any]:
    """Return the settings that are not at the optimizer's own default."""
    taken = parameters_of(optimizer)
    usual = {name: each.default for name, each in taken.items()}
    usual |= {name: value for name, value in LOOP_SETTINGS.items() if name not in taken}
    values = {name: run[name].item() for name in usual if name in run.coords and run[name].ndim == 0 and name != "lr"}
    return {name: value for name, value in values.items() if value == value and value != usual[name]}


def _check_same_loss(run: xr.Dataset, other: xr.Dataset) -> None:
    """Refuse a problem that is not the run's: another criterion's argument, say."""
    ours, theirs = float(other["loss"][0]), float(run["loss"][0])
    if not np.isclose(ours, theirs, rtol=1e-4, atol=1e-12):
        raise ValueError(
            f"at the run's start the problem's loss is {ours:.6g} and the run's {theirs:.6g}: not one problem"
        )


def _start(problem: Problem, run: xr.Dataset) -> Problem:
    labels, known = run["parameter"].values, parameter_of(problem)
    if not np.array_equal(labels, known.values) or run["parameter"].attrs.get("shapes") != known.attrs.get("shapes"):
        raise ValueError(f"the run's parameters are {listed(labels)}, the problem's {listed(problem.known)}")
    if "step" in run.coords and run["step"].values[0] != 0:
        raise ValueError(f"the run begins at step {run['step'].values[0]}: the start is needed to make it again")
    flat, begin, values = run["position"].transpose("step", "parameter").values[0], 0, {}
    for name, value in problem.start.items():
        values[name] = flat[begin : begin + value.numel()].reshape(tuple(value.shape))
        begin += value.numel()
    return problem.starting_at(values)
