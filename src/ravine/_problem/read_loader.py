"""A loader walked through once: its batches as tensors, or some samples of them, and what is to be said of it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map

from ravine._format import kind_of
from ravine._problem.batches import Batch, Batches, is_same, leaves_of, rows_of, take
from ravine._system import bytes_free, check_fits
from ravine._torch import fork_random_state

ENDLESS = 100_000
"""Batches after which a loader that does not say how many it has counts as endless."""


def is_loader(data: Any) -> bool:
    """Tell whether data is something that gives batches."""
    whole = isinstance(data, str | bytes | Mapping | torch.Tensor | np.ndarray) or hasattr(data, "columns")  # a table
    return not whole and (hasattr(data, "__iter__") or hasattr(data, "__getitem__"))


def read_batches(loader: Any, device: torch.device, samples: int | None = None) -> Batches:
    """Walk through a loader once, on a random state that is put back, and keep its batches.

    Raises
    ------
    TypeError, ValueError, MemoryError
        If it gives no batches, or the same ones no second time, or without end, or more than fits into memory.
    """
    _check_loader(loader, samples)
    with _random_states_kept(loader):
        first = next(iter(loader), None)
        if first is None:
            raise ValueError(f"the {type(loader).__name__} gives no batch: it is empty")
        first = _read(first, device, 0)
        known = _length_of(loader)
        if known is not None and samples is None:
            needed = known * _bytes_in(first)
            check_fits(f"the {known:,} batches of the loader take about", needed, _SMALLER)
        kept = _drawn(loader, device, samples) if samples is not None else _all(loader, device, known)
    items, rows = kept
    drawn = sum(map(rows_of, items))
    remarks = []
    if samples is not None and drawn < rows:
        remarks.append(f"{drawn:,} of {rows:,} samples, drawn at random")
    if samples is None and not is_same(first, items[0]):
        words = (
            "the loader gives other batches each time (it shuffles, or changes the samples): they were collated once, "
            "and stay as they came"
        )
        warnings.warn(words, stacklevel=4)
        remarks.append(words)
    whole = _size_of(loader)
    if whole is not None and whole > rows:
        words = f"the loader leaves out {whole - rows:,} of {whole:,} samples (drop_last=True), and so does this loss"
        warnings.warn(words, stacklevel=4)
        remarks.append(words)
    return Batches(tuple(items), (), "samples", False, drawn, rows, tuple(remarks), rows_of(first))


_SMALLER = (
    "give samples=n for n of them, drawn at random, whose standard error is told; or a loader over a smaller data set"
)


def _check_loader(loader: Any, samples: int | None) -> None:
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 2):
        raise ValueError(f"samples must be a whole number of at least 2, got {samples!r}")
    if isinstance(loader, Iterator):
        raise TypeError(
            f"a {type(loader).__name__} gives its batches only once, or without end: give the loader itself, or a list "
            "of batches, as in list(itertools.islice(batches, 100))"
        )
    if isinstance(loader, torch.utils.data.Dataset) and not isinstance(loader, torch.utils.data.IterableDataset):
        raise TypeError(
            f"{type(loader).__name__} gives single samples, and batches are expected: give "
            "torch.utils.data.DataLoader(dataset, batch_size=512)"
        )


def _read(batch: Any, device: torch.device, number: int) -> Batch:
    if isinstance(batch, Mapping):
        return {name: tree_map(lambda each: _tensor(each, device), value) for name, value in batch.items()}
    if isinstance(batch, list | tuple) and len(batch) == 2:
        inputs, targets = (tree_map(lambda each: _tensor(each, device), each) for each in batch)
        return inputs, targets
    got = f"{len(batch)} things" if isinstance(batch, list | tuple) else kind_of(batch)
    raise TypeError(
        f"batch {number} is {got}: a batch is a pair (inputs, targets), or a mapping that the model is called with, "
        "with criterion=None; a collate_fn of the loader can make one"
    )


def _tensor(value: Any, device: torch.device) -> Any:
    if isinstance(value, np.ndarray | np.number):
        value = torch.as_tensor(value)
    return value.detach().to(device, copy=True) if torch.is_tensor(value) else value


def _all(loader: Any, device: torch.device, known: int | None) -> tuple[list[Batch], int]:
    items: list[Batch] = []
    held, free = 0, bytes_free()
    for number, batch in enumerate(loader):
        item = _read(batch, device, number)
        items.append(item)
        held += _bytes_in(item)
        if known is None and (number >= ENDLESS or (free is not None and held > free // 2)):
            raise ValueError(
                f"the {type(loader).__name__} has given {number + 1:,} batches and does not say how many there are: if "
                "it has an end, give samples=n; else a list of batches, as in list(itertools.islice(loader, 100))"
            )
        if known is not None and number >= known:
            raise ValueError(f"the {type(loader).__name__} says that it has {known:,} batches, and gives more")
    return items, sum(map(rows_of, items))


def _drawn(loader: Any, device: torch.device, samples: int) -> tuple[list[Batch], int]:
    """Keep the samples with the smallest of numbers drawn for all of them: each is as likely as any other."""
    generator = torch.Generator().manual_seed(0)
    kept: list[tuple[torch.Tensor, Batch]] = []
    rows, limit = 0, 1.0
    for number, batch in enumerate(loader):
        if number > ENDLESS:
            raise ValueError(f"the {type(loader).__name__} has given {number:,} batches and shows no end")
        item = _read(batch, device, number)
        count = rows_of(item)
        rows += count
        keys = torch.rand(count, generator=generator, dtype=torch.float64)
        kept += _kept(keys, item, limit)
        if sum(len(each) for each, _ in kept) > 2 * samples:
            limit = _limit(kept, samples)
            kept = [piece for keys, item in kept for piece in _kept(keys, item, limit)]
    limit = _limit(kept, samples)
    return [item for keys, each in kept for _, item in _kept(keys, each, limit)], rows


def _kept(keys: torch.Tensor, item: Batch, limit: float) -> list[tuple[torch.Tensor, Batch]]:
    chosen = torch.nonzero(keys <= limit)[:, 0]
    if not len(chosen):
        return []
    return [(keys[chosen], item if len(chosen) == len(keys) else take(item, chosen))]


def _limit(kept: list[tuple[torch.Tensor, Batch]], samples: int) -> float:
    keys = torch.cat([each for each, _ in kept]).sort().values
    return float(keys[min(samples, len(keys)) - 1])


@contextmanager
def _random_states_kept(loader: Any) -> Iterator[None]:
    """Put back torch's random state, numpy's, Python's, and those of the loader's own generators."""
    held = {id(each): each for each in _generators(loader)}
    states = [(each, each.get_state()) for each in held.values()]
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002 - data sets draw from it
    try:
        with fork_random_state():
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        for generator, state in states:
            generator.set_state(state)


def _generators(loader: Any) -> Iterator[torch.Generator]:
    for thing in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        for each in (thing, getattr(thing, "sampler", None)):
            if isinstance(generator := getattr(each, "generator", None), torch.Generator):
                yield generator


def _length_of(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:  # a loader over a data set that does not say it
        return None


def _size_of(loader: Any) -> int | None:
    """Return how many samples the data set has of which a loader leaves out the last few."""
    return _length_of(loader.dataset) if getattr(loader, "drop_last", False) and hasattr(loader, "dataset") else None


def _bytes_in(item: Batch) -> int:
    return sum(each.numel() * each.element_size() for each in leaves_of(item))
