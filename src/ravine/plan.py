"""Plan: how runs are to be made, apart from the problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from ravine.batches import Feed
from ravine.words import listed

__all__ = ["Optimizer", "Plan", "Scheduler"]

Optimizer = Callable[..., torch.optim.Optimizer]
Scheduler = Callable[[torch.optim.Optimizer], Any]


@dataclass(frozen=True)
class Plan:
    """How runs are to be made: all that `descend` was told except the problem."""

    optimizer: Optimizer
    steps: int
    settings: Mapping[str, Any]
    scheduler: Scheduler | None
    groups: Mapping[str, Mapping[str, Any]]
    feed: Feed | None
    also: frozenset[str]
    throw: bool

    def rule_for(self, leaves: Mapping[str, torch.Tensor]) -> torch.optim.Optimizer:
        """Make the optimizer over these leaves, in groups where settings differ."""
        if not self.groups:
            return self.optimizer(list(leaves.values()), **self.settings)
        members: dict[str | None, list[torch.Tensor]] = {None: [], **{pattern: [] for pattern in self.groups}}
        for name, leaf in leaves.items():
            members[next((p for p in self.groups if fnmatchcase(name, p)), None)].append(leaf)
        for pattern in self.groups:
            if not members[pattern]:
                raise ValueError(f"groups: no parameter fits {pattern!r}; the problem has {listed(leaves)}")
        made = [{"params": members[None]}] if members[None] else []
        made += [{"params": members[pattern], **self.groups[pattern]} for pattern in self.groups]
        return self.optimizer(made, **self.settings)
