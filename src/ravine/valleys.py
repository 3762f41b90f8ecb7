"""Valleys: the minima that runs go down to, found or remembered as cheaply as a run deserves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import study
from ravine.curvature import MOST
from ravine.goals import COUPLED
from ravine.minima import minima_of
from ravine.problem import Problem
from ravine.regression import Minimum, none_found, regression_of

__all__ = ["decay_of", "ends_of", "valleys"]

Vector = NDArray[np.float64]


def decay_of(optimizer: type[Any], settings: Mapping[str, Any], overridden: set[str]) -> float | None:
    """Return the weight decay that is minimised with the loss; None where it is not known what is minimised.

    Examples
    --------
    >>> import torch
    >>> [decay_of(rule, {"weight_decay": 0.5}, set()) for rule in (torch.optim.SGD, torch.optim.AdamW)]
    [0.5, 0.0]
    """
    if settings.get("maximize") or {"weight_decay", "maximize"} & overridden:
        return None
    amount = float(settings.get("weight_decay") or 0.0)
    if optimizer.__name__ in COUPLED and not settings.get("decoupled_weight_decay"):
        return amount if 0 <= amount < np.inf else None
    ours = optimizer.__module__.startswith("torch.optim")
    return 0.0 if ours or not amount else None  # what others do with their decay is not known


def valleys(
    problems: Sequence[Problem], ends: Sequence[Vector], decay: float, choices: Mapping[str, Sequence[Any]]
) -> dict[str, xr.Variable]:
    """Return the landmarks (…) of what runs minimise, where they are known without a long search.

    That is for regressions, and for problems that state their minimizers: of several the one nearest to the
    run's end, and with decay the minimum that is found from there, once for each problem and decay. Elsewhere a
    search may cost many times the run; `ravine.landmarks` makes it when it is asked for. What is known for no
    run is left out; what is known for some is NaN for the others.
    """
    if len(problems[0].labels) > MOST:
        return {}
    found = [_minimum(problem, end, decay) for problem, end in zip(problems, ends, strict=True)]
    variables = _variables("", found, choices, decay)
    if decay:
        alone = [_minimum(problem, end, 0.0) for problem, end in zip(problems, ends, strict=True)]
        variables |= _variables("data_", alone, choices, 0.0)
        variables.pop("data_hessian", None)
    return variables


def _minimum(problem: Problem, end: Vector, decay: float) -> Minimum:
    near = None
    if problem.minimizers:
        stated = [np.array([float(place[label]) for label in problem.labels]) for place in problem.minimizers]
        near = min(stated, key=lambda place: float(np.linalg.norm(place - end)))
    elif regression_of(problem) is None:
        return none_found(len(end), "not searched for")
    return next(minima_of(problem, [decay], near))


def _variables(
    prefix: str, found: Sequence[Minimum], choices: Mapping[str, Sequence[Any]], decay: float
) -> dict[str, xr.Variable]:
    shape = tuple(len(labels) for labels in choices.values())

    def told(name: str) -> Any:
        return _by_label([getattr(each, name) for each in found], list(choices.items()))

    fate = study.provenance(
        told("engine"),
        equals_torch="no run of torch's",
        scope=told("scope"),
        kinks=told("kinks"),
        minimises=f"loss + {decay!r} / 2 * |parameters|²",
    )
    variables = {}
    for name, numbers in (
        ("minimizer", [each.place for each in found]),
        ("minimum_loss", [each.loss for each in found]),
        ("hessian", [each.hessian for each in found]),
    ):
        stacked = np.array(numbers, dtype=np.float64)
        if np.isnan(stacked).all():
            continue
        attrs = {"long_name": _long_name(prefix, name), "provenance": fate}
        dims = (*choices, *study.CONTRACT[name].dims)
        variables[prefix + name] = xr.Variable(dims, stacked.reshape((*shape, *stacked.shape[1:])), attrs)
    return variables


def _long_name(prefix: str, name: str) -> str:
    return study.CONTRACT[prefix + name if prefix + name in study.CONTRACT else name].long_name


def _by_label(values: Sequence[Any], choices: Sequence[tuple[str, Sequence[Any]]]) -> Any:
    """Say once what holds for all, else by label; in the form in which joined studies say it."""
    if len(set(values)) == 1:
        return values[0]
    (dim, labels), *inner = choices
    size = len(values) // len(labels)
    rows = [_by_label(values[k * size : (k + 1) * size], inner) for k in range(len(labels))]
    return {"by": dim, **{str(label): row for label, row in zip(labels, rows, strict=True)}}


def ends_of(positions: Sequence[NDArray[Any]]) -> list[Vector]:
    """Return the last place of each run that is finite."""
    finite = [each[np.isfinite(each).all(axis=1)][-1] for each in positions]
    return [np.asarray(each, dtype=np.float64) for each in finite]
