"""Problems from words: a CSV file, a name of the gallery, or module:name of the user's own."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ravine import gallery
from ravine._descent.schedulers import Composite
from ravine._format import hint, listed
from ravine._problem.criteria import Criterion
from ravine._problem.problem import Problem
from ravine._store.trust import is_in_store

Scheduler = Any
"""What makes a scheduler: a partial of a class of torch.optim.lr_scheduler, or a `Composite`."""


def load_problem(
    source: str,
    *,
    x: str | Sequence[str] | None = None,
    y: str | None = None,
    criteria: Sequence[str] | None = None,
    standardize: bool = False,
    start: Mapping[str, Any] | None = None,
    encoding: str | None = None,
    drop_missing: bool = False,
) -> Problem | Mapping[str, Problem]:
    """Find the problem that a word means.

    Parameters
    ----------
    source
        A name of the gallery, as in ``rosenbrock`` or ``quadratic(condition=100)``, else ``module:name`` (a
        problem, a mapping of them, or a function that returns one), else a CSV file.
    x, y, standardize, encoding, drop_missing
        For a CSV file, see `Problem.from_csv`.
    criteria
        Names of torch.nn losses, for a CSV file or to choose among a mapping's problems; several make a mapping.
    start
        Where to start, by parameter name.

    Examples
    --------
    >>> list(load_problem("article", criteria=["L1Loss", "HuberLoss"]))
    ['L1Loss', 'HuberLoss']
    """
    in_gallery = source.partition("(")[0] in gallery.__all__
    if in_gallery or (":" in source and not Path(source).exists()):
        if x or y or standardize or encoding or drop_missing:
            raise ValueError(
                f"--x, --y, --standardize, --encoding and --drop-missing are for CSV files; {source} is none"
            )
        problem = _make_from_gallery(source) if in_gallery else _import_problem(source)
        if criteria:
            problem = _choose(source, problem, criteria)
    else:
        if not Path(source).exists():
            raise FileNotFoundError(f"there is no file {source}, and no such problem{hint(source, gallery.__all__)}")
        named = {each: make_criterion(each) for each in criteria or ["MSELoss"]}
        reading = {"standardize": standardize, "encoding": encoding, "drop_missing": drop_missing}
        made = {}
        with warnings.catch_warnings():
            for name, criterion in named.items():
                made[name] = Problem.from_csv(source, x, y, criterion, **reading)  # type: ignore[arg-type]
                warnings.simplefilter("ignore")  # what is said of the file is said once
        problem = made if len(made) > 1 else next(iter(made.values()))
    if not start:
        return problem
    if isinstance(problem, Mapping):
        return {label: each.starting_at(start) for label, each in problem.items()}
    return problem.starting_at(start)


def make_criterion(words: str) -> Criterion:
    """Make a torch.nn criterion from its name, with arguments where given.

    Examples
    --------
    >>> make_criterion("HuberLoss(delta=0.5)").delta
    0.5
    """
    name, arguments = read_call(words)
    known = sorted(n for n in dir(torch.nn) if n.endswith("Loss"))
    criterion: Criterion = find_name("criterion", name, torch.nn, known)(**arguments)
    return criterion


def find_optimizer(name: str) -> Any:
    """Find an optimizer by name in torch.optim, or as module:name.

    Examples
    --------
    >>> find_optimizer("Adam").__name__
    'Adam'
    """
    if ":" in name:
        return _import_name(name)
    known = [n for n, thing in vars(torch.optim).items() if isinstance(thing, type) and n not in ("Optimizer",)]
    return find_name("optimizer", name, torch.optim, known)


def make_scheduler(words: str) -> Scheduler:
    """Make a scheduler's maker from words such as ``StepLR(step_size=30)``.

    Schedulers of schedulers take a list of such calls:
    ``SequentialLR([LinearLR(total_iters=5), CosineAnnealingLR(T_max=45)], milestones=[5])``.

    Examples
    --------
    >>> make_scheduler("StepLR(step_size=30)").keywords
    {'step_size': 30}
    >>> both = make_scheduler("ChainedScheduler([LinearLR(), ExponentialLR(gamma=0.9)])")
    >>> [each.func.__name__ for each in both.parts]
    ['LinearLR', 'ExponentialLR']
    """
    try:
        node = ast.parse(words, mode="eval").body
    except SyntaxError:
        node = None
    return _make_scheduler(node, words)


def _make_scheduler(node: ast.AST | None, words: str) -> Scheduler:
    """Make what a name, or a call of one, says; nothing is run."""
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name):
        raise ValueError(f"cannot read {words!r}; expected a name, or a form like StepLR(step_size=30)")
    home = torch.optim.lr_scheduler
    kind = find_name("scheduler", called.id, home, [n for n in home.__all__ if n not in ("LRScheduler",)])
    parts: list[Scheduler] = []
    given: dict[str, Any] = {}
    if isinstance(node, ast.Call):
        inner = [*node.args, *(each.value for each in node.keywords if each.arg == "schedulers")]
        if len(inner) > 1 or any(not isinstance(each, ast.List | ast.Tuple) for each in inner):
            raise ValueError(
                f"cannot read {words!r}: settings are written with their names, as in StepLR(step_size=30); a list "
                "alone may stand first, of the schedulers that another is made of"
            )
        for each in inner:
            assert isinstance(each, ast.List | ast.Tuple)
            parts += [_make_scheduler(one, words) for one in each.elts]
        try:
            given = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg != "schedulers"}
        except ValueError:
            raise ValueError(f"cannot read {words!r}; settings must be numbers, texts or lists of them") from None
    if kind in (home.SequentialLR, home.ChainedScheduler):
        if not parts:
            raise ValueError(
                f"{called.id} needs a list of schedulers first, as in {called.id}([LinearLR(), StepLR(step_size=30)])"
            )
        return Composite(kind, tuple(parts), given)
    if parts:
        raise ValueError(f"{called.id} takes no schedulers, got {words!r}")
    return functools.partial(kind, **given)


def read_call(words: str) -> tuple[str, dict[str, Any]]:
    """Read a name, or a call with literal keyword arguments, without running anything.

    Examples
    --------
    >>> read_call("quadratic(condition=100)"), read_call("rosenbrock")
    (('quadratic', {'condition': 100}), ('rosenbrock', {}))
    """
    name, parenthesis, _ = words.partition("(")
    try:
        call = ast.parse(words if parenthesis else f"{words}()", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise ValueError
        return name.strip(), {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(f"cannot read {words!r}; expected a name, or a form like HuberLoss(delta=0.5)") from None


def find_name(what: str, name: str, home: Any, known: Sequence[str]) -> Any:
    """Take a name from a module, or say which come near."""
    if name not in known:
        raise ValueError(
            f"no {what} {name!r} in {home.__name__}{hint(name, known) or f'; there are {listed(known, 40)}'}"
        )
    return getattr(home, name)


def _choose(source: str, problem: Any, criteria: Sequence[str]) -> Problem | dict[str, Problem]:
    if not isinstance(problem, Mapping):
        raise ValueError(f"{source} is one problem with a loss of its own; --criterion chooses among several")
    for name in criteria:
        if name not in problem:
            raise ValueError(f"{source} has no criterion {name!r}{hint(name, problem)}; it has {listed(problem)}")
    return problem[criteria[0]] if len(criteria) == 1 else {name: problem[name] for name in criteria}


def _import_name(source: str) -> Any:
    module_name, _, name = source.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)  # as python -m does: the user's file lies where they stand
    try:
        _refuse_stores(module_name)
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as reason:
        if reason.name != module_name:
            raise
        raise ValueError(f"there is no module {module_name!r} here or among the installed ones") from None
    finally:
        sys.path.remove(here)
    if not hasattr(module, name):
        names = [n for n in dir(module) if not n.startswith("_")]
        raise ValueError(f"module {module_name!r} has no {name!r}{hint(name, names)}")
    return getattr(module, name)


def _refuse_stores(module_name: str) -> None:
    """Complain of a module that lies in a sweep's store: those come from anybody, and nothing in them is run."""
    found = importlib.util.find_spec(module_name.partition(".")[0])  # of a package's part, the package would be run
    if found is None:
        return
    for place in (found.origin if found.has_location else None, *(found.submodule_search_locations or ())):
        if place is not None and is_in_store(Path(place)):
            raise ValueError(f"module {module_name!r} lies in a store ({place}), from which nothing is imported")


def _make_from_gallery(source: str) -> Problem | Mapping[str, Problem]:
    name, arguments = read_call(source)
    made: Problem | dict[str, Problem] = getattr(gallery, name)(**arguments)
    return made


def _import_problem(source: str) -> Problem | Mapping[str, Problem]:
    found = _import_name(source)
    if isinstance(found, Callable) and not isinstance(found, Problem):  # type: ignore[arg-type]
        found = found()
    if not isinstance(found, (Problem, Mapping)):
        raise TypeError(f"{source} is a {type(found).__name__}, expected a ravine.Problem or a mapping of them")
    return found
