"""Schedulers made of schedulers, as values that can be pickled, known again and written down as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

S = torch.optim.lr_scheduler


@dataclass(frozen=True)
class Composite:
    """A `SequentialLR` or `ChainedScheduler` over what makes its parts; called with the optimizer it makes it.

    Examples
    --------
    >>> from functools import partial
    >>> warm = partial(S.LinearLR, total_iters=5)
    >>> make = Composite(S.SequentialLR, (warm, partial(S.ExponentialLR, gamma=0.9)), {"milestones": [5]})
    >>> type(make(torch.optim.SGD([torch.zeros(1)], lr=0.1))).__name__
    'SequentialLR'
    """

    kind: type[Any]
    parts: tuple[Callable[[torch.optim.Optimizer], Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, optimizer: torch.optim.Optimizer) -> Any:
        """Make the parts in their order, and the whole of them."""
        parts = [make(optimizer) for make in self.parts]
        if self.kind is S.ChainedScheduler:
            return S.ChainedScheduler(parts, optimizer=optimizer, **self.settings)
        return self.kind(optimizer, parts, **self.settings)
