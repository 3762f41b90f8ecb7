"""Whole runs of SGD in the compiled kernel, where it has torch's bits step by step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._engine.job import Job
from ravine._engine.keep import Advance, Buffer
from ravine._engine.rules.rule import Settings
from ravine._engine.rules.sgd import SGD
from ravine._engine.schedule import NotTabulatedError
from ravine._kernel.neuron import PLACES
from ravine._problem.compiled import Compiled
from ravine._problem.order import TorchValues, same_bits
from ravine._torch import one_thread

SAMPLES_AT_ONCE = 1_000_000_000
"""Samples of all runs and steps that are evaluated before Ctrl-C is looked for: about half a second of them."""

SCRATCH_BYTES = 8_000_000
"""Positions that are held at once where none are kept."""


class CompiledSGD:
    """SGD's rule beside the kernel's losses and gradients: a run stays in the processor from step to step."""

    def __init__(self, compiled: Compiled, fused: bool, *, certain: bool = False) -> None:
        """`certain` says that the other way to take a step was tried, and has other bits."""
        self.compiled, self.fused, self.certain = compiled, fused, certain

    def run(self, job: Job, runs: NDArray[np.int64], record: Buffer, advance: Advance) -> None:
        """Make these runs, invalid ones too, some steps at once; as many as there is room for are written down."""
        last = len(record.loss) - 1
        schedule, neuron, sums = job.schedule, self.compiled.neuron, self.compiled.sums
        assert not isinstance(schedule, NotTabulatedError)
        places, count = job.inner.places(runs % job.inner.size), len(runs)
        settings = Settings(job.settings_of(runs, SGD.defaults), SGD.defaults, count, job.like)
        if schedule is not None:
            settings = settings.moved_to(schedule.at(0, places))
        state = job.like.new_zeros(PLACES, count)
        state[:2] = job.start_of(runs)
        rows, step, some = rows_of(settings), 0, self._steps_at_once(record, count)
        while step < last:
            if schedule is not None and schedule.moves_at(step):
                rows = rows_of(settings.moved_to(schedule.at(step, places)))
            until = min(step + some, last)
            if schedule is not None:
                until = next((t for t in range(step + 1, until) if schedule.moves_at(t)), until)
            losses = record.loss[step:until]
            if record.position is not None:
                position: torch.Tensor | None = record.position[step:until]
            else:
                position = None if record.squares is None else losses.new_empty(until - step, 2, count)
            neuron.descend(sums, self.fused, rows, state, losses, position, begun=step > 0)
            if record.squares is not None and position is not None:
                for k, each in enumerate(position):
                    record.write(step + k, each)
            record.done, step = until - 1, until
            advance(count * len(losses) / (last + 1))
        record.write(last, state[:2])
        neuron.evaluate(sums, state[0], state[1], record.loss[last])
        record.done = last
        advance(count / (last + 1))

    def _steps_at_once(self, record: Buffer, count: int) -> int:
        some = SAMPLES_AT_ONCE // (count * len(self.compiled.neuron.inputs))
        if record.squares is not None:
            some = min(some, SCRATCH_BYTES // (2 * count * record.loss.element_size()))
        return max(1, some)


def rows_of(settings: Settings) -> torch.Tensor:
    """Return what the kernel is told of each run: numbers rounded as torch rounds them, and which of them are on."""
    momentum, decay = settings["momentum"], settings["weight_decay"]
    columns = (
        -settings["lr"],
        momentum,
        1 - settings["dampening"],
        decay,
        np.where(settings["maximize"] != 0, -1.0, 1.0),
        decay != 0,
        momentum != 0,
        (settings["nesterov"] != 0) & (momentum != 0),
    )
    rows = settings.like.new_empty(len(columns), settings.runs)
    for row, column in zip(rows, columns, strict=True):
        row.copy_(torch.from_numpy(np.asarray(column, dtype=np.float64)))
    return rows


def choose_compiled_sgd(
    job: Job, compiled: Compiled, runs: NDArray[np.int64], values: TorchValues
) -> CompiledSGD | None:
    """Choose whether steps are fused, by what torch's own first steps of some runs came to; None where neither is so.

    `values` are those of these runs at their starts, then after a step, and so on.
    """
    steps = values.count // len(runs) - 1
    if job.rule is not SGD or steps < 1 or values.count != (steps + 1) * len(runs):
        return None
    expected = values.position.reshape(2, steps + 1, len(runs)).transpose(0, 1)
    ways = [CompiledSGD(compiled, fused) for fused in (True, False)]
    fitting = [each.fused for each in ways if same_bits(_first_positions(each, job, runs, steps), expected)]
    return CompiledSGD(compiled, fitting[0], certain=len(fitting) == 1) if fitting else None


def _first_positions(descent: CompiledSGD, job: Job, runs: NDArray[np.int64], steps: int) -> torch.Tensor:
    position = job.like.new_empty(steps + 1, 2, len(runs))
    record = Buffer(job.like.new_empty(steps + 1, len(runs)), position, None)
    with torch.no_grad(), one_thread(), np.errstate(all="ignore"):
        descent.run(job, runs, record, lambda amount: None)
    return position
