"""One problem's part of a sweep, made of what `sweep` was told, and checked before any work."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ravine._descent.descend import check_call, check_switch
from ravine._descent.feed import check_seed
from ravine._descent.loop import check_start
from ravine._descent.parameters import parameters_of
from ravine._descent.run_spec import Optimizer, RunSpec
from ravine._descent.treat import check_loop_setting, loop_settings
from ravine._engine.job import Job
from ravine._engine.product import Axis, Product, axis_of, is_many
from ravine._format import listed
from ravine._problem.criteria import name_of
from ravine._problem.dimension import dimension
from ravine._problem.problem import Problem
from ravine._torch import fork_random_state


def make_job(
    problem: Problem | Mapping[str, Problem],
    spec: RunSpec,
    settings: Mapping[str, Any],
    starts: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]] | None,
    seed: Any,
) -> Job:
    """Read what was asked for and check it; nothing is run but the loss at each start."""
    base = dict(problem) if isinstance(problem, Mapping) else {"": problem}
    outer = [axis_of(dimension(base), list(base))] if isinstance(problem, Mapping) else []
    arguments = _criterion_arguments(base, spec.optimizer, settings)
    problems = list(base.values())
    for name in arguments:
        given = settings[name]
        axis = axis_of(name, given if is_many(given) else [given])
        problems = [_with_argument(each, name, value) for each in problems for value in axis.values]
        if is_many(given):
            outer.append(axis)
    inner, begun = [], []
    if starts is not None:
        begun = list(starts.values()) if isinstance(starts, Mapping) else list(starts)
        inner.append(_start_axis(starts))
    rest = {name: value for name, value in settings.items() if name not in arguments}
    inner += [axis_of(name, value) for name, value in rest.items() if is_many(value)]
    if is_many(seed):
        inner.append(axis_of("seed", seed))
        for each in inner[-1].values:
            check_seed(each)
    else:
        check_seed(seed)
    fixed = {name: value for name, value in rest.items() if not is_many(value)}
    check_call(spec.optimizer, spec.steps, (), dict.fromkeys(rest))
    _check_kinds(spec.optimizer, fixed, [axis for axis in inner if axis.name in rest])
    spec = replace(spec, settings=fixed)
    job = Job(base, Product(tuple(outer)), problems, Product(tuple(inner)), begun, spec, 0 if is_many(seed) else seed)
    _check_starts(job)
    return job


def _check_kinds(optimizer: Optimizer, fixed: Mapping[str, Any], axes: Sequence[Axis]) -> None:
    """Refuse words where there is a switch, and anything but numbers where there is a number, before any run."""
    taken = parameters_of(optimizer)
    of_loop = loop_settings(optimizer, {**fixed, **{axis.name: axis.values for axis in axes}})
    # labels that are floats are neither words nor objects, so there is nothing to refuse; the loop's have bounds too
    doubtful = [axis for axis in axes if axis.labels.dtype.kind != "f" or axis.name in of_loop]
    values = [*fixed.items(), *((axis.name, value) for axis in doubtful for value in axis.values)]
    for name, value in values:
        check_switch(name, value, taken)
        if name in of_loop:
            check_loop_setting(name, value)
        default = taken[name].default if name in taken else None
        wants_number = isinstance(default, int | float) and not isinstance(default, bool)
        if wants_number and not (isinstance(value, int | float | np.number) or torch.is_tensor(value)):
            raise TypeError(f"{name} must be a number, got {value!r}")


def _start_axis(starts: Sequence[Any] | Mapping[str, Any]) -> Axis:
    labels = list(starts) if isinstance(starts, Mapping) else list(range(len(starts)))
    if not labels:
        raise ValueError("starts is empty: give at least one, or leave it out")
    return Axis("start", tuple(labels), np.array(labels))


def _criterion_arguments(base: Mapping[str, Problem], optimizer: Optimizer, settings: Mapping[str, Any]) -> list[str]:
    """Name the settings that are not the optimizer's and that every problem's criterion has."""
    taken = parameters_of(optimizer) if callable(optimizer) else {}
    found = []
    for name in settings:
        owners = [
            label for label, each in base.items() if each.parts is not None and hasattr(each.parts.criterion, name)
        ]
        if name in taken or not owners:
            continue
        if len(owners) < len(base):
            without = [label for label in base if label not in owners]
            raise ValueError(
                f"{name} is an argument of {listed(owners)}, but not of {listed(without)}: sweep them apart"
            )
        found.append(name)
    return found


def _with_argument(problem: Problem, name: str, value: Any) -> Problem:
    """Return the problem with its criterion's argument at another value, as the criterion's constructor checks it."""
    parts = problem.parts
    assert parts is not None
    criterion: Any = copy.deepcopy(parts.criterion)
    setattr(criterion, name, value)
    try:
        return problem.with_parts(replace(parts, criterion=criterion))
    except (ValueError, TypeError, RuntimeError) as reason:
        raise ValueError(f"{name_of(criterion)} with {name}={value!r}: {reason}") from None


def _check_starts(job: Job) -> None:
    with torch.no_grad(), fork_random_state():
        for problem in job.problems:
            for begun in [problem.starting_at(values) for values in job.starts] or [problem]:
                check_start(problem.loss(begun.start))
