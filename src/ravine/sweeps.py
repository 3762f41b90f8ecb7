"""sweep: the product of settings, all runs at once where torch's own bits allow it, else run by run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine import batches, engines, grounds, jobs, spelling, stacks, study, traces
from ravine.descent import needs_closure
from ravine.engines import Engine
from ravine.grounds import Ground
from ravine.jobs import Job
from ravine.keeping import Keeper, Paths, Summaries, bytes_free, bytes_of_paths, bytes_of_summary
from ravine.lattice import Lattice, axis_of, is_many
from ravine.plan import Optimizer, Plan, Scheduler
from ravine.problem import Problem
from ravine.progress import work
from ravine.words import listed

__all__ = ["sweep"]

SHARE_OF_MEMORY = 0.7
"""Share of the free memory that a result may take."""


def sweep(
    problem: Problem | Mapping[str, Problem],
    optimizer: Optimizer | Mapping[Optimizer, Mapping[str, Any]] = torch.optim.SGD,
    steps: int = 100,
    *,
    starts: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] | None = None,
    scheduler: Scheduler | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int | None = None,
    seed: int | Sequence[int] = 0,
    keep: Literal["path", "summary"] = "path",
    engine: Literal["torch", "autograd"] | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Run an optimizer with every combination of settings.

    A list or an array becomes a dimension, labelled with its values; a tuple, a string or a number is one value.

    Parameters
    ----------
    problem
        A problem, or a mapping of them, as in `ravine.descend`.
    optimizer
        As in `ravine.descend`; or a mapping of several to the settings of each, which become the dimension
        ``run``.
    steps
        Steps of each run.
    starts
        Several starts, as in `ravine.descend`: the dimension ``start``.
    scheduler, groups, batch_size
        As in `ravine.descend`, the same for all runs.
    seed
        Of mini-batches, and of what a model in train mode draws. From one number each run gets a seed of its own,
        made from the number and the run's settings, so that it does not hang on what else is in the sweep. A
        list becomes the dimension ``seed``, and each run takes just that: runs that differ in settings alone
        then see the same batches.
    keep
        ``"path"``: ``position`` and ``loss`` of each step. ``"summary"``: a few numbers of each run
        (`ravine.measure.summary`), for sweeps whose paths do not fit into memory.
    engine
        Left out, the fastest that fits: for `torch.optim.SGD` all runs at once, through gradients that are
        written out (a linear neuron) or through autograd (whatever `torch.func.vmap` can batch); everything
        else run by run. ``"autograd"`` and ``"torch"`` (run by run) force the slower ones.
    **settings
        The optimizer's settings under torch's names, and arguments of the criterion (``delta``, ``beta``).

    Returns
    -------
    xarray.Dataset
        As from `ravine.descend`, with a dimension for each list. ``error`` (…) holds torch's message where a
        combination is invalid, and the numbers of that run are NaN. Up to 16 parameters ``minimizer`` and
        ``minimum_loss`` as from `ravine.landmarks`. The provenance tells the engine and, measured on random runs,
        whether its bits are torch's or how far they are off. Interrupted by Ctrl-C it returns what was done,
        with ``steps_taken``.

    Raises
    ------
    ValueError
        If a list is empty or holds a value twice, a setting is unknown, or all combinations are invalid.
    MemoryError
        If the result would not fit into memory; the message says how large it is, and what to do.

    Examples
    --------
    >>> import numpy as np, ravine
    >>> bowl = ravine.gallery.quadratic(condition=100)
    >>> runs = ravine.sweep(bowl, lr=np.geomspace(1e-3, 1, 4), momentum=[0.0, 0.9])
    >>> runs.position.dims, runs.position.shape
    (('lr', 'momentum', 'step', 'parameter'), (4, 2, 101, 2))
    >>> ravine.measure.arrival(runs).values.tolist()
    [[nan, nan], [nan, nan], [nan, 49.0], [nan, 49.0]]

    Notes
    -----
    The rule is that of torch/optim/sgd.py (`ravine.sgd`). Nothing that looks at several numbers at once is
    stacked (LBFGS, Muon, Adafactor, clipping of gradients): such optimizers run by themselves.
    """
    if isinstance(optimizer, Mapping):
        shared: dict[str, Any] = {"starts": starts, "scheduler": scheduler, "groups": groups, "batch_size": batch_size}
        shared |= {"seed": seed, "keep": keep, "engine": engine, **settings}
        return _race(problem, optimizer, steps, shared)
    if keep not in ("path", "summary"):
        raise ValueError(f'keep must be "path" or "summary", got {keep!r}')
    if engine not in (None, "torch", "autograd"):
        raise ValueError(f'engine must be "torch", "autograd" or left out, got {engine!r}')
    for each in problem.values() if isinstance(problem, Mapping) else [problem]:
        if not isinstance(each, Problem):
            raise TypeError(f"expected a ravine.Problem or a mapping of them, got {each!r}")
    feed = batches.feed([*problem.values()] if isinstance(problem, Mapping) else [problem], batch_size, 0, 1)
    plan = Plan(optimizer, steps, {}, scheduler, groups or {}, feed, frozenset(), throw=False)
    job = jobs.job_of(problem, plan, settings, starts, seed)
    _check_fits(job, keep)
    errors = jobs.errors_of(job)
    ground = grounds.ground_of(job)
    keeper: Keeper = Paths(job.size, job.steps, job.parameters, job.like)
    if keep == "summary":
        keeper = Summaries(job.size, job.steps, job.like, decay=ground.any_decay)
    crew = [engines.engine_of(job, which, errors, engine) for which in range(len(job.problems))]
    taken = _run(job, crew, keeper, ground, errors)
    keeper.lose(errors != "")
    return _as_study(job, crew, keeper, ground, errors, taken)


def _run(
    job: Job, crew: Sequence[Engine], keeper: Keeper, ground: Ground, errors: NDArray[np.object_]
) -> NDArray[np.int64]:
    """Run block after block; return how many steps each run took, -1 where it was not begun."""
    taken = np.full(job.size, -1)
    try:
        with work(job.size, "runs") as advance:
            for engine, runs in _blocks(job, crew, summary=isinstance(keeper, Summaries)):
                record = keeper.open(runs)
                try:
                    engine.run(job, runs, record, errors, advance)
                finally:
                    taken[runs] = record.done
                engine.compare(runs, record)
                keeper.close(runs, record, ground.columns(job, runs))
    except KeyboardInterrupt:
        if (taken < 0).all():
            raise
        for done in np.unique(taken[taken < job.steps]).tolist():
            keeper.lose(taken == done, after=done)
        finished = int((taken == job.steps).sum())
        warnings.warn(f"interrupted: {finished:,} of {job.size:,} runs were finished", stacklevel=3)
    if (errors != "").all():
        raise RuntimeError(f"every run failed; the first with: {errors[0]}")
    return taken


def _blocks(job: Job, crew: Sequence[Engine], *, summary: bool) -> Iterator[tuple[Engine, slice]]:
    """Cut the runs of each problem into blocks that its engine takes at once."""
    for which, engine in enumerate(crew):
        first, last = which * job.inner.size, (which + 1) * job.inner.size
        some = engine.block_size(job, summary=summary)
        for begin in range(first, last, some):
            yield engine, slice(begin, min(begin + some, last))


def _check_fits(job: Job, keep: str) -> None:
    """Complain before any work of a result that would not fit into memory."""
    paths = bytes_of_paths(job.size, job.steps, job.parameters, job.like)
    summary = bytes_of_summary(job.size, job.like)
    free = bytes_free()
    if free is None or (paths if keep == "path" else summary) < SHARE_OF_MEMORY * free:
        return
    runs = f"{job.size:,} runs of {job.steps:,} steps with {job.parameters:,} parameters"
    if summary > SHARE_OF_MEMORY * free:
        fewer = int(job.size * SHARE_OF_MEMORY * free / summary)
        raise MemoryError(
            f"the summaries of {runs} take {_size(summary)}, {_size(free)} are free: "
            f"run at most {fewer:,} of these settings at a time"
        )
    fewer = int(job.size * SHARE_OF_MEMORY * free / paths)
    raise MemoryError(
        f"the paths of {runs} take {_size(paths)}, {_size(free)} are free. Two ways out: "
        f'keep="summary" (--summary) takes {_size(summary)}; or run at most {fewer:,} of these settings at a time'
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def _as_study(
    job: Job,
    crew: Sequence[Engine],
    keeper: Keeper,
    ground: Ground,
    errors: NDArray[np.object_],
    taken: NDArray[np.int64],
) -> xr.Dataset:
    """Give what was kept its dimensions, coordinates and provenance."""
    lead = tuple(axis.name for axis in job.axes)
    shape = tuple(len(axis.values) for axis in job.axes)
    spelled = spelling.of_plan(job.plan, job.base)
    spelled["code"] |= {"swept": job.spelled(), "closure": needs_closure(job.some_optimizer)}
    fate = study.provenance(
        _each(job, [engine.name for engine in crew]),
        equals_torch=_each(job, [engine.told for engine in crew]),
        settings={name: traces.plain(value) for name, value in job.defaults.items() if name not in lead},
        threads=1,
        **spelled,
    )

    def variable(name: str, dims: Sequence[str], array: NDArray[Any]) -> xr.Variable:
        attrs = {"long_name": study.CONTRACT[name].long_name, "provenance": fate}
        return xr.Variable((*lead, *dims), array.reshape(*shape, *array.shape[1:]), attrs)

    data = {name: variable(name, dims, array) for name, (dims, array) in keeper.variables().items()}
    if (errors != "").any():
        data["error"] = variable("error", (), errors.astype(str))
    if (taken < job.steps).any():
        data["steps_taken"] = variable("steps_taken", (), np.maximum(taken, 0))
    data |= ground.variables
    parts = job.problems[0].parts
    if parts is not None and traces.is_drawable(parts) and "problem" not in lead:
        data |= traces.shared_data(parts)
    settings = {n: traces.plain(v) for n, v in job.defaults.items() if traces.is_coordinate(n, v)}
    overridden = {name for each in job.plan.groups.values() for name in each}
    coords: dict[str, Any] = {name: value for name, value in settings.items() if name not in overridden}
    coords |= {"step": np.arange(job.steps + 1), "parameter": traces.parameter_of(job.problems[0])}
    coords |= {"optimizer": job.optimizer_name}
    if job.problems[0].criterion is not None and not {"criterion", "problem"} & set(lead):
        coords["criterion"] = job.problems[0].criterion
    if job.plan.feed is not None and "seed" not in lead:
        inner = tuple(axis.name for axis in job.inner.axes)
        seeds = np.array([job.seed_of(setting) for setting in range(job.inner.size)])
        coords["seed"] = (inner, seeds.reshape(job.inner.shape))
    return xr.Dataset(data, coords | {axis.name: axis.labels for axis in job.axes})


def _each(job: Job, words: Sequence[str]) -> str | dict[str, str]:
    """Say one thing for all problems, or each with its label."""
    if len(set(words)) == 1:
        return words[0]
    columns = job.outer.columns(np.arange(len(words)))
    labels = [", ".join(str(column[k]) for column in columns.values()) for k in range(len(words))]
    return dict(zip(labels, words, strict=True))


def _race(
    problem: Problem | Mapping[str, Problem],
    entries: Mapping[Optimizer, Mapping[str, Any]],
    steps: int,
    shared: Mapping[str, Any],
) -> xr.Dataset:
    """Sweep each optimizer with its own settings, and stack all of them along ``run``."""
    if not entries:
        raise ValueError("the mapping of optimizers is empty: give at least one with its settings")
    runs: dict[str, xr.Dataset] = {}
    for optimizer, settings in entries.items():
        name = getattr(optimizer, "__name__", repr(optimizer))
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings of {name} must be a mapping such as {{'lr': 0.1}}, got {settings!r}")
        if both := sorted(set(settings) & set(shared)):
            raise ValueError(f"{listed(both)} is given for all optimizers and for {name} again: give it once")
        lattice = Lattice(tuple(axis_of(key, value) for key, value in settings.items() if is_many(value)))
        whole = sweep(problem, optimizer, steps, **shared, **settings)
        for k in range(lattice.size):
            label = " ".join([name, *(f"{key} {value}" for key, value in lattice.values(k).items())])
            runs[label] = whole.isel({key: int(place[0]) for key, place in lattice.places(np.array([k])).items()})
    if any("error" in run for run in runs.values()):
        runs = {label: run if "error" in run else _without_error(run) for label, run in runs.items()}
    return stacks.join(runs, "run")


def _without_error(run: xr.Dataset) -> xr.Dataset:
    loss = run["loss"].isel(step=0, drop=True) if "loss" in run else run["final_loss"]
    attrs = {"long_name": study.CONTRACT["error"].long_name}
    return run.assign(error=loss.astype(str).copy(data=np.full(loss.shape, "")).assign_attrs(attrs))
