"""Starts as people write them: by name, as a vector in the order of the labels, as rows of an array or a table."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ravine._format import hint, kind_of, listed
from ravine._torch import copied

if TYPE_CHECKING:
    from ravine._problem.problem import Problem

Starts = Sequence[Any] | Mapping[Any, Any] | np.ndarray[Any, Any] | torch.Tensor
"""Several starts: a mapping or a vector each, in a list, labelled in a mapping, or as rows."""

MANY = 100
"""Labels up to which an error lists them beside the names."""


class OfVector:
    """A loss of one vector, seen as a function of named parameters: of one that is called ``x``."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function

    def __call__(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss at the vector."""
        return self.function(parameters["x"])


def is_vector(given: Any) -> bool:
    """Tell whether a start is a vector of numbers: a list, a tuple, an array, a tensor or a column of a table.

    Examples
    --------
    >>> is_vector([1.0, 2.0]), is_vector(np.zeros(3)), is_vector({"x": 1.0}), is_vector("x"), is_vector([[1.0]])
    (True, True, False, False, False)
    """
    if isinstance(given, Mapping | str | bytes) or not (isinstance(given, list | tuple) or hasattr(given, "ndim")):
        return False
    try:
        return copied(given).ndim == 1
    except (TypeError, ValueError, RuntimeError):
        return False


def split_vector(problem: Problem, vector: Any) -> dict[str, torch.Tensor]:
    """Return the values of all parameters, from a vector in the order of the problem's labels."""
    values = copied(vector)
    if len(values) != problem.size:
        one = "a number" if problem.size == 1 else f"{problem.size} numbers"
        raise ValueError(
            f"a start is {one}, in the order {listed(problem.known)}; got {len(values)}: {kind_of(vector)}"
        )
    found, begin = {}, 0
    for name, old in problem.start.items():
        found[name] = values[begin : begin + old.numel()].reshape(old.shape)
        begin += old.numel()
    return found


def read_start(start: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Read one start: parameter name to a finite tensor of floats, copied."""
    if not isinstance(start, Mapping) or type(start).__name__ == "Dataset" or not start:
        raise ValueError(
            f"start must be a mapping of at least one parameter name to its value, or a vector, got {kind_of(start)}"
        )
    tensors = {}
    for name, value in start.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a parameter cannot be called {name!r}: names are words of one letter or more")
        try:
            tensor = copied(value)
        except (TypeError, ValueError, RuntimeError) as reason:
            raise ValueError(f"start of {name!r} is no number or array: {value!r} ({reason})") from None
        if tensor.is_complex():
            raise ValueError(f"start of {name!r} is complex; real parameters expected")
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
        if not torch.isfinite(tensor).all():
            raise ValueError(f"start of {name!r} is not finite: {_told(tensor)}")
        tensors[name] = tensor
    return tensors


def _told(tensor: torch.Tensor) -> str:
    """Say what is not finite: one number as it is, of many how many, and what to hand over instead."""
    if tensor.numel() == 1:
        return f"{tensor.item()}"
    bad = int((~torch.isfinite(tensor)).sum())
    return (
        f"{bad:,} of its {tensor.numel():,} numbers are NaN or infinite, as after a training that diverged; hand over "
        "a fresh model, or one from before that"
    )


def move_start(problem: Problem, values: Any, more: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the start of `Problem.starting_at`: what is not named stays where it is."""
    if is_vector(values):
        values = split_vector(problem, values)
    elif values is not None and not isinstance(values, Mapping):
        raise TypeError(
            f"a start is a mapping of parameter name to value, or a vector in the order {listed(problem.known)}; "
            f"got {kind_of(values)}"
        )
    moved: dict[str, torch.Tensor] = dict(problem.start)
    for name, value in {**(values or {}), **more}.items():
        place: tuple[int, ...] | None = None
        of = name
        if name not in moved:
            if name not in problem.labels:
                known = dict.fromkeys([*moved, *(problem.labels if len(problem.labels) <= MANY else ())])
                raise ValueError(f"no parameter {name!r}; the problem has {listed(known)}{hint(name, known)}")
            of, place = _elements(problem)[problem.labels.index(name)]
        old = moved[of]
        try:
            with torch.inference_mode(False):
                new = torch.as_tensor(value, dtype=old.dtype, device=old.device)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"start of {name!r} is no number or array: {value!r}") from None
        size = old.numel() if place is None else 1
        if new.numel() != size:
            raise ValueError(f"start of {name!r} has {new.numel()} numbers, the parameter {size}")
        if place is None:
            moved[of] = new.reshape(old.shape)
        else:
            moved[of] = old.clone()
            moved[of][place] = new.reshape(())
    return moved


def _elements(problem: Problem) -> list[tuple[str, tuple[int, ...]]]:
    """Name and index of each number among the parameters, in the order of the labels."""
    return [(name, index) for name, value in problem.start.items() for index in np.ndindex(tuple(value.shape))]


def read_starts(starts: Any, problem: Problem) -> dict[Hashable, Mapping[str, Any]]:
    """Read several starts: label to the values of parameters; those of a list are numbered.

    Examples
    --------
    >>> import ravine
    >>> valley = ravine.gallery.rosenbrock()
    >>> [{name: float(v) for name, v in each.items()} for each in read_starts([[-1, 2], {"y": 0}], valley).values()]
    [{'x': -1.0, 'y': 2.0}, {'y': 0.0}]
    >>> list(read_starts({"left": [-1, 2], "right": [1, 2]}, valley))
    ['left', 'right']

    Raises
    ------
    TypeError, ValueError
        With what was given and what was expected.
    """
    expected = (
        f"starts takes a list of starts (a mapping or a vector in the order {listed(problem.known)} each), a mapping "
        "of label to start, or an array or table with a row for each"
    )
    if hasattr(starts, "columns") and hasattr(starts, "to_dict"):
        rows = starts.to_dict("records")
        begun = dict(zip(starts.index.tolist(), rows, strict=True))
    elif isinstance(starts, Mapping):
        begun = dict(starts)
        if begun and set(begun) <= {*problem.start, *problem.known} and not any(map(_is_mapping, begun.values())):
            raise ValueError(f"{expected}; got a mapping of parameters: for one start write starts=[{{…}}]")
    elif isinstance(starts, list | tuple) or getattr(starts, "ndim", 0) > 0:
        begun = dict(enumerate(starts))
    else:
        raise TypeError(f"{expected}; got {kind_of(starts)}")
    if not begun:
        raise ValueError("starts is empty: give at least one, or leave it out")
    found: dict[Hashable, Mapping[str, Any]] = {}
    for label, each in begun.items():
        if isinstance(each, Mapping):
            found[label] = each
            continue
        vector = [each] if problem.size == 1 and _is_number(each) else each
        if not is_vector(vector):
            raise TypeError(f"{expected}; start {label!r} is {kind_of(each)}")
        found[label] = split_vector(problem, vector)
    return found


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_number(value: Any) -> bool:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return True
    return hasattr(value, "ndim") and value.ndim == 0
