"""Identity: what a sweep is, aspect by aspect, so that a store goes on only with the very same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ravine import spelling, study
from ravine.descent import random_state_kept
from ravine.lattice import Axis
from ravine.ledger import digest
from ravine.parts import numpy_of
from ravine.problem import Problem
from ravine.recipes import Recipe
from ravine.results import labels_of
from ravine.traces import plain

__all__ = ["differences", "identity_of"]

NEAR = 3
"""Places beside the start at which a loss is looked at, to know it again."""


def identity_of(recipe: Recipe) -> dict[str, str]:
    """Return what makes the numbers of a sweep, each aspect in words that end in a digest where they are not all."""
    job = recipe.job
    aspects = {name: study.versions()[name] for name in ("ravine", "torch", "numpy")}
    aspects |= {"optimizer": _class(job.plan.optimizer), "steps": str(job.steps)}
    aspects |= {"keep": "summary" if recipe.summary else "path", "seed": str(job.seed)}
    aspects |= {name: repr(plain(value)) for name, value in job.plan.settings.items()}
    aspects |= {axis.name: _axis(axis) for axis in job.axes}
    for k, values in enumerate(job.starts):
        aspects[f"start {k}"] = _numbers({name: np.asarray(value) for name, value in values.items()})
    if job.plan.scheduler is not None:
        aspects["scheduler"] = _call(job.plan.scheduler)
    if job.plan.groups:
        aspects["groups"] = repr({pattern: dict(given) for pattern, given in job.plan.groups.items()})
    if job.plan.feed is not None:
        aspects["batch_size"] = str(job.plan.feed.batch_size)
    for label, problem, engine in zip(labels_of(job), job.problems, recipe.crew, strict=True):
        which = f" {label}" if label else ""
        aspects |= {f"{name}{which}": words for name, words in _problem(problem).items()}
        aspects[f"engine{which}"] = engine.name
    return aspects


def differences(held: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say in which aspects two sweeps differ.

    Examples
    --------
    >>> differences({"steps": "100", "lr": "0.1"}, {"steps": "200", "lr": "0.1", "momentum": "0.9"})
    ['steps was 100, now 200', 'momentum was not given, now 0.9']
    """
    names = [name for name in dict.fromkeys([*held, *now]) if held.get(name) != now.get(name)]
    return [f"{name} was {held.get(name, 'not given')}, now {now.get(name, 'not given')}" for name in names]


def _axis(axis: Axis) -> str:
    values = [repr(plain(value)) if not callable(value) else _call(value) for value in axis.values]
    if len(values) <= 4:
        return ", ".join(values)
    return f"{len(values):,} values from {values[0]} to {values[-1]} ({digest(repr(values))[:8]})"


def _problem(problem: Problem) -> dict[str, str]:
    """Tell a problem by its start, its data, and its loss and gradient at the start and nearby."""
    aspects = {"start": _numbers({name: numpy_of(value) for name, value in problem.start.items()})}
    aspects["known minima"] = repr([dict(each) for each in problem.minimizers])
    parts = problem.parts
    if parts is not None:
        data = {"inputs": numpy_of(parts.inputs), "targets": numpy_of(parts.targets)}
        aspects["model"] = f"{' '.join(repr(parts.model).split())} {_buffers(parts.model)}".strip()
        aspects["criterion"] = " ".join(repr(parts.criterion).split())
        aspects["data"] = _numbers(data)
    aspects["loss"] = _behaviour(problem)
    return aspects


def _buffers(model: torch.nn.Module) -> str:
    held = {name: numpy_of(value) for name, value in model.named_buffers()}
    return f"with buffers {_numbers(held)}" if held else ""


def _behaviour(problem: Problem) -> str:
    """Say the loss at the start, with a digest of losses and gradients there and at some places beside it."""
    found = []
    with random_state_kept([problem]):
        for k in range(NEAR + 1):
            torch.manual_seed(k)
            live = problem.starting_at({n: v + 0.1 * k for n, v in problem.start.items()}).live()
            try:
                loss = live.loss()
                loss.backward()  # type: ignore[no-untyped-call]
            except Exception:  # at the start it was called without: beside it, it may not be defined
                continue
            found.append(loss.detach())
            found += [leaf.grad for leaf in live.leaves.values() if leaf.grad is not None]
    seen = digest(*(np.ascontiguousarray(numpy_of(each)).tobytes() for each in found))
    return f"{found[0].item():.9g} at the start ({seen[:8]})" if found else "not defined with a gradient"


def _numbers(arrays: Mapping[str, Any]) -> str:
    """Say which numbers, or how many there are and their digest."""
    if sum(each.size for each in arrays.values()) <= 4:
        return ", ".join(f"{name} {each.tolist()!r} {each.dtype}" for name, each in arrays.items())
    shapes = ", ".join(f"{name} {tuple(each.shape)} {each.dtype}" for name, each in arrays.items())
    return f"{shapes} ({digest(*(np.ascontiguousarray(each).tobytes() for each in arrays.values()))[:8]})"


def _class(optimizer: Any) -> str:
    """Name a class; one that is not torch's with a digest of its source, where that is to be had."""
    name = f"{getattr(optimizer, '__module__', '')}.{getattr(optimizer, '__qualname__', repr(optimizer))}"
    if name.startswith("torch."):
        return name
    try:
        return f"{name} ({digest(inspect.getsource(optimizer))[:8]})"
    except (OSError, TypeError):
        return name


def _call(call: Callable[..., Any]) -> str:
    spelled = spelling.of_scheduler(call)
    return spelled if isinstance(spelled, str) else _class(call)
