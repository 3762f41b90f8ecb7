"""Problems from words: a CSV file, a name of the gallery, or module:name or file.py:name of the user's own."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ravine import gallery
from ravine._format import hint, kind_of, listed
from ravine._problem.criteria import name_of
from ravine._problem.problem import Problem
from ravine._problems import is_in_gallery, make_from_gallery
from ravine._store.trust import is_in_store
from ravine._words import words
from ravine.cli.lazy_imports import restore_imports


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
    decimal: str | None = None,
) -> Problem | Mapping[str, Problem]:
    """Find the problem that a word means.

    Parameters
    ----------
    source
        A name of the gallery, as in ``rosenbrock`` or ``quadratic(condition=100)``, else ``module:name`` or
        ``file.py:name`` (a problem, a mapping of them, or a function that returns one), else a file with data; ``-`` is
        standard input.
    x, y, standardize, encoding, drop_missing, decimal
        For a file, see `Problem.from_csv`.
    criteria
        Names of torch.nn losses, for a CSV file or to choose among a mapping's problems; several make a mapping.
    start
        Where to start, by parameter name.

    Examples
    --------
    >>> list(load_problem("article", criteria=["L1Loss", "HuberLoss"]))
    ['L1Loss', 'HuberLoss']
    """
    if not is_file(source):
        if x or y or standardize or encoding or drop_missing or decimal:
            raise ValueError(
                "--x, --y, --standardize, --encoding, --drop-missing and --decimal are for files with data; "
                f"{source} is none"
            )
        problem = make_from_gallery(source) if is_in_gallery(source) else _import_problem(source)
        if criteria:
            problem = _choose(source, problem, criteria)
    else:
        if source != "-" and not Path(source).exists():
            raise FileNotFoundError(f"there is no file {source}, and no such problem{hint(source, gallery.__all__)}")
        if source.endswith(".py"):
            raise ValueError(f"{source} holds Python: name the problem in it too, as in {source}:{_name_in(source)}")
        named = {label: words.make_criterion(each) for label, each in _labels(criteria or ["MSELoss"]).items()}
        reading: dict[str, Any] = {
            "standardize": standardize,
            "encoding": encoding,
            "drop_missing": drop_missing,
            "decimal": decimal,
        }
        piped = sys.stdin.buffer.read() if source == "-" else None
        made = {}
        with warnings.catch_warnings():
            for name, criterion in named.items():
                made[name] = Problem.from_csv(
                    source if piped is None else StandardInput(piped), x, y, criterion, **reading
                )
                warnings.simplefilter("ignore")  # what is said of the file is said once
        problem = made if len(made) > 1 else next(iter(made.values()))
    if not start:
        return problem
    if isinstance(problem, Mapping):
        return {label: each.starting_at(start) for label, each in problem.items()}
    return problem.starting_at(start)


def _name_in(source: str) -> str:
    """Return a name that a file of Python makes at its top and that speaks of a problem; nothing of it is run."""
    try:
        body = ast.parse(Path(source).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return "problem"
    names = [each.name for each in body if isinstance(each, ast.FunctionDef)]
    names += [to.id for each in body if isinstance(each, ast.Assign) for to in each.targets if isinstance(to, ast.Name)]
    return next((name for name in names if "problem" in name.lower()), "problem")


def is_file(source: str) -> bool:
    """Tell whether a word means a file with data: it is no name of the gallery, and no module:name.

    Examples
    --------
    >>> is_file("points.csv"), is_file("-"), is_file("quadratic(condition=100)"), is_file("mine:problem")
    (True, True, False, False)
    """
    return not is_in_gallery(source) and (":" not in source or Path(source).exists())


class StandardInput(io.BytesIO):
    """What was piped in, to be read as often as it is needed."""

    name = "<stdin>"


def find_optimizer(name: str) -> Any:
    """Find an optimizer by name in torch.optim, in any case, or as module:name.

    Examples
    --------
    >>> find_optimizer("adam").__name__
    'Adam'
    """
    return _import_name(name) if ":" in name else words.find_optimizer(name)


def _choose(source: str, problem: Any, criteria: Sequence[str]) -> Problem | dict[str, Problem]:
    if not isinstance(problem, Mapping):
        raise ValueError(f"{source} is one problem with a loss of its own; --criterion chooses among several")
    chosen = {}
    for given in criteria:
        name = given if given in problem else next(iter(_labels([given])))
        if name not in problem:
            raise ValueError(f"{source} has no criterion {given!r}{hint(given, problem)}; it has {listed(problem)}")
        chosen[name] = problem[name]
    return next(iter(chosen.values())) if len(chosen) == 1 else chosen


def _labels(criteria: Sequence[str]) -> dict[str, str]:
    """Return criteria by torch's names, or by what was typed where that says more; each with its words."""
    found = {}
    for each in criteria:
        try:
            name = name_of(words.make_criterion(each))
        except ValueError:
            name = each  # a label of the user's own, or a mistyped word, which is said where it is made
        found[each if "(" in each else name] = each
    return found


def _import_name(source: str) -> Any:
    home, _, name = source.rpartition(":")
    file = Path(home) if home.endswith(".py") else None
    if file is not None and not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    module_name = home if file is None else file.stem
    # as python does: modules lie where the user stands, and beside a file that is run
    here = os.getcwd() if file is None else str(file.resolve().parent)
    sys.path.insert(0, here)
    try:
        _refuse_stores(module_name)
        restore_imports()
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as reason:
        if reason.name != module_name:
            raise
        raise ValueError(f"there is no module {module_name!r} here or among the installed ones") from None
    finally:
        sys.path.remove(here)
    if file is not None and not (module.__file__ and file.samefile(module.__file__)):
        raise ValueError(f"{file} bears the name of another module, {module_name!r}, that is loaded: rename it")
    if not hasattr(module, name):
        names = [n for n in dir(module) if not n.startswith("_")]
        raise ValueError(f"{home if file else f'module {module_name!r}'} has no {name!r}{hint(name, names)}")
    return getattr(module, name)


def _refuse_stores(module_name: str) -> None:
    """Complain of a module that lies in a sweep's store: those come from anybody, and nothing in them is run."""
    found = importlib.util.find_spec(module_name.partition(".")[0])  # of a package's part, the package would be run
    if found is None:
        return
    for place in (found.origin if found.has_location else None, *(found.submodule_search_locations or ())):
        if place is not None and is_in_store(Path(place)):
            raise ValueError(f"module {module_name!r} lies in a store ({place}), from which nothing is imported")


def _import_problem(source: str) -> Problem | Mapping[str, Problem]:
    found = _import_name(source)
    if callable(found) and not isinstance(found, Problem):
        found = found()
    if not isinstance(found, (Problem, Mapping)):
        raise TypeError(f"{source} is {kind_of(found)}, expected a ravine.Problem or a mapping of them")
    return found
