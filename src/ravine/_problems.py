"""What the verbs take as a problem: one, a mapping of several, or a word for one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from ravine import gallery
from ravine._format import hint, kind_of, listed
from ravine._problem.problem import Problem
from ravine._words.words import plain, read_call

Problems = Problem | Mapping[str, Problem]
"""One problem, or label to problem."""

Given = Problem | Mapping[str, Problem] | str
"""What a user may give: a problem, a mapping of them, or a word, as in "rosenbrock"."""


def as_problem(given: Any, call: str) -> Problems:
    """Return the problem, or the mapping of them, that was given to a call.

    Examples
    --------
    >>> as_problem("rosenbrock", "ravine.descend").labels
    ('x', 'y')
    >>> as_problem(3, "ravine.descend")
    Traceback (most recent call last):
    ...
    TypeError: ravine.descend takes a ravine.Problem, a mapping of label to problem, or a name of the gallery, got 3: \
make one with ravine.Problem(loss, start), or try "rosenbrock"

    Raises
    ------
    TypeError, ValueError
        With what was given, what was expected and how to make it.
    """
    if isinstance(given, Problem):
        return given
    if isinstance(given, str | os.PathLike):
        return find_problem(os.fspath(given))
    if isinstance(given, Mapping) and not isinstance(given, xr.Dataset):
        if not given:
            raise ValueError("the mapping of problems is empty: give at least one label with its problem")
        found = {}
        for label, each in given.items():
            one = find_problem(each) if isinstance(each, str) else each
            if isinstance(one, Mapping):
                raise TypeError(
                    f"{label!r} is several problems ({listed(one)}): choose one, as in …[{next(iter(one))!r}]"
                )
            if not isinstance(one, Problem):
                raise TypeError(f"{label!r} is {kind_of(each)}, expected a ravine.Problem")
            found[label] = one
        return given if all(found[label] is given[label] for label in given) else found
    expected = "a ravine.Problem, a mapping of label to problem, or a name of the gallery"
    raise TypeError(f"{call} takes {expected}, got {kind_of(given)}: {_remedy(given)}")


def as_one_problem(given: Any, call: str) -> Problem:
    """Return the one problem that was given to a call."""
    found = as_problem(given, call)
    if isinstance(found, Problem):
        return found
    raise TypeError(f"{call} takes one problem, got {listed(found)}: choose one, as in problems[{next(iter(found))!r}]")


def _remedy(given: Any) -> str:
    if isinstance(given, xr.Dataset | xr.DataArray):
        return "a study is what comes of a problem; give the problem that it was made of"
    if isinstance(given, torch.nn.Module):
        return "make one with ravine.Problem.of(module, criterion, (inputs, targets))"
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return 'make one with ravine.Problem.of(module, "mse", (table[["x"]], table["y"]))'
    if isinstance(given, list | tuple) and given and all(isinstance(each, Problem) for each in given):
        return 'give each a label, as in {"first": one, "second": other}'
    if callable(given) and not isinstance(given, type):
        return "a loss needs a start too: make one with ravine.Problem(loss, start)"
    return 'make one with ravine.Problem(loss, start), or try "rosenbrock"'


def is_in_gallery(words: str) -> bool:
    """Tell whether words begin with a name of the gallery, in any case.

    Examples
    --------
    >>> is_in_gallery("Styblinski-Tang"), is_in_gallery("quadratic(condition=9)"), is_in_gallery("points.csv")
    (True, True, False)
    """
    return plain(words.partition("(")[0]) in _by_word()


def find_problem(words: str) -> Problems:
    """Find the problem of the gallery that words name, or read the file that they name.

    Examples
    --------
    >>> find_problem("quadratic(condition=100)").labels, list(find_problem("article"))
    (('x', 'y'), ['MSELoss', 'L1Loss', 'HuberLoss', 'SmoothL1Loss'])
    """
    if is_in_gallery(words):
        return make_from_gallery(words)
    path = Path(words)
    if path.suffix.lower() == ".nc" and path.exists():
        raise ValueError(f"{words} is a study, and no problem: ravine.open({words!r}) opens it")
    if path.is_file():
        return Problem.from_csv(path)
    raise ValueError(
        f"no problem {words!r}{hint(words, gallery.__all__)}; the gallery has {listed(gallery.__all__, 20)}, and there "
        "is no such file"
    )


def make_from_gallery(words: str) -> Problems:
    """Make a problem of the gallery from its name, or from a call of it with numbers."""
    name, arguments = read_call(words)
    name = _by_word()[plain(name)]
    make = getattr(gallery, name)
    taken = inspect.signature(make).parameters
    for argument in arguments:
        if argument not in taken:
            takes = f"it takes {listed(taken)}" if taken else "it takes none"
            raise ValueError(f"{name} has no argument {argument!r}{hint(argument, taken)}; {takes}")
    made: Problems = make(**arguments)
    return made


def _by_word() -> dict[str, str]:
    return {plain(name): name for name in gallery.__all__}
