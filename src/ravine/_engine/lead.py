"""Where torch's own steps lead from positions that are there already, with torch's own gradients there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ravine._engine.rules.sgd import SGD
from ravine._problem.order import identical

MakeOptimizer = Callable[[Sequence[Sequence[torch.Tensor]]], tuple[torch.optim.Optimizer, list[Any]]]
"""Makes, of the parameters of each run, one optimizer with a group for each, and the schedulers of these groups."""


class Lead(Protocol):
    """Torch's steps in some runs, which are led along a path."""

    def along(self, places: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor | None:
        """Return where the next steps lead, each from its place with its gradient, all (step, run, parameter).

        Places of later steps are those that were found to follow. None where torch remembers something else than it
        was taken to.
        """


class StepByStep:
    """The steps of any rule, one after the other: what an optimizer remembers is its own."""

    def __init__(self, make_optimizer: MakeOptimizer, rows: torch.Tensor) -> None:
        """`rows` (run, parameter) are where the runs begin; they are written over."""
        self.rows, leaves = rows, rows.unbind()
        optimizer, self.schedules = make_optimizer([[leaf] for leaf in leaves])
        self.take_step, self.slope = step_of(optimizer), torch.zeros_like(rows)
        for leaf, slope in zip(leaves, self.slope.unbind(), strict=True):
            leaf.grad = slope

    def along(self, places: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """Take them."""
        found = torch.empty_like(slopes)
        for slope, place in zip(slopes, found, strict=True):
            self.slope.copy_(slope)
            self.take_step()
            for schedule in self.schedules:
                schedule.step()
            place.copy_(self.rows)
        return found


class AllAtOnce:
    """The steps of SGD, all of them by one call.

    All that SGD remembers is a momentum buffer. So torch's step is taken once from every place, with the buffer there:
    where it comes to the next place and to the next buffer each time, torch comes from the start to all of them. The
    buffers are made by ravine's rule; were one of them wrong, torch's would be another.

    Numbers lie apart in memory. So torch works them out one by one, as the few of a single run, and not in vectors.
    """

    def __init__(self, make_optimizer: MakeOptimizer, rule: SGD) -> None:
        self.make_optimizer, self.rule = make_optimizer, rule

    def along(self, places: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor | None:
        """Take them."""
        before = None if self.rule.buf is None else self.rule.buf.clone()
        after = self.rule.buffers(places.transpose(1, 2), slopes.transpose(1, 2)).transpose(1, 2)
        remembered = after.roll(1, 0)
        if before is not None:
            remembered[0] = before.T
        # torch begins without a buffer: the first step is a parameter of its own
        stretches = [slice(None)] if before is not None else [slice(0, 1), slice(1, None)][: len(places)]
        found, buffers = (_apart(each) for each in (places, remembered))
        runs = range(places.shape[1])
        leaves = [[found[steps, run] for steps in stretches] for run in runs]
        optimizer, _ = self.make_optimizer(leaves)
        for run, parts in enumerate(leaves):
            for steps, leaf in zip(stretches, parts, strict=True):
                leaf.grad = _apart(slopes[steps, run])
                if steps.start != 0:
                    optimizer.state[leaf] = {"momentum_buffer": buffers[steps, run]}
        step_of(optimizer)()
        for run, (parts, group) in enumerate(zip(leaves, optimizer.param_groups, strict=True)):
            for steps, leaf in zip(stretches, parts, strict=True):
                held = optimizer.state[leaf].get("momentum_buffer") if group["momentum"] else None
                if held is not None and not identical(held, after[steps, run]):
                    return None
        return found


def _apart(numbers: torch.Tensor) -> torch.Tensor:
    """Return a copy in whose memory no two numbers lie side by side."""
    return torch.stack([numbers, numbers], -1)[..., 0]


def is_torchs_step(optimizer: type[torch.optim.Optimizer]) -> bool:
    """Tell whether a class takes torch's own step, and all that is wrapped around it is torch's too.

    Examples
    --------
    >>> is_torchs_step(torch.optim.SGD), is_torchs_step(type("Mine", (torch.optim.SGD,), {"step": print}))
    (True, False)
    """
    layer: Any = optimizer.step
    while getattr(layer, "__globals__", {}).get("__name__", "").partition(".")[0] == "torch":
        if not hasattr(layer, "__wrapped__"):
            return True
        layer = layer.__wrapped__
    return False


def step_of(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """Return the step of an optimizer without what torch wraps around it for profilers and hooks: a third of its time.

    Only steps that are torch's own (`is_torchs_step`) are taken so: what they do stands in the function itself.
    """
    bare = inspect.unwrap(type(optimizer).step)

    def take_step() -> None:
        with torch.no_grad():
            bare(optimizer)

    return take_step
