"""Copies of what users hand over, so that no run, and no evaluation, leaves anything behind for the next."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch

UNCHANGING = (type(None), bool, int, float, complex, str, bytes)
"""What nobody can change, as nearly all settings are."""


def make_copy(thing: Any) -> Any:
    """Copy a setting, a criterion, a scheduler or what makes one, with everything that it may change.

    Functions that captured something, partials and methods are copied with what they hold, which `copy.deepcopy`
    leaves shared. What cannot be copied (a module of Python, a lock) stays the same.

    Raises
    ------
    TypeError
        For an iterator that cannot be copied: what it gave to one run would be missing in the next.

    Examples
    --------
    >>> counts = [0]
    >>> def count():
    ...     counts[0] += 1
    ...     return counts[0]
    >>> def made(kept=counts):
    ...     return lambda: kept.append(1) or len(kept)
    >>> one, other = make_copy(made()), make_copy(made())
    >>> one(), one(), other(), counts
    (2, 3, 2, [0])
    """
    return _copied(thing, {})


def _copied(thing: Any, memo: dict[int, Any]) -> Any:
    if id(thing) in memo:
        return memo[id(thing)]
    if type(thing) in UNCHANGING or isinstance(thing, type | ModuleType):
        return thing
    if isinstance(thing, FunctionType):
        return _function(thing, memo)
    if isinstance(thing, MethodType):
        return MethodType(thing.__func__, _copied(thing.__self__, memo))
    if type(thing) is functools.partial:
        given = {name: _copied(value, memo) for name, value in thing.keywords.items()}
        return functools.partial(_copied(thing.func, memo), *(_copied(each, memo) for each in thing.args), **given)
    if type(thing) in (list, tuple):
        return type(thing)(_copied(each, memo) for each in thing)
    if type(thing) is dict:
        return {name: _copied(value, memo) for name, value in thing.items()}
    for tensor in _graph_tensors(thing, set()):  # torch refuses to copy what belongs to a graph
        memo[id(tensor)] = _detached(tensor)
    try:
        return copy.deepcopy(thing, memo)
    except Exception:
        if isinstance(thing, Iterator):
            raise TypeError(
                f"a {type(thing).__name__} cannot be copied for each run, and what one run took would be missing in "
                "the next: hand over a list, or a function of the step"
            ) from None
        if isinstance(thing, torch.nn.Module):
            raise
        return thing


def _function(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """Copy a function with what it captured; one that captured nothing is its own copy."""
    defaults, more = function.__defaults__, function.__kwdefaults__
    if not function.__closure__ and not defaults and not more:
        return function
    cells = tuple(CellType() for _ in function.__closure__ or ())
    made = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells or None)
    memo[id(function)] = made  # it may have captured itself
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _copied(old.cell_contents, memo)
        except ValueError:  # not yet filled
            continue
    made.__defaults__ = _copied(defaults, memo) if defaults else defaults
    made.__kwdefaults__ = _copied(more, memo) if more else more
    made.__dict__.update(function.__dict__)
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return made


def _graph_tensors(thing: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """Walk through the tensors in an object's attributes that a computation left there."""
    if id(thing) in seen or isinstance(thing, type | ModuleType | FunctionType | str | bytes | int | float):
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        if not thing.is_leaf:
            yield thing
    elif isinstance(thing, Mapping):
        for each in thing.values():
            yield from _graph_tensors(each, seen)
    elif isinstance(thing, list | tuple | set):
        for each in thing:
            yield from _graph_tensors(each, seen)
    elif hasattr(thing, "__dict__"):
        yield from _graph_tensors(vars(thing), seen)


def _detached(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()


@contextmanager
def attributes_kept(*modules: Any) -> Iterator[None]:
    """Put modules' own attributes back: what a forward pass stores in them must not reach the next."""
    held = [vars(each) for module in modules if isinstance(module, torch.nn.Module) for each in module.modules()]
    before = [dict(each) for each in held]
    try:
        yield
    finally:
        for now, then in zip(held, before, strict=True):
            if now.keys() != then.keys() or any(now[name] is not then[name] for name in then):
                now.clear()
                now.update(then)


@contextmanager
def buffers_kept(*modules: Any) -> Iterator[None]:
    """Put modules' buffers back, those that were written into and those that were replaced."""
    held = [each._buffers for module in modules if isinstance(module, torch.nn.Module) for each in module.modules()]
    before = [(each, {n: (b, None if b is None else b.clone()) for n, b in each.items()}) for each in held if each]
    try:
        yield
    finally:
        with torch.no_grad():
            for now, then in before:
                for name, (buffer, numbers) in then.items():
                    if buffer is not None and numbers is not None:
                        buffer.copy_(numbers)
                    now[name] = buffer


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Put a model in eval mode, and each of its modules back in its own."""
    modes = [(each, each.training) for each in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


def keeps_state(thing: Any, call: Callable[[Any], Any]) -> bool:
    """Tell whether calling a thing changes it; `call` gets a copy."""
    trial = make_copy(thing)
    before = _state(trial)
    call(trial)
    return before is None or _state(trial) != before


def _state(thing: Any) -> bytes | None:
    """Return what a thing holds as bytes; None where that cannot be had."""
    held: Any = getattr(thing, "__dict__", None)
    if isinstance(thing, FunctionType):
        held = [cell.cell_contents for cell in thing.__closure__ or ()], thing.__defaults__
    try:
        return pickle.dumps(held)
    except Exception:
        return None
