"""Snapshots as they are taken: copied, written, thinned out, and what they cost."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._record.budget import Budget
from ravine._record.members import Buffers, Members
from ravine._store.recording import About, Writer

MOST = 256
"""Snapshots that are kept with every="auto"; one more, and every second one goes."""

BLOCK = 1 << 16
"""Numbers of which an update is measured at a time: what is read twice stays in the cache."""


class Snapshots:
    """The snapshots of one recording, one at every so many steps.

    A snapshot is taken where an update starts, and written when that update is made: then its loss is known, and how
    far it led. `every` is 0 where the distance is to be found; `first` is the step at which a resumed training begins.
    """

    def __init__(
        self, folder: Path, members: Members, buffers: Buffers, about: About, every: int, first: int = 0
    ) -> None:
        self.members, self.buffers, self.about, self.first = members, buffers, about, first
        self.automatic, self.every = every == 0, every or 1
        self.writer = Writer(folder, about)
        self.budget = Budget()
        # 256, or as many as half of the free disk holds
        self.most = max(4, min(MOST, shutil.disk_usage(folder).free // 2 // max(1, about.width)))
        self.row = torch.empty(sum(each.numel() for each in members.tensors.values()), dtype=members.dtype)
        self.numbers: NDArray[Any] = self.row.numpy()
        sizes = [each.numel() for each in members.tensors.values()]
        self.pieces = [
            (each, piece.view(each.shape), piece.numpy())
            for each, piece in zip(members.tensors.values(), torch.split(self.row, sizes), strict=True)
        ]
        """Each tensor, and its part of the row, twice."""
        self.devices = {each.device for each in members.tensors.values()} - {torch.device("cpu")}
        self.buffered = self._read_buffers()
        self.waiting: tuple[int, Mapping[str, float]] | None = None
        self.skipped = -1
        """The last step whose snapshot was too dear, while those before were not yet paid for."""
        self._cost = 0.0

    @property
    def steps(self) -> list[int]:
        """The steps of the snapshots that were written."""
        return self.writer.steps

    def is_due(self, step: int) -> bool:
        """Tell whether this step gets a snapshot."""
        return step % self.every == 0 and step != self.skipped

    def arrive(self, step: int) -> bool:
        """An update was made: tell whether the place where it led gets a snapshot.

        What else belongs to it is then read at once, before the next forward pass.
        """
        if step % self.every:
            return False
        if self.automatic and not self.budget.affords_another():
            if not self.budget.affords_one_in(self.every, step - self.first):
                self._thin()
            self.skipped = step
            return False
        if self.buffers:
            now = self._start_clock()
            self.buffered = self._read_buffers()
            self._cost += time.perf_counter() - now
        return True

    def take(self, step: int, settings: Mapping[str, float]) -> None:
        """Copy the parameters, from which the next update starts."""
        if self.waiting is not None and self.waiting[0] == step:
            return
        now = self._start_clock()
        self._copy()
        self.waiting = step, settings
        self._cost += time.perf_counter() - now

    def commit(self, step: int, loss: float) -> None:
        """Write the snapshot that waits, if its update is made by now."""
        if self.waiting is None or self.waiting[0] == step:
            return
        self._make_room()
        if self.is_due(self.waiting[0]):  # else it goes with those that were dropped meanwhile
            now = self._start_clock()
            self._write(*self.waiting, loss, self._ratios())
            self.budget.pay(self._cost + time.perf_counter() - now)
        self.waiting, self._cost = None, 0.0

    def finish(self, step: int, settings: Mapping[str, float]) -> None:
        """Write the last snapshot, whichever step that is."""
        self._make_room()
        now = self._start_clock()
        self.buffered = self._read_buffers()
        self._copy()
        self._write(step, settings, np.nan, None)
        self.budget.pay(time.perf_counter() - now)
        self.budget.close()

    def _start_clock(self) -> float:
        """Return the time, once what the training has queued on its devices is done: that is no cost of a snapshot."""
        for device in self.devices:
            module = getattr(torch, device.type, None)
            if device.type == "mps":
                torch.mps.synchronize()
            elif module is not None and hasattr(module, "synchronize"):
                module.synchronize(device)
        return time.perf_counter()

    def _write(self, step: int, settings: Mapping[str, float], loss: float, ratios: list[float] | None) -> None:
        moving = [settings.get(name, np.nan) for name in self.about.moving]
        self.writer.add(step, self.numbers, self.buffered, moving, loss, ratios)

    def _make_room(self) -> None:
        while self.automatic and len(self.steps) >= self.most:
            self._thin()

    def _thin(self) -> None:
        """Drop every second snapshot, and take half as many from now on."""
        now = time.perf_counter()
        self.every *= 2
        self.writer.keep([row for row, step in enumerate(self.steps) if self.is_due(step)])
        self.budget.spent += time.perf_counter() - now

    @torch.no_grad()
    def _copy(self) -> None:
        for each, part, _ in self.pieces:
            part.copy_(each)

    def _ratios(self) -> list[float]:
        """Return the norm of the update over that of the parameters it started from, for each layer."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a training that diverges
            squares = [_squares(_numbers_of(each, self.row.dtype), old) for each, _, old in self.pieces]
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


def _numbers_of(tensor: torch.Tensor, dtype: torch.dtype) -> NDArray[Any]:
    """Return a tensor's numbers in a dtype that numpy has: its own memory where it lies on the CPU in that dtype."""
    return tensor.detach().to(device="cpu", dtype=dtype).reshape(-1).numpy()


def _squares(new: NDArray[Any], old: NDArray[Any]) -> tuple[float, float]:
    """Return the sum of the squares of a change, and of what was changed; some numbers at a time, read once."""
    moved = length = 0.0
    wide = np.float32 if old.dtype == np.float16 else old.dtype  # whose squares would overflow
    for begin in range(0, len(old), BLOCK):
        before = old[begin : begin + BLOCK].astype(wide, copy=False)
        change = np.subtract(new[begin : begin + BLOCK], before, dtype=wide)
        moved += float(change @ change)
        length += float(before @ before)
    return moved, length


def remove_folder(folder: Path, process: int) -> None:
    """Remove a recording that nobody needs any more."""
    if os.getpid() == process:  # a child that was forked has the same finalizers
        shutil.rmtree(folder, ignore_errors=True)
