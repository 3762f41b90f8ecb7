"""Values as code: each is spelled so that it stands alone in a script, and tried before it is believed."""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import inspect
import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from ravine._torch import numpy_of

Code = str | dict[str, str]
"""Code, or ``{"cannot": reason}``."""


class CannotSpellError(ValueError):
    """A value that no script can hold; the message is the reason."""


class Speller:
    """Spells values for one script, and collects the imports and definitions that they lean on."""

    def __init__(self) -> None:
        self.imports: dict[str, None] = {}
        self.definitions: dict[str, str] = {}
        self.names: dict[int, str] = {}

    def value(self, value: Any, name: str = "function") -> str:
        """Spell a value; `name` is what a function is called in the script.

        Examples
        --------
        >>> speller = Speller()
        >>> [speller.value(each) for each in (np.float64(0.1), (0.9, math.inf), torch.tensor([1.0, 2.0]))]
        ['0.1', '(0.9, float("inf"))', 'torch.tensor([1.0, 2.0], dtype=torch.float32)']

        Raises
        ------
        CannotSpellError
            If it cannot be written so that it comes back the same.
        """
        if value is None or isinstance(value, bool | str):
            return repr(value)
        if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0:
            plain = value.item()  # of what Python has no number for, numpy gives itself again
            return self.value(float(plain) if isinstance(plain, np.floating) else plain, name)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
            self.imports["import numpy"] = None
            return f'numpy.array({self._numbers(value.tolist())}, dtype="{value.dtype}")'
        if isinstance(value, int | float):
            return _number(value)
        if torch.is_tensor(value):
            if value.layout != torch.strided or value.device.type != "cpu":
                raise CannotSpellError(f"a tensor that is {value.layout} on {value.device} cannot be written out")
            return f"torch.tensor({self._numbers(numpy_of(value).tolist())}, dtype={value.dtype})"
        if isinstance(value, list):
            return f"[{', '.join(self.value(each, name) for each in value)}]"
        if type(value) is tuple:
            return f"({', '.join(self.value(each, name) for each in value)}{',' * (len(value) == 1)})"
        if type(value) is dict:
            return "{" + ", ".join(f"{self.value(k, name)}: {self.value(v, name)}" for k, v in value.items()) + "}"
        if isinstance(value, torch.dtype | torch.device):
            return str(value) if isinstance(value, torch.dtype) else f"torch.{value!r}"
        if type(value) is functools.partial:
            self.imports["import functools"] = None
            return f"functools.partial({self.arguments(value.args, value.keywords, self.value(value.func, name))})"
        if isinstance(value, FunctionType):
            ours = not (value.__module__ or "").startswith("torch.")
            return self.function(value, name) if ours else self.imported(value)
        if isinstance(value, type | BuiltinFunctionType):
            return self.imported(value)
        said = repr(value)
        raise CannotSpellError(f"a {type(value).__name__} ({said[:60]}) cannot be written into a script")

    def arguments(self, args: Iterable[Any], keywords: Mapping[str, Any], *first: str) -> str:
        """Spell the arguments of a call, after those that are spelled already."""
        given = [*first, *map(self.value, args)]
        for name, value in keywords.items():
            if not name.isidentifier():
                raise CannotSpellError(f"a setting called {name!r} cannot be written as an argument")
            given.append(f"{name}={self.value(value, name)}")
        return ", ".join(given)

    def imported(self, thing: Any) -> str:
        """Name a class or function so that its import is enough, if that finds the very thing."""
        module, name = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", "")
        if module == "builtins":
            return name
        if module.startswith("torch.optim"):
            home = torch.optim.lr_scheduler if hasattr(torch.optim.lr_scheduler, name) else torch.optim
            if getattr(home, name, None) is thing:
                return f"{home.__name__}.{name}"
        if not module or not name.isidentifier() or module == "__main__":
            raise CannotSpellError(f"{name or repr(thing)} cannot be imported from a module")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
        if not _is_same(found, thing):
            raise CannotSpellError(f"{module}.{name} is not what its name says")
        if module.partition(".")[0] != "torch":
            self.imports[f"import {module}"] = None
        return f"{module}.{name}"

    def function(self, function: FunctionType, name: str) -> str:
        """Spell a function by its source, defined under a name, or by where it can be imported from."""
        if id(function) in self.names:
            return self.names[id(function)]
        taken = dict(self.definitions)
        called = next(each for each in _names(name) if each not in taken)
        try:
            self.definitions[called] = ""  # its place, before what it leans on
            self.definitions[called] = self._defined(function, called)
            self.names[id(function)] = called
            return called
        except CannotSpellError as reason:
            self.definitions = {n: s for n, s in self.definitions.items() if n in taken}
            try:
                return self.imported(function)
            except CannotSpellError:
                raise reason from None

    def _defined(self, function: FunctionType, name: str) -> str:
        around = captured(function)
        before = []
        for used, value in around.items():
            if isinstance(value, ModuleType):
                self.import_module(value, used)
            elif isinstance(value, int | float | str | bool):
                before.append(f"{used} = {self.value(value)}")
            elif isinstance(value, type | BuiltinFunctionType | FunctionType) and value is not function:
                spelled = self.value(value, used)
                if spelled != used:
                    before.append(f"{used} = {spelled}")
            else:
                raise CannotSpellError(f"{function.__name__} uses {used} from around it")
        source = source_of(function, name, tuple(before))
        if source is None:
            raise CannotSpellError(f"the source of {function.__name__} is not to be had")
        return source

    def import_module(self, module: ModuleType, used: str) -> None:
        """Import a module under the name that is used for it."""
        if module is torch and used == "torch":
            return
        self.imports[f"import {module.__name__}" + (f" as {used}" if used != module.__name__ else "")] = None

    def _numbers(self, numbers: Any) -> str:
        if isinstance(numbers, list):
            return f"[{', '.join(map(self._numbers, numbers))}]"
        return self.value(numbers)


def _is_same(found: Any, thing: Any) -> bool:
    """Tell whether a name leads to a thing, or to the function that it is a copy of."""
    if not isinstance(thing, FunctionType) or not isinstance(found, FunctionType) or thing.__closure__:
        return found is thing
    alike = (found.__code__, found.__defaults__, found.__kwdefaults__)
    return alike == (thing.__code__, thing.__defaults__, thing.__kwdefaults__)


def spelled(value: Any) -> Code:
    """Spell one value that leans on nothing but torch, or say why it cannot be."""
    speller = Speller()
    try:
        code = speller.value(value)
    except CannotSpellError as reason:
        return {"cannot": str(reason)}
    if speller.imports or speller.definitions:
        return {"cannot": f"{value!r} needs more than a line"}
    return code


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value if type(value) in (int, float) else float(value) if isinstance(value, float) else int(value))


TAKEN = frozenset(
    {
        *("loss", "model", "criterion", "inputs", "targets", "parameters", "optimizer", "scheduler", "value", "step"),
        *("data", "loader", "batches", "groups", "closure", "torch", "itertools", "functools"),
    }
)
"""What a script itself calls so."""


def _names(name: str) -> Iterable[str]:
    plain = name if name.isidentifier() else "function"
    if plain not in TAKEN:
        yield plain
    for k in range(2, 1000):
        yield f"{plain}_{k}"


def captured(function: FunctionType) -> dict[str, Any]:
    """Return what a function uses from around it, builtins left out."""
    used = inspect.getclosurevars(function)
    inner = {**used.globals, **used.nonlocals}
    for each in function.__code__.co_consts:  # lambdas within it use the same surroundings
        if inspect.iscode(each):
            inner |= {n: function.__globals__[n] for n in each.co_names if n in function.__globals__}
    return inner


@functools.lru_cache(maxsize=256)
def source_of(function: FunctionType, name: str, before: tuple[str, ...] = ()) -> str | None:
    """Return a definition under a name, with lines before its body, or None where it cannot be cut out."""
    if any(not isinstance(each, int | float | str | bool | None) for each in function.__defaults__ or ()):
        return None
    try:
        nodes = _lambdas(function) if function.__name__ == "<lambda>" else _definitions(function)
    except (OSError, TypeError, SyntaxError):
        return None
    wanted = [node for node in nodes if _could_be(node, function)]
    # the function itself is always among them; where two could be it, neither is taken
    if len({_as_definition(node, function, name) for node in wanted}) != 1:
        return None
    source = _as_definition(wanted[0], function, name, before)
    try:
        compile(source, "script", "exec")
    except SyntaxError:  # it changes what it captured
        return None
    return source


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
        exec(_as_definition(node, function, "found"), space)
    except Exception:
        return False
    return bool(_traits(space["found"]) == _traits(function))


def _traits(function: Any) -> Any:
    code = function.__code__
    consts = [
        const
        for const in code.co_consts
        if const is not None and const != function.__doc__ and not inspect.iscode(const)
    ]
    return code.co_varnames, {*code.co_names, *code.co_freevars}, consts


def _as_definition(
    node: ast.Lambda | ast.FunctionDef, function: FunctionType, name: str, before: tuple[str, ...] = ()
) -> str:
    arguments = copy.deepcopy(node.args)
    arguments.defaults = [ast.Constant(each) for each in function.__defaults__ or ()]  # as they were when it was made
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg):
            each.annotation = None
    body = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else _without_docstring(node.body)
    lines = [statement for line in before for statement in ast.parse(line).body]
    made = ast.FunctionDef(name=name, args=arguments, body=[*lines, *body], decorator_list=[])
    return ast.unparse(ast.fix_missing_locations(made)) + "\n"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    spoken = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if spoken and len(body) > 1 else body
