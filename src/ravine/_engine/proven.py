"""What whole runs of torch have proven in this process, so that a sweep of the same kind need not begin anew.

Of a kind are sweeps in which all is the same on which bits hang, down to the numbers of the data: only the values of
settings differ, and not in which of them are on and off. The first sweep of a kind is held against sixteen whole runs;
each later one against a few of its own, which are others each time, and it says so. The lanes of the compiled kernel
know nothing of each other, nor do the runs of a network, of which a sweep of a kind has as many: so nothing else of a
sweep can change their bits; other engines begin anew. Where one run is off, the kind is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from ravine._engine.chain import read_layers
from ravine._engine.compiled_sgd import CompiledSGD
from ravine._engine.forms import Forms
from ravine._engine.gradients import ALIGNED_BYTES
from ravine._engine.job import Job
from ravine._engine.network import Network
from ravine._engine.on_batches import Trial
from ravine._engine.rules.sgd import SGD
from ravine._kernel.neuron import CRITERIA, load_kernel
from ravine._problem.neuron import is_neuron
from ravine._problem.order import Evaluate, TorchValues
from ravine._problem.problem import Problem
from ravine._study.optimizer import path_of
from ravine._study.provenance import Agreement, digest
from ravine._torch import is_plain, numpy_of

LEAST_RUNS = 1000
"""Runs from which on a kind is remembered: fewer are held against sixteen each time, which takes milliseconds."""

MOST_KINDS = 64
"""Kinds that are remembered; of more the earliest are forgotten."""


@dataclass(frozen=True)
class Proven:
    """A kind: what torch gave, what has its bits, and how many whole runs, of how many sweeps, said so.

    What has them is a compiled descent, or the forms of a network. ``held`` are the numbers that one run holds between
    its loss and its gradient.
    """

    values: TorchValues
    bits: CompiledSGD | Forms
    held: int
    alone: bool
    why: str
    runs: int
    sweeps: int = 1

    @property
    def descent(self) -> CompiledSGD | None:
        """The compiled descent, if it is that."""
        return self.bits if isinstance(self.bits, CompiledSGD) else None

    def evaluation(self, problem: Problem) -> Evaluate:
        """Return the evaluation of a problem of this kind."""
        if isinstance(self.bits, CompiledSGD):
            return self.bits.compiled
        return Network(problem, [Trial(problem, self.values)], self.bits)


_known: dict[Hashable, Proven] = {}


def kind_of(job: Job, which: int, *, summary: bool) -> Hashable | None:
    """Return of which kind the sweep of a problem is; None where nothing is remembered of such."""
    problem = job.problems[which]
    parts = problem.parts
    if job.inner.size < LEAST_RUNS or job.rule is not SGD:
        return None
    if job.spec.scheduler is not None or job.spec.feed is not None:
        return None
    if parts is None or not isinstance(parts.criterion, torch.nn.Module) or not is_plain(parts.criterion):
        return None
    criterion, kernel, model = parts.criterion, load_kernel(), ""
    if is_neuron(problem):
        if kernel is None or type(criterion) not in CRITERIA:
            return None
    elif read_layers(problem) is not None:
        # torch's products may depend on how many there are at once, and on where their factors lie
        data = [(each.stride(), each.data_ptr() % ALIGNED_BYTES) for each in (parts.inputs, parts.targets)]
        model = repr((parts.model, job.inner.size, data))
    else:
        return None
    numbers = digest(*(numpy_of(each.detach()).tobytes() for each in (parts.inputs, parts.targets)))
    start = digest(*(numpy_of(value).tobytes() for value in problem.start.values()))
    turns = tuple(repr(getattr(criterion, name, None)) for name in ("reduction", "delta", "beta"))
    on = tuple(
        (name, tuple(sorted({bool(value) for value in job.all_values.get(name, (usual,))})))
        for name, usual in SGD.defaults.items()
        if name != "lr"
    )
    what = (path_of(type(criterion)), turns, model, str(job.like.dtype), numbers, start, bool(job.starts))
    return (*what, on, job.steps, summary, kernel and kernel.level, torch.__version__)


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
