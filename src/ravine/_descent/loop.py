"""The training loop: one run of a real optimizer, every step recorded, on the whole data or on mini-batches.

Mini-batches are dealt out as a torch DataLoader deals them; the loss over all data is evaluated beside them.
"""

from __future__ import annotations

import array
import itertools
from collections.abc import Mapping
from typing import Any

import torch

from ravine._descent.closure import closure_of, closure_use, needs_closure, try_uses
from ravine._descent.dataset import is_drawable, settings_now
from ravine._descent.run_spec import RunSpec, begin, leaves_of
from ravine._descent.step import StepFailedError, read_gradients, read_velocity, step_with_closure, take_step
from ravine._descent.trace import ClosureUse, Trace
from ravine._descent.treat import loop_settings
from ravine._problem.check_fit import scalar
from ravine._problem.copies import buffers_kept
from ravine._problem.live import Live
from ravine._problem.problem import Problem
from ravine._progress import tracked
from ravine._torch import with_gradients


@with_gradients
def record_run(problem: Problem, spec: RunSpec) -> Trace:
    """Run one plan with the real optimizer and return what it left behind."""
    begun = torch.get_rng_state()
    live, rule, handed = begin(problem, spec)
    try:
        return _record(problem, spec, live, rule, handed, needs_closure(rule) and closure_use(problem, spec))
    except _WantsClosureError as reason:
        use = try_uses(problem, spec)
        if use is False:
            raise reason.refused from None
        torch.set_rng_state(begun)  # from the start again, with what it asked for
        return _record(problem, spec, *begin(problem, spec), use)


class _WantsClosureError(StepFailedError):
    """It was the first step, and the optimizer would have taken a closure."""


def _record(
    problem: Problem,
    spec: RunSpec,
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    use: ClosureUse,
) -> Trace:
    if "velocity" in spec.also and "momentum" not in rule.defaults:
        raise ValueError(f"{type(rule).__name__} keeps no momentum_buffer: no velocity can be recorded")
    # before the scheduler, which moves settings, and before the first step
    trace = Trace(rule, leaves_of(rule, handed, spec), spec.every)
    trace.settings |= loop_settings(spec.optimizer, spec.settings)
    gradients = spec.treatment.begin(spec.noise_seed)
    trace.closure = use
    schedule = spec.schedule_for(rule)
    if callable(getattr(rule, "train", None)):  # schedule-free optimizers refuse to step before it
        rule.train()  # type: ignore[attr-defined]
        trace.trains = True
    deal = spec.feed.deal(problem) if spec.feed else itertools.repeat(None)
    take = step_with_closure if use else take_step
    own = spec.feed is not None or live.apart  # what the optimizer sees is another number than the loss
    try:
        for step in tracked(range(spec.steps), "steps"):
            batch = next(deal)
            trace.keeps = step % spec.every == 0
            _record_before(trace, spec, step, live, rule, handed, own=own)
            trace.at_end = step in (0, spec.steps - 1)
            try:
                loss = take(live, rule, handed, batch, spec, trace, gradients)
            except StepFailedError as reason:
                if step == 0 and use is False and closure_of(rule) is not None:
                    raise _WantsClosureError(reason.refused) from None
                raise reason.refused from None
            if own:
                trace.batch_losses.add([loss])
            else:
                if step == 0:
                    check_start(loss)
                trace.losses.add([loss])
            if spec.throw and not torch.isfinite(loss).all():
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}")
            if schedule is not None:
                _advance(schedule, loss)
        trace.keeps = True
        _record_last(trace, spec, live, rule, handed, own=own)
    except KeyboardInterrupt:
        trace.interrupted = True
        trace.trim()
    finally:
        for leaf in live.leaves.values():
            leaf.grad = None  # with create_graph it holds the leaf that holds it
    if is_drawable(problem.parts) and live.predict is not None:
        state = torch.get_rng_state()
        with torch.no_grad():
            prediction = live.predict()
        torch.set_rng_state(state)
        if isinstance(prediction, torch.Tensor) and prediction.ndim:
            trace.prediction = prediction.detach()
    return trace


def _record_before(
    trace: Trace,
    spec: RunSpec,
    step: int,
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    *,
    own: bool,
) -> None:
    if trace.keeps:
        trace.positions.add([leaf.detach().clone() for leaf in live.leaves.values()])
    if own:
        every = spec.feed.loss_every if spec.feed else 1
        loss = whole_loss(live) if trace.keeps and step % every == 0 else None
        if step == 0 and loss is not None and not trace.losses:
            check_start(loss)
        trace.losses.add([loss if loss is not None else next(iter(live.leaves.values())).new_full((), torch.nan)])
    if spec.scheduler is not None:
        first, *others = ({"lr": float(each["lr"]), **settings_now(each)} for each in rule.param_groups)
        trace.apart |= {name for name, value in first.items() for each in others if each.get(name) not in (value, None)}
        trace.scheduled.append(first.pop("lr"))
        for name, value in first.items():
            trace.moving.setdefault(name, array.array("d")).append(value)
    if "velocity" in spec.also and trace.keeps:
        trace.velocities.add([read_velocity(rule, one) for one in handed.values()])


def _record_last(
    trace: Trace,
    spec: RunSpec,
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    *,
    own: bool,
) -> None:
    """Record the last position: its loss, and its gradient where gradients are asked for; no step is taken."""
    _record_before(trace, spec, 0, live, rule, handed, own=own)
    leaves = list(live.leaves.values())
    if own:  # the optimizer saw nothing here: neither its loss nor its gradient exists
        trace.batch_losses.add([leaves[0].new_full((), torch.nan)])
        if "gradient" in spec.also:
            trace.gradients.add([torch.full_like(leaf, torch.nan) for leaf in leaves])
        return
    for leaf in leaves:
        leaf.grad = None
    with torch.set_grad_enabled("gradient" in spec.also and not spec.treatment.acts):
        loss = live.loss()
    if spec.steps == 0:
        check_start(scalar(loss))
    trace.losses.add([loss.detach().clone()])
    if spec.throw and not torch.isfinite(loss).all():
        raise FloatingPointError(f"the loss is {loss.item()} at step {spec.steps}")
    if "gradient" in spec.also and spec.treatment.acts:  # what the optimizer would have seen was never made
        trace.gradients.add([torch.full_like(leaf, torch.nan) for leaf in leaves])
    elif "gradient" in spec.also:
        loss.backward()  # type: ignore[no-untyped-call]
        trace.gradients.add(read_gradients(leaves, trace))


def _advance(schedule: Any, loss: torch.Tensor) -> None:
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        schedule.step(loss)
    else:
        schedule.step()


def whole_loss(live: Live) -> torch.Tensor:
    """Evaluate the loss over all data and leave no trace: buffers and random state are put back."""
    state = torch.get_rng_state()
    with torch.no_grad(), buffers_kept(*live.buffered):
        loss = (live.evaluate or live.loss)().detach().clone()
    torch.set_rng_state(state)
    return loss


def check_start(loss: torch.Tensor) -> None:
    """Refuse a start whose loss is not finite."""
    if not torch.isfinite(loss).all():
        raise ValueError(f"the loss at the start is {loss.item()}: start where it is finite")
