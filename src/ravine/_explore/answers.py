"""What a page asks of Python: runs of the real optimizer on a loss that the page cannot compute, and its map."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._descent.descend import descend
from ravine._landscape.surface import surface
from ravine._problem.problem import Problem
from ravine._study.provenance import describe
from ravine._study.rule import DEFAULTS
from ravine._sweep.sweep import sweep
from ravine._torch import one_thread
from ravine.measure._quadratic import flatness

MOST_STEPS = 10_000
MOST_CELLS = 40_000
MOST_PAIRS = 400
DIVERGED, UNKNOWN = -1, -2  # what a pair is told as, and 0 if it is late; as in pace.js

COMMON = {"lr": 1e-3, "weight_decay": 0.0, "maximize": False}
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "SGD": DEFAULTS,
    "Adam": {**COMMON, "betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False},
    "AdamW": {**COMMON, "betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False},
    "RMSprop": {**COMMON, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False},
    "Adagrad": {**COMMON, "lr_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10},
}
"""The page's optimizers, and the settings that it has of each."""


class QuestionError(ValueError):
    """A question that no page of ours asks."""


def answer(problems: Mapping[str, Problem], what: str, question: Any) -> dict[str, Any]:
    """Answer one question of a page; JSON in, JSON out.

    Examples
    --------
    >>> import ravine
    >>> bowl = {"": ravine.gallery.quadratic()}
    >>> asked = {"settings": {"lr": 0.1}, "start": [6.0, -3.0], "steps": 3}
    >>> sorted(answer(bowl, "run", asked)["runs"][0])
    ['criterion', 'gradient', 'kinked', 'landmark', 'loss', 'own', 'position']
    >>> answer(bowl, "run", asked | {"settings": {"lr": -1.0}})
    {'refused': 'Invalid learning rate: -1.0'}
    """
    asked = {"run": _runs, "map": _maps, "pace": _paces}.get(what)
    if asked is None or not isinstance(question, dict):
        raise QuestionError(f"no such question: {what!r}")
    with one_thread():
        return asked(problems, question)


def _runs(problems: Mapping[str, Problem], question: Mapping[str, Any]) -> dict[str, Any]:
    settings, steps = _settings(question.get("settings")), _steps(question.get("steps"))
    start = _numbers("start", question.get("start"), 2)
    optimizer = settings.pop("optimizer")
    try:
        getattr(torch.optim, optimizer)([torch.zeros(1)], **settings)
    except ValueError as reason:
        return {"refused": str(reason)}
    return {"runs": [_run(each, start, optimizer, settings, steps) for each in problems.values()]}


def _run(
    problem: Problem, start: list[float], optimizer: str, settings: Mapping[str, Any], steps: int
) -> dict[str, Any]:
    try:
        run = descend(_begun(problem, start), optimizer, steps=steps, also=("gradient",), **settings)
    except Exception as reason:  # the user's own loss may raise anything: it is told in its panel, the others live on
        return {"error": f"{type(reason).__name__}: {reason}"}
    kinks = describe(run, "hessian").get("kinks") if "hessian" in run else 0
    return {
        **{name: _packed(run[name].values) for name in ("position", "loss", "gradient")},
        "landmark": _landmark(run, ""),
        "own": _landmark(run, "data_") if settings["weight_decay"] else None,
        "criterion": problem.criterion or "",
        "kinked": bool(kinks),
    }


def _begun(problem: Problem, start: list[float]) -> Problem:
    """Return the problem from another start, given as one number for each label."""
    values, rest = {}, list(start)
    for name, value in problem.start.items():
        values[name] = np.array(rest[: value.numel()]).reshape(tuple(value.shape))
        del rest[: value.numel()]
    return problem.starting_at(values)


def _landmark(run: xr.Dataset, prefix: str) -> dict[str, Any] | None:
    """Return where what is minimised is lowest, where that is known."""
    if f"{prefix}minimizer" not in run:
        return None
    place, minimum = run[f"{prefix}minimizer"].values, float(run[f"{prefix}minimum_loss"])
    hessian = run["hessian"].values if not prefix and "hessian" in run else np.zeros((2, 2))
    if not (np.isfinite(place).all() and math.isfinite(minimum) and np.isfinite(hessian).all()):
        return None
    known = describe(run, f"{prefix}minimizer")
    return {
        "place": place.tolist(),
        "minimum": minimum,
        "hessian": [float(hessian[0, 0]), float(hessian[0, 1]), float(hessian[1, 1])],
        "flat": flatness(known.get("engine"), 2),
        "certain": str(known.get("scope")).startswith("exact"),
        "quadratic": bool(known.get("quadratic")),
    }


def _maps(problems: Mapping[str, Problem], question: Mapping[str, Any]) -> dict[str, Any]:
    x, y = (_numbers(name, question.get(name), 2) for name in ("x", "y"))
    nx, ny = question.get("nx"), question.get("ny")
    if not (isinstance(nx, int) and isinstance(ny, int) and 2 <= nx <= MOST_CELLS and 2 <= ny <= MOST_CELLS // nx):
        raise QuestionError(f"a map has 2 to {MOST_CELLS:,} cells, got {nx!r} times {ny!r}")
    first = next(iter(problems.values()))
    ranges = list(first.ranges or {})
    labels = [*ranges, *(label for label in first.labels if label not in ranges)]
    axes = dict(zip(labels, (np.linspace(x[0], x[1], nx), np.linspace(y[0], y[1], ny)), strict=True))
    return {"maps": [_map(each, axes) for each in problems.values()]}


def _map(problem: Problem, axes: Mapping[str, NDArray[np.float64]]) -> str | None:
    try:
        land = surface(problem, axes)
    except Exception:  # the panel of its run tells the reason
        return None
    horizontal, vertical = axes
    return _packed(land["surface"].transpose(vertical, horizontal).values.astype(np.float64))


def _paces(problems: Mapping[str, Problem], question: Mapping[str, Any]) -> dict[str, Any]:
    """Return for every value of a second setting, and then every lr, the step of arrival and one: see `_cells`."""
    settings, steps = _settings(question.get("settings")), _steps(question.get("steps"))
    start = _numbers("start", question.get("start"), 2)
    index, second = question.get("panel"), question.get("second")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(problems):
        raise QuestionError(f"panel must be a whole number below {len(problems)}, got {index!r}")
    if not isinstance(second, str) or not (second in settings or (second == "beta1" and "betas" in settings)):
        raise QuestionError(f"the second setting must be one of the optimizer's, got {second!r}")
    lrs, values = (_different(name, question.get(name)) for name in ("lrs", "seconds"))
    if len(lrs) * len(values) > MOST_PAIRS:
        raise QuestionError(f"at most {MOST_PAIRS} pairs at once, got {len(lrs)} times {len(values)}")
    name, axis = (second, values) if second != "beta1" else ("betas", [(v, settings["betas"][1]) for v in values])
    problem = _begun([*problems.values()][index], start)
    optimizer = settings.pop("optimizer")
    try:
        runs = sweep(problem, optimizer, steps, keep="summary", **(settings | {name: axis, "lr": lrs}))
    except Exception:  # settings that torch refuses, a loss that raises: the page tells it with the run
        return {"cells": None}
    return {"cells": _cells(runs, name)}


def _cells(runs: xr.Dataset, second: str) -> list[int] | None:
    if "arrival" not in runs:  # nothing is known of a minimum
        return None
    cells = (runs.arrival + 1).fillna((runs.diverged * DIVERGED).astype(float))  # else it is late
    if "error" in runs:
        cells = cells.where(runs.error == "", UNKNOWN)
    found: list[int] = cells.transpose(second, "lr").values.astype(int).ravel().tolist()
    return found


def _different(name: str, given: Any) -> list[float]:
    numbers = _numbers(name, given, len(given)) if isinstance(given, list) and given else []
    if not numbers or len(set(numbers)) < len(numbers):
        raise QuestionError(f"{name} must be a list of different numbers, got {given!r}")
    return numbers


def _steps(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MOST_STEPS:
        raise QuestionError(f"steps must be a whole number from 1 to {MOST_STEPS:,}, got {given!r}")
    return given


def _settings(given: Any) -> dict[str, Any]:
    """Return the optimizer's name and its settings as torch takes them."""
    name = given.get("optimizer", "SGD") if isinstance(given, dict) else None
    usual = OPTIMIZERS.get(name) if isinstance(name, str) else None
    if usual is None:
        raise QuestionError(f"settings are a mapping, of one of {', '.join(OPTIMIZERS)}, got {given!r}")
    asked = {key: value for key, value in given.items() if key != "optimizer"}
    if not set(asked) <= set(usual):
        raise QuestionError(f"settings of {name} are {', '.join(usual)}, got {given!r}")
    settings = {**usual, **asked}
    for key, value in settings.items():
        if isinstance(usual[key], bool):
            if not isinstance(value, bool):
                raise QuestionError(f"{key} must be true or false, got {value!r}")
        elif isinstance(usual[key], list):
            settings[key] = tuple(_numbers(key, value, 2))
        else:
            settings[key] = _numbers(key, [value], 1)[0]
    return {"optimizer": name, **settings}


def _numbers(name: str, given: Any, count: int) -> list[float]:
    numbers = isinstance(given, list) and len(given) == count
    if not numbers or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in given):
        raise QuestionError(f"{name} must be {count} finite number{'s' * (count > 1)}, got {given!r}")
    try:
        found = [float(value) for value in given]
    except OverflowError:
        found = [math.inf]
    if not all(math.isfinite(value) for value in found):
        raise QuestionError(f"{name} must be {count} finite number{'s' * (count > 1)}, got {given!r}")
    return found


def _packed(array: NDArray[Any]) -> str:
    plain = np.ascontiguousarray(array)
    return base64.b64encode(plain.astype(plain.dtype.newbyteorder("<")).tobytes()).decode()
