"""The plan of a sweep: engines, minima and blocks; all that is needed to make any block, here or elsewhere."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._descent.dataset import parameter_of
from ravine._descent.descend import random_state_kept
from ravine._descent.loop import record_run
from ravine._engine.batched import BatchEngine, Engine, TorchEngine
from ravine._engine.choose import choose_engine
from ravine._engine.job import Job
from ravine._engine.keep import Kept, Output, PathOutput, SummaryOutput, bytes_of_paths, bytes_of_summary
from ravine._engine.product import Axis
from ravine._format import duration
from ravine._store.ledger import Tiling, tiling_of
from ravine._study.contract import CONTRACT
from ravine._study.decay import Decay, minimised_decay
from ravine._study.optimizer import path_of
from ravine._study.provenance import Agreement
from ravine._torch import one_thread, set_seed
from ravine.curvature._landmarks import MOST, formula_of, variables_of
from ravine.curvature._minima import minima_of
from ravine.curvature._regression import none_found


@dataclass(frozen=True, eq=False)
class Minima:
    """What the runs minimise, as far as it is known: the decay that is part of it, None where it is not known."""

    decays: Sequence[Decay | None]
    minimum: NDArray[np.float64] | None
    variables: dict[str, xr.Variable]

    @property
    def any_decay(self) -> bool:
        """Whether weight decay, one for all parameters, is part of what any run minimises."""
        return any(decay for decay in self.decays if not isinstance(decay, tuple))

    def columns(self, job: Job, runs: slice) -> dict[str, Any]:
        """Return, for a block of runs, the settings and minima that its summary needs."""
        numbers = np.arange(runs.start, runs.stop)
        usual = {"weight_decay": 0.0, "maximize": False}
        if "decoupled_weight_decay" in job.defaults:
            usual["decoupled_weight_decay"] = job.defaults["decoupled_weight_decay"]
        columns: dict[str, Any] = {**usual, **job.settings_of(numbers, usual)}
        columns["optimizer"] = path_of(type(job.some_optimizer))
        if self.minimum is not None:
            axes, places = decay_axes(job), job.inner.places(numbers % job.inner.size)
            place = np.zeros(len(numbers), dtype=np.int64)
            for axis in axes:
                place = place * len(axis.values) + places[axis.name]
            columns["minimum_loss"] = self.minimum[runs.start // job.inner.size, place]
        return columns


def decay_axes(job: Job) -> list[Axis]:
    """Return the swept settings on which it hangs what is minimised."""
    return [axis for axis in job.inner.axes if axis.name in ("weight_decay", "decoupled_weight_decay")]


def find_minima(job: Job, *, summary: bool) -> Minima:
    """Find the minima of what is minimised, where there are few enough parameters."""
    swept = {axis.name: axis.labels.tolist() for axis in decay_axes(job)}
    # maximize among the swept is told run by run; given once, it holds for all
    rest = {name: value for name, value in job.defaults.items() if name != "maximize"} | dict(job.spec.settings)
    path = path_of(type(job.some_optimizer))
    each_given = (dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values()))
    decays = [minimised_decay(path, {**rest, **given}, job.tensors) for given in each_given]
    if summary:  # which keeps no positions, by which each parameter's decay would be told
        decays = [None if isinstance(decay, tuple) else decay for decay in decays]
    if job.parameters > MOST or all(decay is None for decay in decays):
        return Minima(decays, None, {})
    unknown = none_found(job.parameters, "it is not known what is minimised")
    found = [
        unknown if decay is None else next(minima_of(problem, [decay], None))
        for problem in job.problems
        for decay in decays
    ]
    minima = np.reshape([each.loss for each in found], (len(job.problems), len(decays)))
    if np.isnan(minima).all():
        return Minima(decays, None, {})
    outer = {axis.name: axis.labels.tolist() for axis in job.outer.axes}
    several = any(isinstance(decay, tuple) for decay in decays)
    known = next(decay for decay in decays if decay is not None)
    formula = formula_of(known) if several else "loss + weight_decay / 2 * |parameters|²"
    data = variables_of(found, outer | swept, formula, near=None)
    data["parameter_"] = xr.Variable("parameter_", parameter_of(job.problems[0]).values)
    rows = [found[k : k + len(decays)] for k in range(0, len(found), len(decays))]
    alike = [next((each.quadratic for each in row if np.isfinite(each.loss)), False) for row in rows]
    attrs = {"long_name": CONTRACT["quadratic"].long_name}
    data["quadratic"] = xr.Variable(tuple(outer), np.reshape(alike, job.outer.shape), attrs)
    return Minima(decays, minima, data)


BLOCK_BYTES = 8_000_000
"""What a block brings at most, where that is more than one run."""

BLOCK_SECONDS = 0.5
"""About how long a block takes at most: long beside handing it out, short to lose."""

LEAST_SECONDS = 0.05
"""About how long a block takes at least, however many workers there are: handing it out takes a tenth of that."""

MOST_IN_BLOCK = 4096
"""Runs one by one in a block at most."""

SLOW_SECONDS = 5.0
"""Seconds from which it is said before the start that runs go one by one."""

PARTS = 4
"""Blocks that each worker gets at least, where there are runs enough."""


@dataclass(eq=False)
class BlockResult:
    """A stretch of runs while it is made.

    How many steps each took (-1: not begun), torch's messages, how each engine compares with torch (None: it is torch),
    and what was kept.
    """

    runs: slice
    taken: NDArray[np.int64]
    errors: NDArray[np.object_]
    agreement: dict[int, Agreement | None] = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)

    def join(self, part: BlockResult) -> None:
        """Take in how a part of the stretch went."""
        here = slice(part.runs.start - self.runs.start, part.runs.stop - self.runs.start)
        self.taken[here], self.errors[here] = part.taken, part.errors
        for which, agreement in part.agreement.items():
            self.see(which, agreement)

    def see(self, which: int, agreement: Agreement | None) -> None:
        """Take in how runs of one problem compare with torch's."""
        known = self.agreement.setdefault(which, agreement)
        if known is not None and agreement is not None and known is not agreement:
            known.join(agreement)


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """A job with the engine of each of its problems, the minima it goes down to, and what of the runs is kept."""

    job: Job
    engines: Sequence[Engine]
    minima: Minima
    summary: bool

    def output(self, runs: slice) -> Output:
        """Return where a stretch of runs is kept."""
        job = self.job
        if self.summary:
            return SummaryOutput(runs, job.steps, job.like, decay=self.minima.any_decay)
        return PathOutput(runs, job)

    def begin(self, runs: slice) -> BlockResult:
        """Return a stretch of runs that is still to be made, with what torch refuses of it."""
        return BlockResult(runs, np.full(runs.stop - runs.start, -1), self.job.refusals.of_runs(runs))

    def make(self, runs: slice, advance: Callable[[float], None]) -> BlockResult:
        """Make a stretch of runs and return it with what is kept of them."""
        made, output = self.begin(runs), self.output(runs)
        self.work_on(made, output, advance)
        output.lose(made.errors != "")
        made.kept = output.variables()
        return made

    def work_on(self, made: BlockResult, output: Output, advance: Callable[[float], None]) -> None:
        """Make the runs of a stretch, part after part; interrupted, what was done is told by `made`."""
        for which, runs in self._parts(made.runs):
            here = slice(runs.start - made.runs.start, runs.stop - made.runs.start)
            engine, record = self.engines[which], output.open(runs)
            try:
                engine.run(self.job, runs, record, made.errors[here], advance)
            finally:
                made.taken[here] = record.done
            made.see(which, engine.compare(runs, record))
            output.close(runs, record, self.minima.columns(self.job, runs))

    def remember(self, made: BlockResult) -> None:
        """Remember for later sweeps how whole runs of each problem came out."""
        for which, engine in enumerate(self.engines):
            agreement = made.agreement.get(which)
            if isinstance(engine, BatchEngine) and agreement is not None:
                engine.remember(agreement)

    def _parts(self, runs: slice) -> Iterator[tuple[int, slice]]:
        """Cut a stretch where problems change, and to what an engine takes at once."""
        each = self.job.inner.size
        for which in range(runs.start // each, -(-runs.stop // each)):
            first, last = max(runs.start, which * each), min(runs.stop, (which + 1) * each)
            some = self.engines[which].block_size(self.job, summary=self.summary)
            for begin in range(first, last, some):
                yield which, slice(begin, min(begin + some, last))

    def warn_if_slow(self, workers: int, level: int) -> None:
        """Say before it starts that runs go one by one, if that takes long: why, how long, and what would help."""
        size, apart = self.job.inner.size, dict[str, list[int]]()
        for which, engine in enumerate(self.engines):
            if isinstance(engine, TorchEngine) and engine.remedy:
                apart.setdefault(f"{engine.why}; {engine.remedy}", []).append(which)
        for words, problems in apart.items():
            seconds = math.fsum(self._timed_alone(which) * size for which in problems) / workers
            if seconds > SLOW_SECONDS:
                runs = f"{len(problems) * size:,} runs go one by one, about {duration(seconds)} by a few timed steps"
                shared = "" if workers > 1 else "; executor (--workers) shares them out among processes"
                warnings.warn(f"{runs}: {words}{shared}", stacklevel=level)

    @property
    def what(self) -> str:
        """What to call the runs in a progress bar."""
        return "runs, one by one" if any(isinstance(each, TorchEngine) for each in self.engines) else "runs"

    def tiling(self, workers: int) -> Tiling:
        """Cut the whole into blocks that are made, stored, and if need be made again, as one."""
        job = self.job
        one = bytes_of_summary(1, job.like) if self.summary else bytes_of_paths(1, job)
        run = self._seconds_of_a_run()
        some = BLOCK_SECONDS / run
        if workers > 1:
            some = min(some, max(job.size / (PARTS * workers), LEAST_SECONDS / run))
        shape = tuple(len(axis.values) for axis in job.axes)
        return tiling_of(shape, max(1, min(BLOCK_BYTES // one, math.ceil(some))))

    def _seconds_of_a_run(self) -> float:
        """Estimate how long a run takes: from a few steps of one, or one step of many at once."""
        which = next((k for k, engine in enumerate(self.engines) if isinstance(engine, TorchEngine)), 0)
        engine, first = self.engines[which], which * self.job.inner.size
        least = BLOCK_SECONDS / MOST_IN_BLOCK
        if not isinstance(engine, BatchEngine):
            return max(least, self._timed_alone(which))
        some = min(self.job.inner.size, engine.block_size(self.job, summary=self.summary))
        position = self.job.start_of(np.arange(first, first + some))
        losses = self.job.like.new_empty(some)

        def step() -> None:
            engine.evaluate(position, losses, True)

        with torch.no_grad(), one_thread():
            return max(1e-9, _seconds_of(step)) * (self.job.steps + 1) / some

    def _timed_alone(self, which: int) -> float:
        """Take a few steps of a run by itself; one that fails will be told with the run."""
        job = self.job
        problem, steps = job.problems[which], min(job.steps, 3)
        spec = replace(job.spec_of(job.refusals.some_valid(which)), steps=steps)
        with random_state_kept([problem]), one_thread():
            set_seed(0)
            try:
                return _seconds_of(lambda: record_run(problem, spec)) * (job.steps + 1) / (steps + 1)
            except (ArithmeticError, RuntimeError, TypeError, ValueError):
                return BLOCK_SECONDS


def _seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds of a second call, or of a third if that was faster; the first is slow for its own reasons."""
    call()
    found = []
    for _ in range(2):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found)


def make_plan(job: Job, engine: str | None, *, summary: bool, remembers: bool = False) -> SweepPlan:
    """Choose the engines, and find the minima; one that `remembers` goes by what was compared before in this process.

    Raises
    ------
    Exception
        Torch's own, if it refuses all settings.
    """
    job.refusals.some_valid(0)  # before longer work than this
    minima = find_minima(job, summary=summary)
    told = {"summary": summary, "remembers": remembers}
    engines = [choose_engine(job, which, engine, **told) for which in range(len(job.problems))]
    return SweepPlan(job, engines, minima, summary)
