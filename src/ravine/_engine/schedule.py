"""What a scheduler sets, step by step, in all runs of a sweep: torch's own, asked once for each setting it looks at."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.run_spec import RunSpec
from ravine._engine.product import Axis, Product
from ravine._engine.rules.rule import parts_of
from ravine._progress import tracked
from ravine._system import process_state

MOST_NUMBERS = 50_000_000
"""Numbers in a table of settings, at most."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The lr, and what else a scheduler sets, for each combination of the settings that make a difference to it.

    `columns` are (combination, step), the last of them after the last step; pairs are told by part: beta1, beta2.
    """

    product: Product
    columns: Mapping[str, Numbers]

    def moves_at(self, step: int) -> bool:
        """Tell whether anything is another at this step than at the one before."""
        return step > 0 and any((each[:, step] != each[:, step - 1]).any() for each in self.columns.values())

    def turns(self, name: str) -> bool:
        """Tell whether a setting is turned on or off on the way."""
        on = self.columns[name] != 0 if name in self.columns else np.zeros((1, 1), dtype=bool)
        return bool((on.any(axis=1) & ~on.all(axis=1)).any())

    def at(self, step: int, places: Mapping[str, NDArray[np.int64]]) -> dict[str, Numbers]:
        """Return the settings of some runs at a step, by their places on the axes of the sweep."""
        rows = np.zeros(1, dtype=np.int64)  # one for all, where nothing makes a difference
        if self.product.axes:
            rows = np.asarray(np.ravel_multi_index([places[a.name] for a in self.product.axes], self.product.shape))
        return {name: column[rows, step] for name, column in self.columns.items()}


class _Watched(dict[str, Any]):
    """A group of parameters, or an optimizer's defaults, that knows what was set and which given values were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read, self.written = set[str](), set[str]()

    def __getitem__(self, name: str) -> Any:
        self._see(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.written.add(name)
        super().__setitem__(name, value)

    def get(self, name: str, default: Any = None) -> Any:
        self._see(name)
        return super().get(name, default)

    def _see(self, name: str) -> None:
        if name not in self.written:
            self.read.add(name)


class NotTabulatedError(Exception):
    """The scheduler alone does not tell what it will do in a run; the message says why."""


def tabulate(spec: RunSpec, axes: Sequence[Axis], settings: Collection[str], like: torch.Tensor) -> Schedule:
    """Ask the scheduler of a sweep, on an optimizer that takes no steps.

    Parameters
    ----------
    spec
        The plan of a run that torch takes.
    axes
        The settings of the optimizer that are swept.
    settings
        All settings of the optimizer that make a path.
    like
        A parameter.

    Raises
    ------
    NotTabulatedError
        If what it does hangs on more than the optimizer's settings.
    """
    with torch.random.fork_rng(), process_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no step of the optimizer is taken in between
        first, again = (_Walk(spec, {}, settings, like) for _ in range(2))
        if first.columns != again.columns:
            raise NotTabulatedError("the scheduler is not the same each time")
        walks, product = [first], Product(())
        while wanted := {axis.name for axis in axes if any(axis.name in w.read for w in walks)} - _names(product):
            product = Product(tuple(axis for axis in axes if axis.name in wanted | _names(product)))
            if product.size * (spec.steps + 1) > MOST_NUMBERS:
                raise NotTabulatedError(f"the scheduler would have to be asked about {product.size:,} settings")
            asked = tracked(range(product.size), "schedules")
            walks = [_Walk(spec, product.values(row), settings, like) for row in asked]
    moved = set[str]().union(*(walk.moved for walk in walks))
    columns = {name: np.array([w.columns[name] for w in walks]) for name in first.columns if name in moved}
    return _without_idle_axes(Schedule(product, columns))


class _Walk:
    """A scheduler from its first to its last step, with some settings: which of them it read, set and moved."""

    def __init__(self, spec: RunSpec, values: Mapping[str, Any], settings: Collection[str], like: torch.Tensor) -> None:
        optimizer = spec.rule_for({"": like.new_zeros(1, requires_grad=True)})
        given = {**optimizer.param_groups[0], **values}
        group = _Watched(given)
        optimizer.param_groups, optimizer.defaults = [group], _Watched({**optimizer.defaults, **values})
        schedule = spec.schedule_for(optimizer)
        _check_schedule(schedule)
        steps = [dict(group)]
        for _ in range(spec.steps):
            schedule.step()
            steps.append(dict(group))
        self.read = group.read | optimizer.defaults.read
        self.columns, self.moved = dict[str, list[float]](), {"lr"}
        for name in sorted(group.written.intersection(settings)):
            numbers = np.atleast_2d(np.array([step[name] for step in steps], dtype=np.float64).T)
            usual = np.atleast_1d(given[name])
            for part, column, begun in zip(parts_of(name, given[name]), numbers, usual, strict=True):
                self.columns[part] = column.tolist()
                if (column != begun).any():
                    self.moved.add(part)


def _check_schedule(schedule: Any) -> None:
    """See that a scheduler is torch's own, whose steps hang on the optimizer's settings alone."""
    kind = type(schedule)
    if kind is torch.optim.lr_scheduler.ReduceLROnPlateau:
        raise NotTabulatedError("ReduceLROnPlateau looks at the loss of each run")
    if kind.__module__ != torch.optim.lr_scheduler.__name__:
        raise NotTabulatedError(f"{kind.__name__} is none of torch's schedulers")
    for part in getattr(schedule, "_schedulers", ()):
        _check_schedule(part)


def _names(product: Product) -> set[str]:
    return {axis.name for axis in product.axes}


def _without_idle_axes(schedule: Schedule) -> Schedule:
    """Leave out the axes along which nothing differs: reading a setting is not yet going by it."""
    shape, axes = schedule.product.shape, list(schedule.product.axes)
    columns = {name: column.reshape(*shape, -1) for name, column in schedule.columns.items()}
    for place in reversed(range(len(axes))):
        if all((each == each.take([0], axis=place)).all() for each in columns.values()):
            columns = {name: np.asarray(each.take(0, axis=place)) for name, each in columns.items()}
            del axes[place]
    left = Product(tuple(axes))
    return Schedule(left, {name: each.reshape(left.size, -1) for name, each in columns.items()})
