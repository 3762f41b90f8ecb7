"""Classes of torch from the words that people have for them: one reading for Python and for the command line."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ravine._format import hint, kind_of, listed
from ravine._words.schedulers import Composite

S = torch.optim.lr_scheduler

Scheduler = Callable[[torch.optim.Optimizer], Any]
"""What makes a scheduler: a partial of a class of torch.optim.lr_scheduler, a `Composite`, or any function."""

CRITERIA: Mapping[str, str] = {
    "mae": "L1Loss",
    "meanabsoluteerror": "L1Loss",
    "l2": "MSELoss",
    "squarederror": "MSELoss",
    "meansquarederror": "MSELoss",
    "binarycrossentropy": "BCELoss",
    "binarycrossentropywithlogits": "BCEWithLogitsLoss",
    "ce": "CrossEntropyLoss",
    "kl": "KLDivLoss",
}
"""What criteria are called besides torch's names, without what is no letter or digit."""

SCHEDULERS: Mapping[str, str] = {
    "cosine": "CosineAnnealingLR",
    "cosinewarmrestarts": "CosineAnnealingWarmRestarts",
    "warmrestarts": "CosineAnnealingWarmRestarts",
    "exp": "ExponentialLR",
    "plateau": "ReduceLROnPlateau",
    "reduceonplateau": "ReduceLROnPlateau",
    "poly": "PolynomialLR",
    "sequence": "SequentialLR",
    "chained": "ChainedScheduler",
}

LENGTHS: Mapping[str, str] = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}
"""The setting that says over how many steps a scheduler goes, of those that cannot do without: left out, all steps."""

FOR_EXAMPLE: Mapping[str, str] = {
    "step_size": "30",
    "milestones": "[30, 60]",
    "gamma": "0.9",
    "T_0": "10",
    "T_max": "50",
    "max_lr": "0.1",
    "base_lr": "0.01",
    "swa_lr": "0.01",
    "total_steps": "100",
}
"""A value for each setting that a scheduler of torch cannot do without."""


def make_criterion(words: str) -> Any:
    """Make a torch.nn criterion from its name, in any case, with arguments where given.

    Examples
    --------
    >>> make_criterion("HuberLoss(delta=0.5)").delta, make_criterion("mse"), make_criterion("smooth_l1")
    (0.5, MSELoss(), SmoothL1Loss())
    """
    name, arguments = read_call(words)
    known = sorted(n for n in dir(torch.nn) if n.endswith("Loss"))
    kind = find_name("criterion", name, torch.nn, known, ending="loss", synonyms=CRITERIA)
    check_arguments(kind, arguments)
    return kind(**arguments)


def find_optimizer(name: str) -> type[torch.optim.Optimizer]:
    """Find a class of torch.optim by its name, in any case.

    Examples
    --------
    >>> find_optimizer("Adam").__name__, find_optimizer("rmsprop").__name__
    ('Adam', 'RMSprop')
    """
    known = [n for n, thing in vars(torch.optim).items() if isinstance(thing, type) and n not in ("Optimizer",)]
    if "(" in name:
        plain, settings = read_call(name)
        given = "".join(f", {key}={value!r}" for key, value in settings.items())
        raise ValueError(f"settings stand beside the optimizer's name, as in optimizer={plain!r}{given}; got {name!r}")
    found: type[torch.optim.Optimizer] = find_name("optimizer", name, torch.optim, known)
    return found


def make_scheduler(words: str, steps: int | None = None) -> Scheduler:
    """Make a scheduler's maker from words such as ``cosine`` or ``StepLR(step_size=30)``.

    Schedulers of schedulers take a list of such calls:
    ``SequentialLR([LinearLR(total_iters=5), CosineAnnealingLR(T_max=45)], milestones=[5])``. Where `steps` is given,
    CosineAnnealingLR and OneCycleLR go over all of them if nothing else is said.

    Examples
    --------
    >>> make_scheduler("StepLR(step_size=30)").keywords, make_scheduler("cosine", steps=200).keywords
    ({'step_size': 30}, {'T_max': 200})
    >>> chain = make_scheduler("ChainedScheduler([LinearLR(), ExponentialLR(gamma=0.9)])")
    >>> [each.func.__name__ for each in chain.parts]
    ['LinearLR', 'ExponentialLR']
    """
    try:
        node = ast.parse(words.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        node = None
    return _make_scheduler(node, words, steps)


def _make_scheduler(node: ast.AST | None, words: str, steps: int | None) -> Scheduler:
    """Make what a name, or a call of one, says; nothing is run."""
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name):
        raise ValueError(f"cannot read {words!r}; expected a name, or a form like StepLR(step_size=30)")
    known = [n for n in S.__all__ if n not in ("LRScheduler",)]
    kind = find_name("scheduler", called.id, S, known, ending="lr", synonyms=SCHEDULERS)
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
            parts += [_make_scheduler(one, words, None) for one in each.elts]
        try:
            given = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg != "schedulers"}
        except ValueError:
            raise ValueError(f"cannot read {words!r}; settings must be numbers, texts or lists of them") from None
    name = kind.__name__
    if kind in (S.SequentialLR, S.ChainedScheduler):
        if not parts:
            raise ValueError(
                f"{name} needs a list of schedulers first, as in {name}([LinearLR(), StepLR(step_size=30)])"
            )
        check_arguments(kind, given, apart=("optimizer", "schedulers"))
        return Composite(kind, tuple(parts), given)
    if parts:
        raise ValueError(f"{name} takes no schedulers, got {words!r}")
    return fill_scheduler(kind, given, steps)


def fill_scheduler(kind: Any, given: Mapping[str, Any], steps: int | None) -> Scheduler:
    """Return a scheduler's maker with all that its class cannot do without, or say what is missing."""
    given = dict(given)
    length = LENGTHS.get(kind.__name__)
    if length and steps and not given.keys() & {length, "epochs", "steps_per_epoch"}:
        given[length] = steps
    check_arguments(kind, given, apart=("optimizer",))
    return functools.partial(kind, **given)


def check_arguments(kind: Any, given: Mapping[str, Any], apart: Sequence[str] = ()) -> None:
    """Complain of arguments that a class does not take, or cannot do without."""
    taken = {n: p for n, p in inspect.signature(kind).parameters.items() if n not in apart}
    for name in given:
        if name not in taken:
            near = hint(name, taken) or f"; it takes {listed(taken, 20)}"
            raise ValueError(f"{kind.__name__} takes no {name!r}{near}")
    missing = [n for n, p in taken.items() if p.default is p.empty and n not in given]
    if not missing:
        return
    if any(name not in FOR_EXAMPLE for name in missing):
        raise ValueError(
            f"{kind.__name__} needs {listed(missing)}, which a word cannot say: make it in Python"
            + (
                f", as in functools.partial(torch.optim.lr_scheduler.{kind.__name__}, {missing[0]}=…)"
                * ("optimizer" in apart)
            )
        )
    shown = ", ".join(f"{name}={FOR_EXAMPLE[name]}" for name in missing)
    raise ValueError(f"{kind.__name__} needs {listed(missing)}, as in {kind.__name__}({shown})")


def read_call(words: str) -> tuple[str, dict[str, Any]]:
    """Read a name, or a call with literal keyword arguments, without running anything.

    Examples
    --------
    >>> read_call("quadratic(condition=100)"), read_call("rosenbrock")
    (('quadratic', {'condition': 100}), ('rosenbrock', {}))
    """
    name, parenthesis, _ = words.partition("(")
    if not parenthesis:
        return words.strip(), {}
    try:
        call = ast.parse(words.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise ValueError
        return name.strip(), {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(f"cannot read {words!r}; expected a name, or a form like HuberLoss(delta=0.5)") from None


def find_name(
    what: str,
    name: str,
    home: Any,
    known: Sequence[str],
    *,
    ending: str = "",
    synonyms: Mapping[str, str] | None = None,
) -> Any:
    """Take a name from a module, in any case and without its ending, or say which come near.

    Examples
    --------
    >>> find_name("optimizer", "nadam", torch.optim, ["Adam", "NAdam"]).__name__
    'NAdam'
    """
    if name in known:
        return getattr(home, name)
    by_word = {short: full for full in reversed(known) for short in (plain(full).removesuffix(ending), plain(full))}
    found = by_word.get(plain(name)) or (synonyms or {}).get(plain(name))
    if found is None:
        raise ValueError(
            f"no {what} {name!r} in {home.__name__}{hint(name, known) or f'; there are {listed(known, 40)}'}"
        )
    return getattr(home, found)


def plain(word: str) -> str:
    """Return a word without case and without what is no letter or digit.

    Examples
    --------
    >>> plain("Smooth-L1_Loss")
    'smoothl1loss'
    """
    return re.sub(r"[^a-z0-9]", "", word.lower())


# -- what functions take -----------------------------------------------------------------------------------------


def as_criterion(given: Any) -> Any:
    """Return a criterion from what was given for one: itself, or a word for one."""
    if isinstance(given, str):
        return make_criterion(given)
    if isinstance(given, type) and issubclass(given, torch.nn.Module):
        raise TypeError(f"criterion is the class {given.__name__}, expected one of it: write {given.__name__}()")
    if not callable(given):
        raise TypeError(
            f"criterion must be called with prediction and targets, as torch.nn.MSELoss() is, or be a word such as "
            f'"mse"; got {kind_of(given)}'
        )
    check_takes_pair(given)
    return given


TARGETS = frozenset({"target", "targets", "label", "labels", "y", "y_true"})
"""What criteria call the argument that stands for the targets."""


def check_takes_pair(criterion: Callable[..., Any]) -> None:
    """Refuse a criterion that cannot be called with a model's output and targets alone, with the function that can be.

    Examples
    --------
    >>> check_takes_pair(torch.nn.MSELoss())
    >>> check_takes_pair(torch.nn.GaussianNLLLoss())
    Traceback (most recent call last):
    TypeError: GaussianNLLLoss takes (input, target, var), and a criterion is called with the model's output and the \
targets: give a function of these two, as in lambda output, targets: loss(output[0], targets, output[1]) where loss is \
the GaussianNLLLoss and the model returns a tuple
    """
    called = criterion.forward if isinstance(criterion, torch.nn.Module) else criterion
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # of what is written in C nothing is known
        return
    try:
        signature.bind(None, None)
    except TypeError:
        name = getattr(criterion, "__name__", type(criterion).__name__)
        raise TypeError(
            f"{name} takes ({', '.join(signature.parameters)}), and a criterion is called with the model's output and "
            f"the targets: give a function of these two, {_spread(criterion, name, signature)}"
        ) from None


def _spread(criterion: Any, name: str, signature: inspect.Signature) -> str:
    """Write the function of output and targets that hands a criterion all that it takes."""
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p for p in signature.parameters.values() if p.default is p.empty and p.kind not in open_ended]
    targets = {p.name for p in needed} & TARGETS
    if not targets and not (getattr(criterion, "__module__", None) or "").startswith("torch."):
        targets = {p.name for p in needed[1:2]}  # of one's own the second is
    outputs = sum(p.name not in targets for p in needed)
    places = iter(["output"] if outputs == 1 else [f"output[{k}]" for k in range(outputs)])
    given = [
        f"{p.name}=" * (p.kind is p.KEYWORD_ONLY) + ("targets" if p.name in targets else next(places)) for p in needed
    ]
    several = " and the model returns a tuple" if outputs > 1 else ""
    return f"as in lambda output, targets: loss({', '.join(given)}) where loss is the {name}{several}"


def as_optimizer(given: Any) -> Any:
    """Return an optimizer's class, or what makes one, from what was given for it: itself, or a word for one."""
    if isinstance(given, str):
        return find_optimizer(given)
    if isinstance(given, torch.optim.Optimizer):
        name = type(given).__name__
        raise TypeError(
            f"optimizer must be a class such as torch.optim.SGD, got {name} already made of parameters: give "
            f"torch.optim.{name} or {name!r}, and its settings beside it"
        )
    if not callable(given):
        raise TypeError(
            f'optimizer must be a class such as torch.optim.SGD, or its name ("Adam"), got {kind_of(given)}'
        )
    return given


def as_scheduler(given: Any, steps: Any) -> Any:
    """Return a scheduler's maker from what was given for it: itself, a class of torch, or words for one; or None."""
    if isinstance(given, str):
        return make_scheduler(given, steps if isinstance(steps, int) else None)
    if isinstance(given, type) and given.__module__ == S.__name__ and given not in (S.SequentialLR, S.ChainedScheduler):
        return fill_scheduler(given, {}, steps if isinstance(steps, int) else None)
    return given
