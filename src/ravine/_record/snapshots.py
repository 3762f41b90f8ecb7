"""Snapshots as they are taken: copied, written, thinned out, and what they cost."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._record.members import Buffers, Members
from ravine._store.recording import About, Writer

MOST = 256
"""Snapshots that are kept with every="auto"; one more, and every second one goes."""

SHARE = 0.03
"""Share of the training's time that a snapshot may take with every="auto": 5 % with the first ones, taken to see it."""

SEEN = 5
"""Snapshots whose cost is looked at; of fewer than three nothing is said."""


class Snapshots:
    """The snapshots of one recording, one at every so many steps.

    A snapshot is taken where an update starts, and written when that update is made: then its loss is known, and how
    far it led. `every` is 0 where the distance is to be found.
    """

    def __init__(self, folder: Path, members: Members, buffers: Buffers, about: About, every: int) -> None:
        self.members, self.buffers, self.about = members, buffers, about
        self.automatic, self.every = every == 0, every or 1
        self.writer = Writer(folder, about)
        # 256, or as many as half of the free disk holds
        self.most = max(4, min(MOST, shutil.disk_usage(folder).free // 2 // about.width))
        self.row = torch.empty(sum(each.numel() for each in members.tensors.values()), dtype=members.dtype)
        self.held = self._read_buffers()
        self.waiting: tuple[int, Mapping[str, float]] | None = None
        self.spent = self._cost = 0.0
        self._costs: deque[float] = deque(maxlen=SEEN)
        self._paces: deque[float] = deque(maxlen=SEEN)
        self._start = self._clock = time.perf_counter()
        self._end = 0.0
        self._at, self._before = 0, 0.0

    @property
    def steps(self) -> list[int]:
        """The steps of the snapshots that were written."""
        return self.writer.steps

    @property
    def share(self) -> float:
        """Share of the time since the beginning that went into snapshots."""
        whole = (self._end or time.perf_counter()) - self._start
        return self.spent / whole if whole > 0 else 0.0

    def is_due(self, step: int) -> bool:
        """Tell whether this step gets a snapshot."""
        return step % self.every == 0

    def arrive(self, step: int) -> None:
        """An update was made: what belongs to the place where it led is read at once, before the next forward pass."""
        now = time.perf_counter()
        self.held = self._read_buffers()
        self._cost += time.perf_counter() - now

    def take(self, step: int, settings: Mapping[str, float]) -> None:
        """Copy the parameters, from which the next update starts."""
        if self.waiting is not None and self.waiting[0] == step:
            return
        now = time.perf_counter()
        spent = self.spent + self._cost
        if step > self._at:
            self._paces.append((now - self._clock - (spent - self._before)) / (step - self._at))
        self._clock, self._at, self._before = now, step, spent
        self._copy()
        self.waiting = step, settings
        self._cost += time.perf_counter() - now

    def commit(self, step: int, loss: float) -> None:
        """Write the snapshot that waits, if its update is made by now."""
        if self.waiting is None or self.waiting[0] == step:
            return
        now = time.perf_counter()
        if self.is_due(self.waiting[0]):  # else it goes with those that were dropped meanwhile
            self._write(loss, self._ratios())
        self.waiting = None
        self._cost += time.perf_counter() - now
        self.spent += self._cost
        self._costs.append(self._cost)
        self._cost = 0.0
        if self.automatic and len(self._costs) > 2 and len(self._paces) > 2:
            cost, pace = statistics.median(self._costs), statistics.median(self._paces)
            while cost > SHARE * self.every * pace > 0:
                self._thin()

    def finish(self, step: int, settings: Mapping[str, float]) -> None:
        """Write the last snapshot, whichever step that is."""
        self.arrive(step)
        self._copy()
        self.waiting = step, settings
        self._write(np.nan, None)
        self._end = time.perf_counter()

    def _write(self, loss: float, ratios: list[float] | None) -> None:
        assert self.waiting is not None
        while self.automatic and len(self.steps) >= self.most:
            self._thin()
        step, settings = self.waiting
        if ratios is None or self.is_due(step):
            moving = [settings.get(name, np.nan) for name in self.about.moving]
            self.writer.add(step, self.row.numpy(), self.held, moving, loss, ratios)

    def _thin(self) -> None:
        """Drop every second snapshot, and take half as many from now on."""
        self.every *= 2
        self.writer.keep([row for row, step in enumerate(self.steps) if self.is_due(step)])

    @torch.no_grad()
    def _copy(self) -> None:
        begin = 0
        for each in self.members.tensors.values():
            self.row[begin : begin + each.numel()].copy_(each.detach().reshape(-1))
            begin += each.numel()

    @torch.no_grad()
    def _ratios(self) -> list[float]:
        """Return the norm of the update over that of the parameters it started from, for each layer."""
        begin = 0
        norms: dict[str, tuple[float, float]] = {}
        for name, each in self.members.tensors.items():
            old = self.row[begin : begin + each.numel()]
            begin += each.numel()
            if old.dtype == torch.float16:  # its squares would overflow
                old = old.float()
            new = each.detach().reshape(-1).to(device="cpu", dtype=old.dtype)
            norms[name] = _norm(new - old), _norm(old)
        found = []
        for names in self.members.layers.values():
            moved, length = (float(np.linalg.norm([norms[name][k] for name in names])) for k in (0, 1))
            found.append(moved / length if length else (np.inf if moved else np.nan))
        return found

    @torch.no_grad()
    def _read_buffers(self) -> NDArray[Any] | None:
        now = [owner._buffers[name] for owner, name in self.buffers.values()]
        rows = [each.detach().reshape(-1).cpu().double().numpy() for each in now if each is not None]
        return np.concatenate(rows) if rows else None


def _norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))
