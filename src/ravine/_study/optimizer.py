"""Which class made a run, and what is known of it.

Whether an optimizer is torch's is told by its class, which runs record as ``module:qualified name``, never by what it
is called. Of studies written before, the engine or the code of their provenance says it; of datasets that say nothing
of how they came about the coordinate ``optimizer`` is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ravine._study.provenance import facts_of, options_along

SGD = "torch.optim.sgd:SGD"

COUPLED = frozenset({"SGD", "Adam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD", "NAdam", "RAdam", "Rprop"})
"""Torch's optimizers whose weight decay is added to the gradient, so that they minimise loss + decay."""

DECOUPLED = frozenset({"AdamW", "Muon", "Adafactor"})
"""Torch's optimizers that shrink the parameters apart from the gradient."""

MADE = (
    *("position", "loss", "gradient", "velocity", "batch_loss", "scheduled_lr"),
    *("final_loss", "best_loss", "best_step", "arrival", "first_nonfinite", "diverged"),
)
"""Variables whose provenance says how runs were made."""


def path_of(optimizer: type) -> str:
    """Return a class as runs record it.

    Examples
    --------
    >>> path_of(int)
    'builtins:int'
    """
    return f"{optimizer.__module__}:{optimizer.__qualname__}"


def is_torchs(path: str) -> bool:
    """Tell whether a class is one of torch.optim itself.

    Examples
    --------
    >>> [is_torchs(path) for path in ("torch.optim.sgd:SGD", "mine:SGD", "torch_optimizer.adamp:AdamP")]
    [True, False, False]
    """
    return path.startswith(("torch.optim.", "torch.optim:"))


def name_of(path: str) -> str:
    """Name a class for people: with its module where the name alone would be taken for one of torch's.

    Examples
    --------
    >>> [name_of(path) for path in ("torch.optim.sgd:SGD", "mine:SGD", "mine:make.<locals>.Sign")]
    ['SGD', 'mine.SGD', 'Sign']
    """
    home, _, qualified = path.rpartition(":")
    name = qualified.rpartition(".")[2]
    return f"{home}.{name}" if not is_torchs(path) and home and is_namesake(path) else name


def is_namesake(path: str) -> bool:
    """Tell whether a class that is not torch's bears the name of one that is."""
    return not is_torchs(path) and path.rpartition(":")[2].rpartition(".")[2] in COUPLED | DECOUPLED


def is_coupled(path: str, *, decoupled: bool = False) -> bool | None:
    """Tell whether a class adds its weight decay to the gradient; None where that is not known.

    Parameters
    ----------
    path
        The class, as `path_of` writes it.
    decoupled
        Torch's switch ``decoupled_weight_decay``.

    Examples
    --------
    >>> [is_coupled(f"torch.optim.{path}") for path in ("adam:Adam", "adamw:AdamW")], is_coupled("mine:Adam")
    ([True, False], None)
    """
    if not is_torchs(path):
        return None
    return path.rpartition(":")[2] in COUPLED and not decoupled


def made_by(runs: xr.Dataset, *facts: str) -> str:
    """Name the variable whose provenance holds one of these facts of how the runs were made; "" where none does."""
    return next((name for name in MADE for fact in facts if facts_of(runs, name, fact)), "")


def facts_made(runs: xr.Dataset, fact: str) -> list[Any]:
    return facts_of(runs, made_by(runs, fact), fact)


def optimizers_of(runs: xr.Dataset) -> xr.Variable:
    """Return the class of each run's optimizer as `path_of` writes it, or "" where it is not known.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> each = {rule.__name__: ravine.descend(bowl, rule) for rule in (torch.optim.SGD, torch.optim.Adam)}
    >>> optimizers_of(ravine.join(each)).values.tolist()
    ['torch.optim.sgd:SGD', 'torch.optim.adam:Adam']
    """
    names = runs.variables["optimizer"] if "optimizer" in runs.coords else xr.Variable((), "")
    asked = ("optimizer", "engine", "code")
    dims, facts = options_along(runs, made_by(runs, *asked), *asked)
    whole = {dim: runs.sizes[dim] for dim in dict.fromkeys([*names.dims, *map(str, dims)])}
    paths = np.empty(list(whole.values()), dtype=object)
    for place in np.ndindex(paths.shape):
        at = dict(zip(whole, place, strict=True))
        name = str(names.values[tuple(at[dim] for dim in names.dims)])
        paths[place] = _choose_path(name, *facts[tuple(at[dim] for dim in dims)])
    return xr.Variable(tuple(whole), paths.astype(str))


def _choose_path(name: str, paths: Sequence[Any], engines: Sequence[Any], codes: Sequence[Any]) -> str:
    """Return the class of one run's optimizer, or "" where a label that was lost leaves open which."""
    found = {path for path in paths if path is not None}
    found = found or {_path_before(name, engine, code) for engine in engines for code in codes}
    if len(found) > 1:
        found = {path for path in found if path.rpartition(":")[2].rpartition(".")[2] == name}
    return str(found.pop()) if len(found) == 1 else ""


def _path_before(name: str, engine: Any, code: Any) -> str:
    """Return the class of one run's optimizer from what was said of it before classes were recorded."""
    if ":" in name:  # what is summed up as it is made names its class
        return name
    if isinstance(engine, str) and engine.endswith(", step by step"):
        home, _, own = engine.partition(",")[0].rpartition(".")
        return f"{home}.{own.lower()}:{own}" if home == "torch.optim" else f"{home}:{own}"
    spelled = code.get("optimizer") if isinstance(code, Mapping) else None
    if isinstance(engine, str) and engine.startswith("SGD's rule on a batch"):
        return SGD
    if isinstance(spelled, Mapping):
        words = str(spelled.get("cannot", ""))
        _, of_torch, rest = words.partition("functools.partial(<class 'torch.optim.")
        if of_torch:
            home, _, own = rest.partition("'")[0].rpartition(".")
            return f"torch.optim.{home}:{own}"
        own = words.partition(" ")[0].rpartition(".")[2]  # a class that no module had
        return f"__main__:{name}" if name and own == name else ""
    if isinstance(spelled, str):
        home, _, own = spelled.rpartition(".")
        return f"{home}.{own.lower()}:{own}" if home == "torch.optim" else f"{home}:{own}"
    return f"torch.optim.{name.lower()}:{name}" if name in COUPLED | DECOUPLED else name
