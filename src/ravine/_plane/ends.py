"""The ends of a line as users give them, each as one vector of a problem's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr

from ravine._format import kind_of, listed
from ravine._plane.gram import Vector
from ravine._plane.paths import names_in, read_place
from ravine._problem.buffers import read_buffers
from ravine._problem.from_loader import unwrap
from ravine._problem.over_batches import OWN, OverBatches
from ravine._problem.problem import Problem
from ravine._problem.state_names import choose_group, groups_in, look_up, strip
from ravine._study.contract import last_step, until_taken
from ravine._study.counted import unit_of, worded


@dataclass(frozen=True, eq=False)
class End:
    """A place among a problem's parameters, what it is in words, and the buffers that came with it."""

    place: Vector
    about: str
    buffers: Mapping[str, torch.Tensor] = field(default_factory=dict)


def model_of(problem: Problem) -> torch.nn.Module | None:
    """Return the module that a problem is made of; None where it is made of a function."""
    held: Any = problem.loss if isinstance(problem.loss, OverBatches) else problem.parts
    return None if held is None else held.model


def read_end(problem: Problem, thing: Any, name: str) -> End:
    """Read a place: of a run its last position, one step of it, a problem's start, a module, a state_dict, a vector.

    What a run did not record, and a criterion's own parameters where a module is given, stay at the problem's start.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, not finite, or of another model than the problem.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.rosenbrock()
    >>> read_end(problem, {"x": 1.0, "y": 2.0}, "one").place.tolist()
    [1.0, 2.0]
    """
    if isinstance(thing, torch.nn.Module):
        return _of_state(problem, unwrap(thing).state_dict(), name, f"a {type(unwrap(thing)).__name__}")
    if isinstance(thing, Mapping) and not isinstance(thing, xr.Dataset):
        return _of_state(problem, thing, name, "a mapping of parameters")
    place, shapes = read_place(thing)
    if shapes is None:
        if len(place) != problem.size:
            raise ValueError(f"{name} is a vector of {len(place):,} numbers, and the problem has {problem.size:,}")
        return End(place, "a vector")
    named = names_in(shapes, problem, f"{name} is of another model than the problem")
    buffers = {}
    if isinstance(thing, xr.Dataset) and "buffers" in thing:
        recorded = until_taken(thing)[["buffers"]]
        buffers = read_buffers(recorded if "step" in recorded.dims else recorded.expand_dims("step"))(-1)
    pieces, at = dict(_start_of(problem)), 0
    for each in named:
        size = problem.start[each].numel()
        pieces[each], at = place[at : at + size], at + size
    return End(np.concatenate(list(pieces.values())), _about(thing), buffers)


def _about(thing: Any) -> str:
    if isinstance(thing, Problem):
        return "a problem's start"
    if "step" not in thing.coords:
        return "the last position of a run"
    step = int(thing["step"]) if not thing["step"].ndim else last_step(thing)
    return worded(f"the position at step {step:,}", unit_of(thing))


def _start_of(problem: Problem) -> dict[str, Vector]:
    return {name: each.detach().cpu().double().reshape(-1).numpy() for name, each in problem.start.items()}


def _of_state(problem: Problem, state: Mapping[str, Any], name: str, about: str) -> End:
    model = model_of(problem)
    state = _unwrapped(problem, model, state, name)
    try:
        tensors = {str(key): torch.as_tensor(each).detach().cpu() for key, each in state.items()}
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} is {kind_of(state)}: expected a mapping of names to numbers or tensors") from None
    missing = [key for key in problem.start if key not in tensors and not key.startswith(OWN)]
    if missing:
        raise ValueError(
            f"{name} lacks {listed(missing)}: a place takes all of {listed(problem.start)}, and it holds "
            f"{listed(tensors, 4)}"
        )
    pieces = _start_of(problem)
    for key, value in problem.start.items():
        given = tensors.pop(key, value)
        if given.shape != value.shape and not given.numel() == value.numel() == 1:
            raise ValueError(
                f"{name} is of another model than the problem: {key!r} is of shape {tuple(given.shape)}, and of "
                f"{tuple(value.shape)} there"
            )
        pieces[key] = given.double().reshape(-1).numpy()
    buffers = _check_rest(problem, model, tensors, pieces, name)
    place = np.concatenate(list(pieces.values()))
    if not np.isfinite(place).all():
        raise ValueError(f"all numbers of {name} must be finite, and some are not")
    return End(place, about, buffers)


def _unwrapped(
    problem: Problem, model: torch.nn.Module | None, state: Mapping[str, Any], name: str
) -> Mapping[str, Any]:
    """Return a state by the problem's own names, as checkpoints are read: without wrappers, prefix, what is around it.

    What a wrapper has of its own (how many states were averaged) is left out; a state of these very names is as it was.
    """
    wanted = [key for key in problem.start if not key.startswith(OWN)]
    if all(key in state for key in wanted):
        return state
    own = {key: (key,) for key in wanted}
    if model is not None:
        own |= {key: (key,) for key, _ in (*model.named_parameters(remove_duplicate=False), *model.named_buffers())}
    groups = dict(groups_in("", state))
    tries = {group: look_up(own, wanted, held) for group, held in groups.items()}
    counts = {group: sum(key in names for key in wanted) for group, (_, names) in tries.items()}
    if max(counts.values(), default=0) < len(wanted):
        return state
    group = choose_group(counts)
    if group is None:
        several = [each for each in counts if counts[each] == len(wanted)]
        raise ValueError(f"{name} holds all parameters {len(several)} times, as {listed(several)}: give one of them")
    prefix, names = tries[group]
    bare = {its: key for key, its in names.items()}
    wrapped = prefix or any(strip(its) != its for its in bare)
    found = {key: groups[group][its] for key, its in names.items()}
    for its, each in groups[group].items():
        if its not in bare and not (wrapped and strip(its) == its and not (prefix and its.startswith(prefix))):
            found[strip(its).removeprefix(prefix)] = each
    return found


def _check_rest(
    problem: Problem,
    model: torch.nn.Module | None,
    rest: Mapping[str, torch.Tensor],
    pieces: Mapping[str, Vector],
    name: str,
) -> dict[str, torch.Tensor]:
    """Return the buffers among what is left of a state; refuse what the problem has not, or holds elsewhere."""
    canonical = {} if model is None else {id(each): key for key, each in model.named_parameters()}
    every = {} if model is None else dict(model.named_parameters(remove_duplicate=False))
    buffers = {} if model is None else dict(model.named_buffers())
    for key, given in rest.items():
        if key in buffers:
            continue
        if key not in every:
            raise ValueError(
                f"{name} has {key!r}, which the problem has not: its parameters are {listed(problem.start)}"
            )
        first = canonical[id(every[key])]  # another name of tied weights, or what is frozen
        there = pieces[first] if first in pieces else every[key].detach().cpu().double().reshape(-1).numpy()
        if not np.array_equal(given.double().reshape(-1).numpy(), there):
            why = f"tied to {first!r} in the problem" if first in pieces else "frozen in the problem"
            raise ValueError(f"{key!r} of {name} is {why}, where it has other values: no line leads there")
    return {key: each for key, each in rest.items() if key in buffers}
