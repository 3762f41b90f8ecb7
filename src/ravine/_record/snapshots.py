"""Snapshots as they are taken: copied, written, thinned out, and what they cost."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._record.budget import HASTE, LEAST, SHARE, Budget
from ravine._record.clock import Clock, wait_for
from ravine._record.members import Buffers, Members
from ravine._store.recording import About, Writer

MOST = 256
"""Snapshots that are kept with every="auto"; one more, and every second one goes."""

BLOCK = 1 << 16
"""Numbers of which an update is measured at a time: what is read twice stays in the cache.

Models of no more are measured as a whole, whatever the number of their tensors.
"""


class Snapshots:
    """The snapshots of one recording, one at every so many steps.

    A snapshot is taken where an update starts, and written when that update is made: then its loss is known, and how
    far it led. `every` is 0 where the distance is to be found; `first` is the step at which a resumed training begins,
    and `start` when the recording began.
    """

    def __init__(
        self,
        folder: Path,
        members: Members,
        buffers: Buffers,
        about: About,
        every: int,
        first: int = 0,
        start: float | None = None,
    ) -> None:
        self.members, self.buffers, self.about, self.first = members, buffers, about, first
        self.automatic, self.every = every == 0, every or 1
        self.writer = Writer(folder, about)
        # 256, or as many as half of the free disk holds
        self.most = max(4, min(MOST, shutil.disk_usage(folder).free // 2 // max(1, about.width)))
        self.row = torch.empty(sum(each.numel() for each in members.tensors.values()), dtype=members.dtype)
        self.row.zero_()  # memory is given when it is written to: that is no cost of the first snapshot
        self.numbers: NDArray[Any] = self.row.numpy()
        sizes = [each.numel() for each in members.tensors.values()]
        self.pieces = [
            (each, piece.view(each.shape), piece.numpy())
            for each, piece in zip(members.tensors.values(), torch.split(self.row, sizes), strict=True)
        ]
        """Each tensor, and its part of the row, twice."""
        self.whole = Update(members, self.row) if self.row.numel() <= BLOCK else None
        self.change = np.empty(0 if self.whole else min(BLOCK, max(sizes)), _wide(self.numbers.dtype))
        """Where an update is put that is measured: memory taken anew costs more than what is done in it."""
        self.devices = {each.device for each in members.tensors.values()} - {torch.device("cpu")}
        self.buffered = self._read_buffers()
        self.waiting: tuple[int, Mapping[str, float]] | None = None
        self.skipped = -1
        """The last step whose snapshot was too dear, while those before were not yet paid for."""
        self.cost = Clock()
        """What the next snapshot took up to now; whoever calls these methods starts it and stops it."""
        self.budget = Budget(start)

    @property
    def steps(self) -> list[int]:
        """The steps of the snapshots that were written."""
        return self.writer.steps

    def is_due(self, step: int) -> bool:
        """Tell whether this step gets a snapshot; the first one does."""
        return (step % self.every == 0 and step != self.skipped) or step == self.first

    def arrive(self, step: int) -> bool:
        """An update was made: tell whether the place where it led gets a snapshot.

        What else belongs to it is then read at once, before the next forward pass.
        """
        if step % self.every:
            return False
        if self.automatic and not self._affords(step):
            self.skipped = step
            return False
        if self.buffers:
            self.start_clock()
            self.buffered = self._read_buffers()
        return True

    def take(self, step: int, settings: Mapping[str, float]) -> None:
        """Copy the parameters, from which the next update starts."""
        if self.waiting is not None and self.waiting[0] == step:
            return
        self.start_clock()
        self._copy()
        self.waiting = step, settings

    def commit(self, step: int, loss: float) -> None:
        """Write the snapshot that waits, if its update is made by now."""
        if self.waiting is None or self.waiting[0] == step:
            return
        self._make_room()
        if self.is_due(self.waiting[0]):  # else it goes with those that were dropped meanwhile
            self.start_clock()
            self._write(*self.waiting, loss, self._ratios())
            self.cost.stop()
            self.budget.pay(self.cost)
        self.waiting, self.cost = None, Clock()
        self.cost.start()

    def finish(self, step: int, settings: Mapping[str, float]) -> None:
        """Write the last snapshot, whichever step that is."""
        self._make_room()
        self.cost = Clock()
        self.start_clock()
        self.buffered = self._read_buffers()
        self._copy()
        self._write(step, settings, np.nan, None)
        self.cost.stop()
        self.budget.pay(self.cost)
        self.budget.close()

    def start_clock(self) -> None:
        """Count what a snapshot takes from now on, once what the training has queued is done: that is no cost of it."""
        self.cost.stop()
        wait_for(self.devices)
        self.cost.start()

    def _write(self, step: int, settings: Mapping[str, float], loss: float, ratios: list[float] | None) -> None:
        moving = [settings.get(name, np.nan) for name in self.about.moving]
        self.writer.add(step, self.numbers, self.buffered, moving, loss, ratios)

    def _affords(self, step: int) -> bool:
        """Tell whether a snapshot of this step is worth what it costs; the distance doubles where it is too small.

        None is passed over but in the first moments of a training whose snapshots take longer than its steps: then
        those of a larger distance are taken.
        """
        if self.whole is not None and self.budget.is_free:
            return True
        cost = self.budget.cost_in_steps(step - self.first)
        if cost > HASTE * self.every or (len(self.steps) >= 2 * LEAST and cost > SHARE * self.every):
            self._thin(2 * self.every)
        if step % self.every or cost > HASTE * self.every:
            return False
        if self.budget.hurries(step - self.first) or not cost:  # before the first one is written none is known
            return True
        coarser = max(0, math.ceil(math.log2(cost / SHARE / self.every)))
        return self.budget.is_paid and step % (self.every << coarser) == 0

    def _make_room(self) -> None:
        while self.automatic and len(self.steps) >= self.most:
            self._thin(2 * self.every)

    def _thin(self, every: int) -> None:
        """Keep the snapshots of a larger distance alone, and take no others from now on."""
        self.cost.stop()  # it is no part of what one snapshot takes
        thinning = Clock()
        thinning.start()
        self.every = every
        self.writer.keep([row for row, step in enumerate(self.steps) if self.is_due(step)])
        thinning.stop()
        self.budget.pay_for_thinning(thinning)
        self.cost.start()

    @torch.no_grad()
    def _copy(self) -> None:
        for each, part, _ in self.pieces:
            part.copy_(each)

    def _ratios(self) -> list[float]:
        """Return the norm of the update over that of the parameters it started from, for each layer."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a training that diverges
            if self.whole is not None:
                squares = self.whole.squares()
            else:
                dtype = self.row.dtype
                squares = [_squares(_numbers_of(each, dtype), old, self.change) for each, _, old in self.pieces]
        of_tensor = dict(zip(self.members.tensors, squares, strict=True))
        found = []
        for names in self.members.layers.values():
            moved, length = (math.sqrt(sum(of_tensor[name][k] for name in names)) for k in (0, 1))
            found.append(moved / length if length else math.inf if moved else math.nan)
        return found

    @torch.no_grad()
    def _read_buffers(self) -> NDArray[Any] | None:
        now = [owner._buffers[name] for owner, name in self.buffers.values()]
        rows = [each.detach().reshape(-1).cpu().double().numpy() for each in now if each is not None]
        return np.concatenate(rows) if rows else None


class Update:
    """The update of a small model, measured as a whole: what numpy asks for each call is more than what it does."""

    def __init__(self, members: Members, row: torch.Tensor) -> None:
        tensors = [*members.tensors.values()]
        sizes = [each.numel() for each in tensors]
        self.old, new = row.numpy(), torch.empty_like(row)
        self.new = new.numpy()
        parts = torch.split(new, sizes)
        self.pieces = [(each, part.view(each.shape)) for each, part in zip(tensors, parts, strict=True)]
        ends = np.cumsum(sizes, dtype=np.int64)
        self.filled = np.flatnonzero(sizes)
        """Tensors that hold any number: of others a sum would be that of their neighbour."""
        self.starts = (ends - np.array(sizes, np.int64))[self.filled]
        self.numbers = np.empty((2, len(self.old)))
        self.found = np.zeros((2, len(sizes)))

    @torch.no_grad()
    def squares(self) -> list[tuple[float, float]]:
        """Return for each tensor the sum of the squares of its change, and of what was changed."""
        for each, part in self.pieces:
            part.copy_(each)
        np.subtract(self.new, self.old, out=self.numbers[0], dtype=np.float64)
        self.numbers[1] = self.old
        np.square(self.numbers, out=self.numbers)
        if len(self.filled):
            self.found[:, self.filled] = np.add.reduceat(self.numbers, self.starts, axis=1)
        moved, lengths = self.found.tolist()
        return list(zip(moved, lengths, strict=True))


def _numbers_of(tensor: torch.Tensor, dtype: torch.dtype) -> NDArray[Any]:
    """Return a tensor's numbers in a dtype that numpy has: its own memory where it lies on the CPU in that dtype."""
    return tensor.detach().to(device="cpu", dtype=dtype).reshape(-1).numpy()


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that squares are made in: those of float16 would overflow."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _squares(new: NDArray[Any], old: NDArray[Any], room: NDArray[Any]) -> tuple[float, float]:
    """Return the sum of the squares of a change, and of what was changed; some numbers at a time, read once."""
    moved = length = 0.0
    for begin in range(0, len(old), BLOCK):
        before = old[begin : begin + BLOCK].astype(room.dtype, copy=False)
        change = np.subtract(new[begin : begin + BLOCK], before, out=room[: len(before)])
        moved += float(change @ change)
        length += float(before @ before)
    return moved, length


def remove_folder(folder: Path, process: int) -> None:
    """Remove a recording that nobody needs any more."""
    if os.getpid() == process:  # a child that was forked has the same finalizers
        shutil.rmtree(folder, ignore_errors=True)
