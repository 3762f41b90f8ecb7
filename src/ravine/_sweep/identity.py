"""What a sweep is, aspect by aspect, so that a store goes on only with the very same."""

from __future__ import annotations

import copy
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from ravine._descent.dataset import plain
from ravine._descent.descend import random_state_kept
from ravine._descent.run_spec import RunSpec
from ravine._descent.to_source import source_of_scheduler
from ravine._engine.batched import BatchEngine
from ravine._engine.job import Job, labels_of
from ravine._engine.product import Axis
from ravine._format import listed
from ravine._problem.problem import Problem
from ravine._study.provenance import digest, versions
from ravine._sweep.plan import SweepPlan
from ravine._torch import numpy_of, one_thread, set_seed

NEAR = 3
"""Places beside the start at which a loss is looked at, to know it again."""

SCHEDULED = 1000
"""Steps over which a scheduler is looked at, to know it again."""


def identity_of(plan: SweepPlan) -> dict[str, str]:
    """Return what makes the numbers of a sweep, each aspect in words that end in a digest where they are not all."""
    job = plan.job
    aspects = {name: versions()[name] for name in ("ravine", "torch", "numpy")}
    aspects |= {"optimizer": _callable_in_words(job.spec.optimizer), "steps": str(job.steps)}
    aspects |= {"keep": "summary" if plan.summary else "path", "seed": str(job.seed)}
    aspects |= {name: _value_in_words(value) for name, value in job.spec.settings.items()}
    aspects |= {_WORDS.get(axis.name, axis.name): _axis_in_words(axis) for axis in job.axes}
    aspects["dimensions"] = (
        ", ".join(axis.name for axis in job.axes) or "none"
    )  # in another order runs have other numbers
    for k, values in enumerate(job.starts):
        aspects[f"starts[{k}]"] = _numbers_in_words({name: np.asarray(value) for name, value in values.items()})
    if job.spec.scheduler is not None:
        aspects["scheduler"] = f"{_scheduler_in_words(job.spec.scheduler)} ({_digest_schedule(job)[:8]})"
    if job.spec.groups:
        aspects["groups"] = repr({pattern: dict(given) for pattern, given in job.spec.groups.items()})
    if job.spec.feed is not None:
        aspects["batch_size"] = str(job.spec.feed.batch_size)
    for label, problem, engine in zip(labels_of(job), job.problems, plan.engines, strict=True):
        which = f"[{label}]" if label else ""
        aspects |= {f"{name}{which}": words for name, words in _aspects_of_problem(problem).items()}
        aspects[f"engine{which}"] = engine.name
        if isinstance(engine, BatchEngine):
            numbers = (engine.probe.loss, engine.probe.gradient)
            seen = digest(*(np.ascontiguousarray(numpy_of(each)).tobytes() for each in numbers))[:8]
            aspects[f"rounding{which}"] = f"of its sums ({seen})"
    return aspects


def differences(held: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say in which aspects two sweeps differ.

    Examples
    --------
    >>> differences({"steps": "100", "lr": "0.1"}, {"steps": "200", "lr": "0.1", "momentum": "0.9"})
    ['steps was 100, now 200', 'momentum was not given, now 0.9']
    """
    names = [name for name in dict.fromkeys([*held, *now]) if held.get(name) != now.get(name)]
    if not any(name.startswith("rounding") for name in held):  # a store of format 1: a block made again tells it
        names = [name for name in names if not name.startswith("rounding")]
    told = [name for name in names if not _is_consequence(name, names, held, now)]
    return [f"{name} was {held.get(name, 'not given')}, now {now.get(name, 'not given')}" for name in told]


def _is_consequence(name: str, names: Sequence[str], held: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Tell whether an aspect differs only because another does."""
    kind, bracket, label = name.partition("[")
    if bracket and (name in held) != (name in now):  # one of a list that is told as a whole
        return any("[" not in each and each != "engine" for each in names)
    if kind == "dimensions":
        one, other = (set(aspects.get(name, "").split(", ")) for aspects in (held, now))
        return one != other and {_WORDS.get(each, each) for each in one ^ other} <= set(names)
    if kind == "engine":
        return any(not each.startswith(("engine", "rounding")) for each in names)
    if kind == "rounding":
        return any(not each.startswith("rounding") for each in names)
    return kind == "loss" and any(
        f"{each}{bracket}{label}" in names for each in ("start", "model", "criterion", "data")
    )


_WORDS = {"start": "starts", "problem": "problems", "criterion": "criteria"}
"""What the axes are called whose name is that of an aspect of each problem."""


def _axis_in_words(axis: Axis) -> str:
    values = [_value_in_words(value) for value in axis.values]
    if len(values) <= 4:
        return ", ".join(values)
    return f"{len(values):,} values from {values[0]} to {values[-1]} ({digest(repr(values))[:8]})"


def _aspects_of_problem(problem: Problem) -> dict[str, str]:
    """Tell a problem by its start, its data, and its loss and gradient at the start and nearby."""
    aspects = {"start": _numbers_in_words({name: numpy_of(value) for name, value in problem.start.items()})}
    aspects["known minima"] = repr([dict(each) for each in problem.minimizers])
    parts = problem.parts
    if parts is not None:
        data = {"inputs": numpy_of(parts.inputs), "targets": numpy_of(parts.targets)}
        aspects["model"] = (
            f"{' '.join(repr(parts.model).split())}{_mode_in_words(parts.model)}{_buffers_in_words(parts.model)}"
        )
        aspects["criterion"] = " ".join(repr(parts.criterion).split())
        aspects["data"] = _numbers_in_words(data)
    aspects["loss"] = _behaviour_in_words(problem)
    return aspects


def _mode_in_words(model: torch.nn.Module) -> str:
    """Say what of a model is in eval mode."""
    if not any(each.training for each in model.modules()):
        return " in eval mode"
    still = [name for name, each in model.named_modules() if not each.training]
    return f" with {listed(still)} in eval mode" if still else ""


def _buffers_in_words(model: torch.nn.Module) -> str:
    held = {name: numpy_of(value) for name, value in model.named_buffers()}
    return f" with buffers {_numbers_in_words(held)}" if held else ""


def _behaviour_in_words(problem: Problem) -> str:
    """Say the loss at the start, with a digest of losses and gradients there and at some places beside it."""
    found = []
    # one thread: how many there are changes the last bits of a sum
    with random_state_kept([problem]), one_thread():
        for k in range(NEAR + 1):
            set_seed(k)
            live = problem.starting_at({n: v + 0.1 * k for n, v in problem.start.items()}).live()
            try:
                loss = live.loss()
                loss.backward()  # type: ignore[no-untyped-call]
            except Exception:  # at the start it was called without: beside it, it may not be defined
                continue
            found.append(loss.detach())
            found += [leaf.grad for leaf in live.leaves.values() if leaf.grad is not None]
    seen = digest(*(np.ascontiguousarray(numpy_of(each)).tobytes() for each in found))
    return f"{found[0].item():.9g} at the start ({seen[:8]})" if found else "not defined with a gradient"


def _numbers_in_words(arrays: Mapping[str, Any]) -> str:
    """Say which numbers, or how many there are and their digest."""
    if sum(each.size for each in arrays.values()) <= 4:
        return ", ".join(f"{name} {each.tolist()!r} {each.dtype}" for name, each in arrays.items())
    shapes = ", ".join(f"{name} {tuple(each.shape)} {each.dtype}" for name, each in arrays.items())
    return f"{shapes} ({digest(*(np.ascontiguousarray(each).tobytes() for each in arrays.values()))[:8]})"


def _value_in_words(value: Any) -> str:
    return _callable_in_words(value) if callable(value) else repr(plain(value))


def _callable_in_words(thing: Any) -> str:
    """Name what can be called: torch's own by the name alone, everything else with a digest of what it does."""
    name = _name_of(thing)
    known = name.startswith("torch.") and not isinstance(thing, functools.partial)
    return name if known else f"{name} ({digest(*_walk_code(thing))[:8]})"


def _name_of(thing: Any) -> str:
    if isinstance(thing, functools.partial):
        given = [*map(repr, thing.args), *(f"{name}={value!r}" for name, value in thing.keywords.items())]
        return _without_addresses(f"{_name_of(thing.func)} with {', '.join(given)}")
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _without_addresses(said: str) -> str:
    """Leave out at which address something lies: in another process it is another."""
    return re.sub(r" at 0x[0-9a-f]+", "", said)


def _walk_code(thing: Any, seen: tuple[Any, ...] = ()) -> Iterator[str | bytes]:
    """Walk through what is written in functions and classes, wherever it stands in a file, and what they captured."""
    if any(thing is each for each in seen):  # a function that calls itself
        return
    seen = (*seen, thing)
    if isinstance(thing, functools.partial):
        for each in (thing.func, *thing.args, *thing.keywords, *thing.keywords.values()):
            yield from _walk_code(each, seen)
    elif isinstance(thing, type):
        for home in thing.__mro__:
            if home.__module__.partition(".")[0] not in ("torch", "builtins", "typing", "abc"):
                for name, each in sorted(vars(home).items()):
                    if isinstance(each, FunctionType):
                        yield name
                        yield from _walk_code(each, seen)
    elif isinstance(thing, FunctionType):
        yield from _walk_bytecode(thing.__code__)
        for captured in (thing.__defaults__, thing.__kwdefaults__, *map(_content_of, thing.__closure__ or ())):
            yield from _walk_code(captured, seen)
    elif isinstance(thing, ModuleType):
        yield thing.__name__
    elif callable(thing):
        yield from _walk_code(type(thing), seen)
        yield from _walk_code(getattr(thing, "__dict__", None), seen)
    elif isinstance(thing, torch.Tensor | np.ndarray):  # their repr leaves out digits, and of many numbers most
        numbers = numpy_of(thing) if isinstance(thing, torch.Tensor) else thing
        yield f"{thing.dtype} {tuple(thing.shape)}"
        yield repr(numbers.tolist()) if numbers.dtype.hasobject else np.ascontiguousarray(numbers).tobytes()
    elif isinstance(thing, set | frozenset):  # in another process their order is another
        yield from sorted(_without_addresses(repr(each)) for each in thing)
    elif isinstance(thing, Mapping):
        for name, each in thing.items():
            yield _without_addresses(repr(name))
            yield from _walk_code(each, seen)
    elif isinstance(thing, tuple | list):
        for each in thing:
            yield from _walk_code(each, seen)
    else:
        yield _without_addresses(repr(thing))


def _content_of(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None


def _walk_bytecode(code: CodeType) -> Iterator[str | bytes]:
    yield code.co_code
    yield repr(code.co_names)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _walk_bytecode(each)
        else:
            yield from _walk_code(each)


def _scheduler_in_words(make: Callable[..., Any]) -> str:
    spelled = source_of_scheduler(make)
    return _without_addresses(spelled) if isinstance(spelled, str) else _name_of(make)


def _digest_schedule(job: Job) -> str:
    """Return a digest of what a scheduler does to the settings of an optimizer, step by step."""
    still = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    with random_state_kept(job.problems), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no step of an optimizer is taken in between
        for rule in (still, copy.deepcopy(job.some_optimizer)):
            try:
                return digest(*_settings_by_step(job.spec, rule))
            except Exception:  # it needs an optimizer of its kind; what fails with that too, fails in the runs
                continue
    return digest("none")


def _settings_by_step(spec: RunSpec, rule: torch.optim.Optimizer) -> list[str]:
    schedule, found = spec.schedule_for(rule), list[str]()
    waits = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
    for step in range(SCHEDULED):
        groups = [{n: v for n, v in group.items() if n != "params"} for group in rule.param_groups]
        found.append(_without_addresses(repr(groups)))
        try:
            schedule.step(*([1 + 0.5**step] if waits else []))  # losses that fall ever less: its patience shows
        except ValueError:  # its steps are over
            break
    return found
