"""What a run was made of, as words for people and as Python code for `ravine.code`.

What cannot be written as code that stands alone is kept as ``{"cannot": reason}``, which `ravine.code` passes on.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import re
import textwrap
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import torch

from ravine._descent.loop import RunSpec
from ravine._problem.problem import Problem

Code = str | dict[str, str]


def source_of_run(spec: RunSpec, problems: Mapping[str, Problem]) -> dict[str, Any]:
    """Spell runs: the problems in words, and everything that a script needs to make one of them again."""
    described = {label: _described(each) for label, each in problems.items()}
    words: dict[str, Any] = {"problem": described if len(described) > 1 else next(iter(described.values()))}
    code: dict[str, Any] = {
        "optimizer": _name(spec.optimizer),
        "settings": ", ".join(f"{name}={_value(value)}" for name, value in spec.settings.items()),
        "groups": {p: {n: _value(v) for n, v in s.items()} for p, s in spec.groups.items()},
        "problems": {label: _pieces(each) for label, each in problems.items()},
    }
    if spec.settings.get("differentiable"):
        code["optimizer"] = {"cannot": "differentiable=True needs parameters that are no leaves, not a plain loop"}
    if spec.scheduler is not None:
        code["scheduler"] = source_of_scheduler(spec.scheduler)
    if spec.feed is not None:
        code["batch_size"], code["seed"] = spec.feed.batch_size, spec.feed.seed
        words["loss_every"] = spec.feed.loss_every
    return words | {"code": code}


def _pieces(problem: Problem) -> dict[str, Any]:
    """Spell one problem: its loss, or its model and criterion, with the shapes and dtypes of its tensors."""
    shapes: dict[str, Any] = {name: list(value.shape) for name, value in problem.start.items()}
    pieces: dict[str, Any] = {"shapes": shapes, "dtype": str(next(iter(problem.start.values())).dtype)}
    if problem.parts is None:
        return pieces | {"loss": _function(problem.loss)}
    data = {"inputs": problem.parts.inputs, "targets": problem.parts.targets}
    return pieces | {
        "model": _model(problem.parts.model),
        "criterion": _criterion(problem.parts.criterion),
        "data": {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in data.items()},
    }


def _described(problem: Problem) -> dict[str, str]:
    if problem.parts is None:
        return {"loss": getattr(problem.loss, "__qualname__", repr(problem.loss))}
    return {"model": repr(problem.parts.model), "criterion": repr(problem.parts.criterion)}


def _name(thing: Any) -> Code:
    """Name an importable class or function so that ``import`` of its module is enough."""
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    if not module or not name.isidentifier() or module == "__main__":
        return {"cannot": f"{name or thing!r} cannot be imported from a module"}
    if module.startswith("torch.optim"):
        home = "torch.optim.lr_scheduler" if hasattr(torch.optim.lr_scheduler, name) else "torch.optim"
        return f"{home}.{name}"
    return f"{module}.{name}"


def _value(value: Any) -> str:
    if torch.is_tensor(value):
        return f"torch.tensor({value.tolist()!r}, dtype={value.dtype})"
    return repr(value)


def source_of_scheduler(make: Any) -> Code:
    """Spell what makes a scheduler: a partial of one of torch's classes."""
    if not isinstance(make, functools.partial):
        return {"cannot": "the scheduler is no functools.partial of a class of torch.optim.lr_scheduler"}
    name = _name(make.func)
    if isinstance(name, dict):
        return name
    given = [*map(_value, make.args), *(f"{key}={_value(value)}" for key, value in make.keywords.items())]
    return f"{name}({', '.join(['optimizer', *given])})"


def _model(model: torch.nn.Module) -> Code:
    """Spell modules of torch.nn, and Sequential of them, as calls; their buffers must be as new."""
    if next(model.buffers(), None) is not None:
        return {"cannot": f"{type(model).__name__} has buffers, whose state a script of code alone cannot hold"}
    if not all(parameter.requires_grad for parameter in model.parameters()):
        return {"cannot": f"{type(model).__name__} has parameters that are frozen"}
    if any(each._forward_hooks or each._forward_pre_hooks or each._backward_hooks for each in model.modules()):
        return {"cannot": f"{type(model).__name__} has hooks"}
    if any(isinstance(each, torch.nn.modules.dropout._DropoutNd) for each in model.modules()):
        return {"cannot": f"{type(model).__name__} has dropout, which depends on where the random generator stood"}
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
    if not _is_a_call(repr(model)):
        raise ValueError(f"{kind} does not say in its repr how it is made")
    return f"torch.nn.{model!r}"


@functools.lru_cache(maxsize=1024)
def _is_a_call(said: str) -> bool:
    """Tell whether a module's repr makes that module again, as it does for most modules and not for all."""
    try:
        return repr(eval(f"torch.nn.{said}", {"torch": _without_numbers()})) == said
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
    if getattr(torch.nn, kind.__name__, None) is not kind:
        return {"cannot": f"{kind.__name__} is no criterion of torch.nn"}
    taken = inspect.signature(kind).parameters
    given = {name: getattr(criterion, name) for name in taken if hasattr(criterion, name)}
    changed = {n: v for n, v in given.items() if not torch.is_tensor(v) and v != taken[n].default and v is not None}
    if any(torch.is_tensor(value) for value in given.values()):
        return {"cannot": f"{kind.__name__} holds a tensor"}
    return f"torch.nn.{kind.__name__}({', '.join(f'{n}={v!r}' for n, v in changed.items())})"


def _function(function: Any) -> Code:
    """Spell a function by its source where that stands alone, else by the module it can be imported from."""
    if not isinstance(function, FunctionType):
        return {"cannot": f"the loss is a {type(function).__name__}, not a function"}
    used = inspect.getclosurevars(function)
    around = {**used.globals, **used.nonlocals}
    before, foreign = [], []
    for name, value in around.items():
        if isinstance(value, ModuleType):
            if value is not torch:
                before.append(f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else ""))
        elif isinstance(value, int | float | str | bool):
            before.append(f"{name} = {value!r}")
        else:
            foreign.append(name)
    source = None if foreign else _source(function)
    if source is not None:
        return "\n".join([*before, "", "", source]) if before else source
    place = _name(function)
    if isinstance(place, str):
        home, _, plain = place.rpartition(".")
        return f"from {home} import {plain} as loss"
    reason = f"it uses {', '.join(foreign)} from around it" if foreign else "its source is not to be had"
    return {"cannot": f"the loss cannot be written into a script: {reason}, and it cannot be imported from a module"}


@functools.lru_cache(maxsize=256)
def _source(function: FunctionType) -> str | None:
    """Return a definition named ``loss``, or None where it cannot be cut out."""
    if any(not isinstance(each, int | float | str | bool | None) for each in function.__defaults__ or ()):
        return None
    try:
        nodes = _lambdas(function) if function.__name__ == "<lambda>" else _definitions(function)
    except (OSError, TypeError, SyntaxError):
        return None
    wanted = [node for node in nodes if _could_be(node, function)]
    # the function itself is always among them; where two could be it, neither is taken
    return _as_loss(wanted[0], function) if len(wanted) == 1 else None


def _definitions(function: FunctionType) -> list[ast.FunctionDef]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def _lambdas(function: FunctionType) -> list[ast.Lambda]:
    """Parse every lambda on the lines of a function: from the word on, as far as it goes."""
    lines = inspect.findsource(function)[0]
    last = max(end or 0 for _, end, _, _ in function.__code__.co_positions())
    text = "".join(lines[function.__code__.co_firstlineno - 1 : last])
    found = []
    for begin in (match.start() for match in re.finditer(r"\blambda\b", text)):
        for end in range(len(text), begin, -1):
            try:
                node = ast.parse(f"({text[begin:end]})", mode="eval").body
            except SyntaxError:
                continue
            if isinstance(node, ast.Lambda):
                found.append(node)
                break
    return found


def _could_be(node: ast.Lambda | ast.FunctionDef, function: FunctionType) -> bool:
    """Tell whether a definition has the function's name, arguments, names and constants."""
    named = node.name if isinstance(node, ast.FunctionDef) else "<lambda>"
    space: dict[str, Any] = {}
    if named != function.__name__ or (isinstance(node, ast.FunctionDef) and node.decorator_list):
        return False
    try:
        exec(_as_loss(node, function), space)
    except Exception:
        return False
    return bool(_traits(space["loss"]) == _traits(function))


def _traits(function: Any) -> Any:
    code = function.__code__
    consts = [const for const in code.co_consts if const is not None and const != function.__doc__]
    return code.co_varnames, {*code.co_names, *code.co_freevars}, consts


def _as_loss(node: ast.Lambda | ast.FunctionDef, function: FunctionType) -> str:
    arguments = copy.deepcopy(node.args)
    arguments.defaults = [ast.Constant(each) for each in function.__defaults__ or ()]  # as they were when it was made
    if isinstance(node, ast.Lambda):
        return f"def loss({ast.unparse(arguments)}):\n    return {ast.unparse(node.body)}\n"
    bare = copy.copy(node)
    bare.name, bare.body, bare.decorator_list, bare.returns = "loss", _without_docstring(node.body), [], None
    bare.args = arguments
    for each in ast.walk(bare.args):
        if isinstance(each, ast.arg):
            each.annotation = None
    return ast.unparse(ast.fix_missing_locations(bare)) + "\n"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    spoken = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if spoken else body
