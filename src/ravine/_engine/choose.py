"""Which engine runs a sweep: the fastest whose losses and gradients are those of torch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ravine._descent.descend import random_state_kept
from ravine._descent.feed import Feed
from ravine._descent.treat import loop_settings
from ravine._engine.batched import BatchEngine, Engine, TorchEngine
from ravine._engine.dealt import DealtEngine
from ravine._engine.gradients import WrittenOut, is_written_out, of_any, rounding_of_neuron
from ravine._engine.job import Job
from ravine._engine.lead import is_torchs_step
from ravine._engine.network import Network, choose_network
from ravine._engine.on_batches import NeuronOnBatches, make_trials, of_any_on_batches
from ravine._engine.proven import find_proven, kind_of
from ravine._engine.reference import TorchReference
from ravine._engine.rules.registry import RULES
from ravine._engine.schedule import NotTabulatedError
from ravine._engine.shuffles import deals_as_torch
from ravine._format import listed
from ravine._kernel.neuron import load_kernel
from ravine._problem.order import Evaluate, TorchValues, has_bits
from ravine._problem.problem import Problem
from ravine._study.optimizer import name_of, path_of
from ravine._study.rule import LOOP_SETTINGS
from ravine._torch import has_optimizer_hooks, one_thread

UNITS = 1000
"""Units of rounding of the largest number that a gradient may be off, where what was summed is not known."""

NOISE = 100
"""How many times what rounding is seen to do at a position a gradient may be off there."""

LOOKS = 3
"""Places a few units of rounding beside a position at which torch is asked what rounding does."""

PROBE_BYTES = 100_000
"""Positions by which an engine is known again on another processor."""

WRITTEN_OUT = "written out"
"""How an engine has its gradient."""

LEAVE_OUT = "leave it out, and thousands of runs are one batch"


@dataclass(frozen=True)
class Obstacle:
    """Why runs have to go one by one, and what would make them fast."""

    why: str
    remedy: str


def choose_engine(
    job: Job, which: int, wanted: str | None, *, summary: bool = False, remembers: bool = False
) -> Engine:
    """Choose the fastest engine for one problem that agrees with torch; one that `remembers` may be known already.

    Raises
    ------
    ValueError
        If autograd on a batch was asked for and does not fit.
    """
    if wanted == "torch":
        return TorchEngine(job, 'engine="torch" was asked for')
    obstacle = why_not_stacked(job)
    if obstacle is None:
        load_kernel()  # a switch that means nothing is an error of its own, and no loss that cannot be batched
        kind = kind_of(job, which, summary=summary) if remembers and wanted is None else None
        found = _known_engine(job, which, kind) or _batch_engine(job, which, wanted, summary)
        if isinstance(found, BatchEngine):
            # runs that stand still fit either way to take a step: what they say is not for others
            found.kind = kind if found.descent is not None and found.descent.certain else None
            return found
        obstacle = found
    if wanted == "autograd":
        raise ValueError(f'engine="autograd" does not fit: {obstacle.why}; leave engine out')
    return TorchEngine(job, obstacle.why, obstacle.remedy)


def _known_engine(job: Job, which: int, kind: Hashable | None) -> BatchEngine | None:
    """Return the engine of a kind of sweep that was compared before, if the problem's loss still is what it was."""
    proven = find_proven(kind)
    if proven is None:
        return None
    reference = TorchReference.again(job, which, proven.sweeps, proven.runs, alone=proven.alone)
    try:
        values = reference.values_at_start()
    except Exception:  # then the whole trial says what is wrong
        return None
    compiled = proven.descent.compiled
    with torch.no_grad(), one_thread():
        if not has_bits(compiled, values, values.count):
            return None
    engine = BatchEngine(WRITTEN_OUT, compiled, reference, proven.values, proven.held)
    engine.descent, engine.why = proven.descent, f"as in a sweep before, {proven.why}"
    return engine


def _batch_engine(job: Job, which: int, wanted: str | None, summary: bool) -> BatchEngine | Obstacle:
    reference = TorchReference(job, which)
    problem = reference.problem
    try:
        values = reference.first_values()
        if is_written_out(problem):
            reference.try_alone(values)
            written = WrittenOut(problem, values)
            if wanted != "autograd" and agrees(written, values, problem):
                probe = _own_values(written, values)
                engine = BatchEngine(WRITTEN_OUT, written, reference, probe)
                engine.why = _why_this_order(job, engine, written, summary)
                engine.choose_descent()
                engine.why += "" if engine.descent is None else ", steps too"
                return engine if job.spec.feed is None else _on_batches(engine, values, job.spec.feed, summary)
        network = None if wanted == "autograd" else choose_network(problem, values)
        if network is not None:
            engine = BatchEngine(WRITTEN_OUT, network, reference, _own_values(network, values))
            engine.why = f"every bit torch's at {values.count} positions: {network}"
            return engine if job.spec.feed is None else _on_batches(engine, values, job.spec.feed, summary)
        batched = of_any(problem)
        if agrees(batched, values, problem):
            probe = _own_values(batched, values)
            engine = BatchEngine("by autograd", batched, reference, probe)
            with torch.no_grad(), one_thread():
                same = has_bits(batched, values, max(2, min(values.count, engine.block_size(job, summary=summary))))
            bits = "every bit torch's" if same else "torch's but for rounding"
            engine.why = f"losses and gradients are {bits} at {values.count} positions"
            return engine if job.spec.feed is None else _on_batches(engine, values, job.spec.feed, summary)
        why = "on a batch the loss has other values than by itself"
    except Exception as failure:  # whatever vmap cannot do, and parameters that the loss does not use
        why = f"{type(failure).__name__}: {str(failure).partition(chr(10))[0]}"
    return Obstacle(why, "a loss that torch.func.vmap can batch is run thousands of times at once")


def _on_batches(engine: BatchEngine, values: TorchValues, feed: Feed, summary: bool) -> BatchEngine | Obstacle:
    """Return the engine with the gradients of batches, if these are torch's, and dealt out as torch deals them."""
    problem, job = engine.reference.problem, engine.reference.job
    remedy = "without batch_size thousands of runs are one batch"
    if not deals_as_torch():
        return Obstacle("the DataLoader of this torch draws other random numbers than those known", remedy)
    trials = make_trials(problem, feed.batch_size, values.position)
    if isinstance(engine.evaluate, WrittenOut):
        engine.reference.try_alone_on(trials)
        on_batches: Evaluate = NeuronOnBatches(problem, trials)
    elif isinstance(engine.evaluate, Network):
        with torch.no_grad(), one_thread():
            on_batches = Network(problem, trials)
    else:
        on_batches = of_any_on_batches(problem)
    if not all(agrees(trial.by(on_batches), trial.values, trial.problem) for trial in trials):
        return Obstacle("on mini-batches of many runs the loss has other values than by itself", remedy)
    probes = [_own_values(trial.by(on_batches), trial.values) for trial in trials]
    found = DealtEngine(engine, on_batches, trials, probes)
    runs = max(2, min(engine.block_size(job, summary=summary), job.inner.size))
    found.why = f"{engine.why}; {found.say_orders(runs)}"
    return found


def _why_this_order(job: Job, engine: BatchEngine, written: WrittenOut, summary: bool) -> str:
    """Choose forms for the blocks that this process would make, and say which."""
    some = engine.block_size(job, summary=summary)
    sizes = {max(2, min(some, job.inner.size)), max(2, job.inner.size % some or some)}
    with torch.no_grad(), one_thread():
        orders = {written.order_of(runs) for runs in sorted(sizes)}
    names = " or ".join(sorted(map(str, orders)))
    count = written.values.count
    if all(order.equal for order in orders):
        return f"every bit torch's at {count} positions: {names}"
    return f"none of the orders of operations tried has torch's bits at {count} positions: {names}"


def _own_values(evaluate: Evaluate, values: TorchValues) -> TorchValues:
    """Return what an evaluation gives at some of the positions, at once: few enough to go along with each block."""
    some = max(2, min(values.count, PROBE_BYTES // (len(values.position) * values.position.element_size())))
    position, losses = values.position[:, :some].clone(), values.loss[:some].clone()
    with torch.no_grad(), one_thread():
        gradient = evaluate(position, losses, True)
    assert gradient is not None
    return TorchValues(position, losses, gradient.clone())


def agrees(evaluate: Evaluate, values: TorchValues, problem: Problem) -> bool:
    """Tell whether losses and gradients at some positions are torch's but for rounding."""
    position, their_loss, theirs = values.position, values.loss, values.gradient
    losses = torch.empty_like(their_loss)
    with torch.no_grad(), one_thread():
        gradient = evaluate(position, losses, True)
    assert gradient is not None
    finite = torch.finfo(losses.dtype).max / UNITS  # beyond, another order may already be infinite
    apart = (losses - their_loss).abs().double(), (gradient - theirs).abs().double()
    beyond = ~(their_loss.abs() < finite), ~(theirs.abs() < finite)
    if is_written_out(problem):
        room = rounding_of_neuron(problem, position)
    else:
        unit = UNITS * torch.finfo(losses.dtype).eps
        largest = torch.where(beyond[1], 0.0, theirs.abs().double()).amax(0)  # of what is a number
        room = unit * their_loss.abs().double(), unit * largest.expand_as(theirs)
    outside = ~((apart[0] <= room[0]) | beyond[0]) | (~((apart[1] <= room[1]) | beyond[1])).any(0)
    for k in outside.nonzero()[:, 0].tolist():
        if is_written_out(problem):
            return False
        loss_noise, noise = _noise(problem, position[:, k])
        near = apart[0][k] <= room[0][k] + NOISE * loss_noise or beyond[0][k]
        if not (near and bool(((apart[1][:, k] <= room[1][:, k] + NOISE * noise) | beyond[1][:, k]).all())):
            return False
    return True


def _noise(problem: Problem, position: torch.Tensor) -> tuple[float, float]:
    """Return what rounding does to the loss and to the gradient at a position, by torch's own measure.

    What was summed there is not known, only what was left of it. But rounding shows in how far the same evaluation is
    off in another precision, and in what becomes of it a few units of rounding beside.
    """
    unit = torch.finfo(position.dtype).eps
    double = position.dtype == torch.float64
    other = problem.in_dtype(torch.float32 if double else torch.float64)
    share = unit / torch.finfo(torch.float32).eps if double else 1.0
    random = torch.Generator().manual_seed(0)
    noise = torch.zeros(2, dtype=torch.float64)
    with random_state_kept([problem]), one_thread():
        loss, gradient = _evaluated(problem, position)
        for look in range(LOOKS + 1):
            beside = 4 * unit * look * (torch.rand(len(position), generator=random, dtype=torch.float64) - 0.5)
            place = (position.double() * (1 + beside)).to(position.dtype)
            here = _evaluated(problem, place)
            noise = torch.maximum(noise, torch.stack([(here[0] - loss).abs(), (here[1] - gradient).abs().max()]))
            try:
                there = _evaluated(other, place.to(torch.float32 if double else torch.float64))
            except (RuntimeError, TypeError):  # the loss holds numbers of one precision alone
                continue
            off = torch.stack([(there[0] - here[0]).abs(), (there[1] - here[1]).abs().max()])
            noise = torch.maximum(noise, share * off.nan_to_num(0.0))
    return float(noise[0]), float(noise[1])


def _evaluated(problem: Problem, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return torch's loss and gradient at one position, as float64."""
    sizes = [value.numel() for value in problem.start.values()]
    pieces = zip(problem.start.items(), torch.split(position, sizes), strict=True)
    leaves = {name: piece.reshape(value.shape).clone().requires_grad_() for (name, value), piece in pieces}
    with torch.enable_grad():
        loss = problem.loss(leaves)
        found = torch.autograd.grad(loss, list(leaves.values()))
    return loss.detach().reshape(()).double(), torch.cat([each.reshape(-1) for each in found]).double()


def why_not_stacked(job: Job) -> Obstacle | None:
    """Say why runs cannot be stacked in one batch, and what would help; None where they can."""
    spec = job.spec
    if job.rule is None:
        made = path_of(type(job.some_optimizer))
        who = repr(spec.optimizer) if made in RULES else name_of(made)  # a function, or a partial, that makes one
        why = f"{who} is none of torch's optimizers whose rule is known to look at one number at a time"
        known = listed([path.rpartition(":")[2] for path in RULES], most=len(RULES))
        return Obstacle(why, f"{known} of torch.optim take thousands of settings at once")
    if has_optimizer_hooks() or not is_torchs_step(type(job.some_optimizer)):
        why = "something is hung onto the steps of torch's optimizers, and only they themselves call it"
        return Obstacle(why, "without it thousands of runs are one batch")
    if job.like.dtype not in (torch.float32, torch.float64):
        why = f"in {job.like.dtype} torch keeps settings more exactly than a tensor of them can"
        return Obstacle(why, "in float32 or float64 thousands of runs are one batch")
    if any(each.parts is not None and each.parts.mode_matters for each in job.problems):
        why = "the model draws random numbers or keeps statistics while it trains (dropout, BatchNorm)"
        return Obstacle(why, "in eval mode thousands of runs are one batch")
    if any(value.dtype != job.like.dtype for each in job.problems for value in each.start.values()):
        return Obstacle("parameters have unlike dtypes", "parameters of one dtype are one batch")
    if spec.groups:
        return Obstacle("groups is for runs one by one", LEAVE_OUT)
    if isinstance(job.schedule, NotTabulatedError):
        return Obstacle(str(job.schedule), "under torch's other schedulers thousands of settings are one batch")
    if job.schedule is not None and job.schedule.turns("momentum"):
        return Obstacle("the scheduler turns momentum on or off", "with momentum throughout they are one batch")
    for name, values in loop_settings(spec.optimizer, job.all_values).items():
        if any(value != LOOP_SETTINGS[name] for value in values):
            return Obstacle(f"{name} treats each run's whole gradient, which is for runs one by one", LEAVE_OUT)
    for name, values in job.all_values.items():
        if name in LOOP_SETTINGS:
            continue
        if name not in job.rule.defaults:
            if any(value is not None and value is not False for value in values):
                return Obstacle(f"{name} chooses an implementation with other bits", LEAVE_OUT)
        elif not _are_like(values, job.rule.defaults[name]):
            return Obstacle(f"{name} is given as something other than numbers", "give numbers")
    return None


def _are_like(values: Sequence[Any], usual: Any) -> bool:
    kinds = {*map(type, values)}
    return (kinds == {float} and not isinstance(usual, tuple)) or all(_is_like(value, usual) for value in values)


def _is_like(value: Any, usual: Any) -> bool:
    """Tell whether a setting is a number, or as many numbers as it is by default."""
    if isinstance(usual, tuple):
        return isinstance(value, tuple) and len(value) == len(usual) and all(map(_is_like, value, usual))
    return isinstance(value, int | float)
