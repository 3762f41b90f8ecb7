"""What a run was made of, as words for people and as Python code for `ravine.code`.

What cannot be written as code that stands alone is kept as ``{"cannot": reason}``, which `ravine.code` passes on.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch

from ravine._descent.run_spec import RunSpec
from ravine._descent.spell import CannotSpellError, Code, Speller, captured, source_of
from ravine._descent.treat import loop_settings
from ravine._problem.problem import Problem
from ravine._problem.starts import OfVector
from ravine._torch import is_plain
from ravine._words.schedulers import Composite, S


def source_of_run(spec: RunSpec, problems: Mapping[str, Problem]) -> dict[str, Any]:
    """Spell runs: the problems in words, and everything that a script needs to make one of them again."""
    described = {label: _described(each) for label, each in problems.items()}
    words: dict[str, Any] = {"problem": described if len(described) > 1 else next(iter(described.values()))}
    speller = Speller()
    optimizer: Any = spec.optimizer
    given, loop = spec.of_optimizer, loop_settings(spec.optimizer, spec.settings)
    while type(optimizer) is functools.partial and not optimizer.args:
        optimizer, given = optimizer.func, {**optimizer.keywords, **given}
    code: dict[str, Any] = {
        "optimizer": _tried(lambda: speller.value(optimizer, "make_optimizer")),
        "settings": _tried(lambda: speller.arguments((), given)),
        "groups": {
            p: {n: _tried(functools.partial(speller.value, v, n)) for n, v in s.items()} for p, s in spec.groups.items()
        },
        "problems": {label: _pieces(each) for label, each in problems.items()},
    }
    if spec.settings.get("differentiable"):
        code["optimizer"] = {"cannot": "differentiable=True needs parameters that are no leaves, not a plain loop"}
    if spec.scheduler is not None:
        code["scheduler"] = _tried(lambda: _scheduler(spec.scheduler, speller))
    if spec.create_graph:
        code["create_graph"] = True
    code |= {name: _tried(functools.partial(speller.value, value, name)) for name, value in loop.items()}
    if spec.feed is not None:
        code["batch_size"] = spec.feed.batch_size
    if spec.feed is not None or spec.treatment.noise:
        code["seed"] = spec.noise_seed if spec.feed is None else spec.feed.seed
    if spec.feed is not None:
        words["loss_every"] = spec.feed.loss_every
    if speller.imports:
        code["imports"] = list(speller.imports)
    if speller.definitions:
        code["definitions"] = list(reversed(speller.definitions.values()))
    return words | {"code": code}


def _tried(spell: Any) -> Code:
    try:
        found: str = spell()
    except CannotSpellError as reason:
        return {"cannot": str(reason)}
    return found


def _pieces(problem: Problem) -> dict[str, Any]:
    """Spell one problem: its loss, or its model and criterion, with the shapes and dtypes of its tensors."""
    shapes: dict[str, Any] = {name: list(value.shape) for name, value in problem.start.items()}
    dtypes = {name: str(value.dtype) for name, value in problem.start.items()}
    pieces: dict[str, Any] = {"shapes": shapes, "dtype": next(iter(dtypes.values()))}
    if len(set(dtypes.values())) > 1:
        pieces["dtypes"] = dtypes
    if problem.parts is None:
        return pieces | {"loss": _function(problem.loss)}
    data = {"inputs": problem.parts.inputs, "targets": problem.parts.targets}
    return pieces | {
        "model": _model(problem.parts.model, problem.parts.mode_matters),
        "criterion": _criterion(problem.parts.criterion),
        "data": {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in data.items()},
    }


def _described(problem: Problem) -> dict[str, str]:
    if problem.parts is None:
        return {"loss": getattr(problem.loss, "__qualname__", repr(problem.loss))}
    return {"model": repr(problem.parts.model), "criterion": repr(problem.parts.criterion)}


def source_of_scheduler(make: Any) -> Code:
    """Spell what makes a scheduler, where that is one line of torch's classes."""
    speller = Speller()
    found = _tried(lambda: _scheduler(make, speller))
    return {"cannot": "it is a function"} if speller.definitions or speller.imports else found


def _scheduler(make: Any, speller: Speller) -> str:
    """Spell a call that makes a scheduler for ``optimizer``: of a class, a partial of one, or a function."""
    if isinstance(make, Composite):
        parts = f"[{', '.join(_scheduler(each, speller) for each in make.parts)}]"
        settings = speller.arguments((), make.settings)
        first = (parts, "optimizer=optimizer") if make.kind is S.ChainedScheduler else ("optimizer", parts)
        return f"{speller.imported(make.kind)}({', '.join([*first, settings] if settings else first)})"
    if type(make) is functools.partial:
        called = speller.value(make.func, "make_scheduler")
        return f"{called}({speller.arguments(make.args, make.keywords, 'optimizer')})"
    return f"{speller.value(make, 'make_scheduler')}(optimizer)"


def _model(model: torch.nn.Module, matters: bool) -> Code:
    """Spell modules of torch.nn, and Sequential of them, as calls; their buffers must be as new."""
    if next(model.buffers(), None) is not None:
        return {"cannot": f"{type(model).__name__} has buffers, whose state a script of code alone cannot hold"}
    if not all(parameter.requires_grad for parameter in model.parameters()):
        return {"cannot": f"{type(model).__name__} has parameters that are frozen"}
    if len(dict(model.named_parameters(remove_duplicate=False))) > len(dict(model.named_parameters())):
        return {"cannot": f"{type(model).__name__} has parameters that stand at two places of it"}
    if not all(map(is_plain, model.modules())):
        return {"cannot": f"{type(model).__name__} has hooks, or a forward of its own"}
    if any(isinstance(each, torch.nn.modules.dropout._DropoutNd) and each.training for each in model.modules()):
        return {"cannot": f"{type(model).__name__} has dropout, which depends on where the random generator stood"}
    if matters:
        return {
            "cannot": f"{type(model).__name__} acts otherwise in eval mode, and draws random numbers or keeps count"
        }
    try:
        return _module(model)
    except ValueError as reason:
        return {"cannot": str(reason)}


def _module(model: torch.nn.Module) -> str:
    kind = type(model).__name__
    if not model.training:
        raise ValueError(f"{kind} is in eval mode")
    if type(model) is torch.nn.Sequential:
        return f"torch.nn.Sequential({', '.join(_module(each) for each in model)})"
    if getattr(torch.nn, kind, None) is not type(model) or next(model.children(), None) is not None:
        raise ValueError(f"{kind} is no module of torch.nn or Sequential of such")
    if not _is_a_call(_plain(repr(model))):
        raise ValueError(f"{kind} does not say in its repr how it is made")
    return f"torch.nn.{_plain(repr(model))}"


def _plain(said: str) -> str:
    """Write the numbers in a repr as Python's, numpy's and inf and nan too."""
    said = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", said)
    return re.sub(r"(?<==)(-?)(inf|nan)\b", r'float("\1\2")', said)


@functools.lru_cache(maxsize=1024)
def _is_a_call(said: str) -> bool:
    """Tell whether a module's repr makes that module again, as it does for most modules and not for all."""
    try:
        return _plain(repr(eval(f"torch.nn.{said}", {"torch": _without_numbers()}))) == said
    except Exception:
        return False


@functools.cache
def _without_numbers() -> Any:
    """Return torch with modules that are made on the meta device: no numbers are drawn."""

    class Meta:
        class nn:  # noqa: N801 - it stands for torch.nn
            pass

    for name in dir(torch.nn):
        thing = getattr(torch.nn, name)
        if isinstance(thing, type) and issubclass(thing, torch.nn.Module):
            setattr(Meta.nn, name, staticmethod(functools.partial(_on_meta, thing)))
    return Meta


def _on_meta(kind: type[torch.nn.Module], *args: Any, **settings: Any) -> torch.nn.Module:
    with torch.device("meta"):
        return kind(*args, **settings)


def _criterion(criterion: Any) -> Code:
    kind = type(criterion)
    if isinstance(criterion, FunctionType):
        return _function(criterion)
    if kind is functools.partial:
        partial = Speller()
        made = _tried(lambda: partial.value(criterion, "loss"))
        if partial.definitions:
            return {"cannot": "its criterion is a functools.partial of a function that no module has"}
        return made if isinstance(made, dict) else "\n".join([*partial.imports, f"loss = {made}"])
    if getattr(torch.nn, kind.__name__, None) is not kind:
        return {"cannot": f"{kind.__name__} is no criterion of torch.nn"}
    if not is_plain(criterion):
        return {"cannot": f"{kind.__name__} has hooks, or a forward of its own"}
    taken = inspect.signature(kind).parameters
    given = {name: getattr(criterion, name) for name in taken if hasattr(criterion, name)}
    changed = {
        n: v for n, v in given.items() if v is not None and (torch.is_tensor(v) or _differs(v, taken[n].default))
    }
    speller = Speller()
    found = _tried(lambda: f"torch.nn.{kind.__name__}({speller.arguments((), changed)})")
    if speller.definitions or speller.imports:
        return {"cannot": f"{kind.__name__} holds a function"}
    return found


def _differs(value: Any, default: Any) -> bool:
    try:
        return bool(value != default)
    except Exception:  # of arrays, say
        return True


def _constant(speller: Speller, value: Any) -> str | None:
    """Spell what a loss uses from around it and cannot change unseen: numbers, arrays of them, what can be imported.

    Lists and mappings are left to the loss: people count and log in them.
    """
    size = value.numel() if torch.is_tensor(value) else np.size(value) if isinstance(value, np.ndarray) else 0
    if size > CAPTURED or isinstance(value, list | dict):
        return None
    if isinstance(value, FunctionType):
        found = _tried(lambda: speller.imported(value))
        return found if isinstance(found, str) else None
    found = _tried(lambda: speller.value(value))
    return found if isinstance(found, str) and not speller.definitions else None


CAPTURED = 10_000
"""Numbers of an array around a loss, up to which a script holds them, as it does of data."""

OF_VECTOR = """\
loss_of_vector = loss


def loss(parameters):
    return loss_of_vector(parameters["x"])
"""
"""How a script calls a loss of one vector."""


def _function(function: Any) -> Code:
    """Spell a loss by its source where that stands alone, else by the module it can be imported from."""
    if isinstance(function, OfVector):
        inner = _function(function.function)
        return inner if isinstance(inner, dict) else f"{inner.rstrip()}\n\n\n{OF_VECTOR}"
    if not isinstance(function, FunctionType):
        return {"cannot": f"the loss is a {type(function).__name__}, not a function"}
    speller, before, foreign = Speller(), [], []
    for name, value in captured(function).items():
        if inspect.ismodule(value):
            speller.import_module(value, name)
            continue
        constant = _constant(speller, value)
        if constant is None:
            foreign.append(name)
        else:
            before.append(f"{name} = {constant}")
    source = None if foreign else source_of(function, "loss")
    if source is not None:
        before = [*speller.imports, *before]
        return "\n".join([*before, "", "", source]) if before else source
    try:
        home, _, plain = speller.imported(function).rpartition(".")
        return f"from {home} import {plain} as loss"
    except CannotSpellError:
        reason = f"it uses {', '.join(foreign)} from around it" if foreign else "its source is not to be had"
    return {"cannot": f"the loss cannot be written into a script: {reason}, and it cannot be imported from a module"}
