"""Cross entropy of joined batches with the classes first: torch's own, and several times as fast for few of them."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch

from ravine._problem.criteria import Criterion
from ravine._torch import plain_type

CLOSE = 1e-6
"""How near the loss must be to that of the plain call, relatively."""


def is_cross_entropy(criterion: Any) -> bool:
    """Tell whether this is torch's own cross entropy, without hooks or a forward of its own."""
    if isinstance(criterion, FunctionType):  # perhaps a copy
        return criterion.__code__ is torch.nn.functional.cross_entropy.__code__
    return plain_type(criterion) is torch.nn.CrossEntropyLoss


class ClassesFirst:
    """A cross entropy that takes the scores of joined batches with the classes first.

    Torch works out the logarithm of a softmax number by number where a row holds fewer than its vectors do: of ten
    classes in float32 with AVX-512, one after another. Along the samples it has vectors whatever the classes. The
    terms are the same; they may be added up in another order, and so only joined batches are taken this way, which
    are added up in another order anyway.

    Parameters
    ----------
    criterion
        One that `is_cross_entropy`.
    batch_rows
        Samples of a batch as it came: one of more was joined.

    Attributes
    ----------
    off
        How far off the plain call it was at most, relatively, where both were looked at.
    """

    def __init__(self, criterion: Criterion, batch_rows: int) -> None:
        self.criterion, self.batch_rows = criterion, batch_rows
        self.off = 0.0
        self.vector = 64 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 32
        """Bytes that the processor works on at once."""

    def __call__(self, scores: Any, targets: Any) -> Any:
        """Return the loss."""
        if self.suits(scores, targets):
            return self.criterion(scores.T[None], targets[None])
        return self.criterion(scores, targets)

    def suits(self, scores: Any, targets: Any) -> bool:
        """Tell whether a batch was joined, and has so few classes that it is faster."""
        return (
            torch.is_tensor(scores)
            and torch.is_tensor(targets)
            and scores.ndim == 2
            and targets.ndim == 1
            and len(targets) > self.batch_rows
            and scores.device.type == "cpu"
            and 1 < scores.shape[1] < self.vector // scores.element_size()
            and not targets.is_floating_point()
        )

    def agrees(self, scores: Any, targets: Any) -> bool:
        """Tell whether it gives the loss of the plain call, where that is finite, and note how far off it is."""
        if not self.suits(scores, targets):
            return False
        plain, found = self.criterion(scores, targets), self(scores, targets)
        if plain.ndim or not torch.isfinite(plain):
            return False
        self.off = max(self.off, float(abs(found - plain) / abs(plain).clamp_min(torch.finfo(plain.dtype).tiny)))
        return self.off <= CLOSE
