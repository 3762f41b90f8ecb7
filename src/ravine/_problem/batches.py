"""The batches of a loader, collated once, and the loss over all of them: weighted as the criterion averages."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ravine._format import listed
from ravine._problem.averages import Average, watch_average

Batch = Any
"""A pair (inputs, targets), or a mapping that a model is called with."""

Weight = Callable[[Any], Any]
"""What a user gives to say how much of what the criterion averages over there is in a batch."""

LARGE = 512
"""Rows of a batch that stays as it came: those who evaluate it themselves get the same bits."""

JOINED = 2048
"""Rows to which smaller batches are joined: a call of a layer costs as much for one row as for dozens."""

JOINED_PIXELS = 1 << 16
"""Pixels to which images are joined: what convolutions hold of more lies beyond a processor's own cache."""

SEPARABLE = 1e-4
"""How near the loss of two batches together must be to their weighted mean, relatively."""

GROUPS = 20
"""Groups of a sample from whose losses the standard error is told."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches, and what the loss of each counts; `drawn` of `rows` samples are there, all unless some were drawn.

    `dealt` is how many samples a batch had as the loader gave it, and `sizes` how many each had where some were joined.
    """

    items: tuple[Batch, ...]
    counts: tuple[float, ...]
    over: str
    summed: bool
    drawn: int
    rows: int
    remarks: tuple[str, ...] = ()
    dealt: int = 0
    sizes: tuple[int, ...] = ()

    @property
    def as_dealt(self) -> tuple[Batch, ...]:
        """The batches as the loader gave them: they were joined for speed, and a step is taken on one of them."""
        sizes, pieces = iter(self.sizes), []
        for item in self.items:
            rows = torch.arange(rows_of(item))
            while len(rows):
                size = next(sizes, len(rows))
                pieces.append(item if size == rows_of(item) else take(item, rows[:size]))
                rows = rows[size:]
        return tuple(pieces)

    @property
    def total(self) -> float:
        """What the sum of the batches' weighted losses is divided by."""
        return sum(self.counts)

    def of(self, items: Sequence[Batch]) -> Batches:
        """Return the same with other batches, which count what these do."""
        return replace(self, items=tuple(items))

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batches:
        """Return the batches with each of their tensors changed."""
        return self.of([tree_map(lambda leaf: change(leaf) if torch.is_tensor(leaf) else leaf, x) for x in self.items])

    def cut_from(self, inputs: torch.Tensor, targets: torch.Tensor) -> Batches:
        """Return the batches as views of all rows."""
        views, at = [], 0
        for rows in map(rows_of, self.items):
            # kernels may add in another order where memory begins elsewhere: a view must begin as a tensor does
            views.append((_aligned(inputs[at : at + rows]), _aligned(targets[at : at + rows])))
            at += rows
        return self.of(views)

    def value(self, loss: Callable[[Batch], torch.Tensor]) -> float:
        """Return the loss over all batches, added up in float64; a batch of which nothing counts is left out."""
        if self.summed:
            return sum(float(loss(item)) for item in self.items) * self.rows / self.drawn
        found = 0.0
        for item, count in zip(self.items, self.counts, strict=True):
            if count:
                found += float(loss(item)) * count
        return found / self.total if self.total else float("nan")

    def tensor(self, loss: Callable[[Batch], torch.Tensor]) -> torch.Tensor:
        """Return the same as a tensor that can be differentiated, in the dtype of the batches' losses."""
        if len(self.items) == 1 and not self.summed:
            return loss(self.items[0])
        parts = [(loss(item), count) for item, count in zip(self.items, self.counts, strict=True) if count]
        if not parts:
            return torch.tensor(torch.nan)
        dtype = parts[0][0].dtype
        if self.summed:
            whole = torch.stack([each.reshape(()).double() for each, _ in parts]).sum() * (self.rows / self.drawn)
        else:
            whole = torch.stack([each.reshape(()).double() * count for each, count in parts]).sum() / self.total
        return whole.to(dtype)

    def standard_error(self, loss: Callable[[Batch], torch.Tensor]) -> float:
        """Return the standard error of the loss of a sample, from the losses of its groups; 0 for all of the data."""
        if self.drawn == self.rows:
            return 0.0
        pieces = [piece for item in self.items for piece in _cut(item, max(2, -(-GROUPS // len(self.items))))]
        found = [watch_average(functools.partial(loss, piece)) for piece in pieces]
        losses, rows = np.array([float(each) for each, _ in found]), np.array([rows_of(each) for each in pieces], float)
        counts = np.array([row if a is None else a.count for row, (_, a) in zip(rows, found, strict=True)])
        if self.summed:
            losses, counts = losses / rows, rows
        shares = counts / counts.sum()
        mean = float(shares @ losses)
        spread = float((shares**2) @ (losses - mean) ** 2) * len(pieces) / (len(pieces) - 1)
        scale = float(self.rows) if self.summed else 1.0
        return scale * float(np.sqrt(spread * (1 - self.drawn / self.rows)))


def is_pair(data: Any) -> bool:
    """Tell whether data is one pair (inputs, targets), and not a list of two batches.

    Examples
    --------
    >>> x, y = torch.zeros(3, 1), torch.zeros(3)
    >>> is_pair((x, y)), is_pair([(x, y), (x, y)]), is_pair([{"x": x}, {"x": x}])
    (True, False, False)
    """
    if not isinstance(data, Sequence) or isinstance(data, str | bytes) or len(data) != 2:
        return False
    return not all(
        isinstance(each, Mapping) or (isinstance(each, list | tuple) and any(map(_is_array, each))) for each in data
    )


def weigh(
    batches: Batches, loss: Callable[[Batch], torch.Tensor], weight: Weight | None, *, images: bool = False
) -> tuple[Batches, bool]:
    """Find what each batch's loss counts, and join small batches; tell whether all might be joined.

    `loss` is called once for each batch, at the start. Two batches are also tried together: where their loss is not
    the weighted mean of the two, nothing is joined.
    """
    items = list(batches.items)
    joinable = fit_together(items)
    joined = len(items) == 1
    if joinable and len(items) > 1:
        one, other = items[0], items[1]
        (a, first), (b, second), (c, _) = (_weighed(loss, each, weight) for each in (one, other, _cat([one, other])))
        counts = first.count + second.count
        if first.summed:
            expected, scale = a + b, abs(a) + abs(b)
        else:
            terms = [x * each.count for x, each in ((a, first), (b, second)) if each.count]
            expected, scale = (sum(terms) / counts if counts else c), abs(a) + abs(b)
        joined = not np.isfinite([expected, c]).all() or abs(expected - c) <= SEPARABLE * scale
        if joined:
            batches = replace(batches, sizes=tuple(map(rows_of, items)))
            items = _merge(items, images)
        elif weight is None:
            warnings.warn(
                f"the loss of two batches together is {c:.4g}, and the mean of their losses, weighted by "
                f"{first.over}, {expected:.4g}: say with weight= how much of what the criterion averages over a batch "
                "holds, as in weight=lambda batch: (batch[1] >= 0).sum()",
                stacklevel=4,
            )
    averages = [_weighed(loss, each, weight)[1] for each in items]
    counted = _simplest(items, averages)
    over = listed(dict.fromkeys(each.over for each in averages))
    found = replace(batches, items=tuple(items), counts=counted, over=over, summed=averages[0].summed)
    return found, joined


def join(batches: Batches) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, Batches]:
    """Return pairs of tensors as one pair, and the batches as views of it; nothing for other batches."""
    if not all(isinstance(item, tuple) and all(map(torch.is_tensor, item)) for item in batches.items):
        return None, batches
    if len(batches.items) == 1:
        return batches.items[0], batches
    inputs, targets = (torch.cat(each) for each in zip(*batches.items, strict=True))
    return (inputs, targets), batches.cut_from(inputs, targets)


def rows_of(batch: Batch) -> int:
    """Return the number of samples of a batch: the rows of its targets or labels, else of its first tensor."""
    if isinstance(batch, Mapping) and torch.is_tensor(batch.get("labels")) and batch["labels"].ndim:
        return len(batch["labels"])
    leaves = leaves_of(batch[1]) + leaves_of(batch[0]) if isinstance(batch, tuple) else leaves_of(batch)
    return next((len(each) for each in leaves if each.ndim), 1)


def _weighed(loss: Callable[[Batch], torch.Tensor], item: Batch, weight: Weight | None) -> tuple[float, Average]:
    found, average = watch_average(lambda: loss(item))
    if weight is not None:
        count = float(weight(item))
        if not count >= 0 or not np.isfinite(count):
            raise ValueError(f"weight gave {count:g} for a batch: expected how much it counts, 0 or more")
        average = Average(count, "weight", average is not None and average.summed)
    return float(found), average or Average(float(rows_of(item)), "samples")


def _simplest(items: Sequence[Batch], averages: Sequence[Average]) -> tuple[float, ...]:
    """Count rows where each row counts the same: smaller numbers, and the same quotient."""
    rows, counts = [rows_of(item) for item in items], [each.count for each in averages]
    alike = len({count / row for count, row in zip(counts, rows, strict=True)}) == 1 and all(counts)
    return tuple(map(float, rows)) if alike else tuple(counts)


def fit_together(items: Sequence[Batch]) -> bool:
    """Tell whether batches are pairs of tensors whose rows can be put below each other."""
    shapes = set()
    for item in items:
        if not isinstance(item, tuple):  # what a model does with a mapping is its own affair
            return False
        leaves, spec = tree_flatten(item)
        if not all(torch.is_tensor(each) and each.ndim and len(each) == rows_of(item) for each in leaves):
            return False
        shapes.add((str(spec), tuple((tuple(each.shape[1:]), each.dtype) for each in leaves)))
    return len(shapes) == 1


def _merge(items: Sequence[Batch], images: bool) -> list[Batch]:
    enough = JOINED_PIXELS if images else JOINED
    groups: list[list[Batch]] = []
    room = 0
    for item in items:
        work = _work_of(item, images)
        stays = rows_of(item) >= LARGE or work >= (enough if images else LARGE)
        if stays or room <= 0:
            groups.append([])
            room = 0 if stays else enough
        groups[-1].append(item)
        room -= work
    return [group[0] if len(group) == 1 else _cat(group) for group in groups]


def _work_of(item: Batch, images: bool) -> int:
    """Count what a layer computes one after another: rows; of images pixels; words, where rows hold words."""
    first = leaves_of(item[0])[0]
    if images:
        return len(first) * math.prod(first.shape[2:])
    return rows_of(item) if first.is_floating_point() else first.numel()


def _cat(items: Sequence[Batch]) -> Batch:
    flat = [tree_flatten(item) for item in items]
    return tree_unflatten([torch.cat(each) for each in zip(*(leaves for leaves, _ in flat), strict=True)], flat[0][1])


def _cut(item: Batch, parts: int) -> list[Batch]:
    rows = rows_of(item)
    edges = np.unique(np.linspace(0, rows, min(parts, rows) + 1).astype(int))
    return [take(item, torch.arange(a, b)) for a, b in itertools.pairwise(edges)]


def take(item: Batch, rows: torch.Tensor) -> Batch:
    """Return some rows of a batch."""
    count = rows_of(item)
    return tree_map(
        lambda each: each[rows.to(each.device)] if torch.is_tensor(each) and each.ndim and len(each) == count else each,
        item,
    )


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.data_ptr() % 64 == 0 else tensor.clone()


def is_same(one: Batch, other: Batch) -> bool:
    """Tell whether two batches hold the same numbers."""
    mine, theirs = leaves_of(one), leaves_of(other)
    return len(mine) == len(theirs) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(mine, theirs, strict=True)
    )


def leaves_of(thing: Any) -> list[torch.Tensor]:
    """Return the tensors in a batch."""
    return [each for each in tree_flatten(thing)[0] if torch.is_tensor(each)]


def _is_array(thing: Any) -> bool:
    return (torch.is_tensor(thing) or isinstance(thing, np.ndarray)) and thing.ndim > 0
