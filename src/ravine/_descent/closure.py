"""What an optimizer's step wants: nothing, a closure, or a closure and a gradient that is there before."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from ravine._descent.run_spec import RunSpec, begin
from ravine._descent.step import make_closure
from ravine._descent.trace import ClosureUse
from ravine._problem.copies import buffers_kept
from ravine._problem.problem import Problem
from ravine._torch import with_gradients


def needs_closure(rule: torch.optim.Optimizer) -> bool:
    """Tell whether an optimizer says of itself that it evaluates the loss, as often as it likes."""
    closure = closure_of(rule)
    return closure is not None and closure.default is inspect.Parameter.empty


def closure_of(rule: torch.optim.Optimizer) -> inspect.Parameter | None:
    """Return the parameter of an optimizer's step that takes a closure."""
    step, own = rule.step, type(rule).step
    if getattr(step, "__func__", None) is own:
        return _closure_of(own)
    return inspect.signature(step).parameters.get("closure")


@functools.lru_cache(maxsize=64)
def _closure_of(step: Callable[..., Any]) -> inspect.Parameter | None:
    """Read the signature of a class's step once; one of a single optimizer, as a scheduler sets it, is not held."""
    return inspect.signature(step).parameters.get("closure")


def closure_use(problem: Problem, spec: RunSpec) -> ClosureUse:
    """Find out what an optimizer's step wants: nothing, a closure, or a closure and a gradient that is there before.

    torch's own classes say it by their signature. Others are tried, one step each way.
    """
    kind = spec.optimizer
    if isinstance(kind, type) and kind.__module__.startswith("torch.optim"):
        closure = _closure_of(kind.step)  # type: ignore[attr-defined]
        return closure is not None and closure.default is inspect.Parameter.empty
    _, rule, _ = begin(problem, spec)
    if type(rule).__module__.startswith("torch.optim"):
        return needs_closure(rule)
    if closure_of(rule) is None:
        return False
    if not needs_closure(rule) and isinstance(_trial(problem, spec, False), torch.Tensor):
        return False
    return try_uses(problem, spec)


def try_uses(problem: Problem, spec: RunSpec) -> ClosureUse:
    """Find out by a step each way what an optimizer does with a closure."""
    bare, seen = _trial(problem, spec, True), _trial(problem, spec, "after backward")
    if isinstance(seen, Exception):
        return not isinstance(bare, Exception)
    if isinstance(bare, Exception):
        return "after backward"
    return True if torch.equal(bare.nan_to_num(), seen.nan_to_num()) else "after backward"


@with_gradients
def _trial(problem: Problem, spec: RunSpec, use: ClosureUse) -> torch.Tensor | Exception:
    """Take one step in copies of everything; return where it leads, or why it leads nowhere."""
    with torch.random.fork_rng():
        try:
            live, rule, handed = begin(problem, spec)
            if callable(getattr(rule, "train", None)):
                rule.train()  # type: ignore[attr-defined]
            batch = next(spec.feed.deal(problem)) if spec.feed else None
            closure = make_closure(live, handed, batch, spec, spec.treatment.begin(spec.noise_seed))
            if use is not True:
                state = torch.get_rng_state()
                with buffers_kept(*live.buffered):  # the gradient alone is to make the difference
                    closure()
                torch.set_rng_state(state)
            rule.step(closure) if use else rule.step()  # type: ignore[arg-type]
        except Exception as reason:
            return reason
        return torch.cat([leaf.detach().reshape(-1) for leaf in live.leaves.values()])
