"""What one run leaves behind while it is made: rows in growing arrays, because a small tensor takes a kilobyte."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._problem.copies import make_copy
from ravine._study.decay import Leaf
from ravine._study.optimizer import path_of

ClosureUse = Literal[False, True, "after backward"]
"""Whether an optimizer's step gets a closure, and whether a gradient must be there before."""

JOINED = 1024
"""Rows that are joined at once: clones in a list are three times as quick as rows of an array, and held briefly."""

JOINED_BYTES = 1_000_000
"""What rows that wait to be joined take at most."""


class Rows:
    """Rows (step, numbers), each added as the tensors it is made of."""

    def __init__(self) -> None:
        self.joined: tuple[torch.Tensor, ...] = ()
        self.waiting: list[Sequence[torch.Tensor]] = []
        self.most = 0

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Add one row; its tensors must be nobody else's."""
        self.waiting.append(tensors)
        if not self.most:
            size = sum(each.numel() * each.element_size() for each in tensors)
            self.most = max(1, min(JOINED, JOINED_BYTES // max(size, 1)))
        if len(self.waiting) >= self.most:
            block = self._block()
            # no call between the two: an interrupt falls before or after both
            self.joined += (block,)
            self.waiting = []

    def __len__(self) -> int:
        return sum(map(len, self.joined)) + len(self.waiting)

    def whole(self, count: int | None = None) -> torch.Tensor:
        """Return all rows, or the first ones, as one tensor."""
        blocks = [*self.joined, self._block()] if self.waiting else list(self.joined)
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks))[:count]

    def cut(self, count: int) -> None:
        """Drop all rows but the first."""
        if count < len(self):
            self.joined, self.waiting = (self.whole(count),) if count else (), []

    def _block(self) -> torch.Tensor:
        count = len(self.waiting)
        if count == 1:
            return torch.cat([each.reshape(1, -1) for each in self.waiting[0]], dim=1)
        # what stands at one place in all rows is alike: stacked at once, and not reshaped one by one
        columns = [torch.stack(each).reshape(count, -1) for each in zip(*self.waiting, strict=True)]
        return columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)


class Trace:
    """What one run left behind. A loss that was not evaluated is NaN."""

    def __init__(self, rule: torch.optim.Optimizer, leaves: Sequence[Leaf], every: int = 1) -> None:
        self.name = type(rule).__name__
        self.home = type(rule).__module__
        self.path = path_of(type(rule))
        self.settings: dict[str, Any] = make_copy(dict(rule.defaults))
        self.leaves = leaves
        self.positions, self.gradients, self.velocities = Rows(), Rows(), Rows()
        self.losses, self.batch_losses = Rows(), Rows()
        self.scheduled = array.array("d")
        self.moving: dict[str, array.array[float]] = {}
        self.apart: set[str] = set()
        """Settings in which groups of parameters differed: that of one group is that of no step."""
        self.norms = array.array("d")
        self.every = every
        self.keeps = True  # whether what is as large as the parameters is recorded at this step
        self.at_end = False
        self.end_gradients: list[list[torch.Tensor]] = []
        self.prediction: torch.Tensor | None = None
        self.interrupted = False
        self.closure: ClosureUse = False
        self.trains = False
        self.sparse = False
        self.moves = False

    @property
    def loss(self) -> torch.Tensor:
        """Losses (step,)."""
        return self.losses.whole()[:, 0]

    @property
    def kept(self) -> NDArray[np.intp]:
        """The steps of which positions are kept: each `every`-th that has a loss, and the last of a whole run."""
        count = len(self.losses)
        steps = np.arange(0, count, self.every)
        return steps if self.interrupted or not count or steps[-1] == count - 1 else np.append(steps, count - 1)

    def trim(self) -> None:
        """Drop what an interrupted step recorded in part; what was never begun stays empty."""
        large, small = (self.positions, self.gradients, self.velocities), (self.losses, self.batch_losses)
        begun = [len(each) for each in (*small, self.scheduled) if len(each)]
        begun += [self.every * len(each) for each in large if each]
        count = min(begun, default=0)
        for each in small:
            each.cut(count)
        for each in large:
            each.cut(-(-count // self.every))
        del self.scheduled[count:]
        del self.norms[count:]
        for values in self.moving.values():
            del values[count:]
