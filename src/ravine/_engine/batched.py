"""The engines: many runs as one batch, or run by run."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.descend import random_state_kept
from ravine._descent.loop import record_run
from ravine._engine.compiled_sgd import CompiledSGD, choose_compiled_sgd
from ravine._engine.gradients import WrittenOut, numbers_held
from ravine._engine.job import Job
from ravine._engine.keep import Advance, Buffer
from ravine._engine.network import Network
from ravine._engine.proven import Proven, remember
from ravine._engine.reference import TorchReference
from ravine._engine.rules.rule import Settings
from ravine._engine.schedule import NotTabulatedError
from ravine._problem.order import Evaluate, TorchValues, has_bits
from ravine._study.provenance import Agreement
from ravine._torch import one_thread, set_seed

MOST_RUNS = 50_000
"""Runs at once beyond which nothing is gained, however small the problem."""

HELD_BYTES = 6_000_000
"""What a batch holds between its losses and its gradients: below it calls, above it memory cost more."""

NETWORK_BYTES = 4_000_000
"""The same of a network that is written out: it has three times as much at hand, and its calls do more each."""

ROOM_BYTES = 64_000_000
"""Losses recorded at once where only summaries are kept."""

StepEvaluation = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor | None]
"""Takes the step, positions (parameters, runs) and where to write losses (runs,); gives gradients, at the end none."""


class Engine(Protocol):
    """A way to run the settings of one problem."""

    name: str
    why: str
    """Why it is this one."""

    def block_size(self, job: Job, *, summary: bool) -> int:
        """Return how many runs it takes at once."""

    def run(self, job: Job, runs: slice, record: Buffer, errors: NDArray[np.object_], advance: Advance) -> None:
        """Make these runs and write them down; `errors`, one for each, takes the message of a run that fails."""

    def compare(self, runs: slice, record: Buffer) -> Agreement | None:
        """Hold those of these runs that torch takes too against torch's; None where all of them are torch's."""


class TorchEngine:
    """The real optimizer, run by run."""

    def __init__(self, job: Job, why: str, remedy: str = "") -> None:
        self.name, self.why, self.remedy = f"{job.optimizer_name}, run by run", why, remedy

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
            set_seed(job.seed_of(setting))
            try:
                trace = record_run(problem, job.spec_of(setting))
            except (ArithmeticError, RuntimeError, TypeError, ValueError) as reason:
                return str(reason)
        if trace.interrupted:
            raise KeyboardInterrupt
        for step, position in enumerate(trace.positions.whole()):
            record.write(step, position[:, None])
        record.loss[:, 0] = trace.loss
        if "batch_loss" in record.also:
            record.also["batch_loss"][:, 0] = trace.batch_losses.whole()[:, 0]
        if "scheduled_lr" in record.also:
            rates = torch.tensor(trace.scheduled, dtype=torch.float64)
            record.also["scheduled_lr"][:, 0] = rates.fill_(torch.nan) if "lr" in trace.apart else rates
        return ""

    def compare(self, runs: slice, record: Buffer) -> None:
        """Do nothing: it is torch."""


class BatchEngine:
    """All runs of a block at once: the optimizer's rule on gradients that are evaluated together."""

    def __init__(
        self, gradient: str, evaluate: Evaluate, reference: TorchReference, probe: TorchValues, held: int | None = None
    ) -> None:
        """`held` are the numbers that one run holds between its loss and its gradient, where that is known."""
        self.name, self.why = f"{reference.job.optimizer_name}'s rule on a batch, gradient {gradient}", ""
        self.evaluate, self.reference, self.probe = evaluate, reference, probe
        self.held = max(1, numbers_held(reference.problem)) if held is None else held
        self.at_home = True
        self.kind: Hashable = None
        self.descent: CompiledSGD | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "at_home": False, "descent": None, "kind": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.choose_descent()  # for the processor that is here

    def choose_descent(self) -> None:
        """Take the compiled descent on all data where it has torch's bits from step to step."""
        reference = self.reference
        on_all = reference.job.spec.feed is None
        if on_all and isinstance(self.evaluate, WrittenOut) and self.evaluate.compiled is not None:
            compiled, values = self.evaluate.compiled, self.evaluate.values
            self.descent = choose_compiled_sgd(reference.job, compiled, reference.runs_of_values, values)

    @cached_property
    def has_same_bits(self) -> bool:
        """Whether it gives here, perhaps on another processor, what it gave where it was made."""
        if self.at_home:
            return True
        with torch.no_grad(), one_thread():
            return all(has_bits(evaluate, probe, probe.count) for evaluate, probe in self.probed())

    def probed(self) -> list[tuple[Evaluate, TorchValues]]:
        """Return its evaluations, each with what it gave where it was made."""
        return [(self.evaluate, self.probe)]

    def block_size(self, job: Job, *, summary: bool) -> int:
        """Return how many runs keep a core's own memory busy, and no more."""
        most = NETWORK_BYTES if isinstance(self.evaluate, Network) else HELD_BYTES
        some = most // (self.held * job.like.element_size())
        if summary:
            some = min(some, ROOM_BYTES // (12 * (job.steps + 1)))
        return max(1, min(some, MOST_RUNS))

    def run(self, job: Job, runs: slice, record: Buffer, errors: NDArray[np.object_], advance: Advance) -> None:
        """Make these runs step by step, invalid ones too: they cost less than sorting them out."""
        count = record.count
        if self.descent is not None:
            with torch.no_grad(), one_thread(), np.errstate(all="ignore"):
                self.descent.run(job, np.arange(runs.start, runs.stop), record, advance)
            return
        # torch multiplies a batch of a single matrix in another order: by itself a run would have other bits
        numbers = np.arange(runs.start, runs.stop).repeat(2 if count == 1 else 1)
        assert job.rule is not None
        given, position, schedule = job.settings_of(numbers, job.rule.defaults), job.start_of(numbers), job.schedule
        assert not isinstance(schedule, NotTabulatedError)
        places = job.inner.places(numbers % job.inner.size)
        spare = job.like.new_empty(len(numbers))
        part, evaluate, wide = count / (job.steps + 1), self.evaluation(job, numbers, record), job.is_wide and count > 1
        with torch.no_grad(), one_thread(), np.errstate(all="ignore"):  # what overflows here, does in torch
            settings = Settings(given, job.rule.defaults, len(numbers), job.like)
            if schedule is not None:
                settings = settings.moved_to(schedule.at(0, places))
            rule = job.rule(settings, position)
            for step in range(job.steps + 1):
                record.write(step, position[:, :count])
                room = record.loss[step] if count > 1 else spare
                gradient = evaluate(step, position, room)
                if count == 1:
                    record.loss[step] = spare[:1]
                if schedule is not None and schedule.moves_at(step):
                    settings = settings.moved_to(schedule.at(step, places))
                    rule.read(settings)
                if gradient is not None:
                    ahead = record.place(step + 1) if wide else None
                    position = rule.step(position, gradient, ahead)
                record.done = step
                advance(part)

    def evaluation(self, job: Job, numbers: NDArray[np.int64], record: Buffer) -> StepEvaluation:
        """Return what evaluates these runs, step after step."""
        return lambda step, position, losses: self.evaluate(position, losses, step < job.steps)

    def remember(self, agreement: Agreement) -> None:
        """Remember for sweeps of this kind how all that was compared came out."""
        if self.kind is not None and self.descent is not None:
            reference = self.reference
            known = Proven(self.probe, self.descent, self.held, reference.alone, self.why, len(reference.runs))
            remember(self.kind, known, agreement, again=reference.before > 0)

    def compare(self, runs: slice, record: Buffer) -> Agreement:
        """Hold those of these runs that torch takes too against torch's."""
        found = self.reference.compare(runs, record)
        found.strays = 0 if self.has_same_bits else record.count
        return found
