"""Which engine runs a sweep: the fastest whose losses and gradients are those of torch."""

from __future__ import annotations

import torch

from ravine._engine.batched import BatchEngine, Engine, TorchEngine, TorchReference
from ravine._engine.gradients import of_any, of_neuron
from ravine._engine.job import Job
from ravine._study.rule import DEFAULTS, name_of, path_of


def choose_engine(job: Job, which: int, wanted: str | None) -> Engine:
    """Choose the fastest engine for one problem that agrees with torch.

    Raises
    ------
    ValueError
        If autograd on a batch was asked for and does not fit.
    """
    if wanted == "torch":
        return TorchEngine(job)
    reason = why_not_stacked(job)
    if reason is None:
        truth = TorchReference(job, which)
        written = None if wanted == "autograd" else of_neuron(truth.problem)
        if written is not None and truth.agrees(written):
            return BatchEngine("SGD's rule on a batch, gradient written out", written, truth)
        batched = of_any(truth.problem)
        try:
            if truth.agrees(batched):
                return BatchEngine("SGD's rule on a batch, gradient by autograd", batched, truth)
            reason = "on a batch the loss has other values than by itself"
        except Exception as failure:  # whatever vmap cannot do, and parameters that the loss does not use
            reason = f"{type(failure).__name__}: {str(failure).partition(chr(10))[0]}"
    if wanted == "autograd":
        raise ValueError(f'engine="autograd" does not fit: {reason}; leave engine out')
    return TorchEngine(job)


def why_not_stacked(job: Job) -> str | None:
    """Say why runs cannot be stacked in one batch; None where they can."""
    spec = job.spec
    if spec.optimizer is not torch.optim.SGD:
        made = name_of(path_of(type(job.some_optimizer)))
        who = repr(spec.optimizer) if made == "SGD" else made  # a function, or a partial, that makes one
        return f"{who} is not torch.optim.SGD, whose rule is known to look at one number at a time"
    if job.like.dtype not in (torch.float32, torch.float64):
        return f"in {job.like.dtype} torch keeps settings more exactly than a tensor of them can"
    for name, given in {"scheduler": spec.scheduler, "groups": spec.groups, "batch_size": spec.feed}.items():
        if given:
            return f"{name} is for runs one by one"
    for name, values in job.all_values.items():
        if name in DEFAULTS and not all(isinstance(value, int | float) for value in values):
            return f"{name} is given as something other than numbers"
        if name not in (*DEFAULTS, "foreach") and any(values):
            return f"{name} chooses an implementation with other bits"
    return None
