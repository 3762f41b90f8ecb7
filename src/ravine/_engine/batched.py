"""The engines: many runs as one batch, or run by run, and the torch reference that both are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.dataset import Trace, curve, rows
from ravine._descent.descend import random_state_kept
from ravine._descent.loop import record_run
from ravine._engine.gradients import Evaluate, numbers_held
from ravine._engine.job import Job, some_valid
from ravine._engine.keep import Buffer
from ravine._engine.rules.sgd import settings_of
from ravine._engine.rules.sgd import step as step_
from ravine._problem.problem import Problem
from ravine._torch import one_thread

CHECKED_STEPS = 20
"""Steps of one random run of each problem that torch.optim takes too, to compare with."""

MANY_PROBLEMS = 4
"""Problems beyond which only three steps of each are compared."""

MOST_RUNS = 50_000
"""Runs at once beyond which nothing is gained, however small the problem."""

HELD_BYTES = 8_000_000
"""What a batch holds between its losses and its gradients: from 2 to 12 MB the cost of a run is flat."""

ROOM_BYTES = 64_000_000
"""Losses recorded at once where only summaries are kept."""

Advance = Callable[[float], None]


class Engine(Protocol):
    """A way to run the settings of one problem."""

    name: str
    agreement: str

    def block_size(self, job: Job, *, summary: bool) -> int:
        """Return how many runs it takes at once."""

    def run(self, job: Job, runs: slice, record: Buffer, errors: NDArray[np.object_], advance: Advance) -> None:
        """Make these runs and write them down; `errors`, one for each, takes the message of a run that fails."""

    def compare(self, runs: slice, record: Buffer) -> bool:
        """Compare with torch, if the run to compare is among these; `agreement` then says how near it came."""


class TorchEngine:
    """The real optimizer, run by run."""

    def __init__(self, job: Job) -> None:
        self.name, self.agreement = f"{job.optimizer_name}, run by run", "is torch"

    def block_size(self, job: Job, *, summary: bool) -> int:
        """Return how many runs are recorded before they are summed up."""
        return 64 if summary else 1

    def run(self, job: Job, runs: slice, record: Buffer, errors: NDArray[np.object_], advance: Advance) -> None:
        """Make these runs; one that fails leaves its message."""
        for column, run in enumerate(range(runs.start, runs.stop)):
            if not errors[column]:
                errors[column] = self._one(job, run, record.column(column))
            advance(1)
        record.done = job.steps

    def _one(self, job: Job, run: int, record: Buffer) -> str:
        problem, setting = job.problem_of(run), run % job.inner.size
        # one thread, as in every engine: how many there are on a machine, or in a worker, is not to change a bit
        with random_state_kept([problem]), one_thread():
            torch.manual_seed(job.seed_of(setting))
            try:
                trace = record_run(problem, job.spec_of(setting))
            except (ArithmeticError, RuntimeError, TypeError, ValueError) as reason:
                return str(reason)
        if trace.interrupted:
            raise KeyboardInterrupt
        for step, position in enumerate(rows(trace.positions, job.parameters)):
            record.write(step, position[:, None])
        record.loss[:, 0] = curve(trace.losses)
        return ""

    def compare(self, runs: slice, record: Buffer) -> bool:
        """Do nothing: it is torch."""
        return True


class BatchEngine:
    """All runs of a block at once: torch's rule for SGD, on gradients that are evaluated together."""

    def __init__(self, name: str, evaluate: Evaluate, truth: TorchReference) -> None:
        self.name, self.agreement, self.evaluate, self.truth = name, "not compared", evaluate, truth
        self.held = max(1, numbers_held(truth.problem))

    def block_size(self, job: Job, *, summary: bool) -> int:
        """Return how many runs keep a core's own memory busy, and no more."""
        some = HELD_BYTES // (self.held * job.like.element_size())
        if summary:
            some = min(some, ROOM_BYTES // (12 * (job.steps + 1)))
        return max(1, min(some, MOST_RUNS))

    def run(self, job: Job, runs: slice, record: Buffer, errors: NDArray[np.object_], advance: Advance) -> None:
        """Make these runs step by step, invalid ones too: they cost less than sorting them out."""
        count = record.count
        # torch multiplies a batch of a single matrix in another order: by itself a run would have other bits
        numbers = np.arange(runs.start, runs.stop).repeat(2 if count == 1 else 1)
        settings = settings_of(job.settings_of(numbers), len(numbers), job.like.dtype)
        position, velocity = job.start_of(numbers), None
        spare = job.like.new_empty(len(numbers))
        part = count / (job.steps + 1)
        with torch.no_grad(), one_thread():
            for step in range(job.steps + 1):
                record.write(step, position[:, :count])
                room = record.loss[step] if count > 1 else spare
                gradient = self.evaluate(position, room, step < job.steps)
                if count == 1:
                    record.loss[step] = spare[:1]
                if gradient is not None:
                    position, velocity = step_(position, gradient, velocity, settings)
                record.done = step
                advance(part)

    def compare(self, runs: slice, record: Buffer) -> bool:
        """Compare with what torch did, if that run is among these."""
        column = self.truth.run - runs.start
        if not 0 <= column < record.count:
            return False
        self.agreement = self.truth.agreement(record.column(column))
        return True


class TorchReference:
    """The first steps of one random run, taken by torch.optim, to hold a batch against."""

    def __init__(self, job: Job, which: int) -> None:
        self.run = which * job.inner.size + some_valid(job, which)
        self.problem = job.problem_of(self.run)
        steps = min(job.steps, CHECKED_STEPS if len(job.problems) <= MANY_PROBLEMS else 3)
        self.spec = replace(job.spec_of(self.run % job.inner.size), steps=steps, also=frozenset({"gradient"}))
        trace = self._trace(self.problem)
        self.position, self.loss = rows(trace.positions, job.parameters), curve(trace.losses)
        self.gradient = rows(trace.gradients, job.parameters)

    def _trace(self, problem: Problem) -> Trace:
        with random_state_kept([problem]), one_thread():  # as the engines: threads change the last bits of a sum
            return record_run(problem, self.spec)

    def agrees(self, evaluate: Evaluate) -> bool:
        """Tell whether losses and gradients at its positions are torch's but for rounding."""
        losses = torch.empty_like(self.loss)
        with torch.no_grad(), one_thread():
            gradient = evaluate(self.position.T.contiguous(), losses, True)
        assert gradient is not None
        return _near(losses[:, None], self.loss[:, None]) and _near(gradient.T, self.gradient)

    def agreement(self, record: Buffer) -> str:
        """Say how near a recorded run came to torch, and where it is not equal how near torch is to itself."""
        steps = len(self.loss)
        loss, position = record.loss[:steps, 0], self.position
        if record.position is not None:
            position = record.position[:steps, :, 0]
        looked = f"{steps - 1} steps of one random run compared"
        if _same(loss, self.loss) and _same(position, self.position):
            return f"every bit, {looked}"
        off = max(_apart(loss, self.loss), _apart(position, self.position))
        own = self._trace(self.problem.in_double())
        gap = max(
            _apart(self.loss, curve(own.losses)),
            _apart(self.position, rows(own.positions, self.position.shape[1])),
        )
        kind = str(self.loss.dtype).removeprefix("torch.")
        return f"within {off:.1e} of torch, {looked}; torch in {kind} is {gap:.1e} off torch in float64 there"


def _near(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Tell whether rows are alike but for rounding, each by the measure of its largest number."""
    room = 1000 * torch.finfo(theirs.dtype).eps
    largest = theirs.abs().amax(1, keepdim=True)
    return bool((((ours - theirs).abs() <= room * largest) | ~torch.isfinite(theirs)).all())


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference as a share of the largest number."""
    one, other = one.double(), other.double()
    both = torch.isfinite(one) & torch.isfinite(other)
    largest = torch.where(both, other.abs(), 0.0).max()
    return float(torch.where(both, (one - other).abs(), 0.0).max() / largest) if largest > 0 else 0.0
