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

from ravine._descent.dataset import is_drawable, plain, settings_now
from ravine._descent.trace import ClosureUse, Trace
from ravine._descent.treat import Gradients, Treatment, loop_settings, treatment_of
from ravine._format import listed
from ravine._problem.check_fit import scalar
from ravine._problem.copies import buffers_kept, make_copy
from ravine._problem.live import Live
from ravine._problem.over_batches import OverBatches
from ravine._problem.problem import Problem
from ravine._progress import tracked
from ravine._study.rule import Leaf
from ravine._torch import with_gradients


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
        if isinstance(each.loss, OverBatches) and each.parts is None:
            raise ValueError(
                "the loader's batches cannot be put together, so that none of another size can be dealt from them: "
                "leave batch_size out, or train in a loop of your own within ravine.record"
            )
        if each.parts is None:
            raise ValueError("mini-batches need a problem that knows its data: make it with Problem.of or from_csv")
        if each.parts.inputs.shape[:1] != each.parts.targets.shape[:1]:
            raise ValueError(
                f"mini-batches need a row of targets for each row of inputs; inputs have shape "
                f"{tuple(each.parts.inputs.shape)} and targets {tuple(each.parts.targets.shape)}"
            )
        if batch_size > len(each.parts.inputs):
            raise ValueError(f"batch_size is {batch_size}, but there are only {len(each.parts.inputs)} samples")
    return Feed(batch_size, seed, loss_every)


def check_seed(seed: Any) -> None:
    """Check that a seed is one that a study can hold."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number from 0 to 2³¹ - 1, got {seed!r}")


def whole_loss(live: Live) -> torch.Tensor:
    """Evaluate the loss over all data and leave no trace: buffers and random state are put back."""
    state = torch.get_rng_state()
    with torch.no_grad(), buffers_kept(*live.buffered):
        loss = (live.evaluate or live.loss)().detach().clone()
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
    create_graph: bool = False
    noise_seed: int = 0

    @property
    def treatment(self) -> Treatment:
        """How gradients are treated before the optimizer sees them."""
        return treatment_of(self.optimizer, self.settings)

    @property
    def of_optimizer(self) -> dict[str, Any]:
        """The settings that the optimizer gets."""
        loop = loop_settings(self.optimizer, self.settings)
        return {name: value for name, value in self.settings.items() if name not in loop}

    def rule_for(
        self, leaves: Mapping[str, torch.Tensor], model: torch.nn.Module | None = None
    ) -> torch.optim.Optimizer:
        """Make the optimizer over these leaves, in groups where settings differ; it gets settings of its own.

        One that asks for the model in place of parameters (AdamMini) gets the run's own copy.
        """
        own = make_copy([self.optimizer, self.of_optimizer, dict(self.groups)])
        optimizer, settings, groups = own
        foreign = not getattr(optimizer, "__module__", "").startswith("torch.optim")
        if foreign and next(iter(inspect.signature(optimizer).parameters), "") == "model":
            if model is None or groups:
                raise TypeError(
                    f"{getattr(optimizer, '__name__', optimizer)} wants a model and not its parameters: that takes "
                    "ravine.descend, a problem made of a module, and no groups"
                )
            return optimizer(model, **settings)  # type: ignore[no-any-return]
        if not groups:
            return optimizer(list(leaves.values()), **settings)  # type: ignore[no-any-return]
        members: dict[str | None, list[torch.Tensor]] = {None: [], **{pattern: [] for pattern in self.groups}}
        for name, leaf in leaves.items():
            members[next((p for p in self.groups if fnmatchcase(name, p)), None)].append(leaf)
        for pattern in self.groups:
            if not members[pattern]:
                raise ValueError(f"groups: no parameter fits {pattern!r}; the problem has {listed(leaves)}")
        made = [{"params": members[None]}] if members[None] else []
        made += [{"params": members[pattern], **groups[pattern]} for pattern in self.groups]
        return optimizer(made, **settings)  # type: ignore[no-any-return]

    def schedule_for(self, rule: torch.optim.Optimizer) -> Any:
        """Make the scheduler of one run, which what it is made of does not outlive; None without one."""
        return _schedule(make_copy(self.scheduler), rule)


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


@with_gradients
def record_run(problem: Problem, spec: RunSpec) -> Trace:
    """Run one plan with the real optimizer and return what it left behind."""
    begun = torch.get_rng_state()
    live, rule, handed = _begin(problem, spec)
    try:
        return _record(problem, spec, live, rule, handed, needs_closure(rule) and closure_use(problem, spec))
    except _WantsClosureError as reason:
        use = _tried_use(problem, spec)
        if use is False:
            raise reason.refused from None
        torch.set_rng_state(begun)  # from the start again, with what it asked for
        return _record(problem, spec, *_begin(problem, spec), use)


class _StepFailedError(Exception):
    """The optimizer's own step failed, not the loss."""

    def __init__(self, refused: Exception) -> None:
        super().__init__(str(refused))
        self.refused = refused


class _WantsClosureError(_StepFailedError):
    """It was the first step, and the optimizer would have taken a closure."""


def _begin(problem: Problem, spec: RunSpec) -> tuple[Live, torch.optim.Optimizer, Mapping[str, torch.Tensor]]:
    live = problem.live()
    # torch refuses to write into leaves under autograd: hand the optimizer aliases of the same memory
    alias = spec.settings.get("differentiable")
    handed = {name: leaf.detach() for name, leaf in live.leaves.items()} if alias else live.leaves
    model = next((each for each in live.modules if isinstance(each, torch.nn.Module)), None)
    return live, spec.rule_for(handed, model), handed


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
    trace = Trace(rule, leaves_of(rule, handed, spec))
    trace.settings |= loop_settings(spec.optimizer, spec.settings)
    gradients = spec.treatment.begin(spec.noise_seed)
    trace.closure = use
    schedule = spec.schedule_for(rule)
    if callable(getattr(rule, "train", None)):  # schedule-free optimizers refuse to step before it
        rule.train()  # type: ignore[attr-defined]
        trace.trains = True
    deal = spec.feed.deal(problem) if spec.feed else itertools.repeat(None)
    take_step = _step_with_closure if use else _step
    own = spec.feed is not None or live.apart  # what the optimizer sees is another number than the loss
    try:
        for step in tracked(range(spec.steps), "steps"):
            batch = next(deal)
            _record_before(trace, spec, step, live, rule, handed, own=own)
            trace.at_end = step in (0, spec.steps - 1)
            try:
                loss = take_step(live, rule, handed, batch, spec, trace, gradients)
            except _StepFailedError as reason:
                if step == 0 and use is False and _closure_of(rule) is not None:
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
    trace.positions.add([leaf.detach().clone() for leaf in live.leaves.values()])
    if own:
        every = spec.feed.loss_every if spec.feed else 1
        loss = whole_loss(live) if step % every == 0 else None
        if step == 0 and loss is not None and not trace.losses:
            check_start(loss)
        trace.losses.add([loss if loss is not None else next(iter(live.leaves.values())).new_full((), torch.nan)])
    if spec.scheduler is not None:
        trace.scheduled.append(float(rule.param_groups[0]["lr"]))
        for name, value in settings_now(rule.param_groups[0]).items():
            trace.moving.setdefault(name, []).append(value)
    if "velocity" in spec.also:
        trace.velocities.add([_velocity(rule, one) for one in handed.values()])


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
        trace.gradients.add(_gradients(leaves, trace))


def _step(
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    batch: Any,
    spec: RunSpec,
    trace: Trace,
    gradients: Gradients | None,
) -> torch.Tensor:
    """Take one step and return the loss where it began."""
    leaves = live.leaves.values()
    for leaf in leaves:
        leaf.grad = None
    loss = live.loss() if batch is None else live.loss_of(*batch)
    _differentiate(scalar(loss), leaves, create_graph=spec.create_graph)
    if gradients is not None:
        trace.norms.append(gradients.treat(leaves))
    seen = loss.detach().clone()  # a loss that is a parameter itself, or a view of one, moves with it
    _record_gradients(trace, spec, leaves)  # before the step: foreach with nesterov overwrites p.grad
    if trace.at_end:
        trace.moves |= any(_share(loss, leaf) for leaf in leaves)
    if handed is not live.leaves:
        for alias, leaf in zip(handed.values(), leaves, strict=True):
            alias.grad = leaf.grad
    try:
        rule.step()
    except Exception as reason:
        raise _StepFailedError(_worded(reason, rule)) from None
    return seen


def _step_with_closure(
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    batch: Any,
    spec: RunSpec,
    trace: Trace,
    gradients: Gradients | None,
) -> torch.Tensor:
    """One step of an optimizer that evaluates the loss as often as it likes; the first is that at the position."""
    first: list[torch.Tensor] = []

    def keep_first(loss: torch.Tensor, norm: float) -> None:
        if not first:
            if gradients is not None:
                trace.norms.append(norm)
            first.append(loss.clone())
            _record_gradients(trace, spec, live.leaves.values())

    closure = _make_closure(live, handed, batch, spec, gradients, keep_first)
    if trace.closure == "after backward":
        closure()
    else:
        for leaf in live.leaves.values():
            leaf.grad = None
    try:
        rule.step(closure)  # type: ignore[arg-type]
    except Exception as reason:
        raise _StepFailedError(_worded(reason, rule)) from None
    if not first:
        raise RuntimeError(f"{type(rule).__name__} asked for a closure and never called it")
    return first[0]


def _worded(reason: Exception, rule: torch.optim.Optimizer) -> Exception:
    if isinstance(reason, NotImplementedError) and not str(reason):
        return NotImplementedError(f"{type(rule).__name__} has no step() of its own: no loop of steps can run it")
    return reason


def _make_closure(
    live: Live,
    handed: Mapping[str, torch.Tensor],
    batch: Any,
    spec: RunSpec,
    gradients: Gradients | None,
    keep: Callable[[torch.Tensor, float], None] = lambda loss, norm: None,
) -> Callable[[], torch.Tensor]:
    """Return what evaluates the loss and puts gradients on the leaves; `keep` is shown each loss, and their norm."""
    leaves = live.leaves.values()

    def closure() -> torch.Tensor:
        for leaf in leaves:
            leaf.grad = None
        with torch.enable_grad():
            loss = live.loss() if batch is None else live.loss_of(*batch)
            _differentiate(scalar(loss), leaves, create_graph=spec.create_graph)
        keep(loss.detach(), torch.nan if gradients is None else gradients.treat(leaves))
        if handed is not live.leaves:
            for alias, leaf in zip(handed.values(), leaves, strict=True):
                alias.grad = leaf.grad
        return loss

    return closure


def _differentiate(loss: torch.Tensor, leaves: Collection[torch.Tensor], *, create_graph: bool) -> None:
    if not loss.requires_grad:
        raise ValueError(
            f"the loss, {loss.item():g}, depends on no parameter: compute it with torch from the parameters that it is "
            "given, without .detach(), .item() or numpy"
        )
    if not create_graph:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    # backward(create_graph=True) gives the same numbers, with a warning at each step
    gradients = torch.autograd.grad(loss, list(leaves), create_graph=True, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient


def _share(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _record_gradients(trace: Trace, spec: RunSpec, leaves: Collection[torch.Tensor]) -> None:
    if "gradient" in spec.also:
        trace.gradients.add(_gradients(leaves, trace))
    if trace.at_end:
        trace.end_gradients.append(_gradients(leaves, trace))


def _gradients(leaves: Collection[torch.Tensor], trace: Trace) -> list[torch.Tensor]:
    found = []
    for leaf in leaves:
        if leaf.grad is None:
            found.append(torch.zeros_like(leaf))
        else:
            trace.sparse |= leaf.grad.layout != torch.strided
            found.append(_dense(leaf.grad.detach()).clone())
    return found


def _velocity(rule: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    buffer = rule.state.get(parameter, {}).get("momentum_buffer")
    return torch.full_like(parameter, torch.nan) if buffer is None else _dense(buffer.detach()).clone()


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def needs_closure(rule: torch.optim.Optimizer) -> bool:
    """Tell whether an optimizer says of itself that it evaluates the loss, as often as it likes."""
    closure = _closure_of(rule)
    return closure is not None and closure.default is inspect.Parameter.empty


def _closure_of(rule: torch.optim.Optimizer) -> inspect.Parameter | None:
    return inspect.signature(rule.step).parameters.get("closure")


def closure_use(problem: Problem, spec: RunSpec) -> ClosureUse:
    """Find out what an optimizer's step wants: nothing, a closure, or a closure and a gradient that is there before.

    torch's own classes say it by their signature. Others are tried, one step each way.
    """
    _, rule, _ = _begin(problem, spec)
    if type(rule).__module__.startswith("torch.optim"):
        return needs_closure(rule)
    if _closure_of(rule) is None:
        return False
    if not needs_closure(rule) and isinstance(_trial(problem, spec, False), torch.Tensor):
        return False
    return _tried_use(problem, spec)


def _tried_use(problem: Problem, spec: RunSpec) -> ClosureUse:
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
            live, rule, handed = _begin(problem, spec)
            if callable(getattr(rule, "train", None)):
                rule.train()  # type: ignore[attr-defined]
            batch = next(spec.feed.deal(problem)) if spec.feed else None
            closure = _make_closure(live, handed, batch, spec, spec.treatment.begin(spec.noise_seed))
            if use is not True:
                state = torch.get_rng_state()
                with buffers_kept(*live.buffered):  # the gradient alone is to make the difference
                    closure()
                torch.set_rng_state(state)
            rule.step(closure) if use else rule.step()  # type: ignore[arg-type]
        except Exception as reason:
            return reason
        return torch.cat([leaf.detach().reshape(-1) for leaf in live.leaves.values()])


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
