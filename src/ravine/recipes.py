"""Recipes: all that is needed to make any block of a sweep, here or in another process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ravine import engines, grounds, jobs
from ravine.descent import random_state_kept, trace_of
from ravine.engines import Batched, Engine, OneByOne
from ravine.grounds import Ground
from ravine.jobs import Job
from ravine.keeping import Keeper, Kept, Paths, Summaries, bytes_of_paths, bytes_of_summary
from ravine.threads import one_thread
from ravine.tiling import Tiling, tiling_of

__all__ = ["Made", "Recipe", "recipe_of"]

BLOCK_BYTES = 8_000_000
"""What a block brings at most, where that is more than one run."""

BLOCK_SECONDS = 0.5
"""About how long a block takes at most: long beside handing it out, short to lose."""

LEAST_SECONDS = 0.05
"""About how long a block takes at least, however many workers there are: handing it out takes a tenth of that."""

MOST_IN_BLOCK = 4096
"""Runs one by one in a block at most."""

PARTS = 4
"""Blocks that each worker gets at least, where there are runs enough."""


@dataclass(eq=False)
class Made:
    """A stretch of runs while it is made.

    How many steps each took (-1: not begun), torch's messages, what each engine says of its bits, and what was kept.
    """

    runs: slice
    taken: NDArray[np.int64]
    errors: NDArray[np.object_]
    told: dict[int, str] = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)

    def join(self, part: Made) -> None:
        """Take in how a part of the stretch went."""
        here = slice(part.runs.start - self.runs.start, part.runs.stop - self.runs.start)
        self.taken[here], self.errors[here] = part.taken, part.errors
        self.told |= part.told


@dataclass(frozen=True, eq=False)
class Recipe:
    """A job with the engine of each of its problems, the minima it goes down to, and what of the runs is kept."""

    job: Job
    crew: Sequence[Engine]
    ground: Ground
    summary: bool

    def keeper(self, runs: slice) -> Keeper:
        """Return where a stretch of runs is kept."""
        job = self.job
        if self.summary:
            return Summaries(runs, job.steps, job.like, decay=self.ground.any_decay)
        return Paths(runs, job.steps, job.parameters, job.like)

    def begin(self, runs: slice) -> Made:
        """Return a stretch of runs that is still to be made, with what torch refuses of it."""
        return Made(runs, np.full(runs.stop - runs.start, -1), jobs.errors_of(self.job, runs))

    def make(self, runs: slice, advance: Callable[[float], None]) -> Made:
        """Make a stretch of runs and return it with what is kept of them."""
        made, keeper = self.begin(runs), self.keeper(runs)
        self.work_on(made, keeper, advance)
        keeper.lose(made.errors != "")
        made.kept = keeper.variables()
        return made

    def work_on(self, made: Made, keeper: Keeper, advance: Callable[[float], None]) -> None:
        """Make the runs of a stretch, part after part; interrupted, what was done is told by `made`."""
        for which, runs in self._parts(made.runs):
            here = slice(runs.start - made.runs.start, runs.stop - made.runs.start)
            engine, record = self.crew[which], keeper.open(runs)
            try:
                engine.run(self.job, runs, record, made.errors[here], advance)
            finally:
                made.taken[here] = record.done
            if engine.compare(runs, record):
                made.told[which] = engine.told
            keeper.close(runs, record, self.ground.columns(self.job, runs))

    def _parts(self, runs: slice) -> Iterator[tuple[int, slice]]:
        """Cut a stretch where problems change, and to what an engine takes at once."""
        each = self.job.inner.size
        for which in range(runs.start // each, -(-runs.stop // each)):
            first, last = max(runs.start, which * each), min(runs.stop, (which + 1) * each)
            some = self.crew[which].block_size(self.job, summary=self.summary)
            for begin in range(first, last, some):
                yield which, slice(begin, min(begin + some, last))

    def tiling(self, workers: int) -> Tiling:
        """Cut the whole into blocks that are made, stored, and if need be made again, as one."""
        job = self.job
        one = bytes_of_summary(1, job.like) if self.summary else bytes_of_paths(1, job.steps, job.parameters, job.like)
        run = self._seconds_of_a_run()
        some = BLOCK_SECONDS / run
        if workers > 1:
            some = min(some, max(job.size / (PARTS * workers), LEAST_SECONDS / run))
        shape = tuple(len(axis.values) for axis in job.axes)
        return tiling_of(shape, max(1, min(BLOCK_BYTES // one, math.ceil(some))))

    def _seconds_of_a_run(self) -> float:
        """Estimate how long a run takes: from a few steps of one, or one step of many at once."""
        which = next((k for k, engine in enumerate(self.crew) if isinstance(engine, OneByOne)), 0)
        engine, first = self.crew[which], which * self.job.inner.size
        least = BLOCK_SECONDS / MOST_IN_BLOCK
        if not isinstance(engine, Batched):
            return max(least, self._timed_alone(which))
        some = min(self.job.inner.size, engine.block_size(self.job, summary=self.summary))
        position = self.job.start_of(np.arange(first, first + some))
        losses = self.job.like.new_empty(some)

        def step() -> None:
            engine.evaluate(position, losses, True)

        with torch.no_grad(), one_thread():
            return max(1e-9, _second_time(step)) * (self.job.steps + 1) / some

    def _timed_alone(self, which: int) -> float:
        """Take a few steps of a run by itself; one that fails will be told with the run."""
        job = self.job
        problem, steps = job.problems[which], min(job.steps, 3)
        plan = replace(job.plan_of(jobs.some_valid(job, which)), steps=steps)
        with random_state_kept([problem]), one_thread():
            torch.manual_seed(0)
            try:
                return _second_time(lambda: trace_of(problem, plan)) * (job.steps + 1) / (steps + 1)
            except (ArithmeticError, RuntimeError, TypeError, ValueError):
                return BLOCK_SECONDS


def _second_time(call: Callable[[], object]) -> float:
    """Return the seconds of a second call; the first is slow for reasons of its own."""
    call()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def recipe_of(job: Job, engine: str | None, *, summary: bool) -> Recipe:
    """Choose the engines, and find the minima.

    Raises
    ------
    Exception
        Torch's own, if it refuses all settings.
    """
    jobs.some_valid(job, 0)  # before longer work than this
    ground = grounds.ground_of(job)
    crew = [engines.engine_of(job, which, engine) for which in range(len(job.problems))]
    return Recipe(job, crew, ground, summary)
