"""Mini-batches, dealt out as a torch DataLoader deals them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ravine._problem.over_batches import unjoined
from ravine._problem.problem import Problem


@dataclass(frozen=True)
class Feed:
    """How mini-batches are dealt out."""

    batch_size: int
    seed: int
    loss_every: int

    def deal(self, problem: Problem) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Deal out batches, epoch after epoch, without end."""
        assert problem.parts is not None
        return self.deal_from(problem.parts.inputs, problem.parts.targets)

    def deal_from(self, inputs: torch.Tensor, targets: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Deal out batches of some data."""
        rows = _Rows(inputs, targets)
        generator = torch.Generator().manual_seed(self.seed)
        loader = DataLoader(rows, self.batch_size, shuffle=True, generator=generator, collate_fn=_as_is)
        while True:
            yield from loader


class _Rows(Dataset[Any]):
    """Rows that are taken a batch at a time: the same batches as from single rows, without collating these."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.tensor(rows)  # once: a list would be turned into a tensor for each
        return self.inputs[places], self.targets[places]


def _as_is(batch: Any) -> Any:
    return batch


def make_feed(problems: Sequence[Problem], batch_size: int | None, seed: int, loss_every: int) -> Feed | None:
    """Check what was asked for; None for the whole batch."""
    for name, value in {"batch_size": batch_size, "loss_every": loss_every}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    check_seed(seed)
    if batch_size is None:
        if loss_every != 1:
            raise ValueError(
                f"loss_every={loss_every} is for mini-batches: with all data each step has its loss anyway"
            )
        return None
    for each in problems:
        if (loss := unjoined(each)) is not None:
            raise ValueError(
                f"no batches of {batch_size} can be dealt from the loader's: {loss.why_apart}; "
                "leave batch_size out, or train in a loop of your own within ravine.record"
            )
        if each.parts is None:
            raise ValueError("mini-batches need a problem that knows its data: make it with Problem.of or from_csv")
        if each.parts.inputs.shape[:1] != each.parts.targets.shape[:1]:
            raise ValueError(
                f"mini-batches need a row of targets for each row of inputs; inputs have shape "
                f"{tuple(each.parts.inputs.shape)} and targets {tuple(each.parts.targets.shape)}"
            )
        if batch_size > len(each.parts.inputs):
            raise ValueError(f"batch_size is {batch_size}, but there are only {len(each.parts.inputs)} samples")
    return Feed(int(batch_size), int(seed), int(loss_every))


def check_seed(seed: Any) -> None:
    """Check that a seed is one that a study can hold."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number from 0 to 2³¹ - 1, got {seed!r}")
