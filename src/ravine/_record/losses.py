"""The losses that pass by between two updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

FOLDED = 256
"""Losses of one update that are held as tensors; beyond, they are added up."""


def loss_in(output: Any) -> Any:
    """Return the loss that a model's output holds, where it holds one."""
    return output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)


def is_trained_on(loss: Any) -> bool:
    """Tell whether this is one number that was computed with gradients on."""
    return isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.requires_grad and torch.is_grad_enabled()


class Window:
    """The losses between two updates, of which those count that were computed where the first one was.

    An optimizer that evaluates the loss itself (LBFGS, sharpness-aware ones) moves the parameters in between; that
    shows in the version counters of tensors, which torch raises with each write into them.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self.tensors = list(tensors)
        self.dtype: torch.dtype | None = None
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.values: list[torch.Tensor] = []
        self.stated: list[torch.Tensor] = []
        self.version = -1
        self.total, self.count = 0.0, 0
        self.asked = self.within = False

    def begin_step(self, *, closure: bool) -> None:
        """The optimizer's own step begins; of what its closure gives the first value counts."""
        self.within, self.asked = closure, False

    def add(self, loss: torch.Tensor) -> None:
        """Take a loss that was computed with gradients on."""
        if self.within and self.asked:
            return
        self.asked = True
        version = sum(each._version for each in self.tensors)
        if self.count or self.values:
            if version != self.version:
                return
        else:
            self.version = version
        self._keep(self.values, loss)
        if len(self.values) > FOLDED:
            self.total = sum(map(float, self.values), self.total)
            self.count += len(self.values)
            self.values = []

    def state(self, loss: Any) -> None:
        """Take a loss that the user states; where there is one, others do not count."""
        self._keep(self.stated, torch.as_tensor(loss))

    def mean(self) -> float:
        """The mean of the losses; NaN where there were none."""
        if self.stated:
            return sum(map(float, self.stated)) / len(self.stated)
        count = self.count + len(self.values)
        return sum(map(float, self.values), self.total) / count if count else math.nan

    def _keep(self, where: list[torch.Tensor], loss: torch.Tensor) -> None:
        kept = loss.detach().clone()  # a user may divide it in place afterwards
        if kept.is_floating_point():
            self.dtype = kept.dtype if self.dtype is None else torch.promote_types(self.dtype, kept.dtype)
        where.append(kept)
