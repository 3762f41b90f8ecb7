"""What is kept of the runs of a sweep, whole paths or a summary of each, and whether it fits into memory or on disk."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine import measure
from ravine._engine.job import Job
from ravine._system import SHARE_OF_MEMORY, bytes_free, check_fits, format_bytes
from ravine._torch import make_room, numpy_of

Advance = Callable[[float], None]
"""Is told of how many runs, or parts of them, the work is done."""

Kept = Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]
"""What is kept: by name the dimensions after the run, and the numbers."""


@dataclass(eq=False)
class Buffer:
    """Room for one block of runs, steps first: in this order each step writes to memory that lies together.

    ``position`` is (step, parameter, run), ``loss`` (step, run); ``squares``, the squared length of the parameters
    in float64, stands in for positions that are not kept, so that weight decay can be told. ``also`` holds what else is
    kept of each step, (step, run) by name. ``done`` is the last step that was written whole.
    """

    loss: torch.Tensor
    position: torch.Tensor | None
    squares: torch.Tensor | None
    also: Mapping[str, torch.Tensor] = field(default_factory=dict)
    done: int = -1

    @property
    def count(self) -> int:
        """Number of runs."""
        return self.loss.shape[1]

    def column(self, run: int) -> Buffer:
        """Return the room of one run of the block."""
        one = slice(run, run + 1)
        position = None if self.position is None else self.position[:, :, one]
        squares = None if self.squares is None else self.squares[:, one]
        return Buffer(self.loss[:, one], position, squares, {name: each[:, one] for name, each in self.also.items()})

    def place(self, step: int) -> torch.Tensor | None:
        """Return where the positions of a step are written down, if they are."""
        return None if self.position is None else self.position[step]

    def write(self, step: int, position: torch.Tensor) -> None:
        """Write down where the runs are; the loss is written by who evaluates it."""
        place = self.place(step)
        if place is not None and place.data_ptr() != position.data_ptr():  # else the step has led there
            place.copy_(position)
        if self.squares is not None:
            torch.sum(position.double().square_(), 0, out=self.squares[step])


class Output(Protocol):
    """What is kept of a sweep."""

    def open(self, runs: slice) -> Buffer:
        """Return room for these runs."""

    def close(self, runs: slice, record: Buffer, columns: Mapping[str, Any]) -> None:
        """Take in what was recorded; `columns` are the runs' settings and minima."""

    def lose(self, runs: NDArray[np.bool_], after: int = -1) -> None:
        """Make NaN of runs that were not made, or of what comes after a step."""

    def take(self, runs: slice, variables: Kept) -> None:
        """Take in what another output kept of these runs."""

    def variables(self) -> Kept:
        """Return what was kept as arrays whose first dimension is the run, each with its other dimensions."""


class PathOutput:
    """Keep every position and loss of a stretch of runs, and what else is recorded of each step."""

    def __init__(self, runs: slice, job: Job) -> None:
        self.first, count, steps, like = runs.start, runs.stop - runs.start, job.steps, job.like
        # those of a wide run lie together, as they are made
        places = (count, steps + 1, job.parameters) if job.is_wide else (steps + 1, job.parameters, count)
        each = [((steps + 1, count), dtype) for dtype in (like.dtype, *job.also.values())]
        position, self.loss, *also = make_room(like, (places, like.dtype), *each)
        self.position = position.permute(1, 2, 0) if job.is_wide else position
        self.also = dict(zip(job.also, also, strict=True))

    def open(self, runs: slice) -> Buffer:
        """Return room for these runs: their part of the whole."""
        here = _within(runs, self.first)
        also = {name: each[:, here] for name, each in self.also.items()}
        return Buffer(self.loss[:, here], self.position[:, :, here], None, also)

    def close(self, runs: slice, record: Buffer, columns: Mapping[str, Any]) -> None:
        """Do nothing: what was recorded is in its place."""

    def lose(self, runs: NDArray[np.bool_], after: int = -1) -> None:
        """Make NaN of these runs after a step."""
        if runs.any():
            which = torch.from_numpy(runs).to(self.loss.device)
            for each in (self.loss, *self.also.values()):
                each[after + 1 :, which] = torch.nan
            self.position[after + 1 :, :, which] = torch.nan

    def take(self, runs: slice, variables: Kept) -> None:
        """Take in what another output kept of these runs."""
        for name, (_, values) in self.variables().items():
            values[_within(runs, self.first)] = variables[name][1]

    def variables(self) -> Kept:
        """Return the paths: views of memory in which steps come first."""
        return {
            "position": (("step", "parameter"), np.moveaxis(numpy_of(self.position), -1, 0)),
            **{
                name: (("step",), np.moveaxis(numpy_of(each), -1, 0))
                for name, each in {"loss": self.loss, **self.also}.items()
            },
        }


class SummaryOutput:
    """Keep a few numbers of each of a stretch of runs, those of `measure.summary`; paths go with their block."""

    def __init__(self, runs: slice, steps: int, like: torch.Tensor, *, decay: bool) -> None:
        self.first, self.count = runs.start, runs.stop - runs.start
        self.steps, self.like, self.decay = steps, like, decay
        self.kept: dict[str, NDArray[Any]] = {}
        self.room: Buffer | None = None

    def open(self, runs: slice) -> Buffer:
        """Return room for these runs: the same for each block."""
        count = runs.stop - runs.start
        if self.room is None or self.room.loss.shape[1] < count:
            wanted = [self.like.dtype, *([torch.float64] if self.decay else [])]
            loss, *squares = make_room(self.like, *(((self.steps + 1, count), dtype) for dtype in wanted))
            self.room = Buffer(loss, None, squares[0] if squares else None)
        held = self.room.squares
        return Buffer(self.room.loss[:, :count], None, None if held is None else held[:, :count])

    def close(self, runs: slice, record: Buffer, columns: Mapping[str, Any]) -> None:
        """Sum up these runs."""
        # step-major memory seen as (run, step)
        data = {"loss": (("run", "step"), numpy_of(record.loss).T)}
        if record.squares is not None:
            data["squares"] = (("run", "step"), numpy_of(record.squares).T)
        columns = dict(columns)
        if "minimum_loss" in columns:
            data["minimum_loss"] = ("run", columns.pop("minimum_loss"))  # type: ignore[assignment]
        coords = {name: ("run", value) if np.ndim(value) else value for name, value in columns.items()}
        block = xr.Dataset(data, {**coords, "step": np.arange(self.steps + 1)})
        self.take(runs, {str(name): ((), each.values) for name, each in measure.summary(block).data_vars.items()})

    def take(self, runs: slice, variables: Kept) -> None:
        """Take in the summaries of these runs."""
        for name, (_, values) in variables.items():
            if name not in self.kept:
                self.kept[name] = np.empty(self.count, dtype=values.dtype)
            self.kept[name][_within(runs, self.first)] = values

    def lose(self, runs: NDArray[np.bool_], after: int = -1) -> None:
        """Make NaN of these runs: a summary of a part would be one of another run."""
        for values in self.kept.values():
            if runs.any():
                values[runs] = np.nan if values.dtype.kind == "f" else False

    def variables(self) -> Kept:
        """Return the summaries."""
        return {name: ((), values) for name, values in self.kept.items()}


def _within(runs: slice, first: int) -> slice:
    return slice(runs.start - first, runs.stop - first)


def bytes_of_paths(runs: int, job: Job) -> int:
    """Return how much memory the whole paths take."""
    each = (job.parameters + 1) * job.like.element_size() + sum(dtype.itemsize for dtype in job.also.values())
    return runs * (job.steps + 1) * each


def bytes_of_summary(runs: int, like: torch.Tensor) -> int:
    """Return how much memory the summaries take: two losses, three steps in float64 and a switch for each run."""
    return runs * (2 * like.element_size() + 3 * 8 + 1)


ON_DISK = 'store="runs.zarr" (-o runs.zarr) keeps them on disk'


def check_memory(job: Job, keep: str) -> None:
    """Complain before any work of a result that would not fit into memory."""
    paths = bytes_of_paths(job.size, job)
    summary = bytes_of_summary(job.size, job.like)
    free = bytes_free()
    if free is None or (paths if keep == "path" else summary) < SHARE_OF_MEMORY * free:
        return
    runs = f"{job.size:,} runs of {job.steps:,} steps with {job.parameters:,} parameters"
    if summary > SHARE_OF_MEMORY * free:
        fewer = int(job.size * SHARE_OF_MEMORY * free / summary)
        raise MemoryError(
            f"the summaries of {runs} take {format_bytes(summary)}, {format_bytes(free)} are free: {ON_DISK}; or run "
            f"at most {fewer:,} of these settings at a time"
        )
    fewer = int(job.size * SHARE_OF_MEMORY * free / paths)
    raise MemoryError(
        f"the paths of {runs} take {format_bytes(paths)}, {format_bytes(free)} are free. Three ways out: {ON_DISK}; "
        f'keep="summary" (--summary) takes {format_bytes(summary)}; or run at most {fewer:,} of these settings at a '
        "time"
    )


def check_single_run(job: Job) -> None:
    """Complain before any work of runs of which not even one would fit into memory, whatever is kept of it."""
    check_fits(
        f"a single run of {job.steps:,} steps with {job.parameters:,} parameters takes",
        bytes_of_paths(1, job),
        "take fewer steps",
    )


def check_disk(job: Job, path: str | os.PathLike[str], *, summary: bool) -> None:
    """Warn before any work of a store that the disk may not hold.

    How far numbers can be pressed together is known only afterwards: diverged runs to a fiftieth, others hardly to a
    half. What was written before the disk was full goes on, so this is no error.
    """
    paths = bytes_of_paths(job.size, job)
    needed = bytes_of_summary(job.size, job.like) if summary else paths
    folder = next(each for each in Path(path).absolute().parents if each.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        warnings.warn(
            f"{job.size:,} runs are {format_bytes(needed)} before they are compressed, and {format_bytes(free)} are "
            f"free in {folder}: should the disk get full, make room, and the sweep goes on where it stopped",
            stacklevel=6,
        )
