"""What whole runs of torch have proven in this process, so that a sweep of the same kind need not begin anew.

Of a kind are sweeps in which all is the same on which bits hang, down to the numbers of the data: only the values of
settings differ, and not in which of them are on and off. The first sweep of a kind is held against sixteen whole runs;
each later one against a few of its own, which are others each time, and it says so. The lanes of the compiled kernel
know nothing of each other, so nothing else of a sweep can change their bits; other engines begin anew. Where one run is
off, the kind is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import torch

from ravine._engine.compiled_sgd import CompiledSGD
from ravine._engine.job import Job
from ravine._engine.rules.sgd import SGD
from ravine._kernel.neuron import CRITERIA, load_kernel
from ravine._problem.neuron import is_neuron
from ravine._problem.order import TorchValues
from ravine._study.optimizer import path_of
from ravine._study.provenance import Agreement, digest
from ravine._torch import is_plain, numeric_switches, numpy_of

LEAST_RUNS = 1000
"""Runs from which on a kind is remembered: fewer are held against sixteen each time, which takes milliseconds."""

MOST_KINDS = 64
"""Kinds that are remembered; of more the earliest are forgotten."""


@dataclass(frozen=True)
class Proven:
    """A kind: what torch gave, the descent that has its bits, and how many whole runs, of how many sweeps, said so.

    ``held`` are the numbers that one run holds between its loss and its gradient.
    """

    values: TorchValues
    descent: CompiledSGD
    held: int
    alone: bool
    why: str
    runs: int
    sweeps: int = 1


_known: dict[Hashable, Proven] = {}


def kind_of(job: Job, which: int, *, summary: bool) -> Hashable | None:
    """Return of which kind the sweep of a problem is; None where nothing is remembered of such."""
    problem = job.problems[which]
    parts = problem.parts
    if job.inner.size < LEAST_RUNS or job.rule is not SGD:
        return None
    if job.spec.scheduler is not None or job.spec.feed is not None:
        return None
    if parts is None or not is_neuron(problem) or type(parts.criterion) not in CRITERIA:
        return None
    criterion, kernel = parts.criterion, load_kernel()
    numbers = digest(*(numpy_of(each.detach()).tobytes() for each in (parts.inputs, parts.targets)))
    begun = job.start_of(which * job.inner.size + np.arange(job.inner.size)) if job.starts else None
    start = digest(*(numpy_of(each).tobytes() for each in ([*problem.start.values()] if begun is None else [begun])))
    turns = tuple(repr(getattr(criterion, name, None)) for name in ("reduction", "delta", "beta"))
    if kernel is None or not isinstance(criterion, torch.nn.Module) or not is_plain(criterion):
        return None
    on = tuple(
        (name, tuple(sorted({bool(value) for value in job.all_values.get(name, (usual,))})))
        for name, usual in SGD.defaults.items()
        if name != "lr"
    )
    what = (path_of(type(criterion)), turns, str(job.like.dtype), numbers, start, bool(job.starts))
    return (*what, *numeric_switches(), on, job.steps, summary, kernel.level, torch.__version__)


def find_proven(kind: Hashable | None) -> Proven | None:
    """Return what is known of a kind."""
    return None if kind is None else _known.get(kind)


def remember(kind: Hashable, proven: Proven, agreement: Agreement, *, again: bool) -> None:
    """Take in how the whole runs of a sweep compare with torch's: the first of its kind, or one `again`."""
    earlier = _known.pop(kind, None)
    if agreement.strays or agreement.compared != proven.runs or agreement.equal != proven.runs:
        return
    if again:
        if earlier is None:  # forgotten while this one ran
            return
        proven = replace(earlier, runs=earlier.runs + proven.runs, sweeps=earlier.sweeps + 1)
    while len(_known) >= MOST_KINDS:
        _known.pop(next(iter(_known)), None)
    _known[kind] = proven


def forget() -> None:
    """Forget all of it: the next sweep of any kind is the first."""
    _known.clear()
