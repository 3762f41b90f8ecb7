"""sweep: the product of settings, all runs at once where torch's own bits allow it, else run by run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Literal

import torch
import xarray as xr

from ravine._descent.feed import make_feed
from ravine._descent.run_spec import Optimizer, RunSpec, Scheduler
from ravine._engine.keep import check_memory, check_single_run
from ravine._engine.make_job import make_job
from ravine._engine.product import Product, axis_of, is_many
from ravine._format import listed
from ravine._landscape.known import remember_problem
from ravine._parallel.workers import check_executor
from ravine._problem.over_batches import check_trainable
from ravine._problem.problem import Problem
from ravine._problem.starts import Starts, read_starts
from ravine._problems import Given, as_problem
from ravine._store.race import Part, begin_race, join_parts
from ravine._sweep.execute import check_place, in_memory, on_disk
from ravine._sweep.plan import make_plan
from ravine._torch import has_global_hooks, has_optimizer_hooks, with_gradients
from ravine._words.words import as_optimizer, as_scheduler


def race(
    sweep: Callable[..., xr.Dataset],
    entries: Mapping[Optimizer | str, Mapping[str, Any]],
    shared: Mapping[str, Any],
    store: str | os.PathLike[str] | None,
) -> xr.Dataset:
    """Sweep each optimizer with its own settings, and stack all of them along ``run``."""
    if not entries:
        raise ValueError("the mapping of optimizers is empty: give at least one with its settings")
    parts: list[Part] = []
    for given, settings in entries.items():
        optimizer = as_optimizer(given)
        name = getattr(optimizer, "__name__", repr(optimizer))
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings of {name} must be a mapping such as {{'lr': 0.1}}, got {settings!r}")
        if both := sorted(set(settings) & set(shared)):
            raise ValueError(f"{listed(both)} is given for all optimizers and for {name} again: give it once")
        own = Product(tuple(axis_of(key, value) for key, value in settings.items() if is_many(value)))
        labels = [" ".join([name, *(f"{k} {v}" for k, v in own.values(run).items())]) for run in range(own.size)]
        if again := {label for part in parts for label in part.labels}.intersection(labels):
            raise ValueError(
                f"two runs of the race would be called {min(again)!r}: give one optimizer another __name__"
            )
        word = re.sub(r"\W+", "-", name).strip("-")
        parts.append(Part(f"{len(parts) + 1}-{word}.zarr", tuple(axis.name for axis in own.axes), tuple(labels)))
    if store is None:
        return join_parts(parts, [sweep(optimizer=each, **shared, **given) for each, given in entries.items()])
    folder = check_place(store)
    begin_race(folder, parts)
    made = [
        sweep(optimizer=each, store=folder / part.folder, **shared, **given)
        for part, (each, given) in zip(parts, entries.items(), strict=True)
    ]
    return join_parts(parts, made)


@with_gradients
def sweep(
    problem: Given,
    optimizer: Optimizer | str | Mapping[Optimizer | str, Mapping[str, Any]] = torch.optim.SGD,
    steps: int = 100,
    *,
    starts: Starts | None = None,
    scheduler: Scheduler | str | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int | None = None,
    seed: int | Sequence[int] = 0,
    keep: Literal["path", "summary"] = "path",
    engine: Literal["torch", "autograd"] | None = None,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Run an optimizer with every combination of settings.

    A list or an array becomes a dimension, labelled with its values; a tuple, a string or a number is one value.

    Parameters
    ----------
    problem
        A problem, a mapping of them, or a word for one, as in `ravine.descend`.
    optimizer
        As in `ravine.descend`; or a mapping of several to the settings of each (``{"SGD": {"lr": [0.1, 0.2]},
        "Adam": {"lr": 0.1}}``), which become the dimension ``run``.
    steps
        Steps of each run.
    starts
        Several starts, as in `ravine.descend`: the dimension ``start``.
    scheduler
        As in `ravine.descend`. torch's own are asked once for each setting that they look at, and runs stay one batch;
        what they set is kept as ``scheduled_lr`` (…, step). `ReduceLROnPlateau`, and schedulers of one's own, take
        part in runs one by one.
    groups, batch_size
        As in `ravine.descend`, the same for all runs. On mini-batches runs stay one batch, each with the samples that
        torch's `DataLoader` deals out for its seed.
    seed
        Of mini-batches, and of what a model in train mode draws. From one number each run gets a seed of its own,
        made from the number and the run's settings, so that it does not hang on what else is in the sweep. A
        list becomes the dimension ``seed``, and each run takes just that: runs that differ in settings alone
        then see the same batches.
    keep
        ``"path"``: ``position`` and ``loss`` of each step. ``"summary"``: a few numbers of each run
        (`ravine.measure.summary`), for sweeps whose paths do not fit into memory.
    engine
        Left out, the fastest that fits: for SGD, Adam, AdamW, RMSprop, Adagrad, NAdam, RAdam, Adamax and Adadelta of
        `torch.optim` all runs at once, through gradients that are written out (a linear neuron, a chain of linear
        layers and activations) or through autograd (whatever `torch.func.vmap` can batch); everything else run by
        run. ``"autograd"`` and ``"torch"`` (run by run) force the others.
    store
        A folder, by custom ``.zarr``, that the runs are written to block by block, instead of memory. If it is
        there, the same sweep goes on where it stopped, however it was stopped. The result is read from it when
        it is looked at; `ravine.open` opens it later, `ravine.verify` proves it. Of several optimizers each has a
        store of its own in that folder; what they bring is read whole.
    executor
        Who makes the blocks: left out, this process; a `concurrent.futures.ProcessPoolExecutor`, or a dask
        cluster's ``client.get_executor()``. The numbers are the same; a worker that dies costs its block, which
        is made again. Workers of a cluster write to the store themselves: it must lie where all can reach it.
    **settings
        The optimizer's settings under torch's names, and arguments of the criterion (``delta``, ``beta``).

    Returns
    -------
    xarray.Dataset
        As from `ravine.descend`, with a dimension for each list. ``error`` (…) holds torch's message where a
        combination is invalid, and the numbers of that run are NaN. Up to 16 parameters ``minimizer`` and
        ``minimum_loss`` as from `ravine.landmarks`. The provenance tells the engine and why it is that one, and,
        from sixteen whole runs of different kinds that torch makes too, whether its bits are torch's or how far off.
        Interrupted by Ctrl-C it returns what was done, with ``steps_taken``.

    Raises
    ------
    ValueError
        If a list is empty or holds a value twice, a setting is unknown, all combinations are invalid, or the store
        holds another sweep; the message says in what they differ.
    MemoryError
        If the result would not fit into memory; the message says how large it is, and what to do.
    BlockingIOError
        If another process writes to the store.
    TimeoutError
        If no worker answers within a minute.

    Warns
    -----
    UserWarning
        Before it starts, if runs have to go one by one and that takes longer than some seconds: why, how long, and
        what would make it fast. After Ctrl-C, with how many runs were finished.

    Examples
    --------
    >>> import numpy as np, ravine
    >>> bowl = ravine.gallery.quadratic(condition=100)
    >>> runs = ravine.sweep(bowl, lr=np.geomspace(1e-3, 1, 4), momentum=[0.0, 0.9])
    >>> runs.position.dims, runs.position.shape
    (('lr', 'momentum', 'step', 'parameter'), (4, 2, 101, 2))
    >>> ravine.measure.arrival(runs).values.tolist()
    [[nan, nan], [nan, nan], [nan, 49.0], [nan, 49.0]]

    On disk, block by block; the second call finds everything done:

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> for attempt in range(2):
    ...     runs = ravine.sweep(bowl, lr=[0.01, 0.1], store=f"{folder.name}/runs.zarr")
    >>> float(ravine.at(runs, lr=0.1).loss[-1]) < float(ravine.at(runs, lr=0.01).loss[-1])
    True
    >>> folder.cleanup()

    Notes
    -----
    Rules are those of torch/optim, ``_single_tensor_sgd``, ``_single_tensor_adam`` and so on, line for line. Nothing
    that looks at several numbers at once is stacked (LBFGS, Muon, Adafactor, clipping of gradients): such optimizers
    run by themselves.
    """
    problem = as_problem(problem, "ravine.sweep")
    if isinstance(optimizer, Mapping):
        shared: dict[str, Any] = {"problem": problem, "steps": steps, "starts": starts, "scheduler": scheduler}
        shared |= {"groups": groups, "batch_size": batch_size, "seed": seed, "keep": keep, "engine": engine}
        return race(sweep, optimizer, {**shared, "executor": executor, **settings}, store)
    for each in [problem] if isinstance(problem, Problem) else problem.values():
        check_trainable(each, "ravine.sweep")
    made_by, schedule = as_optimizer(optimizer), as_scheduler(scheduler, steps)
    begun = (
        None
        if starts is None
        else read_starts(starts, problem if isinstance(problem, Problem) else next(iter(problem.values())))
    )
    if keep not in ("path", "summary"):
        raise ValueError(f'keep must be "path" or "summary", got {keep!r}')
    if engine not in (None, "torch", "autograd"):
        raise ValueError(f'engine must be "torch", "autograd" or left out, got {engine!r}')
    check_executor(executor, hooked=has_global_hooks() or has_optimizer_hooks())
    feed = make_feed([*problem.values()] if isinstance(problem, Mapping) else [problem], batch_size, 0, 1)
    spec = RunSpec(made_by, steps, {}, schedule, groups or {}, feed, frozenset(), throw=False)
    job = make_job(problem, spec, settings, begun, seed)
    if store is None:
        check_memory(job, keep)
    if store is not None or keep == "summary":  # where all paths fit, one does
        check_single_run(job)
    # a store outlives this process, and workers have one of their own: what is said there stands for itself
    plan = make_plan(job, engine, summary=keep == "summary", remembers=store is None and executor is None)
    runs = in_memory(plan, executor) if store is None else on_disk(plan, store, executor)
    remember_problem(problem, job.source["code"]["problems"])
    return runs
