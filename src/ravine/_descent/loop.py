"""The training loop: one run of a real optimizer, every step recorded, on the whole data or on mini-batches.

Mini-batches are dealt out as a torch DataLoader deals them; the loss over all data is evaluated beside them.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ravine._descent.dataset import Trace, is_drawable, plain
from ravine._format import listed
from ravine._problem.problem import Live, Problem, scalar
from ravine._progress import tracked
from ravine._study.rule import Leaf


@dataclass(frozen=True)
class Feed:
    """How mini-batches are dealt out."""

    batch_size: int
    seed: int
    loss_every: int

    def deal(self, problem: Problem) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Deal out batches, epoch after epoch, without end."""
        assert problem.parts is not None
        rows = _Rows(problem.parts.inputs, problem.parts.targets)
        generator = torch.Generator().manual_seed(self.seed)
        loader = DataLoader(rows, self.batch_size, shuffle=True, generator=generator, collate_fn=_as_is)
        while True:
            yield from loader


class _Rows(Dataset[Any]):
    """Rows that are taken a batch at a time: the same batches as from single rows, without collating these."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[rows], self.targets[rows]


def _as_is(batch: Any) -> Any:
    return batch


def make_feed(problems: Sequence[Problem], batch_size: int | None, seed: int, loss_every: int) -> Feed | None:
    """Check what was asked for; None for the whole batch."""
    for name, value in {"batch_size": batch_size, "loss_every": loss_every}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    check_seed(seed)
    if batch_size is None:
        if loss_every != 1:
            raise ValueError(
                f"loss_every={loss_every} is for mini-batches: with all data each step has its loss anyway"
            )
        return None
    for each in problems:
        if each.parts is None:
            raise ValueError("mini-batches need a problem that knows its data: make it with Problem.of or from_csv")
        if batch_size > len(each.parts.inputs):
            raise ValueError(f"batch_size is {batch_size}, but there are only {len(each.parts.inputs)} samples")
    return Feed(batch_size, seed, loss_every)


def check_seed(seed: Any) -> None:
    """Check that a seed is one that a study can hold."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number from 0 to 2³¹ - 1, got {seed!r}")


def whole_loss(live: Live) -> torch.Tensor:
    """Evaluate the loss over all data and leave no trace: buffers and random state are put back."""
    buffers = {buffer: buffer.clone() for buffer in live.buffers}
    state = torch.get_rng_state()
    with torch.no_grad():
        loss = live.loss().detach()
        for buffer, kept in buffers.items():
            buffer.copy_(kept)
    torch.set_rng_state(state)
    return loss


Optimizer = Callable[..., torch.optim.Optimizer]
Scheduler = Callable[[torch.optim.Optimizer], Any]


@dataclass(frozen=True)
class RunSpec:
    """How runs are to be made: all that `descend` was told except the problem."""

    optimizer: Optimizer
    steps: int
    settings: Mapping[str, Any]
    scheduler: Scheduler | None
    groups: Mapping[str, Mapping[str, Any]]
    feed: Feed | None
    also: frozenset[str]
    throw: bool

    def rule_for(self, leaves: Mapping[str, torch.Tensor]) -> torch.optim.Optimizer:
        """Make the optimizer over these leaves, in groups where settings differ."""
        if not self.groups:
            return self.optimizer(list(leaves.values()), **self.settings)
        members: dict[str | None, list[torch.Tensor]] = {None: [], **{pattern: [] for pattern in self.groups}}
        for name, leaf in leaves.items():
            members[next((p for p in self.groups if fnmatchcase(name, p)), None)].append(leaf)
        for pattern in self.groups:
            if not members[pattern]:
                raise ValueError(f"groups: no parameter fits {pattern!r}; the problem has {listed(leaves)}")
        made = [{"params": members[None]}] if members[None] else []
        made += [{"params": members[pattern], **self.groups[pattern]} for pattern in self.groups]
        return self.optimizer(made, **self.settings)


def leaves_of(rule: torch.optim.Optimizer, handed: Mapping[str, torch.Tensor], spec: RunSpec) -> list[Leaf]:
    """Return the tensors that an optimizer holds, each with the settings that are its own.

    Those are what `groups` says, and what the optimizer's groups say otherwise than its defaults: a function that makes
    an optimizer may make groups too.
    """
    group_of = {id(each): group for group in rule.param_groups for each in group["params"]}
    leaves = []
    for name, leaf in handed.items():
        given: Mapping[str, Any] = next((s for p, s in spec.groups.items() if fnmatchcase(name, p)), {})
        held = group_of.get(id(leaf), {})
        own = {n: plain(v) for n, v in held.items() if n in rule.defaults and not _equal(v, rule.defaults[n])}
        leaves.append(Leaf(name, leaf.numel(), {n: plain(v) for n, v in given.items()} | own))
    return leaves


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(plain(one) == plain(other))


def record_run(problem: Problem, spec: RunSpec) -> Trace:
    """Run one plan with the real optimizer and return what it left behind."""
    live = problem.live()
    leaves = live.leaves
    # torch refuses to write into leaves under autograd: hand the optimizer aliases of the same memory
    alias = spec.settings.get("differentiable")
    handed = {name: leaf.detach() for name, leaf in leaves.items()} if alias else leaves
    rule = spec.rule_for(handed)
    if "velocity" in spec.also and "momentum" not in rule.defaults:
        raise ValueError(f"{type(rule).__name__} keeps no momentum_buffer: no velocity can be recorded")
    trace = Trace(rule, leaves_of(rule, handed, spec))  # before a scheduler sets the lr of the first step
    schedule = _schedule(spec.scheduler, rule)
    trace.closure = needs_closure(rule)
    stepper = _with_closure if trace.closure else _without_closure
    deal = spec.feed.deal(problem) if spec.feed else itertools.repeat(None)
    try:
        for step in tracked(range(spec.steps), "steps"):
            batch = next(deal)
            _record_before(trace, spec, step, live, rule, handed, batched=batch is not None)
            loss = stepper(live, rule, handed, batch, spec, trace)
            if step == 0:
                check_start(loss)
            if batch is None:
                trace.losses.append(loss)
            else:
                trace.batch_losses.append(loss)
            if spec.throw and not torch.isfinite(loss).all():
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}")
            if schedule is not None:
                _advance(schedule, loss)
        _record_last(trace, spec, live, rule, handed)
    except KeyboardInterrupt:
        trace.interrupted = True
        trace.trim(len(leaves))
    if is_drawable(problem.parts) and live.predict is not None:
        with torch.no_grad():
            trace.prediction = live.predict().detach()
    return trace


def _record_before(
    trace: Trace,
    spec: RunSpec,
    step: int,
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    *,
    batched: bool,
) -> None:
    trace.positions.extend(leaf.detach().clone() for leaf in live.leaves.values())
    if batched:
        assert spec.feed is not None
        trace.losses.append(whole_loss(live) if step % spec.feed.loss_every == 0 else None)
    if spec.scheduler is not None:
        trace.scheduled.append(float(rule.param_groups[0]["lr"]))
    if "velocity" in spec.also:
        trace.velocities.extend(_velocity(rule, one) for one in handed.values())


def _record_last(
    trace: Trace, spec: RunSpec, live: Live, rule: torch.optim.Optimizer, handed: Mapping[str, torch.Tensor]
) -> None:
    """Record the last position: its loss, and its gradient where gradients are asked for; no step is taken."""
    _record_before(trace, spec, 0, live, rule, handed, batched=spec.feed is not None)
    leaves = list(live.leaves.values())
    if spec.feed is not None:  # no batch was dealt here: neither its loss nor its gradient exists
        trace.batch_losses.append(None)
        if "gradient" in spec.also:
            trace.gradients.extend(torch.full_like(leaf, torch.nan) for leaf in leaves)
        return
    for leaf in leaves:
        leaf.grad = None
    with torch.set_grad_enabled("gradient" in spec.also):
        loss = live.loss()
    if spec.steps == 0:
        check_start(loss)
    trace.losses.append(loss.detach())
    if spec.throw and not torch.isfinite(loss).all():
        raise FloatingPointError(f"the loss is {loss.item()} at step {spec.steps}")
    if "gradient" in spec.also:
        loss.backward()  # type: ignore[no-untyped-call]
        trace.gradients.extend(_gradients(leaves))


def _without_closure(
    live: Live, rule: torch.optim.Optimizer, handed: Mapping[str, torch.Tensor], batch: Any, spec: RunSpec, trace: Trace
) -> torch.Tensor:
    leaves = live.leaves.values()
    for leaf in leaves:
        leaf.grad = None
    loss = live.loss() if batch is None else live.loss_of(*batch)
    scalar(loss).backward()  # type: ignore[no-untyped-call]
    if "gradient" in spec.also:  # before the step: foreach with nesterov overwrites p.grad
        trace.gradients.extend(_gradients(leaves))
    if handed is not live.leaves:
        for alias, leaf in zip(handed.values(), leaves, strict=True):
            alias.grad = leaf.grad
    rule.step()
    return loss.detach()


def _with_closure(
    live: Live, rule: torch.optim.Optimizer, handed: Mapping[str, torch.Tensor], batch: Any, spec: RunSpec, trace: Trace
) -> torch.Tensor:
    """One step of an optimizer that evaluates the loss as often as it likes; the first is that at the position."""
    leaves = live.leaves.values()
    first: list[torch.Tensor] = []

    def closure() -> torch.Tensor:
        for leaf in leaves:
            leaf.grad = None
        loss = live.loss() if batch is None else live.loss_of(*batch)
        scalar(loss).backward()  # type: ignore[no-untyped-call]
        if not first:
            first.append(loss.detach())
            if "gradient" in spec.also:
                trace.gradients.extend(_gradients(leaves))
        return loss

    rule.step(closure)  # type: ignore[arg-type]
    return first[0]


def _gradients(leaves: Collection[torch.Tensor]) -> Iterator[torch.Tensor]:
    return (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.detach().clone() for leaf in leaves)


def _velocity(rule: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    buffer = rule.state.get(parameter, {}).get("momentum_buffer")
    return torch.full_like(parameter, torch.nan) if buffer is None else buffer.detach().clone()


def needs_closure(rule: torch.optim.Optimizer) -> bool:
    """Tell whether an optimizer evaluates the loss itself, as often as it likes."""
    closure = inspect.signature(rule.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _schedule(make: Scheduler | None, rule: torch.optim.Optimizer) -> Any:
    if make is None:
        return None
    if not callable(make):
        raise TypeError(
            f"scheduler must be called with the optimizer, got a {type(make).__name__}; "
            "for example functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)"
        )
    schedule = make(rule)
    if not isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
        raise TypeError(f"scheduler gave a {type(schedule).__name__}, expected one of torch.optim.lr_scheduler")
    return schedule


def _advance(schedule: Any, loss: torch.Tensor) -> None:
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        schedule.step(loss)
    else:
        schedule.step()


def check_start(loss: torch.Tensor) -> None:
    """Refuse a start whose loss is not finite."""
    if not torch.isfinite(loss).all():
        raise ValueError(f"the loss at the start is {loss.item()}: start where it is finite")
