"""Which tensor of a checkpoint is which of a model's: names without what wraps them, tied ones by any of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ravine._checkpoints.state import State, Tensor
from ravine._format import kind_of, listed
from ravine._problem.over_batches import OverBatches
from ravine._problem.problem import Problem
from ravine._problem.state_names import choose_group, look_up, strip
from ravine._record.members import bare_names, named_buffers


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a checkpoint: shapes of parameters and buffers by name, all names that each may bear."""

    model: str
    parameters: Mapping[str, tuple[int, ...]]
    buffers: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    known: frozenset[str]


@dataclass(frozen=True)
class Found:
    """The tensors of one checkpoint by the model's names, what else it holds, and under which name they all stood."""

    tensors: Mapping[str, Tensor]
    extra: tuple[str, ...]
    under: str


def find_wanted(model: Any) -> Wanted:
    """Return what is looked for: trained parameters and buffers of a module, or of what a problem was made of.

    Examples
    --------
    >>> find_wanted(torch.nn.Linear(2, 1)).parameters
    {'weight': (1, 2), 'bias': (1,)}

    Raises
    ------
    TypeError, ValueError
        If it is neither a module nor a problem, or nothing of it is trained.
    """
    start: Mapping[str, torch.Tensor] | None = None
    if isinstance(model, Problem):
        start = model.start
        made_of: Any = model.loss if isinstance(model.loss, OverBatches) else model.parts
        if made_of is None:
            shapes = {name: tuple(each.shape) for name, each in start.items()}
            return Wanted("the problem", shapes, {}, {name: (name,) for name in shapes}, frozenset(shapes))
        model = made_of.model
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, or a ravine.Problem made of one, got {kind_of(model)}")
    own = dict(model.named_parameters())
    bare = bare_names(model, own)
    trained = {bare[name]: each for name, each in own.items() if each.requires_grad} if start is None else dict(start)
    if not trained:
        raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient: nothing is trained")
    if complexes := [name for name, each in trained.items() if each.is_complex()]:
        raise ValueError(f"parameter {complexes[0]!r} is complex; real parameters expected")
    buffers = {name: owner.get_buffer(its) for name, (owner, its) in named_buffers(model).items()}
    names: dict[int, list[str]] = {}
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, each in every:
        names.setdefault(id(each), []).append(name)
    aliases = {bare[name]: tuple(names[id(each)]) for name, each in own.items()}
    aliases |= {name: tuple(names[id(each)]) for name, each in buffers.items()}
    return Wanted(
        type(model).__name__,
        {name: tuple(each.shape) for name, each in trained.items()},
        {name: tuple(each.shape) for name, each in buffers.items()},
        {name: (name, *aliases.get(name, ())) for name in (*trained, *buffers)},
        frozenset(strip(name) for name, _ in every) | {strip(name) for name in trained},
    )


def find_tensors(wanted: Wanted, state: State, path: Path) -> Found:
    """Find a model's tensors in a checkpoint.

    Names are taken as they are, else without what wraps them; where none fits, the one prefix under which all do.

    Raises
    ------
    ValueError
        If it is of another model, or holds the model more than once.
    """
    tries = {group: look_up(wanted.aliases, wanted.parameters, held) for group, held in state.groups.items()}
    counts = {group: sum(name in names for name in wanted.parameters) for group, (_, names) in tries.items()}
    most = max(counts.values(), default=0)
    if not most:
        held = sorted({name for tensors in state.groups.values() for name in tensors})
        raise ValueError(
            f"{path} is of another model than {wanted.model}: it holds {listed(held, 4)}, and the model's parameters "
            f"are {listed(wanted.parameters, 4)}"
        )
    group = choose_group(counts)
    if group is None:
        best = [each for each in counts if counts[each] == most]
        raise ValueError(
            f"{path} holds {wanted.model} {len(best)} times, as {listed(best)}: save one of them alone, or as 'model'"
        )
    prefix, names = tries[group]
    tensors = state.groups[group]
    found = {name: tensors[its] for name, its in names.items()}
    for name, each in found.items():
        _check(wanted, name, each, path)
    taken = set(names.values())
    extra = (its for its in tensors if its not in taken and strip(its).removeprefix(prefix) not in wanted.known)
    return Found(found, tuple(extra), ".".join(filter(None, (group, prefix.rstrip(".")))))


def _check(wanted: Wanted, name: str, tensor: Tensor, path: Path) -> None:
    parameter = name in wanted.parameters
    shape = wanted.parameters[name] if parameter else wanted.buffers[name]
    if tensor.shape != shape:
        raise ValueError(
            f"{path} is of another model than {wanted.model}: {name!r} has the shape {tensor.shape} there, and {shape} "
            "in the model"
        )
    if parameter and not tensor.dtype.is_floating_point:
        raise ValueError(
            f"{path} holds {name!r} as {str(tensor.dtype).removeprefix('torch.')}, which is no parameter's dtype: "
            "give the state before it was quantised"
        )


def explain_difference(wanted: Wanted, missing: Iterable[str], extra: Iterable[str]) -> list[str]:
    """Say which tensors of a model no checkpoint holds, and which of theirs the model has not.

    Examples
    --------
    >>> explain_difference(find_wanted(torch.nn.Linear(2, 1)), ["bias"], [])
    ["the checkpoints hold no 'bias' of Linear: it is not recorded, and stays where a problem starts"]
    """
    said = []
    if gone := [repr(name) for name in missing]:
        rest = "it is not recorded, and stays" if len(gone) == 1 else "they are not recorded, and stay"
        said.append(f"the checkpoints hold no {listed(gone, 4)} of {wanted.model}: {rest} where a problem starts")
    if more := [repr(name) for name in extra]:
        said.append(f"the checkpoints hold {listed(more, 4)}, which {wanted.model} has not: not recorded")
    return said
